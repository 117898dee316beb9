"""Order-the-lines exercises: labels become a function, and mistakes in the labels are named."""

import pytest
import torch

from deltanet_edu.tutor import AnswerError, Case, Mistake, lines, order_the_lines, solution
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import _tables

from .exercises import make

PREPARE = order_the_lines({"A": "return s", "B": "for x_t in x:\n    s = s + x_t", "C": "s = torch.zeros_like(x[0])"},
                          header="def total(x):", name="total", distractors={"D": "s = s / len(x)"})
STRICT = order_the_lines({"A": "return y", "B": "y = x + 1"}, header="def f(x):\n    # one more", name="f")


def exercise(**mutants):
    return make("CBA", alternatives=(lambda x: x.sum(0),), prepare=PREPARE, kind="order", id="99.4",
                cases=lambda g: [Case((torch.randn(n, 3, generator=g, dtype=torch.float64),), f"T = {n}")
                                 for n in (1, 2, 5)],
                mutants={"returns zero": Mistake("CAB", "What follows `return` is never run."),
                         "averages": Mistake("CBDA", "Nothing asks for the mean."), **mutants})


@pytest.mark.parametrize("answer", ["CBA", "c b a", "C, B, A", ["C", "B", "A"], ("c", "b", "a"), lambda x: x.sum(0)],
                         ids=lambda a: "a function" if callable(a) else str(a))
def test_ways_to_answer(answer):
    assert grade(exercise(), answer)


def test_wrong_orders():
    assert grade(exercise(), "CAB").mistake == "returns zero"
    assert grade(exercise(), "CBDA").mistake == "averages"
    assert grade(exercise(), "BCA").headline == "line B needs `s`, which is not there yet"
    assert "Line C makes it, and has to stand before B." in grade(exercise(), "BCA").text
    assert "Line C makes it, and it is not among your lines." in grade(exercise(), "BA").text
    assert "s = s + x_t" in grade(exercise(), "BCA").text
    assert grade(exercise(), None).state == "open"


def test_a_mistake_that_raises_is_named_only_if_its_line_raises():
    early = exercise(**{"adds too early": Mistake("BCA", "Line B adds to a sum that is not there yet.")})
    assert grade(early, "BCA").mistake == grade(early, "BAC").mistake == "adds too early"
    assert grade(early, "DCBA").headline == "line D needs `s`, which is not there yet"


def test_decoys_are_refused_where_they_do_no_harm():
    verdict = grade(exercise(), "CBAD")
    assert verdict.state == "fail" and verdict.headline == "the results are right, but line D does not belong"


UNREADABLE = [("CBZ", "there is no line Z; the lines are A, B, C, D"), ("CBAA", "line A is used twice"),
              (7, "write the labels in order")]


@pytest.mark.parametrize("answer, said", UNREADABLE)
def test_labels_that_cannot_be_read(answer, said):
    assert said in grade(exercise(), answer).headline


def test_without_distractors_every_line_is_used():
    with pytest.raises(AnswerError, match="line A is missing; every line is used once"):
        STRICT("B")
    assert STRICT("BA")(1) == 2


def test_lines_that_are_not_python():
    with pytest.raises(AnswerError, match="in this order the lines are not Python"):
        order_the_lines({"A": "    s = 1", "B": "return s"}, header="def f(x):", name="f")("BA")


@pytest.mark.parametrize("answer", ["BCA", "CAB"])
def test_a_line_outside_of_its_block(answer):
    loop = {"A": "return s", "B": "    s = s + x_t", "C": "for x_t in x:"}
    with pytest.raises(AnswerError, match="line B is indented: it belongs in the block of line C"):
        order_the_lines(loop, header="def f(x, s=0):", name="f")(answer)


def test_a_line_of_one_block_of_several():
    """Only the heads of blocks as deep as the line are named."""
    loops = {"A": "return s", "B": "        s = s + x", "C": "for row in rows:", "D": "    for x in row:",
             "E": "    s = 0"}
    told = order_the_lines(loops, header="def f(rows, s=0):", name="f")
    with pytest.raises(AnswerError, match="line E is indented: it belongs in the block of line C$"):
        told("ECDBA")
    with pytest.raises(AnswerError, match="line B is indented: it belongs in the block of line D$"):
        told("CBDEA")


def test_a_decoy_belongs_nowhere():
    loop = {"A": "return s", "B": "    s = s + x_t", "C": "for x_t in x:"}
    with pytest.raises(AnswerError, match="line D is indented: it stands outside of the block of line C"):
        order_the_lines(loop, header="def f(x, s=0):", name="f", distractors={"D": "    s = x_t"})("CBAD")


def test_a_line_outside_of_the_block_that_is_given():
    inside = {"A": "return s", "B": "    s = s + x_t"}
    with pytest.raises(AnswerError, match="line B is indented: it belongs in the block of `for x_t in x:`"):
        order_the_lines(inside, header="def f(x, s=0):\n    for x_t in x:", name="f")("AB")


