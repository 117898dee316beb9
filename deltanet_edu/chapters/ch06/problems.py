"""The exercises of chapter 6, in order: each with its solutions, mistakes and hints. 6.8 is in lapack.py."""

import math

import torch

from ...ops.delta_rule.householder import (inverse_by_substitution, ut_by_blocks, ut_by_solve, ut_by_substitution,
                                           ut_system, wy_u, wy_w)
from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first
from .. import by_hand
from ..common import KEYS, cases, eye_like

BETAS = ("random", "zero", "large")


def triangles(g):
    """A strictly lower triangular A as the only argument: easy ones, those of real keys, and any numbers."""
    made = [Case((torch.tensor(A, dtype=torch.float64),), f"easy numbers, C = {len(A)}")
            for A in ([[0.0]], [[0.0, 0.0], [0.5, 0.0]], [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 2.0, 0.0]])]
    for C in (2, 3, 5, 8):
        any_numbers = torch.randn(C, C, generator=g, dtype=torch.float64).mul(10).round().div(10).tril(-1)
        made.append(Case((any_numbers,), f"any numbers, C = {C}"))
    for case in delta_inputs(g, "k beta", T=(4, 7), keys=KEYS):
        made.append(Case((ut_system(*case.args),), f"{case.note.split(',')[0]}, C = {len(case.args[0])}"))
    return smallest_first(made)


# -- 6.1 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="6.1", title="One entry of UT by hand", kind="predict", stars=1, minutes=8, equations=("6.2", "6.3", "6.7"),
    reference=-0.108, givens={"β₁": 0.5},
    working=(by_hand.entry_of_UT,),
    mutants={
        "does not scale by β₁": Mistake(-0.216,
            "−0.216 is the entry of (I + A)⁻¹. UT has diag(β) on its right: column 1 is scaled by β₁ = 0.5.",
            "eq. 6.3"),
        "takes the direct path only, and forgets β₁": Mistake(-0.6,
            "Token 1 also reaches token 3 by way of token 2; and column 1 of UT is scaled by β₁ = 0.5.", "eq. 6.7"),
        "takes the detour only, and forgets β₁": Mistake(0.384,
            "There is also the direct path, one hop, −A₃₁; and column 1 of UT is scaled by β₁ = 0.5.", "eq. 6.7"),
        "adds both paths with one sign, and forgets β₁": Mistake(-0.984,
            "Each hop contributes a factor −A, so two hops make a plus; and column 1 of UT is scaled by β₁ = 0.5.",
            "eq. 6.7"),
        "gives A₃₁": Mistake(0.6,
            "That is what token 3 sees of token 1. UT is an *inverse*: each hop counts −A, detours count, and β₁ "
            "scales it.", "eq. 6.7"),
        "takes the direct path only": Mistake(-0.3,
            "Token 1 also reaches token 3 by way of token 2: it changes what token 2 writes.", "eq. 6.7",
            next="What is A₃₂ A₂₁, and with which sign does a path of two hops count?"),
        "takes the detour only": Mistake(0.192,
            "The keys of tokens 1 and 3 overlap too, so there is also the direct path, one hop, −A₃₁.", "eq. 6.7"),
        "adds both paths with one sign": Mistake(-0.492,
            "Each hop contributes a factor −A. Two hops make a plus.", "eq. 6.7"),
        "gives the bound": Mistake(0.5,
            "0.5 is β₃β₁, the largest size that this entry can have with unit keys. The paths say what it is.",
            "eq. 6.7"),
        "gives the bound, with a minus": Mistake(-0.5,
            "0.5 is β₃β₁, the largest size that this entry can have with unit keys. The paths say what it is.",
            "eq. 6.7"),
        "gives zero": Mistake(0.0,
            "Zeros stand *above* the diagonal, as in row 1, column 3. T₃₁ stands in row 3, column 1.", "eq. 6.7",
            next="Which paths lead from token 1 to token 3?"),
        "has the opposite sign": Mistake(0.108,
            "The size is right. The direct path, one hop, counts −0.3, and the detour, two hops, +0.192.", "eq. 6.7"),
        "inverts I − A": Mistake(0.492,
            "In (I − A)⁻¹ every path counts plus. u₃ *subtracts* what the memory says, so each hop brings a minus.",
            "eq. 6.1"),
        "has the detour twice as large": Mistake(0.084,
            "The detour should be A₃₂A₂₁β₁ = 0.96 · 0.4 · 0.5 = 0.192; yours is 0.384. Either A₂₁ = β₂ k₂ᵀk₁ lacks its "
            "β₂, or the path lacks β₁.", "eq. 6.2"),
        "scales the detour only by β₁": Mistake(-0.408,
            "Your detour is 0.192, as it should be. The direct path, −0.6, is scaled by β₁ as well.", "eq. 6.3"),
        "has a β too many, or in the wrong place": Mistake(-0.054,
            "That is half of it. Either β₁ counts twice, or A is scaled by the β of its columns. A row is scaled by "
            "its own β_t, and β₁ comes in once, at the end.", "eq. 6.2"),
    },
    hints=("First A: A₂₁ = 0.5 · 0.8, A₃₁ = 0.6, A₃₂ = 0.96.",
           "There are two paths from token 1 to token 3: directly, and by way of token 2.",
           "(I + A)⁻¹ has −A₃₁ + A₃₂A₂₁ in that place. Then scale by β₁."),
    why="−A₃₁ + A₃₂A₂₁ = −0.6 + 0.96 · 0.4 = −0.216, and β₁ = 0.5 makes it −0.108.",
)


