"""The race: each kind of kernel gets its verdict, and none takes the caller with it."""

import ctypes
import importlib.util
import os
import time

import pytest
import torch

if importlib.util.find_spec("triton") is None or torch.cuda.is_available():
    pytest.skip("raced is what runs in the interpreter, on a machine without a GPU", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"                                     # read when a kernel is decorated

import triton
import triton.language as tl

from deltanet_edu.bench import race_judge as racing
from deltanet_edu.bench.race import Verdict, board, from_file, keep, race
from deltanet_edu.bench.race_judge import judge
from deltanet_edu.ops import delta_rule_chunkwise


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Fewer and shorter cases, and a board of its own."""
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path))
    monkeypatch.setattr(racing, "CASES", {"one token": dict(B=1, T=1, H=1, K=16, V=16),
                                          racing.RAGGED: dict(B=1, T=5, H=2, K=16, V=16),
                                          racing.NARROW: dict(B=1, T=18, H=1, K=32, V=16)})
    monkeypatch.setattr(racing, "MEASURED", dict(B=1, T=6, H=2, K=16, V=32))


@triton.jit
def loop_kernel(q, k, v, beta, o, T, H, K: tl.constexpr, V: tl.constexpr, PARTS: tl.constexpr, PAST: tl.constexpr):
    program, i, j = tl.program_id(0) // PARTS, tl.arange(0, K), tl.arange(0, V)
    S = tl.zeros((V, K), tl.float32)
    for t in range(T + PAST):
        n = (program // H * T + t) * H + program % H
        key, value, query, b = tl.load(k + n * K + i), tl.load(v + n * V + j), tl.load(q + n * K + i), tl.load(beta + n)
        S += b * (value - tl.sum(S * key[None, :], 1))[:, None] * key[None, :]
        tl.store(o + n * V + j, tl.sum(S * query[None, :], 1), mask=(j >= 0) & (t < T))


def launched(q, k, v, beta, parts=1, past=0, fewer=0):
    B, T, H, K = k.shape
    o = torch.empty_like(v)
    loop_kernel[(B * H * parts - fewer,)](q, k, v, beta, o, T, H, K, v.shape[3], parts, past)
    return o


def swapped(q, k, v, beta):
    return launched(k, q, v, beta)


def without_beta(q, k, v, beta):
    return launched(q, k, v, torch.ones_like(beta))


def scaled(q, k, v, beta):
    return launched(q * q.shape[3]**-0.5, k, v, beta)


def transposed(q, k, v, beta):
    return launched(q, k, v, beta).transpose(1, 2)


def too_few_programs(q, k, v, beta):
    return launched(q, k, v, beta, fewer=1)


def twice(q, k, v, beta):
    return launched(q, k, v, beta, parts=2)


def past_the_end(q, k, v, beta):
    return launched(q, k, v, beta, past=1)


def by_pytorch(q, k, v, beta):
    return delta_rule_chunkwise(q, k, v, beta)


def endless(q, k, v, beta):
    while True:
        time.sleep(0.01)


def crashing(q, k, v, beta):
    ctypes.string_at(0)


def raising(q, k, v, beta):
    raise KeyError("mine")


def test_a_right_kernel_gets_its_scores_and_a_place_on_the_board(capsys):
    verdict = race(launched, seconds=120)
    assert verdict and len(verdict.passed) == 3
    assert verdict.scores["of what must be moved"].startswith("1.00 times")          # a loop moves each number once
    assert "✓ its programs can run in any order" in capsys.readouterr().out
    (entry,) = board()
    assert entry["name"] == "launched" and entry["passes"] == "forward" and entry["scores"] and entry["date"]
    keep("again", verdict, backward=True)
    assert [(entry["name"], entry["passes"]) for entry in board()] == [("launched", "forward"), ("again", "both")]


@pytest.mark.parametrize("f, failed, why", [
    (swapped, "wrong values: o, T = 37, which no chunk divides", "queries and keys change places"),
    (without_beta, "wrong values: o, one token", "β is forgotten (it counts as 1)"),
    (scaled, "wrong values: o, one token", "the queries are divided by √K"),
    (transposed, "the output has another shape", "It would fit transposed."),
    (too_few_programs, "wrong values: o, one token", "is NaN: either it was never written"),
    (twice, "its programs depend on their order", "programs 0 and 1 meet at o[0, 0, 0, 0]: both write."),
    (past_the_end, "it leaves its tensors", "a load of k, of shape (1, 5, 2, 16), goes"),
    (by_pytorch, "no Triton kernel was launched", "Were they computed by PyTorch alone?"),
    (raising, "it raises KeyError", "mine"),
])
def test_each_fault_has_its_verdict(f, failed, why):
    verdict = judge(f)
    assert not verdict and verdict.failed == failed and why in verdict.why, str(verdict)


def test_what_is_wrong_from_the_second_chunk_on_is_said():
    def forgets(q, k, v, beta):
        pieces = [launched(*(x[:, t:t + 16].contiguous() for x in (q, k, v, beta))) for t in range(0, q.shape[1], 16)]
        return torch.cat(pieces, 1)

    verdict = judge(forgets)
    assert verdict.passed == [] and "each chunk of 16 tokens starts with an empty memory" in verdict.why


def test_gradients_are_judged_if_asked():
    verdict = judge(launched, backward=True)
    assert verdict.failed == "there is no backward pass" and "autograd.Function" in verdict.why

    from deltanet_edu.kernels import delta_rule_chunkwise as package
    verdict = judge(package, backward=True)
    assert verdict and verdict.scores["of the package's"].startswith("1.00 times")


def test_a_crash_and_an_endless_loop_are_verdicts():
    started = time.perf_counter()
    assert "died (SIGSEGV)" in race(crashing).failed
    assert "did not come to an end in 2 seconds" in race(endless, seconds=2).failed
    assert time.perf_counter() - started < 60 and board() == []


def test_the_command_says_what_is_wrong_and_shows_the_board(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from deltanet_edu.cli import app

    file = tmp_path / "mine.py"
    file.write_text("def delta_rule(q, k, v, beta):\n    return v.mT\n\n\ndef broken(:", encoding="utf-8")
    run = CliRunner().invoke
    assert "SyntaxError" in run(app, ["race", str(file)]).output
    file.write_text("def delta_rule(q, k, v, beta):\n    return v.mT\n", encoding="utf-8")
    done = run(app, ["race", str(file), "--seconds", "60"])
    assert done.exit_code == 1 and "✗ the output has another shape" in done.output and "transposed" in done.output
    assert "defines no function other, but delta_rule" in run(app, ["race", str(file), "--name", "other"]).output
    assert "Nothing on the board yet" in run(app, ["race"]).output
    keep("mine.py:delta_rule", Verdict(scores={"of the package's": "0.80 times (1 of 2)"}), backward=False)
    assert "mine.py:delta_rule                   forward  0.80 times of the package's" in run(app, ["race"]).output


def test_a_file_is_read_and_what_is_missing_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def forward(q, k, v, beta):\n    return v\n", encoding="utf-8")
    assert from_file(file, "forward")(1, 2, 3, 4) == 3
    with pytest.raises(ValueError, match="defines no function delta_rule, but forward"):
        from_file(file)
    with pytest.raises(ValueError, match="is not a Python file"):
        from_file(tmp_path / "mine.txt")
