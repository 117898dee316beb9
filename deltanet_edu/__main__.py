"""python -m deltanet_edu ...: the command line, where its script is not on the path."""

from .cli import app

app(prog_name="python -m deltanet_edu")
