"""What several chapters share: inputs of checks, the token loop, and the way from one head to the package."""

import inspect
import itertools
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..ops.delta_rule.householder import householder
from ..tutor import Case, Mistake
from ..tutor.cases import delta_inputs
from ..tutor.verdict import Part

KEYS = ("random", "repeated", "unnormalized")                           # the kinds of keys that most checks draw


def real(x):
    """Numbers as a float64 tensor."""
    return torch.tensor(x, dtype=torch.float64)


def numbers(x):
    """Numbers in any form as a float64 tensor: one, an array, a tensor, or lists of any of these."""
    if isinstance(x, (list, tuple)) and any(isinstance(y, (list, tuple, torch.Tensor)) for y in x):
        return torch.stack([numbers(y) for y in x])
    return torch.as_tensor(x, dtype=torch.float64).detach()


def eye_like(x):
    """The identity for the last dimension of x, in its dtype."""
    return torch.eye(x.shape[-1], dtype=x.dtype)


def loop(q, k, v, beta, S):
    """The token loop, and every memory on the way: o (T, V), [S_0, ..., S_T]."""
    states = [S]
    for k_t, v_t, beta_t in zip(k, v, beta):
        S = S + beta_t * torch.outer(v_t - S @ k_t, k_t)
        states.append(S)
    return torch.stack([S @ q_t for q_t, S in zip(q, states[1:])]), states


def map_by(step):
    """f(k, v, beta) -> (M, X), token by token: what tokens do to a memory, S -> S M + X. `step` makes the next X of
    the X so far, the M after this token, and the token's own M_t and X_t; X @ M_t + X_t is right."""
    def f(k, v, beta):
        M, X = eye_like(k), k.new_zeros(v.shape[1], k.shape[1])
        for k_t, v_t, beta_t in zip(k, v, beta):
            M_t = householder(k_t, beta_t)
            M = M @ M_t
            X = step(X, M, M_t, beta_t * torch.outer(v_t, k_t))
        return M, X
    return f


def one_head(f, *tokens_and_S, **options):
    """A form of the package on one sequence and one head: `one_head(f, q, k, v, beta, S)` -> o (T, V), S (V, K).

    q, k: (T, K), v: (T, V), beta: (T,), if f takes one; S: (V, K), or None.
    """
    *tokens, S = tokens_and_S
    o, S = f(*(x[None, :, None] for x in tokens), initial_state=None if S is None else S[None, None], **options)
    return o[0, :, 0], S[0, 0]


def inputs(g, args, T=(1, 2, 6), **options):
    """Arguments by name for the checks of equations: β from 0 to 2, repeated and unnormalized keys, a memory, K ≠ V."""
    drawn = dict(K=4, V=3, keys=KEYS, betas=("zero", "random", "large"), memories=("nonempty",)) | options
    for case in delta_inputs(g, args, T=T, **drawn):
        yield case.args


def easy(args):
    """Cases with K = 2 and V = 1 that can be redone by hand."""
    all_tokens = {"k": [[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]], "v": [[2.0], [4.0], [3.0]], "beta": [0.5, 0.25, 1.0]}
    for T in (1, 2, 3):
        given = {name: real(x)[:T] for name, x in all_tokens.items()} | {"S": real([[1.0, 2.0]])}
        yield Case(tuple(given[name] for name in args.split()), f"easy numbers, T = {T}, K ≠ V")


def cases(args, **options):
    """The cases of an exercise whose function takes `args`: easy numbers first, then adversarial ones."""
    return lambda g: [*easy(args), *delta_inputs(g, args, keys=KEYS, **options)]


def standing_for(judge, answer):
    """A judge with arguments of its own, in whose failures the lines of the answer are shown, not the judge's."""
    judge.__signature__ = inspect.signature(judge)
    judge.__wrapped__ = answer
    return judge


class Shapes(TorchDispatchMode):
    """The shapes of all tensors that are computed inside."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, operation, types, args=(), options=None):
        result = operation(*args, **(options or {}))
        self.seen |= {tuple(x.shape) for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        return result


class WithoutSquare:
    """The `prepare` of an exercise whose text forbids a K × K matrix, which values do not tell.

    name: of the mutant that forms one. args: of the answer, by name.
    """

    as_given = True                                                      # it hands the answer on

    def __init__(self, name, args):
        self.name, self.args = name, args

    def __call__(self, answer):
        return answer

    def objection(self, f):
        """K = 7 is no other length here."""
        try:
            with Shapes() as made:
                f(*delta_inputs(torch.Generator().manual_seed(0), self.args, T=(3,), K=7, V=2)[0].args)
        except Exception:                                                # right on all cases, and that is enough
            return None
        square = next((shape for shape in made.seen if shape.count(7) > 1), None)
        said = Part(f"With three keys of 7 entries it makes a tensor of shape {square}.", "learner", True)
        return (f"it {self.name}", [Part(""), said], self.name) if square else None


def lapack_keys(a):
    """The vectors that LAPACK stores below the diagonal, as rows, each with its leading 1: (m, n) -> (n, m)."""
    m, n = a.shape
    return a.tril(-1).mT + torch.eye(n, m, dtype=a.dtype)


def lapack_cases(g):
    """(a, tau) as torch.geqrf returns them, and with strengths that no factorization gives."""
    for m, n in ((2, 1), (3, 2), (3, 3), (6, 4)):
        for kind in ("from a QR factorization", "any tau", "one tau = 0"):
            a, tau = torch.geqrf(torch.randn(m, n, generator=g, dtype=torch.float64))
            if kind == "any tau":
                tau = 2 * torch.rand(n, generator=g, dtype=torch.float64)
            if kind == "one tau = 0":
                tau[0] = 0
            yield Case((a, tau), f"{kind}, {'square' if m == n else 'tall'}, m = {m}")


def alone_and_paired(build, slips, likely=None):
    """Mistakes from slips, {name: Mistake(options, ...)}: build(**options) for each and for two that go together.

    Two slips in one answer are as common as one, and a name for each is worth more than "not a mistake I know".
    likely: names of the slips that are paired, if not all: a check runs every mistake.
    """
    made = {name: replace(slip, answer=build(**slip.answer)) for name, slip in slips.items()}
    for (a, x), (b, y) in itertools.combinations(slips.items(), 2):
        if likely and not (a in likely and b in likely):
            continue
        if not x.answer.keys() & y.answer.keys():
            equations = [e.removeprefix("eq. ") for e in dict.fromkeys((x.equation, y.equation)) if e]
            made[f"{a}, and {b}"] = Mistake(build(**x.answer, **y.answer), f"{x.diagnosis} {y.diagnosis}",
                                            "eq. " + " and ".join(equations) if equations else "")
    return made
