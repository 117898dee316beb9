"""Where kernels read and write, and whether their programs depend on each other. In the interpreter."""

import pytest
import torch

from deltanet_edu.kernels import configs, delta_rule_chunkwise, delta_rule_recurrent, delta_rule_step, launches

from .judge import compare, everything, inputs

pytestmark = pytest.mark.skipif(torch.cuda.is_available(),
                                reason="these look over the interpreter's shoulder; on a GPU use compute-sanitizer")
PAD = 4096                                                               # numbers on either side of every tensor


def guarded(x):
    """x in the middle of a larger tensor, with nothing but poison around it and in the gaps between its strides."""
    extent = 1 + sum((n - 1) * s for n, s in zip(x.shape, x.stride())) if x.numel() else 0
    poison = float("nan") if x.is_floating_point() else 2**30
    around = torch.full((extent + 2 * PAD,), poison, dtype=x.dtype)
    inside = around.as_strided(x.shape, x.stride(), PAD)
    inside.copy_(x)
    return around, inside


@pytest.fixture
def guards(monkeypatch):
    """Every tensor of every launch is surrounded by poison, and the poison must survive.
    What is allocated is poisoned too."""
    launched = []
    launch = launches.launch

    def guarded_launch(kernel, programs, config, **arguments):
        pairs = {name: guarded(x) if isinstance(x, torch.Tensor) else (None, x) for name, x in arguments.items()}
        launch(kernel, programs, config, **{name: inside for name, (_, inside) in pairs.items()})
        for x, (around, inside) in zip(arguments.values(), pairs.values()):
            if around is not None:
                x.data.copy_(inside)                                     # .data: nobody counts this as a change
                if inside.numel():
                    inside.fill_(around[0])
                intact = around.isnan() if x.is_floating_point() else around == 2**30
                assert intact.all(), f"{kernel.__name__} wrote outside a tensor"
        launched.append(kernel.__name__)

    monkeypatch.setattr(launches, "launch", guarded_launch)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield launched
    torch.use_deterministic_algorithms(False)


def test_the_guards_would_notice(guards):
    assert torch.empty(3).isnan().all() and inputs(B=1, T=1, H=1)[0].new_empty(3).isnan().all()
    around, inside = guarded(torch.zeros(4, 6)[:, :3])
    assert around.isnan().sum() == 2 * PAD + 3 * 3 and not inside.isnan().any()


CASES = {
    "ragged": dict(shape=dict(B=2, T=37, H=2, K=48, V=80)),
    "padded": dict(shape=dict(B=1, T=70, H=1, K=20, V=40), options=dict(chunk_size=64)),
    "variable": dict(shape=dict(B=1, T=50, H=2, K=16, V=32), ends=[0, 5, 5, 40, 50]),
    "fused": dict(shape=dict(B=1, T=37, H=2, K=48, V=16), options=dict(normalize=True, sigmoid=True),
                  judge=dict(normalize=True, sigmoid=True)),
    "segments": dict(shape=dict(B=2, T=37, H=1, K=48, V=16), options=dict(segments=2, chunk_size=16)),
    "saved": dict(shape=dict(B=1, T=37, H=1, K=16, V=16), options=dict(save_states=True)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_chunkwise_stays_inside_and_writes_everything(guards, case):
    ends, options, judge = case.get("ends"), dict(case.get("options", {})), dict(case.get("judge", {}))
    if ends:
        options["cu_seqlens"], judge["ends"] = torch.tensor(ends), ends
    tensors = inputs(sequences=len(ends) - 1 if ends else None, **case["shape"])
    compare(lambda q, k, v, beta, S: delta_rule_chunkwise(q, k, v, beta, initial_state=S, **options), tensors, **judge)
    assert {"inverse_kernel", "forward_kernel", "sweeps_kernel", "gradients_kernel"} <= set(guards)


def test_recurrent_stays_inside_and_writes_everything(guards):
    for ends in (None, [0, 3, 3, 9]):
        tensors = inputs(sequences=3 if ends else None, B=1, T=9, H=2, K=20, V=40)
        cu_seqlens = None if ends is None else torch.tensor(ends)
        compare(lambda q, k, v, beta, S: delta_rule_recurrent(q, k, v, beta, initial_state=S, cu_seqlens=cu_seqlens),
                tensors, ends=ends)
    q, k, v, beta, S = inputs(B=2, T=1, H=2, K=20, V=40)
    assert delta_rule_step(q[:, 0], k[:, 0], v[:, 0], beta[:, 0], S).isfinite().all()
    assert set(guards) == {"recurrent_kernel", "recurrent_reverse_kernel", "recurrent_replay_kernel"}


def test_a_poisoned_sequence_leaves_its_neighbors_alone():
    ends = [0, 20, 40, 60]
    q, k, v, beta, S = inputs(sequences=3, B=1, T=60, H=1, K=16, V=16)

    def run(*tensors):
        def rule(q, k, v, beta, S):
            return delta_rule_chunkwise(q, k, v, beta, initial_state=S, cu_seqlens=torch.tensor(ends))
        return everything(rule, tensors)

    clean = run(q, k, v, beta, S)
    for x in (q, k, v):
        x[:, 20:40] = float("nan")
    spoilt = run(q, k, v, beta, S)
    for a, e in zip(spoilt, clean):
        keep = [0, 2] if len(a) == 3 else None                           # states are per sequence, the rest per token
        a, e = (x[keep] if keep else torch.cat([x[:, :20], x[:, 40:]], 1) for x in (a, e))
        assert torch.equal(a, e)


@pytest.fixture(params=["reversed", "shuffled"])
def another_order(request, monkeypatch):
    """A function that from its call on makes programs run in another order than 0, 1, 2, ...,
    and returns a list of which did."""
    from triton.runtime import interpreter
    builder, natural = interpreter.interpreter_builder, interpreter.interpreter_builder.set_grid_idx

    def start():
        moved = []

        def elsewhere(x, y, z):
            n = builder.grid_dim[0]
            shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(n)).tolist()
            order = range(n - 1, -1, -1) if request.param == "reversed" else shuffled
            moved.append(order[x] != x)
            natural(order[x], y, z)

        monkeypatch.setattr(builder, "set_grid_idx", elsewhere)
        return moved
    return start


@pytest.mark.parametrize("f, T, together", [(delta_rule_chunkwise, 37, True), (delta_rule_chunkwise, 37, False),
                                            (delta_rule_recurrent, 4, True)],
                         ids=["chunkwise, sweeps side by side", "chunkwise, one sweep by one", "recurrent"])
def test_programs_can_run_in_any_order(another_order, monkeypatch, f, T, together):
    """A program that waits for another, or two that write to one place, would give something else in another order."""
    if not together:
        plan = configs.plan
        monkeypatch.setattr(configs, "plan", lambda *args: plan(*args)._replace(both=None))
    tensors = inputs(B=1, T=T, H=2, K=16, V=48)
    expected = everything(lambda q, k, v, b, S: f(q, k, v, b, initial_state=S), tensors)
    moved = another_order()
    for a, e in zip(everything(lambda q, k, v, b, S: f(q, k, v, b, initial_state=S), tensors), expected):
        assert torch.equal(a, e)
    assert sum(moved) > len(moved) / 2
