"""An answer runs with known settings, on copies of its inputs, and leaves the learner's notebook as it was."""

import random

import numpy as np
import pytest
import torch

from deltanet_edu.tutor import Case, Mistake
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.running import fresh

from .exercises import MUTANTS, make, running_sum
from .test_check import right


def test_global_state_is_untouched():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    expected = torch.rand(2), np.random.rand(), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)

    def noisy(x, S):
        torch.rand(5), np.random.rand(), random.random()
        torch.set_default_dtype(torch.float64)
        return running_sum(x, S)

    assert grade(make(), noisy)
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(expected[0], torch.rand(2)) and expected[1:] == (np.random.rand(), random.random())


def test_random_numbers_inside_an_answer_repeat():
    def noisy(x, S):
        o, last = running_sum(x, S)
        return o + torch.randn(3), last

    assert grade(make(), noisy).text == grade(make(), noisy).text


@pytest.mark.parametrize("setting", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_gradient_mode_of_the_notebook_does_not_matter(setting):
    def gradient(x):
        return torch.autograd.grad((x**2).sum(), x)[0]

    def cases(g):
        for n in (2, 3):
            yield Case((torch.randn(n, generator=g, dtype=torch.float64).requires_grad_(),), f"T = {n}")

    exercise = make(gradient, cases=cases,
                    mutants={"forgets the 2": Mistake(lambda x: x.detach().clone(), "The derivative of x² is 2x.")})
    with setting():
        assert grade(exercise, lambda x: 2 * x)
        assert grade(exercise, gradient)
        assert grade(exercise, lambda x: x * 1).mistake == "forgets the 2"


def test_autocast_of_the_notebook_does_not_matter():
    def product(x, S):
        o, last = running_sum(x, S)
        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.float32
        return o, last

    with torch.autocast("cpu", torch.bfloat16):
        assert grade(make(), product)


def test_default_dtype_of_the_notebook_does_not_matter():
    before = grade(make(), MUTANTS["averages"].answer).text
    torch.set_default_dtype(torch.float64)
    try:
        assert grade(make(), MUTANTS["averages"].answer).text == before
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_inputs_cannot_be_corrupted():
    exercise = make()
    before = [tuple(x.clone() for x in case.args) for case in exercise.case_list]

    def vandal(x, S):
        x.zero_(), S.zero_()
        return x, S

    grade(exercise, vandal)
    assert all(torch.equal(a, b) for case, args in zip(exercise.case_list, before) for a, b in zip(case.args, args))
    assert grade(exercise, right)


def test_an_argument_that_may_be_changed():
    """Its change is no mistake, and hides none: the value is judged all the same."""
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    exercise = make(lambda x: 2 * x, mutants=MUTANTS, cases=lambda g: [Case((x,), "T = 2")], free=(0,))
    assert grade(exercise, lambda x: x.add_(x))
    assert not grade(exercise, lambda x: x.add_(x).add_(1))
    assert "in place" not in grade(exercise, lambda x: x.add_(x).add_(1)).text


def test_a_result_written_into_an_argument():
    """As a kernel does it: the reference fills a buffer, so the answer must, with the same numbers."""
    def fill(x, out):
        out.copy_(2 * x)

    def cases(g):
        for n in (2, 3):
            yield Case((torch.randn(n, generator=g, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)),
                       f"T = {n}")

    exercise = make(fill, cases=cases,
                    mutants={"writes x": Mistake(lambda x, out: [out.copy_(x), None][1], "Twice x is written.")})
    assert grade(exercise, fill)
    assert grade(exercise, lambda x, out: None).headline == "it leaves out unchanged"
    assert grade(exercise, lambda x, out: out.copy_(2 * x)), "what it returns besides does not matter"
    assert grade(exercise, lambda x, out: out.copy_(-2 * x)).headline == "its sign is flipped"
    assert grade(exercise, lambda x, out: [x.add_(x), out.copy_(x)]).headline == "it changes its input x in place"
    assert grade(exercise, exercise.mutants["writes x"].answer).mistake == "writes x"


def test_a_result_and_an_argument_that_changes():
    """An optimizer step may do both: return a number and change a tensor."""
    def step(x, w):
        w.sub_(x)
        return w.sum()

    def cases(g):
        for n in (2, 3):
            yield Case(tuple(torch.randn(2, n, generator=g, dtype=torch.float64)), f"T = {n}")

    exercise = make(step, cases=cases, mutants={})
    assert grade(exercise, step)
    assert grade(exercise, lambda x, w: (w - x).sum()).headline == "it does not write what it should into w"
    other = grade(exercise, lambda x, w: [(w - x).sum(), w.sub_(2 * x)][0])
    assert other.headline == "it changes w, but not as it should" and "it returns is right" in other.text
    assert grade(exercise, lambda x, w: [w.sub_(x), x.zero_()][0].sum()).headline == "it changes its input x in place"


def test_exit_is_a_mistake_but_an_interrupt_passes():
    def stop(x, S):
        raise SystemExit

    def interrupt(x, S):
        raise KeyboardInterrupt

    assert grade(make(), stop).headline == "it raises SystemExit"
    with pytest.raises(KeyboardInterrupt):
        grade(make(), interrupt)


def test_a_slice_stays_a_slice():
    """Kernels are told strides: a check that asks for them must hand them on."""
    whole = torch.arange(12.0).view(3, 4)
    for x in (whole[:, 1], whole[:, 1:3], whole.T, whole[1:]):
        y = fresh(x)
        assert y.stride() == x.stride() and torch.equal(x, y)
        y.zero_()
        assert whole.sum() == 66
