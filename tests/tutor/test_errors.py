"""Exceptions in a learner's code are named by what they mean."""

import pytest
import torch

from deltanet_edu.tutor import Case
from deltanet_edu.tutor.grading import grade

from .exercises import make

ERRORS = [
    (lambda S, k, v: S.T @ k, "it multiplies a matrix, 3x5, with a vector that does not fit: 3 numbers"),
    (lambda S, k, v: S @ S, "it multiplies matrices that do not fit: 5x3 and 5x3"),
    (lambda S, k, v: S @ k - k, "it combines tensors that do not fit: 5 against 3 along dimension 0"),
    (lambda S, k, v: k @ v, "it takes the dot product of vectors that do not fit: 3 and 5 numbers"),
    (lambda S, k, v: torch.outer(S, k), "it needs vectors where it has something else"),
    (lambda S, k, v: S[7], "it reaches where there is nothing any more"),
    (lambda S, k, v: [1][1], "it reaches where there is nothing any more"),
    (lambda S, k, v: S.mT[v > 0], "it picks with a mask of shape [5] from a tensor of shape [3, 5]"),
    (lambda S, k, v: v.unflatten(0, (3, -1)), "it cuts 5 numbers into [3, -1], which does not come out even"),
    (lambda S, k, v: v.split([2, 2]), "it splits 5 numbers into [2, 2], which are another number of them"),
    (lambda S, k, v: k[0, 0], "it takes more indices than its tensor has dimensions: 1"),
    (lambda S, k, v: k.sum(2), "it names dimension 2, which its tensor does not have"),
    (lambda S, k, v: S[[0, 1], [0, 1, 2]], "it picks with indices whose shapes do not fit: [2], [3]"),
    (lambda S, k, v: [].pop(), "it takes from what is empty"),
    (lambda S, k, v: torch.tensor(1.0)[0], "it raises IndexError"),
    (lambda S, k, v: torch.einsum("vk,v->v", S, k), "the letters of its einsum do not fit the tensors"),
    (lambda S, k, v: torch.stack([k, v]), "it stacks tensors of different shapes"),
    (lambda S, k, v: torch.stack([]), "it joins an empty list"),
    (lambda S, k, v: k.reshape(2, 2), "it reshapes 3 numbers to the shape [2, 2], which holds another number of them"),
    (lambda S, k, v: S @ k.float(), "it mixes tensors of two dtypes"),
    (lambda S, k, v: S @ key, "it uses key, which has no value"),                        # noqa: F821
    (lambda S, k, v: 1 / 0, "it divides by zero"),
    (lambda S, k, v: [S].mT, "it asks a list for .mT, which it does not have"),
    (lambda S, k, v: len(S).item(), "it asks an int for .item, which it does not have"),
    (lambda S, k, v: [1] - S.tolist(), "it computes a list - a list"),
    (lambda S, k, v: (lambda Q, K: Q)(S), "it calls <lambda> without 'K'"),
    (lambda S, k, v: (lambda Q, K: Q)(S, k, v), "it calls <lambda> with 3 arguments, and it takes 2"),
    (lambda S, k, v: float(k), "it takes a tensor of several numbers for one"),
    (lambda S, k, v: torch.linalg.inv(torch.outer(k, k)), "it inverts a matrix that has no inverse"),
]


@pytest.mark.parametrize("f, headline", ERRORS, ids=[headline for _, headline in ERRORS])
def test_an_exception_is_named_by_what_it_means(f, headline):
    def sizes(g):
        yield Case(tuple(torch.arange(1.0, 1 + n).double().reshape(s) for n, s in ((15, (5, 3)), (3, (3,)), (5, (5,)))),
                   "K ≠ V")

    assert grade(make(lambda S, k, v: S @ k, cases=sizes, mutants={}), f).headline == headline
