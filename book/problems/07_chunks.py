# %% [markdown]
# # 7. Chunks: exercises
#
# {exercises}. The first three are about linear attention, the others about the road not
# taken: scanning the delta rule. `hint("7.2")` gives a push, `solution("7.2")` a solution.
#
# No batch and no heads here: `q`, `k` are (T, K), `v` is (T, V), `S` is (V, K). K and V differ, and T need not be a multiple of C.
# Where a chunk is cut, its rows are called `Q`, `K`, `V`, as in the equations; in shapes K and V stay widths.
# Everything is in float64, so a new matrix needs its dtype: `torch.eye(K, dtype=k.dtype)`.

# %%
import torch

from deltanet_edu.ops.delta_rule.householder import householder
from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 7.1
#
# A text of 1,000 tokens is processed in chunks of 64, by the loop over the chunks (7.2). How many steps must run one after another?

# %%
answer = None

check("7.1", answer)

# %% [markdown]
# ## 7.2
#
# The loop over the chunks is there, and so is the slice. The last step is yours: the chunk's output, and the state for the
# next chunk. The check hands you a copy of `S`: you may change it in place.

# %%
def chunk_by_chunk(q, k, v, S, C):
    """q, k: (T, K), v: (T, V), S: (V, K), C: tokens a chunk. Returns o: (T, V) and the state after the last token, (V, K)."""
    o = []
    for start in range(0, len(k), C):
        Q, K, V = (x[start:start + C] for x in (q, k, v))              # (C, K), (C, K), (C, V); the last chunk may be shorter
        raise NotImplementedError("7.2")                               # two lines instead of this one
    return torch.cat(o), S

check("7.2", chunk_by_chunk)

# %% [markdown]
# ## 7.3
#
# In 7.2 you went from chunk to chunk. Here is the same without a loop: the sequence is cut into N chunks of C tokens (T is a multiple of C here), all of them
# stand side by side in tensors of shape (N, C, ...), and one cumulative sum takes the place of the loop. The lines are in disorder, and two of them do not belong:
# leave those out.
#
# `cumsum(0)` adds up along the first dimension, the term at hand included.

# %%
lines("7.3")

# %% [markdown]
# Give the labels in order, as one string. There is more than one right answer.

# %%
answer = None

check("7.3", answer)

# %% [markdown]
# ## 7.4
#
# A well-known article derives the scan for $S_t = S_{t-1}M_t + X_t$ and prints this operator:
#
# $(M_1, X_1) \circ (M_2, X_2) = (M_1 M_2,\; M_2 X_1 + X_2)$

# %%
def printed(M1, X1, M2, X2):
    return M1 @ M2, M2 @ X1 + X2

# %% [markdown]
# With $K \neq V$ it does not even run. With $K = V$ it runs, and is wrong. Write the operator as it should be: the map that does
# the first token and then the second. (The package's `compose` takes two pairs; yours takes the four matrices.)

# %%
def compose(M1, X1, M2, X2):
    """M1, M2: (K, K), X1, X2: (V, K), any numbers. A pair (M, X) stands for S -> S M + X. Returns that of 1, then 2."""
    raise NotImplementedError("7.4")

check("7.4", compose)

# %% [markdown]
# ## 7.5
#
# A scan may group the tokens as it likes, so its operator must be associative. Prove that the printed one is not: find three
# tokens for which $(1 \circ 2) \circ 3$ and $1 \circ (2 \circ 3)$, computed with the *printed* operator, differ.
#
# Here $K = V = 2$. The answer is a triple: three keys, three values, three strengths. Keys need not have length 1; all numbers, strengths too, lie
# between −10 and 10, and the two results must differ by more than $10^{-6}$ in some entry. Many answers are right, but not all: think
# about which tokens the slip does not hurt.

# %%
k = None                     # [(., .), (., .), (., .)]
v = None                     # [(., .), (., .), (., .)]
beta = None                  # [., ., .]
answer = None                # then: (k, v, beta)

check("7.5", answer)

# %% [markdown]
# ## 7.6
#
# Turn a whole chunk of the delta rule into one pair $(M, X)$, so that $S \mapsto S M + X$ does what its C tokens do one after
# another. Any way is fine. `householder(k_t, beta_t)` makes the $I - \beta_t k_t k_t^\top$ of one token, (K, K).

# %%
def chunk_map(k, v, beta):
    """k: (C, K), v: (C, V), beta: (C,). Returns M: (K, K) and X: (V, K)."""
    raise NotImplementedError("7.6")

check("7.6", chunk_map)

# %% [markdown]
# ## 7.7
#
# How many bytes do the pairs $(M_t, X_t)$ of all T tokens of one head occupy, if a number takes `size` bytes?

# %%
def scan_bytes(T, K, V, size):
    """T, K, V, size: whole numbers. Returns a whole number."""
    raise NotImplementedError("7.7")

check("7.7", scan_bytes)
