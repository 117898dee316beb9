"""The bridge from flash-linear-attention: its two delta-rule functions, with its arguments, defaults and state layout.

    from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule

What differs from this book, and is converted here: `scale=None` means 1 / sqrt(K); a state is (N, H, K, V), the
transpose of the book's S; the final state is returned only on request. Written for the signatures of version 0.6.0.
Unknown arguments raise; nothing is ignored. Both run on the Triton kernels or on PyTorch, as `delta_rule` with
backend="auto" does; on the kernels the host never waits for the GPU.
"""

import torch
from torch import Tensor

from .checks import check_inputs, warn_if_head_first
from .functional import cast_once, dispatch

__all__ = ["chunk_delta_rule", "fused_recurrent_delta_rule"]


def chunk_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float | None = None,
                     initial_state: Tensor | None = None, output_final_state: bool = False,
                     use_qk_l2norm_in_kernel: bool = False, cu_seqlens: Tensor | None = None,
                     cu_seqlens_cpu: Tensor | None = None, *,
                     chunk_size: int | None = None) -> tuple[Tensor, Tensor | None]:
    """The chunkwise form behind the library's signature.

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    beta: (B, T, H). Each may be float32 or float64, which the library
            refuses here.
        scale: a factor on q; None means 1 / sqrt(K).
        initial_state: (N, H, K, V), one per sequence.
        output_final_state: return the final state as well, (N, H, K, V) in float32 (float64 for float64 inputs).
        use_qk_l2norm_in_kernel: divide q and k by sqrt(|.|^2 + 1e-6) first.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T: N sequences packed end to end in one row, B = 1.
            The kernels do not bring them to the host: wrong ones go unnoticed unless cu_seqlens_cpu comes along.
        cu_seqlens_cpu: a copy of cu_seqlens on the CPU, so that a GPU need not be asked for the lengths.
        chunk_size: changes rounding and speed only. None is what is fast here; the library's default is 64.
    Returns:
        o: (B, T, H, V), and the final state, or None.
    """
    return _run(q, k, v, beta, "chunkwise", scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, cu_seqlens, cu_seqlens_cpu, chunk_size)


def fused_recurrent_delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor | None = None,
                               scale: float | None = None, initial_state: Tensor | None = None,
                               output_final_state: bool = False, use_qk_l2norm_in_kernel: bool = False,
                               cu_seqlens: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The recurrent form behind the library's signature; `beta=None` means 1 everywhere. Else as `chunk_delta_rule`.

    One strength per head, (B, T, H): a strength for every value, (B, T, H, V), which the library has here, is refused.
    """
    if beta is None and isinstance(q, torch.Tensor):
        beta = torch.ones_like(q[..., 0])
    return _run(q, k, v, beta, "recurrent", scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, cu_seqlens, None, None)


@cast_once
def _run(q, k, v, beta, form, scale, initial_state, output_final_state, l2norm, cu_seqlens, cu_seqlens_cpu, chunk_size):
    """Check, bring state and scale into the book's form, run; no look at values: the library does not look either."""
    if isinstance(beta, torch.Tensor) and beta.ndim == 4 and beta.shape[-1] != 1:
        raise ValueError(f"beta: got shape {tuple(beta.shape)}, expected one strength per token and head, (B, T, H). "
                         "There is no form with a strength for every value.")
    if scale is None and isinstance(q, torch.Tensor) and q.shape[-1:] > (0,):
        scale = q.shape[-1] ** -0.5
    N = check_inputs(q, k, v, beta, scale=scale, chunk_size=chunk_size, cu_seqlens=cu_seqlens,
                     cu_seqlens_cpu=cu_seqlens_cpu)
    warn_if_head_first(q, stacklevel=4)
    state = _enter(initial_state, q, (N, q.shape[2], q.shape[3], v.shape[3]))
    o, S = dispatch(q, k, v, beta, state, scale=scale, form=form, backend="auto", chunk_size=chunk_size,
                    cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu, normalize=l2norm)
    return o, S.mT.contiguous() if output_final_state else None


def _enter(initial_state, q, expected):
    """The library's state, (N, H, K, V), as the book's, (N, H, V, K)."""
    if initial_state is None:
        return None
    if not isinstance(initial_state, torch.Tensor) or not initial_state.is_floating_point():
        came = getattr(initial_state, "dtype", type(initial_state).__name__)
        raise TypeError(f"initial_state: got {came}, expected a floating-point tensor.")
    if tuple(initial_state.shape) != expected or initial_state.device != q.device:
        N, H, K, V = expected
        of_the_book = tuple(initial_state.shape) == (N, H, V, K) != expected
        fix = " This is the layout of the book: pass S.mT." if of_the_book else ""
        raise ValueError(f"initial_state: got shape {tuple(initial_state.shape)} on {initial_state.device}, "
                         f"expected (N, H, K, V) = {expected} on {q.device}.{fix}")
    return initial_state.mT
