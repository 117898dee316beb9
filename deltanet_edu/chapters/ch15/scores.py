"""Exercises 15.4 and 15.9: what a score may count, and which sequences a test may ask."""

import hashlib
from types import FunctionType

import torch

from ...tasks import IGNORED
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal
from ..common import standing_for

# -- 15.4 The share of what is asked -----------------------------------------------------------------------------------

def share_right(logits, targets):
    asked = targets != -100                                              # (B, T)
    right = (logits.argmax(-1) == targets) & asked                       # (B, T)
    return right.sum().item() / max(1, asked.sum().item())


def share_by_indexing(logits, targets):
    asked = targets != IGNORED
    said, wanted = logits[asked].argmax(-1), targets[asked]              # (asked,) both
    return (said == wanted).double().mean() if len(wanted) else 0.0


def share_by_loops(logits, targets):
    right = count = 0
    for scores, wanted in zip(logits.flatten(0, 1).tolist(), targets.flatten().tolist()):
        if wanted != -100:
            count += 1
            right += max(range(len(scores)), key=scores.__getitem__) == wanted
    return right / count if count else 0


def share_of(right, asked):
    return (right & asked).sum().item() / max(1, asked.sum().item())


def scored(said=lambda logits: logits.argmax(-1), wanted=lambda targets: targets, asked=lambda targets: targets != -100,
           share=share_of):
    """A mutant: what the model is taken to say, what is wanted, what counts, and how right ones become a share."""
    def f(logits, targets):
        return share(said(logits) == wanted(targets), asked(targets))
    return f


def by_sequence(right, asked):
    each = (right & asked).sum(1) / asked.sum(1).clamp(min=1)
    return each.double().mean().item()


def by_asked_sequence(right, asked):
    some = asked.any(1)
    return by_sequence(right[some], asked[some]) if some.any() else 0.0


def probability(logits, targets):
    asked = targets != -100
    sure = logits.softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return sure[asked].mean().item() if asked.any() else 0.0


def whole_sequences(right, asked):
    return (right | ~asked).all(1).double().mean().item()


def unless_nothing(share):
    """A mutant's share that is 0 where nothing is asked."""
    return lambda right, asked: share(right, asked) if asked.any() else 0.0


def all_positions(right, asked):
    return (right | ~asked).double().mean().item()


def score_cases(g):
    def case(note, B, T, V, asked):
        targets = torch.randint(V, (B, T), generator=g)
        logits = normal(g, B, T, V, digits=2)
        sure = torch.rand(B, T, generator=g) < 0.6                       # more often right than by chance
        logits.scatter_add_(2, targets[..., None], 3.0 * sure[..., None].double())
        return Case((logits, targets.masked_fill(~asked, IGNORED)), f"{note}, B = {B}, T = {T}")
    every, few = torch.ones(2, 5, dtype=torch.bool), torch.rand(3, 12, generator=g) < 0.4
    uneven = torch.arange(8) < torch.tensor([[1], [8], [3], [2]])
    return [case("one token, asked", 1, 1, 3, every[:1, :1]), case("everything is asked", 2, 5, 4, every),
            case("a few are asked", 3, 12, 5, few), case("one sequence asks more than another", 4, 8, 6, uneven),
            case("token 0 is often right", 2, 8, 2, uneven[[3, 2]]),
            case("a sequence asks nothing", 3, 8, 5, uneven[:3] & torch.tensor([[True], [True], [False]])),
            case("nothing is asked", 1, 2, 3, every[:1, :2] & False),
            case("a large batch", 6, 9, 4, torch.rand(6, 9, generator=g) < 0.7)]


