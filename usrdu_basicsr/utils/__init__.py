"""Helpers without knowledge of the method: errors, files, checkpoints, precision, devices, processes."""
