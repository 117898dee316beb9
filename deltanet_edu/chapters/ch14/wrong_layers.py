"""Mistakes in the whole layer of exercise 14.11."""

import torch
import torch.nn.functional as F

from ... import delta_rule
from ...tutor import Mistake
from ..common import alone_and_paired
from .inputs import inputs_with, rule_inputs, silu_length_1
from .layers import MyDeltaNet
from .pieces import convolve
from .read_out import read_out


class KeepsItsState(MyDeltaNet):
    """A mutant: the state in the layer itself, whatever comes in; a document begins with that of the one before."""

    kept = None

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is not None:
            return super().forward(x, None, cu_seqlens)
        y, self.kept = super().forward(x, self.kept)
        return y, self.kept


class KeepsItsStateOfPieces(KeepsItsState):
    """A mutant: the same, but each document begins anew."""

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is not None:
            ends = cu_seqlens.tolist()
            return torch.cat([MyDeltaNet.forward(self, x[:, a:b])[0] for a, b in zip(ends, ends[1:])], 1), None
        return super().forward(x)


class ChangesTheState(MyDeltaNet):
    """A mutant: the state that comes in is overwritten."""

    def forward(self, x, state=None, cu_seqlens=None):
        y, after = super().forward(x, state, cu_seqlens)
        for old, new in zip(state or (), after):
            old.copy_(new)
        return y, state or after


class ChangesAPart(MyDeltaNet):
    """A mutant: one of the two, tail (0) or memory (1), is written into that which comes in."""

    part = 1

    def forward(self, x, state=None, cu_seqlens=None):
        y, after = super().forward(x, state, cu_seqlens)
        if state is not None:
            after = list(after)
            after[self.part] = state[self.part].copy_(after[self.part])
        return y, after


class ChangesTheTail(ChangesAPart):
    part = 0


class ContinuesTokenByToken(MyDeltaNet):
    """A mutant: the state is for single tokens; a longer piece starts anew."""

    def forward(self, x, state=None, cu_seqlens=None):
        return super().forward(x, state if x.shape[1] == 1 else None, cu_seqlens)


def layer_with(border=None, enter=None, leave=None, conv=convolve, given=None, rule=None, eps=1e-5, residual=False,
               normed=True, beta_of=None, front=None, out=read_out, gated=False):
    """A mutant. border(layer, x, ends): a row of documents; enter, leave: what of (tail, S) comes in and goes out."""
    class Layer(MyDeltaNet):
        def forward(self, x, state=None, cu_seqlens=None):
            if cu_seqlens is not None:
                return (border or strangers)(self, x, cu_seqlens.tolist())
            tail, S = enter(*(state or (None, None))) if enter else state or (None, None)
            z, tail = front(self, x, tail) if front else conv(self.to_qkv(x), tail, self.taps)
            width = x.shape[2] // self.H
            b = beta_of(self, x, z) if beta_of else self.to_beta(x)
            q, k, v, beta = (given or rule_inputs)(z, b, self.H, width, width, 1.0)
            o, S = (rule or delta_rule)(q, k, v, beta, initial_state=S)
            weight = self.norm if normed else torch.ones_like(self.norm)
            y = out(o, x if gated else None, weight, self.to_out.weight, eps)
            return (x + y if residual else y), leave(tail, S) if leave else (tail, S)
    return Layer


def strangers(layer, x, ends, more=0):
    done = [layer(x[:, start:end + more])[0] for start, end in zip(ends, ends[1:])]
    return torch.cat(done, 1), None


def by_lengths(layer, x, lengths):
    """A row of documents whose borders are taken for their lengths."""
    start, done = 0, []
    for length in lengths:
        if length and start < x.shape[1]:
            done.append(layer(x[:, start:start + length])[0])
        start += length
    return torch.cat(done, 1), None


def hands_on(reset):
    """A row of documents in which each gets reset(tail, S) of the one before."""
    def border(layer, x, ends):
        state, done = None, []
        for start, end in zip(ends, ends[1:]):
            y, state = layer(x[:, start:end], state)
            state = reset(*state)
            done.append(y)
        return torch.cat(done, 1), state
    return border


def with_inputs(change):
    """Inputs of the rule, changed: change(q, k, v, beta)."""
    return lambda *args: change(*rule_inputs(*args))


