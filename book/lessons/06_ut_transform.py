# %% [markdown]
# # 6. The UT transform
#
# *A chain of corrections is one triangular system.*

# %%
import time

import torch
import torch.nn.functional as F

from deltanet_edu.figures import ut
from deltanet_edu.figures.tensor_core import on_tensor_core, similar_keys
from deltanet_edu.ops.delta_rule import householder
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)
torch.set_printoptions(precision=4, sci_mode=False)
torch.set_num_threads(1)                                # small matrices: a second thread only gets in the way

# %% [markdown]
# ## Everyone corrects everyone
#
# Chapter 5 ended with a debt: $u_t = \beta_t\big(v_t - \sum_{i<t} u_i\,(k_i^\top k_t)\big)$ waits for all earlier $u_i$, one after the other.
# Suppose nobody waits. Everyone starts from the guess $u_t = \beta_t v_t$, and then everyone corrects with the others' *current* guess. Such
# a round is one matrix product for all tokens together. Then another round, and another.

# %%
def round_by_round(k, v, beta, n):
    """The guesses after 0, 1, ..., n rounds: a list of (C, V)."""
    overlaps = (k @ k.mT).tril(-1)                      # (C, C)  with earlier tokens only
    guesses = [beta[:, None] * v]
    for _ in range(n):
        guesses.append(beta[:, None] * (v - overlaps @ guesses[-1]))  # (C, V)
    return guesses

torch.manual_seed(0)
C, K = 64, 64
v, beta = torch.randn(C, 8), torch.ones(C)
random = F.normalize(torch.randn(C, K), dim=-1)
right, guesses = householder.wy_u(random, v, beta), round_by_round(random, v, beta, 20)
for n in (0, 10, 20):
    print(f"after {n:2d} rounds: error {(guesses[n] - right).norm() / right.norm():.0e}")

# %% [markdown]
# Twenty rounds instead of 64 steps, and each round is a product that hardware loves. Have we won?

# %%
predict("6.a")

# %%
def history(k):
    right = householder.wy_u(k, v, beta)
    return [((u - right).norm() / right.norm()).item() for u in round_by_round(k, v, beta, 64)]

silu = F.normalize(F.silu(torch.randn(C, K)), dim=-1)  # as in the layer of chapter 14, untrained
equal = random[:1].expand(C, K)
families = {"random keys": random, "keys after SiLU": silu, "64 equal keys": equal}
ut.rounds({name: history(keys) for name, keys in families.items()});

# %% [markdown]
# *Error after each round. Random keys fall below rounding after some twenty rounds. With equal keys the guesses first run away to more than
# $10^{16}$ times the answer, and come back only in round 63.*
#
# Rounds help when tokens hardly meet. The chain itself, token after token, is real: information moves one token a round, and in between
# the guesses may be absurd. But look at what a round that changes nothing would mean: then the guess *solves an equation*.
# Equations can be solved in other ways than by waiting.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * turn the recurrences of chapter 5 into one triangular system, and read every entry of its inverse as a sum over paths;
# * compute its matrix in four ways, and say which of them to use where, and why one of them is a trap;
# * tell from memory on which side $\mathrm{diag}(\beta)$ stands, and find it when it was counted twice.
#
# You need chapter 5. Reading and running takes about an hour, the exercises an hour and three quarters. In the package, the chapter completes
# `deltanet_edu/ops/delta_rule/householder.py`.

# %% [markdown]
# ## Three questions about chapters 2 to 5
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 5: one unit key, three times, with values 3, 5, 4 and β = 1. What is written each time?</summary>
#
# 3, then +2, then −1: only the news.
#
# </details>
#
# <details><summary>2. Chapter 5: what are W and U for?</summary>
#
# $S_C = S_0 (I - W^\top K) + U^\top K$: $W$ says what the chunk does to whatever memory comes in, $U$ what it adds.
#
# </details>
#
# <details><summary>3. Chapters 2 and 4: for which β and keys does M = I − βkkᵀ never make a vector longer?</summary>
#
# When $0 \le \beta\|k\|^2 \le 2$: its eigenvalues are $1$ and $1 - \beta\|k\|^2$. For unit keys, that is $0 \le \beta \le 2$. We will need this.
#
# </details>

