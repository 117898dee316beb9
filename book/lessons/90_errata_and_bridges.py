# %% [markdown]
# # 90. Errata and bridges
#
# *For looking things up: formulas that were printed wrong or doubted, and how to get from one notation to another.*
#
# Part one, **errata**: you read another text about DeltaNet, it disagrees with this book, and you want to know who is
# right. Part two, **bridges**: nobody is wrong, you only have to translate.
#
# Nothing here is meant as blame. These texts taught us the subject, and this book will have errors of its own. Each entry
# says where, what is printed, and what is right; then a cell measures the difference. *As reported* marks what we have at
# second hand.

# %%
from functools import partial
from textwrap import fill
from types import SimpleNamespace as Inputs

import torch
from torch.nn.functional import normalize

from deltanet_edu import delta_rule
from deltanet_edu.bench.flops import flops
from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule
from deltanet_edu.figures import errata as picture
from deltanet_edu.ops import delta_rule_chunkwise, delta_rule_recurrent, linear_attention_recurrent
from deltanet_edu.ops.delta_rule import householder as hh

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

# %% [markdown]
# ## Part one: errata
#
# Why does a wrong formula survive? Often because the test it met was too gentle: unit keys, $\beta = 1$, an empty memory,
# as many value as key dimensions. So every formula below meets two inputs, a *gentle* one of this kind, and a *thorough*
# one: keys of unequal lengths, some repeated; any $\beta$; a memory that holds something; $d_v \ne d_k$. An error of 100
# % is as large as the right answer itself.

# %%
def inputs(C, K, V, gentle=False):
    """One head, one chunk: rows q, k: (C, K), v: (C, V), beta: (C,), and the entering memory S: (V, K)."""
    k = normalize(torch.randn(C, K), dim=-1)
    if gentle:
        return Inputs(q=torch.randn(C, K), k=k, v=torch.randn(C, V), beta=torch.ones(C), S=torch.zeros(V, K))
    k = k * (0.5 + 0.7 * torch.rand(C, 1))
    k[5::6] = k[2]                                      # the same key again and again
    return Inputs(q=torch.randn(C, K), k=k, v=torch.randn(C, V), beta=torch.rand(C), S=torch.randn(V, K))

def rule(x):
    """The token loop, the judge of everything here: O: (C, V) and the memory that leaves, (V, K)."""
    rows = (y[None, :, None] for y in (x.q, x.k, x.v, x.beta))
    o, S = delta_rule_recurrent(*rows, initial_state=x.S[None, None])
    return o[0, :, 0], S[0, 0]

# %%
torch.manual_seed(0)
tests = {"gentle": inputs(24, 8, 8, gentle=True), "thorough": inputs(24, 8, 5)}
found = {}                                              # name: its two errors, for the picture at the end

def error(a, b):
    return ((a - b).norm() / b.norm()).item()

def evidence(name, printed, right):
    """How far what is printed is from what is right, on both inputs."""
    found[name] = {}
    for test, x in tests.items():
        try:
            found[name][test] = error(printed(x), right(x))
        except RuntimeError:                            # the shapes do not fit
            found[name][test] = float("inf")
        says = "does not even run" if found[name][test] == float("inf") else f"error {found[name][test]:.0%}"
        print(f"{test + ' test':14} {says}")

# %% [markdown]
# ### 1. A write without β
#
# **Where** A well-known article, its section on stability. **Printed**
# $S_t = S_{t-1}(I - \beta_t k_tk_t^\top) + v_tk_t^\top$. **Right** the write has the factor too: $\beta_t v_t k_t^\top$
# (2.6). The article itself has it elsewhere.
#
# → [chapter 2](02_delta_rule.ipynb), [exercise 2.4](../exercises/02_exercises_delta_rule.ipynb)

# %%
def write_without_beta(x):
    S = x.S
    for k, v, beta in zip(x.k, x.v, x.beta):
        S = S @ hh.householder(k, beta) + torch.outer(v, k)
    return S

