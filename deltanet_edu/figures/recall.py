"""Pictures of chapter 15: what a task tells and asks, an automaton, and what models scored, seed by seed."""

import numpy as np

from .style import array, colors, look, subplots

# What a token is, from which a cell gets its color and its pattern.
KINDS = {"key": (colors.sky, ""), "value": (colors.orange, ""), "filler": (colors.paper, ""), "sign": (colors.gray, ""),
         "noise": (colors.light, "///"), "symbol": (colors.sky, "")}


def sequences(rows):
    """{title: (tokens, targets, kinds)}: a row of cells each, the targets below them where something is asked.

    tokens: (T,) numbers or words; targets: (T,), -100 where nothing is asked; kinds: (T,) names of KINDS.
    """
    from matplotlib.patches import Rectangle

    T = max(len(tokens) for tokens, _, _ in rows.values())
    told = ". ".join(f"{title}: reads {' '.join(map(str, plain(tokens)))}; is asked "
                     + ", ".join(f"{a} at place {t + 1}" for t, a in enumerate(plain(targets)) if a != -100)
                     for title, (tokens, targets, _) in list(rows.items())[:2])
    figure, ax = subplots(f"Sequences as rows of cells, colored by what a token is, with the answers below. {told}.",
                          figsize=(min(8.8, 1.0 + 0.31 * T), 0.25 + 0.8 * len(rows)))
    for r, (title, (tokens, targets, kinds)) in enumerate(rows.items()):
        y = 2.6 * r
        ax.text(0, y - 0.15, title, va="bottom", fontsize=9.5)
        for t, (token, target, kind) in enumerate(zip(plain(tokens), plain(targets), kinds)):
            color, hatch = KINDS[kind]
            ax.add_patch(Rectangle((t, y), 0.94, 0.9, facecolor=color, hatch=hatch, edgecolor=colors.gray, lw=0.6))
            if kind not in ("filler", "noise"):
                ax.text(t + 0.47, y + 0.47, token, ha="center", va="center", fontsize=8,
                        color=colors.paper if kind == "sign" else colors.ink)
            if target != -100:
                ax.text(t + 0.47, y + 1.4, target, ha="center", va="center", fontsize=8.5, weight="bold",
                        color=colors.red)
    ax.set(xlim=(-0.1, T), ylim=(2.6 * len(rows) - 0.6, -0.9))
    ax.axis("off")
    return figure


def plain(x):
    return x.tolist() if hasattr(x, "tolist") else list(x)


def automaton(edges, title="", names="abcdefghijklmnopqr"):
    """{state: [(letter, next state), ...]}: states on a circle, arrows with their letters; a word starts at 0."""
    n = len(edges)
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    at = np.stack([np.cos(angle), np.sin(angle)], 1)
    told = "; ".join(f"from {s} " + ", ".join(f"{names[a]} leads to {b}" for a, b in out) for s, out in edges.items())
    figure, ax = subplots(f"A graph of {n} states with lettered arrows: {told}.", figsize=(4.2, 3.6))
    for s, out in edges.items():
        for a, b in out:
            ax.annotate("", at[b], at[s], zorder=1, arrowprops=dict(
                arrowstyle="-|>", color=colors.gray, shrinkA=13, shrinkB=13, connectionstyle="arc3,rad=0.16"))
            middle, along = 0.28 * at[b] + 0.72 * at[s], at[b] - at[s]         # near where the arrow leaves
            beside = np.array([along[1], -along[0]]) * 0.07
            ax.text(*(middle + beside), names[a], ha="center", va="center", fontsize=11, color=colors.red,
                    weight="bold", bbox=dict(facecolor=colors.paper, edgecolor="none", pad=0.6), zorder=3)
    ax.scatter(*at.T, s=520, color=[colors.sky if s == 0 else colors.light for s in edges], edgecolor=colors.gray,
               zorder=2)
    for s in edges:
        ax.text(*at[s], str(s), ha="center", va="center", fontsize=11, zorder=4)
    ax.set(xlim=(-1.35, 1.35), ylim=(-1.3, 1.3), aspect="equal", title=title)
    ax.axis("off")
    return figure


