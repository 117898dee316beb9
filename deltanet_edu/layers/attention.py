"""Softmax attention with rotary positions: the line to beat, and the other half of a hybrid."""

from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F

from .mixer import Mixer, bytes_of, check_part, integer, mixer
from .rotary import check_rotary, rotate


class Cache(NamedTuple):
    """The keys and values of N sequences that later tokens may still see. It grows with them, up to a window.

    The newest token stands last in every row; a sequence shorter than the longest has zeros in front that nobody sees.
    """

    k: torch.Tensor                                                      # (N, L, G, K)  rotated to their positions
    v: torch.Tensor                                                      # (N, L, G, V)
    seen: torch.Tensor                                                   # (N,)          tokens so far, whole numbers

    nbytes = property(bytes_of)


@mixer("attention")
class Attention(Mixer):
    """softmax(q kᵀ / √K) v over the tokens so far, or over the last `window` of them. No biases, K = V = D / H.

    Positions enter by rotating pairs of entries of q and k (RoPE, arXiv 2104.09864). With `groups` < heads, several
    heads share a key and a value (grouped queries, arXiv 2305.13245), and the cache shrinks by as much.
    Parameters: 2D^2 + 2D^2 * groups / H.    Cost of a token: 4D FLOPs for each token that it sees.
    """

    State = Cache

    def __init__(self, d_model, heads, *, groups=None, window=None, rope_theta=10_000.0):
        super().__init__(d_model, heads)
        groups = heads if groups is None else groups
        integer("groups", groups)
        if heads % groups:
            raise ValueError(f"groups: got {groups}, which does not divide heads = {heads}.")
        if window is not None:
            integer("window", window)
        width = d_model // heads
        check_rotary(width, rope_theta, "d_model", d_model)
        self.groups, self.window, self.rope_theta = groups, window, rope_theta
        self.to_q = nn.Linear(d_model, d_model, bias=False)
        self.to_kv = nn.Linear(d_model, 2 * groups * width, bias=False)  # W_k and W_v, one above the other
        self.to_out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, state=None, cu_seqlens=None):
        """x: (B, T, D), state: what an earlier call has returned (None: nothing seen yet). Returns y: (B, T, D), Cache.

        cu_seqlens: (N + 1,) integers [0, c_1, ..., T]: N sequences packed end to end in one row, B = 1.
        """
        self.check(x, state, cu_seqlens)
        q = self.to_q(x).unflatten(-1, (self.heads, -1))                 # (B, T, H, K)
        k, v = self.to_kv(x).unflatten(-1, (2, self.groups, -1)).unbind(2)               # (B, T, G, K) each
        if cu_seqlens is None:
            o, state = self.attend(q, k, v, state)
        else:
            o, state = self.attend_packed(q, k, v, state, cu_seqlens.tolist())
        return self.to_out(o.flatten(-2)), state

    def attend(self, q, k, v, cache):
        """One sequence a row: q: (N, T, H, K), k, v: (N, T, G, K). Returns o: (N, T, H, V) and the Cache."""
        N, T = q.shape[:2]
        seen = q.new_zeros(N, dtype=torch.long) if cache is None else cache.seen
        at = seen[:, None] + torch.arange(T, device=q.device)            # (N, T)  positions
        q, k = self.rotate(q, at), self.rotate(k, at)
        if cache is not None:
            k, v = torch.cat([cache.k.to(k.dtype), k], 1), torch.cat([cache.v.to(v.dtype), v], 1)
        mask = None
        if cache is not None or self.window is not None:
            of_key = (seen + T)[:, None] - k.shape[1] + torch.arange(k.shape[1], device=q.device)    # (N, L)
            mask = (of_key[:, None] <= at[..., None]) & (of_key >= 0)[:, None]                       # (N, T, L)
            if self.window is not None:
                mask &= at[..., None] - of_key[:, None] < self.window
            mask = mask[:, None]                                         # for all heads
        heads_first = (z.transpose(1, 2) for z in (q, k, v))
        o = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, is_causal=mask is None,
                                           enable_gqa=self.groups < self.heads).transpose(1, 2)
        kept = k.shape[1] if self.window is None else min(k.shape[1], self.window - 1)
        k, v = (z[:, z.shape[1] - kept:].clone() for z in (k, v))        # a view would keep all of it alive
        return o, Cache(k, v, seen + T)

    def attend_packed(self, q, k, v, cache, ends):
        """Packed sequences one after the other, each with its own row of the cache."""
        o, after = [], []
        for n, (start, end) in enumerate(zip(ends, ends[1:])):
            mine = None if cache is None else Cache(*(part[n:n + 1] for part in cache))
            o_n, mine = self.attend(*(z[:, start:end] for z in (q, k, v)), mine)
            o.append(o_n)
            after.append(mine)
        longest = max(len(c.k[0]) for c in after)
        k, v = (torch.cat([F.pad(part, (0, 0, 0, 0, longest - part.shape[1], 0)) for part in parts])
                for parts in ([c.k for c in after], [c.v for c in after]))
        return torch.cat(o, 1), Cache(k, v, torch.cat([c.seen for c in after]))

    def rotate(self, x, at):
        """x: (N, T, ., K), each turned to its position; at: (N, T)."""
        return rotate(x, at[:, :, None], self.rope_theta)

    def check_state(self, state, sequences):
        width = self.d_model // self.heads
        tokens = state.k.shape[1] if state.k.ndim == 4 else 0
        for name in ("k", "v"):
            check_part(state, name, (sequences, tokens, self.groups, width))
        check_part(state, "seen", (sequences,))


@mixer("sliding")
class SlidingAttention(Attention):
    """`Attention` over the last `window` tokens, itself included: the half of a hybrid that is precise and forgets.

    The window of the paper's hybrid is not stated; Gated DeltaNet's has 2,048 tokens. The default suits texts as short
    as those of this book.
    """

    def __init__(self, d_model, heads, *, groups=None, window=64, rope_theta=10_000.0):
        if window is None:
            raise ValueError('window: got None, expected a number of tokens. Without a window, take "attention".')
        super().__init__(d_model, heads, groups=groups, window=window, rope_theta=rope_theta)