evidence("a write without β", write_without_beta, lambda x: rule(x)[1])

# %% [markdown]
# With $\beta = 1$ there is nothing to see.
#
# ### 2. The operator of the scan
#
# **Where** the same series, on the parallel scan. **Printed**, for $S_t = S_{t-1}M_t + X_t$: $(M_1M_2,\; M_2X_1 + X_2)$.
# **Right** what was written first stands to the *left* of what erases it: $(M_1M_2,\; X_1M_2 + X_2)$ (7.6). With the
# memory transposed it would be $(M_2M_1,\; M_2X_1 + X_2)$; the printed one has turned one of its two products around.
#
# → [chapter 7](07_chunks.ipynb), [exercises 7.4 and 7.5](../exercises/07_exercises_chunks.ipynb)

# %%
def fold(join):
    def state(x):
        pairs = [(hh.householder(k, b), b * torch.outer(v, k)) for k, v, b in zip(x.k, x.v, x.beta)]
        M, X = pairs[0]
        for pair in pairs[1:]:
            M, X = join(M, X, *pair)
        return x.S @ M + X
    return state

printed = fold(lambda M1, X1, M2, X2: (M1 @ M2, M2 @ X1 + X2))
right = fold(lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M2 + X2))
evidence("the scan's operator", printed, lambda x: rule(x)[1])
print(f"repaired       error {error(right(tests['thorough']), rule(tests['thorough'])[1]):.0e}")

# %% [markdown]
# $M_2X_1$ is a $K \times K$ matrix times a $V \times K$ one: a single test with $d_v \ne d_k$ would have stopped it.
#
# ### 3. The recurrence for w is missing
#
# **Where** a summary of the paper. **Printed** $S_t = \sum_i u_ik_i^\top$ with the recurrence for $u$, and then chunks
# with a $W$ that is never defined. **Right** the sum holds for a memory that began empty. For any other, the chunk needs
# $w_t = \beta_t\big(k_t - \sum_{i<t} w_i\,(k_i^\top k_t)\big)$ as well (5.3), and $S_C = S_0(I - W^\top K) + U^\top K$
# (5.5). The paper has both.
#
# → [chapter 5](05_wy_representation.ipynb), [exercise 5.5](../exercises/05_exercises_wy_representation.ipynb)

# %%
evidence("no recurrence for w", lambda x: x.S + hh.wy_u(x.k, x.v, x.beta).mT @ x.k, lambda x: rule(x)[1])

# %% [markdown]
# ### 4. β counted twice
#
# **Where** the same summary. **Printed** $\mathbf{T} = (I + A)^{-1}\,\mathrm{diag}(\beta)$, and then
# $W = \mathbf{T}\,\mathrm{diag}(\beta)K$. **Right** one or the other: the first half is the paper's equations 10 and 11, the
# second the paper's listing, whose $\mathbf{T}$ is the inverse alone.
#
# → [chapter 6](06_ut_transform.ipynb), [exercise 6.5](../exercises/06_exercises_ut_transform.ipynb)

# %%
evidence("β counted twice", lambda x: hh.ut_by_solve(x.k, x.beta) @ (x.beta[:, None] * x.k),
         lambda x: hh.wy_w(x.k, x.beta))

# %% [markdown]
# ### 5. The sign in the inverse
#
# Write $A = \mathrm{stril}(\mathrm{diag}(\beta)KK^\top)$, as chapter 6 does. **Right** $(I + A)^{-1}$: a write
# *subtracts* what the memory already says, so on the left of the equation it is a plus. **Printed** $(I - A)^{-1}$:
#
# * in the Gated DeltaNet paper, as reported in issue 191 of flash-linear-attention;
# * in a comment of that library's `ops/delta_rule/naive.py`, above code that computes the right one;
# * in issue 100, whose reader took the DeltaNet paper's listing for this inverse, found that it computes another, and
#   proposed to drop the minus with which it begins. That shows that listing and formula disagree, and no more. For the
#   delta rule the minus belongs there.
#
# → [chapter 6](06_ut_transform.ipynb), [exercise 6.4](../exercises/06_exercises_ut_transform.ipynb)

