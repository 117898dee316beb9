"""Without a GPU the kernels run in Triton's interpreter, which has to be chosen before they are imported."""

import importlib.util
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
names = ("compile", "convolution", "delta_rule", "gpu", "interface", "memory", "operator", "rms_norm", "selective_scan",
         "swiglu")
collect_ignore = [] if importlib.util.find_spec("triton") else [f"test_{name}.py" for name in names]
