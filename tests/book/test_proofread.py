"""`generate.py --check` on a little book with one thing wrong at a time."""

import base64
import re

import nbformat
import pytest
from generate import generate
from proofread import proofread
from sources import build, load, mapped, targets


def pretend_to_run(target):
    """Write the notebook as if it had been executed, without the seconds that takes."""
    notebook = build(target)
    for n, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        cell.execution_count = n + 1
    target.path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, target.path)


@pytest.fixture
def checked(book):
    for target in targets(book.root):
        pretend_to_run(target)
    return book


def problems(book):
    return "\n".join(proofread(book.root, targets(book.root)))


def change(book, folder, edit):
    target = book.target(folder)
    notebook = load(target.path)
    edit(notebook)
    nbformat.write(notebook, target.path)


def output(**data):
    return nbformat.v4.new_output("display_data", data=data)


def test_a_sound_book_has_no_problems(checked):
    assert problems(checked) == ""


def test_missing_and_extra_notebooks(checked):
    checked.target("solutions").path.rename(checked.root / "solutions" / "07_other.ipynb")
    said = problems(checked)
    assert "solutions/01_solutions_small.ipynb: missing" in said and "solutions/07_other.ipynb: has no source" in said


def test_a_learners_copy_is_not_an_extra_notebook(checked):
    (checked.root / "exercises" / "my_01_small.ipynb").write_bytes(checked.target("exercises").path.read_bytes())
    assert problems(checked) == ""


def test_a_stale_notebook_is_named_with_its_first_differing_cell(checked):
    checked.edit("book/lessons/01_small.py", "x = 1 + 1", "x = 1 + 2")
    assert re.search(
        r"notebooks/01_small.ipynb: cell 2 \(01-002\).*\n.*notebook: x = 1 \+ 1\n.*source:   x = 1 \+ 2",
        problems(checked),
    )


def test_a_stale_map_of_the_book_is_found(checked):
    readme = checked.root / "README.md"
    readme.write_text("| 01 | Another title | What it is about. |\n", encoding="utf-8")
    assert re.search(r"README.md: its map .*\n    README.md: \| 01 \| Another.*\n    lessons:   \| 01 \| \[A lesson\]",
                     problems(checked))
    readme.write_text(mapped(readme.read_text(encoding="utf-8"), checked.root), encoding="utf-8")
    assert problems(checked) == ""


def image(size, alt="A line."):
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(bytes(size)).decode()}">'


def edit_cell(n, **changes):
    def edit(notebook):
        notebook.cells[n].update(changes)
    return edit


