"""The exercises of chapter 4, in order: each with its solutions, mistakes and hints."""

import itertools
import math

import torch
from torch.nn.functional import normalize

from ...ops.delta_rule import delta_rule_recurrent, householder
from ...tutor import AnswerError, Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, normal, smallest_first, unit_keys
from ..common import KEYS, eye_like, one_head, real
from .mirrors import by_neighbors, hand_of, shuffle_by, turned, with_a_swap_per_place, without_bookkeeping


def M(k, beta):
    return eye_like(k) - beta * torch.outer(k, k)


# -- 4.1 One key by hand -----------------------------------------------------------------------------------------------

exercise(
    id="4.1", title="One key by hand", kind="predict", stars=1, minutes=5, equations=("4.8",),
    reference=(-1.4, 0.8), tolerance=1e-3,
    mutants={
        "takes the key for a unit key": Mistake((0.52, 1.76),
            "You divided by the length of the key. The matrix uses the key as it comes, twice.", "eq. 4.8"),
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
            "You divided the key by its length at one of its two places. The matrix uses it as it comes.", "eq. 4.8"),
        "takes the number from every entry": Mistake((-0.2, 0.8),
            "β S k = 1.2 is what is taken out along the *key*: 1.2 · (2, 1), not 1.2 from each entry.", "eq. 4.8"),
        "scales the whole memory": Mistake((-0.5, -1.0),
            "λ = −0.5 is what happens along the key. What is across the key stays as it is.", "eq. 4.4",
            next="Which part of (1, 2) lies along (2, 1)?"),
        "takes out the memory in the place of the key": Mistake((-0.2, -0.4),
            "You subtracted 1.2 · (1, 2). What is taken out lies along the key, (2, 1).", "eq. 4.8"),
        "subtracts from ones in the place of I": Mistake((0.6, 1.8),
            "I has ones on its diagonal only. Off the diagonal I − β k kᵀ has −0.6, not 1 − 0.6.", "eq. 4.8"),
        "takes the entries one by one": Mistake((-0.2, 1.4),
            "You used the diagonal of k kᵀ only. The read S k is one number, a sum over all entries, and it changes "
            "both.", "eq. 4.8"),
        "returns what is taken out": Mistake((2.4, 1.2), "That is β (S k) kᵀ. What is *left* is S minus this.",
            "eq. 4.8"),
        "forgets to read": Mistake((0.4, 1.7),
            "You took out β kᵀ. How much of the key is to be taken out, the read S k says.", "eq. 4.8"),
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


def rows_and_key(g):
    made = [Case((real([[1.0, 2.0]]), real([0.6, 0.8])), "easy numbers, unit key"),
            Case((real([[1.0, 2.0]]), real([1.0, 1.0])), "easy numbers, unnormalized key")]
    for N, K in ((1, 3), (4, 3), (5, 2), (3, 6)):
        made += [Case((normal(g, N, K), unit_keys(g, K)), f"unit key, N = {N}"),
                 Case((normal(g, N, K), normal(g, K)), f"unnormalized key, N = {N}")]
    return smallest_first(made)


exercise(
    id="4.2", title="Find the bug: a mirror that stretches", kind="bug", stars=1, minutes=5, equations=("4.1",),
    reference=mirrored, alternatives=(mirrored_by_matrix, mirrored_by_projection), cases=rows_and_key,
    mutants={
        "believes that β = 2 is always a mirror": Mistake(lambda X, k: X - 2 * (X @ k)[:, None] * k,
            "The key enters twice, so its length enters squared. β = 2 is a mirror for unit keys; in general β‖k‖² "
            "must be 2.", "eq. 4.1",
            next="For k = (1, 1), which β gives β‖k‖² = 2?"),
        "divides by the length once": Mistake(lambda X, k: X - 2 / k.norm() * (X @ k)[:, None] * k,
            "‖k‖ is not enough: there are two k in k kᵀ. Divide by ‖k‖².", "eq. 4.1"),
        "multiplies by the squared length": Mistake(lambda X, k: X - 2 * (k @ k) * (X @ k)[:, None] * k,
            "The key is too long twice already, and yours makes it longer still. Divide by ‖k‖².", "eq. 4.1"),
        "divides by the length four times": Mistake(lambda X, k: X - 2 / (k @ k) ** 2 * (X @ k)[:, None] * k,
            "There are two k in k kᵀ, so ‖k‖² is what must go. Yours divides by ‖k‖⁴.", "eq. 4.1"),
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


def only_what_is_taken_out(S, k, beta):
    for k_t, beta_t in zip(k, beta):
        S = beta_t * torch.outer(S @ k_t, k_t)
    return S


def many_tokens(g):
    S, k, beta = real([[1.0, 2.0]]), real([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]]), real([0.5, 1.0, 0.5])
    easy = [Case((S, k[:T], beta[:T]), f"easy numbers, T = {T}") for T in (1, 2)]
    return easy + delta_inputs(g, "S k beta", keys=KEYS, betas=("random", "large"), memories=("nonempty",))


exercise(
    id="4.4", title="Through many tokens", kind="code", stars=1, minutes=10, equations=("4.8",),
    reference=through, alternatives=(through_by_matrices, through_by_wy, through_by_rule), cases=many_tokens,
    mutants={
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
        "keeps only what is taken out": Mistake(only_what_is_taken_out,
            "`β (S k) kᵀ` is what leaves the memory. The new S is the old one *minus* this.", "eq. 4.8"),
        "multiplies β in twice": Mistake(lambda S, k, beta: through(S, k, beta**2),
            "β_t once: it scales the read, or the outer product, not both.", "eq. 4.8"),
        "stops after the first token": Mistake(lambda S, k, beta: through(S, k[:1], beta[:1]),
            "Only the first token has been applied.", "eq. 4.8",
            next="Is the result assigned back to S inside the loop?"),
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
        "thinks that equal strengths are enough": Mistake("abcdef",
            "c and f have overlapping keys that are not parallel. Equal β do not help: try a row by hand.", "eq. 4.11",
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
        "takes only what is on the axes": Mistake("abe",
            "In d the keys are orthogonal as well: 1 · 1 + 1 · (−1) = 0.", "eq. 4.11"),
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


# -- 4.6 A clock -------------------------------------------------------------------------------------------------------

def clock(n):
    angle = math.pi / n                                                  # half of the turn
    return torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)


def clock_started_elsewhere(n):
    turn = torch.tensor([0.7, 0.7 + math.pi / n], dtype=torch.float64)
    return torch.stack([turn.cos(), turn.sin()], -1)


def clock_with_opposite_key(n):
    return clock(n) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


exercise(
    id="4.6", title="A clock with n hours", kind="open", stars=3, minutes=15, equations=("4.9",), tolerance=1e-8,
    reference=clock, alternatives=(clock_started_elsewhere, clock_with_opposite_key), prepare=hand_of, sources=(clock,),
    cases=lambda g: [Case((n,), f"n = {n}") for n in (3, 4, 5, 12, 60)],
    mutants={
        "turns twice as far": Mistake(turned(lambda n: 2 * math.pi / n),
            "Two mirrors turn by *twice* the angle between their keys. Your clock skips every second hour.", "eq. 4.9"),
        "runs backwards": Mistake(turned(lambda n: -math.pi / n),
            "The hand goes from k₁ towards k₂. Yours goes clockwise.", "eq. 4.9", next="Exchange the two keys."),
        "turns half as far": Mistake(turned(lambda n: math.pi / (2 * n)),
            "After n hours your hand has gone half way round. The angle between the keys is half the turn, and the "
            "turn is 2π/n.", "eq. 4.9"),
        "stands still": Mistake(turned(lambda n: 0.0),
            "Both keys are the same, and a mirror undoes itself.", "eq. 4.2",
            next="Which angle between the keys makes one hour?"),
        "writes degrees where radians belong": Mistake(turned(lambda n: 180 / n),
            "`math.cos` takes radians: half a turn is π, not 180.", "eq. 4.9"),
        "writes the whole turn, in degrees": Mistake(turned(lambda n: 360 / n),
            "`math.cos` takes radians: a whole turn is 2π, not 360. And the angle between the keys is half of an "
            "hour's turn.",
            "eq. 4.9"),
        "forgets π": Mistake(turned(lambda n: 1 / n),
            "Angles are in radians: half a turn is π, so the keys stand at π/n, not at 1/n.", "eq. 4.9"),
        "always turns by a right angle": Mistake(turned(lambda n: math.pi / 4),
            "That is the clock with 4 hours, for every n.", "eq. 4.9"),
        "flips instead of turning": Mistake(turned(lambda n: math.pi / 2),
            "Mirrors across orthogonal keys make half a turn: a clock with two hours.", "eq. 4.9"),
    },
    hints=("One hour is a turn by 2π/n. Two mirrors turn by twice the angle between their keys.",
           "So the keys stand at an angle of π/n. The first may point anywhere.",
           "(1, 0), and (cos π/n, sin π/n) as the second key, for the right sense of rotation."),
)


# -- 4.7 The shell game ------------------------------------------------------------------------------------------------

def follow(S, swaps):
    for i, j in swaps.tolist():
        k = torch.zeros(S.shape[1], dtype=S.dtype)
        k[i], k[j] = 1, -1
        S = S - torch.outer(S @ k, k)
    return S


def follow_by_index(S, swaps):
    order = list(range(S.shape[1]))
    for i, j in swaps.tolist():
        order[i], order[j] = order[j], order[i]
    return S[:, order]


def follow_by_unit_keys(S, swaps):
    k = (torch.eye(S.shape[1], dtype=S.dtype)[swaps] * real([[1.0], [-1.0]])).sum(1) / math.sqrt(2)
    return through(S, k, torch.full((len(k),), 2.0, dtype=S.dtype))


def games(g):
    S = real([[1.0, 2.0, 3.0]])
    made = [Case((S, torch.tensor([[0, 1]])), "easy numbers, 1 swap"),
            Case((S, torch.tensor([[0, 1], [1, 2]])), "easy numbers, 2 swaps")]
    for V, K, n in ((2, 3, 1), (1, 4, 3), (2, 5, 8)):
        swaps = torch.stack([torch.randperm(K, generator=g)[:2] for _ in range(n)])
        made.append(Case((normal(g, V, K), swaps), f"random, {n} swap{'s' * (n > 1)}"))
    return made


exercise(
    id="4.7", title="The shell game", kind="order", stars=2, minutes=10, equations=("4.13",),
    reference="DCEAB", alternatives=(follow, follow_by_index, follow_by_unit_keys), cases=games,
    prepare=order_the_lines(
        {"A": "    S = S - torch.outer(S @ k, k)", "B": "return S",
         "C": "    k = torch.zeros(S.shape[1], dtype=S.dtype)",
         "D": "for i, j in swaps.tolist():", "E": "    k[i], k[j] = 1, -1"},
        "def follow(S, swaps):", "follow", distractors={"F": "    S = S - 2 * torch.outer(S @ k, k)", "G": "    k[i], "
                                                                                                           "k[j] = 1, "
                                                                                                           "1"}),
    mutants={
        "takes β = 2 for a key of length √2": Mistake("DCEFB",
            "k = (1, −1) has ‖k‖² = 2, so the mirror is at β = 1. With β = 2 the eigenvalue is −3.", "eq. 4.13",
            next="A and F differ by one factor. What is β‖k‖² in each?"),
        "mirrors across the sum": Mistake("DCGAB",
            "With k = e_i + e_j the two entries change places *and* signs. The difference of the two is what must "
            "flip.", "eq. 4.13"),
        "moves nothing": Mistake("DCAEB",
            "S is updated with a key of zeros, or not at all. E fills the key, and A comes after it.", "eq. 4.13"),
        "never makes a key": Mistake("DEAB",
            "E writes into k, and nothing has made it. C does, afresh for each swap.", "eq. 4.13"),
        "returns nothing": Mistake("DCEA", "Without B the function ends with nothing to give back.", "eq. 4.13"),
        "needs the key before there is one": Mistake("DECAB",
            "One of your lines uses k, and C, which makes it, comes only later.",
            next="Which line must stand right after D?"),
        "makes both mistakes": Mistake("DCGFB",
            "The key must be a difference, and β‖k‖² must be 2. Neither F nor G belongs.", "eq. 4.13"),
        "swaps twice": Mistake("DCEAFB",
            "A and F both update S. A mirror does the whole swap alone.", "eq. 4.13",
            next="One of A and F is a decoy."),
    },
    hints=("The key is made afresh for each swap: zeros, then two entries.",
           "Of A and F one belongs, of E and G one. What is β‖k‖² for k = (1, −1)?",
           "D first, B last, and between them make the key before you use it."),
)


# -- 4.8 A shuffle as mirrors ------------------------------------------------------------------------------------------

def mirrors(p):
    keys, where = [], list(range(len(p)))                                # which column stands at each place by now
    for place in range(len(p)):
        other = where.index(int(p[place]))
        if other != place:
            k = torch.zeros(len(p), dtype=torch.float64)
            k[place], k[other] = math.sqrt(0.5), -math.sqrt(0.5)
            keys.append(k)
            where[place], where[other] = where[other], where[place]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def mirrors_of_any_matrix(p):
    return householder.reflections(torch.eye(len(p), dtype=torch.float64)[:, p])


def mirrors_by_cycles(p):
    """Each cycle of n places is n - 1 swaps with its first member."""
    keys, seen = [torch.zeros(0, len(p), dtype=torch.float64)], set()
    for start in range(len(p)):
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start)
            start = int(p[start])
        for a, b in zip(cycle, cycle[1:]):
            e = torch.eye(len(p), dtype=torch.float64)
            keys.append((e[a] - e[b])[None] * math.sqrt(0.5))
    return torch.cat(keys)


def with_a_key_per_place(p):
    """Keeps the fixed places: their keys are zero."""
    needed = mirrors(p)
    return torch.cat([needed, torch.zeros(len(p) - len(needed), len(p), dtype=needed.dtype)])


def shuffles(g):
    fixed = ([1, 0], [0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 3, 2], [3, 0, 1, 2], [1, 3, 0, 2])
    drawn = [torch.randperm(K, generator=g) for K in (5, 6, 8)]
    return [Case((torch.as_tensor(p),), f"K = {len(p)}") for p in (*fixed, *drawn)]


exercise(
    id="4.8", title="A shuffle as mirrors", kind="code", stars=4, minutes=30, equations=("4.13", "4.14"),
    reference=mirrors, alternatives=(mirrors_of_any_matrix, mirrors_by_cycles),
    prepare=shuffle_by, sources=(mirrors,), cases=shuffles,
    mutants={
        "shuffles the other way": Mistake(lambda p: mirrors(p).flip(0),
            "Your mirrors are right and stand in the opposite order: together they undo the shuffle. The first key "
            "meets the memory first.",
            "eq. 4.14", next="Try the cycle [1, 2, 0]: which column should stand first?"),
        "spends a key on places that stay": Mistake(with_a_key_per_place,
            "The shuffle is right. A column that is already in its place needs no mirror, and a key of length 0 is "
            "none.",
            "eq. 4.14"),
        "swaps neighbors only": Mistake(by_neighbors,
            "The shuffle is right, with more mirrors than necessary. A swap may reach as far as it likes.", "eq. 4.14",
            next="After one mirror, at least one more column can be in its final place."),
        "forgets what it has already moved": Mistake(without_bookkeeping,
            "After a swap the columns stand elsewhere. Keep a list of who stands where.", "eq. 4.14",
            next="In the cycle [1, 2, 0], where is column 0 after the first swap?"),
        "swaps once for every displaced place": Mistake(with_a_swap_per_place,
            "For p = [1, 0] those are two swaps of the same pair, and nothing has happened. After a swap, look again "
            "who stands where.", "eq. 4.14"),
        "leaves the keys too long": Mistake(lambda p: mirrors(p) * math.sqrt(2),
            "With β = 2 the key must have length 1. Yours has length √2, and the mirror stretches.", "eq. 4.13"),
        "makes the keys too short": Mistake(lambda p: mirrors(p) * math.sqrt(0.5),
            "e_i − e_j has length √2: divided by √2 it has length 1, divided by 2 it has length √½, and with β = 2 "
            "that erases.",
            "eq. 4.13"),
        "has no answer where nothing moves": Mistake(lambda p: torch.stack([*mirrors(p)]),
            "For the identity the list of keys is empty, and `torch.stack` refuses an empty list: give a (0, K) "
            "tensor.",
            "eq. 4.14"),
        "mirrors across the sums": Mistake(lambda p: mirrors(p).abs(),
            "e_i + e_j swaps the two entries and flips both signs. The difference e_i − e_j must flip.", "eq. 4.13"),
        "stops after the first swap": Mistake(lambda p: mirrors(p)[:1],
            "One swap is not enough: a cycle of n columns takes n − 1.", "eq. 4.14"),
        "loses the last swap": Mistake(lambda p: mirrors(p)[:-1],
            "One mirror is missing at the end.", "eq. 4.14",
            next="Does your loop reach the last place that has to move?"),
    },
    hints=("Go from left to right. At each place: which column should stand here, and where does it stand now?",
           "If it stands elsewhere, swap the two places: one key, (e_i − e_j)/√2. Then note the swap in your list.",
           "`where = list(range(K))`; for each place `other = where.index(p[place])`; after the key, "
           "exchange `where[place]` and `where[other]`."),
)
