"""Where a table of configurations comes from: every configuration worth a try, each kernel by itself, on this GPU."""

import itertools
import math
from contextlib import contextmanager

import torch

from . import timing
from .delta_rule import both_passes, inputs
from .verify import picking

GAIN = 0.03          # a configuration replaces the table's only if it takes so much less: smaller differences are noise
# Not tried, and left as in the table: `group`, `groups`, `segment`; and `saving`, for those who ask for save_states
TILES = {"forward": (16, 32, 64, 128), "both": (32, 64, 128), "sweep": (32, 64, 128), "back": (32, 64, 128),
         "gradients": (32, 64, 128)}
STAGES = {"forward": (1, 2, 3, 4), "gradients": (1, 2, 3, 4)}


def usual_shapes(multiprocessors):
    """Per head width one shape that leaves half the GPU idle and one that fills it several times over."""
    for D in (64, 128, 256):
        tiles = D // 64
        yield 1, 4096, max(1, multiprocessors // (2 * tiles)), D
        yield 4, 2048, max(1, multiprocessors // tiles), D


def tries(field, D):
    """The configurations to try for one field of a Plan."""
    from ..kernels.configs import Config

    return [Config(*c) for c in itertools.product(TILES[field], (4, 8), STAGES.get(field, (1, 2, 3)))
            if c[0] <= max(64, D)]


@contextmanager
def recording():
    """Within, a list of all launches: ((kernel, programs, configuration), arguments by name)."""
    from ..kernels import launches

    recorded, launch = [], launches.launch

    def record(*args, **arguments):
        recorded.append((args, arguments))
        launch(*args, **arguments)
    launches.launch = record
    try:
        yield recorded
    finally:
        launches.launch = launch


def time_of(shape, dtype, plan, field, config):
    """Milliseconds of all launches that one field of the plan configures, in both passes; infinite if it cannot run.

    The sequences stay whole: those that are cut into segments look like many heads, and have the row of many.
    """
    from .. import kernels
    from ..kernels import configs, launches

    mine = configs.Config(*config)                                       # a new object: launches are known by it
    alone = {"sweep": {"both": None}, "back": {"both": None}, "gradients": {"group": 1}}.get(field, {})
    plan = plan._replace(**{field: mine}, **alone)
    args, do = inputs(*shape, dtype=getattr(torch, dtype))
    try:
        with picking(plan), recording() as recorded:
            both_passes(lambda *x: kernels.delta_rule_chunkwise(*x[:4], scale=x[4], segments=1), args, do,
                        shape[-1] ** -0.5)
        own = [(args, arguments) for args, arguments in recorded if args[2] is mine]

        def run():
            for args, arguments in own:
                launches.launch(*args, **arguments)
        return timing.milliseconds(run, budget=30) if own else math.inf
    except Exception:                                            # too much shared memory, more registers than there are
        return math.inf


def jobs(D, plan):
    """[(field, configuration)]: all that is tried for one row, the table's own choice included."""
    fields = [field for field in TILES if field in plan._fields]
    return [(field, config) for field in fields
            for config in dict.fromkeys(filter(None, (getattr(plan, field), *tries(field, D))))]


def best_plan(plan, times):
    """The plan with the fastest configurations of {(field, configuration): ms}, where they gain enough over its own."""
    best = {}
    for field in dict.fromkeys(field for field, _ in times):
        mine = {config: ms for (f, config), ms in times.items() if f == field}
        fastest, used = min(mine, key=mine.get), getattr(plan, field)
        if mine[fastest] == math.inf:
            raise RuntimeError(f"no configuration of {field!r} runs on this GPU. "
                               "What does this say? deltanet-edu bench verify")
        best[field] = used if used and mine[used] * (1 - GAIN) <= mine[fastest] else fastest
    together, apart = times["both", best["both"]], times["sweep", best["sweep"]] + times["back", best["back"]]
    if apart <= together * (1 + GAIN if plan.both is None else 1 - GAIN):
        best["both"] = None
    return plan._replace(**best)


def measure(shapes, dtype, plan, progress=lambda jobs: jobs):
    """{(field, configuration): ms}, the geometric mean over shapes that share a row."""
    def over_shapes(field, config):
        return math.exp(sum(math.log(time_of(shape, dtype, plan, field, config)) for shape in shapes) / len(shapes))
    return {job: over_shapes(*job) for job in progress(jobs(shapes[0][3], plan))}


def compile_ahead(shapes, dtype, plan, processes, progress=lambda jobs, total: jobs):
    """The same, in processes side by side, for the compiler's cache alone: the times mean nothing."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    B, T, H, D = shapes[0]
    short = B, min(T, 256), H, D                   # compiled code does not depend on the length, the memory needed does
    todo = [(short, dtype, plan, field, config) for field, config in jobs(D, plan)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(progress(pool.map(time_of, *zip(*todo)), len(todo)))


def row(plan, times):
    """What is stored: {"plan": the best, "milliseconds": {field: [with the table's configuration, with the best]}}."""
    best = best_plan(plan, times)
    return {"plan": {field: list(value) if isinstance(value, tuple) else value
                     for field, value in best._asdict().items()},
            "milliseconds": {field: [round(times[field, c], 4) if c else None
                                     for c in (getattr(plan, field), getattr(best, field))]
                             for field in dict.fromkeys(field for field, _ in times)}}


def describe(key, stored):
    """Lines of one row: kernel by kernel, the configuration and what it gains."""
    yield f"{key}"
    for field, (before, after) in stored["milliseconds"].items():
        tile = stored["plan"][field]
        chosen = "v_tile {:>3}, warps {}, stages {}".format(*tile) if tile else "in two launches"
        measured = f"{before:.3f} -> {after:.3f} ms" if before and after else "not as in the table"
        gain = "as in the table" if before == after else measured
        yield f"  {field:<12}{chosen:<32}{gain}"
