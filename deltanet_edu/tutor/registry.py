"""What the book asks and claims: exercises, equations and predictions, registered by the chapters.

A chapter (the folder `chapters/ch05` for chapter 5) registers its entries when its modules are imported, and they are
imported when one of its ids is first asked for. Entries are validated at once: a malformed one fails with the id and
the fix in the message.
"""

import importlib
import importlib.util
import pkgutil
import re
import sys
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from .compare import difference
from .running import as_result, call, settled

CHAPTERS = f"{__package__.rpartition('.')[0]}.chapters"                # found by name: the tutor knows no chapter
KINDS = ("code", "predict", "bug", "order", "open")


class RegistrationError(ValueError):
    """A chapter module registers something malformed. The message names the id and the fix."""


class UnknownId(LookupError):
    """No exercise, equation or prediction has this id."""

    def __str__(self):
        return self.args[0]


class ChapterUnavailable(ImportError):
    """A chapter cannot run on this machine, for instance because Triton is not installed."""


class AnswerError(ValueError):
    """Raised by an exercise's `prepare` when an answer cannot be read at all; its message is shown to the learner."""


@dataclass(frozen=True)
class Case:
    """One test input: the answer is called `f(*args)`. The note is a few words: "repeated keys, T = 7"."""

    args: tuple
    note: str

    def __post_init__(self):
        if not isinstance(self.args, tuple):
            raise RegistrationError(f"Case: args is a {type(self.args).__name__}, expected a tuple; "
                                    "for one argument write Case((x,), note).")
        if not isinstance(self.note, str) or not self.note.strip():
            raise RegistrationError('Case: note is empty; say what the case tests, as in "repeated keys, T = 7".')


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer (a mutant), what is wrong with it, the equation it breaks, perhaps a next step."""

    answer: object
    diagnosis: str
    equation: str = ""
    next: str = ""


@dataclass
class Exercise:
    id: str
    title: str
    kind: str
    stars: int
    minutes: int
    equations: tuple
    reference: object
    alternatives: tuple
    cases: object
    mutants: dict
    hints: tuple
    prepare: object = None
    tolerance: float = 1e-9
    why: str = ""
    sources: tuple = ()
    givens: dict = field(default_factory=dict)
    working: tuple = ()
    free: tuple = ()
    module: str = field(default="", repr=False)

    @property
    def chapter(self):
        return int(self.id.split(".")[0])

    @property
    def seed(self):
        return zlib.crc32(self.id.encode())

    def prepared(self, answer):
        """What is compared: the answer itself, unless the exercise prepares it (labels of lines become a function)."""
        return answer if self.prepare is None else self.prepare(answer)

    @cached_property
    def case_list(self):
        """The cases, generated once: the same on every machine and in every run."""
        with settled(self.seed):
            cases = list(self.cases(torch.Generator().manual_seed(self.seed)))
        if not cases or not all(isinstance(case, Case) for case in cases):
            raise RegistrationError(f"exercise {self.id}: cases(g) must return a list of at least one "
                                    "Case(args, note).")
        return cases

    @cached_property
    def _reference_outcomes(self):
        reference = self.prepared(self.reference)
        return [call(reference, case.args, self.seed) for case in self.case_list]

    def buffers(self, i):
        """Positions of the arguments into which the reference writes its result on case i, if it returns none."""
        outcome = self._reference_outcomes[i]
        return sorted(outcome.changed) if outcome.value is None else []

    @cached_property
    def expected(self):
        """The reference's outcome on each case."""
        return [as_result(outcome, case.args, self.buffers(i))
                for i, (outcome, case) in enumerate(zip(self._reference_outcomes, self.case_list))]

    def run(self, f, i, **how):
        """The outcome of an answer on case i; `how` is for `call`."""
        return self.run_on(f, self.case_list[i].args, i, **how)

    def run_on(self, f, args, i, **how):
        """The outcome of an answer on arguments like those of case i."""
        return as_result(call(f, args, self.seed, **how), args, self.buffers(i), self.free)

    def mutant_outcome(self, name, i):
        """A mutant's outcome on case i, computed once."""
        if (name, i) not in self.known:
            self.known[name, i] = self.run(self.prepared(self.mutants[name].answer), i)
        return self.known[name, i]

    def changed_outcome(self, name, change, i):
        """The reference's outcome on case i with its arguments changed, computed once under the name of the change."""
        if (change_of := (name, "changed", i)) not in self.known:
            reference = self.prepared(self.reference)
            self.known[change_of] = self.run_on(reference, change(self.case_list[i].args), i)
        return self.known[change_of]

    @cached_property
    def known(self):
        """What has been computed once and is wanted again."""
        return {}


