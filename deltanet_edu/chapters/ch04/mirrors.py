"""Answers that are keys (4.6 and 4.8): many are right, so what their mirrors do is judged. And some wrong ones."""

import math

import torch

from ...ops.delta_rule.householder import apply_householder
from ...tutor import AnswerError
from ..common import real


def mirrored_by_all(S, keys):
    """S after one mirror a key, the first one first: (V, K)."""
    for k in keys:
        S = apply_householder(S, k, real(2.0))
    return S


def without_dust(x):
    """x without rounding errors, so that a failing case can be read."""
    return x.round(decimals=12) + 0.0


def as_keys(x, width):
    """The learner's keys as a float64 tensor (m, width), or a ValueError that says what they are instead."""
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64:
        raise ValueError(f"the keys are {str(x.dtype).removeprefix('torch.')}; give them dtype=torch.float64")
    try:
        k = torch.as_tensor(x, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"a {type(x).__name__} came back, expected keys as the rows of a tensor") from None
    if k.ndim != 2 or k.shape[1] != width:
        raise ValueError(f"the keys have shape {tuple(k.shape)}, expected (m, {width}), one key a row")
    return k


def hand_of(keys):
    """Where the hand (1, 0) stands after each of the first n hours, for the learner's two keys: (n, 2)."""
    if not callable(keys):
        raise AnswerError("give the function itself, not the result of calling it")

    def hand(n):
        k = as_keys(keys(n), 2)
        if len(k) != 2:
            raise ValueError(f"the keys have shape {tuple(k.shape)}, expected (2, 2): two mirrors an hour")
        if (k.norm(dim=-1) - 1).abs().max() > 1e-9:
            raise ValueError("a mirror with β = 2 needs keys of length 1")
        S, shown = real([[1.0, 0.0]]), []
        for _ in range(n):
            S = mirrored_by_all(S, k)
            shown.append(S[0])
        return without_dust(torch.stack(shown))

    hand.__wrapped__ = keys
    return hand


def turned(angle, n_first=lambda n: 0.0):
    def keys(n):
        a = real([n_first(n), n_first(n) + angle(n)])
        return torch.stack([a.cos(), a.sin()], -1)
    return keys


def shuffle_by(keys):
    """The product of the learner's mirrors and how many there are: the keys themselves are not unique."""
    if not callable(keys):
        raise AnswerError("give the function itself, not the result of calling it")

    def product(p):
        k = as_keys(keys(p), len(p))
        shuffled = mirrored_by_all(torch.eye(len(p), dtype=torch.float64), k)
        return {"product": without_dust(shuffled), "number of keys": len(k)}

    product.__wrapped__ = keys
    return product


def by_neighbors(p):
    """Bubble sort: right, with more mirrors than needed."""
    keys, p = [], p.tolist()
    for _ in p:
        for i in range(len(p) - 1):
            if p[i] > p[i + 1]:
                p[i], p[i + 1] = p[i + 1], p[i]
                k = torch.zeros(len(p), dtype=torch.float64)
                k[i], k[i + 1] = math.sqrt(0.5), -math.sqrt(0.5)
                keys.insert(0, k)
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def without_bookkeeping(p):
    e = torch.eye(len(p), dtype=torch.float64)
    keys = [(e[i] - e[int(p[i])]) * math.sqrt(0.5) for i in range(len(p)) if i < int(p[i])]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def with_a_swap_per_place(p):
    e = torch.eye(len(p), dtype=torch.float64)
    keys = [(e[int(p[i])] - e[i]) * math.sqrt(0.5) for i in range(len(p)) if i != int(p[i])]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)