# -- 6.2 ---------------------------------------------------------------------------------------------------------------

def system(k, beta):
    return (beta[:, None] * (k @ k.mT)).tril(-1)


def system_by_loop(k, beta):
    A = torch.zeros(len(k), len(k), dtype=k.dtype)
    for t in range(len(k)):
        for i in range(t):
            A[t, i] = beta[t] * (k[t] @ k[i])
    return A


def system_by_mask(k, beta):
    t = torch.arange(len(k))
    return torch.where(t[:, None] > t, torch.einsum("t,td,id->ti", beta, k, k), 0.0)


exercise(
    id="6.2", title="The matrix A", kind="code", stars=1, minutes=8, equations=("6.2",),
    reference=system, alternatives=(ut_system, system_by_loop, system_by_mask),
    cases=cases("k beta", betas=BETAS),
    mutants={
        "scales the columns": Mistake(lambda k, beta: (k @ k.mT * beta).tril(-1),
            "diag(β) stands on the *left*: row t is scaled by β_t, the strength of the token that corrects itself.",
            "eq. 6.2",
            next="Which token's β stands before the bracket in eq. 5.4?"),
        "keeps the diagonal": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).tril(),
            "`tril()` keeps the diagonal: token t would correct itself by its own write. Strictly lower is `tril(-1)`.",
            "eq. 6.2"),
        "keeps the upper triangle": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).triu(1),
            "The later token is the row: entries with i < t lie *below* the diagonal. Yours lets tokens see the "
            "future.", "eq. 6.2"),
        "forgets β": Mistake(lambda k, beta: (k @ k.mT).tril(-1),
            "The overlaps are right, but row t must be scaled by β_t.", "eq. 6.2"),
        "has the opposite sign": Mistake(lambda k, beta: -ut_system(k, beta),
            "A itself has a plus. The minus appears when it moves to the other side: u = βv − Au, hence (I + A)u = βv.",
            "eq. 6.1"),
        "keeps one diagonal too many": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).tril(1),
            "`tril(1)` keeps the diagonal and the one above it. Strictly lower is `tril(-1)`.", "eq. 6.2"),
        "drops the diagonal below the main one as well": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).tril(-2),
            "`tril(-2)` loses what each token sees of the one just before it. Strictly lower is `tril(-1)`.",
            "eq. 6.2"),
        "masks nothing": Mistake(lambda k, beta: beta[:, None] * (k @ k.mT),
            "Without a mask tokens are corrected by themselves and by later ones. Only what lies below the diagonal "
            "stays.", "eq. 6.2"),
        "divides by the root of the key width": Mistake(lambda k, beta: ut_system(k, beta) / k.shape[1] ** 0.5,
            "There is no scale in A: the overlap is k_tᵀk_i as it is. 1/√K belongs to softmax attention.", "eq. 6.2"),
        "masks the keys, not their overlaps": Mistake(lambda k, beta: (beta[:, None] * k).tril(-1) @ k.mT,
            "The mask belongs on K Kᵀ, whose entries are pairs of tokens. In K it deletes entries of the keys, and all "
            "pairs stay.", "eq. 6.2"),
        "masks the keys of the columns, not the overlaps": Mistake(
            lambda k, beta: beta[:, None] * k @ k.tril(-1).mT,
            "The mask belongs on K Kᵀ, whose entries are pairs of tokens. In K it deletes entries of the keys, and all "
            "pairs stay.", "eq. 6.2"),
        "adds the identity": Mistake(lambda k, beta: eye_like(beta) + ut_system(k, beta),
            "That is I + A, the matrix of the system. A itself has zeros on its diagonal.", "eq. 6.1"),
        "normalizes the keys": Mistake(
            lambda k, beta: ut_system(torch.nn.functional.normalize(k, dim=-1), beta),
            "The overlap is k_tᵀk_i of the keys as they come. Normalizing is the layer's business, before this."),
        "overlaps features, not tokens": Mistake(lambda k, beta: ((beta[:, None] * k).mT @ k).tril(-1),
            "Kᵀ K is (K, K): it sums over tokens. Tokens are rows of K, so their overlaps are K Kᵀ, (C, C).",
            "eq. 6.2"),
        "multiplies β in on both sides": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT) * beta).tril(-1),
            "β_t once, of the row. β_i of the earlier token is already inside its u_i.", "eq. 6.2"),
    },
    hints=("One matrix product gives all overlaps at once.",
           "Row t is scaled by β_t: `beta[:, None] * ...`.",
           "`(beta[:, None] * (k @ k.mT)).tril(-1)`."),
)


