# %% [markdown]
# # 5. The WY representation
#
# *Jump over a whole chunk of tokens, without forming the memory in between.*

# %%
import torch
from torch.nn.functional import normalize

from deltanet_edu.figures import wy
from deltanet_edu.ops.delta_rule import delta_rule_recurrent, householder
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)
torch.set_printoptions(precision=4, sci_mode=False)
torch.set_num_threads(1)                                # small matrices: a second thread only gets in the way

# %% [markdown]
# ## Everyone at once, and what goes wrong
#
# The delta rule is slow because token $t$ must wait for token $t-1$. The obvious way out: let all tokens of a chunk look at the memory
# *as it was before the chunk*, compute their corrections side by side, and write them all.
#
# Two tokens, `cat → 3` and then `cat → 5`, written into an empty memory like that.

# %%
predict("5.a")

# %%
cat = torch.tensor([1.0, 0.0])                          # (K,)  a unit key
k = torch.stack([cat, cat])                             # (C, K)
v = torch.tensor([[3.0], [5.0]])                        # (C, V)
S0 = torch.zeros(1, 2)                                  # (V, K)

errors = v - k @ S0.mT                                  # (C, V)  both tokens ask the old memory
S = S0 + errors.mT @ k                                  # (V, K)  and both write
S @ cat

# %% [markdown]
# Eight. We are back in chapter 1. (An error is written as what is *missing* here, $v - Sk$, so that a write is a plus. Chapters 2
# and 3 had the sign of the gradient, $Sk - v$. From now on it stays as it is here.)
#
# It is not only equal keys that suffer: here is the error of the same shortcut for random keys,
# measured against the loop.

# %%
def rule(S, k, v, beta):
    """The state after the last token, by the loop of chapter 2: (V, K)."""
    q, k, v, beta = (x[None, :, None] for x in (k, k, v, beta))  # one batch entry, one head
    return delta_rule_recurrent(q, k, v, beta, initial_state=S[None, None])[1][0, 0]

torch.manual_seed(0)
for C in (1, 2, 4, 8, 16, 32):
    k, v = normalize(torch.randn(C, 16), dim=-1), torch.randn(C, 8)
    beta, S0 = torch.ones(C), torch.randn(8, 16)
    stale, right = S0 + (v - k @ S0.mT).mT @ k, rule(S0, k, v, beta)
    print(f"C = {C:2d}   error {(stale - right).norm() / right.norm():.0%}")

# %% [markdown]
# One token is exact, and every further one makes it worse. The second token should have known what the first one *will have written*.
#
# So the question of this chapter: **can token $t$ know that without anybody forming the memory in between?**

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * say in one sentence what a token *really writes*, and compute it for three tokens by hand;
# * prove that a product of $C$ Householder matrices is $I - W^\top K$, with $C$ rows in each factor;
# * write the recurrences for $W$ and for $U$, and say what each is good for;
# * say what this buys (memory), and what it does not buy yet (time).
#
# You need chapter 2 (the delta rule) and chapter 4 (Householder matrices). Reading and running takes about 50 minutes, the
# exercises an hour and a half. In the package, the chapter builds `deltanet_edu/ops/delta_rule/householder.py`.

# %% [markdown]
# ## Three questions about chapters 2 and 4
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 4: how is S (I − βkkᵀ) computed without the matrix, and what does it cost?</summary>
#
# Read, $Sk$, and take a share of the answer out again: $S - \beta\,(Sk)\,k^\top$. About $4d_vd_k$ FLOPs, where the matrix costs $2d_vd_k^2$.
#
# </details>
#
# <details><summary>2. Chapter 4: what does M<sub>t</sub> do to a vector orthogonal to k<sub>t</sub>? And to k<sub>t</sub> itself, for a unit key and β = 1?</summary>
#
# Nothing; and it sends it to zero. All that $M_t$ does happens along the one direction $k_t$.
#
# </details>
#
# <details><summary>3. Chapter 4: when is M<sub>1</sub>M<sub>2</sub> = M<sub>2</sub>M<sub>1</sub>?</summary>
#
# When the keys are parallel or orthogonal (or some β is zero). Otherwise the order matters.
#
# </details>

