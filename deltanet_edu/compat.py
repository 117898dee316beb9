"""The bridge from flash-linear-attention: its two delta-rule functions, with its arguments, defaults and state layout.

    from deltanet_edu.compat import chunk_delta_rule, fused_recurrent_delta_rule

What differs from this book, and is converted here: `scale=None` means 1 / sqrt(K); a state is (N, H, K, V), the
transpose of the book's S; the final state is returned only on request. Written for the signatures of version 0.6.0.
Unknown arguments raise; nothing is ignored.
"""

import torch

from .functional import delta_rule


def chunk_delta_rule(q, k, v, beta, scale=None, initial_state=None, output_final_state=False,
                     use_qk_l2norm_in_kernel=False, cu_seqlens=None, cu_seqlens_cpu=None, *, chunk_size=64):
    """The chunkwise form behind the library's signature.

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    beta: (B, T, H).
        scale: a factor on q; None means 1 / sqrt(K).
        initial_state: (N, H, K, V), one per sequence.
        output_final_state: return the final state as well, (N, H, K, V) in float32 (float64 for float64 inputs).
        use_qk_l2norm_in_kernel: divide q and k by sqrt(|.|^2 + 1e-6) first.
        cu_seqlens: (N + 1,) integers 0 = c_0 < c_1 < ... < c_N = T: N sequences packed end to end in one row, B = 1.
        cu_seqlens_cpu: a copy of cu_seqlens on the CPU, so that a GPU need not be asked for the lengths.
        chunk_size: any positive integer.
    Returns:
        o: (B, T, H, V), and the final state, or None.
    """
    return _run("chunkwise", q, k, v, beta, scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, cu_seqlens, cu_seqlens_cpu, chunk_size)


def fused_recurrent_delta_rule(q, k, v, beta=None, scale=None, initial_state=None, output_final_state=False,
                               use_qk_l2norm_in_kernel=False, cu_seqlens=None):
    """The recurrent form behind the library's signature; `beta=None` means 1 everywhere. Otherwise as `chunk_delta_rule`."""
    if beta is None and isinstance(q, torch.Tensor):
        beta = torch.ones_like(q[..., 0])
    return _run("recurrent", q, k, v, beta, scale, initial_state, output_final_state,
                use_qk_l2norm_in_kernel, cu_seqlens, None, 64)


def _run(form, q, k, v, beta, scale, initial_state, output_final_state, l2norm, cu_seqlens, cu_seqlens_cpu, chunk_size):
    for name, x in (("q", q), ("k", k), ("v", v), ("beta", beta)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name}: got {type(x).__name__}, expected a torch.Tensor.")
    if scale is None:
        scale = k.shape[-1] ** -0.5
    if l2norm:
        q, k = (x * torch.rsqrt(x.float().square().sum(-1, keepdim=True) + 1e-6).to(x.dtype) for x in (q, k))
    state = None if initial_state is None else initial_state.mT
    options = dict(scale=scale, form=form, chunk_size=chunk_size)

    if cu_seqlens is None:
        if cu_seqlens_cpu is not None:
            raise ValueError("cu_seqlens_cpu: came without cu_seqlens; it is only its copy on the CPU. Pass cu_seqlens too.")
        o, S = delta_rule(q, k, v, beta, initial_state=state, **options)
    else:
        ends = _sequence_ends(q, cu_seqlens if cu_seqlens_cpu is None else cu_seqlens_cpu, initial_state)
        pieces = [delta_rule(*(x[:, start:end] for x in (q, k, v, beta)),
                             initial_state=None if state is None else state[n:n + 1], **options)
                  for n, (start, end) in enumerate(zip(ends, ends[1:]))]
        o, S = torch.cat([o for o, _ in pieces], 1), torch.cat([S for _, S in pieces], 0)
    return o, S.mT.contiguous() if output_final_state else None


def _sequence_ends(q, cu_seqlens, initial_state):
    """The list [0, c_1, ..., T], after checking that it is one."""
    if not isinstance(cu_seqlens, torch.Tensor) or cu_seqlens.is_floating_point() or cu_seqlens.ndim != 1 or len(cu_seqlens) < 2:
        raise TypeError("cu_seqlens: expected a one-dimensional integer tensor [0, c_1, ..., T] with at least two entries.")
    if q.shape[0] != 1:
        raise ValueError(f"q: got batch size {q.shape[0]} together with cu_seqlens, expected 1: pack the sequences end to end in one row.")
    ends, T = cu_seqlens.tolist(), q.shape[1]
    if ends[0] != 0 or ends[-1] != T or any(a >= b for a, b in zip(ends, ends[1:])):
        raise ValueError(f"cu_seqlens: got {ends}, expected strictly increasing ends from 0 to T = {T}.")
    if initial_state is not None and initial_state.shape[0] != len(ends) - 1:
        raise ValueError(f"initial_state: got {initial_state.shape[0]} states, but cu_seqlens describes {len(ends) - 1} sequences.")
    return ends
