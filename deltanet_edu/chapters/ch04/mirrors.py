"""Exercises 4.6 to 4.8: what mirrors do together. Of keys many are right, so what their mirrors do is judged."""

import math

import torch

from ...ops.delta_rule.householder import apply_householder, reflections
from ...tutor import AnswerError, Case, Mistake, exercise, order_the_lines
from ...tutor.cases import normal
from ..common import numbers, real

# -- keys, and what they do --------------------------------------------------------------------------------------------



def mirrored_by_all(S, keys):
    """S after one mirror a key, the first one first: (V, K)."""
    for k in keys:
        S = apply_householder(S, k, real(2.0))
    return S


def without_dust(x):
    """x without rounding errors, so that a failing case can be read."""
    return x.round(decimals=12) + 0.0


def as_keys(x, width):
    """The learner's keys as a float64 tensor (m, width), or a ValueError that says what they are instead."""
    if isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64:
        raise ValueError(f"the keys are {str(x.dtype).removeprefix('torch.')}; give them dtype=torch.float64")
    if isinstance(x, (list, tuple)) and not x:
        return torch.zeros(0, width, dtype=torch.float64)                # no keys, not yet a tensor
    try:
        k = numbers(x)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"a {type(x).__name__} came back, expected keys as the rows of a tensor") from None
    if k.ndim != 2 or k.shape[1] != width:
        raise ValueError(f"the keys have shape {tuple(k.shape)}, expected (m, {width}), one key a row")
    return k


def hand_of(keys):
    """Where the hand (1, 0) stands after each of the first n hours, for the learner's two keys: (n, 2)."""
    if not callable(keys):
        raise AnswerError("give the function itself, not the result of calling it")

    def hand(n):
        k = as_keys(keys(n), 2)
        if len(k) != 2:
            raise ValueError(f"the keys have shape {tuple(k.shape)}, expected (2, 2): two mirrors an hour")
        lengths = k.norm(dim=-1)
        if (lengths - 1).abs().max() > 1e-9:
            digits = "; they were computed in float32" if (lengths - 1).abs().max() < 1e-6 else ""
            given = ", ".join(f"{x:.8g}" for x in lengths.tolist())
            if (k.norm(dim=0) - 1).abs().max() < 1e-6:
                raise ValueError("a mirror with β = 2 needs keys of length 1: your columns have it, and your rows not")
            raise ValueError(f"a mirror with β = 2 needs keys of length 1, yours have {given}{digits}")
        S, shown = real([[1.0, 0.0]]), []
        for _ in range(n):
            S = mirrored_by_all(S, k)
            shown.append(S[0])
        return without_dust(torch.stack(shown))

    hand.__wrapped__ = keys
    return hand


def turned(angle, n_first=lambda n: 0.0):
    def keys(n):
        a = real([n_first(n), n_first(n) + angle(n)])
        return torch.stack([a.cos(), a.sin()], -1)
    return keys


def shuffle_by(keys):
    """The product of the learner's mirrors and how many there are: the keys themselves are not unique."""
    if not callable(keys):
        raise AnswerError("give the function itself, not the result of calling it")

    def product(p):
        k = as_keys(keys(p), len(p))
        shuffled = mirrored_by_all(torch.eye(len(p), dtype=torch.float64), k)
        return {"product": without_dust(shuffled), "number of keys": len(k)}

    product.__wrapped__ = keys
    return product


