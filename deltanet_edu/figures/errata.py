"""The picture of the errata: how large an error two tests find in each wrong formula."""

import math

from .style import colors, subplots

SMALLEST, LARGEST = 0.03, 40                             # where "nothing found" and "does not even run" are drawn


def place(error, shape):
    """(position, marker, filled) of an error on the axis."""
    if math.isinf(error):
        return LARGEST, ">", True
    return (SMALLEST, shape, False) if error < 1e-9 else (error, shape, True)


def tests(found):
    """A line per formula, a mark per test. found: {name: {"gentle": relative error, "thorough": relative error}}."""
    missed = [name for name, errors in found.items() if errors["gentle"] < 1e-9]
    looks = {"gentle": (colors.orange, "D"), "thorough": (colors.delta, "o")}
    figure, ax = subplots(
        f"Dot plot of {len(found)} wrong formulas and the errors that two tests find in them. The thorough test finds "
        f"{sum(errors['thorough'] >= 1e-9 for errors in found.values())}. The gentle one sees nothing wrong with "
        f"{len(missed)}: {'; '.join(missed)}.", figsize=(7.2, 0.34 * len(found) + 1.1))
    for row, (name, errors) in enumerate(found.items()):
        for (test, (color, shape)), offset in zip(looks.items(), (-0.13, 0.13)):
            x, marker, filled = place(errors[test], shape)
            ax.plot(x, row + offset, marker, ms=7, color=color, mfc=color if filled else "none")
    ax.set(xscale="log", xlim=(SMALLEST / 1.6, 1.6 * LARGEST), xlabel="relative error that the test sees",
           yticks=range(len(found)), yticklabels=list(found))
    ax.set_xticks([SMALLEST, 0.1, 1, 10, LARGEST], ["none", "10 %", "100 %", "1000 %", "does\nnot run"])
    ax.minorticks_off()
    ax.invert_yaxis()
    handles = [ax.plot([], [], shape, ms=7, color=color)[0] for color, shape in looks.values()]
    ax.legend(handles, [f"{test} test" for test in looks], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2)
    return figure
