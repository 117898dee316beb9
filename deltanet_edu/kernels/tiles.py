"""What the kernels share: where a sequence lies in memory, and how a tile of it is fetched.

Every grid has one dimension (grid.y and grid.z stop at 65,535, which real batches exceed), and every offset that grows
with the number of tokens has 64 bits (B T H K passes 2^31 in real batches). Tiles are powers of two wide: K in their
shapes is K and zeros up to `width`.
"""

import triton
import triton.language as tl

from .interpreter import repair

repair()


@triton.jit
def sequence(i_seq, T, cu_seqlens, C: tl.constexpr):
    """First token, number of tokens, and first chunk slot of sequence i_seq. Tokens are numbered through the batch.

    Equal lengths: sequence i starts at token i T and owns cdiv(T, C) slots. Variable lengths: it has the tokens from
    cu_seqlens[i] to cu_seqlens[i + 1] and owns the slots from start // C + i on. Neighbors never overlap, since
    floor(start / C) + cdiv(length, C) <= floor((start + length) / C) + 1:
    no need to count chunks on the host and wait for it.
    """
    if cu_seqlens is None:
        return i_seq.to(tl.int64) * T, T, i_seq.to(tl.int64) * tl.cdiv(T, C)
    else:
        start = tl.load(cu_seqlens + i_seq).to(tl.int64)
        return start, (tl.load(cu_seqlens + i_seq + 1) - start).to(tl.int32), start // C + i_seq


@triton.jit
def chunk_of(slot, T, cu_seqlens, sequence_of_slot, C: tl.constexpr):
    """First token and length of the sequence that owns a slot, and where in it the slot's chunk starts."""
    if cu_seqlens is None:
        i_seq = slot // tl.cdiv(T, C)
    else:
        i_seq = tl.load(sequence_of_slot + slot)
    start, length, first_slot = sequence(i_seq, T, cu_seqlens, C)
    return start, length, ((slot - first_slot) * C).to(tl.int32)


@triton.jit
def rows(ptr, length, width: tl.constexpr, stride, C: tl.constexpr, tile: tl.constexpr):
    """A descriptor of `length` rows of `width` numbers, `stride` apart, moved (C, tile) at a time. What lies outside
    reads as zero and is not written; zero rows are harmless: a token whose key, value and row of UT_low are zero
    writes nothing to the memory.

    From Hopper on the copy engine moves a tile by one instruction, straight from or to shared memory and without
    spending registers on addresses; elsewhere this compiles to masked loads and stores.
    """
    return tl.make_tensor_descriptor(ptr, [length, width], [stride, 1], [C, tile])


@triton.jit
def load_tile(ptr, first, length, stride, width, ROWS: tl.constexpr, tile: tl.constexpr, narrow: tl.constexpr,
              whole: tl.constexpr = False):
    """(ROWS, tile) numbers: from row `first` on of `length` rows of `width`, `stride` apart; by a plain load, since
    making a descriptor takes longer than a program that loads each tile once. What lies outside reads as zero; nothing
    does if it is `whole`, and no column if it is not `narrow`. Offsets within a tile have 32 bits: 64 take more
    arithmetic than products do."""
    ptr += first * tl.cast(stride, tl.int64)
    rest = length - first
    row, col = tl.arange(0, ROWS)[:, None], tl.arange(0, tile)[None, :]
    if narrow:
        return tl.load(ptr + (row * stride + col), mask=(row < rest) & (col < width), other=0.0)
    elif whole:
        return tl.load(ptr + (row * stride + col))
    else:
        return tl.load(ptr + (row * stride + col), mask=row < rest, other=0.0)


@triton.jit
def states(ptr, i_seq, T, cu_seqlens, h, H, K: tl.constexpr, V: tl.constexpr, TOKENS: tl.constexpr,
           V_TILE: tl.constexpr):
    """A descriptor of one head's memories, one for every so many TOKENS of sequence i_seq, in a tensor
    (slots, H, V, K), moved V_TILE rows at a time."""
    width: tl.constexpr = triton.next_power_of_2(K)
    _, length, slot = sequence(i_seq, T, cu_seqlens, TOKENS)
    first = ptr + (slot * H + h) * V * K
    next_slot = tl.cast(H, tl.int64) * V * K
    return tl.make_tensor_descriptor(first, [tl.cdiv(length, TOKENS), V, K], [next_slot, K, 1], [1, V_TILE, width])