def by_neighbors(p):
    """Bubble sort: right, with more mirrors than needed."""
    keys, p = [], p.tolist()
    for _ in p:
        for i in range(len(p) - 1):
            if p[i] > p[i + 1]:
                p[i], p[i + 1] = p[i + 1], p[i]
                k = torch.zeros(len(p), dtype=torch.float64)
                k[i], k[i + 1] = math.sqrt(0.5), -math.sqrt(0.5)
                keys.insert(0, k)
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def without_bookkeeping(p):
    e = torch.eye(len(p), dtype=torch.float64)
    keys = [(e[i] - e[int(p[i])]) * math.sqrt(0.5) for i in range(len(p)) if i < int(p[i])]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def with_another_search(find):
    """The right loop, but `find(where, p, place)` says with which other place to swap."""
    def keys_of(p):
        e, keys, where = torch.eye(len(p), dtype=torch.float64), [], list(range(len(p)))
        for place in range(len(p)):
            other = find(where, p.tolist(), place)
            if other != place:
                keys.append((e[other] - e[place]) * math.sqrt(0.5))
                where[place], where[other] = where[other], where[place]
        return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)
    return keys_of


def with_one_mirror(p):
    k = torch.arange(len(p), dtype=torch.float64) - p
    return (k / k.norm())[None] if k.any() else torch.zeros(0, len(p), dtype=torch.float64)


def with_a_swap_per_place(p):
    e = torch.eye(len(p), dtype=torch.float64)
    keys = [(e[int(p[i])] - e[i]) * math.sqrt(0.5) for i in range(len(p)) if i != int(p[i])]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


# -- 4.6 A clock -------------------------------------------------------------------------------------------------------

def clock(n):
    angle = math.pi / n                                                  # half of the turn
    return torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)


def clock_started_elsewhere(n):
    turn = torch.tensor([0.7, 0.7 + math.pi / n], dtype=torch.float64)
    return torch.stack([turn.cos(), turn.sin()], -1)


def clock_with_opposite_key(n):
    return clock(n) * torch.tensor([[1.0], [-1.0]], dtype=torch.float64)


exercise(
    id="4.6", title="A clock with n hours", kind="open", stars=3, minutes=15, equations=("4.9",), tolerance=1e-8,
    reference=clock, alternatives=(clock_started_elsewhere, clock_with_opposite_key), prepare=hand_of, sources=(clock,),
    cases=lambda g: [Case((n,), f"n = {n}") for n in (3, 4, 5, 12, 60)],
    mutants={
        "turns twice as far": Mistake(turned(lambda n: 2 * math.pi / n),
            "Two mirrors turn by *twice* the angle between their keys. Your clock skips every second hour.", "eq. 4.9"),
        "always has twelve hours": Mistake(turned(lambda n: math.pi / 12),
            "Right for n = 12. An n-th of the way round is 2π/n, and the keys stand half as far apart.", "eq. 4.9"),
        "runs backwards": Mistake(turned(lambda n: -math.pi / n),
            "The hand goes from k₁ towards k₂. Yours goes clockwise.", "eq. 4.9", next="Exchange the two keys."),
        "turns half as far": Mistake(turned(lambda n: math.pi / (2 * n)),
            "After n hours your hand has gone half way round. The angle between the keys is half the turn, and the "
            "turn is 2π/n.", "eq. 4.9"),
        "stands still": Mistake(turned(lambda n: 0.0),
            "Both keys are the same, and a mirror undoes itself.", "eq. 4.2",
            next="Which angle between the keys makes one hour?"),
        "writes degrees where radians belong": Mistake(turned(lambda n: 180 / n),
            "`math.cos` takes radians: half a turn is π, not 180.", "eq. 4.9"),
        "writes the whole turn, in degrees": Mistake(turned(lambda n: 360 / n),
            "`math.cos` takes radians: a whole turn is 2π, not 360. And the angle between the keys is half of an "
            "hour's turn.",
            "eq. 4.9"),
        "turns four times as far": Mistake(turned(lambda n: 4 * math.pi / n),
            "Two mirrors turn by *twice* the angle between their keys: half of 2π/n is what they need, not twice it.",
            "eq. 4.9"),
        "has an hour too many": Mistake(turned(lambda n: math.pi / (n + 1)),
            "That is the clock with n + 1 hours.", "eq. 4.9", next="How far does the hand go in one of n equal steps?"),
        "has an hour too few": Mistake(turned(lambda n: math.pi / (n - 1)),
            "That is the clock with n − 1 hours.", "eq. 4.9", next="How far does the hand go in one of n equal steps?"),
        "takes the sine for the cosine": Mistake(turned(lambda n: math.pi / 2 - math.pi / n),
            "A key at angle a is (cos a, sin a). Yours stands at π/2 − π/n.", "eq. 4.9"),
        "gives the keys as columns": Mistake(lambda n: clock(n).mT,
            "Each key is a *row*: (cos a, sin a). Yours stand upright.", "eq. 4.9",
            next="Which two numbers should stand in the first row?"),
        "forgets π": Mistake(turned(lambda n: 1 / n),
            "Angles are in radians: half a turn is π, so the keys stand at π/n, not at 1/n.", "eq. 4.9"),
        "always turns by a right angle": Mistake(turned(lambda n: math.pi / 4),
            "That is the clock with 4 hours, for every n.", "eq. 4.9"),
        "flips instead of turning": Mistake(turned(lambda n: math.pi / 2),
            "Mirrors across orthogonal keys make half a turn: a clock with two hours.", "eq. 4.9"),
    },
    hints=("One hour is a turn by 2π/n. Two mirrors turn by twice the angle between their keys.",
           "So the keys stand at an angle of π/n. The first may point anywhere.",
           "(1, 0), and (cos π/n, sin π/n) as the second key, for the right sense of rotation."),
)


