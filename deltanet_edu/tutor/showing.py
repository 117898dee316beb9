"""The failing case as the learner sees it: its inputs, what was expected, what came, and where they differ."""

import inspect
import linecache
import os
import sys
import traceback

from .compare import as_tensor, as_wide, difference
from .formatting import argument_names, kind, number, rows, shorten, size, value
from .verdict import Part

WHOLE = 24                # results of up to this many numbers are shown whole
DIGITS = (4, 5, 6, 7, 8, 10, 12, 15, 17)
READABLE = 7              # more digits than these are shown of one entry only


def describe(exercise, f, i, outcome):
    """The failing case as parts of a verdict."""
    case, expected = exercise.case_list[i], exercise.expected[i]
    names = argument_names(exercise.prepared(exercise.reference), len(case.args))
    table = [*zip(names, map(rows, case.args))]
    if outcome.error is not None:
        said = shorten(outcome.error) if is_objection(exercise, outcome.error) else _raises(outcome.error)
        table += [("expected", _expectation(expected)), ("yours", [said])]
    elif expected.error is not None:
        table += [("expected", _expectation(expected)), ("yours", rows(outcome.value))]
    else:
        found = difference(expected.value, outcome.value, exercise.tolerance)
        changes = [] if found else _changes(exercise, expected, outcome, names)
        table += contrast(found, expected.value, outcome.value) if found else changes
    width = max(len(name) for name, _ in table)
    block = "\n".join(f"{'' if i else name:<{width}}  {line}" for name, lines in table for i, line in enumerate(lines))
    parts = [Part(f"Smallest failing case ({case.note}):"), Part(block, "learner", True)]
    line = own_line(f, outcome.error)
    return parts + your_line(line)


def your_line(line):
    """The parts that show a line of the learner's; none if there is no line."""
    return [Part("Your line:"), Part(line, "learner", True)] if line else []


def is_objection(exercise, error):
    """Whether it is not the answer that has raised this, but the exercise's own judge (`prepare`), which objects."""
    home = getattr(sys.modules.get(exercise.module), "__file__", "")
    if not (exercise.prepare and isinstance(error, ValueError) and home):
        return False
    where = traceback.extract_tb(error.__traceback__)[-1].filename
    return os.path.dirname(where) == os.path.dirname(home)


def _expectation(expected):
    return rows(expected.value) if expected.error is None else [_raises(expected.error)]


def _raises(error):
    return f"raises {type(error).__name__}: {shorten(error)}"


def _changes(exercise, expected, outcome, names):
    """Rows about arguments that were changed, or not, against what was expected."""
    if differing := sorted(expected.changed.keys() ^ outcome.changed.keys()):
        i = differing[0]
        side, changed = ("yours", outcome.changed) if i in outcome.changed else ("expected", expected.changed)
        return [(side, [f"{names[i]} becomes {value(changed[i])}"])]
    for i in sorted(expected.changed):
        if found := difference(expected.changed[i], outcome.changed[i], exercise.tolerance):
            shown = contrast(found, expected.changed[i], outcome.changed[i])
            return [(side, [f"{names[i]} becomes {lines[0]}", *lines[1:]]) for side, lines in shown]
    return []


def contrast(found, expected, actual):
    """Two rows, "expected" and "yours": whole if small, else the first entry that differs; never the same."""
    expected = as_wide(actual, expected) if found.kind == "value" else expected  # its dtype is not what is wrong
    if size(expected) <= WHOLE and size(actual) <= WHOLE:
        for digits in (d for d in DIGITS if d <= READABLE):
            split = len(value(expected, digits=digits)) > 80 or len(value(actual, digits=digits)) > 80
            shown = [rows(x, split=split, digits=digits) for x in (expected, actual)]
            if "..." not in "".join(sum(shown, [])) and _seen(found, digits) and shown[0] != shown[1]:
                return [("expected", shown[0]), ("yours", shown[1])]
    return _at_one_place(found, expected)


def _seen(found, digits):
    """Whether the first entry that differs is printed differently with so many digits."""
    e, a = _entry(found, found.expected), _entry(found, found.actual)
    return not found.count or value(e, digits=digits) != value(a, digits=digits)


def _entry(found, x):
    """The entry of a value at which it differs."""
    t = as_tensor(x)
    return t[found.index].item() if t is not None and found.count else x


def _at_one_place(found, expected):
    """The two rows for the first difference alone."""
    part = f"result{found.where}" if found.where or size(expected) > WHOLE else "result" if found.index else ""
    e, a = _entry(found, found.expected), _entry(found, found.actual)
    if found.index:
        part, shape = f"{part}[{', '.join(map(str, found.index))}] =", tuple(as_tensor(found.expected).shape)
        inside = f", in shape {shape}"
        spread = f"; {found.count} of {size(found.expected)} entries differ, by up to {number(found.largest)}"
    else:
        inside = spread = ""
    if isinstance(e, str) and isinstance(a, str):
        texts = _around_the_difference(e, a)
    else:
        texts = next((pair for d in DIGITS if (pair := (value(e, digits=d), value(a, digits=d)))[0] != pair[1]),
                     (f"{value(e)} ({_what(e)})", f"{value(a)} ({_what(a)})"))
    return [("expected", [f"{part} {texts[0]}{inside}".strip()]), ("yours", [f"{part} {texts[1]}{spread}".strip()])]


def _what(x):
    """The kind of a value, a tensor's with its dtype and shape."""
    t = as_tensor(x)
    return f"tensor, {str(t.dtype)[6:]}, shape {tuple(t.shape)}" if t is not None and kind(x) == "tensor" else kind(x)


def _around_the_difference(e, a, width=60):
    """Two strings from shortly before the first place at which they differ."""
    start = max(0, len(os.path.commonprefix([e, a])) - width // 2)
    return tuple(("... " if start else "") + shorten(x[start:], width) for x in (e, a))


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
