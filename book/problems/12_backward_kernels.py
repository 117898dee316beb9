# %% [markdown]
# # 12. The backward kernels: exercises
#
# {exercises}. They lead to a build: in 12.3 you write the backward sweep, in 12.4 you mend the kernel for β, in 12.5 you write that for
# the keys, and in 12.7 they become a backward pass of your own. `hint("12.3")` gives a push, `solution("12.3")` a solution.
#
# Tensors are contiguous and in the layout of the book: `q`, `k` are (B, T, H, K), `v`, `do` are (B, T, H, V), `beta` is (B, T, H).
# A kernel works on one `head` of B·H, and K, V and C are powers of two from 16 on. The last chunk need not be full. Checks run your kernel
# in Triton's interpreter, watch what it loads and stores, and compile it for two GPUs; on a machine with a GPU it runs there.

# %%
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"                    # no GPU: Triton's interpreter runs the kernels, on the CPU
import triton
import triton.language as tl

# %%
from deltanet_edu.bench.race import race
from deltanet_edu.chapters.ch12.forward import forward, memories
from deltanet_edu.chapters.ch12.launches import backward_sweep, gradient_of_keys, gradient_of_strengths, launch_keys, launch_strengths, launch_sweep
from deltanet_edu.chapters.ch12.queries import gradient_of_queries
from deltanet_edu.chapters.ch12.tiles import memory, rows, strengths, tokens
from deltanet_edu.tutor import check, hint, lines, progress, show, solution

# %% [markdown]
# ## 12.1
#
# One head reads 4,096 tokens in chunks of C = 64, with K = V = 128. The forward sweep, run once more, and the backward sweep each store two tensors, which
# the gradients need; a number is stored in bfloat16. How many MiB (1,048,576 bytes) do the four tensors take, together?

# %% tags=["nbval-check-output"]
mib = None

check("12.1", mib)

# %% [markdown]
# ## 12.2
#
# The backward sweep in PyTorch, for one head, with tokens as columns as in the kernel. `UT_low` is $\mathbf{T}$ below its diagonal. Put the lines in
# order and give their labels as one string; any order that works counts. Two of them do not belong. The lists
# come out last chunk first.

# %%
lines("12.2")

# %% tags=["nbval-check-output"]
order = ""

check("12.2", order)

# %% [markdown]
# ## What the kernels are given
#
# `rows(head, first, T, H, D, C, d0, WIDTH)` gives offsets and mask of C tokens in a tensor (B, T, H, D); `memory(number, v0, V, K, V_TILE)`, whose `number` comes from `head`, the
# offsets of a tile in a tensor of memories; `tokens` and `strengths` are for tensors (B, T, H). They are called in your kernel like any function.

# %%
show(rows, memory, tokens, strengths)

# %% [markdown]
# ## 12.3
#
# The backward sweep as a kernel (eq. 12.1 and 12.2). One program per `V_TILE` rows of the memory and head, from the last chunk to the first. It stores
# $dS'$ of every chunk, (B, H, N, V, K) (in chapter 11 memories were (B, N, H, V, K)), $dV$, and what is left of $dS$ at the end, the gradient of the first
# memory. `scale` is the factor on the queries, $O = \mathrm{scale}\,(QS^\top + PX)$, and all that is stored has it in it, as `d_final` has.
# So $dS$ begins with `d_final` as it comes if you multiply $dO$ by the scale when you load it, and with `d_final` divided by the scale if you multiply what
# you store, as the lesson's sweep does. Carry $dS$ in float32, and give products operands of the dtype that came in, in which $dS'$ and $dV$ are stored as well.
#
# Below the kernel stands how it is launched.

