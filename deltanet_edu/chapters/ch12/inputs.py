"""Inputs for the kernels of chapter 12: sequences of several heads, in float32, and what the sweeps would leave."""

import torch

from ...ops.delta_rule.householder import ut_by_solve
from ...tutor.cases import normal, strengths, unit_keys

C = 16                                             # tokens of a chunk, here
SHAPES = {                                         # B, T, H, K, V; all with K ≠ V, one with more heads than chunks
    "a chunk that is not full": (1, 5, 1, 32, 16), "two sequences": (2, 10, 1, 32, 16), "two heads": (1, 20, 2, 16, 32),
}


def by_chunks(x):
    """(B, T, H, ...) -> (N, B, H, C, ...), with zeros after the last token."""
    x = torch.cat([x, x.new_zeros(x.shape[0], -x.shape[1] % C, *x.shape[2:])], 1)
    return torch.stack(x.split(C, 1)).transpose(2, 3)


def by_tokens(x, T):
    """The way back, without what stands after token T."""
    return torch.cat(list(x.transpose(2, 3)), 1)[:, :T]


def UT_low_of(k, beta):
    """The part of UT below its diagonal, for every chunk: (B, T, H, C)."""
    UT = ut_by_solve(by_chunks(k.double()), by_chunks(beta.double()))    # (N, B, H, C, C)
    return by_tokens(UT.tril(-1), k.shape[1]).to(k.dtype).contiguous()


def one(g, B, T, H, K, V, dtype=torch.float32):
    """q, k, v, beta, S, do and the gradient of the last memory, one token in five with beta = 0."""
    k = unit_keys(g, B, T, H, K).to(dtype)
    beta = strengths(g, B, T, H)
    beta[:, 3::5] = 0
    queries, values, state = (B, T, H, K), (B, T, H, V), (B, H, V, K)
    q, v, S, do, d_final = (normal(g, *shape) for shape in (queries, values, state, values, state))
    return [x.to(dtype) for x in (q, k, v, beta, S, do, d_final)]


def swept(q, k, v, beta, S, do, d_final, scale):
    """What the sweeps leave, in PyTorch and float64: states, X, d_states and dV, each in the layout of the kernels."""
    T, (q, k, v, beta, S, do, dS) = q.shape[1], (x.double() for x in (q, k, v, beta, S, do, d_final))
    UT = ut_by_solve(by_chunks(k), by_chunks(beta))
    chunks = list(zip(by_chunks(q), by_chunks(k), by_chunks(v), scale * by_chunks(do), UT))
    states, writes, d_states, dvs = [], [], [], []
    for Q, K, V, dO, UT in chunks:
        states.append(S)
        writes.append(UT @ (V - K @ S.mT))
        S = S + writes[-1].mT @ K
    for Q, K, V, dO, UT in reversed(chunks):
        d_states.insert(0, dS)
        dvs.insert(0, UT.mT @ ((Q @ K.mT).tril().mT @ dO + K @ dS.mT))
        dS = dS + dO.mT @ Q - dvs[0].mT @ K
    along = (torch.stack(x, 2) for x in (states, d_states))              # (B, H, N, V, K)
    states, d_states = along
    return states, by_tokens(torch.stack(writes), T), d_states, by_tokens(torch.stack(dvs), T)
