# %% [markdown]
# # 4. Householder matrices
#
# *One dial from "do nothing" to "mirror", and what many of them can do together.*

# %%
import math

import torch
from torch.nn.functional import normalize

from deltanet_edu.bench.flops import flops
from deltanet_edu.figures import householder as draw
from deltanet_edu.ops import delta_rule_recurrent, sgd_step
from deltanet_edu.ops.delta_rule.householder import apply_householder, householder
from deltanet_edu.ops.delta_rule.householder import householder_product, reflections
from deltanet_edu.tutor import predict, show, verify

torch.set_default_dtype(torch.float64)
torch.set_printoptions(precision=4, sci_mode=False)

# %% [markdown]
# ## A switch that cannot be pressed
#
# A memory holds one bit under the key `lamp`: $+1$ for on, $-1$ for off. The token `press` should flip it. The token cannot see the state; it
# brings one $v$ and one $\beta$ that must work for both. Which? Let us try them all, with $0 \le \beta \le 1$ as in DeltaNet.

# %%
predict("4.a")

# %%
lamp = torch.tensor([1.0, 0.0])                                          # (K,)
states = torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])                     # (2, V, K)  on and off

def miss(beta, v):
    """How far from flipped one press leaves the bit, in the worse of the two states."""
    after = sgd_step(states, lamp, v.expand(2, 1), beta)                 # (2, V, K)
    return (after + states).abs().max().item()

def best_press(largest):
    grid = [(beta, v) for beta in torch.linspace(0, largest, 21) for v in torch.linspace(-2, 2, 21)]
    beta, v = min(grid, key=lambda press: miss(*press))
    return f"β = {beta.item():.1f}, v = {abs(v.item()):.1f} misses by {miss(beta, v):.1f}"

print(best_press(1.0))

# %% [markdown]
# The best press *erases* the bit. Now let $\beta$ go up to 2:

# %%
print(best_press(2.0))

# %% [markdown]
# A perfect switch, and it writes nothing at all: $v = 0$. Everything is done by the matrix that the old memory is multiplied with,
# $I - \beta kk^\top$. At $\beta = 1$ it destroys a bit, at $\beta = 2$ it computes with it. This chapter is about that matrix.

# %% [markdown]
# ## Where this chapter goes
#
# After it you can
#
# * see what $I - \beta kk^\top$ does to space, and say from $\beta\|k\|^2$ whether it can be undone, and by what;
# * multiply a memory with it without ever forming it;
# * say when the order of two tokens matters, and what two mirrors make;
# * build memories that count and that follow a shuffle, without any training.
#
# You need chapter 2. Reading and running takes about an hour, the exercises an hour and three quarters. In the package, the chapter
# opens `deltanet_edu/ops/delta_rule/householder.py`.

# %% [markdown]
# ## Three questions about chapters 1 and 2
#
# Answer each in your head, then open it.
#
# <details><summary>1. Chapter 2: the delta rule is a linear recurrence, S<sub>t</sub> = S<sub>t−1</sub> M<sub>t</sub> + something. What are M<sub>t</sub> and the something?</summary>
#
# $M_t = I - \beta_t k_tk_t^\top$, and $\beta_t v_tk_t^\top$. The old memory stands on the left of $M_t$.
#
# </details>
#
# <details><summary>2. Chapter 1: which M<sub>t</sub> has linear attention?</summary>
#
# The identity. It adds, and what is there stays as it is.
#
# </details>
#
# <details><summary>3. Chapter 2: a write leaves which fraction of an error?</summary>
#
# $1 - \beta\|k\|^2$. The same number is the one eigenvalue of $M_t$ that is not 1; the key is its eigenvector.
#
# </details>

# %% [markdown]
# ## One mirror
#
# Take a vector $x$ and a key $k$. Split $x$ into a part *along* the key, $\frac{k^\top x}{\|k\|^2}\,k$, and the rest, which is *across* it. Keep the
# rest and flip the part along: subtract it twice. That is a mirror, and the key stands on it at a right angle.
#
# By hand, with $k = (0.6, 0.8)$ of length 1 and $x = (1, 2)$: the overlap is $0.6 + 1.6 = 2.2$, so the image is
# $(1, 2) - 4.4\,(0.6, 0.8) = (-1.64, -1.52)$.

