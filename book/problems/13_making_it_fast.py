# %% [markdown]
# # 13. Making it fast: exercises
#
# {exercises}. `hint("13.2")` gives a push, `solution("13.2")` a solution.
# No GPU is needed. 13.2 and 13.3 time a pretended one, which always does the same; 13.5 and 13.6 are algebra on one sequence and
# one head, in float64: tokens are rows, `q`, `k` are (T, K), `v` is (T, V), `beta` is (T,), the memory `S` is (V, K), K ≠ V, and
# the scale is 1. The last three are one program: a model of how long a plan takes, and a planner that uses it.

# %%
import math
from itertools import product
from statistics import median

import torch

from deltanet_edu.bench.pretend import PretendGPU
from deltanet_edu.ops import delta_rule_recurrent
from deltanet_edu.ops.delta_rule.householder import ut_by_solve
from deltanet_edu.tutor import check, hint, lines, progress, solution

# %% [markdown]
# ## 13.1
#
# A GPU moves 3 TB (3 · 10¹² bytes) and does 800 TFLOP (800 · 10¹²) a second. The forward pass of the delta rule runs over
# B = 4 sequences of T = 4096 tokens with H = 64 heads, K = V = 128, in bfloat16, in chunks of 64. How many **milliseconds** must
# it take at least, if every input is read once, every output written once, and all products are those of eq. 13.2? The final
# memory is small enough to be forgotten. Three digits.

# %% tags=["nbval-check-output"]
floor = None

check("13.1", floor)

# %% [markdown]
# ## 13.2
#
# How long does the kernel run? We want one number for each pretended GPU: microseconds of a call that is compiled, that finds
# its data in main memory and not in the cache, and that nobody disturbs. The function below has four faults. Repair it.
#
# | method | what it does | on a real GPU |
# |---|---|---|
# | `gpu.launch()` | puts one call into the queue and returns | calling a kernel |
# | `gpu.clock()` | the clock of the host, in µs | `time.perf_counter()` |
# | `gpu.event()` | puts a mark into the queue and returns; `mark.time` is when the GPU got there | `torch.cuda.Event` |
# | `gpu.synchronize()` | lets the host wait until the queue is empty | `torch.cuda.synchronize()` |
# | `gpu.empty_cache()` | queues a kernel of 40 µs that writes over the whole cache, and returns | writing 256 MB of zeros |

# %%
gpu = PretendGPU(30.0, launch_time=12.0, saved=20.0, every=5)
print(gpu)
for n in range(3):
    before = gpu.clock()
    gpu.launch()
    print(f"call {n + 1}: the host says {gpu.clock() - before:,.0f} µs")

# %% tags=["nbval-check-output"]
def microseconds(gpu, calls):
    """A pretended GPU, how many calls to time -> microseconds of one call of its kernel."""
    raise NotImplementedError("13.2")                     # delete this line, and repair the rest
    times = []
    for _ in range(calls):
        start = gpu.clock()
        gpu.launch()
        times.append(gpu.clock() - start)
    return sum(times) / len(times)

check("13.2", microseconds)

# %% [markdown]
# ## 13.3
#
# Two kernels, or more, are to race on one GPU, which gets slower while it warms up. The function gets a pretended GPU with
# several kernels, their names, and how many rounds to run, and returns {name: median µs}. `gpu.launch(name)` launches one.
# Put the lines in order; any order that works counts. Two of them do not belong. Give the labels as a string.

# %%
lines("13.3")

# %% tags=["nbval-check-output"]
order = ""

check("13.3", order)

# %% [markdown]
# ## 13.4
#
# A plan is a list of kernels, each (names of the tensors it reads, names of those it writes). `sizes` says how many bytes each
# tensor has. Kernels `i` and `i + 1` are to become one. How many bytes does the whole plan move then?
#
# The joined kernel reads each of its inputs once. What the first half makes and the second half needs stays on the chip; it is
# written only if a kernel after `i + 1` reads it or if it is among the tensors that are `wanted` at the end. Each result is read by
# some kernel, or wanted.

# %%
plan = [(("k", "beta"), ("UT",)), (("UT", "k", "v"), ("W", "U")), (("k", "W", "U"), ("X", "S")), (("q", "k", "X", "S"), ("o",))]
sizes = {"q": 256, "k": 256, "v": 256, "o": 256, "W": 256, "U": 256, "X": 256, "UT": 128, "beta": 2, "S": 512}  # a token and head
print("in four kernels:", sum(sizes[x] for reads, writes in plan for x in (*reads, *writes)), "bytes a token and head")

# %% tags=["nbval-check-output"]
def moved_when_fused(plan, i, sizes, wanted):
    """[(reads, writes), ...], a number, {name: bytes}, names -> bytes."""
    raise NotImplementedError("13.4")

check("13.4", moved_when_fused)

# %% [markdown]
# ## 13.5
#
# Whatever memory enters a segment of tokens, it leaves as $S M + b$. Give M and b.

