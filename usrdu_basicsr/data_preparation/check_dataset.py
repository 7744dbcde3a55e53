"""Check a dataset before a long run: decode every file and collect all problems."""

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
from usrdu_basicsr.storage.generated_set import check_generated_scale
from usrdu_basicsr.storage.open_source import PAIRED, open_basicsr_source, open_source
from usrdu_basicsr.storage.pairs import check_pairs
from usrdu_basicsr.storage.source import IMAGE, LOG_SCALE, FolderSource, Source
from usrdu_basicsr.utils.errors import UserError

GT, LQ, LOG_SCALES = 'dataroot_gt', 'dataroot_lq', 'dataroot_log_scale'
UNCERTAINTY_PAIRED = 'UncertaintyPairedDataset'
ROOTS = {
    'HRImageDataset': (GT,),
    'SingleImageDataset': (LQ,),
    'UnpairedImageDataset': (GT, LQ),
    PAIRED: (GT, LQ),
    UNCERTAINTY_PAIRED: (GT, LQ, LOG_SCALES),
}


@dataclass
class DatasetReport:
    """Result of a dataset check.

    Attributes:
        summary: One line per folder or LMDB: number, sizes and channels of its files.
        notes: Unusual properties that training accepts.
        problems: Reasons why training would stop.
    """

    summary: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class InspectedSource(NamedTuple):
    """Files of a `dataroot_*` option and their properties."""

    option: str
    source: Source
    infos: list[ImageInfo]

    def sizes(self) -> list[tuple[int, int] | None]:
        """Return the `(height, width)` of each file, None if it is unreadable."""
        return [info.size for info in self.infos]


def check_dataset(dataset: Mapping[str, Any], workers: int = 1) -> DatasetReport:
    """Check the folders and LMDBs of a section of `datasets`.

    Args:
        dataset: `type`, `phase`, `scale`, the `dataroot_*` and `meta_info_file*` options, and `gt_size` for training.
        workers: Number of decoding threads.

    Returns:
        Summary, and the images that are unreadable, too small, without a partner, or of a wrong size.
    """
    report = DatasetReport(problems=_option_problems(dataset))
    if report.problems:
        return report
    inspected: dict[str, InspectedSource] = {}
    for option in ROOTS[dataset['type']]:
        try:
            source = _open(dataset, option)
        except UserError as error:
            report.problems.append(f'{option}: {error}')
            continue
        with ThreadPoolExecutor(workers) as threads:
            infos = threads.map(partial(inspect_image, source), range(len(source)))
            inspected[option] = InspectedSource(option, source, list(tqdm(infos, option, len(source), unit=' files')))
        report.summary.append(_summary(inspected[option]))
        report.notes += filter(None, (info.note for info in inspected[option].infos))
        report.problems += filter(None, (info.problem for info in inspected[option].infos))
        report.problems += _small_images(inspected[option], dataset)
    if dataset['type'] in (PAIRED, UNCERTAINTY_PAIRED) and GT in inspected:
        gt = inspected.pop(GT)
        for lq in inspected.values():
            problems, notes = check_pairs(dataset, gt.source, lq.source, gt.sizes(), lq.sizes())
            report.problems += problems
            report.notes += notes
    if {LQ, LOG_SCALES} <= inspected.keys():
        try:
            check_generated_scale(inspected[LQ].source.root.parent, dataset['scale'])
        except UserError as error:
            report.problems.append(str(error))
    return report


def _option_problems(dataset: Mapping[str, Any]) -> list[str]:
    if dataset.get('type') not in ROOTS:
        return [f'type: got {dataset.get("type")!r}, expected one of {", ".join(sorted(ROOTS))}']
    types: dict[str, tuple[type, ...]] = dict.fromkeys(ROOTS[dataset['type']], (str, Path)) | {'scale': (int,)}
    if dataset.get('phase') == 'train' and dataset.get('gt_size') is not None:
        types['gt_size'] = (int,)
    return [
        f'{key}: got {dataset.get(key)!r}, expected {"a path" if str in allowed else "an integer"}'
        for key, allowed in types.items()
        if not isinstance(dataset.get(key), allowed)
    ]


def _open(dataset: Mapping[str, Any], option: str) -> Source:
    if dataset['type'] in (PAIRED, 'SingleImageDataset'):
        return open_basicsr_source(dataset, option)
    key = 'meta_info_file' if option == GT else 'meta_info_file_lq'
    meta_info_file = None if option != GT and dataset['type'] == UNCERTAINTY_PAIRED else dataset.get(key)
    return open_source(dataset[option], LOG_SCALE if option == LOG_SCALES else IMAGE, meta_info_file)


def _summary(inspected: InspectedSource) -> str:
    source = inspected.source
    parts = [f'{len(source)} {source.format.noun}s']
    if sizes := [size for size in inspected.sizes() if size is not None]:
        smallest, middle, largest = (
            'x'.join(str(int(select(size[axis] for size in sizes))) for axis in (0, 1)) for select in (min, median, max)
        )
        size_range = f'{smallest} to {largest}, median {middle} (height x width)'
        parts.append(smallest if smallest == largest else size_range)
    if counts := Counter(info.channels for info in inspected.infos if info.channels).most_common():
        parts.append(', '.join(f'{count} {channels}' if len(counts) > 1 else channels for channels, count in counts))
    if isinstance(source, FolderSource):
        ignored = sum(path.is_file() for path in source.root.iterdir()) - len(source)
        if ignored > 0:
            parts.append(f'{ignored} other file{"s" * (ignored > 1)} ignored')
    return f'{inspected.option} {source.root}: {"; ".join(parts)}'


def _small_images(inspected: InspectedSource, dataset: Mapping[str, Any]) -> Iterator[str]:
    if dataset.get('phase') != 'train' or dataset.get('gt_size') is None:
        return
    patch = dataset['gt_size'] if inspected.option == GT else dataset['gt_size'] // dataset['scale']
    for index, size in enumerate(inspected.sizes()):
        if size is not None and min(size) < patch:
            name = inspected.source.name(index)
            yield f"'{name}' is {size[0]}x{size[1]} pixels, too small for patches of {patch}x{patch}"
