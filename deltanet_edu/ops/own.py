"""A form of the delta rule that the reader has written, in the place of one of ours: brought to the common signature,
checked once, and refused by name where it cannot do what is asked."""

import inspect
from functools import lru_cache

import torch

from .common import seen_through
from .delta_rule import delta_rule_recurrent

LENGTH = 70                                                              # tokens of the check: two chunks and a bit
ALLOWED = {torch.float64: 1e-6, torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 2e-2}    # of tf32


def name_of(f):
    return getattr(f, "__name__", type(f).__name__)


@lru_cache(maxsize=256)
def takes(f):
    """Which of initial_state and scale f takes by name; raises TypeError if it cannot be called with four tensors."""
    try:
        signature = inspect.signature(f)
        signature.bind(None, None, None, None)
    except ValueError:                                                   # of a builtin, say: nobody knows
        return frozenset()
    except TypeError as error:
        raise TypeError(f"backend: {name_of(f)}{signature} cannot be called with q, k, v and beta alone ({error}). "
                        "Expected (q, k, v, beta) -> o, or (q, k, v, beta, *, initial_state=None, scale=1.0) -> (o, "
                        "state).") from None
    named = signature.parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in named.values())
    return frozenset(n for n in ("initial_state", "scale") if everything or n in named)


def run_own(f, q, k, v, beta, *, initial_state=None, scale=1.0):
    """f as a form of the rule: (o, final state).

    f is (q, k, v, beta, *, initial_state=None, scale=1.0) -> (o, state), or less: without `scale`, q comes multiplied
    by it; without `initial_state` it can only begin empty; and if it gives o alone, the state is filled with NaN, so
    that nobody goes on from it unawares. The first call with a head width, dtype and device checks it against the
    recurrence, gradients too if they are wanted.
    """
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v, beta))
    if q.shape[1] and not (q.is_meta or torch.compiler.is_compiling() or seen_through()):
        checked(f, q.shape[-1], v.shape[-1], q.dtype, beta.dtype, q.device, wanted)
    o, state = called(f, q, k, v, beta, initial_state, scale)
    if wanted and not o.requires_grad:
        raise RuntimeError(f"backend: {name_of(f)} has no backward pass: its output does not depend on the inputs for "
                           "autograd. Wrap its launches in a torch.autograd.Function (chapter 9), or call it under "
                           "torch.no_grad().")
    return o, state


def called(f, q, k, v, beta, initial_state, scale):
    """(o, state) of one call, their shapes looked at."""
    B, T, H, K, V = *q.shape, v.shape[-1]
    named = takes(f)
    if initial_state is not None and "initial_state" not in named:
        raise ValueError(f"backend: {name_of(f)} takes no initial_state, but there is one. Give it the arguments "
                         "(q, k, v, beta, *, initial_state=None, scale=1.0), and return (o, state).")
    options = {"initial_state": initial_state} if "initial_state" in named else {}
    if "scale" in named:
        options["scale"] = scale
    elif scale != 1.0:
        q = q * scale
    result = f(q, k, v, beta, **options)
    o, state = result if isinstance(result, (tuple, list)) and len(result) == 2 else (result, None)
    for what, x, shape in (("o", o, (B, T, H, V)), ("state", state, (B, H, V, K))):
        if what == "state" and x is None:
            continue
        if not isinstance(x, torch.Tensor) or tuple(x.shape) != shape:
            got = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
            raise ValueError(f"backend: {what} of {name_of(f)} has shape {got}, expected {shape}.")
    if state is None:
        wide = torch.float32 if v.dtype in (torch.float16, torch.bfloat16) else v.dtype
        state = torch.full((), torch.nan, dtype=wide, device=v.device).expand(B, H, V, K)
    return o.to(v.dtype), state


@lru_cache(maxsize=256)
def checked(f, K, V, dtype, beta_dtype, device, gradients):
    """Raise ValueError unless f is the delta rule on an example with these widths; once for each of them."""
    g = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(1, LENGTH, 2, *shape, generator=g, dtype=torch.float64)
    q, k, v, beta = draw(K), torch.nn.functional.normalize(draw(K), dim=-1), draw(V), draw().sigmoid()
    kinds = (dtype, dtype, dtype, beta_dtype)
    mine = [x.to(device, kind).requires_grad_(gradients) for x, kind in zip((q, k, v, beta), kinds)]
    right = [x.detach().double().requires_grad_(gradients) for x in mine]
    with torch.set_grad_enabled(gradients):
        found, expected = called(f, *mine, None, 1.0), delta_rule_recurrent(*right)
    pairs = {"o": (found[0], expected[0])}
    if not found[1].isnan().all():
        pairs["state"] = found[1], expected[1]
    if gradients and found[0].requires_grad:
        do = draw(V).to(device)
        theirs = torch.autograd.grad(found[0], mine, do.to(dtype), allow_unused=True)
        for name, a, b in zip(("dq", "dk", "dv", "dbeta"), theirs, torch.autograd.grad(expected[0], right, do)):
            pairs[name] = (torch.zeros_like(b) if a is None else a), b
    for name, (a, b) in pairs.items():
        error = ((a.detach().double() - b).norm() / b.norm()).item()
        if not error <= ALLOWED[dtype]:
            raise ValueError(f"backend: {name} of {name_of(f)} is not that of the delta rule: relative error "
                             f"{error:.2g} on {LENGTH} tokens with K = {K} and V = {V}, allowed "
                             f"{ALLOWED[dtype]:.0e}. What is "
                             "wrong? race(f), in deltanet_edu.bench.race, says more.")
