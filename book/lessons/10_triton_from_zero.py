# %% [markdown]
# # 10. Triton from zero
#
# *Write for one tile. A thousand programs will read it.*

# %%
import os

os.environ["TRITON_INTERPRET"] = "1"                    # kernels run in Triton's interpreter, on the CPU; before Triton is imported

import torch
import triton
import triton.language as tl

from deltanet_edu.bench.ahead_of_time import Rejected, compiled
from deltanet_edu.bench.roofline import traffic
from deltanet_edu.bench.trace import OutOfBounds, Trace
from deltanet_edu.figures import programs, roofline
from deltanet_edu.records import read_result
from deltanet_edu.tutor import predict, show, verify

torch.manual_seed(0);

# %% [markdown]
# This chapter needs Triton (on Linux: `pip install triton`), and no GPU. A **kernel** is a function that runs on a GPU, many times at once; Triton is a
# language for kernels that looks like Python. Its *interpreter* runs them on a CPU, slowly, and that is what we use here, even where there is a GPU.
#
# ## Right, and wrong
#
# Here is a complete kernel. It adds up the rows of a matrix, and each **program**, as one of the many runs is called, takes one row. Read it; every part will be explained.

# %%
@triton.jit
def add_rows(x_ptr, o_ptr, N: tl.constexpr):
    j = tl.arange(0, N)                                 # (N,)  0, 1, ..., N - 1
    row = tl.load(x_ptr + tl.program_id(0) * N + j)     # (N,)  my row of x
    so_far = tl.load(o_ptr + j)                         # (N,)  what others have added
    tl.store(o_ptr + j, so_far + row)

x, o = torch.randn(8, 16), torch.zeros(16)
add_rows[(8,)](x, o, 16)                                # 8 programs
torch.allclose(o, x.sum(0), atol=1e-5)

# %% [markdown]
# Tested, and right. Shall we ship it?

# %%
predict("10.a")

# %% [markdown]
# The interpreter runs program 0 to its end, then program 1, and so on. A GPU runs them side by side. Imitate that: every program loads before any of them stores.

# %%
def side_by_side(x):
    """Each program sees the zeros that were there at the start; the last to store wins."""
    for row in x:
        o = torch.zeros(16)
        add_rows[(1,)](row, o, 16)
    return o

o = side_by_side(x)
print("the sum of all rows:", torch.allclose(o, x.sum(0), atol=1e-5), "  only the last row:", torch.allclose(o, x[-1]))

# %% [markdown]
# Seven rows are gone, and a test in the interpreter would never have told. This is a **race**. A tool of this package watches each load and store, and sees it:

# %%
with Trace() as seen:
    add_rows[(8,)](x, torch.zeros(16), 16)
print(*seen.faults, sep="\n")

# %% [markdown]
# So a kernel can be right here and wrong there. This chapter is about writing kernels, and as much about knowing what your tests do not see.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * say where numbers live on a GPU, what it costs to move them, and count what a kernel moves;
# * write kernels with tiles, masks and strides, from a vector sum to the inverse of chapter 6;
# * name four things that the interpreter forgives and a GPU does not, and find each of them without a GPU;
# * compile for a GPU you do not have, and read what became of your kernel.
#
# You need chapters 3, 6 and 8. Reading and running takes about an hour and a quarter, the ten exercises about three hours and a half; the last one is a build.

# %% [markdown]
# ## Three questions about chapters 3, 6 and 8
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 3: adding two vectors does one FLOP per 12 bytes. What limits it?</summary>
#
# Memory. On every machine of the book a byte takes as long as many FLOPs.
#
# </details>
#
# <details><summary>2. Chapter 6: what does row t of (I + A)⁻¹ need?</summary>
#
# All rows above it: $r_t = e_t - \sum_{i<t} A_{ti} r_i$.
#
# </details>
#
# <details><summary>3. Chapter 8: how many chunks of 64 tokens has a sequence of 100, and what about the last?</summary>
#
# Two, and the last holds 36 tokens. That ragged tail will follow us through every kernel.
#
# </details>

