"""What a mixer is, and where models find mixers by name."""

import inspect

import torch
import torch.nn as nn

from ..checks import check_packing
from ..ops.common import transformed

MIXERS = {}                                                              # name -> class, filled by the files themselves


def mixer(name):
    """Decorate a mixer: models find it by this name, and `torch.load` in its safe default reads its state."""
    def add(cls):
        if name in MIXERS and MIXERS[name].__qualname__ != cls.__qualname__:
            raise ValueError(f"mixer: {name!r} is already the name of {MIXERS[name].__name__}.")
        MIXERS[name] = cls
        torch.serialization.add_safe_globals([cls.State])
        return cls
    return add


def options_of(cls):
    """{option: default} of a mixer: the keyword-only parameters of its constructor and of those it hands them to."""
    options = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters.values()
            options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | options
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                break
    return options


def on_kernels(x):
    """Can the kernels take it, and would they be compiled? Transforms of PyTorch see through its own operations only;
    torch.compile and torch.export take a kernel as one operator, unless a transform stands inside."""
    from .. import functional, kernels                                   # here, so that the package never needs Triton

    return functional.compiled_on(x.device) and not kernels.why_not(x.device, x.dtype) and not transformed()


def integer(name, value, least=1):
    """Raise TypeError or ValueError unless an argument is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}, expected an integer of at least {least}.")
    if value < least:
        raise ValueError(f"{name}: got {value}, expected at least {least}.")


class Mixer(nn.Module):
    """The part of a model that looks back in time:  y, state = mixer(x, state, cu_seqlens=None).

    For any number of tokens, from a whole sequence to one: in one call or in many, the outputs are the same. A subclass
    is decorated with `@mixer("name")`, takes (d_model, heads, *, its own options), and has
      State: a NamedTuple of tensors, with the property `nbytes`: all that it keeps of the past. A state that was handed
        out is never changed, so it can be kept and continued from several times;
      forward(x, state, cu_seqlens): calls `check` first, and returns y: (B, T, D) and the next State;
      check_state(state, sequences): raises ValueError unless a State fits so many sequences.
    """

    State = None

    def __init__(self, d_model, heads):
        super().__init__()
        integer("heads", heads)
        integer("d_model", d_model)
        if d_model % heads:
            raise ValueError(f"d_model: got {d_model}, which {heads} heads do not divide. Take a multiple of {heads}.")
        self.d_model, self.heads = d_model, heads

    def check(self, x, state=None, cu_seqlens=None):
        """Raise TypeError or ValueError unless these are what `forward` expects; see there."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x: got {type(x).__name__}, expected a torch.Tensor of shape (B, T, {self.d_model}).")
        if x.ndim != 3 or x.shape[2] != self.d_model:
            raise ValueError(f"x: got shape {tuple(x.shape)}, expected (B, T, {self.d_model}).")
        if not x.is_floating_point():
            raise TypeError(f"x: got dtype {x.dtype}, expected floating point. Tokens go through an embedding first.")
        if cu_seqlens is not None and len(x) != 1:
            raise ValueError(f"x: got batch size {len(x)} together with cu_seqlens, expected 1: "
                             "pack the sequences end to end in one row.")
        sequences = check_packing(x, cu_seqlens, None)
        if state is not None:
            if not isinstance(state, self.State):
                raise TypeError(f"state: got {type(state).__name__}, expected what an earlier call has returned, "
                                f"a {self.State.__name__}, or None.")
            self.check_state(state, sequences)

    def check_state(self, state, sequences):
        """Raise ValueError unless this State can be that of so many sequences."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its states are checked.")


def check_part(state, name, expected):
    """Raise ValueError unless a part of a state is None or has the shape that is expected."""
    part = getattr(state, name)
    if part is not None and tuple(part.shape) != expected:
        raise ValueError(f"state.{name}: got shape {tuple(part.shape)}, expected {expected}: "
                         "it is of other sequences or another layer.")


def bytes_of(state):
    """The bytes of the tensors in a State."""
    return sum(part.numel() * part.element_size() for part in state if part is not None)
