# %% [markdown]
# # 0. Start here
#
# *A book that you run.*

# %% [markdown]
# ## A fact that keeps changing
#
# Somebody reads you a long text in which eight quantities come up again and again, each time with a new value: the water
# level, the price of bread, the temperature. After every sentence you are asked for the *first* of them. What do you need to
# remember? Eight numbers, and to cross out the old one when a new one comes.
#
# The next cells put two memories to this test. Each is one matrix. Run them with Shift+Enter.

# %%
import torch
from torch.nn.functional import normalize

from deltanet_edu.ops import delta_rule_recurrent, linear_attention_recurrent

torch.manual_seed(1)
facts, T, K = 8, 80, 64
keys = normalize(torch.randn(facts, K), dim=-1)          # (8, K)  a direction for each quantity
which = torch.randint(facts, (T,))                       # (T,)    which one comes up at token t
value = torch.randint(1, 10, (T,)).float()               # (T,)    and what it is now
which[0] = 0                                             # begin with the one we ask for

# %%
k, v = keys[which][None, :, None], value[None, :, None, None]        # (B=1, T, H=1, K), (B=1, T, H=1, V=1)
q = keys[0].expand_as(k)                                             # always the same question
adds, _ = linear_attention_recurrent(q, k, v)
corrects, _ = delta_rule_recurrent(q, k, v, beta=torch.ones(1, T, 1))

# %% tags=["figure:overwriting"]
from deltanet_edu.figures.overwriting import overwriting

told = (which == 0).nonzero()[:, 0]                                  # when the first quantity came up
truth = torch.stack([value[told[told <= t][-1]] for t in range(T)])
overwriting(truth, adds.flatten(), corrects.flatten(), told=told);

# %% [markdown]
# The black line is the truth; a dot marks each new value. The upper curve is a memory that *adds* what it is told to what it
# knows, so it answers with something like the sum of all values that the first quantity ever had. This is linear attention.
# The blue memory first asks itself what it would have said, and stores only the *difference*. This is the **delta rule**,
# and a network with such memories is a **DeltaNet**.
#
# Blue is not perfect: it wavers where the other seven quantities come up. Chapters 1 and 2 explain both curves.
#
# Why, then, did everybody add? Because adding is fast. A sum can be computed in any order, many tokens at once, and that is
# what a GPU wants. Correcting seems to need the memory of the token before, and so one token after the other. In 2024,
# [Yang, Wang, Zhang, Shen and Kim](https://arxiv.org/abs/2406.06484) found how to correct a whole chunk of tokens with a
# handful of matrix products. You will derive how, prove it, write it in PyTorch and on the GPU, and train with it.

# %% [markdown]
# ## Where the book goes
#
# | part | chapters | what you will have built by its end |
# |---|---|---|
# | I. Memory | 1 – 3 | a memory that corrects itself, one token at a time |
# | II. Algebra | 4 – 6 | the same memory as one triangular system: Householder matrices, the WY representation, the UT transform |
# | III. Parallelism | 7 – 9 | a chunk of tokens at once, forward and backward |
# | IV. GPU | 10 – 13 | both as Triton kernels, measured |
# | V. Models | 14 – 17 | a layer, its rivals, tests of memory, a small language model |
#
# What you build is a package, `deltanet_edu`. The lessons show its source, they do not copy it, so what you study is what
# runs.
#
# **After this chapter** you can run a lesson, work on an exercise, read the notation, and say what your machine can do.
# **You need** PyTorch and linear algebra: tensors, broadcasting, matrix products, gradients. **It takes** half an hour.

# %% [markdown]
# ## Three questions to warm up
#
# Every lesson has three, mostly on earlier chapters. Answer each in your head, then open it. Trying to remember is what
# makes you remember, even when it fails.
#
# <details><summary>1. S has shape (V, K). Which shape must q have for the product S q, and which shape does it return?</summary>
#
# (K,) goes in, (V,) comes out: one dot product for each of the V rows.
#
# </details>
#
# <details><summary>2. v has shape (V,) and k has shape (K,). What is the shape of v[:, None] * k[None, :]?</summary>
#
# (V, K). Entry (i, j) is $v_i k_j$. This is the outer product $v\,k^\top$.
#
# </details>
#
# <details><summary>3. What is kᵀk if k = (0.6, 0.8, 0)?</summary>
#
# 0.36 + 0.64 = 1. Such a k is called a *unit* vector: its length is 1.
#
# </details>

# %% [markdown]
# ## A matrix that remembers
#
# You have a value, v = (3, 5), and a key, k = (0.6, 0.8, 0). You store the value in a matrix S, by an outer product, and later
# you come back with the key.
#
# Before key experiments the book asks for a prediction. Commit to one, then click it.

