"""Functions with one change in their source: in an expression, or a step left out, moved, or missing in a round.

Every change is said in words that complete "it ...". What is likelier has the lower rank and comes first.
"""

import ast
import dis
import inspect
import textwrap
from dataclasses import dataclass, field

from .expressions import ENTERED, EXCHANGED, called, code, of_expression, replaced_name


@dataclass(frozen=True)
class Edit:
    """The field `name` of a node gets the value `new`; what is said of an answer in which that has happened."""

    rank: int
    said: str
    node: ast.AST
    name: str
    new: object = field(hash=False)


# -- taking a function apart ------------------------------------------------------------------------------------------

def changed(f, rank=EXCHANGED, example=None):
    """(what is said of it, function) for every single change of a function up to a rank; nothing without its source.

    example: arguments; then only variables that have the same shape in them are exchanged.
    """
    tree = source(f)
    if tree is None:
        return
    scope = Scope(tree)
    if example is not None:
        scope.shapes = shapes(f, tree, scope, example)
    for edit in sorted((edit for edit in _edits(tree, scope) if edit.rank <= rank), key=lambda edit: edit.rank):
        if function := made(f, tree, scope, [edit]):
            yield edit.said, function


def made(f, tree, scope, edits, names=None):
    """The function with some edits made; None if it cannot be. names: what it finds outside, f's own if None."""
    entered = [ast.parse(f"{name}{ENTERED} = {name}").body[0] for name in scope.rebound]
    before = [(edit.node, edit.name, getattr(edit.node, edit.name)) for edit in edits]
    for edit in edits:
        _placed(edit.new)
        setattr(edit.node, edit.name, edit.new)
    function = ast.FunctionDef(tree.name, tree.args, [*entered, *tree.body], [], None, None)
    function.type_params = []
    _placed([function])
    found = {}
    try:
        code = compile(ast.Module([function], []), f"<{tree.name}, changed>", "exec")
        exec(code, f.__globals__ if names is None else names, found)
    except (SyntaxError, ValueError, TypeError, NameError, RecursionError):
        found = {}
    for node, name, old in reversed(before):
        setattr(node, name, old)
    return found.get(tree.name)


def _placed(new):
    """Gives nodes a line, as `compile` asks. What has one has it in all its parts, so that little is walked through."""
    for node in new if isinstance(new, list) else [new]:
        if not isinstance(node, ast.AST) or hasattr(node, "lineno"):
            continue
        if "lineno" in node._attributes:
            node.lineno = node.end_lineno = 1
            node.col_offset = node.end_col_offset = 0
        for _, part in ast.iter_fields(node):
            _placed(part)


def shapes(f, tree, scope, example):
    """{variable: its shape, or its type} at the end of a call; empty if the call does not get there."""
    if not isinstance(tree.body[-1], ast.Return):
        return {}
    ends = ast.Return(ast.parse("locals()", mode="eval").body)
    seen = made(f, tree, scope, [Edit(0, "", tree, "body", [*tree.body[:-1], ends])])
    try:
        return {name: getattr(x, "shape", type(x)) for name, x in seen(*example).items()}
    except Exception:
        return {}


def source(f):
    """The parsed `def` of a function; None for anything else, and for a loop that a change might keep from ending."""
    if not inspect.isfunction(f) or f.__closure__:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    loops = any(isinstance(node, ast.While) for node in ast.walk(tree))
    plain = isinstance(tree, ast.FunctionDef) and tree.name == f.__name__ and not loops
    if plain and ast.get_docstring(tree):
        tree.body = tree.body[1:]
    return tree if plain else None


class Scope:
    """The names of a function: arguments, what it assigns, which arguments it assigns anew, what its loops count."""

    def __init__(self, tree):
        self.arguments = [a.arg for a in (*tree.args.args, *tree.args.kwonlyargs)]
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        stored = dict.fromkeys(node.id for node in names if isinstance(node.ctx, ast.Store))
        self.rebound = [name for name in self.arguments if name in stored]
        self.local = [*dict.fromkeys((*self.arguments, *stored))]
        loops = [node for node in ast.walk(tree) if isinstance(node, (ast.For, ast.comprehension))]
        self.counters = {loop.target.id for loop in loops if isinstance(loop.target, ast.Name) and _counts(loop.iter)}
        self.over = {}                                                   # loop variable -> what the loop runs over
        for loop in loops:
            over = loop.iter.args if called(loop.iter) == "zip" else [loop.iter]
            targets = loop.target.elts if isinstance(loop.target, ast.Tuple) else [loop.target]
            self.over |= {t.id: x for t, x in zip(targets, over) if isinstance(t, ast.Name) and isinstance(x, ast.Name)}
        self.shapes = {}                                                 # of variables, where an example was run
        self.vectors = {}                                                # the same, and of tensors that are given
        self.parent = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def _counts(iterable):
    """Whether a loop counts: it runs over a range, forwards or backwards."""
    inner = iterable.args[0] if called(iterable) == "reversed" else iterable
    return called(inner) == "range"


def _edits(tree, scope):
    """Every Edit of a function."""
    for node in [n for statement in tree.body for n in ast.walk(statement)]:
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                yield from _of_statements(node, name, value, tree, scope)
                for i, part in enumerate(value):
                    for rank, said, new in of_expression(part, scope):
                        yield Edit(rank, said, node, name, [*value[:i], new, *value[i + 1:]])
            else:
                for rank, said, new in of_expression(value, scope):
                    yield Edit(rank, said, node, name, new)
    yield from _of_statements(tree, "body", tree.body, tree, scope)


