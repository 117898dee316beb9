"""deltanet_edu: the package that the reader of the book has built by its end.

    from deltanet_edu import delta_rule
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .functional import delta_rule

__version__ = "0.1.0"
__all__ = ["delta_rule"]


def __getattr__(name):
    """Import `delta_rule`, and PyTorch with it, when it is first asked for: the command line answers without."""
    if name in __all__:
        from . import functional

        globals()[name] = getattr(functional, name)
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
