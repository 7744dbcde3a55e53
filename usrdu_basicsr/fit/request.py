"""What the user asks `usrdu fit` for."""

import re
from dataclasses import dataclass
from pathlib import Path

from usrdu_basicsr.utils.errors import InputError

NETWORKS = ('compact', 'rrdb', 'swinir')
PRESETS = ('auto', 'published')
UNITS = (3600, 60, 1)  # of h, m and s, seconds


@dataclass(frozen=True)
class Request:
    """Arguments of `usrdu fit`.

    Attributes:
        hr: Folder of HR images of any scenes.
        lr: Folder of camera images of any scenes.
        output: Folder of the run.
        scale: Upscaling factor, 1, 2 or 4.
        seconds: Promised time of the whole run.
        val_hr: Folder of HR images for validation, or None to validate on held-back images.
        val_lr: Folder of camera images of the same scenes and names, or None.
        preset: `auto` to measure the camera, or `published` to train stage 1 as the paper does.
        network: One of `NETWORKS`, or the file of a published model.
        device: `cpu` or `cuda`, or None for the GPU if there is one.
        verbose: Print the output of the commands.
    """

    hr: Path
    lr: Path
    output: Path
    scale: int = 4
    seconds: float = 1800
    val_hr: Path | None = None
    val_lr: Path | None = None
    preset: str = 'auto'
    network: str = 'compact'
    device: str | None = None
    verbose: bool = False


def parse_time(text: str) -> float:
    """Parse a duration such as `30m`, `90s`, `2h` or `1h30m` to seconds.

    Raises:
        InputError: If the text is no positive duration.
    """
    found = re.fullmatch(r'(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?', text.strip())
    parts = found.groups(default='0') if found else ()
    seconds = sum(int(part) * unit for part, unit in zip(parts, UNITS, strict=False))
    if seconds == 0:
        raise InputError(f"--time: got '{text}', expected a duration such as 30m, 90s or 1h30m")
    return float(seconds)


def duration(seconds: float) -> str:
    """Duration for people: `45 s`, `12 min` or `1 h 30 min`."""
    if seconds < 99.5:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60} min'
