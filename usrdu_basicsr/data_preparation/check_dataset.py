"""Look a dataset over before a long run: every file is decoded, and every problem told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tqdm import tqdm

from usrdu_basicsr.data_preparation.image_info import ImageInfo, inspect_image
from usrdu_basicsr.storage.basicsr_sources import PAIRED, list_of, open_basicsr_source, paired_names
from usrdu_basicsr.storage.folder_source import FolderSource
from usrdu_basicsr.storage.formats import IMAGE, LOG_SCALE
from usrdu_basicsr.storage.generated_set import read_description
from usrdu_basicsr.storage.open_source import open_source
from usrdu_basicsr.storage.source import Source
from usrdu_basicsr.utils.errors import UserError

GT, LQ, LOG_SCALES = 'dataroot_gt', 'dataroot_lq', 'dataroot_log_scale'
OURS_PAIRED = 'UncertaintyPairedDataset'
ROOTS = {
    'HRImageDataset': (GT,),
    'SingleImageDataset': (LQ,),
    'UnpairedImageDataset': (GT, LQ),
    PAIRED: (GT, LQ),
    OURS_PAIRED: (GT, LQ, LOG_SCALES),
}


@dataclass
class DatasetReport:
    """What was found."""

    summary: list[str] = field(default_factory=list)
    """A line each folder or LMDB."""
    notes: list[str] = field(default_factory=list)
    """What works, and may be meant otherwise."""
    problems: list[str] = field(default_factory=list)
    """What training would stop at."""


class Side(NamedTuple):
    """What one `dataroot_*` holds."""

    option: str
    source: Source
    facts: list[ImageInfo]


def check_dataset(dataset: Mapping[str, Any], workers: int = 1) -> DatasetReport:
    """Look over the folders and LMDBs of a section of `datasets`.

    Args:
        dataset: `type`, `phase`, `scale`, the `dataroot_*`, the lists if any, and for training `gt_size`.
        workers: Threads that decode.

    Returns:
        Counts, sizes and channels; images that cannot be read, are too small, lack their partner or do not have the
        scale of it.
    """
    report = DatasetReport(problems=_option_problems(dataset))
    if report.problems:
        return report
    sides: dict[str, Side] = {}
    for option in ROOTS[dataset['type']]:
        try:
            source = _open(dataset, option)
        except UserError as error:
            report.problems.append(f'{option}: {error}')
            continue
        with ThreadPoolExecutor(workers) as threads:
            found = threads.map(partial(inspect_image, source), range(len(source)))
            side = sides[option] = Side(option, source, list(tqdm(found, option, len(source), unit=' files')))
        report.summary.append(_summary(side))
        report.notes += filter(None, (facts.note for facts in side.facts))
        report.problems += filter(None, (facts.problem for facts in side.facts))
        report.problems += _small(side, dataset)
    if dataset['type'] in (PAIRED, OURS_PAIRED) and GT in sides:
        for option, side in sides.items():
            if option != GT:
                _check_pairs(report, dataset, sides[GT], side)
    if {LQ, LOG_SCALES} <= sides.keys():
        report.problems += _scale_problem(sides[LQ].source.root.parent, dataset['scale'])
    return report


def _option_problems(dataset: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options that are needed here."""
    if dataset.get('type') not in ROOTS:
        return [f'type: {dataset.get("type")!r}, expected one of {", ".join(sorted(ROOTS))}']
    kinds: dict[str, tuple[type, ...]] = dict.fromkeys(ROOTS[dataset['type']], (str, Path)) | {'scale': (int,)}
    if dataset.get('phase') == 'train' and dataset.get('gt_size') is not None:
        kinds['gt_size'] = (int,)
    return [
        f'{key} is {dataset.get(key)!r}, expected {"a path" if str in kind else "a whole number"}'
        for key, kind in kinds.items()
        if not isinstance(dataset.get(key), kind)
    ]


def _open(dataset: Mapping[str, Any], option: str) -> Source:
    if dataset['type'] in (PAIRED, 'SingleImageDataset'):
        return open_basicsr_source(dataset, option)
    key = 'meta_info_file' if option == GT else 'meta_info_file_lq'
    listed = None if option != GT and dataset['type'] == OURS_PAIRED else dataset.get(key)
    return open_source(dataset[option], LOG_SCALE if option == LOG_SCALES else IMAGE, listed)


