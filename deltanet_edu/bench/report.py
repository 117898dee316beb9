"""What the measurements say: times per token and head, ratios to flash-linear-attention, distances from what the
hardware allows."""

import math
from functools import partial


def shape_of(label):
    return tuple(map(int, label.split(",")))


def nanoseconds(label, milliseconds):
    """Per token and head."""
    B, T, H, _ = shape_of(label)
    return 1e6 * milliseconds / (B * T * H)


def merge(files):
    """{label: {candidate: row}} of the first file, the library taken at its best: each of its times the least over all
    files, which may have been measured under different settings of it."""
    shapes = {label: {name: dict(row) for name, row in rows.items()} for label, rows in files[0]["shapes"].items()}
    for file in files[1:]:
        for label, rows in file["shapes"].items():
            for name, row in rows.items():
                mine = shapes.get(label, {}).get(name)
                if mine and name.startswith("fla"):
                    mine |= {key: min(value, mine.get(key, value)) for key, value in row.items()}
    return shapes


def speedups(shapes, key, of="fla chunk", over="chunkwise"):
    """{label: how many times faster}, of the shapes where both were measured."""
    return {label: rows[of][key] / rows[over][key] for label, rows in shapes.items()
            if key in rows.get(of, {}) and key in rows.get(over, {})}


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values))


def summary(shapes):
    """Lines: geometric mean and minimum of the speed-ups against each library."""
    lines = []
    for of, peer in (("fla chunk", "fla"), ("FlashQLA", "FlashQLA")):
        for key, name in (("forward", "forward"), ("both", "forward + backward"),
                          ("graph forward", "forward, as CUDA graphs"),
                          ("graph both", "forward + backward, as CUDA graphs")):
            if ratios := speedups(shapes, key, of):
                worst = min(ratios, key=ratios.get)
                lines.append(f"{name}: {geometric_mean(ratios.values()):.2f} times as fast as {peer} in geometric mean "
                             f"over {len(ratios)} shapes, at least {ratios[worst]:.2f} times ({worst})")
    return lines


def largest_error(item):
    """Of one candidate, (name, its errors or its failure), in words."""
    name, errors = item
    return f"{name} {errors['failure'] if 'failure' in errors else format(max(errors.values()), '.2e')}"


def largest_errors(label, rows):
    """One line: that of every candidate."""
    return f"{label}: largest errors " + ", ".join(map(largest_error, rows.items()))


def host_microseconds(label, rows):
    """One line: how long a call of each candidate keeps the host."""
    times = (f"{name} {row['forward']:.0f} / {row['both']:.0f}" for name, row in rows.items())
    return f"host microseconds at {label}: " + ", ".join(times)


def table(label, rows):
    """Lines: every candidate of one shape."""
    lines = [f"{label:<20}{'forward ms':>12}{'both ms':>10}{'ns forward':>12}{'ns both':>9}{'graph fwd':>11}"
             f"{'graph both':>11}{'held MB':>9}{'peak MB':>9}{'this / ours':>16}"]
    ours = rows.get("chunkwise", {})
    for name, row in rows.items():
        if "failure" in row:
            lines.append(f"{name:<20}{row['failure']}")
            continue
        ratio = f"{row['forward'] / ours['forward']:>9.2f}{row['both'] / ours['both']:>7.2f}" if "both" in ours else ""
        graphs = "".join(f"{row[key]:>11.3f}" if key in row else f"{'':>11}" for key in ("graph forward", "graph both"))
        lines.append(f"{name:<20}{row['forward']:>12.3f}{row['both']:>10.3f}{nanoseconds(label, row['forward']):>12.2f}"
                     f"{nanoseconds(label, row['both']):>9.2f}{graphs}"
                     f"{row['held MB']:>9.0f}{row['peak MB']:>9.0f}{ratio}")
    return lines


# -- what the hardware allows ------------------------------------------------------------------------------------------

