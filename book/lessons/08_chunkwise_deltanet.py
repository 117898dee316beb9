# %% [markdown]
# # 8. Chunkwise DeltaNet
#
# *The delta rule in a few large matrix products instead of thousands of small steps.*

# %%
import torch
from torch.nn.functional import normalize

from deltanet_edu.figures import chunkwise as picture
from deltanet_edu.ops import (delta_rule_attention, delta_rule_chunkwise, delta_rule_recurrent,
                              linear_attention_chunkwise)
from deltanet_edu.ops.delta_rule import householder
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)

# %% [markdown]
# ## A recipe that worked last time
#
# In chapter 7 each chunk computed what it writes, all chunks at the same time, and the states were sums. Now we have
# pseudo-values, which are what the delta rule writes. So take chapter 7's function, put $U$ in the place of $V$, and be done?

# %%
def row(x):
    """One sequence, one head, for the functions of the package: (T, ...) -> (1, T, 1, ...)."""
    return x[None, :, None]

def unit(*shape):
    return normalize(torch.randn(*shape), dim=-1)

torch.manual_seed(0)
T, K, V, C = 64, 16, 8, 16
q, k, v, beta = unit(T, K), unit(T, K), torch.randn(T, V), torch.rand(T)

# %%
predict("8.a")

# %%
chunks = zip(k.split(C), v.split(C), beta.split(C))
U = torch.cat([householder.wy_u(*one) for one in chunks])   # (T, V)  each chunk for itself
shortcut = linear_attention_chunkwise(row(q), row(k), row(U), chunk_size=C)[0][0, :, 0]

right = delta_rule_recurrent(row(q), row(k), row(v), row(beta))[0][0, :, 0]
error = (shortcut - right).norm(dim=-1) / right.norm(dim=-1).mean()
picture.by_position(error, C);

# %% [markdown]
# *The first chunk is exact. From token 17 on nothing is right any more, and it gets worse with every chunk.*
#
# The smallest case says why. Chunk 1: `cat → 3`. Chunk 2: `cat → 5`.

# %%
cat = torch.tensor([[1.0, 0.0]])                            # (1, K)  one token per chunk
u = torch.tensor([[3.0], [5.0]])                            # both began empty: nothing erased
S = u[:1].mT @ cat + u[1:].mT @ cat                         # (V, K)
(S @ cat[0]).item()

# %% [markdown]
# Eight, once more. $U$ is what would be written into an *empty* memory, and only the first chunk has one. What chunk 2 should
# write depends on a memory that does not exist yet while it computes.
#
# **The question of this chapter**: how much can a chunk do before it knows the memory it starts from?

# %% [markdown]
# ## Where this chapter goes
#
# Everything from chapters 5, 6 and 7 comes together here. After it you can
#
# * derive equations 8 and 9 of the paper from what a token *really writes*, and write the whole algorithm in a dozen lines;
# * say which part of it is sequential, and why only that;
# * see the loop and attention as the two ends of one family, and say what is odd about DeltaNet's attention weights;
# * count what a chunk costs, including a term that is often left out, and choose the chunk length for a machine.
#
# You need chapters 5 (WY), 6 (UT) and 7 (chunks). Reading and running takes about an hour, the exercises an hour and a half. In
# the package, the chapter builds `delta_rule_chunkwise`, and `delta_rule_attention` in `deltanet_edu/ops/delta_rule/parallel.py`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 5: what are the rows of U and of W, in one sentence each?</summary>
#
# $u_t$ is what token $t$ would write if the chunk began with an empty memory. $w_t$ is what is left of its key to erase.
#
# </details>
#
# <details><summary>2. Chapter 6: how do U and W come out of one triangular matrix?</summary>
#
# $U = \mathbf{T}V$ and $W = \mathbf{T}K$ with $\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta)$ and $A = \mathrm{stril}(\mathrm{diag}(\beta)KK^\top)$. One
# solve, no loop over tokens.
#
# </details>
#
# <details><summary>3. Chapter 7: how does linear attention run chunk by chunk?</summary>
#
# $O = QS^\top + \mathrm{tril}(QK^\top)V$ within a chunk, and the next chunk meets $S + V^\top K$.
#
# </details>

