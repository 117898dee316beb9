"""Chapter 4: Householder matrices. The equations and the predictions of its lesson."""

import math

import torch

from ...ops.delta_rule import householder
from ...tutor import equation, prediction
from ...tutor.cases import delta_inputs, normal
from ..common import KEYS, eye_like, real
from .problems import M

# -- equations ---------------------------------------------------------------------------------------------------------

def keys_betas(g, *, C=None, K=(2, 3, 5)):
    """Keys and strengths for the checks of equations: unit, repeated and unnormalized keys, β from 0 to 2."""
    for width in K:
        for case in delta_inputs(g, "k beta", T=C, K=width, V=2, keys=KEYS, betas=("zero", "random", "one", "large")):
            yield case.args


def pairs(g):
    for k, beta in keys_betas(g, C=(2,)):
        yield k[0], k[1], beta[0], beta[1]
    for a, b in (([1.0, 2.0], [2.0, 4.0]), ([1.0, 2.0], [-4.0, 2.0])):   # parallel, orthogonal
        yield real(a), real(b), real(0.7), real(1.6)


def random_orthogonal(g, K):
    Q, R = torch.linalg.qr(torch.randn(K, K, generator=g, dtype=torch.float64))
    return Q * R.diagonal().sign()


def turn(angle):
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, s]), torch.stack([-s, c])])


@equation("4.1", r"H = I - \frac{2}{\|k\|^2}\,k k^\top, \qquad Hk = -k, \qquad Hx = x \;\text{ for every } x \perp k")
def _(g):
    for k, _ in keys_betas(g):
        H, x = eye_like(k) - 2 / (k @ k) * torch.outer(k, k), normal(g, len(k))
        x = x - (x @ k) / (k @ k) * k
        yield "the key is flipped", H @ k, -k
        yield "what is orthogonal stays", H @ x, x


@equation("4.2", r"H^\top = H, \qquad HH = I, \qquad \|Hx\| = \|x\|")
def _(g):
    for k, _ in keys_betas(g):
        H, x = M(k, 2 / (k @ k)), normal(g, len(k))
        yield "symmetric", H.mT.clone(), H
        yield "its own inverse", H @ H, eye_like(k)
        yield "keeps lengths", (H @ x).norm(), x.norm()


@equation("4.3", r"k = x - y \neq 0 \;\text{ and }\; \|x\| = \|y\| \quad\Rightarrow\quad Hx = y")
def _(g):
    for K in (2, 3, 5):
        for _ in range(4):
            x, y = normal(g, K), normal(g, K)
            y = y * x.norm() / y.norm()
            yield "x is sent to y", M(x - y, 2 / ((x - y) @ (x - y))) @ x, y


@equation("4.4", r"M = I - \beta kk^\top = \big(I - \hat k\hat k^\top\big) + \lambda\,\hat k\hat k^\top, "
                 r"\qquad \lambda = 1 - \beta\|k\|^2")
def _(g):
    for k, beta in keys_betas(g):
        along = torch.outer(k, k) / (k @ k)
        split = eye_like(k) - along + (1 - beta * (k @ k)) * along
        yield "the matrix = across + λ along", householder.householder(k, beta), split


@equation("4.5", r"\det\big(I - \beta kk^\top\big) = 1 - \beta\|k\|^2, "
                 r"\qquad \det(M_1 \cdots M_C) = \prod_{t=1}^{C} \big(1 - \beta_t\|k_t\|^2\big)")
def _(g):
    for k, beta in keys_betas(g):
        yield "one matrix", torch.linalg.det(householder.householder(k, beta)), 1 - beta * (k @ k)
    for k, beta in keys_betas(g, C=(1, 2, 4)):
        product = householder.householder_product(k, beta)
        yield "a product", torch.linalg.det(product), (1 - beta * (k * k).sum(-1)).prod()


