"""Datasets, registered in BasicSR's `DATASET_REGISTRY`, and how they read images."""
