"""Curves over one axis: the plot that most chapters need."""

from .style import array, look, subplots

NAMES = ("blue", "red", "green", "orange", "purple", "sky")


def lines(curves, *, xlabel, ylabel, alt, title=None, looks=NAMES, log="", base=2, xticks=None, ax=None,
          figsize=(6.4, 3.4)):
    """Draw curves that are told apart by color, dash and marker. Returns the axes.

    Args:
        curves: {name: y, or (x, y)}; without x, the points are numbered from 0.
        alt: what a screen reader says before it reads axes, names and ends of the curves.
        looks: a color or a role for each curve, as in `style.look`.
        log: which axes are logarithmic: "", "x", "y" or "xy".
        base: of the horizontal axis, if it is logarithmic.
        xticks: where the horizontal axis has its numbers.
        ax: the axes to draw on; a new figure if None.
    """
    if ax is None:
        _, ax = subplots(alt, figsize=figsize)
    for (name, points), chosen in zip(curves.items(), looks):
        x, y = map(array, points) if isinstance(points, tuple) else (None, array(points))
        ax.plot(*([y] if x is None else [x, y]), label=name, **look(chosen, len(y)))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title)
    if "x" in log:
        ax.set_xscale("log", base=base)
    if "y" in log:
        ax.set_yscale("log")
    if xticks is not None:
        ax.set_xticks(xticks, [f"{x:,}" for x in xticks])
        ax.minorticks_off()
    if len(curves) > 1:
        ax.legend()
    return ax
