"""Exercise 10.8: the scores of a chunk, with their mistakes and hints. The kernel is in tiles.py."""

import torch

from ...tutor import Case, Mistake, exercise
from ..kernel_answers import changed, launched
from ..kernel_faults import ROUNDED
from . import tiles
from .problems import LOAD_TAIL, STORE_TAIL, floats
from .tiles import scores_kernel


def chunk_of_keys(g):
    sizes = [(1, 16, 1.0), (16, 16, 0.5), (20, 32, 0.25), (35, 16, 2.0)]
    return [Case((floats(g, T, K + 4)[:, :K], floats(g, T, 2 * K)[:, :K], scale), f"T = {T}, K = {K}")
            for T, K, scale in sizes]


def scores(*pairs):
    return changed(scores_kernel, *pairs)


PRODUCT, LOWER = 'tl.dot(q, tl.trans(k), input_precision="ieee")', "row[:, None] >= row[None, :]"

exercise(
    id="10.8", title="Scores of a chunk", kind="code", stars=3, minutes=20, equations=("10.1", "10.5"),
    reference=scores_kernel, alternatives=(tiles.scores_by_sums, tiles.scores_transposed_load),
    cases=chunk_of_keys, tolerance=2e-6,
    prepare=launched(tiles.launch_scores, lambda q, k, scale: torch.empty(len(q), 16), exact=True),
    mutants={
        "keeps the upper triangle": Mistake(scores((LOWER, "row[:, None] <= row[None, :]")),
            "Row t is the token that asks, column i the key that is asked: i ≤ t lies *below* the diagonal."),
        "leaves the diagonal out": Mistake(scores((LOWER, "row[:, None] > row[None, :]")),
            "A token reads what it has just written: i ≤ t, with the diagonal."),
        "masks no triangle": Mistake(scores(("    P = tl.where(row[:, None] >= row[None, :], P, 0.0)\n", "")),
            "Tokens must not see later keys: keep i ≤ t only."),
        "compares tokens of the sequence with columns of the chunk": Mistake(
            scores((LOWER, "t[:, None] >= row[None, :]")),
            "t counts tokens through the whole sequence, a column counts keys from the start of its chunk. From the "
            "second chunk on t is larger than every column, and nothing is masked. Compare `row`, or t with the key's "
            "own token.", "eq. 10.1"),
        "forgets the scale": Mistake(scores(("scale * tl.dot", "tl.dot")), "P = s · tril(QKᵀ): s is missing."),
        "multiplies by the scale twice": Mistake(scores(("scale * tl.dot", "scale * scale * tl.dot")),
                                                 "P = s · tril(QKᵀ): s comes in once."),
        "scales by 1/√K as well": Mistake(scores((f"scale * {PRODUCT}", f"scale * {PRODUCT} / tl.sqrt(1.0 * K)")),
                                          "The scale is given, and there is no other: P = s · tril(QKᵀ)."),
        "scales by 1/√K": Mistake(scores((f"scale * {PRODUCT}", f"{PRODUCT} / tl.sqrt(1.0 * K)")),
                                  "The scale is given: P = s · tril(QKᵀ), whatever K is."),
        "uses queries for keys": Mistake(scores((PRODUCT, PRODUCT.replace("(k)", "(q)"))),
                                         "That is Q Qᵀ: columns belong to keys.", "eq. 10.5"),
        "takes a softmax": Mistake(
            scores(("P, 0.0)\n", 'P, -float("inf"))\n    P = tl.exp(P - tl.max(P, 1)[:, None])\n'
                                 "    P = P / tl.sum(P, 1)[:, None]\n")),
            "The scores of linear attention go without: P = s · tril(QKᵀ), zeros above the diagonal."),
        "puts minus infinity above the diagonal": Mistake(scores(("P, 0.0)", 'P, -float("inf"))')),
            "Minus infinity is for a softmax, which makes zeros of it. Here P itself is used: zeros."),
        ROUNDED: Mistake(scores((PRODUCT, "tl.dot(q, tl.trans(k))")),
            "Without `input_precision` a product of float32 is done in tf32: its operands keep ten bits. The "
            "interpreter ignores that, a GPU does not.", "eq. 10.6"),
        "divides by the scale": Mistake(scores((f"scale * {PRODUCT}", f"{PRODUCT} / scale")),
            "The scale s is a factor: multiply by it."),
        "swaps q and k": Mistake(scores((PRODUCT, 'tl.dot(k, tl.trans(q), input_precision="ieee")')),
            "Rows belong to queries: Q Kᵀ, not K Qᵀ.", "eq. 10.5"),
        "stores transposed": Mistake(scores(("t[:, None] * C + row[None, :], P, mask=(t < T)[:, None]",
                                             "t[None, :] * C + row[:, None], P, mask=(t < T)[None, :]")),
            "Row t of P belongs to token t: `t[:, None] * C + row[None, :]`.", "eq. 10.2"),
        "loads the tail without a mask": Mistake(
            scores(("q_row + col[None, :], mask=(t < T)[:, None], other=0.0", "q_row + col[None, :]")),
            LOAD_TAIL, "eq. 10.1"),
        "stores the tail without a mask": Mistake(scores(("row[None, :], P, mask=(t < T)[:, None]", "row[None, :], P")),
                                                  STORE_TAIL, "eq. 10.1"),
        "does the first chunk in each program": Mistake(scores(("tl.program_id(0) * C + row", "row")),
            "Program p has the tokens from p · C on: there it loads, and there it stores.", "eq. 10.1"),
        "counts columns through the whole sequence": Mistake(
            scores(("t[:, None] * C + row[None, :], P", "t[:, None] * C + t[None, :], P")),
            "A row of P has C entries, one for each token of the chunk: its columns are 0 to C − 1 in every chunk.",
            "eq. 10.2"),
        "leaves columns of a short chunk unwritten": Mistake(
            scores(("P, mask=(t < T)[:, None])", "P, mask=(t < T)[:, None] & (t < T)[None, :])")),
            "A row of P has C entries in a short chunk, too. Those for tokens behind the end are zero, and have to be "
            "written; only *rows* behind the end do not exist.", "eq. 10.1"),
        "stores every chunk in the place of the first": Mistake(
            scores(("P_ptr + t[:, None]", "P_ptr + row[:, None]")),
            "Each program loads its own tokens, and stores to the rows of the first chunk: row t, not row t − p C.",
            "eq. 10.1"),
        "leaves what is above the diagonal unwritten": Mistake(
            scores(("P, mask=(t < T)[:, None])", "P, mask=(t < T)[:, None] & (row[:, None] >= row[None, :]))")),
            "The entries above the diagonal are zero, and have to be written: nobody else does."),
        "multiplies by K, not by its transpose": Mistake(scores(("tl.dot(q, tl.trans(k)", "tl.dot(q, k")),
            "Rows of q meet rows of k: Q Kᵀ, `tl.trans(k)`. With K = C the shapes fit without it.",
            "eq. 10.5"),
        "compares rows with the dimensions of a key": Mistake(scores((LOWER, "row[:, None] >= col[None, :]")),
            "P is C × C: its columns are tokens, 0 to C − 1, and not the K dimensions of a key.", "eq. 10.5"),
        "takes rows of P to be as long as keys": Mistake(
            scores(("t[:, None] * C + row[None, :], P", "t[:, None] * K + row[None, :], P")),
            "A row of P has C entries: `t[:, None] * C`. With K = C nobody would notice.", "eq. 10.2"),
        "stores as if P were T × T": Mistake(
            scores(("t[:, None] * C + row[None, :], P", "t[:, None] * T + t[None, :], P")),
            "P is (T, C), the scores within chunks alone: row t begins at t · C, and its columns are 0 to C − 1.",
            "eq. 10.2"),
        "takes the keys of the first chunk in each program": Mistake(
            scores(("k_ptr + t[:, None]", "k_ptr + row[:, None]")),
            "Queries meet the keys of their own chunk: token t for the load of k as well.", "eq. 10.1"),
        "takes the queries of the first chunk in each program": Mistake(
            scores(("q_ptr + t[:, None]", "q_ptr + row[:, None]")),
            "The queries of chunk p begin at token p · C: token t for the load of q as well.", "eq. 10.1"),
        "takes queries to lie side by side": Mistake(scores(("t[:, None] * q_row", "t[:, None] * K")),
            "q may be a part of something wider: from row to row it is q_row numbers.", "eq. 10.2"),
        "takes keys to lie side by side": Mistake(scores(("t[:, None] * k_row", "t[:, None] * K")),
            "k may be a part of something wider: from row to row it is k_row numbers.", "eq. 10.2"),
        "takes keys to lie as queries do": Mistake(scores(("t[:, None] * k_row", "t[:, None] * q_row")),
            "k has a row stride of its own, k_row.", "eq. 10.2"),
        "multiplies in bfloat16": Mistake(scores((PRODUCT, "tl.dot(q.to(tl.bfloat16), tl.trans(k).to(tl.bfloat16))")),
            "Under the interpreter a product of bfloat16 tiles multiplies bit patterns: the numbers are nonsense. "
            "Keep float32 here.", "eq. 10.6"),
        "rounds the scores to bfloat16": Mistake(scores((f"scale * {PRODUCT}",
                                                         f"(scale * {PRODUCT}).to(tl.bfloat16).to(tl.float32)")),
            "The scores are rounded to bfloat16 before they are stored in float32: two to three digits are left.",
            "eq. 10.6"),
    },
    hints=("One program, one chunk: load a (C, K) tile of q and one of k.",
           "The scores are `tl.dot(q, tl.trans(k), input_precision=\"ieee\")`, a (C, C) tile.",
           "`tl.where(row[:, None] >= row[None, :], P, 0.0)` keeps the lower triangle; the mask of loads and stores is "
           "`(t < T)[:, None]`."),
)
