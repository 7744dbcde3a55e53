"""KernelGAN (Bell-Kligler et al., NeurIPS 2019): estimates blur kernels, each from a single image, in batches."""
