"""The exercises of chapter 8, with their mistakes and hints; 8.5 and 8.7 are in cost.py, 8.6 in weights.py."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from ...ops import delta_rule_chunkwise
from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first
from .. import by_hand
from ..common import KEYS, alone_and_paired, loop, one_head
from .one_chunk import (after_the_update, all_scaled, beta_once_more, by_the_transition, change_only, chunk_with,
                        from_an_empty_memory, one_chunk, one_chunk_by_loop, one_chunk_residual, reading_and_writing,
                        scores_scaled, transposed_change, U_for_X, update_along, update_with_outputs, V_for_X,
                        with_softmax, within_the_chunk_only, without_diagonal, without_mask, without_the_solve, WRITES)

# -- 8.1 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="8.1", title="What the second token writes", kind="predict", stars=1, minutes=5, equations=("8.1",),
    reference=0.7, tolerance=1e-3, givens={"β₂": 0.5},
    working=(by_hand.second_write_by_the_loop, by_hand.second_write_by_u_and_w),
    mutants={
        "forgets the entering memory": Mistake(1.3,
            "That is u₂: what token 2 would write if the chunk had begun with an empty memory. It began with S = (1, "
            "2).",
            "eq. 8.1", next="Which direction w₂ must S be asked in?"),
        "adds what the memory says": Mistake(1.9,
            "The sign is wrong: what the old memory already says, S w₂ = 0.6, is *subtracted* from u₂.", "eq. 8.1"),
        "asks the memory from before the chunk about k₂": Mistake(1.5,
            "You wrote β₂ (v₂ − S k₂) with the S from before the chunk. Token 1 has changed the memory since.",
            "eq. 8.1",
            next="Ask in the direction w₂ instead of k₂, and start from u₂ instead of β₂v₂."),
        "erases too much": Mistake(0.3,
            "0.3 comes out if S is asked in the direction β₂k₂ = (0.4, 0.3) instead of w₂ = (0, 0.3), or if token 1 is "
            "taken to write its whole value, 3. It found S k₁ = 1 and wrote 2.",
            "eq. 5.2", next="How much of k₂ lies along k₁?"),
        "forgets β₂": Mistake(1.4,
            "That is the whole error, 5 − 3.6. With β₂ = 0.5 half of it is written.", "eq. 8.1"),
        "forgets β₂ in the overlap, or adds what the memory says about k₁": Mistake(-0.1,
            "−0.1 comes out if u₂ and w₂ take token 1 away with the whole overlap, 0.8, instead of β₂ · 0.8 = 0.4; and "
            "if token 1 is taken to write 3 + 1. It found 1 and wrote 3 − 1.", "eq. 5.2 and 5.4"),
        "gives the reading after the write, or adds what the memory says about k₂": Mistake(4.3,
            "4.3 is what the memory says about k₂ once token 2 has written, 3.6 + 0.7. It is also 0.5 (5 + 3.6), where "
            "what the memory says is added to the value. It is subtracted.", "eq. 8.1"),
        "forgets β₂ in w₂": Mistake(0.1,
            "Your w₂ is (0, 0.6). Every w_t is scaled by its β_t, like every u_t.", "eq. 5.3"),
        "gives x₁, or forgets β₂ in u₂": Mistake(2.0,
            "2 is what token 1 writes, 3 − 1. It also comes out with a u₂ of 2.6, which lacks its β₂.", "eq. 5.4"),
        "multiplies by β₂ twice": Mistake(0.35,
            "u₂ = 1.3 and w₂ = (0, 0.3) contain β₂ already, so their difference is not halved again.", "eq. 8.1"),
        "has the sign wrong, or asks the entering memory about k₂": Mistake(-0.7,
            "−0.7 is 0.5 (3.6 − 5), what the memory says minus the value: turn it round. It is also u₂ − S k₂ = "
            "1.3 − 2: S is asked in the direction w₂ = (0, 0.3), not about k₂.", "eq. 8.1"),
        "writes the value": Mistake(2.5,
            "0.5 · 5 is written by a memory that only adds. The delta rule writes half of what is *missing*.",
            "eq. 8.1"),
        "gives the value": Mistake(5.0, "5 is what arrives. Only half of what is *missing* is written.", "eq. 8.1"),
        "gives what the memory says": Mistake(3.6,
            "3.6 is what the memory says about k₂ after token 1. Token 2 writes β₂ times what is missing from 5.",
            "eq. 8.1"),
        "gives what is taken from u₂": Mistake(0.6,
            "0.6 is S w₂, what the entering memory already says. Take it from u₂ = 1.3.", "eq. 8.1"),
    },
    hints=("You need u₂ and w₂ from chapter 5, and then S w₂.",
           "w₂ = 0.5 ((0.8, 0.6) − 0.8 · (1, 0)) = (0, 0.3), and u₂ = 0.5 (5 − 0.8 · 3) = 1.3.",
           "x₂ = u₂ − S w₂, with S w₂ = 1 · 0 + 2 · 0.3."),
    why="x₂ = 1.3 − 0.6. The loop agrees: after token 1 the memory is (3, 2) and says 3.6 about k₂, and half of 5 − "
        "3.6 is 0.7.",
)


# -- 8.2 ---------------------------------------------------------------------------------------------------------------

SLIPS = {
    "excludes the diagonal": Mistake(dict(read=without_diagonal),
        "Token t reads *after* it has written: o_t = S_t q_t, and x_t is part of S_t. The mask keeps the diagonal.",
        "eq. 8.5",
        next="With an empty memory and one token, should the output be zero?"),
    "reads what later tokens write": Mistake(dict(read=without_mask),
        "Without the mask every token reads the memory that *leaves* the chunk, S′, with the writes of later "
        "tokens in it. Row t of Q Kᵀ may use columns i ≤ t only.", "eq. 8.5",
        next="What would a language model learn if token t could see token t + 1?"),
    "keeps the wrong triangle": Mistake(dict(read=lambda Q, K, S, X: Q @ S.T + (Q @ K.T).triu() @ X),
        "Rows are readers and columns are writers, so what was written earlier is on the *left* of the diagonal.",
        "eq. 8.5"),
    "has readers and writers exchanged": Mistake(dict(read=lambda Q, K, S, X: Q @ S.T + (K @ Q.T).tril() @ X),
        "Row t of K Qᵀ belongs to the key of token t. Row t of Q Kᵀ belongs to its query, and it is the query that "
        "reads.",
        "eq. 8.5"),
    "cuts the product with X": Mistake(dict(read=lambda Q, K, S, X: Q @ S.T + (Q @ K.T @ X).tril()),
        "`tril` must cut Q Kᵀ, tokens against tokens, before X is multiplied. After it, the columns are entries of "
        "values.",
        "eq. 8.5"),
    "forgets what was in the memory": Mistake(dict(read=within_the_chunk_only),
        "S_t holds the entering memory too: S itself answers S q_t to every query.", "eq. 8.3"),
    "reads the entering memory only": Mistake(dict(read=lambda Q, K, S, X: Q @ S.T),
        "Your tokens do not see what this chunk writes, not even what they write themselves.", "eq. 8.3"),
    "updates before it reads": Mistake(dict(read=after_the_update),
        "The outputs are read from the memory that *leaves*, and tril(Q Kᵀ) X is added to that. So every write counts "
        "once too often, even those of later tokens. The S in eq. 8.5 is the one that *enters*.",
        "eq. 8.5", next="Compute O first."),
    "takes away what the chunk writes": Mistake(dict(read=lambda Q, K, S, X: Q @ S.T - (Q @ K.T).tril() @ X),
        "X is what is written, the erasing included, and the tokens read it with a plus.", "eq. 8.3"),
    "reads with the keys": Mistake(dict(read=lambda Q, K, S, X: K @ S.T + (K @ K.T).tril() @ X),
        "The key says where a token writes; the *query* says what it reads.", "eq. 8.3"),
    "scales the outputs by 1/√K": Mistake(dict(read=all_scaled),
        "Softmax attention divides by √K. Here the scale is 1, as the head of this page says: nothing is "
        "exponentiated.",
        "eq. 8.5"),
    "scales Q Kᵀ by 1/√K": Mistake(dict(read=scores_scaled),
        "Softmax attention divides its scores by √K. Here the scale is 1; and another scale would have to stand "
        "before Q Sᵀ as well.", "eq. 8.5"),
    "takes a softmax": Mistake(dict(read=with_softmax),
        "Softmax attention ends in a softmax. Here the scores themselves are the weights: tril(Q Kᵀ).", "eq. 8.5"),
    "replaces the memory": Mistake(dict(update=change_only),
        "XᵀK is the *change*. What was there before is still there: add S.", "eq. 8.4"),
    "hands on the last write only": Mistake(dict(update=lambda K, S, X: S + X[-1:].T @ K[-1:]),
        "All tokens of the chunk have written: S + XᵀK, with all rows.", "eq. 8.4"),
    "takes the writes away": Mistake(dict(update=lambda K, S, X: S - X.T @ K),
        "X is what is written, the erasing included, so it is *added* to S.", "eq. 8.4"),
    "hands on the memory that entered": Mistake(dict(update=lambda K, S, X: S.clone()),
        "The chunk has written: what leaves is S + XᵀK.", "eq. 8.4"),
    "reads with the transposed memory": Mistake(dict(read=lambda Q, K, S, X: Q @ S + (Q @ K.T).tril() @ X),
        "One token reads S q, so a row of tokens reads (S Qᵀ)ᵀ = Q Sᵀ. With K = V both run, and one is wrong.",
        "eq. 8.5",
        next="S is (V, K). Which of Q S and Q Sᵀ has shape (C, V)?"),
    "writes the transposed memory": Mistake(dict(update=transposed_change),
        "The change is Σ x_i k_iᵀ, values upright and keys flat: XᵀK, of shape (V, K).", "eq. 8.4"),
}

exercise(
    id="8.2", title="Read and update", kind="code", stars=2, minutes=15, equations=("8.4", "8.5"),
    reference=one_chunk, alternatives=(one_chunk_residual, one_chunk_by_loop),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=2, V=1)
                                   + delta_inputs(g, "q k v beta S", T=(2, 5), keys=KEYS)
                                   + delta_inputs(g, "q k v beta S", T=(2, 5), K=4, V=4, betas=("large",))),
    mutants={
        **alone_and_paired(chunk_with, SLIPS),
        "reads U instead of U - W Sᵀ": Mistake(reading_and_writing(U_for_X, update=False),
            "U is what would be written into an *empty* memory. This one was not: the line above has computed X.",
            "eq. 8.5"),
        "writes U instead of U - W Sᵀ": Mistake(reading_and_writing(U_for_X, read=False),
            "U is what would be written into an *empty* memory. Nothing old is erased that way: it is the shortcut of "
            "the opening.",
            "eq. 8.4"),
        "reads and writes U instead of U - W Sᵀ": Mistake(reading_and_writing(U_for_X),
            "U is what would be written into an *empty* memory: it is the shortcut of the opening. What is really "
            "written is X, of the line above.", "eq. 8.2"),
        "reads V instead of what is written": Mistake(reading_and_writing(V_for_X, update=False),
            "That is chapter 7: the outputs of linear attention, which writes values as they come. The delta rule "
            "writes X.",
            "eq. 8.5"),
        "writes V": Mistake(reading_and_writing(V_for_X, read=False),
            "That is the update of linear attention, which writes values as they come. The delta rule writes X.",
            "eq. 8.4"),
        "is linear attention": Mistake(reading_and_writing(V_for_X),
            "With V in both lines this is chapter 7. What the delta rule writes is X, of the line above.",
            "eq. 8.4 and 8.5"),
        "multiplies by β once more": Mistake(reading_and_writing(beta_once_more),
            "X contains β already, through UT = (I + A)⁻¹ diag(β).", "eq. 8.2"),
        "reads what is written times β once more": Mistake(reading_and_writing(beta_once_more, update=False),
            "X contains β already, through UT = (I + A)⁻¹ diag(β).", "eq. 8.2"),
        "multiplies the update by β once more": Mistake(reading_and_writing(beta_once_more, read=False),
            "X contains β already, through UT = (I + A)⁻¹ diag(β).", "eq. 8.2"),
        "ignores the memory that enters": Mistake(from_an_empty_memory,
            "Outputs and memory are those of a chunk that begins empty. Here S enters, and it is read, and written to.",
            "eq. 8.4 and 8.5"),
        "forgets what the tokens do to each other": Mistake(without_the_solve,
            "β (V − K Sᵀ) is the error against the memory from before the chunk. The triangular system lets later "
            "tokens see what earlier ones have written; X, of the line above, has passed through it.", "eq. 8.6"),
        "only erases": Mistake(by_the_transition(writes=False),
            "S (I − WᵀK) is what is left of the old memory. What the chunk stores, UᵀK, is missing.", "eq. 8.4"),
        "multiplies S with the transposed transition": Mistake(by_the_transition(right=False),
            "(U − W Sᵀ)ᵀ K = UᵀK − S WᵀK: it is WᵀK that S is multiplied with, not KᵀW.", "eq. 8.4"),
        "writes along the queries": Mistake(update_along(lambda Q, K, W: Q),
            "A write ends in the *key*, x kᵀ: that is where it will be found. The query only reads.", "eq. 8.1"),
        "writes along W": Mistake(update_along(lambda Q, K, W: W),
            "w is the question put to the old memory. The write ends in the key itself, x kᵀ.", "eq. 8.1"),
        "writes the outputs": Mistake(update_with_outputs,
            "O is what the tokens read. What they write is X.", "eq. 8.4"),
    },
    hints=("S_t = S + Σ x_i k_iᵀ over i ≤ t. What does S_t q_t give, and what is S_t for the last token?",
           "Σ over i ≤ t of x_i (k_iᵀ q_t): row t of tril(Q Kᵀ) X.",
           "`O = Q @ S.mT + (Q @ K.mT).tril() @ X` and `S_out = S + X.mT @ K`."),
)


# -- 8.3 ---------------------------------------------------------------------------------------------------------------

def chunkwise(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        O, S = one_chunk(q[n:n + C], k[n:n + C], v[n:n + C], beta[n:n + C], S)
        o.append(O)
    return torch.cat(o), S


def chunkwise_of_the_package(q, k, v, beta, S, C):
    return one_head(delta_rule_chunkwise, q, k, v, beta, S, chunk_size=C)


def chunkwise_by_padding(q, k, v, beta, S, C):
    T = len(k)
    q, k, v = (F.pad(x, (0, 0, 0, -T % C)) for x in (q, k, v))
    beta, o = F.pad(beta, (0, -T % C)), []
    for chunk in zip(*(x.split(C) for x in (q, k, v, beta))):
        O, S = one_chunk_residual(*chunk, S)
        o.append(O)
    return torch.cat(o)[:T], S


def token_by_token(q, k, v, beta, S, C):
    return one_chunk_by_loop(q, k, v, beta, S)


def adding_only(q, k, v, beta, S, C):
    return (q @ k.mT).tril() @ (beta[:, None] * v) + q @ S.mT, S + (beta[:, None] * v).mT @ k


def errors_of_the_entering_memory(Q, K, V, beta, S):
    X = beta[:, None] * (V - K @ S.mT)
    return Q @ S.mT + (Q @ K.mT).tril() @ X, S + X.mT @ K


def by_chunks(one, join=torch.cat):
    """A mutant: chunk after chunk with another `one_chunk`, or with the outputs joined in another way."""
    def f(q, k, v, beta, S, C):
        o = []
        for chunk in zip(*(x.split(C) for x in (q, k, v, beta))):
            O, S = one(*chunk, S)
            o.append(O)
        return join(o), S
    return f


def each_from(memory, leaves=lambda S, S_out: S_out):
    """A mutant: every chunk starts from memory(S), S being the first; returned is leaves(S, what the last leaves)."""
    def f(q, k, v, beta, S, C):
        chunks = zip(*(x.split(C) for x in (q, k, v, beta)))
        o, left = zip(*(one_chunk(*chunk, memory(S)) for chunk in chunks))
        return torch.cat(o), leaves(S, left[-1])
    return f


def starting_at(starts, first=None):
    """A mutant: chunks begin at starts(T, C). first(v) is joined in front, for sequences without a chunk."""
    def f(q, k, v, beta, S, C):
        o = [] if first is None else [first(v)]
        for n in starts(len(k), C):
            O, S = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)
            o.append(O)
        return torch.cat(o), S
    return f


def whole_chunks(T, C):
    return range(0, T // C * C, C)


def no_rows(v):
    return v[:0]


def with_a_silent_tail(q, k, v, beta, S, C):
    o, S = starting_at(whole_chunks, no_rows)(q, k, v, beta, S, C)
    return torch.cat([o, torch.zeros_like(v[len(o):])]), S


def again(x, n):
    return torch.cat([x, x[-1:].expand(n, *x.shape[1:])])


def with_zeros(x, n):
    return torch.cat([x, x.new_zeros(n, *x.shape[1:])])


def with_ones(x, n):
    return torch.cat([x, x.new_ones(n, *x.shape[1:])])


def cut_with(stop):
    """A mutant whose chunks end at stop(n, C) instead of n + C."""
    def f(q, k, v, beta, S, C):
        o = []
        for n in range(0, len(k), C):
            O, S = one_chunk(*(x[n:stop(n, C)] for x in (q, k, v, beta)), S)
            o.append(O)
        return torch.cat(o), S
    return f


def returning_the_first(q, k, v, beta, S, C):
    return chunkwise(q, k, v, beta, S, C)[0], S.clone()


def adding_memories(Q, K, V, beta, S):
    O, S_out = one_chunk(Q, K, V, beta, S)
    return O, S + S_out


def without_the_writes_of_the_tail(q, k, v, beta, S, C):
    n = len(k) // C * C
    return chunkwise(q, k, v, beta, S, C)[0], loop(q, k, v, beta, S)[1][n]


def padded(*pads, cut=True):
    """A mutant: q, k, v and β are lengthened to whole chunks, each by its own pad(x, n)."""
    def f(q, k, v, beta, S, C):
        T = len(k)
        o, S = chunkwise(*(pad(x, -T % C) for pad, x in zip(pads, (q, k, v, beta))), S, C)
        return o[:T] if cut else o, S
    return f


def with_one_large_system(q, k, v, beta, S, C):
    UT, o = ut_by_solve(k, beta), []
    W, U = UT @ k, UT @ v
    for n in range(0, len(k), C):
        Q, K, X = q[n:n + C], k[n:n + C], U[n:n + C] - W[n:n + C] @ S.T
        o.append(Q @ S.T + (Q @ K.T).tril() @ X)
        S = S + X.T @ K
    return torch.cat(o), S


def states_one_chunk_late(q, k, v, beta, S, C):
    o, S_new = [], S
    for chunk in zip(*(x.split(C) for x in (q, k, v, beta))):
        O, S_next = one_chunk(*chunk, S)
        S, S_new = S_new, S_next
        o.append(O)
    return torch.cat(o), S_new


def returning_what_entered_the_last(q, k, v, beta, S, C):
    return chunkwise(q, k, v, beta, S, C)[0], loop(q, k, v, beta, S)[1][(len(k) - 1) // C * C]


def with_a_tail_from_the_end(q, k, v, beta, S, C):
    """The tail is x[-r:], and -0 is the beginning."""
    o, S = starting_at(whole_chunks, no_rows)(q, k, v, beta, S, C)
    tail, S = one_chunk(*(x[-(len(x) % C):] for x in (q, k, v, beta)), S)
    return torch.cat([o, tail]), S


def with_a_last_chunk_moved_back(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        start = max(0, min(n, len(k) - C))
        O, S = one_chunk(*(x[start:start + C] for x in (q, k, v, beta)), S)
        o.append(O[n - start:])
    return torch.cat(o), S


def without_the_last_write(q, k, v, beta, S, C):
    o, _ = chunkwise(q, k, v, beta, S, C)
    return o, loop(q, k, v, beta, S)[1][-2]


def from_the_end(q, k, v, beta, S, C):
    O = torch.zeros_like(v)
    for n in reversed(range(0, len(k), C)):
        chunk = slice(n, n + C)
        O[chunk], S = one_chunk(q[chunk], k[chunk], v[chunk], beta[chunk], S)
    return O, S


def strengths_of_the_first(q, k, v, beta, S, C):
    return chunkwise(q, k, v, beta[torch.arange(len(k)) % C], S, C)


def emptied_after_every_chunk(Q, K, V, beta, S):
    return one_chunk(Q, K, V, beta, S)[0], torch.zeros_like(S)


def only_the_first(q, k, v, beta, S, C):
    return one_chunk(q[:C], k[:C], v[:C], beta[:C], S)


exercise(
    id="8.3", title="Chunk by chunk, tail included", kind="code", stars=3, minutes=20, equations=("8.4", "8.5"),
    sources=(one_chunk, chunkwise), reference=chunkwise,
    alternatives=(chunkwise_of_the_package, chunkwise_by_padding, token_by_token),
    cases=lambda g: smallest_first(
        delta_inputs(g, "q k v beta S C", T=(2, 3, 7), K=2, V=1, C=(1, 2, 3), keys=("random", "repeated"))
        + delta_inputs(g, "q k v beta S C", T=(7,), C=(3, 7, 10), betas=("large",))),
    mutants={
        "starts every chunk from the first memory": Mistake(each_from(lambda S: S),
            "Each chunk starts from the memory that the chunk before it has left, S′, not from the one that came in at "
            "the very beginning.", "eq. 8.4", next="Which variable has to change inside the loop?"),
        "adds without erasing": Mistake(adding_only,
            "β v itself is written, and nothing is erased: linear attention. The delta rule writes the error.",
            "eq. 8.1"),
        "never updates S": Mistake(each_from(lambda S: S, leaves=lambda S, S_out: S.clone()),
            "Every chunk starts from the memory that came in, and that one is returned too: what the chunks leave is "
            "thrown away.",
            "eq. 8.4", next="`one_chunk` returns two things. Where does the second one go?"),
        "returns the memory that came in": Mistake(returning_the_first,
            "The outputs are right, so the memory was handed on. The one that leaves the last chunk is what should be "
            "returned.", "eq. 8.4"),
        "adds each memory to the one before": Mistake(by_chunks(adding_memories),
            "What a chunk leaves, S′, contains what it was given. It takes the place of S and is not added to it.",
            "eq. 8.4"),
        "loses what the tail writes": Mistake(without_the_writes_of_the_tail,
            "The outputs are right. But the last, shorter chunk writes as well, and the memory that you return was "
            "taken before it.", "eq. 8.4"),
        "returns the memory that entered the last chunk": Mistake(returning_what_entered_the_last,
            "The outputs are right, and so was the memory with which the last chunk began. It writes as well: return "
            "what *leaves* it.", "eq. 8.4"),
        "reads everything again as the tail where there is none": Mistake(with_a_tail_from_the_end,
            "A tail of r tokens is x[-r:]. But where T is a multiple of C, r is 0, and x[-0:] is the whole sequence: "
            "it is read and written a second time.", next="Which entries has `k[-0:]`?"),
        "moves the last chunk back until it is full": Mistake(with_a_last_chunk_moved_back,
            "Then the last chunk overlaps the one before it, and the tokens in both are written twice. The last chunk "
            "may be shorter than C.", "eq. 8.4"),
        "runs through the chunks from the end": Mistake(from_the_end,
            "Each chunk starts from the memory that the chunk *before* it has left, so the first one comes first.",
            "eq. 8.4"),
        "takes the strengths of the first chunk for every chunk": Mistake(strengths_of_the_first,
            "Queries, keys, values and strengths are all cut at the same places. Your β does not move on.", "eq. 8.1"),
        "starts every chunk from an empty memory": Mistake(each_from(torch.zeros_like),
            "The chunks do not know of each other. The memory that comes in, and then the one each chunk leaves, must "
            "be handed on.",
            "eq. 8.4"),
        "writes U, as if each chunk began empty": Mistake(by_chunks(reading_and_writing(U_for_X)),
            "The shortcut of the opening: right in the first chunk of an empty memory, and wrong afterwards. What the "
            "memory already says, W Sᵀ, must be taken from U.", "eq. 8.2"),
        "takes every error from the memory that enters the chunk": Mistake(by_chunks(errors_of_the_entering_memory),
            "β (V − K Sᵀ): the tokens of a chunk do not see what the earlier ones of it write. That takes the solve, "
            "UT.", "eq. 8.6"),
        "is linear attention": Mistake(by_chunks(reading_and_writing(V_for_X)),
            "The values are written as they come, which is chapter 7. What the delta rule writes is X = U − W Sᵀ.",
            "eq. 8.2"),
        "forgets what was in the memory": Mistake(by_chunks(chunk_with(read=within_the_chunk_only)),
            "The memory is handed on as it should be, but nobody reads it: Q Sᵀ is missing from the outputs.",
            "eq. 8.5"),
        "updates before it reads": Mistake(by_chunks(chunk_with(read=after_the_update)),
            "The outputs of a chunk need the memory that *enters* it. Yours read the one that leaves, and count the "
            "chunk's writes once more.",
            "eq. 8.5"),
        "scales the outputs by 1/√K": Mistake(by_chunks(chunk_with(read=all_scaled)),
            "Softmax attention divides by √K. Here the scale is 1, as the head of this page says.", "eq. 8.5"),
        "drops the tail": Mistake(starting_at(whole_chunks),
            "The last T mod C tokens are lost. There are ⌈T / C⌉ chunks, and the last one may be shorter.",
            next="With T = 3 and C = 2, where does the second chunk start and end?"),
        "drops the tail, and with it every text shorter than a chunk": Mistake(starting_at(whole_chunks, no_rows),
            "⌊T / C⌋ chunks leave the last T mod C tokens without an output; for T < C that is all of them. There are "
            "⌈T / C⌉ chunks, and the last one may be shorter.",
            next="With T = 2 and C = 3, how many chunks does yours have?"),
        "stops one chunk early": Mistake(starting_at(lambda T, C: range(0, T - C, C)),
            "Your loop ends when no *other* whole chunk follows. The last chunk begins at the last multiple of C below "
            "T.",
            next="With T = 4 and C = 2, which values does your n take?"),
        "leaves the outputs of the tail at zero": Mistake(with_a_silent_tail,
            "The shape is right, but the last T mod C tokens are never computed, and the memory lacks their writes. "
            "The last chunk may be shorter than C.",
            next="With T = 3 and C = 2, where does the second chunk start and end?"),
        "stops after the first chunk": Mistake(only_the_first,
            "Only the first C tokens have an output. Where is the loop, and does its slice run from n to n + C?"),
        "pads by repeating the last token": Mistake(padded(again, again, again, again),
            "The outputs are right, but the memory that leaves was written to by tokens that do not exist. Pad with "
            "zeros: k = 0 writes nothing.", next="What does a token with k = 0 add to the memory?"),
        "pads with v = 0": Mistake(padded(again, again, with_zeros, again),
            "Storing zero is a write as well: it erases what the memory says about the key that stands there. Pad with "
            "k = 0.",
            "prediction 8.c", next="What does a token with k = 0 add to the memory?"),
        "pads with v = 0 and β = 1": Mistake(padded(again, again, with_zeros, with_ones),
            "Storing zero is a write as well, here at full strength: it erases what the memory says about the key that "
            "stands there. Pad with k = 0.", "prediction 8.c", next="What does a token with k = 0 add to the memory?"),
        "pads with v = 0 and keys of ones": Mistake(padded(with_zeros, with_ones, with_zeros, with_ones),
            "Storing zero is a write as well: it erases what the memory says about the key that stands there. Pad with "
            "k = 0.",
            "prediction 8.c", next="What does a token with k = 0 add to the memory?"),
        "solves one system for the whole sequence": Mistake(with_one_large_system,
            "Your UT couples tokens across chunks, and W Sᵀ then removes the same thing again through the memory. Each "
            "chunk has a matrix of its own.", "eq. 6.3", next="Move `ut_by_solve` into the loop."),
        "starts from an empty memory": Mistake(
            lambda q, k, v, beta, S, C: chunkwise(q, k, v, beta, torch.zeros_like(S), C),
            "The chunks hand the memory on, but the first of them must start from the S that comes in: what earlier "
            "text has left.",
            "eq. 8.5"),
        "empties the memory after every chunk": Mistake(by_chunks(emptied_after_every_chunk),
            "The first chunk meets the memory that came in, the others an empty one, and an empty one is returned. "
            "Hand on what each chunk leaves.", "eq. 8.4"),
        "returns the padding's outputs too": Mistake(padded(with_zeros, with_zeros, with_zeros, with_zeros, cut=False),
            "Zeros that fill the last chunk do no harm to the memory, but they have no place in the outputs: T tokens "
            "came, T rows leave.", next="Cut with `[:T]`."),
        "cuts chunks that are too short": Mistake(cut_with(lambda n, C: n + C - 1),
            "A slice leaves its end out: n:n+C has C entries. Yours skip the last token of every chunk.",
            next="How many entries has `k[0:2]`?"),
        "cuts chunks that are too long": Mistake(cut_with(lambda n, C: n + C + 1),
            "A slice leaves its end out: n:n+C has C entries. Yours take the first token of the next chunk along.",
            next="How many entries has `k[0:2]`?"),
        "counts tokens as chunks": Mistake(starting_at(lambda T, C: range(0, T * C, C * C)),
            "n runs over tokens already, in steps of C. Multiplied by C once more it leaves the sequence.",
            next="Print the slices for T = 7 and C = 3."),
        "moves on by one token": Mistake(starting_at(lambda T, C: range(T)),
            "The next chunk starts C tokens further on. Yours starts at the next token, so the chunks overlap, and "
            "tokens are written again and again.", next="Which third argument does `range` need?"),
        "lets tokens see later ones": Mistake(by_chunks(chunk_with(read=without_mask)),
            "Inside a chunk the mask is missing: row t of Q Kᵀ may use columns i ≤ t only.", "eq. 8.5"),
        "hides each token from itself": Mistake(by_chunks(chunk_with(read=without_diagonal)),
            "A token writes first and reads second: the diagonal belongs to the mask.", "eq. 8.5"),
        "keeps only what the last chunk writes": Mistake(by_chunks(chunk_with(update=change_only)),
            "XᵀK is the *change*. What was there before is still there: S + XᵀK.", "eq. 8.4"),
        "writes the transposed change": Mistake(by_chunks(chunk_with(update=transposed_change)),
            "The change has values upright and keys flat: XᵀK, of shape (V, K) like S.", "eq. 8.4"),
        "stacks the chunks": Mistake(by_chunks(one_chunk, torch.stack),
            "`torch.stack` makes a new dimension for the chunks, and needs them all equally long. Join them along the "
            "tokens: `torch.cat`."),
        "hands each memory on one chunk late": Mistake(states_one_chunk_late,
            "Chunk 3 starts from the memory that chunk *2* leaves. Yours is still the one before that.", "eq. 8.4"),
        **{name: replace(slip, answer=by_chunks(slip.answer)) for name, slip in WRITES.items()},
        "forgets to return the last memory": Mistake(without_the_last_write,
            "The outputs are right. The state that you return lacks the last token's write."),
    },
    hints=("`for n in range(0, len(k), C)`: a slice n:n+C may run over the end, and that is just right.",
           "One pass of the loop is your answer to 8.2. What has to survive from one pass to the next?",
           "`O, S = one_chunk(q[n:n+C], k[n:n+C], v[n:n+C], beta[n:n+C], S)`, append O, and `torch.cat` at the end."),
)


# -- 8.4 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="8.4", title="One chunk without W and U", kind="order", stars=2, minutes=10, equations=("8.6",),
    reference="DFAHCE", alternatives=("FDAHCE",),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=3, V=2)
                                   + delta_inputs(g, "q k v beta S", T=(3,), K=2, V=5, betas=("large",))),
    prepare=order_the_lines(
        {"A": "X = UT @ R                           # within the chunk",
         "C": "S = S + X.mT @ K                     # update",
         "E": "return O, S",
         "D": "UT = ut_by_solve(K, beta)            # within the chunk",
         "F": "R = V - K @ S.mT                     # across chunks",
         "H": "O = Q @ S.mT + (Q @ K.mT).tril() @ X # store"},
        "def one_chunk(Q, K, V, beta, S):", "one_chunk", namespace={"ut_by_solve": ut_by_solve},
        distractors={"B": "X = UT @ V                           # within the chunk",
                     "G": "O = Q @ S.mT + (Q @ K.mT).tril(-1) @ X # store"}),
    mutants={
        "updates before it reads": Mistake("DFACHE",
            "After line C, S holds this chunk's writes already. Then line H adds them a second time, and even those of "
            "later tokens.", "eq. 8.5", next="Which S does eq. 8.5 mean, the one that enters or the one that leaves?"),
        "writes as if the memory were empty": Mistake("DBHCE",
            "Line B is a decoy: it computes U. X must be made from the error R = V − K Sᵀ, or nothing old is ever "
            "erased.",
            "eq. 8.6", next="Which line compares V with what the memory says, and which line uses the result?"),
        "lets no token read its own write": Mistake("DFAGCE",
            "Line G masks the diagonal out: token t then reads S_{t−1}. The decoy is G.", "eq. 8.5"),
        "falls for both decoys": Mistake("DBGCE",
            "Line B computes U, which is right for an empty memory only, and line G hides each token's own write from "
            "it.",
            "eq. 8.5 and 8.6"),
        "needs X before it exists": Mistake("DFHACE",
            "Line H uses X, and only line A computes it.", "eq. 8.6"),
        "solves for an error that is not there yet": Mistake("DACFHE",
            "Line A uses R, and only line F computes it. It must come before A.", "eq. 8.6"),
        "compares with the memory that leaves": Mistake("DBCFAHE",
            "Line F must ask the memory that *enters*. Before it, line C has already written.", "eq. 8.6"),
        "forgets to update": Mistake("DFAHE",
            "Line C is missing: the memory that leaves is the one that came in.", "eq. 8.4"),
    },
    hints=("Two of the lines are decoys: one would write into an empty memory, one would mask too much.",
           "UT and R need nothing but the arguments; X needs both; O and the new S need X.",
           "O must see the S that *enters*: H comes before C. The beginning is D F A."),
)
