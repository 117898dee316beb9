"""From an answer to a verdict: run the cases, compare, and find out which mistake it is."""

import re
import traceback

from . import rounding
from .compare import difference, equal, plain
from .formatting import kind, size, summary, value
from .ordering import raising_line
from .recognize import recognize
from .registry import AnswerError
from .showing import describe, your_line
from .slips import as_number, of_value
from .verdict import Part, Verdict


def grade(exercise, answer):
    """The verdict on an answer. Whatever the answer does, no exception of its own escapes."""
    if answer is None or answer is ... or (isinstance(answer, str) and not answer.strip()):
        return not_attempted(exercise)
    try:
        prepared = exercise.prepared(answer)
    except AnswerError as error:
        return fail(exercise, str(error), list(map(Part, getattr(error, "why", ()))))
    except Exception as error:
        return fail(exercise, "your answer cannot be read", [Part(f"{type(error).__name__}: {error}", "learner", True)])
    if exercise.cases is None:
        return grade_value(exercise, prepared)
    if not callable(prepared):
        return fail(exercise, f"expected a function, got {_a(prepared)}",
                    [Part("Next: give the function itself, not what it returns: "
                          f'`check("{exercise.id}", f)`, not `f(...)`.')])
    elsewhere = getattr(exercise.prepare, "elsewhere", lambda *x: None)(exercise, answer, prepared)
    return grade_function(exercise, prepared) if elsewhere is None else elsewhere            # a Verdict may be false


def grade_value(exercise, answer):
    """The verdict on an answer that is a plain value. Where numbers are asked for, a tensor of them will do."""
    right = exercise.prepared(exercise.reference)
    given, answer = answer, plain(right, answer)
    if any(difference(exercise.prepared(other), answer, exercise.tolerance) is None
           for other in (exercise.reference, *exercise.alternatives)):
        return passed(exercise, "right")
    for name, mistake in exercise.mutants.items():
        wrong = exercise.prepared(mistake.answer)
        near, read = _near(exercise, mistake.answer), plain(wrong, given)
        if difference(wrong, read, near) is None or is_rounded(wrong, read):
            certain = exercise.kind == "open" or not _is_bare(answer)     # what is open is judged by what it is
            return named(exercise, name, mistake, [_yours(answer)], certain)
    found = difference(right, answer, exercise.tolerance)
    if found.kind == "type":
        headline, advice = f"expected {_a(found.expected)}, got {_a(found.actual)}", []
    elif found.kind == "length":
        headline, advice = f"expected {len(found.expected)} values, got {len(found.actual)}", []
    else:
        headline, advice = of_value(
            right, answer, exercise.tolerance, exercise.givens, exercise.working) or ("not yet", [])
    return fail(exercise, headline, [*map(Part, advice), _yours(answer), _hint(exercise)])


def _is_bare(answer):
    """Whether an answer is a number, several, or letters: other slips may lead to the same."""
    return all(map(_is_bare, answer)) if isinstance(answer, (tuple, list)) else isinstance(answer, (int, float, str))


def _near(exercise, wrong):
    """How near an answer must come to a wrong number: as near, in proportion, as to the right one.

    A fraction may be rounded to three digits, even where a whole number is right.
    """
    if not isinstance(wrong, float) or wrong.is_integer():
        return exercise.tolerance
    right = exercise.reference
    if not isinstance(right, (int, float)):                              # several
        return max(exercise.tolerance, 1e-4)
    part = exercise.tolerance / min(1.0, abs(right) or 1.0)
    return max(part, 1e-3) * min(1.0, abs(wrong))


def is_rounded(exact, answer):
    """Whether an answer is a number, or several, rounded to the digits that it shows, which are at least three."""
    if isinstance(exact, (tuple, list)):
        return (isinstance(answer, (tuple, list)) and len(answer) == len(exact)
                and all(map(is_rounded, exact, answer)))
    x, a = as_number(exact), as_number(answer)
    if x is None or a is None or "e" in repr(a):
        return False
    text = repr(abs(a)).removesuffix(".0")                               # 27.3, and 118 for 118.0
    decimals = len(text.partition(".")[2])
    return len(text.replace(".", "").lstrip("0")) >= 3 and round(x, decimals) == a


def _yours(answer):
    return Part(f"yours    {value(answer, digits=8)}", "learner", True)


