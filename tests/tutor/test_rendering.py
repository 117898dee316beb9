"""Cards and text: escaped, self-contained, the same every time, and one output per call in a notebook."""

import re
import sys
from html.parser import HTMLParser

import nbformat
import pytest
import torch

from deltanet_edu.tutor import Mistake, check, lines, predict, show, storage, verify
from deltanet_edu.tutor.formatting import argument_names, number, summary, value
from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.overview import progress_html, progress_text
from deltanet_edu.tutor.registry import find
from deltanet_edu.tutor.rendering import COLORS, card, inline, listing, verdict_html
from deltanet_edu.tutor.source import source_of
from deltanet_edu.tutor.verdict import Part, Verdict

from .exercises import MUTANTS, make, single


EXERCISES = [make()]


class Outline(HTMLParser):
    """Collects the text, the tags and the attributes of a card, and fails if tags are not nested properly."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.styles, self.open = "", [], [], []
        self.feed(html)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        self.styles += [v for k, v in attributes if k == "style"]
        assert all(k in ("style", "class") for k, v in attributes), attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def evil(x, S):
    raise ValueError('</pre><script>alert("1")</script>&amp; <b>')


VERDICTS = [grade(make(), MUTANTS["averages"].answer), grade(make(), None),
            grade(make(), MUTANTS["averages"].answer and evil), grade(make(), make().reference),
            Verdict("1.1", "<i>", "fail", "a < b & c",
                    (Part("*very* `x < y`"), Part("*not* <b>", "learner"), Part("<u>", "learner", True)))]


@pytest.mark.parametrize("verdict", VERDICTS, ids=["fail", "open", "raises", "pass", "markup"])
def test_card_is_escaped_balanced_and_self_contained(verdict):
    html = verdict_html(verdict)
    outline = Outline(html)
    assert set(outline.tags) <= {"div", "b", "pre", "code", "em"}
    assert not re.search(r"https?:|url\(|@import|src=", html)
    assert all(not re.search(r"(?<!-)color:\s*(?!inherit)",
                             style) for style in outline.styles), "text keeps the color of the theme"
    assert verdict_html(verdict) == html


def test_learner_content_is_shown_as_it_is():
    html = verdict_html(VERDICTS[2])
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;amp; &lt;b&gt;" in html and "<script" not in html
    assert '</pre><script>alert("1")</script>&amp; <b>' in VERDICTS[2].text


def test_card_and_text_say_the_same():
    for verdict in VERDICTS[:4]:
        plain = re.sub(r"[\s*`]+", "", verdict.text)
        assert re.sub(r"[\s*`]+", "", Outline(verdict_html(verdict)).text) == plain


def edge(state):
    style = Outline(card(state, "x")).styles[0]
    return re.search(r"border-left:(\d+)px (\w+) rgb\((\d+),(\d+),(\d+)\)", style).groups()


def luminance(r, g, b):
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (r / 255, g / 255, b / 255)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(a, b):
    light, dark = sorted((luminance(*a), luminance(*b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_cards_are_told_apart_without_color():
    assert len({edge(state)[1] for state in ("pass", "fail", "open")}) == 3
    assert "repeating-linear-gradient" in progress_html(EXERCISES, [],
                                                        {"exercises": {"99.1": {"attempts": 1}}, "predictions": {}}, {})


@pytest.mark.parametrize("ground", [(255, 255, 255), (17, 17, 17), (33, 33, 33)],
                         ids=["light", "JupyterLab dark", "Colab dark"])
def test_text_and_edges_of_cards_have_contrast(ground):
    """Text takes the color of the notebook, never a gray of ours; an edge has the 3 that a sign needs."""
    for state in COLORS:
        assert contrast(tuple(map(int, edge(state)[2:])), ground) >= 3, state
    verdict = Verdict("9.9", "T", "fail", "x", (Part("a"), Part("b", "learner", True)))
    said = verdict_html(verdict) + progress_html(EXERCISES, [], {"exercises": {}, "predictions": {}},
                                                 {99: "chapter 99 needs x"})
    assert set(re.findall(r"(?<![-\w])color:([^;\"]+)", said)) == {"inherit"} and "opacity" not in said


def test_markup_of_our_own_text():
    html = "the <em>earlier</em> ones, <code>a * b * c</code>, 2 * 3 * 4, x&lt;y"
    assert inline("the *earlier* ones, `a * b * c`, 2 * 3 * 4, x<y") == html


def test_numbers_without_noise():
    numbers = (0.5, -0.0, 1 / 3, 1e-9, float("nan"), 3, True, 2 + 1j)
    assert [number(x) for x in numbers] == ["0.5", "0", "0.3333", "1e-09", "nan", "3", "True", "2+1j"]
    assert value(torch.eye(2)) == "[[1, 0], [0, 1]] float32" and value(torch.tensor([True])) == "[True]"
    assert value(torch.zeros(9, 9, dtype=torch.float64)) == "(9, 9) [0, 0, 0, 0, ...]"
    assert value(torch.zeros(0, 3)) == "(0, 3) float32"
    assert value((1, [2.5], None, "x")) == "(1, [2.5], None, x)" and value((torch.tensor(1.0).double(),)) == "(1,)"
    assert value({"b", "a"}) == "{a, b}" and value(object()) == "<object object>"
    assert value("x" * 500).endswith("...") and len(value("x" * 500)) <= 200
    assert value(test_numbers_without_noise) == "test_numbers_without_noise"


def test_names_of_arguments_fall_back_to_their_number():
    assert argument_names(lambda q, k: 0, 2) == ["q", "k"]
    assert argument_names(lambda *args: 0, 2) == ["argument 1", "argument 2"]


def test_summary_of_notes():
    assert summary(["unit keys, T = 1", "repeated keys, T = 12",
                    "unit keys, T = 2, C = T"]) == "unit keys, repeated keys, T = 1, 2, 12, C = T"


def test_lines_are_short_enough_to_read():
    long = Mistake(lambda x: x, "word " * 80 + ".", "eq. 1.1")
    exercise = make(lambda x: 2 * x, cases=single(lambda x: x).cases, mutants={"is long": long})
    assert max(map(len, grade(exercise, lambda x: x).text.splitlines())) <= 110


def test_verify_says_what_it_compared(capsys):
    assert verify("0.1")
    assert capsys.readouterr().out == ("✓ 0.1 · holds to 1e-10 in 9 comparisons: entry (i, j) is v_i k_j; "
                                       "S k = v (kᵀk); S k = v for a unit key\n")


def test_verify_shows_what_differs(monkeypatch, capsys):
    from deltanet_edu.tutor.notebook import CheckFailed
    from deltanet_edu.tutor.registry import Equation, _tables

    def sides(g):
        yield "holds", torch.ones(2), torch.ones(2)
        yield "does not", torch.ones(3, dtype=torch.float64), torch.tensor([1.0, 1.5, 1.0], dtype=torch.float64)

    def broken(g):
        yield "shapes", torch.ones(2) @ torch.ones(3), 0

    for id, f in (("0.98", sides), ("0.97", broken), ("0.96", lambda g: [])):
        monkeypatch.setitem(_tables["equation"], id, Equation(id, "x", f))
    assert not verify("0.98")
    assert "✗ 0.98 · does not hold: does not" in (said := capsys.readouterr().out) and "by up to 0.5" in said
    assert "first at [1]" in said
    verify("0.97")
    assert "its check raises RuntimeError" in capsys.readouterr().out
    verify("0.96")
    assert "compares nothing" in capsys.readouterr().out
    with pytest.raises(CheckFailed):
        verify("0.98", strict=True)


def test_predict_asks_without_giving_the_answer_away(capsys):
    predict("0.a")
    asked = capsys.readouterr().out
    assert asked.startswith("? 0.a A memory holds") and 'predict("0.a", "8")' in asked and "unit key has" not in asked
    predict("0.a", "8")
    assert "You said: 8. The answer: (3, 5)" in capsys.readouterr().out
    predict("0.a", "(3, 5)")
    assert "You said: (3, 5). Right" in capsys.readouterr().out
    predict("0.a", "seven")
    assert "'seven' is not one of the options:\n      (1.8, 4, 0)\n      (4.2, 7)\n" in capsys.readouterr().out
    predict("0.a", "(1.8,4,0)")
    assert "You said: (1.8, 4, 0). The answer: (3, 5)" in capsys.readouterr().out
    predict("5.c", "3, 2, -1")
    assert "You said: 3, 2, −1. Right" in capsys.readouterr().out
    assert storage.read()["predictions"]["0.a"]["choice"] == "8"


def test_progress_counts(home):
    exercises = [make(id=f"{c}.{n}") for c in (1, 2) for n in (1, 2, 3, 4)]
    data = storage.empty()
    storage.entry(data, "1.1").update(attempts=3, solved="2026-01-01", mistakes={"forgets beta": 2})
    storage.entry(data, "1.2").update(attempts=1)
    assert progress_text(exercises, [], data, {}) == """\
