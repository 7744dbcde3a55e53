"""Generate the LR distribution of every HR image of a folder."""

import logging
from pathlib import Path

import torch
from tqdm import tqdm

from usrdu_basicsr.inference.load_network import dsn_options, load_dsn
from usrdu_basicsr.inference.lr_sampler import TILE, LRSampler
from usrdu_basicsr.storage import generated_set
from usrdu_basicsr.utils.errors import InputError, first_few
from usrdu_basicsr.utils.file_report import FileReport
from usrdu_basicsr.utils.files import file_sha256, output_folder
from usrdu_basicsr.utils.images import check_unique_stems, image_size, list_images, read_image, to_8bit, write_png
from usrdu_basicsr.utils.memory import tune_malloc
from usrdu_basicsr.utils.precision import Precision
from usrdu_basicsr.utils.result_records import ResultRecords, file_identity
from usrdu_basicsr.version import __version__

logger = logging.getLogger(__name__)


def generate_set(
    gt_folder: str | Path,
    output: str | Path,
    checkpoint: str | Path,
    device: torch.device,
    tile: int = TILE,
    precision: str = 'fp32',
    share: tuple[int, int] = (0, 1),
) -> FileReport:
    """Generate `output/lr/NAME.png`, `output/log_scale/NAME.npy` and `output/generation.json`.

    Existing complete results of the same image files are skipped, so a second run completes an interrupted one.
    Unreadable images are logged and skipped, and results of previous images with their names are removed.

    Args:
        gt_folder: Folder of HR images.
        output: Folder of the generated set.
        checkpoint: `net_g_*.pth` of stage 1.
        device: Device of the network.
        tile: See `LRSampler.predict`.
        precision: Numeric precision of the network, see `usrdu_basicsr.utils.precision`.
        share: Rank of this process and number of processes, which divide the images among them.

    Raises:
        InputNotFoundError: If the folder or the checkpoint does not exist.
        InputError: If the folder is empty or two of its files have the same stem, the checkpoint is not a DSN, the
            output is a file, the input folder or a set of another checkpoint or precision, or the device does not
            support the precision.
    """
    output, paths = output_folder(output), list_images(gt_folder)
    lr_folder, log_scale_folder = output / generated_set.LR_FOLDER, output / generated_set.LOG_SCALE_FOLDER
    if Path(gt_folder).resolve() in [folder.resolve() for folder in (output, lr_folder, log_scale_folder)]:
        raise InputError(f"output '{output}' would be mixed with the input folder. Choose another folder")
    check_unique_stems(paths)
    tune_malloc()
    sampler = LRSampler(load_dsn(checkpoint, device), Precision(precision, device))
    scale = sampler.scale
    description = {
        'checkpoint': Path(checkpoint).name,
        'checkpoint_sha256': file_sha256(checkpoint),
        'scale': scale,
        'network': dsn_options(sampler.dsn.state_dict()),
        'precision': precision,
        'version': __version__,
    }
    if sampler.noise is not None:
        description['noise'] = sampler.noise.description()
    _check_description(output, description)
    _write_description(output, description)

    report, cropped = FileReport(), False
    records = ResultRecords(output, {})
    for path in tqdm(paths[share[0] :: share[1]], unit='image', disable=share[0] != 0):
        lr_path, log_scale_path = lr_folder / f'{path.stem}.png', log_scale_folder / f'{path.stem}.npy'
        identity = file_identity(path)
        try:
            height, width = (side // scale for side in image_size(path))
            is_same = records.matches(path.stem, identity)
            if is_same and _is_complete(lr_path, log_scale_path, (height, width)):
                report.skipped.append(path.name)
                continue
            if not height or not width:
                raise InputError(f"image '{path}' has a side shorter than {scale} pixels (the scale). Remove it")
            image = read_image(path)
            mean, log_scale = sampler.predict(image, tile)
        except InputError as error:
            text = str(error)
            logger.error('%s', text if path.name in text else f"'{path}': {text}")
            report.failed.append(path.name)
            for stale in (lr_path, log_scale_path):  # of a previous image with this name
                stale.unlink(missing_ok=True)
            continue
        if not cropped and image.shape[:2] != (height * scale, width * scale):
            logger.warning("Cropped images to a multiple of scale %d, first '%s'", scale, path.name)
            cropped = True
        records.begin(path.stem)
        generated_set.write_log_scale(log_scale_path, log_scale)
        write_png(lr_path, to_8bit(mean[..., ::-1]))
        records.add(path.stem, identity)
        report.written.append(path.name)
    _write_description(output, description)
    others = sorted({path.stem for path in lr_folder.glob('*.png')} - {path.stem for path in paths})
    if others:
        text = "'%s' also has results of images that '%s' does not have: %s. Remove them, or keep their HR images"
        logger.warning(text, output, gt_folder, first_few(others))
    return report


def _write_description(output: Path, description: dict) -> None:
    """Write `generation.json` with the number of images, and again if other processes have added images."""
    count = None
    while count != len(images := list((output / generated_set.LR_FOLDER).glob('*.png'))):
        count = len(images)
        generated_set.write_description(output, description | {'count': count})


def _check_description(output: Path, description: dict) -> None:
    """Raise an `InputError` if the output is the set of another checkpoint or precision, or not a generated set."""
    # Before the description is read: another process of this run writes it before any image.
    lr_folder = output / generated_set.LR_FOLDER
    has_files = lr_folder.is_dir() and any(lr_folder.iterdir())
    old = generated_set.read_description(output)
    if old is None:
        if has_files:
            raise InputError(f"'{lr_folder}' has files but no generation.json. Choose another folder")
        return
    if old.get('checkpoint_sha256') != description['checkpoint_sha256']:
        found = f'another checkpoint ({old.get("checkpoint")})'
        raise InputError(f"'{output}' was generated with {found}. Choose another folder, or remove it")
    if (precision := old.get('precision', 'fp32')) != description['precision']:
        found = f'precision {precision}, not {description["precision"]}. Use --precision {precision}'
        raise InputError(f"'{output}' was generated with {found}, choose another folder, or remove it")


def _is_complete(lr: Path, log_scale: Path, size: tuple[int, int]) -> bool:
    """Whether both results of an image exist, are readable and of the right size."""
    try:
        return image_size(lr) == size == generated_set.read_log_scale(log_scale).shape[:2]
    except InputError:
        return False
