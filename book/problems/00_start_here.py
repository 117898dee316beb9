# %% [markdown]
# # 0. Start here: exercises
#
# {exercises}. Replace the line `raise NotImplementedError(...)`, run the cell, and read what the
# check says. Run it as often as you like. When stuck, `hint("0.1")` gives the first of three hints.

# %%
import torch

from deltanet_edu.tutor import check, hint, progress, solution

# %% [markdown]
# ## 0.1
#
# Add the association of the value v with the key k to a memory that may already hold others. Return the new memory, and
# leave the `S` you were given as it is.

# %%
def write(S, v, k):
    """S: (V, K), v: (V,), k: (K,). Returns the new memory, (V, K)."""
    raise NotImplementedError("0.1")

check("0.1", write)

# %% [markdown]
# ## 0.2
#
# Now with the shapes of a real layer: B sequences of T tokens with H heads. Every token asks its own question $q_t$, and every
# head of every sequence has a memory of its own. Return all the answers, $o_t = S\,q_t$.

# %%
def read(q, S):
    """q: (B, T, H, K), S: (B, H, V, K). Returns o: (B, T, H, V)."""
    raise NotImplementedError("0.2")

check("0.2", read)

# %% [markdown]
# ## How far you are

# %% tags=["your-machine"]
progress()
