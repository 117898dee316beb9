"""Memories that forget: three forms, one answer, and no overflow however much is forgotten."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu.ops import (gated_linear_attention_chunkwise, gated_linear_attention_parallel,
                              gated_linear_attention_recurrent, linear_attention_recurrent, retention_log_decay)

from .inputs import any_inputs, make

CHUNKWISE = {f"chunkwise_C{C}": partial(gated_linear_attention_chunkwise, chunk_size=C) for C in (1, 4, 5, 64)}
FORMS = {"parallel": gated_linear_attention_parallel, **CHUNKWISE}
every_form = pytest.mark.parametrize("f", [gated_linear_attention_recurrent, *FORMS.values()],
                                     ids=["recurrent", *FORMS.keys()])


def decays(k, channels, strength=1.0):
    """log_alpha: (B, T, H, K) or (B, T, H, 1); a few of them so small that nothing is left of the past."""
    g = torch.Generator().manual_seed(k.shape[1])
    log_alpha = -strength * torch.rand(*k.shape[:-1], channels, generator=g, dtype=k.dtype)
    return log_alpha * torch.where(torch.rand(log_alpha.shape, generator=g) < 0.1, 1000.0, 1.0)


@pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())
@given(any_inputs, st.booleans(), st.sampled_from([0.0, 0.1, 3.0]))
def test_equals_the_recurrence(f, inputs, one_for_all, strength):
    q, k, v, _, S = inputs
    log_alpha = decays(k, 1 if one_for_all else k.shape[-1], strength)
    for state in (S, None):
        results = (g(q, k, v, log_alpha, initial_state=state, scale=0.7) for g in (f, gated_linear_attention_recurrent))
        for actual, expected in zip(*results, strict=True):
            assert actual.shape == expected.shape and (actual - expected).abs().max() < 1e-10


@every_form
@pytest.mark.parametrize("B, T", [(2, 0), (0, 5), (0, 0)])
def test_no_tokens_or_no_sequences(f, B, T):
    q, k, v, _, S = (x[:B].requires_grad_() for x in make(B=2, T=5))
    o, final = f(q[:, :T], k[:, :T], v[:, :T], torch.zeros_like(k[:, :T]), initial_state=S)
    assert o.shape == v[:, :T].shape and torch.equal(final, S)
    (o.sum() + final.sum()).backward()
    assert torch.equal(S.grad, torch.ones_like(S))


@every_form
@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(f, channels):
    q, k, v, _, S = (x.requires_grad_() for x in make(B=1, T=5, H=1, K=3, V=2))
    log_alpha = (-torch.rand(1, 5, 1, channels, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda q, k, v, a, S: f(q, k, v, a, initial_state=S), (q, k, v, log_alpha, S))


@pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("rate", [0.01, 1.0, 50.0])
def test_in_float32_nothing_overflows_and_gradients_are_those_of_float64(f, channels, rate):
    """At 50 a token the past is divided by e^1750 within 70 tokens: exp(-G) would be infinite. What remains is that G,
    up to 70 * rate / 2, is rounded to float32."""
    q, k, v, _, S = make(B=1, T=70, H=2, K=16, V=5)
    log_alpha = -rate * torch.rand(1, 70, 2, channels, dtype=torch.float64)
    found, tolerance = [], 2e-5 + 35 * rate * torch.finfo(torch.float32).eps
    for dtype, form in ((torch.float32, f), (torch.float64, gated_linear_attention_recurrent)):
        inputs = [x.detach().to(dtype).requires_grad_() for x in (q, k, v, log_alpha, S)]
        o, final = form(*inputs[:4], initial_state=inputs[4])
        found.append((o, final, *torch.autograd.grad(o.sin().sum() + final.sin().sum(), inputs)))
    for actual, expected in zip(*found, strict=True):
        assert actual.isfinite().all() and (actual - expected).norm() <= tolerance * expected.norm()


@every_form
def test_half_precision_is_computed_in_float32(f):
    q, k, v, _, S = (x.bfloat16() for x in make(T=9))
    log_alpha = decays(k, k.shape[-1])
    o, final = f(q, k, v, log_alpha, initial_state=S)
    expected, _ = f(*(x.float() for x in (q, k, v, log_alpha)), initial_state=S.float())
    assert o.dtype == torch.bfloat16 and final.dtype == torch.float32 and torch.equal(o, expected.bfloat16())


@every_form
def test_without_decay_it_is_linear_attention(f):
    q, k, v, _, S = make(T=11)
    for channels in (1, k.shape[-1]):
        found = f(q, k, v, torch.zeros(*k.shape[:-1], channels, dtype=k.dtype), initial_state=S)
        for actual, expected in zip(found, linear_attention_recurrent(q, k, v, initial_state=S)):
            assert (actual - expected).abs().max() < 1e-12


def test_the_decays_of_retnet():
    assert torch.allclose(retention_log_decay(3).exp(), torch.tensor([31 / 32, 63 / 64, 127 / 128]).double())
    assert retention_log_decay(2, dtype=torch.float32).dtype == torch.float32
