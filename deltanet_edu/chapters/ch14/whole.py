"""Exercise 14.11: the whole layer, against the package's with the same weights."""

import inspect
from functools import cache

import torch
from torch import nn

from ...tutor import AnswerError, Case, exercise
from ...tutor.cases import normal
from .layers import MyDeltaNet, PackagesOwn, PackedAtOnce
from .wrong_layers import MISTAKES

# -- the judge ---------------------------------------------------------------------------------------------------------


@cache
def weights_of(D, H, seed):
    """Random weights for the parameters of a layer, by their shapes, which all differ."""
    g = torch.Generator().manual_seed(seed)
    shapes = (3 * D, D), (4, 3 * D), (H, D), (D // H,), (D, D)
    weights = {shape: torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes}
    weights[3 * D, D][2 * D:] *= 0.03                                    # small values: faint reads, which notice ε
    return weights


def like_ours(layer, D, H, seed):
    """Give a learner's layer the weights that ours gets: its parameters are known by their shapes."""
    weights, theirs = weights_of(D, H, seed), {tuple(p.shape): p for p in layer.parameters()}
    if theirs.keys() != weights.keys() or len(theirs) != len(list(layer.parameters())):
        has = ", ".join(str(tuple(p.shape)) for p in layer.parameters())
        raise ValueError(f"its parameters have the shapes {has or 'of none'}; those of the layer, for D = {D} and "
                         f"H = {H}, are {', '.join(map(str, weights))}")
    for shape, p in theirs.items():
        p.data = weights[shape].clone()
    return layer


def run_layer(answer):
    """From a class to what is compared: the outputs for a text that arrives in pieces, or for documents in one row."""
    if isinstance(answer, nn.Module) or not callable(answer):
        raise AnswerError("give the class itself, not a layer made of it")

    def run(x, cuts, cu_seqlens, H):
        layer = answer(x.shape[2], H)
        if not isinstance(layer, nn.Module):
            raise ValueError("it should be a class of layers, a subclass of torch.nn.Module")
        layer = like_ours(layer, x.shape[2], H, seed=x.shape[1])
        again, state, outputs = cuts[-1] == "again", None, []
        pieces = x.split([c for c in cuts if c != "again"], 1)
        with torch.no_grad():
            for piece in pieces:
                before, (y, state) = state, both(layer(piece, state, cu_seqlens))
                outputs.append(y)
            for piece, state in ((pieces[-1], before), (pieces[0], None)) if again else ():
                outputs.append(both(layer(piece, state, cu_seqlens))[0])     # back to what was handed out before
        return torch.cat(outputs, 1)

    run.__signature__ = inspect.signature(run)
    run.__wrapped__ = getattr(answer, "forward", answer)                 # lines in a traceback are the learner's
    return run


def both(result):
    """y and the state; raises ValueError if forward returns something else."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise ValueError("forward should return two things, y and the state")
    return result


def written(lengths):
    """Lengths of pieces: "3 + 5"."""
    return " + ".join(map(str, lengths))


def layer_cases(g):
    for T, cuts, H, D in ((1, (1,), 1, 2), (2, (2,), 2, 4), (6, (6,), 2, 4), (5, (1,) * 5, 1, 6), (7, (3, 4), 3, 6),
                          (7, (2, 1, 4), 2, 8)):
        way = "at once" if len(cuts) == 1 else "token by token" if set(cuts) == {1} else f"in pieces of {written(cuts)}"
        yield Case((normal(g, 1, T, D), cuts, None, H), f"T = {T}, {way}, H = {H}")
    yield Case((normal(g, 2, 6, 4), (4, 2), None, 2), "two sequences, in pieces of 4 + 2, H = 2")
    yield Case((normal(g, 1, 5, 4), (3, 2, "again"), None, 2),
               "in pieces of 3 + 2, then the second again from the state before it, and the first from None, H = 2")
    for lengths in ((1, 2), (4, 5), (3, 1, 6)):
        T, ends = sum(lengths), torch.tensor([0, *lengths]).cumsum(0)
        yield Case((normal(g, 1, T, 4), (T,), ends, 2), f"documents of {written(lengths)} tokens in one row")


exercise(
    id="14.11", title="Build a layer: the whole", kind="code", stars=4, minutes=30,
    equations=("14.2", "14.7", "14.8"), reference=PackagesOwn, sources=(MyDeltaNet,),
    alternatives=(MyDeltaNet, PackedAtOnce), cases=layer_cases, prepare=run_layer, tolerance=1e-3,
    mutants=MISTAKES,
    hints=("Five parameters: W_qkv, the taps, W_β, the weights of the norm, W_O. Then 14.8, 14.9, the rule, 14.10.",
           "The state is a pair: the tail of the convolution, and S. Hand both on.",
           "For `cu_seqlens`, run each document on its own, from no state, and join the outputs: "
           "`self(x[:, start:end])`."),
)
