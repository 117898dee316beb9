"""The questions of the race, asked in this process: values, accesses, races, bytes, and what the compiler says."""

import contextlib

import torch

from ..kernels.interpreter import repair
from ..ops import linear_attention_recurrent
from .ahead_of_time import TARGETS, Rejected, accept_launch
from .judge import inputs, poisoned, reference
from .race import Verdict

TOLERANCE = 1e-2 if torch.cuda.is_available() else 1e-4                  # relative, in float32; tf32 products on a GPU
HALF = 2e-2                                                              # the same in bfloat16
RAGGED, NARROW = "T = 37, which no chunk divides", "K = 32, V = 16, T = 50"
CASES = {                                                               # smallest first: the first failure teaches most
    "one token": dict(B=1, T=1, H=1, K=16, V=16),
    "one chunk of 16": dict(B=1, T=16, H=1, K=16, V=16),
    "T = 64": dict(B=1, T=64, H=1, K=16, V=16),
    "T = 128, two heads, a batch of 2": dict(B=2, T=128, H=2, K=16, V=16),
    RAGGED: dict(B=1, T=37, H=2, K=16, V=16),
    "K = 16, V = 32": dict(B=1, T=32, H=2, K=16, V=32),
    NARROW: dict(B=1, T=50, H=1, K=32, V=16),
    "repeated keys, β up to 2": dict(B=1, T=70, H=1, K=16, V=16, keys="repeated", beta_max=2.0),
}
IN_HALF = {"K = V = 64": dict(B=2, T=200, H=2, K=64, V=64), "K = 64, V = 128": dict(B=1, T=130, H=2, K=64, V=128)}
MEASURED = dict(B=1, T=256, H=2, K=64, V=64)                             # where bytes are counted


class Lost(Exception):
    """The race ends: (what went wrong, why or what to look at)."""


def judge(f, backward=False):
    """The verdict on f, in this process: without a GPU with what it does to memory, on one with its bfloat16."""
    verdict = Verdict()
    repair()                                                             # f may use nothing of this package
    try:
        verdict.passed.append(right_values(f, backward))
        if torch.cuda.is_available():
            verdict.passed.append(right_in_bfloat16(f, backward))
        else:
            watched(f, backward, verdict)
    except Lost as lost:
        verdict.failed, verdict.why = lost.args
    except Exception as error:
        verdict.failed, verdict.why = f"it raises {type(error).__name__}", str(error)
    return verdict


def call(f, q, k, v, beta):
    """(o, final state or None) of f, with what PyTorch allocates filled with NaN: what is not written shows."""
    with poisoned():
        result = f(q, k, v, beta)
    o, final = result if isinstance(result, tuple) else (result, None)
    if not isinstance(o, torch.Tensor) or o.shape != v.shape:
        shape = tuple(o.shape) if isinstance(o, torch.Tensor) else type(o).__name__
        turned = isinstance(o, torch.Tensor) and sorted(o.shape) == sorted(v.shape)
        hint = "\nIt would fit transposed." if turned else ""
        raise Lost("the output has another shape", f"o: got {shape}, expected that of v, {tuple(v.shape)}.{hint}")
    return o, final


def distance(a, b):
    return ((a.double() - b).norm() / b.norm().clamp(min=1e-6)).item()


def right_values(f, backward):
    """All cases against the float64 recurrence; raises Lost at the first that differs."""
    passed = []
    for name, shape in CASES.items():
        *tokens, S = inputs(**shape)
        expected = wanted(tokens, S, backward)
        got = wanted_of(f, tokens, backward)
        for what, e in expected.items():
            if got.get(what) is None:
                continue
            error = distance(got[what], e)
            if not error <= TOLERANCE:
                raise Lost(f"wrong values: {what}, {name}", explain(f, what, got[what], e, error, tokens, passed))
        passed.append(name)
    what = "values and gradients" if backward else "values"
    return f"{what} right in {len(CASES)} cases: ragged, K ≠ V, repeated keys, β up to 2"


def right_in_bfloat16(f, backward):
    """The same for inputs in bfloat16, rounded before both see them; a beta of float32 stays one."""
    largest = 0.0
    for name, shape in IN_HALF.items():
        *tokens, S = inputs(**shape)
        tokens = [x.to(torch.bfloat16) for x in tokens]
        expected, got = wanted(tokens, S, backward), wanted_of(f, tokens, backward)
        for what, e in expected.items():
            if got.get(what) is None:
                continue
            error = distance(got[what], e)
            if not error <= HALF:
                raise Lost(f"wrong values in bfloat16: {what}, {name}", in_half(got[what], error))
            largest = max(largest, error)
    return f"right in bfloat16, too: largest error {largest:.1e}, allowed {HALF:.0e}"


