"""The exercises of chapter 7, in order: each with its solutions, mistakes and hints. 7.5 to 7.7 are in maps.py."""

from typing import NamedTuple

import torch

from ...ops import linear_attention_chunkwise, linear_attention_recurrent
from ...ops.delta_rule.householder import householder
from ...ops.delta_rule.scan import compose
from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, normal, smallest_first
from .. import by_hand
from ..common import one_head, real

# -- 7.1 How many steps? -----------------------------------------------------------------------------------------------

exercise(
    id="7.1", title="How many steps?", kind="predict", stars=1, minutes=3, equations=("7.2",), reference=16,
    working=(by_hand.chunks,),
    mutants={
        "drops the ragged tail": Mistake(15,
            "15 chunks of 64 hold 960 tokens. The other 40 still need a chunk of their own.", "eq. 7.2"),
        "counts the tokens": Mistake(1000, "That is the token loop. A chunk is one step, however many tokens it holds.",
            "eq. 7.2"),
        "counts the tokens of a chunk": Mistake(64,
            "Within a chunk nothing waits: its 64 tokens are rows of the same matrix product. It is the chunks that "
            "wait, each for the state of the one before.", "eq. 7.3"),
        "adds a step too many": Mistake(17,
            "16 chunks of 64 hold 1,024 tokens, and 1,000 fit into them. The state that enters is no step of its own.",
            "eq. 7.2"),
        "counts the rounds of a tree over tokens": Mistake(10,
            "log₂ 1,000 is what a scan would need, with products of whole matrices in each round. Here the state goes "
            "from "
            "chunk to chunk.", "eq. 7.2"),
        "counts the rounds of a tree over chunks": Mistake(4,
            "log₂ 16 is what a scan over the chunks would need. Here each chunk waits for the state of the one before.",
            "eq. 7.2"),
        "rounds to a tenth of a step": Mistake(15.6,
            "There is no such thing as 0.6 of a step: the last chunk is padded and costs a whole one.", "eq. 7.2"),
        "subtracts one from 64": Mistake(63,
            "Within a chunk nothing waits. The question is how many *chunks* follow one another.",
            "eq. 7.3"),
        "counts a fraction of a step": Mistake(15.625,
            "There is no such thing as 0.625 of a step: the last chunk is padded and costs a whole one.", "eq. 7.2"),
        "counts 64 for each chunk": Mistake(1024,
            "1,024 is 16 · 64, the tokens with their padding. Within a chunk no token waits for another: a chunk is "
            "one step, however many tokens it holds.", "eq. 7.2"),
        "counts the tokens of the tail": Mistake(40,
            "40 tokens are left for the last chunk. The question is how many chunks follow one another.", "eq. 7.2"),
        "counts steps within the chunks": Mistake(80,
            "80 is 16 + 64, or five products for each of 16 chunks. Within a chunk no token waits for another: its 64 "
            "tokens are rows of the same matrix products, and the chunk counts as one step.", "eq. 7.3"),
        "adds a step for each token of a chunk but one": Mistake(79,
            "79 is 16 + 63. Within a chunk no token waits for another: its 64 tokens are rows of the same matrix "
            "products.", "eq. 7.3"),
        "takes all chunks at once": Mistake(1,
            "What the chunks do with their own tokens can happen at once. But each chunk also reads the state that the "
            "one before hands on, and in the loop it waits for that.", "eq. 7.2"),
        "counts the padding": Mistake(24,
            "That is how many zero rows fill the last chunk. The question is how many chunks follow one another.",
            "eq. 7.2"),
    },
    hints=("What must be finished before the second chunk can know its entering state?",
           "One step a chunk. How many chunks of 64 cover 1,000 tokens?",
           "1000 / 64 = 15.6, and the rest needs a chunk too."),
    why="ceil(1000 / 64) = 16. The last chunk holds 40 tokens and 24 zero rows.",
)


# -- 7.2 Chunk by chunk ------------------------------------------------------------------------------------------------

