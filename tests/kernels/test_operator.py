"""The kernels as PyTorch sees them: torch.library, torch.compile, autocast, checkpointing; and what is refused."""

import subprocess
import sys

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from deltanet_edu import kernels
from deltanet_edu.kernels import configs, delta_rule_chunkwise, delta_rule_recurrent, delta_rule_step, operator

from .judge import DEVICE, everything, inputs

FORMS = {"chunkwise": delta_rule_chunkwise, "recurrent": delta_rule_recurrent}
both = pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())


def small(**kwargs):
    return inputs(**dict(B=1, T=20, H=2, K=16, V=32) | kwargs)


@pytest.mark.parametrize("options", [dict(), dict(cu_seqlens=[0, 7, 20]), dict(normalize=True, sigmoid=True), dict(save=True), dict(segments=2)], ids=str)
def test_opcheck(options):
    """PyTorch's own examination: schema, autograd registration, fake version, tracing with changing shapes."""
    cu_seqlens = torch.tensor(options["cu_seqlens"], device=DEVICE) if "cu_seqlens" in options else None
    tensors = [x.requires_grad_() for x in small(sequences=2 if "cu_seqlens" in options else None)]
    torch.library.opcheck(operator.chunkwise, (*tensors, cu_seqlens, 0.5, "normalize" in options, "sigmoid" in options, "tf32x3", 16,
                                               "save" in options, options.get("segments", 1)))
    if not {"normalize", "save", "segments"} & set(options):
        torch.library.opcheck(operator.recurrence, (*tensors, cu_seqlens, 0.5, True))


def test_opcheck_of_a_step():
    q, k, v, beta, S = small(T=1)
    torch.library.opcheck(operator.step, (q, k, v, beta, S, 0.5))


@both
def test_compiles_without_graph_breaks(f):
    tensors = small()
    compiled = torch.compile(lambda q, k, v, b, S: f(2 * q, k, v, b, initial_state=S), fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for a, e in zip(everything(compiled, tensors), everything(lambda q, k, v, b, S: f(2 * q, k, v, b, initial_state=S), tensors)):
        assert (a - e).abs().max() <= 1e-5 * max(1, e.abs().max())


@both
def test_checkpointing_changes_nothing(f):
    tensors = small()
    plain = everything(lambda q, k, v, b, S: f(q, k, v, b, initial_state=S), tensors)
    again = everything(lambda q, k, v, b, S: checkpoint(lambda *x: f(*x[:4], initial_state=x[4]), q, k, v, b, S, use_reentrant=False), tensors)
    assert all(torch.equal(a, e) for a, e in zip(again, plain))


@both
def test_autocast_casts_q_k_and_v(f, monkeypatch):
    q, k, v, beta, S = small()
    seen = []
    monkeypatch.setattr(operator, "why_not", lambda device, dtype: seen.append(dtype) or "stop here")
    with torch.autocast(DEVICE, torch.bfloat16), pytest.raises(RuntimeError, match="stop here"):
        f(q, k, v.bfloat16(), beta, initial_state=S)
    assert seen == [torch.bfloat16]


@both
def test_nothing_is_kept_when_no_gradient_is_wanted(f):
    tensors = small()
    with torch.no_grad():
        o, final = f(*tensors[:4], initial_state=tensors[4])
    assert not o.requires_grad and not final.requires_grad


@both
def test_second_derivatives_are_refused(f):
    q, k, v, beta, S = (x.requires_grad_() for x in small())
    gradient, = torch.autograd.grad(f(q, k, v, beta, initial_state=S)[0].square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


def test_gradients_come_in_the_dtypes_of_the_inputs():
    q, k, v, beta, S = small()
    tensors = [x.requires_grad_() for x in (q, k, v, beta.double(), S.double())]
    o, final = delta_rule_chunkwise(*tensors[:4], initial_state=tensors[4])
    assert o.dtype == final.dtype == torch.float32
    assert [g.dtype for g in torch.autograd.grad(o.sum() + final.sum(), tensors)] == [x.dtype for x in tensors]


@pytest.mark.parametrize("change, error, said", [
    (lambda a: a | dict(k=a["k"].double()), TypeError, "k: got dtype torch.float64, but q is torch.float32"),
    (lambda a: {n: x.double() if n in "qkv" else x for n, x in a.items()}, RuntimeError, "dtype torch.float64 has no kernel"),
    (lambda a: a | dict(scale=0), ValueError, "scale: got 0"),
    (lambda a: a | dict(cu_seqlens=torch.tensor([0.0, 20.0])), TypeError, "cu_seqlens: got torch.float32"),
    (lambda a: {n: torch.cat([x, x]) for n, x in a.items()} | dict(cu_seqlens=torch.tensor([0, 20], device=DEVICE)), ValueError, "batch size 2 together with cu_seqlens"),
    (lambda a: a | dict(chunk_size=48), ValueError, "chunk_size: got 48"),
    (lambda a: a | dict(precision="fp8"), ValueError, "precision: got 'fp8'"),
    (lambda a: a | dict(segments=2, cu_seqlens=torch.tensor([0, 20], device=DEVICE)), ValueError, "segments: got 2 together with cu_seqlens"),
    (lambda a: a | {n: a[n].new_zeros(1, 20, 2, 300) for n in "qk"}, ValueError, "head widths K = 304 and V = 32, expected at most 256"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_refused(change, error, said):
    with pytest.raises(error, match=said.replace("(", r"\(")):
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
    with pytest.raises(RuntimeError, match="no backward pass"):
        delta_rule_step(token[0].requires_grad_(), *token[1:], S)


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
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=100)
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


def test_without_a_gpu_and_without_the_interpreter_the_way_out_is_said():
    code = "import torch; from deltanet_edu.kernels import why_not; print(why_not('cpu', torch.float32)); print(why_not('cpu', torch.float64))"
    said = python(code, TRITON_INTERPRET="0").splitlines()
    assert "set TRITON_INTERPRET=1" in said[0] and "float64 has no kernel" in said[1]
    assert kernels.why_not(DEVICE, torch.float32) == ""
