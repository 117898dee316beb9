"""From tensors to launches: the operators that PyTorch sees, and the functions that people call.

Each rule is a `torch.library` operator with a fake version (shapes without data, for torch.compile) and a backward pass,
so that compilation, activation checkpointing and CUDA graphs treat it as one operation. Nothing here waits for the GPU.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from . import backward, configs, forward, recurrent, splitting, why_not


def launch(kernel, programs, config, first, *args, **constants):
    """Run so many programs of a kernel on the device of its first argument."""
    def scratch(size, alignment, stream):                                # for the descriptors that a kernel makes
        return torch.empty(size, dtype=torch.int8, device=first.device)
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        triton.set_allocator(scratch)
        if programs:
            kernel[(programs,)](first, *args, **constants, **config.options())


def plan_of(q, V, heads):
    """The configurations for q, if kernels can run on it at all. Called inside operators only: compilers need not see it."""
    if reason := why_not(q.device, q.dtype):
        raise RuntimeError(f"kernels: {reason}")
    return configs.plan(q.shape[3], V, q.dtype, heads, configs.device(q.device.index if q.is_cuda else None))


def token_rows(x):
    """x: (B, T, H, D) with tokens at one stride through the whole batch and rows at multiples of 16 bytes; copied only if it is not so."""
    in_place = x.stride(3) == 1 and (len(x) == 1 or x.stride(0) == x.shape[1] * x.stride(1)) and x.data_ptr() % 16 == 0
    return x if in_place and all(s > 0 and s * x.element_size() % 16 == 0 for s in x.stride()[1:3]) else x.contiguous()


def sequences(q, cu_seqlens, C):
    """How many sequences there are, and how many chunk slots they own; see `tiles.sequence`."""
    B, T = q.shape[:2]
    n = B if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return n, B * -(-T // C) if cu_seqlens is None else B * T // C + n


def sequence_of_slot(cu_seqlens, slots, C):
    """For variable lengths: which sequence owns each slot, worked out on the device."""
    if cu_seqlens is not None:
        first = cu_seqlens // C + torch.arange(len(cu_seqlens), device=cu_seqlens.device)
        owner = torch.searchsorted(first, torch.arange(slots, device=first.device), right=True) - 1
        return owner.clamp(max=len(cu_seqlens) - 2).int()


def present(x):
    """An operator cannot return None, so what was not asked for is empty."""
    return x if x.numel() else None


# -- chunkwise ---------------------------------------------------------------------------------------------------------------

def sweep_forward(q, k, v, beta, T1, initial, final, cu_seqlens, scale, precision, o=None, states=None, writes=None):
    (n, H, V, K), C = final.shape, T1.shape[3]
    config = plan_of(q, V, n * H).forward
    launch(forward.forward_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial, o, final, states, writes,
           cu_seqlens, scale, q.shape[1], H, *q.stride()[1:3], *k.stride()[1:3], *(k if v is None else v).stride()[1:3],
           K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=precision)


@torch.library.custom_op("deltanet_edu::chunkwise", mutates_args=())
def chunkwise(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None, cu_seqlens: Tensor | None, scale: float,
              normalize: bool, sigmoid: bool, precision: str, C: int, save: bool, segments: int) -> list[Tensor]:
    """o, final state, T1, unit q, unit k, their norms, sigmoid of beta, states, writes; and of each segment the map M and the
    memory that enters, see splitting.py. C = 0 is the table's choice."""
    out = chunkwise_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save, segments)
    o, final, T1, unit_q, unit_k, norms, strength, states, writes, M, entering = map(present, out)
    (B, T, H, K), C, slots = q.shape, T1.shape[3], sequences(q, cu_seqlens, T1.shape[3])[1]
    q, k, v = token_rows(q), token_rows(k), token_rows(v)
    # T1 is rounded to the dtype of the inputs, which for bfloat16 loses more than building it in tf32 does
    launch(forward.inverse_kernel, slots * H, configs.INVERSE, q, k, beta, T1, unit_q, unit_k, norms, strength,
           cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), T, H, B * T, *q.stride()[1:3], *k.stride()[1:3],
           K=K, C=C, PRECISION=precision, MERGE=precision if q.dtype == torch.float32 else "tf32")
    q, k, beta = unit_q if normalize else q, unit_k if normalize else k, strength if sigmoid else beta
    if segments > 1:
        cu_seqlens, end = splitting.bounds(B, T, segments, C, q.device), torch.empty_like(entering)
        sweep_forward(q, k, None, beta, T1, torch.eye(K, device=q.device).expand_as(M).contiguous(), M, cu_seqlens, scale, precision)
        sweep_forward(q, k, v, beta, T1, None, end, cu_seqlens, scale, precision)
        splitting.scan(*(x.unflatten(0, (B, segments)) for x in (M, end)), initial, out=entering.unflatten(0, (B, segments)))
        sweep_forward(q, k, v, beta, T1, entering, end, cu_seqlens, scale, precision, o, states, writes)
        final.copy_(end.unflatten(0, (B, segments))[:, -1])
    else:
        sweep_forward(q, k, v, beta, T1, initial, final, cu_seqlens, scale, precision, o, states, writes)
    return out


