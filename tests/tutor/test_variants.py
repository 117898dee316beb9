"""Mistakes that nobody has catalogued, read off the solutions: one part left out, doubled, exchanged, misplaced."""

import math

import pytest
import torch

from deltanet_edu.tutor import Case, Mistake, variants
from deltanet_edu.tutor.edits import changed
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import RegistrationError

from .exercises import make, value


def loop(q, k, v, beta, S):
    o = []
    for q_t, k_t, v_t, beta_t in zip(q, k, v, beta):
        error = S @ k_t - v_t
        S = S - beta_t * torch.outer(error, k_t)
        o.append(S @ q_t)
    return torch.stack(o), S


def masked(q, k, v, beta, S):
    return (q @ k.T).tril() @ (beta[:, None] * v), S


def inputs(g):
    for T, K, V in ((1, 2, 3), (3, 2, 3), (5, 3, 3)):
        shapes = (T, K), (T, K), (T, V), (T,), (V, K)
        yield Case(tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes), f"T = {T}")


def answer(write=None, rounds=lambda n: range(n), read=lambda S, before, q: S @ q, last=lambda S, S_0: S):
    """The loop, written otherwise, with one thing wrong."""
    def f(q, k, v, beta, S):
        S_0, o = S, torch.zeros_like(v)
        for t in rounds(len(k)):
            before = S
            x = beta[t] * (v[t] - S @ k[t])
            S = S + torch.outer(x, k[t]) if write is None else write(S, S_0, k, v, beta, t)
            o[t] = read(S, before, q[t])
        return o, last(S, S_0)
    return f


LOOPS = [
    (answer(lambda S, S_0, k, v, b, t: b[t] * torch.outer(v[t] - S @ k[t], k[t])), "it leaves out the term `S`"),
    (answer(lambda S, S_0, k, v, b, t: S + b[t] * torch.outer(v[t] - 2 * S @ k[t], k[t])), "it takes `S @ k_t` twice"),
    (answer(lambda S, S_0, k, v, b, t: S + b[t - 1] * torch.outer(v[t] - S @ k[t], k[t])),
     "it takes `beta` one token late"),
    (answer(lambda S, S_0, k, v, b, t: S + b[0] * torch.outer(v[t] - S @ k[t], k[t])),
     "it has `beta[0] * torch.outer(error, k_t)` where `beta_t * torch.outer(error, k_t)` belongs"),
    (answer(last=lambda S, S_0: S_0), "its second result is S as it came in"),
    (answer(read=lambda S, before, q: before @ q),
     "it takes two steps in the other order: `o.append(S @ q_t)` before `S = S - beta_t * torch.outer(error, k_t)`"),
    (answer(lambda S, S_0, k, v, b, t: S - b[t] * torch.outer(S_0 @ k[t] - v[t], k[t])),
     "it uses `S` as it came in, in `S @ k_t`"),
]


@pytest.mark.parametrize("f, headline", LOOPS, ids=[headline for _, headline in LOOPS])
def test_one_part_of_a_loop(f, headline):
    verdict = grade(make(loop, cases=inputs, mutants={}), f)
    assert verdict.headline == headline and verdict.mistake is None


MASKS = [
    (lambda q, k, v, b, S: ((q @ k.T).tril(-1) @ (b[:, None] * v), S), "it masks with `tril(-1)`"),
    (lambda q, k, v, b, S: ((q @ k.T).tril(1) @ (b[:, None] * v), S), "it masks with `tril(1)`"),
    (lambda q, k, v, b, S: ((q @ k.T) @ (b[:, None] * v), S), "it leaves out `.tril()` of `q @ k.T`"),
    (lambda q, k, v, b, S: ((q @ k.T).tril().T @ (b[:, None] * v), S), "it uses `(q @ k.T).tril()` transposed"),
    (lambda q, k, v, b, S: ((k @ q.T).tril() @ (b[:, None] * v), S), "it uses q and k in each other's place"),
]


@pytest.mark.parametrize("f, headline", MASKS, ids=[headline for _, headline in MASKS])
def test_one_part_of_a_product(f, headline):
    assert headline in grade(make(masked, cases=inputs, mutants={}), f).headline


