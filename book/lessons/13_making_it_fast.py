# %% [markdown]
# # 13. Making it fast
#
# *What a clock says, what memory asks for, and who waits for whom.*

# %%
import os
import statistics
from unittest import mock

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"                                 # no GPU here: Triton's interpreter runs kernels

from deltanet_edu.bench import report, timing
from deltanet_edu.bench.measuring import experiment
from deltanet_edu.figures import kernels as rivals_picture
from deltanet_edu.figures import lines
from deltanet_edu.figures import measuring as picture
from deltanet_edu.kernels import why_not
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

torch.set_num_threads(1)

# %% [markdown]
# ## A product that is too fast
#
# Chapters 11 and 12 have kernels that are right. Are they fast? Nothing seems easier to find out: look at the clock, run, look at
# the clock. Let us try that on something whose answer we know, a product of two large matrices.

# %%
predict("13.a")

# %% [markdown]
# The measurements of this chapter need a GPU. If you have one, they are made as you run the cells; if not, you see those that are
# stored with the book, and where and when they were made. Red is what the naive clock says.

# %%
roofs, _ = experiment("roofs")
roofs = roofs or (read_result("delta_rule_h100") or {"ceilings": {"flop/s": 8e14, "byte/s": 3e12}})["ceilings"]
rows, about = experiment("waiting")
if rows:
    picture.clocks(rows, peak=roofs["flop/s"] / 1e12)
print(about)

# %% [markdown]
# *Red: the clock of the host, stopped when the call returns. For the largest matrices it reports a speed no chip has. Orange: the
# same clock, after waiting for the GPU; nearly honest, and for large products only. Blue: marks that the GPU sets itself. On the left all three
# measure how fast the host can call.*
#
# A wrong result in chapter 8 was off by a few percent, and a test caught it. A wrong *time* can be off by a factor of twenty,
# and nothing complains.
#
# **The question of this chapter**: where does the time of a kernel go, and how do we know?

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * time a GPU, and name five ways in which a time can lie;
# * say how fast a kernel could be at best, from bytes and FLOPs alone, and what each fusion saves;
# * choose tiles, precision and segments, and say what each costs;
# * tell whether the GPU or the host is the slow one;
# * put a kernel of your own into a race, and then into a model.
#
# You need chapters 8 to 12, and 3 for the roofline. Reading and running takes about an hour, the exercises two and three quarters. The
# package gets `bench/timing.py`, `bench/measuring.py`, `kernels/splitting.py` and the race.
#
# ## Three questions about earlier chapters
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 3: which two numbers of a machine make its roofline, and which number of a program says where it stands?</summary>
#
# FLOPs and bytes a second; and the FLOPs that the program does per byte it moves.
#
# </details>
#
# <details><summary>2. Chapter 8: why do W and U not have to exist?</summary>
#
# $U - WS^\top = \mathbf{T}\,(V - KS^\top)$: ask the memory first, then solve (eq. 8.6).
#
# </details>
#
# <details><summary>3. Chapter 11: what stays in registers from chunk to chunk?</summary>
#
# The memory S, some rows of it per program. That chain is the only thing that is sequential.
#
# </details>

# %% [markdown]
# ## Five ways to be wrong
#
# ### 1. The clock stops too early
#
# A call on a GPU is a letter, not a visit. The host writes *what* is to be done, puts it into a queue and goes on. Here is a
# pretended GPU that behaves like that, with a kernel of 300 µs. Three clocks: stopped at once, stopped after waiting, and the GPU's
# own. For that we put a mark into the queue, the call, and another mark (in PyTorch `torch.cuda.Event(enable_timing=True)`).

# %%
from deltanet_edu.bench.pretend import PretendGPU

gpu = PretendGPU(300.0, launch_time=8.0)
gpu.launch()
gpu.synchronize()                                                        # compiled, and the queue is empty

start = gpu.clock()
gpu.launch()
print("stopped at once  ", gpu.clock() - start, "µs")
gpu.synchronize()
print("after waiting    ", gpu.clock() - start, "µs")
first, _, second = gpu.event(), gpu.launch(), gpu.event()
gpu.synchronize()                                                        # marks can be read when they have happened
print("between two marks", second.time - first.time, "µs")

# %% [markdown]
# The first clock saw the launch alone. Waiting helps, but puts the 8 µs of the launch into the time. And the marks say 308 as well:
# the queue was empty, so the GPU set the first mark and then had to wait until the launch came through. A queue that is never
# empty between the marks is the second half of the remedy, and we get it from the third fault.
#
# ### 2. The first calls
#
# What does a Triton kernel do when it is called for the first time in a process, with nothing compiled?

