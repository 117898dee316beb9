"""The reader's own notebooks: a copy to work in, what comes next, and when it was saved."""

import os
import re
import time
from pathlib import Path

from . import storage
from .rerun import NotebookError, find_notebook

SECONDS = 0.5             # between two looks at a notebook that is watched


def start(chapter, folder=None):
    """Copy the problem set of a chapter to my_NN_name.ipynb, beside it or into `folder`. (was it copied, its path).

    A copy that is there already is left alone.
    """
    original = problem_set(chapter)
    target = Path(folder).expanduser() if folder else original.parent
    target.mkdir(parents=True, exist_ok=True)
    path = target.resolve() / f"my_{original.name}"
    try:
        with open(path, "xb") as copy:                                   # x: never over a file that is there
            copy.write(original.read_bytes())
    except FileExistsError:
        return False, path
    return True, path


def problem_set(chapter):
    """The book's own exercises/NN_*.ipynb, here or in a folder above."""
    there = find_notebook(chapter)
    for path in sorted(there.parent.glob(f"{chapter:02d}_*.ipynb")):
        return path
    raise NotebookError(f"{there.parent} has your copy {there.name}, but not the book's {chapter:02d}_*.ipynb to copy.")


def shortest(path, chapter):
    """What to call a notebook on the command line: its chapter if that finds it, else its path, quoted where needed."""
    try:
        if find_notebook(chapter) == path.resolve():
            return str(chapter)
    except NotebookError:
        pass
    return f'"{path}"' if re.search(r"\s", str(path)) else str(path)


def next_exercise(exercises, done):
    """The first exercise that is not solved, from the chapter that was worked on last; None if all are solved."""
    open_ones = [e for e in exercises if storage.state(done.get(e.id, {})) != "solved"]
    dates = [(done.get(e.id, {}).get("last") or "", e.chapter) for e in exercises]
    latest, chapter = max(dates, default=("", 0))
    here = chapter if latest else 0
    later = [e for e in open_ones if e.chapter >= here]
    return next(iter(later or open_ones), None)


def whereabouts(exercise, exercises, done):
    """Sentences about where an exercise is and what to do first."""
    number = exercise.chapter
    mine = [storage.state(done.get(e.id, {})) for e in exercises if e.chapter == number]
    try:
        path = find_notebook(number)
        place = os.path.relpath(path)
    except NotebookError:
        path, place = None, f"exercises/{number:02d}_*.ipynb of the book"
    if set(mine) == {"open"}:
        lessons = sorted((path.parent.parent / "notebooks").glob(f"{number:02d}_*.ipynb")) if path else []
        lesson = os.path.relpath(lessons[0]) if lessons else f"notebooks/{number:02d}_*.ipynb"
        yield f"It is the first of chapter {number}. Read {lesson} before it."
    else:
        yield f"{mine.count('solved')} of {len(mine)} solved in chapter {number}."
    yield f"It is in {place}."
    if path is not None and not path.name.startswith("my_"):
        yield f"`deltanet-edu start {number}` copies that to a notebook of your own."


def saves(path):
    """Yield at once, and then whenever the file has changed; it may be gone for a while."""
    seen = None
    while True:
        now = stamp(path)
        if seen is None and now is None:
            raise NotebookError(f"There is no file {path}.")
        if now is not None and now != seen:
            seen = now
            yield
        time.sleep(SECONDS)


def stamp(path):
    """When a file was changed and how long it is; None while it is not there."""
    try:
        found = Path(path).stat()
        return found.st_mtime_ns, found.st_size
    except OSError:
        return None
