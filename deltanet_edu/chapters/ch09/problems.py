"""The exercises of chapter 9, in order: each with its solutions, mistakes and hints."""

import inspect

import torch
from torch.utils._pytree import tree_leaves

from ...ops import delta_rule_recurrent
from ...ops.delta_rule.backward import backward_chunks, forward_chunks
from ...tutor import AnswerError, Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, normal, smallest_first

KEYS = ("random", "repeated", "unnormalized")


# -- one chunk, forward and backward ----------------------------------------------------------------------------------------

def inverse(k, beta):
    """T_1 = (I + A)^-1 of chapter 6, without beta: (C, C)."""
    A = (beta[:, None] * (k @ k.T)).tril(-1)
    return torch.linalg.solve_triangular(A, torch.eye(len(k), dtype=k.dtype), upper=False, unitriangular=True)


def forward_chunk(Q, K, V, beta, S):
    """One chunk in residual form: O, S', and what the backward pass needs, (T_1, P, R, X)."""
    T1, P, R = inverse(K, beta), (Q @ K.T).tril(), V - K @ S.T
    X = T1 @ (beta[:, None] * R)
    return Q @ S.T + P @ X, S + X.T @ K, (T1, P, R, X)


def backward_chunk(Q, K, V, beta, S, saved, dO, dS):
    """Eq. 9.4 to 9.7 for one chunk: dQ, dK, dV, dbeta, and the gradient of the memory that entered."""
    T1, P, R, X = saved
    dX = P.T @ dO + K @ dS.T                                             # (C, V)
    dZ = T1.T @ dX                                                       # (C, V)
    dV = beta[:, None] * dZ                                              # (C, V)
    dS_in = dS + dO.T @ Q - dV.T @ K                                     # (V, K)
    dP, E = (dO @ X.T).tril(), (dV @ X.T).tril(-1)                       # (C, C)
    dQ = dO @ S + dP @ K                                                 # (C, K)
    dK = dP.T @ Q + X @ dS - dV @ S - (E + E.T) @ K                      # (C, K)
    e = R - (K @ K.T).tril(-1) @ X                                       # (C, V)
    return dQ, dK, dV, (dZ * e).sum(-1), dS_in


