"""Chapter 13: making it fast. The equations and the predictions of its lesson."""

import math

import torch

from ...bench.report import floor_bytes, floor_flops
from ...bench.roofline import size
from ...figures.tensor_core import to_tf32
from ...ops import delta_rule_recurrent
from ...ops.delta_rule.householder import householder_product, wy_u, wy_w
from ...tutor import equation, prediction
from ..common import eye_like, inputs, one_head
from .host import timeline
from .segments import map_by_tokens, segment_map

# -- equations ---------------------------------------------------------------------------------------------------------


@equation("13.1", r"\text{bytes a token and head, forward} \ge n\,(2K + 2V + 1)")
def _(g):
    for dtype, n in ((torch.bfloat16, 2), (torch.float32, 4)):
        for K, V in ((64, 64), (32, 128)):
            q, k, v, beta, o = (torch.empty(2, 3, 5, D, dtype=dtype) for D in (K, K, V, 1, V))
            moved = sum(map(size, (q, k, v, beta, o))) / (2 * 3 * 5)
            yield "what a forward pass is given and gives", moved, n * (2 * K + 2 * V + 1)
            yield "what the report draws", floor_bytes(K, V, n)["forward"], n * (2 * K + 2 * V + 1)


def products_of_a_chunk(K, V, C):
    """(rows, inner, columns) of the products of eq. 8.6, 8.5 and 8.4."""
    return [(C, K, C), (C, K, C), (C, K, V), (C, C, V), (C, K, V), (C, C, V), (V, C, K)]


@equation("13.2", r"\text{FLOPs a token and head, forward} = 6KV + 4C\,(K + V)")
def _(g):
    for K, V, C in ((128, 128, 64), (64, 32, 16), (8, 16, 1)):
        counted = sum(2 * a * b * c for a, b, c in products_of_a_chunk(K, V, C)) / C
        yield "seven products a chunk, shared by its tokens", counted, 6 * K * V + 4 * C * (K + V)
        yield "what the report draws", floor_flops(K, V, C)["forward"], 6 * K * V + 4 * C * (K + V)


@equation("13.3", r"S' = S M + b, \qquad M = I - W^\top K = M_1 M_2 \cdots M_n, \qquad b = U^\top K")
def _(g):
    for q, k, v, beta, S in inputs(g, "q k v beta S"):
        M, b = eye_like(k) - wy_w(k, beta).T @ k, wy_u(k, v, beta).T @ k
        yield "the memory after the segment", S @ M + b, one_head(delta_rule_recurrent, q, k, v, beta, S)[1]
        yield "the product of the tokens", M, householder_product(k, beta)
        yield "an empty memory ends in b", b, map_by_tokens(k, v, beta)[1]


@equation("13.4", r"\text{chunks in a row:}\quad N \;\to\; 2\left\lceil N / P \right\rceil + P\,\varepsilon")
def _(g):
    for N in (1, 7, 64, 512):
        for P in (1, 2, 3, 16):
            lengths = [len(range(p, N, P)) for p in range(P)]            # chunks dealt out to P segments
            clock = max(lengths)                                         # maps, side by side
            for _ in range(P):                                           # a chain of P short steps
                clock += 0.125
            clock += max(lengths)                                        # sweeps, side by side
            yield "counted", float(clock), 2.0 * math.ceil(N / P) + 0.125 * P


@equation("13.5", r"dS = dS'\,M^\top + c")
def _(g):
    for q, k, v, beta, S in inputs(g, "q k v beta S"):
        S = S.clone().requires_grad_()
        o, final = one_head(delta_rule_recurrent, q, k, v, beta, S)
        do, dS = torch.randn(o.shape, generator=g, dtype=o.dtype), torch.randn(S.shape, generator=g, dtype=S.dtype)
        whole, = torch.autograd.grad((o, final), S, (do, dS), retain_graph=True)
        c, = torch.autograd.grad(o, S, do)                               # nothing arrives from behind
        yield "autograd", whole, dS @ segment_map(k, v, beta)[0].T + c


@equation("13.6", r"\text{done} = \max_{j}\Big( j\,h + \sum_{i \ge j} t_i \Big)")
def _(g):
    for h in (0.5, 5.0, 40.0):
        for n in (1, 3, 8):
            t = (20 * torch.rand(n, generator=g, dtype=torch.float64)).tolist()
            yield "two clocks, kernel by kernel", timeline(t, h)[0], max((j + 1) * h + sum(t[j:]) for j in range(n))


