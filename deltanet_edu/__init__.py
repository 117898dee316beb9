"""deltanet_edu: the package that the reader of the book has built by its end.

    from deltanet_edu import delta_rule
"""

from .functional import delta_rule

__version__ = "0.1.0"
__all__ = ["delta_rule"]
