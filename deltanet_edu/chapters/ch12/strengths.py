"""Exercise 12.4: the gradient of the write strengths, and a race that the interpreter hides."""

from contextlib import suppress

import torch
import triton
import triton.language as tl

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import smallest_first
from ..kernel_answers import Answers, changed, floor_of
from .inputs import C, SHAPES, one, swept
from .launches import launch_strengths, strengths_outputs
from .tiles import rows, strengths, tokens


@triton.jit
def dbeta_kernel(
    beta_ptr, dv_ptr, writes_ptr,                  # (B, T, H), (B, T, H, V) twice
    dbeta_ptr,                                     # out: (B, T, H), zeros before
    T, H, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per chunk, head and V_TILE columns: dbeta_t = dV_t . X_t / beta_t^2 (eq. 12.3)."""
    i, head, v0 = tl.program_id(0), tl.program_id(1), tl.program_id(2) * V_TILE
    at_X, there = rows(head, i * C, T, H, V, C, v0, V_TILE)
    dV = tl.load(dv_ptr + at_X, mask=there, other=0.0).to(tl.float32)    # (C, V_TILE)  registers
    X = tl.load(writes_ptr + at_X, mask=there, other=0.0).to(tl.float32)                             # (C, V_TILE)
    strength = strengths(beta_ptr, head, i * C, T, H, C)                 # (C,)
    dbeta = tl.sum(dV * X, 1) / (strength * strength)                    # (C,)  what these columns contribute
    at, there = tokens(head, i * C, T, H, C)
    tl.atomic_add(dbeta_ptr + at, dbeta, mask=there)                     # the hardware puts the tiles in some order


@triton.jit
def one_program_for_all_columns(
    beta_ptr, dv_ptr, writes_ptr, dbeta_ptr, T, H, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """The first program of a chunk takes all columns, the others nothing: the same bits every time."""
    i, head = tl.program_id(0), tl.program_id(1)
    if tl.program_id(2) == 0:
        dbeta = tl.zeros((C,), tl.float32)
        for v0 in range(0, V, V_TILE):
            at_v, there = rows(head, i * C, T, H, V, C, v0, V_TILE)
            dV = tl.load(dv_ptr + at_v, mask=there, other=0.0).to(tl.float32)                        # (C, V_TILE)
            dbeta += tl.sum(dV * tl.load(writes_ptr + at_v, mask=there, other=0.0).to(tl.float32), 1)
        beta = strengths(beta_ptr, head, i * C, T, H, C)
        at, there = tokens(head, i * C, T, H, C)
        tl.store(dbeta_ptr + at, dbeta / (beta * beta), mask=there)


@triton.jit
def diagonal_of_a_product(
    beta_ptr, dv_ptr, writes_ptr, dbeta_ptr, T, H, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """As the package does it: the diagonal of dV X^T, each factor divided by beta first."""
    i, head, row = tl.program_id(0), tl.program_id(1), tl.arange(0, C)
    if tl.program_id(2) > 0:
        return
    beta = strengths(beta_ptr, head, i * C, T, H, C)[:, None]            # (C, 1)
    at_v, there = rows(head, i * C, T, H, V, C, 0, V)
    dZ = tl.load(dv_ptr + at_v, mask=there, other=0.0) / beta            # (C, V)
    e = tl.load(writes_ptr + at_v, mask=there, other=0.0) / beta         # (C, V)
    both = tl.dot(dZ, tl.trans(e))                                       # (C, C)
    at, there = tokens(head, i * C, T, H, C)
    tl.store(dbeta_ptr + at, tl.sum(tl.where(row[:, None] == row[None, :], both, 0.0), 1), mask=there)


def strengths_cases(g):
    made = []
    for note, shape in SHAPES.items():
        q, k, v, beta, S, do, d_final = one(g, *shape)
        beta = torch.where(beta == 0, 2.0**-50, beta)                    # as the sweeps take it
        _, X, _, dv = swept(q, k, v, beta, S, do, d_final, 0.5)
        made.append(Case((beta, dv.float(), X.float(), C), f"{note}, T = {shape[1]}, V = {shape[4]}"))
    return smallest_first(made)


ADD = "tl.atomic_add(dbeta_ptr + at, dbeta, mask=there)"
RACING = "tl.store(dbeta_ptr + at, tl.load(dbeta_ptr + at, mask=there) + dbeta, mask=there)"
SUM = "tl.sum(dV * X, 1) / (strength * strength)"


def slip(*replacements):
    return changed(dbeta_kernel, *replacements)


STORES = slip((ADD, "tl.store(dbeta_ptr + at, dbeta, mask=there)"))
STORES_ALL = changed(one_program_for_all_columns, ("(2) == 0", "(2) >= 0"))


class Summed(Answers):
    """As `launched`. Programs that store to one place meet there, whatever they store; what they load tells."""

    def same_slip(self, f, g):
        return g.answer not in (STORES, STORES_ALL) or self.loads_all(f) == self.loads_all(g)

    def loads_all(self, f):
        """Whether each of the two programs of a chunk loads all columns."""
        beta, dv, X, _ = args = strengths_cases(torch.Generator().manual_seed(0))[-1].args
        with suppress(Exception):
            f(*args)
        return f.watched is not None and f.watched.loaded > 1.5 * floor_of(beta, dv, X)


exercise(
    id="12.4", title="Right here, wrong there", kind="bug", stars=3, minutes=20, equations=("12.3",),
    reference=dbeta_kernel, alternatives=(one_program_for_all_columns, diagonal_of_a_product), cases=strengths_cases,
    prepare=Summed(launch_strengths, strengths_outputs, None, None), tolerance=1e-5,
    mutants={
        "keeps the race": Mistake(slip((ADD, RACING)),
            "One program of a chunk loads the numbers of dbeta that another one stores. The interpreter runs one "
            "after the other. On a GPU both may load before either stores, and one sum is lost. A barrier does not "
            "help: it holds the threads of one program.",
            next="Let the hardware add, `tl.atomic_add`, or let one program add up all columns."),
        "loads what other programs add to": Mistake(slip((ADD,
                "tl.atomic_add(dbeta_ptr + at, dbeta + tl.load(dbeta_ptr + at, mask=there), mask=there)")),
            "tl.atomic_add adds to what is there by itself: no load of dbeta is needed. What a program finds there "
            "depends on who was first, and if it is added once more, the sum counts it twice."),
        "lets several programs store to the same place": Mistake(STORES,
            "The programs of a chunk, one for each V_TILE columns, store the same C numbers of dbeta, and the last one "
            "wins. What the others have found in their columns is lost.",
            next="Let the hardware add, `tl.atomic_add`, or let one program add up all columns."),
        "lets every program store the sum of all columns": Mistake(STORES_ALL,
            "Each program of a chunk has loaded all columns, so each stores all of the sum, to the same place: one of "
            "them is enough.", next="Let the program with v0 = 0 do it, and the others nothing."),
        "loads the tail without a mask": Mistake(slip(("dv_ptr + at_X, mask=there, other=0.0", "dv_ptr + at_X")),
            "The last chunk need not be full: without a mask this load goes past the end of dV."),
        "stores the tail without a mask": Mistake(slip((", dbeta, mask=there)", ", dbeta)")),
            "The last chunk need not be full, and `at` has C entries all the same. Store with the mask of `tokens`."),
        "adds up the first columns only": Mistake(slip(("at, there = tokens",
                "dbeta = tl.where(v0 == 0, dbeta, 0.0)\n    at, there = tokens")),
            "Only the program with v0 = 0 contributes, with its own columns. The others' are missing.",
            next="Let that program loop over all columns."),
        "adds everything once per tile": Mistake(slip(("V, C, v0, V_TILE)", "V, C, 0, V_TILE)")),
            "Each program adds up the same columns, those from 0 on: v0 is not used."),
        "adds all columns in every program": Mistake(
            changed(one_program_for_all_columns, ("(2) == 0", "(2) >= 0"), ("tl.store(", "tl.atomic_add(")),
            "Every program of a chunk has all columns, and all of them add: the sum comes out once for each."),
        "adds all columns from its own on": Mistake(
            changed(one_program_for_all_columns, ("(2) == 0", "(2) >= 0"), ("tl.store(", "tl.atomic_add("),
                    ("range(0, V", "range(tl.program_id(2) * V_TILE, V")),
            "Every program of a chunk adds the columns from its v0 to the last: the later ones come in several times.",
            next="One program with a loop, or all of them without."),
        "keeps the last columns only": Mistake(
            changed(one_program_for_all_columns, ("dbeta += tl.sum", "dbeta = tl.sum")),
            "What is left is the sum over the last V_TILE columns. Often a loop over tiles has `=` in the place of "
            "`+=`."),
        "stores where another program adds": Mistake(slip((ADD,
                "tl.store(dbeta_ptr + at, dbeta, mask=there & (v0 == 0))\n    "
                "tl.atomic_add(dbeta_ptr + at, dbeta, mask=there & (v0 > 0))")),
            "One program of a chunk stores to the numbers to which another adds. If it comes last, it wipes out what "
            "was added: dbeta is zero before, so all can add."),
        "swaps chunk and head": Mistake(slip(("tl.program_id(0), tl.program_id(1), tl",
                                              "tl.program_id(1), tl.program_id(0), tl")),
            "The first number of a program counts chunks, the second heads: see how it is launched."),
        "takes the mean over the columns": Mistake(slip((SUM, SUM + " / V")),
            "The products of all columns are added up, and not divided by V.", "eq. 12.3"),
        "multiplies the sums": Mistake(slip(("tl.sum(dV * X, 1)", "tl.sum(dV, 1) * tl.sum(X, 1)")),
            "The sum of the products over the columns was there, dV · X, not the product of two sums.", "eq. 12.3"),
        "divides by beta four times": Mistake(slip((SUM, SUM + " / (strength * strength)")),
            "Two factors of β are too many, one of dV and one of X. Yours takes four out, as with a division in a "
            "loop and another one after it.", "eq. 12.3"),
        "keeps the largest": Mistake(slip((ADD, ADD.replace("atomic_add", "atomic_max"))),
            "tl.atomic_max keeps the largest of the contributions. Asked is their sum."),
        "adds up the wrong axis": Mistake(slip(("tl.sum(dV * X, 1)", "tl.sum(dV * X, 0)")),
            "tl.sum(..., 0) runs down the tokens, and leaves a number for each column. Axis 1 is that of the columns."),
        "takes another width for V": Mistake(slip(("T, H, V, C, v0", "T, H, V_TILE, C, v0")),
            "Rows of dV and X are V numbers long, however few columns a program takes."),
        "divides by beta once": Mistake(slip(("(strength * strength)", "strength")),
            "dV is β times its first factor, and X is β times the error: two factors of β are too many.", "eq. 12.3"),
        "forgets beta": Mistake(slip((" / (strength * strength)", "")),
            "dV is β times its first factor, and X is β times the error. The gradient of β is the product without "
            "both.", "eq. 12.3"),
        "multiplies by beta squared": Mistake(slip((" / (strength * strength)", " * (strength * strength)")),
            "Both factors carry a β that has to be taken out again: divide.", "eq. 12.3"),
        "takes a plain beta": Mistake(slip(("strength = strengths(beta_ptr, head, i * C, T, H, C)",
                "at, there = tokens(head, i * C, T, H, C)\n"
                "    strength = tl.load(beta_ptr + at, mask=there, other=1.0)\n"
                "    strength = tl.where(strength < 1e-6, 1.0, strength)")),
            "Where β is nearly nothing yours is nothing, too. But a token that hardly writes can learn to: its "
            "gradient is dz · e.",
            "eq. 12.3", next="`strengths` gives the β that the sweeps took, never nearer to 0 than 2⁻⁵⁰."),
        "rounds the products to bfloat16": Mistake(slip(("tl.sum(dV * X, 1)",
                "tl.sum((dV * X).to(tl.bfloat16).to(tl.float32), 1)")),
            "Three digits are left of each product before they are added up. Add in float32, and round what is "
            "stored."),
        "adds up over the tokens": Mistake(slip((SUM, "tl.sum(tl.sum(dV * X, 1), 0) / (strength * strength)")),
            "Each token has its own β: the sum runs over the columns of V, not over tokens."),
    },
    hints=("What do the programs (i, head, 0) and (i, head, 1) do to the same C numbers of dbeta?",
           "load, add, store are three steps, and another program may come in between. There is one instruction for "
           "all three.",
           "`tl.atomic_add(dbeta_ptr + at, dbeta, mask=there)`. Or: only the program with v0 = 0 goes on, and loops "
           "over all columns."),
)
