"""Exercises 7.5 to 7.7: tokens of the delta rule as maps S -> S M + X, which a scan composes."""

import torch

from ...ops import delta_rule_recurrent
from ...ops.delta_rule.householder import householder, householder_product, wy_u, wy_w
from ...ops.delta_rule.scan import compose, inclusive_scan
from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from ..common import eye_like, map_by, numbers, one_head, real

# -- 7.5 A witness -----------------------------------------------------------------------------------------------------

def published(first, second):
    return first[0] @ second[0], second[0] @ first[1] + second[1]


SHAPES = "three keys of 2 numbers each, three values of 2 numbers each, three strengths"


def read_witness(answer):
    """Three tokens as (k: (3, 2), v: (3, 2), beta: (3,)), or an AnswerError that says what is missing."""
    try:
        k, v, beta = (numbers(x) for x in answer)
    except Exception:
        raise AnswerError(f"give (k, v, beta): {SHAPES}") from None
    if k.shape != (3, 2) or v.shape != (3, 2) or beta.shape != (3,):
        raise AnswerError(f"the shapes are {tuple(k.shape)}, {tuple(v.shape)}, {tuple(beta.shape)}; give {SHAPES}")
    if not all(x.isfinite().all() and x.abs().max() <= 10 for x in (k, v, beta)):
        raise AnswerError("all numbers should lie between -10 and 10")
    return k, v, beta


def groupings(answer):
    """What the published operator makes of three tokens, grouped from the left and from the right; if the same, why.

    The two differ by (M3 M2 - M2 M3) X1, and equation 4.11 says when the bracket is zero.
    """
    k, v, beta = read_witness(answer)
    a, b, c = ((householder(k_t, b_t), b_t * torch.outer(v_t, k_t)) for k_t, v_t, b_t in zip(k, v, beta))
    left, right = published(published(a, b), c), published(a, published(b, c))
    if (left[1] - right[1]).abs().max() > 1e-6:
        return "the two groupings differ"
    overlap, lengths = (k[1] @ k[2]).abs(), k[1].norm() * k[2].norm()
    reasons = {"all values are zero": (v == 0).all(), "all strengths are zero": (beta == 0).all(),
               "keys 2 and 3 are zero": (k[1:] == 0).all(), "token 1 writes nothing": (a[1] == 0).all(),
               "token 2 or 3 erases nothing": beta[1] * lengths == 0 or beta[2] * lengths == 0,
               "keys 2 and 3 are parallel": (lengths - overlap).abs() < 1e-9,
               "keys 2 and 3 are orthogonal": overlap < 1e-9}
    return next((reason for reason, holds in reasons.items() if holds), "the difference is too small to see")


WITNESS = ([(1.0, 0.0), (0.6, 0.8), (0.0, 1.0)], [(1.0, 2.0), (0.0, 1.0), (3.0, 0.0)], [0.5, 0.5, 0.5])
ONE_VALUE = ([(1.0, 0.0), (0.8, 0.6), (0.6, 0.8)], [(1.0, 0.0), (0.0, 0.0), (0.0, 0.0)], [1.0, 1.0, 1.0])


def witness(**changes):
    """The right answer with its k, v or beta replaced."""
    return tuple(changes.get(name, x) for name, x in zip(("k", "v", "beta"), WITNESS))


