# %% [markdown]
# # 1. Attention as memory
#
# *What a matrix can remember, and what it cannot.*

# %% [markdown]
# ## Twelve pictures in one matrix
#
# A memory should do two things: take in pairs of a key and a value, and give the value back when asked with the key. Here
# the values are twelve pictures of 64 pixels. Each gets a random direction in 24 dimensions as its key.

# %%
import torch
from torch.nn.functional import elu, normalize

from deltanet_edu import ops
from deltanet_edu.figures import attention, lines
from deltanet_edu.figures.memory import writes
from deltanet_edu.figures.pictures import pictures, show_pictures
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)         # so that differences are not rounding
torch.set_printoptions(precision=3, sci_mode=False)

names, X = pictures()                          # X: (12, 64), +1 for ink and -1 for paper
show_pictures(X, names);

# %% [markdown]
# The memory is one matrix of 64 × 24 numbers. Storing a pair adds its outer product $v\,k^\top$; asking is a product
# with the key. We store one picture after another, and after each ask for the first one: the cat.

# %%
torch.manual_seed(1)
tags = normalize(torch.randn(12, 24), dim=-1)  # (N, K)  a unit key per picture
S, answers = torch.zeros(64, 24), []           # (V, K)  an empty memory
for k, v in zip(tags, X):
    S = S + v[:, None] * k[None, :]            # store
    answers.append(S @ tags[0])                # ask for the cat

shown = [1, 2, 4, 6, 9, 12]
show_pictures(torch.stack([answers[n - 1] for n in shown]), [f"{n} stored" for n in shown], limit=1.5);

# %% [markdown]
# The cat fades behind the ghosts of the others. Now the same twelve keys and the same question, with softmax attention:

# %%
weights = torch.softmax(20 * tags @ tags[0], 0)       # (N,)  20 is the scale s of (1.1), below
show_pictures(torch.stack([answers[-1], weights @ X]), ["matrix", "softmax"], limit=1.5);

# %% [markdown]
# Spotless. But attention keeps every key and every value: its memory grows with each pair, and so does the work of
# asking. The matrix has 64 × 24 numbers after one picture, after twelve, after a million.
#
# Where do the ghosts come from? How many pairs fit? And can the matrix do better? This chapter answers the first two
# questions; the third takes the rest of the book.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * derive linear attention from softmax attention by moving one pair of brackets;
# * write it in two forms, token by token and all at once, and show that they agree;
# * predict how loud the crosstalk in a memory is, from two numbers;
# * say what a feature map buys, and what it costs;
# * say what a memory that only adds cannot do, and what the delta rule will change.
#
# You need matrix products, softmax, and means and variances of sums. Reading and running takes about an hour, the
# exercises an hour and a half. In the package, the chapter builds `deltanet_edu/ops/linear_attention.py`.

# %% [markdown]
# ## Three questions to warm up
#
# Answer each in your head, then open it.
#
# <details><summary>1. v has 5 entries and k has 3. What is the shape of the outer product v kᵀ, and what is its rank?</summary>
#
# (5, 3), with entry $v_a k_b$ in row $a$ and column $b$. Its rank is 1: every row is a multiple of k.
#
# </details>
#
# <details><summary>2. k is a unit vector. For which unit vector q is the dot product k·q largest? For which is it zero?</summary>
#
# For q = k it is 1. It is zero for every q at a right angle to k. In between it is the cosine of the angle.
#
# </details>
#
# <details><summary>3. Sixteen independent random numbers have mean 0 and variance 1/64 each. How large is their sum, typically?</summary>
#
# The variances add up to 1/4, so its standard deviation is 1/2. Sums of independent noise grow like the square root of
# their number.
#
# </details>

# %% [markdown]
# ## A dictionary that always answers
#
# Python's dictionary wants the key exactly; ask it for something similar, and it has nothing to say. Attention is a
# dictionary whose keys are *vectors*. Similar things have similar keys: `kitten` points nearly where `cat` does, `car`
# at a right angle to it.

# %%
keys = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])      # (N, K)  cat, kitten, car
values = torch.tensor([[3.0], [4.0], [10.0]])                  # (N, V)
q = keys[0]                                                    # (K,)    ask for the cat
predict("1.a")

