"""Pictures of chapter 8: where a shortcut goes wrong, who waits for whom, the weights of attention, and what a chunk costs."""

import numpy as np

from .style import colors


def array(x):
    return np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=float)


def by_position(error, C):
    """Error of each token's output, error: (T,), with the borders between chunks of C tokens. Returns the figure."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7.2, 2.6))
    error = array(error)
    ax.bar(np.arange(1, len(error) + 1), error, 0.8, color=colors.red)
    for n, border in enumerate(range(0, len(error), C)):
        ax.axvline(border + 0.5, color=colors.gray, lw=0.8)
        ax.text(border + C / 2 + 0.5, 1.14 * error.max(), f"chunk {n + 1}", ha="center", va="center", color=colors.ink)
    ax.set(xlim=(0.5, len(error) + 0.5), ylim=(0, 1.25 * error.max()), xlabel="token t", ylabel="relative error of $o_t$")
    ax.grid(axis="x", visible=False)
    return figure


def phases(N=6):
    """Who waits for whom in the chunkwise form: N chunks at once, then one after another, then at once again."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8.4, 0.48 * N + 1.0))

    def box(x, row, width, text, color):
        ax.add_patch(plt.Rectangle((x, row + 0.14), width, 0.72, facecolor=color, edgecolor="white"))
        ax.text(x + width / 2, row + 0.5, text, ha="center", va="center", color="white", fontsize=9.5)

    end = 3.2 + 1.0 * N
    for n in range(N):
        box(0, n, 3.0, "$T,\\; W,\\; U$", colors.delta)
        box(3.1 + n, n, 0.9, "$X,\\; S'$", colors.red)
        box(end, n, 2.2, "$O$", colors.delta)
        ax.text(-0.15, n + 0.5, f"chunk {n + 1}", ha="right", va="center", fontsize=9.5)
        if n:
            ax.annotate("", (3.1 + n + 0.1, n + 0.14), (3.1 + n - 0.1, n - 0.14), arrowprops=dict(arrowstyle="->", color=colors.red, lw=1.4))
    for x, text in ((1.5, "within the chunk\nall at once"), (3.1 + N / 2, "across chunks\none after another"), (end + 1.1, "store\nall at once")):
        ax.text(x, -0.15, text, ha="center", va="bottom", fontsize=9.5)
    ax.annotate("time", (end + 2.2, N + 0.3), (0, N + 0.3), arrowprops=dict(arrowstyle="->", color=colors.ink), va="center", ha="right")
    ax.set(xlim=(-1.4, end + 2.3), ylim=(N + 0.6, -1.0))
    ax.axis("off")
    return figure


def weights(matrices, *, written=None, read=None, limit=None):
    """Matrices of attention weights side by side: {title: (T, T)}, lower triangular. Blue is negative, red positive.

    written, read: labels of the columns and the rows; numbers if None. limit: the weight that gets full color.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(matrices), figsize=(3.15 * len(matrices), 3.3), squeeze=False)
    limit = limit or max(np.abs(array(A)).max() for A in matrices.values())
    for ax, (title, A) in zip(axes[0], matrices.items()):
        A = array(A)
        T, above = len(A), np.triu(np.ones_like(A, dtype=bool), 1)
        ax.imshow(np.ma.masked_array(A, above), cmap="RdBu_r", vmin=-limit, vmax=limit)
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
    import matplotlib.pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.5))
    for (name, y), color in zip(parts.items(), (colors.gray, colors.sky, colors.red)):
        left.plot(sizes, array(y), color=color, label=name)
    left.plot(sizes, sum(array(y) for y in parts.values()), color=colors.ink, lw=2.4, label="sum")
    left.set(title="work", ylabel="FLOPs per token", ylim=(1e2, None))
    for (name, times), color in zip(milliseconds.items(), (colors.delta, colors.green)):
        right.plot(list(times), list(times.values()), "o-", color=color, label=name)
    right.axhline(loop, color=colors.ink, ls="--", label="token loop")
    right.set(title="time", ylabel="milliseconds")
    for ax in (left, right):
        ax.set(xlabel="chunk length C", yscale="log")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.legend(loc="best")
    right.yaxis.set_major_formatter(ScalarFormatter())
    right.yaxis.set_minor_formatter("")
    right.set_yticks([y for y in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if right.get_ylim()[0] <= y <= right.get_ylim()[1]])
    return figure
