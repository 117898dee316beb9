"""The front door: `delta_rule(...)` checks its inputs and hands them to `dispatch`, which picks a form and a backend.

compat.py is the other door: it checks what it is given and calls `dispatch` too, the only one to choose.
"""

import time
from collections.abc import Callable, Hashable, Iterable
from functools import wraps
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from .checks import (autocast_dtype, can_look, check_input_values, check_inputs, checked_ends, one_of,
                     warn_if_head_first)
from .ops import delta_rule_chunkwise_by_hand, delta_rule_parallel, delta_rule_recurrent
from .ops.common import one_by_one, transformed, unit
from .ops.own import run_own

__all__ = ["BACKENDS", "FORMS", "choose_backend", "delta_rule", "warmup"]

Form = Literal["auto", "recurrent", "chunkwise", "parallel"]
Backend = Literal["auto", "torch", "triton"]
FORMS, BACKENDS = get_args(Form), get_args(Backend)


def cast_once(rule):
    """Decorate a rule so that autocast treats it as it does a matrix product: q, k and v are cast first, and nothing
    inside again."""
    @wraps(rule)
    def cast_first(q, k, v, *args, **kwargs):
        low, wide = autocast_dtype(q), (torch.float32, torch.bfloat16, torch.float16)  # float64 stays, as in PyTorch
        if low is None:
            return rule(q, k, v, *args, **kwargs)
        q, k, v = (x.to(low) if isinstance(x, torch.Tensor) and x.dtype in wide else x for x in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            return rule(q, k, v, *args, **kwargs)
    return cast_first


@cast_once
def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *, initial_state: Tensor | None = None,
               scale: float = 1.0, form: Form = "auto", backend: Backend | Callable = "auto",
               chunk_size: int | None = None, cu_seqlens: Tensor | None = None,
               check_values: bool | None = None) -> tuple[Tensor, Tensor]:
    """The delta rule over a sequence:  S_t = S_{t-1} - beta_t (S_{t-1} k_t - v_t) k_t^T,   o_t = scale * S_t q_t.

    Args:
        q, k: (B, T, H, K), floating point, of one dtype with v. Keys must satisfy beta |k|^2 <= 2, or the memory
            grows without bound (eq. 2.10); unit keys, `torch.nn.functional.normalize(k, dim=-1)`, always do for
            beta <= 2. B and T may be 0.
        v: (B, T, H, V).
        beta: (B, T, H), write strength, nonnegative; usually a sigmoid. 0 leaves the memory alone, 1 with a unit key
            replaces what was stored.
        initial_state: (B, H, V, K), the memory before the first token; zeros if None.
        scale: a factor on q. The paper uses 1; flash-linear-attention defaults to 1 / sqrt(K).
        form: "recurrent" (one token at a time), "chunkwise" (one chunk at a time), "parallel" (all at once), or "auto":
            chunkwise, except for a single token. All give the same answer.
        backend: "torch", or "triton" for the kernels: forms "recurrent" and "chunkwise", K and V up to 256, no float64,
            first derivatives only. "auto": the kernels on a GPU where they can run, else PyTorch; see `choose_backend`.
            Or a function of your own, (q, k, v, beta, *, initial_state=None, scale=1.0) -> (o, state), or less than
            that; its first call is checked, see `ops.own.run_own`.
        chunk_size: C of the chunkwise form, which changes rounding and speed only. None means what is fast: in PyTorch
            32 on a CPU and 64 elsewhere, in the kernels what their table says. They know 16, 32 and 64.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T: N sequences packed end to end in one row, B = 1,
            each with a memory of its own; then states are (N, H, V, K). PyTorch's forms bring them to the host.
        check_values: look for NaN, infinity, negative beta and beta |k|^2 > 2 as well as at shapes and dtypes.
            None means where a look costs nothing: on a CPU, outside compilers and function transforms. Elsewhere a NaN
            also reaches earlier tokens, those of its chunk. False also silences the warning about head-first tensors.
    Returns:
        o: (B, T, H, V) in the dtype of v, and the state after the last token, (B, H, V, K), float32 for half precision.
        Under autocast q, k and v are first cast to its dtype.
    Derivatives of every order, forward-mode ones and torch.func's transforms work in PyTorch; the kernels refuse all
        but the first. Under torch.compile take first derivatives only: PyTorch may drop higher ones without a word.
    The kernels are deterministic: equal inputs give equal bits, gradients included. Their first call with a shape
        compiles, for seconds; see `warmup`.
    Raises:
        TypeError, ValueError: naming the argument, what came, what was expected, and the fix.
        RuntimeError: backend="triton", and the kernels cannot run on these tensors; says why.
    """
    check_inputs(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=chunk_size, cu_seqlens=cu_seqlens)
    one_of("form", form, FORMS)
    check_backend(backend, form, chunk_size)
    if check_values is not False:
        warn_if_head_first(q, stacklevel=3)
    if can_look(q, k, v, beta) if check_values is None else check_values:
        check_input_values(q, k, v, beta, initial_state=initial_state)
    return dispatch(q, k, v, beta, initial_state, scale=scale, form=form, backend=backend, chunk_size=chunk_size,
                    cu_seqlens=cu_seqlens)


