"""A corpus in tokens: what a step trains on, and what the model is measured on."""

from dataclasses import dataclass

import torch

from .evaluate import bits_per_character
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class HeldOut:
    """The last 5 % of one book in tokens, with the tokens before it, which a reader of the book has already seen."""

    name: str
    before: torch.Tensor                                                 # (some,)  the end of the training part
    tokens: torch.Tensor                                                 # (n,)     every one of them is scored
    chars: int                                                           # characters that the n tokens spell


@dataclass(frozen=True)
class Data:
    tokenizer: Tokenizer
    train: torch.Tensor                                                  # (N,)  all books, one after another
    held_out: tuple[HeldOut, ...]
    fingerprint: str                                                     # of the corpus

    @classmethod
    def prepare(cls, corpus, vocab=None, tokenizer=None, before=1024):
        """Cut a corpus into tokens. The tokenizer learns from the training text only, unless one is given."""
        tokenizer = tokenizer or Tokenizer.train((text.train for text in corpus.texts), vocab)
        train = [tokenizer.encode(text.train) for text in corpus.texts]
        held_out = tuple(HeldOut(text.name, tokens[-before:], tokenizer.encode(text.held_out), len(text.held_out))
                         for text, tokens in zip(corpus.texts, train))
        return cls(tokenizer, torch.cat(train), held_out, corpus.fingerprint)

    # What the training loop asks of whatever it trains on; a task has the same three (tasks/training.py).
    unit = "bits per character"                                          # of what is measured

    def batches(self, config):
        return Batches(self.train, config.batch, config.length, config.seed)

    def measure(self, model, share=1.0):
        """Bits per character over a share of the held-out text."""
        return bits_per_character(model, self.held_out, share)

    def enough(self, measured):
        """Is there nothing left to learn? Of a text there always is."""
        return False


class Batches:
    """Batch number n, for any n, without the ones before it: where a run is in its data is one number, the step.

    In every epoch the text is cut into windows at a new offset and the windows are shuffled: each is seen once.
    """

    def __init__(self, tokens, batch, length, seed):
        self.tokens, self.batch, self.length, self.seed = tokens, batch, length, seed
        self.windows = (len(tokens) - length) // length - 1              # so many fit at every offset
        self.per_epoch = self.windows // batch
        if self.per_epoch < 1:
            raise ValueError(f"length, batch: {batch} windows of {length} tokens do not fit into {len(tokens):,} "
                             "tokens of training text. Make them smaller, or give a longer text.")
        self.epoch = None

    def __getitem__(self, step):
        """(B, T + 1) tokens."""
        epoch, i = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            g = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
            self.epoch, self.offset = epoch, torch.randint(self.length, (), generator=g)
            self.order = torch.randperm(self.windows, generator=g)
        chosen = self.order[i * self.batch : (i + 1) * self.batch]
        starts = self.offset + self.length * chosen                      # (B,)
        return self.tokens[starts[:, None] + torch.arange(self.length + 1)]
