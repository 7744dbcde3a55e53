"""Helpers that do not depend on the method: errors, files, checkpoints, precision, devices, ranks."""
