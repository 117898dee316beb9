"""What a machine can do at most, and what a call asks of it: seconds, bytes moved, bytes kept for the backward pass."""

import time

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# CPU time of this thread, so that other programs do not count; the ordinary clock where that is too coarse (Windows)
CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter


def seconds(f, *, at_least=0.2):
    """Time of f() on one CPU core, the shortest of several runs of together `at_least` seconds."""
    from torch.utils.benchmark import Timer         # here: on machines with CUDA but no GPU its import prints a warning

    timer = Timer("f()", globals={"f": f}, num_threads=1, timer=CLOCK)
    return min(timer.blocked_autorange(min_run_time=at_least).times)


def ceilings(n=512, megabytes=64, *, at_least=0.5):
    """The two roofs of one CPU core: {"flop/s": of an n x n x n product in float32, "byte/s": of a copy,
    bytes read and written}."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    x = torch.ones(megabytes * 2**20, dtype=torch.uint8)
    y = torch.empty_like(x)
    return {"flop/s": 2 * n**3 / seconds(lambda: a @ b, at_least=at_least),
            "byte/s": 2 * x.nbytes / seconds(lambda: y.copy_(x), at_least=at_least)}


def size(x):
    """Bytes of the entries of x that differ in address: a broadcast dimension (stride 0) is one entry."""
    return x.element_size() * torch.Size(n for n, stride in zip(x.shape, x.stride()) if stride).numel()


class Traffic(TorchDispatchMode):
    """Adds up what each operation reads and writes. Views move nothing."""

    bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if not (operation.is_view or operation is torch.ops.aten._unsafe_view.default):
            self.bytes += sum(size(x) for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor))
        return result


def traffic(f, *args, **options):
    """Bytes that the operations of f(*args, **options) read and write, one after the other, as PyTorch runs them."""
    with Traffic() as counter:
        f(*args, **options)
    return counter.bytes


def kept(f, *args, **options):
    """Bytes that autograd holds after f(*args, **options) until the backward pass; memory held twice counts once."""
    storages = {}

    def pack(x):
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        result = f(*args, **options)                                     # alive while counting: an address is used once
    del result
    return sum(storages.values())
