"""Pictures of chapter 11: which program owns what, where tiles live, which step fills which corner, and the bytes."""

import numpy as np

from .boxes import box
from .explore import explore
from .style import colors, subplots

TONES = (colors.delta, colors.red, colors.green, colors.orange, colors.purple, colors.sky, colors.gray, colors.ink)
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "oo", "++", "--")


def arrow(ax, start, end, color=colors.ink, dashed=False):
    ax.annotate("", end, start, arrowprops=dict(arrowstyle="->", color=color, lw=1.5, shrinkA=2, shrinkB=2,
                                                linestyle=(0, (3, 2)) if dashed else "-"))


def owners(N=4, tiles=2):
    """Left a program for each of N chunks, right a program for each of so many tiles of rows, through all chunks."""
    figure, (left, right) = subplots(
        f"Two diagrams over {N} chunks of one head. Left: {N} boxes side by side, one a chunk, each another program; "
        f"nothing connects them. Right: {tiles} rows of boxes, one for each tile of rows of the memory; each row is "
        f"one "
        "program, and arrows lead from chunk to chunk within a row, none between rows.",
        1, 2, figsize=(8.8, 0.9 + 0.75 * tiles), sharey=True)
    for n in range(N):
        box(left, n, tiles / 2 - 0.5, 0.8, f"{n + 1}", TONES[n % 4], 0.7)
        for ax in (left, right):
            ax.text(n + 0.4, -0.15, f"chunk {n + 1}", ha="center", va="bottom", fontsize=9.5)
    for i in range(tiles):
        for n in range(N):
            box(right, n, i, 0.8, f"{i + 1}", TONES[i % 4], 0.7)
            if n:
                arrow(right, (n - 0.22, i + 0.5), (n + 0.02, i + 0.5))
        right.text(-0.12, i + 0.5, f"tile {i + 1}\nof its rows", ha="right", va="center", fontsize=9.5)
    left.text(-0.12, tiles / 2, "the number\nis the\nprogram's", ha="right", va="center", fontsize=9.5)
    left.set_title("what needs no memory", pad=16)
    right.set_title("the memory", pad=16)
    for ax in (left, right):
        ax.set(xlim=(-0.9, N), ylim=(tiles + 0.05, -0.35))
        ax.axis("off")
    return figure


def levels(C=16):
    """Which step of eq. 11.2 fills which entry of the inverse of a C x C triangle."""
    t, i = np.indices((C, C))
    level = np.floor(np.log2(np.maximum(t ^ i, 1))).astype(int)
    steps = int(np.log2(C))
    figure, ax = subplots(
        f"A {C} by {C} lower triangle. Each entry carries the number of the step that fills it: ones on small "
        f"corners of "
        f"1 by 1 beside the diagonal, twos on corners of 2 by 2, and so on to one corner of {C // 2} by {C // 2}, "
        f"filled "
        f"by step {steps}.", figsize=(4.4, 4.4))
    for a in range(C):
        for b in range(a + 1):
            tone = colors.light if a == b else TONES[level[a, b] % len(TONES)]
            box(ax, b, a, 1, "" if a == b else str(level[a, b] + 1), tone, 1.0)
    ax.set(xlim=(-0.1, C + 0.1), ylim=(C + 0.1, -0.1), aspect="equal")
    ax.set_title(f"{steps} steps of eq. 11.2")
    ax.text(0.62 * C, 0.25 * C, "gray: the diagonal,\nall ones", fontsize=9.5, color=colors.ink)
    ax.axis("off")
    return figure


LOADED = ("$K$", "$\\mathbf{T}$", "$K$")                                  # right operands, as they come from HBM
FORMS = {                                                                # the chain in registers, its copies
    "tokens as rows": (("$S$", "$R$", "$X$", "$S'$"), ("$S^\\top$", "$R$", "$X^\\top$")),
    "tokens as columns": (("$S$", "$R^\\top$", "$X^\\top$", "$S'$"), None),
}


def places():
    """Where the tiles of the chain live with tokens as rows and as columns: registers, shared memory, HBM."""
    figure, axes = subplots(
        "Two diagrams with bands for registers, shared memory and HBM. Tokens as rows: from S to R to X to the next "
        "S the "
        "chain dips into shared memory three times. Tokens as columns: the chain stays in the registers; K, T and K "
        "reach "
        "it from shared memory, where they were loaded from HBM.", 1, 2, figsize=(9.6, 3.7), sharey=True)
    for ax, (title, (chain, copies)) in zip(axes, FORMS.items()):
        for y, name, tone in ((0, "registers", "#eef4fc"), (1.4, "shared\nmemory", "#fdf3e3"), (2.8, "HBM", "#f1f1f1")):
            ax.axhspan(y, y + 1.3, color=tone, zorder=0)
            if ax is axes[0]:
                ax.text(-0.12, y + 0.65, name, ha="right", va="center", fontsize=9.5)
        for j, name in enumerate(chain):
            box(ax, 0.1 + 2 * j, 0.15, 0.9, name, colors.delta, 0.8)
        for j, tile in enumerate(LOADED):
            x = 1.75 + 2 * j
            box(ax, x - 0.35, 1.55, 0.7, tile, colors.green, 0.8)
            box(ax, x - 0.35, 2.95, 0.7, tile, colors.gray, 0.8)
            arrow(ax, (x, 3.05), (x, 2.45), dashed=True)
            arrow(ax, (x, 1.65), (x + 0.42, 1.0), dashed=True)
            if copies:
                box(ax, 0.55 + 2 * j, 1.55, 0.78, copies[j], colors.red, 0.8)
                arrow(ax, (0.55 + 2 * j, 0.98), (0.8 + 2 * j, 1.68), colors.red)
                arrow(ax, (1.1 + 2 * j, 1.68), (2.1 + 2 * j, 0.95), colors.red)
            else:
                arrow(ax, (1.0 + 2 * j, 0.55), (2.1 + 2 * j, 0.55), colors.delta)
        ax.set(xlim=(0, 7.2), ylim=(4.1, 0), title=title)
        ax.axis("off")
    return figure


