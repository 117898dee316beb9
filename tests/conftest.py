"""Shared by the package's tests: one thread (tiny tensors run slower on two), fixed seeds, reproducible examples."""

import os

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():                                       # before anything imports Triton, as the flop counter does
    os.environ["TRITON_INTERPRET"] = "1"
torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
