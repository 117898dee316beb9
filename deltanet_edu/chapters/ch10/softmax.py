"""Exercises 10.4 and 10.5: rows and their exponentials, with their mistakes and hints. The kernels are in rows.py."""

import torch

from ...tutor import Case, Mistake, exercise
from ..kernel_answers import changed, launched
from ..kernel_faults import TRAFFIC
from . import rows
from .problems import LOAD_TAIL, STORE_TAIL, floats
from .rows import logsumexp_kernel, softmax_kernel

# -- 10.4 --------------------------------------------------------------------------------------------------------------

def logits(g):
    made = []
    for n, N, shift in ((1, 1, 0), (2, 3, 0), (2, 8, 0), (3, 11, -30), (2, 13, 300), (2, 5, -200)):
        whole = floats(g, n, N + 2) + shift
        made.append(Case((whole[:, :N],), f"N = {N}" + (f", logits near {shift}" if shift else "")))
    return made


def softmax(*pairs):
    return changed(softmax_kernel, *pairs)


FILL, E = '-float("inf")', "tl.exp(x - tl.max(x, 0))"

exercise(
    id="10.4", title="Find the bug: softmax", kind="bug", stars=2, minutes=10, equations=("10.3",),
    reference=softmax_kernel, alternatives=(rows.softmax_masked_late, rows.softmax_by_logarithm),
    cases=logits, tolerance=1e-5, prepare=launched(rows.launch_softmax, rows.part_of_something_wider, most=1.0),
    mutants={
        "fills the tail with zeros": Mistake(softmax((FILL, "0.0")),
            "Beyond the end of a row there are zeros, put there by `other`, or by chance if there is no `other`: a "
            "mask does not make a tile shorter. exp(0 − m) is a number like any other, and part of your sum. Rows of "
            "8 have no tail, so they are right.", "eq. 10.3", next="Which number x has exp(x) = 0?"),
        "fills the tail with zeros, and leaves the maximum out": Mistake(softmax((FILL, "0.0"), (E, "tl.exp(x)")),
            "exp of large logits is infinite: the maximum has to be taken off first. And a tail of zeros adds to the "
            "sum.", "eq. 10.3"),
        "takes exponentials of the logits as they are": Mistake(softmax((E, "tl.exp(x)")),
            "exp(300) is infinite in float32, and exp(−200) zero. With the maximum taken off *before* exp, the largest "
            "is exp(0) = 1.", "eq. 10.3"),
        "stores the tail without a mask": Mistake(softmax(("tl.sum(e, 0), mask=j < N", "tl.sum(e, 0)")), STORE_TAIL),
        "loads the tail without a mask": Mistake(softmax(('j, mask=j < N, other=-float("inf")', "j")), LOAD_TAIL),
        "does the same row in each program": Mistake(softmax(("tl.program_id(0)", "0")),
            "Row tl.program_id(0) belongs to this program. Yours all do the first."),
        "stores every row in the place of the first": Mistake(softmax(("row * o_row + j", "j")),
            "Each program loads its own row, and stores it to the first: `row * o_row` is missing.", "eq. 10.2"),
        "loads rows as if they lay side by side": Mistake(softmax(("row * x_row", "row * N")),
            "From row to row of x it is x_row numbers, which need not be N: x may be a part of something wider.",
            "eq. 10.2"),
        "stores rows as if they lay side by side": Mistake(softmax(("row * o_row", "row * N")),
            "From row to row of o it is o_row numbers, which need not be N: o may be a part of something wider.",
            "eq. 10.2"),
        "returns the exponentials": Mistake(softmax(("e / tl.sum(e, 0)", "e")),
            "Each row has to be divided by its sum. Divided by its largest, which is 1, it stays as it is."),
        "gets NaN in every row with a tail": Mistake(softmax((FILL, 'float("inf")')),
            "NaN comes from ∞ − ∞ or ∞/∞: behind the end stands an infinity that gets into the maximum, or into "
            "whatever is taken off. Plus infinity does, and minus infinity in a minimum or a mean. In a maximum "
            "*minus* infinity changes nothing.", "eq. 10.3", next="Which number x has exp(x) = 0?"),
        "takes off far more than the maximum, where logits are low": Mistake(
            softmax((FILL, "0.0"), (E, f"tl.where(j < N, {E}, 0.0)")),
            "Near −200 every exponential vanishes, and 0/0 is NaN: what you take off is not the largest logit, but a "
            "number far above it, such as a 0 behind the end.", "eq. 10.3"),
        "returns the logarithm": Mistake(
            softmax(("e / tl.sum(e, 0), mask", "x - tl.max(x, 0) - tl.log(tl.sum(e, 0)), mask")),
            "That is the logarithm of the softmax. Asked are the shares themselves: e divided by its sum."),
        "divides by how many there are": Mistake(softmax(("/ tl.sum(e, 0)", "/ N")),
            "Each row has to be divided by the *sum* of its exponentials, so that it adds up to 1."),
        "fills the tail with a number that is not small enough": Mistake(softmax((FILL, "-100.0")),
            "Logits near −200 are smaller than what you fill in. Only minus infinity is smaller than all.", "eq. 10.3"),
        "fills the tail with −200": Mistake(softmax((FILL, "-200.0")),
            "Where the logits themselves are near −200, exp(−200 − m) is part of your sum. Only minus infinity adds "
            "nothing to any row.", "eq. 10.3", next="Which number x has exp(x) = 0?"),
        "fills the tail with −1": Mistake(softmax((FILL, "-1.0")),
            "exp(−1 − m) is small, but it is part of your sum, and where all logits are below −1 it is the maximum. "
            "Only minus infinity adds nothing.", "eq. 10.3", next="Which number x has exp(x) = 0?"),
        "takes the tail off as if each entry were one": Mistake(
            softmax((FILL, "0.0"), ("/ tl.sum(e, 0)", "/ (tl.sum(e, 0) - (B - N))")),
            "Each entry behind the end has added exp(0 − m) to the sum, and not 1: the maximum was taken off there, "
            "too.", "eq. 10.3"),
        "counts each entry of the tail as 1": Mistake(
            softmax((E, "tl.exp(tl.where(j < N, x - tl.max(x, 0), 0.0))")),
            "What is 0 before exp is 1 after it, and part of your sum: B − N of them. Put zeros there *after* exp, or "
            "minus infinity before.", "eq. 10.3", next="Which number x has exp(x) = 0?"),
        "divides by the sum of the logits": Mistake(
            softmax(("/ tl.sum(e, 0)", "/ tl.sum(tl.where(j < N, x, 0.0), 0)")),
            "Shares add up to 1: the *exponentials* are divided by their own sum."),
        "shares out the logits": Mistake(softmax(("e / tl.sum(e, 0), mask", "(x - tl.max(x, 0)) / tl.sum(e, 0), mask")),
            "The exponentials are divided by their sum, and not the logits less the maximum."),
        "lets one number too few in": Mistake(softmax(('j, mask=j < N, other', 'j, mask=j < N - 1, other'),
                                                      ("tl.sum(e, 0), mask=j < N", "tl.sum(e, 0), mask=j < N - 1")),
            "The last entry is N − 1, and it is inside: j < N.", "eq. 10.1"),
        "stores rows as far apart as those of x": Mistake(softmax(("row * o_row", "row * x_row")),
            "o has a row stride of its own, o_row: that was right as it stood.", "eq. 10.2"),
        "sums in bfloat16": Mistake(softmax(("/ tl.sum(e, 0)", "/ tl.sum(e, 0).to(tl.bfloat16).to(tl.float32)")),
            "The sum is rounded to bfloat16: rows no longer add up to 1."),
        TRAFFIC: Mistake(
            softmax(("    e =", '    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=-float("inf"))\n    e =')),
            "A row fits into registers: load it once, take the maximum and the sum of what you have."),
    },
    hints=("For which lengths of a row is it right? What is in the tile where the row has ended?",
           "Those entries must change neither the maximum nor the sum.",
           'exp(−∞) = 0: `other=-float("inf")`.'),
)


