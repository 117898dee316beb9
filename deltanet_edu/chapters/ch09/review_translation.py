"""Exercise 9.11: a chunk translated into another library's layout. It reviews chapters 6 and 8, and the notation."""

import torch

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from .chunk import inverse, token_loop


def translated(q, k, v, beta, UT1, h, scale):
    W, U = UT1 @ (beta[:, None] * k), UT1 @ (beta[:, None] * v)          # (C, K), (C, V)
    X = U - W @ h                                                        # (C, V)
    return scale * (q @ h + (q @ k.mT).tril() @ X), h + k.mT @ X


def translated_by_the_loop(q, k, v, beta, UT1, h, scale):
    o, S = token_loop(scale * q, k, v, beta, h.T)
    return o, S.T


def translated_with_residuals(q, k, v, beta, UT1, h, scale):
    X = UT1 @ (beta[:, None] * (v - k @ h))
    return scale * q @ h + scale * (q @ k.T).tril() @ X, h + k.T @ X


def half_scaled(q, k, S, X, s):
    return q @ S + s * (q @ k.T).tril() @ X


def whole_scaled(q, k, S, X, s):
    return s * (q @ S + (q @ k.T).tril() @ X)


def unscaled(q, k, S, X, s):
    return whole_scaled(q, k, S, X, 1)


def scaled_by_default(q, k, S, X, s):
    return whole_scaled(q, k, S, X, k.shape[1] ** -0.5)


def old_memory_scaled(q, k, S, X, s):
    return s * q @ S + (q @ k.T).tril() @ X


def without_mask(q, k, S, X, s):
    return s * (q @ S + q @ k.T @ X)


def without_diagonal(q, k, S, X, s):
    return s * (q @ S + (q @ k.T).tril(-1) @ X)


def after_the_update(q, k, S, X, s):
    return whole_scaled(q, k, S + k.T @ X, X, s)


def once(beta):
    return beta


def left_out(beta):
    return torch.ones_like(beta)


def added_in_their_layout(k, S, X, s):
    return S + k.T @ X


def handed_back_transposed(k, S, X, s):
    return (S + k.T @ X).T


def translated_with(on_k=once, on_v=once, enter=lambda h: h, output=whole_scaled, memory=added_in_their_layout):
    """A mutant: β as it meets k and v, the memory as it is taken, the output, the memory as it is returned."""
    def f(q, k, v, beta, UT1, h, scale):
        S = enter(h)
        X = UT1 @ (on_v(beta)[:, None] * v) - UT1 @ (on_k(beta)[:, None] * k) @ S
        return output(q, k, S, X, scale), memory(k, S, X, scale)
    return f


def copied(strength=left_out, enter=lambda h: h.T, output=half_scaled):
    """A mutant that keeps this book's layout: the code of the card, with β, the memory in X, or the scale repaired."""
    def f(q, k, v, beta, UT1, h, scale):
        b = strength(beta)[:, None]
        X = UT1 @ (b * v) - UT1 @ (b * k) @ enter(h)
        return output(q, k, h.T, X, scale), h + X.T @ k
    return f


def scaled_on_the_left(q, k, v, beta, UT1, h, scale):
    X = beta[:, None] * (UT1 @ (v - k @ h))
    return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X


def scaled_on_the_left_in(name):
    """A mutant: W or U is made with β in front of UT1, the other one as it should be."""
    def f(q, k, v, beta, UT1, h, scale):
        b = beta[:, None]
        W, U = (b * (UT1 @ x) if name == wrong else UT1 @ (b * x) for wrong, x in (("W", k), ("U", v)))
        X = U - W @ h
        return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X
    return f


def adding_what_the_memory_says(q, k, v, beta, UT1, h, scale):
    X = UT1 @ (beta[:, None] * (v + k @ h))
    return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X


def scaling_what_the_memory_says(q, k, v, beta, UT1, h, scale):
    X = UT1 @ (beta[:, None] * (v - scale * k @ h))
    return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X


