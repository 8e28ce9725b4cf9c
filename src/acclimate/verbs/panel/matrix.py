"""Several models on one panel, side by side: sets by models, and their macro averages."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acclimate.paired.estimate import ALPHA
from acclimate.paired.metrics import DRIFT
from acclimate.reports.card import plain
from acclimate.runs.panel import PanelFolder, read_panel
from acclimate.types.errors import RunError
from acclimate.verbs.panel.page import title

GAP = 2
"""Characters between columns."""
NOTE = f"* apart from its base: p < {ALPHA}, adjusted by Holm's method for all changes of that panel."


@dataclass(frozen=True)
class Cell:
    """A value, and whether it is apart from that of its base."""

    value: float
    apart: bool = False

    def __str__(self) -> str:
        return f"{self.value:.4f}{'*' if self.apart else ''}"


@dataclass(frozen=True)
class Row:
    """One metric of one set, or its mean over the sets of a role; None where a column does not have it."""

    name: str
    metric: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """Columns are the bases, each once, and then the models."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data; null where a column does not have a row."""
        rows = [
            {
                "set": row.name,
                "metric": row.metric,
                "cells": [None if cell is None else vars(cell) for cell in row.cells],
            }
            for row in self.rows
        ]
        return {"columns": list(self.columns), "rows": rows, "note": NOTE}


def matrix(folders: Sequence[Path]) -> Matrix:
    """Reads panels that were measured already; nothing is measured again.

    Args:
        folders: of panels with equal digests, such as RUN/panels/NAME.

    Raises:
        RunError: a folder holds no panel, or two were not asked the same.
    """
    panels = [read_panel(folder) for folder in folders]
    for panel in panels[1:]:
        _check_asked_the_same(panels[0], panel)
    bases = [panel for at, panel in enumerate(panels) if panel.base not in {before.base for before in panels[:at]}]
    sources = [*((panel, "base") for panel in bases), *((panel, "model") for panel in panels)]
    found = [_values(panel, side) for panel, side in sources]
    keys = dict.fromkeys(key for values in found for key in values)
    rows = [Row(*key, tuple(values.get(key) for values in found)) for key in keys]
    columns = _names(["base"] if len(bases) == 1 else [panel.base_path for panel in bases], bases)
    columns += _names([panel.model for panel in panels], panels)
    return Matrix(tuple(columns), (*rows, *_averages(rows, panels[0])))


def _check_asked_the_same(one: PanelFolder, other: PanelFolder) -> None:
    if one.digest == other.digest:
        return
    names = dict.fromkeys([*one.sets, *other.sets])
    differ = [n for n in names if one.sets.get(n, {}).get("digest") != other.sets.get(n, {}).get("digest")]
    how = f"the items of {' and '.join(differ)} differ" if differ else "template, sequence_length or overlap differ"
    raise RunError(f"'{one.path}' and '{other.path}' were not asked the same: {how}. Measure both on one panel file.")


def _values(panel: PanelFolder, side: str) -> dict[tuple[str, str], Cell]:
    changes = {(r["set"], r["metric"]): r for r in panel.records}
    return {
        (record["set"], record["metric"]): Cell(record["value"], side == "model" and _apart(record, changes))
        for record in panel.records
        if record["run"] == side
        and ((record["set"], f"{record['metric']}_change") in changes or record["metric"] == DRIFT)
    }


def _apart(record: Mapping[str, Any], changes: Mapping[tuple[str, str], Mapping[str, Any]]) -> bool:
    change = changes.get((record["set"], f"{record['metric']}_change"), {})
    return float(change.get("p_holm", 1.0)) < ALPHA


def _averages(rows: Sequence[Row], panel: PanelFolder) -> list[Row]:
    """Each set has the same weight, whatever its size."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(panel.sets[row.name]["role"]), row.metric), []).append(row)
    found = []
    for (role, metric), group in groups.items():
        columns = list(zip(*(row.cells for row in group), strict=True))
        cells = tuple(_mean([cell for cell in column if cell is not None], len(group)) for column in columns)
        found += [Row(f"mean of {len(group)} {role} sets", metric, cells)] if len(group) > 1 else []
    return found


def _mean(cells: Sequence[Cell], count: int) -> Cell | None:
    return Cell(statistics.fmean(cell.value for cell in cells)) if len(cells) == count else None


def _names(names: Sequence[str], panels: Sequence[PanelFolder]) -> list[str]:
    """Names that several share are told apart by their folders."""
    return [name if names.count(name) == 1 else str(p.path) for name, p in zip(names, panels, strict=True)]


def matrix_tables(found: Matrix, width: int) -> Group:
    """For a terminal of so many characters: no name and no number is broken where they fit in any way.

    Where the models' names do not fit beside each other, columns have numbers, which are named below; where the numbers
    do not fit, there are several tables. Names are text, never markup.
    """
    cells = [[Text(cell) for cell in _cells(row)] for row in found.rows]
    widths = [
        GAP + max(cell_len(cell.plain) for cell in (Text(title), *column))
        for title, column in zip(("set", "metric", *("" for _ in found.columns)), zip(*cells, strict=True), strict=True)
    ]
    beside, numbers = sum(widths[:2]) + 1, widths[2:]
    named = beside + sum(max(GAP + cell_len(name), own) for name, own in zip(found.columns, numbers, strict=True))
    if named <= width:
        return Group(_table(found.columns, cells), Text(NOTE, style="italic"))
    at_once = max(1, (width - beside) // max(numbers))
    every = range(len(found.columns))
    parts = [every[start : start + at_once] for start in every[::at_once]]
    are_short = GAP + max(map(cell_len, found.columns)) <= max(numbers)
    labels = found.columns if are_short else [str(n + 1) for n in every]
    legend = [] if are_short else [Text(f"{n + 1}  {name}", overflow="fold") for n, name in enumerate(found.columns)]
    tables = [
        _table([labels[n] for n in part], [[*row[:2], *(row[2 + n] for n in part)] for row in cells]) for part in parts
    ]
    return Group(*tables, *legend, Text(NOTE, style="italic"))


def _table(names: Sequence[str], rows: Sequence[Sequence[Text]]) -> Table:
    table = Table(pad_edge=False, collapse_padding=True, header_style="bold", box=box.SIMPLE_HEAD)
    for column in ("set", "metric"):
        table.add_column(column, overflow="fold")
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def matrix_markdown(found: Matrix) -> str:
    """For a paper or a comment."""
    lines = [("set", "metric", *map(plain, found.columns)), ("---", "---", *("---:" for _ in found.columns))]
    lines += [tuple(map(plain, _cells(row))) for row in found.rows]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", plain(NOTE), ""])


def _cells(row: Row) -> list[str]:
    return [row.name, title(row.metric), *("" if cell is None else str(cell) for cell in row.cells)]
