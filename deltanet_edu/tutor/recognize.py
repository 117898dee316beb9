"""What can be said about a wrong answer that is no known mistake: shape, dtype, sign, factor, pattern of failures."""

import inspect
import re
from dataclasses import replace
from functools import partial

import torch

from .arrangement import of_arrangement
from .compare import as_tensor, as_wide, difference
from .edits import loops, spelled, unused
from .errors import EMPTY, UNFIT, of_error
from .formatting import argument_names, kind, number
from .pattern import failure_pattern, where_it_fails
from .repairs import of_repairs
from .rounding import widened
from .running import same
from .showing import is_objection
from .slips import judged, mask, of_function, ordinal, power
from .variants import of_variants


def recognize(exercise, f, outcomes, wrong, smallest, is_right):
    """(headline, advice) for the failing case. Advice is a list of sentences, possibly empty.

    is_right: whether a function is right on every case.
    """
    if getattr(exercise.prepare, "launches", False):                     # kernels are asked for float32
        outcomes = [replace(o, value=as_wide(e.value, o.value)) for e, o in zip(exercise.expected, outcomes)]
    expected, outcome, case = exercise.expected[smallest], outcomes[smallest], exercise.case_list[smallest]
    pattern = failure_pattern(exercise, wrong)
    if outcome.error is not None and (said := _explained(exercise, f, outcome.error)):
        headline, advice = said
    elif said := getattr(exercise.prepare, "verdict", lambda *x: None)(f, is_right):
        headline, advice = said
    elif outcome.error is not None:
        headline, advice = of_error(f, case, expected, outcome.error)
        if headline == EMPTY or headline.startswith(UNFIT):              # the cause may stand in another line
            headline, advice = of_repairs(exercise, f, is_right) or (headline, advice)
    elif expected.error is not None:
        headline, advice = f"it accepts what it should refuse with a {type(expected.error).__name__}", []
    else:
        found = difference(expected.value, outcome.value, exercise.tolerance)
        if found is None:
            headline, advice = of_changes(exercise, case, expected, outcome)
        else:
            mended = partial(of_repairs, exercise, f, is_right), partial(
                of_variants, loops=loops(f), names=spelled(f))
            idle = unused(f, map(exercise.prepared, (exercise.reference, *exercise.alternatives)))
            headline, advice = of_difference(found, exercise, outcomes, wrong, smallest, *mended, idle)
            advice = advice + also_changes(exercise, case, expected, outcome)
    return headline, advice + pattern


def _explained(exercise, f, error):
    """What a judge of the exercise's own says of an answer that it cannot take, or of a line that cannot run."""
    explain = getattr(exercise.prepare, "explain", lambda f, error: None)
    if said := explain(f, error):
        return said
    return (str(error), []) if is_objection(exercise, error) else None


def of_changes(exercise, case, expected, outcome):
    """The value is right, but the wrong arguments were changed in place."""
    names = argument_names(exercise.prepared(exercise.reference), len(case.args))
    extra = sorted(outcome.changed.keys() - expected.changed.keys())
    if extra:
        name = names[extra[0]]
        return f"it changes its input {name} in place", [
            f"The result is right, but whoever called it still needs {name}. `+=`, `add_` and `{name}[...] = ...` "
            f"write into the tensor: use `{name} = {name} + ...`, or change a copy, `{name}.clone()`."]
    if missing := sorted(expected.changed.keys() - outcome.changed.keys()):
        return f"it does not write what it should into {names[missing[0]]}", []
    astray = (i for i in sorted(expected.changed)
              if difference(expected.changed[i], outcome.changed[i], exercise.tolerance))
    return f"it changes {names[next(astray)]}, but not as it should", ["What it returns is right."]


def also_changes(exercise, case, expected, outcome):
    """A remark on arguments changed in place, when the value is wrong as well: the one may cause the other."""
    names = argument_names(exercise.prepared(exercise.reference), len(case.args))
    extra = sorted(outcome.changed.keys() - expected.changed.keys())
    return [f"It also changes its input {names[i]} in place." for i in extra]


