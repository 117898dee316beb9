"""The Triton twins of `ops`: the same rules with the same arguments, on a GPU or, slowly, in Triton's interpreter.

    delta_rule_chunkwise    the form to train with          forward.py, backward.py, splitting.py
    delta_rule_recurrent    one token at a time, fused      recurrent.py
    delta_rule_step         one token, for decoding         recurrent.py
    selective_scan          Mamba's memory, for layers.Mamba                selective_scan.py
    short_convolution       for layers.ShortConvolution                     convolution.py
    swiglu_projection       for layers.SwiGLU                               swiglu.py
    rms_norm                for layers.RMSNorm                              rms_norm.py

interface.py checks what comes, operator.py is what PyTorch sees of a rule, launches.py runs it (notes.py: a second time
without thinking), configs.py and own.py
say with which tile sizes, and tiles.py holds what kernels share.
Tested on an H100 with Triton 3.6 and 3.7, on an H200 with 3.6, whose compiler was caught losing products on the way
(see backward.py). With another GPU or version, `deltanet-edu bench verify` first.

This room can always be imported. Whether its kernels can run, and if not why, is what `why_not` says; without Triton
the functions raise that as ImportError when they are used.
"""

import importlib
import importlib.util
import os
import sys

import torch

HAS_TRITON = importlib.util.find_spec("triton") is not None
_PUBLIC = ("delta_rule_chunkwise", "delta_rule_recurrent", "delta_rule_step")
__all__ = ["HAS_TRITON", "interpreted", "why_not", *_PUBLIC]


def _constant(f):
    """torch.compile calls f instead of reading it; torch.compiler.assume_constant_result takes a second to import."""
    f._dynamo_marked_constant = True
    return f


@_constant
def interpreted():
    """Do kernels run in Triton's interpreter? TRITON_INTERPRET=1 decides it, when Triton is first imported."""
    if language := sys.modules.get("triton.language"):
        return type(language.cdiv).__name__ == "InterpretedFunction"
    return _interpreter_asked_for()


def _interpreter_asked_for():
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


def _version(package):
    return tuple(int(n) for n in package.__version__.split(".")[:2])


@_constant
def why_not(device="cuda", dtype=None):
    """The reason why kernels cannot run on tensors of this device and dtype, with the fix; "" if they can."""
    device = torch.device(device)
    if not HAS_TRITON:
        return "Triton is not installed. On Linux: pip install triton. Elsewhere use the forms in deltanet_edu.ops."
    import triton
    if _version(triton) < (3, 4):
        return (f"Triton {triton.__version__} is too old for tensor descriptors, expected 3.4 or later: "
                "pip install --upgrade torch triton.")
    if _interpreter_asked_for() != interpreted():
        return ("TRITON_INTERPRET was changed after Triton had been imported, which is too late. "
                "Restart Python and set it first.")
    if dtype not in (None, torch.bfloat16, torch.float16, torch.float32):
        return (f"dtype {dtype} has no kernel, expected torch.bfloat16, torch.float16 or torch.float32. "
                "Convert the inputs, or use the forms in deltanet_edu.ops.")
    if interpreted():
        if dtype == torch.bfloat16:
            return ("Triton's interpreter multiplies the bit patterns of bfloat16 as if they were numbers, without a "
                    "word. Use float32 in the interpreter, or unset TRITON_INTERPRET and use a GPU.")
        return "" if device.type in ("cpu", "cuda") else f"tensors are on {device}, expected the CPU or a CUDA device."
    if device.type != "cuda":
        return (f"tensors are on {device}, expected a CUDA device. To run kernels without one, set TRITON_INTERPRET=1 "
                "before Python starts; slow, but exact.")
    if torch.cuda.get_device_capability(device) < (8, 0):
        return ("the GPU is older than compute capability 8.0, which bfloat16 products need. "
                "Use the forms in deltanet_edu.ops.")
    return ""


def __dir__():
    return __all__


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not HAS_TRITON:
        raise ImportError(f"{name}: {why_not()}")
    return getattr(importlib.import_module(".interface", __name__), name)
