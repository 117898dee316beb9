# %% [markdown]
# # 11. The forward kernels
#
# *Five products of chapter 8, arranged so that the memory never leaves the chip.*

# %%
import os

os.environ["TRITON_INTERPRET"] = "1"                      # this lesson counts bytes: only the interpreter does that

import torch
import triton
import triton.language as tl

from deltanet_edu.bench.judge import inputs, reference
from deltanet_edu.bench.trace import Trace
from deltanet_edu.figures import forward as picture
from deltanet_edu.ops.delta_rule import householder
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)

# %% [markdown]
# The interpreter runs everything here on the CPU, in float32, even if you have a GPU. The exercises of this chapter use
# your GPU if there is one.
#
# ## One program for every chunk
#
# A GPU wants hundreds of programs at a time. We have chunks, so give each chunk a program. It fetches the memory that the chunk before it
# has left, adds its own writes (eq. 8.4 and 8.6), and puts the memory back. The matrix $\mathbf{T}$ comes ready-made from PyTorch.
#
# Two helpers first. They fetch and store a tile of rows of a sequence, as in chapter 10. Behind the last token they
# read zeros and write nothing.

# %%
@triton.jit
def load_rows(ptr, first, T, stride, C: tl.constexpr, D: tl.constexpr):
    t, d = first + tl.arange(0, C), tl.arange(0, D)
    inside = (t < T)[:, None]
    return tl.load(ptr + t[:, None] * stride + d[None, :], mask=inside, other=0.0)  # (C, D)

@triton.jit
def store_rows(ptr, x, first, T, stride, C: tl.constexpr, D: tl.constexpr):
    t, d = first + tl.arange(0, C), tl.arange(0, D)
    tl.store(ptr + t[:, None] * stride + d[None, :], x, mask=(t < T)[:, None])

# %%
@triton.jit
def chunk_kernel(order, k_ptr, v_ptr, UT_ptr, S_ptr, T, K: tl.constexpr, V: tl.constexpr,
                 C: tl.constexpr):
    n = tl.load(order + tl.program_id(0))                 # which chunk this program takes
    k = load_rows(k_ptr, n * C, T, K, C, K)               # (C, K)
    v = load_rows(v_ptr, n * C, T, V, C, V)               # (C, V)
    UT = load_rows(UT_ptr, n * C, T, C, C, C)             # (C, C)
    at = tl.arange(0, V)[:, None] * K + tl.arange(0, K)[None, :]
    S = tl.load(S_ptr + at)                               # (V, K)  what the chunk before left
    X = tl.dot(UT, v - tl.dot(k, tl.trans(S)))            # (C, V)  eq. 8.6
    tl.store(S_ptr + at, S + tl.dot(tl.trans(X), k))      # eq. 8.4

# %%
q, k, v, beta, S0 = inputs(B=1, T=64, H=1, K=32, V=16)    # (B, T, H, K), ..., (B, T, H), (B, H, V, K)
one_head = [x.double()[0, :, 0] for x in (k, beta)]
UT = torch.cat([householder.ut_by_solve(*chunk)           # (T, C)  four chunks of 16
                for chunk in zip(*(x.split(16) for x in one_head))]).float()
right = reference(*(x.double() for x in (q, k, v, beta)), torch.zeros_like(S0).double())[1]

def memory_after(order):
    S = torch.zeros(1, 1, 16, 32)
    chunk_kernel[(4,)](torch.tensor(order), k, v, UT, S, 64, K=32, V=16, C=16)
    return S

# %% [markdown]
# Four chunks, four programs. `right` is the float64 recurrence, one token after the other.

# %%
predict("11.a")

# %%
def error(x, expected=right):
    return ((x.double() - expected).norm() / expected.norm()).item()

for order in ([0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]):
    print(order, f"error {error(memory_after(order)):.0e}")

# %% [markdown]
# The interpreter runs programs one by one, first to last, and so the first line is right to the last digit of float32. A GPU starts programs
# in an order of its own, many at the same time. The other two lines are two of the answers that it may give. `Trace`, which watches each
# load and store, does not need luck to find out:

