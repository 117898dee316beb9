"""Chapter 1: linear attention as a memory of outer products. The equations and the predictions of its lesson."""

import itertools
import math

import torch
from torch.nn.functional import elu, normalize, scaled_dot_product_attention

from deltanet_edu import ops

from ...tutor import equation, prediction
from ...tutor.cases import delta_inputs, normal, unit_keys
from ..common import one_head
from .features import outer_features
from .problems import normalized, normalized_by_recurrence, parallel, recurrent

# -- equations ---------------------------------------------------------------------------------------------------------


def sequences(g, *, T=(1, 2, 7), K=3, V=5):
    """q, k, v, S of adversarial cases: K ≠ V, repeated and raw keys, nonempty memory."""
    for case in delta_inputs(g, "q k v S", T=T, K=K, V=V):
        yield case.args


@equation("1.1", r"o_t = \sum_{i \le t} \frac{\exp(s\, q_t^\top k_i)}{\sum_{j \le t} \exp(s\, q_t^\top k_j)}\; v_i")
def _(g):
    for q, k, v, _ in sequences(g):
        for s in (0.5, 3.0):
            rows = []
            for t in range(len(q)):
                w = [math.exp(s * float(q[t] @ k[i])) for i in range(t + 1)]
                rows.append(sum(w[i] * v[i] for i in range(t + 1)) / sum(w))
            attention = scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=s)[0]
            yield "PyTorch's attention", attention, torch.stack(rows)
        sharp = torch.softmax(1e4 * normalize(k, dim=-1) @ normalize(k[0], dim=-1), 0)
        same = torch.isclose(normalize(k, dim=-1) @ normalize(k[0], dim=-1), torch.ones(len(k), dtype=k.dtype)).double()
        yield "a large s looks up equal keys", sharp @ v, same @ v / same.sum()


@equation("1.2", r"S_t = S_{t-1} + v_t k_t^\top, \qquad o_t = S_t q_t")
def _(g):
    for q, k, v, S in sequences(g):
        o, last = recurrent(q, k, v, S)
        yield "S_t is the sum of all writes", last, S + sum(torch.outer(v_i, k_i) for v_i, k_i in zip(v, k))
        yield "o_t weighs each value by its overlap", o, torch.stack(
            [S @ q[t] + sum((k[i] @ q[t]) * v[i] for i in range(t + 1)) for t in range(len(q))])
        for mine, theirs in zip((o, last), one_head(ops.linear_attention_recurrent, q, k, v, S)):
            yield "the package", theirs, mine


@equation("1.3", r"O = \mathrm{tril}(Q K^\top)\, V")
def _(g):
    for q, k, v, S in sequences(g):
        yield "row t is o_t of eq. 1.2", (q @ k.T).tril() @ v, recurrent(q, k, v, torch.zeros_like(S))[0]
    for q, k, v, S in (case.args for case in delta_inputs(g, "q k v S", T=(1, 7), B=2, H=3)):
        loop = ops.linear_attention_recurrent(q, k, v, initial_state=S)
        for name, left, right in zip(("O", "S'"), ops.linear_attention_parallel(q, k, v, initial_state=S), loop):
            yield f"{name} of the package, with an entering memory", left, right


@equation("1.4", r"S' = S + V^\top K, \qquad O = Q S^\top + \mathrm{tril}(Q K^\top)\, V")
def _(g):
    for q, k, v, S in sequences(g):
        for name, left, right in zip(("O", "S'"), parallel(q, k, v, S), recurrent(q, k, v, S)):
            yield f"{name} of one chunk", left, right
    for q, k, v, S in (case.args for case in delta_inputs(g, "q k v S", T=(1, 7), B=2, H=3)):
        right = ops.linear_attention_recurrent(q, k, v, initial_state=S)
        for C in (1, 2, 3, 16):
            chunks = ops.linear_attention_chunkwise(q, k, v, initial_state=S, chunk_size=C)
            for name, a, b in zip(("O", "S'"), chunks, right):
                yield f"{name} chunk after chunk, also with a ragged tail", a, b


@equation("1.5", r"S k_j = v_j\,(k_j^\top k_j) + \sum_{i \ne j} v_i\,(k_i^\top k_j)")
def _(g):
    for _, k, v, _ in sequences(g):
        S = v.T @ k
        for j in range(len(k)):
            crosstalk = sum(((k[i] @ k[j]) * v[i] for i in range(len(k)) if i != j), torch.zeros_like(v[j]))
            yield "signal + crosstalk", S @ k[j], v[j] * (k[j] @ k[j]) + crosstalk
    for (k, v) in (case.args for case in delta_inputs(g, "k v", T=(1, 3), keys=("orthonormal",))):
        yield "orthonormal keys: no crosstalk", k @ (v.T @ k).T, v


