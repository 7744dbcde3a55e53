"""The check of HR images against their LR images or log-scale maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from usrdu_basicsr.storage.basicsr_sources import PAIRED, meta_info_file_of, paired_names
from usrdu_basicsr.storage.source import Source

Size = tuple[int, int]


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
    if is_basicsr:
        names = paired_names(gt, dataset.get('filename_tmpl') or '{}'), paired_names(lq, '{}')
    else:
        names = gt.stems(), lq.stems()
    problems: list[str] = []
    notes: list[str] = []
    for source, own_names in zip((gt, lq), names, strict=True):
        repeated = [name for name, count in Counter(own_names).items() if count > 1]
        problems += [f"'{source.root}' contains several files named {name!r}: rename them" for name in repeated]
    gt_index, lq_index = ({name: index for index, name in enumerate(own_names)} for own_names in names)
    for name in sorted(gt_index.keys() - lq_index.keys()):
        problems.append(f"'{gt.name(gt_index[name])}' has no partner of the same name in '{lq.root}'")
    if unused := sorted(lq_index.keys() - gt_index.keys()):
        text = f"{len(unused)} files of '{lq.root}' have no partner in '{gt.root}', the first one is {unused[0]!r}"
        # BasicSR requires as many LR as HR images, unless a list names the HR images
        (problems if is_basicsr and meta_info_file_of(dataset) is None else notes).append(text)
    for name in sorted(gt_index.keys() & lq_index.keys()):
        gt_size, lq_size = gt_sizes[gt_index[name]], lq_sizes[lq_index[name]]
        if gt_size is None or lq_size is None:
            continue
        if not is_basicsr:  # this package crops HR images to a multiple of the scale
            fits = lq_size == (gt_size[0] // scale, gt_size[1] // scale)
        elif dataset.get('phase') == 'train':
            fits = gt_size == (lq_size[0] * scale, lq_size[1] * scale)
        else:  # BasicSR crops HR images in validation only
            fits = gt_size[0] >= lq_size[0] * scale and gt_size[1] >= lq_size[1] * scale
        if not fits:
            sizes = f'got {lq_size} pixels (height, width), expected 1/{scale} of {gt_size}'
            problems.append(f"'{lq.name(lq_index[name])}': {sizes}, the size of '{gt.name(gt_index[name])}'")
    return problems, notes
