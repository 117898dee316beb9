# %% [markdown]
# # 2. The delta rule
#
# *A memory that looks before it writes.*

# %%
import torch
import torch.nn.functional as F

from deltanet_edu.figures import lines, memories
from deltanet_edu.figures.delta import explore_two_writes, fading, landings, plane, stability
from deltanet_edu.figures.film import film, strip
from deltanet_edu.ops import delta_rule_recurrent, linear_attention_recurrent
from deltanet_edu.ops import erase_then_write_step, sgd_step, transition_step
from deltanet_edu.ops.delta_rule.householder import householder
from deltanet_edu.tutor import predict, show, verify

# %% [markdown]
# ## One slot, two writes
#
# Chapter 1 ended badly: we stored `cat → 3`, then `cat → 5`, and asked for `cat`.

# %%
cat = torch.tensor([1.0, 0.0])                 # (K,)  a unit key
S = torch.zeros(1, 2)                          # (V, K)  an empty memory
S = S + 3.0 * cat
S = S + 5.0 * cat
S @ cat

# %% [markdown]
# Eight. Adding is not overwriting.
#
# Suppose we first *take out* what the memory now says about `cat`, and only then add 5. Decide what a read returns before
# you run on.

# %%
predict("2.a")

# %%
S = torch.zeros(1, 2) + 3.0 * cat              # the memory says 3
old = S @ cat                                  # (V,)  ask it
S = S - old[:, None] * cat                     # erase the answer
S = S + 5.0 * cat                              # write the new one
S @ cat

# %% [markdown]
# Five. Erasing and writing use the same key, so they are one step:
#
# $$ S_t = S_{t-1} - \big(S_{t-1}k_t - v_t\big)\,k_t^\top \tag{2.1} $$
#
# The bracket is a *prediction error*: what the memory says, minus what it should say.

# %%
verify("2.1")

# %% [markdown]
# What happens if the memory is already right? Write `cat → 5` again.

# %%
error = S @ cat - 5.0
S = S - error[:, None] * cat
error, S @ cat

# %% [markdown]
# Nothing happens. A memory that looks before it writes stores only what is new. That is the idea behind DeltaNet. The rest
# of this chapter finds out how far it carries, and where it hurts.
#
# ## Where this chapter goes
#
# After it you can
#
# * derive the delta rule in three ways, and say what each is good for;
# * tell from one number, $\beta\|k\|^2$, whether a write corrects, overwrites, overshoots or explodes;
# * explain why DeltaNet gives every key length 1;
# * say when the delta rule remembers better than adding, and when worse.
#
# You need chapter 1, matrix products and `autograd`. Reading and running takes about an hour, the exercises an hour and a
# half. In the package, the chapter builds `deltanet_edu/ops/delta_rule/recurrent.py`.
#
# ## Three questions about chapter 1
#
# Answer each in your head, then open it.
#
# <details><summary>1. A memory <code>S = v₁k₁ᵀ + v₂k₂ᵀ</code> is read with <code>q</code>. What comes back?</summary>
#
# Both values, each weighted by how much its key overlaps the query: $v_1\,(k_1^\top q) + v_2\,(k_2^\top q)$.
#
# </details>
#
# <details><summary>2. How many pairs can such a memory of key width K hold without any interference?</summary>
#
# K, if their keys are orthonormal. One more key must overlap some of them.
#
# </details>
#
# <details><summary>3. One pair is stored in an empty memory with a key of length 2. What does a read with that key return?</summary>
#
# $v\,(k^\top k) = 4v$. The key enters twice: once in the write, once in the read. Remember this square; it decides
# everything below.
#
# </details>

# %% [markdown]
# ## One column is emptied and refilled
#
# A slightly larger memory: three key dimensions, two value dimensions. `cat` and `dog` are orthogonal. `lynx` was never
# stored, but resembles `cat`.

# %%
cat, dog = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
lynx = torch.tensor([0.8, 0.0, 0.6])
S = torch.outer(torch.tensor([3.0, 1.0]), cat) + torch.outer(torch.tensor([2.0, 4.0]), dog)

new = torch.tensor([5.0, -2.0])
erase = -torch.outer(S @ cat, cat)             # (V, K)
write = torch.outer(new, cat)                  # (V, K)
memories([S, erase, write, S + erase + write], ["before", "erase", "write", "after"]);

# %% [markdown]
# Erasing and writing touch only the direction of `cat`, here the first column. What do the three keys read now?

