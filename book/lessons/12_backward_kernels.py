# %% [markdown]
# # 12. The backward kernels
#
# *Chapter 9's algebra as two sweeps and one launch for all the rest, and what a register costs.*

# %%
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"                    # no GPU: Triton's interpreter runs the kernels, on the CPU
import triton
import triton.language as tl

# %%
from torch.nn.functional import normalize

from deltanet_edu import kernels
from deltanet_edu.bench.ahead_of_time import compiled
from deltanet_edu.bench.roofline import kept
from deltanet_edu.bench.trace import Trace
from deltanet_edu.chapters.ch12 import forward, queries, tiles
from deltanet_edu.figures import backward_kernels as picture
from deltanet_edu.kernels.backward import backward_sweep, gradients_kernel
from deltanet_edu.kernels.operator import Chunkwise
from deltanet_edu.ops import delta_rule_chunkwise, delta_rule_recurrent
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)

# %% [markdown]
# ## A model that learns, a little
#
# Chapter 11 ended with a forward pass that is right and fast. Put it into a layer and train. The layer makes queries, keys and
# values from its input by three matrices, and adds to each value what the memory answers. A teacher of the same form, with other
# matrices, says what should come out.

# %%
def layer(W, x, rule):
    """W: queries, keys, values (3, D, D); x: (1, T, 1, D)."""
    q, k, v = (x @ w for w in W)
    beta = torch.full(x.shape[:3], 0.5, device=DEVICE)
    return v + rule(normalize(q, dim=-1), normalize(k, dim=-1), v, beta)

def by_launches(q, k, v, beta):
    """Chapter 11: two kernels, launched."""
    S = torch.zeros(1, 1, 16, 16, device=DEVICE)
    return forward.forward(q, k, v, beta, S, 1.0, 16)[0]

torch.manual_seed(0)
x, teacher, start = (torch.randn(*n, 16, device=DEVICE) for n in ((1, 24, 1), (3, 16), (3, 16)))

# %%
def descend(rule, steps=20):
    W = (start / 4).requires_grad_()
    target = layer(teacher / 4, x, lambda *a: delta_rule_recurrent(*a)[0]).detach()
    losses = []
    for _ in range(steps):
        loss = (layer(W, x, rule) - target).square().mean()
        losses.append(loss.item())
        g, = torch.autograd.grad(loss, W)
        W = (W - 2 * g).detach().requires_grad_()
    return losses, g.flatten(1).norm(dim=1)

# %% [markdown]
# Twenty steps with chapter 11's kernels, and twenty with the token loop in PyTorch. The forward passes agree to rounding. Guess,
# before you run the cell:

# %%
predict("12.a")

# %%
by_loop, g_loop = descend(lambda *a: delta_rule_recurrent(*a)[0])
by_kernel, g_kernel = descend(by_launches)
for name, losses, g in (("loop", by_loop, g_loop), ("kernels", by_kernel, g_kernel)):
    print(f"{name:8} loss {losses[0]:.3f} -> {losses[-1]:.3f}   gradients of the matrices for q, k, v:",
          *(f"{x:.3g}" for x in g))

# %%
picture.losses({"token loop": by_loop, "kernels": by_kernel});

# %% [markdown]
# No error, no warning. The loss falls, and the matrices for queries and keys are never touched.
#
# PyTorch records operations on tensors. A kernel is handed addresses, and writes at an address; for autograd `o` has come out of
# nowhere, a constant. Through `v +` enough of a gradient flows for the curve to look like learning.
#
# **The question of this chapter**: what has to be launched, in which order, so that the gradient comes back through a kernel? And
# what must the forward pass leave behind?

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * cut a backward pass into what is sequential and what is not, and say which parts may share a launch;
# * write the backward sweep, and the gradients of queries, keys and write strengths, as kernels;
# * count what is stored and what is computed again, in bytes, and check the count;
# * see registers spill without owning a GPU, and keep an accumulator from doing it;
# * give launches a gradient: `autograd.Function`, and the operator that compilers see.
#
# You need chapters 9 (the algebra), 10 (Triton) and 11 (the forward kernels). Reading and running takes about an hour, the exercises
# three and a quarter: at their end stands a backward pass of your own. In the package, the chapter builds `deltanet_edu/kernels/backward.py`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 9: which tensors does the chain of dS need, and which not?</summary>
#
# Queries, keys, β (with them $\mathbf{T}$ and $P$) and $dO$. No values, no memory, no $X$.
#
# </details>
#
# <details><summary>2. Chapter 10: two programs write the same number. What does the interpreter say, and what does a GPU do?</summary>
#
# The interpreter runs one program after the other and says nothing; the later one wins. On a GPU either may be the later one, on
# every run another.
#
# </details>
#
# <details><summary>3. Chapter 11: why does a program hold its part of the memory as (V_TILE, K), with tokens as columns in all that follows?</summary>
#
# The result of one product is then the left operand of the next, and a left operand may come from registers. From one memory to the
# next nothing passes through shared memory.
#
# </details>

