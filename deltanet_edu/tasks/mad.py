"""The six tasks of MAD, mechanistic architecture design (Poli et al., arXiv 2403.17844), at any difficulty.

The defaults are the baseline difficulty. Where a task trains on more than it asks, `batch(n, g, train=True)` gives
those targets: every next token. Published accuracies are means over the classes, `accuracy` is over positions.
"""

import itertools

import torch

from .definition import IGNORED, Batch, Task, draw_distinct, task


def even(vocab, least):
    if vocab % 2 or vocab < least:
        raise ValueError(f"vocab: got {vocab}, expected an even number of at least {least}: half keys, half values.")


def next_tokens(sequence, targets, train):
    """A Batch one shorter than the sequence; in training every next token is a target."""
    return Batch(sequence[:, :-1], sequence[:, 1:] if train else targets[:, :-1])


@task("mad-recall")
class InContextRecall(Task):
    """Random pairs, with repetition, of a map that each sequence has for itself; the last one is of a key seen before.

    Keys are 0 ... vocab/2 - 1, values the other half. Asked: the value behind every key that was seen before.

    Args:
        noise: chance that a pair is replaced by two tokens of a third kind, `noise_vocab` more words.
    """

    def __init__(self, *, vocab=16, T=128, noise=0.0, noise_vocab=0):
        even(vocab, 4)
        if T < 4 or T % 2:
            raise ValueError(f"T: got {T}, expected an even number of at least 4: pairs.")
        if not 0 <= noise < 1 or bool(noise) != bool(noise_vocab):
            raise ValueError(f"noise and noise_vocab: got {noise} and {noise_vocab}, expected both, or neither.")
        self.words, self.vocab, self.T = vocab, vocab + noise_vocab, T - 1
        self.noise, self.pairs = noise, T // 2

    def batch(self, n, g, train=False):
        half, pairs = self.words // 2, self.pairs
        mapping = torch.randint(half, self.words, (n, half), generator=g)
        keys = torch.randint(half, (n, pairs), generator=g)
        real = torch.rand(n, pairs, generator=g) >= self.noise
        real[:, 0] |= ~real[:, :-1].any(1)                                               # one pair at least
        earlier = torch.rand(n, pairs - 1, generator=g).masked_fill(~real[:, :-1], -1).argmax(1, keepdim=True)
        keys[:, -1:], real[:, -1] = keys.gather(1, earlier), True                        # the last key was seen before
        sequence = torch.stack([keys, mapping.gather(1, keys)], 2)                       # (n, pairs, 2)
        noise = torch.randint(self.words, max(self.vocab, self.words + 1), sequence.shape, generator=g)
        sequence = torch.where(real[:, :, None], sequence, noise).flatten(1)
        answers = self.said_before(sequence)
        return next_tokens(sequence, answers.masked_fill(answers < 0, IGNORED), train)

    def oracle(self, batch):
        return self.said_before(batch.tokens)

    def said_before(self, tokens):
        """Behind each key the value it had the last time, (B, T); -1 if it was not seen before, and behind values."""
        keys, values = tokens[:, ::2], tokens[:, 1::2]
        if values.shape[1] < keys.shape[1]:                                         # what follows the last is not there
            values = torch.cat([values, torch.full_like(keys[:, :1], -1)], 1)
        same = (keys[:, :, None] == keys[:, None, :]).tril(-1) & (keys < self.words // 2)[:, :, None]
        seen, place = (torch.arange(1, keys.shape[1] + 1) * same).max(-1)
        said = torch.where(seen > 0, values.gather(1, place), -1)
        return torch.stack([said, torch.full_like(said, -1)], 2).flatten(1)[:, :tokens.shape[1]]

    def baseline(self, batch):
        """One value, always the same."""
        return torch.full_like(batch.tokens, self.words - 1)


@task("mad-noisy-recall")
class NoisyRecall(InContextRecall):
    """Recall in context, with a fifth of the pairs replaced by noise."""

    def __init__(self, *, vocab=16, T=128, noise=0.2, noise_vocab=16):
        super().__init__(vocab=vocab, T=T, noise=noise, noise_vocab=noise_vocab)


@task("mad-fuzzy-recall")
class FuzzyRecall(Task):
    """Recall where a key and a value are one to `longest` tokens: the last key was told once, its value is asked.

    vocab - 1 pads on the left. The smaller half of the rest spells keys, the larger values, no token twice in a word.
    In training the asked key has any length, otherwise `longest`.
    """

    def __init__(self, *, vocab=16, T=128, longest=3):
        even(vocab, 2 * longest + 2)
        if T < 8 * longest:
            raise ValueError(f"T: got {T}, expected at least {8 * longest} for words of up to {longest} tokens.")
        self.vocab, self.T, self.longest, self.pad = vocab, T - 1, longest, vocab - 1
        self.key_words, self.key_sizes = self.spell(range(vocab // 2 - 1))
        self.value_words, self.value_sizes = self.spell(range(vocab // 2 - 1, vocab - 1))

    def spell(self, letters):
        """All words of these letters, (words, longest), -1 where a word has ended; and where each size begins."""
        words, sizes = [], [0]
        for size in range(1, self.longest + 1):
            words += [w + (-1,) * (self.longest - size) for w in itertools.permutations(letters, size)]
            sizes.append(len(words))
        return torch.tensor(words), torch.tensor(sizes)

    def draw(self, shape, sizes, g, least=1):
        """Numbers of words: first a size, then one of that size."""
        size = torch.randint(least, self.longest + 1, shape, generator=g)
        first, end = sizes[size - 1], sizes[size]
        return first + (torch.rand(shape, generator=g) * (end - first)).long()

    def batch(self, n, g, train=False):
        length, most = self.T + 1, (self.T + 1) // 2                                     # most: pairs of two tokens
        mapping = self.draw((n, len(self.key_words)), self.value_sizes, g)               # key word -> value word
        keys = self.draw((n, most), self.key_sizes, g)
        asked = self.draw((n, 1), self.key_sizes, g, least=1 if train else self.longest)
        both = torch.cat([self.key_words[keys], self.value_words[mapping.gather(1, keys)]], 2)    # (n, most, 2 longest)
        probe = torch.cat([self.key_words[asked], self.value_words[mapping.gather(1, asked)]], 2)   # (n, 1, 2 longest)
        both = both.masked_fill((keys == asked)[:, :, None], -1)                       # the asked key is told only once
        room = length - 2 * (probe >= 0).sum((1, 2))                                     # (n,)  for the other pairs
        fits = (both >= 0).sum(2).cumsum(1) <= room[:, None]                              # (n, most)
        both = both.masked_fill(~fits[:, :, None], -1)
        told_at = (torch.rand(n, generator=g) * (fits.sum(1) + 1)).long()[:, None]       # (n, 1)  before this pair
        place = torch.arange(most)[None] * 2 + 1                                   # pairs at odd places, the probe even
        order = torch.cat([place.expand(n, -1), 2 * told_at, torch.full((n, 1), 2 * most + 2)], 1).argsort(1)
        pieces = torch.cat([both, probe, probe], 1).gather(1, order[:, :, None].expand(-1, -1, 2 * self.longest))
        letters = pieces.flatten(1)
        kept = (letters >= 0).int().argsort(dim=1, stable=True)[:, -length:]                # the empty ones to the left
        letters = letters.gather(1, kept)
        sequence = letters.masked_fill(letters < 0, self.pad)
        answer = (probe[:, 0, self.longest:] >= 0).sum(1, keepdim=True)                  # (n, 1)  its tokens
        asked_for = torch.arange(length)[None] >= length - answer                        # they stand at the end
        targets = sequence.masked_fill(~asked_for, IGNORED).roll(-1, 1)
        return next_tokens(sequence, targets, train)

    def oracle(self, batch):
        """By reading: what stood behind the letters since the last value ended, when they were told before."""
        answers = torch.full_like(batch.tokens, -1)
        first = self.vocab // 2 - 1
        for row, out in zip(batch.tokens.tolist(), answers):
            known, key, value = {}, (), ()
            for t, letter in enumerate(row):
                if letter == self.pad:
                    continue
                if letter < first:                                                       # a letter of a key
                    if value:
                        known[key], key, value = value, (), ()
                    key += (letter,)
                else:
                    value += (letter,)
                told = known.get(key, ())
                out[t] = told[len(value)] if value == told[:len(value)] and len(value) < len(told) else -1
        return answers

    def baseline(self, batch):
        """The largest value letter, always."""
        return torch.full_like(batch.tokens, self.vocab - 2)


@task("mad-copying")
class SelectiveCopying(Task):
    """`count` symbols among blanks, then a sign to copy: the symbols are asked in order, without the blanks.

    vocab - 1 is the sign, vocab - 2 the blank. Which places hold symbols is drawn evenly, but that one stands last.
    """

    def __init__(self, *, vocab=16, T=256, count=16):
        if vocab < 4 or not 1 <= count <= (T - 1) // 2:
            raise ValueError(f"vocab and count: got {vocab} and {count}, expected at least 4, and 1 to {(T - 1) // 2}.")
        self.vocab, self.T, self.count = vocab, T, count
        self.blank, self.sign = vocab - 2, vocab - 1

    def batch(self, n, g, train=False):
        told = self.T - self.count - 1                                                   # tokens before the sign
        symbols = torch.randint(self.blank, (n, self.count), generator=g)
        places = torch.full((n, self.count), told - 1)
        places[:, :-1] = draw_distinct(n, told - 1, self.count - 1, g).sort(1).values
        tokens = torch.full((n, self.T), self.blank).scatter_(1, places, symbols)
        tokens[:, told] = self.sign
        targets = torch.full_like(tokens, IGNORED)
        targets[:, told + 1:] = symbols
        return Batch(tokens, targets)

    def oracle(self, batch):
        told = batch.tokens[:, :self.T - self.count - 1]
        order = (told == self.blank).int().argsort(dim=1, stable=True)[:, :self.count]   # symbols first, in their order
        answers = torch.full_like(batch.tokens, -1)
        answers[:, -self.count:] = told.gather(1, order)
        return answers

    def baseline(self, batch):
        """The first symbol, always."""
        return torch.zeros_like(batch.tokens)


@task("mad-compression")
class Compression(Task):
    """Random tokens, then a sign: all tokens are asked of the state behind the sign alone (`from_last`).

    A model answers all positions from its last output, with a decoder that is told the position.
    """

    from_last = True

    def __init__(self, *, vocab=16, T=32):
        if vocab < 3 or T < 2:
            raise ValueError(f"vocab and T: got {vocab} and {T}, expected at least 3 and 2.")
        self.vocab, self.T = vocab, T

    def batch(self, n, g, train=False):
        tokens = torch.randint(self.vocab - 1, (n, self.T), generator=g)
        tokens[:, -1] = self.vocab - 1
        targets = tokens.clone()
        targets[:, -1] = IGNORED
        return Batch(tokens, targets)

    def oracle(self, batch):
        return batch.tokens

    def baseline(self, batch):
        """One token, always the same."""
        return torch.zeros_like(batch.tokens)


@task("mad-memorizing")
class Memorizing(Task):
    """A map that never changes, the same in every sequence: behind each key stands a sign, where its value is asked.

    Nothing in the sequence tells the values: they must be learned into the weights.

    Args:
        map_seed: which map.
    """

    def __init__(self, *, vocab=256, T=32, map_seed=0):
        even(vocab, 4)
        if T < 2 or T % 2:
            raise ValueError(f"T: got {T}, expected an even number of at least 2.")
        self.vocab, self.T, self.sign = vocab, T, vocab - 1
        keys = vocab // 2 - 1
        g = torch.Generator().manual_seed(map_seed)
        self.mapping = torch.randint(keys, vocab - 1, (keys,), generator=g)             # neither a key nor the sign

    def batch(self, n, g, train=False):
        keys = torch.randint(len(self.mapping), (n, self.T // 2), generator=g)
        tokens = torch.stack([keys, torch.full_like(keys, self.sign)], 2).flatten(1)
        targets = torch.full_like(tokens, IGNORED)
        targets[:, 1::2] = self.mapping[keys]
        return Batch(tokens, targets)

    def oracle(self, batch):
        answers = torch.full_like(batch.tokens, -1)
        answers[:, 1::2] = self.mapping[batch.tokens[:, ::2]]
        return answers

    def baseline(self, batch):
        """The most frequent value."""
        return torch.full_like(batch.tokens, self.mapping.mode().values.item())
