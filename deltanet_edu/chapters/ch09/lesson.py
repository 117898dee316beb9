"""Chapter 9: the backward pass. The equations and the predictions of its lesson."""

import torch

from ...bench.roofline import kept
from ...ops import delta_rule_chunkwise_by_hand
from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import equation, prediction
from ...tutor.cases import normal
from ..common import eye_like, inputs
from .chunk import by_autograd, forward_chunk, token_loop

# -- equations ---------------------------------------------------------------------------------------------------------

ONE = "q k v beta S do dS"                                               # of one chunk, and the gradients that arrive


def system(g):
    """L = I + A, Z and the gradient of X, for L X = Z."""
    for C, V in ((1, 1), (3, 2), (6, 4)):
        L = torch.eye(C, dtype=torch.float64) + normal(g, C, C).tril(-1)
        yield L, normal(g, C, V), normal(g, C, V)


@equation("9.1", r"Y = A B: \qquad dA = dY\,B^\top, \qquad dB = A^\top\,dY")
def _(g):
    for n, m, p in ((1, 1, 1), (2, 3, 4), (5, 2, 3)):
        A, B, dY = normal(g, n, m), normal(g, m, p), normal(g, n, p)
        yield "autograd", by_autograd(torch.matmul, (A, B), (dY,)), (dY @ B.T, A.T @ dY)


@equation("9.2", r"L X = Z: \qquad dZ = L^{-\top}\,dX, \qquad dL = -\,dZ\,X^\top")
def _(g):
    for L, Z, dX in system(g):
        X, dZ = torch.linalg.solve(L, Z), torch.linalg.solve(L.T, dX)
        yield "autograd, every entry of L", by_autograd(torch.linalg.solve, (L, Z), (dX,)), (-dZ @ X.T, dZ)


@equation("9.3", r"-\,L^{-\top}\,\big(dX\,Z^\top\big)\,L^{-\top} = -\,dZ\,X^\top")
def _(g):
    for L, Z, dX in system(g):
        inv = torch.linalg.inv(L)
        long = -inv.T @ (dX @ Z.T) @ inv.T
        yield "the two ways", long, -(inv.T @ dX) @ (inv @ Z).T
        yield "autograd through the inverse", by_autograd(lambda L: torch.linalg.inv(L) @ Z, (L,), (dX,))[0], long


@equation("9.4", r"dX = P^\top dO + K\,dS'^\top, \qquad dV = \beta \odot \mathbf{T}_1^\top\,dX, \qquad "
                 r"dS = dS' + dO^\top Q - dV^\top K")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        _, _, (UT1, P, R, X) = forward_chunk(q, k, v, beta, S)
        dX = P.T @ do + k @ dS.T
        yield "dX", by_autograd(lambda X: (q @ S.T + P @ X, S + X.T @ k), (X,), (do, dS))[0], dX
        gradients = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        dV = beta[:, None] * (UT1.T @ dX)
        yield "dV = autograd through the token loop", gradients[2], dV
        yield "dS = autograd through the token loop", gradients[4], dS + do.T @ q - dV.T @ k


@equation("9.5", r"dA = -\,\mathrm{stril}(dZ\,X^\top), \qquad d(KK^\top) = -E, \qquad E = \mathrm{stril}(dV\,X^\top)")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        _, _, (UT1, P, R, X) = forward_chunk(q, k, v, beta, S)
        dX, overlaps, b = normal(g, *X.shape), k @ k.T, beta[:, None]
        A, dZ = (b * overlaps).tril(-1), UT1.T @ dX

        def solve(A):
            return torch.linalg.solve_triangular(A.tril(-1), b * R, upper=False, unitriangular=True)
        yield "dA", by_autograd(solve, (A,), (dX,))[0], -(dZ @ X.T).tril(-1)
        yield "d(K Kᵀ)", by_autograd(lambda G: solve(b * G), (overlaps,), (dX,))[0], -((b * dZ) @ X.T).tril(-1)


@equation("9.6", r"dQ = dO\,S + dP\,K, \qquad dP = \mathrm{tril}(dO\,X^\top), \qquad "
                 r"dK = dP^\top Q + X\,dS' - dV\,S - (E + E^\top)\,K")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        _, _, (UT1, P, R, X) = forward_chunk(q, k, v, beta, S)
        expected = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        dV = expected[2]
        dP, E = (do @ X.T).tril(), (dV @ X.T).tril(-1)
        yield "dQ = autograd through the token loop", expected[0], do @ S + dP @ k
        yield "dK = autograd through the token loop", expected[1], dP.T @ q + X @ dS - dV @ S - (E + E.T) @ k
        yield "dP", by_autograd(lambda P: P.tril() @ X, (P,), (do,))[0], dP


