"""Changes of one expression: a part left out, doubled, negated, exchanged, or taken from the wrong place.

Each is (rank, what is said of an answer that has it, the new node); what is said completes "it ...", and what is
likelier has the lower rank.
"""

import ast
import itertools
import re

LONGEST = 48              # a piece of code in a sentence has at most so many characters
ENTERED = "_as_it_came_in"
LIKELY = 3                # up to this rank a change is made by hand, too; a factor of two explains too much
EXCHANGED = 5             # the rank of one variable in the place of another


def code(node):
    """A piece of source in backticks; of a long one, its beginning and end."""
    text = " ".join(ast.unparse(node).split())
    text = re.sub(r"\[(?:\.\.\.|:|None)(?:, (?:\.\.\.|:|None))*\]", "", text)    # dimensions that make the shapes fit
    for name in set(part for part in text.replace("(", " ").replace(".", " ").split() if part.endswith(ENTERED)):
        text = text.replace(name, name.removesuffix(ENTERED))
    return f"`{text if len(text) <= LONGEST else f'{text[:LONGEST - 24]} ... {text[-18:]}'}`"


def called(node):
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def of_expression(node, scope):
    """(rank, what is said, the new node) for every change of one expression."""
    if not isinstance(node, ast.expr) or isinstance(getattr(node, "ctx", None), ast.Store):
        return
    for kind, changes in CHANGES.items():
        if isinstance(node, kind):
            yield from changes(node, scope)
    others = _other_numbers, _other_names, _other_places
    for rank, new in itertools.chain(*(other(node, scope) for other in others)):
        yield rank, _instead(node, new, scope), new
    parent = scope.parent.get(node)
    if isinstance(node, ast.Name) and isinstance(parent, ast.Call) and called(parent) == "zip":
        for step, when in ((1, "late"), (-1, "early")):
            rolled = ast.Call(ast.Attribute(node, "roll", ast.Load()), [ast.Constant(step), ast.Constant(0)], [])
            yield 3, f"takes {code(node)} one token {when}", rolled
    if isinstance(node, ast.Name) and node.id in scope.local and node.id not in scope.counters:
        for said, text in (("normalizes", "x / x.square().sum(-1, keepdim=True).sqrt()"),
                           ("divides by its squared length", "x / x.square().sum(-1, keepdim=True)")):
            what = f"{said}: {code(node)}" if " " in said else f"{said} {code(node)}"
            around = scope.parent.get(node)
            place = f", in {code(around)}" if isinstance(around, ast.expr) else ""
            yield 4, what + place, replaced_name(ast.parse(text, mode="eval").body, "x", node)


def _instead(node, new, scope):
    """What stands where something else belongs, with a little of what is around it."""
    around, parent = node, scope.parent.get(node)
    while isinstance(around, (ast.Name, ast.Constant, ast.UnaryOp)) and isinstance(parent, ast.expr):
        if isinstance(parent, ast.Tuple) or len(ast.unparse(parent)) > LONGEST:
            break
        around, parent = parent, scope.parent.get(parent)
    entered = isinstance(new, ast.Name) and new.id.endswith(ENTERED)
    if around is node and isinstance(node, (ast.Constant, ast.UnaryOp)) and isinstance(parent, ast.expr):
        return f"has {code(new)} where {code(node)} belongs, in {code(parent)}"
    if entered and around is node:
        returned = isinstance(parent, ast.Return) or isinstance(scope.parent.get(parent), ast.Return)
        return f"{'returns' if returned else 'uses'} {code(new)} as it came in"
    if entered:
        return f"uses {code(new)} as it came in, in {code(around)}"
    return f"has {code(_replaced(around, node, new))} where {code(around)} belongs"


def _replaced(around, node, new):
    """A copy of an expression with one node of it replaced."""
    if around is node:
        return new
    copy = type(around)()
    for name, value in ast.iter_fields(around):
        if isinstance(value, list):
            setattr(copy, name, [_replaced(x, node, new) if isinstance(x, ast.AST) else x for x in value])
        else:
            setattr(copy, name, _replaced(value, node, new) if isinstance(value, ast.AST) else value)
    return copy


# -- changes of an expression -----------------------------------------------------------------------------------------

def _binary(left, operator, right):
    return ast.BinOp(left, operator(), right)


def _negative(node):
    return ast.UnaryOp(ast.USub(), node)


def transposed(node):
    return ast.Attribute(node, "mT", ast.Load())


def _in_index(node, scope):
    """Whether an expression stands between brackets that pick entries."""
    parent = scope.parent.get(node)
    while isinstance(parent, ast.expr):
        if isinstance(parent, ast.Subscript):
            return node is parent.slice
        node, parent = parent, scope.parent.get(parent)
    return False


