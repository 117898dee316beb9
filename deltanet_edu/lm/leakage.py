"""Is any of the held-out text in the training text? Every run of 50 characters is looked up, white space counted once.

A run is known by 64 bits, its rolling hash: two different runs are taken for one with a chance of 1 in 10^13 a look.
"""

from dataclasses import replace

import numpy as np

RUN = 50                                                                 # characters; shorter ones are common phrases
BLOCK = 1 << 20                                                          # characters at a time, to bound the memory
STEP = 0x9E3779B97F4A7C15                                                # odd, so that it has an inverse modulo 2^64


def runs(text):
    """The hash of every run of the text, and where its characters stand: (n,) uint64, (n + RUN - 1,) positions."""
    code = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    blank = np.isin(code, [ord(c) for c in " \t\r\n\f\v"])
    at = np.flatnonzero(~blank | ~np.append(False, blank[:-1]))          # of several blanks, the first
    x = np.where(blank[at], ord(" "), code[at]).astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93)
    x = (x ^ (x >> np.uint64(32))) * np.uint64(STEP)                     # (m,)  well mixed
    if len(x) < RUN:
        return np.zeros(0, np.uint64), at
    weights, unweigh = (np.cumprod(np.append(np.uint64(1), np.full(len(x) - 1, np.uint64(b))))
                        for b in (STEP, pow(STEP, -1, 1 << 64)))
    sums = np.append(np.uint64(0), np.cumsum(x * weights))               # a run's own part, moved back to exponent 0
    return (sums[RUN:] - sums[:-RUN]) * unweigh[: len(x) - RUN + 1], at


def blocks(text):
    """The text in pieces that overlap, so that no run is lost, were it ten times as long for its white space."""
    for start in range(0, max(1, len(text) - RUN + 1), BLOCK):
        yield start, text[start : start + BLOCK + 10 * RUN]


class Known:
    """The runs of some texts, to look others up in."""

    def __init__(self, texts):
        self.keys = np.unique(np.concatenate([runs(piece)[0] for text in texts for _, piece in blocks(text)]))
        self.first_bits = np.zeros(1 << 24, bool)                        # says no to nearly all that is not there
        self.first_bits[self.keys >> np.uint64(40)] = True

    def find(self, hashes):
        """(indices of the hashes that are known, their indices among the keys)."""
        maybe = np.flatnonzero(self.first_bits[hashes >> np.uint64(40)])
        place = np.searchsorted(self.keys, hashes[maybe]).clip(max=len(self.keys) - 1)
        known = self.keys[place] == hashes[maybe]
        return maybe[known], place[known]


def without_shared(texts):
    """The same Texts, but what their training text shares with any held-out text is cut out of the training text."""
    known = Known(text.held_out for text in texts)
    return [replace(text, train=cut(text.train, known)) for text in texts]


def cut(text, known):
    """The text without the runs that are known. An ellipsis stands for them, lest what is left makes a new one."""
    kept = np.ones(len(text), bool)
    for start, piece in blocks(text):
        hashes, at = runs(piece)
        for i in known.find(hashes)[0]:
            kept[start + at[i] : start + at[i + RUN - 1] + 1] = False
    borders = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8))).tolist()
    return " \u2026 ".join(text[start:stop] for start, stop in zip(borders[::2], borders[1::2]))


def shares(texts):
    """For each Text, the share of its held-out runs that stand in the training text of any of them: 0 is clean."""
    known = Known(text.held_out for text in texts)
    seen = np.zeros(len(known.keys), bool)
    for text in texts:
        for _, piece in blocks(text.train):
            seen[known.find(runs(piece)[0])[1]] = True
    mine = (np.concatenate([runs(piece)[0] for _, piece in blocks(text.held_out)]) for text in texts)
    return [float(seen[np.searchsorted(known.keys, hashes)].mean()) if len(hashes) else 0.0 for hashes in mine]
