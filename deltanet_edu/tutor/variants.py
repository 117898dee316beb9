"""Right answers with one thing changed: mistakes that nobody has catalogued, read off the solutions themselves.

Every solution of an exercise whose source is a plain `def` is taken apart, and each of its parts is left out, doubled,
negated, exchanged or taken from the wrong place, one at a time. An answer that agrees with such a variant on every case
has made this change, or another that cannot be told from it. That is all that is said. A solution with the attribute
`takes_long` is left whole: its variants would be hundreds of calls.
"""

import itertools
import keyword
import re
import warnings
from functools import lru_cache

from .compare import difference, equal
from .edits import changed
from .expressions import LIKELY
from .running import fresh, together

ENOUGH = 2                # so many names for one answer are enough
# Of a number: a step that nobody takes, and that explains too many numbers.
BY_CHANCE = re.compile(r"`\d+`, which should|the term `\d+`|by `[^`]*\W[^`]*` twice")


def of_variants(exercise, outcomes, wrong, loops=True, names=None):
    """(headline, advice) if the answer is, on every case, a right one with one thing changed; else None.

    loops: whether it may have a loop; of one without, nothing is said about a loop.
    names: those that it uses, if they are known; a piece of a solution that is shown in part must be of these.
    """
    order = sorted(range(len(wrong)), key=lambda i: not wrong[i])
    launches = getattr(exercise.prepare, "launches", False)              # a kernel is no plain function
    chooses = getattr(exercise.prepare, "chooses", False)                # of few results, which say little
    if launches or chooses or not any(bad and outcomes[i].error is None for i, bad in enumerate(wrong)):
        return None
    order.sort(key=lambda i: (not wrong[i], outcomes[i].error is not None))
    found = []
    with warnings.catch_warnings(), together(exercise.seed):
        warnings.simplefilter("ignore")
        told = [(i, said) for i, said in enumerate(variants(exercise))
                if (loops or " loop" not in said) and readable(said, names)]
        for number, said in told:
            if said not in found and all(_agrees(exercise, number, i, outcomes[i]) for i in order):
                found.append(said)
            if len(found) == ENOUGH:
                break
    if not found:
        return None
    also = [f"Or, which comes to the same, it {said}." for said in found[1:2]]
    return f"it {found[0]}", ["It returns what a right answer with this one change returns, on every case.", *also]


def readable(said, names):
    """Whether a reader who has written `names` can tell what is said: not of half a piece of somebody else's code."""
    cut = [piece for piece in re.findall(r"`([^`]*)`", said) if " ... " in piece]
    used = {name for piece in cut for name in re.findall(r"(?<![\w.])[A-Za-z_]\w*(?![\w(])", piece)}
    return names is None or used <= {*names, *keyword.kwlist, "range", "torch", "F", "math"}


def of_number(workings, answer, tolerance):
    """(headline, advice) for a number that comes out if one step of a working is changed; else None.

    Two steps would explain nearly any number, and one step may lead to zero from anywhere.
    """
    if isinstance(answer, (int, float)) and answer == 0:
        return None

    def same(value):
        return difference(value, answer, tolerance) is None

    def opposite(value):                                                 # zero has no other sign
        return isinstance(value, float) and value != 0 and same(-value)

    def changes(rank, fits):
        pairs = itertools.chain.from_iterable(values(f, rank) for f in workings)
        return [*dict.fromkeys(said for said, value in pairs if fits(value))]

    found = changes(LIKELY, same)
    if not found:
        turned = changes(1, opposite)
        found = [f"{said}, and has the other sign" for said in turned] if len(turned) == 1 else []
    if not found:
        return None
    also = [f"It also comes out if one {said}." for said in found[1:ENOUGH]]
    return f"it is what comes out if one {found[0]}", also


@lru_cache(maxsize=64)
def values(f, rank):
    """(what is said of it, what comes out then) for every single change of a working: the next answer asks again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(said, _value(made)) for said, made in changed(f, rank) if not BY_CHANCE.search(said)]


def _value(f):
    try:
        return f()
    except Exception:
        return None


def variants(exercise):
    """What is said of each variant of the exercise's solutions, in order; they are made once."""
    if "variants" not in exercise.known:
        example = fresh(exercise.case_list[len(exercise.case_list) // 2].args)
        solutions = [f for f in (exercise.reference, *exercise.alternatives) if not getattr(f, "takes_long", False)]
        made = [pair for f in solutions for pair in changed(f, example=example)]
        exercise.known["variants"] = made
    return [said for said, _ in exercise.known["variants"]]


def _agrees(exercise, number, i, outcome):
    """Whether an outcome on case i is that of a variant."""
    if ("variant", number, i) not in exercise.known:
        f = exercise.known["variants"][number][1]
        exercise.known["variant", number, i] = exercise.run(exercise.prepared(f), i)
    instead = exercise.known["variant", number, i]
    if instead.error is not None or outcome.error is not None:
        return type(instead.error) is type(outcome.error)
    return equal(instead.value, outcome.value, exercise.tolerance)
