"""Exercises 13.1 and 13.4: bytes, by hand and by program. The others: clocks.py, segments.py, host.py, planner.py."""

from ...tutor import Case, Mistake, exercise

# -- 13.1 The floor by hand --------------------------------------------------------------------------------------------

TOKENS = 4 * 4096 * 64                                                   # B T H
BYTES, FLOPS = 2 * (4 * 128 + 1) * TOKENS, (6 * 128 * 128 + 4 * 64 * 256) * TOKENS
RATE, PEAK = 3e12, 800e12


def milliseconds(amount, rate=RATE):
    return round(1e3 * amount / rate, 6)


exercise(
    id="13.1", title="A floor by hand", kind="predict", stars=1, minutes=8, equations=("13.1", "13.2"),
    reference=milliseconds(BYTES), tolerance=5e-4,
    givens={"B": 4.0, "T": 4096.0, "H": 64.0, "TB/s": 3.0, "TFLOP/s": 800.0},
    mutants={
        "takes the arithmetic for the longer of the two": Mistake(milliseconds(FLOPS, PEAK),
            "That is how long the tensor cores need at their peak. Moving the bytes takes longer, and the longer one "
            "counts.", "eq. 3.10"),
        "adds the two": Mistake(round(milliseconds(BYTES) + milliseconds(FLOPS, PEAK), 6),
            "Bytes move while products are computed. A floor assumes that they overlap: the longer one counts.",
            "eq. 3.10"),
        "forgets the outputs": Mistake(milliseconds(2 * (3 * 128 + 1) * TOKENS),
            "q, k, v and β come in. o must go out as well: another 128 numbers a token and head.", "eq. 13.1"),
        "counts float32": Mistake(milliseconds(2 * BYTES),
            "Four bytes a number, or each tensor moved twice. bfloat16 has two bytes, and a tensor is read or written, "
            "not both.", "eq. 13.1"),
        "counts a byte a number": Mistake(milliseconds(BYTES / 2),
            "One byte a number. bfloat16 has two.", "eq. 13.1"),
        "counts bits": Mistake(milliseconds(8 * BYTES), "Bits. The rate is in bytes a second.", "eq. 13.1"),
        "counts one head": Mistake(milliseconds(BYTES / 64), "That is one head. There are 64.", "eq. 13.1"),
        "counts one sequence": Mistake(milliseconds(BYTES / 4), "That is one sequence. There are 4.", "eq. 13.1"),
        "adds the backward pass": Mistake(milliseconds(BYTES + 2 * (7 * 128 + 2) * TOKENS),
            "Forward only was asked for.", "eq. 13.1"),
        "forgets beta": Mistake(milliseconds(2 * 4 * 128 * TOKENS),
            "Nearly: β is one more number a token and head.", "eq. 13.1"),
        "adds UT": Mistake(milliseconds(BYTES + 2 * 2 * 64 * TOKENS),
            "So much comes of UT, 64 numbers a token, stored and read again, or of a fifth wide tensor. Inputs and "
            "outputs have four, and what lies between a kernel can keep.", "eq. 13.1"),
        "takes beta in float32": Mistake(milliseconds(BYTES + 2 * TOKENS),
            "Nearly: everything is in bfloat16 here, β as well.", "eq. 13.1"),
        "adds the final memory": Mistake(milliseconds(BYTES + 2 * 128 * 128 * 4 * 64),
            "Nearly: the final memory may be forgotten here.", "eq. 13.1"),
        "adds the memories": Mistake(milliseconds(BYTES + 2 * 128 * 128 // 64 * TOKENS),
            "You let the memory of each chunk be stored. A kernel can keep it: it is neither an input nor an output.",
            "eq. 13.1"),
        "times the products with the memory alone": Mistake(milliseconds(6 * 128 * 128 * TOKENS, PEAK),
            "That is how long three products with a (V, K) memory take. Those within the chunk belong to eq. 13.2 as "
            "well, and all of them take less than the bytes.", "eq. 13.2"),
        "counts a product and a sum as one": Mistake(milliseconds(FLOPS / 2, PEAK),
            "Half the FLOPs of eq. 13.2: a product and its sum are two. Moving the bytes takes longer in any case.",
            "eq. 13.2"),
        "takes GB for GiB": Mistake(milliseconds(BYTES / 2**30 * 1e9),
            "A GB is 10⁹ bytes, and so the rate is meant: 3 · 10¹² bytes a second, not 3 TiB."),
        "counts one token of one head": Mistake(round(BYTES / TOKENS / 3e3, 6),
            "So long takes one token of one head, in nanoseconds. There are B · T · H of them, and that is no round "
            "million."),
        "gives seconds": Mistake(round(milliseconds(BYTES) / 1e3, 9), "In milliseconds, please."),
        "gives microseconds": Mistake(round(milliseconds(BYTES) * 1e3, 3), "In milliseconds, please."),
    },
    hints=("Count the numbers that must come in and go out, a token and head: four wide tensors, and β.",
           "2 · (4 · 128 + 1) = 1,026 bytes, and there are 4 · 4096 · 64 of them. How long do they take at 3 TB/s?",
           "1.076 GB at 3 TB/s is 0.359 ms. The products, 163,840 FLOPs each, would take 0.215 ms: less."),
    why="1,026 bytes · 1,048,576 = 1.076 GB, at 3 TB/s 0.359 ms. The products take 0.215 ms at 800 TFLOP/s: whoever "
        "moves each byte once and overlaps everything still waits for memory.",
)


# -- 13.4 What a fusion saves ------------------------------------------------------------------------------------------

def moved_when_fused(plan, i, sizes, wanted):
    (reads, writes), (more_reads, more_writes) = plan[i], plan[i + 1]
    others = plan[:i] + plan[i + 2:]
    needed = set(wanted).union(*(r for r, _ in plan[i + 2:]))            # later, or by whoever called
    read = set(reads) | set(more_reads) - set(writes)                    # each once, and nothing that was just made
    written = set(more_writes) | set(writes) & needed
    moved = [*read, *written] + [x for r, w in others for x in (*r, *w)]
    return sum(sizes[x] for x in moved)


def moved(plan, sizes):
    return sum(sizes[x] for reads, writes in plan for x in (*reads, *writes))


def by_what_is_saved(plan, i, sizes, wanted):
    """All that moves before, less what does not any more."""
    (reads, writes), (more_reads, _) = plan[i], plan[i + 1]
    total = moved(plan, sizes)
    for x in sizes:
        if x in reads and x in more_reads:
            total -= sizes[x]                                            # read once instead of twice
        if x in writes and x in more_reads:
            total -= sizes[x]                                            # not read back
        if x in writes and x not in wanted and all(x not in r for r, _ in plan[i + 2:]):
            total -= sizes[x]                                            # never leaves the chip
    return total


def by_building_the_plan(plan, i, sizes, wanted):
    later = [x for reads, _ in plan[i + 2:] for x in reads] + list(wanted)
    (reads, writes), (more_reads, more_writes) = plan[i:i + 2]
    joined = ({*reads, *(x for x in more_reads if x not in writes)},
              {*(x for x in writes if x in later), *more_writes})
    return moved([*plan[:i], joined, *plan[i + 2:]], sizes)


def joined(read=lambda r, w, more: {*r, *more} - {*w}, kept=lambda x, later, wanted: x in later or x in wanted,
           count="rw", rest=True, shift=0, others=False):
    """A mutant: what the joined kernel reads, which of the first one's results it writes, what is counted.

    others: results that the second kernel does not read are written in any case.
    """
    def f(plan, i, sizes, wanted):
        i = max(0, min(i + shift, len(plan) - 2))
        (r, w), (more_r, more_w) = plan[i:i + 2]
        later = {x for reads, _ in plan[i + 2:] for x in reads}
        written = (x for x in w if kept(x, later, wanted) or (others and x not in more_r))
        one = (list(read(r, w, more_r)), list({*more_w, *written}))
        unchanged = [*plan[:i], *plan[i + 2:]] if rest else []
        return sum(sizes[x] for reads, writes in [one, *unchanged]
                   for x in (*(reads if "r" in count else ()), *(writes if "w" in count else ())))
    return f


def joined_names(plan, i, wanted):
    """What the joined kernel reads and writes."""
    (reads, writes), (more_reads, more_writes) = plan[i:i + 2]
    later = set(wanted).union(*(r for r, _ in plan[i + 2:]))
    return {*reads, *more_reads} - {*writes} | {*more_writes} | {*writes} & later


def chunkwise_plan(K, V, C):
    """The chunkwise form in four kernels, with bytes a token and head in bfloat16: (plan, sizes)."""
    plan = [(("k", "beta"), ("UT",)), (("UT", "k", "v"), ("W", "U")), (("k", "W", "U"), ("X", "S", "final")),
            (("q", "k", "X", "S"), ("o",))]
    wide = {"q": K, "k": K, "v": V, "o": V, "W": K, "U": V, "X": V, "UT": C, "beta": 1, "S": K * V // C, "final": 1}
    return plan, {name: 2 * n for name, n in wide.items()}


def plans(g):
    chain = [(("x",), ("y",)), (("y",), ("z",))]
    shared = [(("x", "w"), ("y",)), (("y", "w", "b"), ("z",)), (("z", "y"), ("out",))]
    plan, sizes = chunkwise_plan(128, 64, 64)
    used_last = [(("x",), ("w",)), (("w",), ("b",)), (("b",), ("y",)), (("y", "w"), ("z",))]
    used_later = [(("k",), ("a",)), (("a", "k"), ("b",)), (("a", "b"), ("c",)), (("c",), ("o",))]
    few = {"x": 10, "y": 100, "z": 1000}
    weights = {"x": 1, "w": 2, "y": 4, "b": 8, "z": 16, "out": 32}
    return [Case((chain, 0, few, ("z",)), "two kernels, one result passes from one to the other"),
            Case((chain, 0, few, ("y", "z")), "the result in between is wanted, too"),
            Case((shared, 0, weights, ("out",)), "an input that both read, and a result that a third reads"),
            Case((shared, 1, weights, ("out",)), "the last two of three"),
            Case((used_last, 0, weights, ("z",)), "a result that only the last of four reads"),
            Case((used_later, 1, {"k": 3, "a": 5, "b": 7, "c": 11, "o": 13}, ("o", "b")), "the middle of four"),
            Case((plan, 0, sizes, ("o", "final")), "the delta rule in four kernels, the first two joined"),
            Case((plan, 2, sizes, ("o", "final")), "the delta rule in four kernels, the last two joined")]


exercise(
    id="13.4", title="What a fusion saves", kind="code", stars=3, minutes=20,
    reference=moved_when_fused, alternatives=(by_what_is_saved, by_building_the_plan), cases=plans,
    mutants={
        "still writes what nobody reads any more": Mistake(joined(kept=lambda x, later, wanted: True),
            "What the first kernel made for the second alone stays on the chip: not read back, and not written either.",
            next="Who reads it, if not the second kernel?"),
        "drops what a later kernel reads": Mistake(joined(kept=lambda x, later, wanted: x in wanted),
            "A kernel further on reads one of those results. It must still be written, and read there.",
            next="Look at `plan[i + 2:]`."),
        "looks at one more kernel only": Mistake(
            lambda plan, i, sizes, wanted: joined(kept=lambda x, later, wanted: x in wanted or any(
                x in reads for reads, _ in plan[i + 2:i + 3]))(plan, i, sizes, wanted),
            "Any kernel after the joined one may read a result, not the next one alone.",
            next="Look at all of `plan[i + 2:]`."),
        "drops what is wanted": Mistake(joined(kept=lambda x, later, wanted: x in later),
            "`wanted` names what must be there at the end, whoever reads it or not."),
        "drops what is wanted, if the second kernel reads it": Mistake(
            joined(kept=lambda x, later, wanted: x in later, others=True),
            "`wanted` names what must be there at the end. That the second kernel has it on the chip is not enough."),
        "drops everything that the second kernel reads": Mistake(
            joined(kept=lambda x, later, wanted: False, others=True),
            "Some of what passes from the first to the second is also wanted at the end, or read by a later kernel."),
        "drops everything in between": Mistake(joined(kept=lambda x, later, wanted: False),
            "Not every result of the first kernel may vanish: some are wanted, or read by a later kernel."),
        "reads twice what both need": Mistake(
            joined(read=lambda r, w, more: [*r, *(x for x in more if x not in w)]),
            "An input that both kernels read is loaded once when they are one: that is half of what a fusion is for."),
        "still reads the result in between": Mistake(joined(read=lambda r, w, more: {*r, *more}),
            "What the first one has just computed lies in registers. The second one need not load it."),
        "saves only the reading": Mistake(
            joined(read=lambda r, w, more: [*r, *(x for x in more if x not in w)], kept=lambda x, later, wanted: True),
            "You saved that the result in between is read back. It need not be written either, and inputs of both are "
            "read once."),
        "changes nothing": Mistake(lambda plan, i, sizes, wanted: moved(plan, sizes),
            "That is what moves without the fusion: kernel after kernel."),
        "counts reads only": Mistake(joined(count="r"), "What is written moves as well."),
        "counts writes only": Mistake(joined(count="w"), "What is read moves as well."),
        "counts the joined kernel alone": Mistake(joined(rest=False),
            "The other kernels of the plan move what they moved before."),
        "joins the wrong two": Mistake(joined(shift=-1), "Kernels i and i + 1, not i − 1 and i."),
        "moves everything once": Mistake(
            lambda plan, i, sizes, wanted: sum(sizes[x] for x in {x for reads, writes in [
                *plan[:i], *plan[i + 2:]] for x in (*reads, *writes)} | joined_names(plan, i, wanted)),
            "What another kernel of the plan reads or writes moves again: only within the joined kernel is it on the "
            "chip already."),
        "gives what is saved": Mistake(
            lambda plan, i, sizes, wanted: moved(plan, sizes) - moved_when_fused(plan, i, sizes, wanted),
            "That is the difference. What still moves was asked for."),
    },
    hints=("Three things change: inputs of both are read once, results in between are not read back, and some of them "
           "need not be written.",
           "A result of the first kernel must be written if it is in `wanted`, or if a kernel after i + 1 reads it.",
           "`read = set(reads) | set(more_reads) - set(writes)`; `written = set(more_writes) | set(writes) & needed`; "
           "the other kernels as before."),
)
