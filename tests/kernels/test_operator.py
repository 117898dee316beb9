"""The kernels as PyTorch sees them: torch.library, torch.compile, autocast, checkpointing."""

import functools

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from deltanet_edu.kernels import (
    delta_rule_chunkwise,
    delta_rule_recurrent,
    delta_rule_step,
    launches,
    notes,
    operator,
    splitting,
)

from .judge import DEVICE, compare, everything, inputs

FORMS = {"chunkwise": delta_rule_chunkwise, "recurrent": delta_rule_recurrent}
both = pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())


def small(**kwargs):
    return inputs(**dict(B=1, T=20, H=2, K=16, V=32) | kwargs)


@pytest.mark.parametrize("options", [dict(), dict(cu_seqlens=[0, 7, 20]), dict(normalize=True, sigmoid=True),
                                     dict(save=True), dict(segments=2)], ids=str)
def test_opcheck(options):
    """PyTorch's own examination: schema, autograd registration, fake version, tracing with changing shapes."""
    cu_seqlens = torch.tensor(options["cu_seqlens"], device=DEVICE) if "cu_seqlens" in options else None
    tensors = [x.requires_grad_() for x in small(sequences=2 if "cu_seqlens" in options else None)]
    arguments = (*tensors, cu_seqlens, 0.5, "normalize" in options, "sigmoid" in options, "tf32x3", 16,
                 "save" in options, options.get("segments", 1))
    torch.library.opcheck(operator.chunkwise, arguments)
    if not {"normalize", "save", "segments"} & set(options):
        torch.library.opcheck(operator.recurrence, (*tensors, cu_seqlens, 0.5, True))


def test_opcheck_of_a_step():
    q, k, v, beta, S = small(T=1)
    torch.library.opcheck(operator.step, (q, k, v, beta, S, 0.5))


@both
def test_compiles_without_graph_breaks(f):
    tensors = small()
    compiled = torch.compile(lambda q, k, v, b, S: f(2 * q, k, v, b, initial_state=S), fullgraph=True,
                             backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for a, e in zip(everything(compiled, tensors),
                    everything(lambda q, k, v, b, S: f(2 * q, k, v, b, initial_state=S), tensors)):
        assert (a - e).abs().max() <= 1e-5 * max(1, e.abs().max())


@pytest.mark.parametrize("dtype, lengths",
                         [(torch.float32, (20, 33, 47)),
                          pytest.param(torch.bfloat16, (4096, 5000, 9000), marks=pytest.mark.gpu)], ids=str)
@both
def test_compiles_with_lengths_and_a_scale_that_change(f, dtype, lengths):
    """On a GPU long sequences are cut, into as many segments as the length asks for."""
    torch._dynamo.reset()                                          # counts recompilations, those of other tests as well
    compiled = torch.compile(f, fullgraph=True, dynamic=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for T, scale in zip(lengths, (1.0, 0.5, 0.25)):
        tensors = small(T=T, dtype=dtype)
        for a, e in zip(*(everything(lambda q, k, v, b, S: rule(q, k, v, b, initial_state=S, scale=scale), tensors)
                          for rule in (compiled, f))):
            assert (a - e).norm() <= 1e-5 * e.norm()


class Watching(TorchDispatchMode):
    """Changes nothing, and notes which of our operators it has seen."""
    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        self.seen |= {f.name()} if f.namespace == "deltanet_edu" else set()
        return f(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [dict(), dict(normalize=True, sigmoid=True, save_states=True),
                                     dict(segments=2, chunk_size=16)], ids=str)
@both
def test_both_ways_in_give_the_same_bits(f, options):
    if options and f is delta_rule_recurrent:
        pytest.skip("has no options")
    tensors, run = small(), lambda *x: f(*x[:4], initial_state=x[4], **options)
    with Watching() as watching:
        watched = everything(run, tensors)
    name = "chunkwise" if f is delta_rule_chunkwise else "recurrent"
    assert watching.seen == {f"deltanet_edu::{name}", f"deltanet_edu::{name}_backward"}
    assert all(torch.equal(a, e) for a, e in zip(everything(run, tensors), watched))


@both
def test_without_an_onlooker_no_operator_is_called(f, monkeypatch):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        everything(lambda *x: f(*x[:4], initial_state=x[4]), small())
    names = {event.name for event in profile.events()}
    assert "aten::empty" in names and not any(name.startswith("deltanet_edu::") for name in names)


@both
def test_fake_tensors_and_tracers_meet_the_operator(f):
    q, k, v, beta, S = small()
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(x) for x in (q, k, v, beta)]
    o, final = f(*fake)                                                  # outside of the mode: known by its type
    assert type(o) is type(fake[0]) and o.shape == v.shape and final.shape == S.shape
    nodes = make_fx(lambda q: f(q, k, v, beta)[0])(q).graph.nodes
    assert sum("deltanet_edu" in str(node.target) for node in nodes) == 1


@both
def test_function_transforms_are_refused(f):
    q, k, v, beta, _ = small()
    for transform in (lambda g: torch.vmap(g)(torch.stack([q, q])),
                      lambda g: torch.func.grad(lambda q: g(q).sum())(q),
                      lambda g: torch.func.jvp(g, (q,), (q,))):
        with pytest.raises(RuntimeError, match="functorch"):
            transform(lambda q: f(q, k, v, beta)[0])


def test_without_gradients_it_is_the_same_and_transforms_are_refused_as_well():
    q, k, v, beta, S = small()
    f = lambda q: delta_rule_chunkwise(q, k, v, beta, initial_state=S)               # noqa: E731
    expected = f(q.requires_grad_())
    with torch.no_grad():
        assert all(torch.equal(a, e) and not a.requires_grad for a, e in zip(f(q), expected))
        with pytest.raises(RuntimeError, match="functorch"):
            torch.func.jvp(lambda q: f(q)[0], (q,), (q,))
        with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="jvp"):
            f(torch.autograd.forward_ad.make_dual(q, q))


