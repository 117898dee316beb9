"""Exercise 14.4: one token of attention in a sliding window, its cache in hand."""

import torch

from ...layers.rotary import rotate
from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import normal


def turn(x, position):
    """x: (K,), turned to its position as RoPE does."""
    return rotate(x, torch.tensor(float(position), dtype=x.dtype))


def window_step(q, k, v, cache, w):
    """One head. q, k: (K,), v: (V,). cache: keys (L, K), turned, values (L, V), and how many tokens were seen."""
    keys, values, seen = cache
    q, k = turn(q, seen), turn(k, seen)
    keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
    keys, values = keys[-w:], values[-w:]
    o = (keys @ q / len(q)**0.5).softmax(0) @ values
    return o, (keys, values, seen + 1)


def window_step_by_distance(q, k, v, cache, w):
    """The same with a mask, and with a sum of exponentials."""
    keys, values, seen = cache
    keys, values = torch.stack([*keys, turn(k, seen)]), torch.stack([*values, v])
    back = torch.arange(len(keys) - 1, -1, -1)
    weights = torch.where(back < w, torch.exp(keys @ turn(q, seen) * len(q)**-0.5), 0)
    return (weights / weights.sum()) @ values, (keys[back < w], values[back < w], seen + 1)


def window_cases(g):
    for L, seen, w, K, V in ((0, 0, 2, 2, 1), (1, 1, 2, 2, 1), (2, 2, 2, 2, 1), (2, 5, 2, 2, 3), (3, 9, 4, 4, 2),
                             (4, 9, 4, 4, 2), (1, 7, 1, 2, 2)):
        cache = normal(g, L, K), normal(g, L, V), seen
        yield Case((normal(g, K), normal(g, K), normal(g, V), cache, w), f"{L} of {seen} tokens kept, window {w}")


RIGHT = "DAFCEB"

exercise(
    id="14.4", title="A window that slides", kind="order", stars=2, minutes=10, equations=("14.8",),
    reference=RIGHT, alternatives=(window_step, window_step_by_distance), cases=window_cases,
    prepare=order_the_lines(
        {"A": "q, k = turn(q, seen), turn(k, seen)", "B": "return o, (keys, values, seen + 1)",
         "C": "keys, values = keys[-w:], values[-w:]", "D": "keys, values, seen = cache",
         "E": "o = (keys @ q / len(q)**0.5).softmax(0) @ values",
         "F": "keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])"},
        "def window_step(q, k, v, cache, w):", "window_step", namespace={"turn": turn},
        distractors={"G": "q, k = turn(q, len(keys)), turn(k, len(keys))",
                     "H": "keys, values = keys[:w], values[:w]"}),
    mutants={
        "counts positions from the start of the window": Mistake("DGFCEB",
            "Once the window is full, `len(keys)` stays at w, and every new token gets the same position. How many "
            "tokens were *seen* is what counts.", "eq. 14.8", next="What does the cache hold besides keys and values?"),
        "keeps the oldest tokens": Mistake("DAFHEB",
            "The newest stand last. `[:w]` keeps the oldest w, and the present is cut off.", "eq. 14.8"),
        "cuts before the present is in": Mistake("DACFEB",
            "Then w old tokens and the present are read, one too many: the window includes the present.", "eq. 14.8"),
        "cuts after it has read": Mistake("DAFECB",
            "The cache is cut, but too late: this token has read w + 1.", "eq. 14.8"),
        "never cuts": Mistake("DAFEB",
            "Without line C the cache grows with the text, and the token reads all of it.", "eq. 14.8"),
        "reads before the present is in": Mistake("DAEFCB",
            "A token sees itself, so its key and value must be in the cache before it reads.", "eq. 14.8"),
        "stores the key before it is turned": Mistake("DFACEB",
            "Line A makes a new k. The one that line F has stored before is not turned to its position.", "eq. 14.8"),
        "turns after the read": Mistake("DFCEAB",
            "Query and key must be turned before they meet; here line A changes nothing that is used afterwards.",
            "eq. 14.8"),
        "does not turn": Mistake("DFCEB",
            "Without line A nobody knows who stood where.", "eq. 14.8"),
        "leaves the present out": Mistake("DACEB",
            "Without line F the present is never stored, and no later token will see it.", "eq. 14.8"),
    },
    hints=("What is kept are turned keys, the newest last.",
           "Turn, append, cut, read.",
           "Positions count the tokens that were seen, also those that have left the window: line A, not G."),
)
