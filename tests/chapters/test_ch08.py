"""Answers to the exercises of chapter 8, as readers write them."""

import math

import torch
import torch.nn.functional as F

from deltanet_edu.ops.delta_rule.householder import ut_by_solve

from .answers import assert_verdict, cases


def read_and_update(O="Q @ S.mT + (Q @ K.mT).tril() @ X", S_out="S + X.mT @ K"):
    """8.2 with other last lines."""
    def one_chunk(Q, K, V, beta, S):
        UT = ut_by_solve(K, beta)
        W, U = UT @ K, UT @ V
        names = dict(Q=Q, K=K, V=V, beta=beta, S=S, W=W, U=U, X=U - W @ S.mT)
        return eval(O, names), eval(S_out, names)
    return one_chunk


def one_chunk(Q, K, V, beta, S):
    X = ut_by_solve(K, beta) @ (V - K @ S.mT)
    return Q @ S.mT + (Q @ K.mT).tril() @ X, S + X.mT @ K


def never_updated(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        O, _ = one_chunk(q[n:n + C], k[n:n + C], v[n:n + C], beta[n:n + C], S)
        o.append(O)
    return torch.cat(o), S


def from_the_end(q, k, v, beta, S, C):
    o = []
    for n in reversed(range(0, len(k), C)):
        O, S = one_chunk(q[n:n + C], k[n:n + C], v[n:n + C], beta[n:n + C], S)
        o.append(O)
    return torch.cat(o[::-1]), S


def strengths_of_the_first(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        K = k[n:n + C]
        O, S = one_chunk(q[n:n + C], K, v[n:n + C], beta[:len(K)], S)
        o.append(O)
    return torch.cat(o), S


def padded(rows_of_k, strength):
    """8.3 with v = 0 in the padding, which prediction 8.c asks about."""
    def chunkwise(q, k, v, beta, S, C):
        T, n = len(k), -len(k) % C
        q, v = F.pad(q, (0, 0, 0, n)), F.pad(v, (0, 0, 0, n))
        k, beta, o = torch.cat([k, rows_of_k(k, n)]), torch.cat([beta, strength(beta, n)]), []
        for i in range(0, len(k), C):
            O, S = one_chunk(q[i:i + C], k[i:i + C], v[i:i + C], beta[i:i + C], S)
            o.append(O)
        return torch.cat(o)[:T], S
    return chunkwise


def chunks(start, stop, step, end="n + C"):
    """8.3 with another range, or other slices."""
    def chunkwise(q, k, v, beta, S, C):
        o, names = [], {"T": len(k), "C": C}
        for n in range(eval(start, names), eval(stop, names), eval(step, names)):
            e = eval(end, names | {"n": n})
            O, S = one_chunk(q[n:e], k[n:e], v[n:e], beta[n:e], S)
            o.append(O)
        return torch.cat(o), S
    return chunkwise


def with_X(X, S_out="S + X.mT @ K"):
    """8.3 with another X, or another update."""
    def chunkwise(q, k, v, beta, S, C):
        o = []
        for Q, K, V, b in zip(*(x.split(C) for x in (q, k, v, beta))):
            names = dict(Q=Q, K=K, V=V, b=b, S=S, UT=ut_by_solve(K, b))
            names["X"] = eval(X, names)
            o.append(Q @ S.mT + (Q @ K.mT).tril() @ names["X"])
            S = eval(S_out, names)
        return torch.cat(o), S
    return chunkwise


def tail_by_a_negative_index(q, k, v, beta, S, C):
    o, whole = [v[:0]], len(k) // C
    ends = [slice(n * C, (n + 1) * C) for n in range(whole)] + [slice(-(len(k) - whole * C), None)]
    for rows in ends:
        O, S = one_chunk(q[rows], k[rows], v[rows], beta[rows], S)
        o.append(O)
    return torch.cat(o), S


def returns_the_memory_before(q, k, v, beta, S, C):
    o, states = [], [S]
    for n in range(0, len(k), C):
        O, S = one_chunk(q[n:n + C], k[n:n + C], v[n:n + C], beta[n:n + C], states[-1])
        o.append(O)
        states.append(S)
    return torch.cat(o), states[-2]


def last(x, n):
    return x[-1:].expand(n, *x.shape[1:])


def next_to_a_root(step, flop, T, K, V):
    C = (step / flop / (6 * K + 4 * V)) ** 0.5
    return min((2**i for i in range(T.bit_length())), key=lambda n: abs(math.log2(n) - math.log2(max(C, 1))))


def best(sizes="[2**i for i in range(T.bit_length())]", steps="math.ceil(T / C)", work="T * cost(C, K, V)"):
    """8.7 with other candidates, steps or work."""
    def best_chunk(step, flop, T, K, V):
        def cost(C, K, V):
            return 6 * K * V + C * (6 * K + 4 * V) + C * C
        names = dict(T=T, K=K, V=V, math=math, cost=cost)

        def seconds(C):
            return eval(steps, names | {"C": C}) * step + eval(work, names | {"C": C}) * flop
        return min(eval(sizes, names), key=seconds)
    return best_chunk


ANSWERS = {
    "8.1": {"right": [0.7, torch.tensor(0.7), 7 / 10], "erases too much": [0.3], "writes the value": [2.5],
            "gives what the memory says": [3.6], "gives what is taken from u₂": [0.6],
            "multiplies by β₂ twice": [0.35], "has the sign wrong, or asks the entering memory about k₂": [1.3 - 2],
            "gives the reading after the write, or adds what the memory says about k₂": [3.6 + 0.7],
            "forgets β₂ in the overlap, or adds what the memory says about k₁": [0.1 - (2 * 0.3 - 0.4)]},
    "8.2": {
        "right": [read_and_update(), read_and_update(S_out="(S.mT + K.mT @ X).mT")],
        "scales the outputs by 1/√K": [read_and_update("(Q @ S.mT + (Q @ K.mT).tril() @ X) / K.shape[1] ** 0.5")],
        "scales Q Kᵀ by 1/√K": [read_and_update("Q @ S.mT + (Q @ K.mT / K.shape[1] ** 0.5).tril() @ X")],
        "reads with the keys": [read_and_update("K @ S.mT + (K @ K.mT).tril() @ X")],
        "has readers and writers exchanged": [read_and_update("Q @ S.mT + (K @ Q.mT).tril() @ X")],
        "reads and writes U instead of U - W Sᵀ": [read_and_update("Q @ S.mT + (Q @ K.mT).tril() @ U", "S + U.mT @ K")],
        "takes the writes away": [read_and_update(S_out="S - X.mT @ K")],
        "writes along the queries": [read_and_update(S_out="S + X.mT @ Q")],
        "forgets what the tokens do to each other": [read_and_update(
            "Q @ S.mT + (Q @ K.mT).tril() @ (beta[:, None] * (V - K @ S.mT))",
            "S + (beta[:, None] * (V - K @ S.mT)).mT @ K")],
        "excludes the diagonal, and replaces the memory": [
            read_and_update("Q @ S.mT + (Q @ K.mT).tril(-1) @ X", "X.mT @ K")],
    },
    "8.3": {
        "right": [chunks("0", "T", "C"), chunks("0", "T", "C", "min(n + C, T)")],
        "never updates S": [never_updated],
        "runs through the chunks from the end": [from_the_end],
        "takes the strengths of the first chunk for every chunk": [strengths_of_the_first],
        "pads with v = 0": [padded(last, last)],
        "pads with v = 0 and β = 1": [padded(last, lambda beta, n: beta.new_ones(n))],
        "stops one chunk early": [chunks("0", "T - C", "C")],
        "drops the tail": [chunks("0", "T - C + 1", "C"), chunks("0", "T // C * C", "C")],
        "moves on by one token": [chunks("0", "T", "1")],
        "cuts chunks that are too short": [chunks("0", "T", "C", "n + C - 1")],
        "cuts chunks that are too long": [chunks("0", "T", "C", "n + C + 1")],
        "stops after the first chunk": [chunks("0", "T", "C", "C")],
        "has β in UT and in the errors": [with_X("UT @ (b[:, None] * (V - K @ S.mT))")],
        "asks the memory with the keys": [with_X("UT @ V - K @ S.mT")],
        "writes the errors as they are": [with_X("V - K @ S.mT")],
        "hands on the last write only": [with_X("UT @ (V - K @ S.mT)", "S + X[-1:].mT @ K[-1:]")],
        "takes V for U": [with_X("V - UT @ K @ S.mT")],
        "adds what the memory says": [with_X("UT @ V + UT @ K @ S.mT")],
        "takes the writes away": [with_X("UT @ (V - K @ S.mT)", "S - X.mT @ K")],
        "writes along the queries": [with_X("UT @ (V - K @ S.mT)", "S + X.mT @ Q")],
        "reads everything again as the tail where there is none": [tail_by_a_negative_index],
        "returns the memory that entered the last chunk": [returns_the_memory_before],
    },
    "8.4": {"right": ["DFAHCE", "fdahce"], "falls for both decoys": ["DBGCE"], "updates before it reads": ["DFACHE"]},
    "8.5": {"right": [lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V + C)],
            "counts to the last operation": [lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) + C * (C - 1)],
            "charges the solve to the value width": [lambda C, K, V: 6 * K * V + C * (6 * K + 5 * V)],
            "adds K V for the solve": [lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) + K * V],
            "leaves out one product of tokens with keys": [lambda C, K, V: 6 * K * V + 4 * C * (K + V) + C**2],
            "counts half of every masked product, and of the solve": [
                lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V + C) / 2],
            "takes both widths to be K": [lambda C, K, V: 6 * K**2 + 10 * C * K + C**2],
            "counts half of the solve": [lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V + C / 2)],
            "counts the solve twice": [lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) + 2 * C**2],
            "halves the masked products instead of adding the solve": [
                lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) / 2]},
    "8.6": {"right": [([(1, 0), (1, 1)], [1e-5, 1e-5], (0, 1)),
                      (torch.tensor([[1.0, 0], [0.6, 0.8]]), torch.ones(2), (0, 1)),
                      ([torch.tensor([1.0, 0]), F.normalize(torch.ones(2), dim=0)], [torch.ones(()), 1], (0, 1))],
            "uses keys at right angles": [([(1, 0), (0, 1)], [1, 1], (1, 1))],
            "keeps at least as much as it erases": [([(1, 0), (0.6, 0.8)], [1, 1], (1, 0))]},
    "8.7": {
        "right": [best(), best("[2**i for i in range(20) if 2**i <= T]")],
        "takes a chunk longer than the sequence": [best("(2**i for i in range(20))"),
                                                   best("[2**i for i in range(math.ceil(math.log2(T)) + 1)]")],
        "charges the padding": [best(work="math.ceil(T / C) * C * cost(C, K, V)")],
        "allows a part of a step": [best(steps="T / C")],
        "rounds the steps down, or takes one more": [best(steps="T // C"), best(steps="T // C + 1")],
        "rounds the steps to the nearest number": [best(steps="round(T / C)")],
        "charges a chunk for every token": [best(work="T * C * cost(C, K, V)")],
        "has the widths in each other's place": [best(work="T * cost(C, V, K)")],
        "stops one power of two early": [best("[2**i for i in range(max(1, int(math.log2(T))))]")],
        "takes lengths that are no powers of two": [best("range(1, T + 1)")],
        "always chooses C = 1": [best(steps="T"), best(steps="C")],
        "counts C steps for each solve": [best(steps="C + math.ceil(T / C)")],
        "takes the power of two next to a root": [next_to_a_root],
        "takes both widths to be V": [best(work="T * cost(C, V, V)")],
        "never takes more than 512": [best("[2**i for i in range(10) if 2**i <= T]")],
        "takes only lengths that divide the sequence": [best("[2**i for i in range(T.bit_length()) if T % 2**i == 0]")],
    },
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)
