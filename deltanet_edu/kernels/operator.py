"""From tensors to launches: the operators that PyTorch sees, and the functions that people call.

Each rule is a `torch.library` operator with a fake version (shapes without data, for torch.compile) and a backward pass,
so that compilation, activation checkpointing and CUDA graphs treat it as one operation. Nothing here waits for the GPU.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from . import backward as kernels
from . import configs, forward, recurrent, why_not


# -- launching -------------------------------------------------------------------------------------------------------------

def launch(kernel, programs, config, *args, **constants):
    if programs:
        triton.set_allocator(lambda size, align, stream: torch.empty(size, dtype=torch.int8, device="cuda"))   # for descriptors
        kernel[(programs,)](*args, **constants, **config.options())


def on(x):
    """Launch on the device of x."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def device_of(x):
    return configs.device(x.device.index if x.is_cuda else None)


def token_rows(x):
    """x: (B, T, H, D) such that token b T + t lies `stride` after token 0, as descriptors want it; copied only if it is not so."""
    B, T, H, D = x.shape
    aligned = x.data_ptr() % 16 == 0 and all(s > 0 and s * x.element_size() % 16 == 0 for s in x.stride()[1:3])
    return x if aligned and x.stride(3) == 1 and (B == 1 or x.stride(0) == T * x.stride(1)) else x.contiguous()


def sequences(q, cu_seqlens, C):
    """How many sequences there are, and how many chunk slots they own; see `tiles.sequence`."""
    B, T = q.shape[:2]
    if cu_seqlens is None:
        return B, B * (-(-T // C))
    n = cu_seqlens.shape[0] - 1
    return n, T // C + n


def sequence_of_slot(cu_seqlens, slots, C):
    """For variable lengths: which sequence owns each chunk slot. Worked out on the device, so that nobody waits."""
    if cu_seqlens is None:
        return None
    first = cu_seqlens // C + torch.arange(len(cu_seqlens), device=cu_seqlens.device)
    return torch.searchsorted(first, torch.arange(slots, device=first.device), right=True).sub_(1).clamp_(max=len(first) - 2).int()


# -- chunkwise ---------------------------------------------------------------------------------------------------------------

@torch.library.custom_op("deltanet_edu::chunkwise_forward", mutates_args=())
def chunkwise_forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None, cu_seqlens: Tensor | None, scale: float,
                      normalize: bool, sigmoid: bool, precision: str, C: int, save: bool) -> list[Tensor]:
    """o, final state, T1, unit q, unit k, norms, sigmoid of beta, states, writes. What was not asked for is empty."""
    out = chunkwise_forward_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save)
    o, final, T1, unit_q, unit_k, norms, strength, states, writes = (x if x.numel() else None for x in out)
    (B, T, H, K), V = q.shape, v.shape[3]
    n, slots = sequences(q, cu_seqlens, C)
    config = configs.plan(K, V, q.dtype, n * H, device_of(q)).forward
    q, k, v = token_rows(q), token_rows(k), token_rows(v)
    with on(q):
        launch(forward.inverse_kernel, slots * H, configs.INVERSE, q, k, beta, T1, unit_q, unit_k, norms, strength,
               cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), T, H, B * T, *q.stride()[1:3], *k.stride()[1:3],
               K=K, C=C, PRECISION=precision, MERGE=precision if q.dtype == torch.float32 else "tf32")
        q, k, beta = unit_q if normalize else q, unit_k if normalize else k, strength if sigmoid else beta
        launch(forward.forward_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial, o, final, states, writes,
               cu_seqlens, scale, T, H, *q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3],
               K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=precision)
    return out


@chunkwise_forward.register_fake
def chunkwise_forward_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save):
    (B, T, H, K), V = q.shape, v.shape[3]
    n, slots = sequences(q, cu_seqlens, C)
    return [q.new_empty(B, T, H, V), beta.new_empty(n, H, V, K), q.new_empty(B, T, H, C),
            q.new_empty(B, T, H, K) if normalize else q.new_empty(0), q.new_empty(B, T, H, K) if normalize else q.new_empty(0),
            beta.new_empty(2, B, T, H) if normalize else beta.new_empty(0), beta.new_empty(B, T, H) if sigmoid else beta.new_empty(0),
            q.new_empty(slots, H, V, K) if save else q.new_empty(0), q.new_empty(B, T, H, V) if save else q.new_empty(0)]