# %% [markdown]
# ## What token t really writes
#
# Let $S$ be the memory that *enters* the chunk, whatever it will be, and call what token $t$ really writes $x_t$. By the delta
# rule it is $\beta_t$ times the error at that moment, and every write ends in its key. Chapter 5 (eq. 5.6) has translated it
# into something that mentions only $S$:
#
# $$ S_t = S + \sum_{i \le t} x_i k_i^\top, \qquad x_t = u_t - S\,w_t = \beta_t\,(v_t - S_{t-1} k_t) \tag{8.1} $$

# %%
verify("8.1")

# %% [markdown]
# Read $u_t - S\,w_t$ as a form with one blank. $u_t$ and $w_t$ need keys, values and $\beta$, nothing else: they are filled in
# early, for all chunks at the same time. When $S$ arrives, one product completes it. $w_t$ is *the question that must be put to
# the old memory*.

# %% [markdown]
# ### By hand: the three tokens of chapters 5 and 6
#
# | t | $k_t$ | $v_t$ | $\beta_t$ | $w_t$ | $u_t$ |
# |---|---|---|---|---|---|
# | 1 | (1, 0) | 5 | 1 | (1, 0) | 5 |
# | 2 | (0.6, 0.8) | 4 | 0.5 | (0, 0.4) | 0.5 |
# | 3 | (0, 1) | 2 | 1 | (0, 0.68) | 1.6 |
#
# The memory that enters is $S = (1, 2)$. So $S w_t$ is $1$, then $0.8$, then $1.36$, and
#
# $x_1 = 5 - 1 = 4$, $\quad x_2 = 0.5 - 0.8 = -0.3$, $\quad x_3 = 1.6 - 1.36 = 0.24$.

# %%
K3 = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])     # (C, K)
V3 = torch.tensor([[5.0], [4.0], [2.0]])                    # (C, V)
beta3 = torch.tensor([1.0, 0.5, 1.0])                       # (C,)
S = torch.tensor([[1.0, 2.0]])                              # (V, K)

UT3 = householder.ut_by_solve(K3, beta3)                    # (C, C)
W3, U3 = UT3 @ K3, UT3 @ V3                                 # (C, K), (C, V)
X3 = U3 - W3 @ S.mT                                         # (C, V)
X3[:, 0]

# %% [markdown]
# Check one against the loop. After token 1 the memory is $(1, 2) + 4\,(1, 0) = (5, 2)$. It says
# $5 \cdot 0.6 + 2 \cdot 0.8 = 4.6$ about $k_2$, and half of $4 - 4.6$ is $-0.3$. ✓
#
# All rows at once, with tokens as rows: from here on $X$ is the matrix of what is written, one row a token. (The $X_t$ of the scan in
# chapter 7 was one outer product, $\beta_t v_t k_t^\top$.)
#
# $$ X = U - W S^\top \tag{8.2} $$

# %%
verify("8.2")

# %% [markdown]
# And what does token $t$ read? The memory right after its own write, so (8.1) multiplied by $q_t$:
#
# $$ o_t = s\,S_t q_t = s\,\Big(S q_t + \sum_{i \le t} x_i\,(k_i^\top q_t)\Big) \tag{8.3} $$

# %%
verify("8.3")

# %% [markdown]
# The old memory answers, and each token so far adds its write, weighted by how well its key fits the query. With (8.1) and
# (8.3) the chunk is done; what remains is to write them as matrix products.

# %% [markdown]
# ## The next memory: the paper's equation 8
#
# Put $t = C$ into (8.1). The sum over tokens is a matrix product, and we have the memory that *leaves* the chunk, $S'$:
#
# $$ S' = S + X^\top K = S + (U - W S^\top)^\top K \tag{8.4} $$

# %%
verify("8.4")

# %% [markdown]
# By hand: $(1, 2) + 4\,(1, 0) - 0.3\,(0.6, 0.8) + 0.24\,(0, 1) = (4.82,\ 2)$.

# %%
print("one jump  ", S + X3.mT @ K3)
_, final = delta_rule_recurrent(row(K3), row(K3), row(V3), row(beta3), initial_state=S[None, None])
print("token loop", final[0, 0])

