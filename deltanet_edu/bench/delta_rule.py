"""The kernels on one GPU, side by side with the installed libraries, the recurrent kernels and softmax attention.

Fair means: one process, the same tensors, unit keys for all, candidates in turn within every round and another one
first in each, a rest before each measurement (right after softmax attention at full power an H200's clocks were lower,
and what came next took up to a quarter longer; a tenth of a second mended it), medians, gradients by
`torch.autograd.grad` (no accumulation), and the errors of all against float64 in the same file.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from .. import kernels
from ..ops import delta_rule_chunkwise
from . import timing

SHAPES = ((1, 8192, 96, 128), (2, 16384, 16, 128), (4, 2048, 16, 128), (4, 4096, 64, 128), (8, 4096, 32, 128),
          (8, 2048, 32, 256), (8, 1024, 8, 64), (1, 32768, 8, 128), (1, 65536, 8, 128), (1, 16384, 8, 256))
                                                                         # B, T, H, K = V
ACCURACY = ((2, 1000, 8, 64), (2, 1000, 16, 128), (2, 1000, 8, 256))     # heads as above: peers compile for each number
HOST = (1, 512, 4, 64)                                                   # so small that the host decides
REST = 0.2                                                               # seconds before each measurement: see above


def label(shape):
    return ",".join(map(str, shape))


def inputs(B, T, H, D, dtype=torch.bfloat16, repeated=False, beta_max=1.0, device="cuda"):
    """[q, k, v, beta] with unit queries and keys, and the gradient of the output."""
    g = torch.Generator(device).manual_seed(0)
    q, k, v, do = (torch.randn(B, T, H, D, generator=g, device=device) for _ in range(4))
    if repeated:
        k = k[:, torch.randint(max(1, T // 8), (T,), generator=g, device=device)]
    beta = beta_max * torch.rand(B, T, H, generator=g, device=device)
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    return [x.to(dtype).requires_grad_() for x in (q, k, v, beta)], do.to(dtype)


def softmax_attention(q, k, v, beta, scale):
    o = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)), is_causal=True, scale=scale)
    return o.transpose(1, 2), None


def fla():
    """flash-linear-attention."""
    from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule

    def chunk(q, k, v, beta, scale):
        return chunk_delta_rule(q, k, v, beta, scale=scale, output_final_state=True)

    def recurrent(q, k, v, beta, scale):
        return fused_recurrent_delta_rule(q, k, v, beta, scale=scale, output_final_state=True)
    return {"fla chunk": chunk, "fla recurrent": recurrent}


def flash_qla():
    """FlashQLA, fla's backend for the gated rule on Hopper. With gates of zero, log 1, it is the delta rule."""
    from flash_qla import chunk_gated_delta_rule

    gates = {}

    def chunk(q, k, v, beta, scale):
        if beta.shape not in gates:
            gates[beta.shape] = torch.zeros_like(beta, dtype=torch.float32)
        return chunk_gated_delta_rule(q, k, v, gates[beta.shape], beta, scale=scale, output_final_state=True)[:2]
    return {"FlashQLA": chunk}


PEERS = {"fla-core": fla, "flash-qla": flash_qla}                        # by what to install
WIDTHS = {"FlashQLA": (128,)}                                            # the only head widths that a candidate has


def candidates(recurrent=True, softmax=True):
    """{name: f(q, k, v, beta, scale) -> (o, final state)}, and {package: why it is not here}."""
    found = {"chunkwise": lambda q, k, v, beta, scale: kernels.delta_rule_chunkwise(q, k, v, beta, scale=scale),
             "recurrent": lambda q, k, v, beta, scale: kernels.delta_rule_recurrent(q, k, v, beta, scale=scale)}
    missing = {}
    for package, peer in PEERS.items():
        try:
            found |= peer()
        except Exception as error:                                       # not installed, or not for this machine
            missing[package] = f"{type(error).__name__}: {error}"
    if softmax:
        found["softmax attention"] = softmax_attention
    return {name: f for name, f in found.items() if recurrent or "recurrent" not in name}, missing


def able(found, shape):
    """Those candidates that have kernels for this head width."""
    return {name: f for name, f in found.items() if shape[3] in WIDTHS.get(name, (shape[3],))}


def both_passes(f, args, do, scale):
    o, _ = f(*args, scale)
    return torch.autograd.grad(o, args, do, allow_unused=True)


