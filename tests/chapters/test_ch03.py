"""Answers to the exercises of chapter 3, as readers write them."""

import numpy as np
import torch

from deltanet_edu.chapters.ch03.through_time import swept
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases


def second_term_with_dv(dS, k, beta, error, before):
    dv = beta * (dS @ k)
    return -beta * (dS.T @ error + before.T @ dv)


def right_with_dv(dS, k, beta, error, before):
    return -beta * (dS.T @ error) - before.T @ (beta * (dS @ k))


def opposite_signs(dS, k, beta, error, before):
    return beta * (before.T @ (dS @ k) - dS.T @ error)


def in_order(order, sign=1, dk_by_dv=True):
    """The loop of 3.3 with its five lines in another order, or dv with another sign."""
    def f(q, k, v, beta, S, do, dS):
        memories = [S]
        for t in range(len(k)):
            memories.append(memories[t] - beta[t] * torch.outer(memories[t] @ k[t] - v[t], k[t]))
        dq, dk, dv, dbeta = (torch.zeros_like(x) for x in (q, k, v, beta))
        for t in reversed(range(len(k))):
            before, error = memories[t], memories[t] @ k[t] - v[t]
            dS = dS + torch.outer(do[t], q[t])
            for line in order.split():
                if line == "dq":
                    dq[t] = memories[t + 1].T @ do[t]
                elif line == "dv":
                    dv[t] = sign * beta[t] * (dS @ k[t])
                elif line == "dbeta":
                    dbeta[t] = -(dS @ k[t]) @ error
                elif line == "dk":
                    second = dv[t] if dk_by_dv else beta[t] * (dS @ k[t])
                    dk[t] = -beta[t] * (dS.T @ error) - before.T @ second
                else:
                    dS = dS - torch.outer(dv[t], k[t])
        return dq, dk, dv, dbeta, dS
    return f


ANSWERS = {
    "3.1": {
        "right": [-2.4, torch.tensor(-2.4), np.float32(-2.4)],
        "takes the first entry of the key": [-3.2],
        "forgets what the memory says": [0.24],
        "takes the value for the error": [-0.24],
        "stops at the gradient of the memory": [1.2],
        "gives minus the gradient of the value": [-0.3],
        "asks the memory with the query": [-0.96],
    },
    "3.2": {
        "right": ["BEFAD"],
        "takes its own output out again": ["BEFAGD", "EBFAGD", "BFAEGD", "BFAGED", "BEFGAD"],
    },
    "3.3": {
        "right": [swept(), swept(dk=right_with_dv), in_order("dv dbeta dk dq dS")],
        "lets dS go past the write before dk": [in_order("dq dv dbeta dS dk", dk_by_dv=False)],
        "lets dS go past the write before dbeta and dk": [in_order("dq dv dS dbeta dk", dk_by_dv=False)],
        "mixes before and after in dk": [in_order("dq dv dbeta dS dk")],
        "mixes before and after in dbeta and dk": [in_order("dq dv dS dbeta dk"), in_order("dv dS dk dbeta dq")],
        "flips the sign of dv, and of what is made of it": [in_order("dq dv dbeta dk dS", sign=-1)],
        "counts beta twice in dk": [swept(dk=second_term_with_dv)],
        "flips one sign in dk": [swept(dk=opposite_signs)],
        "flips the sign of dv": [swept(dv=lambda dS, k, beta: -beta * dS @ k)],
        "leaves out what the token reads": [swept(own=lambda dS, do, q: dS)],
        "counts beta twice on the way back": [
            swept(leave=lambda dS, k, beta: dS - beta * torch.outer(beta * (dS @ k), k))],
        "scales the whole gradient": [swept(leave=lambda dS, k, beta: dS - beta * k.square().sum() * dS)],
    },
    "3.5": {
        "right": [86, 86.0, torch.tensor(86)],
        "counts too few bytes for the memory": [22],
        "gives twice as many tokens": [171],
        "multiplies the widths of the cache": [3],
        "takes 128 numbers for every value": [65],
        "caches values only, and stops early": [256],
    },
    "3.6": {
        "leaves out the read": [lambda K, V, C, n: 4 * K * V * C / (n * (2 * K * V + C * (2 * K + 2 * V + 1)))],
        "counts the 3V as well": [
            lambda K, V, C, n: (6 * K * V + 3 * V) * C / (n * (2 * K * V + C * (2 * K + 2 * V + 1)))],
    },
    "3.7": {
        "writes once more": [lambda S, k, v, beta: S + beta * torch.outer(v - S @ k, k)],
        "divides by one plus": [lambda S, k, v, beta: S + beta / (1 + beta * k @ k) * torch.outer(S @ k - v, k)],
        "divides the whole memory": [
            lambda S, k, v, beta: (1 - beta * k.square().sum()) ** -1 * (S - beta * v[:, None] * k)],
        "forgets beta in the write": [lambda S, k, v, beta: S + torch.outer((S @ k - v) / (1 - beta * k @ k), k)],
    },
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


def test_the_case_shows_which_result_is_wrong():
    verdict = grade(find("exercise", "3.3"), swept(leave=lambda dS, k, beta: dS - beta**2 * torch.outer(dS @ k, k)))
    expected, yours = (next(line for line in verdict.text.splitlines() if line.strip().startswith(word))
                       for word in ("expected", "yours"))
    assert expected.split()[1:] != yours.split()[1:], verdict.text
