"""The exercises of chapter 0, in order: each with its solutions, mistakes and hints."""

import torch

from ...tutor import Case, Mistake, exercise
from ..common import real


def write(S, v, k):
    """S: (V, K), v: (V,), k: (K,). One outer product is added: S + v k^T."""
    return S + v[:, None] * k[None, :]                                   # (V, K)


def write_by_outer(S, v, k):
    return S + torch.outer(v, k)


def write_by_rows(S, v, k):
    return torch.stack([row + v_i * k for row, v_i in zip(S, v)])


def write_into_columns(S, v, k):
    columns = S.clone()
    for j, k_j in enumerate(k):
        columns[:, j] += v * k_j
    return columns


def write_into_one_column(S, v, column):
    S = S.clone()
    S[:, column] += v
    return S


def write_cases(g):
    def numbers(*shape):
        return (torch.randn(*shape, generator=g, dtype=torch.float64) * 10).round() / 10

    yield Case((real([[0.0, 0.0]]), real([3.0]), real([1.0, 0.0])), "empty memory, unit key")
    yield Case((numbers(2, 3), numbers(2), numbers(3)), "nonempty memory, unnormalized key, K ≠ V")
    yield Case((numbers(3, 3), numbers(3), numbers(3)), "nonempty memory, unnormalized key, K = V")
    yield Case((0 * numbers(3, 2), numbers(3), numbers(2)), "empty memory, unnormalized key, K ≠ V")
    yield Case((numbers(5, 4), 0 * numbers(5), numbers(4)), "nonempty memory, zero value, K ≠ V")


exercise(
    id="0.1", title="Write one association", kind="code", stars=1, minutes=5, equations=("0.1",),
    reference=write, alternatives=(write_by_outer, write_by_rows, write_into_columns), cases=write_cases,
    mutants={
        "forgets what was stored": Mistake(lambda S, v, k: torch.outer(v, k),
            "The new association is *added* to the memory. Yours returns v kᵀ alone, so "
            "everything stored before is lost.",
            "eq. 0.1", next="What should come back when v is zero?"),
        "writes k vᵀ, the transpose": Mistake(lambda S, v, k: S + torch.outer(k, v),
            "The memory has one row per value dimension and one column per key dimension, (V, K), "
            "so v stands upright and k lies flat: v kᵀ.",
            "eq. 0.1", next="Which of `v[:, None] * k` and `k[:, None] * v` has V rows?"),
        "subtracts instead of adding": Mistake(lambda S, v, k: S - torch.outer(v, k),
            "The sign is wrong: the association is added.", "eq. 0.1"),
        "writes without the key": Mistake(lambda S, v, k: S + v[:, None],
            "Every column gets the whole value. Column j should get v times the j-th entry of the key.", "eq. 0.1",
            next="With the key (1, 0), what should the second column be?"),
        "normalizes the key": Mistake(lambda S, v, k: S + torch.outer(v, k / k.norm()),
            "A sensible idea, which chapter 2 takes up, but the write here uses the key as it is.", "eq. 0.1"),
        "writes without the value": Mistake(lambda S, v, k: S + k[None, :],
            "Every row gets the whole key. Row i should get the key times the i-th entry of v.", "eq. 0.1",
            next="With v = 0, what should change?"),
        "multiplies entry by entry": Mistake(lambda S, v, k: S + v * k,
            "`*` pairs entry i of v with entry i of k. The outer product pairs *every* entry of v with "
            "every entry of k: (V, K).", "eq. 0.1", next="Which of the two has to become a column first?"),
        "corrects instead of adding": Mistake(lambda S, v, k: S - torch.outer(S @ k - v, k),
            "That is the delta rule already: it takes out what the memory says for k. Here v kᵀ is simply added.",
            "eq. 0.1"),
        "multiplies the memory with the write": Mistake(lambda S, v, k: S * torch.outer(v, k),
            "The association is *added* to the memory: multiplied into it, an empty memory stays empty.", "eq. 0.1"),
        "takes a mean": Mistake(lambda S, v, k: (S + torch.outer(v, k)) / 2,
            "Nothing is divided: a new association must not weaken the old ones.", "eq. 0.1"),
        "writes nothing": Mistake(lambda S, v, k: S.clone(),
            "The memory comes back as it was: v and k leave no trace.", "eq. 0.1",
            next="What is `v[:, None] * k[None, :]`?"),
        "divides by the squared length of the key": Mistake(lambda S, v, k: S + torch.outer(v, k) / (k @ k),
            "With that the key itself reads v back, whatever its length. Here the write uses the key as it is.",
            "eq. 0.1"),
        "adds value and key": Mistake(lambda S, v, k: S + (v[:, None] + k),
            "Entry (i, j) of v kᵀ is v_i *times* k_j, not their sum.", "eq. 0.1",
            next="With v = 0, what should change?"),
        "writes into the column of the largest entry": Mistake(lambda S, v, k: write_into_one_column(S, v, k.argmax()),
            "The key is not an address. *Every* column j gets v, times the j-th entry of the key.", "eq. 0.1",
            next="With the key (0.6, 0.8), what is written into the two columns?"),
        "writes into the column of the entry farthest from 0": Mistake(
            lambda S, v, k: write_into_one_column(S, v, k.abs().argmax()),
            "The key is not an address. *Every* column j gets v, times the j-th entry of the key.", "eq. 0.1",
            next="With the key (0.6, 0.8), what is written into the two columns?"),
        "changes the memory it was given": Mistake(lambda S, v, k: S.add_(torch.outer(v, k)),
            "The result is right, but the caller's S is overwritten: `+=` and `add_` write into the tensor itself. "
            "Return a new one.",
            next="Write `S + ...` instead of `S += ...`."),
    },
    hints=("What shape must v kᵀ have to be added to S?",
           "Make v a column and k a row; broadcasting multiplies every pair of entries.",
           "`v[:, None] * k[None, :]` has shape (V, K). Add it to S."),
)


