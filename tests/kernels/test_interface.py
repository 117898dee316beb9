"""What people call: what is refused, and what is said."""

import re
import subprocess
import sys

import pytest
import torch

from deltanet_edu import kernels
from deltanet_edu.kernels import configs, delta_rule_chunkwise, delta_rule_step

from .judge import DEVICE
from .test_operator import both, small


@pytest.mark.parametrize("change, error, said", [
    (lambda a: a | dict(k=a["k"].double()), TypeError, "k: got dtype torch.float64, but q is torch.float32"),
    (lambda a: {n: x.double() if n in "qkv" else x for n, x in a.items()}, RuntimeError,
     "dtype torch.float64 has no kernel"),
    (lambda a: a | dict(scale=0), ValueError, "scale: got 0"),
    (lambda a: a | dict(v=a["v"][:, :19]), ValueError,
     "v: got shape (1, 19, 2, 32), but q of shape (1, 20, 2, 16) asks for (B, T, H, V) = (1, 20, 2, 32)"),
    (lambda a: a | dict(beta=a["beta"].mT), ValueError, "beta: got shape (1, 2, 20)"),
    (lambda a: a | dict(initial_state=torch.zeros(1, 2, 16, 32, device=DEVICE)), ValueError,
     "initial_state: got shape (1, 2, 16, 32), expected (1, 2, 32, 16)"),
    (lambda a: a | dict(cu_seqlens=torch.tensor([0.0, 20.0])), TypeError, "cu_seqlens: got torch.float32"),
    (lambda a: {n: torch.cat([x, x]) for n, x in a.items()} | dict(cu_seqlens=torch.tensor([0, 20], device=DEVICE)),
     ValueError, "batch size 2 together with cu_seqlens"),
    (lambda a: a | dict(cu_seqlens=torch.tensor([0], device=DEVICE)), TypeError,
     "cu_seqlens: got torch.int64 of shape (1,)"),
    (lambda a: a | dict(cu_seqlens=[0, 20]), TypeError, "cu_seqlens: got list"),
    pytest.param(lambda a: a | dict(cu_seqlens=torch.tensor([0, 5, 40])), ValueError,
                 "cu_seqlens: got [0, 5, 40], expected ends that never decrease, from 0 to T = 20",
                 marks=pytest.mark.skipif(DEVICE == "cuda", reason="nobody waits for a GPU to read them")),
    (lambda a: {n: x[0] for n, x in a.items()}, ValueError,
     "q: got shape (20, 2, 16), expected 4 dimensions (B, T, H, K)"),
    (lambda a: a | {n: a[n][..., :0] for n in "qk"}, ValueError, "q: got shape (1, 20, 2, 0) with K = 0"),
    (lambda a: {n: x.to("meta") for n, x in a.items()}, RuntimeError, "tensors are on meta"),
    (lambda a: a | dict(q=a["q"].tolist()), TypeError, "q: got list"),
    (lambda a: a | dict(q=a["q"][0, 0, 0, 0]), ValueError, "q: got shape (), expected 4 dimensions"),
    (lambda a: a | dict(scale=None), TypeError, "scale: got NoneType, expected a number"),
    (lambda a: a | dict(segments=1.5), ValueError, "segments: got 1.5"),
    (lambda a: a | dict(chunk_size=16.0), TypeError, "chunk_size: got 16.0"),
    (lambda a: a | dict(chunk_size=48), ValueError, "chunk_size: got 48"),
    (lambda a: a | dict(precision="fp8"), ValueError, "precision: got 'fp8'"),
    (lambda a: a | dict(segments=2, cu_seqlens=torch.tensor([0, 20], device=DEVICE)), ValueError,
     "segments: got 2 together with cu_seqlens"),
    (lambda a: a | {n: a[n].new_zeros(1, 20, 2, 300) for n in "qk"}, ValueError,
     "head widths K = 304 and V = 32, expected at most 256"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_refused(change, error, said):
    with pytest.raises(error, match=re.escape(said)):
        delta_rule_chunkwise(**change(dict(zip(("q", "k", "v", "beta"), small()))))


@pytest.mark.skipif(DEVICE == "cuda", reason="bfloat16 is only wrong in the interpreter")
@both
def test_bfloat16_is_refused_in_the_interpreter(f):
    with pytest.raises(RuntimeError, match="multiplies the bit patterns of bfloat16"):
        f(*small(dtype=torch.bfloat16)[:4])


def test_a_step_refuses_what_it_cannot_do():
    q, k, v, beta, S = small(T=1)
    token = q[:, 0], k[:, 0], v[:, 0], beta[:, 0]
    with pytest.raises(ValueError, match="state: got torch.float64"):
        delta_rule_step(*token, S.double())
    with pytest.raises(ValueError, match="contiguous"):
        delta_rule_step(*token, S.mT.contiguous().mT)
    with pytest.raises(ValueError, match=r"state: got shape .* layout of flash-linear-attention: pass state.mT"):
        delta_rule_step(*token, S.mT.contiguous())
    for wrong in (S[:0], torch.cat([S, S]), S[0]):
        with pytest.raises(ValueError, match="state: got shape"):
            delta_rule_step(*token, wrong)
    with pytest.raises(TypeError, match="state: got NoneType"):
        delta_rule_step(*token, None)
    with pytest.raises(ValueError, match=r"v: got shape .* expected 3 dimensions \(B, H, V\): one token"):
        delta_rule_step(*token[:2], v, token[3], S)
    with pytest.raises(RuntimeError, match="no backward pass"):
        delta_rule_step(token[0].requires_grad_(), *token[1:], S)


@pytest.mark.parametrize("K, V", [(10, 20), (16, 32)])
def test_a_final_state_can_be_stepped_from(K, V):
    q, k, v, beta, S = small(K=K, V=V)
    _, state = delta_rule_chunkwise(*(x[:, :-1] for x in (q, k, v, beta)), initial_state=S)
    o, final = delta_rule_chunkwise(q, k, v, beta, initial_state=S)
    assert (delta_rule_step(q[:, -1], k[:, -1], v[:, -1], beta[:, -1], state) - o[:, -1]).abs().max() < 1e-5
    assert (state - final).abs().max() < 1e-5


def test_too_little_shared_memory_is_said():
    with pytest.raises(ValueError, match="48 KB of shared memory"):
        configs.plan(64, 64, torch.bfloat16, 8, configs.Device(48 * 1024, 80))


def test_chunk_length_does_not_depend_on_the_batch():
    for gpu in (configs.Device(227 * 1024, 132), configs.Device(99 * 1024, 60)):
        for K, V in ((16, 64), (128, 64), (64, 256)):
            for dtype in (torch.bfloat16, torch.float32):
                assert len({configs.plan(K, V, dtype, heads, gpu).C for heads in (0, 1, 10, 100, 10**4)}) == 1


def python(code, **environment):
    import os
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_triton_the_package_imports_and_says_what_is_missing():
    """Triton is hidden in a fresh process, as on macOS and Windows."""
    code = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] == "triton" else find(name, *rest)
import deltanet_edu, deltanet_edu.kernels as kernels
assert "triton" not in sys.modules or not kernels.HAS_TRITON
assert "not installed" in kernels.why_not()
try:
    kernels.delta_rule_chunkwise
except ImportError as error:
    print(error)
"""
    assert python(code).startswith("delta_rule_chunkwise: Triton is not installed")


def test_an_interpreter_asked_for_too_late_is_said():
    code = ("import os, triton, torch; from deltanet_edu import kernels; os.environ['TRITON_INTERPRET'] = '1'; "
            "print(kernels.why_not('cpu', torch.float32))")
    said = python(code, TRITON_INTERPRET="0")
    assert said.startswith("TRITON_INTERPRET was changed after Triton had been imported, which is too late")
    assert "TRITON_INTERPRET" not in python(code, TRITON_INTERPRET="1")


def test_what_compilers_need_is_imported_by_compilers_only():
    assert vars(kernels.why_not) == vars(torch.compiler.assume_constant_result(lambda: None))
    code = ("import sys; from deltanet_edu import kernels; kernels.why_not('cpu'); kernels.delta_rule_chunkwise; "
            "print('torch._dynamo' in sys.modules)")
    assert python(code) == "False"


def test_a_version_that_does_not_fit_is_said():
    code = """
import triton
from deltanet_edu import kernels
for triton.__version__ in ("3.3.1", "3.4.0", "3.7.1", "4.0"):
    print(kernels.why_not("cpu") or "fits")
"""
    old, *others = python(code, TRITON_INTERPRET="1").splitlines()
    assert "Triton 3.3.1 is too old" in old and others == ["fits"] * 3


@pytest.mark.skipif(not kernels.HAS_TRITON, reason="Triton is not installed")
@pytest.mark.parametrize("mending", [
    "from deltanet_edu.kernels import interpreter as ours; ours.repair(); ours.repair()",
    "from deltanet_edu.bench.race_judge import judge; judge(lambda q, k, v, beta: v)"])     # of a stranger's kernel
def test_a_loop_runs_in_the_interpreter_of_an_older_triton_beside_a_newer_numpy(mending):
    """Up to 3.6 a bound was int(an array of one), which numpy 2.4 refuses, deep inside Triton."""
    code = """
import torch, triton, triton.language as tl
from triton.runtime import interpreter
newer = interpreter._patch_lang_tensor
def older(tensor, *scope):
    newer(tensor, *scope)
    def refuse(self):
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    tensor.__index__ = refuse
interpreter._patch_lang_tensor = older
@triton.jit
def count(o_ptr, N):
    n = 0
    for i in range(N):
        n += i
    tl.store(o_ptr, n)
def counted():
    o = torch.zeros(1, dtype=torch.int32)
    try:
        count[(1,)](o, 5)
    except Exception as error:
        return type(error).__name__
    return o.item()
first = counted()
print(first, counted())
""".replace("print(first", mending + "\nprint(first")
    assert python(code, TRITON_INTERPRET="1") == "InterpreterError 10"


def test_the_functions_are_listed():
    assert {"delta_rule_chunkwise", "delta_rule_recurrent", "delta_rule_step"} <= {*dir(kernels)}


def test_without_a_gpu_and_without_the_interpreter_the_way_out_is_said():
    code = ("import torch; from deltanet_edu.kernels import why_not; print(why_not('cpu', torch.float32)); "
            "print(why_not('cpu', torch.float64))")
    said = python(code, TRITON_INTERPRET="0").splitlines()
    assert "set TRITON_INTERPRET=1" in said[0] and "float64 has no kernel" in said[1]
    assert kernels.why_not(DEVICE, torch.float32) == ""
