"""The training loop, for the command line and for the lesson alike."""

import contextlib
import time
from dataclasses import dataclass

import torch

from .config import Config
from .data import Data, load_data, split
from .device import find_place
from .distributed import join
from .graphed import GraphedStep
from .interruption import Interruption, Terminated
from .model import LanguageModel
from .optimizer import build_optimizers, rate
from .run_folder import BEST, CHECKPOINT, RunError, RunFolder, load_checkpoint, refuse_if_different
from .speed import Speed
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


def train(config, folder=None, *, resume=False, data=None, progress=None, save_every=100, evaluate_every=200,
          held_out_share=0.1, keep_best=False, seconds=None, device="auto", precision="auto", compile=False,
          accumulate=1, shard=False, graph=False, say=print):
    """Train a language model. Under torchrun, every process calls this, and they train one model together.

    Args:
        config: a Config. With the text it decides every number that follows, on one machine with one number of threads.
        folder: where to keep config.json, log.jsonl and checkpoint.pt; None keeps nothing.
        resume: continue from the folder's checkpoint, which must be of this configuration and text. The result is that
            of a run that was never interrupted, on a CPU bit for bit. Only config.steps may change: see `longer`.
        data: a Data prepared before, to save the seconds that tokenizing takes; or something else that has its
            batches, measure, enough, goal, fingerprint and tokenizer.
        progress: called with the log entry of every step; see `progress.py`.
        save_every, evaluate_every: in steps. held_out_share: the part of the held-out text used for the curve.
        keep_best: also keep best.pt, the weights at the best of these measurements.
        seconds: stop after about so many, with a last measurement and checkpoint, and say how far it came.
        device, precision: see `find_place`.    compile: with torch.compile.    graph: on a GPU, steps as a
            `GraphedStep`.    accumulate: compute a batch in so many parts, one after the other, to need less memory.
        shard: of several processes, each keeps its part of the model only; see `distributed.join`.
        say: called with each line that a reader should see.
    Raises Terminated, once all is saved, if the process is asked to end (SIGTERM).
    """
    with join(find_place(device, precision), shard) as team, Interruption() as interruption, contextlib.closing(
            RunFolder(folder, writes=team.rank == 0)) as files:
        saved = team.in_turn(files.open, config, resume)
        data = data or load_data(config, saved and saved["tokenizer"])
        trainer = Trainer(config, data, team, accumulate=accumulate, compile=compile, graph=graph)
        step, spent = 0, 0.0
        if saved:
            refuse_if_different(folder, {"corpus": saved["corpus"]}, {"corpus": data.fingerprint})
            team.load_state(saved, trainer.model, trainer.optimizers)
            trainer.swap()
            step, spent = saved["step"], saved["seconds"]
            if config.steps != saved["config"]["steps"]:
                say(longer(step, type(config)(**saved["config"]), config))
        team.in_turn(files.start, config, step)                          # not before the text has proved usable
        about = dict(config=config.to_dict(), corpus=data.fingerprint,
                     tokenizer=data.tokenizer and data.tokenizer.to_json())
        started = time.perf_counter()

        for step in range(step + 1, config.steps + 1):
            loss, speed = trainer.step(step)
            late = seconds is not None and time.perf_counter() - started > seconds
            loss, late, terminated = team.mean(loss, late, interruption.asked)      # above 0 if true for anybody
            entry, learned = {"step": step, "loss": loss, **speed}, False
            last = step == config.steps or late
            if step % evaluate_every == 0 or last:
                entry["held_out"] = trainer.measure(held_out_share)
                learned = data.enough(entry["held_out"])
            entry["seconds"] = round(spent + time.perf_counter() - started, 2)
            about |= dict(step=step, seconds=entry["seconds"])
            if folder and keep_best and files.is_best(entry, data.goal):
                with trainer.averaged():
                    files.save(BEST, **about, **team.state_of(trainer.model, []))
            files.add(entry)
            if folder and (step % save_every == 0 or last or learned or terminated):
                with trainer.averaged():
                    files.save(CHECKPOINT, **about, **team.state_of(trainer.model, trainer.optimizers))
            if progress:
                progress(entry)
            if terminated:
                raise Terminated
            if late and step < config.steps:
                say(f"The time is up: {step:,} of {config.steps:,} steps in {seconds:,} s. The learning rate had not "
                    "come down yet, so the model is worse than that of a whole run.")
            if learned or late:
                break
        trainer.swap()
        return Run(config, team.whole(trainer.model.eval(), config), data, files.entries)


