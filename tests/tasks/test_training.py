"""Training on tasks: the same loop as for text, only what is asked counts, and nothing that was trained is lost."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.lm.run_folder import RunError
from deltanet_edu.tasks import IGNORED, TASKS, Task, accuracy
from deltanet_edu.tasks.config import TaskConfig
from deltanet_edu.tasks.sweep import combinations, sweep
from deltanet_edu.tasks.training import TEST, TaskBatches, answers, generator, score, train_on_task

TINY = TaskConfig(task="overwrite", difficulty=dict(vocab=16, keys=3, writes=2), d_model=16, heads=2, layers=1, batch=4,
                  steps=6, test=8, stop=2.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LanguageModel(TINY)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_only_what_is_asked_counts_and_the_head_may_skip_the_rest(name):
    config = TaskConfig(task=name, d_model=16, heads=2, layers=1)
    torch.manual_seed(0)
    model, (tokens, targets, *asked) = LanguageModel(config), TaskBatches(config.build(), 4, seed=0)[0]
    logits, _ = model(tokens)
    said = logits.log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    expected = -said[targets != IGNORED].mean()
    assert torch.allclose(model.loss(tokens, targets), expected, atol=1e-6)
    assert torch.allclose(model.loss(tokens, targets, *asked), expected, atol=1e-6)


def test_positions_that_are_asked_are_never_left_out():
    class Uneven(Task):
        def batch(self, n, g, train):
            targets = torch.full((n, 8), IGNORED)
            count = int(torch.randint(1, 4, (), generator=g))
            targets[:, :count] = 1
            return torch.zeros(n, 8, dtype=torch.long), targets, None
    batches = TaskBatches(Uneven(), 2, seed=0)
    for step in range(20):
        _, targets, *asked = batches[step]
        if asked:
            assert targets.gather(1, asked[0]).ne(IGNORED).sum() == targets.ne(IGNORED).sum()


def test_training_and_test_sequences_are_different_streams_and_any_batch_can_be_had_alone():
    task = TINY.build()
    batches = TaskBatches(task, 4, seed=0)
    first = [batches[n][0] for n in range(6)]
    assert torch.equal(TaskBatches(task, 4, seed=0)[5][0], first[5])
    assert not any(torch.equal(a, b) for i, a in enumerate(first) for b in first[:i])
    assert not torch.equal(TaskBatches(task, 4, seed=1)[0][0], first[0])


def test_answers_are_where_something_is_asked(model):
    batch = TINY.build().batch(8, torch.Generator().manual_seed(0))
    said = answers(model, batch, torch.device("cpu"))
    logits, _ = model(batch.tokens)
    asked = batch.targets != IGNORED
    assert torch.equal(said[asked], logits.argmax(-1)[asked]) and (said[~asked] == -1).all()
    test = TINY.build().batch(8, generator(0, TEST, 0))
    assert score(model, TINY.build(), 8) == pytest.approx(accuracy(model(test.tokens)[0], test), abs=1e-9)


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path):
    whole = train_on_task(TINY, evaluate_every=3)
    stopped = []

    def stop(entry):
        stopped.append(entry)
        if entry["step"] == 4:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        train_on_task(TINY, tmp_path, save_every=2, progress=stop, evaluate_every=3)
    resumed = train_on_task(TINY, tmp_path, resume=True, evaluate_every=3)
    assert [e["loss"] for e in resumed.log] == [e["loss"] for e in whole.log]
    for a, b in zip(resumed.model.parameters(), whole.model.parameters()):
        assert torch.equal(a, b)
    with pytest.raises(RunError, match="another run"):
        train_on_task(replace(TINY, difficulty=dict(vocab=16, keys=2, writes=2), length=None), tmp_path, resume=True)


def test_training_stops_when_nothing_is_left_to_learn():
    run = train_on_task(replace(TINY, stop=1e-9, steps=50), evaluate_every=2)
    assert run.steps < 50 and run.log[-1]["held_out"] >= 1e-9


@pytest.mark.parametrize("settings, said", [
    (dict(task="nothing"), "expected one of 'documents'"), (dict(difficulty=dict(pears=3)), "pears"),
    (dict(task="mqar", difficulty=dict(pairs=99)), "pairs: got 99"), (dict(vocab=99), "vocab: got 99"),
    (dict(corpus="books"), "corpus"), (dict(optimizer="sgd"), "optimizer"), (dict(mlp_hidden=-1), "mlp_hidden"),
    (dict(stop=0.0), "stop"), (dict(test_difficulty=dict(vocab=32)), "test_difficulty: got .*vocabulary of 32"),
    (dict(test_difficulty=dict(pears=3)), "pears"),
])
def test_what_does_not_fit_is_refused_by_name(settings, said):
    with pytest.raises(ValueError, match=said):
        TaskConfig(**settings)


def test_a_sweep_trains_every_combination_skips_what_is_done_and_refuses_other_settings(tmp_path):
    over, rows = {"mixer": ["delta", "linear"], "difficulty.keys": [2, 3]}, []
    first = sweep(TINY, over, tmp_path, on_row=lambda row, done, of: rows.append((row["mixer"], done, of)))
    assert [(row["mixer"], row["difficulty.keys"]) for row in first] == [("delta", 2), ("delta", 3),
                                                                         ("linear", 2), ("linear", 3)]
    assert rows == [("delta", 1, 4), ("delta", 2, 4), ("linear", 3, 4), ("linear", 4, 4)]
    assert sweep(TINY, over, tmp_path, on_row=lambda *_: pytest.fail("trained again")) == json.loads(json.dumps(first))
    with pytest.raises(ValueError, match="other settings"):
        sweep(replace(TINY, steps=3), over, tmp_path)
    with pytest.raises(ValueError, match="over: got 'colour'"):
        combinations(TINY, {"colour": [1]})


def test_the_command_trains_resumes_and_writes_json(tmp_path):
    command = ["task", "overwrite", "--difficulty", "keys=2", "--steps", "3", "--test", "8", "--batch", "4",
               "--d-model", "16", "--runs", str(tmp_path), "--over", "mixer=delta", "--over", "mixer=linear"]
    done = CliRunner().invoke(app, [*command, "--output", str(tmp_path / "found.json")])
    assert done.exit_code == 0 and "mixer linear" in done.output, done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["over"] == {"mixer": ["delta", "linear"]} and len(found["rows"]) == 2 and found["machine"]
    wrong = CliRunner().invoke(app, ["task", "owerwrite"])
    assert wrong.exit_code == 1 and "expected one of" in wrong.output


def test_compression_is_answered_from_the_last_output_alone():
    """A model that reads a token must not be asked for that token where it stands: copying it would be the answer."""
    config = TaskConfig(task="mad-compression", d_model=16, heads=2, layers=1)
    torch.manual_seed(0)
    model, task = LanguageModel(config), config.build()
    batch = task.batch(4, generator(0, TEST, 0))
    x = torch.randn(2, 5, 16)
    changed = torch.cat([x[:, :-1] + 1, x[:, -1:]], 1)
    assert torch.equal(model.head(x), model.head(changed)), "only the last output is looked at"
    scores = model.head(x)
    assert scores.shape == (2, 5, config.vocab) and not torch.allclose(scores[:, 0], scores[:, 3]), "each place differs"
    assert len(TaskBatches(task, 4, seed=0)[0]) == 2, "no position may be left out, least of all the last"
    said = answers(model, batch, torch.device("cpu"))
    asked = batch.targets != IGNORED
    assert torch.equal(said[asked], model(batch.tokens)[0].argmax(-1)[asked]) and (said[~asked] == -1).all()


def test_a_test_may_be_longer_than_what_was_trained_on(tmp_path):
    config = TaskConfig(task="parity", difficulty=dict(T=8), test_difficulty=dict(T=24), d_model=8, heads=1, layers=1,
                        steps=2, test=8, stop=2.0)
    assert config.length == 8 and config.build_test().T == 24
    row, = sweep(config, {"seed": [0]}, tmp_path)
    model = train_on_task(config).model
    assert row["accuracy"] == score(model, TASKS["parity"](T=24), 8) and row["settings"]["test_difficulty"] == {"T": 24}


def test_parity_needs_negative_eigenvalues():
    """β in (0, 2) tracks parity and goes on doing so at six times the length it was trained at; β in (0, 1) cannot."""
    def trained(beta_max):
        config = TaskConfig(task="parity", layers=1, steps=120, adam_lr=0.01, test=64, stop=2.0,
                            options=dict(beta_max=beta_max, conv_size=0))
        model = train_on_task(config, evaluate_every=60).model
        return score(model, TASKS["parity"](T=256), 64)
    assert trained(2.0) > 0.99
    assert trained(1.0) < 0.75


@pytest.mark.gpu
@pytest.mark.parametrize("mixer", ["delta", "attention", "gla"])
def test_a_graph_makes_the_steps_that_single_launches_make(mixer):
    config = replace(TINY, mixer=mixer, d_model=32, steps=12, adam_lr=0.01)
    runs = [train_on_task(config, device="cuda", precision="float32", graph=graph) for graph in (False, True)]
    one, other = ([entry["loss"] for entry in run.log] for run in runs)
    assert one == pytest.approx(other, rel=1e-4) and one[-1] < one[0]
