# %% [markdown]
# # 14. The DeltaNet layer and its rivals
#
# *What stands around the rule, why it stands there, and what others have put in its place.*

# %%
import torch
import torch.nn.functional as F
from IPython.display import Markdown

from deltanet_edu.bench.memories import table
from deltanet_edu.figures import lines
from deltanet_edu.figures.layer import anatomy, by_age
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1);                                  # a model this small is fastest on one thread

# %%
from deltanet_edu.layers import MIXERS, DeltaNet, LinearAttention, ShortConvolution
from deltanet_edu.layers.fast_weights import FEATURE_MAPS, NORMS, FastWeights, State
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.ops import (delta_rule_recurrent, gated_linear_attention_recurrent, linear_attention_recurrent,
                              retention_log_decay)
from deltanet_edu.tasks.config import TaskConfig
from deltanet_edu.tasks.training import train_on_task

# %% [markdown]
# ## The rule alone
#
# You have a rule that stores and overwrites, a chunkwise form, kernels. Put it into a network: three matrices make query, key
# and value of each token, a fourth makes $\beta$, a fifth brings what is read back to the width of the network. Train it on
# the task the rule was made for. Four pairs are told, and later, among fillers, each key is asked for:

# %%
def recall(mixer, layers=1, **options):
    """The settings of a small training run: told four pairs, then asked for each."""
    return TaskConfig(task="mqar", difficulty=dict(vocab=32, T=24, pairs=4), mixer=mixer, options=options, layers=layers,
                      heads=1, batch=32, steps=200, test=256)

told = recall("delta").build().batch(1, torch.Generator().manual_seed(3))
for name, row in (("read  ", told.tokens[0]), ("answer", told.targets[0])):
    print(name, " ".join(f"{t:2}" if t > 0 else " ." for t in row.tolist()))

# %% [markdown]
# Keys are 1 to 15, values 16 to 31, dots are fillers. The answer is due at the place where its key is asked for.

# %%
predict("14.a")

# %%
def train_it(mixer, **options):
    run = train_on_task(recall(mixer, **options), evaluate_every=20)
    measured = [entry for entry in run.log if "held_out" in entry]
    return run.model, ([e["step"] for e in measured], [e["held_out"] for e in measured])

_, bare = train_it("delta", conv_size=0)
print(f"the rule alone, after {bare[0][-1]} steps: {bare[1][-1]:.0%} of the answers are right")

# %% [markdown]
# One in four: a guess among the values that were told. The best rule does not help a writer who never sees the pair. Something has
# to be built *around* the rule, and that is what this chapter is about.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * say what each part of a DeltaNet layer is for, and show what fails without it: the convolution, SiLU, the norms, their ε, a
#   gate;
# * count a layer's parameters and the bytes of its state, and compare it with six others;
# * decode token by token, keep a state and go back to it, pack documents in a row without a leak;
# * write the rivals as one recurrence, and say from its $M_t$ what a memory will forget.
#
# You need chapters 1, 2 and 8. Reading and running takes an hour and a quarter. In the exercises you write the whole layer. In the
# package, the chapter is about `deltanet_edu/layers/`, with `ops/decay.py`, `ops/selective_scan.py` and `ops/associative.py`.
#
# ## Three questions about earlier chapters
#
# <details><summary>1. Chapter 2: which of the two lengths matters, that of a query or that of a key?</summary>
#
# The key's: a write multiplies what is stored for $k$ by $1 - \beta\|k\|^2$. A positive factor on the query is taken out by the
# RMSNorm (2.12).
#
# </details>
#
# <details><summary>2. Chapter 7: when is a parallel scan over a linear recurrence expensive?</summary>
#
# When joining two steps multiplies full matrices. Diagonal ones are joined entry by entry.
#
# </details>
#
# <details><summary>3. Chapter 8: what does one chunk hand to the next?</summary>
#
# The memory $S$, V × K numbers a head, and nothing else.
#
# </details>

