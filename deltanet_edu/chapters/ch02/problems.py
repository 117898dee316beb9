"""Exercises 2.1 to 2.5, in order: each with its solutions, mistakes and hints."""

import torch
from torch import outer
from torch.nn.functional import normalize

from deltanet_edu.ops import delta_rule_recurrent, erase_then_write_step, sgd_step, transition_step

from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first
from .. import by_hand
from ..common import eye_like, one_head, real


def writes(g, **options):
    """Inputs (S, k, v, beta) of one write: K ≠ V, unit and unnormalized keys, empty and nonempty memories."""
    by_hand = Case((real([[1.0, 2.0]]), real([0.6, 0.8]), real([3.0]), real(0.5)), "easy numbers")
    sizes = (2, 1), (3, 5)
    return [by_hand] + [case for K, V in sizes for case in delta_inputs(g, "S k v beta", T=None, K=K, V=V, **options)]


# -- 2.1 One write -----------------------------------------------------------------------------------------------------

def write(S, k, v, beta):
    error = S @ k - v                                                    # (V,)
    return S - beta * torch.outer(error, k)                              # (V, K)


def write_by_autograd(S, k, v, beta):
    S = S.clone().requires_grad_()
    loss = 0.5 * ((S @ k - v) ** 2).sum()
    return (S - beta * torch.autograd.grad(loss, S)[0]).detach()


def write_by_wrong_blend(S, k, v, beta):
    old = S @ k
    return S - outer(old, k) + outer((1 - beta) * v + beta * old, k)


def write_in_place(S, k, v, beta):
    S += beta * outer(v - S @ k, k)
    return S


def blended_without_erasing(S, k, v, beta):
    return S + outer(beta * v + (1 - beta) * (S @ k), k)


def erased_twice(S, k, v, beta):
    return S @ transition(k, beta) + beta * outer(v - S @ k, k)


def erased_along_a_unit_key(S, k, v, beta):
    return S - beta * outer(S @ k, k) / (k @ k) + beta * outer(v, k)


def strengths_beyond_1(g, args, **options):
    """Cases whose β is 0 or above 1, for those who cap it."""
    return delta_inputs(g, args, K=2, V=1, betas=("zero", "large"), memories=("nonempty",), **options)


CAPPED = ("β may be larger than 1: up to β‖k‖² = 2 the error still shrinks. The rule takes it as it comes.", "eq. 2.10")


def with_whole_memory_scaled(S, k, v, beta):
    return (1 - beta * (k @ k)) * S + beta * outer(v, k)


def with_root_of_beta(S, k, v, beta):
    return write(S, beta**0.5 * k, v, 1)