@chunkwise.register_fake
def chunkwise_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save, segments):
    (B, T, H, K), V, C = q.shape, v.shape[3], C or plan_of(q, v.shape[3], 0).C
    n, slots = sequences(q, cu_seqlens, C)
    unit, parts = (B, T, H, K) if normalize else (0,), B * segments
    slots = slots if segments == 1 else B * T // C + parts
    return [q.new_empty(B, T, H, V), beta.new_empty(n, H, V, K), q.new_empty(B, T, H, C),
            q.new_empty(unit), q.new_empty(unit), beta.new_empty((2, B, T, H) if normalize else 0), beta.new_empty((B, T, H) if sigmoid else 0),
            q.new_empty((slots, H, V, K) if save else 0), q.new_empty((B, T, H, V) if save else 0),
            beta.new_empty((parts, H, K, K) if segments > 1 else 0), beta.new_empty((parts, H, V, K) if segments > 1 else 0)]


@torch.library.custom_op("deltanet_edu::chunkwise_backward", mutates_args=())
def chunkwise_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None,
                       cu_seqlens: Tensor | None, T1: Tensor, norms: Tensor | None, states: Tensor | None, writes: Tensor | None,
                       M: Tensor | None, scale: float, sigmoid: bool, precision: str) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state. With M, `initial` is what enters each segment."""
    out = gradient_shapes(do, d_final, q, k, v, beta, initial, cu_seqlens)
    (B, T, H, K), V, C = q.shape, v.shape[3], T1.shape[3]
    if M is not None:
        cu_seqlens = splitting.bounds(B, T, len(M) // B, C, q.device)
    n, slots = sequences(q, cu_seqlens, C)
    plan = plan_of(q, V, n * H)
    q, k, v, do = token_rows(q), token_rows(k), token_rows(v), do.contiguous()
    strides, sizes = (*q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3]), dict(K=K, V=V, C=C, PRECISION=precision)

    def sweep(config, d_final, states, writes, d_states, d_writes, d_initial, **which):
        launch(backward.sweeps_kernel, sum(which.values()) * n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial,
               do, d_final, states, writes, d_states, d_writes, d_initial, cu_seqlens, scale, T, H, *strides, V_TILE=config.v_tile, **which, **sizes)

    d_initial = None if initial is None else torch.empty_like(initial)
    if M is not None:                                                    # back through the segments: dS_in = dS_out M^T + c
        sweep(plan.back, None, None, None, None, None, d_initial, FORWARD=False, BACKWARD=True)
        leaving = torch.empty_like(d_initial)
        splitting.scan(*(x.unflatten(0, (B, -1)) for x in (M, d_initial)), d_final, out=leaving.unflatten(0, (B, -1)), reverse=True)
        d_final = leaving
    d_states, d_writes = q.new_empty(slots, H, V, K), torch.empty_like(do)
    recompute = states is None
    if recompute:
        states, writes = torch.empty_like(d_states), torch.empty_like(do)
    if recompute and plan.both:
        sweep(plan.both, d_final, states, writes, d_states, d_writes, d_initial, FORWARD=True, BACKWARD=True)
    else:
        if recompute:
            sweep(plan.sweep, d_final, states, writes, d_states, d_writes, d_initial, FORWARD=True, BACKWARD=False)
        sweep(plan.back, d_final, states, writes, d_states, d_writes, d_initial, FORWARD=False, BACKWARD=True)
    launch(backward.gradients_kernel, 2 * slots * H, plan.gradients, q, k, v, beta, do, states, writes, d_states, d_writes, norms,
           *out[:4], cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), scale, T, H, B * T, *strides,
           V_TILE=plan.gradients.v_tile, SIGMOID=sigmoid, **sizes)
    if initial is not None:
        out[4].copy_(d_initial if M is None else d_initial.unflatten(0, (B, -1))[:, 0])
    return out


@chunkwise_backward.register_fake
def gradient_shapes(do, d_final, q, k, v, beta, initial, cu_seqlens, *others):
    n = sequences(q, cu_seqlens, 16)[0]
    return [*(x.new_empty(x.shape) for x in (q, k, v, beta)), beta.new_empty(0 if initial is None else (n, *initial.shape[1:]))]


def chunkwise_save(ctx, inputs, output):
    q, k, v, beta, initial, cu_seqlens, ctx.scale, normalize, ctx.sigmoid, ctx.precision, _, save, segments = inputs
    _, _, T1, unit_q, unit_k, norms, strength, states, writes, M, entering = output
    ctx.from_state, split = initial is not None, segments > 1
    ctx.save_for_backward(unit_q if normalize else q, unit_k if normalize else k, v, strength if ctx.sigmoid else beta,
                          entering if split else initial, cu_seqlens, T1, norms if normalize else None,
                          states if save else None, writes if save else None, M if split else None)


def chunkwise_gradients(ctx, grads):
    saved = ctx.saved_tensors                                            # looked up once, which is all that checkpointing allows
    *gradients, d_initial = chunkwise_backward(*given(grads, saved[2]), *saved, ctx.scale, ctx.sigmoid, ctx.precision)
    return *gradients, d_initial if ctx.from_state else None, *[None] * 8


def given(grads, v):
    """The gradients of o and of the final state: zeros for an o that nobody used, which has the shape of v."""
    return v.new_zeros(v.shape) if grads[0] is None else grads[0], None if grads[1] is None else grads[1].contiguous()


chunkwise.register_autograd(chunkwise_gradients, setup_context=chunkwise_save)


# -- one token at a time -----------------------------------------------------------------------------------------------------

@torch.library.custom_op("deltanet_edu::recurrent", mutates_args=())
def recurrence(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None, cu_seqlens: Tensor | None, scale: float,
               save: bool) -> list[Tensor]:
    """o, final state, and the prediction errors, which the backward pass needs."""
    out = recurrence_shapes(q, k, v, beta, initial, cu_seqlens, scale, save)
    run_recurrence(configs.RECURRENT, q, k, v, beta, initial, *map(present, out), cu_seqlens, scale)
    return out


def run_recurrence(config, q, k, v, beta, initial, o, final, errors, cu_seqlens, scale):
    (n, H, V, K), q, k, v = final.shape, q.contiguous(), k.contiguous(), v.contiguous()
    launch(recurrent.recurrent_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, initial, o, final, errors,
           cu_seqlens, scale, q.shape[1], H, K=K, V=V, V_TILE=config.v_tile)


@recurrence.register_fake
def recurrence_shapes(q, k, v, beta, initial, cu_seqlens, scale, save):
    plan_of(q, v.shape[3], 0)
    n, H, V, K = sequences(q, cu_seqlens, 16)[0], *v.shape[2:], q.shape[3]
    return [v.new_empty(v.shape), beta.new_empty(n, H, V, K), beta.new_empty(v.shape if save else 0)]


@torch.library.custom_op("deltanet_edu::recurrent_backward", mutates_args=())
def recurrence_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None,
                        cu_seqlens: Tensor | None, errors: Tensor, scale: float) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state."""
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    n, parts = sequences(q, cu_seqlens, 16)[0], triton.cdiv(V, config.v_tile)
    q, k, do, dv = q.contiguous(), k.contiguous(), do.contiguous(), torch.empty_like(errors)
    d_initial = gradient_shapes(do, d_final, q, k, v, beta, initial, cu_seqlens)[4]
    dq, dk, dbeta = beta.new_empty(parts, B, T, H, K), beta.new_empty(parts, B, T, H, K), beta.new_empty(parts, B, T, H)
    sizes = dict(K=K, V=V, V_TILE=config.v_tile)
    launch(recurrent.recurrent_reverse_kernel, n * H * parts, config, q, k, beta, errors, do, d_final, dv, dk, dbeta, present(d_initial),
           cu_seqlens, scale, T, H, B * T, **sizes)
    launch(recurrent.recurrent_replay_kernel, n * H * parts, config, k, beta, errors, do, dv, initial, dq, dk, cu_seqlens, scale, T, H, B * T, **sizes)
    return [dq.sum(0).to(q.dtype), dk.sum(0).to(k.dtype), dv.to(v.dtype), dbeta.sum(0), d_initial]