# %%
with Trace() as seen:
    memory_after([0, 1, 2, 3])
for race in seen.faults:
    print(race)

# %% [markdown]
# A chunk *must* wait for the chunk before it, and nothing promises a program that the one it waits for has even started. Waiting
# would make a chain of them, besides.
#
# **The question of this chapter**: if one program has to walk through all chunks, how do we keep its steps short, and the rest of
# the GPU busy?

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * write the forward pass as a kernel, first the shortest one that is right, then in the form of the package;
# * say where each tile lives, and why the package keeps the memory as (V, K) and tokens as columns;
# * count what a form moves, beside the least that any form must move;
# * read the package's two kernels line by line.
#
# You need chapters 6 (by halves), 8 (eq. 8.4 to 8.6) and 10 (programs, masks, `tl.dot`). Reading and running takes about an hour,
# the exercises three. In the package the chapter builds `deltanet_edu/kernels/forward.py`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 6: how does the inverse of a triangle come from the inverses of its two halves?</summary>
#
# They stay where they are, and the corner below the diagonal becomes $-L_{22}^{-1} A_{21} L_{11}^{-1}$ (eq. 6.5).
#
# </details>
#
# <details><summary>2. Chapter 8: what does a chunk need besides its own rows, and what can be prepared without it?</summary>
#
# The memory $S$ that enters. Without it: $\mathbf{T}$ and $\mathrm{tril}(QK^\top)$. With it: $X = \mathbf{T}(V - KS^\top)$.
#
# </details>
#
# <details><summary>3. Chapter 10: which three kinds of memory does a program use, and which is the slow one?</summary>
#
# Registers, shared memory, and HBM, the GPU's main memory. HBM is far away: what is fetched from there should be used for as long as possible.
#
# </details>

# %% [markdown]
# ## Who can own what?
#
# If chunks cannot run side by side, what can? Sequences and heads, since they never meet. And something less
# visible: write the delta rule for *one row* $s_t$ of the memory, and call the number that this row should store $v_t$.
#
# $$ s_t = s_{t-1} - \beta_t\,(s_{t-1} k_t - v_t)\,k_t^\top \tag{11.1} $$

# %%
verify("11.1")

# %% [markdown]
# No other row occurs. A memory of 128 rows is 128 memories of one row that read the same keys. So the rows can be dealt out to programs,
# as many to each as we like. The *columns* cannot: $s_{t-1}k_t$ needs all of them.

# %%
picture.owners(N=4, tiles=2);

# %% [markdown]
# *Left: what depends on keys alone, such as* $\mathbf{T}$*, can have a program for each chunk. Right: a program owns some rows of the memory of one head and takes them
# through all chunks. An arrow is a program that goes on.*

# %% [markdown]
# ## The inverse, without moving anything
#
# One thing is missing for a whole kernel: $\mathbf{T}$, so far from PyTorch. Chapter 6 had four ways. On a GPU the chain of row by row hurts, and the power series is the
# trap of eq. 6.6. By halves, then. But a tile in registers cannot be sliced: registers have no addresses. `A[8:, :8]` does not exist.
#
# A mask does. Suppose $T_1$ holds the inverses of the blocks of $n \times n$ on the diagonal, and zeros elsewhere. Mask $A$ to the lower left corner of every
# block of $2n \times 2n$ and call that $A_\llcorner$. Then
#
# $$ T_1 \;\leftarrow\; T_1 - T_1\,A_\llcorner\,T_1 \tag{11.2} $$
#
# holds the inverses of the blocks of $2n \times 2n$. All blocks at once, and nothing has moved.

# %%
verify("11.2")

# %% [markdown]
# Why: $T_1 A_\llcorner T_1$ has in each corner $T_{22} A_{21} T_{11}$, because the blocks on the diagonal of $T_1$ meet nothing else there. That is eq. 6.5.
#
# By hand, four tokens with $A_{ti} = 1$ everywhere below the diagonal. Blocks of 1: $T_1 = I$. Then blocks of 2, with a $-1$ in each corner. Then the whole:

# %%
A = torch.ones(4, 4).tril(-1)
T1 = torch.eye(4)
for corner in ([(1, 0), (3, 2)], [(2, 0), (2, 1), (3, 0), (3, 1)]):
    masked = torch.zeros(4, 4)
    for t, i in corner:
        masked[t, i] = A[t, i]
    T1 = T1 - T1 @ masked @ T1
    print(T1, "\n")

# %% [markdown]
# The four equal tokens of chapter 6: each takes back what the one before it wrote, and nothing else. Row $t$ and column $i$ lie in the corner of level $l$ if $t$ is in the *second* half of a block, $i$
# in the *first* half of the same block. In binary: without their last $l$ digits, $t$ is odd and $i$ is one less.

# %%
picture.levels(16);

# %% [markdown]
# *Which step fills which entry, for 16 tokens: four steps. For 64 tokens it is six.*
#
# In Triton that is a loop over levels that the compiler unrolls. Two products each:

# %%
@triton.jit
def inverse(A, C: tl.constexpr, LEVELS: tl.constexpr):
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    T1 = tl.where(row == col, 1.0, 0.0)                   # (C, C)  blocks of 1
    for level in tl.static_range(LEVELS):
        second = (row >> level) % 2 == 1
        corner = second & (col >> level == (row >> level) - 1)
        T1 -= tl.dot(tl.dot(T1, tl.where(corner, A, 0.0)), T1)
    return T1

# %% [markdown]
# It reads only the lower half of `A`: whatever stands elsewhere is masked away. So $KK^\top$ may come in whole.
#
# ## The simplest kernel that is right
#
# A chunk, as in chapter 8, tokens as rows. The comments are the equations.

# %%
@triton.jit
def one_chunk(q, k, v, beta, S, C: tl.constexpr, LEVELS: tl.constexpr):
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    # within the chunk
    A = tl.dot(k, tl.trans(k)) * beta[:, None]            # (C, C)  eq. 6.2
    UT = inverse(A, C, LEVELS) * beta[None, :]            # (C, C)  eq. 6.3
    P = tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0)  # (C, C)
    # across chunks
    R = v - tl.dot(k, tl.trans(S))                        # (C, V)
    X = tl.dot(UT, R)                                     # (C, V)  eq. 8.6
    O = tl.dot(q, tl.trans(S)) + tl.dot(P, X)             # (C, V)  eq. 8.5
    # update
    return O, S + tl.dot(tl.trans(X), k)                  # (V, K)  eq. 8.4

# %% [markdown]
# And around it the program of one head, which walks through its chunks. Token $t$ of head $h$ lies `H` rows behind token
# $t - 1$, hence the strides.

# %%
@triton.jit
def simple_kernel(q_ptr, k_ptr, v_ptr, beta_ptr, o_ptr, T, H, K: tl.constexpr, V: tl.constexpr,
                  C: tl.constexpr, LEVELS: tl.constexpr):
    b, h = tl.program_id(0) // H, tl.program_id(0) % H
    head = b * T * H + h                                  # the first token of this head
    S = tl.zeros((V, K), tl.float32)                      # (V, K)  registers, to the end
    for first in range(0, T, C):
        q = load_rows(q_ptr + head * K, first, T, H * K, C, K)
        k = load_rows(k_ptr + head * K, first, T, H * K, C, K)
        v = load_rows(v_ptr + head * V, first, T, H * V, C, V)
        beta = load_rows(beta_ptr + head, first, T, H, C, 1)
        O, S = one_chunk(q, k, v, tl.reshape(beta, (C,)), S, C, LEVELS)
        store_rows(o_ptr + head * V, O, first, T, H * V, C, V)

# %%
def simple(q, k, v, beta):
    (B, T, H, K), V, C = q.shape, v.shape[3], 16
    o = torch.empty_like(v)
    simple_kernel[(B * H,)](q, k, v, beta, o, T, H, K, V, C, LEVELS=4)
    return o