# %% [markdown]
# ## Three equations, three unknowns
#
# The three tokens of chapter 5 again:
#
# | t | $k_t$ | $v_t$ | $\beta_t$ |
# |---|---|---|---|
# | 1 | (1, 0) | 5 | 1 |
# | 2 | (0.6, 0.8) | 4 | 0.5 |
# | 3 | (0, 1) | 2 | 1 |
#
# Write their recurrences down, and bring everything unknown to the left:
#
# * $u_1 = 5$
# * $u_2 = 0.5\,(4 - 0.6\,u_1)$, so $\;0.3\,u_1 + u_2 = 2$
# * $u_3 = 2 - 0\,u_1 - 0.8\,u_2$, so $\;0\,u_1 + 0.8\,u_2 + u_3 = 2$
#
# Three linear equations with a triangle of coefficients. In general:
#
# $$ (I + A)\,U = \mathrm{diag}(\beta)\,V \tag{6.1} $$

# %%
verify("6.1")

# %% [markdown]
# The coefficients are what token $t$ sees of each earlier token, scaled by *its own* write strength. Nothing stands on the diagonal or above it:
#
# $$ A = \mathrm{stril}\big(\mathrm{diag}(\beta)\, K K^\top\big), \qquad A_{ti} = \beta_t\, k_t^\top k_i \ \text{ for } i < t \tag{6.2} $$

# %%
verify("6.2")

# %%
k = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # (C, K)
v = torch.tensor([[5.0], [4.0], [2.0]])                 # (C, V)
beta = torch.tensor([1.0, 0.5, 1.0])                    # (C,)
A = householder.ut_system(k, beta)                      # (C, C)
A

# %% [markdown]
# A triangle with ones on its diagonal always has an inverse. So all writes follow at once from all values. And $W$ solves the same system with
# $K$ on the right, because its recurrence is the same. This is the **UT transform**:
#
# $$ \mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta), \qquad W = \mathbf{T} K, \qquad U = \mathbf{T} V \tag{6.3} $$
#
# **Two letters T.** The paper calls this matrix $\mathbf{T}$, and so do our formulas, in bold. In code, and in what a check says, it is `UT`. A plain $T$, and
# `T` in code, is the number of tokens, here and everywhere.

# %%
verify("6.3")

# %% [markdown]
# Two matrix products, once we have $\mathbf{T}$. All that is sequential is now inside one $C \times C$ inverse, and that inverse depends on keys and $\beta$ only.
#
# Before you look at it: the keys of tokens 1 and 3 are orthogonal.

# %%
predict("6.b")

# %%
inverse = torch.linalg.inv(torch.eye(3) + A)
UT = inverse @ torch.diag(beta)
print(inverse, UT, sep="\n")
print("U =", (UT @ v)[:, 0], "\nW =", UT @ k)

# %% [markdown]
# The same $u = (5,\ 0.5,\ 1.6)$ and the same $w$ as in chapter 5. Keep the 0.24 in the corner in mind; we will come back to it.
#
# Now, how to invert $I + A$? Four ways, and the figures below will not all be kind to them.

# %% [markdown]
# ## One: row by row
#
# Call the rows of the inverse $r_1, \dots, r_C$. Row $t$ of $(I + A)\,(I + A)^{-1} = I$ reads $r_t + \sum_{i<t} A_{ti}\, r_i = e_t$, and if the rows above
# are done, only $r_t$ is unknown:
#
# $$ r_t = e_t - \sum_{i<t} A_{ti}\, r_i \tag{6.4} $$

# %%
verify("6.4")

# %% [markdown]
# By hand: $r_1 = (1, 0, 0)$. $\;r_2 = (0,1,0) - 0.3\,r_1 = (-0.3, 1, 0)$. $\;r_3 = (0,0,1) - 0\,r_1 - 0.8\,r_2 = (0.24, -0.8, 1)$.

# %%
show(householder.inverse_by_substitution)

# %% [markdown]
# $C - 1$ steps that wait for each other, but small ones: a row times a triangle, and no memory of size $d_v \times d_k$ anywhere. Inside a GPU kernel, where
# the triangle stays in fast memory, this is a good method. Chapter 10 writes it.
#
# **Mind the sign.** The inverse of $I - A$ has been printed as well: in the Gated DeltaNet paper, as issue 191 of flash-linear-attention points out; and issue 100
# reports that the DeltaNet listing and the formula it stands for disagree by a sign. You know how to settle it: $u_t$ *subtracts* what the memory already says, so on the left
# it is a plus. Exercise 6.4 has the loop.

