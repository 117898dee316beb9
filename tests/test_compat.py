"""The bridge from flash-linear-attention: its arguments, defaults and layouts; PyTorch and the kernels say the same."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from deltanet_edu import compat, functional, kernels
from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule
from deltanet_edu.ops import delta_rule_recurrent

from .kernels.judge import DEVICE, everything, inputs
from .test_functional import B, H, K, V, good

LIBRARY = [chunk_delta_rule, fused_recurrent_delta_rule]
both = pytest.mark.parametrize("f", LIBRARY)
needs_triton = pytest.mark.skipif(not kernels.HAS_TRITON, reason="needs Triton")


@pytest.mark.parametrize("f, parameters", [
    (chunk_delta_rule, dict(q=..., k=..., v=..., beta=..., scale=None, initial_state=None, output_final_state=False,
                            use_qk_l2norm_in_kernel=False, cu_seqlens=None, cu_seqlens_cpu=None)),
    (fused_recurrent_delta_rule, dict(q=..., k=..., v=..., beta=None, scale=None, initial_state=None,
                                      output_final_state=False, use_qk_l2norm_in_kernel=False, cu_seqlens=None)),
])
def test_arguments_come_in_the_library_s_order_with_its_defaults(f, parameters):
    """Of version 0.6.0, which takes chunk_size, and anything else, as further keywords."""
    ours = {n: ... if p.default is p.empty else p.default
            for n, p in inspect.signature(f).parameters.items() if p.kind is not p.KEYWORD_ONLY}
    assert list(ours.items()) == list(parameters.items())


@both
def test_defaults(f):
    arguments = good()
    o, final = f(**arguments)
    assert final is None
    assert (o - delta_rule_recurrent(**arguments, scale=K ** -0.5)[0]).abs().max() < 1e-5


@both
def test_state_layout(f):
    S = torch.randn(B, H, V, K)
    o, final = f(**good(), scale=0.3, initial_state=S.mT, output_final_state=True)
    expected, expected_final = delta_rule_recurrent(**good(), scale=0.3, initial_state=S)
    assert final.shape == (B, H, K, V) and final.is_contiguous()
    assert (o - expected).abs().max() < 1e-5 and (final - expected_final.mT).abs().max() < 1e-5


@both
def test_normalization(f):
    raw = good(k=lambda x: 7 * x)
    o, _ = f(**raw, use_qk_l2norm_in_kernel=True)
    expected, _ = f(**{**raw, "q": F.normalize(raw["q"], dim=-1), "k": F.normalize(raw["k"], dim=-1)})
    assert (o - expected).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:q. shape")                           # two tokens, three heads
@pytest.mark.parametrize("with_state", [True, False])
@both
def test_packed_sequences(f, with_state):
    arguments = {name: x[:1] for name, x in good().items()}
    S = torch.randn(4, H, K, V) if with_state else torch.zeros(4, H, K, V)
    o, final = f(**arguments, initial_state=S if with_state else None, output_final_state=True,
                 cu_seqlens=torch.tensor([0, 1, 4, 4, 6]))
    assert final.shape == (4, H, K, V)
    for n, (start, end) in {0: (0, 1), 1: (1, 4), 3: (4, 6)}.items():
        rows = {name: x[:, start:end] for name, x in arguments.items()}
        o_n, final_n = f(**rows, initial_state=S[n:n + 1], output_final_state=True)
        assert (o[:, start:end] - o_n).abs().max() < 1e-6 and (final[n] - final_n[0]).abs().max() < 1e-6
    assert torch.equal(final[2], S[2])                                   # an empty sequence leaves its state alone


@pytest.mark.parametrize("empty", ["tokens", "batch", "packed"])
@pytest.mark.parametrize("kernels_run", [False, pytest.param(True, marks=needs_triton)])
@both
def test_no_tokens_and_no_sequences_give_empty_tensors(f, kernels_run, empty, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run)
    arguments = {name: x[:0] if empty == "batch" else x[:1, :0] for name, x in good().items()}
    S = torch.randn(0 if empty == "batch" else 1, H, K, V)
    packing = dict(cu_seqlens=torch.tensor([0, 0])) if empty == "packed" else {}
    o, final = f(**arguments, initial_state=S, output_final_state=True, use_qk_l2norm_in_kernel=True, **packing)
    assert o.shape == arguments["v"].shape and torch.equal(final, S)


@both
def test_no_width_is_refused_by_name(f):
    with pytest.raises(ValueError, match="^q: got shape .* with K = 0"):
        f(**good(q=lambda x: x[..., :0], k=lambda x: x[..., :0]))


@both
def test_heads_before_time_are_noticed(f):
    """As the library does, which warns of fewer tokens than heads."""
    with pytest.warns(UserWarning, match="3 tokens with 6 heads") as caught:
        f(**{name: x.transpose(1, 2) for name, x in good().items()})
    assert caught[0].filename == __file__


def test_the_bridge_checks_and_chooses_once(monkeypatch):
    """Neither the checks of the front door nor its choice of a backend run again behind those of the bridge."""
    calls = []
    for module, name in ((compat, "check_inputs"), (functional, "check_inputs"), (functional, "choose_backend")):
        f = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, f=f, name=name, **kw: calls.append(name) or f(*args, **kw))
    chunk_delta_rule(**{n: x[:1] for n, x in good().items()}, cu_seqlens=torch.tensor([0, 2, 2, 6]))
    assert calls == ["check_inputs", "choose_backend"]


def test_beta_defaults_to_one():
    arguments = good()
    ones = {**arguments, "beta": torch.ones_like(arguments["beta"])}
    del arguments["beta"]
    assert torch.equal(fused_recurrent_delta_rule(**arguments)[0], fused_recurrent_delta_rule(**ones)[0])


@pytest.mark.parametrize("name, extra", [
    ("cu_seqlens", dict(cu_seqlens=torch.tensor([0.0, 6.0]))),
    ("cu_seqlens", dict(cu_seqlens=torch.tensor([False, True]))),
    ("cu_seqlens", dict(cu_seqlens=[0, 6])),
    ("cu_seqlens_cpu", dict(cu_seqlens=torch.tensor([0, 6]), cu_seqlens_cpu=[0, 6])),
    ("cu_seqlens_cpu", dict(cu_seqlens=torch.tensor([0, 6]), cu_seqlens_cpu=torch.tensor([0, 3, 6]))),
    ("initial_state", dict(cu_seqlens=torch.tensor([0, 6]), initial_state=torch.zeros(2, H, K, V))),
    ("initial_state", dict(initial_state=torch.zeros(1, H, V, K))),
    ("initial_state", dict(initial_state=torch.zeros(1, H, K, V, dtype=torch.int64))),
    ("initial_state", dict(initial_state=torch.zeros(1, H, K, V, device="meta"))),
    ("initial_state", dict(initial_state=[0.0])),
    ("chunk_size", dict(chunk_size=0)),
    ("chunk_size", dict(chunk_size=16.0)),
    ("q", dict(q=None)),
    ("k", dict(k=torch.zeros(1, 6, H, K + 1))),
    ("beta", dict(beta=torch.ones(1, 6, H, 1))),
    ("scale", dict(scale="1/8")),
])
@pytest.mark.parametrize("kernels_run", [False, pytest.param(True, marks=needs_triton)])
def test_malformed(name, extra, kernels_run, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run)
    with pytest.raises((TypeError, ValueError), match=f"^{name}: "):
        chunk_delta_rule(**{n: x[:1] for n, x in good().items()} | extra)


@pytest.mark.parametrize("ends", [[0, 4, 5], [0, 4, 3, 6], [1, 3, 6]])
@pytest.mark.parametrize("kernels_run", [False, pytest.param(True, marks=needs_triton)])
def test_wrong_ends_are_noticed_where_that_costs_nothing(ends, kernels_run, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run)
    arguments, ends = {n: x[:1] for n, x in good().items()}, torch.tensor(ends)
    with pytest.raises(ValueError, match="^cu_seqlens: got .* expected ends that never decrease, from 0 to T = 6"):
        chunk_delta_rule(**arguments, cu_seqlens=ends, cu_seqlens_cpu=ends if kernels_run else None)


def test_a_copy_that_is_none_is_noticed():
    arguments = {n: x[:1] for n, x in good().items()}
    with pytest.raises(ValueError, match="^cu_seqlens_cpu: got .* expected a copy of cu_seqlens"):
        chunk_delta_rule(**arguments, cu_seqlens=torch.tensor([0, 4, 6]), cu_seqlens_cpu=torch.tensor([0, 5, 6]))


@pytest.mark.parametrize("f", [chunk_delta_rule, fused_recurrent_delta_rule])
def test_as_in_the_library_keys_may_have_any_length(f):
    assert f(**good(k=lambda x: 3 * x))[0].isfinite().all()


def test_lengths_are_rounded_once():
    """The length of a vector in half precision would turn up in all its entries."""
    q, k, v, beta = (good()[n].half() * (10_000 if n in "qk" else 1) for n in ("q", "k", "v", "beta"))
    unit_q, unit_k = (x / x.square().sum(-1, keepdim=True).sqrt() for x in (q.double(), k.double()))
    expected, _ = chunk_delta_rule(unit_q.half(), unit_k.half(), v, beta)
    o, _ = chunk_delta_rule(q, k, v, beta, use_qk_l2norm_in_kernel=True)
    assert (o - expected).double().norm() <= 1e-4 * expected.double().norm()


def test_a_strength_for_every_value_is_refused():
    with pytest.raises(ValueError, match="^beta: .* one strength per token and head"):
        fused_recurrent_delta_rule(**good(beta=torch.ones(B, 6, H, V)))


def test_batch_with_packing():
    with pytest.raises(ValueError, match="^q: got batch size 2"):
        chunk_delta_rule(**good(), cu_seqlens=torch.tensor([0, 6]))
    with pytest.raises(ValueError, match="^cu_seqlens_cpu: "):
        chunk_delta_rule(**good(), cu_seqlens_cpu=torch.tensor([0, 6]))


@pytest.mark.parametrize("unknown", ["head_first", "gate", "chunk_indices"])
@both
def test_unknown_arguments_raise(f, unknown):
    with pytest.raises(TypeError, match=unknown):
        f(**good(), **{unknown: True})


def test_the_library_s_message_for_a_state_of_the_book():
    with pytest.raises(ValueError, match="pass S.mT"):
        chunk_delta_rule(**good(), initial_state=torch.zeros(B, H, V, K))


# -- on the kernels ----------------------------------------------------------------------------------------------------

def library_inputs(ends=None, **shape):
    usual = dict(B=1, T=ends[-1], sequences=len(ends) - 1) if ends else dict(B=2, T=70)
    q, k, v, beta, S = inputs(**dict(H=2, K=16, V=48) | usual | shape)
    return [q, k, v, beta, S.mT]


def run(f, **options):
    return lambda q, k, v, beta, S: f(q, k, v, beta, initial_state=S, output_final_state=True, **options)


def compare_with_pytorch(f, tensors, tolerance, monkeypatch, **options):
    """Outputs, final states and all gradients, those of the initial states among them, against PyTorch in float64."""
    actual = everything(run(f, **options), tensors)
    with monkeypatch.context() as patch:
        patch.setattr(functional, "compiled_on", lambda device: False)
        expected = everything(run(f, **options), [x.double() for x in tensors])
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape and (a.double() - e).norm() <= tolerance * e.norm()
    assert actual[0].dtype == tensors[2].dtype and [g.dtype for g in actual[2:]] == [x.dtype for x in tensors]


@needs_triton
@pytest.mark.parametrize("ends", [None, [0, 5, 5, 16, 37]], ids=["batch", "packed"])
@pytest.mark.parametrize("l2norm", [False, True], ids=["", "l2norm"])
@both
def test_kernels_and_pytorch_agree(f, ends, l2norm, ran, monkeypatch):
    short = dict(T=37) if f is fused_recurrent_delta_rule else {}
    tensors = library_inputs(ends, keys="unnormalized" if l2norm else "unit", **short)
    options = dict(cu_seqlens=torch.tensor(ends, device=DEVICE)) if ends else {}
    compare_with_pytorch(f, tensors, 3e-6, monkeypatch, use_qk_l2norm_in_kernel=l2norm, scale=0.7, **options)
    (name, options), = ran
    assert name == ("delta_rule_chunkwise" if f is chunk_delta_rule else "delta_rule_recurrent")
    assert options.get("normalize", False) == (l2norm and f is chunk_delta_rule)


@needs_triton
def test_other_chunk_sizes_run_in_pytorch(ran):
    q, k, v, beta, S = library_inputs()
    o, _ = chunk_delta_rule(q, k, v, beta, chunk_size=64)
    assert ran[0][1]["chunk_size"] == 64
    other, _ = chunk_delta_rule(q, k, v, beta, chunk_size=48)
    assert len(ran) == 1 and (o - other).abs().max() < 1e-5


@needs_triton
@pytest.mark.parametrize("with_copy", [False, True], ids=["", "cu_seqlens_cpu"])
@both
def test_nothing_is_read_from_the_device(f, with_copy, ran, monkeypatch):
    """Fake tensors have no values: whoever asks for one is stopped, as PyTorch's own loop over the sequences is."""
    if with_copy and f is fused_recurrent_delta_rule:
        pytest.skip("the library has no cu_seqlens_cpu there")
    copy = dict(cu_seqlens_cpu=torch.tensor([0, 5, 20])) if with_copy else {}

    def step():
        q, k, v, beta, S = (torch.rand(*shape, device=DEVICE, requires_grad=True)
                            for shape in ((1, 20, 2, 16), (1, 20, 2, 16), (1, 20, 2, 32), (1, 20, 2), (2, 2, 16, 32)))
        ends = torch.zeros(3, dtype=torch.int64, device=DEVICE)
        o, final = run(f, cu_seqlens=ends, use_qk_l2norm_in_kernel=True, **copy)(q, k, v, beta, S)
        (o.sum() + final.sum()).backward()
        return final.shape, [x.grad.shape == x.shape for x in (q, k, v, beta, S)]

    with FakeTensorMode(allow_non_fake_inputs=True):
        assert step() == ((2, 2, 16, 32), [True] * 5) and len(ran) == 1
        monkeypatch.setattr(functional, "compiled_on", lambda device: False)
        if not with_copy:
            with pytest.raises(DataDependentOutputException):
                step()


