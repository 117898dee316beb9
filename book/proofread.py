"""What `generate.py --check` looks for: notebooks that disagree with their sources, or are not fit to be published."""

import itertools
import os
import re
from dataclasses import replace

from answers import CHECKED
from sources import FOLDERS, SourceError, build, figures, load, mapped, pictures, targets

WIDTH = 105                                 # characters of a printed line: JupyterLab on 1,280 pixels, its file list open
NOTEBOOK_LIMIT, FIGURE_LIMIT = 400_000, 100_000                          # bytes: GitHub gives up on large notebooks
ABSOLUTE_PATH = re.compile(r"(?<![\w./:~-])/(?:home|root|Users|usr|opt|tmp|var|mnt|private|content)/\w|\b[A-Z]:\\\w")
TRIVIAL = re.compile(r"(from|import|def|class|for|with|@)\b|return [\w, ]+$"
                     r"|[\w, ]+=\s*[\w.]+\.(shape|ndim|dtype|device)\b")


def proofread(root, wanted):
    """Everything wrong with these notebooks, one line each."""
    known = {t.name for t in targets(root)}
    found = [f"{folder}/{path.name}: has no source in book/{FOLDERS[folder]}; delete it"
             for folder in FOLDERS for path in sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))
             if f"{folder}/{path.name}" not in known]
    for target in wanted:
        try:
            found += [f"{target.name}: {problem}" for problem in proofread_one(target)]
        except SourceError as error:
            found.append(str(error))
    return found + list(stale_map(root))


def stale_map(root):
    """Rows of README.md's map of the book that are not what the lessons say."""
    readme = root / "README.md"
    there = readme.read_text(encoding="utf-8") if readme.exists() else ""
    try:
        made = mapped(there, root)
    except SourceError as error:
        yield str(error)
        return
    if made != there:
        is_now, should = first_difference(there, made)
        yield ("README.md: its map of the book is not what the lessons say: python book/generate.py\n"
               f"    README.md: {is_now}\n    lessons:   {should}")


def proofread_one(target):
    """Everything wrong with one notebook."""
    made, there = build(target), load(target.path)
    if there is None:
        yield f"missing; make it with  python book/generate.py {target.name}"
        return
    yield from difference(made, there)
    yield from incomplete(there)
    yield from unexpected_verdicts(target, there)
    yield from unpublishable(target, there)
    for path, picture in figures(there, target):
        if not path.exists() or path.read_bytes() != picture:
            yield f"{path.relative_to(target.root)} is not the figure it shows: python book/generate.py {target.name}"
    if target.folder == "exercises":
        yield from leaks(target, there)


def difference(made, there):
    """The first cell in which the notebook on disk is not what its source says."""
    for n, (new, old) in enumerate(itertools.zip_longest(made.cells, there.cells)):
        if new is None or old is None:
            yield f"{len(there.cells)} cells, but its source makes {len(made.cells)}"
            return
        for what in ("cell_type", "source", "id", "metadata"):
            if new.get(what) != old.get(what):
                is_now, should = first_difference(str(old.get(what)), str(new.get(what)))
                yield (f"cell {n} ({new.id}) differs from its source in {what}:\n"
                       f"    notebook: {is_now}\n    source:   {should}\n"
                       "    If the source is right: python book/generate.py. If this is your own work on an exercise: "
                       "all is well, this check is for the book.")
                return
    if made.metadata != there.metadata:
        yield "its metadata differs from what is generated: python book/generate.py"


def first_difference(a, b):
    """The first line in which two texts differ, each shortened to where it matters."""
    pairs = itertools.zip_longest(a.splitlines() or [""], b.splitlines() or [""], fillvalue="(nothing)")
    x, y = next((x, y) for x, y in pairs if x != y)
    start = max(0, len(os.path.commonprefix([x, y])) - 40)
    end = start + 100
    return tuple(("…" if start else "") + line[start:end] + ("…" if len(line) > end else "") for line in (x, y))


def incomplete(notebook):
    """Code that was not run, or failed when it was."""
    for n, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            yield f"cell {n} ({cell.id}) has not been executed"
        if "raises-exception" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if output.output_type == "error":
                    yield f"cell {n} ({cell.id}) raised {output.ename}: {output.evalue}"