# %% [markdown]
# ## A writer that sees one token
#
# Why one in four? In the row above, the key 7 and its value 20 are two tokens. Whoever writes at token 20 knows the value, and
# not that a 7 stood before it. Call what the matrices make of a symbol $a$ its key $k(a)$ and its value $v(a)$, and take the rule
# that adds. After any text, with $n_a$ the number of times that $a$ has occurred:
#
# $$ S_T = \sum_{a} n_a\, v(a)\, k(a)^\top \tag{14.1} $$

# %%
verify("14.1")

# %% [markdown]
# The order is gone. This memory holds a *bag of tokens*. Here is a layer without a convolution. It reads a text, and then the same
# tokens sorted. What will its memory say of the difference?

# %%
torch.manual_seed(0)
text = torch.randn(12, 32)[torch.randint(12, (1, 40))]     # (1, T, D)  40 tokens, 12 different ones
in_order = text[:, text[0, :, 0].argsort()]                # the same, sorted

for name, layer in (("adds", LinearAttention(32, 1, conv_size=0)), ("delta", DeltaNet(32, 1, conv_size=0))):
    S, S_sorted = (layer(x)[1].S for x in (text, in_order))
    print(f"{name:6} the memory changes by {(S - S_sorted).norm() / S.norm():.0e}")

# %% [markdown]
# The additive memory cannot tell the two apart, up to rounding. The delta rule can, but not in a useful way: what it writes for
# a token still depends on that token alone, the others only say how much of it is left.
#
# Softmax attention is no better off: at 7 it finds the other 7, and *that token* knows nothing of the 20 behind it. In a deep
# network one layer can tell each token who stood before it, and the next can use that. One layer alone needs help.

# %% [markdown]
# ## Four taps
#
# The help is small: let each channel mix with its own last few values, before anything else happens. With $n$ taps,
#
# $$ \tilde z_t = \sum_{i=0}^{n-1} w_i \odot z_{t-n+1+i}, \qquad z_t = 0 \text{ for } t \le 0 \tag{14.2} $$
#
# where $z_t$ holds query, key and value of token $t$, one above the other, and $w_{n-1}$ meets the present.

# %%
verify("14.2")
show(ShortConvolution.forward)

# %% [markdown]
# Taps of (0, 0, 1, 0) hand on the token before. Give these to the keys, (0, 0, 0, 1) to queries and values, and each write is a
# pair:
#
# $$ S_T = \sum_{t=1}^{T} v(x_t)\, k(x_{t-1})^\top \tag{14.3} $$

# %%
verify("14.3")

# %% [markdown]
# At 7, the query asks with 7 itself, and finds what stood behind the last 7. But who tells the taps? They are parameters; the
# loss does. Before the next cell trains the layer with its convolution, decide what it will do with the keys' taps.

# %%
predict("14.b")

# %%
model, with_conv = train_it("delta")
torch.manual_seed(0)                                       # as the run began
at_first = LanguageModel(recall("delta")).blocks[0].mixer.conv.weight.detach()
growth = model.blocks[0].mixer.conv.weight.detach().abs() - at_first.abs()  # (4, 3D)
moved = {name: ([-3, -2, -1, 0], part.mean(1)) for name, part in zip("qkv", growth.split(32, -1))}
lines(moved, xlabel="tokens back", ylabel="mean growth of a tap", xticks=[-3, -2, -1, 0],
      looks=("green", "delta", "orange"), alt="Line plot of how taps of q, k and v have grown in training.");

# %% [markdown]
# *All taps start near (0, 0, 0, 1), the present. Values stay there. The keys' tap of the token before grows most of all, and
# their tap of the present shrinks most.* Nobody told them to.
#
# And with it the task is solved. The others stand beside it, all of one layer: attention, the strongest memory there is, RetNet,
# and the memory that only adds, with a convolution.

# %%
curves = {"delta, no convolution": bare, "attention": train_it("attention")[1], "RetNet": train_it("retnet")[1],
          "adds, convolution": train_it("linear")[1], "delta, convolution": with_conv}
lines(curves, xlabel="step", ylabel="share of answers right", looks=("sky", "softmax", "purple", "additive", "delta"),
      alt="Line plot of five one-layer models learning to recall four pairs.");

