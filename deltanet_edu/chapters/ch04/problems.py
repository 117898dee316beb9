"""The exercises of chapter 4, in order: each with its solutions, mistakes and hints. 4.6 to 4.8 are in mirrors.py."""

import itertools

import torch
from torch.nn.functional import normalize

from ...ops.delta_rule import delta_rule_recurrent, householder
from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import delta_inputs, normal, smallest_first, unit_keys
from .. import by_hand
from ..common import KEYS, WithoutSquare, eye_like, one_head, real


def M(k, beta):
    return eye_like(k) - beta * torch.outer(k, k)


# -- 4.1 One key by hand -----------------------------------------------------------------------------------------------

exercise(
    id="4.1", title="One key by hand", kind="predict", stars=1, minutes=5, equations=("4.8",),
    reference=(-1.4, 0.8), givens={"β": 0.3},
    working=(by_hand.memory_after_one_key,),
    mutants={
        "divides by the squared length of the key": Mistake((0.52, 1.76),
            "Here ‖k‖² = 5 has been divided out, as if k had length 1. The matrix uses the key as it comes.",
            "eq. 4.8"),
        "forgets beta": Mistake((-7.0, -2.0), "The read S k is right. Only the share β of it is taken out.", "eq. 4.8"),
        "reflects": Mistake((-2.2, 0.4),
            "That is the mirror image. For a mirror β‖k‖² would have to be 2; here it is 1.5.", "eq. 4.1",
            next="Compute λ = 1 − β‖k‖² first."),
        "projects": Mistake((-0.6, 1.2),
            "That erases everything along the key, as β‖k‖² = 1 would. Here it is 1.5: a step beyond the plane.",
            "eq. 4.4"),
        "adds instead of taking out": Mistake((3.4, 3.2), "The sign is wrong: β (S k) kᵀ is *subtracted* from S.",
            "eq. 4.8"),
        "divides by the length of the key once": Mistake((1 - 2.4 / 5**0.5, 2 - 1.2 / 5**0.5),
            "Here ‖k‖ = √5 has been divided out. The matrix uses the key as it comes.", "eq. 4.8"),
        "takes 5 for the read": Mistake((-2.0, 0.5),
            "S k pairs first with first and second with second: 1 · 2 + 2 · 1 = 4. 5 is the crossed sum, "
            "1 · 1 + 2 · 2, and it is also ‖k‖².", "eq. 4.8"),
        "takes the number from every entry": Mistake((-0.2, 0.8),
            "β S k = 1.2 is what is taken out along the *key*: 1.2 · (2, 1), not 1.2 from each entry.", "eq. 4.8"),
        "takes out the whole key": Mistake((-1.0, 1.0),
            "That is S − k. What is taken out is β times the *read*, 0.3 · 4, times the key.", "eq. 4.8"),
        "scales the whole memory": Mistake((-0.5, -1.0),
            "λ = −0.5 is what happens along the key. What is across the key stays as it is.", "eq. 4.4",
            next="Which part of (1, 2) lies along (2, 1)?"),
        "takes out the memory in the place of the key": Mistake((-0.2, -0.4),
            "That is S − 1.2 · (1, 2). What is taken out lies along the key, (2, 1).", "eq. 4.8"),
        "subtracts from ones in the place of I": Mistake((0.6, 1.8),
            "I has ones on its diagonal only. Off the diagonal I − β k kᵀ has −0.6, not 1 − 0.6.", "eq. 4.8"),
        "takes the entries one by one": Mistake((-0.2, 1.4),
            "That is what the diagonal of k kᵀ alone does. The read S k is one number, a sum over all entries, and it "
            "changes both.", "eq. 4.8"),
        "returns what is taken out": Mistake((2.4, 1.2), "That is β (S k) kᵀ. What is *left* is S minus this.",
            "eq. 4.8"),
        "forgets to read": Mistake((0.4, 1.7),
            "That is S − β kᵀ. How much of the key is to be taken out, the read S k says.", "eq. 4.8"),
    },
    hints=("First read: S k is one number. You need no matrix.",
           "S k = 1 · 2 + 2 · 1 = 4.",
           "Take out 0.3 · 4 · (2, 1)."),
    why="S k = 4, and (1, 2) − 0.3 · 4 · (2, 1) = (−1.4, 0.8). A check: its read is −2, which is λ = −0.5 times 4.",
)


