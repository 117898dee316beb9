"""The race: each kind of kernel gets its verdict, and none takes the caller with it."""

import ctypes
import importlib.util
import linecache
import os
import time
from dataclasses import replace

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
from deltanet_edu.bench.race_process import started
from deltanet_edu.bench.sources import Unsendable, module_of, where_it_lives
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


def launched(q, k, v, beta, parts=1, past=0, fewer=0, kernel=loop_kernel):
    B, T, H, K = k.shape
    o = torch.empty_like(v)
    kernel[(B * H * parts - fewer,)](q, k, v, beta, o, T, H, K, v.shape[3], parts, past)
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


@triton.jit
def lenient_kernel(q, k, v, beta, o, T, H, K: tl.constexpr, V: tl.constexpr, PARTS: tl.constexpr, PAST: tl.constexpr):
    rows = [tl.arange(0, K), tl.arange(0, V)]                            # the interpreter lets a list change its length
    rows.append(rows[0])
    program, i, j = tl.program_id(0) // PARTS, rows[2], rows[1]
    S = tl.zeros((V, K), tl.float32)
    for t in range(T + PAST):
        n = (program // H * T + t) * H + program % H
        key, value, query, b = tl.load(k + n * K + i), tl.load(v + n * V + j), tl.load(q + n * K + i), tl.load(beta + n)
        S += b * (value - tl.sum(S * key[None, :], 1))[:, None] * key[None, :]
        tl.store(o + n * V + j, tl.sum(S * query[None, :], 1))


def lenient(q, k, v, beta):
    return launched(q, k, v, beta, kernel=lenient_kernel)


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
    assert verdict and len(verdict.passed) == 4 and "compiles for sm_80 and sm_90" in verdict.passed
    assert verdict.scores["of what must be moved"].startswith("1.00 times")          # a loop moves each number once
    assert "✓ its programs can run in any order" in capsys.readouterr().out
    (entry,) = board()
    assert entry["name"] == "launched" and entry["passes"] == "forward" and entry["scores"] and entry["date"]
    keep("again", verdict, backward=True)
    keep("again", verdict, backward=True)                                # the cell was run twice
    keep("again", replace(verdict, bytes={"yours": 1}), backward=True)
    assert [(entry["name"], entry["passes"]) for entry in board()] == [
        ("launched", "forward"), ("again", "both"), ("again", "both")]


@pytest.mark.parametrize("f, failed, why", [
    (swapped, "wrong values: o, T = 37, which no chunk divides", "queries and keys change places"),
    (without_beta, "wrong values: o, one token", "β is forgotten (it counts as 1)"),
    (scaled, "wrong values: o, one token", "the queries are divided by √K"),
    (transposed, "the output has another shape", "It would fit transposed."),
    (too_few_programs, "wrong values: o, one token", "is NaN: either it was never written"),
    (twice, "its programs depend on their order", "programs 0 and 1 meet at o[0, 0, 0, 0]: both write."),
    (past_the_end, "it leaves its tensors", "a load of k, of shape (1, 5, 2, 16), goes"),
    (lenient, "the compiler does not accept it", "The interpreter is not as strict."),
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


def test_who_is_slow_is_told_what_to_look_at():
    """Right, and with nothing but a chain of loads: the verdict says so, and is one of being right."""
    def again(q, k, v, beta):
        for _ in range(9):
            o = launched(q, k, v, beta)
        return o
    verdict = judge(again)
    assert verdict and any("times what the package does" in said for said in verdict.advice), str(verdict)
    assert verdict.bytes["yours"] > 8 * verdict.bytes["must"] and "→ It moves" in str(verdict)
    assert verdict.figure().alt.startswith("The scores of a kernel. Bytes: what must move")


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
    picture = tmp_path / "board.png"
    assert "nothing to draw yet" in run(app, ["race", "--plot", str(picture)]).output and not picture.exists()
    keep("mine.py:delta_rule", Verdict(scores={"of the package's": "0.80 times (1 of 2)"}), backward=False)
    assert "mine.py:delta_rule                   forward  0.80 times of the package's" in run(app, ["race"]).output
    moved = {"must": 1, "yours": 4, "the package": 5}
    clocked = {"1,2,3,4": {"yours": 3.0, "the package": 2.0, "floor": 1.0}}
    keep("timed", Verdict(scores={"of the package's": "0.80 times"}, bytes=moved, times=clocked), backward=True)
    done = run(app, ["race", "--plot", str(picture)])
    assert "1.50 to 1.50 times its time" in done.output and picture.stat().st_size > 1000


def test_a_file_is_read_and_what_is_missing_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def forward(q, k, v, beta):\n    return v\n", encoding="utf-8")
    assert from_file(file, "forward")(1, 2, 3, 4) == 3
    with pytest.raises(ValueError, match="defines no function delta_rule, but forward"):
        from_file(file)
    with pytest.raises(ValueError, match="is not a Python file"):
        from_file(tmp_path / "mine.txt")


# -- in a new process, as on a GPU -------------------------------------------------------------------------------------

NOTEBOOK = """
import torch
import triton
import triton.language as tl
{more}
SCALE = 1.0

@triton.jit
def decayed(S, b):
    return S * b

@triton.jit
def my_kernel(q, k, v, beta, o, T, H, K: tl.constexpr, V: tl.constexpr):
    program, i, j = tl.program_id(0), tl.arange(0, K), tl.arange(0, V)
    S = tl.zeros((V, K), tl.float32)
    for t in range(T):
        n = (program // H * T + t) * H + program % H
        key, value = tl.load(k + n * K + i), tl.load(v + n * V + j)
        error = tl.load(beta + n) * (value - tl.sum(S * key[None, :], 1))
        S = decayed(S, 1.0) + error[:, None] * key[None, :]
        tl.store(o + n * V + j, tl.sum(S * tl.load(q + n * K + i)[None, :], 1))

class Rule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta):
        o = torch.empty_like(v)
        my_kernel[(k.shape[0] * k.shape[2],)](q, k, v, beta, o, *k.shape[1:3], k.shape[3], v.shape[3])
        return o

def mine(q, k, v, beta):
    {body}
"""


def notebook(body="return SCALE * Rule.apply(q, k, v, beta)", more=""):
    """The function `mine` of a notebook with one cell: a name in __main__, and a source that only linecache knows."""
    source, file = NOTEBOOK.format(body=body, more=more), f"/tmp/ipykernel_0/{abs(hash(body + more))}.py"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    namespace = {"__name__": "__main__"}
    exec(compile(source, file, "exec"), namespace)
    return namespace["mine"]


def test_what_a_notebook_defines_becomes_a_module():
    text = module_of(notebook())
    places = [text.index(made) for made in ("SCALE = 1.0", "def decayed", "def my_kernel", "class Rule", "def mine")]
    assert places == sorted(places), text
    namespace = {}
    exec(text.replace("@triton.jit", ""), namespace)                     # a kernel wants a file
    assert callable(namespace["mine"]) and namespace["Rule"].__name__ == "Rule"


@pytest.mark.parametrize("body, more, said", [
    ("return table @ v", "table = torch.eye(2)", "mine uses table, a global of type Tensor, which has no source"),
    ("return model(v)", "model = torch.nn.Linear(2, 2)", "mine uses model, a global of type Linear"),
])
def test_what_cannot_travel_is_named(body, more, said):
    with pytest.raises(Unsendable, match=said):
        where_it_lives(notebook(body, more))

    inner = torch.ones(1)

    def closed(q, k, v, beta):
        return inner * v
    with pytest.raises(Unsendable, match="closed uses inner, a variable of the function around it"):
        where_it_lives(closed)
    with pytest.raises(Unsendable, match="A lambda has no name"):
        where_it_lives(lambda q, k, v, beta: v)
    with pytest.raises(Unsendable, match="is no function"):
        where_it_lives(3)


def test_functions_of_modules_and_files_go_by_name(tmp_path):
    assert where_it_lives(delta_rule_chunkwise).kind == "module"
    file = tmp_path / "mine.py"
    file.write_text("def delta_rule(q, k, v, beta):\n    return v\n", encoding="utf-8")
    home = where_it_lives(from_file(file))
    assert (home.kind, home.place, home.name) == ("file", str(file), "delta_rule")


def test_a_new_process_gives_a_verdict_too():
    """What happens on a GPU, and without one if kernels do not run in the interpreter here."""
    verdict = started(where_it_lives(notebook("return v.mT")), "interpreter", False, 120, False)
    assert verdict.failed == "the output has another shape" and "transposed" in verdict.why
    crash = notebook("ctypes.string_at(0)", "import ctypes")
    assert "died (SIGSEGV)" in started(where_it_lives(crash), "interpreter", False, 120, False).failed
    loop = notebook("while True: pass")
    assert "did not come to an end in 8 seconds" in started(where_it_lives(loop), "interpreter", False, 8, False).failed
