"""Exercise 15.5: where the target stands."""

import torch

from ...tutor import Case, Mistake, exercise

# -- 15.5 Where the target stands --------------------------------------------------------------------------------------

def mqar(keys, values, slots, T):
    n, P = keys.shape
    tokens = torch.zeros(n, T, dtype=torch.long)
    tokens[:, 0:2 * P:2], tokens[:, 1:2 * P:2] = keys, values            # k v k v ...
    where = 2 * P + 2 * slots                                            # (n, P)  a slot is two tokens wide
    tokens.scatter_(1, where, keys)
    targets = torch.full((n, T), -100)                                   # nothing else is asked
    targets.scatter_(1, where, values)                                   # said after reading the key: at its position
    return tokens, targets


def mqar_by_pieces(keys, values, slots, T):
    n, P = keys.shape
    room = (T - 2 * P + 1) // 2
    asked = torch.zeros(n, room, dtype=torch.long).scatter(1, slots, keys)               # a key a slot, or 0
    answers = torch.full((n, room), -100).scatter(1, slots, values)

    def spread(x, fill):
        return torch.stack([x, torch.full_like(x, fill)], 2).flatten(1)
    tokens = torch.cat([torch.stack([keys, values], 2).flatten(1), spread(asked, 0)], 1)
    targets = torch.cat([torch.full((n, 2 * P), -100), spread(answers, -100)], 1)
    return tokens[:, :T], targets[:, :T]


def laid_out(at=0, fill=-100, told=False, leak=None, target="values", slot=lambda P, slots: 2 * P + 2 * slots,
             order="kv", filler=0):
    """A mutant: targets `at` places behind the key, `fill` elsewhere, `told` pairs as targets, an answer leaked."""
    def f(keys, values, slots, T):
        n, P = keys.shape
        tokens = torch.full((n, T), filler)
        pairs = {"kv": (keys, values), "vk": (values, keys)}[order]
        tokens[:, :2 * P] = (torch.stack(pairs, 2).flatten(1) if order != "blocks" else torch.cat([keys, values], 1))
        where = slot(P, slots)
        tokens.scatter_(1, where, keys)
        if leak is not None:
            tokens.scatter_(1, where + leak, values)
        targets = torch.full((n, T), fill)
        if told:
            targets[:, :2 * P:2] = values
        targets.scatter_(1, where + at, {"values": values, "keys": keys, "first": values.flip(1)}[target])
        return tokens, targets
    return f


def blocks(keys, values, slots, T):
    tokens, targets = mqar(keys, values, slots, T)
    tokens[:, :2 * keys.shape[1]] = torch.cat([keys, values], 1)
    return tokens, targets


def next_token_targets(keys, values, slots, T):
    tokens, _ = laid_out(leak=1)(keys, values, slots, T)
    return tokens, torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], -100)], 1)


def retargeted(keys, values, slots, T, where, what):
    tokens, targets = mqar(keys, values, slots, T)
    targets[:, where] = what
    return tokens, targets


def every_row(keys, values, slots, T):
    """`targets[:, where]` is the places of all sequences, in each of them."""
    tokens, targets = mqar(keys, values, slots, T)
    targets[:, 2 * keys.shape[1] + 2 * slots] = values
    return tokens, targets


def answers_in(fill):
    """A mutant: the right answers, written into targets that are made of the tokens: fill(tokens)."""
    def f(*x):
        tokens, targets = mqar(*x)
        return tokens, torch.where(targets >= 0, targets, fill(tokens))
    return f


def asked_at(where):
    """A mutant: right tokens, and targets at where(P, slots)."""
    def f(keys, values, slots, T):
        targets = torch.full((len(keys), T), -100).scatter(1, where(keys.shape[1], slots), values)
        return mqar(keys, values, slots, T)[0], targets
    return f


