"""Exercises 13.7 to 13.9: how long a plan takes, and which is best: a model of a GPU and its host in three stages."""

import math
from itertools import product

from ...tutor import Case, Mistake, exercise

# -- 13.7 The host and the GPU -----------------------------------------------------------------------------------------

def timeline(times, launch):
    host = end = 0.0
    for t in times:
        host += launch                                                   # the host has put it into the queue
        end = max(end, host) + t                                         # the GPU begins when both are ready
    return end, launch + sum(times)                                      # a graph is a single launch


def timeline_by_formula(times, launch):
    """One kernel, j, is the last for which the GPU had to wait; after it everything runs without a gap."""
    eager = max((launch * (j + 1) + sum(times[j:]) for j in range(len(times))), default=0.0)
    return eager, launch + math.fsum(times)


def timeline_from_the_end(times, launch):
    rest = eager = 0.0
    for j, t in reversed(list(enumerate(times, 1))):
        rest += t
        eager = max(eager, j * launch + rest)
    return eager, rest + launch


def kernels(g):
    return [Case(([50.0], 10), "one kernel"), Case(([50.0, 20.0], 10), "long kernels: the host is ahead"),
            Case(([2.0, 3.0], 10), "short kernels: the GPU waits"),
            Case(([40.0, 5.0, 5.0, 60.0], 16), "a long kernel first"),
            Case(([5.0, 4.0, 3.0, 80.0, 2.0], 12), "short ones first"),
            Case(([30.0, 1.0, 1.0, 1.0, 1.0, 7.0], 9), "an advantage that is used up")]


def eager_is(eager, graph=lambda times, launch: launch + sum(times)):
    return lambda times, launch: (eager(times, launch), graph(times, launch))


def waiting_after_each(times, launch):
    return sum(times) + launch * len(times)


def never_ahead(times, launch):
    return max(sum(times), launch * len(times))


def without_the_wait(times, launch):
    end = 0.0
    for n, t in enumerate(times):
        end = max(end, n * launch) + t
    return end


def running_early(times, launch):
    end = 0.0
    for n, t in enumerate(times, 1):
        end = max(end + t, n * launch)
    return end


def slower_of_the_two(times, launch):
    return sum(max(t, launch) for t in times)


exercise(
    id="13.7", title="The host and the GPU", kind="code", stars=2, minutes=15, equations=("13.6",),
    reference=timeline, alternatives=(timeline_by_formula, timeline_from_the_end), cases=kernels,
    mutants={
        "lets the host wait for every kernel": Mistake(eager_is(waiting_after_each),
            "That is what happens if you synchronize after each call. Without it the host prepares the next launch "
            "while the GPU works.", "eq. 13.6"),
        "takes the longer of the two sums": Mistake(eager_is(never_ahead),
            "Nearly: it forgets that no kernel can begin before its own launch, and that the last one still runs when "
            "the last launch is done.", "eq. 13.6", next="One kernel: launch 10, then 50 of work. When is it done?"),
        "adds up the longer of each pair": Mistake(eager_is(slower_of_the_two),
            "A host that is ahead stays ahead: the time that a long kernel gives it covers several short ones.",
            "eq. 13.6", next="Keep two clocks, and move both forward kernel by kernel."),
        "lets the first kernel begin at once": Mistake(eager_is(without_the_wait),
            "Kernel n begins after n launches, not n − 1: the first one has to be launched as well.", "eq. 13.6"),
        "never lets the GPU wait": Mistake(eager_is(lambda times, launch: launch + sum(times)),
            "That is the graph. In eager mode each kernel waits for its own launch.", "eq. 13.6"),
        "counts the launches alone": Mistake(eager_is(lambda times, launch: launch * len(times)),
            "That is when the host is done. The GPU is not.", "eq. 13.6"),
        "takes the later of two ends": Mistake(
            eager_is(lambda times, launch: max(launch * len(times), launch + sum(times))),
            "That is exact only if the GPU never waits, or has nothing left to do at the last launch. In between a "
            "kernel may wait for its launch although the host was ahead before.", "eq. 13.6",
            next="Keep two clocks, and move both forward kernel by kernel."),
        "adds up the longer of each pair, and a launch": Mistake(
            eager_is(lambda times, launch: launch + slower_of_the_two(times, launch)),
            "A host that is ahead stays ahead: the time that a long kernel gives it covers several short ones.",
            "eq. 13.6", next="Keep two clocks, and move both forward kernel by kernel."),
        "lets a kernel run while it is launched": Mistake(eager_is(running_early),
            "A kernel begins when it has been launched *and* the one before is done: take the later of these first, "
            "and then add its time.", "eq. 13.6"),
        "lets a graph begin before its launch": Mistake(
            eager_is(lambda *x: timeline(*x)[0], lambda times, launch: max(launch, sum(times))),
            "The first kernel begins after the launch, so that comes on top of all times."),
        "launches a graph for free": Mistake(eager_is(lambda *x: timeline(*x)[0], lambda times, launch: sum(times)),
            "A graph is one launch. It costs what one costs.", next="What does the graph of a single kernel take?"),
        "launches every kernel of a graph": Mistake(
            eager_is(lambda *x: timeline(*x)[0], lambda times, launch: sum(times) + launch * len(times)),
            "The launches are recorded: the host starts all of them by one call."),
        "gives the graph first": Mistake(lambda times, launch: timeline(times, launch)[::-1],
            "Eager first, then the graph."),
        "forgets that the GPU may still be busy": Mistake(
            eager_is(lambda times, launch: launch * len(times) + times[-1]),
            "The last kernel begins when it is launched *and* when the one before is done.", "eq. 13.6"),
    },
    hints=("Keep two clocks: when the host has queued the kernel, and when the GPU is done with the one before.",
           "The host's clock advances by `launch` a kernel. A kernel begins at the later of the two clocks.",
           "`host += launch; end = max(end, host) + t`. The graph: one launch and all times."),
)


