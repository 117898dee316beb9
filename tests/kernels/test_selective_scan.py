"""Mamba's kernels against the recurrence in float64, here in the interpreter, and the layer on them."""

import pytest
import torch

from deltanet_edu import functional, kernels
from deltanet_edu.bench import trace
from deltanet_edu.kernels.selective_scan import selective_scan
from deltanet_edu.layers import Mamba
from deltanet_edu.ops import selective_scan_recurrent

from .judge import DEVICE

CASES = {"one token": (2, 1, 3, 4), "K = 5, V = 7": (1, 6, 5, 7), "many tiles": (2, 5, 16, 21), "wide": (1, 3, 130, 2),
         "no tokens": (2, 0, 3, 4), "no sequences": (0, 4, 3, 4)}


def make(B, T, K, V, dtype=torch.float32):
    g = torch.Generator().manual_seed(T)
    q, k, v = (torch.randn(B, T, n, generator=g) for n in (K, K, V))
    delta, A = torch.rand(B, T, V, generator=g) * 2, -torch.rand(V, K, generator=g)
    skip, S = torch.randn(V, generator=g), torch.randn(B, V, K, generator=g)
    return [x.to(DEVICE, dtype) for x in (q, k, v, delta)] + [x.to(DEVICE) for x in (A, skip, S)]


def results(rule, inputs, state, **options):
    """o, the final state, and the gradients of all inputs."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    o, S = rule(*inputs[:6], initial_state=inputs[6] if state else None, **options)
    g = torch.Generator().manual_seed(0)                                 # the same weights whatever o was rounded to
    sum((torch.randn(x.shape, generator=g).to(x) * x).sum() for x in (o, S)).backward()
    return [o, S, *(torch.zeros_like(x) if x.grad is None else x.grad for x in inputs[:6 + state])]


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
@pytest.mark.parametrize("state", [False, True])
def test_they_are_the_recurrence_and_its_gradients(shape, state):
    inputs = make(*shape)
    wanted = results(selective_scan_recurrent, [x.double() for x in inputs], state)
    for actual, expected in zip(results(selective_scan, inputs, state), wanted, strict=True):
        assert actual.shape == expected.shape and actual.dtype == torch.float32
        assert (actual - expected).norm() <= 1e-5 * (1 + expected.norm())


@pytest.mark.parametrize("state", [False, True])
def test_packed_sequences_do_not_see_each_other(state):
    lengths, ends = (3, 0, 1, 4), torch.tensor([0, 3, 3, 4, 8], device=DEVICE)
    *inputs, S = make(1, 8, 3, 5)
    S = torch.randn(4, 5, 3, device=DEVICE)

    def one_by_one(q, k, v, delta, A, skip, initial_state):
        pieces = zip(*(x.split(lengths, 1) for x in (q, k, v, delta)))
        found = [selective_scan_recurrent(*piece, A, skip, initial_state=None if initial_state is None else
                 initial_state[n:n + 1]) for n, piece in enumerate(pieces)]
        return torch.cat([o for o, _ in found], 1), torch.cat([S for _, S in found])
    wanted = results(one_by_one, [x.double() for x in (*inputs, S)], state)
    for actual, expected in zip(results(selective_scan, [*inputs, S], state, cu_seqlens=ends), wanted, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-5)


def test_strides_do_not_matter_and_only_what_is_asked_is_kept():
    q, k, v, delta, A, skip, S = make(2, 4, 3, 5)
    apart = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in (q, k, v, delta)]
    with torch.no_grad():
        for a, b in zip(selective_scan(*apart, A.T.contiguous().T, skip, initial_state=S),
                        selective_scan(q, k, v, delta, A, skip, initial_state=S)):
            assert torch.equal(a, b)


@pytest.mark.skipif(DEVICE != "cpu" or bool(trace.why_not()), reason="looks into the interpreter")
@pytest.mark.parametrize("lengths", [None, (2, 0, 3)])
def test_nothing_outside_is_touched_and_no_two_programs_meet(lengths):
    ends = None if lengths is None else torch.tensor([0, *lengths]).cumsum(0)
    *inputs, S = make(1 if lengths else 2, 5, 5, 37)
    S = torch.randn(3, 37, 5) if lengths else S
    with trace.Trace() as seen:
        results(selective_scan, [*inputs, S], True, **({"cu_seqlens": ends} if lengths else {}))
    assert [launch.kernel for launch in seen.launches] == ["selective_scan_kernel", "selective_scan_reverse_kernel"]
    assert not seen.faults


def test_second_derivatives_are_refused():
    inputs = [x.requires_grad_() for x in make(1, 3, 2, 2)]
    o, _ = selective_scan(*inputs[:5])
    (dv,) = torch.autograd.grad(o.sum(), inputs[2], create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated"):
        torch.autograd.grad(dv.sum(), inputs[3])


@pytest.mark.parametrize("packed", [False, True])
def test_the_layer_runs_on_them(monkeypatch, packed):
    """As on a GPU: "auto" takes the kernels where they can run."""
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    layer, x = Mamba(12, state_size=4).to(DEVICE), torch.randn(1, 9, 12, device=DEVICE)
    ends = torch.tensor([0, 4, 9], device=DEVICE) if packed else None
    calls = []
    monkeypatch.setattr("deltanet_edu.kernels.selective_scan.SelectiveScan.apply",
                        lambda *args, apply=kernels.selective_scan.SelectiveScan.apply: calls.append(1) or apply(*args))
    y, state = layer(x, None, ends)
    again, _ = layer(x, state, ends)
    assert len(calls) == 2
    layer.form = "recurrent"
    wanted, kept = layer(x, None, ends)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(again, layer(x, kept, ends)[0], rtol=0, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
def test_compiled_kernels_on_long_sequences(dtype, tolerance):
    inputs = make(2, 700, 16, 100, dtype)
    wanted = results(selective_scan_recurrent, [x.double() for x in inputs], True)
    for actual, expected in zip(results(selective_scan, inputs, True), wanted, strict=True):
        assert (actual.double() - expected).norm() <= tolerance * expected.norm()
    again = [results(selective_scan, inputs, True) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*again)), "two runs give equal bits"
