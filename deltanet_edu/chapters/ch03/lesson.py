"""Chapter 3: running it. The equations and the predictions of its lesson."""

import math

import torch
from torch import outer

from deltanet_edu.bench.flops import flops
from deltanet_edu.ops import delta_rule_recurrent, delta_rule_recurrent_backward, sgd_step
from deltanet_edu.ops.delta_rule.householder import householder

from ...tutor import equation, prediction
from ...tutor.cases import delta_inputs, normal
from ..common import real
from .problems import row

# -- equations ---------------------------------------------------------------------------------------------------------

def sequences(g, **options):
    """(q, k, v, beta, S, do, dS, scale) of short sequences, one head, adversarial by construction."""
    for case in delta_inputs(g, "q k v beta S do dS", T=(1, 2, 7), **options):
        yield *case.args, 0.5


def states(k, v, beta, S):
    """[S_0, ..., S_T] of one head."""
    out = [S]
    for k_t, v_t, beta_t in zip(k, v, beta):
        out.append(sgd_step(out[-1], k_t, v_t, beta_t))
    return out


def by_autograd(q, k, v, beta, S, do, dS, scale):
    """(dq, dk, dv, dbeta) and [dS_0, ..., dS_T], the gradients of every memory on the way."""
    q, k, v, beta, S = (x.detach().clone().requires_grad_() for x in (q, k, v, beta, S))
    memories = states(k, v, beta, S)
    reads = torch.stack([scale * (S_t @ q_t) for S_t, q_t in zip(memories[1:], q)])
    loss = (memories[-1] * dS).sum() + (reads * do).sum()
    gradients = torch.autograd.grad(loss, (q, k, v, beta, *memories))
    return gradients[:4], gradients[4:]


@equation("3.1", r"S_t^{[i]} = S_{t-1}^{[i]}\,M_t + \beta_t\,v_t^{[i]}\,k_t^\top, \qquad o_t^{[i]} = s\,S_t^{[i]}\,q_t")
def _(g):
    for q, k, v, beta, S, _, _, scale in sequences(g):
        o, final = (x[0] for x in delta_rule_recurrent(*row(q, k, v, beta), initial_state=S[None, None], scale=scale))
        for i in range(len(S)):
            s = S[i]                                                     # (K,)  row i, on its own
            for t in range(len(k)):
                s = s @ householder(k[t], beta[t]) + beta[t] * v[t, i] * k[t]
                yield "outputs", o[t, 0, i], scale * (s @ q[t])
            yield "final row", final[0, i], s
        half = len(S) // 2 + 1
        parts = [delta_rule_recurrent(*row(q, k, v[:, rows], beta), initial_state=S[None, None, rows], scale=scale)
                 for rows in (slice(0, half), slice(half, None))]
        yield "two halves, computed apart", o, torch.cat([part[0][0] for part in parts], -1)


@equation("3.2", r"dS_t = s\,do_t\,q_t^\top + dS_{t+1}\,M_{t+1}")
def _(g):
    for q, k, v, beta, S, do, dS, scale in sequences(g):
        _, expected = by_autograd(q, k, v, beta, S, do, dS, scale)
        T = len(k)
        yield "last token", expected[T], scale * outer(do[-1], q[-1]) + dS
        for t in range(1, T):
            later = expected[t + 1] @ householder(k[t], beta[t])
            yield "autograd", expected[t], scale * outer(do[t - 1], q[t - 1]) + later
        yield "initial memory", expected[0], expected[1] @ householder(k[0], beta[0])


@equation("3.3", r"dq_t = s\,S_t^\top do_t, \qquad dv_t = \beta_t\,dS_t\,k_t")
def _(g):
    for q, k, v, beta, S, do, dS, scale in sequences(g):
        (dq, _, dv, _), d = by_autograd(q, k, v, beta, S, do, dS, scale)
        S = states(k, v, beta, S)
        for t in range(len(k)):
            yield "dq by autograd", dq[t], scale * S[t + 1].T @ do[t]
            yield "dv by autograd", dv[t], beta[t] * d[t + 1] @ k[t]


