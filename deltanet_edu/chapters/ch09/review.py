"""Exercises at the end of problem set 9 that review chapters 1 to 9."""

import torch

from ...ops import delta_rule_attention
from ...ops.delta_rule.householder import wy_u, wy_w
from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import delta_inputs, normal, smallest_first, strengths, unit_keys
from .problems import inverse, token_loop


# -- 9.8, review of chapters 1, 2 and 8 ----------------------------------------------------------------------------------------

def weights_of_one_key(beta):
    weights = []
    for i in range(len(beta)):
        weights.append(beta[i] * torch.prod(1 - beta[i + 1:]))
    return torch.stack(weights)


def weights_by_fading(beta):
    w = beta.new_zeros(0)
    for b in beta:
        w = torch.cat([w * (1 - b), b[None]])
    return w


def weights_by_attention(beta):
    k = torch.ones(1, len(beta), 1, 1, dtype=beta.dtype)
    return delta_rule_attention(k, k, beta[None, :, None])[0, 0, -1]


def weights_by_jacobian(beta):
    T = len(beta)
    k, S = torch.ones(T, 1, dtype=beta.dtype), torch.zeros(1, 1, dtype=beta.dtype)
    return torch.autograd.functional.jacobian(lambda v: token_loop(k, k, v[:, None], beta, S)[1][0, 0], torch.zeros(T, dtype=beta.dtype))


exercise(
    id="9.8", title="Review: one key, many values", kind="code", stars=2, minutes=15, equations=("2.5", "8.7"),
    reference=weights_of_one_key, alternatives=(weights_by_fading, weights_by_attention, weights_by_jacobian),
    cases=lambda g: [Case((strengths(g, T, kind=kind),), f"{note}, T = {T}") for T in (1, 2, 3, 6)
                     for kind, note in (("random", "random β"), ("large", "1 < β < 2"))]
    + [Case((torch.tensor([0.5, 0.0, 1.0, 0.25], dtype=torch.float64),), "β = 0 and β = 1 among them, T = 4")],
    mutants={
        "adds without erasing": Mistake(lambda beta: beta.clone(),
            "That is an additive memory (chapter 1): every value keeps its weight for ever. Here each later write fades it.", "eq. 2.5"),
        "lets a write fade itself": Mistake(lambda beta: torch.stack([beta[i] * torch.prod(1 - beta[i:]) for i in range(len(beta))]),
            "The fading comes from *later* writes, j > i. Yours includes the write itself.", "eq. 2.5", next="After a single write with β = 0.5, how much of v₁ is there?"),
        "lets earlier writes fade later ones": Mistake(lambda beta: torch.stack([beta[i] * torch.prod(1 - beta[:i]) for i in range(len(beta))]),
            "Time runs the other way: what has been written is faded by what comes *after* it.", "eq. 2.5"),
        "fades by β instead of 1 - β": Mistake(lambda beta: torch.stack([beta[i] * torch.prod(beta[i + 1:]) for i in range(len(beta))]),
            "A write of strength β keeps the share 1 − β of what was there.", "eq. 2.5"),
        "forgets the strength of the write itself": Mistake(lambda beta: torch.stack([torch.prod(1 - beta[i + 1:]) for i in range(len(beta))]),
            "v_i enters with weight β_i, and only then begins to fade.", "eq. 2.5"),
        "keeps the last value only": Mistake(lambda beta: torch.cat([torch.zeros_like(beta[:-1]), beta[-1:]]),
            "Only a write with β = 1 replaces all that was there. A weaker one leaves the share 1 − β.", "eq. 2.5"),
        "makes the weights sum to 1": Mistake(lambda beta: weights_of_one_key(beta) / weights_of_one_key(beta).sum(),
            "They need not sum to 1: what is missing is the share of the memory that was there before, Π(1 − β).", "eq. 8.7"),
        "fades by the next write only": Mistake(lambda beta: torch.cat([beta[:-1] * (1 - beta[1:]), beta[-1:]]),
            "Every later write fades it, not only the next one: a product over all j > i.", "eq. 2.5"),
    },
    hints=("For a unit key eq. 2.5 says: what is read afterwards is β v + (1 − β) times what was read before.",
           "Follow v₁ through three writes: β₁, then β₁(1 − β₂), then ...",
           "The weight of v_i is β_i times the product of 1 − β_j over all j > i."),
)


# -- 9.9, review of chapters 5, 6 and 8 ----------------------------------------------------------------------------------------

