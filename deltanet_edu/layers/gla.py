"""GLA, gated linear attention (arXiv 2312.06635): a memory whose every channel forgets when the token says so."""

import torch.nn as nn
import torch.nn.functional as F

from ..ops import gated_linear_attention_chunkwise
from ..ops.common import one_by_one
from .fast_weights import FastWeights
from .mixer import integer, mixer


@mixer("gla")
class GLA(FastWeights):
    """S_t = S_{t-1} Diag(alpha_t) + v_t k_t^T with alpha_t = sigmoid(W_2 W_1 x_t + b)^(1 / temperature), K a head.

    W_1 has `gate_rank` rows. The root keeps alpha near 1 at first. With a convolution, SiLU follows it; without, q, k
    and v are used as they are.
    Parameters: 4D^2 + D / H + gate_rank (D + D / 2) + D / 2.
    """

    def __init__(self, d_model, heads, *, expand_k=0.5, expand_v=1.0, conv_size=0, output_gate=True, out_eps=1e-5,
                 gate_rank=16, temperature=16.0, chunk_size=64):
        self.value_map = "silu" if conv_size else "identity"
        super().__init__(d_model, heads, conv_size=conv_size, feature_map=self.value_map, norm="none",
                         expand_k=expand_k, expand_v=expand_v, output_gate=output_gate, out_eps=out_eps)
        integer("gate_rank", gate_rank)
        integer("chunk_size", chunk_size)
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not temperature > 0:
            raise ValueError(f"temperature: got {temperature!r}, expected a positive number.")
        self.temperature, self.chunk_size = temperature, chunk_size
        self.to_alpha = nn.Sequential(nn.Linear(d_model, gate_rank, bias=False), nn.Linear(gate_rank, self.widths[1]))

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        log_alpha = F.logsigmoid(self.to_alpha(x)).unflatten(-1, (self.heads, -1)) / self.temperature    # (B, T, H, K)

        def run(q, k, v, log_alpha, S):
            return gated_linear_attention_chunkwise(q, k, v, log_alpha, initial_state=S, chunk_size=self.chunk_size)
        if cu_seqlens is None:
            return run(q, k, v, log_alpha, S)
        return one_by_one(run, q, k, v, log_alpha, ends=cu_seqlens.tolist(), S=S)
