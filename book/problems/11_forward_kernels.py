# %% [markdown]
# # 11. The forward kernels: exercises
#
# {exercises}. `hint("11.5")` gives a push, `solution("11.5")` a solution.
# Tensors are contiguous: `q`, `k` are (B, T, H, K), `v`, `o` (B, T, H, V), `beta` is (B, T, H). `K`, `V` and the chunk length `C` are powers of two, 16 or more,
# K ≠ V, and T is any number. `UT_low` is (B, T, H, C): row t of its chunk lies with token t.
#
# Exercises 11.5 to 11.8 build a forward pass of your own. Which program takes which chunk, head and sequence is yours to choose. Without a GPU everything runs in Triton's interpreter. The values that checks compare are float32; a memory is carried in float32 whatever comes in.

# %%
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"                  # no GPU here: Triton's interpreter runs the kernels, on the CPU
import triton
import triton.language as tl

from deltanet_edu.bench.race import race
from deltanet_edu.chapters.ch11.forward import load_rows, load_strengths, store_rows
from deltanet_edu.tutor import check, hint, lines, progress, show, solution

# %% [markdown]
# The two helpers of the lesson, and a third one for $\beta$. Use them in your kernels, or write loads and stores of your own.

# %%
show(load_rows, store_rows, load_strengths)

# %% [markdown]
# ## 11.1
#
# Six launches. In each of them a program has one of the following to do, and programs run in any order, many at the same time. Which launches are right (whether fast or slow)?
#
# | | a program has | and |
# |---|---|---|
# | A | one chunk of one head | computes $\mathbf{T}$ from its keys and $\beta$ |
# | B | one chunk of one head | reads the memory that the program of the chunk before, of the same launch, has stored, updates it, stores it |
# | C | 16 rows of the memory of one head | goes through all chunks |
# | D | 16 columns of the memory of one head | goes through all chunks |
# | E | one chunk of one head | computes outputs from $X$ and the memory $S$ that enters the chunk, both stored by an earlier launch |
# | F | one head of one sequence | goes through all chunks, with the whole memory |
#
# Give the letters of those that are right.

# %% tags=["nbval-check-output"]
letters = None

check("11.1", letters)

# %% [markdown]
# ## 11.2
#
# How many bytes does the package's form ask for, per token and head, all programs together? Two kernels. The first reads `k` and `beta` and stores `UT_low` and a copy of `beta`. The second has a program for
# every `V_TILE` rows of a memory (the last one may have fewer). It reads `q`, `k`, `v`, `UT_low` and `beta` and stores `o`. Numbers have `e` bytes, those of `beta` and its copy 4. T is a multiple of C.

# %% tags=["nbval-check-output"]
def bytes_per_token(K, V, C, V_TILE, e):
    """Widths, chunk length, rows a program, bytes a number -> bytes per token and head."""
    raise NotImplementedError("11.2")

check("11.2", bytes_per_token)

# %% [markdown]
# ## 11.3
#
# One chunk as in the package's second kernel, in PyTorch. Names that end in `_t` have tokens as columns. Put the lines in order; two do not belong, and any order that works is right. Give the labels as a string.

# %%
lines("11.3")

# %% tags=["nbval-check-output"]
order = ""

check("11.3", order)

# %% [markdown]
# ## 11.4
#
# The memory after the last token. Somebody found masks tedious and clamps the rows to the last token instead: then no load can leave its tensor. The outputs of such a kernel would even be right. Its memory is not. Repair it.
#
# Grid and arguments: `(B * H,)`, `(k, v, UT, S, T, H, K, V, C)`, with the whole $\mathbf{T}$ of each chunk in `UT`, (B, T, H, C), zeros in columns behind the last token.