# %%
def listing(x, sign):
    """The loop in the listing's style, begun with sign * A; then U."""
    X = sign * hh.ut_system(x.k, x.beta)
    for i in range(1, len(X)):
        X[i, :i] = X[i, :i] + (X[i, :, None] * X[:, :i]).sum(-2)
    return (X + torch.eye(len(X))) @ (x.beta[:, None] * x.v)

evidence("the sign in the inverse", lambda x: listing(x, +1), lambda x: hh.wy_u(x.k, x.v, x.beta))
x = tests["thorough"]
print(f"with the minus error {error(listing(x, -1), hh.wy_u(x.k, x.v, x.beta)):.0e}")

# %% [markdown]
# Beware of a second reading: a well-known article *defines* its $A$ with the minus inside,
# $A = \mathrm{tril}(-\mathrm{diag}(\beta)KK^\top, -1)$, and writes $(I - A)^{-1}$. That is the right matrix. The trap is
# to take the sign from one text and the $A$ from another.
#
# ### 6. Equations 8 and 9 of the paper are right
#
# **Printed** $S' = S + (U - WS^\top)^\top K$ and $O = QS^\top + (QK^\top \odot M)(U - WS^\top)$. They look as if they had
# too many transposes, and not every text says that $M$ has ones on its diagonal. **Right** as printed, for $S$ of shape
# $d_v \times d_k$ (8.4, 8.5). What do the two obvious repairs do?
#
# → [chapter 8](08_chunkwise_deltanet.ipynb), [exercise 8.2](../exercises/08_exercises_chunkwise_deltanet.ipynb)

# %%
def equations_8_and_9(x, turn=lambda S: S.mT, diagonal=0):
    UT = hh.ut_by_solve(x.k, x.beta)
    X = UT @ x.v - (UT @ x.k) @ turn(x.S)               # (C, V)  U - W Sᵀ
    O = x.q @ turn(x.S) + (x.q @ x.k.mT).tril(diagonal) @ X
    return torch.cat([O.flatten(), (x.S + X.mT @ x.k).flatten()])

def truth(x):
    return torch.cat([y.flatten() for y in rule(x)])

turned = partial(equations_8_and_9, turn=lambda S: S)
x = tests["thorough"]
print(f"as printed     error {error(equations_8_and_9(x), truth(x)):.0e}\n\nwithout the diagonal")
evidence("9 without its diagonal", partial(equations_8_and_9, diagonal=-1), truth)
print("\nwithout the transposes of S")
evidence("8, 9 without transposes", turned, truth)
x = inputs(24, 8, 8)
print(f"thorough, but with K = V: error {error(turned(x), truth(x)):.0%}")

# %% [markdown]
# The gentle test cannot see the transposes, because its memory is empty. The thorough one refuses to run. The dangerous
# case is the last one: a memory that holds something, with $d_v = d_k$, where everything runs and nothing is right.
#
# ### 7. A chunk's outputs do not come from the state that leaves it
#
# **Where** flash-linear-attention, `ops/delta_rule/README.md` (one version). **Printed** $O = QS_{\text{leaving}}^\top$,
# as a first step towards the paper's equation 9. **Right** the first step goes too far: in the state that leaves, every
# token of the chunk has been written, the later ones too. The line after it, with the mask $M$, is right; without the
# mask the two would agree.
#
# → [chapter 8](08_chunkwise_deltanet.ipynb)

