"""The chunkwise backward pass: two sweeps over the chunks, then everything else for all chunks at once.

A prefix d is "gradient with respect to". With R, X, P, T1 as in `forward.py` and S' the memory that leaves a chunk:

    forward sweep      S and X of every chunk, computed again (or saved by the forward pass)
    backward sweep     dX = P^T dO + K dS'^T         G = T1^T dX       dV = beta * G                  (eq. 9.4)
                       dS = dS' + dO^T Q - dV^T K
    gradients          dQ = dO S + dP K                                dP = tril(dO X^T)
                       dK = dP^T Q + X dS' - dV S - (E + E^T) K        E = stril(dV X^T)              (eq. 9.6)
                       dbeta_t = G_t . e_t                             e = V - K S^T - stril(K K^T) X (eq. 9.7)

The backward sweep needs neither S nor X, so the two sweeps run side by side in one launch. All of it is linear in dO, so `scale`
is left out until the results are stored.
"""

import triton
import triton.language as tl

from .forward import forward_sweep
from .tiles import at_state, chunk_of, rows, sequence


@triton.jit
def backward_sweep(
    q_ptr, k_ptr, beta_ptr, T1_ptr, do_ptr, d_final_ptr,                 # as in sweeps_kernel
    d_states_ptr, d_writes_ptr, d_initial_ptr,
    cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head,
    i_seq, h, v0,                                                        # which sequence, head, and first row of the memory
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
):
    """The gradient of V_TILE rows of the memory of one head, from the last chunk to the first; laid out as `forward_sweep`."""
    width: tl.constexpr = triton.next_power_of_2(K)
    start, length, slot = sequence(i_seq, T, cu_seqlens, C)
    N = tl.cdiv(length, C)
    memory = (i_seq.to(tl.int64) * H + h) * V * K
    q_rows = rows(q_ptr + start * q_token + h * q_head, length, K, q_token, C, width)
    k_rows = rows(k_ptr + start * k_token + h * k_head, length, K, k_token, C, width)
    T1_rows = rows(T1_ptr + (start * H + h) * C, length, C, H * C, C, C)
    do_rows = rows(do_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
    G_rows = rows(d_writes_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
    row = tl.arange(0, C)
    dS = tl.zeros((V_TILE, width), tl.float32)                           # (V_TILE, K)  registers, for the whole sweep
    if d_final_ptr is not None:
        at, in_state = at_state(v0, K, V, V_TILE, width)
        dS += tl.load(d_final_ptr + memory + at, mask=in_state, other=0.0) / scale

    for step in range(0, N):                                             # one chunk a step, newest first
        i = N - 1 - step
        # -- load ----------------------------------------------------------------------------------------------------
        q = q_rows.load([i * C, 0])                                      # (C, K)       shared memory, as all loaded tiles
        k = k_rows.load([i * C, 0])                                      # (C, K)
        T1 = T1_rows.load([i * C, 0])                                    # (C, C)
        do = do_rows.load([i * C, v0])                                   # (C, V_TILE)
        t = i * C + row
        beta = tl.load(beta_ptr + (start + t) * H + h, mask=t < length, other=0.0)
        # -- within the chunk: which outputs want something of a write -----------------------------------------------------
        P = tl.where(row[:, None] >= row[None, :], tl.dot(q, tl.trans(k), input_precision=PRECISION), 0.0)   # (C, C)
        dX_t = tl.dot(tl.trans(do), P.to(k.dtype), input_precision=PRECISION)                            # (V_TILE, C)
        # -- across chunks: and what all later chunks want of it -------------------------------------------------------------
        dS_out = dS.to(k.dtype)                                          # (V_TILE, K)  registers: left operand
        dX_t = tl.dot(dS_out, tl.trans(k), dX_t, input_precision=PRECISION)
        # -- within the chunk: earlier writes answer for later ones, since those were made knowing them ------------------------
        G_t = tl.dot(dX_t.to(k.dtype), T1, input_precision=PRECISION)                                    # (V_TILE, C)
        # -- update (eq. 9.4) -------------------------------------------------------------------------------------------------
        dS = tl.dot(tl.trans(do), q, dS, input_precision=PRECISION)
        dS = tl.dot((G_t * -beta[None, :]).to(k.dtype), k, dS, input_precision=PRECISION)
        # -- store -----------------------------------------------------------------------------------------------------------
        at, in_state = at_state(v0, K, V, V_TILE, width)
        tl.store(d_states_ptr + ((slot + i) * H + h) * V * K + at, dS_out, mask=in_state)
        G_rows.store([i * C, v0], tl.trans(G_t.to(k.dtype)))
    if d_initial_ptr is not None:
        at, in_state = at_state(v0, K, V, V_TILE, width)
        tl.store(d_initial_ptr + memory + at, dS * scale, mask=in_state)


@triton.jit
def sweeps_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, T1_ptr, initial_ptr,                  # as in forward_kernel
    do_ptr, d_final_ptr,                                                 # (B, T, H, V); (N, H, V, K) float32 or None
    states_ptr, writes_ptr,                                              # out: S before each chunk (slots, H, V, K), X (B, T, H, V)
    d_states_ptr, d_writes_ptr,                                          # out: dS' of each chunk / scale, G / scale; shaped likewise
    d_initial_ptr,                                                       # out: (N, H, V, K) float32, or None
    cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, v_token, v_head,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    FORWARD: tl.constexpr, BACKWARD: tl.constexpr,                       # which sweeps to run
):
    """One program per sweep, sequence, head and V_TILE rows of the memory. Side by side, the sweeps fill a GPU that one of
    them leaves half empty; where one fills it, two launches are faster, because each then needs fewer registers."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    program = tl.program_id(0)
    forward = FORWARD
    if FORWARD and BACKWARD:
        forward, program = program % 2 == 0, program // 2
    v0, h, i_seq = program % V_TILES * V_TILE, program // V_TILES % H, program // (V_TILES * H)
    if forward:
        forward_sweep(q_ptr, k_ptr, v_ptr, beta_ptr, T1_ptr, initial_ptr, None, None, states_ptr, writes_ptr, cu_seqlens, scale, T, H,
                      q_token, q_head, k_token, k_head, v_token, v_head, i_seq, h, v0, K, V, C, V_TILE, PRECISION)
    else:
        backward_sweep(q_ptr, k_ptr, beta_ptr, T1_ptr, do_ptr, d_final_ptr, d_states_ptr, d_writes_ptr, d_initial_ptr, cu_seqlens, scale,
                       T, H, q_token, q_head, k_token, k_head, i_seq, h, v0, K, V, C, V_TILE, PRECISION)


@triton.jit
def load_values(ptr, at, v0, in_range, V: tl.constexpr, V_TILE: tl.constexpr):
    """(C, V_TILE) of a (B, T, H, V) tensor, from column v0 on."""
    val = v0 + tl.arange(0, V_TILE)
    return tl.load(ptr + at[:, None] + val[None, :], mask=in_range[:, None] & (val < V)[None, :], other=0.0)


@triton.jit
def before_norm(dx, x, norm_ptr, at, in_range):
    """From the gradient of a unit row x = y / |y| to that of y: what points along x changes nothing."""
    norm = tl.load(norm_ptr + at, mask=in_range, other=1.0)
    return (dx - x * tl.sum(dx * x, 1)[:, None]) / norm[:, None]


@triton.jit
def gradients_kernel(
    q_ptr, k_ptr, v_ptr, beta_ptr, do_ptr,                               # as above; q, k of unit length where norms_ptr is given
    states_ptr, writes_ptr, d_states_ptr, d_writes_ptr,                  # what the sweeps left: S, X, dS', G
    norms_ptr,                                                           # (2, B, T, H): lengths of q and k before normalization, or None
    dq_ptr, dk_ptr, dv_ptr, dbeta_ptr,                                   # out: (B, T, H, K) twice, (B, T, H, V), (B, T, H) float32
    cu_seqlens, sequence_of_slot, scale, T, H, tokens, q_token, q_head, k_token, k_head, v_token, v_head,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    SIGMOID: tl.constexpr,                                               # beta is the sigmoid of what dbeta is wanted for
):
    """Two programs per chunk and head: one for dQ, one for dK, dV and dbeta. One program for both would hold too many tiles
    and spill registers; two neighbors find most of what both read in the L2 cache."""
    width: tl.constexpr = triton.next_power_of_2(K)
    part, program = tl.program_id(0) % 2, tl.program_id(0) // 2
    slot, h = program // H, program % H
    start, length, first = chunk_of(slot, T, cu_seqlens, sequence_of_slot, C)
    if first >= length:
        return                                                           # a spare slot: no sequence fills it
    row, col = tl.arange(0, C), tl.arange(0, width)
    t = first + row
    in_range = t < length
    in_tile = in_range[:, None] & (col < K)[None, :]
    at_token = (start + t) * H + h                                       # (C,)  in a (B, T, H) tensor
    at_gradient = at_token[:, None] * K + col[None, :]
    memory = (slot.to(tl.int64) * H + h) * V * K                         # where a tensor (slots, H, V, K) has this chunk's
    q_at = q_ptr + (start + t)[:, None] * q_token + h * q_head + col[None, :]
    k = tl.load(k_ptr + (start + t)[:, None] * k_token + h * k_head + col[None, :], mask=in_tile, other=0.0)     # (C, K)

    if part == 0:
        dP = tl.zeros((C, C), tl.float32)
        dq = tl.zeros((C, width), tl.float32)
        for v0 in range(0, V, V_TILE):
            # -- load ------------------------------------------------------------------------------------------------
            do = load_values(do_ptr, at_token * V, v0, in_range, V, V_TILE)                              # (C, V_TILE)
            X = load_values(writes_ptr, at_token * V, v0, in_range, V, V_TILE)                           # (C, V_TILE)
            at, in_state = at_state(v0, K, V, V_TILE, width)
            S = tl.load(states_ptr + memory + at, mask=in_state, other=0.0)                                  # (V_TILE, K)
            # -- within the chunk --------------------------------------------------------------------------------------
            dP = tl.dot(do, tl.trans(X), dP, input_precision=PRECISION)                                  # (C, C)
            # -- across chunks -----------------------------------------------------------------------------------------
            dq = tl.dot(do, S, dq, input_precision=PRECISION)                                            # (C, K)
        dP = tl.where(row[:, None] >= row[None, :], dP, 0.0)
        dq = tl.dot(dP.to(k.dtype), k, dq, input_precision=PRECISION) * scale
        if norms_ptr is not None:
            dq = before_norm(dq, tl.load(q_at, mask=in_tile, other=0.0).to(tl.float32), norms_ptr, at_token, in_range)
        # -- store -----------------------------------------------------------------------------------------------------
        tl.store(dq_ptr + at_gradient, dq.to(dq_ptr.dtype.element_ty), mask=in_tile)
        return

    # First what flows back through R = V - K S^T, where the writes come from.
    beta = tl.load(beta_ptr + at_token, mask=in_range, other=0.0)
    GX = tl.zeros((C, C), tl.float32)                                    # G X^T
    XG = tl.zeros((C, C), tl.float32)                                    # X G^T, computed and not transposed: see forward.py
    GS = tl.zeros((C, width), tl.float32)                                # G S
    dbeta = tl.zeros((C,), tl.float32)
    for v0 in range(0, V, V_TILE):
        # -- load ----------------------------------------------------------------------------------------------------
        v = load_values(v_ptr, (start + t) * v_token + h * v_head, v0, in_range, V, V_TILE)              # (C, V_TILE)
        G = load_values(d_writes_ptr, at_token * V, v0, in_range, V, V_TILE)                             # (C, V_TILE)
        X = load_values(writes_ptr, at_token * V, v0, in_range, V, V_TILE)                               # (C, V_TILE)
        at, in_state = at_state(v0, K, V, V_TILE, width)
        S = tl.load(states_ptr + memory + at, mask=in_state, other=0.0)                                  # (V_TILE, K)
        # -- within the chunk ----------------------------------------------------------------------------------------
        GX = tl.dot(G, tl.trans(X), GX, input_precision=PRECISION)
        XG = tl.dot(X, tl.trans(G), XG, input_precision=PRECISION)
        dbeta += tl.sum(G.to(tl.float32) * v, 1)
        # -- across chunks -------------------------------------------------------------------------------------------
        GS = tl.dot(G, S, GS, input_precision=PRECISION)
        # -- store ---------------------------------------------------------------------------------------------------
        val = v0 + tl.arange(0, V_TILE)
        dv = G * beta[:, None] * scale
        tl.store(dv_ptr + at_token[:, None] * V + val[None, :], dv.to(dv_ptr.dtype.element_ty), mask=in_range[:, None] & (val < V)[None, :])
    earlier, later = row[:, None] > row[None, :], row[:, None] < row[None, :]
    # eq. 9.7: G . e = G . v - (G S) . k - sum over earlier tokens of (G . X_i) (k . k_i), each from a product that is needed anyway
    KK = tl.dot(k, tl.trans(k), input_precision=PRECISION)                                               # (C, C)
    dbeta -= tl.sum(GS * k, 1) + tl.sum(tl.where(earlier, GX * KK, 0.0), 1)
    dbeta *= scale * (beta * (1 - beta) if SIGMOID else 1.0)
    tl.store(dbeta_ptr + at_token, dbeta, mask=in_range)
    E_sum = tl.where(earlier, GX * beta[:, None], tl.where(later, XG * beta[None, :], 0.0))              # (C, C)  E + E^T
    dk = tl.dot((-E_sum).to(k.dtype), k, GS * -beta[:, None], input_precision=PRECISION)                 # (C, K)

    # Then what flows back through the writes X, where they go: into the outputs and into the next memory.
    dP_t = tl.zeros((C, C), tl.float32)
    for v0 in range(0, V, V_TILE):
        # -- load ----------------------------------------------------------------------------------------------------
        do = load_values(do_ptr, at_token * V, v0, in_range, V, V_TILE)                                  # (C, V_TILE)
        X = load_values(writes_ptr, at_token * V, v0, in_range, V, V_TILE)                               # (C, V_TILE)
        at, in_state = at_state(v0, K, V, V_TILE, width)
        dS = tl.load(d_states_ptr + memory + at, mask=in_state, other=0.0)                               # (V_TILE, K)
        # -- within the chunk ----------------------------------------------------------------------------------------
        dP_t = tl.dot(X, tl.trans(do), dP_t, input_precision=PRECISION)                                  # (C, C)
        # -- across chunks -------------------------------------------------------------------------------------------
        dk = tl.dot(X, dS, dk, input_precision=PRECISION)                                                # (C, K)
    q = tl.load(q_at, mask=in_tile, other=0.0)                                                           # (C, K)
    dP_t = tl.where(row[:, None] <= row[None, :], dP_t, 0.0)
    dk = tl.dot(dP_t.to(k.dtype), q, dk, input_precision=PRECISION) * scale
    if norms_ptr is not None:
        dk = before_norm(dk, k.to(tl.float32), norms_ptr, tokens * H + at_token, in_range)
    # -- store ---------------------------------------------------------------------------------------------------------
    tl.store(dk_ptr + at_gradient, dk.to(dk_ptr.dtype.element_ty), mask=in_tile)