@both
def test_no_tokens(f):
    q, k, v, beta, S = small()
    o, final, *gradients = everything(lambda *x: f(*x[:4], initial_state=x[4]),
                                      [x[:, :0] for x in (q, k, v, beta)] + [S])
    assert o.shape == v[:, :0].shape and torch.equal(final, S) and torch.equal(gradients[4], torch.ones_like(S))


def test_in_inference_mode():
    q, k, v, beta, S = small(T=1)
    with torch.inference_mode():
        state = S.clone()
        o = delta_rule_step(q[:, 0], k[:, 0], v[:, 0], beta[:, 0], state)
        for f in FORMS.values():
            whole, final = f(q, k, v, beta, initial_state=S)
            assert (whole[:, 0] - o).abs().max() <= 1e-5 and (final - state).abs().max() <= 1e-5


def test_a_step_counts_as_a_change_of_the_state():
    """So that autograd notices when something that it needs is overwritten."""
    q, k, v, beta, S = small(T=1)
    weight = torch.ones((), device=DEVICE, requires_grad=True)
    product = weight * S
    delta_rule_step(q[:, 0], k[:, 0], v[:, 0], beta[:, 0], S)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@both
def test_checkpointing_changes_nothing(f):
    tensors = small()
    plain = everything(lambda q, k, v, b, S: f(q, k, v, b, initial_state=S), tensors)
    rule = functools.partial(checkpoint, lambda *x: f(*x[:4], initial_state=x[4]), use_reentrant=False)
    again = everything(rule, tensors)
    assert all(torch.equal(a, e) for a, e in zip(again, plain))


@both
def test_autocast_casts_q_k_and_v(f, monkeypatch):
    q, k, v, beta, S = small()
    seen = []
    monkeypatch.setattr(launches, "why_not", lambda device, dtype: seen.append(dtype) or "stop here")
    with torch.autocast(DEVICE, torch.bfloat16), pytest.raises(RuntimeError, match="stop here"):
        f(q, k, v.bfloat16(), beta, initial_state=S)
    assert seen == [torch.bfloat16]


@both
def test_nothing_is_kept_when_no_gradient_is_wanted(f):
    tensors = small()
    with torch.no_grad():
        o, final = f(*tensors[:4], initial_state=tensors[4])
    assert not o.requires_grad and not final.requires_grad


