"""The plots the lessons share: one style, one palette, one way to draw a memory and a curve."""

from .lines import lines
from .memory import memories, memory
from .style import colors, look, style, subplots

__all__ = ["colors", "lines", "look", "memories", "memory", "style", "subplots"]