@equation("4.6", r"(I - \alpha kk^\top)(I - \beta kk^\top) "
                 r"= I - \big(\alpha + \beta - \alpha\beta\|k\|^2\big)\,kk^\top")
def _(g):
    for k, beta in keys_betas(g):
        alpha = normal(g, 1)[0]
        yield "two on one key are one", M(k, alpha) @ M(k, beta), M(k, alpha + beta - alpha * beta * (k @ k))


@equation("4.7", r"\big(I - \beta kk^\top\big)^{-1} = I + \frac{\beta}{1 - \beta\|k\|^2}\,kk^\top "
                 r"\qquad\text{if } \beta\|k\|^2 \neq 1")
def _(g):
    for k, beta in keys_betas(g):
        if abs(1 - beta * (k @ k)) > 0.02:
            inverse = eye_like(k) + beta / (1 - beta * (k @ k)) * torch.outer(k, k)
            yield "from the right", M(k, beta) @ inverse, eye_like(k)
            yield "from the left", inverse @ M(k, beta), eye_like(k)
        singular = M(k, 1 / (k @ k))
        yield "none at β|k|² = 1", int(torch.linalg.matrix_rank(singular)), len(k) - 1


@equation("4.8", r"S\,\big(I - \beta kk^\top\big) = S - \beta\,(Sk)\,k^\top")
def _(g):
    for case in delta_inputs(g, "S k beta", T=None, K=3, V=5, keys=KEYS, betas=("zero", "random", "one", "large")):
        S, k, beta = case.args
        yield "with the matrix = without it", S @ householder.householder(k, beta), S - beta * torch.outer(S @ k, k)


@equation("4.9", r"M_1M_2 = \begin{pmatrix} \cos 2\theta & \sin 2\theta \\ -\sin 2\theta & \cos 2\theta \end{pmatrix}")
def _(g):
    for theta in real([0.0, 0.3, 1.0, math.pi / 2, 2.5, -0.7]):
        first = 2 * math.pi * torch.rand((), generator=g, dtype=torch.float64)
        k1, k2 = (torch.stack([a.cos(), a.sin()]) for a in (first, first + theta))
        yield "two mirrors = a turn", M(k1, 2.0) @ M(k2, 2.0), turn(2 * theta)
        Q = random_orthogonal(g, 5)                                      # the same in a plane of five-dimensional space
        block = torch.eye(5, dtype=torch.float64)
        block[:2, :2] = turn(2 * theta)
        yield "the same in five dimensions", M(Q[:, :2] @ k1, 2.0) @ M(Q[:, :2] @ k2, 2.0), Q @ block @ Q.mT


@equation("4.10", r"M_1M_2 = I - \beta_1 k_1k_1^\top - \beta_2 k_2k_2^\top "
                  r"+ \beta_1\beta_2\,(k_1^\top k_2)\,k_1k_2^\top")
def _(g):
    for k1, k2, b1, b2 in pairs(g):
        alone = eye_like(k1) - b1 * torch.outer(k1, k1) - b2 * torch.outer(k2, k2)
        both = b1 * b2 * (k1 @ k2) * torch.outer(k1, k2)
        yield "multiplied out", M(k1, b1) @ M(k2, b2), alone + both


@equation("4.11", r"M_1M_2 - M_2M_1 = \beta_1\beta_2\,(k_1^\top k_2)\,\big(k_1k_2^\top - k_2k_1^\top\big)")
def _(g):
    for k1, k2, b1, b2 in pairs(g):
        difference = M(k1, b1) @ M(k2, b2) - M(k2, b2) @ M(k1, b1)
        yield "the two orders", difference, b1 * b2 * (k1 @ k2) * (torch.outer(k1, k2) - torch.outer(k2, k1))


@equation("4.12", r"\frac1K \sum_{i=1}^{K} \big\|x^\top\big(I - \beta\,e_ie_i^\top\big)\big\|^2 "
                  r"= \Big(1 - \frac{\beta(2-\beta)}{K}\Big)\,\|x\|^2")
