"""Language models compared: what is said of each, going on after a stop, and what is refused."""

import json
import statistics

import pytest
from typer.testing import CliRunner

from deltanet_edu.bench import language_models
from deltanet_edu.bench.commands import bench
from deltanet_edu.bench.language_models import check_equal, compare, described, summary
from deltanet_edu.cli import app                                         # adds the command
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import Corpus, Text
from deltanet_edu.lm.data import Data
from deltanet_edu.lm.presets import settings_of
from deltanet_edu.lm.stories import stories

TINY = Config(corpus="stories", vocab=300, layers=1, d_model=16, heads=2, mlp_hidden=16, steps=2, batch=2, length=32)
THE_EIGHT = ["delta", "delta+sliding", "delta+global", "attention", "gla", "retnet", "mamba", "linear"]


@pytest.fixture(scope="module")
def data():
    return Data.prepare(Corpus("stories", (Text.cut("a", stories(0, 30_000)),)), 300)


def test_a_model_is_a_mixer_and_what_differs():
    config = described("delta norm=l1 conv_size=0 adam_lr=0.01", TINY)
    assert config.mixer == "delta" and config.options == {"norm": "l1", "conv_size": 0} and config.adam_lr == 0.01
    with pytest.raises(ValueError, match="options: got 'nrm'"):
        described("delta nrm=l1", TINY)


@pytest.mark.parametrize("preset", ["small", "340m"])
def test_the_models_of_chapter_16_are_equally_large(preset):
    base = Config(**settings_of(preset))
    check_equal({model: described(model, base) for model in THE_EIGHT})
    with pytest.raises(ValueError, match="parameters differ by more than 2%: 'delta' .*, 'wide' "):
        check_equal({"delta": base, "wide": described("delta output_gate=true", base)})


def test_every_model_gets_every_rate_and_its_best_gets_the_other_seeds(data, tmp_path, monkeypatch):
    seen, over = [], {"adam_lr": [1e-6, 0.01]}
    how = dict(device="cpu", measures=("cloze", "positions"), most=3)
    both, note = ["delta", "linear"], lambda rows: seen.append(len(rows))
    rows = compare(both, TINY, over, 2, tmp_path, data, on_row=note, **how)
    assert [(row["model"], row["seed"], row["adam_lr"]) for row in rows] == [
        ("delta", 0, 1e-6), ("linear", 0, 1e-6), ("delta", 0, 0.01), ("linear", 0, 0.01),
        ("delta", 1, 0.01), ("linear", 1, 0.01)] and seen == [1, 2, 3, 4, 5, 6]
    said = summary(rows, over)["linear"]
    assert said["chosen"] == {"adam_lr": 0.01} and said["other rates"] == [{"adam_lr": 1e-6, "all": rows[1]["all"]}]
    assert said["seeds"] == said["all"] == {0: rows[3]["all"], 1: rows[5]["all"]} and said["tokens"][1] == 2 * 2 * 32
    assert said["mean"] == pytest.approx(statistics.mean(said["seeds"].values()), abs=1e-4)
    assert said["spread"] == pytest.approx(statistics.stdev(said["seeds"].values()), abs=1e-4)
    assert said["curves"][1][-1][0] == 2 and said["positions"][0][-1]["to"] == 256 and "passages" in said["cloze"][0]

    monkeypatch.setattr(language_models, "train", lambda *_, **__: pytest.fail("trained again"))
    again = compare(both, TINY, over, 2, tmp_path, data, **how)
    assert json.dumps(summary(again, over)) == json.dumps(summary(rows, over))


def test_the_command_writes_after_every_run(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(stories(0, 30_000))
    words = ["lm", "--corpus", str(text), "--seeds", "1", "--model", "linear", "--runs", str(tmp_path)]
    words += [f"--{name.replace('_', '-')}={getattr(TINY, name)}" for name in ("vocab", "layers", "d_model", "heads",
                                                                             "mlp_hidden", "steps", "batch", "length")]
    done = CliRunner().invoke(bench, [*words, "--output", str(tmp_path / "out.json")])
    assert done.exit_code == 0 and "linear" in done.output and app, done.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["results"]["linear"]["spread"] is None and written["machine"] and "128 tokens" in written["protocol"]
    refused = CliRunner().invoke(bench, [*words, "--measure", "colour"])
    assert refused.exit_code == 1 and "measure: got 'colour'" in refused.output
