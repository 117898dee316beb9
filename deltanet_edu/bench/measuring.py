"""What a clock says about a GPU, and what must not be concluded from it: the experiments of chapter 13.

Each function is one experiment, takes seconds, and returns what `results/measuring_h200.json` holds under its name.
"""

import json
import statistics
import sys
import tempfile
import time

import torch

from .. import kernels
from ..records import provenance, read_result
from . import fresh, timing
from .delta_rule import errors, inputs, label, runs

ROUNDS, SINGLE = 15, 200                                                 # of medians; of calls timed one by one
USUAL, FULL, LONG, SMALL = (4, 2048, 16, 128), (4, 4096, 64, 128), (1, 32768, 8, 128), (8, 1024, 8, 64)   # B,T,H,K


def chunkwise(shape, dtype=torch.bfloat16, **options):
    """{"forward": run, "both": run} of the package's kernels on fresh inputs."""
    args, do = inputs(*shape, dtype=dtype)
    return runs(lambda *x: kernels.delta_rule_chunkwise(*x[:4], scale=x[4], **options), args, do, shape[3] ** -0.5)


def events(run, calls=1):
    """Milliseconds between two marks in the GPU's queue, with so many calls between them."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / calls


def on_host(run, wait):
    """Milliseconds of one call by the clock of the CPU, with or without waiting for the GPU."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if wait:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


def median(measure):
    return round(statistics.median(measure() for _ in range(ROUNDS)), 5)