# %% [markdown]
# ## What we want: jump over C tokens
#
# Unroll the recurrence $S_t = S_{t-1}M_t + \beta_t v_t k_t^\top$ for $C$ tokens. Everything that is in the memory when token $t$ arrives is
# multiplied by $M_t$ from the right, so
#
# $$ S_C = S_0\, M_1 M_2 \cdots M_C + \sum_{t=1}^{C} \beta_t v_t k_t^\top\, M_{t+1} \cdots M_C \tag{5.1} $$
#
# The first term is what remains of the old memory. The second is what the tokens add, each write passing through the erasures that follow it.

# %%
verify("5.1")

# %% [markdown]
# Products of matrices may be computed in any grouping, so (5.1) *could* run in parallel. But look at the bill. We count the FLOPs of the
# matrix products that PyTorch really executes, and of nothing else. For the loop that is $4d_kd_v$ a token, the read $S k_t$ and the write
# $(\dots)\,k_t^\top$. Equation 3.8 had $6d_kd_v$: it counted every operation, and it also read an output $S_t q_t$, which nobody asks for here.

# %%
from torch.utils.flop_counter import FlopCounterMode

def flops(f, *args):
    with FlopCounterMode(display=False) as counter:
        f(*args)
    return counter.get_total_flops()

def token_loop(k, v, beta):
    S = torch.zeros(v.shape[1], k.shape[1])
    for k_t, v_t, beta_t in zip(k[:, :, None], v[:, :, None], beta):  # (K, 1), (V, 1)
        S = S + beta_t * (v_t - S @ k_t) @ k_t.mT       # (V, K)
    return S

# %%
C, K = 64, 128
k, v, beta = normalize(torch.randn(C, K), dim=-1), torch.randn(C, K), torch.rand(C)
loop, product = flops(token_loop, k, v, beta), flops(householder.householder_product, k, beta)
print(f"token by token      {loop:>12,}")
print(f"M_1 M_2 ... M_C     {product:>12,}    {product / loop:.0f} times as many")

# %% [markdown]
# Multiplying $d_k \times d_k$ matrices costs $d_k^3$ where one write costs $d_k^2$. And the product alone is not even the state yet.

# %% [markdown]
# ## There is less in the product than it seems
#
# Each factor changes its input along one direction only. What about five of them?

# %%
predict("5.b")

# %%
torch.manual_seed(0)
k, beta = normalize(torch.randn(5, 64), dim=-1), torch.rand(5)
P = householder.householder_product(k, beta)            # (K, K)
difference = torch.eye(64) - P
print("entries that are not zero:", int((difference.abs() > 1e-12).sum()), "of", difference.numel())
print("rank:", int(torch.linalg.matrix_rank(difference)))

# %% [markdown]
# 4096 numbers, and only rank 5. A matrix of rank $C$ is a product of a tall and a wide factor with $C$ columns and $C$ rows: 640 numbers here.
#
# What could the wide factor be? Multiply $P_C = M_1 \cdots M_C$ from the right with a vector $x$ orthogonal to all keys: it passes through every factor
# unchanged, so $(I - P_C)\,x = 0$. The rows of $I - P_C$ are orthogonal to everything that is orthogonal to all keys: they are combinations of the *keys*. The wide factor can be $K$ itself, and only the tall one is to be found:
#
# $$ M_1 M_2 \cdots M_C = I - \sum_{t=1}^{C} w_t k_t^\top = I - W^\top K \tag{5.2} $$
#
# $W$ has one row per token, like $K$. This is the **WY representation** (Bischof and Van Loan, 1987).
#
# As lesson 0 announced: $K$ and $V$ in a formula are from here on the matrices with the keys and the values of the tokens as rows, and the widths of a
# head are $d_k$ and $d_v$. In code and in shapes `K` and `V` stay widths. And $P$ is a product here, not the ceiling of equation 3.10.

# %%
verify("5.2")

