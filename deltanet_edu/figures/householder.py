"""Pictures of chapter 4: one dial from projection to mirror, in the plane and in space; two mirrors, order, fading."""

import numpy as np

from .explore import explore
from .lines import lines
from .style import array, colors, look, subplots

# the letter F: neither a turn nor a mirror leaves it as it was
F = np.array([[0, 0], [0, 1], [0.62, 1], [0.62, 0.8], [0.22, 0.8], [0.22, 0.6],
              [0.5, 0.6], [0.5, 0.4], [0.22, 0.4], [0.22, 0], [0, 0]])


def effect(strength):
    """What the map does to the letter, in words."""
    between = "squeezed" if strength < 1 else "squeezed and mirrored" if strength < 2 else "stretched and mirrored"
    return {0: "as it was", 1: "flattened onto the line across the key", 2: "mirrored"}.get(strength, between)


def dial(matrices, key):
    """What I - beta k k^T does to a grid, the unit circle and a letter. matrices: {beta |k|^2: (2, 2)}; key: (2,)."""
    columns = -(-len(matrices) // 2) if len(matrices) > 1 else 1
    told = "; ".join(f"{strength:g}: {effect(strength)}" for strength in matrices)
    figure, axes = subplots(
        f"The plane with a grid, the unit circle and a letter F after the map I − βkkᵀ, by β‖k‖². {told}. What lies on "
        "the dashed line across the key never moves.", -(-len(matrices) // columns), columns, squeeze=False,
        figsize=(7.8, 5.3) if len(matrices) > 1 else (4.2, 4.4))
    for ax, (strength, M) in zip(axes.flat, matrices.items()):
        one_setting(ax, array(M), array(key) / np.linalg.norm(array(key)))
        ax.set_title(f"β‖k‖² = {strength:g},  λ = {1 - strength:.2g}".replace("-", "−"), loc="center")
    return figure


def one_setting(ax, M, key):
    """Grid, circle, letter and key under the map M: (2, 2), for a unit key."""
    angle, ticks, ends = np.linspace(0, 2 * np.pi, 200), np.linspace(-1, 1, 9), np.array([-1, 1])
    circle, across = np.stack([np.cos(angle), np.sin(angle)], -1), np.array([-key[1], key[0]])
    grid = [np.outer(ends, key) + t * across for t in ticks] + [np.outer(ends, across) + t * key for t in ticks]
    letter = 0.75 * F @ [-across, key] + 0.1 * key - 0.12 * across
    for line in grid:
        ax.plot(*(line @ M).T, color=colors.light, lw=0.8)
    ax.plot(*np.stack([-1.7 * across, 1.7 * across]).T, color=colors.gray, lw=1, ls="--")
    ax.plot(*circle.T, color=colors.gray, lw=1)
    ax.plot(*(circle @ M).T, color=colors.delta)
    ax.fill(*(letter @ M).T, facecolor="#b9dcf5", edgecolor=colors.delta, lw=1.2, zorder=3)
    arrow(ax, (0, 0), key, colors.ink)
    arrow(ax, (0, 0), key @ M, colors.red, "--")
    ax.set(aspect="equal", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
    ax.axis("off")


def arrow(ax, start, end, color, dashes="-"):
    """An arrow, or a dot where it has no length."""
    if np.linalg.norm(np.subtract(end, start)) < 1e-9:
        ax.plot(*start, "o", color=color, ms=6, zorder=4)
        return
    ax.annotate("", end, start, zorder=4, arrowprops=dict(arrowstyle="-|>", color=color, lw=1.8, ls=dashes, shrinkA=0,
                                                          shrinkB=0, mutation_scale=13))


def turned(strength=2.0, angle=55):
    """One setting of the dial, for a unit key at an angle in degrees."""
    key = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    return dial({strength: np.eye(2) - strength * np.outer(key, key)}, key)


def explore_dial():
    """`turned` with sliders for β|k|² and for the direction of the key."""
    return explore(turned, strength=("β‖k‖²", [n / 10 for n in range(26)], 2.0),
                   angle=("direction of the key", list(range(0, 181, 5)), 55))


def mirror(matrices, key):
    """The same in space. matrices: {beta |k|^2: (3, 3)}; key: (3,), drawn on the plane of what is orthogonal to it."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    key = array(key) / np.linalg.norm(array(key))
    right = np.array([0.0, 1.0, 0.0]) - key[1] * key                     # as seen by who looks along the first axis
    right /= np.linalg.norm(right)
    toward = np.cross(right, key)
    letter = 0.8 * F @ [right, key] + 0.12 * key + 0.2 * right + 0.2 * toward
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ [right, toward] * 0.92
    told = "; ".join(f"β‖k‖² = {strength:g}: {effect(strength).replace('line', 'plane')}" for strength in matrices)
    figure, ax = subplots(f"A letter F in space above the plane across the key, and where the map takes it. {told}.",
                          figsize=(5.4, 3.9), layout="none", subplot_kw=dict(projection="3d", computed_zorder=False))
    ax.set_position((0, -0.12, 1, 1.2))
    ax.add_collection3d(Poly3DCollection([corners], facecolor=colors.light, edgecolor=colors.gray, alpha=0.6, zorder=2))
    shapes = {"before": letter, **{f"β‖k‖² = {strength:g}": letter @ array(M) for strength, M in matrices.items()}}
    for p, q in zip(letter, list(shapes.values())[-1]):
        ax.plot(*np.stack([p, q]).T, color=colors.gray, lw=0.7, ls=":", zorder=3)
    looks = zip((colors.ink, colors.orange, colors.delta), ("-", "--", "-."), (5, 4, 1))
    for (name, x), (color, dash, z) in zip(shapes.items(), looks):
        ax.plot(*x.T, color=color, ls=dash, zorder=z, label=name)
    ax.quiver(0, 0, 0, *key, color=colors.red, lw=2, arrow_length_ratio=0.12, zorder=5)
    ax.text(*(1.1 * key), "key", color=colors.red, zorder=6)
    ax.set(xlim=(-0.85, 0.85), ylim=(-0.85, 0.85), zlim=(-0.85, 0.85))
    ax.set_box_aspect((1, 1, 1), zoom=1.15)
    ax.view_init(elev=22, azim=14)
    ax.axis("off")
    ax.legend(loc="upper left", bbox_to_anchor=(0.02, 0.86))
    return figure


def two_mirrors(k1, k2, M1, M2):
    """The letter F, its image in mirror 1, and the image of that in mirror 2, for unit keys in the plane."""
    k1, k2, M1, M2 = map(array, (k1, k2, M1, M2))
    start = 0.6 * F + [1.05, -0.75]
    once = start @ M1
    twice = once @ M2
    between = np.rad2deg(np.arccos(k1 @ k2))
    figure, ax = subplots(
        f"A letter F, its image in mirror 1, where it reads backward, and the image of that in mirror 2, where it is "
        f"an F again. The keys are θ = {between:.0f}° apart, and the last F is the first one turned by 2θ.",
        figsize=(4.6, 4.4))
    for k, n in ((k1, 1), (k2, 2)):
        line = np.array([k[1], -k[0]])
        ax.plot(*np.stack([-0.7 * line, 1.7 * line]).T, color=colors.gray, lw=1.1, ls="--")
        ax.text(*(2.0 * line), f"mirror {n}", color=colors.gray, ha="center", va="center", fontsize=9.5)
        arrow(ax, (0, 0), 0.75 * k, colors.red)
        ax.text(*(0.88 * k), f"$k_{n}$", color=colors.red, ha="center", va="center")
    shapes = ((start, colors.light, colors.ink, "row $s$"), (once, colors.paper, colors.gray, r"$s\,M_1$"),
              (twice, "#b9dcf5", colors.delta, r"$s\,M_1M_2$"))
    for shape, face, edge, name in shapes:
        ax.fill(*shape.T, facecolor=face, edgecolor=edge, lw=1.3)
        middle = shape.mean(0)
        ax.text(*(middle * (1 + 0.55 / np.linalg.norm(middle))), name, color=edge, ha="center", va="center")
    arc(ax, k1, k2, 0.45, colors.red, "θ")
    arc(ax, start.mean(0), twice.mean(0), 0.72, colors.delta, "2θ")
    ax.set(aspect="equal", xlim=(-1.3, 2.4), ylim=(-1.2, 2.2))
    ax.axis("off")
    return figure


def arc(ax, start, end, radius, color, name):
    """An arc about the origin from one direction to another, counterclockwise, with its name in the middle."""
    a, b = (np.arctan2(x[1], x[0]) for x in (start, end))
    b += 2 * np.pi * (b < a)
    angle = np.linspace(a, b, 60)
    ax.plot(radius * np.cos(angle), radius * np.sin(angle), color=color, lw=1.2)
    m = (a + b) / 2
    ax.text((radius + 0.12) * np.cos(m), (radius + 0.12) * np.sin(m), name, color=color, ha="center", va="center")


def order(degrees, difference):
    """How far M1 M2 is from M2 M1, against the angle between the keys. difference: {name: one number per angle}."""
    alt = ("Line plot: maps of keys 0, 90 and 180 degrees apart can be exchanged; the difference is largest between, "
           + ", ".join(f"{array(y).max():.2g} for {name}" for name, y in difference.items()) + ".")
    ax = lines({name: (degrees, y) for name, y in difference.items()}, looks=("green", "blue", "red"), alt=alt,
               xlabel="angle between the keys (degrees)", ylabel=r"$\|M_1M_2 - M_2M_1\|$", figsize=(6.0, 3.0))
    ax.set_xticks(range(0, 181, 45))
    ax.legend(loc="upper right", ncol=1, bbox_to_anchor=(1.27, 1.0))
    return ax.figure


def forgetting(left, expected):
    """Share of a row's squared length after t random tokens: {beta: (T,)} measured, {beta: (T,)} by law (dotted)."""
    figure, ax = subplots("Line plot of what random tokens leave of a stored row; each curve lies on its dotted law.",
                          figsize=(6.4, 3.3))
    looks = zip(left, ("green", "ink", "orange", "purple", "blue"), (4.5, 1.8, 1.8, 1.8, 1.8))
    for beta, color, width in looks:
        chosen = {**look(color, len(left[beta])), "linestyle": "-"}
        ax.plot(array(left[beta]), lw=width, alpha=0.6 if width > 2 else 1, label=f"β = {beta:g}", **chosen)
        ax.plot(array(expected[beta]), color=colors.ink, lw=1, ls=":")
    ax.set(xlabel="number of random tokens", ylabel="share of squared length", ylim=(-0.03, 1.08))
    ax.legend(loc="upper right", bbox_to_anchor=(1.25, 1.0))
    return figure