@equation("9.7", r"d\beta_t = (\mathbf{T}_1^\top\,dX)_t^\top\, e_t, \qquad "
                 r"e_t = v_t - S_{t-1} k_t = \big(R - \mathrm{stril}(KK^\top)\,X\big)_t")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        _, _, (UT1, P, R, X) = forward_chunk(q, k, v, beta, S)
        e, state = R - (k @ k.T).tril(-1) @ X, S
        met = []
        for k_t, v_t, beta_t in zip(k, v, beta):
            met.append(v_t - state @ k_t)
            state = state + beta_t * torch.outer(met[-1], k_t)
        yield "the errors the token loop meets", torch.stack(met), e
        dZ = UT1.T @ (P.T @ do + k @ dS.T)
        expected = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        yield "dβ = autograd through the token loop", expected[3], (dZ * e).sum(-1)


@equation("9.8", r"dS = dS'\,(I - K^\top W) + dO^\top\,(Q - P\,W)")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        W, P = ut_by_solve(k, beta) @ k, (q @ k.T).tril()
        expected = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        yield "autograd through the token loop", expected[4], dS @ (eye_like(k) - k.T @ W) + do.T @ (q - P @ W)


@equation("9.9", r"M_{\text{save}} = T\,(2d_k + 2d_v + 2C + 1) + \Big(\frac{T}{C} + 1\Big)\,d_k d_v, \qquad "
                 r"M_{\text{recompute}} = T\,(2d_k + d_v + 1) + d_k d_v")
def _(g):
    for T, C, K, V in ((8, 4, 3, 5), (64, 16, 8, 8), (64, 64, 16, 4)):
        shapes = (1, T, 1, K), (1, T, 1, K), (1, T, 1, V), (1, T, 1), (1, 1, V, K)
        *tokens, S = (normal(g, *shape).requires_grad_() for shape in shapes)

        def numbers(recompute):
            options = dict(initial_state=S, chunk_size=C, recompute=recompute)
            return kept(delta_rule_chunkwise_by_hand, *tokens, **options) // 8
        yield "saving", numbers(False), T * (2 * K + 2 * V + 2 * C + 1) + (T // C + 1) * K * V
        yield "recomputing", numbers(True), T * (2 * K + V + 1) + K * V


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "9.a", question="One head, K = V = 64, float32, 1024 tokens: the inputs are 0.75 MiB, and of the token loop "
                    "autograd keeps 17 MiB. How much does it keep of the chunkwise form, with C = 32?",
    options={
        "0.5 MiB": "A 32nd of the loop: that would be the memories between the chunks, 32 times 16 KiB. What is "
                   "computed within the chunks is kept too.",
        "0.75 MiB": "The inputs are kept, but so is nearly everything that is computed from them and used again.",
        "3 MiB": "Memories, UT, W, U, the masked products and the chunked inputs: about four times the inputs.",
        "17 MiB": "No memory per token any more: that part has shrunk to a 32nd.",
    },
    answer="3 MiB",
)

prediction(
    "9.b", question="We replace all values V and the entering memory S by other ones, and keep everything else, dO and "
                    "dS′ included. What happens to dV and dS?",
    options={
        "both change": "The outputs and the memory change. But look for V, S or X in the three formulas of eq. 9.4: "
                       "they are not there.",
        "dV changes, dS does not": "Neither V nor S nor X occurs in eq. 9.4.",
        "dS changes, dV does not": "Neither V nor S nor X occurs in eq. 9.4.",
        "neither changes": "For fixed keys the layer is linear in values and memory together, and the gradient of a "
                           "linear map does not depend on where you are.",
    },
    answer="neither changes",
)

prediction(
    "9.c", question="The token A → 1 comes a second time, unchanged, and A has not been overwritten in between; keys "
                    "are orthogonal. Which gradient does its β get?",
    options={
        "zero": "The error is zero, so the strength of the write does not matter, whatever the outputs want.",
        "a large one": "The memory already says 1. Writing nothing, more strongly, is still nothing.",
        "the same as the first time": "The first time the memory said 0, and how strongly to write mattered. Now it "
                                      "says 1.",
        "the negative of the first": "A sign can turn when the outputs want the opposite; here the factor that is the "
                                     "error is zero.",
    },
    answer="zero",
)

prediction(
    "9.d", question="Saving only the inputs means running the forward pass a second time. How much more work is "
                    "forward plus backward then, at C = 32 and K = V = 64?",
    options={
        "about 5 % more": "The forward pass is cheaper than the backward pass, but not that cheap.",
        "about 30 % more": "The forward pass is roughly a third of forward plus backward, and it runs once more.",
        "twice as much": "Only the forward pass runs twice. The backward pass, with more products, runs once.",
        "three times as much": "Only the forward pass runs twice.",
    },
    answer="about 30 % more",
)
