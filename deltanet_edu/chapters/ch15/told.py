"""Exercises 15.6 and 15.7: tokens and targets, made of keys, values and places that are given."""

import torch

from ...tasks.definition import last_match
from ...tutor import Case, Mistake, exercise

# -- 15.6 Build, stage 1: the last value -------------------------------------------------------------------------------

def last_told(keys, values, asked):
    same = asked[:, :, None] == keys[:, None, :]                         # (n, Q, N)
    when = torch.arange(1, keys.shape[1] + 1) * same                     # (n, Q, N)  0 where it is another key
    return values.gather(1, when.argmax(-1))                             # (n, Q)     the largest is the latest


def last_told_by_dictionary(keys, values, asked):
    rows = []
    for k, v, a in zip(keys.tolist(), values.tolist(), asked.tolist()):
        known = dict(zip(k, v))                                          # a later entry replaces an earlier one
        rows.append([known[key] for key in a])
    return torch.tensor(rows)


def last_told_backwards(keys, values, asked):
    return last_match(keys, values, asked)


def chosen(when=lambda same: (torch.arange(1, same.shape[2] + 1) * same).argmax(-1)):
    """A mutant: which of the places that match is taken."""
    def f(keys, values, asked):
        return values.gather(1, when(asked[:, :, None] == keys[:, None, :]))
    return f


def before_the_last(same):
    when = torch.arange(1, same.shape[2] + 1) * same
    last = when.argmax(-1, keepdim=True)
    earlier = when.scatter(2, last, 0)
    return torch.where(earlier.any(-1), earlier.argmax(-1), last[..., 0])


def combined(reduce):
    def f(keys, values, asked):
        same = asked[:, :, None] == keys[:, None, :]
        return reduce(same, values[:, None, :].expand_as(same))
    return f


def most_frequent(keys, values, asked):
    rows = zip(keys, values, asked.tolist())
    return torch.stack([torch.stack([v[k == key].mode().values for key in a]) for k, v, a in rows])


def in_the_first(keys, values, asked):
    """The last value of the first sequence; 0 where it does not tell the key."""
    known = dict(zip(keys[0].tolist(), values[0].tolist()))
    return torch.tensor([[known.get(key, 0) for key in row] for row in asked.tolist()])


def largest_of_all(targets, keys, values, asked):
    same = asked[:, :, None] == keys[:, None, :]
    targets[:, 2 * keys.shape[1]::2] = (same * values[:, None, :]).amax(-1)
    return targets


def marked_fillers(tokens, keys, values, asked):
    tokens[:, 2 * keys.shape[1] + 1::2] = -100
    return tokens


def fillers_last(keys, values, asked):
    told = torch.stack([keys, values], 2).flatten(1)
    tokens = torch.cat([told, asked, torch.zeros_like(asked)], 1)
    targets = torch.full_like(tokens, -100)
    targets[:, told.shape[1]:told.shape[1] + asked.shape[1]] = last_told(keys, values, asked)
    return tokens, targets


def in_order_of_telling(keys, values, asked):
    """The last values in the order in which the keys came first, whichever are asked."""
    known = [list(dict(zip(k, v)).values()) for k, v in zip(keys.tolist(), values.tolist())]
    return torch.tensor([row[:asked.shape[1]] for row in known])


def mixed(keys, values, asked):
    known = dict(zip(keys.flatten().tolist(), values.flatten().tolist()))
    return torch.tensor([[known[key] for key in row] for row in asked.tolist()])


def told_cases(g):
    def case(note, n, N, Q, many, vocab=10):
        keys = torch.randint(1, many + 1, (n, N), generator=g)
        values = torch.randint(vocab, 2 * vocab, (n, N), generator=g)
        asked = keys.gather(1, torch.randint(N, (n, Q), generator=g))
        return Case((keys, values, asked), f"{note}, n = {n}, N = {N}, Q = {Q}")
    easy = Case((torch.tensor([[3, 1, 3, 2]]), torch.tensor([[11, 12, 13, 14]]), torch.tensor([[1, 3]])),
                "key 3 is told twice, n = 1, N = 4, Q = 2")
    return [case("one pair", 1, 1, 1, 3), easy, case("every key is new", 1, 2, 3, 50), case("one key", 2, 5, 1, 1),
            case("as many questions as pairs", 1, 4, 4, 3), case("three keys, again and again", 2, 9, 4, 3),
            case("many sequences", 7, 12, 5, 4),
            case("more questions than pairs", 3, 3, 6, 2)]


