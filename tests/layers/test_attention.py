"""Softmax attention: against PyTorch's own and by the definition; in pieces, packed, in a window, with shared keys."""

import math

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import Attention
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.generate import generate_tokens
from deltanet_edu.lm.model import LanguageModel

D, H, T = 24, 3, 13
MAKE = {"full": {}, "window": dict(window=4), "window of one": dict(window=1), "groups": dict(groups=1)}


@pytest.fixture(params=MAKE)
def layer(request):
    torch.manual_seed(0)
    return Attention(D, H, **MAKE[request.param]).double()


def sequence(B=2, T=T):
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_definition(layer, x):
    """One query at a time, each with a softmax over what it may see."""
    B, T, _ = x.shape
    at = torch.arange(T).expand(B, T)
    q = layer.rotate(layer.to_q(x).view(B, T, H, -1), at)
    k, v = layer.to_kv(x).view(B, T, 2, layer.groups, -1).unbind(2)
    k = layer.rotate(k, at)
    o = torch.zeros_like(q)
    for t in range(T):
        first = 0 if layer.window is None else max(0, t + 1 - layer.window)
        for h in range(H):
            g = h // (H // layer.groups)
            scores = (k[:, first:t + 1, g] @ q[:, t, h, :, None])[..., 0] / math.sqrt(D // H)
            o[:, t, h] = (scores.softmax(1)[..., None] * v[:, first:t + 1, g]).sum(1)
    return layer.to_out(o.flatten(2))


def test_it_is_its_definition(layer):
    x = sequence()
    torch.testing.assert_close(layer(x)[0], by_definition(layer, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [(1,) * T, (5, 8), (12, 1), (1, 11, 1)])
def test_a_sequence_may_arrive_in_pieces(layer, cuts):
    x = sequence()
    y, last = layer(x)
    state, pieces = None, []
    for piece in x.split(cuts, 1):
        out, state = layer(piece, state)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=0, atol=1e-12)
    assert all(torch.allclose(a, b) for a, b in zip(state, last)) and state.seen.tolist() == [T, T]


def test_no_token_sees_a_later_one_nor_one_beyond_the_window(layer):
    x = sequence()
    changed = x.clone()
    changed[:, 6] += 1
    differs = (layer(changed)[0] - layer(x)[0]).abs().amax((0, 2)) > 1e-12
    last = T if layer.window is None else min(T, 6 + layer.window)
    assert differs.tolist() == [6 <= t < last for t in range(T)]


def test_packed_sequences_do_not_see_each_other_and_can_go_on(layer):
    x, more = sequence(1, 12), sequence(1, 5)
    ends, later = torch.tensor([0, 5, 6, 12]), torch.tensor([0, 2, 3, 5])
    y, state = layer(x, cu_seqlens=ends)
    y_more, state = layer(more, state, cu_seqlens=later)
    for n in range(3):
        alone, own = layer(x[:, ends[n]:ends[n + 1]])
        torch.testing.assert_close(y[:, ends[n]:ends[n + 1]], alone, rtol=0, atol=1e-12)
        rest, own = layer(more[:, later[n]:later[n + 1]], own)
        torch.testing.assert_close(y_more[:, later[n]:later[n + 1]], rest, rtol=0, atol=1e-12)
        assert state.seen[n] == own.seen[0]


def test_the_cache_grows_up_to_the_window():
    x = sequence(1, 40)
    sizes = {name: [Attention(D, H, **options).double()(x[:, :n])[1].nbytes for n in (10, 20, 40)]
             for name, options in MAKE.items()}
    one = 2 * D * 8                                                      # bytes of a token's key and value
    assert sizes["full"] == [n * one + 8 for n in (10, 20, 40)]
    assert sizes["groups"] == [n * one // 3 + 8 for n in (10, 20, 40)]
    assert sizes["window"] == [3 * one + 8] * 3 and sizes["window of one"] == [8] * 3


def test_a_kept_state_is_continued_twice():
    layer, x = Attention(D, H).double(), sequence(1)
    _, state = layer(x[:, :6])
    first, again = layer(x[:, 6:], state)[0], layer(x[:, 6:], state)[0]
    assert torch.equal(first, again)


def test_rotary_positions_are_relative():
    layer, x = Attention(D, H, rope_theta=100.0).double(), torch.randn(1, 1, H, D // H, dtype=torch.float64)
    y = torch.randn_like(x)
    product = [(layer.rotate(x, torch.tensor([[a]])) * layer.rotate(y, torch.tensor([[b]]))).sum(-1)
               for a, b in ((7, 3), (107, 103), (7, 4))]
    torch.testing.assert_close(product[0], product[1], rtol=0, atol=1e-10)
    assert not torch.allclose(product[0], product[2])


def test_parameters_and_equal_heads_of_torch():
    assert sum(p.numel() for p in Attention(64, 4).parameters()) == 4 * 64**2
    assert sum(p.numel() for p in Attention(64, 4, groups=2).parameters()) == 3 * 64**2
    layer, x = Attention(D, H).double(), sequence()
    at = torch.arange(T).expand(2, T)
    q, (k, v) = layer.to_q(x).view(2, T, H, -1), layer.to_kv(x).view(2, T, 2, H, -1).unbind(2)
    o = F.scaled_dot_product_attention(layer.rotate(q, at).mT.mT.transpose(1, 2), layer.rotate(k, at).transpose(1, 2),
                                       v.transpose(1, 2), is_causal=True)
    torch.testing.assert_close(layer(x)[0], layer.to_out(o.transpose(1, 2).flatten(2)), rtol=0, atol=1e-12)


def test_in_a_hybrid_model_decoding_equals_reading():
    torch.manual_seed(0)
    config = Config(vocab=256, layers=4, d_model=D, heads=H, mixer="delta,attention", options={"window": 5})
    model = LanguageModel(config).double().eval()
    tokens = torch.randint(256, (1, 11), generator=torch.Generator().manual_seed(2))
    made = torch.stack([token for token, _ in generate_tokens(model, tokens[0], 12, temperature=0)])[None]
    whole = torch.cat([tokens, made], 1)
    assert torch.equal(model(whole[:, :-1])[0].argmax(-1)[:, -12:], made)


@pytest.mark.parametrize("options, error, says", [
    (dict(groups=2), ValueError, "groups: got 2, which does not divide heads = 3"),
    (dict(groups=0), ValueError, "groups: got 0"),
    (dict(window=0), ValueError, "window: got 0"), (dict(window=2.5), TypeError, "window: got 2.5"),
    (dict(rope_theta=0), ValueError, "rope_theta: got 0"), (dict(d_model=9), ValueError, "expected an even width"),
])
def test_wrong_options_are_named(options, error, says):
    with pytest.raises(error, match=says):
        Attention(options.pop("d_model", D), H, **options)


def test_a_state_of_another_layer_is_refused(layer):
    x = sequence()
    _, state = layer(x)
    with pytest.raises(ValueError, match=r"state\.(k|seen): got shape"):
        layer(x[:1], state)
    with pytest.raises(TypeError, match="expected what an earlier call has returned, a Cache"):
        layer(x, (state.k, state.v))


def test_a_saved_cache_can_be_read(tmp_path):
    layer = Attention(D, H)
    _, state = layer(sequence(1).float())
    torch.save(state, tmp_path / "state")
    assert torch.equal(torch.load(tmp_path / "state").k, state.k)
