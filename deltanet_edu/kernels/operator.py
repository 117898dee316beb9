"""From tensors to launches: the operators that PyTorch sees, and the functions that people call.

Each rule is a `torch.library` operator with a fake version (shapes without data, for torch.compile) and a backward pass,
so that compilation, activation checkpointing and CUDA graphs treat it as one operation. Nothing here waits for the GPU.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from . import backward, configs, forward, recurrent, why_not


def launch(kernel, programs, config, first, *args, **constants):
    """Run so many programs of a kernel on the device of its first argument."""
    def scratch(size, alignment, stream):                                # for the descriptors that a kernel makes
        return torch.empty(size, dtype=torch.int8, device=first.device)
    with torch.cuda.device(first.device) if first.is_cuda else nullcontext():
        triton.set_allocator(scratch)
        if programs:
            kernel[(programs,)](first, *args, **constants, **config.options())


def plan_of(q, v, programs):
    """The configurations for q and v, if kernels can run on them at all. Called inside operators only: compilers need not see it."""
    if reason := why_not(q.device, q.dtype):
        raise RuntimeError(f"kernels: {reason}")
    return configs.plan(q.shape[3], v.shape[3], q.dtype, programs, configs.device(q.device.index if q.is_cuda else None))


def token_rows(x):
    """x: (B, T, H, D) with tokens at one stride through the whole batch and rows at multiples of 16 bytes; copied only if it is not so."""
    in_place = x.stride(3) == 1 and (len(x) == 1 or x.stride(0) == x.shape[1] * x.stride(1)) and x.data_ptr() % 16 == 0
    return x if in_place and all(s > 0 and s * x.element_size() % 16 == 0 for s in x.stride()[1:3]) else x.contiguous()


def sequences(q, cu_seqlens, C):
    """How many sequences there are, and how many chunk slots they own; see `tiles.sequence`."""
    B, T = q.shape[:2]
    n = B if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return n, B * -(-T // C) if cu_seqlens is None else T // C + n


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

@torch.library.custom_op("deltanet_edu::chunkwise", mutates_args=())
def chunkwise(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None, cu_seqlens: Tensor | None, scale: float,
              normalize: bool, sigmoid: bool, precision: str, C: int, save: bool) -> list[Tensor]:
    """o, final state, T1, unit q, unit k, their norms, sigmoid of beta, states, writes. C = 0 is the table's choice."""
    out = chunkwise_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save)
    o, final, T1, unit_q, unit_k, norms, strength, states, writes = map(present, out)
    (B, T, H, K), V, C = q.shape, v.shape[3], T1.shape[3]
    n, slots = sequences(q, cu_seqlens, C)
    config = plan_of(q, v, n * H).forward
    q, k, v = token_rows(q), token_rows(k), token_rows(v)
    # T1 is rounded to the dtype of the inputs, which for bfloat16 loses more than building it in tf32 does
    launch(forward.inverse_kernel, slots * H, configs.INVERSE, q, k, beta, T1, unit_q, unit_k, norms, strength,
           cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), T, H, B * T, *q.stride()[1:3], *k.stride()[1:3],
           K=K, C=C, PRECISION=precision, MERGE=precision if q.dtype == torch.float32 else "tf32")
    q, k, beta = unit_q if normalize else q, unit_k if normalize else k, strength if sigmoid else beta
    launch(forward.forward_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial, o, final, states, writes,
           cu_seqlens, scale, T, H, *q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3],
           K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=precision)
    return out


@chunkwise.register_fake
def chunkwise_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save):
    (B, T, H, K), V, C = q.shape, v.shape[3], C or plan_of(q, v, 0).C
    n, slots = sequences(q, cu_seqlens, C)
    unit = (B, T, H, K) if normalize else (0,)
    return [q.new_empty(B, T, H, V), beta.new_empty(n, H, V, K), q.new_empty(B, T, H, C),
            q.new_empty(unit), q.new_empty(unit), beta.new_empty((2, B, T, H) if normalize else 0), beta.new_empty((B, T, H) if sigmoid else 0),
            q.new_empty((slots, H, V, K) if save else 0), q.new_empty((B, T, H, V) if save else 0)]


