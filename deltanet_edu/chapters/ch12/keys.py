"""Exercise 12.5: the gradient of the keys."""

import triton
import triton.language as tl

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import smallest_first
from ..kernel_answers import changed, launched
from .inputs import C, SHAPES, one, swept
from .launches import keys_outputs, launch_keys
from .tiles import memory, rows


@triton.jit
def dk_kernel(
    q_ptr, k_ptr, do_ptr, dv_ptr, writes_ptr,      # (B, T, H, K) twice, (B, T, H, V) three times
    states_ptr, d_states_ptr,                      # (B, H, N, V, K) twice: S and dS' of each chunk
    dk_ptr,                                        # out: (B, T, H, K)
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per chunk and head: dK = dP^T Q + X dS' - dV S - (E + E^T) K (eq. 9.6)."""
    i, head, N = tl.program_id(0), tl.program_id(1), tl.cdiv(T, C)
    row = tl.arange(0, C)
    dP_t, minus_E = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)                       # registers
    dk = tl.zeros((C, K), tl.float32)                                    # one accumulator for all that comes to it
    for v0 in range(0, V, V_TILE):
        # -- load --------------------------------------------------------------------------------------------------
        at_v, there = rows(head, i * C, T, H, V, C, v0, V_TILE)
        at_S = memory(head * N + i, v0, V, K, V_TILE)
        do = tl.load(do_ptr + at_v, mask=there, other=0.0)               # (C, V_TILE)
        X = tl.load(writes_ptr + at_v, mask=there, other=0.0)            # (C, V_TILE)
        minus_dV = -tl.load(dv_ptr + at_v, mask=there, other=0.0)        # (C, V_TILE)
        S = tl.load(states_ptr + at_S)                                   # (V_TILE, K)
        dS = tl.load(d_states_ptr + at_S)                                # (V_TILE, K)
        # -- within the chunk: dP is made transposed, not transposed afterwards ------------------------------------
        dP_t = tl.dot(X, tl.trans(do), dP_t)                             # (C, C)
        minus_E = tl.dot(minus_dV, tl.trans(X), minus_E)                 # (C, C)
        # -- across chunks -----------------------------------------------------------------------------------------
        dk = tl.dot(X, dS, dk)                                           # (C, K)
        dk = tl.dot(minus_dV, S, dk)                                     # (C, K)
    # -- update, store ---------------------------------------------------------------------------------------------
    at_k, there = rows(head, i * C, T, H, K, C, 0, K)
    q = tl.load(q_ptr + at_k, mask=there, other=0.0)                     # (C, K)
    k = tl.load(k_ptr + at_k, mask=there, other=0.0)                     # (C, K)
    minus_E = tl.where(row[:, None] > row[None, :], minus_E, 0.0)
    dk = tl.dot((minus_E + tl.trans(minus_E)).to(k.dtype), k, dk)
    dP_t = tl.where(row[:, None] <= row[None, :], dP_t * scale, 0.0)
    dk = tl.dot(dP_t.to(k.dtype), q, dk)
    tl.store(dk_ptr + at_k, dk.to(k.dtype), mask=there)


