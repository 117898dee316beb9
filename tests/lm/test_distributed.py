"""Two processes train what one trains: the same losses, the same weights, and each goes on where the other stopped."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deltanet_edu.lm.commands import train_command
from deltanet_edu.lm.device import find_place
from deltanet_edu.lm.distributed import Team
from deltanet_edu.lm.run_folder import load_checkpoint, read_log
from deltanet_edu.lm.train import Trainer, train

from .conftest import TINY

STEPS = 6

SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.lm.test_distributed import FOUR, settings, small_data
from deltanet_edu.lm.run_folder import RunError
from deltanet_edu.lm.train import train

folder, data, rank = Path(sys.argv[1]), small_data(), int(sys.argv[2])
torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=2)    # for all below
quiet = dict(data=data, device="cpu", say=lambda line: None, save_every=3, evaluate_every=1)
losses = {}
for name, how in FOUR.items():
    run = train(settings(name), folder / name, **how, **quiet)
    losses[name] = [entry["loss"] for entry in run.log]
    assert (run.model is None) == (how.get("shard", False) and rank == 1)
for name in ("shared", "sharded"):                                       # one process has made three of the steps
    train(settings(name), folder / f"{name} from one", resume=True, **FOUR[name], **quiet)
try:
    train(settings("shared"), folder / "shared", **quiet)                # the first process refuses, both end
except RunError as error:
    assert rank == 0 and "there is a run in it already" in str(error)
except SystemExit:
    assert rank == 1
else:
    raise AssertionError
(folder / f"losses {rank}.json").write_text(json.dumps(losses))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""

FOUR = {"shared": {}, "accumulated": dict(accumulate=2), "sharded": dict(shard=True),
        "sharded, accumulated": dict(accumulate=2, shard=True)}


def settings(name):
    from deltanet_edu.lm.config import Config

    optimizer = "adamw" if "sharded" in name else "muon"
    return Config(**TINY | dict(steps=STEPS, clip=0.5, optimizer=optimizer,     # the norm is above 0.5 in every step
                                average=0.8, bpe_dropout=0.2))


def small_data():
    from deltanet_edu.lm.corpus import Corpus, Text
    from deltanet_edu.lm.data import Data
    from deltanet_edu.lm.stories import stories

    return Data.prepare(Corpus("small", (Text.cut("one", stories(1, 40_000)),)), TINY["vocab"])


def start(command, size=2):
    """As torchrun does, without the seconds that it takes itself."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    shared = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(size),
              "MASTER_ADDR": "127.0.0.1"}
    return [subprocess.Popen([*command, str(rank)], env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                             cwd=Path(__file__).parents[2], text=True, stderr=subprocess.PIPE) for rank in range(size)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """{optimizer: the run of one process}, and folders in which one process has stopped halfway."""
    folder = tmp_path_factory.mktemp("runs")

    def stop(entry):
        if entry["step"] == 3:
            raise KeyboardInterrupt
    runs = {}
    for name in ("shared", "sharded"):
        quiet = dict(data=small_data(), device="cpu", say=lambda line: None, save_every=3, evaluate_every=1)
        runs[settings(name).optimizer] = train(settings(name), **quiet)
        with pytest.raises(KeyboardInterrupt):
            train(settings(name), folder / f"{name} from one", progress=stop, **quiet)
    return folder, runs


@pytest.fixture(scope="module")
def together(alone):
    folder, _ = alone
    processes = start([sys.executable, "-c", SCRIPT, str(folder)])
    try:
        said = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's address on Windows")
@pytest.mark.parametrize("name", FOUR)
def test_two_processes_train_what_one_trains(alone, together, name):
    _, runs = alone
    one = runs[settings(name).optimizer]
    losses = [json.loads((together / f"losses {rank}.json").read_text())[name] for rank in (0, 1)]
    assert losses[0] == losses[1], "the loss is that of the whole batch, the same for all"
    assert losses[0] == pytest.approx([entry["loss"] for entry in one.log], abs=1e-5)
    kept, log = load_checkpoint(together / name), read_log(together / name)
    assert kept["step"] == STEPS == len(log) and log[2]["held_out"] == pytest.approx(one.log[2]["held_out"], abs=1e-5)
    for weight, wanted in one.model.state_dict().items():
        torch.testing.assert_close(kept["model"][weight], wanted, rtol=0, atol=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="gloo's address on Windows")
@pytest.mark.parametrize("name", ["shared", "sharded"])
def test_a_run_goes_on_with_another_number_of_processes(alone, together, name):
    """From one to two, in the fixture, and from two to one: the same file, and the losses of an undisturbed run."""
    _, runs = alone
    config = settings(name)
    wanted = [entry["loss"] for entry in runs[config.optimizer].log]
    assert [entry["loss"] for entry in read_log(together / f"{name} from one")] == pytest.approx(wanted, abs=1e-5)
    longer = train(replace(config, steps=STEPS + 2), data=small_data(), device="cpu")
    back = train(replace(config, steps=STEPS + 2), together / name, resume=True, data=small_data(), device="cpu",
                 say=lambda line: None)
    assert back.steps == STEPS + 2 and back.log[-1]["loss"] == pytest.approx(longer.log[-1]["loss"], abs=0.05)


def test_what_help_says_about_torchrun_can_be_typed():
    """torchrun takes `--run` for an abbreviation of an option of its own, unless `--` stands before."""
    from torch.distributed.run import parse_args

    lines = train_command.__doc__.splitlines()
    (command,) = (line.split() for line in lines if line.strip().startswith("torchrun"))
    parsed = parse_args(command[1:])
    assert parsed.nproc_per_node == "8" and parsed.module and parsed.training_script == "deltanet_edu"
    assert parsed.training_script_args == command[command.index("train"):] and "--run" in command


def test_a_batch_must_divide(tiny, data):
    with pytest.raises(ValueError, match="batch: got 4, expected a multiple of 3.*processes = 1 with accumulate = 3"):
        train(tiny, data=data, accumulate=3)
    with pytest.raises(ValueError, match='optimizer: got "muon", which needs whole matrices'):
        Trainer(tiny, data, Team(0, 2, True, None))
    with pytest.raises(ValueError, match="shard: there is one process"):
        train(tiny, data=data, shard=True)


def test_each_process_drops_others(tiny, data):
    drawn = set()
    for rank in range(3):
        trainer = Trainer(tiny, data, Team(rank, 1, False, find_place("cpu")))
        trainer.one_step = lambda *given: torch.rand(()).item()          # what a dropout would draw first
        drawn |= {trainer.step(n)[0] for n in (1, 2)}
    assert len(drawn) == 6


def test_parts_of_a_batch_are_the_batch(data):
    config = settings("shared")
    whole = data.batches(config)[5]
    assert torch.equal(torch.cat([data.batches(config, part, 2)[5] for part in (0, 1)]), whole)


def test_in_parts_one_process_computes_the_same(tiny, data):
    short = replace(tiny, steps=5)
    once, parts = (train(short, data=data, accumulate=n) for n in (1, 4))
    assert [e["loss"] for e in parts.log] == pytest.approx([e["loss"] for e in once.log], abs=1e-5)
