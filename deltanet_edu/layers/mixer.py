"""What DeltaNet and its linear relatives share: everything around the rule (paper, section 3.3)."""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..checks import one_of
from ..ops.common import unit
from .convolution import ShortConvolution


def elu_plus_1(x):
    return F.elu(x) + 1


def identity(x):
    return x


# Named functions, so that a layer can be pickled.
FEATURE_MAPS = {"silu": F.silu, "relu": F.relu, "elu+1": elu_plus_1, "identity": identity}
NORMS = {"l2": partial(unit, p=2), "l1": partial(unit, p=1), "none": identity}


class State(NamedTuple):
    """All that a mixer remembers of the past. Its size does not depend on how long the past is."""

    conv: torch.Tensor | None                                            # (B, size - 1, 3D)  the last inputs of the convolution
    S: torch.Tensor | None                                               # (B, H, V, K)       the memory


class Mixer(nn.Module):
    """Project, convolve, activate, normalize; the rule; normalize each head; project. No biases, no positions.

    A subclass supplies `rule(x, q, k, v, S) -> (o, S)`. Here K = V = D / H, the width of a head.
    Parameters: 3D^2 + D^2 for the projections, 12D for the convolution, D / H for the norm, and what the rule needs.
    """

    def __init__(self, d_model, heads, *, conv_size=4, feature_map="silu", norm="l2"):
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads: got {heads}, expected at least 1.")
        if d_model < 1 or d_model % heads:
            raise ValueError(f"d_model: got {d_model}, which {heads} heads do not divide. Take a multiple of {heads}.")
        one_of("feature_map", feature_map, FEATURE_MAPS)
        one_of("norm", norm, NORMS)
        self.heads, self.norm = heads, norm
        self.activate, self.normalize = FEATURE_MAPS[feature_map], NORMS[norm]
        self.to_qkv = nn.Linear(d_model, 3 * d_model, bias=False)        # W_q, W_k and W_v, one above the other
        self.conv = ShortConvolution(3 * d_model, conv_size) if conv_size else None
        self.out_norm = nn.RMSNorm(d_model // heads, eps=1e-5)
        self.to_out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None):
        """x: (B, T, D) and a State (None: nothing seen yet). Returns y: (B, T, D) and the next State."""
        self.check(x, state)
        conv_cache, S = state or State(None, None)
        z = self.to_qkv(x)                                               # (B, T, 3D)
        if self.conv:
            z, conv_cache = self.conv(z, conv_cache)
        q, k, v = z.unflatten(-1, (3, self.heads, -1)).unbind(2)         # (B, T, H, K) twice, (B, T, H, V)
        q, k = self.normalize(self.activate(q)), self.normalize(self.activate(k))
        o, S = self.rule(x, q, k, F.silu(v), S)                          # (B, T, H, V), (B, H, V, K)
        return self.to_out(self.out_norm(o).flatten(-2)), State(conv_cache, S)

    def check(self, x, state):
        """Raise TypeError or ValueError unless these can be what `forward` expects."""
        D = self.to_qkv.in_features
        if x.ndim != 3 or x.shape[2] != D:
            raise ValueError(f"x: got shape {tuple(x.shape)}, expected (B, T, {D}).")
        if state is not None and not isinstance(state, State):
            raise TypeError(f"state: got {type(state).__name__}, expected what an earlier call has returned, a State, or None.")
        B, width, taps = len(x), D // self.heads, len(self.conv.weight) if self.conv else 1
        for name, expected in (("conv", (B, taps - 1, 3 * D)), ("S", (B, self.heads, width, width))):
            part = getattr(state, name, None)
            if part is not None and part.shape != expected:
                raise ValueError(f"state.{name}: got shape {tuple(part.shape)}, expected {expected}: it is of other sequences or another layer.")

    def rule(self, x, q, k, v, S):
        raise NotImplementedError(f"{type(self).__name__} is a Mixer without a rule.")
