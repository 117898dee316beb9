"""One chunk, forward and backward, as lesson 9 derives it; and the same gradients by autograd."""

import torch

from ...ops import delta_rule_recurrent
from ..common import eye_like, one_head


def inverse(K, beta):
    """UT_1 = (I + A)^-1 of chapter 6, without diag(beta): (C, C)."""
    A = (beta[:, None] * (K @ K.mT)).tril(-1)
    return torch.linalg.solve_triangular(A, eye_like(A), upper=False, unitriangular=True)


def forward_chunk(Q, K, V, beta, S):
    """One chunk in residual form: O, S', and what the backward pass needs, (UT1, P, R, X)."""
    UT1, P, R = inverse(K, beta), (Q @ K.mT).tril(), V - K @ S.mT
    X = UT1 @ (beta[:, None] * R)
    return Q @ S.mT + P @ X, S + X.mT @ K, (UT1, P, R, X)


def backward_chunk(Q, K, V, beta, S, saved, dO, dS):
    """Eq. 9.4 to 9.7 for one chunk: dQ, dK, dV, dbeta, and the gradient of the memory that entered."""
    UT1, P, R, X = saved
    dX = P.mT @ dO + K @ dS.mT                                           # (C, V)
    dZ = UT1.mT @ dX                                                     # (C, V)
    dV = beta[:, None] * dZ                                              # (C, V)
    dS_in = dS + dO.mT @ Q - dV.mT @ K                                   # (V, K)
    dP, E = (dO @ X.mT).tril(), (dV @ X.mT).tril(-1)                     # (C, C)
    dQ = dO @ S + dP @ K                                                 # (C, K)
    dK = dP.mT @ Q + X @ dS - dV @ S - (E + E.mT) @ K                    # (C, K)
    e = R - (K @ K.mT).tril(-1) @ X                                      # (C, V)
    return dQ, dK, dV, (dZ * e).sum(-1), dS_in


def by_autograd(f, inputs, outgoing):
    """Gradients of `inputs` when the gradients of f's results are `outgoing`."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    results = f(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    pairs = [(r, d) for r, d in zip(results, outgoing) if r.requires_grad]
    found = torch.autograd.grad([r for r, _ in pairs], inputs, [d for _, d in pairs], allow_unused=True)
    return tuple(torch.zeros_like(x) if d is None else d for x, d in zip(inputs, found))


def chunk_results(Q, K, V, beta, S):
    return forward_chunk(Q, K, V, beta, S)[:2]


def token_loop(q, k, v, beta, S):
    """Outputs (T, V) and the last memory (V, K) of the package's token loop, for one head."""
    return one_head(delta_rule_recurrent, q, k, v, beta, S)
