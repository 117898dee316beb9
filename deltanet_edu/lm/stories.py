"""Small stories from a small grammar, for when the books are not there, and for questions whose answer is known.

Things have a color and a place, and both *change* in the middle of the story. The question at the end asks for the
last value: whoever remembers only the first one, or mixes both, is wrong. That is chapter 2's overwriting, in English.
"""

import random
from typing import NamedTuple

NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Ida", "Jacob", "Lily", "Max", "Nora",
         "Oscar", "Rosa", "Sam")
THINGS = ("ball", "boat", "book", "box", "chair", "cup", "drum", "hat", "kite", "lamp", "robot", "wagon")
COLORS = ("red", "blue", "green", "yellow", "white", "black", "pink", "brown")
PLACES = ("garden", "kitchen", "attic", "barn", "school", "park", "cellar", "workshop", "library", "harbor")
MOODS = ("happy", "tired", "curious", "proud", "hungry", "quiet", "brave")
WEATHER = ("It was a sunny morning.", "It rained all day.", "The wind was strong.", "Snow lay on the roofs.",
           "The moon was bright.")

OPENINGS = (
    "Once upon a time there was a child called {name}. {name} had a {color} {thing}.",
    "{name} owned a {color} {thing} and loved it very much.",
    "For a birthday, {name} got a {thing}. The {thing} was {color}.",
)
MOVES = (
    "{name} carried the {thing} to the {place}.",
    "Then {name} left the {thing} in the {place}.",
    '"Let us play in the {place}," said {other}, so {name} brought the {thing} there.',
)
PAINTS = (
    "{name} painted the {thing} {color}.",
    "Somebody spilled paint, and now the {thing} was {color}.",
    '"I do not like the color," said {name}, and made the {thing} {color}.',
)
FILLERS = (
    "{weather}", "{name} was {mood}.", "After that, {name} and {other} had bread and soup.",
    "{other} came by and said hello.", '"What a day!" said {other}.', "{name} sang a song about a {thing} and a cat.",
)


class Story(NamedTuple):
    text: str                                                            # ends with the question, without the answer
    answer: str


def story(rng):
    """One story with two things whose color and place change, and a question about one of them."""
    name, other = rng.sample(NAMES, 2)
    things = rng.sample(THINGS, 2)
    color = dict(zip(things, rng.sample(COLORS, 2)))
    place = dict(zip(things, rng.sample(PLACES, 2)))

    def say(templates, thing, **more):
        fields = dict(name=name, other=other, thing=thing, color=color[thing], place=place[thing])
        return rng.choice(templates).format(**fields, mood=rng.choice(MOODS), weather=rng.choice(WEATHER), **more)

    lines = [say(OPENINGS, things[0]), f"There was also a {color[things[1]]} {things[1]}."]
    lines += [say(MOVES, thing) for thing in things]
    for _ in range(rng.randint(3, 6)):
        thing = rng.choice(things)
        event = rng.choice(("move", "paint", "filler"))
        if event == "move":
            place[thing] = rng.choice([p for p in PLACES if p != place[thing]])
            lines.append(say(MOVES, thing))
        elif event == "paint":
            color[thing] = rng.choice([c for c in COLORS if c != color[thing]])
            lines.append(say(PAINTS, thing))
        else:
            lines.append(say(FILLERS, thing))
    asked = rng.choice(things)
    if rng.random() < 0.5:
        return Story(" ".join(lines) + f" What color is the {asked} now?", color[asked].capitalize())
    return Story(" ".join(lines) + f" Where is the {asked} now?", f"In the {place[asked]}")


def stories(seed, characters):
    """So many characters of stories with their answers, or a few more, one story a paragraph; a seed, a text."""
    rng, parts, length = random.Random(seed), [], 0
    while length < characters:
        text, answer = story(rng)
        parts.append(f"{text} {answer}.\n\n")
        length += len(parts[-1])
    return "".join(parts)
