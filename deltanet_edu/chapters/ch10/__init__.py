"""Chapter 10: Triton from zero."""
