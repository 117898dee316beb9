"""From an answer to a verdict: run the cases, compare, and find out which mistake it is."""

import inspect
import linecache
import re
import traceback

import torch

from .compare import difference
from .formatting import argument_names, fits, kind, rows, shorten, size, summary, value
from .ordering import raising_line
from .recognize import recognize
from .registry import AnswerError
from .verdict import Part, Verdict


def grade(exercise, answer):
    """The verdict on an answer. Whatever the answer does, no exception of its own escapes."""
    if answer is None or answer is ... or (isinstance(answer, str) and not answer.strip()):
        return not_attempted(exercise)
    try:
        prepared = exercise.prepared(answer)
    except AnswerError as error:
        return fail(exercise, str(error), [])
    except Exception as error:
        return fail(exercise, "your answer cannot be read", [Part(f"{type(error).__name__}: {error}", "learner", True)])
    if exercise.cases is None:
        return grade_value(exercise, prepared)
    if not callable(prepared):
        return fail(exercise, f"expected a function, got {_a(prepared)}",
                    [Part(f'Next: give the function itself, not what it returns: `check("{exercise.id}", f)`, not `f(...)`.')])
    return grade_function(exercise, prepared)


def grade_value(exercise, answer):
    """The verdict on an answer that is a plain value. Where several numbers are asked for, a tensor of them will do."""
    if isinstance(answer, torch.Tensor) and answer.ndim == 1 and isinstance(exercise.prepared(exercise.reference), (tuple, list)):
        answer = answer.tolist()
    if any(difference(exercise.prepared(right), answer, exercise.tolerance) is None
           for right in (exercise.reference, *exercise.alternatives)):
        return passed(exercise, "right")
    for name, mistake in exercise.mutants.items():
        if difference(exercise.prepared(mistake.answer), answer, exercise.tolerance) is None:
            return named(exercise, name, mistake, [Part(f"yours    {value(answer)}", "learner", True)])
    found = difference(exercise.prepared(exercise.reference), answer, exercise.tolerance)
    if found.kind == "type":
        headline = f"expected {_a(found.expected)}, got {_a(found.actual)}"
    elif found.kind == "value" and difference(found.expected, found.actual, 0.01) is None:
        headline = "close, but not exact"
    else:
        headline = "not yet"
    return fail(exercise, headline, [Part(f"yours    {value(answer)}", "learner", True), _hint(exercise)])


def grade_function(exercise, f):
    """The verdict on a function: every case is run, so that the pattern of failures can be read."""
    outcomes = []
    for i in range(len(exercise.case_list)):
        outcomes.append(exercise.run(f, i))
        if i == 0 and is_stub(outcomes[0].error, exercise.id):
            return not_attempted(exercise)
        if id := unsolved(outcomes[-1].error, exercise.id):
            return Verdict(exercise.id, exercise.title, "open", f"your function of {id}, which it calls, is not done yet: solve {id} first")
    wrong = [not agree(e, o, exercise.tolerance) for e, o in zip(exercise.expected, outcomes)]
    if not any(wrong):
        if decoys := getattr(exercise.prepare, "decoys", lambda f: [])(f):
            which = f"line{'s' * (len(decoys) > 1)} {' and '.join(decoys)} do{'es' * (len(decoys) == 1)} not belong"
            return fail(exercise, f"the results are right, but {which}", [Part("Take out what the result does not need.")])
        count = f"{len(outcomes)} cases" if len(outcomes) > 1 else "1 case"
        return passed(exercise, f"{count}: {summary(case.note for case in exercise.case_list)}")

    smallest = min((i for i, bad in enumerate(wrong) if bad), key=lambda i: (size(exercise.case_list[i].args), i))
    shown = describe(exercise, f, smallest, outcomes[smallest])
    for name, mistake in exercise.mutants.items():
        if is_mutant(exercise, name, outcomes, wrong):
            return named(exercise, name, mistake, shown)
    headline, advice = recognize(exercise, f, outcomes, wrong, smallest)
    return fail(exercise, headline, [*(Part(line) for line in advice), *shown, _hint(exercise)])


def agree(expected, outcome, tolerance):
    """Whether two outcomes of one case are the same: exceptions of the same kind, or equal values and equal changes."""
    if expected.error is not None or outcome.error is not None:
        return expected.error is not None and isinstance(outcome.error, type(expected.error))
    if expected.changed.keys() != outcome.changed.keys():
        return False
    theirs, mine = ((x.value, *x.changed.values()) for x in (expected, outcome))
    return difference(theirs, mine, tolerance) is None


def is_mutant(exercise, name, outcomes, wrong):
    """Whether the answer behaves like this mutant on every case, the wrong ones first.

    A mutant that only ever fails by raising must match in its message too, and in the line if lines were to be ordered: many
    bugs raise the same kind of exception.
    """
    values_seen = False
    order = sorted(range(len(outcomes)), key=lambda i: not wrong[i])
    for i in order:
        mine, theirs = outcomes[i], exercise.mutant_outcome(name, i)
        if mine.error is not None or theirs.error is not None:
            if type(mine.error) is not type(theirs.error):
                return False
            if not values_seen and str(mine.error) != str(theirs.error):
                return False
            if i == order[0] and raising_line(mine.error) != raising_line(theirs.error):  # Python 3.11 forgets lines in warm code
                return False
            continue
        if theirs.changed.keys() - mine.changed.keys():
            return False
        pairs = [(theirs.value, mine.value), *((after, mine.changed[j]) for j, after in theirs.changed.items())]
        if any(difference(a, b, exercise.tolerance) is not None for a, b in pairs):
            return False
        values_seen = values_seen or wrong[i]
    return True


