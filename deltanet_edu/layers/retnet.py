"""RetNet (arXiv 2307.08621): a memory that fades, at one fixed rate a head, and knows positions by rotation."""

import torch

from ..ops import gated_linear_attention_chunkwise, retention_log_decay
from ..ops.common import one_by_one, working_dtype
from .fast_weights import FastWeights
from .mixer import integer, mixer
from .rotary import check_rotary, rotate


@mixer("retnet")
class RetNet(FastWeights):
    """S_t = gamma S_{t-1} + v_t k_t^T with gamma = 1 - 2^(-5-h) for head h; q and k are rotated to their positions.

    Sizes are those of GLA: with these, a block has as many parameters as DeltaNet's. In RetNet's paper expand_k = 1 and
    expand_v = 2, with a smaller MLP. With a convolution, SiLU follows it; without, q, k and v are used as they are.
    Parameters: 4D^2 + D / H.
    """

    def __init__(self, d_model, heads, *, expand_k=0.5, expand_v=1.0, conv_size=0, output_gate=True, out_eps=1e-5,
                 rope_theta=10_000.0, chunk_size=64):
        self.value_map = "silu" if conv_size else "identity"
        super().__init__(d_model, heads, conv_size=conv_size, feature_map=self.value_map, norm="none",
                         expand_k=expand_k, expand_v=expand_v, output_gate=output_gate, out_eps=out_eps)
        check_rotary(self.K, rope_theta, "expand_k", expand_k)
        integer("chunk_size", chunk_size)
        self.rope_theta, self.chunk_size = rope_theta, chunk_size

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        if cu_seqlens is None:
            return self.run(q, k, v, S)
        return one_by_one(self.run, q, k, v, ends=cu_seqlens.tolist(), S=S)

    def run(self, q, k, v, S):
        """Only distances matter. So tokens are counted from the last one before this call, and the memory that is
        handed on is turned back until its own last token stands at 0: it need not know how many there were."""
        at = torch.arange(1, q.shape[1] + 1, device=q.device)[:, None]   # (T, 1)  the same for all heads
        q, k = rotate(q, at, self.rope_theta), rotate(k, at, self.rope_theta)
        log_gamma = retention_log_decay(self.heads, dtype=working_dtype(v), device=q.device)     # (H,)
        log_gamma = log_gamma[:, None].expand(*q.shape[:-1], 1)          # (B, T, H, 1)
        o, S = gated_linear_attention_chunkwise(q, k, v, log_gamma, initial_state=S, chunk_size=self.chunk_size)
        return o, rotate(S, torch.full((), -q.shape[1], device=q.device), self.rope_theta)