def dispatch(q, k, v, beta, S, *, scale, form, backend, chunk_size, cu_seqlens=None, cu_seqlens_cpu=None,
             normalize=False):
    """Run the rule on arguments that a door has checked: the one place that picks a form and a backend.

    normalize: first divide q and k by sqrt(|.|^2 + 1e-6).    cu_seqlens_cpu: a copy, so that a GPU need not be asked.
    """
    scale = float(scale)                                                 # of a Fraction, say
    if form == "auto":
        form = "recurrent" if q.shape[1] == 1 else "chunkwise"
    own, begins_empty = callable(backend), S is None
    kernels_run = not own and choose_backend(backend, form, q, v, scale=scale, chunk_size=chunk_size) == "triton"
    fused = dict(normalize=True) if normalize and kernels_run and form == "chunkwise" else {}
    if normalize and not fused:
        q, k = unit(q), unit(k)
    if kernels_run:
        from . import kernels                                            # here, so that the package never needs Triton

        options = dict(initial_state=S, scale=scale, cu_seqlens=cu_seqlens)
        if form == "recurrent":
            return kernels.delta_rule_recurrent(q, k, v, beta, **options)
        return kernels.delta_rule_chunkwise(q, k, v, beta, chunk_size=chunk_size, **options, **fused)

    def rule(q, k, v, beta, S):
        if own:
            return run_own(backend, q, k, v, beta, initial_state=None if begins_empty else S, scale=scale)
        if form == "recurrent":
            return delta_rule_recurrent(q, k, v, beta, initial_state=S, scale=scale)
        if form == "parallel":
            return delta_rule_parallel(q, k, v, beta, initial_state=S, scale=scale)
        C = chunk_size or (32 if q.device.type == "cpu" else 64)
        return delta_rule_chunkwise_by_hand(q, k, v, beta, initial_state=S, scale=scale, chunk_size=C)

    if cu_seqlens is None:
        return rule(q, k, v, beta, S)
    ends = checked_ends(cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu, q.shape[1])
    return one_by_one(rule, q, k, v, beta, ends=ends, S=S)


