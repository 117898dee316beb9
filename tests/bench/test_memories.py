"""The table of associative recurrences: one row each, costs counted."""

from deltanet_edu.bench.memories import cost, table
from deltanet_edu.ops.associative import MEMORIES


def test_the_costs_are_those_of_the_formulas():
    K, V, M = 16, 32, 8
    found = {name: cost(name, K, V, M) for name in MEMORIES}
    assert found["linear attention"] == (K * V, 4 * K * V)               # write, add, read
    assert found["GLA"] == found["RetNet"] == (K * V, 5 * K * V)
    assert found["DeltaNet"][0] == K * V and 6 * K * V <= found["DeltaNet"][1] <= 6 * K * V + 3 * V
    assert found["+ normalization"][0] == K * V + K and found["ABC"][0] == M * (K + V)


def test_every_step_is_linear_in_the_size_of_its_memory():
    for name in MEMORIES:
        (_, small), (_, large) = cost(name, 16, 16, 16), cost(name, 64, 64, 64)
        assert 14 <= large / small <= 16, name


def test_the_table_has_a_line_a_memory():
    lines = table(8, 8, 8).splitlines()
    assert len(lines) == 2 + len(MEMORIES) and all(line.count(" | ") == 5 for line in lines[2:])
    (delta,) = [line for line in lines if "product of matrices" in line]
    assert delta.startswith("| DeltaNet (2102.11174) |")