def is_stub(error, id):
    """Whether the exception is the stub's own `raise NotImplementedError`, not one raised by PyTorch."""
    if not isinstance(error, NotImplementedError):
        return False
    if unsolved(error, id):
        return False
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return str(error) in ("", id) or "NotImplementedError" in (frame.line or "")


def unsolved(error, id):
    """The id of another exercise whose stub has raised the exception, or ""."""
    other = str(error) if isinstance(error, NotImplementedError) else ""
    return other if other != id and re.fullmatch(r"\d+\.\d+", other) else ""


def describe(exercise, f, i, outcome):
    """The failing case: its inputs, what was expected, what came."""
    case, expected = exercise.case_list[i], exercise.expected[i]
    names = argument_names(exercise.prepared(exercise.reference), len(case.args))
    table = [*zip(names, map(rows, case.args))]
    if outcome.error is not None:
        table += [("expected", _expectation(expected)), ("yours", [_raises(outcome.error)])]
    elif expected.error is not None:
        table += [("expected", _expectation(expected)), ("yours", rows(outcome.value))]
    else:
        table += _contrast(exercise, expected, outcome, names)
    width = max(len(name) for name, _ in table)
    block = "\n".join(f"{'' if i else name:<{width}}  {line}" for name, lines in table for i, line in enumerate(lines))
    parts = [Part(f"Smallest failing case ({case.note}):"), Part(block, "learner", True)]
    line = own_line(f, outcome.error)
    return parts + ([Part("Your line:"), Part(line, "learner", True)] if line else [])


def _expectation(expected):
    if expected.error is None:
        return rows(expected.value)
    return [_raises(expected.error)]


def _raises(error):
    return f"raises {type(error).__name__}: {shorten(error)}"


def _contrast(exercise, expected, outcome, names):
    """Rows that set the expected value against the actual one: in full if small, else by the first entry that differs."""
    found = difference(expected.value, outcome.value, exercise.tolerance)
    if found is None:
        i = min(expected.changed.keys() ^ outcome.changed.keys() or outcome.changed)
        if i not in outcome.changed:
            return [("expected", [f"{names[i]} becomes {value(expected.changed[i])}"])]
        return [("yours", [f"{names[i]} becomes {value(outcome.changed[i])}"])]
    if size(expected.value) <= 24 and size(outcome.value) <= 24:
        split = not (fits(expected.value) and fits(outcome.value))
        return [("expected", rows(expected.value, split=split)), ("yours", rows(outcome.value, split=split))]
    part = f"result{found.where}" if found.where else "result"
    if found.kind not in ("value", "nan") or not found.index:
        return [("expected", [f"{part} {value(found.expected)}"]), ("yours", [f"{part} {value(found.actual)}"])]
    at = f"{part}[{', '.join(map(str, found.index))}]"
    spread = f"{found.count} of {size(found.expected)} entries differ, by up to {value(found.largest)}"
    return [("expected", [f"{at} = {value(found.expected[found.index])}, in shape {tuple(found.expected.shape)}"]),
            ("yours", [f"{at} = {value(found.actual[found.index])}; {spread}"])]


def own_line(f, error):
    """The learner's own line in the traceback: the innermost frame of the file in which f was written."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    code = getattr(inspect.unwrap(f), "__code__", None)
    mine = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not mine:
        return ""
    line = linecache.getline(mine[-1].filename, mine[-1].lineno).strip()
    return f"line {mine[-1].lineno}: {line}" if line else ""


def not_attempted(exercise):
    headline = f'not attempted yet · about {exercise.minutes} minutes · hint("{exercise.id}")'
    return Verdict(exercise.id, exercise.title, "open", headline)


def named(exercise, name, mistake, shown):
    """The verdict on a recognized mistake."""
    diagnosis = mistake.diagnosis.strip()
    if mistake.equation:
        stem, period = (diagnosis[:-1], ".") if diagnosis.endswith(".") else (diagnosis, "")
        diagnosis = f"{stem} ({mistake.equation}){period}"
    following = Part(f"Next: {mistake.next}") if mistake.next else _hint(exercise)
    headline = name if name[0].isupper() else f"it {name}"
    return Verdict(exercise.id, exercise.title, "fail", headline, (Part(diagnosis), *shown, following), name)


def passed(exercise, headline):
    return Verdict(exercise.id, exercise.title, "pass", headline, (Part(exercise.why),) if exercise.why else ())


def fail(exercise, headline, parts):
    return Verdict(exercise.id, exercise.title, "fail", headline, tuple(parts))


def _hint(exercise):
    return Part(f'Next: `hint("{exercise.id}")`.')


def _a(x):
    name = {"str": "string", "int": "integer", "float": "number"}.get(kind(x), kind(x))
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
