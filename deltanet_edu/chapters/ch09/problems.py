"""Exercises 9.1 to 9.7, each with its solutions, mistakes and hints; 9.6 is in function.py."""

import torch

from ...tutor import AnswerError, Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, normal, smallest_first
from .. import by_hand
from ..common import KEYS, alone_and_paired, eye_like, numbers
from .chunk import by_autograd, forward_chunk, inverse, token_loop

# -- 9.1 ---------------------------------------------------------------------------------------------------------------

exercise(
    id="9.1", title="The gradient of a write strength", kind="predict", stars=1, minutes=5, equations=("9.7",),
    reference=1.44, tolerance=1e-3, givens={"β": 0.25},
    working=(by_hand.gradient_of_a_write_strength,),
    mutants={
        "takes the write for the error": Mistake(0.36,
            "You multiplied with x = β e = 0.2. A larger β writes more of the *whole* error e = 0.8.", "eq. 9.7"),
        "takes the error after the write": Mistake(1.08,
            "0.6 is what is still wrong afterwards. The gradient asks what β had to work with: the error the token "
            "met, 0.8.", "eq. 9.7"),
        "forgets the gradient that arrives": Mistake(0.48,
            "The output's gradient is 3: everything downstream counts three times.", "eq. 9.4"),
        "forgets how the query meets the key": Mistake(2.4,
            "What is written reaches the output only as far as the query overlaps the key, qᵀk = 0.6.", "eq. 9.4"),
        "has the error the wrong way round": Mistake(-1.44,
            "The error in eq. 9.7 is v − S k = 3 − 2.2, positive here: a larger β raises what is read.", "eq. 9.7"),
        "uses the value instead of the error": Mistake(5.4,
            "A larger β does not add more of v: it adds more of what is *missing*, v − S k.",
            "eq. 9.7", next="What does the memory already say about k?"),
        "uses what the memory says instead of the error": Mistake(3.96,
            "S k = 2.2 is what the memory says. The error is what is missing: v − S k.", "eq. 9.7"),
        "asks the memory with the query": Mistake(3.6,
            "Your error is v − S q = 2. The token compares its value with what the memory says about its *key*, S k = "
            "2.2.", "eq. 9.7"),
        "gives the gradient of v": Mistake(0.45,
            "β dX is dv. For β itself, the gradient on the write is multiplied with the error instead.", "eq. 9.4"),
        "gives the gradient of the write": Mistake(1.8,
            "1.8 is dx, what the loss gains from a larger write. A larger β makes the write larger by the error, 0.8.",
            "eq. 9.7"),
        "gives the output": Mistake(1.12,
            "1.12 = S q + β e (kᵀq) is what is read. Its derivative with respect to β is asked for.", "eq. 9.7"),
        "gives the write as it reaches the output": Mistake(0.12,
            "0.12 = x (kᵀq), with x = β e = 0.2. The derivative with respect to β has the whole error, and the "
            "gradient 3 that arrives.", "eq. 9.7"),
        "takes the other entry of the key": Mistake(1.92,
            "You multiplied with 0.8, the first entry of k. The query (0, 1) meets the second: qᵀk = 0.6.", "eq. 9.4"),
        "sums the entries of the key": Mistake(3.36,
            "0.8 + 0.6 is no overlap: the query (0, 1) meets the second entry only, qᵀk = 0.6.", "eq. 9.4"),
        "multiplies by the overlap twice": Mistake(0.864,
            "The write ends in k, and the query reads it there: qᵀk = 0.6 comes in once.", "eq. 9.4"),
        "says that β changes nothing": Mistake(0,
            "0 would be right if the token read before it wrote, if its query missed its key, or if the memory knew "
            "its value. It reads after its write, qᵀk = 0.6, and the error is v − S k = 0.8.", "eq. 9.7"),
        "divides by β": Mistake(5.76,
            "β does not occur: x = β e, so ∂x/∂β is e itself, not x/β² or e/β.", "eq. 9.7"),
        "gives the write": Mistake(0.2,
            "0.2 is x = β e, what is written. Asked for is how the loss changes if β does.", "eq. 9.7"),
        "gives what the memory says": Mistake(2.2,
            "2.2 = S k is what the memory says about the key. From it comes the error, v − S k.", "eq. 9.7"),
        "gives the error": Mistake(0.8,
            "0.8 is the error. Two factors are missing: how far a write reaches the output, and the gradient that "
            "arrives there.", "eq. 9.7"),
    },
    hints=("Three numbers are multiplied: the gradient that arrives at o, how far a write reaches o, and the error.",
           "A write of size x changes o by x (kᵀq) = 0.6 x, so dx = 3 · 0.6 = 1.8.",
           "x = β e with e = v − S k = 3 − (1.6 + 0.6), so dβ = 1.8 · e."),
    why="o = S q + β e (kᵀq), so ∂o/∂β = 0.8 · 0.6 = 0.48, times the gradient 3 that arrives.",
)


