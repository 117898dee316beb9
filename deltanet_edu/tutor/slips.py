"""The usual slips, recognized without a catalogue: a factor, a sign, a square, an order; an input taken for another.

Each name is a fact about the answer: it equals the right one after exactly this change, on every case. Nothing else is
said.
"""

import itertools
import math
from numbers import Number

import torch

from .compare import as_tensor, difference, equal
from .formatting import argument_names, number
from .variants import of_number

CLOSE = 0.01              # within a hundredth of the right number, an answer is close


# -- answers that are numbers -----------------------------------------------------------------------------------------

def of_value(right, answer, tolerance, givens=None, working=None):
    """(headline, advice) for a wrong number or a wrong list of numbers; None if it is no usual slip.

    givens: {name: number} of what the question gives, such as {"β": 0.5}: factors that may be missing.
    working: functions that work the number out; what comes out if one step is changed is recognized.
    """
    a = as_number(answer)
    near = max(tolerance, 1e-4) if a is not None and not a.is_integer() else tolerance     # a fraction may be rounded
    worked = of_number(working, answer, near) if working else None
    if isinstance(right, (tuple, list)):
        return worked or _of_list(right, answer, tolerance, givens or {})
    r, a = as_number(right), as_number(answer)
    if r is None or a is None:
        return None
    if r and abs(a + r) <= tolerance * max(1.0, abs(a)):
        return "its sign is flipped", []
    if worked:
        return worked
    part = tolerance / min(1.0, abs(r) or 1.0)                           # a small number is no coarser than a large one
    for headline, advice, fits in _slips(r, a, givens or {}, isinstance(right, int)):
        if abs(fits) <= part * abs(a):
            return headline, advice
    return ("close, but not exact", []) if difference(r, a, CLOSE) is None else None


def as_number(x):
    """A finite float for a number of any kind, else None."""
    t = as_tensor(x)
    if t is None or t.numel() != 1 or t.dtype == torch.bool or t.is_complex() or not bool(t.isfinite().all()):
        return None
    return t.double().item()


def _slips(r, a, givens, count):
    """(headline, advice, what is zero if it is this slip) for every usual slip, the likeliest first.

    count: whether the right number is a whole one. Then it may be off by one, and is too often a square by chance.
    """
    for name, g in givens.items():
        if g not in (0, 1):
            yield f"it is off by the factor {name} = {number(g)}", [f"Is {name} missing, or there twice?"], min(
                abs(a - r * g), abs(a * g - r))
    if r and count and float(a).is_integer():
        yield "it is off by one", ["Was an end counted that should not be, or left out?"], abs(a - r) - 1
    yield "it is twice the right number", ["Was something counted twice?"], a - 2 * r if r else 1
    yield "it is half the right number", ["Was something counted once that counts twice?"], a - r / 2 if r else 1
    if not float(r).is_integer():
        yield "it is the square of the right number", [], a - r * r
        yield "its square is the right number", [], a * a - r
    if r not in (0, 1):
        yield "it is one over the right number", ["What is divided by what?"], a - 1 / r
        yield "it is one minus the right number", [], a - (1 - r)
    if a and r not in (0, 1):                                            # nothing and one are no factor of anything
        for factor in (8, 10):
            yield f"it is off by a factor of {factor}", [], _nearest(a, (factor * r, r / factor), r)
        for unit in (100, 1000, 1024, 1e6, 2**20, 1e9, 2**30):
            ratio = max(abs(a / r), abs(r / a)) / unit                   # compared as ratios: r / 1e9 is nearly nothing
            yield f"it is off by a factor of {unit:,.0f}", ["Which unit does the question ask for?"], (
                (ratio - 1) * max(1.0, abs(a)) if a * r > 0 else math.inf)


def _nearest(a, candidates, r):
    return min(abs(a - c) for c in candidates) if r else 1


