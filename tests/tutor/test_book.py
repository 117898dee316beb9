"""The book and the registry name the same exercises, equations and predictions, and print the same equations."""

import re
from pathlib import Path

import jupytext
import pytest

from deltanet_edu.tutor import registry

BOOK = Path(__file__).resolve().parents[2] / "book"
LESSONS, PROBLEMS = sorted((BOOK / "lessons").glob("[0-9][0-9]_*.py")), sorted((BOOK / "problems").glob("[0-9][0-9]_*.py"))


def chapter_of(path):
    return int(path.name[:2])


def cells(path, kind):
    return [cell.source for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == kind]


def called(path, function):
    """The first argument of every call of a tutor function in the code cells."""
    return [id for source in cells(path, "code") for id in re.findall(rf'\b{function}\(\s*["\']([^"\']+)["\']', source)]


def registered(what, number):
    registry.load_chapter(number)
    return {entry.id: entry for entry in registry._tables[what].values() if int(entry.id.split(".")[0]) == number}


def displayed(path):
    """{number: LaTeX} of the numbered equations of a lesson."""
    found = {}
    for source in cells(path, "markdown"):
        for body in re.findall(r"\$\$(.*?)\$\$", source, re.S):
            tag = re.search(r"\\tag\{([^}]+)\}", body)
            assert tag, f"{path.name}: a displayed equation without \\tag: {body.strip()}"
            assert tag[1] not in found, f"{path.name}: equation {tag[1]} is displayed twice"
            found[tag[1]] = body.replace(tag[0], "")
    return found


def squeezed(latex):
    return re.sub(r"\s+", "", latex)


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda p: p.stem)
def test_problem_set_and_registry_have_the_same_exercises(path):
    asked, known = called(path, "check"), registered("exercise", chapter_of(path))
    assert len(asked) == len(set(asked)), f"{path.name} checks an exercise twice"
    assert sorted(asked, key=registry.sort_key) == asked, f"{path.name}: the exercises are not in the order of their numbers"
    assert set(asked) == set(known), f"only in {path.name}: {set(asked) - set(known)}; only registered: {set(known) - set(asked)}"


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda p: p.stem)
def test_cards_say_what_the_registry_says(path):
    """Title, stars and minutes of each card."""
    text = "\n\n".join(cells(path, "markdown"))
    for id, exercise in registered("exercise", chapter_of(path)).items():
        card = re.search(rf"^## {re.escape(id)} (.+?)$(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert card, f'{path.name}: there is no card "## {id} {exercise.title}"'
        assert exercise.title in card[1], f"{id}: the card is titled {card[1]!r}, the registry says {exercise.title!r}"
        shown = card[0]
        assert shown.count("★") == exercise.stars, f"{id}: the card has {shown.count('★')} stars, the registry {exercise.stars}"
        assert re.search(rf"\b{exercise.minutes} min", shown), f"{id}: the card does not say {exercise.minutes} min"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_every_displayed_equation_is_verified(path):
    shown, known = displayed(path), registered("equation", chapter_of(path))
    for id, latex in shown.items():
        assert id in known, f"{path.name}: equation {id} is displayed but has no check: add @equation({id!r}, ...) to the chapter module"
        assert squeezed(latex) == squeezed(known[id].latex), f"{path.name}: equation {id} reads\n{latex}\nbut its check says\n{known[id].latex}"
    assert set(known) == set(shown), f"registered, but not displayed in {path.name}: {sorted(set(known) - set(shown))}"
    assert set(shown) <= set(called(path, "verify")), f"{path.name}: displayed without verify: {sorted(set(shown) - set(called(path, 'verify')))}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_predictions_of_lesson_and_problem_set_are_registered(path):
    asked = [id for p in (path, *(q for q in PROBLEMS if chapter_of(q) == chapter_of(path))) for id in called(p, "predict")]
    assert set(asked) == set(registered("prediction", chapter_of(path)))


@pytest.mark.parametrize("path", LESSONS + PROBLEMS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_ids_named_anywhere_exist(path):
    for function, what in (("check", "exercise"), ("hint", "exercise"), ("solution", "exercise"), ("lines", "exercise"), ("verify", "equation"),
                           ("predict", "prediction")):
        for id in called(path, function):
            registry.find(what, id)


def test_every_chapter_module_belongs_to_a_lesson_and_a_problem_set():
    if not LESSONS or not PROBLEMS:
        pytest.skip("the book has no lessons yet")
    written = {chapter_of(p) for p in LESSONS} & {chapter_of(p) for p in PROBLEMS}
    assert set(registry.chapters()) <= written, f"chapter modules without lesson or problem set: {set(registry.chapters()) - written}"


