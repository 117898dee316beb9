"""The short causal convolution in one reading of its input, with what follows: the twin of layers/convolution.py.

    z_t = sum_i w_i * x_{t-size+1+i},    y_t = z_t, or SiLU(z_t) = z_t s_t with s_t = sigmoid(z_t)
    u_t = y_t / n_t,  n_t = sqrt(|y_t|^2 + 1e-6), head by head, of q and k
    dy_t = (du_t - u_t (u_t . du_t)) / n_t
    dz_t = dy_t, or dy_t s_t (1 + z_t (1 - s_t))
    dx_t = sum_i w_i * dz_{t+size-1-i},    dw_i = sum_t dz_t * x_{t-size+1+i}

What limits the PyTorch form is that it writes every tap's product to memory, in float32 under autocast. Here a program
walks along LENGTH tokens of D_TILE channels with the last `size` values of x, and of dz, in its registers: all is read
once and written once. z and n are computed again in the backward pass. Sums are in float32, and y has the dtype of x.
What the programs add to dw is stored apart and summed afterwards, so that it does not depend on who was first.
"""

import math

import torch
import triton
import triton.language as tl

from .forward import EPS
from .operator import function

LENGTH, BACK_LENGTH, D_TILE = 64, 128, 256                               # tokens, in the backward pass; channels


@triton.jit
def taps(w_ptr, col, D: tl.constexpr, SIZE: tl.constexpr):
    """w: (SIZE, D) at the channels col, 0 outside: SIZE tensors (D_TILE,), float32, in registers."""
    w = ()
    for i in tl.static_range(SIZE):
        w = w + (tl.load(w_ptr + i * D + col, mask=col < D, other=0.0).to(tl.float32),)
    return w


@triton.jit
def zeros(SIZE: tl.constexpr, D_TILE: tl.constexpr):
    """SIZE tensors (D_TILE,), float32: nothing has been seen yet."""
    seen = ()
    for _ in tl.static_range(SIZE):
        seen = seen + (tl.zeros([D_TILE], tl.float32),)
    return seen


@triton.jit
def weighted(w, seen, SIZE: tl.constexpr):
    """sum_i w_i * seen_i: (D_TILE,)"""
    z = w[0] * seen[0]
    for i in tl.static_range(1, SIZE):
        z += w[i] * seen[i]
    return z


@triton.jit
def piece_of(c0, y0_ptr, y1_ptr, y2_ptr, W0: tl.constexpr, W1: tl.constexpr, W2: tl.constexpr):
    """Which of up to three tensors, whose channels lie side by side, has channel c0: it, its first one, its width."""
    y_ptr, before, width = y0_ptr, 0, W0
    if y1_ptr is not None:
        if c0 >= W0:
            y_ptr, before, width = y1_ptr, W0, W1
    if y2_ptr is not None:
        if c0 >= W0 + W1:
            y_ptr, before, width = y2_ptr, W0 + W1, W2
    return y_ptr, before, width


