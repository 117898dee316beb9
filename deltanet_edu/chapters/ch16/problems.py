"""The exercises of chapter 16, in order: each with its solutions, mistakes and hints."""

import math

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal, strengths

D64 = torch.float64


# -- 16.1 ----------------------------------------------------------------------------------------------------------------

def bits(nats, chars):
    """nats: (T,), the loss of each token. chars: (T,), how many characters each token spells. A number."""
    return nats.sum() / math.log(2) / chars.sum()


def bits_by_probability(nats, chars):
    return -torch.log2(torch.exp(-nats)).sum() / chars.sum()


def bits_by_means(nats, chars):
    return nats.mean() / chars.double().mean() * math.log2(math.e)


def bits_cases(g):
    yield Case((torch.tensor([1.5], dtype=D64), torch.tensor([2])), "one token")
    for T in (2, 3, 8):
        nats = normal(g, T).abs() + 0.1
        chars = torch.randint(1, 6, (T,), generator=g)
        yield Case((nats, chars), f"tokens of different length, T = {T}")
    yield Case((normal(g, 4).abs() + 0.1, torch.tensor([3, 0, 1, 5])), "a token that spells half a character")


exercise(
    id="16.1", title="Bits per character", kind="code", stars=2, minutes=10, equations=("16.2",),
    reference=bits, alternatives=(bits_by_probability, bits_by_means), cases=bits_cases,
    mutants={
        "stays in nats": Mistake(lambda nats, chars: nats.sum() / chars.sum(),
            "The losses are natural logarithms. One bit is ln 2 = 0.693 nats, so divide by ln 2.", "eq. 16.2"),
        "counts tokens, not characters": Mistake(lambda nats, chars: nats.mean() / math.log(2),
            "That is bits per *token*. A larger vocabulary has longer tokens, so this number cannot compare two vocabularies.", "eq. 16.2"),
        "averages the ratio of each token": Mistake(lambda nats, chars: (nats / chars / math.log(2)).mean(),
            "Long tokens must count for more: divide the total cost by the total length, not each cost by its own length.", "eq. 16.2",
            next="What would a token cost that spells no character at all?"),
        "multiplies by ln 2": Mistake(lambda nats, chars: nats.sum() * math.log(2) / chars.sum(),
            "Wrong direction: a nat is *more* than a bit, 1.443 of them. Divide by ln 2.", "eq. 16.2"),
        "gives a perplexity": Mistake(lambda nats, chars: torch.exp(nats.sum() / chars.sum()),
            "The exponential of the mean loss is the perplexity. Bits are its logarithm with base 2.", "eq. 16.2"),
        "is a sum, not a mean": Mistake(lambda nats, chars: nats.sum() / math.log(2),
            "These are the bits of the whole text. Divide by its characters.", "eq. 16.2"),
    },
    hints=("How many bits does the whole text cost, and how many characters does it have?",
           "One bit is ln 2 nats.",
           "`nats.sum() / math.log(2)` are the bits of the text; `chars.sum()` its length."),
)


# -- 16.2 ----------------------------------------------------------------------------------------------------------------

def conv_step(z, cache, w):
    """z: (B, D), the present. cache: (B, 3, D), the three inputs before it, oldest first. w: (4, D). Returns y: (B, D) and the next cache."""
    seen = torch.cat([cache, z[:, None]], 1)                             # (B, 4, D)
    return (w * seen).sum(1), seen[:, 1:]


def conv_step_einsum(z, cache, w):
    return torch.einsum("bid,id->bd", cache, w[:3]) + z * w[3], torch.cat([cache[:, 1:], z[:, None]], 1)


def conv_step_roll(z, cache, w):
    new = cache.roll(-1, dims=1)
    new[:, -1] = z
    return sum(w[i] * cache[:, i] for i in range(3)) + w[3] * z, new


