"""The interpreter made quicker: each part fits this Triton, what it computes and checks stays, and all is put back."""

import pytest
import torch

pytest.importorskip("triton")
if torch.cuda.is_available():
    pytest.skip("kernels run in the interpreter, on a machine without a GPU", allow_module_level=True)

import triton
import triton.language as tl
from triton.runtime import interpreter

from deltanet_edu.bench.trace import OutOfBounds, Trace
from deltanet_edu.kernels.interpreter import patched, quicker


@triton.jit
def twice(x):
    return x + x


@triton.jit
def sum_kernel(x_ptr, o_ptr, step, N: tl.constexpr):
    at = tl.arange(0, N) * step
    x = tl.load(x_ptr + at)
    tl.store(o_ptr + tl.arange(0, N), tl.where(x > 0, twice(x), 0.0) + tl.sum(tl.dot(x[:, None] * x, x[:, None] * x)))


def run(step=1):
    x, o = torch.arange(16.0) - 5, torch.zeros(16)
    sum_kernel[(1,)](x, o, step, N=16)
    return o


def test_every_part_fits_this_triton():
    """If one does not: what it replaces has another name or another inside now, and checks take longer."""
    with quicker():
        assert sorted(part.__name__ for part in patched) == [
            "blocks_once", "builtins_once", "dtypes_once", "language_once", "no_idle_checks", "shapes_once"]


def test_numbers_stay():
    x = torch.arange(16.0) - 5
    expected = torch.where(x > 0, 2 * x, 0) + (torch.outer(x, x) @ torch.outer(x, x)).sum()
    for _ in range(2):                                                   # what is kept from the first launch, too
        assert torch.equal(run(), expected)
        with Trace():
            assert torch.equal(run(), expected)


def test_an_offset_that_overflows_is_found_all_the_same():
    with Trace(), pytest.raises(OutOfBounds):
        run(2**30)


def test_an_error_in_a_function_that_a_kernel_calls_leaves_the_language_as_it_was():
    @triton.jit
    def fails(x):
        return x.no_such_name

    before = tl.load, tl.tensor.__add__, interpreter._patch_lang
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_name"), Trace():
            kernel = triton.jit(calling)
            kernel[(1,)](torch.zeros(16), fails)
    assert (tl.load, tl.tensor.__add__, interpreter._patch_lang) == before


def calling(x_ptr, f: tl.constexpr):
    tl.store(x_ptr, f(tl.load(x_ptr)))