# %% [markdown]
# ## Three parts
#
# Chapter 9 sent the gradient through one chunk in two formulas and a half. Sort what they compute by what they wait for:
#
# | part | computes | waits for |
# |---|---|---|
# | forward sweep | $S$ of every chunk, and $X$ | the chunk before |
# | backward sweep | $dS'$ of every chunk, and $dV$ (eq. 9.4) | the chunk *after* |
# | gradients | $dQ$, $dK$, $d\beta$ (eq. 9.5 to 9.7) | the two sweeps, and nobody else |
#
# The forward sweep is chapter 11's without outputs: the memories were in registers, and are gone. `forward.memories` does it once
# more, and stores what passes by.

# %%
show(forward.memories_kernel)

# %% [markdown]
# `rows`, `memory` and `strengths` say where a tile lies; all kernels that are written in this chapter share them. (In the package, whose kernels come
# further down, `rows` makes the descriptor of chapter 11, and tiles come by `.load`.)

# %%
show(tiles.rows, tiles.memory)

# %% [markdown]
# ## Back through T, with what the forward pass has left
#
# Chapter 9 wrote $dV = \beta \odot \mathbf{T}_1^\top dX$ with the inverse alone, $\mathbf{T}_1$. What the forward kernels leave in memory is
# $\mathbf{T} = \mathbf{T}_1\,\mathrm{diag}(\beta)$, or rather its strictly lower part: its diagonal is $\beta$. That is all we need, since
# $\mathrm{diag}(\beta)\,\mathbf{T}_1^\top = \mathbf{T}^\top$:
#
# $$ dV = \mathbf{T}^\top dX = \beta \odot dX + \mathrm{stril}(\mathbf{T})^\top dX \tag{12.1} $$

# %%
verify("12.1")

# %% [markdown]
# By hand, with the three tokens of chapters 5 to 9. There $dX = (1,\ 0.6,\ 0)$ had arrived, and the rows of $\mathbf{T}$ are
# $(1, 0, 0)$, $(-0.3, 0.5, 0)$ and $(0.24, -0.4, 1)$. Chapter 9 found $dV = (0.82,\ 0.3,\ 0)$; here it should come out of two terms:

# %%
UT3 = torch.tensor([[1.0, 0.0, 0.0], [-0.3, 0.5, 0.0], [0.24, -0.4, 1.0]])  # (C, C)
dX3, beta3 = torch.tensor([1.0, 0.6, 0.0]), UT3.diagonal()
print("β ⊙ dX       ", beta3 * dX3)
print("stril(T)ᵀ dX ", UT3.tril(-1).mT @ dX3)
print("dV           ", beta3 * dX3 + UT3.tril(-1).mT @ dX3)

# %% [markdown]
# The first term is the larger one, and it needs no product: it stays in float32. Only the correction goes through the tensor
# cores in half precision.
#
# ## Tokens as columns, once more
#
# In chapter 11 the memory stays in registers as (V_TILE, K), so tokens are columns in what is made from it. Transpose (9.4) and (12.1):
#
# $$ dX^\top = dO^\top P + dS'\,K^\top, \qquad dV^\top = dX^\top\,\mathbf{T}, \qquad dS = dS' + dO^\top Q - dV^\top K \tag{12.2} $$

# %%
verify("12.2")

