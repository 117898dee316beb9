"""Chapter 6: the UT transform."""
