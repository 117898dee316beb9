"""What every form shares: working precision, the entering state, cutting a sequence into chunks, refusing second derivatives."""

from functools import wraps

import torch
import torch.nn.functional as F


def working_dtype(*tensors):
    """The dtype to compute in: float64 or float32 as the inputs are; half precision is computed in float32."""
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def unit(x, p=2):
    """x / sqrt(|x|_p^2 + 1e-6): rows of length 1, computed at least in float32 and rounded once.

    The 1e-6 of flash-linear-attention and of the kernels (`normalize=True`). Without it a row of zeros, such as padding,
    has a slope without bound, and one of them is enough to ruin every gradient; with it the slope is at most 1000.
    """
    y = x.to(working_dtype(x))                                           # half precision would round the length
    square = y.square().sum(-1, keepdim=True) if p == 2 else y.abs().sum(-1, keepdim=True).square()
    return (y * torch.rsqrt(square + 1e-6)).to(x.dtype)


def enter(q, k, v, *others, initial_state=None):
    """Bring the inputs to the working dtype and make the state that enters, (B, H, V, K), zeros if None."""
    dtype = working_dtype(q, k, v, *others)
    q, k, v, *others = (x.to(dtype) for x in (q, k, v, *others))
    B, _, H, K = k.shape
    if initial_state is None:
        S = v.new_zeros(B, H, v.shape[-1], K)
    else:
        S = initial_state.to(dtype)
    return q, k, v, *others, S


def chunk(x, C):
    """Cut (B, T, H, D) into N = ceil(T / C) chunks: (N, B, H, C, D). The last one is padded with zero rows.

    A zero row is harmless: k = 0 and beta = 0 write nothing, and the output rows it adds are dropped by `unchunk`.
    N comes first so that a loop over chunks reads contiguous blocks.
    """
    B, T, H, D = x.shape
    x = F.pad(x, (0, 0, 0, 0, 0, -T % C))                          # (B, N*C, H, D)
    return x.view(B, -1, C, H, D).permute(1, 0, 3, 2, 4).contiguous()


def unchunk(x, T):
    """The inverse of `chunk`: (N, B, H, C, D) to (B, T, H, D), padding dropped."""
    N, B, H, C, D = x.shape
    return x.permute(1, 0, 3, 2, 4).reshape(B, N * C, H, D)[:, :T]


class Refused(torch.autograd.Function):
    """Gradients as they are, until somebody asks for theirs."""

    @staticmethod
    def forward(ctx, asked, *gradients):
        return gradients

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError('This backward pass is written by hand and cannot be differentiated. For second derivatives, '
                           'use delta_rule(..., form="recurrent", backend="torch").')


def once_differentiable(backward):
    """Decorate the backward pass of an autograd.Function: differentiating it raises. PyTorch's own decorator lets a derivative of zero
    pass for the right one if no gradient that comes in depends on anything, as that of o.sum()."""
    @wraps(backward)
    def once(ctx, *gradients):
        with torch.no_grad():
            results = backward(ctx, *gradients)
        if not torch.is_grad_enabled():
            return results
        asked = results[0].new_zeros((), requires_grad=True)             # so that all that goes through Refused has a derivative
        refused = iter(Refused.apply(asked, *(x for x in results if x is not None)))
        return tuple(None if x is None else next(refused) for x in results)
    return once
