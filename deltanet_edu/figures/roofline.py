"""Pictures of chapter 3: the loop unrolled, how gradients travel, and what a machine's two roofs have to do with it."""

import numpy as np

from .style import array, colors, look, subplots


def unrolled(T=4):
    """The loop drawn out in time: memories from left to right, their gradients from right to left."""
    from matplotlib.patches import Rectangle

    figure, ax = subplots(
        f"Diagram of the loop over {T} tokens. From left to right the memories S₀ to S{T}, each from the one before by "
        "its transition M and a write of k, v and β; each gives an output. From right to left their gradients, through "
        "the same transitions.", figsize=(8.0, 3.1))
    forward, backward = (dict(arrowstyle="-|>", color=c, lw=1.6, ls=ls, shrinkA=0, shrinkB=0)
                         for c, ls in ((colors.delta, "-"), (colors.red, "--")))
    for t in range(T + 1):
        x = 2 * t
        ax.add_patch(Rectangle((x - 0.42, -0.42), 0.84, 0.84, facecolor=colors.paper, edgecolor=colors.delta, lw=1.6,
                               zorder=2))
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
    """{name: (n,)} the size of the gradient, n tokens before the one it starts from; the thin line is `bound`."""
    figure, ax = subplots("Line plot of the size of a gradient as it travels back.")
    for (name, y), color in zip(curves.items(), ("red", "gray", "blue", "green", "purple")):
        ax.plot(array(y), label=name, **look(color, len(y)))
    if bound is not None:
        ax.axhline(bound, color=colors.ink, lw=0.8, zorder=1)
    ax.set(yscale="log", xlabel="tokens back", ylabel="size of the gradient of S", ylim=(2e-2, 1e3))
    ax.legend(loc="upper left", fontsize=8.5)
    return figure


def per_step(curves, title, *, unit):
    """Time of a step over the size of all memories. curves: {name: (numbers in S, time)}; dotted: if work decided."""
    figure, ax = subplots("Log-log plot of the time of one step of the loop.", figsize=(6.4, 3.4))
    for (name, (x, y)), color in zip(curves.items(), ("delta", "orange")):
        chosen = look(color, len(x))
        if len(curves) == 1:                                             # a cloud of shapes, not a curve
            chosen["linestyle"] = ""
        ax.plot(x, y, label=name, **chosen)
    x, y = (np.concatenate([array(c[n]) for c in curves.values()]) for n in (0, 1))
    ends = np.array([x.min(), x.max()])
    ax.plot(ends, y[x.argmax()] * ends / x.max(), ":", color=colors.gray, label="if only work counted")
    ax.set(xscale="log", yscale="log", xlabel="numbers in all memories, B·H·V·K", ylabel=f"{unit} per step",
           title=title)
    ax.set_ylim(bottom=y.min() / 12)
    ax.legend(loc="lower right", fontsize=8.5)
    return figure


def roofs(flops, bandwidth, points, title, *, lines=(), unit=1e9, name="GFLOP/s", places=None, limits=(0.1, 1000)):
    """The two roofs of a machine and what runs under them. Returns the figure.

    Args:
        flops, bandwidth: the level roof, FLOP/s, and the slope of the other one, byte/s.
        points: {label: (FLOPs per byte, FLOP/s)}.
        lines: (FLOPs per byte, label) of things not timed here, drawn as verticals.
        places: {label: (dx, dy) in points} where a label is in the way.
    """
    ridge = flops / bandwidth
    told = "; ".join(f"{label}: {speed / unit:.3g} {name} at {intensity:.3g} FLOPs per byte, where at most "
                     f"{min(flops, intensity * bandwidth) / unit:.3g} are possible"
                     for label, (intensity, speed) in points.items())
    rises = f"a roof that rises with the FLOPs per byte and is level at {flops / unit:.3g} {name} from {ridge:.3g} on"
    figure, ax = subplots(f"Roofline: {rises}. {told}.", figsize=(6.4, 3.6))
    x = np.geomspace(*limits, 200)
    ax.plot(x, np.minimum(flops, x * bandwidth) / unit, color=colors.ink)
    ax.plot(ridge, flops / unit, "o", color=colors.ink, ms=4)
    ax.annotate(f"corner at {ridge:.3g}", (ridge, flops / unit), xytext=(0, 7), textcoords="offset points", ha="center",
                fontsize=8.5)
    for at, label in lines:
        ax.plot([at, at], [0, at * bandwidth / unit], ":", color=colors.gray)
        ax.text(at * 1.15, 0.03, label, transform=ax.get_xaxis_transform(), fontsize=8.5, color=colors.gray,
                va="bottom")
    for (label, (intensity, speed)), color in zip(points.items(), ("red", "orange", "blue", "green")):
        ax.plot(intensity, speed / unit, **{**look(color), "markersize": 7})
        ax.annotate(label, (intensity, speed / unit), xytext=(places or {}).get(label, (8, -4)),
                    textcoords="offset points", fontsize=9)
    ax.set(xscale="log", yscale="log", xlim=limits, xlabel="FLOPs per byte moved", ylabel=name, title=title)
    ax.set_ylim(min(speed for _, speed in points.values()) / unit / 2, 3 * flops / unit)
    return figure


def decoding(T, cache, memory, seconds):
    """Generation token by token. Left: what is kept, MiB. Right: time of a step. seconds: {name: (T,)}, in seconds."""
    figure, (left, right) = subplots("Two line plots over the tokens so far.", 1, 2, figsize=(8.0, 3.1))
    left.plot(T, cache, label="keys and values of softmax attention", **look("softmax"))
    left.plot(T, memory, label="memory of DeltaNet", **look("delta"))
    left.set(ylabel="MiB, one sequence", title="What is kept", ylim=(min(memory) / 30, 3 * max(cache)))
    for name, role in (("softmax attention", "softmax"), ("DeltaNet", "delta")):
        right.plot(T, 1e6 * array(seconds[name]), label=name, **look(role))
    right.set(ylabel="microseconds per token", title="What a token costs, on this CPU")
    right.legend(loc="upper left", fontsize=8.5)
    left.legend(loc="lower right", fontsize=8.5)
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xlabel="tokens so far")
    return figure
