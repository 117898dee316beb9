"""The presets: models of the sizes that they promise, which can be built and trained."""

from dataclasses import replace

import pytest
import torch

from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel, meta_model, parameters
from deltanet_edu.lm.optimizer import build_optimizers
from deltanet_edu.lm.presets import PRESETS, settings_of
from deltanet_edu.lm.train import training_step

# The last is the number of the published model, fla-hub/delta_net-1.3B-100B.
PARAMETERS = {"cpu": 692_480, "small": 26_829_824, "medium": 110_287_104, "340m": 374_362_112, "1.3b": 1_365_677_056}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_model_of_its_size(name):
    config = Config(**PRESETS[name])
    assert parameters(meta_model(config)) == PARAMETERS[name]
    assert config.batch % 8 == 0, "eight processes share a batch"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_a_step(name):
    """The whole model a forward pass without numbers, and a narrow one of its kind three steps."""
    config = Config(**PRESETS[name])
    model = meta_model(config)
    with torch.device("meta"):
        assert model.loss(torch.empty(1, 65, dtype=torch.long)).requires_grad
    small = replace(config, d_model=16 * config.heads, mlp_hidden=64, vocab=300, layers=2)
    model = LanguageModel(small)
    batch = torch.randint(300, (2, 17), generator=torch.Generator().manual_seed(0))
    step = [training_step(model, build_optimizers(model, small), [(batch,)], 1.0, 1.0) for _ in range(3)]
    assert step[2] < step[0]


def test_the_paper_s_sizes():
    for name, hidden in (("340m", 2816), ("1.3b", 5632)):
        config = Config(**PRESETS[name])
        assert config.d_model // config.heads == 128 and config.layers == 24 and config.mlp_hidden == hidden
        tokens = config.batch * config.length
        assert config.steps * tokens == pytest.approx({2**19: 15e9, 2**21: 1e11}[tokens], rel=1e-3)


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match="preset: got 'tiny', expected one of 'cpu', 'small', "):
        settings_of("tiny")
    assert settings_of("cpu") == PRESETS["cpu"] and settings_of("340m") is not PRESETS["340m"]
