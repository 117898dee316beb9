"""Shared by the package's tests: one thread (tiny tensors run slower on two), fixed seeds, reproducible examples."""

import contextlib
import os

import pytest
import torch
from hypothesis import settings

if not torch.cuda.is_available():                                        # before flops.py, say, imports Triton
    os.environ["TRITON_INTERPRET"] = "1"
torch.set_num_threads(1)
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("default")


_quick = contextlib.ExitStack()                                          # for as long as tests run

# Why they are skipped: there is no device to run what the compiler makes of the kernels, or a CUDA graph. What they
# compute is tested on every machine all the same: in the interpreter (kernels/test_delta_rule.py, bench/test_race.py),
# compiled without being run (kernels/test_compile.py), and step by step without a graph (tasks/test_training.py).
WITHOUT_GPU = pytest.mark.skipif(                                        # where there is one, nothing is skipped
    not torch.cuda.is_available(), reason="needs a CUDA device: without one, compiled kernels and graphs cannot be run")


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a CUDA device")
    with contextlib.suppress(ImportError):                               # no Triton
        import triton  # noqa: F401  # once the interpreter has been chosen, above

        from deltanet_edu.kernels.interpreter import quicker
        _quick.enter_context(quicker())


def pytest_collection_modifyitems(items):
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(WITHOUT_GPU)


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