@needs_triton
@both
def test_compiles_without_graph_breaks(f, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    tensors, cu_seqlens = library_inputs([0, 5, 20]), torch.tensor([0, 5, 20], device=DEVICE)
    compiled = torch.compile(run(f, cu_seqlens=cu_seqlens), fullgraph=True,
                             backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for a, e in zip(everything(compiled, tensors), everything(run(f, cu_seqlens=cu_seqlens), tensors)):
        assert (a - e).abs().max() <= 1e-5 * max(1, e.abs().max())


@pytest.mark.gpu
@pytest.mark.parametrize("ends", [None, [0, 64, 64, 65, 300]], ids=["batch", "packed"])
@pytest.mark.parametrize("l2norm", [False, True], ids=["", "l2norm"])
@pytest.mark.parametrize("dtype, tolerance",
                         [(torch.bfloat16, 1.5e-2), (torch.float16, 2e-3), (torch.float32, 3e-6)], ids=str)
@both
def test_on_a_gpu(f, dtype, tolerance, l2norm, ends, monkeypatch):
    """Without a fixture that says so: the kernels are chosen, and the host does not wait for them."""
    long = dict(T=300) if ends is None else {}
    tensors = library_inputs(ends, **long, K=64, V=128, dtype=dtype, keys="unnormalized" if l2norm else "unit")
    packing = dict(cu_seqlens=torch.tensor(ends, device=DEVICE)) if ends else {}
    options = dict(use_qk_l2norm_in_kernel=l2norm) | packing
    form = "chunkwise" if f is chunk_delta_rule else "recurrent"
    assert functional.choose_backend("auto", form, tensors[0], tensors[2]) == "triton"
    compare_with_pytorch(f, tensors, tolerance, monkeypatch, **options)
    torch.cuda.set_sync_debug_mode("error")
    try:
        everything(run(f, **options), tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")