def by_autograd(f, inputs, outgoing):
    """Gradients of `inputs` when the gradients of f's results are `outgoing`."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    results = f(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    found = torch.autograd.grad([r for r in results if r.requires_grad], inputs, [d for r, d in zip(results, outgoing) if r.requires_grad],
                                allow_unused=True)
    return tuple(torch.zeros_like(x) if d is None else d for x, d in zip(inputs, found))


def chunk_results(Q, K, V, beta, S):
    return forward_chunk(Q, K, V, beta, S)[:2]


def token_loop(q, k, v, beta, S):
    o, S = delta_rule_recurrent(*(x[None, :, None] for x in (q, k, v, beta)), initial_state=S[None, None])
    return o[0, :, 0], S[0, 0]


# -- 9.1 -----------------------------------------------------------------------------------------------------------------

exercise(
    id="9.1", title="The gradient of a write strength", kind="predict", stars=1, minutes=5, equations=("9.7",), reference=1.44, tolerance=1e-3,
    mutants={
        "takes the write for the error": Mistake(0.36,
            "You multiplied with x = β e = 0.2. A larger β writes more of the *whole* error e = 0.8.", "eq. 9.7"),
        "takes the error after the write": Mistake(1.08,
            "0.6 is what is still wrong afterwards. The gradient asks what β had to work with: the error the token met, 0.8.", "eq. 9.7"),
        "forgets the gradient that arrives": Mistake(0.48,
            "The output's gradient is 3: everything downstream counts three times.", "eq. 9.4"),
        "forgets how the query meets the key": Mistake(2.4,
            "What is written reaches the output only as far as the query overlaps the key, qᵀk = 0.6.", "eq. 9.4"),
        "has the error the wrong way round": Mistake(-1.44,
            "The error in eq. 9.7 is v − S k = 3 − 2.2, positive here: a larger β raises what is read.", "eq. 9.7"),
        "uses the value instead of the error": Mistake(5.4,
            "A larger β does not add more of v: it adds more of what is *missing*, v − S k.", "eq. 9.7", next="What does the memory already say about k?"),
        "uses what the memory says instead of the error": Mistake(3.96,
            "S k = 2.2 is what the memory says. The error is what is missing: v − S k.", "eq. 9.7"),
        "gives the gradient of v": Mistake(0.45,
            "β dX is dv. For β itself, the gradient on the write is multiplied with the error instead.", "eq. 9.4"),
    },
    hints=("Three numbers are multiplied: the gradient that arrives at o, how far a write reaches o, and the error.",
           "A write of size x changes o by x (kᵀq) = 0.6 x, so dx = 3 · 0.6 = 1.8.",
           "x = β e with e = v − S k = 3 − (1.6 + 0.6), so dβ = 1.8 · e."),
    why="o = S q + β e (kᵀq), so ∂o/∂β = 0.8 · 0.6 = 0.48, times the gradient 3 that arrives.",
)


# -- 9.2 -----------------------------------------------------------------------------------------------------------------

def through_the_solve(A, Z, dX):
    L = torch.eye(len(A), dtype=A.dtype) + A
    X = torch.linalg.solve(L, Z)
    dZ = torch.linalg.solve(L.T, dX)
    return dZ, -(dZ @ X.T).tril(-1)


def through_the_inverse(A, Z, dX):
    T1 = torch.linalg.inv(torch.eye(len(A), dtype=A.dtype) + A)
    return T1.T @ dX, (-T1.T @ (dX @ Z.T) @ T1.T).tril(-1)


def through_by_autograd(A, Z, dX):
    def f(A, Z):
        return torch.linalg.solve_triangular(A.tril(-1), Z, upper=False, unitriangular=True)
    dA, dZ = by_autograd(f, (A, Z), (dX,))
    return dZ, dA.tril(-1)


def through_with(dA):
    """A mutant of the last line: dA(X, Z, dX, dZ)."""
    def f(A, Z, dX):
        L = torch.eye(len(A), dtype=A.dtype) + A
        X, dZ = torch.linalg.solve(L, Z), torch.linalg.solve(L.T, dX)
        return dZ, dA(X, Z, dX, dZ)
    return f


exercise(
    id="9.2", title="Through a triangular solve", kind="code", stars=2, minutes=10, equations=("9.2", "9.5"),
    reference=through_the_solve, alternatives=(through_the_inverse, through_by_autograd),
    cases=lambda g: [Case((normal(g, C, C).tril(-1), normal(g, C, V), normal(g, C, V)), f"C = {C}, V = {V}") for C, V in ((2, 1), (2, 3), (3, 2), (5, 1), (5, 4))],
    mutants={
        "forgets the mask": Mistake(through_with(lambda X, Z, dX, dZ: -dZ @ X.T),
            "A has entries below the diagonal only. The rest of the product belongs to entries that do not exist.", "eq. 9.5"),
        "keeps the diagonal": Mistake(through_with(lambda X, Z, dX, dZ: -(dZ @ X.T).tril()),
            "The diagonal of I + A is always 1: nothing there can change, so it has no gradient. The mask is *strictly* lower.", "eq. 9.5"),
        "forgets the sign": Mistake(through_with(lambda X, Z, dX, dZ: (dZ @ X.T).tril(-1)),
            "X = Z − A X: a larger A subtracts more. The gradient has a minus.", "eq. 9.2"),
        "uses dX instead of dZ": Mistake(through_with(lambda X, Z, dX, dZ: -(dX @ X.T).tril(-1)),
            "dX must first pass through the solve backwards: a change of x₂ goes on to change x₃. That is what dZ has collected.", "eq. 9.2",
            next="For which A are dX and dZ equal?"),
        "uses Z instead of X": Mistake(through_with(lambda X, Z, dX, dZ: -(dZ @ Z.T).tril(-1)),
            "In the system A multiplies X, the solution, not the right side Z.", "eq. 9.2"),
        "transposes the product": Mistake(through_with(lambda X, Z, dX, dZ: -(X @ dZ.T).tril(-1)),
            "A_ti multiplies x_i and lands in equation t. So the row of dA comes from dZ and the column from X.", "eq. 9.2"),
        "leaves the other triangle": Mistake(through_with(lambda X, Z, dX, dZ: -(dZ @ X.T).triu(1)),
            "A lives *below* the diagonal: rows are later tokens, columns earlier ones.", "eq. 9.5"),
    },
    hints=("Think of one entry, A_ti. Which equation is it in, and what does it multiply?",
           "Equation t reads x_t + Σ A_ti x_i = z_t. A change of A_ti acts like a change of z_t by −A_ti's change times x_i.",
           "dA = −stril(dZ Xᵀ): `-(dZ @ X.mT).tril(-1)`."),
)


# -- 9.3 -----------------------------------------------------------------------------------------------------------------

def chain_step(Q, K, beta, T1, P, dO, dS):
    dX = P.T @ dO + K @ dS.T
    dV = beta[:, None] * (T1.T @ dX)
    return dV, dS + dO.T @ Q - dV.T @ K


def chain_step_by_w(Q, K, beta, T1, P, dO, dS):
    T = T1 * beta
    W = T @ K
    return T.T @ P.T @ dO + T.T @ K @ dS.T, dS - dS @ K.T @ W + dO.T @ (Q - P @ W)


def chain_step_by_autograd(Q, K, beta, T1, P, dO, dS):
    def f(V, S):
        X = T1 @ (beta[:, None] * (V - K @ S.T))
        return Q @ S.T + P @ X, S + X.T @ K
    return by_autograd(f, (torch.zeros_like(dO), torch.zeros_like(dS)), (dO, dS))


def chain_with(dX=lambda K, P, dO, dS: P.T @ dO + K @ dS.T, dV=lambda T1, b, dX: b * (T1.T @ dX),
               dS_in=lambda Q, K, dO, dS, dX, dV: dS + dO.T @ Q - dV.T @ K):
    """A mutant of one of the three lines."""
    def f(Q, K, beta, T1, P, dO, dS):
        dX_ = dX(K, P, dO, dS)
        dV_ = dV(T1, beta[:, None], dX_)
        return dV_, dS_in(Q, K, dO, dS, dX_, dV_)
    return f


def subtracts_dZ(Q, K, beta, T1, P, dO, dS):
    dZ = T1.T @ (P.T @ dO + K @ dS.T)
    return beta[:, None] * dZ, dS + dO.T @ Q - dZ.T @ K


def chain_cases(g):
    made = delta_inputs(g, "q k beta v do dS", T=(1, 2, 5), K=3, V=2) + delta_inputs(g, "q k beta v do dS", T=(3,), K=4, V=4, betas=("zero", "large"))
    for case in smallest_first(made):
        q, k, beta, v, do, dS = case.args
        yield Case((q, k, beta, inverse(k, beta), (q @ k.T).tril(), do, dS), case.note)


exercise(
    id="9.3", title="One link of the backward chain", kind="code", stars=3, minutes=20, equations=("9.4",),
    reference=chain_step, alternatives=(chain_step_by_w, chain_step_by_autograd), cases=chain_cases,
    mutants={
        "hears the outputs only": Mistake(chain_with(dX=lambda K, P, dO, dS: P.T @ dO),
            "X is used twice: by the outputs of this chunk *and* by the memory that leaves. The second use brings K dS′ᵀ.", "eq. 9.4",
            next="Who reads what this chunk has written, after the chunk is over?"),
        "hears the leaving memory only": Mistake(chain_with(dX=lambda K, P, dO, dS: K @ dS.T),
            "X is used twice: by the leaving memory *and* by this chunk's own outputs, through P.", "eq. 9.4"),
        "does not transpose P": Mistake(chain_with(dX=lambda K, P, dO, dS: P @ dO + K @ dS.T),
            "O = P X sends x_i to later outputs. Gradients go the other way, from later outputs to x_i: Pᵀ dO.", "eq. 9.1"),
        "does not transpose the inverse": Mistake(chain_with(dV=lambda T1, b, dX: b * (T1 @ dX)),
            "Forward, the solve sends information to later tokens. Backward it must flow to *earlier* ones: T₁ᵀ.", "eq. 9.2"),
        "forgets the solve": Mistake(chain_with(dV=lambda T1, b, dX: b * dX),
            "What token t writes changes what later tokens find and therefore write. T₁ᵀ collects all of that.", "eq. 9.2"),
        "forgets beta": Mistake(chain_with(dV=lambda T1, b, dX: T1.T @ dX),
            "V enters as β ⊙ R, so its gradient carries β as well. With β = 0 a value has no influence at all.", "eq. 9.4"),
        "applies beta before the solve": Mistake(chain_with(dV=lambda T1, b, dX: T1.T @ (b * dX)),
            "Forward: first β, then T₁. Backward the order is reversed: first T₁ᵀ, then β.", "eq. 9.4"),
        "forgets that the outputs read the entering memory": Mistake(chain_with(dS_in=lambda Q, K, dO, dS, dX, dV: dS - dV.T @ K),
            "O contains Q Sᵀ. That use of S brings dOᵀQ.", "eq. 9.4"),
        "forgets that the errors read the entering memory": Mistake(chain_with(dS_in=lambda Q, K, dO, dS, dX, dV: dS + dO.T @ Q),
            "R = V − K Sᵀ asks the memory too. Without −dVᵀK this is the backward pass of linear attention: nothing is ever forgotten.", "eq. 9.4"),
        "adds what the errors have read": Mistake(chain_with(dS_in=lambda Q, K, dO, dS, dX, dV: dS + dO.T @ Q + dV.T @ K),
            "R = V − K Sᵀ contains the memory with a minus, so its gradient comes with a minus.", "eq. 9.4"),
        "takes dZ for dR": Mistake(subtracts_dZ,
            "Z = β ⊙ R, so dR = β ⊙ dZ, and that is dV.", "eq. 9.4"),
        "takes dX for dR": Mistake(chain_with(dS_in=lambda Q, K, dO, dS, dX, dV: dS + dO.T @ Q - dX.T @ K),
            "Between R and X stand β and the solve. The gradient of R is dV, not dX.", "eq. 9.4"),
        "drops the gradient that came in": Mistake(chain_with(dS_in=lambda Q, K, dO, dS, dX, dV: dO.T @ Q - dV.T @ K),
            "S′ = S + XᵀK contains S itself: dS′ passes straight through.", "eq. 9.4"),
    },
    hints=("Write the four lines of the forward pass under each other. For dX, look for every line that uses X; for dS, every line that uses S.",
           "X is used in O = … + P X and in S′ = S + XᵀK. S is used in R = V − K Sᵀ, in O = Q Sᵀ + …, and in S′ = S + ….",
           "`dX = P.mT @ dO + K @ dS.mT`, then `dV = beta[:, None] * (T1.mT @ dX)`, then dS + dO.mT @ Q − dV.mT @ K."),
)


# -- 9.4 -----------------------------------------------------------------------------------------------------------------

def dbeta_of_errors(K, V, beta, S, dX):
    T1, R = inverse(K, beta), V - K @ S.T
    X = T1 @ (beta[:, None] * R)
    e = R - (K @ K.T).tril(-1) @ X
    return ((T1.T @ dX) * e).sum(-1)


def dbeta_in_three_terms(K, V, beta, S, dX):
    """Through β ⊙ R and through A, added up."""
    T1, R = inverse(K, beta), V - K @ S.T
    dZ, X = T1.T @ dX, T1 @ (beta[:, None] * R)
    return (dZ * V).sum(-1) - (K * (dZ @ S)).sum(-1) - ((dZ @ X.T).tril(-1) * (K @ K.T)).sum(-1)


def dbeta_by_autograd(K, V, beta, S, dX):
    return by_autograd(lambda b: inverse(K, b) @ (b[:, None] * (V - K @ S.T)), (beta,), (dX,))[0]


def dbeta_by_loop(K, V, beta, S, dX):
    """The errors by the token loop, and T_1^T dX by substitution from the last token backwards."""
    e, writes = [], []
    for k_t, v_t, beta_t in zip(K, V, beta):
        e.append(v_t - S @ k_t)
        S = S + beta_t * torch.outer(e[-1], k_t)
    for t in reversed(range(len(K))):
        writes.insert(0, dX[t] - sum((beta[j] * (K[t] @ K[j]) * writes[j - t - 1] for j in range(t + 1, len(K))), torch.zeros_like(dX[t])))
    return (torch.stack(writes) * torch.stack(e)).sum(-1)


def dbeta_with(rule):
    """A mutant: rule(K, b, R, X, dX, dZ) with b = β as a column."""
    def f(K, V, beta, S, dX):
        T1, R = inverse(K, beta), V - K @ S.T
        return rule(K, beta[:, None], R, T1 @ (beta[:, None] * R), dX, T1.T @ dX)
    return f


def some_zero(g, *args):
    """One token in three does not write."""
    K, V, beta, S, dX = args
    return K, V, torch.where(torch.arange(len(beta)) % 3 == 1, torch.zeros_like(beta), beta), S, dX


exercise(
    id="9.4", title="Divided by β", kind="bug", stars=3, minutes=15, equations=("9.7",),
    reference=dbeta_of_errors, alternatives=(dbeta_in_three_terms, dbeta_by_autograd, dbeta_by_loop),
    cases=lambda g: smallest_first(
        delta_inputs(g, "k v beta S do", T=(1, 2, 5), K=3, V=2) + delta_inputs(g, "k v beta S do", T=(3,), K=2, V=4, betas=("zero", "large"))
        + [Case(some_zero(g, *case.args), case.note + ", some β = 0") for case in delta_inputs(g, "k v beta S do", T=(5,), K=2, V=3, keys=KEYS)]),
    mutants={
        "keeps the division": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * X / b).sum(-1)),
            "Right as long as every β is positive, because x = β e. A token with β = 0 gives 0/0, and one NaN is enough to ruin a model.", "eq. 9.7",
            next="Which expression for the error does not pass through x?"),
        **{f"adds {small:g} to β": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ, small=small: (dZ * X / (b + small)).sum(-1)),
            "No NaN any more, but x / (β + ε) at β = 0 is zero, however small ε is, and the gradient there is not: a token that does not "
            "write could never learn to.", "eq. 9.7") for small in (1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)},
        "takes the error against the old memory where β is zero": Mistake(
            dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * torch.where(b == 0, R, X / b)).sum(-1)),
            "A token with β = 0 still meets a memory in which the earlier tokens of its chunk have written. R does not know of them.", "eq. 9.7",
            next="Subtract stril(K Kᵀ) X, for every token."),
        "subtracts A X": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * (R - (b * (K @ K.T)).tril(-1) @ X)).sum(-1)),
            "A has β in it. What the earlier tokens have written answers k_t with the overlaps alone: stril(K Kᵀ) X.", "eq. 9.7"),
        "sets the gradient to zero where β is zero": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * X / b).sum(-1).nan_to_num(0.0)),
            "The gradient at β = 0 is not zero: it says what would change if the token *began* to write.", "eq. 9.7"),
        "leaves the division out": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * X).sum(-1)),
            "X is β times the error. The gradient of β needs the error itself.", "eq. 9.7"),
        "uses the error against the old memory": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * R).sum(-1)),
            "R = V − K Sᵀ compares with the memory from *before the chunk*. Token t met S_{t−1}, which holds the writes of the earlier tokens too.", "eq. 9.7",
            next="Subtract stril(K Kᵀ) X."),
        "lets a token see its own write": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * (R - (K @ K.T).tril() @ X)).sum(-1)),
            "That is the error *after* the write. With the diagonal left out it is the one the token met.", "eq. 9.7"),
        "skips the solve": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dX * (R - (K @ K.T).tril(-1) @ X)).sum(-1)),
            "dX must pass backwards through the triangular system first: what token t writes changes what later tokens write.", "eq. 9.2"),
        "has the error the wrong way round": Mistake(dbeta_with(lambda K, b, R, X, dX, dZ: (dZ * ((K @ K.T).tril(-1) @ X - R)).sum(-1)),
            "The error here is the value minus what the memory says, as in x = β e.", "eq. 9.7"),
    },
    hints=("What is x when β = 0? And what is the error then?",
           "The error that token t met is v_t − S_{t−1}k_t, and S_{t−1} = S + Σ x_i k_iᵀ over i < t.",
           "As rows: e = R − stril(K Kᵀ) X. Then dβ = rowsum(dZ ⊙ e)."),
)


# -- 9.5 -----------------------------------------------------------------------------------------------------------------

def key_value_memory_gradients(Q, K, V, beta, S, dO, dS):
    _, dK, dV, _, dS_in = backward_chunk(Q, K, V, beta, S, forward_chunk(Q, K, V, beta, S)[2], dO, dS)
    return dK, dV, dS_in


def key_value_memory_by_autograd(Q, K, V, beta, S, dO, dS):
    return by_autograd(chunk_results, (Q, K, V, beta, S), (dO, dS))[1:3] + by_autograd(chunk_results, (Q, K, V, beta, S), (dO, dS))[4:]


exercise(
    id="9.5", title="Backward through a chunk, in order", kind="order", stars=3, minutes=15, equations=("9.4", "9.6"),
    reference="DBGAHFCE", alternatives=("DBAGHFCE", "DABGHFCE"),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S do dS", T=(1, 2, 4), K=3, V=2, memories=("nonempty",))
                                   + delta_inputs(g, "q k v beta S do dS", T=(3,), K=2, V=5, betas=("large",), memories=("nonempty",))),
    prepare=order_the_lines(
        {"A": "dP = (dO @ X.T).tril()", "B": "dX = P.T @ dO + K @ dS.T", "C": "dS = dS + dO.T @ Q - dV.T @ K", "D": "T1, P, R, X = forward_chunk(Q, K, V, beta, S)[2]",
         "E": "return dK, dV, dS", "F": "dK = dP.T @ Q + X @ dS - dV @ S - (E + E.T) @ K", "G": "dV = beta[:, None] * (T1.T @ dX)",
         "H": "E = (dV @ X.T).tril(-1)"},
        "def gradients(Q, K, V, beta, S, dO, dS):", "gradients", namespace={"forward_chunk": forward_chunk},
        distractors={"I": "E = (dX @ X.T).tril(-1)", "J": "dP = (dO @ X.T).tril(-1)"}),
    mutants={
        "updates dS before dK has used it": Mistake("DBGAHCFE",
            "Line F needs the gradient of the memory that *leaves*. After line C, dS is the gradient of the one that entered.", "eq. 9.6",
            next="Which of the lines with dS in them must come last?"),
        "takes dX through the solve before it exists": Mistake("DAGCBHFE",
            "Line G uses dX, and only line B computes it.", "eq. 9.4"),
        "takes dX for dV in the overlaps": Mistake("DBGAIFCE",
            "Line I is a decoy: E is made of dV, which has passed through the solve and β.", "eq. 9.5"),
        "gives the diagonal of P no gradient": Mistake("DBGJHFCE",
            "Line J is a decoy: P keeps its diagonal, because a token reads what it has written itself. So does its gradient.", "eq. 9.6"),
        "uses the overlaps before they exist": Mistake("DBGAFHCE",
            "Line F uses E, and only line H computes it.", "eq. 9.6"),
        "forgets to run the forward pass": Mistake("BGAHFCE",
            "P, X and T₁ have to be computed again: only the inputs were kept. Line D does that.", "eq. 8.6"),
        "forgets to pass the gradient on": Mistake("DBGAHFE",
            "Without line C the chunk before gets the gradient of the wrong memory.", "eq. 9.4"),
        "computes the overlaps before dV": Mistake("DBHGAFCE",
            "Line H uses dV, and only line G computes it.", "eq. 9.5"),
    },
    hints=("D runs the forward pass again. Two of the ten lines are decoys.",
           "The order of names: X and P, then dX, then dV, then E; dP needs only dO and X.",
           "Both dX and dK want the dS that came in, so C comes after F. The end is F C E."),
)


# -- 9.6 -----------------------------------------------------------------------------------------------------------------

class SavesInputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q, K, V, beta, S)
        O, S_out, _ = forward_chunk(Q, K, V, beta, S)
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):
        Q, K, V, beta, S = ctx.saved_tensors
        return backward_chunk(Q, K, V, beta, S, forward_chunk(Q, K, V, beta, S)[2], dO, dS)


class SavesInputsAndAsksAutograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return forward_chunk(*inputs)[:2]

    @staticmethod
    def backward(ctx, *outgoing):
        with torch.enable_grad():
            return by_autograd(chunk_results, ctx.saved_tensors, outgoing)


class SavesInputsOfTheLibrary(torch.autograd.Function):
    """The package's functions, which want chunks as (N*B*H, C, D)."""

    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q, K, V, beta, S)
        O, S_out, _ = forward_chunks(Q[None], K[None], V[None], beta[None, :, None], S[None])
        return O[0], S_out[0]

    @staticmethod
    def backward(ctx, dO, dS):
        Q, K, V, beta, S = ctx.saved_tensors
        chunked = Q[None], K[None], V[None], beta[None, :, None]
        dQ, dK, dV, dbeta, dS_in = backward_chunks(*chunked, *forward_chunks(*chunked, S[None])[2], dO[None], dS[None])
        return dQ[0], dK[0], dV[0], dbeta[0, :, 0], dS_in[0]