def asked(V_TILE, K=128, V=128, C=64, e=2):
    """Bytes per token and head, eq. 11.6 part by part: the least, the inverse apart, more programs a head."""
    m = -(-V // V_TILE)
    return e * (2 * K + 2 * V) + 4, e * (K + 2 * C) + 8, (m - 1) * (e * (2 * K + C) + 4)


def tiles(V_TILE=64, K=128, V=128, heads=16, multiprocessors=132):
    """One head's memory dealt out V_TILE rows at a time, and the bytes that all programs ask for."""
    m, parts = V // V_TILE, asked(V_TILE, K, V)
    figure, (left, right) = subplots(
        f"Tiles of {V_TILE} rows. Left: a memory of {V} rows in {m} bands, a program each; {heads} heads, {heads * m} "
        f"programs. Right: bars of bytes per token and head: {sum(parts)} if every program fetches what it asks for, "
        f"{sum(parts[:2])} if what is asked for again is in the cache, {parts[0]} at least.",
        1, 2, figsize=(8.8, 3.1), width_ratios=(1, 1.7))
    for i in range(m):
        box(left, 0, (i + 0.5) * V_TILE - 0.5, 1, f"program {i + 1}", TONES[i % 4], V_TILE)
    left.set(xlim=(-0.02, 1.02), ylim=(V + 1, -1), title=f"one head: {m} program{'s' * (m > 1)}")
    left.text(0.5, V + 6, f"{heads} heads: {heads * m} programs for {multiprocessors} multiprocessors\n"
                          f"S: {V_TILE * K // 128} of 255 registers of each of 128 threads",
              ha="center", va="top", fontsize=9.5)
    left.axis("off")
    names = ("the least", "the inverse apart", "more programs a head")
    for y, shown in ((0, 3), (1, 2)):
        start = 0
        for n in range(shown):
            right.barh(y, parts[n], 0.55, left=start, color=TONES[n], hatch=HATCHES[n], edgecolor=colors.paper,
                       linewidth=0, label=names[n] if y == 0 else None)
            start += parts[n]
        right.text(start + 30, y, f"{start:,}", va="center")
    right.set_yticks((0, 1), ("every program\nfetches", "again: from\nthe cache"))
    right.set(xlim=(0, 1.08 * sum(asked(16, K, V))), ylim=(1.5, -0.9), xlabel="bytes per token and head, bfloat16")
    right.set_title(f"V_TILE = {V_TILE}", pad=6)
    right.legend(loc="upper right", ncols=3, borderaxespad=0, columnspacing=1.0, handlelength=1.6, fontsize=8.5)
    right.grid(axis="y", visible=False)
    return figure


def explore_tiles():
    """`tiles` with a slider for the rows that a program owns."""
    return explore(tiles, V_TILE=("rows a program, V_TILE", [16, 32, 64, 128], 64))


def bill(forms, floor):
    """{form: {tensor: bytes}} as stacked bars in units of the floor, which is a dashed line. Returns the figure."""
    names = list(dict.fromkeys(name for parts in forms.values() for name in parts))
    told = "; ".join(f"{form}: {sum(parts.values()) / floor:.2f}" for form, parts in forms.items())
    figure, ax = subplots(f"Stacked bars: bytes moved, by tensor, in units of the least that must be. {told}.",
                          figsize=(8.4, 1.3 + 0.55 * len(forms)))
    for y, parts in enumerate(forms.values()):
        start = 0.0
        for n, name in enumerate(names):
            width = parts.get(name, 0) / floor
            ax.barh(y, width, 0.6, left=start, color=TONES[n % len(TONES)], hatch=HATCHES[n % len(HATCHES)],
                    edgecolor=colors.paper, linewidth=0, label=name if y == 0 else None)
            start += width
        ax.text(start + 0.02, y, f"{start:.2f}", va="center")
    ax.axvline(1, color=colors.ink, ls="--", lw=1.2)
    most = max(sum(parts.values()) for parts in forms.values()) / floor
    ax.set_yticks(range(len(forms)), list(forms))
    ax.set(xlim=(0, 1.1 * most), ylim=(len(forms) - 0.4, -0.6), xlabel="bytes moved, in units of the floor")
    ax.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", ncols=len(names), columnspacing=1.0, handlelength=1.6, fontsize=9)
    return figure