@dataclass(frozen=True)
class Equation:
    id: str
    latex: str
    sides: object                # (g) -> iterable of (what is compared, left side, right side)
    tolerance: float = 1e-10
    module: str = field(default="", repr=False)


@dataclass(frozen=True)
class Prediction:
    id: str
    question: str
    options: dict
    answer: str
    module: str = field(default="", repr=False)


_tables = {"exercise": {}, "equation": {}, "prediction": {}}
_executions = {}                 # (what, id) -> the code that registered it; a module executed anew has new code
_patterns = {
    "exercise": (r"(0|[1-9]\d?)\.[1-9]\d?", '"5.2": the chapter, a point, a number'),
    "equation": (r"(0|[1-9]\d?)\.[1-9]\d?[a-z]?", '"5.4": the chapter, a point, the number in the lesson\'s \\tag'),
    "prediction": (r"(0|[1-9]\d?)\.[a-z]", '"2.a": the chapter, a point, a letter'),
}


def exercise(*, id, title, kind, stars, minutes, equations=(), reference, alternatives=(), cases=None, mutants, hints,
             prepare=None, tolerance=None, why="", sources=(), givens=None, working=(), free=()):
    """Register an exercise.

    Args:
        id, title, stars (1-5), minutes, equations (ids): what the card says.
        kind: "code", "predict", "bug", "order" or "open".    hints: three, of growing strength.
        reference: the right answer, a function; or a plain value when there are no cases (predict, open).
        alternatives: other right answers in another style, at least one for a function.
        cases: (g: torch.Generator) -> list[Case], smallest first; None when the answer is a value.
        mutants: {name: Mistake}, at least four. The name completes "it ...": "forgets beta", "sums over i ≤ t".
        prepare: maps an answer as the learner gives it to what is compared. Reference, alternatives and mutants go
            through it too. Raises AnswerError when the answer cannot be read.
        tolerance: largest difference accepted, relative to max(1, largest expected entry). If None, 1e-9 for functions
            and whole numbers, and three significant digits for a number that is computed by hand.
        why: one or two sentences shown with ✓ and with the solution; for answers that are values.
        givens: {name: number} of what a numeric question gives, such as {"β": 0.5}; a missing one is recognized.
        working: functions that work out the number step by step, their arguments the numbers that are given (with them
            as defaults); what comes out if one step is changed is recognized.
        sources: functions that `solution` shows, the reference if empty; a kernel, and the function that launches it.
        free: positions of arguments that the answer may change in place.
    """
    near = _tolerance(reference, cases, prepare) if tolerance is None else tolerance
    entry = Exercise(id, title, kind, stars, minutes, tuple(equations), reference, tuple(alternatives), cases,
                     dict(mutants), tuple(hints), prepare, near, why, tuple(sources), dict(givens or {}),
                     tuple(working), tuple(free), _caller())
    for wrong, fix in _faults(entry):
        if wrong:
            raise RegistrationError(f"exercise {id}: {fix}")
    _register("exercise", entry)


def _tolerance(reference, cases, prepare):
    """What is accepted of an answer if its exercise does not say: three digits of what was computed by hand."""
    numbers = reference if isinstance(reference, (tuple, list)) else [reference]
    if cases is not None or prepare is not None or not any(isinstance(x, float) for x in numbers):
        return 1e-9
    largest = max((abs(x) for x in numbers if isinstance(x, (int, float))), default=0)
    return 1e-3 * (min(largest, 1.0) or 1.0)


