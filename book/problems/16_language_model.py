# %% [markdown]
# # 16. A language model: exercises
#
# Seven exercises, a little over an hour. `hint("16.2")` gives a push, `solution("16.2")` a solution.
# The first four are the pieces of a running model: what it is measured by, and what one token does. Everything is in float64.

# %%
import math

import torch
import torch.nn.functional as F

from deltanet_edu.tutor import check, hint, solution

# %% [markdown]
# ## 16.1 Bits per character
#
# ★★ · 10 minutes · equation 16.2
#
# A tokenizer has cut a text into T tokens of different length. You get the loss of each, in nats, and how many characters each spells.
# What does the text cost, in bits per character?

# %% tags=["nbval-check-output"]
def bits_per_character(nats, chars):
    """nats: (T,), chars: (T,). A number."""
    ### BEGIN SOLUTION
    return nats.sum() / math.log(2) / chars.sum()
    ### STUB
    # raise NotImplementedError("16.1")
    ### END SOLUTION

check("16.1", bits_per_character)

# %% [markdown]
# ## 16.2 One token through the convolution
#
# ★★ · 15 minutes · equation 16.4
#
# When the model writes, tokens come one at a time. `cache` holds the three inputs before the present one, oldest first; at the start of a
# text it is zero. Return the output, and the cache for the next token.

# %% tags=["nbval-check-output"]
def conv_step(z, cache, w):
    """z: (B, D), cache: (B, 3, D), w: (4, D). Returns y: (B, D), the next cache: (B, 3, D)."""
    ### BEGIN SOLUTION
    seen = torch.cat([cache, z[:, None]], 1)                             # (B, 4, D)
    return (w * seen).sum(1), seen[:, 1:]
    ### STUB
    # raise NotImplementedError("16.2")
    ### END SOLUTION

check("16.2", conv_step)

# %% [markdown]
# ## 16.3 Queries, keys and strengths
#
# ★★ · 10 minutes · equation 16.5
#
# What comes out of the convolution is not yet a key. Turn `q`, `k` and `b` into what the delta rule expects; `b` is $W_\beta x_t$, before the
# sigmoid.

# %% tags=["nbval-check-output"]
def prepare(q, k, b):
    """q, k: (T, H, K), b: (T, H). Returns queries, keys and write strengths, of the same shapes."""
    ### BEGIN SOLUTION
    q, k = F.normalize(F.silu(q), dim=-1), F.normalize(F.silu(k), dim=-1)
    return q, k, b.sigmoid()
    ### STUB
    # raise NotImplementedError("16.3")
    ### END SOLUTION

check("16.3", prepare)

# %% [markdown]
# ## 16.4 One token through the memory
#
# ★★★ · 15 minutes · equation 16.6
#
# All heads at once: write with the delta rule, read, and normalize what each head has read; $\varepsilon = 10^{-5}$, and the weights of the
# RMSNorm are 1. This is the whole cost of a token, however long the text before it was.

# %% tags=["nbval-check-output"]
def decode_step(q, k, v, beta, S):
    """q, k: (H, K), v: (H, V), beta: (H,), S: (H, V, K). Returns the normalized reads, (H, V), and the next S."""
    ### BEGIN SOLUTION
    error = (S @ k[..., None])[..., 0] - v                               # (H, V)
    S = S - beta[:, None, None] * error[..., None] * k[:, None]          # (H, V, K)
    o = (S @ q[..., None])[..., 0]                                       # (H, V)
    return o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt(), S
    ### STUB
    # raise NotImplementedError("16.4")
    ### END SOLUTION

check("16.4", decode_step)

# %% [markdown]
# ## 16.5 Too good to be true
#
# ★★★ · 10 minutes · equation 16.1 · find the bug
#
# A colleague's model reaches a loss of 0.01 after a hundred steps, and then writes `the the the the`. The model is causal, as tested. Here is
# the loss. Find out why it is so small, and repair it.

# %% tags=["nbval-check-output"]
def next_token_loss(logits, tokens):
    """logits: (B, T, vocab), what the model says after reading each of tokens: (B, T). A number."""
    ### BEGIN SOLUTION
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    ### STUB
    # raise NotImplementedError("16.5")                                    # delete this line, and repair the next one
    # return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    ### END SOLUTION

check("16.5", next_token_loss)

# %% [markdown]
# ## 16.6 When attention's cache overtakes
#
# ★★ · 10 minutes · equation 16.9
#
# A layer has D = 128 and H = 2. After how many tokens does a softmax attention layer of the same width keep *more* numbers than the DeltaNet
# layer? Give the smallest such T.

# %% tags=["nbval-check-output"]
### BEGIN SOLUTION
answer = 37          # (128 * 128 / 2 + 9 * 128) / (2 * 128) = 36.5
### STUB
# answer = None
### END SOLUTION

check("16.6", answer)

# %% [markdown]
# ## 16.7 Temperature and top-k
#
# ★★ · 10 minutes
#
# From the scores of all tokens to the probabilities of the draw: only the `top_k` best may be drawn, and a temperature below 1 makes the best
# of them more likely still. All scores are different.

# %% tags=["nbval-check-output"]
def chances(logits, temperature, top_k):
    """logits: (vocab,). Returns probabilities, (vocab,)."""
    ### BEGIN SOLUTION
    smallest = logits.topk(top_k).values[-1]
    logits = logits.masked_fill(logits < smallest, -torch.inf)
    return (logits / temperature).softmax(-1)
    ### STUB
    # raise NotImplementedError("16.7")
    ### END SOLUTION

check("16.7", chances)