def join(K1, W1, U1, K2, W2, U2):
    overlap = W2 @ K1.T                                                  # (C2, C1)
    return torch.cat([K1, K2]), torch.cat([W1, W2 - overlap @ W1]), torch.cat([U1, U2 - overlap @ U1])


def join_by_states(K1, W1, U1, K2, W2, U2):
    """What each w asks the first chunk's map, and what the first chunk's memory answers."""
    P1, H1 = torch.eye(K1.shape[1], dtype=K1.dtype) - W1.T @ K1, U1.T @ K1
    return torch.cat([K1, K2]), torch.cat([W1, (P1 @ W2.T).T]), torch.cat([U1, U2 - (H1 @ W2.T).T])


def join_by_loops(K1, W1, U1, K2, W2, U2):
    W, U = list(W1), list(U1)
    for w, u in zip(W2, U2):
        W.append(w - sum(w_i * (k_i @ w) for w_i, k_i in zip(W1, K1)))
        U.append(u - sum(u_i * (k_i @ w) for u_i, k_i in zip(U1, K1)))
    return torch.cat([K1, K2]), torch.stack(W), torch.stack(U)


def join_with(W=lambda W1, W2, A: torch.cat([W1, W2 - A @ W1]), U=lambda U1, U2, A: torch.cat([U1, U2 - A @ U1]),
              overlap=lambda K1, W1, K2, W2: W2 @ K1.T):
    def f(K1, W1, U1, K2, W2, U2):
        A = overlap(K1, W1, K2, W2)
        return torch.cat([K1, K2]), W(W1, W2, A), U(U1, U2, A)
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
        "puts the rows under each other": Mistake(join_with(W=lambda W1, W2, A: torch.cat([W1, W2]), U=lambda U1, U2, A: torch.cat([U1, U2])),
            "That would be right if the two chunks had orthogonal keys. The second chunk has to find what the first one has written.", "eq. 5.5",
            next="Multiply (I − W₁ᵀK₁)(I − W₂ᵀK₂) out. Which term is left over?"),
        "corrects U only": Mistake(join_with(W=lambda W1, W2, A: torch.cat([W1, W2])),
            "The rows of W change in the same way: the first chunk has already erased part of what W₂ wants to erase.", "eq. 5.2"),
        "corrects W only": Mistake(join_with(U=lambda U1, U2, A: torch.cat([U1, U2])),
            "U₂ was made for an empty memory. After the first chunk the memory is U₁ᵀK₁.", "eq. 8.4"),
        "adds the correction": Mistake(join_with(W=lambda W1, W2, A: torch.cat([W1, W2 + A @ W1]), U=lambda U1, U2, A: torch.cat([U1, U2 + A @ U1])),
            "The sign is wrong: what the first chunk has done already is *subtracted*.", "eq. 8.4"),
        "corrects the first chunk": Mistake(join_with(W=lambda W1, W2, A: torch.cat([W1 - A.T @ W2, W2]), U=lambda U1, U2, A: torch.cat([U1 - A.T @ U2, U2])),
            "Time runs forward: the first chunk knows nothing of the second. Its rows stay, and the *later* rows change.", "eq. 5.3"),
        "measures the overlap of the keys": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K2 @ K1.T),
            "The question that chunk 2 puts to the memory is not its keys but W₂, which contains β and what chunk 2 erases itself.", "eq. 8.4",
            next="In X = U − W Sᵀ, what is multiplied with the memory?"),
        "measures the overlap of W with W": Mistake(join_with(overlap=lambda K1, W1, K2, W2: W2 @ W1.T),
            "The memory of the first chunk is U₁ᵀK₁. Asking it in the directions W₂ gives W₂K₁ᵀ U₁: the overlap is with the *keys*.", "eq. 8.4"),
        "corrects U with the W that is corrected already": Mistake(overlap_too_late,
            "The question that chunk 2 puts to the memory is its own W₂. Once W₂ has been overwritten, W₂K₁ᵀ is another matrix.", "eq. 8.4",
            next="Compute the overlap once, before anything changes."),
        "corrects the keys as well": Mistake(lambda K1, W1, U1, K2, W2, U2: (torch.cat([K1, K2 - W2 @ K1.T @ K1]), *join(K1, W1, U1, K2, W2, U2)[1:]),
            "W and U are right. But the keys are where a token writes, and that stays: only *what* it erases and writes depends on the chunk before.", "eq. 5.5"),
        "multiplies W₂ by the map itself": Mistake(join_by_the_transposed_map,
            "U is right. The w are *rows* here, and the map I − W₁ᵀK₁ stands on the left of a column w: for rows it is W₂ times the transposed map.", "eq. 5.2",
            next="(P w)ᵀ = wᵀPᵀ. What is the transpose of W₁ᵀK₁?"),
        "corrects the first chunk for the second": Mistake(first_corrected_for_second,
            "Time runs forward: the first chunk knows nothing of the second. Its rows stay, and the *later* rows change.", "eq. 5.3",
            next="Exchange the roles of the chunks, but not the order of the rows."),
        "returns W in the place of the keys": Mistake(lambda K1, W1, U1, K2, W2, U2: tuple(join(K1, W1, U1, K2, W2, U2)[i] for i in (1, 0, 2)),
            "All three are right, but keys and W have changed places: first K, then W, then U."),
        "returns U before W": Mistake(lambda *args: tuple(join(*args)[i] for i in (0, 2, 1)),
            "All three are right, but U and W have changed places: first K, then W, then U."),
        "takes keys out of W": Mistake(lambda K1, W1, U1, K2, W2, U2: (
                torch.cat([K1, K2]), torch.cat([W1, W2 - W2 @ K1.T @ K1]), join(K1, W1, U1, K2, W2, U2)[2]),
            "U is right. What chunk 1 has erased from a direction w is W₁ᵀK₁ w: the keys measure, and the rows of W₁ are taken out.", "eq. 5.2",
            next="In U you subtract rows of U₁. What is its counterpart for W?"),
        "measures the overlap of the later keys with W": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K2 @ W1.T),
            "K and W have changed roles: it is W₂ that asks, and K₁ that is asked, W₂K₁ᵀ.", "eq. 8.4"),
        "transposes the overlap": Mistake(join_with(overlap=lambda K1, W1, K2, W2: K1 @ W2.T),
            "A row for each token of chunk 2, a column for each of chunk 1: W₂K₁ᵀ, of shape (C2, C1). Yours is the transpose.", "eq. 8.4"),
        "changes the first chunk's rows": Mistake(join_with(
                W=lambda W1, W2, A: torch.cat([W1 - A @ W1, W2]), U=lambda U1, U2, A: torch.cat([U1 - A @ U1, U2])),
            "The overlap is right, but it belongs to the second chunk's rows: W₂ − A W₁ and U₂ − A U₁. The first chunk's stay as they are.", "eq. 5.3"),
        "joins the chunks side by side": Mistake(joined_by(lambda halves: torch.cat(halves, 1)),
            "Dimension 1 holds the entries of a vector. Tokens are rows, so the tokens of chunk 2 go *under* those of chunk 1: `torch.cat` along dimension 0."),
        "stacks the chunks": Mistake(joined_by(torch.stack),
            "`torch.stack` makes a new dimension, one entry for each chunk, and needs them equally long. One chunk is wanted: `torch.cat`."),
        "puts the second chunk first": Mistake(lambda K1, W1, U1, K2, W2, U2: join(K2, W2, U2, K1, W1, U1),
            "You let chunk 2 come first, and corrected chunk 1 for it. Rows are in the order of time.", "eq. 5.3"),
    },
    hints=("After the first chunk, a memory that began empty is S = U₁ᵀK₁. What does the second chunk write into it?",
           "X₂ = U₂ − W₂Sᵀ = U₂ − (W₂K₁ᵀ) U₁. For W, multiply (I − W₁ᵀK₁)(I − W₂ᵀK₂) out.",
           "With `A = W2 @ K1.mT`: the lower rows are `W2 - A @ W1` and `U2 - A @ U1`."),
)


