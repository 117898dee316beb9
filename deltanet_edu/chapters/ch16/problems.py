"""The exercises of chapter 16, each with its solutions, mistakes and hints; 16.2 to 16.4 are in one_token.py, 16.10 in
leaks.py, 16.8 to 16.12 otherwise in measured.py, and the build, 16.13 to 16.19, in mixing.py, model_mistakes.py,
loss.py, steps.py, loop.py and whole.py."""

import math

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from .. import by_hand
from ..common import real


# -- 16.1 --------------------------------------------------------------------------------------------------------------

def bits_per_character(nats, chars):
    """nats: (T,), the loss of each token. chars: (T,), how many characters each token spells. A number."""
    return nats.sum() / math.log(2) / chars.sum()


def bits_by_probability(nats, chars):
    return -torch.log2(torch.exp(-nats)).sum() / chars.sum()


def bits_by_means(nats, chars):
    return nats.mean() / chars.mean() * math.log2(math.e)


def bits_as_in_the_equation(nats, chars):
    return nats.sum() / (chars.sum() * math.log(2))


def bits_cases(g):
    yield Case((real([1.5]), real([2])), "one token")
    for T in (2, 3, 8):
        chars = torch.randint(1, 6, (T,), generator=g).double()
        yield Case((normal(g, T).abs() + 0.1, chars), f"tokens of different length, T = {T}")
    yield Case((normal(g, 4).abs() + 0.1, real([3, 0, 1, 5])), "a token that spells half a character")


exercise(
    id="16.1", title="Bits per character", kind="code", stars=2, minutes=10, equations=("16.2",),
    reference=bits_per_character, alternatives=(bits_by_probability, bits_by_means, bits_as_in_the_equation),
    cases=bits_cases,
    mutants={
        "stays in nats": Mistake(lambda nats, chars: nats.sum() / chars.sum(),
            "The losses are natural logarithms. One bit is ln 2 = 0.693 nats, so divide by ln 2.", "eq. 16.2"),
        "counts tokens, not characters": Mistake(lambda nats, chars: nats.mean() / math.log(2),
            "That is bits per *token*. A larger vocabulary has longer tokens, so this number cannot compare two "
            "vocabularies.", "eq. 16.2"),
        "averages the ratio of each token": Mistake(lambda nats, chars: (nats / chars / math.log(2)).mean(),
            "Long tokens must count for more: divide the total cost by the total length, not each cost by its own "
            "length.", "eq. 16.2",
            next="What would a token cost that spells no character at all?"),
        "adds up the ratio of each token": Mistake(lambda nats, chars: (nats / chars / math.log(2)).sum(),
            "Divide the total cost by the total length, not each cost by its own length: a token that spells nothing "
            "costs too.", "eq. 16.2"),
        "gives the perplexity of a token": Mistake(lambda nats, chars: nats.mean().exp(),
            "exp of the mean loss: among how many tokens the model hesitates. Bits per character add up what all "
            "tokens cost and divide by the characters.", "eq. 16.2"),
        "weighs each loss by its token's length": Mistake(
            lambda nats, chars: (nats * chars).sum() / chars.sum() / math.log(2),
            "A token's loss is what the whole token costs, however long it is. Add them up as they are.", "eq. 16.2"),
        "takes the logarithm of the cost": Mistake(lambda nats, chars: nats.sum().log2() / chars.sum(),
            "The losses are logarithms already. To get from nats to bits, divide by ln 2.", "eq. 16.2"),
        "is the mean loss of a token": Mistake(lambda nats, chars: nats.mean(),
            "Two things are missing: losses are in nats, and a bit is ln 2 of them; and the text is measured by its "
            "characters.", "eq. 16.2"),
        "multiplies by ln 2": Mistake(lambda nats, chars: nats.sum() * math.log(2) / chars.sum(),
            "Wrong direction: a nat is *more* than a bit, 1.443 of them. Divide by ln 2.", "eq. 16.2"),
        "gives a perplexity": Mistake(lambda nats, chars: torch.exp(nats.sum() / chars.sum()),
            "The exponential of the mean loss is the perplexity. Bits are its logarithm with base 2.", "eq. 16.2"),
        "divides by the tokens as well": Mistake(lambda nats, chars: nats.mean() / chars.sum() / math.log(2),
            "The mean has divided by the number of tokens already. Only characters count: the *sum* of the losses over "
            "theirs.", "eq. 16.2"),
        "divides by the mean length of a token": Mistake(lambda nats, chars: nats.sum() / chars.mean() / math.log(2),
            "The whole cost belongs over the whole length, the *sum* of the characters.", "eq. 16.2"),
        "takes the logarithm once more": Mistake(lambda nats, chars: nats.log2().sum() / chars.sum(),
            "The losses are logarithms already, natural ones. To change their base, divide by ln 2.", "eq. 16.2"),
        "takes the losses for probabilities": Mistake(lambda nats, chars: -nats.log2().sum() / chars.sum(),
            "The losses are −ln p already. Once more −log₂ would be right for the probabilities themselves.",
            "eq. 16.2"),
        "counts in tens": Mistake(lambda nats, chars: nats.sum() / math.log(10) / chars.sum(),
            "With ln 10 the unit is a decimal digit. A bit is ln 2 = 0.693 nats.", "eq. 16.2"),
        "gives characters per bit": Mistake(lambda nats, chars: chars.sum() * math.log(2) / nats.sum(),
            "That is how many characters a bit pays for. Turn the fraction over.", "eq. 16.2"),
        "is a sum, not a mean": Mistake(lambda nats, chars: nats.sum() / math.log(2),
            "These are the bits of the whole text. Divide by its characters.", "eq. 16.2"),
    },
    hints=("How many bits does the whole text cost, and how many characters does it have?",
           "One bit is ln 2 nats.",
           "`nats.sum() / math.log(2)` are the bits of the text; `chars.sum()` its length."),
)


