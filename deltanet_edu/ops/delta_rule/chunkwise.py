"""The delta rule, chunk by chunk: matrix products within, a short recurrence across chunks (paper, eq. 8 and 9)."""

import torch
from torch import Tensor

from ..common import chunk, enter, unchunk
from .householder import ut_by_solve


def delta_rule_chunkwise(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *,
                         initial_state: Tensor | None = None, scale: float = 1.0,
                         chunk_size: int = 64) -> tuple[Tensor, Tensor]:
    """The delta rule in ceil(T / C) sequential steps instead of T; arguments and results of `delta_rule_recurrent`.

    Per chunk, with entering state S and rows Q, K, V, beta:
        UT = (I + stril(diag(beta) K K^T))^-1 diag(beta),    W = UT K,    U = UT V   (eq. 6.3; paper, eq. 10-11)
        S' = S + (U - W S^T)^T K                                                     (eq. 8.4; paper, eq. 8)
        O = scale (Q S^T + tril(Q K^T) (U - W S^T))                                  (eq. 8.5; paper, eq. 9)

    Args:
        chunk_size: C, any positive integer; 1 is the recurrent form, T the parallel one. T need not be a multiple.
    Cost per head: T(6KV + C(6K + 4V) + C^2) FLOPs (eq. 8.9), of which 4TKV in ceil(T / C) sequential steps, the rest
        all at once.
        A kernel that skips the zero halves of the C x C matrices needs about half of what has a C in it.
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    C = max(1, min(chunk_size, T))
    Q, K, V = (chunk(x, C) for x in (q, k, v))                           # (N, B, H, C, K or V)
    beta = chunk(beta[..., None], C)[..., 0]                             # (N, B, H, C)

    # within the chunk, all chunks at once
    UT = ut_by_solve(K, beta)                                            # (N, B, H, C, C)
    W, U = UT @ K, UT @ V                                                # (N, B, H, C, K), (N, B, H, C, V)

    # across chunks, one after another: the only sequential part.
    # unbind, not W[n]: the gradient of an index is a full-size tensor of zeros, once per chunk.
    states, writes = [], []
    for W_n, U_n, K_n in zip(W.unbind(0), U.unbind(0), K.unbind(0)):
        states.append(S)
        X_n = U_n - W_n @ S.mT                                           # (B, H, C, V)  what this chunk really writes
        S = S + X_n.mT @ K_n                                             # (B, H, V, K)
        writes.append(X_n)

    O = Q @ torch.stack(states).mT + (Q @ K.mT).tril() @ torch.stack(writes)   # (N, B, H, C, V)
    return (scale * unchunk(O, T)).to(out_dtype), S