# -- 9.10, review of chapters 3, 7, 8 and 9 ------------------------------------------------------------------------------------

exercise(
    id="9.10", title="Review: what is left to store", kind="predict", stars=2, minutes=5, equations=("9.9",), reference=4, tolerance=1e-3,
    mutants={
        "stores a memory for every token": Mistake(256,
            "That is the token loop. The chunkwise form meets a memory once per *chunk*, and rebuilds the rest inside.", "eq. 9.9"),
        "stores one memory": Mistake(0.0625,
            "One memory is 64 KiB. But every chunk's gradient needs the memory that entered that chunk.", "eq. 9.9"),
        "counts numbers instead of bytes": Mistake(1, "64 memories of 16,384 numbers are a million numbers. Each takes four bytes.", "eq. 9.9"),
        "counts two bytes a number": Mistake(2, "That would be half precision. float32 takes four bytes a number.", "eq. 9.9"),
        "stores the gradients of the memories too": Mistake(8,
            "Those are computed in the backward pass. The forward pass has only the memories themselves to keep.", "eq. 9.9"),
        "counts in KiB": Mistake(4096, "That is KiB: divide by 1024 once more.", "eq. 9.9"),
        "counts in bytes": Mistake(4096 * 1024, "That is bytes: divide by 1,048,576.", "eq. 9.9"),
        "divides by a million": Mistake(4.194304, "A MiB has 1,048,576 bytes, 2²⁰.", "eq. 9.9"),
        "counts the last memory too": Mistake(4.0625,
            "65 memories: the one that leaves the last chunk is among them, and no chunk is entered by it.", "eq. 9.9"),
    },
    hints=("How many chunks are there, and how many numbers has one memory?",
           "4096 / 64 = 64 chunks, and 128 · 128 = 16,384 numbers.",
           "64 · 16,384 · 4 bytes, divided by 1,048,576."),
    why="64 chunks · 16,384 numbers · 4 bytes = 4 MiB. One memory per token would be 256 MiB, and recomputing leaves 64 KiB: the memory that entered the sequence.",
)


