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


@pytest.mark.parametrize("id, answer, name", [
    ("5.1", 2.3, "counts u₂ in full"),
    ("5.1", 2.56, "gives what the memory says"),
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
    ("5.5", lambda S, k, v, beta: wy_u(k, v, beta).T @ k, "starts from an empty memory"),
    ("5.5", lambda S, k, v, beta: S + (beta[:, None] * (v - k @ S.T)).T @ k, "lets all tokens look at the old memory"),
    ("5.5", lambda S, k, v, beta: S + wy_u(k, v - k @ S.T, beta).T @ k, "right"),
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
    ("5.6", 65, "compares the last token, and stops at a draw"),
    ("5.6", 257, "leaves out one of the two, and stops at a draw"),
    ("5.6", torch.tensor(130), "right"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)
