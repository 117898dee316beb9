"""Exercise 14.8: the convolution of the layer of 14.11, over a text that arrives in pieces."""

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal, smallest_first
from ..common import alone_and_paired


def convolve(z, tail, w):
    if tail is None:
        tail = z.new_zeros(len(z), len(w) - 1, z.shape[2])               # (B, n - 1, D)
    seen = torch.cat([tail, z], 1)                                       # (B, n - 1 + T, D)
    T = z.shape[1]
    y = sum(w[i] * seen[:, i:i + T] for i in range(len(w)))              # (B, T, D)
    return y, seen[:, T:]


def convolve_by_conv1d(z, tail, w):
    n, D = w.shape
    seen = F.pad(z, (0, 0, n - 1, 0)) if tail is None else torch.cat([tail, z], 1)
    y = F.conv1d(seen.mT, w.T[:, None], groups=D).mT if z.shape[1] else z
    return y, seen[:, seen.shape[1] - (n - 1):]


def convolve_by_windows(z, tail, w):
    n = len(w)
    seen = torch.cat([z.new_zeros(len(z), n - 1, z.shape[2]) if tail is None else tail, z], 1)
    return torch.einsum("btdi,id->btd", seen.unfold(1, n, 1), w), seen[:, z.shape[1]:].clone()


def convolve_with(pad=None, y=None, tail=None):
    """A mutant: pad(z, tail, n) before z, y(seen, w, T), and the next tail(seen, z, y, n, entering)."""
    new = tail

    def f(z, tail, w):
        n, T = len(w), z.shape[1]
        entering = torch.zeros_like(z[:, :1]).repeat(1, n - 1, 1) if tail is None else tail
        seen = torch.cat([pad(z, entering, n) if pad else entering, z], 1)
        out = y(seen, w, T) if y else sum(w[i] * seen[:, i:i + T] for i in range(n))
        return out, new(seen, z, out, n, entering) if new else seen[:, seen.shape[1] - (n - 1):]
    return f


def ahead(seen, w, T):
    n = len(w)
    later = F.pad(seen[:, n - 1:], (0, 0, 0, n - 1))
    return sum(w[i] * later[:, i:i + T] for i in range(n))


def centered(seen, w, T):
    n = len(w)
    shifted = F.pad(seen[:, 1:], (0, 0, 0, 1))
    return sum(w[i] * shifted[:, i:i + T] for i in range(n))


def tail_of_the_piece(seen, z, y, n, entering):
    return z[:, -(n - 1):]


def tail_of_the_piece_from_the_front(seen, z, y, n, entering):
    return z[:, max(0, z.shape[1] - (n - 1)):]


def padded_tail_of_the_piece(seen, z, y, n, entering, behind=False):
    mine = tail_of_the_piece_from_the_front(seen, z, y, n, entering)
    missing = n - 1 - mine.shape[1]
    return F.pad(mine, (0, 0, 0, missing) if behind else (0, 0, missing, 0))


def tail_of_a_long_piece(seen, z, y, n, entering):
    return seen[:, z.shape[1]:] if z.shape[1] >= n - 1 else entering


def outputs_of_the_piece(seen, z, y, n, entering):
    return y[:, max(0, z.shape[1] - (n - 1)):]


def expecting_a_tail(z, tail, w):
    seen, T = torch.cat([tail, z], 1), z.shape[1]
    return sum(w[i] * seen[:, i:i + T] for i in range(len(w))), seen[:, T:]


def mixed(seen, w, T):
    y = sum(w[i] * seen[:, i:i + T] for i in range(len(w)))
    return y.sum(-1, keepdim=True).expand_as(y).clone()


def repeated_at_the_start(z, tail, w):
    return convolve(z, z[:, :1].expand(-1, len(w) - 1, -1) if tail is None else tail, w)


