"""Exercise 14.10: what the layer of 14.11 does after the rule."""

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from ..common import alone_and_paired

def read_out(o, g, weight, W_O, eps):
    o = o / (o.square().mean(-1, keepdim=True) + eps).sqrt() * weight    # (B, T, H, V)
    o = o.flatten(-2)                                                    # (B, T, H V)
    if g is not None:
        o = o * F.silu(g)
    return o @ W_O.T                                                     # (B, T, D)


def read_out_by_modules(o, g, weight, W_O, eps):
    o = F.rms_norm(o, o.shape[-1:], weight, eps)
    gate = 1 if g is None else (g * g.sigmoid()).view(o.shape)
    return F.linear((o * gate).flatten(2), W_O)


def read_out_by_einsum(o, g, weight, W_O, eps):
    B, T, H, V = o.shape
    o = o * torch.rsqrt(o.pow(2).sum(-1, keepdim=True) / V + eps) * weight
    if g is not None:
        o = o * F.silu(g.unflatten(-1, (H, V)))
    return torch.einsum("bthv,dhv->btd", o, W_O.unflatten(-1, (H, V)))


def rms(o, weight, eps):
    return o / (o.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def read_with(norm=rms, gate=None, join=None):
    """A mutant: norm(o, weight, eps) of the heads, gate(o, g) of what they say, join(o), (B, T, H V)."""
    def f(o, g, weight, W_O, eps):
        o = norm(o, weight, eps)
        o = join(o) if join else o.flatten(-2)
        if g is not None:
            o = gate(o, g) if gate else o * F.silu(g)
        return o @ W_O.T
    return f


def over_all_heads(o, weight, eps):
    return o / (o.square().mean((-2, -1), keepdim=True) + eps).sqrt() * weight


def gate_first(o, g, weight, W_O, eps):
    if g is not None:
        o = o * F.silu(g).unflatten(-1, o.shape[-2:])
    return rms(o, weight, eps).flatten(-2) @ W_O.T


def gate_last(o, g, weight, W_O, eps):
    y = rms(o, weight, eps).flatten(-2) @ W_O.T
    return y if g is None else y * F.silu(g)


def over_everything(o, weight, eps):
    return o / (o.square().mean((1, 2, 3), keepdim=True) + eps).sqrt() * weight


def along_the_heads(o, weight, eps):
    return o / (o.square().mean(-2, keepdim=True) + eps).sqrt() * weight


def always_a_gate(o, g, weight, W_O, eps):
    return (rms(o, weight, eps).flatten(-2) * F.silu(g)) @ W_O.T


def gate_of_ones(o, g, weight, W_O, eps):
    o = rms(o, weight, eps).flatten(-2)
    return (o * F.silu(torch.ones_like(o) if g is None else g)) @ W_O.T


def gate_of_zeros(o, g, weight, W_O, eps):
    return always_a_gate(o, torch.zeros_like(o).flatten(-2) if g is None else g, weight, W_O, eps)


def reads_through_silu(o, g, weight, W_O, eps):
    o = F.silu(rms(o, weight, eps)).flatten(-2)
    return (o if g is None else o * g) @ W_O.T


SLIPS_OF_A_READ = {
    "does not normalize": Mistake(dict(norm=lambda o, weight, eps: o * weight),
        "The size of a read depends on how full the memory is. Divide by the root of its mean square plus ε.",
        "eq. 14.5"),
    "normalizes all heads together": Mistake(dict(norm=over_all_heads),
        "Each head is normalized on its own, over its V entries. Yours lets a loud head silence the others.",
        "eq. 14.6"),
    "leaves the weights out": Mistake(dict(norm=lambda o, weight, eps: rms(o, 1, eps)),
        "The norm has a weight for each of the V entries, the same for all heads.", "eq. 14.7"),
    "divides by the length": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.square().sum(-1, keepdim=True) + eps).sqrt() * weight),
        "RMS is the root of the *mean* square; yours is √V times smaller.", "eq. 14.5"),
    "divides by the length, and adds ε to it": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.norm(dim=-1, keepdim=True) + eps) * weight),
        "RMS is the root of the *mean* square, and ε is added under the root.", "eq. 14.5"),
    "makes the length 1": Mistake(dict(norm=lambda o, weight, eps: F.normalize(o, dim=-1) * weight),
        "That is the length of q and k. What is read is divided by the root of its *mean* square plus ε.",
        "eq. 14.5"),
    "makes the length 1, or at least ε": Mistake(
        dict(norm=lambda o, weight, eps: o / o.norm(dim=-1, keepdim=True).clamp(min=eps) * weight),
        "RMS is the root of the *mean* square, and ε is added under the root.", "eq. 14.5"),
    "divides by the standard deviation": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.var(-1, keepdim=True) + eps).sqrt() * weight),
        "`var` subtracts the mean first. RMSNorm takes the mean of the squares as they are.", "eq. 14.5"),
    "divides by the standard deviation of all V": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.var(-1, keepdim=True, correction=0) + eps).sqrt() * weight),
        "`var` subtracts the mean first. RMSNorm takes the mean of the squares as they are.", "eq. 14.5"),
    "forgets the root": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.square().mean(-1, keepdim=True) + eps) * weight),
        "Divide by the *root* of the mean square plus ε.", "eq. 14.5"),
    "normalizes along the heads": Mistake(dict(norm=along_the_heads),
        "The V entries of a head are the last dimension.", "eq. 14.6"),
    "normalizes all tokens together": Mistake(dict(norm=over_everything),
        "Each token and head is normalized on its own; yours lets a token know of later ones.", "eq. 14.6"),
    "adds ε outside the root": Mistake(
        dict(norm=lambda o, weight, eps: o / (o.square().mean(-1, keepdim=True).sqrt() + eps) * weight),
        "ε is added to the mean square, under the root.", "eq. 14.5"),
    "leaves ε out": Mistake(dict(norm=lambda o, weight, eps: rms(o, weight, 0.0)),
        "Without ε a faint read comes out as loud as any other, and a read of zero is 0/0.", "eq. 14.5"),
    "has an ε of its own": Mistake(dict(norm=lambda o, weight, eps: rms(o, weight, 1e-5)),
        "Use the `eps` that is given: models differ in it, and faint reads notice.", "eq. 14.5"),
    "subtracts the mean": Mistake(
        dict(norm=lambda o, weight, eps: F.layer_norm(o, o.shape[-1:], weight, None, eps)),
        "That is LayerNorm. RMSNorm divides, and subtracts nothing.", "eq. 14.6"),
    "multiplies by 1 + weight": Mistake(dict(norm=lambda o, weight, eps: rms(o, 1 + weight, eps)),
        "Some libraries store the weight minus 1. Here it is the factor itself.", "eq. 14.6"),
    "ignores the gate": Mistake(dict(gate=lambda o, g: o),
        "If there is a gate, what the heads say is multiplied by SiLU(g).", "eq. 14.6"),
    "takes a sigmoid for the gate": Mistake(dict(gate=lambda o, g: o * g.sigmoid()),
        "The gate is SiLU(g) = g σ(g), which may also be larger than 1, or a little below 0.", "eq. 14.6"),
    "multiplies by the bare gate": Mistake(dict(gate=lambda o, g: o * g),
        "The gate goes through SiLU before it multiplies.", "eq. 14.6"),
    "takes a ReLU for the gate": Mistake(dict(gate=lambda o, g: o * F.relu(g)),
        "The gate is SiLU(g) = g σ(g).", "eq. 14.6"),
    "adds the gate": Mistake(dict(gate=lambda o, g: o + F.silu(g)),
        "A gate multiplies: at 0 it lets nothing through.", "eq. 14.6"),
    "puts what was read through SiLU": Mistake(dict(gate=lambda o, g: F.silu(o) * g),
        "SiLU is for the gate, not for what was read.", "eq. 14.6"),
    "adds what was read once more": Mistake(dict(gate=lambda o, g: o + o * F.silu(g)),
        "Then a closed gate still lets everything through.", "eq. 14.6"),
    "deals the heads out": Mistake(dict(join=lambda o: o.mT.flatten(-2)),
        "Heads stand side by side: all V entries of head 1 first. Yours takes the first entry of each head.",
        "eq. 14.7"),
}