# %% tags=["nbval-check-output"]
def segment_map(k, v, beta):
    """(T, K), (T, V), (T,) -> M (K, K), b (V, K)."""
    raise NotImplementedError("13.5")

check("13.5", segment_map)

# %% [markdown]
# ## 13.6
#
# The sequence in segments of ⌈T / P⌉ tokens: find the maps, hand the memory from map to map, and only then run the rule inside each
# segment, from the memory that enters it. **No segment may wait for what the rule does in another one**: on a GPU the first and the
# last step run side by side. T need not be a multiple of P; the last segment may be shorter, and there may be fewer than P. Return the
# outputs, and all memories: the one that came in, and the one that each segment leaves. You may use your `segment_map`, and the
# package's rule:

# %%
def rule(q, k, v, beta, S):
    """One sequence, one head: outputs (T, V), and the memory after the last token (V, K)."""
    o, final = delta_rule_recurrent(*(x[None, :, None] for x in (q, k, v, beta)), initial_state=S[None, None])
    return o[0, :, 0], final[0, 0]

# %% tags=["nbval-check-output"]
def in_segments(q, k, v, beta, S, P):
    """(T, K), (T, K), (T, V), (T,), (V, K), a number -> (T, V), (segments + 1, V, K)."""
    raise NotImplementedError("13.6")

check("13.6", in_segments)

# %% [markdown]
# ## 13.7
#
# A pass launches several kernels, one after the other, that take `times` (µs) on the GPU. Each launch keeps the host `launch` µs,
# and the host does not wait in between. A kernel begins when it has been launched *and* the one before is done; the first, launched
# from 0 on, begins at `launch` (in eq. 13.6 it is number 1). When is the last one done, counted from when the host begins? And
# when, if all are recorded in a graph that the host starts with a single launch?

# %% tags=["nbval-check-output"]
def timeline(times, launch):
    """[µs, ...], µs -> (eager µs, graph µs)."""
    raise NotImplementedError("13.7")

check("13.7", timeline)

# %% [markdown]
# ## 13.8
#
# From here on we build a planner. Its first part: how long does one sweep over all sequences take?
#
# A head has a memory of 128 x 128, and each program holds `rows` rows of one memory (the last one what is left of the 128), in
# one of the P segments of one sequence. It goes through the chunks of 64 tokens of its segment, and each takes `step` µs. A
# multiprocessor runs one program at a time. Count programs for all P segments, also for those that get no chunk. A
# sequence has whole chunks but for the last; the longest segment has its P-th part of them, rounded up, and that one decides.

# %% tags=["nbval-check-output"]
def sweep_time(B, H, T, rows, P, step, multiprocessors):
    """Sequences, heads, tokens, rows of a program, segments, µs of a chunk, how many programs run at once -> µs."""
    raise NotImplementedError("13.8")

check("13.8", sweep_time)

# %% [markdown]
# ## 13.9
#
# Now the planner. `machine["steps"]` gives, for each number of rows that a program may hold, the µs of a chunk;
# `machine["launch"]` the µs of each launch, `machine["multiprocessors"]` how many programs run at once.
#
# * Uncut, P = 1: one launch and one sweep.
# * Cut into P segments: first a launch and a sweep that makes b and M of all segments, with twice as many programs as an
#   ordinary one (as if there were 2B sequences); then a launch that hands the memory through the maps, `machine["scan"]` µs a
#   segment; then a launch and the ordinary sweep.
#
# P is a power of two and at most the number of chunks of a sequence. Which (rows, P) is fastest? (Here no two are equally fast.)

# %%
H100 = dict(multiprocessors=132, steps={32: 1.2, 64: 1.5, 128: 2.4}, launch=6.0, scan=0.5)

# %% tags=["nbval-check-output"]
def best_plan(B, H, T, machine):
    """Sequences, heads, tokens, a machine as above -> (rows, P)."""
    raise NotImplementedError("13.9")

check("13.9", best_plan)

# %% [markdown]
# The package decides in `kernels/splitting.py`, with figures that were measured rather than made up. Where do you agree? (Its
# tiles come from a table, so only the number of segments is compared; `programs` are those of an uncut sweep, two tiles of 64 rows a
# head. Nothing is checked here.)

# %%
def compare():
    from deltanet_edu.kernels.splitting import choose                    # needs Triton
    for B, H, T in ((1, 8, 32768), (1, 8, 65536), (1, 16, 16384), (4, 16, 2048), (4, 64, 4096)):
        package = choose(programs=2 * B * H, chunks=T // 64, width=128, multiprocessors=132)
        print(f"B = {B}, H = {H:>2}, T = {T:>6,}   yours {best_plan(B, H, T, H100)[1]:>3}   the package {package:>3}")

try:
    compare()
except (NotImplementedError, TypeError, ImportError) as missing:
    print("After 13.9, where Triton is installed." if isinstance(missing, ImportError) else "After 13.9.")

# %% [markdown]
# And the real thing: put your forward kernel of chapter 11 into a file or a cell and let it run against the package's. The lesson
# says how: `race(f)`.
