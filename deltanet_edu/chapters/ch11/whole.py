"""Exercise 11.8: the last stage of the build of chapter 11, the whole forward pass."""

import inspect

import torch
import triton

from ...tutor import Mistake, exercise
from ..kernel_answers import by_sequences, changed, python_function, watched
from ..kernel_faults import CARRIED, MEANINGS, TRAFFIC
from .build import LOAD, MEETS, NEXT, NO_LOAD_MASK, NO_STORE_MASK, NO_STRENGTH_MASK, STORE, launch_inverse, rounded
from .forward import delta_rule, forward_kernel, inverse_kernel, memory_kernel, output_kernel
from .inputs import OF_THE_WHOLE, cases, chunks_alike, small_writes
from .memory import launch_memory
from .other_ways import in_one_launch, one_token_a_step
from .outputs import launch_output


def whole(forward=(), inverse=(), launch=(), **helpers):
    """delta_rule with text of its kernels or of itself replaced, or with other helpers."""
    kernels = {"forward_kernel": (forward_kernel, forward), "inverse_kernel": (inverse_kernel, inverse)}
    others = {name: changed(kernel, *pairs, **helpers) for name, (kernel, pairs) in kernels.items() if pairs or helpers}
    return changed(delta_rule, *launch, **others)


LENGTH = "min(K, 64)"                                                    # of a chunk, in delta_rule


def in_the_same_chunks(mutant, how):
    """The mutant with chunks as long as the answer's, if its text says how long they are."""
    lengths = (how or {}).get("C", ())
    if len(lengths) != 1 or inspect.getsource(python_function(mutant)).count(LENGTH) != 1:
        return None
    return changed(mutant, (LENGTH, str(*lengths)))


def in_three_launches(q, k, v, beta, scale=1.0):
    (B, T, H, K), V = q.shape, v.shape[3]
    C, N, UT_low = 16, triton.cdiv(T, 16), q.new_empty(B, T, H, 16)
    states, X, o = q.new_empty(B, N, H, V, K), torch.empty_like(v), torch.empty_like(v)
    launch_inverse(inverse_kernel, k, beta, C, UT_low)
    launch_memory(memory_kernel, k, v, beta, UT_low, states, X)
    launch_output(output_kernel, q, k, states, X, scale, o)
    return o


def least(q, k, v, beta, scale, o):
    """Bytes of q, k, v, beta read and o written once."""
    return sum(x.numel() * x.itemsize for x in (q, k, v, beta, o))


def moved_more_often(seen):
    """Sentences: what the launches hand each other, and what many programs read."""
    tensors = {}                                                         # by storage: name, bytes, loaded, stored
    for launch in seen.launches:
        for name, x in launch.tensors.items():
            whole = tensors.setdefault(x.memory.storage.data_ptr(), [name.removesuffix("_ptr"), 0, 0, 0])
            whole[1:] = len(x.offsets) * x.itemsize, whole[2] + x.loaded, whole[3] + x.stored
    least = min(n for _, n, _, _ in tensors.values())                    # β: a number for each token; UT_low has C
    handed = [name for name, n, loaded, stored in tensors.values() if loaded and stored and n > 8 * least]
    often = [f"{name} {round(loaded / n)} times" for name, n, loaded, _ in tensors.values() if loaded >= 2.9 * n]
    said = []
    if len(handed) > 1:
        said += [f"One launch stores and another loads: {', '.join(handed)}. Only the inverse has to go that way: put "
                 "the lines of stage 3 into the loop of stage 2, and store neither memories nor writes."]
    if often:
        said += [f"It reads {', '.join(often)}. If that is once for each program of a head: at K = V = 64, where bytes "
                 "are counted, one program can own all 64 rows, V_TILE = 64."]
    return said


OF_THE_BATCH = "O_t * scale), first, tl.num_programs(0) // (tiles * H) * T - b * T,"

