"""Kernels on vectors and rows, exercises 10.2 to 10.6: as they are asked for, in other styles, and their launches."""

import torch
import triton
import triton.language as tl

# -- 10.2: a sum -------------------------------------------------------------------------------------------------------

@triton.jit
def add_kernel(x_ptr, y_ptr, o_ptr, n, x_stride, y_stride, B: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)                           # (B,)  which numbers are mine
    inside = i < n
    x = tl.load(x_ptr + i * x_stride, mask=inside)                       # (B,)  registers
    y = tl.load(y_ptr + i * y_stride, mask=inside)
    tl.store(o_ptr + i, x + y, mask=inside)


@triton.jit
def add_one_by_one(x_ptr, y_ptr, o_ptr, n, x_stride, y_stride, B: tl.constexpr):
    first = tl.program_id(0) * B
    for i in range(first, tl.minimum(first + B, n)):
        tl.store(o_ptr + i, tl.load(x_ptr + i * x_stride) + tl.load(y_ptr + i * y_stride))


@triton.jit
def add_from_moved_pointers(x_ptr, y_ptr, o_ptr, n, x_stride, y_stride, B: tl.constexpr):
    first = tl.program_id(0) * B
    x_ptr, y_ptr, o_ptr, n = x_ptr + first * x_stride, y_ptr + first * y_stride, o_ptr + first, n - first
    i = tl.arange(0, B)
    s = tl.load(x_ptr + i * x_stride, i < n, 0.0) + tl.load(y_ptr + i * y_stride, i < n, 0.0)
    tl.store(o_ptr + i, s, i < n)


def launch_add(kernel, x, y, o):
    kernel[(triton.cdiv(len(x), 16),)](x, y, o, len(x), x.stride(0), y.stride(0), B=16)


# -- 10.3: one write of the memory -------------------------------------------------------------------------------------

@triton.jit
def write_kernel(v_ptr, k_ptr, beta, S_ptr, V, K, S_row, S_col, BV: tl.constexpr, BK: tl.constexpr):
    i = tl.program_id(0) * BV + tl.arange(0, BV)                         # (BV,)  rows of S
    j = tl.program_id(1) * BK + tl.arange(0, BK)                         # (BK,)  columns
    v = tl.load(v_ptr + i, mask=i < V)                                   # (BV,)
    k = tl.load(k_ptr + j, mask=j < K)                                   # (BK,)
    write = beta * v[:, None] * k[None, :]                               # (BV, BK)
    inside = (i < V)[:, None] & (j < K)[None, :]
    tl.store(S_ptr + i[:, None] * S_row + j[None, :] * S_col, write, mask=inside)


@triton.jit
def write_row_by_row(v_ptr, k_ptr, beta, S_ptr, V, K, S_row, S_col, BV: tl.constexpr, BK: tl.constexpr):
    j = tl.program_id(1) * BK + tl.arange(0, BK)
    k = beta * tl.load(k_ptr + j, mask=j < K)
    for i in range(tl.program_id(0) * BV, tl.minimum((tl.program_id(0) + 1) * BV, V)):
        tl.store(S_ptr + i * S_row + j * S_col, tl.load(v_ptr + i) * k, mask=j < K)


@triton.jit
def write_flat(v_ptr, k_ptr, beta, S_ptr, V, K, S_row, S_col, BV: tl.constexpr, BK: tl.constexpr):
    flat = tl.arange(0, BV * BK)                                         # (BV BK,)  both numbers in one
    i, j = tl.program_id(0) * BV + flat // BK, tl.program_id(1) * BK + flat % BK
    inside = (i < V) & (j < K)
    write = beta * tl.load(v_ptr + i, mask=inside) * tl.load(k_ptr + j, mask=inside)
    tl.store(S_ptr + i * S_row + j * S_col, write, mask=inside)


def launch_write(kernel, v, k, beta, S):
    grid = triton.cdiv(len(v), 4), triton.cdiv(len(k), 8)
    kernel[grid](v, k, beta, S, len(v), len(k), S.stride(0), S.stride(1), BV=4, BK=8)


def memory_for(v, k, beta):
    """Room for S: (V, K), a part of something larger, its rows or its columns together."""
    V, K = len(v), len(k)
    return torch.empty(V, K + 3)[:, :K] if V % 2 else torch.empty(K, V + 2)[:, :V].mT


# -- 10.4: softmax of rows ---------------------------------------------------------------------------------------------

@triton.jit
def softmax_kernel(x_ptr, o_ptr, N, x_row, o_row, B: tl.constexpr):
    row = tl.program_id(0)
    j = tl.arange(0, B)                                                  # (B,)  columns; B >= N
    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))                                         # (B,)  exp(-inf) = 0 beyond the end
    tl.store(o_ptr + row * o_row + j, e / tl.sum(e, 0), mask=j < N)


@triton.jit
def softmax_masked_late(x_ptr, o_ptr, N, x_row, o_row, B: tl.constexpr):
    row, j = tl.program_id(0), tl.arange(0, B)
    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=0.0)
    largest = tl.max(tl.where(j < N, x, -1e30), 0)
    e = tl.where(j < N, tl.exp(x - largest), 0.0)
    tl.store(o_ptr + row * o_row + j, e / tl.sum(e, 0), mask=j < N)


