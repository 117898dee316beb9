"""The exercises of chapter 6, in order: each with its solutions, mistakes and hints."""


import torch

from ...ops.delta_rule import householder
from ...ops.delta_rule.householder import ut_by_solve, ut_system
from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first
from ..common import KEYS, cases, eye_like, lapack_cases, lapack_keys

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


# -- 6.1 -----------------------------------------------------------------------------------------------------------------

exercise(
    id="6.1", title="One entry of T by hand", kind="predict", stars=1, minutes=8, equations=("6.2", "6.3", "6.7"),
    reference=-0.108, tolerance=1e-4,
    mutants={
        "forgets diag(β)": Mistake(-0.216,
            "−0.216 is the entry of (I + A)⁻¹. T has diag(β) on its right: column 1 is scaled by β₁ = 0.5.", "eq. 6.3"),
        "takes the direct path only": Mistake(-0.3,
            "Token 1 also reaches token 3 by way of token 2: it changes what token 2 writes.", "eq. 6.7",
            next="What is A₃₂ A₂₁, and with which sign does a path of two hops count?"),
        "takes the detour only": Mistake(0.192,
            "The keys of tokens 1 and 3 overlap too, so there is also the direct path, one hop, −A₃₁.", "eq. 6.7"),
        "adds both paths with one sign": Mistake(-0.492,
            "Each hop contributes a factor −A. Two hops make a plus.", "eq. 6.7"),
        "flips every sign": Mistake(0.108,
            "You computed with I − A: a path of one hop counts *minus* A₃₁.", "eq. 6.1",
            next="What must be added to u₃ to give β₃v₃: what the memory says, or its opposite?"),
        "forgets β in A₂₁": Mistake(0.084,
            "The detour is A₃₂A₂₁ with A₂₁ = β₂ k₂ᵀk₁ = 0.4. You took the overlap alone, 0.8.", "eq. 6.2"),
        "scales A by the β of the column": Mistake(-0.054,
            "In A the row is scaled: A_ti = β_t k_tᵀk_i. β says how strongly the *later* token corrects.", "eq. 6.2"),
    },
    hints=("First A: A₂₁ = 0.5 · 0.8, A₃₁ = 0.6, A₃₂ = 0.96.",
           "There are two paths from token 1 to token 3: directly, and by way of token 2.",
           "(I + A)⁻¹ has −A₃₁ + A₃₂A₂₁ in that place. Then scale by β₁."),
    why="−A₃₁ + A₃₂A₂₁ = −0.6 + 0.96 · 0.4 = −0.216, and β₁ = 0.5 makes it −0.108.",
)


# -- 6.2 -----------------------------------------------------------------------------------------------------------------

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
            "diag(β) stands on the *left*: row t is scaled by β_t, the strength of the token that corrects itself.", "eq. 6.2",
            next="Which token's β stands before the bracket in eq. 5.4?"),
        "keeps the diagonal": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).tril(),
            "`tril()` keeps the diagonal: token t would correct itself by its own write. Strictly lower is `tril(-1)`.", "eq. 6.2"),
        "keeps the upper triangle": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT)).triu(1),
            "The later token is the row: entries with i < t lie *below* the diagonal. Yours lets tokens see the future.", "eq. 6.2"),
        "forgets β": Mistake(lambda k, beta: (k @ k.mT).tril(-1),
            "The overlaps are right, but row t must be scaled by β_t.", "eq. 6.2"),
        "has the opposite sign": Mistake(lambda k, beta: -ut_system(k, beta),
            "A itself has a plus. The minus appears when it moves to the other side: u = βv − Au, hence (I + A)u = βv.", "eq. 6.1"),
        "normalizes the keys": Mistake(
            lambda k, beta: ut_system(torch.nn.functional.normalize(k, dim=-1), beta),
            "The overlap is k_tᵀk_i of the keys as they come. Normalizing is the layer's business, before this."),
        "multiplies β in on both sides": Mistake(lambda k, beta: (beta[:, None] * (k @ k.mT) * beta).tril(-1),
            "β_t once, of the row. β_i of the earlier token is already inside its u_i.", "eq. 6.2"),
    },
    hints=("One matrix product gives all overlaps at once.",
           "Row t is scaled by β_t: `beta[:, None] * ...`.",
           "`(beta[:, None] * (k @ k.mT)).tril(-1)`."),
)


