"""The delta rule for the whole sequence at once: one chunk, C = T (paper, section 3.2)."""

from torch import Tensor

from ..common import enter
from .householder import ut_by_solve


def delta_rule_attention(q: Tensor, k: Tensor, beta: Tensor, *, scale: float = 1.0) -> Tensor:
    """The matrix that softmax attention would call its weights: scale * tril(Q K^T) UT, (B, H, T, T) (eq. 8.7).

    o = matrix @ v when the memory starts empty. Lower triangular; entries may be negative and rows need not sum to 1.
    q, k: (B, T, H, K); beta: (B, T, H). Cost per head: 3T^3 + 4T^2 K FLOPs, 2T^3 for the last product.
    """
    q, k, beta = q.transpose(1, 2), k.transpose(1, 2), beta.transpose(1, 2)      # (B, H, T, K), (B, H, T)
    return scale * (q @ k.mT).tril() @ ut_by_solve(k, beta)


def delta_rule_parallel(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *,
                        initial_state: Tensor | None = None, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """All tokens at once; same arguments and results as `delta_rule_recurrent`.

    O = A V with A from `delta_rule_attention`, plus what the entering state contributes.
    Cost per head: T^3 + T^2 (4K + 4V) + 6TKV FLOPs and T^2 numbers of memory: for short T, and for pictures.
    """
    out_dtype = v.dtype
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    Q, K, V, beta = (x.transpose(1, 2) for x in (q, k, v, beta))         # (B, H, T, K or V), (B, H, T)
    X = ut_by_solve(K, beta) @ (V - K @ S.mT)                            # (B, H, T, V)  what each token really writes
    O = Q @ S.mT + (Q @ K.mT).tril() @ X                                 # (B, H, T, V)
    return (scale * O).transpose(1, 2).to(out_dtype), S + X.mT @ K
