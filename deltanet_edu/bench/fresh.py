"""Processes of their own: to time a first call with nothing compiled before,
and to compile for many shapes side by side.

    python -m deltanet_edu.bench.fresh chunkwise 4,2048,16,128       (names and shapes, each separated by semicolons)

runs each candidate once, forward and backward, on each shape and prints the seconds as JSON. With a third argument,
"compile", configurations that a library searches among are compiled, not timed.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
# A search whose candidates disturb each other must leave no trace: only what is compiled is kept.
NO_SEARCH_KEPT = dict(FLA_CACHE_RESULTS="0", FLA_CACHE_MODE="disabled", TRITON_CACHE_AUTOTUNING="0")
BY_LENGTH = ("chunkwise", "FlashQLA")                               # have kernels that only long sequences call


def start(names, shapes, *how, **environment):
    arguments = ";".join(names), ";".join(",".join(map(str, shape)) for shape in shapes), *how
    return start_module(__name__, arguments, **environment)


def start_module(name, arguments, **environment):
    """A new process that runs this module of the package."""
    path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen([sys.executable, "-m", name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "PYTHONPATH": path, **environment})


def finish(process):
    """What the process printed; its error if it failed.
    A process that is still running when this one is interrupted is ended."""
    try:
        out, error = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        why = error.strip().splitlines()[-1] if error.strip() else process.returncode
        raise RuntimeError(f"a measuring process failed: {why}")
    return json.loads(out.strip().splitlines()[-1])


def first_calls(names, shape):
    """{name: seconds from the inputs to the gradients}, each in a new process with an empty compiler cache."""
    seconds = {}
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            seconds |= finish(start([name], [shape], TRITON_CACHE_DIR=cache))
    return {name: round(s, 2) for name, s in seconds.items()}


def compile_all(names, shapes):
    """Fill the compiler's cache for these shapes, side by side,
    so that what is measured afterwards need not wait for it."""
    short = sorted({(B, min(T, 256), H, D) for B, T, H, D in shapes})

    def for_each_width(names, shapes):
        """A job for each name, number of heads and head width."""
        pairs = sorted({s[2:] for s in shapes})
        return [([name], [s for s in shapes if s[2:] == pair]) for name in names for pair in pairs]
    recurrent = [name for name in names if "recurrent" in name]        # the library compiles these for every batch size
    others = [name for name in names if name not in (*BY_LENGTH, *recurrent)]
    jobs = (for_each_width([name for name in names if name in BY_LENGTH], shapes) + for_each_width(others, short)
            + [(recurrent, [s]) for s in short if recurrent])

    def run(job):
        try:
            finish(start(*job, "compile", **NO_SEARCH_KEPT))
        except RuntimeError as error:                              # then it is compiled while measuring, or fails there
            return f"not compiled ahead: {job}: {error}"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(filter(None, pool.map(run, jobs)))


def run_once(call, quantiles=None, **_):
    """In place of Triton's do_bench: a configuration that does not compile still raises."""
    call()
    return 1.0 if quantiles is None else [1.0] * len(quantiles)


def main(names, shapes, how=None):
    from .delta_rule import able, candidates, first_call

    if how == "compile":
        from triton import testing
        testing.do_bench = run_once
    found = {name: f for name, f in candidates()[0].items() if name in names}
    print(json.dumps({name: first_call(f, shape) for shape in shapes for name, f in able(found, shape).items()}))


if __name__ == "__main__":
    main(sys.argv[1].split(";"), [tuple(map(int, shape.split(","))) for shape in sys.argv[2].split(";")], *sys.argv[3:])
