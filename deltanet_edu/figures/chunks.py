"""Pictures of chapter 7: which part of the causal triangle each chunk computes how, and the rounds of a scan."""

import numpy as np

from .style import colors


def triangle(T, C):
    """The (T, T) causal triangle cut into chunks of C: blocks on the diagonal are matrix products, the rest arrives in the state."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch, Rectangle

    figure, ax = plt.subplots(figsize=(4.6, 4.6))
    for t in range(T):
        for i in range(t + 1):
            within = t // C == i // C
            ax.add_patch(Rectangle((i, t), 1, 1, facecolor=colors.blue if within else colors.orange, edgecolor="white", linewidth=1.2,
                                   alpha=0.9 if within else 0.35))
    for c in range(C, T, C):
        ax.axhline(c, color=colors.ink, linewidth=0.8)
        ax.axvline(c, color=colors.ink, linewidth=0.8)
    ax.legend(handles=[Patch(color=colors.blue, alpha=0.9, label="within the chunk: tril(Q Kᵀ) V"),
                       Patch(color=colors.orange, alpha=0.35, label="from earlier chunks: Q Sᵀ")],
              loc="upper right", frameon=True, facecolor="white", edgecolor="none", framealpha=1)
    ax.set(xlim=(0, T), ylim=(T, 0), aspect="equal", xlabel="token i that writes", ylabel="token t that reads")
    ax.set_xticks(np.arange(0, T + 1, C))
    ax.set_yticks(np.arange(0, T + 1, C))
    ax.grid(False)
    return figure


def rounds(T):
    """Hillis and Steele's scan of T maps: a line for each composition, and under each entry the tokens it stands for."""
    import matplotlib.pyplot as plt

    levels = int(np.ceil(np.log2(T)))
    figure, ax = plt.subplots(figsize=(8, 1.0 + 0.95 * levels))
    for level in range(levels + 1):
        for t in range(T):
            first = max(0, t - 2**level + 1)
            done = first == 0
            ax.text(t, -level, str(t + 1) if first == t else f"{first + 1}–{t + 1}", ha="center", va="center", fontsize=10, zorder=3,
                    bbox={"boxstyle": "round,pad=0.25", "facecolor": "#d6ecdf" if done else "white", "edgecolor": colors.gray, "linewidth": 0.8})
            if level < levels and t + 2**level < T:
                ax.plot([t, t + 2**level], [-level, -level - 1], color=colors.blue, linewidth=1, zorder=1)
            if level < levels:
                ax.plot([t, t], [-level, -level - 1], color=colors.light, linewidth=1, zorder=0)
    ax.set(xlim=(-0.7, T - 0.3), ylim=(-levels - 0.5, 0.5))
    ax.set_yticks([-n for n in range(levels + 1)], ["tokens"] + [f"round {n}" for n in range(1, levels + 1)])
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.tick_params(length=0)
    return figure
