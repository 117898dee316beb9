"""One layer of the model: a mixer that looks back in time, then an MLP that looks at one token."""

import torch.nn as nn

from .swiglu import SwiGLU


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)): pre-norm, so that the residual stream is never rescaled."""

    def __init__(self, d_model, mixer, mlp_hidden=None):
        super().__init__()
        self.mixer_norm, self.mixer = nn.RMSNorm(d_model, eps=1e-5), mixer
        self.mlp_norm, self.mlp = nn.RMSNorm(d_model, eps=1e-5), SwiGLU(d_model, mlp_hidden)

    def forward(self, x, state=None, cu_seqlens=None):
        """As a mixer: x: (B, T, D), the mixer's state, packed sequences or not. Returns y: (B, T, D) and the state."""
        y, state = self.mixer(self.mixer_norm(x), state, cu_seqlens)
        x = x + y                                                        # (B, T, D)
        return x + self.mlp(self.mlp_norm(x)), state
