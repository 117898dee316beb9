"""What DeltaNet and its linear relatives share: everything around the rule (paper, section 3.3)."""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..checks import one_of
from ..ops.common import unit
from .convolution import ShortConvolution
from .mixer import Mixer, bytes_of, check_part, integer


def elu_plus_1(x):
    return F.elu(x) + 1


def identity(x):
    return x


# Named functions, so that a layer can be pickled.
FEATURE_MAPS = {"silu": F.silu, "relu": F.relu, "elu+1": elu_plus_1, "identity": identity}
NORMS = {"l2": partial(unit, p=2), "l1": partial(unit, p=1), "none": identity}


class State(NamedTuple):
    """All that such a mixer remembers of N sequences. Its size does not depend on how long they were."""

    conv: torch.Tensor | None                                            # (N, size - 1, 3D)  its last inputs
    S: torch.Tensor | None                                               # (N, H, V, K)       the memory

    nbytes = property(bytes_of)


class FastWeights(Mixer):
    """Project, convolve, activate, normalize; the rule; normalize each head; project. No biases, no positions.

    A subclass supplies `rule(x, q, k, v, S, cu_seqlens) -> (o, S)`. Here K = V = D / H, the width of a head.
    Parameters: 3D^2 + D^2 for the projections, 12D for the convolution, D / H for the norm, and what the rule needs.
    """

    State = State

    def __init__(self, d_model, heads, *, conv_size=4, feature_map="silu", norm="l2"):
        super().__init__(d_model, heads)
        integer("conv_size", conv_size, least=0)
        one_of("feature_map", feature_map, FEATURE_MAPS)
        one_of("norm", norm, NORMS)
        self.norm, self.activate, self.normalize = norm, FEATURE_MAPS[feature_map], NORMS[norm]
        self.to_qkv = nn.Linear(d_model, 3 * d_model, bias=False)        # W_q, W_k and W_v, one above the other
        self.conv = ShortConvolution(3 * d_model, conv_size) if conv_size else None
        self.out_norm = nn.RMSNorm(d_model // heads, eps=1e-5)
        self.to_out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        """x: (B, T, D), state: what an earlier call has returned (None: nothing seen yet). Returns y: (B, T, D), State.

        cu_seqlens: (N + 1,) integers [0, c_1, ..., T]: N sequences packed end to end in one row, B = 1. None of them
        sees another, and the state has N entries. Without it every row is a sequence, N = B.
        """
        self.check(x, state, cu_seqlens)
        conv_cache, S = state or State(None, None)
        z = self.to_qkv(x)                                               # (B, T, 3D)
        if self.conv:
            z, conv_cache = self.conv(z, conv_cache, cu_seqlens)
        q, k, v = z.unflatten(-1, (3, self.heads, -1)).unbind(2)         # (B, T, H, K) twice, (B, T, H, V)
        q, k = self.normalize(self.activate(q)), self.normalize(self.activate(k))
        o, S = self.rule(x, q, k, F.silu(v), S, cu_seqlens)              # (B, T, H, V), (N, H, V, K)
        o = self.out_norm(o.to(self.out_norm.weight.dtype))              # float32, also under autocast
        return self.to_out(o.flatten(-2)), State(conv_cache, S)

    def check_state(self, state, sequences):
        D, width = self.d_model, self.d_model // self.heads
        check_part(state, "conv", (sequences, len(self.conv.weight) - 1 if self.conv else 0, 3 * D))
        check_part(state, "S", (sequences, self.heads, width, width))

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        raise NotImplementedError(f"{type(self).__name__} is a mixer without a rule.")
