"""Where a run computes, and in which precision: found, and said."""

import contextlib
from typing import NamedTuple

import torch

from ..functional import compiled_on

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Place(NamedTuple):
    """A device, and the dtype of the matrix products there. Weights, optimizers and sums stay in float32."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self):
        """A context in which a model computes in this precision."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def take(self, batch):
        """The arguments of a model's loss, there: a tensor alone, or a tuple of them."""
        batch = batch if isinstance(batch, tuple) else (batch,)
        return tuple(x if x is None else x.to(self.device, non_blocking=True) for x in batch)

    def __str__(self):
        """Such as "NVIDIA H100, bfloat16, Triton kernels" or "CPU, 1 thread, float32, PyTorch"."""
        from .. import kernels

        threads = torch.get_num_threads()
        names = {"cuda": torch.cuda.get_device_name, "cpu": lambda _: f"CPU, {threads} thread{'s' * (threads > 1)}"}
        name = names.get(self.device.type, str)(self.device)
        on_kernels = compiled_on(self.device) and not kernels.why_not(self.device, self.dtype)
        return f"{name}, {str(self.dtype).removeprefix('torch.')}, {'Triton kernels' if on_kernels else 'PyTorch'}"


def find_place(device="auto", precision="auto"):
    """The Place that is asked for: "auto" takes the GPU if there is one, and there bfloat16 if it has it.

    Raises ValueError for a device that is not there or a precision that is not known.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        said = str(error).splitlines()[0]
        raise ValueError(f"device: got {str(device)!r}, which cannot be used here ({said}). "
                         'Use "auto" or "cpu".') from None
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of 'auto', {', '.join(map(repr, PRECISIONS))}.")
    return Place(device, PRECISIONS[precision])


def device_of(model):
    """Where a model's parameters are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
