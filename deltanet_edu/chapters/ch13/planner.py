"""Exercises 13.8 and 13.9: how long a plan takes, and which is best. The model of a GPU and its host is in host.py."""

import math
from itertools import product

from ...tutor import Case, Mistake, exercise

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
            case("more segments than chunks", 1, 8, 100, 32, 16, 1.0, 132),
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
        "counts programs for segments that have a chunk only": Mistake(
            lambda B, H, T, rows, P, step, multiprocessors: swept(
                programs=lambda B, H, P, tiles: B * H * min(P, math.ceil(T / C)) * tiles)(
                    B, H, T, rows, P, step, multiprocessors),
            "All P segments have their programs, also those for which no chunk is left: they are launched, and take "
            "their turn.", next="How many programs have 8 heads with P = 16, for a text of two chunks?"),
        "forgets that segments are shorter": Mistake(swept(chunks=lambda T, P: math.ceil(T / C)),
            "A segment has a P-th of the chunks, rounded up."),
        "forgets the batch": Mistake(swept(programs=lambda B, H, P, tiles: H * P * tiles),
            "Sequences of a batch are independent: B times as many programs."),
        "gives each segment of a head one program": Mistake(swept(programs=lambda B, H, P, tiles: B * H * P),
            "A program holds `rows` rows of the memory. A head has 128, so ⌈128 / rows⌉ programs."),
        "takes rows for programs": Mistake(swept(tiles=lambda rows: rows),
            "`rows` is how many rows of the memory a program holds: more rows, fewer programs."),
        "drops the rest of the rows": Mistake(swept(tiles=lambda rows: V // rows),
            "Rows that are left over need a program, too: round up."),
        "leaves out the chunk that is not full": Mistake(swept(chunks=lambda T, P: math.ceil(T // C / P)),
            "A chunk that is not full is a chunk, and takes as long as any: ⌈T / 64⌉ of them, and the longest segment "
            "has ⌈chunks / P⌉."),
        "drops the last chunk": Mistake(swept(chunks=lambda T, P: max(1, T // C // P)),
            "A chunk that is not full is a chunk. Round up, twice: chunks of the sequence, chunks of a segment."),
        "lets the last segment decide": Mistake(
            swept(chunks=lambda T, P: math.ceil(T / C) - (P - 1) * math.ceil(math.ceil(T / C) / P)),
            "The last segment has what is left over. The longest one decides: ⌈chunks / P⌉."),
        "runs one segment after the other": Mistake(lambda B, H, T, rows, P, *rest: P * sweep_time(
                B, H, math.ceil(math.ceil(T / C) / P) * C, rows, 1, *rest),
            "Segments run side by side: count the programs of all, and then the waves."),
        "runs one sequence after the other": Mistake(lambda B, *rest: B * sweep_time(1, *rest),
            "Sequences run side by side: count the programs of all, and then the waves."),
        "rounds the chunks of a segment down": Mistake(swept(chunks=lambda T, P: math.ceil(T / C) // P),
            "The longest segment decides: ⌈chunks / P⌉."),
        "counts tokens as steps": Mistake(swept(chunks=lambda T, P: math.ceil(T / P)),
            "A step is a chunk of 64 tokens."),
        "cuts all memories as if they were one": Mistake(
            lambda B, H, T, rows, P, step, multiprocessors: (
                math.ceil(B * H * P * V // rows / multiprocessors) * math.ceil(math.ceil(T / C) / P) * step),
            "A program holds rows of *one* memory: first ⌈128 / rows⌉, rounded up, and then B · H · P times that.",
            next="How many programs have two memories of 128 rows, in tiles of 96?"),
        "divides a step by the tiles": Mistake(
            lambda B, H, T, rows, P, step, multiprocessors: (
                sweep_time(B, H, T, rows, P, step, multiprocessors) * rows / V),
            "`step` is what a chunk takes in a program with so many rows: it is not for all 128."),
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


def priced(maps=2, launches=2, scan=lambda P: P, again=True, uncut=False):
    """plan_time with some of the price of cutting left out. scan: how many steps the chain through the maps has;
    uncut: the same price where nothing is cut."""
    def time(B, H, T, rows, P, machine):
        step, launch, n = machine["steps"][rows], machine["launch"], machine["multiprocessors"]
        sweep = launch + sweep_time(B, H, T, rows, P, step, n)
        if P == 1 and not uncut:
            return sweep
        first = sweep_time(maps * B, H, T, rows, P, step, n) if maps else 0
        return first + launches * launch + scan(P) * machine["scan"] + sweep * again
    return time


def with_maps(time_of_maps, others=lambda sweep: sweep):
    """plan_time with another time for the sweep that makes the maps, or for the one that follows."""
    def time(B, H, T, rows, P, machine):
        step, n = machine["steps"][rows], machine["multiprocessors"]
        sweep = sweep_time(B, H, T, rows, P, step, n)
        if P == 1:
            return machine["launch"] + sweep
        maps = time_of_maps(B, H, T, rows, P, step, n)
        return 3 * machine["launch"] + maps + P * machine["scan"] + others(sweep)
    return time


def with_waves(waves):
    """plan_time with waves counted in another way."""
    def time(B, H, T, rows, P, machine):
        step, launch, n = machine["steps"][rows], machine["launch"], machine["multiprocessors"]
        sweep = swept(waves=waves)
        whole = launch + sweep(B, H, T, rows, P, step, n)
        return whole if P == 1 else whole + 2 * launch + sweep(2 * B, H, T, rows, P, step, n) + P * machine["scan"]
    return time


def rows_first(B, H, T, machine):
    """The number of rows that is best uncut, and only then P."""
    best = min(machine["steps"], key=lambda rows: plan_time(B, H, T, rows, 1, machine))
    return chosen(plan_time, rows_of=lambda machine: [best])(B, H, T, machine)


def finer_than_chunks(B, H, T, machine):
    most = max(math.ceil(T / C), machine["multiprocessors"])
    return chosen(plan_time, most=lambda T: most)(B, H, T, machine)


def fewer_segments_than_chunks(B, H, T, machine):
    sizes = [2**i for i in range(12) if 2**i < math.ceil(T / C)]
    return min(product(machine["steps"], sizes), key=lambda plan: plan_time(B, H, T, *plan, machine))


H100 = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=6.0, scan=0.5)
QUICK_HOST = dict(multiprocessors=132, steps={32: 12.0, 64: 15.0, 128: 24.0}, launch=2.0, scan=0.25)
SMALL = dict(multiprocessors=28, steps={32: 2.0, 64: 3.1}, launch=6.0, scan=1.0)
SLOW_CHAIN = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=6.0, scan=60.0)
APART = [                                                                # each tells several ways to go wrong apart
    (1, 1, 1000, 132, {32: 17.4, 64: 25.1}, 90.0, 0.5), (1, 2, 5000, 8, {16: 8.4, 32: 11.2, 128: 19.9}, 6.0, 60.0),
    (2, 4, 512, 108, {32: 17.6, 64: 23.7, 128: 33.0}, 6.0, 4.0),
    (2, 1, 320, 132, {16: 15.7, 32: 27.6, 128: 29.3}, 6.0, 0.5),
]
SLOW_HOST = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=90.0, scan=0.5)


def machine(multiprocessors, steps, launch, scan):
    return dict(multiprocessors=multiprocessors, steps=steps, launch=launch, scan=scan)


def plans(g):
    def case(note, B, H, T, machine=H100):
        return Case((B, H, T, machine), f"{note}: B = {B}, H = {H}, T = {T}")
    return [case("one chunk", 1, 1, 50), case("few heads, a short text", 1, 4, 1000),
            case("few heads, a long text", 1, 8, 32768), case("two heads, a longer one", 1, 2, 65536),
            case("enough heads", 2, 32, 4096), case("more than enough", 4, 64, 4096),
            case("a wave and a bit", 1, 17, 4096), case("between", 1, 24, 8192),
            case("a small chip", 1, 4, 8192, SMALL), case("a small chip, many heads", 2, 16, 4096, SMALL),
            case("a slow host", 1, 8, 8192, SLOW_HOST), case("a slow chain", 1, 8, 3000, SLOW_CHAIN),
            case("a slow host, a long text", 1, 8, 65536, SLOW_HOST), case("few heads, a middling text", 1, 6, 3000),
            case("two heads, a middling text", 1, 2, 2048), case("a quick host, eight chunks", 1, 1, 512, QUICK_HOST),
            case("a quick host, 47 chunks", 1, 2, 3000, QUICK_HOST),
            *(case("another machine", B, H, T, machine(*numbers)) for B, H, T, *numbers in APART)]


class Choice:
    """The `prepare` of an exercise that asks for a choice among few: different ways to go wrong may choose the same."""

    as_given = chooses = True                                            # it hands the answer on

    def __call__(self, answer):
        return answer


exercise(
    id="13.9", title="Build, stage 2: a planner", kind="code", stars=3, minutes=30, equations=("13.4",),
    reference=best_plan, sources=(sweep_time, best_plan),
    alternatives=(best_plan_by_loops, best_plan_by_sorting), cases=plans, prepare=Choice(),
    mutants={
        "never cuts": Mistake(chosen(plan_time, most=lambda T: 1),
            "P = 1 comes out in every case. Either no other P is tried, or the search stops too soon, or cutting is "
            "priced too high: each segment has a P-th of the chunks, in both sweeps.", "eq. 13.4"),
        "counts a step of the chain too few": Mistake(chosen(priced(scan=lambda P: P - 1)),
            "`machine[\"scan\"]` is the price of one segment, and the launch goes through the maps of all P of them.",
            "eq. 13.4"),
        "counts a launch too many": Mistake(chosen(priced(launches=3)),
            "Cut, a plan has three launches: maps, chain and sweep."),
        "rounds the number of chunks down": Mistake(chosen(plan_time, most=lambda T: T // C),
            "A chunk that is not full is a chunk, and may be a segment: P is at most ⌈T / 64⌉."),
        "adds a wave that is not there": Mistake(chosen(with_waves(lambda x: math.floor(x) + 1)),
            "Exactly full is one wave, not two, as in 13.8. `math.ceil`."),
        "loses the last wave": Mistake(chosen(with_waves(lambda x: max(1, math.floor(x)))),
            "A wave that is hardly begun takes as long as a full one: round up, as in 13.8."),
        "cuts for nothing": Mistake(chosen(priced(maps=0, launches=0, scan=lambda P: 0)),
            "Segments do not come for free: their maps take a sweep with twice as many programs, and there are two "
            "more launches and the chain through the maps.", "eq. 13.4"),
        "forgets the sweep for the maps": Mistake(chosen(priced(maps=0)),
            "Before a segment can run, someone must know what enters it: that is a sweep of its own.", "eq. 13.4"),
        "forgets that M has rows, too": Mistake(chosen(priced(maps=1)),
            "The first sweep makes b, with V rows, *and* M, with K: twice as many programs.", "eq. 13.3"),
        "charges an uncut plan like a cut one": Mistake(chosen(priced(uncut=True)),
            "With P = 1 there are no maps and no chain: one launch and one sweep. Yours pays three launches, the maps "
            "and a step of the chain there, too.", next="`if P == 1:` comes before all that."),
        "charges an uncut plan for the maps": Mistake(
            chosen(lambda B, H, T, rows, P, machine: plan_time(B, H, T, rows, P, machine) + (P == 1) * sweep_time(
                2 * B, H, T, rows, P, machine["steps"][rows], machine["multiprocessors"])),
            "With P = 1 there are no maps to be made: the memory that enters is known. One launch and one sweep."),
        "charges as many launches for a cut plan as for an uncut one": Mistake(chosen(priced(launches=0)),
            "Cut there are three launches: maps, chain, sweep. Uncut there is one. On a slow host that decides."),
        "forgets one of the launches": Mistake(chosen(priced(launches=1)),
            "Maps, chain and sweep: three launches, two more than without a cut."),
        "counts one step of the chain, not P": Mistake(chosen(priced(scan=lambda P: 1)),
            "`machine[\"scan\"]` is the price of one segment, and the chain S ← S M + b goes through all P of them, "
            "one after the other.", "eq. 13.4"),
        "forgets the chain through the maps": Mistake(chosen(priced(scan=lambda P: 0)),
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
        "allows a part of a wave": Mistake(chosen(with_waves(lambda x: max(1, x))),
            "A wave that is hardly begun takes as long as a full one: round up, as in 13.8."),
        "allows any number of segments": Mistake(
            lambda B, H, T, machine: min(product(machine["steps"], range(1, math.ceil(T / C) + 1)),
                                         key=lambda plan: plan_time(B, H, T, *plan, machine)),
            "P is a power of two."),
        "cuts finer than there are chunks": Mistake(finer_than_chunks,
            "P is at most the number of chunks: with more segments than chunks some would have nothing to do.",
            next="How many chunks have 3,000 tokens, and which powers of two are not above that?"),
        "leaves a text of less than a chunk without a plan": Mistake(
            lambda *x: chosen(plan_time, most=lambda T: T // C)(*x) if x[2] >= C else None,
            "A chunk that is not full is a chunk, and may be a segment: P is at most ⌈T / 64⌉. Rounded down that is 0 "
            "for 50 tokens, and nothing is tried.", next="How many chunks have 1,000 tokens, and how many 50?"),
        "always cuts": Mistake(lambda B, H, T, machine: chosen(
            lambda *x: plan_time(*x) + (x[4] == 1) * 1e9)(B, H, T, machine) if T > C else None,
            "P = 1 is a plan, too: one launch and one sweep. With many heads it is the best, with one chunk the only "
            "one."),
        "stops short of one chunk a segment": Mistake(
            chosen(plan_time, most=lambda T: max(1, math.ceil(T / C) - 1)),
            "P may be *equal* to the number of chunks: `P <= chunks`.",
            next="Which P may a text of eight chunks have?"),
        "stops at 16 segments": Mistake(chosen(plan_time, most=lambda T: min(16, math.ceil(T / C))),
            "P may be any power of two up to the number of chunks."),
        "leaves a text of one chunk without a plan": Mistake(
            fewer_segments_than_chunks,
            "P may be *equal* to the number of chunks, and P = 1 is always possible, also where there is one chunk, "
            "full or not. Yours has nothing to choose from then.",
            next="Which P does your loop try for T = 1000, 16 chunks, and for T = 50?"),
        "takes the slowest": Mistake(chosen(lambda *x: -plan_time(*x)),
            "That is the plan that takes longest: `min`, not `max`."),
        "gives segments first": Mistake(lambda *x: tuple(best_plan(*x))[::-1], "First the rows, then the segments."),
        "gives the time": Mistake(lambda B, H, T, machine: plan_time(B, H, T, *best_plan(B, H, T, machine), machine),
            "Which plan was asked, not how long it takes."),
        "makes four times as many programs for the maps": Mistake(
            chosen(with_maps(lambda B, H, *rest: sweep_time(2 * B, 2 * H, *rest))),
            "b has V rows and M has K, so the sweep for the maps has *twice* as many programs: as if there were 2B "
            "sequences, with H heads as before.", "eq. 13.3"),
        "lets a step of the maps take twice as long": Mistake(
            chosen(with_maps(lambda B, H, T, rows, P, step, n: sweep_time(B, H, T, rows, P, 2 * step, n))),
            "The sweep for the maps has twice as many *programs*. Their steps take as long as others, and while the "
            "chip is not full they take no time of their own.", "eq. 13.3"),
        "pays for one of the two sweeps of a cut plan": Mistake(
            chosen(with_maps(lambda B, *rest: sweep_time(2 * B, *rest), lambda sweep: 0)),
            "A cut plan has two sweeps, one after the other: that of the maps, and after the chain the ordinary one. "
            "The time of the latter is missing, as if it were free or ran beside the maps."),
        "cuts the maps into twice as many segments": Mistake(
            chosen(with_maps(lambda B, H, T, rows, P, *rest: sweep_time(B, H, T, rows, 2 * P, *rest))),
            "Twice as many programs, but of segments as long as before: as if there were 2B sequences, not 2P "
            "segments."),
        "charges the chain by chunks": Mistake(chosen(
            lambda B, H, T, *rest: priced(scan=lambda P: math.ceil(T / C))(B, H, T, *rest)),
            "`machine[\"scan\"]` is the price of a *segment*: P of them, however long they are."),
        "charges the chain for each head": Mistake(chosen(
            lambda B, H, *rest: priced(scan=lambda P: P * B * H)(B, H, *rest)),
            "All heads hand on their memories side by side: P steps of the chain, not B · H · P."),
        "counts the sweeps alone": Mistake(chosen(
            lambda B, H, T, rows, P, machine: plan_time(B, H, T, rows, P, {**machine, "launch": 0, "scan": 0})),
            "Launches and chain are missing, and without their price a cut looks cheap."),
        "settles the rows before it cuts": Mistake(rows_first,
            "Which number of rows is best depends on P: cut into segments there are more programs, and larger tiles "
            "may fit the chip better. Try all pairs."),
    },
    hints=("Write a function for the time of one plan (rows, P) first; then try all of them.",
           "P = 1: a launch and a sweep. P > 1: besides that, a launch and a sweep with twice as many programs (pass "
           "2 · B), and a launch and P · scan.",
           "`min(product(machine['steps'], sizes), key=lambda plan: plan_time(B, H, T, *plan, machine))`, with sizes "
           "1, 2, 4, ... up to the number of chunks."),
)