# -- 6.3 -----------------------------------------------------------------------------------------------------------------

def UT_row_by_row(k, beta):
    A = ut_system(k, beta)                                               # (C, C)
    X = torch.eye(len(k), dtype=k.dtype)                                 # row t starts as e_t
    for t in range(1, len(k)):
        finished = A[t, :t] @ X[:t]                                      # (C,)  what the finished rows contribute
        X[t] = X[t] - finished
    return X * beta


def T_by_inverse(k, beta):
    A = ut_system(k, beta)
    return torch.linalg.inv(eye_like(A) + A) @ torch.diag(beta)


def T_by_columns(k, beta):
    A, T = ut_system(k, beta), torch.diag(beta)
    for i in range(len(k)):                                              # column-oriented: finished rows push into later ones
        T = T - torch.outer(A[:, i], T[i])
    return T


def T_by_rows(k, beta, row):
    """Rows of (I + A)^-1 by `row(t, e_t, coefficients A[t, :t], finished rows)`, times diag(beta)."""
    A = ut_system(k, beta)
    X = torch.zeros_like(A)
    for t, e_t in enumerate(eye_like(A)):
        X[t] = row(t, e_t, A[t, :t], X[:t])
    return X * beta


exercise(
    id="6.3", title="Row by row", kind="code", stars=2, minutes=15, equations=("6.3", "6.4"),
    reference=UT_row_by_row, alternatives=(householder.ut_by_substitution, T_by_inverse, T_by_columns, householder.ut_by_blocks),
    cases=cases("k beta", betas=BETAS),
    mutants={
        "leaves diag(β) out": Mistake(lambda k, beta: householder.inverse_by_substitution(ut_system(k, beta)),
            "That is (I + A)⁻¹ alone. T = (I + A)⁻¹ diag(β).", "eq. 6.3", next="With one token, what should T be?"),
        "scales the rows": Mistake(
            lambda k, beta: beta[:, None] * householder.inverse_by_substitution(ut_system(k, beta)),
            "diag(β) stands on the right of the inverse, so it scales *columns*: column i by β_i.", "eq. 6.3",
            next="`X * beta` and `X * beta[:, None]`: which one scales columns?"),
        "adds the correction": Mistake(lambda k, beta: T_by_rows(k, beta, lambda t, e, a, X: e + a @ X),
            "That inverts I − A. Row t of (I + A) X = I reads X_t + Σ A_ti X_i = e_t.", "eq. 6.4"),
        "corrects with rows of I": Mistake(
            lambda k, beta: T_by_rows(k, beta, lambda t, e, a, X: e - a @ torch.eye(len(beta), dtype=k.dtype)[:t]),
            "Yours is I − A, the paths of one hop. Row t needs the *finished* rows X_i, which carry the longer paths.", "eq. 6.4",
            next="For three tokens, which entry differs?"),
        "forgets the row of I": Mistake(lambda k, beta: T_by_rows(k, beta, lambda t, e, a, X: (0 * e if t else e) - a @ X),
            "Row t starts as e_t. Yours replaces it by the correction alone, so every 1 on the diagonal but the first is lost.", "eq. 6.4"),
        "stops at the previous row": Mistake(lambda k, beta: T_by_rows(k, beta, lambda t, e, a, X: e - a[-1:] @ X[-1:]),
            "The sum runs over *all* finished rows, not only the last one.", "eq. 6.4"),
    },
    hints=("Row t of the identity (I + A) X = I has only one unknown row: X_t.",
           "X_t = e_t − Σ_{i<t} A_ti X_i, and the sum is one product: `A[t, :t] @ X[:t]`.",
           "`X[t] = I[t] - A[t, :t] @ X[:t]`, and at the end `return X * beta`."),
)


