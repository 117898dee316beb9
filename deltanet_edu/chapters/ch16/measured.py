"""Exercises 16.8, 16.9, 16.11 and 16.12: what a trained model is measured by, and what goes wrong as it is measured."""

import math

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from .. import by_hand
from ..common import real

# -- 16.8 --------------------------------------------------------------------------------------------------------------

def perplexity(bits, chars, tokens):
    """bits: per character, of a text of `chars` characters in `tokens` tokens. The perplexity of a token."""
    nats = bits * math.log(2) * chars                                    # of the whole text
    return math.exp(nats / tokens)


def perplexity_by_power(bits, chars, tokens):
    return 2 ** (bits * chars / tokens)


def perplexity_by_length(bits, chars, tokens):
    length = chars / tokens
    return (2.0 ** bits) ** length


def perplexity_cases(g):
    yield Case((1.0, 4, 4), "a token is a character")
    yield Case((1.5, 8, 2), "four characters a token")
    for chars, tokens in ((1000, 400), (273_939, 101_000), (900, 1000)):
        bits = 1 + torch.rand((), generator=g, dtype=torch.float64).item()
        yield Case((bits, chars, tokens), f"{chars / tokens:.1f} characters a token")


exercise(
    id="16.8", title="Perplexity from bits", kind="code", stars=2, minutes=8, equations=("16.2",),
    reference=perplexity, alternatives=(perplexity_by_power, perplexity_by_length), cases=perplexity_cases,
    mutants={
        "is the perplexity of a character": Mistake(lambda bits, chars, tokens: 2 ** bits,
            "That is among how many *characters* the model hesitates. A token spells several, and costs as much as all "
            "of them together.", "eq. 16.2"),
        "takes bits for nats": Mistake(lambda bits, chars, tokens: math.exp(bits * chars / tokens),
            "e to the power of bits. Either 2 to the power of bits, or e to the power of nats: one bit is ln 2 nats.",
            "eq. 16.2"),
        "divides where it should multiply": Mistake(lambda bits, chars, tokens: 2 ** (bits * tokens / chars),
            "A token of four characters costs four times what a character costs, not a quarter of it.", "eq. 16.2"),
        "divides by ln 2": Mistake(lambda bits, chars, tokens: math.exp(bits * chars / tokens / math.log(2)),
            "Wrong direction: a bit is *less* than a nat, 0.693 of them. Multiply by ln 2.", "eq. 16.2"),
        "stops at the cost of a token": Mistake(lambda bits, chars, tokens: bits * chars / tokens,
            "Those are the bits of a token. The perplexity is 2 to that power.", "eq. 16.2"),
        "stops at the cost of a token, in nats": Mistake(
            lambda bits, chars, tokens: bits * chars / tokens * math.log(2),
            "That is the mean loss of a token. The perplexity is e to that power.", "eq. 16.2"),
        "multiplies instead of raising to a power": Mistake(lambda bits, chars, tokens: 2 ** bits * chars / tokens,
            "Probabilities multiply along a token, so perplexities do: raise that of a character to the power of the "
            "characters a token has.", "eq. 16.2"),
        "raises the bits to the power": Mistake(lambda bits, chars, tokens: bits ** (chars / tokens),
            "It is the perplexity of a character, 2 to the power of its bits, that is raised to the length of a token.",
            "eq. 16.2"),
        "divides the perplexity by the length": Mistake(lambda bits, chars, tokens: 2 ** bits * tokens / chars,
            "A longer token is *harder* to guess: raise the perplexity of a character to the power of the characters a "
            "token has.", "eq. 16.2"),
        "gives the probability of a token": Mistake(lambda bits, chars, tokens: 2 ** (-bits * chars / tokens),
            "That is how likely a token is on average. The perplexity is one over it, and at least 1.", "eq. 16.2"),
        "is the perplexity of the whole text": Mistake(lambda bits, chars, tokens: 2 ** (bits * chars),
            "That is one over the probability of the whole text. Divide the cost by the number of tokens first.",
            "eq. 16.1"),
    },
    hints=("How many bits does the whole text cost? How many does one of its tokens cost?",
           "A token costs `bits * chars / tokens` bits.",
           "2 to that power; or times ln 2, and then `math.exp`."),
)


