"""Losses, registered in BasicSR's `LOSS_REGISTRY`."""

# First: BasicSR's import registers all modules of this package, which it could not do while one is half imported.
import basicsr  # noqa: F401
