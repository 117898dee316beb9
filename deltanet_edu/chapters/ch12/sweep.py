"""Exercises 12.2 and 12.3: the backward sweep, its lines in order and as a kernel."""

import torch
import triton
import triton.language as tl

from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from ...tutor.ordering import order_the_lines
from ..kernel_answers import changed, launched
from ..kernel_faults import CARRIED, MEANINGS
from .inputs import SHAPES, C, UT_low_of, one
from .launches import launch_sweep, sweep_outputs
from .tiles import memory, rows, strengths

# -- 12.2 --------------------------------------------------------------------------------------------------------------

def sweep(chunks, dS):
    """In PyTorch: chunks of (Q, K, beta, UT_low, dO), first one first -> dS' and dV of each, last one first, and dS."""
    d_states, dvs = [], []
    for Q, K, beta, UT_low, dO in reversed(chunks):
        d_states.append(dS)
        P = (Q @ K.mT).tril()                                            # (C, C)
        dX_t = dO.mT @ P + dS @ K.mT                                     # (V, C)
        dV_t = beta * dX_t + dX_t @ UT_low                               # (V, C)
        dvs.append(dV_t.mT)
        dS = dS + dO.mT @ Q - dV_t @ K                                   # (V, K)
    return d_states, dvs, dS


def order_cases(g):
    """One, two and three chunks of different lengths, as lists of tensors."""
    made = []
    for n, (K, V) in enumerate(((3, 2), (2, 4), (4, 3)), 1):
        chunks = []
        for T in (2, 3, 1)[:n]:
            q, k, beta, do, dS = delta_inputs(g, "q k beta do dS", T=(T,), K=K, V=V, keys=("random",))[0].args
            chunks.append((q, k, beta, ut_by_solve(k, beta).tril(-1), do))
        made.append(Case((chunks, dS), f"{n} chunk{'s' * (n > 1)}, K ≠ V"))
    return made


IN_THE_LOOP = "    "
exercise(
    id="12.2", title="The sweep, in order", kind="order", stars=2, minutes=15, equations=("12.1", "12.2"),
    reference="BFCGEAD", alternatives=("FCGBEAD", "FBCGAED"), cases=order_cases,
    prepare=order_the_lines(
        {"A": IN_THE_LOOP + "dS = dS + dO.mT @ Q - dV_t @ K", "B": IN_THE_LOOP + "d_states.append(dS)",
         "C": IN_THE_LOOP + "dX_t = dO.mT @ P + dS @ K.mT", "D": "return d_states, dvs, dS",
         "E": IN_THE_LOOP + "dvs.append(dV_t.mT)", "F": IN_THE_LOOP + "P = (Q @ K.mT).tril()",
         "G": IN_THE_LOOP + "dV_t = beta * dX_t + dX_t @ UT_low"},
        "def sweep(chunks, dS):\n    d_states, dvs = [], []\n    for Q, K, beta, UT_low, dO in reversed(chunks):",
            "sweep",
        distractors={"H": IN_THE_LOOP + "dV_t = beta * dX_t + dX_t @ UT_low.mT",
                     "I": IN_THE_LOOP + "dX_t = dO.mT @ P.mT + dS @ K.mT"}),
    mutants={
        "stores the gradient of the memory that enters": Mistake("FCGAEBD",
            "dK needs dS', the gradient of the memory that *leaves* the chunk. After line A it is that of the one "
            "that enters.",
            "eq. 9.6", next="Put B before A."),
        "updates dS before it has dV_t": Mistake("BFAEGCD",
            "Line A needs dV_t of this chunk, which comes out of lines C and G.", "eq. 12.2"),
        "turns UT over": Mistake("BFCHEAD",
            "Line H is a decoy: with tokens as columns dVᵀ = dXᵀ UT, and UT stays as it is.", "eq. 12.2"),
        "turns P over": Mistake("BFIGEAD",
            "Line I is a decoy: dX = Pᵀ dO, so dXᵀ = dOᵀ P.", "eq. 12.2"),
        "falls for both decoys": Mistake("BFIHEAD",
            "Both decoys turn a matrix over. Transposed, Pᵀ dO is dOᵀ P, and UTᵀ dX is dXᵀ UT.", "eq. 12.2"),
        "solves before it has dX": Mistake("BFGCEAD",
            "Line G takes dX_t through UT, and only line C computes it.", "eq. 12.1"),
        "never stores dS'": Mistake("FCGEAD",
            "d_states stays empty, and dK needs the gradient of the memory that leaves each chunk.", "eq. 9.6"),
        "never stores dV": Mistake("BFCGAD", "dvs stays empty: line E is missing."),
        "never updates dS": Mistake("BFCGED",
            "Without line A every chunk gets the gradient of the last memory.", "eq. 12.2"),
    },
    hints=("Two of the nine lines are decoys. Inside the loop: what is given, P and dS; then dX, dV, and the new dS.",
           "dX needs P and the dS that came in. dV needs dX. The new dS needs dV.",
           "F, C, G, E, A, and B somewhere before A; then D."),
)


