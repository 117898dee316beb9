"""Exercise 15.9: which sequences a test may ask."""

import hashlib
import itertools
from types import FunctionType

import torch

from ...tutor import Case, Mistake, exercise
from ..common import standing_for

# -- 15.9 Streams that never meet --------------------------------------------------------------------------------------

def stream(seed, test, n):
    return (seed * 2 + test) * 10**9 + n                                 # a billion batches, then the next stream


def stream_by_hash(seed, test, n):
    return int.from_bytes(hashlib.sha256(f"{seed} {test} {n}".encode()).digest()[:8], "big")


def stream_with_the_seed_last(seed, test, n):
    return (2 * n + int(test)) * 1_000_000 + seed


LAST = 10_000_000         # the last batch
SAMPLE = 1000             # so many batches, drawn at random; more than half of all must have a number of at least ...
ENOUGH = 2**40            # ... this, as there are 2 · 100,000 · 10,000,001 of them
SALTED, TOO_FEW = "it gives another number in another process", "it has too few numbers"
SAID = {
    SALTED: "`hash` of a text is salted anew in every process, so a run that is taken up again would draw other "
            "sequences. A function such as `hashlib.sha256` gives the same everywhere.",
    TOO_FEW: "All are below 2⁴⁰ = 1.1 · 10¹², and there are 2 · 10¹² batches: many must meet. Use all 64 bits, or give "
             "each of the three a room of its own.",
}


class Streams:
    """The judge (`prepare`): whether f gives different numbers to a list of (seed, test, n), and who meets first."""

    def __call__(self, f):
        def different(asked):
            given = numbers(f, asked)
            meeting, count = meeting_of(f, asked), len(set(given))
            return f"{count} numbers for {len(asked)} batches" + (f": {meeting}" if meeting else "")
        return standing_for(different, f)

    def explain(self, different, error):
        """What is said of numbers that cannot do, whichever they are; None if it is the answer that fails."""
        return (str(error), [SAID[str(error)]]) if isinstance(error, ValueError) and str(error) in SAID else None

    def verdict(self, different, is_right):
        """Why streams meet, or which two meet first, and where; None if the answer gives no numbers."""
        f, meeting = different.__wrapped__, ""
        try:
            for case in stream_cases(torch.Generator().manual_seed(0)):
                meeting = meeting or meeting_of(f, case.args[0])
        except Exception:                                                # said where the case is shown
            return None
        return (why_they_meet(f) or (meeting, [])) if meeting else None


def meeting_of(f, asked):
    """Who meets first of those who asked; of streams of which none do, the one that runs into the start of another."""
    given = numbers(f, asked)
    starts = sorted((number, one) for number, one in zip(given, asked) if one[2] == 0)
    further = [(*a[:2], y - x) for (x, a), (y, b) in zip(starts, starts[1:]) if 0 < y - x <= LAST]
    return first_to_meet(given, asked) or first_to_meet([*given, *numbers(f, further)], [*asked, *further])


def first_to_meet(given, asked):
    """Which two of those who asked are the first to be given the same number; "" if no two are."""
    met = {}
    for number, one in zip(given, asked):
        if (other := met.setdefault(number, one)) != one:
            return f"{spoken(other)} and {spoken(one)} get the same number"
    return ""


NEAR = (1, 10, 11, 101, 111)                                             # seeds and batches whose digits look alike
SEEDS, BATCHES = (0, 1, 7, 1000, 65_535, 99_998), (0, 1, 5, 999, 70_000, 9_999_999)
ROOMS = sorted({1, *(2**i for i in range(24)), *(10**i for i in range(8))})          # how far a stream may reach


