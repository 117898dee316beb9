# %% [markdown]
# # 7. Chunks
#
# *Between one token at a time and all tokens at once there is a third way. Linear attention shows it best.*

# %%
import time

import torch
from torch.nn.functional import normalize

from deltanet_edu.bench.flops import flops
from deltanet_edu.figures import chunks, lines
from deltanet_edu.ops import (delta_rule_recurrent, delta_rule_scan, linear_attention_chunkwise,
                              linear_attention_parallel, linear_attention_recurrent)
from deltanet_edu.tutor import predict, show, verify

torch.manual_seed(0);

# %% [markdown]
# ## Two forms, both too slow
#
# Chapter 1 had two ways to compute linear attention: a loop over tokens, and one product with a masked T × T matrix. Same
# answer. Which one would you train with?

# %%
predict("7.a")

# %% [markdown]
# Measure both for growing T. One head, K = V = 64.

# %%
def seconds(f, *args, rounds=7, **options):
    """The best of a few runs: the one that other programs disturbed least."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        f(*args, **options)
        best = min(best, time.perf_counter() - start)
    return best

lengths = (256, 512, 1024, 2048, 4096)
tokens = {T: [normalize(torch.randn(1, T, 1, 64), dim=-1) for _ in range(3)] for T in lengths}
loop = [1e3 * seconds(linear_attention_recurrent, *tokens[T]) for T in lengths]
once = [1e3 * seconds(linear_attention_parallel, *tokens[T]) for T in lengths]

# %%
chunks.two_forms(lengths, loop, once);

# %% [markdown]
# The loop does the same work for every token, so its time doubles when T does, as far as the machine is left alone. (Where the
# line is steeper, something else was running: twice the tokens are never more than twice the steps.) But it starts high: thousands
# of tiny steps, each waiting for the one before. The single product starts low and ends up growing with T²: most of its work is for
# pairs of tokens far apart.
#
# At T = 64 the product is cheap, though. **What if we cut the text into pieces of 64 tokens, used the product inside each
# piece, and the memory from piece to piece?**

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * derive the chunkwise form of linear attention, and program it in five lines;
# * say what C costs and what it saves, and find the best C on a machine;
# * explain why the same trick fails for the delta rule at first sight;
# * state the associative scan that would rescue it, prove it right, and show why nobody uses it.
#
# You need chapters 1, 2 and, for the second half, 5. Reading and running takes about 50 minutes, the exercises an hour and a
# quarter. In the package, the chapter builds `linear_attention_chunkwise` and, as the road not taken, `ops/delta_rule/scan.py`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 1: why does the parallel form mask Q Kᵀ with tril, diagonal included?</summary>
#
# Token $t$ reads after it has written, so it sees $i \le t$: its own write, and no later one.
#
# </details>
#
# <details><summary>2. Chapter 2: what is the transition matrix of the delta rule, and on which side of the memory does it stand?</summary>
#
# $M_t = I - \beta_t k_t k_t^\top$, on the right: $S_t = S_{t-1}M_t + \beta_t v_t k_t^\top$.
#
# </details>
#
# <details><summary>3. Chapter 5: the product of C such matrices is I − WᵀK. How many numbers is that, and how many has the product itself?</summary>
#
# $2Cd_k$ against $d_k^2$. For $C < d_k/2$ the two factors are smaller; more important, they can be applied without forming the product.
#
# </details>

# %% [markdown]
# ## Old memory, new tokens
#
# Four tokens, K = 2, V = 1, C = 2. Keys along the axes, so that the memory is easy to follow.

# %%
q = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])      # (T, K)
k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])      # (T, K)
v = torch.tensor([[1.0], [2.0], [3.0], [4.0]])                          # (T, V)

S = torch.zeros(1, 2)                                                   # (V, K)
for q_t, k_t, v_t in zip(q, k, v):
    S = S + torch.outer(v_t, k_t)
    print(f"memory {S.tolist()}   reads {(S @ q_t).item():.0f}")

# %% [markdown]
# The reads are 1, 3, 4, 10. Now take the last two tokens as a chunk. When it begins, the memory says (1, 2). What does token 4
# read?
#
# * From the old memory: $1 \cdot 1 + 2 \cdot 1 = 3$.
# * From the chunk's own tokens: token 3 wrote 3 along the first axis, token 4 wrote 4 along the second; both overlap the query
#   by 1. That is 7.
#
# Together 10. The old memory and the new writes contribute *separately*, because a read is a sum:
#
# $$ o_t = \Big(S_0 + \sum_{i=1}^{t} v_i k_i^\top\Big) q_t = S_0\, q_t + \sum_{i=1}^{t} v_i\,(k_i^\top q_t) \tag{7.1} $$

# %%
verify("7.1")

# %% [markdown]
# The first part needs one state, the one that *enters* the chunk. The second needs only overlaps of the chunk's own keys and
# queries: numbers, not memories. Nobody has to know the memory after token 3.
#
# Check it: both tokens of the chunk in one go. You should get 4 and 10.

# %%
Q, K, V = q[2:], k[2:], v[2:]                                           # (C, K), (C, K), (C, V)
S = torch.tensor([[1.0, 2.0]])                                          # (V, K)  what enters
own = (Q @ K.T).tril() @ V                                              # (C, V)  what the chunk itself wrote
earlier = Q @ S.T                                                       # (C, V)  what was there before
(own + earlier).flatten()

# %% [markdown]
# ## The general form
#
# Write $Q_{[n]}$, $K_{[n]}$, $V_{[n]}$ for the C rows of chunk $n$. The state moves from chunk to chunk by adding all writes at once: a sum of outer
# products is a matrix product.
#
# $$ S_{[n+1]} = S_{[n]} + V_{[n]}^\top K_{[n]} \tag{7.2} $$

# %%
verify("7.2")

# %% [markdown]
# And equation 7.1 for all tokens of a chunk, one row each:
#
# $$ O_{[n]} = Q_{[n]} S_{[n]}^\top + \operatorname{tril}\!\big(Q_{[n]} K_{[n]}^\top\big)\, V_{[n]} \tag{7.3} $$

# %%
verify("7.3")

# %% [markdown]
# *Proof.* Row $t$ of $QS^\top$ is $(S q_t)^\top$. Entry $(t, i)$ of $\operatorname{tril}(QK^\top)$ is $k_i^\top q_t$ for $i \le t$ and 0
# otherwise, so row $t$ of its product with $V$ is the sum in 7.1. ∎
#
# In the picture, every square on or below the diagonal is a pair of tokens (reader, writer). The parallel form computes each
# of them. Here only the blue ones are computed. All orange ones of a row come in one read of the state.

# %%
chunks.triangle(12, 4);

# %%
predict("7.b")

# %% [markdown]
# The five stations of every chunkwise algorithm in this book, kernels included:
#
# | station | linear attention |
# |---|---|
# | **load** | $Q, K, V$ of the chunk |
# | **within the chunk** | $\operatorname{tril}(QK^\top)\,V$ |
# | **across chunks** | $Q S^\top$ |
# | **update** | $S + V^\top K$ |
# | **store** | $O$ |
#
# Only *update* is sequential: $S_{[n+1]}$ needs $S_{[n]}$. Everything else can be done for all chunks at the same time, once the
# states are known. The package does it that way:

# %%
show(linear_attention_chunkwise)

# %% [markdown]
# `chunk` cuts (B, T, H, D) into (N, B, H, C, D). The loop only adds up matrices; the products before and after it have a batch
# of $N \cdot B \cdot H$ tiles.

# %% [markdown]
# ## A ragged tail
#
# What if T is not a multiple of C? `chunk` fills the last one with rows of zeros. Is that allowed? A zero key and a zero value
# write nothing, a zero query reads zero, and its rows are cut off at the end. So every T should agree with the loop.

# %%
for T in (1, 63, 64, 65, 100):
    q, k, v = (torch.randn(2, T, 3, 8, dtype=torch.float64) for _ in range(3))
    o, S = linear_attention_chunkwise(q, k, v, chunk_size=64)
    o_loop, S_loop = linear_attention_recurrent(q, k, v)
    print(f"T = {T:3}   {-(-T // 64)} chunk(s)   equal: {torch.allclose(o, o_loop) and torch.allclose(S, S_loop)}")

# %% [markdown]
# The state that leaves is also what makes streaming possible. A text that arrives in pieces, of whatever length, gives the same
# outputs as in one go if each piece starts from the state that the last one left.

# %%
q, k, v = (torch.randn(1, 100, 2, 8, dtype=torch.float64) for _ in range(3))
S, pieces = None, []
for piece in (slice(0, 7), slice(7, 71), slice(71, 100)):
    o, S = linear_attention_chunkwise(q[:, piece], k[:, piece], v[:, piece], initial_state=S, chunk_size=16)
    pieces.append(o)
torch.allclose(torch.cat(pieces, 1), linear_attention_recurrent(q, k, v)[0])

# %% [markdown]
# ## What C costs
#
# Count the arithmetic of one chunk. $QS^\top$ and $V^\top K$ are $2Cd_kd_v$ FLOPs each; $QK^\top$ is $2C^2d_k$, and the product with
# $V$ is $2C^2d_v$. Per head, with $T/C$ chunks:
#
# $$ \text{FLOPs}(C) = T\,\big(4d_kd_v + 2C(d_k + d_v)\big), \qquad \text{sequential steps}(C) = \lceil T / C\rceil \tag{7.4} $$

# %%
verify("7.4")

# %% [markdown]
# That `verify` did not trust the formula: it counted the FLOPs of the matrix products that PyTorch executed.
#
# C = 1 is the loop and C = T the parallel form: two ends of one family. In between, each doubling of C halves the steps, at a
# price.

# %%
predict("7.c")

# %%
T, K, V = 4096, 64, 64
q, k, v = tokens[T]
sizes = [4, 8, 16, 32, 64, 128, 256, 512, 1024]
work = [sum(flops(linear_attention_chunkwise, q, k, v, chunk_size=C).values()) / 1e6 for C in sizes]
spent = [1e3 * seconds(linear_attention_chunkwise, q, k, v, chunk_size=C, rounds=5) for C in sizes]
for C, m, ms in zip(sizes, work, spent):
    print(f"C = {C:4}   steps {T // C:4}   {m:6.0f} MFLOP   {ms:6.2f} ms")

# %%
formula = [T * (4 * K * V + 2 * C * (K + V)) / 1e6 for C in sizes]
chunks.cost(sizes, work, formula, spent, loop[-1], once[-1], T);

# %% [markdown]
# On the left, the work: flat while C is small against $2d_kd_v/(d_k+d_v)$, here 64, and proportional to C beyond it. The gray line
# is below the measured one by the additions and maskings that 7.4 leaves out.
#
# On the right, the time. Too small a C pays for many steps; too large a C pays for arithmetic that nobody needs. The valley in
# between is broad, and it beats both ends. On a GPU the valley lies at 64 to 128: there a chunk must also be large enough to
# fill a matrix unit, as chapter 11 will show.

# %% [markdown]
# ## Now the delta rule?
#
# Try the same trick. Equation 7.2 sums the writes of a chunk before the next one starts. For the delta rule the write of token
# $t$ is $\beta_t(v_t - S_{t-1}k_t)\,k_t^\top$: it depends on what the tokens before it *in the same chunk* have written. Chapter 5
# began with what happens if one ignores that.
#
# There is a way that needs no new idea about keys. One token of the delta rule is an affine map of the memory:
#
# $$ S \;\mapsto\; S M_t + X_t, \qquad M_t = I - \beta_t k_t k_t^\top, \quad X_t = \beta_t v_t k_t^\top \tag{7.5} $$
#
# ($M_t$ is $d_k \times d_k$. $X_t$ has the shape of the memory, $d_v \times d_k$: what a token adds to it. Chapter 8 will call another matrix $X$, with
# one row per token.)

# %%
verify("7.5")

# %% [markdown]
# Two maps in a row are again such a map. In numbers first, with K = V = 1: "double it and add 1", then "triple it and add 5".
# Start from 10: first 21, then 68. As one map: times 6, plus 8. The 6 is $2 \cdot 3$, the 8 is $1 \cdot 3 + 5$. Try another start:

# %%
S = 4.0
(S * 2 + 1) * 3 + 5, S * 6 + 8

# %% [markdown]
# In general $(S M_1 + X_1)M_2 + X_2 = S\,M_1M_2 + (X_1M_2 + X_2)$, so
#
# $$ (M_1, X_1)\circ(M_2, X_2) = \big(M_1 M_2,\; X_1 M_2 + X_2\big) \tag{7.6} $$

# %%
verify("7.6")

# %% [markdown]
# Read it as a sentence: *what the first token wrote passes through the erasure of the second.*
#
# Because it is the composition of functions, grouping does not matter:
#
# $$ (a \circ b)\circ c = a\circ(b\circ c) \tag{7.7} $$

# %%
verify("7.7")

# %% [markdown]
# And that is all a **parallel scan** needs. Let every token start as its own map. In the first round, join each with its left
# neighbor: now each entry stands for two tokens. In the second round, join with the entry two places to the left: four tokens.
# After $\log_2 T$ rounds every entry stands for all tokens up to its own.

# %%
chunks.rounds(8);

# %% [markdown]
# A blue line is one composition; green entries are finished. Eight tokens need three rounds, and within a round nothing waits.
# Tokens 9 to 16 would cost one more round.

# %%
from deltanet_edu.ops.delta_rule.scan import compose, inclusive_scan

show(compose)
show(inclusive_scan)

# %% [markdown]
# It is exact. Any length, any entering state:

# %%
for T in (1, 5, 64, 100):
    q, k = (normalize(torch.randn(1, T, 2, 8, dtype=torch.float64), dim=-1) for _ in range(2))
    v, beta = torch.randn(1, T, 2, 5, dtype=torch.float64), torch.rand(1, T, 2, dtype=torch.float64)
    S0 = torch.randn(1, 2, 5, 8, dtype=torch.float64)
    o, S = delta_rule_scan(q, k, v, beta, initial_state=S0)
    o_loop, S_loop = delta_rule_recurrent(q, k, v, beta, initial_state=S0)
    print(f"T = {T:3}   equal: {torch.allclose(o, o_loop) and torch.allclose(S, S_loop)}")

# %% [markdown]
# ## Why nobody scans the delta rule
#
# Eleven rounds instead of 2,048 steps.

# %%
predict("7.d")

# %%
T, K, V = 2048, 64, 64
q, k = (normalize(torch.randn(1, T, 1, K), dim=-1) for _ in range(2))
v, beta = torch.randn(1, T, 1, V), torch.rand(1, T, 1)
for name, f in {"token loop": delta_rule_recurrent, "scan": delta_rule_scan}.items():
    gflop = sum(flops(f, q, k, v, beta).values()) / 1e9
    print(f"{name:11} {1e3 * seconds(f, q, k, v, beta, rounds=1):7.0f} ms   {gflop:7.3f} GFLOP")

# %% [markdown]
# The scan does several hundred times the arithmetic. Here is the bill, per head:
#
# $$ \text{memory} = T\,d_k\,(d_k + d_v), \qquad \text{one composition} = 2d_k^3 + 2d_vd_k^2 \text{ FLOPs} \tag{7.8} $$

# %%
verify("7.8")

# %% [markdown]
# Two things went wrong at once.
#
# * **Arithmetic.** The loop applies $I - \beta kk^\top$ to the memory in about $6d_kd_v$ FLOPs, because it is the identity plus one outer
#   product. The scan multiplies full matrices. After one round the products are no longer that simple, and it has no choice.
# * **Memory.** It keeps a $d_k \times d_k$ and a $d_v \times d_k$ matrix for *every token*, where the loop keeps one memory.
#
# Models with a diagonal transition (chapter 14) do scan: a product of diagonal matrices costs $d_k$ multiplications and
# stays diagonal. For the delta rule, look at the bill as the head gets wider.

# %%
widths = [16, 32, 64, 128, 256]
pairs = [2048 * K * 2 * K * 4 / 1e6 for K in widths]
inputs = [2048 * 3 * K * 4 / 1e6 for K in widths]
held = {"pairs (M, X) of a scan": (widths, pairs), "q, k and v themselves": (widths, inputs)}
lines(held, xlabel="head width K = V", ylabel="MB per head, float32", log="xy", xticks=widths, looks=("red", "blue"),
      title="What must be held for T = 2,048 tokens", alt="Line plot of what a scan holds and of what it is given.");

# %% [markdown]
# At a width of 128 the pairs take 268 MB a head, to process 3 MB of queries, keys and values.
#
# ## What the right algorithm will do
#
# Put the two halves of this chapter together. Linear attention taught us to go chunk by chunk: products inside, a short
# recurrence across. The scan taught us that a chunk of the delta rule *is one map*, $S \mapsto S M + X$. And chapter 5 taught us what
# that map looks like for C tokens: $M = I - W^\top K$ and $X = U^\top K$, with C rows in each factor. Never form $M$; apply it,
#
# | | scan | chunk by chunk, with WY |
# |---|---|---|
# | the map of C tokens is held as | $M$ ($d_k \times d_k$), $X$ ($d_v \times d_k$) | $W$, $K$ ($C \times d_k$), $U$ ($C \times d_v$) |
# | applying it to $S$ | $2d_vd_k^2$ | $4Cd_vd_k$ |
# | two maps are joined | $2d_k^3 + 2d_vd_k^2$ | never |
#
# We give up the logarithm: $T/C$ steps follow one another, 32 of them for 2,048 tokens. In exchange each step is made of
# matrix products of the size that machines like best. Chapter 8 does it.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | **the idea** | a read is a sum: old memory plus the chunk's own writes (7.1) |
# | **across chunks** | $S' = S + V^\top K$ (7.2) |
# | **within a chunk** | $O = QS^\top + \mathrm{tril}(QK^\top)V$ (7.3) |
# | **cost** | $T(4d_kd_v + 2C(d_k+d_v))$ FLOPs in $\lceil T/C \rceil$ steps (7.4); C = 1 is the loop, C = T the parallel form |
# | **ragged tail** | pad with zero rows: they write nothing |
# | **the delta rule as a scan** | $(M_1M_2,\; X_1M_2 + X_2)$ (7.6): exact, associative, and far too expensive (7.8) |
# | **in the package** | `linear_attention_chunkwise`; `ops/delta_rule/scan.py`: `compose`, `inclusive_scan`, `delta_rule_scan` |

# %% [markdown]
# ## In other notations
#
# * The paper writes the chunkwise form of linear attention in its section 2.1, with the same $S \in \mathbb{R}^{d_v \times d_k}$ and
#   $M$ for our causal mask, so $\mathrm{tril}(QK^\top)$ is $QK^\top \odot M$ there.
# * flash-linear-attention keeps the transpose of $S$: its update is $S + K^\top V$, its read $Q S$.
# * With the state transposed the order of every product in 7.6 turns around as well. A well-known article has the operator with one
#   product turned around and the other not; exercise 7.4 finds out which.
# * Blelloch's scan needs about $2T$ compositions instead of $T\log_2 T$, in twice as many rounds. It does not change the verdict: one
#   composition takes $2d_k^3 + 2d_vd_k^2$ FLOPs and a token of the loop $6d_kd_v$, so with $d_k = d_v = d$ it costs as much as $2d/3$ tokens.

# %% [markdown]
# ## Further reading
#
# * W. Hua, Z. Dai, H. Liu, Q. V. Le (2022). *Transformer quality in linear time.* ICML;
#   [arXiv:2202.10447](https://arxiv.org/abs/2202.10447). Linear attention in chunks.
# * Y. Sun et al. (2023). *Retentive network: a successor to Transformer for large language models.*
#   [arXiv:2307.08621](https://arxiv.org/abs/2307.08621). Recurrent, parallel and chunkwise forms of one layer.
# * S. Yang, B. Wang, Y. Shen, R. Panda, Y. Kim (2024). *Gated linear attention transformers with hardware-efficient training.* ICML;
#   [arXiv:2312.06635](https://arxiv.org/abs/2312.06635). Chunks on a GPU.
# * W. D. Hillis, G. L. Steele (1986). *Data parallel algorithms.* Communications of the ACM 29(12), 1170–1183. The scan above.
# * G. E. Blelloch (1990). *Prefix sums and their applications.* Technical report CMU-CS-90-190, Carnegie Mellon University.
# * E. Martin, C. Cundy (2018). *Parallelizing linear recurrent neural nets over sequence length.* ICLR;
#   [arXiv:1709.04057](https://arxiv.org/abs/1709.04057). Scans for diagonal recurrences, and the title that the DeltaNet paper answers.
#
# **Now the exercises.** Number 7.4 asks you to repair a formula that was really printed.
