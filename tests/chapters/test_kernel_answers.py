"""Answers that are kernels: each fault breaks its own rung, and what is right passes, on any strides."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

if importlib.util.find_spec("triton") is None or torch.cuda.is_available():
    pytest.skip("kernels are watched in the interpreter, on a machine without a GPU", allow_module_level=True)

from deltanet_edu.chapters import kernel_answers
from deltanet_edu.chapters.kernel_answers import (by_chunks, by_sequences, changed, launched, picture, stub, traffic,
                                                  watched)
from deltanet_edu.chapters.kernel_faults import (OUTSIDE_LOAD, OUTSIDE_STORE, OVERWRITTEN, RACE, REJECTED, ROUNDED,
                                                 TRAFFIC, UNFILLED, UNLAUNCHED, UNWRITTEN)
from deltanet_edu.tutor import AnswerError, Case, Mistake, order_the_lines, registry
from deltanet_edu.tutor.cases import normal
from deltanet_edu.tutor.grading import grade

import triton                                                            # isort: skip  after the interpreter is chosen
import triton.language as tl                                             # isort: skip


@triton.jit
def scale_kernel(x_ptr, o_ptr, n, stride, factor, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)                           # (B,)
    x = tl.load(x_ptr + i * stride, mask=i < n, other=0.0)               # (B,)
    tl.store(o_ptr + i, factor * x, mask=i < n)


@triton.jit
def one_at_a_time(x_ptr, o_ptr, n, stride, factor, B: tl.constexpr):
    for j in range(B):
        i = tl.program_id(0) * B + j
        if i < n:
            tl.store(o_ptr + i, factor * tl.load(x_ptr + i * stride))


@triton.jit
def unfinished(x_ptr, o_ptr, n, stride, factor, B: tl.constexpr):
    """Nothing yet."""
    raise NotImplementedError("10.90")


@triton.jit
def columns_kernel(x_ptr, o_ptr, stride, N: tl.constexpr):
    """Sums of columns, one row a program: each adds to what the others have left."""
    j = tl.arange(0, N)
    row = tl.load(x_ptr + tl.program_id(0) * stride + j)
    before = tl.load(o_ptr + j, mask=(tl.program_id(0) > 0) & (j >= 0), other=0.0)
    tl.store(o_ptr + j, before + row)


@triton.jit
def whole_columns_kernel(x_ptr, o_ptr, stride, N: tl.constexpr):
    if tl.program_id(0) == 0:
        j = tl.arange(0, N)
        total = tl.zeros((N,), tl.float32)
        for i in range(tl.num_programs(0)):
            total += tl.load(x_ptr + i * stride + j)
        tl.store(o_ptr + j, total)


def launch(kernel, x, factor, o):
    kernel[(triton.cdiv(len(x), 16),)](x, o, len(x), x.stride(0), factor, B=16)


def scale(x, factor):
    o = torch.empty(len(x))
    launch(scale_kernel, x, factor, o)
    return o


def vectors(g):
    def drawn(n, step):
        return normal(g, n, step, dtype=torch.float32)[:, 0]
    return [Case((drawn(n, step), 2.5), f"n = {n}, stride {step}") for n in (1, 16, 37) for step in (1, 2)]


def rows(g):
    return [Case((normal(g, n, 16, dtype=torch.float32),), f"n = {n}") for n in (1, 3, 4)]


def exercise(id, reference, prepare, cases=vectors, mutants=None):
    """An exercise that no chapter registers."""
    return registry.Exercise(id, "An example", "code", 1, 5, (), reference, (), cases, mutants or {}, ("a", "b", "c"),
                             prepare, 1e-5)


SCALE = exercise("10.90", scale_kernel, launched(launch, lambda x, factor: torch.empty(len(x)), most=1.0), mutants={
    "forgets the factor": Mistake(changed(scale_kernel, ("factor * x", "x")), "The factor is missing."),
    "masks no store": Mistake(changed(scale_kernel, ("factor * x, mask=i < n", "factor * x")), "A mask is missing."),
})
COLUMNS = exercise("10.91", whole_columns_kernel, launched(
    lambda kernel, x, o: kernel[(len(x),)](x, o, x.stride(0), 16), lambda x: torch.empty(16)), rows)
FUNCTION = exercise("10.92", scale, watched())


@pytest.mark.parametrize("exercise, answer, name", [
    (SCALE, changed(scale_kernel, ("factor * x", "x")), "forgets the factor"),
    (SCALE, changed(scale_kernel, ("factor * x, mask=i < n", "factor * x")), "masks no store"),
    (SCALE, changed(scale_kernel, ("i * stride, mask=i < n, other=0.0", "i * stride")),
     "loads from x_ptr without a mask"),
    (SCALE, changed(scale_kernel, ("i < n, other", "i <= n, other")), OUTSIDE_LOAD),
    (SCALE, changed(scale_kernel, ("i * stride", "i")), OUTSIDE_LOAD),              # between the numbers of a column
    (SCALE, changed(scale_kernel, ("o_ptr + i, factor * x, mask=i < n", "o_ptr + i, factor * x, mask=i <= n")),
     OUTSIDE_STORE),
    (SCALE, changed(scale_kernel, ("factor * x, mask=i < n", "factor * x, mask=i < n - 1")), UNWRITTEN),
    (SCALE, changed(scale_kernel, ("o_ptr + i, factor", "o_ptr + tl.arange(0, B), factor")), OVERWRITTEN),
    (SCALE, changed(scale_kernel, ("factor * x", "factor * x + tl.load(o_ptr + i, mask=i < n)")), UNFILLED),
    (SCALE, changed(scale_kernel, ("    x =", "    tl.load(x_ptr + i * stride, mask=i < n)\n    x =")), TRAFFIC),
    (SCALE, changed(scale_kernel, ("    x =", "    some = [1]\n    some.append(2)\n    x =")), REJECTED),
    (COLUMNS, columns_kernel, RACE),
    (FUNCTION, changed(scale, scale_kernel=changed(scale_kernel, ("x, mask=i < n)", "x, mask=(i < n) & (i < 9))"))),
     UNWRITTEN),
    (FUNCTION, lambda x, factor: factor * x, UNLAUNCHED),
])
def test_each_fault_has_its_name(exercise, answer, name):
    verdict = grade(exercise, answer)
    assert (verdict.state, verdict.mistake) == ("fail", name), verdict.text
    assert verdict.headline == f"it {name}"


@pytest.mark.parametrize("exercise, answer", [(SCALE, scale_kernel), (SCALE, one_at_a_time), (FUNCTION, scale),
                                              (COLUMNS, whole_columns_kernel)])
def test_right_answers_pass(exercise, answer):
    verdict = grade(exercise, answer)
    assert verdict, verdict.text
    assert "times what must be moved. Compiles for sm_80 and sm_90." in verdict.text


def test_a_verdict_says_where_and_which_line():
    text = grade(SCALE, changed(scale_kernel, ("i * stride, mask=i < n, other=0.0", "i * stride"))).text
    assert "scale_kernel, program 0: a load of x_ptr, of shape (1,), goes 15 past its last number" in text
    assert "x = tl.load(x_ptr + i * stride)" in text
    text = grade(SCALE, changed(scale_kernel, ("    x =", "    some = [1]\n    some.append(2)\n    x ="))).text
    assert "scale_kernel, for sm_80: " in text and "at `some.append(2)`" in text


@triton.jit
def product_kernel(x_ptr, o_ptr, N: tl.constexpr):
    at = tl.arange(0, N)[:, None] * N + tl.arange(0, N)[None, :]
    x = tl.load(x_ptr + at)
    tl.store(o_ptr + at, tl.dot(x, x, input_precision="ieee"))


def test_a_product_that_rounds_is_refused_only_where_that_is_asked():
    def squares(g):
        return [Case((normal(g, 16, 16, dtype=torch.float32),), "a square")]

    def launch_product(kernel, x, o):
        kernel[(1,)](x, o, 16)

    rounds = changed(product_kernel, (', input_precision="ieee"', ""))
    nearly = changed(product_kernel, ('"ieee"', '"tf32x3"'))
    for exact, answer, name in ((True, rounds, ROUNDED), (True, nearly, ""), (False, rounds, "")):
        prepare = launched(launch_product, lambda x: torch.empty_like(x), exact=exact)
        verdict = grade(exercise("10.93", product_kernel, prepare, squares), answer)
        assert (verdict.mistake or "", verdict.state) == (name, "fail" if name else "pass"), verdict.text


def test_an_unknown_answer_is_told_where_it_is_right():
    """By the parts that the exercise names; a part that no wrong case has is not spoken of."""
    def halves(o):
        return [("in its first half", torch.arange(len(o)) < 16), ("in its second", torch.arange(len(o)) >= 16),
                ("nowhere", torch.arange(len(o)) < 0)]

    prepare = launched(launch, lambda x, factor: torch.empty(len(x)), parts=halves)
    wrong = changed(scale_kernel, ("factor * x, mask", "tl.where(i < 16, factor * x, x * x * 0.1 + 7), mask"))
    verdict = grade(exercise("10.94", scale_kernel, prepare), wrong)
    assert verdict.headline == "it is right in its first half, and wrong in its second", verdict.text
    wrong = changed(scale_kernel, ("factor * x, mask", "x * x * 0.1 + 7, mask"))
    assert "right in" not in grade(exercise("10.94", scale_kernel, prepare), wrong).headline


@triton.jit
def pieces_kernel(x_ptr, o_ptr, n, C: tl.constexpr, ERROR: tl.constexpr):
    i = tl.program_id(0) * C + tl.arange(0, C)
    tl.store(o_ptr + i, tl.load(x_ptr + i, mask=i < n, other=0.0) + ERROR * (1 + i // C), mask=i < n)


def pieces(C, error):
    def copy(x):
        o = torch.empty_like(x)
        pieces_kernel[(triton.cdiv(len(x), C),)](x, o, len(x), C, error)
        return o
    return copy


@pytest.mark.parametrize("compares, C, error, name", [(True, 32, 1.0, "is off by one"), (False, 32, 1.0, ""),
                                                      (False, 16, 1.0, "is off by one"), (True, 32, 2.0, "")])
def test_a_choice_of_the_answer_hides_no_mistake(compares, C, error, name):
    """A mistake that looks different with chunks of another length is seen where there is one chunk in any case."""
    def alike(inputs, mine, theirs):
        return len(inputs[0]) <= 16 or mine["C"] == theirs["C"]

    def lengths(g):
        return [Case((normal(g, n, dtype=torch.float32),), f"n = {n}") for n in (7, 37)]

    made = exercise("10.95", pieces(16, 0.0), watched(alike=alike if compares else None), lengths,
                    {"is off by one": Mistake(pieces(16, 1.0), "By one and more.")})
    verdict = grade(made, pieces(C, error))
    assert (verdict.mistake or "") == name and verdict.state == "fail", verdict.text


def constant_pieces(C):
    """Off by the same in every chunk: in one chunk, where they are longer, that is off by one and more."""
    kernel = changed(pieces_kernel, ("(1 + i // C)", "1"), ("pieces_kernel", "constant_kernel"))
    return lambda x: (kernel[(triton.cdiv(len(x), C),)](x, o := torch.empty_like(x), len(x), C, 1.0), o)[1]


@pytest.mark.parametrize("answer, name", [(pieces(32, 1.0), "is off by one"), (pieces(8, 1.0), "is off by one"),
                                          (pieces(32, 2.0), ""), (constant_pieces(32), "")])
def test_a_mutant_may_choose_as_the_answer_does(answer, name):
    """Then they are compared everywhere: what agrees where there is one chunk may be another mistake."""
    def lengths(g):
        return [Case((normal(g, n, dtype=torch.float32),), f"n = {n}") for n in (7, 37)]

    prepare = watched(alike=lambda inputs, mine, theirs: len(inputs[0]) <= 8 or mine["C"] == theirs["C"],
                      likewise=lambda mutant, how: pieces(*how["C"], 1.0))
    made = exercise("10.97", pieces(16, 0.0), prepare, lengths,
                    {"is off by one": Mistake(pieces(16, 1.0), "By one and more.")})
    verdict = grade(made, answer)
    assert (verdict.mistake or "") == name and verdict.state == "fail", verdict.text


def test_a_compiler_that_comes_to_no_end_is_waited_for_once_and_spoken_of(monkeypatch):
    said, asked = "The compiler has not come to an end in 120 seconds.", []
    monkeypatch.setattr(kernel_answers, "accept_launch", lambda *order: asked.append(order) or said)
    verdict = grade(SCALE, scale_kernel)
    text = " ".join(verdict.text.split())
    assert verdict and f"{said} That is not held against it." in text and "Compiles for" not in text
    assert len(asked) == 1


def test_a_judge_in_float64_makes_no_dtype_wrong():
    def judge(x, factor):
        return factor * x.double(), x.double()

    def answer(x, factor):
        return scale(x, factor) + 0.25 * x.square(), x + 0 * scale(x, factor)

    judge.watched = None                                                 # taken as it is
    verdict = grade(exercise("10.96", judge, watched()), answer)
    assert verdict.headline == "its first result is wrong, the second is right", verdict.text


def test_chunks_and_sequences_as_parts():
    tokens, memories = torch.zeros(2, 37, 3, 4), torch.zeros(2, 3, 3, 4, 4)
    (_, (first, first_memory)), (_, (last, last_memory)), (_, between) = by_chunks(16)(tokens, memories)
    assert first[:, :16].all() and not first[:, 16:].any()
    assert first_memory[:, 0].all() and not first_memory[:, 1:].any()
    assert last[:, 32:].all() and not last[:, :32].any() and last_memory[:, 2].all() and not last_memory[:, :2].any()
    assert between[0].sum() == 2 * 16 * 12 and between[1].sum() == 2 * 48
    (_, (one, _)), (_, (others, _)) = by_sequences(tokens, memories)
    assert one[0].all() and not one[1].any() and others[1].all() and not others[0].any()


def test_what_is_not_done_is_open():
    assert grade(SCALE, unfinished).state == "open" and stub(unfinished.fn) == "10.90" and stub(scale_kernel.fn) is None
    half, other = (changed(scale_kernel, ("    x =", f'    raise NotImplementedError("{id}")\n    x ='))
                   for id in ("10.90", "10.4"))
    assert grade(SCALE, half).state == "open"
    assert "solve 10.4 first" in grade(SCALE, other).text


def test_a_function_is_no_kernel():
    with pytest.raises(AnswerError, match="put @triton.jit above"):
        SCALE.prepared(lambda x, factor: x)


def test_changed_wants_each_text_once():
    with pytest.raises(ValueError, match="'i < n' is 2 times in scale_kernel, expected once"):
        changed(scale_kernel, ("i < n", "i <= n"))
    with pytest.raises(ValueError, match="'j <' is 0 times"):
        changed(scale_kernel, ("j <", "i <"))


def test_bytes():
    x = torch.ones(37)
    assert traffic(SCALE.prepared(scale_kernel), x, 2.0) == (37 * 4, 37 * 4)
    assert grade(SCALE, one_at_a_time).text.count("296 bytes, 1.00 times") == 1


def test_inputs_are_left_alone():
    store = "    tl.store(x_ptr + i * stride, {}, mask=i < n)\n    tl.store(o"
    same, zeros = (changed(scale_kernel, ("    tl.store(o", store.format(x))) for x in ("x", "0 * x"))
    assert grade(SCALE, same).mistake == TRAFFIC
    assert "changes its input x in place" in grade(SCALE, zeros).text


def test_picture(monkeypatch, capsys):
    monkeypatch.setitem(registry._tables["exercise"], "10.90", SCALE)
    figure = picture("10.90", scale_kernel, case=4)
    assert "scale_kernel, 3 programs: x_ptr, loaded: program 0: 16, program 1: 16, program 2: 5 entries" in figure.alt
    assert picture("10.90", unfinished) is None and "no picture yet" in capsys.readouterr().out


LOADED = """
import torch, {first}
from deltanet_edu.tutor import registry
registry.unavailable_chapters()
from deltanet_edu.chapters.kernel_answers import why_not
print(why_not("cpu", torch.float32) or "runs")
"""


@pytest.mark.parametrize("first, said", [("sys", "runs"), ("triton", "set TRITON_INTERPRET=1 before Python starts")])
def test_the_interpreter_is_chosen_in_time_or_the_reason_is_said(first, said):
    """Whatever chapters come first; and if Triton has been imported without it, loading still works."""
    environment = {name: x for name, x in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", LOADED.format(first=first)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


LINES = order_the_lines(
    {"A": "tl.store(o_ptr + i, factor * x, mask=i < n)", "B": "x = tl.load(x_ptr + i * stride, mask=i < n)",
     "C": "i = tl.program_id(0) * B + tl.arange(0, B)"},
    "@triton.jit\ndef scale_kernel(x_ptr, o_ptr, n, stride, factor, B: tl.constexpr):", "scale_kernel",
    distractors={"D": "tl.load(x_ptr)"}, namespace={"triton": triton, "tl": tl})


def test_the_lines_of_a_kernel_can_be_ordered():
    ordered = exercise("10.93", "CBA", launched(launch, lambda x, factor: torch.empty(len(x)), lines=LINES))
    assert grade(ordered, "CBA") and grade(ordered, "ABC").state == "fail"
    assert "line B needs `i`, which is not there yet" in grade(ordered, "BCA").text
    assert "the results are right, but line D does not belong" in grade(ordered, "DCBA").text
