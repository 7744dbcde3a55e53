"""Report of a run that writes one result for each input file."""

from dataclasses import dataclass, field


@dataclass
class FileReport:
    """Input files by outcome: result written, skipped because it already exists, or failed."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Number of files by outcome, in one line."""
        return f'{len(self.written)} written, {len(self.skipped)} skipped (already exist), {len(self.failed)} failed'