# -- 6.4 -----------------------------------------------------------------------------------------------------------------

def listing(A, sign=-1, inside=1, identity="after"):
    """The substitution loop in the style of the paper's listing, with its signs as parameters."""
    T = sign * A
    if identity == "before":
        T = T + eye_like(A)
    for i in range(1, len(A)):
        T[i, :i] = T[i, :i] + inside * (T[i, :, None] * T[:, :i]).sum(-2)
    return T + eye_like(A) if identity == "after" else T


def inverse(A):
    T = -A
    for i in range(1, len(A)):
        T[i, :i] = T[i, :i] + (T[i, :, None] * T[:, :i]).sum(-2)
    return T + torch.eye(len(A), dtype=A.dtype)


def inverse_by_library(A):
    return torch.linalg.inv(eye_like(A) + A)


exercise(
    id="6.4", title="Find the bug: a sign in the loop", kind="bug", stars=3, minutes=20, equations=("6.1", "6.4"),
    reference=inverse, alternatives=(inverse_by_library, householder.inverse_by_substitution), cases=triangles,
    mutants={
        "inverts I − A": Mistake(lambda A: listing(A, sign=1),
            "The loop is consistent, but it inverts I − A. The delta rule needs (I + A)⁻¹: u_t *subtracts* what the memory already says.", "eq. 6.1",
            next="For C = 2, write down (I + A)⁻¹ and compare its lower left entry with T[1, 0]."),
        "flips the sign inside the loop instead": Mistake(lambda A: listing(A, sign=1, inside=-1),
            "Now T ends as A − A² + …, which is I − (I + A)⁻¹: right up to a sign of the whole, so adding I gives 2I − (I + A)⁻¹.", "eq. 6.4",
            next="Flip the sign where T starts, and leave the loop alone."),
        "flips both signs": Mistake(lambda A: listing(A, sign=-1, inside=-1),
            "One of the two minus signs was needed, not both: longer paths now have the wrong sign.", "eq. 6.4"),
        "loses the identity": Mistake(lambda A: listing(A) - eye_like(A),
            "The loop computes (I + A)⁻¹ − I. The identity is still to be added.", "eq. 6.4"),
        "adds the identity before the loop": Mistake(lambda A: listing(A, identity="before"),
            "With ones on the diagonal the sum over j includes row i itself, which is then counted twice. Add the identity after the loop."),
        "returns the first-order term": Mistake(lambda A: eye_like(A) - A,
            "I − A holds the paths of one hop. The loop adds the longer ones.", "eq. 6.7"),
    },
    hints=("Take C = 2: the loop adds nothing there. What should T[1, 0] be?",
           "(I + A)⁻¹ = I − A + A² − …: in which sign must T start?",
           "`T = -A`, and everything else stays."),
    why="With T = −A at the start, row i becomes −A_i − Σ A_ij (X − I)_j, which is eq. 6.4 without its identity.",
)


# -- 6.5 -----------------------------------------------------------------------------------------------------------------

def w_and_u(k, v, beta):
    T = ut_by_solve(k, beta)                                             # (C, C)  (I + A)^-1 diag(beta)
    return T @ k, T @ v


def w_and_u_by_recurrence(k, v, beta):
    return householder.wy_w(k, beta), householder.wy_u(k, v, beta)


def w_and_u_by_one_solve(k, v, beta):
    A = ut_system(k, beta)
    X = torch.linalg.solve_triangular(A, beta[:, None] * torch.cat([k, v], -1), upper=False, unitriangular=True)
    return X[:, :k.shape[1]], X[:, k.shape[1]:]


def twice(x, T, beta):
    return T @ (beta[:, None] * x)


