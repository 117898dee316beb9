"""What all rules share: working precision, the state that enters, chunks, packed sequences, and who may look inside."""

from functools import wraps
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch._C import _functorch
from torch.autograd import forward_ad


def working_dtype(*tensors):
    """The dtype to compute in: float64 or float32 as the inputs are; half precision is computed in float32."""
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def unit(x, p=2):
    """x / sqrt(|x|_p^2 + 1e-6): rows of length 1, computed at least in float32 and rounded once.

    The 1e-6 of flash-linear-attention and of the kernels (`normalize=True`). Without it a row of zeros, as in padding,
    has a slope without bound, and one of them is enough to ruin every gradient; with it the slope is at most 1000.
    """
    y = x.to(working_dtype(x))                                           # half precision would round the length
    square = y.square().sum(-1, keepdim=True) if p == 2 else y.abs().sum(-1, keepdim=True).square()
    return (y * torch.rsqrt(square + 1e-6)).to(x.dtype)


def enter(q, k, v, *others, initial_state=None):
    """Bring the inputs to the working dtype and make the state that enters, (B, H, V, K), zeros if None."""
    dtype = working_dtype(q, k, v, *others)
    q, k, v, *others = (x.to(dtype) for x in (q, k, v, *others))
    B, _, H, K = k.shape
    if initial_state is None:
        S = v.new_zeros(B, H, v.shape[-1], K)
    else:
        S = initial_state.to(dtype)
    return q, k, v, *others, S


def chunk(x, C):
    """Cut (B, T, H, D) into N = ceil(T / C) chunks: (N, B, H, C, D). The last one is padded with zero rows.

    A zero row is harmless: k = 0 and beta = 0 write nothing, and the output rows it adds are dropped by `unchunk`.
    N comes first so that a loop over chunks reads contiguous blocks.
    """
    B, T, H, D = x.shape
    N = -(-max(T, 1) // C)                                               # no tokens: one chunk of padding
    x = F.pad(x, (0, 0, 0, 0, 0, N * C - T))                             # (B, N*C, H, D)
    return x.view(B, N, C, H, D).permute(1, 0, 3, 2, 4).contiguous()


def unchunk(x, T):
    """The inverse of `chunk`: (N, B, H, C, D) to (B, T, H, D), padding dropped."""
    N, B, H, C, D = x.shape
    return x.permute(1, 0, 3, 2, 4).reshape(B, N * C, H, D).narrow(1, 0, T)


def one_by_one(rule, q, k, v, *others, ends, S):
    """Run a rule that knows of one sequence a row on N that are packed end to end, as rule(q, k, v, *others, S).

    q, k: (1, T, H, K), v: (1, T, H, V), ends: the list [0, c_1, ..., T], S: (N, H, V, K), zeros if None. Returns
    o: (1, T, H, V) and the state after each sequence; an empty one leaves its state as it is.
    """
    if S is None:
        S = v.new_zeros(len(ends) - 1, *v.shape[2:], k.shape[3])
    o, after = [v[:, :0]], list(S.to(working_dtype(q, k, v, *others)).split(1))          # (1, H, V, K) each
    for n, (start, end) in enumerate(pairwise(ends)):
        if start < end:
            o_n, after[n] = rule(*(x[:, start:end] for x in (q, k, v, *others)), after[n])
            o.append(o_n)
    return torch.cat(o, 1), torch.cat(after)


# -- who looks at a hand-written backward pass -------------------------------------------------------------------------

def transformed():
    """Is a transform of torch.func (vmap, grad, jvp, hessian) at work, or forward-mode differentiation, also inside of
    what is compiled?"""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def seen_through():
    """Will what is computed now be differentiated, vectorized or written down by others, operation by operation?

    So do torch.func's transforms, forward-mode derivatives and torch.export, to which an autograd.Function is opaque.
    """
    return transformed() or torch.compiler.is_compiling() and torch.compiler.is_exporting()


def vectorized(*gradients):
    """Does a backward pass run for many gradients at once (`is_grads_batched`, `jacobian(..., vectorize=True)`)?"""
    many = (_functorch.is_functorch_wrapped_tensor, _functorch.is_legacy_batchedtensor)
    return any(is_many(x) for is_many in many for x in gradients if x is not None)


def differentiated(*gradients):
    """Will a backward pass be differentiated itself (create_graph=True), or is it run for many gradients at once?"""
    return not torch.compiler.is_compiling() and (torch.is_grad_enabled() or vectorized(*gradients))


def by_autograd(rule, inputs, gradients):
    """The gradients of rule(*inputs), given those of its results, such that they can be differentiated again."""
    with torch.enable_grad():
        inputs = [x.view_as(x) for x in inputs]                          # if k comes from q, dq must not hold dk
        wanted = [x for x in inputs if x.requires_grad]
        found = iter(torch.autograd.grad(rule(*inputs), wanted, gradients, create_graph=True))
        return [next(found) if x.requires_grad else None for x in inputs]


class Refused(torch.autograd.Function):
    """The last tensors as they are, until somebody asks for their gradients."""

    @staticmethod
    def forward(ctx, count, *tensors):
        return tensors[-count:]

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("this backward pass is written by hand and cannot be differentiated. For second "
                           'derivatives, use delta_rule(..., backend="torch").')


class Looked:
    """A ctx whose saved tensors were looked up: checkpointing allows it only once."""

    def __init__(self, ctx):
        self.ctx, self.saved_tensors = ctx, ctx.saved_tensors

    def __getattr__(self, name):
        return getattr(self.ctx, name)


def once_differentiable(backward):
    """Decorate the backward pass of an autograd.Function: differentiating it raises.

    PyTorch's own decorator lets a derivative of zero pass for the right one. Here the gradients hang on all that they
    depend on: the gradients that came in, and what was saved. So each input that may need a gradient must be among what
    is saved, or an empty view of it that was made before: `x[:0]`.
    """
    @wraps(backward)
    def once(ctx, *gradients):
        if torch.compiler.is_compiling():                                # cannot look, and differentiates once only
            return backward(ctx, *gradients)
        if vectorized(*gradients):
            raise RuntimeError("this backward pass is written by hand, for one gradient at a time. "
                               'For many at once, use delta_rule(..., backend="torch").')
        if not torch.is_grad_enabled():
            return backward(ctx, *gradients)
        ctx = Looked(ctx)
        with torch.no_grad():
            results = backward(ctx, *gradients)
        reasons = [x for x in (*ctx.saved_tensors, *gradients) if x is not None and x.requires_grad]
        given = [x for x in results if x is not None]
        refused = iter(Refused.apply(len(given), *reasons, *given))
        return tuple(None if x is None else next(refused) for x in results)
    return once
