"""Statistics of a camera, measured from unpaired images."""
