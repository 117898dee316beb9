"""The kernels that a reader of chapter 11 writes: the inverse, the memory, the outputs, and the last two in one."""

import torch
import triton
import triton.language as tl


@triton.jit
def load_rows(ptr, first, T, stride, C: tl.constexpr, D: tl.constexpr):
    t, d = first + tl.arange(0, C), tl.arange(0, D)
    return tl.load(ptr + t[:, None] * stride + d[None, :], mask=(t < T)[:, None], other=0.0)         # (C, D)


@triton.jit
def store_rows(ptr, x, first, T, stride, C: tl.constexpr, D: tl.constexpr):
    t, d = first + tl.arange(0, C), tl.arange(0, D)
    tl.store(ptr + t[:, None] * stride + d[None, :], x.to(ptr.dtype.element_ty), mask=(t < T)[:, None])


@triton.jit
def load_strengths(ptr, first, T, stride, C: tl.constexpr):
    t = first + tl.arange(0, C)
    return tl.load(ptr + t * stride, mask=t < T, other=0.0).to(tl.float32)                           # (C,)


# -- 11.5 --------------------------------------------------------------------------------------------------------------

@triton.jit
def corner(row, col, level: tl.constexpr):
    return ((row >> level) % 2 == 1) & (col >> level == (row >> level) - 1)


@triton.jit
def grow(T1, A, where):
    return T1 - tl.dot(tl.dot(T1, tl.where(where, A, 0.0)), T1)          # eq. 11.2


@triton.jit
def inverse_kernel(k_ptr, beta_ptr, UT_ptr, T, H, K: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr):
    program, N = tl.program_id(0), tl.cdiv(T, C)
    h, first, b = program % H, program // H % N * C, (program // H // N).to(tl.int64)
    head = b * T * H + h                                                 # the first token of this head
    # -- load
    k = load_rows(k_ptr + head * K, first, T, H * K, C, K)               # (C, K)
    beta = load_strengths(beta_ptr + head, first, T, H, C)               # (C,)
    # -- within the chunk: small corners in blocks of 16 x 16, stacked
    A = tl.dot(k, tl.trans(k)) * beta[:, None]                           # (C, C)  its lower half is A, eq. 6.2
    m: tl.constexpr = C // 16
    same = tl.arange(0, m)[:, None, None, None] == tl.arange(0, m)[None, None, :, None]
    A16 = tl.sum(tl.where(same, tl.reshape(A, (m, 16, m, 16)), 0.0), 2)  # (m, 16, 16)
    i, j = tl.arange(0, 16)[None, :, None], tl.arange(0, 16)[None, None, :]
    T16 = tl.where(i == j, 1.0, tl.where(corner(i, j, 0), -A16, 0.0))
    for level in tl.static_range(1, 4):
        T16 = grow(T16, A16, corner(i, j, level))
    # -- and the large ones in the whole
    T1 = tl.reshape(tl.where(same, tl.reshape(T16, (m, 16, 1, 16)), 0.0), (C, C))
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    for level in tl.static_range(4, LEVELS):
        T1 = grow(T1, A, corner(row, col, level))
    # -- store
    UT_low = tl.where(row > col, T1 * beta[None, :], 0.0)
    store_rows(UT_ptr + head * C, UT_low, first, T, H * C, C, C)


# -- 11.6 --------------------------------------------------------------------------------------------------------------

