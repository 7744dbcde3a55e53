"""Pairs of HR images and LR images or log-scale maps: matching by name, and checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from usrdu_basicsr.storage.open_source import PAIRED, meta_info_file_of, paired_names
from usrdu_basicsr.storage.source import Source, raise_errors
from usrdu_basicsr.utils.errors import InputError

Size = tuple[int, int]


def partner_indices(first: Source, second: Source) -> np.ndarray:
    """Find the index in `second` of the file that has the same name without extension as each file of `first`.

    Raises:
        InputError: If a file has no partner, or two files of `second` have the same name.
    """
    names = first.stems()
    index, problems = _index_names(second, second.stems())
    problems += [_missing(first.name(i), second) for i, name in enumerate(names) if name not in index]
    raise_errors(list(map(InputError, problems)))
    return np.array([index[name] for name in names])


def check_lr_size(name: str, size: Size, hr_name: str, hr_size: Size, scale: int) -> None:
    """Raise an InputError if a generated LR image or log-scale map has the wrong `(height, width)`."""
    if size != _generated_size(hr_size, scale):
        raise InputError(f'{_wrong_size(name, size, hr_name, hr_size, scale)}. Generate the set again')


def check_pairs(
    dataset: Mapping[str, Any], gt: Source, lq: Source, gt_sizes: Sequence[Size | None], lq_sizes: Sequence[Size | None]
) -> tuple[list[str], list[str]]:
    """Find HR images without a partner, ambiguous names, and sizes that do not fit the scale.

    Args:
        dataset: Options `type`, `phase`, `scale`, and those of `PairedImageDataset` that determine the names.
        gt: HR images.
        lq: LR images or log-scale maps.
        gt_sizes: `(height, width)` of each HR image; None skips the size check.
        lq_sizes: The same for `lq`.

    Returns:
        Problems that prevent training, and notes on files that are ignored.
    """
    is_basicsr, scale = dataset['type'] == PAIRED, dataset['scale']
    gt_names, lq_names = gt.stems(), lq.stems()
    if is_basicsr:
        gt_names, lq_names = paired_names(gt, dataset.get('filename_tmpl') or '{}'), paired_names(lq, '{}')
    (gt_index, problems), (lq_index, lq_problems) = _index_names(gt, gt_names), _index_names(lq, lq_names)
    problems += lq_problems
    problems += [_missing(gt.name(index), lq) for name, index in gt_index.items() if name not in lq_index]
    notes: list[str] = []
    if unused := sorted(lq_index.keys() - gt_index.keys()):
        text = f"{len(unused)} files of '{lq.root}' have no partner in '{gt.root}', such as {unused[0]!r}"
        # BasicSR requires as many LR as HR images, unless a list names the HR images
        (problems if is_basicsr and meta_info_file_of(dataset) is None else notes).append(text)
    for name in sorted(gt_index.keys() & lq_index.keys()):
        gt_size, lq_size = gt_sizes[gt_index[name]], lq_sizes[lq_index[name]]
        if gt_size is None or lq_size is None:
            continue
        if not is_basicsr:
            fits = lq_size == _generated_size(gt_size, scale)
        elif dataset.get('phase') == 'train':
            fits = gt_size == (lq_size[0] * scale, lq_size[1] * scale)
        else:  # BasicSR crops HR images in validation only
            fits = gt_size[0] >= lq_size[0] * scale and gt_size[1] >= lq_size[1] * scale
        if not fits:
            problems.append(_wrong_size(lq.name(lq_index[name]), lq_size, gt.name(gt_index[name]), gt_size, scale))
    return problems, notes


def _index_names(source: Source, names: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Index of each name, and a problem for each file with the name of an earlier file."""
    index: dict[str, int] = {}
    problems = []
    for i, name in enumerate(names):
        if index.setdefault(name, i) != i:
            problems.append(f"'{source.name(index[name])}' and '{source.name(i)}' share a name. Rename one of them")
    return index, problems


def _generated_size(hr_size: Size, scale: int) -> Size:
    return hr_size[0] // scale, hr_size[1] // scale  # generation crops HR images to a multiple of the scale


def _missing(name: str, other: Source) -> str:
    return f"'{name}' has no partner of the same name in '{other.root}'"


def _wrong_size(name: str, size: Size, hr_name: str, hr_size: Size, scale: int) -> str:
    return f"'{name}': got {size} pixels (height, width), expected 1/{scale} of {hr_size}, the size of '{hr_name}'"
