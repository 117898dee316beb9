"""The norm around every mixer and MLP, from one dtype to another in one reading: the twin of layers/rms_norm.py.

    y = w * x r,  r = 1 / sqrt(mean(x^2) + eps)        dx = r (g - x r mean(g x r)),  g = w * dy,    dw = sum dy * x r

Under autocast PyTorch reads and writes float32 here, and the product that follows rounds a copy. Rows are short, so a
program takes a few at a time, and keeps its share of dw in registers; the shares are summed afterwards.
"""

import torch
import triton
import triton.language as tl

from .operator import function

ENTRIES, TURNS, WARPS = 2048, 8, 2                                       # of x at a time, and how often, in a program


@triton.jit
def load_rows(x_ptr, row, N, col, D: tl.constexpr):
    """x: (N, D) at these rows and columns, 0 outside: (ROWS, WIDTH) float32, in registers."""
    inside = (row < N)[:, None] & (col < D)[None, :]
    return tl.load(x_ptr + row.to(tl.int64)[:, None] * D + col[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_rows(x_ptr, x, row, N, col, D: tl.constexpr):
    inside = (row < N)[:, None] & (col < D)[None, :]
    tl.store(x_ptr + row.to(tl.int64)[:, None] * D + col[None, :], x.to(x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def rms_norm_kernel(x_ptr, w_ptr, y_ptr, eps, N, D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """x: (N, D), w: (D,); out: y: (N, D). One program per ROWS rows."""
    row, col = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    x, w = load_rows(x_ptr, row, N, col, D), tl.load(w_ptr + col, mask=col < D, other=0.0).to(tl.float32)
    r = tl.rsqrt(tl.sum(x * x, 1) / D + eps)                             # (ROWS,)
    store_rows(y_ptr, x * r[:, None] * w[None, :], row, N, col, D)


@triton.jit
def rms_norm_backward_kernel(
    x_ptr, w_ptr, dy_ptr, dx_ptr, dw_parts_ptr,                          # out: dx: (N, D); (programs, D) float32
    eps, N, D: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, TURNS: tl.constexpr,
):
    """Both gradients. One program per TURNS times ROWS rows."""
    col = tl.arange(0, WIDTH)
    w, dw = tl.load(w_ptr + col, mask=col < D, other=0.0).to(tl.float32), tl.zeros([WIDTH], tl.float32)
    for turn in range(TURNS):
        row = (tl.program_id(0) * TURNS + turn) * ROWS + tl.arange(0, ROWS)
        x, dy = load_rows(x_ptr, row, N, col, D), load_rows(dy_ptr, row, N, col, D)
        r = tl.where(row < N, tl.rsqrt(tl.sum(x * x, 1) / D + eps), 0.0)     # else, if eps = 0: infinity times 0
        x *= r[:, None]
        dw += tl.sum(dy * x, 0)
        g = dy * w[None, :]
        store_rows(dx_ptr, (g - x * (tl.sum(g * x, 1) / D)[:, None]) * r[:, None], row, N, col, D)
    tl.store(dw_parts_ptr + tl.program_id(0) * D + col, dw, mask=col < D)


def sizes(x):
    """N, D and what a program has of them."""
    D = x.shape[-1]
    width = triton.next_power_of_2(D)
    return x.numel() // max(D, 1), D, width, max(1, ENTRIES // width)


def run(x, weight, eps, dtype):
    y, (N, D, width, rows) = torch.empty_like(x, dtype=dtype), sizes(x)
    if x.numel():
        rms_norm_kernel[triton.cdiv(N, rows),](x, weight, y, eps, N, D, width, rows, num_warps=WARPS)
    return y


def run_backward(dy, x, weight, eps, dtype):
    dx, (N, D, width, rows) = torch.empty_like(x), sizes(x)
    programs = triton.cdiv(N, rows * TURNS)
    parts = torch.empty(programs, D, dtype=torch.float32, device=x.device)
    if x.numel():
        rms_norm_backward_kernel[programs,](x, weight, dy, dx, parts, eps, N, D, width, rows, TURNS,
                                            num_warps=WARPS)
    return dx, parts.sum(0).to(weight.dtype)


normalize = function("rms_norm", "Tensor x, Tensor weight, float eps, ScalarType dtype", run, run_backward,
                     lambda x, weight, eps, dtype: torch.empty_like(x, dtype=dtype))


def rms_norm(x, weight, eps, dtype):
    """x: (..., D), weight: (D,). Returns weight * x / sqrt(mean(x^2) + eps): (..., D), in this dtype.

    Computed in float32. Each number is read once and written once, and in the backward pass two are read for one.
    """
    return normalize(x.contiguous(), weight.contiguous(), eps, dtype)