def _summary(side: Side) -> str:
    sizes = [facts.size for facts in side.facts if facts.size is not None]
    parts = [f'{len(side.source)} {side.source.format.noun}s']
    if sizes:
        least, middle, most = (
            'x'.join(str(int(pick(size[axis] for size in sizes))) for axis in (0, 1)) for pick in (min, median, max)
        )
        parts.append(least if least == most else f'{least} to {most}, median {middle} (height x width)')
    kinds = Counter(facts.kind for facts in side.facts if facts.kind)
    if kinds:
        parts.append(', '.join(f'{count} {kind}' if len(kinds) > 1 else kind for kind, count in kinds.most_common()))
    if isinstance(side.source, FolderSource):
        others = sum(path.is_file() for path in side.source.root.iterdir()) - len(side.source)
        if others > 0:
            parts.append(f'{others} more file{"s" * (others > 1)}, not read')
    return f'{side.option} {side.source.root}: {"; ".join(parts)}'


def _small(side: Side, dataset: Mapping[str, Any]) -> Iterator[str]:
    """Images that hold no crop."""
    if dataset.get('phase') != 'train' or dataset.get('gt_size') is None:
        return
    least = dataset['gt_size'] if side.option == GT else dataset['gt_size'] // dataset['scale']
    for index, facts in enumerate(side.facts):
        if facts.size is not None and min(facts.size) < least:
            height, width = facts.size
            yield f"'{side.source.name(index)}' is {height}x{width} pixels, too small for crops of {least}x{least}"


def _check_pairs(report: DatasetReport, dataset: Mapping[str, Any], gt: Side, other: Side) -> None:
    """Images without a partner, names that clash, and sizes that do not fit."""
    if dataset['type'] == PAIRED:
        names = paired_names(gt.source, dataset.get('filename_tmpl') or '{}'), paired_names(other.source, '{}')
    else:
        names = gt.source.stems(), other.source.stems()
    mine, theirs = _index(report, gt, names[0]), _index(report, other, names[1])
    for stem in sorted(mine.keys() - theirs.keys()):
        name = gt.source.name(mine[stem])
        report.problems.append(f"'{name}' has no partner of the same name in '{other.source.root}'")
    if more := sorted(theirs.keys() - mine.keys()):
        text = f"{len(more)} of '{other.source.root}' have no partner in '{gt.source.root}', {more[0]!r} first"
        whole = dataset['type'] == PAIRED and list_of(dataset) is None
        (report.problems if whole else report.notes).append(text)
    scale, exact = dataset['scale'], dataset.get('phase') == 'train'
    for stem in sorted(mine.keys() & theirs.keys()):
        size, own = gt.facts[mine[stem]].size, other.facts[theirs[stem]].size
        if size is None or own is None:
            continue
        # Ours crop HR photos to a multiple of the scale, BasicSR's do so in validation alone.
        fits = own == (size[0] // scale, size[1] // scale)
        if dataset['type'] == PAIRED:
            fits = all(a == b * scale if exact else a >= b * scale for a, b in zip(size, own, strict=True))
        if not fits:
            name, photo = other.source.name(theirs[stem]), gt.source.name(mine[stem])
            report.problems.append(f"'{name}' is {own} pixels (height, width), not 1/{scale} of '{photo}', {size}")


def _index(report: DatasetReport, side: Side, names: list[str]) -> dict[str, int]:
    for name, count in Counter(names).items():
        if count > 1:
            report.problems.append(f"{side.option}: {count} of '{side.source.root}' share the name {name!r}")
    return {name: index for index, name in enumerate(names)}


def _scale_problem(folder: Path, scale: int) -> Iterator[str]:
    """A set that was generated at another scale."""
    try:
        description = read_description(folder)
    except UserError as error:
        yield str(error)
        return
    if description is not None and description['scale'] != scale:
        yield f"'{folder}' was generated at scale {description['scale']}, not {scale}"