def product(n, make=torch.randn):
    a, b = (make(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return lambda: a @ b


# -- clocks ------------------------------------------------------------------------------------------------------------

def waiting():
    """{n: milliseconds of an n x n x n product}: by the host's clock without and with waiting, and by events."""
    found = {}
    for n in (256, 512, 1024, 2048, 4096, 8192):
        run = product(n)
        run()
        found[n] = {"without waiting": median(lambda: on_host(run, wait=False)),
                    "waiting": median(lambda: on_host(run, wait=True)), "events": median(lambda: events(run, 20))}
    return found


def first_calls(calls=12):
    """Milliseconds of the first calls of the chunkwise kernels in a new process, nothing compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        return fresh.finish(fresh.start_module(__name__, [str(calls)], TRITON_CACHE_DIR=cache))


def cache():
    """{megabytes of the array: TB/s of its copy}, right after the last copy, and with an L2 cache emptied before."""
    found = {}
    for megabytes in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        x = torch.ones(megabytes << 20, dtype=torch.uint8, device="cuda")
        y, moved = torch.empty_like(x), 2 * x.nbytes / 1e9
        replay = timing.graph(lambda: [y.copy_(x) for _ in range(10)]).replay       # and no host between them
        warm = median(lambda: events(replay)) / 10
        once = timing.graph(lambda: y.copy_(x)).replay
        found[megabytes] = {"warm": round(moved / warm, 3), "cold": round(moved / timing.milliseconds(once), 3)}
    return found


def cache_of_kernels():
    """{shape: milliseconds of the forward pass}, as a CUDA graph, with a cache as the last call left it, and empty."""
    found = {}
    for shape in (SMALL, USUAL, FULL):
        replay = timing.graph(chunkwise(shape)["forward"]).replay
        found[label(shape)] = {"warm": median(lambda: events(replay, 10)),
                               "cold": round(timing.milliseconds(replay), 5)}
    return found


def noise():
    """{how: milliseconds of single forward passes, one after the other}, eager and as a CUDA graph."""
    run = chunkwise(USUAL)["forward"]
    replay = timing.graph(run).replay
    return {name: [round(events(f), 4) for _ in range(SINGLE)] for name, f in (("eager", run), ("graph", replay))}


def pause(seconds=3.0):
    """[[seconds since the first call, TFLOP/s]] of products of 8192 x 8192 matrices after a pause, each by events."""
    run, n, found = product(8192), 8192, []
    run()
    torch.cuda.synchronize()
    time.sleep(2)
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        found.append([round(now, 4), round(2e-9 * n**3 / events(run), 1)])
    return found[:20] + found[20::20]


def data():
    """{what the matrices hold: TFLOP/s of a product of 8192 x 8192}, after a second of the same."""
    kinds = {"zeros": torch.zeros, "ones": torch.ones, "random": torch.randn}
    found = {}
    for name, make in kinds.items():
        run = product(8192, make)
        events(run, 600)
        found[name] = round(2e-9 * 8192**3 / events(run, 200), 1)
    return found


# -- what is measured with them ----------------------------------------------------------------------------------------

def host():
    """{T: milliseconds of the forward pass and of both}, one row of 8 heads of 64: eager calls, and as CUDA graphs.
    "both, one thread": eager, but autograd may not run the backward pass on a thread of its own. All take turns, since
    a host is faster in one second than in the next."""
    ways = {}
    for T in (128, 512, 2048, 8192, 32768, 131072):
        for name, run in chunkwise((1, T, 8, 64)).items():
            run()
            ways[T, name], ways[T, f"graph {name}"] = run, timing.graph(run).replay
        ways[T, "both, one thread"] = in_one_thread(run)
    times = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, run in ways.items():
            times[way].append(events(run, 10))
    found = {}
    for (T, name), ms in times.items():
        found.setdefault(T, {})[name] = round(statistics.median(ms), 5)
    return found


def in_one_thread(run):
    """run(), where backward passes stay in the caller's thread."""
    def alone():
        with torch.autograd.set_multithreading_enabled(False):
            run()
    return alone


def by_kernel():
    """{shape: {pass: [[kernel, milliseconds], ...]}}, each launch timed alone, again and again."""
    from ..kernels import launches
    from .tune import recording

    found = {}
    for shape in (USUAL, FULL, LONG):
        found[label(shape)] = {}
        for name, run in chunkwise(shape).items():
            run()
            with recording() as recorded:
                run()
            found[label(shape)][name] = [
                [args[0].fn.__name__, round(timing.milliseconds(lambda: launches.launch(*args, **named), budget=30), 5)]
                for args, named in recorded]
    return found


def precision():
    """{precision of products: {"ms": of a forward pass as a CUDA graph, "ordinary": error of o, "repeated": with
    repeated keys}}."""
    ways = {"float32, ieee": (torch.float32, "ieee"), "float32, tf32x3": (torch.float32, "tf32x3"),
            "float32, tf32": (torch.float32, "tf32"), "float16": (torch.float16, "tf32"),
            "bfloat16": (torch.bfloat16, "tf32")}
    found = {}
    for name, (dtype, precision) in ways.items():
        def rule(q, k, v, beta, scale):
            return kernels.delta_rule_chunkwise(q, k, v, beta, scale=scale, precision=precision)
        ms = timing.milliseconds(timing.graph(chunkwise(USUAL, dtype, precision=precision)["forward"]).replay)
        found[name] = {"ms": round(ms, 4)}
        for kind, options in {"ordinary": {}, "repeated": dict(repeated=True, beta_max=2.0)}.items():
            found[name][kind] = errors((2, 1000, 8, 128), {"rule": rule}, dtype=dtype, **options)["rule"]["o"]
    return found


def segments():
    """{shape: {P: milliseconds of a forward pass in P segments}}, as CUDA graphs."""
    found = {}
    for shape in (LONG, (1, 16384, 4, 128), (2, 16384, 16, 128), FULL):
        found[label(shape)] = {}
        for P in (1, 2, 4, 8, 16, 32):
            replay = timing.graph(chunkwise(shape, segments=P)["forward"]).replay
            found[label(shape)][P] = round(timing.milliseconds(replay), 4)
    return found


def tiles():
    """{shape: {"rows of the memory in a program, warps": milliseconds of the forward kernel}}; null: cannot run."""
    from ..kernels import configs
    from .tune import time_of

    found = {}
    for shape in (FULL, (2, 16384, 16, 128)):
        B, _, H, K = shape
        plan = configs.plan(K, K, torch.bfloat16, B * H, configs.device(0))
        found[label(shape)] = {}
        for v_tile in (16, 32, 64, 128):
            for warps in (4, 8):
                ms = time_of(shape, "bfloat16", plan, "forward", configs.Config(v_tile, warps, 3))
                found[label(shape)][f"{v_tile}, {warps}"] = round(ms, 4) if ms < float("inf") else None
    return found


def chunk_lengths():
    """{C: milliseconds of a forward pass}."""
    return {C: round(timing.milliseconds(chunkwise(FULL, chunk_size=C)["forward"]), 4) for C in (16, 32, 64)}


def roofs():
    """{"byte/s": of a copy, "flop/s": of a product in bfloat16}."""
    return {name: measure() for name, measure in timing.CEILINGS.items()}


EXPERIMENTS = (roofs, waiting, first_calls, cache, cache_of_kernels, noise, pause, data, host, by_kernel, precision,
               segments, tiles, chunk_lengths)


STORED = "measuring_h200"                        # results/measuring_h200.json


def experiment(name, afresh=True):
    """(what an experiment finds, where and when): measured now if there is a GPU, else as recorded; (None, why not)
    without either. Keys are strings, as in JSON. afresh=False: as recorded in any case, for what takes long."""
    if afresh and torch.cuda.is_available() and not kernels.why_not("cuda", torch.bfloat16):
        found = {f.__name__: f for f in EXPERIMENTS}[name]()
        return json.loads(json.dumps(found)), f"{about(provenance(''))}, measured now."
    stored = read_result(STORED)
    found = (stored or {}).get("experiments", {}).get(name)
    if found is None or "failure" in found:
        return None, f"There is no measurement here: no GPU, and no results/{STORED}.json with {name!r} in it."
    return found, f"{about(stored)}, deltanet-edu bench measuring."


def about(measured):
    """Where and when, in a line: GPU, versions, date."""
    versions = {"PyTorch": measured["versions"]["torch"], "Triton": measured["versions"].get("triton", "")}
    named = ", ".join(f"{name} {version.partition('+')[0]}" for name, version in versions.items() if version)
    return f"{measured['machine'].get('gpu', measured['machine']['processor'])}, {named}, {measured['date']}"


def main(calls):
    """Prints the milliseconds of the first calls in this process, the host waiting after each."""
    run = chunkwise(USUAL)["forward"]
    print(json.dumps([round(on_host(run, wait=True), 4) for _ in range(int(calls))]))


if __name__ == "__main__":
    main(*sys.argv[1:])
