"""From the sources of the book to its notebooks, cell by cell: titles, links, bootstrap, cards, answers.

A source is a Python file in jupytext's percent format. Its first cell is Markdown and opens with the title,
`# # 2. The delta rule`, and what a lesson is about, in italics; the links, the Colab badge and the bootstrap cell are
added here. A problem set holds the stubs
as a learner finds them; its cards and, in solutions/, its answers come from the registry (answers.py says how).
"""

import base64
import hashlib
import html
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import answers
import jupytext
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

FOLDERS = {"notebooks": "lessons", "exercises": "problems", "solutions": "problems"}     # made -> its source in book/
ROW = re.compile(r"\| (\d\d) \| \[?([^|\]]+?)\]?(?:\([^)]*\))? \|(.*)")     # of README's map: number, title, the rest
IMAGE = re.compile(r"<img\b[^>]*>")
WIDGET = "application/vnd.jupyter.widget-view+json"
# As JupyterLab writes it into every notebook that it opens.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
AFTER = "`progress()`, in a cell of its own, shows what you have solved so far."       # at the end of a problem set
COMPARED = "nbval-check-output"            # the tests compare what such a cell says; every check and verify gets it
BOOTSTRAP = """\
try:
    import deltanet_edu
except ImportError:  # in Colab only this one file arrives: fetch the package, and nothing else
    %pip install --quiet --no-deps git+{address}
    try:
        import deltanet_edu
    except ImportError:
        raise ImportError(
            "deltanet_edu could not be fetched from {address}. "
            "Put a wheel or a copy of the project beside this notebook, run  "
            "%pip install --no-deps ./NAME_OF_IT  and then this cell again.") from None
from deltanet_edu.figures import style
style()"""


class SourceError(Exception):
    """A source file that cannot be turned into a notebook; says where and why."""


@dataclass(frozen=True)
class Target:
    """One notebook, and the source it is made from."""
    root: Path
    folder: str
    stem: str

    @property
    def file(self):
        """The notebook's name: 05_wy, 05_exercises_wy, 05_solutions_wy, so that open tabs can be told apart."""
        number, _, rest = self.stem.partition("_")
        return self.stem if self.folder == "notebooks" else f"{number}_{self.folder}_{rest}"

    @property
    def name(self):
        return f"{self.folder}/{self.file}.ipynb"

    @property
    def path(self):
        return self.root / self.name

    @property
    def source(self):
        return self.root / "book" / FOLDERS[self.folder] / f"{self.stem}.py"

    def answers_to(self, name):
        """Whether the user may mean this notebook by `name`: 02, 02_delta_rule, exercises/02 or a path."""
        folder, _, stem = name.removesuffix(".ipynb").removesuffix(".py").rpartition("/")
        folder = folder.rpartition("/")[2]
        named = stem in (self.stem, self.file) or self.stem.startswith(stem + "_")
        return named and folder in ("", self.folder, FOLDERS[self.folder])


def targets(root):
    """All notebooks that the sources ask for."""
    return [Target(root, folder, path.stem) for folder, kind in FOLDERS.items()
            for path in sorted((root / "book" / kind).glob("[0-9][0-9]_*.py"))]