def of_difference(found, exercise, outcomes, wrong, smallest, mend, of_variants, idle=()):
    """A value of the wrong type, shape, dtype or content. mend: what is said if one change of the answer is enough;
    idle: arguments that the answer never looks at."""
    place = f" in result{found.where}" if found.where else ""
    written = exercise.buffers(smallest)
    if written and same(outcomes[smallest].value, _entering(exercise, smallest, written)):
        name = argument_names(exercise.prepared(exercise.reference), written[0] + 1)[-1]
        return f"it leaves {name} unchanged", [f"It should write its result into {name}."]
    handlers = {"type": _type, "length": _length, "keys": _keys, "shape": _shape, "dtype": _dtype, "nan": _nan}
    if said := of_arrangement(exercise, outcomes, wrong):
        return said
    if found.kind in handlers:
        headline, advice = handlers[found.kind](found, exercise)
        known = mend() if found.kind in ("shape", "nan") else None
        if found.kind == "nan":
            known = known or of_variants(exercise, outcomes, wrong)
        return known or (headline + place, advice)
    pairs = _wrong_pairs(exercise, outcomes, wrong)
    for tell in (_sign, _transposed, _shifted, _reversed, mask, power):
        if said := tell(pairs):
            some = tell is _sign and not _all_differ(exercise, wrong, found.where)
            return said[0] + place + ", in some cases" * some, said[1]
    given = not judged(exercise)                                         # a judge's inputs are not the answer's
    known = given and (_returned(exercise, outcomes) or _input_as_result(exercise, outcomes, wrong))
    known = known or mend() or of_function(exercise, outcomes, wrong, alone=True)
    known = known or of_variants(exercise, outcomes, wrong) or of_function(exercise, outcomes, wrong)
    if known:
        return known
    if pairs and (infinite := [i for i, bad in enumerate(wrong) if bad and _infinite(exercise, outcomes, i)]):
        elsewhere = f" Not in the case below, but in this one: {exercise.case_list[infinite[0]].note}."
        note = "" if smallest in infinite else elsewhere
        return "it contains infinity" + (place if not note else ", in some cases"), [
            "It comes from a division by zero, a logarithm of zero, or from numbers that outgrow their dtype." + note]
    if _all_differ(exercise, wrong, found.where) and (said := _factor(pairs)):
        return said[0] + place, said[1]
    nearly = _small(pairs, exercise, outcomes, wrong)
    if idle and not nearly:
        return f"it never uses {' and '.join(idle)}", []
    return _partly(found, exercise, outcomes, wrong, nearly)


def _all_differ(exercise, wrong, where):
    """Whether what is right in a case is zero there: then a factor may be wrong on every case."""
    right = [_part(e.value, where) for e, bad in zip(exercise.expected, wrong) if not bad and e.error is None]
    return all(t is not None and not t.any() for t in map(as_tensor, right))


def _part(value, where):
    """The part of a value at a path such as "[1]" or "['dq']"; None if the value, of another case, has none."""
    for _, name in re.findall(r"\[('?)(\w+)\1\]", where):
        try:
            value = value[int(name) if name.isdigit() else name]
        except (IndexError, KeyError):
            return None
    return value


def _entering(exercise, i, buffers):
    """What the buffers held before the call."""
    values = tuple(exercise.case_list[i].args[j] for j in buffers)
    return values if len(values) > 1 else values[0]


def _wrong_pairs(exercise, outcomes, wrong):
    """(expected, actual) tensors at the first difference of every wrong case; [] if one differs in another way."""
    pairs = []
    for bad, expected, outcome in zip(wrong, exercise.expected, outcomes):
        if not bad:
            continue
        if expected.error is not None or outcome.error is not None:
            return []
        found = difference(expected.value, outcome.value, exercise.tolerance)
        if found is None or found.kind != "value":
            return []
        e, a = as_tensor(found.expected), as_tensor(found.actual)
        if e is None or a is None or e.dtype == torch.bool:
            return []
        pairs.append((e.cpu(), a.cpu()))
    return pairs


