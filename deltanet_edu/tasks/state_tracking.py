"""State tracking: what has a sequence of moves led to?"""

import itertools

import torch

from .definition import Batch, Task, task


@task("parity")
class Parity(Task):
    """Random bits; the target at each position is whether the number of ones so far is odd."""

    def __init__(self, *, T=40):
        self.vocab, self.T = 2, T

    def batch(self, n, g, train=False):
        tokens = torch.randint(2, (n, self.T), generator=g)
        return Batch(tokens, tokens.cumsum(1) % 2)

    def oracle(self, batch):
        return batch.tokens.cumsum(1) % 2

    def baseline(self, batch):
        """The bit itself."""
        return batch.tokens


@task("permutations")
class Permutations(Task):
    """Random permutations of `size` things; the target at each position is the product of all so far, the newest last.

    With three things it is S₃, the smallest group in which order matters. A token is the number of a permutation in
    lexicographic order.
    """

    def __init__(self, *, size=3, T=16):
        if not 2 <= size <= 6:
            raise ValueError(f"size: got {size}, expected 2 to 6: there are size! tokens.")
        group = list(itertools.permutations(range(size)))
        number = {p: i for i, p in enumerate(group)}
        self.vocab, self.T = len(group), T
        self.table = torch.tensor([[number[tuple(b[i] for i in a)] for b in group] for a in group])  # first a, then b

    def batch(self, n, g, train=False):
        tokens = torch.randint(self.vocab, (n, self.T), generator=g)
        return Batch(tokens, self.products(tokens))

    def oracle(self, batch):
        return self.products(batch.tokens)

    def products(self, tokens):
        """The product of all permutations so far, (B, T)."""
        state, states = tokens[:, 0], [tokens[:, 0]]
        for move in tokens[:, 1:].unbind(1):
            state = self.table[state, move]
            states.append(state)
        return torch.stack(states, 1)

    def baseline(self, batch):
        """The last permutation itself."""
        return batch.tokens
