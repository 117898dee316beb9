"""Chapter 5: the WY representation. The equations and the predictions of its lesson."""

import torch

from ...ops.delta_rule import delta_rule_recurrent, householder
from ...tutor import equation, prediction
from ..common import eye_like, inputs, loop
from .problems import both

# -- equations ---------------------------------------------------------------------------------------------------------

def product(factors, like):
    P = torch.eye(like.shape[-1], dtype=like.dtype)
    for M in factors:
        P = P @ M
    return P


def writes(states, k, v, beta):
    """beta_t (v_t - S_{t-1} k_t) for every t: (C, V)."""
    return torch.stack([beta[t] * (v[t] - states[t] @ k[t]) for t in range(len(k))])


def bracket(k, v, beta, U):
    """beta_t (v_t - sum_{i<t} u_i (k_i^T k_t)) for every t, entry by entry: (C, V)."""
    said = [sum((U[i] * (k[i] @ k[t]) for i in range(t)), 0 * v[t]) for t in range(len(k))]
    return torch.stack([beta[t] * (v[t] - said[t]) for t in range(len(k))])


@equation("5.1", r"S_C = S_0\, M_1 M_2 \cdots M_C + \sum_{t=1}^{C} \beta_t v_t k_t^\top\, M_{t+1} \cdots M_C")
def _(g):
    for S, k, v, beta in inputs(g, "S k v beta"):
        M = list(householder.householder(k, beta))
        added = [beta[t] * torch.outer(v[t], k[t]) @ product(M[t + 1:], k) for t in range(len(k))]
        yield "the recurrence = the sum", loop(k, k, v, beta, S)[1][-1], S @ product(M, k) + sum(added)


@equation("5.2", r"M_1 M_2 \cdots M_C = I - \sum_{t=1}^{C} w_t k_t^\top = I - W^\top K")
def _(g):
    for k, beta in inputs(g, "k beta"):
        W, P = householder.wy_w(k, beta), product(householder.householder(k, beta), k)
        yield "the product = I - sum of w kᵀ", P, eye_like(k) - sum(torch.outer(w_t, k_t) for w_t, k_t in zip(W, k))
        yield "the product = I - WᵀK", P, eye_like(k) - W.mT @ k


@equation("5.3", r"w_t = \beta_t P_{t-1} k_t = \beta_t \Big( k_t - \sum_{i<t} w_i\, (k_i^\top k_t) \Big)")
def _(g):
    for k, beta in inputs(g, "k beta"):
        W, M = householder.wy_w(k, beta), householder.householder(k, beta)
        through = [beta[t] * product(M[:t], k) @ k[t] for t in range(len(k))]
        yield "W = the keys through the product", W, torch.stack(through)
        yield "W = the sum", W, bracket(k, k, beta, W)


@equation("5.4", r"u_t = \beta_t \Big( v_t - \sum_{i<t} u_i\, (k_i^\top k_t) \Big)")
def _(g):
    for k, v, beta in inputs(g, "k v beta"):
        U, empty = householder.wy_u(k, v, beta), torch.zeros(v.shape[1], k.shape[1], dtype=v.dtype)
        states = loop(k, k, v, beta, empty)[1]
        yield "u = what an empty memory is given", writes(states, k, v, beta), U
        yield "U = the sum", U, bracket(k, v, beta, U)


@equation("5.5", r"S_C = S_0\, (I - W^\top K) + U^\top K")
def _(g):
    for S, k, v, beta in inputs(g, "S k v beta"):
        W, U = both(k, v, beta)
        _, final = delta_rule_recurrent(*(x[None, :, None] for x in (k, k, v, beta)), initial_state=S[None, None])
        yield "the recurrence = the closed form", final[0, 0], S @ (eye_like(k) - W.mT @ k) + U.mT @ k


@equation("5.6", r"u_t - S_0\, w_t = \beta_t\, (v_t - S_{t-1} k_t)")
def _(g):
    for S, k, v, beta in inputs(g, "S k v beta"):
        W, U = both(k, v, beta)
        states = loop(k, k, v, beta, S)[1]
        yield "U - W S₀ᵀ = the writes of the loop", U - W @ S.mT, writes(states, k, v, beta)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "5.a", question="cat → 3 and cat → 5, β = 1, both tokens looking at the same empty memory. What do we read for "
                    "cat?",
    options={
        "8": "Both found nothing to correct, so both wrote their full value, and 3 + 5 = 8. Looking at a stale memory "
             "turns the delta rule back "
             "into adding.",
        "5": "That is what the loop gives. But here the second token never saw the first one: it found an empty "
             "memory, and erased nothing.",
        "3": "The first token is not protected from the second. Both write.",
        "4": "Nothing is averaged: with β = 1 each token writes its whole correction.",
    },
    answer="8",
)

prediction(
    "5.b", question="K = 64, and C = 5 factors M_t = I − β_t k_t k_tᵀ. In how many dimensions does their product "
                    "differ from I, that is, "
                    "what is the rank of I − M₁M₂M₃M₄M₅?",
    options={
        "320": "A 64 × 64 matrix has rank 64 at most.",
        "64": "A product of full matrices looks full, and its entries are. But a vector orthogonal to all five keys "
              "passes through unchanged.",
        "5": "Every factor changes its input along one direction only. Five factors, five directions.",
        "1": "That is one factor. The next one erases along another key.",
    },
    answer="5",
)

prediction(
    "5.c", question="One unit key k, three times, with the values 3, 5, 4 and β = 1. What are u₁, u₂, u₃?",
    options={
        "3, 5, 4": "That is what arrives. Summed up, as the memory does, it would read 12.",
        "3, 2, 1": "Nearly: the third is 4 − 5 = −1. Writes may be negative, that is how they erase.",
        "3, 2, −4": "The third correction must remove what the memory says, 5, and not 3 + 5.",
        "3, 2, −1": "Only what is new is written: 3, then 5 − 3, then 4 − 5. Their sum is 4, the last value.",
    },
    answer="3, 2, −1",
)

prediction(
    "5.d", question="T = 4096 tokens, head width 64. How many FLOPs does the u recurrence take, compared with the "
                    "token loop?",
    options={
        "about 50 times more": "T² against T times a constant: the saving in memory is paid for in arithmetic once T "
                               "passes the head width.",
        "about as many": "That is so at a certain length, and it is near 85 tokens in the count below. The recurrence "
                         "grows like T², the loop like T.",
        "about 64 times fewer": "That is the saving in *memory*. The sum over all earlier tokens is paid in "
                                "arithmetic.",
    },
    answer="about 50 times more",
)
