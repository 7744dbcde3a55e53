"""Select the user's validation pairs, and check them."""

from collections.abc import Sequence
from pathlib import Path

from usrdu_basicsr.degradation.patch_spectra import patch_side
from usrdu_basicsr.storage.source import spread
from usrdu_basicsr.utils.errors import InputError, UserError, first_few
from usrdu_basicsr.utils.images import image_size, list_images

VALIDATION = 8  # images at most
LR_SIDE = patch_side(1)  # smallest side of LR images


def select_pairs(
    val_hr: Path | None, val_lr: Path | None, scale: int, problems: list[str]
) -> tuple[list[Path], list[Path]]:
    """HR and LR images of evenly spaced pairs, whose names are equal apart from the ending.

    Args:
        val_hr: Folder of HR images, or None.
        val_lr: Folder of camera images, or None.
        scale: Upscaling factor. HR images may be larger by less than the scale.
        problems: Gets a sentence for each problem, with which the result is empty.
    """
    if val_hr is None and val_lr is None:
        return [], []
    if val_hr is None or val_lr is None:
        given, lacking = ('--val_hr', '--val_lr') if val_lr is None else ('--val_lr', '--val_hr')
        problems.append(f'{given}: got no {lacking}, expected pairs. Pass both or neither')
        return [], []
    found: list[str] = []
    hr, lr = _by_stem('--val_hr', val_hr, found), _by_stem('--val_lr', val_lr, found)
    alone = [path for paths, others in ((hr, lr), (lr, hr)) for stem, path in paths.items() if stem not in others]
    if hr and lr and alone:
        found.append(
            f'--val_hr and --val_lr: got {len(alone)} images without a partner of the same name: {file_names(alone)}.'
            ' Remove or rename them'
        )
    pairs = [(hr[stem], lr[stem]) for stem in spread(sorted(hr.keys() & lr.keys()), VALIDATION)]
    found += filter(None, (_problem(*pair, scale) for pair in pairs))
    problems += found
    return ([], []) if found else ([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _by_stem(option: str, folder: Path, problems: list[str]) -> dict[str, Path]:
    try:
        paths = list_images(folder)
    except UserError as error:
        problems.append(f'{option}: {error}')
        return {}
    by_stem = {path.stem: path for path in paths}
    if len(by_stem) < len(paths):
        same = [path for path in paths if by_stem[path.stem] != path]
        problems.append(
            f'{option}: got {len(same)} images whose names differ from others in the ending only: {file_names(same)}.'
            ' Remove or rename them'
        )
    return by_stem


def _problem(hr: Path, lr: Path, scale: int) -> str:
    """What is wrong with a pair, or an empty text."""
    try:
        hr_size, lr_size = image_size(hr), image_size(lr)
    except InputError as error:
        return f'--val_hr and --val_lr: {error}'
    if min(lr_size) < LR_SIDE:
        return f"--val_lr: '{lr.name}' has {lr_size[0]}x{lr_size[1]} pixels, expected sides of {LR_SIDE} or more"
    if any(not 0 <= large - scale * small < scale for large, small in zip(hr_size, lr_size, strict=True)):
        sizes = ' and '.join(f'{height}x{width}' for height, width in (hr_size, lr_size))
        return f"--val_hr and --val_lr: '{hr.stem}' has {sizes} pixels, expected a factor of {scale}. Pass --scale"
    return ''


def file_names(paths: Sequence[Path]) -> str:
    """Names of the first few files."""
    return first_few([path.name for path in paths]).encode('utf-8', 'backslashreplace').decode()
