"""Exercise 8.6: the sign of DeltaNet's attention weights."""

from ...ops import delta_rule_attention
from ...tutor import AnswerError, Mistake, exercise
from ..common import numbers, real

# -- 8.6 ---------------------------------------------------------------------------------------------------------------

def read_friendly(answer):
    """(k, beta, q) as float64 tensors (T, 2), (T,), (2,), or an AnswerError that says what is missing."""
    try:
        k, beta, q = (numbers(x) for x in answer)
    except Exception:
        raise AnswerError("give (k, beta, q): a list of keys with 2 entries each, as many numbers, and a query with 2 "
                          "entries"
                          ) from None
    if k.ndim != 2 or k.shape[1] != 2 or beta.shape != k.shape[:1] or q.shape != (2,) or not 1 <= len(k) <= 4:
        shapes = ", ".join(str(tuple(x.shape)) for x in (k, beta, q))
        raise AnswerError(f"the shapes are {shapes}, expected (T, 2), (T,), (2,) with T from 1 to 4")
    if not all(x.isfinite().all() for x in (k, beta, q)):
        raise AnswerError("every entry must be a number")
    if outside := [b for b in beta.tolist() if not 0 <= b <= 1]:
        raise AnswerError(f"every β must lie between 0 and 1, and one is {outside[0]:g}")
    return k, beta, q


def sign_of_the_weights(answer):
    """In a few words, what the last row of the attention matrix looks like."""
    k, beta, q = read_friendly(answer)
    if min(k.min(), q.min()) < 0:
        return "an entry of a key or of the query is negative"
    if len(k) == 1:
        return "one token: its weight is β kᵀq, which cannot be negative"
    row = delta_rule_attention(q.expand_as(k)[None, :, None], k[None, :, None], beta[None, :, None])[0, 0, -1]
    if row.min() < -1e-12 * row.abs().max():                             # rounding has no sign, a faint weight has
        return "a weight is negative"
    if not (k @ k.T).tril(-1).any():
        return "no weight is negative: the keys do not overlap"
    if not beta[1:].any():
        return "no weight is negative: nothing is erased after the first token"
    return _why_not_negative(k, beta, q)


def _why_not_negative(k, beta, q):
    """What keeps every weight of the last token from being negative, though some keys overlap and some β are not 0."""
    if not (k @ q).any():
        return "no weight is negative: the query overlaps no key"
    writers = beta.bool()
    if not (k @ k.T)[writers][:, writers].tril(-1).any():
        return "no weight is negative: of two keys that overlap, one is never written"
    return "no weight is negative"


exercise(
    id="8.6", title="A negative weight from friendly vectors", kind="open", stars=3, minutes=15, equations=("8.7",),
    reference=([(1.0, 0.0), (0.6, 0.8)], [1.0, 1.0], (0.0, 1.0)),
    alternatives=(([(2.0, 1.0), (1.0, 1.0), (1.0, 2.0)], [0.2, 0.1, 0.3], (0.0, 1.0)),
                  ([(1.0, 0.0), (1.0, 1.0)], [1e-6, 1e-6], (0.0, 1.0)),
                  ([real((0.0, 1.0)), real((1.0, 0.0)), real((0.6, 0.8))], [1, 1, real(1.0)], real((1.0, 0.0)))),
    prepare=sign_of_the_weights,
    mutants={
        "uses a negative entry": Mistake(([(1.0, 0.0), (-0.6, 0.8)], [1.0, 1.0], (1.0, 0.0)),
            "With negative entries any dot product can be negative, and linear attention has negative weights too. "
            "Here all entries must be at least 0.", "eq. 8.7"),
        "stops after one token": Mistake(([(0.6, 0.8)], [1.0], (0.0, 1.0)),
            "The first token has nothing to erase. A negative weight is an *erasure* seen from the reader's side.",
            "eq. 8.7"),
        "uses keys at right angles": Mistake(([(1.0, 0.0), (0.0, 1.0)], [1.0, 1.0], (0.6, 0.8)),
            "UT is then diag(β): nobody erases anybody. The second key must overlap the first.", "eq. 8.7",
            next="Turn the second key toward the first."),
        "writes nothing after the first token": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 0.0], (0.0, 1.0)),
            "A token with β = 0 does not write and does not erase.", "eq. 8.7"),
        "writes nothing that could be erased": Mistake(([(1.0, 0.0), (0.6, 0.8)], [0.0, 1.0], (0.0, 1.0)),
            "Of two keys that overlap, one has β = 0. What was never written cannot be erased, and has the weight 0; "
            "and whoever writes nothing erases nothing.", "eq. 8.7"),
        "asks for what is nowhere": Mistake(([(1.0, 0.0), (1.0, 0.0)], [1.0, 1.0], (0.0, 1.0)),
            "The query overlaps no key, so all weights are zero. It must overlap the key that erases.", "eq. 8.7"),
        "keeps at least as much as it erases": Mistake(([(1.0, 0.0), (0.6, 0.8)], [1.0, 1.0], (1.0, 0.0)),
            "The last query overlaps each earlier key at least as much as the later tokens take away from it, so every "
            "weight stays positive or zero.", "eq. 8.7",
            next="Which query does not overlap the first key at all, but does overlap the second?"),
    },
    hints=("Two tokens are enough. Write down the 2 × 2 matrix UT for unit keys with overlap c.",
           "The weight of token 1 is β₁ (k₁ᵀq − β₂ (k₂ᵀk₁)(k₂ᵀq)) for the query of token 2.",
           "Make k₁ᵀq zero, and k₂ᵀk₁ and k₂ᵀq positive."),
    why="Token 2 writes v₂ minus what the memory says about k₂, and that contains v₁. Whoever reads token 2's write "
        "reads *minus* v₁ with it. Softmax weights cannot do that: they are positive by construction. Long keys have "
        "another way to it: with β‖k‖² > 1 a write takes away more than there was.",
)
