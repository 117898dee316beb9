"""The judge of `deltanet-edu bench verify` judges here, too."""

from deltanet_edu.bench.judge import DEVICE, compare, everything, inputs, reference

__all__ = ["DEVICE", "compare", "everything", "inputs", "reference"]
