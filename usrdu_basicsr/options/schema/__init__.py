"""The schema of options files: every option of both stages, once, with type, default, range and description."""