@triton.jit
def at_state(v0, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr, width: tl.constexpr, k0: tl.constexpr = 0):
    """Offsets and mask of V_TILE rows of one memory from row v0 on, and of `width` of its columns from k0 on."""
    val, col = v0 + tl.arange(0, V_TILE), k0 + tl.arange(0, width)
    return val[:, None] * K + col[None, :], (val < V)[:, None] & (col < K)[None, :]


# What is K wide comes in parts of PART columns, in a tuple of one, or of two where heads are 256 wide: such a memory
# and the same rounded, to be a left operand, do not fit in the registers together. The memory and a part of it do.

@triton.jit
def load_memory(ptr, first, v0, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr, PART: tl.constexpr,
                scale=1.0, DIAGONAL: tl.constexpr = 0.0):
    """scale times V_TILE rows from row v0 on of the memory at ptr + first; None: zeros, but for the DIAGONAL."""
    S, row = (), v0 + tl.arange(0, V_TILE)
    for k0 in tl.static_range(0, K, PART):
        S_n = tl.where(row[:, None] == k0 + tl.arange(0, PART)[None, :], DIAGONAL, 0.0)
        if ptr is not None:
            at, in_state = at_state(v0, K, V, V_TILE, PART, k0)
            S_n += scale * tl.load(ptr + first + at, mask=in_state, other=0.0)
        S += (S_n,)
    return S


@triton.jit
def store_memory(ptr, first, S, v0, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr, PART: tl.constexpr,
                 scale=1.0):
    """The reverse, without the copy engine, which would need shared memory for a tile."""
    for n in tl.static_range(len(S)):
        at, in_state = at_state(v0, K, V, V_TILE, PART, n * PART)
        tl.store(ptr + first + at, S[n] * scale, mask=in_state)


@triton.jit
def load_rows(descriptor, first, K: tl.constexpr, PART: tl.constexpr):
    """A tile of rows K wide, from row `first` on."""
    x = ()
    for k0 in tl.static_range(0, K, PART):
        x += (descriptor.load([first, k0]),)
    return x


@triton.jit
def dot_t(x, y, sum, PRECISION: tl.constexpr, scale=1.0):
    """scale x y^T + sum, over K; None: no sum. x is rounded to y's dtype."""
    for n in tl.static_range(len(x)):
        sum = tl.dot((x[n] * scale).to(y[n].dtype), tl.trans(y[n]), sum, input_precision=PRECISION)
    return sum


@triton.jit
def dot(x, y, sum, PRECISION: tl.constexpr):
    """x y + sum, where y and the sum are K wide."""
    parts = ()
    for n in tl.static_range(len(y)):
        parts += (tl.dot(x, y[n], sum[n], input_precision=PRECISION),)
    return parts


LEAST_HALF: tl.constexpr = tl.constexpr(2.0**-14)         # what beta = 0 becomes in float16: its smallest normal number


@triton.jit
def strengths(beta_ptr, at, in_range, SIGMOID: tl.constexpr, HALF: tl.constexpr):
    """The beta of one chunk, (C,) in float32, ones after the last token. Nearer to 0 than LEAST it becomes LEAST, so
    small that what is written is lost in rounding or dropped by `where_written`, while dbeta = (dV . X) / beta^2 stays
    right. HALF: X and dV are float16."""
    LEAST: tl.constexpr = LEAST_HALF if HALF else 2.0**-50        # whose square float32 still holds with all its digits
    beta = tl.load(beta_ptr + at, mask=in_range, other=0.0).to(tl.float32)
    beta = tl.sigmoid(beta) if SIGMOID else beta
    return tl.where(in_range, tl.where(tl.abs(beta) < LEAST, LEAST, beta), 1.0)


@triton.jit
def where_written(x_t, beta):
    """What was written with these beta, or dV: (V_TILE, C), with zeros where |beta| <= LEAST_HALF. Only in float16 is
    that needed: there LEAST is so large that it adds up, over thousands of tokens."""
    return tl.where((tl.abs(beta) > LEAST_HALF)[None, :], x_t, 0.0) if x_t.dtype == tl.float16 else x_t
