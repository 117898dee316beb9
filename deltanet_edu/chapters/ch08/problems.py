"""The exercises of chapter 8, in order: each with its solutions, mistakes and hints."""

import math

import torch
import torch.nn.functional as F

from ...bench.flops import flops
from ...ops import delta_rule_attention, delta_rule_chunkwise
from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import AnswerError, Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first

KEYS = ("random", "repeated", "unnormalized")


def one_head(f, q, k, v, beta, S, **options):
    """A form of the package on one sequence and one head: q, k: (T, K), v: (T, V), beta: (T,), S: (V, K)."""
    o, S = f(*(x[None, :, None] for x in (q, k, v, beta)), initial_state=S[None, None], **options)
    return o[0, :, 0], S[0, 0]


def loop(q, k, v, beta, S):
    """The token loop, and every memory on the way: o (T, V), [S_0, ..., S_T]."""
    o, states = [], [S]
    for q_t, k_t, v_t, beta_t in zip(q, k, v, beta):
        S = S + beta_t * torch.outer(v_t - S @ k_t, k_t)
        states.append(S)
        o.append(S @ q_t)
    return torch.stack(o), states


# -- 8.1 -----------------------------------------------------------------------------------------------------------------

exercise(
    id="8.1", title="What the second token writes", kind="predict", stars=1, minutes=5, equations=("8.1",), reference=0.7, tolerance=1e-3,
    mutants={
        "forgets the entering memory": Mistake(1.3,
            "That is u₂: what token 2 would write if the chunk had begun with an empty memory. It began with S = (1, 2).", "eq. 8.1",
            next="Which direction w₂ must S be asked in?"),
        "adds what the memory says": Mistake(1.9,
            "The sign is wrong: what the old memory already says, S w₂ = 0.6, is *subtracted* from u₂.", "eq. 8.1"),
        "asks the memory from before the chunk about k₂": Mistake(1.5,
            "You wrote β₂ (v₂ − S k₂) with the S from before the chunk. Token 1 has changed the memory since.", "eq. 8.1",
            next="Ask in the direction w₂ instead of k₂, and start from u₂ instead of β₂v₂."),
        "asks in the direction β₂k₂": Mistake(0.3,
            "u₂ is right. But w₂ is what is left to erase after token 1 has erased its own direction, (0, 0.3). You took β₂k₂ = (0.4, 0.3).", "eq. 5.2",
            next="How much of k₂ lies along k₁?"),
        "forgets β₂": Mistake(1.4,
            "That is the whole error, 5 − 3.6. With β₂ = 0.5 half of it is written.", "eq. 8.1"),
        "forgets β₂ in w₂": Mistake(0.1,
            "Your w₂ is (0, 0.6). Every w_t is scaled by its β_t, like every u_t.", "eq. 5.3"),
        "forgets β₂ in u₂": Mistake(2.0,
            "Your u₂ is 2.6. Every u_t is scaled by its β_t, like every w_t.", "eq. 5.4"),
        "gives the error, not the write": Mistake(-0.7,
            "The size is right. The memory said too little, so what is written must be positive: v minus what it says.", "eq. 8.1"),
        "gives the value": Mistake(5.0, "5 is what arrives. Only half of what is *missing* is written.", "eq. 8.1"),
    },
    hints=("You need u₂ and w₂ from chapter 5, and then S w₂.",
           "w₂ = 0.5 ((0.8, 0.6) − 0.8 · (1, 0)) = (0, 0.3), and u₂ = 0.5 (5 − 0.8 · 3) = 1.3.",
           "x₂ = u₂ − S w₂, with S w₂ = 1 · 0 + 2 · 0.3."),
    why="x₂ = 1.3 − 0.6. The loop agrees: after token 1 the memory is (3, 2) and says 3.6 about k₂, and half of 5 − 3.6 is 0.7.",
)


# -- 8.2 -----------------------------------------------------------------------------------------------------------------

def one_chunk(Q, K, V, beta, S):
    T = ut_by_solve(K, beta)                                             # (C, C)
    W, U = T @ K, T @ V                                                  # (C, K), (C, V)
    X = U - W @ S.T                                                      # (C, V)
    O = Q @ S.T + (Q @ K.T).tril() @ X                                   # (C, V)
    return O, S + X.T @ K                                                # (V, K)


