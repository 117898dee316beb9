"""Linear attention: a memory that only adds. Three forms of one function (paper, section 2.1).

    S_t = S_{t-1} + v_t k_t^T,    o_t = scale * S_t q_t                                              (eq. 1.2)

All three take q, k: (B, T, H, K) and v: (B, T, H, V), and return o: (B, T, H, V) in the dtype of v and the
state after the last token, (B, H, V, K). Half precision is computed, and its state returned, in float32.
"""

import torch
from torch import Tensor

from .common import chunk, enter, unchunk


def linear_attention_recurrent(q: Tensor, k: Tensor, v: Tensor, *,
                               initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """One token at a time. Cost per token and head: 4KV FLOPs on a state of KV numbers."""
    out_dtype = v.dtype
    q, k, v, S = enter(q, k, v, initial_state=initial_state)
    o = []
    for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1)):    # (B, H, K), (B, H, K), (B, H, V)
        S = S + v_t[..., :, None] * k_t[..., None, :]                    # (B, H, V, K)
        o.append((S @ q_t[..., None])[..., 0])                           # (B, H, V)
    o = torch.stack(o, 1) if o else v                                    # no tokens: v is empty, and has the shape
    return (scale * o).to(out_dtype), S


def linear_attention_parallel(q: Tensor, k: Tensor, v: Tensor, *,
                              initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """All tokens at once, O = tril(Q K^T) V (eq. 1.3). Cost per head: 2T^2(K + V) FLOPs, and T^2 numbers of memory."""
    out_dtype = v.dtype
    q, k, v, S = enter(q, k, v, initial_state=initial_state)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))                     # (B, H, T, K or V)
    o = (q @ k.mT).tril() @ v + q @ S.mT                                 # (B, H, T, V)
    S = S + v.mT @ k                                                     # (B, H, V, K)
    return (scale * o).transpose(1, 2).to(out_dtype), S


def linear_attention_chunkwise(q: Tensor, k: Tensor, v: Tensor, *,
                               initial_state: Tensor | None = None, scale: float = 1.0,
                               chunk_size: int = 64) -> tuple[Tensor, Tensor]:
    """Parallel within chunks of C tokens, recurrent across them; the next chunk meets S + V^T K (eq. 1.4, chapter 7).

    Cost per head: 4TKV + 2TC(K + V) FLOPs in ceil(T / C) sequential steps.
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, S = enter(q, k, v, initial_state=initial_state)
    C = max(1, min(chunk_size, T))
    Q, K, V = (chunk(x, C) for x in (q, k, v))                           # (N, B, H, C, K or V)
    states = [S]
    for KV_n in (V.mT @ K).unbind(0):                                    # what each chunk writes, (B, H, V, K)
        states.append(states[-1] + KV_n)
    S = torch.stack(states[:-1])                                         # (N, B, H, V, K), entering each chunk
    O = Q @ S.mT + (Q @ K.mT).tril() @ V                                 # (N, B, H, C, V)
    return (scale * unchunk(O, T)).to(out_dtype), states[-1]
