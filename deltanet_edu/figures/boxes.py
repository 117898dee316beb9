"""Boxes in rows over time: one row a chunk, what each does when."""

from .style import colors


def box(ax, x, row, width, text, color, height=0.8):
    """A filled box with its formula, in the middle of a row."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, row + (1 - height) / 2), width, height, facecolor=color, edgecolor=colors.paper))
    ax.text(x + width / 2, row + 0.5, text, ha="center", va="center", color=colors.paper, fontsize=9.5)


def column_heads(ax, texts):
    """What happens in each stretch of time. texts: {x: words}."""
    for x, text in texts.items():
        ax.text(x, -0.15, text, ha="center", va="bottom", fontsize=9.5)


def time_axis(ax, end, rows):
    """The arrow of time below all rows; room for it and for what stands at the left."""
    ax.annotate("time", (end, rows + 0.35), (0, rows + 0.35), va="center", ha="right",
                arrowprops=dict(arrowstyle="->", color=colors.ink))
    ax.set(xlim=(-1.4, end + 0.1), ylim=(rows + 0.65, -1.0))
    ax.axis("off")
