"""Exercises 1.1 to 1.5, in order: each with its solutions, mistakes and hints."""

import math

import torch
from torch.nn.functional import elu

from deltanet_edu import ops

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, normal, smallest_first, unit_keys
from .. import by_hand
from ..common import one_head

# -- 1.1 What does it say? ---------------------------------------------------------------------------------------------

exercise(
    id="1.1", title="What does it say?", kind="predict", stars=1, minutes=5, equations=("1.2",),
    reference=-0.8,
    working=(by_hand.first_reading,),
    mutants={
        "looks for an exact match": Mistake(0.0,
            "A dictionary would say nothing, because no key equals (0, 1). This memory answers with every value it "
            "holds, each weighted by the overlap of its key with the question.", "eq. 1.2",
            next="What is (0.6, 0.8)·(0, 1)?"),
        "counts the value of the nearest key in full": Mistake(-1.0,
            "The nearest key is the second one, but it is not *equal* to the question: its value counts 0.8 times, not "
            "once. Nor is the sum divided by its weights, which would give -1 too.", "eq. 1.2"),
        "drops the sign of the value": Mistake(0.8,
            "The overlap is right. The value stored under that key is -1.", "eq. 1.2"),
        "reads the first column": Mistake(1.4,
            "That is the first entry of S = (1.4, -0.8), what the question (1, 0) would get.", "eq. 1.2",
            next="Which entry does (0, 1) pick?"),
        "adds up the whole memory": Mistake(0.6,
            "1.4 - 0.8 reads with (1, 1). The question (0, 1) gives the first entry of S the weight 0. Nor does the "
            "first value get the overlap 0.8 of the second key: 2 · 0.8 - 1 would be 0.6 too.", "eq. 1.2"),
        "counts the first value in full": Mistake(1.2,
            "2 - 0.8 weighs the second value rightly. The first key, (1, 0), has the overlap 0 with the question, so "
            "its value counts nothing. Nor does the overlap of the *keys* count: 2 · 0.6 is 1.2, too.", "eq. 1.2"),
        "returns the first value": Mistake(2.0,
            "The first key, (1, 0), is at a right angle to the question (0, 1): its value counts nothing.", "eq. 1.2"),
        "weighs the first value by the overlap": Mistake(1.6,
            "2 · 0.8: the overlap 0.8 is that of the *second* key, whose value is -1.", "eq. 1.2"),
        "takes the other entry of the key": Mistake(-0.6,
            "-1 · 0.6 is the overlap with (1, 0). The question is (0, 1).", "eq. 1.2"),
        "gives the memory instead of the answer": Mistake((1.4, -0.8),
            "That is S, the whole memory. Reading it with (0, 1) gives one number.", "eq. 1.2"),
        "corrects while it writes": Mistake(-1.76,
            "That memory looked before it wrote: the delta rule, which comes in chapter 2. Here both pairs are simply "
            "added.", "eq. 1.2"),
        "asks with the second key": Mistake(0.2,
            "2 · 0.6 - 1 · 1 is what S says for the second key, (0.6, 0.8). The question is (0, 1).", "eq. 1.2"),
        "averages with a softmax": Mistake((2 - math.exp(0.8)) / (1 + math.exp(0.8)),
            "That is eq. 1.1: the weights exp(0) and exp(0.8), divided by their sum. This memory takes the plain "
            "overlaps, 0 and 0.8.", "eq. 1.2"),
        "averages with a scaled softmax": Mistake((2 - math.exp(0.8 / 2**0.5)) / (1 + math.exp(0.8 / 2**0.5)),
            "That is eq. 1.1 with the overlaps divided by √2. This memory takes the plain overlaps, 0 and 0.8, and "
            "divides by nothing.", "eq. 1.2"),
        "takes exponentials of the overlaps": Mistake(2 - math.exp(0.8),
            "2 - exp(0.8): exponentials belong to eq. 1.1. This memory takes the plain overlaps, 0 and 0.8.",
            "eq. 1.2"),
        "adds the overlap of the two keys": Mistake(0.4,
            "2 · 0.6 - 0.8: the overlap 0.6 is that of the two *keys*. A value counts by the overlap of its key with "
            "the question, and (1, 0)·(0, 1) is 0.", "eq. 1.2"),
        "adds the two values": Mistake(1.0,
            "2 - 1 gives both values full weight. Their weights are the overlaps 0 and 0.8, and not the entries of the "
            "second key: 2 · 0.8 - 0.6 would be 1 too.", "eq. 1.2"),
    },
    hints=("The memory is one row of two numbers. Write it down: it is empty, then the first pair is "
           "added, then the second.",
           "S = 2·(1, 0) + (-1)·(0.6, 0.8).",
           "S = (1.4, -0.8). Reading is the dot product of S with the question (0, 1)."),
    why="S = 2·(1, 0) - (0.6, 0.8) = (1.4, -0.8), and (0, 1) picks the second entry. Nobody stored anything under "
        "(0, 1): the answer is pure crosstalk from the second pair.",
)

