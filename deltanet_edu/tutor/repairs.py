"""A wrong answer with one thing changed that makes it right: the slip, shown in the learner's own code.

The answer's source is taken apart, as a solution's is for `variants`, and a change is looked for that makes it right
on every case. Nothing is said that was not run: with this change the answer is right.
"""

import ast
import contextlib
import io
import itertools
import os
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial

import torch

from .edits import Edit, Scope, made, shapes, source
from .expressions import ENTERED, EXCHANGED, called, of_expression, transposed
from .running import effort, fresh, together

TRIES = 700               # of a short answer; of one that does more, as many as take about a second
WORK = 150_000            # calls of functions in all tries together
WIDTH = 56                # a piece of code in a sentence has at most so many characters
RANGE = 100_000           # no changed loop may be longer


@dataclass(frozen=True)
class Repair:
    """Changes of places, ((node, field, index or None), new), that are one change; what is said if it helps."""

    rank: int
    said: object              # () -> text: it is wanted of one in hundreds
    changes: tuple


def of_repairs(exercise, f, is_right):
    """(headline, advice) if one change of the answer's own source makes it right on every case; else None."""
    tree = source(f)
    if tree is None or getattr(exercise.prepare, "launches", False):
        return None
    args, scope = exercise.case_list[0].args, Scope(tree)
    names = {**f.__globals__, "range": _short_range}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), together(exercise.seed):
        warnings.simplefilter("ignore")
        tries = min(TRIES, WORK // (effort(f, args) + 1))
        scope.shapes = shapes(f, tree, scope, fresh(args))
        given = {name: getattr(x, "shape", ()) for name, x in zip(scope.arguments, args)}
        scope.vectors = given | {name: x for name, x in scope.shapes.items() if isinstance(x, torch.Size)}
        repairs = sorted(_repairs(tree, scope), key=lambda repair: repair.rank)
        for repair in itertools.islice(repairs, tries):
            g = made(f, tree, scope, _merged(repair.changes), names)
            if g is not None and is_right(g):
                return f"it {repair.said()}", ["With this one change, what you wrote is right on every case."]
    return None


def _short_range(*bounds):
    if len(loop := range(*bounds)) > RANGE:
        raise ValueError("too long a loop")
    return loop


def _merged(changes):
    """The Edits of some changes; those in one list become one."""
    whole, parts = {}, defaultdict(dict)
    for (node, name, index), new in changes:
        if index is None:
            whole[node, name] = new
        else:
            parts[node, name][index] = new
    for (node, name), news in parts.items():
        whole[node, name] = [news.get(i, old) for i, old in enumerate(getattr(node, name))]
    return [Edit(0, "", node, name, new) for (node, name), new in whole.items()]


def _repairs(tree, scope):
    """Every Repair of a function; none by which it no longer looks at an argument: that is another program."""
    everywhere = defaultdict(list)
    loads = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    for statement in tree.body:
        for node in ast.walk(statement):
            for place, old in _parts(node):
                if not isinstance(old, ast.expr):
                    continue
                for rank, new in _of_expression(old, scope):
                    if isinstance(node, ast.Expr) and not isinstance(new, ast.Call):
                        continue                                         # a line that would do nothing any more
                    yield Repair(rank, partial(_instead, old, new, scope), ((place, new),))
                    if _is_small(old) and _is_small(new):
                        everywhere[_change(old, new)].append((rank, place, new))
            for name, body in ast.iter_fields(node):
                yield from _of_body(node, name, body, scope)
    yield from _of_body(tree, "body", tree.body, scope)
    for (old, new), found in everywhere.items():
        gone = old in scope.arguments and len(found) == loads[old] and not new.startswith(f"{old}[")
        if 2 <= len(found) <= 6 and old != new and not gone:
            said = f"has `{_short(old)}` where `{_short(new)}` belongs, {_times(len(found))}"
            yield Repair(found[0][0] + 1, partial(str, said), tuple((place, new) for _, place, new in found))
    for statement in [node for node in ast.walk(tree) if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return))]:
        yield from _exchanged(statement, scope)
        yield from _of_the_chunk(statement, scope)


def _change(old, new):
    """What stands where something else belongs: of two calls with the same arguments, the functions."""
    names = [x.func.attr for x in (old, new) if isinstance(x, ast.Call) and isinstance(x.func, ast.Attribute)]
    if len(names) == 2 and names[0] != names[1]:
        return tuple(names)
    return ast.unparse(old), ast.unparse(new)


def _is_small(node):
    return len(list(itertools.islice(ast.walk(node), 13))) <= 12


def _times(n):
    return ("", "", "twice", "three times")[n] if n < 4 else f"{n} times"


def _parts(node):
    """((node, field, index), part) of every expression right below a node."""
    for name, value in ast.iter_fields(node):
        for i, part in enumerate(value) if isinstance(value, list) else [(None, value)]:
            yield (node, name, i), part