# -- 13.8 Build, stage 1: waves ----------------------------------------------------------------------------------------

V, C = 128, 64


def sweep_time(B, H, T, rows, P, step, multiprocessors):
    programs = B * H * P * math.ceil(128 / rows)
    waves = math.ceil(programs / multiprocessors)                        # one that is hardly begun counts whole
    chunks = math.ceil(math.ceil(T / 64) / P)                            # of the longest segment
    return waves * chunks * step


def sweep_by_counting(B, H, T, rows, P, step, multiprocessors):
    """Programs take the next free multiprocessor, one after the other."""
    free = [0.0] * multiprocessors
    chunks = -(-(-(-T // C)) // P)
    for program in range(B * H * P * -(-V // rows)):
        free[program % multiprocessors] += chunks * step
    return max(free)


def sweep_by_floors(B, H, T, rows, P, step, multiprocessors):
    programs, chunks = B * H * P * ((V + rows - 1) // rows), (T + C - 1) // C
    return ((programs - 1) // multiprocessors + 1) * ((chunks + P - 1) // P) * step


def swept(programs=lambda B, H, P, tiles: B * H * P * tiles, waves=math.ceil,
          chunks=lambda T, P: math.ceil(math.ceil(T / C) / P), tiles=lambda rows: math.ceil(V / rows)):
    """A mutant of sweep_time."""
    def f(B, H, T, rows, P, step, multiprocessors):
        return waves(programs(B, H, P, tiles(rows)) / multiprocessors) * chunks(T, P) * step
    return f


def sweeps(g):
    def case(note, *args):
        return Case(args, note)
    return [case("one program", 1, 1, 64, 128, 1, 2.0, 132), case("a token too many", 1, 1, 65, 128, 1, 2.0, 132),
            case("the chip is not full", 1, 8, 4096, 64, 1, 1.5, 132),
            case("exactly full", 1, 66, 640, 64, 1, 1.5, 132),
            case("one wave and a bit", 2, 40, 1000, 64, 1, 1.5, 132),
            case("four segments", 1, 8, 32768, 64, 4, 1.5, 132),
            case("segments of unequal length", 1, 4, 650, 32, 3, 1.0, 10),
            case("a tile that does not divide V", 3, 2, 500, 96, 2, 2.0, 7),
            case("many heads", 4, 64, 4096, 128, 1, 2.5, 132)]


exercise(
    id="13.8", title="Build, stage 1: waves", kind="code", stars=2, minutes=15,
    reference=sweep_time, alternatives=(sweep_by_counting, sweep_by_floors), cases=sweeps,
    mutants={
        "allows a part of a wave": Mistake(swept(waves=lambda x: x),
            "A multiprocessor runs a program or it does not. With fewer programs than multiprocessors the sweep does "
            "not get shorter: one wave is the least.", next="How long do 133 programs take on 132 multiprocessors?"),
        "allows a part of a wave after the first": Mistake(swept(waves=lambda x: max(1, x)),
            "One wave is the least, and so it goes on: 133 programs on 132 multiprocessors take two, not 1.01."),
        "adds segments to programs": Mistake(swept(programs=lambda B, H, P, tiles: B * H * tiles + P),
            "Every tile of every head has a program in *each* segment: P times as many."),
        "loses the last wave": Mistake(swept(waves=lambda x: max(1, math.floor(x))),
            "133 programs on 132 multiprocessors take two waves: round up."),
        "rounds to the nearest wave": Mistake(swept(waves=lambda x: max(1, round(x))),
            "A wave that is hardly begun takes as long as a full one: round up."),
        "adds a wave that is not there": Mistake(swept(waves=lambda x: math.floor(x) + 1),
            "Exactly full is one wave, not two. `math.ceil`."),
        "ignores the multiprocessors": Mistake(swept(waves=lambda x: 1),
            "All programs at once would need as many multiprocessors as programs."),
        "runs one program after the other": Mistake(
            lambda B, H, T, rows, P, step, multiprocessors: swept()(B, H, T, rows, P, step, 1),
            "There are many multiprocessors, and they work at the same time."),
        "forgets that segments are programs": Mistake(swept(programs=lambda B, H, P, tiles: B * H * tiles),
            "Every segment has programs of its own. That is the point of cutting."),
        "forgets that segments are shorter": Mistake(swept(chunks=lambda T, P: math.ceil(T / C)),
            "A segment has a P-th of the chunks, rounded up."),
        "forgets the batch": Mistake(swept(programs=lambda B, H, P, tiles: H * P * tiles),
            "Sequences of a batch are independent: B times as many programs."),
        "forgets that rows are split": Mistake(swept(programs=lambda B, H, P, tiles: B * H * P),
            "A program holds `rows` rows of the memory. A head has 128, so ⌈128 / rows⌉ programs."),
        "takes rows for programs": Mistake(swept(tiles=lambda rows: rows),
            "`rows` is how many rows of the memory a program holds: more rows, fewer programs."),
        "drops the rest of the rows": Mistake(swept(tiles=lambda rows: V // rows),
            "Rows that are left over need a program, too: round up."),
        "drops the last chunk": Mistake(swept(chunks=lambda T, P: max(1, T // C // P)),
            "A chunk that is not full is a chunk. Round up, twice: chunks of the sequence, chunks of a segment."),
        "rounds once": Mistake(swept(chunks=lambda T, P: math.ceil(T / C) // P),
            "The longest segment decides: ⌈chunks / P⌉."),
        "counts tokens as steps": Mistake(swept(chunks=lambda T, P: math.ceil(T / P)),
            "A step is a chunk of 64 tokens."),
    },
    hints=("How many programs are there? How many run at the same time? How many steps does each have?",
           "B · H · P · ⌈128 / rows⌉ programs; ⌈programs / multiprocessors⌉ waves; ⌈⌈T / 64⌉ / P⌉ steps a program.",
           "waves · steps · step."),
)


# -- 13.9 Build, stage 2: a planner ------------------------------------------------------------------------------------

def plan_time(B, H, T, rows, P, machine):
    step, launch, multiprocessors = machine["steps"][rows], machine["launch"], machine["multiprocessors"]
    sweep = launch + sweep_time(B, H, T, rows, P, step, multiprocessors)
    if P == 1:
        return sweep
    maps = launch + sweep_time(2 * B, H, T, rows, P, step, multiprocessors)      # b and M: twice as many programs
    return maps + launch + P * machine["scan"] + sweep


def best_plan(B, H, T, machine):
    def sweep(sequences, rows, P):
        step = machine["steps"][rows]
        return machine["launch"] + sweep_time(sequences, H, T, rows, P, step, machine["multiprocessors"])

    def time(plan):
        rows, P = plan
        whole = sweep(B, rows, P)
        if P == 1:
            return whole
        maps = sweep(2 * B, rows, P)                                     # b and M: twice as many programs
        return maps + machine["launch"] + P * machine["scan"] + whole

    chunks = math.ceil(T / 64)
    sizes = [2**i for i in range(chunks.bit_length())]                   # 1, 2, 4, ... up to the chunks there are
    return min(product(machine["steps"], sizes), key=time)


def best_plan_by_loops(B, H, T, machine):
    best = None
    for rows in machine["steps"]:
        P = 1
        while P <= -(-T // C):
            t = plan_time(B, H, T, rows, P, machine)
            if best is None or t < best[0]:
                best = t, rows, P
            P *= 2
    return best[1:]


def best_plan_by_sorting(B, H, T, machine):
    plans = [(plan_time(B, H, T, rows, 2**i, machine), rows, 2**i)
             for rows in machine["steps"] for i in range(math.ceil(T / C).bit_length())]
    _, rows, P = sorted(plans)[0]
    return [rows, P]


def chosen(time, rows_of=lambda machine: machine["steps"], most=lambda T: math.ceil(T / C)):
    """A mutant: the least time(B, H, T, rows, P, machine)."""
    def f(B, H, T, machine):
        sizes = [2**i for i in range(12) if 2**i <= max(1, most(T))]
        return min(product(rows_of(machine), sizes), key=lambda plan: time(B, H, T, *plan, machine))
    return f


def priced(maps=2, launches=2, scan=1, again=True):
    """plan_time with some of the price of cutting left out."""
    def time(B, H, T, rows, P, machine):
        step, launch, n = machine["steps"][rows], machine["launch"], machine["multiprocessors"]
        sweep = launch + sweep_time(B, H, T, rows, P, step, n)
        if P == 1:
            return sweep
        first = sweep_time(maps * B, H, T, rows, P, step, n) if maps else 0
        return first + launches * launch + scan * P * machine["scan"] + sweep * again
    return time


def by_parts_of_waves(B, H, T, rows, P, machine):
    """plan_time with waves that need not be whole."""
    step, launch, n = machine["steps"][rows], machine["launch"], machine["multiprocessors"]

    def sweep(sequences):
        waves = max(1, sequences * H * P * math.ceil(V / rows) / n)
        return launch + waves * math.ceil(math.ceil(T / C) / P) * step

    return sweep(B) if P == 1 else sweep(2 * B) + launch + P * machine["scan"] + sweep(B)


def fewer_segments_than_chunks(B, H, T, machine):
    sizes = [2**i for i in range(12) if 2**i < math.ceil(T / C)]
    return min(product(machine["steps"], sizes), key=lambda plan: plan_time(B, H, T, *plan, machine))


H100 = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=6.0, scan=0.5)
SMALL = dict(multiprocessors=28, steps={32: 2.0, 64: 3.1}, launch=6.0, scan=1.0)
SLOW_HOST = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=90.0, scan=0.5)


def plans(g):
    def case(note, B, H, T, machine=H100):
        return Case((B, H, T, machine), f"{note}: B = {B}, H = {H}, T = {T}")
    return [case("one chunk", 1, 1, 50), case("few heads, a short text", 1, 4, 1000),
            case("few heads, a long text", 1, 8, 32768), case("two heads, a longer one", 1, 2, 65536),
            case("enough heads", 2, 32, 4096), case("more than enough", 4, 64, 4096),
            case("a wave and a bit", 1, 17, 4096), case("between", 1, 24, 8192),
            case("a small chip", 1, 4, 8192, SMALL), case("a small chip, many heads", 2, 16, 4096, SMALL),
            case("a slow host", 1, 8, 8192, SLOW_HOST),
            case("a slow host, a long text", 1, 8, 65536, SLOW_HOST), case("few heads, a middling text", 1, 6, 3000)]


exercise(
    id="13.9", title="Build, stage 2: a planner", kind="code", stars=3, minutes=30, equations=("13.4",),
    reference=best_plan, sources=(sweep_time, best_plan),
    alternatives=(best_plan_by_loops, best_plan_by_sorting), cases=plans,
    mutants={
        "never cuts": Mistake(chosen(plan_time, most=lambda T: 1),
            "With few heads and a long text most of the chip is idle. Cutting costs a second sweep and pays all the "
            "same.", "eq. 13.4"),
        "cuts for nothing": Mistake(chosen(priced(maps=0, launches=0, scan=0)),
            "Segments do not come for free: their maps take a sweep with twice as many programs, and there are two "
            "more launches and the chain through the maps.", "eq. 13.4"),
        "forgets the sweep for the maps": Mistake(chosen(priced(maps=0)),
            "Before a segment can run, someone must know what enters it: that is a sweep of its own.", "eq. 13.4"),
        "forgets that M has rows, too": Mistake(chosen(priced(maps=1)),
            "The first sweep makes b, with V rows, *and* M, with K: twice as many programs.", "eq. 13.3"),
        "forgets the additional launches": Mistake(chosen(priced(launches=0)),
            "Three launches instead of one. On a slow host that decides."),
        "forgets one of the launches": Mistake(chosen(priced(launches=1)),
            "Maps, chain and sweep: three launches, two more than without a cut."),
        "forgets the chain through the maps": Mistake(chosen(priced(scan=0)),
            "S ← S M + b takes P steps, one after the other. Without their price the finest cut looks best.",
            "eq. 13.4"),
        "forgets to run the segments": Mistake(chosen(priced(again=False)),
            "After the maps and the chain the segments still have to run."),
        "takes the largest tile": Mistake(chosen(plan_time, rows_of=lambda machine: [max(machine["steps"])]),
            "Fewer, larger programs are better only if the chip is full."),
        "takes the smallest tile": Mistake(chosen(plan_time, rows_of=lambda machine: [min(machine["steps"])]),
            "Small tiles make many programs. Once the chip is full they only repeat work."),
        "takes one size of tile": Mistake(
            chosen(plan_time, rows_of=lambda machine: [sorted(machine["steps"])[len(machine["steps"]) // 2]]),
            "`machine[\"steps\"]` has several sizes, and which is best depends on how full the chip is."),
        "takes every machine for an H100": Mistake(
            chosen(lambda B, H, T, rows, P, machine: plan_time(B, H, T, rows, P, {**machine, "multiprocessors": 132})),
            "How many programs run at once is `machine[\"multiprocessors\"]`: not every chip has 132."),
        "allows a part of a wave": Mistake(chosen(by_parts_of_waves),
            "A wave that is hardly begun takes as long as a full one: round up, as in 13.8."),
        "allows any number of segments": Mistake(
            lambda B, H, T, machine: min(product(machine["steps"], range(1, math.ceil(T / C) + 1)),
                                         key=lambda plan: plan_time(B, H, T, *plan, machine)),
            "P is a power of two."),
        "stops at 16 segments": Mistake(chosen(plan_time, most=lambda T: min(16, math.ceil(T / C))),
            "P may be any power of two up to the number of chunks."),
        "leaves a text of one chunk without a plan": Mistake(
            fewer_segments_than_chunks,
            "Not to cut, P = 1, is always possible, also where there is one chunk, full or not. Yours has nothing to "
            "choose from then.", next="Which P does your loop try for T = 50?"),
        "takes the slowest": Mistake(chosen(lambda *x: -plan_time(*x)),
            "That is the plan that takes longest: `min`, not `max`."),
        "gives segments first": Mistake(lambda *x: tuple(best_plan(*x))[::-1], "First the rows, then the segments."),
        "gives the time": Mistake(lambda B, H, T, machine: plan_time(B, H, T, *best_plan(B, H, T, machine), machine),
            "Which plan was asked, not how long it takes."),
    },
    hints=("Write a function for the time of one plan (rows, P) first; then try all of them.",
           "P = 1: a launch and a sweep. P > 1: besides that, a launch and a sweep with twice as many programs (pass "
           "2 · B), and a launch and P · scan.",
           "`min(product(machine['steps'], sizes), key=lambda plan: plan_time(B, H, T, *plan, machine))`, with sizes "
           "1, 2, 4, ... up to the number of chunks."),
)
