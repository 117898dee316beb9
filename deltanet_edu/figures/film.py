"""Two memories read the same tokens: as a film, a picture for each thing that happens, and as a strip for study.

The film is an animated PNG: it moves wherever notebooks show figures; where nothing moves, its first picture is seen.
"""

import numpy as np

from . import card
from .memory import number, tiles
from .style import array, colors, subplots

STEPS = {"read": ("reads $S k$", "does not look"), "erase": ("erases it", "erases nothing"),
         "write": ("writes $v$", "adds $v$")}
SHADES = 32                                      # colors of the film; its tiles have few, and each costs bytes


def scenes(k, v):
    """(token, step, [S of the delta rule with β = 1, S of linear attention]) after every step of every token."""
    delta = additive = np.zeros((v.shape[1], k.shape[1]))
    for t, key in enumerate(k):
        old = delta @ key
        yield t, "read", [delta, additive]
        yield t, "erase", [delta - np.outer(old, key), additive]
        delta, additive = delta + np.outer(v[t] - old, key), additive + np.outer(v[t], key)
        yield t, "write", [delta, additive]


def prepare(k, v):
    """Keys and values in double precision (0.8, not 0.800000012), all scenes, and the number that gets full color."""
    k, v = (array(x).round(6) for x in (k, v))
    shots = list(scenes(k, v))
    return k, v, shots, max(np.abs(x).max() for t, _, states in shots for S in states for x in (S, S @ k[t]))


def draw(ax, S, before, key, left, top, limit, *, reading=False):
    """A memory, and right of it what it says for the key. Framed: the cells that have just changed, or what is read."""
    V, K = S.shape
    tiles(ax, S.round(9), left, top, limit)
    tiles(ax, (S @ key).round(9)[:, None], left + K + 0.4, top, limit)
    framed = [(K + 0.4, i) for i in range(V)] if reading else [(j, i) for i, j in np.argwhere(~np.isclose(S, before))]
    across, down = np.array([0.05, 0.95, 0.95, 0.05, 0.05]), np.array([0.05, 0.05, 0.95, 0.95, 0.05])
    for x, y in framed:
        ax.plot(left + x + across, top + y + down, color=colors.ink, lw=1.5)


def film(k, v, names, *, seconds=1.5):
    """The animation, for a notebook to display. k: (T, K), unit keys; v: (T, V); names: a few words for each token."""
    from IPython.display import HTML

    moving, width = animation(k, v, names, seconds=seconds)
    return HTML(card.image(moving, width, said("Animation", k, v, names)))


def said(kind, k, v, names):
    """The film or the strip in words: what each memory answers for each token once it has been told."""
    k, v, shots, _ = prepare(k, v)
    told = [(names[t], *(", ".join(number(x) for x in (S @ k[t]).round(9)) for S in states))
            for t, step, states in shots if step == "write"]
    return (f"{kind}: for each token the delta rule reads, erases and writes, while linear attention adds. Told "
            + "; ".join(f"{name}, they then say {delta}, and {additive}" for name, delta, additive in told) + ".")


def animation(k, v, names, *, seconds=1.5):
    """The film as the bytes of an animated PNG, and its width on the page."""
    k, v, shots, limit = prepare(k, v)
    before, pictures = shots[0][2], []
    for shot in shots:
        pictures.append(frame(shot, before, k, v, names, limit))
        before = shot[2]
    first, *rest = card.rounded(pictures, SHADES)
    times = [int(1000 * seconds)] * (len(shots) - 1) + [int(3000 * seconds)]
    return card.saved(first, save_all=True, append_images=rest, duration=times, loop=0), first.width * 3 // 4


def frame(shot, before, k, v, names, limit):
    """One picture of the film: (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    (t, step, states), (T, K), V = shot, k.shape, v.shape[1]
    figure = Figure(figsize=(0.5 * (2 * K + 9.4), 0.5 * (V + 4.7)), dpi=120, layout="none", facecolor=colors.paper)
    ax = figure.add_axes((0, 0, 1, 1))
    for n, (name, color) in enumerate((("delta rule", colors.delta), ("linear attention", colors.additive))):
        left = n * (K + 4.7)
        ax.text(left, -1.9, name, weight="bold", fontsize=11, color=color)
        tiles(ax, k[t][None], left, -1.3, limit, "$k$")
        tiles(ax, v[t][:, None], left - 1.4, 0, limit)
        draw(ax, states[n], before[n], k[t], left, 0, limit, reading=step == "read" and n == 0)
        for x, word in ((left - 0.9, "told $v$"), (left + K + 0.9, "says $S k$")):
            ax.text(x, V + 0.35, word, ha="center", va="center", fontsize=9.5)
        ax.text(left + K / 2, V + 0.95, STEPS[step][n], fontsize=11, ha="center", va="center",
                color=colors.gray if n and step != "write" else colors.ink)
    ax.text(-1.9, -2.8, f"token {t + 1} of {T}: {names[t]}", fontsize=12)
    ax.set(xlim=(-2.1, 2 * K + 7.3), ylim=(V + 1.3, -3.4))
    ax.axis("off")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def strip(k, v, names):
    """The same as one figure: a row for each token, a column for each step."""
    figure, ax = subplots(said("Strip of pictures", k, v, names))
    k, v, shots, limit = prepare(k, v)
    (T, K), V = k.shape, v.shape[1]
    figure.set_size_inches(0.36 * (4 * K + 12), 0.36 * (T * (V + 0.7) + 1))
    before, lefts = shots[0][2], np.arange(4) * (K + 2.1) + [0, 0, 0, 0.8]
    for n, (t, step, states) in enumerate(shots):
        top = t * (V + 0.7)
        draw(ax, states[0], before[0], k[t], lefts[n % 3], top, limit, reading=step == "read")
        if step == "write":
            draw(ax, states[1], before[1], k[t], lefts[3], top, limit)
            ax.text(-0.6, top + V / 2, names[t], ha="right", va="center", fontsize=10.5)
        before = states
    titles = [f"delta rule {own}" for own, _ in STEPS.values()] + ["linear attention " + STEPS["write"][1]]
    for left, title in zip(lefts, titles):
        ax.text(left, -0.4, title, fontsize=10.5, color=colors.additive if left == lefts[3] else colors.delta)
    ax.set(xlim=(-3.6, lefts[3] + K + 1.6), ylim=(T * (V + 0.7), -1), aspect="equal")
    ax.axis("off")
    return figure
