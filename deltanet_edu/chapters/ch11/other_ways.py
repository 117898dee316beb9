"""Right answers to 11.5 to 11.8 in other styles: by substitution, tokens turned around, in one launch, by tokens."""

import torch
import triton
import triton.language as tl

from .forward import corner, grow, load_rows, load_strengths, store_rows


@triton.jit
def inverse_by_corners(k_ptr, beta_ptr, UT_ptr, T, H, K: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr):
    """All corners in the whole of the tile: short, and most of what it multiplies is zeros."""
    program, N = tl.program_id(0), tl.cdiv(T, C)
    h, first, b = program % H, program // H % N * C, program // H // N
    head = b * T * H + h
    k, beta = load_rows(k_ptr + head * K, first, T, H * K, C, K), load_strengths(beta_ptr + head, first, T, H, C)
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    A, T1 = tl.dot(k, tl.trans(k)) * beta[:, None], tl.where(row == col, 1.0, 0.0)
    for level in tl.static_range(LEVELS):
        T1 = grow(T1, A, corner(row, col, level))
    store_rows(UT_ptr + head * C, tl.where(row > col, T1 * beta[None, :], 0.0), first, T, H * C, C, C)


@triton.jit
def inverse_by_substitution(k_ptr, beta_ptr, UT_ptr, T, H, K: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr):
    """Row by row (eq. 6.4)."""
    N = tl.cdiv(T, C)
    b, n, h = tl.program_id(0) // (N * H), tl.program_id(0) // H % N, tl.program_id(0) % H
    t = n * C + tl.arange(0, C)
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    at = (b * T + t) * H + h                                             # (C,)
    k = tl.load(k_ptr + at[:, None] * K + tl.arange(0, K)[None, :], mask=t[:, None] < T, other=0.0)
    beta = tl.load(beta_ptr + at, mask=t < T, other=0.0)
    A = tl.where(row > col, beta[:, None] * tl.dot(k, tl.trans(k)), 0.0)                             # (C, C)
    T1 = tl.where(row == col, 1.0, 0.0)
    for i in range(1, C):
        A_i = tl.sum(tl.where(row == i, A, 0.0), 0)                      # (C,)  row i
        T1 -= tl.where(row == i, tl.sum(A_i[:, None] * T1, 0)[None, :], 0.0)
    UT_low = tl.where(row == col, 0.0, T1 * beta[None, :])
    tl.store(UT_ptr + at[:, None] * C + col, UT_low, mask=t[:, None] < T)


