"""What the backward pass starts from: the package's forward pass, and chapter 11's sweep once more, for S and X."""

import torch
import triton
import triton.language as tl

from ...kernels import launches
from .tiles import memory, rows, strengths


def forward(q, k, v, beta, S, scale, C):
    """The package's forward kernels: o (B, T, H, V), the last memory (B, H, V, K), and stril(UT), (B, T, H, C)."""
    options = launches.Options(scale, normalize=False, sigmoid=False, precision="tf32x3", C=C, save=False, segments=1)
    out = launches.run_chunkwise(q, k, v, beta, S, None, *options)
    return out.o, out.final, out.UT_low


@triton.jit
def memories_kernel(
    k_ptr, v_ptr, beta_ptr, UT_low_ptr,            # (B, T, H, K), (B, T, H, V), (B, T, H), (B, T, H, C)
    initial_ptr,                                   # (B, H, V, K) float32
    states_ptr, writes_ptr,                        # out: S before each chunk, (B, H, N, V, K), and X, (B, T, H, V)
    T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per V_TILE rows of the memory and head, from the first chunk to the last."""
    v0, head, N = tl.program_id(0) * V_TILE, tl.program_id(1), tl.cdiv(T, C)
    S = tl.load(initial_ptr + memory(head, v0, V, K, V_TILE))            # (V_TILE, K)  registers, float32
    for i in range(0, N):
        # -- load --------------------------------------------------------------------------------------------------
        at_k, there = rows(head, i * C, T, H, K, C, 0, K)
        at_v, _ = rows(head, i * C, T, H, V, C, v0, V_TILE)
        at_UT, _ = rows(head, i * C, T, H, C, C, 0, C)
        k = tl.load(k_ptr + at_k, mask=there, other=0.0)                 # (C, K)       shared memory, as all
        v = tl.load(v_ptr + at_v, mask=there, other=0.0)                 # (C, V_TILE)
        UT_low = tl.load(UT_low_ptr + at_UT, mask=there, other=0.0)      # (C, C)
        beta = strengths(beta_ptr, head, i * C, T, H, C)                 # (C,)         registers
        # -- across chunks: what is wrong in the memory that enters ------------------------------------------------
        S_in = S.to(k.dtype)                                             # (V_TILE, K)
        R_t = tl.trans(v) - tl.dot(S_in, tl.trans(k))                    # (V_TILE, C)
        # -- within the chunk: what is written (eq. 8.6) -----------------------------------------------------------
        X_t = tl.dot(R_t.to(k.dtype), tl.trans(UT_low), R_t * beta[None, :]).to(k.dtype)             # (V_TILE, C)
        # -- update (eq. 8.4), store -------------------------------------------------------------------------------
        S = tl.dot(X_t, k, S)                                            # (V_TILE, K)
        tl.store(states_ptr + memory(head * N + i, v0, V, K, V_TILE), S_in)
        tl.store(writes_ptr + at_v, tl.trans(X_t), mask=there)


def memories(k, v, beta, UT_low, S):
    """The memory before each chunk, (B, H, N, V, K), and what is written, X: (B, T, H, V)."""
    (B, T, H, K), V, C = k.shape, v.shape[3], UT_low.shape[3]
    states, X = k.new_empty(B, H, triton.cdiv(T, C), V, K), torch.empty_like(v)
    tile, options = tile_of(v)
    memories_kernel[(V // tile, B * H)](k, v, beta, UT_low, S, states, X, T, H, K, V, C, tile, **options)
    return states, X


# -- tile sizes: wide and pipelined in half precision, small where results shall be exact ------------------------------

def tile_of(v):
    """How many columns of V, rows of a memory, a program takes at a time, and how it is compiled."""
    return (16, {}) if v.dtype == torch.float32 else (min(v.shape[3], 64), dict(num_warps=4, num_stages=2))
