"""What kernels do wrong that the values of results do not tell: names, meanings, and the exceptions that say it."""

import torch

from ..bench.trace import OutOfBounds
from ..tutor import Mistake

OUTSIDE_LOAD, OUTSIDE_STORE = "loads outside a tensor", "stores outside a tensor"
OUTSIDE_ATOMIC = "has an atomic operation outside a tensor"
RACE, UNWRITTEN, UNLAUNCHED = "depends on the order of its programs", "leaves entries unwritten", "launches no kernel"
OVERWRITTEN, UNFILLED = "leaves entries unwritten, and stores others several times", "loads what nobody has stored"
REJECTED, TRAFFIC = "is not accepted by the compiler", "moves more than it must"
ROUNDED, CARRIED = "rounds what its products take in", "rounds what it carries from chunk to chunk"

MEANINGS = {
    OUTSIDE_LOAD: "The interpreter reads whatever lies there; a GPU may stop with an illegal access. Usually a mask is "
                  "missing where the last tile sticks out, or a stride or a size is the wrong one.",
    OUTSIDE_STORE: "What lies there belongs to something else. Either a mask is missing or lets too much in, or "
                   "an address is wrong: an offset, a stride, the width of a row. A mask on the load does not help.",
    OUTSIDE_ATOMIC: "What lies there belongs to something else, and adding 0 to it is an access as well: a GPU may "
                    "stop. Usually the operation lacks a mask of its own, or an address is wrong.",
    RACE: "The interpreter runs programs one after the other, a GPU runs them at once. Usually two programs write the "
          "same entries, or one reads what another writes in the same launch.",
    UNWRITTEN: "Outputs hold NaN before the launch, and some still do. Usually a mask leaves out too much, the grid "
               "does not reach the end, or a store goes to another place.",
    OVERWRITTEN: "Outputs hold NaN before the launch, and some still do. Instead, several programs store to the same "
                 "entries. Usually what tells one program's place from another's is missing where it stores.",
    UNFILLED: "Memory that nobody has filled holds NaN here, as outputs do before the launch, and what is made of NaN "
              "is NaN. Either nothing has to be loaded there, or whoever should have stored it has not.",
    UNLAUNCHED: "The function should launch kernels of yours, as in kernel[grid](...).",
    REJECTED: "The values are right in the interpreter, but the compiler is stricter.",
    ROUNDED: "The values are right in the interpreter, which ignores `input_precision`. On a tensor core the operands "
             "of this product keep ten bits (tf32), since nothing else is asked for; \"ieee\" keeps them all, and "
             "\"tf32x3\" nearly all.",
    CARRIED: "With float32 inputs nothing shows. In float16 what is carried is rounded once a chunk, and what a chunk "
             "adds may be too small to move a rounded number. Carry it in float32, and round its copy for a product.",
    TRAFFIC: "The values are right. But numbers travel more than once between memory and the programs: load each once, "
             "and keep it.",
}


BARE = ("This access has no mask, and some of its addresses are not in the tensor: behind its end, or where a wrong "
        "offset leads. {}")
HARM = {False: "On a CPU that loads some number; on a GPU it may be the end of the program.",
        True: "What lies there belongs to something else. A mask on the load does not help the store."}


class Race(RuntimeError):
    """Programs of one launch meet at a number that one of them writes."""


class Unwritten(RuntimeError):
    """No program has stored some entries of an output."""

    def __init__(self, missing, which, seen, returned):
        """missing: which entries of an output; which: its name; seen: a Trace or None; returned: all outputs."""
        at = ", ".join(map(str, missing.nonzero()[0].tolist()))
        self.meeting = next((race for race in seen.faults if race.writes), None) if seen else None
        also = f"; {self.meeting}" if self.meeting else ""
        super().__init__(f"{int(missing.sum())} of {missing.numel()} entries of {which}, the first at [{at}]{also}")
        self.evidence = tuple(x.cpu() for x in returned if isinstance(x, torch.Tensor))      # what is there besides


class Unfilled(RuntimeError):
    """A program has loaded NaN from where nobody had stored anything, and results are NaN."""


class Unlaunched(RuntimeError):
    """A function should launch kernels, and has launched none."""


def named(error):
    """(name, Mistake) of an exception that a rung of kernel_answers.py raises; else None."""
    names = {Race: RACE, Unwritten: UNWRITTEN, Unfilled: UNFILLED, Unlaunched: UNLAUNCHED}
    name = names.get(type(error))
    if bare := getattr(error, "bare", ""):
        name = f"stores to {bare} without a mask" if error.store else f"loads from {bare} without a mask"
        return name, Mistake(None, BARE.format(HARM[error.store]))
    if isinstance(error, OutOfBounds):
        name = OUTSIDE_ATOMIC if error.atomic else OUTSIDE_STORE if error.store else OUTSIDE_LOAD
    if getattr(error, "meeting", None):
        name = OVERWRITTEN
    return (name, Mistake(None, MEANINGS[name])) if name else None
