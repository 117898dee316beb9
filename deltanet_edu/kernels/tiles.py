"""What the kernels share: where a sequence lies in memory, and how a tile of it is fetched.

Every kernel is launched on a one-dimensional grid (grid.y and grid.z stop at 65,535, which real batches exceed) and
takes its tokens from tensors laid out (B, T, H, width): a token's row is `stride` numbers below the previous one.
"""

import triton
import triton.language as tl


@triton.jit
def sequence(i_seq, T, cu_seqlens, C: tl.constexpr):
    """First token, number of tokens, and first chunk slot of sequence i_seq.

    Sequences of one length: sequence i starts at token i T and owns cdiv(T, C) slots.
    Variable lengths, tokens cu_seqlens[i] to cu_seqlens[i + 1]: it owns the slots from start // C + i on. Neighbors
    never overlap, floor(start / C) + cdiv(length, C) <= floor((start + length) / C) + 1, so nobody needs to count
    chunks on the host and wait for the answer. Offsets of tokens are 64-bit: B T H K passes 2^31 in real batches.
    """
    if cu_seqlens is None:
        return i_seq.to(tl.int64) * T, T, i_seq.to(tl.int64) * tl.cdiv(T, C)
    else:
        start = tl.load(cu_seqlens + i_seq).to(tl.int64)
        length = (tl.load(cu_seqlens + i_seq + 1) - start).to(tl.int32)
        return start, length, start // C + i_seq


@triton.jit
def chunk_of(slot, T, cu_seqlens, sequence_of_slot, C: tl.constexpr):
    """First token of the sequence that slot belongs to, its length, and the first token of the chunk within it."""
    if cu_seqlens is None:
        i_seq = slot // tl.cdiv(T, C)
    else:
        i_seq = tl.load(sequence_of_slot + slot)
    start, length, first_slot = sequence(i_seq, T, cu_seqlens, C)
    return start, length, ((slot - first_slot) * C).to(tl.int32)


@triton.jit
def rows(ptr, length, width: tl.constexpr, stride, C: tl.constexpr, tile: tl.constexpr):
    """A descriptor of `length` rows of `width` numbers, fetched (C, tile) at a time; what lies outside reads as zero.

    A zero row is harmless: k = 0 and beta = 0 write nothing. On Hopper the fetch is one instruction of the copy engine
    straight into shared memory, and costs no registers for addresses; elsewhere it compiles to masked loads.
    """
    return tl.make_tensor_descriptor(ptr, [length, width], [stride, 1], [C, tile])


@triton.jit
def at_state(v0, K: tl.constexpr, V: tl.constexpr, V_TILE: tl.constexpr, width: tl.constexpr):
    """Offsets and mask of rows v0 on of one memory, (V_TILE, K)."""
    val, col = v0 + tl.arange(0, V_TILE), tl.arange(0, width)
    return val[:, None] * K + col[None, :], (val < V)[:, None] & (col < K)[None, :]
