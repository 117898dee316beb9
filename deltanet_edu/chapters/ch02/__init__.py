"""Chapter 2: the delta rule."""
