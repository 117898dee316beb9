"""Exercise 15.8: a task from an empty cell, judged by its laws and not by its numbers."""

import torch

from ...tasks import IGNORED, Overwrite
from ...tasks.definition import draw_distinct, last_match
from ...tutor import Case, Mistake, exercise
from ..common import standing_for
from .chance import WEAKER, chance_broken
from .told import as_sequence

class Unlawful(ValueError):
    """A law that sequences do not keep; the message is its name."""


def overwrite(n, keys, writes, vocab, g):
    half = vocab // 2
    mine = 1 + torch.rand(n, half - 1, generator=g).topk(keys, 1).indices                # (n, keys)  all different
    order = torch.rand(n, keys * writes, generator=g).argsort(1) % keys                  # each number `writes` times
    told = mine.gather(1, order)                                         # (n, keys * writes)
    values = torch.randint(half, vocab, told.shape, generator=g)
    asked = mine.gather(1, torch.rand(n, keys, generator=g).argsort(1))  # (n, keys)  each once
    return as_sequence(told, values, asked)


def overwrite_by_loops(n, keys, writes, vocab, g):
    rows = []
    for _ in range(n):
        mine = (1 + torch.randperm(vocab // 2 - 1, generator=g)[:keys]).repeat(writes)
        told = mine[torch.randperm(len(mine), generator=g)]
        rows.append((told, vocab // 2 + torch.randint(vocab - vocab // 2, told.shape, generator=g),
                     mine[:keys][torch.randperm(keys, generator=g)]))
    return as_sequence(*map(torch.stack, zip(*rows)))


def overwrite_of_the_package(n, keys, writes, vocab, g):
    tokens, targets, _ = Overwrite(vocab=vocab, keys=keys, writes=writes).batch(n, g)
    return tokens, targets


# -- the laws, in the order in which they are looked at ----------------------------------------------------------------

LAWS = {
    "returns something else than tokens and targets":
        "Two tensors of whole numbers (int64) are expected, tokens and targets.",
    "makes sequences of the wrong shape":
        "Tokens and targets are both (n, 2 · keys · writes + 2 · keys): all pairs, then each key with a filler.",
    "tells keys that are no keys": "Places 0, 2, 4, ... of the told part hold keys, 1 to vocab/2 − 1.",
    "tells values that are no values": "Places 1, 3, 5, ... of the told part hold values, vocab/2 to vocab − 1.",
    "asks for something that is no key": "Behind the pairs stand key, 0, key, 0, ...: each asked key and a filler.",
    "writes no filler behind a question": "Behind each asked key stands the filler 0.",
    "tells too many keys": "In each sequence there are exactly `keys` different keys: draw those first, then tell "
                           "each of them `writes` times.",
    "draws a key twice": "In some sequence two keys are the same number, so it has fewer than `keys` different ones. "
                         "`randint` draws with repetition; the first `keys` of all numbers in random order differ.",
    "tells a key more or less often than it should": "Each key of a sequence is told exactly `writes` times.",
    "asks for a key that it has not told": "The keys that are asked are those of the pairs, each of them once.",
    "asks a key twice, or one not at all": "Each key of the sequence is asked exactly once.",
    "asks where nothing should be asked": "A target stands at each asked key and nowhere else; elsewhere it is −100.",
    "asks for a value that is not the last": "The target is the value that the key was told last: the oracle must "
                                             "score 1.",
    "ignores the generator": "Two calls with equal generators must make equal sequences. Draw every random number with "
                             "`generator=g`, also permutations.",
    "makes the same sequences again": "A second call with the same `g` goes on drawing, so it must make other "
                                      "sequences. Is a generator made, or seeded, inside?",
    "uses the same keys in every sequence": "Each sequence draws keys of its own.",
    "leaves some keys out": "Every number from 1 to vocab/2 − 1 must be able to be a key. Look at the ends of your "
                            "range: the upper end of `randint` is excluded.",
    "prefers some keys": "All keys must be as likely as each other.",
    "prefers some keys together": "Every choice of keys must be as likely: knowing one key of a sequence must say "
                                  "nothing about the others. Neighbors, for instance, are too few choices.",
    "leaves some values out": "Every number from vocab/2 to vocab − 1 must be able to be a value. Look at the ends of "
                              "your range: the upper end of `randint` is excluded.",
    "prefers some values": "All values must be as likely as each other, in every place.",
    "gives a key the same value every time": "Each time that a key is told it gets a new random value; otherwise "
                                             "nothing is overwritten.",
    "never gives a key the same value twice": "Values are drawn independently, so a key may get the same one again.",
    "tells one key after the other": "All pairs of a key stand in a row. Mix all pairs of a sequence.",
    "prefers some orders": "The pairs must be told in random order, and all orders must be as likely.",
    "tells the keys in rounds": "Every key once, then every key again: then the last value is always in the last "
                                "round, and a model needs to remember nothing else. Mix all pairs.",
    "tells all sequences in one order": "One permutation for the whole batch. Each sequence draws its own.",
    "asks in the order of telling": "The order of the questions must not depend on the order of telling.",
    "asks in the order of the numbers": "The questions are sorted. Ask in random order.",
    "asks all sequences in one order": "One permutation of the questions for the whole batch: the smallest key, say, "
                                       "is always asked second. Each sequence draws its own.",
    "prefers some orders of the questions": "All orders of the questions must be as likely, whatever the keys are.",
}


def law_broken(batch, n, keys, writes, vocab):
    """The first law of form that a batch breaks, or ""; each sequence is looked at."""
    if not (isinstance(batch, (tuple, list)) and len(batch) in (2, 3)
            and all(isinstance(x, torch.Tensor) and x.dtype == torch.long for x in batch[:2])):
        return "returns something else than tokens and targets"
    tokens, targets = batch[:2]
    N, half = keys * writes, vocab // 2
    if tokens.shape != (n, 2 * N + 2 * keys) or targets.shape != tokens.shape:
        return "makes sequences of the wrong shape"
    told, values, asked = tokens[:, :2 * N:2], tokens[:, 1:2 * N:2], tokens[:, 2 * N::2]
    if not ((told >= 1) & (told < half)).all():
        return "tells keys that are no keys"
    if not ((values >= half) & (values < vocab)).all():
        return "tells values that are no values"
    if not ((asked >= 1) & (asked < half)).all():
        return "asks for something that is no key"
    if tokens[:, 2 * N + 1::2].any():
        return "writes no filler behind a question"
    counts = torch.zeros(n, half, dtype=torch.long).scatter_add_(1, told, torch.ones_like(told))
    different = (counts > 0).sum(1)                                      # (n,)
    again = (asked.sort(1).values[:, 1:] == asked.sort(1).values[:, :-1]).any(1)         # (n,)  a key is asked twice
    if (different > keys).any():
        return "tells too many keys"
    if (again & (different < keys)).any() and not (counts % writes).any():
        return "draws a key twice"
    if (different < keys).any() or (counts[counts > 0] != writes).any():
        return "tells a key more or less often than it should"
    if not counts.gather(1, asked).all():
        return "asks for a key that it has not told"
    if again.any():
        return "asks a key twice, or one not at all"
    expected = torch.full_like(targets, IGNORED)
    expected[:, 2 * N::2] = 0
    if ((targets == IGNORED) != (expected == IGNORED)).any():
        return "asks where nothing should be asked"
    return "" if (targets[:, 2 * N::2] == last_match(told, values, asked)).all() else \
        "asks for a value that is not the last"


class Lawful:
    """The judge (`prepare`): calls a generator several times, and raises the name of the first law that is broken."""

    def __call__(self, f):
        def judged(n, keys, writes, vocab, seed):
            def made(g):
                batch = f(n, keys, writes, vocab, g)
                if broken := law_broken(batch, n, keys, writes, vocab):
                    raise Unlawful(f"it {broken}")
                return batch[0]
            g = torch.Generator().manual_seed(seed)
            tokens, more = made(g), made(g)
            torch.manual_seed(seed + 1)                                  # what comes from elsewhere differs now
            again = made(torch.Generator().manual_seed(seed))
            large = n >= 100
            for law, broken in (("ignores the generator", not torch.equal(tokens, again)),
                                ("makes the same sequences again", large and torch.equal(tokens, more))):
                if broken:
                    raise Unlawful(f"it {law}")
            if large and (broken := chance_broken(tokens, n, keys, writes, vocab)):
                others = broken in WEAKER and {chance_broken(made(g), n, keys, writes, vocab) for _ in range(6)}
                raise Unlawful(f"it {WEAKER[broken] if others and WEAKER[broken] in others else broken}")
            return {"sequences": n, "tokens": tokens.shape[1], "oracle": 1.0}
        return standing_for(judged, f)

    def mistake(self, error):
        """(name, Mistake) of a law that is broken; else None."""
        name = str(error).removeprefix("it ")
        return (name, Mistake(None, LAWS[name])) if isinstance(error, Unlawful) else None


def generator_cases(g):
    return [Case((1, 1, 1, 6, 0), "one key, told once"), Case((3, 2, 3, 8, 1), "two keys, three times each"),
            Case((2, 5, 1, 14, 2), "told once"), Case((400, 3, 3, 10, 3), "400 sequences, small numbers"),
            Case((300, 6, 4, 64, 4), "300 sequences, the task of the lesson")]


# -- mistakes: the right generator with one part exchanged -------------------------------------------------------------

def keys_of(n, half, keys, g):
    return 1 + draw_distinct(n, half - 1, keys, g)


def order_of(n, keys, writes, g):
    return draw_distinct(n, keys * writes, keys * writes, g) % keys


def values_of(told, half, vocab, g):
    return torch.randint(half, vocab, told.shape, generator=g)


def asked_of(mine, told, g):
    return mine.gather(1, draw_distinct(*mine.shape, mine.shape[1], g))


def drawn(mine=keys_of, order=order_of, values=values_of, asked=asked_of, finish=as_sequence):
    """A mutant: the generator with one part exchanged."""
    def f(n, keys, writes, vocab, g):
        own = mine(n, vocab // 2, keys, g)                               # (n, keys)
        told = own.gather(1, order(n, own.shape[1], writes, g))
        return finish(told, values(told, vocab // 2, vocab, g), asked(own, told, g))
    return f


def with_repetition(n, half, keys, g):
    return torch.randint(1, half, (n, keys), generator=g)


def neighbors(n, half, keys, g):
    first = torch.randint(half - 1, (n, 1), generator=g)
    return 1 + (first + torch.arange(keys)) % (half - 1)


def skewed(n, half, keys, g):
    chance = 1.0 / torch.arange(1, half)                                 # small keys more often
    return 1 + torch.multinomial(chance.expand(n, -1), keys, generator=g)


def skewed_values(told, half, vocab, g):
    low = torch.rand(told.shape, generator=g) ** 2                       # small values more often
    return half + (low * (vocab - half)).long()


def one_value_a_key(told, half, vocab, g):
    mapping = torch.randint(half, vocab, (len(told), half), generator=g)
    return mapping.gather(1, told)


def different_values(told, half, vocab, g):
    """Each time that a key is told it moves on to another value."""
    n, N = told.shape
    first = torch.randint(vocab - half, (n, half), generator=g).gather(1, told)
    earlier = (told[:, :, None] == told[:, None, :]).tril(-1).sum(2)     # (n, N)  how often it was told before
    return half + (first + earlier) % (vocab - half)


def in_rounds(n, keys, writes, g):
    return torch.cat([draw_distinct(n, keys, keys, g) for _ in range(writes)], 1)


def one_order(n, keys, writes, g):
    return (torch.randperm(keys * writes, generator=g) % keys).expand(n, -1)


def key_by_key(n, keys, writes, g):
    return draw_distinct(n, keys, keys, g).repeat_interleave(writes, 1)


def in_twos(n, keys, writes, g):
    """Pairs of a key come two by two."""
    twice = order_of(n, keys, writes // 2, g).repeat_interleave(2, 1)
    return torch.cat([twice, draw_distinct(n, keys, keys, g)], 1) if writes % 2 else twice


def random_order(n, keys, writes, g):
    return torch.randint(keys, (n, keys * writes), generator=g)


def in_one_order(mine, told, g):
    """The keys of each sequence in one order of their sizes, which is not the sorted one."""
    return mine.sort(1).values.roll(1, 1)


def smallest_first(mine, told, g):
    asked = asked_of(mine, told, g)
    return asked.gather(1, (asked != asked.amin(1, keepdim=True)).int().argsort(1, stable=True))


def by_first_telling(mine, told, g):
    when = (mine[:, :, None] == told[:, None, :]).int().argmax(-1)       # (n, keys)
    return mine.gather(1, when.argsort(1))


def told_at_random(n, keys, writes, vocab, g):
    """Every pair has any key, and the first ones are asked."""
    told = torch.randint(1, vocab // 2, (n, keys * writes), generator=g)
    return as_sequence(told, values_of(told, vocab // 2, vocab, g), told[:, :keys])


def without_generator(n, keys, writes, vocab, g):
    return overwrite(n, keys, writes, vocab, None)


def seeded_inside(n, keys, writes, vocab, g):
    return overwrite(n, keys, writes, vocab, torch.Generator().manual_seed(g.initial_seed()))


def finished(change):
    """as_sequence, and then a change of (tokens, targets)."""
    def f(told, values, asked):
        tokens, targets = as_sequence(told, values, asked)
        return change(tokens, targets, 2 * told.shape[1])
    return f


def set_tokens(at, value):
    def change(tokens, targets, told):
        tokens = tokens.clone()
        tokens[:, at(told)] = value
        return tokens, targets
    return finished(change)


def oldest(told, values, asked):
    tokens, targets = as_sequence(told, values, asked)
    targets[:, 2 * told.shape[1]::2] = last_match(told.flip(1), values.flip(1), asked)
    return tokens, targets


ANSWERS = {
    "returns something else than tokens and targets": drawn(finish=finished(lambda tokens, targets, told: tokens)),
    "makes sequences of the wrong shape": drawn(finish=finished(lambda tokens, targets, told:
                                                                (tokens[:, :-1], targets[:, :-1]))),
    "tells keys that are no keys": drawn(mine=lambda *x: keys_of(*x) - 1),
    "tells values that are no values": drawn(values=lambda told, half, vocab, g: values_of(told, half, vocab, g) + 1),
    "asks for something that is no key": drawn(asked=lambda mine, told, g: asked_of(mine, told, g) * 0),
    "writes no filler behind a question": drawn(finish=set_tokens(lambda told: slice(told + 1, None, 2), 1)),
    "tells too many keys": told_at_random,
    "draws a key twice": drawn(mine=with_repetition),
    "tells a key more or less often than it should": drawn(order=random_order),
    "asks for a key that it has not told": drawn(asked=lambda mine, told, g: keys_of(
        len(mine), 1 + mine.max().item(), mine.shape[1], g)),
    "asks a key twice, or one not at all": drawn(asked=lambda mine, told, g: mine.gather(
        1, torch.randint(mine.shape[1], mine.shape, generator=g))),
    "asks where nothing should be asked": drawn(finish=finished(lambda tokens, targets, told:
                                                                (tokens, targets.where(targets >= 0, 0)))),
    "asks for a value that is not the last": drawn(finish=oldest),
    "ignores the generator": without_generator,
    "makes the same sequences again": seeded_inside,
    "uses the same keys in every sequence": drawn(
        mine=lambda n, half, keys, g: keys_of(1, half, keys, g).expand(n, -1)),
    "leaves some keys out": drawn(mine=lambda n, half, keys, g: keys_of(n, max(half - 1, keys + 1), keys, g)),
    "prefers some keys": drawn(mine=skewed),
    "prefers some keys together": drawn(mine=neighbors),
    "leaves some values out": drawn(values=lambda told, half, vocab, g: values_of(told, half, vocab - 1, g)),
    "prefers some values": drawn(values=skewed_values),
    "gives a key the same value every time": drawn(values=one_value_a_key),
    "never gives a key the same value twice": drawn(values=different_values),
    "tells one key after the other": drawn(order=key_by_key),
    "prefers some orders": drawn(order=in_twos),
    "tells the keys in rounds": drawn(order=in_rounds),
    "tells all sequences in one order": drawn(order=one_order),
    "asks in the order of telling": drawn(asked=by_first_telling),
    "asks in the order of the numbers": drawn(asked=lambda mine, told, g: mine.sort(1).values),
    "asks all sequences in one order": drawn(asked=in_one_order),
    "prefers some orders of the questions": drawn(asked=smallest_first),
}

exercise(
    id="15.8", title="Build, stage 3: the generator", kind="open", stars=4, minutes=30,
    reference=overwrite, sources=(as_sequence, overwrite), alternatives=(overwrite_by_loops, overwrite_of_the_package),
    cases=generator_cases, prepare=Lawful(),
    mutants={name: Mistake(ANSWERS[name], diagnosis) for name, diagnosis in LAWS.items()},
    hints=("Four draws: the keys of each sequence, the order in which they are told, a value for each telling, the "
           "order of the questions.",
           "Different numbers: sort random ones. `torch.rand(n, m, generator=g).argsort(1)` is a random order of m "
           "things, one for each sequence. Numbers 0 to keys · writes − 1 in random order, modulo keys, name each key "
           "`writes` times.",
           "`mine = 1 + torch.rand(n, vocab // 2 - 1, generator=g).argsort(1)[:, :keys]`; `told = mine.gather(1, "
           "order)`; `asked = mine.gather(1, ...)`; then `as_sequence(told, values, asked)`."),
)