# -- 12.3 --------------------------------------------------------------------------------------------------------------

@triton.jit
def backward_sweep_kernel(
    q_ptr, k_ptr, beta_ptr, UT_low_ptr,            # (B, T, H, K) twice, (B, T, H), (B, T, H, C)
    do_ptr, d_final_ptr,                           # (B, T, H, V), (B, H, V, K) float32
    d_states_ptr, dv_ptr, d_initial_ptr,           # out: (B, H, N, V, K), (B, T, H, V), (B, H, V, K) float32
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """One program per V_TILE rows of the memory and head, from the last chunk to the first."""
    v0, head, N = tl.program_id(0) * V_TILE, tl.program_id(1), tl.cdiv(T, C)
    row = tl.arange(0, C)
    dS = tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE))           # (V_TILE, K)  registers, float32
    for step in range(0, N):
        i = N - 1 - step
        # -- load --------------------------------------------------------------------------------------------------
        at_k, there = rows(head, i * C, T, H, K, C, 0, K)
        at_v, _ = rows(head, i * C, T, H, V, C, v0, V_TILE)
        at_UT, _ = rows(head, i * C, T, H, C, C, 0, C)
        q = tl.load(q_ptr + at_k, mask=there, other=0.0)                 # (C, K)       shared memory, as all
        k = tl.load(k_ptr + at_k, mask=there, other=0.0)                 # (C, K)
        UT_low = tl.load(UT_low_ptr + at_UT, mask=there, other=0.0)      # (C, C)
        do = (tl.load(do_ptr + at_v, mask=there, other=0.0) * scale).to(k.dtype)                     # (C, V_TILE)
        beta = strengths(beta_ptr, head, i * C, T, H, C)                 # (C,)         registers
        # -- within the chunk: what the outputs want of each write -------------------------------------------------
        P = tl.where(row[:, None] >= row[None, :], tl.dot(q, tl.trans(k)), 0.0)                      # (C, C)
        dX_t = tl.dot(tl.trans(do), P.to(k.dtype))                       # (V_TILE, C)
        # -- across chunks: what all later chunks want of it -------------------------------------------------------
        dS_out = dS.to(k.dtype)                                          # (V_TILE, K)
        dX_t = tl.dot(dS_out, tl.trans(k), dX_t)                         # (V_TILE, C)
        # -- within the chunk: earlier writes answer for later ones (eq. 12.2) -------------------------------------
        dV_t = tl.dot(dX_t.to(k.dtype), UT_low, dX_t * beta[None, :])    # (V_TILE, C)
        # -- update ------------------------------------------------------------------------------------------------
        dS = tl.dot(tl.trans(do), q, dS)                                 # (V_TILE, K)
        dS = tl.dot((-dV_t).to(k.dtype), k, dS)
        # -- store -------------------------------------------------------------------------------------------------
        tl.store(d_states_ptr + memory(head * N + i, v0, V, K, V_TILE), dS_out)
        tl.store(dv_ptr + at_v, tl.trans(dV_t).to(k.dtype), mask=there)
    tl.store(d_initial_ptr + memory(head, v0, V, K, V_TILE), dS)