# -- 16.9 --------------------------------------------------------------------------------------------------------------

def packed_targets(tokens, cu_seqlens):
    """tokens: (T,), texts packed end to end. What each position should predict, (T,); -100 where nothing is asked."""
    targets = F.pad(tokens[1:], (0, 1), value=-100)
    targets[cu_seqlens[1:] - 1] = -100
    return targets


def targets_text_by_text(tokens, cu_seqlens):
    sizes = cu_seqlens.diff().tolist()
    return torch.cat([F.pad(text[1:], (0, 1), value=-100) for text in tokens.split(sizes)])


def targets_by_number(tokens, cu_seqlens):
    of = torch.repeat_interleave(cu_seqlens.diff())                      # (T,)  whose token t is
    same = F.pad(of[1:] == of[:-1], (0, 1), value=False)
    return torch.where(same, tokens.roll(-1), -100)


def packed_cases(g):
    for sizes in ((3,), (2, 3), (1, 4, 2), (3, 1, 1, 5)):
        T = sum(sizes)
        ends = torch.tensor([0, *sizes]).cumsum(0)
        yield Case((torch.randperm(40, generator=g)[:T] + 1, ends), f"texts of {', '.join(map(str, sizes))} tokens")


def shifted(tokens):
    return F.pad(tokens[1:], (0, 1), value=-100)


def masked_at(where):
    """A mutant: the shifted tokens, with -100 at where(cu_seqlens)."""
    def f(tokens, cu_seqlens):
        targets = shifted(tokens)
        at = where(cu_seqlens)
        targets[at[(at >= 0) & (at < len(tokens))]] = -100
        return targets
    return f


def zeros_at_the_ends(tokens, cu_seqlens):
    targets = F.pad(tokens[1:], (0, 1))
    targets[cu_seqlens[1:] - 1] = 0
    return targets


def zeros_between(tokens, cu_seqlens):
    targets = shifted(tokens)
    targets[cu_seqlens[1:-1] - 1] = 0
    return targets


def zero_at_the_last(tokens, cu_seqlens):
    targets = packed_targets(tokens, cu_seqlens)
    targets[-1] = 0
    return targets


def itself_and_no_first(tokens, cu_seqlens):
    targets = tokens.clone()
    targets[cu_seqlens[:-1]] = -100
    return targets


def itself_at_the_ends(tokens, cu_seqlens):
    targets, ends = shifted(tokens), cu_seqlens[1:] - 1
    targets[ends] = tokens[ends]
    return targets


def shifted_back(tokens, cu_seqlens):
    return F.pad(tokens[:-1], (1, 0), value=-100)


def shifted_back_and_masked(tokens, cu_seqlens):
    targets = shifted_back(tokens, cu_seqlens)
    targets[cu_seqlens[1:] - 1] = -100
    return targets


def wrapped_in_each_text(tokens, cu_seqlens):
    return torch.cat([text.roll(-1) for text in tokens.split(cu_seqlens.diff().tolist())])


def without_the_ends(tokens, cu_seqlens):
    return torch.cat([text[1:] for text in tokens.split(cu_seqlens.diff().tolist())])


def not_shifted(tokens, cu_seqlens):
    targets = tokens.clone()
    targets[cu_seqlens[1:] - 1] = -100
    return targets


