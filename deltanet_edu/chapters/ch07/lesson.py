"""Chapter 7: chunks of linear attention, and why the delta rule is not scanned.

The equations and the predictions of its lesson.
"""

import torch

from ...bench.flops import flops
from ...ops import (delta_rule_recurrent, delta_rule_scan, linear_attention_chunkwise, linear_attention_parallel,
                    linear_attention_recurrent)
from ...ops.delta_rule.householder import householder
from ...ops.delta_rule.scan import compose
from ...tutor import equation, prediction
from ...tutor.cases import delta_inputs, normal
from ..common import one_head
from .problems import all_at_once, chunk_by_chunk, chunk_by_package

# -- equations ---------------------------------------------------------------------------------------------------------

def sequences(g):
    return [case.args for case in delta_inputs(g, "q k v S", K=3, V=2, keys=("unnormalized", "repeated"))]


@equation("7.1", r"o_t = \Big(S_0 + \sum_{i=1}^{t} v_i k_i^\top\Big) q_t "
                 r"= S_0\, q_t + \sum_{i=1}^{t} v_i\,(k_i^\top q_t)")
def _(g):
    for q, k, v, S in sequences(g):
        o = one_head(linear_attention_recurrent, q, k, v, S)[0]
        for t in range(len(k)):
            yield "memory first", (S + v[:t + 1].T @ k[:t + 1]) @ q[t], o[t]
            yield "overlaps first", S @ q[t] + sum(v[i] * (k[i] @ q[t]) for i in range(t + 1)), o[t]


@equation("7.2", r"S_{[n+1]} = S_{[n]} + V_{[n]}^\top K_{[n]}")
def _(g):
    for q, k, v, S in sequences(g):
        for C in (1, 2, 3, 16):
            carried = S
            for start in range(0, len(k), C):
                part = [x[start:start + C] for x in (q, k, v)]
                after = one_head(linear_attention_recurrent, *part, carried)[1]
                yield "the loop over the chunk", carried + v[start:start + C].T @ k[start:start + C], after
                carried = after


@equation("7.3", r"O_{[n]} = Q_{[n]} S_{[n]}^\top + \operatorname{tril}\!\big(Q_{[n]} K_{[n]}^\top\big)\, V_{[n]}")
def _(g):
    for q, k, v, S in sequences(g):
        o = one_head(linear_attention_recurrent, q, k, v, S)[0]
        for C in (1, 2, 3, 16):
            yield "the token loop", chunk_by_chunk(q, k, v, S, C)[0], o
            yield "the package", chunk_by_package(q, k, v, S, C)[0], o
        parallel = one_head(linear_attention_parallel, q, k, v, S)[0]
        yield "C = T is the parallel form", all_at_once(q, k, v, S, None)[0], parallel


@equation("7.4", r"\text{FLOPs}(C) = T\,\big(4d_kd_v + 2C(d_k + d_v)\big), "
                 r"\qquad \text{sequential steps}(C) = \lceil T / C\rceil")
def _(g):
    for T, C, K, V in ((16, 4, 3, 5), (24, 8, 2, 7), (12, 1, 4, 4), (12, 12, 4, 3)):
        q, k, v = normal(g, 1, T, 1, K), normal(g, 1, T, 1, K), normal(g, 1, T, 1, V)
        counted = flops(linear_attention_chunkwise, q, k, v, chunk_size=C)
        products = sum(n for name, n in counted.items() if name in ("bmm", "mm", "baddbmm", "addmm"))
        yield "counted in the matrix products", products, T * (4 * K * V + 2 * C * (K + V))


@equation("7.5", r"S \;\mapsto\; S M_t + X_t, \qquad M_t = I - \beta_t k_t k_t^\top, \quad X_t = \beta_t v_t k_t^\top")
def _(g):
    for case in delta_inputs(g, "S k v beta", T=None, betas=("random", "zero", "large")):
        S, k, v, beta = case.args
        after = one_head(delta_rule_recurrent, k[None], k[None], v[None], beta[None], S)[1]
        yield "a step of the rule", S @ householder(k, beta) + beta * torch.outer(v, k), after


def random_maps(g, n, K=3, V=2):
    return [(normal(g, K, K), normal(g, V, K)) for _ in range(n)]