def runs(f, args, do, scale):
    """What is measured of a candidate: {"forward": run, "both": run}."""
    def forward():
        with torch.no_grad():
            return f(*args, scale)
    return {"forward": forward, "both": lambda: both_passes(f, args, do, scale)}


def first_call(f, shape):
    """Seconds until the first result, forward and backward: compilation, and for some a search of configurations."""
    args, do = inputs(*shape)
    torch.cuda.synchronize()
    start = time.perf_counter()
    both_passes(f, args, do, shape[-1] ** -0.5)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def graphs_of(found, args, do, scale):
    """The measured runs as CUDA graphs, {name: {"graph forward": replay, ...}}; what cannot be captured is left out."""
    captured = {}
    for name, f in found.items():
        if "recurrent" not in name:                                      # milliseconds each: no host to speak of
            for key, run in runs(f, args, do, scale).items():
                try:
                    captured.setdefault(name, {})[f"graph {key}"] = timing.graph(run).replay
                except Exception:                                     # whatever a candidate does that a capture forbids
                    torch.cuda.synchronize()
    return captured


def time_shape(shape, found, rounds=3, graphs=False):
    """Per candidate: milliseconds forward and of both passes (and as CUDA graphs), megabytes held for backward and at
    the peak; or the "failure" of one that breaks. Those that have no kernels for the shape are left out."""
    scale, (args, do), found = shape[-1] ** -0.5, inputs(*shape), able(found, shape)
    rows = {name: {} for name in found}
    for name, f in list(found.items()):
        try:
            both_passes(f, args, do, scale)                              # compiles and tunes, before anything counts
        except Exception as error:
            rows[name]["failure"] = failure(error)
            del found[name]
            continue
        held, peak = timing.memory(lambda: f(*args, scale),
                                   lambda out: torch.autograd.grad(out[0], args, do, allow_unused=True))
        rows[name].update({"held MB": round(held / 1e6, 1), "peak MB": round(peak / 1e6, 1)})
    captured = graphs_of(found, args, do, scale) if graphs else {}
    times = {name: {} for name in found}
    for n in range(rounds):
        for name in in_turn(list(found), n):
            for key, run in (runs(found[name], args, do, scale) | captured.get(name, {})).items():
                measured = times[name].setdefault(key, [])
                if not measured or measured[-1] <= timing.SLOW:
                    time.sleep(REST)
                    measured.append(timing.milliseconds(run))
    return {name: {key: round(statistics.median(t), 4) for key, t in times.get(name, {}).items()} | row
            for name, row in rows.items()}


def in_turn(names, n):
    """The order of round n: each begins with the one after."""
    n %= max(1, len(names))
    return names[n:] + names[:n]


def failure(error):
    """What is kept of an exception: its kind and its first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


def host(shape, found):
    """Per candidate: microseconds that one call keeps the host, forward and both passes."""
    args, do = inputs(*shape)
    return {name: {key: round(timing.host_microseconds(run), 1)
                   for key, run in runs(f, args, do, shape[-1] ** -0.5).items()}
            for name, f in able(found, shape).items()}


def errors(shape, found, device="cuda", dtype=torch.bfloat16, **kind):
    """Per candidate: |difference| / |right| (Frobenius) of the output, the final state and every gradient,
    against float64."""
    scale, (args, do) = shape[-1] ** -0.5, inputs(*shape, device=device, dtype=dtype, **kind)

    def results(f, args, do):
        o, S = f(*args, scale)
        gradients = torch.autograd.grad((o, S.float()), args, (do, torch.ones_like(S).float() / 8))
        return dict(zip(("o", "S", "dq", "dk", "dv", "dbeta"), (o, S, *gradients)))
    exact = [x.detach().double().requires_grad_() for x in args]
    right = results(lambda q, k, v, beta, s: delta_rule_chunkwise(q, k, v, beta, scale=s), exact, do.double())
    table = {}
    for name, f in able(found, shape).items():
        if name == "softmax attention":
            continue
        try:
            got = results(f, args, do)
        except Exception as error:
            table[name] = {"failure": failure(error)}
            continue
        got["S"] = got["S"].mT if name.startswith(("fla", "FlashQLA")) else got["S"]                 # theirs are (K, V)
        table[name] = {key: float(f"{(got[key].double() - right[key]).norm() / right[key].norm():.2e}")
                       for key in right}
    return table