# %%
k, beta = normalize(torch.randn(4, 16), dim=-1), torch.ones(4)  # a smaller one, for the picture
wy.factors(householder.householder_product(k, beta), householder.wy_w(k, beta), k);

# %% [markdown]
# *To scale, for $d_k = 16$ and $C = 4$: the square on the left holds 256 numbers, $W^\top$ and $K$ hold 64 each. Blue is negative, red positive.*

# %% [markdown]
# ## Three tokens by hand
#
# $d_k = 2$, three tokens, numbers you can carry in your head. We will use these three tokens again in chapter 6.
#
# | t | $k_t$ | $v_t$ | $\beta_t$ |
# |---|---|---|---|
# | 1 | (1, 0) | 5 | 1 |
# | 2 | (0.6, 0.8) | 4 | 0.5 |
# | 3 | (0, 1) | 2 | 1 |
#
# The overlaps: $k_1^\top k_2 = 0.6$, $\;k_2^\top k_3 = 0.8$, and $k_1^\top k_3 = 0$.

# %%
k = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # (C, K)
v = torch.tensor([[5.0], [4.0], [2.0]])                 # (C, V)
beta = torch.tensor([1.0, 0.5, 1.0])                    # (C,)
k @ k.mT                                                # (C, C)  overlaps

# %% [markdown]
# **Token 1.** $M_1 = I - k_1 k_1^\top$. So $w_1 = \beta_1 k_1 = (1, 0)$.
#
# **Token 2.** Multiply what we have with $M_2 = I - \beta_2 k_2 k_2^\top$:
#
# $(I - w_1 k_1^\top)(I - \beta_2 k_2 k_2^\top) \;=\; I - w_1 k_1^\top - \beta_2\big(k_2 - w_1 (k_1^\top k_2)\big) k_2^\top$
#
# The old term stays as it was, and a new one has appeared, ending in $k_2^\top$. So
# $w_2 = 0.5\,\big((0.6, 0.8) - 0.6\,(1, 0)\big) = (0,\ 0.4)$.
#
# **Token 3.** The same once more: $w_3 = (0,1) - 0\cdot w_1 - 0.8\,(0, 0.4) = (0,\ 0.68)$.

# %%
w1 = beta[0] * k[0]
w2 = beta[1] * (k[1] - w1 * (k[0] @ k[1]))
w3 = beta[2] * (k[2] - w1 * (k[0] @ k[2]) - w2 * (k[1] @ k[2]))
W = torch.stack([w1, w2, w3])                           # (C, K)
W

# %% [markdown]
# Is $I - W^\top K$ the product of the three matrices?

# %%
print(torch.eye(2) - W.mT @ k)
print(householder.householder_product(k, beta))

# %% [markdown]
# Yes, to the last digit. Check one entry by hand: the lower left one is $0 - 0.4 \cdot 0.6 - 0.68 \cdot 0 = -0.24$.

# %% [markdown]
# ## The proof, for any number of tokens
#
# **Claim.** For every $t$ there are $w_1, \dots, w_t$ with $P_t = M_1 \cdots M_t = I - \sum_{i\le t} w_i k_i^\top$.
#
# **Start.** $P_0 = I$, an empty sum.
#
# **Step.** Suppose it holds for $t-1$. Multiply with one more factor:
#
# 1. $P_t = P_{t-1}(I - \beta_t k_t k_t^\top)$
# 2. $\phantom{P_t} = P_{t-1} - (\beta_t P_{t-1} k_t)\, k_t^\top$, and the column in the bracket is our new $w_t$.
# 3. So $P_t = I - \sum_{i<t} w_i k_i^\top - w_t k_t^\top$: the earlier $w_i$ *do not change*. ∎
#
# And by the claim for $t-1$, the product $P_{t-1}k_t$ needs no matrix at all:
#
# $$ w_t = \beta_t P_{t-1} k_t = \beta_t \Big( k_t - \sum_{i<t} w_i\, (k_i^\top k_t) \Big) \tag{5.3} $$

# %%
verify("5.3")

