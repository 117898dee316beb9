"""What text prediction costs without a neural network: n-grams and compressors, in bits per character."""

import bz2
import gzip
import lzma

import numpy as np

ALPHABET = 256                                                           # characters of latin-1


def codes(text):
    """The characters as numbers; those that latin-1 lacks become "?"."""
    return np.frombuffer(text.encode("latin-1", errors="replace"), dtype=np.uint8).astype(np.uint64)


def grams(x, n):
    """Each window of n characters as one number of 8n bits: (len(x) - n + 1,)."""
    key = np.zeros(len(x) - n + 1, dtype=np.uint64)
    for i in range(n):
        key = (key << np.uint64(8)) | x[i : len(x) - n + 1 + i]
    return key


def lookup(keys, counts, wanted):
    """The count of each wanted key, 0 if it was never seen."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, counts[at], 0)


def witten_bell(corpus, longest=6):
    """Bits per held-out character of a character n-gram model with a context of 0, 1, ..., `longest` characters.

    P(c | h) = (n(hc) + t(h) P(c | shorter h)) / (n(h) + t(h)),    P(c | nothing) = 1 / 256

    where n counts in the training text and t(h) is the number of different characters that followed h there. Counted on
    all training text; scored on every held-out character, whose context is the text before it, in the same book.
    """
    before = [text.train[-longest:] for text in corpus.texts]
    held_out = [codes(b + text.held_out) for b, text in zip(before, corpus.texts)]
    train = [codes(text.train) for text in corpus.texts]
    probability = np.full(sum(len(text.held_out) for text in corpus.texts), 1 / ALPHABET)
    bits = []
    for n in range(longest + 1):                                         # characters of context
        keys, counts = np.unique(np.concatenate([grams(x, n + 1) for x in train]), return_counts=True)
        contexts, first = np.unique(keys >> np.uint64(8), return_index=True)
        total, kinds = np.add.reduceat(counts, first), np.diff(np.append(first, len(keys)))
        wanted = np.concatenate([grams(x, n + 1)[len(b) - n :] for x, b in zip(held_out, before)])
        seen, h = lookup(keys, counts, wanted), wanted >> np.uint64(8)
        followed, different = lookup(contexts, total, h), lookup(contexts, kinds, h)
        known = followed > 0                                             # one never seen says nothing: keep the shorter
        mixed = (seen + different * probability) / np.where(known, followed + different, 1)
        probability = np.where(known, mixed, probability)
        bits.append(float(-np.log2(probability).mean()))
    return bits


def compressors(corpus):
    """Bits per held-out character of three compressors that have read the training text: what they add to its file."""
    train = "".join(text.train for text in corpus.texts).encode("latin-1", errors="replace")
    held_out = "".join(text.held_out for text in corpus.texts).encode("latin-1", errors="replace")
    programs = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lambda data: lzma.compress(data, preset=9)}
    return {name: 8 * (len(f(train + held_out)) - len(f(train))) / len(held_out) for name, f in programs.items()}
