"""What the kernels' measurements look like: against one token at a time, the library, and what the hardware allows.

Plain numbers come in; `bench/report.py` works them out.
"""

from . import card
from .style import close, colors, look, style, subplots

PASSES = {"forward": "forward", "both": "forward + backward"}
WHITE = dict(facecolor="white", edgecolor="none", pad=0.8)               # behind labels, over the grid
NOTE = dict(fontsize=8, color=colors.gray, x=0.01, ha="left")


def thousands(n):
    return f"{n // 1024}K" if n >= 1024 else str(n)


def speedup_by_length(curves, note=""):
    """{head width: {T: times faster}}: one line a width, both axes logarithmic. Returns the figure."""
    from matplotlib.ticker import NullFormatter

    figure, ax = subplots("Line plot of how many times faster chunks are than one token at a time.", figsize=(6.4, 3.6))
    for (width, curve), color in zip(sorted(curves.items()), ("green", "orange", "delta")):
        lengths = sorted(curve)
        ax.plot(lengths, [curve[T] for T in lengths], clip_on=False, **look(color),
                label=f"K = {width}: {curve[lengths[-1]]:.0f}× at {thousands(lengths[-1])}")
    values = [y for curve in curves.values() for y in curve.values()]
    ticks = sorted({T for curve in curves.values() for T in curve})
    ax.set(xscale="log", yscale="log", xlabel="length of the sequence T", ylabel="times faster",
           ylim=(min(1, *values), 1.2 * max(values)), title="Chunkwise against one token at a time, forward + backward")
    ax.set_xticks(ticks, [thousands(T) for T in ticks])
    marks = [y for y in (1, 2, 5, 10, 20, 50, 100, 200) if y <= 1.2 * max(values)]
    ax.set_yticks(marks, [f"{y}×" for y in marks])
    lines = sorted(ax.get_lines(), key=lambda line: -line.get_ydata()[-1])
    ax.legend(handles=lines, loc="lower right")          # in the order of their ends, which lie too close for labels
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(which="minor", length=0)
    figure.supxlabel(note, **NOTE)
    return figure


def shape_axes(labels, title, note, told):
    """Two panels with a row for each shape "B,T,H,K". told: {pass: words for each shape}."""
    said = " ".join(f"{PASSES[key]}: {'; '.join(found)}." for key, found in told.items())
    alt = f"Horizontal bars of times for {len(labels)} shapes. {title}, {said}"
    figure, axes = subplots(alt, 1, 2, figsize=(8.4, 1.45 + 0.47 * len(labels)), sharey=True)
    names = []
    for label in labels:
        B, T, H, K = label.split(",")
        names.append(f"{B} × {int(T):,}, {H} × {K}")
    axes[0].set_yticks(range(len(labels)), names)
    axes[0].set_ylim(len(labels) - 0.45, -0.55)
    axes[0].annotate("sequences × tokens, heads × width", (0, 1), xycoords="axes fraction", xytext=(-14, 9),
                     textcoords="offset points", ha="right", fontsize=8, color=colors.gray)
    for ax, name in zip(axes, PASSES.values()):
        ax.set(xlabel="ns per token and head")
        ax.set_title(name, fontsize=10.5)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5)
    figure.supxlabel(note, **NOTE)
    return figure, axes


def against_library(times, note="", library="flash-linear-attention"):
    """{shape: {"forward": (ours, theirs), "both": ...}} in ns per token and head: two bars a shape and their ratio."""
    told = {key: [ratio(*row[key]) for row in times.values()] for key in PASSES}
    figure, axes = shape_axes(list(times), f"deltanet_edu against {library}", note, told)
    for ax, key in zip(axes, PASSES):
        pairs = [row[key] for row in times.values()]
        top = max(theirs for _, theirs in pairs)
        for i, (ours, theirs) in enumerate(pairs):
            ax.barh(i - 0.19, theirs, 0.34, color=colors.light, label=library if i == 0 else None)
            ax.barh(i + 0.19, ours, 0.34, color=colors.delta, label="deltanet_edu" if i == 0 else None)
            ax.text(ours + 0.015 * top, i + 0.2, ratio(ours, theirs), va="center", fontsize=9, color=colors.delta,
                    bbox=WHITE)
        ax.set_xlim(0, 1.12 * max(top, *(ours for ours, _ in pairs)))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="upper right", ncols=2, borderaxespad=0.1)
    return figure


def ratio(ours, theirs):
    """Two times compared, in words."""
    if round(max(theirs / ours, ours / theirs), 1) == 1:
        return "as fast"
    return f"{theirs / ours:.1f}× faster" if theirs > ours else f"{ours / theirs:.1f}× slower"


def against_floor(times, note=""):
    """{shape: {"forward": (ours, floor, "bytes" or "FLOPs"), "both": ...}}: each time, and how much of it the hardware
    asks for at least: to move every byte once, or to do the products, whichever takes longer. Returns the figure."""
    told = {key: [f"{row[key][0] / row[key][1]:.1f} × floor of {row[key][2]}" for row in times.values()]
            for key in PASSES}
    figure, axes = shape_axes(list(times), "Measured time and its floor", note, told)
    tones = {"bytes": colors.orange, "FLOPs": colors.green}
    for ax, key in zip(axes, PASSES):
        rows = [row[key] for row in times.values()]
        top = max(ours for ours, _, _ in rows)
        for i, (ours, floor, bound) in enumerate(rows):
            ax.barh(i, ours, 0.56, color=colors.sky, alpha=0.45)
            ax.barh(i, floor, 0.56, color=tones[bound])
            ax.text(ours + 0.015 * top, i, f"{ours / floor:.1f} × floor", va="center", fontsize=9, bbox=WHITE)
        ax.set_xlim(0, 1.3 * top)
    axes[1].bar(0, 0, color=colors.sky, alpha=0.45, label="measured")
    found = {row[key][2] for row in times.values() for key in PASSES}
    for bound in (bound for bound in tones if bound in found):
        axes[1].bar(0, 0, color=tones[bound], label=f"floor: {bound}")
    figure.legend(loc="upper right", ncols=3, borderaxespad=0.1, columnspacing=1.2)
    return figure


def save(figure, path):
    """As the card that a notebook shows; the same bytes every time."""
    from ..records import whole_file

    picture, _ = card.png(figure)
    close(figure)
    with whole_file(path, "wb") as file:
        file.write(picture)


__all__ = ["against_floor", "against_library", "save", "speedup_by_length", "style"]
