"""Options files: reading and validation before a run."""
