"""Pictures of chapter 6: guesses round by round, a triangle being filled, paths, terms that cancel, errors."""

import numpy as np

from .style import array, colors, look, subplots


def rounds(errors):
    """Error after each round of mutual correction, logarithmic. errors: {name: [after 0, 1, 2, ... rounds]}."""
    worst = ", ".join(f"{max(e):.0e} for {name}" for name, e in errors.items())
    figure, ax = subplots(f"Line plot of the error after rounds of mutual correction; largest on the way: {worst}.",
                          figsize=(6.8, 3.6))
    for (name, e), color in zip(errors.items(), ("green", "orange", "red")):
        ax.plot(array(e), label=name, **look(color, len(e)))
    ax.axhline(1, color=colors.ink, lw=0.8)
    ax.set(yscale="log", xlabel="rounds", ylabel="relative error of U", ylim=(1e-17, None))
    ax.legend(loc="lower right", bbox_to_anchor=(0.93, 0.12))
    return figure


def filling(X):
    """How two methods fill the triangle X: (C, C), C a power of 2. Above by rows, below by halves; gray: unknown."""
    X, C = array(X), len(X)
    t, levels = np.arange(C), int(np.log2(C))
    figure, axes = subplots(
        f"Two rows of triangles that fill up, {C} by {C}. Above, row by row from the top, {C - 1} steps. Below, by "
        f"halves: first the diagonal, then in each of {levels} levels the square between two triangles makes one "
        "of twice the size.",
        2, levels + 1, figsize=(1.75 * (levels + 1), 4.1))
    for n in range(levels + 1):
        known = [np.broadcast_to(t[:, None] < 2**n, X.shape), t[:, None] >> n == t[None, :] >> n]
        titles = [f"{2**n - 1} step{'s' * (2**n != 2)}", f"level {n}"]
        for ax, mask, title in zip(axes[:, n], known, titles):
            picture = np.where(mask & (t[:, None] >= t), X, np.nan)
            ax.imshow(np.where(t[:, None] >= t, 0.0, np.nan), cmap="Greys", vmin=-0.35, vmax=1.5)
            ax.imshow(picture, cmap="RdBu_r", vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.set_title(title, loc="center", fontsize=10)
            ax.grid(False)
            ax.spines[:].set_visible(False)
    axes[0, 0].set_ylabel("row by row")
    axes[1, 0].set_ylabel("by halves")
    return figure


def arc(ax, i, t, *, color, label=None, y=0.0, dashed=False):
    """A hop from token i to token t, as an arrow that bends upward."""
    ax.annotate("", (t, y + 0.06), (i, y + 0.06), arrowprops=dict(
        arrowstyle="-|>", color=color, lw=1.6, ls=":" if dashed else "-", shrinkA=7, shrinkB=7,
        connectionstyle="arc3,rad=-0.45"))
    if label:
        ax.text((i + t) / 2, y + (0.11 if t - i == 1 else 0.47), label, ha="center", va="center", color=color,
                fontsize=10)


def paths(A):
    """Left: the hops between the tokens of A: (3, 3), each with its factor -A. Right: the paths from token 1 to 4."""
    A = array(A)
    hops = ((0, 1), (1, 2), (0, 2))
    told = ", ".join(f"{i + 1} to {t + 1}: {-A[t, i] + 0.0:g}" for i, t in hops)
    figure, (left, right) = subplots(
        f"Left: arrows between three tokens, each with a factor: {told}. Right: the four paths from token 1 to token "
        "4: directly; over 2; over 3; over 2 and 3. Each hop turns the sign: an odd number of hops gives "
        "minus, an even one plus.",
        1, 2, figsize=(9.2, 3.1), width_ratios=(1, 1.15), layout="none")
    for i, t in hops:
        zero = A[t, i] == 0
        arc(left, i + 1, t + 1, color=colors.gray if zero else colors.delta, dashed=zero,
            label="0, orthogonal keys" if zero else f"{-A[t, i]:g}".replace("-", "−"))
    for n in (1, 2, 3):
        node(left, n, 0, n)
    left.set(xlim=(0.6, 3.4), ylim=(-0.5, 0.85), title="Each hop has a factor")
    for row, stops in enumerate(((1, 4), (1, 2, 4), (1, 3, 4), (1, 2, 3, 4))):
        y, count = -row * 0.62, len(stops) - 1
        for a, b in zip(stops, stops[1:]):
            right.annotate("", (b, y), (a, y), arrowprops=dict(arrowstyle="-|>", color=colors.delta, lw=1.6, shrinkA=10,
                                                               shrinkB=10))
        for n in range(1, 5):
            node(right, n, y, n, faint=n not in stops)
        right.text(4.35, y, f"{count} hop{'s' * (count > 1)}, sign {'−' if count % 2 else '+'}", va="center",
                   fontsize=10)
    right.set(xlim=(0.7, 6.0), ylim=(-2.2, 0.4), title="All paths from token 1 to token 4")
    for ax in (left, right):
        ax.axis("off")
    figure.subplots_adjust(left=0.02, right=0.98, top=0.88, bottom=0.03, wspace=0.08)
    return figure


def node(ax, x, y, text, *, faint=False):
    color = colors.light if faint else colors.ink
    ax.text(x, y, text, ha="center", va="center", fontsize=11, color=colors.gray if faint else colors.ink,
            bbox=dict(boxstyle="circle,pad=0.25", facecolor=colors.paper, edgecolor=color))


def cancellation(terms, digits):
    """The terms of an alternating sum by hops, and below which size each format loses them. digits: {name: eps}."""
    terms = array(terms)
    n, size = np.arange(1, len(terms) + 1), np.abs(terms)
    lost = ", ".join(f"{size.max() * epsilon:.0e} in {name}" for name, epsilon in digits.items())
    figure, ax = subplots(
        f"Bars of alternating sign, {len(terms)} terms of a sum. Their sizes rise from {size[0]:.0e} to "
        f"{size.max():.0e} in the middle and fall again to {size[-1]:.0e}. The largest ends in a digit worth {lost}.",
        figsize=(6.8, 3.4))
    kinds = ((terms < 0, dict(color=colors.delta), "negative terms"),
             (terms > 0, dict(facecolor="#f3c9bd", edgecolor=colors.red, hatch="////", linewidth=0), "positive terms"))
    for sign, chosen, name in kinds:
        ax.bar(n[sign], size[sign], label=name, bottom=1e-1, **chosen)
    for (name, epsilon), dash in zip(digits.items(), ("--", ":")):
        ax.axhline(size.max() * epsilon, color=colors.ink, lw=1, ls=dash,
                   label=f"last digit of {name} at the largest term")
    ax.set(yscale="log", xlabel="hops n", ylabel="size of the term", ylim=(1, 1e22))
    ax.legend(loc="upper left", ncol=2, fontsize=8.5)
    return figure


def error_table(errors):
    """Errors as a shaded table: {row: {column: error}}; pale is close to the rounding of the format, dark useless."""
    rows, columns = list(errors), list(next(iter(errors.values())))
    E = np.array([[errors[r][c] for c in columns] for r in rows], dtype=float)
    told = "; ".join(f"{r}: " + ", ".join(f"{c} {errors[r][c]:.0e}" for c in columns) for r in rows)
    figure, ax = subplots(f"Table of errors, darker where they are larger. {told}.".replace("\n", " "),
                          figsize=(1.5 * len(columns) + 2.6, 0.42 * len(rows) + 1.0))
    depth = np.log10(np.maximum(E, 1e-12))
    ax.imshow(depth, cmap="Oranges", vmin=-9, vmax=6, aspect="auto")
    for i, j in np.ndindex(E.shape):
        mantissa, exponent = f"{E[i, j]:.0e}".split("e")
        power = rf"${mantissa}\cdot10^{{{int(exponent)}}}$"
        ax.text(j, i, power if E[i, j] else "0", ha="center", va="center", fontsize=10,
                weight="bold" if depth[i, j] > -1 else "normal", color=colors.paper if depth[i, j] > 3 else colors.ink)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return figure
