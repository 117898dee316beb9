"""The exercises at the end of problem set 9, which review chapters 1 to 9; 9.11 is in review_translation.py,
9.12 in review_meanings.py."""

import torch

from ...ops import delta_rule_attention
from ...ops.delta_rule.householder import wy_u, wy_w
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal, strengths, unit_keys
from .. import by_hand
from ..common import eye_like, real
from .chunk import token_loop

# -- 9.8, review of chapters 1, 2 and 8 --------------------------------------------------------------------------------

def weights_of_one_key(beta):
    result = []
    for i in range(len(beta)):
        result.append(beta[i] * torch.prod(1 - beta[i + 1:]))
    return torch.stack(result)


def weights_by_fading(beta):
    w = beta.new_zeros(0)
    for b in beta:
        w = torch.cat([w * (1 - b), b[None]])
    return w


def weights_by_attention(beta):
    k = torch.ones(1, len(beta), 1, 1, dtype=beta.dtype)
    return delta_rule_attention(k, k, beta[None, :, None])[0, 0, -1]


def weights_by_jacobian(beta):
    k, S = torch.ones_like(beta)[:, None], beta.new_zeros(1, 1)

    def memory(v):
        return token_loop(k, k, v[:, None], beta, S)[1][0, 0]
    return torch.autograd.functional.jacobian(memory, torch.zeros_like(beta))


def weights_from(weight):
    """A mutant: weight(beta, i) for every i."""
    return lambda beta: torch.stack([weight(beta, i) for i in range(len(beta))])


def normalized(beta):
    return weights_of_one_key(beta) / weights_of_one_key(beta).sum()


def last_write(beta):
    before = weights_of_one_key(beta[:-1]) if len(beta) > 1 else beta[:0]
    return torch.cat([-beta[-1] * before, beta[-1:]])


def strength_cases(g):
    for T in (1, 2, 3, 6):
        for kind, note in (("random", "random β"), ("large", "1 < β < 2")):
            yield Case((strengths(g, T, kind=kind),), f"{note}, T = {T}")
    yield Case((real([0.5, 0.0, 1.0, 0.25]),), "β = 0 and β = 1 among them, T = 4")


def weights_by_products(beta):
    return torch.stack([beta[t] * (1 - beta[t + 1:]).prod() for t in range(len(beta))])