# %% [markdown]
# ## Two: let a library solve
#
# LAPACK and cuBLAS solve triangular systems, many at a time. There is no need for the inverse itself: put $\mathrm{diag}(\beta)$ on the right-hand side.

# %%
show(householder.ut_by_solve)

# %% [markdown]
# This is what the PyTorch forms of the package use.

# %% [markdown]
# ## Three: by halves
#
# Cut the triangle into two smaller triangles and a square. Write $L$ for $I + A$:
#
# $$ \begin{pmatrix} L_{11} & 0 \\ A_{21} & L_{22} \end{pmatrix}^{-1} = \begin{pmatrix} L_{11}^{-1} & 0 \\ -L_{22}^{-1} A_{21} L_{11}^{-1} & L_{22}^{-1} \end{pmatrix} \tag{6.5} $$

# %%
verify("6.5")

# %% [markdown]
# Multiply it out with $L$ and look at the lower left: $A_{21}L_{11}^{-1} - L_{22}L_{22}^{-1}A_{21}L_{11}^{-1} = 0$. In words, from right to left: what happened in the first half, *then* the
# hop to the second half, *then* what happens there.
#
# The halves do not know each other, so they can be inverted at the same time, and cut again.

# %%
show(householder.inverse_by_blocks)

# %%
torch.manual_seed(0)
keys, strength = F.normalize(torch.randn(16, 6), dim=-1), torch.rand(16)
ut.filling(householder.inverse_by_substitution(householder.ut_system(keys, strength)));

# %% [markdown]
# *The inverse for 16 tokens, as it becomes known; gray is still unknown. Above: row by row, 15 steps. Below: by halves, from the smallest blocks up, 4 levels of two matrix
# products. For 64 tokens it is 63 steps against 6 levels.*

# %% [markdown]
# ## Four: a power series, and why it tempts
#
# $A$ is strictly lower triangular, so it is **nilpotent**. Each power moves its entries one diagonal further down, and $A^C = 0$. So the geometric series
# for $(I + A)^{-1}$ *ends*. And because $1 + x + x^2 + x^3 + \cdots = (1 + x)(1 + x^2)(1 + x^4)\cdots$, here with $x = -A$, it needs no more than $\log_2 C$ factors:
#
# $$ (I + A)^{-1} = \sum_{n=0}^{C-1} (-A)^n = (I - A)(I + A^2)(I + A^4)(I + A^8) \cdots \tag{6.6} $$

# %%
verify("6.6")

# %% [markdown]
# In our example $A^2$ has a single entry, $0.8 \cdot 0.3 = 0.24$ in the corner, and $A^3 = 0$. There is the 0.24 again.

# %%
print(A @ A, A @ A @ A, sep="\n")

# %% [markdown]
# Five squarings and five products for 64 tokens, all of them full matrix products: tailor-made for a tensor core. Exact, too; the equation has just been verified.
# Try it in float32, on random keys.

# %%
def error(method, A):
    """Largest error of a float32 inverse, relative to the largest entry of the right one."""
    right = householder.inverse_by_substitution(A.float().double())  # of the rounded A, in float64
    return ((method(A.float()).double() - right).abs().max() / right.abs().max()).item()

A_random = householder.ut_system(random, torch.ones(64))
print(f"series {error(householder.inverse_by_power_series, A_random):.0e}"
      f"   substitution {error(householder.inverse_by_substitution, A_random):.0e}")

# %% [markdown]
# As good as substitution. A test on random keys would let it pass.

# %%
predict("6.c")

# %%
A_equal = householder.ut_system(equal, torch.ones(64))
print(f"series {error(householder.inverse_by_power_series, A_equal):.0e}"
      f"   substitution {error(householder.inverse_by_substitution, A_equal):.0e}")

# %% [markdown]
# Not a single digit is right, and every digit of the substitution is. The package keeps the series, with a warning on it:

# %%
show(householder.inverse_by_power_series)

# %% [markdown]
# To see what happened, read the inverse in yet another way.