def _of_operator(node, scope):
    """Of sums, products and quotients: a part left out, doubled, with the other sign, in the other order."""
    a, b, A, B = node.left, node.right, code(node.left), code(node.right)
    match node.op:
        case ast.Add():
            yield 0, f"leaves out the term {B}", a
            yield 0, f"leaves out the term {A}", b
            yield 1, f"subtracts {B}, which should be added", _binary(a, ast.Sub, b)
            yield 1, f"takes {A} with the other sign", _binary(_negative(a), ast.Add, b)
            yield 4, f"multiplies {A} and {B}, which should be added", _binary(a, ast.Mult, b)
            yield 4, f"adds {B} twice", _binary(node, ast.Add, b)
            yield 4, f"adds {A} twice", _binary(node, ast.Add, a)
            yield 4, f"adds only half of {B}", _binary(a, ast.Add, _binary(b, ast.Div, ast.Constant(2)))
            yield 4, f"adds only half of {A}", _binary(_binary(a, ast.Div, ast.Constant(2)), ast.Add, b)
        case ast.Sub():
            yield 0, f"leaves out the term {B}", a
            yield 0, f"leaves out the term {A}", _negative(b)
            yield 1, f"adds {B}, which should be subtracted", _binary(a, ast.Add, b)
            yield 1, f"has the difference {code(node)} the other way round", _binary(b, ast.Sub, a)
            yield 1, f"takes {A} with the other sign", _binary(_negative(a), ast.Sub, b)
            yield 4, f"subtracts {B} twice", _binary(node, ast.Sub, b)
            yield 4, f"takes {A} twice", _binary(node, ast.Add, a)
        case ast.Mult():
            yield 0, f"leaves out the factor {B}", a
            yield 0, f"leaves out the factor {A}", b
            twice = 5 if _in_index(node, scope) else 1                   # in an index it is right by chance only
            yield twice, f"multiplies by {A} twice", _binary(a, ast.Mult, node)
            yield twice, f"multiplies by {B} twice", _binary(node, ast.Mult, b)
            yield 4, f"divides by {B}, where it belongs as a factor", _binary(a, ast.Div, b)
            yield 4, f"divides by {A}, where it belongs as a factor", _binary(b, ast.Div, a)
            yield 4, f"adds {A} and {B}, where they should be multiplied", _binary(a, ast.Add, b)
            if not isinstance(a, ast.Constant):
                rest = _binary(ast.Constant(1), ast.Sub, a)
                yield 4, f"has 1 - {A} for {A} in {code(node)}", _binary(rest, ast.Mult, b)
        case ast.Div() | ast.FloorDiv():
            yield 0, f"does not divide by {B}", a
            yield 1, f"multiplies by {B}, where it should divide", _binary(a, ast.Mult, b)
            yield 1, f"has the quotient {code(node)} upside down", _binary(b, ast.Div, a)
            yield 1, f"divides by {B} twice", _binary(node, ast.Div, b)
            yield 2, f"leaves out {A}, what is divided", _binary(ast.Constant(1), ast.Div, b)
            rounds = isinstance(node.op, ast.Div)
            yield 2, f"{'rounds' if rounds else 'does not round'} {code(node)} down", _binary(
                a, ast.FloorDiv if rounds else ast.Div, b)
        case ast.MatMult():
            yield from _of_product(node, a, b, A, B)
        case ast.Pow():
            yield 0, f"leaves out the power in {code(node)}", a
            yield 2, f"multiplies in {code(node)} instead of taking the power", _binary(a, ast.Mult, b)


def _of_product(node, a, b, A, B):
    """Of a matrix product."""
    yield 0, f"leaves out the factor {B}", a
    yield 0, f"leaves out the factor {A}", b
    yield 1, f"uses {A} transposed, in {code(node)}", _binary(transposed(a), ast.MatMult, b)
    yield 1, f"uses {B} transposed, in {code(node)}", _binary(a, ast.MatMult, transposed(b))
    yield 1, f"multiplies {A} and {B} in the other order", _binary(b, ast.MatMult, a)
    yield 2, f"transposes {code(node)}", transposed(node)
    yield 3, f"multiplies by {A} twice", _binary(a, ast.MatMult, node)
    yield 3, f"multiplies by {B} twice", _binary(node, ast.MatMult, b)


def _of_sign(node, scope):
    if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield 1, f"leaves out the minus before {code(node.operand)}", node.operand


ALIKE = (("sum", "mean", "amax", "cumsum", "norm", "prod"), ("max", "min", "mean", "sum"), ("amax", "amin"),
         ("argmax", "argmin"), ("minimum", "maximum"), ("sqrt", "square", "abs"), ("ceil", "floor"),
         ("silu", "sigmoid", "relu", "tanh", "softmax", "gelu"), ("exp", "log", "log2"), ("zeros_like", "ones_like"),
         ("cumsum", "cumprod"), ("tril", "triu"), ("softmax", "log_softmax"), ("outer", "dot"))


