"""Chapter 14: the DeltaNet layer and its rivals."""
