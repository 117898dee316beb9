"""Exercise 14.9: what the layer of 14.11 hands to the rule."""

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from ..common import alone_and_paired


def rule_inputs(z, b, H, K, V, beta_max):
    q, k, v = (part.unflatten(-1, (H, -1)) for part in z.split([H * K, H * K, H * V], -1))
    q, k, v = F.silu(q), F.silu(k), F.silu(v)                            # (B, T, H, K) twice, (B, T, H, V)
    return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, beta_max * b.sigmoid()


def rule_inputs_by_views(z, b, H, K, V, beta_max):
    B, T, _ = z.shape
    z = z * torch.sigmoid(z)
    q, k, v = z[..., :H * K].view(B, T, H, K), z[..., H * K:2 * H * K].view(B, T, H, K), z[..., 2 * H * K:]
    q, k = (x * torch.rsqrt((x * x).sum(-1, keepdim=True).clamp(min=1e-24)) for x in (q, k))
    return q, k, v.reshape(B, T, H, V), beta_max / (1 + torch.exp(-b))


def rule_inputs_by_heads(z, b, H, K, V, beta_max):
    def head(part, width):
        return torch.stack([F.silu(part[..., h * width:(h + 1) * width]) for h in range(H)], 2)
    q, k = head(z[..., :H * K], K), head(z[..., H * K:2 * H * K], K)
    q, k = (torch.einsum("bthk,bth->bthk", x, 1 / x.norm(dim=-1).clamp(min=1e-12)) for x in (q, k))
    return q, k, head(z[..., 2 * H * K:], V), torch.sigmoid(b) * beta_max


def length_1(x):
    return F.normalize(x, dim=-1)


def silu_length_1(x):
    return length_1(F.silu(x))


def split(z, H, K, V):
    return [part.unflatten(-1, (H, -1)) for part in z.split([H * K, H * K, H * V], -1)]


def head_by_head(z, H, K, V):
    return z.unflatten(-1, (H, -1)).split([K, K, V], -1)


def interleaved(z, H, K, V):
    return [part.unflatten(-1, (-1, H)).mT for part in z.split([H * K, H * K, H * V], -1)]


def keys_first(z, H, K, V):
    q, k, v = split(z, H, K, V)
    return k, q, v


def values_first(z, H, K, V):
    v, k, q = (part.unflatten(-1, (H, -1)) for part in z.split([H * V, H * K, H * K], -1))
    return q, k, v


def values_then_queries(z, H, K, V):
    v, q, k = (part.unflatten(-1, (H, -1)) for part in z.split([H * V, H * K, H * K], -1))
    return q, k, v


def heads_out_of_tokens(z, H, K, V):
    B, T, _ = z.shape
    return [part.reshape(B, H, T, -1).transpose(1, 2) for part in z.split([H * K, H * K, H * V], -1)]


def heads_first(z, H, K, V):
    return [part.transpose(1, 2) for part in split(z, H, K, V)]


def elu_1(x):
    return F.elu(x) + 1


def inputs_with(cut=split, shape=silu_length_1, query=None, value=F.silu, beta=None):
    """A mutant: cut(z, H, K, V), keys shape(k), queries query(q) if given, value(v), beta(b, beta_max)."""
    def f(z, b, H, K, V, beta_max):
        q, k, v = cut(z, H, K, V)
        strength = beta(b, beta_max) if beta else beta_max * b.sigmoid()
        return (query or shape)(q), shape(k), value(v), strength
    return f


def across_heads(x):
    return F.normalize(F.silu(x).flatten(-2), dim=-1).view_as(x)


def over(size):
    """SiLU, divided by a size of it; zeros stay zeros."""
    def f(x):
        x = F.silu(x)
        return x / size(x).clamp(min=1e-12)
    return f