# %% [markdown]
# Look at the left operands. $dS'$ is the accumulator that the program carries; $dX^\top$ is the result of the product before;
# so is $dV^\top$. Each is in registers already. The right operands, $K$, $\mathbf{T}$, $Q$, are tiles as they were loaded. From one
# memory's gradient to the next nothing passes through shared memory, as in the forward sweep. And $\mathbf{T}$ is not even
# transposed: forward it was $X^\top = R^\top\,\mathbf{T}^\top$.
#
# Here is the package's sweep. Read it with (12.2) beside you; what is not in the formula is explained below.

# %%
show(backward_sweep)

# %% [markdown]
# | in the code | why |
# |---|---|
# | `dX_t * beta` as third argument of `tl.dot` | the accumulator starts with $\beta \odot dX$, in float32 (eq. 12.1) |
# | `dS_out`, the gradient before the update, is what is stored (with `GROUP` 1) | the chunk's $dK$ wants $dS'$, the gradient of the memory that *leaves* |
# | `GROUP` | of how many chunks one memory is stored: 1 for now, more under "What is moved" |
# | `PART`; `q`, `k` and `dS` are tuples | of one tile up to K = 128, of two for heads 256 wide, as in the forward sweep |
# | `P` first | it waits for nobody, so it can be worked out while the last chunk's $dS$ is still on its way |
# | `(-dV_t)` as an operand, not `dS - tl.dot(...)` | one accumulator; and the assembler of Triton 3.6 was caught losing products that are subtracted |
# | no `scale` until a store | everything is linear in $dO$ and $dS'$; what arrives from outside is divided by it instead, and stored memories stay so |
# | rows that do not exist read as zero | a key, a $dO$ and a row of $\mathbf{T}$ of zeros give nothing to anyone |

# %% [markdown]
# ## Side by side
#
# Chapter 9 found that the backward chain needs neither $S$ nor $X$. So the sweep that computes $S$ again and the sweep of $dS$
# wait for nothing of each other. What does the package make of that? We watch a backward pass: `Trace` notes what each program of
# each launch loads and stores. (It sees the interpreter; on a GPU these cells say so and go on.)

# %%
def inputs(T, K, V, H=1):
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, T, H, n, device=DEVICE) for n in (K, K, V))
    beta = torch.rand(1, T, H, device=DEVICE)
    return [x.requires_grad_() for x in (normalize(q, dim=-1), normalize(k, dim=-1), v, beta)]

def watch(f):
    """A Trace of the launches in f()."""
    if not kernels.interpreted():
        print("A GPU does not let itself be watched; the interpreter does.")
        return None
    with Trace() as seen:
        f()
    return seen

# %%
args = inputs(T=64, K=16, V=32)
o, _ = kernels.delta_rule_chunkwise(*args, chunk_size=16)
seen = watch(lambda: torch.autograd.grad(o.sum(), args))
for launch in seen.launches if seen else ():
    print(f"{launch.kernel:18} {launch.grid[0]:3} programs   {launch.loaded:7,} bytes loaded, {launch.stored:7,} stored")

# %% [markdown]
# Three launches: the strengths once more, both sweeps in *one* launch, and then the gradients. The sweeps have four programs here,
# two for each: V = 32 is cut into two tiles of 16 rows, because rows of a memory never meet. Who stores which memory?

# %%
if seen:
    sweeps = next(launch for launch in seen.launches if launch.kernel == "sweeps_kernel")
    picture.stores(sweeps)

# %% [markdown]
# *A column is a chunk, a row 16 rows of the memory. Even programs run forward, odd ones backward. No cell belongs to two programs, and nobody reads what another stores:*

# %%
print(seen.faults if seen else "not watched")

# %% [markdown]
# An empty list of faults is the proof that matters here: in whatever order a GPU runs these programs, the result is the same.
# On an H100, in half precision and with many heads, the package runs them one after the other all the same: a launch that holds two different
# programs gives each of them the registers of the hungrier one.

# %% [markdown]
# ## The rest, all chunks at once
#
# Now every chunk has its $S$, $X$, $dS'$ and $dV$, and waits for nobody. The smallest of the three gradients is that of the
# queries (eq. 9.6): $dQ = s\,(dO\,S + \mathrm{tril}(dO\,X^\top)\,K)$. One program per chunk and head; $V$ is a sum, so it can be cut into tiles
# that are added up in registers.

