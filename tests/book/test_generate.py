"""The generator, on a little book: what it makes, what it runs, and what it never overwrites."""

import sys
from types import SimpleNamespace

import answers
import nbformat
import pytest
import sources
from generate import carry_outputs, generate, generate_all
from proofread import proofread
from sources import SourceError, build, edited, load, mapped, pictures, targets

from .lessons import ROOT

FOLDERS = ("notebooks", "exercises", "solutions")


def code(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


def test_exercises_get_stubs_and_solutions_get_solutions(book):
    exercise, solution = code(build(book.target("exercises"))), code(build(book.target("solutions")))
    assert '    """The sum."""\n    raise NotImplementedError("1.1")\n\ncheck("1.1", total)' in exercise
    assert "answer = None" in exercise and "the second option" not in exercise
    assert "    for i in range(n):\n        n = ...        # what is added?\n    return n\n\ncheck" in exercise
    assert "result = sum(numbers, start=0)\n    return result\n\ncheck" in solution
    assert 'answer = "the second option"\n\ncheck' in solution
    assert "    for i in range(n):\n        n = n + i * i - 7\n    return n\n\ncheck" in solution
    assert '"""The sum."""' in solution and "NotImplementedError" not in solution


def test_cards_and_the_size_of_a_problem_set_come_from_the_registry(book):
    text = "\n".join(cell.source for cell in build(book.target("exercises")).cells if cell.cell_type == "markdown")
    assert "Three exercises, about an hour and a quarter." in text
    assert "## 1.1 A sum\n\n★★ · 30 minutes · equations 1.1 and 1.2\n" in text + "\n"
    assert "## 1.2 A choice\n\n★★ · 5 minutes · equations 1.1 and 1.2 · open\n\nChoose." in text


@pytest.mark.parametrize("kind, old, new, says", [
    ("problems", "answer = None\n", "", "answer = None"),
    ("problems", "def total(numbers)", "def sums(numbers)", "does not define it"),
    ("problems", "def total(numbers)", "def total(numbers, start)", "name them alike"),
    ("lessons", "# # 1. A lesson", "# 1. A lesson", "title"),
])
def test_a_malformed_source_is_named(book, kind, old, new, says):
    book.edit(f"book/{kind}/01_small.py", old, new)
    with pytest.raises(SourceError, match=f"book/{kind}/01_small.py.*{says}"):
        build(book.target("solutions" if kind == "problems" else "notebooks"))


@pytest.mark.parametrize(
    "minutes, says",
    [
        (10, "a quarter of an hour"),
        (50, "three quarters of an hour"),
        (60, "an hour"),
        (100, "an hour and three quarters"),
        (150, "two hours and a half"),
    ],
)
def test_how_long_a_problem_set_takes(monkeypatch, minutes, says):
    monkeypatch.setattr(answers, "all_exercises", lambda: [SimpleNamespace(chapter=1, minutes=minutes)])
    assert answers.size(1) == f"One exercise, about {says}"


def test_what_a_check_or_an_equation_says_is_compared(book):
    book.edit("book/lessons/01_small.py", "x = 1 + 1", 'verify("1.1")')
    book.edit("book/problems/01_small.py", '# %% tags=["nbval-check-output"]', "# %%")
    for target in targets(book.root):
        for cell in build(target).cells:
            says = cell.cell_type == "code" and any(
                line.startswith(("check(", "verify(")) for line in cell.source.splitlines()
            )
            assert cell.metadata.get("tags", []).count("nbval-check-output") == (says or "two is" in cell.source)


def test_ids_and_digest_are_deterministic(book):
    for folder in FOLDERS:
        first, second = build(book.target(folder)), build(book.target(folder))
        assert nbformat.writes(first) == nbformat.writes(second) and not edited(first)
        assert [c.id for c in first.cells][:3] == ["01-000", "01-001", "01-002"]
        nbformat.validate(first)


def test_every_notebook_gets_the_same_bootstrap_cell_after_its_title(book):
    book.add("lessons", "02_next", "# %% [markdown]\n# # 2. Next\n#\n# *What comes next.*\n")
    cells = [build(t).cells[1] for t in targets(book.root)]
    assert len(cells) == 4 and len({c.source for c in cells}) == 1
    assert "git+https://" in cells[0].source and "--no-deps" in cells[0].source
    assert not any(name in cells[0].source for name in ("torch", "triton", "numpy"))


def test_the_bootstrap_cell_fetches_the_package_or_says_what_to_do(book, monkeypatch):
    from IPython.core.inputtransformer2 import TransformerManager

    asked = []
    shell = SimpleNamespace(run_line_magic=lambda *command: asked.append(command))
    monkeypatch.setitem(sys.modules, "deltanet_edu", None)                # importing it raises ImportError
    cell = build(book.target("exercises")).cells[1].source
    with pytest.raises(ImportError, match=r"could not be fetched from https://.*pip install --no-deps \./NAME_OF_IT"):
        exec(TransformerManager().transform_cell(cell), {"get_ipython": lambda: shell})
    assert asked == [("pip", f"install --quiet --no-deps git+{sources.address(book.root)}")]


def test_the_address_comes_from_pyproject(book):
    book.edit("pyproject.toml", "https://github.com/deltanet-edu/deltanet_edu", "https://github.com/someone/a-fork")
    notebook = build(book.target("exercises"))
    assert "git+https://github.com/someone/a-fork\n" in notebook.cells[1].source
    assert (
        "(https://colab.research.google.com/github/someone/a-fork/blob/main/exercises/01_exercises_small.ipynb)"
        in notebook.cells[0].source
    )


def test_opening_a_notebook_does_not_change_what_it_says_about_its_kernel(book):
    from jupyter_client.kernelspec import get_kernel_spec

    spec = get_kernel_spec("python3")
    for folder in FOLDERS:
        said = build(book.target(folder)).metadata["kernelspec"]
        assert said == {"name": "python3", "display_name": spec.display_name, "language": spec.language}


def test_a_problem_set_ends_by_saying_what_shows_how_far_you_are(book):
    for folder in FOLDERS:
        assert ("`progress()`" in build(book.target(folder)).cells[-1].source) == (folder == "exercises")
    book.edit("book/problems/01_small.py", "# %%\nanswer = None", "# %%\nprogress()\n\nanswer = None")
    assert "`progress()`" not in build(book.target("exercises")).cells[-1].source


def test_navigation_links_the_neighbors_and_the_twins(book):
    for stem, name in (("00_first", "0. First"), ("02_next", "2. Next")):
        book.add("lessons", stem, f"# %% [markdown]\n# # {name}\n#\n# *About it.*\n")
    lesson, last = build(book.target("notebooks")), build(book.target("notebooks", "02_next"))
    for cell in (lesson.cells[0], lesson.cells[-1]):
        assert (
            "[← 0. First](00_first.ipynb) · [Exercises](../exercises/01_exercises_small.ipynb) · "
            "[2. Next →](02_next.ipynb)"
            in cell.source
        )
    assert "[← 1. A lesson](01_small.ipynb)" in last.cells[0].source and "→" not in last.cells[0].source
    assert "[The lesson](../notebooks/01_small.ipynb)" in build(book.target("exercises")).cells[0].source


@pytest.fixture
def quick(monkeypatch):
    """Leave the import of the package out of the bootstrap cell: importing PyTorch takes seconds."""
    monkeypatch.setattr(sources, "BOOTSTRAP", "# nothing to fetch from {address}")


def test_running_stores_outputs_once_and_the_same_bytes_again(book, quick, capsys):
    target = book.target("notebooks")
    assert generate_all([target]) == 0
    assert "[ 1/1] notebooks/01_small.ipynb" in capsys.readouterr().out
    made = target.path.read_bytes()
    notebook = load(target.path)
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2, 3]
    assert notebook.cells[3].outputs[0].text == "two is 2\n"
    assert generate(target) == "unchanged" and target.path.read_bytes() == made
    assert generate(target, force=True) == "executed" and target.path.read_bytes() == made

    book.edit("book/lessons/01_small.py", "What it is about.", "Something else.")  # prose only: nothing is run
    assert generate(target) == "written" and "Something else." in load(target.path).cells[0].source
    assert load(target.path).cells[3].outputs[0].text == "two is 2\n"
    book.edit("book/lessons/01_small.py", "1 + 1", "1 + 2")
    assert generate(target) == "executed" and load(target.path).cells[3].outputs[0].text == "two is 3\n"


