"""Eight faults that a kernel can have: each exercise answered by kernels has a mutant for each, or says why it cannot.

That every mutant is rejected by its own name is held by test_chapters.py.
"""

import pytest

pytest.importorskip("triton")

from deltanet_edu.tutor import registry

LOAD, STORE = "loads the tail without a mask", "stores the tail without a mask"
FAULTS = "load", "store", "race", "K for V", "triangle", "beta", "scale", "rounding"
NO_V, NO_TRIANGLE, NO_BETA, NO_SCALE = (f"- it has no {what}" for what in ("V", "triangle", "beta", "scale"))
MASKED = "- it stores one whole number or memory a program, no tail"
KERNELS = {                                                              # by FAULTS; what begins with - is a reason
    "10.2": (LOAD, STORE, "lets several programs write the same entries", NO_V, NO_TRIANGLE, NO_BETA, NO_SCALE,
             "loses digits in float16"),
    "10.3": (LOAD, STORE, "lets neighbors write the same columns", "swaps k and v", NO_TRIANGLE, "forgets β", NO_SCALE,
             "rounds to bfloat16"),
    "10.4": (LOAD, STORE, "does the same row in each program", NO_V, NO_TRIANGLE, NO_BETA, NO_SCALE,
             "sums in bfloat16"),
    "10.5": (LOAD, MASKED, "stores all results in one place", NO_V, NO_TRIANGLE, NO_BETA, NO_SCALE,
             "rounds the sum to bfloat16"),
    "10.6": ("loads rows behind the end", STORE, "loads, adds and stores", NO_V, NO_TRIANGLE, NO_BETA, NO_SCALE,
             "rounds partial sums to bfloat16"),
    "10.8": (LOAD, STORE, "does the first chunk in each program", NO_V, "keeps the upper triangle", NO_BETA,
             "forgets the scale", "rounds the scores to bfloat16"),
    "10.9": (LOAD, STORE, "does the same triangle in each program", NO_V, "uses a column of A for its row", NO_BETA,
             NO_SCALE, "rounds finished rows to bfloat16"),
    "10.10": (LOAD, STORE, "does the first chunk in each program", NO_V, "gives diag(β) alone", "forgets β",
              NO_SCALE, "rounds products to bfloat16"),
    "11.4": ("loads outside, once the clamp is gone", MASKED, "stores all memories in the place of the first",
             "stores the memory with rows of length V", NO_TRIANGLE, NO_BETA, NO_SCALE,
             "rounds the memory to bfloat16"),
    "11.5": (LOAD, STORE, "guards the end of the batch, not of each sequence", NO_V, "stores nothing but zeros",
             "forgets β in A", NO_SCALE, "rounds A before the inverse"),
    "11.6": (LOAD, STORE, "guards the end of the batch, not of each sequence", "reads v with the stride of k",
             "turns UT_low the wrong way", "forgets β", NO_SCALE, "rounds the memory in every chunk"),
    "11.7": (LOAD, STORE, "guards the end of the batch, not of each sequence",
             "reads the memory with rows of length V", "lets tokens see later ones", NO_BETA, "forgets the scale",
             "rounds the scores"),
    "11.8": (LOAD, STORE, "guards the end of the batch, not of each sequence", "reads v with the stride of k",
             "lets tokens see later ones", "forgets β", "forgets the scale", "rounds the memory in every chunk"),
    "12.3": (LOAD, STORE, "lets all heads store the same memories", "takes K for V", "keeps the upper triangle",
             "forgets beta", "forgets scale", "keeps dS in bfloat16"),
    "12.4": (LOAD, STORE, "keeps the race", "takes another width for V", NO_TRIANGLE, "forgets beta", NO_SCALE,
             "rounds the products to bfloat16"),
    "12.5": (LOAD, STORE, "lets all chunks store the first", "takes K for V", "takes the other triangle of E", NO_BETA,
             "forgets scale", "rounds dP to bfloat16"),
    "12.7": ("has a sweep that loads past the end", "has a sweep that stores past the end",
             "has a race in the strengths", "takes K for V in the sweep", "keeps the upper triangle in the sweep",
             "returns None for beta", "forgets scale in the sweep", "rounds dS in the sweep"),
}


def launches(exercise):
    """Whether it is answered by kernels that somebody writes: not by lines to be put in order."""
    return getattr(exercise.prepare, "launches", False) and exercise.kind != "order"


def test_no_exercise_answered_by_kernels_is_left_out():
    assert [e.id for e in registry.all_exercises() if launches(e)] == list(KERNELS)


@pytest.mark.parametrize("id", KERNELS)
def test_every_fault_has_its_mutant(id):
    mutants = registry.find("exercise", id).mutants
    missing = [f"{fault}: {name}" for fault, name in zip(FAULTS, KERNELS[id], strict=True)
               if not name.startswith("-") and name not in mutants]
    assert not missing, f"{id} has no mutant for {missing}"


def test_how_many_there_are():
    """Of 17 exercises with 8 faults each: what has a mutant, fault by fault."""
    counted = {fault: sum(not names[n].startswith("-") for names in KERNELS.values()) for n, fault in enumerate(FAULTS)}
    assert counted == {"load": 17, "store": 15, "race": 17, "K for V": 9, "triangle": 10, "beta": 8, "scale": 6,
                       "rounding": 17}
