"""Exercises 10.1 to 10.3, 10.6, 10.7 and 10.9: their mistakes and hints. The kernels are in rows.py and tiles.py."""

import torch
import triton
import triton.language as tl

from ...ops.delta_rule.householder import ut_system
from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import normal, strengths, unit_keys
from ..kernel_answers import changed, launched
from ..kernel_faults import REJECTED, TRAFFIC
from . import rows, tiles
from .rows import add_kernel, column_sums_kernel, write_kernel
from .tiles import matmul_kernel, triangle_kernel

LOAD_TAIL = ("The last tile sticks out of the tensor: what lies behind it is loaded. On a CPU that is some "
             "number, on a GPU perhaps the end of the program.")
STORE_TAIL = "The last tile sticks out of the tensor, and the store writes over what lies behind it."


def floats(g, *shape, step=1):
    """Normal numbers of one digit in float32; with step 2, every second of the last dimension of something larger."""
    return normal(g, *shape[:-1], shape[-1] * step, dtype=torch.float32)[..., ::step]


# -- 10.1 --------------------------------------------------------------------------------------------------------------

exercise(
    id="10.1", title="How many programs?", kind="predict", stars=1, minutes=5, equations=("10.1",),
    reference=(9, 58),
    mutants={
        "rounds down": Mistake((4, 58), "5 rows need three tiles of 2, and 70 columns three tiles of 32: round up, "
                                        "or the ends of rows and columns belong to nobody.", "eq. 10.1"),
        "rounds down, and finds the last tile full": Mistake((4, 0), "5 rows need three tiles of 2, and 70 columns "
            "three tiles of 32: round up. Then the last tile is not full: it sticks out at two sides.", "eq. 10.1"),
        "counts what is inside": Mistake((9, 6), "The last tile has 1 row of 2 and 6 columns of 32 inside: 6 entries. "
                                                 "Asked are those that the mask switches off."),
        "rounds the grid up to powers of two": Mistake((16, 58), "Tiles have sizes that are powers of two. A grid may "
                                                              "have any size: 3 · 3 tiles, 9 programs.", "eq. 10.1"),
        "counts tiles along one side": Mistake((3, 58), "Three tiles of 2 rows, and three of 32 columns: a tile is one "
                                                        "of each, so there are 3 · 3 programs.", "eq. 10.1"),
        "takes 26 of the 64 away": Mistake((9, 38), "26 columns of the last tile do not exist. Of its two "
            "rows one exists: 26 of its entries are off, and all 32 of the other's.", "eq. 10.1"),
        "finds five entries inside": Mistake((9, 59), "Columns 64 to 69 are six, both ends counted, and one row "
                                                      "exists: 6 entries of 64 are inside.", "eq. 10.1"),
        "masks the columns only": Mistake((9, 52), "The last tile also has a row too many: row 5 does not exist, so 32 "
                                                   "more of its entries are off, but each counts once."),
        "masks the rows only": Mistake((9, 32), "Columns 70 to 95 do not exist either."),
        "counts the corner twice": Mistake((9, 84), "32 entries in the row too many and 52 in the columns too many "
                                                    "share 26: each counts once."),
        "finds six tiles": Mistake((6, 58), "Six would be 3 + 3, or what one long row of 350 entries needs. But "
                                            "tiles are rectangles, three by three of them.", "eq. 10.1"),
        "masks one row's columns, or what is outside both ways": Mistake((9, 26), "An entry is off if its row *or* "
            "its column does not exist. 26 are off in the row that exists, and in the row too many all 32, not only "
            "the 26 that are outside both ways."),
        "counts the whole tile": Mistake((9, 64), "A mask that switches off all 64 would leave nothing to do: 6 of "
                                                  "them exist."),
        "lets the mask switch nothing off": Mistake((9, 0), "The last tile sticks out at two sides: of its 64 entries "
                                                            "only 6 exist."),
        "counts what all the tiles have too much": Mistake((9, 226), "9 · 64 − 350 = 226 entries are off in all the "
                                                                     "tiles. Asked are those of the last one."),
        "leaves one program out": Mistake((8, 58), "Three by three tiles: the grid has 9 programs, the last of them "
                                                   "number 8.", "eq. 10.1"),
        "is off by one entry": Mistake((9, 57), "Rows 4 and columns 64 to 69 exist: 1 · 6 = 6 entries, so 58 of 64 are "
                                                "off."),
        "adds the two numbers of tiles, and masks one row": Mistake((6, 26), "The grid is a rectangle of 3 · 3 "
            "programs, and in the last tile a whole row does not exist besides.", "eq. 10.1"),
        "cuts up one long row, and counts its last tile": Mistake((6, 34), "350 entries in a row would leave 34 of a "
            "sixth tile empty. But tiles are rectangles, and they stick out at two sides.", "eq. 10.1"),
        "adds the two numbers of tiles": Mistake((6, 6), "Three by three tiles make 9 programs: the grid is a "
                                                         "rectangle, too.", "eq. 10.1"),
    },
    hints=("How many tiles of 2 cover 5 rows, and how many tiles of 32 cover 70 columns?",
           "The last program has rows 4 and 5, and columns 64 to 95. Which of them exist?",
           "1 row and 6 columns exist: 6 of 2 · 32 = 64 entries are inside."),
    why="cdiv(5, 2) · cdiv(70, 32) = 3 · 3. The last tile holds row 4 and columns 64 to 69: 6 of its 64 entries.",
)