def one_chunk_residual(Q, K, V, beta, S):
    X = ut_by_solve(K, beta) @ (V - K @ S.T)
    return torch.einsum("tk,vk->tv", Q, S) + torch.einsum("tk,ik,ti,iv->tv", Q, K, torch.ones(len(Q), len(Q), dtype=Q.dtype).tril(), X), S + X.T @ K


def one_chunk_by_loop(Q, K, V, beta, S):
    O, states = loop(Q, K, V, beta, S)
    return O, states[-1]


def chunk_with(read=None, update=None):
    """A mutant of `one_chunk`: read(Q, K, S, X, U) gives O, update(K, S, X, U) gives S'."""
    def f(Q, K, V, beta, S):
        T = ut_by_solve(K, beta)
        U = T @ V
        X = U - T @ K @ S.T
        O, S_out = Q @ S.T + (Q @ K.T).tril() @ X, S + X.T @ K
        return read(Q, K, S, X, U) if read else O, update(K, S, X, U) if update else S_out
    return f


exercise(
    id="8.2", title="Read and update", kind="code", stars=2, minutes=15, equations=("8.4", "8.5"),
    reference=one_chunk, alternatives=(one_chunk_residual, one_chunk_by_loop),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=2, V=1) + delta_inputs(g, "q k v beta S", T=(2, 5), keys=KEYS)
                                   + delta_inputs(g, "q k v beta S", T=(2, 5), K=4, V=4, betas=("large",))),
    mutants={
        "excludes the diagonal": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S.T + (Q @ K.T).tril(-1) @ X),
            "Token t reads *after* it has written: o_t = S_t q_t, and x_t is part of S_t. The mask keeps the diagonal.", "eq. 8.5",
            next="With an empty memory and one token, should the output be zero?"),
        "reads what later tokens write": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S.T + Q @ K.T @ X),
            "Without the mask every token reads the memory that *leaves* the chunk, S′, with the writes of later tokens in it. Row t of Q Kᵀ may use "
            "columns i ≤ t only.", "eq. 8.5", next="What would a language model learn if token t could see token t + 1?"),
        "keeps the wrong triangle": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S.T + (Q @ K.T).triu() @ X),
            "Rows are readers and columns are writers, so what was written earlier is on the *left* of the diagonal.", "eq. 8.5"),
        "forgets what was in the memory": Mistake(chunk_with(read=lambda Q, K, S, X, U: (Q @ K.T).tril() @ X),
            "S_t holds the entering memory too: S itself answers S q_t to every query.", "eq. 8.3"),
        "reads the entering memory only": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S.T),
            "Your tokens do not see what this chunk writes, not even what they write themselves.", "eq. 8.3"),
        "updates before it reads": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ (S + X.T @ K).T + (Q @ K.T).tril() @ X),
            "S was overwritten with the memory that leaves before the outputs were read from it. So every write counts once too often, even those of "
            "later tokens. The S in eq. 8.5 is the one that *enters*.", "eq. 8.5", next="Compute O first."),
        "reads U instead of U - W Sᵀ": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S.T + (Q @ K.T).tril() @ U),
            "U is what would be written into an *empty* memory. This one was not: the line above has computed X.", "eq. 8.5"),
        "writes U instead of U - W Sᵀ": Mistake(chunk_with(update=lambda K, S, X, U: S + U.T @ K),
            "U is what would be written into an *empty* memory. Nothing old is erased that way: it is the shortcut of the opening.", "eq. 8.4"),
        "replaces the memory": Mistake(chunk_with(update=lambda K, S, X, U: X.T @ K),
            "XᵀK is the *change*. What was there before is still there: add S.", "eq. 8.4"),
        "reads with the transposed memory": Mistake(chunk_with(read=lambda Q, K, S, X, U: Q @ S + (Q @ K.T).tril() @ X),
            "One token reads S q, so a row of tokens reads (S Qᵀ)ᵀ = Q Sᵀ. With K = V both run, and one is wrong.", "eq. 8.5",
            next="S is (V, K). Which of Q S and Q Sᵀ has shape (C, V)?"),
        "writes the transposed memory": Mistake(chunk_with(update=lambda K, S, X, U: S + K.T @ X),
            "The change is Σ x_i k_iᵀ, values upright and keys flat: XᵀK, of shape (V, K).", "eq. 8.4"),
    },
    hints=("S_t = S + Σ x_i k_iᵀ over i ≤ t. What does S_t q_t give, and what is S_t for the last token?",
           "Σ over i ≤ t of x_i (k_iᵀ q_t): row t of tril(Q Kᵀ) X.",
           "`O = Q @ S.T + (Q @ K.T).tril() @ X` and `S = S + X.T @ K`."),
)