def _(g):
    for K in (2, 3, 6):
        for beta in (0.0, 0.4, 1.0, 1.6, 2.0, 2.3):
            E, x = random_orthogonal(g, K), normal(g, K)
            left = torch.stack([(x @ M(e, beta)).square().sum() for e in E])
            yield "mean over a basis", left.mean(), (1 - beta * (2 - beta) / K) * (x @ x)


@equation("4.13", r"\text{swap}_{ij} = I - (e_i - e_j)(e_i - e_j)^\top")
def _(g):
    for K in (2, 3, 6):
        for _ in range(3):
            i, j = torch.randperm(K, generator=g)[:2].tolist()
            e, x = torch.eye(K, dtype=torch.float64), normal(g, 4, K)
            order = list(range(K))
            order[i], order[j] = j, i
            yield "entries i and j change places", x @ (e - torch.outer(e[i] - e[j], e[i] - e[j])), x[:, order]
            unit = (e[i] - e[j]) / math.sqrt(2)
            yield "it is β = 2 with a unit key", householder.householder(unit, real(2.0)), e[:, order]


@equation("4.14", r"Q = H_1 H_2 \cdots H_m, \qquad m \le K")
def _(g):
    eye = torch.eye(4, dtype=torch.float64)
    given = [random_orthogonal(g, K) for K in (1, 2, 3, 5, 8)]
    given += [eye, -eye, eye[:, [1, 2, 3, 0]], torch.block_diag(turn(real(0.4)), eye)]
    for Q in given:
        keys = householder.reflections(Q)
        yield "the product of the mirrors", householder.householder_product(keys, torch.full_like(keys[:, 0], 2.0)), Q
        yield "at most K of them", len(keys) <= len(Q), True


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "4.a", question="One press, the same for both states, 0 ≤ β ≤ 1. The best v and β leave what in the memory?",
    options={
        "0, nothing": "Whatever v is, it is wrong for one of the states. The least bad press erases: "
                      "the switch stands in the middle, and the bit is lost.",
        "the flipped bit": "A write moves the memory from what it says towards v, and never beyond. "
                           "It cannot end at the opposite of both states.",
        "the old bit": "β = 0 misses the flipped bit by 2. Erasing misses it by 1.",
    },
    answer="0, nothing",
)

prediction(
    "4.b", question="A unit key and β = 1/2. Which β' undoes it: (I − ½ kkᵀ)(I − β' kkᵀ) = I?",
    options={
        "1/2": "Halving twice leaves a quarter.",
        "−1/2": "Nearly nothing is undone by the same step back: 1/2 was left along the key, and 1.5 times 1/2 is 3/4.",
        "2": "That is a mirror. It undoes another mirror, and here 1/2 would become −1/2.",
        "−1": "Along the key 1/2 is left, so it must be doubled: 1 − β' = 2.",
    },
    answer="−1",
)

prediction(
    "4.c", question="Two unit keys, β = 1 for both. At which angle between the keys does the order of the two tokens "
                    "matter most?",
    options={
        "0°": "Equal keys: it is the same matrix twice.",
        "45°": "The difference has the overlap, cos θ, as a factor, and the area between the keys, sin θ, as another. "
               "Their product peaks at 45°.",
        "90°": "Orthogonal keys do not see each other: there the order does not matter at all.",
    },
    answer="45°",
)

prediction(
    "4.d", question="A memory is hit by random unit keys that have nothing to do with it. With which β does it forget "
                    "fastest?",
    options={
        "β = 2": "A mirror takes out nothing. With β = 2 every length is kept forever.",
        "β = 1.5": "Beyond the plane the length comes back: 1.5 forgets exactly as fast as 0.5.",
        "β = 1": "A projection takes out everything along the key. No other β takes out more.",
        "β = 0.5": "It forgets, but each token takes out only a part: 3/4 of the squared length along its key.",
    },
    answer="β = 1",
)
