"""Metadata of an exported network, identical in all formats."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usrdu_basicsr.inference.load_network import probe, size_multiple
from usrdu_basicsr.options.reading import read_options_file
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import file_sha256
from usrdu_basicsr.version import __version__

logger = logging.getLogger(__name__)
NOT_STATED = 'not stated'
NOT_KNOWN = 'not known'


def describe(network: nn.Module, checkpoint: Path, licence: str, options: Mapping[str, Any] | None) -> dict[str, str]:
    """Metadata of an export.

    Args:
        network: Network of the checkpoint on the CPU, prepared for inference.
        checkpoint: Checkpoint file.
        licence: Licence of the weights.
        options: Parsed options of the training; None to read the options file in the checkpoint's experiment folder.

    Returns:
        `{name: text}` with `architecture`, `scale`, `size_multiple` (of the input height and width), `in_channels`,
        `color`, `license`, `training_options_sha256`, `weights_sha256` (of the checkpoint file) and `producer`.

    Raises:
        InputError: If the network does not upscale RGB images, or the checkpoint or options file cannot be read.
    """
    if options is None:
        options = _experiment_options(checkpoint)
    return {
        'architecture': type(network).__name__,
        'scale': str(probe(network, network, torch.device('cpu'))[0]),
        'size_multiple': str(size_multiple(network)),
        'in_channels': '3',
        'color': 'RGB, 0 to 1',
        'license': licence,
        'training_options_sha256': NOT_KNOWN if options is None else options_sha256(options),
        'weights_sha256': file_sha256(checkpoint),
        'producer': f'usrdu_basicsr {__version__}',
    }


def _experiment_options(checkpoint: Path) -> Any:
    """Parsed options of a checkpoint `EXPERIMENT/models/NAME.pth`: the only `EXPERIMENT/*.yml`, otherwise None."""
    models = checkpoint.resolve().parent
    paths = sorted(models.parent.glob('*.yml')) if models.name == 'models' else []
    if len(paths) > 1:
        names = ', '.join(path.name for path in paths)
        logger.warning("Options files ignored: '%s' has several (%s). Select one with -opt", models.parent, names)
    if len(paths) != 1:
        return None
    try:
        return read_options_file(str(paths[0])).options
    except InputError as error:
        raise InputError(f'options of the experiment: {error}. Select another file with -opt') from error


def options_sha256(options: Mapping[str, Any]) -> str:
    """SHA-256 of parsed options as JSON in UTF-8 with sorted keys and without spaces.

    The file itself is not hashed, because BasicSR prepends comments to its copy.
    """
    text = json.dumps(_to_json(options), sort_keys=True, separators=(',', ':'), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(value: Any) -> Any:
    """Convert YAML values to JSON values: all keys become strings, and so do dates."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
