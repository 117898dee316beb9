"""What a check concludes, before it is drawn."""

from dataclasses import dataclass, field

from .rendering import verdict_text

MARKS = {"open": "○", "pass": "✓", "fail": "✗"}


@dataclass(frozen=True)
class Part:
    """A paragraph of a verdict, by us, with *emphasis* and `code`, or by the learner, shown as it is.

    `block` is preformatted: a case with its numbers, or a line of source.
    """

    text: str
    by: str = "us"
    block: bool = False


@dataclass(frozen=True)
class Verdict:
    """state: "open" (not attempted), "pass" or "fail"; `mistake` is the name of the recognized mutant, if one was."""

    id: str
    title: str
    state: str
    headline: str
    parts: tuple = field(default=())
    mistake: str | None = None

    def __bool__(self):
        return self.state == "pass"

    @property
    def mark(self):
        return MARKS[self.state]

    @property
    def text(self):
        return verdict_text(self)

    def __repr__(self):
        return f"<{self.mark} {self.id}>"

    def _ipython_display_(self):
        """Nothing: the verdict was displayed when it was made, and the last line of a cell should not repeat it."""
