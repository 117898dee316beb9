"""A short causal convolution: every channel mixes with its own last few values."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from .mixer import integer, on_kernels


class ShortConvolution(nn.Module):
    """y_t = sum_{i<size} w_i * x_{t-size+1+i}, channel by channel (eq. 14.2). Parameters: channels * size, no bias.

    Causal: y_t sees x_t and the size - 1 inputs before it. `cache` holds those inputs, so a text can arrive in
    pieces of any length, down to one token, and give the same output.
    """

    def __init__(self, channels, size=4):
        super().__init__()
        integer("channels", channels)
        integer("size", size)
        # Starts as "pass the present through", the last tap 1, plus a little of everything to break the symmetry.
        weight = 0.1 * torch.randn(size, channels)
        weight[-1] += 1.0
        self.weight = nn.Parameter(weight)                               # (size, D)  the last row meets the present

    def forward(self, x, cache=None, cu_seqlens=None, silu=False, widths=None, unit=0):
        """x: (B, T, D), cache: (B, size - 1, D) or None for zeros. Returns y: (B, T, D) and the next cache.

        With cu_seqlens, N sequences are packed in one row, B = 1, and the caches are (N, size - 1, D). silu: y goes
        through SiLU. widths: y comes in pieces of so many channels. unit: every so many channels of the first two are
        made a unit vector on the way, if this layer `makes_units`.
        """
        if widths is not None and not self.by_kernel(x, cache, cu_seqlens):
            y, cache = self.forward(x, cache, cu_seqlens, silu)          # not self(...), whose hooks would run twice
            return y.split(widths, -1), cache
        size, T = len(self.weight), x.shape[1]
        if cu_seqlens is not None:
            y, cache = self.packed(x, cache, cu_seqlens)
            return F.silu(y) if silu else y, cache
        if self.by_kernel(x, cache, cu_seqlens):
            from ..kernels.convolution import short_convolution

            return short_convolution(x, self.weight, silu, widths, unit), x[:, T - size + 1:].clone()
        if cache is None:
            cache = x.new_zeros(x.shape[0], size - 1, x.shape[2])
        seen = torch.cat([cache.to(x.dtype), x], 1)                      # (B, size - 1 + T, D)
        # A sum of shifted copies: for four taps it is faster on a CPU than nn.Conv1d(groups=channels).
        y = self.weight[0] * seen[:, :T]
        for i, w_i in enumerate(self.weight[1:], start=1):
            y = torch.addcmul(y, w_i, seen[:, i : i + T])                # one pass over memory in place of two
        return F.silu(y) if silu else y, seen[:, T:].clone()             # a view would keep all of `seen` alive

    def by_kernel(self, x, cache, cu_seqlens):
        return cu_seqlens is None and cache is None and x.shape[1] >= len(self.weight) and on_kernels(x)

    def makes_units(self, x, cache, cu_seqlens, widths, unit):
        """Can it? Only the kernel, and not of every width."""
        if not self.by_kernel(x, cache, cu_seqlens):
            return False
        from ..kernels.convolution import makes_units

        return makes_units(widths, unit)

    def packed(self, x, cache, cu_seqlens):
        """Every sequence gets its cache in front: then a tap that reaches back stays within its own sequence."""
        size, T, D = len(self.weight), x.shape[1], x.shape[2]
        cu_seqlens, back = cu_seqlens.long(), size - 1
        N = len(cu_seqlens) - 1
        n = torch.arange(N, device=x.device)
        of = torch.repeat_interleave(n, cu_seqlens.diff(), output_size=T)                # (T,)  whose token t is
        first = torch.arange(T, device=x.device) + back * of                             # (T,)  where its oldest tap is
        starts = cu_seqlens[:-1] + back * n                                              # (N,)  where caches begin
        after = (cu_seqlens[1:] + back * n)[:, None] + torch.arange(back, device=x.device)   # (N, back)  the next ones
        seen = x.new_zeros(T + N * back, D).index_copy(0, first + back, x[0])
        if cache is not None:
            seen = seen.index_copy(0, (starts[:, None] + torch.arange(back, device=x.device)).flatten(),
                                   cache.to(x.dtype).flatten(0, 1))
        y = sum(w_i * seen[first + i] for i, w_i in enumerate(self.weight))              # (T, D)
        return y[None], seen[after]
