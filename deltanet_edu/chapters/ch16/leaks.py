"""Exercise 16.10: which share of a held-out text stands in the training text."""

import torch

from ...tutor import Case, Mistake, exercise

# -- 16.10 -------------------------------------------------------------------------------------------------------------

def leaked(train, held_out, n):
    """train, held_out: (T,) tokens. Which share of the held-out runs of n tokens stands in the training text?"""
    seen = {tuple(run) for run in train.unfold(0, n, 1).tolist()}
    runs = [tuple(run) for run in held_out.unfold(0, n, 1).tolist()]
    return sum(run in seen for run in runs) / len(runs)


def leaked_by_broadcasting(train, held_out, n):
    a, b = train.unfold(0, n, 1), held_out.unfold(0, n, 1)               # (N, n), (M, n)
    return (a[:, None] == b).all(-1).any(0).double().mean()


def leaked_by_loop(train, held_out, n):
    train, held_out = train.tolist(), held_out.tolist()
    hits, count = 0, len(held_out) - n + 1
    for i in range(count):
        run = held_out[i : i + n]
        hits += any(train[j : j + n] == run for j in range(len(train) - n + 1))
    return hits / count


def leaked_cases(g):
    yield Case((torch.tensor([1, 2, 3, 4]), torch.tensor([9, 2, 3]), 2), "one of two runs leaks")
    yield Case((torch.tensor([1, 2, 3]), torch.tensor([2, 3, 4]), 2), "the last training run leaks")
    yield Case((torch.tensor([1, 2, 3]), torch.tensor([3, 2, 1, 2, 3]), 3), "the last run leaks")
    yield Case((torch.tensor([5, 6, 5, 6]), torch.tensor([5, 6, 5, 6, 5, 7]), 2), "the same run again and again")
    yield Case((torch.tensor([12, 3, 1, 23]), torch.tensor([2, 3, 12, 3, 1, 2]), 2), "tokens of one digit and of two")
    for N, M, n in ((12, 9, 1), (40, 15, 2), (60, 20, 3)):
        draw = (torch.randint(4, (size,), generator=g) for size in (N, M))
        yield Case((*draw, n), f"{N} and {M} tokens, runs of {n}")


def runs_of(tokens, n, step=1):
    return [tuple(run) for run in tokens.unfold(0, n, step).tolist()]


def share(runs, seen):
    runs, seen = list(runs), set(seen)
    return sum(run in seen for run in runs) / max(1, len(runs))


def number_leaked(train, held_out, n):
    return float(sum(run in set(runs_of(train, n)) for run in runs_of(held_out, n)))


def as_digits(train, held_out, n):
    text = "".join(map(str, train.tolist()))
    found = ["".join(map(str, run)) in text for run in runs_of(held_out, n)]
    return sum(found) / len(found)


def as_words(train, held_out, n):
    text = " ".join(map(str, train.tolist()))
    found = [" ".join(map(str, run)) in text for run in runs_of(held_out, n)]
    return sum(found) / len(found)


def one_longer(train, held_out, n):
    longer = ([tuple(x[i:i + n + 1]) for i in range(len(x) - n)] for x in (held_out.tolist(), train.tolist()))
    return share(*longer)


def at_the_same_place(train, held_out, n):
    runs = runs_of(held_out, n)
    return sum(a == b for a, b in zip(runs_of(train, n), runs)) / len(runs)


def of_known_tokens(train, held_out, n):
    seen, runs = set(train.tolist()), runs_of(held_out, n)
    return sum(seen.issuperset(run) for run in runs) / len(runs)


def share_of_tokens(train, held_out, n):
    return share(held_out.tolist(), train.tolist())


def share_of_covered_tokens(train, held_out, n):
    hits = [run in set(runs_of(train, n)) for run in runs_of(held_out, n)]
    covered = [any(hits[max(0, t - n + 1) : t + 1]) for t in range(len(held_out))]
    return sum(covered) / len(covered)