exercise(
    id="9.8", title="Review: one key, many values", kind="code", stars=2, minutes=15, equations=("2.5", "8.7"),
    reference=weights_of_one_key, cases=strength_cases,
    alternatives=(weights_by_products, weights_by_fading, weights_by_attention, weights_by_jacobian),
    mutants={
        "adds without erasing": Mistake(lambda beta: beta.clone(),
            "That is an additive memory (chapter 1): every value keeps its weight for ever. Here each later write "
            "fades it.", "eq. 2.5"),
        "takes one minus the product": Mistake(weights_from(lambda beta, i: beta[i] * (1 - beta[i + 1:].prod())),
            "Each later write keeps the share 1 − β_j, and those shares are multiplied: the product of the 1 − β_j.",
            "eq. 2.5"),
        "takes one minus the sum": Mistake(weights_from(lambda beta, i: beta[i] * (1 - beta[i + 1:].sum())),
            "Right for one later write. Of several, each takes its share of what is *left*: multiply the 1 − β_j.",
            "eq. 2.5"),
        "takes a softmax": Mistake(lambda beta: beta.softmax(0),
            "A softmax makes weights of any numbers. These follow from the writes: β_i, faded by every later one.",
            "eq. 2.5"),
        "divides by the sum of all strengths": Mistake(lambda beta: beta / beta.sum(),
            "That makes the weights sum to 1, and knows no order. Early values fade more than late ones.", "eq. 2.5"),
        "lets a write fade itself": Mistake(weights_from(lambda beta, i: beta[i] * torch.prod(1 - beta[i:])),
            "The fading comes from *later* writes, j > i. Yours includes the write itself.",
            "eq. 2.5", next="After a single write with β = 0.5, how much of v₁ is there?"),
        "lets earlier writes fade later ones": Mistake(weights_from(lambda beta, i: beta[i] * torch.prod(1 - beta[:i])),
            "Time runs the other way: what has been written is faded by what comes *after* it.", "eq. 2.5"),
        "fades by β instead of 1 - β": Mistake(weights_from(lambda beta, i: beta[i] * torch.prod(beta[i + 1:])),
            "A write of strength β keeps the share 1 − β of what was there.", "eq. 2.5"),
        "forgets the strength of the write itself": Mistake(weights_from(lambda beta, i: torch.prod(1 - beta[i + 1:])),
            "v_i enters with weight β_i, and only then begins to fade.", "eq. 2.5"),
        "fades by its own and the earlier strengths": Mistake(
            weights_from(lambda beta, i: beta[i] * torch.prod(1 - beta[:i + 1])),
            "Only *later* writes fade v_i: the product runs over j > i, and yours over j ≤ i.", "eq. 2.5"),
        "multiplies all strengths up to its own": Mistake(lambda beta: beta.cumprod(0),
            "A write of strength β keeps the share 1 − β of what was there, and only *later* writes do that to v_i: "
            "β_i times the 1 − β_j of j > i.", "eq. 2.5"),
        "gives what is left of an old memory": Mistake(lambda beta: (1 - beta).cumprod(0),
            "Π(1 − β_j) up to token i is what is left of what was there before the first write. v_i comes in with "
            "weight β_i, and fades by the writes after it.", "eq. 2.5"),
        "fades by its own strength only": Mistake(lambda beta: beta * (1 - beta),
            "A write does not fade itself, and every later one fades it: a product of 1 − β_j over j > i.", "eq. 2.5"),
        "keeps the last value only": Mistake(lambda beta: torch.cat([torch.zeros_like(beta[:-1]), beta[-1:]]),
            "Only a write with β = 1 replaces all that was there. A weaker one leaves the share 1 − β.", "eq. 2.5"),
        "gives what the last token writes": Mistake(last_write,
            "That is the last row of 𝐓: how the *last* write is made of the values. What is read afterwards is the sum "
            "of all writes.", "eq. 8.7", next="After two writes with β = 0.5, how much of v₁ is left?"),
        "makes the weights sum to 1": Mistake(normalized,
            "They need not sum to 1: what is missing is the share of the memory that was there before, Π(1 − β).",
            "eq. 8.7"),
        "fades by all other writes": Mistake(
            weights_from(lambda beta, i: beta[i] * torch.prod(1 - beta[:i]) * torch.prod(1 - beta[i + 1:])),
            "Only *later* writes fade it. What was written before has nothing to do with how long v_i lasts.",
            "eq. 2.5"),
        "fades with its own strength": Mistake(
            weights_from(lambda beta, i: beta[i] * (1 - beta[i]) ** (len(beta) - 1 - i)),
            "Each later write fades it with *its* strength, 1 − β_j, and not with the strength with which v_i was "
            "written.", "eq. 2.5"),
        "counts from the end": Mistake(lambda beta: weights_of_one_key(beta).flip(0),
            "The weights are right, in reverse: the first entry belongs to v₁."),
        "fades by the last write only": Mistake(lambda beta: torch.cat([beta[:-1] * (1 - beta[-1:]), beta[-1:]]),
            "Every later write fades it, not only the last one: a product over all j > i.", "eq. 2.5"),
        "fades by the next write only": Mistake(lambda beta: torch.cat([beta[:-1] * (1 - beta[1:]), beta[-1:]]),
            "Every later write fades it, not only the next one: a product over all j > i.", "eq. 2.5"),
    },
    hints=("For a unit key eq. 2.5 says: what is read afterwards is β v + (1 − β) times what was read before.",
           "Follow v₁ through three writes: β₁, then β₁(1 − β₂), then ...",
           "The weight of v_i is β_i times the product of 1 − β_j over all j > i."),
)


# -- 9.9, review of chapters 5, 6 and 8 --------------------------------------------------------------------------------