exercise(
    id="15.4", title="Find the bug: a share of what?", kind="bug", stars=2, minutes=12, equations=("15.1",),
    reference=share_right, alternatives=(share_by_indexing, share_by_loops), cases=score_cases, tolerance=1e-6,
    mutants={
        "counts positions that are not asked": Mistake(scored(share=lambda right, asked: right.double().mean().item()),
            "The right ones are divided by all positions, so every position that is not asked counts as a mistake. A "
            "perfect model that is asked at 64 of 512 positions gets 12.5 %.", "eq. 15.1"),
        "counts what is not asked as right": Mistake(scored(share=all_positions),
            "Whatever is not asked counts as right. A model that knows nothing gets the share of fillers as a gift.",
            "eq. 15.1"),
        "counts what is not asked as right, unless nothing is": Mistake(scored(share=unless_nothing(all_positions)),
            "Whatever is not asked counts as right. A model that knows nothing gets the share of fillers as a gift.",
            "eq. 15.1"),
        "asks for whole sequences, unless nothing is asked": Mistake(scored(share=unless_nothing(whole_sequences)),
            "That is the share of sequences without a mistake. Each answer counts for itself.", "eq. 15.1"),
        "takes 0 for the mark": Mistake(scored(asked=lambda t: t != 0),
            "Here −100 marks what is not asked; 0 is a token like any other.", "eq. 15.1"),
        "counts where something is said": Mistake(
            lambda logits, targets: share_of(logits.argmax(-1) == targets, logits.argmax(-1) > 0),
            "The *targets* say what is asked, not the answers: `targets != -100`.", "eq. 15.1"),
        "looks at the last position": Mistake(
            lambda logits, targets: (logits[:, -1].argmax(-1) == targets[:, -1]).double().mean().item(),
            "A question may stand anywhere in the sequence.", "eq. 15.1"),
        "takes −100 for token 0": Mistake(scored(wanted=lambda t: t.clamp(min=0), asked=lambda t: t > -101),
            "`clamp` turns −100 into token 0, so a model that says 0 at every filler is praised for it.", "eq. 15.1"),
        "leaves token 0 out": Mistake(scored(asked=lambda t: t > 0),
            "Token 0 can be a target, too. Only −100 is not asked.", "eq. 15.1"),
        "averages over sequences": Mistake(scored(share=by_sequence),
            "A mean of means: a sequence that is asked once weighs as much as one that is asked eight times, and one "
            "that is not asked at all counts as wrong.", "eq. 15.1"),
        "averages over sequences that are asked": Mistake(scored(share=by_asked_sequence),
            "A mean of means: a sequence that is asked once weighs as much as one that is asked eight times. Some "
            "benchmarks score like this; equation 15.1 counts answers.", "eq. 15.1"),
        "asks for whole sequences": Mistake(scored(share=whole_sequences),
            "That is the share of sequences without a mistake. Each answer counts for itself.", "eq. 15.1"),
        "counts the right ones": Mistake(scored(share=lambda right, asked: (right & asked).sum().item()),
            "A number of answers, not a share of those asked.", "eq. 15.1"),
        "gives the share of wrong ones": Mistake(
            scored(share=lambda right, asked: (~right & asked).sum().item() / max(1, asked.sum().item())),
            "That is the error. The share that is right was asked for.", "eq. 15.1"),
        "takes the share from one": Mistake(lambda *x: 1 - share_right(*x),
            "That is the error. The share that is right was asked for.", "eq. 15.1"),
        "looks along the wrong dimension": Mistake(scored(said=lambda logits: logits.argmax(1)),
            "`argmax(1)` compares positions. The scores of one position lie along the last dimension: `argmax(-1)`."),
        "counts only what is not asked": Mistake(scored(asked=lambda t: t == -100),
            "The mask is turned round: −100 marks what is *not* asked.", "eq. 15.1"),
        "averages probabilities": Mistake(probability,
            "That is how sure the model is of the right token, on average. A score asks whether the right token has "
            "the highest of all, yes or no.", "eq. 15.1"),
        "divides by the number of sequences": Mistake(
            scored(share=lambda right, asked: (right & asked).sum().item() / len(asked)),
            "Right answers for each sequence. Divide by the number of answers.", "eq. 15.1"),
        "counts sequences with any right answer": Mistake(
            scored(share=lambda right, asked: (right & asked).any(1).double().mean().item()),
            "One right answer does not make a sequence right, and each answer counts for itself.", "eq. 15.1"),
        "gives a percentage": Mistake(lambda *x: 100 * share_right(*x), "A share lies between 0 and 1.", "eq. 15.1"),
        "divides by nothing": Mistake(
            scored(share=lambda right, asked: ((right & asked).sum() / asked.sum()).item()),
            "Where nothing is asked this is 0/0. The docstring says what comes then.",
            next="`max(1, asked.sum())`, say."),
        "looks for the worst token": Mistake(scored(said=lambda logits: logits.argmin(-1)),
            "The answer is the token with the highest score: `argmax`."),
        "compares with the next target": Mistake(scored(wanted=lambda t: t.roll(-1, 1)),
            "The targets are what should be said *at* each position. They are not shifted once more.", "eq. 15.1"),
        "compares with the target before": Mistake(scored(wanted=lambda t: t.roll(1, 1)),
            "The targets are what should be said *at* each position. They are not shifted.", "eq. 15.1"),
        "shifts as for text": Mistake(lambda logits, targets: share_right(logits[:, :-1], targets[:, 1:]),
            "In a text the target of position t is the next token. Here the targets stand where they are asked "
            "already.", "eq. 15.1"),
        "shifts the other way": Mistake(lambda logits, targets: share_right(logits[:, 1:], targets[:, :-1]),
            "The targets stand where they are asked already; nothing is shifted.", "eq. 15.1"),
        "scores the last position alone": Mistake(
            lambda logits, targets: share_right(logits[:, -1:], targets[:, -1:]),
            "A question may stand anywhere in the sequence.", "eq. 15.1"),
    },
    hints=("A model that answers every question rightly must get 1. What does this function give it?",
           "Which positions are asked? `targets != -100`. Numerator and denominator both count only those.",
           "`right = (logits.argmax(-1) == targets) & asked`, and divide their number by that of `asked`, or by 1."),
)


