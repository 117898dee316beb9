"""Exercise 11.6: the second stage of the build of chapter 11, the memory."""

import torch
import triton

from ...tutor import Mistake, exercise
from ..kernel_answers import by_chunks, by_sequences, changed, launched
from ..kernel_faults import CARRIED, MEANINGS
from .build import HEADS_APART, NEXT, rounded, tails
from .forward import memory_kernel
from .inputs import UT_low_of, cases, small_writes
from .other_ways import memory_by_rows, memory_by_tokens


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
            MEANINGS[CARRIED], "eq. 11.3"),
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
        "takes the tensors for (B, H, T, ...)": Mistake(
            memory_with(("head = b * T * H + h", "head = (b * H + h) * T"),
                        ("n * C, T, H * K, C, K", "n * C, T, K, C, K"),
                        ("n * C, T, H * V, C, V_TILE)      ", "n * C, T, V, C, V_TILE)      "),
                        ("n * C, T, H * C, C, C", "n * C, T, C, C, C"), ("n * C, T, H, C)", "n * C, T, 1, C)"),
                        ("tl.trans(X_t), n * C, T, H * V", "tl.trans(X_t), n * C, T, V")), HEADS_APART),
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
