"""Pictures of chapter 8: where a shortcut goes wrong, who waits for whom, weights of attention, what a chunk costs."""

import numpy as np

from .boxes import box, column_heads, time_axis
from .explore import explore
from .style import array, colors, look, subplots


def by_position(error, C):
    """Error of each token's output, error: (T,), with the borders between chunks of C tokens. Returns the figure."""
    error = array(error)
    parts = np.split(error, range(C, len(error), C))
    largest = ", ".join(f"{part.max():.2g} in chunk {n + 1}" for n, part in enumerate(parts))
    figure, ax = subplots(f"Bars: the error of each token's output, chunk by chunk. Largest: {largest}.",
                          figsize=(7.2, 2.6))
    ax.bar(np.arange(1, len(error) + 1), error, 0.8, color=colors.red)
    for n, border in enumerate(range(0, len(error), C)):
        ax.axvline(border + 0.5, color=colors.gray, lw=0.8)
        ax.text(border + C / 2 + 0.5, 1.14 * error.max(), f"chunk {n + 1}", ha="center", va="center")
    ax.set(xlim=(0.5, len(error) + 0.5), ylim=(0, 1.25 * error.max()), xlabel="token t",
           ylabel="relative error of $o_t$")
    ax.grid(axis="x", visible=False)
    return figure


def phases(N=6):
    """Who waits for whom in the chunkwise form: N chunks at once, then one after another, then at once again."""
    figure, ax = subplots(
        f"Diagram of the chunkwise form over {N} chunks, one row a chunk, time from left to right. First all chunks at "
        "once compute T, W and U. Then a staircase: X and the next state, one chunk after another. Then all chunks at "
        "once compute their outputs.", figsize=(8.4, 0.48 * N + 1.0))
    end = 3.2 + 1.0 * N
    for n in range(N):
        box(ax, 0, n, 3.0, "$T,\\; W,\\; U$", colors.delta, 0.72)
        box(ax, 3.1 + n, n, 0.9, "$X,\\; S'$", colors.red, 0.72)
        box(ax, end, n, 2.2, "$O$", colors.delta, 0.72)
        ax.text(-0.15, n + 0.5, f"chunk {n + 1}", ha="right", va="center", fontsize=9.5)
        if n:
            ax.annotate("", (3.1 + n + 0.1, n + 0.14), (3.1 + n - 0.1, n - 0.14),
                        arrowprops=dict(arrowstyle="->", color=colors.red, lw=1.4))
    column_heads(ax, {1.5: "within the chunk\nall at once", 3.1 + N / 2: "across chunks\none after another",
                      end + 1.1: "store\nall at once"})
    time_axis(ax, end + 2.2, N)
    return figure


