"""The experiments of chapter 13: what they say without a GPU, and that each measures what it names, on stand-ins."""

import functools
import inspect

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.bench import delta_rule, gpu_commands, measuring, measuring_commands, timing, tune
from deltanet_edu.bench.commands import bench

pytest.importorskip("triton")
run = CliRunner().invoke


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run(bench, ["measuring"])
    assert done.exit_code == 1 and "needs a GPU" in done.output and "Traceback" not in done.output
    done = run(bench, ["measuring", "--only", "weather"])
    assert done.exit_code == 2 and "expected some of roofs, waiting, first_calls" in " ".join(done.output.split())


@pytest.fixture
def imagined_gpu(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this GPU is real")
    monkeypatch.setattr(measuring_commands, "need_gpu", lambda: None)
    monkeypatch.setattr(timing, "milliseconds", lambda run, budget=60: (run(), 2.0)[1])
    monkeypatch.setattr(timing, "graph", lambda run: type("Graph", (), {"replay": staticmethod(run)}))
    monkeypatch.setattr(measuring, "events", lambda run, calls=1: (run(), 1.0)[1])
    monkeypatch.setattr(measuring, "on_host", lambda run, wait: (run(), 0.5)[1])
    on_cpu = functools.partial(delta_rule.inputs, device="cpu")
    for module in (measuring, tune):
        monkeypatch.setattr(module, "inputs", lambda B, T, H, D, dtype=None: on_cpu(1, 4, 1, 16, dtype=torch.float32))
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    monkeypatch.setattr(measuring, "SINGLE", 3)
    real = measuring.chunkwise

    def quick(shape, *args, **options):                                  # only one experiment looks at the launches
        by_kernel = inspect.currentframe().f_back.f_code.co_name == "by_kernel"
        return real(shape) if by_kernel else {"forward": lambda: None, "both": lambda: None}
    monkeypatch.setattr(measuring, "chunkwise", quick)
    for shape in ("USUAL", "FULL", "LONG", "SMALL"):
        monkeypatch.setattr(measuring, shape, (1, 4, 1, 16))
    # those that make tensors on the GPU themselves, start processes, or ask what GPU it is
    others = (measuring.roofs, measuring.waiting, measuring.first_calls, measuring.cache, measuring.pause,
              measuring.data, measuring.precision, measuring.tiles)
    monkeypatch.setattr(measuring, "EXPERIMENTS", [f for f in measuring.EXPERIMENTS if f not in others])


def test_every_experiment_is_kept(imagined_gpu, tmp_path, monkeypatch):
    import json

    path = tmp_path / "measuring.json"
    done = run(bench, ["measuring", "--output", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads(path.read_text())["experiments"]
    assert set(found) == {"cache_of_kernels", "noise", "host", "by_kernel", "segments", "chunk_lengths"}
    names = [name for name, _ in found["by_kernel"]["1,4,1,16"]["both"]]
    assert names[:2] == ["inverse_kernel", "forward_kernel"] and names[-1] == "gradients_kernel"
    assert len(found["noise"]["eager"]) == 3 and found["host"]["128"]["graph both"] == 1.0


def test_what_fails_is_named_and_the_rest_measured(imagined_gpu, monkeypatch):
    def broken():
        raise RuntimeError("no such thing")
    monkeypatch.setattr(measuring, "EXPERIMENTS", [broken, measuring.noise])
    done = run(bench, ["measuring"])
    assert done.exit_code == 1 and "broken: {'failure': 'RuntimeError: no such thing'}" in done.output
    assert "noise: {" in done.output and "could not be measured: broken" in done.output
    assert gpu_commands.need_gpu is not measuring_commands.need_gpu


def test_what_is_stored_is_found_and_what_is_not_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows, about = measuring.experiment("data")
    assert set(rows) == {"zeros", "ones", "random"}
    assert "H200" in about and about.endswith("deltanet-edu bench measuring.")
    monkeypatch.setattr(measuring, "STORED", "nothing")
    rows, about = measuring.experiment("data")
    assert rows is None and "no results/nothing.json with 'data' in it" in about
