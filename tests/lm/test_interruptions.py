"""Interruptions: killed, terminated, stopped, at any moment. A run that goes on ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm import progress
from deltanet_edu.lm.interruption import Interruption, Terminated
from deltanet_edu.lm.run_folder import load_checkpoint, read_log
from deltanet_edu.lm.stories import stories
from deltanet_edu.lm.train import load_run, train

KILLS = 4

# One process that starts one after the other as its children: importing PyTorch again would take seconds each.
SCRIPT = """
import os, random, signal, sys, time
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.lm.conftest import TINY
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import Corpus, Text
from deltanet_edu.lm.data import Data
from deltanet_edu.lm.run_folder import read_log
from deltanet_edu.lm.stories import stories
from deltanet_edu.lm.train import train

folder, kills, moments = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
corpus = Corpus("small", (Text.cut("one", stories(1, 40_000)), Text.cut("two", stories(2, 30_000))))
config, data, died_at = Config(**TINY | {"average": 0.8, "bpe_dropout": 0.2}), Data.prepare(corpus, TINY["vocab"]), []
train(replace(config, steps=1), data=data, device="cpu")                 # imports what its children would import each
while True:
    child = os.fork()
    if child == 0:
        train(config, folder, resume=(folder / "config.json").exists(), data=data, save_every=3, device="cpu")
        os._exit(0)
    if len(died_at) < kills:                                             # at a random step, and anywhere within it
        before = len((folder / "log.jsonl").read_text().splitlines()) if (folder / "log.jsonl").exists() else 0
        step = before % 60 + moments.randrange(12)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (folder / "log.jsonl").exists() and len((folder / "log.jsonl").read_text().splitlines()) >= step:
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        died_at.append(len(read_log(folder)))
    else:
        assert status == 0, status
        break
print(died_at)
"""


def same_as(folder, undisturbed):
    """Weights, losses and measurements are those of a run that nothing has disturbed, bit for bit."""
    kept = load_checkpoint(folder)
    assert kept["step"] == undisturbed.config.steps
    for name, value in undisturbed.model.state_dict().items():
        assert torch.equal(kept["model"][name], value), name
    for log in (read_log(folder), undisturbed.log):
        curve = [(entry["step"], entry["loss"], entry.get("held_out")) for entry in log]
        assert curve == [(entry["step"], entry["loss"], entry.get("held_out")) for entry in undisturbed.log]
    left = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    assert left == ["checkpoint.pt", "config.json", "log.jsonl"], "nothing is left of interrupted saves"


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has PyTorch loaded")
def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_happened(tiny, data, tmp_path):
    undisturbed = train(replace(tiny, average=0.8, bpe_dropout=0.2), data=data, device="cpu")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), str(KILLS), "0"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout.splitlines()[-1])) >= 3, "some moments may come too late, most do not"
    same_as(tmp_path / "killed", undisturbed)


def test_a_run_killed_before_its_first_checkpoint_starts_over(tiny, data, tmp_path):
    short = replace(tiny, steps=5)
    (tmp_path / "config.json").write_text(json.dumps(short.to_dict()))
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 5.0}\n{"step": 2, "lo')
    train(short, tmp_path, resume=True, data=data)
    same_as(tmp_path, train(short, data=data))


def stop_at(step, how):
    def progress(entry):
        if entry["step"] == step:
            how()
    return progress


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt():
    raise KeyboardInterrupt


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")


@posix
def test_a_run_that_is_asked_to_end_saves_first(tiny, data, tmp_path):
    short, before = replace(tiny, steps=12), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as end:
        train(short, tmp_path, data=data, device="cpu", progress=stop_at(5, terminate))
    assert end.value.code == 143 and load_checkpoint(tmp_path)["step"] == 6, "the signal came after step 5 was saved"
    assert signal.getsignal(signal.SIGTERM) is before
    train(short, tmp_path, data=data, device="cpu", resume=True)
    same_as(tmp_path, train(short, data=data, device="cpu"))


def test_outside_the_main_thread_signals_are_left_alone():
    import threading
    seen = []

    def work():
        with Interruption() as interruption:
            seen.append(interruption.asked)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@posix
def test_the_command_says_how_to_go_on(tmp_path, monkeypatch):
    (tmp_path / "my.txt").write_text(stories(5, 40_000))
    monkeypatch.chdir(tmp_path)
    small = "--corpus my.txt --steps 6 --vocab 300 --layers 1 --d-model 16 --heads 2 --batch 4 --length 32".split()
    with monkeypatch.context() as m:
        m.setattr(progress.TerminalProgress, "__call__", lambda self, entry: entry["step"] == 2 and terminate())
        result = CliRunner().invoke(app, ["train", "--run", "mine", *small])
    assert result.exit_code == 143 and "Go on with: deltanet-edu train --run mine --resume" in result.output
    assert load_checkpoint(tmp_path / "runs" / "mine")["step"] == 3
    assert "6 steps: " in CliRunner().invoke(app, ["train", "--run", "mine", "--resume"]).output


def test_what_is_random_in_a_model_is_drawn_again(tiny, data, tmp_path):
    """With dropout: what a step draws depends on the seed and its number, not on what was drawn before."""
    config = replace(tiny, steps=8, dropout=0.5)
    whole = train(config, data=data, device="cpu", evaluate_every=4)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, data=data, device="cpu", save_every=3, progress=stop_at(5, interrupt), evaluate_every=4)
    train(config, tmp_path, data=data, device="cpu", save_every=3, resume=True, evaluate_every=4)
    same_as(tmp_path, whole)
    other = train(replace(config, dropout=0.0), data=data, device="cpu", evaluate_every=4)
    assert other.log[0]["loss"] != whole.log[0]["loss"] and not whole.model.training, "nothing is dropped afterwards"


def test_the_best_weights_are_kept(tiny, data, tmp_path):
    short, measured = replace(tiny, steps=4), iter([3.0, 1.0, 2.0, 1.0])

    class Measured(type(data)):
        def measure(self, model, share=1.0):
            return next(measured)
    mine = Measured(data.tokenizer, data.train, data.held_out, data.fingerprint)
    train(short, tmp_path, data=mine, evaluate_every=1, keep_best=True)
    assert load_run(tmp_path)[3] == 4 and load_run(tmp_path, best=True)[3] == 2
    assert load_checkpoint(tmp_path, "best.pt")["optimizers"] == []
    with pytest.raises(ValueError, match="there is no best.pt in it. Start a run with: .* --keep-best"):
        load_run(tmp_path / "other", best=True)
