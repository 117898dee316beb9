"""The front door refuses what cannot be right, and says which argument, what came, and how to mend it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu import delta_rule
from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule
from deltanet_edu.kernels import HAS_TRITON
from deltanet_edu.ops import delta_rule_recurrent

B, T, H, K, V = 2, 6, 3, 4, 5


def good(**changes):
    g = torch.Generator().manual_seed(0)
    arguments = dict(q=torch.randn(B, T, H, K, generator=g), k=F.normalize(torch.randn(B, T, H, K, generator=g), dim=-1),
                     v=torch.randn(B, T, H, V, generator=g), beta=torch.rand(B, T, H, generator=g))
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
    ("q", ValueError, dict(q=lambda x: x[:, :0], k=lambda x: x[:, :0], v=lambda x: x[:, :0], beta=lambda x: x[:, :0])),
    ("q", ValueError, dict(q=lambda x: x[:0], k=lambda x: x[:0], v=lambda x: x[:0], beta=lambda x: x[:0])),
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
    ("scale", TypeError, dict(scale=None)),
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
]


def arguments_of(changes):
    known = ("q", "k", "v", "beta")
    return {**good(**{n: c for n, c in changes.items() if n in known}), **{n: c for n, c in changes.items() if n not in known}}


@pytest.mark.parametrize("name, error, changes", MALFORMED, ids=[f"{i}-{m[0]}" for i, m in enumerate(MALFORMED)])
def test_malformed_input_is_named(name, error, changes):
    with pytest.raises(error) as raised:
        delta_rule(**arguments_of(changes))
    assert str(raised.value).startswith(f"{name}: "), raised.value
    assert len(str(raised.value)) > 30                                    # says what was expected, not only that it is wrong


def test_good_input_passes_and_the_forms_agree():
    expected, S = delta_rule_recurrent(**good())
    for form in ("auto", "recurrent", "chunkwise", "parallel"):
        o, final = delta_rule(**good(), form=form, chunk_size=4)
        assert (o - expected).abs().max() < 1e-5 and (final - S).abs().max() < 1e-5


def test_kernels_are_used_or_refused_with_the_reason():
    """On a CPU without Triton's interpreter they cannot run; on request, the front door must not quietly do something else."""
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
            run = subprocess.run([sys.executable, "-c", script.replace("FORM", repr(form))], cwd=Path(__file__).parents[1], text=True,
                                 capture_output=True, env={**os.environ, "TRITON_INTERPRET": interpret})
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
    for changes, words in [(dict(k=lambda x: 3 * x), "normalize"), (dict(initial_state=torch.zeros(B, H, K, V)), "initial_state.mT"),
                           (dict(beta=lambda x: x[..., None]), "squeeze"), (dict(k=lambda x: x.transpose(1, 2)), "transpose(1, 2)")]:
        with pytest.raises((TypeError, ValueError), match=words.replace("(", r"\(").replace(")", r"\)")):
            delta_rule(**arguments_of(changes))


# -- the bridge ---------------------------------------------------------------------------------------------------

LIBRARY = [chunk_delta_rule, fused_recurrent_delta_rule]


@pytest.mark.parametrize("f", LIBRARY)
def test_library_defaults(f):
    arguments = good()
    o, final = f(**arguments)
    assert final is None
    assert (o - delta_rule_recurrent(**arguments, scale=K ** -0.5)[0]).abs().max() < 1e-5


@pytest.mark.parametrize("f", LIBRARY)
def test_library_state_layout(f):
    S = torch.randn(B, H, V, K)
    o, final = f(**good(), scale=0.3, initial_state=S.mT, output_final_state=True)
    expected, expected_final = delta_rule_recurrent(**good(), scale=0.3, initial_state=S)
    assert final.shape == (B, H, K, V) and final.is_contiguous()
    assert (o - expected).abs().max() < 1e-5 and (final - expected_final.mT).abs().max() < 1e-5


@pytest.mark.parametrize("f", LIBRARY)
def test_library_normalization(f):
    raw = good(k=lambda x: 7 * x)
    o, _ = f(**raw, use_qk_l2norm_in_kernel=True)
    expected, _ = f(**{**raw, "q": F.normalize(raw["q"], dim=-1), "k": F.normalize(raw["k"], dim=-1)})
    assert (o - expected).abs().max() < 1e-5


@pytest.mark.parametrize("f", LIBRARY)
def test_library_packed_sequences(f):
    arguments = {name: x[:1] for name, x in good().items()}
    S = torch.randn(3, H, K, V)
    o, final = f(**arguments, initial_state=S, output_final_state=True, cu_seqlens=torch.tensor([0, 1, 4, 6]))
    assert final.shape == (3, H, K, V)
    for n, (start, end) in enumerate([(0, 1), (1, 4), (4, 6)]):
        o_n, final_n = f(**{name: x[:, start:end] for name, x in arguments.items()}, initial_state=S[n:n + 1], output_final_state=True)
        assert (o[:, start:end] - o_n).abs().max() < 1e-6 and (final[n] - final_n[0]).abs().max() < 1e-6


def test_library_beta_defaults_to_one():
    arguments = good()
    ones = {**arguments, "beta": torch.ones_like(arguments["beta"])}
    del arguments["beta"]
    assert torch.equal(fused_recurrent_delta_rule(**arguments)[0], fused_recurrent_delta_rule(**ones)[0])


@pytest.mark.parametrize("name, extra", [
    ("cu_seqlens", dict(cu_seqlens=torch.tensor([0, 4, 5]))),
    ("cu_seqlens", dict(cu_seqlens=torch.tensor([0, 4, 4, 6]))),
    ("cu_seqlens", dict(cu_seqlens=torch.tensor([0.0, 6.0]))),
    ("cu_seqlens", dict(cu_seqlens=[0, 6])),
    ("initial_state", dict(cu_seqlens=torch.tensor([0, 6]), initial_state=torch.zeros(2, H, K, V))),
])
def test_library_malformed_packing(name, extra):
    with pytest.raises((TypeError, ValueError), match=f"^{name}: "):
        chunk_delta_rule(**{n: x[:1] for n, x in good().items()}, **extra)


def test_library_batch_with_packing():
    with pytest.raises(ValueError, match="^q: got batch size 2"):
        chunk_delta_rule(**good(), cu_seqlens=torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="^cu_seqlens_cpu: "):
        chunk_delta_rule(**good(), cu_seqlens_cpu=torch.tensor([0, 6]))


@pytest.mark.parametrize("unknown", ["head_first", "gate", "chunk_indices"])
def test_library_unknown_arguments_raise(unknown):
    for f in LIBRARY:
        with pytest.raises(TypeError, match=unknown):
            f(**good(), **{unknown: True})