# %%
k, x = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 2.0])
image = x - 2 * (k @ x) * k
print("image:", image, "  lengths squared:", (x @ x).item(), round((image @ image).item(), 10))

# %% [markdown]
# As a matrix, for a key of any length (Householder, 1958):
#
# $$ H = I - \frac{2}{\|k\|^2}\,k k^\top, \qquad Hk = -k, \qquad Hx = x \;\text{ for every } x \perp k \tag{4.1} $$

# %%
verify("4.1")

# %% [markdown]
# A mirror looked at in a mirror is the room itself, and nothing gets longer:
#
# $$ H^\top = H, \qquad HH = I, \qquad \|Hx\| = \|x\| \tag{4.2} $$
#
# *Proof.* $kk^\top$ is symmetric. Flipping twice is nothing. And $\|Hx\|^2 = x^\top H^\top H x = x^\top x$. ∎

# %%
verify("4.2")

# %% [markdown]
# ### What Householder wanted it for
#
# For any two vectors of the same length there is a mirror that sends one to the other: the one halfway between them. Its key is
# their difference.
#
# $$ k = x - y \neq 0 \;\text{ and }\; \|x\| = \|y\| \quad\Rightarrow\quad Hx = y \tag{4.3} $$
#
# *Proof.* $x = \tfrac12(x+y) + \tfrac12(x-y)$. The second part lies along $k$ and is flipped. The first is across, since
# $(x+y)^\top(x-y) = \|x\|^2 - \|y\|^2 = 0$. So $Hx = \tfrac12(x+y) - \tfrac12(x-y) = y$. ∎

# %%
verify("4.3")

# %% [markdown]
# So one mirror turns $(3, 4)$ into $(5, 0)$: the key is $(-2, 4)$, $\|k\|^2 = 20$, the overlap is $-6 + 16 = 10$, and
# $(3, 4) - \tfrac{2}{20}\cdot 10\,(-2, 4) = (5, 0)$. One mirror a column makes a whole matrix triangular. That is QR factorization:

# %%
torch.manual_seed(0)
X = torch.randn(4, 3)
R, strengths = X, []
for j in range(3):
    k = torch.zeros(4)
    k[j:] = R[j:, j]
    k[j] += R[j:, j].norm().copysign(R[j, j])        # of the two mirrors, the one that does not cancel
    strengths.append(2 / (k @ k) * k[j] ** 2)
    R = R - 2 / (k @ k) * torch.outer(k, k @ R)
print(R.round(decimals=10) + 0.0)
print("2/‖k‖², with k scaled to k_j = 1:", torch.stack(strengths))
print("τ of LAPACK:                     ", torch.geqrf(X)[1])

# %% [markdown]
# LAPACK, the library under `torch.linalg`, does the same, scales each $k$ so that its first entry is 1, and calls the factor before $kk^\top$ $\tau$.
# Its $\tau$ is our $\beta$. But LAPACK always picks $\tau\|k\|^2 = 2$ (or 0, where nothing is to be done). The delta rule picks anything.

# %% [markdown]
# ## A dial
#
# Write $\hat k = k/\|k\|$. Then $\hat k\hat k^\top$ takes the part along the key, and $I - \hat k\hat k^\top$ the part across:
#
# $$ M = I - \beta kk^\top = \big(I - \hat k\hat k^\top\big) + \lambda\,\hat k\hat k^\top, \qquad \lambda = 1 - \beta\|k\|^2 \tag{4.4} $$

# %%
verify("4.4")

# %% [markdown]
# Across the key nothing happens. Along it everything is multiplied by one number, $\lambda$. So the whole family is *one dial*, $\beta\|k\|^2$:

# %%
key = torch.tensor([0.6, 0.8])
settings = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
draw.dial({x: householder(key, torch.tensor(x)) for x in settings}, key);

