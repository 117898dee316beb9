"""Small exercises for the tests of the tutor itself. They are made directly, so that they are not in the registry."""

import torch

from deltanet_edu.tutor import Case, Mistake
from deltanet_edu.tutor.registry import Exercise


def running_sum(x, S):
    """x: (T, V), S: (V,): the sums of the rows up to each t, starting from S; and the last one."""
    o = S + x.cumsum(0)
    return o, o[-1]


def cases(g):
    for T, empty in ((1, True), (1, False), (2, False), (5, True), (5, False)):
        x = torch.randn(T, 3, generator=g, dtype=torch.float64)
        S = torch.zeros(3, dtype=torch.float64) if empty else torch.randn(3, generator=g, dtype=torch.float64)
        yield Case((x, S), f"{'empty' if empty else 'nonempty'} memory, T = {T}")


def shifted(x, S):
    o = torch.cat([S[None], (S + x.cumsum(0))[:-1]])
    return o, S + x.sum(0)


MUTANTS = {
    "forgets the memory": Mistake(lambda x, S: (x.cumsum(0), x.sum(0)),
                                  "The sum starts from S. Yours starts from zero.", "eq. 1.1", next="What is T = 0?"),
    "reads before it writes": Mistake(shifted, "Entry t includes token t.", "eq. 1.1"),
    "sums from the end": Mistake(lambda x, S: (S + x.flip(0).cumsum(0).flip(0), S + x.sum(0)),
                                 "Earlier tokens come first.", "eq. 1.1"),
    "averages": Mistake(lambda x, S: (S + x.cumsum(0) / len(x), S + x.mean(0)), "There is nothing to divide by.",
                        "eq. 1.1"),
}


def make(reference=running_sum, alternatives=None, cases=cases, mutants=MUTANTS, **changes):
    """An exercise like those of a chapter."""
    fields = dict(id="99.1", title="Running sums", kind="code", stars=2, minutes=10, equations=(),
                  hints=("a", "b", "c"))
    return Exercise(**{**fields, "reference": reference, "alternatives": alternatives or (reference,), "cases": cases,
                       "mutants": mutants, **changes})


def single(f, *, n=3, note="K ≠ V"):
    """An exercise about one tensor x: (n, 5), with reference f."""
    def one_tensor(g):
        for i in (n, n + 1):
            yield Case((torch.randn(i, 5, generator=g, dtype=torch.float64),), f"{note}, T = {i}")
    return make(f, cases=one_tensor, mutants={})


def value(right, **changes):
    """An exercise whose answer is a number."""
    return make(right, alternatives=(), cases=None, mutants={}, **changes)