# -- 9.11, review of chapters 6 and 8, and of the notation ---------------------------------------------------------------------

def translated(q, k, v, beta, T0, h, scale):
    X = T0 @ (beta[:, None] * (v - k @ h))                               # (C, V)
    return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X


def translated_by_the_loop(q, k, v, beta, T0, h, scale):
    o, S = token_loop(scale * q, k, v, beta, h.T)
    return o, S.T


def translated_by_w_and_u(q, k, v, beta, T0, h, scale):
    W, U = T0 @ (beta[:, None] * k), T0 @ (beta[:, None] * v)
    v_new = U - W @ h
    return scale * q @ h + scale * (q @ k.T).tril() @ v_new, h + k.T @ v_new


def translated_with(on_k=lambda b: b, on_v=lambda b: b, enter=lambda h: h, output=lambda q, k, S, X, s: s * (q @ S + (q @ k.T).tril() @ X),
                    memory=lambda k, S, X, s: S + k.T @ X):
    """A mutant: β as it is multiplied with k and with v, the memory as it is taken, the output, the memory as it is returned."""
    def f(q, k, v, beta, T0, h, scale):
        S = enter(h)
        X = T0 @ (on_v(beta)[:, None] * v) - T0 @ (on_k(beta)[:, None] * k) @ S
        return output(q, k, S, X, scale), memory(k, S, X, scale)
    return f


def half_scaled(q, k, S, X, s):
    return q @ S + s * (q @ k.T).tril() @ X


def whole_scaled(q, k, S, X, s):
    return s * (q @ S + (q @ k.T).tril() @ X)


def copied(strength=torch.ones_like, enter=lambda h: h.T, output=half_scaled):
    """A mutant that keeps this book's layout: the code of the card, with β, the memory in X, or the scale repaired."""
    def f(q, k, v, beta, T0, h, scale):
        b = strength(beta)[:, None]
        X = T0 @ (b * v) - T0 @ (b * k) @ enter(h)
        return output(q, k, h.T, X, scale), h + X.T @ k
    return f


def scaled_on_the_left(q, k, v, beta, T0, h, scale):
    X = beta[:, None] * (T0 @ (v - k @ h))
    return scale * (q @ h + (q @ k.T).tril() @ X), h + k.T @ X


def translated_cases(g):
    for case in smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=3, V=2) + delta_inputs(g, "q k v beta S", T=(3,), K=4, V=4, betas=("large",))):
        q, k, v, beta, S = case.args
        yield Case((q, k, v, beta, inverse(k, beta), S.T.contiguous(), k.shape[1] ** -0.5), case.note)