# %%
for s in (1, 5, 20):
    weights = torch.softmax(s * keys @ q, 0)                   # (N,)
    print(f"s = {s:2}   weights", *(f"{w:.3f}" for w in weights), f"  answer {weights @ values[:, 0]:.3f}")

# %% [markdown]
# Every key is compared with the query, and the answer is an average of all values. The scale $s$ sets how picky the
# comparison is; for large $s$ we are back at a dictionary. In a sequence, token $t$ asks with its own query $q_t$, and
# sees only the pairs that have come so far:
#
# $$ o_t = \sum_{i \le t} \frac{\exp(s\, q_t^\top k_i)}{\sum_{j \le t} \exp(s\, q_t^\top k_j)}\; v_i \tag{1.1} $$

# %%
verify("1.1")

# %% [markdown]
# For every new query, (1.1) needs *all* keys and values so far. After $T$ tokens that is $T(d_k + d_v)$
# numbers to keep, and $T$ comparisons for one answer.

# %% [markdown]
# ## Take the softmax away
#
# What keeps us from summarizing the past? The exponential: it ties each $k_i$ to the query. So drop it, together with the
# denominator, and let the plain score be the weight. A product of three things can then be bracketed in two ways,
# $v_i\,(k_i^\top q) = (v_i k_i^\top)\,q$, and on the right the query leaves the sum.

# %%
answer = sum(v * (k @ q) for k, v in zip(keys, values))                # (V,)    q meets every key
S = sum(v[:, None] * k[None, :] for k, v in zip(keys, values))         # (V, K)  made without knowing q
print("one by one:", answer.item(), "  from S:", (S @ q).item())

# %% [markdown]
# The same number from both: $3 \cdot 1 + 4 \cdot 0.8 + 10 \cdot 0 = 6.2$. No longer an average, and further from 3 than
# we would like; more on that later. First see what we have won. The keys and values are in $S$ and can be thrown away:
# any later query needs only the matrix.
#
# > **The whole idea.** $\;\sum_i v_i\,(k_i^\top q) \;=\; \big(\sum_i v_i k_i^\top\big)\, q.\;$ On the left a list that
# > grows; on the right a matrix that does not.
#
# Written for a sequence, it is a memory with one write and one read per token:
#
# $$ S_t = S_{t-1} + v_t k_t^\top, \qquad o_t = S_t q_t \tag{1.2} $$

# %%
verify("1.2")

# %% [markdown]
# ## What a write looks like
#
# Three pairs, with three key dimensions and two value dimensions. Each outer product stands between its value, upright,
# and its key, lying flat; below is the memory after it was added.

# %%
k = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
v = torch.tensor([[3.0, 1.0], [-2.0, 2.0], [1.0, 4.0]])
writes(k, v, ["cat", "dog", "lynx"]);

# %% [markdown]
# A key that is an axis fills one column, as an address would. `lynx` lies between two axes, so its value is spread over
# two columns: 0.6 parts into the first, where `cat` is, and 0.8 parts into the second. Reading with `dog` picks the
# third column, which nobody else touched: (-2, 2), as stored. Reading with `cat` picks the first, and gets some lynx.
#
# Here is (1.2) in the package, for a batch of sequences and several heads. Two lines of it are the equation; the rest is
# bookkeeping.

# %%
show(ops.linear_attention_recurrent)

# %% [markdown]
# ## All tokens at once
#
# The loop does one small product after the other. For training, all $T$ outputs should come out of a few large ones.
# Put the tokens' queries, keys and values into the rows of matrices $Q$, $K$, $V$. (In code and in a shape such as (T, K), K
# is still a number, the width $d_k$.) Then $Q K^\top$ holds the score of every query (row) with every key (column).

# %%
predict("1.b")

# %% [markdown]
# Four tokens with one and the same unit key, and the values 1, 10, 100, 1000: every score is 1, so each output shows
# which values it was made from.

# %%
q = k = torch.tensor([[1.0, 0.0]]).expand(4, 2)                # (T, K)
v = torch.tensor([[1.0], [10.0], [100.0], [1000.0]])           # (T, V)
print((q @ k.T).tril())
print(((q @ k.T).tril() @ v).T)