# %%
rows, about = experiment("first_calls")
if rows:
    print("  ".join(f"{ms:,.2f}" for ms in rows), "ms")
    print(f"mean of all {sum(rows) / len(rows):,.1f} ms, of all but the first {sum(rows[1:]) / len(rows[1:]):.2f} ms")
print(about)

# %% [markdown]
# The first call compiles. With an autotuner it also tries every configuration it knows, which takes some libraries minutes. One
# such call among ten makes the mean a measurement of the compiler.
#
# ### 3. The cache
#
# Between the multiprocessors and main memory lies a cache, L2, of some 50 MB.

# %%
predict("13.b")

# %%
rows, about = experiment("cache")
if rows:
    sizes = list(map(int, rows))
    curves = {name: (sizes, [row[name] for row in rows.values()]) for name in ("warm", "cold")}
    lines(curves, xlabel="megabytes of the array", ylabel="TB/s it seems to move", log="x", xticks=sizes[::2], figsize=(5.4, 2.7),
          alt="Line plot of the speed of a copy, again and again (warm), and with an emptied cache (cold).", looks=("red", "blue"))
print(about)

ours, _ = experiment("cache_of_kernels")
for shape, row in (ours or {}).items():
    print(f"forward pass at {shape:15} warm {row['warm']:.4f} ms, cold {row['cold']:.4f} ms")

# %% [markdown]
# *Red: copies right after one another. At 16 MB both arrays fit into the cache, and it seems to beat main memory. A kernel that is
# measured like that looks better than it will ever be in a model, where a whole layer has run in between. Blue: the
# cache is overwritten before each copy. (Small copies are slow in either case: a launch costs a few microseconds. Why the last pair falls we do not know; copies
# of 2 GB reach 4.3 TB/s.) The lines above
# the plot are the kernels of this package. They care little, 4 to 10 percent, since they read most numbers once.*
#
# To empty the cache, one writes over more than it holds: Triton's 256 MB take the GPU some 60 µs at 4.3 TB/s. If the host can queue mark,
# call and mark in that time, the queue is not empty when the first mark is reached. One line cures two faults. (A call that
# keeps the host longer than that is still timed at the host's pace.)

# %%
gpu = PretendGPU(300.0, launch_time=8.0, saved=120.0)
for empty in (False, True):
    gpu.launch()
    gpu.synchronize()
    if empty:
        gpu.empty_cache()
    first, _, second = gpu.event(), gpu.launch(), gpu.event()
    gpu.synchronize()
    print("cache emptied" if empty else "cache as it is", second.time - first.time, "µs")

# %% [markdown]
# ### 4. One call, or the mean of many
#
# Two hundred forward passes of the package's kernels, 4 × 2,048 tokens and 16 heads of 128, each timed alone:

# %%
rows, about = experiment("noise")
if rows:
    picture.single_calls(rows)
print(about)

# %% [markdown]
# *A few calls stand above the rest, since somebody interrupted the host. They move the mean and leave the median alone. The minimum reports the luckiest call. Right: the same
# launches as a CUDA graph, without the host, of which more below.*
#
# ### 5. Heat, and what the numbers are
#
# In 2024 Horace He told a story that few believed at first: one and the same matrix product, of the same
# shape and on the same chip, took a different time depending on the *numbers* in the matrices.

# %%
predict("13.c")

# %%
rows, about = experiment("data")
if rows:
    for name, speed in rows.items():
        print(f"{name:8} {speed:6.0f} TFLOP/s   {'█' * round(speed / 20)}")
print(about)

points, _ = experiment("pause", afresh=False)
for name, start, end in (("the first tenth of a second", 0, 0.1), ("one to three seconds", 1, 3)) if points else ():
    speeds = [speed for second, speed in points if start <= second < end]
    print(f"{name} after a pause: {statistics.median(speeds):.0f} TFLOP/s")

# %% [markdown]
# Each bit that flips costs energy. With random numbers the tensor cores would take more power than the chip is allowed, so it
# lowers its clock. A benchmark on zeros measures another machine. The last two lines are random numbers after two
# seconds of rest: a rested chip is faster. So who runs first in a comparison gets another chip. In a fair one, candidates take turns
# within every round.
#
# All of this together is a dozen lines. Triton has most of it: `do_bench` empties the cache, sets marks, and gives the median.

# %%
show(timing.milliseconds)

# %% [markdown]
# ## How fast could it be?
#
# A time means little without the time that it could be. Chapter 3 gave the two roofs; now we need the bytes and the FLOPs. Whatever
# a kernel does inside, it must read q, k, v and β and write o, each number once. With $n$ bytes a number:
#
# $$ \text{bytes a token and head, forward} \ge n\,(2K + 2V + 1) \tag{13.1} $$