@equation("7.6", r"(M_1, X_1)\circ(M_2, X_2) = \big(M_1 M_2,\; X_1 M_2 + X_2\big)")
def _(g):
    for K, V in ((1, 1), (3, 2), (2, 5)):
        first, second = random_maps(g, 2, K, V)
        S = normal(g, V, K)
        M, X = compose(first, second)
        yield "one map after the other", S @ M + X, (S @ first[0] + first[1]) @ second[0] + second[1]


@equation("7.7", r"(a \circ b)\circ c = a\circ(b\circ c)")
def _(g):
    for _ in range(3):
        a, b, c = random_maps(g, 3)
        yield "both groupings", compose(compose(a, b), c), compose(a, compose(b, c))
    for case in delta_inputs(g, "q k v beta S", B=1, H=2, T=(1, 2, 7)):
        q, k, v, beta, S = case.args
        one_by_one = delta_rule_recurrent(q, k, v, beta, initial_state=S)
        yield "a scan, which regroups freely", delta_rule_scan(q, k, v, beta, initial_state=S), one_by_one


@equation("7.8", r"\text{memory} = T\,d_k\,(d_k + d_v), "
                 r"\qquad \text{one composition} = 2d_k^3 + 2d_vd_k^2 \text{ FLOPs}")
def _(g):
    for T, K, V in ((4, 3, 5), (7, 2, 3)):
        M, X = normal(g, T, K, K), normal(g, T, V, K)
        yield "numbers held", M.numel() + X.numel(), T * K * (K + V)
        counted = flops(compose, (M[0], X[0]), (M[1], X[1]))
        products = sum(n for name, n in counted.items() if name in ("mm", "bmm"))
        yield "counted in the products", products, 2 * K**3 + 2 * V * K**2


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "7.a", question="Linear attention, T tokens on this CPU. As T grows from 512 to 4,096, whose time grows faster?",
    options={
        "the loop": "Its work doubles when T does, and so does its time. Each step is small, so it is slow from the "
                    "start, "
                    "but it stays in proportion.",
        "all at once": "Its work quadruples when T doubles: a T × T matrix. It starts far ahead and gives the lead "
                       "away.",
        "both alike": "One does T steps of fixed size, the other one step of size T². They cannot grow alike.",
    },
    answer="all at once",
)

prediction(
    "7.b", question="A chunk's tokens are 9 to 12. How does token 11 learn what token 10 wrote?",
    options={
        "through tril(Q Kᵀ)": "Yes: entry (11, 10) of the small masked matrix is the overlap k₁₀ᵀq₁₁, and it weighs "
                              "v₁₀.",
        "through the state": "The state that enters the chunk was finished after token 8. It knows nothing of token "
                             "10.",
        "not at all": "It must: token 10 comes before token 11, chunk or no chunk.",
    },
    answer="through tril(Q Kᵀ)",
)

prediction(
    "7.c", question="You double C from 64 to 128. What happens to the FLOPs, for K = V = 64?",
    options={
        "they halve": "The number of sequential steps halves. The FLOPs do not.",
        "they stay": "The part with the state stays, but the masked triangles grow with C.",
        "they double": "Only the part within the chunk doubles.",
        "they grow by half": "4KV = 16,384 stays; 2C(K + V) goes from 16,384 to 32,768. So 32,768 becomes 49,152 a "
                             "token: "
                             "half as much again.",
    },
    answer="they grow by half",
)

prediction(
    "7.d", question="Scanning the delta rule takes log₂ T rounds instead of T steps. For T = 2,048 and K = V = 64, is "
                    "it "
                    "faster than the loop on this CPU?",
    options={
        "much faster": "11 rounds instead of 2,048 steps sounds like it. But look at what one round does: matrix "
                       "products "
                       "of 64 × 64 for every token.",
        "about the same": "It would take a machine with far more arithmetic than memory traffic; even then the state "
                          "of "
                          "every token must be stored.",
        "slower": "Yes. A composition costs 2K³ + 2VK² FLOPs where a step of the loop costs about 6KV: some 40 times "
                  "as "
                  "much, 11 times over.",
    },
    answer="slower",
)
