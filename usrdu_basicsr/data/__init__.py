"""Datasets, registered in BasicSR's `DATASET_REGISTRY`, and their parts."""

# Imported first: `import basicsr` registers all modules of this package and must not find one of them half imported.
import basicsr  # noqa: F401
