# %% [markdown]
# # 2. The delta rule: exercises
#
# {exercises}. Each cell ends in a check; run it as often as you like. When stuck,
# `hint("2.1")` gives the first of three hints.
#
# One token at a time, no batch and no heads: `S` is (V, K), `k` and `q` are (K,), `v` is (V,), `beta` is a number. K and V differ.
# Everything is in float64, so a new tensor needs `dtype=v.dtype` or `torch.zeros_like(v)`.
# Leave the tensors that you are given as they are.

# %%
import torch

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 2.1
#
# Return the memory after one step of the delta rule. Leave the `S` you were given as it is.

# %%
def write(S, k, v, beta):
    """S: (V, K), k: (K,), v: (V,), beta: (). Returns the new memory, (V, K)."""
    raise NotImplementedError("2.1")

check("2.1", write)

# %% [markdown]
# ## 2.2
#
# These lines are one step of the delta rule, the read included. They are out of order, and one of them does not belong.

# %%
lines("2.2")

# %% [markdown]
# Give the labels in order, the `return` among them, as one string. There is more than one right answer.

# %%
answer = None

check("2.2", answer)

# %% [markdown]
# ## 2.3
#
# Somebody forgot to normalize. The key is $k = (1, \tfrac12, \tfrac12)$, so $\|k\|^2 = 1.5$. The memory says 10 for it, that
# is, $S k = 10$. Now $v = 4$ is written with $\beta = 1$. What does the memory say for $k$ afterwards?
#
# Work it out on paper before you run anything.

# %%
answer = None

check("2.3", answer)

# %% [markdown]
# ## 2.4
#
# A well-known article on DeltaNet states the update like this, and the function below computes it faithfully:
#
# $S_t = S_{t-1}\,(I - \beta_t k_t k_t^\top) + v_t k_t^\top$

# %%
def published(S, k, v, beta):
    transition = torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k)
    return S @ transition + torch.outer(v, k)

# %% [markdown]
# It is not the delta rule. Find an input that exposes it (a memory that is already right makes a good witness), then write it
# as it should be.

# %%
def repaired(S, k, v, beta):
    """S: (V, K), k: (K,), v: (V,), beta: (). Returns the new memory, (V, K)."""
    raise NotImplementedError("2.4")

check("2.4", repaired)

# %% [markdown]
# ## 2.5
#
# Run the rule over T tokens, starting from the memory `S` that earlier text has left behind. Return the reads, with $s = 1$, and the
# last memory.

# %%
def delta_rule(q, k, v, beta, S):
    """q, k: (T, K), v: (T, V), beta: (T,), S: (V, K). Returns o: (T, V) and the final memory, (V, K)."""
    raise NotImplementedError("2.5")

check("2.5", delta_rule)

# %% [markdown]
# ## 2.6
#
# All tokens share one β. What is stored passes their transitions, $S \to S\,(I - \beta\,k_t k_t^\top)$. Return the largest β
# with which none of them can make a memory larger than it was, whatever is stored. (What is *added*, $\beta\,v_t k_t^\top$, is
# another matter: it makes an empty memory larger with any β.) The keys are not normalized, and at least one is not zero.

# %%
def largest_beta(k):
    """k: (T, K). Returns a tensor of shape ()."""
    raise NotImplementedError("2.6")

check("2.6", largest_beta)

# %% [markdown]
# ## 2.7
#
# T values are written under the *same* key, into a memory that starts empty. With strength 1 and a unit key the last value
# wins. Choose the strengths so that after each write the memory says the *mean* of all values so far. The key may have any
# length but 0.

# %%
def averaging_betas(k, T):
    """k: (K,). Returns the strengths of the T writes, (T,)."""
    raise NotImplementedError("2.7")

check("2.7", averaging_betas)

# %% [markdown]
# ## 2.8
#
# The lesson praised the delta rule and then found its price. Build a stream in which the price shows: at most four pairs, keys
# of length 1 (to six digits) with two entries, no later one along the first, values that are numbers. Both memories start empty and see every pair once,
# the delta rule with $\beta = 1$. At the end both are asked for the *first* key. The additive memory must come closer to the first value.
#
# The answer is a pair of lists, keys and values, such as `([(1.0, 0.0), (0.6, 0.8)], [2.0, 3.0])`. Many are right.

# %%
answer = None

check("2.8", answer)
