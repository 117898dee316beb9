"""That running the notebooks as tests can fail: a notebook, and the same with one thing wrong."""

import copy
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from .lessons import ROOT

SAYS = """\
from IPython.display import display

display({"text/plain": "✓ 5 of 5", "text/html": "<b>✓</b> 5 of 5"}, raw=True)"""
OTHER = 'import random\n\nrandom.random()'


def shown(text, html):
    return [new_output("display_data", data={"text/plain": text, "text/html": html})]


def alter(cell, **changes):
    def edit(notebook):
        notebook.cells[cell].update(changes)
    return edit


VARIANTS = {                                                             # name: (edit, does it pass?)
    "untouched": (lambda notebook: None, True),
    "other_output": (alter(1, outputs=shown("0.5", "0.5")), True),       # not compared
    "other_answer": (alter(0, source=SAYS.replace("✓", "✗")), False),    # ✗ where ✓ is published
    "forged_text": (alter(0, outputs=shown("✓ 4 of 5", "<b>✓</b> 5 of 5")), False),
    "forged_card": (alter(0, outputs=shown("✓ 5 of 5", "<b>✓</b> 4 of 5")), False),
    "output_removed": (alter(0, outputs=[]), False),
    "a_cell_raises": (alter(1, source="1 / 0"), False),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest says of all variants, run as `make test` runs notebooks."""
    from generate import execute
    folder = tmp_path_factory.mktemp("variants")
    notebook = new_notebook(
        cells=[new_code_cell(SAYS, metadata={"tags": ["nbval-check-output"]}), new_code_cell(OTHER)]
    )
    execute(notebook, folder)
    for name, (edit, _) in VARIANTS.items():
        variant = copy.deepcopy(notebook)
        edit(variant)
        nbformat.write(variant, folder / f"{name}.ipynb")
    return nbval(folder)


def nbval(folder, *options):
    """What pytest says of the notebooks of a folder, run with the project's conftest as `make test` runs them."""
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rA", "-q", "-p", "no:cacheprovider", *options, "-c",
               ROOT / "pyproject.toml", "--rootdir", folder, "--nbval-lax", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", VARIANTS)
def test_running_notebooks_finds_what_is_wrong(report, name):
    outcomes = re.findall(rf"^(PASSED|FAILED) {name}\.ipynb::", report, re.M)
    assert sorted(outcomes) == ["PASSED" if VARIANTS[name][1] else "FAILED", "PASSED"], report


TAKEN = """
import socket

from jupyter_client.connect import LocalPortCache

taken = socket.socket()
taken.bind(("127.0.0.1", 0))
taken.listen()
find, answers = LocalPortCache.find_available_port, [taken.getsockname()[1]]
LocalPortCache.find_available_port = lambda self, ip: answers.pop() if answers else find(self, ip)
"""


def test_a_kernel_whose_port_was_taken_is_started_again(tmp_path):
    """As when another process got the port between its choice and the kernel's start."""
    (tmp_path / "taken.py").write_text(TAKEN, encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "sum.ipynb")
    assert "1 passed" in nbval(tmp_path, "-p", "taken").splitlines()[-1]


def test_so_is_one_that_makes_a_notebook(tmp_path, monkeypatch):
    from generate import execute
    from jupyter_client.connect import LocalPortCache
    monkeypatch.setattr(LocalPortCache, "find_available_port", LocalPortCache.find_available_port)   # put back after
    exec(TAKEN, names := {})
    notebook = new_notebook(cells=[new_code_cell("1 + 1")])
    execute(notebook, tmp_path)
    assert notebook.cells[0].outputs[0].data == {"text/plain": "2"} and not names["answers"]
