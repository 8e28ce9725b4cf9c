"""The compact table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from acclimate.report.collect import ReportData
from acclimate.report.scoreboard import Cell, scoreboard


def summary_table(data: ReportData) -> Table:
    """Base first, then each run with its 95 % intervals dimmed below; with several seeds, means."""
    board = scoreboard(data)
    seeds = max(len(run.seeds) for run in data.runs)
    caption = "↓ lower is better, ↑ higher is better; below each number its 95 % interval"
    if seeds > 1:
        caption += f"; means over up to {seeds} seeds, the interval covering every seed's"
    table = Table(caption=caption, show_lines=False, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    for column in board.columns:
        table.add_column(Text(f"{column.title}\n{column.unit}"), justify="right")
    for line in board.lines:
        table.add_row(Text(line.label, style="dim" if line.slot.index == 0 else "bold"), *map(_cell, line.cells))
    return table


def _cell(cell: Cell) -> Text:
    """Names and numbers are text, never markup: a set called ``[red]`` stays what it is."""
    text = Text(cell.text)
    if cell.small:
        text.append(f"\n{cell.small}", style="dim")
    return text
