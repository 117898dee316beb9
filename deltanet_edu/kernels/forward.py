"""The chunkwise forward pass in two kernels: the inverses of all chunks at once, then one program per piece of memory.

Tokens are rows. Per chunk of C tokens, with the memory S: (V, K) that enters it (names as in chapters 8 and 9):

    A = stril(diag(beta) K K^T)       UT = (I + A)^-1 diag(beta)                      `inverse_kernel`  (eq. 6.2, 6.3)
    R = V - K S^T                     what the memory that enters gets wrong
    X = UT R                          what each token really writes                   `forward_kernel`  (eq. 8.6)
      = beta R + UT_low R             since the diagonal of UT is beta: the larger part in float32, the rest,
                                      UT_low = stril(UT), on tensor cores
    S' = S + X^T K                    the memory that leaves                                            (eq. 8.4)
    O = scale (Q S^T + P X)           P = tril(Q K^T)                                                   (eq. 8.5)

W = UT K and U = UT V never exist: U - W S^T = UT R (eq. 8.6), with one product less.
"""

import triton
import triton.language as tl

from .tiles import (chunk_of, dot, dot_t, load_memory, load_rows, rows, sequence, states, store_memory,
                    strengths, where_written)

EPS: tl.constexpr = tl.constexpr(1e-6)                                   # in |k| = sqrt(sum k^2 + EPS)


# -- (I + A)^-1 in blocks of 16 x 16 -----------------------------------------------------------------------------------
# UT1 is UT without its last factor, diag(beta). Never a power series: repeated keys ruin it (eq. 6.6).

@triton.jit
def inverse_of_16(A, PRECISION: tl.constexpr):
    """(I + A)^-1 for 16 x 16 by halves (eq. 6.5). Halves of 1, 2, 4 and 8 are too small for tensor cores. They stay
    where they are, on the diagonal of UT1, and UT1 - UT1 A21 UT1 fills in all corners of one size, if A21 is A masked
    to them."""
    row, col = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    UT1 = tl.where(row == col, 1.0, tl.where((row % 2 == 1) & (col == row - 1), -A, 0.0))        # halves of 1
    for level in tl.static_range(1, 4):                                                          # halves of 2, 4, 8
        A21 = tl.where(((row >> level) % 2 == 1) & (col >> level == (row >> level) - 1), A, 0.0)
        UT1 -= tl.dot(tl.dot(UT1, A21, input_precision=PRECISION), UT1, input_precision=PRECISION)
    return UT1


@triton.jit
def apart(x, n: tl.constexpr):
    """x[..., 0], x[..., 1], ..., if there are n = 1, 2 or 4 of them: by halves, since registers have no addresses."""
    if n == 1:
        return (tl.reshape(x, x.shape[:-1]),)
    elif n == 2:
        x0, x1 = tl.split(x)
        return (x0, x1)
    else:
        even, odd = tl.split(tl.reshape(x, x.shape[:-1] + (2, 2)))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        return (x0, x1, x2, x3)


@triton.jit
def unit_rows(ptr, unit_ptr, norm_ptr, at, at_unit, at_norm, in_tile, in_range):
    """Load a tile of rows from ptr + at, make each of length 1, store it and the lengths that they had.
    The backward pass needs both."""
    x = tl.load(ptr + at, mask=in_tile, other=0.0).to(tl.float32)
    norm = tl.sqrt(tl.sum(x * x, 1) + EPS)                                                       # (C,)
    x = (x / norm[:, None]).to(unit_ptr.dtype.element_ty)
    tl.store(unit_ptr + at_unit, x, mask=in_tile)
    tl.store(norm_ptr + at_norm, norm, mask=in_range)
    return x