for shape in (dict(B=1, T=64, H=1, K=16, V=16), dict(B=2, T=37, H=2, K=32, V=16)):
    *tokens, S = inputs(**shape)
    expected = reference(*(x.double() for x in tokens), torch.zeros_like(S).double())[0]
    print(shape, f"error {error(simple(*tokens), expected):.0e}")

# %% [markdown]
# Right, with a tail that does not fill its chunk and $d_k \ne d_v$. The masks did that: a token behind the end has
# a key of zeros and $\beta = 0$. It writes nothing, and nothing of it is stored.

# %% [markdown]
# ### What must be moved, and what is moved
#
# The least that *any* kernel moves: read `q`, `k`, `v`, `beta` once, write `o` once. How many times that does ours?

# %%
predict("11.b")

# %%
def traffic(f, *tokens):
    """What f loads and stores, in bytes, and the least that anybody can."""
    with Trace() as seen:
        f(*tokens)
    v = tokens[2]
    return seen, sum(x.numel() * x.itemsize for x in (*tokens, v))

*tokens, _ = inputs(B=1, T=256, H=2, K=64, V=64)          # eight chunks of 32 later on
seen, floor = traffic(simple, *tokens)
moved = seen.loaded + seen.stored
print(f"moved {moved:,} bytes, floor {floor:,}: {moved / floor:.2f} times")

# %% [markdown]
# Exactly once each. PyTorch, which runs chapter 8 product by product, takes every intermediate result to memory and back:

# %%
from deltanet_edu.bench.roofline import traffic as bytes_of_operations
from deltanet_edu.ops import delta_rule_chunkwise

by_pytorch = bytes_of_operations(delta_rule_chunkwise, *tokens, chunk_size=32)
print(f"PyTorch: {by_pytorch / floor:.0f} times the floor")

# %% [markdown]
# So the simple kernel cannot be beaten on bytes. What is wrong with it is *waiting*:
#
# 1. **Few programs.** One for each head. A batch of 2 with 16 heads keeps 32 of an H100's 132 multiprocessors busy.
# 2. **A long chain.** Each chunk's inverse stands between one memory and the next. It does not need the memory at all, yet the memory waits for it.
# 3. **A program that is too large.** 128 threads share an $S$ of 128 x 128 numbers: 128 registers each, out of at most 255, before anything else is there.
#
# The package answers each. Every answer moves more bytes, and we will count them.

# %% [markdown]
# ## First answer: the inverse in a kernel of its own
#
# $\mathbf{T}$ depends on keys and $\beta$ alone. So a first launch computes it for *all chunks at the same time*, and stores it. The second launch only loads it.
#
# The package's kernel does what you have just seen, with one refinement. Products of 64 x 64 are wasted on corners of 2 x 2: most of what they multiply is zeros. So
# (11.2) stays inside the blocks of 16 x 16 on the diagonal:

# %%
from deltanet_edu.kernels import forward

show(forward.inverse_of_16)

# %% [markdown]
# The blocks to the left follow by eq. 10.8, one row of blocks at a time: $X_{ij} = \sum_n (-X_{ii} A_{in}) X_{nj}$. What stands in brackets waits for no row above. So
# from one row to the next there is a single product in the chain. A tile in registers has no addresses to cut it by: reshape it to (m, 16, m, 16), bring both block
# numbers to the end, and split. (For exercise 11.5: the blocks on the diagonal alone come into a stack (m, 16, 16) if all others are masked to zero and summed away. Back
# again: repeat each block, and mask with the same comparison.)

# %%
show(forward.apart)

# %% [markdown]
# The kernel around them: *load*, *within the chunk*, *store*. As many programs as the GPU holds at a time share all chunks of all heads, each in a loop: so the compiler
# sends keys straight to shared memory. The last chunks come first. The second launch begins with the first ones, and those of the first text then still lie in the cache. You can skip what you do not need today: `cu_seqlens` is for packed sequences, `unit_rows` for keys that are
# normalized on the way, `strengths` for a sigmoid of $\beta$ on the way.

