"""The exercises of chapter 5, in order: each with its solutions, mistakes and hints. 5.7 is in lapack.py."""

from typing import NamedTuple

import torch

from ...ops import delta_rule_recurrent
from ...ops.delta_rule.householder import householder_product, wy_u, wy_w
from ...tutor import Mistake, exercise, order_the_lines
from .. import by_hand
from ..common import WithoutSquare, cases, eye_like, one_head


# -- 5.1 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="5.1", title="Three writes by hand", kind="predict", stars=1, minutes=5, equations=("5.4",),
    reference=2.44, givens={"β₂": 0.5},
    working=(by_hand.third_write,),
    mutants={
        "writes the value itself": Mistake(5.0,
            "5 is what *arrives*. The memory already answers something for this key, and only the difference is "
            "written.", "eq. 5.4",
            next="What do tokens 1 and 2 together say about the key (1, 0)?"),
        "forgets the token in the middle": Mistake(3.0,
            "You removed what token 1 wrote. Token 2 wrote along (0.8, 0.6), and that overlaps with the key as well.",
            "eq. 5.4",
            next="u₂ (k₂ᵀk₃) is missing."),
        "takes v₂ for u₂": Mistake(0.6,
            "You subtracted 3 · 0.8. Token 2 did not write 3: it wrote half of what was *missing*.", "eq. 5.4",
            next="Compute u₂ first."),
        "takes β₂v₂ for u₂": Mistake(1.8,
            "You subtracted 1.5 · 0.8. Token 2 did not write half of 3, but half of what was *missing* from 3.",
            "eq. 5.4", next="Compute u₂ first."),
        "counts u₂ in full": Mistake(2.3,
            "You subtracted 0.7. Of what token 2 wrote, the key (1, 0) hears only the overlap, 0.8 of it.", "eq. 5.4",
            next="u₂ (k₂ᵀk₃) is 0.7 · 0.8."),
        "has the error the wrong way round": Mistake(-2.44,
            "The size is right. u₃ is what is *added*: the value minus what the memory says, 5 − 2.56.", "eq. 5.4"),
        "gives what the memory says": Mistake(2.56,
            "2.56 is what the memory says about (1, 0) before token 3. What is written is 5 minus that.", "eq. 5.4"),
        "gives u₂": Mistake(0.7, "That is what token 2 writes. The question is about token 3.", "eq. 5.4"),
        "takes 0.6 for the overlap in u₃": Mistake(2.58,
            "You subtracted 0.7 · 0.6. The overlap of (0.8, 0.6) with (1, 0) is 0.8.", "eq. 5.4"),
        "takes 0.6 for the overlap in u₂": Mistake(2.28,
            "Your u₂ is 0.9. The overlap of (0.8, 0.6) with (1, 0) is 0.8, not 0.6.", "eq. 5.4"),
        "takes 0.6 for both overlaps": Mistake(2.46,
            "The overlap of (0.8, 0.6) with (1, 0) is 0.8, not 0.6: in u₂, and again in u₃.", "eq. 5.4"),
        "subtracts what arrived, whatever the overlap": Mistake(0.0,
            "You took 2 and 3 from 5. What counts is what was *written*, 2 and 0.7, and how much of it this key hears.",
            "eq. 5.4"),
        "forgets the first token": Mistake(4.44,
            "You removed what token 2 wrote. Token 1 wrote under the very same key, (1, 0).", "eq. 5.4",
            next="u₁ (k₁ᵀk₃) is missing."),
        "forgets β₂": Mistake(1.88,
            "Your u₂ is 1.4, the whole difference. With β₂ = 0.5 only half of it is written.", "eq. 5.4"),
        "adds the overlaps": Mistake(7.56,
            "The sign is wrong: what the memory already says is subtracted from what arrives.", "eq. 5.4"),
        "adds every overlap": Mistake(8.84,
            "The sign is wrong, in u₂ and again in u₃: what the memory already says is subtracted from what arrives.",
            "eq. 5.4"),
        "scales the value, not the difference": Mistake(3.08,
            "Your u₂ is 0.5 · 3 − 1.6 = −0.1. β₂ multiplies the whole bracket: 0.5 · (3 − 1.6).", "eq. 5.4"),
    },
    hints=("Go token by token: u₁ needs nothing, u₂ needs u₁, u₃ needs both.",
           "The overlaps are k₁ᵀk₂ = 0.8, k₁ᵀk₃ = 1 and k₂ᵀk₃ = 0.8.",
           "u₁ = 2 and u₂ = 0.5 · (3 − 2 · 0.8) = 0.7."),
    why="u₁ = 2, u₂ = 0.5 (3 − 1.6) = 0.7, u₃ = 5 − 2 · 1 − 0.7 · 0.8 = 2.44.",
)