# -- 8.3 -----------------------------------------------------------------------------------------------------------------

def chunkwise(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        O, S = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)
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


def chunkwise_with(step, *, keep=lambda T, C: T, pad=None):
    """A mutant: step(chunk, S, S_0) gives (O, S'); keep(T, C) tokens are processed; pad(x, n) lengthens the inputs."""
    def f(q, k, v, beta, S, C):
        T = len(k)
        if pad:
            q, k, v, beta = (pad(x, -T % C) for x in (q, k, v, beta))
        n_tokens, o, S_0 = keep(len(k), C), [], S
        for n in range(0, n_tokens, C):
            O, S = step([x[n:min(n + C, n_tokens)] for x in (q, k, v, beta)], S, S_0)
            o.append(O)
        return torch.cat(o)[:T], S
    return f


def whole_chunks(q, k, v, beta, S, C):
    o = [v[:0]]                                                          # so that there is something to join if no chunk is whole
    for n in range(len(k) // C):
        O, S = one_chunk(*(x[n * C:(n + 1) * C] for x in (q, k, v, beta)), S)
        o.append(O)
    return torch.cat(o), S


def in_place_of_zeros(o, S, v):
    return torch.cat([o, torch.zeros_like(v[len(o):])]), S


def added_to_an_empty_memory(chunk, S, S_0):
    q, k, v, beta = chunk
    X = ut_by_solve(k, beta) @ v
    return q @ S.T + (q @ k.T).tril() @ X, S + X.T @ k


def with_one_large_system(q, k, v, beta, S, C):
    T, o = ut_by_solve(k, beta), []
    W, U = T @ k, T @ v
    for n in range(0, len(k), C):
        Q, K, X = q[n:n + C], k[n:n + C], U[n:n + C] - W[n:n + C] @ S.T
        o.append(Q @ S.T + (Q @ K.T).tril() @ X)
        S = S + X.T @ K
    return torch.cat(o), S


def stacked_chunks(q, k, v, beta, S, C):
    o = []
    for n in range(0, len(k), C):
        O, S = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)
        o.append(O)
    return torch.stack(o), S


def by_single_tokens(q, k, v, beta, S, C):
    o = []
    for n in range(len(k)):
        O, S = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)
        o.append(O)
    return torch.cat(o), S


def states_one_chunk_late(q, k, v, beta, S, C):
    o, S_new = [], S
    for n in range(0, len(k), C):
        O, S_next = one_chunk(*(x[n:n + C] for x in (q, k, v, beta)), S)
        S, S_new = S_new, S_next
        o.append(O)
    return torch.cat(o), S_new


