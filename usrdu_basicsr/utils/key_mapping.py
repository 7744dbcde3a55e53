"""Files of the published implementation and of ESRGAN, under the names that BasicSR's networks and ours have."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]

# (published, ours), each a regular expression for the start or a part of a parameter's name
DSN_NAMES = (
    (r'^block_input\.', 'conv_first.'),
    (r'^res_blocks\.(\d+)\.prelu\.', r'body.\1.act.'),
    (r'^res_blocks\.', 'body.'),
    (r'^down_sample\.', 'down.'),
    (r'^block_output\.', 'conv_mean.'),
    (r'^var\.', 'log_scale_head.'),
    (r'^per_var\.', 'feature_head.'),
)
ESRGAN_NAMES = (
    (r'^RRDB_trunk\.(\d+)\.RDB(\d)\.', r'body.\1.rdb\2.'),
    (r'^trunk_conv\.', 'conv_body.'),
    (r'^upconv(\d)\.', r'conv_up\1.'),
    (r'^HRconv\.', 'conv_hr.'),
)
IN_SR_FILE = {'srn': ('RRDBNet_U.', ESRGAN_NAMES), 'dsn': ('RRDBNet_var.', DSN_NAMES)}


def networks_of(content: Mapping[str, Any]) -> dict[str, Weights]:
    """The networks in a file of the published implementation or of ESRGAN, under the names that ours have.

    * A published DSN file is `{'gen': ..., 'dis': ...}`, perhaps with the state of its training.
    * A published SR file is `{'params': ...}` with `RRDBNet_U.*`, and the DSN it was trained with, `RRDBNet_var.*`.
    * `RRDB_PSNR_x4.pth` and its like are a bare RRDBNet under ESRGAN's first names.

    Source: https://github.com/xinntao/ESRGAN for the latter; the files of https://www.ijcai.org/proceedings/2022/0176.

    Args:
        content: Of the file.

    Returns:
        The networks of the file by role, of `dsn`, `discriminator` and `srn`; none if the file is of another kind.
    """
    if not all(
        isinstance(name, str) for part in (content, *content.values()) if isinstance(part, Mapping) for name in part
    ):
        return {}
    if isinstance(content.get('gen'), Mapping):
        networks = {'dsn': _renamed(content['gen'], DSN_NAMES)}
        if isinstance(content.get('dis'), Mapping):
            networks['discriminator'] = _renamed(content['dis'], ())
        return networks
    weights = content.get('params', content)
    if not isinstance(weights, Mapping):
        return {}
    weights = _renamed(weights, ())
    if any(name.startswith('RRDBNet_U.') for name in weights):
        networks = {}
        for role, (prefix, names) in IN_SR_FILE.items():
            part = {name: value for name, value in weights.items() if name.startswith(prefix)}
            weights = {name: value for name, value in weights.items() if name not in part}
            networks[role] = _renamed({name.removeprefix(prefix): value for name, value in part.items()}, names)
        networks['srn'] |= weights  # what is in neither, to be refused by name
        return {role: network for role, network in networks.items() if network}
    if any(name.startswith('RRDB_trunk.') for name in weights):
        return {'srn': _renamed(weights, ESRGAN_NAMES)}
    return {}


def best_match(networks: Mapping[str, Weights], names: Collection[str]) -> Weights:
    """Of several networks the one that has most of some parameters."""
    return max(networks.values(), key=lambda weights: sum(name in weights for name in names))


def _renamed(weights: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]) -> Weights:
    """Each name changed by the first pattern that fits it, and without the `module.` of a wrapped network."""
    return {_rename(name.removeprefix('module.'), names): value for name, value in weights.items()}


def _rename(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for published, ours in names:
        if re.match(published, name):
            return re.sub(published, ours, name)
    return name
