"""Chapter 12: the backward kernels."""
