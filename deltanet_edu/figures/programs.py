"""Which program of a kernel touches which number: tensors as grids of cells, a color and a number for each program."""

import numpy as np

from .style import array, colors, subplots

TINTS = ("#cfe2fa", "#f7d3c8", "#cdebd8", "#fbe3bd", "#e0cfe6", "#cfeaf9")
NOBODY, SEVERAL = -1, -2
WIDE = 16                                        # a vector longer than this is wrapped


def touched(launches, only=None):
    """Draw what watched launches (bench/trace.py) have loaded and stored, a row of panels for each. Returns the figure.

    A cell is a number of a tensor. White: nobody touches it. Gray: several programs read it.
    only: names of the tensors to draw; all that are touched if None.
    """
    rows = [[panel for t in launch.tensors.values() if only is None or t.name in only for panel in uses(t)]
            for launch in launches]
    columns = max(map(len, rows))
    wide = [max(cells.shape[1] for row in rows for _, cells in row[c:c + 1]) for c in range(columns)]
    high = [max(cells.shape[0] for _, cells in row) for row in rows]
    unit = min(0.3, 8.6 / (sum(wide) + 2 * columns))
    said = ". ".join(f"{launch.kernel}, {int(np.prod(launch.grid))} programs: {told(row)}"
                     for launch, row in zip(launches, rows))
    figure, axes = subplots(f"Tensors as grids of cells, colored by the program that touches them. {said}.",
                            len(rows), columns, squeeze=False, width_ratios=wide, height_ratios=high,
                            figsize=(unit * (sum(wide) + 2 * columns), unit * sum(high) + 0.75 * len(rows)))
    for row, line in zip(rows, axes):
        for ax in line[len(row):]:
            ax.axis("off")
        for (name, cells), ax in zip(row, line):
            grid(ax, cells, name)
    return figure


def uses(t):
    """(name and use, cells) for each way in which a tensor is used; cells: (rows, columns) of program numbers."""
    for what, by in (("loaded", t.loaded_by), ("stored", t.stored_by)):
        cells = array(by).astype(int)
        if (cells != NOBODY).any():
            yield f"{t.name}, {what}", flat(cells)


def flat(cells):
    """Any number of dimensions as rows and columns; a long vector is wrapped, and what is missing at its end is -3."""
    if cells.ndim > 1:
        return cells.reshape(-1, cells.shape[-1])
    width = min(WIDE, cells.size)
    return np.pad(cells, (0, -cells.size % width), constant_values=-3).reshape(-1, width)


def told(row):
    """Panels in words."""
    said = []
    for name, cells in row:
        numbers = [n for n in np.unique(cells) if n >= 0]
        each = ", ".join(f"program {n}: {(cells == n).sum()}" for n in numbers[:6])
        more = f" and {len(numbers) - 6} more" if len(numbers) > 6 else ""
        shared = f", several: {(cells == SEVERAL).sum()}" if (cells == SEVERAL).any() else ""
        said.append(f"{name}: {each}{more}{shared} entries".replace(": , ", ": "))
    return "; ".join(said)


def grid(ax, cells, name):
    """One panel: a tint for each program, lines where one meets another, its number in the middle of its cells."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    def tint(n):
        return {NOBODY: "#ffffff", SEVERAL: "#c9c9c9", -3: colors.paper}.get(n, TINTS[n % len(TINTS)])

    ax.imshow([[to_rgb(tint(n)) for n in line] for line in cells], aspect="equal")
    for edge, width, color in ((False, 0.3, colors.paper), (True, 1.2, colors.ink)):
        ax.add_collection(LineCollection(borders(cells, edge), linewidths=width, colors=color))
    for n in np.unique(cells):
        if n != -3 and n != NOBODY:
            place = middle(np.argwhere(cells == n))
            ax.text(*place[::-1], "∗" if n == SEVERAL else str(n), ha="center", va="center", fontsize=9)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.set_title(name, fontsize=10)


def borders(cells, edge):
    """The lines between neighboring cells, of different programs (edge) or of one."""
    below, right = (np.argwhere((np.diff(cells, axis=axis) != 0) == edge) for axis in (0, 1))
    level = [((j - 0.5, i + 0.5), (j + 0.5, i + 0.5)) for i, j in below]
    return level + [((j + 0.5, i - 0.5), (j + 0.5, i + 0.5)) for i, j in right]


def middle(places):
    """The place nearest to the middle of all: (row, column)."""
    return places[np.abs(places - places.mean(0)).sum(1).argmin()]
