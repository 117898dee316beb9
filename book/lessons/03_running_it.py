# %% [markdown]
# # 3. Running it
#
# *A memory that has to wait for itself.*

# %%
import torch
from torch.nn.functional import normalize

from deltanet_edu.bench.flops import flops
from deltanet_edu.bench.roofline import ceilings, kept, seconds, traffic
from deltanet_edu.figures import roofline as picture
from deltanet_edu.ops import delta_rule_chunkwise_by_hand, delta_rule_recurrent, delta_rule_recurrent_backward, sgd_step
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1)

# %% [markdown]
# ## The same work, packed differently
#
# The delta rule of chapter 2 is cheap. For each token it multiplies a matrix by two vectors and adds an outer product. For 1,024 tokens and one head of
# width 64 that is 25 million floating-point operations (FLOPs). A processor does tens of billions a second.
#
# So let us race the loop against something with as many FLOPs: one product of two square matrices.

# %%
predict("3.a")

# %%
def inputs(T, H=1, K=64, V=64, B=1, grad=False):
    g = torch.Generator().manual_seed(0)
    q, k = (normalize(torch.randn(B, T, H, K, generator=g), dim=-1) for _ in range(2))
    v, beta = torch.randn(B, T, H, V, generator=g), torch.rand(B, T, H, generator=g)
    return [x.requires_grad_(grad) for x in (q, k, v, beta)]

work = sum(flops(delta_rule_recurrent, *inputs(1024)).values())          # counted while it runs
n = round((work / 2) ** (1 / 3))                                         # an n x n x n product is 2n³ FLOPs
square, args = torch.randn(n, n), inputs(1024)
loop, product = seconds(lambda: delta_rule_recurrent(*args)), seconds(lambda: square @ square)
print(f"{work / 1e6:.1f} million FLOPs: token by token {1e3 * loop:.1f} ms, "
      f"as one product {1e3 * product:.2f} ms, {loop / product:.0f} times sooner")

# %% [markdown]
# Your numbers will differ, but not in kind. The same arithmetic takes far longer if it comes in 1,024 small portions, each of which has to wait for the one
# before.
#
# **The question of this chapter**: where does the time go, and is it the only thing wrong with the loop?

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * draw DeltaNet as a recurrent network, and say what in it is independent of what;
# * derive all its gradients through time by hand, and say when they can neither explode nor vanish;
# * count FLOPs, bytes and kept numbers with instruments, and place a program under the two roofs of a machine;
# * say why the loop is the wrong way to train, and the right way to generate.
#
# You need chapter 2 and the chain rule. Reading and running takes about an hour, the exercises an hour and three quarters. In the package, the chapter adds
# `delta_rule_recurrent_backward` to `deltanet_edu/ops/delta_rule/recurrent.py`, and the instruments in `deltanet_edu/bench/roofline.py`.

# %% [markdown]
# ## Three questions about chapters 1 and 2
#
# Answer each in your head, then open it.
#
# <details><summary>1. The delta rule as a linear recurrence: what is multiplied by what?</summary>
#
# $S_t = S_{t-1}M_t + \beta_t v_t k_t^\top$ with $M_t = I - \beta_t k_t k_t^\top$. The old memory stands on the left.
#
# </details>
#
# <details><summary>2. Which eigenvalues does M<sub>t</sub> have, and for which directions?</summary>
#
# $1 - \beta_t\|k_t\|^2$ along the key, and 1 for everything orthogonal to it. Today the same numbers decide about gradients.
#
# </details>
#
# <details><summary>3. Softmax attention needs no memory matrix. What does it keep instead, and how does that grow?</summary>
#
# Every key and every value: $K + V$ numbers a token. It grows with the text.
#
# </details>

# %% [markdown]
# ## A recurrent network whose state is a matrix
#
# Draw the loop out in time, and it is a recurrent neural network (RNN).

# %%
picture.unrolled();

