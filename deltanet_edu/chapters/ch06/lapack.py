"""Exercise 6.8: LAPACK's T, which is UT transposed."""

import math
from functools import partial

import torch

from ...ops.delta_rule.householder import inverse_by_substitution, ut_by_solve, ut_system
from ...tutor import Mistake, exercise
from ..common import eye_like, lapack_cases, lapack_keys


def larft(a, tau):
    keys = a.tril(-1).mT + torch.eye(len(tau), len(a), dtype=a.dtype)    # (n, m)  tokens are rows
    return ut_by_solve(keys, tau).mT                                     # Q = I - K^T UT^T K, and Y = K^T


def larft_of(A, tau):
    """A wrong answer's T from another A than that of the exercise."""
    return (torch.linalg.inv(eye_like(A) + A) * tau).mT.contiguous()


def q_of(a, tau):
    return torch.eye(len(a), dtype=a.dtype) - lapack_keys(a).mT @ larft(a, tau) @ lapack_keys(a)


def overlaps(a):
    """Of LAPACK's vectors with each other: (n, n)."""
    return lapack_keys(a) @ lapack_keys(a).mT


def larft_with(small):
    """A mutant: inverts diag(τ), with a small number in the place of zero."""
    return lambda a, tau: torch.linalg.inv(torch.diag(1 / (tau + small)) + overlaps(a).triu(1))


def larft_by_columns(a, tau):
    Y, n = lapack_keys(a).mT, len(tau)
    T = torch.diag(tau)                                                  # LAPACK's
    for j in range(1, n):
        T[:j, j] = -tau[j] * (T[:j, :j] @ (Y[:, :j].mT @ Y[:, j]))
    return T


def larft_by_upper_inverse(a, tau):
    Y = lapack_keys(a).mT
    upper = (Y.mT @ Y).triu(1)
    return torch.diag(tau) @ torch.linalg.inv(eye_like(upper) + upper * tau)


def larft_with_one(a, tau, one=1.0):
    """A mutant: a vector that is not used counts with τ = 1."""
    return larft(a, torch.where(tau == 0, one, tau))


