"""The gated MLP that follows every mixer (Shazeer 2020)."""

import torch.nn as nn
import torch.nn.functional as F

from .mixer import integer, on_kernels


def swiglu_width(d_model, multiple_of=64):
    """The hidden width that gives three matrices the parameters of the usual two of width 4D: 8D / 3, rounded up."""
    return -(-8 * d_model // (3 * multiple_of)) * multiple_of


class SwiGLU(nn.Module):
    """W_out (SiLU(W_gate x) * W_up x). Parameters: 3 D hidden, about 8D^2."""

    def __init__(self, d_model, hidden=None):
        super().__init__()
        integer("d_model", d_model)
        hidden = swiglu_width(d_model) if hidden is None else hidden
        integer("hidden", hidden)
        self.to_hidden = nn.Linear(d_model, 2 * hidden, bias=False)      # W_gate above W_up
        self.to_out = nn.Linear(hidden, d_model, bias=False)

    def forward(self, x):
        x = self.to_hidden(x)                                            # (B, T, 2 hidden)
        if on_kernels(x) and is_a_matrix(self.to_out):
            from ..kernels.swiglu import swiglu_projection

            return swiglu_projection(x, self.to_out.weight)
        gate, up = x.chunk(2, -1)                                        # (B, T, hidden) each
        return self.to_out(F.silu(gate) * up)


def is_a_matrix(layer):
    """Is its weight all there is to it? Not if somebody hangs on to it, or has put something in its place."""
    return type(layer) is nn.Linear and layer.bias is None and not (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks)
