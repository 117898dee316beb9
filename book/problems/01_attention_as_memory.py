# %% [markdown]
# # 1. Attention as memory: exercises
#
# {exercises}. Each cell ends in a check; run it as often as you like. When stuck,
# `hint("1.1")` gives the first of three hints.
#
# One sequence, no batch and no heads: `q` and `k` are (T, K), `v` is (T, V), the memory `S` is (V, K). K and V differ.
# Everything is in float64, so a new tensor needs `dtype=v.dtype` or `torch.zeros_like(v)`.
# Leave the tensors that you are given as they are.

# %%
import torch
from torch.nn.functional import elu

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 1.1
#
# Work it out on paper. An empty memory with $d_k = 2$ and $d_v = 1$ stores the value 2 under the key $(1, 0)$, then the value
# $-1$ under the key $(0.6, 0.8)$. What does it say for the query $(0, 1)$? Give a number.

# %%
answer = None

check("1.1", answer)

# %% [markdown]
# ## 1.2
#
# Store all T pairs in a memory that may already hold something. Then put M questions to it, and return the answers together
# with the memory.

# %%
def write_and_read(k, v, q, S):
    """k: (T, K), v: (T, V), q: (M, K), S: (V, K). Returns the answers, (M, V), and the new memory, (V, K)."""
    raise NotImplementedError("1.2")

check("1.2", write_and_read)

# %% [markdown]
# ## 1.3
#
# Now reading and writing take turns. Write linear attention as a loop over tokens: token t writes its pair, then reads with its
# query. `S` is the memory that enters; leave it as it is.

# %%
def recurrent(q, k, v, S):
    """q, k: (T, K), v: (T, V), S: (V, K). Returns the outputs, (T, V), and the last memory, (V, K)."""
    raise NotImplementedError("1.3")

check("1.3", recurrent)

# %% [markdown]
# ## 1.4
#
# The same function without a loop: a few products of matrices and a mask. Do not forget the memory that enters: every token
# can read it.

# %%
def parallel(q, k, v, S):
    """q, k: (T, K), v: (T, V), S: (V, K). Returns the outputs, (T, V), and the last memory, (V, K)."""
    raise NotImplementedError("1.4")

check("1.4", parallel)

# %% [markdown]
# ## 1.5
#
# This linear attention has a feature map and a normalizer. Trained on text, it reaches a loss that is too good to be true; then
# it generates nonsense. The last lines show a symptom: only the last token is changed, and an *earlier* output moves.

# %%
def leaky_attention(q, k, v):
    scores = (elu(q) + 1) @ (elu(k) + 1).T                               # (T, T)
    scores = scores / scores.sum(-1, keepdim=True)
    return scores.tril() @ v                                             # (T, V)

q, k, v = torch.eye(3), torch.eye(3), torch.ones(3, 1)
changed = k + torch.tensor([[0.0], [0.0], [9.0]])
print("outputs move by", (leaky_attention(q, changed, v) - leaky_attention(q, k, v))[:, 0])

# %% [markdown]
# Find out how the future gets in, and write it as it should be.

# %%
def normalized_attention(q, k, v):
    """q, k: (T, K), v: (T, V). Returns the outputs, (T, V)."""
    raise NotImplementedError("1.5")

check("1.5", normalized_attention)

# %% [markdown]
# ## 1.6
#
# Linear attention, chunk by chunk. The lines are out of order, and one of them does not belong. The five steps of the loop
# have names that you will meet again in the kernels: *load, within the chunk, across chunks, update, store*.

# %%
lines("1.6")

# %% [markdown]
# Give the labels in order, the `return` among them, as one string. There is more than one right answer.

# %%
answer = None

check("1.6", answer)

# %% [markdown]
# ## 1.7
#
# Design a feature map. For random unit keys of width K, it should leave room for at least twice as many pairs as the keys
# themselves: the overlaps of $\phi(k_i)$ and $\phi(k_j)$, $i \ne j$, divided by the mean of $\phi(k)^\top\phi(k)$, must have a mean square of
# at most $1/(2K)$. Widths from $K = 8$ on are tried.
# The memory has a column per feature, and you can pay for $K^2$.
#
# Any map that does this is right. It sees one key at a time and gives the same features in every call (random numbers
# need a generator with a fixed seed). There are very different ways; the lesson shows one of them.

# %%
def phi(x):
    """x: (N, K), N keys. Returns their features, (N, F) with F <= K * K."""
    raise NotImplementedError("1.7")

check("1.7", phi)

# %% [markdown]
# **To think about.** The lesson's map has the overlap $(k_i^\top k_j)^2$. The one in the solutions uses random waves, and leaves more
# room with the same number of columns. How far could one go? More than $F$ vectors cannot all be at right angles in $F$
# dimensions; the Welch bound says how large their overlaps must be: for many keys, $1/F$ in the mean square. So no map with
# $F$ features has room for many more than $F$ pairs.
