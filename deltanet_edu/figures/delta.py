"""Pictures of chapter 2: a write as a walk in the plane, what β|k|^2 decides, and how two memories age."""

import numpy as np

from .explore import explore
from .style import array, colors, look, subplots


def plane(keys, values, path=(), *, ax=None, names=None, title=None, limits=None):
    """A memory with K = 2, V = 1 is a point in the plane; a pair (k, v) is the line of all memories that say v for k.

    Args:
        keys: (N, 2), values: (N,): one line each, drawn where S k = v.
        path: the memories (n, 2) that were passed through, joined by arrows; the first one is marked.
        names: a label per line.
        limits: (x0, x1, y0, y1).
    """
    path = np.asarray(path, dtype=float).reshape(-1, 2)
    if ax is None:
        walk = (f" A walk of {len(path) - 1} arrows leads from {point(path[0])} to {point(path[-1])}."
                if len(path) else "")
        said = "The plane of all memories with two entries; a line for each pair, of the memories that answer it."
        _, ax = subplots(said + walk, figsize=(4.3, 3.9))
    x0, x1, y0, y1 = limits or (-1, 6, -1, 6)
    for n, (k, v) in enumerate(zip(array(keys), array(values))):
        foot, along = v * k / (k @ k), np.array([-k[1], k[0]]) / np.linalg.norm(k)
        ends = np.stack([foot - 20 * along, foot + 20 * along])
        chosen = {**look(("green", "purple")[n % 2]), "marker": "", "lw": 1.6}
        ax.plot(*ends.T, label=names[n] if names else None, **chosen)
    for a, b in zip(path, path[1:]):
        ax.annotate("", b, a, arrowprops=dict(arrowstyle="->", color=colors.delta, lw=1.6, shrinkA=0, shrinkB=0))
    if len(path):
        ax.plot(*path[0], "o", color=colors.ink, ms=7, zorder=3)
    ax.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal", xlabel="$S_1$", ylabel="$S_2$")
    if title:
        ax.set_title(title)
    if names:
        ax.legend(loc="upper right", handlelength=2.2)
    return ax


def point(x):
    return f"({x[0]:.2f}, {x[1]:.2f})".replace("-", "−")


def landings(key, value, start, lands, *, limits):
    """One write from `start`, for several β: {β: the memory (2,) it leads to}, in the plane of `plane`."""
    ax = plane([key], [value], limits=limits)
    ends = np.stack([np.asarray(start, dtype=float), *(np.asarray(S, dtype=float) for S in lands.values())])
    ax.figure.alt = ("The plane of all memories with two entries, and the line of those that answer the key. One write "
                     f"starts at {point(ends[0])} and moves at a right angle to that line. " +
                     ", ".join(f"β = {beta:g} lands at {point(S)}" for beta, S in zip(lands, ends[1:])) + ".")
    far = ends[np.abs(ends - ends[0]).sum(1).argmax()]
    ax.plot(*np.stack([ends[0], far]).T, color=colors.delta, lw=1.2, ls=":")
    for beta, S in lands.items():
        ax.plot(*S, "o" if beta <= 2 else "X", color=colors.delta if beta <= 2 else colors.red, ms=7, zorder=3)
        ax.annotate(f"β = {beta:g}", S, xytext=(9, -9), textcoords="offset points")
    y = limits[2] + 0.12 * (limits[3] - limits[2])
    ax.text((value - key[1] * y) / key[0] - 0.5, y, f"every memory on\nthis line says {float(value):g}",
            ha="right", va="center", color=colors.green)
    return ax


def two_writes(beta=1.0, angle=40):
    """Store 3 under one unit key, then 5 under another at an angle in degrees, from an empty memory, with one β."""
    turn = np.deg2rad(angle)
    keys, values, path = np.array([[1, 0], [np.cos(turn), np.sin(turn)]]), np.array([3.0, 5.0]), [np.zeros(2)]
    for k, v in zip(keys, values):
        path.append(path[-1] - beta * (path[-1] @ k - v) * k)
    ax = plane(keys, values, path, names=["says 3 for cat", "says 5 for lynx"], limits=(-3, 9, -3, 9))
    says = path[-1] @ keys.T
    ax.set_title(f"then cat reads {says[0]:.2f}, lynx {says[1]:.2f}".replace("-", "−"))
    ax.figure.alt = (f"Two writes with β = {beta:g}, keys {angle}° apart, as two arrows in the plane of memories, from "
                     f"(0, 0) over {point(path[1])} to {point(path[2])}. Then cat, told 3, reads {says[0]:.2f}; lynx, "
                     f"told 5, {says[1]:.2f}.")
    return ax.figure