# %% tags=["nbval-check-output"]
@triton.jit
def backward_sweep_kernel(
    q_ptr, k_ptr, beta_ptr, UT_low_ptr,            # (B, T, H, K) twice, (B, T, H), (B, T, H, C)
    do_ptr, d_final_ptr,                           # (B, T, H, V), (B, H, V, K) float32
    d_states_ptr, dv_ptr, d_initial_ptr,           # out: (B, H, N, V, K), (B, T, H, V), (B, H, V, K) float32
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per V_TILE rows, program_id(0), and head, program_id(1), from the last chunk to the first."""
    raise NotImplementedError("12.3")

check("12.3", backward_sweep_kernel)

# %%
show(launch_sweep)

# %% [markdown]
# ## 12.4
#
# A kernel for $d\beta$ (eq. 12.3). In the interpreter all its results are right, for every shape. On a GPU they are wrong, and otherwise wrong in each
# run. Repair the kernel (the last bits of a sum may still depend on its order); how it is launched, and that `dbeta` is zero before, stays as it is.

# %%
show(launch_strengths)

# %% tags=["nbval-check-output"]
@triton.jit
def dbeta_kernel(
    beta_ptr, dv_ptr, writes_ptr,                  # (B, T, H), (B, T, H, V) twice
    dbeta_ptr,                                     # out: (B, T, H), zeros before
    T, H, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per chunk, head and V_TILE columns."""
    raise NotImplementedError("12.4")              # delete this line, repair what is below
    i, head, v0 = tl.program_id(0), tl.program_id(1), tl.program_id(2) * V_TILE
    at_X, there = rows(head, i * C, T, H, V, C, v0, V_TILE)
    dV = tl.load(dv_ptr + at_X, mask=there, other=0.0).to(tl.float32)
    X = tl.load(writes_ptr + at_X, mask=there, other=0.0).to(tl.float32)
    strength = strengths(beta_ptr, head, i * C, T, H, C)
    dbeta = tl.sum(dV * X, 1) / (strength * strength)
    at, there = tokens(head, i * C, T, H, C)
    dbeta += tl.load(dbeta_ptr + at, mask=there, other=0.0)
    tl.store(dbeta_ptr + at, dbeta, mask=there)

check("12.4", dbeta_kernel)

# %% [markdown]
# ## 12.5
#
# The gradient of the keys, one program per chunk and head: $dK = dP^\top Q + X\,dS' - dV\,S - (E + E^\top) K$ with $dP = \mathrm{tril}(dO\,X^\top)$ and
# $E = \mathrm{stril}(dV X^\top)$ (eq. 9.5 and 9.6). `states` holds $S$ of each chunk, `d_states` holds $dS'$. $dV$ and $dS'$ come from the sweep and have the scale in
# them; $dO$ has not. How many accumulators do you need? Each takes registers, though the check does not count them.

# %% tags=["nbval-check-output"]
@triton.jit
def dk_kernel(
    q_ptr, k_ptr, do_ptr, dv_ptr, writes_ptr,      # (B, T, H, K) twice, (B, T, H, V) three times; writes: X
    states_ptr, d_states_ptr,                      # (B, H, N, V, K) twice
    dk_ptr,                                        # out: (B, T, H, K)
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per chunk, program_id(0), and head, program_id(1); V comes in tiles of V_TILE columns."""
    raise NotImplementedError("12.5")

check("12.5", dk_kernel)

# %%
show(launch_keys)

# %% [markdown]
# ## 12.6
#
# A wider head: a program of eight warps (256 threads) works on a chunk of C = 64 tokens with K = 256. It holds $dQ$, $dK$, $dP$ and $E$ in float32, spread evenly over its
# threads. How many of each thread's 255 registers of four bytes do these four take?

# %% tags=["nbval-check-output"]
registers = None

check("12.6", registers)

# %% [markdown]
# ## 12.7
#
# The build: your kernels as a `torch.autograd.Function`. The forward pass is the package's. Given are
#
# | call | returns |
# |---|---|
# | `forward(q, k, v, beta, S, scale, C)` | `o`, the memory after the last token, and `UT_low` (B, T, H, C) |
# | `memories(k, v, beta, UT_low, S)` | `states` (B, H, N, V, K) and `X` (B, T, H, V): the forward sweep, once more |
# | `backward_sweep(backward_sweep_kernel, q, k, beta, UT_low, do, d_final, scale)` | `d_states`, `dv`, and the gradient of `S` |
# | `gradient_of_queries(k, do, X, states, scale, C)` | `dq` |
# | `gradient_of_keys(dk_kernel, q, k, do, dv, X, states, d_states, scale, C)` | `dk` |
# | `gradient_of_strengths(dbeta_kernel, beta, dv, X, C)` | `dbeta` |
#
# Three are launches of your kernels. In your method `forward` the name `forward` means the function of this table. Each call multiplies by its `scale`; `dv`
# has it in it. What autograd hands to `backward` is never None here, and need not be contiguous. The check compares everything with the float64 recurrence, on
# ragged lengths, K ≠ V, with a memory that is not empty and a gradient of the last one, and counts what you move (there is no limit).

# %% tags=["nbval-check-output"]
class DeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta, S, scale, C):
        """-> o (B, T, H, V), and the memory after the last token (B, H, V, K)."""
        raise NotImplementedError("12.7")

    @staticmethod
    def backward(ctx, do, d_final):
        """-> one gradient for each input of forward, None for the two numbers."""
        raise NotImplementedError("12.7")

check("12.7", DeltaRule)

# %% [markdown]
# And now let it race: values and gradients in eight more cases, bytes, and the package beside it. Entries stay on a board of yours.
# (While 12.7 is open, the race ends at its first case.)

# %%
def mine(q, k, v, beta):
    S = q.new_zeros(q.shape[0], q.shape[2], v.shape[3], q.shape[3], dtype=torch.float32)
    return DeltaRule.apply(q, k, v, beta, S, 1.0, 16)

race(mine, backward=True);
