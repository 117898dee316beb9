"""Layers: causal, the same in one go as token by token, as large as promised, and clear about wrong arguments."""

import pickle
import re

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import (GLA, Block, DeltaNet, FastWeights, LinearAttention, Mamba, RetNet, ShortConvolution,
                                 State, SwiGLU)
from deltanet_edu.layers.swiglu import swiglu_width

D, H, T = 12, 3, 13
MIXERS = {
    "delta": lambda: DeltaNet(D, H),
    "delta, recurrent": lambda: DeltaNet(D, H, form="recurrent"),
    "delta, small chunks": lambda: DeltaNet(D, H, chunk_size=5),
    "delta, no convolution": lambda: DeltaNet(D, H, conv_size=0),
    "delta, beta up to 2": lambda: DeltaNet(D, H, beta_max=2.0),
    "delta, L1 and ELU": lambda: DeltaNet(D, H, feature_map="elu+1", norm="l1"),
    "delta, ReLU": lambda: DeltaNet(D, H, feature_map="relu"),
    "linear": lambda: LinearAttention(D, H),
    "linear, small chunks": lambda: LinearAttention(D, H, chunk_size=4, conv_size=3),
    "delta, output gate": lambda: DeltaNet(D, H, output_gate=True),
    "delta, K = V / 4": lambda: DeltaNet(D, H, expand_k=0.5, expand_v=2.0),
    "retnet": lambda: RetNet(D, H),
    "retnet, convolution": lambda: RetNet(D, H, conv_size=4, chunk_size=4, output_gate=False),
    "gla": lambda: GLA(D, H),
    "gla, convolution": lambda: GLA(D, H, conv_size=4, chunk_size=5),
    "mamba": lambda: Mamba(D, H),
    "mamba, parallel": lambda: Mamba(D, H, form="parallel", state_size=3, conv_size=2),
    "mamba, recurrent": lambda: Mamba(D, H, form="recurrent", width=5),
}


@pytest.fixture(params=MIXERS)
def mixer(request):
    return MIXERS[request.param]().double()


def tokens(B=2, T=T):
    return torch.randn(B, T, D, dtype=torch.float64)


def test_token_by_token_equals_all_at_once(mixer):
    x = tokens()
    y, last = mixer(x)
    state, pieces = None, []
    for x_t in x.split(1, dim=1):
        y_t, state = mixer(x_t, state)
        pieces.append(y_t)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=0, atol=1e-10)
    torch.testing.assert_close(state.S, last.S, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cuts", [(1, 12), (7, 6), (2, 1, 10)])
def test_a_sequence_may_arrive_in_pieces(mixer, cuts):
    x = tokens()
    y, state, pieces = mixer(x)[0], None, []
    for piece in x.split(cuts, dim=1):
        out, state = mixer(piece, state)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=0, atol=1e-10)


def test_no_token_sees_a_later_one(mixer):
    x = tokens(B=1)
    y, _ = mixer(x)
    for t in range(T):
        changed = x.clone()
        changed[:, t:] += torch.randn(1, T - t, D, dtype=torch.float64)
        other, _ = mixer(changed)
        torch.testing.assert_close(other[:, :t], y[:, :t], rtol=0, atol=1e-10)
        assert (other[:, t] - y[:, t]).abs().max() > 1e-6, "a token must see itself"


def test_the_state_does_not_grow(mixer):
    states = [mixer(tokens(1, n))[1] for n in (1, 2, 5, 13, 40)]
    assert len({state.nbytes for state in states}) == 1
    assert states[0].nbytes == 8 * sum(part.numel() for part in states[0] if part is not None)


def test_every_parameter_gets_a_gradient(mixer):
    mixer(tokens())[0].square().sum().backward()
    for name, p in mixer.named_parameters():
        assert p.grad is not None and p.grad.abs().max() > 0, name


@pytest.mark.parametrize("d, heads", [(12, 3), (64, 2), (128, 4)])
def test_parameter_counts(d, heads):
    def count(module):
        return sum(p.numel() for p in module.parameters())
    delta = 4 * d * d + d * heads + 12 * d + d // heads
    assert count(DeltaNet(d, heads)) == delta
    assert count(LinearAttention(d, heads)) == delta - d * heads
    hidden = swiglu_width(d)
    assert hidden % 64 == 0 and 0 <= hidden - 8 * d / 3 < 64
    assert count(SwiGLU(d)) == 3 * d * hidden
    assert count(Block(d, DeltaNet(d, heads))) == delta + 3 * d * hidden + 2 * d


def test_keys_are_normalized_and_beta_is_in_range():
    seen = {}

    class Spy(DeltaNet):
        def rule(self, x, q, k, v, *entering):
            seen.update(q=q, k=k, beta=self.beta_max * self.to_beta(x).sigmoid())
            return super().rule(x, q, k, v, *entering)
    for norm, p in (("l2", 2), ("l1", 1)):
        Spy(D, H, norm=norm).double()(3 * tokens())
        for name in "qk":
            lengths = seen[name].norm(p=p, dim=-1)                       # (B, T, H)  1 but for the 1e-6 in `unit`
            assert (lengths < 1).all() and (lengths > 0.9999).all()
    assert 0 < seen["beta"].min() and seen["beta"].max() < 1
    Spy(D, H, beta_max=2.0).double()(30 * tokens())
    assert 1 < seen["beta"].max() <= 2


