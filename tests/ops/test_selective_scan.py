"""Mamba's memory: three forms, one answer; and the scan below two of them."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu.ops import selective_scan_chunkwise, selective_scan_parallel, selective_scan_recurrent
from deltanet_edu.ops.selective_scan import linear_scan

FORMS = {"parallel": selective_scan_parallel,
         **{f"chunkwise_C{C}": partial(selective_scan_chunkwise, chunk_size=C) for C in (1, 5, 64)}}
every_form = pytest.mark.parametrize("f", [selective_scan_recurrent, *FORMS.values()], ids=["recurrent", *FORMS])


def make(B=2, T=7, K=3, V=4, seed=0, dtype=torch.float64):
    """q, k, v, delta, A, skip and a state; some steps so large that nothing is left of the past."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(B, T, n, generator=g, dtype=torch.float64) for n in (K, K, V))
    delta = torch.exp(3 * torch.randn(B, T, V, generator=g, dtype=torch.float64))
    A = -torch.rand(V, K, generator=g, dtype=torch.float64)
    skip, S = torch.randn(V, generator=g, dtype=torch.float64), torch.randn(B, V, K, generator=g, dtype=torch.float64)
    return tuple(x.to(dtype) for x in (q, k, v, delta, A, skip, S))


@pytest.mark.parametrize("f", FORMS.values(), ids=FORMS)
@given(st.builds(make, B=st.integers(1, 2), T=st.integers(1, 21), K=st.integers(1, 5), V=st.integers(1, 5),
                 seed=st.integers(0, 2**16)))
def test_equals_the_recurrence(f, inputs):
    *inputs, S = inputs
    for state in (S, None):
        results = (g(*inputs, initial_state=state) for g in (f, selective_scan_recurrent))
        for actual, expected in zip(*results, strict=True):
            assert actual.shape == expected.shape
            assert (actual - expected).norm() <= 1e-12 * (1 + expected.norm())


@given(st.integers(1, 40), st.integers(0, 2**16))
def test_the_scan_is_its_loop(T, seed):
    g = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(2, T, 3, generator=g, dtype=torch.float64) for _ in range(2))
    x, wanted = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(T):
        x = a[:, t] * x + b[:, t]
        wanted.append(x)
    torch.testing.assert_close(linear_scan(a, b), torch.stack(wanted, 1), rtol=1e-12, atol=1e-12)


def test_the_scan_does_at_most_five_operations_an_entry():
    from deltanet_edu.bench.flops import flops

    a, b = torch.randn(2, 1, 1024, 8).unbind(0)
    done = flops(linear_scan, a, b)
    assert 0 < sum(done.values()) <= 5 * a.numel(), "the loop needs 2 an entry"


@every_form
@pytest.mark.parametrize("B, T", [(2, 0), (0, 5), (0, 0)])
def test_no_tokens_or_no_sequences(f, B, T):
    q, k, v, delta, A, skip, S = make(T=5)
    S = S[:B].requires_grad_()
    o, final = f(*(x[:B, :T] for x in (q, k, v, delta)), A, skip, initial_state=S)
    assert o.shape == v[:B, :T].shape and final.shape == S.shape
    final.sum().backward()
    assert T or torch.equal(S.grad, torch.ones_like(S))


@every_form
def test_gradcheck(f):
    *inputs, S = (x.requires_grad_() for x in make(B=1, T=5, K=2, V=2))
    assert torch.autograd.gradcheck(lambda *inputs: f(*inputs[:-1], initial_state=inputs[-1]), (*inputs, S))


@every_form
def test_float32_is_near_float64_and_half_precision_is_computed_in_it(f):
    *inputs, S = make(T=70, K=8, V=6)
    wanted = selective_scan_recurrent(*inputs, initial_state=S)
    single = [x.float() for x in inputs]
    for actual, expected in zip(f(*single, initial_state=S.float()), wanted):
        assert actual.dtype == torch.float32 and (actual - expected).norm() <= 1e-5 * expected.norm()
    half = [x.bfloat16() for x in inputs]
    o, final = f(*half, initial_state=S.bfloat16())
    expected, _ = f(*(x.float() for x in half), initial_state=S.bfloat16().float())
    assert o.dtype == torch.bfloat16 and final.dtype == torch.float32
    torch.testing.assert_close(o, expected.bfloat16())


def test_a_channel_with_a_constant_rate_is_a_moving_average():
    """delta = 1, K = 1, q = k = 1: S_t = e^A S_{t-1} + v_t."""
    v, A = torch.randn(1, 9, 1, dtype=torch.float64), torch.tensor([[-0.5]], dtype=torch.float64)
    one = torch.ones_like(v)
    o, _ = selective_scan_parallel(one, one, v, one, A)
    weights = torch.exp(-0.5 * torch.arange(9.0, dtype=torch.float64))
    for t in range(9):
        assert abs(o[0, t, 0] - (weights[:t + 1].flip(0) * v[0, :t + 1, 0]).sum()) < 1e-12