# -- 9.2 ---------------------------------------------------------------------------------------------------------------

def through_the_solve(A, Z, dX):
    L = torch.eye(len(A), dtype=A.dtype) + A
    X = torch.linalg.solve_triangular(L, Z, upper=False)                 # (C, V)
    dZ = torch.linalg.solve_triangular(L.mT, dX, upper=True)             # (C, V)
    dA = -(dZ @ X.mT).tril(-1)                                           # (C, C)
    return dZ, dA


def through_the_inverse(A, Z, dX):
    inv = torch.linalg.inv(eye_like(A) + A)
    return inv.T @ dX, (-inv.T @ (dX @ Z.T) @ inv.T).tril(-1)


def through_by_autograd(A, Z, dX):
    def f(A, Z):
        return torch.linalg.solve_triangular(A.tril(-1), Z, upper=False, unitriangular=True)
    dA, dZ = by_autograd(f, (A, Z), (dX,))
    return dZ, dA.tril(-1)


def through_with(left=None, right=None, product=None, mask=lambda x: x.tril(-1), sign=-1):
    """A mutant of the last line, -stril(dZ Xᵀ): left(dX, dZ, L), right(Z, X), product(left, right), a mask, a sign."""
    def f(A, Z, dX):
        L = eye_like(A) + A
        X, dZ = torch.linalg.solve(L, Z), torch.linalg.solve(L.T, dX)
        a, b = left(dX, dZ, L) if left else dZ, right(Z, X) if right else X
        return dZ, sign * mask(product(a, b) if product else a @ b.T)
    return f


def by_the_inverse_without_transposes(A, Z, dX):
    inv = torch.linalg.inv(eye_like(A) + A)
    return inv.T @ dX, (-inv @ (dX @ Z.T) @ inv).tril(-1)


def times_A(A, Z, dX):
    dZ, dA = through_the_solve(A, Z, dX)
    return dZ, A * dA


def solve_cases(g):
    for C, V in ((2, 1), (2, 3), (3, 2), (5, 1), (5, 4)):
        yield Case((normal(g, C, C).tril(-1), normal(g, C, V), normal(g, C, V)), f"C = {C}, V = {V}")


SLIPS_OF_THE_SOLVE = {
    "forgets the mask": Mistake(dict(mask=lambda x: x),
        "A has entries below the diagonal only. The rest of the product belongs to entries that do not exist.",
        "eq. 9.5"),
    "keeps the diagonal": Mistake(dict(mask=torch.tril),
        "The diagonal of I + A is always 1: nothing there can change, so it has no gradient. The mask is *strictly* "
        "lower.", "eq. 9.5"),
    "leaves the other triangle": Mistake(dict(mask=lambda x: x.triu(1)),
        "A lives *below* the diagonal: rows are later tokens, columns earlier ones.", "eq. 9.5"),
    "forgets the sign": Mistake(dict(sign=1),
        "X = Z − A X: a larger A subtracts more. The gradient has a minus.", "eq. 9.2"),
    "uses dX instead of dZ": Mistake(dict(left=lambda dX, dZ, L: dX),
        "dX must first pass through the solve backwards: a change of x₂ goes on to change x₃. That is what dZ has "
        "collected.", "eq. 9.2",
        next="For which A are dX and dZ equal?"),
    "solves once more": Mistake(dict(left=lambda dX, dZ, L: torch.linalg.solve(L.T, dZ)),
        "dZ has passed through the transposed system already. Once is enough.", "eq. 9.2"),
    "cuts dZ instead of the product": Mistake(dict(left=lambda dX, dZ, L: dZ.tril(-1), mask=lambda x: x),
        "The mask is for tokens against tokens: cut the product dZ Xᵀ, (C, C). The columns of dZ are entries of "
        "values.",
        "eq. 9.5"),
    "uses Z instead of X": Mistake(dict(right=lambda Z, X: Z),
        "In the system A multiplies X, the solution, not the right side Z.", "eq. 9.2"),
    "transposes the product": Mistake(dict(product=lambda a, b: b @ a.T),
        "A_ti multiplies x_i and lands in equation t. So the row of dA comes from dZ and the column from X.",
        "eq. 9.2"),
    "adds the other triangle": Mistake(dict(product=lambda a, b: a @ b.T + b @ a.T),
        "A is not symmetric: its entries above the diagonal are zero and stay so. Only dZ Xᵀ belongs to A_ti; the "
        "transposed product comes in when A is made of K Kᵀ, where a key stands in a row and in a column.", "eq. 9.2"),
}