LIKELY = ("does not normalize", "normalizes all heads together", "leaves the weights out", "adds ε outside the root",
          "has an ε of its own", "subtracts the mean", "ignores the gate", "takes a sigmoid for the gate",
          "multiplies by the bare gate", "adds the gate")


def read_cases(g):
    for B, T, H, V, D, eps in ((1, 1, 1, 2, 2, 1e-2), (1, 2, 2, 2, 4, 1e-5), (1, 3, 2, 3, 6, 1e-2),
                               (2, 2, 3, 2, 6, 1e-3), (1, 4, 2, 4, 3, 1e-2)):
        o = normal(g, B, T, H, V) * torch.tensor([1.0, 0.1, 0.01, 1.0][:T], dtype=torch.float64)[:, None, None]
        for gate in (None, normal(g, B, T, H * V)):
            said = "without a gate" if gate is None else "with a gate"
            weight, W_O = normal(g, V) + 1.05, normal(g, D, H * V)
            yield Case((o, gate, weight, W_O, eps), f"{said}, H = {H}, V = {V}, ε = {eps:g}")
    o = o.clone()
    o[:, 0] = 0
    yield Case((o, gate, normal(g, V) + 1.05, normal(g, D, H * V), eps), "a token that reads zeros")


exercise(
    id="14.10", title="Build a layer: what leaves it", kind="code", stars=2, minutes=15, equations=("14.5", "14.6"),
    reference=read_out, alternatives=(read_out_by_modules, read_out_by_einsum), cases=lambda g: [*read_cases(g)],
    mutants={
        **alone_and_paired(read_with, SLIPS_OF_A_READ, LIKELY),
        "expects a gate": Mistake(always_a_gate,
            "Without a gate, g is None: what was read then goes to W_O as it is.", "eq. 14.6"),
        "takes a gate of ones where there is none": Mistake(gate_of_ones,
            "SiLU(1) is 0.73. Without a gate nothing is multiplied.", "eq. 14.6"),
        "takes a gate of zeros where there is none": Mistake(gate_of_zeros,
            "SiLU(0) is 0, and nothing is let through. Without a gate what was read goes to W_O as it is.", "eq. 14.6"),
        "puts what was read through SiLU, gate or not": Mistake(reads_through_silu,
            "SiLU is for the gate, not for what was read.", "eq. 14.6"),
        "gates before the norm": Mistake(gate_first,
            "The norm would make every gated read large again: first RMSNorm, then the gate.", "eq. 14.6"),
        "gates after the last matrix": Mistake(gate_last,
            "The gate has HV entries and belongs to what the heads say, before W_O mixes them.", "eq. 14.6"),
    },
    hints=("Three steps: norm for each head, gate, matrix.",
           "Over the last dimension: o / √(mean(o²) + ε), times the weights. Then flatten the heads.",
           "`o.flatten(-2) * F.silu(g) @ W_O.T`, without the gate if g is None."),
)
