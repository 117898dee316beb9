"""Exercises 13.2 and 13.3: a timer and a race, on a GPU that always does the same."""

from contextlib import suppress
from statistics import mean, median

from ...bench.pretend import EMPTYING, PretendGPU
from ...tutor import Case, Mistake, exercise, order_the_lines

# -- 13.2 A clock that lies --------------------------------------------------------------------------------------------

def microseconds(gpu, calls):
    gpu.launch()                                                         # compiles
    marks = []
    for _ in range(calls):
        gpu.empty_cache()                                # and while that runs, the host queues what follows
        start = gpu.event()
        gpu.launch()
        marks.append((start, gpu.event()))
    gpu.synchronize()                                                    # only now have the marks happened
    times = sorted(end.time - start.time for start, end in marks)
    return times[len(times) // 2]                        # disturbed calls stand at the end


def waiting_each_time(gpu, calls):
    def once():
        gpu.empty_cache()
        start, _, end = gpu.event(), gpu.launch(), gpu.event()
        gpu.synchronize()
        return end.time - start.time
    once()
    return median(once() for _ in range(calls))


def warmed_up_for_long(gpu, calls):
    times = []
    for _ in range(calls + 5):
        gpu.empty_cache()
        start = gpu.event()
        gpu.launch()
        end = gpu.event()
        gpu.synchronize()
        times.append(end.time - start.time)
    return median(times[5:])


def timed(warm=True, empty="before", wait=True, average=median, scale=1.0, idle=False, launches=1):
    """A mutant that measures with events; `idle` lets the queue run dry before the first mark."""
    def f(gpu, calls):
        if warm:
            gpu.launch()
        marks = []
        for _ in range(calls):
            if empty == "before":
                gpu.empty_cache()
            if idle:
                gpu.synchronize()
            start = gpu.event()
            if empty == "between":
                gpu.empty_cache()
            for _ in range(launches):
                gpu.launch()
            marks.append((start, gpu.event()))
        if wait:
            gpu.synchronize()
        return scale * average(end.time - start.time for start, end in marks)
    return f


def marks_before_the_launch(gpu, calls):
    gpu.launch()
    marks = []
    for _ in range(calls):
        gpu.empty_cache()
        marks.append((gpu.event(), gpu.event()))
        gpu.launch()
    gpu.synchronize()
    return median(end.time - start.time for start, end in marks)


def less_a_launch(gpu, calls):
    time, before = microseconds(gpu, calls), gpu.clock()
    gpu.launch()
    return time - (gpu.clock() - before)


def from_one_mark(gpu, calls):
    gpu.launch()
    start, ends = gpu.event(), []
    for _ in range(calls):
        gpu.empty_cache()
        gpu.launch()
        ends.append(gpu.event())
    gpu.synchronize()
    return median(end.time - start.time for end in ends)


def waiting_before_the_end(gpu, calls):
    gpu.launch()
    times = []
    for _ in range(calls):
        gpu.empty_cache()
        start = gpu.event()
        gpu.launch()
        gpu.synchronize()
        end = gpu.event()
        gpu.synchronize()
        times.append(end.time - start.time)
    return median(times)


def between_two_marks(gpu, calls):
    gpu.launch()
    gpu.synchronize()
    gpu.empty_cache()
    start = gpu.event()
    for _ in range(calls):
        gpu.launch()
    end = gpu.event()
    gpu.synchronize()
    return (end.time - start.time) / calls


def by_the_host(warm=True, empty=False, wait=False, average=median):
    """A mutant that measures with the clock of the host."""
    def f(gpu, calls):
        if warm:
            gpu.launch()
            gpu.synchronize()
        times = []
        for _ in range(calls):
            if empty:
                gpu.empty_cache()
                if wait:
                    gpu.synchronize()
            start = gpu.clock()
            gpu.launch()
            if wait:
                gpu.synchronize()
            times.append(gpu.clock() - start)
        return average(times)
    return f


def emptying_included(gpu, calls):
    """Two marks around everything, less the time that the emptying should take."""
    gpu.launch()
    gpu.synchronize()
    start = gpu.event()
    for _ in range(calls):
        gpu.empty_cache()
        gpu.launch()
    end = gpu.event()
    gpu.synchronize()
    return (end.time - start.time) / calls - EMPTYING


def many_calls(gpu, calls, empty=False):
    gpu.launch()
    gpu.synchronize()
    start = gpu.clock()
    for _ in range(calls):
        if empty:
            gpu.empty_cache()
        gpu.launch()
    gpu.synchronize()
    return (gpu.clock() - start) / calls


def gpus(g):
    def case(note, calls, kernel, **gpu):
        return Case((PretendGPU(kernel, **gpu), calls), f"{note}, {calls} calls")
    return [case("a long kernel, nothing else", 15, 400.0),
            case("data that fits into the cache", 15, 60.0, saved=45.0),
            case("a kernel shorter than its launch", 20, 5.0, launch_time=9.0),
            case("one call in four is disturbed", 21, 150.0, every=4),
            case("all of it together", 33, 30.0, launch_time=12.0, saved=20.0, every=5)]


class Watched(PretendGPU):
    """Remembers whether the clock of the host was read."""

    read = False

    def clock(self):
        self.read = True
        return super().clock()


def reads_the_clock(f):
    gpu = Watched(30.0)
    with suppress(Exception):
        f(gpu, 3)
    return gpu.read


LAUNCH_BY_CLOCK, LAUNCH_BETWEEN_MARKS = by_the_host(empty=True, wait=True), timed(idle=True)


class Timer:
    """The `prepare` of an exercise in which the host's clock and marks may say the same, and one text is of one."""

    as_given = True                                                      # it hands the answer on

    def __call__(self, answer):
        return answer

    def same_slip(self, f, g):
        return g not in (LAUNCH_BY_CLOCK, LAUNCH_BETWEEN_MARKS) or reads_the_clock(f) == reads_the_clock(g)


exercise(
    id="13.2", title="Find the bug: a clock that lies", kind="bug", stars=3, minutes=25,
    reference=microseconds, alternatives=(waiting_each_time, warmed_up_for_long), cases=gpus, tolerance=1e-6,
    prepare=Timer(),
    mutants={
        "keeps all four faults": Mistake(by_the_host(warm=False, average=mean),
            "The clock stops before the GPU has begun, the first call compiles, the others find their data in the "
            "cache, and the mean takes the compiler along.", "section 'Five ways to be wrong'"),
        "stops the clock before the GPU is done": Mistake(by_the_host(),
            "`launch` returns as soon as the call is in the queue. What you measured is how long the host takes to put "
            "it there.", next="Marks in the queue, `gpu.event()`, are set by the GPU itself."),
        "leaves the launch in the time": Mistake(LAUNCH_BY_CLOCK,
            "Between your two looks at the host's clock stands the launch, too. For a short kernel that is most of "
            "the time.",
            next="Marks, `gpu.event()`, and no waiting before the first of them: while the cache is emptied, the host "
                 "can queue mark, launch and mark."),
        "leaves the launch between the marks": Mistake(LAUNCH_BETWEEN_MARKS,
            "When the GPU comes to your first mark, the queue behind it is empty, and it waits for the launch. For a "
            "short kernel that is most of the time.",
            next="No waiting between the emptying and the first mark: while the cache is emptied, the host can queue "
                 "mark, launch and mark."),
        "leaves the launch in the time, and the data in the cache": Mistake(by_the_host(wait=True),
            "Two faults are left: the launch is in the time, and after the first call the data comes out of the "
            "cache.", next="`gpu.empty_cache()` before each call, then mark, launch and mark without waiting between."),
        "waits, and keeps the other faults": Mistake(by_the_host(wait=True, warm=False, average=mean),
            "You look at the time when the GPU is done, which is right. But the first call compiles and is in your "
            "mean, the others find their data in the cache, and the launch is in the time.",
            next="One launch before the loop, and the median instead of the mean."),
        "takes marks, and keeps the other faults": Mistake(timed(warm=False, empty="", average=mean),
            "Marks are right. But the first call compiles and is in your mean, and the others find their data in the "
            "cache.", next="One launch before the loop, and the median instead of the mean."),
        "finds its data in the cache": Mistake(timed(empty=""),
            "The call before has left them there. Besides, where a kernel is shorter than its launch, the GPU waits "
            "between the marks: nothing before them keeps it busy.",
            next="`gpu.empty_cache()` before each call, inside the loop, cures both."),
        "times the emptying as well": Mistake(timed(empty="between"),
            "Between your two times the cache is emptied. That takes its time in the same queue."),
        "has two launches between the marks": Mistake(timed(launches=2),
            "So long take two calls, and the second one finds in the cache what the first has left there.",
            next="One launch between two marks; what warms up comes before the loop."),
        "takes the last call alone": Mistake(timed(average=lambda times: list(times)[-1]),
            "Right, unless it is the last call that somebody disturbs. The median of all does not see that.",
            next="A pair of marks for each call, and their median."),
        "takes the launch off": Mistake(less_a_launch,
            "Between marks that the GPU comes to without waiting there is no launch: nothing has to be taken off."),
        "counts from the first mark on": Mistake(from_one_mark,
            "With one mark at the beginning each time holds all calls and emptyings before it.",
            next="A pair of marks for each call, the first after the emptying."),
        "waits before the second mark": Mistake(waiting_before_the_end,
            "The queue is empty when the second mark is set, and the host's way to it is in the time.",
            next="Both marks and the launch at once, and then the waiting."),
        "reads the marks before they have happened": Mistake(timed(wait=False),
            "A mark has its time only when the GPU has come to it. Let the host wait once, after the last one.",
            next="Where does `gpu.synchronize()` belong?"),
        "times the compiler": Mistake(timed(warm=False, average=mean),
            "The first launch compiles, which takes ten thousand times as long as the kernel, and your mean holds it. "
            "One call before the first mark."),
        "takes the mean": Mistake(timed(average=mean),
            "A call in which somebody else got in between says nothing about your kernel, but moves the mean. The "
            "median does not see it."),
        "gives the time of a disturbed call": Mistake(timed(average=lambda times: max(times)),
            "So long takes a call in which somebody else got in between, and the longest of all is one.",
            next="The median of all calls."),
        "divides the time of many calls": Mistake(lambda gpu, calls: many_calls(gpu, calls, empty=True),
            "Twenty calls and one wait: that averages disturbed calls in, and the emptying of the cache is in the time "
            "as well."),
        "divides the time of many calls, data in the cache": Mistake(many_calls,
            "Twenty calls and one wait are better than one. But their data lies in the cache, the launches of short "
            "kernels are in the time, and disturbed calls are averaged in."),
        "sets both marks before the launch": Mistake(marks_before_the_launch,
            "Between your marks there is nothing: the second one belongs after the launch, in the same queue."),
        "divides the time between two marks": Mistake(between_two_marks,
            "One pair of marks around all calls: all but the first find their data in the cache, and disturbed calls "
            "are averaged in.", next="A pair of marks, and an emptied cache, for each call."),
        "takes the emptying off the time between two marks": Mistake(emptying_included,
            "One pair of marks around all calls: disturbed calls are averaged in, and where the host is slower than "
            "the GPU, so is its waiting.", next="A pair of marks for each call, after the emptying."),
        "reads the time off": Mistake(lambda gpu, calls: gpu.kernel,
            "A GPU does not tell how long its kernels run. It has to be measured.",
            next="The table above the cell has all that it can do."),
        "gives milliseconds": Mistake(timed(scale=1e-3), "The events count in microseconds already."),
        "gives the sum": Mistake(timed(average=lambda times: sum(times)), "The time of all calls; one was asked for."),
    },
    hints=("Four things are wrong: when the clock stops, the first call, what lies in the cache, and the mean.",
           "One launch first. Then, again and again: empty the cache, mark, launch, mark. Wait once at the end.",
           "`start = gpu.event(); gpu.launch(); marks.append((start, gpu.event()))`, after `gpu.empty_cache()`; then "
           "`gpu.synchronize()` and the median of `end.time - start.time`."),
)


# -- 13.3 A fair race --------------------------------------------------------------------------------------------------

def racers(g):
    def case(note, rounds, names=("mine", "yours"), times=(30.0, 30.0), **gpu):
        gpu = PretendGPU(dict(zip(("mine", "yours", "old"), times)), **gpu)
        return Case((gpu, list(names), rounds), note)
    return [case("one round", 1), case("one kernel, whose data fits into the cache", 3, ("mine",), saved=20.0),
            case("two equal kernels on a chip that warms up", 5, heat=0.3),
            case("three kernels", 3, ("mine", "yours", "old"), (30.0, 40.0, 80.0), heat=0.2, launch_time=10.0)]


exercise(
    id="13.3", title="A fair race", kind="order", stars=2, minutes=10,
    reference="HCAMBFDKEG", alternatives=("CHAMBFDKEG",), cases=racers, tolerance=1e-9,
    prepare=order_the_lines(
        {"A": "for _ in range(rounds):",
         "B": "        gpu.empty_cache()",
         "C": "marks = {name: [] for name in names}",
         "D": "        gpu.launch(name)",
         "E": "gpu.synchronize()",
         "F": "        start = gpu.event()",
         "G": "return {name: median(end.time - start.time for start, end in marks[name]) for name in names}",
         "H": "[gpu.launch(name) for name in names]",
         "K": "        marks[name].append((start, gpu.event()))",
         "M": "    for name in names:"},
        "def race(gpu, names, rounds):", "race", namespace={"median": median},
        distractors={"J": "for name in names:", "L": "    for _ in range(rounds):"}),
    mutants={
        "lets one candidate run after the other": Mistake("HCJLBFDKEG",
            "All rounds of the first kernel, then all of the second, on a chip that has warmed up meanwhile. Two equal "
            "kernels then differ.", next="Which loop must be outside, so that both see the same weather?"),
        "leaves the compiler in the race": Mistake("CAMBFDKEG",
            "Whoever is launched for the first time compiles. Line H keeps that out of the first round."),
        "leaves the cache as it is": Mistake("HCAMFDKEG",
            "Line B is missing: a kernel that runs again finds its own data in the cache."),
        "times the emptying as well": Mistake("HCAMFBDKEG",
            "Line F sets the first mark. What B queues after it lies between the marks."),
        "times nothing": Mistake("HCAMBFKDEG",
            "Lines F and K set the two marks. The launch, D, must be queued between them."),
        "reads marks that have not happened": Mistake("HCAMBFDKG",
            "Nobody waits for the last marks. Line E belongs after all rounds and before the medians, line G: then all "
            "marks are in the queue."),
    },
    hints=("Before the race: every kernel compiles (H), and every kernel has a list (C).",
           "The rounds are the outer loop, A, and the candidates the inner one, M: so a warmer chip is warmer for all.",
           "In the loop B F D K: empty, mark, launch, mark. After it E, then G."),
)