# %% [markdown]
# ## Where numbers live
#
# A GPU is a city of small factories. An H100 has 132 of them, called **multiprocessors**, and one memory that they share, far away:
#
# | | size on an H100 | who sees it |
# |---|---|---|
# | **registers** | 256 KB a multiprocessor | one program; a load puts numbers here, and arithmetic finds them here |
# | **shared memory** | 227 KB for a program | one program; Triton uses it for you, between the threads of a program and for matrix products |
# | **L2 cache** | 50 MB | all programs, without your doing |
# | **HBM**, "global memory" | 80 GB | all programs; tensors live here |
#
# (Sizes are the maker's.) What matters most is the last step down. How fast is it?

# %%
stored = read_result("delta_rule_h100")
roofs = stored["ceilings"] if stored else {"byte/s": 3.02e12, "flop/s": 7.92e14}
print(f"memory {roofs['byte/s'] / 1e12:.2f} TB/s, products {roofs['flop/s'] / 1e12:.0f} TFLOP/s: "
      f"{roofs['flop/s'] / roofs['byte/s']:.0f} FLOPs in the time of a byte")

# %%
at = {"vector sum": 1 / 12, "softmax of rows": 5 / 8, "product of 4096 × 4096": 4096 / 3}
possible = {name: (x, min(roofs["flop/s"], x * roofs["byte/s"])) for name, x in at.items()}
roofline.roofs(roofs["flop/s"], roofs["byte/s"], possible, "H100: where kernels can get at most", unit=1e12, name="TFLOP/s",
               limits=(0.03, 5000), places={"product of 4096 × 4096": (-70, -20)});

# %% [markdown]
# *Measured roofs of an H100 (`results/delta_rule_h100.json`: a copy, and a product in bfloat16), and the best that three kernels can do under them.*
#
# A sum of vectors stays at a three-thousandth of the level roof, however well it is written. For most kernels speed means: **load each number once, keep it in
# registers while you need it, store once.** That can be counted on any machine, and it is the score of this chapter.

# %% [markdown]
# ## A first program: 37 numbers, 16 at a time
#
# To add two vectors of 37 numbers in **tiles** of 16, we need three programs. Each finds out which numbers are its own, loads them, adds, stores.

# %%
@triton.jit
def add_kernel(
    x_ptr, y_ptr, o_ptr,        # addresses of the first numbers: a kernel gets pointers, not tensors
    n,                          # how many numbers there are: a pointer does not know
    B: tl.constexpr,            # size of a tile, a power of two, known when the kernel is compiled
):
    i = tl.program_id(0) * B + tl.arange(0, B)          # (B,)  my numbers: program 2 has 32, ..., 47
    inside = i < n                                      # (B,)  but there are only 37
    x = tl.load(x_ptr + i, mask=inside, other=0.0)      # (B,)  registers
    y = tl.load(y_ptr + i, mask=inside, other=0.0)
    tl.store(o_ptr + i, x + y, mask=inside)

x, y, o = torch.randn(37), torch.randn(37), torch.empty(37)
add_kernel[(triton.cdiv(37, 16),)](x, y, o, 37, B=16)   # the grid: how many programs
torch.equal(o, x + y)

# %% [markdown]
# `x_ptr + i` is a tile of *addresses*; `tl.load` fetches them all. There is no loop over the numbers: the tile is the unit, and its 16 numbers are spread over threads that the
# compiler deals with. Where the **mask** is false, nothing is loaded, and `other` takes its place.

# %%
with Trace() as seen:
    add_kernel[(3,)](x, y, o, 37, B=16)
programs.touched(seen.launches);

# %% [markdown]
# *Which program touches what. Long vectors are wrapped after 16. Program 2 is responsible for 16 numbers, and touches five.*
#
# That every number belongs to exactly one program is worth a formula, because many bugs are a violation of it:
#
# $$ \{0, \dots, n-1\} = \bigcup_{p=0}^{P-1} \{\, i : pB \le i < (p+1)B,\ i < n \,\}, \qquad P = \lceil n / B \rceil \tag{10.1} $$

# %%
verify("10.1")

