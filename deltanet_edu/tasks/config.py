"""All that decides what a training run on a task computes."""

from dataclasses import dataclass

from ..lm.config import WIDTH_OF_MLP, Config, count, positive, setting

# As in lm/config.py, nothing heavy is imported here.


@dataclass(frozen=True)
class TaskConfig(Config):
    """A Config whose text is a task. Vocabulary and length are the task's."""

    task: str = setting("overwrite", "What is asked: the name of a task.")
    difficulty: dict = setting({}, "What makes the task hard or easy, such as pairs=64.")
    test_difficulty: dict = setting({}, "What is other in the test than in training, such as T=256.")
    test: int = count(512, "Sequences of the test, which are never trained on.")
    stop: float = positive(0.999, "Stop when so large a share of the test is answered rightly; above 1: never.")

    corpus: str = setting("", "No text.", lambda name: name == "", "none: a task makes its own sequences")
    vocab: int | None = setting(None, "The task's.")
    length: int | None = setting(None, "The task's.")
    bpe_dropout: float = setting(0.0, "No text.", lambda x: x == 0, "0: a task is not made of merged tokens")
    d_model: int = count(32, "D, the width of the model.")
    mlp_hidden: int | None = setting(0, WIDTH_OF_MLP, lambda n: n is None or n >= 0, "None or an integer, 0 or more")
    batch: int = count(64, "B, sequences a step.")
    steps: int = count(600, "Training steps, at most.")
    adam_lr: float = positive(0.04, "Peak learning rate of AdamW; wider models want less.")
    optimizer: str = setting("adamw", '"adamw", or "muon" for the matrices of the blocks.',
                             lambda name: name in ("muon", "adamw"), "'muon' or 'adamw'")

    def __post_init__(self):
        task = self.build()
        for name, own in (("vocab", task.vocab), ("length", task.T)):
            if getattr(self, name) not in (None, own):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, but {self.task} has {own} here.")
            object.__setattr__(self, name, own)
        super().__post_init__()
        if self.test_difficulty and (there := self.build_test().vocab) != self.vocab:
            raise ValueError(f"test_difficulty: got {self.test_difficulty!r}, with which {self.task} has a vocabulary "
                             f"of {there}, expected that of the training, {self.vocab}.")

    def build_test(self):
        """The Task of the test."""
        return self.build(self.test_difficulty)

    def build_head(self):
        """A `Head`; for a task that asks everything of the last output, a `FromLast`."""
        if not self.build().from_last:
            return super().build_head()
        from .from_last import FromLast

        return FromLast(self.d_model, self.vocab)

    def build(self, other=None):
        """The Task, with what is `other` in its difficulty."""
        from . import TASKS

        if self.task not in TASKS:
            raise ValueError(f"task: got {self.task!r}, expected one of {', '.join(map(repr, sorted(TASKS)))}.")
        try:
            return TASKS[self.task](**self.difficulty | (other or {}))
        except TypeError as error:
            raise ValueError(f"difficulty: {self.task}: {error}.") from None
