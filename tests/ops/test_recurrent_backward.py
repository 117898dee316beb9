"""The backward pass of the loop, written by hand, against autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu.ops import delta_rule_recurrent, delta_rule_recurrent_backward

from .inputs import any_inputs


@given(any_inputs, st.sampled_from([1.0, 0.5]), st.booleans())
def test_equals_autograd(inputs, scale, final_is_used):
    inputs = [x.requires_grad_() for x in inputs]
    *args, S = inputs
    o, final = delta_rule_recurrent(*args, initial_state=S, scale=scale)
    do, dS = torch.randn_like(o), torch.randn_like(final)
    outputs, arriving = ((o, final), (do, dS)) if final_is_used else ((o,), (do,))
    expected = torch.autograd.grad(outputs, inputs, arriving)
    with torch.no_grad():
        made = delta_rule_recurrent_backward(*args, do, dS if final_is_used else None, initial_state=S, scale=scale)
    for a, e in zip(made, expected, strict=True):
        assert a.shape == e.shape and (a - e).abs().max() <= 1e-10 * max(1.0, e.abs().max())


@pytest.mark.parametrize("given_state", [True, False])
def test_inputs_are_left_alone(given_state):
    q, k, v, beta = (torch.randn(1, 5, 2, n) for n in (3, 3, 4, 1))
    inputs = [q, k, v, beta[..., 0], torch.randn_like(v), torch.randn(1, 2, 4, 3), torch.randn(1, 2, 4, 3)]
    before = [x.clone() for x in inputs]
    *args, S = inputs
    delta_rule_recurrent_backward(*args, initial_state=S if given_state else None)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before))