def conv_cases(g):
    yield Case((normal(g, 1, 1), torch.zeros(1, 3, 1, dtype=D64), normal(g, 4, 1)), "first token, one channel")
    yield Case((normal(g, 1, 2), normal(g, 1, 3, 2), normal(g, 4, 2)), "later token, two channels")
    yield Case((normal(g, 2, 3), normal(g, 2, 3, 3), normal(g, 4, 3)), "two sequences")
    yield Case((normal(g, 3, 4), normal(g, 3, 3, 4), normal(g, 4, 4)), "three sequences, as many channels as taps")
    yield Case((torch.zeros(1, 2, dtype=D64), normal(g, 1, 3, 2), normal(g, 4, 2)), "the present is zero")


def grown(z, cache, w):
    seen = torch.cat([cache, z[:, None]], 1)
    return (w * seen).sum(1), seen


def out_in_cache(z, cache, w):
    y, _ = conv_step(z, cache, w)
    return y, torch.cat([cache[:, 1:], y[:, None]], 1)


def pushed_in_front(z, cache, w):
    y, _ = conv_step(z, cache, w)
    return y, torch.cat([z[:, None], cache[:, :-1]], 1)


exercise(
    id="16.2", title="One token through the convolution", kind="code", stars=2, minutes=15, equations=("16.4",),
    reference=conv_step, alternatives=(conv_step_einsum, conv_step_roll), cases=conv_cases,
    mutants={
        "meets the taps in the wrong order": Mistake(lambda z, cache, w: ((w.flip(0) * torch.cat([cache, z[:, None]], 1)).sum(1), conv_step(z, cache, w)[1]),
            "The last tap, w₃, meets the present; w₀ meets the oldest input. Yours are reversed.", "eq. 16.4",
            next="In the first case everything but the present is zero. Which tap must matter?"),
        "keeps everything": Mistake(grown,
            "The cache has grown to four inputs. The next token needs three; the oldest can go, or memory grows with the text.", "eq. 16.4"),
        "forgets to move the cache": Mistake(lambda z, cache, w: (conv_step(z, cache, w)[0], cache.clone()),
            "The next token must find the present in the cache. Yours hands on the old one.", "eq. 16.4"),
        "leaves out the present": Mistake(lambda z, cache, w: ((w[:3] * cache).sum(1), conv_step(z, cache, w)[1]),
            "Token t sees itself: the sum runs to i = 3, where z_{t-3+i} is the present.", "eq. 16.4"),
        "stores the output": Mistake(out_in_cache,
            "The cache holds *inputs* of the convolution. With outputs in it this would be a different, recurrent filter.", "eq. 16.4"),
        "puts the present in front": Mistake(pushed_in_front,
            "The output is right; the cache is oldest first, so the present goes to its end and the *first* entry goes away.", "eq. 16.4"),
        "mixes the channels": Mistake(lambda z, cache, w: ((w * torch.cat([cache, z[:, None]], 1)).sum((1, 2))[:, None].expand_as(z).clone(),
                                                          conv_step(z, cache, w)[1]),
            "Each channel keeps to itself: sum over the four times, not over the channels.", "eq. 16.4"),
    },
    hints=("Put the present behind the cache: four inputs, oldest first.",
           "Multiply entry by entry with w: (4, D) and sum over the four.",
           "`seen = torch.cat([cache, z[:, None]], 1)`; the output is `(w * seen).sum(1)`, the next cache is `seen[:, 1:]`."),
)


# -- 16.3 ----------------------------------------------------------------------------------------------------------------

def prepare(q, k, b):
    """q, k: (T, H, K) from the convolution, b: (T, H) = W_beta x. Returns queries, keys and write strengths."""
    q, k = F.silu(q), F.silu(k)
    return F.normalize(q, dim=-1), F.normalize(k, dim=-1), b.sigmoid()


def prepare_by_hand(q, k, b):
    q, k = q / (1 + torch.exp(-q)), k / (1 + torch.exp(-k))
    return q / q.square().sum(-1, keepdim=True).sqrt(), k / k.norm(dim=-1, keepdim=True), 1 / (1 + torch.exp(-b))