def why_they_meet(f):
    """(headline, advice) for a rule by which numbers meet, if it holds wherever it is tried; else None."""
    everywhere = [(s, t, n) for s in SEEDS for t in (False, True) for n in BATCHES]
    if f(0, False, 0) == f(0, False, 1):
        return None
    if all(f(s, t, n + 1) == f(s + 1, t, n) for s, t, n in everywhere):
        return "it lets the seeds overlap", [
            "Batch n + 1 of a seed is batch n of the next one: three such seeds are hardly more than one."]
    if all(f(s, True, n) == f(s + 1, False, n) != f(s, False, n) for s, _, n in everywhere):
        return "it gives the test the next seed", [
            "The test of seed 0 is the training of seed 1. That is fine for one seed, and a leak for a sweep."]
    if all(f(s, t, n) == f(n, t, s) for s, t, n in everywhere):
        return "it cannot tell the seed from the batch", [
            "Seed 2, batch 3 and seed 3, batch 2 get the same number: a sum, a product and an exclusive or do not know "
            "which of the two is which."]
    if (row := written_in_a_row(f)):
        return "it writes the digits in a row", [
            f"{row}: the digits do not say where one number ends and the next begins. A sign between them does, or a "
            "fixed number of places for each."]
    given = {one: int(f(*one)) for one in everywhere}
    large = [x for x in given.values() if x > 2**53]
    if large and all(x == int(float(x)) for x in large) and any(
            f(s, t, n) == f(s, t, n + 1) for s, t, n in given if given[s, t, n] > 2**53):
        return "it computes in floating point", [
            "A float has 53 bits: of whole numbers above 2⁵³ neighbors become one. `10**14` is a whole number, `1e14` "
            "and whatever is computed with it is not."]
    return no_room(f)


def written_in_a_row(f):
    """Which two meet because the digits of their three parts, one behind the other, are the same, if all such do."""
    for order, text in itertools.product(itertools.permutations(range(3)), (int, str)):
        rows = {}
        for one in itertools.product(NEAR, (False, True), NEAR):
            parts = one[0], text(one[1]), one[2]
            rows.setdefault("".join(str(parts[i]) for i in order), []).append(one)
        alike = {row: who for row, who in rows.items() if len(who) > 1}
        if alike and all(len({f(*one) for one in who}) == 1 for who in alike.values()):
            row, (a, b, *_) = next(iter(alike.items()))
            return f"{spoken(a).capitalize()} and {spoken(b)} are both {row}"
    return ""


def no_room(f):
    """What is said of numbers in which one part has too little room, and runs into the next."""
    starts = [int(f(*one)) for one in ((0, False, 0), (0, True, 0), (1, False, 0))]
    apart = {abs(x - y) for x in starts for y in starts}
    for d in sorted(d for d in {*ROOMS, *apart} if 0 < d <= LAST):
        for what, other, meet in (
                ("training batch {} of a seed", "test batch 0 of the same seed",
                 lambda s: f(s, False, d) == f(s, True, 0)),
                ("test batch {} of a seed", "training batch 0 of the next seed",
                 lambda s: f(s, True, d) == f(s + 1, False, 0)),
                ("training batch {} of a seed", "training batch 0 of the next seed",
                 lambda s: f(s, False, d) == f(s + 1, False, 0))):
            if all(map(meet, SEEDS)):
                first = what.format(f"{d:,}").capitalize()
                return f"it leaves no room for batch {d:,}", [
                    f"{first} and {other} get the same number, and n goes up to 10,000,000."]
    return None


def spoken(one):
    seed, test, n = one
    return f"{'test' if test else 'training'} batch {n:,} of seed {seed:,}"


def numbers(f, asked):
    """What f gives to each (seed, test, n); raises ValueError unless they are whole, repeat and fit a generator."""
    whole(f(64, False, 64))                                              # powers of these are too large already
    given = [whole(f(*one)) for one in asked]
    if [whole(f(*one)) for one in asked] != given:
        raise ValueError("it gives the same batch another number the next time")
    if (g := in_another_process(f)) is not f and [whole(g(*one)) for one in asked] != given:
        raise ValueError(SALTED)
    if len(asked) >= SAMPLE and max(given) < ENOUGH:
        raise ValueError(TOO_FEW)
    return given


