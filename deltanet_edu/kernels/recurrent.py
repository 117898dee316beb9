"""The delta rule one token at a time, with the memory in registers: the baseline to beat, and the step of decoding.

    e_t = v_t - S_{t-1} k_t          S_t = S_{t-1} + beta_t e_t k_t^T        o_t = scale * S_t q_t             (eq. 2.4)

Backward (eq. 3.3 to 3.6, with the other sign of e), where dS_t is the gradient of S_t:

    dS_t = dS_{t+1} - dv_{t+1} k_{t+1}^T + scale * do_t q_t^T
    dv_t = beta_t dS_t k_t           dbeta_t = (dS_t k_t) . e_t
    dq_t = scale * S_t^T do_t        dk_t = beta_t dS_t^T e_t - S_{t-1}^T dv_t

dS runs backward in time and S forward, so each has a kernel. A program keeps V_TILE rows of the memory. What a token's
q, k and beta get from several programs is stored apart and summed afterwards: no result depends on which was first.
"""

import triton
import triton.language as tl

from .tiles import at_state, sequence


@triton.jit
def place(T, H, cu_seqlens, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr):
    """What a program works on: first token, length, head, its part of V, rows and columns of the memory,
    their offsets and mask."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    width: tl.constexpr = triton.next_power_of_2(K)
    program = tl.program_id(0)
    part, h, i_seq = program % V_TILES, program // V_TILES % H, program // (V_TILES * H)
    start, length, _ = sequence(i_seq, T, cu_seqlens, 16)                # any chunk length: there are no chunks here
    at, in_state = at_state(part * V_TILE, K, V, V_TILE, width)
    memory = (i_seq.to(tl.int64) * H + h) * V * K + at
    return start, length, h, part, part * V_TILE + tl.arange(0, V_TILE), tl.arange(0, width), memory, in_state


@triton.jit
def vector(ptr, at, D: tl.constexpr, index):
    """Row `at` of a tensor whose last dimension is D, K or V, in float32; index: tl.arange up to a power of two."""
    return tl.load(ptr + at * D + index, mask=index < D, other=0.0).to(tl.float32)


@triton.jit
def recurrent_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr,         # (B, T, H, K) twice, (B, T, H, V), (B, T, H); all contiguous
    initial_ptr,                           # (N, H, V, K) float32; None: the memory starts empty
    o_ptr, final_ptr,                      # out: (B, T, H, V); (N, H, V, K), which may be initial_ptr itself
    errors_ptr,                            # out: e, (B, T, H, V) float32, for the backward pass; None: not wanted
    cu_seqlens, scale, T, H,               # (N + 1,), see tiles.py, or None; a factor on q; length of a sequence; heads
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """S from the first token to the last, and what each token reads. One program per sequence, head and V_TILE rows of
    the memory."""
    start, length, h, part, val, col, memory, in_state = place(T, H, cu_seqlens, K, V, V_TILE)
    S = tl.zeros_like(in_state).to(tl.float32)                           # (V_TILE, K)  registers
    if initial_ptr is not None:
        S += tl.load(initial_ptr + memory, mask=in_state, other=0.0)
    for t in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + t) * H + h
        q, k = vector(q_ptr, at, K, col), vector(k_ptr, at, K, col)                                      # (K,)
        v = vector(v_ptr, at, V, val)                                                                    # (V_TILE,)
        beta = tl.load(beta_ptr + at).to(tl.float32)
        # -- update --------------------------------------------------------------------------------------------------
        error = v - tl.sum(S * k[None, :], 1)                                                            # (V_TILE,)
        S += (beta * error)[:, None] * k[None, :]
        o = tl.sum(S * q[None, :], 1) * scale                                                            # (V_TILE,)
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(o_ptr + at * V + val, o.to(o_ptr.dtype.element_ty), mask=val < V)
        if errors_ptr is not None:
            tl.store(errors_ptr + at * V + val, error, mask=val < V)
    tl.store(final_ptr + memory, S, mask=in_state)


@triton.jit
def recurrent_reverse_kernel(
    q_ptr, k_ptr, beta_ptr, errors_ptr, do_ptr,    # as above; do: (B, T, H, V)
    d_final_ptr,                                   # (N, H, V, K) float32; None: zeros
    dv_ptr, dk_parts_ptr, dbeta_parts_ptr,         # out: (B, T, H, V), (parts, B, T, H, K), (parts, B, T, H); float32
    d_initial_ptr,                                 # out: (N, H, V, K) float32; None: not wanted
    cu_seqlens, scale, T, H, tokens,               # as above; B T
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """dS from the last token to the first, and all that needs dS only."""
    start, length, h, part, val, col, memory, in_state = place(T, H, cu_seqlens, K, V, V_TILE)
    dS = tl.zeros_like(in_state).to(tl.float32)                          # (V_TILE, K)  registers
    if d_final_ptr is not None:
        dS += tl.load(d_final_ptr + memory, mask=in_state, other=0.0)
    for step in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + length - 1 - step) * H + h
        at_part = part.to(tl.int64) * tokens * H + at
        q, k = vector(q_ptr, at, K, col), vector(k_ptr, at, K, col)                                      # (K,)
        do, error = vector(do_ptr, at, V, val), vector(errors_ptr, at, V, val)                           # (V_TILE,)
        beta = tl.load(beta_ptr + at).to(tl.float32)
        # -- update --------------------------------------------------------------------------------------------------
        dS += (scale * do)[:, None] * q[None, :]
        dS_k = tl.sum(dS * k[None, :], 1)                                             # (V_TILE,)
        dk = tl.sum(dS * (beta * error)[:, None], 0)                                  # (K,)  the first of its two terms
        dS -= (beta * dS_k)[:, None] * k[None, :]
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(dv_ptr + at * V + val, beta * dS_k, mask=val < V)
        tl.store(dk_parts_ptr + at_part * K + col, dk, mask=col < K)
        tl.store(dbeta_parts_ptr + at_part, tl.sum(dS_k * error, 0))
    if d_initial_ptr is not None:
        tl.store(d_initial_ptr + memory, dS, mask=in_state)


@triton.jit
def recurrent_replay_kernel(
    k_ptr, beta_ptr, errors_ptr, do_ptr, dv_ptr, initial_ptr,            # as above
    dq_parts_ptr, dk_parts_ptr,                         # out: (parts, B, T, H, K); in and out: the second term is added
    cu_seqlens, scale, T, H, tokens,
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """S from the first token to the last, replayed from the errors, and all that needs S."""
    start, length, h, part, val, col, memory, in_state = place(T, H, cu_seqlens, K, V, V_TILE)
    S = tl.zeros_like(in_state).to(tl.float32)                           # (V_TILE, K)  registers
    if initial_ptr is not None:
        S += tl.load(initial_ptr + memory, mask=in_state, other=0.0)
    for t in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + t) * H + h
        at_part = part.to(tl.int64) * tokens * H + at
        k, dk = vector(k_ptr, at, K, col), vector(dk_parts_ptr, at_part, K, col)                         # (K,)
        do, dv = vector(do_ptr, at, V, val), vector(dv_ptr, at, V, val)                                  # (V_TILE,)
        error = vector(errors_ptr, at, V, val)
        # -- update --------------------------------------------------------------------------------------------------
        dk -= tl.sum(S * dv[:, None], 0)
        S += (tl.load(beta_ptr + at).to(tl.float32) * error)[:, None] * k[None, :]
        dq = tl.sum(S * (scale * do)[:, None], 0)                                                        # (K,)
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(dq_parts_ptr + at_part * K + col, dq, mask=col < K)
        tl.store(dk_parts_ptr + at_part * K + col, dk, mask=col < K)