# -- 6.3 ---------------------------------------------------------------------------------------------------------------

def UT_row_by_row(k, beta):
    A = ut_system(k, beta)                                               # (C, C)
    rows = torch.eye(len(k), dtype=k.dtype)                              # of (I + A)^-1; row t starts as e_t
    for t in range(1, len(k)):
        finished = A[t, :t] @ rows[:t]                                   # (C,)  what the finished rows contribute
        rows[t] = rows[t] - finished
    return rows * beta


def UT_by_inverse(k, beta):
    A = ut_system(k, beta)
    return torch.linalg.inv(eye_like(A) + A) @ torch.diag(beta)


def UT_by_columns(k, beta):
    A, UT = ut_system(k, beta), torch.diag(beta)
    for i in range(len(k)):                                              # finished rows push into later ones
        UT = UT - torch.outer(A[:, i], UT[i])
    return UT


def UT_by_rows(k, beta, row, scale=True):
    """Rows of (I + A)^-1 by `row(t, e_t, coefficients A[t, :t], finished rows)`, times diag(beta)."""
    A = ut_system(k, beta)
    rows = torch.zeros_like(A)
    for t, e_t in enumerate(eye_like(A)):
        rows[t] = row(t, e_t, A[t, :t], rows[:t])
    return rows * beta if scale else rows


def UT_scaled_in_the_loop(k, beta):
    rows = UT_by_rows(k, beta, lambda t, e, a, rows: beta[t] * (e - a @ rows) if t else e, False)
    rows[0] = beta[0] * rows[0]
    return rows


def UT_taken_off_all_rows(k, beta):
    A, rows = ut_system(k, beta), torch.eye(len(k), dtype=k.dtype)
    for t in range(1, len(k)):
        rows[:t + 1] = rows[:t + 1] - A[t, :t] @ rows[:t]
    return rows * beta


