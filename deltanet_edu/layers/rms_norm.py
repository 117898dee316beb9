"""The norm of blocks and mixers: PyTorch's, and where the kernels run one that reads and writes half as much."""

import torch
import torch.nn as nn

from ..checks import autocast_dtype
from .mixer import on_kernels


class RMSNorm(nn.RMSNorm):
    """weight * x / sqrt(mean(x^2) + eps) over the last dimension, of any dtype; the squares are summed in float32."""

    def __init__(self, width, eps):
        super().__init__(width, eps=eps)

    def forward(self, x):
        if on_kernels(x) and not torch.compiler.is_compiling():          # a compiler fuses it with what stands around
            from ..kernels.rms_norm import rms_norm

            return rms_norm(x, self.weight, self.eps, autocast_dtype(x) or self.weight.dtype)
        return super().forward(x.to(self.weight.dtype))
