"""What people call: the arguments are checked and brought into the form that the operators expect."""

import math

import torch
import torch.nn.functional as F

from ..checks import autocast_dtype, check_inputs, check_state, one_of
from .launches import run_step
from .operator import by_chunks, by_tokens, step, watched


def entering(q, k, v, beta, initial_state, cu_seqlens, scale, chunk_size=None):
    """The inputs as the operators expect them."""
    if low := autocast_dtype(q):
        q, k, v = (x.to(low) for x in (q, k, v))
    check_inputs(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=chunk_size, cu_seqlens=cu_seqlens)
    if scale == 0:
        raise ValueError("scale: got 0, expected another number: the backward pass divides by it.")
    beta = beta if beta.dtype in (torch.bfloat16, torch.float16) else beta.float()
    initial_state = None if initial_state is None else initial_state.float().contiguous()
    cu_seqlens = None if cu_seqlens is None else cu_seqlens.contiguous()
    return q, k, v, beta.contiguous(), initial_state, cu_seqlens, float(scale)


def delta_rule_chunkwise(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None, cu_seqlens=None,
                         normalize=False, sigmoid=False, precision="tf32x3", save_states=False, segments=None):
    """The delta rule, chunk by chunk: two launches forward, three or four backward; with segments two and up to four
    more. As `ops.delta_rule_chunkwise`, and:

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    K, V <= 256; bfloat16, float16 or float32. Read as they lie if the
            last dimension is contiguous, tokens lie at one stride through the whole batch, and rows start at multiples
            of 16 bytes; else copied. In float16, gradients must stay below 65,504 * scale: the kernels keep them
            divided by it.
        beta: (B, T, H), of any of these dtypes. Where q is float16, |beta| <= 2^-14 counts as 0.
        initial_state: (B, H, V, K), or (N, H, V, K) with cu_seqlens; None starts with nothing.
        chunk_size: 16, 32 or 64; None is the table's choice.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T on the device: N sequences packed end to end in
            one row, B = 1. The host does not read them from a GPU, and there wrong ones make the kernels read and write
            out of bounds.
        normalize: first divide q and k by sqrt(|.|^2 + 1e-6).    sigmoid: first take the sigmoid of beta.
        precision: of products of float32 inputs: "ieee" (slow), "tf32x3" (three tf32 products, nearly as exact) or
            "tf32".
        save_states: keep S and X of every chunk for the backward pass instead of computing them again. In bfloat16 that
            is at most 2V(K / C + 1) bytes a token and head, besides the 2C bytes of UT, which is held either way.
        segments: cut each sequence into so many pieces that run side by side, see splitting.py. About three times the
            work of one sweep, so it pays for long sequences with few heads; not with cu_seqlens. None: as many as pay,
            and in float32 one; how many depends on the batch, and with it the last digits. 1 keeps sequences whole.
    Returns:
        o: (B, T, H, V), and the state after the last token, (N or B, H, V, K) in float32.
    Deterministic: equal inputs give equal bits, gradients included, on one kind of GPU with one version of Triton. No
    result depends on which program is first. Another batch size, number of heads or `save_states` may mean another
    plan, and then other last digits.
    """
    one_of("precision", precision, ("ieee", "tf32x3", "tf32"))
    one_of("chunk_size", chunk_size, (None, 16, 32, 64))
    most = math.inf if cu_seqlens is None else 1
    if segments is not None and not (isinstance(segments, int) and 1 <= segments <= most):
        raise ValueError(f"segments: got {segments!r}{'' if cu_seqlens is None else ' together with cu_seqlens'}, "
                         "expected None, 1 or, for equal lengths, a larger whole number.")
    q, k, v, beta, state, cu_seqlens, scale = entering(q, k, v, beta, initial_state, cu_seqlens, scale, chunk_size)
    K, V, beta = q.shape[3], v.shape[3], beta.float() if sigmoid else beta
    # Zeros change nothing. Rows of whole 16 numbers, and in half precision on a GPU of at least 64: there Triton 3.6
    # was caught in errors at 16.
    unit = 64 if q.is_cuda and q.dtype != torch.float32 else 16
    more_k, more_v = (-D % (unit if D < unit else 16) for D in (K, V))
    if more_k or more_v:
        q, k, v = F.pad(q, (0, more_k)), F.pad(k, (0, more_k)), F.pad(v, (0, more_v))
        state = None if state is None else F.pad(state, (0, more_k, 0, more_v))
    o, final = by_chunks(q, k, v, beta, state, cu_seqlens, scale, bool(normalize), bool(sigmoid), precision,
                         chunk_size or 0, bool(save_states), segments or 0)
    if more_k or more_v:
        o, final = o[..., :V], final[..., :V, :K].contiguous()           # contiguous: delta_rule_step wants it so
    return o, final


def delta_rule_recurrent(q, k, v, beta, *, initial_state=None, scale=1.0, cu_seqlens=None):
    """The delta rule, one token at a time, in one launch (backward two): the baseline, and the right form for a few
    tokens. Arguments and results as in `delta_rule_chunkwise`, and as deterministic."""
    inputs = q, k, v, beta, state, *_ = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, beta, state))
    return by_tokens(*inputs, save)


def delta_rule_step(q, k, v, beta, state, *, scale=1.0):
    """One token of decoding: q, k: (B, H, K), v: (B, H, V), beta: (B, H). Returns o: (B, H, V).

    state: (B, H, V, K), float32 and contiguous, is updated in place; no gradients.
    Cost: the state is read and written once. Deterministic, as the others.
    """
    expected = {"q": (q, "BHK"), "k": (k, "BHK"), "v": (v, "BHV"), "beta": (beta, "BH"), "state": (state, "BHVK")}
    for name, (x, letters) in expected.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name}: got {type(x).__name__}, expected a torch.Tensor ({', '.join(letters)}).")
        if x.ndim != len(letters):
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {len(letters)} dimensions "
                             f"({', '.join(letters)}): one token.")
    q, k, v, beta, _, _, scale = entering(*(x.unsqueeze(1) for x in (q, k, v, beta)), None, None, scale)
    (B, _, H, K), V = q.shape, v.shape[3]
    check_state("state", state, (B, H, V, K))
    if state.dtype != torch.float32 or state.device != q.device or not state.is_contiguous():
        raise ValueError(f"state: got {state.dtype} on {state.device} with strides {state.stride()}, expected "
                         f"torch.float32 on {q.device} and contiguous: it is updated in place.")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, beta, state)):
        raise RuntimeError("delta_rule_step has no backward pass. "
                           "Call it under torch.no_grad(), or use delta_rule_recurrent.")
    if watched(q, k, v, beta, state):
        return step(q, k, v, beta, state, scale).squeeze(1)
    o = run_step(q, k, v, beta, state, scale)
    if not state.is_inference():
        torch.autograd.graph.increment_version(state)                # as every change in place does, the operator's too
    return o.squeeze(1)
