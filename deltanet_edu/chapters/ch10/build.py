"""Exercise 10.10, the build of chapter 10: UT of 64 tokens in one kernel, which stands in tiles.py."""

import torch

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs
from ..kernel_answers import changed, launched
from . import tiles
from .problems import LOAD_TAIL, STORE_TAIL
from .tiles import UT_kernel


def chunks_of_64(g):
    sizes = [(1, 16, "random"), (40, 16, "repeated"), (70, 32, "random")]
    made = []
    for T, K, kind in sizes:
        k, beta = delta_inputs(g, "k beta", T=(T,), K=K, keys=(kind,), dtype=torch.float32)[0].args
        wider = torch.cat([k, torch.ones(T, 3)], 1)                      # k is a part of something wider
        made.append(Case((wider[:, :K], beta), f"T = {T}, K = {K}, {kind} keys"))
    return made


def blocks_of_16(UT):
    """Which entries of UT, (T, 64), lie how far from the diagonal, in blocks."""
    away = torch.arange(len(UT))[:, None] % 64 // 16 - torch.arange(64)[None, :] // 16
    return [("in the blocks on the diagonal", away == 0), ("in the blocks next to it", away == 1),
            ("in the blocks further down", away > 1), ("above the diagonal", away < 0)]


def UT(*pairs, **names):
    """A changed UT_kernel, with the quicker of the two ways to invert 16 x 16: there are many of them to be run."""
    return changed(UT_kernel, *pairs, **{"inverse_of_16": tiles.inverse_of_16_by_halves, **names})


def halves(*pairs):
    return changed(tiles.UT_by_halves, ("UT_by_halves", "UT_kernel"), *pairs)


def with_helper(helper, *pairs):
    """A mutant in which one of the given helpers is another."""
    return UT(**{helper: changed(getattr(tiles, helper), *pairs)})


BETA_X, LOADED = "X * beta[None, :]", "col[None, :], mask=(t < T)[:, None], other=0.0"
FIRST_DIAGONAL = "-mul(X11, mul(A10, X00)), -mul(X22, mul(A21, X11)), -mul(X33, mul(A32, X22))"
BELOW = "A10", "A21", "A20", "A31", "A32", "A30"
ZEROS = [("", 16), ("", 32), ("", 48), (" + 16", 32), (" + 16", 48), (" + 32", 48)]
OTHER_ORDER = [
    ("X20 = -mul(X22, mul(A20, X00) + mul(A21, X10))", "X20 = -mul(mul(X22, A20), X00) - mul(mul(X22, A21), X10)"),
    ("X31 = -mul(X33, mul(A31, X11) + mul(A32, X21))", "X31 = -mul(mul(X33, A31), X11) - mul(mul(X33, A32), X21)"),
]
EXACT = 'tl.dot(a, b, input_precision="ieee")'

