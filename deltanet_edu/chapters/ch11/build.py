"""Exercises 11.5 and 11.6: a forward pass from an empty cell, in stages; 11.7 is in outputs.py, 11.8 in whole.py."""

import torch
import triton

from ...tutor import Mistake, exercise
from ..kernel_answers import by_chunks, by_sequences, changed, launched
from ..kernel_faults import CARRIED
from .forward import corner, grow, inverse_kernel, load_rows, load_strengths, memory_kernel, store_rows
from .inputs import UT_low_of, cases, corners, small_writes
from .other_ways import (inverse_by_corners, inverse_by_substitution, inverse_upside_down, memory_by_rows,
                         memory_by_tokens)

# -- mistakes that every stage can have --------------------------------------------------------------------------------

NO_LOAD_MASK = changed(load_rows, (", mask=(t < T)[:, None], other=0.0", ""))
NO_STRENGTH_MASK = changed(load_strengths, (", mask=t < T, other=0.0", ""))
NO_STORE_MASK = changed(store_rows, (", mask=(t < T)[:, None]", ""))
LOAD = ("The last chunk of a sequence is rarely full. Rows behind the last token belong to the next sequence, or to "
        "nobody: a GPU may stop there.")
STORE = "Rows behind the last token are not yours: they belong to the next sequence of the batch, or to nobody."
MEETS = ("Your mask asks whether a row is still inside the *tensor*. Behind the last token of one sequence lies the "
         "first of the next, and its own program writes there too. Which of them comes last, nobody knows.")
NEXT = "How many of the C rows of the last chunk exist, for T = 20 and C = 16?"


def tails(kernel, last_store, end):
    """Mistakes at the end of a sequence. last_store: text of the store; end: the same with a later end of the rows."""
    return {
        "loads the tail without a mask": Mistake(changed(kernel, load_rows=NO_LOAD_MASK), LOAD, next=NEXT),
        "stores the tail without a mask": Mistake(changed(kernel, store_rows=NO_STORE_MASK), STORE, next=NEXT),
        "guards the end of the batch, not of each sequence": Mistake(changed(kernel, (last_store, end)), MEETS,
            next="With B = 2 and T = 20: whose are the rows 20 to 31?"),
    }


def rounded(old):
    """old = an expression in a kernel -> the same, rounded to bfloat16."""
    return old, f"({old}).to(tl.bfloat16).to(tl.float32)"


# -- 11.5 --------------------------------------------------------------------------------------------------------------

def launch_inverse(kernel, k, beta, C, UT_low):
    B, T, H, K = k.shape
    kernel[(B * triton.cdiv(T, C) * H,)](k, beta, UT_low, T, H, K, C, C.bit_length() - 1)


EVEN = ("Two neighboring blocks make a corner only if the first of them is an even one: 0 and 1, 2 and 3. Yours also "
        "takes 1 and 2.")
HALVES = ("A row in a second half and a column in a first half meet in a corner only if both halves are of the *same* "
          "block: `col >> level == (row >> level) - 1`.")
ANY_BLOCK = changed(corner, ("(col >> level == (row >> level) - 1)", "((col >> level) % 2 == 0)"))
MASKED_A = ("tl.dot(k, tl.trans(k)) * beta[:, None], tl",
            "tl.where(row > col, tl.dot(k, tl.trans(k)) * beta[:, None], 0.0), tl")
GROWN = "T1 - tl.dot(tl.dot(T1, tl.where(where, A, 0.0)), T1)"


def inverse_with(*replaced):
    return changed(inverse_kernel, *replaced)


def by_all_corners(*replaced, **helpers):
    """A mutant of the lesson's form, which has every corner in the whole of the tile."""
    return changed(inverse_by_corners, *replaced, **helpers)


