"""Readers' wrong answers that no catalogue has, one or two for each kind of evidence: what is said of them."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find


def step(S, k, v, beta):
    return S - beta * torch.outer(S @ k - v, k)


def loop(q, k, v, beta, S, rounds=lambda T: range(T), read=lambda S, o: (torch.stack(o), S), at=lambda t: t):
    o = []
    for t in rounds(len(k)):
        S = step(S, k[t], v[t], beta[at(t)])
        o.append(S @ q[t])
    return read(S, o)


def appends_in_the_inner_loop(k, v, beta):
    u = []
    for t in range(len(k)):
        already = torch.zeros_like(v[t])
        for i in range(t):
            already = already + u[i] * (k[i] @ k[t])
            u.append(beta[t] * (v[t] - already))
    return torch.stack(u)


def length_1(x):
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


SAID = {
    "one part of a solution": [
        ("2.4", lambda S, k, v, beta: S - beta * torch.outer(S @ k, k) - beta * torch.outer(v, k),
         "it subtracts `beta * torch.outer(v, k)`, which should be added"),
        ("2.4", lambda S, k, v, beta: S - beta * torch.outer(S @ k, k) + torch.outer(v, k) / beta, "divides by `beta`"),
        ("2.5", lambda q, k, v, beta, S: loop(q, k, v, beta, S, at=lambda t: t - 1), "`beta` one token late"),
        ("3.7", lambda S, k, v, beta: S + beta * torch.outer((S @ k + v) / (1 - beta * (k @ k)), k), "`v`"),
        ("1.4", lambda q, k, v, S: (q @ S.T + (q @ k.T).tril(1) @ v, S + v.T @ k), "it masks with `tril(1)`"),
    ],
    "a sign, not everywhere": [
        ("3.4", lambda dS, S, k, v, beta: ((v - S @ k) @ (dS @ k)).abs(), "its sign is flipped, in some cases"),
    ],
    "an argument where a result belongs": [
        ("2.5", lambda q, k, v, beta, S: loop(q, k, v, beta, S, read=lambda _, o: (torch.stack(o), S)),
         "its second result is S as it came in"),
    ],
    "one line of an order": [
        ("3.2", "BGEFAD", "line G does not belong"), ("3.2", "BEFACD", "line C does not belong"),
        ("5.4", "EDFBGC", "line A is missing"), ("8.4", "DFAHEC", "line C stands after the return"),
        ("4.7", "BDCEF", "after the return"), ("2.2", "ECDBF", "line A is missing"),
        ("4.7", "DCEB", "line A is missing"),
    ],
    "a step of a number's working": [
        ("5.1", 6.44, "`u1 * overlap_13`, which should be subtracted"), ("5.1", 2.0, "one gives `v1` itself"),
        ("16.6", 9344, "gives what the layer keeps"), ("16.6", 1152, "one "), ("9.1", 5.76, "divides by β"),
        ("3.1", -9.6, "the factor β = 0.25"),
    ],
    "an exception's meaning": [
        ("0.1", lambda S, v, k: S + v @ k, "it takes the dot product of vectors that do not fit"),
        ("5.2", appends_in_the_inner_loop, "inside of `for i in range(t)`, and it belongs after it"),
    ],
    "a mistake and a small epsilon": [
        ("16.3", lambda q, k, b: (length_1(q), length_1(k), b.sigmoid()), "it leaves SiLU out"),
        ("16.3", lambda q, k, b: (length_1(F.silu(q)), length_1(F.silu(k)), b), "it lets β be any number"),
    ],
    "nothing, by chance": [                                              # true of the numbers, but no reason
        ("2.3", 8, "not yet"), ("6.7", 2**41, "it is off by a factor of 8"), ("2.3", 2.5, "not yet"),
        ("3.1", -2.16, "not yet"), ("1.1", -0.4, "it is half the right number"),
        ("16.6", 35, "not yet"), ("16.6", 73, "not yet"),
    ],
}


@pytest.mark.parametrize("id, answer, said", [
    pytest.param(*row, id=f"{row[0]} {kind} {n}") for kind, rows in SAID.items() for n, row in enumerate(rows)])
def test_what_is_said(id, answer, said):
    verdict = grade(find("exercise", id), answer)
    assert verdict.state == "fail" and said in verdict.headline, verdict.text
    assert "Which unit" not in verdict.text and "an end counted" not in verdict.text
