"""Pictures of chapter 9: two chains in opposite directions, what is kept for the backward pass, and what a write strength learns from."""

from .chunkwise import array
from .style import colors


def chains(N=6):
    """Who waits for whom in the backward pass: the memory runs forward, its gradient backward, all the rest at once. N is even."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8.6, 0.48 * N + 1.2))

    def box(x, row, width, text, color):
        ax.add_patch(plt.Rectangle((x, row + 0.1), width, 0.8, facecolor=color, edgecolor="white"))
        ax.text(x + width / 2, row + 0.5, text, ha="center", va="center", color="white", fontsize=9.5)

    end = 1.8 + N
    for n in range(N):
        box(0, n, 1.6, r"$T_1,\; P$", colors.delta)
        box(end, n, 2.8, r"$\mathrm{d}Q,\; \mathrm{d}K,\; \mathrm{d}\beta$", colors.delta)
        ax.text(-0.15, n + 0.5, f"chunk {n + 1}", ha="right", va="center", fontsize=9.5)
        for x, text, color, step in ((1.7 + n, r"$X,\, S$", colors.red, 1), (0.7 + N - n, r"$\mathrm{d}V\!,\, \mathrm{d}S$", colors.green, -1)):
            box(x, n, 0.9, text, color)
            if 0 <= n + step < N:
                y = n + 0.9 if step > 0 else n + 0.1
                ax.annotate("", (x + 1.1, y + 0.2 * step), (x + 0.8, y), arrowprops=dict(arrowstyle="->", color=color, lw=1.4))
    for x, text in ((0.8, "within the chunk\nall at once"), (1.7 + N / 2, "across chunks: two chains,\nside by side"),
                    (end + 1.4, "within the chunk\nall at once")):
        ax.text(x, -0.12, text, ha="center", va="bottom", fontsize=9.5)
    ax.annotate("time", (end + 2.8, N + 0.35), (0, N + 0.35), arrowprops=dict(arrowstyle="->", color=colors.ink), va="center", ha="right")
    ax.set(xlim=(-1.4, end + 2.9), ylim=(N + 0.65, -1.0))
    ax.axis("off")
    return figure


def kept(lengths, curves):
    """MiB kept for the backward pass against the length, on logarithmic axes. curves: {name: MiB for each length}."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.8, 3.5))
    for (name, mib), color in zip(curves.items(), (colors.red, colors.orange, colors.green, colors.delta)):
        ax.plot(lengths, array(mib), "o-", color=color)
        ax.annotate(name, (lengths[-1], mib[-1]), xytext=(8, 0), textcoords="offset points", va="center", color=color)
    ax.set(xlabel="number of tokens", ylabel="MiB per head", yscale="log")
    ax.set_xscale("log", base=2)
    ax.set_xlim(lengths[0] * 0.9, lengths[-1] * 4.5)
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return figure


def surprises(labels, error, gradient):
    """Bars per token: how wrong the memory was when the token came, and the gradient of its write strength. error, gradient: (T,)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(7.2, 3.4), sharex=True)
    for ax, y, color, name in zip(axes, (error, gradient), (colors.gray, colors.delta), ("error $e_t$", r"gradient of $\beta_t$")):
        ax.bar(range(len(labels)), array(y), 0.6, color=color)
        ax.axhline(0, color=colors.ink, lw=0.8)
        ax.set_ylabel(name)
        ax.grid(axis="x", visible=False)
    axes[1].set_xticks(range(len(labels)), labels)
    axes[1].set_xlabel("token")
    return figure