# %% [markdown]
# Read it aloud: *$w_t$ is the part of the key that is still there to be erased*. If token 1 has already erased along the same unit key with
# $\beta = 1$, nothing is left for token 2:

# %%
householder.wy_w(torch.stack([cat, cat]), torch.ones(2))

# %% [markdown]
# The package's function is this short, for a reason that comes next:

# %%
show(householder.wy_w)

# %% [markdown]
# ## The other half: what the tokens add
#
# The second term of (5.1) is the memory that $C$ tokens build *from nothing*; call it $H_t$, as the paper does (no mirror this time). Every write ends in a key, so it should be
# $H_t = \sum_{i \le t} u_i k_i^\top$ for some $u_i$. Start from zero and do the same induction:
#
# 1. $H_t = H_{t-1} - \beta_t (H_{t-1} k_t - v_t)\, k_t^\top$, the delta rule itself
# 2. $\phantom{H_t} = H_{t-1} + \beta_t (v_t - H_{t-1} k_t)\, k_t^\top$, and the column before $k_t^\top$ is $u_t$. ∎
#
# Put the sum in for $H_{t-1}$:
#
# $$ u_t = \beta_t \Big( v_t - \sum_{i<t} u_i\, (k_i^\top k_t) \Big) \tag{5.4} $$

# %%
verify("5.4")

# %% [markdown]
# It is (5.3) with $v_t$ in the place of $k_t$. In our example:
# $u_1 = 5$, $\;u_2 = 0.5\,(4 - 5\cdot 0.6) = 0.5$, $\;u_3 = 2 - 0.5 \cdot 0.8 = 1.6$.

# %%
householder.wy_u(k, v, beta)                            # (C, V)

# %%
show(householder.wy_u)

# %% [markdown]
# This is the answer to our question, as long as the memory began empty: $u_t$ is **what token $t$ really writes**. It needs the earlier $u_i$
# and the overlaps of keys, but no memory. The paper calls the $u_t$ *pseudo-values*. (A memory that did not begin empty is the business of $W$, below.)

# %%
predict("5.c")

# %%
same, values = cat.expand(3, 2), torch.tensor([[3.0], [5.0], [4.0]])
u = householder.wy_u(same, values, torch.ones(3))       # (C, V)
print(u[:, 0].tolist(), "  sum", u.sum().item())

# %% [markdown]
# Only the *news* is written. Here are the same three values with three kinds of keys:

# %%
orthogonal = torch.eye(3)
overlapping = torch.tensor([[1, 0, 0], [0.6, 0.8, 0], [0.6, 0.3, 0.55**0.5]])
families = {"orthogonal keys": orthogonal, "overlap 0.6": overlapping, "equal keys": orthogonal[[0, 0, 0]]}
bars = {}
for name, keys in families.items():
    bars[name] = values[:, 0], householder.wy_u(keys, values, torch.ones(3))[:, 0]
wy.writes(bars);

# %% [markdown]
# *Gray: what arrives. Blue: what is written. With orthogonal keys the two agree, and the delta rule is linear attention. With equal keys
# only the changes are written: 3, then +2, then −1. In between, every earlier token is discounted by its overlap.*

# %% [markdown]
# ## Both halves together
#
# $$ S_C = S_0\, (I - W^\top K) + U^\top K \tag{5.5} $$

# %%
verify("5.5")

# %% [markdown]
# In our example, with an old memory $S_0 = (1, 2)$: three steps in one jump.

# %%
S0 = torch.tensor([[1.0, 2.0]])                         # (V, K)
W, U = householder.wy_w(k, beta), householder.wy_u(k, v, beta)
print("in one jump   ", S0 @ (torch.eye(2) - W.mT @ k) + U.mT @ k)
print("token by token", rule(S0, k, v, beta))