# %% [markdown]
# Without a convolution none of the three gets beyond a guess in one layer, not even attention; with it even the simplest memory holds
# four pairs (chapter 15 asks when the rule begins to matter). The paper's models have it in every layer. It costs $4 \cdot 3D$
# parameters of some $4D^2$: 0.3 % at $D = 1024$.
#
# ### A detour: smeared keys
#
# In 2022 a group at Anthropic asked why transformers learn to continue a repeated text only from two layers on, and then all at
# once. Their guess was the one above: one layer must first write down who came before. To test it they changed one thing. Each
# key became a mixture of its own and the key before, with one trained weight a head: a convolution with two taps. They called
# the keys *smeared*, and now one layer was enough. The short convolution came to linear models by another road, as the "shift"
# of H3 in the same year. Its purpose there was the same: to compare a token with the one before.

# %% [markdown]
# ## Why SiLU?
#
# After the convolution a key may contain two tokens: $k_{ab}$, made of $a$ and then $b$. That is useful: the name of a fact may
# be two words. But the convolution is linear and so are the matrices, so $k_{ab}$ is a part from $a$ plus a part from $b$. For
# first words $a, a'$ and second words $b, b'$ both sides below contain all four parts once. Whatever a memory $S$ holds,
#
# $$ S k_{ab} + S k_{a'b'} = S k_{ab'} + S k_{a'b} \tag{14.4} $$

# %%
verify("14.4")

# %% [markdown]
# Tell it three of the four facts and it has no choice about the fourth. This is the exclusive-or that stopped the perceptron,
# one level up. With 8 first words and 8 second words there are 64 facts. How many can be stored independently? The rank of the
# 64 keys says, and least squares says what the best of all memories gets wrong:

# %%
g = torch.Generator().manual_seed(0)
first, second = torch.randn(2, 8, 64, generator=g).double()  # (8, K) each
sums = (first[:, None] + second).flatten(0, 1)             # (64, K)  all pairs
facts = torch.randn(64, 16, generator=g).double()          # (64, V)

for name, f in FEATURE_MAPS.items():
    keys = F.normalize(f(sums), dim=-1)
    best = torch.linalg.lstsq(keys, facts).solution        # (K, V)
    wrong = (keys @ best - facts).norm() / facts.norm()
    print(f"{name:9} {torch.linalg.matrix_rank(keys):2} of 64 keys independent, the best memory errs by {wrong:.0%}")

# %% [markdown]
# Sums reach $8 + 8 - 1 = 15$ dimensions, and 49 facts follow from the others. Any bend in the map frees all 64. So something
# nonlinear must stand between the convolution and the rule, and q, k and v all go through it. Why just SiLU? Look at another
# side: how much do two keys overlap that have nothing to do with each other?

# %%
z = torch.randn(2000, 2, 64, generator=g)                  # pairs of unrelated inputs
for name, f in FEATURE_MAPS.items():
    k = F.normalize(f(z), dim=-1)
    print(f"{name:9} mean overlap of two keys {(k[:, 0] * k[:, 1]).sum(-1).mean():.2f}")

# %% [markdown]
# 1 + ELU makes all entries positive, and keys point roughly the same way; SiLU lets small negative values through, and they are
# better kept apart. That speaks for it, as identity would speak for itself but for (14.4). It is no proof. The paper tried, at
# 340 million parameters: perplexity 28.24 with SiLU, 28.03 with 1 + ELU, 28.75 with ReLU, and the mean of its three
# tests of recall was best with SiLU (the whole table: lesson 90). The choice matters little.

# %% [markdown]
# ## Two norms before the rule
#
# Keys get length 1 because a write multiplies what it finds by $1 - \beta\|k\|^2$. Chapter 2 has compared the 2-norm with the
# 1-norm (2.11). All three choices side by side, with keys after SiLU as a layer makes them: what is left of an old value after
# a write with $\beta = 1$?

# %%
for K in (16, 128):
    z = 2 * torch.randn(4000, K, generator=g)
    for name, norm in NORMS.items():
        left = 1 - norm(F.silu(z)).square().sum(-1)        # the eigenvalue along k
        print(f"K = {K:3}  {name:5} of the old value, from {left.min():8.2f} to {left.max():5.2f} is left")