def prepare_by_einsum(q, k, b):
    q, k = (x * x.sigmoid() for x in (q, k))
    return *(x / torch.einsum("thk,thk->th", x, x).sqrt()[..., None] for x in (q, k)), torch.exp(b) / (1 + torch.exp(b))


def prepare_with(shape=lambda x: F.normalize(F.silu(x), dim=-1), query=None, beta=torch.sigmoid):
    return lambda q, k, b: ((query or shape)(q), shape(k), beta(b))


def prepare_cases(g):
    for T, H, K in ((1, 1, 2), (1, 2, 2), (3, 1, 3), (2, 3, 4), (4, 2, 5)):
        yield Case((normal(g, T, H, K) + 0.05, normal(g, T, H, K) + 0.05, normal(g, T, H)), f"T = {T}, H = {H}, K = {K}")


exercise(
    id="16.3", title="Queries, keys and strengths", kind="code", stars=2, minutes=10, equations=("16.5",),
    reference=prepare, alternatives=(prepare_by_hand, prepare_by_einsum), cases=prepare_cases,
    mutants={
        "normalizes before SiLU": Mistake(prepare_with(lambda x: F.silu(F.normalize(x, dim=-1))),
            "After SiLU the length is no longer 1. Activate first, normalize last.", "eq. 16.5", next="Compute the norm of your keys."),
        "forgets to normalize": Mistake(prepare_with(F.silu),
            "Keys of any length: with β‖k‖² above 2 the memory would explode (chapter 2).", "eq. 16.5"),
        "normalizes across the heads": Mistake(prepare_with(lambda x: F.normalize(F.silu(x).flatten(-2), dim=-1).view_as(x)),
            "Each head has a memory of its own, so each head's key has length 1 on its own. Yours share one length.", "eq. 16.5"),
        "uses the 1-norm": Mistake(prepare_with(lambda x: F.normalize(F.silu(x), p=1, dim=-1)),
            "The eigenvalue of a write is 1 − β‖k‖², with the 2-norm. With the 1-norm a memory never erases fully.", "eq. 16.5"),
        "normalizes keys but not queries": Mistake(prepare_with(query=F.silu),
            "Queries are normalized like keys. In the layer, the last RMSNorm would hide it up to ε; here nothing does.", "eq. 16.5"),
        "leaves SiLU out": Mistake(prepare_with(lambda x: F.normalize(x, dim=-1)),
            "The feature map is missing: q and k go through SiLU before they are normalized.", "eq. 16.5"),
        "lets β be any number": Mistake(prepare_with(beta=lambda b: b.clone()),
            "A write strength lies between 0 and 1: σ, the sigmoid.", "eq. 16.5"),
        "divides by the squared length": Mistake(prepare_with(lambda x: F.silu(x) / F.silu(x).square().sum(-1, keepdim=True)),
            "Divide by the length, the *root* of the sum of squares.", "eq. 16.5"),
    },
    hints=("Three lines of eq. 16.5, without the one for v.",
           "SiLU first, then divide each head's vector by its 2-norm: `dim=-1`.",
           "`F.normalize(F.silu(k), dim=-1)`, and `b.sigmoid()`."),
)


# -- 16.4 ----------------------------------------------------------------------------------------------------------------

EPS = 1e-5


def decode_step(q, k, v, beta, S):
    """q, k: (H, K), v: (H, V), beta: (H,), S: (H, V, K). Returns what goes into W_O, (H, V), and the next S."""
    error = (S @ k[..., None])[..., 0] - v                               # (H, V)
    S = S - beta[:, None, None] * error[..., :, None] * k[..., None, :]  # (H, V, K)
    o = (S @ q[..., None])[..., 0]                                       # (H, V)
    return o / (o.square().mean(-1, keepdim=True) + EPS).sqrt(), S


