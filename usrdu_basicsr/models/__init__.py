"""Models of both stages, registered in BasicSR's `MODEL_REGISTRY`, and what they are made of."""

# First: BasicSR's import registers all modules of this package, which it could not do while one is half imported.
import basicsr  # noqa: F401
