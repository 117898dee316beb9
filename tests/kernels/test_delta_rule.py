"""The kernels against the float64 recurrence: shapes, strides, lengths, keys, options. On a GPU compiled,
else interpreted."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.bench.verify import picking
from deltanet_edu.kernels import configs, delta_rule_chunkwise, delta_rule_recurrent, delta_rule_step, launches

from .judge import DEVICE, compare, everything, inputs, reference

FORMS = {"chunkwise": delta_rule_chunkwise, "recurrent": delta_rule_recurrent}
both = pytest.mark.parametrize("f", FORMS.values(), ids=FORMS.keys())


def run(f, **options):
    return lambda q, k, v, beta, S: f(q, k, v, beta, initial_state=S, **options)


@pytest.mark.parametrize("shape", [
    dict(B=2, T=70, H=2, K=16, V=48),                                    # K != V, ragged
    dict(B=1, T=64, H=3, K=32, V=16),                                    # one whole chunk
    dict(B=2, T=1, H=1, K=16, V=16),
    dict(B=1, T=17, H=1, K=80, V=144),                                   # neither a power of two
    dict(B=1, T=20, H=1, K=256, V=16),
    dict(B=1, T=20, H=1, K=16, V=256),
    dict(B=2, T=33, H=2, K=5, V=21),                                     # padded to rows of 16
], ids=lambda s: "B{B}-T{T}-H{H}-K{K}-V{V}".format(**s))
@both
def test_shapes(f, shape):
    if f is delta_rule_recurrent:
        shape = shape | dict(T=min(shape["T"], 20))
    compare(run(f, scale=0.7), inputs(**shape), scale=0.7)


@pytest.mark.parametrize("C", [16, 32, 64])
@pytest.mark.parametrize("keys, beta_max", [("unit", 1.0), ("repeated", 1.0), ("repeated", 2.0), ("zero", 2.0)])
def test_keys(C, keys, beta_max):
    compare(run(delta_rule_chunkwise, chunk_size=C), inputs(B=1, T=100, H=2, K=16, V=32, keys=keys, beta_max=beta_max),
            tolerance=1e-5)


@pytest.mark.parametrize("wanted", [slice(1), slice(2)], ids=["outputs", "outputs and the last memory"])
def test_segments_that_nothing_enters_are_those_that_zeros_enter(wanted):
    """Where nothing enters or nobody asks what leaves, products are left out."""
    *tensors, S = (x.requires_grad_() for x in inputs(B=2, T=70, H=2, K=16, V=32))
    results = []
    for first in (None, torch.zeros_like(S)):
        out = delta_rule_chunkwise(*tensors, initial_state=first, chunk_size=16, segments=3)
        gradients = torch.autograd.grad(out[wanted], tensors, [torch.ones_like(x) for x in out[wanted]])
        results.append([*out, *gradients])
    assert all(torch.equal(a, e) for a, e in zip(*results))


@pytest.mark.parametrize("options", [dict(), dict(segments=2), dict(save_states=True)], ids=str)
@pytest.mark.parametrize("K, V", [(256, 64), (136, 80)])
def test_wide_memories_come_in_parts(monkeypatch, K, V, options):
    """With tiles of 64 rows a memory 256 wide is two tiles: where all of it is split, and where the last is narrow."""
    wide = configs.FLOAT32[256]._replace(**{name: configs.Config(64, 8, 1) for name in
                                            ("forward", "saving", "both", "sweep", "back")})
    monkeypatch.setattr(configs, "plan", lambda *args: wide)
    compare(run(delta_rule_chunkwise, scale=0.7, **options), inputs(B=1, T=37, H=2, K=K, V=V), scale=0.7)


@pytest.mark.parametrize("options", [dict(), dict(segments=3), dict(normalize=True, sigmoid=True)], ids=str)
@both
def test_two_runs_give_equal_bits(f, options):
    """Whatever lay in the memory that results are written to; test_memory.py runs the programs in other orders."""
    if f is delta_rule_recurrent and options:
        pytest.skip("has none of these")
    tensors = inputs(B=2, T=40, H=2, K=16, V=32)
    first = everything(run(f, **options), tensors)
    assert all(torch.equal(a, e) for a, e in zip(everything(run(f, **options), tensors), first))


@pytest.mark.parametrize("options", [dict(), dict(segments=3), dict(normalize=True, sigmoid=True)], ids=str)
@pytest.mark.parametrize("bounds", [None, [0, 5, 5, 40, 80]], ids=["equally long", "packed"])
def test_programs_that_share_the_inverses_change_no_bit(monkeypatch, options, bounds):
    """Three programs for all chunks of all heads, so that each has several; before, a program for each."""
    if bounds and "segments" in options:
        pytest.skip("segments are of equally long sequences")
    tensors = inputs(B=1 if bounds else 2, T=80, H=2, K=16, V=32, sequences=bounds and len(bounds) - 1)
    options = options | dict(chunk_size=16, cu_seqlens=None if bounds is None else torch.tensor(bounds, device=DEVICE))
    expected, inverse = everything(run(delta_rule_chunkwise, **options), tensors), configs.inverse
    monkeypatch.setattr(configs, "inverse", lambda *args: (inverse(*args)[0], 3))
    assert all(torch.equal(a, e) for a, e in zip(everything(run(delta_rule_chunkwise, **options), tensors), expected))


@pytest.mark.parametrize("beta_max", [0.0, 2.0])
@both
def test_beta_zero_and_two(f, beta_max):
    q, k, v, beta, S = inputs(B=1, T=40, H=1, K=16, V=32)
    compare(run(f), [q, k, v, torch.full_like(beta, beta_max), S], tolerance=1e-5)


@both
def test_without_a_state_and_with_unused_results(f):
    q, k, v, beta, _ = (x.requires_grad_() for x in inputs(B=1, T=40, H=2, K=16, V=32))
    double = [x.detach().double().requires_grad_() for x in (q, k, v, beta)]
    empty = torch.zeros(1, 2, 32, 16, dtype=torch.float64, device=DEVICE)
    for part in (0, 1):                                                  # a loss on o alone, on the final state alone
        actual = torch.autograd.grad(f(q, k, v, beta)[part].square().sum(), [q, k, v, beta], allow_unused=True)
        expected = torch.autograd.grad(reference(*double, empty)[part].square().sum(), double, allow_unused=True,
                                       materialize_grads=True)
        for a, e in zip(actual, expected):
            assert (a.double() - e).norm() <= 2e-6 * max(1.0, e.norm())


@both
def test_strides(f):
    """Cut out of one projection, heads before tokens, a last dimension that is not contiguous,
    a batch of one repeated."""
    q, k, v, beta, S = inputs(B=2, T=37, H=2, K=16, V=32)
    fused = torch.cat([q, k, v], -1)                                     # (B, T, H, 2K + V)
    head_first = v.transpose(1, 2).contiguous().transpose(1, 2)
    every_other = torch.randn(2, 37, 2, 32, device=DEVICE)
    every_other[..., ::2] = k
    for tensors in ([fused[..., :16], fused[..., 16:32], fused[..., 32:], beta, S],
                    [q, every_other[..., ::2], head_first, beta.transpose(1, 2).contiguous().transpose(1, 2),
                     S.mT.contiguous().mT],
                    [q[:1].expand(2, -1, -1, -1), k[:, :, :1].expand(-1, -1, 2, -1), v, beta, S]):
        compare(run(f), tensors)


@pytest.mark.parametrize("ends", [[0, 5, 5, 50, 100], [0, 64, 100], [0, 100], [0, 1, 2, 3, 100], [0, 0, 0, 100, 100]],
                         ids=str)
@both
def test_variable_lengths(f, ends):
    if f is delta_rule_recurrent:
        ends = [e // 5 for e in ends]
    cu_seqlens = torch.tensor(ends, device=DEVICE, dtype=torch.int32 if ends[1] else torch.int64)
    tensors = inputs(sequences=len(ends) - 1, B=1, T=ends[-1], H=2, K=16, V=32)
    compare(run(f, cu_seqlens=cu_seqlens, scale=0.7), tensors, scale=0.7, ends=ends)


@pytest.mark.parametrize("options", [dict(normalize=True), dict(sigmoid=True), dict(normalize=True, sigmoid=True)],
                         ids=str)
def test_fused_normalization_and_sigmoid(options):
    keys = "unnormalized" if "normalize" in options else "unit"
    tensors = inputs(B=2, T=70, H=2, K=20, V=32, keys=keys, beta_max=1.0)
    compare(run(delta_rule_chunkwise, **options), tensors, **options)


@pytest.mark.parametrize("options", [dict(save_states=True), dict(precision="ieee")], ids=str)
def test_saving_instead_of_recomputing(options):
    tensors = inputs(B=2, T=70, H=2, K=16, V=32)
    compare(run(delta_rule_chunkwise, **options), tensors)


@pytest.mark.parametrize("T, segments", [(70, 2), (100, 3), (20, 4), (130, 8)])   # ragged, and with segments left empty
@pytest.mark.parametrize("options", [dict(), dict(normalize=True, save_states=True)], ids=str)
def test_segments_side_by_side(T, segments, options):
    judge = {n: x for n, x in options.items() if n == "normalize"}
    tensors = inputs(B=2, T=T, H=1, K=16, V=48)
    compare(run(delta_rule_chunkwise, segments=segments, chunk_size=16, scale=0.7, **options), tensors, scale=0.7,
            **judge)


def test_segments_without_a_state():
    q, k, v, beta, _ = inputs(B=1, T=70, H=2, K=16, V=32)
    whole, split = (everything(lambda *x: delta_rule_chunkwise(*x, segments=n, chunk_size=16), (q, k, v, beta))
                    for n in (1, 3))
    for a, e in zip(split, whole):
        assert (a - e).norm() <= 1e-6 * e.norm()


def test_normalization_is_that_of_torch():
    q, k, v, beta, S = inputs(B=1, T=20, H=1, K=16, V=16, keys="unnormalized")
    o, _ = delta_rule_chunkwise(q, k, v, beta, normalize=True)
    expected, _ = delta_rule_chunkwise(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, beta)
    assert (o - expected).abs().max() <= 1e-5


@both
def test_a_sequence_can_be_cut_anywhere(f):
    q, k, v, beta, S = inputs(B=2, T=30, H=1, K=16, V=32)
    o, final = f(q, k, v, beta, initial_state=S)
    for t in (1, 16, 29):
        o1, middle = f(*(x[:, :t] for x in (q, k, v, beta)), initial_state=S)
        o2, end = f(*(x[:, t:] for x in (q, k, v, beta)), initial_state=middle)
        assert (torch.cat([o1, o2], 1) - o).abs().max() <= 1e-5 and (end - final).abs().max() <= 1e-5


def test_decoding_equals_the_chunkwise_form():
    q, k, v, beta, S = inputs(B=2, T=20, H=2, K=16, V=40)
    o, final = delta_rule_chunkwise(q, k, v, beta, initial_state=S, scale=0.5)
    state, steps = S.clone(), []
    for t in range(20):
        steps.append(delta_rule_step(q[:, t], k[:, t], v[:, t], beta[:, t], state, scale=0.5))
    assert (torch.stack(steps, 1) - o).abs().max() <= 1e-5 and (state - final).abs().max() <= 1e-5


@both
def test_inputs_are_left_alone(f):
    tensors = inputs(B=1, T=20, H=1, K=16, V=16)
    before = [x.clone() for x in tensors]
    run(f)(*tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before))


def test_forms_agree_through_the_same_call():
    q, k, v, beta, S = inputs(B=1, T=20, H=2, K=16, V=32)
    results = [partial(f, initial_state=S)(q, k, v, beta)[0] for f in FORMS.values()]
    assert (results[0] - results[1]).abs().max() <= 1e-5


@pytest.mark.parametrize("group, ends, options", [
    (2, None, dict()), (3, [0, 16, 16, 17, 50], dict()),
    (2, None, dict(sigmoid=True, save_states=True)), (2, [0, 16, 16, 17, 50], dict(normalize=True)),
], ids=str)
def test_groups_of_chunks(group, ends, options, monkeypatch):
    """The memories of a group are found from the last. Half precision has groups; float32 says that they are right."""
    plan = configs.FLOAT32[64]
    monkeypatch.setattr(launches, "group_of", lambda *others: group)
    cu_seqlens = torch.tensor(ends, device=DEVICE) if ends else None
    tensors = inputs(B=1, T=50, H=2, K=16, V=32, sequences=4 if ends else None,
                     keys="unnormalized" if "normalize" in options else "unit")
    asked = {name: True for name in ("normalize", "sigmoid") if name in options}
    with picking(plan._replace(C=16, groups=plan.gradients)):
        compare(run(delta_rule_chunkwise, scale=0.7, cu_seqlens=cu_seqlens, **options), tensors, scale=0.7,
                tolerance=1e-5, **asked, **(dict(ends=ends) if ends else {}))