# %%
for name, key in {"cat": cat, "dog": dog, "lynx": lynx}.items():
    was, now = (S @ key).tolist(), ((S + erase + write) @ key).tolist()
    print(f"{name:5} {was[0]:4.1f} {was[1]:4.1f}   ->   {now[0]:4.1f} {now[1]:4.1f}")

# %% [markdown]
# `cat` has its new value. `dog`, at a right angle, kept its own. `lynx` moved by 0.8 of `cat`'s change, because it overlaps
# `cat` by 0.8. In general the read of any key $x$ changes by
# $(v_t - S_{t-1}k_t)\,(k_t^\top x)$: a write generalizes to similar keys, whether you want it or not.

# %% [markdown]
# ## A loss for the memory
#
# So far the rule is a good idea. Now let us *derive* it. View the memory as a linear model with weights $S$, and the pair
# $(k, v)$ as one training example. The natural loss is half the squared error, $\tfrac12\|Sk - v\|^2$.
#
# Take numbers you can follow in your head: $S = (1, 2)$, $k = (0.6, 0.8)$, $v = 3$. The memory says
# $0.6 + 1.6 = 2.2$, so the error is $-0.8$. Entry $j$ of $S$ is multiplied by $k_j$ in the prediction, so its gradient is
# the error times $k_j$: $-0.48$ and $-0.64$.

# %%
S = torch.tensor([[1.0, 2.0]], requires_grad=True)
k, v = torch.tensor([0.6, 0.8]), torch.tensor([3.0])

loss = 0.5 * (S @ k - v).square().sum()
loss.backward()
S.grad

# %% [markdown]
# Autograd agrees. In general $\tfrac12\|Sk - v\|^2 = \tfrac12\sum_i \big(\sum_j S_{ij}k_j - v_i\big)^2$, and its
# derivative by $S_{ij}$ is $(Sk - v)_i\,k_j$: entry $(i, j)$ of an outer product.
#
# $$ \nabla_S\,\tfrac12\|Sk - v\|^2 = (Sk - v)\,k^\top \tag{2.2} $$

# %%
verify("2.2")

# %% [markdown]
# One step of gradient descent with learning rate $\beta_t$ is the **delta rule**. Equation 2.1 was the case $\beta_t = 1$.
#
# $$ S_t = S_{t-1} - \beta_t\,(S_{t-1}k_t - v_t)\,k_t^\top \tag{2.3} $$

# %%
verify("2.3")
show(sgd_step)

# %% [markdown]
# Read this twice: a DeltaNet layer takes one gradient step *per token*, in the forward pass, during training and after. The
# memory is trained on the sequence while the sequence is read. The network computes $k_t$, $v_t$ and the learning rate
# $\beta_t$ from the token, so it decides what to store, where, and how firmly.

# %% [markdown]
# ## A write is a walk to a line
#
# With K = 2 and V = 1 a memory is two numbers, a point in the plane. All memories that answer 5 to a given key form a line,
# and the gradient points straight at it. So $\beta$ says how far to walk.

# %%
predict("2.b")

# %%
key, value = torch.tensor([0.8, 0.6]), torch.tensor([5.0])             # (K,), (V,)
start, lands = torch.tensor([[3.0, 1.0]]), {}                          # (V, K), says 3
for beta in (0.0, 0.5, 1.0, 2.0, 2.5):
    S = sgd_step(start, key, value, torch.tensor(beta))
    lands[beta] = S[0]
    print(f"β = {beta:3}   reads {(S @ key).item():.2f}")
landings(key, value, start[0], lands, limits=(2, 8.4, -1, 5.4));

# %% [markdown]
# With this unit key, $\beta = 0$ stays, $\tfrac12$ walks halfway, 1 arrives. $\beta = 2$ lands on the mirror image, as wrong
# as before, on the other side. Beyond 2 a step ends farther away than it began. Keep this picture; the eigenvalues below
# say the same.
#
# ## The rule over a sequence
#
# Token $t$ brings a query $q_t$ as well. It writes first and reads second, so it can read what it has just stored. The
# factor $s$ is 1 in this book.
#
# $$ S_t = S_{t-1} - \beta_t\,(S_{t-1}k_t - v_t)\,k_t^\top, \qquad o_t = s\,S_t q_t \tag{2.4} $$

# %%
verify("2.4")
show(delta_rule_recurrent)

# %% [markdown]
# Follow it by hand for four tokens that all ask for `cat`: store `cat → 3`; store `dog → 7`; store `cat → 5` with
# $\beta = \tfrac12$; store nothing, $\beta = 0$. You should get 3, 3, 4, 4.

