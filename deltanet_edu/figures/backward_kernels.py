"""Pictures of chapter 12: a loss that only seems to learn, who stores what, bytes, rounding, and measured times."""

from .kernels import NOTE
from .style import array, colors, look, subplots


def losses(curves):
    """Training losses, step by step. curves: {name: losses}."""
    figure, ax = subplots("Line plot of a layer's loss while it is trained, with and without a gradient through its "
                          "memory.", figsize=(6.2, 3.0))
    for (name, y), color in zip(curves.items(), ("blue", "red", "green")):
        ax.plot(array(y), label=name, **look(color, len(y)))
    ax.set(xlabel="step", ylabel="loss", yscale="log")
    ax.set_xticks(range(0, max(map(len, curves.values())), 5))
    ax.legend()
    return figure


def stores(launch):
    """Which program of one launch has stored which tile of S and of dS'. launch: a Launch of a Trace, of one head."""
    panels = [("S, the memory that enters", "states_ptr", colors.red, 1),
              ("dS', the gradient of the one that leaves", "d_states_ptr", colors.green, -1)]
    told, found = [], []
    for title, name, color, way in panels:
        by = launch.tensors[name].stored_by[:, 0, :, 0].T                # (V, N)
        tiles = [row for v, row in enumerate(by.tolist()) if v == 0 or row != by[v - 1].tolist()]
        found.append(tiles)
        stored = "; ".join(f"tile {n + 1} by program {row[0]}" for n, row in enumerate(tiles))
        told.append(f"{title}, in all chunks: {stored}")
    alt = ("Two grids, one column a chunk, one row a tile of the memory, each cell with the number of the program that "
           f"stored it. {'. '.join(told)}. Arrows: S from left to right, dS' from right to left.")
    figure, axes = subplots(alt, 1, 2, figsize=(8.4, 2.3))
    for ax, (title, _, color, way), tiles in zip(axes, panels, found):
        draw_tiles(ax, tiles, color, way)
        ax.set_title(title, fontsize=10.5)
    return figure


def draw_tiles(ax, tiles, color, way):
    """A grid of cells with numbers, and an arrow below it."""
    from matplotlib.patches import Rectangle

    N, rows = len(tiles[0]), len(tiles)
    for r, row in enumerate(tiles):
        for n, program in enumerate(row):
            ax.add_patch(Rectangle((n, r), 0.94, 0.9, facecolor=color, edgecolor=colors.paper))
            ax.text(n + 0.47, r + 0.45, f"program {program}", ha="center", va="center", color=colors.paper, fontsize=8)
    ends = (0, N) if way > 0 else (N, 0)
    ax.annotate("", (ends[1], rows + 0.3), (ends[0], rows + 0.3), arrowprops=dict(arrowstyle="->", color=colors.ink))
    ax.text(N / 2, rows + 0.45, "chunks, in the order of the loop", ha="center", va="top", fontsize=9)
    ax.set(xlim=(-0.1, N + 0.1), ylim=(rows + 0.95, -0.1))
    ax.axis("off")


def bytes_held(bars):
    """Horizontal bars of bytes per token and head that are held for the backward pass. bars: {name: bytes}."""
    told = "; ".join(f"{name}: {value:,.0f}" for name, value in bars.items())
    figure, ax = subplots(f"Horizontal bars, bytes per token and head held for the backward pass. {told}.",
                          figsize=(7.2, 0.5 * len(bars) + 0.9))
    top = max(bars.values())
    for i, (name, value) in enumerate(bars.items()):
        color = colors.delta if "kernels" in name else colors.light
        ax.barh(i, value, 0.62, color=color, edgecolor=colors.ink, linewidth=0.6)
        ax.text(value + 0.01 * top, i, f"{value:,.0f}", va="center", fontsize=9.5)
    ax.set_yticks(range(len(bars)), list(bars))
    ax.set(xlim=(0, 1.14 * top), ylim=(len(bars) - 0.4, -0.6), xlabel="bytes per token and head")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure


def rounding(curves):
    """Relative error of dS against the number of chunks it has come through. curves: {what is rounded: errors}."""
    figure, ax = subplots("Line plot of the relative error of the memory's gradient against the number of chunks "
                          "behind it.", figsize=(6.4, 3.2))
    for (name, y), color in zip(curves.items(), ("red", "blue", "green")):
        ax.plot(range(1, len(y) + 1), array(y), label=name, **look(color, len(y)))
    ax.set(xlabel="chunks, from the last one back", ylabel="relative error of dS", yscale="log")
    ax.set_xscale("log", base=2)
    ticks = [2**n for n in range(0, 12, 2) if 2**n <= max(len(y) for y in curves.values())]
    ax.set_xticks(ticks, [str(n) for n in ticks])
    low, high = ax.get_ylim()
    marks = [m * 10.0**n for n in range(-6, 1) for m in (1, 2, 5) if low < m * 10.0**n < high]
    ax.set_yticks(marks, [f"{mark:g}" for mark in marks])
    ax.minorticks_off()
    ax.legend()
    return figure


def backward_times(times, note):
    """Bars of forward and backward passes. times: {shape: {name: (forward, backward)}}, ns per token and head."""
    names = list(next(iter(times.values())))
    told = []
    for shape, row in times.items():
        told.append(f"{shape}: " + ", ".join(f"{name} {f:.2f} and {b:.2f}" for name, (f, b) in row.items()) + ".")
    alt = f"Horizontal bars of a forward and a backward part, in ns per token and head. {' '.join(told)}"
    figure, ax = subplots(alt, figsize=(8.2, 0.9 + 0.62 * len(times)))
    height, shown = 0.76 / len(names), (colors.delta, colors.gray, colors.orange)
    for i, row in enumerate(times.values()):
        for j, ((name, (f, b)), color) in enumerate(zip(row.items(), shown)):
            y = i + (j - (len(names) - 1) / 2) * height
            ax.barh(y, f, 0.9 * height, color=color, alpha=0.55)
            ax.barh(y, b, 0.9 * height, left=f, color=color, label=name if i == 0 else None)
            ax.text(f + b, y, f" {b / f:.1f}", va="center", fontsize=8.5)
    ax.set_yticks(range(len(times)), list(times))
    ax.set(ylim=(len(times) - 0.45, -0.55),
           xlabel="ns per token and head: pale forward, full backward, and how many times as long")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="upper right")
    figure.supxlabel(note, **NOTE)
    return figure
