"""The delta rule one token at a time, with the memory in registers: a step of decoding, and the baseline to beat.

    e_t = v_t - S_{t-1} k_t        x_t = beta_t e_t        S_t = S_{t-1} + x_t k_t^T        o_t = scale * S_t q_t      (eq. 2.4)

Backward, from the last token to the first, with D the gradient of S_t (eq. 3.5; G, dX as in `backward.py`):

    D += scale * do_t q_t^T        g_t = D k_t             dv_t = beta_t g_t                dbeta_t = g_t . e_t
    dk_t = D^T x_t - S_{t-1}^T dv_t                        dq_t = scale * S_t^T do_t        D -= dv_t k_t^T

S runs forward and D backward in time, so each has a kernel. A program keeps V_TILE rows of the memory, as in `forward.py`;
what a token's q, k and beta get from each program is stored apart and added up afterwards, so that the result never
depends on which program was first.
"""

import triton
import triton.language as tl

from .tiles import sequence


@triton.jit
def place(T, H, cu_seqlens, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr):
    """Where this program works: first token, length, head, its part of V, the rows and columns it holds, its place in a memory."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    program = tl.program_id(0)
    part, h, i_seq = program % V_TILES, program // V_TILES % H, program // (V_TILES * H)
    start, length, _ = sequence(i_seq, T, cu_seqlens, 16)
    val, col = part * V_TILE + tl.arange(0, V_TILE), tl.arange(0, triton.next_power_of_2(K))
    at_state = (i_seq.to(tl.int64) * H + h) * V * K + val[:, None] * K + col[None, :]
    return start, length, h, part, val, col, at_state


@triton.jit
def recurrent_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr,                 # (B, T, H, K) twice, (B, T, H, V), (B, T, H) float32; all contiguous
    initial_ptr,                                   # (N, H, V, K) or None: the memory starts empty
    o_ptr, final_ptr,                              # out: (B, T, H, V), (N, H, V, K) float32; may be initial_ptr itself
    errors_ptr,                                    # out: e, (B, T, H, V) float32, for the backward pass; or None
    cu_seqlens, scale, T, H,
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    start, length, h, part, val, col, at_state = place(T, H, cu_seqlens, K, V, V_TILE)
    in_v, in_k = val < V, col < K
    in_state = in_v[:, None] & in_k[None, :]
    S = tl.zeros_like(at_state).to(tl.float32)                           # (V_TILE, K)  registers
    if initial_ptr is not None:
        S += tl.load(initial_ptr + at_state, mask=in_state, other=0.0)
    for t in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + t) * H + h
        q = tl.load(q_ptr + at * K + col, mask=in_k, other=0.0).to(tl.float32)                           # (K,)
        k = tl.load(k_ptr + at * K + col, mask=in_k, other=0.0).to(tl.float32)                           # (K,)
        v = tl.load(v_ptr + at * V + val, mask=in_v, other=0.0).to(tl.float32)                           # (V_TILE,)
        beta = tl.load(beta_ptr + at)
        # -- update --------------------------------------------------------------------------------------------------
        error = v - tl.sum(S * k[None, :], 1)                                                            # (V_TILE,)
        S += (beta * error)[:, None] * k[None, :]
        o = tl.sum(S * q[None, :], 1) * scale                                                            # (V_TILE,)
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(o_ptr + at * V + val, o.to(o_ptr.dtype.element_ty), mask=in_v)
        if errors_ptr is not None:
            tl.store(errors_ptr + at * V + val, error, mask=in_v)
    tl.store(final_ptr + at_state, S, mask=in_state)


@triton.jit
def recurrent_reverse_kernel(
    q_ptr, k_ptr, beta_ptr, errors_ptr, do_ptr,    # as above; do: (B, T, H, V)
    d_final_ptr,                                   # (N, H, V, K) float32, or None
    dv_ptr, dk_parts_ptr, dbeta_parts_ptr,         # out: (B, T, H, V), (parts, B, T, H, K), (parts, B, T, H); float32
    d_initial_ptr,                                 # out: (N, H, V, K) float32, or None
    cu_seqlens, scale, T, H, tokens,
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """D from the last token to the first, and what needs D only."""
    start, length, h, part, val, col, at_state = place(T, H, cu_seqlens, K, V, V_TILE)
    in_v, in_k = val < V, col < K
    in_state = in_v[:, None] & in_k[None, :]
    D = tl.zeros_like(at_state).to(tl.float32)                           # (V_TILE, K)  registers
    if d_final_ptr is not None:
        D += tl.load(d_final_ptr + at_state, mask=in_state, other=0.0)
    for step in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + length - 1 - step) * H + h
        q = tl.load(q_ptr + at * K + col, mask=in_k, other=0.0).to(tl.float32)                           # (K,)
        k = tl.load(k_ptr + at * K + col, mask=in_k, other=0.0).to(tl.float32)                           # (K,)
        do = tl.load(do_ptr + at * V + val, mask=in_v, other=0.0).to(tl.float32)                         # (V_TILE,)
        error = tl.load(errors_ptr + at * V + val, mask=in_v, other=0.0)                                 # (V_TILE,)
        beta = tl.load(beta_ptr + at)
        # -- update --------------------------------------------------------------------------------------------------
        D += (scale * do)[:, None] * q[None, :]
        g = tl.sum(D * k[None, :], 1)                                                                    # (V_TILE,)
        dk = tl.sum(D * (beta * error)[:, None], 0)                                                      # (K,)  one of its two terms
        D -= (beta * g)[:, None] * k[None, :]
        # -- store ---------------------------------------------------------------------------------------------------
        at_part = part.to(tl.int64) * tokens * H + at
        tl.store(dv_ptr + at * V + val, beta * g, mask=in_v)
        tl.store(dk_parts_ptr + at_part * K + col, dk, mask=in_k)
        tl.store(dbeta_parts_ptr + at_part, tl.sum(g * error, 0))
    if d_initial_ptr is not None:
        tl.store(d_initial_ptr + at_state, D, mask=in_state)


@triton.jit
def recurrent_replay_kernel(
    k_ptr, beta_ptr, errors_ptr, do_ptr, dv_ptr, initial_ptr,            # as above
    dq_parts_ptr,                                                        # out: (parts, B, T, H, K) float32
    dk_parts_ptr,                                                        # in and out: the other term is added
    cu_seqlens, scale, T, H, tokens,
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """S from the first token to the last, replayed from the errors, and what needs S only."""
    start, length, h, part, val, col, at_state = place(T, H, cu_seqlens, K, V, V_TILE)
    in_v, in_k = val < V, col < K
    S = tl.zeros_like(at_state).to(tl.float32)                           # (V_TILE, K)  registers
    if initial_ptr is not None:
        S += tl.load(initial_ptr + at_state, mask=in_v[:, None] & in_k[None, :], other=0.0)
    for t in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        at = (start + t) * H + h
        at_part = (part.to(tl.int64) * tokens * H + at) * K + col
        k = tl.load(k_ptr + at * K + col, mask=in_k, other=0.0).to(tl.float32)                           # (K,)
        do = tl.load(do_ptr + at * V + val, mask=in_v, other=0.0).to(tl.float32)                         # (V_TILE,)
        dv = tl.load(dv_ptr + at * V + val, mask=in_v, other=0.0)                                        # (V_TILE,)
        error = tl.load(errors_ptr + at * V + val, mask=in_v, other=0.0)                                 # (V_TILE,)
        beta = tl.load(beta_ptr + at)
        # -- update --------------------------------------------------------------------------------------------------
        dk = tl.load(dk_parts_ptr + at_part, mask=in_k, other=0.0) - tl.sum(S * dv[:, None], 0)          # (K,)
        S += (beta * error)[:, None] * k[None, :]
        dq = tl.sum(S * (scale * do)[:, None], 0)                                                        # (K,)
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(dq_parts_ptr + at_part, dq, mask=in_k)
        tl.store(dk_parts_ptr + at_part, dk, mask=in_k)
