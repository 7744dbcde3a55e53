"""What the scripts and launchers call: check a run, generate LR images, upscale, report."""
