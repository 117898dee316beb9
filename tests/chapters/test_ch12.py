"""Chapter 12: what its kernels compute, held against the float64 recurrence, and answers as readers write them."""

import pytest
import torch

triton = pytest.importorskip("triton")

from deltanet_edu.chapters.ch12 import forward, inputs, launches, queries, sweep, whole  # noqa: E402
from deltanet_edu.chapters.ch12.keys import dk_kernel  # noqa: E402
from deltanet_edu.chapters.ch12.strengths import dbeta_kernel, one_program_for_all_columns  # noqa: E402
from deltanet_edu.chapters.kernel_answers import changed  # noqa: E402
from deltanet_edu.ops import delta_rule_recurrent  # noqa: E402
from deltanet_edu.tutor.registry import find  # noqa: E402

from .answers import assert_verdict, cases  # noqa: E402

SCALE = 0.5
shapes = pytest.mark.parametrize("shape", inputs.SHAPES.values(), ids=inputs.SHAPES.keys())


def drawn(shape):
    return inputs.one(torch.Generator().manual_seed(0), *shape)


def close(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 2e-5 * max(1, expected.abs().max())


def by_autograd(q, k, v, beta, S, do, d_final):
    """States, their gradients and dV through the recurrence, chunk by chunk, in float64."""
    q, k, v, beta, S, do, d_final = (x.double() for x in (q, k, v, beta, S, do, d_final))
    states, o = [S.requires_grad_()], []
    v.requires_grad_()
    for t in range(0, q.shape[1], inputs.C):
        piece = (x[:, t:t + inputs.C] for x in (q, k, v, beta))
        out, S = delta_rule_recurrent(*piece, initial_state=states[-1], scale=SCALE)
        o.append(out)
        states.append(S.clone())                                         # what later chunks see
    gradients = torch.autograd.grad((torch.cat(o, 1), states[-1]), (*states, v), (do, d_final))
    return torch.stack(states[:-1], 2).detach(), torch.stack(gradients[1:-1], 2), gradients[-1]


@shapes
def test_what_the_sweeps_should_leave_is_what_autograd_finds(shape):
    q, k, v, beta, S, do, d_final = drawn(shape)
    states, X, d_states, dv = inputs.swept(q, k, v, beta, S, do, d_final, SCALE)
    for mine, theirs in zip((states, d_states, dv), by_autograd(q, k, v, beta, S, do, d_final)):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@shapes
def test_the_kernels_that_are_given_and_the_sweep(shape):
    q, k, v, beta, S, do, d_final = drawn(shape)
    states, X, d_states, dv = inputs.swept(q, k, v, beta, S, do, d_final, SCALE)
    _, _, UT_low = forward.forward(q, k, v, beta, S, SCALE, inputs.C)
    close(UT_low, inputs.UT_low_of(k, beta))
    for mine, theirs in zip(forward.memories(k, v, beta, UT_low, S), (states, X)):
        close(mine, theirs)
    *_, dq, _, _, _, dS = whole.by_recurrence(q, k, v, beta, S, do, d_final, SCALE, inputs.C)
    found = launches.backward_sweep(sweep.backward_sweep_kernel, q, k, beta, UT_low, do, d_final, SCALE)
    for mine, theirs in zip(found, (d_states, dv, dS)):
        close(mine, theirs)
    close(queries.gradient_of_queries(k, do, X.float(), states.float(), SCALE, inputs.C), dq)


def test_a_strength_of_zero_learns():
    """dbeta where beta = 0 is that of the recurrence, not zero and not NaN."""
    q, k, v, beta, S, do, d_final = drawn(inputs.SHAPES["a chunk that is not full"])
    assert (beta == 0).any()
    expected = whole.by_recurrence(q, k, v, beta, S, do, d_final, SCALE, inputs.C)[5]
    leaves = [x.requires_grad_() for x in (q, k, v, beta, S)]
    results = whole.DeltaRule.apply(*leaves, SCALE, inputs.C)
    dbeta, = torch.autograd.grad(results, beta, (do, d_final))
    assert expected[beta == 0].abs().min() > 1e-3
    close(dbeta, expected)


MASKS = ("loads", "without a mask"), ("stores", "without a mask")
REQUIRED = *MASKS, ("K for V",), ("triangle",), ("scale",), ("bfloat16",)


@pytest.mark.parametrize("id", ["12.3", "12.5"])
def test_the_usual_mistakes_are_in_the_catalogue(id):
    names = list(find("exercise", id).mutants)
    for words in REQUIRED:
        assert any(all(word in name for word in words) for name in names), (id, words)


def test_gradients_that_lie_otherwise_do_so_in_every_case():
    """Whoever hands one of them on as it lies, or both, is wrong on all cases, and on the one that is shown."""
    for case in find("exercise", "12.7").case_list:
        do, d_final = case.args[5:7]
        assert not do.is_contiguous() and not d_final.is_contiguous(), case.note


def sweep_with(*pairs):
    return changed(sweep.backward_sweep_kernel, *pairs)


def keys_with(*pairs):
    return changed(dk_kernel, *pairs)


ANSWERS = {
    "12.1": {"counts memories and their gradients alone": [4.0], "leaves more than half of it out": [2],
             "right": [6.0, torch.tensor(6)], "takes four bytes a number": [12],
             "counts all that the launches move": [23.0]},
    "12.2": {"right": ["B F C G E A D", "fbcgaed"], "turns UT over": ["FBCHAED"]},
    "12.3": {
        "keeps the upper triangle": [sweep_with(("row[:, None] >= row[None, :]", "row[None, :] >= row[:, None]"))],
        "scales only what the queries read": [sweep_with(
            ("other=0.0) * scale)", "other=0.0))"),
            ("tl.dot(tl.trans(do), q, dS)", "dS + tl.dot(tl.trans(do), scale * q)"))],
        "forgets beta": [sweep_with(("dX_t * beta[None, :]", "dX_t * 1.0"))],
        "right": [sweep_with(("i = N - 1 - step", "i = (N - 1) - step"))],
    },
    "12.4": {"divides by beta once": [changed(dbeta_kernel, ("/ (strength * strength)", "/ tl.abs(strength)"))],
             "lets several programs store to the same place": [changed(dbeta_kernel, (
                 "tl.atomic_add(dbeta_ptr + at, dbeta,", "tl.store(dbeta_ptr + at, 1.0 * dbeta,"))],
             "lets every program store the sum of all columns": [changed(
                 one_program_for_all_columns, ("(2) == 0", "(2) < 99"))]},
    "12.5": {"drops the diagonal of dP": [keys_with(("row[:, None] <= row[None, :]", "row[None, :] > row[:, None]"))]},
    "12.6": {"right": [160.0], "answers for the program of the lesson": [192]},
}


@cases(ANSWERS)
def test_answers(id, answer, name):
    assert_verdict(id, answer, name)
