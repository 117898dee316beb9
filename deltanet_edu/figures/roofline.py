"""Pictures of chapter 3: the loop unrolled, how gradients travel, and what a machine's two roofs have to do with it."""

import numpy as np

from .style import colors


def unrolled(T=4):
    """The loop drawn out in time: memories from left to right, their gradients from right to left. Returns the figure."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8.0, 3.1))
    forward, backward = (dict(arrowstyle="-|>", color=c, lw=1.6, shrinkA=0, shrinkB=0) for c in (colors.delta, colors.red))
    for t in range(T + 1):
        x = 2 * t
        ax.add_patch(plt.Rectangle((x - 0.42, -0.42), 0.84, 0.84, facecolor="white", edgecolor=colors.delta, lw=1.6, zorder=2))
        ax.text(x, 0, f"$S_{t}$", ha="center", va="center", fontsize=12)
        if not t:
            continue
        ax.annotate("", (x - 0.42, 0.12), (x - 1.58, 0.12), arrowprops=forward)
        ax.annotate("", (x - 1.58, -0.12), (x - 0.42, -0.12), arrowprops=backward)
        ax.text(x - 1, 0.27, f"$M_{t}$", ha="center", color=colors.delta)
        ax.text(x - 1, -0.52, f"$M_{t}$", ha="center", color=colors.red)
        ax.annotate("", (x - 0.14, -0.42), (x - 0.14, -1.15), arrowprops=forward)
        ax.text(x, -1.45, f"$k_{t}, v_{t}, \\beta_{t}$", ha="center", va="center")
        ax.annotate("", (x - 0.14, 1.1), (x - 0.14, 0.42), arrowprops=forward)
        ax.annotate("", (x + 0.14, 0.42), (x + 0.14, 1.1), arrowprops=backward)
        ax.text(x, 1.35, f"$o_{t} = s\\,S_{t} q_{t}$", ha="center", va="center")
    ax.set(xlim=(-0.7, 2 * T + 1.1), ylim=(-1.75, 1.65), aspect="equal")
    ax.axis("off")
    return figure


def backward_norms(curves, bound=None):
    """{name: (n,)} the size of the gradient, n tokens before the one it starts from; the dotted line is `bound`."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    for (name, y), color in zip(curves.items(), (colors.red, colors.gray, colors.delta, colors.green, colors.purple)):
        ax.plot(np.asarray(y), color=color, label=name)
    if bound is not None:
        ax.axhline(bound, color=colors.ink, ls=":", lw=1, zorder=1)
    ax.set(yscale="log", xlabel="tokens back", ylabel="size of the gradient of S", ylim=(2e-2, 1e3))
    ax.legend(loc="upper left", fontsize=8.5)
    return figure


def per_step(ax, curves, title, *, unit):
    """Time of one step over the size of all memories together. curves: {name: (numbers in S, time)}; dotted: if work decided."""
    for (name, (x, y)), color in zip(curves.items(), (colors.delta, colors.orange)):
        ax.plot(x, y, "o-" if len(curves) > 1 else "o", color=color, label=name)
    x, y = (np.concatenate([np.asarray(c[n], dtype=float) for c in curves.values()]) for n in (0, 1))
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, y[x.argmax()] * ends / x.max(), ":", color=colors.gray, label="if only work counted")
    ax.set(xscale="log", yscale="log", xlabel="numbers in all memories, B·H·V·K", ylabel=f"{unit} per step", title=title)
    ax.set_ylim(bottom=y.min() / 12)
    ax.legend(loc="lower right", fontsize=8.5)


def roofs(ax, flops, bandwidth, points, title, *, lines=(), unit=1e9, name="GFLOP/s", places=None, limits=(0.1, 1000)):
    """The two roofs of a machine and what runs under them.

    Args:
        flops, bandwidth: the level roof, FLOP/s, and the slope of the other one, byte/s.
        points: {label: (FLOPs per byte, FLOP/s)}.
        lines: (FLOPs per byte, label) of things not timed here, drawn as verticals.
        places: {label: (dx, dy) in points} where a label is in the way.
    """
    x = np.geomspace(*limits, 200)
    ax.plot(x, np.minimum(flops, x * bandwidth) / unit, color=colors.ink)
    ridge = flops / bandwidth
    ax.plot(ridge, flops / unit, "o", color=colors.ink, ms=4)
    ax.annotate(f"corner at {ridge:.3g}", (ridge, flops / unit), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5)
    for at, label in lines:
        ax.plot([at, at], [0, at * bandwidth / unit], ":", color=colors.gray)
        ax.text(at * 1.15, 0.03, label, transform=ax.get_xaxis_transform(), fontsize=8.5, color=colors.gray, va="bottom")
    for (label, (intensity, speed)), color in zip(points.items(), (colors.red, colors.orange, colors.delta, colors.green)):
        ax.plot(intensity, speed / unit, "o", color=color, ms=7)
        ax.annotate(label, (intensity, speed / unit), xytext=(places or {}).get(label, (8, -4)), textcoords="offset points", fontsize=9, color=color)
    ax.set(xscale="log", yscale="log", xlim=limits, xlabel="FLOPs per byte moved", ylabel=name, title=title)
    ax.set_ylim(min(speed for _, speed in points.values()) / unit / 2, 3 * flops / unit)


def decoding(T, cache, memory, seconds):
    """Generation token by token. Left: what must be kept, MiB. Right: time of one step. seconds: {name: (T,)}, in seconds."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.0, 3.1))
    left.plot(T, cache, "o-", color=colors.softmax, label="keys and values of softmax attention")
    left.plot(T, memory, "o-", color=colors.delta, label="memory of DeltaNet")
    left.set(ylabel="MiB, one sequence", title="What is kept", ylim=(min(memory) / 30, 3 * max(cache)), yscale="log")
    for name, color in (("softmax attention", colors.softmax), ("DeltaNet", colors.delta)):
        right.plot(T, 1e6 * np.asarray(seconds[name]), "o-", color=color, label=name)
    right.set(ylabel="microseconds per token", title="What a token costs, on this CPU")
    right.legend(loc="upper left", fontsize=8.5)
    left.legend(loc="lower right", fontsize=8.5)
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xlabel="tokens so far")
    return figure
