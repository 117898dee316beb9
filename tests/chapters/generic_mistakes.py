"""Wrong answers of the kind that anybody writes anywhere, made from an exercise's own reference.

An answer here is the reference on inputs that are not those it was given, or its result with one thing done to it.
"""

import math

import torch

from deltanet_edu.tutor.compare import difference
from deltanet_edu.tutor.formatting import argument_names


def floating(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def on_tensors(change):
    """`change` done to every floating point tensor and number of a result."""
    def changed(x):
        if isinstance(x, (tuple, list)):
            return type(x)(map(changed, x))
        if isinstance(x, dict):
            return {name: changed(y) for name, y in x.items()}
        if isinstance(x, float):
            return change(torch.tensor(x, dtype=torch.float64)).item()
        if type(x) is int:
            return int(change(torch.tensor(float(x), dtype=torch.float64)).item())
        return change(x) if floating(x) else x
    return changed


def only(i, change):
    """`change` done to member i of a result, if it has several."""
    def changed(x):
        if not isinstance(x, (tuple, list)) or not x:
            return on_tensors(change)(x)
        members = list(x)
        members[i] = on_tensors(change)(x[i])
        return type(x)(members)
    return changed


def matrix(change):
    return lambda x: change(x) if x.ndim >= 2 else x


def square(change):
    return lambda x: change(x) if x.ndim >= 2 and x.shape[-1] == x.shape[-2] else x


def no_diagonal(x):
    return x - torch.diag_embed(x.diagonal(dim1=-2, dim2=-1))


RESULTS = {
    "sign": on_tensors(torch.neg), "sign of the first result": only(0, torch.neg),
    "sign of the last result": only(-1, torch.neg),
    "twice": on_tensors(lambda x: 2 * x), "half": on_tensors(lambda x: x / 2), "plus one": on_tensors(lambda x: x + 1),
    "scale by the root of the width": on_tensors(lambda x: x / math.sqrt((x.shape[-1] if x.ndim else 1) + 1)),
    "transpose": on_tensors(matrix(lambda x: x.mT)), "transpose where square": on_tensors(square(lambda x: x.mT)),
    "lower triangle": on_tensors(square(torch.tril)),
    "strictly lower triangle": on_tensors(square(lambda x: x.tril(-1))),
    "upper triangle": on_tensors(square(torch.triu)), "without diagonal": on_tensors(square(no_diagonal)),
    "plus the identity": on_tensors(square(lambda x: x + torch.eye(x.shape[-1], dtype=x.dtype))),
    "minus the identity": on_tensors(square(lambda x: x - torch.eye(x.shape[-1], dtype=x.dtype))),
    "one late": on_tensors(lambda x: x.roll(1, 0) if x.ndim else x),
    "reversed": on_tensors(lambda x: x.flip(0) if x.ndim else x),
    "sum over time": on_tensors(lambda x: x.cumsum(0) if x.ndim else x),
    "last entry lost": on_tensors(lambda x: x[:-1] if x.ndim else x),
    "mean removed": on_tensors(lambda x: x - x.mean() if x.numel() else x), "absolute value": on_tensors(torch.abs),
    "small number added": on_tensors(lambda x: x + 1e-5),
    "first result only": lambda x: x[0] if isinstance(x, tuple) and len(x) > 1 else x,
    "softmax": on_tensors(lambda x: x.softmax(-1) if x.ndim else x),
}

ARGUMENTS = {
    "zero {}": torch.zeros_like, "{} one": torch.ones_like, "minus {}": torch.neg, "twice {}": lambda x: 2 * x,
    "half {}": lambda x: x / 2,
    "{} squared": torch.square, "1 - {}": lambda x: 1 - x, "{} + 1e-6": lambda x: x + 1e-6,
    "normalized {}": lambda x: torch.nn.functional.normalize(x, dim=-1) if x.ndim else x,
    "{} over the root of its width": lambda x: x / math.sqrt(x.shape[-1]) if x.ndim else x,
    "{} one late": lambda x: x.roll(1, 0) if x.ndim > 1 else x,
    "{} reversed": lambda x: x.flip(0) if x.ndim > 1 else x, "{} transposed": square(lambda x: x.mT),
    "sigmoid of {}": torch.sigmoid,
    "{} rounded": torch.round,
}


def with_argument(f, i, change):
    def answer(*args):
        x = args[i]
        changed = change(x.detach()).requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else change(x)
        return f(*args[:i], changed, *args[i + 1:])
    return answer


def swapped(f, i, j):
    def answer(*args):
        args = list(args)
        args[i], args[j] = args[j], args[i]
        return f(*args)
    return answer


def returning(i):
    return lambda *args: args[i]


def changes_something(exercise, change, i=None):
    """Whether a change of the results, or of argument i, changes any of the exercise's cases at all."""
    if i is None:
        values = [outcome.value for outcome in exercise.expected if outcome.error is None]
    else:
        values = [case.args[i] for case in exercise.case_list]
    return any(difference(x, change(x), 1e-12) is not None for x in values)


def generic_mistakes(exercise):
    """{name: function} for an exercise that is answered by a function; changes that change nothing are left out."""
    f, cases = exercise.prepared(exercise.reference), exercise.case_list
    n = min(len(case.args) for case in cases)
    names = argument_names(f, n)
    answers = {}
    if not exercise.buffers(0):
        answers |= {name: lambda *args, change=change: change(f(*args)) for name, change in RESULTS.items()
                    if changes_something(exercise, change)}
        answers |= {f"{names[i]} returned": returning(i) for i in range(n)}
    tensors = [i for i in range(n) if all(floating(case.args[i]) for case in cases)]
    for i in tensors:
        answers |= {name.format(names[i]): with_argument(f, i, change) for name, change in ARGUMENTS.items()
                    if changes_something(exercise, change, i)}
    for i in (i for i in range(n) if all(type(case.args[i]) is int for case in cases)):
        answers |= {f"{names[i]} + 1": with_argument(f, i, lambda x: x + 1),
                    f"{names[i]} - 1": with_argument(f, i, lambda x: x - 1)}
    answers |= {f"{names[i]} and {names[j]} swapped": swapped(f, i, j) for i in tensors for j in tensors if i < j}
    return answers


def generic_values(right):
    """Wrong numbers near a right one."""
    if isinstance(right, tuple) and all(isinstance(x, (int, float)) for x in right):
        return [tuple(-x for x in right), tuple(2 * x for x in right), tuple(reversed(right)),
                (right[0], *(-x for x in right[1:]))]
    if isinstance(right, (int, float)) and not isinstance(right, bool):
        return [-right, 2 * right, right / 2, right + 1, right - 1, right**2, 1000 * right, 1.02 * right, right / 3]
    return []
