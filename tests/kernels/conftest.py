"""Without a GPU the kernels run in Triton's interpreter, which has to be chosen before they are imported."""

import importlib.util
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
collect_ignore = [] if importlib.util.find_spec("triton") else ["test_delta_rule.py", "test_memory.py", "test_operator.py", "test_compile.py", "test_gpu.py"]


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a CUDA device")


def pytest_collection_modifyitems(items):
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