def decode_by_einsum(q, k, v, beta, S):
    old = torch.einsum("hvk,hk->hv", S, k)
    S = S + torch.einsum("h,hv,hk->hvk", beta, v - old, k)
    return F.rms_norm(torch.einsum("hvk,hk->hv", S, q), (v.shape[-1],), eps=EPS), S


def decode_by_heads(q, k, v, beta, S):
    new = [S_h @ (torch.eye(len(k_h), dtype=S.dtype) - b * torch.outer(k_h, k_h)) + b * torch.outer(v_h, k_h)
           for k_h, v_h, b, S_h in zip(k, v, beta, S)]
    read = torch.stack([S_h @ q_h for S_h, q_h in zip(new, q)])
    return read * torch.rsqrt(read.pow(2).mean(-1, keepdim=True) + EPS), torch.stack(new)


def decode_with(write=None, read=None, norm=None):
    def f(q, k, v, beta, S):
        old = (S @ k[..., None])[..., 0]
        x = write(v, old, beta[:, None]) if write else beta[:, None] * (v - old)
        new = S + x[..., :, None] * k[..., None, :]
        o = read(q, k, S, new) if read else (new @ q[..., None])[..., 0]
        return norm(o) if norm else o / (o.square().mean(-1, keepdim=True) + EPS).sqrt(), new
    return f


def decode_cases(g):
    for H, K, V in ((1, 2, 1), (1, 2, 3), (2, 3, 2), (2, 3, 5), (3, 4, 4)):
        for kind in ("empty", "nonempty"):
            k = F.normalize(normal(g, H, K) + 0.05, dim=-1)
            S = normal(g, H, V, K) * (kind == "nonempty")
            yield Case((normal(g, H, K) + 0.05, k, normal(g, H, V) + 0.05, strengths(g, H), S), f"{kind} memory, H = {H}, {'K = V' if K == V else 'K ≠ V'}")


exercise(
    id="16.4", title="One token through the memory", kind="code", stars=3, minutes=15, equations=("16.6",),
    reference=decode_step, alternatives=(decode_by_einsum, decode_by_heads), cases=decode_cases,
    mutants={
        "reads before it writes": Mistake(decode_with(read=lambda q, k, S, new: (S @ q[..., None])[..., 0]),
            "The output reads S_t, the memory *after* the token has written. Yours reads S_{t-1}.", "eq. 16.6",
            next="With an empty memory, can the first token read anything?"),
        "only adds": Mistake(decode_with(write=lambda v, old, b: b * v),
            "That is the write of linear attention. The delta rule first asks what the memory says about k, and writes the difference.", "eq. 2.3"),
        "forgets β": Mistake(decode_with(write=lambda v, old, b: v - old),
            "Every write is scaled by β; yours always replaces completely.", "eq. 2.3"),
        "has the sign of the error wrong": Mistake(decode_with(write=lambda v, old, b: b * (old - v)),
            "The memory moves toward v: what is written is β (v − S k). Yours moves away.", "eq. 2.3"),
        "forgets the RMSNorm": Mistake(decode_with(norm=lambda o: o),
            "What is read must be normalized before it goes into W_O: divide by the root of the mean square, plus ε = 10⁻⁵.", "eq. 16.6"),
        "normalizes across the heads": Mistake(decode_with(norm=lambda o: o / (o.square().mean() + EPS).sqrt()),
            "Each head is normalized on its own, `mean(-1)`. Yours lets one loud head drown the others.", "eq. 16.6"),
        "divides by the 2-norm": Mistake(decode_with(norm=lambda o: o / (o.square().sum(-1, keepdim=True) + EPS).sqrt()),
            "RMS is the root of the *mean* square: with V entries the result has length √V, not 1.", "eq. 16.6"),
        "subtracts the mean": Mistake(decode_with(norm=lambda o: F.layer_norm(o, (o.shape[-1],), eps=EPS)),
            "That is LayerNorm. RMSNorm divides, and subtracts nothing.", "eq. 16.6"),
        "reads with the key": Mistake(decode_with(read=lambda q, k, S, new: (new @ k[..., None])[..., 0]),
            "The key says where to write; the *query* says what to read.", "eq. 16.6"),
    },
    hints=("Three steps: error, write, read. Then the norm.",
           "error = S k − v for each head, S ← S − β error kᵀ, o = S q with the new S.",
           "`o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()`"),
)


