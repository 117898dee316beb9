"""Exercise 5.7: LAPACK's Q, from its vectors as keys."""

import torch

from ...ops.delta_rule.householder import wy_w
from ...tutor import Mistake, exercise
from ..common import lapack_cases, lapack_keys
from .problems import scales_columns, u_inclusive, w_by


def q_from_lapack(a, tau):
    m, n = a.shape
    keys = a.tril(-1).mT + torch.eye(n, m, dtype=a.dtype)                # (n, m)  tokens are rows
    return torch.eye(m, dtype=a.dtype) - wy_w(keys, tau).mT @ keys


def q_by_loop(a, tau):
    Q = torch.eye(a.shape[0], dtype=a.dtype)
    for k_t, tau_t in zip(lapack_keys(a), tau):
        Q = Q - tau_t * torch.outer(Q @ k_t, k_t)
    return Q


def q_by_torch(a, tau):
    return torch.linalg.householder_product(torch.nn.functional.pad(a, (0, a.shape[0] - a.shape[1])), tau)


def keys_from_r(a):
    m, n = a.shape
    return torch.nn.functional.pad(a[:n].triu(1), (0, m - n)) + torch.eye(n, m, dtype=a.dtype)


def q_with_keys(a, tau, k):
    return torch.eye(a.shape[0], dtype=a.dtype) - wy_w(k, tau).mT @ k


def q_with(rows):
    """A wrong answer that makes W by rows(k, beta)."""
    return lambda a, tau: torch.eye(len(a), dtype=a.dtype) - rows(lapack_keys(a), tau).mT @ lapack_keys(a)


exercise(
    id="5.7", title="Read LAPACK's mind", kind="open", stars=4, minutes=25, equations=("5.2", "5.3"),
    reference=q_from_lapack, alternatives=(q_by_loop, q_by_torch), cases=lapack_cases,
    mutants={
        "forgets the ones on the diagonal": Mistake(lambda a, tau: q_with_keys(a, tau, a.tril(-1).mT.contiguous()),
            "Each vector has a 1 in position t that is not stored, because it is always 1. Yours has a 0 there.",
            next="Add an identity of shape (n, m)."),
        "takes the diagonal of R for part of the vectors": Mistake(
            lambda a, tau: q_with_keys(a, tau, a.tril().mT.contiguous()),
            "The diagonal of `a` belongs to R. The vectors live strictly below it, with a 1 in its place.",
            next="`tril(-1)`, then add the ones."),
        "returns the transpose": Mistake(lambda a, tau: q_from_lapack(a, tau).mT.contiguous(),
            "Yours is Hₙ … H₁, the transpose of Q. LAPACK's Q is H₁ … Hₙ, in our order: I − WᵀK.", "eq. 5.2"),
        "computes β from the length of the vectors": Mistake(
            lambda a, tau: q_with_keys(a, 2 / (lapack_keys(a) ** 2).sum(-1), lapack_keys(a)),
            "β = 2/‖k‖² makes every factor a reflection. LAPACK also uses tau = 0, for a column that needs none, and "
            "there the factor is I.",
            next="tau is β: use it as it is."),
        "takes 2 for tau": Mistake(lambda a, tau: q_with_keys(a, torch.full_like(tau, 2), lapack_keys(a)),
            "I − 2 y yᵀ is a reflection if y has length 1. These vectors are longer, and tau makes up for it.",
            next="tau is β: use it as it is."),
        "gives the vectors length 1": Mistake(
            lambda a, tau: q_with_keys(a, tau, torch.nn.functional.normalize(lapack_keys(a), dim=-1)),
            "tau belongs to the vectors as they are stored, with a leading 1 and whatever length that gives."),
        "returns the first n columns": Mistake(lambda a, tau: q_from_lapack(a, tau)[:, :a.shape[1]].contiguous(),
            "That is the thin Q. The product of the m × m reflections has all m columns."),
        "leaves out the identity": Mistake(lambda a, tau: wy_w(lapack_keys(a), tau).mT @ lapack_keys(a),
            "WᵀK is what the product takes *away* from I.", "eq. 5.2"),
        "adds what it should take away": Mistake(
            lambda a, tau: torch.eye(len(a), dtype=a.dtype) + wy_w(lapack_keys(a), tau).mT @ lapack_keys(a),
            "The sign is wrong: Q = I *minus* WᵀK.", "eq. 5.2"),
        "adds 1 everywhere": Mistake(lambda a, tau: q_with_keys(a, tau, a.tril(-1).mT + 1),
            "The leading 1 of vector t stands in position t only; above it are zeros.",
            next="Add an identity of shape (n, m)."),
        "uses `a` as it is": Mistake(lambda a, tau: q_with_keys(a, tau, a.mT.contiguous()),
            "On and above its diagonal `a` holds R, which belongs to no vector.",
            next="`tril(-1)`, then add the ones."),
        "keeps the entries of R above the ones": Mistake(
            lambda a, tau: q_with_keys(a, tau, (a.triu(1) + lapack_keys(a).mT).mT.contiguous()),
            "The 1 is in its place, but above position t a vector is zero. What `a` holds there belongs to R.",
            next="`tril(-1)`, then add the ones."),
        "subtracts raw vectors instead of w": Mistake(q_with(w_by(lambda t: t.beta * (t.v - t.overlaps @ t.values))),
            "W is a recurrence: the sum of w_t is over the w_i found so far, not over the raw vectors.", "eq. 5.3"),
        "uses tau y in the place of w": Mistake(
            q_with(w_by(lambda t: t.beta * (t.v - (t.overlaps * t.betas) @ t.values))),
            "w_i is tau_i y_i for the first vector only. Later ones have been corrected, and the sum needs them as "
            "they came out: two vectors do not show it.", "eq. 5.3"),
        "scales the overlaps by the earlier tau": Mistake(q_with(lambda k, beta: scales_columns(k, k, beta)),
            "Row t of the system is scaled by tau_t, the strength of the later vector. Yours has tau_i.", "eq. 5.3"),
        "sums over i ≤ t": Mistake(q_with(lambda k, beta: u_inclusive(k, k, beta)),
            "The sum of w_t runs over *earlier* vectors only; yours includes vector t itself.", "eq. 5.3"),
        "reads the vectors above the diagonal": Mistake(lambda a, tau: q_with_keys(a, tau, keys_from_r(a)),
            "Above its diagonal `a` holds R. The vectors stand *below* it, in columns.",
            next="`tril(-1)`, not `triu(1)`."),
        "factorizes the vectors": Mistake(
            lambda a, tau: torch.linalg.qr(lapack_keys(a).mT, mode="complete").Q,
            "A QR factorization of the vectors has another Q, and tau comes in nowhere. The vectors make the *factors* "
            "of Q, the Hₜ."),
        "factorizes once more": Mistake(lambda a, tau: torch.linalg.qr(a, mode="complete").Q,
            "`a` is not the matrix that was factorized: it is the result, R and the vectors in one array."),
        "erases with raw keys": Mistake(
            lambda a, tau: torch.eye(a.shape[0], dtype=a.dtype) - (tau[:, None] * lapack_keys(a)).mT @ lapack_keys(a),
            "tau_t k_t is right for the first vector only. The next ones meet a product that is no longer I.",
            "eq. 5.3"),
    },
    hints=("`a.tril(-1)` keeps what is strictly below the diagonal. Which shape must the keys have so that tokens are "
           "rows?",
           "The keys are `a.tril(-1).mT + torch.eye(n, m)`, of shape (n, m), and β is tau.",
           "Q = I − WᵀK with `W = wy_w(keys, tau)`."),
)
