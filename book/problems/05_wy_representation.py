# %% [markdown]
# # 5. The WY representation: exercises
#
# {exercises}. Change the code, run the cell, read the card. `hint("5.2")` gives a push.
# Tokens are rows: `k` is (C, K), `v` is (C, V), `beta` is (C,), and K ≠ V. Everything is in float64,
# so a new matrix needs its dtype: `torch.eye(C, dtype=k.dtype)`.

# %%
import torch

from deltanet_edu.ops.delta_rule.householder import wy_u, wy_w
from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 5.1
#
# An empty memory with $d_k = 2$ and $d_v = 1$ receives three tokens:
#
# | t | $k_t$ | $v_t$ | $\beta_t$ |
# |---|---|---|---|
# | 1 | (1, 0) | 2 | 1 |
# | 2 | (0.8, 0.6) | 3 | 0.5 |
# | 3 | (1, 0) | 5 | 1 |
#
# What does token 3 really write? Give the number $u_3$, from pencil and paper.

# %%
u3 = None

check("5.1", u3)

# %% [markdown]
# ## 5.2
#
# $u_t = \beta_t\big(v_t - \sum_{i<t} u_i\,(k_i^\top k_t)\big)$. The loop is there, and so is the sum over earlier tokens. The last step is missing.

# %%
def u_vectors(k, v, beta):
    """(C, K), (C, V), (C,) -> (C, V)."""
    u = []
    for t in range(len(k)):
        already = torch.zeros_like(v[t])                # (V,)  what the earlier writes return for k_t
        for i in range(t):
            already = already + u[i] * (k[i] @ k[t])
        raise NotImplementedError("5.2")        # one line: append u_t
    return torch.stack(u)

check("5.2", u_vectors)

# %% [markdown]
# ## 5.3
#
# Write the rows $w_t$ with $M_1 M_2 \cdots M_C = I - W^\top K$, without forming a $K \times K$ matrix. This time from an empty page.
# (`wy_u` and `wy_w`, from the first cell, are for 5.5 and 5.7.)

# %%
def w_vectors(k, beta):
    """(C, K), (C,) -> (C, K). Forms no K x K matrix."""
    raise NotImplementedError("5.3")

check("5.3", w_vectors)

# %% [markdown]
# ## 5.4
#
# The lines of a function that computes W and U in one go have been shuffled, and two lines that do not belong were mixed in.
# Give the labels in order, as a string. The lines are indented as they will be, and only one order is right.

# %%
lines("5.4")

# %%
order = ""

check("5.4", order)

# %% [markdown]
# ## 5.5
#
# This function jumps over a chunk of tokens. It was written from a summary of the method that gives the recurrence for $u$ and no other.
# It passes every test that starts with an empty memory. Repair it.

# %%
def state_after(S, k, v, beta):
    """The memory after the chunk. S: (V, K), k: (C, K), v: (C, V), beta: (C,) -> (V, K)."""
    U = wy_u(k, v, beta)                                # (C, V)
    raise NotImplementedError("5.5")            # delete this line, and repair the function
    return S + U.mT @ k

check("5.5", state_after)

# %% [markdown]
# ## 5.6
#
# Count multiplications, for $K = V = 64$. The token loop pays $KV$ for reading $S k_t$ and $KV$ for writing $u_t k_t^\top$. The recurrence
# (5.4) pays, per earlier token, $K$ for the overlap and $V$ for the scaled $u_i$. (Neglect the factor $\beta_t$,
# and that only the loop has the state in the end.)
#
# From how many tokens $T$ on does the recurrence need *more* multiplications in total than the loop? Give the smallest such $T$; a draw is not more.
# (The lesson's picture answers another question: the function that it shows computes all $T^2$ overlaps, those with later tokens included.)

# %%
T = None

check("5.6", T)

# %% [markdown]
# ## 5.7
#
# `a, tau = torch.geqrf(X)` returns a QR factorization as LAPACK stores it: `a` is (m, n) with $m \ge n$, and holds R on and above its diagonal.
# Column $t$ *below* the diagonal holds a vector $y_t$ without its leading 1: $y_t$ is zero above position $t$, one at position $t$, and continues
# with what is stored. $Q = H_1 H_2 \cdots H_n$ with $H_t = I - \tau_t\, y_t y_t^\top$.
#
# Form Q, all $m \times m$ of it, by a way of your own choice. It must work for any `tau`, from `geqrf` or not.

# %%
def q_from_lapack(a, tau):
    """(m, n), (n,) -> (m, m)."""
    raise NotImplementedError("5.7")

check("5.7", q_from_lapack)
