"""Inference with trained networks: upscaling images, generating and sampling LR images."""
