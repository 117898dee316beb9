# %% [markdown]
# # 8. Chunkwise DeltaNet: exercises
#
# {exercises}. `hint("8.2")` gives a push, `solution("8.2")` a solution.
# One sequence, one head, tokens are rows: `q`, `k` are (T, K), `v` is (T, V), `beta` is (T,), the memory `S` is (V, K), and K ≠ V. Capital
# `Q`, `K`, `V` are the rows of one chunk. Everything is in float64, and the scale is 1.

# %%
import math

import torch

from deltanet_edu.bench.flops import flops
from deltanet_edu.ops import delta_rule_chunkwise
from deltanet_edu.ops.delta_rule.householder import ut_by_solve
from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 8.1
#
# A chunk of two tokens begins with the memory $S = (1, 2)$:
#
# | t | $k_t$ | $v_t$ | $\beta_t$ |
# |---|---|---|---|
# | 1 | (1, 0) | 3 | 1 |
# | 2 | (0.8, 0.6) | 5 | 0.5 |
#
# What does token 2 really write? Give the number $x_2$, from $u_2$ and $w_2$, and check it with the loop.

# %%
x2 = None

check("8.1", x2)

# %% [markdown]
# ## 8.2
#
# One chunk. Everything up to what the tokens really write is there; the last two steps are missing. `S` itself stays as it came.

# %%
def one_chunk(Q, K, V, beta, S):
    """(C, K), (C, K), (C, V), (C,), (V, K) -> outputs (C, V), memory that leaves (V, K)."""
    UT = ut_by_solve(K, beta)                               # (C, C)
    W, U = UT @ K, UT @ V                                   # (C, K), (C, V)
    X = U - W @ S.mT                                        # (C, V)
    raise NotImplementedError("8.2")                      # delete this line, finish the next two
    O = ...                                               # (C, V)
    S_out = ...                                           # (V, K)
    return O, S_out

check("8.2", one_chunk)

# %% [markdown]
# ## 8.3
#
# The whole sequence in chunks of `C` tokens. T need not be a multiple of C; it may even be smaller. You may call your
# `one_chunk`, or start from an empty page. Leave `S` itself as it came: its owner still needs it.

# %%
def chunkwise(q, k, v, beta, S, C):
    """(T, K), (T, K), (T, V), (T,), (V, K), a number -> (T, V), (V, K)."""
    raise NotImplementedError("8.3")

check("8.3", chunkwise)

# %% [markdown]
# ## 8.4
#
# Put the lines in order. Two of them do not belong, and more than one order is right. Give the labels as a string; spaces, commas
# and small letters are welcome.

# %%
lines("8.4")

# %%
order = ""

check("8.4", order)

# %% [markdown]
# ## 8.5
#
# For a sequence of length $L$ and heads of width $d$, summaries of the method give the cost $O(LCd + Ld^2)$. Here is that
# formula per token, with constants that were counted in the code. It agrees with the counter for short chunks, nearly:

# %%
def counted(C, K, V):
    """FLOPs per token of the products and the solve that the package executes."""
    q, k, v, beta = (torch.zeros(1, C, 1, D) for D in (K, K, V, 1))
    n = flops(delta_rule_chunkwise, q, k, v, beta[..., 0], chunk_size=C)
    return (n["bmm"] + n["linalg_solve_triangular"]) / C

for C in (1, 8, 64, 512):
    published = 6 * 64 * 64 + C * (6 * 64 + 4 * 64)
    print(f"C = {C:<4} counted {counted(C, 64, 64):>8,.0f}   published {published:>8,.0f}")

# %% [markdown]
# Repair it, as a formula. (Calling the counter passes as well, but teaches less.)

# %%
def cost_per_token(C, K, V):
    """FLOPs per token and head."""
    raise NotImplementedError("8.5")                      # delete this line, repair the next one
    return 6 * K * V + C * (6 * K + 4 * V)

check("8.5", cost_per_token)

# %% [markdown]
# ## 8.6
#
# Softmax weights are positive. Linear attention's are never negative as long as no entry of a key or a query is. DeltaNet's are not.
#
# Find up to four keys with two nonnegative entries each (unit keys or not), write strengths from 0 to 1, and a nonnegative query for the
# *last* token, such that one of the last token's attention weights (eq. 8.7, with an empty memory) is negative. Try it
# with pencil and paper first: two tokens are enough.

# %%
answer = None                                             # ([key, ...], [strength, ...], query)

check("8.6", answer)

# %% [markdown]
# ## 8.7
#
# A simple model of a machine: each sequential step costs `step` seconds (perhaps 0), whatever it does, and on top of that every FLOP costs
# `flop` seconds. There is one step for each chunk, a shorter last one included; the FLOPs are those of eq. 8.9 for the T tokens
# that are there (what pads the last chunk is not charged). Which chunk length, out of the powers of two that are not longer than
# the sequence, is fastest? If two are equally fast, return the smaller.

# %%
def best_chunk(step, flop, T, K, V):
    """Seconds per step, seconds per FLOP, number of tokens, widths -> a power of two."""
    raise NotImplementedError("8.7")

check("8.7", best_chunk)