def in_half(got, error):
    if got.isnan().any():
        return "There is NaN in it, and in float32 there was none: does something overflow, or stay unwritten?"
    return (f"Relative error {error:.2g}, allowed {HALF:.0e}; in float32 it was right. Is the memory S kept in float32 "
            "from chunk to chunk, and are products added up in float32?")


def wanted(tokens, S, backward):
    """What the float64 recurrence says: {result: tensor}."""
    tokens = [x.double().requires_grad_(backward) for x in tokens]
    o, final = reference(*tokens, torch.zeros_like(S, dtype=torch.float64))
    found = {"o": o.detach(), "final state": final.detach()}
    if backward:
        found |= dict(zip(("dq", "dk", "dv", "dbeta"), torch.autograd.grad(o, tokens, weight(o))))
    return found


def wanted_of(f, tokens, backward):
    tokens = [x.clone().requires_grad_(backward) for x in tokens]
    o, final = call(f, *tokens)
    found = {"o": o.detach(), "final state": None if final is None else final.detach()}
    if backward:
        if not o.requires_grad:
            raise Lost("there is no backward pass", "o does not depend on the inputs for autograd: wrap the launches "
                                                    "in a torch.autograd.Function (chapter 9).")
        with poisoned():
            found |= dict(zip(("dq", "dk", "dv", "dbeta"), torch.autograd.grad(o, tokens, weight(o).to(o.dtype))))
    return found


def weight(o):
    """A fixed random gradient of o."""
    g = torch.Generator().manual_seed(7)
    return torch.randn(o.shape, generator=g, dtype=torch.float64).to(o.device)


def explain(f, what, got, expected, error, tokens, passed):
    """Why this may be, in a line or two: numbers that were never written, a known mistake, the tail of a chunk."""
    if got.shape != expected.shape:
        return f"Its shape is {tuple(got.shape)}, expected {tuple(expected.shape)}."
    if got.isnan().any():
        first = tuple(int(i[0]) for i in got.isnan().nonzero(as_tuple=True))
        return (f"{what}{list(first)} is NaN: either it was never written (a mask that leaves out too much, a grid "
                "that is too small), or something was read that nobody had written.")
    lines = [f"Relative error {error:.2g}, allowed {TOLERANCE:.0e}."]
    if what == "o":
        lines += [f"It equals what you get if {said}." for said in mistakes(f, got, tokens)]
        rows = (got.double() - expected).abs().amax((0, 2, 3)) > TOLERANCE * expected.abs().max()
        if len(lines) == 1 and rows.any() and not rows.all():
            t = int(rows.int().argmax())
            tail = ", the first token behind a chunk" if t % 16 == 0 else ""
            lines.append(f"Tokens before {t} are right; from {t} on they are not{tail}.")
    if len(lines) == 1 and passed:
        lines.append(f"Right were: {'; '.join(passed)}. What is new in this case?")
    return "\n".join(lines)


def mistakes(f, got, tokens):
    """The usual mistake that gives these outputs, in a list; none if there is none, or if another case denies it."""
    found = {said for said, o in known(*tokens) if distance(got, o) <= TOLERANCE}
    if len(found) > 1:                                                   # few tokens do not tell mistakes apart
        *more, _ = inputs(**CASES[NARROW])
        with contextlib.suppress(Exception):
            again = call(f, *more)[0]
            found &= {said for said, o in known(*more) if distance(again, o) <= TOLERANCE}
    return list(found) if len(found) == 1 else []


def known(q, k, v, beta):
    """(what was done wrong, the outputs it gives) for the usual mistakes."""
    q, k, v, beta = (x.double() for x in (q, k, v, beta))
    S = torch.zeros(len(q), q.shape[2], v.shape[3], k.shape[3], dtype=torch.float64, device=q.device)
    right = lambda *x: reference(*x, S)[0]                               # noqa: E731
    o = right(q, k, v, beta)
    yield "nothing is erased: every token adds β v kᵀ", linear_attention_recurrent(q, k, beta[..., None] * v)[0]
    yield "nothing is erased, and β is forgotten", linear_attention_recurrent(q, k, v)[0]
    yield "β is forgotten (it counts as 1)", right(q, k, v, torch.ones_like(beta))
    yield "β multiplies the values only: the erasing has none", right(q, k, beta[..., None] * v, torch.ones_like(beta))
    yield "β multiplies the values twice", right(q, k, beta[..., None] * v, beta)
    yield "the queries are divided by √K: the scale is 1 here", o * q.shape[3]**-0.5
    yield "queries and keys change places", right(k, q, v, beta)
    yield "the keys also ask", right(k, k, v, beta)
    yield "a token reads before it has written", torch.cat([o[:, :1] * 0, shifted(q, k, v, beta, S)], 1)
    for C in (16, 32, 64):
        if q.shape[1] > C:
            pieces = [reference(*(x[:, t:t + C] for x in (q, k, v, beta)), S)[0] for t in range(0, q.shape[1], C)]
            yield f"each chunk of {C} tokens starts with an empty memory", torch.cat(pieces, 1)