exercise(
    id="16.9", title="The first word of somebody else's book", kind="bug", stars=3, minutes=12, equations=("16.1",),
    reference=packed_targets, alternatives=(targets_text_by_text, targets_by_number), cases=packed_cases,
    mutants={
        "predicts across the borders": Mistake(lambda tokens, cu_seqlens: shifted(tokens),
            "The last token of a text is asked for the first of the next one. The memory of that text is gone by "
            "then, and nothing in this one could tell: the model learns to guess how texts begin.", "eq. 16.1",
            next="Which positions of cu_seqlens = [0, 2, 5] have no next token of their own?"),
        "masks the first token of each text": Mistake(masked_at(lambda ends: ends[:-1]),
            "The first token of a text *has* something to predict, the second one. The last has not.", "eq. 16.1",
            next="cu_seqlens[1:] says where texts end; the last token stands one before."),
        "masks one too late": Mistake(masked_at(lambda ends: ends[1:]),
            "cu_seqlens[1:] are the ends, exclusive: there the next text begins. Its last token stands one before.",
            "eq. 16.1"),
        "masks one too early": Mistake(masked_at(lambda ends: ends[1:] - 2),
            "That is the last but one token of each text, which does have a next one.", "eq. 16.1"),
        "masks first and last": Mistake(masked_at(lambda ends: torch.cat([ends[:-1], ends[1:] - 1])),
            "The first token of a text has a next one. Only the last has not.", "eq. 16.1"),
        "forgets the end of all": Mistake(
            lambda tokens, cu_seqlens: torch.cat([packed_targets(tokens, cu_seqlens)[:-1], tokens[:1]]),
            "The very last token is asked for the very first one: `roll` has carried it around.", "eq. 16.1"),
        "asks for token 0 at the ends": Mistake(zeros_at_the_ends,
            "0 is a token like any other. `cross_entropy` leaves out -100.", "eq. 16.1"),
        "asks for token 0 between texts": Mistake(zeros_between,
            "0 is a token like any other. `cross_entropy` leaves out -100, as at the end of the row.", "eq. 16.1"),
        "asks for token 0 at the last of all": Mistake(zero_at_the_last,
            "The last text ends as well: `F.pad` puts 0 there by itself, and 0 is a token. -100 is left out.",
            "eq. 16.1"),
        "wraps around in each text": Mistake(wrapped_in_each_text,
            "The last token of each text is asked for its first one, which it has seen. Nothing should be asked "
            "there: -100.", "eq. 16.1"),
        "leaves the ends out": Mistake(without_the_ends,
            "Right targets, but fewer than tokens: nobody can tell any more which position each belongs to. Put -100 "
            "where nothing is asked.", "eq. 16.1"),
        "asks the last token for itself": Mistake(itself_at_the_ends,
            "The last token of each text is asked for itself, which it has read. Nothing should be asked there: -100.",
            "eq. 16.1"),
        "predicts the token before": Mistake(shifted_back,
            "Position t is asked for token t − 1, which it has read. It should predict token t + 1.", "eq. 16.1"),
        "predicts the token before, and masks the ends": Mistake(shifted_back_and_masked,
            "Position t is asked for token t − 1, which it has read. It should predict token t + 1, and the last of "
            "each text nothing.", "eq. 16.1"),
        "predicts the token it has just read, but for the first": Mistake(itself_and_no_first,
            "Position t has read token t, and should predict token t + 1. Then the *last* of a text has nothing to "
            "predict.", "eq. 16.1"),
        "predicts the token it has just read": Mistake(not_shifted,
            "Position t has read token t. It should predict token t + 1.", "eq. 16.1"),
    },
    hints=("The model forgets at every border. Which position is still asked to look across one?",
           "The last token of each text stands at `cu_seqlens[1:] - 1`.",
           "Set the targets there to -100, which `cross_entropy` leaves out."),
)


# -- 16.11 -------------------------------------------------------------------------------------------------------------