def whole(x):
    """The number as an int; raises ValueError if it is none, or one that no generator takes."""
    if isinstance(x, bool) or not isinstance(x, int) and not (isinstance(x, torch.Tensor) and x.numel() == 1
                                                              and not x.is_floating_point()):
        raise ValueError("it gives something else than a whole number")
    if not 0 <= int(x) < 2**64:
        raise ValueError("its numbers leave the range from 0 to 2^64 that a generator takes")
    return int(x)


def in_another_process(f):
    """f with a `hash` that gives texts other numbers; f itself if it does not call `hash`."""
    if "hash" not in getattr(getattr(f, "__code__", None), "co_names", ()):
        return f
    return FunctionType(f.__code__, {**f.__globals__, "hash": salted}, f.__name__, f.__defaults__, f.__closure__)


def salted(x):
    parts = x if isinstance(x, tuple) else (x,)
    return hash(x) ^ 1 if any(isinstance(part, (str, bytes)) for part in parts) else hash(x)


def stream_cases(g):
    def case(note, seeds, ns, tests=(False, True)):
        return Case(([(s, t, n) for s in seeds for t in tests for n in ns],), note)
    far = [0, 999, 1000, 4096, 65_535, 65_536, 999_999, 1_000_000, 9_999_999, 10_000_000]
    seeds, tests, ns = (torch.randint(top, (SAMPLE,), generator=g).tolist() for top in (100_000, 2, 10_000_001))
    drawn = dict.fromkeys((seed, bool(test), n) for seed, test, n in zip(seeds, tests, ns))
    return [case("training and test of one run", [0], range(12)),
            case("two seeds, training", [0, 1], range(10), [False]),
            case("two seeds, training and test", [3, 4], range(9)),
            case("the test starts far behind", [0], far),
            case("many seeds", range(30), [0, 1, 2, 3, 5, 7]),
            case("digits that look alike in a row", NEAR, NEAR),
            case("seeds far apart", [0, 1, 2, 7, 999, 1000, 1001, 12_345], far),
            case("the largest seeds", [0, 1, 32_768, 65_535, 65_536, 99_998, 99_999], [0, 1, 2, 8_388_608, 10_000_000]),
            Case(([*drawn, (0, False, 0)],), "drawn at random")]


