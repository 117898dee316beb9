"""How much faster than the token loop is the chunkwise form on this CPU?"""

import statistics
import time

import torch
import torch.nn.functional as F

from ..ops import delta_rule_chunkwise, delta_rule_chunkwise_by_hand, delta_rule_recurrent


def inputs(B, T, H, K, V, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    q, k = (F.normalize(torch.randn(B, T, H, K, generator=g, dtype=dtype), dim=-1) for _ in range(2))
    v, do = (torch.randn(B, T, H, V, generator=g, dtype=dtype) for _ in range(2))
    beta = torch.rand(B, T, H, generator=g, dtype=dtype)
    return [x.requires_grad_() for x in (q, k, v, beta)], do


def milliseconds(f, args, do, **options):
    """One forward and backward pass; gradients are returned by autograd.grad, not accumulated."""
    start = time.perf_counter()
    o, _ = f(*args, **options)
    torch.autograd.grad(o, args, do)
    return 1e3 * (time.perf_counter() - start)


def measure(T=2048, H=4, K=64, V=64, chunk_sizes=(8, 16, 32, 64, 128), rounds=7, progress=lambda rows: rows):
    """Medians over `rounds`, every candidate once per round, so that a drifting machine slows all of them alike.

    Returns {"shape": ..., "milliseconds": {name: median}, "speedup": {name: the token loop's median over this one's}}.
    """
    args, do = inputs(1, T, H, K, V)
    candidates = {"recurrent": (delta_rule_recurrent, {})}
    for C in chunk_sizes:
        candidates[f"chunkwise, autograd, C={C}"] = delta_rule_chunkwise, dict(chunk_size=C)
        candidates[f"chunkwise, by hand, C={C}"] = delta_rule_chunkwise_by_hand, dict(chunk_size=C)
    for f, options in candidates.values():                               # warm up
        milliseconds(f, args, do, **options)
    times = {name: [] for name in candidates}
    for _ in progress(range(rounds)):
        for name, (f, options) in candidates.items():
            times[name].append(milliseconds(f, args, do, **options))
    median = {name: round(statistics.median(t), 3) for name, t in times.items()}
    return {"shape": dict(B=1, T=T, H=H, K=K, V=V, dtype="float32", passes="forward + backward"), "rounds": rounds,
            "milliseconds": median, "speedup": {name: round(median["recurrent"] / t, 2) for name, t in median.items()}}
