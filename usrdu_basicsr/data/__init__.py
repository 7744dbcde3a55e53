"""Datasets, registered in BasicSR's `DATASET_REGISTRY`, and their parts."""

import basicsr  # noqa: F401  # registers all modules before one of them is half imported, see docs/architecture.md