# %%
evidence("outputs from the leaving state", lambda x: x.q @ rule(x)[1].mT, lambda x: rule(x)[0])
x = tests["thorough"]
X = hh.ut_by_solve(x.k, x.beta) @ (x.v - x.k @ x.S.mT)  # (C, V)
unmasked = x.q @ x.S.mT + (x.q @ x.k.mT) @ X            # (C, V)
print(f"equal to equation 9 without its mask: error {error(x.q @ rule(x)[1].mT, unmasked):.0e}")

# %% [markdown]
# ### 8. The cost of one large chunk
#
# **Where** summaries of the paper. **Printed** $O(LCd + Ld^2)$ for a sequence of length $L$, and that $C = L$ is the
# fully parallel form. **Right** the triangular system costs $C^3$ a chunk, so in full it is $O(LCd + Ld^2 + LC^2)$ (8.9).
# While $C \le d$ the last term hides; at $C = L$ it wins.
#
# → [chapter 8](08_chunkwise_deltanet.ipynb), [exercise 8.5](../exercises/08_exercises_chunkwise_deltanet.ipynb)

# %%
d, before = 64, None
for L in (128, 256, 512, 1024):
    rows = [torch.randn(1, L, 1, d) for _ in range(3)] + [torch.rand(1, L, 1)]
    counted, printed = sum(flops(delta_rule_chunkwise, *rows, chunk_size=L).values()), L * L * d + L * d * d
    if before:
        print(f"L = C = {L // 2:3} → {L:4}   counted x {counted / before[0]:.1f}   printed x {printed / before[1]:.1f}")
    before = counted, printed

# %% [markdown]
# A cubic cost grows eightfold when the length doubles, and the counted one is on its way there; the printed one never
# passes four.
#
# ### 9. "In O(d) memory"
#
# **Where** a summary of the paper, on the vectors $u_t$. **Printed** they are computed recursively in $O(d)$ memory.
# **Right** per step: a token adds one row, and no $d \times d$ state is written. But the sum in $u_t$ needs all earlier
# rows, and the work per token grows with their number. That is why there are chunks.
#
# → [chapter 5](05_wy_representation.ipynb), [exercise 5.6](../exercises/05_exercises_wy_representation.ipynb)

# %%
for T in (32, 128, 512):
    k, v, beta = normalize(torch.randn(T, 64), dim=-1), torch.randn(T, 64), torch.rand(T)
    held = k.numel() + hh.wy_u(k, v, beta).numel()
    work = sum(flops(hh.wy_u, k, v, beta).values()) / T
    print(f"T = {T:3}   rows held {held:6,} numbers   (a state {64 * 64:,})   {work:7,.0f} FLOPs a token")

# %% [markdown]
# ### 10. Projections, reflections, and a missing square
#
# **Where** many texts. **Printed** "with $\beta = 1$ the transition is a projection", "with $\beta = 2$ a reflection",
# "its eigenvalue is $1 - \beta\|k\|$" (the last in a transcription of the paper, as reported; which print it was we
# cannot say). **Right** the eigenvalue is $1 - \beta\|k\|^2$ (2.9), because the key is used twice. So it projects when
# $\beta\|k\|^2 = 1$ and reflects when it is 2. Only for unit keys are these the printed conditions, and only for them
# does the missing square not show.
#
# → [chapter 2](02_delta_rule.ipynb), [chapter 4](04_householder.ipynb), [exercise 4.2](../exercises/04_exercises_householder.ipynb)

# %%
I = torch.eye(3)
for length in (1.0, 0.8, 1.3):
    k = length * torch.tensor([1.0, 2.0, 2.0]) / 3
    P, R, M = (hh.householder(k, torch.tensor(beta)) for beta in (1.0, 2.0, 0.5))
    eigenvalue = (k @ M @ k / (k @ k)).item()
    print(f"‖k‖ = {length}:   ‖P P - P‖ = {(P @ P - P).norm():.2f}   ‖R R - I‖ = {(R @ R - I).norm():.2f}")
    print(f"   eigenvalue {eigenvalue:.3f}   with ‖k‖² {1 - 0.5 * length**2:.3f}   with ‖k‖ {1 - 0.5 * length:.3f}")