@triton.jit
def along(a, b, D_TILE: tl.constexpr, UNIT: tl.constexpr):
    """a . b of every UNIT channels, once for each of them: (D_TILE,)"""
    inner = tl.sum(tl.reshape(a * b, (D_TILE // UNIT, UNIT)), 1)
    return tl.reshape(tl.broadcast_to(inner[:, None], (D_TILE // UNIT, UNIT)), (D_TILE,))


@triton.jit
def convolution_kernel(
    x_ptr, w_ptr,                           # (B, T, D), (SIZE, D); all contiguous
    y0_ptr, y1_ptr, y2_ptr,                 # out: (B, T, W0), and, if D is W0 + W1 or W0 + W1 + W2, two more, or None
    T, D: tl.constexpr, SIZE: tl.constexpr, SILU: tl.constexpr, LENGTH: tl.constexpr, D_TILE: tl.constexpr,
    W0: tl.constexpr, W1: tl.constexpr, W2: tl.constexpr,
    UNIT: tl.constexpr,                     # so many channels of the first two pieces become a unit vector; 0: none
):
    """One program per LENGTH tokens of a sequence and D_TILE channels, all of one piece."""
    first, col = tl.program_id(0) % tl.cdiv(T, LENGTH) * LENGTH, tl.program_id(1) * D_TILE + tl.arange(0, D_TILE)
    row = (tl.program_id(0) // tl.cdiv(T, LENGTH)).to(tl.int64) * T
    y_ptr, before, width = piece_of(tl.program_id(1) * D_TILE, y0_ptr, y1_ptr, y2_ptr, W0, W1, W2)
    w, seen = taps(w_ptr, col, D, SIZE), zeros(SIZE, D_TILE)
    for t in range(first - SIZE + 1, tl.minimum(first + LENGTH, T)):     # the first SIZE - 1 only to be seen
        x = tl.load(x_ptr + (row + t) * D + col, mask=(col < D) & (t >= 0), other=0.0).to(tl.float32)    # (D_TILE,)
        seen = seen[1:] + (x,)
        y = weighted(w, seen, SIZE)
        if SILU:
            y *= tl.sigmoid(y)
        if UNIT:
            if tl.program_id(1) * D_TILE < W0 + W1:
                y *= tl.rsqrt(along(y, y, D_TILE, UNIT) + EPS)
        at_y = (row + t) * width + (col - before)
        tl.store(y_ptr + at_y, y.to(y0_ptr.dtype.element_ty), mask=(col < D) & (t >= first))


@triton.jit
def convolution_backward_kernel(
    x_ptr, w_ptr, dy0_ptr, dy1_ptr, dy2_ptr,    # as above
    dx_ptr, dw_parts_ptr,                   # out: (B, T, D); (programs of a channel, SIZE, D) float32
    T, D: tl.constexpr, SIZE: tl.constexpr, SILU: tl.constexpr, LENGTH: tl.constexpr, D_TILE: tl.constexpr,
    W0: tl.constexpr, W1: tl.constexpr, W2: tl.constexpr, UNIT: tl.constexpr,
):
    """Both gradients. Programs as above; each goes SIZE - 1 tokens further than its own, for dx of its last ones."""
    first, col = tl.program_id(0) % tl.cdiv(T, LENGTH) * LENGTH, tl.program_id(1) * D_TILE + tl.arange(0, D_TILE)
    row = (tl.program_id(0) // tl.cdiv(T, LENGTH)).to(tl.int64) * T
    dy_ptr, before, width = piece_of(tl.program_id(1) * D_TILE, dy0_ptr, dy1_ptr, dy2_ptr, W0, W1, W2)
    part, end = tl.program_id(0), tl.minimum(first + LENGTH, T)
    w, seen, later, dw = taps(w_ptr, col, D, SIZE), zeros(SIZE, D_TILE), zeros(SIZE, D_TILE), zeros(SIZE, D_TILE)
    for t in range(first - SIZE + 1, end + SIZE - 1):
        in_x, in_dy = (col < D) & (t >= 0) & (t < T), (col < D) & (t >= first) & (t < T)
        x = tl.load(x_ptr + (row + t) * D + col, mask=in_x, other=0.0).to(tl.float32)                # (D_TILE,)
        dz = tl.load(dy_ptr + (row + t) * width + (col - before), mask=in_dy, other=0.0).to(tl.float32)
        seen = seen[1:] + (x,)
        z = weighted(w, seen, SIZE)
        s = tl.sigmoid(z) if SILU else 1.0
        if UNIT:
            if tl.program_id(1) * D_TILE < W0 + W1:
                y, n = z * s, tl.rsqrt(along(z * s, z * s, D_TILE, UNIT) + EPS)                      # n: 1 / n_t
                dz = n * (dz - y * (n * n * along(y, dz, D_TILE, UNIT)))
        if SILU:
            dz *= s * (1 + z * (1 - s))
        later = (dz,) + later[:-1]                                       # dz of the tokens t, t - 1, ...
        own, more = tl.where(t < end, dz, 0.0), ()
        for i in tl.static_range(SIZE):
            more = more + (dw[i] + own * seen[i],)
        dw = more
        earlier = t - SIZE + 1
        dx = weighted(w, later, SIZE).to(dx_ptr.dtype.element_ty)
        tl.store(dx_ptr + (row + earlier) * D + col, dx, mask=(col < D) & (earlier >= first))
    for i in tl.static_range(SIZE):
        tl.store(dw_parts_ptr + (part * SIZE + i) * D + col, dw[i], mask=col < D)


def pieces(x, first, second):
    """Memory for y: whole, or in two or three pieces, of which these are the widths of all but the last; 0 is none."""
    D = x.shape[2]
    widths = [first, second, D - first - second] if second else [first, D - first] if first else [D]
    return [x.new_empty(*x.shape[:2], width) for width in widths]


def run(x, weight, silu, first, second, unit):
    y = pieces(x, first, second)
    launch(convolution_kernel, LENGTH, x, weight, y, silu=silu, unit=unit)
    return y


def run_backward(dy, x, weight, silu, first, second, unit):
    dx = torch.empty_like(x)
    programs = len(x) * triton.cdiv(x.shape[1], BACK_LENGTH)
    parts = torch.empty(programs, *weight.shape, dtype=torch.float32, device=x.device)
    launch(convolution_backward_kernel, BACK_LENGTH, x, weight, dy, dx, parts, silu=silu, unit=unit)
    return dx, parts.sum(0).to(weight.dtype)


def launch(kernel, length, x, weight, y, *others, silu, unit):
    (B, T, D), widths = x.shape, [part.shape[2] for part in y]
    tile = D_TILE if len(y) == 1 else math.gcd(D_TILE, *widths)          # channels of a program, all of one piece
    if B * T * D:
        grid, none = (B * triton.cdiv(T, length), triton.cdiv(D, tile)), 3 - len(y)
        kernel[grid](x, weight, *y, *[None] * none, *others, T, D, len(weight), silu, length, tile,
                     *widths, *[0] * none, unit, num_warps=1)


def makes_units(widths, unit):
    """Can the kernels make unit vectors of so many channels of the first two pieces? A program must have them whole."""
    return unit > 0 and split_here(widths) and all(width % unit == 0 for width in (D_TILE, *widths))


def split_here(widths):
    """Does the kernel write the pieces apart? Narrow ones would make narrow programs."""
    return len(widths) in (2, 3) and all(width and width % 32 == 0 for width in widths)


convolve = function("short_convolution", "Tensor x, Tensor weight, bool silu, int first, int second, int unit", run,
                    run_backward, lambda x, weight, silu, first, second, unit: pieces(x, first, second), several=True)


def short_convolution(x, weight, silu=False, widths=None, unit=0):
    """x: (B, T, D), weight: (size, D). Returns y: (B, T, D) in the dtype of x; nothing stands before the first token.

    silu: return SiLU(y).    widths: return y in two or three pieces of so many channels, which together are D, each a
    tensor of its own.    unit: of the first two pieces every so many channels come as a unit vector,
    v / sqrt(|v|^2 + 1e-6); of such widths as `makes_units` allows. Cost: 2 size B T D FLOPs; B T D numbers are read and
    as many written, and in the backward pass twice as many read. ValueError where `unit` does not fit.
    """
    apart = widths is not None and split_here(widths) and sum(widths) == x.shape[2]       # or split refuses the widths
    if unit and not (apart and makes_units(widths, unit)):
        raise ValueError(f"unit: got {unit} with widths {widths}, expected a power of two that divides the first two.")
    y = convolve(x.contiguous(), weight.contiguous(), silu, *(*widths[:-1], 0)[:2] if apart else (0, 0), unit)
    return tuple(y) if apart else y[0] if widths is None else y[0].split(widths, -1)