# -- 4.7 The shell game ------------------------------------------------------------------------------------------------

def follow(S, swaps):
    for i, j in swaps.tolist():
        k = torch.zeros(S.shape[1], dtype=S.dtype)
        k[i], k[j] = 1, -1
        S = S - torch.outer(S @ k, k)
    return S


def follow_by_index(S, swaps):
    order = list(range(S.shape[1]))
    for i, j in swaps.tolist():
        order[i], order[j] = order[j], order[i]
    return S[:, order]


def follow_by_unit_keys(S, swaps):
    k = (torch.eye(S.shape[1], dtype=S.dtype)[swaps] * real([[1.0], [-1.0]])).sum(1) / math.sqrt(2)
    return mirrored_by_all(S, k)


def games(g):
    S = real([[1.0, 2.0, 3.0]])
    made = [Case((S, torch.tensor([[0, 1]])), "easy numbers, 1 swap"),
            Case((S, torch.tensor([[0, 1], [1, 2]])), "easy numbers, 2 swaps")]
    for V, K, n in ((2, 3, 1), (1, 4, 3), (2, 5, 8)):
        swaps = torch.stack([torch.randperm(K, generator=g)[:2] for _ in range(n)])
        made.append(Case((normal(g, V, K), swaps), f"random, {n} swap{'s' * (n > 1)}"))
    return made


