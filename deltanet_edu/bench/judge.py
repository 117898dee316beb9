"""Run a form and the float64 recurrence on the same inputs, forward and backward,
and compare everything that comes out."""

import contextlib

import torch
import torch.nn.functional as F

from ..kernels import interpreted
from ..ops import delta_rule_recurrent

DEVICE = "cuda" if torch.cuda.is_available() and not interpreted() else "cpu"        # where kernels run
KEYS = ("unit", "repeated", "unnormalized", "zero")
NAMES = ("o", "final state", "dq", "dk", "dv", "dbeta", "d initial state")


def make(B=2, T=7, H=2, K=3, V=5, keys="unit", beta_max=1.0, dtype=torch.float64, seed=0):
    """q, k, v, beta, initial_state: random, and adversarial by construction if asked for other keys than unit ones."""
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(B, T, H, K, generator=g, dtype=dtype) for _ in range(2))
    v = torch.randn(B, T, H, V, generator=g, dtype=dtype)
    beta = beta_max * torch.rand(B, T, H, generator=g, dtype=dtype)
    S = torch.randn(B, H, V, K, generator=g, dtype=dtype)
    if keys != "unnormalized":
        k = F.normalize(k, dim=-1)
    if keys == "repeated":
        k = k[:, torch.randint(min(T, 2), (T,), generator=g)]
    if keys == "unnormalized":
        k = k * 0.7                                                       # beta |k|^2 passes 2 now and then
    if keys == "zero":
        k, beta = k * (torch.rand(B, T, H, 1, generator=g) > 0.3), beta * (torch.rand(B, T, H, generator=g) > 0.3)
    return q, k, v, beta, S


def inputs(dtype=torch.float32, sequences=None, **kwargs):
    """q, k, v, beta, initial_state on the device under test; one state for each of `sequences`."""
    q, k, v, beta, S = make(**kwargs, dtype=torch.float64)
    if sequences:
        S = make(**kwargs | dict(B=sequences, seed=1), dtype=torch.float64)[4]
    return [x.to(DEVICE, dtype) for x in (q, k, v)] + [x.to(DEVICE, torch.float32) for x in (beta, S)]


def reference(q, k, v, beta, S, scale=1.0, ends=None, normalize=False, sigmoid=False):
    """The recurrence in float64, sequence by sequence if `ends` are given."""
    if normalize:
        q, k = (x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt() for x in (q, k))
    if sigmoid:
        beta = beta.sigmoid()
    if ends is None:
        return delta_rule_recurrent(q, k, v, beta, initial_state=S, scale=scale)
    o, final = [], []
    for n, (a, b) in enumerate(zip(ends, ends[1:])):
        inputs, state = [x[:, a:b] for x in (q, k, v, beta)], S[n:n + 1]
        piece = delta_rule_recurrent(*inputs, initial_state=state, scale=scale) if b > a else (v[:, a:b], state)
        o.append(piece[0])
        final.append(piece[1])
    return torch.cat(o, 1), torch.cat(final, 0)


def everything(f, tensors, weights=None):
    """o, final state and the gradients of all inputs for the loss <o, weights[0]> + <final state, weights[1]>."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    results = f(*tensors)
    weights = weights or [torch.ones_like(y) for y in results]
    gradients = torch.autograd.grad(results, tensors, [w.to(y.dtype) for w, y in zip(weights, results)])
    return [*results, *gradients]


def errors(f, tensors, gradients=True, **options):
    """{result: error} of f(q, k, v, beta, S), relative to the size of each result as a whole; without `gradients`,
    of o and S alone.

    What should be zero has no size: there 1e-6 stands for it. beta = 0 makes dk zero, where the kernels have 2^-50
    (`tiles.strengths`).
    """
    g = torch.Generator().manual_seed(7)
    weights = [torch.randn(x.shape, generator=g).to(x.device, x.dtype) for x in (tensors[2], tensors[4])]
    expected = everything(lambda *x: reference(*x, **options), [x.double() for x in tensors], weights)
    actual = everything(f, tensors, weights) if gradients else f(*tensors)
    found = {}
    for name, a, e in zip(NAMES, actual, expected, strict=gradients):
        assert a.shape == e.shape, f"{name}: shape {tuple(a.shape)}, expected {tuple(e.shape)}"
        found[name] = ((a.double() - e).norm() / e.norm().clamp(min=1e-6)).item()
    return found


def compare(f, tensors, tolerance=2e-6, **options):
    """f(q, k, v, beta, S) against the judge; NaN never passes."""
    for name, error in errors(f, tensors, **options).items():
        assert error <= tolerance, f"{name}: relative error {error:.2g}, allowed {tolerance:.2g}"


@contextlib.contextmanager
def poisoned():
    """New memory holds NaN while this is open: what nobody writes shows."""
    settings = torch.utils.deterministic
    on, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)             # products on a GPU would raise
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warn)
        settings.fill_uninitialized_memory = fill
