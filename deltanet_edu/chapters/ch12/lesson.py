"""Chapter 12: the backward kernels. The equations and the predictions of its lesson."""

import torch

from ...bench.roofline import kept
from ...bench.trace import Trace
from ...kernels import delta_rule_chunkwise, interpreted
from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import equation, prediction
from ...tutor.cases import normal, strengths, unit_keys
from ..ch09.chunk import by_autograd, forward_chunk, token_loop
from ..common import inputs, loop

ONE = "q k v beta S do dS"                                               # of one chunk, and the gradients that arrive


@equation("12.1", r"dV = \mathbf{T}^\top dX = \beta \odot dX + \mathrm{stril}(\mathbf{T})^\top dX")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        UT, P = ut_by_solve(k, beta), (q @ k.T).tril()
        dX = P.T @ do + k @ dS.T
        yield "autograd through the token loop", by_autograd(token_loop, (q, k, v, beta, S), (do, dS))[2], UT.T @ dX
        yield "the diagonal is β", UT.T @ dX, beta[:, None] * dX + UT.tril(-1).T @ dX


@equation("12.2", r"dX^\top = dO^\top P + dS'\,K^\top, \qquad dV^\top = dX^\top\,\mathbf{T}, \qquad "
                  r"dS = dS' + dO^\top Q - dV^\top K")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE):
        _, P, R, X = forward_chunk(q, k, v, beta, S)[2]
        gradients = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        dX_t = do.T @ P + dS @ k.T
        dV_t = dX_t @ ut_by_solve(k, beta)
        yield "dX", by_autograd(lambda X: (q @ S.T + P @ X, S + X.T @ k), (X,), (do, dS))[0].T, dX_t
        yield "dV = autograd through the token loop", gradients[2].T, dV_t
        yield "dS = autograd through the token loop", gradients[4], dS + do.T @ q - dV_t @ k


@equation("12.3", r"d\beta_t = dz_t^\top e_t = \frac{dV_t^\top X_t}{\beta_t^2} \qquad (\beta_t \ne 0)")
def _(g):
    for q, k, v, beta, S, do, dS in inputs(g, ONE, betas=("random", "large")):
        gradients = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))
        X = forward_chunk(q, k, v, beta, S)[2][3]
        memories = loop(q, k, v, beta, S)[1]
        e = torch.stack([v_t - S_t @ k_t for v_t, k_t, S_t in zip(v, k, memories)])
        dZ = gradients[2] / beta[:, None]
        yield "autograd through the token loop", gradients[3], (dZ * e).sum(1)
        yield "from dV and X", gradients[3], (gradients[2] * X).sum(1) / beta**2
    for q, k, v, beta, S, do, dS in inputs(g, ONE, betas=("zero",)):
        nearly = torch.full_like(beta, 2.0**-50)
        gradients = by_autograd(token_loop, (q, k, v, nearly, S), (do, dS))
        X = forward_chunk(q, k, v, nearly, S)[2][3]
        at_zero = by_autograd(token_loop, (q, k, v, beta, S), (do, dS))[3]
        yield "β = 0, with 2^-50 in its place", at_zero, (gradients[2] * X).sum(1) / nearly**2


def sequence(g, T, K, V):
    """q, k, v, beta of one head for the kernels, with gradients wanted."""
    made = normal(g, 1, T, 1, K), unit_keys(g, 1, T, 1, K), normal(g, 1, T, 1, V), strengths(g, 1, T, 1)
    device = "cpu" if interpreted() else "cuda"
    return [x.to(device, torch.float32).requires_grad_() for x in made]


@equation("12.4", r"B = e\,\Big(7\,d_k + 7\,d_v + 2\,C + \frac{4\,d_k d_v}{C}\Big)")
def _(g):
    if not interpreted():                                                # a GPU is not watched: the sum of the parts
        yield "added up", 7 * 128 + 7 * 128 + 2 * 64 + 4 * 128 * 128 // 64, 2944
        return
    for T, C, K, V in ((16, 16, 16, 16), (64, 32, 32, 16)):              # V = 16: one tile in float32
        tokens = sequence(g, T, K, V)
        o, _ = delta_rule_chunkwise(*tokens, chunk_size=C)
        with Trace() as seen:
            torch.autograd.grad(o.sum(), tokens)
        each = [x for launch in seen.launches for name, x in launch.tensors.items() if "beta" not in name]
        yield "bytes that the kernels load and store", sum(x.loaded + x.stored for x in each) // T, \
            4 * (7 * K + 7 * V + 2 * C + 4 * K * V // C)


@equation("12.5", r"M = T\,\big(e\,(2\,d_k + d_v + C) + 4\big) + 4\,d_k d_v, \qquad "
                  r"M_{\text{save}} - M = T\,e\,\Big(d_v + \frac{d_k d_v}{C}\Big)")
def _(g):
    for T, C, K, V in ((16, 16, 16, 16), (64, 32, 32, 16)):
        tokens = sequence(g, T, K, V)
        options = dict(initial_state=tokens[2].new_zeros(1, 1, V, K), chunk_size=C)
        M = kept(delta_rule_chunkwise, *tokens, **options)
        yield "bytes that autograd holds", M, T * (4 * (2 * K + V + C) + 4) + 4 * K * V
        saving = kept(delta_rule_chunkwise, *tokens, **options, save_states=True)
        yield "more if S and X are saved", saving - M, T * 4 * (V + K * V // C)


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "12.a", question="The layer with the forward kernels, whose launches autograd does not see: what happens in "
        "training?",
    options={
        "an error at the first backward pass": "There would be one if nothing had a gradient. But the values are "
            "also added to the output, and that way is open.",
        "the loss stays where it is": "It falls: the matrix of the values still learns through v + o, as if o were a "
            "constant.",
        "the loss falls, more slowly, and nobody is told": "The values learn through the sum, queries and keys not "
            "at all, and no message says so.",
        "nothing: gradients come through the kernels": "Autograd records PyTorch's operations. A launch gets "
            "addresses, and is none of them.",
    },
    answer="the loss falls, more slowly, and nobody is told",
)

prediction(
    "12.b", question="One program, four warps, one register a number: dQ and dK are (64, 128), dP and E (64, 64). "
        "How many of a thread's 255 registers do they take?",
    options={
        "96": "24,576 numbers for 128 threads make 192: each number is float32, and takes a register of its own.",
        "192": "2 · 64 · 128 + 2 · 64 · 64 = 24,576 numbers, 128 threads. What is left for tiles and addresses is 63.",
        "255, whatever one does": "That is the limit, not the need. The accumulators need 192, and everything else "
            "comes on top.",
        "384": "That would be two warps. Four warps have 128 threads: 192 each.",
    },
    answer="192",
)

prediction(
    "12.c", question="64 chunks, operands in bfloat16. If dS itself is also rounded to bfloat16 after each chunk, "
        "its relative error at the end is about",
    options={
        "the same": "Each rounding of dS is as small as that of an operand, but it stays in dS, and the next one is "
            "added to it.",
        "64 times as large": "It would be, if all errors pointed the same way, and none were forgotten. They are "
            "random, and old ones fade as tokens overwrite.",
        "a million times as large": "Nothing is unstable here: the memory forgets errors as it forgets everything "
            "else.",
        "several times as large": "The errors of 64 roundings add up like steps in random directions, and the old ones "
            "fade.",
    },
    answer="several times as large",
)
