"""Exercises 3.1, 3.2 and 3.4 to 3.7: each with its solutions, mistakes and hints. 3.3 is in through_time.py."""

import torch
from torch import outer

from deltanet_edu.ops import sgd_step
from deltanet_edu.ops.delta_rule.householder import householder

from ...tutor import Case, Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs, smallest_first
from .. import by_hand
from ..common import eye_like, real


def row(*tensors):
    """One sequence, one head, for the functions of the package: (T, ...) -> (1, T, 1, ...)."""
    return tuple(x[None, :, None] for x in tensors)


# -- 3.1 One gradient by hand ------------------------------------------------------------------------------------------

exercise(
    id="3.1", title="One gradient by hand", kind="predict", stars=1, minutes=5, equations=("3.4",), reference=-2.4,
    givens={"β": 0.25},
    working=(by_hand.gradient_of_beta,),
    mutants={
        "climbs instead of descending": Mistake(2.4,
            "The size is right. But β multiplies *minus* the error in the rule, so the sign turns.", "eq. 3.4"),
        "multiplies by beta": Mistake(-0.6,
            "That product belongs to dv. The derivative with respect to β is what β multiplies, without β itself.",
            "eq. 3.4"),
        "forgets the gradient that arrives": Mistake(-1.2,
            "The output counts twice in the loss: do = 2, so dS = do qᵀ = (0, 2). Leaving out the error, which is 2 as "
            "well, comes to the same.", "eq. 3.2"),
        "stops at the gradient of the memory": Mistake(1.2,
            "That is dS k. It still has to be multiplied with what β scales: minus the error.", "eq. 3.4"),
        "multiplies by beta and climbs": Mistake(0.6,
            "Two slips: β multiplies *minus* the error, and the derivative with respect to β has no β.", "eq. 3.4"),
        "takes the value for the error": Mistake(-0.24,
            "-0.24 is what v alone gives. The error is S₀k - v = 2.2 - 0.2.", "eq. 3.4"),
        "gives the output": Mistake(0.7,
            "0.7 is what the memory says for q after the write. The question is how the loss changes with β.",
            "eq. 3.4"),
        "gives minus the gradient of the value": Mistake(-0.3,
            "dv = β dS k has that size. The question is about β, which multiplies minus the error.", "eq. 3.3"),
        "takes the first entry of the key": Mistake(-3.2,
            "dS = (0, 2), so dS k picks the *second* entry of the key: 2 · 0.6.", "eq. 3.4"),
        "forgets what the memory says": Mistake(0.24,
            "0.24 is what -v alone gives. The error is S₀k - v = 2.2 - 0.2.", "eq. 3.4"),
        "asks the memory with the query": Mistake(-0.96,
            "The error is what the memory says for the *key*, minus v: S₀k = 2.2. S₀q = 1 is the read.", "eq. 3.4"),
        "takes the error after the write": Mistake(-1.8,
            "e is the error the token *found*, before its write: S₀k - v = 2. After the write 1.5 is left of it.",
            "eq. 3.4"),
        "forgets the value": Mistake(-2.64,
            "S₀k = 2.2 is what the memory says. The error is that minus v.", "eq. 3.4"),
        "reads the gradient with the query": Mistake(-4.0,
            "The write lies along the key, so the gradient is read with the key: dS k = 2 · 0.6.", "eq. 3.4"),
        "gives the gradient of the value": Mistake(0.3,
            "That is dv = β dS k. The question is about β.", "eq. 3.3"),
    },
    hints=("Write down three things first: the error e = S₀k - v, the gradient dS = do qᵀ, and the number dS k.",
           "e = 2 and dS = (0, 2). In S₁ = S₀ - β e kᵀ, what does β multiply?",
           "dβ = -(dS k) · e, with dS k = 2 · 0.6."),
    why="e = 2.2 - 0.2 = 2, dS = do qᵀ = (0, 2), dS k = 1.2. A stronger write lowers the output: dβ = -1.2 · 2.",
)


# -- 3.2 One step back -------------------------------------------------------------------------------------------------

def one_token(g, args, betas=("random",)):
    """Cases of one token that meets a memory, smallest first: unit keys and others, K ≠ V."""
    options = dict(keys=("random", "unnormalized"), betas=betas, memories=("nonempty",))
    sizes = (2, 1), (3, 5)
    return smallest_first([case for K, V in sizes for case in delta_inputs(g, args, T=None, K=K, V=V, **options)])