# %%
q = torch.stack([cat, cat, cat, cat])[None, :, None]                   # (B, T, H, K)
k = torch.stack([cat, dog, cat, dog])[None, :, None]                   # (B, T, H, K)
v = torch.tensor([3.0, 7.0, 5.0, 9.0])[None, :, None, None]            # (B, T, H, V)
beta = torch.tensor([1.0, 1.0, 0.5, 0.0])[None, :, None]               # (B, T, H)

o, S = delta_rule_recurrent(q, k, v, beta)
print("reads:", o.flatten().tolist(), "  final memory:", S[0, 0].tolist())

# %% [markdown]
# ## Second view: erase, then write
#
# Why did the third read give 4? Because a write of strength $\beta$ stores a blend of old and new:
#
# $$ v_{\text{old}} = S_{t-1}k_t, \qquad v_{\text{new}} = \beta_t v_t + (1-\beta_t)\,v_{\text{old}}, \qquad
# S_t = S_{t-1} - v_{\text{old}}\,k_t^\top + v_{\text{new}}\,k_t^\top \tag{2.5} $$
#
# *Proof.* The two outer products add up to $(v_{\text{new}} - v_{\text{old}})\,k_t^\top$, and
# $v_{\text{new}} - v_{\text{old}} = \beta_t\,(v_t - v_{\text{old}})$. That is equation 2.3. ∎

# %%
verify("2.5")
show(erase_then_write_step)

# %% [markdown]
# In this view $\beta$ is a mixing weight: 0 keeps the old value, 1 replaces it.
#
# ### A film
#
# Now watch it happen. Four tokens tell two memories something about `cat`, `dog`, `lynx`, and `cat` again, with $\beta = 1$.
# The film shows three pictures a token: the delta rule reads, erases, writes, while linear attention only adds. Right after
# it has been told something, the delta rule will say just that. But for how long?

# %%
predict("2.c")

# %% [markdown]
# In the film the key lies above each memory. The value that is *told* stands on the left; what the memory *says* for this
# key, $Sk$, on the right. Black boxes mark the cells that have just changed, or what is being read. Watch linear attention's
# right column: after a write, does it agree with the left one? And when `cat` comes back, does either memory still say (5, 0)?

# %%
told = {"cat → (5, 0)": (cat, [5.0, 0.0]), "dog → (2, 4)": (dog, [2.0, 4.0]),
        "lynx → (−1, 5)": (lynx, [-1.0, 5.0]), "cat → (4, −2)": (cat, [4.0, -2.0])}
k = torch.stack([key for key, _ in told.values()])                     # (T, K)
v = torch.tensor([value for _, value in told.values()])                # (T, V)
film(k, v, list(told))

# %% [markdown]
# Here are the same moments at rest, a row for each token. One color scale serves film and strip. As in the film, the column
# at the right of a memory, $Sk$, is what it says for the key of its row.

# %%
strip(k, v, list(told));

# %% [markdown]
# The write of `lynx` reaches into the column of `cat`, because the two overlap: when `cat` comes back, the memory of the
# delta rule says (1, 4) and no longer (5, 0). It reads *this*, takes it out and writes (4, −2) in its place. Linear attention
# puts the new value on top of all that is there. In the end, what does each memory say for each key?

# %%
keys, values = k[None, :, None], v[None, :, None]                      # (B, T, H, K), (B, T, H, V)
_, additive = linear_attention_recurrent(keys, keys, values)
_, delta = delta_rule_recurrent(keys, keys, values, torch.ones(1, 4, 1))

print("told last        additive        delta")
for name, key in zip(list(told)[1:], k[1:]):
    says = [*(additive[0, 0] @ key).tolist(), *(delta[0, 0] @ key).tolist()]
    print(f"{name:14}" + "{:6.1f}{:6.1f}  {:6.1f}{:6.1f}".format(*says))

# %% [markdown]
# `dog` is safe in both: nothing else was written along its key. `cat` is right in the delta rule alone. `lynx` is wrong in
# both. The delta rule had it right until the last write of `cat` moved it; linear attention said (3, 5) from the start, since
# `cat` was in the way. Overwriting is exact for the key that is written, and similar keys pay
# for it. Toward the end of this chapter we see how repetition mends that.
#
# How much they pay depends on two numbers, $\beta$ and the angle between the keys. Here an empty memory is told 3 for `cat`, then 5 for `lynx`; each
# write is an arrow toward the line of the memories that say so. Run the next cell and move its sliders: for which angles does `cat` still read 3? (GitHub shows one setting.)