# -- 4.2 Find the bug: the mirror --------------------------------------------------------------------------------------

def mirrored(X, k):
    return X - 2 / (k @ k) * torch.outer(X @ k, k)


def mirrored_by_matrix(X, k):
    return X @ M(k, 2 / (k @ k))


def mirrored_by_projection(X, k):
    n = normalize(k, dim=0)
    flat = X - torch.outer(X @ n, n)
    return 2 * flat - X


def believed(X, k):
    return X - 2 * torch.outer(X @ k, k)


def rows_and_key(g):
    made = [Case((real([[1.0, 2.0]]), real([0.6, 0.8])), "easy numbers, unit key"),
            Case((real([[1.0, 2.0]]), real([1.0, 1.0])), "easy numbers, unnormalized key"),
            Case((real([[1.0, 2.0]]), real([0.0, 0.5])), "easy numbers, short key")]
    for N, K in ((1, 3), (4, 3), (5, 2), (3, 6)):
        made += [Case((normal(g, N, K), unit_keys(g, K)), f"unit key, N = {N}"),
                 Case((normal(g, N, K), normal(g, K)), f"unnormalized key, N = {N}")]
    return smallest_first(made)


exercise(
    id="4.2", title="Find the bug: a mirror that stretches", kind="bug", stars=1, minutes=5, equations=("4.1",),
    reference=mirrored, alternatives=(mirrored_by_matrix, mirrored_by_projection), cases=rows_and_key,
    mutants={
        "believes that β = 2 is always a mirror": Mistake(believed,
            "The key enters twice, so its length enters squared. β = 2 is a mirror for unit keys; in general β‖k‖² "
            "must be 2.", "eq. 4.1",
            next="For k = (1, 1), which β gives β‖k‖² = 2?"),
        "divides by the length once": Mistake(lambda X, k: X - 2 / k.norm() * (X @ k)[:, None] * k,
            "‖k‖ is not enough: there are two k in k kᵀ. Divide by ‖k‖².", "eq. 4.1"),
        "multiplies by the squared length": Mistake(lambda X, k: X - 2 * (k @ k) * (X @ k)[:, None] * k,
            "The key is too long twice already, and yours makes it longer still. Divide by ‖k‖².", "eq. 4.1"),
        "takes the largest entry for the length": Mistake(
            lambda X, k: X - 2 / k.abs().max() ** 2 * (X @ k)[:, None] * k,
            "‖k‖² is the sum of the squared entries, k @ k, not the square of the largest one.", "eq. 4.1"),
        "takes the sum of sizes for the length": Mistake(
            lambda X, k: X - 2 / k.abs().sum() ** 2 * (X @ k)[:, None] * k,
            "‖k‖ is the 2-norm, the root of the sum of squares, not the sum of the entries' sizes.", "eq. 4.1"),
        "takes the sum of the entries for the length": Mistake(
            lambda X, k: X - 2 / k.sum() ** 2 * (X @ k)[:, None] * k,
            "‖k‖² is the sum of the *squares*, k @ k, not the square of the sum.", "eq. 4.1"),
        "divides by the length of long keys only": Mistake(
            lambda X, k: X - 2 / (k @ k).clamp(min=1) * (X @ k)[:, None] * k,
            "A key shorter than 1 is divided by ‖k‖² as well: β is more than 2 then.", "eq. 4.1",
            next="For k = (0, ½), which β gives β‖k‖² = 2?"),
        "divides the whole row": Mistake(lambda X, k: (X - 2 * (X @ k)[:, None] * k) / (k @ k),
            "Only what is taken away is divided by ‖k‖²: what is across the key stays as it is.", "eq. 4.1"),
        "divides by the length four times": Mistake(lambda X, k: X - 2 / (k @ k) ** 2 * (X @ k)[:, None] * k,
            "There are two k in k kᵀ, so ‖k‖² is what must go. Yours divides by ‖k‖⁴.", "eq. 4.1"),
        "returns what is taken away": Mistake(lambda X, k: 2 / (k @ k) * (X @ k)[:, None] * k,
            "That is twice the part along the key. The image is the row *minus* this.", "eq. 4.1"),
        "takes β = 1": Mistake(lambda X, k: X - (X @ k)[:, None] * k,
            "β = 1 is a mirror only if ‖k‖² happens to be 2. For a key of any length β‖k‖² must be 2.", "eq. 4.1"),
        "forgets the key": Mistake(lambda X, k: X - 2 / (k @ k) * (X @ k)[:, None],
            "Every entry of a row loses the same number. What is taken away lies along the key: times k once more.",
            "eq. 4.1"),
        "adds what it should take away": Mistake(lambda X, k: X + 2 / (k @ k) * (X @ k)[:, None] * k,
            "The factor is right. But a mirror takes away twice the part along the key.", "eq. 4.1"),
        "stops in the plane of the mirror": Mistake(lambda X, k: X - 1 / (k @ k) * (X @ k)[:, None] * k,
            "That drops the part along the key: a projection. A mirror goes the same way once more, to the other side.",
            "eq. 4.1"),
        "flips what is across the key": Mistake(lambda X, k: -mirrored(X, k),
            "Yours keeps the part along the key and flips the rest. In this chapter the key *stands on* the mirror.",
            "eq. 4.1",
            next="Where should the key itself go?"),
        "normalizes the rows as well": Mistake(lambda X, k: mirrored(normalize(X, dim=-1), k),
            "The rows must keep their length; only the key is divided.", "eq. 4.2"),
        "normalizes the rows in the place of the key": Mistake(
            lambda X, k: believed(normalize(X, dim=-1), k),
            "The rows must keep their length. It is the *key* whose length has to be divided out.", "eq. 4.1"),
        "gives each row its length back": Mistake(
            lambda X, k: normalize(believed(X, k), dim=-1) * X.norm(dim=-1, keepdim=True),
            "A mirror keeps the length of a row, but yours still has the wrong direction: how much of the key is taken "
            "away has not been repaired.", "eq. 4.1", next="For k = (1, 1), which β gives β‖k‖² = 2?"),
        "divides by the length of the rows": Mistake(
            lambda X, k: X - 2 / (X * X).sum(-1, keepdim=True) * (X @ k)[:, None] * k,
            "It is the *key* whose squared length counts.", "eq. 4.1"),
    },
    hints=("Try k = (1, 1): a mirror must send k to −k.",
           "The factor before k kᵀ must be 2 / ‖k‖².",
           "`2 / (k @ k)`."),
)


