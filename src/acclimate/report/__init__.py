"""The report: reads run folders and shows what was gained, what was kept, by which run."""

from acclimate.report.card import model_card
from acclimate.report.collect import collect
from acclimate.report.html import write_report
from acclimate.report.steps import step_notes
from acclimate.report.table import summary_page, summary_table

__all__ = ["collect", "model_card", "step_notes", "summary_page", "summary_table", "write_report"]