@pytest.mark.parametrize(
    "folder, edit, says",
    [
        ("notebooks", edit_cell(2, metadata={"tags": ["other"]}), "differs from its source in metadata"),
        ("notebooks", edit_cell(2, id="other"), "differs from its source in id"),
        ("notebooks", lambda nb: nb.cells.pop(), "4 cells, but its source makes 5"),
        (
            "notebooks",
            lambda nb: nb.metadata.update(kernelspec={"name": "mine", "display_name": "Mine", "language": "python"}),
            "metadata differs",
        ),
        ("notebooks", edit_cell(3, execution_count=None), r"cell 3 \(01-003\) has not been executed"),
        (
            "notebooks",
            edit_cell(3, outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]),
            "raised ValueError: no",
        ),
        ("notebooks", edit_cell(0, source="# 1. A lesson\n![a](data:image/png;base64,AAAA)"), "base64"),
        (
            "notebooks",
            edit_cell(3, outputs=[output(**{"text/plain": "/home/somebody/x.py:3: UserWarning"})]),
            "path of one machine",
        ),
        ("notebooks", edit_cell(3, source="open('/tmp/x')"), "path of one machine"),
        (
            "notebooks",
            edit_cell(3, outputs=[output(**{"image/png": base64.b64encode(bytes(100_001)).decode()})]),
            "a figure of 100 kB",
        ),
        ("notebooks", edit_cell(3, outputs=[output(**{"text/html": image(100_001)})]), "a figure of 100 kB"),
        ("notebooks", edit_cell(3, outputs=[output(**{"image/png": "AAAA"})]), "a figure without words"),
        ("notebooks", edit_cell(3, outputs=[output(**{"text/html": image(9, alt=" ")})]), "a figure without words"),
        ("notebooks", edit_cell(3, outputs=[output(**{"text/plain": "x" * 400_000})]), "more than 400"),
        (
            "notebooks",
            edit_cell(3, outputs=[output(**{"text/markdown": "```python\nx\n```"})]),
            "shows code as Markdown",
        ),
        (
            "notebooks",
            edit_cell(3, outputs=[output(**{"text/plain": "a\n" + "0.123 " * 21})]),
            "a line of 126 characters",
        ),
        (
            "notebooks",
            edit_cell(3, outputs=[nbformat.v4.new_output("stream", text="x" * 106)]),
            "a line of 106 characters, more than 105",
        ),
        (
            "solutions",
            edit_cell(4, outputs=[output(**{"text/plain": "✗ 1.1 A sum · is wrong"})]),
            "answers '✗ 1.1 A sum",
        ),
        (
            "solutions",
            edit_cell(4, outputs=[output(**{"text/plain": "○ 1.1 A sum · not attempted"})]),
            "answers '○ 1.1 A sum",
        ),
        (
            "notebooks",
            edit_cell(3, source='verify("1.1")', outputs=[output(**{"text/plain": "✗ 1.1 does not hold"})]),
            "answers '✗ 1.1 does",
        ),
        (
            "exercises",
            edit_cell(4, outputs=[output(**{"text/plain": "✓ 1.1 A sum · 3 cases"})]),
            "answers '✓ 1.1 A sum",
        ),
        (
            "exercises",
            edit_cell(4, source="result = sum(numbers,  start=0)   # mine"),
            "cell 4 gives a line of a solution away: result = sum",
        ),
    ],
)
def test_one_thing_wrong(checked, folder, edit, says):
    change(checked, folder, edit)
    name = checked.target(folder).name
    assert re.search(f"{name}: .*{says}", problems(checked))


def test_a_figure_and_a_notebook_within_the_limits_pass(checked):
    change(checked, "notebooks", edit_cell(3, outputs=[output(**{"text/html": image(99_999)})]))
    assert problems(checked) == ""


def test_a_line_that_fits_or_is_shown_otherwise_passes(checked):
    shown = output(**{"text/plain": "x" * 106, "text/html": "<pre></pre>"})
    change(checked, "notebooks", edit_cell(3, outputs=[shown, nbformat.v4.new_output("stream", text="x" * 105 + "\n")]))
    assert problems(checked) == ""


def test_an_expected_error_passes(checked):
    checked.edit("book/lessons/01_small.py", "# %%\nx = 1", '# %% tags=["raises-exception"]\nx = 1')
    pretend_to_run(checked.target("notebooks"))
    change(
        checked,
        "notebooks",
        edit_cell(2, outputs=[nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])]),
    )
    assert problems(checked) == ""


def test_a_stub_that_is_the_solution_is_found(checked):
    checked.edit("book/problems/01_small.py", "n = ...        # what is added?", "n = n + i * i - 7")
    generate(checked.target("exercises"), run=False)
    assert "cell 7 (01-007): the stub gives the whole solution away" in problems(checked)


def test_a_solution_given_away_in_another_cell_of_the_source_is_found(checked):
    checked.edit(
        "book/problems/01_small.py",
        "# ## 1.2\n#\n# Choose.\n",
        "# ## 1.2\n\n# %%\nnumbers = [1, 2]\nresult = sum(numbers, start=0)\n",
    )
    for target in targets(checked.root):
        pretend_to_run(target)
    assert re.search(
        "exercises/01_exercises_small.ipynb: cell 6 gives a line of a solution away: result = sum", problems(checked)
    )
