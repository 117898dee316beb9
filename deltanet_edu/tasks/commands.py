"""`deltanet-edu task`: train models on a task, one or a whole sweep."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from ..lm.commands import RUNS, Device, Threads, clear_errors, parse_option, with_settings
from .config import TaskConfig


def register(app):
    own = ("task", "corpus", "vocab", "length", "bpe_dropout")
    app.command("task", short_help="Ask what a memory can hold: MQAR, MAD, RegBench, ...")(
        with_settings(task_command, TaskConfig, without=own))


def task_command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Its name; a wrong one lists them.", show_default=False)],
    *,
    over: Annotated[list[str] | None, typer.Option(help="What to vary, NAME=VALUE, once for each value: every "
                                                        "combination is trained.", show_default=False)] = None,
    run: Annotated[str, typer.Option(help="Name; kept in runs/NAME. A second start goes on where it stopped.",
                                     show_default="the task's")] = "",
    output: Annotated[Path | None, typer.Option(help="Write all rows to this JSON file, whole or not at all.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help='Of matrix products: "auto", "float32", "bfloat16".')] = "auto",
    graph: Annotated[bool, typer.Option(help="A step as one CUDA graph, for small models on a GPU.")] = True,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Steps between tests.")] = 100,
    threads: Threads = 1,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = RUNS,
    **settings,
):
    """Train a small model on a task, and say which share of the answers is right. Ctrl-C loses nothing: start it again.

    \b
    deltanet-edu task overwrite                                         six keys, four values each: the last one counts
    deltanet-edu task overwrite --over mixer=delta --over mixer=linear  two memories
    deltanet-edu task mqar --difficulty pairs=16 --over seed=0 --over seed=1
    """
    with clear_errors():
        given = {name: value for name, value in settings.items() if value is not None}
        for name in ("options", "difficulty", "test_difficulty"):
            if name in given:
                given[name] = dict(map(parse_option, given[name]))
        config = TaskConfig(task=task, **given)
        varied = {}
        for name, value in map(parse_option, over or []):
            varied.setdefault(name, []).append(value)
        how = dict(device=device, precision=precision, graph=graph, evaluate_every=evaluate_every)
        rows = run_sweep(config, varied, runs / (run or task), processes, threads, how)
        if output:
            from ..records import write_result

            write_result(output, {"task": task, "over": varied, "rows": rows})
            typer.echo(f"written to {output}")


def run_sweep(config, over, folder, processes, threads, how):
    from tqdm import tqdm

    from ..lm.device import find_place
    from ..lm.progress import TerminalProgress
    from .sweep import combinations, sweep

    typer.echo(f"Training on: {find_place(how['device'], how['precision'])}; kept in {folder}")
    how = dict(processes=processes, threads=threads, **how)
    try:
        if not over:                                                     # one run: a bar of its steps
            with contextlib.closing(TerminalProgress(config, "right")) as bar:
                rows = sweep(config, over, folder, progress=bar, **how)
        else:
            with tqdm(total=len(combinations(config, over)), unit="run", dynamic_ncols=True) as bar:
                def show(row, done, of):
                    bar.update(done - bar.n)
                    bar.write(line(row, over))
                rows = sweep(config, over, folder, on_row=show, **how)
                bar.update(bar.total - bar.n)
    except KeyboardInterrupt:
        typer.echo("\nStopped. The same command goes on from here.")
        raise typer.Exit(130) from None
    for row in rows:
        typer.echo(line(row, over))
    return rows


def line(row, over):
    said = "   ".join(f"{name} {row[name]}" for name in over)
    return f"{said or 'accuracy':<40} {row['accuracy']:7.1%}   {row['steps']:,} steps, {row['seconds']:.0f} s"
