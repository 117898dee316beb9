"""Order-the-lines exercises: the learner gives the labels of shuffled lines, and the lines become a function."""

import ast
import linecache
import re
import textwrap
import traceback
from collections import Counter

import torch

from .registry import AnswerError
from .verdict import Part


class Assembler:
    """The `prepare` of an order-the-lines exercise; made by `order_the_lines`."""

    def __init__(self, lines, header, name, distractors, namespace, reasons):
        self.lines, self.header, self.name = {**lines, **distractors}, header, name
        self.distractors, self.namespace, self.reasons = set(distractors), namespace, reasons

    def __call__(self, answer):
        """A function from "CABD", "C A B D" or ["C", "A", "B", "D"]; a function passes through."""
        if callable(answer):
            return answer
        labels = self.labels(answer)
        source = self.source(labels)
        file = f"<{self.name} from {''.join(labels)}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        namespace = {"torch": torch, **self.namespace}
        try:
            exec(compile(source, file, "exec"), namespace)
        except SyntaxError as error:
            if outside := self._outside(labels):
                raise outside from error
            where = (error.text or "").strip()
            raise AnswerError(f"in this order the lines are not Python: {error.msg} at `{where}`") from error
        namespace[self.name].labels = labels
        return namespace[self.name]

    def _outside(self, labels):
        """An AnswerError for the first line that is indented more than the line above it allows, or None."""
        given = self._given()
        above = given or "def f():"
        for n, label in enumerate(labels):
            line = "    " + self.lines[label]
            if _indent(line) > _indent(above) + 4 * _opens(above):
                heads = {x: head for x, head in self.lines.items() if _opens(head.splitlines()[0])}
                inside = [x for x, head in heads.items() if _indent(head) + 4 == _indent(self.lines[label])]
                heads = {x: heads[x] for x in inside or heads}           # a deeper line stands in a deeper block
                fits = not inside or _indent(given) + 4 == _indent(line)
                said = [f"line {x}" for x in heads] + [f"`{given.strip()}`"] * (_opens(given) and fits)
                place = "it stands outside of" if label in self.distractors else "it belongs in"
                if not said:
                    return None
                end = self._ended(labels[:n], heads, given) if len(said) == 1 else ""
                ended, why = f", which line {end} has ended" if end else "", self.reasons.get(end or label)
                error = AnswerError(f"line {label} is indented: {place} the block of {' or '.join(said)}{ended}")
                error.why = [f"Line {end or label}: {why}"] if why else []
                return error
            above = "    " + self.lines[label].splitlines()[-1]
        return None

    def _given(self):
        """The last line of the body that stands in the header already, or ""."""
        lines = self.header.rstrip().splitlines()
        first = next(i for i, line in enumerate(lines) if line.startswith("def "))
        return "" if _opens(lines[-1]) and not any(map(_opens, lines[first:-1])) else lines[-1]

    def _ended(self, labels, heads, given):
        """The label of the line that has ended the only block, if that has begun before; else ""."""
        begun = [i for i, label in enumerate(labels) if label in heads]
        if heads and not begun:
            return ""
        outer, rest = (_indent(self.lines[labels[begun[-1]]]) + 4, labels[begun[-1] + 1:]) if heads else (
            _indent(given), labels)
        ends = [label for label in rest if _indent("    " + self.lines[label]) <= outer]
        return ends[0] if ends else ""

    def objection(self, f):
        """(headline, parts, no name) if an assembled function has lines that do not belong; else None."""
        decoys = [label for label in getattr(f, "labels", ()) if label in self.distractors]
        if not decoys:
            return None
        which = f"line{'s' * (len(decoys) > 1)} {' and '.join(decoys)} do{'es' * (len(decoys) == 1)} not belong"
        return f"the results are right, but {which}", [Part("Take out what the result does not need.")], None

    def explain(self, f, error):
        """(headline, advice) for a line that needs a name no line before it has made; else None."""
        labels, name = getattr(f, "labels", ()), re.search(r"'(\w+)'", str(error))
        if not (labels and name and isinstance(error, NameError)):
            return None
        name, frames = name[1], traceback.extract_tb(error.__traceback__)
        numbers = [frame.lineno for frame in frames if frame.filename == f.__code__.co_filename]
        owners = [label for label in labels for _ in self.lines[label].splitlines()]
        place = numbers[-1] - len(self.header.rstrip().splitlines()) - 1 if numbers else -1
        makers = [label for label, line in self.lines.items() if label not in self.distractors and _makes(line, name)]
        users = [label for label in owners[max(place, 0):] if re.search(rf"\b{name}\b", self.lines[label])]
        if place < 0 or not makers or not users:
            return None
        user, maker = users[0], makers[0]
        where = f"and has to stand before {user}" if maker in labels else "and it is not among your lines"
        return f"line {user} needs `{name}`, which is not there yet", [f"Line {maker} makes it, {where}."]

    def run_lines(self, f):
        """The labels of an assembled function up to the first that returns from it: what follows is never run."""
        labels = getattr(f, "labels", ())
        ends = [i for i, label in enumerate(labels) if self.lines[label].startswith("return ")]
        return labels[:ends[0] + 1] if ends else labels

    def same_slip(self, f, g):
        """Whether two answers that behave alike go wrong in the same lines: the same decoys, or the same lines left.

        A line that is there and undone by another is not missing, and a line after the return is.
        """
        if not (hasattr(f, "labels") and hasattr(g, "labels")):
            return True
        decoys = [self.distractors.intersection(self.run_lines(x)) for x in (f, g)]
        if any(decoys):
            return decoys[0] == decoys[1]
        return set(f.labels) == set(g.labels) and set(self.run_lines(f)) == set(self.run_lines(g))

    def verdict(self, f, is_right):
        """(headline, advice) for a wrong order: lines never run, decoys, lines left out, or one line out of place.

        is_right: whether a function is right on every case.
        """
        labels, run = getattr(f, "labels", ()), self.run_lines(f)
        if not labels:
            return None
        idle = [label for label in labels[len(run):] if label not in self.distractors]
        missing = [label for label in self.lines if label not in labels and label not in self.distractors]
        decoys = [label for label in run if label in self.distractors]
        also = [f"{_lines(missing, 'Line')} {_is(missing)} missing."] if missing else []
        if idle:
            return f"{_lines(idle)} {'stands' if len(idle) == 1 else 'stand'} after the return", [
                f"Line {run[-1]} ends the function: nothing that follows is run.", *also]
        if decoys:
            why = [f"Line {label}: {self.reasons[label]}" for label in decoys if label in self.reasons]
            return f"{_lines(decoys)} {'does' if len(decoys) == 1 else 'do'} not belong", why + also
        if missing:
            return f"{_lines(missing)} {_is(missing)} missing", []
        return self._misplaced(labels, is_right)

    def _misplaced(self, labels, is_right):
        """Of an answer with the right lines: the one that is out of place, if moving it makes everything right."""
        for i, label in enumerate(labels):
            rest = [*labels[:i], *labels[i + 1:]]
            for j in sorted((j for j in range(len(labels)) if j != i), key=lambda j: abs(j - i)):
                try:
                    moved = self([*rest[:j], label, *rest[j:]])
                except AnswerError:
                    continue
                if is_right(moved):
                    late = j < i
                    where = f"before {rest[j]}" if late else f"after {rest[j - 1]}"
                    return f"line {label} comes too {'late' if late else 'early'}", [f"It belongs {where}."]
        return "more than one line is out of place", []

    def labels(self, answer):
        """The labels of an answer, each known and used once, none missing."""
        if isinstance(answer, str):
            labels = [c for c in answer.replace(",", " ").upper() if not c.isspace()]
        else:
            try:
                labels = [str(label).strip().upper() for label in answer]
            except TypeError:
                raise AnswerError(f'write the labels in order, as in "{"".join(sorted(self.lines))}"') from None
        unknown = [label for label in labels if label not in self.lines]
        twice = [label for label, n in Counter(labels).items() if n > 1 and label in self.lines]
        missing = [label for label in self.lines if label not in labels and label not in self.distractors]
        if unknown:
            raise AnswerError(f"there is no line {_list(unknown)}; the lines are {_list(sorted(self.lines))}")
        if twice:
            raise AnswerError(f"{_lines(twice)} {_is(twice)} used twice; each line has one place")
        if missing and not self.distractors:
            raise AnswerError(f"{_lines(missing)} {_is(missing)} missing; every line is used once")
        return labels

    def source(self, labels):
        body = "\n".join("    " + line for label in labels for line in self.lines[label].splitlines())
        return f"{self.header.rstrip()}\n{body}\n"

    def shuffled(self):
        """The lines as the learner sees them, in the order of their labels."""
        rows = [f"      {line}" for line in self.header.rstrip().splitlines()]
        for label in sorted(self.lines):
            first, *more = self.lines[label].splitlines()
            rows += [f"{label}         {first}", *(f"          {line}" for line in more)]
        return "\n".join(rows)