def grade_function(exercise, f):
    """The verdict on a function: every case is run, so that the pattern of failures can be read."""
    outcomes = []
    for i in range(len(exercise.case_list)):
        outcomes.append(exercise.run(f, i))
        if i == 0 and is_stub(outcomes[0].error, exercise.id):
            return not_attempted(exercise)
        if id := unsolved(outcomes[-1].error, exercise.id):
            needed = f"your function of {id}, which it calls, is not done yet: solve {id} first"
            return Verdict(exercise.id, exercise.title, "open", needed)
    wrong = [not agree(e, o, exercise.tolerance) for e, o in zip(exercise.expected, outcomes)]
    if not any(wrong):
        return _right(exercise, f)

    failing = _smallest_first(exercise, wrong)
    smallest = failing[0]
    shown = describe(exercise, f, smallest, outcomes[smallest])
    if name := _catalogued(exercise, f, outcomes, wrong):
        return named(exercise, name, exercise.mutants[name], shown)
    for i in failing:
        if telling := getattr(exercise.prepare, "mistake", lambda error: None)(outcomes[i].error):
            return named(exercise, *telling, describe(exercise, f, i, outcomes[i]))
    lost = None
    if rounding.nearly_right(exercise, outcomes, wrong):
        right, lost = rounding.look(exercise, f, wrong, agree)
        if right:
            return _right(exercise, f, lost)
    elif bare := rounding.bare_outcomes(exercise, f, smallest):
        name = _catalogued(exercise, f, bare, wrong)
        still = [not agree(e, o, exercise.tolerance) for e, o in zip(exercise.expected, bare)]
        if any(still):                                                   # what is wrong beside the epsilon
            outcomes, wrong, smallest = bare, still, _smallest_first(exercise, still)[0]
            shown = describe(exercise, f, smallest, outcomes[smallest])
        if name:
            return named(exercise, name, exercise.mutants[name], shown)

    def is_right(g):
        """Whether another function is right on every case, the wrong ones first."""
        order = sorted(range(len(wrong)), key=lambda i: not wrong[i])
        return all(agree(exercise.expected[i], exercise.run(g, i), exercise.tolerance) for i in order)

    headline, advice = recognize(exercise, f, outcomes, wrong, smallest, is_right)
    if lost:
        headline, advice = (headline if "dtype" in headline else lost.headline), [lost.cause]
        shown = shown + your_line(lost.line)
    return fail(exercise, headline, [*(Part(line) for line in advice), *shown, _hint(exercise)])


def smallest_failing(exercise, f):
    """The parts that show the smallest case on which f is wrong; None if it is right on all."""
    outcomes = [exercise.run(f, i) for i in range(len(exercise.case_list))]
    wrong = [not agree(e, o, exercise.tolerance) for e, o in zip(exercise.expected, outcomes)]
    return describe(exercise, f, (i := _smallest_first(exercise, wrong)[0]), outcomes[i]) if any(wrong) else None


def _smallest_first(exercise, wrong):
    """The numbers of the cases that are wrong, the smallest first."""
    return sorted((i for i, bad in enumerate(wrong) if bad), key=lambda i: (size(exercise.case_list[i].args), i))


def _catalogued(exercise, f, outcomes, wrong):
    """The name of the mutant whose outcomes these are, or ""."""
    found = (name for name in exercise.mutants if is_mutant(exercise, name, outcomes, wrong)
             and _same_slip(exercise, f, name, outcomes))
    return next(found, "")


def _right(exercise, f, remarks=()):
    """The verdict on a function that is right on all cases."""
    if objection := getattr(exercise.prepare, "objection", lambda f: None)(f):
        headline, (first, *parts), name = objection
        if name in exercise.mutants:
            first = Part(exercise.mutants[name].diagnosis)
        return Verdict(exercise.id, exercise.title, "fail", headline, (first, *parts, _hint(exercise)), name)
    n = len(exercise.case_list)
    count = f"{n} cases" if n > 1 else "1 case"
    more = getattr(exercise.prepare, "remarks", lambda f: [])(f)
    return passed(exercise, f"{count}: {summary(case.note for case in exercise.case_list)}", [*remarks, *more])


def agree(expected, outcome, tolerance):
    """Whether two outcomes of one case are the same: exceptions of the same kind, or equal values and equal changes."""
    if expected.error is not None or outcome.error is not None:
        return expected.error is not None and isinstance(outcome.error, type(expected.error))
    if expected.changed.keys() != outcome.changed.keys():
        return False
    theirs, mine = ((x.value, *x.changed.values()) for x in (expected, outcome))
    return equal(theirs, mine, tolerance)


