"""Answers to the exercises of chapter 15, as readers write them; the laws of a generator; the runs of the lesson."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from deltanet_edu.chapters.ch15.generator import ANSWERS as UNLAWFUL
from deltanet_edu.chapters.ch15.generator import LAWS, Lawful, overwrite, overwrite_of_the_package
from deltanet_edu.chapters.ch15.told import as_sequence as written
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases

RESULTS = Path(__file__).resolve().parents[2] / "results"


def function(arguments, body):
    """A function of these arguments, from the lines of its body."""
    names = dict(torch=torch, hashlib=hashlib)
    exec(f"def f({arguments}):\n" + "\n".join(f"    {line}" for line in body.strip().splitlines()), names)
    return names["f"]


def share(counted="((said == targets) & asked).sum().item() / max(1, asked.sum().item())", asked="targets != -100",
          said="logits.argmax(-1)"):
    """15.4 with other lines."""
    return function("logits, targets", f"asked = {asked}\nsaid = {said}\nreturn {counted}")


def pairs(targets, where="2 * P + 2 * slots"):
    """15.5 with other targets, or other places."""
    return function("keys, values, slots, T", f"""
n, P = keys.shape
tokens = torch.zeros(n, T, dtype=torch.long)
tokens[:, 0:2 * P:2], tokens[:, 1:2 * P:2] = keys, values
where = {where}
tokens.scatter_(1, where, keys)
targets = torch.full((n, T), -100)
{targets}
return tokens, targets""")


def last(rows):
    """15.6 by a loop over the sequences: `rows` makes the answers of one, from lists k, v and a."""
    return function("keys, values, asked", f"""
out = []
for k, v, a in zip(keys.tolist(), values.tolist(), asked.tolist()):
    out.append({rows})
return torch.tensor(out)""")


def sequence(lines="targets[:, 2 * N::2] = last", returned="tokens, targets"):
    """15.7 with other last lines."""
    return function("keys, values, asked", f"""
N, Q = keys.shape[1], asked.shape[1]
told = torch.stack([keys, values], 2).flatten(1)
last = torch.tensor([[dict(zip(k, v))[x] for x in a]
                     for k, v, a in zip(keys.tolist(), values.tolist(), asked.tolist())])