def bare_inputs(z, b, H, K, V, top):
    q, k, v = (part.unflatten(-1, (H, -1)) for part in z.chunk(3, -1))
    return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, top * b.sigmoid()


def with_z(change):
    return lambda z, *args: rule_inputs(change(z), *args)


def reshaping_the_matrix(layer, x, tail):
    D = x.shape[2]
    return convolve(x @ layer.to_qkv.weight.view(D, 3 * D), tail, layer.taps)


def activating_first(layer, x, tail):
    return convolve(F.silu(layer.to_qkv(x)), tail, layer.taps)


def tail_of_the_piece(z, tail, w):
    return convolve(z, tail, w)[0], z[:, -(len(w) - 1):]


def convolving_the_input(layer, x, tail):
    D = x.shape[2]
    x, tail = convolve(x, tail, layer.taps[:, :D])
    return layer.to_qkv(x), tail


def outputs_as_tail(z, tail, w):
    y, _ = convolve(z, tail, w)
    return y, torch.cat([torch.zeros_like(z[:, :1]).repeat(1, len(w) - 1, 1) if tail is None else tail, y], 1)[
        :, z.shape[1]:]


def no_convolution(z, tail, w):
    return z, tail


def adding(q, k, v, beta, initial_state):
    S = 0 if initial_state is None else initial_state
    rows = []
    for t in range(q.shape[1]):
        S = S + beta[:, t, :, None, None] * v[:, t, :, :, None] * k[:, t, :, None]
        rows.append((S @ q[:, t, :, :, None])[..., 0])
    return torch.stack(rows, 1), S


def reading_first(q, k, v, beta, initial_state):
    o, S = delta_rule(q, k, v, beta, initial_state=initial_state)
    before = torch.zeros(*S.shape, dtype=S.dtype) if initial_state is None else initial_state
    rows = []
    for t in range(q.shape[1]):
        rows.append((before @ q[:, t, :, :, None])[..., 0])
        before = delta_rule(q[:, t:t + 1], k[:, t:t + 1], v[:, t:t + 1], beta[:, t:t + 1], initial_state=before)[1]
    return torch.stack(rows, 1), S


def unscaled(q, k, v, beta, initial_state):
    return delta_rule(q, k, v, beta, initial_state=initial_state, scale=q.shape[-1]**-0.5)


