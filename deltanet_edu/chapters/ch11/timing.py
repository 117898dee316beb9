"""Time the forward pass that chapter 11 leads to beside the package's, on a GPU.

    python -m deltanet_edu.chapters.ch11.timing results/chapter11_h100.json
"""

import sys

import torch
from torch.nn.functional import normalize

from ...bench.judge import poisoned, reference
from ...bench.timing import milliseconds
from ...kernels import delta_rule_chunkwise
from ...records import write_result
from .forward import delta_rule
from .other_ways import in_one_launch

SHAPE = (4, 4096, 64, 128)                                               # B, T, H, K = V
FORMS = {"the package": lambda *tokens: delta_rule_chunkwise(*tokens)[0],
         "exercise 11.8, as the solution writes it": delta_rule,
         "one launch, the inverse inside": in_one_launch}


def drawn(B, T, H, D):
    """q, k, v in bfloat16 with keys of length 1, beta in float32, on the GPU."""
    q, k, v = (normalize(torch.randn(B, T, H, D, device="cuda"), dim=-1).bfloat16() for _ in range(3))
    return q, k, v, torch.rand(B, T, H, device="cuda")


def error(f):
    """Of f against the recurrence in float64, relative."""
    tokens = drawn(1, 1000, 2, SHAPE[3])
    right, _ = reference(*(x.double() for x in tokens), torch.zeros(1, 2, SHAPE[3], SHAPE[3]).double().cuda())
    with poisoned():                                                     # what it does not write is not a number
        o = f(*tokens)
    return ((o.double() - right).norm() / right.norm()).item()


def main():
    torch.manual_seed(0)
    tokens = drawn(*SHAPE)
    times = {name: milliseconds(lambda: f(*tokens)) for name, f in FORMS.items()}
    measured = {"shape": ", ".join(map(str, SHAPE)), "dtype": "bfloat16", "milliseconds": times,
                "errors": {name: error(f) for name, f in FORMS.items()}}
    for name, ms in times.items():
        print(f"{name:44} {ms:.3f} ms, error {measured['errors'][name]:.1e}")
    write_result(sys.argv[1], measured, "python -m deltanet_edu.chapters.ch11.timing results/chapter11_h100.json")


if __name__ == "__main__":
    main()
