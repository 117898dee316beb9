"""Chapter 8: chunkwise DeltaNet. The equations and the predictions of its lesson."""

import torch

from ...ops import delta_rule_attention, delta_rule_chunkwise, delta_rule_parallel, delta_rule_recurrent
from ...ops.delta_rule.householder import ut_by_solve, wy_u, wy_w
from ...tutor import equation, prediction
from ..common import eye_like, inputs, loop, one_head
from .cost import count
from .one_chunk import one_chunk, one_chunk_by_loop
from .problems import chunkwise

# -- equations ---------------------------------------------------------------------------------------------------------

ONE = "q k v beta S"                                                     # of one chunk, or one sequence


def written(k, v, beta, S):
    """What the token loop writes, β_t times the error that token t meets, as rows: (T, V)."""
    _, states = loop(k, k, v, beta, S)
    return torch.stack([beta[t] * (v[t] - states[t] @ k[t]) for t in range(len(k))])


def chunk_matrices(k, v, beta):
    """UT, W, U of one chunk."""
    return ut_by_solve(k, beta), wy_w(k, beta), wy_u(k, v, beta)


@equation("8.1", r"S_t = S + \sum_{i \le t} x_i k_i^\top, \qquad x_t = u_t - S\,w_t = \beta_t\,(v_t - S_{t-1} k_t)")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        _, states = loop(q, k, v, beta, S)
        x = wy_u(k, v, beta) - wy_w(k, beta) @ S.T
        yield "u - S w is what the loop writes", x, written(k, v, beta, S)
        sums = [S + x[:t].T @ k[:t] for t in range(1, len(k) + 1)]
        yield "every memory inside the chunk", torch.stack(sums), torch.stack(states[1:])


@equation("8.2", r"X = U - W S^\top")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        UT, _, _ = chunk_matrices(k, v, beta)
        yield "rows are what the loop writes", UT @ v - UT @ k @ S.T, written(k, v, beta, S)


@equation("8.3", r"o_t = s\,S_t q_t = s\,\Big(S q_t + \sum_{i \le t} x_i\,(k_i^\top q_t)\Big)")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        o, _ = one_head(delta_rule_recurrent, q, k, v, beta, S, scale=0.5)
        x = wy_u(k, v, beta) - wy_w(k, beta) @ S.T
        sums = [S @ q[t] + sum(x[i] * (k[i] @ q[t]) for i in range(t + 1)) for t in range(len(k))]
        yield "every output", o, 0.5 * torch.stack(sums)


@equation("8.4", r"S' = S + X^\top K = S + (U - W S^\top)^\top K")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        _, W, U = chunk_matrices(k, v, beta)
        S_out = S + (U - W @ S.T).T @ k
        yield "the memory after the chunk", S_out, loop(q, k, v, beta, S)[1][-1]
        yield "eq. 5.5", S_out, S @ (eye_like(k) - W.T @ k) + U.T @ k


@equation("8.5", r"O = s\,\Big(Q S^\top + \mathrm{tril}(Q K^\top)\,(U - W S^\top)\Big)")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        _, W, U = chunk_matrices(k, v, beta)
        O = 0.5 * (q @ S.T + (q @ k.T).tril() @ (U - W @ S.T))
        yield "the token loop", O, one_head(delta_rule_recurrent, q, k, v, beta, S, scale=0.5)[0]
    for q, k, v, beta, S, C in inputs(g, "q k v beta S C", T=(7,), C=(1, 2, 3, 7, 16)):
        mine = chunkwise(q, k, v, beta, S, C)
        yield "chunk after chunk, any C", mine, one_head(delta_rule_chunkwise, q, k, v, beta, S, chunk_size=C)
        yield "and the loop", mine, one_chunk_by_loop(q, k, v, beta, S)


@equation("8.6", r"U - W S^\top = \mathbf{T}\,(V - K S^\top)")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        UT, W, U = chunk_matrices(k, v, beta)
        X = U - W @ S.T
        yield "X in two ways", X, UT @ (v - k @ S.T)
        A = (beta[:, None] * k @ k.T).tril(-1)
        yield "X solves (I + A) X = diag(β)(V - K Sᵀ)", X + A @ X, beta[:, None] * (v - k @ S.T)


@equation("8.7", r"O = \Big(s\,\mathrm{tril}(Q K^\top)\,\mathbf{T}\Big)\,V")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE):
        weights, empty = 0.5 * (q @ k.T).tril() @ ut_by_solve(k, beta), torch.zeros_like(S)
        o, _ = one_head(delta_rule_recurrent, q, k, v, beta, empty, scale=0.5)
        yield "weights times values = the loop, from an empty memory", weights @ v, o
        one = q[None, :, None], k[None, :, None], beta[None, :, None]
        yield "the package's matrix", weights, delta_rule_attention(*one, scale=0.5)[0, 0]
        parallel = one_head(delta_rule_parallel, q, k, v, beta, S)
        yield "the package's parallel form, any memory", parallel, one_chunk_by_loop(q, k, v, beta, S)


