"""Files of a run of `usrdu fit`, and its state."""

import json
import re
from pathlib import Path
from typing import Any

from usrdu_basicsr.models.validation import ValidationHistory
from usrdu_basicsr.storage.generated_set import LOG_SCALE_FOLDER, LR_FOLDER
from usrdu_basicsr.utils.errors import InputError, not_found

STATE, LOG = 'fit.json', 'log.txt'
DATA, HR, LR, HELD_BACK = 'data', 'data/HR', 'data/LR', 'data/held_back'
VALIDATION_HR, VALIDATION_LR = 'data/validation/HR', 'data/validation/LR'
CAMERA, CAMERA_DSN = 'camera', 'camera/net_g_camera.pth'
GENERATED, PREVIEWS, PREVIEW = 'generated', 'previews', 'previews/camera.png'
GENERATED_LR, GENERATED_LOG_SCALE = f'{GENERATED}/{LR_FOLDER}', f'{GENERATED}/{LOG_SCALE_FOLDER}'
DSN, SRN = 'dsn', 'srn'  # experiments of the stages
UPSCALED, UPSCALED_HELD_BACK, UPSCALED_VALIDATION = 'upscaled', 'upscaled/held_back', 'upscaled/validation'
MODEL, EXPORT, WEIGHTS, REPORT = 'model.pth', 'export', 'export/model.safetensors', 'report.html'
LOG_LINE = re.compile(r'\[epoch:.*iter:\s*([\d,]+)(?:.*l_g_(?:pix|kl): ([\d.e+-]+))?')  # `l_g_kl` of stage 1


def options_file(stage: str) -> str:
    """Options of a stage, `DSN` or `SRN`."""
    return f'options/train_{stage}.yml'


def experiment(stage: str) -> str:
    """Folder of the training of a stage."""
    return f'experiments/{stage}'


def read_log_line(line: str) -> tuple[int, str] | None:
    """Iteration and main loss, empty if it is missing or no number, of a log line of BasicSR; None for other lines."""
    found = LOG_LINE.search(line)
    return None if found is None else (int(found[1].replace(',', '')), found[2] or '')


def read_validations(folder: Path, stage: str) -> ValidationHistory:
    """Validations of a stage so far."""
    history = ValidationHistory(folder / experiment(stage) / 'validation.jsonl')
    history.read()
    return history


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