# -- changes of statements --------------------------------------------------------------------------------------------

def _of_statements(node, name, body, tree, scope):
    """A step left out, two in the other order, a loop that is too short or runs backwards, results exchanged."""
    if not body or not isinstance(body[0], ast.stmt):
        return
    for i, statement in enumerate(body):
        rest = [*body[:i], *body[i + 1:]]
        if not isinstance(statement, ast.Return):
            yield Edit(1, f"leaves out the step {_step(statement)}", node, name, rest or [ast.Pass()])
        if i + 1 < len(body) and not isinstance(body[i + 1], ast.Return):
            order = [*body[:i], body[i + 1], statement, *body[i + 2:]]
            said = f"takes two steps in the other order: {_step(body[i + 1])} before {_step(statement)}"
            yield Edit(2, said, node, name, order)
        if isinstance(statement, ast.For):
            yield from _of_loop(statement)
            for said, loop in _but_for_one_round(statement):
                yield Edit(3, said, node, name, [*body[:i], loop, *body[i + 1:]])
        if isinstance(statement, ast.Return):
            yield from _of_return(statement, scope)
    if isinstance(node, ast.For) and isinstance(tree.body[-1], ast.Return):
        yield Edit(2, "returns in the first round of its loop", node, name, [*body, tree.body[-1]])
        yield Edit(2, f"takes the step {_step(body[-1])} after the loop, not in it", tree, "body",
                   _moved_out(tree.body, node))


def _but_for_one_round(loop):
    """(what is said, the loop) with one of its steps left out in the first round, or in the last."""
    for order, round in (("", "first"), ("[::-1]", "last")):
        counted = ast.parse(f"zip(range(len(list(x))){order}, list(x))", mode="eval").body
        target = ast.Tuple([ast.Name("_round", ast.Store()), loop.target], ast.Store())
        for i, step in enumerate(loop.body):
            later = ast.If(ast.parse("_round > 0", mode="eval").body, [step], [])
            steps = [*loop.body[:i], later, *loop.body[i + 1:]]
            made = ast.For(target, replaced_name(counted, "x", loop.iter), steps, [])
            yield f"leaves out the step {_step(step)} in the {round} round of its loop", made


def _of_return(statement, scope):
    """Results in the other order, or what is on the way to the one result in its place."""
    if isinstance(statement.value, ast.Tuple):
        turned = ast.Tuple(statement.value.elts[::-1], ast.Load())
        yield Edit(2, "returns its results in the other order", statement, "value", turned)
        return
    for name in scope.local:
        said = f"gives `{name}` itself" if name in scope.arguments else f"stops at `{name}`"
        yield Edit(3, said, statement, "value", ast.Name(name, ast.Load()))


def _moved_out(body, loop):
    """The statements of a function with the last of a loop moved behind it."""
    moved = []
    for statement in body:
        if statement is loop and len(loop.body) > 1:
            moved += [ast.For(loop.target, loop.iter, loop.body[:-1], []), loop.body[-1]]
        else:
            moved.append(statement)
    return moved


def _of_loop(loop):
    for piece, said in (("[1:]", "leaves out the first round of its loop"),
                        ("[:-1]", "leaves out the last round of its loop"),
                        ("[::-1]", "runs through its loop in the other direction"),
                        ("[:1]", "takes the first round of its loop only")):
        new = ast.parse(f"list(x){piece}", mode="eval").body
        new.value.args = [loop.iter]
        yield Edit(2, said, loop, "iter", new)


def _step(statement):
    """A statement in few characters."""
    if isinstance(statement, (ast.For, ast.If)):
        return code(statement.iter if isinstance(statement, ast.For) else statement.test)
    return code(statement)


def spelled(f):
    """The names that a function uses, those of the functions in it as well; None if it is no function of Python."""
    def of(code):
        parts = [of(c) for c in code.co_consts if inspect.iscode(c)]
        return {*code.co_varnames, *code.co_names, *code.co_freevars}.union(*parts)
    made = getattr(inspect.unwrap(f), "__code__", None)
    return of(made) if made else None


def loops(f):
    """Whether a function may have a loop: one is in its source, or it calls a function that may, or nobody can tell."""
    tree = source(f)
    if tree is None:
        return True
    kinds, nodes = (ast.For, ast.ListComp, ast.GeneratorExp), [*ast.walk(tree)]
    return any(isinstance(node, kinds) or inspect.isfunction(f.__globals__.get(called(node))) for node in nodes)


def unused(f, others):
    """The names of the arguments that a function never looks at, though the others that can be looked into all do."""
    def idle(g):
        compiled = getattr(inspect.unwrap(g), "__code__", None)
        if compiled is None:
            return set()
        loaded = {name for step in dis.get_instructions(compiled) if "LOAD_" in step.opname
                  for name in (step.argval if isinstance(step.argval, tuple) else (step.argval,))}
        names = compiled.co_varnames[:compiled.co_argcount]
        return {i for i, name in enumerate(names) if name not in loaded and name not in compiled.co_cellvars}
    left = idle(f)
    for other in others if left else ():
        left -= idle(other)
    return [inspect.unwrap(f).__code__.co_varnames[i] for i in sorted(left)]
