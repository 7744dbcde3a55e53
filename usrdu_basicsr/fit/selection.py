"""Check the user's folders, and select the images for training, validation and the report."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from usrdu_basicsr.data.exchanged_folders import folder_quality, noise_warning, sharpness_warning
from usrdu_basicsr.degradation.patch_spectra import patch_side
from usrdu_basicsr.fit.network import GT_SIZE
from usrdu_basicsr.fit.request import Request
from usrdu_basicsr.fit.validation_pairs import LR_SIDE, VALIDATION, file_names, select_pairs
from usrdu_basicsr.storage.source import IMAGE, FolderSource, spread
from usrdu_basicsr.utils.errors import InputError, UserError
from usrdu_basicsr.utils.files import file_sha256
from usrdu_basicsr.utils.images import image_size, list_images

MIN_IMAGES, FEW_IMAGES = 5, 20  # of each folder
HELD_BACK = 6  # images at most
SHARE = 10  # one image of so many is held back
THREADS = 4  # that decode images: one needs up to a gigabyte


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
        'HR': _readable(request.hr, '--hr', max(patch_side(request.scale), GT_SIZE[request.scale]), notes, problems),
        'LR': _readable(request.lr, '--lr', LR_SIDE, notes, problems),
    }
    pair_problems: list[str] = []
    pairs = select_pairs(request.val_hr, request.val_lr, request.scale, pair_problems)
    keys = _content_keys({*readable['HR'], *readable['LR'], *pairs[0], *pairs[1]})
    usable = {kind: _without_copies(paths, f'--{kind.lower()}', keys, notes) for kind, paths in readable.items()}
    if usable['HR'] and usable['LR']:
        if request.hr.resolve() == request.lr.resolve():
            problems.append(f"--hr and --lr: got the same folder '{request.hr}', expected two. Pass one of each kind")
        else:
            usable['HR'] = _without(usable['HR'], '--hr', usable['LR'], '--lr', keys, notes)
            _compare(usable['HR'], usable['LR'], notes, problems)
    problems += pair_problems
    for (kind, paths), others in zip(usable.items(), pairs, strict=True):
        option = kind.lower()
        usable[kind] = _without(paths, f'--{option}', others, f'--val_{option}', keys, notes)
    for kind, paths in usable.items():
        if readable[kind] and len(paths) < MIN_IMAGES:
            problems.append(f'--{kind.lower()}: got {len(paths)} usable images, expected {MIN_IMAGES}. Add images')
        elif MIN_IMAGES <= len(paths) < FEW_IMAGES:
            notes.append(f'Only {len(paths)} {kind} images: {FEW_IMAGES} or more describe a camera better.')
    if problems:
        raise InputError('\n'.join((f'{len(problems)} problem{"s" * (len(problems) > 1)}', *problems)))
    hr, lr = usable['HR'], usable['LR']
    held_back = spread(lr, min(HELD_BACK, max(1, len(lr) // SHARE)))
    selection = Selection(hr, [path for path in lr if path not in held_back], held_back, *pairs, notes)
    if not selection.val_hr:
        selection.val_hr = spread(hr, min(VALIDATION, max(1, len(hr) // SHARE)))
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
    with ThreadPoolExecutor(THREADS) as threads:
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
        notes.append(f'{option}: skipped {len(files)} of {count} images {reason}: {file_names(files)}')


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except InputError:
        return None


def _content_keys(paths: Collection[Path]) -> dict[Path, str]:
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


def _without(
    paths: Sequence[Path],
    option: str,
    others: Sequence[Path],
    other_option: str,
    keys: Mapping[Path, str],
    notes: list[str],
) -> list[Path]:
    """Images whose content is not one of other images."""
    unwanted = {keys[path] for path in others}
    both = [path for path in paths if keys[path] in unwanted]
    _note_skipped(notes, option, both, len(paths), f'that are in {other_option}, too')
    return [path for path in paths if keys[path] not in unwanted]


def _compare(hr: Sequence[Path], lr: Sequence[Path], notes: list[str], problems: list[str]) -> None:
    """Find out whether the folders are exchanged."""
    if not hr:
        problems.append('--hr: got images that are all in --lr, too, expected good images from elsewhere')
        return
    qualities = [folder_quality(_source(paths)) for paths in (hr, lr)]
    if warning := noise_warning(*qualities):
        problems.append(f'{warning} Exchange --hr and --lr, or use HR images with less noise')
    elif warning := sharpness_warning(*qualities):
        notes.append(f'{warning} The run goes on')


def _source(paths: Sequence[Path]) -> FolderSource:
    return FolderSource(paths[0].parent, [path.name for path in paths], IMAGE)