def mqar_cases(g):
    def case(note, n, P, T, half):
        keys = 1 + torch.rand(n, half - 1, generator=g).topk(P, 1).indices
        values = half + torch.rand(n, half, generator=g).topk(P, 1).indices
        slots = torch.rand(n, (T - 2 * P) // 2, generator=g).topk(P, 1).indices
        return Case((keys, values, slots, T), f"{note}, n = {n}, P = {P}, T = {T}")
    return [case("one pair", 1, 1, 6, 3), case("two pairs", 1, 2, 10, 5), case("two sequences", 2, 3, 16, 8),
            case("many slots", 3, 2, 24, 6), case("every slot is taken", 2, 4, 16, 9)]


exercise(
    id="15.5", title="Find the bug: where the target stands", kind="bug", stars=2, minutes=15,
    reference=mqar, alternatives=(mqar_by_pieces,), cases=mqar_cases,
    mutants={
        "keeps both faults": Mistake(laid_out(at=1, fill=0),
            "The target stands one place too late, behind its key; and every other position has the target 0, so that "
            "nearly all of the loss is about saying 0.", next="After reading which token must the value be said?"),
        "asks one place too late": Mistake(laid_out(at=1),
            "The value must be said after reading the key: *at* the key's position. One place further the model reads "
            "a filler. Moving it is right only where targets are moved back later: that is how the fault came "
            "into being."),
        "trains on every filler": Mistake(laid_out(fill=0),
            "The targets stand rightly, but all other positions have the target 0 instead of −100. The loss counts "
            "them: a model that always says 0 looks right nearly everywhere.", next="`torch.full((n, T), -100)`."),
        "asks one place too early": Mistake(laid_out(at=-1),
            "At the place before the key nobody has asked anything yet."),
        "asks for the told pairs as well": Mistake(laid_out(told=True),
            "When a pair is told for the first time, nobody can know its value. Such targets are noise in the loss, "
            "and a score of 1 is out of reach."),
        "writes the answer behind the key": Mistake(laid_out(leak=1),
            "The value stands in the tokens again, behind the asked key. The target is right, but the token there is a "
            "0: what is asked is not told once more."),
        "asks for every next token": Mistake(next_token_targets,
            "Those are the targets of text. Here only the asked keys have one."),
        "asks for the key": Mistake(laid_out(target="keys"), "The target is the value; the key is what is read."),
        "takes a slot for one token": Mistake(laid_out(slot=lambda P, slots: 2 * P + slots),
            "A slot is two tokens wide: slot s begins at 2P + 2s."),
        "lets the slots begin at the front": Mistake(laid_out(slot=lambda P, slots: 2 * slots),
            "The first 2P tokens are the pairs; slot 0 begins behind them, at 2P.", next="2P + 2s."),
        "lets the targets begin at the front": Mistake(asked_at(lambda P, slots: 2 * slots),
            "The keys stand rightly, but the targets count from the first token, where the pairs are told. The slots "
            "come behind them.", next="`where` is for keys and targets."),
        "counts pairs, not tokens, for the targets": Mistake(asked_at(lambda P, slots: P + 2 * slots),
            "P pairs are 2P tokens: a target stands where its key stands, at 2P + 2s."),
        "takes a slot for one token, for the targets": Mistake(asked_at(lambda P, slots: 2 * P + slots),
            "A slot is two tokens wide: the target of slot s stands at its key, 2P + 2s."),
        "counts pairs, not tokens": Mistake(laid_out(slot=lambda P, slots: P + 2 * slots),
            "P pairs are 2P tokens."),
        "tells the value before its key": Mistake(laid_out(order="vk"),
            "Key first, then value."),
        "tells all keys before all values": Mistake(blocks, "Pair by pair: k₁ v₁ k₂ v₂ ..."),
        "answers with another pair's value": Mistake(
            lambda keys, values, slots, T: (mqar(keys, values, slots, T)[0],
                                            mqar(keys, values.roll(1, 1), slots, T)[1])
            if keys.shape[1] > 1 else laid_out(target="keys")(keys, values, slots, T),
            "Pair i is asked in slot i of `slots`, and its value is the target there: keep the columns together."),
        "asks at the told values": Mistake(
            lambda keys, values, slots, T: retargeted(keys, values, slots, T, slice(1, 2 * keys.shape[1], 2), values),
            "A value that is being told is not asked for. Only the keys in the slots have targets."),
        "begins with a copy of the tokens": Mistake(answers_in(lambda tokens: tokens),
            "Where nothing is asked the target is −100. Yours asks for the token that has just been read."),
        "begins with a copy of the tokens that are not 0": Mistake(
            answers_in(lambda tokens: tokens.masked_fill(tokens == 0, -100)),
            "Not only the fillers are not asked: a pair that is being told is not, either. Everywhere but at the keys "
            "in the slots the target is −100."),
        "begins with every next token": Mistake(answers_in(lambda tokens: tokens.roll(-1, 1)),
            "The answers stand rightly, but elsewhere are the targets of text. Where nothing is asked it is −100."),
        "begins with every next token, and nothing behind the last": Mistake(
            answers_in(lambda tokens: torch.nn.functional.pad(tokens[:, 1:], (0, 1), value=-100)),
            "The answers stand rightly, but elsewhere are the targets of text. Where nothing is asked it is −100."),
        "writes into every row at the places of all": Mistake(every_row,
            "`targets[:, where]` means the places of *all* sequences, in each of them. `scatter_(1, where, values)` "
            "gives each row its own, and so does `targets[torch.arange(n)[:, None], where]`."),
        "fills the tokens with −100": Mistake(laid_out(filler=-100),
            "−100 marks a *target* that is not asked. A token that says nothing is 0."),
        "sorts the values": Mistake(
            lambda keys, values, slots, T: (mqar(keys, values, slots, T)[0],
                                            mqar(keys, values.sort(1).values, slots, T)[1]),
            "Value i belongs to key i and stands in slot i of `slots`: keep the columns together."),
        "puts the key into the second token of its slot": Mistake(laid_out(slot=lambda P, slots: 2 * P + 2 * slots + 1),
            "The key stands in the *first* token of its slot, and the target with it.",
            next="`where = 2 * P + 2 * slots`."),
        "marks with −1": Mistake(laid_out(fill=-1),
            "−1 is no mark that `cross_entropy` knows: it leaves out −100, and stops with an error at −1."),
        "asks for every next token, without the answers": Mistake(
            lambda *x: (mqar(*x)[0], mqar(*x)[0].roll(-1, 1)),
            "Those are the targets of text. Here only the asked keys have one, and it is not the token behind them."),
        "sorts the slots": Mistake(
            lambda keys, values, slots, T: (mqar(keys, values, slots, T)[0], mqar(keys, values, slots.sort(1).values,
                                                                                   T)[1]),
            "Pair i belongs to slot i of `slots`. Sorted, the values no longer stand at their own keys."),
        "asks twice": Mistake(
            lambda keys, values, slots, T: (mqar(keys, values, slots, T)[0],
                                            mqar(keys, values, slots, T)[1].scatter(
                                                1, 2 * keys.shape[1] + 2 * slots + 1, values)),
            "The key's own place is the only one that is asked; the filler behind it has −100."),
        "gives targets first": Mistake(lambda *x: mqar(*x)[::-1], "Tokens first, then targets."),
    },
    hints=("Print tokens and targets of one sequence under each other. After which token is the value asked?",
           "Two faults: where the target stands, and what stands where nothing is asked.",
           "`torch.full((n, T), -100)`, and `targets.scatter_(1, where, values)`."),
)