@pytest.mark.parametrize("options", [dict(), dict(segments=2)], ids=str)
def test_only_T_is_held_for_the_backward_pass(options):
    """Beside the inputs, 2C bytes a token and head in half precision, which is what flash-linear-attention holds;
    never a memory."""
    # on a GPU narrower heads are padded
    tensors, held = [x.requires_grad_() for x in small(T=32, K=64, V=64, dtype=torch.float16)], {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: held.setdefault(x.data_ptr(), x), lambda x: x):
        delta_rule_chunkwise(*tensors[:4], initial_state=tensors[4], chunk_size=16, **options)
    assert sum(x.nbytes for x in held.values()
               if x.data_ptr() not in {y.data_ptr() for y in tensors}) == 32 * 2 * 16 * 2


@both
def test_second_derivatives_are_refused(f):
    q, k, v, beta, S = (x.requires_grad_() for x in small())
    for power in (1, 2):                                   # of a linear loss, PyTorch's once_differentiable makes zeros
        gradient, = torch.autograd.grad(f(q, k, v, beta, initial_state=S)[0].pow(power).sum(), q, create_graph=True)
        with pytest.raises(RuntimeError, match="written by hand and cannot be differentiated"):
            gradient.sum().backward()


def test_gradients_come_in_the_dtypes_of_the_inputs():
    q, k, v, beta, S = small()
    tensors = [x.requires_grad_() for x in (q, k, v, beta.double(), S.double())]
    o, final = delta_rule_chunkwise(*tensors[:4], initial_state=tensors[4])
    assert o.dtype == final.dtype == torch.float32
    assert [g.dtype for g in torch.autograd.grad(o.sum() + final.sum(), tensors)] == [x.dtype for x in tensors]


def at_an_odd_address(x):
    return torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)[1:].view(x.shape).copy_(x)


def test_tensors_that_only_look_contiguous():
    """At addresses that the copy engine cannot read, and single tokens whose stride means nothing."""
    q, k, v, beta, S = tensors = small(B=2)
    for odd in ([at_an_odd_address(x) for x in (q, k, v)], [x.repeat_interleave(3, 3)[..., ::3] for x in (q, k, v)]):
        compare(lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4]), [*odd, beta, S])
    o, _ = delta_rule_chunkwise(*(x.requires_grad_() for x in tensors[:4]), initial_state=S)
    plain, = torch.autograd.grad(o, q, torch.ones_like(o), retain_graph=True)
    assert torch.equal(torch.autograd.grad(o, q, at_an_odd_address(torch.ones_like(o)))[0], plain)
    one = small(B=3, T=1)
    time_first = [x.transpose(0, 1).contiguous().transpose(0, 1) for x in one[:3]]
    compare(lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4]), [*time_first, *one[3:]])


def test_heads_too_far_apart_for_32_bits_are_copied():
    far = torch.empty_strided((1, 2, 2, 16), (2**30 * 2, 16, 2**30, 1), device="meta", dtype=torch.float16)
    near = torch.empty_strided((1, 2, 2, 16), (2**30, 16, 2**29, 1), device="meta", dtype=torch.float16)
    assert launches.token_rows(far).is_contiguous() and launches.token_rows(near) is near


def test_no_tokens_in_a_compiled_function():
    q, k, v, beta, S = small()
    compiled = torch.compile(lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4]), backend="aot_eager")
    o, final, *gradients = everything(compiled, [x[:, :0] for x in (q, k, v, beta)] + [S])
    assert torch.equal(final, S) and torch.equal(gradients[4], torch.ones_like(S))


def test_lengths_with_gaps_between_them():
    tensors = small(sequences=2)
    ends = torch.tensor([0, 9, 7, 9, 20, 9], device=DEVICE)[::2]
    compare(lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4], cu_seqlens=ends), tensors, ends=[0, 7, 20])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_many_tokens_without_strength_leave_the_memory_alone(dtype):
    """Whatever stands in for beta = 0 must not add up."""
    q, k, v, beta, S = (x.requires_grad_() for x in small(T=1500, H=1, dtype=dtype))
    o, final = delta_rule_chunkwise(q, k, v, 0 * beta, initial_state=S)
    dS, = torch.autograd.grad(final.sum(), S)
    assert (final - S).norm() <= 1e-6 * S.norm() and (dS - 1).norm() <= 1e-6 * dS.norm()
    expected = torch.einsum("bhvk,bthk->bthv", S, q.float())
    assert (o - expected).norm() <= (1e-6 if dtype == torch.float32 else 1e-3) * expected.norm()


