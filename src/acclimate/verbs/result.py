"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from acclimate.measurement.summary import Record
from acclimate.reports import collect, summary_page
from acclimate.types.notebook import image, printed


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, and the records of its ``summary.json``."""

    run_dir: Path
    summary: list[Record]

    def _repr_html_(self) -> str:
        """The table that `acclimate train` ends with, and the report's pictures of what was gained and kept, and of how
        training went."""
        from acclimate.reports.pictures import figures, svg  # matplotlib, which only who looks at pictures waits for

        data = collect([self.run_dir])
        pictures = (*figures.gained(data), *figures.kept(data), *figures.learning(data))
        return printed(lambda console: console.print(summary_page(data, console.width))) + "".join(
            image(svg.standalone(picture.svg), picture.title) for picture in pictures
        )