# %% [markdown]
# ## The outputs: the paper's equation 9
#
# Stack (8.3) for all tokens. Row $t$ of $QK^\top$ holds the weights $k_i^\top q_t$; `tril` cuts the future off.
#
# $$ O = s\,\Big(Q S^\top + \mathrm{tril}(Q K^\top)\,(U - W S^\top)\Big) \tag{8.5} $$

# %%
verify("8.5")

# %% [markdown]
# The mask deserves a second look. `tril` *keeps* the diagonal; the $A$ of chapter 6 leaves it out.

# %%
predict("8.b")

# %%
def read(diagonal):
    return (K3 @ S.mT + (K3 @ K3.mT).tril(diagonal) @ X3)[:, 0]  # (C,)  with q = k

print("diagonal in ", read(0))
print("diagonal out", read(-1))

# %% [markdown]
# (Each token asks for its own key here.) With the diagonal: 5 (just stored), $4.3$ (halfway from 4.6 to 4, as $\beta_2 = 0.5$ asks), 2. Without it: the old answers 1,
# 4.6 and 1.76. The two masks have two jobs: *strictly* lower where a token looks for what is already there before it writes,
# lower *with* the diagonal where it reads what it has written.
#
# How wrong is a small slip in (8.5)? With 64 tokens, four chunks, and $d_k = d_v$, so that nothing fails loudly:

# %%
def slipped(q, k, v, beta, C, diagonal=0, transpose=True):
    S, out = torch.zeros(v.shape[1], k.shape[1]), []
    for Q, K, V, b in zip(q.split(C), k.split(C), v.split(C), beta.split(C)):
        S_read = S.mT if transpose else S
        UT = householder.ut_by_solve(K, b)                  # (C, C)
        X = UT @ V - UT @ K @ S_read                        # (C, V)
        out.append(Q @ S_read + (Q @ K.mT).tril(diagonal) @ X)
        S = S + X.mT @ K
    return torch.cat(out)

# %%
v16 = torch.randn(T, 16)
right = delta_rule_recurrent(row(q), row(k), row(v16), row(beta))[0][0, :, 0]
slips = {"none": {}, "diagonal left out": {"diagonal": -1},
         "transpose left out": {"transpose": False}}
for name, options in slips.items():
    slip = slipped(q, k, v16, beta, C, **options)
    print(f"{name:20} error {(slip - right).norm() / right.norm():.1%}")

# %% [markdown]
# Neither raises an error. So the tests of this book use $d_k \ne d_v$, where a forgotten transpose cannot run, and compare every
# output with the loop.

# %% [markdown]
# ## The whole algorithm
#
# The five labels of this book, for one chunk. The slicing that cuts a chunk out is the *load*. Inside the function `Q`, `K` and `V`
# are the rows of the chunk; in the shapes beside them K and V are still the widths of a key and a value. `P` is
# $\mathrm{tril}(QK^\top)$, who reads whom.

# %%
def one_chunk(Q, K, V, beta, S):
    # within the chunk: needs no S
    UT = householder.ut_by_solve(K, beta)                   # (C, C)
    W, U = UT @ K, UT @ V                                   # (C, K), (C, V)
    P = (Q @ K.mT).tril()                                   # (C, C)
    # across chunks: the form is completed
    X = U - W @ S.mT                                        # (C, V)
    # store
    O = Q @ S.mT + P @ X                                    # (C, V)
    # update
    return O, S + X.mT @ K                                  # (V, K)

# %%
S, O = torch.zeros(V, K), []
for n in range(0, T, C):
    O_n, S = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)  # load
    O.append(O_n)

right, final = delta_rule_recurrent(row(q), row(k), row(v), row(beta))
print("outputs agree to 1e-12:", torch.allclose(torch.cat(O), right[0, :, 0], atol=1e-12))
print("memory agrees to 1e-12:", torch.allclose(S, final[0, 0], atol=1e-12))

# %% [markdown]
# Four steps instead of 64, and no approximation anywhere. Who waits for whom?

# %%
picture.phases();

