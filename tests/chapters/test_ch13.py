"""Answers to the exercises of chapter 13, as readers write them; the pretended GPU that they time."""

import math
import re
from statistics import median

import pytest
import torch
from torch.nn.functional import normalize

from deltanet_edu.bench.pretend import EMPTYING, NotFinished, PretendGPU
from deltanet_edu.bench.report import floor_bytes, floor_flops
from deltanet_edu.chapters.ch13.host import timeline
from deltanet_edu.chapters.ch13.planner import best_plan, sweep_time
from deltanet_edu.chapters.ch13.problems import chunkwise_plan, moved, moved_when_fused
from deltanet_edu.chapters.ch13 import segments
from deltanet_edu.chapters.ch13.segments import in_segments, rule, segment_map

from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find

from .answers import assert_verdict, cases


def timer(warm="gpu.launch()", empty="gpu.empty_cache()", start="gpu.event()", end="gpu.event()", wait="",
          last="gpu.synchronize()", said="median(b.time - a.time for a, b in marks)"):
    """13.2 with other lines."""
    def microseconds(gpu, calls):
        names, marks = dict(gpu=gpu, calls=calls, median=median), []
        exec(warm, names)
        for _ in range(calls):
            exec(empty, names)
            a = eval(start, names)
            gpu.launch()
            exec(wait, names)
            marks.append((a, eval(end, names)))
        exec(last, names)
        return eval(said, names | dict(marks=marks))
    return microseconds


def segment(M="torch.eye(k.shape[1], dtype=k.dtype) - (UT @ k).T @ k", b="(UT @ v).T @ k"):
    """13.5 with other lines."""
    def f(k, v, beta):
        A = (beta[:, None] * k @ k.T).tril(-1)
        UT = torch.linalg.solve(torch.eye(len(k), dtype=k.dtype) + A, torch.diag(beta))
        names = dict(torch=torch, k=k, v=v, beta=beta, UT=UT)
        return eval(M, names), eval(b, names)
    return f


def cut(n="math.ceil(len(k) / P)", hand_on="S @ M + b", enters="S"):
    """13.6 with other lines."""
    def f(q, k, v, beta, S, P):
        first, memories, o, size = S, [S], [], eval(n, dict(math=math, k=k, P=P))
        for t in range(0, len(k), size):
            piece = [x[t:t + size] for x in (q, k, v, beta)]
            M, b = segment_map(*piece[1:])
            names = dict(S=S, M=M, b=b, first=first, torch=torch)
            o.append(rule(*piece, eval(enters, names))[0])
            S = eval(hand_on, names)
            memories.append(S)
        return torch.cat(o), torch.stack(memories)
    return f


def eager(step="end = max(end, host) + t", graph="launch + sum(times)"):
    """13.7 with another step."""
    def f(times, launch):
        names = dict(host=0.0, end=0.0, launch=launch, times=times)
        for names["t"] in times:
            names["host"] += launch
            exec(step, names)
        return names["end"], eval(graph, names)
    return f


def sweep(programs="B * H * P * math.ceil(128 / rows)", steps="math.ceil(math.ceil(T / 64) / P)", waves="math.ceil"):
    """13.8 with other counts."""
    def f(B, H, T, rows, P, step, multiprocessors):
        names = dict(B=B, H=H, T=T, rows=rows, P=P, math=math)
        return eval(waves, names)(eval(programs, names) / multiprocessors) * eval(steps, names) * step
    return f


def planner(maps="sweep(2 * B, H)", sizes="P <= chunks", is_cut="P > 1"):
    """13.9 with another price of the maps, or other sizes."""
    def f(B, H, T, machine):
        chunks, best = math.ceil(T / 64), None
        for rows in machine["steps"]:
            for P in (2**i for i in range(12)):
                if not eval(sizes, dict(P=P, chunks=chunks, machine=machine)):
                    continue
                rest = T, rows, P, machine["steps"][rows], machine["multiprocessors"]

                def sweep(B, H):
                    return sweep_time(B, H, *rest)

                time = machine["launch"] + sweep(B, H)
                if eval(is_cut, dict(P=P)):
                    time += eval(maps, dict(sweep=sweep, B=B, H=H)) + 2 * machine["launch"] + P * machine["scan"]
                if best is None or time < best[0]:
                    best = time, rows, P
        return best[1:]
    return f


def fused(plan, i, sizes, wanted, look=99):
    """13.4, by names. look: how many of the kernels that follow are looked at."""
    (r1, w1), (r2, w2) = plan[i], plan[i + 1]
    rest = plan[:i] + plan[i + 2:]
    bytes_ = sum(sizes[n] for n in {*r1, *r2} - {*w1}) + sum(sizes[n] for n in w2)
    for n in w1:
        if n in wanted or any(n in r for r, _ in plan[i + 2:i + 2 + look]):
            bytes_ += sizes[n]
    return bytes_ + sum(sizes[n] for r, w in rest for n in [*r, *w])


