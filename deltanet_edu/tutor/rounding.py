"""An answer that is nearly right: is it right but for rounding, and where does the rounding happen?

Nothing is guessed. The answer is run again with float32 or with a small epsilon taken out of it, operation by
operation; what it returns then is the evidence. Rounding that nobody wrote counts as right: whole numbers that met a
Python number, a scalar without `dtype=`, an epsilon in a divisor. Float32 that the code asks for, or a tensor made
without `dtype=`, does not.
"""

import inspect
import linecache
import sys
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .compare import as_tensor, difference

NEAR = 1e-3               # how near is near enough to look
EPSILON = 1e-6            # the largest epsilon that a divisor may have
LOW = (torch.float32, torch.float16, torch.bfloat16)
DIVISOR = {"div": 1, "div_": 1, "reciprocal": 0, "rsqrt": 0}              # which argument it is
KEEPS_ROLE = {"sqrt", "pow", "mul", "unsqueeze", "squeeze", "view", "_unsafe_view", "reshape", "expand", "t",
              "transpose",
              "permute", "clone", "alias", "detach", "select", "slice"}


@dataclass(frozen=True)
class Loss:
    """What is said of an answer that is right but for precision, and the line that loses it."""

    headline: str
    cause: str
    line: str


@dataclass(frozen=True)
class Birth:
    """A tensor of low precision where there was none. how: "cast", "whole numbers" or "made"; where: the line."""

    how: str
    scalar: bool
    dtype: torch.dtype
    where: str

    @property
    def harmless(self):
        """Whether nobody asked for it: PyTorch's default for a scalar, or for whole numbers times a Python number."""
        return self.how == "whole numbers" or (self.how == "made" and self.scalar)


