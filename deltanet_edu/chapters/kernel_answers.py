"""Exercises whose answer is a Triton kernel: launched as given, watched in the interpreter, compiled for two GPUs.

    exercise(..., prepare=launched(launch, outputs), tolerance=1e-5)      the answer is a kernel, launched by us
    exercise(..., prepare=watched(), tolerance=1e-5)                      the answer is a function that launches kernels
    changed(kernel, ("i < n", "i <= n"))                                  a wrong kernel, made of a right one

An answer climbs a ladder, and the first rung that breaks is the verdict: it stays inside its tensors, it writes all it
should, its programs may run in any order, its values are right, the compiler accepts it, what it carries from chunk to
chunk stays in float32, it moves no more than it must. Where there is no GPU, kernels run in Triton's interpreter
(chapters/__init__.py).
"""

import inspect
import linecache
import re
import textwrap
import zlib
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch

from ..bench.ahead_of_time import TARGETS, Rejected, accept_launch
from ..bench.judge import poisoned
from ..bench.roofline import size
from ..bench.trace import OutOfBounds, Trace
from ..bench.trace import why_not as why_not_watched
from ..figures import programs
from ..kernels import interpreted, why_not
from ..tutor import AnswerError
from ..tutor.grading import smallest_failing
from ..tutor.registry import find
from ..tutor.verdict import Part
from . import beside
from .kernel_faults import (CARRIED, MEANINGS, REJECTED, ROUNDED, TRAFFIC, Race, Unfilled, Unlaunched, Unwritten,
                            named)

MARGIN = 4096                                                            # bytes