SLIPS_OF_THE_LAYER = {
    "lets the convolution look over the border": Mistake(dict(border=hands_on(lambda tail, S: (tail, None))),
        "The memory starts anew with each document, the convolution does not: its first three tokens see the document "
        "before, and write what they see.", "eq. 14.2", next="What does a document find in front of its first token?"),
    "lets the memory pass over the border": Mistake(dict(border=hands_on(lambda tail, S: (None, S))),
        "The convolution starts anew, but the memory still holds the document before.", "eq. 14.9"),
    "leaves out the first document": Mistake(dict(border=lambda layer, x, ends: strangers(layer, x, ends[1:])),
        "`cu_seqlens` begins with 0: the pairs of `zip(ends, ends[1:])` are the documents, all of them.", "eq. 14.2"),
    "reads a token of the next document": Mistake(
        dict(border=lambda layer, x, ends: strangers(layer, x, ends, more=1)),
        "A document ends *before* the next border: `x[:, start:end]`.", "eq. 14.2"),
    "takes cu_seqlens for lengths": Mistake(dict(border=by_lengths),
        "`[0, 3, 8]` are borders: the second document has the tokens 3 to 7, five of them. For one or two documents it "
        "comes to the same, as a slice ends with the row.", "eq. 14.2"),
    "ignores cu_seqlens": Mistake(dict(border=lambda layer, x, ends: layer(x)),
        "The documents are read as one text: memory and convolution pass over the border.", "eq. 14.2"),
    "forgets the tail between pieces": Mistake(dict(enter=lambda tail, S: (None, S)),
        "The memory is handed on, the last three inputs of the convolution are not: the first tokens of a piece see "
        "zeros in front of them.", "eq. 14.8"),
    "forgets the memory between pieces": Mistake(dict(enter=lambda tail, S: (tail, None)),
        "The tail is handed on, S is not: each piece begins with an empty memory.", "eq. 14.8"),
    "forgets everything between pieces": Mistake(dict(enter=lambda tail, S: (None, None)),
        "The state that comes in is not used: each piece is a text of its own.", "eq. 14.8"),
    "leaves out the convolution": Mistake(dict(conv=no_convolution),
        "Query, key and value come from one token each: a bag of tokens.", "eq. 14.1"),
    "leaves out SiLU": Mistake(dict(given=bare_inputs),
        "Between the convolution and the rule stands SiLU, for q, k and v.", "eq. 14.4"),
    "only adds": Mistake(dict(rule=adding),
        "That is linear attention with a write strength. The delta rule subtracts what the memory says about k.",
        "eq. 2.3"),
    "reads before it writes": Mistake(dict(rule=reading_first),
        "A token reads the memory that it has written into, S_t q_t.", "eq. 14.9"),
    "scales the queries": Mistake(dict(rule=unscaled),
        "A factor 1/√K on the queries acts like an ε K times as large. The scale is 1 here.", "eq. 14.5"),
    "writes with full strength": Mistake(
        dict(given=with_inputs(lambda q, k, v, beta: (q, k, v, torch.ones_like(beta)))),
        "β = σ(W_β x), one a head and token.", "eq. 14.7"),
    "swaps queries and keys": Mistake(dict(given=with_inputs(lambda q, k, v, beta: (k, q, v, beta))),
        "The order is q, k, v, in the matrix and in the rule.", "eq. 14.9"),
    "has another ε": Mistake(dict(eps=1e-6),
        "The norm after the rule has ε = 10⁻⁵.", "eq. 14.5"),
    "leaves the weights of the norm out": Mistake(dict(normed=False),
        "The RMSNorm has V weights, which the heads share.", "eq. 14.7"),
    "adds its input": Mistake(dict(residual=True),
        "The residual stream is the block's affair. The layer returns W_O of what was read, and nothing else.",
        "eq. 14.6"),
    "lets β reach up to 2": Mistake(dict(given=with_inputs(lambda q, k, v, beta: (q, k, v, 2 * beta))),
        "That is `beta_max=2`. Here β lies between 0 and 1.", "eq. 2.10"),
    "applies SiLU twice": Mistake(dict(given=with_z(F.silu)),
        "`rule_inputs` has SiLU in it.", "eq. 14.4"),
    "takes a sigmoid twice": Mistake(dict(beta_of=lambda layer, x, z: layer.to_beta(x).sigmoid()),
        "`rule_inputs` takes the sigmoid of W_β x itself.", "eq. 14.7"),
    "convolves the input": Mistake(dict(front=convolving_the_input),
        "The convolution comes after W_qkv: it has 3D channels, each with taps of its own.", "eq. 14.2"),
    "meets the taps in the wrong order": Mistake(dict(conv=lambda z, tail, w: convolve(z, tail, w.flip(0))),
        "The last row of the taps meets the present.", "eq. 14.2"),
    "adds what it convolves": Mistake(
        dict(conv=lambda z, tail, w: (z + convolve(z, tail, w)[0], convolve(z, tail, w)[1])),
        "The convolution's output takes the place of z; nothing is added to it.", "eq. 14.2"),
    "leaves the norm out": Mistake(dict(out=lambda o, g, weight, W_O, eps: o.flatten(-2) @ W_O.T),
        "What is read is normalized, head by head, before W_O: `read_out`.", "eq. 14.5"),
    "does not normalize the queries": Mistake(dict(given=inputs_with(query=F.silu)),
        "Queries get length 1 like keys, before the rule: `rule_inputs`. The norm after the rule takes that out again "
        "but for its ε.", "eq. 14.5"),
    "does not normalize the keys": Mistake(dict(given=inputs_with(shape=F.silu, query=silu_length_1)),
        "A write multiplies what it finds by 1 − β‖k‖²: keys get length 1, before the rule.", "eq. 2.10"),
    "normalizes neither queries nor keys": Mistake(dict(given=inputs_with(shape=F.silu)),
        "Both get length 1 before the rule: `rule_inputs`. A write multiplies what it finds by 1 − β‖k‖².", "eq. 2.10"),
    "asks with the keys": Mistake(dict(given=with_inputs(lambda q, k, v, beta: (k, k, v, beta))),
        "The key says where to write, the query what to read: S_t q_t.", "eq. 14.9"),
    "applies SiLU before the convolution": Mistake(dict(front=activating_first, given=bare_inputs),
        "First the convolution, then SiLU: it is the *sum* of several tokens that has to be bent.", "eq. 14.4"),
    "takes the tail from this piece alone": Mistake(dict(conv=tail_of_the_piece),
        "A piece of one or two tokens does not fill the tail: the rest comes from the tail before (14.8).", "eq. 14.2",
        next="A text arrives token by token. How many rows has your tail?"),
    "hands on outputs of the convolution": Mistake(dict(conv=outputs_as_tail),
        "The tail holds *inputs* of the convolution. With outputs in it this is another, recurrent filter.",
        "eq. 14.2"),
    "gates with its input": Mistake(dict(gated=True),
        "This layer has no gate: `g` is None, not x.", "eq. 14.7"),
    "multiplies by W_O from the wrong side": Mistake(
        dict(out=lambda o, g, weight, W_O, eps: read_out(o, g, weight, W_O.T, eps)),
        "W_O has a row for each *output*: o @ W_O.T, as `nn.Linear` does it.", "eq. 14.6"),
    "reshapes W_qkv": Mistake(dict(front=reshaping_the_matrix),
        "(3D, D) becomes (D, 3D) by transposing, `x @ W.T`. `view` deals the entries out anew.", "eq. 14.2"),
    "takes β from z": Mistake(dict(beta_of=lambda layer, x, z: layer.to_beta(z[..., :x.shape[2]])),
        "β is computed from the layer's input x, past the convolution.", "eq. 14.7"),
    "takes β from the values in z": Mistake(dict(beta_of=lambda layer, x, z: layer.to_beta(z[..., -x.shape[2]:])),
        "β is computed from the layer's input x, past the convolution.", "eq. 14.7"),
    "takes β from the keys in z": Mistake(
        dict(beta_of=lambda layer, x, z: layer.to_beta(z[..., x.shape[2]:2 * x.shape[2]])),
        "β is computed from the layer's input x, past the convolution.", "eq. 14.7"),
}

