"""The last question of the race, on a GPU: how many milliseconds, beside the package, the library, and the floor?"""

import statistics

import torch

from .. import kernels
from . import delta_rule, report, timing
from .race import Verdict
from .race_judge import HALF

SHAPES = ((8, 1024, 8, 64), (4, 2048, 16, 128), (4, 4096, 64, 128), (1, 32768, 8, 128))      # B, T, H, K = V
SLOW = 5                                                                 # times the package's: worth a word


def times(f, backward, library=True, rounds=3):
    """A Verdict with milliseconds per shape: yours, the package's, the library's if it is installed, and the floor.

    bfloat16, scale 1, candidates in turn in every round, medians, the cache emptied before each call.
    """
    key = "both" if backward else "forward"
    roofs = {name: measure() for name, measure in timing.CEILINGS.items()}
    found, verdict = candidates(f, library), Verdict()
    for shape in SHAPES:
        at = delta_rule.label(shape)
        args, do = delta_rule.inputs(*shape)
        if wrong := differs(found, args, at):
            verdict.failed, verdict.why = wrong
            return verdict
        floor = 1e-6 * report.floor(at, roofs)[key][0] * shape[0] * shape[1] * shape[2]      # from ns a token and head
        verdict.times[at] = row = time_shape(found, args, do, key, rounds) | {"floor": round(floor, 4)}
        verdict.scores[f"milliseconds at {at}"] = ", ".join(f"{who} {said(value)}" for who, value in row.items())
    slow = [row["yours"] / row["the package"] for row in verdict.times.values() if timed(row, "yours", "the package")]
    if slow and max(slow) > SLOW:
        verdict.advice.append(f"It takes up to {max(slow):.0f} times as long as the package's. How many programs "
                              f"does it "
                              "start, how long is the chain of loads in one, and which products reach the tensor "
                              "cores?")
    return verdict


def differs(found, args, at):
    """(what went wrong, why) if your outputs at this shape are not those of the package, or stop the GPU; else None."""
    try:
        with torch.no_grad():
            theirs, mine = (output(found[who](*args, 1.0)).double() for who in ("the package", "yours"))
        torch.cuda.synchronize()
    except Exception as error:
        try:
            torch.cuda.synchronize()
            return None                                                  # it only cannot run: said beside the times
        except Exception:
            return f"it stops the GPU at {at}", delta_rule.failure(error)
    error = ((mine - theirs).norm() / theirs.norm()).item()
    if not error <= 2 * HALF:
        return f"wrong values at {at}", (f"Relative error {error:.2g}, and right at shorter lengths. Do offsets of "
                                         "32 bits overflow, or does something grow from chunk to chunk?")
    return None


def output(result):
    return result[0] if isinstance(result, tuple) else result


def candidates(f, library):
    """{who: f(q, k, v, beta, scale)}; yours first."""
    found = {"yours": lambda q, k, v, beta, scale: f(q, k, v, beta),
             "the package": lambda q, k, v, beta, scale: kernels.delta_rule_chunkwise(q, k, v, beta)}
    if library:
        try:
            found["fla"] = delta_rule.fla()["fla chunk"]
        except Exception:                                                # not installed, or not for this machine
            pass
    return found


def time_shape(found, args, do, key, rounds):
    """{who: milliseconds, or the first line of what was raised}."""
    measured, row = {}, {}
    for who, f in found.items():
        def run(f=f):
            if key == "both":
                return torch.autograd.grad(output(f(*args, 1.0)), args, do, allow_unused=True)
            with torch.no_grad():
                return f(*args, 1.0)
        try:
            run()                                                        # compiles
            torch.cuda.synchronize()
            measured[who] = (run, [])
        except Exception as error:
            row[who] = delta_rule.failure(error)
    for _ in range(rounds):
        for run, taken in measured.values():
            if not taken or taken[-1] <= timing.SLOW:
                taken.append(timing.milliseconds(run))
    return row | {who: round(statistics.median(taken), 4) for who, (_, taken) in measured.items()}


def timed(row, *who):
    return all(isinstance(row.get(name), float) for name in who)


def said(value):
    return f"{value:.3f}" if isinstance(value, float) else value
