"""BPE-dropout (arXiv 1910.13267): a text that is read again and again is cut into other tokens each time.

There, merges are left out at random while a text is encoded. Here merges are undone at random, which asks for the
tokens only: " the" is read as " t" and "he" once in a while, "he" then never as "h" and "e".
"""

import torch


class BPEDropout:
    """Undoes merges in the rows of a batch: in its first step so large a `share` of them, then less, along a line, and
    none after the last of `steps`. What is measured and generated is always in whole tokens.

    halves: (vocab, 2), of `Tokenizer.halves`.
    """

    def __init__(self, halves, share, steps, seed):
        self.halves, self.share, self.steps, self.seed = halves, share, steps, seed

    def __call__(self, rows, step, first, batch):
        """rows: (b, n), those of a batch from its row `first` on. Returns as many, as long, with the same beginnings:
        what no longer fits is left out. A row depends on the seed, the step and its number in the batch alone."""
        b, n = rows.shape
        g = torch.Generator().manual_seed(-1 - 1_000_003 * self.seed - step)     # below 0: not what a model draws from
        drawn = torch.rand(batch, n, generator=g)[first : first + b].flatten()
        tokens = rows.flatten()
        halves = self.halves[tokens]                                     # (b n, 2)
        cut = (drawn < self.share * (1 - step / self.steps)) & (halves[:, 0] >= 0)
        at = torch.arange(b * n) + cut.cumsum(0) - cut.long()            # where each token, or its first half, goes
        longer = torch.empty(b * n + int(cut.sum()), dtype=tokens.dtype)
        longer[at] = torch.where(cut, halves[:, 0], tokens)
        longer[at[cut] + 1] = halves[cut, 1]
        return longer[at[::n, None] + torch.arange(n)]
