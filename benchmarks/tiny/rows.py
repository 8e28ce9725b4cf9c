"""Results of a sweep: a line a family and mode, the last one counts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""See :func:`benchmarks.tiny.trial.tried`."""


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def newest(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """``(family, mode)`` -> its last row, by name."""
    found = {(row["family"], row["mode"]): row for row in rows}
    return dict(sorted(found.items()))


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
