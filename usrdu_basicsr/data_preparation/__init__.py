"""Validating datasets, LMDBs and sub-images."""