exercise(
    id="6.3", title="Row by row", kind="code", stars=2, minutes=15, equations=("6.3", "6.4"),
    reference=UT_row_by_row, alternatives=(ut_by_substitution, UT_by_inverse, UT_by_columns, ut_by_blocks),
    cases=cases("k beta", betas=BETAS),
    mutants={
        "leaves diag(β) out": Mistake(lambda k, beta: inverse_by_substitution(ut_system(k, beta)),
            "That is (I + A)⁻¹ alone. UT = (I + A)⁻¹ diag(β).", "eq. 6.3", next="With one token, what should UT be?"),
        "scales rows and columns": Mistake(
            lambda k, beta: beta[:, None] * inverse_by_substitution(ut_system(k, beta)) * beta,
            "diag(β) stands on the right of the inverse, once: it scales columns. The rows have their β inside A.",
            "eq. 6.3"),
        "multiplies β in twice": Mistake(lambda k, beta: ut_by_solve(k, beta) * beta,
            "`rows * beta` brings β once, and once is right.", "eq. 6.3"),
        "divides by β": Mistake(lambda k, beta: inverse_by_substitution(ut_system(k, beta)) / beta,
            "UT = (I + A)⁻¹ diag(β): multiply.", "eq. 6.3"),
        "adds diag(β)": Mistake(lambda k, beta: inverse_by_substitution(ut_system(k, beta)) + torch.diag(beta),
            "diag(β) is a factor, to the right of the inverse: it scales columns.", "eq. 6.3"),
        "transposes the inverse": Mistake(lambda k, beta: inverse_by_substitution(ut_system(k, beta)).mT * beta,
            "Row t belongs to the later token. Yours has the rows as columns.", "eq. 6.3"),
        "subtracts the wrong way round": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: a @ rows - e if t else e),
            "Row t is e_t *minus* what the finished rows contribute; yours is the opposite.", "eq. 6.4"),
        "keeps what should be taken off": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: a @ rows if t else e),
            "`finished` is what the rows above contribute. Row t is e_t *minus* this.", "eq. 6.4"),
        "scales the rows": Mistake(
            lambda k, beta: beta[:, None] * inverse_by_substitution(ut_system(k, beta)),
            "diag(β) stands on the right of the inverse, so it scales *columns*: column i by β_i.", "eq. 6.3",
            next="`rows * beta` and `rows * beta[:, None]`: which one scales columns?"),
        "adds the correction": Mistake(lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: e + a @ rows),
            "That inverts I − A. Row t of (I + A)(I + A)⁻¹ = I reads r_t + Σ A_ti r_i = e_t.", "eq. 6.4"),
        "corrects with rows of I": Mistake(
            lambda k, beta: (eye_like(beta) - ut_system(k, beta)) * beta,
            "Yours is I − A, the paths of one hop. Row t needs the *finished* rows r_i, which carry the longer paths.",
            "eq. 6.4",
            next="For three tokens, which entry differs?"),
        "forgets the row of I": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: (0 * e if t else e) - a @ rows),
            "Row t starts as e_t. Yours replaces it by the correction alone, so every 1 on the diagonal but the first "
            "is lost.", "eq. 6.4"),
        "scales each row once it is finished": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: beta[t] * (e - a @ rows) if t else e, False),
            "Rows above that already carry a β pass it on a second time: A has it. diag(β) comes last, and scales the "
            "columns.", "eq. 6.3"),
        "brings β into the sum a second time": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: e - beta[t] * (a @ rows)),
            "A has β_t already, unlike the sums of u and w. One more comes in by β_t before `finished`, or by rows "
            "that are scaled in the loop: row t is e_t − `finished`, and diag(β) scales the columns at the end.",
            "eq. 6.4"),
        "scales each row once it is finished, the first one at the end": Mistake(UT_scaled_in_the_loop,
            "Rows above that already carry a β pass it on a second time: A has it. diag(β) comes last, for all rows, "
            "and scales the columns.", "eq. 6.3"),
        "scales each row at once, and the columns": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: beta[t] * (e - a @ rows) if t else e),
            "The columns are right. But the rows take no β in the loop: A has it, and rows that carry one more pass it "
            "on.", "eq. 6.4"),
        "forgets to invert": Mistake(lambda k, beta: (eye_like(beta) + ut_system(k, beta)) * beta,
            "That is (I + A) diag(β). The inverse of I + A is asked for.", "eq. 6.3"),
        "takes it off the rows above as well": Mistake(UT_taken_off_all_rows,
            "`finished` belongs to row t alone. The rows above it are finished, and stay as they are.", "eq. 6.4"),
        "stops at the previous row": Mistake(
            lambda k, beta: UT_by_rows(k, beta, lambda t, e, a, rows: e - a[-1:] @ rows[-1:]),
            "The sum runs over *all* finished rows, not only the last one.", "eq. 6.4"),
    },
    hints=("If the rows above are finished, row t of (I + A)(I + A)⁻¹ = I has one unknown, r_t.",
           "r_t = e_t − Σ_{i<t} A_ti r_i, and the sum is there already: `finished`.",
           "`rows[t] = rows[t] - finished`, and at the end `return rows * beta`."),
)


# -- 6.4 ---------------------------------------------------------------------------------------------------------------

def inverse(A):
    rows = -A
    for i in range(1, len(A)):
        rows[i, :i] = rows[i, :i] + (rows[i, :, None] * rows[:, :i]).sum(-2)
    return rows + torch.eye(len(A), dtype=A.dtype)


