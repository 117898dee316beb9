"""Every combination of what is varied of a task, its model and its training."""

import itertools

from ..lm import sweep as lm_sweep
from .config import TaskConfig


def combinations(config, over):
    """[(what varies, TaskConfig)]: every combination of over = {name: [values]}; "difficulty.pairs" goes inside."""
    made = []
    for values in itertools.product(*over.values()):
        varied, settings = dict(zip(over, values)), config.to_dict()
        settings["vocab"] = settings["length"] = None                    # the task's, which may vary
        for name, value in varied.items():
            outer, _, inner = name.partition(".")
            if outer not in settings or inner and not isinstance(settings[outer], dict):
                raise ValueError(f"over: got {name!r}, expected one of {', '.join(settings)}, or difficulty.NAME.")
            settings[outer] = {**settings[outer], inner: value} if inner else value
        made.append((varied, TaskConfig(**settings)))
    return made


def train_one(config, folder, resume, **how):
    """The row of a run: accuracy, steps, seconds, parameters and the curve."""
    from ..lm.model import parameters
    from .training import train_on_task

    run = train_on_task(config, folder, resume=resume, say=lambda line: None, **how)
    measured = [(entry["step"], entry["held_out"]) for entry in run.log if "held_out" in entry]
    return {"accuracy": measured[-1][1], "steps": run.steps, "seconds": run.log[-1]["seconds"],
            "parameters": parameters(run.model), "curve": measured}


def sweep(config, over, folder, **how):
    """Train every combination of `over` and return their rows, in order: what varied, accuracy, steps, seconds, ...

    Args:
        config: a TaskConfig, of which each run is a variation.
        over: {name: [values]}, of fields of TaskConfig, "difficulty.NAME" and "options.NAME".
        folder, and processes, threads, on_row: as in `lm.sweep.sweep`.    how: for `lm.train.train`.
    """
    return lm_sweep.sweep(combinations(config, over), folder, train_one, **how)
