"""The throughput of training: the command at a tiny size, and what it says of a model that cannot run."""

import json

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.bench.commands import bench
from deltanet_edu.bench.training import measured
from deltanet_edu.cli import app                                         # adds the command
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.device import find_place

TINY = Config(corpus="stories", vocab=300, layers=1, d_model=16, heads=2, mlp_hidden=16)


def test_a_row_for_each_model_shape_and_way(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda f: f)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    rows = measured(["delta", "linear", "gru"], TINY, [(2, 16), (1, 32)], find_place("cpu"), [False, True], steps=2,
                    warmup=1)
    assert [(r["model"], r["batch"], r["compiled"]) for r in rows[:4]] == [
        ("delta", 2, False), ("delta", 2, True), ("linear", 2, False), ("linear", 2, True)]
    for row in rows:
        if row["model"] == "gru":
            assert "mixer: got 'gru'" in row["error"]
        else:
            assert row["tokens_per_second"] == pytest.approx(32 / row["milliseconds"] * 1000, rel=0.01)
            assert row["losses"][0] == pytest.approx(5.7, abs=0.1) and row["peak_bytes"] is row["utilisation"] is None
    assert len(rows) == 12


def test_the_command(tmp_path, monkeypatch):
    from deltanet_edu.lm import presets
    tiny = {name: value for name, value in TINY.to_dict().items() if name != "corpus"}
    monkeypatch.setitem(presets.PRESETS, "cpu", tiny)
    words = ["training", "--preset", "cpu", "--shapes", "1x16", "--ways", "eager", "--steps", "1", "--device", "cpu",
             "--output", str(tmp_path / "out.json")]
    done = CliRunner().invoke(bench, words)
    assert done.exit_code == 0 and "tokens/s" in done.output, done.output
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["rows"]) == 1 and written["settings"]["d_model"] == 16 and "machine" in written and app