@equation("3.4", r"d\beta_t = -\,(dS_t\,k_t)^\top e_t, \qquad e_t = S_{t-1}k_t - v_t")
def _(g):
    for betas in ("random", "zero"):
        for q, k, v, beta, S, do, dS, scale in sequences(g, betas=(betas,)):
            (_, _, _, dbeta), d = by_autograd(q, k, v, beta, S, do, dS, scale)
            S = states(k, v, beta, S)
            for t in range(len(k)):
                yield "autograd", dbeta[t], -(d[t + 1] @ k[t]) @ (S[t] @ k[t] - v[t])


@equation("3.5", r"dk_t = -\beta_t\,\big(dS_t^\top e_t + S_{t-1}^\top\,dS_t\,k_t\big) "
                 r"= -\beta_t\,dS_t^\top e_t - S_{t-1}^\top\,dv_t")
def _(g):
    for q, k, v, beta, S, do, dS, scale in sequences(g):
        (_, dk, dv, _), d = by_autograd(q, k, v, beta, S, do, dS, scale)
        S = states(k, v, beta, S)
        for t in range(len(k)):
            e = S[t] @ k[t] - v[t]
            yield "autograd", dk[t], -beta[t] * (d[t + 1].T @ e + S[t].T @ (d[t + 1] @ k[t]))
            yield "with dv", dk[t], -beta[t] * d[t + 1].T @ e - S[t].T @ dv[t]


@equation("3.6", r"dS_t = dS_{t+1} - dv_{t+1}\,k_{t+1}^\top + s\,do_t\,q_t^\top")
def _(g):
    for q, k, v, beta, S, do, dS, scale in sequences(g):
        (dq, dk, dv, dbeta), d = by_autograd(q, k, v, beta, S, do, dS, scale)
        for t in range(1, len(k)):
            yield "autograd", d[t], d[t + 1] - outer(dv[t], k[t]) + scale * outer(do[t - 1], q[t - 1])
        entering = dict(initial_state=S[None, None], scale=scale)
        made = delta_rule_recurrent_backward(*row(q, k, v, beta, do), dS[None, None], **entering)
        for name, mine, theirs in zip(("dq", "dk", "dv", "dbeta"), made, (dq, dk, dv, dbeta)):
            yield f"{name} of the package", mine[0, :, 0], theirs
        yield "dS of the package", made[-1][0, 0], d[0]


@equation("3.7", r"\|dS\,M_t\|_F^2 = \|dS\|_F^2 - \beta_t\,\big(2 - \beta_t\|k_t\|^2\big)\,\|dS\,k_t\|^2")
def _(g):
    for case in delta_inputs(g, "dS k beta", T=None, betas=("random", "one", "zero", "large")):
        dS, k, beta = case.args
        after = (dS @ householder(k, beta)).square().sum()
        yield "one step back", after, dS.square().sum() - beta * (2 - beta * (k @ k)) * (dS @ k).square().sum()
        aside = dS - outer(dS @ k, k) / (k @ k)                          # rows orthogonal to the key
        yield "rows that no key touches", aside @ householder(k, beta), aside


@equation("3.8", r"\text{FLOPs per token and head} = 6KV + 3V")
def _(g):
    for K, V in ((3, 5), (8, 8), (7, 2)):
        q, k, v, beta = (normal(g, 2, 4, 3, n) for n in (K, K, V, 1))
        counted = sum(flops(delta_rule_recurrent, q, k, v, beta[..., 0]).values())
        yield "counted while it runs", counted == 2 * 4 * 3 * (6 * K * V + 3 * V), True