# %% [markdown]
# With the 2-norm nothing is left, so the write replaces. With the 1-norm nearly everything is: at K = 128 such a memory hardly
# erases. Without a norm the old value comes back up to hundreds of times larger, with the other sign: the memory explodes. In the
# paper's table the norm, tried with 1 + ELU alone, is worth 3.09 of perplexity, the feature map at most 0.72.
#
# And the query? It gets length 1 too, and (2.12) says that it need not: the RMSNorm after the rule takes any positive factor
# out again. What is left of this in a real layer, whose norm has an ε of $10^{-5}$ under the root? One factor makes queries
# longer, one is the $1/\sqrt{128}$ of softmax attention, one makes them very short:

# %%
def change(layer, factor, x):
    """By how much the outputs change, relatively, if all queries are multiplied by a factor."""
    y, rule = layer(x)[0], layer.rule
    layer.rule = lambda x, q, *rest: rule(x, factor * q, *rest)
    changed, layer.rule = layer(x)[0], rule
    return (changed - y).norm() / y.norm()

torch.manual_seed(0)
layer, x = DeltaNet(128, 1), torch.randn(1, 200, 128)
for name, factor in (("10", 10.0), ("1/√128", 128**-0.5), ("1/100", 0.01)):
    print(f"queries times {name:6}: outputs change by {change(layer, factor, x):.1%}")

# %% [markdown]
# Longer queries change little, shorter ones much. One library has the second factor as its habit. What does it amount to?

# %%
predict("14.c")

# %% [markdown]
# Write $\mathrm{RMSNorm}_\varepsilon(o) = o \,/ \sqrt{\mathrm{mean}(o^2) + \varepsilon}$, put $s\,o$ into it and divide above
# and below by $s$:
#
# $$ \mathrm{RMSNorm}_{\varepsilon}(s\,o) = \mathrm{RMSNorm}_{\varepsilon / s^2}(o) \tag{14.5} $$

# %%
verify("14.5")

# %% [markdown]
# A factor on the queries is not nothing; it is another ε. With $s = 1/\sqrt{128}$ it is 128 times larger. What does an ε do?
# Nothing to a loud read, and it keeps a faint one faint. Whoever reads what was never stored should hear little, so this is a
# setting that matters (`out_eps`):

# %%
read = torch.logspace(-5, 1, 60)
gain = {f"ε = {eps:g}": (read, read / (read**2 + eps).sqrt()) for eps in (1e-6, 1e-5, 128e-5)}
lines(gain, xlabel="size of what is read (root mean square)", ylabel="size after the norm", log="xy", base=10,
      alt="Line plot: the RMSNorm lifts every read to size 1, unless it is fainter than the root of ε.");

# %% [markdown]
# *Above the root of ε every read comes out at size 1. Below, it stays proportional.* flash-linear-attention scales queries by
# $1/\sqrt K$, and we do not; so `lm/weights.py`, which reads its models, multiplies their ε by K. Forget that, and outputs are
# off by the tenth that you have just seen.

# %% [markdown]
# ## β, and a gate
#
# Two more parts depend on the token. $\beta_t = \sigma(W_\beta x_t)$, one number a head, lies in (0, 1). `beta_max=2` makes it
# (0, 2): the eigenvalue $1 - \beta$ may then be negative, and a write can turn around what it finds. Chapter 17 shows what that
# is good for.
#
# The *output gate* is not in the paper's layer. RetNet, GLA and Mamba have one, and DeltaNet's successors too. It lets a token
# decline to hear its memory:
#
# $$ y_t = W_O \big(\mathrm{RMSNorm}(S_t q_t) \odot \mathrm{SiLU}(W_G\, x_t)\big) \tag{14.6} $$

# %%
verify("14.6")

# %% [markdown]
# Why is it needed at all? Because of the norm before it: RMSNorm brings every read to size 1, asked for or not, and only the
# gate can make it small again.
#
# That is the whole layer. In the picture everything gray treats each token alone; the two parts in color look back. In the
# package, below it, the seven boxes are one function, `forward`; `rule` is all that a subclass adds.

# %%
anatomy();

# %%
show(FastWeights.forward, DeltaNet.rule)