exercise(
    id="2.1", title="One write", kind="code", stars=1, minutes=5, equations=("2.3",),
    reference=write, alternatives=(sgd_step, erase_then_write_step, transition_step, write_by_autograd),
    cases=lambda g: smallest_first(writes(g) + strengths_beyond_1(g, "S k v beta", T=None, keys=("random",))),
    mutants={
        "adds without erasing": Mistake(lambda S, k, v, beta: S + beta * outer(v, k),
            "This is linear attention's write. Before v goes in, what the memory already says about k must come out.",
            "eq. 2.3",
            next="If the memory already answers v, how much should change?"),
        "climbs instead of descending": Mistake(lambda S, k, v, beta: S + beta * outer(S @ k - v, k),
            "The sign is flipped: the error S k - v is *subtracted*. Yours makes every error larger.", "eq. 2.3"),
        "forgets beta": Mistake(lambda S, k, v, beta: S - outer(S @ k - v, k),
            "The step has size β. Yours always takes the full step, which is right only for β = 1.", "eq. 2.3",
            next="What should happen when β = 0?"),
        "scales only the write by beta": Mistake(lambda S, k, v, beta: S - outer(S @ k, k) + beta * outer(v, k),
            "It erases everything and writes a fraction. Erasing and writing are one step with one β.", "eq. 2.3",
            next="With β = 0 the memory must stay as it is. What does yours do?"),
        "scales only the erasure by beta": Mistake(lambda S, k, v, beta: S - beta * outer(S @ k, k) + outer(v, k),
            "It erases a fraction and writes everything, so the read overshoots. β stands before the whole bracket.",
            "eq. 2.3",
            next="If the memory already answers v, what should change, and what does yours change?"),
        "transposes the outer product": Mistake(lambda S, k, v, beta: S - beta * outer(k, S @ k - v),
            "The error has V entries and stands upright, the key has K and lies flat: (S k - "
            "v) kᵀ has shape (V, K), like S.", "eq. 2.2",
            next="Which of the two has to be a column, and which a row?"),
        "multiplies entry by entry": Mistake(lambda S, k, v, beta: S - beta * (S @ k - v) * k,
            "`*` pairs entry i of the error with entry i of the key. The gradient pairs *every* entry of one with "
            "every entry of the other: an outer product, (V, K).", "eq. 2.2",
            next="`torch.outer`, or `error[:, None] * k`."),
        "fades the whole memory": Mistake(lambda S, k, v, beta: (1 - beta) * S + beta * outer(v, k),
            "1 - β weakens everything that is stored, under every key. Only what the memory says for "
            "*this* key is to be blended with v.",
            "eq. 2.3", next="What should a write change for a key at a right angle to k?"),
        "scales the whole memory": Mistake(with_whole_memory_scaled,
            "1 - β‖k‖² is what happens along the key. What is across the key stays as it is.", "eq. 2.9",
            next="What should a write change for a key at a right angle to k?"),
        "takes the root of beta into the key": Mistake(with_root_of_beta,
            "√β at both keys is right for the erasure. But v is multiplied by one key only: it is written with √β in "
            "the place of β.", "eq. 2.6", next="Count the β in β v kᵀ."),
        "blends the wrong way round": Mistake(write_by_wrong_blend,
            "β is the weight of the *new* value: β = 1 replaces, β = 0 leaves the memory "
            "alone. Yours does the opposite.",
            "eq. 2.5"),
        "blends without erasing": Mistake(blended_without_erasing,
            "The blend of v and the old value is right. It has to take the place of the old value, which must come out "
            "first: yours comes on top of it.", "eq. 2.5",
            next="If the memory already answers v, how much should change?"),
        "takes the old value out twice": Mistake(erased_twice,
            "I - β k kᵀ has taken out β S k already, and v - S k takes it out once more.", "eq. 2.6",
            next="Either the transition and β v, or S and the error: not half of both."),
        "divides the erasure by the squared length": Mistake(erased_along_a_unit_key,
            "Erasing and writing are one step with one factor. Yours erases with β/‖k‖² and writes with β.", "eq. 2.3"),
        "erases what it has just written": Mistake(
            lambda S, k, v, beta: (S + beta * outer(v, k)) @ transition(k, beta),
            "v was written first, and the erasure took its share of it. First erase, then add.", "eq. 2.5"),
        "scales each column by itself": Mistake(lambda S, k, v, beta: S * (1 - beta * k * k) + beta * outer(v, k),
            "That is the diagonal of k kᵀ only. What the memory says about k, S k, mixes all columns.", "eq. 2.6"),
        "caps beta at 1": Mistake(lambda S, k, v, beta: write(S, k, v, beta.clamp(max=1)), *CAPPED),
        "fades the whole memory and writes at full strength": Mistake(
            lambda S, k, v, beta: (1 - beta) * S + outer(v, k),
            "1 - β weakens what is stored under every key, and the write has no β at all.", "eq. 2.3",
            next="What should happen when β = 0?"),
        "keeps only the new pair": Mistake(lambda S, k, v, beta: beta * outer(v, k),
            "The memory that came in is gone. It is changed along the key, and stays as it is everywhere else.",
            "eq. 2.3"),
        "writes with 1 - beta": Mistake(lambda S, k, v, beta: S - beta * outer(S @ k, k) + (1 - beta) * outer(v, k),
            "What is erased with β must be written with β: the *old* value keeps the weight 1 - β.", "eq. 2.5"),
        "erases without writing": Mistake(lambda S, k, v, beta: S - beta * outer(S @ k, k),
            "What the memory said about k is taken out, but v never goes in: the error is S k - v.", "eq. 2.3"),
        "writes without the key": Mistake(lambda S, k, v, beta: S - beta * (S @ k - v)[:, None],
            "Every column moves by the whole error. Column j should move by the error times the j-th entry of the key.",
            "eq. 2.2", next="Which entries of S does the answer S k depend on, and how strongly?"),
        "squares beta": Mistake(lambda S, k, v, beta: S - beta**2 * outer(S @ k - v, k),
            "β stands before the bracket once. Is it in the error and in the step?", "eq. 2.3"),
        "takes the mean over the entries of v": Mistake(
            lambda S, k, v, beta: S - 2 * beta / len(v) * outer(S @ k - v, k),
            "That is the gradient of `mse_loss`, which averages. The loss of this book is "
            "*half the sum* of the squares.",
            "eq. 2.2"),
        "divides by the squared length of the key": Mistake(
            lambda S, k, v, beta: S - beta * outer(S @ k - v, k) / (k @ k),
            "A good rule with a name of its own (Kaczmarz, or normalized LMS), but the "
            "gradient step uses the key as it comes.", "eq. 2.3"),
        "divides by the length of the key": Mistake(lambda S, k, v, beta: S - beta * outer(S @ k - v, k) / k.norm(),
            "The gradient step uses the key as it comes, twice: in S k and in kᵀ. Neither is divided.", "eq. 2.3"),
        "takes twice the step": Mistake(lambda S, k, v, beta: S - 2 * beta * outer(S @ k - v, k),
            "That is the gradient of the squared error itself. The loss of this book has a ½ "
            "in front, and the 2 cancels.", "eq. 2.2"),
        "returns the change alone": Mistake(lambda S, k, v, beta: -beta * outer(S @ k - v, k),
            "This is what has to be added to S. Return the memory after the write.", "eq. 2.3"),
        "normalizes the key": Mistake(lambda S, k, v, beta: write(S, normalize(k, dim=-1), v, beta),
            "DeltaNet does this *before* it calls the rule. The rule itself takes the key as it comes.", "eq. 2.3"),
        "changes the memory it was given": Mistake(write_in_place,
            "The value is right, but `-=` and `+=` write into the caller's tensor. Return a new one.",
            next="Write `S = S - ...`."),
    },
    hints=("First compute what the memory says about k, a vector with V entries.",
           "The error is that answer minus v. The change has the shape of S: "
           "an outer product of the error and the key.",
           "`error = S @ k - v`, then subtract `beta * torch.outer(error, k)`."),
)


