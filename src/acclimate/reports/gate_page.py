"""The verdict for people: a table in the terminal, Markdown for a comment."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from acclimate.gates.check import Check
from acclimate.gates.verdict import Verdict
from acclimate.paired.metrics import METRICS
from acclimate.reports.card import plain
from acclimate.reports.words.names import named

COLUMNS = ("set", "check", "found", "interval", "limit", "MDE", "n", "unseen", "outcome")
STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "❔"}
"""Seen before they are read."""


def verdict_page(verdict: Verdict) -> Group:
    """For the terminal. Names are text, never markup."""
    style = "green" if verdict.passed else "red"
    return Group(
        Text(verdict.sentence, style=f"bold {style}"), Checks(verdict), *(Text(note) for note in _notes(verdict))
    )


@dataclass(frozen=True)
class Checks:
    """A table of them; two lines a check where the terminal is too narrow for it, since no name is broken."""

    verdict: Verdict

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for index, column in enumerate(COLUMNS):
            table.add_column(column, justify="right" if 2 <= index <= 7 else "left", no_wrap=True)
        for check in self.verdict.checks:
            *cells, outcome = _cells(check)
            table.add_row(*(Text(cell) for cell in cells), Text(outcome, style=STYLES[outcome]))
        if Measurement.get(console, options.update(max_width=10_000), table).maximum <= options.max_width:
            yield table
            return
        yield Text()
        for check in self.verdict.checks:
            name, what, found, interval, limit, mde, n, unseen, outcome = _cells(check)
            yield Text.assemble((outcome, STYLES[outcome]), f" {name}: {what} {found} ({interval}), demanded {limit}")
            yield Text(f"  MDE {mde or '–'}, n {n}, unseen {unseen}")
        yield Text()


def verdict_markdown(verdict: Verdict) -> str:
    """For a comment on a change."""
    lines = [
        f"### acclimate gate: {plain(named(verdict.run))}",
        "",
        f"{MARKS[verdict.outcome]} {plain(verdict.sentence)}",
        "",
    ]
    lines += [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---:|---:|---:|---:|---|"]
    for check in verdict.checks:
        *cells, outcome = map(plain, _cells(check))
        told = outcome if outcome == "pass" else f"**{outcome}**"
        lines.append(f"| {' | '.join(cells)} | {MARKS[outcome]} {told} |")
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in _notes(verdict)), ""])


def _cells(check: Check) -> list[str]:
    found, unit = check.found, check.limit.unit
    mde = "" if found.bounded and math.isinf(found.mde) else _number(found.mde)
    sign = "<" if check.kind == "max_drop" else ">"
    name = METRICS[check.metric].verdict(check.kind)
    return [
        named(check.set_name), name if unit in name else f"{name}, {unit}", _number(found.value),
        f"{_number(found.low)} to {_number(found.high)}", f"{sign} {check.limit.value:g}", mde,
        f"{found.n:,}" if found.groups is None else f"{found.n:,} in {found.groups:,}",
        f"≤ {100 * check.unseen:.2g} %", check.outcome,
    ]  # fmt: skip


def _number(value: float) -> str:
    """Three significant digits, a real minus sign, never a negative zero.

    >>> _number(-0.01234), _number(-0.0), _number(12.345), _number(1e-9)
    ('−0.0123', '0', '12.3', '0')
    """
    shown = f"{round(value, 5) + 0.0:.3g}".replace("inf", "∞")
    return shown.replace("-", "−")


def _notes(verdict: Verdict) -> list[str]:
    notes = [
        f"{named(check.set_name)}, {METRICS[check.metric].verdict(check.kind)}: "
        f"{'' if check.too_few else 'the interval holds the limit; '}{check.remedy}."
        for check in verdict.checks
        if check.outcome == "inconclusive"
    ]
    if verdict.ungated:
        notes.append(f"No rule is about {', '.join(map(named, verdict.ungated))}.")
    notes += [f"Panel {named(name)}: {digest}." for name, digest in verdict.panels.items()]
    return [
        *notes,
        *verdict.notes,
        f"Intervals: paired over n documents or items, {100 * verdict.confidence:g} % each. A limit must lie outside; "
        "MDE is the distance from a limit at which that happens in 80 % of cases.",
        "Unseen: so large a part of all such text may be unlike every measured document, which no interval tells (3/n; "
        "of documents in groups, 3/groups). Gating several runs and releasing one that passes multiplies the risk.",
    ]