@torch.library.custom_op("deltanet_edu::chunkwise_backward", mutates_args=())
def chunkwise_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None,
                       cu_seqlens: Tensor | None, T1: Tensor, norms: Tensor | None, states: Tensor | None, writes: Tensor | None,
                       scale: float, sigmoid: bool, precision: str) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state."""
    out = gradient_shapes(do, d_final, q, k, v, beta, initial)
    (B, T, H, K), V, C = q.shape, v.shape[3], T1.shape[3]
    n, slots = sequences(q, cu_seqlens, C)
    plan = plan_of(q, v, n * H)
    q, k, v, do = token_rows(q), token_rows(k), token_rows(v), do.contiguous()
    strides, sizes = (*q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3]), dict(K=K, V=V, C=C, PRECISION=precision)
    d_states, d_writes, recompute = q.new_empty(slots, H, V, K), torch.empty_like(do), states is None
    if recompute:
        states, writes = torch.empty_like(d_states), torch.empty_like(do)
    together = recompute and plan.both
    for config, FORWARD, BACKWARD in [(plan.both, True, True)] if together else [(plan.sweep, True, False)] * recompute + [(plan.back, False, True)]:
        launch(backward.sweeps_kernel, (FORWARD + BACKWARD) * n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial,
               do, d_final, states, writes, d_states, d_writes, present(out[4]), cu_seqlens, scale, T, H, *strides,
               V_TILE=config.v_tile, FORWARD=FORWARD, BACKWARD=BACKWARD, **sizes)
    launch(backward.gradients_kernel, 2 * slots * H, plan.gradients, q, k, v, beta, do, states, writes, d_states, d_writes, norms,
           *out[:4], cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), scale, T, H, B * T, *strides,
           V_TILE=plan.gradients.v_tile, SIGMOID=sigmoid, **sizes)
    return out


@chunkwise_backward.register_fake
def gradient_shapes(do, d_final, q, k, v, beta, initial, *others):
    return [*(x.new_empty(x.shape) for x in (q, k, v, beta)), beta.new_empty(0 if initial is None else initial.shape)]


def chunkwise_save(ctx, inputs, output):
    q, k, v, beta, initial, cu_seqlens, ctx.scale, normalize, ctx.sigmoid, ctx.precision, _, save = inputs
    _, _, T1, unit_q, unit_k, norms, strength, states, writes = output
    q, k, beta = unit_q if normalize else q, unit_k if normalize else k, strength if ctx.sigmoid else beta
    ctx.save_for_backward(q, k, v, beta, initial, cu_seqlens, T1, norms if normalize else None, states if save else None, writes if save else None)


def chunkwise_gradients(ctx, grads):
    saved = ctx.saved_tensors                                            # looked up once, which is all that checkpointing allows
    *gradients, d_initial = chunkwise_backward(*given(grads, saved[2]), *saved, ctx.scale, ctx.sigmoid, ctx.precision)
    return *gradients, None if saved[4] is None else d_initial, *[None] * 7


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
    plan_of(q, v, 0)
    n, H, V, K = sequences(q, cu_seqlens, 16)[0], *v.shape[2:], q.shape[3]
    return [v.new_empty(v.shape), beta.new_empty(n, H, V, K), beta.new_empty(v.shape if save else 0)]


@torch.library.custom_op("deltanet_edu::recurrent_backward", mutates_args=())
def recurrence_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None,
                        cu_seqlens: Tensor | None, errors: Tensor, scale: float) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state."""
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    n, parts = sequences(q, cu_seqlens, 16)[0], triton.cdiv(V, config.v_tile)
    q, k, do, dv, d_initial = q.contiguous(), k.contiguous(), do.contiguous(), torch.empty_like(errors), gradient_shapes(do, d_final, q, k, v, beta, initial)[4]
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
    plan_of(q, v, 0)
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
                         normalize=False, sigmoid=False, precision="tf32x3", save_states=False):
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
    Returns:
        o: (B, T, H, V), and the state after the last token, (N or B, H, V, K) in float32.
    """
    if precision not in ("ieee", "tf32x3", "tf32"):
        raise ValueError(f'precision: got {precision!r}, expected "ieee", "tf32x3" or "tf32".')
    if chunk_size not in (None, 16, 32, 64):
        raise ValueError(f"chunk_size: got {chunk_size}, expected 16, 32, 64 or None.")
    q, k, v, beta, state, cu_seqlens, scale = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    K, V = q.shape[3], v.shape[3]
    if K % 16 or V % 16:                                                 # rows of whole 32 bytes; zeros change nothing
        q, k, v = F.pad(q, (0, -K % 16)), F.pad(k, (0, -K % 16)), F.pad(v, (0, -V % 16))
        state = None if state is None else F.pad(state, (0, -K % 16, 0, -V % 16))
    o, final, *_ = chunkwise(q, k, v, beta, state, cu_seqlens, scale, normalize, sigmoid, precision, chunk_size or 0, save_states)
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
