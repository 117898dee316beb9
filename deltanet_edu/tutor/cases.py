"""Inputs for checks, adversarial by construction: K ≠ V, ragged T, random β, nonempty memory, repeated and raw keys.

Too friendly inputs let wrong answers pass: with T = 8, K = V, β = 1, unit keys and an empty memory, six of eight
plausible wrong delta rules look right. One call makes all combinations of what it is given, smallest first, each with
its note:

    delta_inputs(g, "k v beta", T=(1, 2, 7))                  k: (T, K), v: (T, V), beta: (T,)
    delta_inputs(g, "S k v beta", T=None)                     one token: S: (V, K), k: (K,), v: (V,), beta: ()
    delta_inputs(g, "q k v beta S", B=2, H=3)                 q, k: (B, T, H, K), ..., S: (B, H, V, K)
    delta_inputs(g, "q k v beta S C", B=1, H=2, C=(1, 3))     and C, the chunk length, as the last argument
    delta_inputs(g, "q k v beta do dS", B=1, H=2)             do is shaped like v, dS like S: gradients that arrive

Lists can be added: `delta_inputs(g, ...) + delta_inputs(g, ..., K=4, V=4)`; `smallest_first` sorts the sum.
Entries are rounded to one or two digits where that changes nothing, so that a failing case can be redone by hand.
"""

import itertools
import math

import torch

from ..checks import one_of
from .formatting import size
from .registry import Case

KEY_NOTES = {"random": "unit keys", "repeated": "repeated keys", "unnormalized": "unnormalized keys",
             "orthonormal": "orthonormal keys"}
MEMORY_NOTES = {"nonempty": "nonempty memory", "empty": "empty memory", "none": "no memory given", "": ""}
BETA_NOTES = {"random": "random β", "one": "β = 1", "zero": "β = 0", "large": "1 < β < 2"}


def delta_inputs(g, args, *, T=(1, 2, 7), K=3, V=5, B=None, H=None, C=None, keys=("random", "repeated", "unnormalized"),
                 betas=("random",), memories=("nonempty", "empty"), dtype=torch.float64):
    """All combinations of T, C, keys, betas and (if S is among the arguments) memories, as Cases, smallest first.

    Args:
        args: names of the arguments in order, out of q, k, v, beta, S, do, dS, C; ValueError for another.
        T: numbers of tokens; None for one token without a time dimension.
        B, H: batch and heads; None leaves the dimension out.
        C: chunk lengths, if C is among the arguments.
        keys: "random" (unit), "repeated" (unit, some equal; needs T > 1), "unnormalized", "orthonormal" (needs T <= K).
        betas: "random" in (0, 1), "one", "zero", "large" in (1, 2).
        memories: "nonempty", "empty" (zeros), "none" (the argument is None).
    """
    names = args.split()
    lengths = (None,) if T is None else tuple(T)
    entering = memories if "S" in names else ("",)
    made = []
    for t, c, kind, strength, memory in itertools.product(lengths, C or (None,), keys, betas, entering):
        if (kind == "repeated" and (t or 1) < 2) or (kind == "orthonormal" and (t or 1) > K):
            continue
        x = _draw(g, t, K, V, B, H, kind, strength, memory, dtype)
        x["C"] = c
        for name in names:
            one_of("args", name, x)
        note = [KEY_NOTES[kind], BETA_NOTES[strength] if len(betas) > 1 else "", MEMORY_NOTES[memory],
                f"T = {t}" if t else "", f"C = {c}" if c else "", "K ≠ V" if K != V else "K = V"]
        made.append(Case(tuple(x[name] for name in names), ", ".join(filter(None, note))))
    return smallest_first(made)


def smallest_first(cases):
    """Cases in order of how many numbers they hold."""
    return sorted(cases, key=lambda case: size(case.args))


def normal(g, *shape, digits=1, dtype=torch.float64):
    """Normal random numbers, rounded so that they can be written down."""
    return torch.randn(shape, generator=g, dtype=torch.float64).mul(10**digits).round().div(10**digits).to(dtype)


def unit_keys(g, *shape, dtype=torch.float64):
    """Random keys of length 1 along the last dimension; all different, and of two digits if there are so many."""
    *outer, K = shape
    n = math.prod(outer)
    written = short_unit_vectors(K)
    if n <= len(written):
        return written[torch.randperm(len(written), generator=g)[:n]].view(shape).to(dtype)
    return torch.nn.functional.normalize(torch.randn(shape, generator=g, dtype=torch.float64), dim=-1).to(dtype)


def short_unit_vectors(K):
    """Vectors of length 1 whose entries have two digits, such as (0.6, -0.8), for K = 2 and 3; none for others."""
    families = {2: ((0.6, 0.8), (0.28, 0.96)), 3: ((0.48, 0.6, 0.64), (0.36, 0.48, 0.8))}.get(K, ())
    vectors = {tuple(x * s for x, s in zip(order, sign)) for family in families
               for order in itertools.permutations(family) for sign in itertools.product((1, -1), repeat=K)}
    return torch.tensor(sorted(vectors), dtype=torch.float64).view(-1, K)


def strengths(g, *shape, kind="random", dtype=torch.float64):
    """Write strengths β with two digits: "random" in [0.05, 0.95], "large" in [1.05, 1.95], "one", "zero"."""
    if kind in ("one", "zero"):
        return torch.full(shape, 1.0 if kind == "one" else 0.0, dtype=dtype)
    low = torch.rand(shape, generator=g, dtype=torch.float64).mul(90).round().div(100) + 0.05
    return (low + (kind == "large")).mul(100).round().div(100).to(dtype)


def _draw(g, T, K, V, B, H, kind, strength, memory, dtype):
    """One set of inputs by name."""
    outer, heads = (() if B is None else (B,)), (() if H is None else (H,))
    tokens = (*outer, *(() if T is None else (T,)), *heads)
    state = (*outer, *heads, V, K)
    S = normal(g, *state, dtype=dtype)
    return {
        "q": normal(g, *tokens, K, dtype=dtype),
        "k": _keys(g, kind, outer, T, heads, K, dtype),
        "v": normal(g, *tokens, V, dtype=dtype),
        "beta": strengths(g, *tokens, kind=strength, dtype=dtype),
        "do": normal(g, *tokens, V, dtype=dtype),
        "dS": normal(g, *state, dtype=dtype),
        "S": {"nonempty": S, "empty": torch.zeros_like(S)}.get(memory),
    }


def _keys(g, kind, outer, T, heads, K, dtype):
    n = T or 1
    if kind == "unnormalized":
        k = normal(g, *outer, *heads, n, K)
    elif kind == "orthonormal":
        k = torch.linalg.qr(torch.randn(*outer, *heads, K, K, generator=g, dtype=torch.float64))[0][..., :n, :]
    else:
        k = unit_keys(g, *outer, *heads, n, K)
    if kind == "repeated":
        k = k[..., torch.arange(n) % -(-n // 2), :]                      # the second half repeats the keys of the first
    k = k[..., 0, :] if T is None else k.movedim(-2, len(outer))
    return k.contiguous().to(dtype)