def step_back_by_matrix(S, dS, q, k, beta, do):
    dS = dS + outer(do, q)
    return S.T @ do, beta * (dS @ k), dS @ householder(k, beta)


def steps_back(g):
    easy = (real([[1.24, 2.32]]), real([[0.0, 1.0]]), real([1.0, 0.0]), real([0.6, 0.8]), real(0.5), real([1.0]))
    return [Case(easy, "easy numbers")] + one_token(g, "S dS q k beta do")


exercise(
    id="3.2", title="One step back", kind="order", stars=2, minutes=10, equations=("3.3", "3.6"),
    reference="EBFAD", alternatives=("BEFAD", "BFEAD", "BFAED", step_back_by_matrix), cases=steps_back,
    prepare=order_the_lines(
        {"A": "dS = dS - torch.outer(dv, k)", "B": "dS = dS + torch.outer(do, q)", "D": "return dq, dv, dS",
         "E": "dq = S.T @ do", "F": "dv = beta * (dS @ k)"},
        "def step_back(S, dS, q, k, beta, do):", "step_back",
        distractors={"C": "dS = dS + torch.outer(dv, k)", "G": "dS = dS - torch.outer(do, q)"}),
    mutants={
        "reads before its own output has been added": Mistake("EFBAD",
            "Token t's output was read *after* its write, so on the way back it comes first: B belongs "
            "before F, which needs all of dS_t.", "eq. 3.2",
            next="With no later token, dS comes in as zero. Should dv be zero then?"),
        "erases before it has read": Mistake("EBAFD",
            "A needs dv, and only F computes it.", "eq. 3.3", next="Which line must come before A?"),
        "adds along the key": Mistake("EBFCD",
            "On the way back, too, the transition I - β k kᵀ *takes away* what lies along the key.", "eq. 3.6",
            next="A or C: which of them is dS M?"),
        "takes its own output away": Mistake("EGFAD",
            "A larger output that the loss likes is liked by the memory as well: the gradient of the output is added.",
            "eq. 3.2"),
        "takes its own output out again": Mistake("EBFAGD",
            "This token's output was read from the memory after the write, and that memory is made from the one before "
            "it. So all of dS goes back through the write, do qᵀ as well.", "eq. 3.6",
            next="With no later token and β = 0, what does the output say about the memory before the write?"),
        "lets the gradient pass the write untouched": Mistake("EBFD",
            "Without A before the return the gradient reaches S_{t-1} as if nothing had been "
            "erased: that is linear attention.", "eq. 3.6"),
        "leaves out its own output": Mistake("EFAD",
            "Without B only later tokens are heard. Token t's own output depends on S_t as well.", "eq. 3.2"),
        "returns what it has not computed": Mistake("BFAD",
            "D returns dq, and only E computes it.", "eq. 3.3"),
    },
    hints=("Forward, the token writes and then reads. Backward, everything happens in reverse.",
           "So the gradient of the read comes in first (B), then the write is differentiated (F), then the "
           "gradient passes it (A or C).",
           "B F A in this order, E anywhere before the return. C and G have the wrong sign."),
)


# -- 3.4 Find the bug: the gradient of a write that was not made -------------------------------------------------------

def dbeta(dS, S, k, v, beta):
    return (dS @ k) @ (v - S @ k)


def dbeta_by_entries(dS, S, k, v, beta):
    return (dS * outer(v - S @ k, k)).sum()


def dbeta_by_autograd(dS, S, k, v, beta):
    beta = beta.detach().clone().requires_grad_()
    return torch.autograd.grad(sgd_step(S, k, v, beta), beta, dS)[0]


def divided(dS, S, k, v, beta, by=lambda beta: beta**2):
    return (beta * (v - S @ k)) @ (beta * (dS @ k)) / by(beta)


