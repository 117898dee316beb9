"""What only a GPU can show: miscompiled products, bfloat16, memory beyond 2^31, waiting hosts, CUDA graphs.

    python -m pytest -m gpu tests/kernels                   every configuration, compiled, against float64
    compute-sanitizer --tool memcheck python -m pytest -m gpu tests/kernels -k for_the_sanitizer
"""

import pytest
import torch

import deltanet_edu
from deltanet_edu.kernels import configs, delta_rule_chunkwise, delta_rule_recurrent, delta_rule_step

from .judge import DEVICE, compare, everything, inputs

pytestmark = pytest.mark.gpu
TOLERANCE = {torch.bfloat16: 1e-2, torch.float32: 3e-6}
PLANS = {f"{name}-{width}": (plan, dtype) for name, table, dtype in (
    ("few", configs.FEW, torch.bfloat16), ("many", configs.MANY, torch.bfloat16),
    ("narrow", configs.NARROW, torch.bfloat16),
    ("float32", configs.FLOAT32, torch.float32)) for width, plan in table.items()}
HEADS = {64: [(64, 64), (16, 48)], 128: [(128, 128), (96, 64), (64, 128)], 256: [(256, 256), (144, 256)]}
CASES = [pytest.param(*PLANS[name], K, V, id=f"{name}-K{K}-V{V}") for name in PLANS
         for K, V in HEADS[int(name.split("-")[1])]]


def run(f=delta_rule_chunkwise, **options):
    return lambda q, k, v, beta, S: f(q, k, v, beta, initial_state=S, **options)


@pytest.mark.parametrize("plan, dtype, K, V", CASES)
@pytest.mark.parametrize("save", [False, True], ids=["recomputed", "saved"])
def test_every_configuration(monkeypatch, plan, dtype, K, V, save):
    """Not just the one that the table would pick: head width 64 was once compiled
    wrongly on Hopper while 32 and 128 were right."""
    monkeypatch.setattr(configs, "plan", lambda *args: plan)
    tensors = inputs(dtype=dtype, B=2, T=300, H=3, K=K, V=V)
    compare(run(scale=K ** -0.5, save_states=save), tensors, tolerance=TOLERANCE[dtype], scale=K ** -0.5)


@pytest.mark.parametrize("K, V", [(64, 64), (128, 96)])
@pytest.mark.parametrize("keys, beta_max, tolerance",
                         [("repeated", 1.0, 1.5e-2), ("repeated", 2.0, 5e-2), ("zero", 1.0, 1e-2)])