def is_mutant(exercise, name, outcomes, wrong):
    """Whether the answer behaves like this mutant on every case, the wrong ones first.

    A mutant that only ever fails by raising must match in its message too, and in the line if lines were to be ordered:
    many bugs raise the same kind of exception. On cases on which `prepare.alike` says that the two went different ways,
    which a right answer may as well, the mutant is taken that goes the answer's way (`prepare.likewise`). Where there
    is none the case says nothing; of the wrong ones at least one must be left.
    """
    values_seen = compared = False
    alike = getattr(exercise.prepare, "alike", None)
    order = sorted(range(len(outcomes)), key=lambda i: not wrong[i])
    for i in order:
        mine, theirs = outcomes[i], exercise.mutant_outcome(name, i)
        if alike and not alike(exercise.case_list[i].args, mine.how, theirs.how):
            theirs = _likewise(exercise, name, i, mine.how)
            if theirs is None:
                continue
        compared = compared or wrong[i]
        more = wrong[i] and mine.changed.keys() - theirs.changed.keys()
        if more and agree(exercise.expected[i], theirs, exercise.tolerance):
            return False                                                 # wrong only in inputs that the answer changes
        if mine.error is not None or theirs.error is not None:
            if type(mine.error) is not type(theirs.error):
                return False
            if not (values_seen or _same_end(exercise, mine.error, theirs.error)):
                return False
            # The first only: Python 3.11 forgets lines in code that has run often.
            if i == order[0] and raising_line(mine.error) != raising_line(theirs.error):
                return False
            continue
        if theirs.changed.keys() - mine.changed.keys():
            return False
        pairs = [(theirs.value, mine.value), *((after, mine.changed[j]) for j, after in theirs.changed.items())]
        if any(difference(a, b, exercise.tolerance) is not None for a, b in pairs):
            return False
        values_seen = values_seen or wrong[i]
    return compared


def _same_end(exercise, mine, theirs):
    """Whether two exceptions say the same, and show the same: what an exception has seen is its `evidence`."""
    seen = [getattr(error, "evidence", None) for error in (theirs, mine)]
    return str(mine) == str(theirs) and difference(*seen, exercise.tolerance) is None


def _likewise(exercise, name, i, how):
    """The outcome on case i of the mutant that chooses as an answer has, computed once; None if there is none."""
    if (wanted := (name, i, str(how))) not in exercise.known:
        likewise = getattr(exercise.prepare, "likewise", None)
        mutant = likewise and likewise(exercise.mutants[name].answer, how)
        exercise.known[wanted] = mutant and exercise.run(exercise.prepared(mutant), i)
    return exercise.known[wanted]


def _same_slip(exercise, f, name, outcomes):
    """Whether an answer that behaves like a mutant goes wrong in the same lines, if lines were to be ordered.

    One that ends in the same exception in the same line does.
    """
    same = getattr(exercise.prepare, "same_slip", None)
    if same is None or all(o.error is not None for o in outcomes):
        return True
    return same(f, exercise.prepared(exercise.mutants[name].answer))


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


def not_attempted(exercise):
    headline = f'not attempted yet · about {exercise.minutes} minutes · hint("{exercise.id}")'
    return Verdict(exercise.id, exercise.title, "open", headline)


def named(exercise, name, mistake, shown, certain=True):
    """The verdict on a recognized mistake. Not certain: what was done is guessed; what the answer is, is seen."""
    diagnosis = mistake.diagnosis.strip()
    if mistake.equation:
        stem, period = (diagnosis[:-1], ".") if diagnosis.endswith(".") else (diagnosis, "")
        diagnosis = f"{stem} ({mistake.equation}){period}"
    following = Part(f"Next: {mistake.next}") if mistake.next else _hint(exercise)
    looks = "" if certain or name.split()[0] in ("is", "has", "gives", "says", "names") else "looks as if it "
    headline = name if name[0].isupper() else f"it {looks}{name}"
    return Verdict(exercise.id, exercise.title, "fail", headline, (Part(diagnosis), *shown, following), name)


def passed(exercise, headline, remarks=()):
    return Verdict(exercise.id, exercise.title, "pass", headline,
                   tuple(map(Part, filter(None, [*remarks, exercise.why]))))


def fail(exercise, headline, parts):
    return Verdict(exercise.id, exercise.title, "fail", headline, tuple(parts))


def _hint(exercise):
    return Part(f'Next: `hint("{exercise.id}")`.')


def _a(x):
    name = {"str": "string", "int": "integer", "float": "number"}.get(kind(x), kind(x))
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
