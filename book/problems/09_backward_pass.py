# %% [markdown]
# # 9. The backward pass: exercises
#
# {exercises}: the backward pass, and from 9.8 on a review of chapters 1 to 9. `hint("9.2")` gives a push, `solution("9.2")` a
# solution. One chunk, tokens are rows: `Q`, `K` are (C, K), `V` is (C, V), `beta` is (C,), the memory `S` is (V, K), and K ≠ V.
# A `d` in front means "gradient of the loss with respect to", in the shape of the thing itself. Everything is in float64, and
# the scale is 1.

# %%
import torch

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 9.1
#
# One token: $S = (2, 1)$, $k = (0.8, 0.6)$, $v = 3$, $\beta = 0.25$. It reads with $q = (0, 1)$ after its write, and the
# gradient that arrives at the output is $do = 3$; nothing else uses the memory. What is $d\beta$?

# %%
dbeta = None

check("9.1", dbeta)

# %% [markdown]
# ## 9.2
#
# $(I + A)X = Z$ with $A$ strictly lower triangular. $dX$ arrives. The gradient of $Z$ is there; the last line, the gradient of
# $A$, is missing.

# %%
def through_the_solve(A, Z, dX):
    """(C, C), (C, V), (C, V) -> dZ (C, V), dA (C, C)."""
    L = torch.eye(len(A), dtype=A.dtype) + A
    X = torch.linalg.solve_triangular(L, Z, upper=False)    # (C, V)
    dZ = torch.linalg.solve_triangular(L.mT, dX, upper=True)  # (C, V)
    raise NotImplementedError("9.2")                      # delete this line, finish the next one
    dA = ...                                              # (C, C)
    return dZ, dA

check("9.2", through_the_solve)

# %% [markdown]
# ## 9.3
#
# The sequential part, from an empty page. `UT1` is the inverse $(I + A)^{-1}$, `P` is $\mathrm{tril}(QK^\top)$, `dO` arrives
# from above and `dS`, the $dS'$ of the lesson, from the chunk after this one. Return $dV$ and the gradient of the memory that *entered*.

# %%
def one_link(Q, K, beta, UT1, P, dO, dS):
    """-> dV (C, V), and the gradient of the entering memory (V, K)."""
    raise NotImplementedError("9.3")

check("9.3", one_link)

# %% [markdown]
# ## 9.4
#
# "The error that token $t$ met is $e_t = x_t / \beta_t$, because $x_t = \beta_t e_t$", says the author of this function, and
# all the tests pass. One day a model trained with it says NaN. Repair it, and make sure that the repaired gradient is *right*
# wherever the old one broke.

# %%
def inverse(K, beta):
    """(I + A)^-1, which is UT without diag(beta): (C, C)."""
    A = (beta[:, None] * (K @ K.mT)).tril(-1)
    eye = torch.eye(len(K), dtype=K.dtype)
    return torch.linalg.solve_triangular(A, eye, upper=False, unitriangular=True)

# %%
def dbeta_of_chunk(K, V, beta, S, dX):
    """-> the gradient of beta, (C,)."""
    UT1 = inverse(K, beta)                                  # (C, C)
    R = V - K @ S.mT                                        # (C, V)
    X = UT1 @ (beta[:, None] * R)                           # (C, V)
    dZ = UT1.mT @ dX                                        # (C, V)
    raise NotImplementedError("9.4")                      # delete this line, repair the next one
    e = X / beta[:, None]                                 # (C, V)
    return (dZ * e).sum(-1)

check("9.4", dbeta_of_chunk)

# %% [markdown]
# ## 9.5
#
# Put the lines in order and give their labels as one string; spaces, commas and small letters are welcome. Two of the lines do not
# belong, and several orders are right. `forward_chunk` is the lesson's `forward`; here only the gradients of keys, values and memory are asked for.

# %%
lines("9.5")

# %%
order = ""

check("9.5", order)

# %% [markdown]
# ## 9.6
#
# Write a `torch.autograd.Function` for one chunk that keeps its five inputs, the tensors themselves, by `ctx.save_for_backward`, and nothing else.
# The check looks at the results, at all five gradients, and at how many numbers stay in memory, there or as attributes of `ctx`. What you need of the lesson (`inverse` is in 9.4):

# %%
def forward_chunk(Q, K, V, beta, S):
    """-> O, the memory that leaves, and (UT1, P, R, X)."""
    UT1, P, R = inverse(K, beta), (Q @ K.mT).tril(), V - K @ S.mT
    X = UT1 @ (beta[:, None] * R)
    return Q @ S.mT + P @ X, S + X.mT @ K, (UT1, P, R, X)