# -- 5.2 ---------------------------------------------------------------------------------------------------------------

def u_vectors(k, v, beta):
    u = []
    for t in range(len(k)):
        already = torch.zeros_like(v[t])                                 # (V,)  what the earlier writes return for k_t
        for i in range(t):
            already = already + u[i] * (k[i] @ k[t])
        u.append(beta[t] * (v[t] - already))
    return torch.stack(u)


def u_by_triangular_solve(k, v, beta):
    A = beta[:, None] * (k @ k.T).tril(-1)
    return torch.linalg.solve_triangular(A, beta[:, None] * v, upper=False, unitriangular=True)


def u_by_state(k, v, beta):
    S, u = torch.zeros(v.shape[1], k.shape[1], dtype=v.dtype), []
    for k_t, v_t, beta_t in zip(k, v, beta):
        u.append(beta_t * (v_t - S @ k_t))
        S = S + torch.outer(u[-1], k_t)
    return torch.stack(u)


class Token(NamedTuple):
    """What the recurrence has at hand when it comes to token t."""

    v: torch.Tensor              # (V,)  its value
    beta: torch.Tensor           # ()
    said: torch.Tensor           # (V,)  what the earlier writes return for its key
    overlaps: torch.Tensor       # (t,)  of its key with the earlier ones
    u: torch.Tensor              # (t, V)  the earlier writes
    values: torch.Tensor         # (t, V)  the earlier values
    betas: torch.Tensor          # (t,)  the earlier strengths


def u_by(step):
    """A function for exercise 5.2 that makes each u_t by `step` of a Token."""
    def f(k, v, beta):
        u = []
        for t in range(len(k)):
            overlaps, before = k[:t] @ k[t], torch.stack(u) if u else v[:0]
            u.append(step(Token(v[t], beta[t], overlaps @ before, overlaps, before, v[:t], beta[:t])))
        return torch.stack(u)
    return f


def w_by(step):
    """The same for exercise 5.3, where the keys stand in the place of the values."""
    return lambda k, beta: u_by(step)(k, k, beta)


def u_inclusive(k, v, beta):
    A = beta[:, None] * (k @ k.T).tril()
    return torch.linalg.solve(eye_like(A) + A, beta[:, None] * v)


def scales_columns(k, v, beta):
    A = (k @ k.T * beta).tril(-1)
    return torch.linalg.solve(eye_like(A) + A, beta[:, None] * v)


