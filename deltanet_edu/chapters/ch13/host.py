"""Exercise 13.7: how long kernels take, one launched after the other: a model of a GPU and its host."""

import math

from ...tutor import Case, Mistake, exercise


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
        "counts a launch too many": Mistake(eager_is(lambda times, launch: timeline(times, launch)[0] + launch),
            "The host's clock begins at 0, and the first kernel may begin after one launch, not two.", "eq. 13.6"),
        "counts the launches alone": Mistake(eager_is(lambda times, launch: launch * len(times)),
            "That is when the host is done. The GPU is not.", "eq. 13.6"),
        "takes the later of two ends": Mistake(
            eager_is(lambda times, launch: max(launch * len(times), launch + sum(times))),
            "That is exact only if the GPU never waits, or has nothing left to do at the last launch. In between a "
            "kernel may wait for its launch although the host was ahead before.", "eq. 13.6",
            next="Keep two clocks, and move both forward kernel by kernel."),
        "compares two ends only": Mistake(
            eager_is(lambda times, launch: max(launch + sum(times), launch * len(times) + times[-1])),
            "Either the GPU waits for the first launch alone, or it has to wait for the last one. But the last kernel "
            "for which it waits may also be one in between.", "eq. 13.6",
            next="Keep two clocks, and move both forward kernel by kernel."),
        "adds up the longer of each pair, and a launch": Mistake(
            eager_is(lambda times, launch: launch + slower_of_the_two(times, launch)),
            "A host that is ahead stays ahead: the time that a long kernel gives it covers several short ones. And "
            "behind the last kernel nothing is launched: it takes its own time.",
            "eq. 13.6", next="Keep two clocks, and move both forward kernel by kernel."),
        "lets a kernel run while it is launched": Mistake(eager_is(running_early),
            "A kernel begins when it has been launched *and* the one before is done: take the later of these first, "
            "and then add its time.", "eq. 13.6"),
        "lets a graph begin before its launch": Mistake(
            eager_is(lambda *x: timeline(*x)[0], lambda times, launch: max(launch, sum(times))),
            "The first kernel begins after the launch, so that comes on top of all times."),
        "takes the latest of all kernels, each by itself": Mistake(
            eager_is(lambda times, launch: max(launch * j + t for j, t in enumerate(times, 1))),
            "A kernel that is launched at j h is not done at j h + t: the one before may still run. After it come all "
            "the times that follow.", "eq. 13.6"),
        "lets the kernels of a graph run side by side": Mistake(
            eager_is(lambda *x: timeline(*x)[0], lambda times, launch: launch + max(times)),
            "A graph saves launches. Its kernels still run one after the other, as they were recorded."),
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
