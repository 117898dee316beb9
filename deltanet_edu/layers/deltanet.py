"""The DeltaNet layer (paper, section 3.3)."""

from numbers import Real

import torch.nn as nn

from ..checks import one_of
from ..functional import FORMS, cast_once, check_backend, delta_rule, dispatch
from .fast_weights import FastWeights
from .mixer import integer, mixer, on_kernels

dispatch = cast_once(dispatch)                                           # as `delta_rule` is, which is gone around


@mixer("delta")
class DeltaNet(FastWeights):
    """A mixer whose memory follows the delta rule, with a write strength computed from the token (eq. 16.5).

    beta_t = beta_max * sigmoid(W_beta x_t), one per head; beta_max = 2 allows negative eigenvalues (chapter 17).
    `form`, `backend` and `chunk_size` choose how the rule is run (see `delta_rule`), not what it computes. A backend of
    your own can also be set later: `layer.how["backend"] = f`. The other options are those of `FastWeights`: the
    paper's ablation takes norm "l2" or "l1" and feature_map "silu", "relu" or "elu+1", with and without a convolution.
    Parameters: 4D^2 + DH + 12D + D / H; with an output gate D^2 more.
    """

    def __init__(self, d_model, heads, *, beta_max=1.0, form="auto", backend="auto", chunk_size=None, **shared):
        super().__init__(d_model, heads, **shared)
        if isinstance(beta_max, bool) or not isinstance(beta_max, Real):
            raise TypeError(f"beta_max: got {beta_max!r}, expected a number in (0, 2].")
        if not 0 < beta_max <= 2:
            raise ValueError(f"beta_max: got {beta_max}, expected a number in (0, 2]; "
                             "above 2 a write makes its error larger.")
        one_of("form", form, FORMS)
        check_backend(backend, form, chunk_size)
        if chunk_size is not None:
            integer("chunk_size", chunk_size)
        self.beta_max, self.how = beta_max, dict(form=form, backend=backend, chunk_size=chunk_size)
        self.to_beta = nn.Linear(d_model, heads, bias=False)

    def rule_normalizes(self, q):
        """Only to this rule: one of a subclass gets unit vectors, with kernels as without."""
        own = type(self).rule is not DeltaNet.rule or type(self).normalized is not DeltaNet.normalized
        return not own and self.in_kernels(q)

    def in_kernels(self, q):
        """Do the chunkwise kernels run? They can divide q and k by their lengths as they read."""
        return (self.norm == "l2" and self.how["form"] in ("auto", "chunkwise") and q.shape[1] > 1
                and self.how["backend"] in ("auto", "triton") and on_kernels(q))

    def rule(self, x, q, k, v, S, cu_seqlens=None, normalize=False):
        beta = self.beta_max * self.to_beta(x).sigmoid()                 # (B, T, H)
        if self.in_kernels(q):
            return dispatch(q, k, v, beta, S, scale=1.0, cu_seqlens=cu_seqlens, normalize=normalize, **self.how)
        check = None if self.norm == "none" else False                   # unit keys cannot blow up: skip the look
        return delta_rule(q, k, v, beta, initial_state=S, cu_seqlens=cu_seqlens, check_values=check, **self.how)