# %%
explore_two_writes();

# %% [markdown]
# At 90° the second write leaves the first alone. At 0° it replaces it. In between `cat` gets a share of the news, $\beta\cos$ of the angle times the error of `lynx`.
#
# ## Third view: a linear recurrence
#
# Multiply out equation 2.3 and collect what contains $S_{t-1}$:
#
# $$ S_t = S_{t-1}\,\big(I - \beta_t k_t k_t^\top\big) + \beta_t v_t k_t^\top \tag{2.6} $$

# %%
verify("2.6")
show(transition_step)

# %% [markdown]
# The old memory is multiplied by a matrix that knows only the key. This *transition matrix*,
# $M_t = I - \beta_t k_t k_t^\top$, is a generalized Householder matrix. It is the view that chapters 4 to 8 need: to
# multiply many such matrices at once is what makes DeltaNet parallel.
#
# The loop above takes the step as an argument. So let all three run on the same random tokens, in double precision.

# %%
g = torch.Generator().manual_seed(0)
B, T, H, K, V = 2, 50, 3, 8, 5
q = torch.randn(B, T, H, K, generator=g, dtype=torch.float64)
k = F.normalize(torch.randn(B, T, H, K, generator=g, dtype=torch.float64), dim=-1)
v = torch.randn(B, T, H, V, generator=g, dtype=torch.float64)
beta = torch.rand(B, T, H, generator=g, dtype=torch.float64)

o, _ = delta_rule_recurrent(q, k, v, beta, step=sgd_step)
for step in (erase_then_write_step, transition_step):
    other, _ = delta_rule_recurrent(q, k, v, beta, step=step)
    print(f"{step.__name__:22} agrees to 1e-12: {(o - other).abs().max().item() < 1e-12}")

# %% [markdown]
# One function, three views: *the loss* says why, *erase and write* says what, *the recurrence* says how to compute it fast.
#
# ## What does linear attention minimize?
#
# Its write, $v_t k_t^\top$, is a gradient step as well, of a different loss: minus the alignment of answer and value.
#
# $$ -\nabla_S\,\big(-\langle Sk, v\rangle\big) = v\,k^\top \tag{2.7} $$

# %%
verify("2.7")

# %% [markdown]
# That loss has no minimum. However right the answer is, a larger one is better, so the push never stops. Write `cat → 3`
# five times and watch both reads. Expect one of them to stop at 3.

# %%
k = cat.expand(1, 5, 1, 3)
v = torch.full((1, 5, 1, 1), 3.0)
print("additive:", linear_attention_recurrent(k, k, v)[0].flatten().tolist())
print("delta:   ", delta_rule_recurrent(k, k, v, torch.ones(1, 5, 1))[0].flatten().tolist())

# %% [markdown]
# ## One number decides: $\beta\|k\|^2$
#
# How much of an error survives a write? Multiply equation 2.3 by $k_t$ and subtract $v_t$:
#
# $$ S_t k_t - v_t = \big(1 - \beta_t\|k_t\|^2\big)\,\big(S_{t-1}k_t - v_t\big) \tag{2.8} $$

# %%
verify("2.8")

# %% [markdown]
# So $\beta = 1$ overwrites exactly only if $\|k\| = 1$. Here is the square from the third recall question: the key is used
# twice, to ask and to write.
#
# The same number is an eigenvalue of the transition matrix. Vectors along the key are scaled by it; everything orthogonal
# to the key, $K - 1$ dimensions, is left alone.
#
# $$ M_t\,k_t = \big(1 - \beta_t\|k_t\|^2\big)\,k_t, \qquad M_t\,x = x \;\text{ for every } x \perp k_t \tag{2.9} $$

# %%
verify("2.9")

# %% [markdown]
# A 4-dimensional key with $\|k\|^2 = 1 + 4 + 4 = 9$ and $\beta = 0.1$ should give 1, 1, 1 and 0.1.

# %%
torch.linalg.eigvalsh(householder(torch.tensor([1.0, 2.0, 2.0, 0.0]), torch.tensor(0.1)))

# %% [markdown]
# Multiplying by $M_t$ makes no memory larger as long as no eigenvalue leaves $[-1, 1]$. For $K \ge 2$:
#
# $$ \|M_t\|_2 = \max\!\big(1,\; \big|1 - \beta_t\|k_t\|^2\big|\big) \;\le\; 1 \quad\text{exactly when}\quad 0 \le \beta_t\|k_t\|^2 \le 2 \tag{2.10} $$
#
# *Proof.* $M_t$ is symmetric, so its norm is its largest eigenvalue in absolute value, and equation 2.9 lists them all. ∎

