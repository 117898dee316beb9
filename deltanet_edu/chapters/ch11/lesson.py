"""Chapter 11: the forward kernels. The equations and the predictions of its lesson."""

import torch

from ...ops import delta_rule_recurrent
from ...ops.delta_rule.householder import ut_by_solve, ut_system
from ...tutor import equation, prediction
from ..common import eye_like, inputs, loop, one_head

ONE = "q k v beta S"                                                     # of one chunk


@equation("11.1", r"s_t = s_{t-1} - \beta_t\,(s_{t-1} k_t - v_t)\,k_t^\top")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        _, states = loop(q, k, v, beta, S)
        for r in range(len(S)):
            s = S[r]
            for k_t, v_t, beta_t in zip(k, v[:, r], beta):
                s = s - beta_t * (s @ k_t - v_t) * k_t
            yield f"row {r} alone = row {r} of the memory", s, states[-1][r]


def corners(A, n):
    """A masked to the lower left corner of each block of 2n x 2n on the diagonal."""
    masked = torch.zeros_like(A)
    for start in range(0, len(A), 2 * n):
        middle, end = start + n, start + 2 * n
        masked[middle:end, start:middle] = A[middle:end, start:middle]
    return masked


def blocks(A, n):
    """The inverses of the blocks of n x n on the diagonal of I + stril(A), zeros elsewhere."""
    pieces = [A[i:i + n, i:i + n] for i in range(0, len(A), n)]
    return torch.block_diag(*(torch.linalg.inv(eye_like(piece) + piece.tril(-1)) for piece in pieces))


@equation("11.2", r"T_1 \;\leftarrow\; T_1 - T_1\,A_\llcorner\,T_1")
def _(g):
    for k, beta in inputs(g, "k beta", T=(2, 5, 16)):
        A = ut_system(k, beta)
        for n in (1, 2, 4, 8, 16):
            T1 = blocks(A, n)
            yield f"from blocks of {n} to blocks of {2 * n}", T1 - T1 @ corners(A, n) @ T1, blocks(A, 2 * n)


@equation("11.3", r"R^\top = V^\top - S\,K^\top, \qquad X^\top = R^\top\,\mathbf{T}^\top, \qquad S' = S + X^\top K")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        R_t = v.T - S @ k.T
        X_t = R_t @ ut_by_solve(k, beta).T
        _, states = loop(q, k, v, beta, S)
        written = torch.stack([b * (x - M @ key) for b, x, M, key in zip(beta, v, states, k)])
        yield "what the loop writes, as columns", X_t, written.T
        yield "the memory that leaves", S + X_t @ k, states[-1]


@equation("11.4", r"O^\top = s\,\Big( S\,Q^\top + X^\top\,\mathrm{triu}(K Q^\top) \Big)")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        X_t = (v.T - S @ k.T) @ ut_by_solve(k, beta).T
        o, _ = one_head(delta_rule_recurrent, q, k, v, beta, S, scale=0.5)
        yield "the outputs of the loop, as columns", 0.5 * (S @ q.T + X_t @ (k @ q.T).triu()), o.T


@equation("11.5", r"X^\top = R^\top\,\mathrm{diag}(\beta) + R^\top\,\mathbf{T}_{\mathrm{low}}^\top, "
                  r"\qquad \mathbf{T}_{\mathrm{low}} = \mathrm{stril}(\mathbf{T})")
def _(g):
    for k, v, beta, S in inputs(g, "k v beta S"):
        R_t, UT = v.T - S @ k.T, ut_by_solve(k, beta)
        yield "the diagonal is beta", UT.diagonal(), beta
        yield "X in two parts", R_t * beta + R_t @ UT.tril(-1).T, R_t @ UT.T


@equation("11.6", r"\text{bytes per token and head} = \underbrace{e\,(2 d_k + 2 d_v) + 4}_{\text{least}} \;+\; "
                  r"\underbrace{e\,(d_k + 2C) + 8}_{\text{the inverse apart}} \;+\; "
                  r"\underbrace{(m - 1)\,\big(e\,(2 d_k + C) + 4\big)}_{m \text{ programs a head}}")
def _(g):
    from ...figures.forward import asked
    from .bill import counted

    for K, V, C, V_TILE in ((16, 32, 16, 16), (32, 16, 16, 16), (32, 64, 32, 32)):
        by_formula = sum(asked(V_TILE, K, V, C, e=4))
        yield "counted while the package runs", counted(2 * C, 1, K, V, C, V_TILE), float(by_formula)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "11.a", question="Four chunks, a program each; every program reads the memory that the one before it has left. "
                     "The interpreter starts them in the order that we hand in. When is the last memory right?",
    options={
        "in any order": "That would need writes that do not depend on what is there, as in linear attention. Here each "
                        "program first asks the memory what it says.",
        "in the order 0, 1, 2, 3 only": "Then each finds what its predecessor has left. Every other order asks an "
                                        "older memory, and nothing in a launch forbids it.",
        "never": "In the interpreter, programs run one after the other. If that happens to be the order of the chunks, "
                 "each finds the right memory.",
    },
    answer="in the order 0, 1, 2, 3 only",
)

prediction(
    "11.b", question="The simple kernel loads q, k, v and β chunk by chunk, keeps the memory and everything in between "
                     "in registers, and stores o. How many times the least does it move?",
    options={
        "1": "Each number is loaded once, by the only program that needs it, and nothing in between ever leaves the "
             "program.",
        "2": "That would need a second reading of everything. One program owns the head and uses each tile for all "
             "that it is needed for.",
        "about 5": "The memory, K Kᵀ, the inverse, R and X would have to be stored and loaded. They live in registers.",
        "16, the chunk length": "A tile is loaded once and used for C tokens: that is the reason for chunks, not a "
                                "price.",
    },
    answer="1",
)

prediction(
    "11.c", question="A right operand must lie in shared memory. With tokens as rows, R = V − K Sᵀ, X = UT R, "
                     "S' = S + Xᵀ K: how many times does the chain from S to the next S have to pass through shared "
                     "memory?",
    options={
        "never": "K, UT and K come from shared memory, but they were loaded there ahead of time. What is just being "
                 "computed is the trouble.",
        "once": "Sᵀ is a right operand, that is once. What about R, and the transpose of X?",
        "twice": "Sᵀ and R are right operands. Xᵀ stands on the left, but transposed, and registers of many threads "
                 "cannot be transposed in place.",
        "three times": "Sᵀ and R as right operands, and X to be transposed.",
    },
    answer="three times",
)

prediction(
    "11.d", question="Xᵀ = Rᵀ UTᵀ with R and UT rounded to bfloat16; or β R in float32 plus the rounded product with "
                     "UT_low. Which is closer to Xᵀ?",
    options={
        "the product with the whole of UT": "It rounds the largest part of X, β R, twice: once in R and once in UT.",
        "neither": "They would be alike if the part below the diagonal were the larger one. For keys that do not "
                   "repeat it is the smaller one.",
        "β R apart": "The largest part of X never meets bfloat16.",
    },
    answer="β R apart",
)
