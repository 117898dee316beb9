"""Exercises 11.1 to 11.4: who can own what, bytes, the order of a chunk, and a load that cannot go wrong."""

import torch
import triton
import triton.language as tl

from ...ops.delta_rule.householder import ut_by_solve
from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from ...tutor.ordering import order_the_lines
from ..kernel_answers import changed, launched
from .build import NEXT
from .inputs import SHAPES, tokens

# -- 11.1 --------------------------------------------------------------------------------------------------------------

RIGHT = "A C E F"
WRONG = {"B": "chunks that hand a memory on", "D": "columns of the memory alone"}
MISSING = {"A": "inverses chunk by chunk", "C": "rows of the memory alone", "E": "outputs chunk by chunk",
           "F": "whole heads"}


def what_is_wrong(answer):
    """The letters of an answer in words: the first that does not belong, or is missing."""
    if not isinstance(answer, (str, list, tuple, set)):
        raise AnswerError('give the letters as a string, such as "A B"')
    letters = {x for x in "".join(map(str, answer)).upper() if x.isalpha()}
    if not letters or letters - set("ABCDEF"):
        raise AnswerError('give some of the letters A to F, such as "A B"')
    if letters == set(WRONG):
        return "gives those that are wrong"
    if "D" in letters and "C" not in letters and "B" not in letters:
        return "takes columns of the memory, and leaves out rows"
    missing = set(RIGHT) & set(MISSING) - letters
    if missing in (set("CF"), set("AE")) and not letters & set(WRONG):
        return f"leaves out {'those that keep a memory' if 'C' in missing else 'chunk by chunk'}"
    if len(missing) > 1 and not letters & set(WRONG):
        return "leaves out several"
    said = [f"takes {what}" for letter, what in WRONG.items() if letter in letters]
    said += [f"leaves out {what}" for letter, what in MISSING.items() if letter not in letters]
    return said[0] if said else "right"


exercise(
    id="11.1", title="A program of its own", kind="predict", stars=2, minutes=10, equations=("11.1",),
    reference=RIGHT, alternatives=("ACEF", ["F", "E", "C", "A"]), prepare=what_is_wrong,
    mutants={
        "gives every chunk a program that hands the memory on": Mistake("A B C E F",
            "In B a program reads what another program of the same launch writes. Programs start in any order, many at "
            "the same time, and cannot wait for each other: the interpreter's luck.", "eq. 8.4"),
        "gives the letters of those that are wrong": Mistake("B D",
            "B and D are the two that are wrong, and you have found them. Asked are the letters of the others."),
        "cuts the memory into columns": Mistake("A C D E F",
            "In D, S k needs all columns of a row: each program would know a part of what the memory says, and "
            "nobody the "
            "whole.", "eq. 11.1"),
        "takes columns of the memory for rows": Mistake("A D E F",
            "C is right and D is not: what becomes of a row mentions no other row, but S k needs all columns of a row.",
            "eq. 11.1"),
        "takes whoever keeps a memory for wrong": Mistake("A E",
            "C and F are right: a program that goes through all chunks makes what it needs by itself. It takes long, "
            "and waits for nobody.", "eq. 11.1"),
        "takes whoever has one chunk for wrong": Mistake("C F",
            "A and E are right: A needs its chunk's keys and β alone, and what E needs an earlier launch has stored, "
            "which has ended before this one begins.", "eq. 8.5"),
        "takes several for wrong that are right": Mistake("A",
            "Four launches are right. What a program makes itself, what comes with the inputs and what an *earlier* "
            "launch has stored is there for certain; only what another program of the same launch makes is not."),
        "keeps the inverses together": Mistake("C E F",
            "A needs the keys and β of one chunk and nothing else, so all chunks can be inverted at once.", "eq. 6.3"),
        "keeps the rows together": Mistake("A E F",
            "C is right: the delta rule of one row mentions no other row.", "eq. 11.1"),
        "keeps the outputs together": Mistake("A C F",
            "E is right: another launch has stored what these programs need, and a launch begins when the one before "
            "it "
            "has ended.", "eq. 8.5"),
        "takes the simplest for wrong": Mistake("A C E",
            "F is right, if slow: sequences and heads never meet, and within a program chunk follows upon chunk. Asked "
            "is what is right, not what is fast.", "eq. 8.4"),
    },
    hints=("What does a program need that another program of the *same* launch makes? If anything, it is wrong.",
           "Between two launches everything is finished and stored. Within one launch nothing is certain.",
           "Four of the six are right. One of the wrong ones hands a memory from program to program."),
    why="A program may use what earlier launches have stored, and what it has made itself. Rows of a memory never "
        "meet; columns meet in every dot product with a key.",
)


