"""The number formats that networks compute in: full, or lower ones that GPUs and recent CPUs are faster in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from usrdu_basicsr.utils.errors import InputError

PRECISIONS = {'fp32': torch.float32, 'tf32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

# Matrix units work on blocks of 16 channels or more: fewer gain nothing from a lower format.
FEW_CHANNELS = 16


class Precision:
    """One of the formats on one device.

    Weights, their gradients and whatever is computed outside of `autocast` (losses, filters, optimizers) are float32 in
    all of them.

    * `fp32`: float32 throughout.
    * `tf32`: as fp32, but products are rounded to 10 bits; Nvidia GPUs since Ampere.
    * `bf16`: convolutions in bfloat16: 8 bits, the range of float32; GPUs since Ampere, CPUs with AVX512, best AMX.
    * `fp16`: convolutions in float16: 11 bits, a small range that makes training need a loss scaler; GPUs.

    Args:
        name: Which.
        device: Where networks will run.

    Raises:
        InputError: There is no such format, or the device has no instructions for it.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in PRECISIONS:
            raise InputError(f'precision: got {name!r}, expected {", ".join(PRECISIONS)}')
        if reason := _reason_against(name, device):
            raise InputError(f'precision: {name} cannot be used, as {reason}: write fp32')
        self.name = name
        self.device_type = device.type
        self.dtype = PRECISIONS[name]
        self.lowered = self.dtype != torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it networks compute in this format. For the forward pass alone; their backward pass follows it."""
        return torch.autocast(self.device_type, self.dtype if self.lowered else None, enabled=self.lowered)

    def run(self, network: Any, *inputs: Tensor | None, **settings: Any) -> Any:
        """`network(*inputs, **settings)` in this format; its outputs, a tensor or several, come in float32."""
        with self.autocast():
            outputs = network(*inputs, **settings)
        return _to_float32(outputs)

    def prepare(self, network: nn.Module) -> None:
        """Keep the convolutions of `network` from or to few channels, such as those of images, in float32.

        In bfloat16 an image would be rounded to steps of a gray level, which is as much as the noise to be learned.
        The other weights of a network that is frozen as a whole are lowered once, so it can run in this format alone.
        """
        if not self.lowered:
            return
        frozen = not any(parameter.requires_grad for parameter in network.parameters())
        for module in network.modules():
            if type(module) is nn.Conv2d and min(module.in_channels, module.out_channels) < FEW_CHANNELS:
                module.__class__ = FullPrecisionConv2d
            elif type(module) is nn.Conv2d and frozen:
                module.to(self.dtype)

    def set_tf32(self) -> None:
        """Let CUDA round the products of float32 matrices and convolutions only if this is `tf32`; process-wide."""
        if self.device_type == 'cuda':
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.name == 'tf32'


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution that computes in float32 under autocast too; one that widens returns the lower format."""

    def forward(self, x: Tensor) -> Tensor:
        kind = x.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(x)
        with torch.autocast(kind, enabled=False):
            y = super().forward(x.float())
        return y.to(torch.get_autocast_dtype(kind)) if self.in_channels < self.out_channels else y


class AutocastModule(nn.Module):
    """A network within another module, such as a loss, which itself shall compute in float32.

    Args:
        network: Prepared by `precision.prepare`.
        precision: That the network computes in.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.network = network
        self.precision = precision

    def forward(self, *inputs: Tensor) -> Any:
        """The outputs of the network, in float32."""
        return self.precision.run(self.network, *inputs)


def _to_float32(outputs: Any) -> Any:
    """Tensors in float32; tuples, lists and dictionaries of such; all else as it is."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _to_float32(output) for name, output in outputs.items()}
    if isinstance(outputs, tuple | list):
        values = [_to_float32(output) for output in outputs]
        return type(outputs)(*values) if hasattr(outputs, '_fields') else type(outputs)(values)
    return outputs


def _reason_against(name: str, device: torch.device) -> str | None:
    """Why a device cannot compute in a format, or None if it can."""
    if name == 'fp32':
        return None
    if device.type == 'cuda':
        if name == 'fp16' or torch.cuda.get_device_capability(device) >= (8, 0):
            return None
        return f'{torch.cuda.get_device_name(device)} is older than Ampere (fp16 can be used)'
    if device.type == 'cpu':
        if name != 'bf16':  # fp16 would work on some, many times slower than fp32
            return f'{name} is for Nvidia GPUs'
        if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return None
        return 'this CPU has no instructions for it (AVX512 or AMX)'
    return f'{device.type} has not been tried with it'