ANSWERS = {
    "13.1": {"right": [0.359, 0.3586, 1026 * 2**20 / 3e9], "adds the two": [0.573],
             "takes the arithmetic for the longer of the two": [0.2147], "forgets the outputs": [0.2691],
             "counts float32": [0.717], "counts a byte a number": [0.179],
             "gives microseconds": [358.6, 359], "gives seconds": [0.000359],
             "times the products with the memory alone": [0.129], None: [0.0, 0.0008, 0.1282]},
    "13.2": {
        "right": [timer(), timer(warm="gpu.launch(); gpu.launch()"),
                  timer(last="gpu.synchronize(); gpu.synchronize()")],
        "stops the clock before the GPU is done": [
            timer(start="gpu.clock()", end="gpu.clock()", empty="", said="median(b - a for a, b in marks)")],
        "leaves the launch in the time": [timer(wait="gpu.synchronize()", empty="gpu.empty_cache(); gpu.synchronize()",
                                                start="gpu.clock()", end="gpu.clock()",
                                                said="median(b - a for a, b in marks)")],
        "leaves the launch between the marks": [timer(empty="gpu.empty_cache(); gpu.synchronize()")],
        "finds its data in the cache": [timer(warm="gpu.launch(); gpu.synchronize(); gpu.empty_cache()", empty="")],
        "takes the mean": [timer(said="sum(b.time - a.time for a, b in marks) / len(marks)")],
        "reads the marks before they have happened": [timer(last="")],
        "reads the time off": [lambda gpu, calls: gpu.kernel],
        "gives milliseconds": [timer(said="median(b.time - a.time for a, b in marks) / 1000")],
    },
    "13.3": {"right": ["hcambfdkeg", "C H A M B F D K E G"], "lets one candidate run after the other": ["CHJLBFDKEG"],
             "reads marks that have not happened": ["CHEAMBFDKG"]},
    "13.4": {"right": [fused],
             "looks at one more kernel only": [lambda *args: fused(*args, look=1)],
             "changes nothing": [lambda plan, i, sizes, wanted: moved(plan, sizes)]},
    "13.5": {"right": [segment()], "gives b transposed": [segment(b="k.T @ (UT @ v)")],
             "leaves the identity out": [segment(M="-(UT @ k).T @ k")],
             "multiplies the tokens in the wrong order": [
                 segment(M="torch.eye(k.shape[1], dtype=k.dtype) - k.T @ (UT @ k)")],
             "multiplies by beta twice": [segment("torch.eye(k.shape[1], dtype=k.dtype) - (UT * beta @ k).T @ k",
                                                  "(UT * beta @ v).T @ k")],
             "writes as if each token were alone": [segment(b="(beta[:, None] * v).T @ k")]},
    "13.6": {"right": [cut()], "takes the whole for a segment": [cut("len(k)")],
             "takes P for the length of a segment": [cut("P")], "erases nothing": [cut(hand_on="S + b")],
             "lets every segment begin with the first memory": [cut(enters="first")],
             "multiplies with M transposed": [cut(hand_on="S @ M.T + b")],
             "lets every segment erase its own writes": [cut(hand_on="(S + b) @ M")],
             "hands nothing on": [cut(hand_on="S")],
             "hands on the writes alone": [cut(hand_on="b")]},
    "13.7": {"right": [eager()], "lets the host wait for every kernel": [eager("end = end + launch + t")],
             "launches a graph for free": [eager(graph="sum(times)")],
             "lets a graph begin before its launch": [eager(graph="max(launch, sum(times))")],
             "lets a kernel run while it is launched": [eager("end = max(end + t, host)")],
             "lets the kernels of a graph run side by side": [eager(graph="launch + max(times)")],
             "takes the latest of all kernels, each by itself": [eager("end = max(end, host + t)")],
             "adds up the longer of each pair": [eager("end += max(t, launch)")]},
    "13.8": {"right": [sweep(), sweep("B * H * P * -(-128 // rows)", "-(-(-(-T // 64)) // P)")],
             "runs one sequence after the other": [sweep("H * P * math.ceil(128 / rows)",
                                                         "B * -(-(-(-T // 64)) // P)")],
             "allows a part of a wave": [sweep(waves="float")],
             "allows a part of a wave after the first": [sweep(waves="lambda x: max(1.0, x)")],
             "adds segments to programs": [sweep("B * H * math.ceil(128 / rows) + P")],
             "forgets that segments are programs": [sweep("B * H * math.ceil(128 / rows)")],
             "drops the rest of the rows": [sweep("B * H * P * (128 // rows)")],
             "cuts all memories as if they were one": [sweep("B * H * P * 128 // rows")],
             "rounds the chunks of a segment down": [sweep(steps="-(-T // 64) // P")]},
    "13.9": {"right": [lambda *args: list(best_plan(*args))],
             "makes four times as many programs for the maps": [planner(maps="sweep(2 * B, 2 * H)")],
             "lets a step of the maps take twice as long": [planner(maps="2 * sweep(B, H)")],
             "stops short of one chunk a segment": [planner(sizes="P == 1 or P < chunks")],
             "cuts finer than there are chunks": [planner(sizes="P <= machine['multiprocessors']")],
             "charges an uncut plan like a cut one": [planner(is_cut="True")],
             "forgets that M has rows, too": [planner(maps="sweep(B, H)")],
             "gives segments first": [lambda *args: best_plan(*args)[::-1]]},
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


def test_the_next_step_asks_of_the_case_that_is_shown():
    """13.6: lengths of segments, T and P; and where the cache matters, a case in which it does."""
    exercise = find("exercise", "13.6")
    asked = {name: re.search(r"T = \d+ and (P = \d+)", mistake.next) for name, mistake in exercise.mutants.items()}
    for name in filter(asked.get, asked):
        shown = re.search(r"failing case \((.*)\)", grade(exercise, exercise.mutants[name].answer).text)[1]
        assert all(part in shown for part in asked[name][0].split(" and ")), (name, shown)
    exercise = find("exercise", "13.2")
    said = grade(exercise, exercise.mutants["finds its data in the cache"].answer).text
    assert "data that fits into the cache" in said and "saved=45" in said


def test_the_pretended_gpu_lies_as_a_real_one_does():
    gpu = PretendGPU({"a": 100.0, "b": 50.0}, launch_time=8.0, saved=20.0, every=4, heat=0.1)
    before = gpu.clock()
    gpu.launch("a")
    assert gpu.clock() - before == 8 + 90_000                            # compiled, and not waited for
    mark = gpu.event()
    with pytest.raises(NotFinished, match="gpu.synchronize"):
        mark.time
    gpu.synchronize()
    assert gpu.clock() == mark.time == before + 90_008 + 100
    with pytest.raises(KeyError, match="there is no kernel 'c', only 'a', 'b'"):
        gpu.launch("c")
    still = PretendGPU(100.0, saved=60.0)
    still.launch()
    gaps = []
    for empty in (False, True):
        still.synchronize()
        if empty:
            still.empty_cache()
        first, _, second = still.event(), still.launch(), still.event()
        still.synchronize()
        gaps.append(second.time - first.time)
    assert gaps == [48.0, 100.0] and EMPTYING > 8 + 1                    # the launch hides behind the emptying


def test_plans_count_what_the_report_counts():
    """The chunkwise form in one kernel moves what any kernel must move."""
    plan, sizes = chunkwise_plan(128, 128, 64)
    before = moved(plan, sizes)
    for i in (2, 0, 0):
        once = moved_when_fused(plan, i, sizes, ("o", "final"))
        assert once < before
        (r, w), (r2, w2) = plan[i:i + 2]
        later = {x for reads, _ in plan[i + 2:] for x in reads} | {"o", "final"}
        reads = tuple(dict.fromkeys([*r, *(x for x in r2 if x not in w)]))
        plan = [*plan[:i], (reads, (*(x for x in w if x in later), *w2)), *plan[i + 2:]]
        before = once
        assert moved(plan, sizes) == once
    assert before - sizes["final"] == floor_bytes(128, 128)["forward"] == 1026
    assert floor_flops(128, 128)["forward"] == 163_840


def test_segments_agree_with_the_recurrence_in_float64():
    g = torch.Generator().manual_seed(0)
    q, k = (normalize(torch.randn(50, 8, generator=g, dtype=torch.float64), dim=-1) for _ in range(2))
    v, S = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((50, 5), (5, 8)))
    beta = 2 * torch.rand(50, generator=g, dtype=torch.float64)
    whole = rule(q, k, v, beta, S)
    for P in (1, 3, 7, 50, 60):
        o, memories = in_segments(q, k, v, beta, S, P)
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip((o, memories[-1]), whole))
        assert len(memories) == math.ceil(50 / math.ceil(50 / P)) + 1 and torch.equal(memories[0], S)


def test_segments_that_wait_for_each_other_are_told_by_the_longest_chain():
    """From S on: the rule in one segment of 8 tokens, and a step a segment; or the rule in all twelve of them."""
    whole, one = segments.token_by_token(), segments.chain(segments.rule_alone, P=1, T=8)
    assert whole > 11 * one
    assert segments.chain(in_segments) <= one + 3 * 12 < whole / 4
    assert segments.chain(segments.segments_by_doubling) < one + 12
    assert segments.chain(segments.one_segment_after_the_other) >= whole


def test_the_models_limits():
    assert timeline([1000.0] * 5, 8.0) == (5008.0, 5008.0)               # long kernels: the host does not matter
    assert timeline([0.0] * 5, 8.0) == (40.0, 8.0)                       # empty ones: nothing else does
    assert sweep_time(1, 66, 64, 64, 1, 1.0, 132) == 1 and sweep_time(1, 67, 64, 64, 1, 1.0, 132) == 2