exercise(
    id="5.2", title="The u vectors", kind="code", stars=1, minutes=5, equations=("5.4",),
    reference=u_vectors, alternatives=(wy_u, u_by_triangular_solve, u_by_state),
    cases=cases("k v beta", T=(1, 2, 7), betas=("random", "zero", "large")),
    mutants={
        "forgets beta": Mistake(u_by(lambda t: t.v - t.said),
            "Each u_t is scaled by its own β_t. Yours is not: your first row equals v₁.", "eq. 5.4"),
        "sums over i ≤ t": Mistake(u_inclusive,
            "The sum runs over *earlier* tokens only; yours includes token t itself.", "eq. 5.4",
            next="What should the sum be for the first token?"),
        "uses v, not u, in the sum": Mistake(u_by(lambda t: t.beta * (t.v - t.overlaps @ t.values)),
            "The sum must use the u_i you have just computed, not the raw v_i: the memory holds what was written, not "
            "what arrived.", "eq. 5.4",
            next="With three equal keys, how much does token 3 still have to remove?"),
        "scales the value, not the difference": Mistake(u_by(lambda t: t.beta * t.v - t.said),
            "β_t multiplies the whole bracket, v_t minus the sum. Yours scales v_t alone, so even β = 0 writes "
            "something.", "eq. 5.4"),
        "scales the sum, not the difference": Mistake(u_by(lambda t: t.v - t.beta * t.said),
            "β_t multiplies the whole bracket, v_t minus the sum. Yours writes v_t at full strength.", "eq. 5.4"),
        "uses β v, not u, in the sum": Mistake(
            u_by(lambda t: t.beta * (t.v - (t.overlaps * t.betas) @ t.values)),
            "β_i v_i is what linear attention would have written. Here token i wrote u_i, which is less: its own past "
            "was taken off.", "eq. 5.4",
            next="With three equal keys and β = 1, what does token 2 write?"),
        "gives the error its own sign": Mistake(u_by(lambda t: t.beta * (t.said - t.v)),
            "The error is what the memory says minus what it should say; it is *subtracted* from S. So u_t, which is "
            "added, is v_t minus the sum.", "eq. 5.4"),
        "applies β of the earlier tokens again": Mistake(u_by(lambda t: t.beta * (t.v - (t.overlaps * t.betas) @ t.u)),
            "u_i already contains its β_i. Yours multiplies it in a second time.", "eq. 5.4"),
        "adds the correction": Mistake(u_by(lambda t: t.beta * (t.v + t.said)),
            "The sign of the sum is wrong: what the memory already says is *subtracted*.", "eq. 5.4"),
        "looks at the previous token only": Mistake(u_by(lambda t: t.beta * (t.v - (t.overlaps[-1:] @ t.u[-1:]))),
            "The sum runs over *all* earlier tokens. Yours stops at the one just before.", "eq. 5.4",
            next="Does your answer change if token 1 has the key of token 3?"),
        "multiplies β in twice": Mistake(u_by(lambda t: t.beta * (t.v - t.beta * t.said)),
            "β_t stands before the bracket, once. Yours multiplies the sum with it a second time.", "eq. 5.4"),
        "gives what will be read": Mistake(u_by(lambda t: t.said + t.beta * (t.v - t.said)),
            "That is what the memory says about k_t *after* the write. The write itself is β_t times the difference.",
            "eq. 5.4"),
        "divides by the squared length of the key": Mistake(lambda k, v, beta: u_vectors(k, v, beta / (k * k).sum(-1)),
            "β_t is taken as it is. Dividing by ‖k_t‖² would be another rule, normalized least mean squares.",
            "eq. 5.4"),
        "scales the overlaps by the earlier β": Mistake(scales_columns,
            "Row t of the system is scaled by β_t, the strength of the token that corrects itself. Yours has β_i.",
            "eq. 5.4"),
        "writes nothing": Mistake(u_by(lambda t: t.beta * t.said),
            "Yours writes what the memory says already, and an empty memory says nothing: all rows stay zero. "
            "v_t must come in.", "eq. 5.4"),
        "leaves β out of the first row": Mistake(u_by(lambda t: t.beta * (t.v - t.said) if len(t.u) else t.v),
            "The first token has no earlier ones, and its sum is zero. Its β stands before the bracket all the same: "
            "u₁ = β₁ v₁.", "eq. 5.4"),
        "ignores the earlier tokens": Mistake(u_by(lambda t: t.beta * t.v),
            "β_t v_t is what linear attention would write. What the earlier writes return for k_t must be taken off.",
            "eq. 5.4"),
        "measures the overlap of values": Mistake(u_by(lambda t: t.beta * (t.v - (t.values @ t.v) @ t.u)),
            "The overlap is between keys, k_iᵀk_t: tokens interfere where their *keys* agree.", "eq. 5.4"),
    },
    hints=("Compute u₁ and u₂ by hand for two equal keys.",
           "u_t = β_t (v_t − something). The something is what the memory S = Σ u_i k_iᵀ returns for k_t.",
           "The last line is `u.append(beta[t] * (v[t] - already))`."),
)


# -- 5.3 ---------------------------------------------------------------------------------------------------------------

def w_vectors(k, beta):
    w = []
    for t in range(len(k)):
        left = k[t]                                                      # (K,)  what is left of the key to erase
        for i in range(t):
            left = left - w[i] * (k[i] @ k[t])
        w.append(beta[t] * left)
    return torch.stack(w)


def w_by_product(k, beta):
    P, w = eye_like(k), []
    for k_t, beta_t in zip(k, beta):
        w.append(beta_t * (P @ k_t))
        P = P - torch.outer(w[-1], k_t)
    return torch.stack(w)


def w_by_triangular_solve(k, beta):
    return u_by_triangular_solve(k, k, beta)


def w_through_the_first_erasure_first(k, beta):
    w = []
    for t in range(len(k)):
        left = k[t]
        for i in range(t):
            left = left - beta[i] * k[i] * (k[i] @ left)
        w.append(beta[t] * left)
    return torch.stack(w)


def w_with_products(k, beta, own=False):
    """w_t = P k_t with P = M_1 ... M_{t-1}, or up to M_t, and no β before it."""
    upto = [householder_product(k[:t + own], beta[:t + own]) for t in range(len(k))]
    return torch.stack([P @ k_t for P, k_t in zip(upto, k)])


def w_gram_schmidt(t):
    return t.beta * (t.v - (t.overlaps / (t.values * t.values).sum(-1)) @ t.u)


SQUARE = "forms a K × K matrix"


def w_with_running_overlap(k, beta):
    w = []
    for k_t, beta_t in zip(k, beta):
        left = k_t
        for w_i, k_i in zip(w, k):
            left = left - w_i * (k_i @ left)
        w.append(beta_t * left)
    return torch.stack(w)


