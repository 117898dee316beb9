"""What a check says about an answer: its states, named mistakes, and what it can tell about unknown ones."""

from functools import partial

import numpy as np
import pytest
import torch

from deltanet_edu.tutor import AnswerError, Case, CheckFailed, Mistake, UnknownId, check, storage
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .exercises import MUTANTS, make, running_sum, single


def right(x, S):
    total, rows = S, []
    for row in x:
        total = total + row
        rows.append(total)
    return torch.stack(rows), total


# -- states -----------------------------------------------------------------------------------------------------------

def test_right_answer_says_what_was_checked():
    verdict = grade(make(), right)
    assert verdict and verdict.text == "✓ 99.1 Running sums · 5 cases: empty memory, nonempty memory, T = 1, 2, 5"


@pytest.mark.parametrize("answer", [None, ..., ""], ids=repr)
def test_no_answer_is_not_attempted(answer):
    assert grade(make(), answer).text == '○ 99.1 Running sums · not attempted yet · about 10 minutes · hint("99.1")'


def test_stub_is_not_attempted_but_an_unsupported_operation_is_an_error():
    def stub(x, S):
        raise NotImplementedError("99.1")

    def unsupported(x, S):
        return torch.zeros(2, dtype=torch.complex64) < torch.ones(2, dtype=torch.complex64)

    def half_done(x, S):
        if len(x) > 1:
            raise NotImplementedError("several tokens")
        return right(x, S)

    assert grade(make(), stub).state == "open"
    for answer in (unsupported, half_done):
        assert grade(make(), answer).state == "fail"
    assert "It is written for some inputs, but not for this one." in grade(make(), half_done).text


def test_strict_raises_and_carries_the_verdict(capsys):
    with pytest.raises(CheckFailed, match="it forgets what was stored") as caught:
        check("0.1", lambda S, v, k: torch.outer(v, k), strict=True)
    assert caught.value.verdict.mistake == "forgets what was stored"
    with pytest.raises(CheckFailed, match="not attempted"):
        check("0.1", None, strict=True)
    assert check("0.1", lambda S, v, k: S + torch.outer(v, k), strict=True)
    assert capsys.readouterr().out.startswith("✗ 0.1")


def test_unknown_id_says_which_there_are():
    with pytest.raises(UnknownId, match=r'no exercise "0.7". Chapter 0 has 0.1, 0.2'):
        check("0.7", None)
    with pytest.raises(UnknownId, match="An id looks like"):
        check("write", None)
    for id in (0.1, running_sum):                                         # 5.10 would read as 5.1
        with pytest.raises(UnknownId, match="The id comes first and is a string"):
            check(id, running_sum)


def test_verdict_is_recorded():
    check("0.1", lambda S, v, k: torch.outer(v, k))
    check("0.1", None)
    record = storage.read()["exercises"]["0.1"]
    assert (record["attempts"], record["solved"], record["mistakes"]) == (1, None, {"forgets what was stored": 1})
    check("0.1", lambda S, v, k: S + torch.outer(v, k))
    assert storage.read()["exercises"]["0.1"]["solved"] == storage.today()


# -- named mistakes ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_named(name):
    assert grade(make(), MUTANTS[name].answer).mistake == name


def test_a_mistake_written_differently_is_recognized():
    """Same mistake, other code."""
    def forgetful(x, S):
        o, last = right(x, torch.zeros_like(S))
        return [o, last]

    verdict = grade(make(), forgetful)
    assert verdict.mistake == "forgets the memory"
    assert "The sum starts from S. Yours starts from zero (eq. 1.1)." in verdict.text
    assert "Next: What is T = 0?" in verdict.text


def test_the_case_shown_is_the_smallest_that_fails():
    text = grade(make(), MUTANTS["forgets the memory"].answer).text
    assert "Smallest failing case (nonempty memory, T = 1):" in text
    x, S = make().case_list[1].args
    assert f"x         [[{', '.join(f'{v:.4g}' for v in x[0])}]]" in text
    assert f"[{', '.join(f'{v:.4g}' for v in S)}]" in text


def test_of_several_matching_mutants_the_first_is_named():
    twice = {"adds nothing": MUTANTS["forgets the memory"], **MUTANTS}
    assert grade(make(mutants=twice), MUTANTS["forgets the memory"].answer).mistake == "adds nothing"


def test_an_answer_that_is_partly_a_mutant_is_not_named():
    """Like a mutant on some cases, like another on the rest."""
    def mixed(x, S):
        return MUTANTS["averages" if len(x) > 2 else "forgets the memory"].answer(x, S)

    assert grade(make(), mixed).mistake is None