# %% [markdown]
# And the score, bytes against what any kernel must move: x and y read once, o written once.

# %%
must = 3 * 37 * 4
print(f"loaded {seen.loaded}, stored {seen.stored}: {(seen.loaded + seen.stored) / must:.2f} times what must be moved")

# %% [markdown]
# ## Hazard one: outside
#
# Forget the mask, and the last program reads 11 numbers behind the end. In the interpreter, what does it get?

# %%
predict("10.b")

# %%
@triton.jit
def copy_unmasked(x_ptr, o_ptr, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(o_ptr + i, tl.load(x_ptr + i))

memory = torch.arange(100.0, 116.0)
x, o = memory[:5], torch.empty(8)                       # x is the first 5 of 16
copy_unmasked[(1,)](x, o, 8)
o

# %% [markdown]
# 105, 106 and 107 are not in `x`. They belong to whoever owns the memory behind it, and here we know who. Elsewhere it may be anything, NaN included. On a GPU it may also be a page
# that does not exist, and then the process ends with *illegal memory access*, reported at some later line. A **store** outside is worse: it changes somebody else's numbers.
#
# The watcher puts each tensor of a launch alone into a desert and looks at every address first:

# %%
try:
    with Trace():
        copy_unmasked[(1,)](x, o, 8)
except OutOfBounds as error:
    print(error)

# %% [markdown]
# What to put in `other`? Whatever changes nothing: 0 for a sum, $-\infty$ for a maximum. If nothing is said, the numbers are undefined (the interpreter takes zeros; a GPU need not).
# And a mask on the load does not protect the store: each has its own.

# %% [markdown]
# ## Strides
#
# A tensor's numbers need not lie side by side. From row to row it is $s_0$ numbers, from column to column $s_1$, and `x.stride()` says which:
#
# $$ \mathrm{address}(x_{ij}) = \mathrm{address}(x_{00}) + i\,s_0 + j\,s_1 \tag{10.2} $$

# %%
verify("10.2")

# %%
whole = torch.arange(24.0).view(4, 6)
for name, x in {"whole": whole, "transposed": whole.mT, "two columns of it": whole[:, 1:3]}.items():
    print(f"{name:18} shape {str(tuple(x.shape)):8} strides {x.stride()}   x[1, 1] = {x[1, 1]:.0f}")

# %% [markdown]
# A kernel that was tested on whole matrices, and computes `i * N + j`, fails on all others. So pass strides, and test on slices. In this library q, k and v often are slices of one larger tensor.
#
# Two dimensions look like this: a tile of rows stands up, `[:, None]`, a tile of columns lies down, `[None, :]`, and together they span a rectangle, as in PyTorch.

# %%
@triton.jit
def double_kernel(x_ptr, o_ptr, M, N, x_row, x_col, BM: tl.constexpr, BN: tl.constexpr):
    i = tl.program_id(0) * BM + tl.arange(0, BM)                         # (BM,)  my rows
    j = tl.program_id(1) * BN + tl.arange(0, BN)                         # (BN,)  my columns
    inside = (i < M)[:, None] & (j < N)[None, :]                         # (BM, BN)
    x = tl.load(x_ptr + i[:, None] * x_row + j[None, :] * x_col, mask=inside, other=0.0)
    tl.store(o_ptr + i[:, None] * N + j[None, :], 2 * x, mask=inside)

x, o = torch.randn(12, 9)[:, 1:8], torch.empty(12, 7)
with Trace() as seen:
    double_kernel[(3, 2)](x, o, 12, 7, *x.stride(), BM=4, BN=4)
print(torch.equal(o, 2 * x))
programs.touched(seen.launches);

# %% [markdown]
# *A grid of 3 × 2 programs. The number of a program counts `program_id(0)` first.*
#
# Strides matter for speed, too. Memory is fetched in pieces of 32 bytes, and a neighbor that comes along is free if you want it. How many pieces do 32 numbers in a row need, and in a column of a
# matrix 4,096 wide?

# %%
def pieces(stride, n=32):
    return len({i * stride * 4 // 32 for i in range(n)})
print("side by side:", pieces(1), "  in a column:", pieces(4096))

# %% [markdown]
# Eight times the traffic for the same numbers. Let the last index of a tile run along the stride of 1, and the compiler will have neighboring threads load neighboring numbers.

# %% [markdown]
# ## Softmax: load once
#
# Softmax of a row takes a maximum, a difference, exponentials, a sum and a quotient. PyTorch runs them one after the other.

# %%
predict("10.c")

# %%
def softmax_in_five(x):
    largest = x.amax(1, keepdim=True)
    difference = x - largest
    e = difference.exp()
    return e / e.sum(1, keepdim=True)

x = torch.randn(64, 512)
print(f"{traffic(softmax_in_five, x) / (2 * x.nbytes):.2f} times what must be moved")

# %% [markdown]
# All five work on one row, and a row fits into registers. So one program takes one row, and everything in between never sees memory. This is what **fusing** means.

# %%
@triton.jit
def softmax_kernel(x_ptr, o_ptr, N, x_row, o_row, B: tl.constexpr):
    row, j = tl.program_id(0), tl.arange(0, B)                           # (B,)  B >= N, a power of two
    x = tl.load(x_ptr + row * x_row + j, mask=j < N, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))                                         # (B,)  exp(-inf) = 0 where the row has ended
    tl.store(o_ptr + row * o_row + j, e / tl.sum(e, 0), mask=j < N)

x, o = torch.randn(4, 11), torch.empty(4, 11)
with Trace() as seen:
    softmax_kernel[(4,)](x, o, 11, x.stride(0), o.stride(0), B=16)
print(torch.allclose(o, x.softmax(1)), f"{(seen.loaded + seen.stored) / (2 * x.nbytes):.2f} times what must be moved")

# %% [markdown]
# A quarter of the bytes, hence about a quarter of the time once the row is long and the matrix large.
#
# And if a row does not fit? Then it comes in blocks, and the sum of exponentials has to be taken before the maximum is known. Keep both, and when a larger maximum $m$ turns up, rescale what you have:
#
# $$ \sum_j e^{x_j - m} = e^{m_1 - m} \sum_{j \le b} e^{x_j - m_1} + e^{m_2 - m} \sum_{j > b} e^{x_j - m_2}, \qquad m = \max(m_1, m_2) \tag{10.3} $$

# %%
verify("10.3")

# %% [markdown]
# One line, and the reason why attention can be computed without its $T \times T$ matrix. Exercise 10.5 is that line.

# %% [markdown]
# ## Hazard two: races
#
# Back to the kernel of the beginning. Programs run in any order, and side by side; so nobody may store what another program touches:
#
# $$ \mathrm{stores}(p) \cap \big(\mathrm{loads}(q) \cup \mathrm{stores}(q)\big) = \varnothing \quad \text{for all programs } p \ne q \tag{10.4} $$

# %%
verify("10.4")

# %% [markdown]
# There are two ways out. **Split the work along the output**: one program per tile of columns, which loops over all rows and stores once. Nobody shares. Or let the hardware add: `tl.atomic_add` reads,
# adds and writes as one step that nobody can come between. The order of the additions is left open then, and with it the last bits of a floating-point sum: two runs may differ.

# %%
@triton.jit
def add_rows_by_columns(x_ptr, o_ptr, T, N: tl.constexpr, B: tl.constexpr):
    j = tl.program_id(0) * B + tl.arange(0, B)                           # (B,)  my columns; B divides N
    total = tl.zeros((B,), tl.float32)                                   # (B,)  registers
    for t in range(T):
        total += tl.load(x_ptr + t * N + j)
    tl.store(o_ptr + j, total)

x, o = torch.randn(8, 16), torch.empty(16)
with Trace() as seen:
    add_rows_by_columns[(4,)](x, o, 8, 16, 4)
print(torch.allclose(o, x.sum(0), atol=1e-5), "races:", seen.faults)
programs.touched(seen.launches);

# %% [markdown]
# *Each program reads a strip and owns its end. A recurrence over tokens is computed like this: one program per head, a loop over time. Chapter 11 does so.*

# %% [markdown]
# ## A place to rest
#
# The threads of a GPU come in bundles of 32, called **warps**. A warp is what a weaver ties to the loom first: the threads that hang side by side and are lifted together, while the weft runs across them.
# Joseph Marie Jacquard's loom of 1804 lifted them as holes in cards told it, one card per row of the cloth. So one of the first machines that obeyed a program was already moving threads in lockstep. The person at the loom
# thought in *patterns*, and left the single thread to the machine. A Triton program is written in the same spirit: four warps share a tile unless you ask for another number, and
# which thread holds which number is not your concern, until it is too slow.

# %% [markdown]
# ## A product, tile by tile
#
# A matrix product is where arithmetic can win over memory. One program makes one tile of the result, and walks along a strip of $A$ and a strip of $B$:
#
# $$ O_{IJ} = \sum_{k} A_{Ik}\, B_{kJ}, \qquad \text{numbers loaded} = MNK \Big( \frac{1}{B_M} + \frac{1}{B_N} \Big) \tag{10.5} $$

# %%
verify("10.5")

# %%
from deltanet_edu.chapters.ch10.tiles import launch_matmul, matmul_kernel

show(matmul_kernel)

# %% [markdown]
# `tl.dot` multiplies two tiles, on the tensor core if there is one. The side that they share may not be under 16; the other two may, but are filled up, rows to 16 and columns to 8. The sum `total` stays in registers for the whole loop, in float32. So a larger tile means fewer bytes.

# %%
predict("10.d")

# %%
a, b, o = torch.randn(64, 64), torch.randn(64, 64), torch.empty(64, 64)
for tile in (16, 32, 64):
    with Trace() as seen:
        launch_matmul(matmul_kernel, a, b, o, tile)
    right = torch.allclose(o, a @ b, atol=1e-4)
    print(f"tiles of {tile}: {seen.loaded:7,} bytes loaded, formula {64**3 * 2 // tile * 4:7,}; right: {right}")

# %%
with Trace() as seen:
    launch_matmul(matmul_kernel, a[:48, :16], b[:16, :32], o[:48, :32].contiguous())
programs.touched(seen.launches);

# %% [markdown]
# *A 48 × 16 matrix times a 16 × 32 matrix, in tiles of 16. Stars: several programs read the same numbers. That is allowed; only writing is private. The L2 cache makes the second reading cheaper, not free.*
#
# A tile costs registers, though, and they are few. We will see how many.

# %% [markdown]
# ## Hazard three: digits
#
# The tensor core is fast with short numbers. It rounds float32 to *tf32* unless told otherwise: `tl.dot(..., input_precision=...)` is `"tf32"` by default, `"tf32x3"` for three products that together are
# nearly float32, or `"ieee"` for float32 without a tensor core (on an H100 the maker's peaks are 495 TFLOP/s for tf32, and 67 without a tensor core). How much does rounding to $b$ bits behind the point cost?
#
# $$ |\mathrm{round}_b(x) - x| \le 2^{-b-1}\, |x|, \qquad b = 23 \text{ (float32)},\ 10 \text{ (tf32)},\ 7 \text{ (bf16)} \tag{10.6} $$

# %%
verify("10.6")

# %% [markdown]
# Up to 0.4 percent for bfloat16, per number. Where to round is a decision: inputs of a product may be short, but what is **added up** over a loop, or over a sequence, stays in float32. Here are 4,096 steps of a
# running sum, kept in each:

# %%
steps = torch.full((4096,), 0.01)
for dtype in (torch.float32, torch.bfloat16):
    total = torch.zeros((), dtype=dtype)
    for step in steps.to(dtype):
        total = total + step
    print(f"{str(dtype):15} {total.item():.2f}")

# %% [markdown]
# The sum in bfloat16 stopped growing: 0.01 is less than half of its last digit. The same happens to a memory $S$ that is kept in bfloat16.
#
# The interpreter shows none of this. It ignores `input_precision`, and with bfloat16 it does something worse. Multiply a matrix by the identity:

# %%
@triton.jit
def dot_kernel(a_ptr, o_ptr, dtype: tl.constexpr):
    at = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    one = (tl.arange(0, 16)[:, None] == tl.arange(0, 16)[None, :]).to(dtype)
    tl.store(o_ptr + at, tl.dot(tl.load(a_ptr + at).to(dtype), one).to(tl.float32))

a, o = torch.ones(16, 16), torch.empty(16, 16)
for dtype in (tl.float32, tl.bfloat16):
    dot_kernel[(1,)](a, o, dtype)
    print(f"{str(dtype):5} 1 × 1 = {o[0, 0].item():.3g}")

# %% [markdown]
# It multiplies the bit patterns as if they were whole numbers. Keep float32 in the interpreter; this package refuses bfloat16 there.

# %% [markdown]
# ## Hazard four: what compiles
#
# The interpreter is Python, and the compiler is not. Triton brings the compiler along, ptxas included, so a kernel can be compiled for a GPU that is not there. `compiled` does that in a process of its own.

# %%
kernel = compiled(add_kernel, 90, x_ptr=torch.float32, y_ptr=torch.float32, o_ptr=torch.float32, n=4096, B=1024)
print(kernel)
for line in kernel.ptx.splitlines():
    if "ld.global" in line or "st.global" in line or "add.f32" in line:
        print(line.strip()[:100])

# %% [markdown]
# First what a thread needs in registers, what it spills (more below), and the shared memory of a program. `90` is the H100; an A100 is `80`. **PTX** is the assembly language that drivers take. You can see what became of the mask, a *predicate* `@%p` before each load, and that every thread fetches four neighboring
# numbers at once (`v4`): 128 threads times 4 make half a tile, so there are two of each. `n=4096` told the compiler that the end is a multiple of 16.
#
# What the interpreter lets pass, and the compiler does not:

# %%
@triton.jit
def twelve(x_ptr, o_ptr):
    i = tl.arange(0, 12)
    tl.store(o_ptr + i, tl.load(x_ptr + i))

@triton.jit
def listed(x_ptr, o_ptr):
    rows = []
    for t in range(3):
        rows.append(tl.load(x_ptr + t))
    tl.store(o_ptr, rows[0] + rows[1] + rows[2])

for kernel in (twelve, listed):
    try:
        compiled(kernel, 90, x_ptr=torch.float32, o_ptr=torch.float32)
    except Rejected as error:
        print(f"{kernel.__name__}: {error}")

# %% [markdown]
# Now the price of large tiles. A thread has at most 255 registers; what does not fit is **spilled** to memory, the very thing we wanted to avoid.

# %%
tensors = dict.fromkeys(("a_ptr", "b_ptr", "o_ptr"), torch.float32)
sizes = dict(M=4096, N=4096, K=4096, a_row=4096, a_col=1, b_row=4096, b_col=1, BK=32, PRECISION="tf32")
for tile in (32, 64, 128, 256):
    kernel = compiled(matmul_kernel, 80, **tensors, **sizes, BM=tile, BN=tile)
    print(f"tile {tile:3}: {kernel.registers:3} registers, {kernel.stack:5} bytes spilled, {kernel.shared // 1024:3} KB shared")

# %% [markdown]
# The 256 × 256 accumulator has 65,536 numbers, and 128 threads have fewer registers than half of that. Larger tiles load less, until they spill. More warps share a larger tile; chapter 13 chooses both by measuring.

# %% [markdown]
# ## A triangle in registers
#
# Now chapter 6 in a kernel: $X = (I + A)^{-1}$ for a triangle of 16 tokens, row by row. The loop is written quickly in PyTorch. In a kernel, one thing is missing.

# %%
predict("10.e")

# %% [markdown]
# On small numbers, with the $A$ of chapter 6: rows are *selected by a mask and a sum*, and written back by a mask.

# %%
A = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.8, 0.0]])
i, X = torch.arange(3)[:, None], torch.eye(3)
for t in (1, 2):
    a = torch.where(i == t, A, 0.0).sum(0)              # (3,)  row t of A
    finished = (a[:, None] * X).sum(0)                  # (3,)  what the rows above contribute
    X = torch.where(i == t, X - finished, X)
    print(f"step {t}: a = {a.tolist()}, finished = {[round(y, 2) for y in finished.tolist()]}")
