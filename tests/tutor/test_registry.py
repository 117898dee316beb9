"""Registering something malformed fails at once, with the id and the fix in the message."""

import importlib
import sys
import types

import pytest

from deltanet_edu.tutor import (Case, Mistake, RegistrationError, UnknownId, equation, exercise, order_the_lines,
                                prediction, registry)
from deltanet_edu.tutor.commands import heading


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    registry.all_exercises()  # so that what a test imports is not lost with its tables
    monkeypatch.setattr(registry, "_tables", {what: {} for what in registry._tables})


def register(**changes):
    mutants = {f"is wrong in way {n}": Mistake(lambda x: 0, "Look again.") for n in range(4)}
    fields = dict(id="98.1", title="T", kind="code", stars=1, minutes=5, reference=abs, alternatives=(abs,),
                  cases=lambda g: [Case((1,), "one")],
                  mutants=mutants, hints=("a", "b", "c"))
    exercise(**{**fields, **changes})


WRONG = [
    (dict(id="98"), "id should look like"), (dict(id="05.1"), "id should look like"),
    (dict(id=5.2), "id should look like"),
    (dict(kind="essay"), "kind is 'essay', expected one of code, predict, bug, order, open"),
    (dict(stars=6), "stars is 6, expected 1 to 5"),
    (dict(minutes=0), "minutes is 0"), (dict(title=" "), "give it a title"),
    (dict(hints=("a", "b")), "2 hints, expected exactly 3"),
    (dict(hints=("a", "b", "")), "expected exactly 3"), (dict(alternatives=()), "at least one alternative"),
    (dict(tolerance=1), "tolerance is 1"),
    (dict(mutants={"is one": Mistake(abs, "No.")}), "1 mutants, expected at least 4"),
    (dict(reference=3), "the reference must be a function"),
    (dict(cases=None), "the reference is a function: give cases"),
    (dict(cases=[Case((1,), "one")]), "cases must be a function"),
    (dict(cases=None, reference=None, alternatives=()), "mean 'not attempted'"),
    (dict(equations=("eq. 5.4",)), 'write ids such as "5.4"'),
    (dict(mutants={f"is {n}": (abs, "No.") for n in range(4)}), "write Mistake(answer, diagnosis, equation)"),
    (dict(mutants={f"is {n}": Mistake(abs, " ") for n in range(4)}), "needs a diagnosis"),
    (dict(mutants={f"is {n}": Mistake(3, "No.") for n in range(4)}), "must be a function like the reference"),
    (dict(mutants={f"wrong sign {n}": Mistake(abs, "No.") for n in range(4)}), 'must complete "it ..."'),
]


@pytest.mark.parametrize("changes, message", WRONG, ids=[message for _, message in WRONG])
def test_malformed_exercise(changes, message):
    with pytest.raises(RegistrationError) as caught:
        register(**changes)
    assert message in str(caught.value) and repr(str(changes.get("id", "98.1")))[1:-1] in str(caught.value)


@pytest.mark.parametrize("name", ["forgets beta", "never erases", "β is left out", "Transposed", "uses v, not u"])
def test_names_of_mistakes_that_read_well(name):
    register(mutants={name: Mistake(abs, "No."), **{f"is wrong {n}": Mistake(abs, "No.") for n in range(3)}})


def test_twice():
    register()
    with pytest.raises(RegistrationError, match="registered twice, in .*test_registry and .*test_registry"):
        register()


def test_malformed_case_and_cases():
    with pytest.raises(RegistrationError, match="expected a tuple"):
        Case([1], "one")
    with pytest.raises(RegistrationError, match="say what the case tests"):
        Case((1,), " ")
    register(cases=lambda g: [])
    with pytest.raises(RegistrationError, match="98.1: cases"):
        registry.find("exercise", "98.1").case_list


def test_malformed_prediction_and_equation():
    with pytest.raises(RegistrationError, match="at least two"):
        prediction("98.a", question="?", options={"a": "why"}, answer="a")
    with pytest.raises(RegistrationError, match="'c' is not among the options 'a', 'b'"):
        prediction("98.a", question="?", options={"a": "why", "b": "why"}, answer="c")
    with pytest.raises(RegistrationError, match="equation 98.1"):
        equation("98.1", " ")(lambda g: [])
    with pytest.raises(RegistrationError, match='"2.a"'):
        prediction("98.1", question="?", options={"a": "why", "b": "why"}, answer="a")


def chapter(monkeypatch, number, source):
    """A chapter module made of source, found by the ordinary import machinery."""
    name = f"{registry.CHAPTERS}.ch{number:02d}"

    class Finder:
        @staticmethod
        def find_spec(wanted, path=None, target=None):
            return importlib_spec(wanted, source) if wanted == name else None

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def importlib_spec(name, source):
    from importlib.machinery import ModuleSpec

    loader = types.SimpleNamespace(create_module=lambda spec: None,
                                   exec_module=lambda module: exec(source, module.__dict__))
    return ModuleSpec(name, loader)


