"""Pictures of chapter 13: clocks and queues, where bytes go, which kernel takes how long, and who wins where."""

import numpy as np

from .explore import explore
from .style import array, colors, look, subplots

LANES = {"host": 1, "GPU": 0}


def clocks(rows, peak):
    """{n: {clock: milliseconds}} of n x n x n products, as the TFLOP/s that each clock means; `peak` of the chip."""
    sizes = sorted(map(int, rows))
    names = list(next(iter(rows.values())))
    speed = {name: [2e-9 * n**3 / rows[str(n) if str(n) in rows else n][name] for n in sizes] for name in names}
    told = "; ".join(f"{name}: {y[-1]:,.0f} TFLOP/s at {sizes[-1]:,}" for name, y in speed.items())
    figure, ax = subplots(f"Line plot of the speed of a matrix product by three clocks. {told}. The chip does "
                          f"{peak:,.0f}.", figsize=(5.4, 2.8))
    for (name, y), color in zip(speed.items(), ("red", "orange", "blue")):
        ax.plot(sizes, y, label=name, **look(color, len(y)))
    ax.axhline(peak, color=colors.ink, lw=0.9)
    ax.annotate("the roof, as measured", (sizes[0], peak), xytext=(0, -11), textcoords="offset points", fontsize=8.5)
    ax.set(yscale="log", xlabel="matrices of n × n", ylabel="TFLOP/s it seems to do")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
    ax.minorticks_off()
    ax.legend(loc="upper left", fontsize=8.5)
    return figure


def queue(times, launch, graph=False):
    """What host and GPU do when: `times` of kernels (µs), `launch` of each on the host; or all by one launch."""
    launches = [launch] if graph else [launch] * len(times)
    starts, host, end, bars = [], 0.0, 0.0, []
    for n, t in enumerate(times):
        if n < len(launches):
            starts.append(host)
            host += launches[n]
        begin = max(end, host)
        end = begin + t
        bars.append((begin, t))
    idle = end - sum(times)
    figure, ax = subplots(
        f"Two lanes over time. Host: {len(launches)} launch{'es' * (len(launches) > 1)} of {launch:g} microseconds. "
        f"GPU: {len(times)} kernels, done after {end:g} microseconds, of which it waited {idle:g}.", figsize=(8.0, 1.9))
    for start in starts:
        ax.barh(LANES["host"], launch, 0.6, start, color=colors.orange, edgecolor=colors.paper, hatch="//")
    for begin, t in bars:
        ax.barh(LANES["GPU"], t, 0.6, begin, color=colors.delta, edgecolor=colors.paper)
    ax.set_yticks(list(LANES.values()), list(LANES))
    ax.set(xlabel="µs", ylim=(-0.5, 1.5), xlim=(0, max(end, host) * 1.04),
           title=f"done after {end:g} µs; the GPU waited {idle:g}")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure


def explore_queue(kernels=6):
    """`queue` with sliders: how long a kernel runs, and how long a launch takes."""
    return explore(lambda kernel, launch: queue([kernel] * kernels, launch),
                   kernel=("a kernel runs, µs", [2, 5, 10, 20, 40, 80], 5),
                   launch=("a launch takes, µs", [2, 5, 10, 20, 40], 20))


def single_calls(times, unit="ms"):
    """{how: times of single calls in order}: every call as a dot, and where minimum, median and mean lie."""
    figure, axes = subplots(
        "Dots: the times of single calls in order. " + " ".join(
            f"{name}: minimum {min(t):.3g}, median {np.median(t):.3g}, mean {np.mean(t):.3g}, maximum {max(t):.3g} "
            f"{unit}."
            for name, t in times.items()), 1, len(times), figsize=(7.2, 2.9), squeeze=False, sharey=True)
    for ax, (name, t) in zip(axes[0], times.items()):
        ax.plot(array(t), ".", color=colors.sky, ms=4)
        for what, y, color, dash in (("median", np.median(t), colors.ink, "-"), ("mean", np.mean(t), colors.red, "--"),
                                     ("minimum", min(t), colors.green, ":")):
            ax.axhline(y, color=color, ls=dash, label=f"{what} {y:.3f}")
        ax.set(title=name, xlabel="call", yscale="log")
        ax.yaxis.get_minor_locator().set_params(subs=(2, 3, 5))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}")
        ax.tick_params(axis="y", which="both", labelsize=8.5)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, handlelength=1.6,
                  columnspacing=1.2)                                     # below: the rare calls lie far above, anywhere
    axes[0, 0].set_ylabel(unit)
    return figure


