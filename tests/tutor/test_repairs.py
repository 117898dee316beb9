"""One change of an answer's own source that makes it right, and answers that are right but for their arrangement."""

import pytest
import torch

from deltanet_edu.tutor import Case
from deltanet_edu.tutor.grading import grade

from .exercises import make


def loop(q, k, v, beta, S):
    o = []
    for q_t, k_t, v_t, beta_t in zip(q, k, v, beta):
        S = S - beta_t * torch.outer(S @ k_t - v_t, k_t)
        o.append(S @ q_t)
    return torch.stack(o), S


def inputs(g):
    for T, K, V in ((2, 2, 3), (3, 2, 3), (5, 3, 2)):
        shapes = (T, K), (T, K), (T, V), (T,), (V, K)
        yield Case(tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes), f"T = {T}")


def from_the_second(q, k, v, beta, S):
    o = torch.zeros_like(v)
    for t in range(1, len(k)):
        S = S + beta[t] * torch.outer(v[t] - S @ k[t], k[t])
        o[t] = S @ q[t]
    return o, S


def returns_early(q, k, v, beta, S):
    o = torch.zeros_like(v)
    for t in range(len(k)):
        S = S + beta[t] * torch.outer(v[t] - S @ k[t], k[t])
        o[t] = S @ q[t]
        return o, S


def squashes(q, k, v, beta, S):
    o = torch.zeros_like(v)
    for t in range(len(k)):
        S = S + beta[t] * torch.outer(v[t] - S @ k[t], k[t])
        o[t] = torch.tanh(S @ q[t])
    return o, S


def off_by_one_twice(q, k, v, beta, S):
    o = torch.zeros_like(v)
    for t in range(len(k)):
        S = S + beta[t - 1] * torch.outer(v[t - 1] - S @ k[t], k[t])
        o[t] = S @ q[t]
    return o, S


def keeps_what_it_should_erase(q, k, v, beta, S):
    o = torch.zeros_like(v)
    for t in range(len(k)):
        S = S + (1 - beta[t]) * torch.outer(v[t] - S @ k[t], k[t])
        o[t] = S @ q[t]
    return o, S


def in_pieces(x, C):
    T = len(x)
    return torch.cat([x[n:n + C].cumsum(0) for n in range(0, T, C)])


def test_no_change_by_which_an_argument_is_not_looked_at():
    """T for C in both places makes this right, and is not the mistake."""
    cases = [Case((torch.arange(6.0), C), f"C = {C}") for C in (1, 2, 6)]
    verdict = grade(make(lambda x, C: x.cumsum(0), cases=lambda g: cases, mutants={}), in_pieces)
    assert "belongs" not in verdict.headline and verdict.state == "fail"


def scaled(k, v, beta):
    return beta[:, None] * (k @ v.mT)


def scales_the_columns(k, v, beta):
    return beta * (k @ v.mT)


def scales_both(k, v, beta):
    half = beta * k
    return (half @ v.mT + (beta * k) @ v.mT) / 2


def test_a_vector_that_should_be_a_column():
    """Whether it fits by accident, as along the rows of a square, or not at all."""
    def rows(g):
        for T, K in ((2, 3), (3, 2), (5, 3)):
            shapes = (T, K), (T, K), (T,)
            yield Case(tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes), f"T = {T}")
    exercise = make(scaled, cases=rows, mutants={})
    said = grade(exercise, scales_the_columns).headline
    assert said == "it has `beta * (k @ v.mT)` where `beta[:, None] * (k @ v.mT)` belongs"
    assert grade(exercise, scales_both).headline == "it has `beta` where `beta[:, None]` belongs, twice"


REPAIRED = [
    (keeps_what_it_should_erase, "it has `1 - beta[t]` where `beta[t]` belongs"),
    (from_the_second, "it has `range(1, len(k))` where `range(0, len(k))` belongs"),
    (returns_early, "it takes the step `return (o, S)` inside of `for t in range(len(k))`, and it belongs after it"),
    (squashes, "it has `torch.tanh(S @ q[t])` where `S @ q[t]` belongs"),
    (off_by_one_twice, "it has `t - 1` where `t` belongs, twice"),
]


@pytest.mark.parametrize("answer, headline", REPAIRED, ids=[f.__name__ for f, _ in REPAIRED])
def test_one_change_that_makes_it_right(answer, headline):
    verdict = grade(make(loop, cases=inputs, mutants={}), answer)
    assert verdict.headline == headline and "what you wrote is right on every case" in verdict.text


def prints(q, k, v, beta, S):
    print("once")
    return v * 3.0, S


def test_the_search_prints_nothing(capsys):
    """The answer itself is called once or twice on each of the three cases; its hundreds of changed copies are mute."""
    grade(make(loop, cases=inputs, mutants={}), prints)
    assert 3 <= capsys.readouterr().out.count("once") <= 12


ARRANGED = [
    (lambda *x: loop(*x)[::-1], "it returns its results in another order"),
    (lambda *x: (loop(*x)[0][-1], loop(*x)[1]),
     "its shape is (3,), expected (2, 3) in result[0]: it is only the last along dimension 0"),
    (lambda *x: (loop(*x)[0][:1], loop(*x)[1]),
     "its shape is (1, 3), expected (2, 3) in result[0]: it lacks the end along dimension 0"),
    (lambda *x: (torch.cat([loop(*x)[0], x[2]]), loop(*x)[1]),
     "its shape is (4, 3), expected (2, 3) in result[0]: it has too much at the end along dimension 0"),
    (lambda *x: (loop(*x)[0].flatten(), loop(*x)[1]),
     "its shape is (6,), expected (2, 3) in result[0]: its pieces are joined end to end"),
]


@pytest.mark.parametrize("answer, headline", ARRANGED, ids=[headline for _, headline in ARRANGED])
def test_right_but_for_its_arrangement(answer, headline):
    assert grade(make(loop, cases=inputs, mutants={}), answer).headline == headline


def test_other_numbers_are_no_arrangement():
    verdict = grade(make(loop, cases=inputs, mutants={}), lambda *x: (2 * loop(*x)[0][-1], loop(*x)[1]))
    assert verdict.headline == "its shape is (3,), expected (2, 3) in result[0]"


class Counter:
    def __init__(self, n):
        self.n = n

    def step(self):
        self.n += 1


def steps_twice(counter):
    counter.step()
    counter.step()
    return counter.n


def test_a_line_is_not_repaired_into_one_that_does_nothing():
    """`counter` in the place of `counter.step()` mends the answer, and says nothing."""
    def steps(counter):
        counter.step()
        return counter.n

    exercise = make(reference=steps, alternatives=(), cases=lambda g: [Case((Counter(n),), f"{n}") for n in (1, 4)])
    assert "where `counter` belongs" not in grade(exercise, steps_twice).text