SLIPS_OF_INPUTS = {
    "cuts head by head": Mistake(dict(cut=head_by_head),
        "In z all queries stand first, of all heads, then all keys, then all values. Yours takes a query, a key and a "
        "value of each head in turn.", "eq. 14.7"),
    "deals the channels out to the heads": Mistake(dict(cut=interleaved),
        "A head's channels stand side by side: the first K are head 1's. Yours gives it every H-th channel.",
        "eq. 14.7"),
    "takes the values first": Mistake(dict(cut=values_first),
        "The order in z is q, k, v.", "eq. 14.7"),
    "takes the values first, then the queries": Mistake(dict(cut=values_then_queries),
        "The order in z is q, k, v.", "eq. 14.7"),
    "makes heads out of tokens": Mistake(dict(cut=heads_out_of_tokens),
        "The channels of one token are cut into heads: the shape is (B, T, H, K). As (B, H, T, K) a head gets channels "
        "of several tokens.", "eq. 14.7"),
    "puts the heads before the tokens": Mistake(dict(cut=heads_first),
        "(B, T, H, K): tokens first, then heads.", "eq. 14.7"),
    "takes keys for queries": Mistake(dict(cut=keys_first),
        "The order in z is q, k, v.", "eq. 14.7"),
    "normalizes before SiLU": Mistake(dict(shape=lambda x: F.silu(length_1(x))),
        "After SiLU the length is no longer 1: activate first, normalize last.", "eq. 14.4"),
    "does not normalize": Mistake(dict(shape=F.silu),
        "A key of any length makes 1 − β‖k‖² anything: the memory explodes.", "eq. 2.10"),
    "leaves SiLU out": Mistake(dict(shape=length_1),
        "q and k go through SiLU before they are normalized; without it keys of several tokens depend on each other.",
        "eq. 14.4"),
    "takes one length for all heads": Mistake(dict(shape=across_heads),
        "Each head has a memory of its own, so each head's key has length 1 on its own: sum over the last dimension.",
        "eq. 2.10"),
    "normalizes along the heads": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), dim=2)),
        "The entries of a key are the *last* dimension. Yours divides by what stands in the same place of other heads.",
        "eq. 2.10"),
    "normalizes along the tokens": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), dim=1)),
        "The entries of a key are the *last* dimension. Along dimension 1, which is what `F.normalize` takes if you do "
        "not say, tokens would know of later ones.", "eq. 2.10"),
    "makes the root of the mean square 1": Mistake(dict(shape=over(lambda x: x.square().mean(-1, keepdim=True).sqrt())),
        "That is an RMSNorm, and the keys have length √K. The *sum* of the squares is to be 1.", "eq. 2.10"),
    "divides zeros by their length": Mistake(dict(shape=lambda x: F.silu(x) / F.silu(x).norm(dim=-1, keepdim=True)),
        "A token of zeros has the length 0, and 0/0 is NaN, which the memory would keep for ever.", "eq. 2.10",
        next="Which divisor is never zero?"),
    "takes a ReLU": Mistake(dict(shape=lambda x: length_1(F.relu(x))),
        "The activation of the layer is SiLU, x σ(x).", "eq. 14.4"),
    "takes a ReLU for all": Mistake(dict(shape=lambda x: length_1(F.relu(x)), value=F.relu),
        "The activation of the layer is SiLU, x σ(x).", "eq. 14.4"),
    "takes a ReLU after the norm": Mistake(dict(shape=lambda x: F.relu(length_1(x))),
        "SiLU comes first, and the norm last: otherwise the length is not 1.", "eq. 14.4"),
    "takes 1 + ELU": Mistake(dict(shape=lambda x: length_1(elu_1(x))), "The activation of the layer is SiLU, x σ(x).",
        "eq. 14.4"),
    "takes 1 + ELU for all": Mistake(dict(shape=lambda x: length_1(elu_1(x)), value=elu_1),
        "The activation of the layer is SiLU, x σ(x).", "eq. 14.4"),
    "applies SiLU twice": Mistake(dict(shape=lambda x: silu_length_1(F.silu(x)), value=lambda v: F.silu(F.silu(v))),
        "Once, before the norm.", "eq. 14.4"),
    "divides by the sum of the entries": Mistake(dict(shape=lambda x: F.silu(x) / F.silu(x).sum(-1, keepdim=True)),
        "Entries of either sign cancel in a sum, and it may be 0. Divide by the root of the sum of *squares*.",
        "eq. 2.10"),
    "takes a sigmoid for all": Mistake(dict(shape=lambda x: length_1(x.sigmoid()), value=torch.sigmoid),
        "SiLU is x σ(x), not σ(x).", "eq. 14.4"),
    "takes a softmax of q and k": Mistake(dict(shape=lambda x: x.softmax(-1)),
        "A softmax makes the entries sum to 1. A key gets *length* 1, after SiLU.", "eq. 2.10"),
    "takes a softmax after SiLU": Mistake(dict(shape=lambda x: F.silu(x).softmax(-1)),
        "A softmax makes the entries sum to 1. A key gets *length* 1.", "eq. 2.10"),
    "takes a softmax of the keys": Mistake(
        dict(shape=lambda x: F.silu(x).softmax(-1), query=silu_length_1),
        "A softmax makes the entries sum to 1. A key gets *length* 1, like a query.", "eq. 2.10"),
    "uses the 1-norm": Mistake(dict(shape=lambda x: F.normalize(F.silu(x), p=1, dim=-1)),
        "With the 1-norm a write with β = 1 does not erase (2.11). Divide by the root of the sum of squares.",
        "eq. 2.11"),
    "divides by the squared length": Mistake(dict(shape=over(lambda x: x.square().sum(-1, keepdim=True))),
        "Divide by the *root* of the sum of squares.", "eq. 2.10"),
    "does not normalize the queries": Mistake(dict(shape=silu_length_1, query=F.silu),
        "Queries are normalized like keys. In a layer only the ε of the last norm would notice; here all of it shows.",
        "eq. 14.5"),
    "leaves the queries without SiLU": Mistake(dict(shape=silu_length_1, query=length_1),
        "Queries go through SiLU like keys, or they cannot meet.", "eq. 14.4"),
    "scales the queries by 1/√K": Mistake(
        dict(shape=silu_length_1, query=lambda q: silu_length_1(q) * q.shape[-1]**-0.5),
        "Softmax attention needs that factor. Here a query has length 1, and the factor would act like another ε.",
        "eq. 14.5"),
    "leaves the values without SiLU": Mistake(dict(value=lambda v: v.clone()),
        "Values go through SiLU as well. They are only not normalized.", "eq. 14.4"),
    "normalizes the values too": Mistake(dict(value=silu_length_1),
        "Queries and keys get length 1. A value is what is stored, and may have any length.", "eq. 2.10"),
    "lets β be any number": Mistake(dict(beta=lambda b, top: top * b),
        "A write strength lies between 0 and beta_max: the sigmoid of b, times beta_max.", "eq. 2.10"),
    "takes b for β": Mistake(dict(beta=lambda b, top: b.clone()),
        "b is any number. A write strength lies between 0 and beta_max: `beta_max * b.sigmoid()`.", "eq. 2.10"),
    "puts β through SiLU": Mistake(dict(beta=lambda b, top: top * F.silu(b)),
        "SiLU is for q, k and v. A write strength lies between 0 and beta_max: the sigmoid, times beta_max.",
        "eq. 2.10"),
    "does not activate the keys": Mistake(dict(shape=length_1, query=silu_length_1),
        "Keys go through SiLU like queries.", "eq. 14.4"),
    "does not normalize the keys": Mistake(dict(shape=F.silu, query=silu_length_1),
        "Of the two it is the *key* whose length matters: a write multiplies what it finds by 1 − β‖k‖².", "eq. 2.10"),
    "ignores beta_max": Mistake(dict(beta=lambda b, top: b.sigmoid()),
        "With beta_max = 2 the strengths reach up to 2.", "eq. 2.10"),
    "puts beta_max inside the sigmoid": Mistake(dict(beta=lambda b, top: (top * b).sigmoid()),
        "Inside, beta_max makes the sigmoid steeper, and β still ends at 1. It multiplies the result.", "eq. 2.10"),
    "cuts b off": Mistake(dict(beta=lambda b, top: b.clamp(0, top)),
        "Cut off at 0 and beta_max, most of b has no gradient. A write strength is the sigmoid of b, times beta_max.",
        "eq. 2.10"),
    "takes a softmax over the heads": Mistake(dict(beta=lambda b, top: top * b.softmax(-1)),
        "Then the heads compete for one strength. Each has its own: the sigmoid.", "eq. 2.10"),
    "takes a tanh": Mistake(dict(beta=lambda b, top: top * b.tanh()),
        "tanh goes down to −1: a write that makes the error larger. The sigmoid lies in (0, 1).", "eq. 2.10"),
}