exercise(
    id="8.3", title="Chunk by chunk, tail included", kind="code", stars=3, minutes=20, equations=("8.4", "8.5"), sources=(one_chunk, chunkwise),
    reference=chunkwise, alternatives=(chunkwise_of_the_package, chunkwise_by_padding, token_by_token),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S C", T=(2, 3, 7), K=2, V=1, C=(1, 2, 3), keys=("random", "repeated"))
                                   + delta_inputs(g, "q k v beta S C", T=(7,), C=(3, 7, 10), betas=("large",))),
    mutants={
        "starts every chunk from the first memory": Mistake(chunkwise_with(lambda chunk, S, S_0: one_chunk(*chunk, S_0)),
            "Each chunk starts from the memory that the chunk before it has left, S′, not from the one that came in at the very beginning.", "eq. 8.4",
            next="Which variable has to change inside the loop?"),
        "starts every chunk from an empty memory": Mistake(chunkwise_with(lambda chunk, S, S_0: one_chunk(*chunk, torch.zeros_like(S))),
            "The chunks do not know of each other. The memory that comes in, and then the one each chunk leaves, must be handed on.", "eq. 8.4"),
        "writes U, as if each chunk began empty": Mistake(chunkwise_with(added_to_an_empty_memory),
            "The shortcut of the opening: right in the first chunk of an empty memory, and wrong afterwards. What the memory already says, W Sᵀ, must be "
            "taken from U.", "eq. 8.2"),
        "forgets what was in the memory": Mistake(chunkwise_with(lambda chunk, S, S_0: (one_chunk(*chunk, S)[0] - chunk[0] @ S.T, one_chunk(*chunk, S)[1])),
            "The memory is handed on as it should be, but nobody reads it: Q Sᵀ is missing from the outputs.", "eq. 8.5"),
        "updates before it reads": Mistake(chunkwise_with(lambda chunk, S, S_0: chunk_with(
                read=lambda Q, K, S, X, U: Q @ (S + X.T @ K).T + (Q @ K.T).tril() @ X)(*chunk, S)),
            "The outputs of a chunk need the memory that *enters* it. Yours is overwritten one line too early.", "eq. 8.5"),
        "drops the tail": Mistake(chunkwise_with(lambda chunk, S, S_0: one_chunk(*chunk, S), keep=lambda T, C: T // C * C),
            "The last T mod C tokens are lost. There are ⌈T / C⌉ chunks, and the last one may be shorter.",
            next="With T = 3 and C = 2, where does the second chunk start and end?"),
        "drops the tail, and with it every text shorter than a chunk": Mistake(lambda q, k, v, beta, S, C: whole_chunks(q, k, v, beta, S, C),
            "⌊T / C⌋ chunks leave the last T mod C tokens without an output; for T < C that is all of them. There are ⌈T / C⌉ chunks, and the last one "
            "may be shorter.", next="With T = 2 and C = 3, how many chunks does yours have?"),
        "leaves the outputs of the tail at zero": Mistake(lambda q, k, v, beta, S, C: in_place_of_zeros(*whole_chunks(q, k, v, beta, S, C), v),
            "The shape is right, but the last T mod C tokens are never computed, and the memory lacks their writes. The last chunk may be shorter than C.",
            next="With T = 3 and C = 2, where does the second chunk start and end?"),
        "pads by repeating the last token": Mistake(chunkwise_with(lambda chunk, S, S_0: one_chunk(*chunk, S),
                                                                   pad=lambda x, n: torch.cat([x, x[-1:].expand(n, *x.shape[1:])])),
            "The outputs are right, but the memory that leaves was written to by tokens that do not exist. Pad with zeros: k = 0 writes nothing.",
            next="What does a token with k = 0 add to the memory?"),
        "solves one system for the whole sequence": Mistake(with_one_large_system,
            "Your T couples tokens across chunks, and W Sᵀ then removes the same thing again through the memory. Each chunk has a T of its own.", "eq. 6.3",
            next="Move `ut_by_solve` into the loop."),
        "starts from an empty memory": Mistake(lambda q, k, v, beta, S, C: chunkwise(q, k, v, beta, torch.zeros_like(S), C),
            "The chunks hand the memory on, but the first of them must start from the S that comes in: what earlier text has left.", "eq. 8.5"),
        "empties the memory after every chunk": Mistake(
            chunkwise_with(lambda chunk, S, S_0: (one_chunk(*chunk, S)[0], torch.zeros_like(S))),
            "The first chunk meets the memory that came in, the others an empty one, and an empty one is returned. Hand on what each chunk leaves.", "eq. 8.4"),
        "returns the padding's outputs too": Mistake(lambda q, k, v, beta, S, C: chunkwise(
                *(torch.cat([x, x.new_zeros(-len(x) % C, *x.shape[1:])]) for x in (q, k, v, beta)), S, C),
            "Zeros that fill the last chunk do no harm to the memory, but they have no place in the outputs: T tokens came, T rows leave.", next="Cut with `[:T]`."),
        "moves on by one token": Mistake(lambda q, k, v, beta, S, C: by_single_tokens(q, k, v, beta, S, C),
            "The next chunk starts C tokens further on. Yours starts at the next token, so the chunks overlap, and tokens are written again and again.",
            next="Which third argument does `range` need?"),
        "lets tokens see later ones": Mistake(chunkwise_with(lambda chunk, S, S_0: chunk_with(
                read=lambda Q, K, S, X, U: Q @ S.T + Q @ K.T @ X)(*chunk, S)),
            "Inside a chunk the mask is missing: row t of Q Kᵀ may use columns i ≤ t only.", "eq. 8.5"),
        "hides each token from itself": Mistake(chunkwise_with(lambda chunk, S, S_0: chunk_with(
                read=lambda Q, K, S, X, U: Q @ S.T + (Q @ K.T).tril(-1) @ X)(*chunk, S)),
            "A token writes first and reads second: the diagonal belongs to the mask.", "eq. 8.5"),
        "keeps only what the last chunk writes": Mistake(chunkwise_with(lambda chunk, S, S_0: chunk_with(
                update=lambda K, S, X, U: X.T @ K)(*chunk, S)),
            "XᵀK is the *change*. What was there before is still there: S + XᵀK.", "eq. 8.4"),
        "writes the transposed change": Mistake(chunkwise_with(lambda chunk, S, S_0: chunk_with(
                update=lambda K, S, X, U: S + K.T @ X)(*chunk, S)),
            "The change has values upright and keys flat: XᵀK, of shape (V, K) like S.", "eq. 8.4"),
        "stacks the chunks": Mistake(lambda q, k, v, beta, S, C: stacked_chunks(q, k, v, beta, S, C),
            "`torch.stack` makes a new dimension for the chunks, and needs them all equally long. Join them along the tokens: `torch.cat`."),
        "hands each memory on one chunk late": Mistake(states_one_chunk_late,
            "Chunk 3 starts from the memory that chunk *2* leaves. Yours is still the one before that.", "eq. 8.4"),
        "forgets to return the last memory": Mistake(lambda q, k, v, beta, S, C: (chunkwise(q, k, v, beta, S, C)[0],
                                                                                chunkwise(q[:-1], k[:-1], v[:-1], beta[:-1], S, C)[1] if len(k) > 1 else S),
            "The outputs are right. The state that you return lacks the last token's write."),
    },
    hints=("`for n in range(0, len(k), C)`: a slice n:n+C may run over the end, and that is just right.",
           "One pass of the loop is your answer to 8.2. What has to survive from one pass to the next?",
           "`O, S = one_chunk(q[n:n+C], k[n:n+C], v[n:n+C], beta[n:n+C], S)`, append O, and `torch.cat` at the end."),
)


