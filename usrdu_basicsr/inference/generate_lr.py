"""Write a generated set: the LR distribution of every HR photo of a folder."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor
from tqdm import tqdm

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference.downsample_tiles import downsample_in_tiles
from usrdu_basicsr.inference.load_network import dsn_options, load_dsn
from usrdu_basicsr.storage.generated_set import (
    LOG_SCALE_FOLDER,
    LR_FOLDER,
    log_scale_size,
    read_description,
    write_description,
    write_log_scale,
)
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import check_unique_stems, image_size, list_images, read_image, to_8bit, write_png
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.version import __version__

logger = logging.getLogger(__name__)


@dataclass
class GenerationReport:
    """What became of the photos, by name."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def generate_set(
    gt_folder: str | Path,
    output: str | Path,
    checkpoint: str | Path,
    device: torch.device,
    tile: int | None = None,
    precision: str = 'fp32',
    share: tuple[int, int] = (0, 1),
) -> GenerationReport:
    """Generate `output/lr/NAME.png`, `output/log_scale/NAME.npy` and `output/generation.json`.

    Photos whose two files are there and whole are skipped, so a second run finishes an interrupted one. A file that
    cannot be read is logged, and the others go on.

    Args:
        gt_folder: HR photos.
        output: Folder of the set.
        checkpoint: Stage 1's `net_g_*.pth`.
        device: Where the network runs.
        tile: Side of the tiles that the network sees at once, in HR pixels without their overlap; if None 256 on a CPU,
            whose caches hold what the network makes of that, and 512 elsewhere.
        precision: That the network computes in, see `usrdu_basicsr.utils.precision`.
        share: This process's rank, and how many there are: each takes its share of the photos.

    Returns:
        Which photos were written, skipped and failed.

    Raises:
        InputNotFoundError: The folder or the checkpoint does not exist.
        InputError: The folder is empty or two of its files would share a name; the checkpoint is no DSN; the output
            is a file, or holds a set of another checkpoint or precision; the device cannot compute in the precision.
    """
    numbers = Precision(precision, device)
    output = output_folder(output)
    paths = list_images(gt_folder)
    check_unique_stems(paths)
    dsn = prepare_for_inference(load_dsn(checkpoint, device), numbers)
    description = {
        'checkpoint': Path(checkpoint).name,
        'checkpoint_sha256': hashlib.sha256(Path(checkpoint).expanduser().read_bytes()).hexdigest(),
        'scale': dsn.scale,
        'network': dsn_options(dsn.state_dict()),
        'precision': precision,
        'version': __version__,
    }
    _check_description(output, description)
    _describe(output, description)

    report = GenerationReport()
    cropped = False
    for path in tqdm(paths[share[0] :: share[1]], unit='image', disable=share[0] != 0):
        try:
            height, width = (side // dsn.scale for side in image_size(path))
            if _is_whole(output, path, (height, width)):
                report.skipped.append(path.name)
                continue
            if not height or not width:
                raise InputError(f"image '{path}' is smaller than scale {dsn.scale}: remove it")
            image = read_image(path)
            mean, log_scale = predict(dsn, image, tile, numbers)
        except InputError as error:
            logger.error('%s', error)
            report.failed.append(path.name)
            continue
        if not cropped and image.shape[:2] != (height * dsn.scale, width * dsn.scale):
            logger.warning('%s and perhaps others are cropped to a multiple of scale %d', path.name, dsn.scale)
            cropped = True
        write_log_scale(output / LOG_SCALE_FOLDER / f'{path.stem}.npy', log_scale)
        write_png(output / LR_FOLDER / f'{path.stem}.png', to_8bit(mean[..., ::-1]))
        report.written.append(path.name)
    _describe(output, description)
    return report


def prepare_for_inference(dsn: UncertaintyDSN, precision: Precision) -> UncertaintyDSN:
    """Change a network for `predict`: channels of a pixel side by side, which is faster on a CPU in float32 too."""
    precision.set_tf32()
    precision.prepare(dsn)
    return dsn.to(memory_format=torch.channels_last)


def predict(
    dsn: UncertaintyDSN, image: np.ndarray, tile: int | None = None, precision: Precision | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The LR distribution of one HR image.

    Args:
        dsn: The network, on its device.
        image: `(H, W, 3)` float32, BGR, [0, 1]; cropped at the right and the bottom to a multiple of the scale.
        tile: See `generate_set`.
        precision: That of `prepare_for_inference`; float32 if None.

    Returns:
        Mean and log-scale, `(H / s, W / s, 3)` float32, RGB.

    Raises:
        ValueError: The image is smaller than the scale.
    """
    height, width = (side // dsn.scale * dsn.scale for side in image.shape[:2])
    if not height or not width:
        raise ValueError(f'image of {image.shape[0]}x{image.shape[1]} pixels is smaller than scale {dsn.scale}')
    device = next(dsn.parameters()).device
    precision = precision or Precision('fp32', device)
    x = img2tensor(image[:height, :width])[None]

    def run(part: torch.Tensor) -> tuple[torch.Tensor, ...]:
        part = part.to(device, memory_format=torch.channels_last)
        return precision.run(dsn, part, with_features=False)[:2]

    with torch.inference_mode():
        mean, log_scale = downsample_in_tiles(
            x, run, dsn.scale, dsn.receptive_radius, tile or (256 if device.type == 'cpu' else 512)
        )
    return mean[0].permute(1, 2, 0).numpy(), log_scale[0].permute(1, 2, 0).numpy()


def _describe(output: Path, description: dict) -> None:
    """Write what the set is, with the number of its photos, to which other processes may be adding."""
    count = None
    while count != (count := _count_whole(output)):
        write_description(output, description | {'count': count})


def _check_description(output: Path, description: dict) -> None:
    # Looked at first: where another process of this run has written files, it has described them before.
    has_files = (output / LR_FOLDER).is_dir() and any((output / LR_FOLDER).iterdir())
    old = read_description(output)
    if old is not None and old.get('checkpoint_sha256') != description['checkpoint_sha256']:
        raise InputError(
            f"'{output}' holds a set generated with another checkpoint ({old.get('checkpoint')}):"
            ' choose another folder, or remove it first'
        )
    if old is not None and (precision := old.get('precision', 'fp32')) != description['precision']:
        raise InputError(
            f"'{output}' holds a set generated in {precision}, not {description['precision']}: go on in {precision},"
            ' choose another folder, or remove it first'
        )
    if old is None and has_files:
        raise InputError(f"'{output / LR_FOLDER}' holds files but no generation.json: choose another folder")


def _is_whole(output: Path, photo: Path, size: tuple[int, int]) -> bool:
    """Whether both files of a photo are there, complete, of the right size, and not older than the photo."""
    lr, log_scale = output / LR_FOLDER / f'{photo.stem}.png', output / LOG_SCALE_FOLDER / f'{photo.stem}.npy'
    if not lr.is_file() or not log_scale.is_file() or lr.stat().st_mtime < photo.stat().st_mtime:
        return False
    try:
        return image_size(lr) == size and log_scale_size(log_scale) == size
    except InputError:
        return False


def _count_whole(output: Path) -> int:
    """Photos that have both files."""
    stems = {path.stem for path in (output / LR_FOLDER).glob('*.png')}
    return len(stems & {path.stem for path in (output / LOG_SCALE_FOLDER).glob('*.npy')})
