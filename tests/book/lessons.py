"""What the tests of the lessons read: cells, words, equations, links."""

import re
from functools import cache
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "book" / "lessons").glob("[0-9][0-9]_*.py"))
PROBLEMS = sorted((ROOT / "book" / "problems").glob("[0-9][0-9]_*.py"))


@cache
def cells(path):
    """(type, text) of every cell of a source."""
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path, fmt="py:percent").cells]


def prose(path):
    """The Markdown of a source without code, formulas and the addresses of links."""
    text = "\n\n".join(text for kind, text in cells(path) if kind == "markdown")
    for part in (r"```.*?```", r"\$\$.*?\$\$", r"\$[^$\n]+\$", r"`[^`]*`"):
        text = re.sub(part, " x ", text, flags=re.S)
    return re.sub(r"\]\([^)]*\)", "]", text)


def words(path):
    """How many words there are to read; a formula counts as one."""
    return len(re.findall(r"[^\W_][\w'’-]*", re.sub(r"<[^>]+>", " ", prose(path))))


def statements(path):
    """Calls and displayed equations in order: ("equation", tag, latex), ("verify", id), ("predict", id) ..."""
    found = []
    for kind, text in cells(path):
        if kind == "markdown":
            for block in re.findall(r"\$\$(.*?)\$\$", text, re.S):
                found.append(("equation", re.findall(r"\\tag\{([^}]*)\}", block), re.sub(r"\\tag\{[^}]*\}", "", block)))
        else:
            code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
            found += [
                (name, id)
                for name, id in re.findall(r"""\b(verify|predict|check|hint|solution)\(\s*["']([^"']+)["']""", code)
            ]
    return found


def links(path):
    """Targets of the Markdown links of a source, without those to other sites."""
    text = "\n".join(text for kind, text in cells(path) if kind == "markdown")
    return [target for target in re.findall(r"\]\(([^)\s]+)[^)]*\)", text) if not re.match(r"https?:|mailto:", target)]


def squeeze(latex):
    return re.sub(r"\s+", "", latex)
