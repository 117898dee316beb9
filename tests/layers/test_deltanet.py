"""The DeltaNet layer in all its settings, by its definition: what is normalized, how, and what follows the rule."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import DeltaNet

D, H, T = 12, 3, 11
MAPS = {"silu": lambda x: x * x.sigmoid(), "relu": lambda x: x.clamp(min=0), "identity": lambda x: x,
        "elu+1": lambda x: torch.where(x > 0, x + 1, x.exp())}
NORMS = {"l2": lambda x: x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt(), "none": lambda x: x,
         "l1": lambda x: x / (x.abs().sum(-1, keepdim=True).square() + 1e-6).sqrt()}


def by_definition(layer, x, feature_map, norm):
    z = layer.to_qkv(x)
    if layer.conv:
        z = F.conv1d(F.pad(z.mT, (len(layer.conv.weight) - 1, 0)), layer.conv.weight.T[:, None], groups=z.shape[-1]).mT
    q, k, v = (part.unflatten(-1, (H, -1)) for part in z.split(layer.widths, -1))
    q, k = NORMS[norm](MAPS[feature_map](q)), NORMS[norm](MAPS[feature_map](k))
    v, beta = MAPS["silu"](v), layer.beta_max * layer.to_beta(x).sigmoid()
    S, o = x.new_zeros(len(x), H, layer.V, layer.K), []
    for t in range(x.shape[1]):
        error = torch.einsum("bhvk,bhk->bhv", S, k[:, t]) - v[:, t]
        S = S - torch.einsum("bh,bhv,bhk->bhvk", beta[:, t], error, k[:, t])
        o.append(torch.einsum("bhvk,bhk->bhv", S, q[:, t]))
    o = torch.stack(o, 1)
    o = o / (o.square().mean(-1, keepdim=True) + layer.out_norm.eps).sqrt() * layer.out_norm.weight
    gate = MAPS["silu"](layer.to_gate(x)) if layer.to_gate else 1
    return layer.to_out(o.flatten(2) * gate)


@pytest.mark.parametrize("norm, feature_map", [*itertools.product(NORMS, MAPS)])
@pytest.mark.parametrize("conv_size, beta_max, output_gate", [(4, 1.0, False), (0, 2.0, True)])
def test_the_ablation_of_the_paper(norm, feature_map, conv_size, beta_max, output_gate):
    if norm == "none":
        beta_max = 0.1 * beta_max                                        # raw keys are long: beta |k|^2 stays below 2
    layer = DeltaNet(D, H, norm=norm, feature_map=feature_map, conv_size=conv_size, beta_max=beta_max,
                     output_gate=output_gate).double()
    x = torch.randn(2, T, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x, feature_map, norm), rtol=0, atol=1e-10)


@pytest.mark.parametrize("options", [dict(expand_k=0.5), dict(expand_v=2.0), dict(expand_k=2, expand_v=0.5),
                                     dict(out_eps=0.1), dict(out_eps=0.0)], ids=str)
def test_widths_and_eps(options):
    layer, x = DeltaNet(D, H, **options).double(), torch.randn(2, T, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x, "silu", "l2"), rtol=0, atol=1e-10)


@pytest.mark.parametrize("d, heads", [(64, 2), (1024, 8)])
def test_parameters_of_every_setting(d, heads):
    def count(**options):
        with torch.device("meta"):
            return sum(p.numel() for p in DeltaNet(d, heads, **options).parameters())
    assert count() == 4 * d * d + d * heads + 12 * d + d // heads
    assert count(conv_size=0, output_gate=True) == 5 * d * d + d * heads + d // heads
    assert count(expand_k=0.5, expand_v=2.0) == 5 * d * d + d * heads + 4 * 3 * d + 2 * d // heads


def test_a_factor_on_the_queries_matters_only_through_eps():
    """The norm after the rule takes it away: with out_eps = 0 exactly."""
    for eps, changes in ((0.0, False), (0.1, True)):
        layer = DeltaNet(D, H, norm="none", feature_map="identity", conv_size=0, out_eps=eps).double()
        x = 0.3 * torch.randn(1, T, D, dtype=torch.float64)
        y = layer(x)[0]
        with torch.no_grad():
            layer.to_qkv.weight[:D] *= 7                                 # W_q
        assert torch.allclose(layer(x)[0], y, rtol=0, atol=1e-10) != changes