exercise(
    id="6.8", title="LAPACK's T", kind="open", stars=4, minutes=25, equations=("6.3", "6.10"),
    reference=larft, alternatives=(larft_by_columns, larft_by_upper_inverse), cases=lapack_cases, tolerance=1e-12,
    mutants={
        "returns UT, not LAPACK's T": Mistake(lambda a, tau: larft(a, tau).mT.contiguous(),
            "That is lower triangular. LAPACK writes Q = I − Y T Yᵀ with vectors as columns, and Y = Kᵀ: its "
            "T is the transpose of our UT.", "eq. 6.10"),
        "leaves tau out": Mistake(
            lambda a, tau: inverse_by_substitution(ut_system(lapack_keys(a), tau)).mT.contiguous(),
            "The diagonal of T holds tau, yours holds ones: diag(τ) is missing.", "eq. 6.3"),
        "has diag(τ) on the wrong side": Mistake(
            lambda a, tau: (inverse_by_substitution(ut_system(lapack_keys(a), tau)).mT * tau).contiguous(),
            "diag(β) scales the columns of UT, so it scales the *rows* of its transpose.", "eq. 6.3"),
        "counts tau twice": Mistake(lambda a, tau: larft(a, tau) * tau,
            "diag(τ) comes in once, and `ut_by_solve` has multiplied with it already.", "eq. 6.3"),
        "computes τ from the length of the vectors": Mistake(
            lambda a, tau: larft(a, 2 / (lapack_keys(a) ** 2).sum(-1)),
            "2/‖y‖² makes every factor a reflection. The exercise asks for any τ, zero included.",
            next="τ is β: use it as it is."),
        "forgets to invert": Mistake(lambda a, tau: torch.diag(tau) + overlaps(a).triu(1),
            "The overlaps as they are stand in the *inverse* of T, beside 1/τ on its diagonal. T itself is asked for.",
            "eq. 6.10"),
        "gives NaN where a τ is zero": Mistake(
            lambda a, tau: larft(a, tau) * torch.where((tau == 0).any(), math.nan, 1.0),
            "Right, but NaN for a τ of zero. T has no inverse then, and exists all the same.", "eq. 6.3",
            next="Which way to T never divides by τ?"),
        "uses `a` as it is": Mistake(lambda a, tau: ut_by_solve(a.mT.contiguous(), tau).mT.contiguous(),
            "On and above its diagonal `a` holds R, which belongs to no vector.",
            next="`a.tril(-1)`, plus an identity."),
        "keeps the entries of R above the ones": Mistake(
            lambda a, tau: ut_by_solve((a.triu(1) + lapack_keys(a).mT).mT.contiguous(), tau).mT.contiguous(),
            "The 1 is in its place, but above position t a vector is zero. What `a` holds there belongs to R.",
            next="`a.tril(-1)`, plus an identity."),
        "gives Q": Mistake(q_of, "Q = I − Y T Yᵀ is (m, m). The small matrix in its middle is asked for, (n, n)."),
        "leaves τ_t out of what is not on the diagonal": Mistake(
            lambda a, tau: larft_of(overlaps(a).tril(-1), tau),
            "Vector t counts with its τ_t everywhere: A = stril(diag(β) K Kᵀ) has β_t in row t, and so T has it in "
            "column t, above the diagonal too. Yours takes the overlaps as they are.", "eq. 6.2"),
        "scales the overlaps by the earlier τ": Mistake(
            lambda a, tau: larft_of((overlaps(a) * tau).tril(-1), tau),
            "Row t of A is scaled by τ_t, the strength of the later vector. Yours has τ_i.", "eq. 6.2"),
        "keeps the diagonal of the overlaps": Mistake(
            lambda a, tau: larft_of((tau[:, None] * overlaps(a)).tril(), tau),
            "A is *strictly* lower: no vector meets itself. `tril(-1)`, or `triu(1)` of the transpose.", "eq. 6.2"),
        "has the wrong sign off the diagonal": Mistake(
            lambda a, tau: (inverse_by_substitution(-ut_system(lapack_keys(a), tau)) * tau).mT.contiguous(),
            "It comes out if I − A is inverted, or if a column is built up by a recurrence without its minus: vector t "
            "meets what the earlier ones have taken away.", "eq. 6.1"),
        "uses the vectors without their leading ones": Mistake(
            lambda a, tau: ut_by_solve(a.tril(-1).mT.contiguous(), tau).mT.contiguous(),
            "Each vector has a 1 in position t that is not stored. Exercise 5.7 adds it.",
            next="Add an identity of shape (n, m)."),
        "keeps the diagonal of R": Mistake(
            lambda a, tau: ut_by_solve(a.tril().mT.contiguous(), tau).mT.contiguous(),
            "On its diagonal `a` holds an entry of R. Each vector has a 1 there, which is not stored.",
            next="`a.tril(-1)`, plus an identity."),
        "inverts diag(τ)": Mistake(
            lambda a, tau: torch.linalg.inv(torch.linalg.inv(torch.diag(tau)) + overlaps(a).triu(1)),
            "(6.10) gives the inverse of T, if there is one. With a τ = 0 there is none, and T exists all the same.",
            "eq. 6.3",
            next="Which way to T never divides by β?"),
        "inverts with τ where 1/τ belongs": Mistake(
            lambda a, tau: torch.linalg.inv(torch.diag(tau) + overlaps(a).triu(1)),
            "In (6.10) the diagonal of T⁻¹ is 1/τ: with one vector T = τ, and yours is 1/τ. And a τ = 0 has no 1/τ.",
            "eq. 6.10", next="Which way to T never divides by τ?"),
        "takes a pseudoinverse for the inverse of diag(τ)": Mistake(
            lambda a, tau: torch.linalg.pinv(torch.linalg.pinv(torch.diag(tau)) + overlaps(a).triu(1)),
            "With a τ = 0 the sum in (6.10) is no inverse of T any more, and a pseudoinverse of it is another matrix.",
            "eq. 6.3", next="Which way to T never divides by τ?"),
        **{f"adds {small:g} to tau": Mistake(larft_with(small),
            "It avoids 1/0, but a τ of zero means that the vector is not used at all: its row of T is zero, and yours "
            "is only small.", "eq. 6.3", next="Which way to T never divides by τ?")
           for small in (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)},
        **{f"takes {small:g} for a τ of zero": Mistake(partial(larft_with_one, one=small),
            "It avoids 1/0, but a τ of zero means that the vector is not used at all: its row of T is zero, and yours "
            "is only small.", "eq. 6.3", next="Which way to T never divides by τ?")
           for small in (1e-10, 1e-8, 1e-6)},
        "takes 1 for a τ of zero": Mistake(larft_with_one,
            "It avoids 1/0, but a τ of zero means that the vector is not used at all: its row and its column of T are "
            "zero. With 1 it counts in full.", "eq. 6.3", next="Which way to T never divides by τ?"),
        "clears only the row of a τ of zero": Mistake(
            lambda a, tau: larft_with_one(a, tau) * (tau != 0)[:, None],
            "Its row is zero now, its column is not: a vector that is not used changes nothing for the others.",
            "eq. 6.3", next="Which way to T never divides by τ?"),
        "clears only the column of a τ of zero": Mistake(
            lambda a, tau: larft_with_one(a, tau) * (tau != 0),
            "Its column is zero now, its row is not: a vector that is not used changes nothing for the others.",
            "eq. 6.3", next="Which way to T never divides by τ?"),
        "gives the vectors length 1": Mistake(
            lambda a, tau: ut_by_solve(torch.nn.functional.normalize(lapack_keys(a), dim=-1), tau).mT.contiguous(),
            "tau belongs to the vectors as they are stored, with a leading 1 and whatever length that gives."),
        "leaves all overlaps in": Mistake(lambda a, tau: larft_of(tau[:, None] * overlaps(a), tau),
            "Beside 1/τ on its diagonal the inverse of T has only the overlaps *above* it: `triu(1)`. No vector meets "
            "itself, or a later one.", "eq. 6.10"),
        "leaves τ out of the overlaps": Mistake(
            lambda a, tau: torch.linalg.solve_triangular(
                torch.eye(len(tau), dtype=a.dtype) + overlaps(a).triu(1), torch.diag(tau), upper=True),
            "In I + A every overlap is multiplied with τ, as in A = stril(diag(β) K Kᵀ).", "eq. 6.2"),
        "stops at the overlaps of pairs": Mistake(
            lambda a, tau: torch.diag(tau) - (tau[:, None] * overlaps(a) * tau).triu(1),
            "The pairs are right, but from the third vector on there are longer paths.", "eq. 6.7"),
    },
    hints=("Exercise 5.7 gives you keys as rows, and τ is β. Then Q = I − Kᵀ UTᵀ K.",
           "With Y = Kᵀ: Q = I − Y UTᵀ Yᵀ, and LAPACK writes it I − Y T Yᵀ.",
           "`ut_by_solve(keys, tau).mT`."),
)