# %% tags=["nbval-check-output"]
@triton.jit
def last_memory(k_ptr, v_ptr, UT_ptr, S_ptr, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    """k, v, UT -> S (B, H, V, K)."""
    raise NotImplementedError("11.4")                                    # delete this line, repair the rest
    head = tl.program_id(0) // H * T * H + tl.program_id(0) % H
    key, val, col = tl.arange(0, K)[None, :], tl.arange(0, V)[None, :], tl.arange(0, C)[None, :]
    S = tl.zeros((V, K), tl.float32)                                     # (V, K)
    for first in range(0, T, C):
        t = tl.minimum(first + tl.arange(0, C), T - 1)                   # (C,)  never behind the end
        row = (head + t * H)[:, None]                                    # (C, 1)
        k = tl.load(k_ptr + row * K + key)                               # (C, K)
        v = tl.load(v_ptr + row * V + val)                               # (C, V)
        UT = tl.load(UT_ptr + row * C + col)                             # (C, C)
        X = tl.dot(UT, v - tl.dot(k, tl.trans(S)))                       # (C, V)  eq. 8.6
        S += tl.dot(tl.trans(X), k)                                      # eq. 8.4
    tl.store(S_ptr + tl.program_id(0) * V * K + tl.arange(0, V)[:, None] * K + key, S)

check("11.4", last_memory)

# %% [markdown]
# ## 11.5
#
# From here on you build. First the inverse: $\mathbf{T}_{\mathrm{low}}$, the part of $\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta)$ below its diagonal, for all chunks at once.
#
# Grid and arguments: `(B * N * H,)`, `(k, beta, UT_low, T, H, K, C, LEVELS)`, with $N = \lceil T / C \rceil$ chunks and $C = 2^{\mathtt{LEVELS}}$.
# Row t of `UT_low` belongs to token t, with all its C entries: zeros on and above the diagonal are stored as well.
# Two small functions may help (delete them if not); how you divide the work is up to you, and only `inverse_kernel` is checked. Corners in the whole of the tile are enough. On a GPU it pays to have the small ones in a stack of blocks of 16 x 16, as the lesson says.

# %% tags=["nbval-check-output"]
@triton.jit
def corner(row, col, level: tl.constexpr):
    """Whether an entry lies in a corner of this level."""
    raise NotImplementedError("11.5")


@triton.jit
def grow(T1, A, where):
    """T1 with the corners of one level filled in, eq. 11.2; `where` says which they are."""
    raise NotImplementedError("11.5")


@triton.jit
def inverse_kernel(k_ptr, beta_ptr, UT_ptr, T, H, K: tl.constexpr, C: tl.constexpr, LEVELS: tl.constexpr):
    """One program per chunk and head. k, beta -> UT_low (B, T, H, C)."""
    raise NotImplementedError("11.5")

check("11.5", inverse_kernel)

# %% [markdown]
# ## 11.6
#
# Next, what cannot run side by side. A program owns `V_TILE` rows of the memory of one head and takes them through all chunks. It stores the memory that *enters* each chunk, `states` (B, N, H, V, K), and what
# each token writes, `X` (B, T, H, V). The memory is empty at first.
#
# Grid and arguments: `(B * H * (V // V_TILE),)`, `(k, v, beta, UT_low, states, X, T, H, K, V, C, V_TILE)`.

# %% tags=["nbval-check-output"]
@triton.jit
def memory_kernel(k_ptr, v_ptr, beta_ptr, UT_ptr, states_ptr, X_ptr, T, H,
                  K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    """k, v, beta, UT_low -> states (B, N, H, V, K), X (B, T, H, V)."""
    raise NotImplementedError("11.6")

check("11.6", memory_kernel)

# %% [markdown]
# ## 11.7
#
# With `states` and `X` in memory, the outputs of all chunks can be computed at once: $O = s\,(QS^\top + \mathrm{tril}(QK^\top)\,X)$.
#
# Grid and arguments: `(B * N * H,)`, `(q, k, states, X, o, scale, T, H, K, V, C)`.

# %% tags=["nbval-check-output"]
@triton.jit
def output_kernel(q_ptr, k_ptr, states_ptr, X_ptr, o_ptr, scale, T, H,
                  K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    """One program per chunk and head. q, k, states, X, scale -> o (B, T, H, V)."""
    raise NotImplementedError("11.7")

check("11.7", output_kernel)

# %% [markdown]
# ## 11.8
#
# Three launches, and all of them right. But `states` and `X` are written and read again, and nobody wants them. So put the outputs where the memory is: *one* kernel after the inverse, that stores `o` and nothing else. Then the function around both
# (the inverse is yours, of 11.5), which you can call like any form of the package. You choose C (two to the LEVELS) and V_TILE (at most V, which may be 16), and `num_warps` and `num_stages` of each launch.
#
# The check counts bytes, for 150 tokens with K = V = 64: at most twice the least (`q`, `k`, `v`, `beta` and `o` once each) is allowed, and three launches need more.

# %% tags=["nbval-check-output"]
@triton.jit
def forward_kernel(q_ptr, k_ptr, v_ptr, beta_ptr, UT_ptr, o_ptr, scale, T, H,
                   K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr):
    """One program per head and V_TILE rows of its memory."""
    raise NotImplementedError("11.8")


def delta_rule(q, k, v, beta, scale=1.0):
    """(B, T, H, K), (B, T, H, K), (B, T, H, V), (B, T, H), a number -> (B, T, H, V)."""
    raise NotImplementedError("11.8")

check("11.8", delta_rule)

# %% [markdown]
# ### The race
#
# Is it right everywhere, does it stay inside its tensors, does the order of its programs matter, and what does it move beside the package's? `race` keeps a board of what got through. (In float32 the package takes
# tiles of 16 rows, for exact results and not for speed, and so moves more than you need to. In bfloat16 its tiles are wide.)

# %%
race(delta_rule, name="chapter 11");
