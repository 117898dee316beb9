"""The layers of a model. Every mixer maps x: (B, T, D) to y: (B, T, D) and carries a state of constant size."""

from .block import Block
from .convolution import ShortConvolution
from .deltanet import DeltaNet
from .linear_attention import LinearAttention
from .mixer import Mixer, State
from .swiglu import SwiGLU

__all__ = ["Block", "DeltaNet", "LinearAttention", "Mixer", "ShortConvolution", "State", "SwiGLU"]
