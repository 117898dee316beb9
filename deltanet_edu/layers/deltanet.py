"""The DeltaNet layer (paper, section 3.3)."""

from numbers import Real

import torch.nn as nn

from ..checks import one_of
from ..compat import chunk_delta_rule
from ..functional import BACKENDS, FORMS, choose_backend, delta_rule
from .fast_weights import FastWeights, one_by_one
from .mixer import integer, mixer


@mixer("delta")
class DeltaNet(FastWeights):
    """A mixer whose memory follows the delta rule, with a write strength computed from the token (eq. 16.5).

    beta_t = beta_max * sigmoid(W_beta x_t), one per head; beta_max = 2 allows negative eigenvalues (chapter 17).
    `form`, `backend` and `chunk_size` choose how the rule is run (see `delta_rule`), not what it computes.
    Parameters: 4D^2 + DH + 12D + D / H.
    """

    def __init__(self, d_model, heads, *, beta_max=1.0, form="auto", backend="auto", chunk_size=None, **shared):
        super().__init__(d_model, heads, **shared)
        if isinstance(beta_max, bool) or not isinstance(beta_max, Real):
            raise TypeError(f"beta_max: got {beta_max!r}, expected a number in (0, 2].")
        if not 0 < beta_max <= 2:
            raise ValueError(f"beta_max: got {beta_max}, expected a number in (0, 2]; "
                             "above 2 a write makes its error larger.")
        one_of("form", form, FORMS)
        one_of("backend", backend, BACKENDS)
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        self.beta_max, self.how = beta_max, dict(form=form, backend=backend, chunk_size=chunk_size)
        self.to_beta = nn.Linear(d_model, heads, bias=False)

    def rule(self, x, q, k, v, S, cu_seqlens=None):
        beta = self.beta_max * self.to_beta(x).sigmoid()                 # (B, T, H)
        check = None if self.norm == "none" else False                   # unit keys cannot blow up: skip the look

        def run(q, k, v, beta, S):
            return delta_rule(q, k, v, beta, initial_state=S, check_values=check, **self.how)
        if cu_seqlens is None:
            return run(q, k, v, beta, S)
        if self.kernels_run(q, v):                                       # they know packed sequences
            o, S = chunk_delta_rule(q, k, v, beta, 1.0, None if S is None else S.mT, True, cu_seqlens=cu_seqlens,
                                    chunk_size=self.how["chunk_size"])
            return o, S.mT
        return one_by_one(run, q, k, v, beta, S=S, cu_seqlens=cu_seqlens)

    def kernels_run(self, q, v):
        form, backend, chunk_size = self.how.values()
        if form not in ("auto", "chunkwise"):
            return False
        return choose_backend(backend, "chunkwise", q, v, chunk_size=chunk_size) == "triton"