# %% [markdown]
# *Blue, left to right: each memory is the one before, times a transition $M_t$, plus a write. Red, right to left: the gradients we derive below. They pass the
# same transitions.*
#
# Two things set it apart from a classical RNN. The step is *linear* in the state, and the transition comes *from the token* rather than from the weights. A third
# is easy to miss. $M_t$ stands on the right, so it mixes the columns of $S$, never the rows. Let $S^{[i]}$ be row $i$:
#
# $$ S_t^{[i]} = S_{t-1}^{[i]}\,M_t + \beta_t\,v_t^{[i]}\,k_t^\top, \qquad o_t^{[i]} = s\,S_t^{[i]}\,q_t \tag{3.1} $$
#
# *Proof.* Row $i$ of a product $XY$ is row $i$ of $X$, times $Y$. Row $i$ of $v\,k^\top$ is $v^{[i]}k^\top$. ∎

# %%
verify("3.1")

# %% [markdown]
# A head is therefore $V$ little networks with $K$ numbers each. They share keys, queries and strengths, and never exchange a word. So they can run on
# different processors. Here in two groups:

# %%
q, k, v, beta = inputs(T=50, K=8, V=6)
whole, _ = delta_rule_recurrent(q, k, v, beta)
upper, _ = delta_rule_recurrent(q, k, v[..., :2], beta)                  # value rows 1 and 2
lower, _ = delta_rule_recurrent(q, k, v[..., 2:], beta)                  # value rows 3 to 6
torch.allclose(torch.cat([upper, lower], -1), whole, atol=1e-6)

# %% [markdown]
# ## The gradient of one token, with numbers
#
# To train, the loss must travel back through the loop. Take the numbers of chapter 2: $S_0 = (1, 2)$, $k = (0.6, 0.8)$, $v = 3$, $\beta = \tfrac12$, and read
# with $q = (1, 0)$. Forward:
#
# * the memory says $S_0k = 2.2$, so the error is $e = 2.2 - 3 = -0.8$;
# * $S_1 = S_0 - \beta\,e\,k^\top = (1, 2) + 0.4\,(0.6, 0.8) = (1.24,\ 2.32)$, and the read is $o = S_1q = 1.24$.
#
# Let the loss be $o$ itself, so that $do = 1$. (A prefix $d$ means *gradient of the loss with respect to*.) Now backward, last step first:
#
# | step forward | gradient | in numbers |
# |---|---|---|
# | $o = S_1 q$ | $dS_1 = do\,q^\top$ | (1, 0) |
# | | $dq = S_1^\top do$ | (1.24, 2.32) |
# | $S_1 = S_0 - \beta\,e\,k^\top$ | $dS_1\,k$, *the gradient, read with the key* | 0.6 |
# | | $d\beta = -(dS_1k)\,e$ | $-0.6 \cdot (-0.8) = 0.48$ |
# | $e = S_0k - v$ | $dv = \beta\,dS_1k$ | 0.3 |
# | | $dS_0 = dS_1 - dv\,k^\top$ | $(1, 0) - 0.3\,(0.6, 0.8) = (0.82, -0.24)$ |
# | $k$, used twice | $dk = -\beta\,(dS_1^\top e + S_0^\top\,dS_1k)$ | $-\tfrac12\big((-0.8, 0) + (0.6, 1.2)\big) = (0.1, -0.6)$ |
#
# Does autograd agree?

# %%
S0, q, k, v, beta = (torch.tensor(x, dtype=torch.float64, requires_grad=True)
                     for x in ([[1.0, 2.0]], [1.0, 0.0], [0.6, 0.8], [3.0], 0.5))
o = sgd_step(S0, k, v, beta) @ q                                         # (V,)
o.backward()
for name, x in {"dq": q, "dbeta": beta, "dv": v, "dS0": S0, "dk": k}.items():
    print(f"{name:6}", [round(entry, 12) for entry in x.grad.flatten().tolist()])

# %% [markdown]
# ## The gradient of many tokens
#
# With more tokens, $S_t$ matters in two ways: $o_t$ reads it, and $S_{t+1}$ is made from it. Its gradient is the sum of what comes back from both.
#
# Both are products with $S_t$ on the left, and if $Y = XA$ then $dX = dY\,A^\top$. From $o_t = s\,S_tq_t$ comes $s\,do_t\,q_t^\top$. From
# $S_{t+1} = S_tM_{t+1} + \dots$ comes $dS_{t+1}M_{t+1}$, because $M$ is symmetric. So
#
# $$ dS_t = s\,do_t\,q_t^\top + dS_{t+1}\,M_{t+1} \tag{3.2} $$
#
# which starts at the last token with the gradient of the final memory (zero if nobody uses it) in the place of the second term.

