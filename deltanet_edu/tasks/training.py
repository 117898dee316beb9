"""Training on a task, by the loop that trains on text."""

import json

import torch

from ..lm.device import device_of
from ..lm.train import train
from .definition import IGNORED, accuracy
from .from_last import FromLast

TRAIN, TEST = 0, 1                                                       # sequences of one are never those of the other


class TaskData:
    """What the loop asks of a text, answered by a task: batches without end, and a test that is never trained on."""

    unit, goal, tokenizer = "of the answers right", max, None

    def __init__(self, config):
        self.task, self.test, self.config = config.build(), config.build_test(), config
        self.fingerprint = json.dumps([config.task, config.difficulty, config.test, config.test_difficulty],
                                      sort_keys=True)

    def batches(self, config, part=0, parts=1):
        if parts > 1:
            raise ValueError(f"processes: got {parts}, but a task is trained by one. Start a sweep instead.")
        return TaskBatches(self.task, config.batch, config.seed)

    def arrange(self, batch):
        return batch

    def enough(self, measured):
        return measured >= self.config.stop

    def measure(self, model, share=1.0):
        """Share of the answers of the test that are right. The whole test, always: it is small."""
        return score(model, self.test, self.config.test, self.config.seed)


class TaskBatches:
    """Batch number n, for any n, without the ones before it: (tokens, targets, and where it is asked, if at few)."""

    def __init__(self, task, batch, seed):
        self.task, self.batch, self.seed = task, batch, seed
        self.asked = None                                                # how many of a sequence, if always as many

    def __getitem__(self, step):
        tokens, targets, _ = self.task.batch(self.batch, generator(self.seed, TRAIN, step), train=True)
        asked = targets != IGNORED                                       # (B, T)
        counts = set(asked.sum(1).tolist()) | {self.asked} - {None}
        self.asked = counts.pop() if len(counts) == 1 else tokens.shape[1]
        if self.asked == tokens.shape[1] or self.task.from_last:
            return tokens, targets
        return tokens, targets, asked.int().topk(self.asked, dim=1, sorted=False).indices


def generator(seed, purpose, n):
    """One for each seed, purpose and number: SplitMix64's steps of these three, so that no two streams are alike."""
    state = (seed * 2 + purpose) * 0x9E3779B97F4A7C15 + n * 0xBF58476D1CE4E5B9
    return torch.Generator().manual_seed(state & 0x7FFF_FFFF_FFFF_FFFF)


@torch.no_grad()
def score(model, task, sequences=512, seed=0, batch=32):
    """Share of a model's answers to a task that are right. The task may be longer than what it was trained on."""
    device, right = device_of(model), 0.0
    for first in range(0, sequences, batch):
        asked = task.batch(min(batch, sequences - first), generator(seed, TEST, first))
        right += len(asked.tokens) * accuracy(answers(model, asked, device), asked)
    return right / sequences


def answers(model, batch, device):
    """What the model says where it is asked, -1 elsewhere: (B, T). Only there is a head used that is no FromLast."""
    asked = (batch.targets != IGNORED).int()                             # (B, T)
    if isinstance(model.head, FromLast):
        return model(batch.tokens.to(device))[0].argmax(-1).cpu().where(asked.bool(), -1)
    positions = asked.topk(int(asked.sum(1).max()), dim=1).indices       # (B, Q)
    logits, _ = model(batch.tokens.to(device), asked=positions.to(device))           # (B, Q, vocab)
    said = logits.argmax(-1).cpu()                                       # (B, Q)
    return torch.full_like(batch.tokens, -1).scatter_(1, positions, said)


def train_on_task(config, folder=None, **how):
    """Train a model on a task: `lm.train` with what the task makes. Its log's "held_out" is the share answered rightly.

    Args:
        config: a TaskConfig.    folder and everything else: as for `deltanet_edu.lm.train.train`.
    """
    return train(config, folder, data=TaskData(config), **how)