# -- 4.3 One write in n steps ------------------------------------------------------------------------------------------

def small_step(k, beta, n):
    squared = k @ k
    left = (1 - beta * squared) ** (1 / n)                               # what one small write leaves: λ to the 1/n
    return (1 - left) / squared


def small_step_by_logarithm(k, beta, n):
    x = k @ k
    return -torch.expm1(torch.log1p(-beta * x) / n) / x


def small_step_from_a_matrix(k, beta, n):
    values, vectors = torch.linalg.eigh(M(k, beta))
    root = vectors @ torch.diag(values ** (1 / n)) @ vectors.T
    return k @ (eye_like(k) - root) @ k / (k @ k) ** 2


def writes_to_divide(g):
    made = [Case((real([0.6, 0.8]), real(0.75), n), f"easy numbers, unit keys, n = {n}") for n in (1, 2)]
    made += [Case((real([0.0, 2.0]), real(0.25), n), f"everything erased, unnormalized keys, n = {n}") for n in (1, 2)]
    for K, n in ((2, 3), (3, 2), (5, 8)):
        k = normal(g, K) + 0.05
        made += [Case((k, real(0.0), n), f"β = 0, n = {n}"),
                 Case((unit_keys(g, K), real(0.91), n), f"unit keys, n = {n}"),
                 Case((k, real(0.75) / (k @ k), n), f"unnormalized keys, n = {n}")]
    return smallest_first(made)