@equation("1.6", r"\mathbb{E}\,\lVert S k_j - v_j \rVert^2 = \frac{1}{d} \sum_{i \ne j} \lVert v_i \rVert^2")
def _(g):
    """The expectation is exact: keys run over all choices from ± the axes of a frame, with E k = 0 and E kkᵀ = I/d."""
    for d, N, V in ((2, 3, 1), (2, 4, 3), (3, 3, 2)):
        axes = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]
        axes, v, k_j = torch.cat([axes, -axes]), normal(g, N, V), unit_keys(g, d)
        choices = torch.tensor(list(itertools.product(range(2 * d), repeat=N - 1)))
        k = torch.cat([k_j.expand(len(choices), 1, d), axes[choices]], 1)         # (choices, N, d), and j = 0
        error = k @ k_j
        error = (error[:, :, None] * v).sum(1) - v[0]                             # S k_j - v_j, (choices, V)
        yield "the mean over all keys of a frame", error.square().sum(-1).mean(), v[1:].square().sum() / d


@equation("1.7", r"o_t = \sum_{i \le t} v_i\,\big(\phi(k_i)^\top \phi(q_t)\big) "
                 r"= \Big(\sum_{i \le t} v_i\,\phi(k_i)^\top\Big)\,\phi(q_t)")
def _(g):
    for q, k, v, S in sequences(g):
        phi_q, phi_k = outer_features(q), outer_features(k)
        squares = torch.stack([sum((k[i] @ q[t]) ** 2 * v[i] for i in range(t + 1)) for t in range(len(q))])
        o, _ = recurrent(phi_q, phi_k, v, S.new_zeros(v.shape[1], phi_k.shape[1]))
        yield "all products of two entries: squared overlaps", o, squares
        yield "the scores", phi_q @ phi_k.T, (q @ k.T) ** 2


@equation("1.8", r"o_t = \frac{\sum_{i \le t} v_i\,\big(\phi(k_i)^\top \phi(q_t)\big)}"
                 r"{\sum_{i \le t} \phi(k_i)^\top \phi(q_t)}")
def _(g):
    for q, k, v, _ in sequences(g):
        phi_q, phi_k = elu(q) + 1, elu(k) + 1
        w = [[float(phi_k[i] @ phi_q[t]) for i in range(t + 1)] for t in range(len(q))]
        direct = torch.stack([sum(w_ti * v_i for w_ti, v_i in zip(row, v)) / sum(row) for row in w])
        yield "a memory S and a sum z of keys, token by token", normalized_by_recurrence(q, k, v), direct
        yield "mask, then divide", normalized(q, k, v), direct


def gauss(n):
    """Nodes in (-1, 1) and weights of the Gauss-Legendre rule with n points (Golub and Welsch)."""
    i = torch.arange(1, n).double()
    off = i / (4 * i**2 - 1).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0] ** 2


@equation("1.9", r"\mathbb{E}\,(k_i^\top k_j)^2 = \frac{1}{d}, "
                 r"\qquad \mathbb{E}\,(k_i^\top k_j)^4 = \frac{3}{d\,(d+2)}")
def _(g):
    """The angle between two random directions has density sin^(d-2); a Gauss rule integrates it to rounding."""
    x, weights = gauss(80)
    angle = (x + 1) * math.pi / 2
    for d in (2, 3, 8, 32):
        density = weights * angle.sin() ** (d - 2)
        density = density / density.sum()
        yield "second moment", (density * angle.cos() ** 2).sum(), torch.tensor(1 / d, dtype=torch.float64)
        yield "fourth moment", (density * angle.cos() ** 4).sum(), torch.tensor(3 / (d * (d + 2)), dtype=torch.float64)


@equation("1.10", r"\exp(s\, q^\top k) = \sum_{n=0}^{\infty} \frac{s^n}{n!}\,(q^\top k)^n")
def _(g):
    q, k = unit_keys(g, 5, 3), unit_keys(g, 4, 3)
    power = [torch.ones(5, 1, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64)]
    series, s, exact = torch.zeros(5, 4, dtype=torch.float64), 0.7, []
    for n in range(9):                                                   # features of degree n: products of n entries
        series = series + s**n / math.factorial(n) * (power[0] @ power[1].T)
        exact.append((power[0] @ power[1].T) - (q @ k.T) ** n)
        power = [(p[:, :, None] * x[:, None, :]).flatten(1) for p, x in zip(power, (q, k))]
    ones = torch.ones(9, 5, 4, dtype=torch.float64)
    yield "products of n entries have the overlap (qᵀk)ⁿ", torch.stack(exact) + 1, ones
    tail = sum(s**n / math.factorial(n) * (q @ k.T) ** n for n in range(9, 40))
    yield "the series", series + tail, torch.exp(s * q @ k.T)