# -- 16.5 ----------------------------------------------------------------------------------------------------------------

def next_token_loss(logits, tokens):
    """logits: (B, T, vocab), computed from tokens: (B, T). The mean loss of predicting each next token."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def next_by_gather(logits, tokens):
    p = logits.log_softmax(-1)[:, :-1]
    return -p.gather(-1, tokens[:, 1:, None]).mean()


def next_by_loop(logits, tokens):
    B, T, _ = logits.shape
    losses = [logits[b, t].logsumexp(-1) - logits[b, t, tokens[b, t + 1]] for b in range(B) for t in range(T - 1)]
    return sum(losses) / len(losses)


def loss_cases(g):
    for B, T, V in ((1, 2, 2), (1, 3, 4), (2, 4, 3), (3, 5, 7)):
        yield Case((normal(g, B, T, V) * 2, torch.randint(V, (B, T), generator=g)), f"B = {B}, T = {T}, vocab = {V}")


exercise(
    id="16.5", title="Too good to be true", kind="bug", stars=3, minutes=10, equations=("16.1",),
    reference=next_token_loss, alternatives=(next_by_gather, next_by_loop), cases=loss_cases,
    mutants={
        "predicts the token it has just read": Mistake(lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
            "The scores at position t come from tokens up to *and including* t. Asking them for token t asks for what they have seen; "
            "the loss falls to 0, and the model can only copy.", "eq. 16.1", next="Which token should position t predict?"),
        "predicts the token before": Mistake(lambda logits, tokens: F.cross_entropy(logits[:, 1:].flatten(0, 1), tokens[:, :-1].flatten()),
            "Shifted, but the wrong way: position t now predicts token t − 1, which it has seen as well.", "eq. 16.1",
            next="Drop the *last* scores and the *first* token."),
        "drops the last of both": Mistake(lambda logits, tokens: F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, :-1].flatten()),
            "Both were shortened at the same end, so they are still aligned as before: position t predicts token t.", "eq. 16.1"),
        "wraps around": Mistake(lambda logits, tokens: F.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, 1).flatten()),
            "`roll` carries the first token to the end, so the last position is asked for a token it has seen. It has no next token: leave it out.",
            "eq. 16.1"),
        "adds up instead of averaging": Mistake(lambda logits, tokens: F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum"),
            "Right pairs, but their sum. A mean does not change its size with B and T."),
        "softmaxes twice": Mistake(lambda logits, tokens: F.cross_entropy(logits[:, :-1].softmax(-1).flatten(0, 1), tokens[:, 1:].flatten()),
            "`cross_entropy` takes the logits and applies the softmax itself."),
    },
    hints=("A loss of nearly 0 after a few steps: what does the model know that it should not?",
           "Position t has read token t. It should predict token t + 1.",
           "Pair `logits[:, :-1]` with `tokens[:, 1:]`."),
)


# -- 16.6 ----------------------------------------------------------------------------------------------------------------

exercise(
    id="16.6", title="When attention's cache overtakes", kind="predict", stars=2, minutes=10, equations=("16.9",), reference=37, tolerance=1e-3,
    mutants={
        "forgets the convolution": Mistake(33, "Compared with the matrices alone, 8,192 numbers. The convolution keeps 9D more.", "eq. 16.9"),
        "stops one token early": Mistake(36, "At 36 tokens attention keeps 9,216 numbers, DeltaNet 9,344: still more. The question asks for the first T beyond.", "eq. 16.9"),
        "counts keys only": Mistake(74, "Attention keeps a key *and* a value for each token: 2D numbers.", "eq. 16.9"),
        "forgets the heads": Mistake(69, "Each of the H heads has a matrix of (D/H)², together D²/H, not D².", "eq. 16.9"),
        "takes one head for all": Mistake(21, "That is one head's matrix. There are H = 2 of them.", "eq. 16.9"),
        "caches one stream of the convolution": Mistake(34, "The convolution runs over q, k and v: 3 × 3 × D numbers, not 3D.", "eq. 16.9"),
    },
    hints=("How many numbers does each keep for one layer?",
           "DeltaNet: 128²/2 + 9 · 128. Attention: 2 · 128 for each token.",
           "9,344 / 256 = 36.5: the first whole number above."),
    why="DeltaNet keeps 8,192 + 1,152 = 9,344 numbers a layer, attention 256 a token: 36 · 256 = 9,216 and 37 · 256 = 9,472.",
)


# -- 16.7 ----------------------------------------------------------------------------------------------------------------

def chances(logits, temperature, top_k):
    """logits: (vocab,). The probabilities from which the next token is drawn, (vocab,)."""
    smallest = logits.topk(top_k).values[-1]
    return (logits.masked_fill(logits < smallest, -torch.inf) / temperature).softmax(-1)


def chances_by_scatter(logits, temperature, top_k):
    best = logits.topk(top_k)
    return torch.zeros_like(logits).scatter(0, best.indices, (best.values / temperature).softmax(-1))


def chances_renormalized(logits, temperature, top_k):
    p = (logits / temperature).softmax(-1)
    p = torch.where(logits >= logits.sort(descending=True).values[top_k - 1], p, 0)
    return p / p.sum()


def chances_cases(g):
    for V, k, temperature in ((2, 1, 1.0), (3, 2, 0.5), (5, 2, 2.0), (5, 5, 0.8), (9, 4, 1.5)):
        yield Case((torch.randperm(V, generator=g).to(D64) * 0.7 - 1.3, temperature, k), f"vocab = {V}, top {k}, temperature {temperature}")


exercise(
    id="16.7", title="Temperature and top-k", kind="code", stars=2, minutes=10, equations=(),
    reference=chances, alternatives=(chances_by_scatter, chances_renormalized), cases=chances_cases,
    mutants={
        "multiplies by the temperature": Mistake(lambda logits, temperature, top_k: chances(logits, 1 / temperature, top_k),
            "A low temperature should make the likeliest token likelier: divide the scores by it."),
        "forgets to renormalize": Mistake(lambda logits, temperature, top_k: torch.where(logits >= logits.topk(top_k).values[-1], (logits / temperature).softmax(-1), 0),
            "Your probabilities do not add up to 1: the softmax still counted the tokens that were then struck out.", next="Strike out first, softmax last."),
        "gives struck-out tokens the score 0": Mistake(lambda logits, temperature, top_k: (logits.masked_fill(logits < logits.topk(top_k).values[-1], 0.0) / temperature).softmax(-1),
            "A score of 0 is not a probability of 0: e⁰ = 1. Use −∞."),
        "keeps the unlikeliest": Mistake(lambda logits, temperature, top_k: (logits.masked_fill(logits > (-logits).topk(top_k).values[-1].neg(), -torch.inf) / temperature).softmax(-1),
            "You kept the k *smallest* scores."),
        "ignores top-k": Mistake(lambda logits, temperature, top_k: (logits / temperature).softmax(-1),
            "All tokens are still in the draw."),
        "ignores the temperature": Mistake(lambda logits, temperature, top_k: chances(logits, 1.0, top_k),
            "The temperature changes nothing in yours."),
        "keeps one too many": Mistake(lambda logits, temperature, top_k: chances(logits, temperature, min(top_k + 1, len(logits))),
            "k + 1 tokens are left.", next="With top_k = 1 there is nothing to draw: one token has probability 1."),
    },
    hints=("Which tokens stay? Then a softmax over those.",
           "`logits.topk(top_k).values[-1]` is the smallest score that stays.",
           "Fill the others with `-torch.inf`, divide by the temperature, softmax."),
)
