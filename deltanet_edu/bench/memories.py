"""The paper's table of associative recurrences (section 4.2), with what each row costs, counted as it runs."""

import torch

from ..ops.associative import MEMORIES, draw
from .flops import flops

# What a parallel scan pays to make one map of two, at least if nothing more is known of M_t.
JOIN = {"entries": "entry by entry, O(KV)", "matrices": "product of matrices, O(K³ + K²V)"}


def cost(name, K=64, V=64, M=64):
    """(numbers kept, FLOPs a token) of a row: the second step is counted, since the first may prepare something."""
    memory, sizes = MEMORIES[name], dict(K=K, V=V, M=M)

    def steps(T):
        inputs = draw(name, B=1, T=T, **sizes)
        return sum(flops(lambda: memory.recurrent(**inputs)).values())
    with torch.no_grad():
        one, two = steps(1), steps(2)
    kept = sum(torch.Size(sizes[letter] for letter in shape).numel() for shape in memory.state)
    return kept, two - one


def table(K=64, V=64, M=64):
    """The table as Markdown: print it, or show it with IPython.display.Markdown."""
    lines = ["| memory | $S_t =$ | $o_t =$ | numbers kept | FLOPs a token | joining two tokens |",
             "|---|---|---|---:|---:|---|"]
    for name, memory in MEMORIES.items():
        kept, step = cost(name, K, V, M)
        lines.append(f"| {name} ({memory.source}) | ${memory.update}$ | ${memory.read}$ | {kept:,} | {step:,} | "
                     f"{JOIN[memory.product]} |")
    return "\n".join(lines)