recurrence_backward.register_fake(gradient_shapes)


def recurrence_save(ctx, inputs, output):
    *tensors, ctx.scale, _ = inputs
    ctx.save_for_backward(*tensors, output[2])


def recurrence_gradients(ctx, grads):
    saved = ctx.saved_tensors
    *gradients, d_initial = recurrence_backward(*given(grads, saved[2]), *saved, ctx.scale)
    return *gradients, None if saved[4] is None else d_initial, None, None, None


recurrence.register_autograd(recurrence_gradients, setup_context=recurrence_save)


@torch.library.custom_op("deltanet_edu::step", mutates_args={"state"})
def step(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor, scale: float) -> Tensor:
    plan_of(q, v.shape[3], 0)
    o = v.new_empty(v.shape)
    run_recurrence(configs.STEP, q, k, v, beta, state, o, state, None, None, scale)
    return o


step.register_fake(lambda q, k, v, beta, state, scale: v.new_empty(v.shape))


# -- what people call ----------------------------------------------------------------------------------------------------------

def entering(q, k, v, beta, initial_state, cu_seqlens, scale):
    """The inputs as the operators expect them."""
    if torch.is_autocast_enabled(q.device.type):
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    for name, x in (("k", k), ("v", v)):
        if x.dtype != q.dtype:
            raise TypeError(f"{name}: got dtype {x.dtype}, but q is {q.dtype}. Convert it with {name}.to(q.dtype).")
    if scale == 0:
        raise ValueError("scale: got 0, expected another number: the backward pass divides by it.")
    if cu_seqlens is not None:
        if cu_seqlens.dtype not in (torch.int32, torch.int64) or cu_seqlens.ndim != 1 or cu_seqlens.device != q.device:
            raise TypeError(f"cu_seqlens: got {cu_seqlens.dtype} of shape {tuple(cu_seqlens.shape)} on {cu_seqlens.device}, "
                            f"expected integers [0, c_1, ..., T] on {q.device}.")
        if len(q) != 1:
            raise ValueError(f"q: got batch size {len(q)} together with cu_seqlens, expected 1: pack the sequences end to end in one row.")
    return q, k, v, beta.float().contiguous(), None if initial_state is None else initial_state.float().contiguous(), cu_seqlens, float(scale)


