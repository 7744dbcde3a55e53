"""How images are packed, into LMDBs or tiles."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackingSettings:
    """What `scripts/create_lmdb.py` and `scripts/extract_subimages.py` have in common.

    Attributes:
        workers: Processes that read and encode.
        compression: Level of the PNGs, 0 to 9: 0 is large and read fastest, 9 is small.
        overwrite: Replace what is there.
    """

    workers: int = 1
    compression: int = 1
    overwrite: bool = False


DEFAULTS = PackingSettings()