exercise(
    id="4.3", title="One write in n steps", kind="code", stars=3, minutes=15, equations=("4.6",), tolerance=1e-8,
    reference=small_step, alternatives=(small_step_by_logarithm, small_step_from_a_matrix), cases=writes_to_divide,
    mutants={
        "divides β by n": Mistake(lambda k, beta, n: beta / n,
            "Each write removes a share of what is *still there*, so n writes of β/n remove less than one of β. For a "
            "unit key, β = 3/4 and n = 2: "
            "(5/8)² = 0.39 is left, not 1/4.", "eq. 4.6"),
        "takes a square root, whatever n is": Mistake(
            lambda k, beta, n: (1 - (1 - beta * (k @ k)).sqrt()) / (k @ k),
            "That is right for n = 2. For n steps it is the n-th root.", "eq. 4.6"),
        "takes the key for a unit key": Mistake(lambda k, beta, n: 1 - (1 - beta) ** (1 / n),
            "1 − β is what is left for unit keys. In general it is λ = 1 − β‖k‖².", "eq. 4.4"),
        "stops at what has to be removed": Mistake(lambda k, beta, n: 1 - (1 - beta * (k @ k)) ** (1 / n),
            "This is β′‖k‖², the share that one small write removes. The question is about β′.", "eq. 4.4",
            next="Divide once more. By what?"),
        "divides by the length, not its square": Mistake(
            lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** (1 / n)) / k.norm(),
            "One small write leaves 1 − β′‖k‖²: the key enters twice.", "eq. 4.4"),
        "uses the length, not its square, inside": Mistake(
            lambda k, beta, n: (1 - (1 - beta * k.norm()).abs() ** (1 / n)) / (k @ k),
            "One write leaves λ = 1 − β‖k‖² of the error: the key enters twice.", "eq. 4.4"),
        "measures the key by its length throughout": Mistake(
            lambda k, beta, n: (1 - (1 - beta * k.norm()) ** (1 / n)) / k.norm(),
            "`k.norm()` is ‖k‖. Here it is the square that counts, ‖k‖², which is `k @ k`.", "eq. 4.4"),
        "takes the other root": Mistake(lambda k, beta, n: (1 + (1 - beta * (k @ k)) ** (1 / n)) / (k @ k),
            "With a plus, every write goes beyond the value and lands as far on the other side: it overshoots. For "
            "even n it even comes out right in the end, "
            "but the card asks for 0 ≤ β′‖k‖² ≤ 1.", "eq. 4.4", next="With n = 1, which sign gives β′ = β?"),
        "takes the other root where n is even": Mistake(
            lambda k, beta, n: (1 + (-1) ** (n + 1) * -1 * (1 - beta * (k @ k)) ** (1 / n)) / (k @ k),
            "That solves the equation, but every write goes beyond the value and the next one comes back. The card "
            "asks for 0 ≤ β′‖k‖² ≤ 1.", "eq. 4.4",
            next="Of the two roots of λ, which keeps β′‖k‖² at 1 or below?"),
        "divides the root only": Mistake(lambda k, beta, n: 1 - (1 - beta * (k @ k)) ** (1 / n) / (k @ k),
            "A bracket is missing: the whole 1 − λ′ is divided by ‖k‖², not only λ′.", "eq. 4.4"),
        "divides by n at the end": Mistake(lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** (1 / n)) / n,
            "The root has done the work of n already. What is left is to get β′ from λ′ = 1 − β′‖k‖²: divide by ‖k‖².",
            "eq. 4.4"),
        "divides β by n and by ‖k‖²": Mistake(lambda k, beta, n: beta / n / (k @ k),
            "n = 1 must give β itself. And what n writes share is not β but λ = 1 − β‖k‖², by an n-th root.",
            "eq. 4.6"),
        "divides β‖k‖² by n": Mistake(lambda k, beta, n: beta * (k @ k) / n,
            "Shares do not add up: each write removes a share of what is *still there*. It is λ that is shared out, by "
            "an n-th root.", "eq. 4.6"),
        "takes the key for a unit key inside the root": Mistake(
            lambda k, beta, n: (1 - (1 - beta) ** (1 / n)) / (k @ k),
            "One write leaves λ = 1 − β‖k‖², not 1 − β. The same ‖k‖² that you divide by belongs under the root.",
            "eq. 4.4"),
        "divides by n where it should take a root": Mistake(lambda k, beta, n: (1 - (1 - beta * (k @ k)) / n) / (k @ k),
            "n writes *multiply* what is left, λ′ · λ′ · … = λ. To undo that takes an n-th root; dividing by n undoes "
            "a sum.", "eq. 4.6",
            next="With λ = 1/4 and n = 2, what is λ′?"),
        "gives what is left": Mistake(lambda k, beta, n: (1 - beta * (k @ k)) ** (1 / n),
            "This is λ′, which one small write leaves. β′ follows from λ′ = 1 − β′‖k‖².", "eq. 4.4"),
        "makes one write of n": Mistake(lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** n) / (k @ k),
            "That is the one strength which does the work of n writes with β. Here n small ones do the work of one: a "
            "root, not a power.", "eq. 4.6"),
        "makes one write of n, for a unit key": Mistake(lambda k, beta, n: 1 - (1 - beta) ** n,
            "That is the one strength which does the work of n writes with β, if ‖k‖ is 1. Here n small writes do the "
            "work "
            "of one, for any key.", "eq. 4.6"),
        "multiplies by the squared length at the end": Mistake(
            lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** (1 / n)) * (k @ k),
            "The root is right, and 1 − λ′ = β′‖k‖² is to be solved for β′: divide by ‖k‖².", "eq. 4.4"),
        "gives what is left, divided": Mistake(lambda k, beta, n: (1 - beta * (k @ k)) ** (1 / n) / (k @ k),
            "λ′ is what one small write leaves. What it *removes*, 1 − λ′, is β′‖k‖².", "eq. 4.4"),
        "takes the root of what is removed": Mistake(lambda k, beta, n: (beta * (k @ k)) ** (1 / n) / (k @ k),
            "β‖k‖² is the share that a write removes. What multiplies is what it *leaves*, 1 − β‖k‖².", "eq. 4.6"),
        "takes what is removed for what is left": Mistake(
            lambda k, beta, n: (1 - (beta * (k @ k)) ** (1 / n)) / (k @ k),
            "Under the root belongs what one write leaves, 1 − β‖k‖². Yours has what it removes, β‖k‖².", "eq. 4.6"),
        "takes the limit of many small writes": Mistake(lambda k, beta, n: -torch.log1p(-beta * (k @ k)) / n / (k @ k),
            "λ^(1/n) is 1 + log(λ)/n only in the limit of many writes. n = 1 must give β itself.", "eq. 4.6"),
        "divides by the squared length twice": Mistake(
            lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** (1 / n)) / (k @ k) ** 2,
            "The root is right, and 1 − λ′ = β′‖k‖² is to be solved for β′: divide by ‖k‖² once.", "eq. 4.4"),
        "takes the root of β": Mistake(lambda k, beta, n: beta ** (1 / n),
            "What multiplies is not β but what a write *leaves*, λ = 1 − β‖k‖².", "eq. 4.6",
            next="With α = β, what does eq. 4.6 say about λ?"),
        "has the wrong sign": Mistake(lambda k, beta, n: ((1 - beta * (k @ k)) ** (1 / n) - 1) / (k @ k),
            "The size is right, but with a negative strength every write makes the error larger.", "eq. 4.4"),
        "is one step off": Mistake(lambda k, beta, n: (1 - (1 - beta * (k @ k)) ** (1 / (n + 1))) / (k @ k),
            "Yours needs n + 1 writes. There are n of them, and n = 1 must give β itself.", "eq. 4.6"),
    },
    hints=("By eq. 4.6 two writes with one key are one write. What does that mean for λ = 1 − β‖k‖²?",
           "The λ of the two writes are multiplied. n equal ones: λ′ⁿ = λ.",
           "1 − β′‖k‖² = (1 − β‖k‖²)^(1/n). Solve for β′."),
    why="What is left of an error is multiplied at each write, so λ′ is the n-th root of λ. With n = −1 the same "
        "formula gives the inverse, eq. 4.7.",
)


