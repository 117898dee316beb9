"""Pictures of chapter 5: what arrives and what is written, a product as two thin factors, and what the loop stores."""

import numpy as np

from .memory import memory
from .style import colors


def array(x):
    return np.asarray(x.detach() if hasattr(x, "detach") else x, dtype=float)


def writes(rows):
    """Bars per token: what arrives (gray) and what is written (color). rows: {title: (v: (C,), u: (C,))}. Returns the figure."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(3.1 * len(rows), 2.7), sharey=True, squeeze=False)
    for ax, (title, (v, u)) in zip(axes[0], rows.items()):
        t = np.arange(1, len(v) + 1)
        ax.bar(t - 0.2, array(v), 0.36, color=colors.light, edgecolor=colors.gray, label="arrives, $v_t$")
        ax.bar(t + 0.2, array(u), 0.36, color=colors.delta, label="is written, $u_t$")
        ax.axhline(0, color=colors.ink, lw=0.8)
        ax.set(title=title, xlabel="token t", xticks=t)
        ax.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("value")
    axes[0, 0].set_ylim(top=1.35 * max(array(v).max() for v, _ in rows.values()))
    axes[0, -1].legend(loc="upper right", ncol=2, columnspacing=1.0, handlelength=1.2)
    return figure


def factors(P, W, k):
    """P = I - W^T K drawn to scale: the square P, the square I, the tall W^T, the wide K. P: (K, K), W, k: (C, K)."""
    import matplotlib.pyplot as plt

    P, W, k = array(P), array(W), array(k)
    C, K = k.shape
    tiles = [(P, "$P_C$"), ("=", ""), (np.eye(K), "$I$"), ("−", ""), (W.T, r"$W^\top$"), (k, "$K$")]
    widths = [0.12 * K if isinstance(X, str) else X.shape[1] for X, _ in tiles]
    figure, axes = plt.subplots(1, len(tiles), figsize=(9.2, 2.7), width_ratios=widths, layout="none")
    for ax, (X, title) in zip(axes, tiles):
        if isinstance(X, str):
            ax.text(0.5, 0.5, X, fontsize=22, ha="center", va="center")
            ax.axis("off")
            continue
        memory(X, ax=ax, limit=0.7, numbers=False)
        ax.set_title(f"{title}   {X.shape[0]} × {X.shape[1]}", loc="center", fontsize=10.5)
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", anchor="W" if X is k else "C")
        for spine in ax.spines.values():
            spine.set(visible=True, color=colors.gray)
    figure.subplots_adjust(left=0.01, right=0.99, wspace=0.12)
    return figure


def against_length(curves, ylabel, *, notes=(), title=None):
    """Lines over the number of tokens T on logarithmic axes. curves: {name: (T, y)}; notes: (x, y, text) arrows."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.4, 3.3))
    for (name, (T, y)), color in zip(curves.items(), (colors.red, colors.delta, colors.green)):
        ax.plot(array(T), array(y), "o-", color=color, label=name)
    for x, y, text in notes:
        ax.annotate(text, (x, y), xytext=(12, -22), textcoords="offset points", arrowprops=dict(arrowstyle="->", color=colors.ink))
    ax.set(xscale="log", yscale="log", xlabel="number of tokens T", ylabel=ylabel)
    if title:
        ax.set_title(title)
    ax.set_xscale("log", base=2)
    ax.legend()
    return figure
