"""The moving average of the weights: what is measured and kept, while the training goes on with the weights."""

from dataclasses import replace

import pytest
import torch

from deltanet_edu.lm.distributed import Team
from deltanet_edu.lm.device import find_place
from deltanet_edu.lm.run_folder import load_checkpoint
from deltanet_edu.lm.train import Trainer, load_run, train

from .test_train import weights


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_is_the_average_of_the_weights_after_each_step(tiny, data, optimizer):
    config = replace(tiny, steps=8, optimizer=optimizer, average=0.7)
    trainer, average = Trainer(config, data, Team(0, 1, False, find_place("cpu"))), None
    for step in range(1, 9):
        trainer.step(step)
        now = weights(trainer).double()
        average = now if step == 1 else 0.7 * average + 0.3 * now
        with trainer.averaged():
            torch.testing.assert_close(weights(trainer).double(), average, rtol=1e-6, atol=1e-7)
        assert torch.equal(weights(trainer).double(), now)
    assert (average - now).norm() > 1e-3 * now.norm()


def test_training_is_the_same_and_what_is_kept_is_the_average(tiny, data, tmp_path):
    config = replace(tiny, steps=12)
    how = dict(data=data, device="cpu", evaluate_every=6)
    plain, averaged = train(config, **how), train(replace(config, average=0.8), tmp_path, keep_best=True, **how)
    assert [entry["loss"] for entry in averaged.log] == [entry["loss"] for entry in plain.log]
    assert averaged.log[-1]["held_out"] != plain.log[-1]["held_out"]
    assert averaged.log[-1]["held_out"] == pytest.approx(data.measure(averaged.model, 0.1))
    kept = load_run(tmp_path)[1]
    assert torch.equal(weights(averaged), weights(replace(averaged, model=kept)))
    last = load_checkpoint(tmp_path)["optimizers"][-1]["state"]          # of the average: the weights themselves
    assert torch.equal(weights(plain), torch.cat([last[number]["average"].flatten() for number in order(averaged)]))


def order(run):
    """The numbers that the parameters of a run's model, in their order, have in its last optimizer."""
    trainer = Trainer(run.config, run.data, Team(0, 1, False, find_place("cpu")))
    number = {p: n for n, p in enumerate(trainer.optimizers[-1].param_groups[0]["params"])}
    return [number[p] for p in trainer.model.parameters()]


def test_a_step_that_fails_while_averaged_leaves_the_weights(tiny, data):
    trainer = Trainer(replace(tiny, average=0.5), data, Team(0, 1, False, find_place("cpu")))
    trainer.step(1), trainer.step(2)
    before = weights(trainer)
    with pytest.raises(KeyboardInterrupt), trainer.averaged():
        raise KeyboardInterrupt
    assert torch.equal(weights(trainer), before)
    with pytest.raises(ValueError, match=r"average: got 1.0, expected a number in \[0, 1\)"):
        replace(tiny, average=1.0)
