"""RetNet: by its definition, with absolute positions; its parameters; and how little its state needs to know."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import MIXERS, Block, RetNet
from deltanet_edu.layers.rotary import rotate

D, H, T = 24, 3, 19


def by_definition(layer, x):
    """Token by token in absolute positions: S_t = gamma S_{t-1} + v_t (R^t k_t)^T, o_t = S_t R^t q_t."""
    q, k, v = (z.unflatten(-1, (layer.heads, -1)) for z in layer.to_qkv(x).split(layer.widths, -1))
    gamma = 1 - 2.0 ** (-5 - torch.arange(layer.heads, dtype=x.dtype))
    S, o = x.new_zeros(len(x), layer.heads, layer.V, layer.K), []
    for t in range(x.shape[1]):
        q_t, k_t = (rotate(z[:, t], torch.tensor(t), layer.rope_theta) for z in (q, k))
        S = gamma[:, None, None] * S + v[:, t, ..., None] * k_t[..., None, :]
        o.append((S @ q_t[..., None])[..., 0])
    o = torch.stack(o, 1)
    o = o * torch.rsqrt(o.square().mean(-1, keepdim=True) + layer.out_norm.eps) * layer.out_norm.weight
    return layer.to_out(o.flatten(2) * F.silu(layer.to_gate(x)))


@pytest.mark.parametrize("options", [{}, dict(rope_theta=50.0, chunk_size=4), dict(expand_k=1, expand_v=2)], ids=str)
def test_it_is_its_definition(options):
    layer, x = RetNet(D, H, **options).double(), torch.randn(2, T, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x), rtol=0, atol=1e-9)


def test_the_state_needs_no_position():
    """After any past the state is what the same past further from the start would have left."""
    layer, x = RetNet(D, H).double(), torch.randn(1, T, D, dtype=torch.float64)
    _, state = layer(x)
    assert [name for name, part in state._asdict().items() if part is not None] == ["S"]
    _, silent = layer(torch.zeros(1, 1000, D, dtype=torch.float64))
    _, later = layer(x, silent)
    torch.testing.assert_close(later.S, state.S, rtol=0, atol=1e-12)


def test_in_float32_long_decoding_stays_exact():
    torch.manual_seed(1)
    layer, x = RetNet(8, 1), torch.randn(1, 500, 8)
    state = None
    with torch.no_grad():
        for x_t in x.split(1, 1):
            y, state = layer(x_t, state)
        wanted, _ = layer.double()(x.double())
    torch.testing.assert_close(y.double(), wanted[:, -1:], rtol=0, atol=1e-5)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("d, heads", [(64, 2), (128, 4), (1024, 8)])
def test_parameters(d, heads):
    with torch.device("meta"):
        assert count(RetNet(d, heads)) == 4 * d * d + d // heads
        assert count(RetNet(d, heads, conv_size=4)) == 4 * d * d + d // heads + 8 * d
        assert count(RetNet(d, heads, output_gate=False)) == 3 * d * d + d // heads
        assert count(RetNet(d, heads, expand_k=1.0, expand_v=2.0)) == 8 * d * d + 2 * d // heads


@pytest.mark.parametrize("d, heads", [(128, 2), (256, 4), (512, 4), (1024, 8), (2048, 16)])
def test_blocks_of_all_mixers_are_within_two_percent(d, heads):
    with torch.device("meta"):
        sizes = [count(Block(d, mixer(d, heads))) for mixer in MIXERS.values()]
    assert max(sizes) <= 1.02 * min(sizes), sizes


@pytest.mark.parametrize("options, error, says", [
    (dict(expand_k=0.125), ValueError, "expand_k: got 0.125, which makes heads 1 wide, expected an even width"),
    (dict(expand_k=0.3), ValueError, "expand_k: got 0.3, which makes 7.2 channels of d_model = 24, expected a mult"),
    (dict(expand_v=0), ValueError, "expand_v: got 0, expected a positive number"),
    (dict(rope_theta=0.5), ValueError, "rope_theta: got 0.5"), (dict(chunk_size=0), ValueError, "chunk_size: got 0"),
    (dict(output_gate=1), TypeError, "output_gate: got 1, expected True or False"),
    (dict(out_eps=-1.0), ValueError, "out_eps: got -1.0, expected a number of at least 0"),
])
def test_wrong_options_are_named(options, error, says):
    with pytest.raises(error, match=says):
        RetNet(D, H, **options)
