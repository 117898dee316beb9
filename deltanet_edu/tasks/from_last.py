"""Answers for every position from the output of the last one alone: does that hold the whole sequence?"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..layers.rotary import check_rotary, rotate
from ..lm.loss import IGNORED


class FromLast(nn.Module):
    """A head that looks at the last output only:  scores_t = MLP(x_T + p_t), with sines and cosines of t for p_t.

    The decoder of MAD's compression: without the last output it knows nothing but which position is asked. One hidden
    layer, 4D wide.
    """

    def __init__(self, d_model, vocab):
        super().__init__()
        check_rotary(d_model, 10_000.0, value=d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, vocab))

    def forward(self, x):
        """x: (B, T, D) -> (B, T, vocab)."""
        half = x.new_ones(x.shape[2] // 2)
        start = torch.cat([half, 0 * half]).expand(x.shape[1], -1)       # (T, D)
        positions = rotate(start, torch.arange(x.shape[1], device=x.device))         # (T, D)  cosines, then sines
        return self.mlp(x[:, -1:] + positions)

    def loss(self, x, targets):
        """Mean negative log-probability of the targets that are not -100, in nats.    x: (B, T, D), targets: (B, T)."""
        return F.cross_entropy(self(x).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