# %% [markdown]
# *Black: the key. Red: where it goes. Blue: the unit circle and a letter after the map; dashed: what does not move.*
#
# | $\beta\lVert k\rVert^2$ | $\lambda$ | what happens along the key | to a memory |
# |---|---|---|---|
# | 0 | 1 | nothing | is not touched |
# | between 0 and 1 | between 0 and 1 | shrinks | partly erased |
# | 1 | 0 | flattened: a **projection** | erased |
# | between 1 and 2 | between −1 and 0 | shrinks and flips | overshoots |
# | 2 | −1 | flips: a **reflection** | sign changed, nothing lost |
# | above 2, below 0 | beyond ±1 | stretches | explodes when repeated |
#
# From the second row of pictures on, the F is a mirror image. No turning brings it back.
#
# Run the next cell to turn the dial yourself, and the key too. What never moves, at any setting? (GitHub shows one setting, a reflection.)

# %%
draw.explore_dial();

# %% [markdown]
# The dashed line stays: whatever is orthogonal to the key. Turn the key half around, to 180°, and the picture is the same as at 0°: $kk^\top$ does not know the sign of $k$.
#
# In three dimensions the dashed line is a plane, in $K$ dimensions a space of $K-1$. The content under all keys in that plane is safe.

# %%
key3 = torch.tensor([0.3, -0.3, 1.0])
unit = 1 / (key3 @ key3)
draw.mirror({x: householder(key3, x * unit) for x in (1, 2)}, key3);

# %% [markdown]
# *A letter above the plane, its shadow at $\beta\|k\|^2 = 1$ (seen from its edge), and its mirror image at 2.*
#
# What are the points in these pictures? A memory $S$ is multiplied from the right, $SM$, so each *row* of $S$ is one such point.
# $M$ is symmetric, so it does not matter whether a vector lies or stands.

# %% [markdown]
# ## Volume: the determinant
#
# A determinant is the factor by which volumes grow, negative if the space is mirrored. One direction is multiplied by $\lambda$, the others by 1. And
# the determinant of a product is the product of the determinants:
#
# $$ \det\big(I - \beta kk^\top\big) = 1 - \beta\|k\|^2, \qquad \det(M_1 \cdots M_C) = \prod_{t=1}^{C} \big(1 - \beta_t\|k_t\|^2\big) \tag{4.5} $$

# %%
verify("4.5")

# %% [markdown]
# Keep the second half in mind. It will tell us what no sequence of weak writes can ever do.

# %% [markdown]
# ## Undoing
#
# Two matrices with the *same* key multiply their $\lambda$, so the product is of the same family:
#
# $$ (I - \alpha kk^\top)(I - \beta kk^\top) = I - \big(\alpha + \beta - \alpha\beta\|k\|^2\big)\,kk^\top \tag{4.6} $$

# %%
verify("4.6")

# %%
predict("4.b")

# %% [markdown]
# To undo $\beta$, choose $\alpha$ so that the bracket is zero: $\alpha\,(1 - \beta\|k\|^2) = -\beta$. So the inverse is of the family, too:
#
# $$ \big(I - \beta kk^\top\big)^{-1} = I + \frac{\beta}{1 - \beta\|k\|^2}\,kk^\top \qquad\text{if } \beta\|k\|^2 \neq 1 \tag{4.7} $$

# %%
verify("4.7")

# %% [markdown]
# This is the simplest case of the Sherman–Morrison formula. At $\beta\|k\|^2 = 1$ there is no inverse: two memories that
# differ only along the key become one. Near 1 there is one on paper. Apply a matrix and then its inverse, in float32:

# %%
torch.manual_seed(0)
S, k = torch.randn(4, 8).float(), normalize(torch.randn(8), dim=0).float()
for beta in (0.5, 2.0, 0.99, 0.9999, 0.999999):
    back = torch.tensor(-beta / (1 - beta)).float()
    there = apply_householder(S, k, torch.tensor(beta).float())
    error = (apply_householder(there, k, back) - S).abs().max()
    print(f"β = {beta:<9} back with β = {back.item():<12.6g} error {error:.0e}")

