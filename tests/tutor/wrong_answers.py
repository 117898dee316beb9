"""Answers that are wrong for any exercise whatever, made from its own cases: no check may accept one."""

import torch

from deltanet_edu.tutor.compare import difference
from deltanet_edu.tutor.running import fresh, same


def signature(args):
    """What a shape-hard-coded answer would look at: shapes, whole numbers, and whether an argument is given."""
    def seen(x):
        if isinstance(x, torch.Tensor):
            return tuple(x.shape)
        return x if isinstance(x, (int, str)) or x is None else type(x)
    return tuple(map(seen, args))


def mapped(x, change):
    """`change` applied to every tensor and number of a value."""
    if isinstance(x, (tuple, list)):
        return type(x)(mapped(y, change) for y in x)
    if isinstance(x, dict):
        return {name: mapped(y, change) for name, y in x.items()}
    return change(x)


def zeros(x):
    return mapped(x, lambda y: torch.zeros_like(y) if isinstance(y, torch.Tensor) else type(y)())


def produce(outcome):
    """Do again what an outcome records."""
    if outcome.error is not None:
        raise outcome.error
    return fresh(outcome.value)


def deliver(exercise, i, args, value):
    """Return the value, or write it where the reference writes its result."""
    buffers = exercise.buffers(i)
    for j, written in zip(buffers, value if len(buffers) > 1 else (value,)):
        args[j].copy_(written)
    return None if buffers else value


def remembered(exercise, known):
    """Right on the inputs of the cases numbered in `known`, zeros of the right shape on all others."""
    def answer(*args):
        for i, (case, expected) in enumerate(zip(exercise.case_list, exercise.expected)):
            if all(same(a, b) for a, b in zip(case.args, args)) and len(case.args) == len(args):
                value = produce(expected)
                return deliver(exercise, i, args, value if i in known else zeros(value))
        raise AssertionError("called with an input that is no case")
    return answer


# What the author of an exercise does when its check accepts one of these answers.
CURES = {
    "hard-coded for the shapes of the first case":
        "Its cases have one shape: add another, such as delta_inputs(...) + delta_inputs(..., K=2, V=1).",
    "remembers the first half of the cases": "Most of its later cases expect zeros: let some of them expect more.",
    "remembers all cases but the last": "Its last case expects zeros: end with one that expects more.",
    "zeros": "All its cases expect zeros.",
    "constant": "All its cases expect the same.",
    "echo": "Its result is its first argument in every case.",
    "float32": "Its tolerance is too wide to see float32.",
}


def wrong_answers(exercise):
    """{name: function}. Cases that expect an exception stay right, so that the values must give the answer away."""
    cases, expected = exercise.case_list, exercise.expected
    first_shape = {i for i, case in enumerate(cases) if signature(case.args) == signature(cases[0].args)}
    plain = next(outcome for outcome in expected if outcome.error is None)

    answers = {
        "constant": lambda *args: fresh(plain.value),
        "echo": lambda *args: args[0],
        "nothing": lambda *args: None,
        "zeros": remembered(exercise, set()),
        "hard-coded for the shapes of the first case": remembered(exercise, first_shape),
        "remembers the first half of the cases": remembered(exercise, set(range((len(cases) + 1) // 2))),
        "remembers all cases but the last": remembered(exercise, set(range(len(cases) - 1))),
        "NaN": lambda *args: mapped(fresh(plain.value),
                                    lambda y: y * float("nan") if isinstance(y, (torch.Tensor, float)) else None),
    }
    results = [t for outcome in expected for t in leaves(outcome.value)]
    if any(isinstance(t, torch.Tensor) and t.dtype == torch.float64 for t in results):
        if not exercise.buffers(0):
            reference = exercise.prepared(exercise.reference)
            answers["float32"] = lambda *args: mapped(reference(*args),
                                                      lambda y: y.float() if isinstance(y, torch.Tensor) else y)
    return answers


def leaves(x):
    if isinstance(x, (tuple, list)):
        return [leaf for y in x for leaf in leaves(y)]
    if isinstance(x, dict):
        return [leaf for y in x.values() for leaf in leaves(y)]
    return [x]


def wrong_values(right):
    """Values near a right one."""
    if isinstance(right, str):
        return ["?", right + " or not", 0]
    if isinstance(right, (tuple, list)):
        return [right[:-1], (*right, 0), zeros(right) if difference(right, zeros(right), 1e-9) else None]
    def near(y):
        is_number = isinstance(y, (int, float, torch.Tensor)) and not isinstance(y, bool)
        return y * 1.01 + 0.01 if is_number else not y
    return [mapped(right, near), "?"]
