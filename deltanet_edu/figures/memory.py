"""A memory S, drawn as what it is: a matrix with one row per value dimension and one column per key dimension."""

import numpy as np

from .style import array, colors, subplots

COLORS = "RdBu_r"                                # blue is negative, red positive; told apart by color-blind readers


def memory(S, *, ax=None, title=None, keys=None, values=None, limit=None, numbers=None):
    """Draw S: (V, K). Blue is negative, red is positive, white is zero; returns the axes.

    Args:
        S: (V, K), a tensor or an array.
        ax: the axes to draw on; a new figure, sized to the matrix, if None.
        title: a few words above it.
        keys, values: labels of the K columns and the V rows.
        limit: the number that gets full color, and its negative; max |S| if None. Give it to compare several memories.
        numbers: write the entries into the cells; None means if there are at most 64.
    """
    S = array(S)
    if S.ndim != 2:
        raise ValueError(f"S: got shape {S.shape}, expected (V, K). Pick one batch and one head, such as S[0, 0].")
    V, K = S.shape
    if ax is None:
        _, ax = subplots(f"{title or 'A memory'}: a matrix in color, {told(S)}.",
                         figsize=(1.2 + 0.55 * min(K, 12), 0.8 + 0.5 * min(V, 9)))
    limit = float(limit if limit is not None else np.abs(S).max()) or 1.0
    full = 1.2 * limit                                       # so that no cell is so dark that its number is lost
    image = ax.imshow(S, cmap=COLORS, vmin=-full, vmax=full, aspect="equal")
    if numbers if numbers is not None else S.size <= 64:
        for i, j in np.ndindex(V, K):
            ax.text(j, i, number(S[i, j]), ha="center", va="center", fontsize=9,
                    color=colors.paper if abs(S[i, j]) > 0.75 * limit else colors.ink)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    label_axis(ax.set_xticks, ax.set_xlabel, keys, K, "key dimension")
    label_axis(ax.set_yticks, ax.set_ylabel, values, V, "value dimension")
    if title:
        ax.set_title(title)
    ax.memory_image = image
    return ax


def number(x):
    """Two digits, with a real minus and without a negative zero."""
    return f"{x + 0.0:.2g}".replace("-", "−")


def told(S):
    """A matrix in words: its rows if it is small, its size and its range if not."""
    V, K = S.shape
    if S.size <= 24:
        return "; ".join("row " + str(i + 1) + ": " + ", ".join(map(number, row)) for i, row in enumerate(S.round(9)))
    return f"{V} rows by {K} columns, entries from {number(S.min())} to {number(S.max())}"


def label_axis(set_ticks, set_label, labels, size, name):
    """Name each row or column if names are given, else number the ends and name the axis."""
    if labels is not None:
        set_ticks(range(size), labels)
    else:
        ends = range(size) if size <= 8 else (0, size - 1)
        set_ticks(list(ends), [str(i + 1) for i in ends])
        set_label(name)


def memories(states, titles=None, *, keys=None, values=None, numbers=None):
    """Draw several memories of one shape side by side, on one color scale; returns the figure."""
    states = [array(S) for S in states]
    limit = max(np.abs(S).max() for S in states)
    V, K = states[0].shape
    said = ". ".join(f"{titles[n] if titles else n + 1}: {told(S)}" for n, S in enumerate(states))
    width = min(9.5, len(states) * (0.9 + 0.55 * min(K, 12)) + 0.8)
    figure, axes = subplots(f"{len(states)} matrices side by side. {said}.", 1, len(states), squeeze=False,
                            figsize=(width, 1.1 + 0.5 * min(V, 9)))
    for n, (S, ax) in enumerate(zip(states, axes[0])):
        memory(S, ax=ax, title=titles[n] if titles else None, keys=keys, values=values, limit=limit, numbers=numbers)
        if n:
            ax.set_ylabel("")
    figure.colorbar(axes[0, -1].memory_image, ax=list(axes[0]), shrink=0.8, label="entry of S")
    return figure


def writes(k, v, names=None):
    """Draw how a memory comes to be, k: (T, K), v: (T, V). Above, each outer product between its value, upright, and
    its key, lying flat; below, the memory once it has been added. names: a word per token. Returns the figure."""
    k, v = array(k), array(v)
    (T, K), V = k.shape, v.shape[1]
    products = v[:, :, None] * k[:, None, :] + 0.0                       # (T, V, K); + 0.0 turns -0 into 0
    states = products.cumsum(0)
    names = names or [f"token {t + 1}" for t in range(T)]
    limit = max(np.abs(x).max() for x in (states, products, k, v))
    step, bottom = K + 2.6, V + 1.3                          # from token to token, from the products to the sums
    steps = zip(names, products, states)
    said = ". ".join(f"{name} adds {told(x)}, and the memory is {told(S)}" for name, x, S in steps)
    figure, ax = subplots(f"Outer products of values and keys, added up. {said}.",
                          figsize=(0.48 * (T * step - 0.2), 0.48 * (bottom + V + 2)))
    arrow = {"arrowstyle": "->", "color": colors.gray}
    for t in range(T):
        x = t * step
        tiles(ax, k[t][None], x, -1.25, limit, label="$k$")
        tiles(ax, v[t][:, None], x - 1.25, 0, limit, label="$v$")
        tiles(ax, products[t], x, 0, limit)
        tiles(ax, states[t], x, bottom, limit, label=f"$S_{t + 1}$")
        ax.text(x + K / 2, -1.5, names[t], ha="center", va="bottom", fontsize=11)
        ax.annotate("", (x + K / 2, bottom - 0.15), (x + K / 2, V + 0.15), arrowprops=arrow)
        if t:
            ax.annotate("", (x - 1.1, bottom + V / 2), (x - step + K + 0.15, bottom + V / 2), arrowprops=arrow)
    ax.set(xlim=(-2, T * step - 2.4), ylim=(bottom + V + 0.2, -2.4), aspect="equal")
    ax.axis("off")
    return figure


def tiles(ax, x, left, top, limit, label=""):
    """Draw the matrix x as unit tiles with their numbers, its upper left corner at (left, top), a label at its left."""
    rows, columns = x.shape
    ax.imshow(x, cmap=COLORS, vmin=-limit, vmax=limit, extent=(left, left + columns, top + rows, top))
    for i, j in np.ndindex(rows, columns):
        ax.text(left + j + 0.5, top + i + 0.5, number(x[i, j]), ha="center", va="center", fontsize=9,
                color=colors.paper if abs(x[i, j]) > 0.65 * limit else colors.ink)
    ax.text(left - 0.2, top + rows / 2, label, ha="right", va="center", fontsize=11)
