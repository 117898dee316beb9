"""Calling an answer: the same inputs, settings and random numbers every time, whatever the notebook has set."""

import copy
import random
import sys
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Outcome:
    """What a call did: the value it returned or the exception it raised, and the arguments it changed, by position.

    how: what the answer chose on its way, if it tells (`f.how`), such as the length of its chunks.
    """

    value: object = None
    error: BaseException | None = None
    changed: dict = field(default_factory=dict)
    how: object = None


_together = []            # the dtypes of new tensors inside of `together`, the innermost last


@contextmanager
def together(seed, dtype=torch.float32):
    """Many calls inside: the notebook's own settings are put aside once, not for every call."""
    with settled(seed, dtype):
        _together.append(dtype)
        try:
            yield
        finally:
            _together.pop()


def _seed(seed, dtype):
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.set_default_dtype(dtype)


@contextmanager
def settled(seed, dtype=torch.float32):
    """Known settings inside, the notebook's own outside: random numbers, default dtype and device, gradient mode, no
    autocast."""
    if _together and _together[-1] == dtype:
        _seed(seed, dtype)
        yield
        return
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    outside = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        try:
            _seed(seed, dtype)
            yield
        finally:
            torch.set_default_dtype(outside)
            torch.set_rng_state(torch_state)
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def fresh(x):
    """A copy that shares no memory with x, with its strides; gradients are wanted where they were wanted."""
    if isinstance(x, torch.Tensor):
        y = x.detach().clone()
        if x.layout == torch.strided and x.stride() != y.stride() and 0 not in x.stride():   # a slice, with its gaps
            y = y.new_empty(0).set_(x.untyped_storage().clone(), x.storage_offset(), x.shape, x.stride())
        return y.requires_grad_(x.requires_grad)
    if isinstance(x, (list, tuple)) and type(x) in (list, tuple):
        return type(x)(fresh(y) for y in x)
    if type(x) is dict:
        return {name: fresh(y) for name, y in x.items()}
    if isinstance(x, torch.Generator) or (callable(x) and not isinstance(x, torch.nn.Module)):
        return x
    return copy.deepcopy(x)


def call(f, args, seed, dtype=torch.float32, watch=None):
    """Call f on copies of args, inside the context `watch` if there is one, with `dtype` as the default of new tensors.

    Exceptions become part of the outcome; only an interrupt passes.
    """
    outcome = Outcome()
    with settled(seed, dtype):
        given = fresh(args)
        try:
            with watch or nullcontext():
                outcome.value = f(*given)
        except (Exception, SystemExit) as error:
            outcome.error = error
        outcome.changed = {i: after for i, (before, after) in enumerate(zip(args, given)) if not same(before, after)}
    outcome.how = getattr(f, "how", None)
    return outcome


def effort(f, args):
    """How much a call does: how many functions begin and end in it. The same on every machine, unlike seconds.

    Nothing, under a profiler: there is place for one only.
    """
    seen = [0]
    if sys.getprofile() is not None:
        return 0

    def count(frame, event, what):
        seen[0] += 1

    try:
        f(*fresh(args))                                                  # whatever is done once only
        sys.setprofile(count)
        f(*fresh(args))
    except Exception:
        pass
    finally:
        sys.setprofile(None)
    return seen[0]


def as_result(outcome, args, buffers, free=()):
    """The outcome of an answer that should write into the arguments at `buffers`: what is in them becomes its value.

    What it does to those at `free` is its own business.
    """
    outcome.changed = {i: after for i, after in outcome.changed.items() if i not in free}
    if not buffers or outcome.error is not None:
        return outcome
    written = tuple(outcome.changed.get(i, args[i]) for i in buffers)
    others = {i: after for i, after in outcome.changed.items() if i not in buffers}
    return Outcome(written if len(written) > 1 else written[0], None, others, outcome.how)


def same(a, b):
    """Exactly equal: used to find out whether an argument was changed in place."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        alike = a.shape == b.shape and a.dtype == b.dtype
        return alike and (torch.equal(a, b) or torch.equal(a.detach().nan_to_num(), b.detach().nan_to_num()))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    try:
        return a is b or bool(a == b) or type(a).__eq__ is object.__eq__ or a != a
    except Exception:
        return True