def test_mutants_that_raise():
    """The same kind of exception alone does not speak for a mutant: many bugs raise RuntimeError."""
    def multiply(x, S):
        return x @ S @ S @ S

    def confused(x, S):
        return x.reshape(77), S

    exercise = make(mutants={**MUTANTS, "multiplies": Mistake(multiply, "There is nothing to multiply.")})
    assert grade(exercise, multiply).mistake == "multiplies"
    assert grade(exercise, confused).mistake is None


def test_an_expected_exception():
    """Where the reference refuses an input, the answer must refuse it in the same way."""
    def root(x):
        if x < 0:
            raise ValueError("negative")
        return x**0.5

    roots = [Case((4.0,), "a square"), Case((2.0,), "no square"), Case((-1.0,), "negative")]
    exercise = make(root, cases=lambda g: roots, mutants={
        "raises TypeError": Mistake(lambda x: [].negative if x < 0 else x**0.5,
                                    "The kind of exception is ValueError.")})
    assert grade(exercise, root)
    assert "it accepts what it should refuse with a ValueError" in grade(exercise, lambda x: abs(x)**0.5).text
    assert "wrong exactly when: negative" in grade(exercise, lambda x: abs(x)**0.5).text

    def type_error(x):
        if x < 0:
            raise TypeError
        return x**0.5
    assert grade(exercise, type_error).state == "fail"
    assert grade(exercise, exercise.mutants["raises TypeError"].answer).mistake == "raises TypeError"


# -- values -----------------------------------------------------------------------------------------------------------

def test_answers_that_are_values():
    wrong = {f"is {x}": Mistake(x, "Count again.", "eq. 1.2") for x in (4, 5, 7, 8)}
    exercise = make(6, alternatives=(), cases=None, mutants=wrong, why="Three times two.")
    for six in (6, 6.0, np.int64(6), torch.tensor(6.0)):
        assert grade(exercise, six).text.splitlines() == ["✓ 99.1 Running sums · right", "      Three times two."]
    assert grade(exercise, 8).mistake == "is 8"
    assert grade(exercise, 9).headline == "not yet"
    assert grade(exercise, "six").headline == "expected an integer, got a string"
    assert grade(exercise, True).state == "fail"


def test_letters_are_read_kindly():
    exercise = make("b", alternatives=(), cases=None, mutants={f"is {x}": Mistake(x, "No.") for x in "acde"})
    assert grade(exercise, " B ")
    assert grade(exercise, "A").mistake == "is a"


def test_prepare_maps_the_answer_and_may_refuse_it():
    def norm(answer):
        if not isinstance(answer, torch.Tensor):
            raise AnswerError("give a tensor")
        return {"length": answer.norm().item(), "entries": answer.numel()}

    exercise = make(torch.tensor([0.6, 0.8]), alternatives=(), cases=None, prepare=norm, tolerance=1e-6,
                    mutants={"is too long": Mistake(torch.tensor([1.0, 1.0]), "Its length is √2.")})
    assert grade(exercise, torch.tensor([1.0, 0.0]))
    assert grade(exercise, torch.tensor([0.0, 2.0**0.5])).mistake == "is too long"
    assert grade(exercise, 3).headline == "give a tensor"


# -- mistakes that are in no catalogue --------------------------------------------------------------------------------

def double(x):
    return 2 * x