@equation("1.11", r"E(x) = -\tfrac12\, x^\top W x, \qquad E(x') - E(x) = -(x'_a - x_a)\,(W x)_a")
def _(g):
    for N, d in ((1, 4), (3, 9), (12, 7)):
        X = torch.randint(0, 2, (N, d), generator=g).double() * 2 - 1
        W = (X.T @ X).fill_diagonal_(0)
        x = torch.randint(0, 2, (d,), generator=g).double() * 2 - 1
        changes = []
        for a in range(d):
            after = x.clone()
            after[a] = 1.0 if W[a] @ x > 0 else -1.0 if W[a] @ x < 0 else x[a]
            changes.append(-0.5 * after @ W @ after + 0.5 * x @ W @ x)
            yield "one unit changes", changes[-1], -(after[a] - x[a]) * (W[a] @ x)
        changes = torch.stack(changes)
        yield "the energy never rises", changes, changes.clamp(max=0)


@equation("1.12", r"x - \nabla E(x) = \sum_i \frac{\exp(s\, x^\top x_i)}{\sum_j \exp(s\, x^\top x_j)}\; x_i, "
                  r"\qquad E(x) = \tfrac12 \lVert x \rVert^2 - \tfrac1s \log \sum_i \exp(s\, x^\top x_i)")
def _(g):
    for _, X, _, _ in sequences(g, K=4):
        for s in (0.5, 3.0):
            def energy(x, X=X, s=s):
                return x @ x / 2 - torch.logsumexp(s * X @ x, 0) / s

            x = normal(g, X.shape[1]).requires_grad_()
            (grad,) = torch.autograd.grad(energy(x), x)
            attended = scaled_dot_product_attention(x.detach()[None, None], X[None], X[None], scale=s)[0, 0]
            yield "PyTorch's attention, with patterns as keys and values", attended, x.detach() - grad
            change = energy(attended) - energy(x.detach())
            yield "the energy does not rise", change, change.clamp(max=0)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "1.a", question="cat holds 3, kitten 4, car 10. Each value is weighted by the softmax of key · query, "
                    "and the query is cat's own key. What comes back?",
    options={
        "3": "That is what a dictionary does: the matching key gets all the weight. A softmax gives every key some.",
        "something between 3 and 10": "A softmax has positive weights that sum to one, so the answer is an average. "
                                      "Here even car, at a right angle, gets a sixth of the weight.",
        "17": "That would be the sum, with full weight for all three. Softmax weights share one unit.",
    },
    answer="something between 3 and 10",
)

prediction(
    "1.b", question="o_t is read from S_t, and S_t already holds v_t kₜᵀ. Which entries of the score matrix Q Kᵀ "
                    "(row t, column i) count?",
    options={
        "all of them": "The last memory holds all writes, but token t reads S_t, which holds those up to t only.",
        "i < t, without the diagonal": "That would be reading S_{t-1}, before the write. "
                                       "A token could then never see itself.",
        "i ≤ t, with the diagonal": "Token t writes first and reads after, so it can find its own value. "
                                    "The mask keeps the diagonal.",
    },
    answer="i ≤ t, with the diagonal",
)

prediction(
    "1.c", question="d = 64. We store 17 values of length 1 under random unit keys and read one of them back. "
                    "How long is the error, roughly?",
    options={
        "0": "Only if all seventeen keys were orthogonal to the one we ask for. "
             "Random keys nearly are, but nearly adds up.",
        "0.12": "That is the overlap with a single wrong key, about 1/√64. There are sixteen of them.",
        "0.5": "Each wrong key adds a vector of length about 1/8 in a random direction. "
               "Sixteen of those make √16 · 1/8.",
        "2": "That is 16 · 1/8: all errors pointing the same way. Random ones mostly cancel.",
    },
    answer="0.5",
)

prediction(
    "1.d", question="Three feature maps for random unit keys in d = 32. Which leaves room for the fewest pairs?",
    options={
        "φ(x) = elu(x) + 1": "Every feature is positive, so every overlap is positive, and large. Nothing cancels: "
                             "room for one pair, where plain keys hold 32.",
        "φ(x) = x": "The yardstick: about 32 pairs until the error is as long as the value.",
        "φ(x) = all products x_a x_b": "The overlaps are squared, which makes small ones tiny. "
                                       "This one leaves room for hundreds.",
    },
    answer="φ(x) = elu(x) + 1",
)

prediction(
    "1.e", question="We write cat → 3, and later cat → 5, with the same unit key. What does the memory say for cat?",
    options={
        "4": "That is what softmax attention says: equal keys get equal weights, and it averages. "
             "Adding does not average.",
        "5": "A dictionary would. Here nothing was taken out before the second write.",
        "8": "S = 3kᵀ + 5kᵀ = 8kᵀ. Two writes under one key are one write of their sum.",
    },
    answer="8",
)

prediction(
    "1.f", question="32 random unit keys in d = 32, each stored once. Which rule recalls more of the 32 values?",
    options={
        "the delta rule": "Its squared error is indeed lower. But the error is spread unevenly: "
                          "the newest pairs are perfect, the oldest are lost.",
        "adding": "It does. Looking before writing costs something: "
                  "each new write erases a little of everything older that overlaps its key.",
        "no difference": "The keys overlap, so the first read of every key finds something, "
                         "and the two rules write different things.",
    },
    answer="adding",
)
