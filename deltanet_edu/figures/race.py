"""Pictures of the race: one kernel's scores, and the board of all that got through."""

from .measuring import spelled
from .style import colors, look, subplots

BYTES = {"must": "what must move", "yours": "yours", "the package": "the package"}
TONES = {"yours": "red", "the package": "blue", "fla": "orange", "floor": "ink"}


def verdict(moved, times):
    """What a race measured. moved: {"must", "yours", "the package": bytes}; times: {"B,T,H,K": {who: ms}}."""
    times = {at: {who: ms for who, ms in row.items() if isinstance(ms, float)} for at, row in times.items()}
    panels = bool(moved) + bool(times)
    told = ", ".join(f"{BYTES[who]} {n:,}" for who, n in moved.items())
    rows = (f"{at}: " + ", ".join(f"{who} {ms:.3g}" for who, ms in row.items()) for at, row in times.items())
    clocked = "; ".join(rows)
    alt = " ".join(filter(None, ["The scores of a kernel.", told and f"Bytes: {told}.",
                                 clocked and f"Milliseconds: {clocked}."]))
    figure, axes = subplots(alt, 1, panels, figsize=(4.4 * panels, 2.6), squeeze=False)
    left = axes[0, 0]
    if moved:
        names = [BYTES[who] for who in moved]
        left.barh(names, [n / moved["must"] for n in moved.values()], 0.6,
                  color=[colors.gray, colors.red, colors.delta][:len(names)])
        for i, n in enumerate(moved.values()):
            left.text(n / moved["must"], i, f" {n / moved['must']:.2f}", va="center", fontsize=9)
        left.set(xlabel="times what must move", title="bytes", xlim=(0, 1.2 * max(moved.values()) / moved["must"]))
        left.invert_yaxis()
        left.grid(axis="y", visible=False)
    if times:
        clock(axes[0, -1], times)
    return figure


def clock(ax, times):
    """Milliseconds by shape, a mark for each candidate."""
    for who in dict.fromkeys(who for row in times.values() for who in row):
        points = [(row[who], i) for i, row in enumerate(times.values()) if who in row]
        chosen = look(TONES.get(who, "purple")) | {"linestyle": "", "markersize": 8}
        if who == "floor":
            chosen["marker"] = "|"
        ax.plot([x for x, _ in points], [i for _, i in points], label=who, **chosen)
    ax.set_yticks(range(len(times)), map(spelled, times))
    ax.set(xscale="log", xlabel="milliseconds", title="time")
    ax.invert_yaxis()
    ax.legend(fontsize=8, loc="best")


def board(entries):
    """All that got through, the latest last: bytes, as multiples of the package's, one bar each."""
    rows = [(f"{entry['name']}, {entry['date']}", entry["bytes"]["yours"] / entry["bytes"]["the package"])
            for entry in entries[-12:]]
    told = "; ".join(f"{name}: {ratio:.2f}" for name, ratio in rows)
    figure, ax = subplots(f"Horizontal bars: bytes moved, as multiples of the package's. {told}.",
                          figsize=(7.4, 1.1 + 0.4 * len(rows)))
    ax.barh(range(len(rows)), [ratio for _, ratio in rows], 0.6, color=colors.sky)
    for i, (_, ratio) in enumerate(rows):
        ax.text(ratio, i, f" {ratio:.2f}", va="center", fontsize=9)
    ax.axvline(1, color=colors.ink, ls="--", lw=1)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set(xlabel="bytes moved; dashed: the package's", xlim=(0, 1.2 * max(1, *(ratio for _, ratio in rows))))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    return figure
