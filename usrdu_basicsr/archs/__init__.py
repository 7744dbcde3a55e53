"""Networks, registered in BasicSR's `ARCH_REGISTRY`."""

import basicsr  # noqa: F401  # registers all modules before one of them is half imported, see docs/architecture.md
