"""Training and testing of the two stages, registered in BasicSR's `MODEL_REGISTRY`."""
