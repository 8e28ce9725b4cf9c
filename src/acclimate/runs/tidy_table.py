"""All numbers of runs, panels and comparisons as one tidy table: a number a row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, DRIFT, METRICS, Metric
from acclimate.runs.cells import SUMS, ItemScores, TextScores, groups_of, read_table
from acclimate.runs.cells import Row as Cell
from acclimate.runs.folder import RunFolder, read_folder, read_summary
from acclimate.runs.layout import Layout, PanelLayout
from acclimate.runs.measured import check_measured
from acclimate.runs.panel import PanelFolder, panels_of, read_panel
from acclimate.types.errors import RunError, UsageError
from acclimate.types.notebook import html_table

if TYPE_CHECKING:
    import pandas
    import pyarrow

BASE = "base"
SHOWN = 30
"""Rows that a notebook shows."""
SOURCED = ("loss", "weight", "eval", "trained_tokens", "epochs")
"""Numbers of a step that are each of one source: ``loss/SOURCE/TERM``, ``eval/SET/METRIC``, ``epochs/SOURCE``."""
UNITS = {
    "loss": "nats/token",
    f"eval/{BITS}": METRICS[BITS].unit,
    "eval/change_percent": "%",
    "trained_tokens": "tokens",
    "tokens_per_second": "tokens/s",
    "data_seconds": "s",
}
"""Of what ``metrics.jsonl`` counts, by the longest beginning."""


@dataclass(frozen=True)
class Row:
    """One number. ``low`` and ``high`` are its 95 % interval, ``n`` the documents or items it is of."""

    run: str  # "base" of what the base scores, "base of RUN" where that is another number
    seed: int | None
    step: int | None  # of a line of metrics.jsonl; the last one of what the run's model scores, 0 of the base
    set: str | None  # a set of a panel is PANEL/SET
    role: str | None
    metric: str  # eval/METRIC is measured while training, on fewer documents
    unit: str | None
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


COLUMNS: Mapping[str, str] = {
    "run": "string", "seed": "int64", "step": "int64", "set": "string", "role": "string", "metric": "string",
    "unit": "string", "value": "float64", "low": "float64", "high": "float64", "n": "int64",
}  # fmt: skip
"""Name -> type in Arrow; those of whole numbers may be missing, so pandas has them as ``Int64``."""


@dataclass(frozen=True)
class Table:
    """Rows in the order of the paths; equal ones, as of a base that several runs share, stand once."""

    rows: tuple[Row, ...]

    def _repr_html_(self) -> str:
        shown = [["" if cell is None else _cell(cell) for cell in astuple(row)] for row in self.rows[:SHOWN]]
        more = [f"The first {SHOWN} of {len(self.rows):,} numbers; to_pandas() has all."] * (len(self.rows) > SHOWN)
        return html_table(list(COLUMNS), shown, more)

    def columns(self) -> dict[str, list[Any]]:
        """By name, for any library of tables."""
        cells = list(zip(*map(astuple, self.rows), strict=True)) or [()] * len(COLUMNS)
        return dict(zip(COLUMNS, map(list, cells), strict=True))

    def to_arrow(self) -> pyarrow.Table:
        """A ``pyarrow.Table``."""
        import pyarrow

        schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()])
        return pyarrow.table(self.columns(), schema=schema)

    def to_pandas(self) -> pandas.DataFrame:
        """A ``pandas.DataFrame``.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise UsageError(
                "runs.table(...).to_pandas() needs pandas; run `pip install 'acclimate[pandas]'`, or take to_arrow()."
            ) from None
        kinds = {"int64": "Int64", "float64": "float64", "string": "object"}
        return pandas.DataFrame(
            {name: pandas.Series(cells, dtype=kinds[COLUMNS[name]]) for name, cells in self.columns().items()}
        )


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(paths: str | Path | Iterable[str | Path], steps: bool = True) -> Table:
    """Numbers of finished runs with their panels, of single panels, and of comparisons.

    Nothing of a run or a panel is computed again. A comparison keeps sums by document, so its intervals are made here,
    of each of its runs alone.

    Args:
        paths: run folders, panels' folders, and tables of comparisons (``NAME.jsonl``).
        steps: whether the numbers of every step (``metrics.jsonl``) are in it.

    Raises:
        RunError: a path is none of these, a file is damaged, or numbers are not of the run's own weights.
        UsageError: no path.

    >>> table([])
    Traceback (most recent call last):
    acclimate.types.errors.UsageError: A table needs at least one run, panel or comparison: runs.table("runs/mol").
    """
    found = list(dict.fromkeys(map(Path, [paths] if isinstance(paths, str | Path) else paths)))
    if not found:
        raise UsageError('A table needs at least one run, panel or comparison: runs.table("runs/mol").')
    names = [path.resolve().name for path in found]
    rows: dict[Row, None] = {}
    bases: dict[tuple[Any, ...], Row] = {}
    for path, name in zip(found, names, strict=True):
        label = name if names.count(name) == 1 else str(path)
        for row in _rows(path, label, steps):
            own = row.run in (BASE, f"trial {BASE}") and bases.setdefault((row.run, row.seed, row.set, row.metric), row)
            rows[replace(row, run=f"{row.run} of {label}") if own and own != row else row] = None
    return Table(tuple(rows))