exercise(
    id="5.3", title="The w vectors", kind="code", stars=3, minutes=15, equations=("5.2", "5.3"),
    reference=w_vectors, alternatives=(wy_w, w_by_triangular_solve), prepare=WithoutSquare(SQUARE, "k beta"),
    cases=cases("k beta", T=(1, 2, 7), betas=("random", "zero", "large")),
    mutants={
        SQUARE: Mistake(w_by_product,
            "The rows are right. But the product as a matrix is what W is to spare you: K² numbers for every token, "
            "and work to match. P_{t−1}k_t = k_t − Σ w_i (k_iᵀk_t) takes vectors only.", "eq. 5.3",
            next="Which sum is P_{t−1}k_t, if P_{t−1} = I − Σ w_i k_iᵀ?"),
        "leaves β out of the first row": Mistake(w_by(lambda t: t.beta * (t.v - t.said) if len(t.u) else t.v),
            "The first token has no earlier ones, and its sum is zero. Its β stands before the bracket all the same: "
            "w₁ = β₁ k₁.", "eq. 5.3"),
        "scales the overlaps by the earlier β": Mistake(lambda k, beta: scales_columns(k, k, beta),
            "w_t = β_t k_t − Σ w_i β_t (k_iᵀk_t): the overlaps are scaled by β_t, the strength of the later token. "
            "Yours has β_i.", "eq. 5.3"),
        "forgets beta": Mistake(lambda k, beta: w_by_product(k, torch.ones_like(beta)),
            "Each w_t is scaled by its own β_t. Yours is right for β = 1 only.", "eq. 5.3"),
        "subtracts keys instead of w": Mistake(w_by(lambda t: t.beta * (t.v - t.overlaps @ t.values)),
            "The sum is over the w_i found so far, not over the raw keys: Σ w_i k_iᵀ is what the product has taken "
            "away from I.", "eq. 5.3",
            next="In the induction, which matrix is multiplied with k_t?"),
        "adds the correction": Mistake(w_by(lambda t: t.beta * (t.v + t.said)),
            "The sign of the sum is wrong: P_{t−1} is I *minus* Σ w_i k_iᵀ.", "eq. 5.3"),
        "multiplies in the opposite order": Mistake(lambda k, beta: w_by_product(k.flip(0), beta.flip(0)).flip(0),
            "Your rows belong to M_C … M₂ M₁. In this book the state stands on the left, S₀ M₁ M₂ …, so the *first* "
            "token is leftmost.", "eq. 5.2",
            next="Which w_t should be a plain multiple of its key, the first or the last?"),
        "uses β k in the place of w": Mistake(
            w_by(lambda t: t.beta * (t.v - (t.overlaps * t.betas) @ t.values)),
            "w_i is β_i k_i for the first token only. Later ones have been corrected, and the sum needs them as they "
            "came out.", "eq. 5.3",
            next="Two tokens do not show it. What is w₂ for two equal keys, and what does token 3 need?"),
        "measures the overlap with w": Mistake(w_by(lambda t: t.beta * (t.v - (t.u @ t.v) @ t.u)),
            "In Σ w_i k_iᵀ the key stands on the right, and it is the key that meets k_t: the overlap is k_iᵀk_t.",
            "eq. 5.3"),
        "measures the overlap with what is left of the key": Mistake(w_with_running_overlap,
            "The inner loop changes the vector that k_i is multiplied with. All overlaps are those of the keys as they "
            "came, k_iᵀk_t.", "eq. 5.3",
            next="Keep k_t and the corrected vector under two names."),
        "sends the key through M₁ first": Mistake(w_through_the_first_erasure_first,
            "Your rows are β_t M_{t−1} ⋯ M₂M₁ k_t. In P_{t−1} = M₁M₂ ⋯ M_{t−1} it is M_{t−1} that stands next to k_t, "
            "so the key meets the latest erasure first.", "eq. 5.3",
            next="Run the inner loop backwards, or use w_i and the sum."),
        "forgets β before the product": Mistake(w_with_products,
            "P_{t−1} is right, with its β. But w_t = β_t P_{t−1} k_t has one more of its own.", "eq. 5.3"),
        "lets the token's own erasure in": Mistake(lambda k, beta: beta[:, None] * w_with_products(k, beta, own=True),
            "You multiplied k_t with P_t, which holds M_t already. The new row comes from P_{t−1}, before it.",
            "eq. 5.3"),
        "multiplies β in twice": Mistake(lambda k, beta: beta[:, None] * wy_w(k, beta),
            "Each row has its β_t already; yours scales the finished rows once more.", "eq. 5.3"),
        "exchanges w and k in the sum": Mistake(w_by(lambda t: t.beta * (t.v - (t.u @ t.v) @ t.values)),
            "The product is I − Σ w_i k_iᵀ: the key stands on the right and meets k_t, w_i is what is subtracted. "
            "Yours subtracts k_i (w_iᵀk_t).", "eq. 5.2"),
        "looks at the previous token only": Mistake(w_by(lambda t: t.beta * (t.v - (t.overlaps[-1:] @ t.u[-1:]))),
            "The sum runs over *all* earlier tokens. Yours stops at the one just before.", "eq. 5.3"),
        "scales the sum, not the difference": Mistake(w_by(lambda t: t.v - t.beta * t.said),
            "β_t multiplies the whole bracket, k_t minus the sum. Yours takes k_t at full strength.", "eq. 5.3"),
        "applies β of the earlier tokens again": Mistake(w_by(lambda t: t.beta * (t.v - (t.overlaps * t.betas) @ t.u)),
            "w_i already contains its β_i. Yours multiplies it in a second time.", "eq. 5.3"),
        "ignores the earlier tokens": Mistake(w_by(lambda t: t.beta * t.v),
            "I − Σ β_t k_t k_tᵀ is the product only if no two keys overlap. Later keys meet a product that is no "
            "longer I.", "eq. 5.3"),
        "sums over i ≤ t": Mistake(lambda k, beta: u_inclusive(k, k, beta),
            "The sum runs over *earlier* tokens only; yours includes token t itself.", "eq. 5.3",
            next="What is w₁ for one token with β = 1?"),
        "divides the overlap by the length of the key": Mistake(w_by(w_gram_schmidt),
            "That is Gram-Schmidt, which makes keys orthogonal. Here the length of k_i matters and stays: the overlap "
            "is k_iᵀk_t.", "eq. 5.3"),
        "scales only the key": Mistake(w_by(lambda t: t.beta * t.v - t.said),
            "β_t multiplies the whole bracket, not only k_t.", "eq. 5.3"),
        "stacks the w vectors as columns": Mistake(lambda k, beta: wy_w(k, beta).mT.contiguous(),
            "The numbers are right, in columns. Tokens are rows in this book: W has shape (C, K).", "eq. 5.2",
            next="Stack along dimension 0."),
    },
    hints=("Write M₁M₂ out for two tokens and collect everything that multiplies k₂ᵀ from the left.",
           "w_t = β_t P_{t−1} k_t, with P_{t−1} = I − Σ w_i k_iᵀ. You need no matrix P to compute P k_t.",
           "It is the loop of exercise 5.2 with `k` in the place of `v`."),
)


