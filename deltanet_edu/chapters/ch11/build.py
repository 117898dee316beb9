"""Exercise 11.5: a forward pass from an empty cell begins; it goes on in memory.py, outputs.py and whole.py."""

import triton

from ...tutor import Mistake, exercise
from ..kernel_answers import by_sequences, changed, launched
from .forward import corner, grow, inverse_kernel, load_rows, load_strengths, store_rows
from .inputs import cases, corners
from .other_ways import inverse_by_corners, inverse_by_substitution, inverse_upside_down

# -- mistakes that every stage can have --------------------------------------------------------------------------------

NO_LOAD_MASK = changed(load_rows, (", mask=(t < T)[:, None], other=0.0", ""))
NO_STRENGTH_MASK = changed(load_strengths, (", mask=t < T, other=0.0", ""))
NO_STORE_MASK = changed(store_rows, (", mask=(t < T)[:, None]", ""))
LOAD = ("The last chunk of a sequence is rarely full. Rows behind the last token belong to the next sequence, or to "
        "nobody: a GPU may stop there.")
STORE = "Rows behind the last token are not yours: they belong to the next sequence of the batch, or to nobody."
MEETS = ("Your mask asks whether a row is still inside the *tensor*. Behind the last token of one sequence lies the "
         "first of the next, and its own program writes there too. Which of them comes last, nobody knows.")
HEADS_APART = ("Tensors are (B, T, H, ...): the heads of a token lie side by side, from token to token it is H rows. "
               "Yours takes a head to lie in one piece, its tokens one behind the other.")
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
        "takes the tensors for (B, H, T, ...)": Mistake(
            inverse_with(("head = b * T * H + h", "head = (b * H + h) * T"),
                         ("first, T, H * K, C, K", "first, T, K, C, K"), ("first, T, H, C)", "first, T, 1, C)"),
                         ("UT_low, first, T, H * C, C, C", "UT_low, first, T, C, C, C")), HEADS_APART),
        "stores rows of C numbers side by side": Mistake(inverse_with(("UT_low, first, T, H * C, C, C",
                                                                       "UT_low, first, T, C, C, C")),
            "UT_low is (B, T, H, C): from token to token it is H · C numbers, since the other heads lie in between."),
    },
    hints=("Which chunk, head and sequence is program number p? Any numbering will do: divide and take remainders.",
           "A = K Kᵀ times β of the row. Then T1 begins as the identity, and each level subtracts T1 A⌞ T1.",
           "The corner of a level: `((row >> level) % 2 == 1) & (col >> level == (row >> level) - 1)`. At the end "
           "multiply by `beta[None, :]` and keep what is strictly below the diagonal."),
)