def test_hard_keys_in_bfloat16(K, V, keys, beta_max, tolerance):
    compare(run(), inputs(dtype=torch.bfloat16, B=1, T=300, H=2, K=K, V=V, keys=keys, beta_max=beta_max),
            tolerance=tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("options", [dict(normalize=True, sigmoid=True), dict(cu_seqlens=[0, 64, 64, 65, 300]),
                                     dict(chunk_size=32)], ids=str)
def test_options(dtype, options):
    ends = options.get("cu_seqlens")
    tensors = inputs(dtype=dtype, sequences=len(ends) - 1 if ends else None, B=1, T=300, H=2, K=64, V=128)
    judge = {n: x for n, x in options.items() if n in ("normalize", "sigmoid")} | (dict(ends=ends) if ends else {})
    options = options | (dict(cu_seqlens=torch.tensor(ends, device=DEVICE)) if ends else {})
    compare(run(**options), tensors, tolerance=TOLERANCE[dtype], **judge)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("K, V", [(64, 64), (128, 128), (128, 96)])
def test_groups_of_normalized_keys(dtype, K, V):
    """Heads enough for groups; in float16 there are none."""
    tensors = inputs(dtype=dtype, B=2, T=1100, H=40, K=K, V=V, keys="unnormalized")
    compare(run(normalize=True, scale=K ** -0.5), tensors, tolerance=1e-2, normalize=True, scale=K ** -0.5)


@pytest.mark.parametrize("K, V", [(16, 32), (64, 64), (128, 128), (256, 256)])
def test_recurrent_and_decoding_in_bfloat16(K, V):
    tensors = inputs(dtype=torch.bfloat16, B=2, T=40, H=2, K=K, V=V)
    compare(run(delta_rule_recurrent), tensors, tolerance=1e-2)
    q, k, v, beta, S = tensors
    state = S.clone()
    steps = torch.stack([delta_rule_step(q[:, t], k[:, t], v[:, t], beta[:, t], state) for t in range(40)], 1)
    o, final = delta_rule_chunkwise(q, k, v, beta, initial_state=S)
    assert (steps - o).float().norm() <= 1e-2 * o.float().norm() and (state - final).norm() <= 1e-2 * final.norm()


def test_the_same_bits_every_time():
    """An error that changes from run to run is a race."""
    tensors = inputs(dtype=torch.bfloat16, B=2, T=1000, H=4, K=128, V=128)
    first = everything(run(), tensors)
    for _ in range(5):
        assert all(torch.equal(a, e) for a, e in zip(everything(run(), tensors), first))


def test_after_warmup_nothing_is_left_to_compile():
    from deltanet_edu.kernels import notes
    notes.NOTES.clear()
    deltanet_edu.warmup([(2, 128, 3, 64)], torch.bfloat16)
    ready = set(notes.NOTES)
    tensors = inputs(dtype=torch.bfloat16, B=2, T=128, H=3, K=64, V=64)[:4]
    q, k, v, beta = (x.bfloat16().requires_grad_() for x in tensors)
    deltanet_edu.delta_rule(q, k, v, beta)[0].sum().backward()
    assert len(ready) == 2 and set(notes.NOTES) == ready              # one for each pass


def test_the_host_never_waits():
    q, k, v, beta, S = (x.requires_grad_()
                        for x in inputs(dtype=torch.bfloat16, sequences=3, B=1, T=300, H=2, K=64, V=64))
    cu_seqlens = torch.tensor([0, 100, 110, 300], device=DEVICE)
    run(cu_seqlens=cu_seqlens)(q, k, v, beta, S)[0].sum().backward()     # compiles, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(cu_seqlens=cu_seqlens)(q, k, v, beta, S)[0].sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_cuda_graphs():
    tensors = inputs(dtype=torch.bfloat16, B=1, T=200, H=2, K=64, V=64)
    everything(run(), tensors)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.cuda.stream(side):
        everything(run(), tensors)
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        captured = everything(run(), tensors)
    with torch.no_grad():
        tensors[2].mul_(2)
    graph.replay()
    assert all(torch.equal(a, e) for a, e in zip(captured, everything(run(), tensors)))


def agree(results, expected):
    """To rounding: another number of heads may mean another plan, which adds in another order."""
    return all((a.double() - e.double()).norm() <= 1e-2 * e.double().norm()
               for a, e in zip(results, expected, strict=True))


def test_more_programs_than_a_grid_has_rows():
    tensors = inputs(dtype=torch.bfloat16, B=1, T=40, H=2, K=16, V=16)
    many = [x.repeat_interleave(35_000, dim=1 if x is tensors[4] else 2) for x in tensors]
    ends = torch.tensor([0, 69_999], device=DEVICE)
    assert agree([a.index_select(1 if a.shape[1] == 70_000 else 2, ends) for a in everything(run(), many)],
                 everything(run(), tensors))


def test_more_than_2_to_the_31_numbers():
    B, T, H, D = 9, 2**17, 32, 64
    if torch.cuda.mem_get_info()[0] < 60 * 2**30:
        pytest.skip("needs 60 GiB of free GPU memory")
    one = inputs(dtype=torch.bfloat16, B=1, T=T, H=H, K=D, V=D)[:4]
    with torch.no_grad():
        o, final = delta_rule_chunkwise(*(x.expand(B, *x.shape[1:]).contiguous() for x in one))
        assert agree([o[-1:], final[-1:]], delta_rule_chunkwise(*one))


@pytest.mark.parametrize("K, V", [(64, 64), (128, 128), (48, 256)])
def test_for_the_sanitizer(K, V):
    """Small enough to run under compute-sanitizer, with every kernel in it."""
    ends = [0, 5, 5, 70, 101]
    tensors = inputs(dtype=torch.bfloat16, sequences=4, B=1, T=101, H=2, K=K, V=V)
    options = dict(cu_seqlens=torch.tensor(ends, device=DEVICE), normalize=True, sigmoid=True)
    compare(run(**options), tensors, tolerance=1e-2, ends=ends, normalize=True, sigmoid=True)
    compare(run(delta_rule_recurrent), inputs(dtype=torch.bfloat16, B=1, T=9, H=2, K=K, V=V), tolerance=1e-2)