# %%
show(forward.inverse_kernel)

# %% [markdown]
# What does it cost? Keys are read a second time, and $C$ numbers a token are written and read. What does it buy? Count the products that one memory must wait for before the next is
# there: with the inverse inside, $KK^\top$, two a level, and three more.

# %%
for C, levels in ((16, 4), (64, 6)):
    print(f"C = {C}: {1 + 2 * levels + 3} products in a row a chunk, without the inverse 3")

# %% [markdown]
# ## Second answer: tokens as columns
#
# Three products are left in the chain: $R$ needs $S$, $X$ needs $R$, the next $S$ needs $X$. To see what they cost we must look at how a tensor core is fed.
#
# On a Hopper GPU four warps, a *warp group*, multiply together (the instruction is `wgmma`). Their product $D = A B$ takes **$B$ from shared memory**. **$A$ may come from registers**, and $D$ lies in registers. So a result is at once at hand as the *left* operand of the
# next product. To become a *right* operand it has to be written to shared memory first, and all threads have to wait for each other until it is there.

# %%
predict("11.c")

# %% [markdown]
# With tokens as rows, $R = V - K S^\top$ has the memory on the right. $X = \mathbf{T} R$ has $R$ on the right. $S' = S + X^\top K$ has $X$ on the left, but transposed, which for registers spread over 128 threads is no less of a journey.
#
# Now transpose everything that comes from the memory. Tokens become columns:
#
# $$ R^\top = V^\top - S\,K^\top, \qquad X^\top = R^\top\,\mathbf{T}^\top, \qquad S' = S + X^\top K \tag{11.3} $$

# %%
verify("11.3")

# %% [markdown]
# Read the left operands: $S$, $R^\top$, $X^\top$. Each is the result of the product before. Read the right operands: $K$, $\mathbf{T}$, $K$. Each is a tile as it was loaded, in shared memory anyway, and a transposed *view* of such a tile is free.

# %%
picture.places();

# %% [markdown]
# *Where each tile lives. Left, tokens as rows: the chain leaves the registers three times a chunk. Right, tokens as columns: it never does. Solid arrows are the chain from one memory to the next; dashed ones are loads, which are fetched ahead of time.*
#
# So the paper's $S$, (V, K), is held as it is written, and it is the tokens that turn. In the kernel, names of what lies that way end in `_t`.
#
# Is that so? Chapter 10's `compiled` asks the compiler, for an H100 that we do not have. Here is the chain and nothing else, both ways:

# %%
@triton.jit
def chain(k_ptr, UT_ptr, S_ptr, T, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, COLUMNS: tl.constexpr):
    at = tl.arange(0, V)[:, None] * K + tl.arange(0, K)[None, :]
    S = tl.load(S_ptr + at)                               # (V, K)
    for first in range(0, T, C):
        k = load_rows(k_ptr, first, T, K, C, K)           # (C, K)
        UT = load_rows(UT_ptr, first, T, C, C, C)         # (C, C)
        if COLUMNS:
            R_t = tl.dot(S.to(k.dtype), tl.trans(k))      # (V, C)
            S -= tl.dot(tl.dot(R_t.to(k.dtype), tl.trans(UT)).to(k.dtype), k)
        else:
            R = tl.dot(k, tl.trans(S.to(k.dtype)))        # (C, V)
            S -= tl.dot(tl.trans(tl.dot(UT, R.to(k.dtype)).to(k.dtype)), k)
    tl.store(S_ptr + at, S)

# %% [markdown]
# `stmatrix` is the instruction by which a warp puts a tile from its registers into shared memory; `bar.sync` is where threads wait for each other. Count them:

# %%
from deltanet_edu.bench.ahead_of_time import compiled

