"""The group `deltanet-edu bench`, which the command modules add to."""

import typer

bench = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                    help="Measure this package on this machine.")
