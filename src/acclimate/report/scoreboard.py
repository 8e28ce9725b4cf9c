"""The compact table: runs down, what was gained and kept across. Page and terminal draw the same one."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from acclimate.paired.estimate import Estimate
from acclimate.report import number
from acclimate.report.collect import ReportData, Run
from acclimate.report.palette import BASE, Slot, slots
from acclimate.report.picture import Numbers, plain
from acclimate.runs.folder import RunFolder, TextSet


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
    """Domain bits per byte and its change, drift on general and chat text, agreement, general bits per byte, speed."""
    columns: list[Column] = []
    for item in data.role("domain"):
        columns += [_score(data, item), _change(data, item)]
    for item in data.role("general", "chat"):
        if any(data.drift(run, item) for run in data.runs):
            columns.append(_measure(item, "kl_base_tuned", "KL, nats/token ↓", number.nats))
    if data.kept and any(run.measure(data.kept.name, "top1_agreement") for run in data.runs):
        columns.append(_measure(data.kept, "top1_agreement", "top-1 agreement ↑", number.share))
    columns += [_score(data, item) for item in data.role("general")]
    columns.append(Column("speed", "tokens/s ↑", _speed))
    marks = slots(data.runs)
    lines = [Line("base", BASE, tuple(column.cell(None, None) for column in columns))]
    for run in data.runs:
        own = tuple((seed.seed, tuple(column.cell(run, seed.seed) for column in columns)) for seed in run.seeds)
        lines.append(Line(run.label, marks[run.label], tuple(column.cell(run, None) for column in columns), own))
    return Scoreboard(tuple(columns), tuple(lines))


def measures(data: ReportData) -> Numbers:
    """Every number that was measured on a held-out set, to be taken away."""
    rows = [("base", "", name, "bits_per_byte", *_plain(found)) for name, found in data.base.items()]
    for run in data.runs:
        for seed in run.seeds:
            found = {**seed.measures, **{(name, "bits_per_byte_change"): own for name, own in seed.changes.items()}}
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


def _score(data: ReportData, item: TextSet) -> Column:
    def cell(run: Run | None, seed: int | None) -> Cell:
        measure = data.base.get(item.name) if run is None else _of(run, item, "bits_per_byte", seed)
        return _written(measure, number.bits)

    return Column(item.name, "bits/byte ↓", cell)


def _change(data: ReportData, item: TextSet) -> Column:
    def cell(run: Run | None, seed: int | None) -> Cell:
        change = None if run is None else data.relative_change(run, item, seed)
        return _written(change, number.change)

    return Column(item.name, "change ↓", cell)


def _measure(item: TextSet, metric: str, unit: str, spell: number.Spelling) -> Column:
    def cell(run: Run | None, seed: int | None) -> Cell:
        return Cell(number.NONE) if run is None else _written(_of(run, item, metric, seed), spell)

    return Column(item.name, unit, cell)


def _speed(run: Run | None, seed: int | None) -> Cell:
    rates = {} if run is None else run.rates
    value = rates.get(seed) if seed is not None else statistics.fmean(rates.values()) if rates else None
    return Cell(number.NONE if value is None else number.count(value))
