"""The bridge from flash-linear-attention: its two delta-rule functions, with its arguments, defaults and state layout.

    from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule

What differs from this book, and is converted here: `scale=None` means 1 / sqrt(K); a state is (N, H, K, V), the
transpose of the book's S; the final state is returned only on request. Written for the signatures of version 0.6.0.
Unknown arguments raise; nothing is ignored. Both run on the Triton kernels or on PyTorch, as `delta_rule` with
backend="auto" does; on the kernels the host never waits for the GPU.
"""

import torch

from .checks import check_inputs, checked_ends
from .functional import cast_once, choose_backend, delta_rule
from .ops.common import unit, working_dtype


def chunk_delta_rule(q, k, v, beta, scale=None, initial_state=None, output_final_state=False,
                     use_qk_l2norm_in_kernel=False, cu_seqlens=None, cu_seqlens_cpu=None, *, chunk_size=None):
    """The chunkwise form behind the library's signature.

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    beta: (B, T, H). Each may be float32 or float64, which the library refuses here.
        scale: a factor on q; None means 1 / sqrt(K).
        initial_state: (N, H, K, V), one per sequence.
        output_final_state: return the final state as well, (N, H, K, V) in float32 (float64 for float64 inputs).
        use_qk_l2norm_in_kernel: divide q and k by sqrt(|.|^2 + 1e-6) first.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T: N sequences packed end to end in one row, B = 1.
            The kernels do not bring them to the host, so wrong ones go unnoticed there unless cu_seqlens_cpu comes along.
        cu_seqlens_cpu: a copy of cu_seqlens on the CPU, so that a GPU need not be asked for the lengths.
        chunk_size: changes rounding and speed only. None leaves the choice to `delta_rule`; the library's default is 64.
    Returns:
        o: (B, T, H, V), and the final state, or None.
    """
    return _run(q, k, v, beta, "chunkwise", scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, cu_seqlens, cu_seqlens_cpu, chunk_size)


def fused_recurrent_delta_rule(q, k, v, beta=None, scale=None, initial_state=None, output_final_state=False,
                               use_qk_l2norm_in_kernel=False, cu_seqlens=None):
    """The recurrent form behind the library's signature; `beta=None` means 1 everywhere. Otherwise as `chunk_delta_rule`.

    One strength per head, (B, T, H): a strength for every value, (B, T, H, V), which the library has here, is refused.
    """
    if beta is None and isinstance(q, torch.Tensor):
        beta = torch.ones_like(q[..., 0])
    return _run(q, k, v, beta, "recurrent", scale, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens, None, None)


@cast_once
def _run(q, k, v, beta, form, scale, initial_state, output_final_state, l2norm, cu_seqlens, cu_seqlens_cpu, chunk_size):
    if isinstance(beta, torch.Tensor) and beta.ndim == 4 and beta.shape[-1] != 1:
        raise ValueError(f"beta: got shape {tuple(beta.shape)}, expected one strength per token and head, (B, T, H). "
                         "There is no form with a strength for every value.")
    if scale is None and isinstance(q, torch.Tensor):
        scale = q.shape[-1] ** -0.5
    sequences = check_inputs(q, k, v, beta, scale=scale, chunk_size=chunk_size, cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu)
    state = _enter(initial_state, q, (sequences, q.shape[2], q.shape[3], v.shape[3]))
    options = dict(scale=scale, chunk_size=chunk_size)                   # and no look at values: the library does not look either

    kernels_run = choose_backend("auto", form, q, v, **options) == "triton"
    fused = dict(normalize=l2norm) if kernels_run and form == "chunkwise" else {}
    if l2norm and not fused:
        q, k = (unit(x) for x in (q, k))
    if kernels_run:
        o, S = _on_kernels(q, k, v, beta, form, state, cu_seqlens, options | fused)
    elif cu_seqlens is None:
        o, S = delta_rule(q, k, v, beta, initial_state=state, form=form, check_values=False, **options)
    else:
        ends = checked_ends(cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu, q.shape[1])
        o, S = _one_by_one(q, k, v, beta, ends, state, options | dict(form=form))
    return o, S.mT.contiguous() if output_final_state else None


def _on_kernels(q, k, v, beta, form, state, cu_seqlens, options):
    from . import kernels

    options = options | dict(initial_state=state, cu_seqlens=cu_seqlens)
    if form == "chunkwise":
        return kernels.delta_rule_chunkwise(q, k, v, beta, **options)
    del options["chunk_size"]
    return kernels.delta_rule_recurrent(q, k, v, beta, **options)


def _one_by_one(q, k, v, beta, ends, state, options):
    """Packed sequences without kernels that know of them. The final state of an empty one is its initial state."""
    dtype = working_dtype(q, k, v, beta)
    if state is None:
        state = q.new_zeros(len(ends) - 1, q.shape[2], v.shape[3], q.shape[3])
    o, final = [], list(state.to(dtype).split(1))                        # (1, H, V, K) each
    for n, (start, end) in enumerate(zip(ends, ends[1:])):
        if start < end:
            o_n, final[n] = delta_rule(*(x[:, start:end] for x in (q, k, v, beta)), initial_state=final[n], check_values=False, **options)
            o.append(o_n)
    return torch.cat(o, 1), torch.cat(final, 0)


def _enter(initial_state, q, expected):
    """The library's state, (N, H, K, V), as the book's, (N, H, V, K)."""
    if initial_state is None:
        return None
    if not isinstance(initial_state, torch.Tensor) or not initial_state.is_floating_point():
        raise TypeError(f"initial_state: got {getattr(initial_state, 'dtype', type(initial_state).__name__)}, expected a floating-point tensor.")
    if tuple(initial_state.shape) != expected or initial_state.device != q.device:
        N, H, K, V = expected
        fix = " This is the layout of the book: pass S.mT." if tuple(initial_state.shape) == (N, H, V, K) != expected else ""
        raise ValueError(f"initial_state: got shape {tuple(initial_state.shape)} on {initial_state.device}, "
                         f"expected (N, H, K, V) = {expected} on {q.device}.{fix}")
    return initial_state.mT
