"""Readers' answers to the exercises of chapter 5: wrong ones have their own names, right ones are right."""

import pytest
import torch

from deltanet_edu.ops.delta_rule.householder import wy_u, wy_w

from .answers import assert_verdict


def u_by(bracket):
    """u_t from bracket(beta_t, v_t, what the earlier writes say), with the loop of the stub."""
    def f(k, v, beta):
        u = []
        for t in range(len(k)):
            already = sum((u[i] * (k[i] @ k[t]) for i in range(t)), torch.zeros_like(v[t]))
            u.append(bracket(beta[t], v[t], already))
        return torch.stack(u)
    return f


def w_by(inner):
    """w_t from a loop over earlier tokens, left = inner(left, k_t, k_i, w_i, beta_i)."""
    def f(k, beta):
        w = []
        for t in range(len(k)):
            left = k[t]
            for i in range(t):
                left = inner(left, k[t], k[i], w[i], beta[i])
            w.append(beta[t] * left)
        return torch.stack(w)
    return f


def first_token_only(S, k, v, beta):
    v = v.clone()
    v[0] = v[0] - S @ k[0]
    return S + wy_u(k, v, beta).mT @ k


def first_row_only(S, k, v, beta):
    U = wy_u(k, v, beta).clone()
    U[0] -= beta[0] * (S @ k[0])
    return S + U.mT @ k


def rows_from(first):
    """The recurrence of w_t, begun with a first row of its own."""
    def f(k, beta):
        w = [first(k, beta)]
        for t in range(1, len(k)):
            w.append(beta[t] * (k[t] - sum(w[i] * (k[i] @ k[t]) for i in range(t))))
        return torch.stack(w)
    return f


def w_of_columns(k, beta):
    A = (k @ k.mT * beta).tril(-1)
    return torch.linalg.solve_triangular(torch.eye(len(k), dtype=k.dtype) + A, beta[:, None] * k, upper=False)


def w_filled(k, beta):
    """Rows into a tensor; the sum as a product, no matrix but (C, K)."""
    W = torch.zeros_like(k)
    for t in range(len(k)):
        W[t] = beta[t] * (k[t] - W[:t].mT @ (k[:t] @ k[t]))
    return W


def q_with_r_above(a, tau):
    Q = torch.eye(len(a), dtype=a.dtype)
    for t in range(len(tau)):
        y = a[:, t].clone()
        y[t] = 1
        Q = Q - tau[t] * torch.outer(Q @ y, y)
    return Q


@pytest.mark.parametrize("id, answer, name", [
    ("5.1", 2.3, "counts u₂ in full"),
    ("5.1", 2.56, "gives what the memory says"),
    ("5.1", -2.44, "has the error the wrong way round"),
    ("5.1", 2.58, "takes 0.6 for the overlap in u₃"),
    ("5.1", 2.46, "takes 0.6 for both overlaps"),
    ("5.1", 5 + 2 + 0.5 * (3 + 2 * 0.8) * 0.8, "adds every overlap"),
    ("5.2", u_by(lambda b, v, said: b * said), "writes nothing"),
    ("5.2", u_by(lambda b, v, said: b * (v - b * said)), "multiplies β in twice"),
    ("5.2", lambda k, v, beta: beta[:, None] * v, "ignores the earlier tokens"),
    ("5.3", w_by(lambda left, k_t, k, w, b: left - b * k * (k @ left)), "sends the key through M₁ first"),
    ("5.3", w_by(lambda left, k_t, k, w, b: left - k * (w @ k_t)), "exchanges w and k in the sum"),
    ("5.3", w_by(lambda left, k_t, k, w, b: left - b * w * (k @ k_t)), "applies β of the earlier tokens again"),
    ("5.3", lambda k, beta: beta[:, None] * k, "ignores the earlier tokens"),
    ("5.3", lambda k, beta: torch.linalg.solve(torch.eye(len(k), dtype=k.dtype) + (beta[:, None] * (k @ k.T)).tril(),
                                               beta[:, None] * k), "sums over i ≤ t"),
    ("5.3", lambda k, beta: beta[:, None] * wy_w(k, beta), "multiplies β in twice"),
    ("5.4", "EDBGAF", "returns nothing"),
    ("5.4", "EDBGFC", "forgets β"),
    ("5.4", "EDFABGC", "stores w and u before correcting them"),
    ("5.4", "EDAFBGC", "scales and stores before correcting"),
    ("5.6", 129, "has one too few"),
    ("5.5", lambda S, k, v, beta: wy_u(k, v, beta).T @ k, "starts from an empty memory"),
    ("5.5", lambda S, k, v, beta: S + (beta[:, None] * (v - k @ S.T)).T @ k, "lets all tokens look at the old memory"),
    ("5.5", lambda S, k, v, beta: S + wy_u(k, v - k @ S.T, beta).T @ k, "right"),
    ("5.5", lambda S, k, v, beta: S - S @ wy_w(k, beta).T @ k + wy_u(k, v - k @ S.T, beta).T @ k,
     "takes the old memory off twice"),
    ("5.5", first_token_only, "lets only the first token look at the old memory"),
    ("5.5", lambda S, k, v, beta: S @ wy_w(k, beta).T @ k + wy_u(k, v, beta).T @ k,
     "takes what is erased for what is left"),
    ("5.7", lambda a, tau: torch.linalg.qr(a.tril(-1) + torch.eye(*a.shape, dtype=a.dtype), mode="complete").Q,
     "factorizes the vectors"),
    ("5.6", 128, "has one or two too few"),
    ("5.6", 127, "has three too few"),
    ("5.6", 66, "has half the length"),
    ("5.6", 6, "charges an earlier token KV"),
    ("5.6", 64, "gives the head width"),
    ("5.6", 65, "has half the length, or one less"),
    ("5.6", 257, "has twice the length, and stops at a draw"),
    ("5.6", 258, "has twice the length"),
    ("5.6", 386, "takes 6KV for a step of the loop"),
    ("5.2", u_by(lambda b, v, said: b * (v - said) if said.any() else v), "leaves β out of the first row"),
    ("5.3", rows_from(lambda k, beta: k[0]), "leaves β out of the first row"),
    ("5.3", rows_from(lambda k, beta: beta[0] * k[0]), "right"),
    ("5.3", w_of_columns, "scales the overlaps by the earlier β"),
    ("5.3", w_by(lambda left, k_t, k, w, b: left - torch.outer(w, k) @ k_t), "forms a K × K matrix"),
    ("5.3", w_filled, "right"),
    ("5.5", first_row_only, "corrects the first row of U only"),
    ("5.7", q_with_r_above, "keeps the entries of R above the ones"),
    ("5.6", torch.tensor(130), "right"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)
