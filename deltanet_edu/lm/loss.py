"""The loss of a large vocabulary, without ever holding all of its scores."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..ops.common import once_differentiable, working_dtype

IGNORED = -100                                                           # a target that is not asked for
SCORES = 2**25                                                           # held at a time: 128 MiB in float32


class Head(nn.Linear):
    """One score for every word: (..., D) -> (..., V). What a model puts in its place has a `loss`, too."""

    def __init__(self, d_model, vocab):
        super().__init__(d_model, vocab, bias=False)

    def loss(self, x, targets):
        """x: (B, T, D), targets: (B, T). See `head_loss`."""
        return head_loss(x.flatten(0, 1), self.weight, targets.flatten())


def head_loss(x, weight, targets, scores=None):
    """Mean of -ln softmax(W x_n)[target_n], in nats, over the targets that are not -100.

    x: (N, D), weight: (V, D), targets: (N,). If there are more than `scores` scores, N V (None: 2^25), that many are
    computed at a time: the same loss up to rounding, and ND + VD numbers kept for the backward pass, not NV. Costs
    6 NVD FLOPs either way.
    """
    rows = max(1, (scores or SCORES) // len(weight))
    if len(x) <= rows:
        return F.cross_entropy(F.linear(x, weight), targets, ignore_index=IGNORED)
    return ChunkedLoss.apply(x, weight, targets, rows)


class ChunkedLoss(torch.autograd.Function):
    """The gradient of -ln softmax(z)[target] is softmax(z) - onehot(target): known as soon as the scores z are. So each
    chunk of rows adds its share to both gradients at once, and its scores are forgotten."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows):
        to_x, to_weight, _, _ = ctx.needs_input_grad
        dx, dW = torch.empty_like(x), torch.zeros_like(weight)           # (N, D), (V, D)
        total, count = x.new_zeros((), dtype=working_dtype(x)), (targets != IGNORED).sum()
        for part, target, d in zip(x.split(rows), targets.split(rows), dx.split(rows)):
            z = F.linear(part, weight)                                   # (rows, V)  half precision under autocast
            asked, target = (target != IGNORED)[:, None], target.clamp(min=0)[:, None]   # (rows, 1) each
            logp = z.to(total.dtype).log_softmax(-1)                     # (rows, V)
            total -= logp.gather(1, target).masked_fill(~asked, 0).sum()
            if to_x or to_weight:
                dz = logp.exp_().scatter_add_(1, target, -asked.to(logp.dtype)) * asked  # (rows, V)
                dz = dz.to(z.dtype)
                d.copy_(dz @ weight.to(z.dtype))
                dW += dz.T @ part.to(z.dtype)
        # Where they come from is kept as well, in views of nothing: then whoever differentiates again is refused.
        ctx.save_for_backward(dx.div_(count), dW.div_(count), x[:0], weight[:0])
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        dx, dW, _, _ = ctx.saved_tensors
        return gradient * dx, gradient * dW, None, None
