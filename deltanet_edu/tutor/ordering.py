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

    def __init__(self, lines, header, name, distractors, namespace):
        self.lines, self.header, self.name = {**lines, **distractors}, header, name
        self.distractors, self.namespace = set(distractors), namespace

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
            where = (error.text or "").strip()
            raise AnswerError(f"in this order the lines are not Python: {error.msg} at `{where}`") from error
        namespace[self.name].labels = labels
        return namespace[self.name]

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
            raise AnswerError(f"line {_list(twice)} is used twice; each line has one place")
        if missing and not self.distractors:
            raise AnswerError(f"line {_list(missing)} is missing; every line is used once")
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


def order_the_lines(lines, header, name, *, distractors=None, namespace=None):
    """A `prepare` for `exercise(kind="order", ...)`.

    Args:
        lines: {label: source line}, labels of one capital letter, already shuffled: the right order must not be A, B,
            C. Lines are indented relative to the body of the function.
        header: `def f(k, v):`, and the first lines of the body if they are given (then indented).
        name: of the function.
        distractors: {label: line} that do not belong. With distractors, a line may be left out;
            an answer that uses one of them is refused even if its results are right.
        namespace: names the lines may use besides `torch`.
    """
    for label in (*lines, *(distractors or {})):
        if not (isinstance(label, str) and len(label) == 1 and label.isupper()):
            raise ValueError(f"order_the_lines: label {label!r} should be one capital letter.")
    return Assembler(dict(lines), header, name, dict(distractors or {}), dict(namespace or {}))


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


def _list(labels):
    return ", ".join(dict.fromkeys(labels))
