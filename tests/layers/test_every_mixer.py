"""What every registered mixer keeps to, whatever it is made of: a new one is tested here as soon as its file exists."""

import pytest
import torch

from deltanet_edu.layers import MIXERS
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel

D, H, T = 16, 2, 13


@pytest.fixture(params=sorted(MIXERS))
def layer(request):
    return MIXERS[request.param](D, H).double()


def tokens(B, T=T):
    return torch.randn(B, T, D, dtype=torch.float64)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cuts", [(1,) * T, (1, 12), (7, 6), (2, 1, 10)], ids=str)
def test_a_sequence_may_arrive_in_pieces(layer, cuts):
    x = tokens(2)
    state, pieces = None, []
    for piece in x.split(cuts, dim=1):
        y, state = layer(piece, state)
        pieces.append(y)
    close(torch.cat(pieces, 1), layer(x)[0])


def test_no_token_sees_a_later_one_and_all_see_themselves(layer):
    x = tokens(1)
    y = layer(x)[0]
    for t in (0, 1, 6, T - 1):
        other = layer(torch.cat([x[:, :t], tokens(1, T - t)], 1))[0]
        close(other[:, :t], y[:, :t])
        assert (other[:, t] - y[:, t]).abs().max() > 1e-6


def test_packed_sequences_are_strangers_and_go_on_from_their_states(layer):
    x, y, ends = tokens(1), tokens(3, 4), [0, 5, 6, T]
    packed, state = layer(x, cu_seqlens=torch.tensor(ends))
    alone = [layer(x[:, a:b]) for a, b in zip(ends, ends[1:])]
    close(packed, torch.cat([o for o, _ in alone], 1))
    close(layer(y, state)[0], torch.cat([layer(y[n:n + 1], own)[0] for n, (_, own) in enumerate(alone)]))


def test_a_state_is_a_value_that_says_its_bytes(layer):
    _, state = layer(tokens(2, 5))
    before = [None if part is None else part.clone() for part in state]
    y, z = tokens(2, 3), layer(tokens(2, 3), state)[0]
    close(layer(y, state)[0], layer(y, state)[0])
    assert z.shape == y.shape
    assert all(part is None or torch.equal(part, old) for part, old in zip(state, before))
    assert state.nbytes == sum(part.numel() * part.element_size() for part in state if part is not None)


def test_a_layer_moved_to_another_dtype_goes_on_from_its_state(layer):
    x = tokens(2)
    whole, (_, state) = layer(x)[0][:, 6:], layer(x[:, :6])
    y, _ = layer.bfloat16()(x[:, 6:].bfloat16(), state)
    assert y.dtype == torch.bfloat16 and (y - whole).norm() < 0.1 * whole.norm()


def test_a_state_of_other_sequences_is_refused(layer):
    with pytest.raises(ValueError, match="state"):
        layer(tokens(3), layer(tokens(2))[1])
    with pytest.raises(TypeError, match="state"):
        layer(tokens(1), (1, 2))


def test_every_parameter_gets_a_gradient(layer):
    layer(tokens(2))[0].square().sum().backward()
    for name, p in layer.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", sorted(MIXERS))
def test_a_model_takes_it_by_name(name):
    config = Config(vocab=256, d_model=D, heads=H, layers=2, mixer=name)
    logits = LanguageModel(config)(torch.randint(256, (2, 5)))[0]
    assert logits.shape == (2, 5, 256) and logits.isfinite().all()
