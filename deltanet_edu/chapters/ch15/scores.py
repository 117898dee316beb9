"""Exercise 15.4: what a score may count."""

import torch

from ...tasks import IGNORED
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal

# -- 15.4 The share of what is asked -----------------------------------------------------------------------------------

def share_right(logits, targets):
    asked = targets != -100                                              # (B, T)
    right = (logits.argmax(-1) == targets) & asked                       # (B, T)
    return right.sum().item() / max(1, asked.sum().item())


def share_by_indexing(logits, targets):
    asked = targets != IGNORED
    said, wanted = logits[asked].argmax(-1), targets[asked]              # (asked,) both
    return (said == wanted).double().mean() if len(wanted) else 0.0


def share_by_loops(logits, targets):
    right = count = 0
    for scores, wanted in zip(logits.flatten(0, 1).tolist(), targets.flatten().tolist()):
        if wanted != -100:
            count += 1
            right += max(range(len(scores)), key=scores.__getitem__) == wanted
    return right / count if count else 0


def share_of(right, asked):
    return (right & asked).sum().item() / max(1, asked.sum().item())


def scored(said=lambda logits: logits.argmax(-1), wanted=lambda targets: targets, asked=lambda targets: targets != -100,
           share=share_of):
    """A mutant: what the model is taken to say, what is wanted, what counts, and how right ones become a share."""
    def f(logits, targets):
        return share(said(logits) == wanted(targets), asked(targets))
    return f


def by_sequence(right, asked):
    each = (right & asked).sum(1) / asked.sum(1).clamp(min=1)
    return each.double().mean().item()


def by_asked_sequence(right, asked):
    some = asked.any(1)
    return by_sequence(right[some], asked[some]) if some.any() else 0.0


def probability(logits, targets):
    asked = targets != -100
    sure = logits.softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return sure[asked].mean().item() if asked.any() else 0.0


def whole_sequences(right, asked):
    return (right | ~asked).all(1).double().mean().item()


def whole_asked_sequences(right, asked):
    some = asked.any(1)
    return whole_sequences(right[some], asked[some]) if some.any() else 0.0


def best_positions(logits, targets):
    """The largest over the positions, of which those that are asked are picked: the shapes do not fit."""
    asked = targets != -100
    return (logits.argmax(1) == targets)[asked].double().mean().item() if asked.any() else 0.0


def unless_nothing(share):
    """A mutant's share that is 0 where nothing is asked."""
    return lambda right, asked: share(right, asked) if asked.any() else 0.0


def all_positions(right, asked):
    return (right | ~asked).double().mean().item()


def score_cases(g):
    def case(note, B, T, V, asked):
        targets = torch.randint(V, (B, T), generator=g)
        logits = normal(g, B, T, V, digits=2)
        sure = torch.rand(B, T, generator=g) < 0.6                       # more often right than by chance
        logits.scatter_add_(2, targets[..., None], 3.0 * sure[..., None].double())
        return Case((logits, targets.masked_fill(~asked, IGNORED)), f"{note}, B = {B}, T = {T}")
    every, few = torch.ones(2, 5, dtype=torch.bool), torch.rand(3, 12, generator=g) < 0.4
    uneven = torch.arange(8) < torch.tensor([[1], [8], [3], [2]])
    return [case("one token, asked", 1, 1, 3, every[:1, :1]), case("everything is asked", 2, 5, 4, every),
            case("a few are asked", 3, 12, 5, few), case("one sequence asks more than another", 4, 8, 6, uneven),
            case("token 0 is often right", 2, 8, 2, uneven[[3, 2]]),
            case("a sequence asks nothing", 3, 8, 5, uneven[:3] & torch.tensor([[True], [True], [False]])),
            case("nothing is asked", 1, 2, 3, every[:1, :2] & False),
            case("a large batch", 6, 9, 4, torch.rand(6, 9, generator=g) < 0.7)]


