"""A memory S, drawn as what it is: a matrix with one row per value dimension and one column per key dimension."""

import numpy as np


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
    import matplotlib.pyplot as plt

    S = np.asarray(S.detach() if hasattr(S, "detach") else S, dtype=float)
    if S.ndim != 2:
        raise ValueError(f"S: got shape {S.shape}, expected (V, K). Pick one batch and one head, such as S[0, 0].")
    V, K = S.shape
    if ax is None:
        _, ax = plt.subplots(figsize=(1.2 + 0.55 * min(K, 12), 0.8 + 0.5 * min(V, 9)))
    limit = float(limit if limit is not None else np.abs(S).max()) or 1.0
    image = ax.imshow(S, cmap="RdBu_r", vmin=-1.2 * limit, vmax=1.2 * limit, aspect="equal")   # 1.2: no cell so dark that its number is lost
    if numbers if numbers is not None else S.size <= 64:
        for i, j in np.ndindex(V, K):
            ax.text(j, i, f"{S[i, j]:.2g}".replace("-", "−"), ha="center", va="center", fontsize=9,
                    color="white" if abs(S[i, j]) > 0.75 * limit else "#222222")
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    label_axis(ax.set_xticks, ax.set_xlabel, keys, K, "key dimension")
    label_axis(ax.set_yticks, ax.set_ylabel, values, V, "value dimension")
    if title:
        ax.set_title(title)
    ax.memory_image = image
    return ax


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
    import matplotlib.pyplot as plt

    states = [np.asarray(S.detach() if hasattr(S, "detach") else S, dtype=float) for S in states]
    limit = max(np.abs(S).max() for S in states)
    V, K = states[0].shape
    figure, axes = plt.subplots(1, len(states), squeeze=False,
                                figsize=(min(9.5, len(states) * (0.9 + 0.55 * min(K, 12)) + 0.8), 1.1 + 0.5 * min(V, 9)))
    for n, (S, ax) in enumerate(zip(states, axes[0])):
        memory(S, ax=ax, title=titles[n] if titles else None, keys=keys, values=values, limit=limit, numbers=numbers)
        if n:
            ax.set_ylabel("")
    figure.colorbar(axes[0, -1].memory_image, ax=list(axes[0]), shrink=0.8, label="entry of S")
    return figure
