"""Chapter 5: the WY representation."""
