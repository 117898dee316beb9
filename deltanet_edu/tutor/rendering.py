"""Verdicts, hints and tables as deterministic text and as HTML cards, and how either reaches the reader.

Colors are muted and the backgrounds nearly transparent, so that a card is legible on light and dark themes alike.
Nothing is loaded from elsewhere. Text of the book may use *emphasis* and `code`; text that comes from the learner is
only escaped.
"""

import re
import sys
from contextlib import contextmanager
from html import escape
from itertools import groupby

from .formatting import wrap

# Red, green, blue of the edge, and its form: whoever cannot tell red from green sees a plain edge, a double one or
# dots.
COLORS = {"pass": "56,142,80", "fail": "202,80,72", "open": "122,122,122", "note": "84,124,180"}
EDGES = {"pass": "5px solid", "fail": "8px double", "open": "5px dotted", "note": "2px solid"}
EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)([^*]+?)(?<=\S)\*(?![\w*])")
INDENT = " " * 6

_collectors = []


def verdict_text(verdict):
    """A verdict as plain text: one line if there is nothing to add, else indented paragraphs."""
    lines = [f"{_name(verdict)} · {verdict.headline}"]
    for part in verdict.parts:
        if part.block:
            lines += [INDENT + "    " + line for line in part.text.splitlines()]
        else:
            lines.append(wrap(part.text, INDENT))
    return "\n".join(lines)


def verdict_html(verdict):
    """A verdict as a card."""
    body = "".join(_block(part.text) if part.block else _paragraph(part.text,
                                                                   part.by == "us") for part in verdict.parts)
    return card(verdict.state, f"<b>{inline(_name(verdict))}</b> · {inline(verdict.headline)}", body)


def _name(verdict):
    return " ".join(filter(None, (verdict.mark, verdict.id, verdict.title)))


def card(color, head, body=""):
    """A box with a colored edge; head and body are HTML."""
    rgb = COLORS[color]
    style = (f"border-left:{EDGES[color]} rgb({rgb});background:rgba({rgb},0.08);padding:6px 12px;margin:4px 0;"
             "color:inherit;max-width:60em;line-height:1.5")
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{style}">{head}{body}</div>'


def inline(text):
    """Escaped text in which *emphasis* and `code` are marked up."""
    pieces = re.split(r"`([^`]+)`", text)                                # every other piece is code
    return "".join(f"<code>{escape(piece)}</code>" if i % 2 else EMPHASIS.sub(r"<em>\1</em>", escape(piece))
                   for i, piece in enumerate(pieces))


def _paragraph(text, ours=True):
    return f'<div style="margin-top:4px">{inline(text) if ours else escape(text)}</div>'


def _block(text):
    style = "margin:4px 0 4px 12px;padding:0;background:transparent;color:inherit;white-space:pre-wrap;font-size:0.92em"
    return f'<pre style="{style}">{escape(text)}</pre>'


def listing(code, head="", python=True):
    """Source code as HTML: no line is broken, a long one scrolls.

    As Markdown it would be broken inside words, as JupyterLab breaks a fenced block of an output that is too narrow.
    Keywords are bold and comments slanted wherever HTML is shown. The classes are those of Pygments, which JupyterLab
    colors by its theme.
    """
    style = "white-space:pre;overflow-x:auto;padding-left:8px;font-size:0.92em"
    body = _colored(code) if python else escape(code, quote=False)
    title = f"<p><b>{inline(head)}</b></p>" if head else ""
    return f'{title}<div class="highlight"><pre style="{style}">{body}</pre></div>'


def _colored(code):
    """Python source, escaped, in which keywords, comments and strings are marked."""
    try:
        from pygments.lexers import PythonLexer
        from pygments.token import Comment, Keyword, String
    except ImportError:                                                  # comes with IPython, so with every notebook
        return escape(code, quote=False)
    marks = ((Keyword, "b", "k"), (Comment, "i", "c1"), (String, "span", "s2"))
    html = []
    pieces = ((next((m for m in marks if kind in m[0]), None), text)
              for kind, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(code))
    for mark, run in groupby(pieces, key=lambda piece: piece[0]):        # the parts of a string are one
        text = escape("".join(text for _, text in run), quote=False)
        html.append(f'<{mark[1]} class="{mark[2]}">{text}</{mark[1]}>' if mark else text)
    return "".join(html)


def in_notebook():
    """Whether there is a front end that can show HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def emit(text, html):
    """Show one output: to a notebook as HTML too, to a terminal as text."""
    if _collectors:
        return
    if not in_notebook():
        print(text)
        return
    from IPython.display import display

    display({"text/plain": text, "text/html": html}, raw=True)


def announce(exercise):
    """Say to whoever is collecting verdicts that an answer is about to be checked."""
    for begins, _ in _collectors:
        begins(exercise.id, exercise.title)


def collect(verdict):
    """Hand the verdict of a check to whoever is collecting them."""
    for _, ends in _collectors:
        ends(verdict)


@contextmanager
def collecting(begins=lambda id, title: None, ends=lambda verdict: None):
    """Inside, nothing is shown: `begins` hears of every answer before it is checked, `ends` of every verdict."""
    _collectors.append((begins, ends))
    try:
        yield
    finally:
        _collectors.remove((begins, ends))


def note(text, head=None, color="note"):
    """Show a short message of ours: an optional bold head, then paragraphs."""
    body = "".join(_paragraph(line) for line in text.splitlines() if line.strip())
    emit(f"{head}\n{wrap(text, INDENT)}" if head else text, card(color, f"<b>{inline(head)}</b>" if head else "", body))