def listing(A, sign=-1, inside=1, identity="after"):
    """The same loop with its signs, and the place of the identity, as parameters."""
    rows = sign * A
    if identity == "before":
        rows = rows + eye_like(A)
    for i in range(1, len(A)):
        rows[i, :i] = rows[i, :i] + inside * (rows[i, :, None] * rows[:, :i]).sum(-2)
    return rows + eye_like(A) if identity == "after" else rows


def inverse_by_library(A):
    return torch.linalg.inv(eye_like(A) + A)


exercise(
    id="6.4", title="Find the bug: a sign in the loop", kind="bug", stars=3, minutes=20, equations=("6.1", "6.4"),
    reference=inverse, alternatives=(inverse_by_library, inverse_by_substitution), cases=triangles,
    mutants={
        "inverts I − A": Mistake(lambda A: listing(A, sign=1),
            "The loop is consistent, but it inverts I − A. The delta rule needs (I + A)⁻¹: u_t *subtracts* what the "
            "memory already says.", "eq. 6.1",
            next="For C = 2, write down (I + A)⁻¹ and compare its lower left entry with rows[1, 0]."),
        "gives 2I − (I + A)⁻¹": Mistake(lambda A: listing(A, sign=1, inside=-1),
            "Below the diagonal yours is (I + A)⁻¹ with the opposite sign as a whole. One minus is needed, where "
            "`rows` starts, and it also turns the signs that the loop makes.", "eq. 6.4",
            next="Leave the loop and the last line as they were."),
        "counts every path minus": Mistake(lambda A: listing(A, sign=-1, inside=-1),
            "Yours is I − A − A² − A³ − …: every path counts minus. Each hop brings a minus, so two hops make a plus. "
            "One minus does both, where `rows` starts, if the loop adds and takes *its own* `rows`, not A, and the "
            "result has no minus before it.",
            "eq. 6.7"),
        "gives −(I − A)⁻¹": Mistake(lambda A: -listing(A, sign=1),
            "In yours the identity counts minus, and every path too. In (I + A)⁻¹ the identity counts plus, and so "
            "does each path of two hops.", "eq. 6.7",
            next="Where must a minus stand so that A has it once, and A² twice?"),
        "subtracts the identity": Mistake(lambda A: listing(A) - 2 * eye_like(A),
            "The loop ends with (I + A)⁻¹ − I. The identity is to be *added*.", "eq. 6.4"),
        "adds the identity twice": Mistake(lambda A: listing(A, identity="before") + eye_like(A),
            "The identity comes in once, at the end. Ones on the diagonal during the loop count each row twice.",
            "eq. 6.4"),
        "does nothing in the loop": Mistake(lambda A: eye_like(A) + A,
            "That is I + A, the matrix to be inverted.", "eq. 6.1"),
        "returns the identity": Mistake(eye_like,
            "Yours is I, whatever A is. A loop that *replaces* row i by the sum loses the direct hops, and with them "
            "all longer paths: the sum is added to the row.", "eq. 6.7"),
        "loses the identity": Mistake(lambda A: listing(A) - eye_like(A),
            "The loop computes (I + A)⁻¹ − I. The identity is still to be added.", "eq. 6.4"),
        "adds the identity before the loop": Mistake(lambda A: listing(A, identity="before"),
            "With ones on the diagonal the sum over j includes row i itself, which is then counted twice. Add the "
            "identity after the loop."),
        "stops at paths of two hops": Mistake(lambda A: eye_like(A) - A + A @ A,
            "I − A + A² is the beginning of a series. Between C tokens there are paths of up to C − 1 hops.",
            "eq. 6.6"),
        "returns the first-order term": Mistake(lambda A: eye_like(A) - A,
            "I − A holds the paths of one hop. The loop adds the longer ones.", "eq. 6.7"),
    },
    hints=("Take C = 2: the loop adds nothing there. What should rows[1, 0] be?",
           "(I + A)⁻¹ = I − A + A² − …: with which sign must `rows` start?",
           "`rows = -A`, and everything else stays."),
    why="With rows = −A at the start, row i becomes −A_i − Σ A_ij (r_j − e_j), which is eq. 6.4 without its identity.",
)


# -- 6.5 ---------------------------------------------------------------------------------------------------------------

def w_and_u(k, v, beta):
    UT = ut_by_solve(k, beta)                                            # (C, C)  (I + A)^-1 diag(beta)
    return UT @ k, UT @ v


