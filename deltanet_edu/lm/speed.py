"""How fast a run is: tokens a second, and how much of the machine's products are the model's."""

from collections import deque
from statistics import median

import torch

from .model import parameters

# TFLOP/s of dense products in bfloat16, from NVIDIA's data sheets; the longer names first.
PEAKS = {"B200": 2250, "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362,
         "RTX 4090": 165}


class Speed:
    """Called with the seconds of each step. Returns {"tokens_per_second"}, of all processes together, from the median
    of the last steps, and where the peak of the device is known {"utilisation"}:

        utilisation = 6 n * tokens a second / peak,   n: parameters without those of the embedding.

    A weight of a matrix costs a token 2 FLOPs, and 4 more in the backward pass. What a mixer does with its memory is
    not counted, neither is what is computed twice; so models with different mixers compare.
    """

    def __init__(self, config, model, team, over=20):
        self.tokens, self.seconds = config.batch * config.length, deque(maxlen=over)
        self.flops = 6 * (parameters(model) - model.embed.weight.numel())            # a token
        self.peak = team.size * peak_of(team.place)

    def __call__(self, seconds):
        self.seconds.append(seconds)
        rate = self.tokens / median(self.seconds)
        said = {"tokens_per_second": round(rate)}
        return said | {"utilisation": round(rate * self.flops / self.peak, 4)} if self.peak else said


def peak_of(place):
    """FLOP/s of a Place, 0 where it is not known."""
    if place.device.type != "cuda" or place.dtype != torch.bfloat16:
        return 0.0
    name = torch.cuda.get_device_name(place.device)
    return next((1e12 * peak for known, peak in PEAKS.items() if known in name), 0.0)