class Answers:
    """The `prepare` of an exercise that is answered by kernels; `launched` and `watched` make it."""

    launches = True                                                      # the tutor's word for: float32 is no mistake

    def __init__(self, launch, outputs, most, floor, lines=None, exact=False, parts=(),
                 alike=None, likewise=None, why_moved=None, carries=None):
        self.launch, self.outputs, self.most, self.floor = launch, outputs, most, floor or floor_of
        self.exact, self.parts = exact, parts if isinstance(parts, tuple) else (parts,)
        self.alike, self.likewise, self.why_moved, self.carries = alike, likewise, why_moved, carries
        self.assemble = lines
        if lines:
            self.lines, self.shuffled = lines.lines, lines.shuffled

    def __call__(self, answer):
        """The answer as a function (*inputs) -> outputs."""
        if hasattr(answer, "watched"):                                   # prepared already
            return answer
        answer = self.assemble(answer) if self.assemble else answer
        function = python_function(answer)
        todo = stub(function)
        if self.launch and function is answer and todo is None:
            raise AnswerError("expected a kernel: put @triton.jit above the function")
        device = "cpu" if interpreted() else "cuda"
        if reason := why_not(device, torch.float32) or (interpreted() and why_not_watched()):
            raise AnswerError(f"kernels cannot run here: {reason}")

        def run(*inputs):
            if todo is not None:
                raise NotImplementedError(todo)
            outputs = self.poisoned_outputs(inputs)
            given = tuple(map(placed, (*inputs, *outputs)))
            run.how = None
            with watching(self.exact) as run.watched:
                result = self.called(answer, given, len(inputs))
            returned = result if isinstance(result, tuple) else (result,)
            run.how = chosen(run.watched)
            run.floor = self.floor(*inputs, *returned)
            look(run.watched, given, returned)
            back = tuple(x.cpu() if isinstance(x, torch.Tensor) else x for x in returned)
            return back if isinstance(result, tuple) else back[0]

        run.answer, run.watched, run.how, run.late = answer, None, None, ""
        run.__wrapped__ = function                                       # the learner's own lines are in here,
        run.__signature__ = inspect.signature(self.outputs or function)  # the names of the inputs in here
        return run

    def poisoned_outputs(self, inputs):
        """The outputs to be filled: what is not written shows."""
        made = self.outputs(*inputs) if self.outputs else ()
        made = made if isinstance(made, tuple) else (made,)
        for x in made:
            x.fill_(torch.nan if x.is_floating_point() else torch.iinfo(x.dtype).min)
        return made

    def called(self, answer, given, n):
        """Launch the answer on n inputs, and on outputs if there are some. Returns its outputs, one or a tuple."""
        if self.launch is None:
            with poisoned():
                return answer(*given)
        self.launch(answer, *given)
        return given[n:] if len(given) > n + 1 else given[n]

    # -- what the tutor asks (tutor/grading.py) --------------------------------------------------------------------

    def elsewhere(self, exercise, answer, f):
        """With a GPU the interpreter is asked first, in a process beside this one; None without a GPU."""
        return None if interpreted() else beside.verdict_on(exercise, answer, f, smallest_failing)

    def mistake(self, error):
        """(name, Mistake) of an exception that a rung raises; else None."""
        return named(error)

    def explain(self, f, error):
        """What a line needs, if lines were put in order (tutor/ordering.py); else None."""
        if not hasattr(f.answer, "labels"):
            return None
        code = python_function(f.answer).__code__
        return self.assemble.explain(SimpleNamespace(labels=f.answer.labels, __code__=code), error)

    def verdict(self, f, is_right):
        """What is wrong with an order of lines; else None."""
        return self.assemble.verdict(f.answer, lambda kernel: is_right(self(kernel))) if self.assemble else None

    def same_slip(self, f, g):
        """Whether two orders of lines go wrong in the same lines."""
        return not self.assemble or self.assemble.same_slip(f.answer, g.answer)

    def objection(self, f):
        """Of an answer whose values are right: (headline, parts, name) if a later rung breaks; else None."""
        if self.assemble and (decoys := self.assemble.objection(f.answer)):
            return decoys
        for capability in TARGETS if interpreted() else ():
            for launch in f.watched.launches:
                try:
                    f.late = f.late or accept_launch(launch, capability)   # the next would take as long
                except Rejected as error:
                    said = Part(f"{launch.kernel}, for sm_{capability}: {error}", "learner", True)
                    return f"it {REJECTED}", [Part(MEANINGS[REJECTED]), said], REJECTED
        if self.exact and interpreted() and any("TF32" in launch.precisions for launch in f.watched.launches):
            return f"it {ROUNDED}", [Part(MEANINGS[ROUNDED])], ROUNDED
        if self.carries and interpreted() and self.lost_in_half(f):
            return f"it {CARRIED}", [Part(MEANINGS[CARRIED])], CARRIED
        if self.most is not None and interpreted() and moved(f.watched) > self.most * f.floor * (1 + 1e-9):
            said = Part(f"It moves {score(f)}; {self.most:.2f} times is enough.")
            seen = [Part(why) for why in (self.why_moved(f.watched) if self.why_moved else ())]
            return f"it {TRAFFIC}", [Part(MEANINGS[TRAFFIC]), *seen, said], TRAFFIC
        return None

    def lost_in_half(self, f):
        """Is what must be carried in float32 lost on inputs in half precision? Only what runs there is judged."""
        inputs, kept = self.carries
        with suppress(Exception):
            results = self(f.answer)(*inputs())
            return not kept(*results if isinstance(results, tuple) else (results,))

    def remarks(self, f):
        """What is said of an answer that is right."""
        if not interpreted():
            return ["Run on this machine's GPU."]
        targets = " and ".join(f"sm_{capability}" for capability in TARGETS)
        said = f"{f.late} That is not held against it." if f.late else f"Compiles for {targets}."
        return [f"Moves {score(f)}. {said}"]


