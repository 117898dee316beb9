"""The plots of chapter 16: learning curves in bits per character."""

import math

import numpy as np

from .style import colors

LINE_COLORS = (colors.gray, colors.orange, colors.purple, colors.green)


def training_curves(entries, lines=None, steps=None):
    """Loss of each step (smoothed) and bits per character on held-out text; `lines` is {name: bits per character}.

    The two have different units, so they have an axis each: nats a token on the left, bits a character on the right.
    """
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.2))
    loss = np.array([entry["loss"] for entry in entries])
    left.plot(np.arange(1, len(loss) + 1), smooth(loss), color=colors.delta)
    left.set(xlabel="step", ylabel="loss (nats per token)", title="training text", xlim=(0, steps))
    measured = [entry for entry in entries if "held_out" in entry]
    bits_panel(right, {"": measured}, lines, steps)
    return figure


def bits_panel(ax, curves, lines=None, steps=None):
    """Draw {name: log entries with held_out} over the steps, and {name: bits} as horizontal lines, labeled at the right."""
    for (name, entries), color in zip(curves.items(), (colors.delta, colors.additive, colors.green)):
        ax.plot([e["step"] for e in entries], [e["held_out"] for e in entries], "o-", markersize=3, color=color, label=name or None)
    lines = lines or {}
    for (name, bits), color in zip(lines.items(), LINE_COLORS):
        ax.axhline(bits, color=color, linewidth=1.2, linestyle="--")
        ax.annotate(f"{name} {bits:.2f}", (1, bits), xycoords=("axes fraction", "data"), xytext=(-3, -2), textcoords="offset points",
                    ha="right", va="top", fontsize=9, color=color)
    top = max([3.2, *lines.values()])
    ax.set(xlabel="step", ylabel="bits per character", title="held-out text", xlim=(0, steps), ylim=(1.7, top + 0.15))
    if any(curves):
        ax.legend()
    return ax


def smooth(loss, share=0.02):
    """Running mean over the last `share` of all steps, so that a curve shows and the noise does not."""
    width = max(1, math.ceil(share * len(loss)))
    total = np.cumsum(np.insert(loss, 0, 0.0))
    ends = np.arange(1, len(loss) + 1)
    starts = np.maximum(0, ends - width)
    return (total[ends] - total[starts]) / np.maximum(1, ends - starts)


def strength_of_words(pieces, beta):
    """How firmly each token is written: pieces, T strings; beta: (T, H). One row of squares a head, darker is stronger."""
    import matplotlib.pyplot as plt

    T, H = beta.shape
    figure, ax = plt.subplots(figsize=(min(9.0, 1.4 + 0.36 * T), 1.0 + 0.42 * H))
    image = ax.imshow(np.asarray(beta).T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(T), [piece.strip() or "⏎" for piece in pieces], rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(H), [f"head {h + 1}" for h in range(H)])
    ax.grid(False)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, label="β", pad=0.01)
    return figure


def seed_curves(results, lines=None):
    """Held-out curves of several seeds: results is {name: {"curves": {seed: [(step, bits), ...]}}}, one color a name."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    for (name, row), color in zip(results.items(), (colors.delta, colors.additive, colors.green)):
        for i, curve in enumerate(row["curves"].values()):
            ax.plot(*zip(*curve), color=color, linewidth=1.2, label=f"{name}, {len(row['curves'])} seeds" if i == 0 else None)
    for (name, bits), color in zip((lines or {}).items(), LINE_COLORS):
        ax.axhline(bits, color=color, linewidth=1.2, linestyle="--", label=f"{name}, {bits:.2f}")
    last = min(curve[-1][1] for row in results.values() for curve in row["curves"].values())
    ax.set(xlabel="step", ylabel="bits per character, held-out", ylim=(last - 0.06, last + 0.7))
    ax.legend()
    return figure