def moved(ways, floor):
    """{way: {part: bytes a token and head}} as stacked bars; `floor`: what must move."""
    parts = list(dict.fromkeys(part for found in ways.values() for part in found))
    told = "; ".join(f"{way}: {sum(found.values()):,.0f}" for way, found in ways.items())
    figure, ax = subplots(f"Horizontal stacked bars of bytes a token and head. {told}. At least {floor:,.0f} must "
                          f"move.",
                          figsize=(7.4, 0.9 + 0.45 * len(ways)))
    tones = ("blue", "orange", "green", "purple", "gray", "sky", "red")
    hatches = ("", "//", "..", "xx", "--", "\\\\", "++")
    left = np.zeros(len(ways))
    for part, tone, hatch in zip(parts, tones, hatches):
        sizes = array([found.get(part, 0) for found in ways.values()])
        ax.barh(range(len(ways)), sizes, 0.62, left, color=getattr(colors, tone), hatch=hatch, edgecolor=colors.paper,
                linewidth=0.4, label=part)
        left += sizes
    for i, total in enumerate(left):
        ax.text(total + 0.01 * left.max(), i, f"{total:,.0f}", va="center", fontsize=9)
    ax.axvline(floor, color=colors.ink, ls="--", lw=1)
    ax.set_yticks(range(len(ways)), list(ways))
    ax.set(xlabel="bytes a token and head; dashed: what must move", xlim=(0, 1.14 * left.max()))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.legend(fontsize=8, loc="lower right", ncols=2)
    return figure


def by_kernel(rows, note=""):
    """{kernel: (measured, floor)} in nanoseconds a token and head, one bar each, in the order in which they run."""
    told = "; ".join(f"{name} {t:.2f}, floor {floor:.2f}" for name, (t, floor) in rows.items())
    figure, ax = subplots(f"Horizontal bars of ns a token and head, kernel by kernel: {told}.",
                          figsize=(6.4, 1.1 + 0.34 * len(rows)))
    for i, (t, floor) in enumerate(rows.values()):
        ax.barh(i, t, 0.6, color=colors.sky, alpha=0.5, label="measured" if not i else None)
        ax.barh(i, floor, 0.6, fill=False, edgecolor=colors.ink, label="floor of its bytes" if not i else None)
        ax.text(max(t, floor), i, f"  {t / floor:.1f} × floor" if floor else "", va="center", fontsize=8.5)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="ns per token and head", xlim=(0, 1.25 * max(max(pair) for pair in rows.values())))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(fontsize=8.5, loc="upper right")
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
    return figure


def rivals(shapes, floors, note=""):
    """{shape: {who: ns a token and head}}, one row a shape, one mark a rival; {shape: ns} of the floor."""
    names = list(dict.fromkeys(who for row in shapes.values() for who in row))
    told = "; ".join(f"{shape}: " + ", ".join(f"{who} {t:.2g}" for who, t in row.items()) for shape, row in
                     list(shapes.items())[:4])
    figure, ax = subplots(f"Marks for each rival on a logarithmic axis of ns a token and head, by shape. "
                          f"{told}.",
                          figsize=(6.4, 1.3 + 0.27 * len(shapes)))
    for who, color in zip(names, ("blue", "red", "orange", "gray", "purple", "green")):
        points = [(row[who], i) for i, row in enumerate(shapes.values()) if who in row]
        chosen = look(color) | {"linestyle": "", "markersize": 7}
        ax.plot([x for x, _ in points], [i for _, i in points], label=who, **chosen)
    for i, shape in enumerate(shapes):
        ax.plot([floors[shape]] * 2, [i - 0.3, i + 0.3], color=colors.ink, lw=1.4,
                label="_floor" if i else "_floor of its bytes or products")
    ax.set_yticks(range(len(shapes)), [spelled(shape) for shape in shapes])
    ax.set(xscale="log", xlabel="ns per token and head; upright lines: the floor")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    figure.legend(fontsize=8.5, loc="outside upper left", ncols=3)
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
    return figure


def spelled(label):
    """B × T, H × K of "B,T,H,K"."""
    B, T, H, K = label.split(",")
    return f"{B} × {int(T):,}, {H} × {K}"


def segments_at_work(chunks=8, P=4):
    """Who works when: one sweep over all chunks, and P segments: maps side by side, a chain, sweeps side by side."""
    n = -(-chunks // P)
    end = 2 * n + 0.25 * P
    figure, (top, bottom) = subplots(
        f"Two diagrams over time. Whole: one bar of {chunks} chunks. In {P} segments: {P} bars of {n} chunks side by "
        f"side, a short chain of {P} steps, {P} bars of {n} chunks again; done after {end:g} chunks instead of "
        f"{chunks}.",
        2, 1, figsize=(7.2, 2.6), sharex=True, height_ratios=(1, P * 0.75))
    top.barh(0, chunks, 0.7, color=colors.delta, edgecolor=colors.paper)
    for p in range(P):
        for start, width, color, hatch, what in ((0, n, colors.orange, "//", "M and b"),
                                                 (n + 0.25 * p, 0.25, colors.red, "xx", "S ← S M + b"),
                                                 (n + 0.25 * P, n, colors.delta, "", "the sweep")):
            bottom.barh(p, width, 0.7, start, color=color, hatch=hatch, edgecolor=colors.paper,
                        label=what if p == 0 else None)
    for ax, ticks in ((top, ["whole"]), (bottom, [f"segment {p + 1}" for p in range(P)])):
        ax.set_yticks(range(len(ticks)), ticks)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
    bottom.set(xlabel="time, in chunks")
    bottom.legend(fontsize=8.5, loc="lower right")
    return figure