# -- changes of an expression -----------------------------------------------------------------------------------------

def _of_expression(old, scope):
    """(rank, new) of an expression: the changes that make a solution wrong, and some that only mend."""
    if isinstance(getattr(old, "ctx", None), ast.Store):
        return
    for rank, _, new in of_expression(old, scope):
        entered = any(isinstance(x, ast.Name) and x.id.endswith(ENTERED) for x in ast.walk(new))
        if not entered and not _turned_twice(new):
            yield rank, new
    match old:
        case ast.BinOp(op=ast.BitXor()):
            yield 0, ast.BinOp(old.left, ast.Pow(), old.right)
        case ast.BinOp(left=ast.Constant(1 | 1.0), op=ast.Sub()):
            yield 0, old.right
        case ast.BinOp(op=ast.MatMult()):
            yield 4, ast.BinOp(old.left, ast.Mult(), old.right)
            for mask in ("tril", "triu"):
                for diagonal in (0, -1, 1):
                    text = f"x.{mask}({diagonal or ''})"
                    call = ast.parse(text, mode="eval").body
                    call.func.value = old
                    yield 3, call
        case ast.BinOp(op=ast.Mult()):
            yield 5, ast.BinOp(old.left, ast.MatMult(), old.right)
            yield 5, ast.BinOp(old.left, ast.Add(), old.right)
        case ast.Call():
            for i in range(len(old.keywords)):
                yield 2, ast.Call(old.func, old.args, [*old.keywords[:i], *old.keywords[i + 1:]])
            if called(old) == "range" and len(old.args) > 1:
                yield 2, ast.Call(old.func, [ast.Constant(0), *old.args[1:]], [])
        case ast.Slice():
            for name in ("lower", "upper", "step"):
                if getattr(old, name) is not None:
                    kept = {n: None if n == name else getattr(old, n) for n in ("lower", "upper", "step")}
                    yield 2, ast.Slice(**kept)
        case ast.Name() if old.id in scope.local and old.id not in scope.counters:
            if isinstance(scope.parent.get(old), (ast.Assign, ast.Subscript)):
                yield 3, ast.Call(ast.Attribute(old, "clone", ast.Load()), [], [])
            yield 3, transposed(old)
            around = scope.parent.get(old)
            factor = isinstance(around, ast.BinOp) and isinstance(around.op, (ast.Mult, ast.Div))
            if factor and len(scope.vectors.get(old.id, ())) == 1:       # one number for each row
                yield 1, ast.Subscript(old, ast.Tuple([ast.Slice(), ast.Constant(None)], ast.Load()), ast.Load())


def _turned_twice(node):
    """Whether a transpose is transposed: what leaves both out says it better."""
    transposes = [x for x in ast.walk(node) if isinstance(x, ast.Attribute) and x.attr in ("T", "mT")]
    return any(isinstance(x.value, ast.Attribute) and x.value.attr in ("T", "mT") for x in transposes)


def _exchanged(statement, scope):
    """Two variables in each other's place in one statement."""
    uses = defaultdict(list)
    for node in ast.walk(statement):
        for place, part in _parts(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id in scope.local:
                uses[part.id].append(place)
    for a, b in itertools.combinations(uses, 2):
        changes = [(place, ast.Name(b, ast.Load())) for place in uses[a]]
        changes += [(place, ast.Name(a, ast.Load())) for place in uses[b]]
        said = _saying(f"has `{a}` and `{b}` in each other's place, in {{}}", statement)
        yield Repair(EXCHANGED, said, tuple(changes))


def _of_the_chunk(statement, scope):
    """In one statement, what is of the whole sequence where what is of a chunk belongs, or the other way round."""
    for turn in (str.upper, str.lower):
        places = [(place, part.id) for node in ast.walk(statement) for place, part in _parts(node)
                  if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
                  and turn(part.id) != part.id and turn(part.id) in scope.local]
        if names := dict.fromkeys(name for _, name in places):
            said = f"has {', '.join(f'`{x}`' for x in names)} where {', '.join(f'`{turn(x)}`' for x in names)} belong"
            changes = tuple((place, ast.Name(turn(name), ast.Load())) for place, name in places)
            yield Repair(3, _saying(f"{said}{'s' * (len(names) == 1)}, in {{}}", statement), changes)


def _instead(old, new, scope):
    """What stands where something else belongs; of something short, with a little of what is around it."""
    around, replaced = old, new
    while isinstance(around, (ast.Name, ast.Constant, ast.UnaryOp, ast.Slice)) or len(ast.unparse(around)) < 8:
        parent = scope.parent.get(around)
        if not isinstance(parent, ast.expr) or len(ast.unparse(parent)) > WIDTH:
            break
        copy = _with(parent, around, replaced)
        around, replaced = parent, copy
    before, after = _apart(ast.unparse(around), ast.unparse(replaced))
    return f"has `{before}` where `{after}` belongs"


def _with(parent, child, new):
    copy = type(parent)()
    for name, value in ast.iter_fields(parent):
        changed = [new if x is child else x for x in value] if isinstance(value, list) else (
            new if value is child else value)
        setattr(copy, name, changed)
    return copy


def _apart(a, b):
    """Two pieces of code, cut to where they differ if they are long."""
    a, b = " ".join(a.split()), " ".join(b.split())
    if max(len(a), len(b)) <= WIDTH:
        return a, b
    start = max(0, len(os.path.commonprefix([a, b])) - 16)
    end = max(0, len(os.path.commonprefix([a[::-1], b[::-1]])) - 12)
    end = min(end, len(a) - start - 1, len(b) - start - 1)
    return tuple(f"{'... ' if start else ''}{x[start:len(x) - end]}{' ...' if end else ''}" for x in (a, b))


def _short(text):
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[:WIDTH - 4]} ..."