# %%
from deltanet_edu.tutor import check, hint, predict, progress, show, verify

predict("0.a")

# %% [markdown]
# Then run on, and see.

# %%
v = torch.tensor([3.0, 5.0])                   # (V,)
k = torch.tensor([0.6, 0.8, 0.0])              # (K,)
S = v[:, None] * k[None, :]                    # (V, K)
print(S)
S @ k                                          # (V,)

# %%
from deltanet_edu.figures import memory

memory(S, title="S, one association");

# %% [markdown]
# The value came back. A matrix can be asked; it answers with what was stored under the key, times the key's squared length:
#
# $$ S = v k^\top, \qquad S k = v\,(k^\top k) \tag{0.1} $$

# %%
verify("0.1")

# %% [markdown]
# Every numbered equation of the book is followed by such a line. It has just computed both sides, in double precision, on
# inputs chosen to break a wrong formula, and they agree to ten digits. If you doubt an equation, you are one cell away from
# trying it yourself. With a key of length 5, say:

# %%
k_long = torch.tensor([3.0, 4.0, 0.0])
(v[:, None] * k_long[None, :]) @ k_long        # 25 times too much

# %% [markdown]
# This is why DeltaNet gives all keys the length 1. Chapter 2 comes back to it.

# %% [markdown]
# ## How a check talks to you
#
# An exercise is a function to write. Here is the first: add one association to a memory that may already hold others. As long
# as there is nothing to check, the check says so, and how long it may take.

# %%
def write(S, v, k):
    """S: (V, K), v: (V,), k: (K,). Returns the new memory, (V, K)."""
    raise NotImplementedError("0.1")

check("0.1", write)

# %% [markdown]
# Now an attempt. It looks right, but is it?

# %%
def write(S, v, k):
    """S: (V, K), v: (V,), k: (K,). Returns the new memory, (V, K)."""
    return S + k[:, None] * v[None, :]

check("0.1", write)

# %% [markdown]
# The check did not compare one number with another and say "wrong". It knows the mistakes that people make here, found
# which of them answers as yours does, and named it. Then it shows the smallest input on which it matters, and what to think
# about next.
#
# **Your turn.** Change the line above until the check says ✓. (It is two letters.) These are the three things a check can say:
#
# | | |
# |---|---|
# | ○ | nothing to check yet: `NotImplementedError`, `None` or `...` |
# | ✓ | right on all cases, and which cases those were |
# | ✗ | not yet: the mistake, if it is a known one, the smallest case, the next step |
#
# A check never stops the notebook, so *Run All* always runs to the end. If you are stuck, there are three hints, each
# stronger than the last. Run this cell once for each:

# %%
hint("0.1")

# %% [markdown]
# And when you have tried and want to see how it can be done, `solution("0.1")` shows it. What you have solved is recorded on
# your machine, and nowhere else. The next cell shows it; in the published notebook its answer is left out, since it is yours.

# %% tags=["your-machine"]
progress()

# %% [markdown]
# ## Where things are
#
# | folder | what is in it |
# |---|---|
# | `notebooks/` | the lessons, one a chapter. Read them, run them, change them. |
# | `exercises/` | the problem sets. Here you write. |
# | `solutions/` | the same, solved. They can wait. |
# | `deltanet_edu/` | the package: what the book builds |
#
# The links below each title lead from a lesson to its exercises and on to the next. If a notebook gets into a tangle, *Restart
# Kernel and Run All Cells* begins afresh. To try things out without losing the original, copy the notebook to a name that
# starts with `my_`: nothing in this project will ever touch it.
#
# *JupyterLab marks a notebook as changed as soon as it opens it, for it writes the version of your Python into it. If you only
# looked, close it without saving. `git pull`, which brings a newer book, refuses to replace a notebook that you have saved. Copy
# to `my_` what you want to keep (for a problem set, `deltanet-edu start 5` does it). Then `git stash` puts the changed ones aside.*
#
# To see how a function of the package is made, ask:

# %%
from deltanet_edu.ops.delta_rule.recurrent import sgd_step

show(sgd_step)

# %% [markdown]
# That is the delta rule, all of it. You are not expected to see why yet.