TOGETHER = ("lets the convolution look over the border", "ignores cu_seqlens", "forgets the tail between pieces",
            "leaves out SiLU", "has another ε", "adds its input", "scales the queries")
MISTAKES = alone_and_paired(layer_with, SLIPS_OF_THE_LAYER, TOGETHER)
# Without the tail there is nothing that could look over a border.
del MISTAKES["lets the convolution look over the border, and forgets the tail between pieces"]

MISTAKES |= {
    "does not go back to a state that was kept": Mistake(ChangesTheState,
        "Who returns to an earlier state gets another answer than the first time. Something was written into it (by "
        "`copy_` or `+=`, or as a new entry of the same list or dict), or the layer goes on from a state of its own. "
        "Return a new state, made of new tensors, and begin with the one that is handed in.",
        "eq. 14.8", next="One prefix, two continuations. What does the second one begin with?"),
    "does not go back to a memory that was kept": Mistake(ChangesAPart,
        "Who returns to an earlier state finds its tail as it was, but another memory in it: the new S was written "
        "into the old one, by `copy_` or `+=`. Return a new tensor.", "eq. 14.8"),
    "does not go back to a tail that was kept": Mistake(ChangesTheTail,
        "Who returns to an earlier state finds its memory as it was, but another tail in it: the new one was written "
        "into the old, by `copy_` or by an index. Return a new tensor.", "eq. 14.8"),
    "continues only token by token": Mistake(ContinuesTokenByToken,
        "A piece of several tokens goes on from its state as well, as a single token does. Yours begins anew there.",
        "eq. 14.8"),
    "keeps the state in itself": Mistake(KeepsItsState,
        "The state that is handed in says where to go on. Yours goes on where the layer was last, so nobody can go "
        "back, and a second text begins behind the first.", "eq. 14.8"),
    "keeps the state of the pieces in itself": Mistake(KeepsItsStateOfPieces,
        "The state that is handed in says where to go on. Yours goes on where the layer was last, so nobody can go "
        "back, and a second text begins behind the first.", "eq. 14.8"),
}