# -- 8.4 -----------------------------------------------------------------------------------------------------------------

exercise(
    id="8.4", title="One chunk without W and U", kind="order", stars=2, minutes=10, equations=("8.6",),
    reference="DFAHCE", alternatives=("FDAHCE",),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=3, V=2)
                                   + delta_inputs(g, "q k v beta S", T=(3,), K=2, V=5, betas=("large",))),
    prepare=order_the_lines(
        {"A": "X = T @ R                            # within the chunk", "C": "S = S + X.T @ K                      # update", "E": "return O, S",
         "D": "T = ut_by_solve(K, beta)             # within the chunk", "F": "R = V - K @ S.T                      # across chunks",
         "H": "O = Q @ S.T + (Q @ K.T).tril() @ X   # store"},
        "def one_chunk(Q, K, V, beta, S):", "one_chunk", namespace={"ut_by_solve": ut_by_solve},
        distractors={"B": "X = T @ V                            # within the chunk", "G": "O = Q @ S.T + (Q @ K.T).tril(-1) @ X   # store"}),
    mutants={
        "updates before it reads": Mistake("DFACHE",
            "After line C, S holds this chunk's writes already. Then line H adds them a second time, and even those of later tokens.", "eq. 8.5",
            next="Which S does eq. 8.5 mean, the one that enters or the one that leaves?"),
        "writes as if the memory were empty": Mistake("DBHCE",
            "Line B is a decoy: it computes U. X must be made from the error R = V − K Sᵀ, or nothing old is ever erased.", "eq. 8.6",
            next="Which line compares V with what the memory says, and which line uses the result?"),
        "lets no token read its own write": Mistake("DFAGCE",
            "Line G masks the diagonal out: token t then reads S_{t−1}. The decoy is G.", "eq. 8.5"),
        "needs X before it exists": Mistake("DFHACE",
            "Line H uses X, and only line A computes it.", "eq. 8.6"),
        "solves for an error that is not there yet": Mistake("DACFHE",
            "Line A uses R, and only line F computes it. It must come before A.", "eq. 8.6"),
        "forgets to update": Mistake("DFAHE",
            "Line C is missing: the memory that leaves is the one that came in.", "eq. 8.4"),
    },
    hints=("Two of the lines are decoys: one would write into an empty memory, one would mask too much.",
           "T and R need nothing but the arguments; X needs both; O and the new S need X.",
           "O must see the S that *enters*: H comes before C. The beginning is D F A."),
)


