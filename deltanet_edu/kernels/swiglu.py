"""SiLU(gate) * up in one reading: the twin of the middle of layers/swiglu.py.

    y = g s u,  s = sigmoid(g)        dg = dy u s (1 + g (1 - s)),    du = dy g s

PyTorch writes SiLU(gate) down, keeps it, and puts the two gradients together by copying. Here both passes read what
they need once, and only the input is kept.
"""

import torch
import triton
import triton.language as tl

from ..ops.common import once_differentiable

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
    """dy: (N, D); out: dx: (N, 2 D). Programs as above."""
    row, col = tl.program_id(0).to(tl.int64), tl.program_id(1) * TILE + tl.arange(0, TILE)
    gate = tl.load(x_ptr + row * 2 * D + col, mask=col < D, other=0.0).to(tl.float32)    # (TILE,)  registers
    up = tl.load(x_ptr + row * 2 * D + D + col, mask=col < D, other=0.0).to(tl.float32)
    dy, s = tl.load(dy_ptr + row * D + col, mask=col < D, other=0.0).to(tl.float32), tl.sigmoid(gate)
    d_gate, d_up = dy * up * s * (1 + gate * (1 - s)), dy * gate * s
    tl.store(dx_ptr + row * 2 * D + col, d_gate.to(dx_ptr.dtype.element_ty), mask=col < D)
    tl.store(dx_ptr + row * 2 * D + D + col, d_up.to(dx_ptr.dtype.element_ty), mask=col < D)


class SwiGLUProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        y = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        if y.numel():
            swiglu_kernel[grid(y)](x, y, y.shape[-1], TILE)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        (x,), dy = ctx.saved_tensors, dy.contiguous()
        dx = torch.empty_like(x)
        if dy.numel():
            swiglu_backward_kernel[grid(dy)](x, dy, dx, dy.shape[-1], TILE)
        return dx


def grid(y):
    return y.numel() // y.shape[-1], triton.cdiv(y.shape[-1], TILE)


def swiglu_product(x):
    """x: (..., 2 D), gate beside up. Returns SiLU(gate) * up: (..., D), in the dtype of x, computed in float32."""
    return SwiGLUProduct.apply(x.contiguous())