bf16, sizes = torch.bfloat16, dict(T=4096, K=128, V=64, C=64)
for columns in (False, True):
    made = compiled(chain, 90, k_ptr=bf16, UT_ptr=bf16, S_ptr=torch.float32, COLUMNS=columns, **sizes)
    print(f"tokens as {'columns' if columns else 'rows':8} {made.ptx.count('stmatrix'):2} stmatrix, "
          f"{made.ptx.count('bar.sync')} bar.sync, {made.shared // 1024} KB of shared memory")

# %% [markdown]
# Columns need none. Rows pay 16 for every chunk: 8 to put $S^\top$ down, 4 for $R$ and 4 for $X^\top$.
#
# The outputs follow suit. They need $P^\top$, who reads whom, and *transposing a result* would be a detour through shared memory once more. So it is computed the other way around to begin with:
#
# $$ O^\top = s\,\Big( S\,Q^\top + X^\top\,\mathrm{triu}(K Q^\top) \Big) \tag{11.4} $$

# %%
verify("11.4")

# %% [markdown]
# The upper triangle, since a row of $KQ^\top$ is a token that *wrote*, and a column one that *reads*, the same or a later one.

# %% [markdown]
# ## β stays out of it
#
# On a GPU the tiles are bfloat16: eight digits in binary, an error of up to one in 256 for each number. Accumulators are float32. So whatever can stay in an accumulator should. The diagonal of $\mathbf{T}$ is $\beta$ (eq. 6.9), so split it off:
#
# $$ X^\top = R^\top\,\mathrm{diag}(\beta) + R^\top\,\mathbf{T}_{\mathrm{low}}^\top, \qquad \mathbf{T}_{\mathrm{low}} = \mathrm{stril}(\mathbf{T}) \tag{11.5} $$

# %%
verify("11.5")

# %% [markdown]
# The first term is a multiplication of each number by a number, in float32. Only the second goes through a tensor core, with rounded inputs. The interpreter cannot multiply bfloat16, so round by hand, in PyTorch, and compare with no rounding at all.

# %%
predict("11.d")

# %%
def rounded(x):
    return x.bfloat16().float()

torch.manual_seed(0)
k64 = torch.nn.functional.normalize(torch.randn(64, 128), dim=-1)
beta64, R_t = torch.rand(64), torch.randn(128, 64)        # (C,), (V, C)
UT = householder.ut_by_solve(k64, beta64)                 # (C, C)
exact = R_t.double() @ UT.double().mT
whole = rounded(R_t) @ rounded(UT).mT
apart = R_t * beta64 + rounded(R_t) @ rounded(UT.tril(-1)).mT
for name, X_t in (("T whole", whole), ("beta apart", apart)):
    print(f"{name:10} error {error(X_t, exact):.1e}")

# %% [markdown]
# One multiplication more, and a quarter of the error. The package's first kernel therefore stores `UT_low`, rounded, and `betas` beside it in float32.

# %% [markdown]
# ## Third answer: deal out the rows
#
# By (11.1) a program may own any number of rows of $S$, `V_TILE` of them. Fewer rows make more programs, with fewer registers each. But every one of them reads all of $k$, $q$ and $\mathbf{T}$:
#
# $$ \text{bytes per token and head} = \underbrace{e\,(2 d_k + 2 d_v) + 4}_{\text{least}} \;+\; \underbrace{e\,(d_k + 2C) + 8}_{\text{the inverse apart}} \;+\; \underbrace{(m - 1)\,\big(e\,(2 d_k + C) + 4\big)}_{m \text{ programs a head}} \tag{11.6} $$
#
# with $e$ bytes a number, 4 bytes for each $\beta$, and $m = \lceil d_v / \mathtt{V\_TILE} \rceil$.

# %%
verify("11.6")

# %% [markdown]
# That check ran the package's kernels and counted. Now play; run the next cell to get its slider:

# %%
picture.explore_tiles();

# %% [markdown]
# *A place to rest. Move the slider and watch the grid: which program owns which rows, how many programs there are for 16 heads of 128 x 128, and what they ask for together. (GitHub shows one setting.)*
#
# Much of what is asked for twice is still in the cache: the programs of one head have neighboring numbers, so they run at about the same time, and the second one finds the keys in L2. That is why the package numbers them that way. The bytes that reach HBM lie between the two bars.