# %% [markdown]
# In general, row $t$ of $\mathrm{tril}(QK^\top)$ holds $q_t^\top k_i$ for $i \le t$ and zeros after. Times $V$, it gives
# $\sum_{i \le t} (q_t^\top k_i)\,v_i$. That is $o_t$ with the brackets in their other place:
#
# $$ O = \mathrm{tril}(Q K^\top)\, V \tag{1.3} $$
#
# It is softmax attention with the softmax deleted: the same mask, the same two products, the same $T^2$ scores.

# %%
verify("1.3")
show(ops.linear_attention_parallel)

# %% [markdown]
# ## The best of both: a preview
#
# The loop takes $T$ steps, one after the other. The parallel form takes one, but with $T^2$ scores. Between them lies a
# third: cut the sequence into chunks of $C$ tokens, be parallel within a chunk, and hand the memory on from chunk to
# chunk. For the rows $Q, K, V$ of one chunk and the memory $S$ that enters it:
#
# $$ S' = S + V^\top K, \qquad O = Q S^\top + \mathrm{tril}(Q K^\top)\, V \tag{1.4} $$
#
# Each token reads what earlier chunks left, $Q S^\top$, and what its own chunk has written so far. Chapter 7 derives
# it; here we only see that the three forms are one function.

# %%
verify("1.4")
torch.manual_seed(0)
q, k = torch.randn(2, 1, 100, 2, 8)                                    # each (B, T, H, K)
v = torch.randn(1, 100, 2, 5)                                          # (B, T, H, V)
o, S = ops.linear_attention_recurrent(q, k, v)
others = {"parallel": ops.linear_attention_parallel(q, k, v)}
for C in (1, 16, 64, 100):
    others[f"chunks of {C}"] = ops.linear_attention_chunkwise(q, k, v, chunk_size=C)
for name, (o2, S2) in others.items():
    print(f"{name:14} agrees with the loop: {torch.allclose(o, o2) and torch.allclose(S, S2)}")

# %% [markdown]
# | form | steps, one after the other | numbers kept per head | multiplications per head |
# |---|---|---|---|
# | token by token (1.2) | $T$ | $d_k d_v$ | $2\,T d_k d_v$ |
# | all at once (1.3) | 1 | $T^2$ | $T^2 (d_k + d_v)$ |
# | chunks of $C$ (1.4) | $T / C$ | $d_k d_v + C^2$ | $2\,T d_k d_v + T C\,(d_k + d_v)$ |
#
# The first form is for generating text, the second for short sequences, the third for training on long ones. DeltaNet
# will have the same three, and getting the third is what most of this book is about.

# %% [markdown]
# ## Where the ghosts come from
#
# Store $N$ pairs and ask with the key of pair $j$. The sum (1.2) splits into the pair we asked for and the rest:
#
# $$ S k_j = v_j\,(k_j^\top k_j) + \sum_{i \ne j} v_i\,(k_i^\top k_j) \tag{1.5} $$

# %%
verify("1.5")

# %% [markdown]
# The first term is the **signal**: for a unit key exactly $v_j$. The second is **crosstalk**: every other value, as
# loud as its key overlaps ours. It vanishes if the keys are orthogonal.
#
# Two keys in the plane show it at a glance. `cat` holds 3, the other key holds 4. Turn the query through all
# directions: the reading $S q$ is a cosine, and it should pass through both dots.

# %%
turn = torch.linspace(-0.6, 2.2, 200)          # the angle of the query, in radians
cases = {}
for angle, title in ((90, "keys at a right angle"), (37, "keys 37° apart, overlap 0.8")):
    angles = torch.deg2rad(torch.tensor([0.0, angle]))
    k = torch.stack([angles.cos(), angles.sin()], 1)           # (2, K)
    S = torch.tensor([[3.0, 4.0]]) @ k                         # (V, K)
    reading = torch.stack([turn.cos(), turn.sin()], 1) @ S.T
    cases[title] = angles.rad2deg(), [3, 4], reading, (k @ S.T)[:, 0]
attention.turning(turn.rad2deg(), cases);