# %%
verify("2.10")

# %% [markdown]
# Measure it: the eigenvalue for many keys and strengths, and the error when the same pair is written over and over.

# %%
g = torch.Generator().manual_seed(0)
keys, betas = torch.randn(40, 4, generator=g), torch.rand(40, generator=g)
strength = betas * keys.square().sum(-1)                               # (40,)  β‖k‖²
along_key = torch.linalg.eigvalsh(householder(keys, betas))[:, 0]      # (40,)  the smallest of four

k, errors = keys[0], {}
for x in (0.5, 1.0, 1.5, 2.0, 2.2):
    S, beta = torch.zeros(1, 4), x / (k @ k)
    errors[x] = [(S @ k).item() - 1]
    for _ in range(6):
        S = sgd_step(S, k, torch.ones(1), beta)
        errors[x].append((S @ k).item() - 1)
stability(strength, along_key, errors);

# %% [markdown]
# The dots on the left are measured and lie on the line $1 - \beta\|k\|^2$. On the right, a strength of 0.5 halves the error
# at each write; 1 removes it at once; 1.5 swings across the target and still gets there; 2 swings forever; 2.2 swings
# wider each time.
#
# A negative eigenvalue is not a defect: chapter 17 uses it to count modulo two, which positive eigenvalues cannot do.
#
# Two sentences are often printed without their condition: "with $\beta = 1$ the transition is a projection" and "with
# $\beta = 2$ it is a reflection". Test both on keys of three lengths.

# %%
I = torch.eye(3)
for length in (0.5, 1.0, 2.0):
    k = length * F.normalize(torch.tensor([1.0, 2.0, 2.0]), dim=-1)
    P, R = householder(k, torch.tensor(1.0)), householder(k, torch.tensor(2.0))
    projects, reflects = torch.allclose(P @ P, P, atol=1e-6), torch.allclose(R @ R, I, atol=1e-6)
    print(f"length {length}:   β = 1 projects: {projects!s:5}   β = 2 reflects: {reflects}")

# %% [markdown]
# Both need $\|k\| = 1$ as well. What matters is $\beta\|k\|^2$: at 1 the matrix projects, at 2 it reflects.
#
# Now drop the unit keys altogether.

# %%
predict("2.d")

# %%
def sizes(k, beta):
    """The size of S after each of the T tokens of k: (T, K)."""
    S, out = torch.zeros(4, k.shape[1]), []
    for k_t, v_t in zip(k, values):
        S = sgd_step(S, k_t, v_t, torch.tensor(beta))
        out.append(S.norm().item())
    return out

g = torch.Generator().manual_seed(0)
raw, values = torch.randn(60, 8, generator=g), torch.randn(60, 4, generator=g)
curves = {"raw keys, β = 0.5": sizes(raw, 0.5), "raw keys, β = 0.1": sizes(raw, 0.1),
          "unit keys, β = 0.5": sizes(F.normalize(raw, dim=-1), 0.5)}
lines(curves, xlabel="token", ylabel="size of S (Frobenius norm)", log="y", looks=("red", "orange", "delta"),
      alt="Line plot of how a memory grows under three streams of keys.");

# %% [markdown]
# With raw keys and $\beta = 0.5$ the size has passed ten million after 60 tokens. A smaller $\beta$ holds it, but how small
# depends on the longest key that will ever come. Giving every key length 1 settles it for good.
#
# ## Keys of length 1
#
# DeltaNet computes $k_t$ from the token by a linear map, applies a feature map (SiLU; chapter 14 compares others), and
# divides by the 2-norm. Then $\beta_t\|k_t\|^2 = \beta_t$, and a sigmoid keeps $\beta_t$ in (0, 1). Every eigenvalue lies in
# (0, 1], so no sequence can amplify what is stored.
#
# Why the 2-norm? Earlier delta-rule models divided by the sum of the entries, the 1-norm of a nonnegative key. That is
# stable too, but look at the eigenvalue:
#
# $$ 1 - \beta\,\Big\|\frac{k}{\|k\|_1}\Big\|_2^2 \;=\; 1 - \beta\,\frac{\|k\|_2^2}{\|k\|_1^2} \;\ge\; 1 - \beta \tag{2.11} $$

# %%
verify("2.11")

# %% [markdown]
# Equality needs a key with a single nonzero entry. For all others the write is too weak even at $\beta = 1$, and the wider
# the key, the weaker. What share of the old value survives a full-strength overwrite?

