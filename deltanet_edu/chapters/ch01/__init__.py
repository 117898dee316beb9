"""Chapter 1: linear attention as a memory of outer products."""