def _faults(e):
    """(is it wrong, what to do) for each rule an exercise must follow."""
    function = e.cases is not None
    yield not str(e.title).strip(), "give it a title."
    yield e.kind not in KINDS, f"kind is {e.kind!r}, expected one of {', '.join(KINDS)}."
    yield e.stars not in range(1, 6), f"stars is {e.stars!r}, expected 1 to 5."
    yield not (isinstance(e.minutes, int) and 1 <= e.minutes <= 240), f"minutes is {e.minutes!r}, expected 1 to 240."
    yield function and not callable(e.cases), "cases must be a function (g) -> list[Case]."
    bare = function and e.prepare is None
    yield bare and not callable(e.reference), "the reference must be a function, since there are cases."
    yield not function and callable(e.reference), "the reference is a function: give cases, (g) -> list[Case]."
    nothing = e.reference is None or e.reference is ...
    yield nothing, "the reference must not be None or ...: those mean 'not attempted'."
    yield function and not e.alternatives, "add at least one alternative: another right answer in another style."
    yield len(e.mutants) < 4, f"it has {len(e.mutants)} mutants, expected at least 4 plausible wrong answers."
    for f in e.working:
        astray = difference(e.reference, f(), e.tolerance) is not None
        yield astray, f"its working {f.__name__} comes to {f()}, not to the reference {e.reference}."
    hints = [h for h in e.hints if str(h).strip()]
    yield len(e.hints) != 3 or len(hints) != 3, f"it has {len(hints)} hints, expected exactly 3."
    yield not 0 <= e.tolerance < 0.1, f"tolerance is {e.tolerance!r}, expected something like 1e-9."
    for name, m in e.mutants.items():
        yield not isinstance(m, Mistake), f"mutant {name!r}: write Mistake(answer, diagnosis, equation)."
        yield not str(m.diagnosis).strip(), f"mutant {name!r} needs a diagnosis: what is wrong, said to the learner."
        yield not (re.match(r"([^\W\d_]+ )?[^\W\d_]+s\b", name) or name[0].isupper()), \
            f'the name of mutant {name!r} must complete "it ...", as in "forgets beta" or "is transposed".'
        yield bare and not callable(m.answer), f"mutant {name!r} must be a function like the reference."
    for id in e.equations:
        yield not re.fullmatch(_patterns["equation"][0], str(id)), f"equations has {id!r}; write ids such as \"5.4\"."


def equation(id, latex, *, tolerance=1e-10):
    """Register the check of a displayed equation. Decorates (g) -> yields (what is compared, left side, right side)."""
    def register(sides):
        if not str(latex).strip() or not callable(sides):
            raise RegistrationError(f'equation {id}: write @equation("{id}", r"LaTeX of the lesson") '
                                    "above a generator (g).")
        _register("equation", Equation(id, latex, sides, tolerance, _caller()))
        return sides
    return register


def prediction(id, *, question, options, answer):
    """Register a question to decide before a cell is run. options: {choice: what choosing it means}."""
    if len(options) < 2 or not all(isinstance(text, str) and text.strip() for text in (*options, *options.values())):
        raise RegistrationError(f"prediction {id}: options must map at least two strings to what choosing each means.")
    if answer not in options:
        known = ", ".join(map(repr, options))
        raise RegistrationError(f"prediction {id}: the answer {answer!r} is not among the options {known}.")
    _register("prediction", Prediction(id, question, dict(options), answer, _caller()))


def _caller():
    """Name of the module that is registering."""
    return _registering().f_globals.get("__name__", "")