def _type(found, exercise):
    actual, expected = found.actual, found.expected
    if actual is None:
        return "it returns None", ["Is a `return` missing?"]
    if isinstance(actual, (tuple, list)) and actual and difference(expected, actual[0], exercise.tolerance) is None:
        if len(actual) == 1:
            return f"it returns a {kind(actual)} of 1", ["What is in it is right. A comma at the end makes a tuple."]
        return f"it returns {len(actual)} values, expected only the first", []
    if isinstance(expected, (tuple, list)) and not isinstance(actual, (tuple, list)):
        return f"it returns one {kind(actual)}, expected {len(expected)} values", []
    if inspect.isgenerator(actual):
        return "it returns a generator", ["It uses `yield`: collect the values and `return` them."]
    if inspect.isroutine(actual) or isinstance(actual, (partial, type)):
        return "it returns a function", ["Did you forget to call it?"]
    return f"it returns a {kind(actual)}, expected a {kind(expected)}", []


def _length(found, exercise):
    n, only = len(found.actual), "" if len(found.actual) < len(found.expected) else "only "
    return f"it returns {n} value{'s' if n != 1 else ''}, expected {only}{len(found.expected)}", []


def _keys(found, exercise):
    missing = [k for k in found.expected if k not in found.actual]
    extra = [k for k in found.actual if k not in found.expected]
    lists = ("lacks", missing), ("should not have", extra)
    said = [f"{what} {', '.join(map(repr, names))}" for what, names in lists if names]
    return "the names in its result differ", [f"The result {' and '.join(said)}."]


def _shape(found, exercise):
    e, a = as_tensor(found.expected), as_tensor(found.actual)
    shapes = f"its shape is {tuple(a.shape)}, expected {tuple(e.shape)}"
    if a.ndim >= 2 and a.mT.shape == e.shape:
        return shapes, ["The last two dimensions look transposed."]
    if sorted(a.shape) == sorted(e.shape) and a.ndim > 1:
        return shapes, ["The dimensions are right but in another order."]
    if a.numel() == e.numel() and [n for n in a.shape if n != 1] == [n for n in e.shape if n != 1]:
        too_many = "one too many: `squeeze` it, or `torch.cat` what you `stack`"
        missing = "missing: `unsqueeze`, or keep it with `keepdim=True`"
        return shapes, [f"A dimension of size 1 is {too_many if a.ndim > e.ndim else missing}."]
    if a.numel() == e.numel():
        return shapes, ["It has the right number of entries. Were pieces joined along another dimension, "
                        "or is a `reshape` missing?"]
    return shapes, []


def _dtype(found, exercise):
    e, a = as_tensor(found.expected), as_tensor(found.actual)
    headline = f"its dtype is {str(a.dtype)[6:]}, expected {str(e.dtype)[6:]}"
    if e.is_floating_point() and a.is_floating_point():
        half = a.dtype in (torch.bfloat16, torch.float16)
        if difference(e, a.to(e.dtype), 1e-2 if half else 1e-5) is not None:
            return headline, ["Somewhere inside, precision is lost; and the values differ as well."]
        digits = "1e-2" if half else "1e-6"
        return headline, [f"The values agree to about {digits}. Somewhere inside, precision is lost: "
                          "new tensors should take `dtype=` from an input."]
    wide = torch.complex128 if e.is_complex() or a.is_complex() else torch.float64
    return headline, ["The values are right."] if difference(e.to(wide), a.to(wide), exercise.tolerance) is None else []


def _nan(found, exercise):
    return "it contains NaN", ["NaN comes from 0/0, 0 · inf, inf - inf, or the root or logarithm of a negative number."]


