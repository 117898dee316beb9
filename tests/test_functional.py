"""The front door refuses what cannot be right, and says which argument, what came, and how to mend it."""

import os
import re
import subprocess
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from deltanet_edu import delta_rule, kernels, warmup
from deltanet_edu.functional import choose_backend
from deltanet_edu.kernels import HAS_TRITON
from deltanet_edu.ops import delta_rule_recurrent

from .kernels.judge import DEVICE, everything, inputs

B, T, H, K, V = 2, 6, 3, 4, 5
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")


def good(**changes):
    g = torch.Generator().manual_seed(0)
    q, k = (torch.randn(B, T, H, K, generator=g) for _ in "qk")
    v, beta = torch.randn(B, T, H, V, generator=g), torch.rand(B, T, H, generator=g)
    arguments = dict(q=q, k=F.normalize(k, dim=-1), v=v, beta=beta)
    for name, change in changes.items():
        arguments[name] = change(arguments[name]) if callable(change) else change
    return arguments


def with_entry(value):
    def change(x):
        x = x.clone()
        x.view(-1)[7] = value
        return x
    return change


nan, inf = float("nan"), float("inf")
MALFORMED = [  # the argument named, the error, what is wrong with it
    ("q", TypeError, dict(q=None)),
    ("q", TypeError, dict(q=lambda x: x.numpy())),
    ("k", TypeError, dict(k=lambda x: x.tolist())),
    ("beta", TypeError, dict(beta=0.5)),
    ("q", TypeError, dict(q=lambda x: x.long())),
    ("v", TypeError, dict(v=lambda x: x.to(torch.complex64))),
    ("beta", TypeError, dict(beta=lambda x: x > 0.5)),
    ("q", TypeError, dict(q=lambda x: x.to(torch.float8_e4m3fn))),
    ("k", TypeError, dict(k=lambda x: x.double())),
    ("v", TypeError, dict(v=lambda x: x.bfloat16())),
    ("v", TypeError, dict(v=lambda x: x.to_sparse())),
    ("k", ValueError, dict(k=lambda x: x.to("meta"))),
    ("beta", ValueError, dict(beta=lambda x: x.to("meta"))),
    ("initial_state", ValueError, dict(initial_state=torch.zeros(B, H, V, K, device="meta"))),
    ("q", ValueError, dict(q=lambda x: x[0])),
    ("k", ValueError, dict(k=lambda x: x[..., None])),
    ("v", ValueError, dict(v=lambda x: x[:, :, 0])),
    ("beta", ValueError, dict(beta=lambda x: x[..., None])),
    ("beta", ValueError, dict(beta=lambda x: x[0])),
    ("k", ValueError, dict(k=lambda x: x[..., :3])),
    ("k", ValueError, dict(k=lambda x: x[:, :5])),
    ("v", ValueError, dict(v=lambda x: x[:1])),
    ("v", ValueError, dict(v=lambda x: x[:, :5])),
    ("v", ValueError, dict(v=lambda x: x[:, :, :2])),
    ("k", ValueError, dict(k=lambda x: x.transpose(1, 2))),
    ("beta", ValueError, dict(beta=lambda x: x.transpose(1, 2))),
    ("q", ValueError, dict(q=lambda x: x[..., :0], k=lambda x: x[..., :0])),
    ("v", ValueError, dict(v=lambda x: x[..., :0])),
    ("q", ValueError, dict(q=with_entry(nan))),
    ("k", ValueError, dict(k=with_entry(inf))),
    ("v", ValueError, dict(v=with_entry(nan))),
    ("beta", ValueError, dict(beta=with_entry(nan))),
    ("beta", ValueError, dict(beta=with_entry(-0.1))),
    ("k", ValueError, dict(k=lambda x: 3 * x)),
    ("k", ValueError, dict(beta=with_entry(2.5))),
    ("initial_state", TypeError, dict(initial_state=[[0.0]])),
    ("initial_state", TypeError, dict(initial_state=torch.zeros(B, H, V, K, dtype=torch.int32))),
    ("initial_state", ValueError, dict(initial_state=torch.zeros(B, H, K, V))),
    ("initial_state", ValueError, dict(initial_state=torch.zeros(1, H, V, K))),
    ("initial_state", ValueError, dict(initial_state=torch.full((B, H, V, K), nan))),
    ("cu_seqlens", TypeError, dict(cu_seqlens=[0, 6])),
    ("q", ValueError, dict(cu_seqlens=torch.tensor([0, 6]))),
    ("scale", TypeError, dict(scale=None)),
    ("scale", TypeError, dict(scale="1/2")),
    ("scale", TypeError, dict(scale=True)),
    ("scale", ValueError, dict(scale=Decimal("inf"))),
    ("scale", ValueError, dict(scale=Decimal("nan"))),
    ("scale", TypeError, dict(scale=torch.ones(H))),
    ("scale", ValueError, dict(scale=nan)),
    ("chunk_size", ValueError, dict(chunk_size=0)),
    ("chunk_size", ValueError, dict(chunk_size=-64)),
    ("chunk_size", TypeError, dict(chunk_size=16.0)),
    ("chunk_size", TypeError, dict(chunk_size=True)),
    ("form", ValueError, dict(form="chunked")),
    ("form", ValueError, dict(form=None)),
    ("form", ValueError, dict(form="parallel", backend="triton")),
    ("backend", ValueError, dict(backend="cuda")),
    ("chunk_size", ValueError, dict(chunk_size=48, backend="triton")),
    ("scale", ValueError, dict(scale=0, backend="triton")),
    ("backend", ValueError, dict(q=lambda x: x.repeat(1, 1, 1, 65), k=lambda x: x.repeat(1, 1, 1, 65) / 9,
                                 backend="triton")),
]