exercise(
    id="7.5", title="A witness", kind="open", stars=3, minutes=15, equations=("7.7",), prepare=groupings,
    reference=WITNESS, alternatives=(ONE_VALUE,),
    mutants={
        "gives keys 2 and 3 one direction": Mistake(witness(k=[(1.0, 0.0), (0.6, 0.8), (0.6, 0.8)]),
            "The keys of tokens 2 and 3 are parallel. Erasures along one direction commute, so a wrong order does not "
            "show.",
            "eq. 4.11", next="Turn key 3 away from key 2, but not to a right angle."),
        "turns keys 2 and 3 to a right angle": Mistake(witness(k=[(0.6, 0.8), (0.0, 1.0), (1.0, 0.0)]),
            "Orthogonal erasures commute too: neither touches what the other does.", "eq. 4.11",
            next="Choose keys that overlap partly."),
        "writes nothing": Mistake(witness(v=[(0.0, 0.0)] * 3),
            "With all values zero every X is zero. The slip is in X.", "eq. 7.6", next="Give the first token a value."),
        "sets every strength to zero": Mistake(witness(beta=[0.0, 0.0, 0.0]),
            "β = 0 makes every map the identity.", "eq. 7.6"),
        "leaves token 2 or 3 without an erasure": Mistake(witness(beta=[0.5, 0.0, 0.5]),
            "M₂ or M₃ is the identity, by a strength or a key of zero, and the identity commutes with everything.",
            "eq. 4.11", next="Let tokens 2 and 3 both erase."),
        "gives tokens 2 and 3 no keys": Mistake(witness(k=[(1.0, 0.0), (0.0, 0.0), (0.0, 0.0)]),
            "Both keys are zero, so M₂ and M₃ are the identity, which commutes with everything.", "eq. 4.11",
            next="Is the order (k, v, beta)? Keys come first."),
        "lets token 1 write nothing": Mistake(witness(v=[(0.0, 0.0), (0.0, 1.0), (3.0, 0.0)]),
            "X₁ = β₁ v₁ k₁ᵀ is zero. The slip is in how the write of token 1 passes through M₂ and M₃; the later "
            "writes pass "
            "through one erasure or none, and there is no order to get wrong.", "eq. 7.6",
            next="Give the first token a value, a key and a strength."),
        "makes a difference too small to see": Mistake(witness(beta=[1e-7, 0.5, 0.5]),
            "The two groupings agree to six digits, as rounding would make them. Larger numbers will do.", "eq. 7.7"),
    },
    hints=("Look at the X of both groupings: the write of token 1 passes M₂ and M₃, from the left, in which order?",
           "Grouped from the left: M₃M₂X₁. From the right: (M₂M₃)X₁. When are these different?",
           "M₂ and M₃ must not commute: keys 2 and 3 neither parallel nor orthogonal, both β above 0, and token 1 must "
           "write something."),
    why="Grouped from the left the printed operator sends X₁ to M₃M₂X₁, grouped from the right to M₂M₃X₁. A scan "
        "regroups "
        "freely, so its result would depend on the number of processors.",
)


# -- 7.6 The map of a chunk --------------------------------------------------------------------------------------------

def chunk_map(k, v, beta):
    M, X = torch.eye(k.shape[1], dtype=k.dtype), torch.zeros(v.shape[1], k.shape[1], dtype=k.dtype)
    for k_t, v_t, beta_t in zip(k, v, beta):
        M_t = householder(k_t, beta_t)                                   # (K, K)
        M, X = M @ M_t, X @ M_t + beta_t * torch.outer(v_t, k_t)         # (K, K), (V, K)
    return M, X


def chunk_map_by_wy(k, v, beta):
    return eye_like(k) - wy_w(k, beta).T @ k, wy_u(k, v, beta).T @ k


def chunk_map_by_probing(k, v, beta):
    """Run the recurrence from zero to get X, and from each unit row to get M."""
    nothing = torch.zeros_like(k)                                        # values: the memory is a (K, K) of unit rows
    M = one_head(delta_rule_recurrent, k, k, nothing, beta, eye_like(k))[1]
    return M, one_head(delta_rule_recurrent, k, k, v, beta, None)[1]


def chunk_map_by_scan(k, v, beta):
    M, X = inclusive_scan(householder(k, beta), (beta[:, None] * v)[:, :, None] * k[:, None, :])
    return M[-1], X[-1]


def chunk_map_with(k, v, beta, erase=lambda b: b, write=lambda v, b: b * v):
    total = None
    for k_t, v_t, beta_t in zip(k, v, beta):
        token = householder(k_t, erase(beta_t)), torch.outer(write(v_t, beta_t), k_t)
        total = token if total is None else compose(total, token)
    return total


def sum_of_erasures(k, beta):
    return eye_like(k) - (beta[:, None] * k).T @ k


