"""Exercise 16.15: stage 3 of the build, the loss of some windows of a text."""

import math

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from ...tutor.verdict import Part
from ..common import alone_and_paired

# -- solutions ---------------------------------------------------------------------------------------------------------


def loss_of(model, text, starts, T):
    windows = text[starts[:, None] + torch.arange(T + 1)]                # (B, T + 1)
    logits = model(windows[:, :-1])                                      # (B, T, vocab)
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def loss_by_stacking(model, text, starts, T):
    inputs = torch.stack([text[i:i + T] for i in starts.tolist()])
    targets = torch.stack([text[i + 1:i + T + 1] for i in starts.tolist()])
    return -model(inputs).log_softmax(-1).gather(-1, targets[..., None]).mean()


def loss_window_by_window(model, text, starts, T):
    losses = []
    for i in starts:
        logits = model(text[None, i:i + T + 1])[0, :-1]                  # causal: the last token changes nothing before
        right = logits[torch.arange(T), text[i + 1:i + T + 1]]
        losses.append((logits.logsumexp(-1) - right).mean())
    return torch.stack(losses).mean()


class Causal:
    """A small model, logits = tanh(sum of what was read) W, which equals another one with the same weights."""

    def __init__(self, E, W):
        self.E, self.W = E, W                                            # (vocab, D), (D, vocab)

    def __call__(self, tokens):
        return self.E[tokens].cumsum(1).tanh() @ self.W

    def __eq__(self, other):
        return torch.equal(self.E, other.E) and torch.equal(self.W, other.W)

    def __repr__(self):
        return f"a causal model of {len(self.E)} tokens"


def loss_with(window=None, read=None, asked=None, scores=None, cost=F.cross_entropy, change=None):
    """A mutant: window(text, starts, T), (B, T + 1); what is read and asked of it; scores(logits); change(loss, T)."""
    def f(model, text, starts, T):
        w = window(text, starts, T) if window else text[starts[:, None] + torch.arange(T + 1)]
        logits = model(read(w) if read else w[:, :-1])
        logits = scores(logits) if scores else logits
        loss = cost(logits.flatten(0, 1), (asked(w) if asked else w[:, 1:]).flatten())
        return change(loss, T, len(starts)) if change else loss
    return f


def in_windows(text, starts, T):
    return text[(starts * T % (len(text) - T))[:, None] + torch.arange(T + 1)]


def one_too_late(text, starts, T):
    return text[starts[:, None] + torch.arange(1, T + 2)]


def one_too_short(model, text, starts, T):
    return loss_of(model, text, starts, T - 1) if T > 1 else model(text[starts][:, None]).sum() * torch.nan


def flat_shift(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T)]
    return F.cross_entropy(model(w).flatten(0, 1)[:-1], w.flatten()[1:])


def of_one_row(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 1)]
    logits = model(w[:, :-1].reshape(1, -1))
    return F.cross_entropy(logits[0], w[:, 1:].flatten())


def unshifted_and_longer(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 1)]
    return F.cross_entropy(model(w).flatten(0, 1), w.flatten())


def first_token(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 1)]
    return F.cross_entropy(model(w[:, :-1])[:, 0], w[:, 1])


def two_further_on(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 2)]
    return F.cross_entropy(model(w[:, :-2]).flatten(0, 1), w[:, 2:].flatten())


def without_the_first(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 1)]
    return F.cross_entropy(model(w[:, :-1])[:, 1:].flatten(0, 1), w[:, 2:].flatten())


def worst(model, text, starts, T):
    return max(loss_of(model, text, start[None], T) for start in starts)


def last_token(model, text, starts, T):
    w = text[starts[:, None] + torch.arange(T + 1)]
    return F.cross_entropy(model(w[:, :-1])[:, -1], w[:, -1])