# %%
for K in (4, 16, 64, 256):
    k = F.silu(torch.randn(1000, K, generator=torch.Generator().manual_seed(K)))
    two, one = (1 - F.normalize(k, p=p, dim=-1).square().sum(-1).mean() for p in (2, 1))
    print(f"K = {K:3}   survives with the 2-norm: {two.abs():.3f}   with the 1-norm: {one:.3f}")

# %% [markdown]
# With the 1-norm and K = 64, one full-strength overwrite removes about 3 % of what was there: such a memory can never
# erase in one go. In the paper's ablation the choice of norm matters more for perplexity than the choice of feature map.
#
# Queries are normalized too, but that hardly changes the function. The layer ends in an RMSNorm, which undoes any positive
# factor on the read:
#
# $$ \operatorname{RMSNorm}(c\,S q) = \operatorname{RMSNorm}(S q) \quad\text{for every } c > 0 \tag{2.12} $$

# %%
verify("2.12")

# %% [markdown]
# Up to rounding and the small ε inside the RMSNorm, the length of $q$ and the scale $s$ drop out. The length of $k$ does
# not.
#
# ## Is it a better memory?
#
# Chapter 1 ended with one surprise: of 32 random pairs, each told once, the delta rule recalled *fewer* than adding. Here are
# three streams, 50 random trials each, the last one of that kind. Both memories get the same pairs; then every key is read, and we count how often the nearest value of the
# whole stream is the right one, the last one written to that key.

# %%
def unit(*shape, seed):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)

def both(k, v):
    """Write k: (B, N, K), v: (B, N, V) pair by pair, delta with β = 1. Two memories, (B, V, K)."""
    k, v = k[:, :, None], v[:, :, None]                                # one head
    _, additive = linear_attention_recurrent(k, k, v)
    _, delta = delta_rule_recurrent(k, k, v, torch.ones(k.shape[:3]))
    return {"additive": additive[:, 0], "delta": delta[:, 0]}

def recalled(S, k, v):
    """Of all values of the stream, is the one nearest to S k the last one written to k? (B, N)"""
    nearest = torch.cdist(k @ S.mT, v).argmin(-1, keepdim=True)        # (B, N, 1)
    return (v.take_along_dim(nearest, 1) == v[:, -k.shape[1]:]).all(-1)

# %% [markdown]
# Expect no single winner: each memory takes at least one line.

# %%
values = torch.randn(50, 128, 32, generator=torch.Generator().manual_seed(1))
alike = F.normalize(unit(50, 1, 32, seed=2) + unit(50, 16, 32, seed=3), dim=-1)
streams = {                                                            # name: keys, writes per key, values
    "16 keys, each with 8 new values": (unit(50, 16, 32, seed=4), 8, values),
    "16 similar keys, 8 passes": (alike, 8, values[:, :16].repeat(1, 8, 1)),
    "32 random keys, once each": (unit(50, 32, 32, seed=5), 1, values[:, :32]),
}
print(f"{'':32} recalled: additive  delta    squared error: additive  delta")
for name, (k, n, v) in streams.items():
    made = both(k.repeat(1, n, 1), v).values()
    share = [recalled(S, k, v).float().mean() for S in made]
    error = [(k @ S.mT - v[:, -k.shape[1]:]).square().mean() for S in made]
    print(f"{name:32} {share[0]:18.2f} {share[1]:6.2f} {error[0]:26.2f} {error[1]:6.2f}")

# %% [markdown]
# The first line is the hook of this chapter at full size. A blind choice among a key's own eight values would be right one
# time in eight: adding is worse than that. The second line shows what repetition can do. In the third the delta rule recalls
# fewer items, with the smaller error. Now we have the tools to say why.
#
# ### Why items fade
#
# Each write erases a bit of every key that overlaps it. A random direction shares $1/K$ of its squared length, on average,
# with any fixed one, so a write leaves the fraction $1 - \beta/K$ of an unrelated item:
#
# $$ \frac1K \sum_{i=1}^{K} \big(I - \beta\,e_i e_i^\top\big) = \Big(1 - \frac{\beta}{K}\Big)\,I \tag{2.13} $$
#
# for every orthonormal basis $e_1, \dots, e_K$.

# %%
verify("2.13")

# %%
predict("2.e")