# -- 15.9 Streams that never meet --------------------------------------------------------------------------------------

def stream(seed, test, n):
    return (seed * 2 + test) * 10**9 + n                                 # a billion batches, then the next stream


def stream_by_hash(seed, test, n):
    return int.from_bytes(hashlib.sha256(f"{seed} {test} {n}".encode()).digest()[:8], "big")


def stream_with_the_seed_last(seed, test, n):
    return (2 * n + int(test)) * 1_000_000 + seed


SAMPLE = 1000             # so many batches, drawn at random; more than half of all must have a number of at least ...
ENOUGH = 2**40            # ... this, as there are 2 · 100,000 · 10,000,001 of them


class Streams:
    """The judge (`prepare`): whether f gives different numbers to a list of (seed, test, n), and who meets first."""

    def __call__(self, f):
        def different(asked):
            given = numbers(f, asked)
            meeting, count = first_to_meet(given, asked), len(set(given))
            return f"{count} numbers for {len(asked)} batches" + (f": {meeting}" if meeting else "")
        return standing_for(different, f)

    def verdict(self, different, is_right):
        """Which two streams meet first, and where; None if the answer gives no numbers."""
        for case in stream_cases(torch.Generator().manual_seed(0)):
            try:
                meeting = first_to_meet(numbers(different.__wrapped__, case.args[0]), case.args[0])
            except Exception:                                            # said where the case is shown
                return None
            if meeting:
                return meeting, []
        return None


def first_to_meet(given, asked):
    """Which two of those who asked are the first to be given the same number; "" if no two are."""
    met = {}
    for number, one in zip(given, asked):
        if (other := met.setdefault(number, one)) is not one:
            return f"{spoken(other)} and {spoken(one)} get the same number"
    return ""


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
        raise ValueError("it gives another number in another process: `hash` of a text is salted anew in each")
    if len(asked) >= SAMPLE and max(given) < ENOUGH:
        raise ValueError("it has too few numbers: all are below 2^40 = 1.1 · 10^12, and there are 2 · 10^12 batches")
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
            "The digits do not say where one number ends and the next begins: seed 0, training, 10 and seed 0, test, 0 "
            "are both 010. Give each a fixed number of places."),
        "draws a random number": Mistake(lambda seed, test, n: int(torch.randint(2**62, ())),
            "Then no run can be repeated, and none resumed: batch n must be the same batch whenever it is asked for."),
        "gives no whole number": Mistake(lambda seed, test, n: (seed, test, n),
            "A generator takes one whole number; a pair, a fraction or a text is none. Make one number of the three."),
    },
    hints=("Write down the numbers of seed 0: training 0, 1, 2, ...; test; then of seed 1. Which appear twice?",
           "Three whole numbers in one, so that they can be taken apart again: like digits, with enough room for each.",
           "`(seed * 2 + test) * 10**9 + n`."),
)