def w_and_u_by_recurrence(k, v, beta):
    return wy_w(k, beta), wy_u(k, v, beta)


def w_and_u_by_one_solve(k, v, beta):
    A = ut_system(k, beta)
    both = torch.linalg.solve_triangular(A, beta[:, None] * torch.cat([k, v], -1), upper=False, unitriangular=True)
    return both[:, :k.shape[1]], both[:, k.shape[1]:]


def w_and_u_by(one, system=ut_system):
    """A wrong answer that makes W of the keys and U of the values in one way, `one(UT, (I + A)^-1, x, beta)`."""
    def f(k, v, beta):
        UT, inverse = ut_by_solve(k, beta), inverse_by_substitution(system(k, beta))
        return one(UT, inverse, k, beta[:, None]), one(UT, inverse, v, beta[:, None])
    return f


def twice(UT, inverse, x, beta):
    return UT @ (beta * x)


exercise(
    id="6.5", title="Find the bug: one β too many", kind="bug", stars=2, minutes=10, equations=("6.3",),
    reference=w_and_u, alternatives=(w_and_u_by_recurrence, w_and_u_by_one_solve), cases=cases("k v beta", betas=BETAS),
    mutants={
        "counts β twice": Mistake(w_and_u_by(twice),
            "UT already ends in diag(β), and `k_beta` brings it a second time. Each of the two is right with the other "
            "convention.", "eq. 6.3", next="With one token, what should W be?"),
        "inverts I − A": Mistake(
            w_and_u_by(lambda UT, inverse, x, beta: inverse @ (beta * x), system=lambda k, beta: -ut_system(k, beta)),
            "A comes in with a plus: (I + A)⁻¹. Later tokens see what earlier ones wrote, and take it out.", "eq. 6.1"),
        "repairs W only": Mistake(lambda k, v, beta: (wy_w(k, beta), w_and_u_by(twice)(k, v, beta)[1]),
            "W is right. U still counts β twice.", "eq. 6.3"),
        "repairs U only": Mistake(lambda k, v, beta: (w_and_u_by(twice)(k, v, beta)[0], wy_u(k, v, beta)),
            "U is right. W still counts β twice.", "eq. 6.3"),
        "leaves β out altogether": Mistake(w_and_u_by(lambda UT, inverse, x, beta: inverse @ x),
            "Neither the inverse nor K and V carry the β now. One of them must.", "eq. 6.3"),
        "scales the result": Mistake(w_and_u_by(lambda UT, inverse, x, beta: beta * (inverse @ x)),
            "diag(β) belongs between the inverse and K. On the left it scales the corrections of the later token a "
            "second time.", "eq. 6.3"),
        "takes β out of the system too": Mistake(
            w_and_u_by(lambda UT, inverse, x, beta: inverse @ (beta * x), system=lambda k, beta: (k @ k.mT).tril(-1)),
            "β now stands before K and V, once, as it may. But the A inside UT has lost it: A = stril(diag(β) K Kᵀ).",
            "eq. 6.2"),
        "divides one β out on the wrong side": Mistake(
            w_and_u_by(lambda UT, inverse, x, beta: twice(UT, inverse, x, beta) / beta),
            "Dividing rows by β does not undo a β that scaled columns, and with β = 0 it gives NaN. Do not multiply it "
            "in at all.", "eq. 6.3"),
        "divides β out of UT": Mistake(w_and_u_by(lambda UT, inverse, x, beta: UT @ (x / beta)),
            "k / β takes out the one β that belongs there, the one inside UT: now there is none, and β = 0 gives NaN. "
            "Divide nothing: UT @ k has one β.", "eq. 6.3"),
        "divides β out again": Mistake(w_and_u_by(lambda UT, inverse, x, beta: (UT / beta[:, 0]) @ (beta * x)),
            "That is right as long as no β is zero, and NaN where one is. Do not multiply the second β in at all.",
            "eq. 6.3"),
        "moves the second β to the left": Mistake(w_and_u_by(lambda UT, inverse, x, beta: beta * (UT @ x)),
            "UT has its β already. Scaling the rows of UT @ k is one more, only at another place.", "eq. 6.3",
            next="With one token, what should W be?"),
        "shares β between both sides": Mistake(
            lambda k, v, beta: w_and_u_by(twice)(k, v, beta.sqrt()),
            "√β times √β is β, before K and V. But the A inside UT has only one of them: it needs the whole of β.",
            "eq. 6.2", next="Keep UT as it is, and leave the other β out."),
        "stops after one correction": Mistake(
            lambda k, v, beta: tuple((eye_like(beta) - ut_system(k, beta)) @ (beta[:, None] * x) for x in (k, v)),
            "I − A is the beginning of (I + A)⁻¹, the paths of one hop. From the third token on there are longer ones.",
            "eq. 6.7"),
        "leaves UT out": Mistake(w_and_u_by(lambda UT, inverse, x, beta: beta * x),
            "Without UT no token corrects for what earlier ones have written. Keep UT, and leave the other β out.",
            "eq. 6.3"),
        "leaves UT and β out": Mistake(lambda k, v, beta: (k, v),
            "These are the raw keys and values. UT belongs before both of them.", "eq. 6.3"),
        "transposes UT": Mistake(w_and_u_by(lambda UT, inverse, x, beta: UT.mT @ x),
            "Row t of UT belongs to token t, with the weights of the tokens up to t. In the transpose, early tokens "
            "correct for later ones.", "eq. 6.3"),
        "returns U before W": Mistake(lambda k, v, beta: w_and_u(k, v, beta)[::-1],
            "Both are right, in the wrong order: first W, (C, K), then U, (C, V).", "eq. 6.3"),
    },
    hints=("Set C = 1. UT is then β₁, and W should be β₁k₁.",
           "There are two conventions: UT with diag(β) and plain K, V; or (I + A)⁻¹ without it, and scaled K, V.",
           "Keep `UT = ut_by_solve(k, beta)`, and return `UT @ k, UT @ v`."),
)


