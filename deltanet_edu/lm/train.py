"""The training loop, for the command line and for the lesson alike."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ..records import whole_file
from .checkpoint import Log, RunError, load_checkpoint, refuse_if_different, save_checkpoint
from .config import Config
from .corpus import load_corpus
from .data import Batches, Data
from .evaluate import bits_per_character
from .model import LanguageModel
from .tokenizer import Tokenizer


@dataclass
class Run:
    """A model, what it was trained on, and what happened."""

    config: Config
    model: LanguageModel
    data: Data
    log: list                                                            # one dict a step: step, loss, seconds, sometimes held_out


def train(config, folder=None, *, resume=False, data=None, progress=None, save_every=100, evaluate_every=100, held_out_share=0.1):
    """Train a language model.

    Args:
        config: a Config. With the text it decides every number that follows, on one machine with one number of threads.
        folder: where to keep config.json, log.jsonl and checkpoint.pt; None keeps nothing.
        resume: continue from the folder's checkpoint, which must be of this very configuration and text. The result is
            bit for bit that of a run that was never interrupted.
        data: a Data prepared before, to save the seconds that tokenizing takes.
        progress: called with the log entry of every step; see `progress.py`.
        save_every, evaluate_every: in steps. held_out_share: the part of the held-out text used for the curve.
    """
    folder = Path(folder) if folder else None
    saved = open_run(folder, config, resume)
    if data is None:
        data = Data.prepare(load_corpus(config.corpus), config.vocab, Tokenizer.from_json(saved["tokenizer"]) if saved else None)
    if folder and not saved:                                             # not before the text has proved usable
        with whole_file(folder / "config.json") as file:
            json.dump(config.to_dict(), file, indent=1)
    torch.manual_seed(config.seed)
    model = LanguageModel(config)
    optimizers = build_optimizers(model, config)
    batches = Batches(data.train, config.batch, config.length, config.seed)
    step, seconds = 0, 0.0
    if saved:
        refuse_if_different(folder, {"corpus": saved["corpus"]}, {"corpus": data.fingerprint})
        step, seconds = restore(saved, model, optimizers)
    log, started = Log(folder, step), time.perf_counter() - seconds

    try:
        for step in range(step + 1, config.steps + 1):
            loss = training_step(model, optimizers, batches[step - 1], rate(step, config), config.clip)
            entry = {"step": step, "loss": loss}
            if step % evaluate_every == 0 or step == config.steps:
                entry["held_out"] = bits_per_character(model, data.held_out, held_out_share)
            entry["seconds"] = round(time.perf_counter() - started, 2)
            log.add(entry)
            if folder and (step % save_every == 0 or step == config.steps):
                save_checkpoint(folder, config=config.to_dict(), corpus=data.fingerprint, tokenizer=data.tokenizer.to_json(),
                                step=step, seconds=entry["seconds"], model=model.state_dict(), rng=torch.get_rng_state(),
                                optimizers=[optimizer.state_dict() for optimizer in optimizers])
            if progress:
                progress(entry)
    finally:
        log.close()
    return Run(config, model, data, log.entries)


def training_step(model, optimizers, tokens, rate, clip):
    """One step on tokens: (B, T + 1). Returns the loss before it, in nats a token."""
    loss = model.loss(tokens)
    if not torch.isfinite(loss):
        raise FloatingPointError(f"The loss is {loss.item()}: training has diverged. Use smaller learning rates (lr, adam_lr).")
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def rate(step, config):
    """The share of the peak learning rates at step 1, 2, ..., steps: up along a line, down along half a cosine to a twentieth."""
    warmup = max(1, round(config.warmup * config.steps))
    if step <= warmup:
        return step / warmup
    done = (step - warmup) / max(1, config.steps - warmup)               # 0 to 1
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def build_optimizers(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, head, norms, convolutions and write strengths.

    AdamW scales every weight on its own. Muon replaces the momentum of a matrix by the nearest matrix with orthonormal
    rows or columns, roughly, so that all its directions move equally fast.
    """
    if not hasattr(torch.optim, "Muon"):
        raise RuntimeError(f"Training needs PyTorch 2.9 or later, which brings the optimizer Muon; this is {torch.__version__}. "
                           f"Upgrade with: pip install --upgrade torch")
    matrices = [m.weight for m in model.blocks.modules() if isinstance(m, torch.nn.Linear) and len(m.weight) > config.heads]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    optimizers = [torch.optim.Muon(matrices, config.lr, weight_decay=config.weight_decay),
                  torch.optim.AdamW(others, config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def open_run(folder, config, resume):
    """Check the folder of a run; return the checkpoint to continue from, or None to start at step 0."""
    if folder is None:
        if resume:
            raise RunError("resume: there is nothing to resume without a run folder.")
        return None
    settings = folder / "config.json"
    if not resume:
        if (folder / "checkpoint.pt").exists():
            raise RunError(f"{folder}: there is a run in it already. Continue it with --resume, or choose another name with --run.")
        return None
    if not settings.is_file():
        raise RunError(f"{folder}: there is no run to resume here (no config.json). Start one without --resume.")
    refuse_if_different(folder, json.loads(settings.read_text(encoding="utf-8")), config.to_dict())
    if not (folder / "checkpoint.pt").exists():
        return None                                                      # it was stopped before its first checkpoint: from the start
    saved = load_checkpoint(folder)
    refuse_if_different(folder, saved["config"], config.to_dict())
    return saved


def restore(saved, model, optimizers):
    """Put everything back as it was when the checkpoint was written. Returns the step and the seconds spent so far."""
    model.load_state_dict(saved["model"])
    for optimizer, state in zip(optimizers, saved["optimizers"]):
        optimizer.load_state_dict(state)
    torch.set_rng_state(saved["rng"])
    return saved["step"], saved["seconds"]


def load_run(folder):
    """(config, model, tokenizer, step) of a run's last checkpoint, ready to measure or to generate with."""
    saved = load_checkpoint(folder)
    config = Config(**saved["config"])
    model = LanguageModel(config)
    model.load_state_dict(saved["model"])
    return config, model.eval(), Tokenizer.from_json(saved["tokenizer"]), saved["step"]
