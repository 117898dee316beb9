"""Where tiles lie in memory: what the kernels of chapter 12 share.

Tensors are contiguous: (B, T, H, D), tokens are rows. `head` counts through batch and heads, head = b H + h. K,
V and C are powers of two from 16 on.
"""

import triton
import triton.language as tl

LEAST: tl.constexpr = tl.constexpr(2.0**-50)


@triton.jit
def rows(head, first, T, H, D: tl.constexpr, C: tl.constexpr, d0, WIDTH: tl.constexpr):
    """C tokens of one head in a tensor (B, T, H, D), from token `first` on, and of those WIDTH columns from `d0` on.

    Returns offsets (C, WIDTH), and which of the tokens there are, (C, 1).
    """
    start = ((head // H).to(tl.int64) * T + first) * H * D + head % H * D                   # B T H D may be large
    row, col = tl.arange(0, C)[:, None], d0 + tl.arange(0, WIDTH)[None, :]
    return start + row * (H * D) + col, first + row < T


@triton.jit
def memory(number, v0, V: tl.constexpr, K: tl.constexpr, V_TILE: tl.constexpr):
    """V_TILE rows, from `v0` on, of memory `number` in a tensor (..., V, K): offsets (V_TILE, K)."""
    row, col = v0 + tl.arange(0, V_TILE)[:, None], tl.arange(0, K)[None, :]
    return number.to(tl.int64) * V * K + row * K + col


@triton.jit
def tokens(head, first, T, H, C: tl.constexpr):
    """The same in a tensor (B, T, H): offsets (C,), and which of the tokens there are, (C,)."""
    row = tl.arange(0, C)
    return ((head // H).to(tl.int64) * T + first) * H + head % H + row * H, first + row < T


@triton.jit
def strengths(beta_ptr, head, first, T, H, C: tl.constexpr):
    """The beta of a chunk, (C,) in float32. What is nearer to 0 than 2^-50 becomes 2^-50 (eq. 12.3)."""
    at, there = tokens(head, first, T, H, C)
    beta = tl.load(beta_ptr + at, mask=there, other=1.0).to(tl.float32)
    return tl.where(tl.abs(beta) < LEAST, LEAST, beta)
