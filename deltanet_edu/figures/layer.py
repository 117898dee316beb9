"""Pictures of chapter 14: what a token passes through in a DeltaNet layer, and what a memory knows of old facts."""

from .style import colors, look, subplots

# What stands in the boxes, from left to right; those in color look back in time.
STEPS = (("$W_{qkv}$", "gray"), ("conv", "orange"), ("SiLU", "gray"), ("length 1\n(q, k)", "gray"),
         ("delta rule", "delta"), ("RMSNorm", "gray"), ("$W_O$", "gray"))


def anatomy():
    """The parts of a DeltaNet layer in the order of a token's way; two keep a state. Returns the figure."""
    from matplotlib.patches import Rectangle

    figure, ax = subplots(
        "Diagram of the layer, from left to right: x, one matrix for q, k and v, convolution, SiLU, length 1 for q and "
        "k, delta rule, RMSNorm, output matrix, y. A second path goes from x through the matrix for beta and a sigmoid "
        "into the delta rule. Two parts keep a state from token to token: the convolution three inputs, the rule S.",
        figsize=(8.8, 2.5))
    width, step = 1.5, 2.0
    arrow = dict(arrowstyle="->", color=colors.gray)
    for n, (text, color) in enumerate(STEPS):
        x = n * step
        ax.add_patch(Rectangle((x, 0), width, 1, facecolor=getattr(colors, color), edgecolor=colors.paper))
        ax.text(x + width / 2, 0.5, text, ha="center", va="center", fontsize=10,
                color=colors.ink if color == "orange" else colors.paper)
        ax.annotate("", (x - 0.03, 0.5), (x - step + width + 0.03, 0.5), arrowprops=arrow)
    last = (len(STEPS) - 1) * step + width
    ax.annotate("", (last + 0.5, 0.5), (last + 0.03, 0.5), arrowprops=arrow)
    ax.text(-0.6, 0.5, "$x_t$", ha="right", va="center", fontsize=12)
    ax.text(last + 0.6, 0.5, "$y_t$", ha="left", va="center", fontsize=12)
    rule = 4 * step + width / 2
    ax.plot([-0.85, -0.85, rule - 1.35], [0.85, 1.6, 1.6], color=colors.gray, lw=1.2)
    ax.text(rule - 1.25, 1.6, r"$\beta_t = \sigma(W_\beta x_t)$", ha="left", va="center", fontsize=11)
    ax.annotate("", (rule, 1.03), (rule, 1.35), arrowprops=arrow)
    for n, text in ((1, "keeps 3 inputs"), (4, "keeps $S$")):
        x = n * step + width / 2
        ax.annotate("", (x + 0.35, -0.03), (x - 0.35, -0.03), arrowprops=dict(
            arrowstyle="->", color=colors.ink, connectionstyle="arc3,rad=0.9"))
        ax.text(x, -0.75, text, ha="center", va="center", fontsize=10)
    ax.set(xlim=(-1.4, last + 1.2), ylim=(-1.05, 2.0))
    ax.axis("off")
    return figure


def by_age(panels, looks):
    """What share of facts is read rightly, by how long ago they were told.

    panels: {title: {memory: (ages, shares)}}, drawn side by side; looks: a color or role for each memory.
    """
    figure, axes = subplots("Line plots, side by side: the share of facts that a memory reads rightly, against how "
                            "many tokens ago each was told.", 1, len(panels), figsize=(8.8, 3.6), sharey=True)
    for ax, (title, curves) in zip(axes, panels.items()):
        for (name, (ages, shares)), chosen in zip(curves.items(), looks):
            ax.plot(ages, shares, label=name, **look(chosen, len(ages)))
        ax.set(xlabel="told so many tokens ago", ylabel="read rightly", title=title, ylim=(-0.03, 1.03))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(looks), fontsize=9)
    return figure
