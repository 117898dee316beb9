"""Answers to the exercises of chapter 9, as readers write them."""

import pytest
import torch

from deltanet_edu.chapters.ch09.chunk import backward_chunk, forward_chunk, inverse
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases


def through_the_solve(dA):
    """9.2 with another last line."""
    def answer(A, Z, dX):
        L = torch.eye(len(A), dtype=A.dtype) + A
        X, dZ = torch.linalg.solve(L, Z), torch.linalg.solve(L.mT, dX)
        return dZ, eval(dA, {"X": X, "dZ": dZ, "dX": dX, "Z": Z, "inv": torch.linalg.inv(L), "torch": torch})
    return answer


def one_link(dX="P.mT @ dO + K @ dS.mT", dV="beta[:, None] * (UT1.mT @ dX)", dS_in="dS + dO.mT @ Q - dV.mT @ K"):
    """9.3 with other lines."""
    def answer(Q, K, beta, UT1, P, dO, dS):
        names = dict(Q=Q, K=K, beta=beta, UT1=UT1, P=P, dO=dO, dS=dS)
        names["dX"] = eval(dX, names)
        names["dV"] = eval(dV, names)
        return names["dV"], eval(dS_in, names)
    return answer


def dbeta(e):
    """9.4 with other errors."""
    def answer(K, V, beta, S, dX):
        UT1, R = inverse(K, beta), V - K @ S.mT
        names = dict(K=K, V=V, b=beta[:, None], R=R, X=UT1 @ (beta[:, None] * R), torch=torch)
        return ((UT1.mT @ dX) * eval(e, names)).sum(-1)
    return answer


class Chunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q, K, V, beta, S)
        return forward_chunk(Q, K, V, beta, S)[:2]

    @staticmethod
    def backward(ctx, dO, dS):
        inputs = ctx.saved_tensors
        return backward_chunk(*inputs, forward_chunk(*inputs)[2], dO, dS)


def with_gradients(change):
    """9.6 with other gradients: change(gradients, dS). The name of the class is part of PyTorch's messages."""
    right = Chunk.backward
    return type("Chunk", (Chunk,), {"backward": staticmethod(lambda ctx, dO, dS: change(right(ctx, dO, dS), dS))})


class MemoryFirst(Chunk):
    """The gradients come in the order of the results, and these in the wrong one."""
    @staticmethod
    def forward(ctx, *inputs):
        O, S_out = Chunk.forward(ctx, *inputs)
        return S_out, O


class SavesOutputs(Chunk):
    @staticmethod
    def forward(ctx, *inputs):
        O, S_out, _ = forward_chunk(*inputs)
        ctx.save_for_backward(*inputs, O, S_out)
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):
        inputs = ctx.saved_tensors[:5]
        return backward_chunk(*inputs, forward_chunk(*inputs)[2], dO, dS)


def saves_one_more(n):
    """9.6 with the output kept as well, or with R."""
    def forward(ctx, *inputs):
        O, S_out, (_, _, R, _) = forward_chunk(*inputs)
        ctx.save_for_backward(*inputs, (O, R)[n])
        return O, S_out

    def backward(ctx, dO, dS):
        inputs = ctx.saved_tensors[:5]
        return backward_chunk(*inputs, forward_chunk(*inputs)[2], dO, dS)
    return type("Chunk", (Chunk,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


class ForgetsTheMemory(Chunk):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs[:4])
        return forward_chunk(*inputs)[:2]

    @staticmethod
    def backward(ctx, dO, dS):
        inputs = *ctx.saved_tensors, torch.zeros_like(dS)
        return backward_chunk(*inputs, forward_chunk(*inputs)[2], dO, dS)


class SavesACopy(Chunk):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q.clone(), K, V, beta, S)
        return forward_chunk(Q, K, V, beta, S)[:2]


def fading(weight):
    return lambda beta: torch.stack([weight(beta, i) for i in range(len(beta))])


def joined(W, U, A="W2 @ K1.mT"):
    """9.9 with other lower rows."""
    def answer(K1, W1, U1, K2, W2, U2):
        names = dict(K1=K1, W1=W1, U1=U1, K2=K2, W2=W2, U2=U2)
        names["A"] = eval(A, names)
        return torch.cat([K1, K2]), torch.cat([W1, eval(W, names)]), torch.cat([U1, eval(U, names)])
    return answer


def translated(X, o="scale * (q @ h + (q @ k.mT).tril() @ X)", out="h + k.mT @ X"):
    """9.11 with other lines."""
    def answer(q, k, v, beta, UT1, h, scale):
        names = dict(q=q, k=k, v=v, b=beta[:, None], UT1=UT1, h=h, scale=scale)
        names["X"] = eval(X, names)
        return eval(o, names), eval(out, names)
    return answer