def _rows(path: Path, label: str, steps: bool) -> Iterator[Row]:
    if path.is_file():
        for cell in read_table(path):
            yield from _of_cell(cell)
    elif PanelLayout(path).document.is_file():
        panel = read_panel(path)
        yield from _of_panel(panel, panel.model, None, None)
    elif path.is_dir():
        folder = read_folder(path)
        check_measured(path, folder.provenance)
        last = int(folder.steps[-1]["step"]) if folder.steps else None
        yield from _of_summary(folder, label, last)
        for panel in panels_of(path, folder.provenance):
            yield from _of_panel(panel, label, folder.seed, last)
        yield from _of_steps(folder, label) if steps else ()
    else:
        raise RunError(f"There is nothing at '{path}'; a table reads run folders, RUN/panels/NAME and NAME.jsonl.")


def _of_summary(folder: RunFolder, label: str, last: int | None) -> Iterator[Row]:
    for record in read_summary(Layout(folder.path).summary):
        yield _row(record, label, record["set"], folder.seed, last)


def _of_panel(panel: PanelFolder, label: str, seed: int | None, last: int | None) -> Iterator[Row]:
    for record in panel.records:
        yield _row(record, label, f"{panel.name}/{record['set']}", seed, last)


def _row(record: Mapping[str, Any], label: str, name: str, seed: int | None, last: int | None) -> Row:
    base = record["run"] == BASE
    numbers = (record["value"], record.get("low"), record.get("high"), record["n"])
    about = (name, record["role"], record["metric"], record.get("unit"))
    return Row(BASE if base else label, seed, 0 if base else last, *about, *numbers)


def _of_steps(folder: RunFolder, label: str) -> Iterator[Row]:
    roles = {item.name: item.role for item in folder.sets}
    for line in folder.steps:
        for key, value in line.items():
            if key != "step":
                family, _, rest = key.partition("/")
                name, _, of = rest.rpartition("/") if family in ("loss", "weight", "eval") else (rest, "", "")
                sourced = family in SOURCED and bool(name)
                metric = "/".join(filter(None, (family, of))) if sourced else key
                unit = UNITS.get(metric, UNITS.get(metric.partition("/")[0]))
                at, role = (name, roles.get(name)) if sourced else (None, None)
                yield Row(label, folder.seed, int(line["step"]), at, role, metric, unit, value)


def _of_cell(cell: Cell) -> Iterator[Row]:
    """A trial is measured on other documents than a run, so its base stands beside it under another name."""
    kind = "trial " if cell.kind == "trial" else ""
    settings = " ".join(f"{name}={json.dumps(value)}" for name, value in cell.settings.items())
    label = f"{kind}{cell.method} {settings}".rstrip()
    for name, text in cell.texts.items():
        yield from (_named(row, label, kind, cell.seed, name, text.role) for row in _of_text(text))
    for name, items in cell.items.items():
        yield from (_named(row, label, kind, cell.seed, name, None) for row in _of_items(items))


def _named(row: Row, label: str, kind: str, seed: int, name: str, role: str | None) -> Row:
    base = row.run == BASE
    run = f"{kind}{BASE}" if base else label
    return replace(row, run=run, seed=None if base else seed, step=0 if base else None, set=name, role=role)


def _of_text(text: TextScores) -> Iterator[Row]:
    scores = {name: text.column(name) for name in SUMS}
    for name in (BITS, DRIFT):
        yield from _of_scores(METRICS[name], scores, groups_of(text))


def _of_items(items: ItemScores) -> Iterator[Row]:
    metric = METRICS["accuracy"]
    sides = np.array([items.model, items.base], dtype=float)
    yield from _of_scores(metric, dict(zip(metric.columns, sides, strict=True)), groups_of(items))


def _of_scores(metric: Metric, scores: dict[str, np.ndarray], groups: np.ndarray | None) -> Iterator[Row]:
    """The model, its base, and the change, as far as the metric has them."""
    below = None if metric.below is None else scores[metric.below]
    for run, column in (("", metric.above), (BASE, metric.base)):
        if isinstance(column, str):
            yield from _measured(run, metric.name, metric.unit, metric.value(scores[column], below, groups))
    if metric.paired:
        grouped = scores if groups is None else {**scores, "group": groups}
        yield from _measured("", f"{metric.name}_change", metric.unit, metric.change(grouped))


def _measured(run: str, name: str, unit: str, found: Estimate | None) -> Iterator[Row]:
    if found is not None:  # some item has a denominator
        low, high = (end if end is not None and math.isfinite(end) else None for end in (found.low, found.high))
        yield Row(run, None, None, None, None, name, unit, found.value, low, high, found.n)
