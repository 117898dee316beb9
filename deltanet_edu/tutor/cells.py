"""The cells of a learner's notebook, run one after another in a process of their own.

`rerun.py` starts it and reads what it says: one line of JSON for each thing that happens, on what was its standard
output. What the cells print is dropped. The cells run in IPython, as they do in Jupyter; what would start another
program or change the installation (`!ls`, `%pip`, `%%bash`) is skipped, and figures are not shown.
"""

import json
import os
import signal
import sys
import threading
import traceback
import types
from contextlib import contextmanager
from pathlib import Path

from . import storage
from .registry import ChapterUnavailable, UnknownId, find
from .rendering import collecting, verdict_text

SKIPPED = set("""
    matplotlib pip conda mamba micromamba uv system sx sc bash sh script cmd perl ruby
    html HTML javascript js latex svg SVG
    markdown pinfo pinfo2 psource debug pdb edit load_ext autoreload history notebook""".split())


def shell_class(name):
    """IPython without a terminal, a history, or anything outside Python; tracebacks call its cells "name, cell 3"."""
    from IPython.core.compilerop import CachingCompiler
    from IPython.core.interactiveshell import InteractiveShell

    class Compiler(CachingCompiler):
        number = 0

        def get_code_name(self, raw_code, transformed_code, number):
            return f"{name}, cell {self.number}"

    class Shell(InteractiveShell):
        compiler_class = Compiler

        def system(self, command):
            """`!command`: not run."""

        system_piped = system_raw = system

        def getoutput(self, command, split=True, depth=0):
            """`x = !command`: no lines."""
            return []

        def run_line_magic(self, name, line, _stack_depth=1):
            return None if name in SKIPPED else super().run_line_magic(name, line, _stack_depth + 1)

        def run_cell_magic(self, name, line, cell):
            return None if name in SKIPPED else super().run_cell_magic(name, line, cell)

        def showtraceback(self, *args, **kwargs):
            """Nothing: errors are reported once, by `explain`."""

        showsyntaxerror = showindentationerror = showtraceback

    return Shell


@contextmanager
def shell_for(name):
    """A shell for the cells of one notebook; afterwards the process is as it was."""
    from traitlets.config import Config

    kept = sys.modules["__main__"], sys.displayhook, sys.excepthook, list(sys.path)
    quiet = Config()
    quiet.HistoryManager.enabled = False
    Shell = shell_class(name)
    shell = Shell.instance(config=quiet, user_module=types.ModuleType("__main__"))
    try:
        yield shell
    finally:
        Shell.clear_instance()
        sys.modules["__main__"], sys.displayhook, sys.excepthook, sys.path[:] = kept


def run_cells(path, cells, report, skip=()):
    """Run the code cells of a notebook, [(number, source)], but for those in `skip`; report(event) says what happens.

    Those in `skip` ended an earlier process. What came before them was recorded then, and is not recorded again.
    """
    def begins(id, title):
        report(dict(event="answer", id=id, title=title))

    with shell_for(path.name) as shell, collecting(begins, lambda verdict: report(shown(verdict))):
        sys.path.insert(0, str(path.parent))
        for n, source in cells:
            if n in skip:
                continue
            report(dict(event="cell", cell=n))
            storage.recording = n > max(skip, default=0)
            shell.compile.number = n
            result = shell.run_cell(source, store_history=False, silent=True)
            error = result.error_before_exec or result.error_in_exec
            if isinstance(error, KeyboardInterrupt):
                report(dict(event="interrupted"))
            elif error:
                report(dict(event="stopped", message=explain(error, f"{path.name}, cell {n}")))


def shown(verdict):
    return dict(event="verdict", id=verdict.id, state=verdict.state, text=verdict_text(verdict))


def explain(error, name):
    """One line: the kind of exception, its message, and the line of the cell."""
    if isinstance(error, SyntaxError):
        shown = (error.text or "").strip()
        return f"{type(error).__name__}: {error}" + (f" (line {error.lineno}: {shown})" if shown else "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
    said = f"{type(error).__name__}: {error}"
    return said + (f" (line {frames[-1].lineno}: {frames[-1].line})" if frames and frames[-1].line else "")


def main():
    """Read one line of JSON, {"path", "cells", "skip", "wanted"}, run, and report; end when the parent does."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    with open(os.devnull, "r+b") as nothing:
        os.dup2(nothing.fileno(), 0), os.dup2(nothing.fileno(), 1)

    def report(event):
        channel.write(json.dumps(event) + "\n")
        channel.flush()

    order = json.loads(orders.readline())
    threading.Thread(target=lambda: (orders.read(), os._exit(1)), daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if order["wanted"]:
            find("exercise", order["wanted"])
    except (UnknownId, ChapterUnavailable) as error:
        return report(dict(event="refused", message=str(error)))
    path = Path(order["path"])
    os.chdir(path.parent)
    run_cells(path, order["cells"], report, order["skip"])
    report(dict(event="end"))
    channel.close()
    os._exit(0)                                                          # whatever threads an answer has left behind


if __name__ == "__main__":
    main()