# %%
verify("3.2")

# %% [markdown]
# Compare it with the forward rule. It is a memory once more, of the same shape, with the same transitions, run from the end of the text. Its "keys" are queries
# and its "values" are output gradients. All other gradients are read from the two memories, as in the table:
#
# $$ dq_t = s\,S_t^\top do_t, \qquad dv_t = \beta_t\,dS_t\,k_t \tag{3.3} $$

# %%
verify("3.3")

# %% [markdown]
# $$ d\beta_t = -\,(dS_t\,k_t)^\top e_t, \qquad e_t = S_{t-1}k_t - v_t \tag{3.4} $$

# %%
verify("3.4")

# %% [markdown]
# In words: the strength should grow if the correction, $-e_t$, points where the gradient wants the answer for this key to go.
#
# The key stands twice in $e_tk_t^\top$, once when the memory is asked and once when the answer is placed. The product rule gives one term for each:
#
# $$ dk_t = -\beta_t\,\big(dS_t^\top e_t + S_{t-1}^\top\,dS_t\,k_t\big) = -\beta_t\,dS_t^\top e_t - S_{t-1}^\top\,dv_t \tag{3.5} $$

# %%
verify("3.5")

# %% [markdown]
# Last, do not multiply by $M_{t+1}$: that costs $2VK^2$. Since $dS_{t+1}M_{t+1} = dS_{t+1} - \beta_{t+1}(dS_{t+1}k_{t+1})\,k_{t+1}^\top$, and the bracket times
# $\beta_{t+1}$ is $dv_{t+1}$,
#
# $$ dS_t = dS_{t+1} - dv_{t+1}\,k_{t+1}^\top + s\,do_t\,q_t^\top \tag{3.6} $$

# %%
verify("3.6")

# %% [markdown]
# Remember this line. Chapter 9 will do it for a whole chunk of tokens at a time, and the formula will look the same.
#
# ### Can it explode? Can it vanish?
#
# The classical RNN suffers from both: a gradient is multiplied by a matrix at each step, and after hundreds of steps it is huge or gone. Ours is multiplied by
# $M_t$. How much does one step take away?
#
# $$ \|dS\,M_t\|_F^2 = \|dS\|_F^2 - \beta_t\,\big(2 - \beta_t\|k_t\|^2\big)\,\|dS\,k_t\|^2 \tag{3.7} $$
#
# *Proof.* A row $x$ of $dS$ becomes $x - \beta(x k)k^\top$. Its square is $\|x\|^2 - 2\beta(xk)^2 + \beta^2(xk)^2\|k\|^2$. Add up the rows. ∎

# %%
verify("3.7")

# %% [markdown]
# For $0 \le \beta_t\|k_t\|^2 \le 2$ nothing is ever added: **what an output sends back cannot explode**. (It can with longer keys: one more reason to normalize.) And only what
# lies *along a key* is taken. A direction that no later key touches is carried through any number of tokens *unchanged*: the eigenvalue is exactly 1, not 0.99.
# Here is that experiment, among others.

# %%
predict("3.b")

# %%
def backward_norms(k, beta):
    """Size of a gradient, spread evenly at the last token, as it passes the T transitions of k: (T, K)."""
    dS, norms = torch.eye(k.shape[1]) / k.shape[1] ** 0.5, [1.0]
    for k_t in k:
        dS = dS - beta * torch.outer(dS @ k_t, k_t)                      # dS M, by eq. 3.6
        norms.append(dS.norm().item())
    return norms

raw = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
unit, half = normalize(raw, dim=-1), normalize(raw[:, :16], dim=-1)
half = torch.cat([half, torch.zeros(200, 16)], -1)                       # 16 dimensions without a key