# -- 10.2 --------------------------------------------------------------------------------------------------------------

def two_vectors(g):
    sizes = [(1, 1, 1), (7, 2, 1), (16, 1, 1), (37, 1, 3), (37, 2, 1)]
    return [Case((floats(g, n, step=x), floats(g, n, step=y)), f"n = {n}, strides {x} and {y}") for n, x, y in sizes]


def add(*pairs):
    return changed(add_kernel, *pairs)


FIRST = "tl.program_id(0) * B"
OWN, X, Y = f"{FIRST} + tl.arange(0, B)", "i * x_stride, mask=inside", "i * y_stride, mask=inside"

exercise(
    id="10.2", title="A sum", kind="code", stars=1, minutes=10, equations=("10.1", "10.2"),
    reference=add_kernel, alternatives=(rows.add_one_by_one, rows.add_from_moved_pointers),
    cases=two_vectors, tolerance=1e-6, prepare=launched(rows.launch_add, lambda x, y: torch.empty(len(x)), most=1.0),
    mutants={
        "loads the tail without a mask": Mistake(add((X, "i * x_stride"), (Y, "i * y_stride")), LOAD_TAIL, "eq. 10.1"),
        "loads the tail of y without a mask": Mistake(add((Y, "i * y_stride")), LOAD_TAIL, "eq. 10.1"),
        "stores the tail without a mask": Mistake(add(("x + y, mask=inside", "x + y")), STORE_TAIL, "eq. 10.1"),
        "lets one number too many in": Mistake(add(("i < n", "i <= n")),
            "Entries are numbered from 0, so the last is n − 1. With i <= n you touch entry n.", "eq. 10.1"),
        "lets one number too few in": Mistake(add(("i < n", "i < n - 1")),
            "The last entry is n − 1, and it is inside: i < n.", "eq. 10.1"),
        "takes the numbers of x and y to lie side by side": Mistake(add((X, "i, mask=inside"), (Y, "i, mask=inside")),
            "Entry i of x lies i · x_stride numbers behind the first. In a column of a matrix that is not i.",
            "eq. 10.2"),
        "steps by the stride within a tile only": Mistake(
            add((X, f"{FIRST} + tl.arange(0, B) * x_stride, mask=inside"),
                (Y, f"{FIRST} + tl.arange(0, B) * y_stride, mask=inside")),
            "Entry i of x lies i · x_stride numbers behind the first, with the whole of i: where the tile begins is "
            "multiplied as well.", "eq. 10.2"),
        "compares places in memory with n": Mistake(add(("i < n", "i * x_stride < n")),
            "n says how many *entries* there are, so i is compared with it. How far apart they lie does not matter.",
            "eq. 10.1"),
        "compares each vector's places in memory with n": Mistake(
            add((X, "i * x_stride, mask=i * x_stride < n, other=0.0"), (Y, "i * y_stride, mask=i * y_stride < n, "
                                                                          "other=0.0")),
            "n says how many *entries* there are, so i is compared with it. How far apart they lie does not matter.",
            "eq. 10.1"),
        "stores with the stride of x": Mistake(add(("o_ptr + i, x + y", "o_ptr + i * x_stride, x + y")),
            "The entries of o lie side by side: o has no stride among the arguments. x's is for x.", "eq. 10.2"),
        "uses the stride of y for x": Mistake(add((X, "i * y_stride, mask=inside")),
            "x and y may lie differently in memory: each has its own stride.", "eq. 10.2"),
        "stores with the stride of y": Mistake(add(("o_ptr + i, x + y", "o_ptr + i * y_stride, x + y")),
            "The entries of o lie side by side: o has no stride among the arguments. y's is for y.", "eq. 10.2"),
        "loads the same tile in each program": Mistake(
            add((X, "tl.arange(0, B) * x_stride, mask=inside"), (Y, "tl.arange(0, B) * y_stride, mask=inside")),
            "What is stored goes to the right place, and what is loaded is the first tile each time.", "eq. 10.1"),
        "loads the first tile of x in each program": Mistake(add((X, "tl.arange(0, B) * x_stride, mask=inside")),
            "y is loaded from its own place, and x from its first tile each time: i · x_stride, with the whole of i.",
            "eq. 10.1"),
        "loads the first tile of y in each program": Mistake(add((Y, "tl.arange(0, B) * y_stride, mask=inside")),
            "x is loaded from its own place, and y from its first tile each time: i · y_stride, with the whole of i.",
            "eq. 10.1"),
        "compares the place in the tile with n": Mistake(add(("i < n", "tl.arange(0, B) < n")),
            "It is as if the mask asked the place within the tile, which begins at 0 in each program. n counts from "
            "the first tile on: i < n, with the whole of i.", "eq. 10.1"),
        "leaves out a tile that is not full": Mistake(add(("i < n", "i < n // B * B")),
            "The entries behind the last full tile are nobody's: a tile that sticks out is done as well, with a mask.",
            "eq. 10.1"),
        "uses the stride of x for y": Mistake(add((Y, "i * x_stride, mask=inside")),
            "x and y may lie differently in memory: each has its own stride.", "eq. 10.2"),
        "does the same tile in each program": Mistake(add((OWN, "tl.arange(0, B)")),
            "Without tl.program_id(0) all programs do the first B entries, and nobody does the rest.", "eq. 10.1"),
        "starts its tile at p, not at p B": Mistake(add((OWN, "tl.program_id(0) + tl.arange(0, B)")),
            "Program p starts where program p − 1 ends: at p · B. Yours overlap.", "eq. 10.1"),
        "stores every tile in the place of the first": Mistake(
            add(("o_ptr + i, x + y", "o_ptr + tl.arange(0, B), x + y")),
            "The tiles are loaded from their own places, and all stored to the first: o_ptr + i, with the whole of i.",
            "eq. 10.1"),
        "lets several programs write the same entries": Mistake(changed(rows.add_one_by_one,
            ("range(first, tl.minimum(first + B, n))", "range(0, n)"), ("add_one_by_one", "add_kernel")),
            "Each entry belongs to one program. If every program does the whole sum, all of them write the same "
            "numbers: one of them is enough.", "eq. 10.1"),
        "subtracts": Mistake(add(("x + y", "x - y")), "Asked is the sum, x + y."),
        "adds x to itself": Mistake(add(("x + y", "x + x")), "y is loaded, and not used."),
        "loses digits in float16": Mistake(add(("x + y", "(x + y).to(tl.float16)")),
            "The sum is rounded to float16 before it is stored. Three digits are left."),
        TRAFFIC: Mistake(add(("    tl.store", "    y = tl.load(y_ptr + i * y_stride, mask=inside)\n    tl.store")),
            "Each number of x and y has to be loaded once. What is in registers stays there."),
        REJECTED: Mistake(add(("tl.arange(0, B)", "tl.arange(0, B + 0 * n)")),
            "The compiler must know the size of a tile, so the ends of tl.arange are constants: B, not something that "
            "is computed from n."),
    },
    hints=("Program p does entries p B, p B + 1, ..., p B + B − 1. Write those numbers as a tile.",
           "`i = tl.program_id(0) * B + tl.arange(0, B)`, and entry i of x lies at `x_ptr + i * x_stride`.",
           "Three lines more: x and y by tl.load with mask=i < n, and tl.store(o_ptr + i, x + y, mask=i < n)."),
)


