"""The laws of chance of exercise 15.8: are sequences drawn as they should be? Names of the laws are in generator.py."""

import torch

# One order for a whole batch may look like one of these by chance; the next batches tell.
WEAKER = {"tells the keys in rounds": "tells all sequences in one order",
          "tells one key after the other": "tells all sequences in one order",
          "asks in the order of the numbers": "asks all sequences in one order"}


def chance_broken(tokens, n, keys, writes, vocab):
    """The first law of chance that many sequences break, or ""."""
    N, half = keys * writes, vocab // 2
    told, values, asked = tokens[:, :2 * N:2], tokens[:, 1:2 * N:2], tokens[:, 2 * N::2]
    return (drawn_unevenly(values, asked, half, vocab) or values_broken(told, values, asked, n, keys, writes)
            or order_broken(told, asked, n, keys, writes))


def drawn_unevenly(values, asked, half, vocab):
    """Keys and values: are all of them drawn, and equally often?"""
    chosen = asked.sort(1).values
    if (chosen == chosen[:1]).all():
        return "uses the same keys in every sequence"
    for name, drawn, low, high in (("keys", asked, 1, half), ("values", values, half, vocab),
                                   ("values", values[:, 0], half, vocab)):
        counts = drawn.flatten().bincount(minlength=high)[low:]
        rare = len(counts) * (1 - 1 / len(counts)) ** drawn.numel()      # how likely it is that one is never drawn
        if not counts.all() and rare < 1e-6:
            return f"leaves some {name} out"
        if uneven(counts):
            return f"prefers some {name}"
        if name == "keys" and uneven(of_two(chosen, half)):
            return "prefers some keys together"
    return ""


def of_two(chosen, half):
    """How often each two keys are drawn together: chosen (n, keys), sorted -> a count for each two of 1 to half - 1."""
    a, b = torch.combinations(torch.arange(chosen.shape[1])).mT
    together = (chosen[:, a] * half + chosen[:, b]).flatten().bincount(minlength=half * half).view(half, half)
    low, high = torch.combinations(torch.arange(1, half)).mT
    return together[low, high]


def values_broken(told, values, asked, n, keys, writes):
    """The values that one key is given: independent of each other?"""
    each = [values[told == asked[:, k, None]].view(n, writes) for k in range(keys)]      # (n, writes) for each key
    if writes == 1:
        return ""
    again = torch.stack([(v[:, 0] == v[:, 1]).double().mean() for v in each]).mean()
    return "gives a key the same value every time" if again > 0.9 else \
        "never gives a key the same value twice" if again == 0 else ""


def order_broken(told, asked, n, keys, writes):
    """The order of telling and that of asking: random, and independent of each other?"""
    rank = (told[:, :, None] == asked.sort(1).values[:, None, :]).int().argmax(-1)       # (n, N)  0 is the smallest key
    if writes > 1 and (rank.view(n, writes, keys).sort(2).values == torch.arange(keys)).all():
        return "tells the keys in rounds"
    if writes > 1 and ((told[:, 1:] != told[:, :-1]).sum(1) == keys - 1).all():
        return "tells one key after the other"
    pattern = (told[:, :, None] == told[:, None, :]).flatten(1)                          # where a key comes again
    if writes > 1 and (pattern == pattern[:1]).all():
        return "tells all sequences in one order"
    if any(uneven(rank[:, t].bincount(minlength=keys)) for t in (0, -1)) or writes > 1 and far_from_mixed(rank, keys):
        return "prefers some orders"
    places = (asked[:, :, None] == told[:, None, :]).int()                               # (n, keys, N)
    for when in (places.argmax(-1), -places.flip(2).argmax(-1)):                         # told first, told last
        if (when[:, 1:] > when[:, :-1]).all() or (when[:, 1:] < when[:, :-1]).all():
            return "asks in the order of telling"
    order = asked.argsort(1)                                             # (n, keys)
    if (order == order[:1]).all():
        is_sorted = (order[:, 1:] > order[:, :-1]).all() or (order[:, 1:] < order[:, :-1]).all()
        return "asks in the order of the numbers" if is_sorted else "asks all sequences in one order"
    return "prefers some orders of the questions" if any(
        uneven((asked[:, [t]] > asked).sum(1).bincount(minlength=keys)) for t in (0, -1)) else ""


def far_from_mixed(number, keys):
    """Whether neighbors are equal much more or less often than in a random order: (n, N) numbers, each as often."""
    n, N = number.shape
    chance = (N / keys - 1) / (N - 1)                                    # that the next pair is of the same key
    seen = (number[:, 1:] == number[:, :-1]).double().mean().item()
    return abs(seen - chance) > 5 * (chance * (1 - chance) / (n * (N - 1))) ** 0.5 + 0.02


def uneven(counts):
    """Whether counts are too different to be equally likely: by Pearson's statistic, wrong once in a million times."""
    expected, free = counts.sum().item() / len(counts), len(counts) - 1
    return ((counts - expected) ** 2 / expected).sum().item() > free + 5.5 * (2 * free) ** 0.5 + 14
