# %% [markdown]
# # 15. What can it remember? Exercises
#
# {exercises}. `hint("15.4")` gives a push, `solution("15.4")` a solution. No model is trained here. You work out what
# a score means, repair three functions with faults that no error betrays, and then build a task from an empty cell,
# in three stages (15.6 to 15.8). `tokens` and `targets` are whole numbers, (n, T); a target of −100 is not asked.

# %%
import math

import torch

from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 15.1
#
# Three scores of somebody who guesses. Give all three in **per cent**, with three significant digits each.
#
# 1. MQAR with 64 pairs, each key asked once, all values different: the answer is always the value that was told last.
# 2. Overwriting, four values a key, drawn one by one from 32 and possibly equal: the answer is one of the four values
#    of the key that is asked, each of the four with chance ¼.
# 3. RegBench with 18 letters. In each state one, two or three letters may come, all three cases equally often: the
#    answer is a random one of the 18.

# %% tags=["nbval-check-output"]
chances = None                                           # (first, second, third)

check("15.1", chances)

# %% [markdown]
# ## 15.2
#
# A memory of width d = 32 holds one item. Then other items are written with β = 1, each with a random unit key of its
# own. After how many writes is less than half of the item's signal (15.4) left, on average? Give the smallest whole
# number.

# %% tags=["nbval-check-output"]
writes = None

check("15.2", writes)

# %% [markdown]
# ## 15.3
#
# MAD's compression: 31 random tokens, each one of 15 symbols, and then the sign, so that T = 32 and the vocabulary is
# 16. How many bits must the state behind the sign hold, so that all tokens can be told? Three digits.

# %% tags=["nbval-check-output"]
bits = None

check("15.3", bits)

# %% [markdown]
# ## 15.4
#
# A colleague's model knows every answer of MQAR, and its score is 12.5 %. The function below is at fault. Repair it.
# Every answer counts as much as every other, and if nothing is asked the share is 0.

# %% tags=["nbval-check-output"]
def share_right(logits, targets):
    """logits: (B, T, vocab), targets: (B, T), -100 where nothing is asked. A number between 0 and 1."""
    raise NotImplementedError("15.4")                    # delete this line, and repair the rest
    said = logits.argmax(-1)
    return (said == targets).double().mean().item()

check("15.4", share_right)

# %% [markdown]
# ## 15.5
#
# MQAR from parts. P pairs come first, k v k v ...; behind them are slots of two tokens. Pair `i` is asked in slot
# `slots[:, i]`: its key stands in the first token of the slot. All other tokens are 0. A target is what should be said
# after reading the token in its place, and the value is due once its key has been read.
#
# The function has two faults; tokens and shapes are right. Repair it.

# %% tags=["nbval-check-output"]
def mqar(keys, values, slots, T):
    """keys, values, slots: (n, P) -> tokens, targets: (n, T)."""
    raise NotImplementedError("15.5")                    # delete this line, and repair the rest
    n, P = keys.shape
    tokens = torch.zeros(n, T, dtype=torch.long)
    tokens[:, 0:2 * P:2], tokens[:, 1:2 * P:2] = keys, values
    where = 2 * P + 2 * slots
    tokens.scatter_(1, where, keys)
    targets = torch.zeros(n, T, dtype=torch.long)
    targets.scatter_(1, where + 1, values)
    return tokens, targets

check("15.5", mqar)

# %% [markdown]
# ## 15.6
#
# Now a task of your own: keys are told several times, each time with a value that is drawn anew, and then asked for. We
# begin with the answers.
#
# `keys[b, i]` was told with `values[b, i]`, in the order i = 0, 1, ... What was the last value that each of the
# `asked` keys was told? Each asked key was told at least once.

# %% tags=["nbval-check-output"]
def last_told(keys, values, asked):
    """keys, values: (n, N), asked: (n, Q) -> (n, Q)."""
    raise NotImplementedError("15.6")

check("15.6", last_told)

# %% [markdown]
# ## 15.7
#
# Tokens and targets. First all pairs, k v k v ...; then each asked key with a filler 0 behind it. At each asked key
# the target is its last value; everywhere else it is −100. You may use your `last_told`.

# %% tags=["nbval-check-output"]
def as_sequence(keys, values, asked):
    """keys, values: (n, N), asked: (n, Q) -> tokens, targets: (n, 2N + 2Q)."""
    raise NotImplementedError("15.7")

check("15.7", as_sequence)

