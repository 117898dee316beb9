"""Exercises 15.1 to 15.3 and 15.12: chances, capacities, spreads."""

import itertools
import math

from ...tutor import AnswerError, Mistake, exercise

# -- 15.1 What is chance? ----------------------------------------------------------------------------------------------

CHANCES = (100 / 64, 100 * (1 / 4 + 3 / 4 / 32), 100 * 2 / 18)           # per cent

# Of each number: what somebody may come to instead, and why that is wrong.
SLIPS = (
    {"guesses among all value tokens": (100 / 4096,
        "The last value told is one of the 64 that can be asked for. It is right as often as its own key is asked: "
        "once in 64 questions."),
     "guesses among the whole vocabulary": (100 / 8192,
        "Nobody guesses here: the answer is always one of the 64 values that were told, and for one question of 64 it "
        "is right."),
     "leaves the last pair out of the questions": (100 / 63, "All 64 keys are asked, the last one too."),
     "counts tokens instead of pairs": (100 / 128, "64 pairs are 128 tokens, but 64 questions."),
     "divides by the length of the sequence": (100 / 512, "Only the 64 questions count, not all 512 positions."),
     "takes the eight pairs of the lesson": (100 / 8, "64 pairs are asked here. The lesson's first task has eight."),
     "counts each pair twice": (200 / 64, "64 questions, and for one of them the answer is right."),
     "takes the answer for always right": (100.0, "It says one and the same value to all 64 questions."),
     "takes the answer for always wrong": (0.0, "Its own key is asked as well, once. Then it is right.")},
    {"forgets that values repeat": (25.0,
        "Nearly. The three older values are drawn from the same 32, so each of them is the last value by luck once in "
        "32 times: ¼ + ¾ · 1/32."),
     "guesses among all value tokens in the second": (100 / 32,
        "That is a guess among all 32 values. This one picks among the four that the key was told."),
     "guesses among all told pairs": (100 / 24, "It knows which four values belong to the key; it does not know which "
                                                "one came last."),
     "guesses a key": (100 / 6, "It knows the key. What it does not know is which of four values came last."),
     "guesses among the older values": (100 / 3, "It picks among all four, the last one included."),
     "adds a whole chance for luck": (25 + 100 / 32, "Luck helps only where the pick was wrong: ¾ of the time."),
     "adds a quarter of a chance for luck": (25 + 25 / 32,
        "Luck helps where the pick was wrong: ¾ of the time, not ¼."),
     "takes the last value out of the 32": (25 + 75 / 31,
        "The older values are drawn from all 32, the last one among them: 1/32, not 1/31."),
     "asks whether any of four fits by luck": (100 * (1 - (31 / 32) ** 4),
        "One of the four *is* the last value. The pick meets it with chance ¼, and otherwise by luck."),
     "says how often it is wrong": (75 - 75 / 32, "That is the share of wrong ones: ¾ · 31/32."),
     "lets luck strike twice in three": (25 + 300 / 32, "¾ · 1/32, not 3 · 1/32: one pick is made."),
     "forgets per cent in the second": (1 / 4 + 3 / 128, "In per cent that is 27.3.")},
    {"counts the separator as a letter": (200 / 19, "The letters are 18; it guesses none but letters."),
     "takes one letter for right": (100 / 18, "On average two letters are allowed: (1 + 2 + 3) / 3."),
     "takes three letters for right": (300 / 18, "A state has one, two or three edges, two on average."),
     "averages the chances that a letter comes": (100 * (1 + 1 / 2 + 1 / 3) / 3,
        "That is how often the letter that comes would be guessed by somebody who knows what is allowed. This one "
        "guesses among all 18 letters."),
     "averages in the wrong place": (100 * 3 / (18 * (1 + 1 / 2 + 1 / 3)), "The mean of 1/18, 2/18 and 3/18."),
     "tosses a coin": (50.0, "Allowed or not are two outcomes, but not equally likely ones: two letters of 18."),
     "leaves a letter out": (200 / 17, "Any of 18 letters is guessed."),
     "forgets per cent in the third": (2 / 18, "In per cent that is 11.1.")},
)