# %%
N, K = 64, 32
k, v = unit(200, N, K, seed=4), torch.randn(200, N, 32, generator=torch.Generator().manual_seed(5))
kept, found = {}, {}
for name, S in both(k, v).items():
    read = k @ S.mT                                                    # (200, N, V)
    share = (read * v).sum(-1) / v.square().sum(-1)                    # (200, N)
    kept[name] = share.mean(0).flip(0)                                 # by age: the last one first
    found[name] = recalled(S, k, v).float().mean(0).flip(0)
fading(kept, found, (1 - 1 / K) ** torch.arange(N));

# %% [markdown]
# The measured curve follows the law: after $a$ later writes $(1 - \beta/K)^a$ is left, a half-life of about $0.7\,K/\beta$
# writes. The additive memory keeps every item whole. Its trouble is noise: all items lie on top of each other, so on the
# right it recognizes each with the same probability. The delta memory keeps the latest items sharp and lets the oldest
# fade. It has the smaller error on average because fresh items hardly have any, and still loses the old ones.
#
# With more items than fit, one memory blurs everything and the other forgets the past. Which is better depends on what
# will be asked.
#
# ### Why repetition helps
#
# Adding the same list again changes nothing but the scale; the delta rule keeps correcting. In the plane you see how. Each
# pair is a line, and a write at $\beta = 1$ drops straight onto its own line. Start at the dot and alternate:

# %%
keys, values = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[3.0], [5.0]])
path = [torch.tensor([[0.3, -0.6]])]
for n in range(12):
    path.append(sgd_step(path[-1], keys[n % 2], values[n % 2], torch.tensor(1.0)))
plane(keys, values[:, 0], torch.stack(path)[:, 0], names=["says 3 for cat", "says 5 for lynx"],
      limits=(-0.5, 6.5, -1.2, 5.8));

# %% [markdown]
# The walk ends where the lines meet: at the memory that answers both keys. At right angles two steps would do; the more
# alike the keys, the longer the zigzag. Put N unit keys and their values into the rows of *matrices* $K$ and $V$. If the keys
# are linearly independent, pass after pass with $\beta = 1$ converges to
#
# $$ S_\infty = S_0 + \big(V^\top - S_0K^\top\big)\,(K^\top)^{+} \tag{2.14} $$
#
# where $^+$ is the pseudo-inverse: of all memories that answer every key correctly, the one nearest to the start.
#
# <details><summary>Why does it converge, and why to this one?</summary>
#
# Independent keys allow some memory $S_*$ that is right for all, $S_* k_i = v_i$. Look at the difference $D = S - S_*$. With
# $v = S_* k$, a write with $\beta = 1$ turns $D$ into $D - (Dk)k^\top = D\,(I - kk^\top)$: each row of $D$ is projected onto
# the vectors orthogonal to that key.
#
# *It converges.* Split a row into a part in the span of the keys and a part orthogonal to all of them. No write ever changes
# the second. The first stays in the span, and a projection shortens a vector unless it leaves it alone, which it does only if
# the vector is orthogonal to that key. A vector in the span that a whole pass does not shorten is thus orthogonal to every key,
# so it is zero. One pass multiplies the length of all others by at most some $c < 1$ (the largest ratio on the unit sphere of
# the span, a closed and bounded set), and after $n$ passes at most $c^n$ of the first part is left.
#
# *To this one.* Let $\Pi = K^\top(K^\top)^+$, the projection onto the span. The limit of $D$ is $(S_0 - S_*)(I - \Pi)$, so
# $S_\infty = S_0 + (S_* - S_0)\,\Pi$, and $S_*K^\top = V^\top$ makes it (2.14). Any other memory that is right for all keys
# differs from it by rows orthogonal to the span, while the rows of $S_\infty - S_0$ lie in the span: by Pythagoras it is
# farther from $S_0$. ∎
#
# </details>

# %%
verify("2.14")

# %% [markdown]
# So the honest answer has three parts:
#
# | stream | who remembers better |
# |---|---|
# | keys come back with new values | the delta rule, by far |
# | similar keys come back | the delta rule: each visit corrects |
# | each random key once | by recall the additive memory; by squared error, and for recent items, the delta rule |
#
# DeltaNet also has a way out that $\beta = 1$ hides: it can choose $\beta_t$ near 0 for tokens that are not worth a write.

