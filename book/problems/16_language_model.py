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

# %% [markdown]
# ## 16.8
#
# A paper reports the perplexity of a token, you have measured `bits` per character. The text has `chars` characters, and your tokenizer makes
# `tokens` tokens of it. What is your model's perplexity of a token?

# %%
def perplexity(bits, chars, tokens):
    """Three numbers. A number."""
    raise NotImplementedError("16.8")

check("16.8", perplexity)

# %% [markdown]
# Give the same model's text to a tokenizer whose tokens are twice as long, and the perplexity is squared, though nothing was predicted any worse.
# So a perplexity means nothing without its tokenizer. Bits per character need none; bits per *byte* do not even ask what a character is, which
# matters for texts that are not English.

# %% [markdown]
# ## 16.9
#
# Short texts are packed end to end into one row, and `cu_seqlens`, [0, c₁, …, T], says where they end, so that every memory begins empty. The
# model was tested: no text sees another. And yet it writes the beginnings of books in the middle of a letter. The targets below are to blame. A
# position whose target is −100 is left out of the loss.

# %%
def packed_targets(tokens, cu_seqlens):
    """tokens: (T,), cu_seqlens: (N + 1,). What each position should predict: (T,)."""
    raise NotImplementedError("16.9")                                    # delete this line, and repair the next one
    return F.pad(tokens[1:], (0, 1), value=-100)

check("16.9", packed_targets)

# %% [markdown]
# ## 16.10
#
# A model reads 0.4 bits per character on held-out text, and there is no fault in its loss. Then somebody finds the held-out chapter in another
# edition of the same book, in the training text. Find such leaks: which share of the runs of `n` tokens in the held-out text also stands somewhere
# in the training text? Runs overlap: a text of M tokens has M − n + 1.

# %%
def leaked(train, held_out, n):
    """train: (N,), held_out: (M,), tokens. A number from 0 to 1."""
    raise NotImplementedError("16.10")

check("16.10", leaked)

# %% [markdown]
# ## 16.11
#
# A server writes 32 texts at a time with the paper's smaller model: 24 layers, D = 1024, H = 8, convolutions of four taps. The memories are kept
# in float32, the inputs of the convolutions in bfloat16. How many megabytes (millions of bytes) does it keep between two tokens? The texts are
# 16,384 tokens long so far.

# %%
answer = None

check("16.11", answer)

# %% [markdown]
# ## 16.12
#
# Two models were trained with a few seeds each, and their scores differ. Would they with other seeds? Divide the difference of the means by its
# standard error, $\sqrt{s_a^2/n + s_b^2/m}$, where $s^2$ is the variance of single runs, estimated from $n$ or $m$ of them. Beyond two or three, with
# more than a handful of seeds, one starts to believe it.

# %%
def in_standard_errors(a, b):
    """a: (n,), b: (m,), scores. How many standard errors is the mean of b above that of a? A number."""
    raise NotImplementedError("16.12")

check("16.12", in_standard_errors)