# -- 6.6 ---------------------------------------------------------------------------------------------------------------

block_lines = order_the_lines(
    {
        "A": "corner = -bottom @ A[h:, :h] @ top",
        "B": "whole[:h, :h], whole[h:, h:], whole[h:, :h] = top, bottom, corner",
        "C": "h = C // 2",
        "D": "return whole",
        "E": "whole = torch.zeros_like(A)",
        "F": "top, bottom = inverse(A[:h, :h]), inverse(A[h:, h:])",
    },
    "def inverse(A):\n    C = len(A)\n    if C == 1:\n        return torch.ones_like(A)", "inverse",
    distractors={
        "G": "corner = -top @ A[h:, :h] @ bottom",
        "H": "corner = bottom @ A[h:, :h] @ top",
        "I": "corner = -A[h:, :h]",
    },
)


def inverse_with_corner(A, corner):
    C = len(A)
    if C == 1:
        return torch.ones_like(A)
    h, whole = C // 2, torch.zeros_like(A)
    top, bottom = inverse_with_corner(A[:h, :h], corner), inverse_with_corner(A[h:, h:], corner)
    whole[:h, :h], whole[h:, h:], whole[h:, :h] = top, bottom, corner(A[h:, :h], top, bottom)
    return whole


exercise(
    id="6.6", title="Inverse by halves", kind="order", stars=2, minutes=10, equations=("6.5",),
    reference="CFAEBD", alternatives=(inverse_by_library, inverse_by_substitution),
    prepare=block_lines, cases=triangles,
    mutants={
        "has the wrong sign in the corner": Mistake("CFHEBD",
            "The corner is *minus* `bottom @ A₂₁ @ top`: below the diagonal, I + A times its inverse must come out as "
            "zero.", "eq. 6.5",
            next="For C = 2 the corner is one number. Which sign has it?"),
        "multiplies the blocks in the wrong order": Mistake("CFGEBD",
            "A₂₁ leads from the top half to the bottom half: first through `top`, on the right, and then through "
            "`bottom`, on the left.", "eq. 6.5",
            next="If C is odd the shapes do not even fit."),
        "forgets what happens inside the halves": Mistake("CFIEBD",
            "−A₂₁ is the direct hop from one half to the other. Paths also take hops within the halves, before and "
            "after.", "eq. 6.5"),
        "never fills the result": Mistake("CFAED",
            "`whole` stays as E makes it, full of zeros: B puts the two halves and the corner where they belong.",
            "eq. 6.5"),
        "returns nothing": Mistake("CFAEB", "Without D the function ends with nothing to give back.",
            next="Which line can only be the last?"),
        "leaves the corner empty": Mistake(lambda A: inverse_with_corner(A, lambda A21, top, bottom: 0 * A21),
            "Without its corner the two halves know nothing of each other.", "eq. 6.5"),
        "applies only the lower half": Mistake(lambda A: inverse_with_corner(A, lambda A21, top, bottom: -bottom @ A21),
            "The corner passes through both halves: `top` is missing on the right.", "eq. 6.5"),
        "applies only the upper half": Mistake(lambda A: inverse_with_corner(A, lambda A21, top, bottom: -A21 @ top),
            "The corner passes through both halves: `bottom` is missing on the left.", "eq. 6.5"),
    },
    hints=("Three of the lines compute a corner that is wrong. Multiply I + A with its inverse to see which one is "
           "right.",
           "The lower left block of that product is A₂₁ × top + (I + A₂₂) × corner, and it must be zero.",
           "The order starts C, F, A."),
)


