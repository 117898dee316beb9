"""GLA: by its definition, its parameters, and how it forgets."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import GLA

D, H, T = 12, 3, 19


def by_definition(layer, x):
    q, k, v = (z.unflatten(-1, (layer.heads, -1)) for z in layer.to_qkv(x).split(layer.widths, -1))
    alpha = layer.to_alpha(x).sigmoid().pow(1 / layer.temperature).unflatten(-1, (layer.heads, -1))
    S, o = x.new_zeros(len(x), layer.heads, layer.V, layer.K), []
    for t in range(x.shape[1]):
        S = S * alpha[:, t, :, None] + v[:, t, ..., None] * k[:, t, :, None]
        o.append((S @ q[:, t, ..., None])[..., 0])
    o = torch.stack(o, 1)
    o = o * torch.rsqrt(o.square().mean(-1, keepdim=True) + layer.out_norm.eps) * layer.out_norm.weight
    return layer.to_out(o.flatten(2) * F.silu(layer.to_gate(x)))


@pytest.mark.parametrize("options", [{}, dict(chunk_size=4, temperature=1.0), dict(expand_k=1, expand_v=2)], ids=str)
def test_it_is_its_definition(options):
    layer, x = GLA(D, H, **options).double(), 5 * torch.randn(2, T, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x), rtol=0, atol=1e-9)


def test_a_closed_gate_forgets_everything():
    layer, x = GLA(D, H, temperature=1.0).double(), torch.randn(1, T, D, dtype=torch.float64)
    with torch.no_grad():
        layer.to_alpha[1].weight.zero_()
        layer.to_alpha[1].bias.fill_(-1000.0)
    torch.testing.assert_close(layer(x)[0][:, -1:], layer(x[:, -1:])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("d, heads", [(64, 2), (128, 4), (1024, 8)])
def test_parameters(d, heads):
    with torch.device("meta"):
        layer, wide = GLA(d, heads), GLA(d, heads, conv_size=4, gate_rank=8)
    formula = 4 * d * d + d // heads + d // 2
    assert sum(p.numel() for p in layer.parameters()) == formula + 16 * (d + d // 2)
    assert sum(p.numel() for p in wide.parameters()) == formula + 8 * (d + d // 2) + 8 * d


def test_half_precision_activations_keep_a_float32_memory():
    layer, x = GLA(D, H), torch.randn(1, T, D)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
    assert state.S.dtype == torch.float32 and (y - layer(x)[0]).norm() <= 0.03 * y.norm()


@pytest.mark.parametrize("options, says", [
    (dict(gate_rank=0), "gate_rank: got 0"), (dict(temperature=0), "temperature: got 0, expected a positive number"),
    (dict(chunk_size=0), "chunk_size: got 0"), (dict(conv_size=-1), "conv_size: got -1"),
])
def test_wrong_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        GLA(D, H, **options)