# %% [markdown]
# At a right angle each dot is hit. At 37 degrees `cat` reads $3 + 0.8 \cdot 4 = 6.2$, our number from above, and its
# neighbor reads $4 + 0.8 \cdot 3 = 6.4$. The dotted lines are the crosstalk.
#
# ## How many pairs fit?
#
# Without crosstalk: at most $d_k$. There are no more than $d_k$ mutually orthogonal directions in $d_k$ dimensions.
#
# With a little crosstalk, more. Let the keys be independent random unit vectors, as for the pictures; $d$ is short for
# $d_k$.

# %%
predict("1.c")

# %% [markdown]
# **The overlap of two random directions.** No direction is preferred, so $\mathbb{E}\,k k^\top$ is a multiple of the
# identity. Its trace is $\mathbb{E}\,k^\top k = 1$. So $\mathbb{E}\,k k^\top = I/d$, and the squared overlap with any
# fixed unit vector $x$ is $x^\top\,\mathbb{E}[k k^\top]\,x = 1/d$ on average.
#
# **Their sum.** Take the squared length of the crosstalk in (1.5). It has squares,
# $\lVert v_i \rVert^2 (k_i^\top k_j)^2$, and mixed terms, $(v_i^\top v_l)(k_i^\top k_j)(k_l^\top k_j)$. A random $k_i$
# is as likely as $-k_i$, so the mixed terms average to zero. The squares remain:
#
# $$ \mathbb{E}\,\lVert S k_j - v_j \rVert^2 = \frac{1}{d} \sum_{i \ne j} \lVert v_i \rVert^2 \tag{1.6} $$

# %%
verify("1.6")

# %% [markdown]
# An expectation, checked to ten digits? Of the keys, the proof used only $\mathbb{E}\,k = 0$ and
# $\mathbb{E}\,kk^\top = I/d$. Keys drawn from plus and minus the axes of a rotated frame have both, and there are few
# enough of them to try every combination.
#
# For values of length 1, the error has typical length $\sqrt{(N-1)/d}$: for prediction 1.c, $\sqrt{16/64} = 1/2$. Two
# numbers, $N$ and $d$, decide everything. Does it hold for actual random keys?

# %%
def stored(N, d, V=32, trials=100, seed=0):
    """Random unit keys (trials, N, d), random unit values (trials, N, V), and the memories."""
    g = torch.Generator().manual_seed(seed)
    k = normalize(torch.randn(trials, N, d, generator=g), dim=-1)
    v = normalize(torch.randn(trials, N, V, generator=g), dim=-1)
    return k, v, v.mT @ k                                      # (trials, V, d)

def squared_error(S, k, v):
    return (k @ S.mT - v).square().sum(-1)                     # (trials, N)

# %%
ratios = torch.tensor([1 / 8, 1 / 4, 1 / 2, 1, 1.5, 2, 3, 4])  # (N - 1) / d
errors = {d: [] for d in (16, 64, 128)}
for d in errors:
    for ratio in ratios:
        k, v, S = stored(int(ratio * d) + 1, d, trials=4000 // d)
        errors[d].append(squared_error(S, k, v).mean().sqrt())
attention.crosstalk(ratios, errors);

# %% [markdown]
# Three widths, one curve. Near $N = d$ the error is as long as the value. The cat with eleven ghosts had
# $\sqrt{11/24} \approx 0.68$.

# %% [markdown]
# ## Lost, or only noisy?
#
# Is the cat gone, then? To say *which* of the stored values was meant, noise hurts less: it spreads over all $d_v$
# dimensions, and only a small part of it points towards any wrong value. Call a pair **recalled** if its own value is
# the nearest of all $N$.

# %%
def recalled(S, k, v):
    """The share of pairs whose own value is nearest to what the memory says."""
    nearest = torch.cdist(k @ S.mT, v).argmin(-1)              # (trials, N)
    return (nearest == torch.arange(k.shape[-2])).double().mean().item()

print(f"pictures recalled: {recalled(X.T @ tags, tags, X):.3f}\n")

print("random keys, d = 32\n   N/d   error   recalled: V = 8   V = 32   V = 128")
for N in (8, 16, 32, 64, 128):
    k, v, S = stored(N, 32)
    shares = [recalled(S, k, v) for k, v, S in (stored(N, 32, V=V) for V in (8, 32, 128))]
    length = squared_error(S, k, v).mean().sqrt()
    print(f"{N / 32:6.2f}  {length:6.2f}          ", *(f"{share:8.3f}" for share in shares))

# %% [markdown]
# All twelve pictures are recalled, even the cat that we no longer recognize. At $N = d$, with an error as long as the
# value, 98 % of 32-dimensional values are. So "capacity" has no single number: say which error you can live with.
#
# ## More room for the same keys
#
# To fit more pairs we need more columns, and keys that use them. A **feature map** $\phi$ turns each key into a longer
# one. Everything so far carries over, with $\phi(k)$ for $k$ and $\phi(q)$ for $q$:
#
# $$ o_t = \sum_{i \le t} v_i\,\big(\phi(k_i)^\top \phi(q_t)\big) = \Big(\sum_{i \le t} v_i\,\phi(k_i)^\top\Big)\,\phi(q_t) \tag{1.7} $$

# %%
verify("1.7")

# %% [markdown]
# The score $\phi(k)^\top\phi(q)$ is called a *kernel*. The simplest one that helps takes all products of two entries.
# It squares the overlap: 1 stays 1, and 0.1 becomes 0.01. Small overlaps all but vanish, at the price of $d^2$ columns.
#
# The original linear transformer used another map, $\mathrm{elu}(x) + 1$ entry by entry, which makes all features
# positive. Which makes room?

# %%
def outer(x):
    """(..., d) -> (..., d²): all products of two entries."""
    return (x[..., :, None] * x[..., None, :]).flatten(-2)

x, y = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0])
print(outer(x), outer(y))
print(f"overlap {x @ y:.2f} becomes {outer(x) @ outer(y):.2f}")
predict("1.d")

