"""Shared by the package's tests: one thread (tiny tensors run slower on two), fixed seeds, reproducible examples."""

import os

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():                                        # before flops.py, say, imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a CUDA device")


def pytest_collection_modifyitems(items):
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            # Such tests look at what the compiler makes of the kernels, and that cannot be run here. The rules are
            # tested all the same, in the interpreter (kernels/test_delta_rule.py), and compiled (test_compile.py).
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device to run compiled kernels on"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def ran(monkeypatch):
    """As on a GPU: "auto" takes the kernels where they can run, here in the interpreter. The calls, (name, options)."""
    from deltanet_edu import functional, kernels

    calls = []
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    for name in ("delta_rule_chunkwise", "delta_rule_recurrent"):
        def noted(*args, rule=getattr(kernels, name), name=name, **options):
            calls.append((name, options))
            return rule(*args, **options)
        monkeypatch.setattr(kernels, name, noted)
    return calls
