# %% [markdown]
# # 9. The backward pass
#
# *Chapter 8 in reverse: little to store, and a meaning for every term.*

# %%
import torch
from torch.nn.functional import normalize

from deltanet_edu.bench.flops import flops
from deltanet_edu.bench.roofline import kept
from deltanet_edu.figures import backward as picture
from deltanet_edu.ops import (delta_rule_chunkwise, delta_rule_chunkwise_by_hand, delta_rule_recurrent,
                              linear_attention_recurrent)
from deltanet_edu.ops.delta_rule.backward import ChunkwiseDeltaRule, backward_chunks
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.set_printoptions(precision=4, sci_mode=False)

# %% [markdown]
# ## Who is to blame?
#
# `cat → 3`, then `cat → 5`, then somebody asks for `cat`, and the answer should have been larger. Which of the two values should
# have been larger? The gradient of the answer says by how much each of them moves it. Guess the two numbers, for a memory that adds
# and for one that overwrites, before you run the cell.

# %%
def blame(rule, *strength):
    """What is read for cat after the second write, and how much each value moves it."""
    cat = torch.tensor([[1.0, 0.0], [1.0, 0.0]])[None, :, None]  # (1, T, 1, K)
    v = torch.tensor([3.0, 5.0]).view(1, 2, 1, 1).requires_grad_()
    answer = rule(cat, cat, v, *strength)[0][0, -1, 0, 0]
    return answer.item(), torch.autograd.grad(answer, v)[0].flatten().abs().tolist()

print("adds               ", blame(linear_attention_recurrent))
print("overwrites, β = 1  ", blame(delta_rule_recurrent, torch.tensor([1.0, 1.0]).view(1, 2, 1)))
print("overwrites, β = 0.5", blame(delta_rule_recurrent, torch.tensor([1.0, 0.5]).view(1, 2, 1)))

# %% [markdown]
# The memory that adds blames both values. The one that overwrites blames the second alone: the 3 is gone, and so is its gradient. At
# half strength half of it is left, and half of its gradient.
#
# So the backward pass must know what each write has erased. Token by token that is chapter 3. **The question of this chapter**: how
# does the blame pass through a whole chunk at once?

# %% [markdown]
# ## Why not leave it to autograd?
#
# Autograd has just answered, correctly and without our help, as it does for every form in this book. What does it ask in return? It
# keeps tensors from the forward pass until the backward pass has used them. Chapter 3 weighed what it keeps of the token loop: a memory per
# token. The chunkwise form makes a memory per *chunk*. Problem solved?

# %%
predict("9.a")

