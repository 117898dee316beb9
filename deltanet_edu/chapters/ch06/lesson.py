"""Chapter 6: the UT transform. The equations and the predictions of its lesson."""

import math

import torch

from ...ops.delta_rule import householder
from ...tutor import equation, prediction
from ..common import eye_like, inputs, real
from .problems import UT_by_inverse, system_by_loop, triangles

# -- equations ---------------------------------------------------------------------------------------------------------

@equation("6.1", r"(I + A)\,U = \mathrm{diag}(\beta)\,V")
def _(g):
    for k, v, beta in inputs(g, "k v beta"):
        A = householder.ut_system(k, beta)
        yield "the recurrence solves the system", (eye_like(A) + A) @ householder.wy_u(k, v, beta), beta[:, None] * v


@equation("6.2", r"A = \mathrm{stril}\big(\mathrm{diag}(\beta)\, K K^\top\big), "
                 r"\qquad A_{ti} = \beta_t\, k_t^\top k_i \ \text{ for } i < t")
def _(g):
    for k, beta in inputs(g, "k beta"):
        yield "matrix = entries", (torch.diag(beta) @ k @ k.mT).tril(-1), system_by_loop(k, beta)


@equation("6.3", r"\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta), \qquad W = \mathbf{T} K, \qquad U = \mathbf{T} V")
def _(g):
    for k, v, beta in inputs(g, "k v beta"):
        UT = UT_by_inverse(k, beta)
        yield "UT K = the w recurrence", UT @ k, householder.wy_w(k, beta)
        yield "UT V = the u recurrence", UT @ v, householder.wy_u(k, v, beta)
        yield "the triangular solve gives UT", householder.ut_by_solve(k, beta), UT


@equation("6.4", r"r_t = e_t - \sum_{i<t} A_{ti}\, r_i")
def _(g):
    for (A,) in (case.args for case in triangles(g)):
        rows = torch.linalg.inv(eye_like(A) + A)
        yield "rows of the inverse", rows, torch.stack([eye_like(A)[t] - A[t, :t] @ rows[:t] for t in range(len(A))])
        yield "the loop = the inverse", householder.inverse_by_substitution(A), rows


@equation("6.5", r"\begin{pmatrix} L_{11} & 0 \\ A_{21} & L_{22} \end{pmatrix}^{-1} = "
                 r"\begin{pmatrix} L_{11}^{-1} & 0 \\ -L_{22}^{-1} A_{21} L_{11}^{-1} & L_{22}^{-1} \end{pmatrix}")
def _(g):
    for (A,) in (case.args for case in triangles(g)):
        L, h = eye_like(A) + A, len(A) // 2
        top, bottom = torch.linalg.inv(L[:h, :h]), torch.linalg.inv(L[h:, h:])
        right = torch.block_diag(top, bottom)
        right[h:, :h] = -bottom @ A[h:, :h] @ top
        yield "one cut", torch.linalg.inv(L), right
        yield "all the way down", householder.inverse_by_blocks(A), torch.linalg.inv(L)


@equation("6.6", r"(I + A)^{-1} = \sum_{n=0}^{C-1} (-A)^n = (I - A)(I + A^2)(I + A^4)(I + A^8) \cdots")
def _(g):
    for (A,) in (case.args for case in triangles(g)):
        series = sum(torch.linalg.matrix_power(-A, n) for n in range(len(A)))
        product, n = eye_like(A) - A, 2
        while n < len(A):
            product, n = product @ (eye_like(A) + torch.linalg.matrix_power(A, n)), 2 * n
        yield "the inverse = the sum", torch.linalg.inv(eye_like(A) + A), series
        yield "the sum = the product", series, product
        yield "A to the power C is zero", torch.linalg.matrix_power(A, len(A)), 0 * A


def path_sum(A, i, t):
    """The sum over all paths i = p_0 < p_1 < ... < p_n = t of the products of -A along their hops."""
    if i == t:
        return A.new_ones(())
    return sum((-A[t, s] * path_sum(A, i, s) for s in range(i, t)), A.new_zeros(()))


@equation("6.7", r"\big[(I + A)^{-1}\big]_{ti} = \sum_{i = p_0 < p_1 < \cdots < p_n = t} "
                 r"(-A_{p_1 p_0})(-A_{p_2 p_1}) \cdots (-A_{p_n p_{n-1}})")
def _(g):
    for (A,) in (case.args for case in triangles(g)):
        paths = torch.zeros_like(A)
        for t in range(len(A)):
            for i in range(t + 1):
                paths[t, i] = path_sum(A, i, t)
        yield "the inverse = the sum over paths", torch.linalg.inv(eye_like(A) + A), paths