# -- 2.2 Erase, then write ---------------------------------------------------------------------------------------------

exercise(
    id="2.2", title="Erase, then write", kind="order", stars=1, minutes=5, equations=("2.4", "2.5"),
    reference="ECDABF", alternatives=("EDCABF", "ECADBF"),
    cases=lambda g: [Case((real([1.0, -1.0, 2.0])[:len(case.args[1])], *case.args), case.note) for case in writes(g)],
    prepare=order_the_lines(
        {"A": "S = S + torch.outer(v_new, k)", "B": "o = S @ q", "C": "v_new = beta * v + (1 - beta) * v_old",
         "D": "S = S - torch.outer(v_old, k)", "E": "v_old = S @ k", "F": "return o, S"},
        "def step(q, S, k, v, beta):", "step", distractors={"G": "S = S + torch.outer(v, k)"}),
    mutants={
        "reads before it writes": Mistake("BECDAF",
            "The output uses the memory *after* this token's write: o_t = S_t q_t.", "eq. 2.4",
            next="Where must B stand?"),
        "reads between erasing and writing": Mistake("ECDBAF",
            "At that moment the old value is gone and the new one is not there yet.", "eq. 2.4",
            next="Which line still has to run before B?"),
        "reads before it has erased": Mistake("ECABDF",
            "At that moment the old value and the new one are both in the memory.", "eq. 2.5",
            next="Which line still has to run before B?"),
        "needs the old value before it has read it": Mistake("DECABF",
            "C and D use v_old, and only E computes it.", "eq. 2.5",
            next="Which line needs nothing but the arguments?"),
        "writes a blend it has not computed yet": Mistake("EACDBF",
            "A needs v_new, and only C computes it.", "eq. 2.5", next="Which line must come before A?"),
        "returns an output it has not read yet": Mistake("ECDAFB",
            "F returns o, and only B computes it. Nothing after F is run.", "eq. 2.4", next="Swap the last two."),
        "leaves the old value in": Mistake("ECABF",
            "Without D the old value stays, and the blend is added on top: the 8 of chapter 1.", "eq. 2.5"),
        "writes the new value at full strength": Mistake("EDGBF",
            "G writes v itself, so β is ignored. The line that uses the blend is A.", "eq. 2.5",
            next="Which line must come before A?"),
        "writes twice": Mistake("ECDAGBF",
            "A and G both write. One of them is a decoy: which of them knows about β?", "eq. 2.5"),
    },
    hints=("Only one line can come first: the others need a name that it defines.",
           "Read the old value, blend, erase, write, read the output. One of the seven lines is not needed.",
           "E C D A ... and two more. G is the decoy: it ignores β."),
)