SMALL = (1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


def divided_by_more(small):
    return lambda *x: divided(*x, by=lambda beta: beta**2 + small)


def dbeta_after_the_write(dS, S, k, v, beta):
    return (dS @ k) @ (v - sgd_step(S, k, v, beta) @ k)


exercise(
    id="3.4", title="Find the bug: a write that was not made", kind="bug", stars=2, minutes=10, equations=("3.4",),
    tolerance=1e-12, reference=dbeta, alternatives=(dbeta_by_entries, dbeta_by_autograd),
    cases=lambda g: one_token(g, "dS S k v beta", betas=("zero", "random", "one")),
    mutants={
        "divides by beta squared": Mistake(divided,
            "Right for every β but 0. There it is 0/0: one token with nothing to write, and the whole gradient is NaN.",
            "eq. 3.4", next="Which quantities have no β in them from the start?"),
        **{f"adds {small:g} to the divisor": Mistake(divided_by_more(small),
            "No NaN any more, but however small the number is, at β = 0 the gradient is now 0, and it should not be.",
            "eq. 3.4", next="With β = 0, would a slightly larger β change the loss?") for small in SMALL},
        "gives zero where β is zero": Mistake(lambda *x: torch.nan_to_num(divided(*x), nan=0.0),
            "The alarm is off, the error is still there. At β = 0 the gradient is not zero: it says "
            "whether to start writing.", "eq. 3.4", next="With β = 0, would a slightly larger β change the loss?"),
        "leaves the division out": Mistake(lambda *x: divided(*x, by=lambda beta: 1.0),
            "Both factors still carry a β that does not belong here: the result is β² times the right one.",
            "eq. 3.4"),
        "divides by beta once": Mistake(lambda *x: divided(*x, by=lambda beta: beta),
            "One factor β has been removed, the other is left, and β = 0 still gives NaN.", "eq. 3.4"),
        "drops one beta only": Mistake(lambda dS, S, k, v, beta: (beta * (dS @ k)) @ (v - S @ k),
            "No division any more, but one of the two factors still carries β: at β = 0 you get 0.", "eq. 3.4"),
        "flips the sign": Mistake(lambda *x: -dbeta(*x),
            "The rule adds β (v - S k) kᵀ: what β multiplies is v - S k, *minus* the error. That is the sign that u "
            "has, too.", "eq. 3.4"),
        "asks the memory after the write": Mistake(dbeta_after_the_write,
            "β multiplies what the token found before it wrote, v - S_{t-1} k.", "eq. 3.4"),
    },
    hints=("Run it with β = 0. What do you get, and what should you get?",
           "Both `u` and `dv` carry a factor β, and the division takes them out again. Do not put them in.",
           "Multiply v - S k and dS k: the error and the gradient read with the key, neither with a β."),
)


# -- 3.5 Which is smaller? ---------------------------------------------------------------------------------------------

exercise(
    id="3.5", title="When the cache overtakes the memory", kind="predict", stars=2, minutes=10, equations=("3.11",),
    reference=86,
    working=(by_hand.tokens_that_fill_a_memory,),
    mutants={
        "stops one token early": Mistake(85,
            "At 85 tokens the cache holds 85 · 192 · 2 = 32,640 bytes, the memory 32,768. Not yet.", "eq. 3.11"),
        "gives a part of a token": Mistake(32768 / 384,
            "That is where both are equal. The first *whole* number of tokens beyond it was asked for.", "eq. 3.11"),
        "ignores the precision": Mistake(43,
            "That is KV / (K + V) = 42.7: as many *numbers*. The memory's numbers are twice as wide.", "eq. 3.11"),
        "counts too few bytes for the memory": Mistake(22,
            "The memory is in float32: 128 · 64 numbers of 4 bytes. The cache is in bfloat16: 2 bytes a number. "
            "Counting the memory's numbers as bytes, or swapping the two precisions, gives 22.", "eq. 3.11"),
        "takes the widths of the lesson": Mistake(128,
            "128 is where K = V = 128 break even in these precisions, and 32,768 / 256 is 128 as well, with the keys "
            "alone. Here V = 64, and both are cached.", "eq. 3.11"),
        "gives twice as many tokens": Mistake(171,
            "A token of the cache is 128 + 64 numbers of *2* bytes: 384 bytes, not 192. And the memory has 128 · 64 "
            "numbers, not 128 · 128. Either slip gives 171.", "eq. 3.11"),
        "multiplies the widths of the cache": Mistake(3,
            "A token of the cache is a key *and* a value, 128 + 64 numbers. 128 · 64 are as many as a whole memory "
            "has.", "eq. 3.11"),
        "caches keys only": Mistake(129,
            "A cache holds a key *and* a value for each token: 128 + 64 numbers. And where the lesson's cache "
            "overtakes, one token after 128, K and V are 128.", "eq. 3.11"),
        **{f"takes 128 numbers for every value{more}": Mistake(tokens,
            "32,768 / 512 = 64: there a value has as many numbers as a key. Here V = 64.", "eq. 3.11")
           for tokens, more in ((65, ""), (64, ", and stops early"))},
        "caches values only, and stops early": Mistake(256,
            "A cache holds a key *and* a value for each token: 128 + 64 numbers. And at 256 the cache of the values is "
            "not larger yet.", "eq. 3.11"),
        "caches the queries as well": Mistake(52,
            "A query is used once, by its own token. Only keys and values are kept: 128 + 64 numbers.", "eq. 3.11"),
        "caches values only": Mistake(257,
            "A cache holds a key *and* a value for each token: 128 + 64 numbers.", "eq. 3.11"),
    },
    hints=("How many bytes does the memory of one head have? And the cache, per token?",
           "Memory: 128 · 64 · 4 = 32,768 bytes. Cache: (128 + 64) · 2 = 384 bytes a token.",
           "The smallest whole T with 384 T > 32,768."),
    why="32,768 / 384 = 85.3, so 86 tokens. The cache goes on growing; the memory never does.",
)


# -- 3.6 What a chunk would buy ----------------------------------------------------------------------------------------

def intensity(K, V, C, n):
    work = 6 * K * V * C
    moved = 2 * K * V + C * (2 * K + 2 * V + 1)                          # numbers: the memory in and out, and C tokens
    return work / (n * moved)


def intensity_per_token(K, V, C, n):
    state, token = 2 * K * V / C, 2 * K + 2 * V + 1                      # numbers moved per token
    return 6 * K * V / (state + token) / n


def intensity_by_counting(K, V, C, n):
    """By adding up tensors, token by token."""
    S, q, k, v, beta, o = (torch.empty(s) for s in ((V, K), (K,), (K,), (V,), (), (V,)))
    moved = 2 * S.numel() + sum(x.numel() for _ in range(C) for x in (q, k, v, beta, o))
    return sum(2 * V * K + 2 * V * K + 2 * V * K for _ in range(C)) / (n * moved)


SIZES = ((2, 1, 1, 4), (3, 5, 1, 2), (3, 5, 7, 2),
         (128, 128, 1, 4), (128, 64, 64, 2), (128, 128, 64, 2), (64, 256, 1000, 4))        # K, V, C, n


exercise(
    id="3.6", title="What a chunk would buy", kind="code", stars=2, minutes=15, equations=("3.8", "3.9"),
    reference=intensity, alternatives=(intensity_per_token, intensity_by_counting),
    cases=lambda g: [Case(x, f"{'K ≠ V' if x[0] != x[1] else 'K = V'}, C = {x[2]}") for x in SIZES],
    mutants={
        "moves the memory for every token": Mistake(lambda K, V, C, n: intensity(K, V, 1, n),
            "That is C = 1. Here the memory is fetched once and stored once per *chunk*, so "
            "its cost is shared by C tokens.", "eq. 3.9", next="Count the bytes of a whole chunk first."),
        "counts the work of one token only": Mistake(lambda K, V, C, n: intensity(K, V, C, n) / C,
            "The bytes are those of a chunk, and so must the FLOPs be: C tokens do 6KV each.", "eq. 3.8"),
        "moves one token only": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + 2 * K + 2 * V + 1)),
            "The memory is shared by the chunk, but each of its C tokens brings a q, k, v and β of its "
            "own, and takes an o away.", "eq. 3.9"),
        "only fetches the memory": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * (K * V + C * (2 * K + 2 * V + 1))),
            "The memory is read at the start of the chunk and written back at its end: 2KV numbers.", "eq. 3.9"),
        "forgets what the tokens bring": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * 2 * K * V),
            "Without q, k, v, β and o the intensity would grow with C forever. They have to be moved "
            "however long the chunk is.", "eq. 3.9", next="Which number does the intensity approach for long chunks?"),
        "moves β once a chunk": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + C * (2 * K + 2 * V) + 1)),
            "Each token has a β of its own: C numbers a chunk.", "eq. 3.9"),
        "moves one key and one value a token": Mistake(
            lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + C * (K + V + 1))),
            "A token brings q, k, v and β and takes o away: 2K + 2V + 1 numbers.", "eq. 3.9"),
        "forgets the outputs": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + C * (2 * K + V + 1))),
            "Each token also writes its output, V numbers.", "eq. 3.9"),
        "forgets the queries": Mistake(lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + C * (K + 2 * V + 1))),
            "Each token brings a key *and* a query, 2K numbers.", "eq. 3.9"),
        "leaves out the read": Mistake(lambda K, V, C, n: intensity(K, V, C, n) * 2 / 3,
            "4KV is the write: S k and the outer product with its subtraction. S q is another 2KV.", "eq. 3.8"),
        "leaves out the memory": Mistake(lambda K, V, C, n: 6 * K * V / (n * (2 * K + 2 * V + 1)),
            "A memory that never leaves the chip is best of all. Here it is fetched and stored once per chunk: 2KV.",
            "eq. 3.9"),
        "counts the tokens' numbers as bytes": Mistake(
            lambda K, V, C, n: 6 * K * V * C / (2 * n * K * V + C * (2 * K + 2 * V + 1)),
            "n bytes for *every* number that is moved, those of the tokens too.", "eq. 3.9"),
        "counts the memory's numbers as bytes": Mistake(
            lambda K, V, C, n: 6 * K * V * C / (2 * K * V + n * C * (2 * K + 2 * V + 1)),
            "n bytes for *every* number that is moved, those of the memory too.", "eq. 3.9"),
        "counts a multiplication and its addition as one": Mistake(lambda K, V, C, n: intensity(K, V, C, n) / 2,
            "A multiplication and an addition are two FLOPs: S k alone is 2KV of the 6KV.", "eq. 3.8"),
        "rounds down": Mistake(lambda K, V, C, n: 6 * K * V * C // (n * (2 * K * V + C * (2 * K + 2 * V + 1))),
            "`//` throws the fraction away. Below one FLOP per byte nothing is left.", "eq. 3.9"),
        "counts the 3V as well": Mistake(lambda K, V, C, n: intensity(K, V, C, n) * (1 + 1 / (2 * K)),
            "6KV + 3V is all of it, eq. 3.8. Here the 3V are to be neglected, so that the formula stays short.",
            "eq. 3.8"),
        "forgets the write strengths": Mistake(
            lambda K, V, C, n: 6 * K * V * C / (n * (2 * K * V + C * (2 * K + 2 * V))),
            "One number per token is missing: β. It hardly counts, but it is read.", "eq. 3.9"),
        "counts numbers instead of bytes": Mistake(lambda K, V, C, n: n * intensity(K, V, C, n),
            "Each number moved is n bytes.", "eq. 3.9"),
        "gives bytes per FLOP": Mistake(lambda K, V, C, n: 1 / intensity(K, V, C, n),
            "The intensity is FLOPs divided by bytes. Yours is upside down.", "eq. 3.9"),
    },
    hints=("Take a whole chunk of C tokens: its FLOPs, and the numbers that cross the memory bus.",
           "FLOPs: 6KV for each of C tokens. Moved: the memory in and out, and for each token q, k, v, β, o.",
           "6KVC / (n (2KV + C (2K + 2V + 1)))."),
)


