"""A short causal convolution: every channel mixes with its own last few values."""

import torch
import torch.nn as nn


class ShortConvolution(nn.Module):
    """y_t = sum_{i<size} w_i * x_{t-size+1+i}, channel by channel (eq. 16.3). Parameters: channels * size, no bias.

    Causal: y_t sees x_t and the size - 1 inputs before it. `cache` holds those inputs, so a text can arrive in
    pieces of any length, down to one token, and give the same output.
    """

    def __init__(self, channels, size=4):
        super().__init__()
        if size < 1:
            raise ValueError(f"size: got {size}, expected at least 1. To leave the convolution out, do not build one.")
        # Starts as "pass the present through", the last tap 1, plus a little of everything to break the symmetry.
        weight = 0.1 * torch.randn(size, channels)
        weight[-1] += 1.0
        self.weight = nn.Parameter(weight)                               # (size, D)  the last row meets the present

    def forward(self, x, cache=None):
        """x: (B, T, D), cache: (B, size - 1, D) or None for zeros. Returns y: (B, T, D) and the next cache."""
        size, T = len(self.weight), x.shape[1]
        if cache is None:
            cache = x.new_zeros(x.shape[0], size - 1, x.shape[2])
        seen = torch.cat([cache, x], 1)                                  # (B, size - 1 + T, D)
        # A sum of shifted copies: for four taps it is faster on a CPU than nn.Conv1d(groups=channels), and it reads like the equation.
        y = sum(w_i * seen[:, i : i + T] for i, w_i in enumerate(self.weight))
        return y, seen[:, T:]
