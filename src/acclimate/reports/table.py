"""The compact table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acclimate.reports.collect import ReportData
from acclimate.reports.sections.scoreboard import Cell, scoreboard
from acclimate.reports.words.verdict import verdict

WIDE = 124
"""Columns of a terminal from which on the intervals fit."""
SHORT = {"bits/byte": "bits/B", "KL, nats/token": "KL", "top-1 agreement": "top-1"}


def summary_table(data: ReportData, width: int = WIDE) -> Table:
    """Base first, then each run with its 95 % intervals dimmed below; with several seeds, means.

    A terminal narrower than ``WIDE`` columns gets short headings and no intervals.
    """
    board = scoreboard(data)
    seeds = max(len(run.seeds) for run in data.runs)
    wide = width >= WIDE
    caption = "↓ lower is better, ↑ higher is better"
    caption += "; below each number its 95 % interval" if wide else "; KL in nats/token; intervals in the report"
    if seeds > 1:
        caption += f"; means over up to {seeds} seeds" + (", the interval over seeds and documents" if wide else "")
    table = Table(caption=caption, pad_edge=False, header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    for column in board.columns:
        unit = column.unit
        for long, short in SHORT.items() if not wide else ():
            unit = unit.replace(long, short)
        table.add_column(Text(f"{column.title}\n{unit}"), justify="right")
    for line in board.lines:
        table.add_row(
            Text(line.label, style="dim" if line.slot.index == 0 else "bold"),
            *(_cell(cell, wide) for cell in line.cells),
        )
    return table


def summary_page(data: ReportData, width: int) -> Group:
    """The table, below it the answer in words, and of several runs what tells them apart."""
    found = verdict(data)
    style = {"kept": "bold green", "forgot": "bold red", "worse": "bold red"}.get(found.answer.kind, "bold yellow")
    said = [Text(str(found.answer), style=style)]
    said += [Text(found.headline, style="italic")] if len(data.runs) > 1 else []
    return Group(summary_table(data, width), *said)


def _cell(cell: Cell, wide: bool) -> Text:
    """Names and numbers are text, never markup: a set called ``[red]`` stays what it is."""
    text = Text(cell.text)
    if cell.small and wide:
        text.append(f"\n{cell.small}", style="dim")
    return text
