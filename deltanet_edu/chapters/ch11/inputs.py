"""Inputs of the exercises of chapter 11, and what earlier stages of the build make of them."""

import torch

from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import Case
from ...tutor.cases import normal, strengths, unit_keys

SHAPES = {                                                               # smallest first: B, T, H, K, V
    "one token": (1, 1, 1, 16, 16),
    "one chunk": (1, 16, 1, 16, 16),
    "a tail, K ≠ V": (1, 37, 1, 32, 16),
    "two heads, a batch of two, a tail, K ≠ V": (2, 20, 2, 64, 32),      # neither of them C, which is 16
}
OF_THE_WHOLE = {                                                         # bytes are counted on the last
    "one token": (1, 1, 1, 16, 16), "a tail, K ≠ V": (1, 20, 1, 16, 32),
    "two heads, a batch of two": (2, 10, 2, 16, 32), "two heads, V = 128": (1, 10, 2, 16, 128),
    "150 tokens": (1, 150, 1, 64, 64),
}


def tokens(g, B, T, H, K, V):
    """q, k, v, beta in float32; keys of length 1 and, where there are two heads, of length 0.7 to 1.3."""
    q, v = (normal(g, B, T, H, D, dtype=torch.float32) for D in (K, V))
    k = unit_keys(g, B, T, H, K, dtype=torch.float32)
    if H > 1:
        k = k * (0.7 + 0.6 * torch.rand(B, T, H, 1, generator=g))
    return q, k, v, strengths(g, B, T, H, dtype=torch.float32)


def cases(arguments, shapes=SHAPES):
    """(g) -> cases; arguments(g, q, k, v, beta, C) are those of the answer, for chunks of C = 16."""
    return lambda g: [Case(arguments(g, *tokens(g, *shape), 16), note) for note, shape in shapes.items()]


def UT_low_of(k, beta, C):
    """stril(UT) of every chunk, as `inverse_kernel` lays it out: (B, T, H, C)."""
    B, T, H, _ = k.shape
    UT_low = torch.zeros(B, T, H, C, dtype=torch.float64)
    for first in range(0, T, C):
        keys, b = k[:, first:first + C].double(), beta[:, first:first + C].double()
        UT = ut_by_solve(keys.transpose(1, 2), b.transpose(1, 2))                                     # (B, H, C, C)
        UT_low[:, first:first + C, :, :UT.shape[-1]] = UT.tril(-1).transpose(1, 2)
    return UT_low.to(k.dtype)


def random_memories(g, q, v, C):
    """A memory that enters each chunk, (B, N, H, V, K), and writes (B, T, H, V): any numbers will do to read from."""
    (B, T, H, K), V = q.shape, v.shape[3]
    return normal(g, B, -(-T // C), H, V, K, dtype=torch.float32), normal(g, B, T, H, V, dtype=torch.float32)


def corners(UT_low):
    """Parts of UT_low, (B, T, H, C): which corner an entry lies in."""
    t, i = torch.arange(UT_low.shape[1])[:, None, None] % UT_low.shape[3], torch.arange(UT_low.shape[3])
    level = (t ^ i).float().log2().floor()                               # of the highest digit that differs
    return [(f"in corners of {2**l}", ((level == l) & (t > i)).expand(UT_low.shape)) for l in range(5)]


def chunks_alike(inputs, mine, theirs):
    """Whether two answers cut a text into the same chunks: it is one chunk for both, or they say the same C."""
    same = mine is not None and theirs is not None and mine.get("C") is not None and mine["C"] == theirs.get("C")
    return inputs[0].shape[1] <= 16 or same


# -- half precision: what is carried, and what float16 would lose of it ------------------------------------------------

def small_writes(distance):
    """(q, k, v, beta) in float16, beta in float32: to a memory of 1 every `distance` tokens add 2^-11, half of what
    float16 can tell from 1. All other tokens have a key of zeros."""
    k = torch.zeros(1, 6 * distance, 1, 16, dtype=torch.float16)
    beta = torch.full((1, 6 * distance, 1), 2.0**-11)
    k[:, ::distance, :, 0], beta[:, 0] = 1, 1
    v = torch.full_like(k, 2)                                            # twice what is there
    v[:, 0] = 1
    q = torch.zeros_like(k)
    q[..., 0] = 1
    return q, k, v, beta
