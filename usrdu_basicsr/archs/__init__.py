"""Networks, registered in BasicSR's `ARCH_REGISTRY`."""