exercise(
    id="9.11", title="Review: from another library", kind="bug", stars=3, minutes=20, equations=("6.3", "8.4", "8.5"),
    reference=translated, alternatives=(translated_by_the_loop, translated_by_w_and_u), cases=translated_cases,
    mutants={
        "uses T as if it contained β": Mistake(translated_with(on_k=torch.ones_like, on_v=torch.ones_like),
            "In this library `T0` is the inverse alone, so β must be multiplied in where it meets k and v. Yours writes at full strength.", "eq. 6.3"),
        "repairs the layout only": Mistake(translated_with(on_k=torch.ones_like, on_v=torch.ones_like, output=half_scaled),
            "The layout is right now. Left to do: `T0` is without β, so β must be multiplied in where it meets k and v; and the scale belongs to the "
            "whole output.", "eq. 6.3 and 8.5"),
        "takes h for S throughout": Mistake(copied(),
            "The code is as it was copied: it writes h where this book writes Sᵀ, so the shapes fit only where K = V. First translate the layout.", "eq. 8.4 and 8.5",
            next="h is (K, V) and W is (C, K). Which product of the two has shape (C, V)?"),
        "takes h for S in the output and the update": Mistake(copied(enter=lambda h: h),
            "X is translated. The other two places where the memory occurs still have this book's layout: the output, and the memory that comes back.", "eq. 8.4 and 8.5"),
        "repairs everything but the layout": Mistake(copied(strength=lambda b: b, output=whole_scaled),
            "β and the scale are right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and XᵀK, it is W h, Q h and KᵀX.", "eq. 8.4 and 8.5"),
        "repairs β, but not the layout": Mistake(copied(strength=lambda b: b),
            "β is right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and XᵀK, it is W h, Q h and KᵀX. And the scale "
            "belongs to the whole output.", "eq. 8.4 and 8.5"),
        "repairs the scale, but not the layout": Mistake(copied(output=whole_scaled),
            "The scale is right. But h is (K, V), the transpose of S: where this book writes W Sᵀ, Q Sᵀ and XᵀK, it is W h, Q h and KᵀX. And `T0` "
            "is without β.", "eq. 6.3 and 8.4"),
        "translates the memory on the way in, and no more": Mistake(
            translated_with(on_k=torch.ones_like, on_v=torch.ones_like, output=half_scaled, memory=lambda k, S, X, s: (S + k.T @ X).T),
            "h is read correctly. Three things are left: hand it back as (K, V); multiply β in, for `T0` is without it; and scale the whole output.",
            "eq. 6.3 and 8.5"),
        "repairs everything but the layout of the update": Mistake(
            translated_with(memory=lambda k, S, X, s: S + X.T @ k),
            "Only the update is left: XᵀK is (V, K), and this memory is (K, V).", "eq. 8.4"),
        "repairs everything but the layout of the read": Mistake(
            translated_with(output=lambda q, k, S, X, s: s * (q @ S.T + (q @ k.T).tril() @ X)),
            "Only the read is left: h is Sᵀ already, so Q Sᵀ is Q h.", "eq. 8.5"),
        "counts β twice": Mistake(translated_with(on_k=torch.square, on_v=torch.square),
            "`T0` is *without* β, so multiply it in exactly once. β inside the inverse and again on k and v is a published slip.", "eq. 6.3"),
        "puts β on the keys only": Mistake(translated_with(on_v=torch.ones_like),
            "U = T0 diag(β) V needs β as much as W = T0 diag(β) K does.", "eq. 6.3"),
        "puts β on the values only": Mistake(translated_with(on_k=torch.ones_like),
            "W = T0 diag(β) K needs β as much as U = T0 diag(β) V does.", "eq. 6.3"),
        "forgets the scale": Mistake(translated_with(output=lambda q, k, S, X, s: q @ S + (q @ k.T).tril() @ X),
            "This library multiplies the output by 1/√K unless told otherwise. In the equations of this book it is 1.", "eq. 8.5"),
        "scales the read of the old memory only": Mistake(translated_with(output=lambda q, k, S, X, s: s * q @ S + (q @ k.T).tril() @ X),
            "The scale belongs to the whole output: to Q h and to tril(Q Kᵀ) X alike.", "eq. 8.5"),
        "scales the read within the chunk only": Mistake(translated_with(output=lambda q, k, S, X, s: q @ S + s * (q @ k.T).tril() @ X),
            "The scale belongs to the whole output: to Q h and to tril(Q Kᵀ) X alike.", "eq. 8.5"),
        "multiplies T0 by β on the left": Mistake(scaled_on_the_left,
            "(I + A)⁻¹ diag(β): β meets k and v *before* the inverse, not after it.", "eq. 6.3"),
        "scales twice": Mistake(translated_with(output=lambda q, k, S, X, s: s * s * (q @ S + (q @ k.T).tril() @ X)),
            "Once on q or once on o, not both.", "eq. 8.5"),
        "scales what is written": Mistake(translated_with(memory=lambda k, S, X, s: S + s * k.T @ X),
            "The scale is a factor on the query. The memory knows nothing of it.", "eq. 8.4"),
        "returns the memory in this book's layout": Mistake(translated_with(memory=lambda k, S, X, s: (S + k.T @ X).T),
            "The caller speaks the other language: give the memory back as (K, V), like the one that came in.", "eq. 8.4"),
        "takes h for S": Mistake(translated_with(enter=lambda h: h.T),
            "h is (K, V), the transpose of S. Where this book writes Q Sᵀ, that library writes Q h. With K = V both run.", "eq. 8.5"),
        "adds what the memory says": Mistake(lambda q, k, v, beta, T0, h, scale: translated_with(enter=lambda S: -S, memory=lambda k, S, X, s: k.T @ X - S,
                output=lambda q, k, S, X, s: s * ((q @ k.T).tril() @ X - q @ S))(q, k, v, beta, T0, h, scale),
            "X is what is *missing*: v minus what the memory says, U − W h. With a plus, every write makes the error larger.", "eq. 8.2"),
        "lets tokens see the rest of their chunk": Mistake(translated_with(output=lambda q, k, S, X, s: s * (q @ S + q @ k.T @ X)),
            "Within the chunk a token reads its own write and earlier ones: tril(Q Kᵀ).", "eq. 8.5"),
        "lets no token read its own write": Mistake(translated_with(output=lambda q, k, S, X, s: s * (q @ S + (q @ k.T).tril(-1) @ X)),
            "A token writes first and reads second: the diagonal of Q Kᵀ belongs to the mask.", "eq. 8.5"),
        "reads the memory that leaves": Mistake(translated_with(output=lambda q, k, S, X, s: s * (q @ (S + k.T @ X) + (q @ k.T).tril() @ X)),
            "Q h needs the memory that *enters*. Yours holds this chunk's writes already, and tril(Q Kᵀ) X counts them again.", "eq. 8.5"),
    },
    hints=("Three things differ: the layout of the memory, what `T0` contains, and the scale.",
           "h = Sᵀ, so K Sᵀ is k @ h and S′ = S + XᵀK becomes h + kᵀX. `T0` is the inverse alone: X = T0 (β ⊙ (V − K h)).",
           "`X = T0 @ (beta[:, None] * (v - k @ h))`, and `scale *` in front of the whole output."),
)


