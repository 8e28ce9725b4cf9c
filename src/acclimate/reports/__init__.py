"""The report: reads run folders and shows what was gained, what was kept, by which run."""

from acclimate.reports.card import model_card
from acclimate.reports.collect import collect
from acclimate.reports.html import write_page, write_report
from acclimate.reports.sections.steps import step_notes
from acclimate.reports.table import summary_page, summary_table
from acclimate.reports.words.verdict import verdict

__all__ = [
    "collect",
    "model_card",
    "step_notes",
    "summary_page",
    "summary_table",
    "verdict",
    "write_page",
    "write_report",
]