exercise(
    id="9.2", title="Through a triangular solve", kind="code", stars=2, minutes=10, equations=("9.2", "9.5"),
    reference=through_the_solve, alternatives=(through_the_inverse, through_by_autograd), cases=solve_cases,
    mutants={
        **alone_and_paired(through_with, SLIPS_OF_THE_SOLVE),
        "multiplies by the entries of A": Mistake(times_A,
            "The gradient of an entry says what a change of it does. How large the entry is does not matter: equation "
            "t is linear in it.", "eq. 9.2"),
        "leaves out the transposes of the inverse": Mistake(by_the_inverse_without_transposes,
            "The derivative of an inverse is −L⁻ᵀ (dX Zᵀ) L⁻ᵀ, with both inverses transposed: gradients run backward.",
            "eq. 9.3"),
    },
    hints=("Think of one entry, A_ti. Which equation is it in, and what does it multiply?",
           "Equation t reads x_t + Σ A_ti x_i = z_t. A change of A_ti acts like a change of z_t by −A_ti's change "
           "times x_i.",
           "dA = −stril(dZ Xᵀ): `-(dZ @ X.mT).tril(-1)`."),
)


# -- 9.3 ---------------------------------------------------------------------------------------------------------------

def one_link(Q, K, beta, UT1, P, dO, dS):
    dX = P.mT @ dO + K @ dS.mT                                           # (C, V)
    dV = beta[:, None] * (UT1.mT @ dX)                                   # (C, V)
    return dV, dS + dO.mT @ Q - dV.mT @ K


def one_link_by_w(Q, K, beta, UT1, P, dO, dS):
    UT = UT1 * beta
    W = UT @ K
    return UT.T @ P.T @ dO + UT.T @ K @ dS.T, dS - dS @ K.T @ W + dO.T @ (Q - P @ W)


def one_link_by_autograd(Q, K, beta, UT1, P, dO, dS):
    def f(V, S):
        X = UT1 @ (beta[:, None] * (V - K @ S.T))
        return Q @ S.T + P @ X, S + X.T @ K
    return by_autograd(f, (torch.zeros_like(dO), torch.zeros_like(dS)), (dO, dS))


def link_with(dX=None, dV=None, dS_in=None):
    """A mutant of one of the three lines: dX(K, P, dO, dS), dV(UT1, b, dX), or dS_in(dS, reads, asks).

    b is β as a column; `reads` and `asks` are the two terms that are new in dS, dOᵀQ and dVᵀK.
    """
    def f(Q, K, beta, UT1, P, dO, dS):
        b = beta[:, None]
        dX_ = dX(K, P, dO, dS) if dX else P.T @ dO + K @ dS.T
        dV_ = dV(UT1, b, dX_) if dV else b * (UT1.T @ dX_)
        reads, asks = dO.T @ Q, dV_.T @ K
        return dV_, dS_in(dS, reads, asks) if dS_in else dS + reads - asks
    return f


def subtracting_dX(Q, K, beta, UT1, P, dO, dS):
    dX = P.T @ dO + K @ dS.T
    return beta[:, None] * (UT1.T @ dX), dS + dO.T @ Q - dX.T @ K


def subtracting_dZ(Q, K, beta, UT1, P, dO, dS):
    dZ = UT1.T @ (P.T @ dO + K @ dS.T)
    return beta[:, None] * dZ, dS + dO.T @ Q - dZ.T @ K


def link_cases(g):
    made = delta_inputs(g, "q k beta v do dS", T=(1, 2, 5), K=3, V=2)
    made += delta_inputs(g, "q k beta v do dS", T=(3,), K=4, V=4, betas=("zero", "large"))
    for case in smallest_first(made):
        q, k, beta, v, do, dS = case.args
        yield Case((q, k, beta, inverse(k, beta), (q @ k.T).tril(), do, dS), case.note)