# -- 16.5 --------------------------------------------------------------------------------------------------------------

def next_token_loss(logits, tokens):
    """logits: (B, T, vocab), computed from tokens: (B, T). The mean loss of predicting each next token."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def next_by_gather(logits, tokens):
    p = logits.log_softmax(-1)[:, :-1]
    return -p.gather(-1, tokens[:, 1:, None]).mean()


def next_by_loop(logits, tokens):
    B, T, _ = logits.shape
    losses = [logits[b, t].logsumexp(-1) - logits[b, t, tokens[b, t + 1]] for b in range(B) for t in range(T - 1)]
    return sum(losses) / len(losses)


def aligned(logits, tokens, **options):
    """Cross-entropy of scores and tokens as they stand beside each other."""
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), **options)


def shifted_flat(logits, tokens):
    return F.cross_entropy(logits.flatten(0, 1)[:-1], tokens.flatten()[1:])


def loss_cases(g):
    for B, T, V in ((1, 3, 2), (1, 3, 4), (2, 4, 3), (3, 5, 7)):
        yield Case((normal(g, B, T, V) * 2, torch.randint(V, (B, T), generator=g)), f"B = {B}, T = {T}, vocab = {V}")


exercise(
    id="16.5", title="Too good to be true", kind="bug", stars=3, minutes=10, equations=("16.1",),
    reference=next_token_loss, alternatives=(next_by_gather, next_by_loop), cases=loss_cases,
    mutants={
        "predicts the token it has just read": Mistake(lambda logits, tokens: aligned(logits, tokens),
            "The scores at position t come from tokens up to *and including* t. Asking them for token t asks for what "
            "they have seen; the loss falls to 0, and the model can only copy.",
            "eq. 16.1", next="Which token should position t predict?"),
        "predicts the token before": Mistake(lambda logits, tokens: aligned(logits[:, 1:], tokens[:, :-1]),
            "Shifted, but the wrong way: position t now predicts token t − 1, which it has seen as well.", "eq. 16.1",
            next="Drop the *last* scores and the *first* token."),
        "drops the last of both": Mistake(lambda logits, tokens: aligned(logits[:, :-1], tokens[:, :-1]),
            "Both were shortened at the same end, so they are still aligned as before: position t predicts token t.",
            "eq. 16.1"),
        "drops the first of both": Mistake(lambda logits, tokens: aligned(logits[:, 1:], tokens[:, 1:]),
            "Both were shortened at the same end, so they are still aligned as before: position t predicts token t.",
            "eq. 16.1"),
        "predicts the token after the next": Mistake(lambda logits, tokens: aligned(logits[:, :-2], tokens[:, 2:]),
            "Shifted by two. Position t has read token t, and should predict token t + 1.", "eq. 16.1"),
        "asks the last position for token 0": Mistake(
            lambda logits, tokens: aligned(logits, F.pad(tokens[:, 1:], (0, 1))),
            "The last position has no next token, and padding gives it one, number 0. Leave it out.", "eq. 16.1"),
        "wraps around": Mistake(lambda logits, tokens: aligned(logits, tokens.roll(-1, 1)),
            "`roll` carries the first token to the end, so the last position is asked for a token it has seen. It has "
            "no next token: leave it out.",
            "eq. 16.1"),
        "adds up instead of averaging": Mistake(
            lambda logits, tokens: aligned(logits[:, :-1], tokens[:, 1:], reduction="sum"),
            "Right pairs, but their sum. A mean does not change its size with B and T."),
        "wraps around, the wrong way": Mistake(lambda logits, tokens: aligned(logits, tokens.roll(1, 1)),
            "Position t is asked for token t − 1, which it has seen; and `roll` carries the last token to the front.",
            "eq. 16.1",
            next="Drop the *last* scores and the *first* token."),
        "shifts across the borders of texts": Mistake(shifted_flat,
            "Shifted after flattening, the last position of each text is asked for the first token of the next one. "
            "Shift along T, then flatten.",
            "eq. 16.1"),
        "shifts the texts, not the tokens": Mistake(lambda logits, tokens: aligned(logits[:-1], tokens[1:]),
            "Dimension 0 holds the texts. The tokens are dimension 1: `[:, :-1]` and `[:, 1:]`.", "eq. 16.1"),
        "scores the last prediction only": Mistake(lambda logits, tokens: F.cross_entropy(logits[:, -2], tokens[:, -1]),
            "Every position but the last predicts a token: T − 1 predictions a text.", "eq. 16.1"),
        "divides by all tokens": Mistake(
            lambda logits, tokens: next_token_loss(logits, tokens) * (1 - 1 / tokens.shape[1]),
            "There are T − 1 predictions a text, not T. `cross_entropy` divides by as many as it is given.",
            "eq. 16.1"),
        "adds up over a text": Mistake(lambda logits, tokens: next_token_loss(logits, tokens) * (tokens.shape[1] - 1),
            "Right pairs, but the sum over each text's tokens. A mean over all of them does not change its size with "
            "T."),
        "gives bits": Mistake(lambda logits, tokens: next_token_loss(logits, tokens) / math.log(2),
            "That is the loss in bits. Equation 16.1 has the natural logarithm, as `cross_entropy` does.", "eq. 16.1"),
        "gives a perplexity": Mistake(lambda logits, tokens: next_token_loss(logits, tokens).exp(),
            "e to the power of the loss is the perplexity. The loss itself is asked for."),
        "softmaxes twice": Mistake(lambda logits, tokens: aligned(logits[:, :-1].softmax(-1), tokens[:, 1:]),
            "`cross_entropy` takes the logits and applies the softmax itself."),
    },
    hints=("A loss of nearly 0 after a few steps: what does the model know that it should not?",
           "Position t has read token t. It should predict token t + 1.",
           "Pair `logits[:, :-1]` with `tokens[:, 1:]`."),
)


# -- 16.6 --------------------------------------------------------------------------------------------------------------

exercise(
    id="16.6", title="When attention's cache overtakes",
                     kind="predict", stars=2, minutes=10, equations=("16.9",), reference=37, tolerance=1e-3,
    working=(by_hand.tokens_until_the_cache_is_larger,),
    mutants={
        "forgets the convolution": Mistake(33, "Compared with the matrices alone, 8,192 numbers. The convolution keeps "
                                               "9D more.", "eq. 16.9"),
        "stops one token early": Mistake(36, "At 36 tokens attention keeps 9,216 numbers, DeltaNet 9,344: still more. "
                                             "The question asks for the first T beyond.", "eq. 16.9"),
        "does not round up": Mistake(36.5, "At T = 36.5 both would keep the same. The first whole number of tokens "
                                           "above is asked for.", "eq. 16.9"),
        "forgets the convolution, and stops where both are equal": Mistake(32,
            "At 32 tokens attention keeps 8,192 numbers, as many as the matrices alone. The convolution keeps 9D more.",
            "eq. 16.9"),
        "keeps four inputs of the convolution": Mistake(39,
            "There are four taps, but the fourth input is the present. Three are kept, for q, k and v: 9D numbers.",
            "eq. 16.9"),
        "counts half of what attention keeps": Mistake(74,
            "Attention keeps a key *and* a value for each token, over all heads together: 2D numbers.", "eq. 16.9"),
        "forgets the heads": Mistake(69, "Each of the H heads has a matrix of (D/H)², together D²/H, not D².",
                                         "eq. 16.9"),
        "takes one head for all": Mistake(21, "That is one head's matrix. There are H = 2 of them.", "eq. 16.9"),
        "gives what the layer keeps": Mistake(9344,
            "9,344 is how many numbers the DeltaNet layer keeps. After how many tokens does attention keep more?",
            "eq. 16.9"),
        "counts attention's cache for each head": Mistake(19,
            "2D numbers a token is what all heads together keep, D / H numbers of a key and of a value in each of the "
            "H = 2.", "eq. 16.9"),
        "multiplies by the heads": Mistake(133,
            "H matrices of (D/H)² are D²/H numbers. D² H would be 32,768.", "eq. 16.9"),
        "forgets the convolution, and half of what attention keeps": Mistake(65,
            "Two things: the convolution keeps 9D numbers more, and attention a key *and* a value for each token.",
            "eq. 16.9"),
        "compares with the layer's weights": Mistake(264,
            "About 67,400 is how many *weights* the layer has. It keeps H matrices of (D/H)², and 9D inputs.",
            "eq. 16.9"),
        "caches one stream of the convolution": Mistake(34, "The convolution runs over q, k and v: 3 × 3 × D numbers, "
                                                            "not 3D.", "eq. 16.9"),
    },
    hints=("How many numbers does each keep for one layer?",
           "DeltaNet: 128²/2 + 9 · 128. Attention: 2 · 128 for each token.",
           "9,344 / 256 = 36.5: the first whole number above."),
    why="DeltaNet keeps 8,192 + 1,152 = 9,344 numbers a layer, attention 256 a token: 36 · 256 = 9,216 and 37 · 256 = "
        "9,472.",
)


# -- 16.7 --------------------------------------------------------------------------------------------------------------

def chances(logits, temperature, top_k):
    """logits: (vocab,). The probabilities from which the next token is drawn, (vocab,)."""
    smallest = logits.topk(top_k).values[-1]
    logits = logits.masked_fill(logits < smallest, -torch.inf)
    return (logits / temperature).softmax(-1)


def chances_by_scatter(logits, temperature, top_k):
    best = logits.topk(top_k)
    return torch.zeros_like(logits).scatter(0, best.indices, (best.values / temperature).softmax(-1))


def chances_renormalized(logits, temperature, top_k):
    p = (logits / temperature).softmax(-1)
    p = torch.where(logits >= logits.sort(descending=True).values[top_k - 1], p, 0)
    return p / p.sum()


def chances_cases(g):
    for V, k, temperature in ((2, 1, 1.0), (3, 2, 0.5), (5, 2, 2.0), (5, 5, 0.8), (9, 4, 1.5)):
        scores = torch.randperm(V, generator=g).double() * 0.7 - 1.3
        yield Case((scores, temperature, k), f"vocab = {V}, top {k}, temperature {temperature}")


def threshold(logits, top_k):
    return logits.topk(top_k).values[-1]


def with_others(value):
    """A mutant: the scores of the others become `value`."""
    def f(logits, temperature, top_k):
        return (logits.masked_fill(logits < threshold(logits, top_k), value) / temperature).softmax(-1)
    return f


def probabilities_cut(logits, temperature, top_k):
    p = (logits / temperature).softmax(-1)
    return torch.where(logits >= threshold(logits, top_k), p, 0)


def unlikeliest(logits, temperature, top_k):
    return (logits.masked_fill(logits > -threshold(-logits, top_k), -torch.inf) / temperature).softmax(-1)


def without_the_last(logits, temperature, top_k):
    return (logits.masked_fill(logits <= threshold(logits, top_k), -torch.inf) / temperature).softmax(-1)


def with_one_more(logits, temperature, top_k):
    return chances(logits, temperature, min(top_k + 1, len(logits)))


def greedy(logits, temperature, top_k):
    return F.one_hot(logits.argmax(), len(logits)).double()


def first_tokens(logits, temperature, top_k):
    return F.pad((logits[:top_k] / temperature).softmax(-1), (0, len(logits) - top_k))


def counted_from_the_worst(logits, temperature, top_k):
    smallest = logits.sort().values[top_k - 1]
    return (logits.masked_fill(logits < smallest, -torch.inf) / temperature).softmax(-1)


def exponentials(logits, temperature, top_k):
    return torch.where(logits >= threshold(logits, top_k), (logits / temperature).exp(), 0)


def multiplied(logits, temperature, top_k):
    return chances(logits, 1 / temperature, top_k)


def divided_too_late(logits, temperature, top_k):
    return chances(logits, 1.0, top_k) / temperature


def softmax_again(struck_out):
    """A mutant: a softmax, divided by the temperature, and another softmax; struck_out: their scores in that."""
    def f(logits, temperature, top_k):
        others = logits < threshold(logits, top_k)
        p = logits.masked_fill(others, -torch.inf).softmax(-1)
        return (p / temperature).masked_fill(others, struck_out).softmax(-1)
    return f


def only_the_best(logits, temperature, top_k):
    return (logits.topk(top_k).values / temperature).softmax(-1)


exercise(
    id="16.7", title="Temperature and top-k", kind="code", stars=2, minutes=10, equations=(),
    reference=chances, alternatives=(chances_by_scatter, chances_renormalized), cases=chances_cases,
    mutants={
        "takes powers of the probabilities": Mistake(
            lambda logits, temperature, top_k: logits.softmax(-1) ** (1 / temperature),
            "p^(1/temperature) is right up to a factor: it has to be divided by its sum. And only the top k may stay."),
        "takes powers after the softmax": Mistake(
            lambda logits, temperature, top_k: chances(logits, 1.0, top_k) ** (1 / temperature),
            "p^(1/temperature) is right up to a factor: it has to be divided by its sum. Dividing the scores does "
            "it all."),
        "sorts the vocabulary": Mistake(
            lambda logits, temperature, top_k: chances(logits.sort(descending=True).values, temperature, top_k),
            "The probabilities are right, but no longer stand where their tokens do: entry i belongs to token i."),
        "multiplies by the temperature": Mistake(multiplied,
            "A low temperature should make the likeliest token likelier: divide the scores by it."),
        "forgets to renormalize": Mistake(probabilities_cut,
            "Your probabilities do not add up to 1: the softmax still counted the tokens that were then struck out.",
            next="Strike out first, softmax last."),
        "gives struck-out tokens the score 0": Mistake(with_others(0.0),
            "A score of 0 is not a probability of 0: e⁰ = 1. Use −∞."),
        "keeps the unlikeliest": Mistake(unlikeliest,
            "You kept the k *smallest* scores."),
        "ignores top-k": Mistake(lambda logits, temperature, top_k: (logits / temperature).softmax(-1),
            "All tokens are still in the draw."),
        "leaves the temperature without effect": Mistake(lambda logits, temperature, top_k: chances(logits, 1.0, top_k),
            "The temperature changes nothing in yours. It divides the *scores*, before the softmax: probabilities that "
            "are divided by it, and then by their sum, are what they were."),
        "strikes out the last of the best": Mistake(without_the_last,
            "With ≤ the k-th best goes too, and k − 1 are left: with top_k = 1 none, and 0/0. Strike out what is "
            "*smaller*.",
            next="`logits < smallest`."),
        "returns the best only": Mistake(only_the_best,
            "The probabilities are right, but there are only k of them, and nobody can tell whose they are. The others "
            "have 0."),
        "divides the probabilities by the temperature": Mistake(divided_too_late,
            "The temperature belongs to the scores, before the softmax. Afterwards the sum is no longer 1."),
        "takes a softmax of probabilities": Mistake(softmax_again(-torch.inf),
            "The temperature divides the *scores*, before the one softmax. Yours takes a softmax of probabilities, "
            "which are all between 0 and 1, and so come out nearly alike."),
        "takes a softmax of all probabilities": Mistake(softmax_again(0.0),
            "The temperature divides the *scores*, before the one softmax. Yours takes a softmax of probabilities, and "
            "gives the tokens that were struck out e⁰ = 1 again."),
        "gives logarithms": Mistake(lambda logits, temperature, top_k: chances(logits, temperature, top_k).log(),
            "`log_softmax` gives logarithms. The draw needs probabilities, which add up to 1."),
        "keeps the best one only": Mistake(greedy,
            "That is greedy choice, top-k with k = 1. `topk(top_k).values[-1]` is the smallest score that stays, `[0]` "
            "the largest."),
        "keeps the first k tokens": Mistake(first_tokens,
            "You kept the first k tokens of the vocabulary. The k with the *best* scores stay."),
        "counts from the worst": Mistake(counted_from_the_worst,
            "`sort` puts the smallest first, so its entry k − 1 is the k-th *worst*. `descending=True`, or `topk`."),
        "forgets to divide by the sum": Mistake(exponentials,
            "Those are the exponentials. Probabilities are what is left after dividing by their sum."),
        "ignores top-k and temperature": Mistake(lambda logits, temperature, top_k: logits.softmax(-1),
            "All tokens are still in the draw, at temperature 1."),
        "gives the best equal chances": Mistake(
            lambda logits, temperature, top_k: (logits >= threshold(logits, top_k)).double() / top_k,
            "Among the best, too, a better score is more likely: a softmax of theirs."),
        "keeps one too many": Mistake(with_one_more,
            "k + 1 tokens are left.", next="With top_k = 1 there is nothing to draw: one token has probability 1."),
    },
    hints=("Which tokens stay? Then a softmax over those.",
           "`logits.topk(top_k).values[-1]` is the smallest score that stays.",
           "Fill the others with `-torch.inf`, divide by the temperature, softmax."),
)