def with_slip(i, wrong):
    return (*CHANCES[:i], wrong, *CHANCES[i + 1:])


exercise(
    id="15.1", title="What is chance?", kind="predict", stars=2, minutes=12, equations=("15.2", "15.11"),
    reference=CHANCES, tolerance=2e-3,
    mutants={name: Mistake(with_slip(i, wrong), text) for i, slips in enumerate(SLIPS)
             for name, (wrong, text) in slips.items()}
    | {"gives shares, not per cent": Mistake(tuple(x / 100 for x in CHANCES), "All three in per cent, please."),
       "forgets that values repeat, and shows it in shares": Mistake((1 / 64, 0.25, 1 / 9),
           "In per cent, please; and the three older values of a key may be the last one by luck: ¼ + ¾ · 1/32.")},
    hints=("Of how many questions is the answer right? Count the questions of one sequence.",
           "Second: the pick is the last value with chance ¼. If not, it may still be an equal one. Third: 1, 2 and 3 "
           "letters of 18, equally often.",
           "100/64, 100 · (¼ + ¾ · 1/32), 100 · 2/18."),
    why="1.56 %: one of 64 questions. 27.3 %: ¼, and by luck 1/32 of the rest. 11.1 %: on average 2 of 18 letters.",
)


# -- 15.2 Half-life ----------------------------------------------------------------------------------------------------

def writes_until_half(d=32, beta=1.0, share=0.5):
    return math.ceil(math.log(share) / math.log(1 - beta / d))


exercise(
    id="15.2", title="The half-life of a memory", kind="predict", stars=2, minutes=10, equations=("15.4",),
    reference=writes_until_half(), tolerance=1e-3, working=(writes_until_half,), givens={"d": 32.0},
    mutants={
        "fades in a straight line": Mistake(16,
            "Half of 32, as if each write took away 1/32 of what was there in the beginning. Each takes 1/32 of what "
            "is *left*.", "eq. 15.4"),
        "waits for as many writes as the memory is wide": Mistake(32,
            "After 32 writes (31/32)³² = 36 % is left, about one part in e. Half is left much earlier.", "eq. 15.4"),
        "waits for one write more than the memory is wide": Mistake(33,
            "Nothing is pushed out when 32 items are in: each write takes 1/32 of what is left, from the first on. "
            "After 33 it is (31/32)³³ = 35 %.", "eq. 15.4"),
        "takes the overlap for its square": Mistake(4,
            "Two random keys overlap by about 1/√32, but a write takes away k kᵀ: the *square* of the overlap, 1/32.",
            "eq. 15.4"),
        "stops one write early": Mistake(21, "(31/32)²¹ = 51.3 %, which is still more than half.", "eq. 15.4"),
        "does not round up": Mistake(math.log(0.5) / math.log(31 / 32),
            "The first whole number of writes is asked.", "eq. 15.4"),
        "takes the exponential": Mistake(32 * math.log(2),
            "32 ln 2 = 22.2 is a good approximation. The first whole number with (31/32)ᵃ < ½ is asked.", "eq. 15.4"),
        "waits one write too long": Mistake(23,
            "(31/32)²² = 49.7 % is below a half already. 23 comes out if 32 ln 2 = 22.2 is rounded up, or if the write "
            "of the item itself is counted.", "eq. 15.4"),
        "takes half of the strength": Mistake(45,
            "That is the first whole number with (63/64)ᵃ < ½: as if each write took away 1/64.", "eq. 15.4"),
        "halves the energy": Mistake(11,
            "Then the *square* of the signal is a half. The signal itself is 70.5 %.", "eq. 15.4"),
        "counts the square": Mistake(44, "Half a half: (31/32)⁴⁴ = 24.7 %.", "eq. 15.4"),
        "waits for one in e": Mistake(31, "(31/32)³¹ = 37.4 %. Half was asked.", "eq. 15.4"),
        "uses logarithms of ten and of e": Mistake(math.ceil(math.log10(2) * 32),
            "ln 2 = 0.693, not log₁₀ 2 = 0.301.", "eq. 15.4"),
        "fades in a straight line, and goes one further": Mistake(17,
            "Each write takes 1/32 of what is *left*, not of what was there in the beginning.", "eq. 15.4"),
        "doubles the width": Mistake(64, "(31/32)⁶⁴ = 13 %. Half is left much earlier.", "eq. 15.4"),
        "halves at each write": Mistake(5,
            "32 can be halved five times, but a write takes a 32nd, not a half.", "eq. 15.4"),
        "lets one write erase nearly all": Mistake(1,
            "A write with β = 1 erases what is stored along *its own* key. Of an item with another key 31/32 is left, "
            "on average.", "eq. 15.4"),
    },
    hints=("What is left after one write? After two?",
           "(31/32)ᵃ < ½. Take logarithms; both are negative.",
           "a > ln ½ / ln (31/32) = 21.8."),
    why="(31/32)²¹ = 51.3 %, (31/32)²² = 49.7 %. A memory of width d has a half-life of about 0.69 d writes, for items "
        "that are not told again.",
)