SLIPS_OF_A_LINK = {
    "hears the outputs only": Mistake(dict(dX=lambda K, P, dO, dS: P.T @ dO),
        "X is used twice: by the outputs of this chunk *and* by the memory that leaves. The second use brings K "
        "dS′ᵀ.", "eq. 9.4",
        next="Who reads what this chunk has written, after the chunk is over?"),
    "hears the leaving memory only": Mistake(dict(dX=lambda K, P, dO, dS: K @ dS.T),
        "X is used twice: by the leaving memory *and* by this chunk's own outputs, through P.", "eq. 9.4"),
    "subtracts what the leaving memory says": Mistake(dict(dX=lambda K, P, dO, dS: P.T @ dO - K @ dS.T),
        "X enters the leaving memory with a plus, S′ = S + XᵀK, so K dS′ᵀ is added.", "eq. 9.4"),
    "does not transpose P": Mistake(dict(dX=lambda K, P, dO, dS: P @ dO + K @ dS.T),
        "O = P X sends x_i to later outputs. Gradients go the other way, from later outputs to x_i: Pᵀ dO.",
        "eq. 9.1"),
    "does not transpose the inverse": Mistake(dict(dV=lambda UT1, b, dX: b * (UT1 @ dX)),
        "Forward, the solve sends information to later tokens. Backward it must flow to *earlier* ones: UT₁ᵀ.",
        "eq. 9.2"),
    "forgets the solve": Mistake(dict(dV=lambda UT1, b, dX: b * dX),
        "What token t writes changes what later tokens find and therefore write. UT₁ᵀ collects all of that.",
        "eq. 9.2"),
    "forgets beta": Mistake(dict(dV=lambda UT1, b, dX: UT1.T @ dX),
        "V enters as β ⊙ R, so its gradient carries β as well. With β = 0 a value has no influence at all.",
        "eq. 9.4"),
    "takes dX for dV": Mistake(dict(dV=lambda UT1, b, dX: dX.clone()),
        "Between V and X stand β and the solve: dV = β ⊙ (UT₁ᵀ dX).", "eq. 9.4"),
    "applies beta before the solve": Mistake(dict(dV=lambda UT1, b, dX: UT1.T @ (b * dX)),
        "Forward: first β, then UT₁. Backward the order is reversed: first UT₁ᵀ, then β.", "eq. 9.4"),
    "applies beta twice": Mistake(dict(dV=lambda UT1, b, dX: b * (UT1.T @ (b * dX))),
        "β stands once between V and X, in β ⊙ R, so it stands once in the gradient.", "eq. 9.4"),
    "forgets that the outputs read the entering memory": Mistake(dict(dS_in=lambda dS, reads, asks: dS - asks),
        "O contains Q Sᵀ. That use of S brings dOᵀQ.", "eq. 9.4"),
    "forgets that the errors read the entering memory": Mistake(dict(dS_in=lambda dS, reads, asks: dS + reads),
        "R = V − K Sᵀ asks the memory too. Without −dVᵀK this is the backward pass of linear attention: nothing is "
        "ever forgotten.", "eq. 9.4"),
    "adds what the errors have read": Mistake(dict(dS_in=lambda dS, reads, asks: dS + reads + asks),
        "R = V − K Sᵀ contains the memory with a minus, so its gradient comes with a minus.", "eq. 9.4"),
    "subtracts what the outputs have read": Mistake(dict(dS_in=lambda dS, reads, asks: dS - reads - asks),
        "O = Q Sᵀ + P X contains the memory with a plus: dOᵀQ is added. Only the errors contain it with a minus.",
        "eq. 9.4"),
    "has both signs the other way round": Mistake(dict(dS_in=lambda dS, reads, asks: dS - reads + asks),
        "O = Q Sᵀ + P X contains the memory with a plus, so dOᵀQ is added. The errors R = V − K Sᵀ contain it with a "
        "minus: dVᵀK is subtracted.", "eq. 9.4"),
    "sends the gradient of the memory through P": Mistake(dict(dX=lambda K, P, dO, dS: P.T @ (dO + K @ dS.T)),
        "X goes into the outputs through P, and into the leaving memory without it: Pᵀ dO + K dS′ᵀ.", "eq. 9.4"),
    "drops the gradient that came in": Mistake(dict(dS_in=lambda dS, reads, asks: reads - asks),
        "S′ = S + XᵀK contains S itself: dS′ passes straight through.", "eq. 9.4"),
    "passes the gradient on unchanged": Mistake(dict(dS_in=lambda dS, reads, asks: dS.clone()),
        "dS′ passes through S′ = S + XᵀK, but S is used twice more: by the outputs and by the errors of this "
        "chunk.",
        "eq. 9.4"),
}

exercise(
    id="9.3", title="One link of the backward chain", kind="code", stars=3, minutes=20, equations=("9.4",),
    reference=one_link, alternatives=(one_link_by_w, one_link_by_autograd), cases=link_cases,
    mutants={
        **alone_and_paired(link_with, SLIPS_OF_A_LINK),
        "takes dZ for dR": Mistake(subtracting_dZ,
            "Z = β ⊙ R, so dR = β ⊙ dZ, and that is dV.", "eq. 9.4"),
        "takes dX for dR": Mistake(subtracting_dX,
            "Between R and X stand β and the solve. The gradient of R is dV, not dX.", "eq. 9.4"),
    },
    hints=("Write the four lines of the forward pass under each other. For dX, look for every line that uses X; for "
           "dS, every line that uses S.",
           "X is used in O = … + P X and in S′ = S + XᵀK. S is used in R = V − K Sᵀ, in O = Q Sᵀ + …, and in S′ = S + "
           "….",
           "`dX = P.mT @ dO + K @ dS.mT`, then `dV = beta[:, None] * (UT1.mT @ dX)`, then dS + dO.mT @ Q − dV.mT @ K."),
)


# -- 9.4 ---------------------------------------------------------------------------------------------------------------

def dbeta_of_chunk(K, V, beta, S, dX):
    UT1 = inverse(K, beta)                                               # (C, C)
    R = V - K @ S.mT                                                     # (C, V)
    X = UT1 @ (beta[:, None] * R)                                        # (C, V)
    dZ = UT1.mT @ dX                                                     # (C, V)
    e = R - (K @ K.mT).tril(-1) @ X                                      # (C, V)
    return (dZ * e).sum(-1)