# %% [markdown]
# ## Paths
#
# Entry $(t, i)$ of $A^2$ is $\sum_s A_{ts}A_{si}$: all ways to get from token $i$ to token $t$ in *two* hops, over some $s$ in between. $A^n$ counts the ways of $n$ hops. So the inverse adds up
# **all paths from an earlier token to a later one**, each with the product of its factors $-A$:
#
# $$ \big[(I + A)^{-1}\big]_{ti} = \sum_{i = p_0 < p_1 < \cdots < p_n = t} (-A_{p_1 p_0})(-A_{p_2 p_1}) \cdots (-A_{p_n p_{n-1}}) \tag{6.7} $$

# %%
verify("6.7")

# %%
ut.paths(A);

# %% [markdown]
# *Left: our three tokens. The direct hop from 1 to 3 has the factor 0, but the detour over 2 has $(-0.3)(-0.8) = 0.24$: token 1 made token 2 write less, so
# token 3 finds less to remove. Right: the paths from token 1 to token 4; every token in between is visited or not.*
#
# There are $2^{t-i-1}$ paths from $i$ to $t$. From the first to the last of 64 tokens: more than $10^{18}$. For random unit keys a hop is a small number
# of either sign, and long paths hardly matter. For equal keys with $\beta = 1$ *every hop is exactly −1*, and then it is plain counting:
#
# $$ \big[(I + A)^{-1}\big]_{ti} = \sum_{n=1}^{t-i} \binom{t-i-1}{n-1} (-\beta)^n = -\beta\,(1-\beta)^{t-i-1} \qquad (i < t) \tag{6.8} $$

# %%
verify("6.8")

# %% [markdown]
# Left of the last equals sign are the terms that the series adds up. Right of it is the answer, which for $\beta = 1$ is $-1$ next to the diagonal and 0 elsewhere:
# $u_t = v_t - v_{t-1}$, only the news. Here are the terms for tokens 1 and 64:

# %%
from math import comb

terms = torch.tensor([comb(62, n - 1) * (-1.0) ** n for n in range(1, 64)])
digits = {"float32": torch.finfo(torch.float32).eps, "float64": torch.finfo(torch.float64).eps}
ut.cancellation(terms, digits);

# %%
exact = sum(comb(62, n - 1) * (-1) ** n for n in range(1, 64))  # whole numbers: no rounding
largest = terms.abs().max().item()
print(f"largest term {largest:.1e}, exact sum {exact}")
print("rounding of the largest term:", {name: f"{largest * eps:.0e}" for name, eps in digits.items()})

# %% [markdown]
# *The terms alternate and cancel to exactly zero. But what the largest of them lose in rounding is larger than anything that should come out: $10^{10}$ in
# float32 (dashed), 100 in float64 (dotted). It is never found again.*
#
# Substitution never meets such numbers: it adds up path sums token by token, and each of them is small. Even the rounds at the start of this chapter got home. They add the same
# powers, one a round, but every round begins again at the true equation, so a wrong guess is forgotten. The product (6.6) has no such second look.

# %% [markdown]
# ## The answer was tame all along
#
# What *is* an entry of $\mathbf{T}$? Token $i$ writes $\beta_i v_i k_i^\top$; the erasures of the tokens between pass over it; token $t$ reads what is left and takes it off, times $\beta_t$:
#
# $$ \mathbf{T}_{ti} = -\beta_t \beta_i\; k_i^\top M_{i+1} M_{i+2} \cdots M_{t-1}\, k_t \qquad (i < t) \tag{6.9} $$

# %%
verify("6.9")

# %% [markdown]
# For unit keys and $0 \le \beta \le 2$ no $M$ makes a vector longer (question 3 above). So below the diagonal $|\mathbf{T}_{ti}| \le \beta_t\beta_i$, and on it $\mathbf{T}_{tt} = \beta_t$:
# *never larger than 4*. A tame answer, reached
# by the series through numbers of $10^{17}$. **The problem is well posed; it is the method that is unstable.**

# %%
for name, keys in families.items():
    one = torch.ones(64)
    A_64, UT_64 = householder.ut_system(keys, one), householder.ut_by_solve(keys, one)
    largest = max(torch.linalg.matrix_power(A_64, n).abs().max().item() for n in range(1, 64))
    print(f"{name:16} largest entry of UT: {UT_64.abs().max():.0f}   of any power of A: {largest:.0e}")

# %% [markdown]
# ## Measured: six kinds of keys
#
# A GPU is quickest with float32 matrices if it may round them to *tf32*: 10 instead of 23 bits behind the point. We need no GPU to see what that does; rounding the inputs
# of a product can be imitated. As in a kernel, products with a side under 16 stay in float32.

