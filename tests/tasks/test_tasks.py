"""Every task: what it makes is lawful, its oracle is right, its baseline is not, and it is quick."""

import time

import pytest
import torch

from deltanet_edu.tasks import IGNORED, MQAR, TASKS, Documents, FuzzyRecall, Overwrite, Permutations, RegBench, accuracy
from deltanet_edu.tasks.definition import draw_distinct, draw_weighted

SETTINGS = [(name, {}) for name in TASKS] + [
    ("mqar", dict(vocab=8192, T=512, pairs=64)), ("mqar", dict(vocab=32, pairs=4, power=1.0, random_fillers=True)),
    ("mqar", dict(vocab=18, T=32, pairs=8)), ("overwrite", dict(vocab=14, keys=6, writes=1)),
    ("mad-recall", dict(vocab=64, T=256)), ("mad-noisy-recall", dict(noise=0.8, vocab=48)), ("mad-copying", dict(T=33)),
    ("mad-fuzzy-recall", dict(vocab=8, T=24)), ("mad-fuzzy-recall", dict(longest=1)),
    ("mad-memorizing", dict(vocab=512)),
    ("documents", dict(form="table", fillers=0)), ("documents", dict(form="markup", length=1)),
    ("documents", dict(form="prose", facts=1, questions=1)), ("permutations", dict(size=4, T=40)),
    ("regbench", dict(letters=4, nodes=4, T=64)),
]
every_setting = pytest.mark.parametrize("name, options", SETTINGS, ids=[f"{n}-{o}" for n, o in SETTINGS])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@every_setting
def test_the_oracle_is_right_and_the_baseline_is_not(name, options):
    task = TASKS[name](**options)
    batch = task.batch(64, generator())
    assert batch.tokens.shape == batch.targets.shape == (64, task.T)
    assert 0 <= batch.tokens.min() and batch.tokens.max() < task.vocab
    asked = batch.targets[batch.targets != IGNORED]
    assert (batch.targets != IGNORED).any(1).all() and 0 <= asked.min() and asked.max() < task.vocab
    assert accuracy(task.oracle(batch), batch) == 1.0
    if options.get("writes") != 1:                                       # told once, the oldest value is the newest
        assert accuracy(task.baseline(batch), batch) < 0.9