@equation("13.7", r"xy \approx \hat x \hat y + \hat x\,\widehat{(y - \hat y)} + \widehat{(x - \hat x)}\,\hat "
                  r"y", tolerance=1e-6)
def _(g):
    for n in (16, 64):
        x, y = (torch.randn(n, n, generator=g) / n**0.5 for _ in range(2))
        (a, da), (b, db) = ((to_tf32(z), to_tf32(z - to_tf32(z))) for z in (x, y))
        exact = x.double() @ y.double()
        three = sum(p.double() @ q.double() for p, q in ((a, b), (a, db), (da, b)))
        yield "three products of tf32", exact, three


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "13.a", question="A GPU that does 800 TFLOP/s multiplies two matrices of 8192 × 8192 numbers. We read the clock, "
                     "call `a @ b`, and read the clock again. Which speed comes out?",
    options={
        "about 700 TFLOP/s": "That would be the truth, nearly. But when the call returns, the product is not there "
                             "yet.",
        "far more than the chip can do": "The call puts the product into a queue and returns. The clock measures how "
                                         "long it takes to put something into a queue.",
        "far less, since Python is slow": "Python takes less than a hundred microseconds, the product more than a "
                                         "thousand.",
        "it cannot be said": "It can: the clock stops when the call returns, and the call does not wait.",
    },
    answer="far more than the chip can do",
)

prediction(
    "13.b", question="Memory moves 4 TB/s. An array of 16 MB is copied, again and again; each copy is timed by marks "
                     "in the queue. How fast does it look?",
    options={
        "4 TB/s": "That is main memory. The second copy does not go there.",
        "slower: small copies are inefficient": "A little, because of the launch. Something else weighs more.",
        "4 TB/s at first, then slower": "Nothing gets slower here.",
        "faster than memory": "After the first copy both arrays lie in the cache, which has 50 MB. In a model other "
                              "kernels run in between, and they would not.",
    },
    answer="faster than memory",
)

prediction(
    "13.c", question="The same product of 8192 × 8192 matrices, once of random numbers, once of zeros. Which is "
                     "faster on an H200?",
    options={
        "zeros": "No multiplication is skipped. But bits that do not change cost no power, and a chip at its power "
                 "limit must slow down its clock.",
        "random numbers": "There is no reason why they should be.",
        "both alike: the same instructions": "The instructions are the same, and so are the bytes. The power is not.",
        "zeros, since products with zero are skipped": "Dense tensor cores skip nothing.",
    },
    answer="zeros",
)

prediction(
    "13.d", question="The chunkwise form in four kernels moves W, U, X and one memory a chunk through main memory. "
                     "Which of these need not be stored at all, not even in two kernels?",
    options={
        "only W and U": "They go first (eq. 8.6). But X and the memories go as well, if outputs are computed where the "
                        "memory is.",
        "only the memories": "They do not, if outputs are computed where the memory is. And then X need not leave "
                             "either.",
        "none of the four must be stored": "Eq. 8.6 makes W and U unnecessary; a program that carries the memory "
                                           "from chunk to chunk can compute the outputs at once, from X and S in its "
                                           "registers.",
        "all must, or the backward pass has nothing": "It computes them again: cheaper than storing them, as chapter "
                                                      "12 shows.",
    },
    answer="none of the four must be stored",
)

prediction(
    "13.e", question="One text of 32,768 tokens, 8 heads of width 128, and programs that hold 64 rows of a memory "
                     "each. How many of an H200's 132 multiprocessors have work?",
    options={
        "all": "Only if there are 132 programs. Count them: heads times row tiles.",
        "8": "One a head would be so if a program held all 128 rows.",
        "128": "That is the width of a head. Each program holds 64 rows.",
        "16": "8 heads, two tiles of 64 rows each. The other 116 multiprocessors wait, for all 512 chunks.",
    },
    answer="16",
)

prediction(
    "13.f", question="Where will the chunkwise kernels lose against softmax attention?",
    options={
        "short texts": "Attention's work grows with T a token, ours with K: in a short text there is little to save, "
                       "and our passes launch more kernels.",
        "long texts": "That is where attention's cost grows quadratically.",
        "many heads": "More heads fill the chip: good for both.",
        "nowhere": "Look at the row with the shortest texts.",
    },
    answer="short texts",
)
