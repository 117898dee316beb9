"""Readers' answers to the exercises of chapter 7: wrong ones have their own names, right ones are right."""

import math

import pytest
import torch

from deltanet_edu.ops.delta_rule.householder import wy_u, wy_w

from .answers import assert_verdict

KEYS, VALUES, BETAS = [(1.0, 0.0), (0.6, 0.8), (0.8, 0.6)], [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)], [1.0, 1.0, 1.0]


def chunked(read):
    def f(q, k, v, S, C):
        o = []
        for start in range(0, len(k), C):
            Q, K, V = (x[start:start + C] for x in (q, k, v))
            o.append(read(Q, K, V, S))
            S = S + V.T @ K
        return torch.cat(o), S
    return f


def in_place(read):
    def f(q, k, v, S, C):
        o = []
        for start in range(0, len(k), C):
            Q, K, V = (x[start:start + C] for x in (q, k, v))
            o.append(read(Q, K, V, S))
            S += V.T @ K
        return torch.cat(o), S
    return f


def map_from_the_left(k, v, beta):
    M, X = torch.eye(k.shape[1], dtype=k.dtype), torch.zeros(v.shape[1], k.shape[1], dtype=k.dtype)
    for k_t, v_t, beta_t in zip(k, v, beta):
        M_t = torch.eye(k.shape[1], dtype=k.dtype) - beta_t * torch.outer(k_t, k_t)
        M, X = M @ M_t, M_t @ X + beta_t * torch.outer(v_t, k_t)
    return M, X


def map_by_probes(k, v, beta):
    """M is read off what comes back from unit rows, X still in it."""
    def run(S):
        for k_t, v_t, beta_t in zip(k, v, beta):
            S = S + beta_t * torch.outer(v_t - S @ k_t, k_t)
        return S
    unit_rows = torch.eye(k.shape[1], dtype=k.dtype)
    M = torch.stack([run(row.expand(v.shape[1], -1))[0] for row in unit_rows])
    return M, run(torch.zeros(v.shape[1], k.shape[1], dtype=k.dtype))


@pytest.mark.parametrize("id, answer, name", [
    ("7.1", 17, "adds a step too many"),
    ("7.1", 1024, "counts 64 for each chunk"),
    ("7.1", 40, "counts the tokens of the tail"),
    ("7.1", 80, "counts steps within the chunks"),
    ("7.1", 79, "adds a step for each token of a chunk but one"),
    ("7.1", 1, "takes all chunks at once"),
    ("7.1", 10, "counts the rounds of a tree over tokens"),
    ("7.2", chunked(lambda Q, K, V, S: Q @ S.T + (Q @ K.T).triu() @ V), "keeps the wrong triangle"),
    ("7.2", chunked(lambda Q, K, V, S: Q @ (S + V.T @ K).T), "lets tokens see later ones"),
    ("7.2", chunked(lambda Q, K, V, S: (S @ Q.T).T + torch.tril(Q @ K.T) @ V), "right"),
    ("7.2", in_place(lambda Q, K, V, S: Q @ S.T + (Q @ K.T).tril() @ V), "right"),
    ("7.2", chunked(lambda Q, K, V, S: torch.tril(Q @ K.T) @ V + Q @ S), "leaves the state untransposed"),
    ("7.2", in_place(lambda Q, K, V, S: Q @ S.T + (Q @ K.T) @ V), "lets tokens see later ones"),
    ("7.4", lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M1 @ M2 + X2), "sends the first write through both erasures"),
    ("7.2", chunked(lambda Q, K, V, S: Q @ S.T + (Q @ K.T @ V).tril()), "masks the outputs, not the overlaps"),
    ("7.4", lambda M1, X1, M2, X2: (M1 @ M2, (X1 @ M1 + X2) @ M2), "sends each write through its own erasure too"),
    ("7.4", lambda M1, X1, M2, X2: (M1 @ M2, X1 + X2 @ M2), "erases the second write, and not the first"),
    ("7.4", lambda M1, X1, M2, X2: (M1 * M2, X1 @ M2 + X2), "multiplies entry by entry"),
    ("7.5", ([KEYS[0], KEYS[1], KEYS[1]], VALUES, BETAS), "gives keys 2 and 3 one direction"),
    ("7.5", ([KEYS[0]] * 3, VALUES, BETAS), "gives keys 2 and 3 one direction"),
    ("7.5", ([KEYS[0], (0.6, 0.8), (-6.0, -8.0)], VALUES, BETAS), "gives keys 2 and 3 one direction"),
    ("7.5", (KEYS, [(0.0, 0.0), *VALUES[1:]], BETAS), "lets token 1 write nothing"),
    ("7.5", (KEYS, VALUES, [0.0, 1.0, 1.0]), "lets token 1 write nothing"),
    ("7.5", ([(0.0, 0.0), *KEYS[1:]], VALUES, BETAS), "lets token 1 write nothing"),
    ("7.5", ([KEYS[0], (0.0, 0.0), KEYS[2]], VALUES, BETAS), "leaves token 2 or 3 without an erasure"),
    ("7.5", (KEYS, VALUES, [1.0, 1.0, 0.0]), "leaves token 2 or 3 without an erasure"),
    ("7.5", ([VALUES[0], (0.0, 0.0), (0.0, 0.0)], KEYS, BETAS), "gives tokens 2 and 3 no keys"),
    ("7.5", (KEYS, VALUES, [1e-8, 1.0, 1.0]), "makes a difference too small to see"),
    ("7.5", (KEYS, [VALUES[0], (0.0, 0.0), (0.0, 0.0)], BETAS), "right"),
    ("7.5", tuple(map(torch.tensor, (KEYS, VALUES, BETAS))), "right"),
    ("7.6", lambda k, v, beta: (torch.eye(k.shape[1]).double() - k.T @ wy_w(k, beta), wy_u(k, v, beta).T @ k),
     "multiplies the transitions backwards"),
    ("7.6", lambda k, v, beta: (torch.eye(k.shape[1], dtype=k.dtype), v.mT @ k), "takes linear attention's map"),
    ("7.6", map_by_probes, "leaves X inside M"),
    ("7.6", map_from_the_left, "multiplies with M_t on the left"),
    ("7.6", lambda k, v, beta: (wy_w(k, beta), wy_u(k, v, beta)), "returns W and U"),
    ("7.7", lambda T, K, V, size: (T * K * K + K * V) * size, "keeps one X for all tokens"),
    ("7.7", lambda T, K, V, size: T * K * (K + V) * size * math.ceil(math.log2(T)), "counts every round of the scan"),
    ("7.7", lambda T, K, V, size: T * (K * K + V) * size, "takes X for a vector"),
    ("7.7", lambda T, K, V, size: T * (2 * K**3 + 2 * V * K**2) * size, "counts the FLOPs of a composition"),
    ("7.7", lambda T, K, V, size: 8 * T * K * (K + V) * size, "counts bits"),
])
def test_readers_answers(id, answer, name):
    assert_verdict(id, answer, name)