def join(K1, W1, U1, K2, W2, U2):
    overlap = W2 @ K1.mT                                                 # (C2, C1)  what chunk 2 asks of K1
    W = torch.cat([W1, W2 - overlap @ W1])
    U = torch.cat([U1, U2 - overlap @ U1])
    return torch.cat([K1, K2]), W, U


def join_by_states(K1, W1, U1, K2, W2, U2):
    """What each w asks the first chunk's map, and what the first chunk's memory answers."""
    map1, memory1 = eye_like(K1) - W1.T @ K1, U1.T @ K1
    return torch.cat([K1, K2]), torch.cat([W1, (map1 @ W2.T).T]), torch.cat([U1, U2 - (memory1 @ W2.T).T])


def join_by_loops(K1, W1, U1, K2, W2, U2):
    W, U = list(W1), list(U1)
    for w, u in zip(W2, U2):
        W.append(w - sum(w_i * (k_i @ w) for w_i, k_i in zip(W1, K1)))
        U.append(u - sum(u_i * (k_i @ w) for u_i, k_i in zip(U1, K1)))
    return torch.cat([K1, K2]), torch.stack(W), torch.stack(U)


def second_corrected(X1, X2, A):
    return torch.cat([X1, X2 - A @ X1])


def as_they_are(X1, X2, A):
    return torch.cat([X1, X2])


def join_with(W=second_corrected, U=second_corrected, overlap=lambda K1, W1, K2, W2: W2 @ K1.T):
    """A mutant: W(W1, W2, A) and U(U1, U2, A) put the rows together, with A = overlap(K1, W1, K2, W2)."""
    def f(K1, W1, U1, K2, W2, U2):
        A = overlap(K1, W1, K2, W2)
        return torch.cat([K1, K2]), W(W1, W2, A), U(U1, U2, A)
    return f


def second_increased(X1, X2, A):
    return torch.cat([X1, X2 + A @ X1])


def correction_only(X1, X2, A):
    return torch.cat([X1, A @ X1])


def second_chunk_first(K1, W1, U1, K2, W2, U2):
    n = len(K1)
    return tuple(torch.cat([x[n:], x[:n]]) for x in join(K1, W1, U1, K2, W2, U2))


def first_corrected(X1, X2, A):
    return torch.cat([X1 - A.T @ X2, X2])


def first_corrected_by_itself(X1, X2, A):
    return torch.cat([X1 - A @ X1, X2])


def with_corrected_keys(K1, W1, U1, K2, W2, U2):
    K, W, U = join(K1, W1, U1, K2, W2, U2)
    return torch.cat([K1, K2 - W2 @ K1.T @ K1]), W, U


def with_keys_taken_out_of_W(K1, W1, U1, K2, W2, U2):
    K, W, U = join(K1, W1, U1, K2, W2, U2)
    return K, torch.cat([W1, W2 - W2 @ K1.T @ K1]), U


def in_order(*order):
    """A mutant that returns keys, W and U in another order."""
    def f(*args):
        results = join(*args)
        return tuple(results[i] for i in order)
    return f


def overlap_too_late(K1, W1, U1, K2, W2, U2):
    W2 = W2 - (W2 @ K1.T) @ W1
    return torch.cat([K1, K2]), torch.cat([W1, W2]), torch.cat([U1, U2 - (W2 @ K1.T) @ U1])


def joined_by(join):
    """A mutant that puts right rows together in another way than under each other."""
    def f(K1, W1, U1, K2, W2, U2):
        A = W2 @ K1.T
        return join([K1, K2]), join([W1, W2 - A @ W1]), join([U1, U2 - A @ U1])
    return f


def join_by_the_transposed_map(K1, W1, U1, K2, W2, U2):
    return torch.cat([K1, K2]), torch.cat([W1, W2 - W2 @ W1.T @ K1]), join(K1, W1, U1, K2, W2, U2)[2]


def first_corrected_for_second(K1, W1, U1, K2, W2, U2):
    A = W1 @ K2.T                                                        # (C1, C2)
    return torch.cat([K1, K2]), torch.cat([W1 - A @ W2, W2]), torch.cat([U1 - A @ U2, U2])


