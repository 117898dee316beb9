"""Readers' answers to the exercises of chapter 6: wrong ones have their own names, right ones are right."""

import math

import pytest
import torch

from deltanet_edu.ops.delta_rule.householder import inverse_by_substitution, ut_by_solve, ut_system

from .answers import assert_verdict


def listing(A, start, inside, end):
    """The loop of 6.4: it starts from start(A), adds inside(sum) to each row, and returns end(rows, I)."""
    rows = start(A)
    for i in range(1, len(A)):
        rows[i, :i] = rows[i, :i] + inside((rows[i, :, None] * rows[:, :i]).sum(-2))
    return end(rows, torch.eye(len(A), dtype=A.dtype))


def with_A_in_the_loop(A):
    rows = -A
    for i in range(1, len(A)):
        rows[i, :i] = rows[i, :i] + (A[i, :, None] * rows[:, :i]).sum(-2)
    return rows + torch.eye(len(A), dtype=A.dtype)


def by_rows(k, beta, step):
    """The loop of 6.3 with another step(rows[t], finished)."""
    A, rows = ut_system(k, beta), torch.eye(len(k), dtype=k.dtype)
    for t in range(1, len(k)):
        rows[t] = step(rows[t], A[t, :t] @ rows[:t])
    return rows * beta


def scaled_at_once(k, beta, first):
    """The loop of 6.3 with beta_t on each row as it is finished, `first` on the first."""
    A, rows = ut_system(k, beta), torch.eye(len(k), dtype=k.dtype)
    rows[0] = rows[0] * first
    for t in range(1, len(k)):
        rows[t] = beta[t] * (rows[t] - A[t, :t] @ rows[:t])
    return rows


def by_weighted_rows(k, beta):
    A, rows = ut_system(k, beta), torch.eye(len(k), dtype=k.dtype)
    for t in range(1, len(k)):
        rows[t] = rows[t] - beta[t] * (A[t, :t] @ rows[:t])
    return rows * beta


def larft_by_columns(a, tau):
    """LAPACK's way, without τ_t in column t."""
    T, overlaps = torch.diag(tau), lapack_overlaps(a)
    for t in range(1, len(tau)):
        T[:t, t] = -(T[:t, :t] @ overlaps[:t, t])
    return T


def by_columns_without_a_minus(a, tau):
    T, overlaps = torch.diag(tau), lapack_overlaps(a)
    for t in range(1, len(tau)):
        T[:t, t] = tau[t] * (T[:t, :t] @ overlaps[:t, t])
    return T


def larft_with_r_above(a, tau):
    Y = a.clone()
    Y.diagonal().fill_(1)
    return ut_by_solve(Y.mT, tau).mT


def lapack_overlaps(a):
    Y = a.tril(-1) + torch.eye(*a.shape)
    return Y.mT @ Y


def nan_where_tau_is_zero(a, tau):
    if not (tau != 0).all():
        return torch.full((len(tau), len(tau)), float("nan"), dtype=a.dtype)
    return torch.linalg.inv(torch.diag(1 / tau) + lapack_overlaps(a).triu(1))


