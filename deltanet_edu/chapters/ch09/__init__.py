"""Chapter 9: the backward pass."""