# -- 10.3 --------------------------------------------------------------------------------------------------------------

def one_token(g):
    sizes = [(1, 1), (2, 3), (4, 8), (5, 11), (10, 7)]
    return [Case((floats(g, V), floats(g, K), 0.5), f"V = {V}, K = {K}") for V, K in sizes]


def write(*pairs):
    return changed(write_kernel, *pairs)


AT_S = "i[:, None] * S_row + j[None, :] * S_col"

exercise(
    id="10.3", title="One write of the memory", kind="code", stars=2, minutes=15, equations=("10.1", "10.2"),
    reference=write_kernel, alternatives=(rows.write_row_by_row, rows.write_flat),
    cases=one_token, tolerance=1e-6, prepare=launched(rows.launch_write, rows.memory_for),
    mutants={
        "stores the tail without a mask": Mistake(write(("write, mask=inside", "write")), STORE_TAIL, "eq. 10.1"),
        "masks rows only": Mistake(
            write(("(i < V)[:, None] & (j < K)[None, :]", "(i < V)[:, None] & (j >= 0)[None, :]")),
            "The last tile sticks out at the right as well: a mask for columns is missing.", "eq. 10.1"),
        "masks columns only": Mistake(
            write(("(i < V)[:, None] & (j < K)[None, :]", "(i >= 0)[:, None] & (j < K)[None, :]")),
            "The last tile sticks out below as well: a mask for rows is missing.", "eq. 10.1"),
        "loads the tail without a mask": Mistake(write(("v_ptr + i, mask=i < V", "v_ptr + i"),
                                                       ("k_ptr + j, mask=j < K", "k_ptr + j")), LOAD_TAIL, "eq. 10.1"),
        "swaps the strides": Mistake(write((AT_S, "i[:, None] * S_col + j[None, :] * S_row")),
            "From row to row it is S_row numbers, from column to column S_col: row i belongs to S_row.", "eq. 10.2"),
        "takes the numbers of S to lie side by side": Mistake(write((AT_S, "i[:, None] * K + j[None, :]")),
            "S may be a part of something larger, or lie column by column: use S_row and S_col.", "eq. 10.2"),
        "takes columns to lie side by side": Mistake(write((AT_S, "i[:, None] * S_row + j[None, :]")),
            "From column to column it is S_col numbers, which need not be 1: S may lie column by column.", "eq. 10.2"),
        "takes the rows of a column to lie side by side": Mistake(write((AT_S, "i[:, None] + j[None, :] * S_col")),
            "From row to row it is S_row numbers, which need not be 1.", "eq. 10.2"),
        "masks what is outside both ways only": Mistake(
            write(("(i < V)[:, None] & (j < K)[None, :]", "(i < V)[:, None] | (j < K)[None, :]")),
            "An entry exists if its row exists *and* its column does: `&`. With `|` whatever sticks out on one side "
            "comes in.", "eq. 10.1"),
        "compares columns with V": Mistake(write(("(j < K)[None, :]", "(j < V)[None, :]")),
            "S has V rows and K columns: columns j are compared with K.", "eq. 10.1"),
        "compares rows with K": Mistake(write(("(i < V)[:, None] &", "(i < K)[:, None] &")),
            "S has V rows and K columns: rows i are compared with V.", "eq. 10.1"),
        "has a tile of BK × BV where one of BV × BK belongs": Mistake(
            write(("v[:, None] * k[None, :]", "v[None, :] * k[:, None]")),
            "v runs down the rows of S, `v[:, None]`, and k along them, `k[None, :]`. So do i and j in an address and "
            "in a mask.", "eq. 2.1"),
        "takes β for a pointer": Mistake(write(("beta * v", "tl.load(beta) * v")),
            "β is a number, and there is nothing to load: multiply by it as it is."),
        "swaps k and v": Mistake(write(("v_ptr + i, mask=i < V", "k_ptr + i, mask=i < K"),
                                     ("k_ptr + j, mask=j < K", "v_ptr + j, mask=j < V")),
            "Row i of S belongs to value dimension i: S = β v kᵀ, with v along the rows.", "eq. 2.1"),
        "loads S, which holds nothing yet": Mistake(
            write(("write, mask=inside", f"write + tl.load(S_ptr + {AT_S}, mask=inside), mask=inside")),
            "The memory is empty before this write, and S is room for the result: what happens to lie there is NaN "
            "here, and makes NaN of everything. Store β v kᵀ; nothing is loaded from S."),
        "does the same rows in each program": Mistake(write(("tl.program_id(0) * BV + ", "")),
            "The first number of the program, tl.program_id(0), says which rows are its own.", "eq. 10.1"),
        "begins its rows at p, not at p BV": Mistake(write(("tl.program_id(0) * BV", "tl.program_id(0)")),
            "Program p starts where program p − 1 ends: at row p · BV. Yours overlap.", "eq. 10.1"),
        "begins its columns at q, not at q BK": Mistake(write(("tl.program_id(1) * BK", "tl.program_id(1)")),
            "Program q of a row of tiles starts where program q − 1 ends: at column q · BK. Yours overlap.",
            "eq. 10.1"),
        "has BV and BK exchanged": Mistake(write(("tl.program_id(0) * BV", "tl.program_id(0) * BK"),
                                                 ("tl.program_id(1) * BK", "tl.program_id(1) * BV")),
            "A tile has BV rows and BK columns: rows begin at p · BV, columns at q · BK.", "eq. 10.1"),
        "begins its rows at p times the width of a tile": Mistake(
            write(("tl.program_id(0) * BV", "tl.program_id(0) * BK")),
            "A tile has BV rows and BK columns: the rows of program p begin at p · BV. With BK some are left out.",
            "eq. 10.1"),
        "forgets β": Mistake(write(("beta * v[:, None]", "v[:, None]")), "The write is β v kᵀ: β is missing."),
        "multiplies β in twice": Mistake(write(("beta * v[:, None]", "beta * beta * v[:, None]")),
            "The write is β v kᵀ: β comes in once."),
        "adds v and k": Mistake(write(("v[:, None] * k[None, :]", "(v[:, None] + k[None, :])")),
            "An outer product multiplies: entry (i, j) is v_i · k_j."),
        "has rows and columns of the grid the wrong way round": Mistake(
            write(("tl.program_id(0) * BV", "tl.program_id(1) * BV"),
                  ("tl.program_id(1) * BK", "tl.program_id(0) * BK")),
            "The grid is (tiles of rows, tiles of columns): rows are program_id(0).", "eq. 10.1"),
        "does the same columns in each program": Mistake(write(("tl.program_id(1) * BK + ", "")),
            "The second number of the program, tl.program_id(1), says which columns are its own.", "eq. 10.1"),
        "lets neighbors write the same columns": Mistake(
            write(("tl.program_id(1) * BK + ", "tl.program_id(1) * (BK // 2) + ")),
            "Tiles begin half a tile apart (BV for BK?), so neighbors overlap and both write what lies in both. "
            "Program p begins at column p · BK.", "eq. 10.4"),
        "rounds to bfloat16": Mistake(write(("beta * v[:, None] * k[None, :]",
                                             "(beta * v[:, None] * k[None, :]).to(tl.bfloat16).to(tl.float32)")),
            "The product is rounded to bfloat16 on the way: two to three digits are left."),
    },
    hints=("A tile of rows i, a tile of columns j; `[:, None]` stands one up, `[None, :]` lays one down.",
           "Addresses: `S_ptr + i[:, None] * S_row + j[None, :] * S_col`.",
           "The mask needs both: `(i < V)[:, None] & (j < K)[None, :]`."),
)