def chunk_by_chunk(q, k, v, S, C):
    o = []
    for start in range(0, len(k), C):
        Q, K, V = (x[start:start + C] for x in (q, k, v))                # (C, K), (C, K), (C, V)
        o.append(Q @ S.T + (Q @ K.T).tril() @ V)                         # (C, V)
        S = S + V.T @ K                                                  # (V, K)
    return torch.cat(o), S


def chunk_by_package(q, k, v, S, C):
    return one_head(linear_attention_chunkwise, q, k, v, S, chunk_size=C)


def token_by_token(q, k, v, S, C):
    o = []
    for q_t, k_t, v_t in zip(q, k, v):
        S = S + torch.outer(v_t, k_t)
        o.append(S @ q_t)
    return torch.stack(o), S


def all_at_once(q, k, v, S, C):
    return q @ S.T + (q @ k.T).tril() @ v, S + v.T @ k


class Chunk(NamedTuple):
    """What a wrong answer to 7.2 has at hand in a chunk."""

    Q: torch.Tensor              # (C, K)
    K: torch.Tensor              # (C, K)
    V: torch.Tensor              # (C, V)
    before: torch.Tensor         # (V, K)  the state that enters
    after: torch.Tensor          # (V, K)  the state that leaves
    first: torch.Tensor          # (V, K)  the state from before the sequence


def right_read(x):
    return x.Q @ x.before.T + (x.Q @ x.K.T).tril() @ x.V


def right_carry(S, K, V):
    return S + V.T @ K


def chunked(read=right_read, carry=right_carry, whole_only=False, start=lambda S: S):
    """A mutant of the loop over chunks: `read` replaces the output of a chunk, `carry` the state for the next one."""
    def f(q, k, v, S, C):
        S, o = start(S), []
        first = S
        for n in range(0, len(k) - (len(k) % C if whole_only else 0), C):
            Q, K, V = (x[n:n + C] for x in (q, k, v))
            before, S = S, carry(S, K, V)
            o.append(read(Chunk(Q, K, V, before, S, first)))
        return torch.cat(o) if o else v[:0], S
    return f


def softmax_read(x):
    later = torch.ones(len(x.Q), len(x.Q)).triu(1).bool()
    return x.Q @ x.before.T + (x.Q @ x.K.T).masked_fill(later, -torch.inf).softmax(-1) @ x.V


def queries_written(q, k, v, S, C):
    o = []
    for start in range(0, len(k), C):
        Q, K, V = (x[start:start + C] for x in (q, k, v))
        o.append(Q @ S.T + (Q @ K.T).tril() @ V)
        S = S + V.T @ Q
    return torch.cat(o), S


def chunk_cases(g):
    q, k = real([[1.0, 0.0], [1.0, 1.0]]), real([[1.0, 0.0], [2.0, 1.0]])
    v, S = real([[3.0], [5.0]]), real([[1.0, 1.0]])
    by_hand = [Case((q[:T], k[:T], v[:T], S, C), f"easy numbers, T = {T}, C = {C}")
               for T, C in ((1, 1), (2, 1), (2, 2))]
    keys = ("unnormalized", "repeated")
    return smallest_first(by_hand + delta_inputs(g, "q k v S C", T=(3, 7), C=(1, 2, 3, 16), K=3, V=2, keys=keys))