exercise(
    id="15.6", title="Build, stage 1: the last value", kind="code", stars=2, minutes=15,
    reference=last_told, alternatives=(last_told_by_dictionary, last_told_backwards), cases=told_cases,
    mutants={
        "answers with the first value": Mistake(chosen(lambda same: same.int().argmax(-1)),
            "`argmax` of equal entries gives the first of them: the *oldest* value. The last one counts.",
            next="Give later places larger numbers before you take the `argmax`."),
        "answers with the value before the last": Mistake(chosen(before_the_last),
            "One too early: the last time that the key was told counts."),
        "answers with the largest value": Mistake(
            combined(lambda same, values: values.masked_fill(~same, -1).amax(-1)),
            "That is the largest of the key's values, not the latest."),
        "answers with the smallest value": Mistake(
            combined(lambda same, values: values.masked_fill(~same, 10**6).amin(-1)),
            "That is the smallest of the key's values, not the latest."),
        "adds up all values": Mistake(combined(lambda same, values: (values * same).sum(-1)),
            "All values of the key together: that is what a memory that adds would say. The task asks for the last "
            "one."),
        "averages all values": Mistake(combined(lambda same, values: (values * same).sum(-1) // same.sum(-1)),
            "A mean of what the key was bound to at different times is nothing that anybody has said."),
        "answers with the value told last of all": Mistake(lambda k, v, a: v[:, -1:].expand_as(a).clone(),
            "That is the last value of the sequence, whatever the question is."),
        "answers with the value told first of all": Mistake(lambda k, v, a: v[:, :1].expand_as(a).clone(),
            "That is the first value of the sequence, whatever the question is."),
        "gives the place": Mistake(
            lambda k, v, a: (torch.arange(1, k.shape[1] + 1) * (a[:, :, None] == k[:, None, :])).argmax(-1),
            "That is *where* the value stands. What stands there is asked: `values.gather(1, place)`."),
        "gives the place, counted from 1": Mistake(
            lambda k, v, a: (torch.arange(1, k.shape[1] + 1) * (a[:, :, None] == k[:, None, :])).amax(-1),
            "That is *where* the value stands, counted from 1. What stands there is asked."),
        "answers from the first sequence": Mistake(
            lambda k, v, a: last_told(k[:1].expand_as(k), v[:1].expand_as(v), k[:1].expand_as(k).gather(
                1, torch.zeros_like(a))) if len(k) > 1 else last_told(k, v, a),
            "Every sequence has bindings of its own."),
        "looks into the first sequence": Mistake(in_the_first,
            "Every sequence has bindings of its own: `keys[b]` and `values[b]`, not `keys[0]`."),
        "answers with the most frequent value": Mistake(most_frequent,
            "How often a value was told does not count. The last one does."),
        "mixes the sequences": Mistake(mixed,
            "One dictionary for the whole batch: a key that another sequence tells as well gets that one's value."),
        "counts the place from the end": Mistake(chosen(lambda same: same.flip(2).int().argmax(-1)),
            "Turned round, the first match is the last one; but its place counts from the end then. Turn it back: "
            "N − 1 − place."),
        "is one place too far": Mistake(
            chosen(lambda same: (same.shape[2] - same.flip(2).int().argmax(-1)).clamp(max=same.shape[2] - 1)),
            "Places count from 0. From behind the last one is N − 1 − place; and where places were counted from 1, to "
            "tell them from 0 for another key, that 1 has to go again."),
        "takes the key for a place": Mistake(lambda k, v, a: v.gather(1, a.clamp(max=k.shape[1] - 1)),
            "The key's number is not its place in the sequence. Look where the key was told."),
        "sorts the questions": Mistake(lambda k, v, a: last_told(k, v, a.sort(1).values),
            "Answers come in the order of the questions."),
        "gives the key": Mistake(lambda k, v, a: a.clone(), "That is the key that was asked. Its value is wanted."),
        "looks one place too late": Mistake(
            lambda k, v, a: last_told(k, v.roll(-1, 1), a), "The value at the key's own place, not at the next one."),
        "looks one place too early": Mistake(
            lambda k, v, a: last_told(k, v.roll(1, 1), a), "The value at the key's own place, not at the one before."),
        "answers in the order of telling": Mistake(lambda k, v, a: v[:, -a.shape[1]:].clone(),
            "The last Q values as they were told. Each question has its own key."),
        "answers for the keys as they were told": Mistake(in_order_of_telling,
            "The last values are right, but in the order in which the keys were told. Look up each key that is asked: "
            "one may be asked twice, and another not at all."),
    },
    hints=("Compare every asked key with every told one: a table (n, Q, N) of True and False.",
           "Of the places where it is True, the last one counts. `argmax` prefers the first of equal entries, so make "
           "later ones larger.",
           "`when = torch.arange(1, N + 1) * same`; then `values.gather(1, when.argmax(-1))`."),
)


# -- 15.7 Build, stage 2: tokens and targets ---------------------------------------------------------------------------

def as_sequence(keys, values, asked):
    told = torch.stack([keys, values], 2).flatten(1)                     # (n, 2N)  k v k v ...
    questions = torch.stack([asked, torch.zeros_like(asked)], 2).flatten(1)              # (n, 2Q)  k 0 k 0 ...
    tokens = torch.cat([told, questions], 1)                             # (n, 2N + 2Q)
    targets = torch.full_like(tokens, -100)
    targets[:, told.shape[1]::2] = last_told(keys, values, asked)        # at the keys that are asked
    return tokens, targets


def as_sequence_by_filling(keys, values, asked):
    (n, N), Q = keys.shape, asked.shape[1]
    tokens, targets = torch.zeros(n, 2 * N + 2 * Q, dtype=torch.long), torch.full((n, 2 * N + 2 * Q), -100)
    tokens[:, 0:2 * N:2], tokens[:, 1:2 * N:2], tokens[:, 2 * N::2] = keys, values, asked
    targets[:, 2 * N::2] = last_match(keys, values, asked)
    return tokens, targets


def written(tokens=lambda tokens, *rest: tokens, targets=lambda targets, *rest: targets):
    """A mutant: right tokens and targets, changed afterwards; each change is given (x, keys, values, asked)."""
    def f(keys, values, asked):
        t, a = as_sequence(keys, values, asked)
        return tokens(t.clone(), keys, values, asked), targets(a.clone(), keys, values, asked)
    return f


def first_values(targets, keys, values, asked):
    targets[:, 2 * keys.shape[1]::2] = last_told(keys.flip(1), values.flip(1), asked)
    return targets


def told_targets(targets, keys, values, asked):
    targets[:, :2 * keys.shape[1]:2] = values
    return targets


def told_values(targets, keys, values, asked):
    targets[:, 1:2 * keys.shape[1]:2] = values
    return targets


def placed(targets, keys, values, asked, where):
    targets = torch.full_like(targets, -100)
    targets[:, where] = last_told(keys, values, asked)
    return targets


def side_by_side(targets, keys, values, asked):
    N, Q = keys.shape[1], asked.shape[1]
    return placed(targets, keys, values, asked, slice(2 * N, 2 * N + Q))


def at_the_end(targets, keys, values, asked):
    return placed(targets, keys, values, asked, slice(-asked.shape[1], None))


def with_answers(tokens, keys, values, asked):
    tokens[:, 2 * keys.shape[1] + 1::2] = last_told(keys, values, asked)
    return tokens


def values_first(tokens, keys, values, asked):
    tokens[:, :2 * keys.shape[1]] = torch.stack([values, keys], 2).flatten(1)
    return tokens


def in_blocks(tokens, keys, values, asked):
    tokens[:, :2 * keys.shape[1]] = torch.cat([keys, values], 1)
    return tokens


def fillers_first(tokens, keys, values, asked):
    tokens[:, 2 * keys.shape[1]:] = torch.stack([torch.zeros_like(asked), asked], 2).flatten(1)
    return tokens


def asked_keys(targets, keys, values, asked):
    targets[:, 2 * keys.shape[1]::2] = asked
    return targets


def without_fillers(keys, values, asked):
    told = torch.stack([keys, values], 2).flatten(1)
    targets = torch.cat([torch.full_like(told, -100), last_told(keys, values, asked)], 1)
    return torch.cat([told, asked], 1), targets


def questions_first(keys, values, asked):
    tokens, targets = as_sequence(keys, values, asked)
    N = 2 * keys.shape[1]
    return torch.cat([tokens[:, N:], tokens[:, :N]], 1), torch.cat([targets[:, N:], targets[:, :N]], 1)


exercise(
    id="15.7", title="Build, stage 2: tokens and targets", kind="code", stars=2, minutes=15,
    reference=as_sequence, sources=(last_told, as_sequence),
    alternatives=(as_sequence_by_filling,), cases=told_cases,
    mutants={
        "asks one place too late": Mistake(written(targets=lambda t, *rest: t.roll(1, 1)),
            "The value is asked *at* the key: after reading it. Yours is asked at the filler behind it."),
        "asks one place too early": Mistake(written(targets=lambda t, *rest: t.roll(-1, 1)),
            "The value is asked *at* the key. Yours is asked at the place before, where the key has not been read."),
        "asks at the filler as well": Mistake(
            written(targets=lambda t, *rest: torch.where(t.roll(1, 1) >= 0, t.roll(1, 1), t)),
            "Each question is asked once, at its key. The filler behind it has the target −100."),
        "trains on every position that is not asked": Mistake(
            written(targets=lambda t, *rest: t.where(t >= 0, 0)),
            "Where nothing is asked the target is −100, which the loss leaves out. Your 0 is a token: the model would "
            "learn to say it."),
        "asks for the told pairs as well": Mistake(written(targets=told_targets),
            "A value that is told for the first time cannot be known. Only the questions have targets."),
        "asks for the oldest value": Mistake(written(targets=first_values),
            "The target is the value that the key was told *last*."),
        "asks for the key": Mistake(written(targets=asked_keys), "The target is the key's value, not the key."),
        "asks for every next token": Mistake(
            written(targets=lambda t, k, v, a: torch.cat([as_sequence(k, v, a)[0][:, 1:], t[:, -1:]], 1)),
            "Those are the targets of text. Here only the questions have one."),
        "writes the answer behind the question": Mistake(written(tokens=with_answers),
            "The filler 0 stands behind each asked key. With the answer there, a key that is asked twice gives itself "
            "away."),
        "tells the value before its key": Mistake(written(tokens=values_first), "Key first, then value."),
        "tells all keys before all values": Mistake(written(tokens=in_blocks), "Pair by pair: k v k v ..."),
        "writes the filler before the question": Mistake(written(tokens=fillers_first),
            "First the key that is asked, then the filler."),
        "asks behind a filler": Mistake(written(tokens=fillers_first, targets=lambda t, *rest: t.roll(1, 1)),
            "First the key that is asked, then the filler; and the target stands at the key."),
        "leaves the fillers out": Mistake(without_fillers,
            "A filler, 0, stands behind each asked key: 2Q tokens of questions."),
        "asks before anything is told": Mistake(questions_first, "First all pairs are told, then all keys are asked."),
        "gives targets first": Mistake(lambda *x: as_sequence(*x)[::-1], "Tokens first, then targets."),
        "asks at the told values": Mistake(written(targets=told_values),
            "A value that is being told is not asked for. Only the questions have targets."),
        "asks side by side": Mistake(written(targets=side_by_side),
            "Q targets in a row from 2N on. But the questions are two tokens wide: every second place."),
        "asks at the last places": Mistake(written(targets=at_the_end),
            "The last Q places hold keys and fillers by turns. The targets stand at the keys: every second place from "
            "2N on."),
        "asks for the largest value": Mistake(written(targets=largest_of_all),
            "The target is the value that the key was told *last*, not the largest."),
        "fills the tokens with −100": Mistake(written(tokens=marked_fillers),
            "−100 marks a *target* that is not asked. The filler among the tokens is 0."),
        "puts all fillers behind all questions": Mistake(fillers_last,
            "Each asked key has its filler right behind it: k 0 k 0 ..."),
        "marks with −1": Mistake(written(targets=lambda t, *rest: t.where(t >= 0, -1)),
            "−1 is no mark that `cross_entropy` knows: it leaves out −100, and stops with an error at −1."),
        "gives the answers alone": Mistake(
            lambda k, v, a: (as_sequence(k, v, a)[0], last_told(k, v, a)),
            "The targets are as long as the tokens, −100 where nothing is asked."),
    },
    hints=("Pairs side by side: `torch.stack([keys, values], 2).flatten(1)` gives k v k v ...",
           "The questions are made in the same way, of `asked` and zeros. The targets are −100 everywhere, and the "
           "last value at every second place from 2N on.",
           "`targets = torch.full_like(tokens, -100)`; `targets[:, 2 * N::2] = last_told(keys, values, asked)`."),
)
