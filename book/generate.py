"""Make the notebooks from their sources, and check that they still agree.

    book/lessons/02_delta_rule.py   ->  notebooks/02_delta_rule.ipynb
    book/problems/02_delta_rule.py  ->  exercises/02_exercises_delta_rule.ipynb   (text and stubs)
                                        solutions/02_solutions_delta_rule.ipynb   (with the answers of the registry)
    title and first line of a lesson ->  its row in the map of the book in README.md

A notebook is executed again only when its code has changed or outputs are missing; --force executes it anyway, which
is what a change in the package calls for. A notebook whose cells somebody has edited is never overwritten.

Besides the tags that nbval knows, a cell may have the tag your-machine, which keeps its output out of the published
notebook, and figure:NAME, which also writes its figure to book/figures/NAME.png, for README.md.

    python book/generate.py                   all notebooks
    python book/generate.py 02                those of chapter 2
    python book/generate.py --check           change nothing; fail where notebooks and sources disagree
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from proofread import incomplete, proofread
from sources import WIDGET, SourceError, build, edited, figures, mapped, load, targets

STARTS = 3                                               # of a kernel that dies before it answers


def carry_outputs(old, new):
    """Copy the outputs over if the code is the same and ran to the end; say whether that was possible.

    The bootstrap cell, which shows nothing where the package is installed, may have changed.
    """
    before, after = ([c for c in nb.cells if c.cell_type == "code"] for nb in (old, new))
    sources = [[c.source for c in cells if "bootstrap" not in c.metadata.get("tags", [])] for cells in (before, after)]
    if len(before) != len(after) or sources[0] != sources[1] or any(incomplete(old)):
        return False
    for source, cell in zip(before, after):
        cell.outputs, cell.execution_count = source.outputs, source.execution_count
    return True


def execute(notebook, folder):
    """Run all cells in a fresh kernel, as a reader would, with no progress recorded yet."""
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "DELTANET_EDU_HOME": home, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
               "PYDEVD_DISABLE_FILE_VALIDATION": "1", "MPLBACKEND": ""}  # else another one may leave no figures behind
        client = NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False,
                                store_widget_state=False, coalesce_streams=True, extra_arguments=["--log-level=ERROR"],
                                resources={"metadata": {"path": str(folder)}})
        for left in reversed(range(STARTS)):
            try:
                client.execute(env=env)
                break
            except RuntimeError as error:                # its ports, chosen a moment ago, may be another's by now
                if not left or "before replying" not in str(error):
                    raise
    notebook.metadata["language_info"] = {"name": "python"}      # the kernel adds versions, which would change the file
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "your-machine" in cell.metadata.get("tags", []):       # what it says is true of one machine: not for print
            cell.outputs = []
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)      # sliders end with the kernel; their picture stays


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
        raise SourceError(f"{target.name} holds changes of yours and stays as it is. To get a fresh one: rename yours "
                          f"to {target.folder}/my_{target.file}.ipynb, or replace it with --overwrite {target.name}")
    carried = old is not None and not force and carry_outputs(old, new)
    if run and not carried:
        target.path.parent.mkdir(exist_ok=True)
        execute(new, target.path.parent)
    for path, picture in figures(new, target):
        if not path.exists() or path.read_bytes() != picture:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(picture)
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
        try:
            for n, future in enumerate(as_completed(futures), 1):
                label = f"[{n:2d}/{len(wanted)}] {futures[future].name:<44}"
                try:
                    outcome, seconds = future.result()
                    print(f"{label} {outcome}, {seconds:.1f} s", flush=True)
                except Exception as error:                              # the others are still made
                    failed += 1
                    print(f"{label} FAILED\n{error}", flush=True)
        except KeyboardInterrupt:                                       # one Ctrl-C ends it all
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def write_map(root):
    """Bring README.md's map of the book up to date; say so if it was not."""
    readme = root / "README.md"
    before = readme.read_text(encoding="utf-8")
    if (after := mapped(before, root)) != before:
        readme.write_text(after, encoding="utf-8", newline="\n")
        print("README.md: its map of the book is up to date again")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*",
                        help="which notebooks: 02, 02_delta_rule, exercises/02, or a path; all if none is given")
    parser.add_argument("--check", action="store_true",
                        help="write nothing; report where notebooks and sources disagree")
    parser.add_argument("--execute", action=argparse.BooleanOptionalAction, default=True,
                        help="run the notebooks that need it (default)")
    parser.add_argument("--force", action="store_true", help="run them even if their code has not changed")
    parser.add_argument("--overwrite", action="append", default=[], metavar="NAME",
                        help="replace this notebook even though it was edited by hand")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    wanted = [t for t in targets(root) if not options.names or any(t.answers_to(name) for name in options.names)]
    if options.names and not wanted:
        parser.error(f"no notebook is called {' or '.join(options.names)}")
    if options.check:
        problems = proofread(root, wanted)
        print("\n".join(problems) or f"{len(wanted)} notebooks agree with their sources.")
        return bool(problems)
    try:
        failed = generate_all(wanted, run=options.execute, force=options.force, overwrite=options.overwrite)
    except KeyboardInterrupt:
        sys.exit("Interrupted; every notebook is either the old one or the new one.")
    try:
        write_map(root)
    except SourceError as error:
        sys.exit(str(error))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
