"""Chapter 13: making it fast."""