# -- 2.3 A key that is too long ----------------------------------------------------------------------------------------

exercise(
    id="2.3", title="A key that is too long", kind="predict", stars=2, minutes=5, equations=("2.8",),
    reference=1.0, tolerance=1e-3,
    working=(by_hand.reading_after_a_long_key, by_hand.reading_after_a_correction),
    mutants={
        "takes the key for a unit key": Mistake(4.0,
            "With β = 1 the read becomes v only if ‖k‖ = 1. Here ‖k‖² = 1.5, and the step goes too far. Nor is 1.5 · 4 "
            "taken from the 10: it is the error, 10 - 4, that counts 1.5 times.", "eq. 2.8"),
        "gives the error instead of the read": Mistake(-3.0,
            "That is the new error. The question is what the memory says: the error plus v.", "eq. 2.8"),
        "drops the length from the write": Mistake(-1.0,
            "Erasing was right: 10 - 15. But the write is also read back with the long key: it contributes 4 · 1.5.",
            "eq. 2.8"),
        "drops the length from the erasure": Mistake(6.0,
            "The write was right: 4 · 1.5. But the erased value is also read back with the long key: 10 - 10 · 1.5. "
            "Nor is the step divided by 1.5, which gives 6 as well: a longer key makes it larger.", "eq. 2.8"),
        "changes nothing": Mistake(10.0,
            "That is what the memory said before. With β = 1 a write does change it.", "eq. 2.8"),
        "gives the size of the error": Mistake(3.0,
            "The new error is -3, and the question is what the memory says: the error plus v.", "eq. 2.8"),
        "mirrors the error": Mistake(-2.0,
            "4 - 6: that takes ‖k‖² = 2, a reflection. Here the fraction that is left is 1 - 1.5 = -0.5.", "eq. 2.8"),
        "gives the change": Mistake(9.0,
            "1.5 · 6 is how far the reading moves. The question is where it arrives: 10 - 9.", "eq. 2.8"),
        "gives the change, with its sign": Mistake(-9.0,
            "1.5 · (4 - 10) is how far the reading moves. The question is where it arrives: 10 - 9.", "eq. 2.8"),
        "climbs instead of descending": Mistake(19.0,
            "10 + 1.5 · 6: the reading moves by 9, but away from v. The error S k - v is *subtracted*.", "eq. 2.3"),
        "loses the sign of what is left": Mistake(7.0,
            "The remaining fraction is 1 - 1.5 = -0.5: *minus* half of the error. The read "
            "lands on the other side of v.", "eq. 2.8"),
        "scales the reading instead of the error": Mistake(-5.0,
            "10 · (1 - 1.5) = -5. The factor belongs to the *error*, 10 - 4.", "eq. 2.8"),
        "keeps what should go": Mistake(13.0,
            "4 + 1.5 · 6: the part 1.5 of the error is taken away. What is left of it is 1 - 1.5.", "eq. 2.8"),
        "forgets to square the length": Mistake(10 - 6 * 1.5**0.5,
            "‖k‖ is √1.5. The key is used twice, to ask and to write, so ‖k‖² = 1.5 counts.", "eq. 2.8"),
        "adds without erasing": Mistake(16.0,
            "10 + 4 · 1.5: that is the additive memory. The delta rule takes the old value out first. Nor is the "
            "error, 10 - 4, added to what the memory says.", "eq. 2.3"),
    },
    hints=("How large is the error before the write, and which fraction of it is left afterwards?",
           "The fraction is 1 - β‖k‖² = -0.5.",
           "The new error is -0.5 · (10 - 4). Add v to get what the memory says."),
    why="The error 10 - 4 = 6 is multiplied by 1 - β‖k‖² = -0.5 and becomes -3, so the read is 4 - 3 = 1: past the "
        "target, on the other side.",
)


# -- 2.4 A published formula -------------------------------------------------------------------------------------------

def transition(k, beta):
    return eye_like(k) - beta * outer(k, k)                              # (K, K)


def repaired(S, k, v, beta):
    return S @ (torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k)) + beta * torch.outer(v, k)


def published(S, k, v, beta):
    return S @ transition(k, beta) + outer(v, k)


def bug_cases(g):
    square = delta_inputs(g, "S k v beta", T=None, K=4, V=4, betas=("one", "zero", "large"))
    return smallest_first(writes(g) + square)