# %% [markdown]
# ## Counting parameters
#
# Keys may be wider or narrower than the layer, $e_k D$ in all heads together, and values $e_v D$. Count: $W_Q, W_K$ have
# $e_k D^2$ entries each, $W_V$ and $W_O$ have $e_v D^2$; $n$ taps for each channel of q, k and v; a row of $W_\beta$ a head; the
# weights of the RMSNorm, which the heads share:
#
# $$ D^2\,(2 e_k + 2 e_v) + n D\,(2 e_k + e_v) + D H + e_v \frac{D}{H} \tag{14.7} $$

# %%
verify("14.7")

# %% [markdown]
# With $e_k = e_v = 1$ and four taps that is $4D^2 + 12D + DH + D/H$, and nearly all of it is the $4D^2$ of a softmax attention
# layer. A gate adds $e_v D^2$. The rivals come with sizes of their own, chosen so that models can be compared:

# %%
torch.manual_seed(0)
D, H = 512, 4
mixers = {name: MIXERS[name](D, H) for name in MIXERS}
for name, layer in sorted(mixers.items()):
    n = sum(p.numel() for p in layer.parameters())
    print(f"{name:10} {n:9,} parameters, {n / (4 * D * D):.3f} times 4D²")

# %% [markdown]
# RetNet and GLA pay for their gate with narrow keys ($e_k = 1/2$), so their memories have half the numbers.

# %% [markdown]
# ## Decoding: what is carried along
#
# A mixer here is a function `y, state = mixer(x, state)`, for any number of tokens. The state is all that it knows of the past.
# For DeltaNet with $n$ taps, and for attention with $G$ heads of keys and a window of $w$ tokens, it has so many numbers after
# $T$ tokens:
#
# $$ \underbrace{\frac{D^2}{H} + 3\,(n - 1)\,D}_{\text{DeltaNet}} \qquad
# \underbrace{2\,\frac{G}{H}\,D\,\min(T,\, w - 1)}_{\text{attention}} \tag{14.8} $$

# %%
verify("14.8")

# %% [markdown]
# A window of $w$ includes the token itself, so $w - 1$ are kept. Now measure, on the states themselves (`sliding` has $w = 64$
# here). Which curves will be flat?

# %%
lengths = [1, 4, 16, 64, 256, 1024]
x = torch.randn(1, lengths[-1], D)
with torch.no_grad():
    kept = {name: [layer(x[:, :T])[1].nbytes for T in lengths] for name, layer in mixers.items()}
shown = {name: (lengths, kept[name]) for name in ("attention", "sliding", "delta", "gla", "mamba")}
lines(shown, xlabel="tokens read", ylabel="bytes kept by a layer", log="xy",
      looks=("softmax", "sky", "delta", "orange", "purple"),
      alt="Line plot of the size of five mixers' states against the length of the text.");

# %% [markdown]
# *Attention's cache grows with the text, the window's until it is full; the others do not care how long the text was.* Here the
# cache overtakes DeltaNet's memory after 69 tokens.

# %% [markdown]
# ### One prefix, many continuations
#
# A state that was handed out is never changed: `S = S + ...` makes a new one. So a snapshot is a Python name, and going back
# means to use it again. One prefix of 50 tokens, three continuations, none of which reads the prefix:

# %%
layer, prefix, *ends = mixers["delta"], *torch.randn(4, 1, 50, D)
_, snapshot = layer(prefix)
for n, end in enumerate(ends, 1):
    y, _ = layer(end, snapshot)
    whole, _ = layer(torch.cat([prefix, end], 1))
    print(f"continuation {n}: differs from reading it all by {(y - whole[:, 50:]).abs().max():.0e}")

# %% [markdown]
# The price of a small memory shows when a step was wrong.

# %%
predict("14.d")

# %% [markdown]
# So a program that drafts keeps one state for each place it may return to. `deltanet_edu.lm.generate` and the states of a whole
# model work the same way: a model's state is the list of its layers' states.

# %% [markdown]
# ## Documents in one row
#
# Training packs documents end to end, and `cu_seqlens` says where they begin: `[0, 12, 36]` is a document of 12 tokens and one
# of 24. Nothing may pass from one to the other. It is easy to reset the memory and forget the other thing that looks back.