def join_cases(g):
    for C1, C2, K, V in ((1, 1, 2, 1), (1, 2, 2, 3), (2, 1, 3, 2), (3, 2, 4, 2), (2, 4, 3, 5)):
        for kind, draw in (("unit keys", unit_keys), ("unnormalized keys", normal)):
            k, v, beta = draw(g, C1 + C2, K), normal(g, C1 + C2, V), strengths(g, C1 + C2)
            halves = [(k[i], wy_w(k[i], beta[i]), wy_u(k[i], v[i], beta[i])) for i in (slice(C1), slice(C1, None))]
            yield Case((*halves[0], *halves[1]), f"{kind}, {C1} + {C2} tokens, K ≠ V")


exercise(
    id="9.9", title="Review: two chunks become one", kind="code", stars=4, minutes=30, equations=("5.5", "6.5", "8.4"),
    reference=join, alternatives=(join_by_states, join_by_loops), cases=join_cases,
    mutants={
        "puts the rows under each other": Mistake(join_with(W=as_they_are, U=as_they_are),
            "That would be right if the two chunks had orthogonal keys. The second chunk has to find what the first "
            "one has written.", "eq. 5.5",
            next="Multiply (I − W₁ᵀK₁)(I − W₂ᵀK₂) out. Which term is left over?"),
        "puts the rows of the second chunk on top": Mistake(second_chunk_first,
            "All rows are right, but the first chunk's belong on top: they come first in time.", "eq. 5.3"),
        "keeps only the correction": Mistake(join_with(W=correction_only, U=correction_only),
            "What the second chunk does itself is missing: W₂ − W₂K₁ᵀW₁, and U₂ likewise.", "eq. 8.4"),
        "keeps only the correction of U": Mistake(join_with(U=correction_only),
            "W is right. In U, what the second chunk writes itself is missing: U₂ − W₂K₁ᵀU₁.", "eq. 8.4"),
        "corrects U only": Mistake(join_with(W=as_they_are),
            "The rows of W change in the same way: the first chunk has already erased part of what W₂ wants to erase.",
            "eq. 5.2"),
        "corrects W only": Mistake(join_with(U=as_they_are),
            "U₂ was made for an empty memory. After the first chunk the memory is U₁ᵀK₁.", "eq. 8.4"),
        "adds the correction": Mistake(join_with(W=second_increased, U=second_increased),
            "The sign is wrong: what the first chunk has done already is *subtracted*.", "eq. 8.4"),
        "corrects the first chunk": Mistake(join_with(W=first_corrected, U=first_corrected),
            "Time runs forward: the first chunk knows nothing of the second. Its rows stay, and the *later* rows "
            "change.", "eq. 5.3"),
        "measures the overlap of the keys": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K2 @ K1.T),
            "The question that chunk 2 puts to the memory is not its keys but W₂, which contains β and what chunk 2 "
            "erases itself.", "eq. 8.4",
            next="In X = U − W Sᵀ, what is multiplied with the memory?"),
        "masks what chunk 2 asks of chunk 1": Mistake(join_with(overlap=lambda K1, W1, K2, W2: (W2 @ K1.T).tril()),
            "W₂K₁ᵀ needs no mask: every token of chunk 2 comes after all of chunk 1.", "eq. 5.3"),
        "masks what chunk 2 asks of chunk 1, and its diagonal": Mistake(
            join_with(overlap=lambda K1, W1, K2, W2: (W2 @ K1.T).tril(-1)),
            "W₂K₁ᵀ needs no mask: every token of chunk 2 comes after all of chunk 1.", "eq. 5.3"),
        "measures the overlap of W with W": Mistake(join_with(overlap=lambda K1, W1, K2, W2: W2 @ W1.T),
            "The memory of the first chunk is U₁ᵀK₁. Asking it in the directions W₂ gives W₂K₁ᵀ U₁: the overlap is "
            "with the *keys*.", "eq. 8.4"),
        "corrects U with the W that is corrected already": Mistake(overlap_too_late,
            "The question that chunk 2 puts to the memory is its own W₂. Once W₂ has been overwritten, W₂K₁ᵀ is "
            "another matrix.", "eq. 8.4",
            next="Compute the overlap once, before anything changes."),
        "corrects the keys as well": Mistake(with_corrected_keys,
            "W and U are right. But the keys are where a token writes, and that stays: only *what* it erases and "
            "writes depends on the chunk before.", "eq. 5.5"),
        "multiplies W₂ by the map itself": Mistake(join_by_the_transposed_map,
            "U is right. The w are *rows* here, and the map I − W₁ᵀK₁ stands on the left of a column w: for rows it is "
            "W₂ times the transposed map.", "eq. 5.2",
            next="(P w)ᵀ = wᵀPᵀ. What is the transpose of W₁ᵀK₁?"),
        "corrects the first chunk for the second": Mistake(first_corrected_for_second,
            "Time runs forward: the first chunk knows nothing of the second. Its rows stay, and the *later* rows "
            "change.", "eq. 5.3",
            next="Exchange the roles of the chunks, but not the order of the rows."),
        "returns W in the place of the keys": Mistake(in_order(1, 0, 2),
            "All three are right, but keys and W have changed places: first K, then W, then U."),
        "returns U before W": Mistake(in_order(0, 2, 1),
            "All three are right, but U and W have changed places: first K, then W, then U."),
        "takes keys out of W": Mistake(with_keys_taken_out_of_W,
            "U is right. What chunk 1 has erased from a direction w is W₁ᵀK₁ w: the keys measure, and the rows of W₁ "
            "are taken out.", "eq. 5.2",
            next="In U you subtract rows of U₁. What is its counterpart for W?"),
        "measures the overlap of the later keys with W": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K2 @ W1.T),
            "K and W have changed roles: it is W₂ that asks, and K₁ that is asked, W₂K₁ᵀ.", "eq. 8.4"),
        "transposes the overlap": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K1 @ W2.T),
            "A row for each token of chunk 2, a column for each of chunk 1: W₂K₁ᵀ, of shape (C2, C1). Yours is the "
            "transpose.", "eq. 8.4"),
        "changes the first chunk's rows": Mistake(join_with(W=first_corrected_by_itself, U=first_corrected_by_itself),
            "The overlap is right, but it belongs to the second chunk's rows: W₂ − A W₁ and U₂ − A U₁. The first "
            "chunk's stay as they are.", "eq. 5.3"),
        "joins the chunks side by side": Mistake(joined_by(lambda halves: torch.cat(halves, 1)),
            "Dimension 1 holds the entries of a vector. Tokens are rows, so the tokens of chunk 2 go *under* those of "
            "chunk 1: `torch.cat` along dimension 0."),
        "stacks the chunks": Mistake(joined_by(torch.stack),
            "`torch.stack` makes a new dimension, one entry for each chunk, and needs them equally long. One chunk is "
            "wanted: `torch.cat`."),
        "puts the second chunk first": Mistake(lambda K1, W1, U1, K2, W2, U2: join(K2, W2, U2, K1, W1, U1),
            "You let chunk 2 come first, and corrected chunk 1 for it. Rows are in the order of time.", "eq. 5.3"),
    },
    hints=("After the first chunk, a memory that began empty is S = U₁ᵀK₁. What does the second chunk write into it?",
           "X₂ = U₂ − W₂Sᵀ = U₂ − (W₂K₁ᵀ) U₁. For W, multiply (I − W₁ᵀK₁)(I − W₂ᵀK₂) out.",
           "With `A = W2 @ K1.mT`: the lower rows are `W2 - A @ W1` and `U2 - A @ U1`."),
)


