"""Chapter 10: Triton from zero. The equations and the predictions of its lesson.

The kernels are checked in problems.py; these are their formulas.
"""

import itertools
import math

import torch

from ...figures.tensor_core import to_tf32
from ...tutor import equation, prediction
from ..common import eye_like
from .problems import triangles

# -- equations ---------------------------------------------------------------------------------------------------------

def tile(p, B, n):
    """Which of n numbers belong to program p."""
    return [i for i in range(p * B, (p + 1) * B) if i < n]


@equation("10.1", r"\{0, \dots, n-1\} = \bigcup_{p=0}^{P-1} \{\, i : pB \le i < (p+1)B,\ i < n \,\}, \qquad "
                  r"P = \lceil n / B \rceil")
def _(g):
    for n, B in ((1, 16), (16, 16), (37, 16), (64, 8)):
        touched = sum((tile(p, B, n) for p in range(math.ceil(n / B))), [])
        yield "each number belongs to one program", torch.tensor(touched), torch.arange(n)


@equation("10.2", r"\mathrm{address}(x_{ij}) = \mathrm{address}(x_{00}) + i\,s_0 + j\,s_1")
def _(g):
    whole = torch.randn(6, 8, generator=g, dtype=torch.float64)
    views = {"a matrix": whole, "its transpose": whole.mT, "a part of it": whole[1:4, 2:7],
             "every other": whole[::2, ::3]}
    for name, x in views.items():
        i, j = torch.arange(x.shape[0])[:, None], torch.arange(x.shape[1])[None, :]
        s0, s1 = x.stride()
        yield name, x, whole.flatten()[x.storage_offset() + i * s0 + j * s1]


@equation("10.3", r"\sum_j e^{x_j - m} = e^{m_1 - m} \sum_{j \le b} e^{x_j - m_1} + "
                  r"e^{m_2 - m} \sum_{j > b} e^{x_j - m_2}, \qquad m = \max(m_1, m_2)")
def _(g):
    for b, shift in ((1, 0), (7, -100), (10, 30)):
        x = 5 * torch.randn(20, generator=g, dtype=torch.float64) + shift
        one, two = x[:b], x[b:]
        m1, m2, m = one.max(), two.max(), x.max()
        joined = (m1 - m).exp() * (one - m1).exp().sum() + (m2 - m).exp() * (two - m2).exp().sum()
        yield "two parts, joined", (x - m).exp().sum(), joined
        yield "the logarithm", x.logsumexp(0), m + joined.log()


def run(programs, order):
    """What memory holds after the programs have run in this order. A program: (entries read, entry written)."""
    memory = [1.0, 2.0, 4.0, 8.0, 0.0, 0.0, 0.0, 0.0]
    for p in order:
        reads, writes = programs[p]
        memory[writes] = sum(memory[i] for i in reads)
    return torch.tensor(memory)


@equation("10.4", r"\mathrm{stores}(p) \cap \big(\mathrm{loads}(q) \cup \mathrm{stores}(q)\big) = \varnothing "
                  r"\quad \text{for all programs } p \ne q")
def _(g):
    apart = [({0, 1}, 4), ({1, 2}, 5), ({0, 3}, 6), ({2}, 7)]
    meeting = [({0, 4}, 4), ({4}, 5), ({0, 3}, 6), ({2}, 7)]              # programs 0 and 1 meet at entry 4
    for order in itertools.permutations(range(4)):
        yield "apart: every order gives the same", run(apart, order), run(apart, range(4))
    results = {tuple(run(meeting, order).tolist()) for order in itertools.permutations(range(4))}
    yield "meeting: two results are possible", len(results), 2


@equation("10.5", r"O_{IJ} = \sum_{k} A_{Ik}\, B_{kJ}, \qquad \text{numbers loaded} = "
                  r"MNK \Big( \frac{1}{B_M} + \frac{1}{B_N} \Big)")
def _(g):
    for M, N, K, BM, BN, BK in ((8, 12, 4, 2, 3, 2), (6, 6, 6, 6, 3, 2)):
        A, B = torch.randn(M, K, generator=g).double(), torch.randn(K, N, generator=g).double()
        O, loaded = torch.zeros(M, N, dtype=torch.float64), 0
        for i, j, k in itertools.product(range(0, M, BM), range(0, N, BN), range(0, K, BK)):
            a, b = A[i:i + BM, k:k + BK], B[k:k + BK, j:j + BN]
            O[i:i + BM, j:j + BN] += a @ b
            loaded += a.numel() + b.numel()
        yield "tile by tile", A @ B, O
        yield "numbers loaded", loaded, M * N * K * (1 / BM + 1 / BN)


