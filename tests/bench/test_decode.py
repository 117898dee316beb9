"""Writing one token at a time, measured: the model is the model, and what it keeps is what it says."""

import json

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.bench.decode import Decoder, compare, describe, fastest
from deltanet_edu.cli import app
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel

SIZE = dict(vocab=256, d_model=32, heads=2, layers=2, mlp_hidden=48)


@pytest.mark.parametrize("mixer, options", [("delta", {}), ("attention", {"attention.groups": 1}), ("mamba", {}),
                                            ("delta+global", {})])
def test_a_step_is_the_next_token_of_the_model(mixer, options):
    """The likeliest token after eight random ones and one more, by reading all nine at once; for three texts."""
    config = Config(mixer=mixer, options=options, **SIZE)
    decoder = Decoder(config, context=9, batch=3, dtype=torch.float64)
    torch.manual_seed(0)
    model, text = LanguageModel(config).double(), torch.randint(256, (1, 8))
    text = torch.cat([text, decoder.token[:1]], 1)
    decoder.step()
    assert decoder.token.tolist() == [[int(model(text)[0][0, -1].argmax())]] * 3


def test_bytes_kept_are_those_of_equation_16_9():
    delta, attention = compare(["delta", "attention"], [20], 3, torch.device("cpu"), torch.float32, rounds=2, **SIZE)
    D, H = SIZE["d_model"], SIZE["heads"]
    assert delta["bytes kept"] == 4 * 3 * SIZE["layers"] * (D * D // H + 9 * D)
    assert attention["bytes kept"] == 3 * SIZE["layers"] * (4 * 2 * D * 20 + 8)                  # and its position
    assert fastest(delta) > 0 and delta["parameters"] > attention["parameters"] - 1000
    assert "does not fit" in describe({"mixer": "attention", "context": 9, "batch": 1, "out of memory": True}, delta)


def test_the_command_writes_what_it_shows(tmp_path):
    words = "bench decode --context 5 --context 9 --batch 2 --d-model 16 --layers 1 --heads 1 --vocab 256 --rounds 1"
    path = tmp_path / "decode.json"
    result = CliRunner().invoke(app, [*words.split(), "--output", str(path), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    rows = json.loads(path.read_text())["rows"]
    assert [(row["mixer"], row["context"]) for row in rows] == [("delta", 5), ("attention", 5), ("delta", 9),
                                                               ("attention", 9)]
    assert rows[0]["bytes kept"] == rows[2]["bytes kept"] and rows[1]["bytes kept"] < rows[3]["bytes kept"]
    assert all(f"{row['bytes kept']:,}" in result.output for row in rows)