def arguments_of(changes):
    known = ("q", "k", "v", "beta")
    others = {n: c for n, c in changes.items() if n not in known}
    return good(**{n: c for n, c in changes.items() if n in known}) | others


@pytest.mark.parametrize("name, error, changes", MALFORMED, ids=[f"{i}-{m[0]}" for i, m in enumerate(MALFORMED)])
def test_malformed_input_is_named(name, error, changes):
    with pytest.raises(error) as raised:
        delta_rule(**arguments_of(changes))
    assert str(raised.value).startswith(f"{name}: "), raised.value
    assert len(str(raised.value)) > 30                                    # not only that it is wrong


def test_good_input_passes_and_the_forms_agree():
    expected, S = delta_rule_recurrent(**good())
    for form in ("auto", "recurrent", "chunkwise", "parallel"):
        o, final = delta_rule(**good(), form=form, chunk_size=4)
        assert (o - expected).abs().max() < 1e-5 and (final - S).abs().max() < 1e-5


def test_kernels_are_used_or_refused_with_the_reason():
    """On a CPU without Triton's interpreter they cannot run; the front door must not quietly do something else."""
    script = """
import torch
from tests.test_functional import good
from deltanet_edu import delta_rule
from deltanet_edu.ops import delta_rule_recurrent
try:
    o, S = delta_rule(**good(), form=FORM, backend="triton")
except (RuntimeError, ImportError) as error:
    print("refused:", error)
else:
    expected, final = delta_rule_recurrent(**good())
    print("right:", bool((o - expected).abs().max() < 1e-5 and (S - final).abs().max() < 1e-5))
"""
    for form in ("chunkwise", "recurrent"):
        for interpret, outcome in (("0", "refused: "), ("1", "right: True")):
            if interpret == "1" and not HAS_TRITON:
                continue
            if interpret == "0" and torch.cuda.is_available():
                continue
            run = subprocess.run([sys.executable, "-c", script.replace("FORM", repr(form))],
                                 cwd=Path(__file__).parents[1], text=True, capture_output=True,
                                 env={**os.environ, "TRITON_INTERPRET": interpret})
            assert run.stdout.startswith(outcome), run.stdout + run.stderr


def test_value_checks_can_be_turned_off():
    o, _ = delta_rule(**good(k=lambda x: 2 * x), check_values=False)
    assert o.isfinite().all()


def test_beta_of_two_with_half_precision_unit_keys_is_accepted():
    arguments = good()
    arguments["beta"] = torch.full_like(arguments["beta"], 2.0)
    o, _ = delta_rule(**{name: x.bfloat16() for name, x in arguments.items()})
    assert o.isfinite().all()


def test_messages_suggest_the_fix():
    for changes, words in [(dict(k=lambda x: 3 * x), "normalize"),
                           (dict(initial_state=torch.zeros(B, H, K, V)), "initial_state.mT"),
                           (dict(beta=lambda x: x[..., None]), "squeeze"),
                           (dict(k=lambda x: x.transpose(1, 2)), "transpose(1, 2)")]:
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            delta_rule(**arguments_of(changes))