# -- 4.4 Through many tokens -------------------------------------------------------------------------------------------

def through(S, k, beta):
    for t in range(len(k)):
        read = S @ k[t]                                                  # (V,)
        S = S - beta[t] * torch.outer(read, k[t])                        # (V, K)
    return S


def through_by_matrices(S, k, beta):
    return S @ householder.householder_product(k, beta)


def through_by_wy(S, k, beta):
    return S - S @ householder.wy_w(k, beta).mT @ k


def through_by_rule(S, k, beta):
    v = torch.zeros(len(k), len(S), dtype=S.dtype)
    return one_head(delta_rule_recurrent, k, k, v, beta, S)[1]


def reads_the_first_memory(S, k, beta):
    return S - (beta[:, None] * (k @ S.mT)).mT @ k


def through_by(step):
    """A wrong answer to 4.4: the loop with another last line, step(S, read, k_t, beta_t)."""
    def f(S, k, beta):
        for k_t, beta_t in zip(k, beta):
            S = step(S, S @ k_t, k_t, beta_t)
        return S
    return f


def many_tokens(g):
    S, k, beta = real([[1.0, 2.0]]), real([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]), real([0.5, 1.0, 0.5])
    easy = [Case((S, k[:T], beta[:T]), f"easy numbers, T = {T}") for T in (1, 2)]
    return easy + delta_inputs(g, "S k beta", keys=KEYS, betas=("random", "large"), memories=("nonempty",))


