"""From tensors to launches: what a forward and a backward pass run, in which order, and where results lie. Nothing here
waits for the GPU. The chunkwise form is first, one token at a time last; what is not asked for is None.
"""

from functools import cache, partial
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import backward, configs, forward, interpreted, recurrent, splitting, why_not
from .notes import TAKING, asked, hooked, noted, step

why_not = cache(why_not)                                                 # asked in every call
HAS_BF16X3 = not interpreted() and tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 6)


# -- one launch --------------------------------------------------------------------------------------------------------

def launch(kernel, programs, config, **arguments):
    """Run so many programs of a kernel; its arguments come by name, those left out are None."""
    if not programs:
        return
    values = [arguments.get(name) for name in kernel.arg_names]
    triton.set_allocator(scratch)
    compiled = kernel[programs,](*values, **config.options())            # None from the interpreter
    if notes := TAKING.notes:
        notes.launch(kernel, compiled, programs, values, config.options())


def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes, on the device that it is launched on."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


ORDINARY = launch


def others():
    """What else decides what a call does, and is exchanged by tests and `tune`; None if somebody watches launches."""
    unseen = launch is ORDINARY and not hooked()
    return (configs.plan, configs.inverse, configs.device, segments_of) if unseen else None


def parts(n, size):
    """How many parts of this size n numbers make. (Triton's cdiv takes as long on the host as a small allocation.)"""
    return -(-n // size)


def new(x, *shape, dtype=None):
    """Memory for numbers of x's dtype or another, where x lies."""
    return asked(x.new_empty(shape, dtype=dtype))


def like(x):
    """Memory for another tensor of this shape and dtype, as the kernels write it."""
    return new(x, *x.shape)


def exact(x, *shape):
    """Memory for float32 numbers, where x lies."""
    return new(x, *shape, dtype=torch.float32)


def token_rows(x):
    """x: (B, T, H, D) with tokens at one stride through the whole batch and rows at multiples of 16 bytes; copied only
    if it is not so, or a head lies further away than 32 bits can say. .contiguous() would pass any stride of T = 1."""
    (B, T, H, _), (batch, token, head, one), size = x.shape, x.stride(), x.element_size()
    aligned = token * size % 16 == head * size % 16 == x.data_ptr() % 16 == 0
    near = one == 1 and 0 < token < 2**24 and 0 < head and H * head < 2**31
    if aligned and near and (B == 1 or batch == T * token):
        return x
    return step(lambda x: torch.empty_like(x, memory_format=torch.contiguous_format).copy_(x), x)


def strides(**tensors):
    """Of tokens and heads: {"q_token": ..., "q_head": ...} of q=q."""
    return {f"{name}_{what}": x.stride(d) for name, x in tensors.items() for d, what in ((1, "token"), (2, "head"))}


# -- how a call is cut -------------------------------------------------------------------------------------------------

class Options(NamedTuple):      # of the chunkwise form, besides its tensors
    scale: float
    normalize: bool
    sigmoid: bool
    precision: str
    C: int                      # tokens of a chunk; 0: the table's choice
    save: bool                  # keep S and X for the backward pass
    segments: int               # of each sequence; 0: as many as pay


class Cut(NamedTuple):         # sequences, or segments of them: equally long, or with `ends` (count + 1,) on the device
    count: int
    T: int
    ends: Tensor | None
    tokens: int                 # B T
    segments: int = 1           # of each sequence

    def slots(self, C):
        """How many chunks of C tokens there are, spare ones included; see `tiles.sequence`."""
        return self.count * parts(self.T, C) if self.ends is None else self.tokens // C + self.count

    def owners(self, C):
        """For variable lengths: which sequence owns each slot, worked out on the device."""
        if self.ends is not None:
            return step(partial(owners, C, self.slots(C)), self.ends)


def owners(C, slots, ends):
    first = ends // C + torch.arange(len(ends), device=ends.device)
    owner = torch.searchsorted(first, torch.arange(slots, device=ends.device), right=True) - 1
    return owner.clamp(max=len(ends) - 2).int()


def gpu_of(q):
    return configs.device(q.device.index if q.is_cuda else None)


def plan_of(q, V, heads):
    """The configurations for q, if kernels can run on it at all. Called inside operators only:
    compilers need not see it."""
    if reason := why_not(q.device, q.dtype):
        raise RuntimeError(f"kernels: {reason}")
    # int fixes what a compiler takes for variable
    return configs.plan(int(q.shape[3]), int(V), q.dtype, heads, gpu_of(q))


def segments_of(q, V, C, cu_seqlens, asked):
    """How many segments each sequence is cut into; asked = 0 means that nobody said it."""
    if asked or cu_seqlens is not None or q.dtype == torch.float32 or not q.is_cuda:
        return asked or 1
    (B, T, H, _), width = q.shape, configs.width_of(q.shape[3], V)
    # as if a program held 64 rows of the memory, or 128 where heads are 256 wide: one answer for a shape,
    # whatever the plan
    programs = B * H * parts(V, max(64, width // 2))
    return splitting.choose(programs, parts(T, C), width, gpu_of(q).multiprocessors)


def cut(q, V, C, cu_seqlens, asked, backward=False):
    """The Cut for q. Nobody having said otherwise, backward passes cut long segments of heads 128 wide once more."""
    B, T = q.shape[:2]
    segments = segments_of(q, V, C, cu_seqlens, asked)
    if backward and not asked and segments > 1 and configs.width_of(q.shape[3], V) == 128:
        segments *= 2 if parts(T, C) >= 2 * segments * splitting.LONG else 1
    if segments > 1:
        ends = None if T % (C * segments) == 0 else step(partial(splitting.ends, B, T, segments, C, q.device))
        return Cut(B * segments, T // segments if ends is None else T, ends, B * T, segments)
    return Cut(B if cu_seqlens is None else cu_seqlens.shape[0] - 1, T, cu_seqlens, B * T)


def group_of(q, V, pieces, C, normalize):
    """Chunks of a group: as many as the plan says, or fewer, so that every multiprocessor has a program. One answer for
    both passes: what the forward pass keeps, the backward pass reads."""
    group = plan_of(q, V, 0).group
    if group == 1 or normalize and q.dtype == torch.float16:             # for which shared memory is too small
        return 1
    return next((g for g in (group, group // 4)
                 if 10 * pieces.slots(C * g) * q.shape[2] >= 9 * gpu_of(q).multiprocessors), 1)


def states_for(q, V, pieces, C, group):
    """Memory for S of every chunk, or of every group; that in float32, since the others are found from it."""
    return new(q, pieces.slots(C * group), q.shape[2], V, q.shape[3], dtype=torch.float32 if group > 1 else q.dtype)


def merging(q, precision):
    """Precision of products of float32 numbers that are no inputs: those that build UT, and M S. Rounding to bfloat16,
    before and after, loses more than tf32 does. For float16, three products of bfloat16 halves are as good as three of
    tf32 and take a third of the time."""
    if q.dtype == torch.float16 and precision == "tf32x3" and HAS_BF16X3:
        return "bf16x3"
    return "tf32" if q.dtype == torch.bfloat16 else precision


# -- chunkwise ---------------------------------------------------------------------------------------------------------

class Forward(NamedTuple):      # what the forward pass leaves
    o: Tensor                   # (B, T, H, V)
    final: Tensor               # (N, H, V, K) float32
    UT_low: Tensor              # (B, T, H, C)
    unit_q: Tensor | None       # (B, T, H, K) twice, and the lengths q and k had, (2, B, T, H): if they are normalized
    unit_k: Tensor | None
    norms: Tensor | None
    states: Tensor | None       # (slots, H, V, K), (B, T, H, V): S before each chunk, and X; if they are to be saved
    writes: Tensor | None
    M: Tensor | None       # (N segments, H, K, K): the map of each segment, see splitting.py; with states, or None


class Kept(NamedTuple):         # what the backward pass gets back
    q: Tensor                   # of unit length if normalized, and k
    k: Tensor
    v: Tensor
    beta: Tensor
    initial: Tensor | None
    cu_seqlens: Tensor | None
    UT_low: Tensor
    norms: Tensor | None
    states: Tensor | None
    writes: Tensor | None
    M: Tensor | None


def chunkwise_results(q, k, v, beta, initial, cu_seqlens, *options):
    """Memory for a Forward."""
    o, V = Options(*options), v.shape[3]
    C = o.C or plan_of(q, V, 0).C
    return memory_for(q, k, v, C, cut(q, V, C, cu_seqlens, o.segments), o)


def memory_for(q, k, v, C, pieces, o):
    (B, T, H, K), V = q.shape, v.shape[3]
    units = (like(q), like(k), exact(q, 2, B, T, H)) if o.normalize else (None, None, None)
    saved = (None, None, None)
    if o.save:
        M = exact(q, pieces.count, H, K, K) if pieces.segments > 1 else None
        saved = states_for(q, V, pieces, C, group_of(q, V, pieces, C, o.normalize)), like(v), M
    return Forward(like(v), exact(q, pieces.count // pieces.segments, H, V, K), new(q, B, T, H, C), *units, *saved)


@partial(noted, others=others)
def run_chunkwise(q, k, v, beta, initial, cu_seqlens, *options):
    """A Forward, in two launches, or with segments four."""
    o, (B, T, H, K), V = Options(*options), q.shape, v.shape[3]
    C = o.C or plan_of(q, V, 0).C
    pieces = cut(q, V, C, cu_seqlens, o.segments)
    out = memory_for(q, k, v, C, pieces, o)
    slots, plan = pieces.slots(C), plan_of(q, V, pieces.count * H)
    q, k, v, betas = token_rows(q), token_rows(k), token_rows(v), exact(q, slots, H, C)
    config, at_a_time = configs.inverse(q, C, o.normalize, gpu_of(q))
    launch(forward.inverse_kernel, min(slots * H, at_a_time), config, q_ptr=q, k_ptr=k, beta_ptr=beta,
           UT_low_ptr=out.UT_low, betas_ptr=betas, unit_q_ptr=out.unit_q, unit_k_ptr=out.unit_k, norms_ptr=out.norms,
           cu_seqlens=pieces.ends, sequence_of_slot=pieces.owners(C), T=pieces.T, H=H, tokens=B * T,
           chunks=slots * H, **strides(q=q, k=k), K=K, C=C, PRECISION=o.precision,
           MERGE=merging(q, o.precision), SIGMOID=o.sigmoid)
    if o.normalize:
        q, k = out.unit_q, out.unit_k
    final = out.final
    if pieces.segments > 1:
        _, initial = enter_segments(k, v, out.UT_low, betas, initial, pieces, o.precision, out.M, final)
        final = None
    config = plan.forward if out.states is None else plan.saving
    launch(forward.forward_kernel, pieces.count * H * parts(V, config.v_tile), config, q_ptr=q, k_ptr=k, v_ptr=v,
           UT_low_ptr=out.UT_low, betas_ptr=betas, initial_ptr=initial, o_ptr=out.o, final_ptr=final,
           states_ptr=out.states, writes_ptr=out.writes, cu_seqlens=pieces.ends, scale=o.scale, T=pieces.T, H=H,
           **strides(q=q, k=k, v=v), K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=o.precision,
           GROUP=group_of(q, V, pieces, C, o.normalize))
    return out


def enter_segments(k, v, UT_low, betas, initial, pieces, precision, M=None, final=None):
    """M of each segment, and the memory that enters it. `final`, if it is wanted: out, what leaves the last."""
    H, K, V, C, n = k.shape[2], k.shape[3], v.shape[3], UT_low.shape[3], pieces.count
    M, b, enters = exact(k, n, H, K, K) if M is None else M, exact(k, n, H, V, K), exact(k, n, H, V, K)
    plan = plan_of(k, V, 2 * n * H)
    config = plan.segment or plan.forward
    programs = n * H * (parts(V, config.v_tile) + parts(K, config.v_tile))
    launch(splitting.segment_kernel, programs, config, k_ptr=k, v_ptr=v, UT_low_ptr=UT_low, betas_ptr=betas,
           M_ptr=M, b_ptr=b, cu_seqlens=pieces.ends,
           T=pieces.T, H=H, **strides(k=k, v=v), K=K, V=V, C=C, V_TILE=config.v_tile, PRECISION=precision)
    scan(M, b, initial, enters, final, pieces.segments, merging(k, precision), reverse=False)
    return M, enters


def scan(M, b, first, enters, last, segments, precision, reverse):
    """What enters each segment, and what leaves the last, if `first` enters the first; see `splitting.scan_kernel`."""
    (n, H, V, K), config = b.shape, configs.SCAN
    # Strips of 64 rows take shared memory, and registers where a product is three.
    roomy = gpu_of(b).shared > 160 * 1024 and precision == "tf32"
    launch(splitting.scan_kernel, n // segments * H * parts(V, config.v_tile), config, M_ptr=M, b_ptr=b,
           first_ptr=first, enters_ptr=enters, last_ptr=last, segments=segments, H=H, K=K, V=V, ROWS=config.v_tile,
           PRECISION=precision, REVERSE=reverse, STEP=min(1 << (K - 1).bit_length(), 64 if roomy else 32))


def gradient_results(do, d_final, q, k, v, beta, initial, cu_seqlens, *others):
    """Memory for dq, dk, dv, dbeta, and the gradient of the initial state."""
    n = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    d_initial = None if initial is None else exact(q, n, *initial.shape[1:])
    return like(q), like(k), like(v), new(q, *q.shape[:3], dtype=beta.dtype), d_initial


@partial(noted, others=others)
def run_chunkwise_backward(do, d_final, *others):
    """dq, dk, dv, dbeta and d_initial, in three or four launches, with segments in up to eight."""
    kept, o = Kept(*others[:len(Kept._fields)]), Options(*others[len(Kept._fields):])
    (B, T, H, K), V, C, norms = kept.q.shape, kept.v.shape[3], kept.UT_low.shape[3], kept.norms
    results = dq, dk, dv, dbeta, d_initial = gradient_results(do, d_final, *kept)
    pieces = cut(kept.q, V, C, kept.cu_seqlens, o.segments, backward=kept.states is None)
    plan, initial = plan_of(kept.q, V, pieces.count * H), kept.initial
    slots, owners = pieces.slots(C), pieces.owners(C)
    q, k, v, do = (token_rows(x) for x in (kept.q, kept.k, kept.v, do))
    betas = exact(q, slots, H, C)
    common = dict(cu_seqlens=pieces.ends, scale=o.scale, T=pieces.T, H=H, K=K, V=V, C=C, PRECISION=o.precision)

    G = group_of(q, V, pieces, C, o.normalize)
    groups = pieces.slots(G * C)

    def sweep(config, **arguments):
        sweeps = arguments["FORWARD"] + arguments["BACKWARD"]
        launch(backward.sweeps_kernel, sweeps * pieces.count * H * parts(V, config.v_tile), config, q_ptr=q,
               k_ptr=k, v_ptr=v, UT_low_ptr=kept.UT_low, betas_ptr=betas, initial_ptr=initial, do_ptr=do,
               **arguments, **strides(q=q, k=k, v=v), V_TILE=config.v_tile, **common, GROUP=G)

    launch(backward.strengths_kernel, slots * H, configs.STEP, beta_ptr=kept.beta, betas_ptr=betas,
           cu_seqlens=pieces.ends, sequence_of_slot=owners, T=pieces.T, H=H, C=C, SIGMOID=o.sigmoid,
           HALF=q.dtype == torch.float16)
    if pieces.segments > 1:                                          # back through the segments: dS_in = dS_out M^T + c
        M = kept.M
        if M is None:
            M, initial = enter_segments(k, v, kept.UT_low, betas, initial, pieces, o.precision)
        c, leaves = exact(q, pieces.count, H, V, K), exact(q, pieces.count, H, V, K)
        sweep(plan.back, d_initial_ptr=c, FORWARD=False, BACKWARD=True)
        scan(M, c, d_final, leaves, d_initial, pieces.segments, merging(q, o.precision), reverse=True)
        d_final, d_initial = leaves, None
    d_states = new(q, groups, H, V, K)
    states, writes = kept.states, kept.writes
    if states is None:
        states, writes = states_for(q, V, pieces, C, G), like(v)
    left = dict(states_ptr=states, writes_ptr=writes)
    wanted = dict(d_final_ptr=d_final, d_states_ptr=d_states, dv_ptr=dv, d_initial_ptr=d_initial)
    if kept.states is None and plan.both:
        sweep(plan.both, **left, **wanted, FORWARD=True, BACKWARD=True)
    else:
        if kept.states is None:
            sweep(plan.sweep, **left, FORWARD=True, BACKWARD=False)
        sweep(plan.back, **wanted, FORWARD=False, BACKWARD=True)
    common |= dict(q_ptr=q, k_ptr=k, beta_ptr=kept.beta, do_ptr=do, **left, d_states_ptr=d_states, dv_ptr=dv,
                   dq_ptr=dq, dk_ptr=dk, dbeta_ptr=dbeta, sequence_of_slot=pieces.owners(G * C), **strides(q=q, k=k),
                   SIGMOID=o.sigmoid, norms_ptr=norms, tokens=B * T)
    if G > 1:
        launch(backward.group_gradients_kernel, groups * H, plan.groups, **common, GROUP=G)
    else:
        k_tile = min(1 << (K - 1).bit_length(), 128 if norms is None else 256)   # undoing a norm takes whole rows
        launch(backward.gradients_kernel, groups * H * parts(K, k_tile), plan.gradients, **common,
               V_TILE=plan.gradients.v_tile, K_TILE=k_tile)
    return results


# -- one token at a time -----------------------------------------------------------------------------------------------

def recurrent_results(q, k, v, beta, initial, cu_seqlens, scale, save):
    """Memory for o, the final state, and the prediction errors, which the backward pass needs."""
    n = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    return like(v), exact(q, n, *v.shape[2:], q.shape[3]), exact(q, *v.shape) if save else None


def contiguous(*tensors):
    return [x if x.is_contiguous() else step(Tensor.contiguous, x) for x in tensors]


@partial(noted, others=others)
def run_recurrent(q, k, v, beta, initial, cu_seqlens, scale, save):
    results = recurrent_results(q, k, v, beta, initial, cu_seqlens, scale, save)
    recur(q, k, v, beta, initial, cu_seqlens, scale, *results, configs.RECURRENT)
    return results


def recur(q, k, v, beta, initial, cu_seqlens, scale, o, final, errors, config):
    plan_of(q, v.shape[3], 0)                                            # raises if it cannot run at all
    (n, H, V, K), (q, k, v) = final.shape, contiguous(q, k, v)
    launch(recurrent.recurrent_kernel, n * H * parts(V, config.v_tile), config, q_ptr=q, k_ptr=k, v_ptr=v,
           beta_ptr=beta, initial_ptr=initial, o_ptr=o, final_ptr=final, errors_ptr=errors, cu_seqlens=cu_seqlens,
           scale=scale, T=q.shape[1], H=H, K=K, V=V, V_TILE=config.v_tile)


@partial(noted, others=others)
def run_recurrent_backward(do, d_final, q, k, v, beta, initial, cu_seqlens, errors, scale):
    (B, T, H, K), V, config = q.shape, v.shape[3], configs.RECURRENT
    n, tiles = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1, parts(V, config.v_tile)
    d_initial = None if initial is None else exact(q, *initial.shape)
    dq, dk, dv, dbeta = exact(q, tiles, B, T, H, K), exact(q, tiles, B, T, H, K), like(errors), exact(q, tiles, B, T, H)
    q, k = contiguous(q, k)
    common = dict(k_ptr=k, beta_ptr=beta, errors_ptr=errors, do_ptr=do, dv_ptr=dv, dk_parts_ptr=dk,
                  cu_seqlens=cu_seqlens, scale=scale, T=T, H=H, tokens=B * T, K=K, V=V, V_TILE=config.v_tile)
    launch(recurrent.recurrent_reverse_kernel, n * H * tiles, config, q_ptr=q, d_final_ptr=d_final,
           dbeta_parts_ptr=dbeta, d_initial_ptr=d_initial, **common)
    launch(recurrent.recurrent_replay_kernel, n * H * tiles, config, initial_ptr=initial, dq_parts_ptr=dq, **common)
    summed = [step(partial(sum_of_parts, x.dtype), d) for x, d in ((q, dq), (k, dk), (beta, dbeta))]
    return summed[0], summed[1], step(partial(Tensor.to, dtype=v.dtype), dv), summed[2], d_initial


def sum_of_parts(dtype, x):
    return x.sum(0).to(dtype)


@partial(noted, others=others)
def run_decoding(q, k, v, beta, state, scale):
    o = like(v)
    recur(q, k, v, beta, state, None, scale, o, state, None, configs.STEP)
    return o,


def run_step(*inputs):
    return run_decoding(*inputs)[0]
