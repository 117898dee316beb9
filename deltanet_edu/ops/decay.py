"""Memories that forget: gated linear attention, in three forms, and the fixed decays of RetNet (paper, section 4.2).

    S_t = S_{t-1} Diag(alpha_t) + v_t k_t^T,    o_t = scale * S_t q_t,    0 < alpha_t <= 1

GLA (arXiv 2312.06635) computes a factor for every channel of the key from the token; RetNet (arXiv 2307.08621) has one
number a head, for ever; Mamba-2 (arXiv 2405.21060) one number a token and head. What is passed is its logarithm.

All forms take q, k: (B, T, H, K), v: (B, T, H, V) and log_alpha: (B, T, H, K), or (B, T, H, 1) for one number for all
channels, nowhere above 0. They return o: (B, T, H, V) in the dtype of v and the state after the last token,
(B, H, V, K). Half precision is computed, and its state returned, in float32.
"""

import torch
from torch import Tensor

from .common import chunk, enter, unchunk


def gated_linear_attention_recurrent(q: Tensor, k: Tensor, v: Tensor, log_alpha: Tensor, *,
                                     initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """One token at a time. Cost per token and head: 5KV FLOPs on a state of KV numbers."""
    out_dtype = v.dtype
    q, k, v, log_alpha, S = enter(q, k, v, log_alpha, initial_state=initial_state)
    o = []
    for q_t, k_t, v_t, alpha_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), log_alpha.exp().unbind(1)):
        S = S * alpha_t[..., None, :] + v_t[..., :, None] * k_t[..., None, :]        # (B, H, V, K)
        o.append((S @ q_t[..., None])[..., 0])                           # (B, H, V)
    o = torch.stack(o, 1) if o else v                                    # no tokens: v is empty, and has the shape
    return (scale * o).to(out_dtype), S


def gated_linear_attention_parallel(q: Tensor, k: Tensor, v: Tensor, log_alpha: Tensor, *,
                                    initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """All tokens at once: O = A V with the A of `decayed_scores`, plus what is left of the entering state.

    Cost per head: T^2(K + 2V) FLOPs and T^2 numbers of memory.
    """
    out_dtype = v.dtype
    q, k, v, log_alpha, S = enter(q, k, v, log_alpha, initial_state=initial_state)
    if not v.shape[1]:
        return v.to(out_dtype), S
    q, k, v, log_alpha = (x.transpose(1, 2) for x in (q, k, v, log_alpha))           # (B, H, T, K, V or 1)
    G = log_alpha.cumsum(-2)                                             # (B, H, T, K)  what token t has left of S, log
    end = G[..., -1:, :]                                                 # (B, H, 1, K)
    o = decayed_scores(q, k, G) @ v + (q * G.exp()) @ S.mT               # (B, H, T, V)
    S = S * end.exp() + v.mT @ (k * (end - G).exp())                     # (B, H, V, K)
    return (scale * o).transpose(1, 2).to(out_dtype), S


def gated_linear_attention_chunkwise(q: Tensor, k: Tensor, v: Tensor, log_alpha: Tensor, *,
                                     initial_state: Tensor | None = None, scale: float = 1.0,
                                     chunk_size: int = 64) -> tuple[Tensor, Tensor]:
    """Parallel within chunks of C tokens, recurrent across them.

    Cost per head: 4TKV + TC(K + 2V) FLOPs in ceil(T / C) sequential steps.
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, log_alpha, S = enter(q, k, v, log_alpha, initial_state=initial_state)
    C = max(1, min(chunk_size, T))
    Q, K, V, G = (chunk(x, C) for x in (q, k, v, log_alpha))             # (N, B, H, C, K, V or 1)
    G = G.cumsum(-2)                                                     # padding decays nothing: log_alpha = 0
    end = G[..., -1:, :]                                                 # (N, B, H, 1, K)
    states = [S]
    for kept, KV_n in zip(end.exp().unbind(0), (V.mT @ (K * (end - G).exp())).unbind(0)):
        states.append(states[-1] * kept + KV_n)                          # (B, H, V, K)
    S = torch.stack(states[:-1])                                         # (N, B, H, V, K), entering each chunk
    O = (Q * G.exp()) @ S.mT + decayed_scores(Q, K, G) @ V               # (N, B, H, C, V)
    return (scale * unchunk(O, T)).to(out_dtype), states[-1]


def decayed_scores(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    """A_ts = sum_i q_ti k_si exp(G_ti - G_si) for s <= t, and 0 for s > t: (..., T, T).

    q, k: (..., T, K).    G: (..., T, K) or (..., T, 1), sums of log_alpha up to each token.

    The product (Q * exp(G)) (K * exp(-G))^T would be right on paper, but exp(-G) overflows as soon as something is
    truly forgotten. So every exponent here is at most 0. One number for all channels waits until q and k have met.
    Otherwise a block of tokens is halved: its later half reads its earlier half across the border between them, with
    exp(G_t - G_border) on one side and exp(G_border - G_s) on the other; and so on within the halves. ceil(log2 T)
    rounds, together T^2 K FLOPs: no T x T x K numbers anywhere.
    """
    T = q.shape[-2]
    if G.shape[-1] == 1:
        above = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
        return (q @ k.mT) * (G - G.mT).masked_fill(above, -torch.inf).exp()
    missing = (1 << (T - 1).bit_length()) - T                            # up to a power of two
    q, k = (torch.cat([x, x.new_zeros(*x.shape[:-2], missing, x.shape[-1])], -2) for x in (q, k))
    G = torch.cat([G, G[..., -1:, :].expand(*G.shape[:-2], missing, -1)], -2)
    A = (q * k).sum(-1)[..., None, None]                                 # (..., T, 1, 1)  blocks of one token
    while A.shape[-3] > 1:
        half = A.shape[-1]
        q_n, k_n, G_n = (x.unflatten(-2, (-1, 2, half)) for x in (q, k, G))          # (..., n, 2, half, K)
        border = G_n[..., 0, -1:, :]                                     # (..., n, 1, K)
        later = q_n[..., 1, :, :] * (G_n[..., 1, :, :] - border).exp()   # (..., n, half, K)
        earlier = k_n[..., 0, :, :] * (border - G_n[..., 0, :, :]).exp()
        across = later @ earlier.mT                                      # (..., n, half, half)
        first, second = A.unflatten(-3, (-1, 2)).unbind(-3)              # (..., n, half, half) each
        A = torch.cat([torch.cat([first, torch.zeros_like(across)], -1), torch.cat([across, second], -1)], -2)
    return A[..., 0, :T, :T]


def retention_log_decay(heads: int, *, dtype: torch.dtype = torch.float64,
                        device: torch.device | str | None = None) -> Tensor:
    """RetNet's decays, log(1 - 2^(-5-h)) for head h = 0, 1, ...: (H,). Head h remembers about 2^(5+h) tokens."""
    return torch.log1p(-2.0 ** (-5 - torch.arange(heads, dtype=dtype, device=device)))