exercise(
    id="4.4", title="Through many tokens", kind="code", stars=1, minutes=10, equations=("4.8",),
    reference=through, alternatives=(through_by_wy, through_by_rule), cases=many_tokens,
    prepare=WithoutSquare("forms a K × K matrix", "S k beta"),
    mutants={
        "forms a K × K matrix": Mistake(through_by_matrices,
            "The memory is right. But S M_t as a product of matrices costs 2VK² FLOPs, and no token needs it: what M_t "
            "takes out of S is the read, along the key.", "eq. 4.8",
            next="How much of the key does each row of S hold?"),
        "goes backwards": Mistake(lambda S, k, beta: through(S, k.flip(0), beta.flip(0)),
            "Yours is S M_C … M₁. The state stands on the left, so the first token is met first.", "eq. 4.8",
            next="Which M_t stands next to S₀?"),
        "reads the memory from before the loop": Mistake(reads_the_first_memory,
            "Each token must read what the earlier ones have left. Yours asks the first memory every time.", "eq. 4.8"),
        "forgets beta": Mistake(lambda S, k, beta: through(S, k, torch.ones_like(beta)),
            "Only the share β_t of what is read is taken out. Yours takes all of it.", "eq. 4.8"),
        "doubles beta": Mistake(lambda S, k, beta: through(S, k, 2 * beta),
            "A mirror takes away twice the read because *its* β is 2. Here β_t is given.", "eq. 4.8"),
        "normalizes the keys": Mistake(lambda S, k, beta: through(S, normalize(k, dim=-1), beta),
            "The matrix uses the key as it comes. Normalizing is the layer's decision.", "eq. 4.8"),
        "adds what it should take out": Mistake(
            lambda S, k, beta: through(S, k, -beta), "The sign is wrong: I *minus* β k kᵀ.", "eq. 4.8"),
        "multiplies entry by entry": Mistake(
            lambda S, k, beta: S * torch.stack([1 - b * x * x for x, b in zip(k, beta)]).prod(0),
            "You scaled each column by itself: the diagonal of k kᵀ. The read S k mixes all columns.", "eq. 4.8"),
        "keeps only what is taken out": Mistake(through_by(lambda S, read, k, b: b * torch.outer(read, k)),
            "`β (S k) kᵀ` is what leaves the memory. The new S is the old one *minus* this.", "eq. 4.8"),
        "turns the outer product around": Mistake(through_by(lambda S, read, k, b: S - b * torch.outer(k, read)),
            "What is taken out is (S k) kᵀ: the read stands, (V,), and the key lies, (K,), like S itself.", "eq. 4.8"),
        "forgets the key": Mistake(through_by(lambda S, read, k, b: S - b * read[:, None]),
            "You took the read out of every column. It goes out along the key: an outer product with k.", "eq. 4.8"),
        "forgets to read": Mistake(through_by(lambda S, read, k, b: S - b * k),
            "You took out β kᵀ. How much of the key is to be taken out, the read S k says.", "eq. 4.8"),
        "scales what is left by β": Mistake(through_by(lambda S, read, k, b: b * (S - torch.outer(read, k))),
            "β scales what is taken *out*. Yours takes all of it, and scales what stays.", "eq. 4.8"),
        "shrinks the whole memory by 1 − β": Mistake(through_by(lambda S, read, k, b: (1 - b) * S),
            "Only what lies along the key shrinks. What is across the key stays as it is.", "eq. 4.4"),
        "shrinks the whole memory by λ": Mistake(through_by(lambda S, read, k, b: (1 - b * (k @ k)) * S),
            "λ is what happens along the key. What is across the key stays as it is.", "eq. 4.4"),
        "multiplies β in twice": Mistake(lambda S, k, beta: through(S, k, beta**2),
            "β_t once: it scales the read, or the outer product, not both.", "eq. 4.8"),
        "stops after the first token": Mistake(lambda S, k, beta: through(S, k[:1], beta[:1]),
            "Only the first token has been applied.", "eq. 4.8",
            next="Does the `return` stand inside of the loop?"),
        "mixes the rows": Mistake(lambda S, k, beta: through(S.mT, k.new_ones(len(k), len(S)) / len(S), beta).mT,
            "Keys live in the columns of S: S k, not kᵀ S. The rows belong to the value and do not meet.", "eq. 4.8"),
    },
    hints=("The key reads the memory first: S k has V entries.",
           "What is taken out is an outer product of the read and the key.",
           "`S = S - beta[t] * torch.outer(read, k[t])`."),
)


