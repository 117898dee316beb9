# %% [markdown]
# # 10. Triton from zero: exercises
#
# {exercises}. Each cell ends in a check; run it as often as you like. When stuck, `hint("10.2")` gives the first of three hints.
#
# The launch of each kernel is given; you write what one program does. Kernels run in Triton's interpreter here, watched: each tensor lies alone, outputs hold NaN before the launch, and a check says
# which rung of the ladder broke: outside a tensor, unwritten, a race, wrong values, not accepted by the compiler, too many bytes. With ✓ comes your **score**: the bytes you moved over those that must be moved. Some
# exercises insist on 1.00.
#
# Below each check, `picture` draws which program touches what, once your kernel runs.

# %%
import os

os.environ["TRITON_INTERPRET"] = "1"                    # before Triton is imported: kernels run on the CPU, and are watched

import torch
import triton
import triton.language as tl

from deltanet_edu.chapters.ch10.tiles import inverse_of_16, mul, rows_of_16, store_16
from deltanet_edu.chapters.kernel_answers import picture
from deltanet_edu.tutor import check, hint, lines, progress, show, solution

# %% [markdown]
# ## 10.1
#
# A kernel covers a matrix of 5 rows and 70 columns with tiles of 2 × 32. How many programs does its grid have? And for how many of the 64 entries of the last one (last row of tiles, last column of tiles) is the mask false?
#
# Answer with a pair, `(programs, masked)`.

# %% tags=["nbval-check-output"]
answer = None

check("10.1", answer)

# %% [markdown]
# ## 10.2
#
# Add two vectors of `n` numbers. `x` and `y` may be columns of something larger: neighbors are `x_stride` and `y_stride` numbers apart. `o` lies side by side. The grid has `cdiv(n, B)` programs. Score: 1.00.

# %% tags=["nbval-check-output"]
@triton.jit
def add_kernel(x_ptr, y_ptr, o_ptr, n, x_stride, y_stride, B: tl.constexpr):
    """(n,), (n,) -> o: (n,)."""
    raise NotImplementedError("10.2")

check("10.2", add_kernel)

# %%
picture("10.2", add_kernel, case=3);

# %% [markdown]
# ## 10.3
#
# What a token writes into an empty memory: $S = \beta\, v\, k^\top$, in tiles of `BV` × `BK`. The grid is (tiles of rows, tiles of columns). `v` and `k` lie side by side, and `beta` is a number. `S` need not: it may be a part of something larger, or lie column by column.

# %% tags=["nbval-check-output"]
@triton.jit
def write_kernel(v_ptr, k_ptr, beta, S_ptr, V, K, S_row, S_col, BV: tl.constexpr, BK: tl.constexpr):
    """(V,), (K,), a number -> S: (V, K)."""
    raise NotImplementedError("10.3")

check("10.3", write_kernel)

# %%
picture("10.3", write_kernel, case=3);

# %% [markdown]
# ## 10.4
#
# This softmax was tested on rows of 8, 16 and 32 numbers, and shipped. One thing in it is wrong: find it, and repair it. One program a row; `B` is the next power of two. Logits may lie anywhere between −200 and 300.

# %% tags=["nbval-check-output"]
@triton.jit
def softmax_kernel(x_ptr, o_ptr, N, x_row, o_row, B: tl.constexpr):
    """(rows, N) -> o: (rows, N)."""
    raise NotImplementedError("10.4")                   # delete this line, and repair the lines below
    row = tl.program_id(0)
    j = tl.arange(0, B)
    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=0.0)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(o_ptr + row * o_row + j, e / tl.sum(e, 0), mask=j < N)

check("10.4", softmax_kernel)

# %% [markdown]
# ## 10.5
#
# The logarithm of the sum of exponentials, $\log \sum_j e^{x_j}$, of rows of any length, in blocks of `B`. One program a row. Logits may lie anywhere between −200 and 300. Score: 1.00, so one pass.

# %% tags=["nbval-check-output"]
@triton.jit
def logsumexp_kernel(x_ptr, o_ptr, N, x_row, B: tl.constexpr):
    """(rows, N) -> o: (rows,)."""
    raise NotImplementedError("10.5")

check("10.5", logsumexp_kernel)

