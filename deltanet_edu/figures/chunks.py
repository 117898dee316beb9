"""Pictures of chapter 7: two forms in time, the causal triangle in chunks, what C costs, and the rounds of a scan."""

import numpy as np

from .lines import lines
from .style import colors, look, subplots


def two_forms(lengths, loop, once):
    """Milliseconds of the loop and of the one product; the thin line is in proportion to T, through the last point."""
    curves = {"one token at a time": (lengths, loop), "all at once": (lengths, once)}
    ax = lines(curves, xlabel="tokens T", ylabel="milliseconds", looks=("red", "green"), log="xy", xticks=lengths,
               title="Two forms of linear attention on this machine",
               alt="Line plot: the time of the loop grows in proportion to T, that of one product with T².")
    straight = [loop[-1] * T / lengths[-1] for T in lengths]
    ax.plot(lengths, straight, color=colors.ink, lw=0.9, zorder=1, label="in proportion to T")
    ax.legend()
    return ax.figure


def triangle(T, C):
    """The (T, T) causal triangle cut into chunks of C: products on the diagonal, the rest arrives in the state."""
    from matplotlib.patches import Patch, Rectangle

    figure, ax = subplots(
        f"A triangle of cells, {T} tokens that read by {T} that write, cut into chunks of {C}. The {T // C} small "
        f"triangles on the diagonal, {T * (C + 1) // 2} cells, are computed within a chunk as tril(Q Kᵀ) V. All cells "
        "to their left, hatched, come from earlier chunks as Q Sᵀ.", figsize=(4.6, 4.6))
    kinds = {True: dict(facecolor=colors.blue, edgecolor=colors.paper),
             False: dict(facecolor="#f6dfb8", edgecolor=colors.orange, hatch="///", linewidth=0)}
    for t in range(T):
        for i in range(t + 1):
            ax.add_patch(Rectangle((i, t), 1, 1, **kinds[t // C == i // C]))
    for c in range(C, T, C):
        ax.axhline(c, color=colors.ink, linewidth=0.8)
        ax.axvline(c, color=colors.ink, linewidth=0.8)
    ax.legend(handles=[Patch(**kinds[True], label="within the chunk: tril(Q Kᵀ) V"),
                       Patch(**kinds[False], label="from earlier chunks: Q Sᵀ")],
              loc="upper right", frameon=True, facecolor=colors.paper, edgecolor="none", framealpha=1)
    ax.set(xlim=(0, T), ylim=(T, 0), aspect="equal", xlabel="token i that writes", ylabel="token t that reads")
    ax.set_xticks(np.arange(0, T + 1, C))
    ax.set_yticks(np.arange(0, T + 1, C))
    ax.grid(False)
    return figure


def cost(sizes, work, formula, spent, loop, once, T):
    """Work and time against the chunk length. work, formula: million FLOPs; spent, loop, once: milliseconds."""
    figure, (left, right) = subplots("Two line plots over the chunk length.", 1, 2, figsize=(8.4, 3.4))
    left.plot(sizes, work, label="executed", **look("blue"))
    left.plot(sizes, formula, label="equation 7.4", **look("gray"))
    right.plot(sizes, spent, label="chunkwise", **look("blue"))
    for y, name, color in ((loop, "one token at a time", "red"), (once, "all at once", "green")):
        right.plot(sizes, [y] * len(sizes), label=name, **{**look(color), "marker": ""})
    left.set(ylabel="million FLOPs", title="Work")
    right.set(ylabel="milliseconds", title=f"Time on this machine, T = {T:,}")
    for ax in (left, right):
        ax.set(xlabel="chunk length C", yscale="log")
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes[::2], sizes[::2])
        ax.minorticks_off()
        ax.legend()
    return figure


def rounds(T):
    """Hillis and Steele's scan of T maps: a line for each composition, and in each entry the tokens it stands for."""
    levels = int(np.ceil(np.log2(T)))
    figure, ax = subplots(
        f"Diagram of a scan over {T} tokens in {levels} rounds. In round n each entry is composed with the one 2ⁿ⁻¹ "
        "places before it, so that it stands for twice as many tokens. In the end every entry reaches back to token 1.",
        figsize=(8, 1.0 + 0.95 * levels))
    for level in range(levels + 1):
        for t in range(T):
            first = max(0, t - 2**level + 1)
            frame = dict(facecolor="#d6ecdf", edgecolor=colors.green, linewidth=1.6) if first == 0 else dict(
                facecolor=colors.paper, edgecolor=colors.gray, linewidth=0.8)
            ax.text(t, -level, str(t + 1) if first == t else f"{first + 1}–{t + 1}", ha="center", va="center",
                    fontsize=10, zorder=3, bbox=dict(boxstyle="round,pad=0.25", **frame))
            if level < levels:
                ax.plot([t, t], [-level, -level - 1], color=colors.light, linewidth=1, zorder=0)
                if t + 2**level < T:
                    ax.plot([t, t + 2**level], [-level, -level - 1], color=colors.blue, linewidth=1, zorder=1)
    ax.set(xlim=(-0.7, T - 0.3), ylim=(-levels - 0.5, 0.5))
    ax.set_yticks([-n for n in range(levels + 1)], ["tokens"] + [f"round {n}" for n in range(1, levels + 1)])
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.tick_params(length=0)
    return figure