exercise(
    id="10.10", title="Build: UT of 64 tokens", kind="open", stars=5, minutes=75, equations=("10.8",),
    reference=UT_kernel, alternatives=(tiles.UT_row_by_row, changed(UT_kernel, *OTHER_ORDER)),
    cases=chunks_of_64, tolerance=1e-5, prepare=launched(tiles.launch_UT, tiles.UT_for, most=1.0, parts=blocks_of_16),
    mutants={
        "leaves β out of the columns": Mistake(halves((BETA_X, "X")),
            "That is (I + A)⁻¹ alone: UT has diag(β) on its right.", "eq. 6.3"),
        "leaves the blocks below the diagonal at zero": Mistake(
            UT(*[(f"X{i}{j} * b{j}", f"0 * X{i}{j} * b{j}") for i in range(4) for j in range(i)]),
            "That is right for 16 tokens. Blocks of 16 correct each other as tokens do.", "eq. 10.8"),
        "takes the β of the rows in the blocks below the diagonal": Mistake(
            UT(*[(f"X{i}{j} * b{j}", f"X{i}{j} * b{i}") for i in range(4) for j in range(i)]),
            "Columns are scaled, also below the diagonal: X_ij by the strengths of block j.", "eq. 6.3"),
        "gives (I − A) diag(β)": Mistake(
            halves(("range(6)", "range(0)"), ("tl.where(i == j, 1.0, 0.0)", "tl.where(i == j, 1.0, -A)")),
            "The inverse of I + A is I − A + A² − ...: that tokens which are corrected correct others is missing.",
            "eq. 6.4"),
        "forgets β in A": Mistake(halves(("beta[:, None] * mul(k", "mul(k")),
                                  "Row t of A is scaled by β_t.", "eq. 6.2"),
        "scales rows by β": Mistake(halves((BETA_X, "X * beta[:, None]")),
            "diag(β) stands on the right of the inverse: it scales columns.", "eq. 6.3"),
        "scales the columns of A": Mistake(halves(("beta[:, None] * mul(k", "beta[None, :] * mul(k")),
            "Row t of A is scaled by its own β_t: `[:, None]`.", "eq. 6.2"),
        "gives diag(β) alone": Mistake(halves(("tl.where(i > j, beta", "tl.where(i < j, beta")),
            "As if A were zero. It has its entries below the diagonal, where i > j: is that what you keep, and does "
            "the inverse use it?", "eq. 6.2"),
        "leaves the blocks on the diagonal unmasked": Mistake(
            UT(*[(f"tl.where(lower, b{i}[:, None] * mul(k{i}, tl.trans(k{i})), 0.0)",
                  f"b{i}[:, None] * mul(k{i}, tl.trans(k{i}))") for i in range(4)], inverse_of_16=tiles.inverse_of_16),
            "`inverse_of_16` takes a *strictly* lower triangle and masks nothing. K Kᵀ has entries on and above its "
            "diagonal: `tl.where(i > j, ..., 0.0)` before it is inverted.", "eq. 6.2"),
        "keeps the diagonal of A": Mistake(
            UT(("[:, None] > tl.arange", "[:, None] >= tl.arange"), inverse_of_16=tiles.inverse_of_16),
            "A is *strictly* lower, and `inverse_of_16` masks nothing: i > j, not i >= j.", "eq. 6.2"),
        "masks blocks that are full": Mistake(
            UT(("    X10, X21, X32 =", "".join(f"    {A} = tl.where(lower, {A}, 0.0)\n" for A in BELOW)
                + "    X10, X21, X32 =")),
            "A block of A below the diagonal of blocks is full: all its tokens come after all those of its columns. "
            "Only blocks *on* the diagonal have a triangle.", "eq. 10.8"),
        "masks the blocks below the diagonal where it stores": Mistake(
            UT(*[(f"X{i}{j} * b{j}", f"tl.where(lower, X{i}{j}, 0.0) * b{j}") for i in range(4) for j in range(i)]),
            "A block below the diagonal of blocks is full: all its tokens come after all those of its columns.",
            "eq. 10.8"),
        "inverts I − A": Mistake(halves(("i > j, beta[:, None] *", "i > j, -beta[:, None] *")),
            "The system is I + A: a row is e_t *minus* what the rows above contribute.", "eq. 10.7"),
        "leaves X_ii out in the blocks further down": Mistake(
            UT(("X20 = -mul(X22, mul(A20, X00) + mul(A21, X10))", "X20 = -(mul(A20, X00) + mul(A21, X10))"),
               ("X31 = -mul(X33, mul(A31, X11) + mul(A32, X21))", "X31 = -(mul(A31, X11) + mul(A32, X21))"),
               ("X30 = -mul(X33, mul(A30, X00) + mul(A31, X10) + mul(A32, X20))",
                "X30 = -(mul(A30, X00) + mul(A31, X10) + mul(A32, X20))")),
            "The sum is what arrives in block i. What happens there afterwards is X_ii, on the left of all of it.",
            "eq. 10.8"),
        "goes detours over finished blocks": Mistake(
            UT(("X20 = -mul(X22, mul(A20, X00) + mul(A21, X10))", "X20 = mul(X21, X10) - mul(X22, mul(A20, X00))"),
               ("X31 = -mul(X33, mul(A31, X11) + mul(A32, X21))", "X31 = mul(X32, X21) - mul(X33, mul(A31, X11))"),
               ("X30 = -mul(X33, mul(A30, X00) + mul(A31, X10) + mul(A32, X20))",
                "X30 = mul(X31, X10) + mul(X32, X20) - mul(X33, mul(A30, X00))")),
            "In X_21 X_10 both have X_11 in them, so block 1 counts twice. The detour is X_22 A_21 X_10: the last hop "
            "is A, and what came before is finished.", "eq. 10.8"),
        "scales A below the diagonal by the β of the columns": Mistake(
            UT(*[(f"b{i}[:, None] * mul(k{i}, tl.trans(k{j}))", f"b{j}[None, :] * mul(k{i}, tl.trans(k{j}))")
                 for i in range(4) for j in range(i)]),
            "Row t of A is scaled by its own β_t, in all blocks: those of block i, `[:, None]`.", "eq. 6.2"),
        "leaves β out of the blocks on the diagonal": Mistake(UT(*[(f"X{i}{i} * b{i}[None, :]", f"X{i}{i}")
                                                                  for i in range(4)]),
            "All columns of the inverse are scaled by β, in the blocks on the diagonal as well.", "eq. 6.3"),
        "leaves β out of the blocks below the diagonal": Mistake(
            UT(*[(f"X{i}{j} * b{j}[None, :]", f"X{i}{j}") for i in range(4) for j in range(i)]),
            "All columns of the inverse are scaled by β, in the blocks below the diagonal as well.", "eq. 6.3"),
        "merges with the wrong sign": Mistake(UT((FIRST_DIAGONAL, FIRST_DIAGONAL.replace("-mul", "mul"))),
            "A block below the diagonal is *minus* X_ii A_ij X_jj.", "eq. 10.8"),
        "has the wrong sign in all blocks below the diagonal": Mistake(
            UT((FIRST_DIAGONAL, FIRST_DIAGONAL.replace("-mul", "mul")), *[(f"{X} = -mul", f"{X} = mul")
                                                                         for X in ("X20", "X31", "X30")]),
            "A block below the diagonal is *minus* X_ii times the sum.", "eq. 10.8"),
        "leaves X_ii out next to the diagonal": Mistake(
            UT((FIRST_DIAGONAL, "-mul(A10, X00), -mul(A21, X11), -mul(A32, X22)")),
            "The hop from block j to block i is A_ij. What happens in block i afterwards is X_ii, on its left.",
            "eq. 10.8"),
        "exchanges X_ii and X_jj": Mistake(
            UT((FIRST_DIAGONAL, "-mul(X00, mul(A10, X11)), -mul(X11, mul(A21, X22)), -mul(X22, mul(A32, X33))")),
            "Read from right to left: first block j, then the hop, then block i. X_ii A_ij X_jj.", "eq. 10.8"),
        "leaves one detour out": Mistake(UT((" + mul(A32, X20)", "")),
            "From block 0 to block 3 the last hop may come from block 0, 1 *or* 2: three terms.", "eq. 10.8"),
        "has blocks transposed": Mistake(UT(("A10, A21 = b1[:, None] * mul(k1, tl.trans(k0))",
                                             "A10, A21 = b1[:, None] * mul(k0, tl.trans(k1))")),
            "In A_10 the rows are the tokens of block 1: K_1 K_0ᵀ.", "eq. 6.2"),
        "has all blocks transposed": Mistake(UT(
            *[(f"mul(k{i}, tl.trans(k{j}))", f"mul(k{j}, tl.trans(k{i}))") for i in range(4) for j in range(i)]),
            "In A_ij the rows are the tokens of block i, the later one: K_i K_jᵀ.", "eq. 6.2"),
        "goes over block 1 without leaving block 0": Mistake(UT(("mul(A21, X10))", "mul(A21, X11))")),
            "The way from block 0 over block 1 to block 2 begins in block 0: X_10 brings it to block 1, and A_21 "
            "further. X_11 begins in block 1.", "eq. 10.8"),
        "begins its chunk at token 16 p": Mistake(UT(("tl.program_id(0) * 64", "tl.program_id(0) * 16")),
            "A chunk has 64 tokens, so program p begins at token 64 p. 16 is the length of a block.", "eq. 10.1"),
        "ignores how far apart the keys lie": Mistake(UT(*[(f"{at}, T, k_row, K)", f"{at}, T, K, K)") for at in
                                                            ("beta_ptr, c", "c + 16", "c + 32", "c + 48")]),
            "k is a part of something wider: from row to row it is k_row numbers.", "eq. 10.2"),
        "leaves detours out": Mistake(UT(("mul(A20, X00) + mul(A21, X10)", "mul(A20, X00)"),
                                         ("mul(A31, X11) + mul(A32, X21)", "mul(A31, X11)"),
                                         ("mul(A30, X00) + mul(A31, X10) + mul(A32, X20)", "mul(A30, X00)")),
            "From block 0 to block 2 there is also the way over block 1: the sum runs over all blocks between.",
            "eq. 10.8"),
        "uses keys of the wrong block": Mistake(UT(("A20, A31 = b2[:, None] * mul(k2, tl.trans(k0))",
                                                    "A20, A31 = b2[:, None] * mul(k2, tl.trans(k1))")),
            "A_20 holds the overlaps of block 2 with block *0*.", "eq. 10.8"),
        "leaves what is above the diagonal unwritten": Mistake(
            UT(*[(f"    store_16(UT_ptr, c{first}, {column}, T, zero)\n", "") for first, column in ZEROS]),
            "The blocks above the diagonal are zero, and have to be written: nobody else does."),
        "loads the tail without a mask": Mistake(with_helper("rows_of_16", (LOADED, "col[None, :]")), LOAD_TAIL),
        "stores the tail without a mask": Mistake(with_helper("store_16", ("block, mask=(t < T)[:, None]", "block")),
                                                  STORE_TAIL),
        "does the first chunk in each program": Mistake(UT(("tl.program_id(0) * 64", "0")),
                                                        "Program p starts at token 64 p.", "eq. 10.1"),
        "rounds products to bfloat16": Mistake(
            with_helper("mul", (EXACT, f"{EXACT}.to(tl.bfloat16).to(tl.float32)")),
            "Every product is rounded to bfloat16, and later blocks build on it: keep float32 until the store.",
            "eq. 10.6"),
        "forgets β": Mistake(halves(("beta[:, None] * mul(k", "mul(k"), (BETA_X, "X")),
            "β scales the rows of A, and the columns of the inverse.", "eq. 6.2 and 6.3"),
    },
    hints=("Four blocks of 16 tokens. First A of each block on the diagonal, and its inverse by 10.9.",
           "Then the blocks below, one diagonal after the other: those next to the diagonal are −X_ii A_ij X_jj.",
           "X_20 = −X_22 (A_20 X_00 + A_21 X_10), and so on. At the end, columns times β, and zeros above the "
           "diagonal."),
)