# -- 8.5 -----------------------------------------------------------------------------------------------------------------

def cost(C, K, V):
    return 6 * K * V + C * (6 * K + 4 * V) + C * C


def cost_by_products(C, K, V):
    """FLOPs of one chunk, product by product, divided by its tokens."""
    products = [(C, K, C), (C, K, C), (C, C, K), (C, C, V), (C, K, V), (C, C, V), (V, C, K), (C, K, V)]
    return (sum(2 * a * b * c for a, b, c in products) + C**3) / C


def cost_by_counting(C, K, V):
    return count(C, K, V, 2 * C) / (2 * C)


def count(C, K, V, T):
    """FLOPs of matrix products and solves that the package executes for T tokens of one head."""
    q, k, v, beta = (torch.zeros(1, T, 1, D, dtype=torch.float64) for D in (K, K, V, 1))
    counted = flops(delta_rule_chunkwise, q, k, v, beta[..., 0], chunk_size=C)
    return counted["bmm"] + counted["linalg_solve_triangular"]


exercise(
    id="8.5", title="A published cost", kind="bug", stars=2, minutes=15, equations=("8.9",),
    reference=cost, alternatives=(cost_by_products, cost_by_counting),
    cases=lambda g: [Case((C, K, V), f"C = {C}, " + ("K = V" if K == V else "K ≠ V")) for C, K, V in
                     ((1, 2, 2), (2, 3, 1), (4, 4, 4), (8, 2, 6), (16, 8, 8), (64, 64, 64), (64, 16, 32), (300, 8, 4))],
    mutants={
        "keeps the published slip": Mistake(lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V),
            "The triangular solve is missing. For C ≤ d it hardly shows; with the whole sequence as one chunk it is the largest term of all.", "eq. 8.9",
            next="T is C × C. What does it cost to solve C columns by substitution?"),
        "counts the solve per chunk, not per token": Mistake(lambda C, K, V: cost(C, K, V) - C * C + C**3,
            "C³ is what the solve costs for a *chunk*. It serves C tokens.", "eq. 8.9"),
        "gives the cost of a chunk": Mistake(lambda C, K, V: C * cost(C, K, V),
            "All terms are there, but for C tokens. Divide by them.", "eq. 8.9"),
        "counts multiplications only in the solve": Mistake(lambda C, K, V: cost(C, K, V) - C * C / 2,
            "Half of it: a multiplication and a subtraction are two FLOPs, like the pair in a matrix product.", "eq. 8.9"),
        "counts the zero half of the columns out": Mistake(lambda C, K, V: cost(C, K, V) - 2 * C * C / 3,
            "C³/3 is what a solver needs that knows that the right side is diagonal. `solve_triangular` does not know and works through all C columns.",
            "eq. 8.9"),
        "counts the solve as a matrix product": Mistake(lambda C, K, V: cost(C, K, V) + C * C,
            "2C³ would be a full C × C × C product. Substitution touches half the entries of a triangle: C³.", "eq. 8.9"),
        "charges the solve to the width": Mistake(lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) + C * K,
            "The solve works on C × C numbers and never sees a key of K entries: it cannot depend on K.", "eq. 8.9"),
        "removes a term that was right": Mistake(lambda C, K, V: 6 * K * V + C * C,
            "The rows cost what they did: K Kᵀ, Q Kᵀ, T K at 2CK each, T V and the masked product at 2CV each.", "eq. 8.9"),
    },
    hints=("List the products of eq. 8.4 and 8.5 with their sizes. Which step is not a product?",
           "The solve for T: C right sides, each C²/2 multiplications and as many subtractions.",
           "C³ FLOPs a chunk, shared by C tokens: C² a token."),
)