# %%
predict("14.e")

# %%
torch.manual_seed(0)
layer = DeltaNet(64, 2)
one, another, second = torch.randn(1, 12, 64), torch.randn(1, 12, 64), torch.randn(1, 24, 64)

def heard(before, reset):
    """The second document's outputs, (T, D), after a first one; what the layer carries over the border is `reset`."""
    _, state = layer(before)
    return layer(second, reset(state))[0][0]

ways = {"nothing reset": lambda state: state, "memory reset": lambda state: State(state.conv, None),
        "memory and convolution reset": lambda state: None}
leaks = {name: ((heard(one, reset) - heard(another, reset)).norm(dim=1) / heard(one, reset).norm(dim=1)).detach()
         for name, reset in ways.items()}
lines({name: (range(1, 25), leak) for name, leak in leaks.items()}, xlabel="token of the second document",
      ylabel="change of its output", looks=("red", "orange", "delta"),
      alt="Line plot of how much each output of the second document depends on the first document.").set_ylim(-0.05, 1.8);

# %% [markdown]
# *With the convolution forgotten the first three tokens look over the border, and what they write stays.* No loss curve shows
# such a leak. So every mixer is tested by changing the other document:

# %%
packed = [torch.cat([first, second], 1) for first in (one, another)]
ends = torch.tensor([0, 12, 36])
a, b = (layer(row, cu_seqlens=ends)[0][0, 12:] for row in packed)
print("packed with cu_seqlens, outputs of the second document equal:", torch.equal(a, b))

# %% [markdown]
# ## The rivals: one framework
#
# RetNet, GLA, Mamba: every year brings new memories with names. The paper puts them into one line:
#
# $$ S_t = S_{t-1} \bullet M_t + v_t k_t^\top, \qquad o_t = S_t\, q_t \tag{14.9} $$
#
# $M_t$ comes from token $t$ alone, and $\bullet$ is an associative product: entry by entry, or of matrices. (Where a rule
# writes $\beta_t v_t$, call that the value.) Any such rule can be run token by token, and as a scan over $(M_t, v_t k_t^\top)$
# as in (7.6).

# %%
verify("14.9")

# %% [markdown]
# `ops/associative.py` has one row for each, as a step and as a form for all tokens at once. What a step costs is counted as it
# runs (K = V = 64).

# %%
Markdown(table())

# %% [markdown]
# Read the last column against the second. Only the delta rule multiplies matrices; all others fade entries, each on its own.
# That makes joining two tokens cheap for them, and it is the whole reason for chapters 4 to 8: for the one row with the expensive
# product another way had to be found.
#
# ## What a memory forgets
#
# Unroll (14.9). Each write goes through all $M$ that come after it:
#
# $$ S_T = \sum_{t=1}^{T} v_t k_t^\top \bullet M_{t+1} \bullet \cdots \bullet M_T \tag{14.10} $$

# %%
verify("14.10")

# %% [markdown]
# Now the character of each memory can be read off.
#
# * $M = 1$: nothing is forgotten, old and new alike, until all drowns.
# * $M = \gamma$ (RetNet): forgotten is what is *old*. After $T - t$ tokens $\gamma^{T-t}$ is left, whatever came.
# * $M = \mathrm{Diag}(\alpha_t)$ (GLA), or a rate for each entry (Mamba): forgotten is what the *token* says, a channel at a time.
# * $M = I - \beta k k^\top$: forgotten is what has the same *key*.
#
# Softmax attention is not in the list: it forgets nothing and keeps everything.

# %%
predict("14.f")

# %% [markdown]
# The same experiment for each, without any training, so that nothing but the rule can make a difference. Left, 64 pairs are
# told once. Right, 120 times one of 40 keys is told a new value, and the newest is right. Then every key is read, and counts as
# right if the nearest of all values told is.

