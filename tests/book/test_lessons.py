"""What every lesson and every problem set keeps to."""

import ast
import re

import nbformat
import pytest
from sources import AFTER, pictures

from deltanet_edu.tutor.registry import find

from .lessons import LESSONS, PROBLEMS, ROOT, cells, links, prose, squeeze, statements, words

# Cells of a chapter in full. Lesson 0 is a welcome and 16 a guided experiment: they may be shorter. What is numbered 90
# and above is an appendix: as short as it likes, without a problem set, and below 25 cells without a figure.
CELLS = {"00": (20, 50), "16": (40, 90), "90": (25, 45)}
CHAPTER, APPENDIX = (60, 90), (3, 45)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
each_source = pytest.mark.parametrize("path", LESSONS + PROBLEMS, ids=lambda p: f"{p.parent.name}/{p.stem}")


def is_appendix(path):
    return int(path.stem[:2]) >= 90


def test_there_is_a_book():
    assert LESSONS and PROBLEMS
    assert {p.name for p in PROBLEMS} <= {p.name for p in LESSONS}, "a problem set belongs to a lesson of the same name"


@each_lesson
def test_a_chapter_has_a_problem_set(path):
    assert is_appendix(path) or path.name in {p.name for p in PROBLEMS}, (
        f"book/problems/{path.name} is missing: a chapter has a problem set (CONTRIBUTING.md, 'An exercise'). A lesson "
        "without one is an appendix: number it 91 or above"
    )


@each_source
def test_every_equation_is_numbered_and_verified_where_it_stands(path):
    open_tag = None
    for kind, *what in statements(path):
        if kind == "equation":
            tags, latex = what
            assert open_tag is None, f"({open_tag}) is not followed by verify(\"{open_tag}\")"
            assert len(tags) == 1, f"not exactly one \\tag in $${latex}$$"
            open_tag = tags[0]
            assert squeeze(find("equation", open_tag).latex) == squeeze(latex), (
                f"({open_tag}) is not the formula that is verified"
            )
            if path in PROBLEMS:
                open_tag = None                                          # a problem may quote an equation of the lesson
        elif kind == "verify":
            find("equation", what[0])
            open_tag = None if what[0] == open_tag else open_tag
    assert open_tag is None, f"({open_tag}) is not followed by verify(\"{open_tag}\")"


@each_lesson
def test_equations_are_of_this_chapter_and_numbered_in_order(path):
    equations = [what for kind, *what in statements(path) if kind == "equation"]
    assert all(tags for tags, _ in equations), "a displayed equation without \\tag{chapter.number}"
    tags = [tags[0] for tags, _ in equations]
    chapter = str(int(path.stem[:2]))
    assert all(tag.split(".")[0] == chapter for tag in tags), tags
    assert len(tags) == len(set(tags)), "an equation is displayed twice: refer to its number instead"
    assert tags == sorted(tags, key=lambda tag: int(tag.split(".")[1])), f"numbers out of order: {tags}"


@each_source
def test_predictions_and_exercises_exist(path):
    for kind, *what in statements(path):
        if kind in ("predict", "check", "hint", "solution"):
            find("prediction" if kind == "predict" else "exercise", what[0])


@each_lesson
def test_everything_registered_for_the_chapter_is_used(path):
    from deltanet_edu.tutor.registry import all_equations, all_exercises, all_predictions
    chapter = int(path.stem[:2])
    in_lesson, in_problems = statements(path), [s for p in PROBLEMS if p.name == path.name for s in statements(p)]

    def unused(entries, used):
        return [e.id for e in entries if int(e.id.split(".")[0]) == chapter and e.id not in used]

    assert not unused(all_equations(), {s[1] for s in in_lesson if s[0] == "verify"}), (
        "equations without a place in the lesson"
    )
    assert not unused(all_predictions(), {s[1] for s in in_lesson + in_problems if s[0] == "predict"}), (
        "predictions nobody is asked for"
    )
    assert not unused(all_exercises(), {s[1] for s in in_problems if s[0] == "check"}), "exercises in no problem set"


@each_lesson
def test_length(path):
    kind = "an appendix" if is_appendix(path) else "a chapter"
    least, most = CELLS.get(path.stem[:2], APPENDIX if is_appendix(path) else CHAPTER)
    count = len(cells(path))
    assert least <= count <= most, (
        f"book/lessons/{path.name} has {count} cells, expected {least} to {most} of {kind}. A short lesson is an "
        "appendix: number it 91 or above"
    )
    assert words(path) <= 3500, f"{words(path)} words, expected at most 3,500"


@each_lesson
def test_code_cells_are_short(path):
    for kind, text in cells(path):
        lines = [line for line in text.splitlines() if line.strip()]
        assert kind != "code" or len(lines) <= 15, f"{len(lines)} lines:\n{text}"


@each_lesson
def test_figures_have_words(path):
    made = ROOT / "notebooks" / f"{path.stem}.ipynb"
    assert made.exists(), f"notebooks/{made.name} is not made yet: make notebooks ARGS={path.stem[:2]}"
    notebook = nbformat.read(made, as_version=4)
    said = [words for cell in notebook.cells for output in cell.get("outputs", []) for _, words in pictures(output)]
    assert said or is_appendix(path) and len(cells(path)) < 25, (
        f"notebooks/{path.stem}.ipynb shows no figure, expected at least one: call a function of deltanet_edu/figures "
        "in a cell of its lesson. Only an appendix (91 and above) of fewer than 25 cells may have none"
    )
    for alt in said:
        assert len(alt) >= 60 and alt.endswith("."), f"{alt!r} says too little of a figure"