SLIPS_OF_THE_LOSS = {
    "asks for what it has just read": Mistake(dict(asked=lambda w: w[:, :-1]),
        "Inputs and targets are the same tokens: position t is asked for token t, which it has read. The targets "
        "stand one token further on.", "eq. 16.1", next="Which token follows the last input?"),
    "asks for the token before": Mistake(dict(read=lambda w: w[:, 1:], asked=lambda w: w[:, :-1]),
        "Shifted the wrong way: the model reads token t + 1 and is asked for token t, which it has seen.", "eq. 16.1"),
    "asks for the token after the next": Mistake(dict(asked=lambda w: w[:, 1:].roll(-1, 1)),
        "Shifted twice: position t has read token t and is asked for token t + 1.", "eq. 16.1"),
    "shows the answers": Mistake(dict(read=lambda w: w[:, 1:]),
        "The model reads the targets themselves. It reads tokens 0 to T − 1 of each window, and is asked for 1 to T.",
        "eq. 16.1"),
    "takes starts for numbers of windows": Mistake(dict(window=in_windows),
        "A start is the place of a token in the text: the window begins there, not at start · T."),
    "takes the numbers of the starts for the starts": Mistake(
        dict(window=lambda text, starts, T: text[torch.arange(len(starts))[:, None] + torch.arange(T + 1)]),
        "Window b begins at `starts[b]`, not at b."),
    "ignores the starts": Mistake(dict(window=lambda text, starts, T: text[:T + 1].expand(len(starts), -1)),
        "Every window is the beginning of the text. Window b begins at `starts[b]`."),
    "begins all windows at the first start": Mistake(
        dict(window=lambda text, starts, T: text[starts[:1, None] + torch.arange(T + 1)].expand(len(starts), -1)),
        "Window b begins at `starts[b]`, not all of them at the first."),
    "begins one token too late": Mistake(dict(window=one_too_late),
        "The first input is the token at the start itself: `text[start]`."),
    "reads the windows backwards": Mistake(
        dict(window=lambda text, starts, T: text[starts[:, None] + torch.arange(T + 1)].flip(1)),
        "The windows run forward in the text."),
    "pairs logits with the wrong targets": Mistake(dict(asked=lambda w: w[:, 1:].T.contiguous()),
        "The logits are flattened window by window, the targets position by position. Flatten both in the same order."),
    "softmaxes twice": Mistake(dict(scores=lambda logits: logits.softmax(-1)),
        "`cross_entropy` takes the logits and applies the softmax itself."),
    "adds up instead of averaging": Mistake(
        dict(cost=lambda logits, targets: F.cross_entropy(logits, targets, reduction="sum")),
        "The mean over all predictions is asked for. A sum makes gradients that grow with B and T.", "eq. 16.1"),
    "adds up over a window": Mistake(dict(change=lambda loss, T, B: loss * T),
        "The mean over all B · T predictions. Yours adds up the T of a window.", "eq. 16.1"),
    "adds up the windows": Mistake(dict(change=lambda loss, T, B: loss * B),
        "The mean over all B · T predictions. Yours adds up the means of the windows.", "eq. 16.1"),
    "divides by too many tokens": Mistake(dict(change=lambda loss, T, B: loss * T / (T + 1)),
        "A window of T + 1 tokens has T predictions.", "eq. 16.1"),
    "gives bits": Mistake(dict(change=lambda loss, T, B: loss / math.log(2)),
        "That is the loss in bits. The gradient is that of the natural logarithm, as in equation 16.1.", "eq. 16.1"),
    "gives a perplexity": Mistake(dict(change=lambda loss, T, B: loss.exp()),
        "e to the power of the loss is the perplexity. The loss itself is trained on."),
    "gives the probability": Mistake(dict(change=lambda loss, T, B: (-loss).exp()),
        "That is the probability of a token. The loss is its negative logarithm.", "eq. 16.1"),
    "makes the likely unlikely": Mistake(dict(change=lambda loss, T, B: -loss),
        "The sign is turned: training would make the right tokens ever less likely.", "eq. 16.1"),
    "smooths the labels": Mistake(
        dict(cost=lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=0.1)),
        "With label smoothing the least possible loss is not 0, and the number is no cost of the text.", "eq. 16.1"),
    "gives the median": Mistake(
        dict(cost=lambda logits, targets: F.cross_entropy(logits, targets, reduction="none").median()),
        "The mean over all predictions is asked for.", "eq. 16.1"),
    "takes the squared distance": Mistake(
        dict(cost=lambda logits, targets: F.mse_loss(logits, F.one_hot(targets, logits.shape[1]).to(logits))),
        "A squared distance to the right answer is no probability. The loss is −ln p of the token that follows.",
        "eq. 16.1"),
}


