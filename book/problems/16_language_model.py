# %% [markdown]
# # 16. A language model: exercises
#
# {exercises}. `hint("16.2")` gives a push, `solution("16.2")` a solution.
# The first four are the pieces of a running model: what it is measured by, and what one token does. Everything is in float64.

# %%
import math

import torch
import torch.nn.functional as F

from deltanet_edu.tutor import check, hint, progress, solution

# %% [markdown]
# ## 16.1
#
# A tokenizer has cut a text into T tokens of different length. You get the loss of each, in nats, and how many characters each spells.
# What does the text cost, in bits per character?

# %%
def bits_per_character(nats, chars):
    """nats: (T,), chars: (T,). A number."""
    raise NotImplementedError("16.1")

check("16.1", bits_per_character)

# %% [markdown]
# ## 16.2
#
# When the model writes, tokens come one at a time. `cache` holds the three inputs before the present one, oldest first; at the start of a
# text it is zero. Return the output, and the cache for the next token.

# %%
def conv_step(z, cache, w):
    """z: (B, D), cache: (B, 3, D), w: (4, D). Returns y: (B, D), the next cache: (B, 3, D)."""
    raise NotImplementedError("16.2")

check("16.2", conv_step)

# %% [markdown]
# ## 16.3
#
# What comes out of the convolution is not yet a key. Turn `q`, `k` and `b` into what the delta rule expects; `b` is $W_\beta x_t$, before the
# sigmoid. A head of zeros has to stay zeros: what keeps the divisor from zero, the $10^{-6}$ under the root or something as small, may stand
# anywhere in it.

# %%
def prepare(q, k, b):
    """q, k: (T, H, K), b: (T, H). Returns queries, keys and write strengths, of the same shapes."""
    raise NotImplementedError("16.3")

check("16.3", prepare)

# %% [markdown]
# ## 16.4
#
# All heads at once: write with the delta rule, read, and normalize what each head has read; the $\varepsilon$ under the root is $10^{-5}$, and
# the weights of the RMSNorm are 1. This is the whole cost of a token, however long the text before it was.

# %%
def decode_step(q, k, v, beta, S):
    """q, k: (H, K), v: (H, V), beta: (H,), S: (H, V, K). Returns the normalized reads, (H, V), and the next S."""
    raise NotImplementedError("16.4")

check("16.4", decode_step)

# %% [markdown]
# ## 16.5
#
# A colleague's model reaches a loss of 0.01 after a hundred steps, and then writes `the the the the`. The model is causal, as tested. Here is
# the loss. Find out why it is so small, and repair it.

# %%
def next_token_loss(logits, tokens):
    """logits: (B, T, vocab), what the model says after reading each of tokens: (B, T). A number."""
    raise NotImplementedError("16.5")                                    # delete this line, and repair the next one
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())

check("16.5", next_token_loss)

# %% [markdown]
# ## 16.6
#
# A layer has D = 128 and H = 2. After how many tokens does a softmax attention layer of the same width keep *more* numbers than the DeltaNet
# layer? Give the smallest such T.

# %%
answer = None

check("16.6", answer)

# %% [markdown]
# ## 16.7
#
# From the scores of all tokens to the probabilities of the draw: only the `top_k` best may be drawn, and a temperature below 1 makes the best
# of them more likely still. All scores are different.

# %%
def chances(logits, temperature, top_k):
    """logits: (vocab,). Returns probabilities, (vocab,)."""
    raise NotImplementedError("16.7")

check("16.7", chances)
