"""The compact table: runs down, what was gained and kept across. Page and terminal draw the same one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from acclimate.paired.estimate import Estimate
from acclimate.paired.metrics import BITS, METRICS, Metric
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.palette import BASE, Slot, slots
from acclimate.reports.pictures.picture import Numbers, plain
from acclimate.reports.words import number
from acclimate.runs.folder import RunFolder, TextSet

ELSEWHERE = ("general", "chat")


@dataclass(frozen=True)
class Cell:
    """A number, and in small type its interval."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Column:
    """``title`` says of which text, ``unit`` what is counted and which way is better."""

    title: str
    unit: str
    cell: Callable[[Run | None, int | None], Cell]  # (run or the base, seed or all of them)


@dataclass(frozen=True)
class Line:
    """One row."""

    label: str
    slot: Slot
    cells: tuple[Cell, ...]
    seeds: tuple[tuple[int, tuple[Cell, ...]], ...] = ()


@dataclass(frozen=True)
class Scoreboard:
    """Base first, then the runs in the order they were given."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


def scoreboard(data: ReportData) -> Scoreboard:
    """Each metric on the sets that it is shown of: gain on the domain, drift elsewhere, what else was lost."""
    columns: list[Column] = []
    paired, drift = ([metric for metric in METRICS.values() if metric.paired is own] for own in (True, False))
    for item, metric in product(data.role("domain"), paired):
        if "domain" in metric.shown:
            columns += [_value(data, item, metric), _change(data, item, metric)]
    for metric in drift:
        items = data.role(*(role for role in ELSEWHERE if role in metric.shown))
        for item in [data.kept] if "kept" in metric.shown and data.kept else items:
            if any(run.measure(item.name, metric.name) for run in data.runs):
                columns.append(_value(data, item, metric))
    for item, metric in product(data.role(*ELSEWHERE), paired):
        if item.role in metric.shown:
            columns.append(_value(data, item, metric))
    marks = slots(data.runs)
    lines = [Line("base", BASE, tuple(column.cell(None, None) for column in columns))]
    for run in data.runs:
        own = tuple((seed.seed, tuple(column.cell(run, seed.seed) for column in columns)) for seed in run.seeds)
        lines.append(Line(run.label, marks[run.label], tuple(column.cell(run, None) for column in columns), own))
    return Scoreboard(tuple(columns), tuple(lines))


def measures(data: ReportData) -> Numbers:
    """Every number that was measured on a held-out set, to be taken away."""
    rows = [("base", "", name, BITS, *_plain(found)) for name, found in data.base.items()]
    for run in data.runs:
        for seed in run.seeds:
            found = {**seed.measures, **{(name, f"{BITS}_change"): own for name, own in seed.changes.items()}}
            rows += [(run.label, str(seed.seed), *key, *_plain(measure)) for key, measure in found.items()]
    columns = ("run", "seed", "set", "metric", "value", "low (95 %)", "high (95 %)", "minimum detectable effect", "n")
    return Numbers("measures", columns, tuple(rows))


def _plain(measure: Estimate) -> tuple[str, ...]:
    return (*map(plain, (measure.value, measure.low, measure.high, measure.mde)), str(measure.n))


def _written(measure: Estimate | None, spell: number.Spelling) -> Cell:
    return Cell(number.NONE) if measure is None else Cell(spell(measure.value), number.interval(measure, spell))


def _of(run: Run, item: TextSet, metric: str, seed: int | None) -> Estimate | None:
    if seed is None:
        return run.measure(item.name, metric)
    return _seed(run, seed).measures.get((item.name, metric))


def _seed(run: Run, seed: int) -> RunFolder:
    return next(one for one in run.seeds if one.seed == seed)


def _value(data: ReportData, item: TextSet, metric: Metric) -> Column:
    spell, _ = number.spelling(metric.unit)

    def cell(run: Run | None, seed: int | None) -> Cell:
        if run is None:
            return _written(data.base.get(item.name) if metric.name == BITS else None, spell)
        return _written(_of(run, item, metric.name, seed), spell)

    return Column(item.name, metric.heading, cell)


def _change(data: ReportData, item: TextSet, metric: Metric) -> Column:
    """Paired; of bits per byte the gain, in percent of the base's."""
    _, signed = number.spelling(metric.unit)

    def cell(run: Run | None, seed: int | None) -> Cell:
        if run is None:
            return Cell(number.NONE)
        if metric.name == BITS:
            found = data.relative_change(run, item, seed)
            return _written(found and found.scaled(-1), number.change)
        return _written(_of(run, item, f"{metric.name}_change", seed), signed)

    arrow = metric.heading[-1]
    return Column(item.name, "gain ↑" if metric.name == BITS else f"{metric.label} change {arrow}", cell)
