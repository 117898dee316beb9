"""Answers to the exercises of chapter 1, as readers write them."""

from fractions import Fraction

import numpy as np
import torch
from torch.nn.functional import elu

from .answers import assert_verdict, cases


def features_unmasked(q, k):
    return (elu(q) + 1) @ (elu(k) + 1).T


def features(q, k):
    return features_unmasked(q, k).tril()


def with_eps(eps):
    def normalized(q, k, v):
        scores = features(q, k)
        return scores / (scores.sum(-1, keepdim=True) + eps) @ v
    return normalized


def normalized_keys(q, k, v):
    k = elu(k) + 1
    return torch.tril((elu(q) + 1) @ (k / k.sum(1)[:, None]).T) @ v


def memory_at_the_start(q, k, v, S):
    o = (q @ k.T).tril() @ v
    o[0] += S @ q[0]
    return o, S + v.T @ k


def masked_too_early(q, k, v):
    scores = elu(torch.where(torch.ones(len(q), len(q)).tril() > 0, q @ k.T, 0.0)) + 1
    return scores / scores.sum(-1, keepdim=True) @ v


def masked_with_ones(q, k, v):
    mask = torch.ones(len(q), len(q), dtype=q.dtype).tril()
    scores = (elu(q) + 1) @ (elu(k) + 1).T * mask
    return (scores @ v) / scores.sum(1)[:, None]


def stays_at_the_start(q, k, v, S):
    o = []
    for t in range(len(q)):
        now = S + torch.outer(v[t], k[t])
        o.append(now @ q[t])
    return torch.stack(o), S


def pairs_that_are_forgotten(q, k, v, S):
    o = []
    for q_t, k_t, v_t in zip(q, k, v):
        S_t = S + v_t[:, None] * k_t
        o.append(S_t @ q_t)
    return torch.stack(o), S_t


def one_pair_behind(q, k, v, S):
    o = []
    for t in range(len(q)):
        if t > 0:
            S = S + v[t - 1][:, None] * k[t - 1]
        o.append(S @ q[t])
    return torch.stack(o), S


def transposed_write(q, k, v, S):
    return (q @ k.T).tril() @ v + q @ S.T, S + k.T @ v


def slow_waves(x):
    directions = torch.eye(x.shape[1]).double()
    return torch.cat([(x @ directions / 2).cos(), (x @ directions / 2).sin()], -1)


def raw_queries(q, k, v):
    scores = torch.tril(q @ (1 + elu(k)).T)
    return (scores @ v) / scores.sum(1)[:, None]


def at_least_one(q, k, v):
    scores = features(q, k)
    return (scores @ v) / torch.clamp(scores.sum(1), min=1.0)[:, None]