exercise(
    id="15.9", title="Find the bug: a test that was trained on", kind="bug", stars=3, minutes=15,
    reference=stream, alternatives=(stream_by_hash, stream_with_the_seed_last), cases=stream_cases,
    prepare=Streams(),
    mutants={
        "gives the test what was trained on": Mistake(lambda seed, test, n: seed + n,
            "Training and test get the same numbers, so the test asks sequences that were trained on; and seed 1 sees "
            "all batches of seed 0 but one."),
        "forgets whether it is a test": Mistake(lambda seed, test, n: seed * 10**9 + n,
            "Batch n of the test is batch n of the training. `test` must change the number."),
        "forgets the seed": Mistake(lambda seed, test, n: test * 10**9 + n,
            "Every seed sees the same sequences. Then runs with different seeds differ in their first weights only."),
        "forgets which batch": Mistake(lambda seed, test, n: 2 * seed + test,
            "All batches of a run are one and the same."),
        "starts the test a thousand further": Mistake(lambda seed, test, n: seed + n + 1000 * test,
            "Batch 1000 of the training is batch 0 of the test; and seeds overlap as before.",
            next="How far may a training run come?"),
        "starts the test a million further": Mistake(lambda seed, test, n: seed + n + 1_000_000 * test,
            "A long run comes there as well; and seed 1 sees all batches of seed 0 but one."),
        "lets the seeds overlap": Mistake(lambda seed, test, n: seed + n + 10**9 * test,
            "Training and test are apart now. But batch n of seed 1 is batch n + 1 of seed 0: three such seeds are "
            "hardly more than one."),
        "lets seeds meet after a thousand batches": Mistake(
            lambda seed, test, n: (2 * seed + test) * 1000 + n,
            "After 1,000 batches a stream runs into the next one. Leave more room.",
            next="How many batches may a run have?"),
        "lets seeds meet after a million batches": Mistake(
            lambda seed, test, n: (2 * seed + test) * 1_000_000 + n,
            "After a million batches a stream runs into the next one. The text says how far they must reach."),
        "interleaves training and test, and lets the seeds overlap": Mistake(lambda seed, test, n: seed + 2 * n + test,
            "Training takes the even numbers, test the odd ones. Then seed 1 trains on what seed 0 is tested on."),
        "gives the test the next seed": Mistake(lambda seed, test, n: (seed + test) * 10**9 + n,
            "The test of seed 0 is the training of seed 1. That is fine for one seed, and a leak for a sweep."),
        "starts the test a million further, with the seeds apart": Mistake(
            lambda seed, test, n: seed * 10**9 + n + 1_000_000 * test,
            "Seeds are apart now. But training batch 1,000,000 is test batch 0, and a run may be ten times as long."),
        "multiplies seed and batch": Mistake(lambda seed, test, n: seed * n + test,
            "Products meet everywhere: 2 · 3 = 3 · 2, and with seed 0 all batches are one."),
        "multiplies": Mistake(lambda seed, test, n: seed * (1 + test) * n,
            "Products meet everywhere: 2 · 3 = 3 · 2, and with seed 0 everything is 0."),
        "adds all three": Mistake(lambda seed, test, n: seed + test + n,
            "Sums meet everywhere: training batch 1 is test batch 0, and batch 0 of the next seed."),
        "takes an exclusive or": Mistake(lambda seed, test, n: seed ^ (test << 40) ^ n,
            "0 ^ 1 is 1 ^ 0: batch 1 of seed 0 is batch 0 of seed 1."),
        "tells them apart by the sign": Mistake(lambda seed, test, n: (-1) ** test * (seed * 10**9 + n),
            "`manual_seed` wants no number below 0; and 0 has no sign."),
        "leaves no room for batch 10,000,000": Mistake(lambda seed, test, n: (2 * seed + test) * 10**7 + n,
            "n goes *up to* 10,000,000: the last batch of the training is batch 0 of the test."),
        "takes the number for a seed and the seed for a number": Mistake(
            lambda seed, test, n: (2 * n + test) * 99_999 + seed,
            "Seeds go up to 99,999, so 100,000 of them need room."),
        "gives a seed 16 bits": Mistake(lambda seed, test, n: n << 17 | test << 16 | seed,
            "2¹⁶ is 65,536: a seed from there on reaches into the bit of `test`."),
        "gives a batch 23 bits": Mistake(lambda seed, test, n: seed << 24 | test << 23 | n,
            "2²³ is 8,388,608: a batch from there on reaches into the bit of `test`."),
        "writes the digits in a row": Mistake(lambda seed, test, n: int(f"{seed}{int(test)}{n}"),
            "The digits do not say where one number ends and the next begins: training batch 10 of seed 1 and test "
            "batch 0 of seed 10 are both 1010. Give each a fixed number of places."),
        "draws a random number": Mistake(lambda seed, test, n: int(torch.randint(2**62, ())),
            "Then no run can be repeated, and none resumed: batch n must be the same batch whenever it is asked for."),
        "gives no whole number": Mistake(lambda seed, test, n: (seed, test, n),
            "A generator takes one whole number; a pair, a fraction or a text is none. Make one number of the three."),
    },
    hints=("Write down the numbers of seed 0: training 0, 1, 2, ...; test; then of seed 1. Which appear twice?",
           "Three whole numbers in one, so that they can be taken apart again: like digits, with enough room for each.",
           "`(seed * 2 + test) * 10**9 + n`."),
)
