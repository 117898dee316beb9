"""Every exercise against the wrong answers that anybody writes: none is accepted, none given a wrong name."""

import warnings
import zlib
from dataclasses import replace

import pytest
import torch

from deltanet_edu.tutor import registry
from deltanet_edu.tutor.compare import difference
from deltanet_edu.tutor.grading import agree, grade
from deltanet_edu.tutor.rounding import NEAR, widened
from deltanet_edu.tutor.running import call, settled
from deltanet_edu.tutor.slips import judged

from .generic_mistakes import generic_mistakes, generic_values

EXERCISES = registry.all_exercises()
# Where `prepare` is a judge, the cases are its arguments, not the answer's: a change of those is no answer anybody
# writes.
JUDGED = {e.id for e in EXERCISES if e.cases is not None and judged(e)}
KERNELS = {e.id for e in EXERCISES if getattr(e.prepare, "launches", False)}    # no function of PyTorch answers these
FUNCTIONS = [pytest.param(e, id=e.id) for e in EXERCISES if e.cases is not None and e.id not in JUDGED | KERNELS]
VALUES = [pytest.param(e, id=e.id) for e in EXERCISES if e.cases is None]

# Accepted, and rightly so. Each is tried on other inputs as well: it must be right there too.
SIGN, LENGTH = "keys appear in pairs, so their sign cancels", "only the length of the key matters"
DIRECTION = "only the direction of the key matters"
CHUNKS = "the chunk length is how it is computed, not what"
LINEAR = "β is not part of what is asked: what comes back is the gradient without it"
SOFTMAX = "adding one number to all logits changes no probability"
TILE = "with tiles of 16 rows and more, one row more makes no program less"
MEDIAN = "one call more or less does not change the median"
SEGMENTS = "in how many segments it is computed is how, not what"
LARGEST = "only which score is the largest matters"
TOKEN = "a token more or less makes no other plan the best, unless a chunk begins or ends there"
RIGHT = {
    **{(id, "minus k"): SIGN for id in ("4.3", "4.4", "5.2", "6.2", "6.3")},
    **{("2.6", name): LENGTH for name in ("minus k", "k one late", "k reversed")},
    **{("4.2", name): DIRECTION for name in ("minus k", "twice k", "half k", "normalized k",
                                             "k over the root of its width")},
    **{(id, "C + 1"): CHUNKS for id in ("1.6", "7.2", "8.3")},
    **{("3.4", name): LINEAR for name in ("zero beta", "beta one", "minus beta", "twice beta", "half beta",
                                          "beta squared", "1 - beta",
                                          "beta + 1e-6", "sigmoid of beta", "beta rounded")},
    **{(id, "logits + 1e-6"): SOFTMAX for id in ("16.5", "16.7")},
    **{("15.4", name): LARGEST for name in ("twice logits", "half logits", "logits + 1e-6", "normalized logits",
                                            "logits over the root of its width", "sigmoid of logits")},
    **{key: TILE for key in (("11.2", "V_TILE + 1"), ("13.8", "rows + 1"))},
    **{("13.2", name): MEDIAN for name in ("calls + 1", "calls - 1")},
    **{("13.6", name): SEGMENTS for name in ("P + 1", "P - 1")},
    **{("13.9", name): TOKEN for name in ("T + 1", "T - 1")},
    ("14.5", "S and alpha swapped"): "a product entry by entry has no order",
}


def other_cases(exercise):
    """Inputs that the check does not use."""
    for seed in (1, 2):
        with settled(seed):
            yield from exercise.cases(torch.Generator().manual_seed(seed))


def agree_elsewhere(exercise, f, g):
    return all(agree(call(f, case.args, 1), call(g, case.args, 1),
                     exercise.tolerance) for case in other_cases(exercise))


def deserves_a_look(exercise, name, f):
    """Whether two telling cases leave it open that the answer is accepted or named; and one in eighty of the others."""
    if zlib.crc32(f"{exercise.id} {name}".encode()) % 80 == 0:
        return True
    mutants = set(exercise.mutants)
    accepted = True
    for i in (len(exercise.case_list) // 2, -1):
        i %= len(exercise.case_list)
        outcome, expected = exercise.run(f, i), exercise.expected[i]
        accepted = accepted and agree(widened_outcome(expected), widened_outcome(outcome), NEAR)
        mutants = {m for m in mutants if agree(exercise.mutant_outcome(m, i), outcome, exercise.tolerance)}
        if not accepted and not mutants:
            return False
    return True


def widened_outcome(outcome):
    return replace(outcome, value=widened(outcome.value))


@pytest.mark.parametrize("exercise", FUNCTIONS)
def test_generic_mistakes(exercise):
    reference = exercise.prepared(exercise.reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, f in generic_mistakes(exercise).items():
            if not deserves_a_look(exercise, name, f):
                continue
            verdict = grade(exercise, f)
            assert "check itself" not in verdict.headline, f"{exercise.id}, {name}:\n{verdict.text}"
            assert verdict.state != "open", f"{exercise.id}, {name}:\n{verdict.text}"
            if verdict.state == "pass":
                assert (exercise.id, name) in RIGHT, f"{exercise.id} accepts the wrong answer {name!r}"
                assert agree_elsewhere(exercise, reference, f), f"{exercise.id} accepts {name!r}, wrong on other inputs"
            elif verdict.mistake:
                mutant = exercise.prepared(exercise.mutants[verdict.mistake].answer)
                assert agree_elsewhere(exercise, mutant,
                                       f), f"{exercise.id} takes {name!r} for {verdict.mistake!r}, which it is not"


@pytest.mark.parametrize("exercise", VALUES)
def test_generic_values(exercise):
    right = exercise.prepared(exercise.reference)
    for answer in generic_values(exercise.reference):
        if difference(exercise.reference, answer, 1e-9) is None:
            continue
        verdict = grade(exercise, answer)
        assert verdict.state == "fail", f"{exercise.id} accepts {answer}, right is {right}"
        if verdict.mistake:
            named = exercise.prepared(exercise.mutants[verdict.mistake].answer)
            assert difference(named, exercise.prepared(answer), exercise.tolerance) is None


def test_few_exercises_are_judged():
    """The family of generic answers walks over all others. A build from an empty cell is judged by its laws, as asked;
    answers of readers to these stand in test_ch14.py, test_ch15.py and test_ch16_build.py."""
    builds = {"14.11", "15.8", "16.14", "16.19"}
    assert builds <= JUDGED and 18 * len(JUDGED - KERNELS - builds) <= len(EXERCISES)
    assert len(FUNCTIONS) + len(VALUES) + len(JUDGED | KERNELS) == len(EXERCISES)


def test_the_table_has_no_more_than_it_needs():
    ids = {e.id for e in EXERCISES}
    assert {id for id, _ in RIGHT} <= ids
