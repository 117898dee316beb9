"""How long a call keeps the GPU, how long it keeps the host, what it holds in memory; and the roofs of the GPU."""

import statistics
import time

import torch

SLOW = 20.0                  # ms; a longer call is measured once, which says enough


def milliseconds(run, budget=60):
    """The median over about `budget` ms of repetitions, the L2 cache emptied before each; a slow call runs once."""
    import triton

    run()                                                                # compiles, if it has to
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    once = start.elapsed_time(end)
    return once if once > SLOW else triton.testing.do_bench(run, warmup=10, rep=budget, return_mode="median")


def graph(run):
    """A CUDA graph of run(): its launches, recorded once, start together without the host."""
    side, now, recorded = torch.cuda.Stream(), torch.cuda.current_stream(), torch.cuda.CUDAGraph()
    side.wait_stream(now)
    with torch.cuda.stream(side):                                        # as PyTorch asks for before a capture
        for _ in range(3):
            run()
    now.wait_stream(side)
    with torch.cuda.graph(recorded):
        run()
    return recorded


def host_microseconds(run, calls=20, rounds=15):
    """The wall time of one call without waiting for the GPU, the median of `rounds` times `calls` calls in a row.

    Few enough calls that the queue of launches never fills; a full one would make the host wait for the GPU after all.
    """
    run()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    torch.cuda.synchronize()
    return 1e6 * statistics.median(times)


def memory(forward, backward):
    """(bytes held between the passes, peak bytes of both), on top of what is there before, as they were asked for: the
    allocator's blocks are up to a megabyte larger. Outputs are not held."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = requested("current")
    outputs = forward()
    held = requested("current") - before - sum(x.nbytes for x in outputs if x is not None)
    backward(outputs)
    return held, requested("peak") - before


def requested(when):
    """Bytes that were asked of the allocator, "current" or at the "peak"."""
    return torch.cuda.memory_stats()[f"requested_bytes.all.{when}"]


def copy_rate(gigabytes=2):
    """Bytes per second of a copy on this GPU, read and written ones counted."""
    x = torch.ones(gigabytes << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    return 2 * x.nbytes / fastest(lambda: y.copy_(x))


def product_rate(n=8192):
    """FLOPs per second of an n x n x n product in bfloat16."""
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / fastest(lambda: a @ b)


def fastest(run):
    import triton

    return 1e-3 * triton.testing.do_bench(run, warmup=10, rep=60, return_mode="min")


CEILINGS = {"byte/s": copy_rate, "flop/s": product_rate}                 # the two roofs of a GPU