def dbeta_in_three_terms(K, V, beta, S, dX):
    """Through β ⊙ R and through A, added up."""
    UT1, R = inverse(K, beta), V - K @ S.T
    dZ, X = UT1.T @ dX, UT1 @ (beta[:, None] * R)
    return (dZ * V).sum(-1) - (K * (dZ @ S)).sum(-1) - ((dZ @ X.T).tril(-1) * (K @ K.T)).sum(-1)


def dbeta_by_autograd(K, V, beta, S, dX):
    return by_autograd(lambda b: inverse(K, b) @ (b[:, None] * (V - K @ S.T)), (beta,), (dX,))[0]


def dbeta_by_loop(K, V, beta, S, dX):
    """The errors by the token loop, and UT_1^T dX by substitution from the last token backwards."""
    e, writes = [], []
    for k_t, v_t, beta_t in zip(K, V, beta):
        e.append(v_t - S @ k_t)
        S = S + beta_t * torch.outer(e[-1], k_t)
    for t in reversed(range(len(K))):
        later = ((beta[j] * (K[t] @ K[j]) * writes[j - t - 1] for j in range(t + 1, len(K))))
        writes.insert(0, dX[t] - sum(later, torch.zeros_like(dX[t])))
    return (torch.stack(writes) * torch.stack(e)).sum(-1)


def dbeta_with(e=None, rule=lambda dX, dZ, X, e: dZ * e):
    """A mutant: e(K, b, R, X) is taken for the errors, with b = β as a column; rule(dX, dZ, X, e) is summed."""
    def f(K, V, beta, S, dX):
        UT1, R = inverse(K, beta), V - K @ S.T
        X = UT1 @ (beta[:, None] * R)
        error = e(K, beta[:, None], R, X) if e else R - (K @ K.T).tril(-1) @ X
        return rule(dX, UT1.T @ dX, X, error).sum(-1)
    return f


def with_small(epsilon):
    """A mutant that divides by β + epsilon."""
    return dbeta_with(lambda K, b, R, X: X / (b + epsilon))


def with_at_least(small):
    """A mutant that solves with max(β, small) in front of the errors, and divides by that."""
    def f(K, V, beta, S, dX):
        UT1, b = inverse(K, beta), beta[:, None].clamp(min=small)
        return (UT1.T @ dX * (UT1 @ (b * (V - K @ S.T)) / b)).sum(-1)
    return f


def values_where_zero(K, V, beta, S, dX):
    return dbeta_with(lambda K, b, R, X: torch.where(b == 0, V, X / b))(K, V, beta, S, dX)


def zero_without_division(K, V, beta, S, dX):
    return dbeta_with(lambda K, b, R, X: X / b)(K, V, beta, S, dX).nan_to_num(0.0)


def some_zero(g, *args):
    """One token in three does not write."""
    K, V, beta, S, dX = args
    return K, V, torch.where(torch.arange(len(beta)) % 3 == 1, torch.zeros_like(beta), beta), S, dX


def strength_cases(g):
    """A single token with β = 0 comes first: there x / (β + ε) is far off, however small ε is."""
    alone = delta_inputs(g, "k v beta S do", T=(1,), K=2, V=1, keys=("random",), betas=("zero",))
    made = delta_inputs(g, "k v beta S do", T=(1, 2, 5), K=3, V=2)
    made += delta_inputs(g, "k v beta S do", T=(3,), K=2, V=4, betas=("zero", "large"))
    for case in delta_inputs(g, "k v beta S do", T=(5,), K=2, V=3, keys=KEYS):
        made.append(Case(some_zero(g, *case.args), case.note + ", some β = 0"))
    return alone + smallest_first(made)