def read(q, S):
    """q: (B, T, H, K), S: (B, H, V, K). Returns o: (B, T, H, V), o_t = S q_t for each batch entry and head."""
    return torch.einsum("bthk,bhvk->bthv", q, S)


def read_by_matmul(q, S):
    return (q.transpose(1, 2) @ S.mT).transpose(1, 2)                    # (B, H, T, V), then (B, T, H, V)


def read_by_loop(q, S):
    return torch.stack([(S @ q_t[..., None])[..., 0] for q_t in q.unbind(1)], 1)


def read_all_heads(q, S):
    return torch.einsum("bthk,bhvk->btv", q, S)[:, :, None].repeat(1, 1, q.shape[2], 1)


def read_first_token(q, S):
    return read(q[:, :1], S).repeat(1, q.shape[1], 1, 1)


def read_last_token(q, S):
    return read(q[:, -1:], S).repeat(1, q.shape[1], 1, 1)


def read_reshaped(q, S):
    B, T, H, K = q.shape
    return q.reshape(B, H, T, K) @ S.mT                                  # (B, H, T, V)


def read_reshaped_on_the_way_back(q, S):
    B, T, H, _ = q.shape
    return (q.transpose(1, 2) @ S.mT).reshape(B, T, H, -1)


def read_reshaped_both_ways(q, S):
    B, T, H, _ = q.shape
    return read_reshaped(q, S).reshape(B, T, H, -1)


def read_from_first_head(q, S):
    return torch.einsum("bthk,bvk->bthv", q, S[:, 0])


def read_from_first_sequence(q, S):
    return torch.einsum("bthk,hvk->bthv", q, S[0])


def read_cases(g):
    shapes = ((1, 1, 1, 2, 1), (1, 2, 1, 2, 2), (1, 1, 2, 2, 3), (2, 1, 1, 3, 2),
              (1, 5, 1, 3, 4), (2, 3, 3, 3, 3), (2, 3, 3, 4, 5))
    for B, T, H, K, V in shapes:
        q = (torch.randn(B, T, H, K, generator=g, dtype=torch.float64) * 10).round() / 10
        S = (torch.randn(B, H, V, K, generator=g, dtype=torch.float64) * 10).round() / 10
        yield Case((q, S), ", ".join((f"T = {T}", f"B = {B}", f"H = {H}", "K ≠ V" if K != V else "K = V")))


