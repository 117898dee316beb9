"""The chunkwise delta rule with its backward pass written by hand (chapter 9): faster than autograd's, and it can save less.

Everything is in residual form: with T_1 = (I + A)^-1 without beta, a chunk that receives the memory S does

    R = V - K S^T            X = T_1 (beta * R)            O = scale (Q S^T + P X)       S' = S + X^T K         (eq. 8.6)

where P = tril(Q K^T), and X holds what each token really writes. Given dO and the gradient dS' of the state that
leaves, the gradient runs through the chunk in this order (a prefix d is "gradient with respect to"):

    dX = P^T dO + K dS'^T    dR = beta * T_1^T dX = dV     dS = dS' + dO^T Q - dV^T K                            (eq. 9.4)

Only the last line is sequential, and it needs neither S nor X. Then, for all chunks at once,

    dQ = dO S + dP K                       dP = tril(dO X^T)
    dK = dP^T Q + X dS' - dV S - (E + E^T) K,   E = stril(dV X^T)                                                (eq. 9.6)
    dbeta_t = (T_1^T dX)_t . e_t,          e = R - stril(K K^T) X,  the prediction error token t met             (eq. 9.7)
"""

import torch
from torch.autograd.function import once_differentiable

from .common import chunk, enter, unchunk


def delta_rule_chunkwise_by_hand(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=32, recompute=False):
    """Same arguments and results as `delta_rule_chunkwise`, one backward pass only (no second derivatives).

    Args:
        chunk_size: C. 32 is the fastest on the CPUs we measured (results/chunkwise_cpu.json), 64 on GPUs.
        recompute: save only the inputs for the backward pass and run the forward pass again in it: per head,
            T(2K + 2V) numbers held instead of T(3K + 3V + 2C) + NKV, for about a third more time.
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    o, S = ChunkwiseDeltaRule.apply(scale * q if scale != 1 else q, k, v, beta, S, min(chunk_size, T), recompute)
    return o.to(out_dtype), S


class ChunkwiseDeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta, S, C, recompute):
        T = q.shape[1]
        inputs = chunks_of(q, k, v, beta, C)
        O, S_out, intermediate = forward_chunks(*inputs, S)
        ctx.C, ctx.recompute = C, recompute
        ctx.save_for_backward(*((q, k, v, beta, S) if recompute else (q, *inputs, *intermediate)))
        return unchunk(O, T), S_out

    @staticmethod
    @once_differentiable
    def backward(ctx, do, dS):
        q, *saved = ctx.saved_tensors
        if ctx.recompute:
            k, v, beta, S = saved
            inputs = chunks_of(q, k, v, beta, ctx.C)
            saved = *inputs, *forward_chunks(*inputs, S)[2]
        *gradients, dS = backward_chunks(*saved, chunk(do, ctx.C), dS)
        dq, dk, dv, dbeta = (unchunk(x, q.shape[1]) for x in gradients)
        return dq, dk, dv, dbeta[..., 0], dS, None, None


def chunks_of(q, k, v, beta, C):
    """Q, K: (N, B, H, C, K), V: (N, B, H, C, V), beta: (N, B, H, C, 1)."""
    return *(chunk(x, C) for x in (q, k, v)), chunk(beta[..., None], C)


def forward_chunks(Q, K, V, beta, S):
    """O: (N, B, H, C, V), the final state, and what the backward pass needs: T_1, P, X and the entering states."""
    A = (beta * (K @ K.mT)).tril_(-1)                                    # (N, B, H, C, C)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    T1 = torch.linalg.solve_triangular(A, eye.expand_as(A), upper=False, unitriangular=True)
    W, U = T1 @ (beta * K), T1 @ (beta * V)
    states, X = [], []
    S = S.flatten(0, 1)                                                  # (BH, V, K); baddbmm wants one batch dimension
    for W_n, U_n, K_n in zip(*(x.flatten(1, 2).unbind(0) for x in (W, U, K))):
        states.append(S)
        X.append(torch.baddbmm(U_n, W_n, S.mT, alpha=-1))                # (BH, C, V)  U - W S^T = T (V - K S^T)
        S = torch.baddbmm(S, X[-1].mT, K_n)                              # (BH, V, K)
    states, X = (torch.stack(x).unflatten(1, Q.shape[1:3]) for x in (states, X))
    P = (Q @ K.mT).tril_()                                               # (N, B, H, C, C)
    O = (P @ X).add_(Q @ states.mT)                                      # (N, B, H, C, V)
    return O, S.unflatten(0, Q.shape[1:3]), (T1, P, X, states)


def backward_chunks(Q, K, V, beta, T1, P, X, S, dO, dS):
    """Gradients of Q, K, V, beta (chunked) and of the initial state, from dO and the gradient of the final state."""
    # across chunks, last one first: dV = beta T_1^T (P^T dO + K dS'^T), everything but dS' prepared for all chunks at once
    PdO = P.mT @ dO                                                      # (N, B, H, C, V)
    T1_T = T1.mT
    dV_own, dV_state, dS_own = T1_T @ PdO * beta, T1_T @ K * beta, dO.mT @ Q
    dS_after, dV = [], []
    dS = dS.flatten(0, 1)                                                # (BH, V, K)
    for own_n, state_n, Z_n, K_n in reversed(list(zip(*(x.flatten(1, 2).unbind(0) for x in (dV_own, dV_state, dS_own, K))))):
        dS_after.append(dS)
        dV.append(torch.baddbmm(own_n, state_n, dS.mT))                  # (BH, C, V)
        dS = torch.baddbmm(dS, dV[-1].mT, K_n, alpha=-1).add_(Z_n)       # (BH, V, K)
    dS_after, dV = (torch.stack(x[::-1]).unflatten(1, Q.shape[1:3]) for x in (dS_after, dV))

    # within the chunk, all chunks at once
    dP = (dO @ X.mT).tril_()                                             # (N, B, H, C, C)
    E = (dV @ X.mT).tril_(-1)                                            # (N, B, H, C, C)  -beta dA, through the inverse
    dQ = (dO @ S).add_(dP @ K)
    dK = (dP.mT @ Q).add_(X @ dS_after).sub_(dV @ S).sub_((E + E.mT) @ K)
    error = V - K @ S.mT - (K @ K.mT).tril_(-1) @ X                      # (N, B, H, C, V)  what each token found wrong
    dbeta = (T1_T @ (PdO + K @ dS_after.mT) * error).sum(-1, keepdim=True)
    return dQ, dK, dV, dbeta, dS.unflatten(0, Q.shape[1:3])