# %%
rows, halves, series = (householder.inverse_by_substitution, householder.inverse_by_blocks,
                        householder.inverse_by_power_series)
methods = {"row by row\nfloat32": rows, "by halves\nfloat32": halves, "by halves\ntf32": on_tensor_core(halves),
           "power series\nfloat32": series, "power series\ntf32": on_tensor_core(series)}

# %%
kinds = {"random, 0 < β < 1": (0, None), "after SiLU, 0 < β < 1": ("SiLU", None),
         "8 keys, 8 times each, β = 1": ("8 keys", 1.0), "cosine 0.5, β = 1": (0.5, 1.0),
         "cosine 0.99, β = 1": (0.99, 1.0), "cosine 0.99, β = 2": (0.99, 2.0)}
table = {}
for kind, what in kinds.items():
    systems = [householder.ut_system(*similar_keys(*what, seed)) for seed in range(20)]
    table[kind] = {name: max(error(method, A) for A in systems) for name, method in methods.items()}
ut.error_table(table);

# %% [markdown]
# *The largest error of the 64 × 64 inverse in 20 draws, relative to its largest entry. Measured here, on a CPU, with tf32 imitated; $K K^\top$ itself is not part of it.*
#
# Read it by columns:
#
# * **row by row** and **by halves** in float32 are right for all keys; only $\beta = 2$ costs them two digits.
# * **by halves in tf32** loses what tf32 loses, and more for $\beta = 2$. A kernel may still choose it, with open eyes: invert blocks of 16 in float32, and merge
#   those with the tensor core.
# * **the power series** is perfect on the keys of a careless test, and worthless on similar ones. In the first layer of a model, the same word
#   64 times over is 64 equal keys, or nearly. With a decay gate the hops shrink; the plain delta rule has none.
#
# Never ship the series. The package keeps it in order to measure it.

# %% [markdown]
# ## Steps against FLOPs
#
# Why would anybody want the series? Because FLOPs are not time. Which way has the shortest chain of steps that wait for each other?

# %%
predict("6.d")

# %%
from torch.utils.flop_counter import FlopCounterMode

for name, method in {"row by row": rows, "by halves": halves, "power series": series}.items():
    with FlopCounterMode(display=False) as counter:
        method(A_random)
    print(f"{name:13} {counter.get_total_flops() / 64**3:5.2f} C³")

# %% [markdown]
# | method | FLOPs counted, C = 64 | steps in a row | what a step is |
# |---|---|---|---|
# | row by row | $0.98\,C^3$, or $\frac13 C^3$ if zeros are skipped | 63 | a row times a triangle |
# | by halves | $\frac23 C^3$ | 6 levels, 2 products each | ever larger matrix products |
# | power series | $20\,C^3$ | 6 | full matrix products |
#
# So thirty times the work for half the steps of the method by halves, and no digits to show for it.
#
# And time? On the processor that this notebook ran on, one thread, float32, for the 256 chunks of a sequence of 4,096 tokens with 4 heads:

# %%
many = F.normalize(torch.randn(256, 64, 64), dim=-1).float(), torch.rand(256, 64).float()
for way in (householder.ut_by_solve, householder.ut_by_substitution,
            householder.ut_by_blocks, householder.ut_by_power_series):
    times = []
    for _ in range(6):
        start = time.perf_counter()
        way(*many)
        times.append(time.perf_counter() - start)
    print(f"{way.__name__:20} {1e3 * sorted(times)[2]:6.1f} ms")

# %% [markdown]
# A CPU does not mind a chain, it minds FLOPs and memory; so the library's solve and the halves are good choices here. On a GPU the chain is what hurts, and chapters 10, 11 and 13 choose again.

# %% [markdown]
# ## On which side is β?
#
# Two conventions are in use, and both are right:
#
# | | this book, and the paper's equations 10 and 11 | the paper's listing, flash-linear-attention |
# |---|---|---|
# | $\mathbf{T}$ | $(I + A)^{-1}\,\mathrm{diag}(\beta)$ | $(I + A)^{-1}$ |
# | W, U | $\mathbf{T}K,\; \mathbf{T}V$ | $\mathbf{T}\,(\mathrm{diag}(\beta)K),\; \mathbf{T}\,(\mathrm{diag}(\beta)V)$ |
#
# Take $\mathbf{T}$ from the left column and $W$ from the right, and $\beta$ is counted twice. One summary of the paper does. How wrong is it?