# %% [markdown]
# *Blue: needs no memory, or a memory that is known by then, so all chunks run side by side. Red: two small products per chunk,
# the only chain. The token loop is a chain of $T$ links; here it has $\lceil T/C \rceil$.*
#
# A short chunk makes a long chain, a long chunk a long solve. Run the next cell and slide C from 1 to T = 32: where are the fewest steps that wait for each other? (GitHub shows one C.)

# %%
picture.explore_pipeline();

# %% [markdown]
# $C + \lceil T/C \rceil$ is smallest near $\sqrt T$, but work grows with $C$, and machines like products of a certain size. We will measure.
#
# The package does just that: first everything blue for all chunks in one batched call, then the loop, then the outputs of all
# chunks in one call.

# %%
show(delta_rule_chunkwise)

# %% [markdown]
# ## The same write without W and U
#
# Factor $\mathbf{T}$ out of $X = \mathbf{T}V - \mathbf{T}KS^\top$:
#
# $$ U - W S^\top = \mathbf{T}\,(V - K S^\top) \tag{8.6} $$

# %%
verify("8.6")

# %% [markdown]
# One line of algebra, and worth a second proof, because that one explains it. By (8.1), $x_t$ is $\beta_t$ times the error
# against $S_{t-1} = S + \sum_{i<t} x_i k_i^\top$:
#
# 1. $x_t = \beta_t \big( v_t - S k_t - \sum_{i<t} x_i\,(k_i^\top k_t) \big)$
# 2. As rows: $X = \mathrm{diag}(\beta)\,(V - KS^\top) - A X$
# 3. So $(I + A)\,X = \mathrm{diag}(\beta)\,(V - KS^\top)$, and multiplying with the inverse gives (8.6). ∎
#
# It is chapter 6 once more, with $v_t - S k_t$ in the place of $v_t$: *ask the old memory about every key, and let the
# triangular system sort out what the tokens do to each other*. In the example the old memory misses by $V - KS^\top = (4, 1.8, 0)$:

# %%
S = torch.tensor([[1.0, 2.0]])
print("V - K Sᵀ     ", (V3 - K3 @ S.mT)[:, 0])
print("UT (V - K Sᵀ)", (UT3 @ (V3 - K3 @ S.mT))[:, 0])

# %% [markdown]
# Which form is better? The first prepares $W$ and $U$ for all chunks beforehand, so less is left for the chain. The second needs
# neither: $2Cd_k$ FLOPs per token less, and nothing to store. On a CPU, where the chain is expensive, the package uses the
# first; the GPU kernels of chapter 11 and the derivation of chapter 9 use the second.

# %% [markdown]
# ## A tail that does not fill a chunk
#
# Ten tokens, chunks of four. Batched calls want equal sizes, so the last chunk must be padded.

# %%
predict("8.c")

# %%
from deltanet_edu.ops.common import chunk

Kp = chunk(row(k[:10]), 4)                                  # (N, B, H, C, K)
Bp = chunk(row(beta[:10])[..., None], 4)[..., 0]            # (N, B, H, C)
UT_tail = householder.ut_by_solve(Kp, Bp)[-1, 0, 0]         # (C, C)  of the last chunk
UT_tail

# %% [markdown]
# `chunk` fills up with zeros, and the zeros stay among themselves: rows and columns 3 and 4 of $\mathbf{T}$ are zero, so no padded token
# writes, erases or is erased. Their outputs are dropped. Every length with every chunk length:

# %%
worst = 0
for T_any in range(1, 14):
    inputs = [row(x[:T_any]) for x in (q, k, v, beta)]
    expected = delta_rule_recurrent(*inputs)
    for C_any in range(1, 16):
        got = delta_rule_chunkwise(*inputs, chunk_size=C_any)
        worst = max(worst, *((a - b).abs().max().item() for a, b in zip(got, expected)))
print("largest difference below 1e-12:", worst < 1e-12)

# %% [markdown]
# ## One family, two ends
#
# The chunk length is free, from one token to all of them.
#
# **One chunk for the whole sequence.** No chain at all. If the memory starts empty, $X = \mathbf{T}V$ and (8.5) becomes
#
# $$ O = \Big(s\,\mathrm{tril}(Q K^\top)\,\mathbf{T}\Big)\,V \tag{8.7} $$

