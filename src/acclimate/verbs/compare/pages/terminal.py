"""A comparison as a table for the terminal, its answer below it."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acclimate.verbs.compare.cell import spelled
from acclimate.verbs.compare.outcome import Outcome
from acclimate.verbs.compare.pages.answer import answer
from acclimate.verbs.compare.pages.blocks import HEAD, interval, many_seeds, measured, seeds_of, told_apart, value
from acclimate.verbs.compare.standing import front

STYLES = {"kept": "bold green", "forgot": "bold red"}


def summary(outcome: Outcome) -> Group:
    """The table, and who is ahead in one sentence."""
    found = answer(outcome)
    said = [] if found is None else [
        Text(f"{found.word}. {found.sentence}", style=STYLES.get(found.kind, "bold yellow"))
    ]  # fmt: skip
    return Group(summary_table(outcome), *said)


def summary_table(outcome: Outcome) -> Table:
    """One line a method with 95 % intervals below its numbers."""
    ahead = {standing.method for standing in front(outcome.standings)}
    table = Table(pad_edge=False, header_style="bold", box=box.SIMPLE_HEAD, caption=_caption(outcome))
    for column in HEAD:
        table.add_column(column, justify="left" if column in HEAD[:2] else "right")
    for standing in outcome.standings:
        numbers = [Text(f"{value(one, spell)}\n{interval(one, spell)}") for one, spell in measured(standing)]
        chosen = spelled(outcome.chosen(standing.method))
        on_front = "yes" if standing.method in ahead else ""
        table.add_row(
            Text(standing.method, style="bold"), Text(chosen), seeds_of(outcome, standing), *numbers, on_front
        )
    for method in outcome.diverged:
        table.add_row(Text(method, style="bold"), "every trial or run diverged", *[""] * 5)
    return table


def _caption(outcome: Outcome) -> str:
    text = "gain and loss in bits/byte against the base; below each number its 95 % interval over documents"
    text += " and seeds" if many_seeds(outcome) else " (one seed)"
    return f"{text}. {told_apart(outcome.standings)}".removesuffix(". ")
