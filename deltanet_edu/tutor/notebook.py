"""What a notebook calls: check, hint, solution, predict, verify, lines, progress."""

from html import escape

import torch

from . import storage
from .compare import difference
from .formatting import number, value
from .grading import grade
from .overview import progress_html, progress_text
from .registry import ChapterUnavailable, UnknownId, all_exercises, all_predictions, find, unavailable_chapters
from .rendering import (
    INDENT, announce, card, collect, emit, inline, listing, note, verdict_html, verdict_text,
)
from .running import settled
from .source import source_of
from .verdict import Part, Verdict


class CheckFailed(AssertionError):
    """Raised by check(..., strict=True) and verify(..., strict=True). `verdict` says why."""

    def __init__(self, verdict):
        super().__init__(verdict_text(verdict))
        self.verdict = verdict


def check(id, answer=None, strict=False):
    """Check an answer: ○ not attempted, ✓ right, or ✗ with the name of the mistake, a failing case and a next step.

    Never raises because of the answer, so that Run All works; with strict=True it raises CheckFailed unless it is
    right.
    """
    try:
        exercise = find("exercise", id)
    except ChapterUnavailable as error:
        return _conclude(Verdict(id, "", "open", f"cannot be checked here: {error}"), strict)
    announce(exercise)
    try:
        verdict = grade(exercise, answer)
    except Exception as error:                                           # a bug of ours must not stop Run All
        verdict = Verdict(exercise.id, exercise.title, "fail", f"the check itself failed with {type(error).__name__}",
                          (Part(str(error), "learner", True),
                           Part("This is a mistake of the book, not yours. Your answer may be right.")))
    storage.record_verdict(verdict)
    collect(verdict)
    return _conclude(verdict, strict)


def _conclude(verdict, strict):
    emit(verdict_text(verdict), verdict_html(verdict))
    if strict and not verdict:
        raise CheckFailed(verdict)
    return verdict


def hint(id):
    """Show the next hint of an exercise. There are three; after the third, all of them."""
    exercise = _kindly("exercise", id)
    if exercise is None:
        return
    already = storage.read()["exercises"].get(exercise.id, {}).get("hints", 0)
    n = storage.record_hint(exercise.id)
    head = f"{exercise.id} {exercise.title}"
    if already >= 3:
        shown = "\n".join(f"{i}. {text}" for i, text in enumerate(exercise.hints, 1))
        note(f'{shown}\nThat was the last one. `solution("{exercise.id}")` shows a solution.',
             f"{head} · all three hints")
    else:
        note(exercise.hints[n - 1], f"{head} · hint {n} of 3")


def solution(id, confirm=False):
    """Show a solution. Asks for confirm=True while the exercise has not been tried."""
    exercise = _kindly("exercise", id)
    if exercise is None:
        return
    if not (confirm or storage.read()["exercises"].get(exercise.id, {}).get("attempts", 0)):
        note(f'You have not tried this one yet, and trying first is what makes it stick, even when it fails. '
             f'`hint("{exercise.id}")` gives a push; `solution("{exercise.id}", confirm=True)` shows the solution now.',
             f"{exercise.id} {exercise.title}")
        return
    head = f"{exercise.id} {exercise.title} · a solution"
    if exercise.cases is None:
        note(f"{value(exercise.reference)}\n{exercise.why}", head)
        return
    sources = exercise.sources or (exercise.prepared(exercise.reference),)
    code = "\n\n\n".join(source_of(f)[0] for f in sources)
    if isinstance(exercise.reference, str):
        head += f": {exercise.reference}"
    emit(f"{head}\n{code}", listing(code, head))


def lines(id):
    """Show the shuffled lines of an order-the-lines exercise."""
    exercise = _kindly("exercise", id)
    if exercise is None:
        return
    if not hasattr(exercise.prepare, "shuffled"):
        note("This exercise has no lines to order.", f"{exercise.id} {exercise.title}")
        return
    code = exercise.prepare.shuffled()
    emit(code, listing(code, python=False))


def predict(id, choice=None):
    """Ask a question before a cell is run; with a choice, record it and answer."""
    p = find("prediction", id)
    if choice is None:
        _ask(p)
        return
    option = next((o for o in p.options if _as_typed(o) == _as_typed(choice)), None)
    if option is None:
        note("\n".join([f"{choice!r} is not one of the options:", *p.options]), f"{p.id} {p.question}")
        return
    right = option == p.answer
    storage.record_prediction(p.id, option, right)
    outcome = f"You said: {option}. Right" if right else f"You said: {option}. The answer: {p.answer}"
    meaning = p.options[option] if right else f"{option}: {p.options[option]}\n{p.answer}: {p.options[p.answer]}"
    note(meaning, f"{p.id} {outcome}", "pass" if right else "note")


def _as_typed(option):
    """An option without what a keyboard gets wrong: case, spaces, the typographic minus."""
    return "".join(str(option).lower().replace("−", "-").split())


def _ask(p):
    """The question with its options to click; the text form keeps the answer to itself."""
    width = max(map(len, p.options))
    rows = "".join(
        f'<details style="margin-top:4px"><summary style="cursor:pointer">{inline(option)}</summary>'
        f'<div style="margin-left:1.2em"><b>{"Yes" if option == p.answer else "No"}.</b> {inline(meaning)}</div>'
        '</details>'
        for option, meaning in p.options.items())
    ways = "\n".join(f'{INDENT}{option:<{width}}   predict("{p.id}", "{option}")' for option in p.options)
    head = f"<b>? {escape(p.id)}</b> {inline(p.question)} <i>Decide, then click.</i>"
    emit(f"? {p.id} {p.question}\n{ways}", card("note", head, rows))


def verify(id, strict=False):
    """Check a displayed equation numerically, left side against right side, in float64."""
    equation = find("equation", id)
    with settled(0):
        compared, failure = _compare_sides(equation)
    if failure:
        verdict = Verdict(equation.id, "", "fail", f"does not hold: {failure[0]}",
                          tuple(Part(line, "learner", True) for line in failure[1]))
    else:
        names = "; ".join(dict.fromkeys(compared))
        count = "1 comparison" if len(compared) == 1 else f"{len(compared)} comparisons"
        verdict = Verdict(equation.id, "", "pass", f"holds to {number(equation.tolerance)} in {count}: {names}")
    return _conclude(verdict, strict)


def _compare_sides(equation):
    """(names of what was compared, None or the failure)."""
    compared = []
    try:
        for name, left, right in equation.sides(torch.Generator().manual_seed(0)):
            found = difference(right, left, equation.tolerance)
            if found is not None:
                return compared, (name, _sides(found))
            compared.append(name)
    except Exception as error:
        return compared, (f"its check raises {type(error).__name__}", [str(error)])
    return compared, None if compared else ("its check compares nothing", [])


def _sides(found):
    if found.index or found.kind == "value":
        at = f" at {list(found.index)}" if found.index else ""
        return [f"left and right differ by up to {number(found.largest)} in {found.count} entries, first{at}"]
    return [f"left   {value(found.actual)}", f"right  {value(found.expected)}"]


def progress():
    """Show, per chapter, what is solved and what is under way."""
    table = all_exercises(), all_predictions(), storage.read(), unavailable_chapters()
    emit(progress_text(*table), progress_html(*table))


def _kindly(what, id):
    """The entry, or None after a kind message."""
    try:
        return find(what, id)
    except (UnknownId, ChapterUnavailable) as error:
        note(str(error))
        return None