def _of_list(right, answer, tolerance, givens):
    """Slips that all numbers of a list share, their order, and which of them are wrong."""
    if not isinstance(answer,
                      (tuple, list)) or len(answer) != len(right) or not all(isinstance(r, Number) for r in right):
        return None
    pairs = [*zip(map(as_number, right), map(as_number, answer))]
    if None in itertools.chain(*pairs):
        return None
    bad = [i for i, (r, a) in enumerate(pairs) if difference(r, a, tolerance) is not None]
    first = of_value(*pairs[bad[0]], tolerance, givens) if bad else None
    if len(bad) == len(right) and first and all(of_value(*pair, tolerance, givens) == first for pair in pairs):
        return first
    if difference(sorted(r for r, _ in pairs), sorted(a for _, a in pairs), tolerance) is None:
        return "these are the right numbers in another order", []
    if 0 < len(bad) < len(right):
        names = " and ".join(ordinal(i) for i in bad)
        headline = f"the {names} number{' is' if len(bad) == 1 else 's are'} wrong, the rest is right"
        return headline, [f"Of the {ordinal(bad[0])}: {first[0]}."] if first else []
    return None


def ordinal(i):
    """The name of position i, from 0: first, second, third, 4th."""
    return ("first", "second", "third")[i] if i < 3 else f"{i + 1}th"


# -- answers that are functions ---------------------------------------------------------------------------------------

def of_function(exercise, outcomes, wrong, alone=False):
    """(headline, advice) if the answer is, on every case, the right one for other inputs: β = 1, k and q swapped, ...

    The reference is run on the changed inputs, wrong cases first, until it differs from the answer.
    alone: only if there is one such change; if several come to the same, the slip may lie elsewhere.
    """
    order = sorted(range(len(wrong)), key=lambda i: not wrong[i])
    if any(outcomes[i].error is not None or exercise.expected[i].error is not None for i in order if wrong[i]):
        return None
    if judged(exercise):
        return None
    n = min(len(case.args) for case in exercise.case_list)
    names = argument_names(exercise.prepared(exercise.reference), n)
    found = [headline for headline, change in _changes(names, exercise.case_list)
             if all(_same_as_if(exercise, i, headline, change, outcomes[i]) for i in order)]
    if not found or (alone and len(found) > 1):
        return None
    headline, others = _in_one(found)
    also = [f"It could also be: {other}." for other in others[:2]]
    return headline, ["It returns what would be right then, on every case.", *also]


def judged(exercise):
    """Whether the cases are inputs of a judge, who calls the answer in its own way, and not the answer's own."""
    handed_on = hasattr(exercise.prepare, "lines") or getattr(exercise.prepare, "as_given", False)
    return exercise.prepare is not None and not handed_on


def _in_one(found):
    """One headline for all that differ from the first in the same one word, "it uses k or v ..."; and the others."""
    first = found[0].split()
    apart = {other: [i for i, (x, y) in enumerate(zip(first, other.split())) if x != y] for other in found[1:]}
    places = [places for other, places in apart.items() if len(places) == 1 and len(other.split()) == len(first)]
    if not places:
        return found[0], found[1:]
    alike = [other for other in found[1:] if apart[other] == places[0] and len(other.split()) == len(first)]
    names = " or ".join(other.split()[places[0][0]] for other in (found[0], *alike))
    headline = " ".join([*first[:places[0][0]], names, *first[places[0][0] + 1:]])
    return headline, [other for other in found[1:] if other not in alike]