def _infinite(exercise, outcomes, i):
    """Whether case i has an infinity where a finite number is expected."""
    found = difference(exercise.expected[i].value, outcomes[i].value, exercise.tolerance)
    return bool((as_tensor(found.actual).isinf() & as_tensor(found.expected).isfinite()).any())


def _returned(exercise, outcomes):
    """An argument that comes back unchanged, on every case."""
    n = min(len(case.args) for case in exercise.case_list)
    for i, name in enumerate(argument_names(exercise.prepared(exercise.reference), n)):
        given = [case.args[i] for case in exercise.case_list]
        if all(isinstance(x, torch.Tensor) and isinstance(o.value, torch.Tensor) and same(x, o.value)
               for x, o in zip(given, outcomes)):
            return f"it returns its input {name}", []
    return None


def _wrong_results(exercise, outcomes, wrong):
    """Which results of several are wrong, on any case; none if that cannot be told."""
    bad = set()
    for is_wrong, expected, outcome in zip(wrong, exercise.expected, outcomes):
        if not is_wrong:
            continue
        values = expected.value, outcome.value
        if not all(isinstance(x, (tuple, list)) for x in values) or len(values[0]) != len(values[1]):
            return set()
        pairs = enumerate(zip(*values))
        bad |= {i for i, (e, a) in pairs if difference(e, a, exercise.tolerance) is not None}
    return bad


def _input_as_result(exercise, outcomes, wrong):
    """One wrong result of several that is an argument, as it came in, on every case."""
    bad = _wrong_results(exercise, outcomes, wrong)
    names = argument_names(exercise.prepared(exercise.reference), min(len(c.args) for c in exercise.case_list))
    for i, name in enumerate(names) if len(bad) == 1 else ():
        part = next(iter(bad))
        if all(o.error is None and isinstance(case.args[i], torch.Tensor) and same(case.args[i], o.value[part])
               for case, o in zip(exercise.case_list, outcomes)):
            return f"its {ordinal(part)} result is {name} as it came in", []
    return None


def _sign(pairs):
    if pairs and all(difference(e, -a, 1e-9) is None for e, a in pairs):
        return "its sign is flipped", []


def _factor(pairs):
    """One constant factor over all wrong cases."""
    if not pairs:
        return None
    e0, a0 = pairs[0]
    at = e0.abs().flatten().argmax()
    if e0.flatten()[at] == 0:
        return None
    factor = a0.flatten()[at] / e0.flatten()[at]
    scaled = [(factor * e, a) for e, a in pairs]
    if factor.isfinite() and factor != 0 and all(difference(e, a.to(e.dtype), 1e-8) is None for e, a in scaled):
        if whole := {2.0: "twice", 0.5: "half of", 3.0: "three times"}.get(round(factor.item(), 12)):
            return f"it is {whole} what is right", []
        written = next(text for d in (4, 6, 8, 10, 17) if (text := number(factor.item(), d)) != "1" or d == 17)
        return f"it is off by a constant factor {written}", []


def _transposed(pairs):
    if pairs and all(e.ndim >= 2 and e.shape == e.mT.shape and difference(e, a.mT, 1e-9) is None for e, a in pairs):
        return "its last two dimensions look transposed", []


def _shifted(pairs):
    """Right values one step late or early along a dimension, on every case long enough to tell."""
    for d in range(4):
        long = [(e, a) for e, a in pairs if e.ndim > d and e.shape[d] >= 3]
        if not any(difference(e.narrow(d, 1, e.shape[d] - 1), e.narrow(d, 0, e.shape[d] - 1), 1e-9) for e, _ in long):
            continue                                                     # equal entries look the same when shifted
        for late, word in ((True, "late"), (False, "early")):
            if all(_equal_shift(e, a, d, late) for e, a in long):
                other = "t - 1" if late else "t + 1"
                return f"it is one step {word} along dimension {d}", [f"Entry t holds what entry {other} should."]
    return None


