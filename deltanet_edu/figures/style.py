"""One look for every figure of the book: a palette, a dash and a marker for each color, a way to make a figure.

The colors keep their distance for color-blind readers, and who sees none at all has dashes and markers.
"""

import re
from types import SimpleNamespace

import numpy as np

colors = SimpleNamespace(
    ink="#222222", gray="#6e6e6e", light="#dddddd", paper="#ffffff",
    blue="#0060c8", red="#b32400", green="#0b8544", orange="#d68000", purple="#6a1e68", sky="#2a98e4",
    # roles: the same idea has the same color in every chapter
    delta="#0060c8", additive="#b32400", softmax="#0b8544", truth="#222222",
)
DASHES = {"ink": "-", "gray": (0, (1, 1.4)), "blue": "-", "red": (0, (5, 1.6)), "green": (0, (5, 1.4, 1, 1.4)),
          "orange": (0, (1.6, 1.2)), "purple": (0, (8, 2)), "sky": (0, (3, 1.2, 1, 1.2, 1, 1.2))}
MARKERS = {"ink": "", "gray": "x", "blue": "o", "red": "s", "green": "^", "orange": "D", "purple": "v", "sky": "P"}
ROLES = {"delta": "blue", "additive": "red", "softmax": "green", "truth": "ink"}
MANY = 24                                        # a curve with more points than this carries a marker here and there
SPOKEN = {r"\beta": "β", r"\theta": "θ", r"\|": "‖", r"\top": "ᵀ", r"\cdot": "·", r"\sqrt": "√", r"\mathrm": "",
          r"\mathrm{d}": "d", "{": "", "}": "", r"\,": "", "$": "", "\\": "", "^ᵀ": "ᵀ", "\n": " "}


def look(name, points=2):
    """Color, dash and marker that go together, as keywords of `plot`. name: a color or a role; points: of the curve."""
    name = ROLES.get(name, name)
    every = {"markevery": (list(MARKERS).index(name) * points // 64, max(1, points // 8))} if points > MANY else {}
    return dict(color=getattr(colors, name), linestyle=DASHES[name], marker=MARKERS[name], **every)


def array(x):
    """A tensor or anything like an array, in double precision."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=float)


def subplots(alt, *shape, **options):
    """`plt.subplots`, with the words that a screen reader says first; what the axes show is added (`words`)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(*shape, **options)
    figure.alt = alt
    return figure, axes


def close(figure):
    """Forget a figure, so that no cell shows it once more."""
    import matplotlib.pyplot as plt

    plt.close(figure)


def words(figure):
    """The text that stands for a figure: what it was said to be, and what can be read off its axes."""
    said = [getattr(figure, "alt", "A plot.")] + [read for ax in figure.axes if (read := read_off(ax))]
    return re.sub(r"\s+", " ", " ".join(said)).strip()


def read_off(ax):
    """The axes and named curves of a panel in words: 'Time: milliseconds against tokens. loop: from 3 to 40.'"""
    drawn_to_scale = ax.images or ax.get_aspect() != "auto"              # a picture, not a plot
    if not ax.axison or drawn_to_scale or not (ax.get_xlabel() and ax.get_ylabel()):
        return ""
    log = ", logarithmic" if "log" in (ax.get_xscale(), ax.get_yscale()) else ""
    title = next((f"{text}: " for loc in ("left", "center") if (text := ax.get_title(loc=loc))), "")
    said = [f"{title}{ax.get_ylabel()} against {ax.get_xlabel()}{log}."]
    for line in ax.get_lines():
        if not line.get_label().startswith("_") and len(line.get_ydata()) > 1:
            said.append(f"{line.get_label()}: {course(line)}.")
    return spoken(" ".join(said))


def course(line):
    """Where a curve starts and ends, or between which numbers its marks lie."""
    y = array(line.get_ydata())
    if line.axes.get_yscale() == "linear":
        y = np.where(np.abs(y) < 1e-9 * np.abs(y).max(), 0.0, y)         # rounding is not part of the picture
    if y.min() == y.max():
        return size(y[0])
    if line.get_linestyle() == "None":
        return f"between {size(y.min())} and {size(y.max())}"
    return f"from {size(y[0])} to {size(y[-1])}"


def size(x):
    """Three digits of a number."""
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"


def spoken(text):
    """Text without the marks that only a typesetter understands."""
    for mark, instead in sorted(SPOKEN.items(), key=lambda item: -len(item[0])):
        text = text.replace(mark, instead)
    return text.replace("-", "−") if re.fullmatch(r"-[\d.]+", text) else text


def style():
    """Set matplotlib's defaults for the book, and in a notebook show every figure as a card with its words (`card`)."""
    import matplotlib
    from cycler import cycler

    cycle = cycler(color=[colors.blue, colors.red, colors.green, colors.orange, colors.purple, colors.sky])
    matplotlib.rcParams.update({
        "figure.figsize": (6.4, 3.4), "figure.dpi": 90, "figure.constrained_layout.use": True, "savefig.dpi": 180,
        "figure.facecolor": colors.paper, "axes.facecolor": colors.paper, "savefig.facecolor": colors.paper,
        "font.size": 10.5, "axes.titlesize": 11.5, "axes.titlelocation": "left", "axes.titlepad": 8,
        "axes.labelsize": 10.5, "axes.labelcolor": colors.ink, "axes.edgecolor": colors.gray, "axes.linewidth": 0.8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "axes.grid": True, "grid.color": colors.light, "grid.linewidth": 0.6,
        "axes.prop_cycle": cycle, "lines.linewidth": 1.8, "lines.markersize": 5,
        "xtick.color": colors.ink, "ytick.color": colors.ink, "text.color": colors.ink,
        "legend.frameon": False, "legend.fontsize": 9.5, "legend.handlelength": 2.6,
        "image.cmap": "viridis", "svg.hashsalt": "deltanet_edu",
    })
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if shell := get_ipython():                                           # outside a notebook there is nothing to show
        from . import card
        card.install(shell)