# %% [markdown]
# The nearer to erasing, the more the way back magnifies rounding errors, by $1/|\lambda|$. A mirror undoes itself,
# $-2/(1-2) = 2$, and magnifies nothing.

# %% [markdown]
# ## Never form it
#
# The last cell multiplied memories without making a matrix. Multiply out, and use that products may be grouped as we like:
#
# $$ S\,\big(I - \beta kk^\top\big) = S - \beta\,(Sk)\,k^\top \tag{4.8} $$

# %%
verify("4.8")
show(apply_householder)

# %% [markdown]
# Read the memory with the key, take a share $\beta$ of the answer out again. By hand, with $S = (1, 2)$, $k = (0.6, 0.8)$, $\beta = 0.5$:
# the read is 2.2, and $(1, 2) - 1.1\,(0.6, 0.8) = (0.34, 1.12)$.
#
# What does it save? We count all FLOPs that PyTorch executes.

# %%
def by_matrix(S, k, beta):
    return S @ householder(k, beta)

print("   K = V    with the matrix    without   ratio")
for K in (16, 64, 128):
    S, k, beta = torch.randn(K, K), torch.randn(K), torch.tensor(0.5)
    formed, cheap = (sum(flops(f, S, k, beta).values()) for f in (by_matrix, apply_householder))
    print(f"{K:8} {formed:18,} {cheap:10,} {formed / cheap:7.0f}")

# %% [markdown]
# About $2VK^2$ against $4VK$: half the key width as a factor. Any matrix that differs from $I$ by a rank of one could be applied like this. Ours
# needs one vector where others need two, and that vector is there already: the key.

# %% [markdown]
# ## Two mirrors make a turn
#
# A token brings one key, a sequence brings many. The simplest product: two unit keys in the plane, at an angle $\theta$ from $k_1$ to $k_2$, both with $\beta = 2$.

# %%
def direction(degrees):
    return torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])

two = torch.tensor(2.0)
k1, k2 = direction(100), direction(165)
draw.two_mirrors(k1, k2, householder(k1, two), householder(k2, two));

# %% [markdown]
# *The gray F, its image in mirror 1, and the image of that in mirror 2: it reads as an F again, turned by $2\theta$.*
#
# Why twice? A mirror line at angle $m$ takes a vector at angle $\alpha$ to the angle $2m - \alpha$: as far beyond the line as it was before it. Two of them
# take it to $2m_2 - (2m_1 - \alpha) = \alpha + 2\,(m_2 - m_1)$. And the mirrors stand at the same angle to each other as their keys. So
#
# $$ M_1M_2 = \begin{pmatrix} \cos 2\theta & \sin 2\theta \\ -\sin 2\theta & \cos 2\theta \end{pmatrix} \tag{4.9} $$
#
# which turns a row $s$, written on its left, counterclockwise. In $K$ dimensions the plane of the two keys turns, and all that is across
# both stays. ∎

# %%
verify("4.9")

# %% [markdown]
# By hand: $k_1 = (1, 0)$ and $k_2$ at 45°. The first mirror makes $(s_1, s_2)$ into $(-s_1, s_2)$, the second makes $(s_1, s_2)$ into $(-s_2, -s_1)$. One
# after the other: $(-s_2, s_1)$, a quarter turn. Four times that is a full turn:

# %%
quarter = householder_product(torch.stack([direction(0), direction(45)]), torch.tensor([2.0, 2.0]))
S = torch.tensor([[1.0, 0.0]])                                           # (V, K)
for hour in range(5):
    print("after", hour, "quarters:", [round(x, 10) + 0.0 for x in S[0].tolist()])
    S = S @ quarter

# %% [markdown]
# A memory that counts modulo four. One mirror a token counts modulo two, two mirrors a token count modulo anything.