# %% [markdown]
# ## One notation
#
# A symbol has one name, in the text and in the code, from here to the last kernel.
#
# | symbol | code | shape | meaning |
# |---|---|---|---|
# | $B$, $T$, $H$ | `B`, `T`, `H` | | sequences in a batch, tokens in a sequence, heads |
# | $d_k$, $d_v$ | `K`, `V` | | how many entries a key and a value have |
# | $C$, $N$ | `C`, `N` | | tokens in a chunk, and how many chunks there are |
# | $q$, $k$ | `q`, `k` | (B, T, H, K) | queries (what we ask) and keys (where it is stored) |
# | $v$, $o$ | `v`, `o` | (B, T, H, V) | values (what we store) and outputs (what we read) |
# | $\beta$ | `beta` | (B, T, H) | write strength: 0 leaves the memory alone, 1 replaces |
# | $S$ | `S`, `state` | (B, H, V, K) | the memory: a row per entry of a value, a column per entry of a key |
# | $s$ | `scale` | | a factor on the queries; 1 unless something else is said |
#
# Three habits follow. Tokens are *rows*: a stack of keys is (T, K). The memory stands on the *left* of what it is asked:
# $o_t = S_t\,q_t$. And examples have K ≠ V wherever possible, so that a transposed matrix is an error and not a coincidence.
#
# Every way of computing the delta rule in this book takes the same arguments and returns the same pair:

# %%
from deltanet_edu import delta_rule

B, T, H, K, V = 2, 7, 3, 4, 5
q, k = (normalize(torch.randn(B, T, H, K), dim=-1) for _ in "qk")
v, beta = torch.randn(B, T, H, V), torch.rand(B, T, H)
o, state = delta_rule(q, k, v, beta)
print("o    ", tuple(o.shape))
print("state", tuple(state.shape))

# %% [markdown]
# ### If you come from elsewhere
#
# Papers and libraries disagree about notation. The four differences that matter:
#
# | elsewhere | here |
# |---|---|
# | flash-linear-attention scales queries by $1/\sqrt{d_k}$ unless told otherwise | `scale=1.0` |
# | flash-linear-attention keeps the memory as (B, H, K, V), and reads $q^\top S$ | (B, H, V, K): `state.mT` converts either way |
# | many attention kernels want heads first, (B, H, T, K) | (B, T, H, K): `x.transpose(1, 2)` converts either way |
# | some papers write the matrix of the UT transform (chapter 6) without $\beta$, then $W = T\,\mathrm{diag}(\beta)\,K$ | with $\beta$ in it, then $W = \mathbf{T} K$ |
#
# The paper's $L$, the length of a sequence, is our $T$. The matrix of the UT transform, $T$ in the paper, is a bold
# $\mathbf{T}$ in our formulas and `UT` in code. And two letters wear two hats, as in the paper: $K$ and $V$ are *widths* in
# code, in shapes, and wherever a formula counts numbers or FLOPs; where a formula multiplies them with other matrices, as in
# $QK^\top V$, they are the *matrices* whose rows are keys and values. From chapter 5 on formulas call the widths $d_k$ and $d_v$.
#
# `deltanet_edu.compat` speaks the library's dialect, so you can check the first two rows of the table:

# %%
from deltanet_edu.compat import chunk_delta_rule

o_theirs, state_theirs = chunk_delta_rule(q, k, v, beta, output_final_state=True)
print("o is ours times 1/sqrt(K): ", torch.allclose(o_theirs, o / K ** 0.5))
print("state is ours, transposed: ", torch.allclose(state_theirs.mT, state))

# %% [markdown]
# ## What your machine can run
#
# Nothing in the book needs a GPU. A lesson runs in about a minute on two processor cores; the one that trains a language
# model, chapter 16, takes a few. In chapters 10 to 13, kernels run in Triton's *interpreter* if there is no GPU: exact, slow,
# and on Linux only, because Triton exists for nothing else. Where the book states how fast something is, it names the machine.
#
# The next cell looks at your machine. In a terminal, `deltanet-edu doctor` says the same.

# %% tags=["your-machine"]
from deltanet_edu.tutor import doctor

print(doctor.report(doctor.examine()))

# %% [markdown]
# ## Summary
#
# * A matrix is a memory: $v\,k^\top$ stores, $S k$ reads, and a unit key returns the value unchanged (0.1).
# * Adding forgets nothing, so it cannot overwrite. The delta rule stores the difference between what is true and what the
#   memory says.
# * `predict` asks before the answer is shown, `verify` tries an equation on numbers, `check` names your mistake, `hint` helps on.
# * One notation: tokens are rows, S is (V, K) and stands on the left.
#
# Used from the package: `deltanet_edu.delta_rule`, `deltanet_edu.compat`, `deltanet_edu.tutor`. The two
# [exercises](../exercises/00_exercises_start_here.ipynb) take a quarter of an hour.
#
# **Further reading.** Schlag, Irie and Schmidhuber, [Linear Transformers Are Secretly Fast Weight
# Programmers](https://arxiv.org/abs/2102.11174), 2021, brought the delta rule into transformers. Yang, Wang, Zhang, Shen and
# Kim, [Parallelizing Linear Transformers with the Delta Rule over Sequence Length](https://arxiv.org/abs/2406.06484), 2024, is
# the paper this book unfolds.