# %%
torch.manual_seed(0)
k = normalize(torch.randn(1000, 32), dim=-1)
for name, phi in {"x": lambda x: x, "elu(x) + 1": lambda x: elu(x) + 1, "all products": outer}.items():
    overlaps = phi(k) @ phi(k).T
    signal, crosstalk = overlaps.diagonal().mean(), overlaps[~torch.eye(1000, dtype=torch.bool)]
    share = (crosstalk / signal).square().mean()               # error² per stored pair
    print(f"{name:12}  {phi(k).shape[1]:4} columns   error as long as the value at N = {1 / share:5.1f}")

# %% [markdown]
# Positive features are a poor memory for random keys: all overlaps are positive and nothing cancels. They were chosen
# for another reason. Positive scores can be divided by their sum, so the answer is an average again:
#
# $$ o_t = \frac{\sum_{i \le t} v_i\,\big(\phi(k_i)^\top \phi(q_t)\big)}{\sum_{i \le t} \phi(k_i)^\top \phi(q_t)} \tag{1.8} $$

# %%
verify("1.8")

# %% [markdown]
# The sum below is a memory too: a vector $z_t = \sum_{i \le t} \phi(k_i)$, read with $\phi(q_t)$. DeltaNet leaves it
# out and normalizes the output instead (chapter 14).
#
# The 363 for squared overlaps is no accident. Between random unit vectors,
#
# $$ \mathbb{E}\,(k_i^\top k_j)^2 = \frac{1}{d}, \qquad \mathbb{E}\,(k_i^\top k_j)^4 = \frac{3}{d\,(d+2)} \tag{1.9} $$

# %%
verify("1.9")

# %% [markdown]
# With all products, the error per pair is the *fourth* power of the overlap, and room grows from $d$ to $d(d+2)/3$: for
# $d = 32$, to 363.
#
# <details><summary>Where does the 3 come from?</summary>
#
# Let $g$ have $d$ independent standard normal entries. Then $g = \lVert g \rVert\,k$ with a random unit vector $k$ that
# is independent of the length. Compare fourth moments of the first entry:
# $3 = \mathbb{E}\,g_1^4 = \mathbb{E}\lVert g \rVert^4\;\mathbb{E}\,k_1^4$, and $\mathbb{E}\lVert g \rVert^4 = d(d+2)$.
#
# </details>

# %% [markdown]
# ## The feature map of softmax
#
# Which feature map has the kernel $\exp(s\,q^\top k)$? Write out the series:
#
# $$ \exp(s\, q^\top k) = \sum_{n=0}^{\infty} \frac{s^n}{n!}\,(q^\top k)^n \tag{1.10} $$

# %%
verify("1.10")

