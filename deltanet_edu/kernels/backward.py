"""The chunkwise backward pass: two sweeps over the chunks, then everything else for all chunks at once.

A prefix d is "gradient with respect to"; S' is the memory that leaves a chunk, the rest as in forward.py and chapter 9:

    forward sweep      S and X of every chunk, computed again (unless the forward pass has saved them)
    backward sweep     dX = P^T dO + K dS'^T         dV = UT^T dX = beta dX + UT_low^T dX             (eq. 9.4)
                       dS = dS' + dO^T Q - dV^T K
    gradients          dQ = dO S + dP K                                dP = tril(dO X^T)
                       dK = dP^T Q + X dS' - dV S - (E + E^T) K        E = stril(dV X^T)              (eq. 9.5, 9.6)
                       dbeta_t = dV_t . X_t / beta_t^2                                                (eq. 9.7)

The last is eq. 9.7, (UT1^T dX)_t . e_t: since UT = UT1 diag(beta), dV is beta times its first factor, and what is
written is beta times the error, X = beta * e. For beta = 0 see `tiles.strengths`. The backward sweep needs neither S
nor X, so the two sweeps can share a launch, side by side. All of it is linear in dO and dS', so `scale` is left out
until results are stored: gradients of the memory are kept divided by it.

Memories are a third of what all this moves. Where there are programs enough, the sweeps store one for a group of chunks
and `group_gradients_kernel` takes the place of `gradients_kernel`.
"""

import triton
import triton.language as tl

from .forward import forward_sweep
from .tiles import (at_state, chunk_of, dot, dot_t, load_memory, load_rows, load_tile, rows, sequence, states,
                    store_memory, strengths, where_written)


@triton.jit
def strengths_kernel(
    beta_ptr,                                      # (B, T, H)
    betas_ptr,                                     # out: (slots, H, C) float32
    cu_seqlens, sequence_of_slot, T, H,            # as in inverse_kernel
    C: tl.constexpr, SIGMOID: tl.constexpr, HALF: tl.constexpr,          # HALF: q, k and v are float16
):
    """One program per chunk and head: beta chunk by chunk, as inverse_kernel made it. Only beta itself is held."""
    slot, h = tl.program_id(0) // H, tl.program_id(0) % H
    start, length, first = chunk_of(slot, T, cu_seqlens, sequence_of_slot, C)
    row = tl.arange(0, C)
    beta = strengths(beta_ptr, (start + first + row) * H + h, first + row < length, SIGMOID, HALF)
    tl.store(betas_ptr + tl.program_id(0).to(tl.int64) * C + row, beta)