# -- 11.2 --------------------------------------------------------------------------------------------------------------

def bytes_per_token(K, V, C, V_TILE, e):
    m = -(-V // V_TILE)                                                  # programs a head
    inverse = e * (K + C) + 4 + 4                                        # k, UT_low; beta in and out
    forward = m * (e * (2 * K + C) + 4) + e * 2 * V                      # q, k, UT_low, beta m times; v and o
    return inverse + forward


def bytes_by_tensor(K, V, C, V_TILE, e):
    m = (V + V_TILE - 1) // V_TILE
    times = {"q": m, "k": m + 1, "v": 1, "o": 1, "UT_low": m + 1, "beta": m + 2}
    numbers = {"q": K, "k": K, "v": V, "o": V, "UT_low": C, "beta": 1}
    return sum(times[x] * numbers[x] * (4 if x == "beta" else e) for x in times)


def bytes_with(q=0, k=0, v=0, o=0, UT=0, beta=0, m=lambda V, V_TILE: -(-V // V_TILE), wide=4):
    """A mutant: tensors moved so many times more often, another number of programs, e bytes for β if wide is 0."""
    def f(K, V, C, V_TILE, e):
        n = m(V, V_TILE)
        count = [n + q, n + 1 + k, 1 + v, 1 + o, n + 1 + UT, n + 2 + beta]
        return sum(c * w for c, w in zip(count, (e * K, e * K, e * V, e * V, e * C, wide or e)))
    return f


def moved_by_all(n):
    """A mutant: every program of a head moves all of v or o (n = 1), or of both."""
    return lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) + n * (-(-V // V_TILE) - 1) * e * V


def read_once(keys, UT, beta):
    """A mutant: so many of q and k, UT_low and β are read by one program of a head in place of all."""
    def f(K, V, C, V_TILE, e):
        once = keys * e * K + UT * e * C + beta * 4
        return bytes_per_token(K, V, C, V_TILE, e) - (-(-V // V_TILE) - 1) * once
    return f


def byte_cases(g):
    sizes = ((16, 16, 16, 16, 2), (16, 32, 16, 16, 2), (32, 16, 16, 16, 4), (64, 64, 32, 32, 2), (128, 128, 64, 64, 2),
             (64, 80, 64, 32, 4), (128, 256, 64, 128, 2))
    notes = {0: "tiles that fit", 1: "a last tile that is not full"}
    return [Case(x, f"{notes[x[1] % x[3] > 0]}, e = {x[4]}, " + ("K = V" if x[0] == x[1] else "K ≠ V")) for x in sizes]


exercise(
    id="11.2", title="What two kernels ask for", kind="code", stars=2, minutes=15, equations=("11.6",),
    reference=bytes_per_token, alternatives=(bytes_by_tensor,),
    cases=byte_cases,
    mutants={
        "gives the least": Mistake(lambda K, V, C, V_TILE, e: e * (2 * K + 2 * V) + 4,
            "That is what any kernel must move. These two read k twice and hand UT_low over.", "eq. 11.6"),
        "forgets that the inverse reads the keys": Mistake(bytes_with(k=-1),
            "The first kernel needs K Kᵀ, so it reads k as well.", "eq. 11.6"),
        "counts UT_low as written only": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e)
                                                 - -(-V // V_TILE) * e * C,
            "The second kernel reads it, every program of a head.", "eq. 11.6"),
        "counts UT_low as read only": Mistake(bytes_with(UT=-1), "The first kernel has to write it.", "eq. 11.6"),
        "reads for one program a head": Mistake(bytes_with(m=lambda V, V_TILE: 1),
            "A head has V / V_TILE programs, rounded up, and each of them reads q, k, UT_low and β.", "eq. 11.6",
            next="Which tensors does a program need that owns only some of the rows?"),
        "rounds the number of programs down": Mistake(bytes_with(m=lambda V, V_TILE: V // V_TILE),
            "80 rows in tiles of 32 are three programs. The last one is not full.", "eq. 11.6"),
        "lets every program read all of v, or write all of o": Mistake(moved_by_all(1),
            "A program needs the V_TILE columns of v and o that are its rows. Together that is each of them once.",
            "eq. 11.6"),
        "lets every program move all of v and o": Mistake(moved_by_all(2),
            "A program needs the columns of v and o that belong to its rows. Together that is each of them once.",
            "eq. 11.6"),
        "reads q in the inverse": Mistake(bytes_with(q=1), "UT depends on keys and β, not on queries.", "eq. 6.3"),
        "forgets β": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) - 4 * (-(-V // V_TILE) + 2),
            "β: read and stored by the first kernel, read by every program of the second, 4 bytes each time.",
            "eq. 11.6"),
        "reads β in the second kernel alone": Mistake(bytes_with(beta=-2),
            "The first kernel reads β, too, and stores it for the second: 8 bytes more.", "eq. 11.6"),
        "does not store β in the first kernel": Mistake(bytes_with(beta=-1),
            "The package's first kernel stores β beside UT_low, in float32: 4 bytes more.", "eq. 11.6"),
        "gives β the size of the others": Mistake(bytes_with(wide=0),
            "β is float32, 4 bytes, whatever e is.", "eq. 11.6"),
        "stores o in float32": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) + (4 - e) * V,
            "Sums are float32 in registers. o is stored with e bytes a number, like v.", "eq. 11.6"),
        "shares β among the tokens of a chunk": Mistake(
            lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) - 4 * (-(-V // V_TILE) + 2) * (1 - 1 / C),
            "Each token has a β of its own: 4 bytes each time it is moved.", "eq. 11.6"),
        "stores the memory of each chunk": Mistake(
            lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) + e * K * V / C,
            "The second kernel keeps the memory in registers, and stores o alone.", "eq. 11.6"),
        "takes V_TILE for the number of programs": Mistake(bytes_with(m=lambda V, V_TILE: V_TILE),
            "V_TILE is how many rows a program has. A head has V / V_TILE programs, rounded up.", "eq. 11.6"),
        "has K and V exchanged": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(V, K, C, V_TILE, e),
            "q and k have K numbers a token, v and o have V.", "eq. 11.6"),
        "inverts for every program": Mistake(
            lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) + (-(-V // V_TILE) - 1) * (e * (K + C) + 8),
            "The inverse has a kernel of its own, which runs once for all programs of a head.", "eq. 11.6"),
        "reads q, or k, for one program a head": Mistake(read_once(1, 0, 0),
            "Each program of a head computes outputs of its own rows, and needs all of q and k for them.", "eq. 11.6"),
        "reads UT_low for one program a head": Mistake(read_once(0, 1, 0),
            "Each program of a head solves for the writes of its own rows, and needs all of UT_low for them.",
            "eq. 11.6"),
        "reads β for one program a head": Mistake(read_once(0, 0, 1),
            "Each program of a head needs β for the diagonal of UT.", "eq. 11.6"),
        **{f"reads {names} for one program a head": Mistake(read_once(*counts), "The m programs of a head share out "
               "rows of the memory, and with them v and o. Each needs all of q, k, UT_low and β: m times.", "eq. 11.6")
           for names, counts in {"q and k": (2, 0, 0), "UT_low and β": (0, 1, 1), "q and k and UT_low": (2, 1, 0),
                                 "q and k and β": (2, 0, 1), "UT_low and one of q and k": (1, 1, 0),
                                 "β and one of q and k": (1, 0, 1), "UT_low, β and one of q and k": (1, 1, 1)}.items()},
        "gives each token a whole UT": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C * C, V_TILE, e),
            "A chunk has C · C numbers of UT_low, so a token has a row of C.", "eq. 11.6"),
        "counts half of UT_low": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C // 2, V_TILE, e),
            "Half of UT_low is zero, but the zeros are stored and loaded as well: C numbers a row.", "eq. 11.6"),
        "counts what is read alone": Mistake(
            lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) - e * (C + V) - 4,
            "What is stored moves as well: UT_low and β by the first kernel, o by the second.", "eq. 11.6"),
        "takes two bytes a number": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, 2),
            "A number has e bytes, which need not be 2.", "eq. 11.6"),
        "counts numbers instead of bytes": Mistake(lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, 1),
            "Each number has e bytes.", "eq. 11.6"),
        "counts what every program reads once too often": Mistake(
            lambda K, V, C, V_TILE, e: bytes_per_token(K, V, C, V_TILE, e) + e * (2 * K + C) + 4,
            "Each of the m programs of a head reads q, k, UT_low and β: m times, not once and then m times more.",
            "eq. 11.6"),
        "gives the cost of a chunk": Mistake(lambda K, V, C, V_TILE, e: C * bytes_per_token(K, V, C, V_TILE, e),
            "That is for C tokens. A chunk is asked for once for all of them, and each has its own row.", "eq. 11.6"),
    },
    hints=("List what each kernel loads and stores for one token: six tensors.",
           "The second kernel has m = ⌈V / V_TILE⌉ programs a head. q, k, UT_low and β are read by all of them, v "
           "and o "
           "are dealt out.",
           "The first kernel: e (K + C) + 8. The second: m (e (2K + C) + 4) + 2eV."),
)