@every_setting
def test_the_generator_decides(name, options):
    task = TASKS[name](**options)
    first, again, other = (task.batch(8, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.tokens, again.tokens) and torch.equal(first.targets, again.targets)
    assert not torch.equal(first.tokens, other.tokens)


@pytest.mark.parametrize("name", sorted(set(TASKS) - {"mad-compression", "regbench"}))
def test_the_oracle_needs_no_later_token(name):
    task = TASKS[name]()
    batch = task.batch(16, generator())
    cut = task.T * 3 // 4
    changed = batch.tokens.clone()
    changed[:, cut:] = changed[:, cut:].roll(1, 0)                       # the end of another sequence
    before, after = task.oracle(batch), task.oracle(batch._replace(tokens=changed))
    asked = batch.targets[:, :cut] != IGNORED
    assert torch.equal(before[:, :cut][asked], after[:, :cut][asked])


@pytest.mark.parametrize("name", TASKS)
def test_it_makes_two_hundred_thousand_tokens_a_second(name):
    task = TASKS[name]()
    task.batch(8, generator())
    start = time.process_time()
    task.batch(512, generator())
    assert 512 * task.T / (time.process_time() - start) > 200_000


def test_accuracy_counts_what_is_asked():
    task = MQAR()
    batch = task.batch(4, generator())
    scores = torch.nn.functional.one_hot(batch.targets.clamp(min=0), task.vocab).float()
    assert accuracy(scores, batch) == 1.0
    assert accuracy(batch.targets.where(torch.arange(task.T) < 32, -1), batch) == pytest.approx(
        (batch.targets[:, :32] != IGNORED).sum() / (batch.targets != IGNORED).sum())


# -- the law of each task ----------------------------------------------------------------------------------------------

def chi_square(counts, chances):
    """Pearson's statistic divided by its degrees of freedom: about 1 if the counts have these chances."""
    expected = counts.sum() * chances
    return (((counts - expected) ** 2 / expected).sum() / (len(counts) - 1)).item()


def test_draws_are_even():
    drawn = draw_distinct(20_000, 6, 3, generator())
    assert all(len(set(row)) == 3 for row in drawn[:200].tolist())
    for column in drawn.T:
        assert chi_square(column.bincount(minlength=6), torch.full((6,), 1 / 6)) < 3


def test_weighted_draws_follow_their_weights_one_after_the_other():
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = draw_weighted(20_000, weights, 2, generator())
    assert chi_square(drawn[:, 0].bincount(minlength=4), weights) < 3
    second = drawn[drawn[:, 0] == 0, 1].bincount(minlength=4)[1:]
    assert chi_square(second, weights[1:] / weights[1:].sum()) < 3


def test_mqar_keys_values_and_slots():
    task = MQAR(vocab=64, T=64, pairs=4, power=0.1)
    tokens, targets, _ = task.batch(20_000, generator())
    keys, values = tokens[:, 0:8:2], tokens[:, 1:8:2]
    assert keys.min() >= 1 and keys.max() < 32 <= values.min()
    assert all(len(set(row)) == 4 for row in [*keys[:200].tolist(), *values[:200].tolist()])
    asked = targets != IGNORED
    assert (asked.sum(1) == 4).all() and not asked[:, :8].any() and not asked[:, 9::2].any()
    slots = ((targets == values[:, :1]).int().argmax(1) - 8) // 2   # where the first pair is asked: one draw by the law
    assert chi_square(slots.bincount(minlength=28), task.weights / task.weights.sum()) < 2
    assert (tokens[:, 8:][targets[:, 8:] == IGNORED] == 0).all()


def test_overwrite_asks_for_the_last_value():
    task = Overwrite()
    for tokens, targets in zip(*task.batch(50, generator())[:2]):
        told = dict(zip(tokens[:task.told:2].tolist(), tokens[1:task.told:2].tolist()))  # later entries replace earlier
        asked = [(k, v) for k, v in zip(tokens.tolist(), targets.tolist()) if v != IGNORED]
        assert sorted(k for k, _ in asked) == sorted(told) and all(told[k] == v for k, v in asked)
        counts = tokens[:task.told:2].unique(return_counts=True)[1]
        assert (counts == task.writes).all()


def test_fuzzy_recall_tells_the_asked_key_once_and_long():
    task = FuzzyRecall()
    for tokens, targets in zip(*task.batch(100, generator())[:2]):
        text = "".join(chr(97 + t) for t in [*tokens.tolist(), int(targets[-1])])
        size = int((targets != IGNORED).sum())
        key, value = text[-size - 3:-size], text[-size:]
        assert all(ord(c) - 97 < 7 for c in key) and all(7 <= ord(c) - 97 < 15 for c in value)
        assert len(set(key)) == 3 and len(set(value)) == size
        text = "p" + text                                                # a pad, so that a key may come first
        told = [i for i in range(1, len(text)) if text[i - 1] not in "abcdefg" and text.startswith(key + value[0], i)]
        assert len(told) == 2, "told once, asked once"


def test_training_may_ask_more():
    for name in ("mad-recall", "mad-noisy-recall", "mad-fuzzy-recall"):
        task = TASKS[name]()
        train, test = task.batch(8, generator(), train=True), task.batch(8, generator())
        assert (train.targets != IGNORED).all() and (test.targets == IGNORED).any()
        assert torch.equal(train.targets[:, :-1], train.tokens[:, 1:])


def test_permutations_are_a_group_in_which_order_matters():
    table = Permutations().table
    assert all(sorted(row) == list(range(6)) for row in table.tolist()) and not torch.equal(table, table.T)
    a, b, c = torch.meshgrid(*[torch.arange(6)] * 3, indexing="ij")
    assert torch.equal(table[table[a, b], c], table[a, table[b, c]])


def test_every_word_is_accepted_by_its_automaton():
    task = RegBench(T=128)
    said, following = task.automata(40, generator(7))
    tokens, targets, allowed = task.batch(40, generator(7))             # the automata are drawn first
    for row in range(40):
        state, word = 0, 0
        for token in tokens[row].tolist():
            edges = dict(zip(said[row, state].tolist(), following[row, state].tolist()))
            if token == task.separator:
                assert 1 <= word
                state, word = 0, 0
                continue
            assert token in edges and edges[token] != state
            state, word = edges[token], word + 1
            assert word <= task.longest
    real = targets != IGNORED
    assert allowed.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0][real].all()
    out = (said >= 0).sum(2)
    assert out.min() >= 1 and out.max() <= 3


def test_edges_are_taken_with_the_same_chance():
    task = RegBench(letters=4, nodes=4, T=256)
    said, _ = task.automata(400, generator(1))
    tokens = task.batch(400, generator(1)).tokens[:, 0]                  # the first letter leaves state 0
    three = (said[:, 0] >= 0).all(1)
    taken = (said[three, 0] == tokens[three, None]).int().argmax(1)
    assert chi_square(taken.bincount(minlength=3), torch.full((3,), 1 / 3)) < 4


@pytest.mark.parametrize("name, options, says", [
    ("mqar", dict(pairs=17), "pairs: got 17, expected 1 to 16"), ("mqar", dict(vocab=9), "vocab: got 9"),
    ("overwrite", dict(keys=0), "keys and writes"),
    ("overwrite", dict(vocab=12), "vocab: got 12, expected an even number of at least 14"),
    ("mad-recall", dict(T=3), "T: got 3"), ("mad-recall", dict(noise=0.5), "noise and noise_vocab"),
    ("mad-fuzzy-recall", dict(T=8), "T: got 8"), ("mad-copying", dict(count=200), "count"),
    ("mad-compression", dict(T=1), "T"),
    ("documents", dict(form="poem"), "form: got 'poem', expected one of 'table', 'markup', 'prose'"),
    ("documents", dict(questions=20), "questions, facts and attributes"), ("permutations", dict(size=9), "size: got 9"),
    ("regbench", dict(nodes=3), "nodes and letters"),
])
def test_a_difficulty_that_cannot_be_is_named(name, options, says):
    with pytest.raises(ValueError, match=says):
        TASKS[name](**options)


def test_a_name_is_taken_once():
    from deltanet_edu.tasks import Task, task

    with pytest.raises(ValueError, match="'mqar' is already the name of MQAR"):
        task("mqar")(type("Another", (Task,), {}))


def test_documents_in_all_forms():
    table, markup, prose = (Documents(form=form).T for form in ("table", "markup", "prose"))
    assert Documents().T == max(table, markup, prose) and table < prose
