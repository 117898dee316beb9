"""Chapter 4: Householder matrices."""
