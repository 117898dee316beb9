"""Run a learner's notebook from the command line: every code cell, in a process of its own, without touching the file.

This side imports nothing heavy. It reads what `cells.py` reports while the cells run, and it outlives whatever an
answer
does: one that never ends is stopped, one that ends the program is named, and the cells after it are run all the same.
"""

import importlib.util
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ANSWER_SECONDS = 60       # the longest an answer may take to be checked
CELLS = 10                # a cell in which no answer is checked may take so many times as long
GRACE = 3                 # seconds for an interrupted answer to stop


class NotebookError(Exception):
    """The notebook cannot be found, read or run; the message says what to do."""


@dataclass(frozen=True)
class Event:
    """What happened: a verdict of a check (`id`, `state`), or a cell that stopped outside any check (`id` is "")."""

    text: str
    id: str = ""
    state: str = "fail"


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


def run_notebook(path, report=lambda event: None, seconds=ANSWER_SECONDS, wanted=None):
    """Every event of running the code cells in order, each reported as it comes.

    A cell that raises, hangs or ends the process does not stop the following ones: after the last two the notebook is
    run anew without that cell, silently up to it. `wanted` is the id of an exercise that must exist.
    """
    if importlib.util.find_spec("IPython") is None:
        raise NotebookError("Running a notebook needs IPython, which comes with JupyterLab: pip install ipython")
    path = Path(path).resolve()
    order = dict(path=str(path), cells=code_cells(path), wanted=wanted, skip=[])
    events = []

    def tell(event):
        events.append(event)
        report(event)

    while (cell := Run(order, seconds, tell).follow()) is not None:
        order["skip"].append(cell)
    return events


class Run:
    """One process that runs the cells, and what it is doing."""

    def __init__(self, order, seconds, tell):
        self.order, self.seconds, self.tell = order, seconds, tell
        self.cell, self.answering, self.since = None, None, time.monotonic()
        self.silent_until = max(order["skip"], default=0)

    def follow(self):
        """Read the events to the end. The number of the cell that killed the process, or None."""
        # Ctrl-C is for us alone: the process gets a group of its own.
        options = dict(start_new_session=True) if os.name == "posix" else dict(creationflags=0x200)
        environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", f"{__package__}.cells"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        encoding="utf-8",
                                        env=environment, **options)
        lines = queue.Queue()
        threading.Thread(target=lambda: [*map(lines.put, self.process.stdout), lines.put("")], daemon=True).start()
        try:
            self.process.stdin.write(json.dumps(self.order) + "\n")
            self.process.stdin.flush()
            return self._read(lines)
        except BrokenPipeError:
            return self._died()
        finally:
            self.process.kill()
            self.process.wait()

    def _read(self, lines):
        interrupted = False
        while True:
            try:
                line = lines.get(timeout=0.2)
            except queue.Empty:
                limit = self.seconds * (1 if self.answering or self.cell is None else CELLS)
                late = time.monotonic() - self.since - limit
                if self.cell is not None and late > 0:
                    if interrupted and late > GRACE or os.name != "posix":
                        return self._stopped_late(self.cell)
                    if not interrupted:
                        os.kill(self.process.pid, signal.SIGINT)
                        interrupted = True
                continue
            if not line:
                return self._died()
            event = json.loads(line)
            if event["event"] == "end":
                return None
            if event["event"] == "refused":
                raise NotebookError(event["message"])
            if event["event"] == "interrupted":
                self._stopped_late(None)
            interrupted = False
            self._take(event)

    def _take(self, event):
        what, self.since = event["event"], time.monotonic()
        if what == "cell":
            self.cell, self.answering = event["cell"], None
        elif what == "answer":
            self.answering = event
        elif what == "verdict":
            self.answering = None
            self._say(Event(event["text"], event["id"], event["state"]))
        elif what == "stopped":
            self._say(Event(f"✗ cell {self.cell} stopped: {event['message']}"))

    def _say(self, event):
        if self.cell > self.silent_until:
            self.tell(event)

    def _about(self, what_happened):
        """The verdict on an answer, or on a cell, that did not come to an end by itself."""
        if self.answering:
            return Event(f"✗ {self.answering['id']} {self.answering['title']} · your answer {what_happened}",
                         self.answering["id"])
        return Event(f"✗ cell {self.cell} {what_happened}")

    def _stopped_late(self, cell):
        limit = self.seconds * (1 if self.answering else CELLS)
        self._say(self._about(f"did not end within {limit:g} seconds and was stopped"))
        return cell

    def _died(self):
        status = self.process.wait()
        how = f"exit status {status}" if status >= 0 else f"signal {_signal(-status)}"
        if self.cell is None:
            raise NotebookError(f"The process that should run the notebook ended at once ({how}); see above.")
        self._say(self._about(f"ended the whole program ({how})"))
        return self.cell


def _signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
