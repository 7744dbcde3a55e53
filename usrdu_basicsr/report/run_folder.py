"""Files of a run of `usrdu fit`, and its state."""

import json
from pathlib import Path
from typing import Any

from usrdu_basicsr.utils.errors import InputError, not_found

STATE = 'fit.json'
LOG = 'log.txt'
DATA, HR, LR, HELD_BACK = 'data', 'data/HR', 'data/LR', 'data/held_back'
VALIDATION_HR, VALIDATION_LR = 'data/validation/HR', 'data/validation/LR'
CAMERA = 'camera/net_g_camera.pth'
GENERATED, PREVIEWS = 'generated', 'previews'
PREVIEW = 'previews/camera.png'
SRN_OPTIONS, DSN_OPTIONS = 'options/train_srn.yml', 'options/train_dsn.yml'
EXPERIMENT_SRN, EXPERIMENT_DSN = 'experiments/srn', 'experiments/dsn'
UPSCALED, UPSCALED_HELD_BACK, UPSCALED_VALIDATION = 'upscaled', 'upscaled/held_back', 'upscaled/validation'
MODEL, EXPORT, REPORT = 'model.pth', 'export', 'report.html'


def read_state(folder: Path) -> dict[str, Any]:
    """Content of `fit.json`.

    Raises:
        InputNotFoundError: If the folder is no run.
        InputError: If the file is corrupt.
    """
    path = folder / STATE
    if not path.is_file():
        raise not_found(f"run '{folder}' with its '{STATE}'")
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return {name: content[name] for name in ('keys', 'seconds', 'notes', 'settings')}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' is corrupt. Remove the folder, or choose another one") from error
