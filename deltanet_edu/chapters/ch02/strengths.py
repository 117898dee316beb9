"""Exercises 2.6 and 2.7: how strong a write may be, and how strong it should be to make a memory of means."""

import inspect

import torch

from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import normal, smallest_first, unit_keys
from ..common import real
from .problems import write

# -- 2.6 The largest stable beta ---------------------------------------------------------------------------------------

def largest_beta(k):
    return 2 / (k * k).sum(-1).max()                                     # ()


def largest_beta_by_norm(k):
    return (2 / k.norm(dim=-1) ** 2).min()


def largest_beta_by_eigenvalues(k):
    return 2 / torch.linalg.eigvalsh(k[:, :, None] * k[:, None, :]).max()


exercise(
    id="2.6", title="The largest stable β", kind="code", stars=2, minutes=10, equations=("2.10",), tolerance=1e-8,
    reference=largest_beta, alternatives=(largest_beta_by_norm, largest_beta_by_eigenvalues),
    cases=lambda g: smallest_first(
        [Case((real([[3.0, 4.0], [1.0, 0.0]])[:T],), f"easy numbers, T = {T}") for T in (1, 2)]
        + [Case((keys(g, T, K),), f"{note}, T = {T}") for T, K in ((1, 2), (2, 2), (7, 2), (6, 5))
         for note, keys in (("unnormalized keys", normal), ("unit keys", unit_keys))]
        + [Case((torch.cat([normal(g, 3, 4), torch.zeros(1, 4, dtype=torch.float64)]),), "one key is zero, T = 4")]),
    mutants={
        "forgets to square the length": Mistake(lambda k: 2 / k.norm(dim=-1).max(),
            "The key enters twice: once when the memory is asked, once when the answer is "
            "written. So ‖k‖² counts, not ‖k‖.", "eq. 2.9"),
        "stops at the projection": Mistake(lambda k: 1 / (k * k).sum(-1).max(),
            "β‖k‖² = 1 overwrites exactly. Beyond it a write overshoots, but the error still "
            "shrinks, up to another limit.", "eq. 2.10",
            next="For which β is the eigenvalue 1 - β‖k‖² equal to -1?"),
        "listens to the shortest key": Mistake(lambda k: (2 / (k * k).sum(-1)).max(),
            "The *longest* key is the dangerous one: it is the first whose eigenvalue passes -1.", "eq. 2.10"),
        "takes all keys for unit keys": Mistake(lambda k: torch.full((), 2.0, dtype=k.dtype),
            "β ≤ 2 is the limit for ‖k‖ = 1. In general it is β‖k‖² that must not pass 2.", "eq. 2.10"),
        "sums over the tokens instead of the entries": Mistake(lambda k: 2 / (k * k).sum(0).max(),
            "‖k‖² is the sum along a row: `dim=-1`. Yours adds up the column of an entry over all tokens.", "eq. 2.9"),
        "takes the average length": Mistake(lambda k: 2 / (k * k).sum(-1).mean(),
            "One key that is too long is enough: repeat it, and what is stored along it grows without bound. "
            "The average does not protect from it.", "eq. 2.10"),
        "adds up all tokens": Mistake(lambda k: 2 / (k * k).sum(),
            "Tokens are written one after the other, each with its own transition matrix. Each "
            "has to be stable by itself.", "eq. 2.10"),
        "treats all tokens as one batch": Mistake(lambda k: 2 / torch.linalg.eigvalsh(k.mT @ k).max(),
            "That is the limit of gradient descent on the *sum* of all losses. Here each token is a step of its own.",
            "eq. 2.10"),
        "gives an answer for every token": Mistake(lambda k: 2 / (k * k).sum(-1),
            "Each entry is the limit for one key. All tokens share one β: which of the limits must it respect?",
            "eq. 2.10"),
        "stops at the projection, with the length unsquared": Mistake(lambda k: 1 / k.norm(dim=-1).max(),
            "Two slips: ‖k‖² counts, since the key is used twice; and the error still shrinks beyond β‖k‖² = 1.",
            "eq. 2.10"),
        "multiplies by the squared length": Mistake(lambda k: 2 * (k * k).sum(-1).max(),
            "A longer key makes a write stronger, so β must be smaller: β‖k‖² ≤ 2.", "eq. 2.10"),
        "gives the strength of an overwrite": Mistake(lambda k: torch.ones((), dtype=k.dtype),
            "β = 1 overwrites exactly if ‖k‖ = 1. How strong a write may be depends on the "
            "keys, which are of any length here.",
            "eq. 2.10"),
        "takes the root of the limit": Mistake(lambda k: (2 / (k * k).sum(-1).max()).sqrt(),
            "The limit is β‖k‖² = 2. β stands there once, and only the length of the key is squared.", "eq. 2.10"),
        "takes the median length": Mistake(lambda k: 2 / (k * k).sum(-1).median(),
            "All tokens share one β, and the longest key decides, not one in the middle.", "eq. 2.10"),
        "caps the limit at 2": Mistake(lambda k: (2 / (k * k).sum(-1).max()).clamp(max=2.0),
            "Right for keys of length 1 or more. Shorter keys allow a β above 2: only β‖k‖² must not pass 2.",
            "eq. 2.10"),
        "caps the limit at 1": Mistake(lambda k: (2 / (k * k).sum(-1).max()).clamp(max=1.0),
            "β may be larger than 1: up to β‖k‖² = 2 the error still shrinks.", "eq. 2.10"),
        "looks at the first key only": Mistake(lambda k: 2 / (k[0] @ k[0]),
            "All tokens share one β, so the longest key decides, wherever it stands.", "eq. 2.10"),
        "looks at the last key only": Mistake(lambda k: 2 / (k[-1] @ k[-1]),
            "All tokens share one β, so the longest key decides, wherever it stands.", "eq. 2.10"),
        "listens to the shortest key that is not zero": Mistake(
            lambda k: (lambda n: 2 / n[n > 0].min())((k * k).sum(-1)),
            "The *longest* key is the dangerous one: it is the first whose eigenvalue passes -1.", "eq. 2.10"),
        "takes the 1-norm for the length": Mistake(lambda k: 2 / k.abs().sum(-1).max() ** 2,
            "‖k‖ is the 2-norm: the root of the sum of squares, not the sum of sizes.", "eq. 2.9"),
        "takes the largest entry for the length": Mistake(lambda k: 2 / k.abs().max() ** 2,
            "‖k‖² is the sum of the squared entries, not the square of the largest one.", "eq. 2.9"),
    },
    hints=("Which eigenvalue of I - β k kᵀ depends on β?",
           "1 - β‖k‖² must not fall below -1. For which β does it get there?",
           "β‖k‖² ≤ 2 for every token: the longest key decides. Sum the squares along the last dimension."),
)