exercise(
    id="2.4", title="A published formula", kind="bug", stars=2, minutes=10, equations=("2.6",),
    reference=repaired, alternatives=(transition_step, sgd_step, erase_then_write_step), cases=bug_cases,
    mutants={
        "keeps the published slip": Mistake(published,
            "It erases the fraction β of the old value, yet writes all of the new one. Both halves of one gradient "
            "step carry the same β.", "eq. 2.6",
            next="Start from a memory that already answers v to a unit key. Whatever β is, it should stay as it is."),
        "removes beta from the erasure as well": Mistake(lambda S, k, v, beta: S @ transition(k, 1.0) + outer(v, k),
            "Now both halves agree, but always at full strength: β has no effect any more.", "eq. 2.6"),
        "subtracts from ones": Mistake(lambda S, k, v, beta: S @ (1 - beta * outer(k, k)) + beta * outer(v, k),
            "The number 1 minus a matrix is subtracted from *every* entry. I has ones on the "
            "diagonal only: `torch.eye`.",
            "eq. 2.6"),
        "multiplies from the left": Mistake(lambda S, k, v, beta: transition(k, beta) @ S + beta * outer(v, k),
            "The β is right. But S has one column per key dimension, so the transition, (K, K), stands on its right: "
            "S (I - β k kᵀ).", "eq. 2.6"),
        "moves beta from the erasure to the write": Mistake(
            lambda S, k, v, beta: S @ transition(k, 1.0) + beta * outer(v, k),
            "The write is right now. The erasure was right before: it needs its β back.", "eq. 2.6"),
        "squares beta": Mistake(lambda S, k, v, beta: S @ transition(k, beta) + beta**2 * outer(v, k),
            "The erasure is right. The write is β v kᵀ, and yours has β twice: v carries it or k, not both.",
            "eq. 2.6"),
        "blends the wrong way round": Mistake(lambda S, k, v, beta: S @ transition(k, beta) + (1 - beta) * outer(v, k),
            "The old value keeps the weight 1 - β, so the new one gets β.", "eq. 2.5"),
        "fades the whole memory": Mistake(lambda S, k, v, beta: (1 - beta) * S + beta * outer(v, k),
            "1 - β weakens everything that is stored. Only what the memory says for *this* key "
            "is erased: S (I - β k kᵀ).", "eq. 2.6",
            next="What should a write change for a key at a right angle to k?"),
        "scales the whole memory": Mistake(with_whole_memory_scaled,
            "1 - β‖k‖² is what happens along the key. What is across the key stays as it is: S (I - β k kᵀ).",
            "eq. 2.9", next="What should a write change for a key at a right angle to k?"),
        "takes the root of beta into the key": Mistake(with_root_of_beta,
            "√β at both keys is right for the erasure. But v is multiplied by one key only: it is written with √β in "
            "the place of β.", "eq. 2.6", next="Count the β in β v kᵀ."),
        "adds where it should erase": Mistake(lambda S, k, v, beta: S @ transition(k, -beta) + beta * outer(v, k),
            "The sign before β k kᵀ is wrong: the old value is taken out.", "eq. 2.6"),
        "erases what it has just written": Mistake(
            lambda S, k, v, beta: (S + beta * outer(v, k)) @ transition(k, beta),
            "The new value goes through the erasure as well: it stands inside of the brackets. First erase, then add.",
            "eq. 2.6"),
        "takes the old value out twice": Mistake(erased_twice,
            "I - β k kᵀ has taken out β S k already, and v - S k takes it out once more.", "eq. 2.6",
            next="Either the transition and β v, or S and the error: not half of both."),
        "divides the erasure by the squared length": Mistake(erased_along_a_unit_key,
            "The write has its β now. The erasure was right before: the formula takes the key as it comes, at both "
            "places.", "eq. 2.6"),
        "divides the erasure by the squared length, and keeps the published slip": Mistake(
            lambda S, k, v, beta: erased_along_a_unit_key(S, k, v, beta) + (1 - beta) * outer(v, k),
            "The length of the key is not the trouble: the formula is wrong for unit keys, too. Compare what it erases "
            "with what it writes.", "eq. 2.6",
            next="Start from a memory that already answers v to a unit key. Whatever β is, it should stay as it is."),
        "normalizes the key, and keeps the published slip": Mistake(
            lambda S, k, v, beta: published(S, normalize(k, dim=-1), v, beta),
            "The length of the key is not the trouble: the formula is wrong for unit keys, too. Compare what it erases "
            "with what it writes.", "eq. 2.6",
            next="Start from a memory that already answers v to a unit key. Whatever β is, it should stay as it is."),
        "normalizes the key": Mistake(lambda S, k, v, beta: repaired(S, normalize(k, dim=-1), v, beta),
            "The two β agree now. But the rule takes the key as it comes; DeltaNet normalizes it *before* it calls the "
            "rule.", "eq. 2.6"),
        "scales the whole new memory": Mistake(lambda S, k, v, beta: beta * published(S, k, v, beta),
            "A β before the whole sum shrinks what is stored under other keys as well: with β = 0 yours forgets "
            "everything.", "eq. 2.6",
            next="A write of strength 0 must return S itself. Where can β stand, then?"),
        "scales the memory as well": Mistake(lambda S, k, v, beta: beta * (S @ transition(k, 1.0) + outer(v, k)),
            "β must not shrink what is stored under other keys: with β = 0 yours forgets everything.", "eq. 2.6",
            next="A write of strength 0 must return S itself. Where can β stand, then?"),
    },
    hints=("With β = 1 the formula is right. Try β = 0: what should a write of strength 0 do?",
           "Multiply out eq. 2.3 and collect what contains v.",
           "S - β(S k - v)kᵀ = S - β S k kᵀ + β v kᵀ. Compare the last term."),
)