def warmup(shapes: Iterable[tuple[int, ...]], dtype: torch.dtype = torch.bfloat16, *, backward: bool = True,
           device: torch.device | str | None = None, **options: Any) -> dict[tuple[int, ...], float]:
    """Compile what `delta_rule` will need for these shapes, before a program serves or a clock runs.

    Each shape is run once, on zeros: seconds where something is compiled, and the memory of one call. What was compiled
    also stays on disk, in Triton's cache, for the next process.

    Args:
        shapes: (B, T, H, K) with V = K, or (B, T, H, K, V), as many as will come. The number of heads B H, the widths,
            and whether T divides by 16 matter; other lengths share what is compiled.
        dtype: of q, k and v; beta is taken to have it, too.
        backward: also what training needs; False is enough to serve.
        device: None is the GPU, or the CPU where there is none: there nothing is compiled.
        options: of `delta_rule`, such as form="recurrent" or scale=0.5.
    Returns:
        {shape: seconds}, in the order of `shapes`.
    Raises:
        ValueError: a shape that is none. And what `delta_rule` raises.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    seconds = {}
    for shape in map(tuple, shapes):
        if len(shape) not in (4, 5) or not all(isinstance(n, int) and n > 0 for n in shape):
            raise ValueError(f"shapes: got {shape}, expected (B, T, H, K) or (B, T, H, K, V), positive whole numbers.")
        B, T, H, K, V = (*shape, shape[-1])[:5]
        q, k, v = (torch.zeros(B, T, H, D, dtype=dtype, device=device, requires_grad=backward) for D in (K, K, V))
        started = time.perf_counter()
        o, _ = delta_rule(q, k, v, q[..., 0], check_values=False, **options)
        if backward:
            o.backward(torch.zeros_like(o))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds[shape] = time.perf_counter() - started
    return seconds


def check_backend(backend, form="auto", chunk_size=None):
    """Raise unless backend is one of ours, or a function, which then chooses form and chunks itself."""
    if not callable(backend):
        one_of("backend", backend, BACKENDS)
    elif not isinstance(backend, Hashable):
        raise TypeError(f"backend: an instance of {type(backend).__name__} cannot be hashed, so that its check could "
                        "not be remembered. Give a function, or decorate the class with @dataclass(eq=False).")
    elif form != "auto" or chunk_size is not None:
        raise ValueError(f"backend: got a function of your own together with form={form!r} and chunk_size="
                         f'{chunk_size}, which only ours look at. Leave them out, or write backend="torch".')


def choose_backend(backend: Backend, form: Form, q: Tensor, v: Tensor, *, scale: float = 1.0,
                   chunk_size: int | None = None) -> str:
    """"torch" or "triton": what `delta_rule` runs on with these arguments; only shapes, dtypes and devices matter.

    Raises, for backend="triton", ValueError if there is no such kernel and RuntimeError if this machine cannot run it.
    """
    if backend == "torch" or backend == "auto" and not compiled_on(q.device):
        return "torch"
    unfit = unfit_for_kernels(form, q, v, scale, chunk_size)
    reason = "" if unfit and backend == "auto" else why_not(q)
    if backend == "auto":
        return "torch" if unfit or reason else "triton"
    if unfit:
        raise ValueError(unfit)
    if reason:
        raise RuntimeError(f"backend: {reason}")
    return "triton"


def unfit_for_kernels(form, q, v, scale, chunk_size):
    """What has no kernel about this call, with the fix; "" if there is one."""
    K, V = q.shape[-1], v.shape[-1]
    if form == "parallel":
        return 'form: got "parallel" together with backend="triton", which has no such kernel. Use "chunkwise".'
    if max(K, V) > 256:
        return f'backend: the kernels hold heads of at most 256, but K = {K} and V = {V}. Use backend="torch".'
    if scale == 0:
        return 'scale: got 0, by which the backward kernels divide. Use backend="torch".'
    if form == "chunkwise" and chunk_size not in (None, 16, 32, 64):
        return (f"chunk_size: got {chunk_size}, but the kernels know 16, 32 and 64. Use one of these, None, "
                'or backend="torch".')
    if form == "chunkwise" and chunk_size == 64 and q.dtype == torch.float32 and max(K, V) > 128:
        return (f"chunk_size: 64 rows of {max(K, V)} float32 numbers do not fit into the shared memory of every GPU. "
                'Use 16, 32, None, or backend="torch".')
    return ""


def why_not(q):
    """The reason why kernels cannot run on q, here and now; "" if they can."""
    from . import kernels

    if transformed():
        return ("the kernels have neither forward-mode derivatives nor vmap nor the other transforms of torch.func. "
                'Use backend="torch".')
    return kernels.why_not(q.device, q.dtype)


def compiled_on(device):
    """Would kernels run as compiled programs there? The alternative is Triton's interpreter, which is for tests."""
    if device.type != "cuda":
        return False
    from . import kernels
    return not kernels.interpreted()
