"""What the docstrings say about saved tensors is what autograd keeps."""

import pytest

from deltanet_edu.bench.roofline import kept
from deltanet_edu.ops import delta_rule_chunkwise_by_hand, delta_rule_recurrent

from ..ops.inputs import make


def inputs(T, K, V):
    return [x.float().requires_grad_() for x in make(B=1, T=T, H=1, K=K, V=V)]


@pytest.mark.parametrize(("K", "V", "C"), [(6, 10, 8), (8, 8, 16)])
def test_by_hand_saves_what_its_docstring_says(K, V, C):
    T, N = 64, 64 // C
    *qkvb, S = inputs(T, K, V)
    assert kept(delta_rule_chunkwise_by_hand, *qkvb, initial_state=S,
                chunk_size=C) == 4 * (T * (2 * K + 2 * V + 2 * C + 1) + (N + 1) * K * V)
    assert kept(delta_rule_chunkwise_by_hand, *qkvb, initial_state=S, chunk_size=C,
                recompute=True) == 4 * (T * (2 * K + V + 1) + K * V)


def test_the_loop_saves_a_state_per_token():
    *qkvb, S = inputs(64, 16, 16)
    assert kept(delta_rule_recurrent, *qkvb, initial_state=S) > 4 * 64 * 16 * 16
