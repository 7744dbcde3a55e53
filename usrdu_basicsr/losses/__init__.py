"""Losses, registered in BasicSR's `LOSS_REGISTRY`."""

import basicsr  # noqa: F401  # registers all modules before one of them is half imported, see docs/architecture.md