# -- 5.4 ---------------------------------------------------------------------------------------------------------------

both_lines = order_the_lines(
    {
        "A": "    w_t, u_t = beta_t * w_t, beta_t * u_t",
        "B": "    for w_i, u_i, k_i in zip(W, U, k):",
        "C": "return torch.stack(W), torch.stack(U)",
        "D": "    w_t, u_t = k_t, v_t",
        "E": "for k_t, v_t, beta_t in zip(k, v, beta):",
        "F": "    W.append(w_t); U.append(u_t)",
        "G": "        w_t, u_t = w_t - w_i * (k_i @ k_t), u_t - u_i * (k_i @ k_t)",
    },
    "def both(k, v, beta):\n    W, U = [], []", "both",
    distractors={
        "H": "        w_t, u_t = w_t - k_i * (k_i @ k_t), u_t - v_i * (k_i @ k_t)",
        "I": "    for _, k_i, v_i in zip(W, k, v):",
    },
)


def both(k, v, beta):
    return wy_w(k, beta), wy_u(k, v, beta)


def both_at_once(k, v, beta):
    Z = wy_u(k, torch.cat([k, v], -1), beta)
    return Z[:, :k.shape[1]], Z[:, k.shape[1]:]


exercise(
    id="5.4", title="Both recurrences in one loop", kind="order", stars=2, minutes=10, equations=("5.3", "5.4"),
    reference="EDBGAFC", alternatives=(both, both_at_once), prepare=both_lines,
    cases=cases("k v beta", T=(1, 2, 7)),
    mutants={
        "scales by β before correcting": Mistake("EDABGFC",
            "β_t scales k_t and v_t, but not the corrections. It belongs to the whole bracket: after the inner loop.",
            "eq. 5.3 and 5.4",
            next="With β_t = 0, is anything written?"),
        "stores w and u before scaling them": Mistake("EDBGFAC",
            "The lists receive w_t and u_t without β_t: line A comes too late to matter.", "eq. 5.3 and 5.4"),
        "forgets β": Mistake("EDBGFC",
            "w_t and u_t are the whole bracket times β_t. Yours has no β: the first rows are k₁ and v₁.",
            "eq. 5.3 and 5.4", next="Which line brings β_t in?"),
        "stores w and u before correcting them": Mistake("EDFBGAC",
            "F stores what w_t and u_t are at that point, the raw k_t and v_t. G and A make *new* vectors under the "
            "same names, and those reach no list.",
            "eq. 5.3 and 5.4", next="At which point are w_t and u_t finished?"),
        "scales and stores before correcting": Mistake("EDAFBGC",
            "F stores β_t k_t and β_t v_t. What G makes of w_t and u_t after that reaches no list.",
            "eq. 5.3 and 5.4", next="At which point are w_t and u_t finished?"),
        "subtracts raw keys and values": Mistake("EDIHAFC",
            "Lines H and I belong to another algorithm: the sum is over the w_i and u_i computed so far.",
            "eq. 5.3 and 5.4"),
        "corrects with a value that the loop does not bring": Mistake("EDBHAFC",
            "H needs v_i, and B takes only w_i, u_i and k_i from the lists. But no loop that brings it would help: "
            "the sum is over the w_i and u_i computed so far.", "eq. 5.3 and 5.4"),
        "corrects with rows that the loop does not bring": Mistake("EDIGAFC",
            "G needs w_i and u_i, the corrected rows that are in the lists already. I brings the raw keys and values "
            "instead.", "eq. 5.3 and 5.4",
            next="Which of B and I goes through W and U?"),
        "corrects nothing": Mistake("EDAFC",
            "No correction reaches the lists: W and U come out as β k and β v. The inner loop must run after the raw "
            "k_t and v_t are taken, and before they are scaled.", "eq. 5.3 and 5.4",
            next="Where do B and G belong, if D starts a token and A scales?"),
        "stores nothing": Mistake("EDBGAC",
            "The lists stay empty, and there is nothing to stack: F puts w_t and u_t into them.",
            next="At which point are w_t and u_t finished?"),
        "returns nothing": Mistake("EDBGAF",
            "Without C the function ends with nothing to give back.", next="Which line can only be the last?"),
        "returns after the first token": Mistake(
            lambda k, v, beta: (wy_w(k[:1], beta[:1]), wy_u(k[:1], v[:1], beta[:1])),
            "Only one row comes back: the function returns inside the loop.", next="Line C belongs at the very end."),
    },
    hints=("Two lines are of no use. Which of B and I can go with G?",
           "Start from the raw k_t and v_t, correct, scale, store: one line or two for each.",
           "The order starts E, D, B and ends F, C."),
)