# -- 8.6 -----------------------------------------------------------------------------------------------------------------

def read_friendly(answer):
    """(k, beta, q) as float64 tensors (T, 2), (T,), (2,), or an AnswerError that says what is missing."""
    try:
        k, beta, q = (torch.as_tensor(x, dtype=torch.float64) for x in answer)
    except Exception:
        raise AnswerError("give (k, beta, q): a list of keys with 2 entries each, as many numbers, and a query with 2 entries") from None
    if k.ndim != 2 or k.shape[1] != 2 or beta.shape != k.shape[:1] or q.shape != (2,) or not 1 <= len(k) <= 4:
        raise AnswerError(f"the shapes are {tuple(k.shape)}, {tuple(beta.shape)} and {tuple(q.shape)}, expected (T, 2), (T,) and (2,), T from 1 to 4")
    if not all(x.isfinite().all() for x in (k, beta, q)) or ((beta < 0) | (beta > 1)).any():
        raise AnswerError("every β must lie between 0 and 1, and every entry must be a number")
    return k, beta, q


def sign_of_the_weights(answer):
    """In a few words, what the last row of the attention matrix looks like."""
    k, beta, q = read_friendly(answer)
    if min(k.min(), q.min()) < 0:
        return "an entry of a key or of the query is negative"
    if len(k) == 1:
        return "one token: its weight is β kᵀq, which cannot be negative"
    row = delta_rule_attention(q.expand_as(k)[None, :, None], k[None, :, None], beta[None, :, None])[0, 0, -1]
    if row.min() < -1e-9:
        return "a weight is negative"
    if (k @ k.T).tril(-1).abs().max() < 1e-9:
        return "no weight is negative: the keys do not overlap"
    if (beta[1:] == 0).all():
        return "no weight is negative: nothing is erased after the first token"
    return "no weight is negative"


exercise(
    id="8.6", title="A negative weight from friendly vectors", kind="open", stars=3, minutes=15, equations=("8.7",),
    reference=([(1.0, 0.0), (0.6, 0.8)], [1.0, 1.0], (0.0, 1.0)), alternatives=(([(2.0, 1.0), (1.0, 1.0), (1.0, 2.0)], [0.2, 0.1, 0.3], (0.0, 1.0)),),
    prepare=sign_of_the_weights,
    mutants={
        "uses a negative entry": Mistake(([(1.0, 0.0), (-0.6, 0.8)], [1.0, 1.0], (1.0, 0.0)),
            "With negative entries any dot product can be negative, and linear attention has negative weights too. Here all entries must be at least 0.",
            "eq. 8.7"),
        "stops after one token": Mistake(([(0.6, 0.8)], [1.0], (0.0, 1.0)),
            "The first token has nothing to erase. A negative weight is an *erasure* seen from the reader's side.", "eq. 8.7"),
        "uses keys at right angles": Mistake(([(1.0, 0.0), (0.0, 1.0)], [1.0, 1.0], (0.6, 0.8)),
            "T is then diag(β): nobody erases anybody. The second key must overlap the first.", "eq. 8.7", next="Turn the second key toward the first."),
        "writes nothing after the first token": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 0.0], (0.0, 1.0)),
            "A token with β = 0 does not write and does not erase.", "eq. 8.7"),
        "keeps more than it erases": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 1.0], (1.0, 0.0)),
            "The last query overlaps each earlier key at least as much as the later tokens take away from it, so every weight stays positive or zero.", "eq. 8.7",
            next="Which query does not overlap the first key at all, but does overlap the second?"),
    },
    hints=("Two tokens are enough. Write down the 2 × 2 matrix T for unit keys with overlap c.",
           "The weight of token 1 is β₁ (k₁ᵀq − β₂ (k₂ᵀk₁)(k₂ᵀq)) for the query of token 2.",
           "Make k₁ᵀq zero, and k₂ᵀk₁ and k₂ᵀq positive."),
    why="Token 2 writes v₂ minus what the memory says about k₂, and that contains v₁. Whoever reads token 2's write reads *minus* v₁ with it. "
        "Softmax weights cannot do that: they are positive by construction.",
)


# -- 8.7 -----------------------------------------------------------------------------------------------------------------