exercise(
    id="7.2", title="Chunk by chunk", kind="code", stars=2, minutes=10, equations=("7.2", "7.3"),
    reference=chunk_by_chunk, alternatives=(chunk_by_package, token_by_token, all_at_once), cases=chunk_cases,
    free=(3,),                                                           # S, as the text says
    mutants={
        "forgets the entering state": Mistake(chunked(lambda x: (x.Q @ x.K.T).tril() @ x.V),
            "Each chunk sees only itself. What earlier chunks stored reaches it through Q Sᵀ.", "eq. 7.3",
            next="With C = 1, what would the second token know of the first?"),
        "adds the chunk's own writes twice": Mistake(chunked(lambda x: x.Q @ x.after.T + (x.Q @ x.K.T).tril() @ x.V),
            "It reads from the state that *leaves* the chunk, which already holds this chunk's writes. Q meets the "
            "state that *enters*.", "eq. 7.3",
            next="Swap the two lines of the loop."),
        "lets tokens see later ones": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T) @ x.V),
            "Inside the chunk, too, token t may only read what was written up to t.", "eq. 7.3",
            next="Which entries of Q Kᵀ must be zero?"),
        "hides each token from itself": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T).tril(-1) @ x.V),
            "Writing comes before reading: o_t uses S_t. The diagonal of the mask belongs to it.", "eq. 7.3"),
        "reads every chunk from the first state": Mistake(
            chunked(lambda x: x.Q @ x.first.T + (x.Q @ x.K.T).tril() @ x.V),
            "The state that enters a chunk is the one that left the chunk before, not the one from before the "
            "sequence.", "eq. 7.2"),
        "keeps only the last chunk in the state": Mistake(chunked(carry=lambda S, K, V: V.T @ K),
            "The state must add up: S + Vᵀ K. Yours forgets everything but the latest chunk.", "eq. 7.2"),
        "never updates the state": Mistake(chunked(carry=lambda S, K, V: S),
            "Every chunk meets the state from before the sequence, and that is also what comes back.", "eq. 7.2",
            next="What does a chunk hand on to the next?"),
        "forgets the chunk's own writes": Mistake(chunked(lambda x: x.Q @ x.before.T),
            "Only the entering state is read. What the chunk itself has written up to t comes through tril(Q Kᵀ) V.",
            "eq. 7.3"),
        "swaps queries and keys": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.K @ x.Q.T).tril() @ x.V),
            "Row t must hold the overlaps of *query* t: Q Kᵀ. Yours is K Qᵀ, its transpose.", "eq. 7.3"),
        "drops the tokens after the last whole chunk": Mistake(chunked(whole_only=True),
            "T need not be a multiple of C. The last chunk is shorter, and it counts.", "eq. 7.2",
            next="A slice past the end is no error in Python: `range(0, T, C)` is enough."),
        "starts from an empty memory": Mistake(chunked(start=torch.zeros_like),
            "The S that comes in is what earlier text has left behind.", "eq. 7.2"),
        "keeps the wrong triangle": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T).triu() @ x.V),
            "`triu` keeps what *later* tokens wrote. Row t may only read from columns up to t: `tril`.", "eq. 7.3"),
        "takes a softmax": Mistake(chunked(softmax_read),
            "Linear attention weighs values by the overlaps themselves. There is no softmax in it.", "eq. 7.3"),
        "divides by √K": Mistake(
            chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T).tril() @ x.V / x.K.shape[1] ** 0.5),
            "There is no scale in these equations: the overlap is k_iᵀq_t as it is.", "eq. 7.3"),
        "masks the outputs, not the overlaps": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T @ x.V).tril()),
            "The mask belongs on Q Kᵀ, whose entries are pairs of tokens. In (Q Kᵀ) V the pairs are summed up already.",
            "eq. 7.3"),
        "lets tokens see one token ahead": Mistake(
            chunked(lambda x: x.Q @ x.before.T + (x.Q @ x.K.T).tril(1) @ x.V),
            "`tril(1)` keeps one diagonal above the main one, the next token. `tril()` ends at the token itself.",
            "eq. 7.3"),
        "leaves the state untransposed": Mistake(chunked(lambda x: x.Q @ x.before + (x.Q @ x.K.T).tril() @ x.V),
            "S is (V, K), and its rows meet the rows of Q: Q Sᵀ, (C, V). With K = V the product without the transpose "
            "would run, and be wrong.", "eq. 7.3"),
        "overlaps keys with keys": Mistake(chunked(lambda x: x.Q @ x.before.T + (x.K @ x.K.T).tril() @ x.V),
            "The reader asks with its *query*: Q Kᵀ.", "eq. 7.3"),
        "reads the state with keys": Mistake(chunked(lambda x: x.K @ x.before.T + (x.Q @ x.K.T).tril() @ x.V),
            "The reader asks with its *query*, the old memory too: Q Sᵀ.", "eq. 7.3"),
        "subtracts the chunk's own writes": Mistake(
            chunked(lambda x: x.Q @ x.before.T - (x.Q @ x.K.T).tril() @ x.V),
            "Old memory and new writes are *added*: a read is a sum.", "eq. 7.1"),
        "writes with the queries": Mistake(queries_written,
            "A token stores under its *key*: Vᵀ K.", "eq. 7.2"),
        "hands on the last write only": Mistake(chunked(carry=lambda S, K, V: S + V[-1:].T @ K[-1:]),
            "All tokens of the chunk have written: S + Vᵀ K, with all rows.", "eq. 7.2"),
        "multiplies sums of values and keys": Mistake(
            chunked(carry=lambda S, K, V: S + torch.outer(V.sum(0), K.sum(0))),
            "(Σ v)(Σ k)ᵀ pairs the value of each token with the keys of all. Vᵀ K pairs it with its own: Σ v kᵀ.",
            "eq. 7.2"),
        "averages the writes": Mistake(chunked(carry=lambda S, K, V: S + V.T @ K / len(K)),
            "The writes of a chunk add up. There is nothing to divide by.", "eq. 7.2"),
        "takes the writes out of the state": Mistake(chunked(carry=lambda S, K, V: S - V.T @ K),
            "The sign is wrong: the writes of the chunk are added to the state.", "eq. 7.2"),
        "gives back the state that came in": Mistake(lambda q, k, v, S, C: (chunk_by_chunk(q, k, v, S, C)[0], S),
            "The outputs are right. What comes back with them is the state *after* the last token.", "eq. 7.2"),
        "masks nothing, and reads the state that leaves": Mistake(
            chunked(lambda x: x.Q @ x.after.T + (x.Q @ x.K.T) @ x.V),
            "Q meets the state that *enters*, and inside the chunk token t may only read what was written up to t.",
            "eq. 7.3"),
        "writes k vᵀ, the transpose": Mistake(
            lambda q, k, v, S, C: (chunk_by_chunk(q, k, v, S, C)[0], chunk_by_chunk(q, k, v, S, C)[1].T),
            "The state is (V, K): values upright, keys flat. Vᵀ K has that shape.", "eq. 7.2"),
    },
    hints=("Two lines are missing: one makes the chunk's output, one makes the state for the next chunk.",
           "The output has two parts: what the entering state says, and what the chunk's own tokens wrote, causally "
           "masked.",
           "`o.append(Q @ S.T + (Q @ K.T).tril() @ V)`, then `S = S + V.T @ K`. In this order."),
)


