"""Chapter 14: the DeltaNet layer and its rivals. The equations and the predictions of its lesson."""

import torch
import torch.nn.functional as F

from ...layers import Attention, DeltaNet, LinearAttention, ShortConvolution, SlidingAttention
from ...ops.associative import MEMORIES, draw
from ...tutor import equation, prediction

# -- equations ---------------------------------------------------------------------------------------------------------


def randomized(layer, g):
    """A layer in float64 whose parameters are all random, so that no two of them can stand for each other."""
    layer = layer.double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / 2)
    return layer


def randn(g, *shape):
    return torch.randn(shape, generator=g, dtype=torch.float64)


@equation("14.1", r"S_T = \sum_{a} n_a\, v(a)\, k(a)^\top")
def _(g):
    layer, symbols = randomized(LinearAttention(6, 2, conv_size=0), g), randn(g, 4, 6)
    alone = torch.stack([layer(x[None, None])[1].S[0] for x in symbols])             # (4, H, V, K)  v(a) k(a)^T
    for T in (1, 5, 30):
        text = torch.randint(4, (T,), generator=g)
        counts = torch.bincount(text, minlength=4).double()
        for order in (text, text.sort().values):
            told = layer(symbols[order][None])[1].S[0]
            yield f"T = {T}", told, torch.einsum("a,ahvk->hvk", counts, alone)


@equation("14.2", r"\tilde z_t = \sum_{i=0}^{n-1} w_i \odot z_{t-n+1+i}, \qquad z_t = 0 \text{ for } t \le 0")
def _(g):
    for n in (1, 2, 4):
        conv, z = randomized(ShortConvolution(5, n), g), randn(g, 2, 9, 5)
        past, (whole, _) = F.pad(z, (0, 0, n - 1, 0)), conv(z)
        rows = [sum(conv.weight[i] * past[:, t + i] for i in range(n)) for t in range(9)]
        yield f"{n} taps", torch.stack(rows, 1), whole
        first, cache = conv(z[:, :2])
        yield f"{n} taps, in two pieces", torch.cat([first, conv(z[:, 2:], cache)[0]], 1), whole


@equation("14.3", r"S_T = \sum_{t=1}^{T} v(x_t)\, k(x_{t-1})^\top")
def _(g):
    layer = randomized(LinearAttention(6, 1), g)
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[-1] = 1.0                                      # q and v: the present
        layer.conv.weight[:, 6:12] = torch.tensor([0.0, 0.0, 1.0, 0.0])[:, None]     # k: the token before
    x = randn(g, 1, 8, 6)
    _, k, v = layer.to_qkv(x)[0].split(6, -1)                            # (T, K), (T, V)
    k = F.silu(k) / (F.silu(k).square().sum(-1, keepdim=True) + 1e-6).sqrt()
    yield "what the layer has stored", layer(x)[1].S[0, 0], F.silu(v[1:]).T @ k[:-1]


@equation("14.4", r"S k_{ab} + S k_{a'b'} = S k_{ab'} + S k_{a'b}")
def _(g):
    conv, z, S = randomized(ShortConvolution(12), g), randn(g, 2, 2, 12), randn(g, 3, 12)
    def key(first, second):
        return conv(torch.stack([z[0, first], z[1, second]])[None])[0][0, 1]         # (K,)  after two tokens
    yield "what a memory says of four pairs", S @ (key(0, 0) + key(1, 1)), S @ (key(0, 1) + key(1, 0))
    first, second = randn(g, 5, 40), randn(g, 4, 40)
    keys = (first[:, None] + second).flatten(0, 1)                       # (20, 40)
    yield "independent keys, without SiLU", torch.linalg.matrix_rank(keys).item(), 5 + 4 - 1
    yield "and with it", torch.linalg.matrix_rank(F.silu(keys)).item(), 5 * 4


@equation("14.5", r"\mathrm{RMSNorm}_{\varepsilon}(s\,o) = \mathrm{RMSNorm}_{\varepsilon / s^2}(o)")
def _(g):
    o = randn(g, 7, 5)
    for s in (0.01, 8**-0.5, 30.0):
        for eps in (1e-6, 1e-2):
            yield f"s = {s:.3g}", F.rms_norm(s * o, (5,), eps=eps), F.rms_norm(o, (5,), eps=eps / s**2)
    layer, x = randomized(DeltaNet(16, 2), g), randn(g, 1, 9, 16)
    rule, layer.out_norm.eps = layer.rule, 1e-3 * layer.K
    wanted = layer(x)[0]
    layer.rule, layer.out_norm.eps = lambda x, q, *rest: rule(x, layer.K**-0.5 * q, *rest), 1e-3
    yield "a layer with s = 1/√K", layer(x)[0], wanted


