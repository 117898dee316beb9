"""Pictures of chapter 9: two chains in opposite directions, what is kept for later, and what a β learns from."""

from .boxes import box, column_heads, time_axis
from .style import array, colors, look, subplots


def chains(N=6):
    """Who waits for whom in the backward pass: memory forward, its gradient backward, the rest at once. N is even."""
    figure, ax = subplots(
        f"Diagram of the backward pass over {N} chunks, one row a chunk, time from left to right. First all chunks at "
        "once compute T₁ and P. Then two chains run side by side: X and S from the first chunk to the last, dV and dS "
        "from the last to the first. At the end all chunks at once compute dQ, dK and dβ.",
        figsize=(8.6, 0.48 * N + 1.2))
    end = 1.8 + N
    for n in range(N):
        box(ax, 0, n, 1.6, r"$T_1,\; P$", colors.delta)
        box(ax, end, n, 2.8, r"$\mathrm{d}Q,\; \mathrm{d}K,\; \mathrm{d}\beta$", colors.delta)
        ax.text(-0.15, n + 0.5, f"chunk {n + 1}", ha="right", va="center", fontsize=9.5)
        for x, text, color, step in ((1.7 + n, r"$X,\, S$", colors.red, 1),
                                     (0.7 + N - n, r"$\mathrm{d}V\!,\, \mathrm{d}S$", colors.green, -1)):
            box(ax, x, n, 0.9, text, color)
            if 0 <= n + step < N:
                y = n + 0.9 if step > 0 else n + 0.1
                ax.annotate("", (x + 1.1, y + 0.2 * step), (x + 0.8, y),
                            arrowprops=dict(arrowstyle="->", color=color, lw=1.4))
    column_heads(ax, {0.8: "within the chunk\nall at once", 1.7 + N / 2: "across chunks: two chains,\nside by side",
                      end + 1.4: "within the chunk\nall at once"})
    time_axis(ax, end + 2.8, N)
    return figure


def kept(lengths, curves):
    """MiB kept for the backward pass against the length, both logarithmic. curves: {name: MiB for each length}."""
    figure, ax = subplots("Line plot of what each form keeps for its backward pass.", figsize=(6.8, 3.5))
    for (name, mib), color in zip(curves.items(), ("red", "orange", "green", "blue")):
        ax.plot(lengths, array(mib), label=name, **look(color))
        ax.annotate(name, (lengths[-1], mib[-1]), xytext=(8, 0), textcoords="offset points", va="center")
    ax.set(xlabel="number of tokens", ylabel="MiB per head", yscale="log")
    ax.set_xscale("log", base=2)
    ax.set_xlim(lengths[0] * 0.9, lengths[-1] * 4.5)
    ax.set_xticks(lengths, [str(T) for T in lengths])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return figure


def surprises(labels, error, gradient):
    """Bars per token: how wrong the memory was for it, and the gradient of its β. error, gradient: (T,)."""
    error, gradient = array(error), array(gradient)
    told = "; ".join(f"{name}: error {e:g}, gradient {g:g}" for name, e, g in zip(labels, error, gradient))
    figure, axes = subplots(f"Two rows of bars, one bar a token. {told}.", 2, 1, figsize=(7.2, 3.4), sharex=True)
    rows = ((error, colors.light, "error $e_t$"), (gradient, colors.delta, r"gradient of $\beta_t$"))
    for ax, (y, color, name) in zip(axes, rows):
        ax.bar(range(len(labels)), y, 0.6, color=color, edgecolor=colors.ink, linewidth=0.6)
        ax.axhline(0, color=colors.ink, lw=0.8)
        ax.set_ylabel(name)
        ax.grid(axis="x", visible=False)
    axes[1].set_xticks(range(len(labels)), labels)
    axes[1].set_xlabel("token")
    return figure