@triton.jit
def memory_kernel(k_ptr, v_ptr, beta_ptr, UT_ptr, states_ptr, X_ptr, T, H,
                  K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    program, tiles, N = tl.program_id(0), V // V_TILE, tl.cdiv(T, C)
    v0, h, b = program % tiles * V_TILE, program // tiles % H, (program // tiles // H).to(tl.int64)
    head = b * T * H + h
    at = (v0 + tl.arange(0, V_TILE))[:, None] * K + tl.arange(0, K)[None, :]                         # in one memory
    S = tl.zeros((V_TILE, K), tl.float32)                                # (V_TILE, K)
    for n in range(0, N):
        # -- load
        k = load_rows(k_ptr + head * K, n * C, T, H * K, C, K)           # (C, K)
        v = load_rows(v_ptr + head * V + v0, n * C, T, H * V, C, V_TILE)                             # (C, V_TILE)
        UT_low = load_rows(UT_ptr + head * C, n * C, T, H * C, C, C)     # (C, C)
        beta = load_strengths(beta_ptr + head, n * C, T, H, C)           # (C,)
        # -- across chunks
        tl.store(states_ptr + ((b * N + n) * H + h) * V * K + at, S)
        R_t = tl.trans(v) - tl.dot(S.to(k.dtype), tl.trans(k))           # (V_TILE, C)
        # -- within the chunk
        X_t = tl.dot(R_t.to(k.dtype), tl.trans(UT_low), R_t * beta[None, :]).to(k.dtype)             # (V_TILE, C)
        # -- update
        S = tl.dot(X_t, k, S)                                            # (V_TILE, K)
        # -- store
        store_rows(X_ptr + head * V + v0, tl.trans(X_t), n * C, T, H * V, C, V_TILE)


# -- 11.7 --------------------------------------------------------------------------------------------------------------

@triton.jit
def output_kernel(q_ptr, k_ptr, states_ptr, X_ptr, o_ptr, scale, T, H,
                  K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    program, N = tl.program_id(0), tl.cdiv(T, C)
    h, n, b = program % H, program // H % N, (program // H // N).to(tl.int64)
    head = b * T * H + h
    # -- load
    q = load_rows(q_ptr + head * K, n * C, T, H * K, C, K)               # (C, K)
    k = load_rows(k_ptr + head * K, n * C, T, H * K, C, K)               # (C, K)
    X = load_rows(X_ptr + head * V, n * C, T, H * V, C, V)               # (C, V)
    at = tl.arange(0, V)[:, None] * K + tl.arange(0, K)[None, :]
    S = tl.load(states_ptr + ((b * N + n) * H + h) * V * K + at)         # (V, K)  the memory that enters the chunk
    # -- within the chunk
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    P = tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0).to(q.dtype)    # (C, C)
    # -- across chunks
    O = tl.dot(q, tl.trans(S.to(q.dtype)))                               # (C, V)
    O = tl.dot(P, X, O)
    # -- store
    store_rows(o_ptr + head * V, O * scale, n * C, T, H * V, C, V)


# -- 11.8 --------------------------------------------------------------------------------------------------------------

@triton.jit
def forward_kernel(q_ptr, k_ptr, v_ptr, beta_ptr, UT_ptr, o_ptr, scale, T, H,
                   K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    program, tiles = tl.program_id(0), V // V_TILE
    v0, h, b = program % tiles * V_TILE, program // tiles % H, (program // tiles // H).to(tl.int64)
    head, row = b * T * H + h, tl.arange(0, C)
    S = tl.zeros((V_TILE, K), tl.float32)                                # (V_TILE, K)  registers, for the whole sweep
    for first in range(0, T, C):
        # -- load
        q = load_rows(q_ptr + head * K, first, T, H * K, C, K)           # (C, K)
        k = load_rows(k_ptr + head * K, first, T, H * K, C, K)           # (C, K)
        v = load_rows(v_ptr + head * V + v0, first, T, H * V, C, V_TILE)                             # (C, V_TILE)
        UT_low = load_rows(UT_ptr + head * C, first, T, H * C, C, C)     # (C, C)
        beta = load_strengths(beta_ptr + head, first, T, H, C)           # (C,)
        # -- within the chunk: who reads whom, as triu(K Qᵀ)
        P_t = tl.where(row[:, None] <= row[None, :], tl.dot(k, tl.trans(q)), 0.0).to(k.dtype)        # (C, C)
        # -- across chunks
        S_in = S.to(k.dtype)
        R_t = tl.trans(v) - tl.dot(S_in, tl.trans(k))                    # (V_TILE, C)
        O_t = tl.dot(S_in, tl.trans(q))                                  # (V_TILE, C)
        # -- within the chunk
        X_t = tl.dot(R_t.to(k.dtype), tl.trans(UT_low), R_t * beta[None, :]).to(k.dtype)             # (V_TILE, C)
        O_t = tl.dot(X_t, P_t, O_t)
        # -- update
        S = tl.dot(X_t, k, S)                                            # (V_TILE, K)
        # -- store
        store_rows(o_ptr + head * V + v0, tl.trans(O_t * scale), first, T, H * V, C, V_TILE)


def delta_rule(q, k, v, beta, scale=1.0):
    (B, T, H, K), V = q.shape, v.shape[3]
    C, V_TILE = min(K, 64), min(V, 64)                                   # a chunk as long as a key is wide
    UT_low, o = q.new_empty(B, T, H, C), torch.empty_like(v)
    chunks = B * triton.cdiv(T, C) * H
    inverse_kernel[(chunks,)](k, beta, UT_low, T, H, K, C, LEVELS=C.bit_length() - 1, num_warps=4)
    forward_kernel[(B * H * (V // V_TILE),)](q, k, v, beta, UT_low, o, scale, T, H, K, V, C, V_TILE,
                                             num_warps=4, num_stages=2)
    return o