# %%
show(queries.dq_kernel)

# %% [markdown]
# Two accumulators are born before the loop, fed in it, and used after it: a mask can be put on $dP$ only when all of $V$ has been
# added. Is it right? A ragged length, K ≠ V, a memory that is not empty, a scale; against autograd through the token loop.
# Expect an error around $10^{-7}$ in the interpreter, which computes in float32, and around $10^{-3}$ on a GPU, whose tensor cores
# round float32 operands to ten bits unless told otherwise.

# %%
q, k, v, beta = (x.detach() for x in inputs(T=37, K=32, V=16, H=2))
S, do = torch.randn(1, 2, 16, 32, device=DEVICE), torch.randn(1, 37, 2, 16, device=DEVICE)
*_, UT_low = forward.forward(q, k, v, beta, S, 0.5, 16)
states, X = forward.memories(k, v, beta, UT_low, S)         # (B, H, N, V, K), (B, T, H, V)
dq = queries.gradient_of_queries(k, do, X, states, 0.5, 16)

wanted = q.double().requires_grad_()
o, _ = delta_rule_recurrent(wanted, *(x.double() for x in (k, v, beta)), initial_state=S.double(), scale=0.5)
expected, = torch.autograd.grad(o, wanted, do.double())
print(f"{dq.shape}, relative error {(dq - expected).norm() / expected.norm():.0e}")

# %% [markdown]
# ## What β learns from, as a by-product
#
# Chapter 9: the gradient of a write strength is the gradient on the write times the prediction error, $d\beta_t = dz_t^\top e_t$.
# Neither $dz$ nor $e$ is stored. But what is stored is nearly that: $dV = \beta \odot dZ$, and what a token writes is β times its
# error. So
#
# $$ d\beta_t = dz_t^\top e_t = \frac{dV_t^\top X_t}{\beta_t^2} \qquad (\beta_t \ne 0) \tag{12.3} $$

# %%
verify("12.3")

# %% [markdown]
# The numerators are the diagonal of $dV X^\top$, and *below* its diagonal that matrix is $E$, which the keys need anyway. The gradient
# of β costs no product at all.
#
# One case is left, and it is exercise 9.4 again: β = 0 gives 0/0. The kernels never meet it. What is nearer to zero than $2^{-50}$
# becomes $2^{-50}$ when β is loaded, in the forward pass as well. A token with error 3 and $dz = 2$ should have $d\beta = 6$:

# %%
for b in (0.5, 0.0, 2.0**-50):
    b = torch.tensor(b)
    X1, dV1 = b * 3, b * 2                                  # what is written, and dV
    print(f"β = {b:.1e}:   dβ = {dV1 * X1 / (b * b):.1f},   a memory of 1.0 becomes {1.0 + X1.item():.1f}")

# %% [markdown]
# Right, nan, right. The write of $3 \cdot 2^{-50}$ is lost as soon as it is added to anything of ordinary size, for float32 carries 24
# bits; and $\beta^2 = 2^{-100}$ is still a normal number, for its exponents go down to $-126$. (float16 has no such room, hence
# `where_written` in the sweep.)
#
# ## Four accumulators in 255 registers
#
# The package makes $dQ$, $dK$ and $d\beta$ of a chunk in one kernel, since they load the same tiles. So it holds four accumulators: $dQ$ and $dK$,
# (64, 128) each, and $dP$ and $E$, (64, 64) each, in float32. A thread has at most 255 registers of four bytes. What does not fit
# *spills*: it is written to memory and fetched back, again and again.

# %%
predict("12.b")

# %% [markdown]
# No GPU is needed to find out. The compiler comes with Triton, and chapter 10 has compiled for a machine that was not there. Here is the
# package's kernel, for an H100, heads of width 128:

# %%
bf16, f32 = torch.bfloat16, torch.float32
tensors = {f"{name}_ptr": bf16 for name in ("q", "k", "do", "states", "writes", "d_states", "dv", "dq", "dk")}
numbers = dict(T=4096, H=64, tokens=16384, scale=0.09, q_token=8192, q_head=128, k_token=8192, k_head=128)
options = dict(K=128, V=128, C=64, K_TILE=128, PRECISION="tf32x3", SIGMOID=False)
others = dict(beta_ptr=f32, dbeta_ptr=f32, norms_ptr=None, cu_seqlens=None, sequence_of_slot=None)
for v_tile in (32, 64, 128):
    for warps in (4, 8):
        c = compiled(gradients_kernel, 90, warps, **tensors, **others, **numbers, **options, V_TILE=v_tile)
        print(f"V_TILE {v_tile:3}, {warps} warps: {c.registers} registers, {c.stack:5,} bytes spilled, "
              f"{c.shared // 1024:3} KB of shared memory")

# %% [markdown]
# The bytes are those that one *thread* spills. With four warps all three run into the limit: the accumulators are there before anything
# has been loaded. Eight warps have twice the registers; but then twice the threads wait for each other, and fewer programs fit side by side.
# Which of these is fastest only a GPU can say (chapter 13); the package runs the first, with four stages in its pipeline where
# three were compiled here, spill and all. What the compiler can say is which
# are out of the question.
#
# How does one end on the wrong side? The formula invites it: $dK = X\,dS' - dV\,S - \dots$, a result for each term, and then a difference.

# %%
@triton.jit
def two_terms(a_ptr, b_ptr, c_ptr, d_ptr, o_ptr, ONE: tl.constexpr, C: tl.constexpr, D: tl.constexpr, W: tl.constexpr):
    row, col, val = tl.arange(0, C)[:, None], tl.arange(0, D)[None, :], tl.arange(0, W)
    one, two = tl.zeros((C, D), tl.float32), tl.zeros((C, D), tl.float32)
    for v0 in range(0, D, W):
        at, to = row * D + v0 + val[None, :], (v0 + val[:, None]) * D + col
        one = tl.dot(tl.load(a_ptr + at), tl.load(b_ptr + to), one)
        if ONE:                                             # the sign goes into the operand
            one = tl.dot(-tl.load(c_ptr + at), tl.load(d_ptr + to), one)
        else:                                               # a second accumulator
            two = tl.dot(tl.load(c_ptr + at), tl.load(d_ptr + to), two)
    tl.store(o_ptr + row * D + col, (one - two).to(tl.bfloat16))

# %%
for D in (128, 256):
    for one in (True, False):
        pointers = {f"{name}_ptr": bf16 for name in "abcdo"}
        c = compiled(two_terms, 90, **pointers, ONE=one, C=64, D=D, W=32)
        print(f"width {D}, {'one accumulator ' if one else 'two accumulators'}: {c.registers} registers, {c.stack:5} bytes spilled")

# %% [markdown]
# Same sum, same products. Feed one accumulator and put the minus into an operand.
#
# Another hazard is in $dP^\top Q$: the accumulator $dP$ would have to be transposed, and its numbers lie spread over the threads of the
# program. A transposed *operand* that was loaded costs nothing; a transposed *result* is carried through shared memory, and users of
# flash-linear-attention have seen it come out wrong on Hopper, from Triton 3.4 on, at width 64 (its issue 640). A product can also be made the other way round from the start:
# $dP^\top = X\,dO^\top$. Exercise 12.5 has the choice.

# %% [markdown]
# ## What is moved
#
# The forward sweep reads $K$, $V$, $\mathbf{T}$ and stores $X$ and a memory per chunk. The backward sweep reads $Q$, $K$, $\mathbf{T}$, $dO$
# and stores $dV$ and a memory per chunk. The last launch reads both memories, $Q$, $K$, $X$, $dV$, $dO$ and stores $dQ$ and $dK$. Add up,
# per token and head, with $e$ bytes a number and all of $V$ in one tile (β and its gradient, a number each, left out):
#
# $$ B = e\,\Big(7\,d_k + 7\,d_v + 2\,C + \frac{4\,d_k d_v}{C}\Big) \tag{12.4} $$

# %%
verify("12.4")

# %% [markdown]
# The check counts what the package's kernels load and store, byte by byte. In bfloat16, with K = V = 128 and C = 64:

# %%
def moved(K, V, C, e=2):
    return {"inputs and outputs": e * (4 * K + 3 * V), "between the launches": e * (3 * K + 4 * V + 2 * C), "memories": e * 4 * K * V // C}

parts = moved(128, 128, 64)
print(parts, "together", sum(parts.values()))

# %% [markdown]
# Inputs and outputs must be moved by anyone. A third is memories, written once and read once. With larger chunks there are fewer of
# them, but the inverse grows.
#
# There is another way to have fewer. What a chunk writes is known, and nothing fades: the memory before a chunk is the one after it less
# what was written, $S = S' - X^\top K$. The gradient goes the same way, $dS = dS' + dO^\top Q - dV^\top K$. So on an H100 and its
# successors, where there are enough heads, no wider than 128 and in half precision, the sweeps store one memory for sixteen chunks, and in place of
# `gradients_kernel` runs `group_gradients_kernel`, from the same file. Its program begins with the memory that leaves a group of chunks and with its gradient,
# keeps both in registers, and goes from the newest chunk to the oldest; of the third that is memories, a sixteenth is left, twice as wide
# for $S$, which is stored in float32 since the others are found from it. The price: chunks of a group wait for each other, and
# there are sixteen times fewer programs. Where that would leave multiprocessors without work, a group has four chunks, or one.
#
# ## What is held
#
# What is moved is gone in a millisecond. What is *held*, from the forward pass of a layer to its backward pass, stays while
# all layers above do both. The package holds its inputs and $\mathbf{T}$; with `save_states=True` also what the forward sweep would
# have to compute again. Per head, with β and the first memory in float32, and a memory saved for each chunk:
#
# $$ M = T\,\big(e\,(2\,d_k + d_v + C) + 4\big) + 4\,d_k d_v, \qquad M_{\text{save}} - M = T\,e\,\Big(d_v + \frac{d_k d_v}{C}\Big) \tag{12.5} $$

# %%
verify("12.5")

# %% [markdown]
# Beside them, what autograd holds for the same rule in PyTorch, and for the token loop. All in float32 here, K = V = 32, C = 32, an
# empty first memory. Guess first which bar is longest, and by how much.

# %%
args = inputs(T=128, K=32, V=32)
rule = kernels.delta_rule_chunkwise
forms = {"token loop, autograd": (delta_rule_recurrent, {}), "chunks, autograd": (delta_rule_chunkwise, {"chunk_size": 32}),
         "kernels, saving": (rule, {"chunk_size": 32, "save_states": True}), "kernels, recomputing": (rule, {"chunk_size": 32})}
picture.bytes_held({name: kept(f, *args, **options) / 128 for name, (f, options) in forms.items()});

# %% [markdown]
# *Bytes per token and head that wait for the backward pass.* What does recomputing cost? One more sweep, which reads $e\,(d_k + d_v + C)$
# bytes a token: a tenth of (12.4). It is the better bargain, except where memory is free.

# %% [markdown]
# ## A place to rest: 1970
#
# The backward pass is older than the networks it trains. In 1970 Seppo Linnainmaa, a student in Helsinki, described in his
# master's thesis how to go through a computation from its end to its beginning and collect, for every intermediate result, how much
# the outcome depends on it. He did not want to train anything. His question was *rounding*: every intermediate result is
# rounded a little, and if one knows how much the outcome depends on each, one knows what all the little errors do to it. The thesis
# has a program that does it, in FORTRAN.
#
# So let us ask his question.

# %% [markdown]
# ## Where to round
#
# In bfloat16 a number keeps eight bits. Operands of the tensor cores have to be rounded to it; accumulators have not. A sweep
# over 64 chunks in PyTorch, rounding what the kernel rounds, and then also what it carries:

# %%
predict("12.c")

# %%
def low(x):
    return x.bfloat16().float()

def sweep(chunks, carried, operand=low):
    """dS after each chunk, last chunk first; `carried` and `operand` say what becomes of a number."""
    dS, found = torch.zeros(32, 32, dtype=chunks[0][0].dtype), []
    for Q, K, UT, dO in chunks:
        dX_t = dO.mT @ operand((Q @ K.mT).tril()) + operand(dS) @ K.mT  # (V, C)
        dV_t = operand(dX_t) @ UT                           # (V, C)
        dS = carried(dS + dO.mT @ Q - operand(dV_t) @ K)    # (V, K)
        found.append(dS.double())
    return found

# %%
from deltanet_edu.ops.delta_rule.householder import ut_by_solve

torch.manual_seed(0)
Q, dO = low(torch.randn(64, 16, 32)), low(torch.randn(64, 16, 32))
K = low(normalize(torch.randn(64, 16, 32), dim=-1))         # (N, C, K)
UT = low(ut_by_solve(K, 0.2 * torch.rand(64, 16)))          # (N, C, C)
chunks = list(zip(Q, K, UT, dO))
same = lambda x: x                                          # noqa: E731
exact = sweep([[x.double() for x in chunk] for chunk in chunks], same, same)
errors = {name: [((a - b).norm() / b.norm()).item() for a, b in zip(sweep(chunks, carried), exact)]
          for name, carried in (("dS carried in bfloat16", low), ("dS carried in float32", same))}
picture.rounding(errors);

# %% [markdown]
# *Both curves round the operands. The upper one also rounds the accumulator once a chunk.* Round what a product takes in and what is stored;
# never what is carried on. That is `dS.to(k.dtype)` as an operand, and `dS` itself untouched.

# %% [markdown]
# ## Launches with a gradient
#
# A `torch.autograd.Function` ties the launches together, as in chapter 9. It keeps what (12.5) says:

# %%
show(Chunkwise)

# %% [markdown]
# Two things in it are new.
#
# * `once_differentiable`. The kernels leave no trace to differentiate. If somebody asks for the gradient of a gradient, they get an
#   error, and not the silent zero of our opening. (`roots` are empty views of $q$ and $k$: they make it hold where the package has normalized them.)
# * `chunkwise_backward`. Besides the Function the package registers the rule as a `torch.library` operator. `torch.compile`, fake tensors
#   and other onlookers meet one operation, with a version that makes no data, only shapes, instead of Python that launches kernels.

# %%
from torch._subclasses.fake_tensor import FakeTensorMode

with FakeTensorMode():
    pretended = [torch.empty(64, 65536, 64, n, device=DEVICE, requires_grad=True) for n in (128, 128, 128)]
    o, final = kernels.delta_rule_chunkwise(*pretended, torch.empty(64, 65536, 64, device=DEVICE))
print(tuple(o.shape), tuple(final.shape), o.grad_fn.name())

# %% [markdown]
# `q`, `k`, `v` and `o` alone would take half a terabyte. Nothing was allocated, and the operator has told what would come out.
#
# And the layer of the opening? The same forward kernels, and now with a way back. Expect the loop's curve:

# %%
with_gradient, g = descend(lambda *a: kernels.delta_rule_chunkwise(*a, chunk_size=16)[0])
print("gradients of the matrices for q, k, v:", *(f"{x:.3g}" for x in g))
picture.losses({"token loop": by_loop, "kernels": by_kernel, "kernels with a gradient": with_gradient});

# %% [markdown]
# ## How long does it take?
#
# Measured on a GPU, as stored in the book's `results`: forward pass and backward pass, for the package, for the library and for softmax
# attention. Guess the ratio of backward to forward before you look. A matrix product has two products in its backward pass; by (12.4) the bytes
# say something else.

# %%
gpu = read_result("race_h100")                              # None without the folder results, as in Colab
names = {"chunkwise": "the package", "fla chunk": "flash-linear-attention", "softmax attention": "softmax attention"}
times = {}
for shape, row in gpu["shapes"].items() if gpu else ():
    B, T, H, d = map(int, shape.split(","))
    if B * H >= 64:                                         # enough heads to fill the GPU
        ns = {name: (1e6 * row[key]["forward"] / (B * T * H), 1e6 * row[key]["both"] / (B * T * H)) for key, name in names.items()}
        times[f"{B} × {T:,}, {H} × {d}"] = {name: (f, both - f) for name, (f, both) in ns.items()}
if gpu:
    said = f"{gpu['machine']['gpu']}, torch {gpu['versions']['torch']}, fla-core {gpu['versions']['fla-core']}, {gpu['dtype']}, {gpu['date']}"
    print(said, gpu['command'].replace(" --output", "\n    --output"), sep="\n")

# %%
if gpu:
    picture.backward_times(times, said)

# %% [markdown]
# *Shapes are sequences × tokens, heads × width. The number at the end of each bar: how many times as long as the forward pass the backward pass takes.*
#
# A way to read it: (12.4) over the bandwidth is the least that moving these bytes can take, and what the forward pass must move is
# $e\,(2d_k + 2d_v)$ and some $\mathbf{T}$. All shapes of width 128 here go by groups of sixteen chunks: one memory of sixteen, $S$ twice as wide. Expect
# three of them at some 1.3 to 1.4 times that, and the short one, 4 × 2,048, far above: there the launches themselves took most of the time
# on that machine's host (chapter 13). The last line is what the GPU's own counters have seen at 4 × 4,096, of all kernels of the backward pass.

# %%
if gpu:
    grouped = parts | {"memories": parts["memories"] * 3 // 2 // 16}
    bandwidth = gpu["ceilings"]["byte/s"]
    for name, part in {"one memory a chunk": parts, "one a group": grouped}.items():
        size = sum(part.values())
        print(f"K = V = 128, {name}: {size} bytes at {bandwidth / 1e12:.2f} TB/s take at least {1e9 * size / bandwidth:.2f} ns")
    for shape in (shape for shape in times if shape.endswith("128")):
        print(f"{shape:18} {times[shape]['the package'][1]:.2f} ns measured")
    if profiled := read_result("ncu_h100"):
        megabytes = sum(row["DRAM MB read"] + row["DRAM MB written"] for row in profiled["launches"][2:])
        print(f"counted by the GPU: {1e6 * megabytes / (4 * 4096 * 64):.0f} bytes")

# %% [markdown]
# And the kernels of this chapter's exercises, as the solutions write them? Expect them at a little more than half of the package's speed.

# %%
if raced := read_result("chapter12_h100"):
    print(f"{raced['machine']['gpu']}, {raced['date']}, bfloat16, backward pass alone, B, T, H, K = V: {raced['shape']}")
    for name, ms in raced["milliseconds"].items():
        print(f"{name:44} {ms:6.3f} ms")

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | forward sweep | $S$ and $X$ of every chunk, computed again rather than held |
# | backward sweep | $dX^\top = dO^\top P + dS'K^\top$, $\;dV^\top = dX^\top\mathbf{T}$, $\;dS = dS' + dO^\top Q - dV^\top K$ |
# | side by side | neither sweep reads what the other stores: one launch |
# | gradients | a program per chunk: $dQ$, $dK$, and $d\beta_t = dV_t^\top X_t / \beta_t^2$ from a diagonal |
# | groups | of sixteen chunks one memory is stored, the others are found from it: $S = S' - X^\top K$ |
# | registers | one accumulator per result, signs in the operands, products made transposed rather than transposed |
# | rounding | what a product takes in and what is stored; never what is carried |
#
# **Added to the package**: `backward_sweep`, `sweeps_kernel`, `gradients_kernel` and `group_gradients_kernel` in `kernels/backward.py`, and the operator in
# `kernels/operator.py`.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | flash-linear-attention | `h` and `dh` are stored as (K, V), our $S^\top$ and $dS'^\top$; `v_new` is our $X$; $dW$ and $dU$ are formed and go back through the inverse in a kernel of their own |
# | the paper | keeps $W$ and $U$ apart; here $\mathbf{T}(V - KS^\top)$ makes both unnecessary, and with them $dW$ and $dU$ |
# | attention kernels | their `delta`, the row sums of $dO \odot O$, plays the part of our diagonal: a gradient read off a product that is there anyway |

# %% [markdown]
# ## Further reading
#
# * S. Linnainmaa, "Taylor expansion of the accumulated rounding error", *BIT Numerical Mathematics* 16, 1976, 146–160. What came out of the
#   thesis, in English.
# * A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd edition, SIAM, 2008. Chapter 12: what to keep and what to compute again.
# * T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: Fast and memory-efficient exact attention with IO-awareness", *NeurIPS* 2022,
#   arXiv 2205.14135. A backward pass that computes again rather than reads.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", *NeurIPS*
#   2024, arXiv 2406.06484.
# * "Extending PyTorch" and "Custom operators" in PyTorch's documentation: `autograd.Function`, `torch.library`.
#
# **Next**: the exercises. The sweep and the keys' gradient are yours to write, and then a backward pass of your own, end to end.