# -- 9.10, review of chapters 3, 7, 8 and 9 ----------------------------------------------------------------------------

exercise(
    id="9.10", title="Review: what is left to store",
                     kind="predict", stars=2, minutes=5, equations=("9.9",), reference=12, tolerance=1e-3,
    working=(by_hand.mebibytes_of_memories,),
    mutants={
        "stores a memory for every token": Mistake(384,
            "That is the token loop. The chunkwise form meets a memory once per *chunk*, and rebuilds the rest inside.",
            "eq. 9.9"),
        "stores one memory": Mistake(0.046875,
            "One memory is 48 KiB. But every chunk's gradient needs the memory that entered that chunk.", "eq. 9.9"),
        "stores one memory, and counts its numbers": Mistake(12_288 / 2**20,
            "12,288 numbers are one memory. Every chunk was entered by one, and each number takes four bytes.",
            "eq. 9.9"),
        "counts numbers instead of bytes": Mistake(3,
            "256 memories of 12,288 numbers are three million numbers. Each takes four bytes.", "eq. 9.9"),
        "counts two bytes a number": Mistake(6, "That would be half precision. float32 takes four bytes a number.",
                                                "eq. 9.9"),
        "takes twice as much": Mistake(24,
            "24 comes out with eight bytes a number, or if the gradients of the memories are counted too. A number "
            "takes four bytes in float32, and gradients are computed in the backward pass: nobody stores them before.",
            "eq. 9.9"),
        "counts 32 memories": Mistake(1.5,
            "1.5 MiB are 32 memories. 32 is how many tokens a chunk has; how many chunks are there?", "eq. 9.9"),
        "takes a memory for a vector": Mistake(0.125,
            "256 vectors of 128 numbers. A memory is a matrix, V × K = 128 · 96 numbers.", "eq. 9.9"),
        "takes a memory for a vector of K numbers": Mistake(0.09375,
            "256 vectors of 96 numbers. A memory is a matrix, V × K = 128 · 96 numbers.", "eq. 9.9"),
        "takes a memory for K × K numbers": Mistake(9, "A memory is V × K = 128 · 96 numbers, not 96 · 96.", "eq. 8.4"),
        "takes a memory for V × V numbers": Mistake(16, "A memory is V × K = 128 · 96 numbers, not 128 · 128.",
                                                    "eq. 8.4"),
        "counts keys and values": Mistake(7,
            "That is what the keys and the values of all tokens take, the cache of attention. The memories are "
            "matrices, one for each chunk.", "eq. 9.9"),
        "counts queries, keys and values": Mistake(10,
            "That is what queries, keys and values of all tokens take. The memories are matrices, one for each chunk.",
            "eq. 9.9"),
        "counts all that is saved": Mistake(28.078125,
            "That is all of equation 9.9, with inputs, UT₁, P, R and X of all tokens. The memories that entered are "
            "asked for.", "eq. 9.9"),
        "counts what recomputing keeps": Mistake(10.078125,
            "That is what is kept by who keeps the inputs and *one* memory, and runs the forward pass again. Here the "
            "memories that entered the chunks are asked for.", "eq. 9.9"),
        "counts in bits": Mistake(96, "float32 has 32 bits, which are four bytes.", "eq. 9.9"),
        "counts in KiB": Mistake(12_288, "That is KiB: divide by 1024 once more.", "eq. 9.9"),
        "counts in bytes": Mistake(12_288 * 1024, "That is bytes: divide by 1,048,576.", "eq. 9.9"),
        "divides by a million": Mistake(12.582912, "A MiB has 1,048,576 bytes, 2²⁰.", "eq. 9.9"),
        "counts one memory too few": Mistake(11.953125,
            "255 memories: one for each border between two chunks. The first chunk is entered by one as well.",
            "eq. 9.9"),
        "counts the last memory too": Mistake(12.046875,
            "257 memories: the one that leaves the last chunk is among them, and no chunk is entered by it.",
            "eq. 9.9"),
    },
    hints=("How many chunks are there, and how many numbers has one memory?",
           "8192 / 32 = 256 chunks, and 128 · 96 = 12,288 numbers.",
           "256 · 12,288 · 4 bytes, divided by 1,048,576."),
    why="256 chunks · 12,288 numbers · 4 bytes = 12 MiB. One memory per token would be 384 MiB, and recomputing leaves "
        "48 KiB: the memory that entered the sequence.",
)
