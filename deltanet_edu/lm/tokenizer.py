"""Text to numbers and back: bytes, and the most frequent pairs of them (byte pair encoding)."""

import json

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers

from .config import BYTES

BEGINS = "<|document|>"                                                  # a document begins, so the one before ends
ENDS = (BEGINS, "</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<eos>")       # the others are other people's


class Tokenizer:
    """Byte-level BPE. The first 256 tokens are the bytes, so every text can be written, and nothing is ever unknown.

    With `vocab = 256` a token is a byte: the plain character model of an English text.
    """

    def __init__(self, backend):
        self.backend = backend

    @classmethod
    def train(cls, texts, vocab):
        """Learn vocab - 256 merges from `texts`, an iterable of strings. Give it training text only."""
        if vocab < BYTES:
            raise ValueError(f"vocab: got {vocab}, expected at least {BYTES}, one token for each byte.")
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator(texts, trainer)
        return cls(backend)

    def __len__(self):
        return self.backend.get_vocab_size()

    @property
    def ends(self):
        """The tokens that end a text, where a tokenizer has them: a set of integers."""
        return {self.backend.token_to_id(name) for name in ENDS} - {None}

    @property
    def halves(self):
        """(vocab, 2) int64: the two tokens that each was merged from, -1 for what was not merged. The numbers of a
        tokenizer from elsewhere may have gaps; then there are more rows than tokens."""
        model = json.loads(self.to_json())["model"]
        if not model.get("merges"):                                      # whole words, or bytes alone
            raise ValueError(f"bpe_dropout: got a tokenizer of the kind {model['type']} with {len(self):,} tokens, "
                             "which has no merges to undo. Use 0.")
        halves, number = torch.full((1 + max(self.backend.get_vocab().values()), 2), -1), model["vocab"]
        prefix = len(model["continuing_subword_prefix"] or "")           # "##": "hel" and "##lo" become "hello"
        for first, second in reversed(model["merges"]):                  # the earliest merge into a token counts
            halves[number[first + second[prefix:]]] = torch.tensor([number[first], number[second]])
        return halves

    def encode(self, text, begin=True):
        """(T,) int64 tokens. A tokenizer from elsewhere may put a token in front that begins a text, if it begins."""
        found = self.backend.encode_batch_fast([text], add_special_tokens=begin)[0]      # it keeps no offsets
        return torch.tensor(found.ids, dtype=torch.long)

    def decode(self, tokens):
        return self.backend.decode([int(t) for t in tokens])

    def pieces(self, text):
        """The text cut into its tokens, for looking at."""
        return [text[start:stop] for start, stop in self.backend.encode(text).offsets]

    def to_json(self):
        return self.backend.to_str()

    @classmethod
    def from_json(cls, text):
        return cls(Backend.from_str(text))