exercise(
    id="16.11", title="The bytes of a conversation", kind="predict", stars=2, minutes=10, equations=("16.9",),
    reference=521.011200, tolerance=1.5e-3, working=(by_hand.megabytes_of_decoding,),
    mutants={
        "forgets the convolution": Mistake(503.31648, "Those are the memories alone. Each layer also keeps the last "
                                                       "three inputs of its convolution, 9D numbers.", "eq. 16.9"),
        "keeps everything in two bytes": Mistake(269.35296, "The memories are in float32, four bytes a number; only "
                                                             "the inputs of the convolution have two.", "eq. 16.9"),
        "keeps everything in four bytes": Mistake(538.70592, "The inputs of the convolution are in bfloat16, two "
                                                              "bytes a number.", "eq. 16.9"),
        "keeps four inputs of the convolution": Mistake(526.90944,
            "There are four taps, but the fourth input is the present. Three are kept, for q, k and v: 9D numbers.",
            "eq. 16.9"),
        "caches one stream of the convolution": Mistake(509.21472,
            "The convolution runs over q, k and v: 3 · 3 · D numbers, not 3D.", "eq. 16.9"),
        "exchanges the two dtypes": Mistake(287.04768,
            "The memories are in float32, four bytes a number, and the inputs of the convolution in bfloat16, two.",
            "eq. 16.9"),
        "keeps the inputs of every token": Mistake(97140.08064,
            "A convolution of four taps needs its last three inputs, however long the text.", "eq. 16.9"),
        "multiplies by the length": Mistake(8536247.5008,
            "Memories and inputs do not grow: after any number of tokens a layer keeps the same.", "eq. 16.9"),
        "counts numbers": Mistake(134.67648,
            "Those are millions of numbers. A number of the memories has four bytes, an input two.", "eq. 16.9"),
        "counts in bytes": Mistake(521_011_200, "That is bytes. A megabyte is a million."),
        "serves one text": Mistake(26.05056, "That is one text. Each of the 20 has memories of its own.", "eq. 16.9"),
        "counts one layer": Mistake(21.70880, "That is one layer. There are 24.", "eq. 16.9"),
        "forgets the heads": Mistake(8070.7584, "A head has a matrix of (D/H)², and H of them make D²/H, not D².",
                                     "eq. 16.9"),
        "takes one head for all": Mistake(49.152, "That is the matrix of one head. A layer has 16.", "eq. 16.9"),
        "counts what attention would keep": Mistake(64424.50944, "2D numbers a token: those are the keys and values "
                                                    "of softmax attention. DeltaNet keeps matrices.", "eq. 16.9"),
        "counts in mebibytes": Mistake(496.875, "That is in mebibytes, of 2²⁰ bytes. A megabyte is a million."),
    },
    hints=("How many numbers does one layer keep for one text? Equation 16.9.",
           "The matrices: 2048²/16 numbers of 4 bytes. The convolution: 9 · 2048 numbers of 2 bytes.",
           "1,048,576 + 36,864 bytes; times 24 layers, times 20 texts."),
    why="A layer keeps 1,048,576 bytes of memories and 36,864 of inputs for one text; times 24 · 20 that is "
        "521,011,200, however long the texts. At 16,384 tokens attention would keep 64,425 megabytes in bfloat16, 124 "
        "times that.",
)


# -- 16.12 -------------------------------------------------------------------------------------------------------------

def in_standard_errors(a, b):
    """a, b: the scores of two models, (n,) and (m,), a seed each. How many standard errors is b's mean above a's?"""
    error = (a.var() / len(a) + b.var() / len(b)).sqrt()
    return (b.mean() - a.mean()) / error


def standard_errors_by_hand(a, b):
    def squared(x):
        return ((x - x.mean()) ** 2).sum() / (len(x) - 1) / len(x)
    return (b.mean() - a.mean()) / (squared(a) + squared(b)) ** 0.5


def standard_errors_by_norm(a, b):
    each = [x.std() / math.sqrt(len(x)) for x in (a, b)]
    return (b.mean() - a.mean()) / torch.stack(each).norm()


def spread_cases(g):
    yield Case((real([2.0, 2.2]), real([2.4, 2.6])), "two seeds each")
    for n, m, gap in ((3, 3, 0.1), (3, 5, 0.02), (8, 2, -0.3)):
        a, b = 1.9 + 0.03 * normal(g, n), 1.9 + gap + 0.05 * normal(g, m)
        yield Case((a, b), f"{n} seeds and {m}")


def over(error):
    """A mutant: the difference of the means, divided by error(a, b)."""
    return lambda a, b: (b.mean() - a.mean()) / error(a, b)


def pooled(a, b):
    both = torch.cat([a, b])
    return both.std() * (1 / len(a) + 1 / len(b)) ** 0.5