# -- 1.2 Write, then read ----------------------------------------------------------------------------------------------


def write_and_read(k, v, q, S):
    S = S + v.T @ k                                                      # (V, K)  the sum of T outer products
    return q @ S.T, S                                                    # (M, V), (V, K)


def write_and_read_by_loops(k, v, q, S):
    for k_t, v_t in zip(k, v):
        S = S + torch.outer(v_t, k_t)
    return torch.stack([S @ q_m for q_m in q]), S


def write_and_read_by_overlaps(k, v, q, S):
    return torch.einsum("mk,tk,tv->mv", q, k, v) + torch.einsum("mk,vk->mv", q, S), S + torch.einsum("tv,tk->vk", v, k)


def write_transposed(k, v, q, S):
    S = S + k.T @ v
    return q @ S.T, S


def write_last_only(k, v, q, S):
    S = S + torch.outer(v[-1], k[-1])
    return q @ S.T, S


def write_mean(k, v, q, S):
    S = S + v.T @ k / len(k)
    return q @ S.T, S


def write_corrections(k, v, q, S):
    for k_t, v_t in zip(k, v):
        S = S - torch.outer(S @ k_t - v_t, k_t)
    return q @ S.T, S


def store_cases(g):
    """T pairs to store and M questions, with M = T somewhere and K = V somewhere."""
    sizes = (1, 1, 2, 1), (2, 1, 2, 3), (2, 2, 3, 2), (3, 3, 2, 2), (1, 3, 3, 3), (5, 4, 3, 5), (6, 6, 4, 3)
    cases = []
    for T, M, K, V in sizes:
        k = unit_keys(g, T, K) if T < 5 else normal(g, T, K)
        k = k[torch.arange(T) % -(-T // 2)] if T == 6 else k
        note = "repeated keys" if T == 6 else "unnormalized keys" if T == 5 else "unit keys"
        S = torch.zeros(V, K, dtype=k.dtype) if T == 1 and M == 1 else normal(g, V, K)
        note = f"{note}, T = {T}, {'K ≠ V' if K != V else 'K = V'}"
        cases.append(Case((k, normal(g, T, V), normal(g, M, K), S), note))
    return smallest_first(cases)


exercise(
    id="1.2", title="Write, then read", kind="code", stars=1, minutes=10, equations=("1.2",),
    reference=write_and_read, alternatives=(write_and_read_by_loops, write_and_read_by_overlaps), cases=store_cases,
    mutants={
        "starts from an empty memory": Mistake(lambda k, v, q, S: (q @ (v.T @ k).T, v.T @ k),
            "What was in S before is gone. New pairs are added to what is there.", "eq. 1.2",
            next="If there were no pairs to store, what should come back?"),
        "keeps only the last pair": Mistake(write_last_only,
            "Only the last outer product was added to S: the sum runs over all T pairs.", "eq. 1.2",
            next="In a loop, does each round go on with the S of the round before?"),
        "divides by the number of pairs": Mistake(write_mean,
            "The memory is a *sum* of outer products, not their mean: storing a new pair must not weaken the old ones.",
            "eq. 1.2"),
        "writes k vᵀ, the transpose": Mistake(write_transposed,
            "Each write is v kᵀ, with one row per value dimension: S is (V, K). Yours is kvᵀ, "
            "which fits only when K = V.", "eq. 1.2",
            next="Which of `v.T @ k` and `k.T @ v` has V rows?"),
        "keeps the memory as (K, V)": Mistake(lambda k, v, q, S: (q @ (S + k.T @ v), S + k.T @ v),
            "Other libraries do. In this book S is (V, K): it maps a key, (K,), to a value, (V,).", "eq. 1.2"),
        "reads before it has written": Mistake(lambda k, v, q, S: (q @ S.T, S + v.T @ k),
            "The memory it returns is right, but the questions were put to the memory as it came in.", "eq. 1.2"),
        "asks with the keys": Mistake(lambda k, v, q, S: (k @ (S + v.T @ k).T, S + v.T @ k),
            "These are the answers to k. The questions are q.", "eq. 1.2"),
        "divides the questions by √K": Mistake(lambda k, v, q, S: write_and_read(k, v, q / q.shape[1] ** 0.5, S),
            "Softmax attention scales its scores so. Here an answer is S q itself.", "eq. 1.2"),
        "corrects while it writes": Mistake(write_corrections,
            "Yours takes out what the memory says before it adds: the delta rule of chapter 2. "
            "Here every pair is simply added.",
            "eq. 1.2"),
        "hides later pairs from a question": Mistake(
            lambda k, v, q, S: (q @ S.T + (q @ k.T).tril() @ v, S + v.T @ k),
            "A mask belongs to sequences, in 1.4. Here all pairs are stored before the first question is asked.",
            "eq. 1.2"),
        "adds up first and multiplies then": Mistake(
            lambda k, v, q, S: write_and_read(k.sum(0, keepdim=True), v.sum(0, keepdim=True), q, S),
            "The outer product of the sums pairs every value with every key. Sum the T products of a value with *its* "
            "key.", "eq. 1.2"),
        "forgets what was in the memory when it answers": Mistake(lambda k, v, q, S: (q @ k.T @ v, S + v.T @ k),
            "The memory it returns is right, but the answers come from the new pairs alone.", "eq. 1.2",
            next="If there were no pairs to store, what should come back?"),
        "returns the new pairs alone": Mistake(lambda k, v, q, S: (q @ (S + v.T @ k).T, v.T @ k),
            "The answers are right. The memory to return is S with the new pairs added.", "eq. 1.2"),
        "averages with a softmax": Mistake(lambda k, v, q, S: (torch.softmax(q @ k.T, -1) @ v + q @ S.T, S + v.T @ k),
            "That is eq. 1.1. This memory weighs each value by the plain overlap.", "eq. 1.2"),
        "returns the memory first": Mistake(lambda k, v, q, S: (S + v.T @ k, q @ (S + v.T @ k).T),
            "Both results are right, in the wrong order: first the answers, (M, V), then the memory, (V, K).",
            next="Exchange the two in the `return`."),
        "returns the answers as columns": Mistake(lambda k, v, q, S: ((S + v.T @ k) @ q.T, S + v.T @ k),
            "S q is right for one question, a column. In this book questions and answers are "
            "*rows*: M answers are (M, V).",
            next="Transpose the product: (S Qᵀ)ᵀ = Q Sᵀ."),
    },
    hints=("Start with one pair and one question: one outer product, one matrix times vector.",
           "The sum of the outer products v_t k_tᵀ over t is a single matrix product.",
           "`v.T @ k` is (V, T) @ (T, K). Reading row by row is `q @ S.T`."),
)

# -- 1.3 Token by token ------------------------------------------------------------------------------------------------


def recurrent(q, k, v, S):
    o = []
    for q_t, k_t, v_t in zip(q, k, v):                                   # (K,), (K,), (V,)
        S = S + v_t[:, None] * k_t[None, :]                              # (V, K)
        o.append(S @ q_t)                                                # (V,)
    return torch.stack(o), S


def recurrent_by_all_memories(q, k, v, S):
    S = S + torch.cumsum(v[:, :, None] * k[:, None, :], 0)               # (T, V, K)  every memory at once
    return torch.einsum("tvk,tk->tv", S, q), S[-1]


def recurrent_by_the_package(q, k, v, S):
    return one_head(ops.linear_attention_recurrent, q, k, v, S)


def token_loop(write=lambda S, k, v: S + torch.outer(v, k), read=lambda S, q, k: S @ q, enter=lambda S: S, late=True):
    """The loop with one step replaced: how most wrong answers come about."""
    def loop(q, k, v, S):
        S, o = enter(S), []
        for q_t, k_t, v_t in zip(q, k, v):
            before, S = S, write(S, k_t, v_t)
            o.append(read(S if late else before, q_t, k_t))
        return torch.stack(o), S
    return loop


def loop_without_carrying(q, k, v, S):
    return torch.stack([(S + torch.outer(v_t, k_t)) @ q_t for q_t, k_t, v_t in zip(q, k, v)]), S


def loop_from_the_first_memory(q, k, v, S):
    return loop_without_carrying(q, k, v, S)[0], S + torch.outer(v[-1], k[-1])


def loop_with_one_write_less(q, k, v, S):
    memories = [S]
    for k_t, v_t in zip(k[:-1], v):
        memories.append(memories[-1] + torch.outer(v_t, k_t))
    return torch.stack([S_t @ q_t for S_t, q_t in zip(memories, q)]), memories[-1]


def loop_with_means(q, k, v, S):
    o = []
    for t, (q_t, k_t, v_t) in enumerate(zip(q, k, v), 1):
        S = S + torch.outer(v_t, k_t)
        o.append(S @ q_t / t)
    return torch.stack(o), S


def running_inputs(g):
    square = delta_inputs(g, "q k v S", T=(3,), K=3, V=3)
    return smallest_first(delta_inputs(g, "q k v S", T=(1, 2, 5), K=2, V=3) + square)


def read_final_memory(q, k, v, S):
    S = S + v.T @ k
    return q @ S.T, S


exercise(
    id="1.3", title="Token by token", kind="code", stars=2, minutes=15, equations=("1.2",),
    reference=recurrent, alternatives=(recurrent_by_all_memories, recurrent_by_the_package), cases=running_inputs,
    mutants={
        "reads before it writes": Mistake(token_loop(late=False),
            "o_t is read from S_t, the memory *after* token t was written. Yours is read from S_{t-1}, so "
            "a token never sees itself.", "eq. 1.2",
            next="With one token and an empty memory, what should o_1 be?"),
        "starts from an empty memory": Mistake(token_loop(enter=torch.zeros_like),
            "The first write is added to the S that is passed in. Yours begins with zeros.", "eq. 1.2"),
        "reads the entering memory twice": Mistake(
            lambda q, k, v, S: (recurrent(q, k, v, S)[0] + q @ S.T, S + v.T @ k),
            "The S that came in is part of every S_t already.", "eq. 1.2"),
        "replaces the memory at every token": Mistake(token_loop(write=lambda S, k, v: torch.outer(v, k)),
            "S_t = S_{t-1} + v_t k_tᵀ. Without the first term, only the latest token is remembered.", "eq. 1.2"),
        "writes k vᵀ, the transpose": Mistake(token_loop(write=lambda S, k, v: S + torch.outer(k, v)),
            "The write is v_t k_tᵀ, (V, K). Yours is k_t v_tᵀ, (K, V), which fits only when K = V.", "eq. 1.2"),
        "reads with k instead of q": Mistake(token_loop(read=lambda S, q, k: S @ k),
            "The key says where to *write*. The question at token t is q_t.", "eq. 1.2"),
        "reads every token from the final memory": Mistake(read_final_memory,
            "o_t may depend on tokens 1 to t only. Yours writes everything first, so early tokens read "
            "values from their future.", "eq. 1.2",
            next="Where in the loop must the reading happen?"),
        "forgets what was in the memory when it reads": Mistake(lambda q, k, v, S: ((q @ k.T).tril() @ v, S + v.T @ k),
            "The memory at the end is right, but no token reads what was in S before the sequence began.", "eq. 1.2"),
        "reads every token from the first memory": Mistake(lambda q, k, v, S: (q @ S.T, S + v.T @ k),
            "The memory at the end is right, but the reads use the S that came in. o_t is read from S_t.", "eq. 1.2",
            next="Which name has the memory after the write?"),
        "does not keep what it has written": Mistake(loop_without_carrying,
            "Each token sees its own write, but the next one starts from the S of the "
            "beginning again: S_t is made from S_{t-1}.",
            "eq. 1.2", next="Which name has the new memory, and does the next round use it?"),
        "starts every write from the first memory": Mistake(loop_from_the_first_memory,
            "Each token's pair goes into the memory from before the loop: what earlier tokens wrote is lost. S_t is "
            "made from S_{t-1}.", "eq. 1.2", next="Which name has the new memory, and does the next round use it?"),
        "stops one write too early": Mistake(loop_with_one_write_less,
            "Token t reads S_t, after its own write. Yours reads S_{t-1}, and the last pair is never written.",
            "eq. 1.2", next="How many writes do T tokens make?"),
        "divides by the number of tokens": Mistake(loop_with_means,
            "A memory of outer products adds. Nothing is averaged: o_t = S_t q_t.", "eq. 1.2"),
        "divides the queries by √K": Mistake(token_loop(read=lambda S, q, k: S @ q / len(q) ** 0.5),
            "Softmax attention scales its scores so. Here o_t is S_t q_t itself.", "eq. 1.2"),
        "corrects while it writes": Mistake(token_loop(write=lambda S, k, v: S - torch.outer(S @ k - v, k)),
            "Yours takes out what the memory says before it adds: the delta rule of chapter 2. "
            "Here v_t k_tᵀ is simply added.",
            "eq. 1.2"),
        "changes the memory it was given": Mistake(token_loop(write=lambda S, k, v: S.add_(torch.outer(v, k))),
            "The result is right, but the caller's S is overwritten: `+=` and `add_` write into the tensor itself.",
            next="Write `S = S + ...` instead of `S += ...`."),
    },
    hints=("Two lines per token: one changes S, the other reads it. Which comes first?",
           "The outer product is `v_t[:, None] * k_t[None, :]`, of shape (V, K).",
           "In the loop `S = S + v_t[:, None] * k_t[None, :]`, then `o.append(S @ q_t)`; `torch.stack(o)` at the end."),
)

# -- 1.4 All at once ---------------------------------------------------------------------------------------------------


def parallel(q, k, v, S):
    scores = (q @ k.T).tril()                                            # (T, T)  row t: query t, column i: key i
    return scores @ v + q @ S.T, S + v.T @ k                             # (T, V), (V, K)


def parallel_by_mask(q, k, v, S):
    t = torch.arange(len(q))
    scores = torch.where(t[:, None] >= t, torch.einsum("tk,ik->ti", q, k), 0.0)
    return torch.einsum("ti,iv->tv", scores, v) + torch.einsum("tk,vk->tv", q, S), S + torch.einsum("tv,tk->vk", v, k)


def attention(scores=lambda q, k: q @ k.T, mask=torch.tril, memory=True, carry=True):
    """The parallel form with one part replaced."""
    def form(q, k, v, S):
        o = mask(scores(q, k)) @ v + (q @ S.T if memory else 0)
        return o, (S if carry else 0) + v.T @ k
    return form


def entering_memory_once(q, k, v, S):
    first = torch.arange(len(q), dtype=v.dtype)[:, None] == 0            # (T, 1)
    return (q @ k.T).tril() @ v + first * (q @ S.T), S + v.T @ k


def read_after_update(q, k, v, S):
    S = S + v.T @ k
    return (q @ k.T).tril() @ v + q @ S.T, S


def hidden(scores):
    return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)


def softmax_scores(q, k):
    return torch.softmax(hidden(q @ k.T), -1)


exercise(
    id="1.4", title="All at once", kind="code", stars=2, minutes=15, equations=("1.3", "1.4"),
    reference=parallel, alternatives=(parallel_by_mask, recurrent_by_all_memories), cases=running_inputs,
    mutants={
        "lets tokens see the future": Mistake(attention(mask=lambda x: x),
            "Without a mask, token t also sums over i > t. Only the last row of your output is right.", "eq. 1.3",
            next="Which entries (t, i) of Q Kᵀ belong to the past of token t?"),
        "masks the diagonal too": Mistake(attention(mask=lambda x: x.tril(-1)),
            "o_t is read after token t was written, so the entry (t, t) stays. Yours drops it.", "eq. 1.3",
            next="With one token and an empty memory, what should o_1 be?"),
        "keeps the future and drops the past": Mistake(attention(mask=torch.triu),
            "Row t, column i is how token t looks at token i. The past, i ≤ t, is on and *below* the diagonal: `tril`.",
            "eq. 1.3"),
        "forgets the entering memory": Mistake(attention(memory=False),
            "Every token also reads what was in S before the sequence began: a term Q Sᵀ, without a mask.", "eq. 1.4",
            next="What should come back if all values were zero?"),
        "applies a softmax": Mistake(attention(scores=softmax_scores),
            "That is eq. 1.1. Linear attention uses the plain scores: without the softmax the "
            "sum can move into a matrix.", "eq. 1.3"),
        "applies a softmax over the future as well": Mistake(
            attention(scores=lambda q, k: torch.softmax(q @ k.T, -1), mask=lambda x: x),
            "Two slips: linear attention uses the plain scores, without a softmax; and i runs up to t only.",
            "eq. 1.3"),
        "swaps queries and keys": Mistake(attention(scores=lambda q, k: k @ q.T),
            "Row t must hold the scores of *query* t: Q Kᵀ. Yours is K Qᵀ, its transpose.", "eq. 1.3"),
        "returns the memory without what entered": Mistake(attention(carry=False),
            "The outputs are right. The memory at the end is the entering S plus Vᵀ K.", "eq. 1.4"),
        "divides the scores by √K": Mistake(attention(scores=lambda q, k: q @ k.T / q.shape[1] ** 0.5),
            "Softmax attention divides so, to keep its exponentials in bounds. Linear attention has none: "
            "the score is q_t·k_i itself.", "eq. 1.3"),
        "divides all that is read by √K": Mistake(lambda q, k, v, S: parallel(q / q.shape[1] ** 0.5, k, v, S),
            "Softmax attention scales its queries so. Here the scale is 1.", "eq. 1.3"),
        "asks the memory with the keys": Mistake(lambda q, k, v, S: ((q @ k.T).tril() @ v + k @ S.T, S + v.T @ k),
            "Within the sequence yours asks with q. The entering memory is read with the queries as well: Q Sᵀ.",
            "eq. 1.4"),
        "writes k vᵀ, the transpose": Mistake(lambda q, k, v, S: ((q @ k.T).tril() @ v + q @ S.T, S + k.T @ v),
            "The outputs are right. The memory gets the sum of the v kᵀ, Vᵀ K, which is (V, K). Yours is (K, V).",
            "eq. 1.4"),
        "reads the memory after updating it": Mistake(read_after_update,
            "Q Sᵀ is meant for the memory that *entered*. Yours already holds all T writes: every token sees the "
            "future, and its own past twice.", "eq. 1.4",
            next="Is S overwritten before the outputs are computed?"),
        "starts from an empty memory": Mistake(attention(memory=False, carry=False),
            "The S that comes in is lost twice: every token reads it, a term Q Sᵀ, and the "
            "memory at the end is S plus Vᵀ K.", "eq. 1.4"),
        "masks what the entering memory says": Mistake(
            lambda q, k, v, S: ((q @ k.T).tril() @ v + (q @ S.T).tril(), S + v.T @ k),
            "Q Sᵀ is (T, V): tokens by value entries. There is no future in it, and every token reads all of it.",
            "eq. 1.4"),
        "turns the scores around": Mistake(attention(mask=lambda x: x.tril().T),
            "Row t of the scores belongs to query t and multiplies the values. Transposed, "
            "values go from late to early tokens.",
            "eq. 1.3"),
        "masks with minus infinity": Mistake(attention(mask=hidden),
            "Minus infinity is for a softmax, which turns it into 0. Here the scores "
            "themselves are the weights: mask with 0.",
            "eq. 1.3"),
        "divides by the sum of the scores": Mistake(attention(mask=lambda x: x.tril() / x.tril().sum(-1, keepdim=True)),
            "That is the normalizer of eq. 1.8, made for positive scores. Here the scores are used as they are.",
            "eq. 1.3"),
        "divides the scores by the number of tokens": Mistake(
            attention(mask=lambda x: x.tril() / torch.arange(1, len(x) + 1).to(x)[:, None]),
            "A memory of outer products adds. Nothing is averaged: the scores are used as they are.", "eq. 1.3"),
        "reads the entering memory once": Mistake(entering_memory_once,
            "Only your first token reads what was in S. Every token can: a row of Q Sᵀ for each.", "eq. 1.4"),
        "masks the product of K and V": Mistake(
            lambda q, k, v, S: (q @ (k.T @ v).tril() + q @ S.T, S + v.T @ k),
            "The mask belongs to the (T, T) scores: it says which tokens see which. Kᵀ V is (K, V), every token is "
            "summed in it already, and there is nothing left to hide.", "eq. 1.3",
            next="Which brackets leave a product to which the mask can be applied?"),
        "masks after multiplying with V": Mistake(lambda q, k, v, S: ((q @ k.T @ v).tril() + q @ S.T, S + v.T @ k),
            "The mask belongs to the (T, T) scores. After the product with V the future is already inside the sums.",
            "eq. 1.3"),
    },
    hints=("Write o_t as a sum over i ≤ t of (q_t·k_i) v_i. The scores of all pairs (t, i) are one matrix product.",
           "`q @ k.T` is (T, T): row t, column i. `tril` keeps i ≤ t. Then multiply by v.",
           "What was in S before is read by every token: add `q @ S.T`. At the end the memory is `S + v.T @ k`."),
)

# -- 1.5 The leaky normalizer ------------------------------------------------------------------------------------------


def normalized(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()                      # (T, T)  mask before summing
    return scores / scores.sum(-1, keepdim=True) @ v                     # (T, V)


def normalized_by_recurrence(q, k, v):
    q, k = elu(q) + 1, elu(k) + 1
    S, z, o = v.new_zeros(v.shape[1], k.shape[1]), k.new_zeros(k.shape[1]), []
    for q_t, k_t, v_t in zip(q, k, v):
        S, z = S + torch.outer(v_t, k_t), z + k_t                        # z: (K,), the sum of the keys so far
        o.append(S @ q_t / (z @ q_t))
    return torch.stack(o)


def normalized_afterwards(q, k, v):
    q, k = elu(q) + 1, elu(k) + 1
    return (q @ k.T).tril() @ v / (q * k.cumsum(0)).sum(-1, keepdim=True)


def leaky(q, k, v):
    scores = (elu(q) + 1) @ (elu(k) + 1).T
    scores = scores / scores.sum(-1, keepdim=True)
    return scores.tril() @ v


def mask_in_one_place(q, k, v):
    scores = (elu(q) + 1) @ (elu(k) + 1).T
    return scores @ v / scores.tril().sum(-1, keepdim=True)


def sum_over_queries(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()
    return scores / scores.sum(0, keepdim=True) @ v


def normalized_without_features(q, k, v):
    scores = (q @ k.T).tril()
    return scores / scores.sum(-1, keepdim=True) @ v


def normalized_strictly(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril(-1)
    return scores / scores.sum(-1, keepdim=True) @ v


def features(q, k):
    return (elu(q) + 1) @ (elu(k) + 1).T


def weighted(scores, small=0.0):
    return scores / (scores.sum(-1, keepdim=True) + small)


def sum_over_queries_first(q, k, v):
    scores = (elu(q) + 1) @ (elu(k) + 1).T
    return (scores / scores.sum(0, keepdim=True)).tril() @ v


def softmax_of_features(q, k, v):
    return torch.softmax(((elu(q) + 1) @ (elu(k) + 1).T).tril(), -1) @ v


def one_sum_for_all(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()
    return scores / scores.sum() @ v


def divided_without_keepdim(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()
    return scores / scores.sum(-1) @ v


def divided_by_running_sums(q, k, v):
    scores = ((elu(q) + 1) @ (elu(k) + 1).T).tril()
    return scores / scores.cumsum(-1) @ v


exercise(
    id="1.5", title="The leaky normalizer", kind="bug", stars=2, minutes=15, equations=("1.8",),
    reference=normalized, alternatives=(normalized_by_recurrence, normalized_afterwards),
    cases=lambda g: delta_inputs(g, "q k v", T=(1, 2, 4, 7), K=2, V=3),
    mutants={
        "still divides by a sum over the future": Mistake(leaky,
            "Each row is divided by the sum of *all* its scores, the hidden ones too: the keys of later tokens "
            "change o_t. The loss of such a model looks too good in training, and generation falls apart.", "eq. 1.8",
            next="Over which i does the sum below the fraction bar run?"),
        "masks the denominator only": Mistake(mask_in_one_place,
            "The sum below is right now, but the one above still runs over all tokens: values leak from the future.",
            "eq. 1.8"),
        "normalizes over the queries": Mistake(sum_over_queries,
            "The scores of one *query* must sum to one: that is a row, `dim=-1`. Yours makes each column sum to one, "
            "over tokens of which some are in the future.", "eq. 1.8"),
        "drops the normalizer": Mistake(lambda q, k, v: ((elu(q) + 1) @ (elu(k) + 1).T).tril() @ v,
            "No leak any more, but no average either: the output grows with t. Mask first, then divide.", "eq. 1.8"),
        "drops the feature map": Mistake(normalized_without_features,
            "The order is right, but plain scores can be negative and their sum zero. φ makes every score positive.",
            "eq. 1.8"),
        "masks the diagonal too, and guards the division": Mistake(
            lambda q, k, v: weighted(features(q, k).tril(-1), 1e-300) @ v,
            "Token t is part of its own average: with i ≤ t no sum is ever zero, and there is nothing to guard.",
            "eq. 1.8"),
        "takes a softmax of the scores": Mistake(lambda q, k, v: softmax_scores(q, k) @ v,
            "That is eq. 1.1, without φ. Here the weights are the overlaps of features, divided by their sum.",
            "eq. 1.8"),
        "applies the feature map to the scores": Mistake(
            lambda q, k, v: weighted((elu(q @ k.T) + 1).tril()) @ v,
            "φ acts on a query and a key, each alone: that is what lets the sum move into a memory. φ of the "
            "*score* cannot be taken apart.", "eq. 1.8"),
        "normalizes the features of each key": Mistake(
            lambda q, k, v: ((elu(q) + 1) @ weighted(elu(k) + 1).T).tril() @ v,
            "The scores of one query must sum to one, over the tokens it sees. Yours makes the features of each key "
            "sum to one, over the K columns.", "eq. 1.8", next="Which sum runs over i ≤ t?"),
        "masks before the feature map": Mistake(lambda q, k, v: weighted(elu((q @ k.T).tril()) + 1) @ v,
            "elu(0) + 1 is 1: the zeros of the mask become ones, and the future is read after all. φ acts on a query "
            "and a key, each alone; the mask comes after their product.", "eq. 1.8"),
        "masks the diagonal too": Mistake(normalized_strictly,
            "A token may read what it has just written: i ≤ t. Yours leaves the first token nothing to "
            "average over, and 0/0 is NaN.", "eq. 1.8"),
        "divides columns by their whole sums": Mistake(sum_over_queries_first,
            "Two slips: the scores of one *query* must sum to one, a row, `dim=-1`; and what the mask hides must not "
            "be in the sum.", "eq. 1.8"),
        "takes a softmax": Mistake(softmax_of_features,
            "A softmax exponentiates first. These scores are positive already and are only divided by their sum; "
            "besides, exp turns the zeros of the mask into ones.", "eq. 1.8"),
        "divides all rows by one sum": Mistake(one_sum_for_all,
            "Every query has a sum of its own: along the row, `dim=-1`, and with `keepdim=True`.", "eq. 1.8"),
        "keeps the future and drops the past": Mistake(lambda q, k, v: weighted(features(q, k).triu()) @ v,
            "Row t, column i is how token t looks at token i. The past, i ≤ t, is on and *below* the diagonal: `tril`.",
            "eq. 1.8"),
        "takes a masked softmax": Mistake(lambda q, k, v: torch.softmax(hidden(features(q, k)), -1) @ v,
            "The mask is right. But a softmax exponentiates first; these scores are positive already and "
            "are only divided by their sum.", "eq. 1.8"),
        "takes exp for the feature map": Mistake(lambda q, k, v: weighted((q.exp() @ k.exp().T).tril()) @ v,
            "Positive, and a feature map that some papers use. Here φ(x) = elu(x) + 1.", "eq. 1.8"),
        "divides by the number of tokens": Mistake(
            lambda q, k, v: features(q, k).tril() / torch.arange(1, len(q) + 1).to(q)[:, None] @ v,
            "A weighted average divides by the sum of its weights, here the scores of row t, not by how many they are.",
            "eq. 1.8"),
        **{f"adds {small:g} to the divisor": Mistake(
            lambda q, k, v, small=small: weighted(features(q, k).tril(), small) @ v,
            "The scores are positive, so the sum is never zero: nothing has to be added, and "
            "this much shows in the result.",
            "eq. 1.8") for small in (1e-5, 1e-4, 1e-3, 1e-2, 1.0)},
        "divides columns by the sums of rows": Mistake(divided_without_keepdim,
            "Without `keepdim=True` the T sums lie flat, and column i is divided by the sum of row i.", "eq. 1.8",
            next="Which shape has `scores.sum(-1)`, and along which dimension is it repeated?"),
        "divides by running sums": Mistake(divided_by_running_sums,
            "Every entry of a row is divided by the *same* number: the sum of the whole row, after the mask.",
            "eq. 1.8"),
        "drops the feature map of the keys": Mistake(lambda q, k, v: weighted(((elu(q) + 1) @ k.T).tril()) @ v,
            "φ acts on both, queries and keys. With one of them raw, a score can be negative and the sum zero.",
            "eq. 1.8"),
        "drops the feature map of the queries": Mistake(lambda q, k, v: weighted((q @ (elu(k) + 1).T).tril()) @ v,
            "φ acts on both, queries and keys. With one of them raw, a score can be negative and the sum zero.",
            "eq. 1.8"),
        "clamps the divisor at 1": Mistake(
            lambda q, k, v: features(q, k).tril() / features(q, k).tril().sum(-1, keepdim=True).clamp(min=1) @ v,
            "The sum is positive, and may well be smaller than 1: clamped, the weights of that row no longer add up to "
            "one.", "eq. 1.8"),
        "drops the 1 of the feature map": Mistake(lambda q, k, v: weighted((elu(q) @ elu(k).T).tril()) @ v,
            "φ(x) = elu(x) + 1. elu alone reaches down to -1, so that scores can be negative and their sum zero.",
            "eq. 1.8"),
        "adds the 1 to the scores": Mistake(lambda q, k, v: weighted((elu(q) @ elu(k).T + 1).tril()) @ v,
            "φ(x) = elu(x) + 1 is applied to q and to k, entry by entry, before their product.", "eq. 1.8"),
    },
    hints=("Run it with T = 2, change the last key, and look at the *first* row of the output. It should not move.",
           "Two operations on the (T, T) scores: a mask and a division. Their order matters.",
           "Call `.tril()` on the scores before they are summed and divided."),
)