@equation("3.9", r"I = \frac{6KV}{n\,(2KV + 2K + 2V + 1)}")
def _(g):
    for K, V in ((3, 5), (128, 128)):
        for dtype, n in ((torch.float32, 4), (torch.float64, 8)):
            q, k, v, beta = (torch.zeros(1, *shape, dtype=dtype) for shape in ((1, 1, K), (1, 1, K), (1, 1, V), (1, 1)))
            S = torch.zeros(1, 1, V, K, dtype=dtype)
            o, final = delta_rule_recurrent(q, k, v, beta, initial_state=S)
            moved = sum(x.nbytes for x in (q, k, v, beta, S, o, final))
            right = 6 * K * V / (n * (2 * K * V + 2 * K + 2 * V + 1))
            yield "bytes that enter and leave one step", real(6 * K * V / moved), real(right)


@equation("3.10", r"\frac{F}{\max(F / P,\; B / b)} = \min\!\Big(P,\; \frac{F}{B}\,b\Big)")
def _(g):
    for _ in range(20):
        F, B, P, b = torch.rand(4, generator=g, dtype=torch.float64) + 1e-3
        yield "speed from the longer of two times", F / torch.maximum(F / P, B / b), torch.minimum(P, F / B * b)


@equation("3.11", r"T\,(K + V) = KV \quad\text{at}\quad T = \frac{KV}{K + V}")
def _(g):
    for K, V in ((128, 128), (64, 64), (3, 6), (6, 3)):
        T = K * V // (K + V)
        cache = [torch.zeros(T, K), torch.zeros(T, V)]
        S = delta_rule_recurrent(*row(cache[0], cache[0], cache[1], torch.zeros(T)))[1]
        yield "numbers kept", sum(x.numel() for x in cache) == S.numel(), math.isclose(T, K * V / (K + V))


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "3.a", question="The loop does 25 million FLOPs for 1,024 tokens. One matrix product with as many FLOPs: "
                    "how much sooner is it done?",
    options={
        "dozens to hundreds of times sooner": "A thousand small steps, each of which waits for the one before, "
                                              "keep a processor from doing what it is good at.",
        "3 times sooner": "Dividing the work into small pieces costs much more than that.",
        "at the same time": "FLOPs are FLOPs? Not by far: how they are grouped decides.",
    },
    answer="dozens to hundreds of times sooner",
)

prediction(
    "3.b", question="All keys lie in the first 16 of 32 dimensions, β = 1. A gradient of size 1 arrives at the "
                    "last memory, spread evenly over all dimensions. How large is it 200 tokens earlier?",
    options={
        "0": "In the 16 dimensions where keys write, yes. But what about the other 16?",
        "about 0.7": "Half of its squared length lies where no key ever points, "
                     "and there every transition is the identity: √½ remains, forever.",
        "1": "The keys do erase something: what lies along them.",
        "very large": "With unit keys and β between 0 and 2 no transition makes anything longer.",
    },
    answer="about 0.7",
)

prediction(
    "3.c", question="K = V = 64, one head. How many numbers per token does autograd hold for the backward pass "
                    "of the loop?",
    options={
        "about 4,400": "A copy of the memory for every token, 64 · 64 = 4,096 numbers, and a few hundred more.",
        "about 450": "That would be enough, as we shall see. But autograd does not know how.",
        "about 200": "That would be q, k, v and β: the inputs. "
                     "But the gradients of k, q and β also need the memory at that token.",
    },
    answer="about 4,400",
)

prediction(
    "3.d", question="One H100, heads of width 128: two sequences of 16,384 tokens with 16 heads take 20 ms. "
                    "One sequence of 32,768 tokens with 8 heads, half the work?",
    options={
        "about 39 ms": "Twice the steps, twice the time. Each step does a quarter of the work and takes as long.",
        "about 10 ms": "Half the work, half the time: this would be right if work decided.",
        "about 20 ms": "The number of tokens is the same. But those of one sequence have to wait for each other.",
    },
    answer="about 39 ms",
)
