"""Pure tensor functions, one for each formula of the method. Nothing here imports BasicSR."""