exercise(
    id="16.10", title="Has it read the exam?", kind="code", stars=3, minutes=15, equations=(),
    reference=leaked, alternatives=(leaked_by_broadcasting, leaked_by_loop), cases=leaked_cases,
    mutants={
        "looks the training text up in the held-out one": Mistake(
            lambda train, held_out, n: share(runs_of(train, n), runs_of(held_out, n)),
            "You give the share of the *training* runs. It is small whenever the training text is long, however "
            "much of the exam is in it."),
        "cuts the held-out text into pieces": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n, n), runs_of(train, n)),
            "Runs overlap: there is one at every position, len(held_out) − n + 1 of them. Yours begin only at every "
            "n-th."),
        "cuts the training text into pieces": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n), runs_of(train, n, n)),
            "A leak may begin anywhere in the training text. Yours looks only where pieces of n tokens begin."),
        "cuts both into pieces": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n, n), runs_of(train, n, n)),
            "Runs overlap, in both texts: there is one at every position. Two texts that are equal but for one token "
            "at the beginning would share nothing in yours."),
        "counts each different run once": Mistake(
            lambda train, held_out, n: share(set(runs_of(held_out, n)), runs_of(train, n)),
            "A set counts a run once that stands in the held-out text ten times. Every place of the exam counts."),
        "forgets the last held-out run": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n)[:-1], runs_of(train, n)),
            "There are len(held_out) − n + 1 runs. Yours stop one before the end.",
            next="`range(len(held_out) - n)` stops one too early."),
        "forgets the last training run": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n), runs_of(train, n)[:-1]),
            "The training text has len(train) − n + 1 runs. Yours stop one before the end."),
        "forgets the last run of each text": Mistake(
            lambda train, held_out, n: share(runs_of(held_out, n)[:-1], runs_of(train, n)[:-1]),
            "A text of M tokens has M − n + 1 runs. Yours stop one before the end, in both texts.",
            next="`range(len(text) - n)` stops one too early."),
        "counts instead of giving a share": Mistake(number_leaked,
            "That is how many runs leak. Divide by how many there are."),
        "divides by the tokens": Mistake(
            lambda train, held_out, n: number_leaked(train, held_out, n) / len(held_out),
            "A text of M tokens has M − n + 1 runs of n, and not M."),
        "gives the share that is clean": Mistake(
            lambda train, held_out, n: 1 - leaked(train, held_out, n),
            "That is the share of runs that do *not* leak."),
        "looks up digits": Mistake(as_digits,
            "Joined without anything in between, the tokens 2 3 are found in 12 3. Compare tokens: lists, tuples, or "
            "strings with a separator on both sides of each."),
        "looks up strings with a separator between tokens only": Mistake(as_words,
            "\"2 3\" is found in \"12 3\". A separator belongs in front of the first token and behind the last, too."),
        "ignores the order in a run": Mistake(
            lambda train, held_out, n: share(map(frozenset, runs_of(held_out, n)), map(frozenset, runs_of(train, n))),
            "A run is n tokens in their order, each as often as it stands there. A set knows neither."),
        "ignores the order in a run only": Mistake(
            lambda train, held_out, n: share([tuple(sorted(run)) for run in runs_of(held_out, n)],
                                             [tuple(sorted(run)) for run in runs_of(train, n)]),
            "A run is n tokens in their order. Sorted, different runs look the same."),
        "takes runs of n + 1": Mistake(one_longer,
            "`x[i:i + n]` has n tokens. Yours are one longer."),
        "looks at the same place only": Mistake(at_the_same_place,
            "A leak may begin anywhere in the training text, not only where it stands in the held-out one."),
        "looks up single tokens": Mistake(share_of_tokens,
            "Single tokens always leak: every word of the exam has been used before. Look up runs of n in a row."),
        "asks for the tokens of a run one by one": Mistake(of_known_tokens,
            "All tokens of a run may stand in the training text, each in another place. The whole run must, in a row."),
        "compares sums": Mistake(
            lambda train, held_out, n: share(map(sum, runs_of(held_out, n)), map(sum, runs_of(train, n))),
            "Different runs have the same sum. Compare the tokens themselves, in their order."),
        "says only whether there is a leak": Mistake(
            lambda train, held_out, n: float(leaked(train, held_out, n) > 0),
            "0 or 1 is whether anything leaks. Which *share* of the held-out runs does?"),
        "gives the share of tokens in leaked runs": Mistake(share_of_covered_tokens,
            "You give the share of the *tokens* that lie in a leaked run. The share of the runs was asked for."),
    },
    hints=("`tokens.unfold(0, n, 1)` has every run of n tokens as a row.",
           "Put the training runs into a set of tuples. Then look every held-out run up.",
           "The number of held-out runs that are in the set, divided by the number of held-out runs."),
)