UNKNOWN = [
    (double, lambda x: None, "it returns None", "Is a `return` missing?"),
    (double, lambda x: (2 * x,), "it returns a tuple of 1", "A comma at the end"),
    (double, lambda x: (2 * x, x), "it returns 2 values, expected only the first", ""),
    (double, lambda x: [2 * x], "it returns a list of 1", ""),
    (double, lambda x: "x", "it returns a str, expected a tensor", ""),
    (double, lambda x: double, "it returns a function", "Did you forget to call it?"),
    (double, lambda x: partial(double, x), "it returns a function", "Did you forget to call it?"),
    (double, lambda x: torch.nn.Linear(5, 5), "it returns a Linear, expected a tensor", ""),
    (double, lambda x: (y for y in x), "it returns a generator", "yield"),
    (double, lambda x: 2 * x.mT,
     "its shape is (5, 3), expected (3, 5): its dimensions are in another order", "transposed"),
    (double, lambda x: 2 * x[:, None], "its shape is (3, 1, 5), expected (3, 5)", "one too many"),
    (double, lambda x: (2 * x).flatten(),
     "its shape is (15,), expected (3, 5): its pieces are joined end to end", "reshape"),
    (double, lambda x: 2 * x[:, :2], "its shape is (3, 2), expected (3, 5): it lacks the end along dimension 1", ""),
    (lambda x: x[:, None], lambda x: x, "its shape is (3, 5), expected (3, 1, 5)", "unsqueeze"),
    (double, lambda x: 2 * x.float(), "its dtype is float32, expected float64", "The values agree"),
    (double, lambda x: 3 * x.float(), "its dtype is float32, expected float64", "values differ as well"),
    (double, lambda x: (2 * x).bfloat16(), "its dtype is bfloat16, expected float64", "about 1e-2"),
    (lambda x: x > 0, lambda x: (x > 0).double(), "its dtype is float64, expected bool", "The values are right."),
    (double, lambda x: (2 * x.float()).double(), "it loses precision", "float32"),
    (double, lambda x: -2 * x, "its sign is flipped", ""),
    (double, lambda x: x, "it returns its input x", ""),
    (double, lambda x: 5 * x, "it is off by a constant factor 2.5", ""),
    (double, lambda x: 2 * x * float("nan"), "it contains NaN", "0/0"),
    (double, lambda x: 2 * torch.cat([torch.zeros_like(x[:1]), x[:-1]]), "it is one step late along dimension 0",
     "t - 1"),
    (double, lambda x: 2 * torch.cat([x[1:], x[:1]]), "it is one step early along dimension 0", "t + 1"),
    (double, lambda x: 2 * x.flip(1), "its entries are in reverse order along dimension 1", ""),
    (lambda x: x @ x.mT @ x[:, :1] * x[:, :1].mT, lambda x: (x @ x.mT @ x[:, :1] * x[:, :1].mT).mT,
     "its last two dimensions look transposed", ""),
    (double, lambda x: x.add_(x), "it changes its input x in place", "x = x + ..."),
    (double, lambda x: x.add_(x) + 1, "not a mistake I know", "It also changes its input x in place."),
    (double, lambda x, y: x, "its arguments do not fit", "missing a required argument: 'y'"),
    (double, lambda: 1, "its arguments do not fit", "too many positional arguments"),
    (double, lambda x: x @ torch.ones(5), "it mixes tensors of two dtypes", "v.new_zeros"),
    (lambda x: (x, x), lambda x: x, "it returns one tensor, expected 2 values", ""),
    (lambda x: (x, x), lambda x: (x,), "it returns 1 value, expected 2", ""),
    (lambda x: (x, x), lambda x: (x, x, x), "it returns 3 values, expected only 2", ""),
    (lambda x: (x, 2 * x), lambda x: (x, x**2), "its second result is wrong, the first is right", ""),
    (lambda x: (x, x, 2 * x), lambda x: (x, x, x**2), "wrong among its 3 results: the third; the rest is right", ""),
    (lambda x: {"a": x, "b": 2 * x}, lambda x: {"a": x, "b": (3 * x + 1).exp()},
     "wrong among its results: b; the rest is right", ""),
    (lambda x: (x, 2 * x), lambda x: (x, 2 * x.mT),
     "its shape is (5, 3), expected (3, 5) in result[1]: its dimensions are in another order", "transposed"),
    (lambda x: {"o": x, "S": x}, lambda x: {"o": x, "s": x}, "the names in its result differ",
     "lacks 'S' and should not have 's'"),
]


@pytest.mark.parametrize("reference, answer, headline, advice", UNKNOWN, ids=[case[2] for case in UNKNOWN])
def test_unknown_mistake(reference, answer, headline, advice):
    verdict = grade(single(reference), answer)
    assert verdict.headline == headline
    assert advice in " ".join(verdict.text.split()), verdict.text
    assert verdict.mistake is None and verdict.text.endswith('Next: `hint("99.1")`.')


def test_which_cases_fail_is_said():
    def ignores_memory_sometimes(x, S):
        o, last = running_sum(x, S)
        return (o + S, last) if len(x) > 1 else (o, last)

    assert "Right on 3 of 5 cases" in grade(make(), ignores_memory_sometimes).text
    only_empty = grade(make(), lambda x, S: running_sum(x, S + (S != 0).double()))
    assert "Right on 2 of 5 cases; wrong exactly when: nonempty memory." in only_empty.text
    only_short = grade(make(), lambda x, S: running_sum(x[:1].expand(len(x), -1), S))
    assert "Right on 2 of 5 cases; right exactly when: T = 1." in only_short.text
    only_long = grade(single(double), lambda x: 2 * x + (len(x) > 3))
    assert "Right on 1 of 2 cases; wrong exactly when: T = 4." in only_long.text
    several = make(double, cases=lambda g: [Case((torch.ones(n).double(),), f"T = {n}") for n in (1, 2, 3, 4)],
                   mutants={})
    assert "Right on 2 of 4 cases; wrong when T ≥ 3." in grade(several, lambda x: 2 * x + (len(x) > 2)).text
    assert "Right on 2 of 4 cases; wrong when T ≤ 2." in grade(several, lambda x: 2 * x + (len(x) < 3)).text


