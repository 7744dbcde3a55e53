"""Pure tensor functions: each formula of the method stands here once. Nothing here imports BasicSR."""
