"""Chapter 15: what can it remember? The equations and the predictions of its lesson."""

import itertools
import math

import torch

from ...ops import delta_rule_recurrent, gated_linear_attention_recurrent
from ...ops.delta_rule.householder import householder
from ...tasks import IGNORED, MQAR, TASKS, Batch, RegBench, accuracy
from ...tutor import equation, prediction
from ..common import one_head, real
from .copying import exchanged, swap

# -- equations ---------------------------------------------------------------------------------------------------------


@equation("15.1", r"\text{score} = \frac{\#\{(b, t) \in \text{asked} : \hat y_{b,t} = y_{b,t}\}}{\#\,\text{asked}}")
def _(g):
    for B, T, vocab in ((1, 4, 3), (3, 7, 5)):
        targets = torch.randint(vocab, (B, T), generator=g).masked_fill(torch.rand(B, T, generator=g) < 0.4, IGNORED)
        targets[0, 0] = 1
        answers = torch.randint(vocab, (B, T), generator=g)
        asked = [(b, t) for b in range(B) for t in range(T) if targets[b, t] != IGNORED]
        right = [(b, t) for b, t in asked if answers[b, t] == targets[b, t]]
        yield "counted one by one", accuracy(answers, Batch(answers, targets)), len(right) / len(asked)


@equation("15.2", r"\mathbb{E}\,[\text{score of one answer to all}] = \frac{1}{P}")
def _(g):
    for P in (2, 3, 4):
        orders = list(itertools.permutations(range(P)))                  # every order of questions
        for said in range(P):
            right = sum(said == asked for order in orders for asked in order)
            yield "every order of the questions", right / (P * len(orders)), 1 / P
    task = MQAR(vocab=32, T=40, pairs=5)
    batch = task.batch(64, g)
    yield "the baseline of MQAR, exactly", accuracy(task.baseline(batch), batch), 1 / 5


@equation("15.3", r"p(x) = \frac{x^{a-1}}{\sum_{y=1}^{n} y^{a-1}}", tolerance=1e-6)
def _(g):
    for power, n in ((0.01, 24), (0.5, 7), (1.0, 5)):
        p = [x ** (power - 1) for x in range(1, n + 1)]
        p = real(p) / sum(p)
        w = MQAR(T=2 * n + 2, pairs=1, power=power).weights.double()     # (n,)
        yield "the weights of the generator", w / w.sum(), p
        # The largest of log w + Gumbel noise is the first of n clocks that ring with rates w: a race, integrated.
        z = torch.linspace(0, 30, 60_001, dtype=torch.float64)[:, None] / w.sum()
        still = torch.exp(-w * z).prod(1)                                # no clock has rung before z
        yield "who is drawn first", torch.trapezoid(w * still[:, None], z, dim=0), p


@equation("15.4", r"\mathbb{E}\big[\, k^\top (I - \beta k_1 k_1^\top) \cdots (I - \beta k_a k_a^\top)\, k \,\big] = "
                  r"\Big(1 - \frac{\beta}{d}\Big)^{a}")
def _(g):
    for d, a, beta in ((2, 3, 1.0), (3, 2, 0.5), (4, 3, 1.5)):
        frame = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]
        k = torch.nn.functional.normalize(torch.randn(d, generator=g, dtype=torch.float64), dim=0)
        left = []
        for later in itertools.product(frame, repeat=a):                 # all keys of a rotated frame, in every order
            row = k
            for key in later:
                row = row @ householder(key, torch.tensor(beta, dtype=torch.float64))
            left.append(row @ k)
        yield f"every choice of {a} keys, d = {d}", torch.stack(left).mean(), (1 - beta / d) ** a


@equation("15.5", r"S k = \sum_{r=1}^{R} \beta\,(1 - \beta)^{R - r}\, v_r \quad\text{(delta)}, \qquad "
                  r"S k = \sum_{r=1}^{R} \gamma^{R - r}\, v_r \quad\text{(fading)}")