@triton.jit
def term_by_term(
    q_ptr, k_ptr, do_ptr, dv_ptr, writes_ptr, states_ptr, d_states_ptr, dk_ptr,
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """All of V at once, and the formula as it stands: a result a term, subtracted where it says so."""
    i, head = tl.program_id(0), tl.program_id(1)
    row, col = tl.arange(0, C)[:, None], tl.arange(0, C)[None, :]
    at_k, there = rows(head, i * C, T, H, K, C, 0, K)
    at_v, _ = rows(head, i * C, T, H, V, C, 0, V)
    at_S = memory(head * tl.cdiv(T, C) + i, 0, V, K, V)
    q, k = tl.load(q_ptr + at_k, mask=there, other=0.0), tl.load(k_ptr + at_k, mask=there, other=0.0)
    do, dV = tl.load(do_ptr + at_v, mask=there, other=0.0), tl.load(dv_ptr + at_v, mask=there, other=0.0)
    X = tl.load(writes_ptr + at_v, mask=there, other=0.0)
    dP = tl.where(row >= col, tl.dot(do, tl.trans(X)), 0.0)              # (C, C)
    E = tl.where(row > col, tl.dot(dV, tl.trans(X)), 0.0)                # (C, C)
    dk = tl.dot(tl.trans(dP).to(k.dtype), q) * scale + tl.dot(X, tl.load(d_states_ptr + at_S))
    dk -= tl.dot(dV, tl.load(states_ptr + at_S))
    dk -= tl.dot(E.to(k.dtype), k) + tl.dot(tl.trans(E).to(k.dtype), k)
    tl.store(dk_ptr + at_k, dk.to(k.dtype), mask=there)


@triton.jit
def both_triangles_of_E(
    q_ptr, k_ptr, do_ptr, dv_ptr, writes_ptr, states_ptr, d_states_ptr, dk_ptr,
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """E^T by a product of its own, indices by hand, and the scale on the queries."""
    i, head, row = tl.program_id(0), tl.program_id(1), tl.arange(0, C)
    token = (head // H * T + i * C + row) * H + head % H                 # (C,)  in a tensor (B, T, H)
    there, width = (i * C + row < T)[:, None], tl.arange(0, K)[None, :]
    at_k, slot = token[:, None] * K + width, (head * tl.cdiv(T, C) + i) * V * K
    q, k = tl.load(q_ptr + at_k, mask=there, other=0.0), tl.load(k_ptr + at_k, mask=there, other=0.0)
    E, dP_t = tl.zeros((C, C), tl.float32), tl.zeros((C, C), tl.float32)
    stored, taken = tl.zeros((C, K), tl.float32), tl.zeros((C, K), tl.float32)
    for v0 in range(0, V, V_TILE):
        val = v0 + tl.arange(0, V_TILE)
        at_v = token[:, None] * V + val[None, :]
        do, X = tl.load(do_ptr + at_v, mask=there, other=0.0), tl.load(writes_ptr + at_v, mask=there, other=0.0)
        dV = tl.load(dv_ptr + at_v, mask=there, other=0.0)
        E += tl.where(row[:, None] > row[None, :], tl.dot(dV, tl.trans(X)), 0.0)
        E += tl.where(row[:, None] < row[None, :], tl.dot(X, tl.trans(dV)), 0.0)
        dP_t += tl.dot(X, tl.trans(do))
        stored += tl.dot(X, tl.load(d_states_ptr + slot + val[:, None] * K + width))
        taken += tl.dot(dV, tl.load(states_ptr + slot + val[:, None] * K + width))
    dP_t = tl.where(row[:, None] > row[None, :], 0.0, dP_t)
    found = stored - taken + scale * tl.dot(dP_t.to(k.dtype), q) - tl.dot(E.to(k.dtype), k)
    tl.store(dk_ptr + at_k, found.to(k.dtype), mask=there)


def keys_cases(g):
    made = []
    for note, shape in SHAPES.items():
        q, k, v, beta, S, do, d_final = one(g, *shape)
        states, X, d_states, dv = (x.float() for x in swept(q, k, v, beta, S, do, d_final, 0.5))
        made.append(Case((q, k, do, dv, X, states, d_states, 0.5, C),
            f"{note}, T = {shape[1]}, K = {shape[3]}, V = {shape[4]}"))
    return smallest_first(made)


def slip(*replacements):
    return changed(dk_kernel, *replacements)


UPDATE = "dk = tl.dot((minus_E + tl.trans(minus_E)).to(k.dtype), k, dk)"
LOWER, UPPER = "row[:, None] > row[None, :]", "row[:, None] <= row[None, :]"

exercise(
    id="12.5", title="The gradient of the keys", kind="code", stars=4, minutes=40, equations=("9.5", "9.6"),
    reference=dk_kernel, alternatives=(term_by_term, both_triangles_of_E), cases=keys_cases,
    prepare=launched(launch_keys, keys_outputs), tolerance=1e-5,
    mutants={
        "loads the tail without a mask": Mistake(slip(("do_ptr + at_v, mask=there, other=0.0", "do_ptr + at_v")),
            "The last chunk need not be full. Rows after the last token belong to the next sequence, or to nobody.",
            next="`rows` returns which tokens there are: give it to every load as `mask`, with `other=0.0`."),
        "stores the tail without a mask": Mistake(slip(("dk.to(k.dtype), mask=there", "dk.to(k.dtype)")),
            "The last chunk need not be full, and dk has C rows all the same. In a batch the next sequence begins "
            "there."),
        "takes Eᵀ twice": Mistake(slip(("(minus_E + tl.trans(minus_E))", "(tl.trans(minus_E) + tl.trans(minus_E))")),
            "A key stands in two places of A: as the row that asks and as the column that is asked. So E + Eᵀ.",
            "eq. 9.6"),
        "begins anew with each tile of V": Mistake(slip(("    for v0 in range(0, V, V_TILE):\n",
                "    for v0 in range(0, V, V_TILE):\n        dk = tl.zeros((C, K), tl.float32)\n")),
            "Every tile of V adds to the same dk: create it before the loop."),
        "takes memories of another head": Mistake(slip(("tl.load(states_ptr + at_S)",
                "tl.load(states_ptr + memory(head + i, v0, V, K, V_TILE))")),
            "Memory i of head h has number h N + i in a tensor (B, H, N, V, K)."),
        "numbers memories by chunks first": Mistake(slip(("at_S = memory(head * N + i,",
                "at_S = memory((head // H * N + i) * H + head % H,")),
            "`states` and `d_states` are (B, H, N, V, K) here: all chunks of a head, then the next head. In chapter 11 "
            "they were (B, N, H, V, K)."),
        "takes the gradient that enters the next chunk": Mistake(slip(("tl.load(d_states_ptr + at_S)",
                "tl.load(d_states_ptr + memory(head * N + tl.minimum(i + 1, N - 1), v0, V, K, V_TILE))")),
            "d_states holds dS', of the memory that leaves chunk i, under the number i.", "eq. 9.6"),
        "takes the memory that leaves for S": Mistake(slip(("tl.load(states_ptr + at_S)",
                "tl.load(states_ptr + memory(head * N + tl.minimum(i + 1, N - 1), v0, V, K, V_TILE))")),
            "states holds S, of the memory that enters chunk i, under the number i.", "eq. 9.6"),
        "scales dP once for each tile": Mistake(slip(("tl.dot(X, tl.trans(do), dP_t)  ",
                "tl.dot(X, tl.trans(do), dP_t) * scale  "), ("dP_t * scale, 0.0", "dP_t, 0.0")),
            "dP is a sum over tiles. Multiplied in the loop, what earlier tiles gave is scaled again with every tile.",
            next="Multiply after the loop."),
        "turns the mask of dP over, and not dP": Mistake(slip(("tl.dot(X, tl.trans(do), dP_t)",
                                                                "tl.dot(do, tl.trans(X), dP_t)")),
            "On and above the diagonal is where dPᵀ lives, X dOᵀ. Yours is dO Xᵀ, which lives below.", "eq. 9.6"),
        "scales what comes from the sweep, and not dP": Mistake(slip(("dP_t * scale, 0.0", "dP_t, 0.0"),
                ("    q = tl.load(q_ptr", "    dk = dk * scale\n    q = tl.load(q_ptr")),
            "It is the other way around: dV and dS' come with the scale in them, and dP is made of dO, which has none.",
            "eq. 9.6"),
        "takes the queries away": Mistake(slip(("dP_t * scale, 0.0", "-dP_t * scale, 0.0")),
            "dK = dPᵀ Q + X dS' − dV S − (E + Eᵀ) K: the first term is added.", "eq. 9.6"),
        "takes the scale out of dV and dS'": Mistake(slip(
                ("-tl.load(dv_ptr + at_v, mask=there, other=0.0)",
                 "-tl.load(dv_ptr + at_v, mask=there, other=0.0) / scale"),
                ("tl.load(d_states_ptr + at_S)", "tl.load(d_states_ptr + at_S) / scale")),
            "The keys are reached through the outputs alone, and o has the scale: dV and dS' come with it, and keep "
            "it.", "eq. 9.6"),
        "scales dV": Mistake(slip(("-tl.load(dv_ptr + at_v, mask=there, other=0.0)",
                "-scale * tl.load(dv_ptr + at_v, mask=there, other=0.0)")),
            "dV has the scale in it, from the sweep. Only the way through P, from dO, needs it here."),
        "rounds dk": Mistake(slip(("dk.to(k.dtype), mask", "dk.to(tl.bfloat16).to(tl.float32), mask")),
            "dk is stored in the dtype of the keys, here float32: `dk.to(k.dtype)`."),
        "lets all chunks store the first": Mistake(slip(("at_k, there = rows(head, i * C,",
                "at_k, there = rows(head, 0,")),
            "Keys and queries of chunk i begin at token i C. Now all programs of a head take the first chunk's, and "
            "store over each other."),
        "stores every chunk in the place of the first": Mistake(slip(("tl.store(dk_ptr + at_k,",
                "tl.store(dk_ptr + rows(head, 0, T, H, K, C, 0, K)[0],")),
            "Each program takes its own keys and queries, and stores to the first chunk: dk of chunk i begins at token "
            "i C."),
        "takes K for V": Mistake(slip(("T, H, V, C, v0, V_TILE)", "T, H, K, C, v0, V_TILE)")),
            "Rows of dO, X and dV are V numbers long, and K is not V. With K = V nobody would see it."),
        "swaps V and K in the memories": Mistake(slip(("v0, V, K, V_TILE)", "v0, K, V, V_TILE)")),
            "A memory is (V, K): rows of K numbers, one row for each entry of a value."),
        "takes the memories of the first head": Mistake(slip(("memory(head * N + i,", "memory(i,")),
            "Memory i of head h has number h N + i in a tensor (B, H, N, V, K)."),
        "keeps the lower triangle of dPᵀ": Mistake(slip((UPPER, "row[:, None] >= row[None, :]")),
            "dP = tril(dO Xᵀ), with queries as rows. Transposed, keys are rows, and what stays is on and above the "
            "diagonal.",
            "eq. 9.6"),
        "drops the diagonal of dP": Mistake(slip((UPPER, "row[:, None] < row[None, :]")),
            "A token reads what it has written itself, so dP keeps its diagonal.", "eq. 9.6"),
        "does not mask dP": Mistake(slip(("tl.where(row[:, None] <= row[None, :], dP_t * scale, 0.0)", "dP_t * scale")),
            "P is masked, so its gradient is: nobody reads what later tokens write.", "eq. 9.6"),
        "keeps the diagonal of E": Mistake(slip((LOWER, "row[:, None] >= row[None, :]")),
            "A, of which E is the gradient, lies strictly below the diagonal: a token does not correct itself.",
                "eq. 9.5"),
        "takes the other triangle of E": Mistake(slip((LOWER, "row[:, None] < row[None, :]")),
            "E = stril(dV Xᵀ): row t is corrected by what earlier tokens i < t have written.", "eq. 9.5"),
        "does not mask E": Mistake(slip((f"tl.where({LOWER}, minus_E, 0.0)", "minus_E")),
            "Only the entries below the diagonal of A exist, so only those have a gradient.", "eq. 9.5"),
        "forgets scale": Mistake(slip(("dP_t * scale", "dP_t")),
            "o = scale (Q Sᵀ + P X). dO reaches the keys directly through P, and there it carries the scale; dV and "
            "dS' have it already."),
        "scales everything": Mistake(slip(("tl.store(dk_ptr + at_k, dk.to(k.dtype)",
                "tl.store(dk_ptr + at_k, (dk * scale).to(k.dtype)"), ("dP_t * scale", "dP_t")),
            "dV and dS' come out of the backward sweep with the scale in them. Only dP, made from dO here, still "
            "needs it."),
        "uses E without its transpose": Mistake(slip(("(minus_E + tl.trans(minus_E))", "minus_E")),
            "In K Kᵀ a key stands in a row and in a column, so there are two terms: E K and Eᵀ K.", "eq. 9.6"),
        "uses the transpose of E alone": Mistake(slip(("(minus_E + tl.trans(minus_E))", "tl.trans(minus_E)")),
            "In K Kᵀ a key stands in a row and in a column, so there are two terms: E K and Eᵀ K.", "eq. 9.6"),
        "adds what the overlaps take away": Mistake(slip((UPDATE,
                "dk = tl.dot((-minus_E - tl.trans(minus_E)).to(k.dtype), k, dk)")),
            "The gradient of K Kᵀ is −E: the term is subtracted.", "eq. 9.5"),
        "adds dV S": Mistake(slip(("dk = tl.dot(minus_dV, S, dk)", "dk = tl.dot(-minus_dV, S, dk)")),
            "R = V − K Sᵀ: the keys ask the old memory with a minus.", "eq. 9.6"),
        "forgets the question put to the old memory": Mistake(slip(("dk = tl.dot(minus_dV, S, dk)", "dk = dk")),
            "The keys ask the memory that enters, in R = V − K Sᵀ. That is the term − dV S.", "eq. 9.6"),
        "forgets what the keys store": Mistake(slip(("dk = tl.dot(X, dS, dk)", "dk = dk")),
            "The keys say where X is stored, S' = S + XᵀK. That is the term X dS'.", "eq. 9.6"),
        "forgets the overlaps": Mistake(slip((UPDATE, "dk = dk")),
            "The keys overlap with each other, in A. That is the term −(E + Eᵀ) K.", "eq. 9.6"),
        "forgets the queries": Mistake(slip(("dk = tl.dot(dP_t.to(k.dtype), q, dk)", "dk = dk")),
            "The keys are found by the queries of their own chunk, in P. That is the term dPᵀ Q.", "eq. 9.6"),
        "takes keys for queries": Mistake(slip(("dk = tl.dot(dP_t.to(k.dtype), q, dk)",
                "dk = tl.dot(dP_t.to(k.dtype), k, dk)")),
            "P = tril(Q Kᵀ): the gradient of its keys is dPᵀ times the *queries*.", "eq. 9.6"),
        "takes S for dS'": Mistake(slip(("tl.dot(X, dS, dk)", "tl.dot(X, S, dk)")),
            "The keys say where X is stored, and the memory that leaves wants dS' of it: X dS'.", "eq. 9.6"),
        "takes dS' for S": Mistake(slip(("tl.dot(minus_dV, S, dk)", "tl.dot(minus_dV, dS, dk)")),
            "The keys ask the memory that entered, S: the term is − dV S.", "eq. 9.6"),
        "scales dP twice": Mistake(slip(("dP_t * scale", "dP_t * scale * scale")), "The scale comes in once."),
        "subtracts Eᵀ from E": Mistake(slip(("(minus_E + tl.trans(minus_E))", "(minus_E - tl.trans(minus_E))")),
            "A key stands in two places of A, and both terms have the same sign: E + Eᵀ.", "eq. 9.6"),
        "takes the first columns of dO, X and dV in every step": Mistake(slip(("T, H, V, C, v0, V_TILE)",
                                                                                "T, H, V, C, 0, V_TILE)")),
            "Step v0 of the loop needs the columns from v0 on, as it takes those rows of the memories."),
        "takes the first rows of the memories in every step": Mistake(slip(("head * N + i, v0,", "head * N + i, 0,")),
            "Step v0 of the loop needs the rows from v0 on of S and dS', as it takes those columns of X and dV."),
        "swaps S and dS'": Mistake(slip(("tl.dot(X, dS, dk)", "tl.dot(X, S, dk)"), ("tl.dot(minus_dV, S, dk)",
                "tl.dot(minus_dV, dS, dk)")),
            "What is written, X, meets the gradient of the memory that leaves; what is asked, through dV, the memory "
            "that entered.",
            "eq. 9.6"),
        "uses E twice": Mistake(slip(("(minus_E + tl.trans(minus_E))", "(minus_E + minus_E)")),
            "In K Kᵀ a key stands in a row and in a column: E K and Eᵀ K, not twice the same.", "eq. 9.6"),
        "transposes dP back": Mistake(slip(("tl.dot(X, tl.trans(do), dP_t)", "tl.dot(do, tl.trans(X), dP_t)"),
                                           (UPPER, "row[:, None] >= row[None, :]")),
            "That is dP, with queries as rows: what *queries* learn. Keys need dPᵀ Q.", "eq. 9.6"),
        "swaps X and dV": Mistake(slip(("tl.dot(X, dS, dk)", "tl.dot(-minus_dV, dS, dk)"),
                                       ("tl.dot(minus_dV, S, dk)", "tl.dot(-X, S, dk)")),
            "What is written, X, meets dS'; what the question to the old memory has to answer for, dV, meets S.",
            "eq. 9.6"),
        "takes dV for dO in dP": Mistake(slip(("tl.dot(X, tl.trans(do), dP_t)",
                                               "tl.dot(X, tl.trans(-minus_dV), dP_t)")),
            "dP = tril(dO Xᵀ): what the outputs want of what was written.", "eq. 9.6"),
        "takes queries for keys in the overlaps": Mistake(slip((UPDATE, UPDATE.replace("k, dk)", "q, dk)"))),
            "The overlaps are between keys: (E + Eᵀ) K.", "eq. 9.6"),
        "scales the overlaps": Mistake(slip((f"tl.where({LOWER}, minus_E, 0.0)",
                                             f"tl.where({LOWER}, minus_E * scale, 0.0)")),
            "dV comes out of the sweep with the scale in it: E = stril(dV Xᵀ) as it stands."),
        "has all signs turned": Mistake(slip(("dk.to(k.dtype), mask", "(-dk).to(k.dtype), mask")),
            "dK = dPᵀ Q + X dS' − dV S − (E + Eᵀ) K.", "eq. 9.6"),
        "reads the first columns only": Mistake(slip(("range(0, V, V_TILE)", "range(0, V_TILE, V_TILE)")),
            "V comes in tiles of V_TILE columns, and every sum over V needs all of them."),
        "keeps dP of the last columns only": Mistake(slip(("tl.dot(X, tl.trans(do), dP_t)",
                                                           "tl.dot(X, tl.trans(do))")),
            "dP is a sum over V: what comes from a tile is added to what the earlier ones gave."),
        "keeps E of the last columns only": Mistake(slip(("tl.dot(minus_dV, tl.trans(X), minus_E)",
                                                          "tl.dot(minus_dV, tl.trans(X))")),
            "E is a sum over V: what comes from a tile is added to what the earlier ones gave."),
        "takes dO for dV in E": Mistake(slip(("minus_E = tl.dot(minus_dV, tl.trans(X), minus_E)",
                "minus_E = tl.dot(-do, tl.trans(X), minus_E)")),
            "E = stril(dV Xᵀ): what has come back through the triangular system meets what was written.", "eq. 9.5"),
        "keeps dk in bfloat16": Mistake(slip(("dk = tl.dot(minus_dV, S, dk)",
                "dk = tl.dot(minus_dV, S, dk).to(tl.bfloat16).to(tl.float32)")),
            "dk is rounded to three digits each time around. What is carried on stays float32; what a product takes "
            "in, and what is stored, is rounded."),
        "rounds dP to bfloat16": Mistake(slip(("dP_t.to(k.dtype)", "dP_t.to(tl.bfloat16).to(k.dtype)")),
            "The inputs are float32 here, and dP is rounded to bfloat16, three digits. Round to the dtype that came "
            "in.",
            next="`dP_t.to(k.dtype)`"),
    },
    hints=("Sums over V go into the loop over tiles: dO Xᵀ, dV Xᵀ, X dS' and dV S. What needs all of dP and E comes "
           "after it.",
           "Four accumulators are not needed: dPᵀ and E, each (C, C), and one dk, (C, K), to which all terms are "
           "added. Subtract by turning the sign of dV when it is loaded.",
           "After the loop: mask E below the diagonal, dk += (E + Eᵀ) K with its sign; mask dPᵀ on and above it, "
           "times scale, dk += dPᵀ Q; store with a mask."),
)
