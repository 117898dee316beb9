"""One suite for every rung of the delta rule. The float64 recurrence is the only judge."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu import delta_rule
from deltanet_edu.ops import (delta_rule_attention, delta_rule_chunkwise, delta_rule_chunkwise_by_hand,
                              delta_rule_parallel, delta_rule_recurrent, delta_rule_scan, erase_then_write_step,
                              transition_step)

from .inputs import any_inputs, make

RUNGS = {
    "erase_then_write": partial(delta_rule_recurrent, step=erase_then_write_step),
    "transition": partial(delta_rule_recurrent, step=transition_step),
    "chunkwise_C1": partial(delta_rule_chunkwise, chunk_size=1),
    "chunkwise_C4": partial(delta_rule_chunkwise, chunk_size=4),
    "chunkwise_C64": partial(delta_rule_chunkwise, chunk_size=64),
    "by_hand_C4": partial(delta_rule_chunkwise_by_hand, chunk_size=4),
    "by_hand_recompute": partial(delta_rule_chunkwise_by_hand, chunk_size=5, recompute=True),
    "parallel": delta_rule_parallel,
    "scan": delta_rule_scan,
    "front_door": partial(delta_rule, check_values=False),
}
ALL = {"recurrent": delta_rule_recurrent, **RUNGS}
rung = pytest.mark.parametrize("f", RUNGS.values(), ids=RUNGS.keys())
every = pytest.mark.parametrize("f", ALL.values(), ids=ALL.keys())


def close(actual, expected, tolerance=1e-10):
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        assert (a - e).abs().max() <= tolerance * max(1.0, e.abs().max())


def unit_inputs(T=12, K=8, V=3, **kwargs):
    return make(B=2, T=T, H=2, K=K, V=V, **kwargs)


@rung
@given(any_inputs, st.sampled_from([1.0, 0.5]))
def test_equals_the_recurrence(f, inputs, scale):
    q, k, v, beta, S = inputs
    options = dict(initial_state=S, scale=scale)
    close(f(q, k, v, beta, **options), delta_rule_recurrent(q, k, v, beta, **options))
    close(f(q, k, v, beta, scale=scale), delta_rule_recurrent(q, k, v, beta, scale=scale))


@pytest.mark.parametrize("f", [delta_rule_chunkwise, delta_rule_chunkwise_by_hand], ids=["chunkwise", "by_hand"])
@given(any_inputs, st.integers(1, 30), st.integers(1, 30))
def test_chunk_size_does_not_matter(f, inputs, C1, C2):
    q, k, v, beta, S = inputs
    close(f(q, k, v, beta, initial_state=S, chunk_size=C1), f(q, k, v, beta, initial_state=S, chunk_size=C2))


@every
@given(any_inputs, st.floats(0, 1))
def test_a_sequence_can_be_cut_anywhere(f, inputs, where):
    q, k, v, beta, S = inputs
    T = q.shape[1]
    t = 1 + round(where * (T - 2)) if T > 1 else T
    o, final = f(q, k, v, beta, initial_state=S)
    o1, middle = f(*(x[:, :t] for x in (q, k, v, beta)), initial_state=S)
    if t == T:
        close((o1, middle), (o, final))
        return
    o2, end = f(*(x[:, t:] for x in (q, k, v, beta)), initial_state=middle)
    close((torch.cat([o1, o2], 1), end), (o, final))


@every
@pytest.mark.parametrize("B, T", [(2, 0), (0, 5), (0, 0)])
def test_no_tokens_or_no_sequences(f, B, T):
    """Empty outputs, the memory as it came, and a backward pass that runs."""
    q, k, v, beta, S = (x.requires_grad_() for x in (y[:B] for y in unit_inputs(T=5)))
    o, final = f(q[:, :T], k[:, :T], v[:, :T], beta[:, :T], initial_state=S)
    assert o.shape == (B, T, 2, 3) and torch.equal(final, S)
    (o.sum() + final.sum()).backward()
    assert torch.equal(S.grad, torch.ones_like(S))
    assert torch.equal(f(q[:, :T], k[:, :T], v[:, :T], beta[:, :T])[1], torch.zeros_like(S))


@every
def test_beta_zero_writes_nothing(f):
    q, k, v, beta, S = unit_inputs()
    o, final = f(q, k, v, torch.zeros_like(beta), initial_state=S)
    close([final], [S], 1e-14)                                           # erase-then-write rounds v_old
    close([o], [torch.einsum("bhvk,bthk->bthv", S, q)])


@every
def test_beta_one_with_a_unit_key_overwrites_exactly(f):
    q, k, v, beta, S = unit_inputs(T=9)
    k = k[:, :1].expand_as(k)                                             # the same key, nine times
    o, final = f(k, k, v, torch.ones_like(beta), initial_state=S)
    close([o], [v])                                                       # only the newest value is left, each time


@every
def test_orthonormal_keys_retrieve_exactly(f):
    _, _, v, beta, _ = unit_inputs(T=8, K=8)
    k = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0][None, :, None].expand(2, 8, 2, 8)
    _, S = f(k, k, v, torch.ones_like(beta))
    close([torch.einsum("bhvk,bthk->bthv", S, k)], [v])


@every
@pytest.mark.parametrize("t", [0, 4, 11])
def test_causal(f, t):
    q, k, v, beta, S = unit_inputs()
    o, _ = f(q, k, v, beta, initial_state=S)
    later = [x.clone() for x in (q, k, v, beta)]
    for x in later:
        x[:, t + 1:] = 0.3
    o2, _ = f(*later, initial_state=S)
    close([o2[:, :t + 1]], [o[:, :t + 1]])


@every
def test_linear_in_values_and_state(f):
    q, k, v, beta, S = unit_inputs()
    v2, S2 = torch.randn_like(v), torch.randn_like(S)
    o1, F1 = f(q, k, v, beta, initial_state=S)
    o2, F2 = f(q, k, v2, beta, initial_state=S2)
    close(f(q, k, 2 * v - 3 * v2, beta, initial_state=2 * S - 3 * S2), (2 * o1 - 3 * o2, 2 * F1 - 3 * F2))


@every
@pytest.mark.parametrize("keys", ["unit", "repeated", "zero"])
def test_gradcheck(f, keys):
    *inputs, S = make(B=1, T=6, H=2, K=3, V=2, keys=keys, beta_max=2.0)
    inputs = [x.requires_grad_() for x in (*inputs, S)]
    assert torch.autograd.gradcheck(lambda q, k, v, b, S: f(q, k, v, b, initial_state=S, scale=0.7), inputs)


@rung
@given(any_inputs)
def test_gradients_equal_those_of_the_recurrence(f, inputs):
    inputs = [x.requires_grad_() for x in inputs]

    def gradients(f):
        *args, S = inputs
        o, final = f(*args, initial_state=S, scale=0.5)
        return torch.autograd.grad((o.sin().sum() + final.cos().sum()), inputs)

    close(gradients(f), gradients(delta_rule_recurrent), 1e-9)


@every
@pytest.mark.parametrize("dtype, tolerance",
                         [(torch.float32, 2e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)], ids=str)
def test_dtypes(f, dtype, tolerance):
    q, k, v, beta, S = unit_inputs(T=40, K=8, V=5)
    low = [x.to(dtype) for x in (q, k, v, beta)]
    S = S.float()
    o, final = f(*low, initial_state=S)
    assert o.dtype == dtype and final.dtype == torch.float32
    expected, expected_final = delta_rule_recurrent(*(x.double() for x in low), initial_state=S.double())
    assert (o.double() - expected).abs().max() <= tolerance * expected.abs().max()
    assert (final.double() - expected_final).abs().max() <= 2e-5 * expected_final.abs().max()


@every
def test_strides_do_not_matter(f):
    q, k, v, beta, S = unit_inputs(T=13)
    head_first = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v, beta)]
    wide = torch.randn(2, 13, 2, 2 * q.shape[-1], dtype=q.dtype)
    wide[..., ::2] = q
    close(f(wide[..., ::2], *head_first[1:], initial_state=S.mT.contiguous().mT), f(q, k, v, beta, initial_state=S))


@every
def test_inputs_are_left_alone(f):
    inputs = unit_inputs()
    before = [x.clone() for x in inputs]
    *args, S = inputs
    f(*args, initial_state=S)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before))


def test_the_attention_like_matrix_reproduces_the_output():
    q, k, v, beta, _ = unit_inputs(beta_max=2.0)
    matrix = delta_rule_attention(q, k, beta, scale=0.5)                  # (B, H, T, T)
    assert (matrix.triu(1) == 0).all() and (matrix < 0).any()
    close([torch.einsum("bhts,bshv->bthv", matrix, v)], [delta_rule_recurrent(q, k, v, beta, scale=0.5)[0]])


def test_many_tokens_stay_accurate_in_float32():
    q, k, v, beta, S = (x.float() for x in make(B=1, T=2000, H=2, K=16, V=8, keys="repeated", beta_max=2.0))
    o, _ = delta_rule_chunkwise_by_hand(q, k, v, beta, initial_state=S)
    expected, _ = delta_rule_recurrent(*(x.double() for x in (q, k, v, beta)), initial_state=S.double())
    assert (o - expected).abs().max() <= 1e-4 * expected.abs().max()
