"""Number formats for the computation of networks: float32, TF32, bfloat16 and float16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from usrdu_basicsr.utils.errors import InputError

PRECISIONS = {'fp32': torch.float32, 'tf32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

# Matrix units work on blocks of 16 or more channels. Smaller convolutions are not faster in a lower precision.
MIN_CHANNELS = 16


class Precision:
    """A number format on a device.

    Weights, their gradients and everything computed outside of `run` (losses, filters, optimizers) are float32.

    * `fp32`: float32 throughout.
    * `tf32`: like fp32, but matrix products round their inputs to 10 bits; Nvidia GPUs since Ampere.
    * `bf16`: convolutions in bfloat16: 8 bits, the range of float32; GPUs since Ampere, CPUs with AVX512 or AMX.
    * `fp16`: convolutions in float16: 11 bits, a small range, so training needs a loss scaler; GPUs.

    Args:
        name: One of `PRECISIONS`.
        device: Device of the networks.

    Raises:
        InputError: If the name is unknown or the device does not support the format.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in PRECISIONS:
            raise InputError(f'precision: got {name!r}, expected one of {", ".join(PRECISIONS)}')
        if reason := _unsupported_reason(name, device):
            raise InputError(f'precision: {name} is not supported: {reason}. Use fp32')
        self.name = name
        self.device_type = device.type
        self.dtype = PRECISIONS[name]
        self.lowered = self.dtype != torch.float32

    def run(self, network: Any, *inputs: Tensor | None, **settings: Any) -> Any:
        """Return `network(*inputs, **settings)`, computed in this format, with its output tensors in float32.

        Outputs may be tuples, lists or dictionaries. The backward pass computes in the same format, in TF32 only after
        `set_tf32`.
        """
        with self._tf32(), torch.autocast(self.device_type, self.dtype if self.lowered else None, enabled=self.lowered):
            return tree_map_only(Tensor, Tensor.float, network(*inputs, **settings))

    def prepare(self, network: nn.Module) -> None:
        """Replace the convolutions of `network` with few input or output channels by `FullPrecisionConv2d`.

        In bfloat16 an image would be rounded to steps of one gray level, as large as the noise to be learned. The other
        weights are converted once if the whole network is frozen. It can then run in this format only.
        """
        if not self.lowered:
            return
        frozen = not any(parameter.requires_grad for parameter in network.parameters())
        for parent in list(network.modules()):
            for name, module in list(parent._modules.items()):
                if type(module) is nn.Conv2d and min(module.in_channels, module.out_channels) < MIN_CHANNELS:
                    setattr(parent, name, FullPrecisionConv2d.from_conv(module))
                elif type(module) is nn.Conv2d and frozen:
                    module.to(self.dtype)

    def set_tf32(self) -> None:
        """Allow TF32 in CUDA's float32 matrix products and convolutions for `tf32` only; affects the whole process."""
        if self.device_type == 'cuda':
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.name == 'tf32'

    @contextmanager
    def _tf32(self) -> Iterator[None]:
        """`set_tf32` for this pass only: networks of several precisions may be used in one process."""
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        before = matmul.allow_tf32, cudnn.allow_tf32
        self.set_tf32()
        try:
            yield
        finally:
            matmul.allow_tf32, cudnn.allow_tf32 = before


class FullPrecisionConv2d(nn.Conv2d):
    """Convolution in float32 even under autocast. The output is in the lower format if it has more channels."""

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> 'FullPrecisionConv2d':
        """Create a module that shares the weights, buffers and hooks of `conv`."""
        module = cls.__new__(cls)
        module.__setstate__(conv.__dict__)
        return module

    def forward(self, x: Tensor) -> Tensor:
        device_type = x.device.type
        if not torch.is_autocast_enabled(device_type):
            return super().forward(x)
        with torch.autocast(device_type, enabled=False):
            y = super().forward(x.float())
        return y.to(torch.get_autocast_dtype(device_type)) if self.in_channels < self.out_channels else y


class AutocastModule(nn.Module):
    """Network in a given precision, inside a module that computes in float32, such as a loss."""

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, *inputs: Tensor) -> Any:
        """Return the outputs of the network in float32."""
        return self.precision.run(self.network, *inputs)


def _unsupported_reason(name: str, device: torch.device) -> str | None:
    """Reason why a device does not support a format; None if it does."""
    if name == 'fp32':
        return None
    if device.type == 'cuda':
        supported = name == 'fp16' or torch.cuda.get_device_capability(device) >= (8, 0)
        return None if supported else f'{torch.cuda.get_device_name(device)} is older than Ampere (fp16 is supported)'
    if device.type == 'cpu':
        if name != 'bf16':  # some CPUs support fp16, but it is many times slower than fp32
            return f'{name} needs an Nvidia GPU'
        supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return None if supported else 'this CPU has no bf16 instructions (AVX512 or AMX)'
    return f'untested on {device.type}'