# %%
curves = {"keys of length 1.6, β = 1": backward_norms(1.6 * unit, 1.0),
          "unit keys, β = 2": backward_norms(unit, 2.0),
          "unit keys, β = 0.5": backward_norms(unit, 0.5),
          "unit keys, β = 1": backward_norms(unit, 1.0),
          "unit keys in half the space, β = 1": backward_norms(half, 1.0)}
picture.backward_norms(curves, bound=0.5**0.5)
print(f"keys in half the space leave {curves['unit keys in half the space, β = 1'][-1]:.4f}; √½ = {0.5**0.5:.4f}")

# %% [markdown]
# *Red: $\beta\|k\|^2 = 2.56$ explodes. Gray: at 2 every step is a reflection and nothing is lost. Blue and green: random keys everywhere wear the gradient
# down, faster for a larger β; that is forgetting, seen from behind. Purple: with keys in half of the space the curve stops falling at $\sqrt{1/2}$, and
# stays there.*
#
# So the network chooses. Where it does not write, the past stays reachable; where it overwrites, the old value is gone and its gradient with it, as it should be.
# The LSTM needs a gate at each step to hold its state. Here holding is the default.

# %% [markdown]
# ## What the backward pass keeps
#
# Equations 3.3 to 3.5 need $S_{t-1}$ or $S_t$ for every token. PyTorch's hooks let us weigh what autograd puts aside.

# %%
predict("3.c")

# %%
args = inputs(T=256, grad=True)
held = {"the loop, by autograd": kept(delta_rule_recurrent, *args),
        "chapter 9, keeping": kept(delta_rule_chunkwise_by_hand, *args, chunk_size=64),
        "chapter 9, recomputing": kept(delta_rule_chunkwise_by_hand, *args, chunk_size=64, recompute=True)}
for name, size in held.items():
    print(f"{name:25}{size / 4 / 256:7,.0f} numbers a token")             # float32: 4 bytes a number

# %% [markdown]
# A memory per token. For 4,096 tokens and 16 heads of width 128 the memories alone are 4 GiB, for one layer and one sequence. (Chapter 9 will keep one per *chunk*.) Must it be so? Look at (3.5) again: $S_{t-1}$ and $dS_t$ stand in *different terms*. They never
# meet, except through the error $e_t$ and through $dv_t$, which are vectors. So:
#
# 1. run forward, and keep only the errors, $V$ numbers a token;
# 2. run $dS$ backward: gives $dv$, $d\beta$ and the first half of $dk$;
# 3. run the memory *forward again*, from the errors: gives $dq$ and the second half of $dk$.
#
# Three sweeps, no memory stored. flash-linear-attention's token-by-token kernel works like this. Here is ours:

# %%
show(delta_rule_recurrent_backward)

# %% [markdown]
# Against autograd, in double precision, with an initial memory and a gradient for the final one:

# %%
args = [x.detach().double().requires_grad_() for x in inputs(T=40, H=3, K=7, V=5, B=2)]
S0 = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
o, final = delta_rule_recurrent(*args, initial_state=S0, scale=0.5)
do, dS = torch.randn_like(o), torch.randn_like(final)

automatic = torch.autograd.grad((o, final), (*args, S0), (do, dS))
with torch.no_grad():
    by_hand = delta_rule_recurrent_backward(*args, do, dS, initial_state=S0, scale=0.5)
for name, a, b in zip(("dq", "dk", "dv", "dbeta", "dS0"), automatic, by_hand):
    print(f"{name:6} agrees to 1e-10: {(a - b).abs().max().item() < 1e-10}")

# %% [markdown]
# So memory can be cured. Time is the real illness: three times $T$ steps, one after another.
#
# ## Counting the work
#
# What does a step cost? Two products of the memory with a vector, $Sk$ and $Sq$, are $2KV$ FLOPs each; the outer product and its subtraction $KV$ each; and the
# error, the strength and the scale are $3V$. ($K$ and $V$ are widths here. Whoever only writes and does not read, as chapter 5 will, spares $Sq$: $4KV$.)
#
# $$ \text{FLOPs per token and head} = 6KV + 3V \tag{3.8} $$

# %%
verify("3.8")

# %% [markdown]
# No estimate: the check compared this with the operations PyTorch executed. The same instrument, open:

