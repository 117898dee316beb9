"""Models of every mixer and of the paper's two hybrids: where attention stands, and text that is the same both ways."""

import pytest
import torch

from deltanet_edu.layers import MIXERS, Attention
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.generate import choose, generate_tokens
from deltanet_edu.lm.model import LanguageModel, parameters, state_bytes

SMALL = dict(vocab=256, d_model=32, heads=2, mlp_hidden=48)


def layers_with_attention(mixer, layers, **options):
    """Numbers from 1, as the paper counts."""
    names = Config(mixer=mixer, layers=layers, **SMALL, **options).mixers
    return [n for n, name in enumerate(names, 1) if name in ("attention", "sliding")], set(names)


@pytest.mark.parametrize("layers, where", [(24, [2, 13]), (12, [2, 7]), (4, [2, 3]), (3, [2]), (2, [2])])
def test_global_attention_stands_in_layers_2_and_half_plus_1(layers, where):
    assert layers_with_attention("delta+global", layers) == (where, {"delta", "attention"})


@pytest.mark.parametrize("layers, where", [(24, list(range(2, 25, 2))), (5, [2, 4]), (2, [2])])
def test_sliding_windows_stand_in_every_other_layer(layers, where):
    assert layers_with_attention("gla+sliding", layers) == (where, {"gla", "sliding"})


def test_a_list_of_one_s_own():
    assert Config(mixer=["sliding", "sliding", "delta", "attention"], layers=4, **SMALL).mixers[2] == "delta"


def test_options_reach_the_layers_of_a_hybrid():
    options = {"window": 7, "sliding.heads": 4, "beta_max": 2.0}
    config = Config(mixer="delta+sliding", layers=4, options=options, **SMALL)
    model = LanguageModel(config)
    assert [block.mixer.heads for block in model.blocks] == [2, 4, 2, 4]
    assert model.blocks[1].mixer.window == 7 and model.blocks[2].mixer.beta_max == 2.0
    assert isinstance(model.blocks[3].mixer, Attention) and Config(**config.to_dict()) == config


@pytest.mark.parametrize("settings, says", [
    (dict(mixer="delta+local"), r"mixer: got 'delta\+local' with 2 layers, expected \+sliding or \+global"),
    (dict(mixer="delta+global", layers=1), "with 1 layers, expected .* at least 2 layers"),
    (dict(mixer="dleta+global"), "mixer: got 'dleta', expected one of"),
    (dict(mixer="delta,linear+global"), "mixer: got 'delta,linear', expected one of"),
    (dict(mixer="delta", options={"heads": 4}), "options: got 'heads'"),
    (dict(mixer="delta+sliding", options={"sliding.window": None}), "window: got None, expected a number of tokens"),
    (dict(mixer="delta+sliding", options={"sliding.heads": 3}), "d_model: got 32, which 3 heads do not divide"),
    (dict(norm_eps=0), "norm_eps: got 0, expected a positive number"), (dict(mlp_hidden=-1), "mlp_hidden: got -1"),
])
def test_wrong_patterns_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        Config(**SMALL | dict(layers=2) | settings)


def test_a_model_without_an_mlp():
    with_mlp, without = (LanguageModel(Config(**SMALL | dict(mlp_hidden=width))) for width in (48, 0))
    assert parameters(with_mlp) - parameters(without) == 2 * (3 * 32 * 48 + 32)
    tokens = torch.randint(256, (1, 9))
    assert without(tokens)[0].shape == (1, 9, 256)
    without.loss(tokens).backward()


def test_norm_eps_is_that_of_all_norms_of_the_model():
    model = LanguageModel(Config(**SMALL, norm_eps=1e-3))
    norms = [model.norm] + [norm for block in model.blocks for norm in (block.mixer_norm, block.mlp_norm)]
    assert [norm.eps for norm in norms] == [1e-3] * 5


# -- text --------------------------------------------------------------------------------------------------------------

MODELS = {**{name: {} for name in MIXERS}, "delta+sliding": {"window": 16}, "delta+global": {},
          "gla, convolution": {"conv_size": 4}, "retnet, convolution": {"conv_size": 4},
          "delta, negative eigenvalues": {"beta_max": 2.0, "output_gate": True}}


@pytest.mark.parametrize("name", MODELS)
def test_256_tokens_are_those_of_the_full_forward_pass_in_float32(name):
    """Written one at a time from a cache; then read at once, and chosen again from those scores, with the same dice."""
    torch.manual_seed(2)
    mixer = name.partition(", ")[0]
    config = Config(mixer=mixer, layers=4 if "+" in mixer else 2, options=MODELS[name], **SMALL)
    model = LanguageModel(config).eval()
    for p in model.parameters():                                         # fresh, all tokens are about equally likely
        p.data.mul_(3 if p.ndim > 1 else 1)
    prompt, choice = torch.randint(256, (10,)), dict(temperature=0.1, top_k=None)
    made, sizes, states = [], [], None
    for token, states in generate_tokens(model, prompt, 256, seed=5, **choice):
        made.append(token)
        sizes.append(state_bytes(states))
    made = torch.stack(made)
    with torch.inference_mode():
        logits, whole = model(torch.cat([prompt, made[:-1]])[None])
    dice = torch.Generator().manual_seed(5)
    assert [int(choose(row, generator=dice, **choice)) for row in logits[0, -256:]] == made.tolist()
    assert 20 < len(made.unique()) < 250
    assert (len(set(sizes)) == 1) == ("attention" not in config.mixers and "sliding" not in config.mixers)
    parts = ([part for state in each for part in state if part is not None] for each in (states, whole))
    for part, expected in zip(*parts, strict=True):
        assert (part - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_one_prefix_many_continuations(name):
    """A state that is kept can be returned to: what is said after it does not depend on what was said in between."""
    mixer = name.partition(", ")[0]
    model = LanguageModel(Config(mixer=mixer, layers=2, options=MODELS[name], **SMALL)).double()
    prefix, *ends = (torch.randint(256, (1, n)) for n in (20, 5, 9, 1))
    _, kept = model(prefix)
    for end in (*ends, *ends):                                           # forward, and back to the snapshot
        from_snapshot, _ = model(end, kept)
        at_once = model(torch.cat([prefix, end], 1))[0][:, 20:]
        torch.testing.assert_close(from_snapshot, at_once, rtol=0, atol=1e-9)