exercise(
    id="9.4", title="Divided by β", kind="bug", stars=3, minutes=15, equations=("9.7",), cases=strength_cases,
    reference=dbeta_of_chunk, alternatives=(dbeta_in_three_terms, dbeta_by_autograd, dbeta_by_loop),
    mutants={
        "keeps the division": Mistake(dbeta_with(lambda K, b, R, X: X / b),
            "Right as long as every β is positive, because x = β e. A token with β = 0 gives 0/0, and one NaN is "
            "enough to ruin a model.", "eq. 9.7",
            next="Which expression for the error does not pass through x?"),
        "sets the gradient to zero where β is zero": Mistake(zero_without_division,
            "Yours is zero where β is, and the gradient there is not: it says what would change if the token *began* "
            "to write.", "eq. 9.7"),
        **{f"adds {small:g} to β": Mistake(with_small(small),
            "No NaN any more, but x / (β + ε) at β = 0 is zero, however small ε is, and the gradient there is not: a "
            "token that does not write could never learn to.",
            "eq. 9.7") for small in (10.0**-n for n in range(10, 1, -1))},
        "takes the error against the old memory where β is zero": Mistake(
            dbeta_with(lambda K, b, R, X: torch.where(b == 0, R, X / b)),
            "A token with β = 0 still meets a memory in which the earlier tokens of its chunk have written. R does not "
            "know of them.", "eq. 9.7",
            next="Subtract stril(K Kᵀ) X, for every token."),
        "takes the value for the error where β is zero": Mistake(values_where_zero,
            "A token with β = 0 meets a memory that says something. Its error is the value *minus* that.", "eq. 9.7",
            next="Which expression for the error does not pass through x?"),
        **{f"takes at least {small:g} for β": Mistake(with_at_least(small),
            "No NaN any more, but a token with β = 0 now solves a system in which it writes. Its gradient needs the "
            "memory that it really met.", "eq. 9.7",
            next="Which expression for the error does not pass through x?")
            for small in (10.0**-n for n in range(6, 0, -1))},
        "subtracts A X": Mistake(dbeta_with(lambda K, b, R, X: R - (b * (K @ K.T)).tril(-1) @ X),
            "A has β in it. What the earlier tokens have written answers k_t with the overlaps alone: stril(K Kᵀ) X.",
            "eq. 9.7"),
        "multiplies the writes by β once more": Mistake(dbeta_with(lambda K, b, R, X: R - (K @ K.T).tril(-1) @ (b * X)),
            "X is what has been written, β included. It answers k_t with the overlaps alone: stril(K Kᵀ) X.",
            "eq. 9.7"),
        "adds what the earlier tokens have written": Mistake(dbeta_with(lambda K, b, R, X: R + (K @ K.T).tril(-1) @ X),
            "The error is the value *minus* what the memory says, and what the earlier tokens have written is part of "
            "what it says.", "eq. 9.7"),
        "sees the writes of later tokens": Mistake(dbeta_with(lambda K, b, R, X: R - (K @ K.T).triu(1) @ X),
            "Token t meets what *earlier* tokens have written: the strictly lower triangle.", "eq. 9.7"),
        "sees the writes of all tokens": Mistake(dbeta_with(lambda K, b, R, X: R - K @ K.T @ X),
            "Without the mask e is the error against the memory that *leaves* the chunk. Token t meets the writes of "
            "earlier tokens only.", "eq. 9.7"),
        "has β once too often": Mistake(dbeta_with(lambda K, b, R, X: X),
            "X is β times the error, and dV is β ⊙ dZ: with either of them you get β times what is right. The gradient "
            "of β is made of dZ and the error itself.", "eq. 9.7"),
        "uses the error against the old memory": Mistake(dbeta_with(lambda K, b, R, X: R),
            "R = V − K Sᵀ compares with the memory from *before the chunk*. Token t met S_{t−1}, which holds the "
            "writes of the earlier tokens too.", "eq. 9.7",
            next="Subtract stril(K Kᵀ) X."),
        "lets a token see its own write": Mistake(dbeta_with(lambda K, b, R, X: R - (K @ K.T).tril() @ X),
            "That is the error *after* the write. With the diagonal left out it is the one the token met.", "eq. 9.7"),
        "takes away the errors of earlier tokens": Mistake(dbeta_with(lambda K, b, R, X: R - (K @ K.T).tril(-1) @ R),
            "What stands in the memory is what the earlier tokens have *written*, X, and not R.", "eq. 9.7"),
        "takes away its own write": Mistake(dbeta_with(lambda K, b, R, X: R - X),
            "R − X takes what the token itself writes out of its error. The writes of *earlier* tokens belong there, "
            "as far as their keys overlap with k_t.", "eq. 9.7"),
        "solves for the errors without β": Mistake(dbeta_with(lambda K, b, R, X: torch.linalg.solve(
                torch.eye(len(K), dtype=K.dtype) + (b * (K @ K.T)).tril(-1), R)),
            "UT₁ R is the solution of (I + A) X = R, with β in A by rows. The error itself is R − stril(K Kᵀ) X.",
            "eq. 9.7"),
        "averages over the entries of a value": Mistake(dbeta_with(rule=lambda dX, dZ, X, e: dZ * e / e.shape[-1]),
            "β_t scales every entry of the write, so their gradients are *added*.", "eq. 9.7"),
        "skips the solve": Mistake(dbeta_with(rule=lambda dX, dZ, X, e: dX * e),
            "dX must pass backwards through the triangular system first: what token t writes changes what later tokens "
            "write.", "eq. 9.2"),
        "has the error the wrong way round": Mistake(dbeta_with(rule=lambda dX, dZ, X, e: -dZ * e),
            "The error here is the value minus what the memory says, as in x = β e.", "eq. 9.7"),
    },
    hints=("What is x when β = 0? And what is the error then?",
           "The error that token t met is v_t − S_{t−1}k_t, and S_{t−1} = S + Σ x_i k_iᵀ over i < t.",
           "As rows: e = R − stril(K Kᵀ) X. Then dβ = rowsum(dZ ⊙ e)."),
)


