"""Linear attention: three forms, one answer."""

from functools import partial

import pytest
import torch
from hypothesis import given

from deltanet_edu.ops import linear_attention_chunkwise, linear_attention_parallel, linear_attention_recurrent

from .inputs import any_inputs, make

CHUNKWISE = {f"chunkwise_C{C}": partial(linear_attention_chunkwise, chunk_size=C) for C in (1, 4, 64)}
FORMS = {"parallel": linear_attention_parallel, **CHUNKWISE}


@pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())
@given(any_inputs)
def test_equals_the_recurrence(f, inputs):
    q, k, v, _, S = inputs
    for state in (S, None):
        results = (g(q, k, v, initial_state=state, scale=0.7) for g in (f, linear_attention_recurrent))
        for actual, expected in zip(*results, strict=True):
            assert actual.shape == expected.shape and (actual - expected).abs().max() < 1e-10


@pytest.mark.parametrize("f", [linear_attention_recurrent, *FORMS.values()], ids=["recurrent", *FORMS.keys()])
@pytest.mark.parametrize("B, T", [(2, 0), (0, 5), (0, 0)])
def test_no_tokens_or_no_sequences(f, B, T):
    q, k, v, _, S = (x[:B].requires_grad_() for x in make(B=2, T=5))
    o, final = f(q[:, :T], k[:, :T], v[:, :T], initial_state=S)
    assert o.shape == v[:, :T].shape and torch.equal(final, S)
    (o.sum() + final.sum()).backward()
    assert torch.equal(S.grad, torch.ones_like(S))


def test_the_recurrence_is_the_sum_over_the_past():
    q, k, v, _, S = make(T=6)
    o, final = linear_attention_recurrent(q, k, v, initial_state=S)
    for t in range(6):
        past = S + torch.einsum("bihv,bihk->bhvk", v[:, :t + 1], k[:, :t + 1])
        assert (o[:, t] - torch.einsum("bhvk,bhk->bhv", past, q[:, t])).abs().max() < 1e-12
    assert (final - past).abs().max() < 1e-12


@pytest.mark.parametrize("f", [linear_attention_recurrent, *FORMS.values()], ids=["recurrent", *FORMS.keys()])
def test_gradcheck(f):
    q, k, v, _, S = (x.requires_grad_() for x in make(B=1, T=5, H=1, K=3, V=2))
    assert torch.autograd.gradcheck(lambda q, k, v, S: f(q, k, v, initial_state=S), (q, k, v, S))
