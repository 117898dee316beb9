"""One chunk, right and wrong: solutions and mistakes of 8.2, which 8.3 runs chunk after chunk."""

import torch

from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import Mistake
from ..common import eye_like, loop


def one_chunk(Q, K, V, beta, S):
    UT = ut_by_solve(K, beta)                                            # (C, C)
    W, U = UT @ K, UT @ V                                                # (C, K), (C, V)
    X = U - W @ S.mT                                                     # (C, V)
    O = Q @ S.mT + (Q @ K.mT).tril() @ X                                 # (C, V)
    S_out = S + X.mT @ K                                                 # (V, K)
    return O, S_out


def one_chunk_residual(Q, K, V, beta, S):
    X = ut_by_solve(K, beta) @ (V - K @ S.T)
    mask = torch.ones(len(Q), len(Q), dtype=Q.dtype).tril()
    return torch.einsum("tk,vk->tv", Q, S) + torch.einsum("tk,ik,ti,iv->tv", Q, K, mask, X), S + X.T @ K


def one_chunk_by_loop(Q, K, V, beta, S):
    O, states = loop(Q, K, V, beta, S)
    return O, states[-1]


def from_an_empty_memory(Q, K, V, beta, S):
    return one_chunk(Q, K, V, beta, torch.zeros_like(S))


def without_the_solve(Q, K, V, beta, S):
    X = beta[:, None] * (V - K @ S.T)
    return Q @ S.T + (Q @ K.T).tril() @ X, S + X.T @ K


def by_the_transition(right=True, writes=True):
    """A mutant that takes S (I − WᵀK) + UᵀK apart: the product the wrong way round, or without what is written."""
    def f(Q, K, V, beta, S):
        UT = ut_by_solve(K, beta)
        W, U, O = UT @ K, UT @ V, one_chunk(Q, K, V, beta, S)[0]
        S_out = S @ (eye_like(K) - (W.T @ K if right else K.T @ W))
        return O, S_out + U.T @ K if writes else S_out
    return f


def update_along(rows):
    """A mutant whose writes end in other rows than the keys: rows(Q, K, W)."""
    def f(Q, K, V, beta, S):
        UT = ut_by_solve(K, beta)
        X = UT @ (V - K @ S.T)
        return Q @ S.T + (Q @ K.T).tril() @ X, S + X.T @ rows(Q, K, UT @ K)
    return f


def update_with_outputs(Q, K, V, beta, S):
    O, _ = one_chunk(Q, K, V, beta, S)
    return O, S + O.T @ K


def chunk_with(read=None, update=None):
    """A mutant of `one_chunk`: the outputs are read(Q, K, S, X), the memory that leaves is update(K, S, X)."""
    def f(Q, K, V, beta, S):
        O, S_out = one_chunk(Q, K, V, beta, S)
        X = ut_by_solve(K, beta) @ (V - K @ S.T)
        return read(Q, K, S, X) if read else O, update(K, S, X) if update else S_out
    return f


def reading_and_writing(write, read=True, update=True):
    """A mutant that takes write(V, U, X, beta) for X, in the outputs, in the update, or in both."""
    def f(Q, K, V, beta, S):
        UT = ut_by_solve(K, beta)
        X = UT @ (V - K @ S.T)
        Y = write(V, UT @ V, X, beta)
        return Q @ S.T + (Q @ K.T).tril() @ (Y if read else X), S + (Y if update else X).T @ K
    return f


def with_softmax(Q, K, S, X):
    scores = Q @ K.T
    return Q @ S.T + scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf).softmax(-1) @ X


def U_for_X(V, U, X, beta):
    return U


def V_for_X(V, U, X, beta):
    return V


def beta_once_more(V, U, X, beta):
    return beta[:, None] * X


def without_diagonal(Q, K, S, X):
    return Q @ S.T + (Q @ K.T).tril(-1) @ X


def without_mask(Q, K, S, X):
    return Q @ S.T + Q @ K.T @ X


def after_the_update(Q, K, S, X):
    return Q @ (S + X.T @ K).T + (Q @ K.T).tril() @ X


def within_the_chunk_only(Q, K, S, X):
    return (Q @ K.T).tril() @ X


def all_scaled(Q, K, S, X):
    return K.shape[1] ** -0.5 * (Q @ S.T + (Q @ K.T).tril() @ X)


def scores_scaled(Q, K, S, X):
    return Q @ S.T + K.shape[1] ** -0.5 * (Q @ K.T).tril() @ X


def change_only(K, S, X):
    return X.T @ K


def transposed_change(K, S, X):
    return S + K.T @ X


def writing(what):
    """A mutant that takes what(K, V, b, S, UT) for X, in outputs and update; b is β as a column."""
    def f(Q, K, V, beta, S):
        X = what(K, V, beta[:, None], S, ut_by_solve(K, beta))
        return Q @ S.T + (Q @ K.T).tril() @ X, S + X.T @ K
    return f


WRITES = {                                                               # of 8.3, whose answer computes X itself
    "multiplies by β once more": Mistake(reading_and_writing(beta_once_more),
        "X contains β already, through UT = (I + A)⁻¹ diag(β).", "eq. 8.2"),
    "has β in UT and in the errors": Mistake(writing(lambda K, V, b, S, UT: UT @ (b * (V - K @ S.T))),
        "UT = (I + A)⁻¹ diag(β) contains β already, so it multiplies the errors as they are: UT (V − K Sᵀ).",
        "eq. 8.6"),
    "adds what the memory says": Mistake(writing(lambda K, V, b, S, UT: UT @ (V + K @ S.T)),
        "The sign is wrong: what the memory already says is *subtracted*, X = U − W Sᵀ.", "eq. 8.2"),
    "asks the memory with the keys": Mistake(writing(lambda K, V, b, S, UT: UT @ V - K @ S.T),
        "Your X is U − K Sᵀ. The old memory is asked in the directions W = UT K, which know what the chunk itself has "
        "erased: X = U − W Sᵀ.", "eq. 8.2"),
    "takes V for U": Mistake(writing(lambda K, V, b, S, UT: V - UT @ K @ S.T),
        "Your X is V − W Sᵀ. The values pass through the triangular system as the keys do: U = UT V.", "eq. 8.2"),
    "writes the errors as they are": Mistake(writing(lambda K, V, b, S, UT: V - K @ S.T),
        "V − K Sᵀ compares with the memory from before the chunk, and nothing is scaled by β. UT does both, the "
        "strengths and what the chunk's own tokens write: X = UT (V − K Sᵀ).", "eq. 8.6"),
    "hands on the last write only": Mistake(chunk_with(update=lambda K, S, X: S + X[-1:].T @ K[-1:]),
        "All tokens of the chunk have written: S + XᵀK, with all rows.", "eq. 8.4"),
    "takes the writes away": Mistake(chunk_with(update=lambda K, S, X: S - X.T @ K),
        "X is what is written, the erasing included, so it is *added* to S.", "eq. 8.4"),
    "writes along the queries": Mistake(update_along(lambda Q, K, W: Q),
        "A write ends in the *key*, x kᵀ: that is where it will be found. The query only reads.", "eq. 8.1"),
    "hands on what the values would have written": Mistake(reading_and_writing(V_for_X, read=False),
        "The outputs are made of X, and the memory of V. Both need X, what the tokens really write: S + XᵀK.",
        "eq. 8.4"),
}