# %%
def stream(n_keys, T, B=60, d=32):
    """Keys and values of T writes, (B, T, d), and whether a write is its key's last, (B, T)."""
    g = torch.Generator().manual_seed(0)
    keys, v = (F.normalize(torch.randn(B, n, d, generator=g), dim=-1) for n in (n_keys, T))
    which = torch.arange(T).expand(B, T) if n_keys == T else torch.randint(n_keys, (B, T), generator=g)
    again = (which[:, :, None] == which[:, None, :]).triu(1).any(2)        # (B, T)
    return keys.gather(1, which[..., None].expand(-1, -1, d)), v, ~again

# %%
def reads(k, v):
    """What each memory says about each of k, after all of them: {name: (B, T, V)}."""
    B, T, _ = k.shape
    one = [x[:, :, None] for x in (k, k, v)]                               # (B, T, H, K or V)
    gamma = retention_log_decay(1, dtype=k.dtype).expand(B, T, 1, 1)
    S = {"adds": linear_attention_recurrent(*one)[1], "RetNet, γ = 31/32": gated_linear_attention_recurrent(*one, gamma)[1],
         "delta, β = 1": delta_rule_recurrent(*one, torch.ones(B, T, 1))[1]}
    scores = 30 * k @ k.mT                                                 # (B, T, T)
    window = scores.masked_fill(torch.arange(T) < T - 16, -torch.inf)
    attention = {"softmax": scores.softmax(-1) @ v, "softmax, window of 16": window.softmax(-1) @ v}
    return {name: k @ memory[:, 0].mT for name, memory in S.items()} | attention

# %%
def shares(n_keys, T, step=8):
    """{name: (ages, share read rightly)} over groups of `step` ages."""
    k, v, last = stream(n_keys, T)
    ages = T - 1 - torch.arange(T)
    groups = [(age, last & (ages >= age) & (ages < age + step)) for age in range(0, T, step)]
    right = {name: (read @ v.mT).argmax(-1) == torch.arange(T) for name, read in reads(k, v).items()}
    return {name: ([age + step / 2 for age, _ in groups], [hit[group].double().mean() for _, group in groups])
            for name, hit in right.items()}

by_age({"64 pairs, each told once": shares(64, 64), "40 keys, told 120 times": shares(40, 120)},
       looks=("additive", "purple", "delta", "softmax", "orange"));

# %% [markdown]
# *Left: adding treats all ages alike, under noise. RetNet, the delta rule and the window know what is new; softmax knows all of
# it. Right: adding mixes the old values of a key with the newest, and so does softmax, which finds several equal keys and
# cannot tell which came last: that takes positions, which is what rotations are for. RetNet prefers the new because it fades
# the old; the delta rule because it replaces.*
#
# The rises to the right have a simple reason: a key that nobody has touched for 100 tokens was told less often, so it has fewer
# old values. And the left panel is chapter 1's surprise again. The delta rule is not a larger memory. It is one that keeps what
# is current.

# %% [markdown]
# ## Hybrids
#
# Each memory of fixed size loses something, and attention loses nothing at a price that grows. So take both. The paper tries
# two patterns, each with a name here:

# %%
for name in ("delta+sliding", "delta+global"):
    print(f"{name:14}", " ".join(Config(mixer=name, layers=8).mixers))

# %% [markdown]
# A sliding window in every second layer is exact about the last tokens, and its cache stops growing. Global attention in two
# layers is exact about everything, and only these two have a cache that grows. What do they keep, at the paper's 1.3 billion
# parameters (24 layers, D = 2,048, H = 16), in 16-bit numbers? The window is ours, 2,048 tokens; the paper does not state its
# own.

