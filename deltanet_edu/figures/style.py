"""One look for every figure of the book. The palette is Okabe and Ito's, told apart by color-blind readers too."""

from types import SimpleNamespace

colors = SimpleNamespace(
    ink="#222222", gray="#8a8a8a", light="#dddddd",
    blue="#0072B2", orange="#E69F00", green="#009E73", red="#D55E00", sky="#56B4E9", purple="#CC79A7",
    # roles: the same idea has the same color in every chapter
    delta="#0072B2", additive="#D55E00", softmax="#009E73", truth="#222222",
)


def style():
    """Set matplotlib's defaults for the book: quiet axes, legible text, sharp on a good screen, small on disk."""
    import matplotlib
    from cycler import cycler

    cycle = [colors.blue, colors.red, colors.green, colors.orange, colors.purple, colors.sky]
    matplotlib.rcParams.update({
        "figure.figsize": (6.4, 3.4), "figure.dpi": 90, "figure.constrained_layout.use": True, "savefig.dpi": 180,
        "font.size": 10.5, "axes.titlesize": 11.5, "axes.titlelocation": "left", "axes.titlepad": 8,
        "axes.labelsize": 10.5, "axes.labelcolor": colors.ink, "axes.edgecolor": colors.gray, "axes.linewidth": 0.8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "axes.grid": True, "grid.color": colors.light, "grid.linewidth": 0.6,
        "axes.prop_cycle": cycler(color=cycle), "lines.linewidth": 1.8, "lines.markersize": 5,
        "xtick.color": colors.ink, "ytick.color": colors.ink, "text.color": colors.ink,
        "legend.frameon": False, "legend.fontsize": 9.5, "image.cmap": "viridis", "svg.hashsalt": "deltanet_edu",
    })
    try:                                                                 # outside a notebook there is nothing to set
        from matplotlib_inline.backend_inline import set_matplotlib_formats
        set_matplotlib_formats("retina")
    except (ImportError, AttributeError):
        pass
