"""What can go wrong with files: one line that names the file and the fix, and nothing is lost."""

import ast
import errno
import os
import shlex
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu import records
from deltanet_edu.cli import app
from deltanet_edu.lm.run_folder import RunError, RunFolder, load_checkpoint, read_log
from deltanet_edu.lm.stories import stories
from deltanet_edu.lm.train import train

SMALL = ("train --run mine --corpus my.txt --steps 12 --vocab 300 --layers 1 --d-model 16 --heads 2 --batch 4 "
         "--length 32 --save-every 3").split()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(stories(5, 40_000))
    return tmp_path


def one_line(*words):
    """The error that a command ends with: a single line, and no traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
    (line,) = [line for line in result.output.splitlines() if not line.startswith(("Training on:", "mine", " "))][-1:]
    assert line.startswith("Error: ")
    return line


def finished(here):
    assert CliRunner().invoke(app, SMALL).exit_code == 0
    return here / "runs" / "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"{}3", b'{"steps": "many"}', b'{"colour": "red"}'])
def test_broken_settings_are_named(here, content):
    settings = finished(here) / "config.json"
    settings.write_bytes(content)
    line = one_line("train", "--run", "mine", "--resume")
    assert "config.json: these are not the settings of a run" in line and "Put a copy of the file back" in line


@pytest.mark.parametrize("damage", [b"{\n", b"\xff\xff\n", b"[1]\n", b'{"step": 2}\n', b'{"step": "2", "loss": 1}\n'])
def test_a_broken_log_is_named_and_can_be_moved_away(here, damage):
    log = finished(here) / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(log.read_bytes().splitlines(keepends=True)[1], damage))
    line = one_line("train", "--run", "mine", "--resume")
    assert "log.jsonl: line 2 is damaged" in line and "move it away and resume" in line
    log.rename(here / "away")
    assert CliRunner().invoke(app, ["train", "--run", "mine", "--resume", "--steps", "14"]).exit_code == 0
    assert [entry["step"] for entry in read_log(log.parent)] == [13, 14]


def failing(number, after):
    """os.fsync as on a disk that is full after so many calls; permission errors come from it just as well."""
    calls, fsync = [], os.fsync

    def fail(handle):
        calls.append(handle)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return fsync(handle)
    return fail


@pytest.mark.parametrize("number, fix", [
    (errno.ENOSPC, "Make room on the disk; the last checkpoint is whole"),
    (errno.EACCES, "change its permissions, or choose another place with --runs"),
    (errno.EROFS, "choose another place with --runs"), (errno.EIO, "Look at the file"),
])
def test_a_full_disk_loses_nothing(here, monkeypatch, number, fix):
    with monkeypatch.context() as m:
        m.setattr(records.os, "fsync", failing(number, after=3))         # settings, log, the first checkpoint
        line = one_line(*SMALL)
    assert "runs/mine/checkpoint.pt: " in line.replace(os.sep, "/") and fix in line
    assert load_checkpoint(here / "runs" / "mine")["step"] == 3
    assert not [p for p in (here / "runs" / "mine").iterdir() if p.name.startswith(".") and p.name != ".lock"]
    assert CliRunner().invoke(app, ["train", "--run", "mine", "--resume"]).exit_code == 0
    assert load_checkpoint(here / "runs" / "mine")["step"] == 12


@pytest.mark.skipif(sys.platform == "win32", reason="ulimit")
def test_a_checkpoint_that_does_not_fit(here):
    """Really out of room: no file may be larger than 40 kB, and the write fails in the middle."""
    words = " ".join([sys.executable, "-m", "deltanet_edu", *SMALL])
    done = subprocess.run(["bash", "-c", f"ulimit -f 40; {words}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "Error: runs/mine/checkpoint.pt: File too large." in done.stderr
    assert not (here / "runs/mine/checkpoint.pt").exists()


def test_a_log_that_cannot_be_written_is_named(tiny, data, tmp_path):
    def fill(entry):
        raise AssertionError
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    files = RunFolder(tmp_path / "x")
    files.start(tiny, 0)
    files.file = open("/dev/full", "a")
    with pytest.raises(OSError) as caught:
        files.add({"step": 1, "loss": 2.0})
    assert caught.value.errno == errno.ENOSPC and caught.value.filename.endswith("log.jsonl")


def test_a_run_has_one_writer_at_a_time(tiny, data, tmp_path):
    short, folder = replace(tiny, steps=2), tmp_path / "run"
    refused = []

    def meanwhile(entry):
        for resume in (False, True) if entry["step"] == 1 else ():       # after the last step there is a checkpoint
            with pytest.raises(RunError, match="another training is writing this run. .*another name with --run"):
                train(short, folder, resume=resume, data=data)
            refused.append(resume)
    train(short, folder, data=data, progress=meanwhile, save_every=100)
    assert refused == [False, True]
    assert train(short, folder, resume=True, data=data).steps == 2, "the lock is gone with its owner"


def test_a_lock_that_a_dead_process_left_holds_nobody_up(tiny, data, tmp_path):
    code = f"import os; from filelock import FileLock; FileLock({str(tmp_path / '.lock')!r}).acquire(); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert train(replace(tiny, steps=1), tmp_path, data=data).steps == 1


def test_what_an_interrupted_save_left_is_swept_at_the_next_start(tiny, data, tmp_path):
    left = [tmp_path / name for name in (".checkpoint.pt.ab12cd34", ".config.json.x1", ".log.jsonl.y2")]
    for path in left:
        path.write_text("half")
    (tmp_path / "notes.txt").write_text("mine")
    train(replace(tiny, steps=1), tmp_path, data=data)
    assert not any(path.exists() for path in left) and (tmp_path / "notes.txt").exists()


# -- TensorBoard -------------------------------------------------------------------------------------------------------

def test_tensorboard_is_told_what_the_log_says(here, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((os.path.relpath(folder, "runs"), purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    assert CliRunner().invoke(app, [*SMALL, "--tensorboard"]).exit_code == 0
    log = read_log(here / "runs" / "mine")
    assert written[0] == (os.path.join("mine", "tensorboard"), 1) and written[-1] == "closed"
    assert {("loss", e["loss"], e["step"]) for e in log} | {("held_out", log[-1]["held_out"], 12)} <= set(written)


def test_without_tensorboard_nothing_begins(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "tensorboard: it is not installed. Install it with: pip install" in one_line(*SMALL, "--tensorboard")
    assert not (here / "runs").exists()


# -- terminals ---------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(sys.platform == "win32", reason="redirections of a shell")
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_training_needs_no_stderr(here, stderr):
    if "full" in stderr and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    words = shlex.join([sys.executable, "-m", "deltanet_edu", *SMALL])
    done = subprocess.run(f"{words} {stderr}", shell=True, stdout=subprocess.PIPE, text=True, timeout=120)
    assert "12 steps" in done.stdout and load_checkpoint(here / "runs" / "mine")["step"] == 12


def test_a_budget_of_seconds_stops_measures_and_saves(tiny, data, tmp_path, capsys):
    def slow(entry):
        time.sleep(0.05)
    run = train(replace(tiny, steps=500), tmp_path, data=data, progress=slow, seconds=0.3)
    assert 1 <= run.steps < 20 and "held_out" in run.log[-1]
    assert f"The time is up: {run.steps} of 500 steps in 0.3 s." in capsys.readouterr().out
    assert load_checkpoint(tmp_path)["step"] == run.steps
    whole = train(replace(tiny, steps=3), data=data, seconds=1000)
    assert whole.steps == 3 and "time" not in capsys.readouterr().out


def test_training_in_bfloat16_is_training(tiny, data):
    low = train(replace(tiny, steps=8), data=data, precision="bfloat16")
    exact = train(replace(tiny, steps=8), data=data)
    assert all(p.dtype == torch.float32 for p in low.model.parameters())
    for a, b in zip(low.log, exact.log):
        assert a["loss"] != b["loss"] and abs(a["loss"] - b["loss"]) < 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="names of files and arguments are bytes on Linux only")
def test_bytes_that_are_not_text(here):
    """A corpus whose name is not UTF-8 is a corpus like any other; a prompt that is not UTF-8 is refused by name."""
    def deltanet_edu(*words):
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        return subprocess.run([sys.executable, "-m", "deltanet_edu", *words], capture_output=True, timeout=120,
                              env=environment)
    corpus = os.fsencode(here) + b"/caf\xe9.txt"
    os.rename(here / "my.txt", corpus)
    done = deltanet_edu(*(corpus if word == "my.txt" else word for word in SMALL))
    assert done.returncode == 0, done.stderr
    assert CliRunner().invoke(app, ["train", "--run", "mine", "--resume"]).exit_code == 0
    assert "caf\ufffd.txt" in CliRunner().invoke(app, ["evaluate", "runs/mine"]).stdout
    refused = deltanet_edu("generate", "runs/mine", "--prompt", b"caf\xe9")
    assert refused.returncode == 1 and b"Error: prompt: character 3 is not text in UTF-8." in refused.stderr
    assert refused.stdout == b"" and len(refused.stderr.splitlines()) == 1
    assert "there is no file" in one_line("train", "--run", "x", "--corpus", os.fsdecode(corpus + b"2"))


def test_what_a_lesson_trains_has_a_time_budget():
    """Whatever takes more than seconds must end on a busy machine too, and say how far it came."""
    found = 0
    for lesson in Path(__file__).parents[2].glob("book/lessons/*.py"):
        for call in ast.walk(ast.parse(lesson.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "train":
                short = getattr(call.args[0], "id", "") == "tiny"        # 20 steps of a model of one small layer
                assert short or any(k.arg == "seconds" for k in call.keywords), f"{lesson.name}:{call.lineno}"
                found += not short
    assert found >= 2


def test_a_measurement_that_is_no_number_is_not_the_best_and_bars_no_better_one(tmp_path):
    files = RunFolder(tmp_path / "x")
    for held_out, best in ((float("nan"), False), (1.5, True), (float("nan"), False), (1.7, False), (1.4, True)):
        entry = {"step": 1, "held_out": held_out}
        assert files.is_best(entry) is best, held_out
        files.entries.append(entry)
    assert not files.is_best({"step": 2})