# %%
verify("8.7")

# %% [markdown]
# *Outputs are a matrix of weights times values*: this is the shape of attention.
#
# Let us look at those weights beside the ones of linear and of softmax attention, for the same queries and keys.
# (Softmax gets the scores times $4 = \sqrt{d_k}$; between unit vectors they are too small for it to choose.)

# %%
predict("8.d")

# %%
def three_kinds(q, k, beta):
    scores = q @ k.mT                                       # (T, T)
    future = torch.ones_like(scores).triu(1).bool()
    return {"linear attention": scores.tril(),
            "DeltaNet": delta_rule_attention(row(q), row(k), row(beta))[0, 0],
            "softmax attention": (4 * scores).masked_fill(future, -torch.inf).softmax(-1)}

n = 32
kinds = three_kinds(q[:n], k[:n], beta[:n])
picture.weights(kinds, limit=0.5);

# %%
past = torch.ones(n, n).tril().bool()
for name, A in kinds.items():
    negative, sums = (A[past] < 0).double().mean(), A.sum(-1)
    print(f"{name:18} negative {negative:4.0%}    row sums {sums.min():5.2f} to {sums.max():4.2f}")

# %% [markdown]
# *Blue is negative.* DeltaNet's weights are no averages: about half are negative, and rows sum to anything. They are also
# smaller than linear attention's: $\beta$ weakens every write, and later tokens have erased part of it.
#
# That is easier to see with keys that repeat. Four orthogonal keys A to D are written again and again (columns), while each
# token asks for a key of its own choice (rows).

# %%
written, asked = "A B A C B A D C B A".split(), "A A B A A B C A A D".split()
letters = torch.eye(4)
k_abcd = letters[["ABCD".index(x) for x in written]]        # (T, K)
q_abcd = letters[["ABCD".index(x) for x in asked]]
picture.weights(three_kinds(q_abcd, k_abcd, torch.ones(10)), written=written, read=asked);

# %% [markdown]
# *Every row that asks for A: linear attention adds up all A's so far, softmax attention averages them, DeltaNet takes the
# latest one. Nobody told it about positions; each write has erased the one before.*
#
# The whole sequence as one chunk is fine for pictures. For training it is not, and we will count why.
#
# **One token per chunk**, at the other end: $A$ is empty, $\mathbf{T}$ is the number $\beta$, and (8.4) *is* the delta rule.
#
# $$ C = 1: \qquad \mathbf{T} = \beta, \qquad S' = S + \beta\,(v - S k)\,k^\top, \qquad o = s\,S' q \tag{8.8} $$

# %%
verify("8.8")

# %% [markdown]
# ## States in, states out
#
# A chunk neither knows nor cares whether the memory that enters was made a microsecond or a week ago. So a text may arrive in
# pieces of any length, and only the memory has to be kept.

# %%
torch.manual_seed(1)
shape = 1, 1000, 2                                          # B, T, H
long = [unit(*shape, 16), unit(*shape, 16), torch.randn(*shape, 8), torch.rand(*shape)]
whole, final = delta_rule_chunkwise(*long)

S, parts, cuts = None, [], [0, 1, 130, 131, 500, 777, 1000]
for start, end in zip(cuts, cuts[1:]):
    o, S = delta_rule_chunkwise(*(x[:, start:end] for x in long), initial_state=S)
    parts.append(o)
print("same outputs:", torch.allclose(torch.cat(parts, 1), whole, atol=1e-12))
print("same memory: ", torch.allclose(S, final, atol=1e-12))
print("kept between pieces:", S.numel(), "numbers, whatever the length")

# %% [markdown]
# This is how DeltaNet writes text: the prompt goes through in chunks, then one token at a time ($C = 1$), from the same memory.
# A transformer keeps all keys and values instead.