# What figures and their neighbors offer that does not draw.
SILENT = {"style", "spelled", "to_tf32", "on_tensor_core", "similar_keys"}


@each_lesson
def test_every_cell_that_draws_has_its_picture(path):
    """A notebook that was made where nothing can be drawn looks whole to all other tests."""
    notebook, figures = nbformat.read(ROOT / "notebooks" / f"{path.stem}.ipynb", as_version=4), set()
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        found = list(ast.walk(ast.parse(re.sub(r"^(\s*)%", r"\1pass  # %", cell.source, flags=re.M))))
        figures |= {alias.asname or alias.name for node in found if isinstance(node, ast.ImportFrom)
                    for alias in node.names if "figures" in f"{node.module}.{alias.name}" or alias.name == "picture"}
        called = [node.func for node in found if isinstance(node, ast.Call)]
        drawn = [ast.unparse(f) for f in called if {x.id for x in ast.walk(f) if isinstance(x, ast.Name)} & figures
                 and ast.unparse(f).split(".")[-1] not in SILENT]
        assert not drawn or any(map(list, map(pictures, cell.outputs))), (
            f"notebooks/{path.stem}.ipynb: {', '.join(drawn)} left no picture in cell\n{cell.source}")


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda p: p.stem)
def test_a_problem_set_has_what_helps_a_reader(path):
    code = "\n".join(text for kind, text in cells(path) if kind == "code")
    imported = re.findall(r"^from deltanet_edu\.tutor import (.*)$", code, re.M)
    found = {name.strip() for line in imported for name in line.split(",")}
    missing = {"check", "hint", "progress", "solution"} - found
    assert not missing, f"import {', '.join(sorted(missing))} from deltanet_edu.tutor, in the first cell"


def test_open_tabs_can_be_told_apart():
    folders = ("notebooks", "exercises", "solutions")
    names = [path.name for folder in folders for path in (ROOT / folder).glob("[0-9]*.ipynb")]
    assert len(names) == len(set(names))


@each_source
def test_one_title(path):
    headings = [line for kind, text in cells(path) if kind == "markdown"
                for line in re.sub(r"```.*?```", "", text, flags=re.S).splitlines() if re.match(r"# ", line)]
    assert len(headings) == 1 and re.match(rf"# {int(path.stem[:2])}\. \S", headings[0]), (
        f"one title, such as '# 2. Name', not {headings}"
    )


@each_source
def test_images_have_words(path):
    for kind, text in cells(path):
        if kind == "markdown":
            assert not re.search(r"!\[\s*\]\(", text), "an image without alternative text"
            assert not [tag for tag in re.findall(r"<img[^>]*>", text) if not re.search(r'alt="[^"]+"', tag)], (
                "an <img> without alt"
            )


@each_source
def test_nothing_is_called_easy(path):
    found = re.search(r"\b(clearly|obviously|simply|trivially|of course)\b", prose(path), re.I)
    assert not found, (
        f"'{found[0]}' helps nobody who does not see it: {prose(path)[found.start() - 40 : found.end() + 40]!r}"
    )


@each_source
def test_links_lead_somewhere(path):
    folders = ("notebooks",) if path in LESSONS else ("exercises", "solutions")
    for target in links(path):
        file = target.partition("#")[0]
        for folder in folders:
            assert not file or (ROOT / folder / file).exists(), f"{target} is not there"


@each_source
def test_only_portable_markdown(path):
    for kind, text in cells(path):
        if kind == "markdown":
            assert not re.search(r"\\\(|\\\[|\\begin\{(equation|align)\*?\}", text), "write formulas between $ or $$"
            assert not re.search(r"^(:::|\{[a-z]+\}`|```\{)", text, re.M), "MyST is not shown by Colab or GitHub"


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda p: p.stem)
def test_problem_cards(path):
    """Each exercise has a bare heading, its card, and one cell with stub and check; no fact is repeated."""
    text = "\n".join(text for kind, text in cells(path) if kind == "markdown")
    checked = [what[0] for kind, *what in statements(path) if kind == "check"]
    assert re.findall(r"^## (\d+\.\d+)$", text, re.M) == checked, (
        "one card and one check for each exercise, in the same order"
    )
    assert "★" not in text and text.count("{exercises}") == 1


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda p: p.stem)
def test_what_a_problem_set_imports_from_the_tutor_is_spoken_of(path):
    text = "\n".join(text for _, text in cells(path)) + AFTER
    (names,) = re.findall(r"^from deltanet_edu\.tutor import (.+)$", text, re.M)
    told = "`solution(" if "hint" in names else ""                      # the last hint tells of it
    for name in names.split(", "):
        assert f"{name}(" in text + told, f"{name} is imported, but neither called nor spoken of"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_before_a_picture_with_sliders_stands_that_its_cell_is_to_be_run(path):
    """The notebook holds one picture; the sliders come when the cell is run."""
    all_cells = cells(path)
    for n, (kind, text) in enumerate(all_cells):
        if kind == "code" and re.search(r"\bexplore_\w+\(", text):
            assert re.search(r"\b[Rr]un the (next )?cell", all_cells[n - 1][1]), f"{text}: say to run the cell"
