# %% [markdown]
# # 6. The UT transform: exercises
#
# {exercises}. Each cell ends in a check; run it as often as you like. When stuck, `hint("6.2")` gives the
# first of three hints.
#
# One chunk, no batch and no heads: `k` is (C, K), `v` is (C, V), `beta` is (C,), and K ≠ V. Everything is in float64,
# so a new matrix needs its dtype: `torch.eye(C, dtype=k.dtype)`.
# The matrix $\mathbf{T}$ of the lesson is called `UT` here, as in all code.

# %%
import torch

from deltanet_edu.ops.delta_rule.householder import ut_by_solve, ut_system
from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 6.1
#
# | t | $k_t$ | $\beta_t$ |
# |---|---|---|
# | 1 | (1, 0) | 0.5 |
# | 2 | (0.8, 0.6) | 0.5 |
# | 3 | (0.6, 0.8) | 1 |
#
# What is the entry $\mathbf{T}_{31}$, in row 3 and column 1 (both counted from 1), of $\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta)$? Use paths, pencil and paper.

# %%
UT31 = None

check("6.1", UT31)

# %% [markdown]
# ## 6.2
#
# Compute $A = \mathrm{stril}(\mathrm{diag}(\beta) K K^\top)$, in one line if you like.

# %%
def system(k, beta):
    """(C, K), (C,) -> (C, C)."""
    raise NotImplementedError("6.2")

check("6.2", system)

# %% [markdown]
# ## 6.3
#
# Compute $\mathbf{T}$ by substitution. The loop is there, and the sum over the finished rows of $(I + A)^{-1}$. The last two steps are
# missing: finish row $t$, and make $\mathbf{T}$ out of the rows.

# %%
def UT_row_by_row(k, beta):
    """(C, K), (C,) -> (C, C)."""
    A = ut_system(k, beta)                              # (C, C)
    rows = torch.eye(len(k), dtype=k.dtype)             # of (I + A)^-1; row t starts as e_t
    for t in range(1, len(k)):
        finished = A[t, :t] @ rows[:t]                  # (C,)  what the finished rows contribute
        raise NotImplementedError("6.3")        # one line: finish row t
    raise NotImplementedError("6.3")            # one line: return UT

check("6.3", UT_row_by_row)

# %% [markdown]
# ## 6.4
#
# This loop has the style of the listing in the DeltaNet paper. It computes the inverse in place, row by row, and adds the identity at the end.
# A careful reader compared such a loop with a formula, found that they disagree, and proposed to start from $A$ instead of $-A$
# (flash-linear-attention, issue 100). Now they agree; but the loop had been right, and the formula was that of $(I - A)^{-1}$. Here is the loop with this change.
#
# The delta rule needs $(I + A)^{-1}$. Derive for two tokens, and then for three, which sign belongs where, and repair the loop.
# There is more than one right repair.

# %%
def inverse(A):
    """A: (C, C), strictly lower triangular. Returns (I + A)^-1."""
    raise NotImplementedError("6.4")            # delete this line, and find what is wrong below
    rows = A.clone()
    for i in range(1, len(A)):
        rows[i, :i] = rows[i, :i] + (rows[i, :, None] * rows[:, :i]).sum(-2)
    return rows + torch.eye(len(A), dtype=A.dtype)

check("6.4", inverse)

# %% [markdown]
# ## 6.5
#
# A summary of the paper computes $\mathbf{T}$ by the paper's equation 10, and then $W$ and $U$ as the paper's listing does. Each half is right. Repair the whole.

# %%
def w_and_u(k, v, beta):
    """(C, K), (C, V), (C,) -> W: (C, K), U: (C, V)."""
    UT = ut_by_solve(k, beta)                           # (C, C)  (I + A)^-1 diag(beta)
    raise NotImplementedError("6.5")            # delete this line, and repair the lines below
    k_beta, v_beta = beta[:, None] * k, beta[:, None] * v
    return UT @ k_beta, UT @ v_beta

check("6.5", w_and_u)

# %% [markdown]
# ## 6.6
#
# The lines of a recursive inverse of $I + A$ have been shuffled; `inverse` is given $A$, with zeros on its diagonal.
# Three lines compute a wrong corner and do not belong.

# %%
lines("6.6")

# %% [markdown]
# Give the labels in order, as one string. There is more than one right answer.

# %%
order = None

check("6.6", order)

# %% [markdown]
# ## 6.7
#
# Over how many paths does the sum (6.7) run, from token 1 to token 40? Give the number; Python arithmetic is welcome.

# %%
count = None

check("6.7", count)

# %% [markdown]
# ## 6.8
#
# `a, tau = torch.geqrf(X)` returns a QR factorization as LAPACK stores it (exercise 5.7): below the diagonal, column $t$ of `a` holds the vector $y_t$ without its leading 1.
# With the $y_t$ as the *columns* of $Y$, LAPACK writes $Q = I - Y\,T\,Y^\top$, and its routine `larft` computes the
# $n \times n$ matrix $T$: LAPACK's, and not quite ours.
#
# Compute LAPACK's $T$, by a way of your own choice. It must work for any `tau`, zero included: where $\tau_t$ is zero, row $t$ and column $t$ of $T$ are exactly zero.

# %%
def larft(a, tau):
    """(m, n), (n,) -> (n, n)."""
    raise NotImplementedError("6.8")

check("6.8", larft)