# -- 3.7 Un-write ------------------------------------------------------------------------------------------------------

def unwrite(S, k, v, beta):
    found = (S @ k - v) / (1 - beta * (k @ k))                           # (V,)  the error that the token met, eq. 2.8
    return S + beta * torch.outer(found, k)                              # (V, K)


def unwrite_by_solving(S, k, v, beta):
    return inverted(S - beta * outer(v, k), k, beta)


def unwrite_by_inverse_matrix(S, k, v, beta):
    inverse = eye_like(k) + beta / (1 - beta * (k @ k)) * outer(k, k)
    return (S - beta * outer(v, k)) @ inverse


def written_memories(g):
    lesson = Case((real([[1.24, 2.32]]), real([0.6, 0.8]), real([3.0]), real(0.5)), "the lesson's numbers")
    return [lesson] + one_token(g, "S k v beta", betas=("random", "large", "zero"))


def inverted(S, k, beta):
    return torch.linalg.solve(householder(k, beta), S, left=False)


def unwrite_without_beta(S, k, v, beta):
    return S + outer((S @ k - v) / (1 - beta * (k @ k)), k)


def shrink_the_error(S, k, v, beta):
    return S + beta * outer((S @ k - v) * (1 - beta * (k @ k)), k)


def transition_again(S, k, v, beta):
    return (S - beta * outer(v, k)) @ householder(k, beta)