# -- changes of statements --------------------------------------------------------------------------------------------

def _line(statement):
    first = ast.unparse(statement).splitlines()[0]
    return f"`{_short(first.removesuffix(':'))}`"


def _saying(text, *steps):
    """Says a text with the lines of some steps in its gaps, when it is called."""
    return lambda: text.format(*map(_line, steps))


def _of_body(node, name, body, scope):
    """A step too many, in the wrong place or in the wrong loop; a loop of the wrong length; results exchanged."""
    if not isinstance(body, list) or not body or not isinstance(body[0], ast.stmt):
        return
    for i, step in enumerate(body):
        ends = isinstance(step, ast.Return)
        for rank, said, new in () if ends else (*_without(body, i), *_moved(body, i)):
            yield Repair(rank, said, (((node, name, None), new),))
        for said, new in _across_a_loop(body, i):
            yield Repair(2, said, (((node, name, None), new),))
        if isinstance(step, ast.For):
            for piece, said in (("[1:]", "has one round too many in its loop: the first"),
                                ("[:-1]", "has one round too many in its loop: the last"),
                                ("[::-1]", "runs through its loop in the wrong direction")):
                over = ast.parse(f"list(x){piece}", mode="eval").body
                over.value.args = [step.iter]
                yield Repair(2, partial(str, said), (((step, "iter", None), over),))
        if ends and step.value is not None:
            yield from _of_return(step, scope)


def _without(body, i):
    rest = [*body[:i], *body[i + 1:]]
    yield 1, _saying("takes the step {}, which does not belong", body[i]), rest or [ast.Pass()]


def _moved(body, i):
    """A step at every other place of its block, but not behind the return."""
    rest = [*body[:i], *body[i + 1:]]
    for j in range(len(rest) + (not isinstance(body[-1], ast.Return))) if len(body) <= 12 else ():
        if j != i:
            where, other = ("after", rest[j]) if j < i else ("before", rest[j - 1])
            said = _saying(f"takes the step {{}} {where} {{}}: it should be the other way round", body[i], other)
            yield 2, said, [*rest[:j], body[i], *rest[j:]]


def _across_a_loop(body, i):
    """The last step of a loop taken out of it, and the step behind a loop taken in."""
    step, after = body[i], body[i + 1:]
    if isinstance(step, (ast.For, ast.If)) and len(step.body) > 1:
        last = step.body[-1]
        said = _saying("takes the step {} inside of {}, and it belongs after it", last, step)
        shorter = type(step)(**{n: getattr(step, n) for n in step._fields} | {"body": step.body[:-1]})
        yield said, [*body[:i], shorter, last, *([] if isinstance(last, ast.Return) else after)]
    if isinstance(step, ast.For) and after and not isinstance(after[0], ast.Return):
        said = _saying("takes the step {} after its loop, and it belongs inside", after[0])
        yield said, [*body[:i], ast.For(step.target, step.iter, [*step.body, after[0]], []), *after[1:]]


def _of_return(step, scope):
    """The results in another order, or another variable in the place of one."""
    parts = step.value.elts if isinstance(step.value, ast.Tuple) else []
    for order in itertools.permutations(range(len(parts))) if 2 <= len(parts) <= 5 else ():
        moved = [i for i, j in enumerate(order) if i != j]
        if moved and (len(moved) == 2 or len(parts) <= 3):
            new = ast.Tuple([parts[j] for j in order], ast.Load())
            right = _short(ast.unparse(new).strip("()"))
            said = f"returns its results in another order than `{right}`"
            yield Repair(2, partial(str, said), (((step, "value", None), new),))
    for i, part in enumerate(parts or [step.value]):
        for other in scope.local:
            if not (isinstance(part, ast.Name) and part.id == other):
                place = (step.value, "elts", i) if parts else (step, "value", None)
                said = f"returns `{_short(ast.unparse(part))}` where `{other}` belongs"
                yield Repair(3, partial(str, said), ((place, ast.Name(other, ast.Load())),))