def sum_of_writes(k, v, beta):
    return (beta[:, None] * v).T @ k


def chunks(g):
    k, v, beta = real([[1.0, 0.0], [0.6, 0.8]]), real([[3.0], [5.0]]), real([1.0, 0.5])
    made = [Case((k[:C], v[:C], beta[:C]), f"easy numbers, C = {C}") for C in (1, 2)]
    for case in delta_inputs(g, "k v beta", T=(1, 2, 5), K=3, V=2):
        made.append(Case(case.args, case.note.replace("T = ", "C = ")))
    return smallest_first(made)


exercise(
    id="7.6", title="The map of a chunk", kind="code", stars=3, minutes=20, equations=("7.5", "7.6"),
    reference=chunk_map, alternatives=(chunk_map_by_wy, chunk_map_by_scan, chunk_map_by_probing),
    cases=chunks,
    mutants={
        "multiplies the transitions backwards": Mistake(
            lambda k, v, beta: (householder_product(k.flip(0), beta.flip(0)), chunk_map(k, v, beta)[1]),
            "X is right. M must be M₁M₂⋯: the first token stands leftmost, next to S.", "eq. 7.6"),
        "runs the tokens backwards": Mistake(lambda k, v, beta: chunk_map(k.flip(0), v.flip(0), beta.flip(0)),
            "The last token is applied first. `compose(first, second)` takes the earlier one first.", "eq. 7.6"),
        "adds the writes untouched": Mistake(lambda k, v, beta: (chunk_map(k, v, beta)[0], sum_of_writes(k, v, beta)),
            "Each write must pass through the erasures of all later tokens. Yours adds β v kᵀ as linear attention "
            "would.", "eq. 7.6"),
        "forgets beta in the write": Mistake(lambda k, v, beta: chunk_map_with(k, v, beta, write=lambda v, b: v),
            "One token is (I - β k kᵀ, β v kᵀ). The write has lost its β.", "eq. 7.5"),
        "forgets beta in the erasure": Mistake(lambda k, v, beta: chunk_map_with(k, v, beta, erase=torch.ones_like),
            "One token is (I - β k kᵀ, β v kᵀ). The erasure has lost its β.", "eq. 7.5"),
        "forgets beta altogether": Mistake(
            lambda k, v, beta: chunk_map_with(k, v, beta, erase=torch.ones_like, write=lambda v, b: v),
            "One token is (I - β k kᵀ, β v kᵀ). Yours is right for β = 1 only.", "eq. 7.5"),
        "erases each write at once": Mistake(
            map_by(lambda X, M, M_t, X_t: (X + X_t) @ M_t),
            "M_t acts on what was there before token t; X_t is added after it. Yours sends it through its own erasure.",
            "eq. 7.6",
            next="With a unit key and β = 1, what is left of your X after one token?"),
        "erases with the product so far": Mistake(
            map_by(lambda X, M, M_t, X_t: X @ M + X_t),
            "What is in X has already met the earlier erasures. Each step it meets one more, M_t, not all of them "
            "again.", "eq. 7.6"),
        "returns X before M": Mistake(lambda k, v, beta: chunk_map(k, v, beta)[::-1],
            "Both are right, in the wrong order: first M, (K, K), then X, (V, K).", "eq. 7.6"),
        "leaves the identity out of M": Mistake(lambda k, v, beta: (wy_w(k, beta).T @ k, chunk_map(k, v, beta)[1]),
            "WᵀK is what the product takes away from I.", "eq. 5.2"),
        "adds what M should take away": Mistake(
            lambda k, v, beta: (eye_like(k) + wy_w(k, beta).T @ k, chunk_map(k, v, beta)[1]),
            "The sign is wrong: M = I − WᵀK.", "eq. 5.2"),
        "adds raw values": Mistake(lambda k, v, beta: (chunk_map(k, v, beta)[0], v.T @ k),
            "v_t comes with its β_t, and passes through the erasures of all later tokens.", "eq. 7.6"),
        "sends all writes through all erasures": Mistake(
            lambda k, v, beta: (chunk_map(k, v, beta)[0], sum_of_writes(k, v, beta) @ chunk_map(k, v, beta)[0]),
            "A write passes through *later* erasures only, not through those before it, nor its own.", "eq. 7.6"),
        "runs the writes backwards": Mistake(
            lambda k, v, beta: (chunk_map(k, v, beta)[0], chunk_map(k.flip(0), v.flip(0), beta.flip(0))[1]),
            "M is right. In X the first token must be erased by the later ones; yours has it the other way round.",
            "eq. 7.6"),
        "adds up everything": Mistake(
            lambda k, v, beta: (sum_of_erasures(k, beta), sum_of_writes(k, v, beta)),
            "As if every token met the memory from before the chunk. Transitions are multiplied, and a write passes "
            "through later erasures.", "eq. 7.6"),
        "multiplies with M_t on the left": Mistake(map_by(lambda X, M, M_t, X_t: M_t @ X + X_t),
            "A write has the shape of the memory, (V, K), and meets M_t from the right, as S does. M_t X is the "
            "published slip of 7.4, and K ≠ V shows it.", "eq. 7.6"),
        "returns W and U": Mistake(lambda k, v, beta: (wy_w(k, beta), wy_u(k, v, beta)),
            "Those are the factors, of one row a token. M = I − WᵀK is (K, K), and X = UᵀK is (V, K), however long "
            "the chunk.", "eq. 7.6"),
        "returns only the last token": Mistake(lambda k, v, beta: chunk_map(k[-1:], v[-1:], beta[-1:]),
            "The composition is thrown away in each round: keep it in a variable and go on from there.", "eq. 7.6"),
        "erases nothing": Mistake(lambda k, v, beta: (eye_like(k), sum_of_writes(k, v, beta)),
            "M = I erases nothing: that is linear attention. Here every token also erases, with I - β k kᵀ.",
            "eq. 7.5"),
        "takes linear attention's map": Mistake(lambda k, v, beta: (eye_like(k), v.T @ k),
            "M = I and X = VᵀK is linear attention's map. A token of the delta rule is (I - β k kᵀ, β v kᵀ).",
            "eq. 7.5"),
        "leaves X inside M": Mistake(
            lambda k, v, beta: (chunk_map(k, v, beta)[0] + chunk_map(k, v, beta)[1][:1], chunk_map(k, v, beta)[1]),
            "X is right. To each row of your M the first row of X is added: a memory sent through the chunk comes back "
            "as S M *plus* X, so take X off before you read M.", "eq. 7.6"),
        "adds up the transitions": Mistake(
            lambda k, v, beta: (sum_of_erasures(k, beta), chunk_map(k, v, beta)[1]),
            "I - Σ β k kᵀ forgets that later tokens meet a memory that earlier ones have changed. The transitions are "
            "multiplied.", "eq. 7.6"),
    },
    hints=("Make the map of one token first: two matrices.",
           "Then go through the chunk and join what you have with the next token, earlier one first.",
           "`total = token if total is None else compose(total, token)`, with token = (I - β k kᵀ, β v kᵀ)."),
)