# %%
def kept_by(mixer, T, layers=24, D=2048, H=16, window=2048):
    """Bytes that a model keeps after T tokens, by eq. 14.8."""
    numbers = {"delta": D * D // H + 9 * D, "attention": 2 * D * T, "sliding": 2 * D * min(T, window - 1)}
    return sum(2 * numbers[name] for name in Config(mixer=mixer, layers=layers, d_model=D, heads=H).mixers)

for mixer in ("delta", "delta+sliding", "delta+global", "attention"):
    print(f"{mixer:14}" + "".join(f"{kept_by(mixer, T) / 2**20:10,.0f} MiB" for T in (2048, 16384, 131072)))

# %% [markdown]
# And what do they buy? The paper's own numbers at that size, on three tests that ask for something said in a long document
# (share right, in percent):
#
# | | SWDE | SQuAD | FDA | perplexity, WikiText |
# |---|---:|---:|---:|---:|
# | Transformer++ | 66.6 | 31.5 | 27.4 | 16.85 |
# | Mamba | 41.4 | 35.2 | 6.2 | 17.06 |
# | GLA, with convolution | 52.4 | 37.4 | 22.3 | 17.25 |
# | DeltaNet | 49.5 | 37.4 | 17.2 | 16.87 |
# | DeltaNet, sliding window | 53.3 | 43.3 | 22.3 | 16.56 |
# | DeltaNet, two global layers | 71.0 | 43.0 | 29.8 | 16.55 |
#
# Two layers of attention among 24 pass a model that has nothing else. DeltaNet alone is ahead of it on SQuAD, and far behind on SWDE,
# with 49.5 against 66.6.

# %% [markdown]
# ## Summary
#
# | part | what it is for | without it |
# |---|---|---|
# | convolution (14.2) | the pair *token before, this token* in one write (14.3) | a bag of tokens (14.1) |
# | SiLU | keys of several tokens that are independent | exclusive-or (14.4) |
# | length 1 of keys | $1 - \beta\lVert k\rVert^2$ between 0 and 1 | explosion, or writes that hardly erase |
# | length 1 of queries | only the ε of the norm notices (14.5) | nearly the same function |
# | RMSNorm with ε | reads of one size; faint ones stay faint | size depends on how full the memory is |
# | gate (14.6), optional | a token may decline | every read is heard |
#
# * $4D^2 + DH + 12D + D/H$ parameters (14.7); $D^2/H + 9D$ numbers of state, for any length (14.8).
# * $S_t = S_{t-1} \bullet M_t + v_t k_t^\top$ (14.9): what $M$ does to a write, until now, is what the memory forgets (14.10).
# * A state is a value: keep it, return to it; at a document's border reset *all* of it.
#
# **In the package**: `layers/`, a file a mixer, found by name: `Config(mixer="gla")`, `deltanet-edu train --mixer delta+global`.

# %% [markdown]
# ## In other notations
#
# | | this book | the paper | flash-linear-attention |
# |---|---|---|---|
# | the layer | `layers.DeltaNet` | DeltaNet | `fla.layers.DeltaNet` |
# | convolution, SiLU | `conv`, then `F.silu` | "short convolution", SiLU | `q_conv1d`, ..., with SiLU inside |
# | norms of q and k | `norm="l2"`, `"l1"` | L2, L1 | `qk_norm="l2"`, `"sum"` |
# | β up to 2 | `beta_max=2.0` | | `allow_neg_eigval=True` |
# | gate | `output_gate=True` | | `use_gate=True` |
# | ε after the rule | `out_eps` | | `norm_eps`, K times as strong (14.5) |
# | what is kept | a `State` of the layer's own | | `past_key_values`, changed in place |
# | packed documents | `cu_seqlens` | | `cu_seqlens` |
#
# `deltanet-edu import-fla FOLDER` reads that library's models, ε included; `lm/weights.py` writes them back.

# %% [markdown]
# ## Further reading
#
# * S. Yang, B. Wang, Y. Zhang, Y. Shen and Y. Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence
#   Length", 2024, arXiv 2406.06484: sections 3.3 and 4.2, and the ablation.
# * C. Olsson et al., "In-context Learning and Induction Heads", 2022, arXiv 2209.11895: smeared keys.
# * D. Y. Fu et al., "Hungry Hungry Hippos", 2022, arXiv 2212.14052: the shift.
# * Y. Sun et al., "Retentive Network", 2023, arXiv 2307.08621. S. Yang et al., "Gated Linear Attention Transformers with
#   Hardware-Efficient Training", 2023, arXiv 2312.06635. A. Gu and T. Dao, "Mamba", 2023, arXiv 2312.00752.
# * S. Arora et al., "Zoology", 2023, arXiv 2312.04927: why recall separates these models. Chapter 15 continues there.
#
# The exercises are in `exercises/14_exercises_deltanet_layer.ipynb`: you mend a leak, and build the layer. Chapter 15 asks
# what all of these can remember once they are trained.