# %% [markdown]
# The term of order $n$ is the kernel of all products of $n$ entries: $d^n$ features. Softmax attention is (1.8) with
# *all* of them, and its memory would be a matrix with infinitely many columns. No one stores that; one stores the list
# of pairs instead. The trade of the first page in one sentence: **softmax attention is linear attention with
# an infinite feature map, and pays for it by keeping the list.**

# %% [markdown]
# ## Adding is not overwriting
#
# One failure is left, and no kernel cures it.

# %%
predict("1.e")

# %%
cat = torch.tensor([1.0, 0.0])
S = torch.zeros(1, 2)                          # (V, K)
S = S + 3.0 * cat                              # store 3
S = S + 5.0 * cat                              # store 5, which should replace it
weights = torch.softmax(20 * torch.stack([cat, cat]) @ cat, 0)
print("matrix:", (S @ cat).item(), "  softmax attention:", (weights @ torch.tensor([3.0, 5.0])).item())

# %% [markdown]
# Eight: not the old value, not the new one, nothing ever stored. The crosstalk formula (1.5) says why: the other key
# overlaps ours by 1. A feature map does not help, since equal keys have equal features. Softmax attention does not help
# either: equal keys get equal weights, and it answers with the mean.
#
# Text does this all the time: a variable is assigned again, a character leaves the room, a meeting moves to Tuesday. A
# memory must be able to change its mind. Adding is not overwriting.
#
# ## What the delta rule will change, and what not
#
# Chapter 2 replaces the write by one that first looks: it reads what the memory says for $k_t$, and stores the
# *difference* to $v_t$. That is the delta rule. It is often said to have "more capacity". Let us be precise, before you
# have any stake in it.

# %%
predict("1.f")

# %% [markdown]
# We borrow the rule from the package, with full write strength ($\beta = 1$), and compare it with adding and with the
# best that any matrix could do, by least squares.

# %%
k, v, added = stored(32, 32, trials=200)                               # (trials, N, K), (trials, N, V), (trials, V, K)
keys, values = k[:, :, None], v[:, :, None]                            # (trials, T, H = 1, K or V)
_, delta = ops.delta_rule_recurrent(keys, keys, values, torch.ones(keys.shape[:3]))
best = v.mT @ torch.linalg.pinv(k.mT)
for name, S in {"adding": added, "the delta rule": delta[:, 0], "the best matrix": best}.items():
    print(f"{name:16} recalled {recalled(S, k, v):.3f}   error² {squared_error(S, k, v).mean():.3f}")

# %% [markdown]
# *Fewer* pairs than adding, although its squared error is lower. And there is room for all 32 that neither of them uses.
#
# Chapter 2 says why, and shows the streams for which the delta rule is made: keys that come back, with the same value or with
# a new one. There it wins by far.
# That is the case for it: **not a larger memory, but one that can correct itself.**

# %% [markdown]
# ## A place to rest: the same matrix in 1982
#
# Nothing later in the book needs this section. It is the story of where such memories come from, and you may come back to it.
#
# Take $\pm 1$ patterns $x_1, \dots, x_N$ and let each be its own key *and* its own value: $W = \sum_i x_i x_i^\top$.
# Neurons $a$ and $b$ are wired together by how often they agree. This is Hebb's rule, and $W$ is the memory of a
# **Hopfield network**. Given a damaged pattern, it repairs one entry at a time: $x_a$ becomes the sign of $(Wx)_a$. The
# diagonal of $W$ is set to zero, so that no entry votes for itself.

# %%
def repair(W, x, sweeps=3, seed=1):
    """Update entries one by one, in random order. Returns all patterns on the way, and their energies."""
    g, x = torch.Generator().manual_seed(seed), x.clone()
    path, energy = [x.clone()], [-0.5 * (x @ W @ x).item()]
    for a in [a for _ in range(sweeps) for a in torch.randperm(len(x), generator=g).tolist()]:
        if W[a] @ x != 0:
            x[a] = torch.sign(W[a] @ x)
        path.append(x.clone())
        energy.append(-0.5 * (x @ W @ x).item())
    return path, energy

# %% [markdown]
# Three pictures go into the network: cat, key and moon. Then 16 of the cat's 64 pixels are flipped.

