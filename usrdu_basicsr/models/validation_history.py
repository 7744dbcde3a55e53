"""Metrics of all validations of a training, kept in a file across resumed runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from usrdu_basicsr.utils.files import write_text


class ValidationHistory:
    """`validation.jsonl` of an experiment: one line per validation, with `iter`, `dataset` and `metrics`.

    Args:
        path: Path of the file, which is created by the first validation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []

    def resume_from(self, iteration: int) -> None:
        """Read the validations up to an iteration and remove later ones, which the resumed run repeats.

        Raises:
            WriteError: If the file cannot be written.
        """
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.records = [record for line in lines if (record := _parse(line)) and record['iter'] <= iteration]
        self._write()

    def add(self, iteration: int, dataset: str, metrics: Mapping[str, float]) -> None:
        """Add a validation; an existing record of the same iteration and dataset is replaced.

        Raises:
            WriteError: If the file cannot be written.
        """
        self.records = [r for r in self.records if (r['iter'], r['dataset']) != (iteration, dataset)]
        self.records.append({'iter': iteration, 'dataset': dataset, 'metrics': dict(metrics)})
        self._write()

    def best(self, iterations: Iterable[int], metrics: Mapping[str, Mapping[str, Any]]) -> int | None:
        """Select the best iteration by the first metric on the first dataset; None if it was not measured in any.

        Args:
            iterations: Iterations to select from. The later of two equal ones is selected, as in BasicSR.
            metrics: Option `val: metrics`.
        """
        if not self.records or not metrics:
            return None
        metric, settings = next(iter(metrics.items()))
        sign = 1 if settings.get('better', 'higher') == 'higher' else -1
        dataset = self.records[0]['dataset']
        values = {r['iter']: r['metrics'].get(metric, math.nan) for r in self.records if r['dataset'] == dataset}
        measured = [(sign * values[i], i) for i in iterations if not math.isnan(values.get(i, math.nan))]
        return max(measured)[1] if measured else None

    def _write(self) -> None:
        # The whole file, which is short: a killed process leaves no incomplete line.
        write_text(self.path, ''.join(f'{json.dumps(record)}\n' for record in self.records))


def _parse(line: str) -> dict[str, Any] | None:
    """Parse a record; None if the line is invalid."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get('iter'), int) else None
