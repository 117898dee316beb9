"""Answers to the exercises of chapter 14, as readers write them."""

import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
from deltanet_edu.chapters.ch14.inputs import rule_inputs
from deltanet_edu.chapters.ch14.pieces import convolve
from deltanet_edu.chapters.ch14.read_out import read_out
from deltanet_edu.layers import DeltaNet
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases


def under_the_root(x, eps=1e-6):
    return x / (x.square().sum(-1, keepdim=True) + eps).sqrt()


def heads(z, H, K, V):
    return [x.view(*z.shape[:2], H, -1) for x in z.split([H * K, H * K, H * V], -1)]


def given(shape=lambda x: under_the_root(F.silu(x)), value=F.silu, beta=lambda b, top: top * torch.sigmoid(b)):
    def rule_inputs(z, b, H, K, V, beta_max):
        q, k, v = heads(z, H, K, V)
        return shape(q), shape(k), value(v), beta(b, beta_max)
    return rule_inputs


def heads_before_time(z, b, H, K, V, beta_max):
    q, k, v, beta = given()(z, b, H, K, V, beta_max)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), beta


def in_pieces(tail):
    def convolve(z, before, w):
        n, T = len(w), z.shape[1]
        before = z.new_zeros(len(z), n - 1, z.shape[2]) if before is None else before
        seen = torch.cat([before, z], 1)
        return sum(w[i] * seen[:, i:i + T] for i in range(n)), tail(seen, z, n)
    return convolve


def packed(see):
    """14.3 with zeros, and `see` what a document has in front of it: see(z, start, n) -> (n - 1, D)."""
    def packed_convolution(z, w, ends):
        n, y = len(w), []
        for start, end in zip(ends, ends[1:]):
            seen = torch.cat([see(z, start, n), z[start:end]])
            y.append(sum(w[i] * seen[i:i + end - start] for i in range(n)))
        return torch.cat(y)
    return packed_convolution


def masked(right):
    """14.3 with a mask of the documents, numbered by `bucketize`."""
    def packed_convolution(z, w, ends):
        document, y = torch.bucketize(torch.arange(len(z)), torch.tensor(ends), right=right), torch.zeros_like(z)
        for back in range(min(len(w), len(z))):
            same = (document[back:] == document[:len(z) - back])[:, None]
            y[back:] = y[back:] + w[len(w) - 1 - back] * z[:len(z) - back] * same
        return y
    return packed_convolution


def minus_the_one_before(z, w, ends):
    """14.3: the whole row, less what each document would see of the one before."""
    y = packed_over(z, w)
    for before, start, end in zip(ends, ends[1:-1], ends[2:]):
        y[start:end] -= packed_over(torch.cat([z[before:start], torch.zeros_like(z[start:end])]), w)[start - before:]
    return y


def packed_over(z, w):
    """The convolution over one text."""
    return sum(w[i] * F.pad(z, (0, 0, len(w) - 1, 0))[i:i + len(z)] for i in range(len(w)))


def rolled(z, w, ends):
    """14.3 with `roll`, and a mask of the documents."""
    document = torch.zeros(len(z), dtype=torch.long)
    for border in ends[1:-1]:
        document[border:] += 1
    n, y = len(w), torch.zeros_like(z)
    for i in range(n):
        same = document.roll(n - 1 - i) == document
        y = y + w[i] * torch.where(same[:, None], z.roll(n - 1 - i, 0), 0)
    return y


