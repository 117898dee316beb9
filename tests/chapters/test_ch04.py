"""Readers' answers to the exercises of chapter 4: wrong ones have their own names, right ones are right."""

import math

import pytest
import torch

from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict


def along(update):
    def f(S, k, beta):
        for k_t, beta_t in zip(k, beta):
            S = update(S, k_t, beta_t)
        return S
    return f


def keys_at(*angles):
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


def swap_keys(p, scale):
    """The right swaps for a permutation, the keys times `scale`; fails where nothing moves."""
    keys, where = [], list(range(len(p)))
    for place, column in enumerate(p.tolist()):
        other = where.index(column)
        if other != place:
            e = torch.eye(len(p), dtype=torch.float64)
            keys.append(scale * (e[place] - e[other]))
            where[place], where[other] = where[other], where[place]
    return torch.stack(keys)


@pytest.mark.parametrize("id, answer, name", [
    ("4.1", (-2, 0.5), "takes 5 for the read"),
    ("4.1", (-0.2, 0.8), "takes the number from every entry"),
    ("4.1", [-0.5, -1.0], "scales the whole memory"),
    ("4.1", (-0.2, -0.4), "takes out the memory in the place of the key"),
    ("4.1", (-0.0733, 1.4633), "divides by the length of the key once"),
    ("4.1", torch.tensor([-1.4, 0.8]), "right"),
    ("4.1", torch.tensor([[-1.4, 0.8]]), "right"),
    ("4.2", lambda X, k: X - 2 * (X @ k)[:, None] * k / k.norm() ** 4, "divides by the length four times"),
    ("4.2", lambda X, k: X + 2 * torch.outer(X @ k, k) / k.dot(k), "adds what it should take away"),
    ("4.2", lambda X, k: X - 2 * torch.outer(X @ k, k) * k.dot(k), "multiplies by the squared length"),
    ("4.2", lambda X, k: X - 2 * torch.outer(X @ (k / k.norm()), k / k.norm()), "right"),
    ("4.2", lambda X, k: X - 2 * torch.outer(X @ k, k / k.abs().max() ** 2), "takes the largest entry for the length"),
    ("4.2", lambda X, k: torch.stack([x / x.norm() - 2 * (x / x.norm() @ k) * k for x in X]),
     "normalizes the rows in the place of the key"),
    ("4.2", lambda X, k: torch.stack([(x - 2 * (x @ k) * k) * x.norm() / (x - 2 * (x @ k) * k).norm() for x in X]),
     "gives each row its length back"),
    ("4.2", lambda X, k: X - 2 * (X @ k)[:, None] / (k @ k), "forgets the key"),
    ("4.3", lambda k, beta, n: -torch.log(1 - beta * k @ k) / (n * k @ k), "takes the limit of many small writes"),
    ("4.3", lambda k, beta, n: (1 - torch.pow(1 - beta * k.norm() ** 2, 1 / n)) / k.norm() ** 2, "right"),
    ("4.4", along(lambda S, k, b: b * torch.outer(S @ k, k)), "keeps only what is taken out"),
    ("4.4", along(lambda S, k, b: S - b * torch.outer(b * S @ k, k)), "multiplies β in twice"),
    ("4.4", along(lambda S, k, b: S - b * (S @ k)[:, None]), "forgets the key"),
    ("4.4", along(lambda S, k, b: S @ (torch.eye(len(k)).double() - b * torch.outer(k, k))), "forms a K × K matrix"),
    ("4.4", along(lambda S, k, b: S - b * (S @ k)[:, None] * k), "right"),
    ("4.4", along(lambda S, k, b: S - b * torch.outer(k, S @ k)), "turns the outer product around"),
    ("4.5", "abe", "is wrong about d"),
    ("4.5", "ade", "is wrong about b"),
    ("4.5", "a, b", "is wrong about d, e"),
    ("4.5", "abcdef", "takes all of them"),
    ("4.5", "abcde", "is wrong about c"),
    ("4.5", ["e", "d", "b", "a"], "right"),
    ("4.6", lambda n: keys_at(0, 1 / n), "forgets π"),
    ("4.6", lambda n: keys_at(0, 360 / n), "writes the whole turn, in degrees"),
    ("4.6", lambda n: keys_at(1.0, 1.0 + math.pi / n).T, "gives the keys as columns"),
    ("4.6", lambda n: -keys_at(2.0, 2.0 + math.pi / n), "right"),
    ("4.7", "DEAB", "never makes a key"),
    ("4.7", "DCEA", "returns nothing"),
    ("4.8", lambda p: p[None].double().sub(torch.arange(len(p))) / max(p.sub(torch.arange(len(p))).double().norm(), 1)
     if p.sub(torch.arange(len(p))).any() else torch.zeros(0, len(p)).double(),
     "makes one mirror of the whole shuffle"),
    ("4.8", lambda p: list(swap_keys(p, 0.5**0.5)) if p.diff().ne(1).any() else [], "right"),
    ("4.8", lambda p: swap_keys(p, 0.5**0.5), "has no answer where nothing moves"),
    ("4.8", lambda p: swap_keys(p, 0.5) if p.diff().ne(1).any() else torch.zeros(0, len(p)).double(),
     "makes the keys too short"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)


def through_in_place(S, k, beta):
    for k_t, beta_t in zip(k, beta):
        S -= beta_t * torch.outer(S @ k_t, k_t)
    return S


def test_right_numbers_in_place_are_no_mistake_that_has_right_numbers():
    assert grade(find("exercise", "4.4"), through_in_place).headline == "it changes its input S in place"