def floor_bytes(K, V, size=2):
    """Bytes per token and head that any kernel must move, {"forward": ..., "both": ...}: inputs read once,
    results written once."""
    forward = size * (2 * K + 2 * V + 1)                                 # q, k, v, beta; o
    return {"forward": forward, "both": forward + size * (4 * K + 3 * V + 2)}     # q, k, v, beta, do; dq, dk, dv, dbeta


def floor_flops(K, V, C=64):
    """FLOPs per token and head of the products of chapter 9, whole C x C tiles, {"forward": ..., "both": ...}.

    Forward: three products with a V x K memory, four with a C x C tile. Backward: eight with a memory, of which two
    repeat the forward pass, and nine with a tile: Q K^T and three with dP and E that are K wide; UT R, P^T dO,
    UT^T dX, dP and E, V wide.
    """
    forward = 6 * K * V + 4 * C * (K + V)
    return {"forward": forward, "both": forward + 16 * K * V + C * (8 * K + 10 * V)}


def floor(label, ceilings):
    """Nanoseconds per token and head that bytes or FLOPs alone take, whichever is more:
    {"forward": (ns, which), "both": ...}."""
    D = shape_of(label)[3]
    found = {}
    for key in ("forward", "both"):
        times = {"bytes": 1e9 * floor_bytes(D, D)[key] / ceilings["byte/s"],
                 "FLOPs": 1e9 * floor_flops(D, D)[key] / ceilings["flop/s"]}
        name = max(times, key=times.get)
        found[key] = times[name], name
    return found


# -- figures -----------------------------------------------------------------------------------------------------------

def note(file, what):
    """Under a figure: what was measured, where and when."""
    named = {"torch": "PyTorch", "triton": "Triton", "fla-core": "fla-core", "flash-qla": "FlashQLA"}
    versions = ", ".join(f"{name} {file['versions'][key].split('+')[0]}" for key, name in named.items()
                         if key in file["versions"])
    return f"{what}\n{file['machine'].get('gpu', file['machine']['processor'])}, {versions}, {file['date']}."


def figures(files):
    """{name: draw} of every figure that these measurements allow; draw() returns it."""
    from ..figures import kernels

    drawn = {}
    timed, long = ([file for file in files if section in file] for section in ("shapes", "points"))
    if timed:
        shapes = merge(timed)
        ns = {label: {key: {name: nanoseconds(label, row[key]) for name, row in rows.items() if key in row}
                      for key in ("forward", "both")}
              for label, rows in shapes.items()}
        for name, of, library in (("library", "fla chunk", "flash-linear-attention"),
                                  ("flashqla", "FlashQLA", "FlashQLA")):
            pairs = {label: {key: (t["chunkwise"], t[of]) for key, t in row.items()}
                     for label, row in ns.items() if of in row["both"]}
            if pairs:
                about = note(timed[0], "bfloat16, unit keys, medians.")
                drawn[name] = partial(kernels.against_library, pairs, about, library)
        if ns and (ceilings := timed[0].get("ceilings")):
            floors = {label: {key: (t["chunkwise"], *floor(label, ceilings)[key]) for key, t in row.items()}
                      for label, row in ns.items()}
            roofs = (f"bfloat16. Floor: inputs and results moved once at {ceilings['byte/s'] / 1e12:.2f} TB/s, or the "
                     f"products of chapter 9 at {ceilings['flop/s'] / 1e12:.0f} TFLOP/s.")
            drawn["floor"] = lambda: kernels.against_floor(floors, note(timed[0], roofs))
    if long:
        curves = {}
        for label, row in long[0]["points"].items():
            _, T, _, D = shape_of(label)
            curves.setdefault(D, {})[T] = row["speedup"]
        about = note(long[0], "16,384 tokens, model width 2,048, bfloat16; the faster of two recurrent kernels.")
        drawn["recurrent"] = partial(kernels.speedup_by_length, curves, about)
    return drawn