exercise(
    id="4.7", title="The shell game", kind="order", stars=2, minutes=10, equations=("4.13",),
    reference="DCEAB", alternatives=(follow, follow_by_index, follow_by_unit_keys), cases=games,
    prepare=order_the_lines(
        {"A": "    S = S - torch.outer(S @ k, k)", "B": "return S",
         "C": "    k = torch.zeros(S.shape[1], dtype=S.dtype)",
         "D": "for i, j in swaps.tolist():", "E": "    k[i], k[j] = 1, -1"},
        "def follow(S, swaps):", "follow", distractors={"F": "    S = S - 2 * torch.outer(S @ k, k)", "G": "    k[i], "
                                                                                                           "k[j] = 1, "
                                                                                                           "1"}),
    mutants={
        "takes β = 2 for a key of length √2": Mistake("DCEFB",
            "k = (1, −1) has ‖k‖² = 2, so the mirror is at β = 1. With β = 2 the eigenvalue is −3.", "eq. 4.13",
            next="A and F differ by one factor. What is β‖k‖² in each?"),
        "mirrors across the sum": Mistake("DCGAB",
            "With k = e_i + e_j the two entries change places *and* signs. The difference of the two is what must "
            "flip.", "eq. 4.13"),
        "moves nothing": Mistake("DCAEB",
            "S is updated with a key of zeros, or not at all. E fills the key, and A comes after it.", "eq. 4.13"),
        "mirrors across the sum, twice": Mistake("DCGAFB",
            "G makes the key a sum, which flips both signs; and A and F both update S.", "eq. 4.13"),
        "never makes a key": Mistake("DEAB",
            "E writes into k, and nothing has made it. C does, afresh for each swap.", "eq. 4.13"),
        "returns nothing": Mistake("DCEA", "Without B the function ends with nothing to give back.", "eq. 4.13"),
        "needs the key before there is one": Mistake("DECAB",
            "One of your lines uses k, and C, which makes it, comes only later.",
            next="Which line must stand right after D?"),
        "makes both mistakes": Mistake("DCGFB",
            "The key must be a difference, and β‖k‖² must be 2. Neither F nor G belongs.", "eq. 4.13"),
        "swaps twice": Mistake("DCEAFB",
            "A and F both update S. A mirror does the whole swap alone.", "eq. 4.13",
            next="One of A and F is a decoy."),
    },
    hints=("The key is made afresh for each swap: zeros, then two entries.",
           "Of A and F one belongs, of E and G one. What is β‖k‖² for k = (1, −1)?",
           "D first, B last, and between them make the key before you use it."),
)


# -- 4.8 A shuffle as mirrors ------------------------------------------------------------------------------------------

def mirrors(p):
    keys, where = [], list(range(len(p)))                                # which column stands at each place by now
    for place in range(len(p)):
        other = where.index(int(p[place]))
        if other != place:
            k = torch.zeros(len(p), dtype=torch.float64)
            k[place], k[other] = math.sqrt(0.5), -math.sqrt(0.5)
            keys.append(k)
            where[place], where[other] = where[other], where[place]
    return torch.stack(keys) if keys else torch.zeros(0, len(p), dtype=torch.float64)


def mirrors_of_any_matrix(p):
    return reflections(torch.eye(len(p), dtype=torch.float64)[:, p])


def mirrors_by_cycles(p):
    """Each cycle of n places is n - 1 swaps with its first member."""
    keys, seen = [torch.zeros(0, len(p), dtype=torch.float64)], set()
    for start in range(len(p)):
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start)
            start = int(p[start])
        for a, b in zip(cycle, cycle[1:]):
            e = torch.eye(len(p), dtype=torch.float64)
            keys.append((e[a] - e[b])[None] * math.sqrt(0.5))
    return torch.cat(keys)


def with_a_key_per_place(p):
    """Keeps the fixed places: their keys are zero."""
    needed = mirrors(p)
    return torch.cat([needed, torch.zeros(len(p) - len(needed), len(p), dtype=needed.dtype)])


def shuffles(g):
    fixed = ([1, 0], [0, 1, 2], [1, 2, 0], [2, 0, 1], [1, 0, 3, 2], [3, 0, 1, 2], [1, 3, 0, 2])
    drawn = [torch.randperm(K, generator=g) for K in (5, 6, 8)]
    return [Case((torch.as_tensor(p),), f"K = {len(p)}") for p in (*fixed, *drawn)]