# -- 11.3 --------------------------------------------------------------------------------------------------------------

def order_cases(g):
    """Q, K, V, beta, UT_low, S of one chunk."""
    drawn = smallest_first(delta_inputs(g, "q k v beta S", T=(1, 2, 5), K=3, V=2)
                           + delta_inputs(g, "q k v beta S", T=(3,), K=2, V=5, betas=("large",)))
    return [Case((q, k, v, beta, ut_by_solve(k, beta).tril(-1), S), case.note)
            for case in drawn for q, k, v, beta, S in [case.args]]


exercise(
    id="11.3", title="A chunk with tokens as columns", kind="order", stars=2, minutes=10,
    equations=("11.3", "11.4", "11.5"), reference="DAFBHE", alternatives=("ADFBHE", "AFDBHE"), cases=order_cases,
    prepare=order_the_lines(
        {"A": "R_t = V.mT - S @ K.mT                    # (V, C)",
         "B": "O_t = S @ Q.mT + X_t @ P_t               # (V, C)",
         "D": "P_t = (K @ Q.mT).triu()                  # (C, C)",
         "E": "return O_t.mT, S",
         "F": "X_t = R_t * beta + R_t @ UT_low.mT       # (V, C)",
         "H": "S = S + X_t @ K                          # (V, K)"},
        "def one_chunk(Q, K, V, beta, UT_low, S):", "one_chunk",
        distractors={"C": "P_t = (Q @ K.mT).triu()                  # (C, C)",
                     "G": "X_t = R_t * beta + R_t @ UT_low          # (V, C)"},
        reasons={"C": "in Q Kᵀ the rows read. With tokens as columns it is K Qᵀ, as in D.",
                 "G": "without the transpose later tokens correct earlier ones: Xᵀ = Rᵀ UTᵀ, as in F."}),
    mutants={
        "updates before it reads": Mistake("DAFHBE",
            "After line H, S holds this chunk's writes already. Then line B adds them a second time.", "eq. 11.4"),
        "has readers and writers exchanged": Mistake("CAFBHE",
            "Line C is a decoy: in Q Kᵀ the rows read. With tokens as columns it is K Qᵀ, and its upper triangle.",
            "eq. 11.4"),
        "turns UT_low the wrong way": Mistake("DAGBHE",
            "Line G is a decoy: Rᵀ UT_low lets later tokens correct earlier ones. Xᵀ = Rᵀ UTᵀ.", "eq. 11.3"),
        "falls for both decoys": Mistake("CAGBHE",
            "Lines C and G are decoys: one has Q and K exchanged, the other lacks a transpose.", "eq. 11.3 and 11.4"),
        "forgets to update": Mistake("DAFBE", "Line H is missing: the memory that leaves is the one that came in.",
            "eq. 11.3"),
        "reads before anything is written": Mistake("DABFHE", "Line B needs X_t, and only F makes it.", "eq. 11.4"),
    },
    hints=("Two of the lines are decoys: one exchanges Q and K, one forgets a transpose.",
           "P_t needs nothing but the arguments. R_t, then X_t, then O_t, and S last.",
           "O must see the S that *enters*: B comes before H. The end is B H E."),
)


