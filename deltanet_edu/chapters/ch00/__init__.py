"""Chapter 0: two warm-ups that show how checks talk."""