# -- 15.3 Bits ---------------------------------------------------------------------------------------------------------

def bits_to_hold(T=32, vocab=16):
    return (T - 1) * math.log2(vocab - 1)


exercise(
    id="15.3", title="How much is there to hold?", kind="predict", stars=1, minutes=8, equations=("15.10",),
    reference=bits_to_hold(), tolerance=2e-3, working=(bits_to_hold,), givens={"T": 32.0},
    mutants={
        "takes four bits for a token": Mistake(31 * 4.0,
            "Without the sign there are 15 symbols, and log₂ 15 is 3.91. All tokens are held together, so the bits of "
            "each need not be whole.", "eq. 15.10"),
        "counts the sign as a token to hold": Mistake(32 * math.log2(15),
            "The last token is the sign, the same in every sequence. 31 are to be held.", "eq. 15.10"),
        "counts the sign twice over": Mistake(128.0, "One token and one symbol less: 31 tokens, 15 symbols.",
                                              "eq. 15.10"),
        "counts nats": Mistake(31 * math.log(15), "Those are nats. Bits take the logarithm with base 2.", "eq. 15.10"),
        "counts digits": Mistake(31 * math.log10(15), "Those are decimal digits. Bits take the base 2.", "eq. 15.10"),
        "counts bytes": Mistake(31 * math.log2(15) / 8, "Those are bytes. A byte has eight bits.", "eq. 15.10"),
        "counts tokens": Mistake(31.0, "31 tokens, but each is one of 15.", "eq. 15.10"),
        "multiplies tokens and symbols": Mistake(31 * 15.0,
            "That is how long a list of zeros and ones would be. A token that is one of 15 takes log₂ 15 bits.",
            "eq. 15.10"),
        "takes the logarithm of the product": Mistake(math.log2(31 * 15),
            "There are 15³¹ sequences, not 31 · 15.", "eq. 15.10"),
        "exchanges the two": Mistake(15 * math.log2(31), "There are 15³¹ sequences, not 31¹⁵.", "eq. 15.10"),
        "gives the number of a token": Mistake(math.log2(15), "That is one token. There are 31.", "eq. 15.10"),
        "takes two symbols away": Mistake(31 * math.log2(14),
            "Of 16 tokens one is the sign: 15 are left.", "eq. 15.10"),
        "multiplies tokens and the vocabulary": Mistake(31 * 16.0,
            "A token that is one of 15 takes log₂ 15 bits, not 16.", "eq. 15.10"),
        "multiplies all tokens and symbols": Mistake(32 * 15.0,
            "31 tokens are to be held, and one of 15 takes log₂ 15 bits, not 15.", "eq. 15.10"),
        "rounds the bits of a token down": Mistake(31 * 3.0,
            "log₂ 15 is 3.91. Three bits tell only eight symbols apart.", "eq. 15.10"),
        "counts orders": Mistake(math.log2(math.factorial(31)),
            "That tells the orders of 31 different things apart. Here each of 31 places holds any of 15 symbols.",
            "eq. 15.10"),
        "counts how often each symbol comes": Mistake(math.log2(math.comb(45, 14)),
            "That leaves the order out. All tokens are to be told, each at its place: 15³¹ sequences.", "eq. 15.10"),
        "counts the sequences": Mistake(15.0**31,
            "So many sequences there are. How many bits tell one of them? The logarithm.", "eq. 15.10"),
        "loses a token": Mistake(30 * math.log2(15), "31 tokens stand before the sign.", "eq. 15.10"),
    },
    hints=("How many different sequences are there?", "15 choices for each of 31 tokens: 15³¹. How many bits tell one "
           "of them?", "31 · log₂ 15."),
    why="31 · 3.907 = 121 bits. A DeltaNet layer with D = 128 and two heads keeps 8,192 numbers: room is not what "
        "makes compression hard.",
)