ANSWERS = {
    "1.1": {
        "right": [-0.8, torch.tensor(-0.8), torch.tensor([-0.8]), np.float32(-0.8), Fraction(-4, 5)],
        "counts the first value in full": [1.2],
        "takes the other entry of the key": [-0.6],
        "gives the memory instead of the answer": [(1.4, -0.8), [1.4, -0.8], torch.tensor([[1.4, -0.8]])],
        "corrects while it writes": [-1.76],
        "averages with a softmax": [-0.0699],
        "averages with a scaled softmax": [0.0867],
        "takes exponentials of the overlaps": [-0.2255],
        "adds the overlap of the two keys": [0.4],
    },
    "1.2": {
        "forgets what was in the memory when it answers": [lambda k, v, q, S: (q @ k.T @ v, S + v.T @ k)],
        "returns the new pairs alone": [lambda k, v, q, S: (q @ S.T + q @ k.T @ v, v.T @ k)],
        "divides the questions by √K": [lambda k, v, q, S: ((q / q.shape[-1] ** 0.5) @ (S + v.T @ k).T, S + v.T @ k)],
        "returns the memory first": [lambda k, v, q, S: (S + v.T @ k, q @ (S + v.T @ k).T)],
    },
    "1.3": {
        "does not keep what it has written": [stays_at_the_start],
        "starts every write from the first memory": [pairs_that_are_forgotten],
        "stops one write too early": [one_pair_behind],
        "reads every token from the first memory": [
            lambda q, k, v, S: (torch.stack([S @ q_t for q_t in q]), S + torch.einsum("tv,tk->vk", v, k))],
    },
    "1.4": {
        "masks the product of K and V": [
            lambda q, k, v, S: (torch.einsum("tk,kv->tv", q, (k.T @ v).tril()) + q @ S.T, S + v.T @ k)],
        "divides the scores by √K": [
            lambda q, k, v, S: ((q @ k.T / q.shape[1] ** 0.5).tril() @ v + q @ S.T, S + v.T @ k)],
        "divides all that is read by √K": [
            lambda q, k, v, S: (((q @ k.T).tril() @ v + q @ S.T) / q.shape[1] ** 0.5, S + v.T @ k)],
        "asks the memory with the keys": [lambda q, k, v, S: ((q @ k.T).tril() @ v + k @ S.T, S + v.T @ k)],
        "writes k vᵀ, the transpose": [transposed_write],
        "masks with minus infinity": [
            lambda q, k, v, S: ((q @ k.T + torch.full((len(q),) * 2, -torch.inf).triu(1)) @ v + q @ S.T, S + v.T @ k)],
        "applies a softmax over the future as well": [
            lambda q, k, v, S: (torch.softmax(torch.einsum("tk,ik->ti", q, k), 1) @ v + q @ S.T, S + v.T @ k)],
        "reads the entering memory once": [memory_at_the_start],
        "turns the scores around": [lambda q, k, v, S: ((k @ q.T).triu() @ v + q @ S.T, S + v.T @ k)],
    },
    "1.5": {
        "still divides by a sum over the future": [
            lambda q, k, v: (s := features_unmasked(q, k)).tril() / s.sum(-1, keepdim=True) @ v],
        "divides columns by their whole sums": [
            lambda q, k, v: (s := features_unmasked(q, k)).tril() / s.sum(0, keepdim=True) @ v],
        "right": [masked_with_ones, with_eps(1e-6), with_eps(1e-8), with_eps(1e-12)],
        "masks before the feature map": [masked_too_early],
        "drops the feature map of the queries": [raw_queries],
        "clamps the divisor at 1": [at_least_one],
        "normalizes the features of each key": [normalized_keys],
        "divides columns by the sums of rows": [lambda q, k, v: features(q, k) / features(q, k).sum(-1) @ v],
        "adds 0.001 to the divisor": [with_eps(1e-3)],
        "divides by the number of tokens": [
            lambda q, k, v: features(q, k) @ v / torch.arange(1.0, len(q) + 1).double()[:, None]],
        "divides by running sums": [lambda q, k, v: features(q, k) / features(q, k).cumsum(1) @ v],
        "drops the 1 of the feature map": [
            lambda q, k, v: ((s := (elu(q) @ elu(k).T).tril()) / s.sum(1, keepdim=True)) @ v],
    },
    "1.6": {
        "right": ["DFACEB", "D F A E C B", list("dfaceb")],
        "never updates the memory": ["DFAEB"],
        "lets tokens see the rest of their chunk": ["DFGACEB"],
    },
    "1.7": {
        "makes every overlap positive": [slow_waves, lambda x: (x.repeat(1, 2).abs() + 1) ** 2],
        "makes every overlap positive, with K features": [torch.relu, lambda x: torch.softmax(x, -1)],
        "squares the entries, not the overlap": [lambda x: x**2, lambda x: torch.einsum("ni,ni->ni", x, x)],
        "has many features in K directions": [lambda x: x.repeat(1, x.shape[1])],
        "keeps K features": [torch.sin, lambda x: x],
        "returns a column for each key": [lambda x: (x[:, :, None] * x[:, None]).flatten(1).T],
        "leaves more room, but not twice as much": [lambda x: torch.cat([x, x**3], 1)],
        "returns a table for each key": [lambda x: torch.einsum("na,nb->nab", x, x)],
    },
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)