# -- 7.3 All chunks at once --------------------------------------------------------------------------------------------

def all_chunks_by_recurrence(q, k, v, S, C):
    return one_head(linear_attention_recurrent, q, k, v, S)


def whole_chunks(g):
    """T a multiple of C, as the exercise promises."""
    common = dict(K=3, V=2, keys=("unnormalized",))
    return (delta_inputs(g, "q k v S C", T=(2,), C=(1, 2), **common)
            + delta_inputs(g, "q k v S C", T=(6,), C=(2, 3, 6), **common))


exercise(
    id="7.3", title="All chunks at once", kind="order", stars=3, minutes=10, equations=("7.2", "7.3"),
    reference="DBFGAHE", alternatives=("DFGABHE", "DFBGAHE", all_chunks_by_recurrence),
    cases=whole_chunks,
    prepare=order_the_lines(
        {"A": "entering = leaving - writes                             # (N, V, K)",
         "B": "own = (Q @ K.mT).tril() @ V                             # (N, C, V)",
         "D": "Q, K, V = (x.unflatten(0, (-1, C)) for x in (q, k, v))  # (N, C, ...)",
         "E": "return O.flatten(0, 1), leaving[-1]",
         "F": "writes = V.mT @ K                                       # (N, V, K)",
         "G": "leaving = S + writes.cumsum(0)                          # (N, V, K)",
         "H": "O = own + Q @ entering.mT                               # (N, C, V)"},
        "def all_chunks(q, k, v, S, C):", "all_chunks",
        distractors={"C": "O = own + Q @ leaving.mT                                # (N, C, V)",
                     "I": "own = Q @ (K.mT @ V)                                    # (N, C, V)"}),
    mutants={
        "reads the state that leaves": Mistake("DBFGCE",
            "C reads the memory that already holds the chunk's own writes: B counts them a second time, and tokens see "
            "later ones.", "eq. 7.3",
            next="Which state does equation 7.3 read?"),
        "lets tokens see the rest of their chunk": Mistake("DIFGAHE",
            "I has no mask, and multiplies in an order that leaves no place for one. Without Q Kᵀ there is nothing to "
            "mask.", "eq. 7.3", next="Which of B and I is causal?"),
        "makes both mistakes with the chunk's own writes": Mistake("DIFGCE",
            "I lets a token see its whole chunk, and C adds the same writes once more.", "eq. 7.3",
            next="Which of B and I is causal, and which state enters?"),
        "returns nothing": Mistake("DBFGAH",
            "E is the only line that returns anything. Without it a function gives None.",
            next="Which line can only be the last?"),
    },
    hints=("First cut, last return. In between: which lines need a memory, and which only the tokens of their own "
           "chunk?",
           "`cumsum` gives every chunk the memory that *leaves* it. Chunk n has to read the one that *enters*: one "
           "term less.",
           "D, then F G A for the states; B anywhere between D and the outputs; then H and E. C and I are the decoys."),
    why="Only the cumulative sum runs along the chunks. Everything before and after it is one batched product over all "
        "of them: the way GPU kernels divide "
        "the work, states first and outputs afterwards.",
)


