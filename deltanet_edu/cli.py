"""The command line. Each part of the package brings its own commands; this file only gathers them."""

import sys
from importlib import import_module

import typer

# Modules with a function register(app) that adds commands. Help is listed in this order.
COMMANDS = ("deltanet_edu.tutor.commands", "deltanet_edu.lm.commands", "deltanet_edu.bench.commands",
            "deltanet_edu.bench.lm", "deltanet_edu.bench.race_commands")

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Learn how DeltaNet is trained in parallel, and use what you have built.\n\nStart with:  deltanet-edu doctor")

for name in COMMANDS:
    import_module(name).register(app)


@app.callback()
def main():
    for stream in (sys.stdout, sys.stderr):                              # a terminal that cannot show ✓ should not end the program
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
