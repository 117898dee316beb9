"""The table of what has been solved, per chapter."""

from html import escape

from .rendering import COLORS, card

BAR = 20


def rows(exercises, predictions, data):
    """(chapter, solved, tried but not solved, all, predictions made, predictions) per chapter."""
    done, said = data["exercises"], data["predictions"]
    table = []
    for chapter in sorted({e.chapter for e in exercises}):
        ids = [e.id for e in exercises if e.chapter == chapter]
        asked = [p.id for p in predictions if int(p.id.split(".")[0]) == chapter]
        solved = sum(bool(done.get(id, {}).get("solved")) for id in ids)
        tried = sum(bool(done.get(id, {}).get("attempts")) and not done[id].get("solved") for id in ids)
        table.append((chapter, solved, tried, len(ids), sum(id in said for id in asked), len(asked)))
    return table


def progress_text(exercises, predictions, data, unavailable):
    """The table as text: filled, half-filled and empty parts of a bar for solved, tried and open exercises.

    unavailable: {chapter: why} for chapters that this machine lacks something for.
    """
    table = rows(exercises, predictions, data)
    lacking = [f"{why[0].upper()}{why[1:]}." for why in unavailable.values()]
    if not table:
        return "\n".join(["There are no exercises on this machine.", *lacking])
    lines = []
    for chapter, solved, tried, total, said, asked in table:
        full, half = round(BAR * solved / total), round(BAR * (solved + tried) / total)
        bar = "█" * full + "▒" * (half - full) + "·" * (BAR - half)
        rest = [f"{tried} under way"] * bool(tried) + [f"{said} of {asked} predictions"] * bool(said)
        lines.append(", ".join([f"chapter {chapter:>2}  {bar}  {solved:>2} of {total:>2} solved", *rest]))
    lines += lacking
    solved, total = sum(r[1] for r in table), sum(r[3] for r in table)
    lines.append(f"all         {solved} of {total} solved")
    mistakes = favorite_mistakes(data)
    if mistakes:
        lines += ["", "Mistakes met more than once:"] + [f"      {id}  it {name} ({n} times)" for id, name,
                                                         n in mistakes]
    return "\n".join(lines)


def progress_html(exercises, predictions, data, unavailable):
    """The same table in HTML."""
    body = ""
    for chapter, solved, tried, total, said, asked in rows(exercises, predictions, data):
        cells = (f"chapter {chapter}", _bar(solved / total, tried / total),
                 f"{solved} of {total} solved" + (f", {tried} under way" if tried else ""),
                 f"{said} of {asked} predictions" if said else "")
        row = "".join(f'<td style="text-align:left;padding:2px 10px 2px 0">{c}</td>' for c in cells)
        body += f"<tr>{row}</tr>"
    again = "".join(f"<div>{escape(id)}: it {escape(name)} ({n} times)</div>" for id, name,
                    n in favorite_mistakes(data))
    again = f'<div style="margin-top:6px"><b>Mistakes met more than once</b>{again}</div>' if again else ""
    lacking = "".join(f"<div>{escape(why[0].upper() + why[1:])}.</div>" for why in unavailable.values())
    return card("note", "<b>Progress</b>", f'<table style="color:inherit;border:none">{body}</table>{lacking}{again}')


def _bar(solved, tried):
    """A bar on a gray ground: its solved part is full, its tried part striped, so that neither needs its color."""
    full, red = (f"rgba({COLORS[state]},0.9)" for state in ("pass", "fail"))
    stripes = f"repeating-linear-gradient(135deg,{red} 0 3px,transparent 3px 6px)"
    block = '<span style="display:inline-block;height:0.8em;width:{:.4g}%;background:{}"></span>'
    filled = block.format(100 * solved, full) + block.format(100 * tried, stripes)
    ground = f"width:14em;height:0.8em;line-height:0;white-space:nowrap;background:rgba({COLORS['open']},0.25)"
    return f'<div style="{ground}">{filled}</div>'


def favorite_mistakes(data, most=5):
    """(exercise, mistake, how often) for mistakes made at least twice, most frequent first."""
    found = [(id, name, n) for id, record in data["exercises"].items()
             for name, n in record.get("mistakes", {}).items() if n > 1]
    return sorted(found, key=lambda row: (-row[2], row[0], row[1]))[:most]
