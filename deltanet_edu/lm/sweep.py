"""Many trainings, on text or on tasks: side by side in processes, resumed, or skipped if done."""

import concurrent.futures
import json
import multiprocessing
import re
from pathlib import Path

from ..records import whole_file

RESULT = "result.json"


def sweep(runs, folder, train_one, *, processes=1, threads=1, on_row=None, **how):
    """Train every configuration and return their rows, in order: what varied, what train_one says, settings.

    Args:
        runs: [(what varies, Config)], the first a dict that names the run.
        folder: where runs are kept, a folder each. One that is finished is not run again, one that was stopped goes on.
        train_one: train_one(config, folder, resume, **how) -> dict; a function of a module, so that a process finds it.
        processes: how many run at a time, each with so many threads.
        on_row: called with (row, how many are done, of how many) as they end.
    """
    rows, waiting = {}, {}
    places = [Path(folder) / folder_name(varied) for varied, _ in runs]
    for i, ((varied, config), place) in enumerate(zip(runs, places)):
        row = finished(place, config)
        if row:
            rows[i] = row
        else:
            waiting[i] = (train_one, varied, config, place, threads, how)
    if processes == 1:
        done = ((i, run_one(*arguments)) for i, arguments in waiting.items())
    else:
        done = in_processes(waiting, processes)
    for n, (i, row) in enumerate(done, len(rows) + 1):
        rows[i] = row
        if on_row:
            on_row(row, n, len(runs))
    return [rows[i] for i in range(len(runs))]


def folder_name(varied):
    return re.sub(r"[^\w.=,+-]", "_", ",".join(f"{name}={value}" for name, value in varied.items()) or "run")


def run_one(train_one, varied, config, folder, threads, how):
    """Train one model, or go on with it, and keep its row. For a process of its own."""
    import torch

    from .run_folder import CHECKPOINT

    torch.set_num_threads(threads)
    row = train_one(config, folder, (folder / CHECKPOINT).exists(), **how)
    row = {**varied, **row, "settings": config.to_dict()}
    with whole_file(folder / RESULT) as file:
        json.dump(row, file, indent=1)
    return row


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
    if type(config)(**row["settings"]) != config:
        raise ValueError(f"{place}: holds a run with other settings. Move it away, or give the sweep another --run.")
    return row
