"""deltanet_edu: the package that the reader of the book has built by its end.

    from deltanet_edu import delta_rule, warmup
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .functional import delta_rule, warmup

__version__ = "0.1.0"
__all__ = ["delta_rule", "warmup"]


def __getattr__(name):
    """Import these, and PyTorch with them, when they are first asked for: the command line answers without."""
    if name in __all__:
        from . import functional

        globals()[name] = getattr(functional, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
