"""The diagnosis as a person reads it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from acclimate.verbs.doctor.fact import Diagnosis


def print_diagnosis(found: Diagnosis, console: Console) -> None:
    """A line a fact, marked where there is advice; then the advice."""
    page = Table.grid(padding=(0, 2, 0, 0))
    for title, section in found.sections.items():
        for i, (name, fact) in enumerate(section.items()):
            mark, style = ("✗", "red") if fact.stops else ("!", "yellow") if fact.advice else ("", "")
            page.add_row(Text(title if i == 0 else "", "bold"), name, Text(mark, style), Text(fact.shown, style))
    console.print(page)
    for style, label, sentences in (("yellow", "Note", found.notes), ("red", "Problem", found.problems)):
        for sentence in sentences:
            console.print(f"{label}: {sentence}", style=style, highlight=False, markup=False, soft_wrap=True)
    if not found.problems:
        console.print("Nothing here would stop a run.", style="green", highlight=False)
