"""The chunkwise delta rule with its backward pass by hand (chapter 9): faster than autograd's, and it can save less.

Everything is in residual form: with T_1 = (I + A)^-1 without beta, a chunk that receives the memory S does

    R = V - K S^T            X = T_1 (beta * R)            O = scale (Q S^T + P X)       S' = S + X^T K  (eq. 8.6)

where P = tril(Q K^T), and X holds what each token really writes. Given dO and the gradient dS' of the state that
leaves, the gradient runs through the chunk in this order (a prefix d is "gradient with respect to"):

    dX = P^T dO + K dS'^T    dV = beta * T_1^T dX          dS = dS' + dO^T Q - dV^T K  (eq. 9.4)

Only the last line is sequential, and it needs neither S nor X. Then, for all chunks at once,

    dQ = dO S + dP K                       dP = tril(dO X^T)
    dK = dP^T Q + X dS' - dV S - (E + E^T) K,   E = stril(dV X^T)  (eq. 9.6)
    dbeta_t = (T_1^T dX)_t . e_t,          e = R - stril(K K^T) X,  the prediction error token t met  (eq. 9.7)
"""

import torch
from torch import Tensor

from ..common import by_autograd, chunk, differentiated, enter, seen_through, unchunk
from .chunkwise import delta_rule_chunkwise


def delta_rule_chunkwise_by_hand(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *,
                                 initial_state: Tensor | None = None, scale: float = 1.0,
                                 chunk_size: int = 32, recompute: bool = False) -> tuple[Tensor, Tensor]:
    """Same arguments, results and derivatives as `delta_rule_chunkwise`: the first by hand, higher ones by autograd.

    Args:
        chunk_size: C; results/chunkwise_cpu.json has the measured times of several.
        recompute: save only the inputs for the backward pass and run the forward pass again in it: per head,
            T(2K + V + 1) + KV numbers held instead of T(2K + 2V + 2C + 1) + (N + 1)KV (eq. 9.9).
    """
    if seen_through():
        return delta_rule_chunkwise(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=chunk_size)
    out_dtype, (B, T, H, _) = v.dtype, q.shape
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    q = scale * q if scale != 1 else q
    O, S_out = ChunkwiseDeltaRule.apply(q, k, v, beta, S, max(1, min(chunk_size, T)), recompute)
    return unflatten(O, B, T, H).to(out_dtype), S_out.view_as(S)         # views made inside would refuse o *= 2


class ChunkwiseDeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta, S, C, recompute):
        O, S_out, intermediate = forward_chunks(*chunks_of(q, k, v, beta, C), S.flatten(0, 1))
        ctx.C = C
        ctx.save_for_backward(q, k, v, beta, S, *(() if recompute else intermediate))
        return O, S_out                                                  # (N*B*H, C, V), (B*H, V, K)

    @staticmethod
    def backward(ctx, dO, dS):
        q, k, v, beta, S, *intermediate = ctx.saved_tensors
        (B, T, H, _), C = q.shape, ctx.C
        with torch.autocast(dO.device.type, enabled=False):              # it may be on where gradients are asked for
            if differentiated(dO, dS):
                def rule(q, k, v, beta, S):
                    return delta_rule_chunkwise(q, k, v, beta, initial_state=S, chunk_size=C)
                gradients = unflatten(dO, B, T, H), dS.view_as(S)
                return *by_autograd(rule, (q, k, v, beta, S), gradients), None, None
            inputs = chunks_of(q, k, v, beta, C)
            intermediate = intermediate or forward_chunks(*inputs, S.flatten(0, 1))[2]
            *gradients, dS_in = backward_chunks(*inputs, *intermediate, dO, dS)
            dq, dk, dv, dbeta = (unflatten(x, B, T, H) for x in gradients)
            return dq, dk, dv, dbeta[..., 0], dS_in.view_as(S), None, None


def chunks_of(q, k, v, beta, C):
    """Q, K: (N*B*H, C, K), V: (N*B*H, C, V), beta: (N*B*H, C, 1); flat, because baddbmm wants one batch dimension."""
    return tuple(chunk(x, C).flatten(0, 2) for x in (q, k, v, beta[..., None]))