class Watch(TorchDispatchMode):
    """Sees every operation of an answer; `wide` computes in float64 throughout, `bare` without epsilons."""

    def __init__(self, f, wide=False, bare=False):
        super().__init__()
        self.file = getattr(getattr(inspect.unwrap(f), "__code__", None), "co_filename", "")
        self.wide, self.bare = wide, bare
        self.births, self.epsilons = [], []
        self.twins = {}                                                  # id -> (divisor with epsilon, without)

    @classmethod
    def _should_skip_dynamo(cls):
        """False: there is nothing to compile here, and skipping it would import the compiler, which takes seconds."""
        return False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), operation.overloadpacket.__name__
        if self.wide and kwargs.get("dtype") in LOW:
            kwargs["dtype"] = torch.float64
        if self.bare and name in DIVISOR:
            args = tuple(self._without_epsilon(x) if i == DIVISOR[name] else x for i, x in enumerate(args))
        twin = self._twin(operation, name, args, kwargs) if self.bare else None
        out = operation(*args, **kwargs)
        if twin is not None:
            self.twins[id(out)] = out, twin
        self._look(args, kwargs, out)
        return out

    def _look(self, args, kwargs, out):
        """Note a tensor of low precision that was made of none."""
        given = [x for x in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if not isinstance(out, torch.Tensor) or out.dtype not in LOW:
            return
        if any(x.dtype in LOW and x is not out for x in given):
            return                                                       # it was low before
        given = [x for x in given if x is not out]
        wide = any(x.is_floating_point() for x in given)
        how = "cast" if wide else "whole numbers" if given else "made"
        self.births.append(Birth(how, out.ndim == 0, out.dtype, self._line()))

    def _twin(self, operation, name, args, kwargs):
        """What a sum would be without its epsilon, and what comes of it; None for anything else."""
        if name in ("add", "add_") and len(args) > 1:
            numbers = [x for x in args[:2] if _epsilon(x)]
            tensors = [x for x in args[:2] if isinstance(x, torch.Tensor) and not _epsilon(x)]
            if numbers and tensors:
                self.epsilons.append(float(numbers[0]))
                return tensors[0].clone()
        if name in KEEPS_ROLE and args and id(args[0]) in self.twins:
            return operation(self.twins[id(args[0])][1], *args[1:], **kwargs)
        return None

    def _without_epsilon(self, x):
        if not isinstance(x, torch.Tensor) or id(x) not in self.twins:
            return x
        twin = self.twins[id(x)][1]
        return torch.where(twin == 0, x, twin)                           # there the epsilon does its work

    def _line(self):
        """The learner's own line that is running: its number and text."""
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        line = linecache.getline(self.file, frame.f_lineno).strip() if frame else ""
        return f"line {frame.f_lineno}: {line}" if line else ""


def _epsilon(x):
    """Whether x is a positive number of at most 1e-6, or a tensor of one without dimensions."""
    if isinstance(x, torch.Tensor):
        return x.ndim == 0 and x.is_floating_point() and 0 < x.item() <= EPSILON
    return isinstance(x, float) and 0 < x <= EPSILON


def nearly_right(exercise, outcomes, wrong):
    """Whether every wrong case is right up to a thousandth, whatever its dtype."""
    pairs = [(exercise.expected[i], outcomes[i]) for i, bad in enumerate(wrong) if bad]
    if getattr(exercise.prepare, "launches", False):                     # kernels are asked for float32
        return False
    return all(e.error is None and o.error is None and e.changed.keys() == o.changed.keys()
               and difference(widened(e.value), widened(o.value), NEAR) is None for e, o in pairs)


def widened(x, depth=4):
    """The value with its floating point tensors in float64."""
    if isinstance(x, (tuple, list)) and depth:
        return tuple(widened(y, depth - 1) for y in x)
    if isinstance(x, dict) and depth:
        return {name: widened(y, depth - 1) for name, y in x.items()}
    t = as_tensor(x)
    return t.double() if t is not None and t.is_floating_point() else x


def look(exercise, f, wrong, agree):
    """Of a nearly right answer: (is it right, what to say), whether only harmless rounding parts it from the right one.

    What to say: of a right answer a list of sentences, of one that loses precision a `Loss`, else None.
    """
    births, results = [], {}
    failing = [i for i, bad in enumerate(wrong) if bad]
    for wide, bare in ((False, True), (True, False), (True, True)):
        watches = []
        for i in [*failing, *(i for i, bad in enumerate(wrong) if not bad)]:
            watches.append(Watch(f, wide, bare))
            dtype = torch.float64 if wide else torch.float32
            outcome = exercise.run(f, i, dtype=dtype, watch=watches[-1])
            if not wide:
                births += watches[-1].births
            results[wide, bare] = agree(exercise.expected[i], outcome, exercise.tolerance)
            if not results[wide, bare]:
                break
        if results[wide, bare]:
            epsilons = sorted({x for w in watches for x in w.epsilons}) if bare else []
            if not wide or all(birth.harmless for birth in births):
                return True, _allowed(epsilons, births if wide else [])
            return False, _lost([birth for birth in births if not birth.harmless])
    return False, None


def bare_outcomes(exercise, f, smallest):
    """The outcomes of an answer with the small epsilons in its divisors taken out; None if it has none, on case
    `smallest` at least. A mistake is the same with and without them.
    """
    watch = Watch(f, bare=True)
    if getattr(exercise.prepare, "launches", False):
        return None
    exercise.run(f, smallest, watch=watch)
    if not watch.epsilons:
        return None
    return [exercise.run(f, i, watch=Watch(f, bare=True)) for i in range(len(exercise.case_list))]


def _allowed(epsilons, births):
    said = [f"The {epsilons[-1]:g} in your divisor is small enough to count as right."] if epsilons else []
    if births:
        whole = births[0].how == "whole numbers"
        what = "Whole numbers times a Python number" if whole else "A scalar made without `dtype=`"
        said.append(f"{what} gave float32 on the way; here that counts as right.")
    return said


def _lost(births):
    first = births[0]
    dtype = str(first.dtype).removeprefix("torch.")
    if first.how == "cast":
        cause = f"float64 becomes {dtype} on the way. Look for `.float()` or a `dtype=`."
    else:
        cause = f"a tensor is made in {dtype}. Give it the `dtype=` of an input, or use `torch.zeros_like`."
    return Loss("it loses precision", f"The values are right but for rounding: {cause}", first.where)