# %%
torch.manual_seed(0)
damaged = X[0].clone()
damaged[torch.randperm(64)[:16]] *= -1
few = X[[names.index(name) for name in ("cat", "key", "moon")]]
path, energy = repair((few.T @ few).fill_diagonal_(0), damaged)
shown = [0, 16, 32, 48, 64]
show_pictures(torch.stack([path[n] for n in shown]), [f"{n} updates" for n in shown]);

# %% [markdown]
# Why does it come to rest at all? Hopfield's answer was an energy. When one entry changes from $x_a$ to $x'_a$,
#
# $$ E(x) = -\tfrac12\, x^\top W x, \qquad E(x') - E(x) = -(x'_a - x_a)\,(W x)_a \tag{1.11} $$

# %%
verify("1.11")

# %% [markdown]
# The new $x'_a$ has the sign of $(Wx)_a$. So $(x'_a - x_a)(Wx)_a$ is never negative, and every change lowers the
# energy. There are finitely many patterns: the network must come to rest, in a valley. The stored patterns are meant to
# be the valleys. Are they still, with all twelve pictures in the network?

# %%
path_all, energy_all = repair((X.T @ X).fill_diagonal_(0), damaged)
show_pictures(torch.stack([damaged, path_all[-1], path[-1]]), ["damaged", "12 stored", "3 stored"])
lines({"3 pictures stored": energy, "12 pictures stored": energy_all}, xlabel="updates of one pixel",
      ylabel="energy $E$", title="Downhill, but not always home", figsize=(6.4, 2.6),
      alt="Line plot of two energies that never rise.");

# %% [markdown]
# Downhill both times, and the second valley is a chimera: crosstalk has dug valleys where nothing was stored. For
# random patterns the network breaks down near $0.14\,d$ of them.
#
# ### Sharper kernels, deeper valleys
#
# The cure is the one we know. But for the diagonal, $Wx$ adds up the patterns, each weighted by its overlap
# $x_i^\top x$ with the query. Replace the overlap by a power of it, or its exponential, and the right pattern drowns
# out the rest. We flip 3 of 32 entries, update all entries once, and count the patterns that come back without a fault.
# The network of 1982 will give up at a handful. Where will the exponential?