@pytest.mark.parametrize("answer, ended", [("BACD", ", which line A has ended"), ("CBAD", "")])
def test_a_block_that_has_ended(answer, ended):
    """Its head may have a second line, and that of the function, too."""
    loop = {"A": "s = s / 2", "B": "for x_t in x:\n    x_t = 2 * x_t", "C": "    s = s + x_t", "D": "return s"}
    told = order_the_lines(loop, header="def f(x,\n      s=0):", name="f")
    assert told("BCAD")([1, 1]) == 2
    with pytest.raises(AnswerError, match=f"line C is indented: it belongs in the block of line B{ended}$"):
        told(answer)


def test_why_a_line_stands_where_it_does():
    """Of the line that has ended a block, or stands outside of it, or does not belong."""
    loop = {"A": "s = s / 2", "B": "for x_t in x:", "C": "    s = s + x_t", "D": "return s"}
    told = order_the_lines(loop, header="def f(x, s=0):", name="f", distractors={"E": "    s = x_t"},
                           reasons={"A": "once.", "C": "in every step.", "E": "it forgets."})
    for answer, why in (("BACD", ["Line A: once."]), ("CBAD", ["Line C: in every step."])):
        with pytest.raises(AnswerError) as error:
            told(answer)
        assert error.value.why == why
    assert told.verdict(told("BEAD"), lambda f: False) == ("line E does not belong",
                                                          ["Line E: it forgets.", "Line C is missing."])


def test_a_given_block_that_has_ended():
    inside = {"A": "return s", "B": "    s = s + x_t", "C": "    x_t = 2 * x_t"}
    with pytest.raises(AnswerError, match="block of `for x_t in x:`, which line A has ended"):
        order_the_lines(inside, header="def f(x, s=0):\n    for x_t in x:", name="f")("CAB")


def test_labels_are_validated_when_registered():
    with pytest.raises(ValueError, match="one capital letter"):
        order_the_lines({"first": "pass"}, header="def f():", name="f")


def test_display(monkeypatch, capsys):
    monkeypatch.setitem(_tables["exercise"], "99.4", exercise())
    lines("99.4")
    assert capsys.readouterr().out == """\
      def total(x):
A         return s
B         for x_t in x:
              s = s + x_t
C         s = torch.zeros_like(x[0])
D         s = s / len(x)
"""
    solution("99.4", confirm=True)
    assert "a solution: CBA" in (said := capsys.readouterr().out)
    assert "def total(x):\n    s = torch.zeros_like(x[0])\n    for x_t in x:" in said


# -- what is said of an order that is no catalogued mistake -----------------------------------------------------------

def decay(S, k):
    S = 0.5 * S
    S = S + k
    o = S * S
    return o, S


STEPS = order_the_lines({"A": "S = S + k", "B": "return o, S", "C": "o = S * S", "D": "S = 0.5 * S"},
                        header="def decay(S, k):", name="decay", distractors={"E": "S = S - k", "F": "o = o + S"})


def steps(**mutants):
    return make("DACB", alternatives=(decay,), prepare=STEPS, kind="order", id="99.4", mutants=mutants,
                cases=lambda g: [Case((torch.randn(n, generator=g, dtype=torch.float64),
                                       torch.randn(n, generator=g, dtype=torch.float64)), f"K = {n}") for n in (1, 3)])


@pytest.mark.parametrize("answer, headline, advice", [
    ("ADCB", "line A comes too early", "It belongs after D."),
    ("CDAB", "line C comes too early", "It belongs after A."),
    ("DCAB", "line C comes too early", "It belongs after A."),
    ("DCB", "line A is missing", ""), ("CB", "lines A and D are missing", ""),
    ("DAECB", "line E does not belong", ""), ("DECB", "line E does not belong", "Line A is missing."),
    ("DAECFB", "lines E and F do not belong", ""), ("DACFB", "line F does not belong", ""),
    ("DCBA", "line A stands after the return", "Line B ends the function"),
    ("DAC", "line B is missing", ""), ("C", "lines A, B and D are missing", ""),
    ("CADB", "more than one line is out of place", ""),
])
def test_an_order_is_told_by_its_lines(answer, headline, advice):
    verdict = grade(steps(), answer)
    assert verdict.headline == headline and advice in verdict.text


def test_a_line_that_is_undone_is_not_missing():
    """D A E: E takes back what A has added, and so it behaves as if A were missing. It is not."""
    missing = steps(**{"forgets to add": Mistake("DCB", "Without A nothing is added.")})
    assert grade(missing, "DCB").mistake == "forgets to add"
    assert grade(missing, "DAECB").headline == "line E does not belong"


def test_a_line_after_the_return_is_not_missing():
    missing = steps(**{"forgets to add": Mistake("DCB", "Without A nothing is added.")})
    assert grade(missing, "DCBA").headline == "line A stands after the return"


def test_a_decoy_is_named_with_other_lines_about_it():
    decoy = steps(**{"subtracts": Mistake("DECB", "E is the decoy.")})
    assert grade(decoy, "DECB").mistake == "subtracts"
    assert grade(decoy, "DACB")