exercise(
    id="16.12", title="Is it more than the seed?", kind="code", stars=3, minutes=12, equations=(),
    reference=in_standard_errors, alternatives=(standard_errors_by_hand, standard_errors_by_norm), cases=spread_cases,
    mutants={
        "divides by the spread of single runs": Mistake(over(lambda a, b: (a.var() + b.var()).sqrt()),
            "That is how far two single *runs* lie apart by chance. Means of n runs lie closer together: divide each "
            "variance by its number of seeds."),
        "forgets that n − 1 are free": Mistake(
            over(lambda a, b: (a.var(correction=0) / len(a) + b.var(correction=0) / len(b)).sqrt()),
            "The deviations are from the mean of the same few runs, which lies in their middle: divide by n − 1, not "
            "by n. With three seeds the variance is half as much again."),
        "takes NumPy's standard deviation, of single runs": Mistake(
            over(lambda a, b: (a.var(correction=0) + b.var(correction=0)).sqrt()),
            "Two things: divide by n − 1 in a variance, and each variance by its number of seeds."),
        "adds the two errors": Mistake(
            over(lambda a, b: a.std() / math.sqrt(len(a)) + b.std() / math.sqrt(len(b))),
            "Independent errors add up in their squares: √(e_a² + e_b²), which is less than e_a + e_b."),
        "takes standard deviations for variances": Mistake(
            over(lambda a, b: (a.std() / len(a) + b.std() / len(b)).sqrt()),
            "s² is the variance, `a.var()`. You have put s in its place, and taken a root of it."),
        "divides by the other's seeds": Mistake(over(lambda a, b: (a.var() / len(b) + b.var() / len(a)).sqrt()),
            "Each variance is divided by the number of *its own* seeds."),
        "divides both by all seeds": Mistake(
            over(lambda a, b: ((a.var() + b.var()) / (len(a) + len(b))).sqrt()),
            "The mean of a has n seeds and that of b has m, so each variance is divided by its own number."),
        "compares medians": Mistake(
            lambda a, b: (b.quantile(0.5) - a.quantile(0.5)) / (a.var() / len(a) + b.var() / len(b)).sqrt(),
            "The difference of the *means* is asked for, and the standard error is that of means."),
        "compares PyTorch's medians": Mistake(
            lambda a, b: (b.median() - a.median()) / (a.var() / len(a) + b.var() / len(b)).sqrt(),
            "The difference of the *means* is asked for; and `torch.median` of an even number takes the lower of the "
            "two in the middle."),
        "adds the two spreads": Mistake(over(lambda a, b: a.std() + b.std()),
            "Independent errors add up in their squares, and the error of a mean is the spread divided by √n."),
        "forgets the root": Mistake(over(lambda a, b: a.var() / len(a) + b.var() / len(b)),
            "A variance is in squared units. Take the root before you divide by it."),
        "divides by n twice": Mistake(over(lambda a, b: (a.var() / len(a)**2 + b.var() / len(b)**2).sqrt()),
            "The variance of a mean of n runs is that of a run divided by n; you have divided the spread by n."),
        "divides by n − 1 twice": Mistake(
            over(lambda a, b: (a.var() / (len(a) - 1) + b.var() / (len(b) - 1)).sqrt()),
            "`var` has divided by n − 1 already. The variance of a mean of n runs is that, divided by n."),
        "compares the best runs": Mistake(
            lambda a, b: (b.max() - a.max()) / (a.var() / len(a) + b.var() / len(b)).sqrt(),
            "The difference of the *means* is asked for. The best of a few runs is luck, too, and more so of many."),
        "looks at b's spread only": Mistake(over(lambda a, b: b.std() / math.sqrt(len(b))),
            "a's mean is uncertain, too. Add both squared errors."),
        "looks at one model's spread only": Mistake(over(lambda a, b: a.std() / math.sqrt(len(a))),
            "b's mean is uncertain, too. Add both squared errors."),
        "takes all runs for one kind": Mistake(over(pooled),
            "You took the spread of all runs together, and the difference that you want to judge is part of it. Take "
            "each model's spread around its own mean."),
        "turns the sign around": Mistake(lambda a, b: -in_standard_errors(a, b),
            "b above a is positive: mean of b minus mean of a."),
        "does not divide": Mistake(lambda a, b: b.mean() - a.mean(),
            "That is the difference of the means. Divide it by its standard error."),
        "drops the sign": Mistake(lambda a, b: in_standard_errors(a, b).abs(),
            "Below must be told from above: keep the sign."),
    },
    hints=("How much would the mean of a change with other seeds? Its variance is `a.var() / len(a)`.",
           "The variance of a difference of independent means is the sum of theirs.",
           "`(b.mean() - a.mean()) / (a.var() / len(a) + b.var() / len(b)).sqrt()`"),
)
