"""The command line. Each part of the package brings its own commands; this file only gathers them."""

import sys
from importlib import import_module
from typing import Annotated

import typer

from . import __version__, terminal

# Modules with a function register(app) that adds commands. Help is listed in this order.
COMMANDS = ("deltanet_edu.tutor.commands", "deltanet_edu.lm.commands", "deltanet_edu.lm.model_commands",
            "deltanet_edu.bench.commands", "deltanet_edu.tasks.commands", "deltanet_edu.bench.lm",
            "deltanet_edu.bench.decode_commands", "deltanet_edu.bench.race_commands")

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Learn how DeltaNet is trained in parallel, and use what you have built.\n\n"
                       "Start with:  deltanet-edu doctor")

terminal.make_printable(sys.stdout,
                        sys.stderr)                          # before --help, which is printed before main runs
for name in COMMANDS:
    import_module(name).register(app)


def show_version(wanted):
    if wanted:
        typer.echo(f"deltanet-edu {__version__}")
        raise typer.Exit


@app.callback()
def main(version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True,
                                               help="Say which version this is.")] = False):
    terminal.make_printable(sys.stdout, sys.stderr)