@pytest.mark.parametrize("options", [dict(), dict(normalize=True, sigmoid=True), dict(segments=3, chunk_size=16),
                                     dict(save_states=True, scale=0.3)], ids=str)
def test_float16(options):
    judge = {n: x for n, x in options.items() if n in ("normalize", "sigmoid", "scale")}
    tensors = inputs(dtype=torch.float16, B=1, T=70, H=2, K=16, V=48, keys="unnormalized"
                     if "normalize" in options else "unit")
    compare(lambda q, k, v, beta, S: delta_rule_chunkwise(q, k, v, beta, initial_state=S, **options), tensors,
            tolerance=3e-3, **judge)


def test_float16_one_token_at_a_time():
    compare(lambda q, k, v, beta, S: delta_rule_recurrent(q, k, v, beta, initial_state=S),
            inputs(dtype=torch.float16, B=1, T=9, H=2, K=16, V=48), tolerance=1e-3)


# -- segments ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [dict(T=64, K=32, V=16), dict(T=61, K=16, V=80), dict(T=20, K=48, V=16),
                                   dict(T=1, K=16, V=16)], ids=str)
@pytest.mark.parametrize("segments", [2, 4, 7])
def test_segments(shape, segments):
    """In equal parts and not, more segments than chunks, K != V;
    gradients of both states are among what is compared."""
    def rule(q, k, v, beta, S):
        return delta_rule_chunkwise(q, k, v, beta, initial_state=S, scale=0.7, segments=segments, chunk_size=16)
    compare(rule, inputs(B=2, H=1, **shape), scale=0.7, tolerance=1e-5)


def test_the_scan_over_wide_memories():
    """K = 256 comes in strips; and K = 80 does not fill the last."""
    def rule(q, k, v, beta, S):
        return delta_rule_chunkwise(q, k, v, beta, initial_state=S, segments=3, chunk_size=16)
    for K, V in ((256, 16), (80, 32)):
        compare(rule, inputs(B=1, T=40, H=1, K=K, V=V), tolerance=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 1e-2), (torch.float16, 3e-3), (torch.float32, 1e-5)],
                         ids=str)
@pytest.mark.parametrize("K, V", [(64, 64), (128, 128), (256, 256), (96, 48)])
@pytest.mark.parametrize("T", [1024, 1000])
def test_segments_compiled(dtype, tolerance, K, V, T):
    compare(lambda q, k, v, beta, S: delta_rule_chunkwise(q, k, v, beta, initial_state=S, scale=K ** -0.5, segments=4),
            inputs(dtype=dtype, B=1, T=T, H=2, K=K, V=V), scale=K ** -0.5, tolerance=tolerance)