exercise(
    id="15.4", title="Find the bug: a share of what?", kind="bug", stars=2, minutes=12, equations=("15.1",),
    reference=share_right, alternatives=(share_by_indexing, share_by_loops), cases=score_cases, tolerance=1e-6,
    mutants={
        "counts positions that are not asked": Mistake(scored(share=lambda right, asked: right.double().mean().item()),
            "The right ones are divided by all positions, so every position that is not asked counts as a mistake. A "
            "perfect model that is asked at 64 of 512 positions gets 12.5 %.", "eq. 15.1"),
        "counts what is not asked as right": Mistake(scored(share=all_positions),
            "Whatever is not asked counts as right. A model that knows nothing gets the share of fillers as a gift.",
            "eq. 15.1"),
        "counts what is not asked as right, unless nothing is": Mistake(scored(share=unless_nothing(all_positions)),
            "Whatever is not asked counts as right. A model that knows nothing gets the share of fillers as a gift.",
            "eq. 15.1"),
        "asks for whole sequences, unless nothing is asked": Mistake(scored(share=unless_nothing(whole_sequences)),
            "That is the share of sequences without a mistake. Each answer counts for itself.", "eq. 15.1"),
        "asks for whole sequences, of those that are asked": Mistake(scored(share=whole_asked_sequences),
            "That is the share of sequences without a mistake. Each answer counts for itself.", "eq. 15.1"),
        "takes 0 for the mark": Mistake(scored(asked=lambda t: t != 0),
            "Here −100 marks what is not asked; 0 is a token like any other.", "eq. 15.1"),
        "counts where something is said": Mistake(
            lambda logits, targets: share_of(logits.argmax(-1) == targets, logits.argmax(-1) > 0),
            "The *targets* say what is asked, not the answers: `targets != -100`.", "eq. 15.1"),
        "looks at the last position": Mistake(
            lambda logits, targets: (logits[:, -1].argmax(-1) == targets[:, -1]).double().mean().item(),
            "A question may stand anywhere in the sequence.", "eq. 15.1"),
        "takes −100 for token 0": Mistake(scored(wanted=lambda t: t.clamp(min=0), asked=lambda t: t > -101),
            "`clamp` turns −100 into token 0, so a model that says 0 at every filler is praised for it.", "eq. 15.1"),
        "leaves token 0 out": Mistake(scored(asked=lambda t: t > 0),
            "Token 0 can be a target, too. Only −100 is not asked.", "eq. 15.1"),
        "averages over sequences": Mistake(scored(share=by_sequence),
            "A mean of means: a sequence that is asked once weighs as much as one that is asked eight times, and one "
            "that is not asked at all counts as wrong.", "eq. 15.1"),
        "averages over sequences that are asked": Mistake(scored(share=by_asked_sequence),
            "A mean of means: a sequence that is asked once weighs as much as one that is asked eight times. Some "
            "benchmarks score like this; equation 15.1 counts answers.", "eq. 15.1"),
        "asks for whole sequences": Mistake(scored(share=whole_sequences),
            "That is the share of sequences without a mistake. Each answer counts for itself.", "eq. 15.1"),
        "counts the right ones": Mistake(scored(share=lambda right, asked: (right & asked).sum().item()),
            "A number of answers, not a share of those asked.", "eq. 15.1"),
        "gives the share of wrong ones": Mistake(
            scored(share=lambda right, asked: (~right & asked).sum().item() / max(1, asked.sum().item())),
            "That is the error. The share that is right was asked for.", "eq. 15.1"),
        "takes the share from one": Mistake(lambda *x: 1 - share_right(*x),
            "That is the error. The share that is right was asked for.", "eq. 15.1"),
        "looks along the wrong dimension": Mistake(scored(said=lambda logits: logits.argmax(1)),
            "`argmax(1)` compares positions. The scores of one position lie along the last dimension: `argmax(-1)`."),
        "looks along the wrong dimension, and picks what is asked": Mistake(best_positions,
            "`argmax(1)` compares positions, and one number for each token of the vocabulary comes out. The scores of "
            "one position lie along the last dimension: `argmax(-1)`."),
        "counts only what is not asked": Mistake(scored(asked=lambda t: t == -100),
            "The mask is turned round: −100 marks what is *not* asked.", "eq. 15.1"),
        "averages probabilities": Mistake(probability,
            "That is how sure the model is of the right token, on average. A score asks whether the right token has "
            "the highest of all, yes or no.", "eq. 15.1"),
        "divides by the number of sequences": Mistake(
            scored(share=lambda right, asked: (right & asked).sum().item() / len(asked)),
            "Right answers for each sequence. Divide by the number of answers.", "eq. 15.1"),
        "counts sequences with any right answer": Mistake(
            scored(share=lambda right, asked: (right & asked).any(1).double().mean().item()),
            "One right answer does not make a sequence right, and each answer counts for itself.", "eq. 15.1"),
        "gives a percentage": Mistake(lambda *x: 100 * share_right(*x), "A share lies between 0 and 1.", "eq. 15.1"),
        "divides by nothing": Mistake(
            scored(share=lambda right, asked: ((right & asked).sum() / asked.sum()).item()),
            "Where nothing is asked this is 0/0. The docstring says what comes then.",
            next="`max(1, asked.sum())`, say."),
        "looks for the worst token": Mistake(scored(said=lambda logits: logits.argmin(-1)),
            "The answer is the token with the highest score: `argmax`."),
        "compares with the next target": Mistake(scored(wanted=lambda t: t.roll(-1, 1)),
            "The targets are what should be said *at* each position. They are not shifted once more.", "eq. 15.1"),
        "compares with the target before": Mistake(scored(wanted=lambda t: t.roll(1, 1)),
            "The targets are what should be said *at* each position. They are not shifted.", "eq. 15.1"),
        "shifts as for text": Mistake(lambda logits, targets: share_right(logits[:, :-1], targets[:, 1:]),
            "In a text the target of position t is the next token. Here the targets stand where they are asked "
            "already.", "eq. 15.1"),
        "shifts the other way": Mistake(lambda logits, targets: share_right(logits[:, 1:], targets[:, :-1]),
            "The targets stand where they are asked already; nothing is shifted.", "eq. 15.1"),
        "scores the last position alone": Mistake(
            lambda logits, targets: share_right(logits[:, -1:], targets[:, -1:]),
            "A question may stand anywhere in the sequence.", "eq. 15.1"),
    },
    hints=("A model that answers every question rightly must get 1. What does this function give it?",
           "Which positions are asked? `targets != -100`. Numerator and denominator both count only those.",
           "`right = (logits.argmax(-1) == targets) & asked`, and divide their number by that of `asked`, or by 1."),
)