class Layer(nn.Module):
    """A reader's layer: the memory and the tail in a dict."""

    scale, eps, kept, gated = 1.0, 1e-5, ("tail", "S"), False

    def __init__(self, D, H):
        super().__init__()
        self.H, self.W = H, nn.Linear(D, 3 * D, bias=False)
        self.conv, self.beta = nn.Parameter(torch.zeros(4, 3 * D)), nn.Linear(D, H, bias=False)
        self.gain, self.out = nn.Parameter(torch.ones(D // H)), nn.Linear(D, D, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is not None:
            ends = cu_seqlens.tolist()
            return torch.cat([self(x[:, a:b])[0] for a, b in zip(ends, ends[1:])], 1), None
        state, K = state or {}, len(self.gain)
        z, tail = convolve(self.W(x), state.get("tail"), self.conv)
        q, k, v, beta = rule_inputs(z, self.beta(x), self.H, K, K, 1.0)
        o, S = delta_rule(self.scale * q, k, v, beta, initial_state=state.get("S"))
        kept = {name: part for name, part in dict(tail=tail, S=S).items() if name in self.kept}
        return read_out(o, x if self.gated else None, self.gain, self.out.weight, self.eps), kept


class Forgetful(Layer):
    kept = ("S",)


class InPlace(Layer):
    """Writes the new state into the one that came in."""

    def forward(self, x, state=None, cu_seqlens=None):
        y, after = super().forward(x, state, cu_seqlens)
        for name, old in (state or {}).items():
            old.copy_(after[name])
        return y, state or after


class MemoryInPlace(Layer):
    """Writes the new memory into the one that came in, and hands on a new tail."""

    def forward(self, x, state=None, cu_seqlens=None):
        y, after = super().forward(x, state, cu_seqlens)
        if state:
            after["S"] = state["S"].copy_(after["S"])
        return y, after


class SameDict(Layer):
    """New tensors, in the dict that came in."""

    def forward(self, x, state=None, cu_seqlens=None):
        y, after = super().forward(x, state, cu_seqlens)
        state = {} if state is None else state
        state.update(after or {})
        return y, state


class TokenByToken(Layer):
    def forward(self, x, state=None, cu_seqlens=None):
        return super().forward(x, state if x.shape[1] == 1 else None, cu_seqlens)


class Lengths(Layer):
    """Takes [0, 3, 8] for documents of 3 and 8 tokens."""

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is None:
            return super().forward(x, state)
        ends = cu_seqlens.cumsum(0).tolist()
        pieces = [x[:, a:b] for a, b in zip(ends, ends[1:]) if a < x.shape[1]]
        return torch.cat([super(Lengths, self).forward(piece)[0] for piece in pieces], 1), None


class Gated(Layer):
    gated = True


class Own(Layer):
    """Goes on where it was last, whatever state comes in."""

    own = None

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is not None:
            ends = cu_seqlens.tolist()
            return torch.cat([super(Own, self).forward(x[:, a:b])[0] for a, b in zip(ends, ends[1:])], 1), None
        y, self.own = super().forward(x, self.own)
        return y, self.own


class OwnEpsilon(Layer):
    eps = 1e-6


class Unaware(Layer):
    def forward(self, x, state=None, cu_seqlens=None):
        return super().forward(x, state)


class MemoryAlone(Layer):
    """cu_seqlens is for the rule; the convolution runs over the whole row."""

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is None:
            return super().forward(x, state)
        K, (z, _) = len(self.gain), convolve(self.W(x), None, self.conv)
        q, k, v, beta = rule_inputs(z, self.beta(x), self.H, K, K, 1.0)
        o, S = delta_rule(q, k, v, beta, cu_seqlens=cu_seqlens)
        return read_out(o, None, self.gain, self.out.weight, 1e-5), {"S": S}


ANSWERS = {
    "14.1": {"right": [15, 15.0], "counts all pairs": [60], "counts the parts": [16]},
    "14.3": {
        "right": [packed(lambda z, start, n: torch.zeros_like(z[:1]).repeat(n - 1, 1)), masked(True)],
        "lets the end of the row wrap round to its start": [rolled],
        "lets every document begin one token late": [masked(False)],
        "mends the first border only": [lambda z, w, ends: torch.cat([
            packed(lambda z, start, n: torch.zeros_like(z[:1]).repeat(n - 1, 1))(piece, w, [0, len(piece)])
            for piece in (z[:ends[1]], z[ends[1]:]) if len(piece)])],
        "shuts out the document directly before, and none further back": [minus_the_one_before],
        "ignores the borders": [packed(lambda z, start, n: F.pad(z, (0, 0, n - 1, 0))[start:start + n - 1])],
    },
    "14.5": {
        "right": [lambda S, q, k, v, a: ((S * a + torch.outer(v, k)) @ q, S * a + torch.outer(v, k))],
        "fades the write too": [lambda S, q, k, v, a: (((S + torch.outer(v, k)) * a) @ q,
                                                       (S + torch.outer(v, k)) * a)],
        "fades the rows": [lambda S, q, k, v, a: ((torch.diag(a) @ S + torch.outer(v, k)) @ q,
                                                  torch.diag(a) @ S + torch.outer(v, k))],
    },
    "14.6": {"right": [64, 64.0], "takes the scale for its square": [8]},
    "14.7": {"right": [2_749_440], "forgets the convolution": [2_703_360],
             "keeps a memory and a convolution for each token": [703_488_000],
             "keeps a convolution in every layer": [2_758_656], "keeps four inputs of the convolution": [2_764_800]},
    "14.8": {
        "right": [in_pieces(lambda seen, z, n: seen[:, z.shape[1]:])],
        "takes the tail from this piece alone": [in_pieces(lambda seen, z, n: z[:, -(n - 1):])],
        "forgets a short piece": [in_pieces(lambda seen, z, n: seen[:, z.shape[1]:] if z.shape[1] >= n - 1
                                            else seen[:, :n - 1])],
        "keeps one input too many": [in_pieces(lambda seen, z, n: seen[:, -n:])],
        "hands on a tail that ends one token early": [in_pieces(lambda seen, z, n: seen[:, -n:-1])],
        "keeps everything, if there is one tap": [in_pieces(lambda seen, z, n: seen[:, 1 - n:])],
    },
    "14.9": {
        "right": [given(), given(lambda x: F.normalize(F.silu(x), dim=-1))],
        "normalizes along the tokens": [given(lambda x: F.normalize(F.silu(x)))],    # its default is dim=1
        "leaves SiLU out, and leaves the values without SiLU": [given(under_the_root, lambda v: v)],
        "cuts b off": [given(beta=lambda b, top: b.clamp(min=0).clamp(max=top))],
        "takes b for β": [given(beta=lambda b, top: b)],
        "divides zeros by their length": [given(lambda x: F.silu(x) / F.silu(x).norm(dim=-1, keepdim=True))],
    },
    "14.10": {
        "right": [lambda o, g, w, W, eps: (F.rms_norm(o, o.shape[-1:], w, eps).flatten(2)
                                           * (1 if g is None else F.silu(g))) @ W.T],
        "takes a gate of zeros where there is none": [
            lambda o, g, w, W, eps: (F.rms_norm(o, o.shape[-1:], w, eps).flatten(2)
                                     * F.silu(torch.zeros(1, dtype=o.dtype) if g is None else g)) @ W.T],
        "ignores the gate": [lambda o, g, w, W, eps: F.rms_norm(o, o.shape[-1:], w, eps).flatten(2) @ W.T],
    },
    "14.11": {
        "right": [Layer, DeltaNet],
        "forgets the tail between pieces": [Forgetful],
        "does not go back to a state that was kept": [InPlace, SameDict],
        "does not go back to a memory that was kept": [MemoryInPlace],
        "continues only token by token": [TokenByToken],
        "takes cu_seqlens for lengths": [Lengths],
        "gates with its input": [Gated],
        "keeps the state of the pieces in itself": [Own],
        "has another ε": [OwnEpsilon],
        "ignores cu_seqlens": [Unaware],
        "lets the convolution look over the border": [MemoryAlone],
    },
}


@cases(ANSWERS)
def test_what_a_check_says(id, answer, name):
    assert_verdict(id, answer, name)


def test_what_is_wrong_beside_an_epsilon_is_what_is_said():
    """Without the epsilon the smallest case is right, because it has one token and one head: another one is shown."""
    verdict = grade(find("exercise", "14.9"), heads_before_time)
    assert verdict.mistake == "puts the heads before the tokens" and "H = 1" not in verdict.text, verdict.text


def test_a_layer_with_other_parameters_is_told_which_it_should_have():
    def with_biases(D, H):
        layer = Layer(D, H)
        layer.out = nn.Linear(D, D)
        return layer
    verdict = grade(find("exercise", "14.11"), with_biases)
    assert verdict.state == "fail" and "those of the layer" in verdict.headline, verdict.text
