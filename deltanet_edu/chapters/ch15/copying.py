"""Exercises 15.10 and 15.11: selective copying in order, and a write that exchanges two things."""

import math

import torch

from ...ops.delta_rule.householder import householder
from ...tutor import Case, Mistake, exercise, order_the_lines
from ..common import real, standing_for

# -- 15.10 Selective copying -------------------------------------------------------------------------------------------


def copying_cases(g):
    def case(note, n, count, told, blank):
        symbols = torch.randint(blank, (n, count), generator=g)
        free = torch.rand(n, told - 1, generator=g).argsort(1)[:, :count - 1]
        return Case((symbols, free, told, blank), f"{note}, n = {n}, {count} symbols")
    return [case("one symbol", 1, 1, 2, 3), case("two symbols", 1, 2, 5, 4), case("three symbols", 2, 3, 9, 5),
            case("hardly a blank", 2, 5, 6, 6), case("many blanks", 3, 4, 20, 8)]


exercise(
    id="15.10", title="Selective copying", kind="order", stars=2, minutes=10,
    reference="GDBHACEF", alternatives=("GBDHACEF", "GDBHCAEF"), cases=copying_cases,
    prepare=order_the_lines(
        {"A": "tokens[:, told] = blank + 1",
         "B": "tokens = torch.full((n, told + 1 + count), blank)",
         "C": "targets = torch.full_like(tokens, -100)",
         "D": "places = torch.cat([free.sort(1).values, torch.full((n, 1), told - 1)], 1)",
         "E": "targets[:, told + 1:] = symbols",
         "F": "return tokens, targets",
         "G": "n, count = symbols.shape",
         "H": "tokens.scatter_(1, places, symbols)"},
        "def copying(symbols, free, told, blank):", "copying",
        distractors={"I": "places = torch.cat([free, torch.full((n, 1), told - 1)], 1)",
                     "J": "targets = tokens.clone()",
                     "K": "tokens[:, told + 1:] = symbols"}),
    mutants={
        "tells the symbols in another order": Mistake("GIBHACEF",
            "Line I leaves the places as they were drawn, so the first symbol may stand behind the second. Then the "
            "targets are not in the order of the text, and no memory can know theirs.",
            next="Which line puts the places in order?"),
        "trains on every blank": Mistake("GDBHAJEF",
            "Line J makes every token a target of its own: nearly all of the loss is then about saying what was just "
            "read. Where nothing is asked the target is −100."),
        "shows the answers": Mistake("GDBHAKCEF",
            "Line K writes the symbols where they are asked. The model needs only say what it reads.",
            next="What should the model read while it answers?"),
        "asks nothing": Mistake("GDBHACF", "Line E is missing: without it nothing is asked."),
        "gives no sign": Mistake("GDBHCEF",
            "Line A is missing: nobody tells the model when to begin."),
        "tells nothing": Mistake("GDBACEF", "Line H is missing: the symbols never come into the tokens."),
        "writes into targets that are not there yet": Mistake("GDBHAECF",
            "`targets` does not exist yet when line E writes into it."),
    },
    hints=("Sizes first (G), then where each symbol stands, then tokens, then targets.",
           "The places must rise, so that the first symbol comes first: `sort`. Blanks everywhere, symbols scattered "
           "over them, the sign behind; the model reads blanks while it answers.",
           "G D B H A C E F; I, J and K do not belong."),
)


# -- 15.11 A write that exchanges two things ---------------------------------------------------------------------------

def swap(i, j, n):
    k = torch.zeros(n, dtype=torch.float64)
    k[i], k[j] = math.sqrt(0.5), -math.sqrt(0.5)                         # a unit key: e_i - e_j, shortened
    return k, 2.0                                                        # twice the erasure: a reflection


def swap_by_a_long_key(i, j, n):
    k = torch.eye(n, dtype=torch.float64)
    return k[i] - k[j], 1.0                                              # its squared length is 2