# %% [markdown]
# ## Order matters
#
# In numbers, not in pictures, the product of any two is
#
# $$ M_1M_2 = I - \beta_1 k_1k_1^\top - \beta_2 k_2k_2^\top + \beta_1\beta_2\,(k_1^\top k_2)\,k_1k_2^\top \tag{4.10} $$

# %%
verify("4.10")

# %% [markdown]
# The last term is not symmetric: it has $k_1$ standing and $k_2$ lying. For $M_2M_1$ the two change roles; everything else is the same. Subtract:
#
# $$ M_1M_2 - M_2M_1 = \beta_1\beta_2\,(k_1^\top k_2)\,\big(k_1k_2^\top - k_2k_1^\top\big) \tag{4.11} $$

# %%
verify("4.11")

# %% [markdown]
# By hand, with $k_1 = (1, 0)$, $k_2 = (0.6, 0.8)$, $\beta = 1$: the overlap is 0.6, the bracket is $\begin{pmatrix} 0 & 0.8 \\ -0.8 & 0 \end{pmatrix}$, so the difference has
# 0.48 in one corner and −0.48 in the other.

# %%
M1, M2 = householder(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.ones(2))
print("M1 M2", M1 @ M2, "M2 M1", M2 @ M1, "difference", M1 @ M2 - M2 @ M1, sep="\n")

# %% [markdown]
# When is it zero? When a $\beta$ is zero; when the keys are orthogonal; or when the bracket vanishes, which needs parallel keys.
# Between 0° and 90°, where does it peak?

# %%
predict("4.c")

# %%
degrees = torch.linspace(0, 180, 91)
differences = {}
for beta in (0.5, 1.0, 2.0):
    first = householder(direction(0), torch.tensor(beta))
    others = [householder(direction(d), torch.tensor(beta)) for d in degrees.tolist()]
    gaps = [torch.linalg.matrix_norm(first @ M - M @ first, 2) for M in others]
    differences[f"β = {beta:g}"] = torch.stack(gaps)
draw.order(degrees, differences);

# %% [markdown]
# *The largest stretch of the difference, for unit keys: $\beta^2\,|\cos\theta\,\sin\theta|$.*
#
# This is a strength. Many fast recurrent layers multiply each column of the memory by a number of its own, a *diagonal* matrix, and
# diagonal matrices always commute. With them the product $M_1 \cdots M_C$ cannot know in which order tokens came. Here it does.
# It is also a price: what may not be reordered is harder to compute in parallel.

# %% [markdown]
# ## Many of them: what is left?
#
# Each factor with $0 \le \beta\|k\|^2 \le 2$ makes nothing longer (equation 2.10), so no product of them does. Does it make things shorter?

# %%
predict("4.d")

# %% [markdown]
# Take a row $x^\top$ and a unit key $e$. Of $\|x\|^2$, the part $(x^\top e)^2$ along the key is multiplied by $\lambda^2 = (1-\beta)^2$, so the share $1 - (1-\beta)^2 = \beta(2-\beta)$
# of that part is lost. A random direction holds $1/K$ of $\|x\|^2$ on average, exactly so over any orthonormal basis $e_1, \dots, e_K$:
#
# $$ \frac1K \sum_{i=1}^{K} \big\|x^\top\big(I - \beta\,e_ie_i^\top\big)\big\|^2 = \Big(1 - \frac{\beta(2-\beta)}{K}\Big)\,\|x\|^2 \tag{4.12} $$

# %%
verify("4.12")

# %%
torch.manual_seed(0)
K, T, trials = 16, 80, 1000
left, expected = {}, {}
for beta in (0.5, 1.0, 1.5, 1.9, 2.0):
    x = normalize(torch.randn(trials, 1, K), dim=-1)                     # (trials, V, K)
    left[beta], expected[beta] = [1.0], (1 - beta * (2 - beta) / K) ** torch.arange(T + 1)
    for _ in range(T):
        x = apply_householder(x, normalize(torch.randn(trials, K), dim=-1), torch.full((trials,), beta))
        left[beta].append(x.square().sum((-2, -1)).mean().item())
draw.forgetting(left, expected);