@equation("8.8", r"C = 1: \qquad \mathbf{T} = \beta, \qquad S' = S + \beta\,(v - S k)\,k^\top, \qquad o = s\,S' q")
def _(g):
    for q, k, v, beta, S in inputs(g, ONE, T=(1,)):
        O, S_out = one_chunk(q, k, v, beta, S)
        yield "the matrix", ut_by_solve(k, beta), beta[:, None]
        yield "the state", S_out, S + beta[0] * torch.outer(v[0] - S @ k[0], k[0])
        yield "the output", O[0], S_out @ q[0]


@equation("8.9", r"\text{FLOPs per token and head} = 6\,d_k d_v + C\,(6\,d_k + 4\,d_v) + C^2")
def _(g):
    for C in (1, 4, 16, 64):
        for K, V in ((4, 4), (3, 8), (16, 8)):
            per_token = 6 * K * V + C * (6 * K + 4 * V) + C**2
            yield "counted while the package runs", count(C, K, V, 64), 64 * per_token


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "8.a", question="64 tokens in chunks of 16. Each chunk computes what it would write into an empty memory, and "
                    "these writes are simply added up, as in chapter 7. Which outputs are wrong?",
    options={
        "none": "It would work if the writes did not depend on what is in the memory. In linear attention they do not.",
        "all": "The first chunk starts from a memory that really is empty, so there the recipe is exact.",
        "those at the borders, 16, 32 and 48": "The border is where the mistake begins, not where it ends: everything "
                                               "read after it passes through the wrong memory.",
        "those from token 17 on": "The first chunk is exact. All later ones fail to see, and so fail to erase, what "
                                  "the chunks before have written.",
    },
    answer="those from token 17 on",
)

prediction(
    "8.b", question="The same three tokens, and every token reads with its own key, q_t = k_t. What would they read if "
                    "the mask left the diagonal out?",
    options={
        "what the memory said just before their write": "Without the diagonal token t sees the writes of i < t, so it "
                                                        "reads S_{t−1} k_t: the old answers.",
        "what each of them has just stored": "That is the right mask. A token finds its own write on the diagonal.",
        "zero": "The earlier tokens and the entering memory still answer.",
        "what the memory said before the chunk": "That would be a mask of zeros. Below the diagonal, the earlier "
                                                 "tokens still count.",
    },
    answer="what the memory said just before their write",
)

prediction(
    "8.c", question="Ten tokens in chunks of four: the last chunk has two rows too many. Which padding leaves outputs "
                    "and memory right?",
    options={
        "v = 0, whatever the rest": "Storing zero is a write as well: it erases what the memory says about that key.",
        "q = 0, whatever the rest": "That silences the padded outputs, which are thrown away anyway. The writes go on.",
        "k = 0, whatever the rest": "The write of a token ends in its key, x kᵀ. With k = 0 it adds nothing, and no "
                                    "other token overlaps with it.",
        "the last token once more": "With β < 1 a second write of the same pair pulls the memory further toward v. The "
                                    "outputs survive, the memory does not.",
    },
    answer="k = 0, whatever the rest",
)

prediction(
    "8.d", question="Softmax weights are positive and sum to 1. Random unit keys and queries of width 16: how many of "
                    "DeltaNet's weights are negative?",
    options={
        "none": "Erasing is subtracting. What token i wrote is taken away by later tokens with similar keys.",
        "a few": "Random queries and keys have negative dot products half of the time, and erasing adds to that.",
        "about half": "Half of all dot products of random vectors are negative; multiplying by UT mixes signs, but "
                      "favors neither.",
        "nearly all": "Erasing removes a fraction of a weight; it seldom turns its sign.",
    },
    answer="about half",
)

prediction(
    "8.e", question="One head of width 64, 1024 tokens. Which chunk length needs the fewest FLOPs, and which is the "
                    "fastest on a CPU?",
    options={
        "1 and 1": "C = 1 does need the fewest. It also takes 1024 steps one after another, each too small to keep a "
                   "processor busy.",
        "1 and 32": "The loop does the least work and is by far the slowest. Larger chunks do more work in far fewer "
                    "steps, up to a point.",
        "32 and 32": "32 is fast, but not because it saves work: it does nearly twice that of the loop.",
        "1 and 1024": "A single step, but its work grows with the square of the length: no longer a bargain.",
    },
    answer="1 and 32",
)
