"""SiLU(gate) * up in one reading, and the product with a matrix that follows: the twin of layers/swiglu.py.

    y = g s u,  s = sigmoid(g)        dg = dy u s (1 + g (1 - s)),    du = dy g s

PyTorch writes SiLU(gate) down, keeps it, keeps y for the gradient of the matrix, and puts the two gradients together by
copying. Here both passes read what they need once, and only the input is kept: y is computed again on the way back.
"""

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from .operator import function

TILE = 1024


@triton.jit
def swiglu_kernel(x_ptr, y_ptr, D: tl.constexpr, TILE: tl.constexpr):
    """x: (N, 2 D), gate beside up; out: y: (N, D). One program per row and TILE channels."""
    row, col = tl.program_id(0).to(tl.int64), tl.program_id(1) * TILE + tl.arange(0, TILE)
    gate = tl.load(x_ptr + row * 2 * D + col, mask=col < D, other=0.0).to(tl.float32)    # (TILE,)  registers
    up = tl.load(x_ptr + row * 2 * D + D + col, mask=col < D, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * D + col, (gate * tl.sigmoid(gate) * up).to(y_ptr.dtype.element_ty), mask=col < D)


@triton.jit
def swiglu_backward_kernel(x_ptr, dy_ptr, dx_ptr, D: tl.constexpr, TILE: tl.constexpr):
    """dy: (N, D), y in its place afterwards; out: dx: (N, 2 D). Programs as above."""
    row, col = tl.program_id(0).to(tl.int64), tl.program_id(1) * TILE + tl.arange(0, TILE)
    gate = tl.load(x_ptr + row * 2 * D + col, mask=col < D, other=0.0).to(tl.float32)    # (TILE,)  registers
    up = tl.load(x_ptr + row * 2 * D + D + col, mask=col < D, other=0.0).to(tl.float32)
    dy, s = tl.load(dy_ptr + row * D + col, mask=col < D, other=0.0).to(tl.float32), tl.sigmoid(gate)
    tl.store(dy_ptr + row * D + col, (gate * s * up).to(dy_ptr.dtype.element_ty), mask=col < D)
    d_gate, d_up = dy * up * s * (1 + gate * (1 - s)), dy * gate * s
    tl.store(dx_ptr + row * 2 * D + col, d_gate.to(dx_ptr.dtype.element_ty), mask=col < D)
    tl.store(dx_ptr + row * 2 * D + D + col, d_up.to(dx_ptr.dtype.element_ty), mask=col < D)


def run(x, weight):
    y = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
    if y.numel():
        swiglu_kernel[grid(y)](x, y, y.shape[-1], TILE)
    return F.linear(y, weight)


def run_backward(d_out, x, weight):
    dx, dy = torch.empty_like(x), d_out @ weight                         # (..., 2 D), (..., D)
    if dy.numel():
        swiglu_backward_kernel[grid(dy)](x, dy, dx, dy.shape[-1], TILE)
    D_out, D = weight.shape
    return dx, d_out.view(-1, D_out).T @ dy.view(-1, D)                  # in dy stands y now


def grid(y):
    return y.numel() // y.shape[-1], triton.cdiv(y.shape[-1], TILE)


project = function("swiglu_projection", "Tensor x, Tensor weight", run, run_backward,
                   lambda x, weight: x.new_empty(*x.shape[:-1], len(weight)))


def swiglu_projection(x, weight):
    """x: (..., 2 D), gate beside up; weight: (D_out, D). Returns W (SiLU(gate) * up): (..., D_out), in the dtype of x.

    The product is computed in float32 and rounded to the dtype of x. Kept for the backward pass: x and weight.
    """
    return project(x.contiguous(), weight.to(x.dtype).contiguous())
