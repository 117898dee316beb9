"""Readers' kernels for chapter 10: wrong ones have their names, right ones pass, and all are held to float64."""

import importlib.util

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("chapter 10 needs Triton", allow_module_level=True)

from deltanet_edu.chapters.ch10 import rows, tiles
from deltanet_edu.chapters.ch10.build import blocks_of_16
from deltanet_edu.chapters.kernel_answers import changed
from deltanet_edu.chapters.kernel_faults import (OUTSIDE_ATOMIC, OUTSIDE_LOAD, OUTSIDE_STORE, OVERWRITTEN, RACE,
                                                 UNWRITTEN)
from deltanet_edu.ops.delta_rule.householder import ut_by_solve
from deltanet_edu.tutor.compare import difference
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict


def per_chunk(f, C, *tokens):
    """f on each chunk of C tokens; its (C, C) results as rows of C, (T, C)."""
    made = []
    for start in range(0, len(tokens[0]), C):
        block = f(*(x[start:start + C] for x in tokens))
        made.append(torch.nn.functional.pad(block, (0, C - block.shape[1])))
    return torch.cat(made)


TRUTH = {
    "10.2": lambda x, y: x + y,
    "10.3": lambda v, k, beta: beta * torch.outer(v, k),
    "10.4": lambda x: x.softmax(1),
    "10.5": lambda x: x.logsumexp(1),
    "10.6": lambda x: x.sum(0),
    "10.7": lambda a, b: a @ b,
    "10.8": lambda q, k, scale: per_chunk(lambda q, k: scale * (q @ k.mT).tril(), 16, q, k),
    "10.9": lambda A: torch.linalg.inv(torch.eye(A.shape[1], dtype=A.dtype) + A),
    "10.10": lambda k, beta: per_chunk(ut_by_solve, 64, k, beta),
}


@pytest.mark.parametrize("id", TRUTH)
def test_the_reference_is_what_float64_says(id):
    exercise = find("exercise", id)
    for case, outcome in zip(exercise.case_list, exercise.expected):
        wide = [x.double() if isinstance(x, torch.Tensor) else x for x in case.args]
        assert difference(TRUTH[id](*wide).float(), outcome.value, exercise.tolerance) is None, case.note


def add(*pairs):
    return changed(rows.add_kernel, *pairs)