def delta_rule_chunkwise(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None, cu_seqlens=None,
                         normalize=False, sigmoid=False, precision="tf32x3", save_states=False, segments=1):
    """The delta rule, chunk by chunk: two launches forward, two or three backward. As `ops.delta_rule_chunkwise`, and:

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    K, V <= 256; bfloat16 or float32. Read as they lie if the last dimension is
            contiguous, tokens lie at one stride through the whole batch, and rows start at multiples of 16 bytes; else copied.
        chunk_size: 16, 32 or 64; None is the table's choice.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T on the device: N sequences packed end to end in one row,
            B = 1. The host never reads them, so wrong ones go unnoticed.
        normalize: first divide q and k by sqrt(|.|^2 + 1e-6).    sigmoid: first take the sigmoid of beta.
        precision: of products of float32 inputs: "ieee" (slow), "tf32x3" (three tf32 products, nearly as exact) or "tf32".
        save_states: keep S and X of every chunk for the backward pass instead of computing them again. In bfloat16 that is
            2V(K / C + 1) bytes a token and head.
        segments: cut each sequence into so many pieces that run side by side, see splitting.py. About twice the work, so it pays
            for long sequences with few heads; not with cu_seqlens.
    Returns:
        o: (B, T, H, V), and the state after the last token, (N or B, H, V, K) in float32.
    """
    if precision not in ("ieee", "tf32x3", "tf32"):
        raise ValueError(f'precision: got {precision!r}, expected "ieee", "tf32x3" or "tf32".')
    if chunk_size not in (None, 16, 32, 64):
        raise ValueError(f"chunk_size: got {chunk_size}, expected 16, 32, 64 or None.")
    if segments < 1 or segments > 1 and cu_seqlens is not None:
        raise ValueError(f"segments: got {segments}{'' if cu_seqlens is None else ' together with cu_seqlens'}, expected 1 or, for equal lengths, more.")
    q, k, v, beta, state, cu_seqlens, scale = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    K, V = q.shape[3], v.shape[3]
    if K % 16 or V % 16:                                                 # rows of whole 32 bytes; zeros change nothing
        q, k, v = F.pad(q, (0, -K % 16)), F.pad(k, (0, -K % 16)), F.pad(v, (0, -V % 16))
        state = None if state is None else F.pad(state, (0, -K % 16, 0, -V % 16))
    o, final, *_ = chunkwise(q, k, v, beta, state, cu_seqlens, scale, normalize, sigmoid, precision, chunk_size or 0, save_states, segments)
    return (o[..., :V], final[..., :V, :K]) if K % 16 or V % 16 else (o, final)