def seeds(panels, chance=None, note="", xlabel="answers right, %"):
    """{panel: {model: [accuracy of each seed]}}: a dot a run, a bar at the mean; {panel: accuracy without a memory}."""
    models = list(dict.fromkeys(model for panel in panels.values() for model in panel))
    told = ". ".join(f"{panel}: " + "; ".join(f"{model} {', '.join(f'{100 * a:.1f}' for a in runs)}"
                                              for model, runs in found.items()) for panel, found in panels.items())
    figure, axes = subplots(f"Dots, one a run, of the share of right answers in per cent. {told}.", 1, len(panels),
                            squeeze=False, sharey=True,
                            figsize=(min(9.4, 1.3 + 2.7 * len(panels)), 0.9 + 0.31 * len(models)))
    for ax, (panel, found) in zip(axes[0], panels.items()):
        for i, model in enumerate(models):
            runs = 100 * array(found.get(model, []))
            color = MODEL_COLORS.get(model.split(",")[0].split(" ")[0], "gray")
            ax.plot(runs, np.full(len(runs), i), **look(color) | {"linestyle": "", "alpha": 0.85})
            if len(runs):
                ax.plot([runs.mean()] * 2, [i - 0.32, i + 0.32], color=colors.ink, lw=1.4)
        if chance and panel in chance:
            ax.axvline(100 * chance[panel], color=colors.gray, ls=":", lw=1.2)
        ax.set(xlim=(-3, 103), title=panel, xlabel=xlabel)
        ax.set_yticks(range(len(models)), models)
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_ylim(len(models) - 0.5, -0.5)
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
    return figure


MODEL_COLORS = {"delta": "delta", "linear": "additive", "attention": "softmax", "retnet": "orange", "gla": "purple",
                "mamba": "sky", "β": "delta"}


def rising(groups, xlabel, note="", chance=None, log=""):
    """{model: [(x, [accuracy of each seed]), ...]}: the mean over x, and each seed as a dot; chance: {x: accuracy}."""
    told = "; ".join(f"{model} " + ", ".join(f"{100 * np.mean(a):.0f} % at {x:g}" for x, a in some(points))
                     for model, points in groups.items())
    figure, ax = subplots(f"Line plot of right answers in per cent. {told}.", figsize=(5.6, 2.9))
    for model, points in groups.items():
        xs, means = [x for x, _ in points], [100 * np.mean(a) for _, a in points]
        chosen = look(MODEL_COLORS.get(model.split(" ")[0], "gray"), len(xs))
        ax.plot(xs, means, label=model, **chosen)
        dots = [(x, 100 * one) for x, a in points for one in a if len(a) > 1]
        ax.plot(*zip(*dots or [((), ())]), **chosen | {"linestyle": "", "alpha": 0.35, "markersize": 4})
    if chance:
        ax.plot(list(chance), [100 * y for y in chance.values()], color=colors.gray, ls=":", lw=1.2, label="chance")
    ax.set(xlabel=xlabel, ylabel="answers right, %", ylim=(-3, 103))
    if "x" in log:
        ax.set_xscale("log", base=2)
        ticks = sorted({x for points in groups.values() for x, _ in points})
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.minorticks_off()
    ax.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
    return figure


def some(points, most=8):
    """Not more than so many of a curve's points: what can be listened to."""
    return points[:: -(-len(points) // most)]


def courses(runs, note=""):
    """{model: [[(step, accuracy), ...] of each seed]}: one thin curve a run, all runs of a model in one look."""
    told = "; ".join(f"{model} ends at " + ", ".join(f"{100 * curve[-1][1]:.0f} %" for curve in curves)
                     for model, curves in runs.items())
    figure, ax = subplots(f"Line plot of right answers in per cent while models learn, a curve for each run. {told}.",
                          figsize=(6.0, 2.9))
    for model, curves in runs.items():
        for i, curve in enumerate(curves):
            chosen = look(MODEL_COLORS.get(model, "gray"), len(curve)) | {"linewidth": 1.2, "markersize": 3.5}
            ax.plot([s for s, _ in curve], [100 * a for _, a in curve], label=None if i else model, **chosen)
    ax.set(xlabel="training steps", ylabel="answers right, %", ylim=(-3, 103))
    ax.legend(fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
    if note:
        figure.supxlabel(note, fontsize=8, color=colors.gray, x=0.01, ha="left")
    return figure
