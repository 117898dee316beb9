"""Chapter 7: chunks of linear attention, and why the delta rule is not scanned."""
