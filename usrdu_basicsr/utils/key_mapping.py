"""Map parameter names of the published USR-DU implementation and of ESRGAN to those of this package and BasicSR."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]
Names = tuple[tuple[str, str], ...]

# Pairs of a regular expression for a published name and its replacement
DSN_NAMES: Names = (
    (r'^block_input\.', 'conv_first.'),
    (r'^res_blocks\.(\d+)\.prelu\.', r'body.\1.act.'),
    (r'^res_blocks\.', 'body.'),
    (r'^down_sample\.', 'down.'),
    (r'^block_output\.', 'conv_mean.'),
    (r'^var\.', 'log_scale_head.'),
    (r'^per_var\.', 'feature_head.'),
)
ESRGAN_NAMES: Names = (
    (r'^RRDB_trunk\.(\d+)\.RDB(\d)\.', r'body.\1.rdb\2.'),
    (r'^trunk_conv\.', 'conv_body.'),
    (r'^upconv(\d)\.', r'conv_up\1.'),
    (r'^HRconv\.', 'conv_hr.'),
)
SR_FILE_NAMES = {'srn': ((r'^RRDBNet_U\.', ''), *ESRGAN_NAMES), 'dsn': ((r'^RRDBNet_var\.', ''), *DSN_NAMES)}


def extract_networks(content: Mapping[str, Any]) -> dict[str, Weights]:
    """Extract the networks of a published or ESRGAN checkpoint and rename their parameters.

    * A published DSN file is `{'gen': ..., 'dis': ...}`, optionally with the training state.
    * A published SR file is `{'params': ...}` with `RRDBNet_U.*` and the weights of its DSN, `RRDBNet_var.*`.
    * `RRDB_PSNR_x4.pth` and similar files are a bare RRDBNet with the original ESRGAN names.

    Sources: the files of https://www.ijcai.org/proceedings/2022/0176 and https://github.com/xinntao/ESRGAN.

    Returns:
        State dicts by role (`dsn`, `discriminator`, `srn`); empty if the checkpoint has another format.
    """
    if not all(
        isinstance(name, str) for part in (content, *content.values()) if isinstance(part, Mapping) for name in part
    ):
        return {}
    if isinstance(content.get('gen'), Mapping):
        networks = {'dsn': _rename(content['gen'], DSN_NAMES)}
        if isinstance(content.get('dis'), Mapping):
            networks['discriminator'] = _rename(content['dis'])
        return networks
    weights = content.get('params', content)
    if not isinstance(weights, Mapping):
        return {}
    weights = _rename(weights)
    if any(name.startswith('RRDBNet_U.') for name in weights):
        networks = {'srn': {}, 'dsn': {}}
        for name, value in weights.items():  # unknown names go to `srn`, where `check_weights` reports them
            networks['dsn' if name.startswith('RRDBNet_var.') else 'srn'][name] = value
        return {role: _rename(network, SR_FILE_NAMES[role]) for role, network in networks.items() if network}
    if any(name.startswith('RRDB_trunk.') for name in weights):
        return {'srn': _rename(weights, ESRGAN_NAMES)}
    return {}


def _rename(weights: Mapping[str, Tensor], names: Names = ()) -> Weights:
    renamed = {}
    for name, value in weights.items():
        name = name.removeprefix('module.')
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
