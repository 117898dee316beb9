"""`deltanet-edu bench ...`: measure, print a table, and write it with machine, versions, date and command."""

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(no_args_is_help=True, help="Measure this package on this machine.")


def register(app):
    app.add_typer(bench, name="bench")


@bench.command("chunkwise-cpu")
def chunkwise_cpu(
    output: Annotated[Path | None, typer.Option(help="Write the measurement to this JSON file, whole or not at all.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures every candidate once, and medians are reported.")] = 15,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; as many as PyTorch picks if not given.")] = None,
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
        command = f"deltanet-edu bench chunkwise-cpu --rounds {rounds}" + (f" --threads {threads}" if threads else "") + f" --output {output}"
        write_result(output, measured, command)
        typer.echo(f"written to {output}")


@bench.command("delta-rule")
def delta_rule(
    output: Annotated[Path | None, typer.Option(help="Write the measurements to this JSON file; rewritten after every shape.")] = None,
    shapes: Annotated[str, typer.Option(help='Which shapes, as "B,T,H,D" separated by spaces; all nine of the book if empty.')] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures every candidate once, and medians are reported.")] = 3,
    accuracy: Annotated[bool, typer.Option(help="Compare outputs and gradients with float64 as well.")] = True,
    recurrent: Annotated[bool, typer.Option(help="Measure the recurrent kernel, too; slow for long sequences.")] = True,
):
    """The kernels on one GPU against flash-linear-attention, if that is installed, and softmax attention: speed, memory, errors.

    Example: deltanet-edu bench delta-rule --output results/delta_rule.json
    """
    import torch

    from ..kernels import why_not
    from ..records import write_result
    from . import delta_rule as measure

    if reason := why_not("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
        raise typer.BadParameter(f"the kernels cannot run here: {reason}")
    chosen = [tuple(map(int, shape.split(","))) for shape in shapes.split()] or list(measure.SHAPES)
    found = measure.candidates(recurrent=recurrent)
    command = f"deltanet-edu bench delta-rule --rounds {rounds}" + (f" --output {output}" if output else "")
    measured = {"dtype": "bfloat16", "shapes": {}, "errors": {}}
    if accuracy:
        for shape in measure.ACCURACY:
            for kind in (dict(), dict(repeated=True, beta_max=2.0)):
                label = f"{','.join(map(str, shape))}{' repeated keys, beta up to 2' if kind else ''}"
                measured["errors"][label] = measure.errors(shape, found, **kind)
                typer.echo(f"{label}: {measured['errors'][label]}")
                if output:
                    write_result(output, measured, command)
    for shape in chosen:
        label = ",".join(map(str, shape))
        rows = measured["shapes"][label] = measure.time_shape(shape, found, rounds)
        typer.echo(f"\n{label:<20}{'forward ms':>12}{'both ms':>12}{'held MB':>12}{'peak MB':>12}{'first s':>10}")
        for name, row in rows.items():
            typer.echo(f"{name:<20}{row['forward']:>12.3f}{row['both']:>12.3f}{row['held MB']:>12.0f}{row['peak MB']:>12.0f}{row['first call s']:>10.1f}")
        if output:
            write_result(output, measured, command)
