# %% [markdown]
# # 14. The DeltaNet layer and its rivals: exercises
#
# {exercises}. `hint("14.3")` gives a push, `solution("14.3")` a solution. The last four are a build: from 14.8 to 14.11 you write the whole
# layer, and the package's, with the same weights, is what it is compared with. Everything is in float64, and what a
# function is given stays as it is.

# %%
import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
from deltanet_edu.chapters.ch14.window import turn
from deltanet_edu.tutor import check, hint, lines, progress, show, solution

# %% [markdown]
# ## 14.1
#
# A layer without SiLU: after the convolution, the key of two words is a part from the first plus a part from the second. There are 6 first
# words and 10 second words, so 60 keys, each of width 64; the parts are random. In how many independent directions do the keys point?

# %%
directions = None

check("14.1", directions)

# %% [markdown]
# ## 14.2
#
# Taps for a convolution whose channels are those of q, k and v side by side: K of queries, K of keys, V of values. Queries and values pass
# through unchanged; keys become those of the token before. The last row meets the present.

# %%
def pair_taps(n, K, V):
    """n taps, at least 2. Returns w: (n, 2K + V)."""
    raise NotImplementedError("14.2")

check("14.2", pair_taps)

# %% [markdown]
# ## 14.3
#
# Documents lie end to end in one row: `ends = [0, 3, 8]` is one of three tokens and one of five; none is empty. A colleague has noticed that the
# first token of a document sees the one before, and has mended it. There is still a leak. Find it, and mend it.

# %%
def packed_convolution(z, w, ends):
    """z: (T, D), w: (n, D), ends: a list of numbers. Returns y: (T, D)."""
    raise NotImplementedError("14.3")                                    # delete this line, and repair what is below
    n, T = len(w), len(z)
    past = F.pad(z, (0, 0, n - 1, 0))                                    # (n - 1 + T, D)  zeros before the first token
    y = sum(w[i] * past[i:i + T] for i in range(n))                      # (T, D)
    for start in ends[1:-1]:
        y[start] = w[n - 1] * z[start]                                   # the first token of a document sees itself alone
    return y

check("14.3", packed_convolution)

# %% [markdown]
# ## 14.4
#
# One token of attention in a window of `w` tokens, itself included. The cache, handed in and returned, holds at most `w` keys, turned to their
# positions (RoPE), and their values, both with the newest last, and how many tokens were seen so far. Put the lines in order and give their labels
# as one string. Two do not belong.

# %%
lines("14.4")
show(turn)

# %%
order = ""

check("14.4", order)

# %% [markdown]
# ## 14.5
#
# One token and one head of GLA: every channel of the key fades by a factor $\alpha$ of its own. Return what the token reads, and the next memory.

# %%
def gla_step(S, q, k, v, alpha):
    """S: (V, K), q, k, alpha: (K,), v: (V,). Returns o: (V,), S: (V, K)."""
    raise NotImplementedError("14.5")

check("14.5", gla_step)

# %% [markdown]
# ## 14.6
#
# A model was trained with a library that multiplies all queries by $1/\sqrt K$. It has D = 1,024 and H = 16 heads of equal width, and the RMSNorm
# after its rule has $\varepsilon = 10^{-6}$. You load its weights into a layer that does not scale queries. Which ε must it have, in units of $10^{-6}$?

# %%
millionths = None

check("14.6", millionths)

# %% [markdown]
# ## 14.7
#
# A model with `mixer="delta+global"` has 12 layers, D = 512, H = 4, and, in the DeltaNet layers, convolutions with four taps; its two global layers have as many heads of keys as of queries. How many
# numbers do all layers together keep after 1,000 tokens: keys, values, memories, and inputs of convolutions?

# %%
numbers = None

check("14.7", numbers)

# %% [markdown]
# ## 14.8
#
# The build begins. A convolution over a text that arrives in pieces of any length, down to one token. `tail` holds the $n - 1$ inputs before this piece,
# oldest first (no rows at all, if there is one tap); it is None at the start of a text. Return the outputs, and the tail for the next piece.

# %%
def convolve(z, tail, w):
    """z: (B, T, D), tail: (B, n - 1, D) or None, w: (n, D). Returns y: (B, T, D), the next tail: (B, n - 1, D)."""
    raise NotImplementedError("14.8")

check("14.8", convolve)

# %% [markdown]
# ## 14.9
#
# `z` comes out of the convolution: the queries of all heads, then the keys of all heads, then the values. All of it, values included, goes through SiLU, and is cut into
# queries, keys and values, and these into heads. Queries and keys get length 1, and $\beta$ reaches up to `beta_max`. `b` is $W_\beta x$. A token of zeros has to
# stay zeros: what keeps the divisor from zero may stand anywhere in it, if it is no larger than the package's $10^{-6}$.

# %%
def rule_inputs(z, b, H, K, V, beta_max):
    """z: (B, T, H (2K + V)), b: (B, T, H). Returns q, k: (B, T, H, K), v: (B, T, H, V), beta: (B, T, H)."""
    raise NotImplementedError("14.9")

check("14.9", rule_inputs)

# %% [markdown]
# ## 14.10
#
# After the rule: each head is normalized (RMSNorm, `weight` multiplies its V entries), perhaps gated, and all together go through $W_O$. `g` is $W_G x$, or None in a
# layer without a gate.

# %%
def read_out(o, g, weight, W_O, eps):
    """o: (B, T, H, V), g: (B, T, H V) or None, weight: (V,), W_O: (D, H V). Returns y: (B, T, D)."""
    raise NotImplementedError("14.10")

check("14.10", read_out)

# %% [markdown]
# ## 14.11
#
# The layer, with your three functions and the package's `delta_rule(q, k, v, beta, initial_state=S)`, which returns `o` and `S`. K = V = D / H, four taps, $\beta$ up
# to 1, $\varepsilon = 10^{-5}$, no gate, no biases. `cu_seqlens` is None, or a tensor such as `[0, 3, 8]`: documents in one row (B = 1), none of which sees another.
# The state is yours to define; what was handed out must stay as it is, so that one can go back to it. For a packed row, `state` comes in as None, and the state that goes out is not looked at.
#
# Name the parameters as you like: the check knows them by their shapes, (3D, D) for $W_{qkv}$, (4, 3D) for the taps, (H, D), (D/H,) and (D, D),
# and gives them the weights of the package's layer. Then both read the same texts: at once, in pieces, token by token, and packed.

# %%
class MyDeltaNet(nn.Module):
    """The DeltaNet layer, K = V = D / H: y, state = layer(x, state, cu_seqlens)."""

    def __init__(self, D, H):
        super().__init__()
        raise NotImplementedError("14.11")

    def forward(self, x, state=None, cu_seqlens=None):
        raise NotImplementedError("14.11")

check("14.11", MyDeltaNet)
