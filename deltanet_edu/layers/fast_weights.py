"""What DeltaNet and its linear relatives share: everything around the rule (paper, section 3.3)."""

import math
from functools import partial
from numbers import Real
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..checks import one_of
from ..ops.common import unit
from .convolution import ShortConvolution
from .mixer import Mixer, bytes_of, check_part, integer
from .rms_norm import RMSNorm


def elu_plus_1(x):
    return F.elu(x) + 1


def identity(x):
    return x


# Named functions, so that a layer can be pickled.
FEATURE_MAPS = {"silu": F.silu, "relu": F.relu, "elu+1": elu_plus_1, "identity": identity}
NORMS = {"l2": partial(unit, p=2), "l1": partial(unit, p=1), "none": identity}


class State(NamedTuple):
    """All that such a mixer remembers of N sequences. Its size does not depend on how long they were."""

    conv: torch.Tensor | None                                            # (N, size - 1, H (2K + V))  its last inputs
    S: torch.Tensor | None                                               # (N, H, V, K)               the memory

    nbytes = property(bytes_of)


class FastWeights(Mixer):
    """Project, convolve, activate, normalize; the rule; normalize each head; project. No biases, no positions.

    A subclass supplies `rule(x, q, k, v, S, cu_seqlens) -> (o, S)`, and may have a norm of its own, `normalized`.
    A head has K = expand_k * D / H channels of queries and keys, V = expand_v * D / H of values.

    Options: conv_size: taps of the convolution, 0 for none.    feature_map and norm: what q and k go through.
        out_eps: what the norm after the rule adds to the mean square.    output_gate: multiply what is read by
        SiLU(W_gate x).
    Parameters: D^2 (2 expand_k + 2 expand_v), which is 4D^2; conv_size * D (2 expand_k + expand_v) for the convolution;
        V for the norm; D^2 expand_v for a gate; and what the rule needs.
    """

    State = State
    value_map = "silu"

    def __init__(self, d_model, heads, *, conv_size=4, feature_map="silu", norm="l2", expand_k=1.0, expand_v=1.0,
                 output_gate=False, out_eps=1e-5):
        super().__init__(d_model, heads)
        integer("conv_size", conv_size, least=0)
        one_of("feature_map", feature_map, FEATURE_MAPS)
        one_of("norm", norm, NORMS)
        if isinstance(out_eps, bool) or not isinstance(out_eps, Real) or not 0 <= out_eps < math.inf:
            raise ValueError(f"out_eps: got {out_eps!r}, expected a number of at least 0.")
        if not isinstance(output_gate, bool):
            raise TypeError(f"output_gate: got {output_gate!r}, expected True or False.")
        self.norm, self.activate, self.normalize = norm, FEATURE_MAPS[feature_map], NORMS[norm]
        self.K, self.V = head_width("expand_k", expand_k, self), head_width("expand_v", expand_v, self)
        self.widths = heads * self.K, heads * self.K, heads * self.V     # of q, k and v, heads side by side
        self.to_qkv = nn.Linear(d_model, sum(self.widths), bias=False)   # W_q, W_k and W_v, one above the other
        self.conv = ShortConvolution(sum(self.widths), conv_size) if conv_size else None
        self.out_norm = RMSNorm(self.V, eps=out_eps)
        self.to_gate = nn.Linear(d_model, heads * self.V, bias=False) if output_gate else None
        self.to_out = nn.Linear(heads * self.V, d_model, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        """x: (B, T, D), state: what an earlier call has returned (None: nothing seen yet). Returns y: (B, T, D), State.

        cu_seqlens: (N + 1,) integers [0, c_1, ..., T]: N sequences packed end to end in one row, B = 1. None of them
        sees another, and the state has N entries. Without it every row is a sequence, N = B.
        """
        self.check(x, state, cu_seqlens)
        conv_cache, S = state or State(None, None)
        z = self.to_qkv(x)                                               # (B, T, H (2K + V))
        maps, unit = (self.activate, self.activate, FEATURE_MAPS[self.value_map]), 0
        if self.conv:
            silu = set(maps) == {F.silu}                                 # then the convolution does it on its way
            if silu and self.conv_normalizes(z, conv_cache, cu_seqlens):
                unit = self.K                                            # and the norm of q and k
            z, conv_cache = self.conv(z, conv_cache, cu_seqlens, silu, self.widths, unit)
            maps = (identity, identity, identity) if silu else maps
        else:
            z = z.split(self.widths, -1)
        parts = (part.unflatten(-1, (self.heads, -1)) for part in z)     # (B, T, H, K or V)
        q, k, v = (f(part) for f, part in zip(maps, parts))
        left = dict(normalize=True) if not unit and self.rule_normalizes(q) else {}
        q, k = (q, k) if unit or left else self.normalized(q, k)
        o, S = self.rule(x, q, k, v, S, cu_seqlens, **left)              # (B, T, H, V), (N, H, V, K)
        o = self.out_norm(o).flatten(-2)                                 # (B, T, H V)
        if self.to_gate:
            o = o * F.silu(self.to_gate(x))                              # (B, T, H V)
        return self.to_out(o), State(conv_cache, S)

    def check_state(self, state, sequences):
        check_part(state, "conv", (sequences, len(self.conv.weight) - 1 if self.conv else 0, sum(self.widths)))
        check_part(state, "S", (sequences, self.heads, self.V, self.K))

    def normalized(self, q, k):
        return self.normalize(q), self.normalize(k)                      # skipped where a kernel does it

    def conv_normalizes(self, z, conv_cache, cu_seqlens):
        """Is the norm left to the convolution's kernel? Not where a subclass or a hook wants q and k without it."""
        return (self.norm == "l2" and type(self).normalized is FastWeights.normalized and not self.conv._forward_hooks
                and self.conv.makes_units(z, conv_cache, cu_seqlens, self.widths, self.K))

    def rule_normalizes(self, q):
        """Is the norm left to `rule`, which is then told normalize=True?"""
        return False

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        raise NotImplementedError(f"{type(self).__name__} is a mixer without a rule.")


def head_width(name, expand, layer):
    """How many channels a head has if all have expand * D together."""
    if isinstance(expand, bool) or not isinstance(expand, Real) or not 0 < expand < math.inf:
        raise ValueError(f"{name}: got {expand!r}, expected a positive number such as 1.0.")
    channels = expand * layer.d_model
    if channels != round(channels) or round(channels) % layer.heads:
        raise ValueError(f"{name}: got {expand}, which makes {channels:g} channels of d_model = {layer.d_model}, "
                         f"expected a multiple of heads = {layer.heads}.")
    return round(channels) // layer.heads