# %% [markdown]
# ### 11. "A higher capacity"
#
# **Where** many texts. **Printed** the delta rule has a higher memory capacity than adding. **Right** it can overwrite,
# and its error is smaller. But each write erases a little of what others have stored: for random keys that come *once*, a
# memory that adds finds the right value more often. [Chapter 2](02_delta_rule.ipynb) says why, and on which streams the
# delta rule wins by far.
#
# → [exercise 2.8](../exercises/02_exercises_delta_rule.ipynb)

# %%
torch.manual_seed(0)
k, v = normalize(torch.randn(50, 32, 1, 32), dim=-1), torch.randn(50, 32, 1, 32)        # 50 x 32 pairs, K = V = 32
memories = {"adding": linear_attention_recurrent(k, k, v)[1],
            "delta rule": delta_rule_recurrent(k, k, v, torch.ones(50, 32, 1))[1]}
for name, S in memories.items():
    read = k[:, :, 0] @ S[:, 0].mT                      # (50, 32, V)
    right = torch.cdist(read, v[:, :, 0]).argmin(-1) == torch.arange(32)
    miss = (read - v[:, :, 0]).square().mean()
    print(f"{name:10} recalls {right.double().mean():4.0%}   squared error {miss:5.2f}")

# %% [markdown]
# ### 12. Bold face
#
# **Where** the paper's ablation of norm and feature map, and what texts make of it. **Printed** L2 norm with SiLU marked
# as best, 28.24 in bold (a summary); SiLU "provides incremental improvements over ReLU and 1+ELU" (a well-known article).
# **Right** it depends on the column. Here are the article's numbers, 340M parameters: perplexity on WikiText, then
# averages over tasks of common sense and of retrieval.

# %%
ablation = {                                            # name: (perplexity, common sense, retrieval)
    "L1 norm, 1 + ELU": (31.12, 40.1, 11.5), "L2 norm, 1 + ELU": (28.03, 42.1, 21.8),
    "L2 norm, ReLU": (28.75, 40.9, 21.0), "L2 norm, SiLU": (28.24, 42.1, 22.7),
    "L2 norm, SiLU, no convolution": (29.08, 41.4, 18.6)}
for i, (column, best) in enumerate({"perplexity": min, "common sense": max, "retrieval": max}.items()):
    top = best(row[i] for row in ablation.values())
    winners = [name for name, row in ablation.items() if row[i] == top]
    print(f"{column:13} best {top:5}: {' and '.join(winners)}")
print(f"norm: {31.12 - 28.03:.2f} of perplexity; feature map: at most {28.75 - 28.03:.2f}")

# %% [markdown]
# SiLU wins in retrieval, 1 + ELU in perplexity, and both by little; the norm, tried with 1 + ELU alone, matters more. Nor is 16.87, the
# perplexity of DeltaNet with 1.3B parameters that the same summary prints in bold, the lowest of its table: the
# Transformer has 16.85.
#
# ### What a gentle test sees

# %%
picture.tests(found);

# %% [markdown]
# *Errors relative to the right answer. An open circle at the left: the gentle test finds nothing. A triangle at the
# right: the formula does not even run.* Four of the eight pass the gentle test; none passes the thorough one. Choose
# $d_v \ne d_k$, a memory that holds something, any $\beta$, keys of any length: that is worth more than a tighter
# tolerance.

