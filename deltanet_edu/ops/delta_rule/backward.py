"""The chunkwise delta rule with its backward pass written by hand (chapter 9): faster than autograd's, and it can save less.

Everything is in residual form: with T_1 = (I + A)^-1 without beta, a chunk that receives the memory S does

    R = V - K S^T            X = T_1 (beta * R)            O = scale (Q S^T + P X)       S' = S + X^T K         (eq. 8.6)

where P = tril(Q K^T), and X holds what each token really writes. Given dO and the gradient dS' of the state that
leaves, the gradient runs through the chunk in this order (a prefix d is "gradient with respect to"):

    dX = P^T dO + K dS'^T    dV = beta * T_1^T dX          dS = dS' + dO^T Q - dV^T K                            (eq. 9.4)

Only the last line is sequential, and it needs neither S nor X. Then, for all chunks at once,

    dQ = dO S + dP K                       dP = tril(dO X^T)
    dK = dP^T Q + X dS' - dV S - (E + E^T) K,   E = stril(dV X^T)                                                (eq. 9.6)
    dbeta_t = (T_1^T dX)_t . e_t,          e = R - stril(K K^T) X,  the prediction error token t met             (eq. 9.7)
"""

import torch

from ..common import chunk, enter, once_differentiable, unchunk


def delta_rule_chunkwise_by_hand(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=32, recompute=False):
    """Same arguments and results as `delta_rule_chunkwise`, one backward pass only (no second derivatives).

    Args:
        chunk_size: C; results/chunkwise_cpu.json has the measured times of several.
        recompute: save only the inputs for the backward pass and run the forward pass again in it: per head,
            T(2K + V + 1) + KV numbers held instead of T(2K + 2V + 2C + 1) + (N + 1)KV (eq. 9.9).
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    o, S = ChunkwiseDeltaRule.apply(scale * q if scale != 1 else q, k, v, beta, S, min(chunk_size, T), recompute)
    return o.to(out_dtype), S


class ChunkwiseDeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta, S, C, recompute):
        B, T, H, _ = q.shape
        inputs = chunks_of(q, k, v, beta, C)
        O, S_out, intermediate = forward_chunks(*inputs, S.flatten(0, 1))
        ctx.shape, ctx.C, ctx.recompute = (B, T, H), C, recompute
        ctx.save_for_backward(*((q, k, v, beta, S) if recompute else (*inputs, *intermediate)))
        return unflatten(O, B, T, H), S_out.view_as(S)

    @staticmethod
    @once_differentiable
    def backward(ctx, do, dS):
        with torch.autocast(do.device.type, enabled=False):              # it may be on where gradients are asked for
            saved = ctx.saved_tensors
            if ctx.recompute:
                *inputs, S = saved
                inputs = chunks_of(*inputs, ctx.C)
                saved = *inputs, *forward_chunks(*inputs, S.flatten(0, 1))[2]
            dO = chunk(do, ctx.C).flatten(0, 2)
            *gradients, dS_in = backward_chunks(*saved, dO, dS.flatten(0, 1))
            dq, dk, dv, dbeta = (unflatten(x, *ctx.shape) for x in gradients)
            return dq, dk, dv, dbeta[..., 0], dS_in.view_as(dS), None, None


def chunks_of(q, k, v, beta, C):
    """Q, K: (N*B*H, C, K), V: (N*B*H, C, V), beta: (N*B*H, C, 1); flat, because baddbmm wants one batch dimension."""
    return tuple(chunk(x, C).flatten(0, 2) for x in (q, k, v, beta[..., None]))


def unflatten(X, B, T, H):
    """(N*B*H, C, D) to (B, T, H, D)."""
    return unchunk(X.unflatten(0, (-1, B, H)), T)


def forward_chunks(Q, K, V, beta, S):
    """O: (N*B*H, C, V), the final state (B*H, V, K), and what the backward pass needs: T_1, P, X and the entering states."""
    BH, N = len(S), len(Q) // len(S)
    A = (beta * (K @ K.mT)).tril_(-1)                                    # (N*BH, C, C)
    eye = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device)
    T1 = torch.linalg.solve_triangular(A, eye.expand_as(A), upper=False, unitriangular=True)
    T = T1 * beta.mT                                                     # (N*BH, C, C)
    W, X = T @ K, T @ V                                                  # X starts as U

    # in place: fresh memory costs more than the arithmetic on tiles this small
    states = S.new_empty(N + 1, *S.shape)                                # (N + 1, BH, V, K)
    states[0] = S
    for n, (W_n, X_n, K_n) in enumerate(zip(*(x.split(BH) for x in (W, X, K)))):
        X_n.baddbmm_(W_n, states[n].mT, alpha=-1)                        # (BH, C, V)  U - W S^T = T (V - K S^T)
        torch.baddbmm(states[n], X_n.mT, K_n, out=states[n + 1])         # (BH, V, K)
    S_in = states[:-1].flatten(0, 1)                                     # (N*BH, V, K)
    P = (Q @ K.mT).tril_()                                               # (N*BH, C, C)
    O = torch.bmm(P, X).baddbmm_(Q, S_in.mT)                             # (N*BH, C, V)
    return O, states[-1].clone(), (T1, P, X, S_in)


def backward_chunks(Q, K, V, beta, T1, P, X, S_in, dO, dS):
    """Gradients of Q, K, V, beta (chunked) and of the initial state, from dO and the gradient of the final state."""
    BH, N = len(dS), len(Q) // len(dS)
    T_T, T1_T = (T1 * beta.mT).mT, T1.mT
    # across chunks, the last one first: dV = T^T (P^T dO + K dS'^T), everything but dS' prepared for all chunks at once
    dX = P.mT @ dO                                                       # (N*BH, C, V)  the part that does not wait for dS'
    dV, TK, dOQ = T_T @ dX, T_T @ K, dO.mT @ Q
    dstates = dS.new_empty(N + 1, *dS.shape)                             # (N + 1, BH, V, K)
    dstates[N] = dS
    chunks = list(zip(*(x.split(BH) for x in (dV, TK, dOQ, K))))
    for n in reversed(range(N)):
        dV_n, TK_n, dOQ_n, K_n = chunks[n]
        dV_n.baddbmm_(TK_n, dstates[n + 1].mT)                           # (BH, C, V)
        torch.baddbmm(dstates[n + 1], dV_n.mT, K_n, alpha=-1, out=dstates[n]).add_(dOQ_n)     # (BH, V, K)
    dS_out = dstates[1:].flatten(0, 1)                                   # (N*BH, V, K)

    # within the chunk, all chunks at once
    dX.baddbmm_(K, dS_out.mT)                                            # (N*BH, C, V)
    dP = (dO @ X.mT).tril_()                                             # (N*BH, C, C)
    E = (dV @ X.mT).tril_(-1)                                            # (N*BH, C, C)
    dQ = (dO @ S_in).baddbmm_(dP, K)
    dK = (X @ dS_out).baddbmm_(dP.mT, Q).baddbmm_(dV, S_in, alpha=-1).baddbmm_(E + E.mT, K, alpha=-1)
    error = torch.baddbmm(V, K, S_in.mT, alpha=-1).baddbmm_((K @ K.mT).tril_(-1), X, alpha=-1)    # what each token found wrong
    dbeta = (T1_T @ dX).mul_(error).sum(-1, keepdim=True)                # (N*BH, C, 1)
    return dQ, dK, dV, dbeta, dstates[0]
