"""Checks that understand: no right answer rejected, no wrong name, the difference seen, usual slips named."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn.functional import elu

from deltanet_edu.tutor import Case, Mistake
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find
from deltanet_edu.tutor.slips import mask, of_value

from .exercises import make, single, value


def told(id, answer):
    return grade(find("exercise", id), answer)


# -- no right answer is rejected --------------------------------------------------------------------------------------

@pytest.mark.parametrize("answer",
                         [torch.tensor(-0.8), np.float32(-0.8), np.array(-0.8), Fraction(-4, 5), Decimal("-0.8"), -0.8])
def test_a_number_of_any_kind(answer):
    assert told("1.1", answer)


def test_whole_numbers_among_the_inputs():
    """Equation 16.2 to the letter: of whole numbers times log 2 PyTorch makes float32."""
    def cases(g):
        for n in (1, 2, 8):
            nats, chars = torch.rand(n, generator=g, dtype=torch.float64), torch.randint(1, 9, (n,), generator=g)
            yield Case((nats, chars), f"T = {n}")

    def to_the_letter(nats, chars):
        return nats.sum() / (chars.sum() * math.log(2))

    assert told("16.1", to_the_letter)
    exercise = make(lambda nats, chars: nats.sum() / chars.double().sum() / math.log(2), cases=cases, mutants={})
    verdict = grade(exercise, to_the_letter)
    assert verdict and "float32" in verdict.text and "here that counts as right" in verdict.text


def test_a_scalar_without_dtype():
    assert grade(single(lambda x: x / math.sqrt(3)), lambda x: x / torch.sqrt(torch.tensor(3)))
    assert grade(single(lambda x: 0.1 * x), lambda x: torch.tensor(0.1) * x)


def leaky(q, k, v, epsilon, inside=False):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()
    total = scores.sum(-1, keepdim=True)
    return (scores / (total + epsilon) if not inside else scores * torch.reciprocal((total**2 + epsilon).sqrt())) @ v


@pytest.mark.parametrize("epsilon", [1e-6, 1e-8, 1e-12])
@pytest.mark.parametrize("inside", [False, True])
def test_a_small_epsilon_in_a_divisor(epsilon, inside):
    assert told("1.5", lambda q, k, v: leaky(q, k, v, epsilon, inside))


def test_an_epsilon_that_is_large_or_elsewhere_is_not_forgiven():
    assert told("1.5", lambda q, k, v: leaky(q, k, v, 1e-4)).state == "fail"
    assert grade(single(lambda x: x / 3), lambda x: (x + 1e-6) / 3).state == "fail"
    assert grade(single(lambda x: 3 / x.abs()), lambda x: 3 / x.abs() + 1e-6).state == "fail"


def test_another_dtype_where_the_values_are_right():
    exercise = single(lambda x: torch.tensor([len(x), 7]))
    assert grade(exercise, lambda x: torch.tensor([float(len(x)), 7.0]))
    assert grade(exercise, lambda x: np.array([len(x), 7], dtype=np.int8))
    assert grade(single(lambda x: x.float()), lambda x: x), "more exact than what is expected"


@pytest.mark.parametrize("right, answer, state", [
    (0.7, 0.7004, "pass"), (0.7, 0.702, "fail"), (-0.108, -0.10803, "pass"), (-0.108, -0.109, "fail"),
    (130, 130.1, "fail"), (130, 130.0, "pass"),
    ((-1.4, 0.8), (-1.4005, 0.8), "pass"), ((-1.4, 0.8), (-1.41, 0.8), "fail"), (2.44, 2.4412, "pass"),
    (2.44, 2.45, "fail"),
])
def test_three_digits_of_what_is_computed_by_hand(right, answer, state, monkeypatch):
    from deltanet_edu.tutor.registry import _tolerance

    assert grade(value(right, tolerance=_tolerance(right, None, None)), answer).state == state


# -- where precision is lost, the message names the cause that is there -----------------------------------------------

def made_without_dtype(x):
    y = torch.zeros(x.shape)
    y[:] = x / 3
    return y.double()


def cast(x):
    return (x.float() / 3).double()


@pytest.mark.parametrize("answer, cause, line",
                         [(made_without_dtype, "a tensor is made in float32", "y = torch.zeros(x.shape)"),
                                                 (cast, "float64 becomes float32 on the way",
                                                  "return (x.float() / 3).double()")])
def test_the_cause_of_lost_precision_is_named(answer, cause, line):
    text = " ".join(grade(single(lambda x: x / 3), answer).text.split())
    assert "it loses precision" in text and cause in text and line in text


def test_no_cause_is_named_that_is_not_there():
    """Off by a little is not thereby computed in float32, and an answer with a `.float()` may be wrong besides."""
    for answer in (lambda x: x / 3 + 1e-7, lambda x: x / (3 + 1e-5), lambda x: x / 3 + 1e-7 + 0 * x.float(),
                   lambda x: x.numpy() / 3 + 1e-8):
        verdict = grade(single(lambda x: x / 3), answer)
        assert verdict.state == "fail" and "precision" not in verdict.text, verdict.text
        assert "float32" not in verdict.text, verdict.text
    assert "is something small added" in grade(single(lambda x: x / 3), lambda x: x / 3 + 1e-7).text
    later = grade(single(lambda x: [x, 2 * x]), lambda x: [x + 1e-7, 3 * x])
    assert "small" not in later.text, later.text                         # all of the answer is nearly right, or none
    nearly = told("1.5", lambda q, k, v: leaky(q, k, v, 1e-6) + 1e-7)
    assert nearly.state == "fail" and "float32" not in nearly.text


def test_equal_entries_are_not_taken_for_a_shift():
    constant = make(lambda x: torch.ones(4, dtype=torch.float64) * x,
                    cases=lambda g: [Case((torch.tensor(n),), f"T = {n}") for n in (2.0, 3.0)],
                    mutants={})
    wrong = grade(constant, lambda x: torch.ones(4, dtype=torch.float64) * x * torch.tensor([0.0, 1, 1, 1]))
    assert wrong.state == "fail" and "late" not in wrong.headline and "early" not in wrong.headline


# -- the smallest failing case shows the difference -------------------------------------------------------------------

def sides(text):
    """What a verdict says was expected, and what came."""
    expected, yours = text.split("\n          expected ")[1].split("\n          yours ")
    yours = yours.split("\n      Next:")[0].split("\n      Your line:")[0]
    return " ".join(expected.split(", in shape")[0].split()), " ".join(yours.split(";")[0].split())


@pytest.mark.parametrize("off", [1e-3, 1e-5, 1e-6, 1e-8])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_never_two_equal_numbers(off, n):
    exercise = single(lambda x: x, n=n)
    expected, yours = sides(grade(exercise, lambda x: x + off * (x == x[-1, -1])).text)
    assert expected != yours and "..." not in expected + yours


def test_beta_with_a_small_number_added_shows_both():
    reference = find("exercise", "9.4").reference
    expected, yours = sides(told("9.4", lambda K, V, beta, S, dX: reference(K, V, beta + 1e-8, S, dX)).text)
    assert expected != yours


def test_the_one_wrong_result_of_five_is_shown():
    """The fifth result of 3.3: a tuple of five is not written out, and the dots stood where the mistake was."""
    reference = find("exercise", "3.3").reference

    def last_is_off(*args):
        *others, dS = reference(*args)
        return *others, dS + 0.1

    text = told("3.3", last_is_off).text
    expected, yours = sides(text)
    assert expected.startswith("result[4]") and expected != yours and "..." not in expected + yours


def test_the_same_number_in_another_form_is_told_apart():
    for right, wrong in ((3.0, "3"), (True, 1), (torch.ones(2), [1.0, 1.0])):
        expected, yours = sides(grade(single(lambda x: right), lambda x: wrong).text)
        assert expected != yours


def test_long_strings_are_shown_where_they_differ():
    expected, yours = sides(grade(single(lambda x: "a" * 300 + "b"), lambda x: "a" * 300 + "c").text)
    assert expected.endswith("b") and yours.endswith("c")


def test_a_changed_argument_shows_both():
    def step(x):
        x.mul_(2)
        return x.sum()

    def wrong(x):
        total = 2 * x.sum()
        x.mul_(3)
        return total

    expected, yours = sides(grade(single(step), wrong).text)
    assert expected.startswith("x becomes") and yours.startswith("x becomes") and expected != yours


# -- the usual slips --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("right, answer, headline", [
    (1.44, -1.44, "its sign is flipped"), (1.44, 2.88, "it is twice the right number"),
    (1.44, 0.72, "it is half the right number"),
    (1.44, 1.44**2, "it is the square of the right number"), (1.44, 1.2, "its square is the right number"),
    (86, 87, "it is off by one"),
    (1.44, 1 / 1.44, "it is one over the right number"), (0.7, 0.3, "it is one minus the right number"),
    (130, 133120, "it is off by a factor of 1,024"),
    (1.44, 144, "it is off by a factor of 100"), (1.44, 1.45, "close, but not exact"), (1.44, 5.0, "not yet"),
    (1.44, float("nan"), "not yet"),
    ((-1.4, 0.8), (0.8, -1.4), "these are the right numbers in another order"),
    ((-1.4, 0.8), (1.4, -0.8), "its sign is flipped"),
    ((-1.4, 0.8), (-1.4, 0.5), "the second number is wrong, the rest is right"),
    ((-1.4, 0.8), (-2.8, 1.6), "it is twice the right number"),
])
def test_slips_of_a_number(right, answer, headline):
    assert grade(value(right, tolerance=1e-3), answer).headline == headline


def test_a_given_that_is_missing():
    exercise = value(1.44, givens={"β": 0.3}, tolerance=1e-3)
    assert grade(exercise, 4.8).headline == grade(exercise, 0.432).headline == "it is off by the factor β = 0.3"
    assert "missing, or there twice" in grade(exercise, 4.8).text


def write(S, k, v, beta):
    return S + beta * torch.outer(v - S @ k, k)


def writes(g):
    for K in (3, 4):
        yield Case((*(torch.randn(n, generator=g, dtype=torch.float64) for n in ((K, K), (K,), (K,))),
                    torch.tensor(0.3 + 0.1 * K).double()), f"K = {K}")


SLIPS = [
    (lambda S, k, v, beta: write(S, k, v, 1.0), "it treats beta as 1"),
    (lambda S, k, v, beta: write(0 * S, k, v, beta), "it treats S as zero"),
    (lambda S, k, v, beta: write(S, v, k, beta), "it uses k and v in each other's place"),
    (lambda S, k, v, beta: write(S.T, k, v, beta), "it uses S transposed"),
    (lambda S, k, v, beta: write(S, k, v, 2 * beta), "it uses beta twice over, as 2 beta"),
    (lambda S, k, v, beta: write(S, k, v, beta**2), "it uses the square of beta"),
    (lambda S, k, v, beta: write(-S, k, v, beta), "it uses S with the other sign"),
    (lambda S, k, v, beta: S, "it returns its input S"),
    (lambda S, k, v, beta: write(S, k, k, beta), "it uses k where v belongs"),
    (lambda S, k, v, beta: write(S, k, v, 1 - beta), "it uses 1 - beta for beta"),
    (lambda S, k, v, beta: write(S, k, v, beta).tril(), "what is above its diagonal is missing"),
    (lambda S, k, v, beta: write(S, k, v, beta) + torch.eye(len(S)), "the identity is added to it"),
]


@pytest.mark.parametrize("right, answer", [(-2.4, 0), (1.44, 0), (1, 8), (1, 10), (5, 0)])
def test_nothing_and_one_are_no_factor(right, answer):
    """Of zero, every number divided by a million is nearly right; of one, every number is a factor."""
    assert of_value(right, answer, 1e-6) is None


def test_a_ratio_is_compared_as_one():
    assert of_value(4.0, 4.0 * 2**20, 1e-6)[0] == "it is off by a factor of 1,048,576"
    assert of_value(2.0, 1e-9, 1e-3) is None



@pytest.mark.parametrize("answer, headline", SLIPS, ids=[headline for _, headline in SLIPS])
def test_slips_of_a_function(answer, headline):
    verdict = grade(make(write, cases=writes, mutants={}), answer)
    assert verdict.headline == headline and verdict.mistake is None


def test_a_slip_on_some_cases_only_is_not_named():
    verdict = grade(make(write, cases=writes, mutants={}), lambda S, k, v,
                    beta: write(S, k, v, 1.0 if len(k) == 3 else 0.5 + 0 * beta))
    assert verdict.headline == "not a mistake I know"


def test_slips_that_come_to_the_same_are_both_named():
    verdict = grade(make(write, cases=writes, mutants={}), lambda S, k, v, beta: write(S, k, -v, beta))
    assert verdict.headline == "it takes `v` with the other sign"        # the one place in the solution
    no_source = make(lambda S, k, v, beta: write(S, k, v, beta), cases=writes, mutants={})
    verdict = grade(no_source, lambda S, k, v, beta: write(S, k, -v, beta))
    assert verdict.headline == "it uses k or v with the other sign"


def test_an_argument_that_is_never_used():
    """Said only where every right answer uses it, and the answer under its own name."""
    def odd(S, key, v, beta):
        return torch.sin(S) + torch.outer(v, v) * beta
    assert grade(make(write, cases=writes, mutants={}), odd).headline == "it never uses key"
    without = make(write, cases=writes, mutants={}, alternatives=(lambda S, k, v, beta: write(S, k, v, beta),))
    assert grade(without, odd).headline == "it never uses key"
    assert grade(without, lambda *x: torch.sin(x[0])).headline == "not a mistake I know"


def test_the_catalogue_comes_first():
    mutants = {"forgets beta": Mistake(lambda S, k, v, beta: write(S, k, v, 1.0), "Each write has its strength.")}
    assert grade(make(write, cases=writes, mutants=mutants), lambda S, k, v,
                 beta: write(S, k, v, torch.ones(()))).mistake == "forgets beta"


def test_a_part_that_is_zero_anyway_is_not_called_missing():
    assert mask([(torch.zeros(1, 1), torch.full((1, 1), 1e-10))]) is None
    assert mask([(torch.ones(2, 2), torch.ones(2, 2).tril())])[0] == "what is above its diagonal is missing"
