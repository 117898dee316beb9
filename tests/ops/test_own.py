"""A form of the reader's own behind `delta_rule(..., backend=f)`: run as it is, checked once, refused by name."""

from dataclasses import dataclass

import pytest
import torch

from deltanet_edu import delta_rule
from deltanet_edu.layers import DeltaNet
from deltanet_edu.ops import delta_rule_chunkwise, delta_rule_recurrent, linear_attention_recurrent

from .inputs import make


def tokens(dtype=torch.float32, **options):
    *four, S = make(**dict(B=2, T=9, H=2, K=4, V=6) | options, dtype=dtype)
    return four, S


def full(q, k, v, beta, *, initial_state=None, scale=1.0):
    return delta_rule_chunkwise(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=4)


def simple(q, k, v, beta):
    return delta_rule_chunkwise(q, k, v, beta, chunk_size=4)[0]


def with_state(q, k, v, beta):
    return delta_rule_chunkwise(q, k, v, beta, chunk_size=4)


@pytest.mark.parametrize("f", [full, simple, with_state])
def test_it_runs_in_the_place_of_ours(f):
    four, S = tokens()
    o, state = delta_rule(*four, scale=0.5, backend=f)
    right, final = delta_rule(*four, scale=0.5, backend="torch")
    assert torch.allclose(o, right, atol=1e-5)
    if f is simple:
        assert state.isnan().all() and state.shape == final.shape
    else:
        assert torch.allclose(state, final, atol=1e-5)


def test_a_memory_and_packed_sequences():
    four, S = tokens()
    o, state = delta_rule(*four, initial_state=S, backend=full)
    right, final = delta_rule(*four, initial_state=S, backend="torch")
    assert torch.allclose(o, right, atol=1e-5) and torch.allclose(state, final, atol=1e-5)
    with pytest.raises(ValueError, match="backend: simple takes no initial_state, but there is one"):
        delta_rule(*four, initial_state=S, backend=simple)
    one, _ = tokens(B=1)
    ends = torch.tensor([0, 2, 9])
    packed = delta_rule(*one, cu_seqlens=ends, backend=with_state)
    for a, b in zip(packed, delta_rule(*one, cu_seqlens=ends, backend="torch")):
        assert torch.allclose(a, b, atol=1e-5)


def test_gradients_and_who_has_none():
    four, _ = tokens()
    four = [x.requires_grad_() for x in four]
    for a, b in zip(torch.autograd.grad(delta_rule(*four, backend=simple)[0].sum(), four),
                    torch.autograd.grad(delta_rule(*four, backend="torch")[0].sum(), four)):
        assert torch.allclose(a, b, atol=1e-5)

    def detached(q, k, v, beta):
        return simple(q, k, v, beta).detach()
    with pytest.raises(RuntimeError, match="backend: detached has no backward pass"):
        delta_rule(*four, backend=detached)
    with torch.no_grad():
        delta_rule(*four, backend=detached)

    class Halved(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v, *others):
            ctx.others = others
            return simple(*others[:2], v, others[2])

        @staticmethod
        def backward(ctx, do):
            return do, None, None, None

    def wrong_backward(q, k, v, beta):
        return Halved.apply(v, q, k, beta)
    with pytest.raises(ValueError, match="backend: dq of wrong_backward is not that of the delta rule"):
        delta_rule(*four, backend=wrong_backward)


@dataclass
class Comparable:
    def __call__(self, q, k, v, beta):
        return simple(q, k, v, beta)


@pytest.mark.parametrize("f, error, said", [
    (lambda q, k, v, beta: linear_attention_recurrent(q, k, v)[0], ValueError, "o of <lambda> is not that of the "
                                                                               "delta"),
    (lambda q, k, v, beta: simple(q, k, v, beta).transpose(1, 2), ValueError, r"o of <lambda> has shape \(1, 2, 70, "
                                                                              r"6\)"),
    (lambda q, k, v, beta: (simple(q, k, v, beta), k), ValueError, "state of <lambda> has shape"),
    (lambda q, k: q, TypeError, "cannot be called with q, k, v and beta alone"),
    (lambda q, k, v, beta: None, ValueError, "o of <lambda> has shape NoneType"),
    (Comparable(), TypeError, "an instance of Comparable cannot be hashed"),
])
def test_what_is_not_the_rule_is_refused_by_name(f, error, said):
    with pytest.raises(error, match=said):
        delta_rule(*tokens()[0], backend=f)


def test_it_is_checked_once_for_each_width_and_dtype():
    seen = []

    def counted(q, k, v, beta):
        seen.append(q.shape[1])
        return simple(q, k, v, beta)
    for dtype in (torch.float32, torch.float32, torch.float64):
        delta_rule(*tokens(dtype)[0], backend=counted)
    assert seen == [70, 9, 9, 70, 9]


def test_it_chooses_form_and_chunks_itself():
    four, _ = tokens()
    with pytest.raises(ValueError, match="together with form='auto' and chunk_size=16"):
        delta_rule(*four, backend=simple, chunk_size=16)
    with pytest.raises(ValueError, match="form='recurrent'"):
        DeltaNet(8, 2, backend=simple, form="recurrent")
    with pytest.raises(ValueError, match="backend: got 'mine', expected one of"):
        DeltaNet(8, 2, backend="mine")


def test_a_layer_runs_on_it_and_decodes_with_a_full_one():
    torch.manual_seed(0)
    layer = DeltaNet(16, 2, backend=full)
    x = torch.randn(2, 7, 16)
    y, state = layer(x)
    layer.how["backend"] = "torch"
    right, _ = layer(x)
    assert torch.allclose(y, right, atol=1e-5)
    layer.how["backend"] = full
    first, state = layer(x[:, :6])
    last, _ = layer(x[:, 6:], state)
    assert torch.allclose(last, y[:, 6:], atol=1e-5)
    layer.how["backend"] = simple
    first, state = layer(x[:, :6])
    with pytest.raises(ValueError, match="takes no initial_state"):
        layer(x[:, 6:], state)


def test_the_recurrence_is_the_judge():
    four, _ = tokens(torch.float64, T=1)
    assert torch.allclose(delta_rule(*four, backend=delta_rule_recurrent)[0], delta_rule_recurrent(*four)[0])