def causal_model(g, vocab, D):
    return Causal(normal(g, vocab, D), 2 * normal(g, D, vocab))


def loss_cases(g):
    for vocab, B, T, N in ((3, 1, 1, 5), (4, 1, 3, 9), (5, 2, 2, 12), (5, 3, 4, 20), (7, 4, 6, 40)):
        text = torch.randint(vocab, (N,), generator=g)
        starts = torch.randperm(N - T - 2, generator=g)[:B] + 1          # none at 0
        yield Case((causal_model(g, vocab, 3), text, starts, T), f"B = {B}, T = {T}, vocab = {vocab}")


class WithGradient:
    """The judge (`prepare`): values are compared as they are; then the loss must lead back to the weights."""

    as_given = True                                                      # the cases are the answer's own
    law = "returns a loss without its gradient"
    said = ("A number like that of `.item()` has forgotten how it was made, and stage 6 cannot go backward from it. "
            "Return the tensor itself.")

    def __call__(self, answer):
        return answer

    def objection(self, f):
        """(headline, parts, name) if no gradient comes back; else None."""
        model, text, starts, T = next(loss_cases(torch.Generator().manual_seed(0))).args
        loss = f(Causal(model.E.requires_grad_(), model.W.requires_grad_()), text, starts, T)
        return None if getattr(loss, "requires_grad", False) else (f"it {self.law}", (Part(self.said),), self.law)


exercise(
    id="16.15", title="Build, stage 3: the loss", kind="code", stars=2, minutes=15, equations=("16.1",),
    reference=loss_of, alternatives=(loss_by_stacking, loss_window_by_window), cases=loss_cases, prepare=WithGradient(),
    mutants={
        **alone_and_paired(loss_with, SLIPS_OF_THE_LOSS, ("asks for what it has just read", "ignores the starts",
                                                         "softmaxes twice", "gives bits")),
        WithGradient.law: Mistake(lambda model, text, starts, T: loss_of(model, text, starts, T).item(),
                                  WithGradient.said),
        "loses the last prediction": Mistake(one_too_short,
            "A window of T tokens has T − 1 predictions. Take T + 1 tokens: T that are read, T that are asked.",
            "eq. 16.1"),
        "shifts across the borders of windows": Mistake(flat_shift,
            "Shifted after flattening, the last position of a window is asked for the first token of the next one.",
            "eq. 16.1"),
        "asks two tokens further on": Mistake(two_further_on,
            "Position t has read token t, and is asked for token t + 2. The next one is t + 1.", "eq. 16.1"),
        "takes starts for numbers of windows, and leaves the text": Mistake(
            loss_with(window=lambda text, starts, T: text[T * starts[:, None] + torch.arange(T + 1)]),
            "A start is the place of a token in the text: the window begins there, not at start · T, which may lie "
            "behind the end."),
        "leaves the first prediction out": Mistake(without_the_first,
            "The first token of a window is read like the others, and is asked for the next: T predictions a window.",
            "eq. 16.1"),
        "wraps each window around": Mistake(
            loss_with(asked=lambda w: w[:, :-1].roll(-1, 1)),
            "`roll` carries a window's first token to its end, so the last position is asked for what it has seen. The "
            "text goes on: take T + 1 tokens.", "eq. 16.1"),
        "reads all windows as one text": Mistake(of_one_row,
            "The windows stand in one row, so each sees those before it. Each is a row of its own, (B, T)."),
        "asks for the last token only": Mistake(last_token,
            "Every position predicts a token: T predictions a window.", "eq. 16.1"),
        "asks for all it has read": Mistake(unshifted_and_longer,
            "The model reads all T + 1 tokens and is asked for the same ones, which it has seen. It reads the first T, "
            "and is asked for the last T.", "eq. 16.1"),
        "asks for the first token only": Mistake(first_token,
            "Every position predicts a token: T predictions a window.", "eq. 16.1"),
        "gives the worst window": Mistake(worst, "The mean over all windows is asked for."),
    },
    hints=("Cut B windows of T + 1 tokens: the model reads the first T, and is asked for the last T.",
           "`text[starts[:, None] + torch.arange(T + 1)]` has shape (B, T + 1).",
           "`F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())`."),
)