def unexpected_verdicts(target, notebook):
    """In solutions every check passes, in exercises none does, in lessons every equation holds."""
    marks = {"solutions": "○✗", "exercises": "✓✗", "notebooks": "○✗"}[target.folder]
    for n, cell in enumerate(notebook.cells):
        for text in output_texts(cell):
            relevant = target.folder != "notebooks" or "verify(" in cell.source       # a lesson may show a wrong answer
            if relevant and re.search(rf"^[{marks}] \d", text, re.M):
                yield f"cell {n} ({cell.id}) answers {text.splitlines()[0]!r}"


def output_texts(cell):
    """Everything a code cell shows as text."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kinds = ("text/plain", "text/html", "text/markdown")
        yield from filter(None, (output.get("text"), *map(data.get, kinds)))


def printed(cell):
    """The lines that a code cell shows as they are, of what it printed and of values that have no richer form."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        yield from (output.get("text") or ("" if len(data) > 1 else data.get("text/plain", ""))).splitlines()


def unpublishable(target, notebook):
    """Too large, lines too wide, pictures inside the prose, or paths that exist on one machine only."""
    if (size := target.path.stat().st_size) > NOTEBOOK_LIMIT:
        yield f"{size / 1000:.0f} kB, more than {NOTEBOOK_LIMIT // 1000}"
    for n, cell in enumerate(notebook.cells):
        if wide := [line for line in printed(cell) if len(line) > WIDTH]:
            yield (f"cell {n} ({cell.id}) prints a line of {len(wide[0])} characters, more than {WIDTH}, which JupyterLab breaks "
                   f"inside words and numbers: {wide[0][:60]}")
        if cell.cell_type == "markdown" and re.search(r"data:\w+/[\w.+-]+;base64|<img[^>]+src=.data:", cell.source):
            yield f"cell {n} ({cell.id}) has base64 data in its Markdown; draw the figure in a code cell"
        for text in (cell.source, *output_texts(cell)):
            if found := ABSOLUTE_PATH.search(text):
                line = next(line for line in text.splitlines() if found[0] in line)
                yield f"cell {n} ({cell.id}) shows a path of one machine: {line.strip()[:120]}"
        for output in cell.get("outputs", []):
            if "```" in output.get("data", {}).get("text/markdown", ""):
                yield f"cell {n} ({cell.id}) shows code as Markdown, which JupyterLab breaks inside words; show it as HTML"
            for picture, words in pictures(output):
                if len(picture) > FIGURE_LIMIT:
                    size, limit = len(picture) / 1000, FIGURE_LIMIT // 1000
                    yield f"cell {n} ({cell.id}) draws a figure of {size:.0f} kB, more than {limit}"
                if not words.strip():
                    yield (f"cell {n} ({cell.id}) draws a figure without words for who cannot see it: make it with "
                           "figures.subplots(alt, ...)")


def leaks(target, notebook):
    """Lines of a solution that the learner would find in the exercise. What its own stub shows is given on purpose."""
    solutions = build(replace(target, folder="solutions"))
    for n, (stub, solved) in enumerate(zip(build(target).cells, solutions.cells)):
        if stub.cell_type != "code" or not CHECKED.search(stub.source):
            continue
        given = set(map(squeeze, stub.source.splitlines()))
        secret = [line.strip() for line in solved.source.splitlines() if squeeze(line) not in given]
        if not secret:
            yield f"cell {n} ({stub.id}): the stub gives the whole solution away"
        for line in filter(nontrivial, secret):
            for m, other in enumerate(notebook.cells):
                if squeeze(line) in map(squeeze, other.source.splitlines()):
                    yield f"cell {m} gives a line of a solution away: {line}"


def squeeze(line):
    """A line of code without blanks and without its comment."""
    return re.sub(r"\s+", "", line.split("#")[0])


def nontrivial(line):
    """Whether a line says something about how to solve: no import, no loop header, no unpacking of a shape."""
    return len(squeeze(line)) >= 16 and not TRIVIAL.match(line.split("#")[0].strip())