# -- 2.5 The loop ------------------------------------------------------------------------------------------------------

def delta_rule(q, k, v, beta, S):
    o = []
    for q_t, k_t, v_t, beta_t in zip(q, k, v, beta):
        S = S - beta_t * torch.outer(S @ k_t - v_t, k_t)                 # (V, K)
        o.append(S @ q_t)                                                # (V,)
    return torch.stack(o), S                                             # (T, V), (V, K)


def delta_rule_of_the_package(q, k, v, beta, S):
    return one_head(delta_rule_recurrent, q, k, v, beta, S)


def delta_rule_by_transitions(q, k, v, beta, S):
    o = torch.empty_like(v)
    for t in range(len(k)):
        S = S @ transition(k[t], beta[t]) + beta[t] * outer(v[t], k[t])
        o[t] = S @ q[t]
    return o, S


def delta_rule_by_corrections(q, k, v, beta, S):
    """Keeps the corrections u_t instead of the memory: S_t = S_0 + sum over i <= t of u_i k_i^T (chapter 5)."""
    u = torch.zeros_like(v)
    for t in range(len(k)):
        u[t] = beta[t] * (v[t] - S @ k[t] - u[:t].T @ (k[:t] @ k[t]))
    return q @ S.T + (q @ k.T).tril() @ u, S + u.T @ k


def loops_by_hand():
    """One token and two, with numbers that can be followed in the head."""
    q, k, v = real([[1.0, 0.0], [0.0, 1.0]]), real([[0.6, 0.8], [1.0, 0.0]]), real([[3.0], [2.0]])
    beta, S = real([0.5, 0.25]), real([[1.0, 2.0]])
    return [Case((q[:T], k[:T], v[:T], beta[:T], S), f"easy numbers, T = {T}") for T in (1, 2)]


def looped(step, read=lambda S, S_before, q_t, k_t: S @ q_t, start=lambda S: S):
    """A mutant of the loop: `step(S, S_0, k, v, beta, t)` replaces the write, `read` the read, `start` the memory."""
    def f(q, k, v, beta, S):
        S, o = start(S), []
        S_0 = S
        for t in range(len(k)):
            S_before, S = S, step(S, S_0, k[t], v[t], beta, t)
            o.append(read(S, S_before, q[t], k[t]))
        return torch.stack(o), S
    return f


def right_step(S, S_0, k, v, beta, t):
    return write(S, k, v, beta[t])


def step_with_old_error(S, S_0, k, v, beta, t):
    return S - beta[t] * outer(S_0 @ k - v, k)


def without_keeping(q, k, v, beta, S):
    return torch.stack([write(S, k[t], v[t], beta[t]) @ q[t] for t in range(len(k))]), S


def with_error_of_the_query(q, k, v, beta, S):
    o = []
    for t in range(len(k)):
        S = S - beta[t] * outer(S @ q[t] - v[t], k[t])
        o.append(S @ q[t])
    return torch.stack(o), S


def with_writes_at_the_query(q, k, v, beta, S):
    o = []
    for t in range(len(k)):
        S = S - beta[t] * outer(S @ k[t] - v[t], q[t])
        o.append(S @ q[t])
    return torch.stack(o), S


