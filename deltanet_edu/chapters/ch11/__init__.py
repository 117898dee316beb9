"""Chapter 11: the forward kernels."""
