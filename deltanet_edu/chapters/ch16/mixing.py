"""Exercise 16.13: stage 1 of the build, the mixer from its projections to its output."""

import torch
import torch.nn.functional as F

from ... import delta_rule
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from ..common import alone_and_paired

# -- solutions ---------------------------------------------------------------------------------------------------------

def mixer(x, W_qkv, taps, W_beta, weight, W_O):
    T, H = x.shape[1], len(W_beta)
    z = F.pad(x @ W_qkv.T, (0, 0, 3, 0))                                 # (B, 3 + T, 3D)
    z = F.silu(sum(taps[i] * z[:, i:i + T] for i in range(4)))           # (B, T, 3D)
    q, k, v = (part.unflatten(-1, (H, -1)) for part in z.chunk(3, -1))   # (B, T, H, D / H) each
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    o, _ = delta_rule(q, k, v, (x @ W_beta.T).sigmoid())                 # (B, T, H, D / H)
    o = F.rms_norm(o, weight.shape, weight, 1e-5)
    return o.flatten(-2) @ W_O.T                                         # (B, T, D)


def mixer_token_by_token(x, W_qkv, taps, W_beta, weight, W_O):
    (B, T, D), H = x.shape, W_beta.shape[0]
    z, beta = F.linear(x, W_qkv), torch.sigmoid(F.linear(x, W_beta))
    S, rows = x.new_zeros(B, H, D // H, D // H), []
    for t in range(T):
        y = sum(taps[3 - back] * z[:, t - back] for back in range(min(t, 3) + 1))        # (B, 3D)
        y = y / (1 + torch.exp(-y))
        q, k, v = y.view(B, 3, H, D // H).unbind(1)                      # (B, H, D / H) each
        q, k = (u / u.norm(dim=-1, keepdim=True).clamp(min=1e-12) for u in (q, k))
        error = v - torch.einsum("bhvk,bhk->bhv", S, k)
        S = S + torch.einsum("bh,bhv,bhk->bhvk", beta[:, t], error, k)
        o = torch.einsum("bhvk,bhk->bhv", S, q)
        o = o * torch.rsqrt(o.square().mean(-1, keepdim=True) + 1e-5) * weight
        rows.append(o.reshape(B, D) @ W_O.T)
    return torch.stack(rows, 1)


def mixer_by_conv1d(x, W_qkv, taps, W_beta, weight, W_O):
    (B, T, D), H = x.shape, len(W_beta)
    parts = []
    for W, w in zip(W_qkv.split(D), taps.split(D, 1)):                   # q, k and v, each on its own
        z = F.conv1d(F.pad((x @ W.T).mT, (3, 0)), w.T[:, None], groups=D).mT
        parts.append((z * z.sigmoid()).view(B, T, H, D // H))
    q, k, v = parts
    o = delta_rule(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, torch.sigmoid(x @ W_beta.T), form="recurrent")[0]
    o = o / (o.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    return F.linear(o.reshape(B, T, D), W_O)


# -- mistakes: the right mixer with one part exchanged -----------------------------------------------------------------

def convolved(z, taps):
    T = z.shape[1]
    z = F.pad(z, (0, 0, 3, 0))
    return sum(taps[i] * z[:, i:i + T] for i in range(4))


def heads(z, H):
    return [part.unflatten(-1, (H, -1)) for part in z.chunk(3, -1)]


def unit(x):
    return F.normalize(x, dim=-1)


def recurrence(q, k, v, beta, write=lambda v, old: v - old, read="after", scale=1.0):
    """The token loop, with another write, or read before it is written."""
    S, rows = q.new_zeros(*k.shape[::2], v.shape[-1], k.shape[-1]), []   # (B, H, V, K)
    for t in range(q.shape[1]):
        before = S
        old = (S @ k[:, t, :, :, None])[..., 0]
        S = S + (beta[:, t, :, None] * write(v[:, t], old))[..., None] * k[:, t, :, None]
        rows.append(((S if read == "after" else before) @ q[:, t, :, :, None])[..., 0])
    return scale * torch.stack(rows, 1)


def rms(o, weight):
    return F.rms_norm(o, weight.shape, weight, 1e-5)


def mixing_with(conv=convolved, act=F.silu, cut=heads, key=unit, query=None, value=None, beta=torch.sigmoid,
                rule=recurrence, norm=rms, join=None, out=lambda o, W_O: o @ W_O.T, after=lambda y, x: y, enter=None,
                mixed=False):
    """A mutant: any of these parts exchanged, in the order in which a token meets them."""
    def f(x, W_qkv, taps, W_beta, weight, W_O):
        H = len(W_beta)
        z = enter(x, W_qkv, taps) if enter else act(conv(x @ W_qkv.T, taps))
        q, k, v = cut(z, H)
        b = (z[..., :x.shape[2]] if mixed else x) @ W_beta.T
        o = rule((query or key)(q), key(k), value(v) if value else v, beta(b))
        o = norm(o, weight)
        return after(out(join(o) if join else o.flatten(-2), W_O), x)
    return f


def one_late(y):
    return F.pad(y, (0, 0, 1, 0))[:, :-1]


def mask_first(taps):
    return torch.cat([torch.zeros_like(taps[:1]), taps[1:]])


def ahead(z, taps):
    return convolved(z.flip(1), taps).flip(1)


def wrapped(z, taps):
    return sum(taps[i] * z.roll(3 - i, 1) for i in range(4))


def in_part(convolve):
    """The convolution, of those thirds of the channels alone that are named: "q", "k", "v"."""
    def conv(z, taps):
        parts = zip("qkv", convolved(z, taps).chunk(3, -1), z.chunk(3, -1))
        return torch.cat([mixed if name in convolve else plain for name, mixed, plain in parts], -1)
    return conv


def padded_behind(z, taps):
    T = z.shape[1]
    z = F.pad(z, (0, 0, 0, 3))
    return sum(taps[i] * z[:, i:i + T] for i in range(4))


def centered(z, taps):
    T = z.shape[1]
    z = F.pad(z, (0, 0, 2, 1))
    return sum(taps[i] * z[:, i:i + T] for i in range(4))


def activated_first(x, W_qkv, taps):
    return convolved(F.silu(x @ W_qkv.T), taps)


def convolving_the_input(x, W_qkv, taps):
    return F.silu(convolved(x, taps[:, :x.shape[2]]) @ W_qkv.T)


def head_by_head(z, H):
    return z.unflatten(-1, (H, -1)).chunk(3, -1)


def dealt_out(z, H):
    return [part.unflatten(-1, (-1, H)).mT for part in z.chunk(3, -1)]


def keys_first(z, H):
    q, k, v = heads(z, H)
    return k, q, v


def values_first(z, H):
    q, k, v = heads(z, H)
    return v, k, q


def half_softmax(q, k, v, beta):
    scores = torch.einsum("bthk,bshk->bhts", q, k) * q.shape[-1]**-0.5
    mask = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool).triu(1)
    return torch.einsum("bhts,bshv->bthv", scores.masked_fill(mask, -torch.inf).softmax(-1), v)


def fading(q, k, v, beta):
    """S = (1 - beta) S + beta v k^T: the whole memory fades, not what stands at k."""
    S, rows = 0, []
    for t in range(q.shape[1]):
        b = beta[:, t, :, None, None]
        S = (1 - b) * S + b * v[:, t, :, :, None] * k[:, t, :, None]
        rows.append((S @ q[:, t, :, :, None])[..., 0])
    return torch.stack(rows, 1)


def after_the_last(q, k, v, beta):
    """Every token reads the memory after the last one."""
    T = q.shape[1]
    return torch.cat([recurrence(torch.cat([k[:, :T - 1], q[:, t:t + 1]], 1), k, v, beta)[:, -1:] for t in range(T)], 1)


def from_text_to_text(q, k, v, beta):
    """One text behind the other, all in one memory."""
    o = recurrence(*(x.flatten(0, 1)[None] for x in (q, k, v, beta)))
    return o.view_as(v)


def across_all_heads(o, weight):
    return o / (o.square().mean((-2, -1), keepdim=True) + 1e-5).sqrt() * weight


def layer_norm(o, weight):
    return F.layer_norm(o, weight.shape, weight, eps=1e-5)


def packages(q, k, v, beta):
    """The package's, which looks at what it is given."""
    return delta_rule(q, k, v, beta)[0]


def with_rule(**how):
    return lambda *x: recurrence(*x, **how)


SLIPS = {
    "leaves the convolution out": Mistake(dict(conv=lambda z, taps: z),
        "q, k and v each come from one token. Between the projection and SiLU every channel mixes with its own last "
        "three values.", "eq. 16.4"),
    "meets the taps in the wrong order": Mistake(dict(conv=lambda z, taps: convolved(z, taps.flip(0))),
        "The last tap meets the present, the first the oldest of the four.", "eq. 16.4"),
    "looks at later tokens": Mistake(dict(conv=ahead),
        "Token t mixes with those *before* it. Yours mixes with those after it: the model would read its own future.",
        "eq. 16.4", next="Change the last token of x. Which outputs change?"),
    "looks one token ahead": Mistake(dict(conv=centered),
        "The window of four is shifted by one: token t sees token t + 1, which is what it will be asked for. All three "
        "zeros belong in front.", "eq. 16.4"),
    "pads at the end": Mistake(dict(conv=padded_behind),
        "With the three zeros behind the text, token t mixes with t + 1 to t + 3, its own future. They belong in "
        "front.", "eq. 16.4", next="Change the last token of x. Which outputs change?"),
    "wraps the convolution around": Mistake(dict(conv=wrapped),
        "`roll` carries the last tokens to the front, where the first ones see them. There are zeros before the text.",
        "eq. 16.4"),
    "leaves the values out of the convolution": Mistake(dict(conv=in_part("qk")),
        "All 3D channels are convolved, those of the values too.", "eq. 16.4"),
    "convolves the values only": Mistake(dict(conv=in_part("v")),
        "All 3D channels are convolved, those of queries and keys too.", "eq. 16.4"),
    "leaves SiLU out": Mistake(dict(act=lambda z: z),
        "After the convolution comes SiLU, for q, k and v.", "eq. 16.5"),
    "takes a ReLU": Mistake(dict(act=F.relu), "The activation is SiLU, x σ(x).", "eq. 16.5"),
    "takes a GELU": Mistake(dict(act=F.gelu), "The activation is SiLU, x σ(x).", "eq. 16.5"),
    "normalizes before SiLU": Mistake(dict(act=lambda z: z, key=lambda x: F.silu(unit(x)), value=F.silu),
        "After SiLU the length is no longer 1: activate first, normalize last.", "eq. 16.5"),
    "activates the values only": Mistake(dict(act=lambda z: z, key=unit, value=F.silu),
        "Queries and keys go through SiLU too, before they get length 1.", "eq. 16.5"),
    "activates queries and keys only": Mistake(dict(act=lambda z: z, key=lambda x: unit(F.silu(x))),
        "Values go through SiLU too.", "eq. 16.5"),
    "leaves the present out of the convolution": Mistake(dict(conv=lambda z, taps: one_late(convolved(z, taps))),
        "Three zeros in front, not four: with four, token t mixes the inputs t − 4 to t − 1, and not its own.",
        "eq. 16.4"),
    "leaves the oldest tap out": Mistake(dict(conv=lambda z, taps: convolved(z, mask_first(taps))),
        "There are four taps: the present, and three inputs before it.", "eq. 16.4"),
    "takes β from what was convolved": Mistake(dict(mixed=True),
        "β is computed from the mixer's input x, past the convolution.", "eq. 16.5"),
    "activates before the convolution": Mistake(dict(enter=activated_first),
        "First the convolution, then SiLU: equation 16.5 is applied to what 16.4 has made.", "eq. 16.5"),
    "convolves the input": Mistake(dict(enter=convolving_the_input),
        "The convolution comes after W_qkv: 3D channels, each with taps of its own.", "eq. 16.4"),
    "cuts head by head": Mistake(dict(cut=head_by_head),
        "In z the queries of all heads stand first, then all keys, then all values. Yours takes a query, a key and a "
        "value of each head in turn.", "eq. 16.5"),
    "deals the channels out to the heads": Mistake(dict(cut=dealt_out),
        "A head's channels stand side by side: the first D / H are those of head 1. Yours gives it every H-th one.",
        "eq. 16.5"),
    "takes keys for queries": Mistake(dict(cut=keys_first), "The order in z is q, k, v.", "eq. 16.5"),
    "takes values for queries": Mistake(dict(cut=values_first), "The order in z is q, k, v.", "eq. 16.5"),
    "does not normalize": Mistake(dict(key=lambda x: x),
        "A key of any length makes 1 − β‖k‖² anything. Queries and keys get length 1, head by head.", "eq. 16.5"),
    "does not normalize the keys": Mistake(dict(key=lambda x: x, query=unit),
        "Of the two it is the *key* whose length matters most: a write multiplies what it finds by 1 − β‖k‖².",
        "eq. 16.5"),
    "does not normalize the queries": Mistake(dict(key=unit, query=lambda x: x),
        "Queries get length 1 like keys. The norm after the rule hides it up to its ε, and with small values it shows.",
        "eq. 16.5"),
    "normalizes across the heads": Mistake(dict(key=lambda x: unit(x.flatten(-2)).view_as(x)),
        "Each head has a memory of its own, so each head's key has length 1 on its own: cut into heads first.",
        "eq. 16.5"),
    "normalizes along the tokens": Mistake(dict(key=lambda x: F.normalize(x, dim=1)),
        "Dimension 1 holds the tokens, and it is what `F.normalize` takes if you do not say. A key's entries are the "
        "last dimension.", "eq. 16.5"),
    "takes a softmax of queries and keys": Mistake(dict(key=lambda x: x.softmax(-1)),
        "A softmax makes the entries sum to 1. Queries and keys get *length* 1.", "eq. 16.5"),
    "normalizes the values too": Mistake(dict(value=unit),
        "A value is what is stored, and may have any length.", "eq. 16.5"),
    "lets β be any number": Mistake(dict(beta=lambda b: b),
        "A write strength lies between 0 and 1: the sigmoid of W_β x.", "eq. 16.5"),
    "writes with full strength": Mistake(dict(beta=torch.ones_like),
        "β is computed from the token, one for each head: σ(W_β x).", "eq. 16.5"),
    "lets β reach up to 2": Mistake(dict(beta=lambda b: 2 * b.sigmoid()),
        "That is for negative eigenvalues (chapter 17). Here β lies between 0 and 1.", "eq. 16.5"),
    "takes a softmax over the heads": Mistake(dict(beta=lambda b: b.softmax(-1)),
        "Then the heads compete for one strength. Each has its own: the sigmoid.", "eq. 16.5"),
    "only adds": Mistake(dict(rule=with_rule(write=lambda v, old: v)),
        "That is linear attention with a write strength. The delta rule writes v minus what the memory says about k.",
        "eq. 2.3"),
    "adds what it should subtract": Mistake(dict(rule=with_rule(write=lambda v, old: v + old)),
        "The memory's answer S k is subtracted from v: only the error is written.", "eq. 2.3"),
    "fades the whole memory": Mistake(dict(rule=fading),
        "(1 − β) S fades everything. The delta rule erases only what stands at k.", "eq. 2.3"),
    "reads before it writes": Mistake(dict(rule=with_rule(read="before")),
        "A token reads the memory that it has written into, S_t q_t.", "eq. 16.6"),
    "scales what is read": Mistake(dict(rule=lambda *x: recurrence(*x, scale=x[0].shape[-1]**-0.5)),
        "A query of length 1 needs no factor 1/√K. The norm after the rule hides it up to its ε.", "eq. 16.6"),
    "attends with a softmax": Mistake(dict(rule=half_softmax),
        "That is softmax attention over all earlier tokens. Here a memory of fixed size is written by the delta rule.",
        "eq. 16.6"),
    "reads the memory of the last token": Mistake(dict(rule=after_the_last),
        "Each token reads the memory as it is after its own write. Yours reads what later tokens have written.",
        "eq. 16.6", next="Change the last token of x. Which outputs change?"),
    "carries the memory from text to text": Mistake(dict(rule=from_text_to_text),
        "Dimension 0 holds texts that know nothing of each other. Each begins with an empty memory: S has B of them.",
        "eq. 2.3"),
    "leaves the norm out": Mistake(dict(norm=lambda o, weight: o),
        "What each head reads goes through an RMSNorm before W_O.", "eq. 16.6"),
    "leaves the weights of the norm out": Mistake(dict(norm=lambda o, weight: rms(o, torch.ones_like(weight))),
        "The RMSNorm has D / H weights, which the heads share.", "eq. 16.6"),
    "norms all heads together": Mistake(dict(norm=across_all_heads),
        "Each head is normalized on its own: the mean square of its D / H entries, not of all D.", "eq. 16.6"),
    "takes a LayerNorm": Mistake(dict(norm=layer_norm),
        "A LayerNorm subtracts the mean first. An RMSNorm only divides by the root of the mean square.", "eq. 16.6"),
    "divides by the length": Mistake(
        dict(norm=lambda o, weight: o / (o.square().sum(-1, keepdim=True) + 1e-5).sqrt() * weight),
        "Divide by the root of the *mean* square: then the entries are about 1, and not the length.", "eq. 16.6"),
    "forgets the root": Mistake(
        dict(norm=lambda o, weight: o / (o.square().mean(-1, keepdim=True) + 1e-5) * weight),
        "Divide by the *root* of the mean square.", "eq. 16.6"),
    "norms after W_O": Mistake(dict(norm=lambda o, weight: o, after=lambda y, x: F.rms_norm(y, y.shape[-1:], eps=1e-5)),
        "The norm stands between the rule and W_O, head by head, with weights of its own.", "eq. 16.6"),
    "has another ε": Mistake(dict(norm=lambda o, weight: F.rms_norm(o, weight.shape, weight, 1e-6)),
        "Under the root stands 10⁻⁵. Faint reads notice it.", "eq. 16.6"),
    "leaves ε out": Mistake(dict(norm=lambda o, weight: F.rms_norm(o, weight.shape, weight)),
        "`eps` of the RMSNorm is 10⁻⁵. What PyTorch takes by itself is far smaller, and faint reads notice it.",
        "eq. 16.6"),
    "joins the heads in the wrong order": Mistake(dict(join=lambda o: o.mT.flatten(-2)),
        "The heads stand side by side: first the D / H entries of head 1. Yours takes the first entry of every head "
        "first.", "eq. 16.6"),
    "leaves W_O out": Mistake(dict(out=lambda o, W_O: o),
        "The heads' reads are mixed by W_O at the end.", "eq. 16.6"),
    "multiplies by W_O from the wrong side": Mistake(dict(out=lambda o, W_O: o @ W_O),
        "W_O has a row for each output: `o @ W_O.T`, as `F.linear` and `nn.Linear` do.", "eq. 16.6"),
    "adds its input": Mistake(dict(after=lambda y, x: x + y),
        "The residual stream is the block's affair, which is the next stage.", "eq. 16.6"),
}

TOGETHER = ("leaves the convolution out", "leaves SiLU out", "lets β be any number", "only adds", "leaves the norm out")

REFUSED = {
    "hands the rule strengths without a sigmoid": Mistake(mixing_with(beta=lambda b: b, rule=packages),
        "The package's rule refuses a write strength below 0. It lies between 0 and 1: the sigmoid of W_β x.",
        "eq. 16.5"),
    "hands the rule keys that are too long": Mistake(mixing_with(key=lambda x: x, rule=packages),
        "The package's rule refuses keys with β‖k‖² above 2, which blow the memory up. Queries and keys get length 1, "
        "head by head.", "eq. 16.5"),
}


def mixer_cases(g):
    for B, T, H, D, faint in ((1, 1, 1, 2, 1), (1, 3, 2, 4, 1), (2, 5, 3, 6, 1), (2, 4, 2, 8, 0.01)):
        W_qkv = normal(g, 3 * D, D)
        W_qkv[2 * D:] *= faint                                           # small values: faint reads, which notice ε
        note = f"B = {B}, T = {T}, H = {H}, D = {D}" + ("" if faint == 1 else ", small values")
        yield Case((normal(g, B, T, D) + 0.05, W_qkv, normal(g, 4, 3 * D), normal(g, H, D), normal(g, D // H) + 1,
                    normal(g, D, D)), note)


exercise(
    id="16.13", title="Build, stage 1: the mixer", kind="code", stars=3, minutes=30,
    equations=("16.4", "16.5", "16.6"), reference=mixer, alternatives=(mixer_token_by_token, mixer_by_conv1d),
    cases=mixer_cases, mutants=alone_and_paired(mixing_with, SLIPS, TOGETHER) | REFUSED,
    hints=("Six steps: project, convolve, SiLU, cut into q, k and v and into heads, the rule, norm and W_O.",
           "Three zeros in front of `x @ W_qkv.T`; then tap i meets the tokens i to i + T − 1. SiLU. Three parts, each "
           "`.unflatten(-1, (H, -1))`; q and k get length 1.",
           "`o, _ = delta_rule(q, k, v, (x @ W_beta.T).sigmoid())`; then `F.rms_norm(o, weight.shape, weight, 1e-5)`, "
           "the heads side by side, `@ W_O.T`."),
)