exercise(
    id="11.5", title="Stage 1: the inverse", kind="code", stars=4, minutes=35, equations=("11.2", "11.5"),
    reference=inverse_kernel, alternatives=(inverse_by_corners, inverse_by_substitution, inverse_upside_down),
    sources=(corner, grow, inverse_kernel),
    cases=cases(lambda g, q, k, v, beta, C: (k, beta, 32 if k.shape[1] > 32 else C)), tolerance=2e-5,
    prepare=launched(launch_inverse, lambda k, beta, C: k.new_empty(*k.shape[:3], C), parts=(by_sequences, corners)),
    mutants={
        **tails(inverse_kernel, "UT_low, first, T, H * C, C, C",
                "UT_low, first, tl.num_programs(0) // (N * H) * T - b * T, H * C, C, C"),
        "gives every chunk the rows of the first": Mistake(inverse_with(("UT_low, first, T", "UT_low, 0, T")),
            "Where a chunk's rows begin must depend on the chunk in the store as well: all programs of a head write "
            "the same rows, and the last one wins.", "eq. 11.2"),
        "does the first head in each program": Mistake(inverse_with(("head = b * T * H + h", "head = b * T * H")),
            "(B, T, H, ...): the first token of head h is h rows behind that of head 0. Without h all do head 0."),
        "stores all heads in the place of the first": Mistake(
            inverse_with(("UT_ptr + head * C", "UT_ptr + b * T * H * C")),
            "Each program loads its own head, and stores to head 0: that of head h begins h rows further on."),
        "takes the strengths of the first head": Mistake(
            inverse_with(("beta_ptr + head", "beta_ptr + b * T * H")),
            "β is (B, T, H): the first strength of head h is h numbers behind that of head 0."),
        "takes the keys of the first chunk": Mistake(
            inverse_with(("k_ptr + head * K, first", "k_ptr + head * K, 0")), "Chunk n begins at token n C."),
        "stores the transpose": Mistake(inverse_with(("UT_low, first, T, H", "tl.trans(UT_low), first, T, H")),
            "Row t belongs to token t: what it stores is its own row of T, below the diagonal.", "eq. 11.5"),
        "takes the width of a key for that of a row of UT_low": Mistake(
            inverse_with(("UT_ptr + head * C, UT_low, first, T, H * C", "UT_ptr + head * K, UT_low, first, T, H * K")),
            "A row of UT_low has C numbers, one of k has K. With C = K nobody would notice."),
        "reads the keys of another head": Mistake(inverse_with(("k_ptr + head * K", "k_ptr + b * T * H * K")),
            "The first key of this program's head is h rows further on. Yours reads head 0 for all of them."),
        "walks from head to head instead of from token to token": Mistake(
            inverse_with(("first, T, H * K, C, K", "first, T, K, C, K")),
            "Tokens of one head lie H rows apart: (B, T, H, K). With stride K the next row is the next head's key."),
        "forgets β in A": Mistake(inverse_with(("tl.trans(k)) * beta[:, None]", "tl.trans(k))")),
            "A = stril(diag(β) K Kᵀ): each row has the write strength of its own token.", "eq. 6.2"),
        "scales A by the strength of the earlier token": Mistake(
            inverse_with(("tl.trans(k)) * beta[:, None]", "tl.trans(k)) * beta[None, :]")),
            "diag(β) stands on the left of K Kᵀ: row t is scaled by β_t, the strength of the token that corrects "
            "itself.", "eq. 6.2"),
        "forgets β on the right": Mistake(inverse_with(("T1 * beta[None, :]", "T1")),
            "That is (I + A)⁻¹. UT is (I + A)⁻¹ diag(β): column i is scaled by β_i.", "eq. 6.3"),
        "multiplies by diag(β) from the left": Mistake(inverse_with(("T1 * beta[None, :]", "T1 * beta[:, None]")),
            "diag(β) stands on the right of the inverse, so it scales columns. Yours scales rows.", "eq. 6.3"),
        "stores nothing but zeros": Mistake(inverse_with(("row > col, T1", "row < col, T1")),
            "UT_low is what stands below the diagonal. Either the other triangle is kept, which is empty, or no corner "
            "below the diagonal has been filled in.", "eq. 11.5"),
        "adds every corner": Mistake(by_all_corners(grow=changed(grow, ("T1 - tl.dot", "T1 + tl.dot"))),
            "The corner of the inverse is *minus* T22 A21 T11.", "eq. 11.2"),
        "begins a level late": Mistake(by_all_corners(("static_range(LEVELS)", "static_range(1, LEVELS)")),
            "Level 0 joins blocks of 1: the entries right beside the diagonal. Larger corners build on them.",
            "eq. 11.2"),
        "leaves the last level out": Mistake(by_all_corners(("static_range(LEVELS)", "static_range(LEVELS - 1)")),
            "The last corner is C/2 wide, level LEVELS − 1. `range` leaves its end out already.", "eq. 11.2"),
        "stops at I − A": Mistake(by_all_corners(("T1 = grow(T1, A, corner(row, col, level))",
                                                  "T1 = tl.where(row > col, -A, T1)")),
            "That is the first term of a series. Tokens that have been corrected correct later ones: the corners "
            "multiply.", "eq. 11.2"),
        "takes neighbors that make no corner": Mistake(
            by_all_corners(corner=changed(corner, ("((row >> level) % 2 == 1) & (col", "(col"))),
            EVEN, "eq. 11.2", next="For C = 4, which entries does your mask keep on level 0?"),
        **{f"takes halves of different blocks{where}": Mistake(
            answer, HALVES, "eq. 11.2", next="For C = 4, which entries does your mask keep on level 0?")
           for where, answer in {" for a corner": by_all_corners(corner=ANY_BLOCK),
                                 ", below the diagonal, for a corner": by_all_corners(MASKED_A, corner=ANY_BLOCK),
                                 " for a corner of 16": changed(inverse_kernel, corner=ANY_BLOCK)}.items()},
        "stops at A²": Mistake(
            by_all_corners(("T1 = grow(T1, A, corner(row, col, level))", "T1 = T1"),
                           ("    store_rows", "    A = tl.where(row > col, A, 0.0)\n    T1 += tl.dot(A, A) - A\n    "
                                              "store_rows")),
            "I − A + A² are three terms of a series that goes on to Aᶜ⁻¹. Corners, level by level, bring all of them.",
            "eq. 11.2"),
        "takes the largest corner first": Mistake(
            by_all_corners(("corner(row, col, level)", "corner(row, col, LEVELS - 1 - level)")),
            "A corner is filled in between two halves that are inverted already: begin with those of 1, level 0.",
            "eq. 11.2"),
        "takes the whole of A on every level": Mistake(
            by_all_corners(MASKED_A, grow=changed(grow, ("tl.where(where, A, 0.0)", "A"))),
            "On each level A is masked to its corners. With the whole of A, what other levels have done or will do "
            "comes in again.", "eq. 11.2"),
        "multiplies by β on both sides": Mistake(
            inverse_with(("T1 * beta[None, :]", "beta[:, None] * T1 * beta[None, :]")),
            "The β of the rows is in A already. The inverse has diag(β) on its right alone: columns.", "eq. 6.3"),
        "takes the other half of the corners": Mistake(
            by_all_corners(corner=changed(corner, ("% 2 == 1", "% 2 == 0"))),
            "The row lies in the *second* half of its block, so its number is odd without its last digits.",
            "eq. 11.2"),
        "multiplies twice on the right": Mistake(
            by_all_corners(grow=changed(grow, ("tl.dot(tl.dot(T1, tl.where(where, A, 0.0)), T1)",
                                               "tl.dot(tl.dot(tl.where(where, A, 0.0), T1), T1)"))),
            "T22 A21 T11: the second half stands on the left of the corner, the first on its right.", "eq. 11.2"),
        "stores the diagonal too": Mistake(inverse_with(("row > col, T1", "row >= col, T1")),
            "UT_low is strictly lower: the diagonal, β, is added in float32 later.", "eq. 11.5"),
        "adds the corners": Mistake(changed(inverse_kernel, grow=changed(grow, ("T1 - tl.dot", "T1 + tl.dot"))),
            "The corner of the inverse is *minus* T22 A21 T11.", "eq. 11.2"),
        "starts from the wrong sign": Mistake(inverse_with(("-A16, 0.0)", "A16, 0.0)")),
            "The inverse of a block of 2 x 2 has −A₂₁ in its corner.", "eq. 6.5"),
        "takes more than corners": Mistake(
            changed(inverse_kernel, corner=changed(corner, ("((row >> level) % 2 == 1) & (col", "(col"))),
            EVEN, "eq. 11.2", next="For C = 4, which entries does your mask keep on level 0?"),
        "stops one level early": Mistake(inverse_with(("range(4, LEVELS)", "range(4, LEVELS - 1)")),
            "The last corner is C/2 wide, level LEVELS − 1. `range` leaves its end out already.", "eq. 11.2"),
        "stops after blocks of two": Mistake(
            inverse_with(("range(1, 4)", "range(1, 1)"), ("range(4, LEVELS)", "range(4, 4)")),
            "Only neighboring tokens correct each other. The larger corners are missing.", "eq. 11.2"),
        "multiplies on one side only": Mistake(
            changed(inverse_kernel, grow=changed(grow, ("tl.dot(tl.dot(T1, tl.where(where, A, 0.0)), T1)",
                                                        "tl.dot(T1, tl.where(where, A, 0.0))"))),
            "T22 A21 is what happens from the hop on. What happens in the first half, T11, stands on the right.",
            "eq. 11.2"),
        "leaves T22 out of every corner": Mistake(
            changed(inverse_kernel, grow=changed(grow, ("tl.dot(tl.dot(T1, tl.where(where, A, 0.0)), T1)",
                                                        "tl.dot(tl.where(where, A, 0.0), T1)"))),
            "A21 T11 is the first half and the hop into the second. What happens there afterwards, T22, stands on the "
            "left.", "eq. 11.2"),
        "rounds A before the inverse": Mistake(inverse_with(rounded("tl.dot(k, tl.trans(k)) * beta[:, None]")),
            "The values are off by about one part in 256: something is rounded to bfloat16 on the way. A is an "
            "accumulator, float32, and the inverse is built from it. Round at the store, to the dtype of the tensor.",
            "eq. 11.2"),
        "walks from strength to strength of one token": Mistake(inverse_with(("first, T, H, C)", "first, T, 1, C)")),
            "β is (B, T, H): the strengths of one head lie H numbers apart."),
        "begins at the wrong number of the keys": Mistake(inverse_with(("k_ptr + head * K", "k_ptr + head")),
            "`head` counts tokens and heads. Each of them has K numbers: head · K."),
        "takes the strengths of the first chunk": Mistake(
            inverse_with(("beta_ptr + head, first, T", "beta_ptr + head, 0, T")),
            "Chunk n begins at token n C for β as well as for the keys."),
        "rounds T1 on every level": Mistake(
            by_all_corners(("grow(T1, A, corner(row, col, level))",
                            "grow(T1, A, corner(row, col, level)).to(tl.bfloat16).to(tl.float32)")),
            "Each level builds on the one before. Rounded to bfloat16 in between, errors are built on, too. Keep T1 in "
            "float32.", "eq. 11.2"),
        "rounds every level": Mistake(
            changed(inverse_kernel, grow=changed(grow, rounded(GROWN))),
            "Each level builds on the one before. Rounded to bfloat16 in between, errors are built on, too. Keep T1 in "
            "float32.", "eq. 11.2"),
        "rounds the number of chunks down": Mistake(inverse_with(("N = tl.program_id(0), tl.cdiv(T, C)",
                                                                  "N = tl.program_id(0), T // C")),
            "There are ⌈T / C⌉ chunks, the last one perhaps not full. With ⌊T / C⌋ a program takes itself for one of "
            "the next head or sequence.", next=NEXT),
        "does the first chunk in each program": Mistake(inverse_with(("% N * C, (program", "% N * 0, (program")),
            "Chunk n begins at token n C, where it is loaded and where it is stored. Yours takes the first each time."),
        "takes the tokens of a head to lie side by side": Mistake(
            inverse_with(("first, T, H * K, C, K", "first, T, K, C, K"), ("first, T, H, C)", "first, T, 1, C)"),
                         ("UT_low, first, T, H * C, C, C", "UT_low, first, T, C, C, C")),
            "Between two tokens of a head lie those of the other heads: the strides are H · K for k, H for β, H · C "
            "for UT_low, in loads and in the store."),
        "stores rows of C numbers side by side": Mistake(inverse_with(("UT_low, first, T, H * C, C, C",
                                                                       "UT_low, first, T, C, C, C")),
            "UT_low is (B, T, H, C): from token to token it is H · C numbers, since the other heads lie in between."),
    },
    hints=("Which chunk, head and sequence is program number p? Any numbering will do: divide and take remainders.",
           "A = K Kᵀ times β of the row. Then T1 begins as the identity, and each level subtracts T1 A⌞ T1.",
           "The corner of a level: `((row >> level) % 2 == 1) & (col >> level == (row >> level) - 1)`. At the end "
           "multiply by `beta[None, :]` and keep what is strictly below the diagonal."),
)


