"""What every form shares: working precision, the entering state, and cutting a sequence into chunks."""

import torch
import torch.nn.functional as F


def working_dtype(*tensors):
    """The dtype to compute in: float64 or float32 as the inputs are; half precision is computed in float32."""
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


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
