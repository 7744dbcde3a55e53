"""Datasets, registered in BasicSR's `DATASET_REGISTRY`, and how they read images."""

from usrdu_basicsr import register

# First of all: the modules here import BasicSR, which may need mending, and whose import may ask for all of them.
register()
