"""Make the notebooks from their sources, and check that they still agree.

    book/lessons/02_delta_rule.py   ->  notebooks/02_delta_rule.ipynb
    book/problems/02_delta_rule.py  ->  exercises/02_delta_rule.ipynb   (each solution replaced by its stub)
                                        solutions/02_delta_rule.ipynb

A notebook is executed again only when its code has changed or outputs are missing; --force executes it anyway, which
is what a change in the package calls for. A notebook whose cells somebody has edited is never overwritten.

    python book/generate.py                   all notebooks
    python book/generate.py 02                those of chapter 2
    python book/generate.py --check           change nothing; fail where notebooks and sources disagree
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_notebook

FOLDERS = {"notebooks": "lessons", "exercises": "problems", "solutions": "problems"}     # made -> its source in book/
REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION\n?", re.M | re.S)
BOOTSTRAP = """\
try:
    import deltanet_edu
except ImportError:  # in Colab only this one file arrives: fetch the package, and nothing else
    %pip install --quiet --no-deps git+{address}
    import deltanet_edu
from deltanet_edu.figures import style
style()"""


class SourceError(Exception):
    """A source file that cannot be turned into a notebook; says where and why."""


@dataclass(frozen=True)
class Target:
    """One notebook, and the source it is made from."""
    root: Path
    folder: str
    stem: str

    @property
    def name(self):
        return f"{self.folder}/{self.stem}.ipynb"

    @property
    def path(self):
        return self.root / self.name

    @property
    def source(self):
        return self.root / "book" / FOLDERS[self.folder] / f"{self.stem}.py"

    def answers_to(self, name):
        """Whether the user may mean this notebook by `name`: 02, 02_delta_rule, exercises/02 or a path."""
        folder, _, stem = name.removesuffix(".ipynb").removesuffix(".py").rpartition("/")
        folder = folder.rpartition("/")[2]
        return (self.stem == stem or self.stem.startswith(stem + "_")) and folder in ("", self.folder, FOLDERS[self.folder])


def targets(root):
    """All notebooks that the sources ask for."""
    return [Target(root, folder, path.stem) for folder, kind in FOLDERS.items()
            for path in sorted((root / "book" / kind).glob("[0-9][0-9]_*.py"))]


# -- from source to cells ----------------------------------------------------------------------------------------------

def solved(code):
    """The code of a problem with its solution in, and the markers and the stub out."""
    return REGION.sub(lambda m: m[2].partition(f"{m[1]}### STUB\n")[0], code)


def stubbed(code, where):
    """The code of a problem with each solution replaced by its stub."""
    def stub(match):
        indent, body = match[1], match[2]
        _, marker, lines = body.partition(f"{indent}### STUB\n")
        if marker:
            return re.sub(r"^([ \t]*)# ?", r"\1", lines, flags=re.M)
        if not indent:
            raise SourceError(f"{where}: a solution outside a function needs a stub of its own, such as  # answer = None")
        exercise = re.search(r"""\bcheck\(\s*["']([^"']+)""", code)
        if not exercise:
            raise SourceError(f"{where}: a solution, but no check(\"c.n\", ...) in the same cell")
        return f'{indent}raise NotImplementedError("{exercise[1]}")\n'
    return REGION.sub(stub, code)


def read_source(target):
    """The cells of the source file, as (type, source, tags), with problems solved or stubbed."""
    cells = []
    for n, cell in enumerate(jupytext.read(target.source, fmt="py:percent").cells):
        where = f"{target.source.relative_to(target.root)}, cell {n + 1}"
        text = cell.source + "\n"
        if target.folder != "notebooks" and cell.cell_type == "code":
            text = stubbed(text, where) if target.folder == "exercises" else solved(text)
        if re.search(r"^\s*### (BEGIN|END) SOLUTION|^\s*### STUB", text, re.M):
            raise SourceError(f"{where}: a SOLUTION marker without its partner, or one in a lesson")
        cells.append((cell.cell_type, text.strip("\n"), cell.metadata.get("tags", [])))
    if not cells or cells[0][0] != "markdown" or not re.match(r"# \S", cells[0][1]):
        raise SourceError(f"{target.source.relative_to(target.root)}: the first cell must be Markdown and open with '# ', the title")
    return cells


def title(path):
    """The first heading of a source file."""
    return re.search(r"^# # (.+)$", path.read_text(encoding="utf-8"), re.M)[1].strip()


def address(root):
    """Where the project lives: [project.urls] of pyproject.toml, the only place that says it."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"].rstrip("/")


def navigation(target):
    """The line of links below the title and at the end: the previous notebook, this chapter's other one, the next."""
    row = [t for t in targets(target.root) if t.folder == target.folder]
    here = row.index(target)
    links = []
    if here > 0:
        links.append(f"[← {title(row[here - 1].source)}]({row[here - 1].stem}.ipynb)")
    for other, label in (("notebooks", "The lesson"), ("exercises", "Exercises"), ("solutions", "Solutions")):
        twin = next((t for t in targets(target.root) if t.folder == other and t.stem[:3] == target.stem[:3]), None)
        if twin and other != target.folder and (target.folder, other) != ("notebooks", "solutions"):
            links.append(f"[{label}](../{twin.name})")
    if here + 1 < len(row):
        links.append(f"[{title(row[here + 1].source)} →]({row[here + 1].stem}.ipynb)")
    return " · ".join(links)


def badge(target):
    """A link that opens the notebook in Colab."""
    place = address(target.root).removeprefix("https://github.com/")
    return ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{place}/blob/main/{target.name})")


def build(target):
    """The notebook as its source says it should be, without outputs."""
    cells = read_source(target)
    links = navigation(target)
    heading, _, rest = cells[0][1].partition("\n")
    top = "\n\n".join(part for part in (heading, " · ".join(filter(None, [badge(target), links])), rest.strip("\n")) if part)
    cells[0] = ("markdown", top, cells[0][2])
    cells.insert(1, ("code", BOOTSTRAP.format(address=address(target.root)), ["bootstrap"]))
    if links:
        cells.append(("markdown", "---\n\n" + links, []))
    notebook = new_notebook(metadata={
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"}})
    for n, (kind, text, tags) in enumerate(cells):
        cell = new_code_cell(text) if kind == "code" else nbformat.v4.new_markdown_cell(text)
        cell.id = f"{target.stem[:2]}-{n:03d}"
        if tags:
            cell.metadata["tags"] = list(tags)
        notebook.cells.append(cell)
    notebook.metadata["deltanet_edu"] = {"digest": digest(notebook)}
    return notebook


# -- from cells to file ------------------------------------------------------------------------------------------------

def digest(notebook):
    """A fingerprint of the cells as generated. If the file's cells no longer match it, somebody has worked in them.

    Only the cells count, not the package's version: it answers "is this still ours?", never "is this still true?".
    The tests that run every notebook answer the second question.
    """
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def load(path):
    """The notebook on disk, or None."""
    return nbformat.read(path, as_version=4) if path.exists() else None


def edited(notebook):
    """Whether the cells on disk are not those that were generated."""
    return notebook.metadata.get("deltanet_edu", {}).get("digest") != digest(notebook)


def carry_outputs(old, new):
    """Copy the outputs over if the code is the same and was run to the end; say whether that was possible."""
    before, after = ([c for c in nb.cells if c.cell_type == "code"] for nb in (old, new))
    if [c.source for c in before] != [c.source for c in after] or any(c.execution_count is None for c in before):
        return False
    for source, cell in zip(before, after):
        cell.outputs, cell.execution_count = source.outputs, source.execution_count
    return True


def execute(notebook, folder):
    """Run all cells in a fresh kernel, as a reader would, with no progress recorded yet."""
    from nbclient import NotebookClient
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "DELTANET_EDU_HOME": home, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
               "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, store_widget_state=False,
                                coalesce_streams=True, extra_arguments=["--log-level=ERROR"],
                                resources={"metadata": {"path": str(folder)}})
        client.execute(env=env)
    notebook.metadata["language_info"] = {"name": "python"}            # the kernel adds versions, which would change the file
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def write(notebook, path):
    """Write the file whole or not at all; the same notebook always gives the same bytes."""
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)
    return True


def generate(target, *, run=True, force=False, overwrite=False):
    """Make one notebook. Returns what happened, in a few words; raises if it could not be made."""
    new, old = build(target), load(target.path)
    if old is not None and edited(old) and not overwrite:
        raise SourceError(f"{target.name} holds changes of yours and stays as it is. To get a fresh one: rename yours to "
                          f"{target.folder}/my_{target.stem}.ipynb, or replace it with --overwrite {target.name}")
    carried = old is not None and not force and carry_outputs(old, new)
    if run and not carried:
        target.path.parent.mkdir(exist_ok=True)
        execute(new, target.path.parent)
    changed = write(new, target.path)
    return "executed" if run and not carried else "written" if changed else "unchanged"


def generate_all(wanted, *, run=True, force=False, overwrite=(), jobs=2):
    """Make many notebooks, at most two at a time; print a line for each. Returns how many failed."""
    def timed(target):
        start = time.perf_counter()
        replace = any(target.answers_to(name) for name in overwrite)
        return generate(target, run=run, force=force, overwrite=replace), time.perf_counter() - start

    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(timed, target): target for target in wanted}
        for n, future in enumerate(as_completed(futures), 1):
            label = f"[{n:2d}/{len(wanted)}] {futures[future].name:<44}"
            try:
                outcome, seconds = future.result()
                print(f"{label} {outcome}, {seconds:.1f} s", flush=True)
            except Exception as error:                                  # the others are still made
                failed += 1
                print(f"{label} FAILED\n{error}", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which notebooks: 02, 02_delta_rule, exercises/02, or a path; all if none is given")
    parser.add_argument("--check", action="store_true", help="write nothing; report where notebooks and sources disagree")
    parser.add_argument("--execute", action=argparse.BooleanOptionalAction, default=True, help="run the notebooks that need it (default)")
    parser.add_argument("--force", action="store_true", help="run them even if their code has not changed")
    parser.add_argument("--overwrite", action="append", default=[], metavar="NAME", help="replace this notebook even though it was edited by hand")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    wanted = [t for t in targets(root) if not options.names or any(t.answers_to(name) for name in options.names)]
    if options.names and not wanted:
        parser.error(f"no notebook is called {' or '.join(options.names)}")
    if options.check:
        from check import check_all
        problems = check_all(root, wanted)
        print("\n".join(problems) or f"{len(wanted)} notebooks agree with their sources.")
        return bool(problems)
    return bool(generate_all(wanted, run=options.execute, force=options.force, overwrite=options.overwrite))


if __name__ == "__main__":
    sys.exit(main())
