"""Multi-query associative recall: pairs are told, and later each key is asked for (Arora et al., arXiv 2312.04927)."""

import torch

from .definition import IGNORED, Batch, Task, draw_distinct, draw_weighted, last_match, task


@task("mqar")
class MQAR(Task):
    """k₁ v₁ k₂ v₂ ... and then, among fillers, every key once more: its value is the target at the key's own position.

    The paper's hardest setting is vocab 8192, T 512, pairs 64.

    Args:
        vocab: keys are 1 ... vocab/2 - 1, values vocab/2 ... vocab - 1, and 0 fills.
        T: sequence length; pairs: how many, at most T/4.
        power: the slot x = 1, 2, ... of two tokens after the pairs is chosen with a chance in proportion to
            x^(power - 1): small powers ask soon, 1 asks anywhere.
        random_fillers: fill with random tokens instead of 0. A filler may then repeat a key with another token behind
            it, which a memory that overwrites takes for the newer answer: a fault of the data, not of the memory.
    """

    def __init__(self, *, vocab=256, T=64, pairs=8, power=0.01, random_fillers=False):
        if not 1 <= pairs <= T // 4:
            raise ValueError(f"pairs: got {pairs}, expected 1 to {T // 4}, a quarter of T = {T}.")
        if vocab % 2 or vocab < 2 * pairs + 2:
            raise ValueError(f"vocab: got {vocab}, expected an even number of at least {2 * pairs + 2}: half are keys.")
        self.vocab, self.T, self.pairs, self.random_fillers = vocab, T, pairs, random_fillers
        self.weights = torch.arange(1, (T - 2 * pairs) // 2 + 1) ** (power - 1.0)        # (slots,)

    def batch(self, n, g, train=False):
        half = self.vocab // 2
        keys = 1 + draw_distinct(n, half - 1, self.pairs, g)                              # (n, pairs)
        values = half + draw_distinct(n, half, self.pairs, g)
        tokens = torch.zeros(n, self.T, dtype=torch.long)
        if self.random_fillers:
            tokens = torch.randint(self.vocab, (n, self.T), generator=g)
        tokens[:, :2 * self.pairs] = torch.stack([keys, values], 2).flatten(1)
        asked = 2 * self.pairs + 2 * draw_weighted(n, self.weights, self.pairs, g)        # (n, pairs)  positions
        tokens.scatter_(1, asked, keys)
        targets = torch.full_like(tokens, IGNORED).scatter_(1, asked, values)
        return Batch(tokens, targets)

    def oracle(self, batch):
        told = batch.tokens[:, :2 * self.pairs]
        return last_match(told[:, ::2], told[:, 1::2], batch.tokens)

    def baseline(self, batch):
        """The last value that was told, whatever is asked."""
        return batch.tokens[:, 2 * self.pairs - 1, None].expand_as(batch.tokens)
