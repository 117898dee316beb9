"""Kernels on tiles of matrices, exercises 10.7 to 10.10: as they are asked for, in other styles, and their launches."""

import torch
import triton
import triton.language as tl

# -- 10.7: a product ---------------------------------------------------------------------------------------------------

@triton.jit
def matmul_kernel(a_ptr, b_ptr, o_ptr, M, N, K, a_row, a_col, b_row, b_col, BM: tl.constexpr, BN: tl.constexpr,
                  BK: tl.constexpr, PRECISION: tl.constexpr):
    i = tl.program_id(0) * BM + tl.arange(0, BM)                         # (BM,)  rows of my tile
    j = tl.program_id(1) * BN + tl.arange(0, BN)                         # (BN,)  columns
    total = tl.zeros((BM, BN), tl.float32)                               # (BM, BN)  registers, for the whole loop
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)                                     # (BK,)
        a = tl.load(a_ptr + i[:, None] * a_row + k[None, :] * a_col,
                    mask=(i < M)[:, None] & (k < K)[None, :], other=0.0)
        b = tl.load(b_ptr + k[:, None] * b_row + j[None, :] * b_col,
                    mask=(k < K)[:, None] & (j < N)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
    tl.store(o_ptr + i[:, None] * N + j[None, :], total, mask=(i < M)[:, None] & (j < N)[None, :])


def launch_matmul(kernel, a, b, o, tile=16, PRECISION="ieee", **options):
    (M, K), N = a.shape, b.shape[1]
    grid = triton.cdiv(M, tile), triton.cdiv(N, tile)
    kernel[grid](a, b, o, M, N, K, *a.stride(), *b.stride(), BM=tile, BN=tile, BK=min(tile, 64), PRECISION=PRECISION,
                 **options)


# -- 10.8: scores of a chunk -------------------------------------------------------------------------------------------

@triton.jit
def scores_kernel(q_ptr, k_ptr, P_ptr, T, scale, q_row, k_row, K: tl.constexpr, C: tl.constexpr):
    row, col = tl.arange(0, C), tl.arange(0, K)
    t = tl.program_id(0) * C + row                                       # (C,)  tokens of my chunk
    q = tl.load(q_ptr + t[:, None] * q_row + col[None, :], mask=(t < T)[:, None], other=0.0)       # (C, K)
    k = tl.load(k_ptr + t[:, None] * k_row + col[None, :], mask=(t < T)[:, None], other=0.0)       # (C, K)
    P = scale * tl.dot(q, tl.trans(k), input_precision="ieee")           # (C, C)
    P = tl.where(row[:, None] >= row[None, :], P, 0.0)
    tl.store(P_ptr + t[:, None] * C + row[None, :], P, mask=(t < T)[:, None])


@triton.jit
def scores_by_sums(q_ptr, k_ptr, P_ptr, T, scale, q_row, k_row, K: tl.constexpr, C: tl.constexpr):
    row, col = tl.arange(0, C), tl.arange(0, K)
    first = tl.program_id(0) * C
    k = tl.load(k_ptr + (first + row)[:, None] * k_row + col[None, :], mask=(first + row < T)[:, None], other=0.0)
    for i in range(C):                                                   # a row of scores at a time
        if first + i < T:
            q = tl.load(q_ptr + (first + i) * q_row + col)               # (K,)
            P = scale * tl.sum(q[None, :] * k, 1)                        # (C,)
            tl.store(P_ptr + (first + i) * C + row, tl.where(row <= i, P, 0.0))


@triton.jit
def scores_transposed_load(q_ptr, k_ptr, P_ptr, T, scale, q_row, k_row, K: tl.constexpr, C: tl.constexpr):
    row, col = tl.arange(0, C), tl.arange(0, K)
    t = tl.program_id(0) * C + row
    q = tl.load(q_ptr + t[:, None] * q_row + col[None, :], mask=(t < T)[:, None], other=0.0) * scale
    k_t = tl.load(k_ptr + col[:, None] + t[None, :] * k_row, mask=(t < T)[None, :], other=0.0)     # (K, C)
    allowed = (row[None, :] <= row[:, None]).to(tl.float32)
    P = tl.dot(q, k_t, input_precision="ieee") * allowed
    tl.store(P_ptr + t[:, None] * C + row[None, :], P, mask=(t < T)[:, None])


def launch_scores(kernel, q, k, scale, P):
    T, K = q.shape
    kernel[(triton.cdiv(T, 16),)](q, k, P, T, scale, q.stride(0), k.stride(0), K=K, C=16)


# -- 10.9: a triangle of 16 --------------------------------------------------------------------------------------------

@triton.jit
def inverse_of_16(A):
    """(I + A)^-1 for a strictly lower triangular A: (16, 16), row by row (eq. 6.4)."""
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    X = tl.where(i == j, 1.0, 0.0)                                       # (16, 16)  row t starts as e_t
    for t in range(1, 16):
        a = tl.sum(tl.where(i == t, A, 0.0), 0)                          # (16,)  row t of A
        finished = tl.sum(a[:, None] * X, 0)                             # (16,)  what the rows above contribute
        X = tl.where(i == t, X - finished[None, :], X)
    return X


@triton.jit
def triangle_kernel(A_ptr, X_ptr, n):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    at = tl.program_id(0) * n * n + i * n + j                            # (16, 16)
    inside = (i < n) & (j < n)
    A = tl.load(A_ptr + at, mask=inside, other=0.0)                      # (16, 16)  registers
    X = tl.where(i == j, 1.0, 0.0)                                       # (16, 16)  row t starts as e_t
    for t in range(1, 16):
        a = tl.sum(tl.where(i == t, A, 0.0), 0)                          # (16,)  row t of A
        finished = tl.sum(a[:, None] * X, 0)                             # (16,)  what the rows above contribute
        X = tl.where(i == t, X - finished[None, :], X)
    tl.store(X_ptr + at, X, mask=inside)


@triton.jit
def triangle_by_columns(A_ptr, X_ptr, n):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    at, inside = tl.program_id(0) * n * n + i * n + j, (i < n) & (j < n)
    A = tl.load(A_ptr + at, mask=inside, other=0.0)
    X = (i == j).to(tl.float32)
    for t in range(15):                                                  # row t is done: take it off those below
        a = tl.sum(tl.where(j == t, A, 0.0), 1)                          # (16,)  column t of A
        x = tl.sum(tl.where(i == t, X, 0.0), 0)                          # (16,)  row t of X
        X -= a[:, None] * x[None, :]
    tl.store(X_ptr + at, X, mask=inside)


@triton.jit
def inverse_of_16_by_halves(A):
    """As inverse_of_16, in fewer and larger steps (eq. 6.5)."""
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    X = tl.where(i == j, 1.0, 0.0)
    for level in tl.static_range(4):                                     # halves of 1, 2, 4, 8
        corner = tl.where(((i >> level) % 2 == 1) & (j >> level == (i >> level) - 1), A, 0.0)
        X -= tl.dot(tl.dot(X, corner, input_precision="ieee"), X, input_precision="ieee")
    return X


@triton.jit
def triangle_by_halves(A_ptr, X_ptr, n):
    i, j = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    at, inside = tl.program_id(0) * n * n + i * n + j, (i < n) & (j < n)
    X = inverse_of_16_by_halves(tl.load(A_ptr + at, mask=inside, other=0.0))
    tl.store(X_ptr + at, X, mask=inside)


def launch_triangle(kernel, A, X):
    kernel[(len(A),)](A, X, A.shape[1])


# -- 10.10: UT of a chunk of 64 ----------------------------------------------------------------------------------------

@triton.jit
def rows_of_16(k_ptr, beta_ptr, first, T, k_row, K: tl.constexpr):
    """Keys and strengths of 16 tokens, zeros after the last: (16, K), (16,)."""
    t, col = first + tl.arange(0, 16), tl.arange(0, K)
    k = tl.load(k_ptr + t[:, None] * k_row + col[None, :], mask=(t < T)[:, None], other=0.0)
    return k, tl.load(beta_ptr + t, mask=t < T, other=0.0)


@triton.jit
def store_16(UT_ptr, first, column, T, block):
    """Store a (16, 16) block of UT: rows from token `first` on, columns from `column` on."""
    t, col = first + tl.arange(0, 16), column + tl.arange(0, 16)
    tl.store(UT_ptr + t[:, None] * 64 + col[None, :], block, mask=(t < T)[:, None])


@triton.jit
def mul(a, b):
    """A product of tiles with all digits of float32."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def UT_kernel(k_ptr, beta_ptr, UT_ptr, T, k_row, K: tl.constexpr):
    c = tl.program_id(0) * 64                                            # first token of my chunk
    # -- load ------------------------------------------------------------------------------------------------------
    k0, b0 = rows_of_16(k_ptr, beta_ptr, c, T, k_row, K)                 # (16, K), (16,)  registers
    k1, b1 = rows_of_16(k_ptr, beta_ptr, c + 16, T, k_row, K)
    k2, b2 = rows_of_16(k_ptr, beta_ptr, c + 32, T, k_row, K)
    k3, b3 = rows_of_16(k_ptr, beta_ptr, c + 48, T, k_row, K)
    # -- within the blocks: substitution, eq. 10.7 -----------------------------------------------------------------
    lower = tl.arange(0, 16)[:, None] > tl.arange(0, 16)[None, :]        # (16, 16)
    X00 = inverse_of_16(tl.where(lower, b0[:, None] * mul(k0, tl.trans(k0)), 0.0))
    X11 = inverse_of_16(tl.where(lower, b1[:, None] * mul(k1, tl.trans(k1)), 0.0))
    X22 = inverse_of_16(tl.where(lower, b2[:, None] * mul(k2, tl.trans(k2)), 0.0))
    X33 = inverse_of_16(tl.where(lower, b3[:, None] * mul(k3, tl.trans(k3)), 0.0))
    # -- across blocks, one diagonal after the other, eq. 10.8 -----------------------------------------------------
    A10, A21 = b1[:, None] * mul(k1, tl.trans(k0)), b2[:, None] * mul(k2, tl.trans(k1))
    A20, A31 = b2[:, None] * mul(k2, tl.trans(k0)), b3[:, None] * mul(k3, tl.trans(k1))
    A32, A30 = b3[:, None] * mul(k3, tl.trans(k2)), b3[:, None] * mul(k3, tl.trans(k0))
    X10, X21, X32 = -mul(X11, mul(A10, X00)), -mul(X22, mul(A21, X11)), -mul(X33, mul(A32, X22))
    X20 = -mul(X22, mul(A20, X00) + mul(A21, X10))
    X31 = -mul(X33, mul(A31, X11) + mul(A32, X21))
    X30 = -mul(X33, mul(A30, X00) + mul(A31, X10) + mul(A32, X20))
    # -- store: columns times beta, zeros above the diagonal -------------------------------------------------------
    zero = tl.zeros((16, 16), tl.float32)
    store_16(UT_ptr, c, 0, T, X00 * b0[None, :])
    store_16(UT_ptr, c, 16, T, zero)
    store_16(UT_ptr, c, 32, T, zero)
    store_16(UT_ptr, c, 48, T, zero)
    store_16(UT_ptr, c + 16, 0, T, X10 * b0[None, :])
    store_16(UT_ptr, c + 16, 16, T, X11 * b1[None, :])
    store_16(UT_ptr, c + 16, 32, T, zero)
    store_16(UT_ptr, c + 16, 48, T, zero)
    store_16(UT_ptr, c + 32, 0, T, X20 * b0[None, :])
    store_16(UT_ptr, c + 32, 16, T, X21 * b1[None, :])
    store_16(UT_ptr, c + 32, 32, T, X22 * b2[None, :])
    store_16(UT_ptr, c + 32, 48, T, zero)
    store_16(UT_ptr, c + 48, 0, T, X30 * b0[None, :])
    store_16(UT_ptr, c + 48, 16, T, X31 * b1[None, :])
    store_16(UT_ptr, c + 48, 32, T, X32 * b2[None, :])
    store_16(UT_ptr, c + 48, 48, T, X33 * b3[None, :])


@triton.jit
def UT_row_by_row(k_ptr, beta_ptr, UT_ptr, T, k_row, K: tl.constexpr):
    i, j, col = tl.arange(0, 64)[:, None], tl.arange(0, 64)[None, :], tl.arange(0, K)[None, :]
    t = tl.program_id(0) * 64 + i                                        # (64, 1)
    k = tl.load(k_ptr + t * k_row + col, mask=t < T, other=0.0)
    beta = tl.load(beta_ptr + tl.program_id(0) * 64 + j, mask=tl.program_id(0) * 64 + j < T, other=0.0)
    A = tl.where(i > j, tl.trans(beta) * tl.dot(k, tl.trans(k), input_precision="ieee"), 0.0)
    X = tl.where(i == j, 1.0, 0.0)
    for row in range(1, 64):
        a = tl.sum(tl.where(i == row, A, 0.0), 0)
        X = tl.where(i == row, X - tl.sum(a[:, None] * X, 0)[None, :], X)
    tl.store(UT_ptr + t * 64 + j, X * beta, mask=t < T)


@triton.jit                                                              # its large products take a compiler minutes
def UT_by_halves(k_ptr, beta_ptr, UT_ptr, T, k_row, K: tl.constexpr):
    i, j, col = tl.arange(0, 64)[:, None], tl.arange(0, 64)[None, :], tl.arange(0, K)[None, :]
    t = tl.program_id(0) * 64 + i
    k = tl.load(k_ptr + t * k_row + col, mask=t < T, other=0.0)
    token = tl.program_id(0) * 64 + tl.arange(0, 64)                     # (64,)
    beta = tl.load(beta_ptr + token, mask=token < T, other=0.0)
    A = tl.where(i > j, beta[:, None] * mul(k, tl.trans(k)), 0.0)
    X = tl.where(i == j, 1.0, 0.0)
    for level in tl.static_range(6):                                     # halves of 1, 2, 4, ..., 32
        corner = tl.where(((i >> level) % 2 == 1) & (j >> level == (i >> level) - 1), A, 0.0)
        X -= mul(mul(X, corner), X)
    tl.store(UT_ptr + t * 64 + j, X * beta[None, :], mask=t < T)


def launch_UT(kernel, k, beta, UT):
    T, K = k.shape
    kernel[(triton.cdiv(T, 64),)](k, beta, UT, T, k.stride(0), K=K)


def UT_for(k, beta):
    """Room for UT: (T, 64), row t of its chunk with token t."""
    return torch.empty(len(k), 64)