def test_a_change_on_some_cases_only_is_not_named():
    right, wrong = answer(), answer(last=lambda S, S_0: S_0)
    mixed = grade(make(loop, cases=inputs, mutants={}), lambda *x: (wrong if len(x[0]) == 3 else right)(*x))
    assert "as it came in" not in mixed.headline


def test_the_catalogue_and_the_shape_come_first():
    mutants = {"forgets the memory": Mistake(LOOPS[0][0], "Each write is added to it.")}
    assert grade(make(loop, cases=inputs, mutants=mutants), LOOPS[0][0]).mistake == "forgets the memory"
    assert "shape" in grade(make(loop, cases=inputs, mutants={}), lambda *x: (loop(*x)[0].T, x[4])).headline


def forever(x):
    while x.abs().sum() > 1:
        x = x / 2
    return x


@pytest.mark.parametrize("f", [forever, print, answer()], ids=["while", "builtin", "closure"])
def test_what_cannot_be_taken_apart_is_left_alone(f):
    assert [*changed(f)] == []


def area(width=3.0, height=4.0, margin=0.5):
    inner = width - margin
    return inner * height


@pytest.mark.parametrize("number, said", [
    (12.0, "one leaves out the term `margin`"), (14.0, "one adds `margin`, which should be subtracted"),
    (2.5, "one leaves out the factor `height`"), (3.0, "one gives `width` itself"),
    (4.0, "one leaves out the factor `inner`"), (40.0, "one multiplies by `height` twice"),
])
def test_a_number_is_traced_to_a_step_of_its_working(number, said):
    verdict = grade(value(10.0, tolerance=1e-3, working=(area,)), number)
    assert verdict.headline == f"it is what comes out if {said}"


def test_a_number_that_comes_from_nowhere_is_not_named():
    assert grade(value(10.0, tolerance=1e-3, working=(area,)), 7.77).headline == "not yet"


def test_zero_is_not_traced_to_a_step():
    """One step may lead to zero from anywhere: here height may have been forgotten, or taken for zero."""
    def working(width=3, height=4):
        return width - 3 + height

    assert variants.of_number([working], 0, 1e-9) is None
    assert variants.of_number([working], 3 - 3 - 4, 1e-9) is not None


def test_a_working_comes_to_the_reference():
    with pytest.raises(RegistrationError, match="its working area comes to 10.0, not to the reference 11.0"):
        from deltanet_edu.tutor import exercise
        exercise(id="99.8", title="Area", kind="predict", stars=1, minutes=5, reference=11.0, working=(area,),
                 mutants={f"gives {i}": Mistake(float(i), "No.") for i in range(4)}, hints=("a", "b", "c"))
    assert math.isclose(area(), 10.0)


def test_a_working_is_taken_apart_once_for_all_answers(monkeypatch):
    def working():
        beta, k, v = 3, 7, 2
        return beta * k + v

    first = variants.of_number([working], 19, 1e-9)
    assert first == ("it is what comes out if one subtracts `v`, which should be added", [])
    monkeypatch.setattr(variants, "changed", None)
    assert variants.of_number([working], 19, 1e-9) == first
    assert variants.of_number([working], 21, 1e-9) == ("it is what comes out if one leaves out the term `v`", [])


def joined_of_pieces(q, k, v, beta, S):
    before = torch.zeros(len(q), 1, dtype=q.dtype)
    behind_everything = (q * beta[:, None]).sum(1, keepdim=True)
    return torch.cat([before.expand(len(q), 2), behind_everything.expand(len(q), 2)], 1)


def written_in_place(q, k, v, beta, S):
    out = torch.zeros(len(q), 4, dtype=q.dtype)
    out[:, :2] = (q * beta[:, None]).sum(1, keepdim=True)
    return out


def test_half_a_piece_of_code_that_the_reader_has_not_written_is_not_shown():
    assert " ... " not in grade(make(joined_of_pieces, cases=inputs, mutants={}), written_in_place).headline
    cut = "has `before` in `torch.cat([before.expand(len(q), 2),  ... d(len(q), 2)], 1)`"
    assert not variants.readable(cut, {"q", "out"}) and variants.readable(cut, {"q", "before"})
    assert variants.readable("leaves out `before`", {"q"})