def pipeline(C=8, T=32, d=64):
    """T tokens in chunks of C: left what waits for what, right what it costs, the FLOPs of eq. 8.9 for width d.

    A box is as wide as its longest chain of steps that wait for each other: C rows of a solve, one step for each chunk.
    """
    N = -(-T // C)
    figure, (left, right) = subplots(
        f"{T} tokens in chunks of {C}. Left: {N} rows, one a chunk; each first solves, {C} steps in a row, all chunks "
        f"at once; then a staircase of {N} steps hands the memory from chunk to chunk. {C + N} steps in all. Right: "
        f"FLOPs per token against C, with a dot at C = {C}.", 1, 2, figsize=(8.6, 3.4), width_ratios=(1.7, 1))
    for n in range(N):
        left.barh(n, C, 0.8, color=colors.delta)
        left.barh(n, 1, 0.8, left=C + n, color=colors.red, hatch="xx", edgecolor=colors.paper, linewidth=0)
    left.set(xlim=(0, T + 2), ylim=(max(N, 4) - 0.4, -1.4), yticks=[], xlabel="steps that wait for each other",
             title=f"C = {C}: {C} + {N} steps")
    left.text(C / 2, -0.95, "solve", ha="center", color=colors.delta)
    left.text(C + N / 2, -0.95, "hand on", ha="center", color=colors.red)
    left.grid(axis="y", visible=False)
    left.spines["left"].set_visible(False)
    sizes = 2.0 ** np.arange(int(np.log2(T)) + 1)
    right.plot(sizes, 6 * d * d + 10 * d * sizes + sizes**2, color=colors.delta)
    right.plot(C, 6 * d * d + 10 * d * C + C * C, "o", color=colors.ink, ms=8)
    right.set(title=f"Work, heads of width {d}", xlabel="chunk length C", ylabel="FLOPs per token", ylim=(0, None))
    right.set_xscale("log", base=2)
    right.set_xticks(sizes, [f"{C:g}" for C in sizes])
    return figure


def explore_pipeline(T=32):
    """`pipeline` with a slider for the chunk length."""
    return explore(lambda C: pipeline(C, T), C=("chunk length C", [2**i for i in range(T.bit_length())], 8))


def weights(matrices, *, written=None, read=None, limit=None):
    """Matrices of attention weights side by side: {title: (T, T)}, lower triangular. Blue, with a dash, is negative.

    written, read: labels of the columns and the rows; numbers if None. limit: the weight that gets full color.
    """
    matrices = {title: array(A) for title, A in matrices.items()}
    told = "; ".join(f"{title}: {(np.tril(A) < -1e-9).sum()} of {len(A) * (len(A) + 1) // 2} weights negative, "
                     f"from {A.min():.2g} to {A.max():.2g}" for title, A in matrices.items())
    figure, axes = subplots(f"Lower triangular heat maps of attention weights, side by side. {told}.",
                            1, len(matrices), figsize=(3.15 * len(matrices), 3.3), squeeze=False)
    limit = limit or max(np.abs(A).max() for A in matrices.values())
    for ax, (title, A) in zip(axes[0], matrices.items()):
        T, above = len(A), np.triu(np.ones_like(A, dtype=bool), 1)
        ax.imshow(np.ma.masked_array(A, above), cmap="RdBu_r", vmin=-limit, vmax=limit)
        t, i = np.nonzero(A < -0.04 * limit)
        ax.scatter(i, t, s=400 / T, marker="_", color=colors.ink, linewidths=0.8)
        ax.grid(False)
        ax.set(title=title, xlabel="written by token i")
        ax.set_xticks(*((range(T), written) if written else ([0, T - 1], ["1", str(T)])))
        ax.set_yticks(*((range(T), read) if read else ([0, T - 1], ["1", str(T)])))
        ax.tick_params(length=0)
    axes[0, 0].set_ylabel("read by token t")
    figure.colorbar(axes[0, -1].images[0], ax=list(axes[0]), shrink=0.75, label="weight", extend="both")
    return figure


def cost(sizes, parts, milliseconds, loop):
    """Work and time against the chunk length, side by side on logarithmic axes.

    Args:
        sizes: chunk lengths of the left panel.
        parts: {name: FLOPs per token for each size}; their sum is drawn as well.
        milliseconds: {name: {C: milliseconds}}, lines of the right panel.
        loop: milliseconds of the token loop, a dashed line.
    """
    from matplotlib.ticker import ScalarFormatter

    figure, (left, right) = subplots("Two line plots over the chunk length.", 1, 2, figsize=(9.2, 3.5))
    for (name, y), color in zip(parts.items(), ("gray", "orange", "red")):
        left.plot(sizes, array(y), label=name, **{**look(color), "marker": ""})
    left.plot(sizes, sum(array(y) for y in parts.values()), color=colors.ink, lw=2.4, label="sum")
    left.set(title="work", ylabel="FLOPs per token", ylim=(1e2, None))
    for (name, times), color in zip(milliseconds.items(), ("delta", "green")):
        right.plot(list(times), list(times.values()), label=name, **look(color))
    right.axhline(loop, color=colors.ink, ls="--", label="token loop")
    right.set(title="time", ylabel="milliseconds")
    for ax in (left, right):
        ax.set(xlabel="chunk length C", yscale="log")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.legend(loc="best")
    right.yaxis.set_major_formatter(ScalarFormatter())
    right.yaxis.set_minor_formatter("")
    low, high = right.get_ylim()
    right.set_yticks([y for y in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low <= y <= high])
    return figure
