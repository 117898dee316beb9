"""The delta rule as an associative scan: parallel, exact, and too expensive. The road that chapter 7 tries and leaves.

A pair (M, X) stands for the map S -> S M + X. One token of the delta rule is such a map, with M = I - beta k k^T and
X = beta v k^T, and so is any run of tokens.
"""

import torch
from torch import Tensor

from ..common import enter
from .householder import householder


def compose(first, second):
    """The map that does `first`, then `second` (eq. 7.6): (M_1 M_2, X_1 M_2 + X_2). M: (..., K, K), X: (..., V, K)."""
    (M1, X1), (M2, X2) = first, second
    return M1 @ M2, X1 @ M2 + X2


def inclusive_scan(M, X):
    """Entry t of the result is tokens 1 to t as one map. M: (..., T, K, K), X: (..., T, V, K).

    Hillis & Steele (1986): after a round with `step` tokens between partners, each entry stands for 2 * step tokens.
    ceil(log2 T) rounds of up to T independent compositions, 2K^3 + 2VK^2 FLOPs each.
    """
    step = 1
    while step < M.shape[-3]:
        earlier, later = ((M[..., part, :, :], X[..., part, :, :]) for part in (slice(None, -step), slice(step, None)))
        joined = compose(earlier, later)                                 # (..., T - step, K, K), (..., T - step, V, K)
        M, X = (torch.cat([old[..., :step, :, :], new], -3) for old, new in zip((M, X), joined))
        step *= 2
    return M, X


def delta_rule_scan(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *,
                    initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Same arguments and results as `delta_rule_recurrent`.

    Cost per head: about 2T log2(T) K^2 (K + V) FLOPs and T K (K + V) numbers of memory, in log2(T) sequential rounds.
    The chunkwise form needs neither the K^3 nor the state of every token.
    """
    out_dtype = v.dtype
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    q, k, v, beta = (x.transpose(1, 2) for x in (q, k, v, beta))         # (B, H, T, K or V), (B, H, T)
    M, X = inclusive_scan(householder(k, beta), (beta[..., None] * v)[..., :, None] * k[..., None, :])
    states = S[:, :, None] @ M + X                                       # (B, H, T, V, K)
    o = (states @ q[..., None])[..., 0]                                  # (B, H, T, V)
    return (scale * o).transpose(1, 2).to(out_dtype), states[:, :, -1] if k.shape[2] else S