# -- 11.4 --------------------------------------------------------------------------------------------------------------

@triton.jit
def last_memory(k_ptr, v_ptr, UT_ptr, S_ptr, T, H, K: tl.constexpr, V: tl.constexpr, C: tl.constexpr):
    head = tl.program_id(0) // H * T * H + tl.program_id(0) % H
    key, val, col = tl.arange(0, K)[None, :], tl.arange(0, V)[None, :], tl.arange(0, C)[None, :]
    S = tl.zeros((V, K), tl.float32)                                     # (V, K)
    for first in range(0, T, C):
        t = first + tl.arange(0, C)
        there = (t < T)[:, None]                                         # (C, 1)
        row = (head + t * H)[:, None]                                    # (C, 1)
        k = tl.load(k_ptr + row * K + key, mask=there, other=0.0)        # (C, K)
        v = tl.load(v_ptr + row * V + val, mask=there, other=0.0)        # (C, V)
        UT = tl.load(UT_ptr + row * C + col, mask=there, other=0.0)      # (C, C)
        X = tl.dot(UT, v - tl.dot(k, tl.trans(S)))                       # (C, V)  eq. 8.6
        S += tl.dot(tl.trans(X), k)                                      # eq. 8.4
    tl.store(S_ptr + tl.program_id(0) * V * K + tl.arange(0, V)[:, None] * K + key, S)


