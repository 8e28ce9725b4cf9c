"""Each panel as a picture of changes and a table: every set with base, model, paired change and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from acclimate.report import number
from acclimate.report.collect import ReportData, Run
from acclimate.report.dots import Dot, dots
from acclimate.report.names import named
from acclimate.report.palette import slots
from acclimate.report.panels import Row, rows_of
from acclimate.report.picture import Numbers, Picture, plain
from acclimate.report.scoreboard import Cell
from acclimate.runs.panel import PanelFolder

MOST_ROWS = 24  # of a picture
METRICS: dict[str, tuple[str, number.Spelling, number.Spelling]] = {
    "accuracy": ("accuracy", number.share, number.points),
    "accuracy_norm": ("accuracy/char", number.share, number.points),
    "word_nats": ("nats/word ↓", number.bits, number.signed),
    "bits_per_byte": ("bits/byte ↓", number.bits, number.signed),
}
"""Metric -> its name, and how a value and a change are written."""
DRAWN = {
    "accuracy": "change in accuracy, points (to the left: worse)",
    "bits_per_byte": "change in bits per byte (to the right: worse)",
}


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
    rows.sort(key=lambda entry: (list(METRICS).index(entry[2].metric), -entry[2].loss))
    lines = tuple(
        Line(run, seed, row.text_set, METRICS[row.metric][0], _cells(row), row.p_holm is not None and row.p_holm < 0.05)
        for run, seed, row in rows
    )
    pictures = [
        _picture(data, f"panel-{index}-{metric.replace('_', '-')}", group[0][2].name, metric, rows) for metric in DRAWN
    ]
    columns = (
        "panel", "run", "seed", "set", "role", "metric", "n", "base", "tuned", "change", "low (95 %)", "high (95 %)",
        "p (Holm)", "minimum detectable effect", "KL(base‖tuned), nats/token",
    )  # fmt: skip
    cells = tuple(
        (group[0][2].name, run.label, str(seed), row.text_set, row.role, row.metric, str(row.tuned.n),
         *map(plain, (row.base.value, row.tuned.value, row.change.value, row.change.low, row.change.high, row.p_holm,
                      row.change.mde, row.drift.value if row.drift else None)))
        for run, seed, row in rows
    )  # fmt: skip
    name, template = group[0][2].name, str(group[0][2].settings.get("template", ""))
    drawn = tuple(picture for picture in pictures if picture)
    return PanelTable(name, template, lines, drawn, Numbers(f"panel-{index}", columns, cells))


def _cells(row: Row) -> tuple[Cell, ...]:
    _, spell, change = METRICS[row.metric]
    mde = Cell(number.NONE) if math.isinf(row.change.mde) else Cell(change(row.change.mde).lstrip("+"))
    return (
        Cell(number.count(row.tuned.n)),
        Cell(spell(row.base.value), number.interval(row.base, spell)),
        Cell(spell(row.tuned.value), number.interval(row.tuned, spell)),
        Cell(change(row.change.value), number.interval(row.change, change)),
        Cell(number.NONE if row.p_holm is None else number.probability(row.p_holm)),
        mde,
        Cell(number.NONE if row.drift is None else number.nats(row.drift.value)),
    )


def _picture(
    data: ReportData, slug: str, panel: str, metric: str, rows: Sequence[tuple[Run, int, Row]]
) -> Picture | None:
    """The changes of one metric, of each run's first seed, the worst first."""
    marks, unit = slots(data.runs), 100.0 if metric == "accuracy" else 1.0
    items = []
    for run, seed, row in rows:
        if row.metric == metric and seed == run.seeds[0].seed:
            items.append(Dot(run.label, marks[run.label], row.change.scaled(unit), {seed: 0.0}, row=row.text_set))
    if not items:
        return None
    caption = f"The {MOST_ROWS} worst of {len(items)}; all are in the table." if len(items) > MOST_ROWS else ""
    title = f"What became of {METRICS[metric][0].removesuffix(' ↓')} on each set of {named(panel)}?"
    spell: number.Spelling = number.tenth if metric == "accuracy" else number.signed
    return dots(slug, title, items[:MOST_ROWS], DRAWN[metric], spell, at_zero=True, caption=caption)
