"""From tensors to launches: the operators that PyTorch sees, and those that it need not see.

Each rule is written once and has two ways in. Compilers, fake tensors and modes meet a `torch.library` operator with a fake version
(shapes without data) and a backward pass, and treat it as one operation. Everyone else goes through a plain autograd.Function:
calling an operator from Python takes longer than a small launch. Either way, activation checkpointing and CUDA graphs work, and
nothing here waits for the GPU. What was not asked for is None; operators cannot return that, and return an empty tensor.
"""

from contextlib import nullcontext
from functools import cache

import torch
import triton
from torch import Tensor

from ..ops.common import once_differentiable
from . import backward, configs, forward, recurrent, splitting, why_not

why_not = cache(why_not)                                                 # asked in every call
ORDINARY = (Tensor, torch.nn.Parameter, type(None))
INPUTS = "Tensor q, Tensor k, Tensor v, Tensor beta, Tensor? initial, Tensor? cu_seqlens"


# -- launches --------------------------------------------------------------------------------------------------------------

def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes, on the device that it is launched on."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


def launch(kernel, programs, config, first, *args, **constants):
    """Run so many programs of a kernel on the device of its first argument."""
    if programs:
        triton.set_allocator(scratch)                                    # for this thread, and backward passes have their own
        elsewhere = first.is_cuda and first.device.index != torch.cuda.current_device()
        with torch.cuda.device(first.device) if elsewhere else nullcontext():
            kernel[(programs,)](first, *args, **constants, **config.options())


def gpu_of(q):
    return configs.device(q.device.index if q.is_cuda else None)


def plan_of(q, V, heads):
    """The configurations for q, if kernels can run on it at all. Called inside operators only: compilers need not see it."""
    if reason := why_not(q.device, q.dtype):
        raise RuntimeError(f"kernels: {reason}")
    return configs.plan(int(q.shape[3]), int(V), q.dtype, heads, gpu_of(q))          # int fixes a width that a compiler takes for variable


def token_rows(x):
    """x: (B, T, H, D) with tokens at one stride through the whole batch and rows at multiples of 16 bytes; copied only if it is not
    so, or if a head lies further away than 32 bits can say. Not by .contiguous(), which passes strides of single tokens and odd addresses."""
    (B, T, H, _), (batch, token, head, one), size = x.shape, x.stride(), x.element_size()
    rows = one == 1 and token > 0 and head > 0 and token * size % 16 == head * size % 16 == x.data_ptr() % 16 == 0
    return x if rows and H * head < 2**31 and (B == 1 or batch == T * token) else like(x).copy_(x)


def like(x):
    """Memory for another tensor of this shape and dtype, as the kernels write it."""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def exact(x, *shape):
    """Memory for float32 numbers, where x lies."""
    return x.new_empty(shape, dtype=torch.float32)


def exactness(q, precision):
    """Of products of float32 numbers that are not inputs: rounding to bfloat16, before and after, loses more than tf32 does."""
    return "tf32" if q.dtype == torch.bfloat16 else precision


def strides(*tensors):
    """Of tokens and heads."""
    return [s for x in tensors for s in x.stride()[1:3]]


