"""The picture on the book's first page: a fact that keeps changing, and two memories that were told each time."""

import numpy as np

from .style import colors


def overwriting(truth, additive, delta, *, told=None, ax=None):
    """What is true, and what an additive memory and a DeltaNet memory say, after each token.

    Args:
        truth, additive, delta: (T,).
        told: the tokens at which the fact in question changed; marked on the line of the truth.
        ax: the axes to draw on; a new figure if None.
    """
    import matplotlib.pyplot as plt

    truth, additive, delta = (np.asarray(x, dtype=float) for x in (truth, additive, delta))
    ax = ax or plt.subplots(figsize=(6.4, 3.2))[1]
    t = np.arange(1, len(truth) + 1)
    ax.plot(t, additive, color=colors.additive, label="a memory that adds")
    ax.step(t, truth, color=colors.truth, lw=1.2, where="post", label="the truth")
    ax.plot(t, delta, color=colors.delta, label="a memory that corrects: the delta rule")
    if told is not None:
        told = np.asarray(told)
        ax.plot(t[told], truth[told], "o", color=colors.truth, ms=5)
    ax.set(xlabel="tokens read", ylabel="answer", xlim=(1, len(truth)), title="Asked for one fact after every token")
    ax.margins(y=0.15)
    ax.legend(loc="upper left")
    return ax
