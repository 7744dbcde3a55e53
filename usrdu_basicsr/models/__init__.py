"""Models of both stages, registered in BasicSR's `MODEL_REGISTRY`, and their components."""

import basicsr  # noqa: F401  # registers all modules before one of them is half imported, see docs/architecture.md