def sequences(B, T, cu_seqlens, C, P=1):
    """How many sequences there are (times P segments), and how many chunk slots they own; see `tiles.sequence`, `splitting.cut`."""
    n = B * P if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return n, B * -(-T // C) if cu_seqlens is None and (P == 1 or T % (C * P) == 0) else B * T // C + n


def sequence_of_slot(cu_seqlens, slots, C):
    """For variable lengths: which sequence owns each slot, worked out on the device."""
    if cu_seqlens is not None:
        first = cu_seqlens // C + torch.arange(len(cu_seqlens), device=cu_seqlens.device)
        owner = torch.searchsorted(first, torch.arange(slots, device=first.device), right=True) - 1
        return owner.clamp(max=len(cu_seqlens) - 2).int()


# -- two ways in -----------------------------------------------------------------------------------------------------------

def watched(*tensors):
    """Is anyone here who has to see an operator: a compiler, a mode (fake tensors, tracing, counting), a subclass of Tensor?"""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0 or any(type(x) not in ORDINARY for x in tensors)


def operator(name, signature, run, shapes):
    """run(*inputs) as an operator, whose fake version is shapes(*inputs)."""
    def filled(f):
        return lambda *inputs: [inputs[0].new_empty(0) if x is None else x for x in f(*inputs)]
    op = torch.library.custom_op(f"deltanet_edu::{name}", filled(run), mutates_args=(), schema=f"({signature}) -> Tensor[]")
    op.register_fake(filled(shapes))
    return op


def rule(name, options, run, shapes, kept, extras, run_backward):
    """An operator, that of its backward pass, and a function for o and final state that goes either way. `options` and `extras`
    are what they take besides INPUTS; kept(inputs, results) is what the backward pass needs: tensors, and the rest."""
    op = operator(name, f"{INPUTS}, {options}", run, shapes)
    op_backward = operator(f"{name}_backward", f"Tensor do, Tensor? d_final, {INPUTS}, {extras}", run_backward, gradient_shapes)

    def save(ctx, inputs, output):
        tensors, ctx.rest = kept(inputs, output)
        ctx.save_for_backward(*tensors)
        ctx.from_state, ctx.others = inputs[4] is not None, [None] * (len(inputs) - 5)

    def gradients(ctx, do, d_final):
        q, k, v, *tensors = ctx.saved_tensors                            # looked up once, which is all that checkpointing allows
        do = torch.zeros_like(v) if do is None else do.contiguous()      # None: nobody used o, which has the shape of v
        d_final = None if d_final is None else d_final.contiguous()
        way = op_backward if watched(do, d_final, q, k, v) else run_backward
        *results, d_initial = way(do, d_final, q, k, v, *tensors, *ctx.rest)
        return *results, d_initial if ctx.from_state else None, *ctx.others

    def directly(ctx, *inputs):
        output = run(*inputs)
        save(ctx, inputs, output)
        ctx.set_materialize_grads(False)
        return tuple(output[:2])

    op.register_autograd(lambda ctx, grads: gradients(ctx, *grads[:2]),
                         setup_context=lambda ctx, inputs, output: save(ctx, inputs, [x if x.ndim > 1 else None for x in output]))
    methods = dict(forward=staticmethod(directly), backward=staticmethod(once_differentiable(gradients)))
    apply = type(name, (torch.autograd.Function,), methods).apply
    return op, op_backward, lambda *inputs: tuple(op(*inputs)[:2]) if watched(*inputs[:5]) else apply(*inputs)


def gradient_shapes(do, d_final, q, k, v, beta, initial, cu_seqlens, *others):
    """dq, dk, dv, dbeta, and the gradient of the initial state."""
    n = sequences(*q.shape[:2], cu_seqlens, 16)[0]
    return [like(q), like(k), like(v), q.new_empty(q.shape[:3], dtype=beta.dtype), None if initial is None else exact(q, n, *initial.shape[1:])]


# -- chunkwise -------------------------------------------------------------------------------------------------------------

def segments_of(q, V, C, cu_seqlens, asked):
    """How many segments; asked = 0 means that nobody said it."""
    if asked or cu_seqlens is not None or q.dtype == torch.float32 or not q.is_cuda:
        return asked or 1
    (B, T, H, _), width = q.shape, configs.width_of(q.shape[3], V)
    # as if every program held 64 rows of the memory, or 128 where heads are 256 wide: whatever the plan, the same answer for a shape
    return splitting.choose(B * H * triton.cdiv(V, max(64, width // 2)), triton.cdiv(T, C), width, gpu_of(q).multiprocessors)


def chunkwise_shapes(q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, C, save, segments):
    """o, final state, UT, betas, unit q, unit k, their norms; and to save: states, writes, and of each segment the map M, see
    splitting.py. C = 0 is the table's choice, and segments = 0 that of `splitting.choose`."""
    (B, T, H, K), V, C = q.shape, v.shape[3], C or plan_of(q, v.shape[3], 0).C
    P = segments_of(q, V, C, cu_seqlens, segments)
    n, slots = sequences(B, T, cu_seqlens, C, P)
    results = [like(v), exact(q, n // P, H, V, K), q.new_empty(B, T, H, C), exact(q, slots, H, C)]
    results += [like(q), like(k), exact(q, 2, B, T, H)] if normalize else [None] * 3
    return results + ([q.new_empty(slots, H, V, K), like(v), exact(q, n, H, K, K) if P > 1 else None] if save else [None] * 3)


def run_chunkwise(*inputs):
    q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, _, _, segments = inputs
    o, final, UT, betas, unit_q, unit_k, norms, states, writes, M = results = chunkwise_shapes(*inputs)
    (B, T, H, K), V, C, tokens = q.shape, v.shape[3], UT.shape[3], q.shape[0] * q.shape[1]
    P = segments_of(q, V, C, cu_seqlens, segments)
    rows, T, cu_seqlens = splitting.cut(B, T, P, C, q.device) if P > 1 else (B, T, cu_seqlens)
    n, slots = sequences(rows, T, cu_seqlens, C)
    q, k, v, sizes = token_rows(q), token_rows(k), token_rows(v), dict(C=C, PRECISION=precision)
    launch(forward.inverse_kernel, slots * H, configs.INVERSE[configs.width_of(K, K)], q, k, beta, UT, betas, unit_q, unit_k, norms,
           cu_seqlens, sequence_of_slot(cu_seqlens, slots, C), T, H, tokens, *strides(q, k),
           K=K, MERGE=exactness(q, precision), SIGMOID=sigmoid, **sizes)
    q, k = (unit_q, unit_k) if normalize else (q, k)
    if P > 1:
        initial, final = enter_segments(k, v, UT, betas, initial, cu_seqlens, T, P, M, final, **sizes)[1], None
    plan = plan_of(q, V, n * H)
    config = plan.forward if states is None else plan.saving
    launch(forward.forward_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, UT, betas, initial, o, final, states, writes,
           cu_seqlens, scale, T, H, *strides(q, k, v), K=K, V=V, V_TILE=config.v_tile, **sizes)
    return results


def enter_segments(k, v, UT, betas, initial, cu_seqlens, T, P, M, final, C, PRECISION):
    """M of each segment, and the memory that enters it. `final`, if it is wanted: out, what leaves the last."""
    (_, _, H, K), V, n = k.shape, v.shape[3], k.shape[0] * P
    config, M, b, enters = plan_of(k, V, 2 * n * H).forward, exact(k, n, H, K, K) if M is None else M, exact(k, n, H, V, K), exact(k, n, H, V, K)
    launch(splitting.segment_kernel, n * H * (triton.cdiv(V, config.v_tile) + triton.cdiv(K, config.v_tile)), config, k, v, UT, betas,
           torch.eye(K, dtype=torch.float32, device=k.device), M, b, cu_seqlens, T, H, *strides(k, v),
           K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=PRECISION)
    scan(M, b, initial, enters, final, P, exactness(k, PRECISION), reverse=False)
    return M, enters


def scan(M, b, first, enters, last, P, precision, reverse):
    """What enters each segment, and what leaves the last, if `first` enters the first; see `splitting.scan_kernel`."""
    (n, H, V, K), config = b.shape, configs.SCAN
    launch(splitting.scan_kernel, n // P * H * triton.cdiv(V, config.v_tile), config, M, b, first, enters, last, P, H,
           K=K, V=V, ROWS=config.v_tile, PRECISION=precision, REVERSE=reverse)


def run_chunkwise_backward(*inputs):
    """With `sigmoid`, beta is what the forward pass has made of it: betas, chunk by chunk."""
    do, d_final, q, k, v, beta, initial, cu_seqlens, UT, norms, states, writes, M, scale, sigmoid, precision, P = inputs
    dq, dk, dv, dbeta, d_initial = results = gradient_shapes(*inputs)
    (B, T, H, K), V, C, tokens, recompute = q.shape, v.shape[3], UT.shape[3], q.shape[0] * q.shape[1], states is None
    rows, T, cu_seqlens = splitting.cut(B, T, P, C, q.device) if P > 1 else (B, T, cu_seqlens)
    n, slots = sequences(rows, T, cu_seqlens, C)
    plan, owner, betas = plan_of(q, V, n * H), sequence_of_slot(cu_seqlens, slots, C), beta
    q, k, v, do = token_rows(q), token_rows(k), token_rows(v), token_rows(do)
    steps, sizes = strides(q, k, v), dict(C=C, PRECISION=precision)

    def sweep(config, d_final, states, writes, d_states, dv, d_initial, **which):
        launch(backward.sweeps_kernel, sum(which.values()) * n * H * triton.cdiv(V, config.v_tile), config, q, k, v, UT, betas, initial,
               do, d_final, states, writes, d_states, dv, d_initial, cu_seqlens, scale, T, H, *steps, K=K, V=V, V_TILE=config.v_tile, **which, **sizes)

    if not sigmoid:
        betas = exact(q, slots, H, C)
        launch(backward.strengths_kernel, slots * H, configs.STEP, beta, betas, cu_seqlens, owner, T, H, C=C, HALF=q.dtype == torch.float16)
    if P > 1:                                                            # back through the segments: dS_in = dS_out M^T + c
        if recompute:
            M, initial = enter_segments(k, v, UT, betas, initial, cu_seqlens, T, P, M, None, **sizes)
        c, leaves = exact(q, n, H, V, K), exact(q, n, H, V, K)
        sweep(plan.back, None, None, None, None, None, c, FORWARD=False, BACKWARD=True)
        scan(M, c, d_final, leaves, d_initial, P, exactness(q, precision), reverse=True)
        d_final, d_initial = leaves, None
    d_states = q.new_empty(slots, H, V, K)
    if recompute:
        states, writes = like(d_states), like(v)
    if recompute and plan.both:
        sweep(plan.both, d_final, states, writes, d_states, dv, d_initial, FORWARD=True, BACKWARD=True)
    else:
        if recompute:
            sweep(plan.sweep, d_final, states, writes, d_states, dv, d_initial, FORWARD=True, BACKWARD=False)
        sweep(plan.back, d_final, states, writes, d_states, dv, d_initial, FORWARD=False, BACKWARD=True)
    k_tile = min(triton.next_power_of_2(K), 128 if norms is None else 256)   # what undoes a norm needs whole rows
    launch(backward.gradients_kernel, 2 * slots * H * triton.cdiv(K, k_tile), plan.gradients, q, k, betas, do, states, writes, d_states, dv, norms,
           dq, dk, dbeta, cu_seqlens, owner, scale, T, H, tokens, *steps[:4],
           K=K, V=V, V_TILE=plan.gradients.v_tile, K_TILE=k_tile, SIGMOID=sigmoid, **sizes)
    return results


def chunkwise_kept(inputs, results):
    q, k, v, beta, initial, cu_seqlens, scale, normalize, sigmoid, precision, _, _, segments = inputs
    _, _, UT, betas, unit_q, unit_k, norms, states, writes, M = results
    P = segments_of(q, v.shape[3], UT.shape[3], cu_seqlens, segments)
    return (unit_q if normalize else q, unit_k if normalize else k, v, betas if sigmoid else beta, initial,
            cu_seqlens, UT, norms, states, writes, M), (scale, sigmoid, precision, P)


chunkwise, chunkwise_backward, by_chunks = rule(
    "chunkwise", "float scale, bool normalize, bool sigmoid, str precision, int C, bool save, int segments", run_chunkwise, chunkwise_shapes, chunkwise_kept,
    "Tensor UT, Tensor? norms, Tensor? states, Tensor? writes, Tensor? M, float scale, bool sigmoid, str precision, int segments",
    run_chunkwise_backward)


# -- one token at a time ---------------------------------------------------------------------------------------------------

def recurrence_shapes(q, k, v, beta, initial, cu_seqlens, scale, save):
    """o, final state, and the prediction errors, which the backward pass needs."""
    n, (*_, H, V), K = sequences(*q.shape[:2], cu_seqlens, 16)[0], v.shape, q.shape[3]
    return [like(v), exact(q, n, H, V, K), exact(q, *v.shape) if save else None]


def run_recurrence(q, k, v, beta, initial, cu_seqlens, scale, save, results=None, config=configs.RECURRENT):
    plan_of(q, v.shape[3], 0)                                            # raises if it cannot run at all
    o, final, errors = results = results or recurrence_shapes(q, k, v, beta, initial, cu_seqlens, scale, save)
    (n, H, V, K), q, k, v = final.shape, q.contiguous(), k.contiguous(), v.contiguous()
    launch(recurrent.recurrent_kernel, n * H * triton.cdiv(V, config.v_tile), config, q, k, v, beta, initial, o, final, errors,
           cu_seqlens, scale, q.shape[1], H, K=K, V=V, V_TILE=config.v_tile)
    return results


def run_recurrence_backward(*inputs):
    do, d_final, q, k, v, beta, initial, cu_seqlens, errors, scale = inputs
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    n, parts = sequences(B, T, cu_seqlens, 16)[0], triton.cdiv(V, config.v_tile)
    q, k, dv, d_initial = q.contiguous(), k.contiguous(), like(errors), gradient_shapes(*inputs)[4]
    dq, dk, dbeta = exact(q, parts, B, T, H, K), exact(q, parts, B, T, H, K), exact(q, parts, B, T, H)
    common, sizes = (cu_seqlens, scale, T, H, B * T), dict(K=K, V=V, V_TILE=config.v_tile)
    launch(recurrent.recurrent_reverse_kernel, n * H * parts, config, q, k, beta, errors, do, d_final, dv, dk, dbeta, d_initial, *common, **sizes)
    launch(recurrent.recurrent_replay_kernel, n * H * parts, config, k, beta, errors, do, dv, initial, dq, dk, *common, **sizes)
    return [dq.sum(0).to(q.dtype), dk.sum(0).to(k.dtype), dv.to(v.dtype), dbeta.sum(0).to(beta.dtype), d_initial]


recurrence, recurrence_backward, by_tokens = rule(
    "recurrent", "float scale, bool save", run_recurrence, recurrence_shapes, lambda inputs, results: ((*inputs[:6], results[2]), inputs[6:7]),
    "Tensor errors, float scale", run_recurrence_backward)


def run_step(q, k, v, beta, state, scale):
    return run_recurrence(q, k, v, beta, state, None, scale, False, [like(v), state, None], configs.STEP)[0]


step = torch.library.custom_op("deltanet_edu::step", run_step, mutates_args={"state"},
                               schema="(Tensor q, Tensor k, Tensor v, Tensor beta, Tensor(a!) state, float scale) -> Tensor")
step.register_fake(lambda q, k, v, beta, state, scale: like(v))