TOGETHER = ("cuts head by head", "normalizes before SiLU", "does not normalize", "leaves SiLU out",
            "normalizes along the heads", "does not normalize the queries", "leaves the values without SiLU",
            "normalizes the values too", "lets β be any number", "ignores beta_max")


def input_cases(g):
    for B, T, H, K, V, top in ((1, 1, 1, 2, 1, 1.0), (1, 1, 2, 2, 3, 2.0), (1, 2, 2, 3, 3, 1.0), (2, 3, 3, 2, 4, 2.0),
                               (1, 4, 2, 4, 2, 1.0)):
        z = normal(g, B, T, H * (2 * K + V)) + 0.05
        yield Case((z, normal(g, B, T, H) + 0.05, H, K, V, top), f"T = {T}, H = {H}, K = {K}, V = {V}, β up to {top:g}")
    z = z.clone()
    z[0, 1] = 0
    yield Case((z, normal(g, 1, 4, 2), 2, 4, 2, 2.0), "a token of zeros")


exercise(
    id="14.9", title="Build a layer: what the rule is given", kind="code", stars=2, minutes=15,
    equations=("14.4", "2.10"), reference=rule_inputs, alternatives=(rule_inputs_by_views, rule_inputs_by_heads),
    cases=input_cases, mutants=alone_and_paired(inputs_with, SLIPS_OF_INPUTS, TOGETHER),
    hints=("Cut z into H·K, H·K and H·V channels, and each of these into heads.",
           "SiLU for all three; q and k are then divided by their length, head by head: the last dimension.",
           "`part.unflatten(-1, (H, -1))` makes heads; β is `beta_max * b.sigmoid()`."),
)
