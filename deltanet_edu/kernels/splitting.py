"""Cutting a sequence into segments that run side by side, for when there are too few heads to fill the GPU.

Through a segment the memory goes as S_out = S_in M + b, because every token's step is linear in the memory (eq. 2.6). Both come
from sweeps that exist already: b is where an empty memory ends, M where the identity ends when all values are zero (V = K then).
A short scan gives each segment the memory that really enters it, and then all run at once. Gradients come back the same
way, dS_in = dS_out M^T + c. With P segments, that is three sweeps over a P-th of the chunks instead of one over all.

M needs no more precision than the sweeps have: its errors are those that the memory itself would collect on the same way.
"""

import torch


def bounds(B, T, P, C, device):
    """cu_seqlens of P segments for each of B sequences of length T, all of whole chunks but the last; some may be empty."""
    length = -(-T // (C * P)) * C
    starts = torch.arange(B, device=device)[:, None] * T + (torch.arange(P, device=device) * length).clamp(max=T)      # (B, P)
    return torch.cat([starts.flatten(), starts.new_full((1,), B * T)])


def scan(M, b, first, out, reverse=False):
    """What enters each segment, out: (B, P, H, V, K), if `first`, (B, H, V, K) or None for zeros, enters the first of them.
    M: (B, P, H, K, K), b: (B, P, H, V, K). In reverse, the gradient of what leaves each, if `first` is that of the last."""
    order = range(out.shape[1])
    for step, j in enumerate(reversed(order) if reverse else order):     # sequential, but only a matrix product a segment
        S = (torch.zeros_like(out[:, j]) if first is None else first) if step == 0 else (S @ M_j + b_j)
        out[:, j] = S
        M_j, b_j = M[:, j].mT if reverse else M[:, j], b[:, j]
    return out
