"""Mamba: by its definition, its parameters, its beginning, and the errors of its options."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import Mamba

D, T = 12, 19


def by_definition(layer, x):
    """Channel by channel and token by token, in the order and letters of the paper's algorithm 2."""
    u, z = layer.to_v(x).chunk(2, -1)
    taps, u = layer.conv.weight, F.pad(u, (0, 0, len(layer.conv.weight) - 1, 0))
    u = F.silu(sum(w * u[:, i:i + x.shape[1]] for i, w in enumerate(taps)) + layer.conv_bias)
    dt, B, C = layer.to_scan(u).split(layer.parts, -1)
    dt = F.softplus(dt @ layer.delta_weight.T + layer.delta_bias)
    A, h, y = -layer.A_log.exp(), x.new_zeros(len(x), *layer.A_log.shape), torch.zeros_like(u)
    for t in range(x.shape[1]):
        for c in range(u.shape[-1]):
            h[:, c] = (dt[:, t, c, None] * A[c]).exp() * h[:, c] + dt[:, t, c, None] * B[:, t] * u[:, t, c, None]
            y[:, t, c] = (C[:, t] * h[:, c]).sum(-1) + layer.skip[c] * u[:, t, c]
    return layer.to_out(y * F.silu(z))


@pytest.mark.parametrize("form", ["auto", "chunkwise", "parallel", "recurrent"])
def test_it_is_its_definition(form):
    layer, x = Mamba(D, width=7, state_size=5, form=form).double(), torch.randn(2, T, D, dtype=torch.float64)
    with torch.no_grad():
        layer.conv_bias.normal_(), layer.skip.normal_()
        torch.testing.assert_close(layer(x)[0], by_definition(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [64, 128, 1024])
def test_parameters_are_about_those_of_attention(d):
    with torch.device("meta"):
        layer, published = Mamba(d), Mamba(d, width=2 * d)
    V, R, K = len(layer.skip), d // 16, 16
    assert V % 8 == 0 and sum(p.numel() for p in layer.parameters()) == V * (3 * d + 2 * R + 3 * K + 4 + 3)
    assert abs(sum(p.numel() for p in layer.parameters()) / (4 * d * d) - 1) < 0.03
    assert sum(p.numel() for p in published.parameters()) == 2 * d * (3 * d + 2 * R + 3 * K + 7)


def test_heads_change_nothing():
    torch.manual_seed(0)
    one = Mamba(D, 1)
    torch.manual_seed(0)
    many = Mamba(D, 4)
    x = torch.randn(1, 5, D)
    assert torch.equal(one(x)[0], many(x)[0])


def test_at_first_steps_are_small_and_rates_are_one_to_K():
    layer = Mamba(64, state_size=4)
    step = F.softplus(layer.delta_bias)
    assert 0.00099 < step.min() < 0.005 and 0.02 < step.max() < 0.101
    assert torch.allclose(layer.A_log.exp(), torch.arange(1.0, 5.0).expand_as(layer.A_log))


@pytest.mark.parametrize("options, says", [
    (dict(state_size=0), "state_size: got 0"), (dict(conv_size=0), "conv_size: got 0"), (dict(width=0), "width: got 0"),
    (dict(form="chunked"), "form: got 'chunked', expected one of 'auto', 'chunkwise', 'parallel', 'rec"),
    (dict(heads=5), "d_model: got 12, which 5 heads do not divide"),
])
def test_wrong_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        Mamba(D, **options)


def test_a_state_of_another_layer_is_refused():
    layer, x = Mamba(D), torch.randn(2, 5, D)
    _, state = layer(x)
    with pytest.raises(ValueError, match=r"state.conv: got shape \(2, 3, 8\), expected \(1, 3, 8\)"):
        layer(x[:1], state)
    with pytest.raises(TypeError, match="expected what an earlier call has returned, a ScanState"):
        layer(x, tuple(state))