def _registering():
    """The frame of the module that is registering: its outermost, one for each time that the module is executed."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    name = frame.f_globals.get("__name__", "")
    while frame.f_back is not None and frame.f_back.f_globals.get("__name__") == name:
        frame = frame.f_back
    return frame


def _register(what, entry):
    pattern, shape = _patterns[what]
    if not isinstance(entry.id, str) or not re.fullmatch(pattern, entry.id):
        raise RegistrationError(f"{what} {entry.id!r}: the id should look like {shape}.")
    code = _registering().f_code
    if entry.id in _tables[what]:
        first = _tables[what][entry.id].module
        if first != entry.module or _executions.get((what, entry.id)) is code:       # else: a cell is run again
            raise RegistrationError(f"{what} {entry.id}: registered twice, in {first} and {entry.module}. Rename one.")
    home, chapter = re.search(r"\.ch(\d\d)\b", entry.module), int(entry.id.split(".")[0])
    if home and int(home[1]) != chapter:
        raise RegistrationError(f"{what} {entry.id}: it is in {entry.module}, move it to chapters/ch{chapter:02d}.")
    _tables[what][entry.id] = entry
    _executions[what, entry.id] = code


def sort_key(id):
    """Order of ids: 5.2 before 5.10, 2.a before 2.b."""
    chapter, rest = id.split(".")
    number = re.match(r"\d*", rest)[0]
    return int(chapter), int(number or 0), rest


def chapters():
    """Numbers of the chapters that have a folder."""
    home = Path(importlib.import_module(CHAPTERS).__file__).parent
    return sorted(int(folder.name[2:]) for folder in home.glob("ch[0-9][0-9]") if any(folder.glob("*.py")))


def load_chapter(number):
    """The package of a chapter, its modules imported; None if there is none. A failing import leaves nothing."""
    name = f"{CHAPTERS}.ch{number:02d}"
    if name not in sys.modules and importlib.util.find_spec(name) is None:
        return None
    try:
        chapter = importlib.import_module(name)
        for module in pkgutil.iter_modules(getattr(chapter, "__path__", ())):
            importlib.import_module(f"{name}.{module.name}")
        return chapter
    except BaseException as error:
        forget(name)
        missing = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing not in ("", __package__.split(".")[0]):
            named = "Triton" if missing == "triton" else missing
            way = "" if missing == "triton" else f": pip install {missing}"
            reason = f"chapter {number} needs {named}, which is not installed on this machine{way}"
            raise ChapterUnavailable(reason) from error
        raise


def forget(name):
    """Take back what the modules of a chapter registered, and the modules, so that it can be imported again."""
    for table in _tables.values():
        for id in [id for id, entry in table.items() if f"{entry.module}.".startswith(f"{name}.")]:
            del table[id]
    for module in [m for m in sys.modules if f"{m}.".startswith(f"{name}.")]:
        del sys.modules[module]


def find(what, id):
    """The exercise, equation or prediction with this id; UnknownId, with the ids there are, if there is none."""
    if not isinstance(id, str):
        raise UnknownId(f"The id comes first and is a string, {_patterns[what][1].split(':')[0]}: got {id!r}.")
    table, id = _tables[what], id.strip()
    if id in table:
        return table[id]
    chapter = re.match(r"\d+(?=\.|$)", id)
    if chapter:
        load_chapter(int(chapter[0]))
    if id in table:
        return table[id]
    number = int(chapter[0]) if chapter else None
    near = sorted((i for i in table if int(i.split(".")[0]) == number), key=sort_key)
    if near:
        raise UnknownId(f'There is no {what} "{id}". Chapter {number} has {", ".join(near)}.')
    raise UnknownId(f'There is no {what} "{id}". An id looks like {_patterns[what][1]}.')


def unavailable_chapters():
    """{chapter: reason} for the chapters that cannot be imported on this machine. Imports all others."""
    reasons = {}
    for number in chapters():
        try:
            load_chapter(number)
        except ChapterUnavailable as error:
            reasons[number] = str(error)
    return reasons


def _all(what):
    unavailable_chapters()
    return sorted(_tables[what].values(), key=lambda entry: sort_key(entry.id))


def all_exercises():
    """Every exercise of every chapter that this machine can import, in order."""
    return _all("exercise")


def all_equations():
    """Every checked equation, in order."""
    return _all("equation")


def all_predictions():
    """Every prediction, in order."""
    return _all("prediction")