# -- 9.12, review of chapters 1 to 9 -------------------------------------------------------------------------------------------

def six_letters(answer):
    """The letters in their order, whatever stands between them."""
    if not isinstance(answer, (str, list, tuple)):
        raise AnswerError('write the letters as one string, such as "abcdef"')
    found = "".join(c for c in "".join(map(str, answer)).lower() if c.isalpha())
    if sorted(found) != list("abcdef"):
        raise AnswerError("six formulas, six letters: each of a to f once")
    return found


exercise(
    id="9.12", title="Review: six formulas, six meanings", kind="predict", stars=2, minutes=10, equations=("2.6", "6.2", "8.6", "8.7", "9.4"),
    reference="decabf", prepare=six_letters,
    mutants={
        "takes adding for writing": Mistake("aecdbf",
            "You swapped 1 and 4. Σ v kᵀ *adds* values as they come; T (V − K Sᵀ) is what is written after looking.", "eq. 1.2 and 8.6"),
        "mixes up the two triangles": Mistake("debacf",
            "3, 4 and 5 went round. stril(diag(β) K Kᵀ) has no query in it, so it cannot be a matrix of attention weights.", "eq. 6.2 and 8.7"),
        "swaps what is written and how it is read": Mistake("decbaf",
            "You swapped 4 and 5. Attention weights multiply V and contain the queries; V − K Sᵀ contains no query.", "eq. 8.6 and 8.7"),
        "takes the transition for the coupling": Mistake("dceabf",
            "You swapped 2 and 3. I − β k kᵀ is K × K and acts on the memory; stril(diag(β) K Kᵀ) is C × C and couples tokens.", "eq. 2.6 and 6.2"),
        "takes the gradient for the write": Mistake("decfba",
            "You swapped 4 and 6. T₁ᵀ, the transpose, runs backward in time: a gradient.", "eq. 8.6 and 9.4"),
        "takes the gradient for the weights": Mistake("decafb",
            "You swapped 5 and 6. Weights contain the queries; T₁ᵀ dX starts from a gradient.", "eq. 8.7 and 9.4"),
    },
    hints=("Look at the shapes first: two of the six are K wide, two are C × C, two are C × V.",
           "Which formulas contain a query, and which a transposed triangle?",
           "1 is d, and 6 is f."),
    why="1 d: chapter 1. 2 e: chapters 2 and 4. 3 c: chapter 6. 4 a and 5 b: chapter 8. 6 f: chapter 9.",
)