def _changes(names, cases):
    """(what an answer does that takes the inputs so, the change of the arguments) for every usual change."""
    kinds = [_common_kind(cases, i) for i in range(len(names))]
    tensors = [i for i, kind in enumerate(kinds) if kind == "tensor"]
    for i, name in enumerate(names):
        if kinds[i] == "whole number":
            yield f"it takes {name} + 1 for {name}", _at(i, lambda n: n + 1)
            yield f"it takes {name} - 1 for {name}", _at(i, lambda n: n - 1)
    for i in tensors:
        for how, change in (("as 1", torch.ones_like), ("as zero", torch.zeros_like)):
            yield f"it treats {names[i]} {how}", _at(i, change)
    for i, j in itertools.combinations(tensors, 2):
        if all(case.args[i].shape == case.args[j].shape for case in cases):
            yield f"it uses {names[i]} and {names[j]} in each other's place", _swap(i, j)
            yield f"it uses {names[i]} where {names[j]} belongs", _copy(i, j)
            yield f"it uses {names[j]} where {names[i]} belongs", _copy(j, i)
    for i in tensors:
        name = names[i]
        yield f"it uses {name} with the other sign", _at(i, torch.neg)
        yield f"it uses {name} twice over, as 2 {name}", _at(i, lambda x: 2 * x)
        yield f"it uses half of {name}", _at(i, lambda x: x / 2)
        yield f"it uses the square of {name}", _at(i, torch.square)
        yield f"it uses 1 - {name} for {name}", _at(i, lambda x: 1 - x)
        if all(case.args[i].ndim and case.args[i].shape[-1] > 0 for case in cases):
            yield f"it divides {name} by the root of its width", _at(i, lambda x: x / math.sqrt(x.shape[-1]))
            yield f"it divides {name} by its squared length", _at(i, lambda x: x / x.square().sum(-1, keepdim=True))
            yield f"it takes a softmax of {name}", _at(i, lambda x: x.softmax(-1))
            yield f"it normalizes {name}", _at(i, lambda x: torch.nn.functional.normalize(x, dim=-1))
        if all(case.args[i].ndim >= 2 and case.args[i].shape[-1] == case.args[i].shape[-2] for case in cases):
            yield f"it uses {name} transposed", _at(i, lambda x: x.mT)


def _common_kind(cases, i):
    """What argument i is in every case: "tensor" (of floating point), "whole number", or "" for anything else."""
    values = [case.args[i] for case in cases]
    if all(isinstance(x, torch.Tensor) and x.is_floating_point() for x in values):
        return "tensor"
    if all(type(x) is int for x in values):
        return "whole number"
    return ""


def _at(i, change):
    return lambda args: tuple(_like(x, change(x)) if j == i else x for j, x in enumerate(args))


def _like(x, changed):
    """A tensor wants gradients if the one it stands for does."""
    return changed.detach().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else changed


def _swap(i, j):
    return lambda args: tuple(args[j] if n == i else args[i] if n == j else x for n, x in enumerate(args))


def _copy(source, target):
    return lambda args: tuple(args[source] if n == target else x for n, x in enumerate(args))


def _same_as_if(exercise, i, headline, change, outcome):
    """Whether the answer's outcome on case i is the reference's on the changed case."""
    if outcome.error is not None:
        return False
    instead = exercise.changed_outcome(headline, change, i)
    return instead.error is None and equal(instead.value, outcome.value, exercise.tolerance)


# -- results that are right but for one thing -------------------------------------------------------------------------

MASKS = (
    ("what is above its diagonal is missing", torch.tril), ("what is below its diagonal is missing", torch.triu),
    ("its diagonal and what is above it are missing", lambda x: x.tril(-1)),
    ("its diagonal and what is below it are missing", lambda x: x.triu(1)),
    ("its diagonal is missing", lambda x: x - torch.diag_embed(x.diagonal(dim1=-2, dim2=-1))),
    ("the identity is added to it", lambda x: x + torch.eye(x.shape[-1], dtype=x.dtype)),
    ("the identity is missing from it", lambda x: x - torch.eye(x.shape[-1], dtype=x.dtype)),
)


def mask(pairs):
    """Of square matrices: a part that is missing, or the identity too much or too little."""
    square = [(e, a) for e, a in pairs if e.ndim >= 2 and e.shape[-1] == e.shape[-2]]
    if not pairs or len(square) < len(pairs):
        return None
    for headline, change in MASKS:
        if all(difference(change(e), a.to(e.dtype), 1e-9) is None
               and difference(change(e), e, 1e-9) is not None for e, a in pairs):
            return headline, []
    return None


def power(pairs):
    """The square or the root of what is right."""
    if not pairs or any(not e.is_floating_point() for e, _ in pairs):
        return None
    if all(difference(e.square(), a.to(e.dtype), 1e-9) is None for e, a in pairs):
        return "it is the square of what is right", []
    if all(difference(e, a.to(e.dtype).square(), 1e-9) is None and bool((a >= 0).all()) for e, a in pairs):
        return "its square is right", []
    return None