def explore_two_writes():
    """`two_writes` with sliders for β and for the angle between the keys."""
    return explore(two_writes, beta=("write strength β", [n / 10 for n in range(26)], 1.0),
                   angle=("angle between the keys", list(range(0, 181, 5)), 40))


def stability(strength, smallest, errors):
    """Left: the eigenvalue along the key against β|k|^2. Right: the error after n writes of the same pair.

    Args:
        strength, smallest: β|k|^2 and the eigenvalue measured for it.
        errors: {β|k|^2: [error after 0, 1, 2, ... writes]}, signed.
    """
    figure, (left, right) = subplots(
        "Left: measured eigenvalues fall on one line, from 1 at β‖k‖² = 0, the no-op, over 0 at 1, overwrite, to −1 at "
        "2, mirror. Up to 1 a write corrects, up to 2 it overshoots and the error still shrinks, beyond 2 it explodes. "
        "Right: a curve for each β‖k‖².", 1, 2, figsize=(7.4, 3.0))
    regions = ((0, 1, colors.green, "corrects"), (1, 2, colors.orange, "overshoots,\nstill shrinks"),
               (2, 2.6, colors.red, "explodes"))
    for x0, x1, color, word in regions:
        left.axvspan(x0, x1, color=color, alpha=0.13, lw=0)
        left.text((x0 + x1) / 2, 1.8, word, ha="center", va="top", fontsize=9.5)
    for x in (1, 2):
        left.axvline(x, color=colors.gray, lw=0.8)
    left.plot(strength, smallest, ".", color=colors.delta, ms=6)
    for x, y, word, place in ((0, 1, "no-op", (9, 3)), (1, 0, "overwrite", (8, 2)), (2, -1, "mirror", (-46, -6))):
        left.plot(x, y, "o", color=colors.ink, ms=7)
        left.annotate(word, (x, y), xytext=place, textcoords="offset points", weight="bold")
    left.set(xlim=(-0.05, 2.6), ylim=(-1.7, 1.9), xlabel=r"$\beta\,\|k\|^2$", ylabel="eigenvalue along the key",
             title="What one write leaves of an error")
    for (x, e), color in zip(errors.items(), ("green", "ink", "orange", "purple", "red")):
        right.plot(range(len(e)), e, label=f"{x:g}", **look(color))
    right.set(xlabel="number of writes of the same pair", ylabel="error  $S k - v$", title="... and several")
    right.legend(title=r"$\beta\,\|k\|^2$", ncol=2, loc="lower left")
    right.set_ylim(bottom=-5.2)                                          # room for the legend below the curves
    return figure


def fading(kept, found, expected):
    """How two memories age. Left: the share of a stored value that a read returns. Right: how often it is recognized.

    Args:
        kept, found: {"additive": (N,), "delta": (N,)}, by age: how many writes came after.
        expected: (N,), the law for the delta rule.
    """
    figure, axes = subplots("Two line plots over the age of what was stored.", 1, 2, figsize=(7.4, 2.8))
    for ax, curves in zip(axes, (kept, found)):
        for name, y in curves.items():
            ax.plot(array(y), label=name, **look(name, len(y)))
        ax.set(xlabel="age: number of later writes", ylim=(0, 1.18 if ax is axes[0] else 1.05))
    axes[0].plot(array(expected), color=colors.truth, ls="--", lw=1.2, label=r"$(1 - 1/K)^{\mathrm{age}}$")
    axes[0].set(ylabel="share of the stored value", title="What is still there")
    axes[1].set(ylabel="nearest value is right", title="What can still be recognized")
    axes[0].legend(loc="lower left")
    return figure
