"""The commands: a run from a text file to generated text, and one clear line for everything that goes wrong."""

import json
import re
import shlex

import pytest
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm.run_folder import read_log
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.presets import PRESETS
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

    write = "generate runs/mine --prompt Once --tokens 30 --seed".split()
    first, same, other = (deltanet_edu(*write, seed) for seed in (1, 1, 2))
    assert first == same != other and first.startswith("Once")

    assert "12 steps" in deltanet_edu("train", "--run", "mine", "--resume")
    other = deltanet_edu("train", "--run", "mine", "--resume", "--batch", 5, fails=True)
    assert "cannot resume, this is another run: batch was 4, now 5" in other
    assert "there is a run in it already" in deltanet_edu("train", "--run", "mine", fails=True)

    moved = tmp_path / "my text.txt"
    (tmp_path / "my.txt").rename(moved)
    assert "there is no file my.txt" in deltanet_edu("train", "--run", "mine", "--resume", fails=True)
    assert "12 steps" in deltanet_edu("train", "--run", "mine", "--resume", "--corpus", "my text.txt")
    assert "my text.txt" in (tmp_path / "runs" / "mine" / "config.json").read_text()
    moved.rename(tmp_path / "my.txt")
    deltanet_edu("train", "--run", "mine", "--resume", "--corpus", "my.txt")

    out = deltanet_edu("train", "--run", "mine", "--resume", "--steps", 15)
    assert "15 steps instead of 12: from step 13 on, the learning rate follows the schedule of 15 steps" in out
    assert "15 steps: " in out and [entry["step"] for entry in read_log(tmp_path / "runs/mine")] == list(range(1, 16))
    too_few = deltanet_edu("train", "--run", "mine", "--resume", "--steps", 7, fails=True)
    assert "cannot resume for 7 steps, it has made 15 already" in too_few

    with open(tmp_path / "my.txt", "a") as file:
        file.write("One more line.\n")
    assert "corpus was" in deltanet_edu("train", "--run", "mine", "--resume", fails=True)
    assert "no longer what it was trained on" in deltanet_edu("evaluate", "runs/mine", fails=True)


@pytest.mark.parametrize("words, message", [
    ("train --run x --corpus none.txt", "there is no file none.txt"),
    ("train --run x --heads 3", "d_model: got 128, which 3 heads do not divide. Take a multiple of 3"),
    ("train --run x --mixer gru", "mixer: got 'gru', expected one of '"),
    ("train --run x --resume", "there is no run to resume"),
    ("train --run x --option beta_max", "option: got 'beta_max', expected NAME=VALUE"),
    ("train --run x --option beta_max=3", "beta_max: got 3, expected a number in (0, 2]"),
    ("train --run x --seed 99999999999999999999999", "seed: got 99999999999999999999999, expected an integer from 0"),
    ("train --run x --device gpu", "device: got 'gpu', which cannot be used here"),
    ("train --run x --precision half", "precision: got 'half', expected one of 'auto', 'float32', 'bfloat16'"),
    (f"train --run {'x' * 300} --corpus my.txt", "File name too long. Choose a shorter name."),
    ("train --run x --runs my.txt --corpus my.txt", "A file stands where a folder should be: move it away"),
    ("train --run my.txt --runs . --corpus my.txt", "A file stands where a folder should be: move it away"),
    ("generate runs/none", "there is no checkpoint.pt"),
    ("evaluate runs/none", "there is no checkpoint.pt"),
])
def test_errors_are_one_line(deltanet_edu, words, message):
    out = deltanet_edu(*words.split(), fails=True).removeprefix("Training on: CPU, 1 thread, float32, PyTorch\n")
    assert message in out and len(out.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "generate", "bench lm", "bench lm-references"])
def test_help_helps(deltanet_edu, command):
    out = deltanet_edu(*command.split(), "--help")
    assert "deltanet-edu" in out or "RUN" in out


def test_help_says_the_defaults(deltanet_edu):
    text = " ".join(deltanet_edu("train", "--help").split())
    said = dict(re.findall(r"--([a-z-]+) <[^[]*\[default: \((\S+)\)\]", text))
    assert "--option <list" in text and said == {name.replace("_", "-"): str(value) for name, value
                                                 in Config(**PRESETS["cpu"]).to_dict().items() if name != "options"}


def test_options_of_a_mixer_and_patterns(deltanet_edu, tmp_path):
    words = ["--mixer", "delta,linear", "--option", "beta_max=2", "--option", "linear.norm=l1", "--layers", 2]
    deltanet_edu("train", "--run", "mine", "--corpus", "my.txt", *SMALL, *words)
    kept = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert kept["mixer"] == "delta,linear" and kept["options"] == {"beta_max": 2, "linear.norm": "l1"}
    assert kept["adam_lr"] == PRESETS["cpu"]["adam_lr"], "what is not given is the preset's"
    assert "12 steps" in deltanet_edu("train", "--run", "mine", "--resume")
    other = deltanet_edu("train", "--run", "mine", "--resume", "--preset", "340m", fails=True)
    assert "cannot resume, this is another run" in other and "adam_lr was 0.02, now 0.0003" in other


def test_a_time_budget_says_how_far_it_came(deltanet_edu):
    mine = ["train", "--run", "mine"]
    out = deltanet_edu(*mine, "--corpus", "my.txt", "--seconds", 0, *SMALL)
    assert "The time is up: 1 of 12 steps" in out and "1 steps: " in out
    assert "Go on with: deltanet-edu train --run mine --resume" in out
    assert "12 steps: " in deltanet_edu(*mine, "--resume")


def test_what_is_advised_can_be_typed(deltanet_edu, tmp_path, monkeypatch):
    """After Ctrl-C: names with spaces are quoted, another place of runs is named, and the command works."""
    from deltanet_edu.lm import progress

    def interrupt(self, entry):
        raise KeyboardInterrupt
    (tmp_path / "my runs").mkdir()
    words = ["--run", "my run", "--runs", "my runs"]
    with monkeypatch.context() as m:
        m.setattr(progress.TerminalProgress, "__call__", interrupt)
        out = deltanet_edu("train", *words, "--corpus", "my.txt", *SMALL, fails=True)
    (advice,) = re.findall(r"Go on with: (.*)", out)
    done = deltanet_edu(*shlex.split(advice)[1:])
    assert "12 steps" in done
    (advice,) = re.findall(r"try: (.*)", done)
    assert deltanet_edu(*shlex.split(advice)[1:], "--tokens", 3)
    assert "deltanet-edu train --run 'my other'" in deltanet_edu("generate", "runs/my other", fails=True)


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

    drawn, before = [], plt.get_fignums()

    class Handle:
        def update(self, figure):
            drawn.append(figure)
    monkeypatch.setattr(ipython, "display", lambda figure, display_id: drawn.append(figure) or Handle())
    progress = NotebookProgress(tiny, {"best n-gram": 1.96}, every=0.0)
    for step in range(1, tiny.steps + 1):
        progress({"step": step, "loss": 5.0 / step, **({"held_out": 3.0} if step % 20 == 0 else {})})
    left, right = drawn[-1].axes
    assert len(left.lines[0].get_xdata()) == tiny.steps and len(right.lines[0].get_xdata()) == 3
    assert plt.get_fignums() == before, "figures that nobody shows must be closed"
