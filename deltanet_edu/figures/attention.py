"""Pictures of chapter 1: what a query reads between two keys, the crosstalk of many, and who remembers which pair."""

import numpy as np

from .style import array, colors, look, subplots


def turning(degrees, cases):
    """What a query reads while it turns away from the first of two keys. degrees: (n,).

    cases: {title: (angles of the two keys in degrees, values stored under them, reading (n,), readings at the keys)}.
    """
    told = "; ".join(f"{title}: stored {', '.join(f'{x:g}' for x in array(stored))}, read "
                     f"{', '.join(f'{x:.2g}' for x in array(found))}" for title, (_, stored, _, found) in cases.items())
    figure, axes = subplots(f"Two plots of the answer to a query that turns away from the cat. {told}.",
                            1, len(cases), figsize=(8.4, 3.0), sharey=True)
    for ax, (title, (angles, stored, reading, found)) in zip(axes, cases.items()):
        ax.plot(array(degrees), array(reading), color=colors.additive, label="reading $S q$")
        ax.plot(array(angles), array(stored), "o", color=colors.truth, label="what was stored")
        ax.vlines(array(angles), array(stored), array(found), color=colors.gray, linestyle=":")
        ax.set(title=title, xlabel="angle between query and cat (degrees)", ylim=(0, 9))
    axes[0].set_ylabel("answer")
    axes[0].legend(loc="upper left")
    return figure


def crosstalk(ratios, errors):
    """Length of the error against the number of other pairs per key dimension. errors: {d: one for each ratio}."""
    figure, ax = subplots("Plot of the error that other pairs cause: marks of all widths on one curve, a root.")
    for (d, error), color in zip(errors.items(), ("blue", "red", "green")):
        ax.plot(array(ratios), array(error), label=f"measured, d = {d}", **{**look(color), "linestyle": "none"})
    x = np.linspace(0, array(ratios).max(), 100)
    ax.plot(x, np.sqrt(x), color=colors.truth, lw=1, label=r"$\sqrt{(N-1)/d}$")
    ax.axhline(1, color=colors.gray, ls=":", lw=1)
    ax.text(x[-1], 1.03, "as long as the value itself", ha="right", color=colors.gray, fontsize=9)
    ax.set(title="Crosstalk of random keys", xlabel="other pairs per key dimension, $(N-1)/d$",
           ylabel="length of the error")
    ax.legend()
    return figure