# -- 10.5 --------------------------------------------------------------------------------------------------------------

def long_rows(g):
    sizes = [(1, 1, 0), (2, 16, 0), (3, 20, 0), (2, 45, -200), (2, 45, 300), (1, 64, 5)]
    made = [Case(((3 * floats(g, n, N + 2) + shift)[:, :N],), f"N = {N}" + (f", logits near {shift}" if shift else ""))
            for n, N, shift in sizes]
    falling = torch.arange(100.0, -100.0, -5.0)[None]
    return [*made, Case((falling,), "falling logits"), Case((falling.flip(1),), "rising logits")]


def lse(*pairs):
    return changed(logsumexp_kernel, *pairs)


RESCALED = "total * tl.exp(largest - new)"

exercise(
    id="10.5", title="Long rows in one pass", kind="code", stars=3, minutes=20, equations=("10.3",),
    reference=logsumexp_kernel, alternatives=(rows.logsumexp_by_lanes, rows.logsumexp_pairwise),
    cases=long_rows, tolerance=2e-6,
    prepare=launched(rows.launch_logsumexp, lambda x: torch.empty(len(x)), most=1.0),
    mutants={
        "does not rescale the sum": Mistake(lse((RESCALED, "total")),
            "Your sum so far was of exp(x − m) with the *old* m. With a new m each of its terms has to be multiplied "
            "by exp(m_old − m_new).", "eq. 10.3"),
        "brings the new block in without its factor": Mistake(
            lse(("tl.exp(x - new), 0)", "tl.exp(x - tl.max(x, 0)), 0)")),
            "The sum of a block with its own maximum taken off is one of exp(x − m_block). It needs the factor "
            "exp(m_block − m), as the old sum needs exp(m_old − m); or take m off from the start.", "eq. 10.3"),
        "adds sums of different maxima": Mistake(
            lse((f"{RESCALED} + tl.sum(tl.exp(x - new), 0)", "total + tl.sum(tl.exp(x - tl.max(x, 0)), 0)")),
            "Each block has its own maximum taken off, so their sums cannot be added as they are: one has the factor "
            "exp(m_block − m), and the sum so far exp(m_old − m).", "eq. 10.3"),
        "rescales the wrong way": Mistake(
            lse((RESCALED, "total * tl.where(total > 0, tl.exp(new - largest), 0.0)")),
            "A larger maximum makes the old terms *smaller*: the factor is exp(m_old − m_new), at most 1.", "eq. 10.3"),
        "gets NaN for every row": Mistake(lse((RESCALED, "total * tl.exp(new - largest)")),
            "Somewhere stands 0 · ∞ or ∞ − ∞. If you begin with a maximum of −∞, the factor exp(m_old − m_new) of the "
            "first block is 0; the other way round, exp(m_new − m_old), it is infinite.", "eq. 10.3"),
        "rescales the new block as well": Mistake(
            lse((f"{RESCALED} + tl.sum(tl.exp(x - new), 0)",
                 "(total + tl.sum(tl.exp(x - new), 0)) * tl.exp(largest - new)")),
            "The sum of this block has been taken with the new maximum already: only the old sum is multiplied.",
            "eq. 10.3", next="What is exp(largest − new) in the first block, where largest is −∞?"),
        "takes off far more than the maximum, where logits are low": Mistake(
            lse(('largest, total = -float("inf")', "largest, total = 0.0")),
            "Near −200 every exponential vanishes, and so does the sum: what you take off is far above the logits, "
            "such as a 0 from the start or from behind the end. Minus infinity in both.", "eq. 10.3"),
        "grows infinite where logits fall": Mistake(lse(("tl.maximum(largest, tl.max(x, 0))", "tl.max(x, 0)")),
            "The maximum is over all blocks so far. With that of the last block alone, which may be far smaller, "
            "exp(m_old − m_new) is infinite.", "eq. 10.3"),
        "grows infinite where logits rise": Mistake(
            lse(("tl.maximum(largest, tl.max(x, 0))", "tl.where(start == 0, tl.max(x, 0), largest)")),
            "The maximum is over all blocks so far. With that of the first block, which may be far smaller, exp(x − m) "
            "of a later one is infinite.", "eq. 10.3"),
        "takes exponentials of the logits themselves": Mistake(
            lse(("tl.maximum(largest, tl.max(x, 0))", "0.0 * tl.max(x, 0)"),
                ('largest, total = -float("inf")', "largest, total = 0.0")),
            "exp(300) is infinite in float32, and exp(−200) is zero. Take the largest number so far off first, and add "
            "it as a number at the end, outside of the logarithm.", "eq. 10.3"),
        "gives minus infinity for every row": Mistake(lse(("        largest = new\n", "")),
            "At the end either the maximum is still the −∞ of the start, as without `largest = new`, or the sum is 0, "
            "and its logarithm −∞.", "eq. 10.3"),
        "gives infinity for every row": Mistake(lse(("tl.exp(x - new)", "tl.exp(x - largest)")),
            "If you begin with a maximum of −∞, exp(x − m_old) is infinite in the first block, and so is "
            "exp(m_new − m_old). Take the new maximum off; the old sum has the factor exp(m_old − m_new).", "eq. 10.3"),
        "forgets the earlier blocks": Mistake(lse((f"{RESCALED} + ", "")),
            "The sum so far is overwritten: rescale it, and add this block to it.", "eq. 10.3"),
        "takes the logarithm to base 2": Mistake(lse(("tl.log(total)", "tl.log2(total)")),
                                                 "Asked is the natural logarithm, tl.log."),
        "takes rows to lie side by side": Mistake(lse(("tl.program_id(0) * x_row", "tl.program_id(0) * N")),
            "x is a part of something wider: from row to row it is x_row numbers.", "eq. 10.2"),
        "forgets the logarithm": Mistake(lse(("largest + tl.log(total)", "largest + total")),
            "Asked is log Σ exp(x) = m + log Σ exp(x − m)."),
        "takes the maximum off once more": Mistake(lse(("largest + tl.log(total)", "tl.log(total) - largest")),
            "exp(x − m) has lost m, and it comes back at the end: log Σ exp(x) = m + log Σ exp(x − m).", "eq. 10.3"),
        "gives the factor to the new block, not to the old sum": Mistake(
            lse((f"{RESCALED} + tl.sum(tl.exp(x - new), 0)",
                 "total + tl.sum(tl.exp(x - new), 0) * tl.exp(largest - new)")),
            "exp(m_old − m_new) is for the sum so far, which was taken with the old maximum. The new block has the new "
            "maximum taken off already.", "eq. 10.3"),
        "adds up the results of the blocks": Mistake(
            lse(("new = tl.maximum(largest, tl.max(x, 0))", "new = tl.max(x, 0)"),
                ('largest, total = -float("inf"), 0.0', "largest, total = 0.0, 1.0"),
                (f"{RESCALED} + tl.sum(tl.exp(x - new), 0)", "1.0"),
                ("largest = new", "largest += new + tl.log(tl.sum(tl.exp(x - new), 0))")),
            "The logarithm of a sum is not the sum of logarithms: add the *sums* of the blocks, brought to one "
            "maximum, and take the logarithm at the end.", "eq. 10.3"),
        "keeps the largest of the blocks' results": Mistake(
            lse(("new = tl.maximum(largest, tl.max(x, 0))", "new = tl.max(x, 0)"),
                ('-float("inf"), 0.0', '-float("inf"), 1.0'), (f"{RESCALED} + tl.sum(tl.exp(x - new), 0)", "1.0"),
                ("largest = new", "largest = tl.maximum(largest, new + tl.log(tl.sum(tl.exp(x - new), 0)))")),
            "All entries of a row are in one sum: blocks are added, brought to one maximum, and not compared.",
            "eq. 10.3"),
        "forgets to add the maximum": Mistake(lse(("largest + tl.log(total)", "tl.log(total)")),
            "The sum was taken of exp(x − m): log Σ exp(x) = m + log Σ exp(x − m).", "eq. 10.3"),
        "returns the sum": Mistake(lse(("largest + tl.log(total)", "total")),
            "Asked is log Σ exp(x) = m + log Σ exp(x − m).", "eq. 10.3"),
        "returns the maximum": Mistake(lse(("largest + tl.log(total)", "largest")),
                                       "The logarithm of the sum is missing."),
        "loads the tail without a mask": Mistake(lse(('j, mask=j < N, other=-float("inf")', "j")), LOAD_TAIL),
        "fills the tail with zeros": Mistake(lse(('other=-float("inf")', "other=0.0")),
            "Behind the end of a row, exp(0 − m) is added to the sum, and 0 may be taken for the maximum.", "eq. 10.3"),
        "reads the first block only": Mistake(lse(("range(0, N, B)", "range(0, B, B)")),
            "A row may be longer than a tile: a loop over blocks."),
        "leaves the tail out": Mistake(lse(("range(0, N, B)", "range(0, N - B + 1, B)")),
            "The last block may be a part of one. It has to be read, too, with a mask.", "eq. 10.1"),
        "stores all results in one place": Mistake(lse(("o_ptr + tl.program_id(0), largest", "o_ptr, largest")),
            "Every program stores to the first entry, and whoever comes last is read: entry p belongs to program p.",
            "eq. 10.4"),
        "rounds the sum to bfloat16": Mistake(lse(("tl.sum(tl.exp(x - new), 0)",
                                                   "tl.sum(tl.exp(x - new), 0).to(tl.bfloat16).to(tl.float32)")),
            "The sum is carried from block to block, and keeps three digits in each. Leave it in float32.", "eq. 10.6"),
        "ignores where its row begins": Mistake(lse(("x_ptr += tl.program_id(0) * x_row", "x_ptr += 0")),
            "Program p reads row p, which begins p · x_row numbers further on.", "eq. 10.2"),
        TRAFFIC: Mistake(changed(logsumexp_kernel,
            ('    largest, total = -float("inf"), 0.0',
             '    largest, total = -float("inf"), 0.0\n    for start in range(0, N, B):\n'
             '        j = start + tl.arange(0, B)\n'
             '        largest = tl.maximum(largest, tl.max(tl.load(x_ptr + j, mask=j < N, other=-float("inf")), 0))')),
            "Two passes, one for the maximum and one for the sum, read everything twice. One pass is enough if the sum "
            "is rescaled whenever the maximum grows."),
    },
    hints=("Keep two numbers, the largest so far and the sum of exp(x − largest) so far. What happens to the sum when "
           "the largest grows?",
           "All terms of the old sum have to be multiplied by exp(old − new).",
           "`total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), 0)`, then `largest = new`; at the end "
           "`largest + tl.log(total)`."),
)
