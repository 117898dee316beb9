"""Figures show what the package computes, say what they show, and are told apart by whoever sees few colors or none."""

import base64
import html
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import re
import subprocess
import sys
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from deltanet_edu import figures
from deltanet_edu.figures import card, language, lines, style
from deltanet_edu.figures.explore import WIDGET
from deltanet_edu.figures.film import animation, film, scenes
from deltanet_edu.figures.style import colors, look, words
from deltanet_edu.ops import delta_rule_recurrent, linear_attention_recurrent

from .figure_examples import EXAMPLES, NOT_FIGURES


@pytest.fixture(autouse=True)
def closed():
    style()
    yield
    plt.close("all")


@cache
def drawn(name):
    """The figure of an example, however the function hands it over."""
    style()
    made = EXAMPLES[name]()
    figure = made if hasattr(made, "savefig") else made.figure
    figure.canvas.draw()
    return figure


def test_every_public_function_that_draws_has_an_example():
    found = set()
    for module in pkgutil.iter_modules(figures.__path__):
        held = importlib.import_module(f"deltanet_edu.figures.{module.name}")
        found |= {f"{module.name}.{name}" for name, f in vars(held).items()
                  if inspect.isfunction(f) and f.__module__ == held.__name__ and not name.startswith("_")}
    assert found - NOT_FIGURES == set(EXAMPLES)


# -- words -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", EXAMPLES)
def test_every_figure_says_what_it_shows(name):
    said = words(drawn(name))
    assert 60 <= len(said) <= 1400 and said.endswith(".") and not said[0].islower(), said
    assert not re.search(r"[$\\{}\n]|nan|_nolegend_|  ", said), said


def test_words_read_axes_and_curves():
    ax = lines({"loop": ([64, 128], [3.0, 40.5]), "product": ([64, 128], [2.0, 2.0])}, xlabel="tokens $T$", log="x",
               ylabel=r"$\beta\,\|k\|^2$", title="Time", alt="Line plot.")
    assert words(ax.figure) == ("Line plot. Time: β‖k‖^2 against tokens T, logarithmic. loop: from 3 to 40.5. "
                                "product: 2.")
    assert words(plt.figure()) == "A plot."


def test_words_of_numbers_follow_the_numbers():
    from deltanet_edu.figures.memory import told, writes
    assert told(np.array([[3.0, -0.0], [-1.25, 4.0]])) == "row 1: 3, 0; row 2: −1.2, 4"
    said = words(writes(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 5.0]]), ["cat"]))
    assert "cat adds row 1: 3, 0; row 2: 5, 0, and the memory is row 1: 3, 0; row 2: 5, 0." in said


