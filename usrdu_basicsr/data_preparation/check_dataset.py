"""Check a dataset before a long run: decode every file and collect all problems."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from usrdu_basicsr.data.exchanged_folders import exchange_warning
from usrdu_basicsr.data_preparation.image_info import ImageInfo, inspect_image
from usrdu_basicsr.options.schema.dataset_options import MarginOptions
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
    sources: dict[str, Source] = {}
    sizes: dict[str, list[tuple[int, int] | None]] = {}
    for option in ROOTS[dataset['type']]:
        try:
            source = sources[option] = _open(dataset, option)
        except UserError as error:
            report.problems.append(f'{option}: {error}')
            continue
        with ThreadPoolExecutor(workers) as threads:
            inspected = threads.map(partial(inspect_image, source), range(len(source)))
            infos = list(tqdm(inspected, option, len(source), unit=' files'))
        sizes[option] = [info.size for info in infos]
        report.summary.append(f'{option} {source.root}: {_summary(source, infos)}')
        report.notes += filter(None, (info.note for info in infos))
        report.problems += filter(None, (info.problem for info in infos))
        report.problems += _small_images(dataset, option, source, sizes[option])
    if dataset['type'] == 'UnpairedImageDataset' and {GT, LQ} <= sources.keys():
        report.notes += filter(None, [exchange_warning(sources[GT], sources[LQ])])
    if dataset['type'] in (PAIRED, UNCERTAINTY_PAIRED) and GT in sources:
        gt = sources.pop(GT)
        for option, lq in sources.items():
            problems, notes = check_pairs(dataset, gt, lq, sizes[GT], sizes[option])
            report.problems += problems
            report.notes += notes
    if {LQ, LOG_SCALES} <= sources.keys():
        try:
            check_generated_scale(sources[LQ].root.parent, dataset['scale'])
        except UserError as error:
            report.problems.append(str(error))
    return report


def _option_problems(dataset: Mapping[str, Any]) -> list[str]:
    if dataset.get('type') not in ROOTS:
        return [f'type: got {dataset.get("type")!r}, expected one of {", ".join(sorted(ROOTS))}']
    integers = ['scale', 'gt_size'] if _has_patches(dataset) else ['scale']
    invalid = [(key, 'a path') for key in ROOTS[dataset['type']] if not isinstance(dataset.get(key), str | Path)]
    invalid += [(key, 'an integer') for key in integers if not isinstance(dataset.get(key), int)]
    return [f'{key}: got {dataset.get(key)!r}, expected {expected}' for key, expected in invalid]


def _has_patches(dataset: Mapping[str, Any]) -> bool:
    return dataset.get('phase') == 'train' and dataset.get('gt_size') is not None


def _open(dataset: Mapping[str, Any], option: str) -> Source:
    if dataset['type'] in (PAIRED, 'SingleImageDataset'):
        return open_basicsr_source(dataset, option)
    key = 'meta_info_file' if option == GT else 'meta_info_file_lq'
    meta_info_file = None if option != GT and dataset['type'] == UNCERTAINTY_PAIRED else dataset.get(key)
    return open_source(dataset[option], LOG_SCALE if option == LOG_SCALES else IMAGE, meta_info_file)


def _summary(source: Source, infos: Sequence[ImageInfo]) -> str:
    parts = [f'{len(source)} {source.format.noun}s']
    if sizes := [info.size for info in infos if info.size is not None]:
        smallest, middle, largest = (
            'x'.join(str(int(select(size[axis] for size in sizes))) for axis in (0, 1)) for select in (min, median, max)
        )
        size_range = f'{smallest} to {largest}, median {middle} (height x width)'
        parts.append(smallest if smallest == largest else size_range)
    if counts := Counter(info.channels for info in infos if info.channels).most_common():
        parts.append(', '.join(f'{count} {channels}' if len(counts) > 1 else channels for channels, count in counts))
    if isinstance(source, FolderSource):
        ignored = sum(path.is_file() for path in source.root.iterdir()) - len(source)
        if ignored > 0:
            parts.append(f'{ignored} other file{"s" * (ignored > 1)} ignored')
    return '; '.join(parts)


def _small_images(
    dataset: Mapping[str, Any], option: str, source: Source, sizes: Sequence[tuple[int, int] | None]
) -> Iterator[str]:
    if not _has_patches(dataset):
        return
    patch = dataset['gt_size'] if option == GT else dataset['gt_size'] // dataset['scale']
    if dataset['type'] == 'HRImageDataset':
        patch += 2 * MarginOptions.from_options(dataset).margin
    for index, size in enumerate(sizes):
        if size is not None and min(size) < patch:
            name = source.name(index)
            yield f"'{name}': got {size[0]}x{size[1]} pixels, expected at least the patch size {patch}x{patch}"