def translated_cases(g):
    made = delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=3, V=2)
    made += delta_inputs(g, "q k v beta S", T=(3,), K=4, V=4, betas=("large",))
    for n, case in enumerate(smallest_first(made)):
        q, k, v, beta, S = case.args
        scale = (k.shape[1] ** -0.5, 0.75)[n % 2]             # theirs by default, and another
        yield Case((q, k, v, beta, inverse(k, beta), S.T.contiguous(), scale), case.note)


exercise(
    id="9.11", title="Review: from another library", kind="bug", stars=3, minutes=20, equations=("6.3", "8.4", "8.5"),
    reference=translated, alternatives=(translated_by_the_loop, translated_with_residuals), cases=translated_cases,
    mutants={
        "scales what the memory says about the keys": Mistake(scaling_what_the_memory_says,
            "The scale is a factor on the query. The errors ask the memory with the keys, and that is not scaled.",
            "eq. 8.2"),
        "uses T as if it contained β": Mistake(translated_with(on_k=left_out, on_v=left_out),
            "In this library `UT1` is the inverse alone, so β must be multiplied in where it meets k and v. Yours "
            "writes at full strength.", "eq. 6.3"),
        "repairs the layout only": Mistake(translated_with(on_k=left_out, on_v=left_out, output=half_scaled),
            "The layout is right now. Left to do: `UT1` is without β, so β must be multiplied in where it meets k and "
            "v; and the scale belongs to the whole output.", "eq. 6.3 and 8.5"),
        "takes h for S throughout": Mistake(copied(),
            "The code is as it was copied: it writes h where this book writes Sᵀ, so the shapes fit only where K = V. "
            "First translate the layout.", "eq. 8.4 and 8.5",
            next="h is (K, V) and W is (C, K). Which product of the two has shape (C, V)?"),
        "takes h for S in the output and the update": Mistake(copied(enter=lambda h: h),
            "X is translated. The other two places where the memory occurs still have this book's layout: the output, "
            "and the memory that comes back.", "eq. 8.4 and 8.5"),
        "repairs everything but the layout": Mistake(copied(strength=lambda b: b, output=whole_scaled),
            "β and the scale are right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and "
            "XᵀK, it is W h, Q h and KᵀX.", "eq. 8.4 and 8.5"),
        "repairs β, but not the layout": Mistake(copied(strength=lambda b: b),
            "β is right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and XᵀK, it is W h, Q "
            "h and KᵀX. And the scale belongs to the whole output.", "eq. 8.4 and 8.5"),
        "repairs the scale, but not the layout": Mistake(copied(output=whole_scaled),
            "The scale is right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and XᵀK, it is "
            "W h, Q h and KᵀX. And `UT1` is without β.", "eq. 6.3 and 8.4"),
        "translates the memory on the way in, and no more": Mistake(
            translated_with(on_k=left_out, on_v=left_out, output=half_scaled, memory=handed_back_transposed),
            "h is read correctly. Three things are left: hand it back as (K, V); multiply β in, for `UT1` is without "
            "it; and scale the whole output.",
            "eq. 6.3 and 8.5"),
        "repairs everything but the layout of the update": Mistake(
            translated_with(memory=lambda k, S, X, s: S + X.T @ k),
            "Only the update is left: XᵀK is (V, K), and this memory is (K, V).", "eq. 8.4"),
        "repairs everything but the layout of the read": Mistake(
            translated_with(output=lambda q, k, S, X, s: s * (q @ S.T + (q @ k.T).tril() @ X)),
            "Only the read is left: h is Sᵀ already, so Q Sᵀ is Q h.", "eq. 8.5"),
        "counts β twice": Mistake(translated_with(on_k=torch.square, on_v=torch.square),
            "`UT1` is *without* β, so multiply it in exactly once. β inside the inverse and again on k and v is a "
            "published slip.", "eq. 6.3"),
        "puts β on the keys only": Mistake(translated_with(on_v=left_out),
            "U = UT1 diag(β) V needs β as much as W = UT1 diag(β) K does.", "eq. 6.3"),
        "puts β on the values only": Mistake(translated_with(on_k=left_out),
            "W = UT1 diag(β) K needs β as much as U = UT1 diag(β) V does.", "eq. 6.3"),
        "forgets the scale": Mistake(translated_with(output=unscaled),
            "This library multiplies the output by 1/√K unless told otherwise. In the equations of this book it is 1.",
            "eq. 8.5"),
        "takes 1/√K whatever the scale": Mistake(translated_with(output=scaled_by_default),
            "1/√K is what that library takes unless told otherwise. Here it was told: multiply with `scale`.",
            "eq. 8.5"),
        "scales the read of the old memory only": Mistake(translated_with(output=old_memory_scaled),
            "The scale belongs to the whole output: to Q h and to tril(Q Kᵀ) X alike.", "eq. 8.5"),
        "scales the read within the chunk only": Mistake(translated_with(output=half_scaled),
            "The scale belongs to the whole output: to Q h and to tril(Q Kᵀ) X alike.", "eq. 8.5"),
        **{f"multiplies UT1 by β on the left, in {name}": Mistake(scaled_on_the_left_in(name),
            f"{other} is right. {name} needs the same: (I + A)⁻¹ diag(β), so β meets the rows *before* the inverse.",
            "eq. 6.3") for name, other in (("W", "U"), ("U", "W"))},
        "multiplies UT1 by β on the left": Mistake(scaled_on_the_left,
            "(I + A)⁻¹ diag(β): β meets k and v *before* the inverse, not after it.", "eq. 6.3"),
        "scales twice": Mistake(translated_with(output=lambda q, k, S, X, s: whole_scaled(q, k, S, X, s * s)),
            "Once on q or once on o, not both.", "eq. 8.5"),
        "scales what is written": Mistake(translated_with(memory=lambda k, S, X, s: S + s * k.T @ X),
            "The scale is a factor on the query. The memory knows nothing of it.", "eq. 8.4"),
        "returns the memory in this book's layout": Mistake(translated_with(memory=handed_back_transposed),
            "The caller speaks the other language: give the memory back as (K, V), like the one that came in.",
            "eq. 8.4"),
        "takes h for S": Mistake(translated_with(enter=lambda h: h.T),
            "h is (K, V), the transpose of S. Where this book writes Q Sᵀ, that library writes Q h. With K = V both "
            "run.", "eq. 8.5"),
        "adds what the memory says": Mistake(adding_what_the_memory_says,
            "X is what is *missing*: v minus what the memory says, U − W h. With a plus, every write makes the error "
            "larger.", "eq. 8.2"),
        "lets tokens see the rest of their chunk": Mistake(translated_with(output=without_mask),
            "Within the chunk a token reads its own write and earlier ones: tril(Q Kᵀ).", "eq. 8.5"),
        "lets no token read its own write": Mistake(translated_with(output=without_diagonal),
            "A token writes first and reads second: the diagonal of Q Kᵀ belongs to the mask.", "eq. 8.5"),
        "reads the memory that leaves": Mistake(translated_with(output=after_the_update),
            "Q h needs the memory that *enters*. Yours holds this chunk's writes already, and tril(Q Kᵀ) X counts them "
            "again.", "eq. 8.5"),
    },
    hints=("Three things differ: the layout of the memory, what `UT1` contains, and the scale.",
           "h = Sᵀ, so K Sᵀ is k @ h and S′ = S + XᵀK becomes h + kᵀX. `UT1` is the inverse alone: X = UT1 (β ⊙ (V − K "
           "h)).",
           "`X = UT1 @ (beta[:, None] * (v - k @ h))`, and `scale *` in front of the whole output."),
)