def launched(launch, outputs, *, most=None, floor=None, lines=None, exact=False, parts=(), carries=None):
    """The `prepare` of an exercise whose answer is one kernel.

    Args:
        launch: (kernel, *inputs, *outputs) launches it.
        outputs: (*inputs) -> a tensor, or a tuple of tensors, to be filled.
        most: an answer that moves more than this, as a multiple of `floor`, is refused.
        floor: (*inputs, *outputs) -> bytes that any answer must move; every tensor once if None.
        lines: made by `order_the_lines`, if the kernel's lines are to be ordered; its header begins with @triton.jit.
        exact: an answer with a product that rounds float32 to tf32 is refused.
        parts: (*outputs) -> [(where, mask), ...], or several of these: the places of which a verdict says whether they
            are right, if it knows no more (tutor/recognize.py).
        carries: (() -> inputs in float16, (*outputs) -> whether what is carried has kept what float16 would lose).
    """
    return Answers(launch, outputs, most, floor, lines, exact, parts, carries=carries)


def by_chunks(C):
    """Parts of results whose dimension 1 counts tokens, or chunks of C tokens if it is shorter: chunks."""
    def chunks(*results):
        T = max(x.shape[1] for x in results)
        N = -(-T // C)

        def mask(x, wanted):
            n = torch.arange(x.shape[1]) if x.shape[1] == N < T else torch.arange(x.shape[1]) // C
            return wanted(n).view(1, -1, *[1] * (x.ndim - 2)).expand(x.shape)

        def everywhere(wanted):
            return tuple(mask(x, wanted) for x in results)

        return [("in the first chunk", everywhere(lambda n: n == 0)),
                ("in the last one", everywhere(lambda n: (n == N - 1) & (n > 0))),
                ("in those between", everywhere(lambda n: (n > 0) & (n < N - 1)))]
    return chunks


def by_sequences(*results):
    """Parts of results (B, ...): the first sequence, and the others."""
    def sequences(wanted):
        return tuple(wanted(torch.arange(len(x))).view(-1, *[1] * (x.ndim - 1)).expand(x.shape) for x in results)

    return [("in the first sequence", sequences(lambda b: b == 0)), ("in the others", sequences(lambda b: b > 0))]


def watched(*, most=None, floor=None, parts=(), alike=None, likewise=None, why_moved=None, carries=None):
    """The `prepare` of an exercise whose answer is a function (*inputs) -> outputs that launches kernels by itself.

    alike: (inputs, chosen by the answer, chosen by a mutant) -> whether their results can be compared, where an answer
        is free to choose, such as the length of its chunks; see `chosen`.
    likewise: (a mutant, chosen by the answer) -> the mutant that chooses the same, or None.
    why_moved: (Trace of an answer that moves too much) -> sentences, what it has moved more often than it must.
    carries: as for `launched`.
    """
    return Answers(None, None, most, floor, parts=parts, alike=alike, likewise=likewise, why_moved=why_moved,
                   carries=carries)


def chosen(seen):
    """{name: values} of the whole numbers that launches were given; None where nobody watches."""
    if seen is None:
        return None
    numbers = {}
    for launch in seen.launches:
        for name, x in launch.arguments.items():
            if isinstance(x, int):
                numbers.setdefault(name, set()).add(x)
    return numbers


@contextmanager
def watching(exact=False):
    """A Trace where kernels run in the interpreter; on a GPU there is none. exact: products are what was asked for."""
    if interpreted():
        with Trace() as seen, np.errstate(all="ignore"):                 # a GPU does not warn of infinities either
            yield seen
    else:
        with nullcontext() if exact else beside.three_products():
            yield None
        torch.cuda.synchronize()


def look(seen, given, returned):
    """Raise what the launches have done wrong, if anything."""
    if seen is None:
        for x in given:
            look_beside(x)
    elif not seen.launches:
        raise Unlaunched("no kernel was launched")
    broken = [x for x in returned if isinstance(x, torch.Tensor) and x.is_floating_point() and x.isnan().any()]
    for x in broken:
        missing = x.isnan() if seen is None else x.isnan() & ~seen.written(x)
        if missing.any():
            n = next(i for i, y in enumerate(returned) if y is x)
            raise Unwritten(missing, f"output {n + 1}" if len(returned) > 1 else "the output", seen, returned)
    if broken and seen is not None and seen.unfilled:
        raise Unfilled(seen.unfilled)
    if seen is not None and seen.faults:                                 # last: what several write, others may lack
        raise Race(str(seen.faults[0]))


def placed(x):
    """A tensor where kernels run: itself, or on the GPU its copy, strides kept, between margins of bits that are 1."""
    if interpreted() or not isinstance(x, torch.Tensor):
        return x
    storage = torch.empty(0, dtype=torch.uint8).set_(x.untyped_storage())
    room = torch.full((2 * MARGIN + -(-len(storage) // 16) * 16,), 255, dtype=torch.uint8, device="cuda")
    room[MARGIN:MARGIN + len(storage)] = storage.cuda()
    return room.view(x.dtype).as_strided(x.shape, x.stride(), MARGIN // x.itemsize + x.storage_offset())


def look_beside(x):
    """Raise OutOfBounds if a margin of `placed` is not what it was."""
    if isinstance(x, torch.Tensor):
        room = torch.empty(0, dtype=torch.uint8, device=x.device).set_(x.untyped_storage())
        if not bool((room[:MARGIN] == 255).all() and (room[-MARGIN:] == 255).all()):
            raise OutOfBounds(f"something was stored beside a tensor of shape {tuple(x.shape)}", store=True)


# -- bytes -------------------------------------------------------------------------------------------------------------

def floor_of(*tensors):
    """Bytes of every tensor once."""
    return sum(size(x) for x in tensors if isinstance(x, torch.Tensor))


def moved(seen):
    return seen.loaded + seen.stored


def score(f):
    """What the last call of a prepared answer has moved, in words."""
    return f"{moved(f.watched):,} bytes, {moved(f.watched) / f.floor:.2f} times what must be moved"


def traffic(f, *inputs):
    """(bytes loaded, bytes stored) by a prepared answer on these inputs."""
    f(*inputs)
    return f.watched.loaded, f.watched.stored


def picture(id, answer, case=0):
    """In a notebook: which program touches what, if the answer to an exercise is run on one of its cases."""
    exercise = find("exercise", id)
    f = exercise.prepared(answer)
    outcome = exercise.run(f, case)
    if outcome.error is not None:
        print(f"{id}: no picture yet. {type(outcome.error).__name__}: {outcome.error}")
    elif f.watched is None:
        print(f"{id}: kernels are not watched on a GPU; in the interpreter they are.")
    else:
        return programs.touched(f.watched.launches)


# -- kernels as text ---------------------------------------------------------------------------------------------------

def python_function(answer):
    """The Python function inside a kernel; anything else itself."""
    while hasattr(answer, "fn") and not inspect.isroutine(answer):
        answer = answer.fn
    return answer


def stub(function):
    """What an unfinished answer says, as in raise NotImplementedError("10.2"); None if it is finished.

    A kernel is compiled, not run, where there is a GPU: so it is read.
    """
    return _stub(function) if inspect.isfunction(function) else None


@lru_cache(1000)
def _stub(function):
    try:
        found = re.search(r"^\s*raise NotImplementedError\b(\([\"'](\d+\.\d+))?", inspect.getsource(function), re.M)
    except (OSError, TypeError):
        return None
    return found and (found[2] or "")


def changed(answer, *pairs, **names):
    """The same kernel or function with text replaced: pairs of (old, new), each old text there exactly once.

    names: globals of the new one, such as a changed kernel that it launches.
    """
    function = python_function(answer)
    text = textwrap.dedent(inspect.getsource(function))
    for old, new in pairs:
        if (n := text.count(old)) != 1:
            raise ValueError(f"changed: {old!r} is {n} times in {function.__name__}, expected once.")
        text = text.replace(old, new)
    told = f"{function.__code__.co_filename}\n{text}".encode()
    file = f"<{function.__name__}, changed: {zlib.crc32(told):08x}>"      # a name that debug lines of PTX may hold
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    namespace = {**function.__globals__, **names}
    made = {}                                                          # a method may have the name of a global it calls
    exec(compile(text, file, "exec"), namespace, made)
    return made[re.search(r"^def (\w+)", text, re.M)[1]]                 # which may have been changed as well