def order_the_lines(lines, header, name, *, distractors=None, namespace=None, reasons=None):
    """A `prepare` for `exercise(kind="order", ...)`.

    Args:
        lines: {label: source line}, labels of one capital letter, already shuffled: the right order must not be A, B,
            C. Lines are indented relative to the body of the function.
        header: `def f(k, v):`, and the first lines of the body if they are given (then indented).
        name: of the function.
        distractors: {label: line} that do not belong. With distractors, a line may be left out;
            an answer that uses one of them is refused even if its results are right.
        namespace: names the lines may use besides `torch`.
        reasons: {label: sentence}, why a line does not belong, or stands inside or outside of the loop.
    """
    for label in (*lines, *(distractors or {})):
        if not (isinstance(label, str) and len(label) == 1 and label.isupper()):
            raise ValueError(f"order_the_lines: label {label!r} should be one capital letter.")
    return Assembler(dict(lines), header, name, dict(distractors or {}), dict(namespace or {}),
                     dict(reasons or {}))


def raising_line(error):
    """The assembled line that has raised an exception, or "" if it came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.line for frame in frames if re.fullmatch(r"<\w+ from [A-Z]+>", frame.filename)]
    return lines[-1] if lines else ""


def _makes(line, name):
    """Whether a line gives `name` a value without needing one."""
    code = textwrap.dedent(line).split("#")[0].rstrip()
    try:
        nodes = ast.walk(ast.parse(code + " pass" * code.endswith(":")))
    except SyntaxError:
        return False
    found = [node.ctx for node in nodes if isinstance(node, ast.Name) and node.id == name]
    return bool(found) and all(isinstance(context, ast.Store) for context in found)


def _indent(line):
    return len(line) - len(line.lstrip())


def _opens(line):
    """Whether a line is the head of a block."""
    return line.split("#")[0].rstrip().endswith(":")


def _lines(labels, line="line"):
    """"line C", "lines C and D", "lines A, C and D": as one writes it in a sentence."""
    *others, last = labels
    return f"{line}s {', '.join(others)} and {last}" if others else f"{line} {last}"


def _is(labels):
    return "is" if len(labels) == 1 else "are"


def _list(labels):
    return ", ".join(dict.fromkeys(labels))