@torch.library.custom_op("deltanet_edu::chunkwise_backward", mutates_args=())
def chunkwise_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, T1: Tensor, norms: Tensor | None,
                       initial: Tensor | None, cu_seqlens: Tensor | None, states: Tensor | None, writes: Tensor | None,
                       scale: float, sigmoid: bool, precision: str) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state: empty if there was none."""
    out = chunkwise_backward_shapes(do, d_final, q, k, v, beta, T1, norms, initial, cu_seqlens, states, writes, scale, sigmoid, precision)
    dq, dk, dv, dbeta, d_initial = (x if x.numel() else None for x in out)
    (B, T, H, K), V, C = q.shape, v.shape[3], T1.shape[3]
    n, slots = sequences(q, cu_seqlens, C)
    plan = configs.plan(K, V, q.dtype, n * H, device_of(q))
    q, k, v, do = token_rows(q), token_rows(k), token_rows(v), do.contiguous()
    strides = *q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3]
    d_states, d_writes = q.new_empty(slots, H, V, K), torch.empty_like(do)
    recompute = states is None
    if recompute:
        states, writes = torch.empty_like(d_states), torch.empty_like(do)
    with on(q):
        def sweep(config, forward, backward):
            launch(kernels.sweeps_kernel, (forward + backward) * n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, T1, initial,
                   do, d_final, states, writes, d_states, d_writes, d_initial, cu_seqlens, scale, T, H, *strides,
                   K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=precision, FORWARD=forward, BACKWARD=backward)
        if recompute and plan.both:
            sweep(plan.both, True, True)
        else:
            if recompute:
                sweep(plan.sweep, True, False)
            sweep(plan.back, False, True)
        launch(kernels.gradients_kernel, 2 * slots * H, plan.gradients, q, k, v, beta, do, states, writes, d_states, d_writes, norms,
               dq, dk, dv, dbeta, cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), scale, T, H, B * T, *strides,
               K=K, V=V, C=C, V_TILE=plan.gradients.v_tile, PRECISION=precision, SIGMOID=sigmoid)
    return out


@chunkwise_backward.register_fake
def chunkwise_backward_shapes(do, d_final, q, k, v, beta, T1, norms, initial, cu_seqlens, states, writes, scale, sigmoid, precision):
    return [q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), beta.new_empty(beta.shape),
            beta.new_empty(0 if initial is None else initial.shape)]


def chunkwise_save(ctx, inputs, output):
    q, k, v, beta, initial, cu_seqlens, ctx.scale, normalize, ctx.sigmoid, ctx.precision, _, save = inputs
    _, _, T1, unit_q, unit_k, norms, strength, states, writes = output
    ctx.save_for_backward(unit_q if normalize else q, unit_k if normalize else k, v, strength if ctx.sigmoid else beta, T1,
                          norms if normalize else None, initial, cu_seqlens, states if save else None, writes if save else None)
    ctx.o_shape = output[0].shape


def chunkwise_gradients(ctx, grads):
    q, *rest = ctx.saved_tensors
    do, d_final = grads[:2]
    if do is None:
        do = q.new_zeros(ctx.o_shape)
    *gradients, d_initial = chunkwise_backward(do, None if d_final is None else d_final.contiguous(), q, *rest, ctx.scale, ctx.sigmoid, ctx.precision)
    return *gradients, d_initial if rest[5] is not None else None, *[None] * 7


chunkwise_forward.register_autograd(chunkwise_gradients, setup_context=chunkwise_save)


# -- one token at a time -----------------------------------------------------------------------------------------------------

@torch.library.custom_op("deltanet_edu::recurrent_forward", mutates_args=())
def recurrent_forward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, initial: Tensor | None, cu_seqlens: Tensor | None, scale: float,
                      save: bool) -> list[Tensor]:
    """o, final state, and the prediction errors, which the backward pass needs; empty if not."""
    o, final, errors = out = recurrent_forward_shapes(q, k, v, beta, initial, cu_seqlens, scale, save)
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    with on(q):
        launch(recurrent.recurrent_kernel, len(final) * H * triton.cdiv(V, config.v_tile), config, q.contiguous(), k.contiguous(), v.contiguous(),
               beta, initial, o, final, errors if save else None, cu_seqlens, scale, T, H, K=K, V=V, V_TILE=config.v_tile)
    return out


@recurrent_forward.register_fake
def recurrent_forward_shapes(q, k, v, beta, initial, cu_seqlens, scale, save):
    n, _ = sequences(q, cu_seqlens, 16)
    return [v.new_empty(v.shape), beta.new_empty(n, q.shape[2], v.shape[3], q.shape[3]), beta.new_empty(v.shape if save else 0)]


@torch.library.custom_op("deltanet_edu::recurrent_backward", mutates_args=())
def recurrent_backward(do: Tensor, d_final: Tensor | None, q: Tensor, k: Tensor, v: Tensor, beta: Tensor, errors: Tensor, initial: Tensor | None,
                       cu_seqlens: Tensor | None, scale: float) -> list[Tensor]:
    """dq, dk, dv, dbeta, and the gradient of the initial state: empty if there was none."""
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    n, parts = sequences(q, cu_seqlens, 16)[0], triton.cdiv(V, config.v_tile)
    q, k, do = q.contiguous(), k.contiguous(), do.contiguous()
    dv, d_initial = torch.empty_like(errors), beta.new_empty(0 if initial is None else initial.shape)
    dq, dk, dbeta = (beta.new_empty(parts, B, T, H, *width) for width in ((K,), (K,), ()))
    constants = dict(K=K, V=V, V_TILE=config.v_tile)
    with on(q):
        launch(recurrent.recurrent_reverse_kernel, n * H * parts, config, q, k, beta, errors, do, d_final, dv, dk, dbeta,
               None if initial is None else d_initial, cu_seqlens, scale, T, H, B * T, **constants)
        launch(recurrent.recurrent_replay_kernel, n * H * parts, config, k, beta, errors, do, dv, initial, dq, dk,
               cu_seqlens, scale, T, H, B * T, **constants)
    return [dq.sum(0).to(q.dtype), dk.sum(0).to(k.dtype), dv.to(v.dtype), dbeta.sum(0), d_initial]


@recurrent_backward.register_fake
def recurrent_backward_shapes(do, d_final, q, k, v, beta, errors, initial, cu_seqlens, scale):
    return [q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), beta.new_empty(beta.shape),
            beta.new_empty(0 if initial is None else initial.shape)]


def recurrent_save(ctx, inputs, output):
    q, k, v, beta, initial, cu_seqlens, ctx.scale, _ = inputs
    ctx.save_for_backward(q, k, v, beta, output[2], initial, cu_seqlens)


def recurrent_gradients(ctx, grads):
    q, k, v, beta, errors, initial, cu_seqlens = ctx.saved_tensors
    do, d_final = grads[:2]
    *gradients, d_initial = recurrent_backward(v.new_zeros(v.shape) if do is None else do, None if d_final is None else d_final.contiguous(),
                                               q, k, v, beta, errors, initial, cu_seqlens, ctx.scale)
    return *gradients, None if initial is None else d_initial, None, None, None


recurrent_forward.register_autograd(recurrent_gradients, setup_context=recurrent_save)


@torch.library.custom_op("deltanet_edu::step", mutates_args={"state"})
def step(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, state: Tensor, scale: float) -> Tensor:
    (B, H, K), V, config = q.shape, v.shape[2], configs.STEP
    o = v.new_empty(v.shape)
    with on(q):
        launch(recurrent.recurrent_kernel, B * H * triton.cdiv(V, config.v_tile), config, q.contiguous(), k.contiguous(), v.contiguous(),
               beta, state, o, state, None, None, scale, 1, H, K=K, V=V, V_TILE=config.v_tile)
    return o


@step.register_fake
def step_shapes(q, k, v, beta, state, scale):
    return v.new_empty(v.shape)


# -- what people call ----------------------------------------------------------------------------------------------------------

def entering(q, k, v, beta, initial_state, cu_seqlens, scale):
    """The inputs in the form that the operators expect, after checking that kernels can run on them."""
    if torch.is_autocast_enabled(q.device.type):
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    for name, x in (("k", k), ("v", v)):
        if x.dtype != q.dtype:
            raise TypeError(f"{name}: got dtype {x.dtype}, but q is {q.dtype}. Convert it with {name}.to(q.dtype).")
    if reason := why_not(q.device, q.dtype):
        raise RuntimeError(f"kernels: {reason}")
    if scale == 0:
        raise ValueError("scale: got 0, expected a number other than 0: it would hide what the final state wants of the inputs.")
    if cu_seqlens is not None:
        if cu_seqlens.dtype not in (torch.int32, torch.int64) or cu_seqlens.ndim != 1 or cu_seqlens.device != q.device:
            raise TypeError(f"cu_seqlens: got {cu_seqlens.dtype} of shape {tuple(cu_seqlens.shape)} on {cu_seqlens.device}, "
                            f"expected integers [0, c_1, ..., T] on {q.device}.")
        if q.shape[0] != 1:
            raise ValueError(f"q: got batch size {q.shape[0]} together with cu_seqlens, expected 1: pack the sequences end to end in one row.")
    state = None if initial_state is None else initial_state.float().contiguous()
    return q, k, v, beta.float().contiguous(), state, cu_seqlens, float(scale)


def delta_rule_chunkwise(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None, cu_seqlens=None,
                         normalize=False, sigmoid=False, precision="tf32x3", save_states=False):
    """The delta rule, chunk by chunk, in two launches forward and two or three backward. As `ops.delta_rule_chunkwise`, and:

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    K, V <= 256; bfloat16 or float32. Read as they lie if the last dimension is
            contiguous, tokens lie at one stride throughout the batch, and rows start at multiples of 16 bytes; else copied.
        chunk_size: 16, 32 or 64; None picks what the table of configurations has.
        cu_seqlens: (N + 1,) integers 0 = c_0 <= c_1 <= ... <= c_N = T on the device: N sequences packed end to end in one row,
            B = 1. They are never read by the host, so a wrong one goes unnoticed.
        normalize: divide q and k by sqrt(|.|^2 + 1e-6) first.    sigmoid: take the sigmoid of beta first.
        precision: of products of float32 inputs: "ieee" (slow), "tf32x3" (three products of tf32, nearly as exact) or "tf32".
        save_states: keep S and X of every chunk for the backward pass instead of computing them again: 2 (KV / C + V) bytes
            a token and head more in bfloat16.
    Returns:
        o: (B, T, H, V), and the state after the last token, (N or B, H, V, K) in float32.
    """
    if precision not in ("ieee", "tf32x3", "tf32"):
        raise ValueError(f'precision: got {precision!r}, expected "ieee", "tf32x3" or "tf32".')
    if chunk_size not in (None, 16, 32, 64):
        raise ValueError(f"chunk_size: got {chunk_size}, expected 16, 32, 64 or None.")
    q, k, v, beta, state, cu_seqlens, scale = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    K, V = q.shape[3], v.shape[3]
    if K % 16 or V % 16:                                                 # rows of 32 bytes and more; zeros change nothing
        q, k, v = F.pad(q, (0, -K % 16)), F.pad(k, (0, -K % 16)), F.pad(v, (0, -V % 16))
        state = None if state is None else F.pad(state, (0, -K % 16, 0, -V % 16))
    C = chunk_size or configs.plan(q.shape[3], v.shape[3], q.dtype, 0, device_of(q)).C
    o, final, *_ = chunkwise_forward(q, k, v, beta, state, cu_seqlens, scale, normalize, sigmoid, precision, C, save_states)
    return (o[..., :V], final[..., :V, :K]) if K % 16 or V % 16 else (o, final)


def delta_rule_recurrent(q, k, v, beta, *, initial_state=None, scale=1.0, cu_seqlens=None):
    """The delta rule, one token at a time, in one launch (two more backward): the baseline, and right for a few tokens.
    Same arguments and results as `delta_rule_chunkwise`."""
    q, k, v, beta, state, cu_seqlens, scale = entering(q, k, v, beta, initial_state, cu_seqlens, scale)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (q, k, v, beta, state))
    o, final, _ = recurrent_forward(q, k, v, beta, state, cu_seqlens, scale, save)
    return o, final


def delta_rule_step(q, k, v, beta, state, *, scale=1.0):
    """One token of decoding: q, k: (B, H, K), v: (B, H, V), beta: (B, H). Returns o: (B, H, V).

    state: (B, H, V, K), float32 and contiguous, is updated in place; no gradients. Cost: the state is read and written once.
    """
    q, k, v, beta, _, _, scale = entering(q, k, v, beta, None, None, scale)
    if state.dtype != torch.float32 or not state.is_contiguous():
        raise ValueError(f"state: got {state.dtype}{'' if state.is_contiguous() else ', not contiguous'}, expected contiguous torch.float32: "
                         "it is updated in place.")
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, beta, state)):
        raise RuntimeError("delta_rule_step: has no backward pass. Use torch.no_grad(), or delta_rule_recurrent.")
    return step(q, k, v, beta, state, scale)