PREDICTION = """\
from deltanet_edu.tutor import prediction
prediction("{}", question="?", options={{"a": "1", "b": "2"}}, answer="a")
"""


def test_a_chapter_is_imported_when_asked_for(monkeypatch):
    name = chapter(monkeypatch, 98, PREDICTION.format("98.a"))
    assert name not in sys.modules
    assert registry.find("prediction", "98.a").module == name
    monkeypatch.delitem(sys.modules, name)


def test_an_entry_in_the_wrong_chapter_is_refused(monkeypatch):
    chapter(monkeypatch, 98, PREDICTION.format("97.a"))
    with pytest.raises(RegistrationError, match="move it to chapters/ch97"):
        registry.find("prediction", "98.a")


def test_a_chapter_that_fails_half_way_can_be_imported_again(monkeypatch):
    chapter(monkeypatch, 98, PREDICTION.format("98.a") + "1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            registry.find("prediction", "98.b")
    assert registry._tables["prediction"] == {}


def test_a_chapter_that_needs_triton_says_so(monkeypatch, capsys):
    from deltanet_edu.tutor import check, hint

    chapter(monkeypatch, 98, "raise ModuleNotFoundError('No module named triton', name='triton.language')")
    assert check("98.1", abs).state == "open"
    said = "cannot be checked here: chapter 98 needs Triton, which is not installed on this machine"
    assert said in capsys.readouterr().out
    hint("98.1")
    assert "needs Triton" in capsys.readouterr().out


def test_a_chapter_that_needs_another_package_says_which(monkeypatch, capsys):
    """Without tokenizers chapter 16 cannot be loaded; `progress` raised, and so did every list."""
    from deltanet_edu.tutor import progress

    chapter(monkeypatch, 98, "import a_package_that_is_not_there")
    monkeypatch.setattr(registry, "chapters", lambda: [98])
    with pytest.raises(registry.ChapterUnavailable,
                       match="^chapter 98 needs a_package_that_is_not_there.*: pip install a_package"):
        registry.find("exercise", "98.1")
    progress()
    assert "Chapter 98 needs a_package_that_is_not_there, which is not installed" in capsys.readouterr().out


def test_a_chapter_with_a_mistake_of_its_own_is_not_taken_for_a_missing_package(monkeypatch):
    chapter(monkeypatch, 98, "import deltanet_edu.nowhere")
    with pytest.raises(ModuleNotFoundError):
        registry.find("exercise", "98.1")


def test_a_reloaded_module_registers_anew(monkeypatch):
    name = chapter(monkeypatch, 98, PREDICTION.format("98.a"))
    first = registry.find("prediction", "98.a")
    module = importlib.reload(sys.modules[name])
    assert module is sys.modules[name] and registry.find("prediction", "98.a") is not first
    twice = chapter(monkeypatch, 97, 2 * PREDICTION.format("97.a"))
    with pytest.raises(RegistrationError, match=f"registered twice, in {twice} and {twice}"):
        registry.find("prediction", "97.a")


def test_real_chapters_can_be_reloaded():
    from deltanet_edu.chapters.ch02 import lesson, problems

    monkey = [importlib.reload(module) for module in (problems, lesson)]
    assert monkey and registry.find("exercise", "2.1").module == problems.__name__


def test_ids_are_sorted_by_number(monkeypatch):
    for id in ("98.10", "98.2"):
        register(id=id)
    assert [e.id for e in registry.all_exercises() if e.chapter == 98] == ["98.2", "98.10"]
    with pytest.raises(UnknownId, match="Chapter 98 has 98.2, 98.10"):
        registry.find("exercise", "98.3")


def test_order_exercises_take_labels_for_mutants():
    register(kind="order", reference="BA", alternatives=("BA",),
             mutants={f"is {n}": Mistake("AB", "No.") for n in range(4)},
             prepare=order_the_lines({"A": "return y", "B": "y = x"}, header="def f(x):", name="f"))


def test_too_friendly_cases_are_found_out():
    """The generic wrong answers have teeth: with inputs that hide a mistake, one of them is accepted."""
    import torch

    from deltanet_edu.tutor.grading import grade

    from .exercises import make, running_sum
    from .wrong_answers import wrong_answers

    def friendly(g):
        for T in (1, 2, 2):
            yield Case((torch.ones(T, 3, dtype=torch.float64) * (T == 1), torch.zeros(3, dtype=torch.float64)),
                       f"T = {T}")

    def accepted(cases):
        exercise = make(running_sum, cases=cases, mutants={})
        return {name for name, answer in wrong_answers(exercise).items() if grade(exercise, answer)}

    from .exercises import cases
    assert accepted(cases) == set()
    assert accepted(friendly) >= {"hard-coded for the shapes of the first case", "remembers all cases but the last"}


def test_a_chapter_whose_lesson_is_not_written_is_listed_by_its_number(monkeypatch):
    monkeypatch.setattr(registry, "load_chapter", lambda number: types.ModuleType(f"ch{number}"))
    assert heading(91) == "Chapter 91"