def _equal_shift(e, a, d, late):
    n = e.shape[d]
    e, a = (e.narrow(d, 0, n - 1), a.narrow(d, 1, n - 1)) if late else (e.narrow(d, 1, n - 1), a.narrow(d, 0, n - 1))
    return bool(e.abs().max() > 0) and difference(e, a, 1e-9) is None


def _reversed(pairs):
    for d in range(4):
        if pairs and all(e.ndim > d and difference(e, a.flip(d), 1e-9) is None for e, a in pairs):
            return f"its entries are in reverse order along dimension {d}", []
    return None


def _small(pairs, exercise, outcomes, wrong):
    """What to say of a wrong answer that is nearly right: in all that it returns, not where it first differs."""
    values = [(widened(e.value), widened(o.value)) for e, o, bad in zip(exercise.expected, outcomes, wrong) if bad]
    if not pairs or any(difference(e, a, 1e-5) is not None for e, a in values):
        return []
    apart = [found.largest for e, a in values if (found := difference(e, a, exercise.tolerance))]
    if not apart:
        return []
    return [f"It is off by about {number(max(apart), 1)}: is something small added that does not belong?"]


def _partly(found, exercise, outcomes, wrong, advice):
    """Which of several results is wrong, and how many entries."""
    nearly = "it is right but for something very small" if advice else ""
    of_result = _right_and_wrong(exercise, outcomes, wrong) or _names(exercise, outcomes, wrong)
    unknown = nearly or of_result or where_it_fails(exercise, wrong) or "not a mistake I know", advice
    if not isinstance(exercise.expected[0].value, (tuple, list)):
        return unknown
    n, bad = len(exercise.expected[0].value), _wrong_results(exercise, outcomes, wrong)
    if not bad:
        return unknown
    if n == 2 and len(bad) == 1:
        i = bad.pop()
        return f"its {('first', 'second')[i]} result is wrong, the {('second', 'first')[i]} is right", advice
    if len(bad) < n:
        which = ", ".join(map(ordinal, sorted(bad)))
        return f"wrong among its {n} results: the {which}; the rest is right", advice
    return unknown


def _right_and_wrong(exercise, outcomes, wrong):
    """A headline that says which parts of the result are right and which wrong, over all wrong cases.

    `prepare.parts`, if there, gives the parts: functions (*expected results) -> [(where that is, mask or a mask for
    each result), ...]. The first that has right parts as well as wrong ones speaks.
    """
    for parts in getattr(exercise.prepare, "parts", ()):
        right = {}
        for bad, expected, outcome in zip(wrong, exercise.expected, outcomes):
            if bad and (expected.error is not None or outcome.error is not None):
                return ""
            values = [x if isinstance(x, tuple) else (x,) for x in (expected.value, outcome.value)] if bad else [(), ()]
            for where, masks in parts(*values[0]) if bad else ():
                for there, e, a in zip(masks if isinstance(masks, tuple) else (masks,), *values):
                    if there.any():
                        same = difference(e, torch.where(there, a, e), exercise.tolerance) is None
                        right[where] = right.get(where, True) and same
        kinds = [[where for where, ok in right.items() if ok is wanted] for wanted in (True, False)]
        if all(kinds):
            return "it is right {}, and wrong {}".format(*(" and ".join(kind) for kind in kinds))
    return ""


def _names(exercise, outcomes, wrong):
    """Of results with names: which of them are wrong, if others are right on every case."""
    values = [(e.value, o.value) for e, o, bad in zip(exercise.expected, outcomes, wrong) if bad]
    if not all(isinstance(e, dict) and isinstance(a, dict) and e.keys() == a.keys() for e, a in values):
        return ""
    names = dict.fromkeys(name for e, a in values for name in e if difference(e[name], a[name], exercise.tolerance))
    return f"wrong among its results: {', '.join(names)}; the rest is right" if len(names) < len(values[0][0]) else ""
