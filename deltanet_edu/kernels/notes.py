"""What a call does, noted down the first time and repeated with other tensors.

To find out what is to be launched, and for Triton which compiled kernel that is, takes longer than small kernels run.
So the first call takes notes, and later calls with inputs of the same kinds do the same with other tensors.
"""

from contextlib import nullcontext
from functools import wraps
from threading import local

import torch
import triton
from torch import Tensor

NOTES = {}                                                               # by all that decides what a call does


class Taking(local):
    notes = None                                                         # those that a thread takes just now


TAKING = Taking()


class Notes:
    """What one call does, step by step: a function, and which tensors it is given. Tensors have numbers: first the
    inputs, then what each step returns, a tensor or None."""

    def __init__(self, inputs):
        self.tensors, self.inputs, self.steps = list(inputs), len(inputs), []

    def add(self, f, tensors, out):
        self.steps.append((f, [self.number(x) for x in tensors]))
        self.tensors.append(out)

    def number(self, x):
        return next((n for n, known in enumerate(self.tensors) if known is x), None)

    def finish(self, results):
        """Forget the tensors. Returns whether the notes are good for another call: not if two inputs were one tensor,
        nor if a step took one that comes from elsewhere."""
        given = [id(x) for x in self.tensors[:self.inputs] if isinstance(x, Tensor)]
        self.results = [None if x is None else self.number(x) for x in results]
        self.kind = type(results)._make if hasattr(results, "_make") else tuple
        self.tensors = None
        return len(set(given)) == len(given) and not any(None in numbers for _, numbers in self.steps)

    def repeat(self, inputs):
        tensors = list(inputs)
        for f, numbers in self.steps:
            tensors.append(f(*[tensors[n] for n in numbers]))
        return self.kind([None if n is None else tensors[n] for n in self.results])


def kind(x):
    """What of an input decides what is done with it."""
    return (x.dtype, x.device, x.shape, x.stride(), x.data_ptr() % 16 == 0) if isinstance(x, Tensor) else x


def noted(run, others):
    """run(*inputs), which returns a tuple of tensors: from notes, if there are any. others() -> what else decides what
    is done, a tuple; or None, if each call is to be worked out."""
    @wraps(run)
    def call(*inputs):
        device = inputs[0].device
        elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
        with torch.cuda.device(device) if elsewhere else nullcontext():
            triton.set_allocator(scratch)                          # for this thread, and backward passes have their own
            if (more := others()) is None:
                return run(*inputs)
            key = run, *more, *map(kind, inputs)
            if notes := NOTES.get(key):
                return notes.repeat(inputs)
            TAKING.notes = Notes(inputs)
            try:
                results = run(*inputs)
                if len(NOTES) >= 1024:                                   # lengths that are never the same again
                    NOTES.clear()
                if TAKING.notes.finish(results):
                    NOTES[key] = TAKING.notes
            finally:
                TAKING.notes = None
            return results
    return call


def step(f, *tensors, again=None):
    """f(*tensors), a tensor or None; noted, as what is to be done `again` if that is something else."""
    out = f(*tensors)
    if notes := TAKING.notes:
        notes.add(again or f, tensors, out)
    return out


def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes, on the device that it is launched on."""
    return torch.empty(size, dtype=torch.int8, device="cuda")
