"""Many runs on tasks: every combination of what is varied, side by side in processes, resumed, or skipped if done."""

import concurrent.futures
import itertools
import json
import multiprocessing
import re
from pathlib import Path

from ..records import whole_file
from .config import TaskConfig

RESULT = "result.json"


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


def folder_name(varied):
    return re.sub(r"[^\w.=,+-]", "_", ",".join(f"{name}={value}" for name, value in varied.items()) or "run")


def run_one(varied, settings, folder, threads, how):
    """Train one model, or go on with it, and keep its row. For a process of its own."""
    import torch

    from ..lm.model import parameters
    from ..lm.run_folder import CHECKPOINT
    from .training import train_on_task

    torch.set_num_threads(threads)
    folder, config = Path(folder), TaskConfig(**settings)
    run = train_on_task(config, folder, resume=(folder / CHECKPOINT).exists(), say=lambda line: None, **how)
    measured = [(entry["step"], entry["held_out"]) for entry in run.log if "held_out" in entry]
    row = {**varied, "accuracy": measured[-1][1], "steps": run.steps, "seconds": run.log[-1]["seconds"],
           "parameters": parameters(run.model), "curve": measured, "settings": settings}
    with whole_file(folder / RESULT) as file:
        json.dump(row, file, indent=1)
    return row


def sweep(config, over, folder, *, processes=1, threads=1, on_row=None, **how):
    """Train every combination of `over` and return their rows, in order: what varied, accuracy, steps, seconds, ...

    Args:
        config: a TaskConfig, of which each run is a variation.
        over: {name: [values]}, of fields of TaskConfig, "difficulty.NAME" and "options.NAME".
        folder: where runs are kept, a folder each. One that is finished is not run again, one that was stopped goes on.
        processes: how many run at a time, each with so many threads.
        on_row: called with (row, how many are done, of how many) as they end.    how: for `lm.train.train`.
    """
    runs, rows, waiting = combinations(config, over), {}, {}
    places = [Path(folder) / folder_name(varied) for varied, _ in runs]
    for i, ((varied, one), place) in enumerate(zip(runs, places)):
        row = finished(place, one)
        if row:
            rows[i] = row
        else:
            waiting[i] = (varied, one.to_dict(), str(place), threads, how)
    if processes == 1:
        done = ((i, run_one(*arguments)) for i, arguments in waiting.items())
    else:
        done = in_processes(waiting, processes)
    for n, (i, row) in enumerate(done, len(rows) + 1):
        rows[i] = row
        if on_row:
            on_row(row, n, len(runs))
    return [rows[i] for i in range(len(runs))]


def in_processes(waiting, processes):
    """(number, row) of each run as it ends."""
    context = multiprocessing.get_context("spawn")                       # CUDA does not survive a fork
    with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
        futures = {pool.submit(run_one, *arguments): i for i, arguments in waiting.items()}
        try:
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()
            raise


def finished(place, config):
    """The row of a run that is done, if it was made with these settings; None if there is none."""
    try:
        row = json.loads((place / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if TaskConfig(**row["settings"]) != config:
        raise ValueError(f"{place}: holds a run with other settings. Move it away, or give the sweep another --run.")
    return row
