"""Exercise 9.12: six formulas and what they mean."""

import itertools

from ...tutor import AnswerError, Mistake, exercise

# -- 9.12, review of chapters 1 to 9 -----------------------------------------------------------------------------------

def six_letters(answer):
    """The letters in their order, whatever stands between them."""
    if not isinstance(answer, (str, list, tuple)):
        raise AnswerError('write the letters as one string, such as "abcdef"')
    found = "".join(c for c in "".join(map(str, answer)).lower() if c.isalpha())
    if sorted(found) != list("abcdef"):
        raise AnswerError("six formulas, six letters: each of a to f once")
    return found


RIGHT = "dcaefb"
FORMULAS = (
    "Formula 1 adds values as they come, without a look at what is there: d",
    "Formula 2 is K × K and acts on whatever is stored: c",
    "Formula 3 is C × C, tokens against earlier tokens, and has no query in it: a",
    "Formula 4 is C × V, values minus what the memory says about the keys: what is written, e",
    "Formula 5 is C × C and contains queries: who reads whom, f",
    "Formula 6 runs backward in time, by the transposed matrix, and starts from a gradient: b")


def moved(*places):
    """The right letters, but those of some places handed on in a circle."""
    letters = list(RIGHT)
    for here, there in zip(places, places[1:] + places[:1]):
        letters[here] = RIGHT[there]
    return "".join(letters)


exercise(
    id="9.12", title="Review: six formulas, six meanings",
                     kind="predict", stars=2, minutes=10, equations=("2.6", "6.2", "8.6", "8.7", "9.4"),
    reference=RIGHT, prepare=six_letters,
    mutants={
        **{f"swaps {i + 1} and {j + 1}": Mistake(moved(i, j), f"{FORMULAS[i]}. {FORMULAS[j]}.")
           for i, j in itertools.combinations(range(6), 2)},
        **{f"mixes up {i + 1}, {min(j, k) + 1} and {max(j, k) + 1}" + " the other way round" * (k < j):
           Mistake(moved(i, j, k), f"{FORMULAS[i]}. {FORMULAS[min(j, k)]}. {FORMULAS[max(j, k)]}.")
           for i, j, k in itertools.permutations(range(6), 3) if i < min(j, k)},
        "gives the letters as they stand": Mistake("abcdef",
            "The meanings beside the formulas stand in no order. For each formula, look for its meaning."),
        "gives a formula for each meaning": Mistake("cfbade",
            "You have found for each meaning its formula, as a letter. Asked for is the letter of a meaning for each "
            "formula: formula 1 is d."),
    },
    hints=("Look at the shapes first: two of the six are K wide, two are C × C, two are C × V.",
           "Which formulas contain a query, and which a transposed triangle?",
           "1 is d, and 6 is b."),
    why="1 d: chapter 1. 2 c: chapters 2 and 4. 3 a: chapter 6. 4 e and 5 f: chapter 8. 6 b: chapter 9.",
)
