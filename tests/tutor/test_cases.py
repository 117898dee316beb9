"""The shared case builder: shapes, kinds of keys, notes, and order."""

import pytest
import torch

from deltanet_edu.tutor.cases import delta_inputs, unit_keys
from deltanet_edu.tutor.formatting import size


@pytest.fixture
def g():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("names, options, shapes", [
    ("k v beta", {}, [(7, 3), (7, 5), (7,)]),
    ("S k v beta", dict(T=None), [(5, 3), (3,), (5,), ()]),
    ("q k v beta S", dict(B=2, H=4), [(2, 7, 4, 3), (2, 7, 4, 3), (2, 7, 4, 5), (2, 7, 4), (2, 4, 5, 3)]),
    ("q k v beta do dS", dict(H=4, K=4, V=4), [(7, 4, 4), (7, 4, 4), (7, 4, 4), (7, 4), (7, 4, 4), (4, 4, 4)]),
], ids=["chunk", "token", "sequence", "gradients"])
def test_shapes(g, names, options, shapes):
    case = delta_inputs(g, names, **options)[-1]
    assert [tuple(x.shape) for x in case.args] == shapes
    assert all(x.dtype == torch.float64 for x in case.args)
    assert "K ≠ V" in case.note or options.get("K") == 4


def test_smallest_come_first_and_all_combinations_are_made(g):
    cases = delta_inputs(g, "k v beta S C", T=(7, 1), C=(3, 2), keys=("random", "repeated"),
                         memories=("nonempty", "empty", "none"))
    assert [size(case.args) for case in cases] == sorted(size(case.args) for case in cases)
    assert len(cases) == len({case.note for case in cases}) == 18           # repeated keys need two tokens
    assert {case.args[-1] for case in cases} == {2, 3} and any(case.args[-2] is None for case in cases)


def test_an_unknown_argument_is_named(g):
    with pytest.raises(ValueError, match="args: got 'g', expected one of 'q', 'k'"):
        delta_inputs(g, "k v g")


def test_keys_are_what_their_note_says(g):
    for case in delta_inputs(g, "k", T=(2, 3, 7), H=2, keys=("random", "repeated", "unnormalized", "orthonormal")):
        k = case.args[0].movedim(-2, 0)                                   # (H, T, K)
        unit = torch.allclose(k.norm(dim=-1), torch.ones(1, dtype=torch.float64))
        assert unit == ("unnormalized" not in case.note), case.note
        overlap = k @ k.mT - torch.eye(k.shape[1])
        assert (overlap.abs().max() < 1e-12) == ("orthonormal" in case.note), case.note
        equal = (k[:, :, None] == k[:, None]).all(-1).tril(-1)            # (H, T, T)  earlier tokens with the same key
        assert bool(equal.any()) == ("repeated" in case.note), case.note


def test_strengths_and_memories_are_what_their_note_says(g):
    for case in delta_inputs(g, "beta S", T=(4,), keys=("random",), betas=("random", "one", "zero", "large")):
        beta, S = case.args
        assert ("empty memory" in case.note.split(", ")) == bool((S == 0).all())
        low, high = {"random β": (0.01, 0.99), "β = 1": (1, 1), "β = 0": (0, 0),
                     "1 < β < 2": (1.01, 1.99)}[case.note.split(", ")[1]]
        assert low <= beta.min() and beta.max() <= high


def test_numbers_can_be_written_down(g):
    for x in delta_inputs(g, "q v beta", keys=("unnormalized",))[-1].args:
        assert torch.equal(x, (x * 100).round() / 100)


def test_same_seed_same_cases():
    one, two = (delta_inputs(torch.Generator().manual_seed(5), "k v beta") for _ in range(2))
    assert all(torch.equal(x, y) for a, b in zip(one, two) for x, y in zip(a.args, b.args))


def test_wide_keys_are_drawn_at_once():
    """Kernels need widths of 16 and more: there is no list of 2^K signs behind them."""
    k = unit_keys(torch.Generator().manual_seed(0), 5, 64)
    assert torch.allclose(k.norm(dim=-1), torch.ones(5, dtype=torch.float64))
