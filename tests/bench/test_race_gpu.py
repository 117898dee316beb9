"""The race on a GPU: in the interpreter first, then there; what kills the one process leaves this one alone."""

import pytest
import torch

from deltanet_edu.bench.race import board, from_file, race

pytest.importorskip("triton")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

KERNEL = '''
import torch
import triton
import triton.language as tl


@triton.jit
def loop_kernel(q, k, v, beta, o, T, H, K: tl.constexpr, V: tl.constexpr, FAR: tl.constexpr, FOREVER: tl.constexpr):
    program, i, j = tl.program_id(0), tl.arange(0, K), tl.arange(0, V)
    S = tl.zeros((V, K), tl.float32)
    for t in range(T):
        n = (program // H * T + t) * H + program % H
        key, value, query = tl.load(k + n * K + i), tl.load(v + n * V + j), tl.load(q + n * K + i)
        error = tl.load(beta + n).to(tl.float32) * (value - tl.sum(S * key[None, :], 1))
        S += error[:, None] * key[None, :]
        tl.store(o + n * V + j, tl.sum(S * query[None, :], 1))
    if FAR:
        tl.store(o + (1 << 40) + j, tl.zeros((V,), o.dtype.element_ty))
    if FOREVER:
        while tl.load(beta) > -1.0:
            S += 1.0
        tl.store(o + j, tl.sum(S, 1))


def run(q, k, v, beta, far=False, forever=False):
    o = torch.empty_like(v)
    B, T, H, K = k.shape
    loop_kernel[(B * H,)](q, k, v, beta, o, T, H, K, v.shape[3], far, forever)
    return o


def delta_rule(q, k, v, beta):
    return run(q, k, v, beta)


def far(q, k, v, beta):
    return run(q, k, v, beta, far=q.is_cuda)


def forever(q, k, v, beta):
    return run(q, k, v, beta, forever=q.is_cuda)


def rounded(q, k, v, beta):
    return run(q, k, v, beta) * (1.0 if v.dtype == torch.float32 else 1.1)
'''


@pytest.fixture
def raced(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path))
    file = tmp_path / "my_kernel.py"
    file.write_text(KERNEL, encoding="utf-8")
    return lambda name, **options: race(from_file(file, name), **options)


def test_a_right_kernel_is_timed_beside_the_package(raced):
    verdict = raced("delta_rule", library=False)
    assert verdict, str(verdict)
    assert sum(said.startswith("on the GPU: ") for said in verdict.passed) == 2 and len(verdict.passed) >= 3
    assert len(verdict.times) == 4
    for row in verdict.times.values():
        assert row["floor"] < row["the package"] < row["yours"]
    assert any("times as long as the package's" in said for said in verdict.advice)
    assert board()[0]["times"] == verdict.times


@pytest.mark.parametrize("name, failed, why", [
    ("far", ("it raises", "the process of your kernel died", "it stops the GPU"), "illegal"),
    ("forever", ("did not come to an end in 60 seconds",), "bound"),
    ("rounded", ("wrong values in bfloat16: o",), "float32")])
def test_what_goes_wrong_on_the_gpu_alone_is_a_verdict(raced, name, failed, why):
    verdict = raced(name, seconds=60, library=False)
    assert not verdict and any(said in verdict.failed for said in failed) and why in verdict.why, str(verdict)
    assert torch.ones(3, device="cuda").sum().item() == 3 and board() == []
