"""Are the kernels right on this GPU? Every row of the table, not just those that it picks, against float64.

A compiler can be wrong about one head width and right about the next, so nothing is inferred from one case to another.
"""

import time
from contextlib import contextmanager
from typing import NamedTuple

import torch

from . import judge

# Relative error of each result as a whole. With two keys that come again and again, and beta up to 2, errors grow
# before they fade.
TOLERANCE = {"bfloat16": 1e-2, "float16": 2e-3, "float32": 1e-5}
HARD = 5.0
HEADS = {64: [(64, 64), (16, 48)], 128: [(128, 128), (96, 64), (64, 128)], 256: [(256, 256), (144, 256)]}   # (K, V)s
ENDS = (0, 64, 64, 65, 300)                                              # sequences of 64, 0, 1 and 235 tokens


class Case(NamedTuple):
    row: str                 # of the table, "FEW 64"; "": the one that the table picks
    dtype: str
    K: int
    V: int
    T: int = 300
    keys: str = "unit"
    beta_max: float = 1.0
    form: str = "chunkwise"  # or "recurrent", "decoding"
    options: tuple = ()      # of the form, as pairs; ("ends", ...) for variable lengths
    B: int = 2
    H: int = 3

    def __str__(self):
        keys = "" if (self.keys, self.beta_max) == ("unit", 1.0) else f"{self.keys} keys, beta up to {self.beta_max:g}"
        options = ", ".join(name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {value}"
                            for name, value in self.options)
        what = ", ".join(filter(None, (self.form, keys, options)))
        return f"{self.row or 'as picked':<12}{self.dtype:<10}{self.K:>4}{self.V:>5}{self.T:>6}  {what}"

    def tolerance(self):
        hard = self.keys == "repeated" and self.beta_max > 1 and self.dtype != "float32"
        return TOLERANCE[self.dtype] * (HARD if hard else 1)


def rows():
    """{"FEW 64": plan, ...}: every row of every table in kernels/configs.py."""
    from ..kernels import configs

    tables = {name: table for name, table in vars(configs).items() if isinstance(table, dict)}
    return {f"{name} {width}": plan for name, table in tables.items()
            for width, plan in table.items() if isinstance(plan, configs.Plan)}


def cases():
    """All that this device can run, by row, dtype, widths, lengths, keys and options."""
    from ..kernels import configs, why_not

    dtypes = [name for name in TOLERANCE if not why_not(judge.DEVICE, getattr(torch, name))]
    small = configs.device(0 if judge.DEVICE == "cuda" else None).shared < 227 * 1024
    for row in rows():
        table, width = row.split()
        if small and table not in ("NARROW", "FLOAT32"):
            continue                                                     # does not fit, and is never picked
        for dtype in dtypes:
            if (table == "FLOAT32") == (dtype == "float32"):
                for K, V in HEADS[int(width)]:
                    yield from (Case(row, dtype, K, V, options=options) for options in ((), (("save_states", True),)))
                    if rows()[row].group > 1:                            # enough programs for groups of 4, and of 16
                        yield from (Case(row, dtype, K, V, T, H=40) for T in (300, 1100))
                        yield Case(row, dtype, K, V, 1100, H=40, options=(("normalize", True),))
    for dtype in dtypes:
        for K, V in ((64, 64), (128, 96)):
            yield from (Case("", dtype, K, V, keys=keys, beta_max=beta, H=2)
                        for keys in ("repeated", "zero") for beta in (1.0, 2.0))
        yield from (Case("", dtype, 64, 128, T) for T in (1, 17, 64, 1000))
        yield Case("", dtype, 21, 37)                                    # padded
        yield from (Case("", dtype, 64, 128, B=1, form=form, options=(("ends", ENDS),))
                    for form in ("chunkwise", "recurrent"))
        yield from (Case("", dtype, 64, 128, options=options) for options in (
            (("normalize", True), ("sigmoid", True)), (("chunk_size", 32),), (("chunk_size", 16),),
            (("segments", 3),), (("segments", 3), ("save_states", True))))
        yield from (Case("", dtype, K, V, 40, form=form)
                    for form in ("recurrent", "decoding") for K, V in ((16, 32), (64, 64), (128, 128), (256, 256)))


@contextmanager
def picking(plan):
    """Within, the table picks this plan, whatever is asked for; None changes nothing."""
    from ..kernels import configs

    pick = configs.plan
    configs.plan = pick if plan is None else lambda *args, **options: plan
    try:
        yield
    finally:
        configs.plan = pick


def decode(q, k, v, beta, S, scale):
    from ..kernels import delta_rule_step

    S = S.clone()
    return torch.stack([delta_rule_step(q[:, t], k[:, t], v[:, t], beta[:, t], S, scale=scale)
                        for t in range(q.shape[1])], 1), S


def run(case):
    """The case's fields, "passed", "allowed", and "worst" error and "of" which result; or "failure", if it broke."""
    from .. import kernels

    options, scale = dict(case.options), case.K ** -0.5
    shared = ("normalize", "sigmoid", "ends")                            # what the judge must know, too
    asked = {name: options[name] for name in shared if name in options}
    if ends := options.pop("ends", None):
        options["cu_seqlens"] = torch.tensor(ends, device=judge.DEVICE)
    result = case._asdict() | {"options": dict(case.options), "passed": False, "allowed": case.tolerance()}
    try:
        tensors = judge.inputs(
            dtype=getattr(torch, case.dtype), sequences=len(ends) - 1 if ends else None, B=case.B, T=case.T, H=case.H,
            K=case.K, V=case.V, keys="unnormalized" if "normalize" in options else case.keys, beta_max=case.beta_max)
        if case.form == "decoding":
            errors = judge.errors(lambda *x: decode(*x, scale), tensors, gradients=False, scale=scale)
        else:
            f = getattr(kernels, f"delta_rule_{case.form}")

            def form(q, k, v, beta, S):
                return f(q, k, v, beta, initial_state=S, scale=scale, **options)
            with picking(rows()[case.row] if case.row else None):
                errors = judge.errors(form, tensors, scale=scale, **asked)
        of, worst = max(errors.items(), key=lambda item: (item[1] != item[1], item[1]))            # NaN is worst of all
        return result | {"passed": worst <= case.tolerance(), "worst": float(f"{worst:.2e}"), "of": of}
    except Exception as error:                                 # of the compiler, the driver, or the judge about a shape
        return result | {"failure": f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"}
    finally:
        if judge.DEVICE == "cuda":                             # the judge's memories in float64 take most of it; others
            torch.cuda.empty_cache()                           # may need it now


def run_all(chosen, processes=1, progress=lambda results, total: results):
    """Results in the order of `chosen`; with several processes, they compile side by side."""
    if processes == 1:
        yield from progress(map(run, chosen), len(chosen))
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from progress(pool.map(run_patiently, chosen, chunksize=2), len(chosen))         # neighbors share kernels


def run_patiently(case, pauses=(5, 20, 60)):
    """`run`, and again after each of so many seconds while others leave no memory on the GPU."""
    for pause in pauses:
        result = run(case)
        if not result.get("failure", "").startswith("OutOfMemoryError"):
            return result
        time.sleep(pause)
    return run(case)


def describe(case, result):
    """One line of the table."""
    if "failure" in result:
        return f"✗ {case}: {result['failure']}"
    sign = "✓" if result["passed"] else "✗"
    return f"{sign} {case!s:<88}{result['worst']:>9.1e} {result['of']:<16}{result['allowed']:>9.0e}"
