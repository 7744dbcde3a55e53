"""Check the user's folders, and select the images for training, validation and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from usrdu_basicsr.data.exchanged_folders import folder_quality, noise_warning, sharpness_warning
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
    readable = {
        'HR': _readable(request.hr, '--hr', request.scale * LR_SIDE, notes, problems),
        'LR': _readable(request.lr, '--lr', LR_SIDE, notes, problems),
    }
    keys = _content_keys([path for paths in readable.values() for path in paths])
    usable = {kind: _without_copies(paths, f'--{kind.lower()}', keys, notes) for kind, paths in readable.items()}
    if usable['HR'] and usable['LR']:
        if request.hr.resolve() == request.lr.resolve():
            problems.append(f"--hr and --lr: got the same folder '{request.hr}', expected two. Pass one of each kind")
        else:
            usable['HR'] = _without_camera_images(usable['HR'], usable['LR'], keys, notes)
            qualities = [folder_quality(_source(usable[kind])) for kind in ('HR', 'LR')]
            if warning := noise_warning(*qualities):
                problems.append(f'{warning} Exchange --hr and --lr, or use HR images with less noise')
            elif warning := sharpness_warning(*qualities):
                notes.append(f'{warning} The run goes on')
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


def _readable(folder: Path, option: str, smallest: int, notes: list[str], problems: list[str]) -> list[Path]:
    """Readable images of a folder that are large enough."""
    try:
        paths = list_images(folder)
    except UserError as error:
        problems.append(f'{option}: {error}')
        return []
    with ThreadPoolExecutor() as threads:
        sizes = dict(zip(paths, threads.map(_size, paths), strict=True))
    unreadable = [path for path, size in sizes.items() if size is None]
    small = [path for path, size in sizes.items() if size is not None and min(size) < smallest]
    for files, what in ((unreadable, 'cannot be read'), (small, f'are smaller than {smallest} pixels')):
        _note_skipped(notes, option, files, len(paths), f'that {what}')
    readable = [path for path, size in sizes.items() if size is not None and min(size) >= smallest]
    if not readable:
        problems.append(f"{option}: '{folder}' has no usable image. {notes.pop()}")
    return readable


def _note_skipped(notes: list[str], option: str, files: Sequence[Path], count: int, reason: str) -> None:
    if files:
        notes.append(f'{option}: skipped {len(files)} of {count} images {reason}: {_names(files)}')


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except InputError:
        return None


def _content_keys(paths: Sequence[Path]) -> dict[Path, str]:
    """Keys of files that are equal for equal contents. Only files of equal size are read."""
    sizes = {path: path.stat().st_size for path in paths}
    counts = Counter(sizes.values())
    return {path: file_sha256(path) if counts[size] > 1 else str(size) for path, size in sizes.items()}


def _without_copies(paths: Sequence[Path], option: str, keys: Mapping[Path, str], notes: list[str]) -> list[Path]:
    """Images without those that have the content of an earlier one."""
    first: dict[str, Path] = {}
    originals = [path for path in paths if first.setdefault(keys[path], path) is path]
    copies = [path for path in paths if first[keys[path]] is not path]
    _note_skipped(notes, option, copies, len(paths), 'that are copies of others')
    return originals


def _without_camera_images(
    hr: Sequence[Path], lr: Sequence[Path], keys: Mapping[Path, str], notes: list[str]
) -> list[Path]:
    """HR images that are not camera images, too."""
    camera = {keys[path] for path in lr}
    both = [path for path in hr if keys[path] in camera]
    _note_skipped(notes, '--hr', both, len(hr), 'that are in --lr, too')
    return [path for path in hr if keys[path] not in camera]


def _source(paths: Sequence[Path]) -> FolderSource:
    return FolderSource(paths[0].parent, [path.name for path in paths], IMAGE)


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
