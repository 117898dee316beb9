"""Mamba (arXiv 2312.00752): a selective state space. What is written, read and kept depends on the token."""

import math
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..checks import one_of
from ..ops import selective_scan_chunkwise, selective_scan_parallel, selective_scan_recurrent
from ..ops.common import one_by_one
from .convolution import ShortConvolution
from .mixer import Mixer, bytes_of, check_part, integer, mixer, on_kernels

FORMS = {"auto": None, "chunkwise": selective_scan_chunkwise, "parallel": selective_scan_parallel,
         "recurrent": selective_scan_recurrent}


class ScanState(NamedTuple):
    """All that Mamba remembers of N sequences."""

    conv: torch.Tensor | None                                            # (N, size - 1, V)  its last inputs
    S: torch.Tensor | None                                               # (N, V, K)         the memory

    nbytes = property(bytes_of)


def fitting_width(d_model, rank, state_size, taps):
    """The V, a multiple of 8, with which Mamba has about as many parameters as attention, 4D^2."""
    return max(1, round(4 * d_model**2 / (3 * d_model + 2 * rank + 3 * state_size + taps + 3) / 8)) * 8


@mixer("mamba")
class Mamba(Mixer):
    """Project to V channels, convolve, SiLU; the selective scan; times SiLU of V more channels; project.

    Every channel has a memory of K = state_size numbers; there are no heads, and `heads` changes nothing. q and k are
    shared by all channels, delta = softplus(W_2 W_1 v + b) is a channel's own, through a bottleneck of R = D / 16.
    `width` is V. By default a block has the parameters of the other mixers' blocks. Mamba as published has V = 2D and
    no MLP: width=2 * D here, mlp_hidden=0 for the model, and twice the layers.
    `form` chooses how the scan is run, not what it computes; "auto" takes the kernels on a GPU, else "chunkwise".
    Parameters: V (3D + 2R + 3K + conv_size + 3).
    """

    State = ScanState

    def __init__(self, d_model, heads=1, *, width=None, state_size=16, conv_size=4, form="auto"):
        super().__init__(d_model, heads)
        integer("state_size", state_size)
        integer("conv_size", conv_size)
        one_of("form", form, FORMS)
        R = math.ceil(d_model / 16)
        V = fitting_width(d_model, R, state_size, conv_size) if width is None else width
        integer("width", V)
        self.form, self.parts = form, (R, state_size, state_size)
        self.to_v = nn.Linear(d_model, 2 * V, bias=False)                # W_v above W_gate
        self.conv, self.conv_bias = ShortConvolution(V, conv_size), nn.Parameter(torch.zeros(V))
        self.to_scan = nn.Linear(V, sum(self.parts), bias=False)         # W_1, W_k and W_q, one above the other
        self.delta_weight = nn.Parameter(R**-0.5 * (2 * torch.rand(V, R) - 1))       # W_2
        # At first delta lies between 0.001 and 0.1, evenly on a logarithmic scale, and a channel's K rates are 1 to K.
        delta = torch.exp(torch.empty(V).uniform_(math.log(0.001), math.log(0.1)))
        self.delta_bias = nn.Parameter(delta + torch.log(-torch.expm1(-delta)))      # softplus of which is delta
        self.A_log = nn.Parameter(torch.arange(1.0, state_size + 1).log().repeat(V, 1))
        self.skip = nn.Parameter(torch.ones(V))
        self.to_out = nn.Linear(V, d_model, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        """x: (B, T, D), state: what an earlier call has returned (None: nothing seen yet). Returns y: (B, T, D), State.

        cu_seqlens: (N + 1,) integers [0, c_1, ..., T]: N sequences packed end to end in one row, B = 1.
        """
        self.check(x, state, cu_seqlens)
        conv_cache, S = state or ScanState(None, None)
        v, gate = self.to_v(x).chunk(2, -1)                              # (B, T, V) each
        v, conv_cache = self.conv(v, conv_cache, cu_seqlens)
        v = F.silu(v + self.conv_bias)
        rank, k, q = self.to_scan(v).split(self.parts, -1)               # (B, T, R), (B, T, K) twice
        delta = F.softplus(F.linear(rank, self.delta_weight) + self.delta_bias)      # (B, T, V)
        o, S = self.scan(q, k, v, delta, S, cu_seqlens)                  # (B, T, V), (N, V, K)
        return self.to_out(o * F.silu(gate)), ScanState(conv_cache, S)

    def scan(self, q, k, v, delta, S, cu_seqlens):
        if self.form == "auto" and on_kernels(v) and not torch.compiler.is_compiling():
            from ..kernels.selective_scan import selective_scan

            return selective_scan(q, k, v, delta, -self.A_log.exp(), self.skip, initial_state=S, cu_seqlens=cu_seqlens)
        form = FORMS[self.form] or selective_scan_chunkwise

        def run(q, k, v, delta, S):
            return form(q, k, v, delta, -self.A_log.exp(), self.skip, initial_state=S)
        if cu_seqlens is None:
            return run(q, k, v, delta, S)
        ends = cu_seqlens.tolist()
        S = v.new_zeros(len(ends) - 1, *self.A_log.shape) if S is None else S
        return one_by_one(run, q, k, v, delta, ends=ends, S=S)

    def check_state(self, state, sequences):
        check_part(state, "conv", (sequences, len(self.conv.weight) - 1, len(self.skip)))
        check_part(state, "S", (sequences, *self.A_log.shape))