def with_all_at_once(q, k, v, beta, S):
    S = S - (beta[:, None] * (k @ S.T - v)).T @ k
    return q @ S.T, S


def with_one_write_less(q, k, v, beta, S):
    memories = [S]
    for t in range(len(k) - 1):
        memories.append(write(memories[t], k[t], v[t], beta[t]))
    return torch.stack([S_t @ q_t for S_t, q_t in zip(memories, q)]), memories[-1]


def memory_first(q, k, v, beta, S):
    return delta_rule(q, k, v, beta, S)[::-1]


def with_final_memory(q, k, v, beta, S):
    S = delta_rule(q, k, v, beta, S)[1]
    return q @ S.T, S


def with_transposed_state(q, k, v, beta, S):
    o, S = delta_rule(q, k, v, beta, S)
    return o, S.T


def loop_in_place(q, k, v, beta, S):
    o = []
    for t in range(len(k)):
        S -= beta[t] * outer(S @ k[t] - v[t], k[t])
        o.append(S @ q[t])
    return torch.stack(o), S


exercise(
    id="2.5", title="The loop", kind="code", stars=2, minutes=15, equations=("2.4",),
    reference=delta_rule,
    alternatives=(delta_rule_of_the_package, delta_rule_by_transitions, delta_rule_by_corrections),
    cases=lambda g: smallest_first(loops_by_hand() + delta_inputs(g, "q k v beta S", T=(1, 2), K=2, V=1)
                                   + delta_inputs(g, "q k v beta S", T=(2, 7))
                                   + strengths_beyond_1(g, "q k v beta S", T=(2,), keys=("random", "repeated"))),
    mutants={
        "reads before it writes": Mistake(looped(right_step, read=lambda S, S_before, q_t, k_t: S_before @ q_t),
            "o_t uses S_t, the memory *after* the write of token t: a token can read what it has just stored.",
            "eq. 2.4",
            next="With an empty memory and T = 1, should the output be zero?"),
        "starts from an empty memory": Mistake(looped(right_step, start=torch.zeros_like),
            "The memory S that comes in is what earlier text has left behind. The loop starts from it.", "eq. 2.4"),
        "takes the error from S q": Mistake(with_error_of_the_query,
            "What is corrected is what the memory says for the *key*, S k. The query only reads, after the write.",
            "eq. 2.4",
            next="When is a pair stored right: when S k = v, or when S q = v?"),
        "takes every error from the first memory": Mistake(looped(step_with_old_error),
            "The error must come from the memory as it is *now*, S_{t-1}. Yours asks the memory from before the loop "
            "every time, so it does not see its own writes.", "eq. 2.4",
            next="Write the same pair twice with β = 1: what should the second write change?"),
        "adds without erasing": Mistake(looped(lambda S, S_0, k, v, beta, t: S + beta[t] * outer(v, k)),
            "That is linear attention with a gate. The delta rule writes the *error*, S k - v.", "eq. 2.4"),
        "starts every write from the first memory": Mistake(
            looped(lambda S, S_0, k, v, beta, t: write(S_0, k, v, beta[t])),
            "Each token's write is right, but it goes into the memory from before the loop: "
            "what earlier tokens wrote is lost.",
            "eq. 2.4", next="Which name has the new memory, and does the next round use it?"),
        "does not keep what it has written": Mistake(without_keeping,
            "Each token sees its own write, but the next one starts from the S of the beginning again, and so does "
            "what you return: S_t is made from S_{t-1}.", "eq. 2.4",
            next="Which name has the new memory, and does the next round use it?"),
        "fades the whole memory": Mistake(
            looped(lambda S, S_0, k, v, beta, t: (1 - beta[t]) * S + beta[t] * outer(v, k)),
            "1 - β weakens everything that is stored. The delta rule takes out only what the memory says for k_t.",
            "eq. 2.4"),
        "scales the whole memory": Mistake(
            looped(lambda S, S_0, k, v, beta, t: with_whole_memory_scaled(S, k, v, beta[t])),
            "1 - β‖k‖² is what happens along k_t. What is across it stays as it is.", "eq. 2.9"),
        "takes the root of beta into the key": Mistake(
            looped(lambda S, S_0, k, v, beta, t: with_root_of_beta(S, k, v, beta[t])),
            "√β at both keys is right for the erasure. But v is multiplied by one key only: it is written with √β in "
            "the place of β.", "eq. 2.6", next="Count the β in β v kᵀ."),
        "blends without erasing": Mistake(
            looped(lambda S, S_0, k, v, beta, t: blended_without_erasing(S, k, v, beta[t])),
            "The blend of v and the old value is right. It has to take the place of the old value, which must come out "
            "first: yours comes on top of it.", "eq. 2.5"),
        "takes the old value out twice": Mistake(looped(lambda S, S_0, k, v, beta, t: erased_twice(S, k, v, beta[t])),
            "I - β k kᵀ has taken out β S k already, and v - S k takes it out once more.", "eq. 2.6",
            next="Either the transition and β v, or S and the error: not half of both."),
        "caps beta at 1": Mistake(looped(lambda S, S_0, k, v, beta, t: write(S, k, v, beta[t].clamp(max=1))), *CAPPED),
        "stops one write too early": Mistake(with_one_write_less,
            "Token t reads S_t, after its own write. Yours reads S_{t-1}, and the last token is never written: the "
            "memory that you return is S_{T-1}.", "eq. 2.4", next="How many writes do T tokens make?"),
        "climbs instead of descending": Mistake(
            looped(lambda S, S_0, k, v, beta, t: S + beta[t] * outer(S @ k - v, k)),
            "The sign is flipped: the error S k - v is *subtracted*. Yours makes every error larger.", "eq. 2.4"),
        "writes along the query": Mistake(with_writes_at_the_query,
            "The key says where to write, and what is corrected: S k. The query only reads, after the write.",
            "eq. 2.4"),
        "scales only the write by beta": Mistake(
            looped(lambda S, S_0, k, v, beta, t: S - outer(S @ k, k) + beta[t] * outer(v, k)),
            "It erases everything and writes a fraction. Erasing and writing are one step with one β.", "eq. 2.4"),
        "scales only the erasure by beta": Mistake(
            looped(lambda S, S_0, k, v, beta, t: S - beta[t] * outer(S @ k, k) + outer(v, k)),
            "It erases a fraction and writes everything. β stands before the whole bracket.", "eq. 2.4"),
        "corrects all pairs at once": Mistake(with_all_at_once,
            "Yours takes all errors from the memory that came in and adds all corrections together. A token must see "
            "what the tokens before it have written, and must not see what comes later.", "eq. 2.4"),
        "returns the memory first": Mistake(memory_first,
            "Both results are right, in the wrong order: first the reads, (T, V), then the memory, (V, K).",
            next="Exchange the two in the `return`."),
        "uses the first beta for every token": Mistake(looped(lambda S, S_0, k, v, beta, t: write(S, k, v, beta[0])),
            "Every token has its own β_t.", "eq. 2.4", next="Let the loop run over beta, too."),
        "ignores beta": Mistake(looped(lambda S, S_0, k, v, beta, t: write(S, k, v, 1.0)),
            "Every write has a strength of its own, β_t. Yours are all at full strength.", "eq. 2.4"),
        "reads with the key": Mistake(looped(right_step, read=lambda S, S_before, q_t, k_t: S @ k_t),
            "Keys are for writing, queries for reading: o_t = S_t q_t.", "eq. 2.4"),
        "divides the queries by √K": Mistake(
            looped(right_step, read=lambda S, S_before, q_t, k_t: S @ q_t / len(q_t) ** 0.5),
            "The factor s is 1 in this book: o_t = S_t q_t. Libraries that copy softmax attention divide.", "eq. 2.4"),
        "reads every token from the final memory": Mistake(with_final_memory,
            "Token t must not see later tokens. Yours writes all of them and then reads: the "
            "outputs look into the future.", "eq. 2.4",
            next="Move the read into the loop."),
        "returns the state transposed": Mistake(with_transposed_state,
            "The state is (V, K) in this book: one row per value dimension. flash-linear-attention keeps its "
            "transpose.", "eq. 2.4"),
        "changes the memory it was given": Mistake(loop_in_place,
            "The result is right, but `-=` and `+=` write into the caller's S: a second call would start elsewhere.",
            next="Write `S = S - ...`."),
    },
    hints=("Start from your answer to 2.1. What does a loop add around it?",
           "For each token: write with k_t, v_t, β_t, then read with q_t. Collect the reads; keep the memory.",
           "`for t in range(len(k)):` write, then `o.append(S @ q[t])`. At the end `torch.stack(o)`, and S."),
)