@pytest.mark.parametrize("id, answer, name", [
    ("10.1", (9, 58), "right"),
    ("10.1", [9, 6], "counts what is inside"),
    ("10.2", add(("inside = i < n", "inside = i < n + 3")), OUTSIDE_LOAD),
    ("10.2", add(("o_ptr + i, x + y, mask=inside", "o_ptr + i, x + y, mask=i < n + 3")), OUTSIDE_STORE),
    ("10.2", add(("inside = i < n", "inside = i < n // 2")), UNWRITTEN),
    ("10.6", changed(rows.column_sums_dealt_out, ("tl.program_id(0), N", "0, N")), RACE),
    ("10.6", changed(rows.column_sums_dealt_out, ("tl.program_id(0), N", "0, N"), ("sums_dealt_out", "sums_kernel")),
     "stores over what the others have stored"),
    ("10.1", (6, 58), "finds six tiles"),
    ("10.2", add(("inside = i < n", "inside = i * x_stride < n")), "compares places in memory with n"),
    ("10.3", changed(rows.write_flat, ("S_ptr + i * S_row + j * S_col", "S_ptr + i * S_row + j"),
                     ("write_flat", "write_kernel")), "takes columns to lie side by side"),
    ("10.6", changed(rows.column_sums_kernel, ("tl.program_id(0) * BT +", "1 * tl.program_id(0) +")),
     "starts its rows at p, not at p BT"),
    ("10.9", changed(tiles.triangle_by_columns, ("(i < n) & (j < n)", "(i < n) & (j >= 0)"),
                     ("triangle_by_columns", "triangle_kernel")), "masks rows only"),
    ("10.7", "FEBDHAC", "right"),
    ("10.7", "EFBHDGAC", None),
    ("10.4", changed(rows.softmax_kernel, ("j, mask=j < N, other", "j, mask=j <= N, other")), OUTSIDE_LOAD),
    ("10.5", changed(rows.logsumexp_kernel, ("tl.program_id(0) * x_row", "tl.program_id(0) * N")),
     "takes rows to lie side by side"),
    ("10.8", changed(tiles.scores_transposed_load, ("] <= row[:, None]", "] < row[:, None]")),
     "leaves the diagonal out"),
    ("10.9", changed(tiles.triangle_by_columns, ("X -= a", "X += a")), "inverts I − A"),
    ("10.6", changed(rows.column_sums_kernel, ("tl.sum(x, 0), mask=j < N", "tl.sum(x, 0), mask=j <= N")),
     OUTSIDE_ATOMIC),
    ("10.6", changed(rows.column_sums_kernel, ("    tl.atomic_add", "    if tl.program_id(0) == 1:\n        "
     "tl.store(o_ptr + j, tl.zeros((BN,), tl.float32), mask=j < N)\n    tl.atomic_add")), "stores where others add"),
    ("10.6", changed(rows.column_sums_kernel, ("    tl.atomic_add", "    if tl.program_id(0) == 0:\n        "
     "tl.store(o_ptr + j, tl.zeros((BN,), tl.float32), mask=j < N)\n    tl.atomic_add")), "stores where others add"),
    # what is loaded is right, what is stored is not: nothing is said of the loads
    ("10.3", changed(rows.write_kernel, ("j[None, :] * S_col, write", "tl.arange(0, BK)[None, :] * S_col, write")),
     OVERWRITTEN),
    ("10.10", changed(tiles.UT_kernel, *[(f"store_16(UT_ptr, c{at}, {j},", f"store_16(UT_ptr, {at[3:] or 0}, {j},")
                                         for at in ("", " + 16", " + 32", " + 48") for j in (0, 16, 32, 48)],
                      inverse_of_16=tiles.inverse_of_16_by_halves), OVERWRITTEN),
    ("10.5", changed(rows.logsumexp_kernel, ("tl.program_id(0) * x_row", "tl.program_id(0) * B")), OUTSIDE_LOAD),
    ("10.9", changed(tiles.triangle_kernel, ("(i < n) & (j < n)", "(i < n) | (j < n)")),
     "masks what is outside both ways only"),
    # not a number, for other reasons than those of a mutant
    ("10.3", changed(rows.write_kernel, ("write, mask=inside", "write * (0 * V / (V - V)), mask=inside")), None),
    ("10.4", changed(rows.softmax_kernel, ("tl.exp(x - tl.max(x, 0))", "tl.exp(x) / tl.exp(tl.max(x, 0))")),
     "takes exponentials of the logits as they are"),
    ("10.4", changed(rows.softmax_kernel, ("tl.max(x, 0)", "tl.max(tl.where(j < N, tl.abs(x), 0.0), 0)")),
     "takes off far more than the maximum, where logits are low"),
    ("10.5", changed(rows.logsumexp_kernel, ('largest, total = -float("inf")', 'largest, total = float("inf")')),
     "gets NaN for every row"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)


@pytest.mark.parametrize("tile, said", [("0, N)", "size is not a constant"), ("0, 3)", "not a power of two")])
def test_the_size_of_a_tile(tile, said):
    answer = changed(rows.softmax_kernel, ("tl.arange(0, B)", f"tl.arange({tile}"))
    assert said in grade(find("exercise", "10.4"), answer).headline


@pytest.mark.parametrize("order, why", [("FBEHDAC", "Line E: once, before the loop"), ("FEBHDGAC", "Line G: it puts")])
def test_an_order_of_lines_says_why(order, why):
    assert why in grade(find("exercise", "10.7"), order).text


def test_parts_of_the_build():
    """Every entry is in one part, and the triangles of 16 are where they should be, in each chunk."""
    parts = dict(blocks_of_16(torch.zeros(100, 64)))
    assert torch.equal(sum(mask.int() for mask in parts.values()), torch.ones(100, 64, dtype=torch.int))
    on, beside = parts["in the blocks on the diagonal"], parts["in the blocks next to it"]
    assert on[16:32, 16:32].all() and on[64:80, :16].all() and on.sum() == 16 * 100
    assert beside[16:32, :16].all() and beside[80:96, :16].all() and not beside[64:80].any()


def test_a_race_of_readers_is_called_a_race():
    """Two programs add to neighbors' entries: no mutant does that."""
    twice = "    tl.store(o_ptr + i // 2, x, mask=inside)\n    tl.store"
    overlapping = changed(rows.add_kernel, ("    tl.store", twice))
    assert_verdict("10.2", overlapping, RACE)