# %%
for name, count in flops(delta_rule_recurrent, *inputs(T=1, K=64, V=64)).items():
    print(f"{name:4} {count:7,}")

# %% [markdown]
# FLOPs are half of the bill. Numbers must also be *brought* to the processor and taken away. Three ways to run one step, from careless to ideal:
#
# * **Operation by operation**, as PyTorch does it: each small operation reads its inputs from memory and writes its result back.
# * **The whole step in one go**: fetch $S$ and the token, work, store $S$ and the output. With $n$ bytes a number, the *arithmetic intensity*, FLOPs per byte, is
#
# $$ I = \frac{6KV}{n\,(2KV + 2K + 2V + 1)} \tag{3.9} $$

# %%
verify("3.9")

# %% [markdown]
# * **The memory never leaves the chip**: a kernel holds $S$ in registers for the whole sequence, and only tokens and outputs move.
#
# Count the bytes of the first, with an instrument that watches each operation, and compute the other two:

# %%
def moved_per_token(K, V, n):
    """Bytes of (q, k, v, beta, o), without and with the memory fetched and stored."""
    return n * (2 * K + 2 * V + 1), n * (2 * K * V + 2 * K + 2 * V + 1)

K = V = 128
args, work = inputs(T=64, K=K, V=V), 6 * K * V + 3 * V
tokens, with_memory = moved_per_token(K, V, n=4)
ways = {"operation by operation": traffic(delta_rule_recurrent, *args) / 64,
        "one step in one go": with_memory, "memory stays on the chip": tokens}
for name, moved in ways.items():
    print(f"{name:25}{moved:10,.0f} bytes a token{work / moved:8.2f} FLOPs per byte")

# %% [markdown]
# ## Two roofs
#
# Let a machine do at most $P$ FLOPs (its *peak*) and move at most $b$ bytes a second (its *bandwidth*). A program with $F$ FLOPs and $B$ bytes needs at least $F/P$
# seconds for the one and $B/b$ for the other. (In this section only: elsewhere $B$ counts sequences, and $P$ will be a product of matrices.) If they overlap
# perfectly, the longer one counts, so its speed is at most
#
# $$ \frac{F}{\max(F / P,\; B / b)} = \min\!\Big(P,\; \frac{F}{B}\,b\Big) \tag{3.10} $$

# %%
verify("3.10")

# %% [markdown]
# This is the *roofline* (Williams and others, 2009). Plotted over the intensity $F/B$, it is a slope and a ceiling. Left of the corner a program waits for memory, right of it for
# arithmetic. Measure both roofs of this CPU (one core), and put some programs under them.

# %%
cpu = ceilings()
print(f"one core: {cpu['flop/s'] / 1e9:.0f} GFLOP/s in a product, {cpu['byte/s'] / 1e9:.0f} GB/s in a copy")

def placed(f, *args):
    """(FLOPs per byte, FLOP/s), both measured."""
    with torch.no_grad():
        work = sum(flops(f, *args).values())
        return work / traffic(f, *args), work / seconds(lambda: f(*args))

points = {"loop, 1 head": placed(delta_rule_recurrent, *inputs(256)),
          "loop, 64 heads": placed(delta_rule_recurrent, *inputs(16, H=64)),
          "one product": placed(torch.matmul, square, square)}
picture.roofs(cpu["flop/s"], cpu["byte/s"], points, "This CPU, one core", places={"one product": (-8, -18)});

# %% [markdown]
# *The loop stands at the far left, at a quarter of a FLOP per byte, where even a perfect program would reach a fraction of the ceiling. With one head it does
# not reach the slope either; 64 heads at once bring it nearer. The product from the beginning of the chapter has the same FLOPs as 1,024 tokens of the loop.*
#
# The point at the bottom is one that the roofline cannot explain. Neither arithmetic nor memory is busy. What is?

# %% [markdown]
# ## The clock counts steps
#
# Measure the time of *one step*, for wider heads and for more heads. If only the work counted, a head of twice the width would take four times as long, since its
# memory has four times as many numbers. That is the dotted line below.

# %%
def one_step(K, H, T=32):
    args = inputs(T, H=H, K=K, V=K)
    with torch.no_grad():
        return 1e6 * seconds(lambda: delta_rule_recurrent(*args)) / T