def test_a_failing_cell_leaves_the_old_notebook_and_does_not_stop_the_others(book, quick, capsys):
    notebook, solutions = book.target("notebooks"), book.target("solutions")
    generate(notebook, run=False)
    before = notebook.path.read_bytes()
    book.edit("book/lessons/01_small.py", "x = 1 + 1", "x = 1 / 0")
    assert generate_all([notebook, solutions]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said and "ZeroDivisionError" in said
    assert notebook.path.read_bytes() == before and solutions.path.exists()
    assert not list(book.root.rglob("*.partial"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_learners_work_is_never_overwritten(book, capsys, folder):
    target, other = book.target(folder), book.target("exercises" if folder != "exercises" else "solutions")
    generate(target, run=False)
    mine = load(target.path)
    mine.cells[2].source += "\n# my own work"
    nbformat.write(mine, target.path)
    before = target.path.read_bytes()
    book.edit("book/problems/01_small.py", "Choose.", "Choose one.")
    assert generate_all([target, other], run=False, force=True) == 1
    said = capsys.readouterr().out
    assert f"{target.name} holds changes of yours" in said and f"--overwrite {target.name}" in said
    assert target.path.read_bytes() == before and other.path.exists()
    assert generate_all([target], run=False, overwrite=[target.name]) == 0
    assert "my own work" not in target.path.read_text(encoding="utf-8")


def test_a_notebook_without_a_digest_counts_as_somebodys_work(book):
    target = book.target("exercises")
    notebook = build(target)
    del notebook.metadata["deltanet_edu"]
    target.path.parent.mkdir()
    nbformat.write(notebook, target.path)
    with pytest.raises(SourceError, match="holds changes of yours"):
        generate(target, run=False)


def test_what_is_true_of_one_machine_only_is_not_published(book, quick):
    book.edit("book/lessons/01_small.py", "# %%\nx = 1 + 1", '# %% tags=["your-machine"]\nx = 1 + 1')
    target = book.target("notebooks")
    generate(target)
    assert load(target.path).cells[2].outputs == [] and load(target.path).cells[2].execution_count == 2
    assert generate(target) == "unchanged"


def test_a_figure_of_a_notebook_can_be_shown_elsewhere(book, quick):
    book.edit(
        "book/lessons/01_small.py",
        "# %%\nx = 1 + 1\nx",
        '# %% tags=["figure:line"]\nfrom deltanet_edu.figures import lines, style\nstyle()\nx = 2\n'
        'lines({"line": [1, 2]}, xlabel="x", ylabel="y", alt="Line plot.");',
    )
    target, file = book.target("notebooks"), book.root / "book" / "figures" / "line.png"
    generate(target)
    ((picture, words),) = [found for output in load(target.path).cells[2].outputs for found in pictures(output)]
    assert file.read_bytes() == picture and picture.startswith(b"\x89PNG")
    assert words == "Line plot. y against x. line: from 1 to 2."
    assert len(file.read_bytes()) < 20_000
    assert proofread(book.root, [target]) == []
    file.write_bytes(b"another")
    assert proofread(book.root, [target]) == [
        "notebooks/01_small.ipynb: book/figures/line.png is not the figure it shows: "
        "python book/generate.py notebooks/01_small.ipynb"
    ]
    assert generate(target) == "unchanged" and file.read_bytes().startswith(b"\x89PNG")


def test_of_sliders_the_picture_beside_them_is_published(book, quick):
    book.edit("book/lessons/01_small.py", "# %%\nx = 1 + 1\nx",
              '# %%\nfrom IPython.display import display\nx = 2\n'
              f'display({{"{sources.WIDGET}": {{}}, "text/html": "<b>still</b>"}}, raw=True)')
    generate(book.target("notebooks"))
    (output,) = load(book.target("notebooks").path).cells[2].outputs
    assert output.data == {"text/html": "<b>still</b>"}


def test_a_saved_error_is_not_carried_over(book):
    old, new = build(book.target("notebooks")), build(book.target("notebooks"))
    for n, cell in enumerate(c for c in old.cells if c.cell_type == "code"):
        cell.execution_count = n + 1
    assert carry_outputs(old, new)
    old.cells[2].outputs = [nbformat.v4.new_output("error", ename="KeyboardInterrupt", evalue="", traceback=[])]
    assert not carry_outputs(old, new)


@pytest.mark.parametrize("name, hits", [
    ("01", 3), ("01_small", 3), ("exercises/01", 1), ("exercises/01_exercises_small.ipynb", 1),
    ("book/problems/01_small.py", 2),
    ("1", 0), ("01_sm", 0), ("notebooks/02", 0)])
def test_names(book, name, hits):
    assert sum(t.answers_to(name) for t in targets(book.root)) == hits


MAP = ("| | lesson | what it is about |\n|---|---|---|\n| 00 | Not yet | words (in brackets) |\n| | **Part II** | |\n"
       "| 02 | Gone | [x](y) |\n\nText.\n")


def test_the_map_of_the_book_has_a_row_for_every_lesson_there_is(book):
    assert mapped(MAP, book.root) == MAP, "lessons that have not been made"
    generate(book.target("notebooks"), run=False)
    row = f"| 01 | [A lesson]({sources.address(book.root)}/blob/main/notebooks/01_small.ipynb) | What it is about. |\n"
    new = mapped(MAP, book.root)
    assert new == MAP.replace("| | **Part II**", f"{row}| | **Part II**")
    assert mapped(new, book.root) == new
    book.edit("book/lessons/01_small.py", "A lesson\n#\n# *What it is about.*", "A tale\n#\n# *Of\n# this.*")
    assert mapped(new, book.root) == new.replace("[A lesson]", "[A tale]").replace("What it is about.", "Of this.")
    (book.root / "book" / "lessons" / "01_small.py").unlink()
    assert mapped(new, book.root) == MAP.replace("| | **", "| 01 | A lesson | What it is about. |\n| | **")


@pytest.mark.parametrize("last, place", [("00", "Not yet | words (in brackets) |\n"), ("02", "Gone | [x](y) |\n")])
def test_a_new_row_follows_that_of_the_lesson_before(book, last, place):
    later = MAP.replace("| 00 |", "| 03 |") if last == "02" else MAP.replace("| 02 |", "| 10 |")
    generate(book.target("notebooks"), run=False)
    before, found, _ = mapped(later, book.root).partition("| 01 |")
    assert found and before.endswith(place if last == "00" else "|---|---|---|\n")


def test_a_lesson_says_what_it_is_about(book):
    book.edit("book/lessons/01_small.py", "# *What it is about.*", "# What it is about.")
    with pytest.raises(SourceError, match=r"01_small.py: below the title, after an empty line, say in italics what"):
        build(book.target("notebooks"))


def test_the_map_in_the_readme_is_what_the_lessons_say():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert mapped(readme, ROOT) == readme, "README.md's map of the book is stale: make notebooks"