# %% [markdown]
# By hand: $S_0 - S_0W^\top K = (-0.48,\ 0)$, and $U^\top K = 5\,(1,0) + 0.5\,(0.6, 0.8) + 1.6\,(0,1) = (5.3,\ 2)$.
#
# **Do not lose $W$.** One summary of the method prints the recurrence for $u$ and leaves the one for $w$ out. A $U$ that was computed
# without $S_0$ gives the state of a memory that began empty, and of no other; every chunk but the first begins with a memory that is not.
# (Who knows $S_0$ beforehand can do without $W$: take $S_0k_t$ off every $v_t$ first.) How wrong is it to forget $S_0$?

# %%
torch.manual_seed(0)
k2, v2 = normalize(torch.randn(8, 16), dim=-1), torch.randn(8, 4)
beta2, S2 = torch.rand(8), torch.randn(4, 16)
right = rule(S2, k2, v2, beta2)
without_w = S2 + householder.wy_u(k2, v2, beta2).mT @ k2
print(f"error without W: {(without_w - right).norm() / right.norm():.0%}")

# %% [markdown]
# ### What W is for
#
# Multiply (5.5) out and collect: $S_C = S_0 + \sum_t (u_t - S_0 w_t)\, k_t^\top$. The bracket is what token $t$ writes when the memory was
# *not* empty, and by the delta rule that is $\beta_t$ times its error:
#
# $$ u_t - S_0\, w_t = \beta_t\, (v_t - S_{t-1} k_t) \tag{5.6} $$

# %%
verify("5.6")

# %% [markdown]
# Left: something that mentions only the memory *before the chunk*. Right: the error against the memory *at that moment*. The
# $w_t$ translate one into the other, for whatever $S_0$ will turn out to be. In the example:

# %%
S, writes = S0, []
for k_t, v_t, beta_t in zip(k, v, beta):
    writes.append(beta_t * (v_t - S @ k_t))             # (V,)
    S = S + writes[-1][:, None] * k_t
print("loop      ", torch.stack(writes)[:, 0])
print("U - W S0ᵀ ", (U - W @ S0.mT)[:, 0])

# %% [markdown]
# That is what makes the chunks of chapter 8 possible: $W$ and $U$ can be computed for all chunks at the same time, *before* any $S_0$ is known.

# %% [markdown]
# ## What it buys: memory
#
# To train, PyTorch keeps what each step produced. The loop produces a state per token, $d_k d_v$ numbers. The WY form produces two rows per
# token, $d_k + d_v$ numbers. Both grow with the text, so the question is by which factor they differ. In 16 heads of width 128, in float32:

# %%
T = 2 ** torch.arange(6, 17)
MiB = 16 * 4 / 2**20                                    # 16 heads, 4 bytes a number
states, rows = T * 128 * 128 * MiB, T * (128 + 128) * MiB
curves = {"a state per token": (T, states), "a row of W and of U per token": (T, rows)}
wy.against_length(curves, "MiB for one layer");

# %% [markdown]
# *Two parallel lines, a factor of 64 apart, half the head width. At 4,096 tokens: 4 GiB against 64 MiB, for one layer and one sequence.*

# %% [markdown]
# ## What it does not buy yet: time
#
# Each $u_t$ needs $O(d)$ *memory*. But the sum in (5.4) runs over all earlier tokens, and they keep coming.

# %%
predict("5.d")

# %%
lengths, d = (16, 32, 64, 128, 256, 1024), 64
counts = {"token loop": [], "u recurrence": []}
for T in lengths:
    k_T, v_T, beta_T = torch.randn(T, d), torch.randn(T, d), torch.rand(T)
    counts["u recurrence"].append(flops(householder.wy_u, k_T, v_T, beta_T) / T)
    counts["token loop"].append(flops(token_loop, k_T, v_T, beta_T) / T)
wy.against_length({name: (lengths, y) for name, y in counts.items()}, "FLOPs per token");

# %% [markdown]
# *The loop costs the same for every token. The recurrence costs more the more tokens came before: the lines cross near T = 85, at
# 4/3 of the head width (overlaps $2T^2d_k$, sums $T^2d_v$, against $4Td_kd_v$).*

# %%
ratio = counts["u recurrence"][-1] / counts["token loop"][-1]
print(f"at {lengths[-1]} tokens {ratio:.1f} times the FLOPs of the loop")
print(f"it grows like T, so at 4096 tokens {ratio * 4096 / lengths[-1]:.0f} times")

