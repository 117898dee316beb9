"""Solutions of exercise 14.11: the whole layer."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ... import delta_rule
from ...layers import DeltaNet
from .inputs import rule_inputs
from .pieces import convolve
from .read_out import read_out


class MyDeltaNet(nn.Module):
    """The DeltaNet layer, K = V = D / H: y, state = layer(x, state, cu_seqlens)."""

    def __init__(self, D, H):
        super().__init__()
        self.H = H
        self.to_qkv = nn.Linear(D, 3 * D, bias=False)
        self.taps = nn.Parameter(torch.randn(4, 3 * D))
        self.to_beta = nn.Linear(D, H, bias=False)
        self.norm = nn.Parameter(torch.ones(D // H))
        self.to_out = nn.Linear(D, D, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is not None:                                       # one document after the other, strangers all
            ends = cu_seqlens.tolist()
            done = [self(x[:, start:end]) for start, end in zip(ends, ends[1:])]
            return torch.cat([y for y, _ in done], 1), [after for _, after in done]
        tail, S = state or (None, None)
        z, tail = convolve(self.to_qkv(x), tail, self.taps)              # (B, T, 3D)
        width = x.shape[2] // self.H
        q, k, v, beta = rule_inputs(z, self.to_beta(x), self.H, width, width, 1.0)
        o, S = delta_rule(q, k, v, beta, initial_state=S)                # (B, T, H, V)
        return read_out(o, None, self.norm, self.to_out.weight, 1e-5), (tail, S)


class PackedAtOnce(MyDeltaNet):
    """The rule takes all documents at once; only the convolution goes from one to the next."""

    def forward(self, x, state=None, cu_seqlens=None):
        if cu_seqlens is None:
            return super().forward(x, state)
        ends, width = cu_seqlens.tolist(), x.shape[2] // self.H
        z = torch.cat([convolve(self.to_qkv(x[:, a:b]), None, self.taps)[0] for a, b in zip(ends, ends[1:])], 1)
        q, k, v, beta = rule_inputs(z, self.to_beta(x), self.H, width, width, 1.0)
        o, S = delta_rule(q, k, v, beta, cu_seqlens=cu_seqlens)
        return read_out(o, None, self.norm, self.to_out.weight, 1e-5), (None, S)


class PackagesOwn(DeltaNet):
    """The package's layer. Its keys have exactly length 1 here: with or without a small epsilon, an answer is right."""

    def __init__(self, D, H):
        super().__init__(D, H)
        self.normalize = partial(F.normalize, dim=-1)