# -- 2.7 A memory that averages ----------------------------------------------------------------------------------------

def averaging_betas(k, T):
    return 1 / (torch.arange(1, T + 1, dtype=k.dtype) * (k @ k))         # (T,)


def averaging_betas_by_loop(k, T):
    """The t-th value should get the weight 1 / t: what is left of the error is 1 - 1 / t."""
    return torch.stack([(1 - (t - 1) / t) / k.square().sum() for t in range(1, T + 1)])


def averaging_betas_by_recursion(k, T):
    """The inverse strengths grow by ‖k‖² per write."""
    betas = [1 / (k @ k)]
    while len(betas) < T:
        betas.append(betas[-1] / (1 + betas[-1] * (k @ k)))
    return torch.stack(betas)


def reads_with(betas):
    """What the memory says about k after each of the writes k -> v_1, ..., k -> v_T, with the learner's strengths."""
    if not callable(betas):
        raise AnswerError("give the function itself, not the result of calling it")

    def reads(k, v):
        given = betas(k.clone(), len(v))
        strengths = torch.as_tensor(given, dtype=None if isinstance(given, torch.Tensor) else v.dtype)
        if strengths.shape != (len(v),):
            raise ValueError(f"the strengths have shape {tuple(strengths.shape)}, expected ({len(v)},)")
        S, o = v.new_zeros(v.shape[1], len(k)), []
        for v_t, beta_t in zip(v, strengths):
            S = write(S, k, v_t, beta_t)
            o.append(S @ k)
        return torch.stack(o)                                            # (T, V)

    reads.__signature__ = inspect.signature(reads)
    reads.__wrapped__ = betas                          # an error is shown at the learner's line, not ours
    return reads