tokens = torch.cat([told, torch.stack([asked, torch.zeros_like(asked)], 2).flatten(1)], 1)
targets = torch.full_like(tokens, -100)
{lines}
return {returned}""")


def task(mine="1 + torch.rand(n, vocab // 2 - 1, generator=g).argsort(1)[:, :keys]",
         told="mine.gather(1, torch.rand(n, keys * writes, generator=g).argsort(1) % keys)",
         values="torch.randint(vocab // 2, vocab, told.shape, generator=g)",
         asked="mine.gather(1, torch.rand(n, keys, generator=g).argsort(1))", before=""):
    """15.8 with other draws."""
    f = function("n, keys, writes, vocab, g, as_sequence", f"""
{before}
mine = {mine}
told = {told}
values = {values}
asked = {asked}
return as_sequence(told, values, asked)""")
    return lambda n, keys, writes, vocab, g: f(n, keys, writes, vocab, g, written)


def number(expression):
    """15.9 as an expression."""
    return function("seed, test, n", f"return {expression}")


def key(entries, beta):
    """15.11 with other numbers at i and j."""
    return function("i, j, n", f"k = torch.zeros(n, dtype=torch.float64)\nk[i], k[j] = {entries}\nreturn k, {beta}")


ANSWERS = {
    "15.1": {"right": [(1.5625, 27.34, 11.1), [1.56, 27.3, 11.11]], "forgets that values repeat": [(1.56, 25.0, 11.1)],
             "guesses among all value tokens": [(0.0244, 27.3, 11.1)],
             "takes one letter for right": [(1.56, 27.3, 5.56)],
             "counts the separator as a letter": [(1.56, 27.3, 10.5)],
             "takes the last value out of the 32": [(1.56, 27.4, 11.1), (1.563, 27.42, 11.11)]},
    "15.2": {"right": [22, 22.0], "fades in a straight line": [16], "stops one write early": [21],
             "takes the exponential": [22.18], "lets one write erase nearly all": [1],
             "waits for as many writes as the memory is wide": [32]},
    "15.3": {"right": [121, 121.1, 121.11], "takes four bits for a token": [124], "counts nats": [83.9],
             "counts the sign as a token to hold": [125], "multiplies tokens and symbols": [465],
             "counts bytes": [15.1, 15.14], "takes two symbols away": [118, 118.0]},
    "15.4": {
        "right": [share(), share("(said == targets)[asked].double().mean().item() if asked.any() else 0")],
        "counts positions that are not asked": [share("(said == targets).double().mean().item()"),
                                                share(asked="targets != 100")],
        "divides by nothing": [share("(said == targets)[asked].double().mean().item()")],
        "counts what is not asked as right": [share("((said == targets) | ~asked).double().mean().item()")],
        "leaves token 0 out": [share(asked="targets > 0")],
        "looks along the wrong dimension": [share(said="logits.argmax(1)")],
        "takes 0 for the mark": [share(asked="targets != 0")],
        "counts where something is said": [share(asked="logits.argmax(-1) > 0")],
        "counts only what is not asked": [share(asked="targets == -100")],
        "asks for whole sequences, of those that are asked": [
            share("((said == targets) | ~asked).all(1)[asked.any(1)].double().mean().item() if asked.any() else 0")],
        "looks along the wrong dimension, and picks what is asked": [
            share("(said == targets)[asked].double().mean().item() if asked.any() else 0", said="logits.argmax(1)")],
        "takes the share from one": [share("1 - ((said == targets) & asked).sum().item()"
                                           " / max(1, asked.sum().item())")],
    },
    "15.5": {
        "right": [pairs("targets.scatter_(1, where, values)"),
                  pairs("for b in range(n):\n    for s, v in zip(slots[b], values[b]):\n"
                        "        targets[b, 2 * P + 2 * s] = v")],
        "asks one place too late": [pairs("targets.scatter_(1, where + 1, values)")],
        "trains on every filler": [pairs("targets = torch.zeros_like(tokens).scatter_(1, where, values)")],
        "asks for the key": [pairs("targets.scatter_(1, where, keys)")],
        "begins with a copy of the tokens": [pairs("targets = tokens.clone().scatter_(1, where, values)")],
        "begins with a copy of the tokens that are not 0": [
            pairs("targets = torch.where(tokens > 0, tokens, -100).scatter_(1, where, values)")],
        "begins with every next token": [pairs("targets = tokens.roll(-1, 1).scatter_(1, where, values)")],
        "writes into every row at the places of all": [pairs("targets[:, where] = values")],
        "lets the targets begin at the front": [pairs("targets.scatter_(1, 2 * slots, values)")],
        "takes a slot for one token": [pairs("targets.scatter_(1, where, values)", "2 * P + slots")],
        "asks at the told values": [pairs("targets[:, 1:2 * P:2] = values\ntargets.scatter_(1, where, values)")],
    },
    "15.6": {
        "right": [last("[dict(zip(k, v))[x] for x in a]"),
                  last("[[y for z, y in zip(k, v) if z == x][-1] for x in a]")],
        "answers with the first value": [last("[v[k.index(x)] for x in a]")],
        "answers with the largest value": [last("[max(y for z, y in zip(k, v) if z == x) for x in a]")],
        "adds up all values": [last("[sum(y for z, y in zip(k, v) if z == x) for x in a]")],
        "gives the place": [last("[len(k) - 1 - k[::-1].index(x) for x in a]")],
        "counts the place from the end": [last("[v[k[::-1].index(x)] for x in a]")],
        "is one place too far": [last("[v[min(len(k) - k[::-1].index(x), len(k) - 1)] for x in a]")],
        "answers in the order of telling": [lambda k, v, a: v[:, -a.shape[1]:]],
        "answers for the keys as they were told": [last("[*dict(zip(k, v)).values()][:len(a)]")],
        "sorts the questions": [last("[dict(zip(k, v))[x] for x in sorted(a)]")],
    },
    "15.7": {
        "right": [sequence(), sequence("targets[:, 2 * N::2] = last", "[tokens, targets]")],
        "asks one place too late": [sequence("targets[:, 2 * N + 1::2] = last")],
        "trains on every position that is not asked": [sequence("targets *= 0\ntargets[:, 2 * N::2] = last")],
        "asks at the last places": [sequence("targets[:, -Q:] = last")],
        "asks side by side": [sequence("targets[:, 2 * N:2 * N + Q] = last")],
        "gives targets first": [sequence(returned="targets, tokens")],
    },
    "15.8": {
        "right": [task(), task(told="mine.repeat(1, writes).gather(\n    1, torch.rand(n, keys * writes, generator=g)"
                                    ".argsort(1))")],
        "draws a key twice": [task("torch.randint(1, vocab // 2, (n, keys), generator=g)")],
        "tells too many keys": [task(told="torch.randint(1, vocab // 2, (n, keys * writes), generator=g)",
                                     asked="told[:, :keys]")],
        "asks for a key that it has not told": [
            task(asked="1 + torch.rand(n, vocab // 2 - 1, generator=g).argsort(1)[:, :keys]")],
        "tells keys that are no keys": [task("torch.rand(n, vocab // 2, generator=g).argsort(1)[:, :keys]")],
        "ignores the generator": [task(values="torch.randint(vocab // 2, vocab, told.shape)")],
        "prefers some keys together": [task("1 + (torch.randint(vocab // 2 - 1, (n, 1), generator=g)\n"
                                            "     + torch.arange(keys)) % (vocab // 2 - 1)")],
        "makes the same sequences again": [task(before="g = torch.Generator().manual_seed(0)")],
        "uses the same keys in every sequence": [task("torch.arange(1, keys + 1).expand(n, -1)")],
        "leaves some values out": [task(values="torch.randint(vocab // 2, vocab - 1, told.shape, generator=g)")],
        "tells the keys in rounds": [task(told="mine.repeat(1, writes)")],
        "tells one key after the other": [task(told="mine.repeat_interleave(writes, 1)")],
        "tells all sequences in one order": [
            task(told="mine.repeat(1, writes)[:, torch.randperm(keys * writes, generator=g)]")],
        "asks in the order of the numbers": [task(asked="mine.sort(1).values")],
        "asks all sequences in one order": [
            task(asked="mine.sort(1).values[:, torch.randperm(keys, generator=g)]")],
        "prefers some orders of the questions": [
            task(asked="torch.where(torch.rand(n, 1, generator=g) < 0.5, mine.sort(1).values,\n"
                       "                    mine.sort(1, descending=True).values)")],
        "asks a key twice, or one not at all": [task(asked="told[:, :keys]")],
    },
    "15.9": {
        "right": [number("2 * seed * 10**8 + test * 10**8 + n"), number("(n * 10**6 + seed) * 2 + int(test)")],
        "gives the test what was trained on": [number("n + seed")],
        "leaves no room for batch 10,000,000": [number("n + (2 * seed + test) * 10_000_000")],
        "takes the number for a seed and the seed for a number": [number("seed + 99_999 * (2 * n + test)")],
        "gives a seed 16 bits": [number("n << 17 | test << 16 | seed")],
        "tells them apart by the sign": [number("-(seed * 10**9 + n) if test else seed * 10**9 + n")],
        "forgets whether it is a test": [number("seed * 10**9 + n")],
        "starts the test a thousand further": [number("seed + n + (1000 if test else 0)")],
        "gives no whole number": [number("n / 2"), number("(seed, test, n)")],
    },
    "15.10": {"right": ["gdbhacef", "G B D H A C E F"], "tells the symbols in another order": ["GBIHACEF"]},
    "15.11": {"right": [key("0.5**0.5, -(0.5**0.5)", 2.0), key("-1.0, 1.0", 1.0)],
              "erases the difference": [key("0.5**0.5, -(0.5**0.5)", 1.0), key("-(0.5**0.5), 0.5**0.5", 1.0)],
              "divides by two, not by its root": [key("0.5, -0.5", 2.0)],
              "adds the two": [key("0.5**0.5, 0.5**0.5", 2.0)],
              "goes twice as far as it should": [key("1.0, -1.0", 2.0)]},
    "15.12": {"right": ["AC", "c, a", ["A", "C"]], "believes D and misses C": ["AD"]},
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


@pytest.mark.parametrize("answer, said", [
    (number("seed * 2 + test + 2 * n * 1000"), "training batch"), (number("-1"), "range from 0"),
    (number("7"), "training batch"), (number("seed + n + test * 2**50"), "lets the seeds overlap"),
    (number("(seed + 1) * (n + 1) * 2 + test"), "cannot tell the seed from the batch"),
    (number("(seed ^ n) * 2 + test"), "cannot tell the seed from the batch"),
    (number("int(seed * 1e14 + test * 1e13 + n)"), "in floating point"),
    (number("(seed + test) * 2**30 + n"), "gives the test the next seed"),
    (number("seed * 2**40 + n + test"), "no room for batch 1"),
    (number("seed << 22 | test << 21 | n"), "no room for batch 2,097,152"),
    (number("seed * 2**40 + test * 10**7 + n"), "no room for batch 10,000,000"),
    (number("seed * 2**20 + test * 2**60 + n"), "no room for batch 1,048,576"),
    (number("seed * 5_000_000 + test * 2**60 + n"), "no room for batch 5,000,000"),
    (number("seed * 2**40 + test * 1_234_567 + n"), "no room for batch 1,234,567"),
    (number("2**seed * 3**test * 5**n"), "range from 0"),
    (number("seed * 1009 + test * 9176 + n * 31"), "too few numbers"),
    (number("hash((seed, test, n)) % 2**32"), "too few numbers"),
    (number("hash(f'{seed} {test} {n}') % 2**64"), "another process"),
    *((number(f"int(hashlib.sha256(f'{row}'.encode()).hexdigest()[:16], 16)"), "writes the digits in a row")
      for row in ("{seed}{int(test)}{n}", "{n}{int(test)}{seed}", "{test}{seed}{n}", "{seed}{n}{int(test)}"))])
def test_streams_that_meet_are_named(answer, said):
    verdict = grade(find("exercise", "15.9"), answer)
    assert verdict.state == "fail" and said in verdict.headline, verdict.text


@pytest.mark.parametrize("id, answer", [
    ("15.9", number("hash(f'{seed} {test} {n}') % 2**64")), ("15.9", number("hash((seed, test, n)) % 2**32")),
    ("15.9", number("-1")), ("15.8", task(values="torch.randint(vocab // 2, vocab, told.shape)"))])
def test_what_the_judge_objects_to_is_not_said_to_be_raised(id, answer):
    text = grade(find("exercise", id), answer).text
    assert "raises" not in text and "yours     it" in text, text


def test_one_order_for_all_is_not_taken_for_one_that_it_happens_to_be():
    """One permutation is sorted once in six batches of three keys, and a third of the small seeds show it."""
    exercise = find("exercise", "15.8")
    told = "mine.repeat(1, writes)[:, torch.randperm(keys * writes, generator=g)]"
    asked = "mine.sort(1).values[:, torch.randperm(keys, generator=g)]"
    for skipped in range(12):
        before = f"torch.rand({skipped + 1}, generator=g)"
        assert grade(exercise, task(before=before, asked=asked)).mistake == "asks all sequences in one order"
        assert grade(exercise, task(before=before, told=told)).mistake == "tells all sequences in one order"


def test_the_line_that_loses_precision_is_the_learners():
    def swap(i, j, n):
        k = torch.zeros(n)
        k[i], k[j] = 0.5**0.5, -(0.5**0.5)
        return k, 2.0
    assert "k = torch.zeros(n)" in grade(find("exercise", "15.11"), swap).text


def test_a_step_that_does_not_belong_is_no_factor_in_an_index():
    """`2 * N * N` for `2 * N` empties the slice that it stands in, and so does leaving the step out."""
    def as_sequence(keys, values, asked):
        tokens, targets = written(keys, values, asked)
        N = keys.shape[1]
        targets[:, 2 * N:-2] = -100
        return tokens, targets
    verdict = grade(find("exercise", "15.7"), as_sequence)
    assert "which does not belong" in verdict.headline, verdict.text


def test_a_write_is_judged_by_what_it_does():
    exercise = find("exercise", "15.11")
    for entries, beta, said in (("1 / 5**0.5, 2 / 5**0.5", 2.0, "not the difference"),
                                ("0.7071, -0.7071", 2.0, "rounded"),
                                ("0.5**0.5, -(0.5**0.5)", 1.4, "does not fit the length"),
                                ("0.0, 0.0", 2.0, "key is zero"),
                                # the matrix of a known mistake, made of another key and another strength
                                ("0.5, -0.5", 1.0, "does not fit the length"), ("1.0, -1.0", 0.75, "does not fit"),
                                ("0.5**0.5, -(0.5**0.5)", 4.0, "does not fit"),
                                ("1.0, 1.0", 1.0, "not the difference")):
        assert said in grade(exercise, key(entries, beta)).headline
    even = grade(exercise, lambda i, j, n: (torch.ones(n, dtype=torch.float64) / n**0.5, 2.0))
    assert "a column that should stay" in even.headline
    assert "key has shape" in grade(exercise, lambda i, j, n: (2.0, torch.ones(n))).headline


def test_every_law_has_an_answer_that_breaks_it_and_no_right_one_does_by_chance():
    assert UNLAWFUL.keys() == LAWS.keys()
    for f in (overwrite, overwrite_of_the_package):
        judged = Lawful()(f)
        for seed in range(100, 130):
            judged(300, 3, 3, 10, seed)                                  # raises if a law is broken
    Lawful()(overwrite)(300, 6, 4, 64, 149)                              # one value of 32 is never the first told


@pytest.mark.parametrize("name", ["overwrite_cpu", "parity_cpu"])
def test_what_the_lesson_says_of_stored_runs_is_so(name):
    found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert found["machine"] and found["date"] and found["command"].startswith("deltanet-edu task")
    runs = {}
    for row in found["rows"]:
        runs.setdefault(row.get("mixer", row.get("options.beta_max")), []).append(row["accuracy"])
    assert all(len(found) == 3 for found in runs.values())
    if name == "parity_cpu":
        assert min(runs[2]) >= 0.99 and max(runs[1]) <= 0.75
    else:
        assert min(runs["delta"]) >= 0.99 and sum(runs["linear"]) / 3 <= 0.60
        assert [round(100 * a) for a in sorted(runs["linear"])] == [30, 47, 62]