@triton.jit
def softmax_by_logarithm(x_ptr, o_ptr, N, x_row, o_row, B: tl.constexpr):
    row, j = tl.program_id(0), tl.arange(0, B)
    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=-float("inf"))
    largest = tl.max(x, 0)
    total = largest + tl.log(tl.sum(tl.exp(x - largest), 0))
    tl.store(o_ptr + row * o_row + j, tl.exp(x - total), mask=j < N)


def part_of_something_wider(x):
    """Room for the results of rows as long as those of x."""
    return torch.empty(len(x), x.shape[1] + 1)[:, :x.shape[1]]


def launch_softmax(kernel, x, o):
    kernel[(len(x),)](x, o, x.shape[1], x.stride(0), o.stride(0), B=triton.next_power_of_2(x.shape[1]))


# -- 10.5: long rows in one pass ---------------------------------------------------------------------------------------

@triton.jit
def logsumexp_kernel(x_ptr, o_ptr, N, x_row, B: tl.constexpr):
    x_ptr += tl.program_id(0) * x_row
    largest, total = -float("inf"), 0.0                                  # of all that was read so far
    for start in range(0, N, B):
        j = start + tl.arange(0, B)                                      # (B,)
        x = tl.load(x_ptr + j, mask=j < N, other=-float("inf"))          # (B,)
        new = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), 0)
        largest = new
    tl.store(o_ptr + tl.program_id(0), largest + tl.log(total))


@triton.jit
def logsumexp_by_lanes(x_ptr, o_ptr, N, x_row, B: tl.constexpr):
    lane = tl.arange(0, B)
    largest, total = tl.full((B,), -1e30, tl.float32), tl.zeros((B,), tl.float32)      # (B,)  each lane for itself
    for start in range(0, N, B):
        x = tl.load(x_ptr + tl.program_id(0) * x_row + start + lane, mask=start + lane < N, other=-1e30)
        new = tl.maximum(largest, x)
        total = total * tl.exp(largest - new) + tl.where(start + lane < N, tl.exp(x - new), 0.0)
        largest = new
    most = tl.max(largest, 0)
    tl.store(o_ptr + tl.program_id(0), most + tl.log(tl.sum(total * tl.exp(largest - most), 0)))


@triton.jit
def logsumexp_pairwise(x_ptr, o_ptr, N, x_row, B: tl.constexpr):
    row = x_ptr + tl.program_id(0) * x_row
    so_far = -float("inf")
    for start in range(0, N, B):
        j = start + tl.arange(0, B)
        x = tl.load(row + j, mask=j < N, other=-float("inf"))
        here = tl.max(x, 0) + tl.log(tl.sum(tl.exp(x - tl.max(x, 0)), 0))
        low, high = tl.minimum(so_far, here), tl.maximum(so_far, here)
        so_far = high + tl.log(1.0 + tl.exp(low - high))
    tl.store(o_ptr + tl.program_id(0), so_far)


def launch_logsumexp(kernel, x, o):
    kernel[(len(x),)](x, o, x.shape[1], x.stride(0), B=16)


# -- 10.6: everyone adds -----------------------------------------------------------------------------------------------

@triton.jit
def column_sums_kernel(x_ptr, o_ptr, T, N, x_row, BT: tl.constexpr, BN: tl.constexpr):
    i = tl.program_id(0) * BT + tl.arange(0, BT)                         # (BT,)  my rows
    j = tl.arange(0, BN)                                                 # (BN,)  all columns
    inside = (i < T)[:, None] & (j < N)[None, :]
    x = tl.load(x_ptr + i[:, None] * x_row + j[None, :], mask=inside, other=0.0)       # (BT, BN)
    tl.atomic_add(o_ptr + j, tl.sum(x, 0), mask=j < N)


@triton.jit
def column_sums_by_one(x_ptr, o_ptr, T, N, x_row, BT: tl.constexpr, BN: tl.constexpr):
    if tl.program_id(0) == 0:                                            # the others have nothing to do
        j = tl.arange(0, BN)
        total = tl.zeros((BN,), tl.float32)
        for i in range(T):
            total += tl.load(x_ptr + i * x_row + j, mask=j < N, other=0.0)
        tl.store(o_ptr + j, total, mask=j < N)


@triton.jit
def column_sums_dealt_out(x_ptr, o_ptr, T, N, x_row, BT: tl.constexpr, BN: tl.constexpr):
    for j in range(tl.program_id(0), N, tl.num_programs(0)):             # every so many columns are mine
        total = 0.0
        for i in range(T):
            total += tl.load(x_ptr + i * x_row + j)
        tl.store(o_ptr + j, total)


def launch_column_sums(kernel, x, o):
    o.zero_()
    T, N = x.shape
    kernel[(triton.cdiv(T, 4),)](x, o, T, N, x.stride(0), BT=4, BN=triton.next_power_of_2(N))