exercise(
    id="2.7", title="A memory that averages", kind="code", stars=3, minutes=15, equations=("2.5", "2.8"),
    reference=averaging_betas, alternatives=(averaging_betas_by_loop, averaging_betas_by_recursion), prepare=reads_with,
    sources=(averaging_betas,),
    cases=lambda g: smallest_first(
        [Case((real(k), real([[2.0], [4.0]])[:T]), f"easy numbers, {note}, T = {T}")
         for T in (1, 2) for k, note in (([0.6, 0.8], "unit key"), ([2.0, 1.0], "unnormalized key"))]
        + [Case((keys(g, 3), normal(g, T, 2)), f"{note}, T = {T}")
           for T in (3, 7) for keys, note in ((unit_keys, "unit key"), (normal, "unnormalized key"))]),
    mutants={
        "lets the last value win": Mistake(lambda k, T: torch.ones(T, dtype=k.dtype) / (k @ k),
            "β‖k‖² = 1 forgets everything but the last value. An average must give the first "
            "value as much weight as the last.", "eq. 2.5",
            next="After two writes, which share of the first value should be left?"),
        "uses the same strength for every write": Mistake(lambda k, T: torch.full((T,), 1 / T, dtype=k.dtype) / (k @ k),
            "With a constant β old values fade geometrically: a moving average. For the mean of all, later "
            "writes must be weaker.", "eq. 2.5",
            next="Which strength makes the memory right after the *first* write?"),
        "grows with every write": Mistake(lambda k, T: torch.arange(1, T + 1, dtype=k.dtype) / T / (k @ k),
            "t/T gives the late values the most weight. After t writes the newest of t values deserves the share 1/t.",
            "eq. 2.5"),
        "overwrites, and ignores the length": Mistake(lambda k, T: torch.ones(T, dtype=k.dtype),
            "Two slips: β‖k‖², not β, is the weight of the new value; and at 1 only the last value is left.",
            "eq. 2.5"),
        "uses 1/T for every write, and ignores the length": Mistake(lambda k, T: torch.full((T,), 1 / T, dtype=k.dtype),
            "Two slips: β‖k‖², not β, is the weight of the new value; and with a constant strength old values fade.",
            "eq. 2.5"),
        "starts counting at two, and ignores the length": Mistake(
            lambda k, T: 1 / torch.arange(2, T + 2, dtype=k.dtype),
            "Two slips: β‖k‖², not β, is the weight of the new value; and the first write must store all of it.",
            "eq. 2.5", next="What should the read be after one write?"),
        "gives the new value the weight of the old ones, and ignores the length": Mistake(
            lambda k, T: 1 - 1 / torch.arange(1, T + 1, dtype=k.dtype),
            "Two slips: (t - 1)/t is what the old mean keeps, and the write gets the rest; and β‖k‖², not β, is its "
            "weight.", "eq. 2.5"),
        "grows where it should shrink": Mistake(lambda k, T: torch.arange(1, T + 1, dtype=k.dtype) / (k @ k),
            "The more values the mean has, the less a new one moves it: later writes must be weaker.", "eq. 2.5"),
        "halves the error every time": Mistake(lambda k, T: torch.full((T,), 0.5, dtype=k.dtype) / (k @ k),
            "Each write then counts twice as much as the one before it: 1/2, 1/4, 1/8, ... from the latest back.",
            "eq. 2.5"),
        "halves the strength with every write": Mistake(
            lambda k, T: 0.5 ** torch.arange(T, dtype=k.dtype) / (k @ k),
            "Right for two writes. The third must move the mean by a third, not by a quarter: 1, 1/2, 1/3, ...",
            "eq. 2.5"),
        "halves from the second write on": Mistake(
            lambda k, T: torch.where(torch.arange(T) == 0, 1.0, 0.5).to(k) / (k @ k),
            "Right for two writes. After three, the last value would count as much as the other two: 1, 1/2, 1/3, ...",
            "eq. 2.5"),
        "takes the root of t": Mistake(lambda k, T: 1 / (torch.arange(1, T + 1, dtype=k.dtype).sqrt() * (k @ k)),
            "1/√t falls too slowly: later values would count more than earlier ones.", "eq. 2.5"),
        "forgets the length in the first write": Mistake(
            lambda k, T: torch.where(torch.arange(T) == 0, 1.0, averaging_betas(k, T)),
            "Every write, the first one too, has the weight β‖k‖².", "eq. 2.8"),
        "takes the sum of the entries for the length": Mistake(
            lambda k, T: 1 / (torch.arange(1, T + 1, dtype=k.dtype) * k.sum() ** 2),
            "‖k‖² is the sum of the *squared* entries, k @ k, not the square of their sum.", "eq. 2.8"),
        "divides by the number of entries": Mistake(
            lambda k, T: 1 / (torch.arange(1, T + 1, dtype=k.dtype) * len(k)),
            "‖k‖² is the sum of the squared entries, not their number.", "eq. 2.8"),
        "ignores the length of the key": Mistake(lambda k, T: 1 / torch.arange(1, T + 1, dtype=k.dtype),
            "Right for a unit key. In general β‖k‖², not β, is the weight that the new value gets.", "eq. 2.8"),
        "forgets to square the length": Mistake(lambda k, T: 1 / (torch.arange(1, T + 1, dtype=k.dtype) * k.norm()),
            "The key is used twice, to ask and to write: ‖k‖² counts.", "eq. 2.8"),
        "multiplies by the squared length": Mistake(lambda k, T: (k @ k) / torch.arange(1, T + 1, dtype=k.dtype),
            "A longer key makes a write stronger, so its β must be smaller: β‖k‖² is the weight.", "eq. 2.8"),
        "gives the new value the weight of the old ones": Mistake(
            lambda k, T: (1 - 1 / torch.arange(1, T + 1, dtype=k.dtype)) / (k @ k),
            "(t - 1)/t is what the old mean keeps. The strength of the write is the rest, 1/t.", "eq. 2.5"),
        "starts counting at two": Mistake(lambda k, T: 1 / (torch.arange(2, T + 2, dtype=k.dtype) * (k @ k)),
            "The first write must store the whole first value, yet yours stores half of it and averages in the zero "
            "that was there before.", "eq. 2.5",
            next="What should the read be after one write?"),
        "counts from zero": Mistake(lambda k, T: 1 / (torch.arange(T, dtype=k.dtype) * (k @ k)),
            "The first strength is 1/0. Tokens are numbered from 1: the first write has the strength of an overwrite.",
            "eq. 2.5"),
        "makes two writes at full strength": Mistake(
            lambda k, T: 1 / (torch.arange(T, dtype=k.dtype).clamp(min=1) * (k @ k)),
            "The first write is right. The second must store the mean of two values, so half of its own; yours "
            "overwrites the first. Count from 1.", "eq. 2.5", next="Which strength does write number 2 need?"),
        "caps the strengths at 1": Mistake(lambda k, T: averaging_betas(k, T).clamp(max=1),
            "A key shorter than 1 needs a β above 1: β‖k‖², not β, is the weight of the new value.", "eq. 2.8"),
        "makes the strengths add up to one": Mistake(
            lambda k, T: averaging_betas(k, T) / averaging_betas(k, T).sum() / (k @ k),
            "The strengths are not the weights of the values: each write also shrinks what is there. The first one "
            "must store the whole first value.", "eq. 2.5", next="What should the read be after one write?"),
        "counts backwards": Mistake(lambda k, T: 1 / (torch.arange(T, 0, -1, dtype=k.dtype) * (k @ k)),
            "The last write then overwrites all others. The *first* one should be the full write.", "eq. 2.5"),
    },
    hints=("Let m be the mean of t - 1 values. How does it change when v_t comes in?",
           "The mean moves by (v_t - m) / t. Compare eq. 2.5 with a unit key: v_new = v_old + β (v - v_old).",
           "For a unit key β_t = 1/t. For any other, β_t‖k‖² must be 1/t."),
)