@pytest.mark.parametrize("heads, fix", [
    (dict(q=1, k=1, v=2, beta=1), "q.repeat_interleave(2, dim=2)"),      # more values than keys
    (dict(q=1, k=1, v=2, beta=2), "q.repeat_interleave(2, dim=2)"),
    (dict(q=1, k=1, v=1, beta=4), "q.repeat_interleave(4, dim=2)"),
    (dict(q=2, k=1, v=2, beta=2), "k.repeat_interleave(2, dim=2)"),      # grouped queries
    (dict(q=4, k=4, v=2, beta=4), "v.repeat_interleave(2, dim=2)"),
], ids=str)
def test_other_numbers_of_heads_are_explained(heads, fix):
    """The message says which tensor to repeat, and how often."""
    with pytest.raises(ValueError, match=re.escape(fix)):
        delta_rule(**{name: x[:, :, :1].repeat_interleave(heads[name], 2) for name, x in good().items()})


def test_any_number_is_a_scale():
    half, _ = delta_rule(**good(), scale=0.5)
    for scale in (Fraction(1, 2), Decimal("0.5"), np.float32(0.5)):
        assert torch.equal(delta_rule(**good(), scale=scale)[0], half)


def test_heads_before_time_are_noticed():
    """Shapes fit one another in the layout (B, H, T, K) too; more heads than tokens give it away."""
    short = {name: x.transpose(1, 2) for name, x in good().items()}      # 3 tokens, 6 heads
    words = r"read as \(B, T, H, K\), 3 tokens with 6 heads. .*q.transpose\(1, 2\)"
    with pytest.warns(UserWarning, match=words) as caught:
        delta_rule(**short)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        delta_rule(**good())
        delta_rule(**short, check_values=False)
        delta_rule(**{name: x[:, :1] for name, x in short.items()})     # decoding: one token, many heads


# -- nothing to do, and sequences packed end to end --------------------------------------------------------------------