@triton.jit(do_not_specialize=["chunks"])                                # else compiled again for multiples of 16
def inverse_kernel(
    q_ptr, k_ptr,                                  # (B, T, H, K); q is read only to be normalized
    beta_ptr,                                      # (B, T, H)
    UT_low_ptr,                                    # out: (B, T, H, C), stril(UT); row t of a chunk lies with token t
    betas_ptr,                                     # out: (slots, H, C) float32, diagonals of UT: beta, chunk by chunk
    unit_q_ptr, unit_k_ptr, norms_ptr,             # out: (B, T, H, K) twice, (2, B, T, H); None: q, k come as they are
    cu_seqlens,                                    # (N + 1,) bounds of N packed sequences; None: equal lengths
    sequence_of_slot,                              # (slots,) which of them owns each slot; likewise
    T, H, tokens, chunks,                          # length of a sequence, heads, B T, slots times heads
    q_token, q_head, k_token, k_head,              # strides
    K: tl.constexpr, C: tl.constexpr,
    PRECISION: tl.constexpr,                       # of products of float32 inputs: "ieee", "tf32x3" or "tf32"
    MERGE: tl.constexpr,                           # of the products that build UT
    SIGMOID: tl.constexpr,                         # beta is the sigmoid of what comes
):
    """Per chunk and head: UT = (I + stril(diag(beta) K K^T))^-1 diag(beta). As many programs as lie on the GPU at a
    time share all chunks of all heads: in a loop, keys go straight to shared memory (num_stages), not by way of
    registers. The last chunks come first, so that forward_kernel finds those of the first sequence in the L2 cache."""
    width: tl.constexpr = triton.next_power_of_2(K)
    WHOLE: tl.constexpr = width < 256 or norms_ptr is not None           # rows of k at once: |k| takes all columns
    PART: tl.constexpr = width if WHOLE else 2048 // k_ptr.dtype.element_ty.primitive_bitwidth   # 256 bytes of a row
    N: tl.constexpr = C // 16
    row = tl.arange(0, C)
    for number in tl.range(tl.program_id(0), chunks, tl.num_programs(0)):
        slot, h = chunks // H - 1 - number // H, number % H
        start, length, first = chunk_of(slot, T, cu_seqlens, sequence_of_slot, C)
        in_range = first + row < length                                  # nothing of a spare slot, owned by nobody
        token = start + first + row                                      # (C,)
        at = token * H + h                                               # (C,)  in a (B, T, H) tensor
        beta = strengths(beta_ptr, at, in_range, SIGMOID, UT_low_ptr.dtype.element_ty == tl.float16)
        at_betas = tl.cast(slot * H + h, tl.int64) * C + row
        tl.store(betas_ptr + at_betas, beta)                             # of spare slots too, where nobody reads it
        A = tl.zeros((C, C), tl.float32)
        for k0 in tl.static_range(0, width, PART):                       # unrolled: only innermost loops are pipelined
            # -- load --------------------------------------------------------------------------------------------------
            col = k0 + tl.arange(0, PART)
            in_tile = in_range[:, None] & (col < K)[None, :]
            at_k = token[:, None] * k_token + h * k_head + col[None, :]
            if norms_ptr is None:
                k = tl.load(k_ptr + at_k, mask=in_tile, other=0.0)       # (C, PART)
            else:
                at_q = token[:, None] * q_token + h * q_head + col[None, :]
                at_unit = at[:, None] * K + col[None, :]
                unit_rows(q_ptr, unit_q_ptr, norms_ptr, at_q, at_unit, at, in_tile, in_range)
                k = unit_rows(k_ptr, unit_k_ptr, norms_ptr, at_k, at_unit, tokens * H + at, in_tile, in_range)
            # -- within the chunk --------------------------------------------------------------------------------------
            A = tl.dot(k, tl.trans(k), A, input_precision=PRECISION)     # (C, C)
        A *= beta[:, None]                                               # stril of it is A; no other part is read
        columns = apart(tl.permute(tl.reshape(A, (N, 16, N, 16)), (1, 3, 0, 2)), N)              # N times (16, 16, N)
        betas = apart(tl.permute(tl.reshape(beta, (N, 16)), (1, 0)), N)  # N times (16,)
        # -- its inverse by 16 rows: UT1_ii on the diagonal, left of it UT1_ij = -sum_n UT1_ii A_in UT1_nj (eq. 10.8) --
        within = tl.arange(0, 16)
        UT1 = ()                                                         # (0, 0), (1, 0), (1, 1), (2, 0), ...  (16, 16)
        for i in tl.static_range(N):
            row_i = first + 16 * i + within
            at_UT = UT_low_ptr + (((start + row_i) * H + h) * C)[:, None] + within[None, :]
            UT1_ii = inverse_of_16(apart(columns[i], N)[i], MERGE)
            hops = ()                                                    # -UT1_ii A_in, which waits for no row above
            for n in tl.static_range(i):
                hops += (-tl.dot(UT1_ii, apart(columns[n], N)[i], input_precision=MERGE),)
            for j in tl.static_range(N):
                UT_ij = tl.zeros((16, 16), tl.float32)
                if j < i:
                    UT1_ij = tl.dot(hops[j], UT1[j * (j + 3) // 2], input_precision=MERGE)
                    for n in tl.static_range(j + 1, i):
                        UT1_ij = tl.dot(hops[n], UT1[n * (n + 1) // 2 + j], UT1_ij, input_precision=MERGE)
                    UT1 += (UT1_ij,)
                    UT_ij = UT1_ij * betas[j][None, :]
                elif j == i:
                    UT1 += (UT1_ii,)
                    UT_ij = tl.where(within[:, None] > within[None, :], UT1_ii * betas[j][None, :], 0.0)
                tl.store(at_UT + 16 * j, UT_ij.to(UT_low_ptr.dtype.element_ty), mask=(row_i < length)[:, None])


# -- the recurrence over chunks ----------------------------------------------------------------------------------------

@triton.jit
def forward_sweep(
    q_ptr, k_ptr, v_ptr, UT_low_ptr, betas_ptr, initial_ptr,             # as in forward_kernel
    o_ptr, final_ptr, states_ptr, writes_ptr,
    cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, v_token, v_head,
    i_seq, h, v0,                                  # which sequence, which head, first row of the memory
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    GROUP: tl.constexpr,                           # chunks of which one memory is stored: what leaves the last of them,
                                                   # or, if it is one, what enters it
):
    """V_TILE rows of the memory of one head, from the first chunk to the last. An output that is None is left out.

    S stays in registers as (V_TILE, K), so tokens are columns in all that is computed from it (names ending in _t).
    Then each product in the chain S -> R -> X -> S takes its left operand from the registers that hold the last result,
    and its right operand from a tile as it was loaded: nothing passes through shared memory on the way from S to S.
    """
    width: tl.constexpr = triton.next_power_of_2(K)
    PART: tl.constexpr = 128 if width == 256 and V_TILE >= 64 else width
    LATE: tl.constexpr = PART < width              # O after X, from S rounded anew: what was rounded for R would cost
                                                   # registers. Scaled first, or the compiler would keep it all the same
    dtype: tl.constexpr = k_ptr.dtype.element_ty
    start, length, slot = sequence(i_seq, T, cu_seqlens, C)
    memory = (i_seq.to(tl.int64) * H + h) * V * K                        # this head's memory in a tensor (N, H, V, K)
    k_rows = rows(k_ptr + start * k_token + h * k_head, length, K, k_token, C, PART)
    if v_ptr is not None:
        v_rows = rows(v_ptr + start * v_token + h * v_head, length, V, v_token, C, V_TILE)
    UT_rows = rows(UT_low_ptr + (start * H + h) * C, length, C, H * C, C, C)
    if o_ptr is not None:
        q_rows = rows(q_ptr + start * q_token + h * q_head, length, K, q_token, C, PART)
        o_rows = rows(o_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
    if states_ptr is not None:
        X_rows = rows(writes_ptr + (start * H + h) * V, length, V, H * V, C, V_TILE)
        if GROUP > 1:
            S_tiles = states(states_ptr, i_seq, T, cu_seqlens, h, H, K, V, GROUP * C, V_TILE)
    row = tl.arange(0, C)
    # (V_TILE, K)  registers, for the whole sweep. Without values: what the identity becomes, see splitting.py
    S = load_memory(initial_ptr, memory, v0, K, V, V_TILE, PART, DIAGONAL=1.0 if v_ptr is None else 0.0)

    chunks = tl.cdiv(length, C)
    for i in range(0, chunks):                                           # one chunk a step, oldest first
        if states_ptr is not None and GROUP == 1:
            store_memory(states_ptr, ((slot + i) * H + h) * V * K, S, v0, K, V, V_TILE, PART)
        # -- load ------------------------------------------------------------------------------------------------------
        k = load_rows(k_rows, i * C, K, PART)                            # (C, K)       shared memory, as all tiles
        if v_ptr is not None:
            v = v_rows.load([i * C, v0])                                 # (C, V_TILE)
        UT_low = UT_rows.load([i * C, 0])                                # (C, C)
        beta = tl.load(betas_ptr + ((slot + i) * H + h) * C + row)       # (C,)         registers
        # -- within the chunk: P^T, which waits for nobody; as triu(K Q^T), since transposing a result is a detour -----
        if o_ptr is not None:
            q = load_rows(q_rows, i * C, K, PART)                        # (C, K)
            K_Q = dot_t(k, q, None, PRECISION) * (scale if LATE else 1.0)
            P_t = tl.where(row[:, None] <= row[None, :], K_Q, 0.0).to(dtype)                     # (C, C)
        # -- across chunks: what the memory says about these keys, and how wrong it is; what it tells the queries ------
        said_t = dot_t(S, k, None, PRECISION)                                                    # (V_TILE, C)
        R_t = tl.trans(v) - said_t if v_ptr is not None else -said_t                             # (V_TILE, C)
        if o_ptr is not None and not LATE:
            O_t = dot_t(S, q, None, PRECISION)                                                   # (V_TILE, C)
        # -- within the chunk: later tokens see earlier writes (eq. 8.6, 8.5) ------------------------------------------
        X_t = tl.dot(R_t.to(dtype), tl.trans(UT_low), R_t * beta[None, :], input_precision=PRECISION).to(dtype)
        if o_ptr is not None and not LATE:
            O_t = scale * tl.dot(where_written(X_t, beta), P_t, O_t, input_precision=PRECISION)
        elif o_ptr is not None:
            O_t = tl.dot(where_written(X_t, beta), P_t, input_precision=PRECISION)
            O_t = dot_t(S, q, O_t, PRECISION, scale)
        # -- update (eq. 8.4) ------------------------------------------------------------------------------------------
        S = dot(where_written(X_t, beta), k, S, PRECISION)               # float32: thousands of chunks add up
        # -- store -----------------------------------------------------------------------------------------------------
        if o_ptr is not None:
            o_rows.store([i * C, v0], tl.trans(O_t).to(o_ptr.dtype.element_ty))
        if states_ptr is not None:
            X_rows.store([i * C, v0], tl.trans(X_t))
            if GROUP > 1:
                if (i % GROUP == GROUP - 1) | (i == chunks - 1):
                    S_tiles.store([i // GROUP, v0, 0], S[0].to(states_ptr.dtype.element_ty).reshape(1, V_TILE, width))
    if final_ptr is not None:
        store_memory(final_ptr, memory, S, v0, K, V, V_TILE, PART)


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr,                           # (B, T, H, K) twice, (B, T, H, V)
    UT_low_ptr, betas_ptr,                         # (B, T, H, C), (slots, H, C), from inverse_kernel
    initial_ptr,                                   # (N, H, V, K) float32, one memory a sequence; None: they start empty
    o_ptr, final_ptr,                              # out: (B, T, H, V), and the memories after the last token, float32
    states_ptr, writes_ptr,                        # out: memories (slots, H, V, K), X (B, T, H, V); or None
    cu_seqlens, scale, T, H,                       # as in inverse_kernel; scale: a factor on q
    q_token, q_head, k_token, k_head, v_token, v_head,
    K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr, PRECISION: tl.constexpr,
    GROUP: tl.constexpr,                           # as in forward_sweep
):
    """One program per sequence, head and V_TILE rows of the memory: rows of S never meet, its columns always do."""
    V_TILES: tl.constexpr = (V + V_TILE - 1) // V_TILE
    program = tl.program_id(0)                                           # neighbors, tiles of one head, read the same
    v0, h, i_seq = program % V_TILES * V_TILE, program // V_TILES % H, program // (V_TILES * H)
    forward_sweep(q_ptr, k_ptr, v_ptr, UT_low_ptr, betas_ptr, initial_ptr, o_ptr, final_ptr, states_ptr, writes_ptr,
                  cu_seqlens, scale, T, H, q_token, q_head, k_token, k_head, v_token, v_head, i_seq, h, v0,
                  K, V, C, V_TILE, PRECISION, GROUP)