# %% [markdown]
# ## What does a chunk cost?
#
# | product | FLOPs per chunk | | product | FLOPs per chunk |
# |---|---|---|---|---|
# | $KK^\top$, $QK^\top$, $\mathbf{T}K$ | $2C^2 d_k$ each | | $WS^\top$, $X^\top K$, $QS^\top$ | $2C d_k d_v$ each |
# | $\mathbf{T}V$, $\mathrm{tril}(QK^\top) X$ | $2C^2 d_v$ each | | the solve for $\mathbf{T}$ | $C^3$ |
#
# Divide by the $C$ tokens of the chunk:
#
# $$ \text{FLOPs per token and head} = 6\,d_k d_v + C\,(6\,d_k + 4\,d_v) + C^2 \tag{8.9} $$

# %%
verify("8.9")

# %% [markdown]
# That check did not read a formula: it ran the package under PyTorch's own FLOP counter. (We taught the counter the triangular
# solve, which it skips. It counts masked halves as work, because `@` does them; a kernel that skips zeros needs about half of
# every term with a $C$ in it.)
#
# Now you choose.

# %%
predict("8.e")

# %%
from deltanet_edu.bench.flops import flops

T, d = 1024, 64
inputs = [unit(1, T, 1, d), unit(1, T, 1, d), torch.randn(1, T, 1, d), torch.rand(1, T, 1)]
inputs = [x.float() for x in inputs]
loop = sum(flops(delta_rule_recurrent, *inputs).values()) / T
print(f"token loop   {loop:>9,.0f} FLOPs per token    {T:>4} steps")
for C in (1, 8, 32, 64, 256, 1024):
    work = sum(flops(delta_rule_chunkwise, *inputs, chunk_size=C).values()) / T
    print(f"C = {C:<8} {work:>9,.0f}   {work / loop:5.1f} x           {T // C:>4} steps")

# %% [markdown]
# At $C = d = 64$ nearly three times the work of the loop, in a sixty-fourth of the steps. With one chunk for all 1024 tokens,
# seventy times the work. (At $C = 1$ you see what (8.9) leaves out: to add $X^\top K$ to $S$ takes $d_k d_v$ additions a chunk.)
#
# ### A cost that is printed too small
#
# Summaries of the paper give the cost for a sequence of length $L$ (our T) as $O(LCd + Ld^2)$ and add that $C = L$ is the fully
# parallel form. Then the parallel form would cost $O(L^2 d)$, as attention does. Count it:

# %%
print("  length    counted    L C d + L d²")
previous = None
for L in (256, 512, 1024, 2048):
    one_sequence = [x[:, :L] for x in [torch.cat([y, y], 1) for y in inputs]]
    counted = sum(flops(delta_rule_chunkwise, *one_sequence, chunk_size=L).values())
    printed = L * L * d + L * d * d
    if previous:
        print(f"{L // 2} → {L}:  x {counted / previous[0]:.1f}       x {printed / previous[1]:.1f}")
    previous = counted, printed

# %% [markdown]
# Doubling the length should multiply the printed cost by less than four. The counted one is on its way to eight: cubic. The
# missing term is the solve, $C^3$ a chunk, $LC^2$ in all, so the full count is $O(LCd + Ld^2 + LC^2)$. As long as $C \le d$ the
# extra term hides behind $LCd$, and the printed formula is right. It is wrong exactly at the end of the family that it
# advertises.

# %% [markdown]
# ## The best C on a machine
#
# Work favors $C = 1$; steps favor a large $C$. Where they meet depends on the machine, so measure: the forward pass of
# these 1,024 tokens, on this machine, now. Expect a valley, and ask where its bottom is.

# %%
import time

def milliseconds(f, **options):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        with torch.no_grad():
            f(*inputs, **options)
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)

loop_ms = milliseconds(delta_rule_recurrent)
sizes = (4, 8, 16, 32, 64, 128, 256, 512)
forward = {C: milliseconds(delta_rule_chunkwise, chunk_size=C) for C in sizes}

# %%
sizes = [2.0**i for i in range(11)]
parts = {"state, $6 d_k d_v$": [6 * d * d for C in sizes],
         "rows, $C (6 d_k + 4 d_v)$": [10 * d * C for C in sizes],
         "solve, $C^2$": [C * C for C in sizes]}
picture.cost(sizes, parts, {"chunkwise": forward}, loop_ms);