def _(g):
    for R, V in ((1, 2), (4, 3)):
        k = torch.nn.functional.normalize(torch.randn(3, generator=g, dtype=torch.float64), dim=0).expand(R, -1)
        v = torch.randn(R, V, generator=g, dtype=torch.float64)
        for beta in (0.3, 1.0, 1.7):
            strengths = torch.full((R,), beta, dtype=torch.float64)
            said = one_head(delta_rule_recurrent, k, k, v, strengths, None)[0][-1]
            yield f"delta, β = {beta}", said, sum(beta * (1 - beta) ** (R - r) * v[r - 1] for r in range(1, R + 1))
        for gamma in (1.0, 0.8):
            log = torch.full((R, 3), math.log(gamma), dtype=torch.float64)
            said = one_head(gated_linear_attention_recurrent, k, k, v, log, None)[0][-1]
            yield f"fading, γ = {gamma}", said, sum(gamma ** (R - r) * v[r - 1] for r in range(1, R + 1))


@equation("15.6", r"S_{t+1} - S_t = (1 - \beta)^{t}\,(S_1 - S_0)")
def _(g):
    for beta in (0.3, 1.0, 1.6, 2.0):
        for T in (1, 4):
            k = torch.nn.functional.normalize(torch.randn(3, generator=g, dtype=torch.float64), dim=0)
            v, S = torch.randn(2, generator=g, dtype=torch.float64), torch.randn(2, 3, generator=g, dtype=torch.float64)
            states = [S]
            for _ in range(T + 1):                                       # the same token again and again
                states.append(states[-1] + beta * torch.outer(v - states[-1] @ k, k))
            yield f"β = {beta}, t = {T}", states[T + 1] - states[T], (1 - beta) ** T * (states[1] - states[0])


@equation("15.7", r"\beta_t = 2x_t: \qquad S_t = \prod_{i \le t} (1 - \beta_i)\, S_0 = (-1)^{x_1 + \dots + x_t}\, S_0")
def _(g):
    for T in (1, 5, 300):
        bits = torch.randint(2, (T,), generator=g)
        one, none = torch.ones(T, 1, dtype=torch.float64), torch.zeros(T, 1, dtype=torch.float64)
        said, _ = one_head(delta_rule_recurrent, one, one, none, 2 * bits.double(), real([[1.0]]))
        yield "the rule, token by token", said[:, 0], (-1.0) ** bits.cumsum(0)
        yield "parity, the task's targets", (1 - said[:, 0]) / 2, TASKS["parity"]().oracle(
            Batch(bits[None], bits[None]))[0].double()


@equation("15.8", r"k = \frac{e_i - e_j}{\sqrt{2}}: \qquad S\,(I - 2 k k^\top) \text{ is } S \text{ with columns } i "
                  r"\text{ and } j \text{ exchanged}")
def _(g):
    for i, j, n in ((0, 1, 2), (0, 2, 3), (3, 1, 5)):
        S = torch.randn(2, n, generator=g, dtype=torch.float64)
        k, beta = swap(i, j, n)
        yield f"columns {i} and {j} of {n}", S @ householder(k, torch.tensor(beta).double()), exchanged(S, i, j)


@equation("15.9", r"\mathbb{P}\,[\text{the key of pair } t \text{ was seen before}] = 1 - \Big(1 - \frac1n\Big)^{t-1}")
def _(g):
    for n, t in ((2, 1), (2, 4), (3, 3), (4, 5)):
        seen = [keys[-1] in keys[:-1] for keys in itertools.product(range(n), repeat=t)]
        yield f"every choice of {t} of {n} keys", sum(seen) / len(seen), 1 - (1 - 1 / n) ** (t - 1)


