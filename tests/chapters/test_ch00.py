"""Answers to the exercises of chapter 0, as readers write them."""

import torch

from .answers import assert_verdict, cases


def add_in_a_loop(S, v, k):
    S = S.clone()
    for i in range(len(v)):
        for j in range(len(k)):
            S[i, j] += v[i] * k[j]
    return S


def to_the_nearest_column(S, v, k):
    S = S.clone()
    S[:, int(torch.argmax(k))] = S[:, int(torch.argmax(k))] + v
    return S


def last_question(q, S):
    return torch.einsum("bhk,bhvk->bhv", q[:, -1], S)[:, None].expand(-1, q.shape[1], -1, -1)


def reshaped(q, S):
    B, T, H, K = q.shape
    return q.reshape(B, H, T, K) @ S.mT


def viewed(q, S):
    B, T, H, K = q.shape
    return (q.view(B, H, T, K) @ S.mT).transpose(1, 2)


def viewed_both_ways(q, S):
    B, T, H, K = q.shape
    return (q.contiguous().view(B, H, T, K) @ S.mT).reshape(B, T, H, -1)


def reshaped_back(q, S):
    B, T, H, _ = q.shape
    return (q.permute(0, 2, 1, 3) @ S.mT).reshape(B, T, H, S.shape[2])


def token_by_token(q, S):
    o = q.new_zeros(*q.shape[:3], S.shape[2])
    for t in range(q.shape[1]):
        o[:, t] = torch.einsum("bhvk,bhk->bhv", S, q[:, t])
    return o


ANSWERS = {
    "0.1": {
        "right": [add_in_a_loop, lambda S, v, k: S + torch.einsum("v,k->vk", v, k),
                  lambda S, v, k: S + v[:, None] @ k[None]],
        "writes k vᵀ, the transpose": [lambda S, v, k: S + k[:, None] * v[None, :]],
        "multiplies entry by entry": [lambda S, v, k: S + v * k],
        "writes without the value": [lambda S, v, k: S + k],
        "corrects instead of adding": [lambda S, v, k: S + torch.outer(v - S @ k, k)],
        "writes into the column of the largest entry": [to_the_nearest_column],
        "divides by the squared length of the key": [lambda S, v, k: S + torch.outer(v, k / k.norm() ** 2)],
        "adds value and key": [lambda S, v, k: S + v.reshape(-1, 1) + k.reshape(1, -1)],
        "takes a mean": [lambda S, v, k: 0.5 * (S + torch.outer(v, k))],
    },
    "0.2": {
        "right": [token_by_token, lambda q, S: (S[:, None] @ q[..., None])[..., 0]],
        "reshapes where it should transpose": [reshaped],
        "reshapes where it should transpose, and transposes back": [viewed],
        "reads only the last token": [last_question],
        "reads with the transposed memory": [lambda q, S: (q.permute(0, 2, 1, 3) @ S).permute(0, 2, 1, 3)],
        "reshapes both ways": [viewed_both_ways],
        "drops the heads": [lambda q, S: torch.einsum("bthk,bhvk->bthv", q, S).sum(2)],
        "adds up the tokens": [lambda q, S: torch.einsum("bthk,bhvk->bthv", q, S).sum(1)],
        "joins the heads": [lambda q, S: torch.einsum("bthk,bhvk->bthv", q, S).reshape(*q.shape[:2], -1)],
        "reshapes back where it should transpose back": [reshaped_back],
    },
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)