# %% [markdown]
# And it is still a loop: $u_t$ waits for $u_{t-1}$. So there are two debts left, and a chapter for each:
#
# * **quadratic in T** → cut the sequence into chunks of $C \approx d$ tokens and use (5.5) from chunk to chunk: chapters 7 and 8;
# * **sequential within the chunk** → look at (5.4) again. It is linear in the unknown $u$: $C$ equations, $C$ unknowns, and a triangle. Chapter 6.

# %% [markdown]
# ## The same thing in LAPACK
#
# QR factorization multiplies reflections, $Q = H_1 H_2 \cdots H_n$ with $H_t = I - \tau_t\, y_t y_t^\top$, and LAPACK, the library
# under `torch.linalg`, keeps it as this list of vectors. `torch.geqrf` returns the raw output: the $y_t$ below the diagonal, each with a leading 1 that is not stored,
# and the $\tau_t$. To us these are keys and write strengths.

# %%
torch.manual_seed(0)
X = torch.randn(5, 3)
a, tau = torch.geqrf(X)                                 # (m, n), (n,)
keys = a.tril(-1).mT + torch.eye(3, 5)                  # (n, m)  tokens are rows
Q = torch.eye(5) - householder.wy_w(keys, tau).mT @ keys  # (m, m)
print("orthogonal:", torch.allclose(Q @ Q.mT, torch.eye(5)))
print("the Q of torch.linalg.qr:", torch.allclose(Q[:, :3], torch.linalg.qr(X).Q))
print("τ ‖k‖² =", (tau * (keys**2).sum(-1)))

# %% [markdown]
# $\tau\|k\|^2 = 2$: reflections (chapter 4). The proof above never asked for that; it holds for any $\beta$ and any length of key.
# LAPACK applies $I - W^\top K$ to a whole block of columns at once, for the same reason we will: two matrix products instead of many small steps.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | the jump | $S_C = S_0(I - W^\top K) + U^\top K$ |
# | $w_t = \beta_t(k_t - \sum_{i<t} w_i\,k_i^\top k_t)$ | what is left of the key to erase; depends on keys and $\beta$ only |
# | $u_t = \beta_t(v_t - \sum_{i<t} u_i\,k_i^\top k_t)$ | what is written into a memory that began empty |
# | $u_t - S_0 w_t$ | what is written into a memory that began as $S_0$ |
# | cost | $O(C^2 d)$ and $C$ sequential steps; $2d$ numbers per token, and no state |
#
# **Added to the package**: `householder_product`, `wy_w`, `wy_u` in `deltanet_edu/ops/delta_rule/householder.py`.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | the paper, eq. 7 | $\mathbf P = \mathbf I - \sum_i \mathbf w_i \mathbf k_i^\top$ and $\mathbf H = \sum_i \mathbf u_i \mathbf k_i^\top$, with a chunk index $[t]$ and the token as superscript; same order as here |
# | flash-linear-attention | the state is transposed, so keys come first and later factors stand on the *left*: $I - K^\top W$ |
# | Bischof and Van Loan | $Q = I + W Y^\top$ with vectors as columns: their $Y$ is our $K^\top$, their $W$ our $-W^\top$ |

# %% [markdown]
# ## Further reading
#
# * C. Bischof and C. Van Loan, "The WY representation for products of Householder matrices", *SIAM Journal on Scientific and Statistical
#   Computing* 8(1), s2–s13, 1987. Where the idea and the letters come from.
# * R. Schreiber and C. Van Loan, "A storage-efficient WY representation for products of Householder transformations", *SIAM Journal on
#   Scientific and Statistical Computing* 10(1), 53–57, 1989. $W$ need not be stored: chapter 6.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length", *NeurIPS* 2024,
#   arXiv 2406.06484, section 3 and appendix. The induction for the delta rule.
#
# **Next**: the exercises. Start with 5.1 and 5.2; 5.5 is a bug you may meet again.
