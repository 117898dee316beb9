"""Exercise 11.7: the third stage of the build of chapter 11, the outputs."""

import torch

from ...tutor import Mistake, exercise
from ..kernel_answers import by_chunks, by_sequences, changed, launched
from .build import HEADS_APART, rounded, tails
from .forward import output_kernel
from .inputs import cases, random_memories
from .other_ways import output_by_columns, output_by_value


def launch_output(kernel, q, k, states, X, scale, o):
    (B, T, H, K), (_, N, _, V, _) = k.shape, states.shape
    kernel[(B * N * H,)](q, k, states, X, o, scale, T, H, K, V, 16)


def output_inputs(g, q, k, v, beta, C):
    return q, k, *random_memories(g, q, v, C), 0.5


def output_with(*replaced):
    return changed(output_kernel, *replaced)


exercise(
    id="11.7", title="Stage 3: the outputs", kind="code", stars=3, minutes=20, equations=("8.5", "11.4"),
    reference=output_kernel, alternatives=(output_by_columns, output_by_value),
    cases=cases(output_inputs), tolerance=2e-5,
    prepare=launched(launch_output, lambda q, k, states, X, scale: torch.empty_like(X),
                     parts=(by_sequences, by_chunks(16))),
    mutants={
        **tails(output_kernel, "O * scale, n * C, T,", "O * scale, n * C, tl.num_programs(0) // (N * H) * T - b * T,"),
        "stores every chunk in the place of the first": Mistake(output_with(("O * scale, n * C", "O * scale, 0")),
            "Each program loads its own chunk, and stores to the first: the outputs of chunk n begin at token n C."),
        "takes the queries of the first chunk in each program": Mistake(
            output_with(("q_ptr + head * K, n * C", "q_ptr + head * K, 0")),
            "Chunk n begins at token n C, for q as well."),
        "takes the keys of the first chunk in each program": Mistake(
            output_with(("k_ptr + head * K, n * C", "k_ptr + head * K, 0")),
            "Chunk n begins at token n C, for k as well."),
        "takes the writes of the first chunk in each program": Mistake(
            output_with(("X_ptr + head * V, n * C", "X_ptr + head * V, 0")),
            "Chunk n begins at token n C, for X as well."),
        "takes the memories of the first head": Mistake(
            output_with(("((b * N + n) * H + h)", "((b * N + n) * H)")),
            "states is (B, N, H, V, K): within a chunk the memory of head h is h memories further on."),
        "takes the memories of the first sequence": Mistake(
            output_with(("((b * N + n) * H + h)", "(n * H + h)")),
            "states is (B, N, H, V, K): a sequence has N · H memories, those of sequence b begin b N H further on."),
        "walks from head to head in X": Mistake(
            output_with(("X_ptr + head * V, n * C, T, H * V", "X_ptr + head * V, n * C, T, V")),
            "Tokens of one head lie H rows apart: (B, T, H, V). With stride V the next row is the next head's."),
        "stores outputs of all heads in the first": Mistake(
            output_with(("o_ptr + head * V", "o_ptr + b * T * H * V")),
            "The first output of this program's head is h rows further on. Yours stores those of all heads to head 0."),
        "averages the scores": Mistake(output_with(("0.0).to(q.dtype) ", "0.0).to(q.dtype) / (row + 1) ")),
            "Nothing is divided by the number of tokens that are seen: O = s (Q Sᵀ + P X).", "eq. 8.5"),
        "puts minus infinity above the diagonal": Mistake(
            output_with(("tl.trans(k)), 0.0)", 'tl.trans(k)), -float("inf"))')),
            "Minus infinity is for a softmax, which makes zeros of it. Here P itself is used: zeros.", "eq. 8.5"),
        "reads the memory without its transpose": Mistake(output_with(("tl.trans(S.to(q.dtype))", "S.to(q.dtype)")),
            "A memory is (V, K): a query meets its rows, Q Sᵀ. With K = V the shapes fit without it, and nothing else "
            "does.", "eq. 8.5"),
        "takes the memory's part away": Mistake(
            output_with(("tl.dot(q, tl.trans(S.to(q.dtype)))", "-tl.dot(q, tl.trans(S.to(q.dtype)))")),
            "O = s (Q Sᵀ + P X): both terms are added.", "eq. 8.5"),
        "reads the memory with rows of length V": Mistake(
            output_with(("tl.arange(0, V)[:, None] * K + tl", "tl.arange(0, V)[:, None] * V + tl")),
            "A memory is (V, K): its rows have K numbers."),
        "takes the tensors for (B, H, T, ...)": Mistake(
            output_with(("head = b * T * H + h", "head = (b * H + h) * T"),
                        ("q_ptr + head * K, n * C, T, H * K", "q_ptr + head * K, n * C, T, K"),
                        ("k_ptr + head * K, n * C, T, H * K", "k_ptr + head * K, n * C, T, K"),
                        ("X_ptr + head * V, n * C, T, H * V", "X_ptr + head * V, n * C, T, V"),
                        ("O * scale, n * C, T, H * V", "O * scale, n * C, T, V")), HEADS_APART),
        "reads the memory of the first chunk": Mistake(output_with(("(b * N + n) * H + h", "(b * N) * H + h")),
            "Each chunk has a memory of its own that enters it. Yours reads that of chunk 0.", "eq. 8.5"),
        "lets tokens see later ones": Mistake(output_with(("row >= col", "row <= col")),
            "Row t of Q Kᵀ may use columns i ≤ t: the *lower* triangle, if tokens are rows.", "eq. 8.5"),
        "does not mask at all": Mistake(output_with(("tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0)",
                                                     "tl.dot(q, tl.trans(k))")),
            "Row t of Q Kᵀ may use columns i ≤ t only. Yours reads the whole chunk.", "eq. 8.5"),
        "hides each token from itself": Mistake(output_with(("row >= col", "row > col")),
            "A token writes first and reads second: the diagonal belongs to the mask.", "eq. 8.5"),
        "has readers and writers exchanged": Mistake(output_with(("tl.dot(q, tl.trans(k))", "tl.dot(k, tl.trans(q))")),
            "Tokens are rows here: row t is who reads, so P = tril(Q Kᵀ). K Qᵀ is for tokens as columns.", "eq. 8.5"),
        "forgets the scale": Mistake(output_with(("O * scale", "O")), "s stands in front of both terms.", "eq. 8.5"),
        "scales one term only": Mistake(
            output_with(("tl.dot(P, X, O)", "tl.dot(P, X, O * scale)"), ("O * scale, n", "O, n")),
            "s stands in front of the bracket: what the chunk wrote is scaled, too.", "eq. 8.5"),
        "scales what the chunk has written only": Mistake(
            output_with(("tl.dot(P, X, O)", "tl.dot(P * scale, X, O)"), ("O * scale, n", "O, n")),
            "s stands in front of the bracket: what the memory says is scaled, too.", "eq. 8.5"),
        "transposes P": Mistake(output_with(("tl.dot(P, X, O)", "tl.dot(tl.trans(P), X, O)")),
            "Row t of P says which writes token t reads: O = P X, with P as it is.", "eq. 8.5"),
        "takes away what the chunk has written": Mistake(output_with(("tl.dot(P, X, O)", "tl.dot(-P, X, O)")),
            "O = s (Q Sᵀ + P X): both terms are added.", "eq. 8.5"),
        "scales twice": Mistake(output_with(("O * scale", "O * scale * scale")), "Scale q, or the sum: one of them.",
                                "eq. 8.5"),
        "asks with the keys": Mistake(output_with(("q_ptr + head * K", "k_ptr + head * K")),
            "The tile of queries is loaded from k."),
        "asks the memory with keys": Mistake(output_with(("tl.dot(q, tl.trans(S", "tl.dot(k, tl.trans(S")),
            "The memory is asked with queries: Q Sᵀ.", "eq. 8.5"),
        "lays memories out by heads first": Mistake(output_with(("(b * N + n) * H + h", "(b * H + h) * N + n")),
            "states is (B, N, H, V, K): all heads of a chunk, then the next chunk."),
        "reads the memory of the next chunk": Mistake(
            output_with(("(b * N + n) * H + h", "(b * N + tl.minimum(n + 1, N - 1)) * H + h")),
            "What a chunk reads is the memory that *enters* it. What it has written itself comes by P X.", "eq. 8.5"),
        "reads the memory as (K, V)": Mistake(
            output_with(("tl.arange(0, V)[:, None] * K + tl.arange(0, K)[None, :]",
                         "tl.arange(0, V)[:, None] + tl.arange(0, K)[None, :] * V")),
            "A memory is (V, K): value rows, key columns. Yours is read as if it were transposed."),
        "rounds the outputs": Mistake(output_with(("O * scale, n", "(O * scale).to(tl.bfloat16).to(tl.float32), n")),
            "The outputs are stored in the dtype of their tensor, here float32: `store_rows` sees to that."),
        "scales by 1 over the root of K": Mistake(output_with(("O * scale, n", "O / tl.sqrt(K * 1.0), n")),
            "The scale is an argument, and need not be 1/√K.", "eq. 8.5"),
        "lets queries read queries": Mistake(output_with(("tl.trans(k)", "tl.trans(q)")),
            "P = tril(Q Kᵀ): a query asks what was written under a *key*.", "eq. 8.5"),
        "forgets the memory": Mistake(output_with(("tl.dot(P, X, O)", "tl.dot(P, X)")),
            "That is what the chunk itself has written. Q Sᵀ is missing.", "eq. 8.5"),
        "forgets what the chunk has written": Mistake(output_with(("tl.dot(P, X, O)", "O")),
            "That is what the memory said before the chunk. P X is missing.", "eq. 8.5"),
        "rounds the scores": Mistake(output_with(rounded("tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0)")),
            "P goes into a product, so on a GPU it is rounded to the dtype of the tiles. Here that is float32: round "
            "with `.to(q.dtype)`, not to bfloat16 in any case.", "eq. 8.5"),
        "reads the memory of the chunk before": Mistake(
            output_with(("(b * N + n) * H + h", "(b * N + tl.maximum(n - 1, 0)) * H + h")),
            "`states` holds the memory that *enters* a chunk, under that chunk's own number.", "eq. 8.5"),
        "reads the memory of the chunk before, and none for the first": Mistake(
            output_with(("h) * V * K + at)", "h) * V * K + at, mask=(at >= 0) & (n > 0), other=0.0)"),
                        ("(b * N + n) * H + h", "(b * N + n - 1) * H + h")),
            "`states` holds the memory that *enters* a chunk, under that chunk's own number: for the first chunk as "
            "well, where it need not be empty.", "eq. 8.5"),
        "begins the queries where values would begin": Mistake(
            output_with(("q_ptr + head * K", "q_ptr + head * V")),
            "A row of q has K numbers: `q_ptr + head * K`. With K = V nobody would notice."),
    },
    hints=("One program per chunk and head. Nothing is carried from chunk to chunk: the memory comes from `states`.",
           "Load q, k, X and the memory. O = Q Sᵀ + P X with P = tril(Q Kᵀ).",
           "`P = tl.where(row >= col, tl.dot(q, tl.trans(k)), 0.0)`, `O = tl.dot(P, X, tl.dot(q, tl.trans(S)))`."),
)
