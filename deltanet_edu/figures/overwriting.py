"""The picture on the book's first page: a fact that keeps changing, and two memories that were told each time."""

import numpy as np

from .style import array, colors, look, subplots


def overwriting(truth, additive, delta, *, told=None, ax=None):
    """What is true, and what an additive memory and a DeltaNet memory say, after each token.

    Args:
        truth, additive, delta: (T,).
        told: the tokens at which the fact in question changed; marked on the line of the truth.
        ax: the axes to draw on; a new figure if None.
    """
    truth, additive, delta = map(array, (truth, additive, delta))
    if ax is None:
        alt = (f"Line plot of answers to one question while {len(truth)} tokens are read. The truth stays between "
               f"{truth.min():g} and {truth.max():g}. The memory that adds climbs to {additive.max():.0f}; one that "
               f"corrects stays within {np.abs(delta - truth).max():.1f} of the truth.")
        _, ax = subplots(alt, figsize=(6.4, 3.2))
    t = np.arange(1, len(truth) + 1)
    ax.plot(t, additive, label="a memory that adds", **look("additive", len(t)))
    ax.step(t, truth, color=colors.truth, lw=1.2, where="post", label="the truth")
    ax.plot(t, delta, label="a memory that corrects: the delta rule", **look("delta", len(t)))
    if told is not None:
        told = np.asarray(told)
        ax.plot(t[told], truth[told], "o", color=colors.truth, ms=5)
    ax.set(xlabel="tokens read", ylabel="answer", xlim=(1, len(truth)), title="Asked for one fact after every token")
    ax.margins(y=0.15)
    ax.legend(loc="upper left")
    return ax