def backward_chunk(Q, K, V, beta, S, results, dO, dS):
    """-> dQ, dK, dV, dbeta, and the gradient of the memory that entered."""
    UT1, P, R, X = results
    dZ = UT1.mT @ (P.mT @ dO + K @ dS.mT)
    dV = beta[:, None] * dZ
    dP, E = (dO @ X.mT).tril(), (dV @ X.mT).tril(-1)
    dK = dP.mT @ Q + X @ dS - dV @ S - (E + E.mT) @ K
    dbeta = (dZ * (R - (K @ K.mT).tril(-1) @ X)).sum(-1)
    return dO @ S + dP @ K, dK, dV, dbeta, dS + dO.mT @ Q - dV.mT @ K

# %%
class Chunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        """-> O, and the memory that leaves."""
        raise NotImplementedError("9.6")

    @staticmethod
    def backward(ctx, dO, dS):
        """-> one gradient for each input of forward."""
        raise NotImplementedError("9.6")

check("9.6", Chunk)

# %% [markdown]
# ## 9.7
#
# One token, K = 2 and V = 1; the loss is what it reads after its write. Find a memory $S$, a key, a value, a strength and a
# query such that $v$ gets a gradient and $\beta$ gets none.

# %%
answer = None                                 # (S, key, value, strength, query): ((.., ..), (.., ..), .., .., (.., ..))

check("9.7", answer)

# %% [markdown]
# ## Review of chapters 1 to 9
#
# Five exercises that mix what the book has done so far, before it moves to the GPU. Do them without looking back first.

# %% [markdown]
# ## 9.8
#
# The same unit key is written T times into an empty memory, with values $v_1, \dots, v_T$ and strengths
# $\beta_1, \dots, \beta_T$. Afterwards a read with that key returns a weighted sum of the values. Return the weights.

# %%
def weights(beta):
    """(T,) -> (T,)."""
    raise NotImplementedError("9.8")

check("9.8", weights)

# %% [markdown]
# ## 9.9
#
# Two chunks that follow each other have been prepared separately: keys, W and U of the first, and of the second. Return keys, W
# and U of the one chunk that they form together, without going back to values and β. (It can be done with three matrix
# products.)

# %%
def join(K1, W1, U1, K2, W2, U2):
    """-> (C1 + C2, K), (C1 + C2, K), (C1 + C2, V)."""
    raise NotImplementedError("9.9")

check("9.9", join)

# %% [markdown]
# ## 9.10
#
# One head with K = 96 and V = 128 reads 8,192 tokens in chunks of 32, in float32. For its backward pass the memory that entered each
# chunk is kept. How many MiB (1,048,576 bytes) do these memories take?

# %%
mib = None

check("9.10", mib)

# %% [markdown]
# ## 9.11
#
# A colleague has code that prepares the inverse $(I + A)^{-1}$ *without* the $\mathrm{diag}(\beta)$ on its right (here it is called `UT1`
# too), and keeps its memory as `h`, of shape (K, V). Its outputs are multiplied by the number `scale` (often $1/\sqrt K$ there; in this
# book it is 1). One chunk was copied from this book in a hurry: it runs only when K = V, and is wrong even then. Repair it; the memory
# must come back in the layout it came in.

# %%
def one_chunk(q, k, v, beta, UT1, h, scale):
    """(C, K), (C, K), (C, V), (C,), (C, C), (K, V), number -> o (C, V), h (K, V)."""
    raise NotImplementedError("9.11")                     # delete this line, repair the others
    W, U = UT1 @ k, UT1 @ v                               # (C, K), (C, V)
    X = U - W @ h.mT                                      # (C, V)
    return q @ h.mT + scale * (q @ k.mT).tril() @ X, h + X.mT @ k

check("9.11", one_chunk)

# %% [markdown]
# ## 9.12
#
# | | formula | | meaning |
# |---|---|---|---|
# | 1 | $\sum_i v_i k_i^\top$ | a | how much each token sees of the earlier ones |
# | 2 | $I - \beta\,k k^\top$ | b | a gradient that has passed back through the tokens of a chunk |
# | 3 | $\mathrm{stril}(\mathrm{diag}(\beta)\,KK^\top)$ | c | what a write does to everything that is already stored |
# | 4 | $\mathbf{T}\,(V - KS^\top)$ | d | a memory that only adds |
# | 5 | $\mathrm{tril}(QK^\top)\,\mathbf{T}$ | e | what the tokens of a chunk really write |
# | 6 | $\mathbf{T}_1^\top\,dX$ | f | DeltaNet's attention weights |
#
# Which meaning belongs to which formula? Give six letters, in the order of the formulas.

# %%
letters = ""

check("9.12", letters)
