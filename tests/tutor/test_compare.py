"""Equality up to a tolerance, for everything an answer may be."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu.tutor.compare import difference, equal

numbers = st.floats(-100, 100).map(lambda x: round(x, 3))
tensors = st.lists(numbers, min_size=1, max_size=6).map(lambda row: torch.tensor(row, dtype=torch.float64))
values = st.recursive(st.one_of(numbers, st.integers(-5, 5), st.text("abc", max_size=3), st.booleans(), tensors),
                      lambda inner: st.one_of(st.lists(inner, max_size=3),
                                              st.dictionaries(st.text("xy", max_size=2), inner, max_size=3)),
                                              max_leaves=8)


@given(values)
def test_everything_equals_itself(x):
    assert difference(x, x, 0) is None


@given(tensors, st.data())
def test_one_entry_off_is_found(x, data):
    i = data.draw(st.integers(0, len(x) - 1))
    off = x.clone()
    off[i] += 1e-6 * max(1.0, x.abs().max().item())
    found = difference(x, off, 1e-9)
    assert found.kind == "value" and found.index == (i,) and found.count == 1
    assert difference(x, off, 1e-5) is None


EQUAL = [
    (torch.ones(2), np.ones(2, dtype=np.float32)), (3, torch.tensor(3)), (3, np.float64(3)), (torch.tensor(2.0), 2.0),
    (2.0, torch.tensor(2.0)),
    ((1, 2), [1, 2]), ({"a": 1}, {"a": 1.0}), ("Yes ", "yes"), ({"a", "b"}, {"b", "a"}), (True, torch.tensor(True)),
    (math.inf, math.inf),
    (torch.tensor([math.inf, math.nan]), torch.tensor([math.inf, math.nan])), (torch.zeros(0, 3), torch.zeros(0, 3)),
    (None, None),
    (1 + 2j, torch.tensor(1 + 2j)), (0.25, Fraction(1, 4)), (0.1, Decimal("0.1")), (3, Decimal(3)), (7, Fraction(7)),
    (7, np.int8(7)),
    ((0.5, 2), (Fraction(1, 2), np.float32(2))), (torch.ones(2), torch.ones(2).double()),
    (torch.ones(2).double(), torch.ones(2)),
    (torch.tensor([1, 2]), torch.tensor([1.0, 2.0])), (torch.tensor([1.0, 2.0]), np.array([1, 2])),
    (torch.ones(2), torch.ones(2, dtype=torch.uint16)),
    (torch.ones(1) / 3, torch.ones(1).double() / 3),
                         # float32 cannot judge float64 more closely than itself
]
DIFFERENT = [
    (torch.ones(2).double() / 3, torch.ones(2) / 3, "dtype"), (torch.ones(2), torch.ones(1, 2), "shape"),
    (1, True, "dtype"), (True, 1, "dtype"),
    (torch.ones(2), [1.0, 1.0], "type"), ((1, 2), (1, 2, 3), "length"), ((1, 2), 1, "type"),
    ({"a": 1}, {"b": 1}, "keys"), ("a", "b", "value"),
    ("1", 1, "type"), (1, "1", "type"), ({"a"}, {"b"}, "value"), (1.0, math.nan, "nan"),
    (torch.ones(1), torch.tensor([math.nan]), "nan"),
    (torch.tensor([math.nan]), torch.ones(1), "value"), (torch.tensor([math.inf]), torch.tensor([-math.inf]), "value"),
    (None, 1, "type"), (1, None, "type"),
    (3, 10**100, "value"), (10**100, 3.0, "value"), (10**100, torch.ones(2), "type"),
    (torch.tensor([1.0, 2.5]), torch.tensor([1, 2]), "dtype"),
    (torch.tensor([1, 2]), torch.tensor([1.0, 2.5]), "value"),
    (torch.ones(2), torch.ones(2, dtype=torch.bool), "dtype"), (torch.ones(2), torch.ones(2) + 0j, "dtype"),
    (0.25, Fraction(1, 3), "value"), (torch.ones(1), torch.tensor([math.inf]), "value"), (0, {}, "type"),
]


@pytest.mark.parametrize("expected, actual", EQUAL, ids=range(len(EQUAL)))
def test_equal(expected, actual):
    assert difference(expected, actual, 1e-9) is None
    assert equal(expected, actual, 1e-9) and equal([expected, 1], (actual, 1), 1e-9)


@pytest.mark.parametrize("expected, actual, kind", DIFFERENT, ids=range(len(DIFFERENT)))
def test_different(expected, actual, kind):
    assert difference(expected, actual, 1e-9).kind == kind
    assert not equal(expected, actual, 1e-9) and not equal([1, expected], (1, actual), 1e-9)


def test_place_of_a_nested_difference():
    found = difference((1, {"S": torch.zeros(2, 2)}), (1, {"S": torch.eye(2)}), 1e-9)
    assert (found.where, found.index, found.count, found.largest) == ("[1]['S']", (0, 0), 2, 1.0)


def test_tolerance_is_relative_to_the_largest_entry():
    assert difference(torch.tensor([1e6, 0.0]), torch.tensor([1e6, 1e-4]), 1e-9) is None
    assert difference(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-4]), 1e-9) is not None


def test_gradients_do_not_get_in_the_way():
    assert difference(torch.ones(2, requires_grad=True), torch.ones(2), 1e-9) is None
