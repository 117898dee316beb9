# %% [markdown]
# # 3. Running it: exercises
#
# {exercises}. Change the code, run the cell, read the card. `hint("3.3")` gives a push.
# Shapes are those of one head: `S` and `dS` are (V, K), `q` and `k` are (K,), `v` and `do` are (V,), `beta` is a number. The
# scale is 1. Everything is in float64, and answers are compared in it. Leave the tensors that you are given as they are.

# %%
import torch

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 3.1
#
# A memory $S_0 = (2, 1)$ receives one token: $k = (0.8, 0.6)$, $v = 0.2$, $\beta = 0.25$. It is read with $q = (0, 1)$, and the
# gradient of the loss with respect to that output is $do = 2$. What is $d\beta$? Pencil and paper.

# %%
answer = None

check("3.1", answer)

# %% [markdown]
# ## 3.2
#
# These lines take a gradient one token back. In: the memory `S` after this token's write, and `dS`, what *later* tokens alone have
# sent back for it, $dS_{t+1}M_{t+1}$. Out: the gradients of `q` and `v`, and the gradient of the memory before the write. The lines are shuffled, and two do not belong.
# Give the labels in order, the `return` among them, as one string. There is more than one right answer.

# %%
lines("3.2")

# %%
order = ""

check("3.2", order)

# %% [markdown]
# ## 3.3
#
# All gradients of the loop, by hand. The forward pass and the beginning of the backward step are there; the last five lines of the loop are yours.
# Try $dv$ and $d\beta$ first. The arrays may be filled entry by entry: `dq[t] = ...`.

# %%
def backward(q, k, v, beta, S, do, dS):
    """q, k: (T, K), v, do: (T, V), beta: (T,). S: (V, K), the first memory; dS: (V, K), the gradient of the
    last one. Returns dq, dk, dv, dbeta, and the gradient of S."""
    memories = [S]                                                       # S_0 ... S_T
    for t in range(len(k)):
        memories.append(memories[t] - beta[t] * torch.outer(memories[t] @ k[t] - v[t], k[t]))
    dq, dk, dv, dbeta = (torch.zeros_like(x) for x in (q, k, v, beta))
    for t in reversed(range(len(k))):
        before, after = memories[t], memories[t + 1]
        error = before @ k[t] - v[t]                                     # (V,)
        dS = dS + torch.outer(do[t], q[t])                               # (V, K)  now it is all of dS_t
        raise NotImplementedError("3.3")                               # dq, dv, dbeta, dk, dS: five lines
    return dq, dk, dv, dbeta, dS

check("3.3", backward)

# %% [markdown]
# ## 3.4
#
# A kernel has saved what each token wrote, its β included, $u = \beta\,(v - Sk)$, and has computed $dv = \beta\,dS\,k$. Somebody noticed that $d\beta$ can be
# had from these two. It passed all tests with random $\beta$. Then a model with padded sequences was trained, and its loss became NaN.

# %%
def dbeta_from_what_is_there(dS, S, k, v, beta):
    u = beta * (v - S @ k)                                               # (V,)
    dv = beta * (dS @ k)                                                 # (V,)
    return u @ dv / beta**2

# %% [markdown]
# Which β breaks this function? Write it so that none does.

# %%
def gradient_of_beta(dS, S, k, v, beta):
    """S: (V, K), the memory before the write; dS: (V, K), the gradient of the memory after it;
    k: (K,), v: (V,), beta: (). Returns a tensor of shape ()."""
    raise NotImplementedError("3.4")

check("3.4", gradient_of_beta)

# %% [markdown]
# ## 3.5
#
# One head has $K = 128$ and $V = 64$. Its DeltaNet memory is held in float32 (4 bytes a number). A softmax head of the same widths caches its keys
# and values in bfloat16 (2 bytes a number). From how many tokens on is the cache *larger*? Give the smallest such number.

# %%
tokens = None

check("3.5", tokens)

# %% [markdown]
# ## 3.6
#
# Suppose a program fetches the memory of one head, works through $C$ tokens, and only then stores it again. Queries, keys, values, strengths and
# outputs are moved for each token. Each number has $n$ bytes. Return the arithmetic intensity, FLOPs per byte. Count 6KV FLOPs a token, and neglect the 3V.
#
# When it is right, try C = 1, 64 and 10,000 with K = V = 128: what does it approach?

# %%
def intensity(K, V, C, n):
    """Whole numbers. Returns FLOPs per byte."""
    raise NotImplementedError("3.6")

check("3.6", intensity)

# %% [markdown]
# ## 3.7
#
# The hand-written backward pass runs the memory forward a second time. Could it run it *backward* instead, and undo the writes one by one? You are given the
# memory *after* a write, and the token. Return the memory before it. $\beta\|k\|^2$ is never exactly 1 here.
#
# Then think: what happens at $\beta\|k\|^2 = 1$, and to rounding errors near it? Eq. 3.7 says how much a step forward takes from a matrix.

# %%
def unwrite(S, k, v, beta):
    """S: (V, K) after the write, k: (K,), v: (V,), beta: (). Returns the memory before it, (V, K)."""
    raise NotImplementedError("3.7")

check("3.7", unwrite)
