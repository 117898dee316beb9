"""Chapter 3: running it."""
