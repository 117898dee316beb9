"""The kernels on one GPU, side by side with flash-linear-attention (if installed), our recurrent kernel and softmax attention.

Fair means: one process, the same tensors, unit keys for all, candidates in turn within every round, medians, gradients by
`torch.autograd.grad` (no accumulation), and the errors of all against float64 in the same table.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from .. import kernels
from ..ops import delta_rule_chunkwise

SHAPES = ((1, 8192, 96, 128), (2, 16384, 16, 128), (4, 2048, 16, 128), (4, 4096, 64, 128), (8, 2048, 32, 256), (8, 1024, 8, 64),
          (1, 32768, 8, 128), (1, 65536, 8, 128), (1, 16384, 8, 256))     # B, T, H, K = V
ACCURACY = ((2, 1000, 4, 64), (2, 1000, 4, 128), (2, 1000, 4, 256))


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


def candidates(recurrent=True, softmax=True):
    """{name: f(q, k, v, beta, scale) -> (o, final state)}. What is not installed is left out."""
    found = {"chunkwise": lambda q, k, v, beta, scale: kernels.delta_rule_chunkwise(q, k, v, beta, scale=scale)}
    if recurrent:
        found["recurrent"] = lambda q, k, v, beta, scale: kernels.delta_rule_recurrent(q, k, v, beta, scale=scale)
    try:
        from fla.ops.delta_rule import chunk_delta_rule
        found["fla chunk"] = lambda q, k, v, beta, scale: chunk_delta_rule(q, k, v, beta, scale=scale, output_final_state=True)
    except ImportError:
        pass
    if softmax:
        found["softmax attention"] = softmax_attention
    return found


def both_passes(f, args, do, scale):
    o, _ = f(*args, scale)
    return torch.autograd.grad(o, args, do, allow_unused=True)


def first_call(f, args, do, scale):
    """Seconds until the first result, forward and backward: compilation, and for some a search of configurations."""
    start = time.perf_counter()
    both_passes(f, args, do, scale)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def milliseconds(run, budget=60):
    """The median over about `budget` ms of repetitions, the L2 cache emptied before each."""
    import triton

    return triton.testing.do_bench(run, warmup=10, rep=budget, return_mode="median")


def time_shape(shape, found, rounds=3):
    """Per candidate: milliseconds forward and forward + backward, bytes held for backward, peak bytes, seconds of the first call."""
    B, T, H, D = shape
    scale, (args, do) = D ** -0.5, inputs(*shape)
    rows = {name: {"first call s": round(first_call(f, args, do, scale), 2), "forward": [], "both": []} for name, f in found.items()}
    for _ in range(rounds):
        for name, f in found.items():
            with torch.no_grad():
                rows[name]["forward"].append(milliseconds(lambda: f(*args, scale)))
            rows[name]["both"].append(milliseconds(lambda: both_passes(f, args, do, scale)))
    for name, f in found.items():
        row = rows[name]
        row["forward"], row["both"] = (round(statistics.median(row[key]), 4) for key in ("forward", "both"))
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        o, S = f(*args, scale)
        held = torch.cuda.memory_allocated() - before - sum(x.numel() * x.element_size() for x in (o, S) if x is not None)
        torch.autograd.grad(o, args, do, allow_unused=True)
        row["held MB"], row["peak MB"] = round(held / 1e6, 1), round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)
        del o, S
    return rows


def errors(shape, found, **kind):
    """Per candidate: |difference| / |right| (Frobenius) of the output, the final state and every gradient, against float64."""
    scale, (args, do) = shape[-1] ** -0.5, inputs(*shape, **kind)

    def results(f, args, do):
        o, S = f(*args, scale)
        return dict(zip(("o", "S", "dq", "dk", "dv", "dbeta"), (o, S, *torch.autograd.grad((o, S.float()), args, (do, torch.ones_like(S).float() / 8)))))
    exact = [x.detach().double().requires_grad_() for x in args]
    right = results(lambda q, k, v, beta, s: delta_rule_chunkwise(q, k, v, beta, scale=s), exact, do.double())
    table = {}
    for name, f in found.items():
        if name == "softmax attention":
            continue
        got = results(f, args, do)
        got["S"] = got["S"].mT if name.startswith("fla") else got["S"]
        table[name] = {key: float(f"{(got[key].double() - right[key]).norm() / right[key].norm():.2e}") for key in right}
    return table