@equation("15.10", r"\text{bits to hold} = (T - 1)\,\log_2 (m - 1)")
def _(g):
    for vocab, T in ((3, 4), (5, 3), (4, 5)):
        task = TASKS["mad-compression"](vocab=vocab, T=T)
        every = {tuple(row) for row in task.batch(8000, g).tokens.tolist()}
        yield f"sequences that occur, m = {vocab}, T = {T}", math.log2(len(every)), (T - 1) * math.log2(vocab - 1)


@equation("15.11", r"\text{chance} = \frac{\text{mean number of letters that may come}}{\text{letters}}")
def _(g):
    task = RegBench(letters=6, nodes=5, T=40, longest=9)
    batch = task.batch(16, g)
    asked = batch.targets != IGNORED
    each = [accuracy(torch.full_like(batch.tokens, letter), batch) for letter in range(task.letters)]
    yield "all letters in turn", sum(each) / task.letters, (batch.allowed.sum(2)[asked].double().mean() / 6).item()


@equation("15.12", r"\text{standard error} = \sqrt{\frac{p\,(1 - p)}{n}}")
def _(g):
    for n, p in ((1, 0.3), (4, 0.5), (9, 0.9)):
        chances = [math.comb(n, right) * p**right * (1 - p) ** (n - right) for right in range(n + 1)]
        spread = sum(c * (right / n - p) ** 2 for right, c in enumerate(chances)) ** 0.5
        yield f"every outcome of {n} answers", spread, (p * (1 - p) / n) ** 0.5


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "15.a", question="32 pairs with random keys of width 32, told once. Which memory gives back more of them?",
    options={"the delta rule": "It has the smaller error on average, and yet recalls fewer: each write erases a little "
                               "of what older items left.",
             "both the same": "Their errors differ in kind: evenly spread in one, on the old items in the other.",
             "the one that only adds": "Its noise is the same for all items. The delta rule keeps the newest perfectly "
                                       "and pays with the oldest."},
    answer="the one that only adds",
)
prediction(
    "15.b", question="Six keys, each told four times with another value; the last one counts. How many questions does "
                     "a model with linear attention answer rightly, after 600 steps?",
    options={"nearly all": "DeltaNet does. In a memory that adds, each key has three old values beside the new one, as "
                           "loud as it.",
             "none": "It soon knows which four values belong to the key, and cannot do worse than guess among them.",
             "about half, more or less": "Nothing in one memory says which of a key's values is the newest. Two layers "
                                         "and a convolution find some other way, each run at another pace.",
             "all but the oldest": "A memory that adds has no oldest and no newest: all ages are alike."},
    answer="about half, more or less",
)
prediction(
    "15.c", question="β lies in (0, 1), the bits are 1, 1, 1, ... Which state tells odd from even after 1,000 of them?",
    options={"none does": "Equal inputs push the memory to where it no longer moves; there odd and even look alike.",
             "a larger one": "Every direction of the memory comes to rest, however many there are.",
             "one with a smaller β": "It comes to rest more slowly, but it does. The number of steps may always be "
                                     "larger."},
    answer="none does",
)
prediction(
    "15.d", question="Which of MAD's six tasks says least about the memory S?",
    options={"selective copying": "All symbols must be kept, in order: that is memory.",
             "compression": "All tokens must be in the state at the end.",
             "noisy recall": "What is noise must not be written: that is the strength of a write.",
             "memorizing": "Nothing in the sequence tells the values. They are learned into the weights."},
    answer="memorizing",
)
prediction(
    "15.e", question="You look at the last letter alone, and say what followed it the last time that it stood there. "
                     "How often is that allowed?",
    options={"always": "The same letter may stand on edges that lead to several states, with different letters behind.",
             "three times in four": "One letter says much about the state, but not all. More of the word says more.",
             "one time in two": "Nearly what the most frequent letter of the sequence scores, said every time.",
             "one time in nine": "That is a guess among all 18 letters. Even one letter of context is worth far more."},
    answer="three times in four",
)