# -- 7.4 A published operator ------------------------------------------------------------------------------------------

def joined(M1, X1, M2, X2):
    return M1 @ M2, X1 @ M2 + X2                                         # (K, K), (V, K)


def joined_by_package(M1, X1, M2, X2):
    return compose((M1, X1), (M2, X2))


def joined_by_blocks(M1, X1, M2, X2):
    """As one matrix product: a map is the block matrix [[M, 0], [X, I]]."""
    K, V = M1.shape[0], X1.shape[0]

    def block(M, X):
        return torch.cat([torch.cat([M, M.new_zeros(K, V)], 1), torch.cat([X, torch.eye(V, dtype=X.dtype)], 1)], 0)
    product = block(M1, X1) @ block(M2, X2)
    return product[:K, :K], product[K:, :K]


def joined_by_probing(M1, X1, M2, X2):
    """Run both maps on the zero memory, which shows X, and on every unit row, which shows M."""
    def run(S):
        return (S @ M1 + X1) @ M2 + X2
    X = run(torch.zeros_like(X1))
    unit_rows = torch.eye(len(M1), dtype=M1.dtype)
    return torch.stack([(run(row.expand_as(X1)) - X)[0] for row in unit_rows]), X


def pair_cases(g):
    def token(V, K):
        k, v, beta = normal(g, K), normal(g, V), torch.rand((), generator=g, dtype=torch.float64)
        return householder(k, beta), beta * torch.outer(v, k)
    cases = [Case((real([[2.0]]), real([[1.0]]), real([[3.0]]), real([[5.0]])), "K = V = 1")]
    for K, V in ((2, 2), (3, 3), (3, 1), (2, 3)):
        note = "K = V = 2" if K == V else f"K = {K}, V = {V}"
        cases.append(Case((normal(g, K, K), normal(g, V, K), normal(g, K, K), normal(g, V, K)), note))
    return smallest_first([*cases, Case((*token(3, 3), *token(3, 3)), "two tokens of the delta rule")])


