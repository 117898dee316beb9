"""Time the backward pass that chapter 12 leads to beside the package's, on a GPU.

    python -m deltanet_edu.chapters.ch12.timing results/chapter12_h100.json
"""

import sys

import torch

from ...bench.judge import poisoned, reference
from ...bench.timing import milliseconds
from ...kernels import delta_rule_chunkwise
from ...records import write_result
from ..ch11.timing import SHAPE, drawn
from .whole import DeltaRule

NAMES = ("dq", "dk", "dv", "dbeta")


def taught(q, k, v, beta):
    S = torch.zeros(q.shape[0], q.shape[2], v.shape[3], k.shape[3], device=q.device)
    return DeltaRule.apply(q, k, v, beta, S, 1.0, 64)[0]


FORMS = {"the package": lambda *tokens: delta_rule_chunkwise(*tokens)[0],
         "exercise 12.7, as the solution writes it": taught}


def backward(f, tokens, do):
    """A function that runs the backward pass of f alone, again and again, and returns its gradients."""
    leaves = [x.detach().requires_grad_() for x in tokens]
    o = f(*leaves)
    return lambda: torch.autograd.grad(o, leaves, do, retain_graph=True)


def errors(f):
    """{gradient: relative error} of f against the recurrence in float64."""
    tokens = drawn(1, 1000, 2, SHAPE[3])
    do = torch.randn_like(tokens[2])
    exact = [x.double() for x in tokens]
    S = torch.zeros(1, 2, SHAPE[3], SHAPE[3], device="cuda").double()
    expected = backward(lambda *x: reference(*x, S)[0], exact, do.double())()
    with poisoned():                                                     # what it does not write is not a number
        got = backward(f, tokens, do)()
    return {name: ((g.double() - e).norm() / e.norm()).item() for name, g, e in zip(NAMES, got, expected)}


def main():
    torch.manual_seed(0)
    tokens = drawn(*SHAPE)
    do = torch.randn_like(tokens[2])
    times = {name: milliseconds(backward(f, tokens, do)) for name, f in FORMS.items()}
    measured = {"shape": ", ".join(map(str, SHAPE)), "dtype": "bfloat16", "milliseconds": times,
                "errors": {name: errors(f) for name, f in FORMS.items()}}
    for name, ms in times.items():
        print(f"{name:44} {ms:.3f} ms, largest error {max(measured['errors'][name].values()):.1e}")
    write_result(sys.argv[1], measured, "python -m deltanet_edu.chapters.ch12.timing results/chapter12_h100.json")


if __name__ == "__main__":
    main()
