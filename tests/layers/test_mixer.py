"""What every mixer is: found by its name, one interface, a state of its own. A toy unlike all others shows it."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deltanet_edu.layers import GLA, MIXERS, DeltaNet, LinearAttention, Mamba, RetNet, mixer
from deltanet_edu.layers.mixer import options_of
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.generate import generate_tokens
from deltanet_edu.lm.model import LanguageModel, state_bytes

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ROOT = Path(__file__).resolve().parents[2]
D, H, T = 12, 3, 13


# -- the toy: softmax attention, whose state grows ---------------------------------------------------------------------

TOY = '''
from typing import NamedTuple

import torch
import torch.nn.functional as F

from deltanet_edu.layers.mixer import Mixer, bytes_of, check_part, mixer


class Cache(NamedTuple):
    """The keys and values of all tokens so far."""

    k: torch.Tensor                                                      # (N, H, tokens, K)
    v: torch.Tensor

    nbytes = property(bytes_of)


@mixer("toy")
class Toy(Mixer):
    """Softmax attention without positions: the smallest mixer whose state grows."""

    State = Cache

    def __init__(self, d_model, heads, *, sharpness=1.0):
        super().__init__(d_model, heads)
        self.sharpness = sharpness
        self.to_qkv, self.to_out = torch.nn.Linear(d_model, 3 * d_model), torch.nn.Linear(d_model, d_model)

    def forward(self, x, state=None, cu_seqlens=None):
        self.check(x, state, cu_seqlens)
        if cu_seqlens is not None:
            raise NotImplementedError("The toy takes no packed sequences.")
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in self.to_qkv(x).chunk(3, -1))
        if state is not None:
            k, v = torch.cat([state.k, k], 2), torch.cat([state.v, v], 2)
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - q.shape[2])
        o = F.scaled_dot_product_attention(q * self.sharpness, k, v, attn_mask=seen)
        return self.to_out(o.transpose(1, 2).flatten(2)), Cache(k, v)

    def check_state(self, state, sequences):
        for name in ("k", "v"):
            tokens = getattr(state, name).shape[2]
            check_part(state, name, (sequences, self.heads, tokens, self.d_model // self.heads))
'''
exec(TOY)                                                                # its text is also a file, below
Toy = MIXERS.pop("toy")                                                  # here for the tests that ask for it


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(MIXERS, "toy", Toy)


def test_a_mixer_with_a_growing_state_fits(toy):
    layer, x = Toy(D, H).double(), torch.randn(2, T, D, dtype=torch.float64)
    y, last = layer(x)
    state, pieces = None, []
    for piece in x.split((4, 1, 8), dim=1):
        out, state = layer(piece, state)
        pieces.append(out)
    torch.testing.assert_close(torch.cat(pieces, 1), y, rtol=0, atol=1e-12)
    assert last.nbytes == state.nbytes == 8 * 2 * 2 * T * D
    with pytest.raises(ValueError, match="state.k: got shape"):
        layer(x[:1], state)
    with pytest.raises(TypeError, match="state: got State, expected .* a Cache, or None"):
        layer(x, DeltaNet(D, H).double()(x)[1])


def test_a_model_takes_mixers_by_name_in_any_pattern(toy):
    config = Config(vocab=256, layers=5, d_model=D, heads=H, mixer=["delta", "toy", "linear"],
                    options={"conv_size": 2, "sharpness": 0.5, "linear.conv_size": 3})
    assert config.mixers == ["delta", "toy", "linear", "delta", "toy"] and Config(**config.to_dict()) == config
    model = LanguageModel(config).double()
    mixers = [block.mixer for block in model.blocks]
    assert [type(m) for m in mixers] == [DeltaNet, Toy, LinearAttention, DeltaNet, Toy]
    assert [len(m.conv.weight) for m in mixers if m not in (mixers[1], mixers[4])] == [2, 3, 2]
    assert mixers[1].sharpness == 0.5

    tokens = torch.randint(256, (1, T))
    logits, states = model(tokens)
    some, kept = model(tokens[:, :7])
    rest, after = model(tokens[:, 7:], kept)
    torch.testing.assert_close(torch.cat([some, rest], 1), logits, rtol=0, atol=1e-10)
    assert state_bytes(after) == state_bytes(states) > state_bytes(kept), "the toy's memory grows"
    assert len(list(generate_tokens(model, tokens[0], 5))) == 5


def test_a_new_mixer_is_one_file(tmp_path):
    """In a copy of the package, a file in layers/ and nothing else: the command line trains a model with it."""
    shutil.copytree(ROOT / "deltanet_edu", tmp_path / "deltanet_edu", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "deltanet_edu" / "layers" / "toy.py").write_text(TOY)
    command = ("-m deltanet_edu train --corpus stories --steps 2 --vocab 300 --layers 2 --d-model 16 --heads 2 "
               "--batch 2 --length 16 --mixer delta,toy --option sharpness=2").split()
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0 and "2 steps" in done.stdout, done.stderr
    code = "from deltanet_edu.layers import MIXERS, Toy; assert MIXERS['toy'] is Toy"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=120).returncode == 0


def test_a_name_belongs_to_one_mixer():
    with pytest.raises(ValueError, match="mixer: 'delta' is already the name of DeltaNet"):
        mixer("delta")(Toy)
    assert MIXERS["delta"] is DeltaNet


def test_options_are_those_of_the_mixer_and_of_what_it_shares():
    assert options_of(Toy) == {"sharpness": 1.0}
    assert set(options_of(DeltaNet)) - set(options_of(LinearAttention)) == {"beta_max", "form", "backend"}
    assert options_of(LinearAttention)["chunk_size"] == 64 and options_of(DeltaNet)["chunk_size"] is None


# -- states ------------------------------------------------------------------------------------------------------------

MAKE = {"delta": lambda: DeltaNet(D, H), "recurrent": lambda: DeltaNet(D, H, form="recurrent"),
        "parallel": lambda: DeltaNet(D, H, form="parallel"), "no convolution": lambda: DeltaNet(D, H, conv_size=0),
        "one tap": lambda: DeltaNet(D, H, conv_size=1), "linear": lambda: LinearAttention(D, H, chunk_size=4),
        "gate, K = V / 2": lambda: DeltaNet(D, H, output_gate=True, expand_k=0.5, expand_v=2.0),
        "retnet": lambda: RetNet(D, H), "retnet, convolution": lambda: RetNet(D, H, conv_size=4, chunk_size=5),
        "gla": lambda: GLA(D, H), "gla, convolution": lambda: GLA(D, H, conv_size=4, chunk_size=5),
        "mamba": lambda: Mamba(D)}


@pytest.fixture(params=MAKE)
def layer(request):
    return MAKE[request.param]().double()


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_what_is_kept_owns_its_memory(layer):
    state = None
    for n in (300, 1, 70):
        _, state = layer(normal(1, n, D), state)
        assert all(part.untyped_storage().nbytes() == part.nbytes for part in state if part is not None)
    _, state = layer(normal(1, 100, D), None, torch.tensor([0, 40, 100]))
    assert all(part.untyped_storage().nbytes() == part.nbytes for part in state if part is not None)


def test_a_state_is_saved_and_loaded_safely(layer):
    x = normal(2, 9, D)
    _, state = layer(x)
    file = io.BytesIO()
    torch.save([state], file)
    file.seek(0)
    (loaded,) = torch.load(file)                                         # weights_only, the default
    assert torch.equal(layer(x, loaded)[0], layer(x, state)[0])


def test_a_state_can_be_continued_from_again_and_again(layer):
    _, kept = layer(normal(1, 9, D))
    copies = [part.clone() for part in kept if part is not None]
    x, other = normal(1, 5, D), normal(1, 6, D)
    first = layer(x, kept)[0]
    layer(other, kept)
    assert torch.equal(layer(x, kept)[0], first)
    assert all(torch.equal(a, b) for a, b in zip(copies, (part for part in kept if part is not None)))


# -- packed sequences --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("lengths", [(13,), (5, 8), (1, 1, 1), (2, 0, 4, 1), (0, 3, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_packed_is_the_same_as_one_by_one(layer, lengths, dtype):
    ends = torch.tensor([0, *lengths]).cumsum(0).to(dtype)
    sequences = [normal(1, n, D) for n in lengths]
    y, state = layer(torch.cat(sequences, 1), None, ends)
    found = [layer(x) if x.numel() else (x, None) for x in sequences]
    torch.testing.assert_close(y, torch.cat([out for out, _ in found], 1), rtol=0, atol=1e-12)
    more = [normal(1, 3, D) for _ in lengths]                            # and from the states that they left
    y, _ = layer(torch.cat(more, 1), state, 3 * torch.arange(len(lengths) + 1))
    wanted = [layer(x, after)[0] for x, (_, after) in zip(more, found)]
    torch.testing.assert_close(y, torch.cat(wanted, 1), rtol=0, atol=1e-12)


def test_no_tokens_are_no_tokens(layer):
    x, empty = normal(2, 4, D), normal(2, 0, D)
    y, state = layer(empty)
    assert y.shape == (2, 0, D) and state.S.shape == layer(x)[1].S.shape
    assert torch.equal(layer(x, state)[0], layer(x)[0]), "nothing was written"
    _, before = layer(x)
    assert torch.equal(layer(x, layer(empty, before)[1])[0], layer(x, before)[0])
    y, state = layer(empty[:1], None, torch.tensor([0, 0]))
    assert y.shape == (1, 0, D) and len(state.S) == 1 and layer(normal(0, 3, D))[0].shape == (0, 3, D)


def test_an_exported_layer_is_the_layer_with_gradients(layer):
    """torch.export writes down what a layer does, operation by operation; what it writes has the same gradients."""
    x = normal(2, 40, D)
    found = []
    for program in (layer, torch.export.export(layer, (x,)).module()):
        inputs = x.clone().requires_grad_()
        y, _ = program(inputs)
        (slope,) = torch.autograd.grad(y.square().sum(), inputs)
        found.append((y, slope))
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_no_document_sees_another(layer):
    x, ends = normal(1, 15, D), torch.tensor([0, 5, 6, 15])
    x.requires_grad_()
    y, _ = layer(x, None, ends)
    (slope,) = torch.autograd.grad(y[:, 6:].square().sum(), x)
    assert (slope[:, :6] == 0).all() and (slope[:, 6:] != 0).any(-1).all()
    changed = x.detach().clone()
    changed[:, :6] += 1.0
    assert torch.equal(layer(changed, None, ends)[0][:, 6:], y[:, 6:])


@pytest.mark.parametrize("x, cu_seqlens, error, message", [
    (normal(2, 5, D), torch.tensor([0, 5]), ValueError, "x: got batch size 2 together with cu_seqlens, expected 1"),
    (normal(1, 5, D), torch.tensor([0, 4]), ValueError, "cu_seqlens: got .0, 4., expected ends"),
    (normal(1, 5, D), torch.tensor([0, 3, 2, 5]), ValueError, "cu_seqlens"),
    (normal(1, 5, D), [0, 5], TypeError, "cu_seqlens: got list"),
])
def test_wrong_packing_is_named(layer, x, cu_seqlens, error, message):
    with pytest.raises(error, match=message):
        layer(x, None, cu_seqlens)


def test_a_state_has_an_entry_for_each_sequence(layer):
    _, state = layer(normal(1, 9, D))
    with pytest.raises(ValueError, match="state.(conv|S): got shape"):
        layer(normal(1, 9, D), state, torch.tensor([0, 4, 9]))


def test_on_kernels_packed_sequences_are_one_launch(ran):
    layer, x = DeltaNet(32, 2).to(DEVICE), torch.randn(1, 24, 32, device=DEVICE)
    ends = torch.tensor([0, 10, 11, 24], device=DEVICE)
    y, state = layer(x, None, ends)
    assert [name for name, _ in ran] == ["delta_rule_chunkwise"]
    again, after = layer(x, state, ends)
    layer.how["backend"] = "torch"
    wanted, kept = layer(x, None, ends)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(again, layer(x, kept, ends)[0], rtol=0, atol=1e-5)
    assert state.S.shape == kept.S.shape == after.S.shape
