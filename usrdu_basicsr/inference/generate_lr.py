"""Generate the LR distribution of every HR image of a folder."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from basicsr.utils import img2tensor
from tqdm import tqdm

from usrdu_basicsr.archs.dsn_arch import UncertaintyDSN
from usrdu_basicsr.inference.load_network import dsn_options, load_dsn
from usrdu_basicsr.inference.tiles import downsample_in_tiles
from usrdu_basicsr.storage.generated_set import (
    LOG_SCALE_FOLDER,
    LR_FOLDER,
    log_scale_size,
    read_description,
    write_description,
    write_log_scale,
)
from usrdu_basicsr.utils.errors import InputError
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.files import output_folder
from usrdu_basicsr.utils.images import check_unique_stems, image_size, list_images, read_image, to_8bit, write_png
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.version import __version__

logger = logging.getLogger(__name__)


def generate_set(
    gt_folder: str | Path,
    output: str | Path,
    checkpoint: str | Path,
    device: torch.device,
    tile: int | None = None,
    precision: str = 'fp32',
    share: tuple[int, int] = (0, 1),
) -> FileReport:
    """Generate `output/lr/NAME.png`, `output/log_scale/NAME.npy` and `output/generation.json`.

    Complete existing results are skipped, so a second run completes an interrupted one. Unreadable images are logged,
    and the run continues.

    Args:
        gt_folder: Folder of HR images.
        output: Folder of the generated set.
        checkpoint: `net_g_*.pth` of stage 1.
        device: Device of the network.
        tile: Side of a tile in HR pixels without its margin; None for 256 on a CPU (larger tiles exceed its caches) and
            512 on other devices.
        precision: Numeric precision of the network, see `usrdu_basicsr.utils.precision`.
        share: Rank of this process and number of processes, which divide the images among them.

    Raises:
        InputNotFoundError: If the folder or the checkpoint does not exist.
        InputError: If the folder is empty or two of its files have the same stem, the checkpoint is not a DSN, the
            output is a file or a set of another checkpoint or precision, or the device does not support the precision.
    """
    numeric = Precision(precision, device)
    output = output_folder(output)
    paths = list_images(gt_folder)
    check_unique_stems(paths)
    dsn = prepare_for_inference(load_dsn(checkpoint, device), numeric)
    description = {
        'checkpoint': Path(checkpoint).name,
        'checkpoint_sha256': hashlib.sha256(Path(checkpoint).expanduser().read_bytes()).hexdigest(),
        'scale': dsn.scale,
        'network': dsn_options(dsn.state_dict()),
        'precision': precision,
        'version': __version__,
    }
    _check_description(output, description)
    _write_description(output, description)

    report = FileReport()
    cropped = False
    for path in tqdm(paths[share[0] :: share[1]], unit='image', disable=share[0] != 0):
        try:
            height, width = (side // dsn.scale for side in image_size(path))
            if _is_complete(output, path, (height, width)):
                report.skipped.append(path.name)
                continue
            if not height or not width:
                raise InputError(f"image '{path}' is smaller than scale {dsn.scale}. Remove it")
            image = read_image(path)
            mean, log_scale = predict(dsn, image, tile, numeric)
        except InputError as error:
            logger.error('%s', error)
            report.failed.append(path.name)
            continue
        if not cropped and image.shape[:2] != (height * dsn.scale, width * dsn.scale):
            logger.warning('Images are cropped to a multiple of scale %d, first %s', dsn.scale, path.name)
            cropped = True
        write_log_scale(output / LOG_SCALE_FOLDER / f'{path.stem}.npy', log_scale)
        write_png(output / LR_FOLDER / f'{path.stem}.png', to_8bit(mean[..., ::-1]))
        report.written.append(path.name)
    _write_description(output, description)
    return report


def prepare_for_inference(dsn: UncertaintyDSN, precision: Precision) -> UncertaintyDSN:
    """Prepare a network for `predict`: set its precision and use channels last, which is faster on a CPU too."""
    precision.set_tf32()
    precision.prepare(dsn)
    return dsn.to(memory_format=torch.channels_last)


def predict(
    dsn: UncertaintyDSN, image: np.ndarray, tile: int | None = None, precision: Precision | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predict the LR distribution of one HR image.

    Args:
        dsn: Network on its device.
        image: `(H, W, 3)` float32, BGR, [0, 1]; cropped at the right and at the bottom to a multiple of the scale.
        tile: See `generate_set`.
        precision: Precision passed to `prepare_for_inference`; None for float32.

    Returns:
        Mean and log-scale, `(H / s, W / s, 3)` float32, RGB.

    Raises:
        ValueError: If the image is smaller than the scale.
    """
    height, width = (side // dsn.scale * dsn.scale for side in image.shape[:2])
    if not height or not width:
        raise ValueError(f'image of {image.shape[0]}x{image.shape[1]} pixels is smaller than scale {dsn.scale}')
    device = next(dsn.parameters()).device
    precision = precision or Precision('fp32', device)
    tile = tile or (256 if device.type == 'cpu' else 512)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = x.to(device, memory_format=torch.channels_last)
        return precision.run(dsn, x, with_features=False)[:2]

    with torch.inference_mode():
        x = img2tensor(image[:height, :width])[None]
        mean, log_scale = downsample_in_tiles(x, run, dsn.scale, dsn.receptive_radius, tile)
    return mean[0].permute(1, 2, 0).numpy(), log_scale[0].permute(1, 2, 0).numpy()


def _write_description(output: Path, description: dict) -> None:
    """Write `generation.json` with the number of images, again if another process has added some meanwhile."""
    count = None
    while count != (count := _count_images(output)):
        write_description(output, description | {'count': count})


def _check_description(output: Path, description: dict) -> None:
    """Raise an `InputError` if the output is the set of another checkpoint or precision, or not a generated set."""
    # Before the description is read: another process of this run writes it before any image.
    has_files = (output / LR_FOLDER).is_dir() and any((output / LR_FOLDER).iterdir())
    old = read_description(output)
    if old is None and has_files:
        raise InputError(f"'{output / LR_FOLDER}' has files but no generation.json. Choose another folder")
    if old is not None and old.get('checkpoint_sha256') != description['checkpoint_sha256']:
        raise InputError(
            f"'{output}' was generated with another checkpoint ({old.get('checkpoint')}). Choose another folder, or"
            ' remove it'
        )
    if old is not None and (precision := old.get('precision', 'fp32')) != description['precision']:
        raise InputError(
            f"'{output}' was generated with precision {precision}, not {description['precision']}. Use --precision"
            f' {precision}, choose another folder, or remove it'
        )


def _is_complete(output: Path, path: Path, size: tuple[int, int]) -> bool:
    """Whether both files of an image exist, are intact and of the right size, and are not older than the image."""
    lr, log_scale = output / LR_FOLDER / f'{path.stem}.png', output / LOG_SCALE_FOLDER / f'{path.stem}.npy'
    if not lr.is_file() or not log_scale.is_file() or lr.stat().st_mtime < path.stat().st_mtime:
        return False
    try:
        return image_size(lr) == size and log_scale_size(log_scale) == size
    except InputError:
        return False


def _count_images(output: Path) -> int:
    stems = {path.stem for path in (output / LR_FOLDER).glob('*.png')}
    return len(stems & {path.stem for path in (output / LOG_SCALE_FOLDER).glob('*.npy')})
