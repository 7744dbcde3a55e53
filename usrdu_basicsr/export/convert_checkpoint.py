"""Write the networks of a checkpoint from elsewhere as checkpoints of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from torch import Tensor, nn

from usrdu_basicsr.inference.load_network import load_dsn, load_generator, scale_of
from usrdu_basicsr.utils.checkpoint import check_weights, read_checkpoint, read_weights, write_checkpoint
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.key_mapping import networks_of

CPU = torch.device('cpu')


def convert_checkpoint(source: str | Path, output: str | Path, overwrite: bool = False) -> dict[Path, str]:
    """Write each network of a file as `output/NAME_ROLE.pth`, in BasicSR's format: `{'params': weights}`.

    Roles are `srn` (the SR network), `dsn` and `discriminator`. Each network is built and compared first, so that
    nothing is written of a file that does not fit.

    Args:
        source: A published DSN or SR file, `RRDB_PSNR_x4.pth` and its like, a file of Real-ESRGAN's or of BasicSR's.
        output: Folder, made if missing.
        overwrite: Replace files that are there.

    Returns:
        The files written, and what each holds, to be read.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is damaged or of another kind; parameters are missing, unexpected or misshapen; a file is there.
        WriteError: A file cannot be written.
    """
    source, output = Path(source), output_folder(output)
    builders: dict[str, Callable[[Path], nn.Module]] = {
        'srn': lambda path: load_generator(path, CPU),
        'dsn': lambda path: load_dsn(path, CPU),
        'discriminator': _load_discriminator,
    }
    roles = list(networks_of(read_checkpoint(source))) or ['srn']
    networks = {output / f'{source.stem}_{role}.pth': builders[role](source) for role in roles}
    if not overwrite and (there := [path for path in networks if path.exists()]):
        raise InputError(f"'{there[0]}' is there already: name another folder, or pass --overwrite")
    for path, network in networks.items():
        write_checkpoint(path, {'params': {name: _own(value) for name, value in network.state_dict().items()}})
    return {path: _describe(network) for path, network in networks.items()}


def _own(weight: Tensor) -> Tensor:
    return weight.detach().contiguous()


def _describe(network: nn.Module) -> str:
    scale = scale_of(network)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return f'{type(network).__name__}{f", scale {scale}" if scale else ""}, {millions:.2f} million weights'


def _load_discriminator(path: Path) -> nn.Module:
    first = 'conv0.weight'
    weights = read_weights(path, 'params', ['conv1.weight_orig'])
    if first not in weights or weights[first].ndim != 4:
        raise InputError(f"the discriminator of '{path}' has no {first}: it is not a U-Net of USR-DU's")
    network = UNetDiscriminatorSN(weights[first].shape[1], weights[first].shape[0])
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network
