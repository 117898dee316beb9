"""Chapter 8: chunkwise DeltaNet."""