# -- 15.12 A table with spread -----------------------------------------------------------------------------------------

RIGHT = {"A": True, "B": False, "C": True, "D": False, "E": False}
MEANINGS = {
    "A": "A holds: the means of X are 92.1 and 92.5, and each model's own seeds are 1.8 and 3.2 apart.",
    "B": "B does not: a mean of 46, 99 and 98 describes none of the runs. Red failed to learn once, and was better "
         "twice.",
    "C": "C holds: what differs most within Y is whether a run of red learned at all, and three seeds say little about "
         "how often.",
    "D": "D does not: 0.3 points are the noise of such a test alone (eq. 15.12), and nobody knows what another seed "
         "would have given.",
    "E": "E does not: more questions make the score of *these weights* more exact. Another seed makes other weights.",
}


def read_letters(answer):
    """"a, C" as "AC"."""
    try:
        letters = sorted({c for c in "".join(answer).upper() if c.isalpha()})
    except TypeError:
        raise AnswerError('write the letters of what holds, as in "AB"') from None
    if unknown := [c for c in letters if c not in RIGHT]:
        raise AnswerError(f"there is no statement {', '.join(unknown)}; they are {', '.join(RIGHT)}")
    return "".join(letters)


def misreadings():
    """{name: Mistake} for each set of letters that is not the right one."""
    made = {}
    for n in range(1, 6):
        for said in itertools.combinations(RIGHT, n):
            extra = [c for c in said if not RIGHT[c]]
            missing = [c for c in RIGHT if RIGHT[c] and c not in said]
            named = [f"{verb} {' and '.join(letters)}" for verb, letters in (("believes", extra), ("misses", missing))
                     if letters]
            if named:
                made[" and ".join(named)] = Mistake("".join(said), " ".join(MEANINGS[c] for c in (extra + missing)[:2]))
    return made


exercise(
    id="15.12", title="What do these runs show?", kind="predict", stars=2, minutes=12, equations=("15.12",),
    reference="AC", prepare=read_letters, mutants=misreadings(),
    hints=("For each statement: what would have to be different for it to be false? Did the runs look at that?",
           "Two sources of chance: which questions the test asks (eq. 15.12), and which weights a seed leads to. Only "
           "the first gets smaller with more questions.",
           "A and C. The spread within a model is as large as the difference on X; on Y it *is* the result; on Z "
           "nobody has looked at it."),
    why="Compare a difference with the spread of the seeds first. A run that did not learn is a result of its own: say "
        "how many of how many.",
)