# -- 6.7 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="6.7", title="How many paths?", kind="predict", stars=2, minutes=8, equations=("6.7",),
    reference=2**38, tolerance=0,                                        # 2^38 - 1 is another answer
    working=(by_hand.paths,),
    mutants={
        "counts one end as a choice": Mistake(2**39,
            "Between tokens 1 and 40 there are 38 others, 40 − 1 − 1. The end of the path is not a choice, and neither "
            "is its start.",
            next="Which tokens may a path visit or skip?"),
        "counts the paths to all later tokens": Mistake(2**39 - 1,
            "1 + 2 + 4 + ... + 2^38 are the paths from token 1 to any later token. Only those that end at token 40 "
            "count, the last term."),
        "counts both ends as choices": Mistake(2**40,
            "Every path starts at token 1 and ends at token 40: those two are fixed.",
            next="Which tokens may a path visit or skip?"),
        "counts the tokens in between": Mistake(38,
            "There are 38 tokens in between, and each of them can be visited or skipped.",
            next="How many ways are there to choose?"),
        "counts hops, or how many hops there can be": Mistake(39,
            "A path has from 1 to 39 hops. One path has 39 of them, and one has 1; of every number in between there "
            "are many.", next="How many paths have two hops?"),
        "leaves one token in between out": Mistake(2**37,
            "Between token 1 and token 40 there are 38 tokens, 2 to 39.", next="Try token 1 to token 3 first."),
        "counts all tokens, or lengths": Mistake(40,
            "40 is how many tokens there are, and how many terms the series (6.6) has. Each token in between is "
            "visited or not.",
            next="How many ways are there to choose?"),
        "counts the factors of the series": Mistake(6,
            "(6.6) has six factors for 40 tokens. Multiplied out they are one sum over hops, and each power of A holds "
            "many paths.", "eq. 6.6", next="How many ways are there to choose the stops?"),
        "stops at paths of three hops": Mistake(1 + 38 + math.comb(38, 2),
            "742 = 1 + 38 + 703 are the paths with no stop, one stop, or two. A path may stop at any number of the "
            "tokens in between, up to all 38.", "eq. 6.7"),
        "counts pairs of the tokens but one": Mistake(math.comb(39, 2),
            "741 is the number of pairs among 39 tokens. A path is a whole chain of hops."),
        "counts pairs of tokens": Mistake(math.comb(40, 2),
            "780 is the number of pairs among 40 tokens, that is, of possible hops. A path is a whole chain of hops."),
        "counts paths with two stops": Mistake(math.comb(38, 2),
            "703 is the number of ways to stop at two of the 38 tokens in between. A path may stop at any number of "
            "them."),
        "counts paths with 19 stops": Mistake(math.comb(38, 19),
            "That is the number of ways to stop at exactly 19 of the 38 tokens in between. A path may stop at any "
            "number of them."),
        "lets paths cancel": Mistake(0,
            "What the paths contribute may cancel, by its signs. The question is how many paths there are."),
        "counts orders": Mistake(math.factorial(38),
            "A path only goes forward, so the tokens that it visits have one order. What is to choose is *which* it "
            "visits."),
        "forgets the direct path": Mistake(2**38 - 1,
            "The set of stops may be empty: that is the direct hop from token 1 to token 40, and it counts."),
    },
    hints=("Try token 1 to token 3, then to token 4, and write all paths down.",
           "A path is decided by which of the tokens in between it visits.",
           "Each of the 38 tokens between is visited or not."),
    why="2³⁸, about 275 billion: one for each subset of the 38 tokens in between.",
)