def shifted(q, k, v, beta, S):
    """What tokens 1, 2, ... read if their own write comes too late."""
    reads = [torch.einsum("bhvk,bhk->bhv", reference(*(x[:, :t] for x in (q, k, v, beta)), S)[1], q[:, t])
             for t in range(1, q.shape[1])]
    return torch.stack(reads, 1) if reads else q.new_zeros(len(q), 0, q.shape[2], S.shape[2])


def watched(f, backward, verdict):
    """What the interpreter shows, added to the verdict: accesses, races, bytes; and the compiler. Raises Lost."""
    from ..kernels import delta_rule_chunkwise
    from .trace import OutOfBounds, Trace, why_not

    if reason := why_not():
        verdict.advice.append(f"Not watched: {reason}")
        return
    for shape in (CASES[RAGGED], CASES[NARROW], MEASURED):
        *tokens, _ = inputs(**shape)
        try:
            with Trace() as seen:
                wanted_of(f, tokens, backward)
        except OutOfBounds as error:
            said = f"{error}\nThe values are right all the same; a GPU may stop there."
            raise Lost("it leaves its tensors", said) from None
        if not seen.launches:
            raise Lost("no Triton kernel was launched", "The values are right. Were they computed by PyTorch alone?")
        if seen.faults:
            raise Lost("its programs depend on their order", "\n".join(map(str, seen.faults[:2]))
                       + "\nThe interpreter runs them one by one; a GPU runs them at once.")
    n = len(seen.launches)
    verdict.passed += [f"stays inside its tensors and writes everything, in {n} launch{'es' * (n != 1)}",
                       "its programs can run in any order"]
    verdict.passed.append(accepted(seen.launches))
    with Trace() as package:
        wanted_of(delta_rule_chunkwise, tokens, backward)
    score(seen, package, floor_bytes(tokens, backward), verdict)


def accepted(launches):
    """What the compiler says to the kernels as they were launched, for two GPUs; raises Lost."""
    for capability in TARGETS:
        for launch in launches:
            try:
                accept_launch(launch, capability)
            except Rejected as error:
                said = f"{launch.kernel}, for sm_{capability}: {error}\nThe interpreter is not as strict."
                raise Lost("the compiler does not accept it", said) from None
    return f"compiles for {' and '.join(f'sm_{capability}' for capability in TARGETS)}"


def floor_bytes(tokens, backward):
    """What any kernel must move: each input read once, each result written once; v is as large as o, and as do."""
    *_, v, beta = tokens
    forward = sum(x.numel() * x.itemsize for x in (*tokens, v))
    return forward + (2 * forward - v.numel() * v.itemsize if backward else 0)     # q k v beta do; dq dk dv dbeta


def score(seen, package, floor, verdict):
    """Bytes and the longest chain of loads, beside the package's."""
    at = "B, T, H, K, V = " + ", ".join(map(str, MEASURED.values()))
    mine, theirs = seen.loaded + seen.stored, package.loaded + package.stored
    verdict.bytes = {"must": floor, "yours": mine, "the package": theirs}
    verdict.scores = {
        "bytes moved": f"{mine:,} at {at}", "of what must be moved": f"{mine / floor:.2f} times ({floor:,})",
        "of the package's": f"{mine / theirs:.2f} times ({theirs:,}, {theirs / floor:.2f} times what must be)",
        "loads one after the other": f"{seen.depth:,}; the package: {package.depth:,}"}
    if mine > 2 * theirs:
        verdict.advice.append(f"It moves {mine / theirs:.1f} times what the package does. Which tensor is loaded most "
                              "often, and could its tile stay in registers? (bench.trace.Trace counts by tensor.)")
    if seen.depth > 4 * package.depth:
        verdict.advice.append(f"Its busiest program loads {seen.depth:,} times in a row, where {package.depth:,} do: "
                              f"on "
                              "a GPU that chain is its time. Chunks make it shorter (chapter 8).")