# -- 5.5 ---------------------------------------------------------------------------------------------------------------

def state_after(S, k, v, beta):
    U = wy_u(k, v, beta)                                                 # (C, V)
    W = wy_w(k, beta)                                                    # (C, K)
    return S - S @ W.mT @ k + U.mT @ k


def state_by_loop(S, k, v, beta):
    return one_head(delta_rule_recurrent, k, k, v, beta, S)[1]


def state_by_writes(S, k, v, beta):
    return S + (wy_u(k, v, beta) - wy_w(k, beta) @ S.mT).mT @ k


def state_by_product(S, k, v, beta):
    return S @ householder_product(k, beta) + wy_u(k, v, beta).mT @ k


def corrects_the_first_row(S, k, v, beta):
    U = wy_u(k, v, beta)
    return S + torch.cat([U[:1] - beta[:1, None] * (k[:1] @ S.mT), U[1:]]).mT @ k


exercise(
    id="5.5", title="Find the bug: a memory that was not empty", kind="bug", stars=2, minutes=15, equations=("5.5",),
    reference=state_after, alternatives=(state_by_loop, state_by_writes, state_by_product),
    cases=cases("S k v beta", T=(1, 2, 6), betas=("random", "large")),
    mutants={
        "lets the old memory through unchanged": Mistake(
            lambda S, k, v, beta: S + wy_u(k, v, beta).mT @ k,
            "U is what a memory that started *empty* receives. An old memory S₀ also passes through the C erasures, "
            "and comes out as S₀ P_C.",
            "eq. 5.5", next="Which recurrence gives you P_C without a K × K product?"),
        "exchanges W and K": Mistake(
            lambda S, k, v, beta: S - S @ k.mT @ wy_w(k, beta) + wy_u(k, v, beta).mT @ k,
            "S (I − KᵀW) is the product in the opposite order, M_C … M₁. Keys stand on the right, where the next token "
            "meets them: I − WᵀK.",
            "eq. 5.2", next="For which C can the two not be told apart?"),
        "adds where it should erase": Mistake(
            lambda S, k, v, beta: S + S @ wy_w(k, beta).mT @ k + wy_u(k, v, beta).mT @ k,
            "The sign of WᵀK is wrong: P_C = I − WᵀK, and erasing takes away.", "eq. 5.2"),
        "erases with all raw keys at once": Mistake(
            lambda S, k, v, beta: S - S @ (beta[:, None] * k).mT @ k + wy_u(k, v, beta).mT @ k,
            "β_t k_t in the place of w_t erases a repeated key again and again. w_t holds only what is still left to "
            "erase.", "eq. 5.3",
            next="What is w₂ when both keys are equal and β = 1?"),
        "lets every token erase at full strength": Mistake(
            lambda S, k, v, beta: S + (wy_u(k, v, beta) - k @ S.mT).mT @ k,
            "k_t in the place of w_t: every key erases the old memory at once, without β_t and without regard to what "
            "others have erased.", "eq. 5.6",
            next="Which vector stands beside u_t in u_t − S₀ w_t?"),
        "loses the old memory itself": Mistake(
            lambda S, k, v, beta: wy_u(k, v, beta).mT @ k - S @ wy_w(k, beta).mT @ k,
            "S₀ (I − WᵀK) is S₀ − S₀WᵀK: the first of the two is missing.", "eq. 5.5"),
        "starts from an empty memory": Mistake(lambda S, k, v, beta: wy_u(k, v, beta).mT @ k,
            "The old memory is gone altogether. What the erasures leave of it, S₀ P_C, is still there at the end.",
            "eq. 5.5"),
        "takes what is erased for what is left": Mistake(
            lambda S, k, v, beta: S @ wy_w(k, beta).mT @ k + wy_u(k, v, beta).mT @ k,
            "S₀WᵀK is what the erasures take *away* from the old memory. What they leave is S₀ minus this.", "eq. 5.5"),
        "lets only the first token look at the old memory": Mistake(
            lambda S, k, v, beta: S + wy_u(k, torch.cat([v[:1] - k[:1] @ S.mT, v[1:]]), beta).mT @ k,
            "Token 1 takes off what the old memory says for its key. The other keys hear the old memory too, in what "
            "the tokens before them have left of it.", "eq. 5.6", next="What is w_t for the later tokens?"),
        "corrects the first row of U only": Mistake(corrects_the_first_row,
            "Only the first row of U has become u_t − S₀ w_t. Every token hears the old memory, the later ones in what "
            "the tokens before them have left of it.", "eq. 5.6", next="What is w_t for the later tokens?"),
        "lets all tokens look at the old memory": Mistake(
            lambda S, k, v, beta: S + (beta[:, None] * (v - k @ S.mT)).mT @ k,
            "Every token corrects against S₀, as at the start of the lesson. It has to see what the earlier ones "
            "write.",
            "eq. 5.6", next="What do U and W have that β v and β k lack?"),
        "uses W for all keys": Mistake(
            lambda S, k, v, beta: S + (wy_u(k, v, beta) - wy_w(k, beta) @ S.mT).mT @ wy_w(k, beta),
            "What is written lies along the keys as they came: Kᵀ at the end, of UᵀK and of SWᵀK alike.", "eq. 5.6"),
        "uses W in both places": Mistake(
            lambda S, k, v, beta: S - S @ wy_w(k, beta).mT @ wy_w(k, beta) + wy_u(k, v, beta).mT @ k,
            "P_C = I − WᵀK: the right factor are the keys as they came.", "eq. 5.2"),
        "shrinks the old memory as a whole": Mistake(
            lambda S, k, v, beta: S * (1 - beta).prod() + wy_u(k, v, beta).mT @ k,
            "The erasures act along the keys only. What is across all of them stays as it is.", "eq. 5.5"),
        "loses the new writes": Mistake(
            lambda S, k, v, beta: S - S @ wy_w(k, beta).mT @ k,
            "The old memory is treated right, but what the tokens write, UᵀK, is gone.", "eq. 5.5"),
        "erases the new writes as well": Mistake(
            lambda S, k, v, beta: (S + wy_u(k, v, beta).mT @ k) @ householder_product(k, beta),
            "U already accounts for every erasure that follows a write. Only the *old* memory is multiplied by P_C.",
            "eq. 5.5"),
        "takes the old memory off twice": Mistake(
            lambda S, k, v, beta: state_after(S, k, v - k @ S.mT, beta),
            "Two repairs at once. Values without what the old memory says, v_t − S₀k_t, make a U that holds the −S₀w_t "
            "of every token already, and − S₀WᵀK takes it off again.", "eq. 5.6", next="Keep one of the two."),
        "writes raw values": Mistake(
            lambda S, k, v, beta: S @ householder_product(k, beta) + (beta[:, None] * v).mT @ k,
            "The old memory is treated right, but β_t v_t is written instead of u_t: what earlier tokens wrote is not "
            "corrected.", "eq. 5.4"),
    },
    hints=("Run it with an empty memory, then with k, v of one token. Which of the two is wrong?",
           "One token: S₁ = S₀ (I − β₁k₁k₁ᵀ) + β₁v₁k₁ᵀ. Which part of it does the function lack?",
           "Subtract `S @ W.mT @ k`, with `W = wy_w(k, beta)`."),
)


