"""Shared by all tests: one thread (tiny tensors run slower on two), and a progress file of our own."""

import os
import tempfile

os.environ.setdefault("DELTANET_EDU_HOME", tempfile.mkdtemp(prefix="deltanet-edu-tests-"))

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
