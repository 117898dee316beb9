"""Figures that compute something show what the package computes."""

import io

import numpy as np
import torch
from PIL import Image

from deltanet_edu.figures.film import film, scenes
from deltanet_edu.ops import delta_rule_recurrent, linear_attention_recurrent


def test_the_film_shows_the_memories_of_the_package():
    g = torch.Generator().manual_seed(0)
    k = torch.nn.functional.normalize(torch.randn(5, 3, generator=g, dtype=torch.float64), dim=-1)
    v = torch.randn(5, 2, generator=g, dtype=torch.float64)
    shots = list(scenes(k.numpy(), v.numpy()))
    assert [(t, step) for t, step, _ in shots] == [(t, step) for t in range(5) for step in ("read", "erase", "write")]
    for t, step, (delta, additive) in shots:
        if step == "erase":
            assert np.allclose(delta @ k[t].numpy(), 0)                  # nothing is left to read
        if step == "write":
            told = [x[None, :t + 1, None] for x in (k, k, v)]
            assert np.allclose(delta, delta_rule_recurrent(*told, torch.ones(1, t + 1, 1, dtype=k.dtype))[1][0, 0])
            assert np.allclose(additive, linear_attention_recurrent(*told)[1][0, 0])


def test_the_film_moves_loops_and_is_the_same_each_time():
    k, v = torch.eye(2), torch.tensor([[3.0], [5.0]])
    first, second = (film(k, v, ["one", "two"]).data for _ in range(2))
    assert first == second and len(first) < 100_000
    picture = Image.open(io.BytesIO(first))
    assert picture.format == "PNG" and picture.n_frames == 6 and picture.info["loop"] == 0
