"""The counter counts what is known, and what the docstrings of the ops say."""

import pytest
import torch

from deltanet_edu.bench.flops import flops
from deltanet_edu.ops import delta_rule_chunkwise, delta_rule_recurrent

from ..ops.inputs import make


def test_known_operations():
    a, b, L = torch.randn(3, 4), torch.randn(4, 5), torch.eye(4)
    assert flops(torch.matmul, a, b) == {"mm": 2 * 3 * 4 * 5}
    assert flops(lambda x: x * x + x - 1, a) == {"mul": 12, "add": 12, "sub": 12}
    assert flops(lambda x: x.clone().baddbmm_(x, x), torch.eye(3)[None]) == {"baddbmm_": 2 * 27}
    assert flops(torch.linalg.solve_triangular, L, b, upper=False) == {"linalg_solve_triangular": 4 * 4 * 5}


@pytest.mark.parametrize("C", [1, 4, 32])
@pytest.mark.parametrize(("K", "V"), [(8, 8), (6, 10)])
def test_chunkwise_costs_what_its_docstring_says(C, K, V):
    *inputs, _ = make(B=1, T=32, H=1, K=K, V=V)
    counted = flops(delta_rule_chunkwise, *inputs, chunk_size=C)
    assert counted["bmm"] + counted["linalg_solve_triangular"] == 32 * (6 * K * V + C * (6 * K + 4 * V) + C * C)


def test_recurrent_costs_what_its_docstring_says():
    *inputs, _ = make(B=1, T=32, H=1, K=32, V=32)
    assert sum(flops(delta_rule_recurrent, *inputs).values()) == pytest.approx(32 * 6 * 32 * 32, rel=0.03)
