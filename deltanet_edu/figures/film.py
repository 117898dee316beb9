"""Two memories read the same tokens: as a film, one picture for each thing that happens, and as a strip to study in peace.

The film is an animated PNG: it moves wherever a notebook shows its figures, and where nothing can move its first picture is seen.
"""

import io

import numpy as np

from .memory import tiles
from .style import colors

STEPS = {"read": ("reads $S k$", "does not look"), "erase": ("erases it", "erases nothing"), "write": ("writes $v$", "adds $v$")}


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
    k, v = (np.asarray(x, dtype=float).round(6) for x in (k, v))
    shots = list(scenes(k, v))
    return k, v, shots, max(np.abs(x).max() for t, _, states in shots for S in states for x in (S, S @ k[t]))


def draw(ax, S, before, key, left, top, limit, *, reading=False):
    """A memory, and at its right what it says for the key. Framed: the cells that have just changed, or what is being read."""
    V, K = S.shape
    tiles(ax, S.round(9) + 0.0, left, top, limit)                         # + 0.0 turns -0 into 0
    tiles(ax, (S @ key).round(9)[:, None] + 0.0, left + K + 0.4, top, limit)
    framed = [(K + 0.4, i) for i in range(V)] if reading else [(j, i) for i, j in np.argwhere(~np.isclose(S, before))]
    for x, y in framed:
        ax.plot(left + x + np.array([0.05, 0.95, 0.95, 0.05, 0.05]), top + y + np.array([0.05, 0.05, 0.95, 0.95, 0.05]), color=colors.ink, lw=1.5)


def film(k, v, names, *, seconds=1.5):
    """The animation, for a notebook to display. k: (T, K), unit keys; v: (T, V); names: a few words for each token."""
    from IPython.display import Image
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    k, v, shots, limit = prepare(k, v)
    (T, K), V = k.shape, v.shape[1]
    before, pictures = shots[0][2], []
    for t, step, states in shots:
        figure = Figure(figsize=(0.5 * (2 * K + 9.4), 0.5 * (V + 4.5)), dpi=120, layout="none")
        ax = figure.add_axes((0, 0, 1, 1))
        for n, (name, color) in enumerate((("delta rule", colors.delta), ("linear attention", colors.additive))):
            left = n * (K + 4.7)
            ax.text(left, -1.9, name, weight="bold", fontsize=11, color=color)
            tiles(ax, k[t][None] + 0.0, left, -1.3, limit, "$k$")
            tiles(ax, v[t][:, None] + 0.0, left - 1.4, 0, limit)
            draw(ax, states[n], before[n], k[t], left, 0, limit, reading=step == "read" and n == 0)
            for x, word in ((left - 0.9, "told $v$"), (left + K + 0.9, "says $S k$")):
                ax.text(x, V + 0.35, word, ha="center", va="center", fontsize=9.5)
            ax.text(left + K / 2, V + 0.95, STEPS[step][n], fontsize=11, ha="center", va="center",
                    color=colors.gray if n and step != "write" else colors.ink)
        ax.text(-1.9, -2.8, f"token {t + 1} of {T}: {names[t]}", fontsize=12)
        ax.set(xlim=(-2.1, 2 * K + 7.3), ylim=(V + 1.3, -3.2))
        ax.axis("off")
        canvas, before = FigureCanvasAgg(figure), states
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3])
    file, size = animated(pictures, [seconds] * (len(shots) - 1) + [3 * seconds])
    return Image(file, width=size[0] * 3 // 4, height=size[1] * 3 // 4,
                 alt=f"Animation. The delta rule and linear attention are told, one after the other: {', '.join(names)}.")


def animated(pictures, seconds, colors=24):
    """An animated PNG of arrays (height, width, 3) in their most frequent colors: its bytes, and its size."""
    from PIL import Image

    found, counts = np.unique(np.concatenate(pictures).reshape(-1, 3), axis=0, return_counts=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette(found[np.argsort(-counts, kind="stable")[:colors]].astype(np.uint8).tobytes())
    first, *rest = (Image.fromarray(x).quantize(palette=palette, dither=Image.Dither.NONE) for x in pictures)
    file = io.BytesIO()
    first.save(file, "png", save_all=True, append_images=rest, duration=[int(1000 * s) for s in seconds], loop=0, optimize=True)
    return file.getvalue(), first.size


def strip(k, v, names):
    """The same as one figure: a row for each token, a column for each step."""
    import matplotlib.pyplot as plt

    k, v, shots, limit = prepare(k, v)
    (T, K), V = k.shape, v.shape[1]
    figure, ax = plt.subplots(figsize=(0.36 * (4 * K + 12), 0.36 * (T * (V + 0.7) + 1)))
    before, lefts = shots[0][2], np.arange(4) * (K + 2.1) + [0, 0, 0, 0.8]
    for n, (t, step, states) in enumerate(shots):
        top = t * (V + 0.7)
        draw(ax, states[0], before[0], k[t], lefts[n % 3], top, limit, reading=step == "read")
        if step == "write":
            draw(ax, states[1], before[1], k[t], lefts[3], top, limit)
            ax.text(-0.6, top + V / 2, names[t], ha="right", va="center", fontsize=10.5)
        before = states
    for left, words in zip(lefts, [f"delta rule {own}" for own, _ in STEPS.values()] + ["linear attention " + STEPS["write"][1]]):
        ax.text(left, -0.4, words, fontsize=10.5, color=colors.additive if left == lefts[3] else colors.delta)
    ax.set(xlim=(-3.6, lefts[3] + K + 1.6), ylim=(T * (V + 0.7), -1), aspect="equal")
    ax.axis("off")
    return figure