exercise(
    id="0.2", title="Read every token", kind="code", stars=1, minutes=10, equations=("0.1",),
    reference=read, alternatives=(read_by_matmul, read_by_loop), cases=read_cases,
    mutants={
        "contracts the value dimension": Mistake(lambda q, S: torch.einsum("bthv,bhvk->bthk", q, S),
            "q has K entries and is multiplied with the K *columns* of S: S q, not Sᵀ q.", "eq. 0.1"),
        "reads with the transposed memory": Mistake(lambda q, S: (q.transpose(1, 2) @ S).transpose(1, 2),
            "S is (V, K): in S q the *columns* meet q, which has K entries. In q @ S the rows do, and that fits only "
            "where K = V.", "eq. 0.1", next="With q as a row, S q is q @ S.mT."),
        "returns the heads before the tokens": Mistake(lambda q, S: q.transpose(1, 2) @ S.mT,
            "The numbers are right, in shape (B, H, T, V). Tokens come first in this book: (B, T, H, V).",
            next="Transpose dimensions 1 and 2 at the end."),
        "reshapes where it should transpose": Mistake(read_reshaped,
            "(B, T, H, K) and (B, H, T, K) hold the same numbers in another order. A `reshape` keeps their "
            "order in memory, so tokens and heads are mixed up; `transpose(1, 2)` moves them. And the "
            "heads still come first in what you return.",
            next="For B = 1, T = 2, H = 2: which numbers should head 0 get, and which does yours give it?"),
        "reshapes where it should transpose, and transposes back": Mistake(
            lambda q, S: read_reshaped(q, S).transpose(1, 2),
            "The `transpose` at the end is right. The `reshape` at the beginning is not: it keeps the order of the "
            "numbers in memory, so tokens and heads are mixed up.",
            next="`q.transpose(1, 2)` has the shape (B, H, T, K), too."),
        "reshapes back where it should transpose back": Mistake(read_reshaped_on_the_way_back,
            "Up to the product all is right, in shape (B, H, T, V). The `reshape` then keeps the order of the numbers, "
            "so the answers land at other tokens and heads; `transpose(1, 2)` moves them."),
        "reshapes both ways": Mistake(read_reshaped_both_ways,
            "A `reshape` does not exchange dimensions: it reads the same numbers in the same order, so a token's "
            "queries meet the memory of another head.", next="Replace both by `transpose(1, 2)`."),
        "reads every head with the first head's memory": Mistake(read_from_first_head,
            "Each head has a memory of its own. Yours is right for H = 1 only.",
            next="Which head of S should the queries of head 1 meet?"),
        "reads every sequence with the first one's memory": Mistake(read_from_first_sequence,
            "Each sequence of the batch has a memory of its own. Yours is right for B = 1 only."),
        "pairs the tokens of q with the heads of S": Mistake(lambda q, S: q @ S.mT,
            "`@` lines up (B, T) with (B, H), position by position: token t gets the memory of "
            "head t. Head must meet head.",
            next="Which two dimensions of q have to change places first?"),
        "reads every head with the sum of all memories": Mistake(lambda q, S: torch.einsum("bthk,bgvk->bthv", q, S),
            "Each head has a memory of its own, and yours are added up. In an `einsum` two letters for the heads do "
            "that: one letter keeps head with head."),
        "reads every head with the mean of all memories": Mistake(lambda q, S: read(q, S.mean(1, True).expand_as(S)),
            "Each head has a memory of its own. Yours is right for H = 1 only."),
        "divides by √K": Mistake(lambda q, S: read(q, S) / q.shape[-1] ** 0.5,
            "Softmax attention scales its scores so. Here the answer is S q itself: the scale is 1 unless "
            "something else is said.", "eq. 0.1"),
        "drops the heads": Mistake(lambda q, S: torch.einsum("bthk,bhvk->btv", q, S),
            "The answers of all heads are added up, as by an `einsum` without h in its output. Every head has an "
            "answer of its own: (B, T, H, V)."),
        "adds up the tokens": Mistake(lambda q, S: torch.einsum("bthk,bhvk->bhv", q, S),
            "The answers of all tokens are added up, as by an `einsum` without t in its output. Every token has an "
            "answer of its own: (B, T, H, V)."),
        "joins the heads": Mistake(lambda q, S: read(q, S).flatten(2),
            "The answers are right. A layer joins its heads later on; here they stay apart: (B, T, H, V)."),
        "adds up the heads": Mistake(read_all_heads,
            "Every head gets the sum of all answers. Each has one of its own: in an `einsum`, h must be among the "
            "letters of the output."),
        "reads only the first token": Mistake(read_first_token,
            "Every token has its own question q_t, and so its own answer."),
        "reads only the last token": Mistake(read_last_token,
            "Yours gives every token the answer to the last one's question. Each has its own q_t."),
    },
    hints=("For one token and one head it is a matrix times a vector: S q.",
           "`torch.einsum` takes one letter per dimension. Which letters do q, S and o share?",
           "q is \"bthk\", S is \"bhvk\", o is \"bthv\". The letter that disappears is summed over."),
)