# -- 10.6 --------------------------------------------------------------------------------------------------------------

def matrices(g):
    sizes = [(1, 1), (4, 4), (3, 5), (9, 3), (10, 11)]                   # 11 columns are not divisible by 3 programs
    return [Case((floats(g, T, N + 1)[:, :N],), f"T = {T}, N = {N}") for T, N in sizes]


def sums(*pairs):
    return changed(column_sums_kernel, *pairs)


def by_one(*pairs):
    return changed(rows.column_sums_by_one, *pairs, ("column_sums_by_one", "column_sums_kernel"))


ADDED = "tl.atomic_add(o_ptr + j, tl.sum(x, 0), mask=j < N)"

exercise(
    id="10.6", title="Everyone adds", kind="code", stars=3, minutes=20, equations=("10.4",),
    reference=column_sums_kernel, alternatives=(rows.column_sums_by_one, rows.column_sums_dealt_out),
    cases=matrices, tolerance=5e-6, prepare=launched(rows.launch_column_sums, lambda x: torch.empty(x.shape[1])),
    mutants={
        "loads, adds and stores": Mistake(
            sums((ADDED, "tl.store(o_ptr + j, tl.load(o_ptr + j, mask=j < N) + tl.sum(x, 0), mask=j < N)")),
            "Two programs may load the same old sum, and then the one that stores last wins. The interpreter runs them "
            "one after the other and hides it.", "eq. 10.4", next="Which single operation adds to memory?"),
        "adds what it has loaded as well": Mistake(
            sums((ADDED, "tl.atomic_add(o_ptr + j, tl.load(o_ptr + j, mask=j < N) + tl.sum(x, 0), mask=j < N)")),
            "tl.atomic_add adds to what is there by itself. What others have added, and this program has loaded, comes "
            "in once more: o need not be loaded.", "eq. 10.4"),
        "stores over what the others have stored": Mistake(
            sums((ADDED, "tl.store(o_ptr + j, tl.sum(x, 0), mask=j < N)")),
            "Several programs store into the same entries, and the last one wins. Even if all of them store the same, "
            "complete sum, one of them is enough: split the work, or let the hardware add.", "eq. 10.4"),
        "loads rows behind the end": Mistake(sums(("mask=inside, other=0.0", "mask=(j < N)[None, :], other=0.0")),
                                             LOAD_TAIL, "eq. 10.1"),
        "loads columns behind the end": Mistake(
            sums(("mask=inside, other=0.0", "mask=(i < T)[:, None], other=0.0")), LOAD_TAIL, "eq. 10.1"),
        "adds behind the end of o": Mistake(sums(("tl.sum(x, 0), mask=j < N", "tl.sum(x, 0)")),
            "A tile of BN sums is wider than o, and no mask keeps back those behind the N-th. Adding 0 there is an "
            "access as well: a GPU may stop. The mask of the load does not help: `mask=j < N` here, too.", "eq. 10.1"),
        "stores the tail without a mask": Mistake(by_one(("total, mask=j < N", "total")), STORE_TAIL),
        "leaves the sums of the last columns at 0": Mistake(
            by_one(("tl.program_id(0) == 0", "True"), ("tl.store(o_ptr + j, total, mask=j < N)",
                    "tl.store(o_ptr + j, total, mask=(j < N) & (j // BT == tl.program_id(0)))")),
            "They are the columns from BT · ⌈T / BT⌉ on, as if columns were dealt out in blocks of BT: there are ⌈T / "
            "BT⌉ programs, however large N is. Deal them out among `tl.num_programs(0)` programs.", "eq. 10.1"),
        "leaves the rest of the columns to nobody": Mistake(
            changed(rows.column_sums_dealt_out,
                    ("range(tl.program_id(0), N, tl.num_programs(0))",
                     "range(tl.program_id(0) * (N // tl.num_programs(0)), "
                     "(tl.program_id(0) + 1) * (N // tl.num_programs(0)))"),
                    ("column_sums_dealt_out", "column_sums_kernel")),
            "With N // P columns for each of the P programs, the remainder of the division is nobody's, and stays 0.",
            "eq. 10.1", next="11 columns and 3 programs: who has the last two? Round up, or take every P-th column."),
        "sums as many columns as there are programs": Mistake(
            changed(rows.column_sums_dealt_out, ("tl.program_id(0), N, tl", "tl.program_id(0), N, N + tl"),
                    ("column_sums_dealt_out", "column_sums_kernel")),
            "The others stay at 0. There are ⌈T / BT⌉ programs and N columns: with one column a program, some belong "
            "to nobody. Program p may take columns p, p + P, p + 2P, ... with P = `tl.num_programs(0)`.", "eq. 10.1"),
        "takes x to lie column by column": Mistake(
            sums(("i[:, None] * x_row + j[None, :]", "i[:, None] + j[None, :] * x_row")),
            "From row to row it is x_row numbers, and neighbors in a row lie side by side: i · x_row + j.", "eq. 10.2"),
        "stores partial sums one behind the other": Mistake(
            sums((ADDED, "tl.store(o_ptr + tl.program_id(0) * N + j, tl.sum(x, 0), mask=j < N)")),
            "o has room for one row of N sums, not for one of each program: add them to o_ptr + j.",
            "eq. 10.4"),
        "takes rows BT apart": Mistake(sums(("tl.program_id(0) * BT + tl.arange(0, BT)",
                                             "tl.program_id(0) + tl.arange(0, BT) * BT")),
            "That is right with BT programs, and there are ⌈T / BT⌉: some rows are left out, or belong to two. Either "
            "p · BT + 0, 1, ..., or every `tl.num_programs(0)`-th row.", "eq. 10.1"),
        "leaves out rows behind the last full tile": Mistake(sums(("(i < T)", "(i < T // BT * BT)")),
            "T need not be a multiple of BT: the last rows count as well, with a mask.", "eq. 10.1"),
        "adds up rows": Mistake(sums((ADDED, "tl.atomic_add(o_ptr + i, tl.sum(x, 1), mask=i < N)")),
            "tl.sum(x, 1) adds along a row. Sums of columns add down the rows: tl.sum(x, 0)."),
        "adds the same rows in each program": Mistake(sums(("tl.program_id(0) * BT + ", "")),
            "Program p has the rows from p · BT on.", "eq. 10.1"),
        "adds all rows in every program": Mistake(
            by_one(("(0) == 0", "(0) >= 0"), ("tl.store(", "tl.atomic_add(")),
            "Every program goes through all rows and adds: each row is counted once for each program. Program p has "
            "the rows from p · BT on.", "eq. 10.1"),
        "starts its rows at p, not at p BT": Mistake(sums(("tl.program_id(0) * BT", "tl.program_id(0)")),
            "Program p starts where program p − 1 ends: at row p · BT. Yours overlap, and count rows again.",
            "eq. 10.1"),
        "takes rows to lie side by side": Mistake(sums(("i[:, None] * x_row", "i[:, None] * N")),
            "x is a part of something wider: from row to row it is x_row numbers.", "eq. 10.2"),
        "rounds partial sums to bfloat16": Mistake(
            sums(("tl.sum(x, 0), mask", "tl.sum(x, 0).to(tl.bfloat16).to(tl.float32), mask")),
            "Partial sums are rounded to bfloat16 before they are added. Round at the end, if at all."),
        "stores where others add": Mistake(
            sums((ADDED, "if tl.program_id(0) == 0:\n        tl.store(o_ptr + j, tl.sum(x, 0), mask=j < N)\n"
                         f"    else:\n        {ADDED}")),
            "Whoever has added before a program stores is erased, also where it stores zeros. o is zero before the "
            "launch: add in every program, and store in none.",
            "eq. 10.4"),
        "adds everything twice": Mistake(sums((ADDED, f"{ADDED}\n    {ADDED}")), "Each row belongs into the sum once."),
        "keeps the largest": Mistake(sums((ADDED, ADDED.replace("atomic_add", "atomic_max"))),
                                     "tl.atomic_max keeps the largest of the partial sums. Asked is their sum."),
        "averages": Mistake(sums(("tl.sum(x, 0), mask", "tl.sum(x, 0) / T, mask")),
            "Asked is the sum: nothing is divided by T."),
    },
    hints=("Several programs add into the same entries. What if two of them load the old sum at the same time?",
           "Either one operation that adds to memory as a whole, or a split of the work in which nobody shares an "
           "entry.",
           "`tl.atomic_add(o_ptr + j, tl.sum(x, 0), mask=j < N)`."),
)


