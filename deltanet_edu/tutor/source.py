"""The package's own source, shown in a lesson instead of being copied into it."""

import inspect
import textwrap
from pathlib import Path

import deltanet_edu

from .rendering import emit, listing


def source_of(f):
    """(source, file) of a function or class; a Triton kernel is shown as it was written."""
    f = inspect.unwrap(f)
    while not inspect.isroutine(f) and not inspect.isclass(f) and hasattr(f, "fn"):      # a jitted or autotuned kernel
        f = f.fn
    if hasattr(f, "func"):                                                               # functools.partial
        f = f.func
    root = Path(deltanet_edu.__file__).parent.parent
    file = Path(inspect.getsourcefile(f))
    place = file.relative_to(root).as_posix() if file.is_relative_to(root) else ""
    return textwrap.dedent(inspect.getsource(f)).rstrip(), place


def show(*functions):
    """Display the source of one or more functions or classes of the package, with the file each comes from."""
    blocks = []
    for f in functions:
        source, file = source_of(f)
        blocks.append(f"# {file}\n{source}" if file else source)
    text = "\n\n\n".join(blocks)
    emit(text, listing(text))