# -- 7.7 The bill ------------------------------------------------------------------------------------------------------

def scan_bytes(T, K, V, size):
    return T * K * (K + V) * size


def scan_bytes_multiplied_out(T, K, V, size):
    return size * (T * K * K + T * V * K)


def scan_bytes_token_by_token(T, K, V, size):
    return sum((K * K + V * K) * size for _ in range(T))


def bills(g):
    return [Case((1, 1, 2, 1), "one token"), Case((3, 2, 1, 2), "K ≠ V"), Case((10, 4, 3, 4), "float32"),
            Case((64, 16, 16, 2), "K = V"), Case((4096, 128, 64, 4), "a real layer")]


exercise(
    id="7.7", title="The bill", kind="code", stars=2, minutes=8, equations=("7.8",),
    reference=scan_bytes, alternatives=(scan_bytes_multiplied_out, scan_bytes_token_by_token), cases=bills,
    mutants={
        "counts only the transitions": Mistake(
            lambda T, K, V, size: T * K * K * size, "Each token needs its X, (V, K), as well as its M.", "eq. 7.8"),
        "counts only the writes": Mistake(
            lambda T, K, V, size: T * K * V * size, "Each token needs its M, (K, K), as well as its X.", "eq. 7.8"),
        "counts one pair for all tokens": Mistake(lambda T, K, V, size: K * (K + V) * size,
            "A scan keeps a pair for every token: they all live at the same time.", "eq. 7.8"),
        "counts numbers, not bytes": Mistake(
            lambda T, K, V, size: T * K * (K + V), "Multiply by the size of a number.", "eq. 7.8"),
        "takes M to be as tall as X": Mistake(
            lambda T, K, V, size: 2 * T * K * V * size, "M acts on keys: it is (K, K) whatever V is.", "eq. 7.8"),
        "takes both matrices to be square": Mistake(lambda T, K, V, size: T * (K * K + V * V) * size,
            "M is (K, K), but X is shaped like the memory: (V, K).", "eq. 7.8"),
        "takes X for a vector": Mistake(lambda T, K, V, size: T * (K * K + V) * size,
            "X is what is *added to the memory*, v kᵀ: it has the memory's shape, (V, K).", "eq. 7.8"),
        "takes M for a vector": Mistake(lambda T, K, V, size: T * (K + V * K) * size,
            "M is what the memory is *multiplied* with: it is (K, K).", "eq. 7.8"),
        "takes X to be as large as M": Mistake(lambda T, K, V, size: 2 * T * K * K * size,
            "X is shaped like the memory, (V, K), and V need not be K.", "eq. 7.8"),
        "takes M to be (V, V)": Mistake(lambda T, K, V, size: T * V * (K + V) * size,
            "M acts on keys: it is (K, K) whatever V is.", "eq. 7.8"),
        "takes one square matrix of both widths": Mistake(lambda T, K, V, size: T * (K + V) ** 2 * size,
            "A token has two matrices, (K, K) and (V, K): K (K + V) numbers.", "eq. 7.8"),
        "counts a pair for every two tokens": Mistake(lambda T, K, V, size: T * T * K * (K + V) * size,
            "There is one pair for each token, not for each pair of tokens.", "eq. 7.8"),
        "multiplies the two matrices": Mistake(lambda T, K, V, size: T * K * K * V * K * size,
            "M and X lie side by side in memory: their sizes are added.", "eq. 7.8"),
        "counts the FLOPs of a composition": Mistake(
            lambda T, K, V, size: T * (2 * K**3 + 2 * V * K**2) * size,
            "2K³ + 2VK² is the work of joining two pairs. What is asked for is the room that the pairs take.",
            "eq. 7.8"),
        "keeps one X for all tokens": Mistake(lambda T, K, V, size: (T * K * K + V * K) * size,
            "The loop has one memory. The scan needs the X of *every* token, as it needs every M: they all live at the "
            "same time.", "eq. 7.8"),
        "keeps one M for all tokens": Mistake(lambda T, K, V, size: (K * K + T * V * K) * size,
            "M_t = I − β_t k_t k_tᵀ is another matrix for each token, as X_t is.", "eq. 7.8"),
        "counts every round of the scan": Mistake(
            lambda T, K, V, size: T * K * (K + V) * size * (T - 1).bit_length(),
            "The rounds need not be kept. What is asked for is the room of the T pairs alone.", "eq. 7.8"),
        "counts bits": Mistake(lambda T, K, V, size: 8 * T * K * (K + V) * size,
            "`size` is in bytes already.", "eq. 7.8"),
        "counts what the tokens bring": Mistake(lambda T, K, V, size: T * (K + V) * size,
            "Those are the keys and values themselves. The scan makes a matrix out of each.", "eq. 7.8"),
    },
    hints=("Which two matrices stand for one token, and what are their shapes?",
           "M is (K, K), X is (V, K), and every token has both.",
           "T · (K² + VK) numbers, times the bytes of one."),
    why="For T = 4,096, K = V = 128 in float32 that is 537 MB a head, to process 4 MB of keys and values.",
)