@triton.jit
def inverse_upside_down(k_ptr, beta_ptr, UT_ptr, T, H, K: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr):
    """Keys as columns and an upper triangle; programs are numbered the other way around."""
    N = tl.cdiv(T, C)
    h, n, b = tl.program_id(0) // N % H, tl.program_id(0) % N, tl.program_id(0) // (N * H)
    t = n * C + tl.arange(0, C)
    i, j = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    at = (b * T + t) * H + h
    k_t = tl.load(k_ptr + at[None, :] * K + tl.arange(0, K)[:, None], mask=t[None, :] < T, other=0.0)        # (K, C)
    beta = tl.load(beta_ptr + at, mask=t < T, other=0.0)
    A_t = tl.dot(tl.trans(k_t), k_t) * beta[None, :]                     # (C, C)  its upper half is A transposed
    T1_t = tl.where(i == j, 1.0, 0.0)
    for level in tl.static_range(LEVELS):
        i_half, j_half = i // 2**level, j // 2**level                    # in which half block
        upper = (i_half // 2 == j_half // 2) & (i_half < j_half)
        T1_t = T1_t - tl.dot(T1_t, tl.dot(tl.where(upper, A_t, 0.0), T1_t))
    tl.store(UT_ptr + at[None, :] * C + i, tl.where(i < j, beta[:, None] * T1_t, 0.0), mask=t[None, :] < T)


@triton.jit
def memory_by_rows(k_ptr, v_ptr, beta_ptr, UT_ptr, states_ptr, X_ptr, T, H,
                   K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    """Tokens as rows, and UT in one piece; the memory is held as (K, V_TILE)."""
    i, tiles, N = tl.program_id(0), V // V_TILE, tl.cdiv(T, C)
    v0, h, b = i % tiles * V_TILE, i // tiles % H, i // tiles // H
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    S_t = tl.zeros((K, V_TILE), tl.float32)
    head = b * T * H + h
    for first in range(0, T, C):
        memory = states_ptr + ((b * N + first // C) * H + h) * V * K
        tl.store(memory + tl.arange(0, K)[:, None] + (v0 + tl.arange(0, V_TILE))[None, :] * K, S_t)
        k = load_rows(k_ptr + head * K, first, T, H * K, C, K)
        v = load_rows(v_ptr + head * V + v0, first, T, H * V, C, V_TILE)
        beta = load_strengths(beta_ptr + head, first, T, H, C)
        UT = load_rows(UT_ptr + head * C, first, T, H * C, C, C) + tl.where(row == col, beta[:, None], 0.0)
        X = tl.dot(UT, v - tl.dot(k, S_t))
        S_t += tl.dot(tl.trans(k), X)
        store_rows(X_ptr + head * V + v0, X, first, T, H * V, C, V_TILE)


@triton.jit
def memory_by_tokens(k_ptr, v_ptr, beta_ptr, UT_ptr, states_ptr, X_ptr, T, H,
                     K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    """One token a step (eq. 8.1); UT is not needed."""
    i, tiles = tl.program_id(0), V // V_TILE
    v0, h, b = i % tiles * V_TILE, i // tiles % H, i // tiles // H
    val, key = v0 + tl.arange(0, V_TILE), tl.arange(0, K)
    S = tl.zeros((V_TILE, K), tl.float32)
    for t in range(T):
        if t % C == 0:
            memory = states_ptr + ((b * tl.cdiv(T, C) + t // C) * H + h) * V * K
            tl.store(memory + val[:, None] * K + key[None, :], S)
        token = (b * T + t) * H + h
        k, v, beta = tl.load(k_ptr + token * K + key), tl.load(v_ptr + token * V + val), tl.load(beta_ptr + token)
        x = beta * (v - tl.sum(S * k[None, :], 1))
        S += x[:, None] * k[None, :]
        tl.store(X_ptr + token * V + val, x)


@triton.jit
def output_by_columns(q_ptr, k_ptr, states_ptr, X_ptr, o_ptr, scale, T, H,
                      K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    N = tl.cdiv(T, C)
    h, first, b = tl.program_id(0) % H, tl.program_id(0) // H % N * C, tl.program_id(0) // (H * N)
    head = b * T * H + h
    q = scale * load_rows(q_ptr + head * K, first, T, H * K, C, K)
    k = load_rows(k_ptr + head * K, first, T, H * K, C, K)
    X = load_rows(X_ptr + head * V, first, T, H * V, C, V)
    memory = states_ptr + ((b * N + first // C) * H + h) * V * K
    S = tl.load(memory + tl.arange(0, V)[:, None] * K + tl.arange(0, K)[None, :])
    t = tl.arange(0, C)
    P_t = tl.dot(k, tl.trans(q)) * (t[:, None] <= t[None, :])            # (C, C)
    O_t = tl.dot(tl.trans(X), P_t) + tl.dot(S, tl.trans(q))              # (V, C)
    store_rows(o_ptr + head * V, tl.trans(O_t), first, T, H * V, C, V)


@triton.jit
def output_by_value(q_ptr, k_ptr, states_ptr, X_ptr, o_ptr, scale, T, H,
                    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    """A token at a time from the memory that enters (eq. 8.3), in sums instead of products."""
    N = tl.cdiv(T, C)
    h, n, b = tl.program_id(0) % H, tl.program_id(0) // H % N, tl.program_id(0) // (H * N)
    val, key = tl.arange(0, V), tl.arange(0, K)
    S = tl.load(states_ptr + ((b * N + n) * H + h) * V * K + val[:, None] * K + key[None, :])
    for t in range(n * C, min(n * C + C, T)):
        token = (b * T + t) * H + h
        S += tl.load(X_ptr + token * V + val)[:, None] * tl.load(k_ptr + token * K + key)[None, :]
        tl.store(o_ptr + token * V + val, scale * tl.sum(S * tl.load(q_ptr + token * K + key)[None, :], 1))


# -- the whole in one launch -------------------------------------------------------------------------------------------

@triton.jit
def chunks_kernel(q_ptr, k_ptr, v_ptr, beta_ptr, o_ptr, scale, T, H, K: tl.constexpr, V: tl.constexpr,
                  C: tl.constexpr, LEVELS: tl.constexpr):
    """The inverse inside, tokens as rows: what the lesson calls simple."""
    head = tl.program_id(0).to(tl.int64) // H * T * H + tl.program_id(0) % H
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    S = tl.zeros((V, K), tl.float32)
    for first in range(0, T, C):
        q = load_rows(q_ptr + head * K, first, T, H * K, C, K)
        k = load_rows(k_ptr + head * K, first, T, H * K, C, K)
        v = load_rows(v_ptr + head * V, first, T, H * V, C, V)
        beta = load_strengths(beta_ptr + head, first, T, H, C)
        A, T1 = tl.dot(k, tl.trans(k)) * beta[:, None], tl.where(row == col, 1.0, 0.0)
        for level in tl.static_range(LEVELS):
            T1 = grow(T1, A, corner(row, col, level))
        S_in = tl.trans(S.to(k.dtype))                                   # (K, V)
        R = beta[:, None] * (v - tl.dot(k, S_in))
        X = tl.dot(T1.to(k.dtype), R.to(k.dtype)).to(k.dtype)            # (C, V)
        P = tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0).to(k.dtype)
        O = tl.dot(q, S_in) + tl.dot(P, X)
        store_rows(o_ptr + head * V, scale * O, first, T, H * V, C, V)
        S += tl.dot(tl.trans(X), k)


def in_one_launch(q, k, v, beta, scale=1.0):
    (B, T, H, K), V, C = q.shape, v.shape[3], min(q.shape[3], 64)
    o = torch.empty_like(v)
    chunks_kernel[(B * H,)](q, k, v, beta, o, scale, T, H, K, V, C, C.bit_length() - 1, num_warps=8)
    return o


@triton.jit
def tokens_kernel(q_ptr, k_ptr, v_ptr, beta_ptr, o_ptr, scale, T, H, K: tl.constexpr, V: tl.constexpr):
    S = tl.zeros((V, K), tl.float32)
    for t in range(T):
        token = (tl.program_id(0) // H * T + t) * H + tl.program_id(0) % H
        q, k = tl.load(q_ptr + token * K + tl.arange(0, K)), tl.load(k_ptr + token * K + tl.arange(0, K))
        wrong = tl.load(v_ptr + token * V + tl.arange(0, V)) - tl.sum(S * k[None, :], 1)
        S += tl.load(beta_ptr + token) * wrong[:, None] * k[None, :]
        tl.store(o_ptr + token * V + tl.arange(0, V), scale * tl.sum(S * q[None, :], 1))


def one_token_a_step(q, k, v, beta, scale=1.0):
    B, T, H, K = q.shape
    o = torch.empty_like(v)
    tokens_kernel[(B * H,)](q, k, v, beta, o, scale, T, H, K, v.shape[3])
    return o
