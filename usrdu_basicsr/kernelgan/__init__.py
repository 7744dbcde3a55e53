"""KernelGAN (Bell-Kligler et al., NeurIPS 2019): the blur kernel of a photo from itself alone, for many at once."""