# %% [markdown]
# ## Four names for one rule
#
# * **LMS, or the Widrow–Hoff rule** (1960): equation 2.3 as the learning rule of a single adaptive neuron. *Delta* is the
#   difference between target and output.
# * **Kaczmarz's method** (1937): solve linear equations by projecting onto one after the other. It is equation 2.3 with
#   $\beta_t = 1/\|k_t\|^2$.
# * **Fast weight programmers** (1992): a slow network programs the weights of a fast one. In 2021 Schlag, Irie and
#   Schmidhuber showed that linear attention is one, and gave it the delta rule.
# * **Test-time training** (2024): the state of a layer is a model, its update a training step. A linear model, the squared
#   loss and one token per step give equation 2.3.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | **the rule** | $S_t = S_{t-1} - \beta_t(S_{t-1}k_t - v_t)k_t^\top$, one gradient step on $\tfrac12\lVert Sk - v\rVert^2$ (2.3) |
# | **what** | replace $v_{\text{old}}$ by a blend of old and new (2.5) |
# | **how** | $S_t = S_{t-1}M_t + \beta_t v_t k_t^\top$ with $M_t = I - \beta_t k_t k_t^\top$ (2.6) |
# | **what is left of an error** | the fraction $1 - \beta\lVert k\rVert^2$, also the one eigenvalue of $M_t$ that is not 1 (2.8, 2.9) |
# | **stable** | $0 \le \beta\lVert k\rVert^2 \le 2$ (2.10); DeltaNet: $\lVert k\rVert = 1$, $\beta \in (0, 1)$ |
# | **price** | an unrelated later write leaves $1 - \beta/K$ of an item (2.13) |
# | **in the package** | `ops/delta_rule/recurrent.py`: `sgd_step`, `erase_then_write_step`, `transition_step`, `delta_rule_recurrent` |
#
# The rule has one flaw left: token $t$ must wait for token $t - 1$. Chapter 3 measures what that costs.

# %% [markdown]
# ## In other notations
#
# | | this book | the paper | flash-linear-attention | LMS |
# |---|---|---|---|---|
# | memory | $S$, (V, K) | $S$, $d_v \times d_k$ | `state`, **[K, V]**, the transpose | weights $w$ |
# | key, value | $k$, $v$ | $k$, $v$ | `k`, `v` | input $x$, target $d$ |
# | strength | $\beta$ | $\beta$ | `beta` | step size $\mu$ |
# | factor on $q$ | 1 | 1 | **$1/\sqrt K$** unless `scale` is given | none |
#
# The module `deltanet_edu.compat` speaks the library's dialect. The same tokens through both doors:

# %%
from deltanet_edu.compat import fused_recurrent_delta_rule

q, k, v = unit(1, 9, 2, 4, seed=0), unit(1, 9, 2, 4, seed=1), unit(1, 9, 2, 3, seed=2)     # K = 4, V = 3
beta = torch.rand(1, 9, 2, generator=torch.Generator().manual_seed(3))
o, S = delta_rule_recurrent(q, k, v, beta)
o_fla, S_fla = fused_recurrent_delta_rule(q, k, v, beta, output_final_state=True)

print("state is the transpose: ", S_fla.shape, torch.allclose(S_fla.mT, S, atol=1e-6))
print("outputs differ by 1/√K: ", torch.allclose(o_fla, o / 4**0.5, atol=1e-6))

# %% [markdown]
# ## Further reading
#
# * B. Widrow, M. E. Hoff (1960). *Adaptive switching circuits.* IRE WESCON Convention Record, part 4, 96–104.
# * S. Kaczmarz (1937). *Angenäherte Auflösung von Systemen linearer Gleichungen.* Bulletin International de l'Académie
#   Polonaise des Sciences et des Lettres, Série A 35, 355–357.
# * J. Schmidhuber (1992). *Learning to control fast-weight memories: an alternative to dynamic recurrent networks.* Neural
#   Computation 4(1), 131–139.
# * I. Schlag, K. Irie, J. Schmidhuber (2021). *Linear transformers are secretly fast weight programmers.* ICML;
#   [arXiv:2102.11174](https://arxiv.org/abs/2102.11174). Here the delta rule enters linear attention.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen, Y. Kim (2024). *Parallelizing linear transformers with the delta rule over sequence
#   length.* NeurIPS; [arXiv:2406.06484](https://arxiv.org/abs/2406.06484). The paper of this book; section 2.2 is this chapter.
# * Y. Sun et al. (2024). *Learning to (learn at test time): RNNs with expressive hidden states.*
#   [arXiv:2407.04620](https://arxiv.org/abs/2407.04620).
# * R. Grazzi et al. (2024). *Unlocking state-tracking in linear RNNs through negative eigenvalues.*
#   [arXiv:2411.12537](https://arxiv.org/abs/2411.12537). What β in (1, 2) is good for.
#
# **Now the exercises.** Reading a derivation feels like knowing it; writing it shows whether you do.
