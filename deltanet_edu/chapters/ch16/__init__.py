"""Chapter 16: a language model."""
