"""Whatever an answer returns, the check says something sensible and does not fail itself."""

import sys

import numpy as np
import pytest
import torch

from deltanet_edu.tutor import check, notebook
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.rendering import verdict_html

from .exercises import make, single


class Rude:
    __hash__ = None

    def __eq__(self, other):
        raise RuntimeError("not comparable")

    def __repr__(self):
        raise RuntimeError("not printable")


itself = []
itself.append(itself)

ODD = {
    "rude": Rude(), "rude array": np.array([Rude()]), "a list in itself": itself, "bytes": b"b", "class": Rude,
    "object": object(), "module": sys,
    "dtype": torch.float32, "torch.Size": torch.Size([2]), "sparse": torch.ones(3, 5).to_sparse(),
    "meta": torch.empty(3, 5, device="meta"),
    "strings": np.array(["a"]), "complex": 1j, "complex tensor": torch.zeros(3, 5, dtype=torch.complex64),
    "float8": torch.zeros(3, 5).to(torch.float8_e4m3fn),
    "uint16": torch.zeros(3, 5, dtype=torch.uint16), "nothing in it": torch.zeros(0), "empty tuple": (),
    "empty dict": {}, "range": range(3),
    "foreign bytes": np.zeros((3, 5), dtype=">f8"), "infinity": torch.full((3, 5), float("inf"), dtype=torch.float64),
    "googol": 10**100,
    "minus googol": -(10**100), "nan": float("nan"), "Nones": (None, None), "date": np.datetime64("2020-01-01"),
    "not implemented": NotImplemented,
    "linear": torch.nn.Linear(2, 2), "mixed": (torch.zeros(3, 5), "x"), "set": {1, 2}, "ellipsis": ...,
}
REFERENCES = {
    "tensor": lambda x: 2 * x, "pair": lambda x: (x, 2 * x), "number": lambda x: 1.5 + len(x),
    "integer": lambda x: 7 + len(x), "truth": lambda x: len(x) > 3,
    "word": lambda x: "ab" * len(x), "dict": lambda x: {"o": x}, "mask": lambda x: x > 0,
    "complex": lambda x: x.to(torch.complex64), "scalar": lambda x: x.sum(),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("reference", REFERENCES)
def test_returned_by_a_function(reference, odd):
    verdict = grade(single(REFERENCES[reference]), lambda x: ODD[odd])
    assert verdict.state == "fail"
    assert " at 0x" not in verdict.text and verdict_html(verdict)


@pytest.mark.parametrize("odd", [name for name in ODD if name != "ellipsis"])
@pytest.mark.parametrize("right", [3, "b", (1, 2), torch.ones(2)], ids=str)
def test_given_as_a_value(right, odd):
    verdict = grade(make(right, alternatives=(), cases=None, mutants={}), ODD[odd])
    assert verdict.state == "fail" and verdict_html(verdict)


def test_kinds_of_tensors_are_named():
    exercise = single(lambda x: 2 * x)
    assert grade(exercise,
                 lambda x: torch.empty(3, 5, device="meta")).headline == "it returns a meta tensor, expected a tensor"
    assert grade(exercise, lambda x: (2 * x).to_sparse()), "the same numbers stored otherwise"


def test_infinity_and_nearly_right_values():
    assert grade(single(lambda x: 2 * x), lambda x: 2 * x / 0).headline == "it contains infinity"
    later = grade(single(lambda x: 2 * x),
                  lambda x: x / 0 if len(x) == 4 else x + 1)   # the case that is shown, T = 3, has none
    assert later.headline == "it contains infinity, in some cases"
    assert "in this one: K ≠ V, T = 4." in later.text.replace("\n      ", " ")
    third = make(1 / 3, alternatives=(), cases=None, mutants={}, tolerance=1e-3)
    assert grade(third, 0.333)
    assert grade(third, 0.33).headline == "close, but not exact" and grade(third, 0.5).headline == "not yet"


def test_a_check_that_fails_itself_does_not_stop_run_all(monkeypatch, capsys):
    monkeypatch.setattr(notebook, "grade", lambda exercise, answer: 1 / 0)
    assert check("0.1", abs).state == "fail"
    said = capsys.readouterr().out
    assert "the check itself failed with ZeroDivisionError" in said and "a mistake of the book, not yours" in said


def test_stub_of_another_exercise():
    def calls_an_unfinished_one(x, S):
        raise NotImplementedError("99.7")

    verdict = grade(make(), calls_an_unfinished_one)
    assert verdict.state == "open"
    assert verdict.headline == "your function of 99.7, which it calls, is not done yet: solve 99.7 first"