def unflatten(X, B, T, H):
    """(N*B*H, C, D) to (B, T, H, D)."""
    N = -(-max(T, 1) // X.shape[1])
    return unchunk(X.reshape(N, B, H, *X.shape[1:]), T)


def forward_chunks(Q, K, V, beta, S):
    """O: (N*B*H, C, V), the final state (B*H, V, K), and what the backward pass needs: T_1, P, X, entering states."""
    BH, N = len(S), len(Q) // len(S) if len(S) else 1
    A = (beta * (K @ K.mT)).tril_(-1)                                    # (N*BH, C, C)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    T1 = torch.linalg.solve_triangular(A, eye.expand_as(A), upper=False, unitriangular=True)
    UT = T1 * beta.mT                                                    # (N*BH, C, C)
    W, X = UT @ K, UT @ V                                                # X starts as U

    # in place: fresh memory costs more than the arithmetic on tiles this small
    states, S_out = S.new_empty(N, *S.shape), torch.empty_like(S)        # (N, BH, V, K), (BH, V, K)
    states[0] = S
    for n, (W_n, X_n, K_n) in enumerate(zip(*(x.split(BH) for x in (W, X, K)))):
        X_n.baddbmm_(W_n, states[n].mT, alpha=-1)                        # (BH, C, V)  U - W S^T = UT (V - K S^T)
        torch.baddbmm(states[n], X_n.mT, K_n, out=states[n + 1] if n + 1 < N else S_out)      # (BH, V, K)
    S_in = states.flatten(0, 1)                                          # (N*BH, V, K)
    P = (Q @ K.mT).tril_()                                               # (N*BH, C, C)
    O = torch.bmm(P, X).baddbmm_(Q, S_in.mT)                             # (N*BH, C, V)
    return O, S_out, (T1, P, X, S_in)


def backward_chunks(Q, K, V, beta, T1, P, X, S_in, dO, dS):
    """Gradients of Q, K, V, beta (chunked) and of the initial state, from dO and the gradient of the final state."""
    BH, N = len(dS), len(Q) // len(dS) if len(dS) else 1
    UT_T, T1_T = (T1 * beta.mT).mT, T1.mT
    # across chunks, the last one first: dV = UT^T (P^T dO + K dS'^T), all but dS' prepared for all chunks at once
    dX = P.mT @ dO                                                       # (N*BH, C, V)  what need not wait for dS'
    dV, UTK, dOQ = UT_T @ dX, UT_T @ K, dO.mT @ Q
    dstates = dS.new_empty(N + 1, *dS.shape)                             # (N + 1, BH, V, K)
    dstates[N] = dS
    chunks = list(zip(*(x.split(BH) for x in (dV, UTK, dOQ, K))))
    for n in reversed(range(N)):
        dV_n, UTK_n, dOQ_n, K_n = chunks[n]
        dV_n.baddbmm_(UTK_n, dstates[n + 1].mT)                          # (BH, C, V)
        torch.baddbmm(dstates[n + 1], dV_n.mT, K_n, alpha=-1, out=dstates[n]).add_(dOQ_n)     # (BH, V, K)
    dS_out = dstates[1:].flatten(0, 1)                                   # (N*BH, V, K)

    # within the chunk, all chunks at once
    dX.baddbmm_(K, dS_out.mT)                                            # (N*BH, C, V)
    dP = (dO @ X.mT).tril_()                                             # (N*BH, C, C)
    E = (dV @ X.mT).tril_(-1)                                            # (N*BH, C, C)
    dQ = (dO @ S_in).baddbmm_(dP, K)
    dK = (X @ dS_out).baddbmm_(dP.mT, Q).baddbmm_(dV, S_in, alpha=-1).baddbmm_(E + E.mT, K, alpha=-1)
    R = torch.baddbmm(V, K, S_in.mT, alpha=-1)                           # (N*BH, C, V)
    error = R.baddbmm_((K @ K.mT).tril_(-1), X, alpha=-1)                # (N*BH, C, V)  what each token found wrong
    dbeta = (T1_T @ dX).mul_(error).sum(-1, keepdim=True)                # (N*BH, C, 1)
    return dQ, dK, dV, dbeta, dstates[0]