def best_chunk(step, flop, T, K, V):
    sizes = [2**i for i in range(T.bit_length()) if 2**i <= T]
    return min(sizes, key=lambda C: math.ceil(T / C) * step + T * cost(C, K, V) * flop)


def best_chunk_by_argmin(step, flop, T, K, V):
    C = 2.0 ** torch.arange(int(math.log2(T)) + 1, dtype=torch.float64)
    return int(C[(torch.ceil(T / C) * step + flop * T * (6 * K * V + (6 * K + 4 * V) * C + C**2)).argmin()])


def best_chunk_for(time):
    """A mutant: the power of two that minimizes time(C, step, flop, T, K, V)."""
    def f(step, flop, T, K, V):
        return min((2**i for i in range(T.bit_length()) if 2**i <= T), key=lambda C: time(C, step, flop, T, K, V))
    return f


exercise(
    id="8.7", title="The best C", kind="code", stars=2, minutes=15, equations=("8.9",), sources=(cost, best_chunk),
    reference=best_chunk, alternatives=(best_chunk_by_argmin,),
    cases=lambda g: [Case((step, flop, T, K, V), f"{note}, T = {T}, " + ("K = V" if K == V else "K ≠ V")) for note, step, flop, T, K, V in (
        ("cheap steps", 0.0, 1e-10, 64, 8, 8), ("expensive steps", 1.0, 1e-12, 64, 8, 4), ("expensive steps", 2e-5, 1e-11, 1000, 4, 4),
        ("a CPU", 2e-5, 3e-11, 2048, 64, 64), ("a CPU", 5e-5, 3e-11, 2048, 64, 128), ("a fast GPU", 5e-6, 1e-14, 8192, 128, 128),
        ("narrow heads", 3e-5, 1e-11, 4096, 4, 8), ("wide heads", 3e-5, 1e-11, 4096, 256, 128), ("a tail", 1.8e-5, 1e-11, 96, 64, 64),
        ("two equally fast", 38.0, 1.0, 2, 2, 1))],
    mutants={
        "counts work only": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: cost(C, K, V)),
            "The work alone is always smallest at C = 1, the token loop. What you pay there is the T steps that wait for each other.", "eq. 8.9",
            next="How many steps are there, and what does each cost?"),
        "counts steps only": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: math.ceil(T / C)),
            "Fewer steps are not free: the work per token grows with C and, in the end, with C².", "eq. 8.9"),
        "leaves the solve out": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: math.ceil(T / C) * step + flop * T * (6 * K * V + C * (6 * K + 4 * V))),
            "That is the published cost without C². For narrow heads it recommends chunks that are far too long.", "eq. 8.9"),
        "counts the work of one chunk": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: math.ceil(T / C) * step + C * cost(C, K, V) * flop),
            "You pay the work of all T tokens, not of one chunk of C.", "eq. 8.9"),
        "counts the work of one token": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: math.ceil(T / C) * step + cost(C, K, V) * flop),
            "Equation 8.9 is the work per *token*. There are T of them."),
        "does not round the steps up": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: T // C * step + flop * T * cost(C, K, V)),
            "A tail that does not fill its chunk is a step like the others: ⌈T / C⌉.", next="How many steps are 96 tokens in chunks of 64?"),
        "returns the larger of two": Mistake(lambda step, flop, T, K, V: min((2**i for i in reversed(range(T.bit_length())) if 2**i <= T),
                                                                             key=lambda C: math.ceil(T / C) * step + T * cost(C, K, V) * flop),
            "Two chunk lengths take exactly the same time here. The smaller one was asked for."),
        "leaves the rows out": Mistake(best_chunk_for(lambda C, step, flop, T, K, V: math.ceil(T / C) * step + flop * T * (6 * K * V + C * C)),
            "The term in the middle, C (6K + 4V), is the one that decides for ordinary heads: C is smaller than 6K + 4V there.", "eq. 8.9"),
    },
    hints=("time(C) = steps · (seconds per step) + tokens · (FLOPs per token) · (seconds per FLOP).",
           "There are ⌈T / C⌉ steps; the FLOPs per token are eq. 8.9.",
           "Try C = 1, 2, 4, ... up to T, and return the one with the smallest time: `min(sizes, key=time)`."),
)
