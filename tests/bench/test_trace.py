"""The watcher of kernels: it counts right, sees what a GPU would not forgive, and finds nothing where nothing is."""

import importlib.util
import os

import pytest
import torch

if importlib.util.find_spec("triton") is None or torch.cuda.is_available():
    pytest.skip("watched is what runs in the interpreter, on a machine without a GPU", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"                                     # read when a kernel is decorated

import triton
import triton.language as tl

from deltanet_edu.bench.trace import OutOfBounds, Trace, why_not


@triton.jit
def add_kernel(x, y, o, n, B: tl.constexpr, MASK_LOAD: tl.constexpr, MASK_STORE: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    inside = i < n
    s = tl.load(x + i, mask=inside | (not MASK_LOAD)) + tl.load(y + i, mask=inside, other=0)
    tl.store(o + i, s, mask=inside | (not MASK_STORE))


@triton.jit
def accumulate_kernel(x, o, B: tl.constexpr, ATOMIC: tl.constexpr):
    i = tl.arange(0, B)
    row = tl.load(x + tl.program_id(0) * B + i)
    if ATOMIC:
        tl.atomic_add(o + i, row)
    else:
        tl.store(o + i, tl.load(o + i) + row)


@triton.jit
def neighbor_kernel(x, n):
    i = tl.program_id(0)
    tl.store(x + i, tl.load(x + i + 1, mask=i + 1 < n, other=0.0))


@triton.jit
def rows_kernel(x, o, stride, K: tl.constexpr):
    i = tl.program_id(0)
    tl.store(o + i, tl.sum(tl.load(x + i * stride + tl.arange(0, K))))


def add(x, y, o, MASK_LOAD=True, MASK_STORE=True):
    add_kernel[(triton.cdiv(len(x), 16),)](x, y, o, len(x), 16, MASK_LOAD, MASK_STORE)


def numbers(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_bytes_and_who_touches_what():
    x, y, o = numbers(37), numbers(37), torch.full((37,), torch.nan)
    with Trace() as seen:
        add(x, y, o)
    assert torch.equal(o, x + y)
    assert (seen.loaded, seen.stored, seen.faults) == (2 * 37 * 4, 37 * 4, [])
    (launch,) = seen.launches
    assert (launch.kernel, launch.grid, list(launch.tensors)) == ("add_kernel", (3, 1, 1), ["x", "y", "o"])
    assert torch.equal(launch.tensors["o"].stored_by, torch.arange(37, dtype=torch.int32) // 16)
    assert torch.equal(launch.tensors["x"].loaded_by, torch.arange(37, dtype=torch.int32) // 16)
    assert (launch.tensors["x"].stored_by == -1).all() and launch.tensors["y"].loaded == 37 * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8, torch.float64])
def test_bytes_follow_the_dtype(dtype):
    x = torch.ones(20, dtype=dtype)
    with Trace() as seen:
        add(x, x, torch.empty_like(x))
    assert seen.loaded == 2 * seen.stored == 2 * 20 * x.itemsize


def test_a_missing_mask_is_named_before_it_does_harm():
    x = numbers(37)
    with pytest.raises(OutOfBounds, match=r"add_kernel, program 2: a load of x, of shape \(37,\), goes 11 past"):
        with Trace():
            add(x, x.clone(), torch.empty(37), MASK_LOAD=False)
    with pytest.raises(OutOfBounds, match="program 2: a store to o, .* goes 11 past its last number"):
        with Trace():
            add(x, x.clone(), torch.empty(37), MASK_STORE=False)


def test_gaps_between_rows_belong_to_something_else():
    whole = numbers(8, 6)
    with pytest.raises(OutOfBounds, match=r"a load of x, of shape \(8, 3\), goes between its rows"):
        with Trace():
            rows_kernel[(8,)](whole[:, :3], torch.empty(8), 6, 4)
    o = torch.empty(8)
    with Trace() as seen:
        rows_kernel[(8,)](whole[:, 1:5], o, 6, 4)
    assert torch.allclose(o, whole[:, 1:5].sum(1)) and seen.loaded == 8 * 4 * 4


def test_a_race_that_the_interpreter_hides():
    x, o = numbers(4, 16), torch.zeros(16)
    with Trace() as seen:
        accumulate_kernel[(4,)](x, o, 16, False)
    assert torch.allclose(o, x.sum(0)), "right here, and wrong on a GPU"
    said = [str(race) for race in seen.faults]
    assert "accumulate_kernel: programs 0 and 1 meet at o[0]: both write." in said
    assert "accumulate_kernel: programs 0 and 1 meet at o[0]: one reads what the other writes." in said


def test_atomic_additions_are_no_race():
    x, o = numbers(4, 16), torch.zeros(16)
    with Trace() as seen:
        accumulate_kernel[(4,)](x, o, 16, True)
    assert torch.allclose(o, x.sum(0)) and seen.faults == []
    assert seen.stored == 4 * 16 * 4 and seen.loaded == 2 * seen.stored


@triton.jit
def mixed_kernel(o, WAY: tl.constexpr):
    i = tl.arange(0, 16)
    if tl.program_id(0) == 1:
        if WAY == "store":
            tl.store(o + i, 1.0)
        if WAY == "load":
            tl.store(o + 16 + i, tl.load(o + i))
    else:
        tl.atomic_add(o + i, 1.0)


@pytest.mark.parametrize("way, said", [("store", "one stores what the other adds to"),
                                       ("load", "one reads what the other adds to")])
def test_an_addition_and_a_plain_access_are_a_race(way, said):
    for programs in (2, 3):
        with Trace() as seen:
            mixed_kernel[(programs,)](torch.zeros(32), way)
        assert f"mixed_kernel: programs 0 and 1 meet at o[0]: {said}." in map(str, seen.faults)


@triton.jit
def square_kernel(x, o, PRECISION: tl.constexpr):
    at = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    a = tl.load(x + at)
    tl.store(o + at, tl.dot(a, a) if PRECISION == "" else tl.dot(a, a, input_precision=PRECISION))


@pytest.mark.parametrize("precision, noted", [("", "TF32"), ("ieee", "IEEE"), ("tf32x3", "TF32X3")])
def test_the_precision_of_products_is_noted(precision, noted):
    with Trace() as seen:
        square_kernel[(1,)](numbers(16, 16), torch.empty(16, 16), precision)
    assert seen.launches[0].precisions == {noted}


def test_whether_there_was_a_mask_at_all():
    with pytest.raises(OutOfBounds, match="It has no mask") as bare, Trace():
        square_kernel[(1,)](numbers(15, 16), torch.empty(16, 16), "ieee")
    assert bare.value.bare == "x"
    with pytest.raises(OutOfBounds, match="A mask is missing or lets too much in") as masked, Trace():
        add(numbers(37), numbers(37), torch.empty(37), MASK_STORE=False)
    assert masked.value.evidence.tolist() == list(range(4 * 32, 4 * 48, 4))          # all of the tile, in bytes
    assert masked.value.bare == ""


def test_a_program_that_reads_what_a_later_one_writes():
    with Trace() as seen:
        neighbor_kernel[(5,)](numbers(5), 5)
    (race,) = seen.faults
    assert not race.writes and race.programs == (0, 1) and race.index == (1,)


def test_a_load_of_what_nobody_has_stored():
    nothing, x, o = torch.full((37,), torch.nan), numbers(37), torch.empty(37)
    with Trace() as seen:
        add(x, nothing, o)
    assert seen.unfilled == "add_kernel, program 0: y[0] is loaded before anybody has stored it"
    with Trace() as seen:                                                # NaN that a launch has stored is a result
        add(x, torch.full((37,), torch.inf), o)
        add(o, torch.full((37,), -torch.inf), o)
        add(x, o, x)
    assert x.isnan().all() and seen.unfilled == ""


def test_input_and_output_may_be_one_tensor():
    x = numbers(37)
    expected = x + x
    with Trace() as seen:
        add(x, x, x)
    assert torch.equal(x, expected) and seen.faults == [] and seen.stored == 37 * 4


def test_programs_are_named_by_the_dimensions_of_the_grid():
    @triton.jit
    def everywhere_kernel(o):
        tl.store(o, tl.program_id(1).to(tl.float32))

    with Trace() as seen:
        everywhere_kernel[(2, 3)](torch.zeros(1))
    assert seen.faults[0].programs == ((0, 0), (0, 1))


def test_afterwards_nothing_is_watched_and_errors_are_the_kernels_own():
    from triton.runtime import interpreter

    before = (interpreter.GridExecutor.__call__, dict(vars(interpreter.interpreter_builder)))
    with pytest.raises(Exception, match="this is the kernel's"):
        with Trace():
            @triton.jit
            def broken_kernel(o):
                raise ValueError("this is the kernel's")

            broken_kernel[(1,)](torch.zeros(1))
    after = (interpreter.GridExecutor.__call__, dict(vars(interpreter.interpreter_builder)))
    assert before[0] is after[0] and before[1].keys() == after[1].keys()


def test_the_kernels_of_the_package_stay_inside_and_never_meet():
    from deltanet_edu.kernels import delta_rule_chunkwise

    T, K, V = 37, 48, 80
    k = torch.nn.functional.normalize(numbers(1, T, 2, K), dim=-1).requires_grad_()
    v, beta = numbers(1, T, 2, V).requires_grad_(), torch.rand(1, T, 2).requires_grad_()
    with Trace() as seen:
        o, _ = delta_rule_chunkwise(k, k, v, beta)
        o.sum().backward()
    assert seen.faults == [] and len(seen.launches) >= 4
    floor = (2 * k.numel() + v.numel() + beta.numel()) * 4
    assert floor <= seen.loaded < 40 * floor
    assert torch.isfinite(k.grad).all()


def test_another_triton_is_named(monkeypatch):
    from triton.runtime import interpreter

    assert why_not() == ""
    monkeypatch.delattr(interpreter.InterpreterBuilder, "create_masked_load")
    assert "create_masked_load is gone" in why_not()
    with pytest.raises(RuntimeError, match="take one of those"):
        Trace()