# %% [markdown]
# *Solid: measured, 1,000 rows through 80 random tokens, $K = 16$. Dotted: the law. The wide green line of $\beta = 0.5$ lies under that of 1.5.*
#
# Products of projections forget: after 80 of them less than a hundredth of the squared length is left. Products of mirrors never do. Not to forget is not
# to *remember*, though: the mirrors have scattered the row over all directions. Only who knows all the keys finds it again.
#
# Chapter 2 had the factor $1-\beta/K$: that was the mean of what a read still *finds*. Here it is what still *exists*.

# %% [markdown]
# ## What the range (0, 2) can do
#
# Back to the switch. A string of bits: is the number of ones even or odd? This is *parity*. Every 1 is a press with $\beta = 2$, every 0 has $\beta = 0$,
# and nothing is ever written.

# %%
torch.manual_seed(0)
bits = torch.randint(0, 2, (1000, 256))                                  # (B, T)
k = lamp.expand(1000, 256, 1, 2)                                         # (B, T, H, K)
on = torch.tensor([[1.0, 0.0]]).expand(1000, 1, 1, 2)                    # (B, H, V, K)

def right(pressed):
    """The share of strings whose parity is the sign of the last read, for a given β of a one."""
    beta, v = pressed * bits[..., None].double(), torch.zeros(1000, 256, 1, 1)
    o, _ = delta_rule_recurrent(k, k, v, beta, initial_state=on)
    return ((o[:, -1, 0, 0] < 0) == (bits.sum(1) % 2 == 1)).double().mean().item()

for pressed in (2.0, 1.9, 1.0, 0.5):
    print(f"β = {pressed}: {right(pressed):.1%} of 1,000 strings of 256 bits")

# %% [markdown]
# 100 % without any training. (At $\beta = 1.9$ the sign is still right, but the bit has shrunk to about a millionth, $0.9^{128}$.) With $\beta \le 1$ half of
# the strings are right, as with a coin: the sign never changes. Chapter 17 lets gradient descent find this solution.
#
# Is it only our construction that fails? Equation 4.5 knows. If every $\beta_t\|k_t\|^2 \le 1$, every factor of the determinant is at least 0, and so is
# the product, however long and whatever the keys. A mirror has determinant −1. So **no sequence of such writes even comes near a
# mirror**, or near anything else with a negative determinant, such as exchanging two columns.
#
# This is a statement about the whole space. One single row *can* be sent near its negative by projections alone, degree by degree:

# %%
S = torch.eye(2)                                                         # (V, K)  two rows
for d in range(1, 181):
    S = apply_householder(S, direction(90 + d), torch.tensor(1.0))       # onto the line at d degrees
print("rows (1, 0) and (0, 1) arrive at", S.round(decimals=4) + 0.0)

# %% [markdown]
# The first row has been turned around and is almost whole. The second, on its way, was flattened onto the same line: the plane is gone.

# %% [markdown]
# ## Following a shuffle
#
# Five cups, a ball under one of them. Tokens are swaps: *exchange cups 2 and 5*. Where is the ball? The columns of the memory are the cups, and a swap is a mirror:
#
# $$ \text{swap}_{ij} = I - (e_i - e_j)(e_i - e_j)^\top \tag{4.13} $$
#
# *Proof.* The difference $e_i - e_j$ changes its sign, and everything with equal entries $i$ and $j$ stays. That is what swapping does. ∎
#
# $\|e_i - e_j\|^2 = 2$, so this is $\beta\|k\|^2 = 2$. As a unit key it is $(e_i - e_j)/\sqrt2$ with $\beta = 2$. By hand for two cups:
# $I - \begin{pmatrix} 1 & -1 \\ -1 & 1 \end{pmatrix} = \begin{pmatrix} 0 & 1 \\ 1 & 0 \end{pmatrix}$.

# %%
verify("4.13")

# %% [markdown]
# Two thousand random swaps, next to a Python list that does the same. No training, one token a swap, and five labeled balls at once:

# %%
torch.manual_seed(0)
cups, S = list(range(5)), torch.eye(5)                                   # S: (V, K)  one row per ball
for _ in range(2000):
    i, j = torch.randperm(5)[:2].tolist()
    cups[i], cups[j] = cups[j], cups[i]
    key = torch.zeros(5)
    key[i], key[j] = 1, -1
    S = apply_householder(S, key / 2**0.5, torch.tensor(2.0))
right_state = torch.eye(5)[:, cups]                                      # (V, K)
print("ball under each cup:", S.argmax(0).tolist(), " by the list:", cups)
print(f"largest error of an entry: {(S - right_state).abs().max():.0e}")

# %% [markdown]
# Who sits where, which variable holds which value, who has the ring: where tokens move things around, a model has to compose their moves, in
# order. This is called *state tracking*.

# %% [markdown]
# ### Every rotation is made of mirrors
#
# How much more is possible with mirrors? Everything that keeps lengths:
#
# $$ Q = H_1 H_2 \cdots H_m, \qquad m \le K \tag{4.14} $$
#
# for every orthogonal $K \times K$ matrix $Q$. This is the theorem of É. Cartan and Dieudonné.
#
# *Proof.* By (4.3) some mirror $H_1$ sends the first column $Qe_1$ to $e_1$; if it is there already, none is needed. The first column of $H_1Q$ is then $e_1$. Its
# other columns are orthogonal to it, so their first entries are zero. Go on with the second: its mirror has the key $H_1Qe_2 - e_2$, which is orthogonal
# to $e_1$ and leaves it alone. After at most $K$ mirrors $H_m \cdots H_1 Q = I$. Mirrors undo themselves, so $Q = H_1 \cdots H_m$. ∎

# %%
verify("4.14")
show(reflections)

# %%
eye = torch.eye(5)
torch.manual_seed(0)
shuffles = {"swap 1 and 2": [1, 0, 2, 3, 4], "move all by one": [1, 2, 3, 4, 0],
            "reverse the order": [4, 3, 2, 1, 0]}
examples = {name: eye[:, order] for name, order in shuffles.items()}
examples["a random rotation"] = torch.linalg.qr(torch.randn(5, 5))[0]
for name, Q in examples.items():
    print(f"{name:18} determinant {torch.linalg.det(Q):+.0f}   mirrors: {len(reflections(Q))}")

# %% [markdown]
# The sign of the determinant is the parity of the number of mirrors. And a permutation takes $K$ minus the number of its cycles:
# 5 − 4 for the swap, 5 − 1 for "move all by one", 5 − 3 for the reversed order.
#
# *Proof.* A cycle of $n$ places is made of $n - 1$ swaps, so that many mirrors are enough. Fewer never are. A product of $m$ mirrors leaves every row
# alone that is orthogonal to its $m$ keys, and such rows fill at least $K - m$ dimensions. A permutation leaves exactly those rows alone
# that are constant along each cycle: one dimension a cycle. So $K - m$ is at most the number of cycles. ∎
#
# A head of a DeltaNet layer has *one* key a token, so one mirror: a swap, but not "move all by one" in a single step. Two ways out: spend
# several tokens on it, or give a token several keys. The second is called DeltaProduct, chapter 17.

# %% [markdown]
# ## The bill
#
# We can do a lot with products $M_1 M_2 \cdots M_C$. What do they cost, for $C = 64$ tokens and $K = V = 128$?
#
# * **one after the other** by (4.8): cheap, but token $t$ waits for token $t-1$;
# * **formed as a matrix**, in any grouping: $(M_1M_2)(M_3M_4)\cdots$ can run side by side, 6 rounds instead of 64 steps.

# %%
def one_after_the_other(S, k, beta):
    for k_t, beta_t in zip(k, beta):
        S = apply_householder(S, k_t, beta_t)
    return S

def in_pairs(S, k, beta):
    M = householder(k, beta)                                             # (C, K, K)
    while len(M) > 1:
        M = M[0::2] @ M[1::2]                                            # half as many
    return S @ M[0]