# %%
def repaired(N, kernel, d=32, flips=3):
    """Of N random patterns, the share that one update restores after a few entries were flipped."""
    g = torch.Generator().manual_seed(N)
    trials = max(16, 6000 // N)
    x = torch.randint(0, 2, (trials, N, d), generator=g) * 2.0 - 1         # (trials, N, d)
    asked = x[:, :8].clone()
    where = torch.rand(asked.shape, generator=g).argsort(-1)[..., :flips]
    asked.scatter_(-1, where, -asked.gather(-1, where))
    answer = torch.sign(kernel(asked @ x.mT) @ x)                          # (trials, 8, d)
    return (answer == x[:, :8]).all(-1).double().mean()

# %%
counts = [2**n for n in range(1, 13)]
kernels = {"overlap (1982)": lambda z: z, "overlap²": lambda z: z**2, "overlap³": lambda z: z**3, "exp(overlap)": torch.exp}
shares = {name: (counts, [repaired(N, kernel) for N in counts]) for name, kernel in kernels.items()}
lines(shares, xlabel="patterns stored", ylabel="share repaired", log="x", looks=("red", "orange", "blue", "green"),
      title="32 neurons, four kernels", alt="Line plot of the share of patterns that one update repairs.");

# %% [markdown]
# Each power shifts the cliff to the right; the exponential still repairs nearly all of 4096 patterns in 32 neurons. Now
# let the entries be real numbers and divide by the sum of the weights. The update is then a softmax average of the
# patterns, and a whole gradient step on an energy:
#
# $$ x - \nabla E(x) = \sum_i \frac{\exp(s\, x^\top x_i)}{\sum_j \exp(s\, x^\top x_j)}\; x_i, \qquad E(x) = \tfrac12 \lVert x \rVert^2 - \tfrac1s \log \sum_i \exp(s\, x^\top x_i) \tag{1.12} $$

# %%
verify("1.12")

# %% [markdown]
# It goes downhill, too: $E(x') \le E(x) - \tfrac12 \lVert x' - x \rVert^2$ for the new $x' = x - \nabla E(x)$.
#
# *Proof.* Write $E(x) = \tfrac12 \lVert x \rVert^2 - f(x)$. Then $\nabla f(x) = x - \nabla E(x) = x'$, and $f$, a logarithm of a sum of
# exponentials, is convex: it lies above its tangents, $f(x') - f(x) \ge x'^\top (x' - x)$. So
# $E(x') - E(x) \le \tfrac12 \lVert x' \rVert^2 - \tfrac12 \lVert x \rVert^2 - x'^\top(x' - x) = -\tfrac12 \lVert x' - x \rVert^2$. ∎
#
# Compare with (1.1): keys and values are the patterns, the query is the state. *A modern Hopfield network is softmax
# attention*, as the one of 1982 is linear attention followed by a sign.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | a memory | $S$, one row per value dimension, one column per key dimension |
# | write, read | $S_t = S_{t-1} + v_t k_t^\top$, $\;o_t = S_t q_t$ (1.2) |
# | all at once | $O = \mathrm{tril}(QK^\top)V$ (1.3); chunk by chunk (1.4) |
# | asking with key $j$ | signal $v_j$, plus crosstalk: the other values, by overlap of keys (1.5) |
# | room | exact for $d$ orthogonal keys; error of length $\sqrt{N/d}$ for random ones (1.6) |
# | feature maps | more columns, smaller overlaps: $d(d+2)/3$ for squares (1.9), infinitely many for softmax (1.10) |
# | Hopfield | key = value = pattern: 1982 is linear attention, modern is softmax attention (1.12) |
# | the flaw | writes add up: `cat → 3`, `cat → 5` reads 8 |
#
# **Added to the package:** `deltanet_edu/ops/linear_attention.py`, with `linear_attention_recurrent`,
# `linear_attention_parallel` and `linear_attention_chunkwise`. **Your turn:** the exercises of chapter 1.

# %% [markdown]
# ## The same thing elsewhere
#
# | where | what differs |
# |---|---|
# | the DeltaNet paper (Yang et al., 2024) | nothing: $S_t \in \mathbb{R}^{d_v \times d_k}$, $o_t = S_t q_t$ |
# | the library flash-linear-attention | keeps $S^\top$, shape $(d_k, d_v)$, and multiplies $q$ by $1/\sqrt{d_k}$ unless told otherwise |
# | Katharopoulos et al., 2020 | keeps $S^\top$, with $\phi$ and the normalizer of (1.8) |
# | Schlag et al., 2021 | $W$ for $S$, "fast weights", $v \otimes \phi(k)$ for the outer product |
# | Hopfield, 1982 | $T$ for $W$; entries 0 and 1 |

# %% [markdown]
# ## Further reading
#
# * J. J. Hopfield, *Neural networks and physical systems with emergent collective computational abilities*, PNAS 79
#   (1982). Five pages.
# * D. J. Amit, H. Gutfreund, H. Sompolinsky, *Storing infinite numbers of patterns in a spin-glass model of neural
#   networks*, Physical Review Letters 55 (1985). The $0.14\,d$.
# * D. Krotov, J. J. Hopfield, *Dense associative memory for pattern recognition*, 2016,
#   [arXiv:1606.01164](https://arxiv.org/abs/1606.01164), and M. Demircigil et al., *On a model of associative memory
#   with huge storage capacity*, 2017, [arXiv:1702.01929](https://arxiv.org/abs/1702.01929). Powers, then the
#   exponential.
# * A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, *Transformers are RNNs*, 2020,
#   [arXiv:2006.16236](https://arxiv.org/abs/2006.16236). The moved bracket.
# * H. Ramsauer et al., *Hopfield networks is all you need*, 2020, [arXiv:2008.02217](https://arxiv.org/abs/2008.02217).
#   Equation (1.12).
# * I. Schlag, K. Irie, J. Schmidhuber, *Linear transformers are secretly fast weight programmers*, 2021,
#   [arXiv:2102.11174](https://arxiv.org/abs/2102.11174). Capacity, and the delta rule as the way out.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen, Y. Kim, *Parallelizing linear transformers with the delta rule over sequence
#   length*, 2024, [arXiv:2406.06484](https://arxiv.org/abs/2406.06484). The paper this book implements.
