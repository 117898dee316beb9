"""The plots of chapter 16: learning curves in bits per character, who reads better or faster, what a model writes."""

import math

import numpy as np

from .style import array, colors, look, subplots

LINE_COLORS = ("gray", "orange", "purple", "green")
MIXER_COLORS = {"delta": "delta", "linear": "additive", "attention": "softmax", "retnet": "orange", "gla": "purple",
                "mamba": "sky", "delta+sliding": "ink", "delta+global": "gray"}


def training_curves(entries, lines=None, steps=None, name="delta"):
    """Loss of each step (smoothed) and bits per character on held-out text; `lines` is {name: bits per character}.

    name: of the mixer. The two have different units, so they have an axis each: nats a token on the left, bits a
    character on the right.
    """
    to_beat = ", ".join(f"{name} {bits:.2f}" for name, bits in (lines or {}).items())
    said = f" Dashed levels to beat: {to_beat}." if to_beat else ""
    figure, (left, right) = subplots(f"Two learning curves.{said}", 1, 2, figsize=(8.6, 3.2))
    loss = np.array([entry["loss"] for entry in entries])
    left.plot(np.arange(1, len(loss) + 1), smooth(loss), label=name,
              **look(MIXER_COLORS.get(name, "delta"), len(loss)) | {"marker": "", "linestyle": "-"})
    left.set(xlabel="step", ylabel="loss (nats per token)", title="training text", xlim=(0, steps))
    measured = [entry for entry in entries if "held_out" in entry]
    bits_panel(right, {name: measured}, lines, steps)
    return figure


def learning(curves, steps=None):
    """Held-out curves of several runs in one panel: {name: log entries with held_out}."""
    figure, ax = subplots("Line plot of bits per character on held-out text while training.")
    bits_panel(ax, curves, steps=steps)
    ax.autoscale(axis="y")                                               # nothing to beat is drawn: the curves fill it
    ax.legend()
    return figure


def bits_panel(ax, curves, lines=None, steps=None):
    """Draw {name: log entries with held_out} over the steps, and {name: bits} as level lines, labeled at the left."""
    for (name, entries), color in zip(curves.items(), ("delta", "additive", "green")):
        chosen = {**look(MIXER_COLORS.get(name, color), len(entries)), "markersize": 3}
        ax.plot([e["step"] for e in entries], [e["held_out"] for e in entries], label=name or None, **chosen)
    ends = [entries[-1]["held_out"] for entries in curves.values() if entries]
    bottom, top = min([1.85, *ends]) - 0.15, max([3.2, *(lines or {}).values()]) + 0.15
    ax.set(xlabel="step", ylabel="bits per character", title="held-out text", xlim=(0, steps), ylim=(bottom, top))
    level_lines(ax, lines or {}, top - bottom)
    return ax


def level_lines(ax, lines, span):
    """Horizontal lines with their names at the left, where curves are still far above, each above or below its line."""
    values = list(lines.values())
    for (name, bits), color in zip(lines.items(), LINE_COLORS):
        ax.axhline(bits, **{**look(color), "marker": "", "linewidth": 1.2})
        crowded = any(0 < bits - other < 0.09 * span for other in values)
        ax.annotate(f"{name} {bits:.2f}", (0, bits), xycoords=("axes fraction", "data"), textcoords="offset points",
                    xytext=(3, 2 if crowded else -2), ha="left", va="bottom" if crowded else "top", fontsize=9,
                    bbox=dict(facecolor=colors.paper, edgecolor="none", alpha=0.85, pad=0.6), zorder=3)


def smooth(loss, share=0.02):
    """Running mean over the last `share` of all steps, so that a curve shows and the noise does not."""
    width = max(1, math.ceil(share * len(loss)))
    total = np.cumsum(np.insert(loss, 0, 0.0))
    ends = np.arange(1, len(loss) + 1)
    starts = np.maximum(0, ends - width)
    return (total[ends] - total[starts]) / np.maximum(1, ends - starts)