def swap_the_other_way_round(i, j, n):
    e = torch.eye(n, dtype=torch.float64)
    return torch.nn.functional.normalize(e[j] - e[i], dim=0), torch.tensor(2.0, dtype=torch.float64)


SWAPS = (0, 1, 2), (0, 1, 3), (2, 0, 3), (1, 3, 4), (4, 2, 6)            # i, j, n


class AsMatrix:
    """The judge (`prepare`): what the pair (k, β) does to a memory, I − β k kᵀ."""

    def __call__(self, f):
        def matrix(i, j, n):
            return write_of(f(i, j, n), n)
        return standing_for(matrix, f)

    def same_slip(self, mine, theirs):
        """Whether keys (but for their sign) and strengths are the same: others make the same matrix."""
        for i, j, n in SWAPS:
            (k, beta), (key, strength) = (key_and_strength(f.__wrapped__(i, j, n), n) for f in (mine, theirs))
            if abs(beta - strength) > 1e-6 or min((k - key).abs().max(), (k + key).abs().max()) > 1e-6:
                return False
        return True

    def verdict(self, matrix, is_right):
        """What the key or the strength is, and what it should be, where they are first wrong."""
        wrong = []
        for i, j, n in SWAPS:
            try:
                k, beta = key_and_strength(matrix.__wrapped__(i, j, n), n)
            except Exception:                                            # said where the case is shown
                return None
            if not torch.equal(write_of((k, beta), n), write_of(swap(i, j, n), n)):
                wrong.append((k, beta.item(), i, j))
        stray = [(k[c].item(), c, i, j) for k, _, i, j in wrong for c in range(len(k)) if c not in (i, j) and k[c]]
        if stray:
            return "it changes a column that should stay as it is", [
                "The key is 0 everywhere but at i and j. Asked for {2} and {3}, yours is {0:.3g} at {1}."
                .format(*stray[0])]
        return said_of(*wrong[0]) if wrong else None


def said_of(k, beta, i, j):
    """(headline, advice) for a key and a strength that change columns i and j only, and do not exchange them."""
    a, b, strength = k[i].item(), k[j].item(), beta * k.square().sum().item()
    if not k.any():
        return "its key is zero", ["Then nothing is erased, whatever the strength."]
    if abs(a + b) > 1e-9 * (abs(a) + abs(b)):
        return "its key is not the difference of the two", [
            f"Asked for {i} and {j}, it has {a:.3g} and {b:.3g} there. What must turn round is e_i − e_j: one entry is "
            "the negative of the other."]
    if abs(strength - 2) < 0.01:
        return "its key or its strength is rounded", [
            f"β‖k‖² is {strength:.6g}, and must be 2. Write `0.5**0.5`, and let the computer do the digits."]
    return "its strength does not fit the length of its key", [
        f"The key points the right way. But β‖k‖² is {strength:.3g}, and only 2 turns what it finds round: β = 2 for a "
        "key of length 1."]


def write_of(answer, n):
    """I − β k kᵀ of an answer; raises ValueError unless it is a key and a strength."""
    k, beta = key_and_strength(answer, n)
    return householder(k, beta).round(decimals=12) + 0.0                  # no -0 and no 1e-16 to look at