# %% [markdown]
# ## 15.8
#
# The whole generator, from an empty cell. Draw n sequences with the generator `g`:
#
# * each has `keys` different keys of its own, from 1 to vocab/2 − 1, every choice as likely;
# * each of them is told `writes` times; all pairs of a sequence are in random order;
# * each time with a random value, vocab/2 to vocab − 1, all as likely, perhaps the same as before;
# * then each key is asked once, in random order.
#
# Each draw is independent of all others, in the sequence and in the batch. Your numbers need not be ours: the check
# reads your sequences, asks an oracle, and tests the laws above. `g` alone decides, and a second call with the same `g`
# goes on drawing. You may use your `as_sequence`.

# %% tags=["nbval-check-output"]
def overwrite(n, keys, writes, vocab, g):
    """Numbers, and a torch.Generator -> tokens, targets: (n, 2 * keys * writes + 2 * keys), int64."""
    raise NotImplementedError("15.8")

check("15.8", overwrite)

# %% [markdown]
# What does a model make of your task? This trains the package's two memories on it for a minute. (Nothing is checked
# here.)

# %%
def train_on_mine(steps=300):
    from deltanet_edu.tasks import Batch, Overwrite, task
    from deltanet_edu.tasks.config import TaskConfig
    from deltanet_edu.tasks.training import train_on_task

    @task("mine")                                        # a task of this name, for TaskConfig to find
    class Mine(Overwrite):
        def batch(self, n, g, train=False):
            return Batch(*overwrite(n, self.keys, self.writes, self.vocab, g))

    for mixer in ("delta", "linear"):
        config = TaskConfig(task="mine", mixer=mixer, steps=steps, difficulty=dict(vocab=16, keys=3, writes=3), test=128)
        print(mixer, f"{train_on_task(config).log[-1]['held_out']:.0%} of your questions answered rightly")

# train_on_mine()                                        # after 15.8: remove the sign in front

# %% [markdown]
# ## 15.9
#
# A run draws training batch n = 0, 1, 2, ... and test batch n = 0, 1, 2, ... from generators that are seeded with
# `stream(seed, test, n)`. Below, training and test use the same numbers, so the test asks what was trained on. Write
# it so that no two of all (seed, test, n) meet, for seeds below 100,000 and n up to and with 10,000,000, and so that the
# same three give the same whole number, from 0 to 2⁶⁴ − 1, in every process. (Where only chance lets two meet, as in a
# good hash of 64 bits, that is good enough.)

# %% tags=["nbval-check-output"]
def stream(seed, test, n):
    """A number, True for the test and False for the training, a number -> a whole number."""
    raise NotImplementedError("15.9")                    # delete this line, and repair the next one
    return seed + n

check("15.9", stream)

# %% [markdown]
# ## 15.10
#
# Selective copying (MAD): `symbols`, (n, count), stand among blanks; then comes a sign, and the symbols are asked in
# their order, while the model reads `count` blanks. `told` tokens stand before the sign. The last symbol stands right before
# the sign; the others stand at the places in `free`, (n, count − 1), which are different but in no order. `blank` is
# the blank's token, `blank + 1` the sign.
#
# Put the lines in an order that works. Three of them do not belong. Give the labels as a string.

# %%
lines("15.10")

# %% tags=["nbval-check-output"]
order = ""

check("15.10", order)

# %% [markdown]
# ## 15.11
#
# A write with the value 0 multiplies the memory by $I - \beta k k^\top$. Find a key and a strength that exchange
# columns i and j of any memory with n columns and leave the others as they are. (Every permutation is a product of
# such exchanges; that is how chapter 17 tracks S₃, S₄ and S₅.)

# %% tags=["nbval-check-output"]
def swap(i, j, n):
    """Two different columns, how many there are -> k: (n,) in float64, beta: a number."""
    raise NotImplementedError("15.11")

check("15.11", swap)

# %% [markdown]
# ## 15.12
#
# Two models, red and blue, on three tasks; made-up numbers, each the score of one training run, in per cent.
#
# | task | red | blue | |
# |---|---|---|---|
# | X | 91.2 · 93.0 · 92.1 | 94.0 · 90.8 · 92.6 | three seeds each |
# | Y | 46.0 · 99.1 · 98.4 | 88.2 · 87.0 · 88.9 | three seeds each |
# | Z | 97.1 | 97.4 | one seed each, a test of 3,072 answers |
#
# Which of these does the table support? Give the letters as a string, such as `"BE"`.
#
# * **A.** On X neither model has been shown to be the better one.
# * **B.** On Y blue is the better one: its mean is 88.0, that of red 81.2.
# * **C.** On Y it depends on the seed whether red learns the task; three seeds are too few to say how often it does.
# * **D.** On Z blue is better by 0.3 points.
# * **E.** The same two runs, tested on four times as many answers, would tell which model is better on Z.

# %% tags=["nbval-check-output"]
holds = None

check("15.12", holds)