wider, more = (8, 16, 32, 64, 128, 256), (1, 4, 16, 64)
curves = {"one head, K = V = 8 ... 256": ([K * K for K in wider], [one_step(K, 1) for K in wider]),
          "1 ... 64 heads of width 64": ([H * 4096 for H in more], [one_step(64, H) for H in more])}
picture.per_step(curves, "The loop on this CPU", unit="microseconds");

# %% [markdown]
# *A step has a price of its own. With fewer than several thousand numbers it hardly matters how much is done in it.*
#
# And over the length of the text? The price is paid for each token:

# %%
for T in (64, 256, 1024):
    args = inputs(T)
    t = seconds(lambda: delta_rule_recurrent(*args))
    print(f"T = {T:4}   {1e3 * t:6.1f} ms   {1e6 * t / T:5.1f} microseconds a token")

# %% [markdown]
# A text four times as long takes at least four times as long, however many processors stand idle. (All times here are those of one core, without what other programs take.)
#
# On the CPU the fixed price is mostly Python and PyTorch starting operations. Would a compiled kernel on a GPU be free of it?

# %%
predict("3.d")

# %% [markdown]
# These are times of flash-linear-attention's token-by-token kernel on one H100, forward: one launch for the whole sequence, the memory in registers.

# %%
gpu = read_result("delta_rule_h100")                                     # None without the folder results
steps, numbers = {}, {}
for shape, times in gpu["shapes"].items() if gpu else ():
    B, T, H, d = map(int, shape.split(","))
    numbers[shape], steps[shape] = B * H * d * d, 1e3 * times["fla recurrent"]["forward"] / T
    print(f"B {B}  T {T:6,}  H {H:2}  K = V = {d:3}  {times['fla recurrent']['forward']:8.2f} ms {steps[shape]:7.2f} µs per step")
if gpu:
    print(f"{gpu['machine']['gpu']}, torch {gpu['versions']['torch']}, fla-core {gpu['versions']['fla-core']}, {gpu['date']}")
    print(f"deltanet-edu bench delta-rule, as recorded in results/delta_rule_h100.json; {gpu['dtype']}, medians")

# %% [markdown]
# Two rows of 16,384 tokens with 16 heads: 20 ms. One row of 32,768 with 8 heads, half the work: 39 ms. Seven of the nine shapes take 1.2 to 1.4 microseconds a step, whatever
# is in it.

# %%
if gpu:
    shapes = list(numbers.values()), list(steps.values())
    picture.per_step({"forward pass, nine shapes": shapes}, "The library's loop on one H100", unit="microseconds")

# %% [markdown]
# *Flat up to a million numbers, then it rises: only then is the chip full.*
#
# Why does a step take a microsecond on a chip that could do 800 *million* FLOPs in that time? Because it is a chain. Load $k_t$; multiply, and add up over $K$;
# subtract from $v_t$; update $S$; multiply by $q_t$, and add up; store; and the next token may begin. Each link waits for the one before, and waiting is not work:
#
# * **$T$ dependent steps.** Time is at least $T$ times the length of the chain, however large the machine.
# * **No matrix product.** Almost all of a GPU's FLOPs are in its tensor cores, which multiply matrices by *matrices*. A matrix times a vector cannot use them.
# * **Few programs.** The H100 has 132 multiprocessors. One sequence with 8 heads is 8 independent memories. By (3.1) rows can be split too; the kernel above gives 8
#   rows to each program, 128 in all, and each still has 32,768 steps to go.

# %%
if gpu:
    times, T, H, d = gpu["shapes"]["1,32768,8,128"], 32768, 8, 128
    work = T * H * 6 * d * d
    I = work / (T * H * moved_per_token(d, d, n=2)[0])
    P, b = gpu["ceilings"]["flop/s"], gpu["ceilings"]["byte/s"]
    loop, chunks = (1e3 * work / times[f"fla {name}"]["forward"] for name in ("recurrent", "chunk"))    # FLOP/s
    print(f"at most {min(P, I * b) / 1e12:.0f} TFLOP/s at {I:.0f} FLOPs per byte; token by token reaches "
          f"{loop / 1e12:.2f}, in chunks {chunks / 1e12:.0f}: {chunks / loop:.0f} times as fast")
    picture.roofs(P, b, {"token by token": (I, loop), "in chunks": (I, chunks)},
                  "One H100: 32,768 tokens, 8 heads of width 128", unit=1e12, name="TFLOP/s", limits=(0.1, 3000),
                  lines=[(6 * d * d / moved_per_token(d, d, n=4)[1], "generating\n(eq. 3.9)")])

