"""The book's sources and its generator, and a little book of our own to try the generator on."""

import sys
from pathlib import Path

import pytest

from deltanet_edu.tutor.registry import Exercise

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book"))

LESSON = '''\
# %% [markdown]
# # 1. A lesson
#
# *What it is about.*

# %%
x = 1 + 1
x

# %% tags=["nbval-check-output"]
print("two is", x)
'''
PROBLEMS = '''\
# %% [markdown]
# # 1. A lesson: problems
#
# {exercises}.

# %%
def check(id, answer): print("○", id)

# %% [markdown]
# ## 1.1

# %% tags=["nbval-check-output"]
def total(numbers):
    """The sum."""
    raise NotImplementedError("1.1")

check("1.1", total)

# %% [markdown]
# ## 1.2
#
# Choose.

# %%
answer = None

check("1.2", answer)

# %%
def faded(n):
    for i in range(n):
        n = ...        # what is added?
    return n

check("1.3", faded)
'''


def total(numbers):
    """Another docstring."""
    result = sum(numbers, start=0)
    return result


def fade(n):
    for i in range(n):
        n = n + i * i - 7
    return n


def exercises():
    """What the registry knows of the little book."""
    def made(id, title, kind, reference, minutes):
        return Exercise(id, title, kind, 2, minutes, ("1.1", "1.2"), reference, (), None, {}, ())

    return {
        e.id: e
        for e in (
            made("1.1", "A sum", "code", total, 30),
            made("1.2", "A choice", "open", "the second option", 5),
            made("1.3", "Find the bug: faded", "bug", fade, 38),
        )
    }


class Book:
    """A book of one chapter in a folder of its own."""

    def __init__(self, root):
        self.root = root
        for kind, text in (("lessons", LESSON), ("problems", PROBLEMS)):
            (root / "book" / kind).mkdir(parents=True)
            (root / "book" / kind / "01_small.py").write_text(text, encoding="utf-8")
        (root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")

    def edit(self, name, old, new):
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def add(self, kind, stem, text):
        (self.root / "book" / kind / f"{stem}.py").write_text(text, encoding="utf-8")

    def target(self, folder, stem="01_small"):
        from sources import Target
        return Target(self.root, folder, stem)


@pytest.fixture
def book(tmp_path, monkeypatch):
    import answers
    known = exercises()
    monkeypatch.setattr(answers, "exercise", known.__getitem__)
    monkeypatch.setattr(answers, "all_exercises", known.values)
    return Book(tmp_path)
