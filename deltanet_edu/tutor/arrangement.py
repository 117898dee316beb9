"""What is right but for its arrangement: results exchanged, dimensions in another order, the last of many, not summed.

Every name is a fact: on every case that fails, the answer is the right one after exactly this change.
"""

import itertools

import torch

from .compare import as_tensor, difference


def of_arrangement(exercise, outcomes, wrong):
    """(headline, advice) if the answer is the right one arranged otherwise, on every failing case; else None."""
    pairs = [(exercise.expected[i], outcomes[i]) for i, bad in enumerate(wrong) if bad]
    if not pairs or any(e.error is not None or o.error is not None for e, o in pairs):
        return None
    values = [(e.value, o.value) for e, o in pairs]
    if said := _exchanged(values, exercise.tolerance):
        return said
    found = [difference(e, a, exercise.tolerance) for e, a in values]
    if any(d is None or d.where != found[0].where for d in found) or not any(d.kind == "shape" for d in found):
        return None
    tensors = [(as_tensor(d.expected), as_tensor(d.actual)) for d in found]
    if any(e is None or a is None or not e.numel() for e, a in tensors):
        return None
    apart = [(e, a) for e, a in tensors if e.shape != a.shape]
    if all(_large(e) == _large(a) for e, a in apart):                    # a dimension of size 1, too many or missing
        return None
    place = f" in result{found[0].where}" if found[0].where else ""
    for said, advice, change in _changes(max(e.ndim for e, _ in tensors)):
        if all(_fits(change, e, a, exercise.tolerance) for e, a in tensors):
            e, a = apart[0]
            return f"its shape is {tuple(a.shape)}, expected {tuple(e.shape)}{place}: {said}", [advice]
    return None


def _large(x):
    """The dimensions of a tensor that are not of size 1."""
    return [n for n in x.shape if n != 1]


def _exchanged(values, tolerance):
    """Results in another order."""
    n = len(values[0][0]) if isinstance(values[0][0], (tuple, list)) else 0
    if not 2 <= n <= 5 or any(not isinstance(a, (tuple, list)) or len(a) != n for _, a in values):
        return None
    for order in itertools.permutations(range(n)):
        if order != tuple(range(n)) and all(
                difference(tuple(e[i] for i in order), tuple(a), tolerance) is None for e, a in values):
            return "it returns its results in another order", []
    return None


def _changes(ndim):
    """(what is said, what to do, (expected, actual) -> the two that should be equal) for every arrangement."""
    for d in range(ndim):
        yield (f"it is only the last along dimension {d}", "Each round of a loop has to be kept: collect, then stack.",
               lambda e, a, d=d: (e.select(d, -1), a))
    for d in range(ndim):
        yield (f"it lacks the end along dimension {d}", "What is there is right.",
               lambda e, a, d=d: (e.narrow(d, 0, min(a.shape[d], e.shape[d])), a))
        yield (f"it has too much at the end along dimension {d}", "What is before that is right.",
               lambda e, a, d=d: (e, a.narrow(d, 0, min(a.shape[d], e.shape[d]))))
    for order in itertools.permutations(range(ndim)):
        if order != tuple(range(ndim)):
            yield ("its dimensions are in another order", "Was something transposed, or stacked along another one?",
                   lambda e, a, order=order: (e.permute(order), a))
    yield ("its pieces are joined end to end", "A `reshape` is missing, or a `stack` in the place of a `cat`.",
           lambda e, a: (e.flatten(), a))
    for d in range(ndim + 1):
        yield "it is not added up", f"Its sum over dimension {d} is right.", lambda e, a, d=d: (e, a.sum(d))
        yield "it is not averaged", f"Its mean over dimension {d} is right.", lambda e, a, d=d: (e, a.mean(d))
        yield ("its entries are right, one dimension is too much", "`squeeze` it.",
               lambda e, a, d=d: (e, a.squeeze(d)))


def _fits(change, e, a, tolerance):
    try:
        right, given = change(e, a.to(torch.promote_types(e.dtype, a.dtype)))
    except (RuntimeError, IndexError):
        return False
    return right.shape == given.shape and difference(right, given, tolerance) is None
