"""Run a learner's notebook from the command line: every code cell, in this process, without touching the file."""

import json
import linecache
import os
import re
import sys
import traceback
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from .rendering import collecting


class NotebookError(Exception):
    """The notebook cannot be found or read; the message says what to do."""


@dataclass(frozen=True)
class CellError:
    """A cell that raised outside any check."""

    cell: int
    message: str


def find_notebook(chapter, start=None):
    """The learner's problem set of a chapter: exercises/NN_*.ipynb, or my_NN_*.ipynb, here or in a folder above.

    If there are several, the one that was saved last.
    """
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        for place in (folder / "exercises", *([folder] if folder.name == "exercises" else [])):
            found = [p for p in place.glob("*.ipynb") if re.fullmatch(rf"(my_)?{chapter:02d}_.*", p.name)]
            if found:
                return max(found, key=lambda p: p.stat().st_mtime)
    raise NotebookError(f"There is no exercises/{chapter:02d}_*.ipynb in {start} or a folder above it. "
                        "Go to the folder of the book, or give the path of the notebook.")


def code_cells(path):
    """(number among all cells, source) of the code cells of a notebook."""
    path = Path(path)
    if not path.is_file():
        raise NotebookError(f"There is no file {path}.")
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return [(n, "".join(cell["source"])) for n, cell in enumerate(cells, 1) if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{path} is not a notebook: {type(error).__name__}: {error}") from error


def run_notebook(path):
    """(verdicts, errors) of running every code cell in order. A cell that raises does not stop the following ones.

    What the cells print is dropped. Lines for IPython (`%...`, `!...`) are skipped, figures are not shown.
    """
    path = Path(path).resolve()
    cells = code_cells(path)
    os.environ.setdefault("MPLBACKEND", "Agg")
    namespace, errors = {"__name__": "__main__"}, []
    sys.path.insert(0, str(path.parent))
    try:
        with collecting() as verdicts, chdir(path.parent), redirect_stdout(StringIO()):
            for n, source in cells:
                try:
                    run_cell(source, f"{path.name}, cell {n}", namespace)
                except (Exception, SystemExit) as error:
                    errors.append(CellError(n, explain(error, f"{path.name}, cell {n}")))
    finally:
        sys.path.remove(str(path.parent))
    return list(verdicts), errors


def run_cell(source, name, namespace):
    """Execute one cell under a name that tracebacks and `inspect` can look its lines up by."""
    source = re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), namespace)


def explain(error, name):
    """One line: the kind of exception, its message, and the line of the cell."""
    line = error.lineno if isinstance(error, SyntaxError) else \
        next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == name), None)
    shown = linecache.getline(name, line).strip() if line else ""
    return f"{type(error).__name__}: {error}" + (f" (line {line}: {shown})" if shown else "")
