# %% [markdown]
# # 16. A language model: exercises
#
# {exercises}. `hint("16.2")` gives a push, `solution("16.2")` a solution.
# The first four are the pieces of a running model: what it is measured by, and what one token does. The last seven, 16.13 to 16.19, are one build:
# you write a language model and its training, from an empty cell, and train it. Everything that is checked is in float64, and the tensors that
# a function is given stay as they are. Where a number is asked for, a tensor of one number will do.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
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
# text it is zero. Return the output, with the taps in the order of equation 16.4 and before SiLU, and the cache for the next token.

# %%
def conv_step(z, cache, w):
    """z: (B, D), cache: (B, 3, D), w: (4, D). Returns y: (B, D), the next cache: (B, 3, D)."""
    raise NotImplementedError("16.2")

check("16.2", conv_step)

# %% [markdown]
# ## 16.3
#
# What comes out of the convolution is not yet a key. Turn `q`, `k` and `b` into what the delta rule expects, as in equation 16.5; `b` is
# $W_\beta x_t$, before the sigmoid. A head of zeros has to stay zeros: what keeps the divisor from zero may stand anywhere in it, and be $10^{-6}$ or
# less.

# %%
def prepare(q, k, b):
    """q, k: (T, H, K), b: (T, H). Returns queries, keys and write strengths, of the same shapes."""
    raise NotImplementedError("16.3")

check("16.3", prepare)

# %% [markdown]
# ## 16.4
#
# All heads at once: write with the delta rule, read, and normalize what each head has read; the $\varepsilon$ under the root is $10^{-5}$, and
# the weights of the RMSNorm are 1. K and V may differ here, which shows a memory that lies the wrong way. This is the whole cost of a token, however long the text before it was.

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
# of them more likely still. All scores are different, `top_k` is at most their number, and the temperature is above 0.

# %%
def chances(logits, temperature, top_k):
    """logits: (vocab,). Returns probabilities, (vocab,)."""
    raise NotImplementedError("16.7")

check("16.7", chances)

# %% [markdown]
# ## 16.8
#
# A paper reports the perplexity of a token, you have measured `bits` per character. To compare, turn yours into theirs. The text has
# `chars` characters, and your tokenizer makes `tokens` tokens of it. What is your model's perplexity of a token?

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
# Short texts are packed end to end into one row, and `cu_seqlens`, [0, c₁, …, T], says where they end, so that every memory begins empty; each
# has at least one token. The model was tested: no text sees another. And yet it writes beginnings of books in the middle of a message. The targets below are to blame. A
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
# in the training text? Runs overlap: a text of M tokens has M − n + 1. Both texts have at least n.

# %%
def leaked(train, held_out, n):
    """train: (N,), held_out: (M,), tokens. A number from 0 to 1."""
    raise NotImplementedError("16.10")

check("16.10", leaked)

# %% [markdown]
# ## 16.11
#
# A server writes 20 texts at a time with the paper's larger model: 24 layers, D = 2048, H = 16, convolutions of four taps. The memories are kept
# in float32, the inputs of the convolutions in bfloat16. How many megabytes (millions of bytes) does it keep between two tokens? The texts are
# 16,384 tokens long so far.

# %%
answer = None

check("16.11", answer)

# %% [markdown]
# ## 16.12
#
# Two models were trained with a few seeds each, and their scores differ. Would they with other seeds? Divide the difference of the means by its
# standard error, $\sqrt{s_a^2/n + s_b^2/m}$, where $s^2$ is the variance of single runs, estimated from $n$ or $m$ of them. Beyond two or three
# standard errors, and with more than a handful of seeds, one starts to believe it.

# %%
def in_standard_errors(a, b):
    """a: (n,), b: (m,), scores. How many standard errors is the mean of b above that of a? A number."""
    raise NotImplementedError("16.12")

check("16.12", in_standard_errors)

# %% [markdown]
# ## 16.13
#
# **The build.** In seven stages you write a language model with all that trains it, and in the last one it learns to tell stories. Each stage has a
# check of its own, and uses what you wrote in those before it.
#
# It begins with the mixer. 16.2 to 16.4 did it for one token; here a whole text comes at once, and every memory begins empty. Project (`W_qkv`: first the
# rows of all queries, then of all keys, then of all values, heads side by side), convolve each channel with its own last three values, SiLU, cut into
# heads, length 1 for queries and keys (as in 16.3), the delta rule with $\beta = \sigma(W_\beta x)$, an RMSNorm of each head with `weight` and $\varepsilon = 10^{-5}$, and $W_O$.
# The package's `delta_rule(q, k, v, beta)` takes (B, T, H, D/H), with β (B, T, H), has the scale 1, and returns `o` and the
# memory; a loop of your own is as good.

# %%
def mixer(x, W_qkv, taps, W_beta, weight, W_O):
    """x: (B, T, D), W_qkv: (3D, D), taps: (4, 3D), the last for the present, W_beta: (H, D), weight: (D/H,), W_O: (D, D).

    Returns y: (B, T, D).
    """
    raise NotImplementedError("16.13")

check("16.13", mixer)