# %% [markdown]
# ## Part two: bridges
#
# | | this book | the paper | a well-known article | flash-linear-attention |
# |---|---|---|---|---|
# | memory | $S$, $d_v \times d_k$ | $S$, $d_v \times d_k$ | $S$, $d \times d$, values first | `h`, $d_k \times d_v$: **transposed** |
# | update | $S(I - \beta kk^\top) + \beta vk^\top$ | the same | the same | $(I - \beta kk^\top)h + \beta kv^\top$ |
# | read | $s\,Sq$, $s = 1$ | $Sq$ | $Sq$ | $s\,h^\top q$, default $s = 1/\sqrt{d_k}$ |
# | tokens | rows | rows | rows, in places columns | rows |
# | the paper's T | $\mathbf{T} = (I + A)^{-1}\mathrm{diag}(\beta)$, in code `UT` | the same (eq. 10); in the listing without $\mathrm{diag}(\beta)$ | without $\mathrm{diag}(\beta)$, and $A$ with a minus inside | without $\mathrm{diag}(\beta)$ |
# | $U - WS^\top$ | $X$ | $U - WS^\top$ | $U - WS^\top$ | `v_new` |
# | sequence, chunk | $T$, $C$ | $L$, $C$ | $L$, $C$ | `T`, `BT` |
# | chunk number | $n$ | $[t]$ | $[i]$, also $[t]$ | `i_t` |
# | layout of q | (B, T, H, K) | one head | one head | (B, T, H, K); head-first in older versions |
#
# `deltanet_edu.compat` makes these conversions for you, behind that library's own signature, and raises on arguments it
# does not know. Here they are done by hand and compared with it.

# %%
torch.manual_seed(2)
B, T, H, K, V = 2, 37, 3, 6, 4
q, k = torch.randn(B, T, H, K), normalize(torch.randn(B, T, H, K), dim=-1)
v, beta = torch.randn(B, T, H, V), torch.rand(B, T, H)
h0 = torch.randn(B, H, K, V)                            # a state in that library's layout

def same(*pairs):
    print(f"largest difference {max((a - b).abs().max().item() for a, b in pairs):.0e}")

# %% [markdown]
# ### State and scale
#
# Transpose the state on the way in and on the way out, and name the scale. (In the versions we have read, that library's
# chunked form also refuses float32.)
#
# The last two numbers of the state's shape are all that tells the layouts apart. With $d_v \ne d_k$ a mix-up is refused,
# and the message says what to do. **With $d_v = d_k$, which is the usual case, nobody can notice.** In this book's layout
# a read is `S @ q`, in the other `h.mT @ q`.

# %%
o, h = chunk_delta_rule(q, k, v, beta, initial_state=h0, output_final_state=True)
ours, S = delta_rule(q, k, v, beta, initial_state=h0.mT, scale=K**-0.5)
same((o, ours), (h, S.mT))

try:
    delta_rule(q, k, v, beta, initial_state=h0)
except ValueError as refusal:
    print(fill(str(refusal), 100))

# %% [markdown]
# ### T without diag(β), the residual form, the order of products
#
# One chunk in the letters of that library: `A` is the inverse alone, `h` is $d_k \times d_v$, and everything multiplies
# it from the left. `residual` is the *residual form*, $X = \mathbf{T}\,(V - KS^\top)$ (8.6), with the β outside: neither `w` nor
# `u` is needed. Chapter 9 builds the backward pass on it. Exercise 9.11 is about this.
#
# Products turn around too. With the memory on the left, later tokens multiply from the right,
# $S_0\,M_1M_2\cdots M_C = S_0\,(I - W^\top K)$. Transposed, it is $M_C\cdots M_2M_1\,h_0 = (I - K^\top W)\,h_0$. And
# where tokens are columns, as in a few lines of the article, $V^\top K$ reads $VK^\top$.

# %%
x = tests["thorough"]
A = torch.linalg.inv(torch.eye(24) + hh.ut_system(x.k, x.beta))          # (C, C)  without beta
h, b = x.S.mT, x.beta[:, None]                          # (K, V), (C, 1)
w, u = A @ (b * x.k), A @ (b * x.v)                     # (C, K), (C, V)
v_new = u - w @ h                                       # (C, V)
residual = A @ (b * (x.v - x.k @ h))                    # (C, V)
O, S = rule(x)
same((v_new, residual), (x.q @ h + (x.q @ x.k.mT).tril() @ v_new, O), (h + x.k.mT @ residual, S.mT))

