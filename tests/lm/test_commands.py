"""The commands: a run from a text file to generated text, and one clear line for everything that goes wrong."""

import re

import pytest
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm.checkpoint import read_log
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.stories import stories

SMALL = "--steps 12 --vocab 300 --layers 1 --d-model 16 --heads 2 --batch 4 --length 32 --save-every 5".split()


@pytest.fixture
def deltanet_edu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(stories(5, 40_000))

    def run(*words, fails=False):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert (result.exit_code != 0) == fails, result.output
        assert "Traceback" not in result.output
        return result.output
    return run


def test_from_a_text_to_a_text(deltanet_edu, tmp_path):
    out = deltanet_edu("train", "--run", "mine", "--corpus", "my.txt", *SMALL)
    assert "bits per character on held-out text" in out and "deltanet-edu generate runs/mine" in out
    log = read_log(tmp_path / "runs" / "mine")
    assert [entry["step"] for entry in log] == list(range(1, 13)) and "held_out" in log[-1]

    out = deltanet_edu("evaluate", "runs/mine")
    assert "my.txt" in out and "after 12 steps" in out

    first, same, other = (deltanet_edu("generate", "runs/mine", "--prompt", "Once", "--tokens", 30, "--seed", seed) for seed in (1, 1, 2))
    assert first == same != other and first.startswith("Once")

    assert "12 steps" in deltanet_edu("train", "--run", "mine", "--resume")
    assert "cannot resume, this is another run: batch was 4, now 5" in deltanet_edu("train", "--run", "mine", "--resume", "--batch", 5, fails=True)
    assert "there is a run in it already" in deltanet_edu("train", "--run", "mine", fails=True)

    with open(tmp_path / "my.txt", "a") as file:
        file.write("One more line.\n")
    assert "corpus was" in deltanet_edu("train", "--run", "mine", "--resume", fails=True)
    assert "no longer what it was trained on" in deltanet_edu("evaluate", "runs/mine", fails=True)


@pytest.mark.parametrize("words, message", [
    ("train --run x --corpus none.txt", "there is no file none.txt"),
    ("train --run x --heads 3", "d_model: got 128, expected a multiple of heads = 3"),
    ("train --run x --mixer gru", "mixer: got 'gru', expected one of 'delta', 'linear'"),
    ("train --run x --resume", "there is no run to resume"),
    ("generate runs/none", "there is no checkpoint.pt"),
    ("evaluate runs/none", "there is no checkpoint.pt"),
])
def test_errors_are_one_line(deltanet_edu, words, message):
    out = deltanet_edu(*words.split(), fails=True)
    assert message in out and len(out.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "generate", "bench lm", "bench lm-references"])
def test_help_helps(deltanet_edu, command):
    out = deltanet_edu(*command.split(), "--help")
    assert "deltanet-edu" in out or "RUN" in out


def test_help_says_the_defaults(deltanet_edu):
    said = dict(re.findall(r"--([a-z-]+) <[^[]*\[default: \((\S+)\)\]", " ".join(deltanet_edu("train", "--help").split())))
    assert len(said) == 11 and all(str(getattr(Config(), name.replace("-", "_"))) == value for name, value in said.items())


@pytest.mark.parametrize("name", ["..", ".", "", "../x", "a/b", "/tmp/x"])
def test_a_run_stays_where_runs_are_kept(deltanet_edu, tmp_path, name):
    assert "is not a name" in deltanet_edu("train", "--run", name, "--corpus", "my.txt", *SMALL, fails=True)
    assert [path.name for path in tmp_path.iterdir()] == ["my.txt"]


def test_a_start_that_fails_leaves_nothing_behind(deltanet_edu, tmp_path):
    (tmp_path / "short.txt").write_text("Too short.")
    deltanet_edu("train", "--run", "mine", "--corpus", "short.txt", *SMALL, fails=True)
    assert not (tmp_path / "runs").exists()
    deltanet_edu("train", "--run", "mine", "--corpus", "my.txt", *SMALL)


def test_an_empty_prompt_is_refused(deltanet_edu):
    deltanet_edu("train", "--run", "mine", "--corpus", "my.txt", *SMALL)
    assert "prompt: it is empty" in deltanet_edu("generate", "runs/mine", "--prompt", "", fails=True)


def test_the_curve_in_a_notebook_is_one_figure(tiny, monkeypatch):
    import IPython.display as ipython
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from deltanet_edu.lm.progress import NotebookProgress

    drawn = []

    class Handle:
        def update(self, figure):
            drawn.append(figure)
    monkeypatch.setattr(ipython, "display", lambda figure, display_id: drawn.append(figure) or Handle())
    progress = NotebookProgress(tiny, {"best n-gram": 1.96}, every=0.0)
    for step in range(1, tiny.steps + 1):
        progress({"step": step, "loss": 5.0 / step, **({"held_out": 3.0} if step % 20 == 0 else {})})
    left, right = drawn[-1].axes
    assert len(left.lines[0].get_xdata()) == tiny.steps and len(right.lines[0].get_xdata()) == 3
    assert not plt.get_fignums(), "figures that nobody shows must be closed"
