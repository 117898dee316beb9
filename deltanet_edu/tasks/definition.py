"""What a task is, and where it is found by name."""

from typing import NamedTuple

import torch

from ..lm.loss import IGNORED                                            # a target that is not asked for

TASKS = {}                                                              # name -> class, filled by the files themselves


def task(name):
    """Decorate a task, so that it is found by this name."""
    def add(cls):
        if name in TASKS and TASKS[name].__qualname__ != cls.__qualname__:
            raise ValueError(f"task: {name!r} is already the name of {TASKS[name].__name__}.")
        TASKS[name] = cls
        return cls
    return add


class Batch(NamedTuple):
    """Sequences and what is asked of them.

    tokens: (B, T), what a model reads.
    targets: (B, T), what it should say after each token, IGNORED where nothing is asked.
    allowed: (B, T, vocab), where several answers are right, otherwise None.
    """

    tokens: torch.Tensor
    targets: torch.Tensor
    allowed: torch.Tensor | None = None


class Task:
    """Sequences that ask something of a memory, made as they are needed.

    A task is decorated with `@task("name")`, takes its difficulty as keyword arguments, sets `vocab` and `T`, and has
      batch(n, g, train=False): a Batch of n sequences, drawn with the torch.Generator g, which decides them.
        Where a task trains on more than it asks, train=True gives those targets.
      oracle(batch): the right answers, (n, T): it scores 1.
      baseline(batch): answers, (n, T), without a memory, which a model must beat.
    from_last: whether all answers are to be given from the output of the last position alone.
    """

    vocab: int
    T: int
    from_last = False

    def batch(self, n, g, train=False):
        raise NotImplementedError(f"{type(self).__name__} makes no sequences.")

    def oracle(self, batch):
        raise NotImplementedError(f"{type(self).__name__} has no oracle.")

    def baseline(self, batch):
        raise NotImplementedError(f"{type(self).__name__} has no baseline.")


def accuracy(answers, batch):
    """Share of the asked positions of a Batch that are right. answers: (B, T) of tokens, or (B, T, vocab) of scores."""
    if answers.ndim == 3:
        answers = answers.argmax(-1)
    right = answers == batch.targets
    if batch.allowed is not None:
        right = batch.allowed.gather(2, answers.clamp(min=0)[:, :, None])[:, :, 0] & (answers >= 0)
    asked = batch.targets != IGNORED
    return (right & asked).sum().item() / max(1, asked.sum().item())


def draw_distinct(n, of, count, g):
    """n rows of `count` different numbers below `of`, in random order, every choice as likely: (n, count)."""
    return torch.rand(n, of, generator=g).topk(count, dim=1).indices


def draw_weighted(n, weights, count, g):
    """n rows of `count` different indices, drawn one by one with the chances `weights` among those left: (n, count).

    By the Gumbel trick: the largest of log-weights with Gumbel noise are such a draw, in its order.
    """
    noise = -torch.empty(n, len(weights)).exponential_(generator=g).log()
    return (weights.log() + noise).topk(count, dim=1).indices


def last_match(keys, values, asked):
    """What stands in `values` at the last place where `keys` holds the asked key; -1 where it does not: (B, Q).

    Args:
        keys, values: (B, N), in the order in which they were said.    asked: (B, Q).
    """
    same = asked[:, :, None] == keys[:, None, :]                        # (B, Q, N)
    when = torch.arange(1, keys.shape[1] + 1) * same                    # (B, Q, N)  0 where the key differs
    found, place = when.max(-1)                                         # (B, Q)
    return torch.where(found > 0, values.gather(1, place), -1)
