"""`deltanet-edu bench ...`: measure, print a table, and write it with machine, versions, date and command."""

from pathlib import Path
from typing import Annotated

import typer

from .gpu_commands import tune_command
from .group import Output, Rounds, bench
from .measuring_commands import measuring_command


def register(app):
    app.add_typer(bench, name="bench")
    app.command("tune", short_help="Find what is fastest for the kernels on your GPU.")(tune_command)


bench.command("measuring", short_help="What a clock says about a GPU: the experiments of chapter 13.")(
    measuring_command)


@bench.command("chunkwise-cpu", short_help="Chunkwise against the token loop on a CPU.")
def chunkwise_cpu(
    output: Output = None,
    rounds: Rounds = 15,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; as many as PyTorch picks if not given.")] = None,
):
    """The chunkwise form against the token loop on a CPU: T = 2048, H = 4, K = V = 64, float32, forward and backward.

    Example: deltanet-edu bench chunkwise-cpu --output results/chunkwise_cpu.json
    """
    import torch
    from tqdm import tqdm

    from ..records import write_result
    from .chunkwise_cpu import measure

    if threads:
        torch.set_num_threads(threads)
    measured = measure(rounds=rounds, progress=lambda r: tqdm(r, desc="rounds", leave=False))
    typer.echo(f"{'form':<28}{'milliseconds':>14}{'times faster':>14}")
    for name, milliseconds in measured["milliseconds"].items():
        typer.echo(f"{name:<28}{milliseconds:>14.1f}{measured['speedup'][name]:>14.1f}")
    if output:
        limit = f" --threads {threads}" if threads else ""
        command = f"deltanet-edu bench chunkwise-cpu --rounds {rounds}{limit} --output {output}"
        write_result(output, measured, command)
        typer.echo(f"written to {output}")


@bench.command("figures", short_help="Draw what was measured.")
def figures_command(
    files: Annotated[list[Path], typer.Argument(
        metavar="FILE...", exists=True, dir_okay=False, show_default=False,
        help="What bench delta-rule and bench lengths have written. Of several files of the first, "
             "the library is drawn at the best it does in any.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the figures; beside the first file if not given.")] = None,
):
    """Draw the measurements: against the library, against what the hardware allows, against one token at a time.

    \b
    deltanet-edu bench figures results/race_h200.json
    """
    import json

    import matplotlib

    matplotlib.use("agg")
    from ..figures.kernels import save, style
    from . import report

    style()
    measured = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    drawn = report.figures(measured)
    if not drawn:
        typer.echo("There is nothing to draw: no file has times per shape or per length.", err=True)
        raise typer.Exit(1)
    for name, draw in drawn.items():
        path = (folder or files[0].parent) / f"speed_{name}.png"
        save(draw(), path)
        typer.echo(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    if "library" in drawn:
        typer.echo("\n".join(report.summary(report.merge([file for file in measured if "shapes" in file]))))
