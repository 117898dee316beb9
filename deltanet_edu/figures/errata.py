"""The picture of the errata: how large an error two tests find in each wrong formula."""

import math

from .style import colors

SMALLEST, LARGEST = 0.03, 40                             # where "nothing found" and "does not even run" are drawn


def place(error):
    """(position, marker, filled) of an error on the axis."""
    if math.isinf(error):
        return LARGEST, ">", True
    return (SMALLEST, "o", False) if error < 1e-9 else (error, "o", True)


def tests(found):
    """A line per formula, a mark per test. found: {name: {"gentle": relative error, "thorough": relative error}}. Returns the figure."""
    import matplotlib.pyplot as plt

    tones = {"gentle": colors.orange, "thorough": colors.delta}
    figure, ax = plt.subplots(figsize=(7.2, 0.34 * len(found) + 1.1))
    for row, (name, errors) in enumerate(found.items()):
        for (test, color), offset in zip(tones.items(), (-0.13, 0.13)):
            x, marker, filled = place(errors[test])
            ax.plot(x, row + offset, marker, ms=7, color=color, mfc=color if filled else "none")
    ax.set(xscale="log", xlim=(SMALLEST / 1.6, 1.6 * LARGEST), xlabel="relative error that the test sees", yticks=range(len(found)),
           yticklabels=list(found))
    ax.set_xticks([SMALLEST, 0.1, 1, 10, LARGEST], ["none", "10 %", "100 %", "1000 %", "does\nnot run"])
    ax.minorticks_off()
    ax.invert_yaxis()
    handles = [ax.plot([], [], "o", ms=7, color=color)[0] for color in tones.values()]
    ax.legend(handles, [f"{test} test" for test in tones], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2)
    return figure