def context(ngrams):
    """Bits per character of count models, by how many characters of context they see: [0, 1, 2, ... characters]."""
    told = ", ".join(f"{n}: {b:.2f}" for n, b in enumerate(ngrams))
    figure, ax = subplots(f"Line plot of bits per character by characters of context. {told}.")
    ax.plot(ngrams, **look("orange"))
    for n, b in enumerate(ngrams):
        ax.annotate(f"{b:.2f}", (n, b), xytext=(5, 5), textcoords="offset points")
    ax.margins(x=0.08, y=0.12)
    ax.set(xlabel="characters of context", ylabel="bits per character, held-out")
    return figure


def strength_of_words(pieces, beta):
    """How firmly each token is written: pieces, T strings; beta: (T, H). A row a head; darker is stronger."""
    beta = array(beta)
    T, H = beta.shape
    top = {h: ", ".join(pieces[t].strip() or "a line break" for t in beta[:, h].argsort()[:-4:-1]) for h in range(H)}
    firmest = "; ".join(f"head {h + 1} writes most firmly: {words}" for h, words in top.items())
    figure, ax = subplots(f"Heat map of the write strength β of {T} tokens in {H} heads. {firmest}.",
                          figsize=(min(9.0, 1.4 + 0.36 * T), 1.0 + 0.42 * H))
    image = ax.imshow(beta.T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(T), [piece.strip() or "⏎" for piece in pieces], rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(H), [f"head {h + 1}" for h in range(H)])
    ax.grid(False)
    ax.tick_params(length=0)
    figure.colorbar(image, ax=ax, label="β", pad=0.01)
    return figure


def spread(groups, xlabel, lines=None, note=""):
    """{model: [value of each run]}: a row a model, a dot a run, a bar at the mean; {name: value} as level lines."""
    told = "; ".join(f"{model} {', '.join(f'{value:.3f}' for value in runs)}" for model, runs in groups.items())
    figure, ax = subplots(f"Dots, one a run, of {xlabel}. {told}.", figsize=(5.6, 1.1 + 0.28 * len(groups)))
    for i, (model, runs) in enumerate(groups.items()):
        ax.plot(runs, np.full(len(runs), i), **mixer_look(model) | {"linestyle": "", "alpha": 0.85})
        if len(runs):
            ax.plot([np.mean(runs)] * 2, [i - 0.32, i + 0.32], color=colors.ink, lw=1.4)
    for name, value in (lines or {}).items():
        ax.axvline(value, color=colors.gray, ls=":", lw=1.2)
        ax.annotate(f"{name} {value:.2f}", (value, 1), xycoords=("data", "axes fraction"), fontsize=8.5, ha="center",
                    va="bottom", color=colors.gray)
    ax.set(xlabel=xlabel, ylim=(len(groups) - 0.5, -0.5))
    ax.margins(x=0.08)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.tick_params(axis="y", length=0)
    noted(figure, note)
    return figure


def of_mixers(panels, xlabel, ylabel, note=""):
    """{title: {model: [(x, y), ...]}}: a panel each, side by side, a curve a model in its color; x is logarithmic."""
    figure, axes = subplots(f"Line plots of {ylabel} by {xlabel}.", 1, len(panels), squeeze=False,
                            figsize=(1.5 + 2.9 * len(panels), 2.6))
    named = {}
    for ax, (title, models) in zip(axes[0], panels.items()):
        for model, points in models.items():
            named[model] = ax.plot(*zip(*points), label=model, **mixer_look(model))[0]
        ticks = sorted({x for points in models.values() for x, _ in points})
        ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, [f"{x:,}" for x in ticks])
        ax.minorticks_off()
    axes[0, -1].legend(named.values(), named, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    noted(figure, note)
    return figure


def mixer_look(model):
    """The look of the few points of a mixer, "delta" or "delta, and more about it": they all have a marker."""
    chosen = look(MIXER_COLORS.get(model.split(",")[0], "gray"))
    return chosen | {"marker": chosen["marker"] or "*"}


def noted(figure, note):
    """A line below a figure that says where its numbers come from."""
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