class Trainer:
    """A model and all that changes with it. To `training_step` it is the model: it has its loss and its parameters."""

    def __init__(self, config, data, team, *, accumulate=1, compile=False, graph=False):
        if accumulate < 1 or config.batch % (team.size * accumulate):
            raise ValueError(f"batch: got {config.batch}, expected a multiple of {team.size * accumulate}: there are "
                             f"processes = {team.size} with accumulate = {accumulate} parts each.")
        if team.shard and config.optimizer == "muon":
            raise ValueError('optimizer: got "muon", which needs whole matrices. Shard with "adamw", or do not shard.')
        self.config, self.data, self.team, self.accumulate = config, data, team, accumulate
        torch.manual_seed(config.seed)
        self.model = LanguageModel(config).to(team.place.device)
        self.shared_loss, self.synchronize = team.share(self.model, compile)
        self.compiled, self.parameters = compile, self.model.parameters
        self.optimizers = build_optimizers(self.model, config)           # after `share`, which may replace parameters
        self.batches = data.batches(config, team.rank, team.size)
        self.speed, self.losses = Speed(config, self.model, team), 0
        self.one_step = GraphedStep() if graph and team.place.device.type == "cuda" else training_step

    def loss(self, *batch):
        self.losses += 1
        self.synchronize(self.losses % self.accumulate == 0)             # with the last part of a batch
        return self.shared_loss(*batch)

    def step(self, n):
        """Step n = 1, 2, ... Returns the loss of this process, and how fast it was. What is random in a model depends
        on the seed, the process and n alone, so that a resumed run draws the same."""
        started, place = time.perf_counter(), self.team.place
        torch.manual_seed(1_000_003 * self.config.seed + n + 0x9E3779B9 * self.team.rank)        # a CPU keeps 32 bits
        parts = [place.take(self.data.arrange(part)) for part in split(self.batches[n - 1], self.accumulate)]
        loss = self.one_step(self, self.optimizers, parts, rate(n, self.config), self.config.clip, place.autocast())
        return loss, self.speed(time.perf_counter() - started)

    def measure(self, share):
        """What `data` measures on what is held out, never compiled: here the model sees other shapes."""
        self.model.eval()
        with self.averaged(), torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext():
            measured = self.data.measure(self.model, share)
        self.model.train()
        return self.team.mean(measured)[0]

    def swap(self):
        """The weights and their averages change places, if there are averages."""
        if self.config.average:
            if self.team.shard:
                self.model.reshard()                                     # its root stays whole after a forward pass
            self.optimizers[-1].swap()

    @contextlib.contextmanager
    def averaged(self):
        """In here the model has the averages. A checkpoint's model has them as well, its optimizer the weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


def training_step(model, optimizers, batches, rate, clip, autocast=contextlib.nullcontext()):
    """One step on a batch, given in one or more equal parts, each the arguments of `model.loss`. Returns the loss
    before it, in nats a token."""
    total = 0.0
    for batch in batches:
        with autocast:
            loss = model.loss(*batch) / len(batches)
        loss.backward()
        total += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        optimizer.step()
        optimizer.zero_grad()
    if not torch.isfinite(total):
        raise FloatingPointError(f"The loss is {total.item()}: training has diverged. "
                                 "Use smaller learning rates (lr, adam_lr).")
    return total.item()


def longer(step, before, now):
    """What it means to resume a run with another number of steps."""
    if step == 0:
        return f"{now.steps:,} steps instead of {before.steps:,}, from the start."
    falling = f" bpe_dropout, too, falls to 0 in {now.steps:,} steps now." if now.bpe_dropout else ""
    return (f"{now.steps:,} steps instead of {before.steps:,}: from step {step + 1:,} on, the learning rate follows "
            f"the schedule of {now.steps:,} steps, and goes from {rate(step, before):.0%} to {rate(step + 1, now):.0%} "
            f"of its peak.{falling} The result is not that of one run of {now.steps:,} steps.")


def load_run(folder, device="cpu", best=False):
    """(config, model, tokenizer, step) of a run's last checkpoint, or of its best, ready to measure or to generate."""
    saved = load_checkpoint(folder, BEST if best else CHECKPOINT)
    try:
        config = Config(**saved["config"])
        model = LanguageModel(config)
        model.load_state_dict(saved["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise RunError(f"{folder}: its checkpoint does not fit this version of deltanet-edu ({said}). "
                       "Start a new run.") from None
    return config, model.to(find_place(device).device).eval(), Tokenizer.from_json(saved["tokenizer"]), saved["step"]