# %% [markdown]
# *Both points are the same function on the same data, computed by the same library: FLOPs of the rule, bytes of its inputs and outputs. Red uses less than half a
# percent of what the roofs allow. Orange is the library's chunkwise kernel, the algorithm of part III. It does more FLOPs than are counted here, and is still 38 times as
# fast, because they come as matrix products and in 512 dependent steps instead of 32,768. With the backward pass the two take 204 and 3.1 ms.*

# %% [markdown]
# ## Which parallelism is there?
#
# | what is independent | how many | used by |
# |---|---|---|
# | sequences of a batch | B | everyone; limited by memory, and a long text is *one* sequence |
# | heads | H | everyone |
# | rows of $S$ (3.1) | V | kernels that split the value dimension |
# | entries of a row | K | only within a step: their sum is the read |
# | **tokens** | T | **nobody yet: each waits for the one before** |
#
# The last line is the largest number of all, and it is the one that is missing. Softmax attention has it: no token's attention waits for another's.

# %% [markdown]
# ## Where the loop shines: generating
#
# When a model *writes*, the next token does not exist yet. One at a time is then no restriction of the algorithm. Per layer and head, softmax attention keeps all
# keys and values and reads them again for each token; DeltaNet keeps one matrix, forever the same size. Equal numbers are kept when
#
# $$ T\,(K + V) = KV \quad\text{at}\quad T = \frac{KV}{K + V} \tag{3.11} $$

# %%
verify("3.11")

# %% [markdown]
# That is 64 tokens for width 128: about this paragraph. A model of 24 layers with 16 heads of width 128, the cache in bfloat16 and the memory in float32 (twice as
# wide, so it breaks even at 128):

# %%
layers, H, K, V = 24, 16, 128, 128
memory = layers * H * K * V * 4 / 2**20                                  # MiB
print(f"{'tokens':>9} {'cache, MiB':>12} {'memory, MiB':>12}")
for T in (128, 1024, 8192, 65536, 1048576):
    print(f"{T:>9,} {layers * H * T * (K + V) * 2 / 2**20:>12,.0f} {memory:>12,.0f}")

# %% [markdown]
# And the time of the next token? One layer, 8 heads of width 64, on this CPU:

# %%
def attend(query, keys, values):
    """One new query, (H, 1, K), over the cached keys, (H, T, K), and values, (H, T, V)."""
    return (query @ keys.mT / keys.shape[-1] ** 0.5).softmax(-1) @ values             # (H, 1, V)

H, d, lengths = 8, 64, [2**n for n in range(6, 15, 2)]
q, k, v, beta = inputs(1, H=H)
S, query, times = torch.randn(1, H, d, d), torch.randn(H, 1, d), {"softmax attention": [], "DeltaNet": []}
for T in lengths:
    keys, values = torch.randn(H, T, d), torch.randn(H, T, d)
    times["softmax attention"].append(seconds(lambda: attend(query, keys, values)))
step = seconds(lambda: delta_rule_recurrent(q, k, v, beta, initial_state=S))              # T does not enter
times["DeltaNet"] = [step] * len(lengths)

# %%
cache = [4 * H * T * 2 * d / 2**20 for T in lengths]
picture.decoding(lengths, cache, [4 * H * d * d / 2**20] * len(lengths), times);

