"""deltanet_edu: the package that the reader of the book has built by its end."""

__version__ = "0.1.0"
