"""Each panel as a picture of changes and a table: every set with base, model, paired change and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from acclimate.paired.estimate import ALPHA, SHARE
from acclimate.paired.metrics import METRICS, Metric
from acclimate.reports.collect import ReportData, Run
from acclimate.reports.pictures.dots import Dot, dots
from acclimate.reports.pictures.palette import slots
from acclimate.reports.pictures.picture import Numbers, Picture, plain
from acclimate.reports.sections.panels import Row, rows_of
from acclimate.reports.sections.scoreboard import Cell
from acclimate.reports.words import number
from acclimate.reports.words.names import named
from acclimate.runs.panel import PanelFolder

MOST_ROWS = 24  # of a picture


@dataclass(frozen=True)
class Line:
    """One row: which run, which set, and its cells."""

    run: Run
    seed: int
    text_set: str
    metric: str
    cells: tuple[Cell, ...]  # items, base, tuned, change, p, MDE, KL
    claimed: bool  # p after Holm is below 0.05


@dataclass(frozen=True)
class PanelTable:
    """One panel, whichever runs it was put to; ``lines`` have the worst first."""

    name: str
    template: str
    lines: tuple[Line, ...]
    pictures: tuple[Picture, ...]
    numbers: Numbers


def panel_tables(data: ReportData, panels: Sequence[tuple[Run, int, PanelFolder]]) -> list[PanelTable]:
    """Panels by what they ask: runs that were asked the same (their digests are equal) stand in one table.

    Args:
        panels: (run, seed, panel).
    """
    groups: dict[tuple[str, str], list[tuple[Run, int, PanelFolder]]] = {}
    for run, seed, panel in panels:
        groups.setdefault((panel.name, panel.digest), []).append((run, seed, panel))
    return [_table(data, index, group) for index, group in enumerate(groups.values())]


def _table(data: ReportData, index: int, group: Sequence[tuple[Run, int, PanelFolder]]) -> PanelTable:
    rows = [(run, seed, row) for run, seed, panel in group for row in rows_of(panel)]
    order = [metric.name for metric in _ordered()]
    rows.sort(key=lambda entry: (order.index(entry[2].metric), -entry[2].loss))
    lines = tuple(
        Line(run, seed, row.text_set, _title(METRICS[row.metric]), _cells(row), row.change.p < ALPHA)
        for run, seed, row in rows
    )
    pictures = [
        _picture(data, f"panel-{index}-{metric.name.replace('_', '-')}", group[0][2].name, metric, rows)
        for metric in _ordered()
        if metric.words
    ]
    columns = (
        "panel", "run", "seed", "set", "role", "metric", "n", "base", "tuned", "change", "low (95 %)", "high (95 %)",
        "p (Holm)", "minimum detectable effect", "KL(base‖tuned), nats/token",
    )  # fmt: skip
    cells = tuple(
        (group[0][2].name, run.label, str(seed), row.text_set, row.role, row.metric, str(row.tuned.n),
         *map(plain, (row.base.value, row.tuned.value, row.change.value, row.change.low, row.change.high, row.change.p,
                      row.change.mde, row.drift.value if row.drift else None)))
        for run, seed, row in rows
    )  # fmt: skip
    name, template = group[0][2].name, str(group[0][2].settings.get("template", ""))
    drawn = tuple(picture for picture in pictures if picture)
    return PanelTable(name, template, lines, drawn, Numbers(f"panel-{index}", columns, cells))


def _cells(row: Row) -> tuple[Cell, ...]:
    spell, change = number.spelling(METRICS[row.metric].unit)
    mde = Cell(number.NONE) if math.isinf(row.change.mde) else Cell(change(row.change.mde).lstrip("+"))
    return (
        Cell(number.count(row.tuned.n)),
        Cell(spell(row.base.value), number.interval(row.base, spell)),
        Cell(spell(row.tuned.value), number.interval(row.tuned, spell)),
        Cell(change(row.change.value), number.interval(row.change, change)),
        Cell(number.NONE if math.isnan(row.change.p) else number.probability(row.change.p)),
        mde,
        Cell(number.NONE if row.drift is None else number.nats(row.drift.value)),
    )


def _picture(
    data: ReportData, slug: str, panel: str, metric: Metric, rows: Sequence[tuple[Run, int, Row]]
) -> Picture | None:
    """The changes of one metric, of each run's first seed: sets by their worst change, runs within a set likewise."""
    share = metric.possible == SHARE
    marks, unit = slots(data.runs), 100.0 if share else 1.0
    items = []
    own = [entry for entry in rows if entry[2].metric == metric.name and entry[1] == entry[0].seeds[0].seed]
    worst: dict[str, int] = {}
    for at, (*_, row) in enumerate(own):
        worst.setdefault(row.text_set, at)
    for run, seed, row in sorted(own, key=lambda entry: worst[entry[2].text_set]):
        items.append(Dot(run.label, marks[run.label], row.change.scaled(unit), {seed: 0.0}, row=row.text_set))
    if not items:
        return None
    caption = f"The {MOST_ROWS} worst of {len(items)}; all are in the table." if len(items) > MOST_ROWS else ""
    title = f"What became of {metric.label} on each set of {named(panel)}?"
    axis = (
        f"change in {metric.words}{', points' * share} (to the {'left' if metric.higher_is_better else 'right'}: worse)"
    )
    spell = number.tenth if share else number.spelling(metric.unit)[1]
    return dots(slug, title, items[:MOST_ROWS], axis, spell, at_zero=True, caption=caption)


def _ordered() -> list[Metric]:
    """Metrics that model and base each have: of items first, then of texts."""
    return sorted((metric for metric in METRICS.values() if metric.paired), key=lambda metric: metric.below is not None)


def _title(metric: Metric) -> str:
    return metric.label if metric.higher_is_better else metric.heading
