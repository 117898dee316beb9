"""A forward or backward kernel of your own: is it right, would a GPU agree, and how does it do against the package's?

    race(f)                          in a notebook; f(q, k, v, beta) -> o, or (o, final state), launches your kernels
    deltanet-edu race my_kernel.py   on the command line; the file defines delta_rule(q, k, v, beta)

Four questions in this order, and the first no ends the race: are the values right, on ragged lengths and K ≠ V; does it
stay inside its tensors and write all it should; does the order of the programs not matter; and how many bytes does it
move? f runs in a process of its own, so that what crashes or never ends takes nothing with it. On a GPU only the values
are judged so far.
"""

import contextlib
import faulthandler
import inspect
import json
import multiprocessing
import os
import signal
from dataclasses import asdict, dataclass, field

import torch

from ..ops import linear_attention_recurrent
from ..records import provenance, user_folder, whole_file
from .judge import inputs, reference

TOLERANCE = 1e-4                                                         # relative, in float32
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
MEASURED = dict(B=1, T=256, H=2, K=64, V=64)                             # where bytes are counted


@dataclass
class Verdict:
    """How far a kernel came. `passed` questions in order; `failed`, what went wrong; `scores`, what was measured."""

    passed: list = field(default_factory=list)
    failed: str = ""
    why: str = ""
    scores: dict = field(default_factory=dict)

    def __bool__(self):
        return not self.failed

    def __str__(self):
        lines = [f"✓ {said}" for said in self.passed]
        if self.failed:
            lines += [f"✗ {self.failed}", *(f"      {line}" for line in self.why.splitlines())]
        lines += [f"  {name:<32} {said}" for name, said in self.scores.items()]
        return "\n".join(lines)


class Lost(Exception):
    """The race ends: (what went wrong, why or what to look at)."""


def race(f, backward=False, seconds=300, name=None):
    """Put f to the questions above; print and return the Verdict, and keep it on the board if it got through.

    Args:
        f: (q, k, v, beta) -> o, or (o, final state).
            q, k: (B, T, H, K), v: (B, T, H, V), beta: (B, T, H), o: (B, T, H, V).
        backward: judge the gradients, too: f must be differentiable.
        seconds: how long f may take for all of it.
        name: what the board calls it; the function's own name if None.
    """
    verdict = isolated(f, backward, seconds)
    print(verdict)
    if verdict:
        keep(name or getattr(f, "__name__", "yours"), verdict, backward)
    return verdict


def isolated(f, backward, seconds):
    """The verdict on f, found in a copy of this process, whose death is a verdict as well."""
    if torch.cuda.is_available() or not hasattr(os, "fork"):             # CUDA does not survive a fork
        return judge(f, backward)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    copy = multiprocessing.get_context("fork").Process(target=_child, args=(f, backward, theirs), daemon=True)
    copy.start()
    theirs.close()
    verdict = None
    if ours.poll(seconds):
        with contextlib.suppress(EOFError):
            verdict = ours.recv()
    elif copy.is_alive():
        copy.kill()
        verdict = Verdict(failed=f"it did not come to an end in {seconds} seconds",
                          why="Is there a loop whose bound never comes? The interpreter is slow: seconds= gives more.")
    copy.join()
    if verdict is None:
        how = signal.Signals(-copy.exitcode).name if copy.exitcode and copy.exitcode < 0 else f"status {copy.exitcode}"
        verdict = Verdict(failed=f"the process of your kernel died ({how})",
                          why="Most often a load or a store far outside a tensor, in code that runs outside a kernel.")
    return verdict


def _child(f, backward, pipe):
    torch.set_num_threads(1)
    faulthandler.disable()                                             # whose long report of a crash is not for readers
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        verdict = judge(f, backward)
    pipe.send(verdict)


def judge(f, backward=False):
    """The verdict on f, in this process."""
    verdict = Verdict()
    try:
        verdict.passed.append(right_values(f, backward))
        if not torch.cuda.is_available():
            said, verdict.scores = watched(f, backward)
            verdict.passed += said
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


@contextlib.contextmanager
def poisoned():
    """New memory holds NaN while this is open."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


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


def watched(f, backward):
    """What the interpreter shows: accesses, races, bytes. Returns what to say and the scores; raises Lost."""
    from ..kernels import delta_rule_chunkwise
    from .trace import OutOfBounds, Trace

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
    with Trace() as package:
        wanted_of(delta_rule_chunkwise, tokens, backward)
    floor = sum(x.numel() * x.itemsize for x in (*tokens, tokens[2])) * (3 if backward else 1) // (2 if backward else 1)
    at = "B, T, H, K, V = " + ", ".join(map(str, MEASURED.values()))
    mine, theirs = seen.loaded + seen.stored, package.loaded + package.stored
    scores = {"bytes moved": f"{mine:,} at {at}", "of what must be moved": f"{mine / floor:.2f} times ({floor:,})",
              "of the package's": f"{mine / theirs:.2f} times ({theirs:,}, {theirs / floor:.2f} times what must be)",
              "loads one after the other": f"{seen.depth:,}; the package: {package.depth:,}"}
    return [f"stays inside its tensors and writes everything, in {len(seen.launches)} launches",
            "its programs can run in any order"], scores


# -- the board ---------------------------------------------------------------------------------------------------------

def board_file():
    return user_folder() / "race.json"


def board():
    """What got through so far, oldest first: [{name, date, scores, ...}]."""
    try:
        return json.loads(board_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return []


def keep(name, verdict, backward):
    """Add a verdict to the reader's board."""
    entry = {"name": name, "passes": "both" if backward else "forward", **asdict(verdict), **provenance("race")}
    with whole_file(board_file()) as file:
        json.dump([*board(), entry], file, indent=1, ensure_ascii=False)


def from_file(path, name="delta_rule"):
    """The function `name` of a Python file; raises ValueError that says what is missing."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("raced", path)
    if spec is None:
        raise ValueError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    f = getattr(module, name, None)
    if not callable(f):
        known = [n for n, x in vars(module).items() if inspect.isfunction(x) and x.__module__ == "raced"]
        raise ValueError(f"{path} defines no function {name}, but {', '.join(known) or 'none'}; --name picks one.")
    return f