# %%
torch.manual_seed(0)
k64, beta64 = F.normalize(torch.randn(64, 64), dim=-1), torch.rand(64)
W, UT = householder.wy_w(k64, beta64), householder.ut_by_solve(k64, beta64)
mixed = UT @ (beta64[:, None] * k64)
print(f"error {(mixed - W).norm() / W.norm():.0%}")

one = torch.ones(64)
mixed_one = householder.ut_by_solve(k64, one) @ (one[:, None] * k64)
print("right if every β is 1:", torch.allclose(mixed_one, householder.wy_w(k64, one)))

# %% [markdown]
# A third of it is wrong, and *nothing if all $\beta$ are one*. A test with $\beta = 1$ cannot see it. Exercise 6.5.

# %% [markdown]
# ## W need not be stored either
#
# $P_C = I - W^\top K$ and $W = \mathbf{T}K$, so the whole product of $C$ matrices is in the keys and one small triangle. The inverse of $\mathbf{T}$ is even
# simpler (for $\beta \ne 0$):
#
# $$ M_1 M_2 \cdots M_C = I - K^\top \mathbf{T}^\top K, \qquad \mathbf{T}^{-1} = \mathrm{diag}(\beta)^{-1} + \mathrm{stril}(K K^\top) \tag{6.10} $$

# %%
verify("6.10")

# %% [markdown]
# The left half is the *compact WY* form of Schreiber and Van Loan; LAPACK's `larft` computes that triangle, transposed. The right half is behind the name: the *inverse* of the triangle
# can be read off $K K^\top$. Joffrain and coauthors, who point out that this had been in print for more than a decade without being noticed, call that form the UT transform. There the vectors
# are columns, and the triangle is upper.

# %%
torch.manual_seed(0)
a, tau = torch.geqrf(torch.randn(5, 3))                 # as in chapter 5
Y = a.tril(-1) + torch.eye(5, 3)                        # (m, n)  vectors as columns
UT = householder.ut_by_solve(Y.mT, tau)
print((torch.linalg.inv(UT) - torch.diag(1 / tau) - (Y.mT @ Y).tril(-1)).abs().max() < 1e-12)

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | the system | $(I + A)\,U = \mathrm{diag}(\beta)V$, with $A = \mathrm{stril}(\mathrm{diag}(\beta)KK^\top)$ |
# | the transform | $\mathbf{T} = (I + A)^{-1}\mathrm{diag}(\beta)$, in code `UT`; $W = \mathbf{T}K$, $U = \mathbf{T}V$ |
# | an entry of the inverse | a sum over all paths from an earlier to a later token |
# | an entry of $\mathbf{T}$ | $\beta_t$ on the diagonal; below it never larger than $\beta_t\beta_i$, for unit keys and $\beta \le 2$ |
# | row by row | short steps, a long chain, always right |
# | a library's solve | on a CPU |
# | by halves | a short chain of matrix products, always right in float32 |
# | power series | exact on paper, and only there |
#
# **Added to the package**: `ut_system`, `ut_by_solve`, `ut_by_substitution`, `ut_by_blocks`, and, as a warning, `ut_by_power_series`, in `deltanet_edu/ops/delta_rule/householder.py`.
#
# **In other notations**: with vectors as columns, $Y = K^\top$, LAPACK and Schreiber and Van Loan write $I - Y\,T\,Y^\top$ with an *upper* triangle: the transpose of our
# $\mathbf{T}$, and $\tau$ for $\beta$.

# %% [markdown]
# ## Further reading
#
# * T. Joffrain, T. M. Low, E. S. Quintana-Ortí, R. van de Geijn and F. G. Van Zee, "Accumulating Householder transformations, revisited", *ACM Transactions on Mathematical
#   Software* 32(2), 169–179, 2006. The UT transform.
# * R. Schreiber and C. Van Loan, "A storage-efficient WY representation for products of Householder transformations", *SIAM Journal on Scientific and Statistical Computing* 10(1),
#   53–57, 1989.
# * N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, SIAM, 2002, chapters 8 and 14: triangular systems, and why substitution is so much better than one would fear.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", *NeurIPS* 2024, arXiv 2406.06484, section 3 and the listing in the appendix.
#
# **Next**: the exercises. 6.4 and 6.5 are bugs that have been printed.
