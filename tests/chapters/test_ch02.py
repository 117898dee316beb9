"""Answers to the exercises of chapter 2, as readers write them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases


def by_mse_loss(S, k, v, beta):
    S = S.clone().requires_grad_()
    mse_loss(S @ k, v).backward()
    return (S - beta * S.grad).detach()


def run(step, results=lambda o, S: (o, S)):
    def loop(q, k, v, beta, S):
        o = []
        for t in range(len(k)):
            S = step(S, q[t], k[t], v[t], beta[t])
            o.append(S @ q[t])
        return results(torch.stack(o), S)
    return loop


def error_of_the_query(S, q, k, v, beta):
    return S - beta * torch.outer(S @ q - v, k)


def every_write_from_the_start(q, k, v, beta, S):
    o = []
    for t in range(len(k)):
        new = S + beta[t] * torch.outer(v[t] - S @ k[t], k[t])
        o.append(new @ q[t])
    return torch.stack(o), new


def right(S, q, k, v, beta):
    return S - beta * torch.outer(S @ k - v, k)


def one_write_less(q, k, v, beta, S):
    o = torch.zeros_like(v)
    o[0] = S @ q[0]
    for t in range(1, len(k)):
        S = S + torch.outer(beta[t - 1] * (v[t - 1] - S @ k[t - 1]), k[t - 1])
        o[t] = S @ q[t]
    return o, S


ANSWERS = {
    "2.1": {
        "right": [lambda S, k, v, beta: S + beta * (v - S @ k)[:, None] * k],
        "fades the whole memory": [lambda S, k, v, beta: (1 - beta) * S + beta * torch.outer(v, k)],
        "blends the wrong way round": [
            lambda S, k, v, beta: S + torch.outer(beta * (S @ k) + (1 - beta) * v - S @ k, k)],
        "erases without writing": [lambda S, k, v, beta: S - beta * torch.outer(S @ k, k)],
        "keeps only the new pair": [lambda S, k, v, beta: torch.outer(beta * v, k)],
        "writes with 1 - beta": [lambda S, k, v, beta: S - torch.outer(beta * (S @ k) - (1 - beta) * v, k)],
        "writes without the key": [lambda S, k, v, beta: S + beta * (v - S @ k)[:, None]],
        "caps beta at 1": [lambda S, k, v, beta: S - min(beta, 1) * torch.outer(S @ k - v, k)],
        "divides the erasure by the squared length": [
            lambda S, k, v, beta: S + beta * torch.outer(v - S @ (k / k.norm() ** 2), k)],
        "blends without erasing": [lambda S, k, v, beta: S + torch.outer(S @ k + beta * (v - S @ k), k)],
        "takes the old value out twice": [
            lambda S, k, v, beta: S - 2 * beta * torch.outer(S @ k, k) + beta * v[:, None] * k],
        "squares beta": [lambda S, k, v, beta: S - beta * torch.outer(beta * (S @ k - v), k)],
        "erases what it has just written": [
            lambda S, k, v, beta: (new := S + beta * torch.outer(v, k)) - beta * torch.outer(new @ k, k)],
        "scales each column by itself": [lambda S, k, v, beta: S - beta * S * k**2 + beta * v[:, None] * k],
        "takes the mean over the entries of v": [by_mse_loss],
        "takes the root of beta into the key": [
            lambda S, k, v, beta: S - torch.outer(S @ (beta.sqrt() * k) - v, beta.sqrt() * k)],
        "scales the whole memory": [lambda S, k, v, beta: S - beta * k.square().sum() * S + beta * v[:, None] * k],
    },
    "2.2": {
        "right": ["ECDABF", "e d c a b f"],
        "reads before it writes": ["EBCDAF"],
        "writes twice": ["ECDGABF"],
    },
    "2.3": {
        "right": [1, 1.0, torch.tensor(1), torch.tensor([1.0]), np.int64(1)],
        "drops the length from the write": [-1],
        "changes nothing": [10],
        "mirrors the error": [-2],
        "gives the size of the error": [3],
        "gives the change": [9],
        "gives the change, with its sign": [-9],
        "climbs instead of descending": [19],
    },
    "2.4": {
        "multiplies from the left": [
            lambda S, k, v, beta: S - beta * torch.outer(k, k) @ S + beta * torch.outer(v, k)],
        "takes the old value out twice": [
            lambda S, k, v, beta: S - beta * torch.outer(S @ k, k) + torch.outer(beta * (v - S @ k), k)],
        "scales the whole new memory": [
            lambda S, k, v, beta: (S - beta * torch.outer(S @ k, k)) * beta + beta * torch.outer(v, k)],
        "normalizes the key": [lambda S, k, v, beta: S + beta * torch.outer(v - S @ k / k.norm(), k / k.norm())],
        "fades the whole memory": [lambda S, k, v, beta: S * (1 - beta) + beta * v[:, None] * k],
        "takes the root of beta into the key": [
            lambda S, k, v, beta: S @ (torch.eye(len(k)) - beta * torch.outer(k, k)) + beta.sqrt() * torch.outer(v, k)],
    },
    "2.5": {
        "right": [run(right), run(right, lambda o, S: [o, S])],
        "takes the error from S q": [run(error_of_the_query)],
        "starts every write from the first memory": [every_write_from_the_start],
        "fades the whole memory": [run(lambda S, q, k, v, beta: (1 - beta) * S + beta * torch.outer(v, k))],
        "blends without erasing": [
            run(lambda S, q, k, v, beta: S + torch.outer(S @ k + beta * (v - S @ k), k))],
        "takes the old value out twice": [
            run(lambda S, q, k, v, beta: S - beta * torch.outer(2 * S @ k - v, k))],
        "climbs instead of descending": [run(lambda S, q, k, v, beta: S + beta * torch.outer(S @ k - v, k))],
        "writes along the query": [run(lambda S, q, k, v, beta: S - beta * torch.outer(S @ k - v, q))],
        "scales only the write by beta": [run(lambda S, q, k, v, beta: S + torch.outer(beta * v - S @ k, k))],
        "returns the memory first": [run(right, lambda o, S: (S, o))],
        "takes the root of beta into the key": [run(lambda S, q, k, v, beta: right(S, q, beta.sqrt() * k, v, 1))],
        "stops one write too early": [one_write_less],
    },
    "2.6": {
        "takes the root of the limit": [lambda k: 2**0.5 / k.norm(dim=-1).max()],
        "takes the 1-norm for the length": [lambda k: 2 / k.norm(p=1, dim=-1).max() ** 2],
    },
    "2.7": {
        "right": [lambda k, T: [1 / (t * (k @ k)) for t in range(1, T + 1)]],
        "caps the strengths at 1": [lambda k, T: [min(1 / (t * (k @ k)), 1) for t in range(1, T + 1)]],
        "makes two writes at full strength": [lambda k, T: [1 / (max(t, 1) * (k @ k)) for t in range(T)]],
        "grows where it should shrink": [lambda k, T: torch.arange(1, T + 1) / k.square().sum()],
        "takes the sum of the entries for the length": [lambda k, T: k.sum() ** -2 / torch.arange(1, T + 1)],
    },
    "2.8": {
        "right": [([(1, 0), (0.8, 0.6)], [1, -2]), (torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([1.0, -1.0]))],
        "leaves both memories right": [([(1.0, 0.0), (0.6, 0.8)], [0.0, 0.0]), ([(0.6, 0.8)] * 3, [0, 0, 0])],
        "leaves the delta rule right": [([(1, 0), (0.6, 0.8), (1, 0)], [1, -1, 1]), ([(1, 0), (-1, 0)], [2, -2])],
        "makes both equally wrong, after 3 pairs": [([(0, 1), (0.8, 0.6), (1, 0)], [-1, -0.3, 2])],
        "writes along the first key again": [
            ([(1, 0), (1, 0)], [3, -1]), ([(1, 0), (0.6, 0.8), (-1, 0)], [1, 1, 2]), ([(0, 1), (0, 1)], [0, -1])],
        "lets the delta rule win": [([(1, 0), (-0.6, 0.8)], [1, -1])],
        "lets the delta rule win, after 3 pairs": [([(1, 0), (0.6, 0.8), (0.6, 0.8)], [1, 3, 3])],
        "gives the first pair no value": [([(1.0, 0.0), (0.8, 0.6)], [0.0, 2.0])],
        "makes both equally wrong": [([(1.0, 0.0), (0.8, 0.6)], [-1.0, -0.4])],
    },
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


@pytest.mark.parametrize("answer, says", [
    (([(1.0, 0.0), (2.0, 0.0)], [1.0, 2.0]), "length 1"),
    (([(1.0, 0.0), (0.8, 0.8)], [1.0, 2.0]), "key 2 of yours has length 1.131371"),
    (([(1.0, 0.0)], [1.0, 2.0]), "v has shape (2,)"),
    ("both", "give a pair"),
])
def test_a_stream_that_cannot_be_read_says_what_is_missing(answer, says):
    verdict = grade(find("exercise", "2.8"), answer)
    assert verdict.state == "fail" and says in verdict.text
