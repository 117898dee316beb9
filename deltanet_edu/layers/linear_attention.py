"""The baseline: the same layer with a memory that only adds."""

from ..ops import linear_attention_chunkwise
from .mixer import Mixer


class LinearAttention(Mixer):
    """A mixer whose memory adds v k^T at every token (eq. 1.2). Parameters: those of DeltaNet without the DH of beta.

    The usual denominator of linear attention is left out: `out_norm` makes any positive factor on o disappear.
    """

    def __init__(self, d_model, heads, *, chunk_size=64, **shared):
        super().__init__(d_model, heads, **shared)
        if chunk_size < 1:
            raise ValueError(f"chunk_size: got {chunk_size}, expected at least 1.")
        self.chunk_size = chunk_size

    def rule(self, x, q, k, v, S):
        return linear_attention_chunkwise(q, k, v, initial_state=S, chunk_size=min(self.chunk_size, x.shape[1]))