# -- 10.7 --------------------------------------------------------------------------------------------------------------

LINES = order_the_lines(
    {"A": "    total = tl.dot(a, b, total, input_precision=PRECISION)",
     "B": "for start in range(0, K, BK):\n    k = start + tl.arange(0, BK)",
     "C": "tl.store(o_ptr + i[:, None] * N + j[None, :], total, mask=(i < M)[:, None] & (j < N)[None, :])",
     "D": "    b = tl.load(b_ptr + k[:, None] * b_row + j[None, :] * b_col,\n"
          "                mask=(k < K)[:, None] & (j < N)[None, :], other=0.0)",
     "E": "total = tl.zeros((BM, BN), tl.float32)",
     "F": "i = tl.program_id(0) * BM + tl.arange(0, BM)\nj = tl.program_id(1) * BN + tl.arange(0, BN)",
     "H": "    a = tl.load(a_ptr + i[:, None] * a_row + k[None, :] * a_col,\n"
          "                mask=(i < M)[:, None] & (k < K)[None, :], other=0.0)"},
    "@triton.jit\n"
    "def matmul_kernel(a_ptr, b_ptr, o_ptr, M, N, K, a_row, a_col, b_row, b_col, BM: tl.constexpr, BN: tl.constexpr,\n"
    "                  BK: tl.constexpr, PRECISION: tl.constexpr):",
    "matmul_kernel",
    distractors={"G": "    total = tl.dot(a, b, input_precision=PRECISION)",
                 "I": "    b = tl.load(b_ptr + j[:, None] * b_row + k[None, :] * b_col,\n"
                      "                mask=(j < N)[:, None] & (k < K)[None, :], other=0.0)"},
    namespace={"triton": triton, "tl": tl},
    reasons={"A": "every step adds its product to the sum.", "C": "the sum is complete after the last step.",
             "D": "every step loads rows k of b, and k is the step's own.",
             "E": "once, before the loop; in every step it would empty the sum.",
             "F": "once, before the loop: which rows and columns are mine is the same in every step.",
             "G": "it puts the product of a step in the place of the sum of the earlier ones. A adds it.",
             "H": "every step loads columns k of a, and k is the step's own.",
             "I": "it has the columns j of b standing up, the shape of bᵀ. D has rows k standing up."})