# %% [markdown]
# ## The package's forward kernel
#
# Now all of it. Look for the five labels, and for (11.3) to (11.5) between them. What is loaded from a descriptor made by `rows` comes by the copy engine (NVIDIA calls it TMA), straight into shared memory. Other
# launches use the same sweep, so you can skip: outputs or a `v` that are `None` and `GROUP` (chapters 12 and 13); `where_written`, which hands back what it is given
# in anything but float16 (chapter 12). Up to K = 128, `LATE` is false, and tuples like `k`, from the package's own `load_rows`, hold one tile: read `dot_t(x, y, sum)` as $xy^\top$ + sum, and `dot` as $xy$ + sum; `None` is no sum.
# Of heads 256 wide, 64 rows or more come in two tiles, since such a memory and its rounded copy do not fit in the registers together; `LATE` is then the same sum in another order.

# %%
show(forward.forward_sweep)

# %% [markdown]
# | line | equation |
# |---|---|
# | `K_Q`, `P_t` | $\mathrm{triu}(KQ^\top)$ of (11.4); waits for nobody |
# | `dot_t(S, ...)` | rounds $S$ to the tiles' precision, as a left operand; $S$ itself stays float32 |
# | `said_t`, `R_t` | $R^\top = V^\top - SK^\top$, (11.3) |
# | first `O_t` | $SQ^\top$ of (11.4) |
# | `X_t` | (11.5): the accumulator *starts* as $R^\top\mathrm{diag}(\beta)$ |
# | second `O_t` | $+\,X^\top\mathrm{triu}(KQ^\top)$ of (11.4), times $s$ |
# | `S` | $S + X^\top K$ of (11.3), added up in float32 over all chunks |
# | `o_rows.store` | rounding and the way back to tokens as rows: once a chunk, and nobody waits for it |
#
# `tl.dot(a, b, c)` is $c + ab$. So adding costs nothing: the accumulator is there already.
#
# And the launch: which program owns which rows.

# %%
show(forward.forward_kernel)

# %% [markdown]
# Two choices are made at the launch, behind the kernel's own arguments: `num_warps=8, num_stages=3`. So many **warps** share a program; 4 if
# you say nothing, our 128 threads. And so deep is the **pipeline** of its loop: with 3 stages, tiles of the next two chunks are on their way to shared
# memory while this one is multiplied, and wait there in buffers of their own. So each stage costs shared memory.
#
# A multiprocessor runs as many programs at a time as its registers and its shared memory hold; this is called *occupancy*. One of 8 warps, with 255 registers
# a thread, has the 256 KB of registers for itself. It must not wait for loads then, since nobody else could work in the meantime: hence the pipeline.
#
# ### Tails, widths, memories
#
# A tail, widths that are no powers of two, a memory to start from: the package takes them all, and the masks do the work. Behind the last token everything reads as zero. Columns behind the last one are zeros too, and $S$ has zeros there for ever.

# %%
from deltanet_edu.kernels import delta_rule_chunkwise as by_kernels

*tokens, S0 = inputs(B=2, T=37, H=3, K=20, V=12, keys="repeated", beta_max=2.0)
o, final = by_kernels(*tokens, initial_state=S0)
expected = reference(*(x.double() for x in tokens), S0.double())
print(f"outputs {error(o, expected[0]):.0e}, memory {error(final, expected[1]):.0e}")

# %% [markdown]
# ## The bill
#
# Four forms on the same tokens, 256 of them in two heads of width 64, all in float32 and with the same chunk length:
#
# * **simple**: one program a head, the inverse inside;
# * **package, whole heads**: the inverse apart, one program owns all 64 rows;
# * **package, 16 rows**: the same, with four programs a head;
# * **PyTorch**: chapter 8, product by product.

# %%
from deltanet_edu.chapters.ch11.bill import by_tensor, package_bytes

