"""What a problem set takes from the registry: cards, the sentence about its size, and the answers in the solutions.

A problem set in book/problems is text and stubs, as a learner finds them. What the registry knows is not written there:

    ## 5.2                        becomes the card: title, stars, minutes, equations, kind
    {exercises}                   becomes "Seven exercises, about an hour and a half"
    def u_vectors(k, v, beta):    keeps its signature and docstring in solutions/, and gets the body of the solution
    u3 = None                     becomes the reference, written out
"""

import ast
import inspect
import re
import textwrap

from deltanet_edu.tutor.registry import UnknownId, all_exercises, find

CHECKED = re.compile(r"""^check\(["']([^"']+)["'],\s*(\w+)\)""", re.M)
KINDS = {"bug": "find the bug", "open": "open"}                        # said on the card; others show by themselves


class AnswerMissing(Exception):
    """A cell of a problem set that does not fit its exercise; says why."""


def exercise(id):
    """The exercise, which must be in the registry."""
    try:
        return find("exercise", id)
    except UnknownId as error:
        raise AnswerMissing(str(error)) from None


def listed(words):
    """5.2, 5.3 and 5.4."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def with_cards(text):
    """Markdown of a problem set with each bare heading, `## 5.2`, made into the exercise's card."""
    def card(match):
        e = exercise(match[1])
        equations = f"equation{'s' * (len(e.equations) > 1)} {listed(e.equations)}" if e.equations else ""
        kind = "" if e.title.lower().startswith(KINDS.get(e.kind, "")) else KINDS[e.kind]
        said = filter(None, ["★" * e.stars, f"{e.minutes} minutes", equations, kind])
        return f"## {e.id} {e.title}\n\n" + " · ".join(said)
    return re.sub(r"^## (\d+\.\d+)$", card, text, flags=re.M)


COUNTS = "No One Two Three Four Five Six Seven Eight Nine Ten Eleven Twelve Thirteen Fourteen Fifteen Sixteen".split()
QUARTERS = ("", "a quarter", "a half", "three quarters")


def size(number):
    """How many exercises a chapter has and how long they take: "Seven exercises, about an hour and a half"."""
    of_chapter = [e for e in all_exercises() if e.chapter == number]
    quarters = max(1, round(sum(e.minutes for e in of_chapter) / 15))
    hours, rest = divmod(quarters, 4)
    whole = "an hour" if hours == 1 else f"{COUNTS[hours].lower()} hours"
    short = {1: "a quarter of an hour", 2: "half an hour", 3: "three quarters of an hour"}
    about = " and ".join(filter(None, [whole, QUARTERS[rest]])) if hours else short[rest]
    many = COUNTS[len(of_chapter)] if len(of_chapter) < len(COUNTS) else str(len(of_chapter))
    return f"{many} exercise{'s' * (len(of_chapter) != 1)}, about {about}"


def solved(code):
    """A cell of a problem set with the answer in the place of the stub; other cells as they are."""
    found = CHECKED.search(code)
    if not found:
        return code
    e, name = exercise(found[1]), found[2]
    answer = written_as(solution(e))
    if not (inspect.isroutine(answer) or inspect.isclass(answer)):
        start = re.search(r"^(?!#|import |from )\w+ = ", code, re.M)
        if not start or start.start() > found.start():
            raise AnswerMissing(f'the cell of {e.id} needs a line  {name} = None  above its check("{e.id}", {name})')
        return f"{code[:start.start()]}{name} = {written(answer)}\n\n{code[found.start():]}"
    stubs = {n.name: n for n in ast.parse(code).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    if name not in stubs:
        raise AnswerMissing(f'the cell of {e.id} checks {name}, and does not define it')
    answers = {f.__name__: f for f in map(written_as, e.sources)} | {name: answer}
    for other, stub in reversed(stubs.items()):                          # from below: the lines above stay where they are
        if other == name or other in answers and "NotImplementedError" in ast.unparse(stub):
            code = replace(code, stub, textwrap.dedent(inspect.getsource(answers[other])), e.id)
    return code


def solution(exercise):
    """What answers an exercise in the solutions: the last of the functions that `solution` shows, or the reference."""
    return exercise.sources[-1] if exercise.sources and callable(exercise.reference) else exercise.reference


def written_as(answer):
    """The function that a kernel was made of; anything else itself."""
    while hasattr(answer, "fn") and not inspect.isroutine(answer) and not inspect.isclass(answer):
        answer = answer.fn
    return answer


def written(answer):
    """A value as code; a tuple that is too wide for a line gets a line an entry."""
    text = repr(answer).replace("'", '"')
    if len(text) < 100 or not isinstance(answer, tuple):
        return text
    return "(\n" + "".join(f"    {entry!r},\n" for entry in answer) + ")"


def replace(code, stub, source, id):
    """The cell with the stub's body replaced by the solution's; a class is replaced whole, under the stub's name."""
    lines, theirs = code.splitlines(), source.splitlines()
    tree = ast.parse(source).body[0]
    if isinstance(tree, ast.ClassDef):
        body = [re.sub(rf"^class {tree.name}\b", f"class {stub.name}", theirs[0]), *theirs[1:]]
        return "\n".join(lines[:stub.lineno - 1] + body + lines[stub.end_lineno:]) + "\n"
    if ast.dump(stub.args) != ast.dump(tree.args):
        takes, gets = ast.unparse(stub.args), ast.unparse(tree.args)
        raise AnswerMissing(f"{id}: the stub takes ({takes}), the solution ({gets}); name them alike")
    body = theirs[body_start(tree, theirs):]
    return "\n".join(lines[:body_start(stub, lines)] + body + lines[stub.end_lineno:]) + "\n"


def body_start(function, lines):
    """Index of the first line below a function's signature and docstring."""
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        return first.end_lineno
    start = first.lineno - 1
    while lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start
