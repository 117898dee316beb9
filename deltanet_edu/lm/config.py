"""Everything that decides what a training run computes: two runs with equal configurations and texts give equal weights."""

import math
from dataclasses import asdict, dataclass, fields
from numbers import Real

from ..layers.mixer import FEATURE_MAPS, NORMS
from .model import MIXERS
from .tokenizer import BYTES


@dataclass(frozen=True)
class Config:
    # the text
    corpus: str = "auto"             # "books", "stories", "auto" or the path of a text file
    vocab: int = 1024                # tokens; 256 are the bytes, the others are learned
    # the model
    mixer: str = "delta"             # "delta" or "linear"
    layers: int = 2
    d_model: int = 128               # D, the width of the residual stream
    heads: int = 2                   # H; a head is D / H wide
    mlp_hidden: int | None = None    # None: 8D / 3, rounded up to a multiple of 64
    conv_size: int = 4               # taps of the short convolution; 0 leaves it out
    feature_map: str = "silu"        # of queries and keys
    norm: str = "l2"                 # of queries and keys
    beta_max: float = 1.0            # write strengths lie in (0, beta_max)
    # the training
    steps: int = 1200
    batch: int = 8                   # B, windows a step
    length: int = 128                # T, tokens a window
    lr: float = 0.02                 # of Muon, for the matrices of the blocks
    adam_lr: float = 0.003           # of AdamW, for everything else
    warmup: float = 0.05             # share of the steps in which the learning rates rise; then they fall along a cosine
    weight_decay: float = 0.1
    clip: float = 1.0                # largest norm of the gradient
    seed: int = 0

    def __post_init__(self):
        for field in fields(self):
            check_type(field.name, getattr(self, field.name), field.type)
        for name in ("layers", "d_model", "heads", "steps", "batch", "length"):
            require(getattr(self, name) >= 1, name, self, "a positive integer")
        require(self.vocab >= BYTES, "vocab", self, f"at least {BYTES}, one token for each byte")
        require(self.mixer in MIXERS, "mixer", self, "one of " + ", ".join(map(repr, MIXERS)))
        require(self.feature_map in FEATURE_MAPS, "feature_map", self, "one of " + ", ".join(map(repr, FEATURE_MAPS)))
        require(self.norm in NORMS, "norm", self, "one of " + ", ".join(map(repr, NORMS)))
        require(self.d_model % self.heads == 0, "d_model", self, f"a multiple of heads = {self.heads}")
        require(self.mlp_hidden is None or self.mlp_hidden >= 1, "mlp_hidden", self, "a positive integer or None")
        require(self.conv_size >= 0, "conv_size", self, "the number of taps, or 0 for no convolution")
        require(0 < self.beta_max <= 2, "beta_max", self, "a number in (0, 2]; above 2 a write makes its error larger")
        for name in ("lr", "adam_lr", "clip"):
            require(0 < getattr(self, name) < math.inf, name, self, "a positive number")
        require(0 <= self.weight_decay < math.inf, "weight_decay", self, "a number of at least 0")
        require(0 <= self.warmup < 1, "warmup", self, "a share of the steps, in [0, 1)")
        require(0 <= self.seed < 2**31, "seed", self, "an integer from 0 to 2147483647")

    def to_dict(self):
        return asdict(self)


def check_type(name, value, wanted):
    wants = {int: "an integer", float: "a number", str: "a string", int | None: "an integer or None"}[wanted]
    ok = {int: isinstance(value, int), float: isinstance(value, Real), str: isinstance(value, str),
          int | None: value is None or isinstance(value, int)}[wanted]
    if not ok or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected {wants}.")


def require(condition, name, config, expected):
    if not condition:
        raise ValueError(f"{name}: got {getattr(config, name)!r}, expected {expected}.")