def test_the_name_of_the_only_case_that_is_right_is_no_headline():
    notes = ["2 taps, no tokens", "3 taps, 2 tokens", "4 taps, 3 tokens", "4 taps, 5 tokens"]
    exercise = make(double, cases=lambda g: [Case((torch.ones(n).double(),), note) for n, note in enumerate(notes, 1)],
                    mutants={})
    verdict = grade(exercise, lambda x: torch.where(torch.arange(len(x)) > 0, x.exp(), 2 * x))
    assert verdict.headline == "not a mistake I know" and "Right on 1 of 4 cases" in verdict.text, verdict.text


def test_a_dtype_that_is_not_wrong_is_not_shown():
    exercise = make(lambda n: torch.ones(n), cases=lambda g: [Case((2,), "two"), Case((3,), "three")], mutants={})
    verdict = grade(exercise, lambda n: torch.arange(n).double() ** 0.5)
    assert verdict.state == "fail" and "expected  [1, 1]\n" in verdict.text, verdict.text


def test_exception_shows_the_learners_own_line():
    def broken(x, S):
        rows = torch.stack(list(x))
        return rows.reshape(77), S

    text = grade(make(), broken).text
    assert "it reshapes 3 numbers to the shape [77]" in text
    assert "Your line:" in text and "return rows.reshape(77), S" in text


def test_large_tensors_are_shown_by_the_first_entry_that_differs():
    def cases(g):
        yield Case((torch.ones(10, 10, dtype=torch.float64),), "ones")
        yield Case((torch.ones(20, 10, dtype=torch.float64) * 2,), "twos")

    def answer(x):
        y = 2 * x
        y[2, 3] = 7
        return y

    text = grade(make(double, cases=cases, mutants={}), answer).text
    assert "result[2, 3] = 2, in shape (10, 10)" in text and "result[2, 3] = 7" in text
    assert "1 of 100 entries differ, by up to 5" in text


def test_an_answer_that_is_no_function():
    assert grade(make(), torch.zeros(3)).headline == "expected a function, got a tensor"
    assert grade(make(), "C").headline == "expected a function, got a string"


def test_several_numbers_may_come_as_a_tensor():
    exercise = make((-1.5, 0.75), cases=None, mutants={"flips the sign": Mistake((1.5, -0.75), "Minus.")},
                    tolerance=1e-3)
    assert grade(exercise, torch.tensor([-1.5, 0.75])).state == "pass"
    assert grade(exercise, torch.tensor([1.5, -0.75])).mistake == "flips the sign"
    assert grade(exercise, torch.eye(2)).headline == "expected a tuple, got a tensor"


def test_leading_dimensions_of_size_one_are_no_mistake():
    several = make((-1.5, 0.75), cases=None, mutants={"is one number": Mistake(0.5, "Two numbers.")}, tolerance=1e-3)
    one = make(6, alternatives=(), cases=None, mutants={"is two": Mistake((1, 2), "One number.")})
    for right in (torch.tensor([[-1.5, 0.75]]), np.array([[-1.5, 0.75]]), [torch.tensor([-1.5]), torch.tensor(0.75)]):
        assert grade(several, right), right
    for right in (torch.tensor([6.0]), np.array([[6]]), torch.tensor([6.0], requires_grad=True)):
        assert grade(one, right), right
    assert grade(several, torch.tensor([0.5])).mistake == "is one number"
    assert grade(one, torch.tensor([[1, 2]])).mistake == "is two"
    for wrong in (torch.tensor([[6.0, 6.0]]), torch.tensor([7.0]), torch.tensor([]), torch.tensor([True])):
        assert not grade(one, wrong), wrong
    for wrong in (torch.tensor([[-1.5], [0.75]]), torch.tensor([[0.75, -1.5]]), torch.zeros(0, 2)):
        assert not grade(several, wrong), wrong


def test_chapter_zero_answers_in_the_voice_of_the_book(capsys):
    check("0.1", find("exercise", "0.1").mutants["writes without the key"].answer)
    assert capsys.readouterr().out == """\
✗ 0.1 Write one association · it writes without the key
      Every column gets the whole value. Column j should get v times the j-th entry of the key (eq. 0.1).
      Smallest failing case (empty memory, unit key):
          S         [[0, 0]]
          v         [3]
          k         [1, 0]
          expected  [[3, 0]]
          yours     [[3, 3]]
      Next: With the key (1, 0), what should the second column be?
"""