# %% [markdown]
# *Left: three terms with slopes 0, 1 and 2 on logarithmic axes; the rows overtake the state near $C = 0.6\,d$. Right: the time
# falls while fewer steps save more than the extra work costs, and rises after that. The dashed line is the token loop, with the
# least work of all.*
#
# ### Forward and backward: the bar
#
# Training needs the backward pass too. The book set itself a bar: **on a CPU the chunkwise form must train at least 25 times as
# fast as the token loop**, with the machine to itself. If such a measurement has been recorded, the next cell shows it, with
# processor and date. If not, it makes a smaller one, now, beside whatever else is running: an impression, not a verdict.

# %%
from deltanet_edu.bench.chunkwise_cpu import measure
from deltanet_edu.records import read_result

result = read_result("chunkwise_cpu") or measure(T=512, chunk_sizes=(16, 32, 64), rounds=3)
shape = result["shape"]
if "machine" in result:
    machine = result["machine"]
    print(f"{machine['processor']}, {machine['threads']} threads, {result['date']}")
print(", ".join(f"{name} = {size}" for name, size in shape.items()), "\n")
for name, ms in sorted(result["milliseconds"].items(), key=lambda item: -item[1]):
    print(f"{name:28} {ms:8.1f} ms   {result['speedup'][name]:5.1f} x")
print(f"\nfastest: {max(result['speedup'].values()):.0f} times the token loop; the bar is 25")

# %% [markdown]
# "By hand" is the backward pass of the next chapter. One more thing to take from the table: the best $C$ is no sharp optimum, a
# factor of two either way costs little. On a CPU it need not be the 64 that is customary on GPUs, where tensor cores make work
# cheaper still.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | what token t really writes | $X = U - WS^\top = \mathbf{T}\,(V - KS^\top)$ |
# | the memory that leaves | $S' = S + X^\top K$ |
# | the outputs | $O = s\,(QS^\top + \mathrm{tril}(QK^\top)\,X)$, diagonal included |
# | sequential | two products per chunk, $\lceil T/C \rceil$ times; all else for all chunks at once |
# | two ends | $C = 1$: the delta rule. $C$ = length: attention with weights $\mathrm{tril}(QK^\top)\,\mathbf{T}$, of either sign |
# | cost per token | $6d_kd_v + C(6d_k + 4d_v) + C^2$ |
#
# **Added to the package**: `delta_rule_chunkwise` in `ops/delta_rule/chunkwise.py`; `delta_rule_attention` and `delta_rule_parallel` in
# `ops/delta_rule/parallel.py`; the FLOP counter in `bench/flops.py`.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | the paper, eq. 8 and 9 | the same, with the chunk index as $[t]$, and $(QK^\top \odot M)$ for our tril; $M$ has ones on the diagonal |
# | flash-linear-attention | state transposed, $h = S^\top$: `v_new = u - w @ h`, `h += k.T @ v_new`. Our $X$ is its `v_new` |
# | papers that define $\mathbf{T}$ without diag(β) | then $U = \mathbf{T}\,\mathrm{diag}(\beta)\,V$ and $W = \mathbf{T}\,\mathrm{diag}(\beta)\,K$: β must appear once |
# | linear attention, chapter 7 | $\mathbf{T} = I$: nobody erases anybody, $X = V$ |

# %% [markdown]
# ## Further reading
#
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence
#   Length", *NeurIPS* 2024, arXiv 2406.06484. Section 3 is chapters 5 to 8 of this book.
# * S. Yang, B. Wang, Y. Shen, R. Panda and Y. Kim, "Gated Linear Attention Transformers with Hardware-Efficient Training",
#   *ICML* 2024, arXiv 2312.06635. The chunkwise idea, with decay instead of erasing.
# * W. Hua, Z. Dai, H. Liu and Q. V. Le, "Transformer Quality in Linear Time", *ICML* 2022, arXiv 2202.10447. Mixed chunk
#   attention: quadratic inside, linear across.
#
# **Next**: the exercises. 8.2 and 8.3 are the algorithm; 8.6 is the odd sign of the weights. Then chapter 9, where all this
# runs backwards.