*tokens, _ = inputs(B=1, T=256, H=2, K=64, V=64)
seen, floor = traffic(simple, *tokens)
bill = {"simple": by_tensor(seen),
        "package, whole heads": package_bytes(*tokens, C=32, V_TILE=64),
        "package, 16 rows": package_bytes(*tokens, C=32, V_TILE=16)}
picture.bill(bill, floor);

# %%
for name, parts in bill.items():
    print(f"{name:22} {sum(parts.values()) / floor:.2f} times the floor")
print(f"{'PyTorch':22} {by_pytorch / floor:.2f} times the floor")

# %% [markdown]
# *Bytes by tensor, in units of the floor (dashed); PyTorch's bar would be nearly five times as long as the longest. With whole heads the package pays about half as much again as it must, and buys a short chain with it; four programs a head cost more than three times the floor, if the cache helps with nothing.* With heads of 128 and bfloat16 the proportions are kinder: $\mathbf{T}$ has 64 numbers a token, beside the 512 of
# q, k, v and o.

# %% [markdown]
# ## What a GPU makes of it
#
# Bytes are half of the story. If a measurement is stored with the book, here it is: how long the package's kernels take, and the floor below which no kernel can be, because of bytes or because of products.

# %%
from deltanet_edu.bench.report import figures
from deltanet_edu.records import read_result

result = read_result("race_h100")
figure = figures([result])["floor"]() if result else print("No measurement came with the package.")

# %%
if raced := read_result("chapter11_h100"):
    print(f"{raced['machine']['gpu']}, {raced['date']}, bfloat16, B, T, H, K = V: {raced['shape']}")
    for name, ms in raced["milliseconds"].items():
        print(f"{name:44} {ms:6.3f} ms")

# %% [markdown]
# If there is a table above, it has the kernels that the *exercises* lead to, as the solutions write them, beside the package's.
#
# ## Summary
#
# | | |
# |---|---|
# | who can own what | a chunk: all that needs no memory. Rows of a memory: a program, through all chunks. Columns: nobody alone |
# | the inverse | $T_1 \leftarrow T_1 - T_1 A_\llcorner T_1$ for halves of 1, 2, 4, ...: masks instead of slices |
# | the chain | $S \to R^\top \to X^\top \to S'$, three products, left operands in registers, right ones as loaded |
# | rounding | $\beta$ and $S$ stay in float32; only $\mathbf{T}_{\mathrm{low}}$ and tiles are rounded |
# | bytes | least: $e(2d_k + 2d_v)$ a token. On top of it what a shorter chain and more programs cost |
#
# **Added to the package**: `inverse_kernel` and `forward_kernel` in `deltanet_edu/kernels/forward.py`.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | flash-linear-attention | `b_h` is $S^\top$, (K, V), or halves of it; `b_v_new` is our $X$, stored to memory between its kernels; `A` after `solve_tril` is $(I + A)^{-1}$ without $\mathrm{diag}(\beta)$; `w`, `u` are $W$, $U$, which we do not need (eq. 8.6) |
# | the paper's listing | one loop over chunks with $S^\top$; $W$ and $U$ are made before it |
# | attention kernels | the same trade: $P$ stays in registers as the left operand of $PV$ |
#
# ## Further reading
#
# * T. Dao, D. Y. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness", *NeurIPS* 2022, arXiv 2205.14135. Counting bytes before FLOPs.
# * J. Shah, G. Bikshandi, Y. Zhang, V. Thakkar, P. Ramani and T. Dao, "FlashAttention-3: Fast and Accurate Attention with Asynchrony and Low-precision", *NeurIPS* 2024, arXiv 2407.08608. Operands in registers and in shared memory on Hopper.
# * P. Tillet, H. T. Kung and D. Cox, "Triton: An Intermediate Language and Compiler for Tiled Neural Network Computations", *MAPL* 2019.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", *NeurIPS* 2024, arXiv 2406.06484, section 3 and the listing.
#
# **Next**: the exercises. 11.5 to 11.8 build your own forward pass from an empty cell, and `race` puts it beside the package's. Then chapter 12 goes back.