@equation("10.6", r"|\mathrm{round}_b(x) - x| \le 2^{-b-1}\, |x|, \qquad b = 23 \text{ (float32)},\ "
                  r"10 \text{ (tf32)},\ 7 \text{ (bf16)}")
def _(g):
    x = torch.randn(1000, generator=g, dtype=torch.float64)
    rounded = {23: x.float(), 10: to_tf32(x.float()), 7: x.to(torch.bfloat16)}
    for b, y in rounded.items():
        largest = ((y.double() - x) / x).abs().max().item()
        yield f"{b} bits: below the bound", largest <= 2.0 ** (-b - 1) * (1 + 2**-12), True
        yield f"{b} bits: and near it", largest > 2.0 ** (-b - 2), True


@equation("10.7", r"X \leftarrow X - e_t\, (a_t^\top X), \qquad a_t^\top = \text{row } t \text{ of } A, \qquad "
                  r"t = 1, \dots, C - 1")
def _(g):
    for (systems,) in (case.args for case in triangles(g)):
        for A in systems.double():
            X = eye_like(A)
            for t in range(1, len(A)):
                e_t = eye_like(A)[t]
                X = X - torch.outer(e_t, A[t] @ X)
            yield "after the last step", X, torch.linalg.inv(eye_like(A) + A)


@equation("10.8", r"X_{ij} = -X_{ii} \sum_{k=j}^{i-1} A_{ik}\, X_{kj} \qquad (i > j)")
def _(g):
    n, b = 4, 3
    A = torch.randn(n * b, n * b, generator=g, dtype=torch.float64).tril(-1)
    block = lambda i, j: (slice(b * i, b * i + b), slice(b * j, b * j + b))                          # noqa: E731
    X = torch.zeros_like(A)
    for i in range(n):
        X[block(i, i)] = torch.linalg.inv(torch.eye(b, dtype=A.dtype) + A[block(i, i)])
        for j in range(i):
            X[block(i, j)] = -X[block(i, i)] @ sum(A[block(i, k)] @ X[block(k, j)] for k in range(j, i))
    yield "block by block", X, torch.linalg.inv(eye_like(A) + A)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "10.a", question="Eight programs each load o, add a row of x, and store o. On a GPU they run at the same time. "
                     "What is in o afterwards?",
    options={
        "the sum of all rows": "Only if each program waits until the one before has stored, and nothing makes it wait.",
        "an error": "Nothing is wrong with any single load or store, so nobody complains.",
        "the sum of some of the rows": "Programs that loaded o before others had stored know nothing of them, and what "
                                       "they store erases the others' work. Which rows survive is chance.",
    },
    answer="the sum of some of the rows",
)

prediction(
    "10.b", question="A tile sticks out of its tensor and the load has no mask. What does the interpreter load there?",
    options={
        "whatever lies there": "Addresses are addresses. What lies behind a tensor is another tensor, or something "
                               "that no longer exists.",
        "zeros": "Only a mask gives you that: other=0.0.",
        "an error": "That would be kind. On a GPU you may get one, much later, without the name of the line.",
    },
    answer="whatever lies there",
)

prediction(
    "10.c", question="Softmax of rows in five PyTorch operations: maximum, difference, exponential, sum, quotient. How "
                     "many bytes do they move, as a multiple of reading x once and writing the result once?",
    options={
        "the same": "Each operation reads its input from memory and writes its result back, for the next one to read.",
        "twice": "The exponentials alone are written once and read twice.",
        "three times": "Nearly: count reads and writes of each of the five.",
        "four times": "Reads: maximum 1, difference 1, exponential 1, sum 1, quotient 1. Writes: difference, "
                      "exponential, quotient. Eight passes where two would do.",
    },
    answer="four times",
)

prediction(
    "10.d", question="A product of two 64 × 64 matrices, in tiles of 16 × 16, and then of 32 × 32. By how much do the "
                     "bytes that are loaded shrink?",
    options={
        "not at all": "The result is the same, but each row of A is read once for every column of tiles.",
        "to a half": "Every number of A is loaded once for each tile of columns, and there are half as many now.",
        "to a quarter": "There are a quarter as many programs, but each loads twice as much.",
    },
    answer="to a half",
)

prediction(
    "10.e", question="X is a 16 × 16 tile in registers. How do you get its row t?",
    options={
        "X[t]": "Registers have names, not addresses, and which thread holds row t is the compiler's business.",
        "tl.load(X + t)": "X is not a pointer: it is the numbers.",
        "store X and load the row": "It works, through memory, with everybody waiting for it.",
        "a mask and a sum": "tl.sum(tl.where(i == t, X, 0), 0): everybody takes part, and all but row t add zeros.",
    },
    answer="a mask and a sum",
)
