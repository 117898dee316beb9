"""Rows of zeros, such as padding: they have a length, and what is learned from others does not depend on them."""

import pytest
import torch

from deltanet_edu.compat import chunk_delta_rule
from deltanet_edu.layers import Block, DeltaNet, LinearAttention
from deltanet_edu.layers.fast_weights import NORMS
from deltanet_edu.ops.common import unit

D, H, T = 16, 2, 12
ROWS = {"all zero": lambda x: 0 * x, "nearly zero": lambda x: 1e-20 * x, "tiny": lambda x: 1e-8 * x,
        "padded": lambda x: torch.cat([x[:, :5], 0 * x[:, 5:]], 1)}


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_slope_is_bounded_and_the_length_is_one(p, dtype):
    for size in (0.0, 1e-30, 1e-7, 1e-4):
        x = (size * torch.randn(5, 8, dtype=torch.float64)).to(dtype).requires_grad_()
        (slope,) = torch.autograd.grad(unit(x, p).double()[:, 0].sum(), x)
        assert slope.abs().max() <= 1000 * (1 + 1e-2), (size, slope.abs().max())
    x = torch.randn(50, 8, dtype=torch.float64).to(dtype)
    lengths = unit(x, p).double().norm(p=p, dim=-1)
    assert unit(x, p).dtype == dtype and (lengths - 1).abs().max() < max(1e-5, 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("mixer", [DeltaNet, LinearAttention])
@pytest.mark.parametrize("options", [{}, dict(conv_size=0), dict(feature_map="identity", conv_size=0)], ids=str)
def test_gradients_stay_numbers_through_four_blocks(rows, norm, mixer, options):
    blocks = torch.nn.ModuleList(Block(D, mixer(D, H, norm=norm, **options)) for _ in range(4))
    x = ROWS[rows](torch.randn(2, T, D))
    y = x.requires_grad_()
    for block in blocks:
        y, _ = block(y)
    y.square().sum().backward()
    gradients = [p.grad for p in blocks.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in (*gradients, x.grad))
    assert max(g.abs().max() for g in gradients) < 1e6


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_what_padding_adds_to_the_gradients_of_weights_is_small(norm):
    """Parameters learn from the tokens before the padding as if it were not there, although the loss counts it."""
    torch.manual_seed(0)
    block = Block(D, DeltaNet(D, H, norm=norm, conv_size=0)).double()
    x = torch.randn(1, T, D, dtype=torch.float64)
    padded = torch.cat([x, torch.zeros(1, 7, D, dtype=torch.float64)], 1)
    found = []
    for sequence in (x, padded):
        loss = block(sequence)[0].square().sum()
        found.append(torch.autograd.grad(loss, list(block.parameters())))
    for (name, _), alone, with_padding in zip(block.named_parameters(), *found, strict=True):
        torch.testing.assert_close(with_padding, alone, rtol=1e-9, atol=1e-9, msg=name)


def test_layers_and_the_bridge_have_one_norm():
    q, k, v = (torch.randn(1, 9, 2, 4) for _ in range(3))
    k[:, 3] = 1e-4
    beta = torch.rand(1, 9, 2)
    own, _ = chunk_delta_rule(unit(q), unit(k), v, beta)
    theirs, _ = chunk_delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel=True)
    assert torch.equal(own, theirs) and torch.equal(NORMS["l2"](k), unit(k))