@equation("14.6", r"y_t = W_O \big(\mathrm{RMSNorm}(S_t q_t) \odot \mathrm{SiLU}(W_G\, x_t)\big)")
def _(g):
    layer, x, seen = randomized(DeltaNet(12, 3, output_gate=True), g), randn(g, 2, 5, 12), {}
    layer.out_norm.register_forward_hook(lambda module, args, o: seen.update(o=o))
    y = layer(x)[0]
    gate = x @ layer.to_gate.weight.T                                    # (B, T, H V)
    yield "the whole output", y, (seen["o"].flatten(-2) * gate * gate.sigmoid()) @ layer.to_out.weight.T


@equation("14.7", r"D^2\,(2 e_k + 2 e_v) + n D\,(2 e_k + e_v) + D H + e_v \frac{D}{H}")
def _(g):
    for D, H, n, e_k, e_v in ((12, 3, 4, 1, 1), (64, 4, 4, 1, 1), (16, 2, 3, 0.5, 1), (16, 2, 4, 1, 2)):
        counted = sum(p.numel() for p in DeltaNet(D, H, conv_size=n, expand_k=e_k, expand_v=e_v).parameters())
        formula = D * D * (2 * e_k + 2 * e_v) + n * D * (2 * e_k + e_v) + D * H + e_v * D / H
        yield f"D = {D}, H = {H}, n = {n}", formula, float(counted)
        if e_k == e_v == 1 and n == 4:
            yield "the paper's layer", 4 * D * D + D * H + 12 * D + D / H, float(counted)


@equation("14.8", r"\underbrace{\frac{D^2}{H} + 3\,(n - 1)\,D}_{\text{DeltaNet}} \qquad "
                  r"\underbrace{2\,\frac{G}{H}\,D\,\min(T,\, w - 1)}_{\text{attention}}")
def _(g):
    D, H = 24, 4
    for T in (1, 3, 40):
        x = torch.randn(1, T, D, generator=g)
        for n in (2, 4):
            state = DeltaNet(D, H, conv_size=n)(x)[1]
            yield f"DeltaNet, T = {T}", D * D / H + 3 * (n - 1) * D, state.nbytes / 4
        for G in (4, 2, 1):
            state = SlidingAttention(D, H, groups=G, window=8)(x)[1]
            yield f"window 8, T = {T}", 2 * G / H * D * min(T, 7), (state.k.numel() + state.v.numel())
            state = Attention(D, H, groups=G)(x)[1]
            yield f"no window, T = {T}", 2 * G / H * D * T, (state.k.numel() + state.v.numel())


def maps(name, given, t):
    """(M_t, its product with S as a function, what is written) of a row of the table, for one sequence."""
    k, v = given["k"][0, t], given["v"][0, t]
    if name == "DeltaNet":
        beta = given["beta"][0, t]
        M = torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k)
        return M, torch.matmul, torch.outer(beta * v, k)
    M = {"linear attention": lambda: torch.ones(len(v), len(k), dtype=k.dtype),
         "RetNet": lambda: given["gamma"].expand(len(v), len(k)),
         "Mamba-2": lambda: given["gamma"][0, t].expand(len(v), len(k)),
         "GLA": lambda: given["alpha"][0, t].expand(len(v), len(k)),
         "decaying fast weights": lambda: torch.outer(given["beta"][0, t], given["alpha"][0, t])}[name]()
    return M, torch.mul, torch.outer(v, k)


ROWS = ("linear attention", "RetNet", "Mamba-2", "GLA", "decaying fast weights", "DeltaNet")


@equation("14.9", r"S_t = S_{t-1} \bullet M_t + v_t k_t^\top, \qquad o_t = S_t\, q_t")
def _(g):
    for name in ROWS:
        given = draw(name, B=1, T=6, generator=g)
        S, o = torch.zeros(4, 3, dtype=torch.float64), []
        for t in range(6):
            M, dot, write = maps(name, given, t)
            S = dot(S, M) + write
            o.append(S @ given["q"][0, t])
        yield f"{name}, token by token", torch.stack(o), MEMORIES[name].recurrent(**given)[0]
        yield f"{name}, all at once", torch.stack(o), MEMORIES[name].parallel(**given)[0]