exercise(
    id="7.4", title="A published operator", kind="bug", stars=2, minutes=15, equations=("7.6",),
    reference=joined, alternatives=(joined_by_package, joined_by_blocks, joined_by_probing), cases=pair_cases,
    mutants={
        "keeps the published slip": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, M2 @ X1 + X2),
            "The second map takes what the first one has written and multiplies it by M₂ *from the right*, like "
            "everything else in S.", "eq. 7.6",
            next="Write out (S M₁ + X₁) M₂ + X₂."),
        "swaps the product of the transitions": Mistake(lambda M1, X1, M2, X2: (M2 @ M1, X1 @ M2 + X2),
            "X is right. But S meets M₁ first, and S stands on the left: S M₁ M₂.", "eq. 7.6"),
        "does the second map first": Mistake(lambda M1, X1, M2, X2: (M2 @ M1, X2 @ M1 + X1),
            "Composition of maps does not commute. The first token comes first.", "eq. 7.6"),
        "turns the other product around as well": Mistake(lambda M1, X1, M2, X2: (M2 @ M1, M2 @ X1 + X2),
            "Consistent, but for a memory that stands on the *right*, S -> M S + X, as where the state is transposed. "
            "Here S stands on the left.", "eq. 7.6", next="Write out (S M₁ + X₁) M₂ + X₂."),
        "sends the first write through both erasures": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M1 @ M2 + X2),
            "X₁ is written after M₁ has acted. Of the two erasures it meets only M₂.", "eq. 7.6"),
        "erases the second write, and not the first": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 + X2 @ M2),
            "M₂ acts on what was there before token 2, which is what token 1 wrote. X₂ is added after it.", "eq. 7.6"),
        "forgets the first write": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X2),
            "What token 1 wrote is gone. It passes through M₂ and stays.", "eq. 7.6"),
        "adds the transitions": Mistake(lambda M1, X1, M2, X2: (M1 + M2, X1 @ M2 + X2),
            "X is right. One map after the other *multiplies* what multiplies S.", "eq. 7.6"),
        "sends each write through its own erasure": Mistake(
            lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M1 + X2 @ M2),
            "M_t acts on what was there *before* token t, and X_t is added after it. So X₁ meets M₂ only, and X₂ "
            "nothing.",
            "eq. 7.6"),
        "sends each write through its own erasure too": Mistake(
            lambda M1, X1, M2, X2: (M1 @ M2, (X1 @ M1 + X2) @ M2),
            "X₁ meets M₂, as it should, but not M₁ before it; and X₂ meets nothing.", "eq. 7.6"),
        "sends each write through the other's erasure": Mistake(
            lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M2 + X2 @ M1),
            "X₁ is right. But M₁ is over before X₂ is written.", "eq. 7.6"),
        "returns X before M": Mistake(lambda M1, X1, M2, X2: (X1 @ M2 + X2, M1 @ M2),
            "Both are right, in the wrong order: first M, (K, K), then X, (V, K).", "eq. 7.6"),
        "multiplies entry by entry": Mistake(lambda M1, X1, M2, X2: (M1 * M2, X1 @ M2 + X2),
            "X is right. `*` multiplies entry by entry; the product of two matrices is `@`.", "eq. 7.6"),
        "forgets the second write": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M2),
            "What the first token wrote is right. What the second one writes, X₂, is added to it.", "eq. 7.6"),
        "sends the second write through the first erasure": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 + X2 @ M1),
            "M₁ is over before X₂ is written. It is X₁ that still meets an erasure: M₂.", "eq. 7.6"),
        "adds the writes untouched": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 + X2),
            "What the first token wrote passes through the erasure of the second. That is what makes it the delta "
            "rule.", "eq. 7.6",
            next="Same key twice, β = 1: is the first value still there?"),
        "sends the second write through its own erasure": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, (X1 + X2) @ M2),
            "M₂ acts on what was there before token 2; X₂ is added after it.", "eq. 7.6"),
        "sends the first write through its own erasure": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M1 + X2),
            "M₁ acts on what was there before token 1. Its write meets M₂ next.", "eq. 7.6"),
        "transposes the second transition": Mistake(lambda M1, X1, M2, X2: (M1 @ M2, X1 @ M2.T + X2),
            "For a single token M is symmetric and this goes unnoticed. A product of several is not, and a scan meets "
            "those.", "eq. 7.6"),
    },
    hints=("A pair (M, X) is a map: it sends S to S M + X. Apply the first, then the second, to a letter S.",
           "(S M₁ + X₁) M₂ + X₂. Multiply out.",
           "S M₁M₂ + X₁M₂ + X₂: read off what multiplies S and what does not."),
)