# -- 9.5 ---------------------------------------------------------------------------------------------------------------

def chunk_cases(g):
    args, nonempty = "q k v beta S do dS", ("nonempty",)
    return smallest_first(delta_inputs(g, args, T=(1, 2, 4), K=3, V=2, memories=nonempty)
                          + delta_inputs(g, args, T=(3,), K=2, V=5, betas=("large",), memories=nonempty))


exercise(
    id="9.5", title="Backward through a chunk, in order", kind="order", stars=3, minutes=15, equations=("9.4", "9.6"),
    reference="DBGAHFCE", alternatives=("DBAGHFCE", "DABGHFCE"),
    cases=chunk_cases,
    prepare=order_the_lines(
        {"A": "dP = (dO @ X.mT).tril()", "B": "dX = P.mT @ dO + K @ dS.mT", "C": "dS = dS + dO.mT @ Q - dV.mT @ K",
         "D": "UT1, P, R, X = forward_chunk(Q, K, V, beta, S)[2]", "E": "return dK, dV, dS",
         "F": "dK = dP.mT @ Q + X @ dS - dV @ S - (E + E.mT) @ K", "G": "dV = beta[:, None] * (UT1.mT @ dX)",
         "H": "E = (dV @ X.mT).tril(-1)"},
        "def gradients(Q, K, V, beta, S, dO, dS):", "gradients", namespace={"forward_chunk": forward_chunk},
        distractors={"I": "E = (dX @ X.mT).tril(-1)", "J": "dP = (dO @ X.mT).tril(-1)"}),
    mutants={
        "updates dS before dK has used it": Mistake("DBGAHCFE",
            "Line F needs the gradient of the memory that *leaves*. After line C, dS is the gradient of the one that "
            "entered.", "eq. 9.6",
            next="Which of the lines with dS in them must come last?"),
        "takes dX through the solve before it exists": Mistake("DAGCBHFE",
            "Line G uses dX, and only line B computes it.", "eq. 9.4"),
        "takes dX for dV in the overlaps": Mistake("DBGAIFCE",
            "Line I is a decoy: E is made of dV, which has passed through the solve and β.", "eq. 9.5"),
        "gives the diagonal of P no gradient": Mistake("DBGJHFCE",
            "Line J is a decoy: P keeps its diagonal, because a token reads what it has written itself. So does its "
            "gradient.", "eq. 9.6"),
        "falls for both decoys": Mistake("DBGJIFCE",
            "E is made of dV, which has passed through the solve and β, not of dX; and P keeps its diagonal, so its "
            "gradient does too.", "eq. 9.5 and 9.6"),
        "uses the overlaps before they exist": Mistake("DBGAFHCE",
            "Line F uses E, and only line H computes it.", "eq. 9.6"),
        "forgets to run the forward pass": Mistake("BGAHFCE",
            "P, X and UT₁ have to be computed again: only the inputs were kept. Line D does that.", "eq. 8.6"),
        "forgets to pass the gradient on": Mistake("DBGAHFE",
            "Without line C the chunk before gets the gradient of the wrong memory.", "eq. 9.4"),
        "computes the overlaps before dV": Mistake("DBHGAFCE",
            "Line H uses dV, and only line G computes it.", "eq. 9.5"),
    },
    hints=("D runs the forward pass again. Two of the ten lines are decoys.",
           "The order of names: X and P, then dX, then dV, then E; dP needs only dO and X.",
           "Both dX and dK want the dS that came in, so C comes after F. The end is F C E."),
)


# -- 9.7 ---------------------------------------------------------------------------------------------------------------

def read_token(answer):
    """(S, k, v, beta, q) of one token with K = 2, V = 1, or an AnswerError."""
    shapes = (1, 2), (2,), (1,), (), (2,)
    try:
        pairs = zip(answer, shapes, strict=True)
        S, k, v, beta, q = (numbers(x).reshape(shape) for x, shape in pairs)
    except Exception:
        raise AnswerError("give (S, k, v, beta, q): S, k and q with two numbers each, v and beta one number") from None
    if not all(x.isfinite().all() for x in (S, k, v, beta, q)):
        raise AnswerError("every entry must be a finite number")
    return S, k, v, beta, q