def test_the_convolution_is_torch_s_depthwise_convolution():
    conv, x = ShortConvolution(5, 4).double(), torch.randn(2, 9, 5, dtype=torch.float64)
    wanted = F.conv1d(F.pad(x.mT, (3, 0)), conv.weight.T[:, None], groups=5).mT
    torch.testing.assert_close(conv(x)[0], wanted)


def test_unnormalized_keys_are_caught_before_they_blow_up():
    layer = DeltaNet(D, H, norm="none", feature_map="identity", conv_size=0)
    with pytest.raises(ValueError, match=r"k: beta \|k\|\^2 reaches"):
        layer(100 * torch.randn(1, 8, D))


@pytest.mark.parametrize("build, message", [
    (lambda: DeltaNet(32, 2.0), "heads: got 2.0, expected an integer of at least 1"),
    (lambda: DeltaNet(32.0, 2), "d_model: got 32.0, expected an integer"),
    (lambda: DeltaNet(32, True), "heads: got True, expected an integer"),
    (lambda: DeltaNet(12, 3, chunk_size=0), "chunk_size: got 0, expected at least 1"),
    (lambda: DeltaNet(12, 3, chunk_size=8.0), "chunk_size: got 8.0, expected an integer"),
    (lambda: LinearAttention(12, 3, chunk_size="64"), "chunk_size: got '64', expected an integer"),
    (lambda: DeltaNet(12, 3, conv_size=-1), "conv_size: got -1, expected at least 0"),
    (lambda: DeltaNet(12, 3, conv_size=4.0), "conv_size: got 4.0, expected an integer"),
    (lambda: DeltaNet(12, 3, beta_max="1"), "beta_max: got '1', expected a number"),
    (lambda: ShortConvolution(4.0), "channels: got 4.0, expected an integer"),
    (lambda: SwiGLU(12, 0), "hidden: got 0, expected at least 1"),
    (lambda: DeltaNet(10, 3), "d_model: got 10, which 3 heads do not divide"),
    (lambda: DeltaNet(12, 3, feature_map="tanh"), "feature_map: got 'tanh', expected one of"),
    (lambda: DeltaNet(12, 3, norm="l3"), "norm: got 'l3', expected one of"),
    (lambda: DeltaNet(12, 3, beta_max=2.5), "beta_max: got 2.5, expected"),
    (lambda: DeltaNet(12, 3, beta_max=0), "beta_max: got 0, expected"),
    (lambda: DeltaNet(12, 0), "heads: got 0, expected at least 1"),
    (lambda: DeltaNet(0, 3), "d_model: got 0"),
    (lambda: DeltaNet(12, 3, form="chunked"), "form: got 'chunked', expected one of"),
    (lambda: DeltaNet(12, 3, backend="cuda"), "backend: got 'cuda', expected one of"),
    (lambda: LinearAttention(12, 3, chunk_size=0), "chunk_size: got 0, expected at least 1"),
    (lambda: ShortConvolution(4, 0), "size: got 0, expected at least 1"),
])
def test_wrong_arguments_are_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


OTHER_STATES = {"another batch": torch.zeros(1, H, D // H, D // H), "no batch": torch.zeros(D // H, D // H)}


@pytest.mark.parametrize("S", OTHER_STATES.values(), ids=OTHER_STATES)
@pytest.mark.parametrize("mixer", [DeltaNet, LinearAttention])
def test_a_state_of_another_shape_is_refused(mixer, S):
    with pytest.raises(ValueError, match="state.S: got shape"):
        mixer(D, H, conv_size=0)(torch.randn(2, 5, D), State(None, S))


@pytest.mark.parametrize("x, state, error, message", [
    (torch.randn(5, D), None, ValueError, "x: got shape (5, 12), expected (B, T, 12)"),
    (torch.randn(2, 5, 9), None, ValueError, "x: got shape (2, 5, 9), expected (B, T, 12)"),
    (None, None, TypeError, "x: got NoneType, expected a torch.Tensor"),
    (torch.ones(2, 5, D, dtype=torch.long), None, TypeError, "x: got dtype torch.int64, expected floating point"),
    (torch.randn(2, 5, D), torch.zeros(2, H, 4, 4), TypeError,
     "state: got Tensor, expected what an earlier call has returned"),
    (torch.randn(2, 5, D), State(torch.zeros(1, 3, 3 * D), None), ValueError,
     "state.conv: got shape (1, 3, 36), expected (2, 3, 36)"),
])
def test_wrong_inputs_are_named(x, state, error, message):
    with pytest.raises(error, match=re.escape(message)):
        DeltaNet(D, H)(x, state)


@pytest.mark.parametrize("feature_map", ["silu", "elu+1", "identity"])
@pytest.mark.parametrize("norm", ["l2", "l1", "none"])
def test_layers_can_be_pickled(feature_map, norm):
    layer, x = LinearAttention(D, H, feature_map=feature_map, norm=norm), torch.randn(1, 5, D)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x)[0], layer(x)[0])


def test_a_mixer_without_a_rule_says_so():
    with pytest.raises(NotImplementedError, match="mixer without a rule"):
        FastWeights(D, H)(torch.randn(1, 2, D))
