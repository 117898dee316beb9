"""Recall of the newest value: every key is told several times, each time with another value."""

import torch

from .definition import IGNORED, Batch, Task, draw_distinct, last_match, task


@task("overwrite")
class Overwrite(Task):
    """Keys are told `writes` times in random order, then each is asked for once: the target is its last value.

    What adds must keep the old values apart from the new; what erases before it writes need not. Each asked key stands
    alone, with a filler behind it.

    Args:
        vocab: keys are 1 ... vocab/2 - 1, values vocab/2 ... vocab - 1, and 0 fills.
        keys: how many; writes: how often each is told.
    """

    def __init__(self, *, vocab=64, keys=6, writes=4):
        if keys < 1 or writes < 1:
            raise ValueError(f"keys and writes: got {keys} and {writes}, expected at least one of each.")
        if vocab % 2 or vocab < 2 * keys + 2:
            raise ValueError(f"vocab: got {vocab}, expected an even number of at least {2 * keys + 2}: half are keys.")
        self.vocab, self.keys, self.writes = vocab, keys, writes
        self.told = 2 * keys * writes                                                    # tokens of the pairs
        self.T = self.told + 2 * keys

    def batch(self, n, g, train=False):
        half = self.vocab // 2
        keys = 1 + draw_distinct(n, half - 1, self.keys, g)                              # (n, keys)
        order = draw_distinct(n, self.keys * self.writes, self.keys * self.writes, g) % self.keys
        told = keys.gather(1, order)                                                     # (n, keys * writes)
        values = torch.randint(half, self.vocab, told.shape, generator=g)
        asked = keys.gather(1, draw_distinct(n, self.keys, self.keys, g))
        queries = torch.stack([asked, torch.zeros_like(asked)], 2).flatten(1)
        tokens = torch.cat([torch.stack([told, values], 2).flatten(1), queries], 1)
        targets = torch.full_like(tokens, IGNORED)
        targets[:, self.told::2] = last_match(told, values, asked)
        return Batch(tokens, targets)

    def oracle(self, batch):
        told = batch.tokens[:, :self.told]
        return last_match(told[:, ::2], told[:, 1::2], batch.tokens)

    def baseline(self, batch):
        """The first value of the key: what a memory says that never erases and answers with its oldest."""
        told = batch.tokens[:, :self.told].flip(1)
        return last_match(told[:, 1::2], told[:, ::2], batch.tokens)