X

# %% [markdown]
# The 0.24 is in its corner. Each step changes one row:
#
# $$ X \leftarrow X - e_t\, (a_t^\top X), \qquad a_t^\top = \text{row } t \text{ of } A, \qquad t = 1, \dots, C - 1 \tag{10.7} $$

# %%
verify("10.7")

# %% [markdown]
# In a kernel the lines are the same, with `tl.` in the place of `torch.`: exercise 10.9. Every step costs a pass over the whole tile, so $C$ steps cost $C^3$ multiplications, most of them with zero. For 16 rows that is cheap, for 64 it is not: the chain is four times as long, and the tile 16 times as large.

# %% [markdown]
# ## From 16 to 64
#
# Chapter 6 cut a triangle into halves. Cut it into 4 × 4 blocks of 16 instead. The blocks on the diagonal are inverted as above, all four independently. Those below follow by products, one diagonal after the other:
#
# $$ X_{ij} = -X_{ii} \sum_{k=j}^{i-1} A_{ik}\, X_{kj} \qquad (i > j) \tag{10.8} $$

# %%
verify("10.8")

# %% [markdown]
# Read it from right to left: from block $j$ to some block $k$ in every possible way, one hop to block $i$, and what happens there. These are the paths of chapter 6, counted by their last hop between blocks.
#
# Steps that wait for each other: 15 for the triangles, then 3 diagonals of two products each, instead of 63. Registers cannot be cut into blocks, so the kernel loads the keys of each block apart. Exercise 10.10 is this kernel. The
# package loads all keys at once and takes $A$ apart afterwards: `tl.split` halves a tile along its last dimension, and twice is four blocks.