def same_size(z, tail, w):
    """A convolution whose window is centered, by padding on both sides."""
    n, T = len(w), z.shape[1]
    seen = F.pad(z, (0, 0, n // 2, n - 1 - n // 2))
    return sum(w[i] * seen[:, i:i + T] for i in range(n)), convolve(z, tail, w)[1]


def outputs_as_tail(seen, z, y, n, entering):
    return torch.cat([entering, y], 1)[:, z.shape[1]:]


SLIPS_OF_CONVOLVE = {
    "ignores the tail": Mistake(dict(pad=lambda z, tail, n: torch.zeros_like(tail)),
        "The first tokens of a piece must see the last ones of the piece before: put the tail in front, not zeros.",
        "eq. 14.2"),
    "reads zeros where the tail belongs, and hands it on": Mistake(
        dict(pad=lambda z, tail, n: torch.zeros_like(tail),
             tail=lambda seen, z, y, n, entering: torch.cat([entering, z], 1)[:, z.shape[1]:]),
        "What you hand on is right, and nobody reads it: put the tail in front of the piece, not zeros.", "eq. 14.2"),
    "repeats the first token in front": Mistake(dict(pad=lambda z, tail, n: z[:, :1].expand_as(tail)),
        "Before the text there is nothing: zeros. And before a later piece there is its tail.", "eq. 14.2"),
    "puts the tail in the wrong order": Mistake(dict(pad=lambda z, tail, n: tail.flip(1)),
        "The tail is oldest first, like everything else: it goes in front as it is.", "eq. 14.2"),
    "meets the taps in the wrong order": Mistake(
        dict(y=lambda seen, w, T: sum(w[len(w) - 1 - i] * seen[:, i:i + T] for i in range(len(w)))),
        "The last tap meets the present, the first the oldest input.", "eq. 14.2"),
    "looks at later tokens": Mistake(dict(y=ahead),
        "Token t sees itself and those *before* it. Yours sees those after it: not causal.", "eq. 14.2",
        next="Change the last token. Which outputs change?"),
    "looks one token ahead": Mistake(dict(y=centered),
        "The window is shifted by one: token t sees token t + 1. Not causal.", "eq. 14.2"),
    "leaves out the present": Mistake(
        dict(y=lambda seen, w, T: sum(w[i] * seen[:, i:i + T] for i in range(len(w) - 1))),
        "The last tap meets the present: the sum runs over all n taps.", "eq. 14.2"),
    "leaves out the oldest": Mistake(
        dict(y=lambda seen, w, T: sum(w[i] * seen[:, i:i + T] for i in range(1, len(w)))),
        "The sum begins with tap 0, which meets the oldest of the n inputs.", "eq. 14.2"),
    "mixes the channels": Mistake(dict(y=mixed),
        "Each channel keeps to itself: a sum over n tokens, not over channels.", "eq. 14.2"),
    "applies SiLU": Mistake(
        dict(y=lambda seen, w, T: F.silu(sum(w[i] * seen[:, i:i + T] for i in range(len(w))))),
        "SiLU comes in the next stage. The convolution is a weighted sum.", "eq. 14.2"),
    "averages": Mistake(
        dict(y=lambda seen, w, T: sum(w[i] * seen[:, i:i + T] for i in range(len(w))) / len(w)),
        "The taps are weights of their own: nothing divides by n.", "eq. 14.2"),
    "adds the present once more": Mistake(
        dict(y=lambda seen, w, T: sum(w[i] * seen[:, i:i + T] for i in range(len(w))) + seen[:, len(w) - 1:]),
        "The present is in the sum already, with the last tap.", "eq. 14.2"),
    "keeps no tail": Mistake(dict(tail=lambda seen, z, y, n, entering: torch.zeros_like(entering)),
        "The next piece needs the last n − 1 inputs of this one.", "eq. 14.2"),
    "hands on the tail that came in": Mistake(dict(tail=lambda seen, z, y, n, entering: entering),
        "The next piece needs the last n − 1 inputs *including* this piece's.", "eq. 14.2"),
    "takes the tail from this piece alone": Mistake(dict(tail=tail_of_the_piece),
        "A piece of one or two tokens does not fill the tail: the rest comes from the tail before. Cut it from both "
        "together.", "eq. 14.2", next="A text arrives token by token. How many rows has your tail?"),
    "takes the tail from this piece alone, counted from its start": Mistake(dict(tail=tail_of_the_piece_from_the_front),
        "A piece of one or two tokens does not fill the tail: the rest comes from the tail before. Cut it from both "
        "together.", "eq. 14.2", next="A text arrives token by token. How many rows has your tail?"),
    "fills up a short tail with zeros": Mistake(dict(tail=padded_tail_of_the_piece),
        "A piece of one or two tokens does not fill the tail, and what is missing is not zero: it is the end of the "
        "tail before.", "eq. 14.2", next="A text arrives token by token. What does each see?"),
    "fills up a short tail with zeros behind": Mistake(
        dict(tail=lambda *x: padded_tail_of_the_piece(*x, behind=True)),
        "A piece of one or two tokens does not fill the tail, and what is missing is not zero: it is the end of the "
        "tail before, and stands in front.", "eq. 14.2", next="A text arrives token by token. What does each see?"),
    "forgets a short piece": Mistake(dict(tail=tail_of_a_long_piece),
        "A piece shorter than the tail moves it on as well: its tokens come in behind, as many go out in front.",
        "eq. 14.2"),
    "keeps outputs": Mistake(dict(tail=outputs_as_tail),
        "The tail holds *inputs* of the convolution. With outputs in it this is another, recurrent filter.",
        "eq. 14.2"),
    "keeps outputs of this piece": Mistake(dict(tail=outputs_of_the_piece),
        "The tail holds *inputs* of the convolution. With outputs in it this is another, recurrent filter.",
        "eq. 14.2"),
    "keeps one input too many": Mistake(dict(tail=lambda seen, z, y, n, entering: seen[:, -n:]),
        "With n taps the next token needs the n − 1 inputs before it.", "eq. 14.2"),
    "hands on a tail that ends one token early": Mistake(
        dict(tail=lambda seen, z, y, n, entering: seen[:, z.shape[1] - 1:seen.shape[1] - 1]),
        "The newest input of this piece is missing from what you hand on, though the next token needs it most: the "
        "tail ends where the piece ends, `seen[:, T:]`.", "eq. 14.2"),
    "keeps everything, if there is one tap": Mistake(dict(tail=lambda seen, z, y, n, entering: seen[:, -(n - 1):]),
        "With one tap n − 1 is 0, and `[:, -0:]` is the whole piece. Count from the front: `seen[:, T:]`.", "eq. 14.2"),
    "hands on None": Mistake(dict(tail=lambda seen, z, y, n, entering: None),
        "The next piece needs the last n − 1 inputs of this one.", "eq. 14.2"),
    "keeps everything": Mistake(dict(tail=lambda seen, z, y, n, entering: seen),
        "The tail grows with the text. Only the last n − 1 inputs are ever seen again.", "eq. 14.2"),
}


LIKELY = ("ignores the tail", "meets the taps in the wrong order", "applies SiLU", "keeps no tail",
          "takes the tail from this piece alone", "keeps outputs", "keeps one input too many", "leaves out the present")
MISTAKES_OF_CONVOLVE = alone_and_paired(convolve_with, SLIPS_OF_CONVOLVE, LIKELY) | {
    "expects a tail at the start": Mistake(expecting_a_tail,
        "At the start of a text `tail` is None: put n − 1 rows of zeros in front then.", "eq. 14.2"),
    "repeats the first token at the start of a text": Mistake(repeated_at_the_start,
        "Before a text there is nothing: n − 1 rows of zeros, not its first token again.", "eq. 14.2"),
    "pads on both sides": Mistake(same_size,
        "Zeros on both sides center the window, and token t sees later ones. All n − 1 belong in front, and where "
        "there is a tail, it stands there instead.", "eq. 14.2"),
}


def convolve_cases(g):
    for B, T, D, n in ((1, 1, 1, 2), (1, 2, 1, 3), (1, 1, 2, 4), (2, 3, 2, 4), (1, 6, 3, 4), (2, 5, 2, 3),
                       (1, 2, 3, 1)):
        taps = "one tap" if n == 1 else f"{n} taps"
        yield Case((normal(g, B, T, D), None, normal(g, n, D)), f"T = {T}, {taps}, at the start of a text")
        yield Case((normal(g, B, T, D), normal(g, B, n - 1, D), normal(g, n, D)), f"T = {T}, {taps}, with a tail")


exercise(
    id="14.8", title="Build a layer: the convolution, in pieces", kind="code", stars=2, minutes=15, equations=("14.2",),
    reference=convolve, alternatives=(convolve_by_conv1d, convolve_by_windows),
    cases=lambda g: smallest_first(list(convolve_cases(g))),
    mutants=MISTAKES_OF_CONVOLVE,
    hints=("Put the tail in front: n − 1 + T inputs. Output t is a sum over the n of them that end with token t.",
           "`seen = torch.cat([tail, z], 1)`; tap i meets `seen[:, i:i + T]`.",
           "The next tail are the last n − 1 rows of `seen`, not of z: `seen[:, T:]`."),
)
