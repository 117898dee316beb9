"""What measures, and what renders the measurements."""