# %%
def one_head(T, d=64):
    """q, k, v, beta of one head, float32, with gradients wanted."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, T, 1, d)
    qkvb = normalize(q, dim=-1), normalize(k, dim=-1), v, torch.rand(1, T, 1)
    return [x.float().requires_grad_() for x in qkvb]

args = one_head(1024)
chunkwise = kept(delta_rule_chunkwise, *args, chunk_size=32)
print(f"inputs      {sum(x.nbytes for x in args) / 2**20:5.2f} MiB")
print(f"chunkwise   {chunkwise / 2**20:5.2f} MiB")
print(f"token loop  {kept(delta_rule_recurrent, *args) / 2**20:5.2f} MiB")

# %% [markdown]
# Better than the loop, and still four times what comes in: $\mathbf{T}$, $W$, $U$, $X$, the masked products, the memories between chunks,
# the inputs cut into chunks. In a model of modest size that becomes

# %%
layers, heads, batch, length = 24, 16, 8, 2048
print(f"{chunkwise / 1024 * layers * heads * batch * length / 2**30:.0f} GiB")

# %% [markdown]
# for this one operation. But **almost everything can be computed again from the inputs**, in a moment. For that we
# need the backward pass in our own hands.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * send a gradient through a triangular solve without differentiating an inverse;
# * derive the gradients of $Q$, $K$, $V$, $\beta$ and $S$ for one chunk, and say which part of it is sequential;
# * say what a write strength learns from;
# * wrap a formula in `torch.autograd.Function`, decide what to save and what to recompute, and test it so that a slip of 0.1 %
#   is found.
#
# You need chapter 8, and from chapter 3 what it means to go back through time. Reading and running takes about an hour and a
# quarter, the exercises three hours: they end with a review of chapters 1 to 9. In the package, the chapter builds
# `deltanet_edu/ops/delta_rule/backward.py`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 3: two memories run through the loop, S forward and dS backward. Which gradients are read from which?</summary>
#
# $dv_t$ from $dS_t$ alone; $dq_t$ from $S_t$ alone; $dk_t$ and $d\beta_t$ from both.
#
# </details>
#
# <details><summary>2. Chapter 6: (I + A) X = Z with A strictly lower triangular. In which order are the rows of X found? And for the transposed system?</summary>
#
# From the first row down: $x_t = z_t - \sum_{i<t} A_{ti}\,x_i$. With $(I + A)^\top$ from the last row up: later tokens first.
#
# </details>
#
# <details><summary>3. Chapter 8: write X in residual form. What is it when the memory is already right about every key?</summary>
#
# $X = \mathbf{T}\,(V - KS^\top)$. If $V = KS^\top$ it is zero: nothing is written.
#
# </details>

# %% [markdown]
# ## Two rules
#
# As in chapter 3, $dY$ is the gradient of the loss with respect to $Y$, a matrix of the shape of $Y$. For a matrix product
# there is one rule, and shapes alone would force it on us:
#
# $$ Y = A B: \qquad dA = dY\,B^\top, \qquad dB = A^\top\,dY \tag{9.1} $$

# %%
verify("9.1")

# %% [markdown]
# The second rule is for the triangular system $LX = Z$ with $L = I + A$. It would be possible to differentiate the inverse. It
# is shorter not to have one. Let everything change a little; the system must go on holding:
#
# 1. $\delta L\,X + L\,\delta X = \delta Z$, so $\;\delta X = L^{-1}(\delta Z - \delta L\,X)$.
# 2. The loss changes by $\langle dX,\ \delta X\rangle = \langle L^{-\top}dX,\ \delta Z - \delta L\,X\rangle$.
# 3. What is multiplied with $\delta Z$ is $dZ$; what is multiplied with $\delta L$ is $dL$. ∎
#
# $$ L X = Z: \qquad dZ = L^{-\top}\,dX, \qquad dL = -\,dZ\,X^\top \tag{9.2} $$

# %%
verify("9.2")

# %% [markdown]
# This is *implicit differentiation*: one more solve, with the transposed matrix, and one outer product. $L$ runs forward in
# time, so $L^\top$ runs backward: it collects what later tokens have done with $x_t$.
#
# By hand, with two tokens: $x_1 = z_1$ and $x_2 = z_2 - a\,x_1$. Suppose $dx_1 = 1$, $dx_2 = 10$, and $a = 0.3$. Then
# $dz_2 = 10$, but $z_1$ acts twice: $dz_1 = 1 - 0.3 \cdot 10 = -2$. And $da = -dz_2\,x_1$.

# %%
L = torch.tensor([[1.0, 0.0], [0.3, 1.0]])
torch.linalg.solve(L.mT, torch.tensor([1.0, 10.0]))

# %% [markdown]
# The long way round is to form the inverse, call it $\mathbf{T}_1 = L^{-1}$ (in code `UT1`), and to differentiate it:
# $dL = -\mathbf{T}_1^\top\,d\mathbf{T}_1\,\mathbf{T}_1^\top$ with $d\mathbf{T}_1 = dX\,Z^\top$. It is the same matrix:
#
# $$ -\,L^{-\top}\,\big(dX\,Z^\top\big)\,L^{-\top} = -\,dZ\,X^\top \tag{9.3} $$

# %%
verify("9.3")

# %% [markdown]
# But not at the same price, for a chunk of 64 tokens with $d_v = 64$:

# %%
UT1, X, Z, dX = torch.randn(64, 64).tril(), *torch.randn(3, 64, 64)
dZ = UT1.mT @ dX                                            # needed in any case
print("long ", flops(lambda: UT1.mT @ (dX @ Z.mT) @ UT1.mT))
print("short", flops(lambda: dZ @ X.mT))

# %% [markdown]
# A third of the work, and no inverse had to be differentiated. This is the whole trick of the chapter; what follows is
# bookkeeping.

# %% [markdown]
# ## The forward pass, as a list
#
# We use the residual form (8.6), with $\mathbf{T} = \mathbf{T}_1\,\mathrm{diag}(\beta)$ taken apart: $\mathbf{T}_1 = (I + A)^{-1}$ is the inverse alone.
# (A scale $s$ is a factor on $q$: we multiply it in before and forget it.)
#
# | | line | uses of the memory $S$ and of $X$ |
# |---|---|---|
# | across chunks | $R = V - KS^\top$ | $S$ |
# | within the chunk | $X = \mathbf{T}_1\,(\beta \odot R)$ | |
# | store | $O = QS^\top + PX$, with $P = \mathrm{tril}(QK^\top)$ | $S$ and $X$ |
# | update | $S' = S + X^\top K$ | $S$ and $X$ |

# %%
def forward(Q, K, V, beta, S):
    A = (beta[:, None] * (K @ K.mT)).tril(-1)               # (C, C)
    UT1 = torch.linalg.solve_triangular(A, torch.eye(len(K)), upper=False, unitriangular=True)
    P = (Q @ K.mT).tril()                                   # (C, C)
    R = V - K @ S.mT                                        # (C, V)
    X = UT1 @ (beta[:, None] * R)                           # (C, V)
    return Q @ S.mT + P @ X, S + X.mT @ K, (UT1, P, R, X)

# %% [markdown]
# Going back, a tensor's gradient is the sum over its uses. The table shows what to collect: $X$ is used twice, $S$ three times.

# %% [markdown]
# ## The sequential part
#
# We are given $dO$ from the layers above, and $dS'$ from the chunk after this one. Three steps, each a use of
# (9.1) or (9.2):
#
# 1. $X$ is used by the outputs and by the leaving memory: two terms.
# 2. Through the system: $dZ = \mathbf{T}_1^\top\,dX$ for $Z = \beta \odot R$; then $dR = \beta \odot dZ$, and $V$ enters $R$ as it is,
#    so $dV = dR$.
# 3. $S$ is used in $S'$, in $O$, and with a minus in $R$: three terms.
#
# $$ dX = P^\top dO + K\,dS'^\top, \qquad dV = \beta \odot \mathbf{T}_1^\top\,dX, \qquad
# dS = dS' + dO^\top Q - dV^\top K \tag{9.4} $$

# %%
verify("9.4")

# %% [markdown]
# ### By hand: our three tokens, once more
#
# | t | $k_t$ | $v_t$ | $\beta_t$ |
# |---|---|---|---|
# | 1 | (1, 0) | 5 | 1 |
# | 2 | (0.6, 0.8) | 4 | 0.5 |
# | 3 | (0, 1) | 2 | 1 |
#
# The memory that enters is $S = (1, 2)$. Only the last token reads, with $q_3 = (1, 0)$, and the loss is what it reads:
# $dO = (0, 0, 1)$, $dS' = 0$.
#
# * $dX$: the last row of $P$ is $k_i^\top q_3 = (1,\ 0.6,\ 0)$, and that is $dX$.
# * $dZ$: the couplings are $A_{21} = 0.5 \cdot 0.6 = 0.3$ and $A_{32} = 0.8$. From the last row up: $dz_3 = 0$,
#   $\;dz_2 = 0.6 - 0.8 \cdot 0 = 0.6$, $\;dz_1 = 1 - 0.3 \cdot 0.6 = 0.82$.
# * $dV = \beta \odot dZ = (0.82,\ 0.3,\ 0)$.
# * $dS = (1, 0) - 0.82\,(1, 0) - 0.3\,(0.6, 0.8) = (0,\ -0.24)$.

# %%
K3 = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])     # (C, K)
V3 = torch.tensor([[5.0], [4.0], [2.0]])                    # (C, V)
beta3, S3 = torch.tensor([1.0, 0.5, 1.0]), torch.tensor([[1.0, 2.0]])  # (C,), (V, K)
Q3 = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])     # (C, K)

inputs = [x.clone().requires_grad_() for x in (Q3, K3, V3, beta3, S3)]
read = forward(*inputs)[0][2, 0]
dQ3, dK3, dV3, dbeta3, dS3 = torch.autograd.grad(read, inputs)
print("dV", dV3[:, 0], "  dS", dS3[0])

# %% [markdown]
# Read the numbers. A little more in $v_1$ raises the answer by 0.82, not by 1, because token 2 overlaps with token 1 and
# corrects half of what it finds. And the old memory's first entry has *no* influence: token 1 has erased it with $\beta = 1$.

# %% [markdown]
# ### What the chain needs
#
# The chunks must be visited from last to first, because $dS$ of one is $dS'$ of the one before. Look at (9.4) and decide:

# %%
predict("9.b")

# %%
def gradients(V, S, dO, dS):
    """dV and the gradient of S, for the three tokens with other values and another memory."""
    V, S = V.clone().requires_grad_(), S.clone().requires_grad_()
    O, S_out, _ = forward(Q3, K3, V, beta3, S)
    return torch.autograd.grad((O, S_out), (V, S), (dO, dS))

torch.manual_seed(0)
dO, dS = torch.randn(3, 1), torch.randn(1, 2)
dV_a, dS_a = gradients(V3, S3, dO, dS)
dV_b, dS_b = gradients(100 * torch.randn(3, 1), 100 * torch.randn(1, 2), dO, dS)
print("same dV:", torch.allclose(dV_a, dV_b), "  same dS:", torch.allclose(dS_a, dS_b))

# %% [markdown]
# No $V$, no $X$, no $S$ in the chain. So the backward chain need not wait for the forward one: if the memories have to be
# computed again, both chains can run *side by side*, in opposite directions.

# %%
picture.chains();

# %% [markdown]
# *Red: the memory, from the first chunk to the last. Green: its gradient, from the last to the first. Neither waits for the
# other; all the rest needs both and runs for all chunks at once. On a GPU they can share one
# launch: chapter 12.*

# %% [markdown]
# ## The keys are everywhere
#
# $K$ is used five times: to ask the memory, in $R$; to write, in $S'$; to be read, in $P$; and *twice* in the overlaps
# $KK^\top$ inside $A$. The last is new. By (9.2), $dA$ is an outer product, of which only the entries count that $A$
# has. $A$ is $\mathrm{diag}(\beta)\,KK^\top$ below the diagonal, and $\beta \odot dZ$ is $dV$, so
#
# $$ dA = -\,\mathrm{stril}(dZ\,X^\top), \qquad d(KK^\top) = -E, \qquad E = \mathrm{stril}(dV\,X^\top) \tag{9.5} $$

# %%
verify("9.5")

# %% [markdown]
# In $G = KK^\top$ the key $k_t$ appears in row $t$ and in column $t$. Rule (9.1) therefore gives two terms, $dG\,K$
# and $dG^\top K$: together $-(E + E^\top)\,K$. Collect the five uses, and the two of $Q$:
#
# $$ dQ = dO\,S + dP\,K, \qquad dP = \mathrm{tril}(dO\,X^\top), \qquad
# dK = dP^\top Q + X\,dS' - dV\,S - (E + E^\top)\,K \tag{9.6} $$

# %%
verify("9.6")

# %% [markdown]
# | term of $dK$ | what the key is told |
# |---|---|
# | $dP^\top Q$ | be found, or not, by the queries of this chunk |
# | $X\,dS'$ | store what was written where later chunks look |
# | $-\,dV\,S$ | ask the old memory a better question |
# | $-\,E\,K$ | mind what the earlier tokens of this chunk have written |
# | $-\,E^\top K$ | mind what the later tokens will take away |

# %% [markdown]
# ## What a write strength learns from
#
# $\beta$ appears in $Z = \beta \odot R$ and in $A$. Adding the two up would do, but there is a shorter way. Row $t$ of the
# system reads $x_t = \beta_t\,e_t$, where $e_t$ is the error that token $t$ met: $e_t = v_t - S_{t-1}k_t$. A change of
# $\beta_t$ acts on that row like a change of $z_t$ by $e_t$, and what a change of $z_t$ does is $dz_t$:
#
# $$ d\beta_t = (\mathbf{T}_1^\top\,dX)_t^\top\, e_t, \qquad e_t = v_t - S_{t-1} k_t = \big(R - \mathrm{stril}(KK^\top)\,X\big)_t \tag{9.7} $$

# %%
verify("9.7")

# %% [markdown]
# *The gradient of a write strength is the gradient on the write times the prediction error.* It is eq. 3.4 for a whole chunk:
# $dz_t$ is the $dS_t k_t$ of chapter 3, where the error had the opposite sign. In the example the errors are
# $(4,\ -0.6,\ 0.24)$ (chapter 8: the writes were 4, −0.3, 0.24), and $dZ = (0.82, 0.6, 0)$. So $d\beta = (3.28,\ -0.36,\ 0)$:

# %%
dbeta3

# %% [markdown]
# Here is a stream of four orthogonal keys, some of them written again. The first `A → 1` meets an empty memory.

# %%
predict("9.c")

# %%
names = ["A→1", "B→2", "A→1", "C→3", "B→5", "D→4", "A→1", "B→5", "C→1"]
keys = torch.eye(4)[["ABCD".index(name[0]) for name in names]]  # (T, K)
values = torch.tensor([[float(name[-1])] for name in names])  # (T, V)
strength, everything = torch.ones(9, requires_grad=True), torch.ones(9, 4)

O, S_out, (UT1, P, R, X) = forward(everything, keys, values, strength, torch.zeros(1, 4))
O.sum().backward()
error = R - (keys @ keys.mT).tril(-1) @ X                   # (T, V)
picture.surprises(names, error[:, 0], strength.grad);

# %% [markdown]
# *Above: the error each token met. Below: the gradient of its write strength. Every token reads all four keys, and the loss is the
# sum of what is read; so the gradient is the error times the number of reads until the same key is written again. `C→3`: an error
# of 3, five reads, 15. Where the token brought nothing new (the second and third `A→1`, the second `B→5`) there is nothing: a
# write strength learns from surprises.*
#
# (Why not $e_t = x_t / \beta_t$? It is right, until a token has $\beta_t = 0$. Exercise 9.4.)

# %% [markdown]
# ## Backward, the memory forgets the same things
#
# Put the first two formulas of (9.4) into the third and collect what is multiplied with $dS'$. With $W = \mathbf{T}K$ from chapter 5,
#
# $$ dS = dS'\,(I - K^\top W) + dO^\top\,(Q - P\,W) \tag{9.8} $$

# %%
verify("9.8")

# %% [markdown]
# Forward, the memory goes through $S \mapsto S\,(I - W^\top K)$ (eq. 5.5). Backward, its gradient goes through the transposed
# matrix. What the tokens of a chunk have erased, later losses cannot see; and no gradient grows on the way as long as
# $\beta\|k\|^2 \le 2$ (eq. 2.10), because $I - W^\top K$ is a product of the $M_t = I - \beta_t k_t k_t^\top$ of chapter 2. In
# the example, nothing of the first entry came through: $dS = (0, -0.24)$.

# %% [markdown]
# ## The whole backward pass
#
# Equations 9.4 to 9.7 in order. The labels are the ones of chapter 8; *across* comes first now, because the chunk before is
# waiting for it.

# %%
def backward(Q, K, V, beta, S, saved, dO, dS):
    UT1, P, R, X = saved
    dX = P.mT @ dO + K @ dS.mT                              # (C, V)   across chunks
    dZ = UT1.mT @ dX                                        # (C, V)
    dV = beta[:, None] * dZ                                 # (C, V)
    dS_in = dS + dO.mT @ Q - dV.mT @ K                      # (V, K)   update
    dP = (dO @ X.mT).tril()                                 # (C, C)   within the chunk
    E = (dV @ X.mT).tril(-1)                                # (C, C)
    dQ = dO @ S + dP @ K                                    # (C, K)
    dK = dP.mT @ Q + X @ dS - dV @ S - (E + E.mT) @ K       # (C, K)
    e = R - (K @ K.mT).tril(-1) @ X                         # (C, V)
    return dQ, dK, dV, (dZ * e).sum(-1), dS_in              # store

# %% [markdown]
# Five chunks, a memory that is not empty, random gradients arriving at every output and at the last memory; against autograd
# through the token loop:

# %%
torch.manual_seed(2)
N, C, K, V = 5, 4, 6, 3
q, k = torch.randn(N, C, K), normalize(torch.randn(N, C, K), dim=-1)
v, beta = torch.randn(N, C, V), torch.rand(N, C)
S0, dO, dS_last = torch.randn(V, K), torch.randn(N, C, V), torch.randn(V, K)

states = [S0]
for n in range(N):
    states.append(forward(q[n], k[n], v[n], beta[n], states[-1])[1])

found, dS = [None] * N, dS_last
for n in reversed(range(N)):
    chunk = q[n], k[n], v[n], beta[n], states[n]
    *found[n], dS = backward(*chunk, forward(*chunk)[2], dO[n], dS)

# %%
def tokens(x):
    """(N, C, ...) -> (1, N C, 1, ...): one batch entry, one head."""
    return x.flatten(0, 1)[None, :, None]

leaves = [*map(tokens, (q, k, v, beta)), S0[None, None]]
leaves = [x.requires_grad_() for x in leaves]
o, S_last = delta_rule_recurrent(*leaves[:4], initial_state=leaves[4])
expected = torch.autograd.grad((o, S_last), leaves, (tokens(dO), dS_last[None, None]))

for name, mine, theirs in zip(("dQ", "dK", "dV", "dbeta"), zip(*found), expected):
    same = torch.allclose(torch.cat(mine), theirs[0, :, 0], atol=1e-12)
    print(f"{name:6} agrees to 1e-12: {same}")
print("dS     agrees to 1e-12:", torch.allclose(dS, expected[4][0, 0], atol=1e-12))

# %% [markdown]
# The package's version is the same list, for all chunks at once, with the products that do not wait for $dS'$ taken
# out of the loop. `baddbmm_` is a product and a sum in one call, in place.

# %%
show(backward_chunks)

# %% [markdown]
# ## A function with a gradient of its own
#
# `torch.autograd.Function` ties a forward pass to a backward pass. What `forward` saves with `ctx.save_for_backward` is what is
# kept. Here that is the inputs and nothing else; the rest is computed again.

# %%
class Chunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q, K, V, beta, S)
        O, S_out, _ = forward(Q, K, V, beta, S)
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):                              # one gradient per result
        inputs = ctx.saved_tensors
        return backward(*inputs, forward(*inputs)[2], dO, dS)  # one per input, in the same order

# %% [markdown]
# ### Trust, but check
#
# `gradcheck` does not know our formulas. It moves every entry of every input a little, up and down, and compares the change of
# every output with what `backward` claims. In float64 that resolves errors of one in a million; by default it forgives 0.1 %,
# so we ask for more. As inputs we choose what breaks wrong formulas: $d_k \ne d_v$, a repeated key, and a token with
# $\beta = 0$.

# %%
torch.manual_seed(3)
inputs = [torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 2), torch.rand(4), torch.randn(2, 3)]
inputs[1][3], inputs[3][1] = inputs[1][0], 0.0
inputs = [x.requires_grad_() for x in inputs]
torch.autograd.gradcheck(Chunk.apply, inputs, rtol=1e-5, atol=1e-8)

# %% [markdown]
# `True` would be worth little if a wrong formula passed too. Make every gradient of the keys 0.1 % too large:

# %%
class Slipped(Chunk):
    @staticmethod
    def backward(ctx, dO, dS):
        dQ, dK, *rest = Chunk.backward(ctx, dO, dS)
        return dQ, 1.001 * dK, *rest

try:
    torch.autograd.gradcheck(Slipped.apply, inputs, rtol=1e-5, atol=1e-8)
except RuntimeError as error:
    print(str(error).splitlines()[0])

# %% [markdown]
# Found, with the number of the input: 1, the keys. Run this test on every backward pass you write.

# %% [markdown]
# ## Save or recompute?
#
# The package leaves the choice to you: `recompute=True` saves the inputs and the entering memory; otherwise the results of each
# chunk are kept as well. For $T$ tokens of one head, in numbers:
#
# $$ M_{\text{save}} = T\,(2d_k + 2d_v + 2C + 1) + \Big(\frac{T}{C} + 1\Big)\,d_k d_v, \qquad
# M_{\text{recompute}} = T\,(2d_k + d_v + 1) + d_k d_v \tag{9.9} $$

# %%
verify("9.9")
show(ChunkwiseDeltaRule)

# %% [markdown]
# The hook of the opening, for four ways to train the same layer:

# %%
by_hand = delta_rule_chunkwise_by_hand
forms = {"token loop": (delta_rule_recurrent, {}),
         "chunkwise, autograd": (delta_rule_chunkwise, {"chunk_size": 32}),
         "by hand, saving": (by_hand, {"chunk_size": 32}),
         "by hand, recomputing": (by_hand, {"chunk_size": 32, "recompute": True})}
lengths = (64, 128, 256, 512, 1024)
curves = {name: [kept(f, *one_head(T), **options) / 2**20 for T in lengths]
          for name, (f, options) in forms.items()}
picture.kept(lengths, curves);

# %%
for name, mib in curves.items():
    saved = curves["token loop"][-1] / mib[-1]
    print(f"{name:22} {mib[-1]:6.2f} MiB   {saved:5.1f} times less than the loop")

# %% [markdown]
# *All lines have slope 1; the distance between them is the point.* Recomputing keeps what any layer must keep, its inputs, and
# one memory. The price is work:

# %%
predict("9.d")

# %%
def forward_and_backward(f, **options):
    args = one_head(512)
    o, _ = f(*args, **options)
    torch.autograd.grad(o.sum(), args)

for name, (f, options) in forms.items():
    work = sum(flops(forward_and_backward, f, **options).values()) / 512
    print(f"{name:22} {work:>9,.0f} FLOPs per token")

# %% [markdown]
# Recomputing adds 29 %. And a surprise: by hand is *more* work than autograd, not less. We compute the errors again rather than
# keep them, and the residual form has more products in its backward pass. Is it slower?

# %%
from statistics import median

from deltanet_edu.bench.chunkwise_cpu import inputs as benchmark_inputs, milliseconds

args, do = benchmark_inputs(1, 1024, 4, 64, 64)
times = {name: [] for name in forms if name != "token loop"}
for _ in range(9):
    for name in times:
        f, options = forms[name]
        times[name].append(milliseconds(f, args, do, **options))
for name, t in times.items():
    print(f"{name:22} {median(t):5.1f} ms forward and backward")

# %% [markdown]
# On the machine of this notebook, saving by hand is the fastest of the three, although it does more work than autograd: what
# costs time here is moving numbers, not multiplying them, and by hand they are moved less, in fewer calls, often in place.
# Recomputing gives part of that back. The paper's kernels recompute too.
#
# One thing would be lost. Autograd can differentiate its own backward pass, and a training loss sometimes asks for that: a penalty
# on the size of a gradient, say. Ours works in place and leaves no trace to differentiate; the penalty would then count as zero,
# without a word. But `backward` can tell: unless somebody asks for `create_graph=True`, it runs with gradients switched off. If they
# are on, the package hands the work back to autograd, through `delta_rule_chunkwise`, which has the same derivatives. Expect the
# same second derivative as from the loop, up to rounding.

# %%
def of_a_penalty(f):
    q, k, v, beta = one_head(8, d=4)
    o, _ = f(q, k, v, beta)
    g, = torch.autograd.grad(o.square().sum(), k, create_graph=True)
    return torch.autograd.grad(g.square().sum(), k)[0]

loop, ours = of_a_penalty(delta_rule_recurrent), of_a_penalty(delta_rule_chunkwise_by_hand)
print(f"largest entry {loop.abs().max():.1f}, largest difference {(loop - ours).abs().max():.0e}")

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | through a triangular system | $dZ = L^{-\top}dX$, $\;dL = -dZ\,X^\top$: no derivative of an inverse |
# | the chain, last chunk first | $dX = P^\top dO + K\,dS'^\top$, $\;dV = \beta \odot \mathbf{T}_1^\top dX$, $\;dS = dS' + dO^\top Q - dV^\top K$ |
# | what it needs | keys, queries, β and $dO$; no values, no memory |
# | $d\beta_t$ | gradient on the write, times the error the token met |
# | memory | recompute: the inputs. Save: $2C + d_v + d_kd_v/C$ numbers more per token |
#
# **Added to the package**: `delta_rule_chunkwise_by_hand` in `ops/delta_rule/backward.py`, which the front door `delta_rule`
# uses on a CPU.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | the paper | says that hidden states are recomputed in the backward pass to save memory, as here with `recompute=True` |
# | flash-linear-attention | `dh` is our $dS^\top$; `dv` is first our $dX$ and, after the WY step, our $dV$; the scale is explicit |
# | papers in W/U form | $dU = dX$ and $dW = -dX\,S$, and both go through $\mathbf{T}$; the gradients are the same |

# %% [markdown]
# ## Further reading
#
# * M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation", in *Advances in
#   Automatic Differentiation*, Springer, 2008, 35–44. Rules like (9.1) and (9.2), for most matrix operations.
# * A. Griewank and A. Walther, *Evaluating Derivatives*, 2nd edition, SIAM, 2008. What to save and what to recompute, in general.
# * T. Chen, B. Xu, C. Zhang and C. Guestrin, "Training deep nets with sublinear memory cost", 2016, arXiv 1604.06174.
#   Recomputation between layers.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence
#   Length", *NeurIPS* 2024, arXiv 2406.06484.
#
# **Next**: the exercises, and with them a review of everything so far. After that the book changes its ground and goes to the GPU,
# from zero, in chapters 10 to 13. Where one of them is not written yet, the link below skips it.