def delta_rule_recurrent(q, k, v, beta, *, initial_state=None, scale=1.0, cu_seqlens=None):
    """The delta rule, one token at a time, in one launch (backward two): the baseline, and the right form for a few tokens.
    Arguments and results as in `delta_rule_chunkwise`."""
    inputs = q, k, v, beta, state, *_ = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, beta, state))
    return tuple(recurrence(*inputs, save)[:2])


def delta_rule_step(q, k, v, beta, state, *, scale=1.0):
    """One token of decoding: q, k: (B, H, K), v: (B, H, V), beta: (B, H). Returns o: (B, H, V).

    state: (B, H, V, K), float32 and contiguous, is updated in place; no gradients. Cost: the state is read and written once.
    """
    q, k, v, beta, _, _, scale = entering(*(x.unsqueeze(1) for x in (q, k, v, beta)), None, None, scale)
    if state.dtype != torch.float32 or not state.is_contiguous():
        raise ValueError(f"state: got {state.dtype} with strides {state.stride()}, expected torch.float32 and contiguous: it is updated in place.")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, beta, state)):
        raise RuntimeError("delta_rule_step has no backward pass. Call it under torch.no_grad(), or use delta_rule_recurrent.")
    return step(q, k, v, beta, state, scale).squeeze(1)