@triton.jit
def with_tokens_as_rows(
    q_ptr, k_ptr, beta_ptr, UT_low_ptr, do_ptr, d_final_ptr, d_states_ptr, dv_ptr, d_initial_ptr,
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """The matrices of eq. 12.1 as they stand there, and scale where results are stored."""
    v0, head, N = tl.program_id(0) * V_TILE, tl.program_id(1), tl.cdiv(T, C)
    later = tl.arange(0, C)[:, None] <= tl.arange(0, C)[None, :]
    dS = tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE)) / scale   # (V_TILE, K)
    for step in range(1, N + 1):
        first = (N - step) * C
        at_k, there = rows(head, first, T, H, K, C, 0, K)
        at_v, _ = rows(head, first, T, H, V, C, v0, V_TILE)
        at_UT, _ = rows(head, first, T, H, C, C, 0, C)
        q, k = tl.load(q_ptr + at_k, mask=there, other=0.0), tl.load(k_ptr + at_k, mask=there, other=0.0)
        UT_low, do = tl.load(UT_low_ptr + at_UT, mask=there, other=0.0), tl.load(do_ptr + at_v, mask=there, other=0.0)
        beta = strengths(beta_ptr, head, first, T, H, C)
        tl.store(d_states_ptr + memory(head * N + N - step, v0, V, K, V_TILE), (dS * scale).to(k.dtype))
        P_t = tl.where(later, tl.dot(k, tl.trans(q)), 0.0).to(k.dtype)   # (C, C)
        dX = tl.dot(P_t, do) + tl.dot(k, tl.trans(dS.to(k.dtype)))       # (C, V_TILE)
        dV = beta[:, None] * dX + tl.dot(tl.trans(UT_low), dX.to(k.dtype))                           # (C, V_TILE)
        tl.store(dv_ptr + at_v, (dV * scale).to(k.dtype), mask=there)
        dS += tl.dot(tl.trans(do), q) - tl.dot(tl.trans(dV.to(k.dtype)), k)
    tl.store(d_initial_ptr + memory(head, v0, V, K, V_TILE), dS * scale)


