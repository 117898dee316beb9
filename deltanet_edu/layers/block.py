"""One layer of the model: a mixer that looks back in time, then an MLP that looks at one token."""

import torch.nn as nn

from .rms_norm import RMSNorm
from .swiglu import SwiGLU


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)): pre-norm, so that the residual stream is never rescaled.

    mlp_hidden: width of the MLP, `swiglu_width` of d_model if None; 0 leaves the MLP out, with its norm.
    dropout: the share of what mixer and MLP add that is left out in training.
    """

    def __init__(self, d_model, mixer, mlp_hidden=None, eps=1e-5, dropout=0.0):
        super().__init__()
        self.mixer_norm, self.mixer = RMSNorm(d_model, eps=eps), mixer
        self.mlp_norm = self.mlp = None
        if mlp_hidden != 0:
            self.mlp_norm, self.mlp = RMSNorm(d_model, eps=eps), SwiGLU(d_model, mlp_hidden)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, state=None, cu_seqlens=None):
        """As a mixer: x: (B, T, D), the mixer's state, packed sequences or not. Returns y: (B, T, D) and the state."""
        y, state = self.mixer(self.mixer_norm(x), state, cu_seqlens)
        x = x + self.drop(y)                                             # (B, T, D)
        return (x + self.drop(self.mlp(self.mlp_norm(x))) if self.mlp else x), state