left = torch.eye(8)
for k_t, beta_t in zip(x.k, x.beta):
    left = hh.householder(k_t, beta_t) @ left           # M_C ... M_2 M_1
same((left, hh.householder_product(x.k, x.beta).mT), (left, torch.eye(8) - x.k.mT @ w))

# %% [markdown]
# ### Normalizing inside
#
# `use_qk_l2norm_in_kernel=True` divides q and k, in float32, by $\sqrt{\|x\|^2 + 10^{-6}}$. PyTorch's `normalize` divides
# by $\|x\|$ unless that is below $10^{-12}$. For ordinary keys they agree to six digits; a key of length 0.001 is where
# they part.

# %%
raw = torch.randn(B, T, H, K)
o, _ = chunk_delta_rule(raw, raw, v, beta, use_qk_l2norm_in_kernel=True)
unit = raw / (raw.square().sum(-1, keepdim=True) + 1e-6).sqrt()
same((o, delta_rule(unit, unit, v, beta, scale=K**-0.5)[0]))
for length in (1.0, 0.01, 0.001):
    y = length * k[0, 0, 0]
    inside = (y / (y @ y + 1e-6).sqrt()).norm()
    print(f"length {length:5} → {inside:.6f} inside, {normalize(y, dim=0).norm():.6f} by normalize")

# %% [markdown]
# ### Sequences packed end to end
#
# `cu_seqlens` = [0, 10, 11, 37] says: one row of 37 tokens holds three texts of 10, 1 and 26. There is a state for each,
# and nothing flows from one to the next.

# %%
ends, packed = [0, 10, 11, 37], [y[:1] for y in (q, k, v, beta)]
states = torch.randn(3, H, K, V)
o, h = fused_recurrent_delta_rule(*packed, initial_state=states, output_final_state=True,
                                  cu_seqlens=torch.tensor(ends))
for n, (start, end) in enumerate(zip(ends, ends[1:])):
    text = [y[:, start:end] for y in packed]
    o_n, S_n = delta_rule(*text, initial_state=states[n:n + 1].mT, scale=K**-0.5)
    same((o[:, start:end], o_n), (h[n:n + 1], S_n.mT))

# %% [markdown]
# ### Head-first layouts
#
# Older code, and most code for softmax attention, keeps (B, H, T, K). Swap dimensions 1 and 2 of everything, $\beta$
# included. Swap only some of them, and you are told:

# %%
q1, k1, v1, beta1 = (y.transpose(1, 2) for y in (q, k, v, beta))       # (B, H, T, ...)
same((delta_rule(*(y.transpose(1, 2) for y in (q1, k1, v1, beta1)))[0], delta_rule(q, k, v, beta)[0]))
try:
    delta_rule(q, k1, v, beta)
except ValueError as refusal:
    print(fill(str(refusal), 100))

# %% [markdown]
# If *all* are head-first, every shape fits, and heads are taken for tokens: the result is wrong. `delta_rule` warns when it
# sees fewer tokens than heads; nothing else can betray it.
#
# ## Sources
#
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence
#   Length", *NeurIPS* 2024, [arXiv:2406.06484](https://arxiv.org/abs/2406.06484). Numbers of figures and tables differ
#   between its versions, so they are named here.
# * S. Yang, J. Kautz and A. Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", *ICLR* 2025,
#   [arXiv:2412.06464](https://arxiv.org/abs/2412.06464).
# * [flash-linear-attention](https://github.com/fla-org/flash-linear-attention), in the version that `deltanet_edu.compat`
#   follows, 0.6.0; issues [100](https://github.com/fla-org/flash-linear-attention/issues/100) and
#   [191](https://github.com/fla-org/flash-linear-attention/issues/191).
#
# Found an error in this book? It belongs on this page: tell us, through the repository.
