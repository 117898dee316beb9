"""The gradient of the queries, the kernel that lesson 12 works out."""

import torch
import triton
import triton.language as tl

from .forward import tile_of
from .tiles import memory, rows


@triton.jit
def dq_kernel(
    k_ptr, do_ptr, writes_ptr,                     # (B, T, H, K), (B, T, H, V) twice
    states_ptr,                                    # (B, H, N, V, K)
    dq_ptr,                                        # out: (B, T, H, K)
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per chunk and head: dQ = scale (dO S + dP K), dP = tril(dO X^T) (eq. 9.6)."""
    i, head, N = tl.program_id(0), tl.program_id(1), tl.cdiv(T, C)
    row = tl.arange(0, C)
    dP = tl.zeros((C, C), tl.float32)                                    # (C, C)       registers
    dq = tl.zeros((C, K), tl.float32)                                    # (C, K)       registers
    for v0 in range(0, V, V_TILE):
        # -- load --------------------------------------------------------------------------------------------------
        at_v, there = rows(head, i * C, T, H, V, C, v0, V_TILE)
        do = tl.load(do_ptr + at_v, mask=there, other=0.0)               # (C, V_TILE)  shared memory
        X = tl.load(writes_ptr + at_v, mask=there, other=0.0)            # (C, V_TILE)
        S = tl.load(states_ptr + memory(head * N + i, v0, V, K, V_TILE))                             # (V_TILE, K)
        # -- within the chunk, across chunks -----------------------------------------------------------------------
        dP = tl.dot(do, tl.trans(X), dP)                                 # (C, C)
        dq = tl.dot(do, S, dq)                                           # (C, K)
    # -- update, store ---------------------------------------------------------------------------------------------
    at_k, there = rows(head, i * C, T, H, K, C, 0, K)
    k = tl.load(k_ptr + at_k, mask=there, other=0.0)                     # (C, K)
    dP = tl.where(row[:, None] >= row[None, :], dP, 0.0)
    dq = tl.dot(dP.to(k.dtype), k, dq) * scale                           # (C, K)
    tl.store(dq_ptr + at_k, dq.to(k.dtype), mask=there)


def gradient_of_queries(k, do, X, states, scale, C):
    """The gradient of the queries, (B, T, H, K)."""
    (B, T, H, K), V, dq = k.shape, do.shape[3], torch.empty_like(k)
    tile, options = tile_of(do)
    dq_kernel[(triton.cdiv(T, C), B * H)](k, do, X, states, dq, scale, T, H, K, V, C, tile, **options)
    return dq