GUARD = "        t = first + tl.arange(0, C)\n"
CLAMP = "        t = tl.minimum(first + tl.arange(0, C), T - 1)\n"
CLAMP_UNDER_MASK = CLAMP.replace("t = ", "u = first + tl.arange(0, C)\n        t = ")
UNMASKED = [(f"{x}, mask=there, other=0.0)", f"{x})") for x in ("row * K + key", "row * V + val", "row * C + col")]
K_MASK, V_MASK, UT_MASK = UNMASKED
ADD = "S += tl.dot(tl.trans(X), k)"
KEEP_WRITES = (ADD, "X = tl.where((first + tl.arange(0, C) < T)[:, None], X, 0.0)\n        " + ADD)


def memory_with(*replaced):
    return changed(last_memory, *replaced)


def of_one_launch(g):
    """k, v and UT of every chunk, (B, T, H, C)."""
    made = []
    for note, (B, T, H, K, V) in SHAPES.items():
        _, k, v, beta = tokens(g, B, T, H, K, V)
        UT = torch.zeros(B, T, H, 16)
        for first in range(0, T, 16):
            keys, strengths = (x[:, first:first + 16].transpose(1, 2).double() for x in (k, beta))
            part = ut_by_solve(keys, strengths)
            UT[:, first:first + 16, :, :part.shape[-1]] = part.transpose(1, 2)
        made.append(Case((k, v, UT), note))
    return made


def launch_last_memory(kernel, k, v, UT, S):
    (B, T, H, K), V, C = k.shape, v.shape[3], UT.shape[3]
    kernel[(B * H,)](k, v, UT, S, T, H, K, V, C)