def by_number_of_hops(beta, d):
    """The paths over d tokens, all equal: (-beta)^n for each of the paths with n hops."""
    return sum(math.comb(d - 1, n - 1) * (-beta) ** n for n in range(1, d + 1))


@equation("6.8", r"\big[(I + A)^{-1}\big]_{ti} = \sum_{n=1}^{t-i} \binom{t-i-1}{n-1} (-\beta)^n "
                 r"= -\beta\,(1-\beta)^{t-i-1} \qquad (i < t)")
def _(g):
    for beta in (0.0, 0.3, 1.0, 1.7):
        k = torch.nn.functional.normalize(torch.randn(1, 3, generator=g, dtype=torch.float64), dim=-1).expand(9, 3)
        inverse = householder.inverse_by_substitution(householder.ut_system(k, real([beta] * 9)))
        pairs = [(t, i) for t in range(9) for i in range(t)]
        entries = torch.stack([inverse[t, i] for t, i in pairs])
        hops = real([by_number_of_hops(beta, t - i) for t, i in pairs])
        yield "the inverse = the sum over hops", entries, hops
        yield "the sum = the closed form", hops, real([-beta * (1 - beta) ** (t - i - 1) for t, i in pairs])


@equation("6.9", r"\mathbf{T}_{ti} = -\beta_t \beta_i\; k_i^\top M_{i+1} M_{i+2} \cdots M_{t-1}\, k_t \qquad (i < t)")
def _(g):
    for k, beta in inputs(g, "k beta"):
        UT, right = householder.ut_by_solve(k, beta), torch.diag(beta)
        for t in range(len(k)):
            for i in range(t):
                between = householder.householder_product(k[i + 1:t], beta[i + 1:t])
                right[t, i] = -beta[t] * beta[i] * (k[i] @ between @ k[t])
        yield "entries of UT = a key sent through the erasures", UT, right


@equation("6.10", r"M_1 M_2 \cdots M_C = I - K^\top \mathbf{T}^\top K, "
                  r"\qquad \mathbf{T}^{-1} = \mathrm{diag}(\beta)^{-1} + \mathrm{stril}(K K^\top)")
def _(g):
    for k, beta in inputs(g, "k beta"):
        UT = householder.ut_by_solve(k, beta)
        yield "the product from UT", householder.householder_product(k, beta), eye_like(k) - k.mT @ UT.mT @ k
        if (beta != 0).all():
            yield "the inverse of UT", torch.linalg.inv(UT), torch.diag(1 / beta) + (k @ k.mT).tril(-1)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "6.a", question="Everyone starts from u = βv and corrects with everyone else's current guess, round after round. "
                    "After how many rounds is "
                    "token t right for certain, whatever the keys?",
    options={
        "never": "Corrections do come to an end: token 1 never changes, so token 2 settles, and then token 3.",
        "1": "Only token 2 is certain after one round: it corrected with u₁, which was right from the start. Token 3 "
             "corrected with a wrong u₂.",
        "log₂ t": "That would need every round to double what is known. But token t is right only when all tokens "
                  "before it were right a round earlier.",
        "t − 1": "Token 1 is right at once, token 2 one round later, and so on: each round makes one more token "
                 "certain.",
    },
    answer="t − 1",
)

prediction(
    "6.b", question="The keys of tokens 1 and 3 are orthogonal, so A₃₁ = 0. Is the entry (3, 1) of (I + A)⁻¹ zero as "
                    "well?",
    options={
        "no": "Token 1 reaches token 3 through token 2, which overlaps with both: the entry is A₃₂A₂₁ = 0.8 · 0.3 = "
              "0.24.",
        "yes": "Token 3 does not read what token 1 wrote. But it reads what token 2 wrote, and token 2 wrote less "
               "because of token 1.",
    },
    answer="no",
)

prediction(
    "6.c", question="64 equal unit keys with β = 1. The entries of (I + A)⁻¹ are 1, −1 and 0. The power series "
                    "computes it in float32. How large is "
                    "its largest error?",
    options={
        "about 1e-7": "That is float32 at its best, and what the series gives for *random* keys.",
        "about 1e-3": "Each product loses a little, but this is not a little.",
        "more than a million": "The powers of A grow to 5e17 before they cancel to 1, −1 and 0. Float32 keeps 7 digits "
                               "of them, and what it drops is far larger "
                               "than the answer.",
    },
    answer="more than a million",
)

prediction(
    "6.d", question="Which way to UT needs the fewest steps that wait for each other, for C = 64?",
    options={
        "row substitution": "63 rows, each waiting for the one before.",
        "power series": "10 products, of which 5 squarings wait for each other and 5 more can follow along: about 6 in "
                        "a row. Fewest steps, and ruined by repeated "
                        "keys.",
        "inverse by halves": "6 levels with two products each, 12 in a row, and everything on one level runs side by "
                             "side.",
    },
    answer="power series",
)
