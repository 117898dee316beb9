# %% [markdown]
# # 4. Householder matrices: exercises
#
# {exercises}. Each cell ends in a check; run it as often as you like. `hint("4.3")` gives the
# first of three hints.
#
# No batch and no heads: `S` is (V, K), the state stands on the left, and a product over tokens reads $S\,M_1 M_2 \cdots M_C$. Everything is in
# float64. Leave the tensors that you are given as they are.

# %%
import math

import torch

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 4.1
#
# A memory $S = (1, 2)$, a key $k = (2, 1)$, and $\beta = 0.3$. What is $S\,(I - \beta kk^\top)$? Two numbers, `(a, b)`, from pencil and paper.

# %%
answer = None

check("4.1", answer)

# %% [markdown]
# ## 4.2
#
# "With β = 2 the matrix is a reflection", one often reads, and this function believes it. It mirrors the rows of `X`, for a key of any
# length but 0. Repair it.

# %%
def mirrored(X, k):
    """X: (N, K), rows to be mirrored; k: (K,). Returns (N, K)."""
    raise NotImplementedError("4.2")               # delete this line, and repair the next one
    return X - 2 * torch.outer(X @ k, k)

check("4.2", mirrored)

# %% [markdown]
# ## 4.3
#
# A sentence is read at half the speed, so every token comes twice. Twice the writes should not mean twice the forgetting. Which strength $\beta'$ must each of
# $n$ writes with the same key have, so that together they do exactly what one write with $\beta$ does, and none of them overshoots? In other words: for
# $0 \le \beta\|k\|^2 \le 1$ find $\beta'$ with $0 \le \beta'\|k\|^2 \le 1$ such that $(I - \beta' kk^\top)^n = I - \beta\,kk^\top$.
#
# Before you compute: is $\beta'$ smaller or larger than $\beta/n$? (Afterwards, put $n = -1$ into your formula. Which equation of the lesson is that?)

# %%
def small_step(k, beta, n):
    """k: (K,), not zero; beta: (), n: a positive integer. Returns the strength of each of the n writes, ()."""
    raise NotImplementedError("4.3")

check("4.3", small_step)

# %% [markdown]
# ## 4.4
#
# Return $S\,M_1 M_2 \cdots M_C$ with $M_t = I - \beta_t k_t k_t^\top$, without a $K \times K$ matrix. The last step of the loop is missing.

# %%
def through(S, k, beta):
    """S: (V, K), k: (C, K), beta: (C,). Returns (V, K)."""
    for t in range(len(k)):
        read = S @ k[t]                                                  # (V,)
        raise NotImplementedError("4.4")                               # one line: the new S
    return S

check("4.4", through)

# %% [markdown]
# ## 4.5
#
# | | $k_1$ | $k_2$ | $\beta_1$ | $\beta_2$ |
# |---|---|---|---|---|
# | a | (1, 0) | (2, 0) | 0.5 | 1 |
# | b | (1, 0) | (0, 3) | 1 | 1 |
# | c | (1, 0) | (0.6, 0.8) | 1 | 1 |
# | d | (1, 1) | (1, −1) | 0.3 | 1.9 |
# | e | (1, 0) | (0.6, 0.8) | 1 | 0 |
# | f | (1, 0) | (0.6, 0.8) | 2 | 2 |
#
# For which pairs is $M_1M_2 = M_2M_1$? Give their letters, in any order, as one string.

# %%
answer = None

check("4.5", answer)

# %% [markdown]
# ## 4.6
#
# The memory is the hand of a clock, $S = (1, 0)$ at the start. Every hour it is multiplied with $M_1M_2$, two mirrors with $\beta = 2$. Choose the
# two unit keys so that the hand goes once around, counterclockwise, in $n \ge 3$ equal steps. Many answers are right.

# %%
def clock(n):
    """n: the number of hours. Returns two unit keys as rows, (2, 2), in float64."""
    raise NotImplementedError("4.6")

check("4.6", clock)

# %% [markdown]
# ## 4.7
#
# The columns of `S` are shuffled, one swap after the other; `swaps` holds pairs of different places, (n, 2). These lines do it with one mirror a swap.
# They are out of order, and two of them do not belong. Give the labels in order, the `return` among them, as one string.

# %%
lines("4.7")

# %%
order = ""

check("4.7", order)

# %% [markdown]
# ## 4.8
#
# Given any permutation `p` of the $K$ columns, find unit keys so that $S\,M_1 M_2 \cdots M_m$ with $\beta = 2$ is `S[:, p]`: column `p[j]` comes to
# place `j`. Use as few keys as possible; for the identity that is none. Many answers are right.

# %%
def mirrors(p):
    """p: (K,), int64. Returns m unit keys as rows, (m, K), in float64; m may be 0."""
    raise NotImplementedError("4.8")

check("4.8", mirrors)