def function_that(finish=lambda ctx, gradients: gradients, save=None, receive=lambda dO, dS: (dO, dS)):
    """A mutant of SavesInputs: `save` in the forward pass, `receive` and `finish` in the backward pass."""
    class Mutant(torch.autograd.Function):
        @staticmethod
        def forward(ctx, Q, K, V, beta, S):
            O, S_out, extra = forward_chunk(Q, K, V, beta, S)
            save(ctx, (Q, K, V, beta, S), extra) if save else ctx.save_for_backward(Q, K, V, beta, S)
            return O, S_out

        @staticmethod
        def backward(ctx, dO, dS):
            Q, K, V, beta, S = ctx.saved_tensors[:5]
            return finish(ctx, backward_chunk(Q, K, V, beta, S, forward_chunk(Q, K, V, beta, S)[2], *receive(dO, dS)))
    return Mutant


def save_everything_on_ctx(ctx, inputs, extra):
    ctx.save_for_backward(*inputs)
    ctx.T1, ctx.P, ctx.R, ctx.X = extra


class KeepsInputsAsAttributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.inputs = inputs
        return forward_chunk(*inputs)[:2]

    @staticmethod
    def backward(ctx, dO, dS):
        return backward_chunk(*ctx.inputs, forward_chunk(*ctx.inputs)[2], dO, dS)


class KeepsEverythingAsAttributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        O, S_out, ctx.results = forward_chunk(*inputs)
        ctx.inputs = inputs
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):
        return backward_chunk(*ctx.inputs, ctx.results, dO, dS)


class SavesTheLeavingMemory(SavesInputs):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        O, S_out, _ = forward_chunk(Q, K, V, beta, S)
        ctx.save_for_backward(Q, K, V, beta, S_out)
        return O, S_out


def run_function(answer):
    """From a torch.autograd.Function to what is compared: results, gradients, how many numbers it saves, and how many it hides on ctx."""
    if isinstance(answer, torch.autograd.Function) or not callable(answer):
        raise AnswerError("give the class itself, a subclass of torch.autograd.Function")
    apply = answer.apply if isinstance(answer, type) and issubclass(answer, torch.autograd.Function) else answer

    def run(Q, K, V, beta, S, dO, dS):
        inputs, saved = [x.clone().requires_grad_() for x in (Q, K, V, beta, S)], {}

        def keep(x):
            saved[x.untyped_storage().data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            results = apply(*inputs)
        if not (isinstance(results, tuple) and len(results) == 2):
            raise ValueError("forward should return two tensors, O and the memory that leaves")
        attached = [x for x in tree_leaves(getattr(results[0].grad_fn, "__dict__", {})) if isinstance(x, torch.Tensor)]
        gradients = torch.autograd.grad(results, inputs, (dO, dS), allow_unused=True)
        return {**dict(zip(("O", "memory that leaves", "dQ", "dK", "dV", "dbeta", "dS"), (*results, *gradients))),
                "numbers saved": sum(saved.values()), "numbers on ctx": sum(x.numel() for x in attached)}

    run.__signature__ = inspect.signature(run)                           # names of the arguments are ours ...
    run.__wrapped__ = getattr(answer, "forward", answer)                 # ... and lines in a traceback the learner's
    return run


exercise(
    id="9.6", title="Save nothing but the inputs", kind="code", stars=4, minutes=25, equations=("9.4", "9.6", "9.7", "9.9"),
    reference=SavesInputs, alternatives=(SavesInputsAndAsksAutograd, SavesInputsOfTheLibrary), prepare=run_function, sources=(SavesInputs,),
    cases=lambda g: smallest_first(delta_inputs(g, "q k v beta S do dS", T=(2, 5), K=3, V=2, memories=("nonempty",))
                                   + delta_inputs(g, "q k v beta S do dS", T=(4,), K=2, V=5, betas=("zero", "large"), memories=("nonempty",))),
    mutants={
        "saves the intermediate results too": Mistake(function_that(save=lambda ctx, inputs, extra: ctx.save_for_backward(*inputs, *extra)),
            "All gradients are right, but T₁, P, R and X are kept as well. Save the five inputs and run `forward` again in the backward pass.", "eq. 9.9"),
        "hides intermediate results on ctx": Mistake(function_that(save=save_everything_on_ctx),
            "All gradients are right, but tensors set as attributes of `ctx` stay alive just like saved ones, and T₁, P, R and X are among them.",
            "eq. 9.9", next="Use `ctx.save_for_backward` for the inputs, and nothing else."),
        "keeps the inputs as attributes of ctx": Mistake(KeepsInputsAsAttributes,
            "All gradients are right. But attributes of `ctx` escape PyTorch: it cannot free them after the backward pass, notice that you have changed them in "
            "between, or move them elsewhere with a hook.", "eq. 9.9", next="Use `ctx.save_for_backward` and `ctx.saved_tensors`."),
        "keeps everything as attributes of ctx": Mistake(KeepsEverythingAsAttributes,
            "All gradients are right, but nothing is saved in PyTorch's sense: inputs, T₁, P, R and X all hang on `ctx`.", "eq. 9.9",
            next="Use `ctx.save_for_backward` for the inputs, and compute the rest again."),
        "saves the memory that leaves": Mistake(SavesTheLeavingMemory,
            "The backward pass runs the chunk again, so it needs the memory that *entered* it.", "eq. 8.6"),
        "ignores the gradient of the memory that leaves": Mistake(function_that(receive=lambda dO, dS: (dO, torch.zeros_like(dS))),
            "The function has two results, so `backward` gets two gradients. The second, dS, carries everything that later chunks have to say.", "eq. 9.4"),
        "ignores the gradient of the outputs": Mistake(function_that(receive=lambda dO, dS: (torch.zeros_like(dO), dS)),
            "The function has two results, so `backward` gets two gradients, in the same order: dO, then dS.", "eq. 9.4"),
        "returns None for the entering memory": Mistake(function_that(finish=lambda ctx, d: (*d[:4], None)),
            "None means \"no gradient\". But the memory that entered was made by the chunk before, which needs it.", "eq. 9.4"),
        "returns None for beta": Mistake(function_that(finish=lambda ctx, d: (*d[:3], None, d[4])),
            "β comes from the network as well, and learns through eq. 9.7.", "eq. 9.7"),
        "swaps the gradients of query and key": Mistake(function_that(finish=lambda ctx, d: (d[1], d[0], *d[2:])),
            "One gradient for each input of `forward`, in the order of the inputs: Q, K, V, β, S. Q and K have one shape, so nothing fails loudly.", "eq. 9.6"),
        "passes the leaving memory's gradient on unchanged": Mistake(function_that(
                receive=lambda dO, dS: (dO, dS), save=None, finish=lambda ctx, d: (*d[:4], d[4].detach() * 0 + 1)),
            "The fifth gradient is constant. `backward` returns it last: dS + dOᵀQ − dVᵀK.", "eq. 9.4"),
    },
    hints=("`forward(ctx, ...)` must call `ctx.save_for_backward` with the five inputs, and return two tensors.",
           "`backward(ctx, dO, dS)` gets one gradient per result and returns one per input, in the same order.",
           "`Q, K, V, beta, S = ctx.saved_tensors`, then `forward_chunk(...)` again for what `backward_chunk` needs."),
)


# -- 9.7 -----------------------------------------------------------------------------------------------------------------

def read_token(answer):
    """(S, k, v, beta, q) of one token with K = 2, V = 1, or an AnswerError."""
    try:
        S, k, v, beta, q = (torch.as_tensor(x, dtype=torch.float64).reshape(shape) for x, shape in zip(answer, ((1, 2), (2,), (1,), (), (2,)), strict=True))
    except Exception:
        raise AnswerError("give (S, k, v, beta, q): S, k and q with two numbers each, v and beta one number") from None
    if not all(x.isfinite().all() for x in (S, k, v, beta, q)):
        raise AnswerError("every entry must be a finite number")
    return S, k, v, beta, q


def what_beta_learns(answer):
    """What the gradients of β and v look like when the output's gradient is 1."""
    S, k, v, beta, q = read_token(answer)
    _, _, dv, dbeta, _ = by_autograd(lambda *x: token_loop(*(y[None] for y in x[:4]), x[4])[0][0], (q, k, v, beta, S), (torch.ones(1, dtype=S.dtype),))
    if (k @ q).abs() < 1e-9:
        return "the query does not see the key: nothing learns, neither v nor β"
    if beta.abs() < 1e-9:
        return "β is zero: v has no gradient"
    if dbeta.abs() > 1e-9:
        return "β has a gradient" if (S @ k).abs() > 1e-9 else "β has a gradient, because the memory says 0"
    return "v has a gradient and β has none" if dv.abs() > 1e-9 else "nothing learns"


exercise(
    id="9.7", title="A β that has nothing to learn", kind="open", stars=2, minutes=10, equations=("9.7",),
    reference=((1.0, 2.0), (0.6, 0.8), 2.2, 0.5, (1.0, 0.0)), alternatives=(((0.0, 0.0), (3.0, 4.0), 0.0, 0.1, (1.0, 1.0)),), prepare=what_beta_learns,
    mutants={
        "lets the query miss the key": Mistake(((1.0, 2.0), (1.0, 0.0), 5.0, 0.5, (0.0, 1.0)),
            "Then nothing this token does reaches the output, and v has no gradient either. The write must be seen, and still β must not care.", "eq. 9.7"),
        "switches the token off": Mistake(((1.0, 2.0), (0.6, 0.8), 5.0, 0.0, (1.0, 0.0)),
            "With β = 0 it is v that has no gradient, while β has one: dβ = dx · e.", "eq. 9.7", next="Leave β alone. Which factor of dβ can be zero?"),
        "surprises the memory": Mistake(((1.0, 2.0), (0.6, 0.8), 5.0, 0.5, (1.0, 0.0)),
            "The memory says S k and the token says v, and they differ. So it matters how strongly the token writes.", "eq. 9.7",
            next="Which v does the memory already know?"),
        "starts from a memory that says nothing": Mistake(((0.0, 0.0), (0.6, 0.8), 5.0, 0.5, (1.0, 0.0)),
            "An empty memory says 0, so any value but 0 is a surprise.", "eq. 9.7"),
    },
    hints=("dβ is a product of two things. Make one of them zero, but not the one that v needs as well.",
           "dβ = dx · e and dv = β dx. So dx must not be zero.",
           "Let e = v − S k be zero: give the token the value that the memory already answers."),
    why="The memory already answered v, so the token writes nothing, whatever its β. A write strength learns from surprises only.",
)