exercise(
    id="11.8", title="Stage 4: the whole", kind="code", stars=5, minutes=40, equations=("11.3", "11.4", "11.5", "11.6"),
    reference=delta_rule, alternatives=(in_one_launch, one_token_a_step),
    sources=(inverse_kernel, forward_kernel, delta_rule),
    cases=cases(lambda g, q, k, v, beta, C: (q, k, v, beta, 0.5), OF_THE_WHOLE), tolerance=2e-5,
    prepare=watched(most=2.0, floor=least, parts=by_sequences, alike=chunks_alike,
                    likewise=in_the_same_chunks, why_moved=moved_more_often,
                    carries=(lambda: (*small_writes(32), 1.0), lambda o: bool(o[0, -1, 0, 0] > 1))),
    mutants={
        CARRIED: Mistake(whole([("S = tl.dot(X_t, k, S) ", "S = tl.dot(X_t, k, S).to(k.dtype).to(tl.float32) ")]),
            MEANINGS[CARRIED], "eq. 11.3"),
        TRAFFIC: Mistake(in_three_launches,
            "It is right, and more bytes travel than must: `o` is all that has to be stored beside the inverse, and "
            "keys need not be read by many programs.", "eq. 11.6"),
        "loads the tail without a mask": Mistake(whole(load_rows=NO_LOAD_MASK), LOAD, next=NEXT),
        "loads β without a mask": Mistake(whole(load_strengths=NO_STRENGTH_MASK), LOAD, next=NEXT),
        "stores the tail without a mask": Mistake(whole(store_rows=NO_STORE_MASK), STORE, next=NEXT),
        "guards the end of the batch, not of each sequence": Mistake(
            whole([("O_t * scale), first, T,", OF_THE_BATCH)]), MEETS,
            next="With B = 2 and T = 20: whose are the rows 20 to 31?"),
        "gives every program the same rows": Mistake(whole([("program % tiles * V_TILE", "0")]),
            "The programs of one head share its rows out. All of yours take the first V_TILE.", "eq. 11.1"),
        "stores all outputs in the first columns": Mistake(whole([("o_ptr + head * V + v0", "o_ptr + head * V")]),
            "The program that owns rows v0, v0 + 1, ... of the memory makes those columns of o, and stores them there.",
            "eq. 11.1"),
        "launches one program a head, whatever V": Mistake(whole(launch=[("B * H * (V // V_TILE)", "B * H")]),
            "There are V // V_TILE programs a head. With fewer, some of the outputs belong to nobody.", "eq. 11.1"),
        "launches one program a head, with tiles of 16": Mistake(
            whole(launch=[("min(V, 64)", "16"), ("B * H * (V // V_TILE)", "B * H")]),
            "A program owns V_TILE rows of the memory, so there are V // V_TILE programs a head. With fewer, some of "
            "the outputs belong to nobody.", "eq. 11.1"),
        "launches one program a head, with tiles of half of V": Mistake(
            whole(launch=[("min(V, 64)", "max(16, V // 2)"), ("B * H * (V // V_TILE)", "B * H")]),
            "A program owns V_TILE rows of the memory, so there are V // V_TILE programs a head, two of them here.",
            "eq. 11.1"),
        "leaves the outputs unwritten where V is small": Mistake(whole(launch=[("min(V, 64)", "64")]),
            "With V_TILE = 64 and V = 16 or 32, V // V_TILE is 0, a grid without programs: V_TILE ≤ V.",
            "eq. 11.1"),
        "leaves the last chunk without an inverse": Mistake(whole(launch=[("triton.cdiv(T, C)", "(T // C)")]),
            "There are ⌈T / C⌉ chunks, and a program for each. With ⌊T / C⌋ UT_low of the last one is what happened "
            "to be in memory.", next=NEXT),
        "makes o as wide as q": Mistake(whole(launch=[("torch.empty_like(v)", "torch.empty_like(q)")]),
            "o is (B, T, H, V), as v is. Its rows have V numbers, those of q have K."),
        "forgets what the chunk has written": Mistake(whole([("O_t = tl.dot(X_t, P_t, O_t)", "O_t = O_t")]),
            "That is what the memory said before the chunk. X_t P_t is missing.", "eq. 11.4"),
        "has queries and keys exchanged": Mistake(whole(launch=[("(q, k, v, beta, UT_low", "(k, q, v, beta, UT_low")]),
            "The second kernel is handed the keys where it expects the queries."),
        "reads v with the stride of k": Mistake(
            whole([("v_ptr + head * V + v0, first, T, H * V", "v_ptr + head * K + v0, first, T, H * K")]),
            "A row of v has V numbers, one of k has K. With K = V nobody would notice."),
        "lets tokens see later ones": Mistake(whole([("row[:, None] <= row", "row[:, None] >= row")]),
            "In K Qᵀ a row has written and a column reads, the same token or a later one: the *upper* triangle.",
            "eq. 11.4"),
        "hides each token from itself": Mistake(whole([("row[:, None] <= row", "row[:, None] < row")]),
            "A token writes first and reads second: the diagonal belongs to the mask.", "eq. 11.4"),
        "has readers and writers exchanged": Mistake(whole([("tl.dot(k, tl.trans(q))", "tl.dot(q, tl.trans(k))")]),
            "With tokens as columns it is triu(K Qᵀ). Q Kᵀ has the readers in its rows.", "eq. 11.4"),
        "forgets β": Mistake(whole([("R_t * beta[None, :]", "R_t")]),
            "The diagonal of UT is β: R goes in scaled by the write strength of each token.", "eq. 11.5"),
        "forgets the diagonal": Mistake(whole([("tl.trans(UT_low), R_t * beta[None, :])", "tl.trans(UT_low))")]),
            "UT_low lacks its diagonal: what a token writes first of all is β times its own error.", "eq. 11.5"),
        "does not mask at all": Mistake(
            whole([("tl.where(row[:, None] <= row[None, :], tl.dot(k, tl.trans(q)), 0.0)", "tl.dot(k, tl.trans(q))")]),
            "Tokens would see what later ones write: keep triu(K Qᵀ).", "eq. 11.4"),
        "turns UT_low the wrong way": Mistake(whole([("tl.trans(UT_low)", "UT_low")]),
            "With tokens as columns, the transpose of UT stands on the right: Xᵀ = Rᵀ UTᵀ.", "eq. 11.3"),
        "reads the memory that leaves": Mistake(
            whole([("tl.dot(S_in, tl.trans(q)) ", "S * 0.0 "), ("X_t, P_t, O_t)", "X_t, P_t, tl.dot((S + tl.dot(X_t, k"
                    ")).to(k.dtype), tl.trans(q)))")]),
            "What the chunk has written reaches its outputs by X_t P_t. S must be read before it is updated.",
            "eq. 11.4"),
        "multiplies by β twice": Mistake(
            whole([("tl.dot(R_t.to(k.dtype), tl", "tl.dot((R_t * beta[None, :]).to(k.dtype), tl"),
                   ("UT_low), R_t * beta[None, :])", "UT_low), R_t * beta[None, :] * beta[None, :])")]),
            "UT has diag(β) once, in UT_low and on its diagonal: R goes in as it is, V − K Sᵀ.", "eq. 11.5"),
        "reads what each token would write alone": Mistake(whole([("tl.dot(X_t, P_t, O_t)",
                                                                   "tl.dot(R_t * beta[None, :], P_t, O_t)")]),
            "β R is what a token would write if it were alone in its chunk. What it does write is X.", "eq. 11.4"),
        "never asks the memory": Mistake(whole([(" - tl.dot(S_in, tl.trans(k))", "")]),
            "R is what is wrong, V − K Sᵀ. Yours writes V, as if the memory were empty in every chunk.", "eq. 11.3"),
        "adds what the memory says": Mistake(whole([(" - tl.dot(S_in, tl.trans(k))", " + tl.dot(S_in, tl.trans(k))")]),
            "R is the value minus what the memory says.", "eq. 11.3"),
        "starts every chunk with an empty memory": Mistake(whole([("tl.dot(X_t, k, S) ", "S * 0.0 ")]),
            "The memory must survive from one pass of the loop to the next: create it before the loop.", "eq. 11.3"),
        "leaves a level of the inverse out": Mistake(whole(launch=[("C.bit_length() - 1", "C.bit_length() - 2")]),
            "LEVELS and C belong together, C = 2 ** LEVELS: with a level too few the largest corners stay empty.",
            "eq. 11.2", next="How often can C be halved?"),
        "inverts with the queries": Mistake(whole(launch=[("(k, beta, UT_low, T", "(q, beta, UT_low, T")]),
            "UT comes from the overlaps of keys. The first kernel is handed the queries.", "eq. 11.2"),
        "stores UT with its diagonal": Mistake(whole(inverse=[("row > col, T1", "row >= col, T1")]),
            "The second kernel adds β R for the diagonal. Stored as well, it counts twice: UT_low is strictly lower.",
            "eq. 11.5"),
        "is linear attention": Mistake(
            whole([(" - tl.dot(S_in, tl.trans(k))", ""),
                   ("tl.dot(R_t.to(k.dtype), tl.trans(UT_low), R_t * beta[None, :])", "(R_t * beta[None, :])")]),
            "Values are written as they come, β v kᵀ: nobody looks at what the memory says already.", "eq. 11.3"),
        "reads the same columns of v in every program": Mistake(
            whole([("v_ptr + head * V + v0, first", "v_ptr + head * V, first")]),
            "The program that owns rows v0, v0 + 1, ... of the memory needs those columns of v.", "eq. 11.1"),
        "scales by 1 over the root of K as well": Mistake(
            whole([("O_t * scale", "O_t * scale / tl.sqrt(K * 1.0)")]),
            "The scale is an argument, and there is no other.", "eq. 11.4"),
        "keeps only what the last chunk wrote": Mistake(whole([("tl.dot(X_t, k, S)", "tl.dot(X_t, k)")]),
            "Xᵀ K is the change. The memory was not empty before: S + Xᵀ K.", "eq. 11.3"),
        "forgets the memory when it reads": Mistake(whole([("tl.dot(X_t, P_t, O_t)", "tl.dot(X_t, P_t)")]),
            "That is what the chunk itself has written. S Qᵀ is missing.", "eq. 11.4"),
        "forgets the scale": Mistake(whole([("O_t * scale", "O_t")]),
            "s stands in front of the bracket: what the memory says is scaled, and what the chunk wrote.", "eq. 11.4"),
        "scales what the chunk has written only": Mistake(
            whole([("tl.dot(X_t, P_t, O_t)", "tl.dot(X_t, P_t * scale, O_t)"), ("O_t * scale), first", "O_t), first")]),
            "s stands in front of the bracket: what the memory says is scaled, too.", "eq. 11.4"),
        "scales one term only": Mistake(
            whole([("tl.dot(X_t, P_t, O_t)", "tl.dot(X_t, P_t, O_t * scale)"), ("O_t * scale), first", "O_t), first")]),
            "s stands in front of the bracket: what the chunk wrote is scaled, too.", "eq. 11.4"),
        "rounds the memory in every chunk": Mistake(whole([rounded("tl.dot(X_t, k, S)")]),
            "S is rounded to bfloat16 once a chunk, and over thousands of chunks that adds up. Keep it in float32, and "
            "round only the copy that goes into a product.", "eq. 11.3"),
    },
    hints=("Two launches: stage 1 as it is, then one kernel that keeps the memory and computes the outputs.",
           "Take the loop of stage 2. Load q too. O_t = S Qᵀ before the update, plus X_t triu(K Qᵀ) after X_t is "
           "known.",
           "`P_t = tl.where(row[:, None] <= row[None, :], tl.dot(k, tl.trans(q)), 0.0)`, "
           "`O_t = tl.dot(X_t, P_t, tl.dot(S, tl.trans(q)))`, and store `tl.trans(O_t * scale)`."),
)
