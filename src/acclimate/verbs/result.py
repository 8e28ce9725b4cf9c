"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acclimate.measurement.summary import Record
from acclimate.reports import collect, summary_page
from acclimate.types.notebook import printed


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and the records of its ``summary.json``."""

    run_dir: Path
    summary: list[Record]

    def _repr_html_(self) -> str:
        """The table that `acclimate train` ends with."""
        return printed(lambda console: console.print(summary_page(collect([self.run_dir]), console.width)))
