"""Pictures of chapter 5: what arrives and what is written, a product as two thin factors, and what the loop stores."""

import numpy as np

from .lines import lines
from .memory import memory
from .style import array, colors, subplots


def writes(rows):
    """Bars per token: what arrives (gray) and what is written (color). rows: {title: (v: (C,), u: (C,))}."""
    rows = {title: (array(v), array(u)) for title, (v, u) in rows.items()}
    told = "; ".join(f"{title}: {', '.join(f'{x:.3g}' for x in u + 0.0)}" for title, (_, u) in rows.items())
    arrives = ", ".join(f"{x:.3g}" for x in next(iter(rows.values()))[0])
    alt = f"Bars for three sets of keys. The values {arrives} arrive each time. Written are, for {told}."
    figure, axes = subplots(alt, 1, len(rows), figsize=(3.1 * len(rows), 2.7), sharey=True, squeeze=False)
    for ax, (title, (v, u)) in zip(axes[0], rows.items()):
        t = np.arange(1, len(v) + 1)
        ax.bar(t - 0.2, v, 0.36, color=colors.light, edgecolor=colors.gray, label="arrives, $v_t$")
        ax.bar(t + 0.2, u, 0.36, color=colors.delta, label="is written, $u_t$")
        ax.axhline(0, color=colors.ink, lw=0.8)
        ax.set(title=title, xlabel="token t", xticks=t)
        ax.grid(axis="x", visible=False)
    axes[0, 0].set_ylabel("value")
    axes[0, 0].set_ylim(top=1.35 * max(v.max() for v, _ in rows.values()))
    axes[0, -1].legend(loc="upper right", ncol=2, columnspacing=1.0, handlelength=1.2)
    return figure


def factors(P, W, k):
    """P = I - W^T K drawn to scale: the square P, the square I, the tall W^T, the wide K. P: (K, K), W, k: (C, K)."""
    P, W, k = array(P), array(W), array(k)
    C, K = k.shape
    tiles = [(P, "$P_C$"), ("=", ""), (np.eye(K), "$I$"), ("−", ""), (W.T, r"$W^\top$"), (k, "$K$")]
    widths = [0.12 * K if isinstance(X, str) else X.shape[1] for X, _ in tiles]
    figure, axes = subplots(
        f"Matrices to scale, as colored cells: the {K} by {K} matrix P equals the identity minus the product of Wᵀ, "
        f"{K} by {C}, and K, {C} by {K}.", 1, len(tiles), figsize=(9.2, 2.7), width_ratios=widths, layout="none")
    for ax, (X, title) in zip(axes, tiles):
        if isinstance(X, str):
            ax.text(0.5, 0.5, X, fontsize=22, ha="center", va="center")
            ax.axis("off")
            continue
        memory(X, ax=ax, limit=0.7, numbers=False)
        ax.set_title(f"{title}   {X.shape[0]} × {X.shape[1]}", loc="center", fontsize=10.5)
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="", anchor="W" if X is k else "C")
        ax.spines[:].set(visible=True, color=colors.gray)
    figure.subplots_adjust(left=0.01, right=0.99, wspace=0.12)
    return figure


def against_length(curves, ylabel):
    """Lines over the number of tokens T on logarithmic axes. curves: {name: (T, y)}. Returns the figure."""
    return lines(curves, xlabel="number of tokens T", ylabel=ylabel, alt="Line plot over the length of the text.",
                 log="xy", figsize=(6.4, 3.3)).figure
