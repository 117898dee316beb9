"""What the package's forward pass moves, tensor by tensor, for chunks and tiles of a reader's choice."""

import os
import subprocess
import sys
from collections import Counter

import torch

from ...kernels import configs, interpreted

SAID = {"beta": "β", "betas": "β", "UT_low": "UT_low"}


def package_bytes(q, k, v, beta, C, V_TILE):
    """{tensor: bytes loaded and stored} in the interpreter, in float32, without the memory that leaves."""
    from ...bench.trace import Trace
    from ...bench.verify import picking
    from ...kernels import delta_rule_chunkwise                          # here: without Triton there is none

    plan = configs.FLOAT32[configs.width_of(q.shape[3], v.shape[3])]
    chosen = plan._replace(C=C, forward=plan.forward._replace(v_tile=V_TILE))
    with picking(chosen), torch.no_grad(), Trace() as seen:
        delta_rule_chunkwise(q, k, v, beta, chunk_size=C, segments=1)
    return by_tensor(seen)


def by_tensor(seen):
    """{tensor: bytes loaded and stored} of all launches of a Trace, by the names of the kernels' arguments."""
    moved = Counter()
    for launch in seen.launches:
        for name, tensor in launch.tensors.items():
            name = name.removesuffix("_ptr")
            moved[SAID.get(name, name)] += tensor.loaded + tensor.stored
    return {name: n for name, n in moved.items() if n and name != "final"}


def counted(T, H, K, V, C, V_TILE):
    """Bytes of `package_bytes` per token and head; with a GPU, where kernels are compiled, in a process of its own."""
    if interpreted():
        g = torch.Generator().manual_seed(0)
        tokens = [torch.randn(1, T, H, D, generator=g) for D in (K, K, V)]
        return sum(package_bytes(*tokens, torch.rand(1, T, H, generator=g), C, V_TILE).values()) / (T * H)
    code = f"from {__name__} import counted; print(counted{(T, H, K, V, C, V_TILE)})"
    said = subprocess.run([sys.executable, "-c", code], env={**os.environ, "TRITON_INTERPRET": "1"},
                          capture_output=True, text=True, check=True)
    return float(said.stdout)