@pytest.mark.parametrize("id, answer, name", [
    ("6.1", -0.6, "takes the direct path only, and forgets β₁"),
    ("6.1", 0.384, "takes the detour only, and forgets β₁"),
    ("6.1", 0.6, "gives A₃₁"),
    ("6.1", 0.108, "has the opposite sign"),
    ("6.1", 0.492, "inverts I − A"),
    ("6.1", -0.216, "does not scale by β₁"),
    ("6.2", lambda k, beta: beta[:, None] * (k @ k.T), "masks nothing"),
    ("6.2", lambda k, beta: torch.eye(len(k)).double() + (beta[:, None] * (k @ k.T)).tril(-1), "adds the identity"),
    ("6.2", lambda k, beta: (beta[:, None] * (k @ k.T)).tril(1), "keeps one diagonal too many"),
    ("6.2", lambda k, beta: torch.tril(torch.diag(beta) @ k @ k.T, -1), "right"),
    ("6.2", lambda k, beta: (k.mT @ (beta[:, None] * k)).tril(-1), "overlaps features, not tokens"),
    ("6.2", lambda k, beta: (beta[:, None] * k).tril(-1) @ k.T, "masks the keys, not their overlaps"),
    ("6.3", lambda k, beta: scaled_at_once(k, beta, beta[0]), "brings β into the sum a second time"),
    ("6.3", by_weighted_rows, "brings β into the sum a second time"),
    ("6.3", lambda k, beta: scaled_at_once(k, beta, 1), "scales each row once it is finished"),
    ("6.3", lambda k, beta: torch.cat([scaled_at_once(k, beta, 1)[:1] * beta[0], scaled_at_once(k, beta, 1)[1:]]),
     "scales each row once it is finished, the first one at the end"),
    ("6.3", lambda k, beta: scaled_at_once(k, beta, 1) * beta, "scales each row at once, and the columns"),
    ("6.4", lambda A: listing(A, torch.clone, torch.clone, lambda rows, eye: -(rows + eye)), "gives −(I − A)⁻¹"),
    ("6.7", 6, "counts the factors of the series"),
    ("6.4", with_A_in_the_loop, "counts every path minus"),
    ("6.7", 39, "counts hops, or how many hops there can be"),
    ("6.8", lambda a, tau: torch.linalg.inv(torch.diag(tau) + lapack_overlaps(a).triu(1)),
     "inverts with τ where 1/τ belongs"),
    ("6.8", lambda a, tau: torch.linalg.inv(torch.diag(torch.where(tau == 0, 1, 1 / tau)) + lapack_overlaps(a).triu(1)),
     "takes 1 for a τ of zero"),
    ("6.8", lambda a, tau: torch.linalg.inv(torch.diag(1 / tau) + lapack_overlaps(a)), "leaves all overlaps in"),
    ("6.8", lambda a, tau: torch.linalg.inv(torch.diag(1 / tau.clamp(min=1e-8)) + lapack_overlaps(a).triu(1)),
     "takes 1e-08 for a τ of zero"),
    ("6.7", 2**39, "counts one end as a choice"),
    ("6.8", by_columns_without_a_minus, "has the wrong sign off the diagonal"),
    ("6.7", 40, "counts all tokens, or lengths"),
    ("6.3", lambda k, beta: by_rows(k, beta, lambda row, finished: finished), "keeps what should be taken off"),
    ("6.3", lambda k, beta: beta[:, None] * by_rows(k, beta, torch.sub), "scales rows and columns"),
    ("6.3", lambda k, beta: by_rows(k, beta, torch.sub), "right"),
    ("6.4", lambda A: listing(A, torch.clone, torch.neg, lambda rows, eye: eye - rows), "right"),
    ("6.4", lambda A: listing(A, torch.clone, torch.clone, lambda rows, eye: eye - rows), "counts every path minus"),
    ("6.4", lambda A: listing(A, torch.neg, torch.clone, lambda rows, eye: eye - rows), "gives 2I − (I + A)⁻¹"),
    ("6.4", lambda A: listing(A, torch.clone, torch.neg, torch.add), "gives 2I − (I + A)⁻¹"),
    ("6.4", lambda A: listing(A, torch.neg, torch.neg, lambda rows, eye: eye + rows), "counts every path minus"),
    ("6.4", lambda A: torch.eye(len(A), dtype=A.dtype) + A, "does nothing in the loop"),
    ("6.5", lambda k, v, beta: (k, v), "leaves UT and β out"),
    ("6.5", lambda k, v, beta: tuple(inverse_by_substitution(ut_system(k, beta)) @ (beta[:, None] * x) for x in (k, v)),
     "right"),
    ("6.6", "CFAEB", "returns nothing"),
    ("6.7", 2**37, "leaves one token in between out"),
    ("6.7", 780, "counts pairs of tokens"),
    ("6.7", math.factorial(38), "counts orders"),
    ("6.7", 2**39 - 1, "counts the paths to all later tokens"),
    ("6.1", 0.0, "gives zero"),
    ("6.1", -0.5, "gives the bound, with a minus"),
    ("6.4", lambda A: listing(A, lambda A: 0 * A, torch.clone, torch.add), "returns the identity"),
    ("6.5", lambda k, v, beta: tuple(beta[:, None] * x - ut_system(k, beta) @ (beta[:, None] * x) for x in (k, v)),
     "stops after one correction"),
    ("6.5", lambda k, v, beta: tuple(ut_by_solve(k, beta**0.5) @ (beta[:, None] ** 0.5 * x) for x in (k, v)),
     "shares β between both sides"),
    ("6.7", math.comb(38, 19), "counts paths with 19 stops"),
    ("6.8", larft_by_columns, "leaves τ_t out of what is not on the diagonal"),
    ("6.8", larft_with_r_above, "keeps the entries of R above the ones"),
    ("6.8", lambda a, tau: torch.linalg.householder_product(
        torch.nn.functional.pad(a, (0, a.shape[0] - a.shape[1])), tau), "gives Q"),
    ("6.8", nan_where_tau_is_zero, "gives NaN where a τ is zero"),
    ("6.8", lambda a, tau: torch.diag(tau) + lapack_overlaps(a).triu(1), "forgets to invert"),
    ("6.8", lambda a, tau: torch.linalg.inv(torch.eye(len(tau)) + lapack_overlaps(a).triu(1)) @ torch.diag(tau),
     "leaves τ out of the overlaps"),
    ("6.8", lambda a, tau: ut_by_solve(a.tril(-1).T + torch.eye(len(tau), len(a)).double(), tau),
     "returns UT, not LAPACK's T"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)