# -- 11.6 --------------------------------------------------------------------------------------------------------------

def launch_memory(kernel, k, v, beta, UT_low, states, X):
    (B, T, H, K), V, C, V_TILE = k.shape, v.shape[3], UT_low.shape[3], 16
    kernel[(B * H * (V // V_TILE),)](k, v, beta, UT_low, states, X, T, H, K, V, C, V_TILE)


def room_for_memories(k, v, beta, UT_low):
    (B, T, H, K), V, C = k.shape, v.shape[3], UT_low.shape[3]
    return k.new_empty(B, triton.cdiv(T, C), H, V, K), torch.empty_like(v)


def one_write_a_chunk():
    """Inputs in float16 whose chunks each change the memory by less than float16 can tell."""
    _, k, v, beta = small_writes(16)
    return k, v, beta, torch.zeros(*k.shape[:3], 16, dtype=k.dtype)      # no two keys meet in a chunk


def memory_with(*replaced):
    return changed(memory_kernel, *replaced)


STORED = "        tl.store(states_ptr + ((b * N + n) * H + h) * V * K + at, S)\n"
UPDATED = "        S = tl.dot(X_t, k, S)                                            # (V_TILE, K)\n"
WRITTEN = "tl.dot(R_t.to(k.dtype), tl.trans(UT_low), R_t * beta[None, :])"

exercise(
    id="11.6", title="Stage 2: the memory", kind="code", stars=4, minutes=30, equations=("11.3", "11.5"),
    reference=memory_kernel, alternatives=(memory_by_rows, memory_by_tokens),
    cases=cases(lambda g, q, k, v, beta, C: (k, v, beta, UT_low_of(k, beta, C))), tolerance=2e-5,
    prepare=launched(launch_memory, room_for_memories, parts=(by_sequences, by_chunks(16)),
                     carries=(one_write_a_chunk, lambda states, X: bool(states[0, -1, 0, 0, 0] > 1))),
    mutants={
        CARRIED: Mistake(memory_with((UPDATED, UPDATED + "        S = S.to(k.dtype).to(tl.float32)\n")),
            "With float32 inputs nothing shows. In float16 S is rounded once a chunk, and what a chunk adds may be too "
            "small to move a rounded number. Keep S in float32, and round its copy for a product: `S.to(k.dtype)`.",
            "eq. 11.3"),
        **tails(memory_kernel, "tl.trans(X_t), n * C, T,",
                "tl.trans(X_t), n * C, tl.num_programs(0) // (tiles * H) * T - b * T,"),
        "gives every program the same rows": Mistake(memory_with(("program % tiles * V_TILE", "0")),
            "The programs of one head share its rows out. All of yours take the first V_TILE, and write the same "
            "numbers to the same place; nobody takes the others.", "eq. 11.1"),
        "stores all memories to the first rows": Mistake(memory_with(("at = (v0 + tl.arange(0, V_TILE))",
                                                                      "at = (tl.arange(0, V_TILE))")),
            "v0 is missing in the address of the memory, and there alone: the programs of a head store their rows over "
            "each other's.", "eq. 11.1"),
        "stores memories and writes to the first rows": Mistake(
            memory_with(("at = (v0 + tl.arange(0, V_TILE))", "at = (tl.arange(0, V_TILE))"),
                        ("X_ptr + head * V + v0", "X_ptr + head * V")),
            "The right columns of v are loaded. In both stores v0 is missing: the programs of a head store over each "
            "other.", "eq. 11.1"),
        "takes the first columns of v and of X in every program": Mistake(
            memory_with(("v_ptr + head * V + v0", "v_ptr + head * V"), ("X_ptr + head * V + v0", "X_ptr + head * V")),
            "The program that owns rows v0, v0 + 1, ... of the memory needs those columns of v, and makes those of X.",
            "eq. 11.1"),
        "takes the keys of the first chunk in each": Mistake(
            memory_with(("k_ptr + head * K, n * C", "k_ptr + head * K, 0")),
            "Chunk n begins at token n C, for k as well."),
        "takes the values of the first chunk in each": Mistake(
            memory_with(("V + v0, n * C, T, H * V, C, V_TILE)      ", "V + v0, 0, T, H * V, C, V_TILE)      ")),
            "Chunk n begins at token n C, for v as well."),
        "takes UT_low of the first chunk in each": Mistake(
            memory_with(("UT_ptr + head * C, n * C", "UT_ptr + head * C, 0")),
            "Chunk n begins at token n C, for UT_low as well: it has a row for each token."),
        "stores the memories of all heads in one place": Mistake(
            memory_with(("((b * N + n) * H + h)", "((b * N + n) * H)")),
            "states is (B, N, H, V, K): within a chunk the memory of head h is h memories further on."),
        "stores the memories of all sequences in one place": Mistake(
            memory_with(("((b * N + n) * H + h)", "(n * H + h)")),
            "states is (B, N, H, V, K): a sequence has N · H memories, those of sequence b begin b N H further on."),
        "stores the memories of all chunks in one place": Mistake(
            memory_with(("((b * N + n) * H + h)", "(b * N * H + h)")),
            "states is (B, N, H, V, K): the memory of chunk n is n H memories further on."),
        "walks from head to head in k": Mistake(
            memory_with(("k_ptr + head * K, n * C, T, H * K", "k_ptr + head * K, n * C, T, K")),
            "Tokens of one head lie H rows apart: (B, T, H, K). With stride K the next row is the next head's key."),
        "reads v with the stride of k": Mistake(
            memory_with(("v_ptr + head * V + v0, n * C, T, H * V", "v_ptr + head * K + v0, n * C, T, H * K")),
            "A row of v has V numbers, one of k has K. With K = V nobody would notice."),
        "stores the memory with rows of length V": Mistake(
            memory_with(("[:, None] * K + tl.arange(0, K)[None, :]", "[:, None] * V + tl.arange(0, K)[None, :]")),
            "A memory is (V, K): its rows have K numbers."),
        "stores the memory transposed": Mistake(
            memory_with(("[:, None] * K + tl.arange(0, K)[None, :]", "[:, None] + tl.arange(0, K)[None, :] * V")),
            "The memory is (V, K): value rows, key columns. Yours arrives as (K, V)."),
        "forgets β": Mistake(memory_with(("R_t * beta[None, :]", "R_t")),
            "The diagonal of UT is β: R goes in scaled by the write strength of each token.", "eq. 11.5"),
        "forgets the diagonal": Mistake(memory_with(("tl.trans(UT_low), R_t * beta[None, :])", "tl.trans(UT_low))")),
            "UT_low lacks its diagonal. What a token writes first of all is β times its own error.", "eq. 11.5"),
        "forgets what the tokens of a chunk do to each other": Mistake(memory_with((WRITTEN, "(R_t * beta[None, :])")),
            "β R is what each token would write if it were alone in its chunk. UT_low is missing.", "eq. 11.5"),
        "turns UT_low the wrong way": Mistake(memory_with(("tl.trans(UT_low)", "UT_low")),
            "With tokens as columns, the transpose of UT stands on the right: Xᵀ = Rᵀ UTᵀ. Without it, the future "
            "corrects the past: the wrong triangle.", "eq. 11.3"),
        "stores the memory that leaves": Mistake(
            memory_with((STORED, ""), (UPDATED, UPDATED + STORED)),
            "The outputs of a chunk need the memory that *enters* it. Store it before you update it.", "eq. 8.5"),
        "never asks the memory": Mistake(memory_with((" - tl.dot(S.to(k.dtype), tl.trans(k))", "")),
            "R is what is wrong, V − K Sᵀ. Yours writes V, as if the memory were empty in every chunk.", "eq. 11.3"),
        "takes away what it should add": Mistake(memory_with(("tl.dot(X_t, k, S)", "tl.dot(-X_t, k, S)")),
            "The memory grows by Xᵀ K.", "eq. 11.3"),
        "lays memories out by heads first": Mistake(memory_with(("(b * N + n) * H + h", "(b * H + h) * N + n")),
            "states is (B, N, H, V, K): all heads of a chunk, then the next chunk."),
        "rounds the writes where they are stored": Mistake(memory_with(rounded("tl.trans(X_t)")),
            "X is stored in the dtype of its tensor, here float32: `store_rows` sees to that."),
        "rounds the writes": Mistake(memory_with(("R_t * beta[None, :]).to(k.dtype)",
                                                  "R_t * beta[None, :]).to(tl.float16).to(k.dtype)")),
            "X is rounded to a half-precision format. Round with `.to(k.dtype)`: tiles are float32 here.", "eq. 11.5"),
        "keeps the memory in half precision": Mistake(memory_with(("tl.dot(X_t, k, S) ",
                "(S + tl.dot(X_t, k)).to(tl.float16).to(tl.float32) ")),
            "S is carried on from chunk to chunk, and rounded to float16 in each. Keep it in float32.", "eq. 11.3"),
        "adds the errors, not the writes": Mistake(memory_with(("tl.dot(X_t, k, S)", "tl.dot(R_t, k, S)")),
            "R is what is wrong. What is written is X, R through UT.", "eq. 11.3"),
        "adds the values": Mistake(memory_with(("tl.dot(X_t, k, S)", "tl.dot(tl.trans(v), k, S)")),
            "That is linear attention. What is written is X.", "eq. 11.3"),
        "stores the errors for the writes": Mistake(memory_with(("tl.trans(X_t), n", "tl.trans(R_t), n")),
            "What the outputs need is what each token writes, X, and not how wrong the memory was, R.", "eq. 8.5"),
        "gives β to the values alone": Mistake(
            memory_with(("R_t = tl.trans(v) - tl", "R_t = tl.trans(v) * beta[None, :] - tl"),
                        ("R_t * beta[None, :])", "R_t)")),
            "β scales the whole error, V − K Sᵀ, where it is written: as diag(β) of UT.", "eq. 11.5"),
        "stores the memory under the next chunk's number": Mistake(
            memory_with(("((b * N + n) * H + h)", "((b * N + n + 1) * H + h)")),
            "The memory that enters chunk n is stored under n, the first of them, which is empty, under 0.", "eq. 8.5"),
        "begins its rows at p, not at p V_TILE": Mistake(memory_with(("program % tiles * V_TILE", "program % tiles")),
            "Program p of a head starts where program p − 1 ends: at row p · V_TILE. Yours overlap.", "eq. 11.1"),
        "takes T for N in the address of states": Mistake(
            memory_with(("((b * N + n) * H + h)", "((b * T + n) * H + h)")),
            "A sequence has N memories a head, one for each chunk, and not one for each token.", "eq. 8.5"),
        "multiplies by β twice": Mistake(
            memory_with(("tl.dot(R_t.to(k.dtype), tl", "tl.dot((R_t * beta[None, :]).to(k.dtype), tl")),
            "UT_low has its diag(β) already: only the diagonal term has a β of its own.", "eq. 11.5"),
        "reads the same columns of v in every program": Mistake(
            memory_with(("v_ptr + head * V + v0, n", "v_ptr + head * V, n")),
            "The program that owns rows v0, v0 + 1, ... of the memory needs those columns of v.", "eq. 11.1"),
        "rounds R in the product": Mistake(memory_with(("tl.dot(R_t.to(k.dtype)",
                                                        "tl.dot(R_t.to(tl.bfloat16).to(k.dtype)")),
            "Tiles are float32 here, and R goes into the product with three digits. Round with `.to(k.dtype)`.",
            "eq. 11.5"),
        "adds what the memory says": Mistake(memory_with((" - tl.dot(S.to", " + tl.dot(S.to")),
            "R is the value minus what the memory says.", "eq. 11.3"),
        "keeps only what the last chunk wrote": Mistake(memory_with(("tl.dot(X_t, k, S)", "tl.dot(X_t, k)")),
            "Xᵀ K is the change. The memory was not empty before: S + Xᵀ K.", "eq. 11.3"),
        "starts every chunk with an empty memory": Mistake(memory_with(("tl.dot(X_t, k, S) ", "S * 0.0 ")),
            "The memory must survive from one pass of the loop to the next: create it before the loop.", "eq. 11.3"),
        "rounds the memory in every chunk": Mistake(memory_with(rounded("tl.dot(X_t, k, S)")),
            "S is rounded to bfloat16 once a chunk, and over thousands of chunks that adds up. Keep it in float32, and "
            "round only the copy that goes into a product.", "eq. 11.3"),
        "rounds R before β": Mistake(memory_with(rounded("tl.trans(v) - tl.dot(S.to(k.dtype), tl.trans(k))")),
            "β R is the largest part of X and need not be rounded: multiply by β first, in float32, and give the "
            "rounded R to the product with UT_low alone.", "eq. 11.5"),
        "leaves the last chunk out": Mistake(memory_with(("V // V_TILE, tl.cdiv(T, C)", "V // V_TILE, T // C")),
            "There are ⌈T / C⌉ chunks. The last one is rarely full, and it counts all the same.", next=NEXT),
        "stores all writes in the first columns of X": Mistake(
            memory_with(("X_ptr + head * V + v0", "X_ptr + head * V")),
            "The program that owns rows v0, v0 + 1, ... of the memory makes those columns of X, and stores them there.",
            "eq. 11.1"),
        "multiplies the writes by β again": Mistake(
            memory_with(("tl.dot(X_t, k, S)", "tl.dot((X_t * beta[None, :]).to(k.dtype), k, S)")),
            "X has its β already, by UT: the memory becomes S + Xᵀ K.", "eq. 11.3"),
        "walks from head to head in v": Mistake(
            memory_with(("v_ptr + head * V + v0, n * C, T, H * V", "v_ptr + head * V + v0, n * C, T, V")),
            "Tokens of one head lie H rows apart: (B, T, H, V). With stride V the next row is the next head's value."),
    },
    hints=("One program keeps V_TILE rows of one head's memory in a variable, before and through the loop over chunks.",
           "In the loop: store S, then R_t = V_t − S Kᵀ, then X_t, then S += X_t K. Tokens are columns: (V_TILE, C).",
           "`X_t = tl.dot(R_t, tl.trans(UT_low), R_t * beta[None, :])` and `S = tl.dot(X_t, k, S)`; X is stored as "
           "`tl.trans(X_t)`."),
)
