"""Chapter 16: a language model. The equations and the predictions of its lesson."""

import itertools
import math

import torch
import torch.nn.functional as F

from ...layers import DeltaNet, ShortConvolution, SwiGLU
from ...lm.config import Config
from ...lm.corpus import Corpus, Text
from ...lm.data import HeldOut
from ...lm.evaluate import bits_per_character
from ...lm.model import LanguageModel, state_bytes
from ...lm.references import witten_bell
from ...tutor import equation, prediction

# -- equations ---------------------------------------------------------------------------------------------------------

@equation("16.1", r"-\ln p(x_1, \dots, x_T) = \sum_{t=1}^{T} \ell_t, \qquad "
                  r"\ell_t = -\ln p(x_t \mid x_1, \dots, x_{t-1})")
def _(g):
    joint = torch.rand(3, 3, 3, 3, generator=g, dtype=torch.float64)
    joint = joint / joint.sum()                                          # over texts of four letters out of three
    for text in itertools.product(range(3), repeat=4):
        total = 0.0
        for t in range(4):
            both, before = joint[text[: t + 1]].sum(), joint[text[:t]].sum()
            total = total - (both / before).log()
        yield "a text's cost is the sum of its tokens' costs", -joint[text].log(), total


class FixedGuesses(torch.nn.Module):
    """A "model" whose next-token probabilities depend on the last token only, by a table."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, tokens, states=None):
        return self.table[tokens], None


@equation("16.2", r"\text{bits per character} = \frac{1}{n \ln 2} \sum_{t} \ell_t")
def _(g):
    table = torch.randn(5, 5, generator=g, dtype=torch.float64)
    tokens, before = torch.randint(5, (300,), generator=g), torch.randint(5, (1,), generator=g)
    p = table.softmax(-1)
    seen = torch.cat([before, tokens])
    bits = -sum(math.log2(p[a, b]) for a, b in zip(seen[:-1], seen[1:]))
    nats = F.cross_entropy(table[seen[:-1]], seen[1:], reduction="sum")
    for n in (300, 777):                                                 # 1 or 2.59 characters a token
        measured = bits_per_character(FixedGuesses(table), [HeldOut("x", before, tokens, n)])
        yield "-log2 of the probability of the text, over n", bits / n, measured
        yield "from nats", bits / n, nats / (n * math.log(2))


@equation("16.3", r"p(c \mid h) = \frac{n(hc) + d(h)\, p(c \mid h')}{n(h) + d(h)}")
def _(g):
    text = "".join("abc"[i] for i in torch.randint(3, (400,), generator=g))
    def p(c, h):
        shorter = 1 / 256 if not h else p(c, h[1:])
        after = [text[i + len(h)] for i in range(len(text) - len(h)) if text.startswith(h, i)]
        return (after.count(c) + len(set(after)) * shorter) / (len(after) + len(set(after))) if after else shorter
    for h in ("", "a", "ab", "cab"):
        yield "a distribution", sum(p(chr(c), h) for c in range(256)), 1.0
    held_out = "abcabbacca"
    for n in (0, 1, 2, 3):
        seen = text[-n:] + held_out if n else held_out
        bits = -sum(math.log2(p(seen[i], seen[i - n : i])) for i in range(n, len(seen))) / len(held_out)
        in_package = witten_bell(Corpus("x", (Text("x", text, held_out),)), n)[n]
        yield f"{n} characters of context, in the package", bits, in_package


@equation("16.4", r"\tilde z_t = \sum_{i=0}^{3} w_i \odot z_{t-3+i}, \qquad z_t = 0 \text{ for } t \le 0")
def _(g):
    conv, z = ShortConvolution(6).double(), torch.randn(2, 9, 6, generator=g, dtype=torch.float64)
    w, (out, cache) = conv.weight, conv(z)
    wanted = [sum(w[i] * z[:, t - 3 + i] for i in range(4) if t - 3 + i >= 0) for t in range(9)]
    yield "the sum", torch.stack(wanted, 1), out
    yield "what the next token needs", z[:, -3:], cache


def layer_by_hand(layer, x):
    """The DeltaNet layer from equations 16.4 to 16.6, token by token: everything it computes, by name."""
    H, (B, T, D) = layer.heads, x.shape
    K = D // H
    z = F.pad(x @ layer.to_qkv.weight.T, (0, 0, 3, 0))                   # (B, 3 + T, 3D)
    S, rows = torch.zeros(B, H, K, K, dtype=x.dtype), []
    for t in range(T):
        mixed = sum(layer.conv.weight[i] * z[:, t + i] for i in range(4))
        q, k, v = (F.silu(part.view(B, H, K)) for part in mixed.split(D, -1))
        q, k = (part / (part.square().sum(-1, keepdim=True) + 1e-6).sqrt() for part in (q, k))
        beta = 1 / (1 + torch.exp(-(x[:, t] @ layer.to_beta.weight.T)))  # (B, H)
        error = torch.einsum("bhvk,bhk->bhv", S, k) - v
        S = S - beta[..., None, None] * torch.einsum("bhv,bhk->bhvk", error, k)
        o = torch.einsum("bhvk,bhk->bhv", S, q)
        o = o / (o.square().mean(-1, keepdim=True) + layer.out_norm.eps).sqrt() * layer.out_norm.weight
        rows.append(dict(q=q, k=k, v=v, beta=beta, y=o.reshape(B, D) @ layer.to_out.weight.T))
    return {name: torch.stack([row[name] for row in rows], 1) for name in rows[0]}


def random_layer(g, D=12, H=3):
    layer = DeltaNet(D, H).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / 2)
    return layer, torch.randn(2, 7, D, generator=g, dtype=torch.float64)


@equation("16.5", r"q_t = \frac{\mathrm{SiLU}(\tilde q_t)}{\|\mathrm{SiLU}(\tilde q_t)\|}, \qquad "
                  r"k_t = \frac{\mathrm{SiLU}(\tilde k_t)}{\|\mathrm{SiLU}(\tilde k_t)\|}, \qquad "
                  r"v_t = \mathrm{SiLU}(\tilde v_t), \qquad \beta_t = \sigma(W_\beta x_t)")
def _(g):
    layer, x = random_layer(g)
    seen, rule = {}, layer.rule

    def look(x, q, k, v, *entering):
        seen.update(q=q, k=k, v=v, beta=layer.to_beta(x).sigmoid())
        return rule(x, q, k, v, *entering)
    layer.rule = look
    layer(x)
    wanted = layer_by_hand(layer, x)
    for name in ("q", "k", "v", "beta"):
        yield name, wanted[name], seen[name]


@equation("16.6", r"y_t = W_O\, \mathrm{RMSNorm}(S_t q_t)")
def _(g):
    layer, x = random_layer(g)
    yield "the whole layer", layer_by_hand(layer, x)["y"], layer(x)[0]
    layer.out_norm.eps = 0.0
    wanted, rule = layer(x)[0], layer.rule
    factor = torch.rand(2, 7, 3, 1, generator=g, dtype=torch.float64) + 0.1
    layer.rule = lambda x, q, *rest: rule(x, factor * q, *rest)
    yield "a positive factor on a query changes nothing, if ε is 0", wanted, layer(x)[0]


@equation("16.7", r"4D^2 + DH + 12D + \frac{D}{H}")
def _(g):
    for D, H in ((12, 3), (64, 4), (128, 2)):
        counted = sum(p.numel() for p in DeltaNet(D, H).parameters())
        yield f"D = {D}, H = {H}", 4 * D * D + D * H + 12 * D + D / H, float(counted)
        yield "the MLP", 3.0 * D * 50, float(sum(p.numel() for p in SwiGLU(D, 50).parameters()))


@equation("16.8", r"\ell = -\ln \frac{1}{|V|} = \ln |V|")
def _(g):
    for V in (256, 1024):
        logits = torch.full((3, V), 0.7, dtype=torch.float64)
        yield f"{V} equal scores", F.cross_entropy(logits, torch.randint(V, (3,), generator=g)), math.log(V)


@equation("16.9", r"\underbrace{\frac{D^2}{H}}_{\text{memory}} + \underbrace{9D}_{\text{convolution}} "
                  r"\quad\text{numbers a layer, against}\quad 2DT")
def _(g):
    for D, H, layers in ((16, 2, 1), (24, 3, 2)):
        model = LanguageModel(Config(layers=layers, d_model=D, heads=H, mlp_hidden=16, vocab=256))
        for T in (1, 5, 40):
            _, states = model(torch.randint(256, (1, T), generator=g))
            yield f"D = {D}, T = {T}", layers * (D * D / H + 9 * D), state_bytes(states) / 4
        keys_and_values = torch.zeros(2, T, D)                           # what attention keeps for each layer
        yield "attention", float(2 * D * T), float(keys_and_values.numel())


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "16.a",
    question="Count, in 5.2 million characters of nine novels, which character follows which context, and predict the "
             "held-out pages with these counts. How much context is best?",
    options={
        "1 character": "After q comes u, and little else is certain. One character of context costs 3.57 bits per "
                       "character.",
        "5 characters": "1.96 bits. Longer contexts know more, but more and more of them were never seen.",
        "20 characters": "Nearly every such context occurs once in the world. What was never seen cannot be counted.",
        "the longer the better": "Only with endless text. From 6 characters on, the counts get too thin to trust, and "
                                 "the cost rises again.",
    },
    answer="5 characters",
)

prediction(
    "16.b",
    question="A model that was never trained chooses among 1,024 tokens. What is its loss, in nats per token?",
    options={
        "about 6.93": "ln 1024: every token gets the same probability, 1/1024.",
        "0": "That would be certainty about every next token.",
        "10": "That is the same guess in bits: log₂ 1024. The loss of PyTorch is in nats, with the natural logarithm.",
        "it depends on the random weights": "Only a little: they are so small that all scores are close to 0, and "
                                            "equal scores mean equal probabilities.",
    },
    answer="about 6.93",
)

prediction(
    "16.c",
    question="The model reads 1,000 tokens instead of 10. By how much does what it keeps of them grow?",
    options={
        "100 times": "So does the cache of keys and values of an attention layer. A DeltaNet layer writes into one "
                     "matrix.",
        "about 10 times": "Nothing here grows with a root, either.",
        "not at all": "A matrix of V × K numbers for each head and three inputs of the convolution, after 10 tokens "
                      "and after a million.",
    },
    answer="not at all",
)

prediction(
    "16.d",
    question="The same model, text and steps, but the memory only adds. Who predicts the held-out pages better?",
    options={
        "linear attention": "It is a little faster for each step. But in novels names and words come back with new "
                            "neighbors, and a memory that can replace has the advantage.",
        "DeltaNet, by half a bit": "On tasks of pure recall the gap is wide (chapter 15). But most of what makes a "
                                   "character predictable stands close by, and the convolution and the MLP see that in "
                                   "both models.",
        "no difference that outlasts the seed": "Seeds move the result by about a hundredth of a bit. With three of "
                                                "each, every DeltaNet run is ahead of every additive one.",
        "DeltaNet, by about a tenth of a bit": "Measured over three seeds: 0.13 bits per character with one learning "
                                               "rate for both, 0.07 with the best of each.",
    },
    answer="DeltaNet, by about a tenth of a bit",
)

prediction(
    "16.e",
    question="Of the changes in the paper's ablation, at 340 million parameters: which costs most perplexity on "
             "WikiText?",
    options={
        "no convolution": "28.24 becomes 29.08: less than one. Its place is recall: on FDA two thirds of the score go "
                          "with it.",
        "keys of length 1 in the 1-norm": "With 1 + ELU, the only map it was tried with, 28.03 becomes 31.12. A write "
                                          "then multiplies what it finds by 1 − β‖k‖² with a short ‖k‖, and hardly "
                                          "erases anything (chapter 14).",
        "ReLU for SiLU": "28.24 becomes 28.75. Any bend in the map frees the keys; which bend matters little.",
        "1 + ELU for SiLU": "28.24 becomes 28.03: it gains. SiLU is ahead where facts must be found.",
    },
    answer="keys of length 1 in the 1-norm",
)

prediction(
    "16.f",
    question="A DeltaNet is trained from the start with one learned strength a head, the same for every token. After "
             "as many steps, how much worse does it read these novels than one that chooses for each token?",
    options={
        "by a hundredth of a bit or so": "About what another seed changes. What it never had it does not miss.",
        "by as much as the trained model lost": "That model had built on its choices, so it missed them. Whoever never "
                                                "had them builds on something else.",
        "it falls back to linear attention": "Linear attention only adds. Equal strengths still erase what a key held "
                                             "before, and that is most of what the delta rule gains here.",
        "it does not learn to read": "It has every other weight to learn with, and a strength for each head besides.",
    },
    answer="by a hundredth of a bit or so",
)
