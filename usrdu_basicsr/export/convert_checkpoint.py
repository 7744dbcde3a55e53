"""Conversion of published checkpoints to checkpoints of this package."""

from collections.abc import Callable
from pathlib import Path

import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from torch import nn

from usrdu_basicsr.inference.load_network import load_dsn, load_generator, scale_of
from usrdu_basicsr.utils.checkpoint import check_weights, read_checkpoint, read_weights, write_checkpoint
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.key_mapping import extract_networks


def convert_checkpoint(source: str | Path, output: str | Path, overwrite: bool = False) -> dict[Path, str]:
    """Write each network of a file as `output/NAME_ROLE.pth` in BasicSR's format, `{'params': weights}`.

    Roles are `srn` (the SR network), `dsn` and `discriminator`. All networks are built and checked before any file is
    written.

    Args:
        source: Published DSN or SR file, ESRGAN file such as `RRDB_PSNR_x4.pth`, or file of Real-ESRGAN or BasicSR.
        output: Output folder, created if missing.
        overwrite: Replace existing files.

    Returns:
        Written files, each with a description of its network.

    Raises:
        InputNotFoundError: If the source does not exist.
        InputError: If the source is corrupt or of another type, parameters are missing, unexpected or misshapen, or an
            output file exists.
        WriteError: If a file cannot be written.
    """
    source, output = Path(source), output_folder(output)
    loaders: dict[str, Callable[[Path, torch.device], nn.Module]] = {
        'srn': load_generator,
        'dsn': load_dsn,
        'discriminator': _load_discriminator,
    }
    roles = list(extract_networks(read_checkpoint(source))) or ['srn']
    networks = {output / f'{source.stem}_{role}.pth': loaders[role](source, torch.device('cpu')) for role in roles}
    if not overwrite and (existing := [path for path in networks if path.exists()]):
        raise InputError(f"output '{existing[0]}' already exists. Choose another folder, or pass --overwrite")
    for path, network in networks.items():
        write_checkpoint(path, {'params': dict(network.state_dict())})
    return {path: _describe(network) for path, network in networks.items()}


def _describe(network: nn.Module) -> str:
    scale = scale_of(network)
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return f'{type(network).__name__}{f", scale {scale}" if scale else ""}, {millions:.2f} million weights'


def _load_discriminator(path: Path, device: torch.device) -> nn.Module:
    weights = read_weights(path, 'params', ['conv1.weight_orig'])
    first = weights.get('conv0.weight')
    if first is None or first.ndim != 4:
        raise InputError(f"discriminator of '{path}': missing conv0.weight, expected the U-Net of USR-DU")
    network = UNetDiscriminatorSN(first.shape[1], first.shape[0])
    check_weights(network, weights, path)
    network.load_state_dict(weights)
    return network.to(device)
