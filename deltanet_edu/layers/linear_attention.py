"""The baseline: the same layer with a memory that only adds."""

from ..ops import linear_attention_chunkwise
from ..ops.common import one_by_one
from .fast_weights import FastWeights
from .mixer import integer, mixer


@mixer("linear")
class LinearAttention(FastWeights):
    """A mixer whose memory adds v k^T at every token (eq. 1.2). Parameters: those of DeltaNet without the DH of beta.

    The usual denominator of linear attention is left out: `out_norm` makes any positive factor on o disappear.
    """

    def __init__(self, d_model, heads, *, chunk_size=64, **shared):
        super().__init__(d_model, heads, **shared)
        integer("chunk_size", chunk_size)
        self.chunk_size = chunk_size

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        def run(q, k, v, S):
            return linear_attention_chunkwise(q, k, v, initial_state=S, chunk_size=self.chunk_size)
        return run(q, k, v, S) if cu_seqlens is None else one_by_one(run, q, k, v, ends=cu_seqlens.tolist(), S=S)