def read_source(target):
    """The cells of the source file, as (type, source, tags); in solutions with the answers in."""
    cells, problems = [], target.folder != "notebooks"
    for n, cell in enumerate(jupytext.read(target.source, fmt="py:percent").cells):
        text = cell.source
        try:
            if problems and cell.cell_type == "markdown":
                text = answers.with_cards(text).replace("{exercises}", answers.size(int(target.stem[:2])))
            elif target.folder == "solutions":
                text = answers.solved(text + "\n")
        except answers.AnswerMissing as error:
            raise SourceError(f"{target.source.relative_to(target.root)}, cell {n + 1}: {error}") from None
        tags = list(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and re.search(r"^(check|verify)\(", text, re.M) and COMPARED not in tags:
            tags.append(COMPARED)
        cells.append((cell.cell_type, text.strip("\n"), tags))
    if not cells or cells[0][0] != "markdown" or not re.match(r"# \S", cells[0][1]):
        where = target.source.relative_to(target.root)
        raise SourceError(f"{where}: the first cell must be Markdown and open with '# ', the title")
    if not problems:
        about(target)                                                    # raises if it does not say it
    return cells


def title(path):
    """The first heading of a source file."""
    return re.search(r"^# # (.+)$", path.read_text(encoding="utf-8"), re.M)[1].strip()


def address(root):
    """Where the project lives: [project.urls] of pyproject.toml, the only place that says it."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].rstrip("/")


def navigation(target):
    """The line of links below the title and at the end: the previous notebook, this chapter's other one, the next."""
    row = [t for t in targets(target.root) if t.folder == target.folder]
    here = row.index(target)
    links = []
    if here > 0:
        links.append(f"[← {title(row[here - 1].source)}]({row[here - 1].file}.ipynb)")
    for other, label in (("notebooks", "The lesson"), ("exercises", "Exercises"), ("solutions", "Solutions")):
        twin = next((t for t in targets(target.root) if t.folder == other and t.stem[:3] == target.stem[:3]), None)
        if twin and other != target.folder and (target.folder, other) != ("notebooks", "solutions"):
            links.append(f"[{label}](../{twin.name})")
    if here + 1 < len(row):
        links.append(f"[{title(row[here + 1].source)} →]({row[here + 1].file}.ipynb)")
    return " · ".join(links)


def mapped(readme, root):
    """README.md with a row in its map for every lesson that has been made: title, link, and what it is about.

    The rows are in the order of their numbers. One whose lesson has not been made keeps its words, without a link. The
    links are whole addresses, so that they also work where a package index shows the page.
    """
    lines = readme.split("\n")
    made = {t.stem[:2]: t for t in targets(root) if t.folder == "notebooks" and t.path.exists()}
    for n, line in enumerate(lines):
        if (row := ROW.match(line)) and row[1] not in made:
            lines[n] = f"| {row[1]} | {row[2]} |{row[3]}"
    for number, target in made.items():
        new = f"| {number} | [{lesson_name(target)}]({address(root)}/blob/main/{target.name}) | {about(target)} |"
        rows = {row[1]: n for n, line in enumerate(lines) if (row := ROW.match(line))}
        if number in rows:
            lines[rows[number]] = new
        elif rows:
            before = [n for other, n in rows.items() if other < number]
            lines.insert(max(before) + 1 if before else min(rows.values()), new)
    return "\n".join(lines)


def lesson_name(target):
    """The title of a lesson without its number."""
    return title(target.source).partition(" ")[2]


def about(target):
    """What a lesson says it is about, in italics below its title. README.md's map says the same."""
    first = re.split(r"^# %%.*$", target.source.read_text(encoding="utf-8"), maxsplit=2, flags=re.M)[1]
    found = re.search(r"^# # .+\n#\n# \*([^*]+)\*$", first, re.M)
    if not found:
        where = target.source.relative_to(target.root)
        raise SourceError(f"{where}: below the title, after an empty line, say in italics what the lesson is about, "
                          "such as '# *A memory that looks before it writes.*'")
    return re.sub(r"\s*\n# ", " ", found[1])


def badge(target):
    """A link that opens the notebook in Colab."""
    place = address(target.root).removeprefix("https://github.com/")
    return ("[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
            f"(https://colab.research.google.com/github/{place}/blob/main/{target.name})")


def build(target):
    """The notebook as its source says it should be, without outputs."""
    cells = read_source(target)
    links = navigation(target)
    heading, _, rest = cells[0][1].partition("\n")
    row = " · ".join(filter(None, [badge(target), links]))
    top = "\n\n".join(filter(None, [heading, row, rest.strip("\n")]))
    cells[0] = ("markdown", top, cells[0][2])
    cells.insert(1, ("code", BOOTSTRAP.format(address=address(target.root)), ["bootstrap"]))
    said = AFTER if target.folder == "exercises" and not any("progress()" in text for _, text, _ in cells) else ""
    if said or links:
        cells.append(("markdown", "\n\n".join(filter(None, ["---", said, links])), []))
    notebook = new_notebook(metadata={
        "kernelspec": KERNEL,
        "language_info": {"name": "python"}})
    for n, (kind, text, tags) in enumerate(cells):
        cell = new_code_cell(text) if kind == "code" else new_markdown_cell(text)
        cell.id = f"{target.stem[:2]}-{n:03d}"
        if tags:
            cell.metadata["tags"] = list(tags)
        notebook.cells.append(cell)
    notebook.metadata["deltanet_edu"] = {"digest": digest(notebook)}
    return notebook


def digest(notebook):
    """A fingerprint of the cells as generated. If the file's cells no longer match it, somebody has worked in them.

    Only the cells count, not the package's version: it answers "is this still ours?", never "is this still true?".
    The tests that run every notebook answer the second question.
    """
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def load(path):
    """The notebook on disk, or None."""
    return nbformat.read(path, as_version=4) if path.exists() else None


def edited(notebook):
    """Whether the cells on disk are not those that were generated."""
    return notebook.metadata.get("deltanet_edu", {}).get("digest") != digest(notebook)


def pictures(output):
    """(bytes, words) of every picture of an output: of its own kind, without words, or an <img> in HTML."""
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):
        if kind in data:
            yield data[kind].encode() if kind == "image/svg+xml" else base64.b64decode(data[kind]), ""
    for image in IMAGE.findall(data.get("text/html", "")):
        words, source = (re.search(rf'\b{name}="([^"]*)"', image) for name in ("alt", "src"))
        if source and source[1].startswith("data:image/"):
            yield base64.b64decode(source[1].partition(",")[2]), html.unescape(words[1]) if words else ""


def figures(notebook, target):
    """(file, picture) for every cell with a tag figure:NAME: figures that are shown outside the notebook too."""
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            for output in cell.get("outputs", []) if tag.startswith("figure:") else ():
                for picture, _ in pictures(output):
                    yield target.root / "book" / "figures" / f"{tag.removeprefix('figure:')}.png", picture