exercise(
    id="3.7", title="Un-write", kind="open", stars=4, minutes=25, equations=("2.8", "3.7"), tolerance=1e-8,
    reference=unwrite, alternatives=(unwrite_by_solving, unwrite_by_inverse_matrix),
    cases=written_memories,
    mutants={
        "writes backwards with the error it sees": Mistake(lambda S, k, v, beta: S + beta * outer(S @ k - v, k),
            "S k - v is the error that is *left*. The token had found a larger one, 1/(1 - β‖k‖²) times as large.",
            "eq. 2.8"),
        "takes the value out again": Mistake(lambda S, k, v, beta: S - beta * outer(v, k),
            "That undoes half of the step. What the token had erased must come back as well.", "eq. 2.6",
            next="S_t = S_{t-1} M + β v kᵀ: what has to be done about M?"),
        "takes every key for a unit key": Mistake(lambda S, k, v, beta: S + beta * outer((S @ k - v) / (1 - beta), k),
            "The fraction of the error that is left is 1 - β‖k‖², which is 1 - β for unit keys only.", "eq. 2.8"),
        "leaves the value in": Mistake(lambda S, k, v, beta: S + beta / (1 - beta * (k @ k)) * outer(S @ k, k),
            "You inverted the transition. But the value was added after it, and is still there: subtract β v kᵀ first.",
            "eq. 2.6"),
        "divides the whole memory": Mistake(lambda S, k, v, beta: (S - beta * outer(v, k)) / (1 - beta * (k @ k)),
            "Only what lies along the key was multiplied by 1 - β‖k‖². What is across the key has not changed.",
            "eq. 2.9", next="For which part of S is there anything to undo?"),
        "divides the whole memory by 1 - β": Mistake(lambda S, k, v, beta: (S - beta * outer(v, k)) / (1 - beta),
            "The write did not weaken the whole memory by 1 - β: only what lies along the key became smaller.",
            "eq. 2.9"),
        "writes once more": Mistake(sgd_step,
            "That is the step forward. The way back has to *enlarge* the error, by 1/(1 - β‖k‖²).", "eq. 2.8"),
        "divides by one plus": Mistake(lambda S, k, v, beta: S + beta * outer((S @ k - v) / (1 + beta * (k @ k)), k),
            "A write leaves the fraction 1 - β‖k‖² of the error, with a minus.", "eq. 2.8"),
        "forgets to square the length": Mistake(
            lambda S, k, v, beta: S + beta * outer((S @ k - v) / (1 - beta * k.norm()), k),
            "The key is used twice, to ask and to write: ‖k‖² counts.", "eq. 2.8"),
        "takes the value out at full strength": Mistake(lambda S, k, v, beta: inverted(S - outer(v, k), k, beta),
            "The transition is inverted rightly. What was added is β v kᵀ.", "eq. 2.6"),
        "takes the value out last": Mistake(lambda S, k, v, beta: inverted(S, k, beta) - beta * outer(v, k),
            "S_t = S_{t-1} M + β v kᵀ: the value was added last, so it comes out first, and then M is inverted.",
            "eq. 2.6"),
        "forgets beta in the write": Mistake(unwrite_without_beta,
            "The error that the token had met is right. The write was β times it.", "eq. 2.3"),
        "multiplies by what is left": Mistake(shrink_the_error,
            "The write multiplied the error by 1 - β‖k‖². To go back, divide.", "eq. 2.8"),
        "goes forward once more": Mistake(lambda S, k, v, beta: S - beta / (1 - beta * (k @ k)) * outer(S @ k - v, k),
            "The error is right, the sign is not: the write was *minus* β e kᵀ, so its inverse is plus.", "eq. 2.3"),
        "applies the transition once more": Mistake(transition_again,
            "M is its own inverse only if it is a reflection, β‖k‖² = 2.", "eq. 2.9",
            next="What is the eigenvalue of M along k, and what must it be for the inverse?"),
        "inverts with the key unscaled": Mistake(lambda S, k, v, beta: (S - beta * outer(v, k)) @ (
                torch.eye(len(k), dtype=k.dtype) + beta * outer(k, k)),
            "(I + β k kᵀ)(I - β k kᵀ) is not I: along the key it is 1 - β²‖k‖⁴.", "eq. 2.9"),
    },
    hints=("Equation 2.8 says what a write leaves of the error. Can you get the old error from the new memory?",
           "e_before = (S k - v) / (1 - β‖k‖²), and the write was S_after = S_before - β e_before kᵀ.",
           "S_before = S + β e_before kᵀ. With β‖k‖² = 1 the division fails: what was overwritten is gone."),
)
