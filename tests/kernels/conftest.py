"""Without a GPU the kernels run in Triton's interpreter, which has to be chosen before they are imported."""

import importlib.util
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
collect_ignore = [] if importlib.util.find_spec("triton") else ["test_delta_rule.py", "test_memory.py", "test_operator.py", "test_compile.py", "test_gpu.py"]
