"""Mamba's selective scan, one token at a time with the memory in registers: the twin of ops/selective_scan.py.

    S_t = a_t * S_{t-1} + (delta_t * v_t) k_t^T,    a_t = exp(delta_t 1^T * A),    o_t = S_t q_t

Backward, where dS_t is the gradient of S_t, o's part included:

    dS_t = a_{t+1} * dS_{t+1} + do_t q_t^T          dA = sum_t delta_t 1^T * a_t * S_{t-1} * dS_t
    dq_t = S_t^T do_t                               dv_t = delta_t * (dS_t k_t)
    dk_t = dS_t^T (delta_t * v_t)                   ddelta_t = v_t * (dS_t k_t) + (A * a_t * S_{t-1} * dS_t) 1

What limits the PyTorch forms is that they read and write all T memories several times over. Here they never leave the
registers, except once for the backward pass, which walks back through them: TKV numbers in float32. A program keeps
V_TILE channels. What q, k and A get from several programs is stored apart and summed afterwards, so that no result
depends on which was first.
"""

import torch
import triton
import triton.language as tl

from ..ops.common import once_differentiable
from .recurrent import vector
from .tiles import at_state, sequence


@triton.jit
def selective_scan_kernel(
    q_ptr, k_ptr, v_ptr, delta_ptr, A_ptr,  # (B, T, K) twice, (B, T, V) twice, (V, K); all contiguous
    initial_ptr,                            # (N, V, K) float32; None: the memory starts empty
    o_ptr, final_ptr,                       # out: (B, T, V); (N, V, K) float32
    states_ptr,                             # out: S after every token, (B, T, V, K) float32; None: not wanted
    cu_seqlens, T,                          # (N + 1,), see tiles.py, or None; length of a sequence
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """S from the first token to the last. One program per sequence and V_TILE channels."""
    PARTS: tl.constexpr = (V + V_TILE - 1) // V_TILE
    width: tl.constexpr = triton.next_power_of_2(K)
    part, i_seq = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
    start, length, _ = sequence(i_seq, T, cu_seqlens, 16)
    at, in_state = at_state(part * V_TILE, K, V, V_TILE, width)
    val, col, memory = part * V_TILE + tl.arange(0, V_TILE), tl.arange(0, width), i_seq.to(tl.int64) * V * K + at
    A = tl.load(A_ptr + at, mask=in_state, other=0.0).to(tl.float32)     # (V_TILE, K)  registers, as is S
    S = tl.zeros_like(A)
    if initial_ptr is not None:
        S += tl.load(initial_ptr + memory, mask=in_state, other=0.0)
    for t in range(0, length):
        q, k = vector(q_ptr, start + t, K, col), vector(k_ptr, start + t, K, col)                        # (K,)
        v, delta = vector(v_ptr, start + t, V, val), vector(delta_ptr, start + t, V, val)                # (V_TILE,)
        S = tl.exp(delta[:, None] * A) * S + (delta * v)[:, None] * k[None, :]
        tl.store(o_ptr + (start + t) * V + val, tl.sum(S * q[None, :], 1).to(o_ptr.dtype.element_ty), mask=val < V)
        if states_ptr is not None:
            tl.store(states_ptr + (start + t) * V * K + at, S, mask=in_state)
    tl.store(final_ptr + memory, S, mask=in_state)


@triton.jit
def selective_scan_reverse_kernel(
    q_ptr, k_ptr, v_ptr, delta_ptr, A_ptr, initial_ptr, states_ptr,      # as above
    do_ptr, d_final_ptr,                                # (B, T, V); (N, V, K) float32
    dq_parts_ptr, dk_parts_ptr, dv_ptr, ddelta_ptr,     # out: (parts, B, T, K) twice, (B, T, V) twice; float32
    dA_parts_ptr, d_initial_ptr,                        # out: (N, V, K) float32 both
    cu_seqlens, T, tokens,                              # as above; B T
    K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr,
):
    """dS from the last token to the first."""
    PARTS: tl.constexpr = (V + V_TILE - 1) // V_TILE
    width: tl.constexpr = triton.next_power_of_2(K)
    part, i_seq = tl.program_id(0) % PARTS, tl.program_id(0) // PARTS
    start, length, _ = sequence(i_seq, T, cu_seqlens, 16)
    at, in_state = at_state(part * V_TILE, K, V, V_TILE, width)
    val, col, memory = part * V_TILE + tl.arange(0, V_TILE), tl.arange(0, width), i_seq.to(tl.int64) * V * K + at
    A = tl.load(A_ptr + at, mask=in_state, other=0.0).to(tl.float32)     # (V_TILE, K)  registers, as all below
    dS, dA, first = tl.load(d_final_ptr + memory, mask=in_state, other=0.0), tl.zeros_like(A), tl.zeros_like(A)
    if initial_ptr is not None:
        first += tl.load(initial_ptr + memory, mask=in_state, other=0.0)                 # S before the first token
    S = tl.load(states_ptr + (start + length - 1) * V * K + at, mask=in_state & (length > 0), other=0.0)
    for step in range(0, length):
        # -- load ----------------------------------------------------------------------------------------------------
        token = start + length - 1 - step
        at_part = part.to(tl.int64) * tokens + token
        q, k = vector(q_ptr, token, K, col), vector(k_ptr, token, K, col)                                # (K,)
        v, delta = vector(v_ptr, token, V, val), vector(delta_ptr, token, V, val)                        # (V_TILE,)
        do = vector(do_ptr, token, V, val)                                                               # (V_TILE,)
        before = tl.load(states_ptr + (token - 1) * V * K + at, mask=in_state & (step < length - 1), other=0.0)
        before = tl.where(step < length - 1, before, first)                                              # (V_TILE, K)
        # -- update --------------------------------------------------------------------------------------------------
        dS += do[:, None] * q[None, :]
        told = tl.sum(dS * k[None, :], 1)                                                                # (V_TILE,)
        through = tl.exp(delta[:, None] * A) * dS                        # (V_TILE, K)  what reaches the token before
        dA += delta[:, None] * before * through
        # -- store ---------------------------------------------------------------------------------------------------
        tl.store(dq_parts_ptr + at_part * K + col, tl.sum(S * do[:, None], 0), mask=col < K)
        tl.store(dk_parts_ptr + at_part * K + col, tl.sum(dS * (delta * v)[:, None], 0), mask=col < K)
        tl.store(dv_ptr + token * V + val, delta * told, mask=val < V)
        tl.store(ddelta_ptr + token * V + val, v * told + tl.sum(A * before * through, 1), mask=val < V)
        dS, S = through, before
    tl.store(dA_parts_ptr + memory, dA, mask=in_state)
    tl.store(d_initial_ptr + memory, dS, mask=in_state)


def launch(kernel, q, v, A, cu_seqlens, **arguments):
    """Run a kernel, one warp a program: its V_TILE channels are 128 entries of the memory."""
    (V, K), sequences = A.shape, len(v) if cu_seqlens is None else len(cu_seqlens) - 1
    tile = max(1, 128 // triton.next_power_of_2(K))
    grid = sequences * triton.cdiv(V, tile)
    if grid:
        with torch.cuda.device(v.device) if v.device.type == "cuda" else torch.no_grad():
            kernel[(grid,)](q_ptr=q, v_ptr=v, A_ptr=A, cu_seqlens=cu_seqlens, T=v.shape[1], K=K, V=V, V_TILE=tile,
                            num_warps=1, **arguments)


class SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, delta, A, initial, cu_seqlens):
        q, k, v, delta, A = (x.contiguous() for x in (q, k, v, delta, A))
        wanted = any(ctx.needs_input_grad)
        sequences = len(v) if cu_seqlens is None else len(cu_seqlens) - 1
        o, final = torch.empty_like(v), v.new_empty(sequences, *A.shape, dtype=torch.float32)
        states = v.new_empty(*v.shape[:2], *A.shape, dtype=torch.float32) if wanted else None
        entering = None if initial is None else initial.float().contiguous()
        launch(selective_scan_kernel, q, v, A, cu_seqlens, k_ptr=k, delta_ptr=delta, initial_ptr=entering, o_ptr=o,
               final_ptr=final, states_ptr=states)
        ctx.save_for_backward(q, k, v, delta, A, initial, states, cu_seqlens)
        return o, final

    @staticmethod
    @once_differentiable
    def backward(ctx, do, d_final):
        q, k, v, delta, A, initial, states, cu_seqlens = ctx.saved_tensors
        (B, T, V), K, width = v.shape, A.shape[1], triton.next_power_of_2(A.shape[1])
        parts, dtype = triton.cdiv(V, max(1, 128 // width)), dict(dtype=torch.float32)
        dq, dk = (v.new_empty(parts, B, T, K, **dtype) for _ in range(2))
        dv, ddelta = torch.empty_like(v, **dtype), torch.empty_like(v, **dtype)
        dA, d_initial = torch.empty_like(d_final, **dtype), torch.empty_like(d_final, **dtype)
        entering = None if initial is None else initial.float().contiguous()
        launch(selective_scan_reverse_kernel, q, v, A, cu_seqlens, k_ptr=k, delta_ptr=delta, initial_ptr=entering,
               states_ptr=states, do_ptr=do.contiguous(), d_final_ptr=d_final.contiguous(), dq_parts_ptr=dq,
               dk_parts_ptr=dk, dv_ptr=dv, ddelta_ptr=ddelta, dA_parts_ptr=dA, d_initial_ptr=d_initial, tokens=B * T)
        found = (dq.sum(0).to(q.dtype), dk.sum(0).to(k.dtype), dv.to(v.dtype), ddelta.to(delta.dtype),
                 dA.sum(0).to(A.dtype), None if initial is None else d_initial.to(initial.dtype))
        return *(x if need else None for x, need in zip(found, ctx.needs_input_grad)), None


def selective_scan(q, k, v, delta, A, skip=None, *, initial_state=None, cu_seqlens=None):
    """As `ops.selective_scan_recurrent`; with cu_seqlens, N sequences packed in one row, states are (N, V, K)."""
    o, S = SelectiveScan.apply(q, k, v, delta, A, initial_state, cu_seqlens)
    return (o if skip is None else o + skip.to(o.dtype) * v), S