# -- 4.5 Which of them commute -----------------------------------------------------------------------------------------

def letters(answer):
    """A set of letters, whatever the order and whatever stands between them."""
    if not isinstance(answer, (str, list, tuple, set)):
        raise AnswerError('write the letters as one string, such as "ac"')
    found = "".join(sorted({c for c in "".join(map(str, answer)).lower() if c.isalpha()}))
    if not set(found) <= set("abcdef"):
        raise AnswerError("the pairs are called a, b, c, d, e and f")
    return found


ABOUT = {
    "a": "In a the keys are parallel: both matrices change one direction, by numbers.",
    "b": "In b the keys are orthogonal: neither matrix touches what the other changes.",
    "c": "In c the keys overlap, k₁ᵀk₂ = 0.6, and are not parallel: the order shows.",
    "d": "In d the keys are orthogonal: 1 · 1 + 1 · (−1) = 0.",
    "e": "In e one of the matrices is the identity, because its β is 0.",
    "f": "In f the keys overlap, k₁ᵀk₂ = 0.6, and are not parallel: two mirrors turn, and the order says which way.",
}


def every_other_choice(named):
    """A Mistake for each wrong set of letters that has no name yet: which are wrong, and why the first of them is."""
    made, given = dict(named), {"abde", *(mistake.answer for mistake in named.values())}
    for n in range(1, 7):
        for chosen in map("".join, itertools.combinations("abcdef", n)):
            if chosen not in given:
                wrong = sorted(set("abde") ^ set(chosen))
                made[f"is wrong about {', '.join(wrong)}"] = Mistake(chosen, ABOUT[wrong[0]], "eq. 4.11")
    return made


exercise(
    id="4.5", title="Which of them commute?", kind="predict", stars=2, minutes=10, equations=("4.11",),
    reference="abde", prepare=letters,
    mutants=every_other_choice({
        "overlooks that β = 0 does nothing": Mistake("abd",
            "In e one of the matrices is the identity, and the identity commutes with everything.", "eq. 4.11"),
        "takes all of them": Mistake("abcdef",
            "c and f have overlapping keys that are not parallel. It does not help that their β are equal, nor that "
            "every M is symmetric: try a row by hand.", "eq. 4.11",
            next="Compute k₁ᵀk₂ for c."),
        "believes that mirrors always commute": Mistake("abdef",
            "Two mirrors make a turn from k₁ towards k₂; the other order turns the other way. They agree only for "
            "parallel or orthogonal keys.",
            "eq. 4.9"),
        "forgets the parallel keys": Mistake("bde",
            "Parallel keys change the same direction, by numbers; numbers may be multiplied in any order.", "eq. 4.6"),
        "takes only the orthogonal keys": Mistake("bd",
            "A product of three factors is zero if any of them is: look at the β too, and at the bracket, which needs "
            "parallel keys.", "eq. 4.11"),
        "asks for unit keys": Mistake("e",
            "Lengths do not matter for the question. Parallel or orthogonal is what counts.", "eq. 4.11"),
        "forgets the orthogonal keys": Mistake("ae",
            "Orthogonal keys do not meet: each leaves what the other touches alone.", "eq. 4.11"),
        "names those that do not": Mistake("cf", "You named the pairs for which the order *matters*.", "eq. 4.11"),
    }),
    hints=("The difference of the two orders has a factor β₁β₂ and a factor k₁ᵀk₂. When are they zero?",
           "There is a third way to zero: k₁k₂ᵀ = k₂k₁ᵀ. For which keys?",
           "Check d by its overlap and e by its β. Only two pairs do not commute."),
    why="a: parallel. b and d: orthogonal. e: one of them is I. In c and f the overlap is 0.6, and the keys are not "
        "parallel.",
)