def test_cutting():
    """Equal parts are a matter of shapes alone; otherwise every sequence is covered by segments of whole chunks,
    but for its last."""
    q = torch.empty(3, 128, 1, 16, device=DEVICE)
    assert launches.cut(q, 16, 16, None, 4) == (12, 32, None, 3 * 128, 4)
    for B, T, segments, C in ((2, 70, 2, 16), (1, 20, 4, 16), (3, 129, 8, 16), (1, 1, 2, 64)):
        ends = splitting.ends(B, T, segments, C, DEVICE).tolist()
        assert len(ends) == B * segments + 1 and ends == sorted(ends)
        assert ends[::segments] == [i * T for i in range(B + 1)]
        assert all((end - end // T * T) % C == 0 for end in ends)


def test_segments_are_chosen_where_they_pay():
    assert splitting.choose(16, 512, 128, 132) == 8           # 1 x 32,768 tokens, 8 heads of 128: the GPU would be idle
    assert splitting.choose(8, 8, 128, 132) == splitting.choose(1, 31, 128, 132) == 1                        # too short
    assert splitting.choose(132, 4096, 64, 132) == splitting.choose(1000, 4096, 64, 132) == 1              # busy anyway
    for programs in (1, 5, 16, 60, 130):
        for chunks in (1, 40, 300, 5000):
            n = splitting.choose(programs, chunks, 64, 132)
            assert n & (n - 1) == 0 and (n == 1 or chunks >= n * splitting.SHORTEST and programs * n <= 2 * 132)


def automatic(monkeypatch):
    """As on a GPU, on which float32 and the interpreter are not cut unless asked."""
    monkeypatch.setattr(splitting, "SHORTEST", 2)
    monkeypatch.setattr(splitting, "EXTRA", {64: 0})
    def segments_of(q, V, C, cu_seqlens, asked):
        return asked or splitting.choose(q.shape[0] * q.shape[2], -(-q.shape[1] // C), 64, 132)
    monkeypatch.setattr(launches, "segments_of", segments_of)


@pytest.mark.parametrize("long, ways", [(64, [2, 2]), (2, [2, 4])])
def test_long_segments_are_cut_once_more_on_the_way_back(long, ways, monkeypatch):
    monkeypatch.setattr(notes, "NOTES", {})
    monkeypatch.setattr(splitting, "LONG", long)
    tensors, cuts, cut = inputs(B=1, T=130, H=1, K=80, V=32), [], launches.cut

    def run(**more):
        return lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4], chunk_size=16, **more)
    whole = everything(run(segments=1), tensors)

    def noted(*args, **options):
        cuts.append(cut(*args, **options))
        return cuts[-1]
    monkeypatch.setattr(launches, "cut", noted)
    monkeypatch.setattr(launches, "segments_of", lambda q, V, C, cu_seqlens, asked: 2)
    for a, e in zip(everything(run(), tensors), whole):
        assert (a - e).norm() <= 2e-6 * e.norm()
    assert [pieces.segments for pieces in cuts] == ways


def test_segments_that_nobody_asked_for(monkeypatch):
    q, k, v, beta, S = inputs(B=1, T=130, H=1, K=16, V=32)
    run = lambda *x: delta_rule_chunkwise(*x[:4], initial_state=x[4], chunk_size=16)                     # noqa: E731
    launched, launch = [], launches.launch

    def noted(kernel, *args, **arguments):
        launched.append(kernel.__name__)
        launch(kernel, *args, **arguments)
    monkeypatch.setattr(launches, "launch", noted)
    whole = everything(run, (q, k, v, beta, S))
    assert "scan_kernel" not in launched
    automatic(monkeypatch)
    for a, e in zip(everything(run, (q, k, v, beta, S)), whole):
        assert (a - e).norm() <= 2e-6 * e.norm()
    # computed again for the backward pass
    assert launched.count("scan_kernel") == 3 and launched.count("segment_kernel") == 2


def test_opcheck_of_segments_that_nobody_asked_for(monkeypatch):
    automatic(monkeypatch)
    tensors = [x.requires_grad_() for x in small(T=130)]
    torch.library.opcheck(operator.chunkwise, (*tensors, None, 0.5, False, False, "tf32x3", 16, False, 0))


@both
def test_what_a_call_does_is_worked_out_once(f, monkeypatch):
    """Later calls with tensors of the same kinds repeat it, with other numbers and with the same bits as a first."""
    for o in [dict(segments=2), dict(normalize=True)] if f is delta_rule_chunkwise else [dict()]:
        def run(q, k, v, beta, S):
            strided = q.transpose(1, 2).contiguous().transpose(1, 2)                     # has to be copied
            return f(strided, k, v, beta, initial_state=S, **o)
        one = small(T=17, H=1, V=16)
        other = [x.flip(1) for x in one]
        notes.NOTES.clear()
        first = everything(run, other)
        notes.NOTES.clear()
        everything(run, one)
        noted = dict(notes.NOTES)
        assert len(noted) == 2                                           # one for each pass
        monkeypatch.setattr(launches, "new", None)                       # nothing is worked out now
        assert all(torch.equal(a, e) for a, e in zip(everything(run, other), first))
        monkeypatch.undo()
        assert notes.NOTES == noted
        q = one[0]
        assert all(torch.equal(a, e) for a, e in zip(f(q, q, *one[2:4], **o), f(q, q.clone(), *one[2:4], **o)))
