"""Cutting sequences into segments that run side by side, for when there are too few heads to fill the GPU.

Through a segment the memory goes as S_out = S_in M + b, because every token's step is linear in the memory (eq. 2.6).
So b is where an empty memory ends, and M where the identity ends if all values are zero: `segment_kernel`, one sweep
for V + K rows instead of V. `scan_kernel` finds what really enters each segment, and then all run at once. Gradients
come back the same way, dS_in = dS_out M^T + c. With n segments, that is two sweeps over an n-th of the chunks instead
of one over all. The backward pass works out M and what enters a second time, unless memories were saved: held, they
could take four times what UT takes.

M needs no more precision than the sweeps have: its errors are those that memories would collect on the same way.
"""

import torch
import triton
import triton.language as tl

from .forward import forward_sweep
from .tiles import at_state

# What `choose` reckons with, measured on an H100 and an H200.
WORK = 23                        # what a chunk costs in segments, in tenths of a sweep over it; M and b go side by side
EXTRA = {64: 300, 128: 120, 256: 40}    # by width: chunks that could be swept while the extra launches and the scan run
SHORTEST = 16                           # chunks: in shorter segments a sweep does not get going
LONG = 64                               # chunks: the backward pass halves segments, at 128 wide, if halves have so many


def choose(programs, chunks, width, multiprocessors):
    """How many segments a sequence of so many chunks should have, if one sweep over all sequences has so many programs:
    the largest power of two with at most one program a multiprocessor and SHORTEST chunks a segment, if that saves more
    than 15 % of the time; else 1."""
    segments = 1
    while 2 * segments * programs <= multiprocessors and 2 * segments * SHORTEST <= chunks:
        segments *= 2
    return segments if chunks * WORK < (chunks * 85 // 100 - EXTRA[width]) * segments * 10 else 1


def ends(B, T, segments, C, device):
    """Bounds of so many segments for each of B sequences, as cu_seqlens, if they are not equally long: all of whole
    chunks but the last; some may be empty."""
    length = -(-T // (C * segments)) * C
    within = (torch.arange(segments, device=device) * length).clamp(max=T)                   # (segments,)  their starts
    starts = (torch.arange(B, device=device)[:, None] * T + within).flatten()                # (B segments,)
    return torch.cat([starts, starts.new_full((1,), B * T)])


@triton.jit
def segment_kernel(
    k_ptr, v_ptr, UT_low_ptr, betas_ptr,               # as in forward_kernel
    M_ptr, b_ptr,                                  # out: (N, H, K, K), (N, H, V, K) float32, of each segment
    cu_seqlens, T, H, k_token, k_head, v_token, v_head,                  # as in inverse_kernel; of v likewise
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
):
    """One program per segment, head and V_TILE rows of b or M. Without outputs no q is read: k stands in its place."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    TILES: tl.constexpr = V_TILES + (K + V_TILE - 1) // V_TILE
    program = tl.program_id(0)
    tile, h, i_seq = program % TILES, program // TILES % H, program // (TILES * H)
    if tile < V_TILES:
        forward_sweep(k_ptr, k_ptr, v_ptr, UT_low_ptr, betas_ptr, None, None, b_ptr, None, None, cu_seqlens, 1.0, T, H,
                      k_token, k_head, k_token, k_head, v_token, v_head, i_seq, h, tile * V_TILE,
                      K, V, C, V_TILE, PRECISION, 1)
    else:
        forward_sweep(k_ptr, k_ptr, None, UT_low_ptr, betas_ptr, None, None, M_ptr, None, None, cu_seqlens, 1.0,
                      T, H, k_token, k_head, k_token, k_head, v_token, v_head, i_seq, h, (tile - V_TILES) * V_TILE,
                      K, K, C, V_TILE, PRECISION, 1)


@triton.jit
def scan_kernel(
    M_ptr, b_ptr,                    # (B, segments, H, K, K), (B, segments, H, V, K), all here in float32
    first_ptr,                       # (B, H, V, K): what enters the first segment; None: zeros
    enters_ptr, last_ptr,            # out: what enters each, as b; what leaves the last, (B, H, V, K), or None
    segments, H,                     # of a sequence; heads
    K: tl.constexpr, V: tl.constexpr, ROWS: tl.constexpr, PRECISION: tl.constexpr,
    REVERSE: tl.constexpr,                         # from the last segment to the first, through M^T: gradients
    STEP: tl.constexpr,                            # rows of a strip of M
):
    """One program per sequence, head and ROWS rows of the memory: S <- S M + b, segment by segment. M comes in strips
    of STEP rows, since all of it would not fit, and so does S as their left operand. Nothing else hides how long a
    load takes, so while one strip is used the next are on their way."""
    TILES: tl.constexpr = (V + ROWS - 1) // ROWS
    width: tl.constexpr = triton.next_power_of_2(K)
    STRIPS: tl.constexpr = width // STEP
    program = tl.program_id(0)
    part, h, i_seq = program % TILES, program // TILES % H, (program // (TILES * H)).to(tl.int64)
    at, in_state = at_state(part * ROWS, K, V, ROWS, width)
    row, col = tl.arange(0, STEP)[:, None], tl.arange(0, width)[None, :]
    strip = tl.arange(0, STRIPS)[None, :, None]
    S = tl.zeros((ROWS, width), tl.float32)                              # (ROWS, K)  registers
    if first_ptr is not None:
        S += tl.load(first_ptr + (i_seq * H + h) * V * K + at, mask=in_state, other=0.0)
    for step in range(0, segments):
        segment = (i_seq * segments + (segments - 1 - step if REVERSE else step)) * H + h
        tl.store(enters_ptr + segment * V * K + at, S, mask=in_state)
        strips = tl.reshape(S, (ROWS, STRIPS, STEP))
        S = tl.load(b_ptr + segment * V * K + at, mask=in_state, other=0.0)
        # Nothing to multiply where an empty memory enters, or nobody asks what leaves.
        needed = ((first_ptr is not None) | (step > 0)) & ((last_ptr is not None) | (step < segments - 1))
        for n in range(0, tl.where(needed, STRIPS, 0)):
            i = n * STEP + row
            at_M = segment * K * K + (col * K + i if REVERSE else i * K + col)
            M = tl.load(M_ptr + at_M, mask=(i < K) & (col < K), other=0.0)                               # (STEP, K)
            S_n = tl.sum(tl.where(strip == n, strips, 0.0), 1)                                           # (ROWS, STEP)
            S = tl.dot(S_n, M, S, input_precision=PRECISION)
    if last_ptr is not None:
        tl.store(last_ptr + (i_seq * H + h) * V * K + at, S, mask=in_state)