chapter  1  █████▒▒▒▒▒··········   1 of  4 solved, 1 under way
chapter  2  ····················   0 of  4 solved
all         1 of 8 solved

Mistakes met more than once:
      1.1  it forgets beta (2 times)"""
    outline = Outline(progress_html(exercises, [], data, {}))
    assert "1 of 4 solved, 1 under way" in outline.text and "width:25%" in "".join(outline.styles)


def test_show_gives_the_source_and_its_file(capsys):
    from deltanet_edu.ops import sgd_step

    show(sgd_step, find("exercise", "0.1").reference)
    said = capsys.readouterr().out
    file = "# deltanet_edu/ops/delta_rule/recurrent.py"
    assert said.startswith(f"{file}\ndef sgd_step(S: Tensor, k: Tensor, v: Tensor, beta: Tensor)")
    assert "# deltanet_edu/chapters/ch00/problems.py\ndef write" in said


def test_a_listing_is_never_broken_inside_a_line():
    """Code in a Markdown output is: JupyterLab breaks it inside words."""
    source = source_of(check)[0] + '\n# a & b < c, "$x$ and $y$"'
    for html in (listing(source), listing(source, "2.1 A *head*"), listing("a < b\n    c & d", python=False)):
        outline = Outline(html)
        assert any("white-space:pre;overflow-x:auto" in style for style in outline.styles)
        assert set(outline.tags) <= {"p", "div", "pre", "b", "i", "em", "span"}
    assert Outline(listing(source)).text == source
    assert Outline(listing("a < b\n    c & d", python=False)).text == "a < b\n    c & d"


def test_a_listing_marks_keywords_comments_and_strings():
    html = listing('def f(x):  # <x>\n    """A\n    b."""\n    return f"{x} is" + \'<\'')
    assert '<b class="k">def</b> f(x):  <i class="c1"># &lt;x&gt;</i>\n' in html
    assert '<span class="s2">"""A\n    b."""</span>\n    <b class="k">return</b>' in html and "'&lt;'</span>" in html


def test_show_unwraps_what_a_kernel_is_wrapped_in(capsys):
    def plain(x):
        return x

    class Jitted:
        fn = plain

    Jitted.fn = staticmethod(plain)
    show(type("Tuned", (), {"fn": Jitted()})())
    assert "def plain(x):" in capsys.readouterr().out


def test_lines_of_an_exercise_without_lines(capsys):
    lines("0.1")
    assert "no lines to order" in capsys.readouterr().out


# -- in a notebook ----------------------------------------------------------------------------------------------------

CELLS = """
from deltanet_edu.tutor import check, hint, lines, predict, progress, show, solution, verify
---
check("0.1", lambda S, v, k: S)
---
verify("0.1")
---
predict("0.a")
---
hint("0.1")
---
solution("0.2", confirm=True)
---
show(check)
---
lines("2.2")
---
progress()
---
bool(check("0.1", None))
"""


def test_one_output_per_call_with_text_and_html(home):
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c.strip()) for c in CELLS.split("---")])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    for cell in notebook.cells[1:-1]:
        assert [output.output_type for output in cell.outputs] == ["display_data"], cell.source
        data = cell.outputs[0].data
        assert set(data) == {"text/plain", "text/html"}, cell.source
        assert " at 0x" not in data["text/plain"] and sys.prefix not in str(data)
    assert [output.output_type for output in notebook.cells[-1].outputs] == ["display_data", "execute_result"]
    assert notebook.cells[1].outputs[0].data["text/plain"] == check("0.1", lambda S, v, k: S).text
