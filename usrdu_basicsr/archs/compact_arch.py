"""SRVGGNetCompact that starts as nearest upscaling and learns within the first iterations."""

from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
class IdentitySRVGGNetCompact(SRVGGNetCompact):
    """BasicSR's SRVGGNetCompact with an initialisation for short trainings.

    PyTorch's initialisation shrinks the signal in each convolution, so that a network of 16 convolutions hardly leaves
    nearest upscaling. Here, the inner convolutions start as identities (https://arxiv.org/abs/1706.00388), and the last
    one as zero: the output starts as nearest upscaling, and from the second iteration on, the gradient reaches every
    layer. The weights have the names and shapes of SRVGGNetCompact.

    The input is RGB (b, 3, h, w) in [0, 1], and the output (b, 3, upscale * h, upscale * w).

    Args:
        num_feat: Channels of the intermediate features.
        num_conv: Convolutions between the first and the last one.
        upscale: Upscaling factor.
    """

    def __init__(self, num_feat: int = 64, num_conv: int = 16, upscale: int = 4) -> None:
        super().__init__(num_feat=num_feat, num_conv=num_conv, upscale=upscale)
        _, *inner, last = (layer for layer in self.body if isinstance(layer, nn.Conv2d))
        for conv in (*inner, last):
            for parameter in conv.parameters():
                nn.init.zeros_(parameter)
        for conv in inner:
            nn.init.dirac_(conv.weight)
