"""Check the user's folders, and select the images for training, validation and the report."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from usrdu_basicsr.data.exchanged_folders import exchange_warning
from usrdu_basicsr.data_preparation.check_dataset import check_dataset
from usrdu_basicsr.fit.request import Request
from usrdu_basicsr.storage.open_source import PAIRED
from usrdu_basicsr.storage.source import IMAGE, FolderSource, evenly_spaced
from usrdu_basicsr.utils.errors import InputError, UserError
from usrdu_basicsr.utils.files import file_sha256
from usrdu_basicsr.utils.images import image_size, list_images

LR_SIDE = 32  # smallest side of LR images, that of a patch of the measurement
MIN_IMAGES, FEW_IMAGES = 5, 20  # of each folder
HELD_BACK, VALIDATION = 6, 8  # images at most
SHARE = 10  # one image of so many is held back
NAMED = 3  # files that a sentence names


@dataclass
class Selection:
    """Images of a run.

    Attributes:
        hr: HR images to train on.
        lr: Camera images to measure.
        held_back: Camera images that the report shows upscaled.
        val_hr: HR images for validation: those of the user's pairs, or held-back ones.
        val_lr: Their camera images, or none to generate them.
        notes: Sentences that say what is unusual and what is done about it.
    """

    hr: list[Path]
    lr: list[Path]
    held_back: list[Path] = field(default_factory=list)
    val_hr: list[Path] = field(default_factory=list)
    val_lr: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def select_images(request: Request) -> Selection:
    """Check the folders of a request and select images.

    Raises:
        InputError: All problems of the folders at once.
    """
    notes: list[str] = []
    problems: list[str] = []
    usable = {
        'HR': _usable(request.hr, '--hr', request.scale * LR_SIDE, notes, problems),
        'LR': _usable(request.lr, '--lr', LR_SIDE, notes, problems),
    }
    if usable['HR'] and usable['LR']:
        if request.hr.resolve() == request.lr.resolve():
            problems.append(f"--hr and --lr: got the same folder '{request.hr}', expected two. Pass one of each kind")
        else:
            usable['HR'] = _without_duplicates(usable['HR'], usable['LR'], notes)
            if warning := _exchanged(usable['HR'], usable['LR']):
                problems.append(f'{warning} Exchange --hr and --lr, or use HR images with less noise')
    for kind, paths in usable.items():
        if 0 < len(paths) < MIN_IMAGES:
            problems.append(f'--{kind.lower()}: got {len(paths)} usable images, expected {MIN_IMAGES}. Add images')
        elif MIN_IMAGES <= len(paths) < FEW_IMAGES:
            notes.append(f'Only {len(paths)} {kind} images: {FEW_IMAGES} or more describe a camera better.')
    pairs = _validation_pairs(request, problems)
    if problems:
        raise InputError('\n'.join((f'{len(problems)} problem{"s" * (len(problems) > 1)}', *problems)))
    hr, lr = usable['HR'], usable['LR']
    held_back = _spread(lr, min(HELD_BACK, max(1, len(lr) // SHARE)))
    selection = Selection(hr, [path for path in lr if path not in held_back], held_back, *pairs, notes)
    if not selection.val_hr:
        selection.val_hr = _spread(hr, min(VALIDATION, max(1, len(hr) // SHARE)))
        selection.hr = [path for path in hr if path not in selection.val_hr]
        notes.append(
            f'No --val_hr and --val_lr: validation is on {len(selection.val_hr)} held-back HR images and LR images that'
            ' the measured camera takes of them.'
        )
    return selection


def _usable(folder: Path, option: str, smallest: int, notes: list[str], problems: list[str]) -> list[Path]:
    """Readable images of a folder that are large enough, without copies of each other."""
    try:
        paths = list_images(folder)
    except UserError as error:
        problems.append(f'{option}: {error}')
        return []
    with ThreadPoolExecutor() as threads:
        sizes = list(threads.map(_size, paths))
    unreadable = [path for path, size in zip(paths, sizes, strict=True) if size is None]
    small = [path for path, size in zip(paths, sizes, strict=True) if size is not None and min(size) < smallest]
    copies = _copies([path for path in paths if path not in {*unreadable, *small}])
    for files, what in (
        (unreadable, 'cannot be read'),
        (small, f'are smaller than {smallest} pixels'),
        (copies, 'are copies of others'),
    ):
        if files:
            notes.append(f'{option}: skipped {len(files)} of {len(paths)} images that {what}: {_names(files)}')
    left_out = {*unreadable, *small, *copies}
    usable = [path for path in paths if path not in left_out]
    if not usable:
        problems.append(f"{option}: '{folder}' has no usable image. {notes.pop() if notes else ''}")
    return usable


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except InputError:
        return None


def _copies(paths: Sequence[Path]) -> list[Path]:
    """Files with the content of an earlier one."""
    first: dict[str, Path] = {}
    return [path for path, key in _keys(paths, paths) if first.setdefault(key, path) is not path]


def _without_duplicates(hr: list[Path], lr: Sequence[Path], notes: list[str]) -> list[Path]:
    """HR images that are not camera images, too."""
    camera = {key for _, key in _keys(lr, [*hr, *lr])}
    both = [path for path, key in _keys(hr, [*hr, *lr]) if key in camera]
    if both:
        notes.append(f'--hr: skipped {len(both)} of {len(hr)} images that are in --lr, too: {_names(both)}')
    return [path for path in hr if path not in both]


def _keys(paths: Sequence[Path], among: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Files and keys that are equal for equal contents. Only files of equal size are read."""
    sizes = [path.stat().st_size for path in among]
    shared = {size for size in sizes if sizes.count(size) > 1}
    for path in paths:
        size = path.stat().st_size
        yield path, file_sha256(path) if size in shared else str(size)


def _exchanged(hr: Sequence[Path], lr: Sequence[Path]) -> str:
    """Warning if the folders seem to be exchanged, otherwise an empty text."""
    gt, lq = (FolderSource(paths[0].parent, [path.name for path in paths], IMAGE) for paths in (hr, lr))
    return exchange_warning(gt, lq)


def _validation_pairs(request: Request, problems: list[str]) -> tuple[list[Path], list[Path]]:
    """HR and LR images of the user's validation pairs."""
    if request.val_hr is None and request.val_lr is None:
        return [], []
    if request.val_hr is None or request.val_lr is None:
        given, lacking = ('--val_hr', '--val_lr') if request.val_lr is None else ('--val_lr', '--val_hr')
        problems.append(f'{given}: got no {lacking}, expected pairs. Pass both or neither')
        return [], []
    roots = {'dataroot_gt': request.val_hr, 'dataroot_lq': request.val_lr}
    found = check_dataset({'type': PAIRED, 'phase': 'val', 'scale': request.scale, **roots}).problems
    problems += [f'--val_hr, --val_lr: {problem}' for problem in found]
    if found:
        return [], []
    lr = {path.stem: path for path in list_images(request.val_lr)}
    hr = _spread(list_images(request.val_hr), VALIDATION)
    return hr, [lr[path.stem] for path in hr]


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    return [paths[index] for index in evenly_spaced(paths, count)]


def _names(paths: Sequence[Path]) -> str:
    return ', '.join(f"'{path.name}'" for path in paths[:NAMED]) + (', ...' if len(paths) > NAMED else '')