# %% [markdown]
# ## 16.14
#
# Stage 2: block and model. A block adds twice to the stream: the mixer of its first norm, then the MLP of its second, where the MLP is
# $W_{\text{down}}\big(\mathrm{SiLU}(g) \odot u\big)$, and $g$ and $u$ are the two halves of $W_{\text{up}}$ times its input. The model embeds the
# tokens, runs the blocks, norms once more and multiplies by the head's matrix: a score for each possible next token. All norms are RMSNorms with
# $\varepsilon = 10^{-5}$; there are no biases, and embedding and head have a matrix each.
#
# Name the parameters as you like, and write as many classes as you like: the check knows the weights by their shapes; those of one
# shape may come in any order, and which half of $W_{\text{up}}$ is $g$ is up to you. A block has (3D, D), (4, 3D), (H, D),
# (D/H,) and (D, D) for the mixer, (4D, D) or two of (2D, D) for $W_{\text{up}}$, (D, 2D) for $W_{\text{down}}$, and two of (D,) for the norms. The model adds (vocab, D)
# twice, and (D,).
#
# All matrices but the taps begin normal with standard deviation 0.02, the embedding included; norms begin at 1, those of the heads too, the last
# row of the taps at 1, and the rows before it near 0, such as `0.1 * torch.randn(3, 3 * D)`.

# %%
class MyBlock(nn.Module):
    """A layer of the model, (B, T, D) -> (B, T, D). The model need not use this class, if you would rather do without."""

    def __init__(self, D, H):
        super().__init__()
        raise NotImplementedError("16.14")


class MyModel(nn.Module):
    """A language model: logits = model(tokens), (B, T) -> (B, T, vocab)."""

    def __init__(self, vocab, D, H, layers):
        super().__init__()
        raise NotImplementedError("16.14")

    def forward(self, tokens):
        raise NotImplementedError("16.14")

check("16.14", MyModel)

# %% [markdown]
# ## 16.15
#
# Stage 3: the loss. `text` is one long row of tokens. For each of `starts`, a window begins at that token: the model reads T tokens, and for each of
# them is asked which token follows. Return the mean of all B · T losses, in nats, as a tensor that stage 6 can go backward from.

# %%
def loss_of(model, text, starts, T):
    """model: (B, T) tokens -> (B, T, vocab) logits, text: (N,), starts: (B,). A tensor of one number."""
    raise NotImplementedError("16.15")

check("16.15", loss_of)

# %% [markdown]
# ## 16.16
#
# Stage 4: how large a step is. The learning rate rises along a line, from 0 before the first step to the full rate at step `warmup`; then it falls
# along half a cosine, and the last step has a twentieth of it. Steps count from 1 to `steps`, and `warmup` is at least 1 and less than `steps`.

# %%
def rate(step, steps, warmup):
    """Three whole numbers. The share of the peak learning rate at this step, from 0 to 1."""
    raise NotImplementedError("16.16")

check("16.16", rate)

# %% [markdown]
# ## 16.17
#
# Stage 5: what decays. Weight decay pulls a weight towards 0, a little at each step. That is good for large matrices, and bad for a norm, whose place is near 1.
# Make two groups for the optimizer: first the matrices, which have two dimensions and more than 8 rows (the taps have 4, $W_\beta$ has H), with `weight_decay`
# as given; then all others, with 0 (among them, in other models, the taps of an `nn.Conv1d`, which have three dimensions). In both, the parameters keep the order in which they come. A group is a dict, `{"params": [...], "weight_decay": ...}`.

# %%
def groups(named, decay):
    """named: a list of pairs (name, parameter), as list(model.named_parameters()). Returns a list of two dicts."""
    raise NotImplementedError("16.17")

check("16.17", groups)

# %% [markdown]
# ## 16.18
#
# Stage 6: the loop. AdamW with your groups, betas 0.9 and 0.95, its own ε, and at step n = 1, 2, ... the learning rate `lr` times
# `rate(n, steps, warmup)`. Step n reads the windows that begin at `starts[n - 1]`. The norm of all gradients together is clipped at `clip`. Return the losses, one
# number for each step: that of its windows, before the step is taken.

# %%
def fit(model, text, starts, T, lr, decay, clip, warmup):
    """starts: (steps, B). Trains the model, and returns a list of `steps` losses."""
    raise NotImplementedError("16.18")

check("16.18", fit)

# %% [markdown]
# ## 16.19
#
# The last stage: train it. Your model, with D = 32, H = 2 and two layers, reads stories, letter by letter: windows of T = 64, peak rate 0.01, weight decay 0.1,
# clipping at 1, and a warmup of a tenth of the steps, rounded down, but at least one step. Make the model, train it, and return both it and its losses.
#
# The check first makes a few short runs. Then it trains your model for 120 steps, gives the book's model the first weights of yours, trains it on the same windows, and
# compares the two curves, tenth by tenth: ten seconds for each on a quiet machine. While it runs, new tensors are in float64, so that rounding does
# not part the curves. Your random numbers may be any: the first weights are read off your model as it is first called.

# %%
def train_mine(text, vocab, starts):
    """text: (N,) tokens below vocab, starts: (steps, B). Returns the trained model and its losses."""
    raise NotImplementedError("16.19")

check("16.19", train_mine)

# %% [markdown]
# Does it write stories? The cell below trains it for 1,000 steps, eight times as long, and lets it continue a prompt. Nothing is kept between two letters
# here: each one reads the whole text again. The package's model keeps a state (16.2 to 16.4), and needs the same time for each letter.

# %%
def tell(prompt="Anna had a red ball. ", steps=1000, letters=300):
    from deltanet_edu.lm.stories import stories

    text = stories(0, 300_000)
    alphabet = sorted(set(text))
    tokens = torch.tensor([alphabet.index(c) for c in text])
    torch.manual_seed(0)
    model, losses = train_mine(tokens, len(alphabet), torch.randint(len(tokens) - 64, (steps, 8)))
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} nats a letter\n")
    said = [alphabet.index(c) for c in prompt]
    with torch.no_grad():
        for _ in range(letters):
            chances = (model(torch.tensor([said]))[0, -1] / 0.7).softmax(-1)
            said.append(torch.multinomial(chances, 1).item())
    print("".join(alphabet[i] for i in said))

# tell()                                                 # after 16.19: remove the sign in front
