"""The paper's figure: how much faster than one token at a time is the chunkwise kernel,
by length of the sequence and width of a head?

Every point has 16,384 tokens and a model width of 2,048, so that all do the same amount of reading and writing.
"""

from . import timing
from .delta_rule import both_passes, candidates, inputs, label

TOKENS, WIDTH = 16384, 2048
LENGTHS, HEAD_WIDTHS = (512, 1024, 2048, 4096, 8192, 16384), (64, 128, 256)
SHAPES = [(TOKENS // T, T, WIDTH // D, D) for D in HEAD_WIDTHS for T in LENGTHS]                        # B, T, H, K = V


def forms():
    return {name: f for name, f in candidates(softmax=False)[0].items() if name not in ("fla chunk", "FlashQLA")}


def measure(shape, found):
    """Milliseconds forward and backward of every form, and "speedup":
    the faster recurrent kernel's over the chunkwise one's."""
    args, do = inputs(*shape)
    row = {name: round(timing.milliseconds(lambda: both_passes(f, args, do, shape[-1] ** -0.5), budget=30), 4)
           for name, f in found.items()}
    return row | {"speedup": round(min(ms for name, ms in row.items() if "recurrent" in name) / row["chunkwise"], 2)}


def describe(shape, row):
    """One line of the table."""
    times = (row.get(name, float("nan")) for name in ("chunkwise", "recurrent", "fla recurrent"))
    return f"{label(shape):<18}" + "".join(f"{ms:>14.3f}" for ms in times) + f"{row['speedup']:>10.1f}"
