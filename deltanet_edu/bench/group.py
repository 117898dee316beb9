"""The group `deltanet-edu bench`, which the command modules add to, and options that several of them have."""

from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                    help="Measure this package on this machine.")

Output = Annotated[Path | None, typer.Option(help="Write the measurement to this JSON file, whole or not at all.")]
Rounds = Annotated[int, typer.Option(
    min=1, help="Rounds; each measures every candidate once, and medians are reported.")]
