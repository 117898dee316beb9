"""The plots the lessons share: one style, one palette, one way to draw a memory."""

from .memory import memories, memory
from .style import colors, style

__all__ = ["colors", "memories", "memory", "style"]