@triton.jit
def with_the_whole_UT(
    q_ptr, k_ptr, beta_ptr, UT_low_ptr, do_ptr, d_final_ptr, d_states_ptr, dv_ptr, d_initial_ptr,
    scale, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr, V_TILE: tl.constexpr,
):
    """UT with its diagonal in one product, a plain beta, tokens counted from the end, indices by hand."""
    tile, head = tl.program_id(0), tl.program_id(1)
    row, width, val = tl.arange(0, C), tl.arange(0, K), tile * V_TILE + tl.arange(0, V_TILE)
    at_S = val[:, None] * K + width[None, :]                             # (V_TILE, K)
    dS = tl.load(d_final_ptr + head * V * K + at_S)                      # (V_TILE, K)
    first = (tl.cdiv(T, C) - 1) * C
    while first >= 0:
        there = first + row < T
        token = (head // H * T + first + row) * H + head % H             # (C,)  in a tensor (B, T, H)
        at_k, at_v = token[:, None] * K + width[None, :], token[:, None] * V + val[None, :]
        q = tl.load(q_ptr + at_k, mask=there[:, None], other=0.0)        # (C, K)
        k = tl.load(k_ptr + at_k, mask=there[:, None], other=0.0)        # (C, K)
        do = tl.load(do_ptr + at_v, mask=there[:, None], other=0.0)      # (C, V_TILE)
        UT = tl.load(UT_low_ptr + token[:, None] * C + row[None, :], mask=there[:, None], other=0.0)
        beta = tl.load(beta_ptr + token, mask=there, other=0.0)          # (C,)
        UT += tl.where(row[:, None] == row[None, :], beta[:, None], 0.0).to(UT.dtype)                # (C, C)
        tl.store(d_states_ptr + (head * tl.cdiv(T, C) + first // C) * V * K + at_S, dS.to(k.dtype))
        QK = tl.dot(q, tl.trans(k)) * scale                              # (C, C)
        P = tl.where(row[:, None] < row[None, :], 0.0, QK).to(k.dtype)
        dX_t = tl.dot(tl.trans(do), P) + tl.dot(dS.to(k.dtype), tl.trans(k))                         # (V_TILE, C)
        dV_t = tl.dot(dX_t.to(k.dtype), UT).to(k.dtype)                  # (V_TILE, C)
        dS += scale * tl.dot(tl.trans(do), q)
        dS -= tl.dot(dV_t, k)
        tl.store(dv_ptr + at_v, tl.trans(dV_t), mask=there[:, None])
        first -= C
    tl.store(d_initial_ptr + head * V * K + at_S, dS)


def sweep_cases(g):
    made = []
    for note, (B, T, H, K, V) in SHAPES.items():
        q, k, _, beta, _, do, d_final = one(g, B, T, H, K, V)
        made.append(Case((q, k, beta, UT_low_of(k, beta), do, d_final, 0.5), f"{note}, T = {T}, K = {K}, V = {V}"))
    return smallest_first(made)


def untouched():
    """Inputs in float16 that leave the gradient of the memory as it is: no query, key or dO but zero."""
    q, do = torch.zeros(1, 20, 1, 16, dtype=torch.float16), torch.zeros(1, 20, 1, 32, dtype=torch.float16)
    UT_low, beta = torch.zeros(1, 20, 1, C, dtype=torch.float16), torch.full((1, 20, 1), 0.5)
    return q, q, beta, UT_low, do, torch.linspace(-1, 1, 512).view(1, 1, 32, 16), 0.5


def passed_on(d_states, dv, d_initial):
    """Has `untouched` what it had, to the digits of float32?"""
    return torch.allclose(d_initial.flatten(), torch.linspace(-1, 1, 512), rtol=1e-5, atol=0)


def slip(*replacements):
    """The sweep with text replaced."""
    return changed(backward_sweep_kernel, *replacements)


LAST = "dS = tl.dot((-dV_t).to(k.dtype), k, dS)"
OUTPUTS = "dS = tl.dot(tl.trans(do), q, dS)"

exercise(
    id="12.3", title="The backward sweep", kind="code", stars=4, minutes=45, equations=("12.1", "12.2"),
    reference=backward_sweep_kernel, alternatives=(with_tokens_as_rows, with_the_whole_UT), cases=sweep_cases,
    prepare=launched(launch_sweep, sweep_outputs, carries=(untouched, passed_on)), tolerance=1e-5,
    mutants={
        CARRIED: Mistake(slip((LAST, LAST + ".to(k.dtype).to(tl.float32)")), MEANINGS[CARRIED],
            next="dS stays float32; only its copy, `dS.to(k.dtype)`, is rounded."),
        "loads the tail without a mask": Mistake(slip(("q_ptr + at_k, mask=there, other=0.0", "q_ptr + at_k")),
            "The last chunk need not be full. Rows after the last token belong to the next sequence, or to nobody.",
            next="`rows` returns which tokens there are: give it to every load as `mask`, with `other=0.0`."),
        "stores the tail without a mask": Mistake(slip(("tl.trans(dV_t).to(k.dtype), mask=there",
                "tl.trans(dV_t).to(k.dtype)")),
            "The rows of dV after the last token are not yours: in a batch the next sequence begins there.",
            next="Give the mask of the loads to the store, too."),
        "lets all heads store the same memories": Mistake(slip(("memory(head * N + i,", "memory(i,")),
            "Every head has its own N memories. With i alone as their number, the heads write over each other: the "
            "interpreter lets the last one win, a GPU any of them.",
            next="Which number has chunk i of this head in a tensor (B, H, N, V, K)?"),
        "lets all tiles take the first columns": Mistake(slip(("V, C, v0, V_TILE)", "V, C, 0, V_TILE)")),
            "dO and dV are cut into tiles of V_TILE columns, and this program's begin at v0. Now all tiles write the "
            "first, and the others are left."),
        "stores dV of all tiles in the first columns": Mistake(slip(("tl.store(dv_ptr + at_v,",
                "tl.store(dv_ptr + rows(head, i * C, T, H, V, C, 0, V_TILE)[0],")),
            "dO is loaded from this program's columns, and dV stored to the first ones: v0 is missing in the store."),
        "stores all tiles of dS' in the first rows": Mistake(slip(("memory(head * N + i, v0,",
                                                                   "memory(head * N + i, 0,")),
            "A program has the rows v0, v0 + 1, ... of dS'. Stored without v0 they all end up in the first ones."),
        "takes K for V": Mistake(slip(("T, H, V, C, v0, V_TILE)", "T, H, K, C, v0, V_TILE)")),
            "Rows of dO and dV are V numbers long, and K is not V. With K = V nobody would see it."),
        "keeps the upper triangle": Mistake(slip(("row[:, None] >= row[None, :]", "row[:, None] <= row[None, :]")),
            "P = tril(Q Kᵀ): row t is a query, column i a key, and a query sees what is written up to its own token, "
            "i ≤ t.",
            "eq. 9.4"),
        "drops the diagonal": Mistake(slip(("row[:, None] >= row[None, :]", "row[:, None] > row[None, :]")),
            "A token reads after its own write, so P keeps its diagonal.", "eq. 9.4"),
        "does not mask P": Mistake(slip(("tl.where(row[:, None] >= row[None, :], tl.dot(q, tl.trans(k)), 0.0)",
                "tl.dot(q, tl.trans(k))")),
            "Without the mask a query also sees what later tokens write: the future.", "eq. 9.4"),
        "forgets beta": Mistake(slip(("dX_t * beta[None, :]", "dX_t")),
            "The diagonal of UT is β, and UT_low comes without it: dV = β ⊙ dX + UT_lowᵀ dX.", "eq. 12.1"),
        "leaves the diagonal of UT out": Mistake(slip((", dX_t * beta[None, :])", ")")),
            "UT_low is UT below its diagonal. The diagonal, β, is still to be added: β ⊙ dX.", "eq. 12.1"),
        "forgets scale": Mistake(slip(("other=0.0) * scale)", "other=0.0))")),
            "o = scale (Q Sᵀ + P X). So what arrives at the bracket is scale times dO, wherever dO is used.",
            next="Multiply dO once, when it has been loaded."),
        "scales only what P brings": Mistake(slip(("other=0.0) * scale)", "other=0.0))"), ("tl.trans(k)), 0.0)",
                "tl.trans(k)), 0.0) * scale")),
            "dO is used twice: in Pᵀ dO, and in dOᵀ Q. Both carry the scale."),
        "scales only what the queries read": Mistake(slip(("other=0.0) * scale)", "other=0.0))"),
                (OUTPUTS, "dS += scale * tl.dot(tl.trans(do), q)")),
            "dO is used twice: in dOᵀ Q, and in Pᵀ dO. Both carry the scale."),
        "keeps dS in bfloat16": Mistake(slip((LAST, LAST + ".to(tl.bfloat16).to(tl.float32)")),
            "The values are nearly right, and worse with every chunk: dS is rounded each time around. Round what a "
            "product takes in, never what is carried on.", next="dS stays float32; only its copy, `dS.to(k.dtype)`, "
                                                                "is rounded."),
        "rounds P to bfloat16": Mistake(slip(("P.to(k.dtype)", "P.to(tl.bfloat16).to(k.dtype)")),
            "The inputs are float32 here, and P is rounded to bfloat16, three digits. Round to the dtype that came in.",
            next="`P.to(k.dtype)`"),
        "takes UT the forward way round": Mistake(slip(("k.dtype), UT_low, dX_t", "k.dtype), tl.trans(UT_low), dX_t")),
            "Forward it is X = UT R, so backward dV = UTᵀ dX. With tokens as columns that is dXᵀ UT, as UT was loaded.",
            "eq. 12.2"),
        "scales what arrives from outside as well": Mistake(slip(
                ("tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE)) ",
                 "scale * tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE)) ")),
            "The scale belongs to the outputs. d_final is a gradient already, scale and all: dO alone is multiplied. "
            "Or, if results are multiplied when they are stored, d_final is divided first.", "eq. 12.2"),
        "scales dV alone": Mistake(slip(("other=0.0) * scale)", "other=0.0))"), ("tl.trans(dV_t).to",
                "tl.trans(dV_t * scale).to")),
            "What reaches dV from later chunks has its scale already. dO is multiplied, at once, wherever it is used.",
            "eq. 12.2"),
        "multiplies by β twice": Mistake(slip(("tl.dot(dX_t.to(k.dtype), UT_low",
                                              "tl.dot((dX_t * beta[None, :]).to(k.dtype), UT_low")),
            "UT_low has its diag(β) already: only the diagonal term has a β of its own.", "eq. 12.1"),
        "takes away what the queries read": Mistake(slip((OUTPUTS, "dS = tl.dot(tl.trans(-do), q, dS)")),
            "O = Q Sᵀ + P X: what the queries read is added, dOᵀ Q.", "eq. 12.2"),
        "scales dV as well": Mistake(slip(("tl.trans(dV_t).to", "tl.trans(dV_t * scale).to")),
            "dO was multiplied when it was loaded, so dV has its scale already.", "eq. 12.2"),
        "turns P over": Mistake(slip(("P.to(k.dtype)", "tl.trans(P).to(k.dtype)")),
            "dX = Pᵀ dO. With tokens as columns that is dXᵀ = dOᵀ P: P stays as it is.", "eq. 12.2"),
        "leaves UT out": Mistake(slip(("tl.dot(dX_t.to(k.dtype), UT_low, dX_t * beta[None, :])",
                "dX_t * beta[None, :]")),
            "β dX is what a token would get that is alone in its chunk. Earlier writes answer for later ones: UT_lowᵀ.",
            "eq. 12.1"),
        "begins dS anew in each chunk": Mistake(slip((OUTPUTS, "dS = tl.dot(tl.trans(do), q)")),
            "dS is carried from chunk to chunk: dS' + dOᵀ Q − dVᵀ K.", "eq. 12.2"),
        "never takes away what the values take": Mistake(slip((LAST, "dS = dS")),
            "R = V − K Sᵀ: the memory enters the error as well, and dVᵀ K is taken away.", "eq. 12.2"),
        "asks dS' with queries": Mistake(slip(("tl.dot(dS_out, tl.trans(k), dX_t)", "tl.dot(dS_out, tl.trans(q), dX_t)"
                )),
            "A write is stored under its *key*: what later chunks want of it is K dS'ᵀ.", "eq. 12.2"),
        "rounds dX": Mistake(slip(("# -- within the chunk: earlier writes answer",
                "dX_t = dX_t.to(tl.bfloat16).to(tl.float32)  # -- earlier writes answer")),
            "The inputs are float32, and dX keeps three digits. `.to(k.dtype)` rounds where it should.", "eq. 12.1"),
        "takes the first columns of dO in every tile": Mistake(slip(("tl.load(do_ptr + at_v,",
                "tl.load(do_ptr + rows(head, i * C, T, H, V, C, 0, V_TILE)[0],")),
            "A program with the rows v0, v0 + 1, ... of dS needs those columns of dO. Yours loads the first V_TILE in "
            "each.", next="`rows(head, i * C, T, H, V, C, v0, V_TILE)`"),
        "stores dS' in the place of a chunk N": Mistake(slip(("i = N - 1 - step", "i = N - step")),
            "Places for dS' are numbered from 0 to N − 1. Behind them begins the next head, and behind the last head "
            "nothing is yours. Often i begins with N in the place of N − 1.",
            next="Which number has the last chunk for N = 1, and where does its dS' belong?"),
        "begins all tiles with the first rows of d_final": Mistake(slip(("d_final_ptr + memory(head, v0,",
                                                                         "d_final_ptr + memory(head, 0,")),
            "A program has the rows v0, v0 + 1, ... of dS, from its first to its last value: d_final is cut likewise."),
        "scales P as well": Mistake(slip(("tl.dot(q, tl.trans(k)), 0.0)", "tl.dot(q, tl.trans(k)) * scale, 0.0)")),
            "dO has its scale from the load, and P has none: in Pᵀ dO yours comes in twice.", "eq. 12.2"),
        "stores the gradient of the first memory too early": Mistake(slip(
                ("    tl.store(d_initial_ptr + memory(head, v0, V, K, V_TILE), dS)\n", ""),
                ("        " + OUTPUTS, "        tl.store(d_initial_ptr + memory(head, v0, V, K, V_TILE), dS)\n"
                 "        " + OUTPUTS)),
            "What is stored there is dS from before the update of chunk 0. The first memory has been read by that "
            "chunk, too.", "eq. 12.2", next="Store it after the loop."),
        "takes the strengths of another chunk": Mistake(slip(("strengths(beta_ptr, head, i * C",
                                                              "strengths(beta_ptr, head, step * C")),
            "Everything of a step belongs to chunk i, β as well. `step` counts from the end."),
        "takes UT_low for a matrix of all tokens": Mistake(slip(("T, H, C, C, 0, C)", "T, H, C, C, i * C, C)")),
            "UT_low is (B, T, H, C): a row has C numbers, those of its own chunk, and its columns begin at 0 in every "
            "chunk."),
        "lets a chunk's own queries into what comes from later ones": Mistake(
            slip(("tl.dot(dS_out, tl.trans(k), dX_t)",
                  "tl.dot(tl.dot(tl.trans(do), q, dS).to(k.dtype), tl.trans(k), dX_t)")),
            "K dS'ᵀ is what *later* chunks want. dOᵀ Q of this chunk is in your dS already, and what its own queries "
            "want comes through P.", "eq. 12.2"),
        "stores the last dS without the scale": Mistake(
            slip(("tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE)) ",
                  "tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE)) / scale "),
                 ("other=0.0) * scale).to(k.dtype)", "other=0.0))"),
                 ("dS_out = dS.to(k.dtype) ", "dS_out = dS.to(k.dtype); scaled = (dS * scale).to(k.dtype) "),
                 ("V_TILE), dS_out)", "V_TILE), scaled)"),
                 ("tl.trans(dV_t).to(k.dtype)", "tl.trans(dV_t * scale).to(k.dtype)")),
            "dS' and dV are right, and so is your dS but for its scale: `d_initial` is stored without it."),
        "leaves the first chunk out": Mistake(slip(("range(0, N)", "range(0, N - 1)")),
            "Chunk 0 has a gradient, too: the last step of the loop is i = 0. `range(N - 1, 0, -1)` ends with 1.",
            next="Which values does i take for N = 1, and for N = 2?"),
        "numbers memories by chunks first": Mistake(slip(("memory(head * N + i,", "memory(i * H + head,")),
            "d_states is (B, H, N, V, K): all chunks of a head, then the next head."),
        "updates dS before it is used": Mistake(slip(("dS_out = dS.to(k.dtype) ", OUTPUTS + "; dS_out = dS.to(k.dtype) "
                ), (OUTPUTS + " ", "dS = dS ")),
            "dS' is the gradient of the memory that leaves. dOᵀ Q belongs to the one that enters: it comes on top at "
            "the end of the step.", "eq. 12.2"),
        "stores the gradient of the memory that enters": Mistake(slip(("V_TILE), dS_out)", "V_TILE), dS.to(k.dtype))")),
            "For dK each chunk needs dS', the gradient of the memory that *leaves* it. After the update it is gone.",
            "eq. 9.6", next="Keep what stood there before the update, and store that."),
        "runs from the first chunk to the last": Mistake(slip(("i = N - 1 - step", "i = step")),
            "dS of one chunk is dS' of the chunk before it: the last chunk comes first."),
        "adds what the values take away": Mistake(slip(("(-dV_t)", "(dV_t)")),
            "R = V − K Sᵀ: the memory enters the error with a minus. So dS = dS' + dOᵀQ − dVᵀK.", "eq. 12.2"),
        "takes dX for dV in the update": Mistake(slip(("(-dV_t)", "(-dX_t)")),
            "What reaches the memory through the errors has passed the triangular system: it is dV, not dX.",
                "eq. 12.2"),
        "stores dX for dV": Mistake(slip(("tl.trans(dV_t)", "tl.trans(dX_t)")),
            "dX is the gradient on the writes. The values get dV, which has passed through UTᵀ.", "eq. 12.1"),
        "begins with nothing": Mistake(slip(("tl.load(d_final_ptr + memory(head, v0, V, K, V_TILE))",
                "tl.zeros((V_TILE, K), tl.float32)")),
            "The memory after the last token is a result, too, and d_final is its gradient: dS begins there."),
        "forgets what the queries read of the memory": Mistake(slip((OUTPUTS, "dS = dS")),
            "O = Q Sᵀ + P X: the entering memory is read by every query. That is the term dOᵀ Q.", "eq. 12.2"),
        "reads the memory with keys": Mistake(slip((OUTPUTS, "dS = tl.dot(tl.trans(do), k, dS)")),
            "The outputs ask the memory with queries: dOᵀ Q.", "eq. 12.2"),
        "swaps queries and keys in P": Mistake(slip(("tl.dot(q, tl.trans(k))", "tl.dot(k, tl.trans(q))")),
            "P = tril(Q Kᵀ), queries as rows. Yours is tril(K Qᵀ).", "eq. 9.4"),
        "forgets the chunks that come after": Mistake(slip(("dX_t = tl.dot(dS_out, tl.trans(k), dX_t)", "dX_t = dX_t")),
            "A write is read in its own chunk, Pᵀ dO, and by all later chunks through the memory: K dS'ᵀ.", "eq. 12.2"),
    },
    hints=("It is the forward sweep in the other direction: load dS, then for each chunk, from the last, the four "
           "products of eq. 12.2, then dS.",
           "With tokens as columns: P as (C, C), dX_t = dot(dOᵀ, P) + dot(dS, Kᵀ), dV_t = dX_t * beta + dot(dX_t, "
           "UT_low). Store the dS that came in before you change it.",
           "The update: `dS = tl.dot(tl.trans(do), q, dS)`, then `dS = tl.dot((-dV_t).to(k.dtype), k, dS)`. Loads by "
           "`rows` and `memory`, all with masks; do times scale at once."),
)
