"""Exercise 2.8: a stream that the additive memory recalls better, and the judge of it."""

import torch

from ...tutor import AnswerError, Mistake, exercise
from ..common import numbers
from .problems import write


def read_stream(answer):
    """(k, v) as float64 tensors (T, 2) and (T,), or an AnswerError that says what is missing."""
    try:
        k, v = (numbers(x) for x in answer)
    except Exception:
        raise AnswerError("give a pair (k, v): a list of keys, each with 2 entries, "
                          "and a list of as many numbers") from None
    if k.ndim != 2 or k.shape[1] != 2 or v.shape != k.shape[:1] or not 1 <= len(k) <= 4:
        raise AnswerError(f"k has shape {tuple(k.shape)} and v has shape {tuple(v.shape)}, "
                          "expected (T, 2) and (T,) with T from 1 to 4")
    lengths = k.norm(dim=-1)
    if (off := (lengths - 1).abs()).max() > 1e-6:
        raise AnswerError(f"every key must have length 1; `(0.6, 0.8)` and `(cos a, sin a)` do, "
                          f"key {off.argmax() + 1} of yours has length {lengths[off.argmax()]:.7g}")
    return k, v


def which_memory_wins(answer):
    """Which memory reads the first value of the stream with the smaller error."""
    k, v = read_stream(answer)
    S, beta = torch.zeros(1, 2, dtype=k.dtype), torch.ones((), dtype=k.dtype)
    for k_t, v_t in zip(k, v[:, None]):
        S = write(S, k_t, v_t, beta)
    delta, additive = (S @ k[0] - v[0]).abs().item(), (v @ (k @ k[0]) - v[0]).abs().item()
    if len(k) == 1:
        return "one pair: nothing interferes, both memories are right"
    if abs(k[1:] @ k[0]).max() < 1e-6:
        return "orthogonal keys: nothing interferes, both memories are right"
    if max(delta, additive) < 1e-6:
        return "both memories are right: nothing has disturbed the first value"
    if delta < 1e-6:
        return "the delta rule says exactly the first value"
    if abs(k[1:] @ k[0]).max() > 1 - 1e-6:
        return "a later key lies along the first one"
    if additive < delta - 1e-6:
        return "the additive memory is nearer"
    if len(k) == 2 and v[0] == 0:
        return "both memories are equally wrong: the first value is 0"
    said = "the delta rule is nearer" if delta < additive - 1e-6 else "both memories are equally wrong"
    return said if len(k) == 2 else f"{said}, after {len(k)} pairs"


exercise(
    id="2.8", title="Beat the delta rule", kind="open", stars=3, minutes=20, equations=("2.3",),
    reference=([(1.0, 0.0), (0.6, 0.8)], [1.0, -1.0]),
    alternatives=(([(0.0, 1.0), (0.6, -0.8)], [2.0, 3.0]), ([(0.6, 0.8), (0.0, -1.0), (1.0, 0.0)], [1.0, 2.0, 0.0])),
    prepare=which_memory_wins,
    mutants={
        "stores a single pair": Mistake(([(0.6, 0.8)], [2.0]),
            "The first write into an empty memory is the same for both rules. Interference needs a second pair.",
            "eq. 2.3"),
        "writes along the first key again": Mistake(([(1.0, 0.0), (1.0, 0.0)], [3.0, 5.0]),
            "Whoever writes a key again, or its opposite, changes its value on purpose: the first one is meant to go. "
            "The price is what a write does to *another* key.", "eq. 2.3",
            next="Take a second key between the first and its right angle."),
        "uses keys at right angles": Mistake(([(1.0, 0.0), (0.0, 1.0)], [2.0, 3.0]),
            "A write changes what other keys read in proportion to their overlap, and here it is zero.", "eq. 2.3",
            next="Turn the second key toward the first."),
        "leaves both memories right": Mistake(([(1.0, 0.0), (0.6, 0.8)], [0.0, 0.0]),
            "At the end both say exactly the first value, so neither is closer. Something must be written later on, "
            "along a key that overlaps the first one.", "eq. 2.3",
            next="Give the first pair a value, and let the second pair disturb it."),
        "lets the delta rule win": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 1.0]),
            "The delta rule writes only what is news in a value. Here the news is smaller than the value itself, so it "
            "disturbs the first pair less than adding does. Let v₂ *contradict* what the memory says for k₂.",
            "eq. 2.3", next="Let c = k₁ᵀk₂. What does each memory say about k₁ after both writes?"),
        "leaves the delta rule right": Mistake(([(1.0, 0.0), (1.0, 0.0)], [2.0, 2.0]),
            "At the end the delta rule says exactly the first value: either the later values were no news, or the last "
            "write has put the first one back. Let the *last* value contradict what the memory says for its key.",
            "eq. 2.3",
            next="What does the memory say for the last key before it is written?"),
        **{f"lets the delta rule win, after {len(v)} pairs": Mistake(([(1.0, 0.0), (0.6, 0.8), *more], v),
            "Each further pair moves both memories again, and at the end the delta rule is nearer. Two pairs are "
            "enough: let v₂ *contradict* what the memory says for k₂.", "eq. 2.3")
           for more, v in (([(0.8, 0.6)], [1.0, 1.0, 1.0]), ([(0.8, 0.6), (0.6, 0.8)], [1.0, 1.0, 1.0, 1.0]))},
        **{f"makes both equally wrong, after {len(v)} pairs": Mistake(
            ([(1.0, 0.0), (0.6, 0.8), *[(0.0, 1.0)] * (len(v) - 2)], v),
            "Each further pair moves both memories again, and at the end both are as far from the first value. Two "
            "pairs are enough: let v₂ *contradict* what the memory says for k₂.", "eq. 2.3")
           for v in ([1.0, 0.3, 1.0], [1.0, 0.3, 1.0, 2.0])},
        "gives the first pair no value": Mistake(([(1.0, 0.0), (0.6, 0.8)], [0.0, 1.0]),
            "The delta rule writes v₂ minus what the memory says for k₂. With v₁ = 0 it says nothing yet: there is "
            "nothing to take out, and both rules write the same.", "eq. 2.3",
            next="Give the first pair a value. What does the memory say for k₂ then?"),
        "makes both equally wrong": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 0.3]),
            "With c = k₁ᵀk₂, adding writes v₂ under the second key, and the delta rule v₂ - c v₁. Here the "
            "two are equally large.", "eq. 2.3",
            next="Which v₂ makes v₂ - c v₁ larger than v₂?"),
    },
    hints=("Two pairs are enough. Let c be the overlap k₁ᵀk₂ of two unit keys; what does each "
           "memory say about k₁ at the end?",
           "Additive: v₁ + c v₂. Delta: v₁ + c (v₂ - c v₁). Compare the two errors.",
           "You need |v₂ - c v₁| > |v₂|. With c > 0, let v₂ have the opposite sign of v₁."),
    why="Erasing is meant for the key that is written, but it takes away from every similar key too. If the second "
        "value contradicts what the memory says for its key, the delta rule moves further than adding does, and the "
        "old pair pays for it.",
)
