"""What an exported network says about itself, the same in every format."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from usrdu_basicsr.inference.probe import probe, size_multiple
from usrdu_basicsr.options.reading import read_options_file
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import read_bytes
from usrdu_basicsr.version import __version__

logger = logging.getLogger(__name__)
NOT_STATED = 'not stated'
NOT_KNOWN = 'not known'


def describe(
    network: nn.Module, checkpoint: Path, licence: str = NOT_STATED, options: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The metadata of an export.

    Args:
        network: That of the checkpoint, on the CPU, ready for inference.
        checkpoint: Its file.
        licence: Of the weights.
        options: The parsed options file of its training; None for the one in the checkpoint's experiment folder.

    Returns:
        `{name: text}`: `architecture`, `scale`, `size_multiple` (of the input's height and width), `in_channels`,
        `color`, `license`, `training_options_sha256`, `weights_sha256` (of the checkpoint file), `producer`.

    Raises:
        InputError: The network makes no enlarged RGB image; the checkpoint or the options file cannot be read.
    """
    if options is None:
        options = experiment_options(checkpoint)
    return {
        'architecture': type(network).__name__,
        'scale': str(probe(network, network, torch.device('cpu'))[0]),
        'size_multiple': str(size_multiple(network)),
        'in_channels': '3',
        'color': 'RGB, 0 to 1',
        'license': licence,
        'training_options_sha256': NOT_KNOWN if options is None else options_sha256(options),
        'weights_sha256': hashlib.sha256(read_bytes(checkpoint)).hexdigest(),
        'producer': f'usrdu_basicsr {__version__}',
    }


def experiment_options(checkpoint: Path) -> Any:
    """The parsed options of `EXPERIMENT/models/NAME.pth`: its experiment's only `*.yml`, or None.

    Raises:
        InputError: The file cannot be read, or is not valid YAML.
    """
    models = checkpoint.resolve().parent
    found = sorted(models.parent.glob('*.yml')) if models.name == 'models' else []
    if len(found) > 1:
        names = ', '.join(path.name for path in found)
        logger.warning("'%s' has several options files (%s): name that of the training with -opt", models.parent, names)
    if len(found) != 1:
        return None
    try:
        return read_options_file(str(found[0]))
    except InputError as error:
        raise InputError(f'options of the experiment, in place of which -opt can name others: {error}') from error


def options_sha256(options: Mapping[str, Any]) -> str:
    """SHA-256 of parsed options as JSON in UTF-8, keys sorted, without spaces.

    Of what was parsed, because BasicSR puts comments before the options file in its copy of it.
    """
    text = json.dumps(_plain(options), sort_keys=True, separators=(',', ':'), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """With keys that can be sorted, and values that JSON has: YAML has dates, and numbers as keys."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