def key_and_strength(answer, n):
    """The two as tensors, (n,) and (); raises ValueError if they are something else."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise ValueError("it returns something else than a key and a strength")
    k, beta = (torch.as_tensor(x).double() for x in answer)
    if k.shape != (n,) or beta.numel() != 1:
        raise ValueError(f"its key has shape {tuple(k.shape)} and its strength {tuple(beta.shape)}, expected (n,) "
                         "and a number")
    return k, beta.reshape(())


def keyed(key, beta):
    """A mutant: a key made of e_i and e_j, and a strength."""
    def f(i, j, n):
        e = torch.eye(n, dtype=torch.float64)
        return key(e[i], e[j]), beta
    return f


def unit_difference(a, b):
    return (a - b) * math.sqrt(0.5)


exercise(
    id="15.11", title="A write that exchanges two things", kind="code", stars=3, minutes=15, equations=("15.8",),
    reference=swap, alternatives=(swap_by_a_long_key, swap_the_other_way_round), prepare=AsMatrix(),
    cases=lambda g: [Case((i, j, n), f"entries {i} and {j} of {n}") for i, j, n in SWAPS],
    mutants={
        "erases the difference": Mistake(keyed(unit_difference, 1.0),
            "β‖k‖² = 1: the difference of the two entries is erased, so both become their mean. Erase twice as much "
            "and each lands on the other's place.", "eq. 15.8", next="β‖k‖² = 2."),
        "divides by two, not by its root": Mistake(keyed(lambda a, b: (a - b) / 2, 2.0),
            "(e_i − e_j) / 2 has the squared length ½, so β = 2 erases the difference, and both entries become their "
            "mean. The length of e_i − e_j is √2: divide by that.", "eq. 15.8"),
        "goes twice as far as it should": Mistake(keyed(lambda a, b: a - b, 2.0),
            "The key is not of length 1: its squared length is 2, so β = 2 erases four times. Then 1 − β‖k‖² = −3.",
            "eq. 15.8", next="A unit key and β = 2, or this key and β = 1."),
        "adds the two": Mistake(keyed(lambda a, b: (a + b) * math.sqrt(0.5), 2.0),
            "With e_i + e_j the entries are exchanged *and* change their sign. The key is the direction that must turn "
            "round: the difference.", "eq. 15.8"),
        "erases the mean": Mistake(keyed(lambda a, b: (a + b) * math.sqrt(0.5), 1.0),
            "That erases what both have in common. The key is their difference, and β = 2.", "eq. 15.8"),
        "flips the sign of one": Mistake(keyed(lambda a, b: a, 2.0),
            "That reflects entry i alone: its sign changes, and nothing is exchanged.", "eq. 15.8"),
        "flips the sign of the other": Mistake(keyed(lambda a, b: b, 2.0),
            "That reflects entry j alone: its sign changes, and nothing is exchanged.", "eq. 15.8"),
        "erases one": Mistake(keyed(lambda a, b: a, 1.0), "That erases entry i.", "eq. 15.8"),
        "erases the other": Mistake(keyed(lambda a, b: b, 1.0), "That erases entry j.", "eq. 15.8"),
        "writes nothing": Mistake(keyed(unit_difference, 0.0), "β = 0 leaves everything as it was.", "eq. 15.8"),
        "turns the wrong way": Mistake(keyed(unit_difference, -2.0),
            "A negative strength adds what should be taken away.", "eq. 15.8"),
        "stops half way back": Mistake(keyed(unit_difference, 1.5),
            "The difference is turned round and halved. β = 2 keeps its size.", "eq. 15.8"),
        "erases with half the strength": Mistake(keyed(unit_difference, 0.5),
            "Half of the difference is erased. It must turn round: β = 2.", "eq. 15.8"),
        "takes the square root of two": Mistake(keyed(lambda a, b: (a - b) * math.sqrt(2), 2.0),
            "Divide by √2, not multiply: the key must have length 1.", "eq. 15.8"),
    },
    hints=("What must stay as it is: the sum of the two entries. What must change its sign: their difference.",
           "A write with β = 2 and a unit key turns one direction round and leaves all others alone (chapter 4).",
           "k = (e_i − e_j) / √2, β = 2."),
)


# -- what the lesson checks with it ------------------------------------------------------------------------------------

def exchanged(x, i, j):
    """Rows of numbers with entries i and j exchanged: (..., n)."""
    y = real(x) if not isinstance(x, torch.Tensor) else x.clone()
    y[..., [i, j]] = y[..., [j, i]]
    return y