def with_T(answer):
    """Turn (T, k, v, beta) -> (W, U) into an answer of exercise 6.5."""
    return lambda k, v, beta: answer(ut_by_solve(k, beta), k, v, beta)


exercise(
    id="6.5", title="Find the bug: one β too many", kind="bug", stars=2, minutes=10, equations=("6.3",),
    reference=w_and_u, alternatives=(w_and_u_by_recurrence, w_and_u_by_one_solve), cases=cases("k v beta", betas=BETAS),
    mutants={
        "counts β twice": Mistake(with_T(lambda T, k, v, beta: (twice(k, T, beta), twice(v, T, beta))),
            "T already ends in diag(β), and `k_beta` brings it a second time. Each of the two is right with the other convention.", "eq. 6.3",
            next="With one token, what should W be?"),
        "repairs W only": Mistake(with_T(lambda T, k, v, beta: (T @ k, twice(v, T, beta))),
            "W is right. U still counts β twice.", "eq. 6.3"),
        "repairs U only": Mistake(with_T(lambda T, k, v, beta: (twice(k, T, beta), T @ v)),
            "U is right. W still counts β twice.", "eq. 6.3"),
        "leaves β out altogether": Mistake(
            lambda k, v, beta: tuple(householder.inverse_by_substitution(ut_system(k, beta)) @ x for x in (k, v)),
            "Neither T nor K and V carry the β now. One of them must.", "eq. 6.3"),
        "scales the result": Mistake(
            lambda k, v, beta: tuple(beta[:, None] * (householder.inverse_by_substitution(ut_system(k, beta)) @ x) for x in (k, v)),
            "diag(β) belongs between the inverse and K. On the left it scales the corrections of the later token a second time.", "eq. 6.3"),
        "takes β out of the system too": Mistake(
            lambda k, v, beta: tuple(householder.inverse_by_substitution(ut_system(k, torch.ones_like(beta))) @ (beta[:, None] * x) for x in (k, v)),
            "β now stands before K and V, once, as it may. But the A inside T has lost it: A = stril(diag(β) K Kᵀ).", "eq. 6.2"),
        "divides one β out on the wrong side": Mistake(
            with_T(lambda T, k, v, beta: tuple(twice(x, T, beta) / beta[:, None] for x in (k, v))),
            "Dividing rows by β does not undo a β that scaled columns, and with β = 0 it gives NaN. Do not multiply it in at all.", "eq. 6.3"),
        "divides β out of T": Mistake(with_T(lambda T, k, v, beta: tuple(T @ (x / beta[:, None]) for x in (k, v))),
            "k / β takes out the one β that belongs there, the one inside T: now there is none, and β = 0 gives NaN. Divide nothing: T @ k has one β.", "eq. 6.3"),
        "moves the second β to the left": Mistake(with_T(lambda T, k, v, beta: tuple(beta[:, None] * (T @ x) for x in (k, v))),
            "T has its β already. Scaling the rows of T K is one more, only at another place.", "eq. 6.3", next="With one token, what should W be?"),
        "leaves T out": Mistake(lambda k, v, beta: (beta[:, None] * k, beta[:, None] * v),
            "Without T no token corrects for what earlier ones have written. Keep T, and leave the other β out.", "eq. 6.3"),
        "transposes T": Mistake(with_T(lambda T, k, v, beta: (T.T @ k, T.T @ v)),
            "Row t of T belongs to token t, with the weights of the tokens up to t. In the transpose, early tokens correct for later ones.", "eq. 6.3"),
        "returns U before W": Mistake(lambda k, v, beta: w_and_u(k, v, beta)[::-1],
            "Both are right, in the wrong order: first W, (C, K), then U, (C, V).", "eq. 6.3"),
    },
    hints=("Set C = 1. T is then β₁, and W should be β₁k₁.",
           "There are two conventions: T with diag(β) and plain K, V; or T without it, and scaled K, V.",
           "Keep `T = ut_by_solve(k, beta)`, and return `T @ k, T @ v`."),
)


