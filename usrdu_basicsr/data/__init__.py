"""Datasets, registered in BasicSR's `DATASET_REGISTRY`, and their parts."""

# First: importing BasicSR registers all modules of this package, which fails while one of them is partly imported.
import basicsr  # noqa: F401