# %% [markdown]
# ## 10.6
#
# Sums of the columns of `x`: (T, N). There is one program for every `BT` rows (`tl.num_programs(0)` says how many), and `BN` ≥ N, a power of two. The launch fills `o` with zeros before the first program starts. No two programs may get into each other's way: nobody shares an entry (columns dealt out, say), or the hardware does the adding. Any score will do.

# %% tags=["nbval-check-output"]
@triton.jit
def column_sums_kernel(x_ptr, o_ptr, T, N, x_row, BT: tl.constexpr, BN: tl.constexpr):
    """(T, N) -> o: (N,)."""
    raise NotImplementedError("10.6")

check("10.6", column_sums_kernel)

# %%
picture("10.6", column_sums_kernel, case=3);

# %% [markdown]
# ## 10.7
#
# The lines of a matrix product have been shuffled, `a` (M, K) times `b` (K, N). Indented lines are inside the loop. Two lines do not belong. Any order that works is right.

# %%
lines("10.7")

# %% [markdown]
# Give the labels in order, as one string.

# %% tags=["nbval-check-output"]
order = None

check("10.7", order)

# %% [markdown]
# ## 10.8
#
# The scores that a chunk of `C` = 16 tokens needs: $P = s \cdot \mathrm{tril}(Q K^\top)$, of the queries and keys of that chunk. One program a chunk; the last may be shorter. Row $t$ of `P` belongs to token $t$ and has `C` entries, all to be stored. `K`
# is a power of two, at least 16. Use `tl.dot` with `input_precision="ieee"`, or sums.

# %% tags=["nbval-check-output"]
@triton.jit
def scores_kernel(q_ptr, k_ptr, P_ptr, T, scale, q_row, k_row, K: tl.constexpr, C: tl.constexpr):
    """(T, K), (T, K), a number -> P: (T, C)."""
    raise NotImplementedError("10.8")

check("10.8", scores_kernel)

# %%
picture("10.8", scores_kernel, case=2);

# %% [markdown]
# ## 10.9
#
# $X = (I + A)^{-1}$ for strictly lower triangular matrices of `n` × `n` numbers, n ≤ 16, one a program. They lie one behind the other, with rows of `n` numbers. Work with tiles of 16 × 16; a matrix that is filled up with zeros does no harm. Score: 1.00.

# %% tags=["nbval-check-output"]
@triton.jit
def triangle_kernel(A_ptr, X_ptr, n):
    """(programs, n, n) -> X: (programs, n, n)."""
    raise NotImplementedError("10.9")

check("10.9", triangle_kernel)

# %% [markdown]
# ## 10.10
#
# The build: $\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta)$ of chunks of 64 tokens, from keys and $\beta$ (A is that of eq. 6.2), in one kernel, which is the first kernel of DeltaNet. One program a chunk; the last may be shorter. Row $t$ of `UT` belongs to
# token $t$ and has 64 entries, zeros above the diagonal included. `K` is a power of two, at least 16.
#
# Helpers are there for you: `inverse_of_16(A)`, which is what you wrote in 10.9, of a strictly lower triangular tile (it masks nothing) and to a tile; and these. Use them or not.

# %%
show(rows_of_16, store_16, mul)

# %% [markdown]
# A way to go, in stages, each of which you can try by itself (store what you have, zeros elsewhere, and look at what the check says is the first wrong entry):
#
# 1. load the keys and strengths of four blocks of 16 tokens;
# 2. $A$ of each block on the diagonal, and its inverse: with that, up to 16 tokens are right;
# 3. the blocks next to the diagonal, by (10.8): 32 tokens;
# 4. the rest, with all detours, and the columns times $\beta$: 64 tokens, and any number of chunks.
#
# Other ways are right as well, but products of 64 × 64 tiles may keep the compiler busy for minutes. The score is 1.00 for all of them. So compare what the compiler makes of yours, by `compiled(UT_kernel, 90, ...)` of the lesson: registers, spills, and the length of `sass`.

# %% tags=["nbval-check-output"]
@triton.jit
def UT_kernel(k_ptr, beta_ptr, UT_ptr, T, k_row, K: tl.constexpr):
    """(T, K), (T,) -> UT: (T, 64)."""
    raise NotImplementedError("10.10")

check("10.10", UT_kernel)

# %%
picture("10.10", UT_kernel, case=2);