def _of_call(node, scope):
    """Of a call: left out, another function of the kind, another mask, its arguments the other way round."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    object = node.func.value if isinstance(node.func, ast.Attribute) else None
    module = isinstance(object, ast.Name) and object.id not in scope.local
    if object is not None and not module:
        written = ast.unparse(ast.Call(ast.Attribute(ast.Name("x"), name), node.args, node.keywords))[1:]
        yield 0, f"leaves out `{written}` of {code(object)}", object
    elif node.args and not isinstance(node.args[0], (ast.Starred, ast.GeneratorExp)) and name != "range":
        yield 0, f"leaves out `{name}` of {code(node.args[0])}", node.args[0]
    if len(node.args) == 2:
        yield 1, f"has the two arguments of {code(node)} the other way round", ast.Call(
            node.func, node.args[::-1], node.keywords)
    for other in dict.fromkeys(other for group in ALIKE if name in group for other in group if other != name):
        function = ast.Attribute(object, other, ast.Load()) if object is not None else ast.Name(other, ast.Load())
        args, keywords = node.args, node.keywords
        if other == "norm" and args and object is not None and not module:   # its first argument is not the dimension
            args, keywords = [], [ast.keyword("dim", args[0]), *keywords]
        yield 4, f"has `{other}` where `{name}` belongs, in {code(node)}", ast.Call(function, args, keywords)
    if name in ("tril", "triu"):
        yield from _of_mask(node, name, object, module)


def _of_mask(node, name, object, module):
    x = [node.args[0]] if module and node.args else []
    for other, diagonal in itertools.product(("tril", "triu"), (0, -1, 1)):
        new = ast.Call(ast.Attribute(object, other, ast.Load()), [*x, ast.Constant(diagonal)], [])
        yield 2, f"masks with `{other}({diagonal})`, where {code(node)} belongs", new
    yield 2, f"turns {code(node)} around", transposed(node)
    rest = ast.parse("x - x.diagonal(dim1=-2, dim2=-1).diag_embed()", mode="eval").body
    scores = x[0] if x else object
    yield 2, f"takes only the diagonal of {code(scores)} away", replaced_name(rest, "x", scores)
    softmax = ast.parse("x.masked_fill(x.new_ones(x.shape).triu(1) > 0, -torch.inf).softmax(-1)", mode="eval").body
    yield 2, f"takes a softmax of {code(scores)}", replaced_name(softmax, "x", scores)


def replaced_name(node, name, new):
    """An expression with a variable replaced by another expression."""
    for x in [x for x in ast.walk(node) if isinstance(x, ast.Name) and x.id == name]:
        node = _replaced(node, x, new)
    return node


def _of_attribute(node, scope):
    if node.attr in ("T", "mT"):
        yield 1, f"leaves out the transpose of {code(node.value)}", node.value


def _of_comparison(node, scope):
    others = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
    if len(node.ops) == 1 and type(node.ops[0]) in others:
        new = ast.Compare(node.left, [others[type(node.ops[0])]()], node.comparators)
        yield 2, f"has {code(new)} where {code(node)} belongs", new


def _of_list(node, scope):
    if len(node.elts) == 2:
        yield 2, f"has the two parts of {code(node)} in the other order", ast.List(node.elts[::-1], ast.Load())


def _of_subscript(node, scope):
    whole, part = code(node.value), code(node)
    said = f"takes all of {whole} where {part} belongs"
    if whole == part:                                                    # x[:, None]
        said = f"leaves out `{ast.unparse(node).removeprefix(ast.unparse(node.value))}` after {whole}"
    yield 2, said, node.value


CHANGES = {ast.BinOp: _of_operator, ast.UnaryOp: _of_sign, ast.Call: _of_call, ast.Attribute: _of_attribute,
           ast.Compare: _of_comparison, ast.List: _of_list, ast.Subscript: _of_subscript}


def _other_numbers(node, scope):
    """Another number for a number."""
    minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
    inner = node.operand if minus else node
    after_minus = isinstance(scope.parent.get(node), ast.UnaryOp)
    if not isinstance(inner, ast.Constant) or type(inner.value) not in (int, float) or after_minus:
        return
    c = -inner.value if minus else inner.value
    others = (c - 1, c + 1, -c, c - 2, c + 2, 2 * c) if isinstance(c, int) else (0.0, 1.0, -c, 2 * c, c / 2)
    for other in dict.fromkeys(x for x in others if x != c):
        yield 4, ast.Constant(other)


def _other_names(node, scope):
    """Another variable for a variable, or the same as it came in, or one token's for every token's."""
    if not isinstance(node, ast.Name) or node.id not in scope.local:
        return
    if node.id in scope.rebound:
        yield 2, ast.Name(node.id + ENTERED, ast.Load())
    if node.id in scope.over:
        for place in (0, -1):
            yield 4, ast.Subscript(scope.over[node.id], ast.Constant(place), ast.Load())
    for other in scope.local:
        counts = (other in scope.counters) == (node.id in scope.counters)
        if other != node.id and counts and scope.shapes.get(other) == scope.shapes.get(node.id):
            yield EXCHANGED, ast.Name(other, ast.Load())


def _other_places(node, scope):
    """The token before or after, the first or the last, for a token."""
    if isinstance(node, ast.Name) and node.id in scope.counters:
        for new in (_binary(node, ast.Sub, ast.Constant(1)), _binary(node, ast.Add, ast.Constant(1)),
                    ast.Constant(0), ast.Constant(-1)):
            yield 4, new
