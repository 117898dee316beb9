"""Last-word cloze: sentences of held-out text without their last word, which was said a few sentences before.

After LAMBADA (Paperno et al. 2016, arXiv 1606.06031), where people could guess the word from the whole passage and not
from its last sentence. Nobody was asked here: instead the word stands earlier, and not in the last sentence.
"""

import math
import re
from collections import Counter
from typing import NamedTuple

from .evaluate import continuation, score

CHARACTERS = 800                                                         # of a passage, at most
COMMON = 100                                                             # words so frequent that they need no memory
LAST_WORD = re.compile(r"\s([A-Za-z]{4,})[.!?]")
END_OF_SENTENCE = re.compile(r"""(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?]["'”’)]*\s""")
WORD = re.compile(r"[a-z]{4,}")


class Passage(NamedTuple):
    context: str                                                         # ends before the white space before the word
    word: str                                                            # with that white space
    guess: str                                                           # the word of the passage said most often


def passages(texts):
    """All passages of the texts, in their order: at least two sentences, then the last one without its last word.

    The missing word has four letters or more, and is not among the COMMON of all texts together.
    """
    common = {word for word, _ in Counter(word for t in texts for word in WORD.findall(t.lower())).most_common(COMMON)}
    for text in texts:
        yield from of_one(text, common)


def of_one(text, common):
    for match in LAST_WORD.finditer(text):
        before = text[max(0, match.start() - CHARACTERS) : match.start()]
        ends = [end.end() for end in END_OF_SENTENCE.finditer(before)]
        if len(ends) < 3:
            continue
        last = set(WORD.findall(before[ends[-1]:].lower()))
        earlier = [word for word in WORD.findall(before[ends[0] : ends[-1]].lower()) if word not in common | last]
        if match[1].lower() in earlier:                                  # so it is neither common nor in the last
            yield Passage(before[ends[0]:], match[0][:-1], Counter(earlier).most_common(1)[0][0])


def cloze(model, tokenizer, texts, most=500, progress=iter):
    """How often is the missing word the likeliest, of at most so many passages, evenly spread over the texts?

    Returns a dict: passages, accuracy (all tokens of the word are the likeliest), perplexity of the word, and the
    accuracy of a guess, the most frequent word of the passage that is neither common nor in its last sentence.
    """
    found = list(passages(texts))
    found = [found[i * len(found) // most] for i in range(most)] if len(found) > most else found
    if not found:
        return {"passages": 0}
    scored = score(model, [continuation(tokenizer, p.context, p.word) for p in found], progress=progress)
    return {"passages": len(found), "accuracy": sum(right for _, right in scored) / len(found),
            "perplexity of the word": math.exp(sum(loss.sum().item() for loss, _ in scored) / len(found)),
            "accuracy of a guess": sum(p.guess == p.word[1:].lower() for p in found) / len(found)}
