"""Using trained networks: upscaling, generating LR images, sampling."""