exercise(
    id="11.4", title="A load that cannot go wrong", kind="bug", stars=2, minutes=15, equations=("8.4", "8.6"),
    reference=last_memory,
    alternatives=(memory_with((GUARD, CLAMP), *UNMASKED, KEEP_WRITES),
                  memory_with((GUARD, CLAMP_UNDER_MASK), ("(t < T)[:, None]", "(u < T)[:, None]"), V_MASK)),
    cases=of_one_launch, tolerance=2e-5,
    prepare=launched(launch_last_memory, lambda k, v, UT: k.new_empty(len(k), k.shape[2], v.shape[3], k.shape[3])),
    mutants={
        "still lets the last token write again and again": Mistake(memory_with((GUARD, CLAMP), *UNMASKED),
            "Clamping keeps every load inside the tensor, but rows behind the end are copies of the last token, and "
            "still each of them is added to the memory. *Rows* of k or of UT must read as zero there; zeros in v are "
            "not enough. After the clamp t < T holds for every row: a mask needs the number that it had before.",
            "eq. 8.4", next="What does a row with k = 0 add to the memory?"),
        "lets one copy of the last token write": Mistake(
            memory_with((GUARD, CLAMP_UNDER_MASK), ("(t < T)[:, None]", "(u <= T)[:, None]")),
            "Tokens are numbered from 0: the last is T − 1, and row T lies behind the end. Clamped, it is a copy of "
            "the last token, which writes once more. `<`, not `<=`.", "eq. 8.4"),
        "loads outside, once the clamp is gone": Mistake(memory_with(*UNMASKED),
            "Without the clamp the last chunk reaches over the end. Each load needs a mask, and `other=0.0` for what "
            "it "
            "leaves out.", next=NEXT),
        "compares the place in the chunk with T": Mistake(
            memory_with((GUARD, CLAMP), ("(t < T)[:, None]", "(tl.arange(0, C) < T)[:, None]")),
            "A mask of the place in the chunk is right for the first chunk alone. A token's number is first + place.",
            "eq. 8.4"),
        "drops the tail": Mistake(memory_with(("range(0, T, C)", "range(0, T // C * C, C)")),
            "Now the last T mod C tokens are never written, and they belong into the memory as well: a chunk that is "
            "not full needs masks, and must not be left out.", "eq. 8.4"),
        "treats the last token as missing": Mistake(memory_with(("(t < T)[:, None]", "(t < T - 1)[:, None]")),
            "Token T − 1 exists. The mask must let it through.", "eq. 8.4"),
        "fills up with ones": Mistake(
            memory_with(*((f"{x}, mask=there, other=0.0", f"{x}, mask=there, other=1.0")
                          for x in ("row * K + key", "row * C + col"))),
            "What a mask leaves out gets the value of `other`. Rows of ones write; rows of zeros do not.", "eq. 8.4"),
        "takes away what it should add": Mistake(memory_with((ADD, ADD.replace("+=", "-="))),
            "The clamp was the only mistake: S grows by Xᵀ K.", "eq. 8.4"),
        "keeps only what the last chunk wrote": Mistake(memory_with((ADD, ADD.replace("+=", "="))),
            "The clamp was the only mistake: Xᵀ K is added to what is there.", "eq. 8.4"),
        "stores all memories in the place of the first": Mistake(
            memory_with(("S_ptr + tl.program_id(0) * V * K", "S_ptr")),
            "Every program stores over the others. That of sequence b and head h begins (b H + h) V K numbers in."),
        "stores the memory with rows of length V": Mistake(
            memory_with(("tl.arange(0, V)[:, None] * K + key, S)", "tl.arange(0, V)[:, None] * V + key, S)")),
            "A memory is (V, K): its rows have K numbers."),
        "rounds the memory to bfloat16": Mistake(
            memory_with((ADD, "S = (S + tl.dot(tl.trans(X), k)).to(tl.bfloat16).to(tl.float32)")),
            "S is carried from chunk to chunk, and rounded in each. It stays in float32.", "eq. 8.4"),
        "has a sign turned": Mistake(memory_with(("v - tl.dot(k, tl.trans(S))", "v + tl.dot(k, tl.trans(S))")),
            "The clamp was the only mistake: R = V − K Sᵀ.", "eq. 8.6"),
        "asks whether the row is in the tensor's first T": Mistake(
            memory_with(("(t < T)[:, None]", "(head + t * H < T)[:, None]")),
            "Whether a token exists is a question to t, its number in the sequence. `row` counts sequences and heads "
            "as well, so behind the first of them it is soon larger than T."),
        "lets one row too many in": Mistake(memory_with(("(t < T)[:, None]", "(t <= T)[:, None]")),
            "Tokens are numbered from 0: the last is T − 1, and t = T lies behind the end. `t < T`."),
        "goes back to the first tokens": Mistake(
            memory_with((GUARD, "        t = (first + tl.arange(0, C)) % T\n"), *UNMASKED),
            "Every load is inside, but the rows behind the end are now copies of the first tokens, which are written "
            "a second time. They must read as zero.", "eq. 8.4", next="What does a row with k = 0 add to the memory?"),
    },
    hints=("T = 1 and C = 16: how many times is the only token written?",
           "The rows behind the end must not write. What has to be zero for that?",
           "`there = (t < T)[:, None]`, and `mask=there, other=0.0` in all three loads."),
)
