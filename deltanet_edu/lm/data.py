"""A corpus in tokens: what a step trains on, and what the model is measured on."""

from dataclasses import dataclass, replace

import torch

from .bpe_dropout import BPEDropout
from .corpus import load_corpus
from .evaluate import CONTEXT, bits_per_character, context_of
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
    train: torch.Tensor                                                  # (N,)  all books, one after another, or a file
    held_out: tuple[HeldOut, ...]
    fingerprint: str                                                     # of the corpus
    begins: int | None = None                                            # the token that documents begin with, if any
    context: int = CONTEXT                                               # tokens read before those that are measured

    @classmethod
    def prepare(cls, corpus, vocab=None, tokenizer=None, before=1024, context=CONTEXT):
        """Cut a corpus into tokens. The tokenizer learns from the training text only, unless one is given."""
        tokenizer = tokenizer or Tokenizer.train((text.train for text in corpus.texts), vocab)
        train = [tokenizer.encode(text.train) for text in corpus.texts]
        held_out = tuple(HeldOut(text.name, tokens[-before:], tokenizer.encode(text.held_out), len(text.held_out))
                         for text, tokens in zip(corpus.texts, train))
        return cls(tokenizer, torch.cat(train), held_out, corpus.fingerprint, context=context)

    # What the training loop asks of whatever it trains on; a task has the same (tasks/training.py).
    unit, goal = "bits per character", min                               # of what is measured

    def batches(self, config, part=0, parts=1):
        undo = None
        if config.bpe_dropout:
            undo = BPEDropout(self.tokenizer.halves, config.bpe_dropout, config.steps, config.seed)
        return Batches(self.train, config.batch, config.length, config.seed, part, parts, undo)

    def arrange(self, rows):
        """The arguments of a model's loss, from rows of a batch: no document in them sees another."""
        if self.begins is None or not (rows[:, 1:-1] == self.begins).any():
            return rows                                                  # each row is of one document
        return packed(rows, self.begins)

    def measure(self, model, share=1.0):
        """Bits per character over a share of the held-out text."""
        return bits_per_character(model, self.held_out, share, context=self.context)

    def enough(self, measured):
        """Is there nothing left to learn? Of a text there always is."""
        return False


class Batches:
    """Batch number n, for any n, without the ones before it: where a run is in its data is one number, the step.

    In every epoch the text is cut into windows at a new offset and the windows are shuffled: each is seen once.
    Of each batch this is the `part`-th of so many equal `parts`; only its tokens are read.
    undo: a `BPEDropout`; the ends of windows are left out then.
    """

    def __init__(self, tokens, batch, length, seed, part=0, parts=1, undo=None):
        self.tokens, self.batch, self.length, self.seed = tokens, batch, length, seed
        self.first, self.rows, self.undo = part * batch // parts, batch // parts, undo
        self.windows = (len(tokens) - length) // length - 1              # so many fit at every offset
        self.per_epoch = self.windows // batch
        if self.per_epoch < 1:
            raise ValueError(f"length, batch: {batch} windows of {length} tokens do not fit into {len(tokens):,} "
                             "tokens of training text. Make them smaller, or give a longer text.")
        self.epoch = None

    def __getitem__(self, step):
        """(B / parts, T + 1) tokens."""
        epoch, i = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            g = torch.Generator().manual_seed(1_000_003 * self.seed + epoch)
            self.epoch, self.offset = epoch, torch.randint(self.length, (), generator=g)
            self.order = torch.randperm(self.windows, generator=g)
        start = i * self.batch + self.first
        chosen = self.order[start : start + self.rows]
        starts = self.offset + self.length * chosen                      # (B,)
        rows = self.tokens[starts[:, None] + torch.arange(self.length + 1)]
        return self.undo(rows, step, self.first, self.batch) if self.undo else rows


def split(batch, parts):
    """A batch, a tensor or a tuple of them, in so many parts of equally many rows."""
    if isinstance(batch, torch.Tensor):
        return batch.chunk(parts)
    return list(zip(*(x.chunk(parts) for x in batch)))


def packed(rows, begins):
    """(tokens, targets, None, cu_seqlens) of rows, (B, T + 1): all in one row, in which no document sees another.

    A document begins with the token `begins`, which is also what its last word should predict. So all B T predictions
    count. What a row has in front of its first `begins` is a document that has lost its beginning.
    """
    tokens, targets = rows[:, :-1], rows[:, 1:]                          # (B, T) both
    first = tokens == begins
    first[:, 0] = True
    ends = torch.cat([first.flatten().nonzero()[:, 0], torch.tensor([tokens.numel()])])      # (N + 1,)
    return tokens.reshape(1, -1), targets.reshape(1, -1), None, ends


def load_data(config, tokenizer=None):
    """The Data of a Config: its corpus in tokens, of a tokenizer in JSON, or else of one that learns from it."""
    from .token_folder import is_token_folder, open_tokens

    if is_token_folder(config.corpus):
        return replace(open_tokens(config.corpus, config.vocab), context=context_of(config.length))
    tokenizer = tokenizer and Tokenizer.from_json(tokenizer)
    return Data.prepare(load_corpus(config.corpus), config.vocab, tokenizer, context=context_of(config.length))