@triton.jit
def backward_sweep(
    q_ptr, k_ptr, UT_low_ptr, betas_ptr, do_ptr, d_final_ptr,            # as in sweeps_kernel
    d_states_ptr, dv_ptr, d_initial_ptr,
    cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head,
    i_seq, h, v0,                                                        # which sequence, head, first row of the memory
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    GROUP: tl.constexpr,                                                 # dS' of the newest of so many is stored
):
    """The gradient of V_TILE rows of one head's memory, from the last chunk to the first; laid out as forward_sweep."""
    width: tl.constexpr = triton.next_power_of_2(K)
    PART: tl.constexpr = 128 if width == 256 and V_TILE >= 64 else width
    dtype: tl.constexpr = k_ptr.dtype.element_ty
    start, length, slot = sequence(i_seq, T, cu_seqlens, C)
    chunks = tl.cdiv(length, C)
    memory = (i_seq.to(tl.int64) * H + h) * V * K
    q_rows = rows(q_ptr + start * q_token + h * q_head, length, K, q_token, C, PART)
    k_rows = rows(k_ptr + start * k_token + h * k_head, length, K, k_token, C, PART)
    UT_rows = rows(UT_low_ptr + (start * H + h) * C, length, C, H * C, C, C)
    do_rows = rows(do_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
    if d_states_ptr is not None:
        dv_rows = rows(dv_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
        if GROUP > 1:
            dS_tiles = states(d_states_ptr, i_seq, T, cu_seqlens, h, H, K, V, GROUP * C, V_TILE)
    row = tl.arange(0, C)
    dS = load_memory(d_final_ptr, memory, v0, K, V, V_TILE, PART, 1 / scale)       # (V_TILE, K)  registers

    for step in range(0, chunks):                                        # one chunk a step, newest first
        i = chunks - 1 - step
        # -- load ----------------------------------------------------------------------------------------------------
        q = load_rows(q_rows, i * C, K, PART)                            # (C, K)       shared memory, as all tiles
        k = load_rows(k_rows, i * C, K, PART)                            # (C, K)
        UT_low = UT_rows.load([i * C, 0])                                # (C, C)
        beta = tl.load(betas_ptr + ((slot + i) * H + h) * C + row)       # (C,)         registers
        do = do_rows.load([i * C, v0])                                   # (C, V_TILE)
        # -- within the chunk: which outputs want something of a write -------------------------------------------------
        Q_K = dot_t(q, k, None, PRECISION)
        P = tl.where(row[:, None] >= row[None, :], Q_K, 0.0).to(dtype)                                   # (C, C)
        dX_t = tl.dot(tl.trans(do), P, input_precision=PRECISION)                                        # (V_TILE, C)
        # -- across chunks: and what all later chunks want of it -------------------------------------------------------
        if d_states_ptr is not None and GROUP > 1:
            if (i % GROUP == GROUP - 1) | (step == 0):                   # the newest chunk of its group
                dS_tiles.store([i // GROUP, v0, 0], dS[0].to(dtype).reshape(1, V_TILE, width))
        for n in tl.static_range(len(dS)):
            dS_out = dS[n].to(dtype)                                     # (V_TILE, PART)  registers: left operand
            dX_t = tl.dot(dS_out, tl.trans(k[n]), dX_t, input_precision=PRECISION)
            if d_states_ptr is not None and GROUP == 1:
                at, in_state = at_state(v0, K, V, V_TILE, PART, n * PART)
                tl.store(d_states_ptr + ((slot + i) * H + h) * V * K + at, dS_out, mask=in_state)
        # -- within the chunk: earlier writes answer for later ones, since those were made knowing them ----------------
        dV_t = tl.dot(dX_t.to(dtype), UT_low, dX_t * beta[None, :], input_precision=PRECISION)           # (V_TILE, C)
        # -- update (eq. 9.4) ------------------------------------------------------------------------------------------
        dS = dot(tl.trans(do), q, dS, PRECISION)
        dS = dot(where_written((-dV_t).to(dtype), beta), k, dS, PRECISION)
        # -- store -----------------------------------------------------------------------------------------------------
        if d_states_ptr is not None:
            dv_rows.store([i * C, v0], tl.trans(dV_t * scale).to(dv_ptr.dtype.element_ty))
    if d_initial_ptr is not None:
        store_memory(d_initial_ptr, memory, dS, v0, K, V, V_TILE, PART, scale)


@triton.jit
def sweeps_kernel(
    q_ptr, k_ptr, v_ptr, UT_low_ptr, betas_ptr, initial_ptr, # as in forward_kernel
    do_ptr, d_final_ptr,                                     # (B, T, H, V); (N, H, V, K) float32, or None for zeros
    states_ptr, writes_ptr,                                  # out: memories (slots, H, V, K), X (B, T, H, V)
    d_states_ptr, dv_ptr,                                    # out: dS' and scale dV, shaped likewise; None: not wanted
    d_initial_ptr,                                           # out: (N, H, V, K) float32, or None
    cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, v_token, v_head,        # as in forward_kernel
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    GROUP: tl.constexpr,                                     # as in forward_sweep
    FORWARD: tl.constexpr, BACKWARD: tl.constexpr,           # which sweeps to run
):
    """One program per sweep, sequence, head and V_TILE rows of the memory. Side by side, the sweeps fill a GPU that one
    of them leaves half empty. Where one fills it, two launches are better: each alone needs fewer registers."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    program = tl.program_id(0)
    forward = FORWARD
    if FORWARD and BACKWARD:
        forward, program = program % 2 == 0, program // 2
    v0, h, i_seq = program % V_TILES * V_TILE, program // V_TILES % H, program // (V_TILES * H)
    if forward:
        forward_sweep(q_ptr, k_ptr, v_ptr, UT_low_ptr, betas_ptr, initial_ptr, None, None, states_ptr, writes_ptr,
                      cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, v_token, v_head, i_seq, h, v0,
                      K, V, C, V_TILE, PRECISION, GROUP)
    else:
        backward_sweep(q_ptr, k_ptr, UT_low_ptr, betas_ptr, do_ptr, d_final_ptr, d_states_ptr, dv_ptr, d_initial_ptr,
                       cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, i_seq, h, v0,
                       K, V, C, V_TILE, PRECISION, GROUP)


@triton.jit
def before_norm(dx, x, norm_ptr, at, in_range):
    """From the gradient of a unit row x = y / |y| to that of y: moving along x changes nothing."""
    norm = tl.load(norm_ptr + at, mask=in_range, other=1.0)
    return (dx - x * tl.sum(dx * x, 1)[:, None]) / norm[:, None]


@triton.jit
def gradients_kernel(
    q_ptr, k_ptr, beta_ptr, do_ptr,                          # q, k of unit length where norms_ptr is given
    states_ptr, writes_ptr, d_states_ptr, dv_ptr,            # what the sweeps left: S, X, dS', scale dV
    norms_ptr,                                               # (2, B, T, H): lengths q and k had; None: as they came
    dq_ptr, dk_ptr, dbeta_ptr,                               # out: (B, T, H, K) twice, (B, T, H)
    cu_seqlens, sequence_of_slot,                            # as in inverse_kernel
    scale, T, H, tokens, q_token, q_head, k_token, k_head,   # as in inverse_kernel; scale: a factor on q
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    K_TILE: tl.constexpr,                                    # columns of dQ and dK that a program works out
    SIGMOID: tl.constexpr,                                   # beta is the sigmoid of what dbeta is wanted for
):
    """One program per chunk, head and K_TILE columns, for dQ, dK and dbeta together: each tile is loaded once and used
    for all that needs it. Two programs, one for dQ and one for dK, would ask the L2 cache for half as much again, and
    it is the limit already.
    """
    K_TILES: tl.constexpr = (K + K_TILE - 1) // K_TILE
    narrow: tl.constexpr = K % K_TILE > 0
    even: tl.constexpr = V % V_TILE == 0
    k0, program = tl.program_id(0) % K_TILES * K_TILE, tl.program_id(0) // K_TILES
    h, slot = program % H, program // H
    start, length, first = chunk_of(slot, T, cu_seqlens, sequence_of_slot, C)
    if first >= length:
        return                                                           # a spare slot, owned by nobody
    row, col = tl.arange(0, C), k0 + tl.arange(0, K_TILE)
    earlier, later = row[:, None] > row[None, :], row[:, None] < row[None, :]
    in_range = first + row < length
    in_tile = in_range[:, None] & (col < K)[None, :]
    at = (start + first + row) * H + h                             # (C,)  in a (B, T, H) tensor
    memory = (slot.to(tl.int64) * H + h) * V * K + k0              # this memory in a tensor (slots, H, V, K)
    value, v_token = (start * H + h) * V, H * V                    # where this sequence's values start, their stride
    q_ptr += start * q_token + h * q_head + k0
    k_ptr += start * k_token + h * k_head + k0
    # dV comes with its scale, everything else without, and what it brings is to be subtracted. Both are mended in dV:
    # at the end it would take a second accumulator, and there `x - tl.dot(...)` lost products, in the assembler of
    # Triton 3.6 for Hopper (a test counts them).
    minus = -1 / scale

    dP = tl.zeros((C, C), tl.float32)                              # accumulators live in registers
    minus_E = tl.zeros((C, C), tl.float32)                         # not yet masked: its diagonal makes dbeta
    dq = tl.zeros((C, K_TILE), tl.float32)
    dk = tl.zeros((C, K_TILE), tl.float32)
    for v0 in range(0, V, V_TILE):
        # -- load ------------------------------------------------------------------------------------------------------
        do = load_tile(do_ptr + value + v0, first, length, v_token, V - v0, C, V_TILE, not even)  # (C, V_TILE)
        X = load_tile(writes_ptr + value + v0, first, length, v_token, V - v0, C, V_TILE, not even)
        dV = load_tile(dv_ptr + value + v0, first, length, v_token, V - v0, C, V_TILE, not even)
        S = load_tile(states_ptr + memory, v0, V, K, K - k0, V_TILE, K_TILE, narrow, even)           # (V_TILE, K_TILE)
        dS = load_tile(d_states_ptr + memory, v0, V, K, K - k0, V_TILE, K_TILE, narrow, even)        # (V_TILE, K_TILE)
        dV = (dV * minus).to(X.dtype)                                                                # (C, V_TILE)
        # -- within the chunk ------------------------------------------------------------------------------------------
        dP = tl.dot(do, tl.trans(X), dP, input_precision=PRECISION)                                  # (C, C)
        minus_E = tl.dot(dV, tl.trans(X), minus_E, input_precision=PRECISION)
        # -- across chunks ---------------------------------------------------------------------------------------------
        dq = tl.dot(do, S, dq, input_precision=PRECISION)                                            # (C, K_TILE)
        dk = tl.dot(X, dS, dk, input_precision=PRECISION)
        dk = tl.dot(dV, S, dk, input_precision=PRECISION)
    if k0 == 0:                                                          # the other columns would find the same dbeta
        beta = strengths(beta_ptr, at, in_range, SIGMOID, writes_ptr.dtype.element_ty == tl.float16)     # (C,)
        dbeta = tl.sum(tl.where(earlier | later, 0.0, minus_E), 1) / (minus * beta * beta)
        dbeta *= beta * (1 - beta) if SIGMOID else 1.0
        tl.store(dbeta_ptr + at, dbeta.to(dbeta_ptr.dtype.element_ty), mask=in_range)
    # -- update, store -------------------------------------------------------------------------------------------------
    q = load_tile(q_ptr, first, length, q_token, K - k0, C, K_TILE, narrow)                       # (C, K_TILE)
    k = load_tile(k_ptr, first, length, k_token, K - k0, C, K_TILE, narrow)                       # (C, K_TILE)
    dP = tl.where(later, 0.0, dP)
    dq = tl.dot(dP.to(k.dtype), k, dq, input_precision=PRECISION) * scale
    if norms_ptr is not None:
        dq = before_norm(dq, q.to(tl.float32), norms_ptr, at, in_range)
    tl.store(dq_ptr + at[:, None] * K + col[None, :], dq.to(dq_ptr.dtype.element_ty), mask=in_tile)
    E = tl.where(earlier, minus_E, 0.0).to(k.dtype)
    dk = tl.dot(E, k, dk, input_precision=PRECISION)
    dk = tl.dot(tl.trans(E), k, dk, input_precision=PRECISION)
    dk = tl.dot(tl.where(earlier, 0.0, tl.trans(dP)).to(k.dtype), q, dk, input_precision=PRECISION) * scale
    if norms_ptr is not None:
        dk = before_norm(dk, k.to(tl.float32), norms_ptr, tokens * H + at, in_range)
    tl.store(dk_ptr + at[:, None] * K + col[None, :], dk.to(dk_ptr.dtype.element_ty), mask=in_tile)


@triton.jit
def group_gradients_kernel(
    q_ptr, k_ptr, beta_ptr, do_ptr,                          # all as in gradients_kernel
    states_ptr, writes_ptr, d_states_ptr, dv_ptr,            # S' of each group, float32; X, dS' of each group, scale dV
    norms_ptr, dq_ptr, dk_ptr, dbeta_ptr,
    cu_seqlens, sequence_of_slot,                            # of groups
    scale, T, H, tokens, q_token, q_head, k_token, k_head,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, PRECISION: tl.constexpr,
    GROUP: tl.constexpr,                                     # chunks of a program
    SIGMOID: tl.constexpr,
):
    """One program per group of chunks and head, for dQ, dK and dbeta of them all, the newest chunk first.

    Of a group the sweeps leave one memory S' and its gradient dS', those after the last chunk, so that little of their
    traffic is left. The others are found on the way, since what a chunk writes is known: S = S' - X^T K, and
    dS = dS' + dO^T Q - dV^T K. S and dS' stay in registers as (K, V), so that, as in forward_sweep, each product has
    its left operand there or in a tile as it was loaded. They fill half of the registers, hence the order of what
    follows: dQ is stored before dK is begun, and a matrix that is needed as it is and transposed, E or dP, is read
    twice from shared memory.
    """
    width: tl.constexpr = triton.next_power_of_2(K)
    v_width: tl.constexpr = triton.next_power_of_2(V)
    HALF: tl.constexpr = writes_ptr.dtype.element_ty == tl.float16
    h, slot = tl.program_id(0) % H, tl.program_id(0) // H
    start, length, first = chunk_of(slot, T, cu_seqlens, sequence_of_slot, GROUP * C)
    if first >= length:
        return                                                           # a spare slot, owned by nobody
    row = tl.arange(0, C)
    earlier, later = row[:, None] > row[None, :], row[:, None] < row[None, :]
    q_ptr += start * q_token + h * q_head
    k_ptr += start * k_token + h * k_head
    q_rows, k_rows = rows(q_ptr, length, K, q_token, C, width), rows(k_ptr, length, K, k_token, C, width)
    do_rows = rows(do_ptr + (start * H + h) * V, length, V, H * V, C, v_width)
    X_rows = rows(writes_ptr + (start * H + h) * V, length, V, H * V, C, v_width)
    dv_rows = rows(dv_ptr + (start * H + h) * V, length, V, H * V, C, v_width)
    dq_rows = rows(dq_ptr + (start * H + h) * K, length, K, H * K, C, width)
    dk_rows = rows(dk_ptr + (start * H + h) * K, length, K, H * K, C, width)
    memory = (slot.to(tl.int64) * H + h) * V * K
    S = load_tile(states_ptr + memory, 0, V, K, K, v_width, width, K < width)                    # (V, K)
    minus_S_t = tl.trans(-S.to(tl.float32))                              # (K, V)       registers, for the whole group
    dS = load_tile(d_states_ptr + memory, 0, V, K, K, v_width, width, K < width)                 # (V, K)
    dS_t = tl.trans(dS.to(tl.float32))                                   # (K, V)       registers, likewise
    minus = -1 / scale                             # dV comes with its scale, all else without; see gradients_kernel

    chunks = tl.minimum(tl.cdiv(length - first, C), GROUP)
    for step in range(0, chunks):
        i = first + (chunks - 1 - step) * C
        at, in_range = (start + i + row) * H + h, i + row < length
        # -- load ------------------------------------------------------------------------------------------------------
        do = do_rows.load([i, 0])                                        # (C, V)       shared memory, as all tiles
        X = X_rows.load([i, 0])                                          # (C, V)
        dV = dv_rows.load([i, 0])                                        # (C, V)
        q = q_rows.load([i, 0])                                          # (C, K)
        k = k_rows.load([i, 0])                                          # (C, K)
        beta = strengths(beta_ptr, at, in_range, SIGMOID, HALF)          # (C,)         registers
        k_t = tl.trans(k)                                                # (K, C)
        if HALF:
            k_t = where_written(load_tile(k_ptr, i, length, k_token, K, C, width, K < width).T, beta)
        # -- the memory before the chunk -------------------------------------------------------------------------------
        minus_S_t = tl.dot(k_t, X, minus_S_t, input_precision=PRECISION)
        S_t = (-minus_S_t).to(k.dtype)                                                           # (K, V)
        # -- within the chunk ------------------------------------------------------------------------------------------
        E = tl.dot(dV, tl.trans(X), input_precision=PRECISION)                                   # (C, C)
        dbeta = tl.sum(tl.where(earlier | later, 0.0, E), 1) / (beta * beta)
        dbeta *= beta * (1 - beta) if SIGMOID else 1.0
        tl.store(dbeta_ptr + at, dbeta.to(dbeta_ptr.dtype.element_ty), mask=in_range)
        E = tl.where(earlier, E, 0.0).to(k.dtype)
        dP_t = tl.dot(X, tl.trans(do), input_precision=PRECISION)                                # (C, C)
        dP_t = tl.where(earlier, 0.0, dP_t).to(k.dtype)
        # -- dQ, dK (eq. 9.6) ------------------------------------------------------------------------------------------
        dq_t = tl.dot(S_t, tl.trans(do), input_precision=PRECISION)                              # (K, C)
        dq_t = tl.dot(tl.trans(k), dP_t, dq_t, input_precision=PRECISION)
        dq = tl.trans(dq_t * scale)                                                              # (C, K)
        if norms_ptr is not None:                                        # not from q itself, whose tile wgmma reads
            again = load_tile(q_ptr, i, length, q_token, K, C, width, K < width).to(tl.float32)
            dq = before_norm(dq, again, norms_ptr, at, in_range)
        dq_rows.store([i, 0], dq.to(dq_ptr.dtype.element_ty))
        dk_t = tl.dot(S_t, tl.trans(dV), input_precision=PRECISION)                              # (K, C)
        dk_t = tl.dot(tl.trans(k), E, dk_t, input_precision=PRECISION)
        dk_t = tl.dot(tl.trans(k), tl.trans(E), dk_t, input_precision=PRECISION) * minus
        dk_t = tl.dot(dS_t.to(k.dtype), tl.trans(X), dk_t, input_precision=PRECISION)
        dk_t = tl.dot(tl.trans(q), tl.trans(dP_t), dk_t, input_precision=PRECISION)
        dk = tl.trans(dk_t * scale)                                                              # (C, K)
        if norms_ptr is not None:
            again = load_tile(k_ptr, i, length, k_token, K, C, width, K < width).to(tl.float32)
            dk = before_norm(dk, again, norms_ptr, tokens * H + at, in_range)
        dk_rows.store([i, 0], dk.to(dk_ptr.dtype.element_ty))
        # -- update (eq. 9.4) ------------------------------------------------------------------------------------------
        dS_t = tl.dot(k_t, dV, dS_t * -scale, input_precision=PRECISION) * minus
        dS_t = tl.dot(tl.trans(q), do, dS_t, input_precision=PRECISION)
