"""The front door: `delta_rule(...)` checks its inputs, picks a form and a backend, and runs it. It and compat.py choose between ops and kernels."""

from functools import wraps

import torch

from .checks import autocast_dtype, can_look, check_input_values, check_inputs, one_of
from .ops import delta_rule_chunkwise_by_hand, delta_rule_parallel, delta_rule_recurrent

FORMS = ("auto", "recurrent", "chunkwise", "parallel")
BACKENDS = ("auto", "torch", "triton")


def cast_once(rule):
    """Decorate a rule so that autocast treats it as it does a matrix product: q, k and v are cast first, and nothing inside again."""
    @wraps(rule)
    def cast_first(q, k, v, *args, **kwargs):
        low, wide = autocast_dtype(q), (torch.float32, torch.bfloat16, torch.float16)                     # float64 stays, as in PyTorch
        if low is None:
            return rule(q, k, v, *args, **kwargs)
        q, k, v = (x.to(low) if isinstance(x, torch.Tensor) and x.dtype in wide else x for x in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            return rule(q, k, v, *args, **kwargs)
    return cast_first


@cast_once
def delta_rule(q, k, v, beta, *, initial_state=None, scale=1.0, form="auto", backend="auto",
               chunk_size=None, check_values=None):
    """The delta rule over a sequence:  S_t = S_{t-1} - beta_t (S_{t-1} k_t - v_t) k_t^T,   o_t = scale * S_t q_t.

    Args:
        q, k: (B, T, H, K), floating point, of one dtype with v. Keys must satisfy beta |k|^2 <= 2, or the memory
            grows without bound (eq. 2.10); unit keys, `torch.nn.functional.normalize(k, dim=-1)`, always do for beta <= 2.
        v: (B, T, H, V).
        beta: (B, T, H), write strength, nonnegative; usually a sigmoid. 0 leaves the memory alone, 1 with a unit key
            replaces what was stored.
        initial_state: (B, H, V, K), the memory before the first token; zeros if None.
        scale: a factor on q. The paper uses 1; flash-linear-attention defaults to 1 / sqrt(K).
        form: "recurrent" (one token at a time), "chunkwise" (one chunk at a time), "parallel" (all at once), or "auto":
            chunkwise, except for a single token. All give the same answer. The chunkwise form has its backward pass
            written by hand and no second derivatives; the other two have them in PyTorch.
        backend: "torch", or "triton" for the kernels: forms "recurrent" and "chunkwise", K and V up to 256, no float64, no
            second derivatives. "auto": the kernels on a GPU where they can run, PyTorch elsewhere; see `choose_backend`.
        chunk_size: C of the chunkwise form, which changes rounding and speed only. None means what is fast: in PyTorch 32 on
            a CPU and 64 elsewhere, in the kernels what their table says. They know 16, 32 and 64.
        check_values: look for NaN, infinity, negative beta and beta |k|^2 > 2 as well as at shapes and dtypes.
            None means where a look costs nothing: on a CPU, outside compilers and function transforms. Elsewhere a NaN also reaches
            earlier tokens, those of its chunk.
    Returns:
        o: (B, T, H, V) in the dtype of v, and the state after the last token, (B, H, V, K), float32 for half precision.
        Under autocast q, k and v are first cast to its dtype.
    Raises:
        TypeError, ValueError: naming the argument, what came, what was expected, and the fix.
        RuntimeError: backend="triton", and the kernels cannot run on these tensors; says why.
    """
    check_inputs(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=chunk_size)
    if 0 in q.shape:
        raise ValueError(f"q: got shape {tuple(q.shape)}, expected at least one token.")
    one_of("form", form, FORMS)
    one_of("backend", backend, BACKENDS)
    if can_look(q, k, v, beta) if check_values is None else check_values:
        check_input_values(q, k, v, beta, initial_state=initial_state)

    if form == "auto":
        form = "recurrent" if q.shape[1] == 1 else "chunkwise"
    arguments = dict(initial_state=initial_state, scale=scale)
    if choose_backend(backend, form, q, v, scale=scale, chunk_size=chunk_size) == "triton":
        from . import kernels

        if form == "recurrent":
            return kernels.delta_rule_recurrent(q, k, v, beta, **arguments)
        return kernels.delta_rule_chunkwise(q, k, v, beta, chunk_size=chunk_size, **arguments)
    if form == "recurrent":
        return delta_rule_recurrent(q, k, v, beta, **arguments)
    if form == "parallel":
        return delta_rule_parallel(q, k, v, beta, **arguments)
    if chunk_size is None:
        chunk_size = 32 if q.device.type == "cpu" else 64
    return delta_rule_chunkwise_by_hand(q, k, v, beta, chunk_size=chunk_size, **arguments)


def choose_backend(backend, form, q, v, *, scale=1.0, chunk_size=None):
    """"torch" or "triton": what `delta_rule` runs on with these arguments, of which only shapes, dtypes and devices matter.

    Raises, for backend="triton", ValueError if there is no such kernel and RuntimeError if this machine cannot run it.
    """
    if backend == "torch" or backend == "auto" and not compiled_on(q.device):
        return "torch"
    from . import kernels                                                # here, so that the package never needs Triton

    K, V, unfit = q.shape[-1], v.shape[-1], ""
    if form == "parallel":
        unfit = 'form: got "parallel" together with backend="triton", which has no such kernel. Use "chunkwise".'
    elif max(K, V) > 256:
        unfit = f'backend: the kernels hold heads of at most 256, but K = {K} and V = {V}. Use backend="torch".'
    elif scale == 0:
        unfit = 'scale: got 0, by which the backward kernels divide. Use backend="torch".'
    elif form == "chunkwise" and chunk_size not in (None, 16, 32, 64):
        unfit = f'chunk_size: got {chunk_size}, but the kernels know 16, 32 and 64. Use one of these, None, or backend="torch".'
    elif form == "chunkwise" and chunk_size == 64 and q.dtype == torch.float32 and max(K, V) > 128:
        unfit = (f"chunk_size: 64 rows of {max(K, V)} float32 numbers do not fit into the shared memory of every GPU. "
                 'Use 16, 32, None, or backend="torch".')
    reason = kernels.why_not(q.device, q.dtype)
    if backend == "auto":
        return "torch" if unfit or reason else "triton"
    if unfit:
        raise ValueError(unfit)
    if reason:
        raise RuntimeError(f"backend: {reason}")
    return "triton"


def compiled_on(device):
    """Would kernels run as compiled programs there? The alternative is Triton's interpreter, which is for tests."""
    if device.type != "cuda":
        return False
    from . import kernels
    return not kernels.interpreted()