# %%
from deltanet_edu.kernels.forward import apart

show(apart)

# %% [markdown]
# ## How to trust a kernel
#
# | rung | what you do | what it finds |
# |---|---|---|
# | 0 | the float64 recurrence is the only judge | wrong mathematics |
# | 1 | the interpreter: ragged lengths, K ≠ V, slices | wrong indices |
# | 2 | tensors alone in a desert, outputs full of NaN | loads and stores outside, entries nobody writes |
# | 3 | who touches what | programs that depend on their order |
# | 4 | compile for sm_80 and sm_90 | what is not Triton; spills |
# | 5 | a real GPU, all dtypes and tile sizes | rounding, and the compiler's own bugs |
#
# The checks of the exercises climb rungs 1 to 4 for you, and say which one broke.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | a program | one run of the kernel; knows its number, `tl.program_id` |
# | a tile | what it works on: a power of two in each direction, in registers |
# | mask | which entries exist; one for each load and each store |
# | strides | how far from row to row, from column to column |
# | score | bytes moved, over the bytes that must be moved |
# | fusing | what fits into registers is not sent through memory in between |
# | race | two programs, one number, and at least one of them writes |
# | `tl.dot` | shares a side of 16 or more; tf32 unless you say otherwise; sums in float32 |
# | row t of a tile | `tl.sum(tl.where(i == t, X, 0), 0)` |
# | ahead of time | registers, spills, PTX, and what does not compile |
#
# **Used from the package**: `bench/trace.py` watches, `bench/ahead_of_time.py` compiles. Chapter 11 turns to `kernels/forward.py`.
#
# **In other languages**: CUDA calls a program a *thread block* and lets you write for a single thread; in Pallas (JAX) the grid is `grid` and a tile a `BlockSpec`; CUTLASS and CuTe name the layout of every tile.

# %% [markdown]
# ## Further reading
#
# * P. Tillet, H. T. Kung and D. Cox, "Triton: An intermediate language and compiler for tiled neural network computations", *MAPL* 2019.
# * M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867, 2018. Equation 10.3.
# * S. Rush, *Triton Puzzles*, github.com/srush/Triton-Puzzles: more puzzles, with pictures.
# * The Triton tutorials, triton-lang.org. The first explains every line.
#
# **Next**: the exercises, ten kernels and questions; then chapter 11, where the delta rule comes in.
