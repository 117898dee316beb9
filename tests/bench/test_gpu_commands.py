"""The commands that need a GPU: what they say without one, how they read options, and that they measure what they say.

Clocks, memory counters and graphs are played by stand-ins, and the kernels run in the interpreter on tiny shapes.
"""

import functools
import json

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.bench import delta_rule, fresh, gpu_commands, lengths, timing, tune, verify
from deltanet_edu.bench.commands import bench

pytest.importorskip("triton")
TINY = ((1, 4, 1, 16), (1, 3, 1, 16))
run = CliRunner().invoke


@pytest.fixture
def imagined_gpu(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("this GPU is real, and kernels on a CPU need Triton's interpreter")
    calls = []
    monkeypatch.setattr(gpu_commands, "need_gpu", lambda: None)
    monkeypatch.setattr(timing, "milliseconds", lambda run, budget=60: (run(), 2.0)[1])
    monkeypatch.setattr(timing, "host_microseconds", lambda run: (run(), 50.0)[1])
    monkeypatch.setattr(timing, "memory", lambda forward, backward: (backward(forward()), (1e6, 2e6))[1])
    monkeypatch.setattr(timing, "graph", lambda run: type("Graph", (), {"replay": staticmethod(run)}))
    monkeypatch.setattr(timing, "CEILINGS", {"byte/s": lambda: 4e12, "flop/s": lambda: 8e14})
    on_cpu = functools.partial(delta_rule.inputs, device="cpu", dtype=torch.float32)
    errors = delta_rule.errors
    for module in (delta_rule, lengths):
        monkeypatch.setattr(module, "inputs", on_cpu)
    monkeypatch.setattr(tune, "inputs", lambda *shape, dtype: on_cpu(*shape))
    monkeypatch.setattr(delta_rule, "errors", functools.partial(errors, device="cpu", dtype=torch.float32))
    monkeypatch.setattr(delta_rule, "ACCURACY", TINY[:1])
    monkeypatch.setattr(delta_rule, "HOST", TINY[0])
    monkeypatch.setattr(delta_rule, "SHAPES", TINY)
    monkeypatch.setattr(delta_rule, "REST", 0)
    time_shape = delta_rule.time_shape

    def counting(shape, *args):
        calls.append(shape)
        return time_shape(shape, *args)
    monkeypatch.setattr(delta_rule, "time_shape", counting)
    return calls


@pytest.mark.parametrize("command", ["delta-rule", "lengths", "verify", "tune"])
def test_without_a_gpu_they_say_so(monkeypatch, command):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = run(bench, [command])
    assert done.exit_code == 1 and "needs a GPU" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("options, said", [
    (["--shapes", "1,2,3"], "expected shapes such as"), (["--shapes", "1,2,x,4"], "expected shapes such as"),
    (["--first-call", "0,2,3,4"], "expected shapes such as"),
    (["--fla-env", "FLA_USE_TMA"], "expected settings such as")])
def test_options_that_cannot_be_read(options, said):
    done = run(bench, ["delta-rule", *options])
    assert done.exit_code == 2 and said in " ".join(done.output.split())


def test_options():
    assert gpu_commands.parse_shapes("1,2,3,4 5,6,7,8") == [(1, 2, 3, 4), (5, 6, 7, 8)]
    assert gpu_commands.parse_environment("A=1 B=x=y") == {"A": "1", "B": "x=y"}
    assert gpu_commands.parse_environment("") == {}


def test_delta_rule(imagined_gpu, monkeypatch, tmp_path):
    path, ahead = tmp_path / "x.json", []
    monkeypatch.setattr(fresh, "compile_all", lambda names, shapes: ahead.extend(shapes) or [])
    monkeypatch.setattr(fresh, "first_calls", lambda names, shape: {name: 1.0 for name in names})
    done = run(bench, ["delta-rule", "--output", str(path), "--shapes", "1,4,1,16", "--rounds", "1", "--graphs",
                       "--compile-first"])
    assert done.exit_code == 0, done.output
    assert imagined_gpu == ahead[:1] == [TINY[0]]
    done = run(bench, ["delta-rule", "--output", str(path), "--rounds", "1", "--graphs", "--first-call", "1,4,1,16"])
    assert done.exit_code == 0, done.output
    assert imagined_gpu == list(TINY), "each shape once"
    file = json.loads(path.read_text())
    assert set(file["shapes"]) == {"1,4,1,16", "1,3,1,16"} and file["ceilings"] == {"byte/s": 4e12, "flop/s": 8e14}
    assert file["shapes"]["1,4,1,16"]["chunkwise"] == {"forward": 2.0, "both": 2.0, "graph forward": 2.0,
                                                       "graph both": 2.0, "held MB": 1.0, "peak MB": 2.0}
    assert "graph both" not in file["shapes"]["1,4,1,16"]["recurrent"]
    assert file["first call s"]["1,4,1,16"]["chunkwise"] == 1.0
    assert file["host us"]["1,4,1,16"]["chunkwise"] == {"forward": 50.0, "both": 50.0}
    typed = "deltanet-edu bench delta-rule --output x.json --shapes 1,4,1,16 --rounds 1 --graphs"
    assert file["command"].startswith(typed) and " && " in file["command"]
    worst = max(error for errors in file["errors"].values() for name in ("chunkwise", "recurrent")
                for error in errors[name].values())
    assert len(file["errors"]) == 2 and 0 < worst < 1e-5


def test_a_peer_that_is_missing_or_breaks_is_named(imagined_gpu, monkeypatch, tmp_path):
    def absent():
        raise ImportError("No module named 'nowhere'")

    def broken():
        def f(q, k, v, beta, scale):
            raise RuntimeError("no kernel for this\nand so on")
        return {"broken": f, "narrow": f}
    monkeypatch.setattr(delta_rule, "PEERS", {"nowhere": absent, "somewhere": broken})
    monkeypatch.setattr(delta_rule, "WIDTHS", {"narrow": (8,)})
    path = tmp_path / "x.json"
    done = run(bench, ["delta-rule", "--output", str(path), "--shapes", "1,4,1,16", "--rounds", "1", "--no-recurrent",
                       "--no-host"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "not measured: nowhere (ImportError: No module named 'nowhere')" in said and "pip install nowhere" in said
    assert "broken RuntimeError: no kernel for this" in said
    file = json.loads(path.read_text())
    assert file["shapes"]["1,4,1,16"]["broken"] == {"failure": "RuntimeError: no kernel for this"}
    assert "narrow" not in file["shapes"]["1,4,1,16"]
    assert all("failure" in rows["broken"] for rows in file["errors"].values())


def test_slow_candidates_are_measured_once(monkeypatch, imagined_gpu):
    counted = []

    def milliseconds(run, budget=60):
        counted.append(run)
        return 30.0 if len(counted) == 2 else 1.0
    monkeypatch.setattr(timing, "milliseconds", milliseconds)
    found = {"a": lambda q, k, v, beta, scale: (v * scale + q + k + beta[..., None], None)}
    delta_rule.time_shape((1, 3, 1, 16), found, 3)
    assert len(counted) == 3 + 1                                         # forward every round; both passes, 30 ms, once


def test_every_round_begins_with_another_candidate(monkeypatch, imagined_gpu):
    measured = []
    monkeypatch.setattr(timing, "milliseconds", lambda run: run() and 0.0 or 1.0)

    def candidate(name):
        def f(q, k, v, beta, scale):
            if not torch.is_grad_enabled():
                measured.append(name)
            return v * scale + q + k + beta[..., None], None
        return f
    delta_rule.time_shape((1, 3, 1, 16), {name: candidate(name) for name in "abc"}, 4)
    assert "".join(measured) == "abcbcacababc"


def test_lengths(imagined_gpu, monkeypatch, tmp_path):
    assert len(lengths.SHAPES) == 18 and all(B * T == 16384 and H * D == 2048 for B, T, H, D in lengths.SHAPES)
    monkeypatch.setattr(lengths, "SHAPES", TINY)
    path = tmp_path / "x.json"
    done = run(bench, ["lengths", "--output", str(path)])
    assert done.exit_code == 0, done.output
    row = json.loads(path.read_text())["points"]["1,4,1,16"]
    assert row["chunkwise"] == row["recurrent"] == 2.0 and row["speedup"] == 1.0 and "fla chunk" not in row


@pytest.fixture
def two_cases(monkeypatch):
    monkeypatch.setattr(gpu_commands, "need_gpu", lambda: None)
    cases = [verify.Case("FLOAT32 64", "float32", 16, 24, T=17, B=1, H=1),
             verify.Case("", "float32", 16, 16, T=5, B=1, H=1, form="decoding")]
    monkeypatch.setattr(verify, "cases", lambda: cases)


def test_verify(two_cases, tmp_path):
    path = tmp_path / "x.json"
    done = run(bench, ["verify", "--output", str(path)])
    assert done.exit_code == 0, done.output
    file = json.loads(path.read_text())
    assert (file["cases"], file["failed"]) == (2, 0) and "2 of 2 cases are right" in done.output
    assert all(0 < result["worst"] < result["allowed"] for result in file["results"]) and done.output.count("✓") == 2


def test_verify_finds_a_wrong_kernel(two_cases, monkeypatch):
    from deltanet_edu import kernels

    rule = kernels.delta_rule_chunkwise

    def slightly_wrong(q, k, v, *args, **options):
        return rule(q, 1.001 * k, v, *args, **options)
    monkeypatch.setattr(kernels, "delta_rule_chunkwise", slightly_wrong)
    done = run(bench, ["verify"])
    assert done.exit_code == 1 and "1 of 2 cases are right. Wrong: 1" in done.output


def test_verify_waits_for_memory_that_other_processes_have(two_cases, monkeypatch):
    done, full = [], [{"failure": "OutOfMemoryError: full"}, {"failure": "OutOfMemoryError: full"}, {"passed": True}]
    monkeypatch.setattr(verify, "run", lambda case: done.append(case) or full[len(done) - 1])
    assert verify.run_patiently("a case", pauses=(0, 0, 0)) == {"passed": True} and len(done) == 3
    done.clear()
    monkeypatch.setattr(verify, "run", lambda case: done.append(case) or {"failure": "OutOfMemoryError: full"})
    assert "failure" in verify.run_patiently("a case", pauses=(0, 0)) and len(done) == 3
    done.clear()
    monkeypatch.setattr(verify, "run", lambda case: done.append(case) or {"failure": "RuntimeError: broken"})
    assert "failure" in verify.run_patiently("a case", pauses=(0, 0)) and len(done) == 1


def test_verify_reports_a_kernel_that_breaks_and_one_that_yields_nan(two_cases, monkeypatch):
    from deltanet_edu import kernels

    def out_of_memory(*args, **options):
        raise RuntimeError("out of shared memory\nand so on")
    monkeypatch.setattr(kernels, "delta_rule_chunkwise", out_of_memory)
    monkeypatch.setattr(kernels, "delta_rule_step", lambda q, k, v, beta, S, scale: v * float("nan"))
    done = run(bench, ["verify"])
    assert done.exit_code == 1 and "RuntimeError: out of shared memory" in done.output
    assert "0 of 2" in done.output and "nan o" in done.output


def test_every_row_of_the_table_is_among_the_cases():
    from deltanet_edu.kernels import configs

    rows = verify.rows()
    assert {"FEW 64", "MANY 256", "NARROW 128", "FLOAT32 64"} <= set(rows) and rows["FEW 64"] is configs.FEW[64]
    exact = {row for row in rows if row.startswith("FLOAT32")}
    assert {case.row for case in verify.cases() if case.dtype == "float32"} == exact | {""}


def test_what_has_no_kernels_for_a_width_keeps_nobody_else_from_being_compiled_ahead(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(delta_rule, "candidates", lambda: ({"chunkwise": 1, "FlashQLA": 2, "unasked": 3}, {}))
    monkeypatch.setattr(delta_rule, "first_call", lambda f, shape: called.append((f, shape[3])) or 1.0)
    fresh.main(["FlashQLA", "chunkwise"], [(1, 4, 1, 64), (1, 4, 1, 128)])
    assert called == [(1, 64), (1, 128), (2, 128)]
    assert json.loads(capsys.readouterr().out) == {"chunkwise": 1.0, "FlashQLA": 1.0}


def test_candidates_are_compiled_side_by_side(monkeypatch):
    started = []
    monkeypatch.setattr(fresh, "start", lambda names, shapes, *how, **environment: started.append((names, shapes)))
    monkeypatch.setattr(fresh, "finish", lambda process: None)
    shapes = [(1, 4096, 4, 64), (2, 100, 4, 64), (1, 512, 8, 64)]
    assert fresh.compile_all(["FlashQLA", "theirs", "recurrent"], shapes) == []
    four, eight = [(1, 256, 4, 64), (2, 100, 4, 64)], [(1, 256, 8, 64)]
    assert sorted(started) == sorted([(["FlashQLA"], shapes[:2]), (["theirs"], four), (["FlashQLA"], shapes[2:]),
                                      (["theirs"], eight), *((["recurrent"], [shape]) for shape in four + eight)])


def test_what_is_compiled_ahead_is_not_timed(monkeypatch, capsys):
    """Of two configurations both are run once, as Triton's search would run them to measure them."""
    from triton import testing

    ran = []
    monkeypatch.setattr(testing, "do_bench", None)
    monkeypatch.setattr(delta_rule, "candidates", lambda: ({"theirs": lambda: ran.append(1)}, {}))
    monkeypatch.setattr(delta_rule, "first_call", lambda f, shape: testing.do_bench(f, quantiles=(0.5, 0.2, 0.8))[1])
    fresh.main(["theirs"], [(1, 4, 1, 64)], "compile")
    assert ran == [1] and json.loads(capsys.readouterr().out) == {"theirs": 1.0} and testing.do_bench(lambda: None) == 1