exercise(
    id="4.8", title="A shuffle as mirrors", kind="code", stars=4, minutes=30, equations=("4.13", "4.14"),
    reference=mirrors, alternatives=(mirrors_of_any_matrix, mirrors_by_cycles),
    prepare=shuffle_by, sources=(mirrors,), cases=shuffles,
    mutants={
        "shuffles the other way": Mistake(lambda p: mirrors(p).flip(0),
            "Together your mirrors undo the shuffle. They are those of the inverse permutation, or the right ones in "
            "the opposite order: the first key meets the memory first.",
            "eq. 4.14", next="Try the cycle [1, 2, 0]: which column should stand first?"),
        "spends a key on places that stay": Mistake(with_a_key_per_place,
            "The shuffle is right. A column that is already in its place needs no mirror, and a key of length 0 is "
            "none.",
            "eq. 4.14"),
        "swaps neighbors only": Mistake(by_neighbors,
            "The shuffle is right, with more mirrors than necessary. A swap may reach as far as it likes.", "eq. 4.14",
            next="After one mirror, at least one more column can be in its final place."),
        "forgets what it has already moved": Mistake(without_bookkeeping,
            "After a swap the columns stand elsewhere. Keep a list of who stands where.", "eq. 4.14",
            next="In the cycle [1, 2, 0], where is column 0 after the first swap?"),
        "swaps once for every displaced place": Mistake(with_a_swap_per_place,
            "For p = [1, 0] those are two swaps of the same pair, and nothing has happened. After a swap, look again "
            "who stands where.", "eq. 4.14"),
        "takes a column for its place": Mistake(with_another_search(lambda where, p, place: where[p[place]]),
            "Your list says which column stands at a place. What you need is the place at which a column stands: that "
            "is its `index` in the list.", "eq. 4.14", next="Follow [1, 2, 0] by hand."),
        "searches the shuffle": Mistake(with_another_search(lambda where, p, place: p.index(where[place])),
            "Which column is wanted is in p. Where it stands *by now* is not: search the list that you keep.",
            "eq. 4.14", next="Follow [1, 0, 3, 2] by hand."),
        "makes one mirror of the whole shuffle": Mistake(with_one_mirror,
            "A mirror that moves whole columns swaps two of them: its key is (e_i − e_j)/√2. A cycle of n columns "
            "takes n − 1 such mirrors, one after the other.", "eq. 4.14"),
        "leaves the keys too long": Mistake(lambda p: mirrors(p) * math.sqrt(2),
            "With β = 2 the key must have length 1. Yours has length √2, and the mirror stretches.", "eq. 4.13"),
        "finds nothing to do": Mistake(lambda p: torch.zeros(0, len(p), dtype=torch.float64),
            "No key comes back, for any shuffle. Only the identity needs none.", "eq. 4.14"),
        "gives the shuffled unit vectors": Mistake(lambda p: torch.eye(len(p), dtype=torch.float64)[p],
            "With e_i as a key a mirror flips the sign of column i. To swap two columns takes the key e_i − e_j.",
            "eq. 4.13"),
        "makes the keys too short": Mistake(lambda p: mirrors(p) * math.sqrt(0.5),
            "e_i − e_j has length √2: divided by √2 it has length 1, divided by 2 it has length √½, and with β = 2 "
            "that erases.",
            "eq. 4.13"),
        "has no answer where nothing moves": Mistake(lambda p: torch.stack([*mirrors(p)]),
            "For the identity the list of keys is empty, and `torch.stack` refuses an empty list: give a (0, K) "
            "tensor.",
            "eq. 4.14"),
        "mirrors across the sums": Mistake(lambda p: mirrors(p).abs(),
            "e_i + e_j swaps the two entries and flips both signs. The difference e_i − e_j must flip.", "eq. 4.13"),
        "stops after the first swap": Mistake(lambda p: mirrors(p)[:1],
            "One swap is not enough: a cycle of n columns takes n − 1.", "eq. 4.14"),
        "loses the last swap": Mistake(lambda p: mirrors(p)[:-1],
            "One mirror is missing at the end.", "eq. 4.14",
            next="Does your loop reach the last place that has to move?"),
    },
    hints=("Go from left to right. At each place: which column should stand here, and where does it stand now?",
           "If it stands elsewhere, swap the two places: one key, (e_i − e_j)/√2. Then note the swap in your list.",
           "`where = list(range(K))`; for each place `other = where.index(p[place])`; after the key, "
           "exchange `where[place]` and `where[other]`."),
)
