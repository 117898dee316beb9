"""`deltanet-edu race FILE`: a kernel of the reader's own against the judge, and then against the package's."""

import os
from pathlib import Path
from typing import Annotated

import typer


def register(app):
    app.command("race", short_help="Race a kernel of your own.")(race_command)


def race_command(
    file: Annotated[Path | None, typer.Argument(
        exists=True, dir_okay=False, show_default=False,
        help="A Python file that defines delta_rule(q, k, v, beta) -> o.")] = None,
    name: Annotated[str, typer.Option(help="Another function of the file.")] = "delta_rule",
    backward: Annotated[bool, typer.Option("--backward", help="Judge the gradients, too.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="How long it may take for everything.")] = 300,
    library: Annotated[bool, typer.Option(
        help="On a GPU, time flash-linear-attention as well, if it is installed.")] = True,
    plot: Annotated[Path | None, typer.Option(
        dir_okay=False, help="Draw the scores, or without a file the board, into this picture.")] = None,
):
    """Is your kernel right, would a GPU agree, and how does it do beside the package's: bytes, on a GPU milliseconds?

    Without a file: the board of what got through so far. The exit status is 1 if the kernel does not get through.

    \b
    deltanet-edu race my_kernel.py
    deltanet-edu race my_kernel.py --name forward --backward
    deltanet-edu race --plot board.png
    """
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"                             # read when a kernel is decorated
    from .race import board, board_figure, board_file, from_file, race

    if file is None:
        typer.echo("\n".join(map(row, board())) or "Nothing on the board yet:  deltanet-edu race my_kernel.py")
        draw(board_figure, plot)
        return
    try:
        f = from_file(file, name)
    except Exception as error:                                           # whatever running the file raises
        said = str(error) if isinstance(error, ValueError) else f"{file}: {type(error).__name__}: {error}"
        typer.echo(said, err=True)
        raise typer.Exit(1) from None
    verdict = race(f, backward, seconds, name=f"{file.name}:{name}", library=library)
    if not verdict:
        raise typer.Exit(1)
    typer.echo(f"On the board: {board_file()}")
    draw(verdict.figure, plot)


def draw(figure, path):
    """Write the picture that figure() makes, if there is one and a path for it."""
    if path is None:
        return
    import matplotlib

    matplotlib.use("agg")
    from ..figures.kernels import save, style

    style()
    if (drawn := figure()) is None:
        typer.echo("There is nothing to draw yet.", err=True)
        raise typer.Exit(1)
    save(drawn, path)
    typer.echo(f"written to {path}")


def row(entry):
    """One line of the board."""
    scores = entry["scores"]
    keys = [key for key in ("of what must be moved", "of the package's") if key in scores]
    said = [f"{scores[key].partition(' (')[0]} {key}" for key in keys]
    ratios = [row["yours"] / row["the package"] for row in entry.get("times", {}).values()
              if all(isinstance(row.get(who), float) for who in ("yours", "the package"))]
    if ratios:
        said.append(f"{min(ratios):.2f} to {max(ratios):.2f} times its time")
    return f"{entry['date']}  {entry['name']:<36} {entry['passes']:<8} {', '.join(said)}"
