"""Metrics, registered in BasicSR's `METRIC_REGISTRY`."""

import basicsr  # noqa: F401  # registers all modules before one of them is half imported, see docs/architecture.md
