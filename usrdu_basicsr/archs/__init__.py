"""Networks, registered in BasicSR's `ARCH_REGISTRY`."""

# Imported first: `import basicsr` registers all modules of this package and must not find one of them half imported.
import basicsr  # noqa: F401
