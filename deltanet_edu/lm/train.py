"""The training loop, for the command line and for the lesson alike."""

import contextlib
import time
from dataclasses import dataclass

import torch

from .config import Config
from .corpus import load_corpus
from .data import Data
from .device import find_place
from .graphed import GraphedStep
from .model import LanguageModel
from .optimizer import build_optimizers, rate
from .run_folder import RunError, RunFolder, load_checkpoint, refuse_if_different
from .tokenizer import Tokenizer


@dataclass
class Run:
    """A model, what it was trained on, and what happened."""

    config: Config
    model: LanguageModel
    data: Data
    log: list                                                            # a dict a step: step, loss, seconds, held_out

    @property
    def steps(self):
        """How many steps were made; fewer than config.steps if the time was up."""
        return self.log[-1]["step"] if self.log else 0


def train(config, folder=None, *, resume=False, data=None, progress=None, save_every=100, evaluate_every=100,
          held_out_share=0.1, seconds=None, device="auto", precision="auto", graph=False, say=print):
    """Train a language model.

    Args:
        config: a Config. With the text it decides every number that follows, on one machine with one number of threads.
        folder: where to keep config.json, log.jsonl and checkpoint.pt; None keeps nothing.
        resume: continue from the folder's checkpoint, which must be of this configuration and text. The result is that
            of a run that was never interrupted, on a CPU bit for bit. Only config.steps may change: see `longer`.
        data: a Data prepared before, to save the seconds that tokenizing takes; or something else that has its
            batches, measure, enough, fingerprint and tokenizer.
        progress: called with the log entry of every step; see `progress.py`.
        save_every, evaluate_every: in steps. held_out_share: the part of the held-out text used for the curve.
        seconds: stop after about so many, with a last measurement and checkpoint, and say how far it came.
        device, precision: see `find_place`.    graph: on a GPU, steps as a `GraphedStep`.
        say: called with each line that a reader should see.
    """
    place, files = find_place(device, precision), RunFolder(folder)
    try:
        saved = files.open(config, resume)
        if data is None:
            tokenizer = Tokenizer.from_json(saved["tokenizer"]) if saved else None
            data = Data.prepare(load_corpus(config.corpus), config.vocab, tokenizer)
        torch.manual_seed(config.seed)
        model = LanguageModel(config).to(place.device)
        optimizers = build_optimizers(model, config)
        batches = data.batches(config)
        step, spent = 0, 0.0
        if saved:
            refuse_if_different(folder, {"corpus": saved["corpus"]}, {"corpus": data.fingerprint})
            step, spent = restore(saved, model, optimizers)
            if config.steps != saved["config"]["steps"]:
                say(longer(step, type(config)(**saved["config"]), config))
        files.start(config, step)                                        # not before the text has proved usable
        started, learned = time.perf_counter(), False
        one_step = GraphedStep() if graph and place.device.type == "cuda" else training_step

        for step in range(step + 1, config.steps + 1):
            batch = place.take(batches[step - 1])
            loss = one_step(model, optimizers, batch, rate(step, config), config.clip, place.autocast())
            entry = {"step": step, "loss": loss}
            time_is_up = seconds is not None and time.perf_counter() - started > seconds
            last = step == config.steps or time_is_up
            if step % evaluate_every == 0 or last:
                entry["held_out"] = data.measure(model, held_out_share)
                learned = data.enough(entry["held_out"])
                last = last or learned
            entry["seconds"] = round(spent + time.perf_counter() - started, 2)
            files.add(entry)
            if folder and (step % save_every == 0 or last):
                files.save(config=config.to_dict(), corpus=data.fingerprint,
                           tokenizer=data.tokenizer and data.tokenizer.to_json(), step=step, seconds=entry["seconds"],
                           model=model.state_dict(), rng=torch.get_rng_state(),
                           optimizers=[optimizer.state_dict() for optimizer in optimizers])
            if progress:
                progress(entry)
            if learned:
                break
            if time_is_up and step < config.steps:
                say(f"The time is up: {step:,} of {config.steps:,} steps in {seconds:,} s. The learning rate had not "
                    "come down yet, so the model is worse than that of a whole run.")
                break
    finally:
        files.close()
    return Run(config, model, data, files.entries)


def training_step(model, optimizers, batch, rate, clip, autocast=contextlib.nullcontext()):
    """One step on a batch, the arguments of `model.loss`. Returns the loss before it, in nats a token."""
    with autocast:
        loss = model.loss(*batch)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"The loss is {loss.item()}: training has diverged. "
                                 "Use smaller learning rates (lr, adam_lr).")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def restore(saved, model, optimizers):
    """Put everything back as it was when the checkpoint was written. Returns the step and the seconds spent so far."""
    model.load_state_dict(saved["model"])
    for optimizer, state in zip(optimizers, saved["optimizers"]):
        optimizer.load_state_dict(state)
    torch.set_rng_state(saved["rng"])
    return saved["step"], saved["seconds"]


def longer(step, before, now):
    """What it means to resume a run with another number of steps."""
    if step == 0:
        return f"{now.steps:,} steps instead of {before.steps:,}, from the start."
    return (f"{now.steps:,} steps instead of {before.steps:,}: from step {step + 1:,} on, the learning rate follows "
            f"the schedule of {now.steps:,} steps, and goes from {rate(step, before):.0%} to {rate(step + 1, now):.0%} "
            f"of its peak. The result is not that of one run of {now.steps:,} steps.")


def load_run(folder, device="cpu"):
    """(config, model, tokenizer, step) of a run's last checkpoint, ready to measure or to generate with."""
    saved = load_checkpoint(folder)
    try:
        config = Config(**saved["config"])
        model = LanguageModel(config)
        model.load_state_dict(saved["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise RunError(f"{folder}: its checkpoint does not fit this version of deltanet-edu ({said}). "
                       "Start a new run.") from None
    return config, model.to(find_place(device).device).eval(), Tokenizer.from_json(saved["tokenizer"]), saved["step"]