# %% [markdown]
# *Both in float32. DeltaNet's lines are level, because nothing in the call grows with the text: the millionth token costs what the first one did. Softmax attention is quicker at first, but its price grows with the
# text. What DeltaNet pays instead you know from chapter 2: a memory of fixed size forgets.*
#
# So there are two problems, and they want different forms of the same function:
#
# | | training | generating |
# |---|---|---|
# | the tokens are | all known | made one by one |
# | the loop is | $T$ steps in a row, which only the rule asks for | one step, and no more is to be done |
# | memory | errors or states for the gradient | one $S$ |
# | what we want | all tokens of a chunk at once, in matrix products | the loop, in one kernel (chapter 14) |

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | **structure** | an RNN, linear in a matrix state; its $V$ rows are independent (3.1) |
# | **backward** | $dS_t = dS_{t+1} - dv_{t+1}k_{t+1}^\top + s\,do_tq_t^\top$, the same transitions from the end (3.6); $dq, dv, d\beta, dk$ are read off (3.3 to 3.5) |
# | **stability** | one step takes $\beta(2 - \beta\lVert k\rVert^2)\lVert dS\,k\rVert^2$ and adds nothing (3.7); what no key touches is kept |
# | **kept** | autograd: a memory per token. Three sweeps: $V$ numbers per token |
# | **cost** | $6KV + 3V$ FLOPs (3.8); below 3 FLOPs per number moved if the memory travels (3.9) |
# | **why slow** | $T$ dependent steps, no matrix product, few programs. Neither roof is touched |
# | **in the package** | `ops/delta_rule/recurrent.py`: `delta_rule_recurrent_backward`; `bench/roofline.py`: `seconds`, `ceilings`, `traffic`, `kept` |
#
# The way out: let $C$ tokens go together. Unroll the loop over a chunk, and it contains the product $M_1M_2\cdots M_C$. What such products do to space, and why there is less in
# them than it seems, is part II. It begins with a single mirror.

# %% [markdown]
# ## In other notations
#
# | | this book | flash-linear-attention | PyTorch's autograd |
# |---|---|---|---|
# | gradient of the memory | $dS$, (V, K) | `dh`, **[K, V]**, the transpose | `S.grad` |
# | of the final memory | `dS` | `dht` | `grad_outputs` |
# | of the initial memory | last result | `dh0` | |
# | what waits between the sweeps | the errors $e = Sk - v$ | `u` $= v - Sk$, so the signs of $dk$ and $d\beta$ turn | a memory per token |
#
# The paper calls this form *recurrent* and the form of chapter 8 *chunkwise*. Our own kernels for both come in chapters 11 to 14; chapter 13 measures them
# beside the library, with the command to repeat it.

# %% [markdown]
# ## Further reading
#
# * P. J. Werbos (1990). *Backpropagation through time: what it does and how to do it.* Proceedings of the IEEE 78(10), 1550–1560.
# * Y. Bengio, P. Simard, P. Frasconi (1994). *Learning long-term dependencies with gradient descent is difficult.* IEEE Transactions on Neural Networks 5(2),
#   157–166. Exploding and vanishing.
# * M. Arjovsky, A. Shah, Y. Bengio (2016). *Unitary evolution recurrent neural networks.* ICML;
#   [arXiv:1511.06464](https://arxiv.org/abs/1511.06464). An RNN whose transitions are kept at length 1 on purpose, among them Householder reflections.
# * A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret (2020). *Transformers are RNNs.* ICML; [arXiv:2006.16236](https://arxiv.org/abs/2006.16236). Linear
#   attention as a recurrence, with its gradients in constant memory.
# * A. N. Gomez, M. Ren, R. Urtasun, R. B. Grosse (2017). *The reversible residual network: backpropagation without storing activations.* NeurIPS;
#   [arXiv:1707.04585](https://arxiv.org/abs/1707.04585). Exercise 3.7 asks whether our memory could do that.
# * S. Williams, A. Waterman, D. Patterson (2009). *Roofline: an insightful visual performance model for multicore architectures.* Communications of the ACM
#   52(4), 65–76.
# * S. Yang, B. Wang, Y. Zhang, Y. Shen, Y. Kim (2024). *Parallelizing linear transformers with the delta rule over sequence length.* NeurIPS;
#   [arXiv:2406.06484](https://arxiv.org/abs/2406.06484). Section 3 begins with the problem that this chapter measures.
#
# **Now the exercises.** 3.3 is the heart of it: five lines that you will meet again in chapter 9, one chunk at a time.