# -- 5.6 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="5.6", title="When the loop is cheaper", kind="predict", stars=2, minutes=10, equations=("5.4",),
    reference=130,
    working=(by_hand.tokens_until_the_loop_is_cheaper,),
    mutants={
        "gives the head width": Mistake(64,
            "64 is the head width. With 64 earlier tokens *one* token costs 2KV, as a step of the loop does; and so "
            "does a token on average, if the sum is taken to be T². It is T (T − 1) / 2."),
        "has half the length": Mistake(66,
            "Three ways lead to 66: the *last* token alone costs more than 2KV there, but the question is about the "
            "sum; T (T − 1) for the sum, which lacks its half; or KV for a step of the loop, which reads and writes.",
            next="Sum (t − 1)(K + V) over t = 1 … T."),
        "has one too few": Mistake(129,
            "At T = 129 the two are exactly equal, and the question asks for *more*. Or the sum is taken to be T² / 2: "
            "it is T (T − 1) / 2, for the first token has no earlier one."),
        "has one or two too few": Mistake(128,
            "0 + 1 + … + (T − 1) is T (T − 1) / 2. One gets 128 from T (T + 1) / 2, which charges each token for "
            "itself, from T² / 2 at a draw, or by stopping at T − 1 = 128.",
            next="Token t has t − 1 earlier ones, the first has none."),
        "charges an earlier token KV": Mistake(6,
            "An earlier token costs a dot product of length K and a scaled vector of length V: K + V multiplications, "
            "not KV."),
        "charges an earlier token KV, and stops at a draw": Mistake(5,
            "An earlier token costs a dot product of length K and a scaled vector of length V: K + V multiplications, "
            "not KV; and the question asks for *more*."),
        "has half the length, or one less": Mistake(65,
            "Two ways lead to 65: T² for the sum, which counts every token with every other, later ones included; or "
            "a draw of the *last* token with a step of the loop, where the question is about the sum.",
            next="Sum (t − 1)(K + V) over t = 1 … T."),
        "takes 6KV for a step of the loop": Mistake(386,
            "6KV are the FLOPs of a whole step, additions and the read of the output included. Here multiplications "
            "count, and a step pays 2KV: KV to read S k_t, KV to write."),
        "takes 6KV for a step of the loop, and stops at a draw": Mistake(385,
            "6KV are the FLOPs of a whole step, additions and the read of the output included. Here multiplications "
            "count, and a step pays 2KV; and the question asks for *more*."),
        "has three too few": Mistake(127,
            "One gets 127 from T (T + 1) / 2 at a draw, or from T − 1 > 128 with the 1 taken off once more: T is more "
            "than 128 *plus* 1. The sum is T (T − 1) / 2, and the question asks for *more*."),
        "takes the crossing of the lesson's picture": Mistake(85,
            "The package's function computes all T² overlaps at once, those with later tokens included, so its lines "
            "cross earlier. Here only overlaps with earlier tokens are paid for."),
        "takes the token after the crossing of the lesson's picture": Mistake(86,
            "The package's function computes all T² overlaps at once, those with later tokens included, so its lines "
            "cross earlier. Here only overlaps with earlier tokens are paid for."),
        "has twice the length, and stops at a draw": Mistake(257,
            "An earlier token costs a dot product of length K *and* a scaled vector of length V, a step of the loop "
            "2KV without additions: one side is off by a factor of 2. And the question asks for *more*."),
        "has twice the length": Mistake(258,
            "Two ways lead to 258: only one of K and V for an earlier token, which costs a dot product of length K "
            "*and* a scaled vector of length V; or 4KV for a step of the loop, its additions included."),
    },
    hints=("The loop costs 2KV per token, whatever t is.",
           "Token t of the recurrence costs (t − 1)(K + V); sum it over t = 1 … T.",
           "T (T − 1)(K + V) / 2 > 2KV T. Cancel T, and set K = V = 64."),
    why="T (T − 1) / 2 · 128 > 8192 T means T − 1 > 128: in general, a little over twice the head width.",
)