# -- colors ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes (2009), severity 1: what is left of linear RGB.
SEEN = {
    "all cones": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
INKS = ("ink", "gray", "blue", "red", "green", "orange", "purple", "sky")


def linear(color):
    """Linear RGB of a color such as #0060c8."""
    c = np.array([int(color[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear RGB."""
    x = XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(a, b):
    """WCAG's contrast ratio."""
    dark, bright = sorted(XYZ[1] @ linear(x) + 0.05 for x in (a, b))
    return bright / dark


@pytest.mark.parametrize("seen", SEEN)
def test_the_palette_keeps_its_distance(seen):
    places = {name: lab(np.array(SEEN[seen]) @ linear(getattr(colors, name))) for name in INKS}
    near = {pair: np.linalg.norm(places[pair[0]] - places[pair[1]]) for pair in itertools.combinations(INKS, 2)}
    assert min(near.values()) > 20, min(near.items(), key=lambda item: item[1])


def test_the_measure_of_distance_finds_what_was_wrong_before():
    green, gray = (lab(np.array(SEEN["deuteranopia"]) @ linear(c)) for c in ("#009E73", "#8a8a8a"))
    assert np.linalg.norm(green - gray) < 10


@pytest.mark.parametrize("name", INKS)
def test_lines_and_text_stand_out_from_the_paper(name):
    enough = 3 if name in ("orange", "sky") else 4.5                     # those two draw lines, and write nothing
    assert contrast(getattr(colors, name), colors.paper) >= enough


@pytest.mark.parametrize("name", EXAMPLES)
def test_text_is_legible(name):
    for text in drawn(name).findobj(plt.Text):
        if text.get_text().strip() and text.get_visible() and to_hex(text.get_color()) != colors.paper:
            assert contrast(to_hex(text.get_color()), colors.paper) >= 4.5, text


@pytest.mark.parametrize("name", EXAMPLES)
def test_curves_are_told_apart_without_color(name):
    for ax in drawn(name).axes:
        named = [line for line in ax.get_lines()
                 if not line.get_label().startswith("_") and line.get_linestyle() != "None"]
        looks = [(str(line._unscaled_dash_pattern), line.get_marker(), line.get_linewidth() > 1.2) for line in named]
        assert len(set(looks)) == len(looks), [(line.get_label(), look) for line, look in zip(named, looks)]


def struck(figure, boxed=False):
    """The labels that a curve runs through the middle of; those with a box behind them only if boxed."""
    figure.canvas.draw()
    for ax in figure.axes:
        seen = [line for line in ax.lines if line.get_linestyle() != "None"]
        curves = [line.get_path().transformed(line.get_transform()) for line in seen]
        for text in ax.texts:
            if text.get_text().strip() and (boxed or text.get_bbox_patch() is None):
                middle = text.get_window_extent().shrunk(0.9, 0.5).anchored("C", text.get_window_extent())
                if any(curve.intersects_bbox(middle, filled=False) for curve in curves):
                    yield text.get_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_curve_runs_through_a_label(name):
    assert not [*struck(drawn(name))]


def test_levels_that_lie_close_keep_their_names_apart():
    fig, ax = plt.subplots()
    language.bits_panel(ax, {}, {"four letters": 2.05, "five letters": 1.96, "a letter": 4.0}, steps=100)
    assert not [*struck(fig, boxed=True)]
    ax.axhline(np.mean(ax.get_ylim()))
    ax.annotate("through me", (0.5, 0.5), xycoords="axes fraction", va="center")
    assert [*struck(fig)] == ["through me"]


def test_each_color_has_a_dash_and_a_marker_of_its_own():
    pairs = [(look(name)["linestyle"], look(name)["marker"]) for name in INKS]
    assert len(set(pairs)) == len({marker for _, marker in pairs}) == len(INKS)
    assert look("delta") == look("blue") and look("softmax") == look("green")


# -- cards -----------------------------------------------------------------------------------------------------------

def test_a_figure_becomes_a_card_that_carries_its_words():
    figure = lines({"a": [1, 2, 3]}, xlabel="<x>", ylabel='"y"', alt="Line plot of <a> & b.").figure
    shown = card.tag(figure)
    alt, data = re.fullmatch(r'<img width="\d+" style="[^"]*" alt="([^"]*)" src="data:image/png;base64,([^"]*)">',
                             shown).groups()
    assert html.unescape(alt) == words(figure)
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.mode == "P" and len(base64.b64decode(data)) < 40_000
    seen = np.asarray(picture.convert("RGBA")).astype(int)
    assert (seen[[0, 0, -1, -1], [0, -1, 0, -1], 3] == 0).all()          # no corners: the page shows through
    assert (seen[40:-40, 40:-40, 3] == 255).all() and (seen[10, 60, :3] == 255).all()
    assert to_hex(seen[0, seen.shape[1] // 2, :3] / 255) == colors.light  # a line around it
    assert card.tag(figure) == shown                                     # the same bytes each time


def test_a_card_keeps_the_colors_of_its_picture():
    frame = np.full((80, 120, 3), 255, np.uint8)
    frame[30:50, 40:80] = [int(colors.blue[i:i + 2], 16) for i in (1, 3, 5)]
    (picture,) = card.rounded([frame])
    assert to_hex(np.asarray(picture.convert("RGB"))[40, 60] / 255) == colors.blue


def test_a_notebook_shows_cards():
    code = ("from IPython.core.interactiveshell import InteractiveShell as S; shell = S.instance(); "
            "import deltanet_edu.figures as f; f.style(); f.style(); "
            "ax = f.lines({'a': [1, 2]}, xlabel='x', ylabel='y', alt='Line plot.'); "
            "data, _ = shell.display_formatter.format(ax.figure); "
            "print(sorted(data), data['text/html'][:4], data['text/plain'])")
    env = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env})
    assert done.stdout.strip() == (
        "['text/html', 'text/plain'] <img Line plot. y against x. a: from 1 to 2."), done.stderr


# -- the film --------------------------------------------------------------------------------------------------------

def test_the_film_shows_the_memories_of_the_package():
    g = torch.Generator().manual_seed(0)
    k = torch.nn.functional.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=-1)
    v = torch.randn(5, 2, generator=g, dtype=torch.float64)
    shots = list(scenes(k.numpy(), v.numpy()))
    assert [(t, step) for t, step, _ in shots] == [(t, step) for t in range(5) for step in ("read", "erase", "write")]
    for t, step, (delta, additive) in shots:
        if step == "erase":
            assert np.allclose(delta @ k[t].numpy(), 0)                  # nothing is left to read
        if step == "write":
            told = [x[None, :t + 1, None] for x in (k, k, v)]
            assert np.allclose(delta, delta_rule_recurrent(*told, torch.ones(1, t + 1, 1, dtype=k.dtype))[1][0, 0])
            assert np.allclose(additive, linear_attention_recurrent(*told)[1][0, 0])


def test_the_film_moves_loops_and_is_the_same_each_time():
    k, v = torch.eye(2), torch.tensor([[3.0], [5.0]])
    (first, width), (second, _) = (animation(k, v, ["one", "two"]) for _ in range(2))
    assert first == second and len(first) < 100_000
    picture = Image.open(io.BytesIO(first))
    assert picture.format == "PNG" and picture.n_frames == 6 and picture.info["loop"] == 0
    assert picture.convert("RGBA").getpixel((0, 0))[3] == 0
    shown = film(k, v, ["one", "two"]).data
    assert f'width="{width}"' in shown
    assert "Told one, they then say 3, and 3; two, they then say 5, and 5." in html.unescape(shown)


# -- pictures to play with -------------------------------------------------------------------------------------------

EXPLORED = {"delta.explore_two_writes": 3, "householder.explore_dial": 3, "chunkwise.explore_pipeline": 2,
            "measuring.explore_queue": 3}


@pytest.mark.parametrize("name", EXPLORED)
def test_without_a_notebook_an_explorable_picture_is_a_figure(name):
    module, function = name.split(".")
    figure = getattr(importlib.import_module(f"deltanet_edu.figures.{module}"), function)()
    assert len(words(figure)) > 60 and plt.get_fignums()                 # left for the cell to show


@pytest.mark.parametrize("name", EXPLORED)
@pytest.mark.parametrize("widgets", [True, False])
def test_in_a_notebook_sliders_move_it(name, widgets, monkeypatch):
    module, function = name.split(".")
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": None})())
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    if not widgets:
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
    figure = getattr(importlib.import_module(f"deltanet_edu.figures.{module}"), function)()
    if not widgets:
        assert figure.alt and not shown
        return
    import ipywidgets
    (data,) = shown
    assert set(data) == {WIDGET, "text/html", "text/plain"} and data["text/plain"] in html.unescape(data["text/html"])
    box = ipywidgets.widgets.widget._instances[data[WIDGET]["model_id"]]
    *knobs, picture = box.children
    assert len(box.children) == EXPLORED[name] and picture.value == data["text/html"] and not plt.get_fignums()
    knobs[0].value = knobs[0].options[-1]
    assert picture.value != data["text/html"] and "alt=" in picture.value and not plt.get_fignums()


def test_two_writes_are_those_of_the_package():
    from deltanet_edu.figures.delta import two_writes
    from deltanet_edu.ops import sgd_step
    turn = torch.deg2rad(torch.tensor(40.0, dtype=torch.float64))
    keys = torch.stack([torch.tensor([1.0, 0.0], dtype=torch.float64), torch.stack([turn.cos(), turn.sin()])])
    S = torch.zeros(1, 2, dtype=torch.float64)
    for k, v in zip(keys, (3.0, 5.0)):
        S = sgd_step(S, k, torch.tensor([v], dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    cat, lynx = (S @ keys.T)[0].tolist()
    assert two_writes(0.7, 40).axes[0].get_title(loc="left") == f"then cat reads {cat:.2f}, lynx {lynx:.2f}"
