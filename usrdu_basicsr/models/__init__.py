"""Models of both stages, registered in BasicSR's `MODEL_REGISTRY`, and their components."""

# Imported first: `import basicsr` registers all modules of this package and must not find one of them half imported.
import basicsr  # noqa: F401