@equation("14.10", r"S_T = \sum_{t=1}^{T} v_t k_t^\top \bullet M_{t+1} \bullet \cdots \bullet M_T")
def _(g):
    for name in ROWS:
        given = draw(name, B=1, T=6, generator=g)
        S, total = torch.zeros(4, 3, dtype=torch.float64), 0.0
        for t in range(6):
            M, dot, write = maps(name, given, t)
            S = dot(S, M) + write
            for later in range(t + 1, 6):
                write = dot(write, maps(name, given, later)[0])
            total = total + write
        yield name, S, total


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "14.a",
    question="One layer, the delta rule of chapter 2, keys and values computed from the token by matrices that are "
             "trained. Four pairs are told, then every key is asked for. What share of the answers will be right?",
    options={
        "nearly all": "The rule could store the pairs. But whoever writes sees one token, and a pair is two.",
        "about a quarter": "The model finds out which values were told, and cannot tell which of the four belongs to "
                           "the key: it guesses one of them.",
        "about half": "That would take some knowledge of who stood beside whom, and there is none.",
        "none": "It does better than that: it learns to answer with a value that was told, one of four.",
    },
    answer="about a quarter",
)

prediction(
    "14.b",
    question="The convolution has four taps for each channel of q, k and v. All start near (0, 0, 0, 1), which passes "
             "the present on, and training may do with them what it likes. Which tap of the keys will grow most?",
    options={
        "that of the present": "Queries and values look there. A key that does too has the trouble of the model "
                               "without a convolution.",
        "that of the token before": "The key is what stood before the value: then the write at the value's token is "
                                    "the pair.",
        "that of three tokens back": "Three back from a value stands the key of the pair before. It would be stored "
                                     "with the wrong value.",
        "all four alike": "Then the key of a pair would contain its neighbors, and answers would mix.",
    },
    answer="that of the token before",
)

prediction(
    "14.c",
    question="A library divides every query by √128 before it asks. The RMSNorm after the read has ε = 10⁻⁵. What does "
             "the division change?",
    options={
        "nothing at all": "Without ε nothing. With it, a smaller read is nearer to ε and gets damped.",
        "the outputs shrink by √128": "The norm brings them back to size, all but the faintest.",
        "the memory fills more slowly": "Queries only read. What is written depends on keys, values and β.",
        "what a 128 times larger ε would": "The norm divides by the root of the mean square plus ε, and the mean "
                                           "square is 128 times smaller.",
    },
    answer="what a 128 times larger ε would",
)

prediction(
    "14.d",
    question="A fast small model has drafted five tokens, the large one has read them, and rejects them. How does a "
             "DeltaNet layer get back to where it was?",
    options={
        "drop the last five entries": "That is what a cache of keys and values does. A memory S has no entries of five "
                                      "tokens, only their sum.",
        "undo the five writes": "Exercise 3.7 does that for one. Each division by 1 − β makes rounding larger, and "
                                "after β = 1 nothing is left to undo.",
        "take the copy made before": "The state is small and of fixed size, so a copy is cheap, and it is exact.",
        "read the text again": "That works, at the price of the whole text.",
    },
    answer="take the copy made before",
)

prediction(
    "14.e",
    question="Two documents in one row. At the border the memory starts from zero, and the convolution is forgotten: "
             "its taps reach over. Change the first document. Which tokens of the second one notice?",
    options={
        "all of them": "The first three see it with their own taps and write what they see. After that it is in the "
                       "memory, and everyone reads it.",
        "the first three": "They are the ones whose taps reach over. But they also write.",
        "none": "The memory is empty at the border. The convolution's inputs are not.",
        "the first one": "Four taps reach three tokens back, so three tokens see over the border.",
    },
    answer="all of them",
)

prediction(
    "14.f",
    question="64 pairs are told, once each, to memories of 32 × 32. Which of these reads the pair told first best?",
    options={
        "RetNet's decay": "After 63 more tokens a seventh of it is left, under the noise of what came since.",
        "the delta rule": "Each later write whose key overlaps with it takes a little away. It remembers what is new "
                          "best.",
        "plain adding": "It favors nobody: old and new pairs lie under the same noise of the others.",
        "a window of 16 tokens": "It reads the last 16 without any error, and has never heard of the others.",
    },
    answer="plain adding",
)