S, k, beta = torch.randn(128, 128), normalize(torch.randn(64, 128), dim=-1), torch.rand(64)
steps, pairs = (sum(flops(f, S, k, beta).values()) for f in (one_after_the_other, in_pairs))
print(f"the same: {torch.allclose(one_after_the_other(S, k, beta), in_pairs(S, k, beta))}")
print(f"one after the other {steps:>12,} FLOPs, 64 steps")
print(f"in pairs            {pairs:>12,} FLOPs,  6 rounds: {pairs / steps:.0f} times as many")

# %% [markdown]
# Cheap or parallel. To be both, we need a third way to write the product. There is a reason to hope: 64 keys and strengths say all about it,
# $64 \cdot 129 = 8{,}256$ numbers, while the formed matrix holds $16{,}384$, and with wider heads or shorter chunks the gap grows. And each factor
# differs from $I$ along one direction only. Chapter 5 makes something of that.

# %% [markdown]
# ## Summary
#
# | | |
# |---|---|
# | **the dial** | $I - \beta kk^\top$ multiplies along the key by $\lambda = 1 - \beta\lVert k\rVert^2$ and leaves the rest: 1 no-op, 0 projection, −1 mirror |
# | **determinant, inverse** | $\lambda$; the inverse has $-\beta/\lambda$ in the place of $\beta$, none at $\lambda = 0$ |
# | **cheap** | $SM = S - \beta(Sk)k^\top$: $4VK$ FLOPs, no matrix |
# | **two mirrors** | a turn by twice the angle from $k_1$ to $k_2$ |
# | **order** | matters, unless keys are parallel or orthogonal, or a $\beta$ is 0 |
# | **random keys** | leave $1 - \beta(2-\beta)/K$ of a squared length per token: projections forget, mirrors do not |
# | **β in (0, 2)** | flips signs, swaps columns, tracks states; with $\beta\lVert k\rVert^2 \le 1$ no determinant is negative |
# | **$m \le K$ mirrors** | make every orthogonal matrix |
#
# **In the package**: `householder`, `apply_householder`, `householder_product` and `reflections` in `deltanet_edu/ops/delta_rule/householder.py`.
#
# ## In other notations
#
# | | this book | elsewhere |
# |---|---|---|
# | Householder; LAPACK | $I - \beta kk^\top$ | $I - 2uu^\top$ with $\|u\| = 1$; $I - \tau\,vv^\top$ with $v_1 = 1$ |
# | the paper | $S_t = S_{t-1}(I - \beta_tk_tk_t^\top) + \dots$ | the same; it calls the matrices *generalized Householder* |
# | flash-linear-attention | state on the left, (V, K) | the state is the transpose, the matrix stands on its left: $(I - \beta_tk_tk_t^\top)\,S_{t-1}$ |
# | the same library's DeltaNet layer | $\beta \in (0, 2)$ | `allow_neg_eigval=True`, which doubles the sigmoid |
#
# Two sentences to distrust: "with $\beta = 1$ it projects" and "with $\beta = 2$ it reflects" are printed in many places without "for unit keys".

# %% [markdown]
# ## Further reading
#
# * A. S. Householder, "Unitary triangularization of a nonsymmetric matrix", *Journal of the ACM* 5(4), 339–342, 1958. Four pages.
# * G. H. Golub and C. F. Van Loan, *Matrix Computations*, 4th edition, 2013, section 5.1. Signs, rounding, and storage.
# * J. Sherman and W. J. Morrison, "Adjustment of an inverse matrix corresponding to a change in one element of a given matrix", *Annals of
#   Mathematical Statistics* 21(1), 124–127, 1950.
# * R. Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues", 2024,
#   [arXiv:2411.12537](https://arxiv.org/abs/2411.12537). Why $\beta$ should reach 2.
# * J. Siems et al., "DeltaProduct: improving state-tracking in linear RNNs via Householder products", 2025,
#   [arXiv:2502.10297](https://arxiv.org/abs/2502.10297). Several keys a token.
#
# **Now the exercises.** 4.3 divides a write into n small ones, 4.6 builds a clock, and 4.7 plays the shell game.