# -- 6.6 -----------------------------------------------------------------------------------------------------------------

block_lines = order_the_lines(
    {
        "A": "corner = -bottom @ A[h:, :h] @ top",
        "B": "X[:h, :h], X[h:, h:], X[h:, :h] = top, bottom, corner",
        "C": "h = C // 2",
        "D": "return X",
        "E": "X = torch.zeros_like(A)",
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
    h, X = C // 2, torch.zeros_like(A)
    top, bottom = inverse_with_corner(A[:h, :h], corner), inverse_with_corner(A[h:, h:], corner)
    X[:h, :h], X[h:, h:], X[h:, :h] = top, bottom, corner(A[h:, :h], top, bottom)
    return X


exercise(
    id="6.6", title="Inverse by halves", kind="order", stars=2, minutes=10, equations=("6.5",),
    reference="CFAEBD", alternatives=(inverse_by_library, householder.inverse_by_substitution), prepare=block_lines, cases=triangles,
    mutants={
        "has the wrong sign in the corner": Mistake("CFHEBD",
            "The corner is *minus* X₂₂ A₂₁ X₁₁: below the diagonal, (I + A) X must come out as zero.", "eq. 6.5",
            next="For C = 2 the corner is one number. Which sign has it?"),
        "multiplies the blocks in the wrong order": Mistake("CFGEBD",
            "A₂₁ leads from the top half to the bottom half: first through `top`, on the right, and then through `bottom`, on the left.", "eq. 6.5",
            next="If C is odd the shapes do not even fit."),
        "forgets what happens inside the halves": Mistake("CFIEBD",
            "−A₂₁ is the direct hop from one half to the other. Paths also take hops within the halves, before and after.", "eq. 6.5"),
        "never fills the result": Mistake("CFAED",
            "X stays as E makes it, full of zeros: B puts the two halves and the corner where they belong.", "eq. 6.5"),
        "leaves the corner empty": Mistake(lambda A: inverse_with_corner(A, lambda A21, top, bottom: 0 * A21),
            "Without its corner the two halves know nothing of each other.", "eq. 6.5"),
        "applies only the lower half": Mistake(lambda A: inverse_with_corner(A, lambda A21, top, bottom: -bottom @ A21),
            "The corner passes through both halves: X₁₁ is missing on the right.", "eq. 6.5"),
    },
    hints=("Three of the lines compute a corner that is wrong. Multiply (I + A) X out to see which one is right.",
           "The lower left block of (I + A) X is A₂₁X₁₁ + (I + A₂₂) × corner, and it must be zero.",
           "The order starts C, F, A."),
)


# -- 6.7 -----------------------------------------------------------------------------------------------------------------

exercise(
    id="6.7", title="How many paths?", kind="predict", stars=2, minutes=8, equations=("6.7",), reference=2**38, tolerance=0,
    mutants={
        "counts token 40 as a choice": Mistake(2**39, "The end of the path is not a choice, and neither is its start.",
            next="Which tokens may a path visit or skip?"),
        "counts both ends as choices": Mistake(2**40, "Every path starts at token 1 and ends at token 40: those two are fixed.",
            next="Which tokens may a path visit or skip?"),
        "counts the tokens in between": Mistake(38, "There are 38 tokens in between, and each of them can be visited or skipped.",
            next="How many ways are there to choose?"),
        "counts the hops of the longest path": Mistake(39, "39 is the largest number of hops. There is one such path, and many shorter ones."),
        "forgets the direct path": Mistake(2**38 - 1,
            "The set of stops may be empty: that is the direct hop from token 1 to token 40, and it counts."),
    },
    hints=("Try token 1 to token 3, then to token 4, and write all paths down.",
           "A path is decided by which of the tokens in between it visits.",
           "Each of the 38 tokens between is visited or not."),
    why="2³⁸, about 275 billion: one for each subset of the 38 tokens in between.",
)


# -- 6.8 -----------------------------------------------------------------------------------------------------------------

def lapack_T(a, tau):
    keys = a.tril(-1).mT + torch.eye(len(tau), len(a), dtype=a.dtype)    # (n, m)  tokens are rows
    return ut_by_solve(keys, tau).mT                                     # Q = I - K^T T^T K, and Y = K^T


def lapack_T_by_columns(a, tau):
    Y, n = lapack_keys(a).mT, len(tau)
    T = torch.diag(tau)
    for j in range(1, n):
        T[:j, j] = -tau[j] * (T[:j, :j] @ (Y[:, :j].mT @ Y[:, j]))
    return T


def lapack_T_by_upper_inverse(a, tau):
    Y = lapack_keys(a).mT
    upper = (Y.mT @ Y).triu(1)
    return torch.diag(tau) @ torch.linalg.inv(eye_like(upper) + upper * tau)


exercise(
    id="6.8", title="LAPACK's T", kind="open", stars=4, minutes=25, equations=("6.3", "6.10"),
    reference=lapack_T, alternatives=(lapack_T_by_columns, lapack_T_by_upper_inverse), cases=lapack_cases,
    mutants={
        "returns our T, not LAPACK's": Mistake(lambda a, tau: lapack_T(a, tau).mT.contiguous(),
            "That is lower triangular. LAPACK writes Q = I − Y T Yᵀ with vectors as columns, which is I − Kᵀ T K: its T is the transpose of ours.",
            "eq. 6.10"),
        "leaves tau out": Mistake(
            lambda a, tau: householder.inverse_by_substitution(ut_system(lapack_keys(a), tau)).mT.contiguous(),
            "The diagonal of T holds tau, yours holds ones: diag(τ) is missing.", "eq. 6.3"),
        "has diag(τ) on the wrong side": Mistake(
            lambda a, tau: (householder.inverse_by_substitution(ut_system(lapack_keys(a), tau)).mT * tau).contiguous(),
            "diag(β) scales the columns of our T, so it scales the *rows* of its transpose.", "eq. 6.3"),
        "has the wrong sign off the diagonal": Mistake(
            lambda a, tau: (householder.inverse_by_substitution(-ut_system(lapack_keys(a), tau)) * tau).mT.contiguous(),
            "That comes from inverting I − A.", "eq. 6.1"),
        "uses the vectors without their leading ones": Mistake(
            lambda a, tau: ut_by_solve(a.tril(-1).mT.contiguous(), tau).mT.contiguous(),
            "Each vector has a 1 in position t that is not stored. Exercise 5.7 adds it.", next="Add an identity of shape (n, m)."),
        "keeps the diagonal of R": Mistake(
            lambda a, tau: ut_by_solve(a.tril().mT.contiguous(), tau).mT.contiguous(),
            "On its diagonal `a` holds an entry of R. Each vector has a 1 there, which is not stored.", next="`a.tril(-1)`, plus an identity."),
        "inverts diag(τ)": Mistake(
            lambda a, tau: torch.linalg.inv(torch.linalg.inv(torch.diag(tau)) + (lapack_keys(a) @ lapack_keys(a).mT).triu(1)),
            "(6.10) gives the inverse of T, if there is one. With a τ = 0 there is none, and T exists all the same.", "eq. 6.3",
            next="Which way to T never divides by β?"),
        "stops at the overlaps of pairs": Mistake(
            lambda a, tau: torch.diag(tau) - (tau[:, None] * (lapack_keys(a) @ lapack_keys(a).mT) * tau).triu(1),
            "The pairs are right, but from the third vector on there are longer paths.", "eq. 6.7"),
    },
    hints=("Exercise 5.7 gives you keys as rows, and τ is β. Then Q = I − KᵀTᵀK with our T.",
           "With Y = Kᵀ: Q = I − Y Tᵀ Yᵀ.",
           "`ut_by_solve(keys, tau).mT`."),
)
