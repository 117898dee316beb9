"""The instruments measure what is known."""

import pytest
import torch

from deltanet_edu.bench.roofline import ceilings, kept, seconds, traffic
from deltanet_edu.ops import delta_rule_recurrent

from ..ops.inputs import make


@pytest.mark.parametrize(("f", "numbers"), [
    (lambda a, b: a @ b, 3 * 4 + 4 * 5 + 3 * 5),
    (lambda a, b: a + 1, 2 * 3 * 4),
    (lambda a, b: a.mT, 0),                                               # views move nothing
    (lambda a, b: a.reshape(4, 3).unsqueeze(0), 0),
    (lambda a, b: a[:, :1] * b[:1], 3 + 5 + 3 * 5),
    (lambda a, b: a[:1].expand(3, 4) + a, 4 + 2 * 3 * 4),                 # a broadcast row is read once
])
def test_traffic_of_known_operations(f, numbers):
    assert traffic(f, torch.randn(3, 4), torch.randn(4, 5)) == 4 * numbers


def test_traffic_grows_with_the_tokens():
    bytes_of = {T: traffic(delta_rule_recurrent, *make(B=1, T=T, H=1, K=16, V=16)[:4]) for T in (1, 2, 3)}
    assert bytes_of[3] - bytes_of[2] == bytes_of[2] - bytes_of[1] > 8 * 6 * 16 * 16


def test_kept_counts_memory_held_twice_once():
    x = torch.randn(10, dtype=torch.float64, requires_grad=True)
    assert kept(lambda: x * x) == 80
    assert kept(lambda: x + x) == 0
    assert kept(lambda: (x * x).exp()) == 160


def test_a_longer_call_takes_longer():
    short, long = torch.randn(8, 8), torch.randn(400, 400)
    assert 0 < seconds(lambda: short @ short, at_least=0.02) < seconds(lambda: long @ long, at_least=0.02)


def test_ceilings_are_plausible():
    cpu = ceilings(n=128, megabytes=4, at_least=0.02)
    assert 1e8 < cpu["flop/s"] < 1e13 and 1e8 < cpu["byte/s"] < 1e12      # any processor of this century