# %%
verify("13.1")

# %% [markdown]
# And the products of the residual form (eq. 8.4 to 8.6), with tiles of $C \times C$ computed whole: $KK^\top$, $QK^\top$; $KS^\top$ and
# $QS^\top$; $\mathbf{T}R$ and $PX$; $X^\top K$. The inverse is left out: it is small, and how many FLOPs it takes depends on the method.
#
# $$ \text{FLOPs a token and head, forward} = 6KV + 4C\,(K + V) \tag{13.2} $$

# %%
verify("13.2")

# %%
for K in (64, 128, 256):
    moved, work = report.floor_bytes(K, K)["forward"], report.floor_flops(K, K)["forward"]
    by_bytes, by_work = 1e9 * moved / roofs["byte/s"], 1e9 * work / roofs["flop/s"]
    print(f"K = V = {K:3}   {moved:5,} bytes {by_bytes:5.3f} ns   {work:7,} FLOPs {by_work:5.3f} ns   "
          f"{'memory' if by_bytes > by_work else 'arithmetic'} is the slower one")

# %% [markdown]
# A fraction of a nanosecond for a token of a head: that is the **floor**, with roofs as a copy and a product reach them (the maker's
# peaks for an H200, 4.8 TB/s and 989 TFLOP/s, are higher). A kernel that takes twice as long has something to look for. The backward pass has its floor too, and so do both together:

# %%
stored = read_result("race_h200")
if stored:
    four = [label for label in ("4,4096,64,128", "8,2048,32,256", "1,32768,8,128", "8,1024,8,64") if label in stored["shapes"]]
    ns = {label: {key: report.nanoseconds(label, stored["shapes"][label]["chunkwise"][key]) for key in ("forward", "both")}
          for label in four}
    rivals_picture.against_floor({label: {key: (t, *report.floor(label, roofs)[key]) for key, t in row.items()}
                                  for label, row in ns.items()}, report.note(stored, "bfloat16, eager calls, medians."))

# %% [markdown]
# *Solid: the floor. Pale: measured. Four shapes, four different stories: forward the first comes closest to its floor, and each of the other
# three loses its time in another place. The rest of this chapter finds out where. (Chapter 11 showed an H100, whose floors are higher.)*

# %% [markdown]
# ## What a fusion saves
#
# The textbook form of chapter 8 as four kernels, each of which reads from main memory and writes back to it:

# %%
K = V = 128
C = 64
sizes = {name: 2 * n for name, n in dict(q=K, k=K, v=V, o=V, beta=1, UT=C, W=K, U=V, X=V, S=K * V // C).items()}
group = {"UT": "UT", "W": "W and U", "U": "W and U", "X": "X", "S": "memories, one a chunk"}

def moved(*kernels):
    """{what: bytes a token and head} of kernels (reads, writes)."""
    found = {}
    for names in kernels:
        for name in names.split():
            part = group.get(name, "inputs and outputs")
            found[part] = found.get(part, 0) + sizes[name]
    return found

# %%
predict("13.d")

# %%
ways = {"four kernels": moved("k beta UT", "UT k v W U", "k W U X S", "q k X S o"),
        "no W and U (eq. 8.6)": moved("k beta UT", "UT k v X S", "q k X S o"),
        "outputs inside the sweep": moved("k beta UT", "UT k q v o"),
        "the inverse inside, too": moved("q k v beta o")}
picture.moved(ways, floor=report.floor_bytes(K, V)["forward"]);

# %% [markdown]
# *From top to bottom: `flash-linear-attention` is organized like the first bar, the package and FlashQLA, which we meet in the race,
# like the third; nobody here like the last. What is not blue vanishes, because what one kernel writes and the next one reads can stay in registers.*
#
# Bars one to three compute nearly the same products; what shrinks is the way that numbers
# travel. (PyTorch, operation by operation, is off this chart:)

# %%
from deltanet_edu.bench.roofline import traffic
from deltanet_edu.ops import delta_rule_chunkwise

def inputs(T, H, K, V, grad=False):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.nn.functional.normalize(torch.randn(1, T, H, D, generator=g), dim=-1) for D in (K, K, V))
    return [x.requires_grad_(grad) for x in (q, k, v, torch.rand(1, T, H, generator=g))]

by_pytorch = traffic(delta_rule_chunkwise, *inputs(1024, 1, K, V), chunk_size=C) / 1024 / 2          # float32 to bfloat16
print(f"{by_pytorch:,.0f} bytes a token and head, {by_pytorch / report.floor_bytes(K, V)['forward']:.0f} times what must move")

# %% [markdown]
# ### Counted, not believed
#
# Does the package's kernel move what the third bar says? The interpreter runs it, and `Trace` counts every load and every store of
# each launch (chapter 10).

# %%
from deltanet_edu.bench.trace import Trace
from deltanet_edu.bench.trace import why_not as why_not_traced
from deltanet_edu.bench.verify import picking

def counted(tile, T=128, K=128, backward=False, group=1):
    """[[kernel, bytes a token and head in bfloat16]] of the package, if a program holds so many rows of a memory."""
    from deltanet_edu.kernels import configs, delta_rule_chunkwise
    plan = configs.FLOAT32[configs.width_of(K, K)]._replace(C=64, group=group, both=None, **dict.fromkeys(
        ("forward", "saving", "sweep", "back", "gradients", "groups"), configs.Config(tile, 8, 1)))
    one = configs.Device(227 * 1024, multiprocessors=1)                  # a head keeps it busy
    with mock.patch.object(configs, "device", lambda index: one), picking(plan), Trace() as seen:
        o, _ = delta_rule_chunkwise(*inputs(T, 1, K, K, grad=backward))
        if backward:
            o.sum().backward()
    return [[launch.kernel, (launch.loaded + launch.stored) / T / 2] for launch in seen.launches]

# %%
reason = why_not_traced() or why_not("cpu", torch.float32)               # "" where kernels can be watched
if not reason:
    for name, size in counted(128):
        print(f"{name:20} {size:7,.0f} bytes a token and head")
    print("the third bar says  ", f"{sum(ways['outputs inside the sweep'].values()):8,}")
print(reason)

# %% [markdown]
# The difference is the last memory, which a real text of thousands of tokens spreads thin, and β, which is kept in float32.
#
# Now the same count beside the clock, kernel by kernel, forward and backward: what does each take, and what would its bytes alone
# take? (With the groups of sixteen chunks of chapter 12; so 1,024 tokens, some seconds.) The lines above it come from a profiler, Nsight
# Compute: the chip has counters for what reaches main memory, and for cycles in which its tensor cores work.

# %%
timed, about = experiment("by_kernel")
if timed and not reason:
    timed = timed["4,4096,64,128"]["both"]
    group = 16 if timed[-1][0] == "group_gradients_kernel" else 1
    counts = counted(128, T=64 * max(2, group), backward=True, group=group)
    same = [name for name, _ in timed] == [name for name, _ in counts]
    rows = {f"{i + 1}. {name.removesuffix('_kernel')}": (1e6 * ms / (4 * 4096 * 64), 1e9 * counts[i][1] / roofs["byte/s"] if same else 0)
            for i, (name, ms) in enumerate(timed)}
    picture.by_kernel(rows, about)
print(about, "By Nsight Compute:", sep="\n")
profiled, elsewhere = ((read_result(f"ncu_{card}") or {"launches": []})["launches"] for card in ("h200", "h100"))
for row, other in zip(profiled, elsewhere):
    size = 1e6 * (row["DRAM MB read"] + row["DRAM MB written"]) / (4 * 4096 * 64)
    print(f"{row['kernel'].removesuffix('_kernel'):15} {size:6,.0f} bytes a token and head, {row['DRAM %']:2.0f} % of the maker's TB/s "
          f"(H100: {other['DRAM %']:2.0f} %), tensor cores {row['tensor %']:2.0f} %")

# %% [markdown]
# *A kernel near 1 is as good as its bytes allow: to make it faster, it must move less. One far above 1 waits for something else: for
# the chain from chunk to chunk, for registers, for the tensor cores. The profiler agrees with the interpreter within four percent, the tiny strengths apart. A
# copy reaches 90 percent; on an H100, with 3.35 TB/s, three kernels nearly do. The H200 has 4.8 TB/s, and the same
# kernels take only 3 to 17 percent less time: now they wait for something else. The gradients' warps wait for loads and for each other, on either card.*

# %% [markdown]
# ## Tiles and warps
#
# A memory of 128 x 128 can be split by rows among programs (eq. 3.1). Small tiles give more programs; but each of them loads the
# same keys and queries again.

# %%
if not reason:
    for rows_of_memory in (16, 32, 64, 128):
        kernel, size = counted(rows_of_memory, T=64)[1]
        print(f"{rows_of_memory:3} rows a program, {128 // rows_of_memory} of them a head: {size:6,.0f} bytes a token and head in {kernel}")

found, about = experiment("tiles", afresh=False)
if found:
    shape, times = next(iter(found.items()))
    for tile, ms in times.items():
        v_tile, warps = tile.split(", ")
        print(f"{v_tile:>3} rows, {warps} warps   {f'{ms:.3f} ms' if ms else 'does not fit':>12}   {'█' * round(30 * (ms or 0))}")
    print("B, T, H, K = V:", shape)
print(about)

# %% [markdown]
# Programs of one head run side by side, so the cache answers most of the repeated loads, but it is still work. The number of warps
# decides how a tile is spread over registers: 8 warps hold twice as many numbers as 4. Too few, and the
# compiler must put numbers aside into slow memory ("spills"); too many, and each warp's products are too small for the tensor
# cores: on Hopper four warps take 64 rows at a time (chapter 11), so eight want 128. The package keeps a table, made by trying (`deltanet-edu tune`).

# %% [markdown]
# ## Splitting the sequence
#
# The third row of the floor figure, one long text with 8 heads, is far from its floor, though it is cut as this section explains; uncut it takes three times as long. Why?

# %%
predict("13.e")

# %% [markdown]
# All others are idle, and the sixteen have a chain of 512 chunks before them. More heads would help, but there are none. What
# could the idle ones do? They could start in the middle of the text, if only somebody told them which memory enters there.
#
# Nobody can. But every token's step is linear in the memory, and so is that of a thousand tokens (chapter 4, chapter 7). A
# segment of $n$ tokens turns *any* memory $S$ into
#
# $$ S' = S M + b, \qquad M = I - W^\top K = M_1 M_2 \cdots M_n, \qquad b = U^\top K \tag{13.3} $$

# %%
verify("13.3")

# %% [markdown]
# M and b need no S. So all segments find theirs at the same time: $b$ is where an empty memory ends, and $M$ is where the identity
# ends if all values are zero. The same kernel computes both, with different rows. Then a short chain, one small product a
# segment, and then everybody knows where to start.

# %%
picture.segments_at_work(chunks=16, P=4);

# %% [markdown]
# *Everything is done twice, and more: the maps alone are a sweep over K + V rows. Still it ends earlier, because what was idle
# works.* In chunks of time, with a small step $\varepsilon$ for each segment in the chain:
#
# $$ \text{chunks in a row:}\quad N \;\to\; 2\left\lceil N / P \right\rceil + P\,\varepsilon \tag{13.4} $$

# %%
verify("13.4")

# %% [markdown]
# That is all true only while there are idle multiprocessors. Here is the clock, for one text with few heads and for a full chip:

# %%
found, about = experiment("segments")
if found:
    curves = {picture.spelled(shape): ([int(P) for P in row], [ms / row["1"] for ms in row.values()]) for shape, row in found.items()}
    lines(curves, xlabel="segments P", ylabel="time, relative to P = 1", log="x", xticks=[1, 2, 4, 8, 16, 32], figsize=(5.4, 2.9),
          alt="Line plot of the time of a forward pass against the number of segments, for shapes with few and with many heads.")
print(about)

# %% [markdown]
# *Where few heads leave the chip idle the curves fall, until the segments get too short or the chip is full. (Already at P = 2: the first sweep makes no outputs.) Where it is full
# already, cutting only adds work.* So it must be decided from the shape alone, before anything runs: `choose` in
# `kernels/splitting.py` does it, and exercise 13.9 is yours.
#
# Gradients come back the same way. If $dS'$ arrives at the end of a segment, and $c$ is what its own outputs send to its
# beginning,
#
# $$ dS = dS'\,M^\top + c \tag{13.5} $$

# %%
verify("13.5")

# %% [markdown]
# The backward pass uses the same M. One thing to fear: no decay makes M small, so do errors pile up? They do not pile up faster
# than in the memory itself, which goes the same way.

# %% [markdown]
# ## The host
#
# The last row of the floor figure, short texts with few narrow heads, is furthest from its floor, and kernels are the least of it. A pass
# launches several kernels. The host needs $h$ for each launch, and kernel $i$ needs $t_i$; it begins when it is launched *and* the
# one before is done. Let $j$ be the last kernel for which the GPU had to wait. From then on there is no gap:
#
# $$ \text{done} = \max_{j}\Big( j\,h + \sum_{i \ge j} t_i \Big) \tag{13.6} $$

# %%
verify("13.6")

# %% [markdown]
# Run the next cell, slide how long a kernel runs, and find the place where it begins to matter. (GitHub shows one setting.)

# %%
picture.explore_queue();

# %% [markdown]
# Below it the host decides, and a kernel that is twice as fast changes nothing at all. The remedy is to launch once: a **CUDA graph**
# records all launches of a pass, and starts them together. `torch.compile(mode="reduce-overhead")` makes them for you.

# %%
rows, about = experiment("host")
if rows:
    T = list(map(int, rows))
    curves = {name: (T, [row[key] for row in rows.values()])
              for name, key in (("eager", "both"), ("eager, one thread", "both, one thread"), ("CUDA graph", "graph both"))}
    lines(curves, xlabel="tokens T (one text, 8 heads of 64)", ylabel="ms, both passes", log="xy", xticks=T[::2],
          looks=("red", "orange", "blue"), figsize=(5.4, 2.7),
          alt="Line plot of the time of both passes against the length: eager, eager in one thread, and as a CUDA graph.")
print(about)

# %% [markdown]
# *Red is nearly level as long as the host is the slow one: 128 tokens take almost as long as thousands. Blue is what the GPU could do (it
# rises little where texts begin to be cut). Where the lines meet, the kernels count again. Orange: autograd runs backward passes in a thread of its own, and must wake it.
# After `torch.autograd.set_multithreading_enabled(False)` they run in yours.*

# %% [markdown]
# ## Precision
#
# Tensor cores multiply numbers of few digits and add them up in float32. How few can we afford? Let a GPU's product be a function, and
# run chapter 8 with it, on this CPU: 512 tokens whose keys are similar, which is hard for the inverse.

# %%
from deltanet_edu.figures.tensor_core import similar_keys, to_tf32

def bfloat16(x, y):
    return x.bfloat16().float() @ y.bfloat16().float()

def tf32(x, y):
    return to_tf32(x) @ to_tf32(y)

def tf32x3(x, y):
    (x1, x2), (y1, y2) = ((to_tf32(z), to_tf32(z - to_tf32(z))) for z in (x, y))
    return x1 @ y1 + x1 @ y2 + x2 @ y1

# %% [markdown]
# The last one is a trick. What rounding takes away, $x - \hat x$, is small and can be rounded as well; then three cheap products give
# nearly what an expensive one would.
#
# $$ xy \approx \hat x \hat y + \hat x\,\widehat{(y - \hat y)} + \widehat{(x - \hat x)}\,\hat y \tag{13.7} $$

# %%
verify("13.7")

# %%
def chunks(q, k, v, beta, mul, C=64):
    S, out = torch.zeros(v.shape[1], k.shape[1]), []
    for Q, K, V, b in zip(q.split(C), k.split(C), v.split(C), beta.split(C)):
        A = (b[:, None] * mul(K, K.mT)).tril(-1)                         # (C, C)
        T1 = torch.linalg.solve_triangular(A + torch.eye(C), torch.eye(C), upper=False, unitriangular=True)
        X = mul(T1 * b, V - mul(K, S.mT))                                # (C, V)
        out.append(mul(Q, S.mT) + mul(mul(Q, K.mT).tril(), X))
        S = S + mul(X.mT, K)                                             # float32: thousands of chunks add up
    return torch.cat(out)

# %%
from deltanet_edu.ops import delta_rule_recurrent

k, beta = similar_keys(0.5, None, seed=0, C=512, K=64)
q, _ = similar_keys(0.0, None, seed=1, C=512, K=64)
v = torch.randn(512, 64)
exact = delta_rule_recurrent(*(x.double()[None, :, None] for x in (q, k, v, beta)))[0][0, :, 0]
for name, mul in {"float32": torch.matmul, "tf32x3": tf32x3, "tf32": tf32, "bfloat16": bfloat16}.items():
    error = (chunks(q, k, v, beta, mul).double() - exact).norm() / exact.norm()
    print(f"{name:10} relative error {error:.0e}")

# %% [markdown]
# Each bit that a product keeps is a bit of the result: the delta rule neither swallows errors nor blows them up. Two rules follow.
# The *memory* is added up in float32, whatever the products are made of. And the inverse is built with at least tf32. And what
# does precision cost in time? (4 × 2,048 tokens, 16 heads of 128; errors at 2 × 1,000 tokens, 8 heads.)

# %%
rows, about = experiment("precision")
if rows:
    for name, row in rows.items():
        print(f"{name:16} {row['ms']:7.3f} ms   error of o {row['ordinary']:.1e}, with repeated keys and β up to 2 {row['repeated']:.1e}")
print(about)

# %% [markdown]
# `ieee` products do not run on tensor cores at all. `tf32x3` is the default of the package for float32 inputs: nearly as exact. (Float32 has tiles of 16 rows in the table: for exact results, not for speed.)
# Training is mostly done in bfloat16. About half of its error here is that of rounding the output alone.

# %% [markdown]
# ## The race
#
# Fair means: one process, the same tensors, unit keys for all, in turns, medians, and the error of each beside its time. And a rest
# before each: attention runs a GPU so hot that it lowers its clocks, and who came next took longer. Five
# candidates: the package's chunkwise kernels and its kernel for one token at a time, flash-linear-attention, FlashQLA (a library
# for Hopper, heads of 128 only), and softmax attention, which computes something else and is what everybody uses. The token loop ran in a
# process of its own, beside our kernels.

# %%
predict("13.f")

# %%
who = {"chunkwise": "this package", "fla chunk": "flash-linear-attention", "FlashQLA": "FlashQLA",
       "recurrent": "token by token", "softmax attention": "softmax attention"}
files = [file for name in ("race", "recurrent") if (file := read_result(f"{name}_h200"))]

def standings(key):
    """{shape: {who: ns a token and head}}; who is in several files counts as in the first."""
    found = {}
    for file in files:
        for label, rows in file["shapes"].items():
            for name, row in rows.items():
                if name in who and key in row:
                    found.setdefault(label, {}).setdefault(who[name], report.nanoseconds(label, row[key]))
    return found

if files:
    floors = {label: report.floor(label, roofs)["both"][0] for label in standings("both")}
    picture.rivals(standings("both"), floors, report.note(files[0], "Forward + backward, bfloat16, eager calls, medians."))

# %% [markdown]
# *Each row is a shape, each mark a rival, the upright line the floor; the axis is logarithmic. Who is
# farthest to the left wins the row.* In words, computed from the same files:

# %%
def ratios(rival, key):
    """{shape: a rival's time / ours, measured in the same file}: only one process compares fairly."""
    both = [(label, rows[rival], rows["chunkwise"]) for file in reversed(files) for label, rows in file["shapes"].items() if rival in rows]
    return {label: theirs[key] / ours[key] for label, theirs, ours in both if key in theirs and key in ours}

for key, name in (("forward", "forward"), ("graph forward", "forward, as CUDA graphs"), ("both", "forward + backward"),
                  ("graph both", "both, as CUDA graphs")):
    print(f"\n{name}: their time, divided by ours")
    for rival, spoken in list(who.items())[1:]:
        if found := ratios(rival, key):
            low, high = min(found, key=found.get), max(found, key=found.get)
            print(f"  {spoken:24} {found[low]:5.2f} ({picture.spelled(low)}) to {found[high]:6.2f} ({picture.spelled(high)})")

# %% [markdown]
# ### Where we lose, and why
#
# Every number below 1 in that table is a loss. They all come from one row, against softmax attention, and you know both reasons:
#
# * **Small calls, eager.** Our passes launch more kernels, from Python. As a graph the same kernels are up to eight times faster, and
#   attention wins only forward, by a tenth. A whole compiled model does not see the difference. (Hosts vary: beside the token loop this forward pass took a
#   third of its time here.)
# * **Short texts.** Attention's work a token grows with T, ours with K. With heads of 256 and 2,048 tokens it is a draw, forward.
#
# FlashQLA comes closest: with one text of 32,768 or 65,536 tokens, as graphs, it takes 1.07 and 1.08 times our time. Its forward
# pass is the third bar of the fusion figure, as ours is. Its backward sweep makes the gradients on its way, so that $dS'$ and $dV$
# never leave the chip; memories do, one a chunk. Its warps have different jobs: some load, some multiply. It cuts long texts, too, and
# there its backward pass alone takes 8 to 10 percent less time than ours (graphs).
#
# Where we win: against plain flash-linear-attention, because we move a third of the bytes; and against attention wherever a text is
# long. (flash-linear-attention's token loop was up to three times as fast as ours forward: `delta_rule_h100.json`.)
#
# And what is left to win? Forward, where the card is full, our two kernels move 1.61 GB in 0.52 ms, 3.1 TB/s. As fast as a copy,
# 4.3 TB/s, they would take 0.37 ms: here the chain is slow. (An H100 takes 0.59 ms, nine tenths of a copy's speed: there only fewer bytes would
# help.) The next step is never to write $\mathbf{T}$, nor to read keys twice: a third of the bytes less. Done as one launch in chapter 11,
# it is four times *slower*: the chain waits for each inverse, which must be made beside it.
#
# The errors:

# %%
for label, rows in next((file["errors"] for file in files if file.get("errors")), {}).items():
    print(f"{label:41}", ", ".join(f"{who[name]} {max(row.values()):.1e}" for name, row in rows.items()
                                   if name in who and "failure" not in row).replace("flash-linear-attention", "fla"))

# %% [markdown]
# ## Your kernel in the race
#
# Write a function `f(q, k, v, beta) -> o` that launches your kernels, in this notebook or in a file, and give it to `race`. Here is
# the simplest one that is right: one program a head, one token at a time.

# %%
if not reason:
    import triton
    import triton.language as tl

    @triton.jit
    def loop_kernel(q, k, v, beta, o, T, H, K: tl.constexpr, V: tl.constexpr):
        program, i, j = tl.program_id(0), tl.arange(0, K), tl.arange(0, V)
        S = tl.zeros((V, K), tl.float32)                                 # (V, K)  registers
        for t in range(T):
            n = (program // H * T + t) * H + program % H                 # token t of this sequence and head
            key, value = tl.load(k + n * K + i), tl.load(v + n * V + j)  # (K,), (V,)
            error = tl.load(beta + n) * (value - tl.sum(S * key[None, :], 1))
            S += error[:, None] * key[None, :]
            tl.store(o + n * V + j, tl.sum(S * tl.load(q + n * K + i)[None, :], 1))

# %%
def one_token_at_a_time(q, k, v, beta):
    o = torch.empty_like(v)
    B, T, H, K = k.shape
    loop_kernel[(B * H,)](q, k, v, beta, o, T, H, K, v.shape[3])
    return o

if not reason:
    from deltanet_edu.bench.race import race
    verdict = race(one_token_at_a_time, seconds=120, library=False)

# %% [markdown]
# It runs in a process of its own: a crash or an endless loop is a verdict, and takes nothing with it. It is right, moves not a byte
# too many, and is hopeless: that is what the last lines say. Bytes are a floor, and a chain of T steps is no floor but a wall
# (chapter 3).
#
# What gets through is kept on your board: `board_figure()`. On the command line, `deltanet-edu race my_kernel.py` does the same with
# a function `delta_rule` in a file, and `--backward` judges gradients as well.
#
# ### And into a model
#
# A function that the race lets through can stand in for the package's kernels anywhere: `backend=` takes it. The first call is
# checked once more, and whatever your function cannot do is refused by name.

# %%
from deltanet_edu import delta_rule
from deltanet_edu.layers import DeltaNet

def mine(q, k, v, beta, *, initial_state=None, scale=1.0):
    """Yours goes here; this one is chapter 8."""
    return delta_rule_chunkwise(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=16)

o, _ = delta_rule(*inputs(100, 2, 16, 16), backend=mine)
layer = DeltaNet(32, 2, backend=mine)
print(o.shape, layer(torch.randn(1, 50, 32))[0].shape)

# %% [markdown]
# In the model of chapter 16 it is one more line after the model is built:
#
# ```python
# for layer in model.modules():
#     if isinstance(layer, DeltaNet):
#         layer.how["backend"] = mine
# ```

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | to time a GPU | compile first; empty the cache; marks in the queue; wait once; median; candidates in turns; real data |
# | the floor | $n(2K + 2V + 1)$ bytes a token and head, forward; or $6KV + 4C(K + V)$ FLOPs |
# | a fusion | saves what one kernel writes for the next, and inputs that both read |
# | segments | $S' = SM + b$: a sweep twice, over a P-th of the chunks; pays while the chip is idle |
# | the host | $\max_j (j h + \sum_{i \ge j} t_i)$; a graph launches once |
# | precision | products in bfloat16 or tf32, sums and memory in float32; tf32x3 is three cheap products in the place of a dear one |
#
# **Added to the package**: `bench/timing.py`, `bench/measuring.py`, `bench/trace.py`, the race; `kernels/splitting.py`; functions of
# your own as `backend`.
#
# **In other notations**
#
# | where | how it is written |
# |---|---|
# | vendors' data sheets | TB/s of one direction or of both, FLOP/s "with sparsity" (twice what dense products get): measure your roofs |
# | flash-linear-attention | `chunk_delta_rule`: our first bar, in five launches forward and seven backward |
# | FlashQLA | the gated delta rule; with gates of 1, whose logarithm is 0, it is ours |
# | papers on scans | $(M, b)$ is an element of the scan of chapter 7, with a whole segment as its step |
#
# ## Further reading
#
# * S. Williams, A. Waterman and D. Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures",
#   *Communications of the ACM* 52(4), 2009.
# * H. He, "Making Deep Learning Go Brrrr From First Principles", 2022; and "Strangely, Matrix Multiplications on GPUs Run Faster
#   When Given 'Predictable' Data!", 2024, for the story of the zeros.
# * T. Dao, D. Fu, S. Ermon, A. Rudra and C. Ré, "FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness",
#   *NeurIPS* 2022, arXiv 2205.14135.
# * S. Yang and Y. Zhang, flash-linear-attention, github.com/fla-org/flash-linear-attention: the library that this book measures
#   itself against.
# * T. Hoefler and R. Belli, "Scientific Benchmarking of Parallel Computing Systems", *SC* 2015: twelve ways to be honest.
#
# **Next**: the exercises. 13.2 is your own timer; 13.7 to 13.9 are a planner. Then part V: the layer around the rule, and what a
# model can do with it.
