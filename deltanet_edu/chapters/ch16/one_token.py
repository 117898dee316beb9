"""Exercises 16.2 to 16.4: one token on its way through a DeltaNet layer."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal, strengths
from ..common import alone_and_paired, real

# -- 16.2 --------------------------------------------------------------------------------------------------------------

def conv_step(z, cache, w):
    """z: (B, D), cache: (B, 3, D), oldest first, w: (4, D). Returns y: (B, D), and the next cache."""
    seen = torch.cat([cache, z[:, None]], 1)                             # (B, 4, D)
    return (w * seen).sum(1), seen[:, 1:]


def conv_step_einsum(z, cache, w):
    return torch.einsum("bid,id->bd", cache, w[:3]) + z * w[3], torch.cat([cache[:, 1:], z[:, None]], 1)


def conv_step_roll(z, cache, w):
    new = cache.roll(-1, dims=1)
    new[:, -1] = z
    return sum(w[i] * cache[:, i] for i in range(3)) + w[3] * z, new


def conv_cases(g):
    yield Case((normal(g, 1, 1), real([[[0], [0], [0]]]), normal(g, 4, 1)), "first token, one channel")
    yield Case((normal(g, 1, 2), normal(g, 1, 3, 2), normal(g, 4, 2)), "later token, two channels")
    yield Case((normal(g, 2, 3), normal(g, 2, 3, 3), normal(g, 4, 3)), "two sequences")
    yield Case((normal(g, 3, 4), normal(g, 3, 3, 4), normal(g, 4, 4)), "three sequences, as many channels as taps")
    yield Case((real([[0, 0]]), normal(g, 1, 3, 2), normal(g, 4, 2)), "the present is zero")


def conv_with(y=None, cache=None):
    """A mutant: the output is y(seen, w), the next cache new(seen, y), where seen are the four inputs, oldest first."""
    new = cache

    def f(z, cache, w):
        seen = torch.cat([cache, z[:, None]], 1)
        out = y(seen, w) if y else (w * seen).sum(1)
        return out, new(seen, out) if new else seen[:, 1:]
    return f


def mixed_channels(seen, w):
    return (w * seen).sum((1, 2))[:, None].expand_as(seen[:, 0]).clone()


SLIPS_OF_THE_CONVOLUTION = {
    "meets the taps in the wrong order": Mistake(dict(y=lambda seen, w: (w.flip(0) * seen).sum(1)),
        "The last tap, w₃, meets the present; w₀ meets the oldest input. Yours are reversed.", "eq. 16.4",
        next="In the first case everything but the present is zero. Which tap must matter?"),
    "keeps everything": Mistake(dict(cache=lambda seen, y: seen),
        "The cache has grown to four inputs. The next token needs three; the oldest can go, or memory grows with "
        "the text.", "eq. 16.4"),
    "forgets to move the cache": Mistake(dict(cache=lambda seen, y: seen[:, :3].clone()),
        "The next token must find the present in the cache. Yours hands on the old one.", "eq. 16.4"),
    "lets the newest go instead of the oldest": Mistake(dict(cache=lambda seen, y: seen[:, [0, 1, 3]]),
        "The cache is oldest first: the present goes to its end, and the *first* entry goes away.", "eq. 16.4"),
    "empties the cache": Mistake(dict(cache=lambda seen, y: torch.zeros_like(seen[:, :3])),
        "The cache is zero at the start of a text only. The next token needs the three inputs before it.", "eq. 16.4"),
    "takes the present for the oldest": Mistake(dict(y=lambda seen, w: (w * seen.roll(1, 1)).sum(1)),
        "The cache is older than the present, so the present stands *behind* it: its tap is w₃.", "eq. 16.4"),
    "gives the present no tap": Mistake(dict(y=lambda seen, w: (w[:3] * seen[:, :3]).sum(1) + seen[:, 3]),
        "The present has a tap as well, w₃.", "eq. 16.4"),
    "adds the present once more": Mistake(dict(y=lambda seen, w: (w * seen).sum(1) + seen[:, 3]),
        "The sum contains the present already, with its tap w₃. The residual stream is added by the block, not here.",
        "eq. 16.4"),
    "forgets the past": Mistake(dict(y=lambda seen, w: w[3] * seen[:, 3]),
        "Only the present is left. The three inputs in the cache belong to the sum, with their taps w₀, w₁ and w₂.",
        "eq. 16.4"),
    "leaves out the present": Mistake(dict(y=lambda seen, w: (w[:3] * seen[:, :3]).sum(1)),
        "Token t sees itself: the sum runs to i = 3, where z_{t-3+i} is the present.", "eq. 16.4"),
    "applies SiLU": Mistake(dict(y=lambda seen, w: F.silu((w * seen).sum(1))),
        "The convolution is a weighted sum and nothing else. SiLU comes after it, in eq. 16.5.", "eq. 16.4"),
    "averages": Mistake(dict(y=lambda seen, w: (w * seen).mean(1)),
        "Equation 16.4 is a sum: the taps are weights of their own, and nothing divides by four.", "eq. 16.4"),
    "stores the output": Mistake(dict(cache=lambda seen, y: torch.cat([seen[:, 1:3], y[:, None]], 1)),
        "The cache holds *inputs* of the convolution. With outputs in it this would be a different, recurrent "
        "filter.", "eq. 16.4"),
    "puts the present in front": Mistake(dict(cache=lambda seen, y: torch.cat([seen[:, 3:], seen[:, :2]], 1)),
        "The cache is oldest first, so the present goes to its end and the *first* entry goes away.", "eq. 16.4"),
    "mixes the channels": Mistake(dict(y=mixed_channels),
        "Each channel keeps to itself: sum over the four times, not over the channels.", "eq. 16.4"),
}

exercise(
    id="16.2", title="One token through the convolution", kind="code", stars=2, minutes=15, equations=("16.4",),
    reference=conv_step, alternatives=(conv_step_einsum, conv_step_roll), cases=conv_cases,
    mutants=alone_and_paired(conv_with, SLIPS_OF_THE_CONVOLUTION),
    hints=("Put the present behind the cache: four inputs, oldest first.",
           "Multiply entry by entry with w: (4, D) and sum over the four.",
           "`seen = torch.cat([cache, z[:, None]], 1)`; the output is `(w * seen).sum(1)`, the next cache is `seen[:, "
           "1:]`."),
)


# -- 16.3 --------------------------------------------------------------------------------------------------------------

def prepare(q, k, b):
    """q, k: (T, H, K) from the convolution, b: (T, H) = W_beta x. Returns queries, keys and write strengths."""
    q, k = F.normalize(F.silu(q), dim=-1), F.normalize(F.silu(k), dim=-1)
    return q, k, b.sigmoid()


def prepare_by_hand(q, k, b):
    q, k = q / (1 + torch.exp(-q)), k / (1 + torch.exp(-k))
    q, k = (x * x.square().sum(-1, keepdim=True).clamp(min=1e-24).rsqrt() for x in (q, k))
    return q, k, 1 / (1 + torch.exp(-b))


def prepare_by_einsum(q, k, b):
    q, k = (x * x.sigmoid() for x in (q, k))
    q, k = (x / torch.einsum("thk,thk->th", x, x).sqrt().clamp(min=1e-12)[..., None] for x in (q, k))
    return q, k, torch.exp(b) / (1 + torch.exp(b))


def length_1(x):
    return F.normalize(F.silu(x), dim=-1)


def prepare_with(shape=length_1, query=None, beta=torch.sigmoid):
    """A mutant: keys are shape(k), queries query(q) if given, strengths beta(b)."""
    return lambda q, k, b: ((query or shape)(q), shape(k), beta(b))


def over_heads_together(x):
    return F.normalize(F.silu(x).flatten(-2), dim=-1).view_as(x)


def over(size):
    """SiLU, divided by size(it); zeros stay zeros, as with a small ε."""
    def shape(x):
        x = F.silu(x)
        return x / size(x).where(x.any(-1, keepdim=True), 1.0)
    return shape


def zeros_too(shape):
    return lambda x: shape(x).where(x.any(-1, keepdim=True), torch.nan)


def prepare_cases(g):
    for T, H, K in ((1, 1, 2), (1, 2, 2), (3, 1, 3), (2, 3, 4), (4, 2, 5)):
        q, k = normal(g, T, H, K) + 0.05, normal(g, T, H, K) + 0.05
        yield Case((q, k, normal(g, T, H)), f"T = {T}, H = {H}, K = {K}")
    q, k = q.clone(), k.clone()
    q[1, 0], k[2, 1] = 0, 0
    yield Case((q, k, normal(g, T, H)), f"a query and a key are zero, T = {T}, H = {H}, K = {K}")


SLIPS_OF_A_KEY = {
    "normalizes before SiLU": Mistake(dict(shape=lambda x: F.silu(F.normalize(x, dim=-1))),
        "After SiLU the length is no longer 1. Activate first, normalize last.",
        "eq. 16.5", next="Compute the norm of your keys."),
    "forgets to normalize": Mistake(dict(shape=F.silu),
        "Keys of any length: with β‖k‖² above 2 the memory would explode (chapter 2).", "eq. 16.5"),
    "normalizes across the heads": Mistake(dict(shape=over_heads_together),
        "Each head has a memory of its own, so each head's key has length 1 on its own. Yours share one length.",
        "eq. 16.5"),
    "normalizes queries but not keys": Mistake(dict(shape=F.silu, query=length_1),
        "Keys of any length: with β‖k‖² above 2 the memory would explode (chapter 2).", "eq. 16.5"),
    "divides by the length of everything": Mistake(dict(shape=lambda x: F.silu(x) / F.silu(x).norm()),
        "One length for all tokens and heads together. Each key has length 1 on its own: `dim=-1`.", "eq. 16.5"),
    "divides by the sum": Mistake(dict(shape=over(lambda x: x.sum(-1, keepdim=True))),
        "Divide by the length, the root of the sum of *squares*. A sum can be zero, or negative.", "eq. 16.5"),
    "takes a softmax": Mistake(dict(shape=lambda x: F.silu(x).softmax(-1)),
        "A softmax makes the entries sum to 1. A key needs length 1.", "eq. 16.5"),
    "normalizes along the heads": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), dim=1)),
        "Dimension 1 holds the heads, and it is what `F.normalize` takes if you do not say. A key's entries are "
        "the last dimension: `dim=-1`.",
        "eq. 16.5", next="Compute the norm of one head's key."),
    "normalizes along the tokens": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), dim=0)),
        "Dimension 0 holds the tokens, and a token must not know of later ones. A key's entries are the last "
        "dimension: `dim=-1`.",
        "eq. 16.5", next="Compute the norm of one token's key."),
    "divides by the root of the mean square": Mistake(
        dict(shape=over(lambda x: x.square().mean(-1, keepdim=True).sqrt())),
        "That is an RMSNorm: the result has length √K. Divide by the root of the *sum* of squares.", "eq. 16.5"),
    "divides zeros by their length": Mistake(dict(shape=lambda x: F.silu(x) / F.silu(x).norm(dim=-1, keepdim=True)),
        "A vector of zeros has the length 0, and 0/0 is NaN. The 10⁻⁶ under the root keeps it at zero.",
        "eq. 16.5", next="Which divisor is never zero?"),
    "scales the queries by 1/√K": Mistake(dict(shape=length_1, query=lambda q: length_1(q) * q.shape[-1] ** -0.5),
        "Softmax attention needs that factor. Here a query has length 1 like a key.", "eq. 16.5"),
    "uses the 1-norm": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), p=1, dim=-1)),
        "The eigenvalue of a write is 1 − β‖k‖², with the 2-norm. With the 1-norm a memory never erases fully.",
        "eq. 16.5"),
    "normalizes keys but not queries": Mistake(dict(shape=length_1, query=F.silu),
        "Queries are normalized like keys. In the layer, the last RMSNorm would hide it up to ε; here nothing "
        "does.",
        "eq. 16.5"),
    "leaves SiLU out": Mistake(dict(shape=lambda x: F.normalize(x, dim=-1)),
        "The feature map is missing: q and k go through SiLU before they are normalized.", "eq. 16.5"),
    "activates the keys only": Mistake(dict(shape=length_1, query=lambda q: F.normalize(q, dim=-1)),
        "Queries go through SiLU like keys.", "eq. 16.5"),
    "takes a ReLU": Mistake(dict(shape=lambda x: F.normalize(F.relu(x), dim=-1)),
        "The activation is SiLU, x σ(x), which lets small negative values through.", "eq. 16.5"),
    "takes 1 + ELU": Mistake(dict(shape=lambda x: F.normalize(F.elu(x) + 1, dim=-1)),
        "That is the feature map of linear attention in chapter 1, which needs positive entries. Here it is SiLU.",
        "eq. 16.5"),
    "puts β through SiLU": Mistake(dict(beta=F.silu),
        "SiLU is for queries, keys and values. A write strength lies between 0 and 1: σ, the sigmoid.", "eq. 16.5"),
    "doubles β": Mistake(dict(beta=lambda b: 2 * b.sigmoid()),
        "A β up to 2 is an option of the layer, `beta_max=2.0`. In eq. 16.5 it is σ, between 0 and 1.", "eq. 16.5"),
    "lets the heads share β": Mistake(dict(beta=lambda b: b.softmax(-1)),
        "A softmax makes the strengths of the heads compete. Each head has its own: σ, the sigmoid.", "eq. 16.5"),
    "takes the hyperbolic tangent for β": Mistake(dict(beta=torch.tanh),
        "tanh goes down to −1. A write strength lies between 0 and 1: σ, the sigmoid.", "eq. 16.5"),
    "lets β be any number": Mistake(dict(beta=lambda b: b.clone()),
        "A write strength lies between 0 and 1: σ, the sigmoid.", "eq. 16.5"),
    "divides by the squared length": Mistake(dict(shape=over(lambda x: x.square().sum(-1, keepdim=True))),
        "Divide by the length, the *root* of the sum of squares.", "eq. 16.5"),
    "takes σ(x) for SiLU": Mistake(dict(shape=lambda x: F.normalize(x.sigmoid(), dim=-1)),
        "SiLU is x σ(x). Yours is σ(x) alone, which is always positive.", "eq. 16.5"),
}
SLIPS_OF_A_KEY |= {
    f"{name}, zeros too": replace(slip, answer=dict(shape=zeros_too(slip.answer["shape"])),
                                  diagnosis=f"{slip.diagnosis} And 0/0 is NaN: a head of zeros stays zeros.")
    for name, slip in SLIPS_OF_A_KEY.items()
    if name in ("divides by the sum", "divides by the root of the mean square", "divides by the squared length")}

exercise(
    id="16.3", title="Queries, keys and strengths", kind="code", stars=2, minutes=10, equations=("16.5",),
    reference=prepare, alternatives=(prepare_by_hand, prepare_by_einsum), cases=prepare_cases,
    mutants=alone_and_paired(prepare_with, SLIPS_OF_A_KEY),
    hints=("Three lines of eq. 16.5, without the one for v.",
           "SiLU first, then divide each head's vector by its 2-norm: `dim=-1`.",
           "`F.normalize(F.silu(k), dim=-1)`, and `b.sigmoid()`."),
)


# -- 16.4 --------------------------------------------------------------------------------------------------------------

def decode_step(q, k, v, beta, S):
    """q, k: (H, K), v: (H, V), beta: (H,), S: (H, V, K). Returns what goes into W_O, (H, V), and the next S."""
    error = (S @ k[..., None])[..., 0] - v                               # (H, V)
    S = S - beta[:, None, None] * error[..., None] * k[:, None]          # (H, V, K)
    o = (S @ q[..., None])[..., 0]                                       # (H, V)
    return o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt(), S


def decode_by_einsum(q, k, v, beta, S):
    old = torch.einsum("hvk,hk->hv", S, k)
    S = S + torch.einsum("h,hv,hk->hvk", beta, v - old, k)
    return F.rms_norm(torch.einsum("hvk,hk->hv", S, q), (v.shape[-1],), eps=1e-5), S


def decode_by_heads(q, k, v, beta, S):
    new = []
    for k_h, v_h, b, S_h in zip(k, v, beta, S):
        new.append(S_h @ (torch.eye(len(k_h), dtype=S.dtype) - b * torch.outer(k_h, k_h)) + b * torch.outer(v_h, k_h))
    read = torch.stack([S_h @ q_h for S_h, q_h in zip(new, q)])
    return read * torch.rsqrt(read.pow(2).mean(-1, keepdim=True) + 1e-5), torch.stack(new)


def rms_norm(o, epsilon=1e-5):
    return o / (o.square().mean(-1, keepdim=True) + epsilon).sqrt()


def times(S, x):
    """S x for every head: (H, V, K), (H, K) -> (H, V)."""
    return (S @ x[..., None])[..., 0]


def decode_with(asks=None, write=None, read=None, norm=rms_norm):
    """A mutant: asks(q, k) of the old memory, write(v, old, b), b being β as a column, read(q, k, S, new), norm(o)."""
    def f(q, k, v, beta, S):
        b, old = beta[:, None], times(S, asks(q, k) if asks else k)
        x = write(v, old, b) if write else b * (v - old)
        new = S + x[..., :, None] * k[..., None, :]
        return norm(read(q, k, S, new) if read else times(new, q)), new
    return f


def fading(q, k, v, beta, S):
    S = (1 - beta)[:, None, None] * S + beta[:, None, None] * v[..., None] * k[:, None]
    return rms_norm(times(S, q)), S


def adding_at_full_strength(q, k, v, beta, S):
    S = S + v[..., None] * k[:, None]
    return rms_norm(times(S, q)), S


def adding_all_heads_to_each(q, k, v, beta, S):
    S = S + torch.einsum("hv,hk->vk", beta[:, None] * (v - times(S, k)), k)
    return rms_norm(times(S, q)), S


def handing_on_the_old_memory(q, k, v, beta, S):
    return decode_step(q, k, v, beta, S)[0], S.clone()


def all_heads_at_once(o):
    return o / (o.square().mean() + 1e-5).sqrt()


def along_the_heads(o):
    return o / (o.square().mean(0) + 1e-5).sqrt()


def over_length(o):
    return o / (o.square().sum(-1, keepdim=True) + 1e-5).sqrt()


def epsilon_outside(o):
    return o / (o.square().mean(-1, keepdim=True).sqrt() + 1e-5)


def decode_cases(g):
    """First a faint read, whose square is about as large as ε."""
    faint, empty = real([[0.01, -0.02]]), real([[[0, 0], [0, 0]]])
    yield Case((real([[0.5, 0.5]]), real([[0.6, 0.8]]), faint, real([0.5]), empty),
               "empty memory, faint value, H = 1, K = V")
    for H, K, V in ((1, 2, 1), (1, 2, 3), (2, 3, 2), (2, 3, 5), (3, 4, 4)):
        for kind in ("empty", "nonempty"):
            k = F.normalize(normal(g, H, K) + 0.05, dim=-1)
            S = normal(g, H, V, K) * (kind == "nonempty")
            yield Case((normal(g, H, K) + 0.05, k, normal(g, H, V) + 0.05, strengths(g, H), S),
                       f"{kind} memory, H = {H}, {'K = V' if K == V else 'K ≠ V'}")


SLIPS_OF_A_STEP = {
    "reads before it writes": Mistake(dict(read=lambda q, k, S, new: times(S, q)),
        "The output reads S_t, the memory *after* the token has written. Yours reads S_{t-1}.", "eq. 16.6",
        next="With an empty memory, can the first token read anything?"),
    "only adds": Mistake(dict(asks=lambda q, k: k, write=lambda v, old, b: b * v),
        "That is the write of linear attention. The delta rule first asks what the memory says about k, and writes "
        "the difference.", "eq. 2.3"),
    "forgets β": Mistake(dict(write=lambda v, old, b: v - old),
        "Every write is scaled by β; yours always replaces completely.", "eq. 2.3"),
    "erases completely and writes in part": Mistake(dict(write=lambda v, old, b: b * v - old),
        "β belongs to both: what is erased and what is written, β (v − S k).", "eq. 2.3"),
    "erases in part and writes completely": Mistake(dict(write=lambda v, old, b: v - b * old),
        "β belongs to both: what is erased and what is written, β (v − S k).", "eq. 2.3"),
    "has the sign of the error wrong": Mistake(dict(write=lambda v, old, b: b * (old - v)),
        "The memory moves toward v: what is written is β (v − S k). Yours moves away.", "eq. 2.3"),
    "forgets the RMSNorm": Mistake(dict(norm=lambda o: o),
        "What is read must be normalized before it goes into W_O: divide by the root of the mean square, plus ε = "
        "10⁻⁵.", "eq. 16.6"),
    "normalizes across the heads": Mistake(dict(norm=all_heads_at_once),
        "Each head is normalized on its own, `mean(-1)`. Yours lets one loud head drown the others.", "eq. 16.6"),
    "forgets the root": Mistake(dict(norm=lambda o: o / (o.square().mean(-1, keepdim=True) + 1e-5)),
        "Divide by the *root* of the mean square, or a loud read becomes a faint one.", "eq. 16.6"),
    "divides by the 2-norm, without ε": Mistake(dict(norm=lambda o: o / o.norm(dim=-1, keepdim=True)),
        "RMS is the root of the *mean* square, and ε = 10⁻⁵ is added under it.", "eq. 16.6"),
    "divides by the 2-norm": Mistake(dict(norm=over_length),
        "RMS is the root of the *mean* square: with V entries the result has length √V, not 1.", "eq. 16.6"),
    "normalizes along the heads": Mistake(dict(norm=along_the_heads),
        "Dimension 0 holds the heads. Each head is normalized over its own V entries: `mean(-1, keepdim=True)`.",
        "eq. 16.6"),
    "adds ε outside the root": Mistake(dict(norm=epsilon_outside),
        "ε belongs under the root, to the mean square. Outside it hardly dampens a faint read.", "eq. 16.6"),
    "adds ε to the result": Mistake(dict(norm=lambda o: rms_norm(o, 0.0) + 1e-5),
        "Your ε is added to the quotient, where it does nothing for the divisor. It belongs under the root; mind the "
        "brackets.", "eq. 16.6"),
    "leaves ε out": Mistake(dict(norm=lambda o: rms_norm(o, 0.0)),
        "Without ε a faint read is blown up to full size, and a read of zero is 0/0. The card asks for 10⁻⁵ under "
        "the root.", "eq. 16.6"),
    "takes an ε of 10⁻⁶": Mistake(dict(norm=lambda o: rms_norm(o, 1e-6)),
        "The card asks for ε = 10⁻⁵, which a faint read notices.", "eq. 16.6"),
    "takes an ε of 10⁻⁸": Mistake(dict(norm=lambda o: rms_norm(o, 1e-8)),
        "The card asks for ε = 10⁻⁵, which a faint read notices.", "eq. 16.6"),
    "scales the query by 1/√K": Mistake(
        dict(read=lambda q, k, S, new: times(new, q) * q.shape[-1] ** -0.5, norm=rms_norm),
        "The scale is 1 here. The RMSNorm takes a factor on the query out again, but only up to ε.", "eq. 16.6"),
    "asks the memory with the query": Mistake(dict(asks=lambda q, k: q),
        "The error is what the memory says about the *key*, against v. The query reads, after the write.",
        "eq. 2.3"),
    "subtracts the mean": Mistake(dict(norm=lambda o: F.layer_norm(o, (o.shape[-1],), eps=1e-5)),
        "That is LayerNorm. RMSNorm divides, and subtracts nothing.", "eq. 16.6"),
    "reads with the key": Mistake(dict(read=lambda q, k, S, new: times(new, k)),
        "The key says where to write; the *query* says what to read.", "eq. 16.6"),
}

exercise(
    id="16.4", title="One token through the memory", kind="code", stars=3, minutes=15, equations=("16.6",),
    reference=decode_step, alternatives=(decode_by_einsum, decode_by_heads), cases=decode_cases,
    mutants={
        **alone_and_paired(decode_with, SLIPS_OF_A_STEP),
        "only adds, at full strength": Mistake(adding_at_full_strength,
            "That is the write of linear attention. The delta rule first asks what the memory says about k, and writes "
            "β times the difference.", "eq. 2.3"),
        "fades the whole memory": Mistake(fading,
            "(1 − β) S fades everything that is stored. The delta rule erases only what is stored for k.", "eq. 2.3"),
        "adds what all heads write to each": Mistake(adding_all_heads_to_each,
            "Each head writes into its own memory: keep the index of the head, `hv,hk->hvk`.", "eq. 2.3"),
        "uses the first head's β": Mistake(lambda q, k, v, beta, S: decode_step(q, k, v, beta[:1], S),
            "Every head has a write strength of its own: `beta[:, None, None]`.", "eq. 2.3"),
        "hands on the old memory": Mistake(handing_on_the_old_memory,
            "The reads are right, so the write was made. The next token must find it: return the new S.", "eq. 16.6"),
    },
    hints=("Three steps: error, write, read. Then the norm.",
           "error = S k − v for each head, S ← S − β error kᵀ, o = S q with the new S.",
           "`o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()`"),
)