BACKENDS = ["torch", pytest.param("triton", marks=needs_triton)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["auto", "recurrent", "chunkwise", "parallel"])
@pytest.mark.parametrize("empty", ["tokens", "batch", "packed"])
def test_no_tokens_and_no_sequences_give_empty_tensors(empty, form, backend):
    """An empty batch is no mistake: outputs are empty, and the memory leaves as it came."""
    if form == "parallel" and backend == "triton":
        pytest.skip("has no kernel")
    q, k, v, beta, S = inputs(B=1, T=5, H=2, K=4, V=3)
    q, k, v, beta = ([x[:0] for x in (q, k, v, beta)] if empty == "batch" else [x[:, :0] for x in (q, k, v, beta)])
    S = S[:0] if empty == "batch" else S
    packing = dict(cu_seqlens=torch.tensor([0, 0], device=DEVICE)) if empty == "packed" else {}
    tensors = [x.clone().requires_grad_() for x in (q, k, v, beta, S)]
    o, final = delta_rule(*tensors[:4], initial_state=tensors[4], form=form, backend=backend, **packing)
    assert o.shape == v.shape and o.dtype == v.dtype and torch.equal(final, S)
    gradients = torch.autograd.grad(o.sum() + final.sum(), tensors, materialize_grads=True)
    assert [g.shape for g in gradients] == [x.shape for x in tensors] and torch.equal(gradients[4], torch.ones_like(S))
    assert delta_rule(q, k, v, beta, form=form, backend=backend, **packing)[1].shape == S.shape


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["auto", "recurrent", "chunkwise"])
@pytest.mark.parametrize("with_state", [True, False])
def test_packed_sequences_do_not_see_one_another(with_state, form, backend):
    ends = [0, 1, 4, 4, 9]
    q, k, v, beta, S = inputs(B=1, T=9, H=2, K=4, V=3, sequences=4)
    S = S if with_state else torch.zeros_like(S)
    o, final = delta_rule(q, k, v, beta, initial_state=S if with_state else None, form=form, backend=backend,
                          cu_seqlens=torch.tensor(ends, device=DEVICE))
    for n, (start, end) in enumerate(zip(ends, ends[1:])):
        rows = [x[:, start:end] for x in (q, k, v, beta)]
        expected, expected_final = delta_rule_recurrent(*rows, initial_state=S[n:n + 1])
        torch.testing.assert_close(o[:, start:end], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(final[n:n + 1], expected_final, rtol=1e-4, atol=1e-5)


# -- which backend -----------------------------------------------------------------------------------------------------

CANNOT = dict(device="cpu"), dict(dtype=torch.float64), dict(why="the GPU is older than ...")
UNFIT = (dict(form="parallel"), dict(K=257), dict(V=512), dict(scale=0), dict(chunk_size=48), dict(chunk_size=128),
         dict(K=256, dtype=torch.float32, chunk_size=64))
FIT = (dict(), dict(form="recurrent"), dict(dtype=torch.float32), dict(dtype=torch.float16), dict(K=16, V=256),
       dict(K=5, V=21), dict(chunk_size=16), dict(chunk_size=32), dict(chunk_size=64),
       dict(K=256, dtype=torch.float32, chunk_size=32), dict(form="recurrent", chunk_size=48), dict(scale=-0.1))


def choose(backend, monkeypatch, form="chunkwise", device="cuda", dtype=torch.bfloat16, K=64, V=128, why="",
           interpreted=False, **options):
    """The choice for tensors that have a device but no values, on an imagined machine."""
    def why_not(device, dtype):
        if device.type == "cpu" and not interpreted:
            return "not on a CPU"
        return why or ("no such dtype" if dtype == torch.float64 else "")

    monkeypatch.setattr(kernels, "interpreted", lambda: interpreted)
    monkeypatch.setattr(kernels, "why_not", why_not)
    with FakeTensorMode():
        q, v = (torch.empty(1, 8, 2, width, dtype=dtype, device=device) for width in (K, V))
    return choose_backend(backend, form, q, v, **options)


@pytest.mark.parametrize("situation", FIT, ids=str)
def test_on_a_gpu_the_kernels_are_chosen(situation, monkeypatch):
    assert choose("auto", monkeypatch, **situation) == choose("triton", monkeypatch, **situation) == "triton"
    assert choose("torch", monkeypatch, **situation) == "torch"


@pytest.mark.parametrize("situation, error",
                         [(s, RuntimeError) for s in CANNOT] + [(s, ValueError) for s in UNFIT], ids=str)
def test_where_they_cannot_run_pytorch_is_chosen_and_triton_refused(situation, error, monkeypatch):
    assert choose("auto", monkeypatch, **situation) == "torch"
    with pytest.raises(error, match="^(backend|form|scale|chunk_size): "):
        choose("triton", monkeypatch, **situation)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_interpreter_runs_on_request_only(device, monkeypatch):
    situation = dict(device=device, dtype=torch.float32, interpreted=True)
    assert choose("auto", monkeypatch, **situation) == "torch"
    assert choose("triton", monkeypatch, **situation) == "triton"


def test_a_cpu_never_asks_about_triton():
    script = ("import sys, torch, deltanet_edu as d; x = torch.ones(1, 3, 1, 1); d.delta_rule(x, x, x, x[..., 0]); "
              "assert not {'triton', 'deltanet_edu.kernels'} & {*sys.modules}")
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@needs_triton
@pytest.mark.parametrize("form, T, name", [("auto", 37, "delta_rule_chunkwise"), ("auto", 1, "delta_rule_recurrent"),
                                           ("recurrent", 9, "delta_rule_recurrent")])
def test_both_backends_give_the_same(form, T, name, ran):
    tensors = inputs(B=2, T=T, H=2, K=16, V=48)
    options = dict(scale=0.7, form=form)
    results = [everything(lambda *x: delta_rule(*x[:4], initial_state=x[4], backend=backend, **options), tensors)
               for backend in ("auto", "torch")]
    assert [called for called, _ in ran] == [name]
    for a, e in zip(*results, strict=True):
        assert a.dtype == e.dtype and (a - e).norm() <= 1e-5 * e.norm()


@pytest.mark.parametrize("options", [dict(), pytest.param(dict(backend="triton"), marks=needs_triton),
                                     dict(form="parallel"), dict(form="recurrent")], ids=str)
def test_compiles_without_graph_breaks(options):
    tensors = inputs(B=1, T=20, H=2, K=16, V=32)

    def doubled(q, k, v, beta, S):
        return delta_rule(2 * q, k, v, beta, initial_state=S, **options)
    compiled = torch.compile(doubled, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for a, e in zip(everything(compiled, tensors), everything(doubled, tensors)):
        assert (a - e).norm() <= 1e-5 * e.norm()


def test_compiles_with_sizes_and_a_scale_that_change():
    compiled = torch.compile(delta_rule, fullgraph=True, dynamic=True, backend="aot_eager")
    for T, scale in ((20, 1.0), (33, 0.5), (47, 0.25)):
        tensors = inputs(B=1, T=T, H=2, K=16, V=32)[:4]
        assert (compiled(*tensors, scale=scale)[0] - delta_rule(*tensors, scale=scale)[0]).abs().max() < 1e-5


def test_values_are_looked_at_only_where_there_are_any():
    q, k, v, beta = (good()[name] for name in ("q", "k", "v", "beta"))
    with FakeTensorMode() as mode:
        assert delta_rule(*map(mode.from_tensor, (q, k, v, beta)))[0].shape == v.shape
    many = torch.vmap(lambda x: delta_rule(x, k, v, beta, form="recurrent")[0])(torch.stack([q, 2 * q]))
    assert (many[1] - 2 * many[0]).abs().max() < 1e-5 and (many[0] - delta_rule(q, k, v, beta)[0]).abs().max() < 1e-5


# -- autocast ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["chunkwise", "recurrent", "parallel"])
def test_autocast_casts_q_k_and_v_and_nothing_inside(form):
    """As if they had come in bfloat16: the rule itself is computed in float32, as ever."""
    q, k, v, beta, S = inputs(B=2, T=70, H=2, K=4, V=5)
    low = [x.bfloat16() for x in (q, k, v)]
    expected, final = delta_rule(*low, beta, initial_state=S, form=form)
    with torch.autocast(DEVICE, torch.bfloat16):
        o, S_out = delta_rule(q, low[1], v, beta, initial_state=S, form=form)
    assert o.dtype == torch.bfloat16 and torch.equal(o, expected) and torch.equal(S_out, final)
    with torch.autocast(DEVICE, torch.bfloat16):
        exact, _ = delta_rule(*(x.double() for x in (q, k, v, beta)), form=form)
    assert exact.dtype == torch.float64


def test_autocast_and_compilation():
    q, k, v, beta, S = inputs(B=1, T=20, H=2, K=16, V=32)
    compiled = torch.compile(lambda *x: delta_rule(*x)[0], fullgraph=True, backend="aot_eager")
    with torch.autocast(DEVICE, torch.bfloat16):
        assert torch.equal(compiled(q, k, v, beta), delta_rule(q, k, v, beta)[0])


def test_malformed_input_is_named_under_autocast_too():
    for changes in (dict(q=None), dict(k=lambda x: x.tolist()), dict(v=lambda x: x.long())):
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match=f"^{[*changes][0]}: "):
            delta_rule(**good(**changes))


@pytest.mark.parametrize("backend", ["torch", pytest.param("triton", marks=needs_triton)])
def test_gradients_may_be_asked_for_under_autocast(backend):
    tensors = [x.requires_grad_() for x in inputs(B=1, T=40, H=2, K=16, V=32)]
    o, S = delta_rule(*tensors[:4], initial_state=tensors[4], backend=backend)
    loss = o.square().sum() + S.square().sum()
    expected = torch.autograd.grad(loss, tensors, retain_graph=True)
    with torch.autocast(DEVICE, torch.bfloat16):
        assert all(torch.equal(a, e) for a, e in zip(torch.autograd.grad(loss, tensors), expected))


# -- warmup ------------------------------------------------------------------------------------------------------------

@needs_triton
@pytest.mark.skipif(DEVICE == "cuda", reason="tests/kernels/test_gpu.py counts what is compiled")
def test_warmup_launches_what_a_call_launches(monkeypatch):
    from deltanet_edu.kernels import launches
    launched, launch = [], launches.launch

    def noted(kernel, programs, *args, **arguments):
        launched.append((kernel.__name__, programs))
        launch(kernel, programs, *args, **arguments)
    monkeypatch.setattr(launches, "launch", noted)
    options = dict(backend="triton", scale=0.5)
    seconds = warmup([(1, 20, 2, 16), (2, 33, 1, 16, 32)], torch.float32, **options)
    warm, launched[:] = list(launched), []
    assert list(seconds) == [(1, 20, 2, 16), (2, 33, 1, 16, 32)] and all(s > 0 for s in seconds.values())
    for B, T, H, K, V in ((1, 20, 2, 16, 16), (2, 33, 1, 16, 32)):
        tensors = inputs(B=B, T=T, H=H, K=K, V=V)[:4]
        everything(lambda *x: delta_rule(*x, **options), tensors)
    assert launched == warm
    launched.clear()
    warmup([(1, 20, 2, 16)], torch.float32, backward=False, **options)
    assert launched == warm[:2]


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 2, 3, 0), (1, 2, 3, 4.0), (1, 2, 3, 4, 5, 6)], ids=str)
def test_warmup_says_what_a_shape_is(shape):
    with pytest.raises(ValueError, match=r"shapes: got .*, expected \(B, T, H, K\) or \(B, T, H, K, V\)"):
        warmup([shape])