ANSWERS = {
    "9.1": {"right": [1.44], "asks the memory with the query": [3.6], "gives the gradient of the write": [1.8],
            "gives the error": [0.8], "gives the output": [1.12], "takes the write for the error": [0.36],
            "takes the other entry of the key": [1.92], "says that β changes nothing": [0, 0.0]},
    "9.2": {
        "right": [through_the_solve("-(dZ @ X.mT).tril(-1)"),
                  through_the_solve("-(inv.mT @ dX @ Z.mT @ inv.mT).tril(-1)")],
        "uses dX instead of dZ, and uses Z instead of X": [through_the_solve("-(dX @ Z.mT).tril(-1)")],
        "forgets the mask, and forgets the sign": [through_the_solve("dZ @ X.mT")],
        "leaves out the transposes of the inverse": [through_the_solve("-(inv @ (dX @ Z.mT) @ inv).tril(-1)")],
        "adds the other triangle": [through_the_solve("-(dZ @ X.mT + X @ dZ.mT).tril(-1)")],
        "cuts dZ instead of the product": [through_the_solve("-dZ.tril(-1) @ X.mT")],
    },
    "9.3": {
        "right": [one_link(), one_link(dV="(beta * UT1.mT.mT).mT @ dX")],
        "subtracts what the leaving memory says": [one_link("P.mT @ dO - K @ dS.mT")],
        "has both signs the other way round": [one_link(dS_in="dS - dO.mT @ Q + dV.mT @ K")],
        "sends the gradient of the memory through P": [one_link("P.mT @ (dO + K @ dS.mT)")],
        "applies beta twice": [one_link(dV="beta[:, None] * (UT1.mT @ (beta[:, None] * dX))")],
        "passes the gradient on unchanged": [one_link(dS_in="dS")],
        "does not transpose P, and does not transpose the inverse": [
            one_link("P @ dO + K @ dS.mT", "beta[:, None] * (UT1 @ dX)")],
        "hears the outputs only, and drops the gradient that came in": [
            one_link("P.mT @ dO", dS_in="dO.mT @ Q - dV.mT @ K")],
    },
    "9.4": {
        "right": [dbeta("R - (K @ K.mT).tril(-1) @ X")],
        "keeps the division": [dbeta("X / b")],
        "adds 1e-08 to β": [dbeta("X / (b + 1e-8)")],
        "sets the gradient to zero where β is zero": [dbeta("X / (b + 1e-16)"), dbeta("X / b.clamp(min=1e-6)"),
                                                      dbeta("(X / b).nan_to_num()")],
        "takes away the errors of earlier tokens": [dbeta("R - (K @ K.mT).tril(-1) @ R")],
        "sees the writes of all tokens": [dbeta("R - K @ K.mT @ X")],
        "adds what the earlier tokens have written": [dbeta("R + (K @ K.mT).tril(-1) @ X")],
    },
    "9.5": {"right": ["DBGAHFCE", "DBGHAFCE"], "falls for both decoys": ["DBGJIFCE"],
            "updates dS before dK has used it": ["DBGAHCFE"]},
    "9.6": {
        "right": [Chunk],
        "saves the outputs too": [SavesOutputs],
        "saves copies of the inputs": [SavesACopy],
        "saves as many numbers too as V has": [saves_one_more(0), saves_one_more(1)],
        "takes the memory that entered for empty": [ForgetsTheMemory],
        "returns the memory first": [MemoryFirst],
        "returns too few gradients": [with_gradients(lambda gradients, dS: gradients[:4])],
        "passes the gradient of the memory on unchanged": [with_gradients(lambda gradients, dS: (*gradients[:4], dS))],
    },
    "9.7": {"right": [((0, 0), (1, 1), 0, 1, (1, 0)), (torch.tensor([1.0, 2]), (0.6, 0.8), 2.2, 0.5, [1, 1])],
            "starts from a memory that says nothing": [((0, 0), (1, 0), 1, 0.5, (1, 0))],
            "has no error left after the write, but one before it": [
                ((0, 0), (1, 0), 1, 1, (1, 0)), ((1, 2), (1, 0), 5, 1, (1, 0)), ((1, 2), (1, 1), 1.5, 0.5, (1, 0))],
            "switches the token off": [((1, 2), (1, 0), 3, 0, (1, 0))],
            "switches the token off, though the memory knows its value": [((1, 2), (1, 0), 1, 0, (1, 0))],
            "writes along a key of zeros": [((1, 2), (0, 0), 0, 0.5, (1, 0)), ((1, 2), (0, 0), 1, 0, (1, 0))],
            "asks the memory with the query": [((1, 2), (1, 0), 3, 0.5, (1, 1))],
            "surprises the memory": [((1, 2), (1, 0), 5, 0.3, (1, 0)), ((1, 2), (1, 1), 1.5, 0.4, (1, 0))],
            "has the sign wrong": [((1, 2), (1, 0), -1, 0.5, (1, 0))],
            "writes 0 where the memory says something else": [((1, 2), (1, 0), 0, 0.5, (1, 0))]},
    "9.8": {
        "right": [fading(lambda b, i: b[i] * (1 - b)[i + 1:].prod())],
        "fades by all other writes": [fading(lambda b, i: b[i] * torch.cat([1 - b[:i], 1 - b[i + 1:]]).prod())],
        "multiplies all strengths up to its own": [fading(lambda b, i: b[:i + 1].prod())],
        "fades with its own strength": [fading(lambda b, i: b[i] * (1 - b[i]) ** (len(b) - i - 1))],
        "fades by its own and the earlier strengths": [lambda b: b * (1 - b).cumprod(0)],
        "gives what the last token writes": [
            lambda b: (torch.linalg.inv(torch.eye(len(b)) + b[:, None].expand(-1, len(b)).tril(-1)) * b)[-1]],
        "fades by its own strength only": [lambda b: b * (1 - b)],
        "counts from the end": [lambda b: torch.stack([b[i] * (1 - b[i + 1:]).prod() for i in range(len(b))][::-1])],
    },
    "9.9": {
        "right": [joined("W2 - A @ W1", "U2 - A @ U1")],
        "measures the overlap of the later keys with W": [joined("W2 - A @ W1", "U2 - A @ U1", "K2 @ W1.mT")],
        "corrects U only": [joined("W2", "U2 - A @ U1")],
        "masks what chunk 2 asks of chunk 1": [joined("W2 - A @ W1", "U2 - A @ U1", "(W2 @ K1.mT).tril()")],
        "keeps only the correction": [joined("A @ W1", "A @ U1")],
        "keeps only the correction of U": [joined("W2 - A @ W1", "A @ U1")],
        "puts the rows of the second chunk on top": [lambda *x: tuple(
            torch.cat([rows[len(x[0]):], rows[:len(x[0])]]) for rows in joined("W2 - A @ W1", "U2 - A @ U1")(*x))],
        "adds the correction": [joined("W2 + A @ W1", "U2 + A @ U1")],
    },
    "9.10": {"right": [12, 12.0], "takes twice as much": [24], "takes a memory for a vector": [0.125],
             "stores one memory, and counts its numbers": [96 * 128 / 2**20],
             "counts keys and values": [8192 * (96 + 128) * 4 / 2**20], "counts in bits": [96],
             "counts 32 memories": [32 * 96 * 128 * 4 / 2**20]},
    "9.11": {
        "right": [translated("UT1 @ (b * (v - k @ h))"), translated("UT1 @ (b * v) - UT1 @ (b * k) @ h")],
        "repairs the layout only": [translated("UT1 @ v - UT1 @ k @ h", "q @ h + scale * (q @ k.mT).tril() @ X")],
        "multiplies UT1 by β on the left, in W": [translated("UT1 @ (b * v) - b * (UT1 @ k) @ h")],
        "multiplies UT1 by β on the left": [translated("b * (UT1 @ (v - k @ h))")],
        "scales what the memory says about the keys": [translated("UT1 @ (b * (v - scale * (k @ h)))")],
        "scales twice": [translated("UT1 @ (b * (v - k @ h))", "scale * scale * (q @ h + (q @ k.mT).tril() @ X)")],
        "takes 1/√K whatever the scale": [translated(
            "UT1 @ (b * (v - k @ h))", "q.shape[1] ** -0.5 * (q @ h + (q @ k.mT).tril() @ X)")],
    },
    "9.12": {"right": ["dcaefb", "d c a e f b"], "swaps 3 and 5": ["dcfeab"], "swaps 1 and 2": ["cdaefb"],
             "swaps 4 and 6": ["dcabfe"], "mixes up 3, 4 and 5": ["dcefab"],
             "mixes up 3, 4 and 5 the other way round": ["dcfaeb"],
             "gives a formula for each meaning": ["".join("abcdef"["dcaefb".index(c)] for c in "abcdef")]},
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


@pytest.mark.parametrize("epsilon", [1e-12, 1e-8, 1e-5])
def test_a_small_epsilon_is_shown_where_it_matters(epsilon):
    """The case shown is one with β = 0: expected and actual differ to the eye."""
    text = grade(find("exercise", "9.4"), dbeta(f"X / (b + {epsilon})")).text
    assert "expected  [-3.48]" in text and "yours     [0]" in text, text
