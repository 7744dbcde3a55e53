"""Record of the input files and settings that results were made from."""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from usrdu_basicsr.utils.errors import cannot_write

RECORDS = '.results.jsonl'


def file_identity(path: Path) -> dict[str, Any]:
    """Size and exact modification time of a file, `bytes` and `mtime_ns`.

    A newer-than comparison would miss an input that was replaced by an older file, for example from a backup. The
    values are None if the file cannot be accessed, which reading it reports.
    """
    try:
        status = path.stat()
    except OSError:
        return {'bytes': None, 'mtime_ns': None}
    return {'bytes': status.st_size, 'mtime_ns': status.st_mtime_ns}


class ResultRecords:
    """Records of the results in a folder, in its hidden file `.results.jsonl`.

    Each result appends one line, so that several processes can share the folder. The last line of a result counts. An
    incomplete line is ignored, and its result is recomputed.

    Args:
        folder: Folder of the results, which need not exist.
        settings: Settings that determine all results, as JSON values.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / RECORDS
        self.settings = dict(settings)
        self.records: dict[str, dict[str, Any]] = {}
        lines = self.path.read_text(errors='replace').splitlines() if self.path.is_file() else []
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
                self.records[record['result']] = record

    def matches(self, result: str, identity: Mapping[str, Any]) -> bool:
        """Whether a result was made from this input file with these settings."""
        return self.records.get(result) == self._record(result, identity)

    def is_known(self, result: str) -> bool:
        """Whether a file of this name was written here as a result, of any input and settings."""
        return result in self.records

    def begin(self, result: str) -> None:
        """Record that a result will be written or overwritten; a WriteError as in `add`.

        Otherwise a kill before `add` would leave the new result with the record of the old one, or without any.
        """
        self._append({'result': result})

    def add(self, result: str, identity: Mapping[str, Any]) -> None:
        """Record a result that has been written.

        Args:
            result: Name of the result.
            identity: `file_identity` of the input, from before it was read.

        Raises:
            WriteError: If the disk is full or the folder is not writable.
        """
        self._append(self._record(result, identity))

    def _append(self, record: dict[str, Any]) -> None:
        # Starts a new line, because the last one may be incomplete
        line = f'\n{json.dumps(record)}\n'.encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                # One call, so that lines of several processes are not mixed
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _record(self, result: str, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {'result': result, **identity, **self.settings}
