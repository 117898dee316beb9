"""The layers of a model. Every mixer maps x: (B, T, D) to y: (B, T, D) and carries a state of its own.

A mixer is one file here, which decorates its class with `@mixer("name")`: models then find it by its name.
"""

from importlib import import_module
from pkgutil import iter_modules

from .block import Block
from .convolution import ShortConvolution
from .fast_weights import FastWeights, State
from .mixer import MIXERS, Mixer, mixer
from .swiglu import SwiGLU

for file in iter_modules(__path__):
    import_module(f"{__name__}.{file.name}")
globals().update({cls.__name__: cls for cls in MIXERS.values()})

__all__ = ["MIXERS", "Block", "FastWeights", "Mixer", "ShortConvolution", "State", "SwiGLU", "mixer",
           *(cls.__name__ for cls in MIXERS.values())]