def two_matrices(g):
    sizes = [(16, 16, 16), (3, 5, 7), (16, 20, 40), (18, 17, 20)]
    made = [Case((floats(g, M, K), floats(g, K, N)), f"M = {M}, N = {N}, K = {K}") for M, N, K in sizes]
    return [*made, Case((floats(g, 20, 18).mT, floats(g, 20, 17)), "a transposed, M = 18, N = 17, K = 20")]


exercise(
    id="10.7", title="Order the lines: a product", kind="order", stars=2, minutes=12, equations=("10.2", "10.5"),
    reference="EFBHDAC", alternatives=("FEBHDAC", "EFBDHAC", "FEBDHAC"), sources=(matmul_kernel,),
    cases=two_matrices, tolerance=2e-6,
    prepare=launched(tiles.launch_matmul, lambda a, b: torch.empty(len(a), b.shape[1]), lines=LINES),
    mutants={
        "keeps the last product only": Mistake("EFBHDGC",
            "Line G forgets what `total` held before: each step of the loop overwrites the sum of the earlier ones. "
            "With K = 16 there is one step, and it is right.", "eq. 10.5"),
        "reads b transposed": Mistake("EFBHIAC",
            "Line I makes a tile with the columns j of b standing up: its shape is that of bᵀ.", "eq. 10.5"),
        "stores nothing": Mistake("EFBHDA",
                                  "Line C stores the tile, after the loop. Without it the work was for nothing."),
        "starts from no sum": Mistake("FBHDAC", "`total` has to exist before the loop adds to it: line E.", "eq. 10.5"),
        "reads b transposed, and keeps the last product only": Mistake("EFBHIGC",
            "Line I has the shape of bᵀ, and line G forgets the earlier steps.", "eq. 10.5"),
        "asks for rows before it knows which are its own": Mistake("EBHDAFC",
            "i and j say which rows and columns are this program's: everything else needs them."),
    },
    hints=("Which lines are inside the loop? They are indented. Two of them do not belong.",
           "Before the loop: which tile is mine, and an empty sum. After it: store.",
           "E and F in either order, B, then H and D in either order, A, C."),
)


