"""The short causal convolution in one reading of its input: the twin of layers/convolution.py.

    y_t = sum_i w_i * x_{t-size+1+i},    dx_t = sum_i w_i * dy_{t+size-1-i},    dw_i = sum_t dy_t * x_{t-size+1+i}

What limits the PyTorch form is that it writes every tap's product to memory, in float32 under autocast. Here a program
has T_TILE tokens of D_TILE channels; its shifted readings come from the cache, sums are in float32, and y has the dtype
of x. What the programs add to dw is stored apart and summed afterwards, so that it does not depend on who was first.
"""

import torch
import triton
import triton.language as tl

from ..ops.common import once_differentiable

T_TILE, D_TILE = 64, 128


@triton.jit
def tile(x_ptr, t, T, col, D: tl.constexpr):
    """x: (T, D) at the tokens t and the channels col, 0 outside: (T_TILE, D_TILE) float32, in registers."""
    inside = (t >= 0)[:, None] & (t < T)[:, None] & (col < D)[None, :]
    return tl.load(x_ptr + t[:, None] * D + col[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def convolution_kernel(
    x_ptr, w_ptr, y_ptr,                    # (B, T, D), (SIZE, D); out: (B, T, D); all contiguous
    T, D: tl.constexpr, SIZE: tl.constexpr, T_TILE: tl.constexpr, D_TILE: tl.constexpr,
):
    """One program per T_TILE tokens, D_TILE channels and sequence."""
    t = tl.program_id(0) * T_TILE + tl.arange(0, T_TILE)
    col, row = tl.program_id(1) * D_TILE + tl.arange(0, D_TILE), tl.program_id(2).to(tl.int64) * T * D
    y = tl.zeros([T_TILE, D_TILE], tl.float32)
    for i in tl.static_range(SIZE):
        w = tl.load(w_ptr + i * D + col, mask=col < D, other=0.0).to(tl.float32)         # (D_TILE,)
        y += w[None, :] * tile(x_ptr + row, t - SIZE + 1 + i, T, col, D)
    inside = (t < T)[:, None] & (col < D)[None, :]
    tl.store(y_ptr + row + t[:, None] * D + col[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


@triton.jit
def convolution_backward_kernel(
    x_ptr, w_ptr, dy_ptr,                   # as above
    dx_ptr, dw_parts_ptr,                   # out: (B, T, D); (programs of a channel, SIZE, D) float32
    T, D: tl.constexpr, SIZE: tl.constexpr, T_TILE: tl.constexpr, D_TILE: tl.constexpr,
):
    """Both gradients. Programs as above."""
    t = tl.program_id(0) * T_TILE + tl.arange(0, T_TILE)
    col, row = tl.program_id(1) * D_TILE + tl.arange(0, D_TILE), tl.program_id(2).to(tl.int64) * T * D
    part = tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)
    dy, dx = tile(dy_ptr + row, t, T, col, D), tl.zeros([T_TILE, D_TILE], tl.float32)
    for i in tl.static_range(SIZE):
        w = tl.load(w_ptr + i * D + col, mask=col < D, other=0.0).to(tl.float32)         # (D_TILE,)
        dx += w[None, :] * tile(dy_ptr + row, t + SIZE - 1 - i, T, col, D)
        dw = tl.sum(dy * tile(x_ptr + row, t - SIZE + 1 + i, T, col, D), 0)              # (D_TILE,)
        tl.store(dw_parts_ptr + (part * SIZE + i) * D + col, dw, mask=col < D)
    inside = (t < T)[:, None] & (col < D)[None, :]
    tl.store(dx_ptr + row + t[:, None] * D + col[None, :], dx.to(dx_ptr.dtype.element_ty), mask=inside)


class Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        y = torch.empty_like(x)
        launch(convolution_kernel, x, weight, y, x.shape)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        (B, T, _), dx = x.shape, torch.empty_like(x)
        parts = torch.empty(B * triton.cdiv(T, T_TILE), *weight.shape, dtype=torch.float32, device=x.device)
        launch(convolution_backward_kernel, x, weight, dy.contiguous(), dx, parts, x.shape)
        return dx, parts.sum(0).to(weight.dtype)


def launch(kernel, x, weight, *others):
    *others, (B, T, D) = others
    if B * T * D:
        grid = (triton.cdiv(T, T_TILE), triton.cdiv(D, D_TILE), B)
        kernel[grid](x, weight, *others, T, D, len(weight), T_TILE, D_TILE)


def short_convolution(x, weight):
    """x: (B, T, D), weight: (size, D). Returns y: (B, T, D) in the dtype of x; nothing stands before the first token.

    Cost: 2 size B T D FLOPs; reads and writes B T D numbers each, in the backward pass twice as many.
    """
    return Convolution.apply(x.contiguous(), weight.contiguous())