def what_beta_learns(answer):
    """What the gradients of β and v look like when the output's gradient is 1."""
    S, k, v, beta, q = read_token(answer)

    def read(q, k, v, beta, S):
        return token_loop(q[None], k[None], v[None], beta[None], S)[0][0]
    _, _, dv, dbeta, _ = by_autograd(read, (q, k, v, beta, S), (torch.ones_like(v),))
    if not k.any():
        return "the key is zero: nothing is written, and neither v nor β learns"
    if (k @ q).abs() < 1e-9:
        return "the query does not see the key: nothing learns, neither v nor β"
    if beta.abs() < 1e-9:
        return "β is zero: v has no gradient" + (", and β has none either" if dbeta.abs() < 1e-9 else "")
    if dbeta.abs() > 1e-9:
        return _why_beta_learns(S, k, v, beta, q)
    return "v has a gradient and β has none" if dv.abs() > 1e-9 else "nothing learns"


def _why_beta_learns(S, k, v, beta, q):
    """Which value was given instead of S k, as far as it can be told."""
    if (beta * (k @ k) - 1).abs() < 1e-9 and v.any():
        return "β has a gradient: the memory says v only after the write"
    if (S @ k).abs() < 1e-9:
        return "β has a gradient, because the memory says 0"
    if not v.any():
        return "β has a gradient: v is 0, and the memory says something else"
    if (v + S @ k).abs() < 1e-9:
        return "β has a gradient: v is −S k"
    return "β has a gradient: v is S q, not S k" if (v - S @ q).abs() < 1e-9 else "β has a gradient"


exercise(
    id="9.7", title="A β that has nothing to learn", kind="open", stars=2, minutes=10, equations=("9.7",),
    reference=((1.0, 2.0), (0.6, 0.8), 2.2, 0.5, (1.0, 0.0)), prepare=what_beta_learns,
    alternatives=(((0.0, 0.0), (3.0, 4.0), 0.0, 0.1, (1.0, 1.0)),),
    mutants={
        "lets the query miss the key": Mistake(((1.0, 2.0), (1.0, 0.0), 5.0, 0.5, (0.0, 1.0)),
            "Then nothing this token does reaches the output, and v has no gradient either. The write must be seen, "
            "and still β must not care.", "eq. 9.7"),
        "switches the token off": Mistake(((1.0, 2.0), (0.6, 0.8), 5.0, 0.0, (1.0, 0.0)),
            "With β = 0 it is v that has no gradient, while β has one: dβ = dx · e.",
            "eq. 9.7", next="Leave β alone. Which factor of dβ can be zero?"),
        "switches the token off, though the memory knows its value": Mistake(
            ((1.0, 2.0), (0.6, 0.8), 2.2, 0.0, (1.0, 0.0)),
            "v = S k is all that β needs to have no gradient. But with β = 0 the value has none either: dv = β dx.",
            "eq. 9.7", next="Which other strengths are possible?"),
        "writes along a key of zeros": Mistake(((1.0, 2.0), (0.0, 0.0), 5.0, 0.5, (1.0, 0.0)),
            "x kᵀ is zero then: nothing is written, whatever v and β are, so neither gets a gradient.", "eq. 9.4"),
        "asks the memory with the query": Mistake(((1.0, 2.0), (0.6, 0.8), 1.0, 0.5, (1.0, 0.0)),
            "Your v is S q, what the query read before the write. The token compares its value with what the memory "
            "says about its *key*, S k.", "eq. 9.7"),
        "has the sign wrong": Mistake(((1.0, 2.0), (0.6, 0.8), -2.2, 0.5, (1.0, 0.0)),
            "Your v is −S k. The error is the value *minus* what the memory says, v − S k, so the two must be equal.",
            "eq. 9.7"),
        "writes 0 where the memory says something else": Mistake(((1.0, 2.0), (0.6, 0.8), 0.0, 0.5, (1.0, 0.0)),
            "To store 0 where the memory says something else is a write as well: the error is −S k.", "eq. 9.7",
            next="Which v does the memory already know?"),
        "surprises the memory": Mistake(((1.0, 2.0), (0.6, 0.8), 5.0, 0.5, (1.0, 0.0)),
            "The memory says S k and the token says v, and they differ. So it matters how strongly the token writes.",
            "eq. 9.7",
            next="Which v does the memory already know?"),
        "has no error left after the write, but one before it": Mistake(((1.0, 2.0), (0.6, 0.8), 5.0, 1.0, (1.0, 0.0)),
            "β‖k‖² is 1, so the memory says v *after* the write. What counts is the error that the token met, v − S k, "
            "and yours is not zero. An empty memory says 0.", "eq. 9.7",
            next="Which v does the memory know before it writes?"),
        "starts from a memory that says nothing": Mistake(((0.0, 0.0), (0.6, 0.8), 5.0, 0.5, (1.0, 0.0)),
            "An empty memory says 0, so any value but 0 is a surprise.", "eq. 9.7"),
    },
    hints=("dβ is a product of two things. Make one of them zero, but not the one that v needs as well.",
           "dβ = dx · e and dv = β dx. So dx must not be zero.",
           "Let e = v − S k be zero: give the token the value that the memory already answers."),
    why="The memory already answered v, so the token writes nothing, whatever its β. A write strength learns from "
        "surprises only.",
)