# -- 10.9 --------------------------------------------------------------------------------------------------------------

def triangles(g):
    made = []
    for programs, n, kind in [(1, 3, "any numbers"), (2, 11, "equal keys"), (1, 16, "random keys")]:
        A = torch.stack([one_triangle(g, n, kind) for _ in range(programs)])
        made.append(Case((A.float(),), f"n = {n}, {kind}"))
    return made


def one_triangle(g, n, kind):
    if kind == "any numbers":
        return normal(g, n, n).tril(-1)
    k = unit_keys(g, n, 5) if kind == "random keys" else unit_keys(g, 1, 5).expand(n, 5)
    return ut_system(k, strengths(g, n))


def triangle(*pairs, **names):
    return changed(triangle_kernel, *pairs, **names)


STORED = "tl.store(X_ptr + at, X"
SERIES = 'X = tl.where(i == j, 1.0, -A) + tl.dot(A, A, input_precision="ieee")'
STEP = "X - finished[None, :]"

exercise(
    id="10.9", title="A triangle in registers", kind="code", stars=4, minutes=30, equations=("10.7",),
    reference=triangle_kernel, alternatives=(tiles.triangle_by_columns, tiles.triangle_by_halves),
    cases=triangles, tolerance=1e-5, prepare=launched(tiles.launch_triangle, lambda A: torch.empty(A.shape), most=1.0),
    mutants={
        "inverts I − A": Mistake(triangle((STEP, "X + finished[None, :]")),
            "Row t is e_t *minus* what the rows above contribute: that is (I + A)⁻¹.", "eq. 10.7"),
        "uses a column of A for its row": Mistake(
            triangle(("tl.where(i == t, A, 0.0), 0)", "tl.where(j == t, A, 0.0), 1)")),
            "Row t of A is where i == t, summed over rows (axis 0). You took column t.", "eq. 10.7"),
        "adds up the wrong axis": Mistake(triangle(("tl.sum(a[:, None] * X, 0)", "tl.sum(a[None, :] * X, 1)")),
            "Σ_i A_ti r_i is a sum of *rows*: a stands up, a[:, None], and the sum runs over axis 0.", "eq. 10.7"),
        "stops a row too early": Mistake(triangle(("range(1, 16)", "range(1, 15)")),
            "range(1, 15) ends with row 14. The last row is 15.", "eq. 10.7"),
        "gives I − A": Mistake(triangle(("range(1, 16)", "range(15, 0, -1)")),
            "These are the first two terms of the inverse, I − A + A² − ...: each row of A is taken off as it is, or "
            "with the rows above as they were at the start. It needs those *after* their own steps: aᵀ X, t going up.",
            "eq. 10.7"),
        "changes all rows in every step": Mistake(triangle((f"tl.where(i == t, {STEP}, X)", STEP)),
            "Only row t may change in step t: `tl.where(i == t, ..., X)`.", "eq. 10.7"),
        "loses the ones of the diagonal": Mistake(triangle((STEP, "-finished[None, :]")),
            "Row t is e_t minus what the rows above contribute: X − finished, not −finished.", "eq. 10.7"),
        "gives the identity": Mistake(triangle((f"tl.where(i == t, {STEP}", f"tl.where(j == t, {STEP}")),
            "Either no step has changed X: step t changes *row* t, `X = tl.where(i == t, ..., X)`. Or X began as "
            "I + A, and the steps have taken A off again: begin with the identity.", "eq. 10.7"),
        "starts from I − A, and takes the steps as well": Mistake(
            triangle(("tl.where(i == j, 1.0, 0.0)", "tl.where(i == j, 1.0, 0.0) - A")),
            "X is the identity before the first step: the steps themselves bring A in.", "eq. 10.7"),
        "stops before the last of n rows": Mistake(triangle(("range(1, 16)", "range(1, n - 1)")),
            "range(1, n − 1) ends with row n − 2. The last row is n − 1.", "eq. 10.7"),
        "gives I + A": Mistake(triangle(("finished = tl.sum(a[:, None] * X, 0)", "finished = -a")),
            "That is the matrix itself, I + A. Asked is its inverse.", "eq. 10.7"),
        "stops at A²": Mistake(triangle((STORED, f"{SERIES}\n    {STORED}")),
            "I − A + A² are the first three terms: exact for three rows. A strictly lower matrix of n rows has powers "
            "up to Aⁿ⁻¹.", "eq. 10.7"),
        "stops at A³": Mistake(triangle((STORED, f"{SERIES} - mul(mul(A, A), A)\n    {STORED}"), mul=tiles.mul),
            "I − A + A² − A³ are the first four terms. A strictly lower matrix of n rows has powers up to Aⁿ⁻¹.",
            "eq. 10.7"),
        "leaves the factor I + A⁸ out": Mistake(
            triangle((STORED, f"X = mul(I - A, mul(I + A2, I + mul(A2, A2)))\n    {STORED}"),
                     ("    X = tl.where(i == j, 1.0, 0.0)",
                      "    A2, X = mul(A, A), tl.where(i == j, 1.0, 0.0)\n    I = X"), mul=tiles.mul),
            "(I − A)(I + A²)(I + A⁴) has the powers up to A⁷. With 16 rows there are those up to A¹⁵: one factor more.",
            "eq. 10.7"),
        "begins with row 2": Mistake(triangle(("range(1, 16)", "range(2, 16)")),
            "Row 0 is e_0 from the start. Row 1 has to lose A_10 times row 0: begin with t = 1.", "eq. 10.7"),
        "starts from nothing": Mistake(triangle(("tl.where(i == j, 1.0, 0.0)", "tl.zeros((16, 16), tl.float32)")),
            "Row t starts as e_t: X is the identity before the first step.", "eq. 10.7"),
        "takes one step only": Mistake(triangle(("range(1, 16)", "range(1, 2)")),
            "Every row from 1 to 15 has to be finished.", "eq. 10.7"),
        "stores every triangle in the place of the first": Mistake(
            triangle(("tl.store(X_ptr + at", "tl.store(X_ptr + i * n + j")),
            "Each program loads its own triangle, and stores it to the first: p · n · n is missing.", "eq. 10.2"),
        "does the same triangle in each program": Mistake(triangle(("tl.program_id(0) * n * n + ", "")),
            "Program p has triangle p, n · n numbers further on for each p.", "eq. 10.2"),
        "stores transposed": Mistake(triangle(("tl.store(X_ptr + at, X", "tl.store(X_ptr + at, tl.trans(X)")),
            "The inverse of a lower triangle is lower: rows are later tokens."),
        "takes triangles to lie 256 numbers apart": Mistake(
            triangle(("tl.program_id(0) * n * n", "tl.program_id(0) * 256")),
            "In memory a triangle has n · n numbers, and the next begins right behind it. Only your tile has 16 · 16.",
            "eq. 10.2"),
        "takes rows to lie 16 numbers apart": Mistake(triangle(("i * n + j", "i * 16 + j")),
            "In memory a row has n numbers. Only your tile is 16 wide.", "eq. 10.2"),
        "takes triangles and rows to lie as in a tile of 16 x 16": Mistake(
            triangle(("tl.program_id(0) * n * n + i * n + j", "tl.program_id(0) * 256 + i * 16 + j")),
            "Only your tile is 16 wide. In memory a row has n numbers and a triangle n · n, and the next begins right "
            "behind it.", "eq. 10.2"),
        "masks what is outside both ways only": Mistake(triangle(("(i < n) & (j < n)", "(i < n) | (j < n)")),
            "An entry exists if its row exists *and* its column does: `&`. With `|` whatever sticks out on one side "
            "comes in.", "eq. 10.1"),
        "masks rows only": Mistake(triangle(("(i < n) & (j < n)", "(i < n) & (j < 16)")),
            "The tile sticks out at the right as well: a mask for columns, j < n, is missing.", "eq. 10.1"),
        "masks columns only": Mistake(triangle(("(i < n) & (j < n)", "(i < 16) & (j < n)")),
            "The tile sticks out below as well: a mask for rows, i < n, is missing.", "eq. 10.1"),
        "loads the tail without a mask": Mistake(triangle(("A_ptr + at, mask=inside, other=0.0", "A_ptr + at")),
            "A tile of 16 × 16 sticks out of a matrix of n × n: into other matrices, and behind the last."),
        "stores the tail without a mask": Mistake(triangle(("at, X, mask=inside", "at, X")),
            "A tile of 16 × 16 sticks out of a matrix of n × n: what lies behind X is written over. That A is filled "
            "up with zeros does not help: `mask=` in the store, too."),
        "rounds finished rows to bfloat16": Mistake(
            triangle(("tl.sum(a[:, None] * X, 0)", "tl.sum(a[:, None] * X, 0).to(tl.bfloat16).to(tl.float32)")),
            "Finished rows are rounded to bfloat16, and every later row builds on them.", "eq. 10.6"),
        REJECTED: Mistake(
            triangle(("    for t in", "    done = [0]\n    for t in"),
                     ("        a = tl", "        done.append(t)\n        a = tl")),
            "A kernel is not Python: lists cannot grow in it."),
    },
    hints=("Registers have no addresses: there is no X[t]. How can a mask and a sum give you row t?",
           "Row t of A is `tl.sum(tl.where(i == t, A, 0.0), 0)`; write row t back with `tl.where(i == t, new, X)`.",
           "In step t: a = row t of A; finished = `tl.sum(a[:, None] * X, 0)`; then X becomes "
           "`tl.where(i == t, X - finished[None, :], X)`."),
)
